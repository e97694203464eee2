"""Answers streamed as JSON: an array whose elements are the events, or objects one after another.

They are read as server-sent events are: each object is handed on as one, piece by piece as it comes, so nothing is
kept here.
"""

from __future__ import annotations

import re

from .base import Report, StreamReader

# From anywhere outside a string up to the next brace, or the beginning of a string that does not end here.
_OUTSIDE = re.compile(rb'(?:[^"{}]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_INSIDE = re.compile(rb'(?:[^"\\]++|\\.)*+', re.DOTALL)
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")  # between values; inside a string JSON has none


class ObjectReader:
    """The `StreamReader` of such an answer, over one that reads events."""

    whole = False
    """Whether an answer that came to its end is complete, whatever it says."""

    __slots__ = ("_depth", "_escaped", "_quoted", "_reader")

    def __init__(self, reader: StreamReader) -> None:
        self._reader = reader
        self._depth = 0
        self._quoted = False
        self._escaped = False

    def feed(self, data: bytes) -> bytes:
        """See `StreamReader.feed`; no object is ever held back."""
        pieces: list[bytes] = []
        begin = 0  # of what belongs to an object, where one is open
        at = self._after_string(data) if self._quoted else 0
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
            elif self._depth:
                self._depth -= 1
                if self._depth == 0:
                    pieces += data[begin:at].translate(_LINE_ENDS), b"\n\n"
        if self._depth:
            pieces.append(data[begin:].translate(_LINE_ENDS))
        if pieces:
            self._reader.feed(b"".join(pieces))
        return data

    def flush(self) -> bytes:
        """See `StreamReader.flush`."""
        self._reader.flush()
        return b""

    def report(self) -> Report:
        """See `StreamReader.report`."""
        return self._reader.report()

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


def _outside(data: bytes, at: int) -> int:
    found = _OUTSIDE.match(data, at)
    return found.end() if found else at
