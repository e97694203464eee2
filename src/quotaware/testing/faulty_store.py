"""A store that fails as told, around any store: how an app behaves when its store does not answer.

    store = FaultyStore(MemoryStore())
    quota = Quota(store, limits=["$50/month"])
    store.fail()                        # from now on every trip fails, until store.heal()
    store.fail(3, "lost")               # the next three: the store has acted, its answer is lost
    FaultyStore(inner, p=0.01, seed=7)  # each trip by chance, the same ones every time

It is called on the store thread, as a store across a network is, also where the inner one would be called inline.
"""

from __future__ import annotations

import random
import time
from collections import Counter as Tally
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from threading import Lock
from typing import Literal, ParamSpec, TypeVar

from .. import forks
from ..core.steps import Answer, Event, Op, Row, Sum
from ..errors import StoreError
from ..stores.protocol import Change, Doc, Item, Store

P = ParamSpec("P")
T = TypeVar("T")

FaultKind = Literal["refused", "lost", "slow"]
"""refused: the trip fails before the store acts · lost: the store acts, its answer does not come · slow: the store acts
and answers `delay` seconds late, or not at all where that is past the deadline."""


class FaultyStore:
    """Wraps a store; each call of it is one trip.

    p       chance that a trip meets a fault, one of `kinds`; it may be set at any time
    delay   seconds by which a slow trip is late
    seed    of the chance: the same trips in the same order meet the same faults
    trips   how many there were; faults: how many met which fault

    A fault that was asked for by `fail` comes first. Faults are `StoreError`. Thread-safe.
    """

    def __init__(
        self,
        store: Store,
        *,
        p: float = 0.0,
        kinds: Sequence[FaultKind] = ("refused", "lost"),
        delay: float = 0.1,
        seed: int = 0,
    ) -> None:
        self.inner = store
        self.deadline = store.deadline
        self.p = p
        self.delay = delay
        self.trips = 0
        self.faults: Tally[FaultKind] = Tally()
        self._kinds = tuple(kinds)
        self._chance = random.Random(seed)  # noqa: S311 - faults, not secrets
        self._next: FaultKind | None = None
        self._left: int | None = 0
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: as it is."""
        self._lock = Lock()

    def fail(self, times: int | None = None, kind: FaultKind = "refused") -> None:
        """The next `times` trips meet this fault; None: all of them, until `heal`."""
        with self._lock:
            self._next, self._left = kind, times

    def heal(self) -> None:
        """No faults from now on, by chance neither."""
        with self._lock:
            self._left, self.p = 0, 0.0

    def _fault(self) -> FaultKind | None:
        with self._lock:
            self.trips += 1
            if self._left is None or self._left > 0:
                found = self._next
                self._left = None if self._left is None else self._left - 1
            elif self.p and self._chance.random() < self.p:
                found = self._chance.choice(self._kinds)
            else:
                found = None
            if found is not None:
                self.faults[found] += 1
            return found

    def _trip(self, deadline: float, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        fault = self._fault()
        if fault == "refused":
            raise StoreError("the store did not answer (a fault for tests)")
        if fault == "slow":
            time.sleep(min(self.delay, deadline))
        answer = call(*args, **named)
        if fault == "lost" or (fault == "slow" and self.delay > deadline):
            raise StoreError("the store's answer is lost (a fault for tests)")
        return answer

    def _call(self, call: Callable[P, T], *args: P.args, **named: P.kwargs) -> T:
        return self._trip(self.deadline, call, *args, **named)

    # the store

    def hello(self) -> int:
        return self._call(self.inner.hello)

    def lane(self, org: str) -> Hashable | None:
        lane = self.inner.lane(org)
        return "faulty" if lane is None else lane  # it may wait

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        return self._trip(deadline, self.inner.apply, work, deadline)

    def adopt(self, org: str, *, empty: bool = False) -> int | None:
        return self._call(self.inner.adopt, org, empty=empty)

    def link(self, digest: str, org: str, key: str) -> None:
        self._call(self.inner.link, digest, org, key)

    def unlink(self, digest: str) -> None:
        self._call(self.inner.unlink, digest)

    def find(self, digest: str) -> tuple[str, str] | None:
        return self._call(self.inner.find, digest)

    def orgs(self, after: str, limit: int) -> list[str]:
        return self._call(self.inner.orgs, after, limit)

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        return self._call(self.inner.read, org, ids)

    def children(
        self, org: str, kind: str, parent: str, name: str | None, after: str, limit: int
    ) -> list[Doc]:
        return self._call(self.inner.children, org, kind, parent, name, after, limit)

    def commit(self, org: str, change: Change) -> int:
        return self._call(self.inner.commit, org, change)

    def audit(self, org: str, after: int, limit: int) -> list[tuple[int, str]]:
        return self._call(self.inner.audit, org, after, limit)

    def records(
        self, org: str, since: int, until: int, after: str, limit: int, back: bool = False
    ) -> list[tuple[str, Row]]:
        return self._call(self.inner.records, org, since, until, after, limit, back)

    def under_way(self, org: str, limit: int) -> list[tuple[str, str]]:
        return self._call(self.inner.under_way, org, limit)

    def folded(self, org: str) -> str:
        return self._call(self.inner.folded, org)

    def sums(self, org: str, cube: str, since: int, until: int, lead: str = "") -> list[Sum]:
        return self._call(self.inner.sums, org, cube, since, until, lead)

    def pick(self, org: str, which: Sequence[tuple[str, int, str]]) -> list[str | None]:
        return self._call(self.inner.pick, org, which)

    def fold(self, org: str, after: str, upto: str, put: Sequence[Sum]) -> bool:
        return self._call(self.inner.fold, org, after, upto, put)

    def keep(self, org: str, after: str, rows: Sequence[tuple[str, Row]]) -> bool:
        return self._call(self.inner.keep, org, after, rows)

    def outbox(self, org: str, put: Sequence[Event] = (), done: Sequence[str] = ()) -> list[Event]:
        return self._call(self.inner.outbox, org, put, done)

    def once(self, org: str, name: str, value: str, ttl: int, expect: str | None = None) -> str:
        return self._call(self.inner.once, org, name, value, ttl, expect)

    def prune(self, org: str, limit: int) -> int:
        return self._call(self.inner.prune, org, limit)

    def dump(self, org: str) -> Iterator[Item]:
        return self._call(self.inner.dump, org)

    def load(self, org: str, rows: Iterable[Item]) -> None:
        self._call(self.inner.load, org, rows)

    def close(self) -> None:
        """Closes the inner store; this meets no fault."""
        self.inner.close()
