"""The memory store: the kernel over dicts under one lock, called inline. For tests, and for one process.

Everything is bounded: the ends of reservations are remembered up to `remember` (older ids are then refused),
records up to `records`, counters until their window is over.
"""

from __future__ import annotations

import heapq
import json
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import dropwhile, islice, takewhile
from threading import Lock
from typing import Any

from .. import forks
from ..core.cells import Cell
from ..core.ledger import View, decide, totals
from ..core.steps import (
    REMEMBER_MS,
    Answer,
    Counter,
    Event,
    Extend,
    Op,
    Plan,
    Reserve,
    Row,
    Sum,
    id_time,
    position,
    position_of,
)
from ..errors import Conflict, StoreError
from . import items
from .protocol import Change, Clock, Doc, Item

SWEEP = 8
"""Counters looked at for removal in one batch, besides one for each line of it."""
IDLE_MS = 60_000
"""How often a counter that goes as soon as it is empty is looked at, where a claim had kept it."""
IDLE = 10_000
"""Leases that are remembered though their reservations have ended."""
DUE = 32
"""Ended leases named in one answer."""


def system_clock() -> int:
    """The operating system's time in ms since the epoch, UTC."""
    return time.time_ns() // 1_000_000


def uptime() -> int:
    """ms since some moment, of a clock that nobody sets."""
    return time.monotonic_ns() // 1_000_000


def steady(clock: Clock) -> Clock:
    """What to measure ages with: a clock of one's own as it is, but not the operating system's, which may be set."""
    return uptime if clock is system_clock else clock


class _Organization:
    """One organization's state. `leases` and `sweeps` are heaps by time, their entries checked when they come up;
    `swept` has the counters that stand in `sweeps`.
    """

    def __init__(self, records: int) -> None:
        self.view = View()
        self.leases: list[tuple[int, str]] = []
        self.sweeps: list[tuple[int, str]] = []
        self.swept: dict[str, Counter] = {}
        self.rows: deque[tuple[tuple[int, int], Row]] = deque(maxlen=records)
        self.booked = (0, 0)
        self.folded = ""
        self.sums: dict[tuple[str, int, str], Sum] = {}
        self.events: dict[str, Event] = {}
        self.docs: dict[str, Doc] = {}
        self.names: dict[tuple[str, str, str], str] = {}
        self.audit: deque[tuple[int, str]] = deque(maxlen=records)
        self.once: dict[str, tuple[str, int]] = {}


