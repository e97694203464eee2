"""One organization's counters and reservations: what a batch names is loaded, decided on, and written where it moved.

What was loaded stays in the process for as long as nobody else writes the organization: its sequence, which grows with
each write, says so, and is itself looked at only where another connection has written to the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ...core.cells import Cell
from ...core.ledger import Ended, Open, View, decide, totals
from ...core.steps import REMEMBER_MS, REV_STEP, Answer, Extend, Op, Peek, Plan, Settle
from ..seen import new_epoch
from . import rows
from .plans import Plans

DUE = 32
"""Ended leases named in one answer."""
CACHED = 16_384
"""Counters, open reservations and node revisions kept in the process, of all organizations together."""

_COLUMNS = ("epoch", "seq", "now", "rev", "closed", "booked", "count", "folded", "former", "base", "accepted")
_SELECT = f"SELECT {', '.join(_COLUMNS)} FROM org WHERE id = ?"  # noqa: S608
_PUT = f"INSERT OR REPLACE INTO org (id, {', '.join(_COLUMNS)}) VALUES ({', '.join('?' * 12)})"  # noqa: S608
_REVISION = "SELECT rev FROM node WHERE org = ? AND id = ?"


class Organization:
    """An organization's row, and what this process keeps of its counters and reservations.

    written  counter → its row in the file
    plans    digests of plans that are in the file
    others   the file's number for what other connections wrote, when this was last known to be right
    """

    __slots__ = (*_COLUMNS, "cells", "id", "open", "others", "plans", "revs", "size", "written")

    epoch: str
    seq: int
    now: int
    rev: int
    closed: int
    booked: int
    count: int
    folded: str
    former: str
    base: int
    accepted: int

    def __init__(self, id: str, values: Iterable[object] = ("", 0, 0, 0, 0, 0, 0, "", "", 0, 0)) -> None:
        self.id = id
        for name, value in zip(_COLUMNS, values, strict=True):
            setattr(self, name, value)
        self.cells: dict[str, Cell] = {}
        self.written: dict[str, rows.CellRow] = {}
        self.open: dict[str, Open] = {}
        self.revs: dict[str, int] = {}
        self.plans: set[bytes] = set()
        self.others = 0
        self.size = 0

    def save(self, sql: sqlite3.Connection) -> None:
        """Writes the row, one further in its sequence; a new organization begins with an epoch of its own."""
        self.epoch = self.epoch or new_epoch()
        self.seq += 1
        sql.execute(_PUT, (self.id, *(getattr(self, name) for name in _COLUMNS)))

    def forget(self) -> None:
        """Lets go of what this process keeps of it."""
        for kept in (self.cells, self.written, self.open, self.revs, self.plans):
            kept.clear()

    def book(self) -> tuple[int, int]:
        """The next record's position."""
        self.booked, self.count = self.now, self.count + 1 if self.booked == self.now else 0
        return self.booked, self.count


def find(sql: sqlite3.Connection, org: str) -> Organization:
    """An organization as the file has it; without an epoch where it is not there."""
    row = sql.execute(_SELECT, (org,)).fetchone()
    return Organization(org, row) if row is not None else Organization(org)


