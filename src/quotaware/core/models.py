"""Model names: the patterns that take them in, what an allow-list grants, and what a limit for some models bears on.

Granting is narrow, bearing is wide: a name that is not plainly on an allow-list is refused, and no spelling of a name
slips past the limit that is meant for it. What else a server may take a name for is the providers' to say.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import NamedTuple
from urllib.parse import unquote

from ..errors import ConfigurationError

MAX_PATTERN = 256
MAX_STARS = 16

ANY = "*"
"""The name of a model of which nothing is known: only a pattern of stars grants it, and every limit bears on it."""

_MMDD = "(?:0[1-9]|1[0-2]){dash}(?:0[1-9]|[12][0-9]|3[01])"
_DATE = re.compile(f"-(?:[0-9]{{4}}-{_MMDD.format(dash='-')}|(?:[0-9]{{4}})?{_MMDD.format(dash='')})")
_DATED = re.compile(f"{_DATE.pattern}\\Z")
_VERSION = re.compile(r"-(?:latest|[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{8}|[0-9]{3,4}|v[0-9])\Z")
"""How names end that are versions of one model, or follow its newest."""
_ROUTER = re.compile(r"(?:(?:^|/)(?:auto|[^/:@]*router)|^openrouter/[^/:@]+)(?:[:@][^/]*)?\Z|@preset/")
"""Names behind which a service chooses the model."""
_LEAD = re.compile(r"[/\\]|\.(?=[a-z])")
"""Where the lead of a name ends: a provider's, a folder's, a region's (`us.anthropic.claude-…`)."""
_POINT = re.compile(r"(?<=[0-9])\.(?=[0-9])")
_TUNED = re.compile("(?:^|/)ft:", re.IGNORECASE)
_VARIANT = re.compile("[:@#?]")
_AROUND = ".~/-"
_SEGMENTS = 4
"""How many leads of a name are taken off, from its end."""
_CUTS = 16
"""A name that is the variant of a variant so many times is anybody's guess."""


class Model(NamedTuple):
    """A model as it is asked for: where (a provider as genai-prices spells it; None: a host nobody knows), and by
    which name.
    """

    provider: str | None
    name: str


def check_pattern(pattern: str, field: str) -> None:
    """Raises ConfigurationError naming `field` unless `pattern` is a model name or a glob of `*` that is
    matched in bounded time: printable, no spaces, 1 to 256 characters, at most 16 stars.
    """
    if not isinstance(pattern, str) or not pattern:
        raise ConfigurationError(field, "a model pattern is missing; give one such as 'gpt-4.1*'")
    if len(pattern) > MAX_PATTERN:
        raise ConfigurationError(
            field, f"a pattern has at most {MAX_PATTERN} characters, this one {len(pattern)}"
        )
    if " " in pattern or not pattern.isprintable():
        raise ConfigurationError(field, f"a pattern has no spaces or control characters: {pattern!r}")
    if (stars := pattern.count("*")) > MAX_STARS:
        raise ConfigurationError(field, f"a pattern has at most {MAX_STARS} stars, this one {stars}")


def matches(pattern: str, model: str) -> bool:
    """Whether a model name is taken in by a pattern; case counts, `*` stands for any characters or none.

    A pattern without a star also takes in the dated snapshots of its model: `gpt-4.1` those ending in
    -YYYY-MM-DD, -YYYYMMDD or -MMDD, but not `gpt-4.1-mini`; one that is dated itself takes in no other. Each part
    between stars is looked for once, from the left: no backtracking.
    """
    head, *rest = pattern.split("*")
    if not model.startswith(head):
        return False
    at = len(head)
    if not rest:
        return at == len(model) or (_DATE.fullmatch(model, at) is not None and _DATED.search(pattern) is None)
    *middle, tail = rest
    end = len(model) - len(tail)
    for part in middle:
        at = model.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return at <= end and model.endswith(tail)


def within(pattern: str, other: str) -> bool:
    """Whether a pattern grants no model that the other does not; never True wrongly, and False only where that is
    not plain to see.
    """
    if _grants_tuned(pattern) and not _grants_tuned(other):
        return False
    if "*" not in other:
        return pattern == other or (
            "*" not in pattern and matches(other, pattern) and not matches(pattern, other)
        )
    if "*" not in pattern and _DATED.search(pattern) is None and not other.endswith("*"):
        return False  # it takes in its dated snapshots too
    return matches(other, pattern)


