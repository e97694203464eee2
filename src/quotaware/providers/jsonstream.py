"""Answers streamed as JSON: an array whose elements are the events, or objects one after another.

They are read as server-sent events are: each object is handed on as one, piece by piece as it comes, so nothing is
kept here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

from .base import Report, StreamReader
from .sse import EVENT_MAX

# From anywhere outside a string up to the next brace, or the beginning of a string that does not end here. A backslash
# takes what follows it, wherever it stands; outside a string JSON has none.
_OUTSIDE = re.compile(rb'(?:[^"\\{}]++|\\.|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_INSIDE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_ESCAPED = re.compile(rb"\\.", re.DOTALL)
_NO_SIGNS = bytes(sorted({*range(256)} - {*b'"{}'}))
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")  # between values; inside a string JSON has none
_SHAPE_MAX = 256  # braces of an object that is looked at as a whole


class ObjectReader:
    """The `StreamReader` of such an answer, over one that reads events."""

    whole = False
    """Whether an answer that came to its end is complete, whatever it says."""

    __slots__ = ("_depth", "_escaped", "_quoted", "_reader", "_take")

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._take: Callable[[bytes], object] = getattr(reader, "take", reader.feed)
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def feed(self, data: bytes) -> bytes:
        """See `StreamReader.feed`; no object is ever held back."""
        if self._depth == 0 and not self._quoted and not self._escaped and (found := _only_object(data)):
            self._take(b"data: " + found.translate(_LINE_ENDS) + b"\n\n")
        else:
            self._follow(data)
        return data

    def flush(self) -> bytes:
        """See `StreamReader.flush`."""
        self._reader.flush()
        return b""

    def report(self) -> Report:
        """See `StreamReader.report`."""
        return self._reader.report()

    def _follow(self, data: bytes) -> None:
        """Hands on what there is of objects, sign by sign."""
        pieces: list[bytes] = []
        at = begin = 0  # of what belongs to an object, where one is open
        if self._quoted:
            at = self._after_string(data)
        elif self._escaped and data:
            at = 1
            self._escaped = False
        while at < len(data):
            at = _outside(data, at)
            if at == len(data):
                break
            sign = data[at : at + 1]
            at += 1
            if sign == b'"':
                self._quoted = True
                at = self._after_string(data, at)
            elif sign == b"{":
                if self._depth == 0:
                    pieces.append(b"data: ")
                    begin = at - 1
                self._depth += 1
            elif sign == b"\\":
                self._escaped = True
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:
                    pieces += data[begin:at].translate(_LINE_ENDS), b"\n\n"
        if self._depth:
            pieces.append(data[begin:].translate(_LINE_ENDS))
        if pieces:
            self._reader.feed(b"".join(pieces))

    def _after_string(self, data: bytes, at: int = 0) -> int:
        """Where the string ends that is open; the end of the data where it goes on."""
        if self._escaped and at < len(data):
            self._escaped = False
            at += 1
        found = _INSIDE.match(data, at)
        at = found.end() if found else at
        if at < len(data) and data[at : at + 1] == b'"':
            self._quoted = False
            return at + 1
        self._escaped = self._escaped or at < len(data)  # a backslash, and nothing after it
        return len(data)


def _only_object(data: bytes) -> bytes:
    """The object that these bytes hold, where it is whole and there is no other. It is known by the signs that are left
    when strings are taken out; where a brace stands in a string, nothing is answered.
    """
    bare = data
    begin, end = data.find(b"{"), data.rfind(b"}") + 1
    if b"\\" in data:
        if b"\\" in data[:begin] or b"\\" in (data[end - 2 : end - 1], data[-1:]):
            return b""
        bare = _ESCAPED.sub(b"", data)
    signs = bare.translate(None, _NO_SIGNS).replace(b'""', b"")
    return (
        data[begin:end] if len(signs) <= _SHAPE_MAX and _is_pair(signs) and end - begin < EVENT_MAX else b""
    )


@lru_cache(maxsize=64)
def _is_pair(signs: bytes) -> bool:
    """Whether these are two braces and pairs of them in between."""
    depth = 0
    for at, sign in enumerate(signs, 1):
        depth = depth + 1 if sign == ord("{") else depth - 1 if sign == ord("}") else 0
        if depth <= 0:
            return depth == 0 and at == len(signs) and sign == ord("}")
    return False


def _outside(data: bytes, at: int) -> int:
    found = _OUTSIDE.match(data, at)
    return found.end() if found else at
