"""All store threads of a process and store: one a lane, so that a server that hangs stalls only what lies on it; two
where the store serves one batch while the next is made ready.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Iterable
from functools import partial
from typing import TypeVar

from ..core.steps import Answer, Op, Peek, Plan, Result, Settle
from .memory import steady
from .protocol import Clock, Store
from .thread import BATCH, Lease, LeaseTerms, StoreThread
from .tickets import Ticket

T = TypeVar("T")

IDLE_S = 600.0
"""A thread without anything to do for so long is let go when another is needed."""


class Lanes:
    """Leads each organization's steps to its lane's thread, started when it is needed first.

    told   hears of every answer before those who wait for it: organization, answer, its steps
    renamed  hears of each call that is about to be booked under a new id: old, new
    timer  what leases are measured with, ms: it does not jump when the clock is set
    """

    def __init__(self, store: Store, clock: Clock, terms: LeaseTerms, deadline: float) -> None:
        self.store = store
        self.terms = terms
        self.deadline = deadline
        self.told: Callable[[str, Answer, list[Op]], None] = lambda org, answer, ops: None
        self.renamed: Callable[[str, str], None] = lambda id, new: None
        self.timer = steady(clock)
        self._parallel: int = getattr(store, "parallel", 1)
        self._threads: dict[Hashable, StoreThread] = {}
        self._beside = StoreThread(store, self.timer, terms, deadline)
        self._closed = False
        self._dropped = 0  # by threads that were let go

    def of(self, org: str, id: str = "") -> StoreThread:
        """The thread of an organization's lane; all steps of one reservation go through the same."""
        lane = (self.store.lane(org), hash(id) % self._parallel)
        thread = self._threads.get(lane)
        if thread is None:
            new = StoreThread(self.store, self.timer, self.terms, self.deadline)
            new.told, new.renamed = self._tell, self._rename
            self._retire()
            if self._closed:
                new.stop(0)
            thread = self._threads.setdefault(lane, new)
        return thread

    def _retire(self) -> None:
        """Lets go of threads that have nothing to do any more: after a failover nothing lies on their lane."""
        for lane, thread in list(self._threads.items()):
            if thread.idle_s() > IDLE_S and self._threads.pop(lane, None) is not None:
                self._dropped += thread.dropped
                thread.rest()

    def _tell(self, org: str, answer: Answer, ops: list[Op]) -> None:
        self._beside.start()
        self.told(org, answer, ops)

    def _rename(self, id: str, new: str) -> None:
        self.renamed(id, new)

    @property
    def inline(self) -> bool:
        """Whether the store never waits, and is called on the caller's own thread."""
        return self.store.lane("") is None

    @property
    def leases(self) -> list[Lease]:
        """The reservations of this process that are kept alive."""
        return [lease for thread in list(self._threads.values()) for lease in thread.leases]

    @property
    def dropped(self) -> int:
        """Settles that will never reach the store."""
        return self._dropped + sum(thread.dropped for thread in list(self._threads.values()))

    def ask(self, org: str, op: Op) -> Ticket[tuple[Result, Answer]]:
        """As `StoreThread.ask`."""
        return self.of(org, "" if isinstance(op, Peek) else op.id).ask(org, op)

    def post(self, org: str, *ops: Settle) -> None:
        """As `StoreThread.post`."""
        by_thread: dict[StoreThread, list[Settle]] = {}
        for op in ops:
            by_thread.setdefault(self.of(org, op.id), []).append(op)
        for thread, own in by_thread.items():
            thread.post(org, *own)

    def call(self, work: Callable[[], T], org: str = "") -> Ticket[T]:
        """Runs a blocking piece of store work, about an organization if one is named, off the caller's loop."""
        return self.of(org).call(work)

    def later(self, work: Callable[[], None]) -> None:
        """As `StoreThread.later`."""
        self.of("").later(work)

    def keep(self, id: str, plan: Plan) -> Lease:
        """Keeps a reservation's lease alive until `drop`."""
        return self.of(plan.org, id).keep(id, plan)

    def drop(self, lease: Lease) -> None:
        """Lets a lease go."""
        self.of(lease.plan.org, lease.id).drop(lease.id)

    def look(self, orgs: Iterable[str]) -> None:
        """Has each organization looked at, which ends the reservations whose lease is over."""
        lanes: dict[StoreThread, list[str]] = {}
        for org in orgs:
            lanes.setdefault(self.of(org), []).append(org)
        for thread, own in lanes.items():
            thread.start()
            for start in range(0, len(own), BATCH):
                thread.later(partial(thread.look, own[start : start + BATCH]))

    def attend(self) -> None:
        """Has what `every` is to be done begin, also before the store's first answer."""
        self._beside.start()

    def every(self, seconds: float, work: Callable[[], None]) -> None:
        """Has a thread of its own do a piece of work so often, from the first answer of the store on."""
        self._beside.every(seconds, work)

    def tend(self) -> None:
        """As `StoreThread.tend`, on every lane."""
        for thread in list(self._threads.values()):
            thread.tend()

    def flush(self, timeout: float) -> bool:
        """Waits (seconds) until everything queued so far has reached the store; whether it has."""
        until = time.monotonic() + timeout
        threads = list(self._threads.values())
        flushed = [thread.flush(max(0.0, until - time.monotonic())) for thread in threads]
        return all(flushed)

    def close(self, timeout: float = 1.0) -> bool:
        """Flushes, ends the threads, closes the store; whether everything had reached it."""
        if self._closed:
            return True
        self._closed = True
        until = time.monotonic() + timeout
        threads = [self._beside, *self._threads.values()]
        flushed = [thread.stop(max(0.0, until - time.monotonic())) for thread in threads]
        self.store.close()
        return all(flushed)
