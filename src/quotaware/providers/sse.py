"""Server-sent events as they go by: where one ends, what its data is, which is ours to keep back.

Nothing here knows what an event means; a format's `Answer` does. The bytes that an app sees are never
changed: an event is passed on whole or, where it was asked for by us alone, left out whole.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from typing import Any, Protocol

from .base import Report

EVENT_MAX = 1 << 20
"""Bytes of one event that are read; the rest of a longer one passes unread."""

# Two line ends in a row, each LF, CRLF or CR. A CR that ends the buffer is none yet: its LF may follow.
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r(?!\Z))(?>\r\n|\n|\r(?!\Z))")
_FEW = 8  # lines of an event
_FAR = 1 << 62  # beyond every buffer: -1 becomes that
_CUT_BLANK_LINE = 3  # bytes of a blank line that can stand at the end of a buffer without being one
_BOM = b"\xef\xbb\xbf"


class Splitter:
    """Cuts a stream, fed in any chunking, into its events without decoding any of it.

    All pieces that `feed` yields and then `kept`, joined, are what was fed. What of it is readable does not
    depend on the chunks. `kept` never stays longer than `EVENT_MAX` and a few bytes.
    """

    __slots__ = ("_carriage", "_long", "kept")

    def __init__(self) -> None:
        self.kept = bytearray()
        self._long = False
        self._carriage = False

    def feed(self, data: bytes) -> list[tuple[bytes, bool]]:
        """Answers (piece, readable): an event with its blank line, or the parts of one over `EVENT_MAX`.

        Of such a one the first part is `EVENT_MAX` bytes and readable, the others are not.
        """
        kept = self.kept
        self._carriage = self._carriage or b"\r" in data
        source: bytes | bytearray = data
        begin = looked = 0
        if kept:
            looked = max(len(kept) - _CUT_BLANK_LINE, 0)
            kept += data
            source = kept
        pieces: list[tuple[bytes, bool]] = []
        while (end := self._end(source, looked)) >= 0:
            self._cut(source, begin, end, pieces)
            self._long = False
            begin = looked = end
        if source is kept:
            del kept[:begin]
        elif begin < len(data):
            kept += memoryview(data)[begin:]
        spare = len(kept) - _CUT_BLANK_LINE
        if spare > EVENT_MAX or (self._long and spare > 0):
            self._cut(kept, 0, spare, pieces)
            del kept[:spare]
            self._long = True
        return pieces

    def begun(self) -> bytes:
        """What can be read of the event that is not complete yet."""
        return b"" if self._long else bytes(self.kept[:EVENT_MAX])

    def _end(self, source: bytes | bytearray, start: int) -> int:
        if not self._carriage:
            for _ in range(_FEW):  # one sign is looked for far faster than two
                line = source.find(b"\n", start)
                if line < 0:
                    return -1
                if source.startswith(b"\n", line + 1):
                    return line + 2
                start = line + 1
            found = source.find(b"\n\n", start)
            return found + 2 if found >= 0 else -1
        feed = (
            carriage
        ) = -1  # the next of each sign: looked for apart, it is found far faster where lines are few
        for _ in range(_FEW):
            if feed < start:
                feed = source.find(b"\n", start) % _FAR
            if carriage < start:
                carriage = source.find(b"\r", start) % _FAR
            line = min(feed, carriage)
            if line >= len(source):
                return -1
            if (match := _BLANK_LINE.match(source, line)) is not None:
                return match.end()
            start = line + 1
        match = _BLANK_LINE.search(source, start)
        return match.end() if match else -1

    def _cut(self, source: bytes | bytearray, begin: int, end: int, pieces: list[tuple[bytes, bool]]) -> None:
        with memoryview(source) as view:
            if not self._long:
                head = min(end, begin + EVENT_MAX)
                pieces.append((bytes(view[begin:head]), True))
                begin = head
            if begin < end:
                pieces.append((bytes(view[begin:end]), False))


def single(data: bytes) -> bool:
    """Whether these bytes are one event, from its beginning to its end, as most chunks are: a line or two, and a blank
    one. What it is not sure of it denies.
    """
    if len(data) >= EVENT_MAX:
        return False
    if b"\r" in data:
        return data.endswith(b"\r\n\r\n") and data.count(b"\r") == data.count(b"\n") == 2
    last = len(data) - 2
    end = data.find(b"\n")
    if end < last - 1:
        end = data.find(b"\n", end + 1)
    return end == last and data.endswith(b"\n\n")


def payload(event: bytes) -> bytes:
    """The data of an event: its `data` lines, joined as the standard says."""
    lines = event.removeprefix(_BOM).splitlines()
    return b"\n".join(line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:"))


def message(event: bytes) -> dict[str, Any]:
    """The JSON object that an event carries; an empty one where it carries none that can be read."""
    try:
        found = json.loads(payload(event))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


class Answer(Protocol):
    """What a format makes of a stream's events, taken one by one. Copied to look ahead, so kept shallow."""

    def take(self, event: bytes) -> bool:
        """Reads one event, or the beginning of one. True: it is there only because we asked for it.

        Raises nothing, whatever the bytes are.
        """
        ...

    def report(self) -> Report:
        """What the events taken so far say."""
        ...


class EventReader:
    """The `StreamReader` of every format that streams server-sent events.

    With `hide`, an event waits for its blank line. Where lines end in CR alone it waits for one byte more.
    Without it, an answer that has a method `rest` is given what an event is longer than `EVENT_MAX`, piece by piece.
    """

    __slots__ = ("_answer", "_events", "_hide", "_rest", "take")

    def __init__(self, answer: Answer, hide: bool) -> None:
        self._answer = answer
        self.take = answer.take
        """Takes one whole event by itself, where none has begun."""
        self._rest: Callable[[bytes], None] | None = getattr(answer, "rest", None)
        self._events = Splitter()
        self._hide = hide

    def feed(self, data: bytes) -> bytes:
        """See `StreamReader.feed`; without hiding the answer is `data` itself."""
        if not self._events.kept and single(data):
            return b"" if self.take(data) and self._hide else data
        if self._hide:
            pieces = self._events.feed(data)
            return b"".join(piece for piece, readable in pieces if not (readable and self._ours(piece)))
        for piece, readable in self._events.feed(data):
            if readable:
                self.take(piece)
            elif self._rest is not None:
                self._rest(piece)
        return data

    def flush(self) -> bytes:
        """See `StreamReader.flush`."""
        begun, rest = self._events.begun(), bytes(self._events.kept)
        self._events.kept.clear()
        ours = self._ours(begun) if begun else False
        return rest if self._hide and not ours else b""

    def report(self) -> Report:
        """See `StreamReader.report`; an event that is not complete counts as far as it was seen."""
        begun = self._events.begun()
        if not begun:
            return self._answer.report()
        ahead = copy.copy(self._answer)
        ahead.take(begun)
        return ahead.report()

    def _ours(self, event: bytes) -> bool:
        return self.take(event) and len(event) < EVENT_MAX
