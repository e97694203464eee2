"""What a process saw of each organization last: how it notices that a store was emptied or put back in time."""

from __future__ import annotations

import secrets
from threading import Lock

from cachetools import LRUCache

from ..errors import Lost

ORGANIZATIONS = 10_000
"""How many organizations are remembered, those that were used last."""
NEVER = 1 << 52
"""A sequence that none reaches: what is known of an organization from the moment that a loss was met, so that writes of
others, who saw less, do not carry the sequence past it before it is adopted.
"""


def new_epoch() -> str:
    """A random epoch, 16 hex digits."""
    return secrets.token_hex(8)


class Seen:
    """The newest (epoch, sequence) of each organization that this process met. Thread-safe."""

    def __init__(self) -> None:
        self._newest: LRUCache[str, tuple[str, int]] = LRUCache(ORGANIZATIONS)
        self.begin_again()

    def begin_again(self) -> None:
        """In a forked child: what was known stays, a lock that the parent's thread holds does not."""
        self._lock = Lock()

    def of(self, org: str) -> tuple[str, int]:
        """("", 0) where nothing was seen yet."""
        with self._lock:
            return self._newest.get(org, ("", 0))

    def check(self, org: str, epoch: str, seq: int) -> Lost | None:
        """What is wrong with an organization that is met with this epoch ("" where it is not there) and sequence."""
        known, newest = self.of(org)
        if not known or (epoch == known and seq >= newest):
            return None
        self.note(org, known, NEVER)
        if not epoch:
            return Lost(f"organization {org} is gone from the store, which had it")
        if epoch != known:
            return Lost(f"organization {org} went on in the store without what this process knows")
        return Lost(f"the store has an older state of organization {org} ({seq} is not what was seen)")

    def note(self, org: str, epoch: str, seq: int) -> None:
        """Takes note of what a step left; of two, the newer sequence of the same epoch stands."""
        if epoch:
            with self._lock:
                known, newest = self._newest.get(org, ("", 0))
                self._newest[org] = (epoch, max(seq, newest) if epoch == known else seq)

    def take(self, org: str, epoch: str, seq: int) -> None:
        """Goes on with what is there, after an adoption."""
        with self._lock:
            self._newest[org] = (epoch, seq)