class Books:
    """The organizations that this process works with. Used inside write transactions, by one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[str, Organization] = {}  # those that were used last at its end
        self._size = 0
        self._plans = Plans()
        self._told: dict[str, int] = {}

    def forget(self) -> None:
        """Forgets what it kept: another file may be behind it."""
        self._known.clear()
        self._size = 0

    def take(self, sql: sqlite3.Connection, org: str, others: int) -> Organization:
        """An organization to work on. It is known again once it is put back, after the transaction was committed."""
        known = self._known.pop(org, None)
        if known is None:
            found = find(sql, org)
        else:
            self._size -= known.size
            if known.others == others:
                return known
            found = find(sql, org)
            if (found.epoch, found.seq) == (known.epoch, known.seq):
                found = known
        found.others = others
        return found

    def put_back(self, state: Organization) -> None:
        """Keeps what is known of an organization, as far as there is room."""
        state.size = 1 + len(state.cells) + len(state.open) + len(state.revs) + len(state.plans)
        if state.size > CACHED:
            state.forget()
            state.size = 1
        self._known[state.id] = state
        self._size += state.size
        while self._size > CACHED:
            self._size -= self._known.pop(next(iter(self._known))).size

    def time(self, state: Organization, clock: int) -> int:
        """The time, ms, never before what an organization was told: a batch that moves nothing does not write it."""
        return max(state.now, clock, self._told.get(state.id, 0))

    def batch(self, sql: sqlite3.Connection, state: Organization, ops: Sequence[Op], clock: int) -> Answer:
        """Runs the steps over what the file says and writes what moved."""
        now = state.now = self.time(state, clock)
        if len(self._told) >= CACHED:
            self._told.clear()
        self._told[state.id] = now
        named = self._load(sql, state, ops)
        before = {id: held.lease_end for id in named.ids if (held := state.open.get(id)) is not None}
        view = View(
            now=now,
            rev=state.rev,
            base=state.base if state.former else -REV_STEP,
            closed=state.closed,
            horizon=now - REMEMBER_MS,
            cells=state.cells,
            open=state.open,
            ended=dict(named.ended),
            revs=state.revs,
        )
        results = decide(view, ops)
        found = totals(view, named.asked.values())
        moved = _write_cells(sql, state, named.keys)
        moved |= self._write_reservations(sql, state, named, before, view)
        moved |= _write_happened(sql, state, view)
        if moved:
            state.save(sql)
        plan_of = self._plans.finder(sql, state.id)
        due = [(id, plan_of(plan)) for id, plan in sql.execute(rows.DUE, (state.id, now, DUE)).fetchall()]
        return Answer(now, state.rev, results, found, due, len(view.fired))

    def _load(self, sql: sqlite3.Connection, state: Organization, ops: Sequence[Op]) -> _Named:
        """Has everything that the steps name in the process: reservations, counters, revisions of nodes."""
        ids = dict.fromkeys(op.id for op in ops if not isinstance(op, Peek))
        ended = self._load_reservations(sql, state, ids)
        asked: dict[int, Op] = {}
        plans: dict[int, Plan] = {}
        for op in ops:
            if not isinstance(op, Extend):
                asked.setdefault(id(op.plan), op)
                plans[id(op.plan)] = op.plan
            if isinstance(op, Settle):
                known = state.open.get(op.id) or ended.get(op.id)
                held = known.was if isinstance(known, Ended) else known
                if held is not None:
                    plans[id(held.plan)] = held.plan
        keys: dict[str, None] = {}
        before: dict[str, None] = {}
        for plan in plans.values():
            for counter, _ in plan.lines:
                keys[counter.key] = None
                if counter.carry is not None:
                    before[counter.carry] = None
            for dep in plan.deps:
                if dep not in state.revs and (row := sql.execute(_REVISION, (state.id, dep)).fetchone()):
                    state.revs[dep] = row[0]
        _load_cells(sql, state, keys | before)
        return _Named(ids, ended, keys, asked)

    def _load_reservations(
        self, sql: sqlite3.Connection, state: Organization, ids: Iterable[str]
    ) -> dict[str, Ended]:
        """Has those that are open in the process; answers those that have ended."""
        ended: dict[str, Ended] = {}
        if missing := [id for id in ids if id not in state.open]:
            plan_of = self._plans.finder(sql, state.id)
            for row in sql.execute(rows.SELECT_RESERVATIONS, (state.id, rows.encode(missing))).fetchall():
                was, end = rows.reservation_of(row, plan_of)
                if end is not None:
                    ended[row[0]] = end
                elif was is not None:
                    state.open[row[0]] = was
        return ended

    def _write_reservations(
        self, sql: sqlite3.Connection, state: Organization, named: _Named, before: dict[str, int], view: View
    ) -> bool:
        opened, closed, expired = [], [], []
        for id in named.ids:
            held = view.open.get(id)
            if held is not None:
                if before.get(id) != held.lease_end:
                    opened.append(rows.open_row(state.id, held, self._plan(sql, state, held.plan)))
                continue
            ended = view.ended.get(id)
            if ended is None or ended is named.ended.get(id):
                continue
            if ended.was is None:
                closed.append(rows.ended_row(state.id, id, ended))
            else:
                plan = self._plan(sql, state, ended.was.plan)
                expired.append(rows.expired_row(state.id, ended.was, plan, ended))
        for statement, put in (
            (rows.PUT_OPEN, opened),
            (rows.PUT_ENDED, closed),
            (rows.PUT_EXPIRED, expired),
        ):
            if put:
                sql.executemany(statement, put)
        return bool(opened or closed or expired)

    def _plan(self, sql: sqlite3.Connection, state: Organization, plan: Plan) -> bytes:
        """The digest of a plan that is in the file."""
        digest = self._plans.digest(plan)
        if digest not in state.plans:
            self._plans.put(sql, state.id, plan, state.now)
            state.plans.add(digest)
        return digest


class _Named(NamedTuple):
    """What a batch names: ids of reservations, those of them that had ended, counters; and a step for each plan."""

    ids: dict[str, None]
    ended: dict[str, Ended]
    keys: dict[str, None]
    asked: dict[int, Op]


def _load_cells(sql: sqlite3.Connection, state: Organization, keys: Iterable[str]) -> None:
    if missing := [key for key in keys if key not in state.cells]:
        for key, *columns in sql.execute(rows.SELECT_CELLS, (state.id, rows.encode(missing))):
            row: rows.CellRow = tuple(columns)
            state.cells[key] = rows.cell_of(row)
            state.written[key] = row


def _write_cells(sql: sqlite3.Connection, state: Organization, keys: Iterable[str]) -> bool:
    put, drop = [], []
    for key in keys:
        cell = state.cells.get(key)
        if cell is None:
            if state.written.pop(key, None) is not None:
                drop.append((state.id, key))
        else:
            row = rows.cell_row(cell)
            if row != state.written.get(key):
                state.written[key] = row
                put.append((state.id, key, *row))
    rows.put(sql, rows.PUT_CELL, put)
    if drop:
        sql.executemany(rows.DROP_CELL, drop)
    return bool(put or drop)


def _write_happened(sql: sqlite3.Connection, state: Organization, view: View) -> bool:
    """Thresholds into the outbox, stops onto their nodes, finished calls into the records."""
    if view.fired:
        events = [fired.event() for fired in view.fired]
        sql.executemany(
            "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?)", [(state.id, *each) for each in events]
        )
    if view.stops:
        stops = [(view.revs[node], mark, state.id, node) for node, mark in view.stops.items()]
        sql.executemany("UPDATE node SET rev = ?, stop = ? WHERE org = ? AND id = ?", stops)
    if view.rows:
        rows.put(sql, rows.PUT_RECORD, [rows.record_row(state.id, *state.book(), row) for row in view.rows])
    state.rev = view.rev
    return bool(view.fired or view.stops or view.rows)
