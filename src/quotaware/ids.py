"""Reservation ids: unique in all processes, ordered by time, and in one process by arrival."""

from __future__ import annotations

import os
from random import Random
from threading import Lock

from . import forks


class Ids:
    """Makes reservation ids: UUID version 7 (RFC 9562) as 32 hex digits, the first twelve the time in ms.

    Each is later than the one before, whatever the clock does: their order is that of arrival, and who waits is served
    in it. Thread-safe; a forked child begins anew, since it must not repeat what its parent makes.
    """

    def __init__(self) -> None:
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: another random part."""
        self._random = Random(os.urandom(32))  # noqa: S311  # unique is enough: an id is no secret
        self._lock = Lock()
        self._last = 0

    def new(self, now: int) -> str:
        """An id made at `now` ms, or right after the last one."""
        tail = self._random.getrandbits(80)
        tail = (tail & ~(0xF << 76)) | (0x7 << 76)
        tail = (tail & ~(0x3 << 62)) | (0x2 << 62)
        with self._lock:
            self._last = max(now << 80 | tail, self._last + 1)
            return f"{self._last:032x}"
