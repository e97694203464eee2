"""The waiting room: calls that fit what is spent and are kept out only by what others hold, oldest first.

Within a process the order is that of arrival, counter by counter; between processes the oldest waiter's claim in the
counter keeps younger calls from taking what it waits for (`core/ledger.py`).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Iterable
from threading import RLock

from . import forks
from .stores.tickets import Ticket


class Waiter:
    """One call that waits. `turn` is resolved when it may try again."""

    __slots__ = ("id", "keys", "turn")

    def __init__(self, id: str, keys: frozenset[str]) -> None:
        self.id = id
        self.keys = keys
        self.turn: Ticket[None] = Ticket()

    def __lt__(self, other: Waiter) -> bool:
        return self.id < other.id


class WaitingRoom:
    """Lines of waiters, one a counter, each in the order of their ids (which is the order of arrival)."""

    def __init__(self, most: int) -> None:
        self._most = most
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: nobody waits here."""
        self._lock = RLock()  # a finalizer may leave while its thread is in here
        self._lines: dict[str, list[Waiter]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def ahead(self, keys: Iterable[str]) -> frozenset[str]:
        """Those of the counters that somebody waits for already: a younger call queues behind."""
        if not self._count:
            return frozenset()
        with self._lock:
            return frozenset(key for key in keys if key in self._lines)

    def join(self, id: str, keys: frozenset[str]) -> Waiter | None:
        """Takes a place in the line of each counter; None where the room is full."""
        waiter = Waiter(id, keys)
        with self._lock:
            if self._count >= self._most:
                return None
            self._count += 1
            for key in keys:
                insort(self._lines.setdefault(key, []), waiter)
        return waiter

    def again(self, waiter: Waiter, keys: frozenset[str]) -> None:
        """Before each try: a new turn (so that what is let go during the try is not missed), and the counters that
        were in the way the last time.
        """
        with self._lock:
            heads = self._remove(waiter, waiter.keys - keys)
            for key in keys - waiter.keys:
                insort(self._lines.setdefault(key, []), waiter)
            waiter.keys = keys
            waiter.turn = Ticket()
        _call(heads)

    def leave(self, waiter: Waiter) -> None:
        """Gives up the place; those who are first now get their turn."""
        with self._lock:
            self._count -= 1
            heads = self._remove(waiter, waiter.keys)
            waiter.keys = frozenset()
        _call(heads)

    def first(self, waiter: Waiter) -> bool:
        """Whether nobody older waits for any of its counters. If somebody does, its next turn is one to come: an
        earlier one was for the head of one line that is not the head of all.
        """
        with self._lock:
            if all(self._lines[key][0] is waiter for key in waiter.keys):
                return True
            waiter.turn = Ticket()
            return False

    def moved(self, keys: Iterable[str]) -> None:
        """Something was let go on these counters: the first of each line gets its turn."""
        if not self._count:
            return
        with self._lock:
            heads = [line[0] for key in keys if (line := self._lines.get(key))]
        _call(heads)

    def _remove(self, waiter: Waiter, keys: frozenset[str]) -> list[Waiter]:
        heads = []
        for key in keys:
            line = self._lines[key]
            line.remove(waiter)
            if line:
                heads.append(line[0])
            else:
                del self._lines[key]
        return heads


def _call(waiters: list[Waiter]) -> None:
    for waiter in waiters:
        waiter.turn.resolve(None)
