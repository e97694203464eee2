"""SDKs that are installed and speak in a way that the hooks do not see, and libraries too old for them."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import Distribution, distributions
from importlib.util import find_spec
from typing import NamedTuple

from ...outbound.hook import hook
from ...outbound.patching import Patch
from .findings import Evidence, Finding, Level


class Unseen(NamedTuple):
    """An SDK whose calls are not metered, or not all of them. `below`: versions below this one; (): all."""

    level: Level
    why: str
    do: str
    below: tuple[int, ...] = ()


_GRPC = "speaks gRPC, which is not metered"
UNSEEN: Mapping[str, Unseen] = {
    "xai-sdk": Unseen(
        "error",
        _GRPC,
        "call xAI by the OpenAI SDK (base_url='https://api.x.ai/v1'), or put calls into quota.call(...)",
    ),
    "google-generativeai": Unseen(
        "error",
        f"{_GRPC}, unless it is told otherwise",
        "move to google-genai, or call genai.configure(transport='rest')",
    ),
    "google-cloud-aiplatform": Unseen(
        "warning",
        f"{_GRPC}, where models are asked through it (vertexai.generative_models) and it is not told otherwise",
        "ask models through google-genai, or call vertexai.init(api_transport='rest')",
    ),
    "oci": Unseen(
        "warning",
        "has an HTTP library of its own inside, which is not metered, where models are asked through it",
        "put its calls into quota.call(...)",
    ),
    "litellm": Unseen(
        "warning",
        "leaves streams of its sync client before their usage has come: they are charged by what was seen, and late",
        "update it to 1.80 or newer",
        (1, 80),
    ),
}
"""By the name of the distribution; found by their sources and in trials (docs/sdks.md)."""


def unmetered(evidence: Evidence) -> Iterator[Finding]:
    """Looks at the environment that the command runs in, which is the app's where it is installed beside it."""
    yield from installed(distributions())
    yield from unpatched(hook.patches)


def installed(found: Iterable[Distribution]) -> Iterator[Finding]:
    """The SDKs among these distributions that are not seen, or not whole."""
    versions = {re.sub(r"[-_.]+", "-", each.name).lower(): each.version for each in found if each.name}
    for name, unseen in UNSEEN.items():
        version = versions.get(name)
        if version is not None and (not unseen.below or _numbers(version) < unseen.below):
            yield Finding(unseen.level, f"{name} {version} {unseen.why}", unseen.do)


def unpatched(patches: Iterable[Patch]) -> Iterator[Finding]:
    """Libraries that are installed, and in which the hook does not find what it stands in front of."""
    told = set()
    for patch in patches:
        library = patch.module.partition(".")[0]
        if library in told or find_spec(library) is None:
            continue
        try:
            owner = getattr(importlib.import_module(patch.module), patch.owner)
            patch.wrap(getattr(owner, patch.name), lambda: None)
        except Exception as error:  # whatever it is, it would keep the hook out
            told.add(library)
            yield Finding(
                "error",
                f"calls through {library} are not metered: {error}",
                f"update {library}, or give its clients to quota.metered(...)",
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))