def grants(pattern: str, model: Model) -> bool:
    """Whether a pattern of an allow-list allows a model.

    It is held against the name, and against the name led by the provider (`openai/gpt-4.1`, `anthropic/*`). A
    fine-tuned model (`ft:gpt-4.1:…`) is allowed by a pattern that says `ft:`, or by one for everything (`*`,
    `openai/*`).
    """
    if _tuned(model.name) and not _grants_tuned(pattern):
        return False
    if model.provider is None:
        return matches(pattern, model.name)
    lead = f"{model.provider}/"
    name = model.name.removeprefix(lead)
    return matches(pattern, name) or matches(pattern, lead + name)


@lru_cache(4096)
def refused(patterns: tuple[str, ...], models: tuple[Model, ...]) -> Model | None:
    """The first of the models that no pattern of an allow-list grants; None: all of them are allowed."""
    return next((m for m in models if not any(grants(pattern, m) for pattern in patterns)), None)


def concerns(pattern: str, model: Model) -> bool:
    """Whether a limit for a pattern bears on a call for a model, however its name is written: in other letters, led by
    a provider or not, with a variant (`:free`), a version or `-latest`, fine-tuned. A limit for one snapshot bears on
    the undated name too, which may be served by it. Where it cannot be told, it bears.
    """
    names = _spellings(model)
    if names is None or grants(pattern, model):
        return True
    written = _plain(pattern)
    patterns = {written}
    if not any(_VERSION.sub("", name) != name for name in names if not name.endswith("-latest")):
        patterns.add(_VERSION.sub("", written))
    if model.provider is None and (rest := written.rpartition("/")[2]).strip("*"):
        patterns.add(rest)
    return any(matches(p, name) for p in patterns for name in names)


def chosen_elsewhere(name: str) -> bool:
    """Whether it names no model but a service that chooses one (`openrouter/auto`)."""
    return _ROUTER.search(_plain(name)) is not None


@lru_cache(1024)
def _spellings(model: Model) -> frozenset[str] | None:
    """The plainest forms of a name; None where nobody can tell what it will be taken for."""
    name = _plain(model.name)
    if name == ANY or not name.isascii() or chosen_elsewhere(name):
        return None
    found: set[str] = set()
    for tail in _tails(name):
        shorter = list(islice(_shortened(tail), _CUTS))
        if len(shorter) == _CUTS:
            return None
        found.update(shorter)
    if model.provider is not None:
        found |= {f"{model.provider}/{spelling}" for spelling in found}
    return frozenset(found)


def _tails(name: str) -> Iterator[str]:
    """The name as it stands, and from each of its last segments on."""
    yield name
    for lead in list(_LEAD.finditer(name))[-_SEGMENTS:]:
        yield name[lead.end() :]


def _shortened(name: str) -> Iterator[str]:
    """A name, and without each of what makes it a version or variant of another, or tuned from one."""
    while name:
        yield name
        cut = _VERSION.sub("", name)
        if cut == name:
            cut = name.partition("ft:")[2] if _tuned(name) else _VARIANT.split(name, maxsplit=1)[0]
        cut = cut.strip(_AROUND)
        if cut == name:
            return
        name = cut


def _plain(name: str) -> str:
    """A name in one way of writing: small letters, no look-alikes of letters, nothing invisible around or in it."""
    name = unquote(name)
    if not name.isascii():
        name = unicodedata.normalize("NFKC", name)
        name = "".join(c for c in name if unicodedata.category(c)[0] not in "CZM")
    name = name.casefold().replace(" ", "").replace("_", "-").strip(_AROUND)
    if "claude" in name:  # claude-3.5-sonnet and claude-3-5-sonnet
        name = _POINT.sub("-", name)
    return name.replace("gpt-35", "gpt-3.5")


def _tuned(name: str) -> bool:
    return _TUNED.search(name) is not None


def _grants_tuned(pattern: str) -> bool:
    return "ft:" in pattern.lower() or not pattern.rpartition("/")[2].strip("*")
