"""The books of a store, read from its dump, and whether they balance (conservation): what was used is what records say,
what is held is what open reservations hold.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..core.cells import Cell, part_ms
from ..core.denied import is_of_denied
from ..core.ledger import Ended, Open
from ..core.steps import REQUESTS, Counter, Plan, Row
from ..stores import items
from ..stores.protocol import Store


@dataclass(frozen=True, slots=True)
class Books:
    """All that an organization's counters, reservations and records say."""

    now: int
    cells: Mapping[str, Cell]
    open: Mapping[str, Open]
    ended: Mapping[str, Ended]
    rows: Sequence[Row]


def books(store: Store, org: str) -> Books:
    """The books of any store, from its dump."""
    found: defaultdict[str, dict[str, Any]] = defaultdict(dict)
    for item in store.dump(org):
        if item.table not in ("doc", "audit"):
            found[item.table][item.key] = json.loads(item.value)
    return Books(
        found["org"].get("", {"now": 0})["now"],
        {key: items.unpack_cell(value) for key, value in found["counter"].items()},
        {id: items.unpack_open(id, value) for id, value in found["open"].items()},
        {id: items.unpack_ended(id, value) for id, value in found["ended"].items()},
        [items.unpack_row(value) for value in found["record"].values()],
    )


@dataclass
class _Expected:
    """What records and open reservations say of a counter: (when, how much) each; requests: calls with a record."""

    counter: Counter
    used: list[tuple[int, int]] = field(default_factory=list)
    held: list[tuple[int, int]] = field(default_factory=list)
    requests: int | None = None

    @property
    def untouched(self) -> bool:
        """Whether no record and no open reservation speaks of it."""
        return self.requests is None and not self.used and not self.held


def check_books(store: Store, org: str, plan_of: Callable[[Row], Plan]) -> None:
    """Used = Σ records that touch a counter, held = Σ open reservations; to the unit, rolling windows part by part.

    `plan_of` says under which plan the call of a record was reserved. A released call leaves no record but keeps its
    place in request rates: these are held to the calls with a record at least, and with the released ones at most.
    Counters that are due to be forgotten are not looked at. Raises `AssertionError`.
    """
    found = books(store, org)
    released = sum(ended.how == "released" for ended in found.ended.values())
    for key, expected in _expected(found, plan_of).items():
        cell = found.cells.get(key)
        if cell is not None and not cell.held and expected.untouched and cell.used <= released:
            continue  # it may count requests, and those of released calls only
        if not (expected.used or expected.held or expected.requests):
            expected.requests = (
                0  # none but released calls touched it, and nobody says what it counts of them
            )
        if expected.counter.span:
            if cell is not None:
                _check_rolling(key, cell, expected, released)
        elif not 0 < expected.counter.keep <= found.now:
            _check_fixed(key, cell, expected, released)


def _expected(found: Books, plan_of: Callable[[Row], Plan]) -> dict[str, _Expected]:
    expected = {key: _Expected(cell.counter) for key, cell in found.cells.items()}

    def of(counter: Counter, index: int) -> _Expected:
        each = expected.setdefault(counter.key, _Expected(counter))
        each.counter = counter
        if index == REQUESTS:
            each.requests = (each.requests or 0) + 1
        return each

    calls: dict[str, list[Row]] = {}
    for row in sorted(found.rows):
        if not is_of_denied(row):  # which are no calls, and touch no counter
            calls.setdefault(row.id, []).append(row)
    for first, *corrections in calls.values():
        for counter, index in plan_of(first).lines:
            each = of(counter, index)
            if index != REQUESTS:
                real = first.real[index - 1] + sum(row.real[index - 1] for row in corrections)
                within = min(real, first.hold[index - 1])
                last = corrections[-1] if corrections else first
                each.used += [(first.at, within), (last.settled_at, real - within)]
    for held in found.open.values():
        for counter, index in held.plan.lines:
            each = of(counter, index)
            if index != REQUESTS:
                each.held.append((held.at, held.hold[index - 1]))
    return expected


def _check_rolling(key: str, cell: Cell, expected: _Expected, released: int) -> None:
    told = (sum(part[2] for part in cell.ring), sum(part[3] for part in cell.ring))
    _equal(f"{key}: used and held, and those of its parts", (cell.used, cell.held), told)
    if expected.requests is not None:
        if cell.used > expected.requests + released or cell.held:
            raise AssertionError(
                f"{key}: {cell.used} requests of {expected.requests} calls, {released} released"
            )
        return
    for index, _, used, held in cell.ring:
        told = (_within(expected.used, index, cell), _within(expected.held, index, cell))
        _equal(f"{key}: used and held in part {index}", (used, held), told)


def _within(entries: Sequence[tuple[int, int]], index: int, cell: Cell) -> int:
    return sum(amount for at, amount in entries if at // part_ms(cell.counter.span) == index)


def _check_fixed(key: str, cell: Cell | None, expected: _Expected, released: int) -> None:
    used, held = (cell.used, cell.held) if cell is not None else (0, 0)
    spent = sum(amount for _, amount in expected.used)
    if expected.requests is not None:
        if not expected.requests <= used <= expected.requests + released:
            raise AssertionError(f"{key}: {used} requests of {expected.requests} calls, {released} released")
        spent = used
    _equal(f"{key}: used and held", (used, held), (spent, sum(amount for _, amount in expected.held)))


def _equal(what: str, found: tuple[int, int], told: tuple[int, int]) -> None:
    if found != told:
        raise AssertionError(f"{what}: {found}, where records and reservations say {told}")
