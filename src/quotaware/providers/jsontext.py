"""Request bodies: read strictly, changed in a few members with every other byte left as it was.

Two readers of one body must not come to different answers, so what could be read in two ways is refused.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from .base import Unreadable

FALLBACKS = ("models", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
"""Members that name models to take instead of the one that is asked for."""

NAMING = frozenset({"model", "preset", *FALLBACKS})
"""Members by which a body says which model is asked for."""

BEARING = NAMING | {
    "agent",
    "background",
    "batch",
    "best_of",
    "cachedContent",
    "contents",
    "generationConfig",
    "generation_config",
    "file",
    "inferenceConfig",
    "input",
    "instructions",
    "max_completion_tokens",
    "max_output_tokens",
    "max_tokens",
    "messages",
    "n",
    "options",
    "previous_interaction_id",
    "previous_response_id",
    "prompt",
    "quality",
    "requests",
    "stream",
    "stream_options",
    "systemInstruction",
    "thinking",
    "tools",
}
"""Members that a format decides by: none may stand twice, nor in other capitals (some readers ignore case)."""

_INNER = frozenset(
    {
        *("budget_tokens", "candidateCount", "maxOutputTokens", "maxTokenCount", "maxTokens"),
        *("max_new_tokens", "max_output_tokens", "max_tokens", "num_predict"),
    }
)
"""Members of inner objects that may not stand twice either."""

MODEL_MAX = 512
"""Characters of the longest model name that is read."""

NUMBER_MAX = 2**53
"""The largest whole number that every JSON reader reads alike."""

_SPELLED = {name.casefold(): name for name in BEARING}

_SPACE = re.compile(r"[ \t\n\r]*")


def parse(body: bytes) -> dict[str, Any]:
    """The JSON object that a request body is. Raises `Unreadable` saying why it is none.

    Refused are what is not JSON in UTF-8, NaN and infinities (1e999 too), nesting past the interpreter's
    bound, and `BEARING` members that can be read in two ways. `model_ambiguous` is the code where that leaves open
    which model is asked for.
    """
    members: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal members
        members = pairs  # of the outermost object in the end, since it is the last to be complete
        found = dict(pairs)
        if len(found) < len(pairs):
            doubles.update(_doubled(pairs))
        return found

    doubles: set[str] = set()
    try:
        parsed = json.loads(
            body.decode(), object_pairs_hook=keep, parse_float=_finite, parse_constant=_no_number
        )
    except Unreadable:
        raise
    except RecursionError:
        raise Unreadable("the body is nested too deeply", "model_ambiguous") from None
    except ValueError as error:
        raise Unreadable(f"the body is not JSON in UTF-8: {error}", "model_ambiguous") from None
    if not isinstance(parsed, dict):
        raise Unreadable("the body is not a JSON object", "model_ambiguous")
    _refuse_doubles(members)
    if inner := doubles & (_INNER | {"model"} if "requests" in parsed else _INNER):
        raise Unreadable(f"{min(inner)}: stands twice in one object of the body", "model_ambiguous")
    return parsed


def edit(body: bytes, parsed: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:
    """The body with `changes` made to its members; `parsed` is what `parse` read from it.

    A member that is there is replaced where it stands, a new one is put before the closing brace.
    """
    if changes.keys() & parsed.keys():
        text = body.decode()
        for begin, end, name in reversed(list(_members(text))):
            if name in changes:
                text = text[:begin] + _written(changes[name]) + text[end:]
        body = text.encode()
    added = [f"{_written(name)}:{_written(value)}" for name, value in changes.items() if name not in parsed]
    if added:
        close = body.rindex(b"}")
        inserted = ("," if parsed else "") + ",".join(added)
        body = b"".join((body[:close], inserted.encode(), body[close:]))
    return body


def model_name(body: Mapping[str, Any]) -> str:
    """The model that a body names. Raises `Unreadable` where it names none that can be judged."""
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        raise Unreadable("model: a name is required, as a string", "model_ambiguous")
    if len(model) > MODEL_MAX or not model.isprintable():
        raise Unreadable(
            f"model: a name has at most {MODEL_MAX} characters, all of them printable", "model_ambiguous"
        )
    return model


def whole(body: Mapping[str, Any], name: str, least: int = 0) -> int | None:
    """A whole number in a body, None where it is absent or null. Raises `Unreadable` for anything else."""
    value = body.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= NUMBER_MAX:
        raise Unreadable(f"{name}: a whole number of at least {least} is required")
    return value


def flag(body: Mapping[str, Any], name: str) -> bool:
    """A yes or no in a body, no where it is absent or null. Raises `Unreadable` for anything else."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise Unreadable(f"{name}: true or false is required")
    return bool(value)


def items(body: Mapping[str, Any], name: str) -> list[Any]:
    """A list that a body must have. Raises `Unreadable` where it has none."""
    value = body.get(name)
    if not isinstance(value, list):
        raise Unreadable(f"{name}: a list is required")
    return value


def folded(name: str) -> str:
    """A member's name as the most generous of readers takes it."""
    return name if name.islower() and name.isascii() else unicodedata.normalize("NFKC", name).casefold()


def claimed(body: bytes) -> list[tuple[str, Any]]:
    """The members of a body as the most generous of readers sees them; none where it is no object."""
    members: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal members
        members = pairs
        return dict(pairs)

    try:
        found = json.loads(body, object_pairs_hook=keep)
    except (ValueError, RecursionError):
        return []
    return members if isinstance(found, dict) else []


def _finite(number: str) -> float:
    value = float(number)
    if math.isinf(value):
        raise Unreadable(f"the body holds {number[:32]}, which is no finite number")
    return value


def _no_number(name: str) -> float:
    raise Unreadable(f"the body holds {name}, which is not JSON")


def _doubled(members: list[tuple[str, Any]]) -> set[str]:
    seen: set[str] = set()
    return {name for name, _ in members if name in seen or seen.add(name)}  # type: ignore[func-returns-value]


def _refuse_doubles(members: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in members:
        plain = folded(name)
        spelled = _SPELLED.get(plain)
        if spelled is not None and (plain in seen or name != spelled):
            raise Unreadable(
                f"{spelled}: stands twice in the body, or in letters that not every reader takes for it",
                "model_ambiguous" if plain in NAMING else "body_unreadable",
            )
        seen.add(plain)


def _members(text: str) -> Iterator[tuple[int, int, str]]:
    """Where the value of each member of the outermost object begins and ends in a body, and its name."""
    read = json.JSONDecoder().raw_decode
    at = _after_space(text, text.index("{") + 1)
    while text[at] == '"':
        name, at = read(text, at)
        begin = _after_space(text, _after_space(text, at) + 1)
        _, at = read(text, begin)
        yield begin, at, name
        at = _after_space(text, at)
        if text[at] == ",":
            at = _after_space(text, at + 1)


def _after_space(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _written(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
