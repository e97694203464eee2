"""What several tests share: clocks that tests own, and a store that audits itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter as Tally
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from threading import Lock
from typing import Any

from quotaware.core.cells import Cell, part_ms
from quotaware.core.ledger import Ended, Open
from quotaware.core.steps import REQUESTS, Answer, Op, Plan, Reserve, Row, Settle
from quotaware.errors import StoreError
from quotaware.stores import items
from quotaware.stores.memory import MemoryStore
from quotaware.stores.protocol import Clock, Doc, Store
from quotaware.tenancy import nodes
from quotaware.tenancy.plans import compile_policy

NOON = 1_781_524_800_000
"""2026-06-15T12:00:00Z in ms: far from the end of a day, a month, a quarter."""


class FakeClock:
    """ms since the epoch, moved by hand."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> None:
        self.now += ms


class RunningClock:
    """Real time, but begun at `start`: no test that lasts seconds meets the end of a day or month."""

    def __init__(self, start: int = NOON) -> None:
        self._start = start
        self._began = time.monotonic()

    def __call__(self) -> int:
        return self._start + int((time.monotonic() - self._began) * 1000)


class AuditedStore(MemoryStore):
    """The memory store, with a second set of books that knows only what was reserved under which counters.

    threaded  reached through the store thread, as a store that waits for something is
    peaks     counter → the most that was ever used and held on it together
    steps     how many Reserve, Settle, … there were, and how often documents were read
    """

    def __init__(self, clock: Clock, *, threaded: bool = False) -> None:
        super().__init__(clock)
        self.clock = clock
        self._lane = "memory" if threaded else None
        self.peaks: dict[str, int] = {}
        self.steps: Tally[str] = Tally()
        self._plans: dict[str, Plan] = {}
        self._books = Lock()

    def lane(self, org: str) -> str | None:
        return self._lane

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        self.steps["read"] += 1
        return super().read(org, ids)

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        answers = super().apply(work, deadline)
        with self._books:
            self.steps.update(type(op).__name__ for ops in work.values() for op in ops)
            for org, ops in work.items():
                answer = answers[org]
                assert isinstance(answer, Answer)
                for op, result in zip(ops, answer.results, strict=True):
                    if isinstance(op, Reserve) and result.verdict == "done" and not op.dry:
                        self._plans[op.id] = op.plan
                    elif isinstance(op, Settle) and op.force:
                        self._plans.setdefault(op.id, op.plan)
                for counter, (used, held) in answer.totals.items():
                    self.peaks[counter] = max(used + held, self.peaks.get(counter, 0))
        return answers

    @property
    def held(self) -> dict[str, int]:
        """What is held now, by counter; empty where nothing is."""
        return {
            key: cell.held
            for state in self._orgs.values()
            for key, cell in state.view.cells.items()
            if cell.held
        }

    @property
    def used(self) -> dict[str, int]:
        """What is used now, by counter."""
        return {key: cell.used for state in self._orgs.values() for key, cell in state.view.cells.items()}

    def check(self) -> None:
        """I-2: per limit and window, used = Σ records that touch it, and held = Σ open reservations.

        What has left a rolling window is in no cell any more: there used and held are at most the sums.
        """
        for state in self._orgs.values():
            used: Tally[str] = Tally()
            held: Tally[str] = Tally()
            rolling: set[str] = set()
            rows = [row for _, row in state.rows]
            for id in {*(row.id for row in rows), *state.view.open, *state.view.ended}:
                plan = self._plans.get(id)  # none: let go before it had reserved anything
                for counter, index in plan.lines if plan is not None else ():
                    if index == REQUESTS:
                        used[counter.key] += 1
                    if counter.span:
                        rolling.add(counter.key)
            for row in rows:
                for counter, index in self._plans[row.id].lines:
                    if index != REQUESTS:
                        used[counter.key] += row.real[index - 1]
            for open_ in state.view.open.values():
                for counter, index in open_.plan.lines:
                    if index != REQUESTS:
                        held[counter.key] += open_.hold[index - 1]
            for key in used.keys() | held.keys() | state.view.cells.keys():
                cell = state.view.cells.get(key)
                found = (cell.used, cell.held) if cell else (0, 0)
                expected = (used[key], held[key])
                if key in rolling:
                    within = found[0] <= expected[0] and found[1] <= expected[1]
                    assert within, f"{key}: {found} is more than {expected}"
                else:
                    assert found == expected, f"{key}: {found}, its records and reservations say {expected}"


