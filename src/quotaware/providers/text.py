"""Counts text on its way to a model and back, in bytes; what a byte is worth is for others to say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from ..core.counting import Kinds, kinds_of
from ..core.usage import Usage
from .base import Unreadable
from .media import Tokens

TAIL = 65_536
"""Bytes at the end of an event too long to be read whole in which its usage is looked for."""
_USAGE = re.compile(rb'"usage"\s*:\s*(?=\{)')
BYTES_PER_TOKEN = 4
"""Of text in most languages at least so many bytes make a token, so that a count by it is a lower bound."""


@dataclass(slots=True)
class Tally:
    """What a request carries for the model, added up while its body is walked; the fields are `Call`'s, but for these.

    json        bytes of tools and schemas in ASCII, which are part of `text`
    said        all other text
    model, resolution   whose images are looked at how finely, where that decides what they take
    """

    text: int = 0
    parts: int = 0
    media: int = 0
    doubt: int = 0
    tools: int = 0
    opaque: bool = False
    audio: bool = False
    cache_write: bool = False
    json: int = 0
    said: list[bytes] = field(default_factory=list)
    model: str = ""
    resolution: str = ""

    def add(self, text: str) -> None:
        """Adds one piece of text."""
        data = text.encode("utf-8", "surrogatepass")
        self.text += len(data)
        self.said.append(data)

    @property
    def kinds(self) -> Kinds:
        """What kinds of bytes all of it is made of."""
        return kinds_of(b" ".join(self.said), self.json)

    def add_strings(self, value: object) -> None:
        """Adds every string and number in a JSON value, whatever its shape; names of members are not counted."""
        waiting = [value]
        while waiting:
            value = waiting.pop()
            if isinstance(value, str):
                self.add(value)
            elif isinstance(value, list):
                waiting.extend(value)
            elif isinstance(value, dict):
                self.cache_write = self.cache_write or "cache_control" in value
                waiting.extend(value.values())
            elif isinstance(value, int | float):
                self.add(repr(value))

    def add_json(self, value: object) -> None:
        """Adds a JSON value as it is written, names and punctuation included: a schema, a tool."""
        try:
            written = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
        except RecursionError:
            raise Unreadable("the body is nested too deeply") from None
        self.cache_write = self.cache_write or '"cache_control"' in written
        if written.isascii():
            self.text += len(written)
            self.json += len(written)
        else:
            self.add(written)

    def add_media(self, file: Tokens) -> None:
        """Adds an image, a sound or a document."""
        self.media += file.counted
        self.doubt += file.most - file.counted

    def add_tools(self, tools: object) -> None:
        """Adds the definitions of tools."""
        if isinstance(tools, list):
            self.tools += len(tools)
            self.parts += len(tools)
            self.add_json(tools)


# A JSON string as far as it was seen: an escape in it that is cut does not count yet.
_STRING = rb'\s*:\s*"((?:[^"\\]++|\\u[0-9a-fA-F]{4}|\\[^u])*+)'
_DELTA = re.compile(rb'"delta"' + _STRING)
_SAID = re.compile(rb'"text"' + _STRING)
_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)


def delta_size(event: bytes) -> int:
    """Bytes of text that the delta of a streamed event carries, found without parsing it.

    Servers say the same text twice under different names, so the name with the most text counts alone. Of the
    beginnings of one event, a longer one never counts less.
    """
    start = event.find(b'"delta"')
    return said_size(event, _TEXT, start) if start >= 0 else 0


def said_size(event: bytes, named: re.Pattern[bytes], start: int = 0) -> int:
    """The same by a pattern of names and strings, from `start` on."""
    said = named.findall(event, start)
    if len(said) == 1:
        return _unescaped(said[0][1])
    sizes: dict[bytes, int] = {}
    for name, value in said:
        sizes[name] = sizes.get(name, 0) + _unescaped(value)
    return max(sizes.values(), default=0)


def strings_named(*names: str) -> re.Pattern[bytes]:
    """A pattern for `said_size`."""
    return re.compile(b'"(%s)"%s' % ("|".join(names).encode(), _STRING))


# The members of a delta that carry text.
_TEXT = strings_named(
    *("content", "text", "reasoning", "reasoning_content", "thinking"),
    *("refusal", "arguments", "partial_json", "transcript"),
)


def string_delta_size(event: bytes, start: int = 0) -> int:
    """The same of an event whose delta, the first from `start` on, is a text itself."""
    start = event.find(b'"delta"', start)
    found = _DELTA.search(event, start) if start >= 0 else None
    return _unescaped(found[1]) if found else 0


def string_size(event: bytes, name: bytes) -> int:
    """Bytes of the first string of this name in an event, as far as it was seen."""
    found = _first_named(name).search(event)
    return _unescaped(found[1]) if found else 0


@cache
def _first_named(name: bytes) -> re.Pattern[bytes]:
    return re.compile(b'"%s"%s' % (name, _STRING))


def text_size(event: bytes, end: int) -> int:
    """Bytes of the values of `text` in an event up to `end`, found without parsing it."""
    start = event.find(b'"text"')
    said = _SAID.findall(event, start, end) if start >= 0 else []
    return _unescaped(said[0]) if len(said) == 1 else sum(map(_unescaped, said))


def _unescaped(value: bytes) -> int:
    return len(_ESCAPE.sub(b".", value) if b"\\" in value else value)


def seen_tokens(deltas: int, size: int) -> int:
    """Output tokens that went by at least: one for each delta with text, one for `BYTES_PER_TOKEN` bytes."""
    return max(deltas, -(-size // BYTES_PER_TOKEN))


def member(value: object, name: str) -> Any:
    """A member of what should be a JSON object; None where it is none or has no such member."""
    return value.get(name) if isinstance(value, dict) else None


def name_in(value: object, name: str = "model") -> str | None:
    """The name that a member of an answer gives; None where it gives none."""
    found = member(value, name)
    return found if isinstance(found, str) and found else None


def total(*counts: int) -> int:
    """The sum of reported counts; where one is below 0 that one, which no sum may hide."""
    return sum(counts) if min(counts, default=0) >= 0 else min(counts)


def usage_in(event: bytes, read: Callable[[object], Usage | None]) -> Usage | None:
    """The last usage in the end of an event that cannot be read whole: it is too long, or no JSON."""
    tail = event[-TAIL:]
    for found in reversed(list(_USAGE.finditer(tail))):
        try:
            usage, _ = json.JSONDecoder().raw_decode(tail[found.end() :].decode("utf-8", "replace"))
        except (ValueError, RecursionError):
            continue
        if (told := read(usage)) is not None:
            return told
    return None
