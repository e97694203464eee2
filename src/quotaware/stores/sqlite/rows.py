"""Counters, reservations and records as rows of their tables, and back."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from ...core.cells import Cell, Claim
from ...core.ledger import Ended, Open
from ...core.steps import Counter, Plan, Row
from .. import items

TEXTS = 16_384
"""Counters whose text is remembered."""
MANY = 32
"""Rows that one statement inserts."""

encode = json.JSONEncoder(separators=(",", ":")).encode
"""JSON text."""

CellRow = tuple[str, int, int, int, int, int | None, str, int | None]
"""(definition, used, held, cap, rev, next, state, expires)"""

SELECT_CELLS = """
SELECT key, definition, used, held, cap, rev, next, state, expires FROM counter
WHERE org = ? AND key IN (SELECT value FROM json_each(?))"""
PUT_CELL = """
INSERT INTO counter (org, key, definition, used, held, cap, rev, next, state, expires)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (org, key) DO UPDATE SET
    definition = excluded.definition, used = excluded.used, held = excluded.held, cap = excluded.cap,
    rev = excluded.rev, next = excluded.next, state = excluded.state, expires = excluded.expires"""
DROP_CELL = "DELETE FROM counter WHERE org = ? AND key = ?"

RESERVATION = """id, at, lease, hold_tokens, hold_cost, hold_slots, expiry_tokens, expiry_cost, expiry_slots,
    plan, about, how, overrun, tokens, cost, slots"""
SELECT_RESERVATIONS = f"""
SELECT {RESERVATION} FROM reservation WHERE org = ? AND id IN (SELECT value FROM json_each(?))"""  # noqa: S608
PUT_OPEN = """
INSERT INTO reservation (org, id, at, lease, hold_tokens, hold_cost, hold_slots, expiry_tokens, expiry_cost,
    expiry_slots, plan, about)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (org, id) DO UPDATE SET lease = excluded.lease"""
PUT_ENDED = """
INSERT OR REPLACE INTO reservation (org, id, how, overrun, tokens, cost, slots) VALUES (?, ?, ?, ?, ?, ?, ?)"""
PUT_EXPIRED = f"""
INSERT OR REPLACE INTO reservation (org, {RESERVATION})
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""  # noqa: S608
DUE = """
SELECT id, plan FROM reservation WHERE org = ? AND how IS NULL AND lease <= ? ORDER BY lease, id LIMIT ?"""

RECORD = """booked, count, id, part, at, settled_at, about, outcome, how,
    hold_tokens, hold_cost, hold_slots, tokens, cost, slots, overrun"""
PUT_RECORD = f"INSERT INTO record (org, {RECORD}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608


def put(sql: sqlite3.Connection, statement: str, found: Sequence[tuple[Any, ...]]) -> None:
    """Runs a statement that inserts one row for each of many: many rows a statement, which costs less for each."""
    whole = len(found) - len(found) % MANY
    for start in range(0, whole, MANY):
        sql.execute(_many(statement), list(chain.from_iterable(found[start : start + MANY])))
    if whole < len(found):
        sql.executemany(statement, found[whole:])


@lru_cache
def _many(statement: str) -> str:
    values = f"({', '.join('?' * statement.count('?'))})"
    return statement.replace(values, ", ".join([values] * MANY))


@lru_cache(TEXTS)
def counter_text(counter: Counter) -> str:
    """A counter as JSON text."""
    return encode(items.pack_counter(counter))


@lru_cache(TEXTS)
def counter_of(text: str) -> Counter:
    """The counter of its JSON text."""
    return items.unpack_counter(json.loads(text))


def cell_row(cell: Cell) -> CellRow:
    """A counter's state as a row."""
    state = ""
    if cell.ring or cell.fired or cell.claim:
        state = encode([cell.fired, cell.ring, cell.claim])
    return (
        counter_text(cell.counter),
        cell.used,
        cell.held,
        cell.cap,
        cell.rev,
        cell.next,
        state,
        _expires(cell),
    )


def cell_of(row: CellRow) -> Cell:
    """The counter's state of a row."""
    definition, used, held, cap, rev, following, state, _ = row
    cell = Cell(counter_of(definition))
    cell.used, cell.held, cell.cap, cell.rev, cell.next = used, held, cap, rev, following
    if state:
        fired, cell.ring, claim = json.loads(state)
        cell.fired = tuple(fired)
        cell.claim = Claim(*claim) if claim else None
    return cell


def _expires(cell: Cell) -> int | None:
    """When a counter may be forgotten, ms; None: never, or not while it is as it is."""
    counter = cell.counter
    waits = cell.claim.until if cell.claim else 0
    if counter.span:
        return max(cell.ring[-1][1] + counter.span if cell.ring else 0, waits)
    if counter.keep < 0:
        return waits if cell.used == cell.held == 0 else None
    return counter.keep or None


def open_row(org: str, held: Open, plan: bytes) -> tuple[Any, ...]:
    """For PUT_OPEN; `plan` is the digest of the reservation's."""
    return (org, held.id, held.at, held.lease_end, *held.hold, *held.on_expiry, plan, held.about)


def ended_row(org: str, id: str, ended: Ended) -> tuple[Any, ...]:
    """For PUT_ENDED."""
    return (org, id, ended.how, ended.overrun, *ended.charged)


def expired_row(org: str, was: Open, plan: bytes, ended: Ended) -> tuple[Any, ...]:
    """For PUT_EXPIRED."""
    return (*open_row(org, was, plan), ended.how, ended.overrun, *ended.charged)


def reservation_of(
    row: tuple[Any, ...], plan_of: Callable[[bytes], Plan]
) -> tuple[Open | None, Ended | None]:
    """What a row of RESERVATION says: the reservation as it was opened, where that is remembered, and its end.
    `plan_of` finds a plan by its digest.
    """
    id, at, lease, h0, h1, h2, e0, e1, e2, plan, about, how, overrun, *charged = row
    was = Open(id, plan_of(plan), at, lease, (h0, h1, h2), (e0, e1, e2), about) if plan is not None else None
    if how is None:
        return was, None
    tokens, cost, slots = charged
    return was, Ended(how, bool(overrun), (tokens, cost, slots), was)


def record_row(org: str, booked: int, count: int, row: Row) -> tuple[Any, ...]:
    """For PUT_RECORD."""
    return (
        org,
        booked,
        count,
        row.id,
        row.part,
        row.at,
        row.settled_at,
        row.about,
        row.outcome,
        row.how,
        *row.hold,
        *row.real,
        row.overrun,
    )


def record_of(row: tuple[Any, ...]) -> Row:
    """The record of a row of RECORD."""
    _, _, id, part, at, settled_at, about, outcome, how, h0, h1, h2, r0, r1, r2, overrun = row
    return Row(id, part, at, settled_at, about, outcome, how, (h0, h1, h2), (r0, r1, r2), bool(overrun))
