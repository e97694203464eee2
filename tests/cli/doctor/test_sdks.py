"""SDKs that the hooks do not see."""

from __future__ import annotations

import sys
from importlib.metadata import PathDistribution
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from quotaware.cli.doctor.findings import Evidence
from quotaware.cli.doctor.sdks import UNSEEN, installed, unmetered, unpatched
from quotaware.outbound import aiohttp
from quotaware.outbound.hook import hook
from quotaware.outbound.patching import Patch


def a_distribution(folder: Path, name: str, version: str) -> PathDistribution:
    info = folder / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return PathDistribution(info)


@pytest.mark.parametrize("name", UNSEEN)
def test_each_that_is_not_seen(name: str, tmp_path: Path) -> None:
    (finding,) = installed([a_distribution(tmp_path, name.replace("-", "_"), "1.2.0")])
    assert finding.level == UNSEEN[name].level
    assert finding.what.startswith(f"{name} 1.2.0 ")
    assert finding.do


def test_those_that_are_seen(tmp_path: Path) -> None:
    seen = [("openai", "2.8.0"), ("anthropic", "1.0.0"), ("google-genai", "2.0.0"), ("litellm", "1.80.0")]
    assert list(installed(a_distribution(tmp_path, name, version) for name, version in seen)) == []


def test_a_version_that_is_not_seen_whole(tmp_path: Path) -> None:
    (finding,) = installed([a_distribution(tmp_path, "litellm", "1.79.3")])
    assert finding.do == "update it to 1.80 or newer"


def test_this_environment_is_metered() -> None:
    """All that the hook stands in front of is where it expects it."""
    assert list(unmetered(Evidence())) == []


def test_looking_patches_nothing() -> None:
    import httpx

    before = httpx.Client._transport_for_url
    list(unpatched(hook.patches))
    assert httpx.Client._transport_for_url is before


def test_a_library_that_is_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiohttp before 3.12.8, in which nobody can read a body before it goes."""

    class ClientSession:
        def _request(self, method: str, url: str) -> None: ...

    old: Any = SimpleNamespace(
        ClientSession=ClientSession, Payload=object, __spec__=sys.modules["json"].__spec__
    )
    monkeypatch.setitem(sys.modules, "aiohttp", old)
    (finding,) = unpatched(aiohttp.PATCHES)
    assert finding.level == "error"
    assert finding.what.startswith(
        "calls through aiohttp are not metered: in this aiohttp nobody can see a body"
    )


def test_a_library_that_is_built_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("a_library")
    module.__spec__ = sys.modules["json"].__spec__
    monkeypatch.setitem(sys.modules, "a_library", module)
    patches = [Patch("a_library", owner, "send", lambda original, serving: original) for owner in ("A", "B")]
    (finding,) = unpatched(patches)
    assert finding.what.startswith("calls through a_library are not metered: ")
    assert list(unpatched([Patch("not_installed", "A", "send", patches[0].wrap)])) == []
