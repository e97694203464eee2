"""What a request says, read within bounds: the body's bytes, its JSON, and the query, by a route's models.

A bad body is told whole: 422 names each bad field (`errors`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar, get_args, get_origin
from urllib.parse import parse_qsl

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from ..errors import BodyTooLarge, ConfigurationError, InvalidRequest, MalformedRequest
from ..words.wire import Body

B = TypeVar("B", bound=Body)
Receive = Callable[[], Awaitable[Mapping[str, Any]]]


class Room(NamedTuple):
    """How large a body may be: bytes, members of one object or array, and of all together."""

    bytes: int = 1 << 20
    widest: int = 2000
    values: int = 40_000


ROOM = Room()
"""More than any request says."""
LARGE = Room(16 << 20, 100_000, 1_000_000)
"""What a whole organization takes."""
DEEPEST = 64
"""Levels of a body's JSON."""
MAX_ERRORS = 100
"""Bad fields that one answer names."""
_NESTING = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[\]{}]', re.DOTALL)
_JSON = re.compile(r"application/(?:[\w.-]+\+)?json", re.IGNORECASE)


class Gone(Exception):
    """Whoever sent the request is not there any more."""


async def read(receive: Receive, headers: Mapping[str, str], room: Room = ROOM) -> bytes:
    """The body. Raises `BodyTooLarge` before it is read whole, `Gone`."""
    most = room.bytes
    too_large = BodyTooLarge(f"The body is over {most} bytes", fields={"limit_bytes": most})
    length = headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > most:
        raise too_large
    found = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Gone
        found += message.get("body", b"")
        if len(found) > most:
            raise too_large
        if not message.get("more_body"):
            return bytes(found)


def parsed(model: type[B], raw: bytes, content_type: str, room: Room = ROOM) -> B:
    """The body as JSON, by a model; an empty one is an empty object. Raises `MalformedRequest`, `InvalidRequest`."""
    if not raw:
        return validated(model, {}, "body")
    if not _JSON.fullmatch(content_type.partition(";")[0].strip() or "application/json"):
        raise MalformedRequest("Content-Type is application/json", code="not_json")
    _check_depth(raw)
    try:
        value = json.loads(raw.decode(), object_pairs_hook=_unique, parse_constant=_no_number)
    except (
        ValueError,
        RecursionError,
    ) as error:  # UnicodeDecodeError is a ValueError, and so is an int too long
        raise MalformedRequest(f"The body is no JSON: {str(error)[:200]}", code="not_json") from None
    _check_size(value, room)
    if not isinstance(value, dict):
        raise MalformedRequest("The body is no JSON object", code="not_json")
    return validated(model, value, "body")


def queried(model: type[B], query: bytes) -> B:
    """The query, by a model; a name twice is an error unless the field takes several. Raises `InvalidRequest`."""
    fields = model.model_fields
    several: dict[str, list[str]] = {}
    for name, value in parse_qsl(query.decode("latin-1"), keep_blank_values=True, max_num_fields=1000):
        several.setdefault(name, []).append(value)
    given: dict[str, Any] = {}
    errors = []
    for name, values in several.items():
        field = fields.get(name)
        if field is not None and _takes_several(field.annotation):
            given[name] = values
        elif len(values) > 1:
            errors.append({"field": name, "message": "is given twice"})
        else:
            given[name] = values[0]
    if errors:
        raise bad_fields(errors)
    return validated(model, given, "query", strict=False)


def validated(model: type[B], value: Mapping[str, Any], what: str, *, strict: bool = True) -> B:
    """The value as a model. Raises `InvalidRequest` naming each bad field."""
    try:
        return model.model_validate(value, strict=strict)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise bad_fields([_told(each, what) for each in found[:MAX_ERRORS]]) from None


def bad_fields(errors: Iterable[Mapping[str, str]]) -> InvalidRequest:
    """The error for these bad fields, each with its `field` and `message`."""
    told = [dict(error) for error in errors]
    summary = "; ".join(f"{error['field']}: {error['message']}" for error in told[:3])
    more = f" and {len(told) - 3} more" if len(told) > 3 else ""
    return InvalidRequest(summary + more, fields={"errors": told})


def _told(error: ErrorDetails, what: str) -> dict[str, str]:
    path = ""
    for part in error["loc"]:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    message = error["msg"].removeprefix("Value error, ")
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, ConfigurationError):  # of fields that do not go together; it names one
        path, message = ".".join(filter(None, (path, cause.field))), str(cause).partition(": ")[2]
    if error["type"] == "extra_forbidden":
        message = "is not known here"
    if error["type"] == "missing":
        message = "is missing"
    return {"field": path[:200] or what, "message": message}


def _takes_several(annotation: Any) -> bool:
    return get_origin(annotation) is list or any(get_origin(each) is list for each in get_args(annotation))


def _check_depth(raw: bytes) -> None:
    if raw.count(b"[") + raw.count(b"{") <= DEEPEST:
        return
    depth = 0
    for found in _NESTING.finditer(raw):
        first = found[0][0]
        if first in b"[{":
            depth += 1
            if depth > DEEPEST:
                raise MalformedRequest(f"The body is nested deeper than {DEEPEST} levels", code="not_json")
        elif first in b"]}":
            depth -= 1


def _check_size(value: Any, room: Room) -> None:
    left = room.values
    waiting = [value]
    while waiting:
        each = waiting.pop()
        inside = each.values() if isinstance(each, dict) else each if isinstance(each, list) else ()
        left -= len(inside)
        if len(inside) > room.widest or left < 0:
            raise MalformedRequest(
                f"The body has more than {room.widest} members in one place, or {room.values} in all",
                code="not_json",
            )
        waiting.extend(inside)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{name[:100]!r} stands in one object twice")
        found[name] = value
    return found


def _no_number(text: str) -> Any:
    raise ValueError(f"{text} is no number of JSON")