class MemoryStore:
    """Counters, reservations, records and documents of this process, gone with it.

    clock     ms since the epoch; time never runs back inside
    records   rows kept an organization; remember: ends of reservations kept an organization
    """

    deadline = 1.0

    def __init__(
        self, clock: Clock = system_clock, *, records: int = 100_000, remember: int = 100_000
    ) -> None:
        self._clock = clock
        self._orgs: dict[str, _Organization] = {}
        self._links: dict[str, tuple[str, str]] = {}
        self._records = records
        self._remember = remember
        self._closed = False
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: a copy, from now on its own."""
        self._lock = Lock()

    def hello(self) -> int:
        self._check()
        return self._clock()

    def lane(self, org: str) -> Hashable | None:
        return None

    def close(self) -> None:
        self._closed = True

    # what happens

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        with self._lock:
            self._check()
            return {org: self._batch(self._of(org), ops) for org, ops in work.items()}

    def _batch(self, state: _Organization, ops: Sequence[Op]) -> Answer:
        view = state.view
        view.now = max(view.now, self._clock())
        view.horizon = max(view.horizon, view.now - REMEMBER_MS)
        results = decide(view, ops)
        for op in ops:
            if isinstance(op, Reserve | Extend) and (held := view.open.get(op.id)) is not None:
                heapq.heappush(state.leases, (held.lease_end, op.id))
        events = len(view.fired)
        if events:
            for event in [fired.event() for fired in view.fired]:
                state.events.setdefault(event.id, event)
            view.fired.clear()
        for row in view.rows:
            state.booked = (view.now, state.booked[1] + 1 if state.booked[0] == view.now else 0)
            state.rows.append((state.booked, row))
        view.rows.clear()
        due = self._due(state) if state.leases and state.leases[0][0] <= view.now else []
        answer = Answer(view.now, view.rev, results, totals(view, ops), due, events)
        if view.made or (state.sweeps and state.sweeps[0][0] <= view.now):
            self._sweep(state, SWEEP + sum(len(op.plan.lines) for op in ops))
        self._forget(state)
        return answer

    def _due(self, state: _Organization) -> list[tuple[str, Plan]]:
        view = state.view
        due: dict[str, Plan] = {}
        while state.leases and state.leases[0][0] <= view.now and len(due) < DUE:
            end, id = heapq.heappop(state.leases)
            held = view.open.get(id)
            if held is not None and held.lease_end <= end:
                due[id] = held.plan
        for id in due:  # named again until somebody has settled them
            heapq.heappush(state.leases, (view.open[id].lease_end, id))
        return list(due.items())

    def _sweep(self, state: _Organization, most: int) -> None:
        """Plans the removal of counters that are new, and removes up to `most` that are over."""
        view = state.view
        for counter in view.made:
            cell = view.cells.get(counter.key)
            if cell is not None and counter.key not in state.swept and (end := _end(counter, cell, view.now)):
                state.swept[counter.key] = counter
                heapq.heappush(state.sweeps, (end, counter.key))
        view.made.clear()
        for _ in range(most):
            if not state.sweeps or state.sweeps[0][0] > view.now:
                return
            _, key = heapq.heappop(state.sweeps)
            cell = view.cells.get(key)
            end = _end(state.swept[key], cell, view.now) if cell is not None else 0
            if end > view.now:
                heapq.heappush(state.sweeps, (end, key))
            else:
                view.cells.pop(key, None)
                del state.swept[key]

    def _forget(self, state: _Organization) -> None:
        view = state.view
        if len(state.leases) > IDLE + 2 * len(view.open):  # mostly of what is settled by now
            state.leases = [(held.lease_end, id) for id, held in view.open.items()]
            heapq.heapify(state.leases)
        while len(view.ended) > self._remember:
            oldest = next(iter(view.ended))
            del view.ended[oldest]
            view.horizon = max(view.horizon, id_time(oldest) + 1)

    # the tree

    def link(self, digest: str, org: str, key: str) -> None:
        with self._lock:
            self._check()
            self._links[digest] = (org, key)

    def unlink(self, digest: str) -> None:
        with self._lock:
            self._check()
            self._links.pop(digest, None)

    def find(self, digest: str) -> tuple[str, str] | None:
        with self._lock:
            self._check()
            return self._links.get(digest)

    def orgs(self, after: str, limit: int) -> list[str]:
        with self._lock:
            self._check()
            ids = sorted(org for org, state in self._orgs.items() if state.docs)
            start = bisect_right(ids, after)
            return ids[start : start + limit]

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        with self._lock:
            self._check()
            state = self._orgs.get(org)
            if state is None:
                return 0, [None] * len(ids)
            return state.view.rev, [self._doc(state, id) for id in ids]

    def children(
        self, org: str, kind: str, parent: str, name: str | None, after: str, limit: int
    ) -> list[Doc]:
        with self._lock:
            self._check()
            state = self._orgs.get(org)
            if state is None:
                return []
            if parent and name is not None:
                named = state.names.get((kind, parent, name))
                found = [named] if named is not None and named > after else []
            else:
                found = sorted(
                    id
                    for id, doc in state.docs.items()
                    if doc.kind == kind
                    and (not parent or doc.parent == parent)
                    and (name is None or doc.name == name)
                    and id > after
                )
            return [doc for id in islice(found, limit) if (doc := self._doc(state, id)) is not None]

    def commit(self, org: str, change: Change) -> int:
        with self._lock:
            state = self._of(org)
            view = state.view
            if view.rev != change.expect:
                raise Conflict(f"organization {org} is at revision {view.rev}, not {change.expect}")
            _check_names(state.names, change)
            view.rev += 1
            for id in change.drop:
                _unname(state, state.docs.pop(id, None))
                view.stops.pop(id, None)
                view.revs.pop(id, None)
            for doc in change.put:
                _unname(state, state.docs.get(doc.id))
                state.docs[doc.id] = doc._replace(rev=view.rev)
                if doc.name is not None:
                    state.names[doc.kind, doc.parent, doc.name] = doc.id
                view.revs[doc.id] = view.rev
            for id in change.resume:
                view.stops.pop(id, None)
                view.revs[id] = view.rev
            if change.audit:
                state.audit.append((view.rev, change.audit))
            return view.rev

    def audit(self, org: str, after: int, limit: int) -> list[tuple[int, str]]:
        with self._lock:
            self._check()
            state = self._orgs.get(org)
            return list(islice((row for row in state.audit if row[0] > after), limit)) if state else []

    def once(self, org: str, name: str, value: str, ttl: int, expect: str | None = None) -> str:
        with self._lock:
            state = self._of(org)
            now = max(state.view.now, self._clock())
            standing, until = state.once.get(name, ("", 0))
            if until > now and standing != expect:
                return standing
            state.once = {key: entry for key, entry in state.once.items() if entry[1] > now}
            state.once[name] = (value, now + ttl)
            return value

    # what happened

    def records(
        self, org: str, since: int, until: int, after: str, limit: int, back: bool = False
    ) -> list[tuple[str, Row]]:
        start = max((since, -1), position_of(after))
        with self._lock:
            self._check()
            state = self._orgs.get(org)
            if state is None:
                return []
            if back:
                end = min((until, 0), position_of(after)) if after else (until, 0)
                older = dropwhile(lambda entry: entry[0] >= end, reversed(state.rows))
                found = islice(takewhile(lambda entry: entry[0][0] >= since, older), limit)
                return [(position(*at), row) for at, row in found]
            first = bisect_right(state.rows, start, key=lambda entry: entry[0])
            return [
                (position(*at), row) for at, row in islice(state.rows, first, first + limit) if at[0] < until
            ]

    def under_way(self, org: str, limit: int) -> list[tuple[str, str]]:
        with self._lock:
            self._check()
            state = self._orgs.get(org)
            held = state.view.open.values() if state is not None else ()
            return [(each.id, each.about) for each in islice(held, limit)]

    def folded(self, org: str) -> str:
        with self._lock:
            return self._of(org).folded

    def sums(self, org: str, cube: str, since: int, until: int, lead: str = "") -> list[Sum]:
        with self._lock:
            return [
                each
                for each in self._of(org).sums.values()
                if each.cube == cube and since <= each.bucket < until and each.dims.startswith(lead)
            ]

    def pick(self, org: str, which: Sequence[tuple[str, int, str]]) -> list[str | None]:
        with self._lock:
            found = self._of(org).sums
            return [found[key].body if key in found else None for key in which]

    def fold(self, org: str, after: str, upto: str, put: Sequence[Sum]) -> bool:
        with self._lock:
            state = self._of(org)
            if state.folded != after:
                return False
            state.folded = upto
            for each in put:
                state.sums[each.cube, each.bucket, each.dims] = each
            return True

    def keep(self, org: str, after: str, rows: Sequence[tuple[str, Row]]) -> bool:
        with self._lock:
            state = self._of(org)
            if state.folded != after:
                return False
            for at, row in rows:
                state.folded, state.booked = at, position_of(at)
                state.rows.append((state.booked, row))
            return True

    def outbox(self, org: str, put: Sequence[Event] = (), done: Sequence[str] = ()) -> list[Event]:
        with self._lock:
            events = self._of(org).events
            for event in put:
                events.setdefault(event.id, event)
            for id in done:
                events.pop(id, None)
            return sorted(events.values(), key=lambda event: (event.at, event.id))

    # house-keeping

    def adopt(self, org: str, *, empty: bool = False) -> int | None:
        with self._lock:
            return self._of(org).view.rev  # what a process keeps for itself is not lost behind its back

    def prune(self, org: str, limit: int) -> int:
        with self._lock:
            state = self._of(org)
            past = [key for key, each in state.sums.items() if each.keep <= state.view.now]
            for key in past[:limit]:
                del state.sums[key]
            return min(limit, len(past))

    def dump(self, org: str) -> Iterator[Item]:
        with self._lock:
            yield from list(_dump(self._of(org)))
            for digest, (home, key) in self._links.items():
                if home == org:
                    yield items.item("link", digest, key)

    def load(self, org: str, rows: Iterable[Item]) -> None:
        with self._lock:
            state = self._of(org)
            if state.docs or state.view.cells or state.rows:
                raise StoreError(f"organization {org} is in this store already")
            for item in rows:
                if item.table == "link":
                    self._links[item.key] = (org, json.loads(item.value))
                else:
                    _load(state, item)
            for cell in list(state.view.cells.values()):
                state.view.made.append(cell.counter)
            self._sweep(state, 0)

    def _check(self) -> None:
        if self._closed:
            raise StoreError("the memory store is closed")

    def _of(self, org: str) -> _Organization:
        self._check()
        state = self._orgs.get(org)
        if state is None:
            state = self._orgs[org] = _Organization(self._records)
        return state

    def _doc(self, state: _Organization, id: str) -> Doc | None:
        doc = state.docs.get(id)
        return doc and doc._replace(rev=state.view.revs[id], stopped=state.view.stops.get(id))


def _end(counter: Counter, cell: Cell, now: int) -> int:
    """When a counter may be forgotten, ms; 0: never."""
    if counter.span:
        last = cell.ring[-1][1] + counter.span if cell.ring else now
        return max(last, cell.claim.until) if cell.claim else last
    if counter.keep < 0:
        return now if cell.empty(now) else now + IDLE_MS
    return counter.keep


def _dump(state: _Organization) -> Iterator[Item]:
    view = state.view
    told = {"rev": view.rev, "closed": view.closed, "now": view.now, "folded": state.folded}
    yield items.item("org", "", told)
    for doc in state.docs.values():
        yield items.doc_item(doc._replace(rev=view.revs[doc.id], stopped=view.stops.get(doc.id)))
    for rev, text in state.audit:
        yield Item("audit", str(rev), text)
    for key, cell in view.cells.items():
        yield items.item("counter", key, items.pack_cell(cell))
    for id, held in view.open.items():
        yield items.item("open", id, items.pack_open(held))
    for id, ended in view.ended.items():
        yield items.item("ended", id, items.pack_ended(ended))
    for at, row in state.rows:
        yield items.item("record", position(*at), items.pack_row(row))
    for total in state.sums.values():
        yield items.sum_item(total)
    for event in state.events.values():
        yield items.item("event", event.id, event[1:])
    for name, entry in state.once.items():
        yield items.item("once", name, entry)


def _load(state: _Organization, item: Item) -> None:
    view, key = state.view, item.key
    value: Any = json.loads(item.value) if item.table != "audit" else item.value
    match item.table:
        case "org":
            view.rev, view.closed, view.now = value["rev"], value["closed"], value["now"]
            state.folded = value["folded"]
        case "doc":
            doc = items.doc_of(item)
            state.docs[key] = doc
            view.revs[key] = doc.rev
            if doc.stopped is not None:
                view.stops[key] = doc.stopped
            if doc.name is not None:
                state.names[doc.kind, doc.parent, doc.name] = key
        case "audit":
            state.audit.append((int(key), value))
        case "counter":
            view.cells[key] = items.unpack_cell(value)
        case "open":
            view.open[key] = items.unpack_open(key, value)
            heapq.heappush(state.leases, (view.open[key].lease_end, key))
        case "ended":
            view.ended[key] = items.unpack_ended(key, value)
        case "record":
            state.booked = position_of(key)
            state.rows.append((state.booked, items.unpack_row(value)))
        case "sum":
            total = items.sum_of(item)
            state.sums[total[:3]] = total
        case "event":
            state.events[key] = items.event_of(item)
        case "once":
            state.once[key] = (value[0], value[1])


def _check_names(names: Mapping[tuple[str, str, str], str], change: Change) -> None:
    """Raises `Conflict` where two documents would bear one name after the change."""
    moved = {*change.drop, *(doc.id for doc in change.put)}
    given: dict[tuple[str, str, str], str] = {}
    for doc in change.put:
        if doc.name is not None:
            place = (doc.kind, doc.parent, doc.name)
            standing = names.get(place, doc.id)
            if given.setdefault(place, doc.id) != doc.id or (standing != doc.id and standing not in moved):
                raise Conflict(f"there is a {doc.kind} named {doc.name!r} already")


def _unname(state: _Organization, doc: Doc | None) -> None:
    if doc is not None and doc.name is not None:
        place = (doc.kind, doc.parent, doc.name)
        if state.names.get(place) == doc.id:
            del state.names[place]
