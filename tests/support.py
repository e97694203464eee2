"""What several tests share: clocks that tests own, and a store that audits itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Lock

from quotaware.core.models import Model
from quotaware.core.steps import REQUESTS, Answer, Op, Plan, Reserve, Row, Settle
from quotaware.errors import StoreError
from quotaware.stores.memory import MemoryStore
from quotaware.stores.protocol import Clock, Doc, Store
from quotaware.tenancy import documents, nodes
from quotaware.tenancy.plans import compile_policy
from quotaware.testing.books import books
from quotaware.testing.books import check_books as check
from quotaware.testing.clocks import NOON, FakeClock, ids

__all__ = [
    "NOON",
    "AuditedStore",
    "FakeClock",
    "RunningClock",
    "books",
    "check_books",
    "ids",
    "run_module",
]


NOVEMBER = 1_794_225_600_000
"""2026-11-09T12:00:00Z in ms: the maintained list knows ways of service from 2026-10-15 on."""


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


def check_books(store: Store, org: str, plans: Mapping[str, Plan] | None = None) -> None:
    """I-2, to the unit, rolling windows part by part (`quotaware.testing.books`).

    `plans` says under which plan each id was reserved; without it that is compiled from the documents as they stand
    now, by what the record says of the call, so it holds for a Quota whose limits did not change.
    """
    check(store, org, lambda row: _plan_then(store, org, row) if plans is None else plans[row.id])


def _models(about: Mapping[str, str]) -> list[Model]:
    return [Model(about.get("provider"), about["model"])] if "model" in about else []


def _plan_then(store: Store, org: str, row: Row) -> Plan:
    about = json.loads(row.about or "{}")
    if about.get("lookup"):
        return Plan(org, 0, (), ())
    found: list[nodes.Node] = []
    above = about.get("key") or about.get("project")
    while above:
        _, (doc,) = store.read(org, [above])
        assert doc is not None
        found.append(documents.from_doc(doc))
        above = doc.parent
    path = nodes.Path(org, 0, tuple(found))
    return (
        compile_policy(path, _models(about), about.get("end_user"), row.at).plan
        if found
        else Plan(org, 0, (), ())
    )