def run_module(name: str, *arguments: str, timeout: float = 120) -> str:
    """What a module of ours prints when it is run in a process of its own, which must end well."""
    root = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", name, *arguments],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ids(clock: Clock) -> Callable[[], str]:
    """Makes reservation ids, each later than the one before: twelve hex digits of time, then a count."""
    numbers = count()
    return lambda: f"{clock():012x}{next(numbers):020x}"


@dataclass
class Books:
    """All that an organization's counters, reservations and records say."""

    now: int
    cells: Mapping[str, Cell]
    open: Mapping[str, Open]
    ended: Mapping[str, Ended]
    rows: Sequence[Row]


def books(store: Store, org: str) -> Books:
    """The books of any store, from its dump."""
    if isinstance(store, MemoryStore):
        state = store._orgs[org]
        view = state.view
        return Books(view.now, view.cells, view.open, view.ended, [row for _, row in state.rows])
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for item in store.dump(org):
        if item.table not in ("doc", "audit"):
            found[item.table][item.key] = json.loads(item.value)
    return Books(
        found["org"][""]["now"],
        {key: items.unpack_cell(value) for key, value in found["counter"].items()},
        {id: items.unpack_open(id, value) for id, value in found["open"].items()},
        {id: items.unpack_ended(id, value) for id, value in found["ended"].items()},
        [items.unpack_row(value) for value in found["record"].values()],
    )


def check_books(store: Store, org: str, plans: Mapping[str, Plan] | None = None) -> None:
    """I-2, to the unit, rolling windows part by part: used = Σ records that touch a counter, held = Σ open ones.

    `plans` says under which plan each id was reserved; without it that is compiled from the documents as they stand
    now, by what the record says of the call, so it holds for a Quota whose limits did not change. A released call
    leaves no record but keeps its place in request rates: these are held to the calls with a record at least, and
    with the released ones at most. Counters that are due to be forgotten are not looked at.
    """
    found_books = books(store, org)
    cells = found_books.cells
    used: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    held: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    requests: Tally[str] = Tally()
    counters = {key: cell.counter for key, cell in cells.items()}
    calls: dict[str, list[Row]] = {}
    for row in sorted(found_books.rows):
        calls.setdefault(row.id, []).append(row)
    for id, rows in calls.items():
        plan = _plan_then(store, org, rows[0]) if plans is None else plans[id]
        for counter, index in plan.lines:
            counters[counter.key] = counter
            if index == REQUESTS:
                requests[counter.key] += 1
                continue
            real = sum(row.real[index - 1] for row in rows)
            within = min(real, rows[0].hold[index - 1])
            used[counter.key] += [(rows[0].at, within), (rows[-1].settled_at, real - within)]
    for open_ in found_books.open.values():
        for counter, index in open_.plan.lines:
            counters[counter.key] = counter
            if index == REQUESTS:
                requests[counter.key] += 1
            else:
                held[counter.key].append((open_.at, open_.hold[index - 1]))
    released = sum(ended.how == "released" for ended in found_books.ended.values())
    for key, counter in counters.items():
        cell = cells.get(key)
        if counter.span:
            if cell is not None:
                assert cell.used == sum(part[2] for part in cell.ring), key
                assert cell.held == sum(part[3] for part in cell.ring), key
                for index, _, part_used, part_held in cell.ring if key not in requests else ():
                    assert part_used == _within(used[key], index, counter.span), (
                        f"{key}: used in part {index}"
                    )
                    assert part_held == _within(held[key], index, counter.span), (
                        f"{key}: held in part {index}"
                    )
                assert cell.used <= requests[key] + released or key not in requests, key
        elif not 0 < counter.keep <= found_books.now:
            found = (cell.used, cell.held) if cell is not None else (0, 0)
            spent = sum(amount for _, amount in used[key])
            if key in requests:
                assert requests[key] <= found[0] <= requests[key] + released, f"{key}: {found[0]} requests"
                spent = found[0]
            assert found == (spent, sum(amount for _, amount in held[key])), f"{key}: used, held are {found}"


def _within(entries: list[tuple[int, int]], index: int, span: int) -> int:
    return sum(amount for at, amount in entries if at // part_ms(span) == index)


def _plan_then(store: Store, org: str, row: Row) -> Plan:
    about = json.loads(row.about or "{}")
    found: list[nodes.Node] = []
    above = about.get("key") or about.get("project")
    while above:
        _, (doc,) = store.read(org, [above])
        assert doc is not None
        found.append(nodes.from_doc(doc))
        above = doc.parent
    path = nodes.Path(org, 0, tuple(found))
    return (
        compile_policy(path, about.get("model"), about.get("end_user"), row.at).plan
        if found
        else Plan(org, 0, (), ())
    )
