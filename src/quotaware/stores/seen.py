"""What a process saw of each organization last: how it notices that a store was emptied or put back in time.

Epoch and sequence tell that, unless others have written as much as was lost before this process looks again. A store
that can lose what it acknowledged (a failover) keeps each process's own number of writes as well.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from threading import Lock
from typing import NamedTuple

from cachetools import LRUCache

from ..errors import Lost

ORGANIZATIONS = 10_000
"""How many organizations are remembered, those that were used last."""
NEVER = 1 << 52
"""A sequence that none reaches: what is known of an organization from the moment that a loss was met, so that writes of
others, who saw less, do not carry the sequence past it before it is adopted.
"""
IDLE_S = 1800.0
"""After so many seconds without a write a process expects nothing of its number of writes any more: the store may
forget it some time later.
"""


def new_epoch() -> str:
    """A random epoch, 16 hex digits."""
    return secrets.token_hex(8)


class Known(NamedTuple):
    """The newest of an organization: epoch ("": nothing was seen yet), sequence, and how often this process wrote it,
    the last time at `at` (monotonic seconds).
    """

    epoch: str
    seq: int
    writes: int = 0
    at: float = 0.0


NOTHING = Known("", 0)


class Seen:
    """The newest of each organization that this process met. Thread-safe. `writer`: its name among all that write."""

    writer: str

    def __init__(self) -> None:
        self._newest: LRUCache[str, Known] = LRUCache(ORGANIZATIONS)
        self.begin_again()

    def begin_again(self) -> None:
        """In a forked child: what was known stays; the parent's name, and a lock that its thread holds, do not."""
        self._lock = Lock()
        self.writer = secrets.token_hex(6)
        kept: LRUCache[str, Known] = LRUCache(ORGANIZATIONS)
        for org in list(self._newest):
            with contextlib.suppress(
                KeyError
            ):  # one that the parent's thread was just putting in or taking out
                kept[org] = self._newest[org]._replace(writes=0)
        self._newest = kept

    def of(self, org: str) -> Known:
        """What is expected of an organization."""
        with self._lock:
            return self._of(org)

    def _of(self, org: str) -> Known:
        known = self._newest.get(org, NOTHING)
        return known if time.monotonic() - known.at < IDLE_S else known._replace(writes=0)

    def check(self, org: str, epoch: str, seq: int, writes: int | None = None) -> Lost | None:
        """What is wrong with an organization that is met with this epoch ("" where it is not there), sequence and, in a
        store that keeps it, number of this process's writes.
        """
        known = self.of(org)
        mine = known.writes if writes is None else writes
        if not known.epoch or (epoch == known.epoch and seq >= known.seq and mine >= known.writes):
            return None
        self.note(org, known.epoch, NEVER)
        if not epoch:
            return Lost(f"organization {org} is gone from the store, which had it")
        if epoch != known.epoch:
            return Lost(f"organization {org} went on in the store without what this process knows")
        return Lost(
            f"the store has an older state of organization {org}, or one without this process's writes"
        )

    def note(self, org: str, epoch: str, seq: int, writes: int = 0) -> None:
        """Takes note of what a step left; of two, the newer of the same epoch stands."""
        if epoch:
            with self._lock:
                known = self._of(org)
                if epoch == known.epoch:
                    seq = max(seq, known.seq)
                    at = time.monotonic() if writes > known.writes else known.at
                    self._newest[org] = Known(epoch, seq, max(writes, known.writes), at)
                else:
                    self._newest[org] = Known(epoch, seq, writes, time.monotonic())

    def doubt_all(self) -> None:
        """Has each organization met as lost once: another store may be there, in which others wrote as much."""
        with self._lock:
            for org, known in list(self._newest.items()):
                self._newest[org] = known._replace(seq=NEVER)

    def take(self, org: str, epoch: str, seq: int) -> None:
        """Goes on with what is there, after an adoption."""
        with self._lock:
            self._newest[org] = Known(epoch, seq)
