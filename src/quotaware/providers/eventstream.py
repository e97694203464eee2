"""AWS's event streams (`application/vnd.amazon.eventstream`), frame by frame as they go by.

A frame is: its length, that of its headers and a checksum of both (4 bytes each), headers, payload, and a checksum of
all (smithy.io, "Event streams: binary encoding"). What is in a payload is the business of formats.
"""

from __future__ import annotations

import binascii
import re
import struct
import zlib
from collections.abc import Callable

from .base import Report
from .sse import EVENT_MAX, Answer

_PRELUDE = struct.Struct(">III")
_CHECKSUM = 4
_SMALLEST = _PRELUDE.size + _CHECKSUM
_LARGEST = 25 * 1024 * 1024  # a payload has at most 16 MiB, headers 128 KiB; beyond that it is no frame
_LINE_ENDS = bytes.maketrans(b"\r\n", b"  ")
_WRAPPED = re.compile(rb'\s*\{\s*"bytes"\s*:\s*"')


def wrapped(payload: bytes) -> bytes:
    """What is inside a payload of the form `{"bytes": "<base64>", …}`; empty where it has not that form."""
    found = _WRAPPED.match(payload)
    end = payload.find(b'"', found.end()) if found else -1
    try:
        return binascii.a2b_base64(payload[found.end() : end], strict_mode=True) if found and end > 0 else b""
    except binascii.Error:
        return b""


class FrameReader:
    """The `StreamReader` of such a stream: each payload is an event, as if it were the data of a server-sent one.

    A frame of more than `EVENT_MAX` bytes passes unread; from what is no frame on, all does.
    """

    __slots__ = ("_answer", "_broken", "_inside", "_kept", "_skip")

    def __init__(self, answer: Answer, inside: Callable[[bytes], bytes] | None = None) -> None:
        self._answer = answer
        self._inside = inside
        self._kept = bytearray()
        self._skip = 0
        self._broken = False

    def feed(self, data: bytes) -> bytes:
        """See `StreamReader.feed`; no frame is ever held back."""
        if self._kept or self._skip:
            self._kept += data
            del self._kept[: self._read(self._kept)]
        elif not self._broken:
            self._kept += data[self._read(data) :]
        if self._broken:
            self._kept.clear()
        return data

    def flush(self) -> bytes:
        """See `StreamReader.flush`."""
        self._kept.clear()
        return b""

    def report(self) -> Report:
        """See `StreamReader.report`; a frame that is not complete does not count."""
        return self._answer.report()

    def _read(self, data: bytes | bytearray) -> int:
        """Hands on the frames that are whole; answers where they end."""
        at, have = 0, len(data)
        while True:
            if self._skip:
                skipped = min(self._skip, have - at)
                self._skip -= skipped
                at += skipped
            if self._skip or have - at < _PRELUDE.size:
                return at
            size, headers, checksum = _PRELUDE.unpack_from(data, at)
            if (
                not _SMALLEST <= size <= _LARGEST
                or headers > size - _SMALLEST
                or zlib.crc32(data[at : at + 8]) != checksum
            ):
                self._broken = True
                return at
            if size > EVENT_MAX:
                self._skip = size
            elif have - at < size:
                return at
            else:
                event = bytes(data[at + _PRELUDE.size + headers : at + size - _CHECKSUM])
                if self._inside is not None:
                    event = self._inside(event)
                if event:
                    self._answer.take(b"data: " + event.translate(_LINE_ENDS))
                at += size
