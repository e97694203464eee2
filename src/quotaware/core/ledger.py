"""The decision kernel of every store: what a batch of steps does to counters, reservations and records.

`decide` runs a batch over a `View` (cells, open and ended reservations, revisions) and changes the view in
place. It knows nothing of limits, calendars, prices or tenancy: a `Counter` is an opaque key with a cap, fixed
to a window or rolling, and the caller has computed all of it. Memory runs it over plain dicts; a database
loads what the batch names, runs it, and writes back what moved.

Two-phase as in double-entry ledgers: a reservation holds amounts on all its counters or on none, and ends once:
settled, released or expired.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from .cells import CLAIM_MS, Cell, Claim, part_ms
from .money import MAX_AMOUNT
from .steps import (
    COST,
    NOTHING,
    REQUESTS,
    REV_STEP,
    Amounts,
    Counter,
    Event,
    Extend,
    How,
    Op,
    Over,
    Peek,
    Plan,
    Reserve,
    Result,
    Row,
    Settle,
    id_time,
)


@dataclass(slots=True)
class Open:
    """A reservation under way."""

    id: str
    plan: Plan
    at: int
    lease_end: int
    hold: Amounts
    on_expiry: Amounts
    about: str


@dataclass(frozen=True, slots=True)
class Ended:
    """What is remembered of a finished reservation; an expired one is kept whole, since it may be corrected."""

    how: How
    overrun: bool = False
    charged: Amounts = NOTHING
    was: Open | None = None


class Fired(NamedTuple):
    """A threshold that was crossed, at `at` ms with `used`. `armed`: which arming of it that was (`_arming`); "" where
    an older version wrote it.
    """

    counter: str
    mark: str
    cap: int
    used: int
    at: int
    armed: str = ""

    def event(self) -> Event:
        """What is to be told of it, once an arming."""
        told = {"counter": self.counter, "mark": self.mark, "cap": self.cap, "used": self.used}
        id = f"{self.counter}|{self.mark}|{self.cap}" + (f"|{self.armed}" if self.armed else "")
        return Event(id, self.at, json.dumps(told, separators=(",", ":")))


_ARMED = re.compile(r"(.*)\|(r[0-9]+(?:\.[0-9]+)?)", re.DOTALL)


def armed_of(event: str) -> tuple[str, str]:
    """The id of an event that `Fired.event` made, without the arming, and that; "" for none."""
    found = _ARMED.fullmatch(event)
    return (found[1], found[2]) if found else (event, "")


@dataclass(slots=True)
class View:
    """One organization's state as far as a batch needs it. `decide` changes it in place.

    now      the store's clock, never running back
    rev      the organization's revision; revs: node → revision of its last change; stops: node → mark that stopped it
    base     the revision from before the last adoption; what was read at one given out between the two is lost
    closed   no reserve is taken before this ms (after a loss)
    horizon  ids whose time is older are not remembered any more
    rows, fired, made   what the batch appended: records, thresholds, counters that were not there
    plans, new          what the batch has looked up: the cells of each plan, and those that are not in `cells`
    """

    now: int = 0
    rev: int = 0
    base: int = -REV_STEP
    closed: int = 0
    horizon: int = 0
    cells: MutableMapping[str, Cell] = field(default_factory=dict)
    open: MutableMapping[str, Open] = field(default_factory=dict)
    ended: MutableMapping[str, Ended] = field(default_factory=dict)
    revs: MutableMapping[str, int] = field(default_factory=dict)
    stops: MutableMapping[str, str] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    fired: list[Fired] = field(default_factory=list)
    made: list[Counter] = field(default_factory=list)
    plans: dict[int, Looked] = field(default_factory=dict)
    new: dict[str, Cell] = field(default_factory=dict)


class Looked(NamedTuple):
    """A plan's lines with their cells, and whether its fixed windows are the current ones."""

    plan: Plan
    current: bool
    lines: list[tuple[Counter, Cell, int]]


_DONE = Result("done")


def decide(view: View, ops: Sequence[Op]) -> list[Result]:
    """Runs the steps in order over the view and answers each."""
    results = []
    view.plans.clear()
    view.new.clear()
    for op in ops:
        if isinstance(op, Reserve):
            results.append(_reserve(view, op))
        elif isinstance(op, Settle):
            results.append(_settle(view, op))
        elif isinstance(op, Extend):
            results.append(_extend(view, op))
        else:
            results.append(_peek(view, op))
    return results


def totals(view: View, ops: Iterable[Op]) -> dict[str, tuple[int, int]]:
    """(used, held) of every counter that the batch's reserves, settles and peeks bear on."""
    found: dict[str, tuple[int, int]] = {}
    cells = view.cells
    for plan in {id(op.plan): op.plan for op in ops if not isinstance(op, Extend)}.values():
        for counter, _ in plan.lines:
            key = counter.key
            cell = cells.get(key)
            if cell is None:
                found[key] = (0, 0)
            else:
                if cell.ring:
                    cell.slide(counter.span, view.now)
                found[key] = (cell.used, cell.held)
    return found


def _reserve(view: View, op: Reserve) -> Result:
    if refused := _not_now(view, op):
        return refused
    rev = op.plan.rev
    amounts = (1, *op.hold)
    lines = _look(view, op.plan).lines
    over: list[Over] = []
    for counter, cell, index in lines:
        if cell.rev < rev or not cell.live or counter.carry is not None:
            _renew(view, counter, cell, rev)
        if amount := amounts[index]:
            wanted = cell.used + cell.held + amount
            if wanted > MAX_AMOUNT:
                return Result("full")
            if wanted > cell.cap or cell.claim is not None or counter.watch:
                over += _in_the_way(view, op.id, counter, cell, amount)
    if not over:
        if not op.dry:
            _open(view, op, lines, amounts)
        return _DONE
    hard = [entry for entry in over if entry.hard]
    if hard and not op.force:
        if op.wait and all(entry.waits for entry in hard):
            _leave_claims(view, op.id, lines, amounts)
        return Result("denied", tuple(over))
    if not op.dry:
        _open(view, op, lines, amounts)
    return Result("done", tuple(over))


def _not_now(view: View, op: Reserve) -> Result | None:
    """Why a reserve is not even looked at, if so."""
    if op.id in view.open:
        return Result("again")
    if op.id in view.ended:
        return Result("ended")
    if id_time(op.id) < view.horizon:
        return Result("old")
    if op.force:
        return None
    if view.now < view.closed:
        return Result("closed")
    if stale := stale_deps(view, op.plan):
        return Result("stale", stale=stale)
    return None if _look(view, op.plan).current else Result("window")


def _in_the_way(view: View, id: str, counter: Counter, cell: Cell, amount: int) -> list[Over]:
    """The caps of a counter that an amount would pass."""
    ahead = cell.claimed(id, view.now)
    wanted = cell.used + cell.held + amount
    over = [cell.over(counter, cap, False, 0, amount) for cap in counter.watch if wanted > cap]
    if wanted + ahead > cell.cap:
        over.insert(0, cell.over(counter, cell.cap, counter.hard, ahead, amount))
    return over


def _open(view: View, op: Reserve, lines: list[tuple[Counter, Cell, int]], amounts: tuple[int, ...]) -> None:
    """Takes the amounts: requests are used at once, all else is held."""
    now = view.now
    for counter, cell, index in lines:
        if cell.claim is not None and cell.claim.id == op.id:
            cell.claim = None
        if amount := amounts[index]:
            if not cell.live:
                _put(view, cell)
            if index == REQUESTS:
                cell.take(counter, now, used=amount)
                _fire(view, counter, cell)
            elif counter.span:
                cell.take(counter, now, held=amount)
            else:
                cell.held += amount
    view.open[op.id] = Open(op.id, op.plan, now, now + op.lease, op.hold, op.on_expiry, op.about)


def _settle(view: View, op: Settle) -> Result:
    held = view.open.get(op.id)
    if held is None:
        return _settle_unknown(view, op)
    if op.how == "expired" and view.now < held.lease_end and not op.force:
        return Result("again")
    real = _charged(op, held)
    hold = held.hold
    overrun = real[COST - 1] > hold[COST - 1]
    for counter, cell, index in _look(view, held.plan).lines:
        if index != REQUESTS:
            _charge(view, held, counter, cell, index, hold[index - 1], 0, real[index - 1])
    del view.open[op.id]
    view.ended[op.id] = Ended(op.how, overrun, real, held if op.how == "expired" else None)
    if op.how != "released":
        view.rows.append(
            Row(op.id, 0, held.at, view.now, held.about, op.outcome, op.how, held.hold, real, overrun)
        )
    return Result("done", overrun=True) if overrun else _DONE


def _charged(op: Settle, was: Open) -> Amounts:
    """What the end of a reservation is charged."""
    if op.how == "settled":
        return op.real
    if op.how == "released":
        return NOTHING
    tokens, cost, concurrency = map(min, was.on_expiry, was.hold)
    return (tokens, cost, concurrency)


def _settle_unknown(view: View, op: Settle) -> Result:
    ended = view.ended.get(op.id)
    if ended is not None:
        if ended.was is None or op.how == "expired":
            return Result("again", overrun=ended.overrun)
        return _correct(view, op, ended.was, ended.charged)
    if id_time(op.id) < view.horizon:
        return Result("old")
    if op.how == "released":  # a reserve that arrives after its release must find it ended
        _withdraw_claims(view, op)
        view.ended[op.id] = Ended("released")
        return Result("done")
    if not op.force:
        return Result("unknown")
    for counter, cell, index in _look(view, op.plan).lines:
        if amount := 1 if index == REQUESTS else op.real[index - 1]:
            _renew(view, counter, cell, op.plan.rev)
            _put(view, cell)
            cell.take(counter, view.now, used=amount)
            _fire(view, counter, cell)
    view.ended[op.id] = Ended(op.how, charged=op.real)
    view.rows.append(
        Row(
            op.id,
            0,
            min(id_time(op.id), view.now),
            view.now,
            op.about,
            op.outcome,
            op.how,
            NOTHING,
            op.real,
            False,
        )
    )
    return Result("done")


def _correct(view: View, op: Settle, was: Open, charged: Amounts) -> Result:
    """Settled after it had expired: the provisional charge becomes the real one, in the reservation's windows."""
    real = _charged(op, was)
    overrun = real[COST - 1] > was.hold[COST - 1]
    for counter, cell, index in _look(view, was.plan).lines:
        if index != REQUESTS:
            _charge(view, was, counter, cell, index, 0, charged[index - 1], real[index - 1])
    change = (real[0] - charged[0], real[1] - charged[1], real[2] - charged[2])
    view.ended[op.id] = Ended(op.how, overrun, real)
    view.rows.append(
        Row(op.id, 1, was.at, view.now, was.about, op.outcome, op.how, was.hold, change, overrun)
    )
    return Result("done", overrun=overrun)


def _extend(view: View, op: Extend) -> Result:
    held = view.open.get(op.id)
    if held is None:
        return Result("ended" if op.id in view.ended else "unknown")
    held.lease_end = max(held.lease_end, view.now + op.lease)
    return Result("done")


def _peek(view: View, op: Peek) -> Result:
    if stale := stale_deps(view, op.plan):
        return Result("stale", stale=stale)
    for counter, cell, _ in _look(view, op.plan).lines:
        if cell.live:
            _renew(view, counter, cell, op.plan.rev)
            _fire(view, counter, cell)
    return Result("done")


def stale_deps(view: View, plan: Plan) -> tuple[str, ...]:
    """Documents that changed, or went, since the plan's were read. One number says that none did, or that the plan's
    were read before a loss and in part may be gone with it.
    """
    if plan.rev >= view.rev:
        return ()
    if view.base < plan.rev < view.base + REV_STEP:
        return plan.deps
    gone = view.rev  # a document that is not there is one that went
    return tuple(dep for dep in plan.deps if view.revs.get(dep, gone) > plan.rev)


def _look(view: View, plan: Plan) -> Looked:
    """The plan's counters, what left their windows let go: once in a batch."""
    found = view.plans.get(id(plan))
    if found is not None:
        return found
    current = True
    lines = []
    for counter, index in plan.lines:
        cell = view.cells.get(counter.key) or view.new.get(counter.key)
        if cell is None:
            cell = view.new[counter.key] = Cell(counter)
            cell.live = False
        elif cell.ring:
            cell.slide(counter.span, view.now)
        if counter.until and not counter.since <= view.now < counter.until:
            current = False
        lines.append((counter, cell, index))
    found = view.plans[id(plan)] = Looked(plan, current, lines)
    return found


def _renew(view: View, counter: Counter, cell: Cell, rev: int) -> None:
    """The newest policy's cap and thresholds, and what was left of the period before."""
    left = None
    if counter.carry is not None:
        before = view.cells.get(counter.carry)
        left = max(0, before.cap - before.used - before.held) if before else counter.idle
    cell.renew(counter, rev, left)


def _put(view: View, cell: Cell) -> None:
    """A new counter comes into the view only with what moves it: a refusal leaves none behind."""
    if not cell.live:
        cell.live = True
        view.cells[cell.counter.key] = cell
        view.made.append(cell.counter)


def _drop(view: View, cell: Cell) -> None:
    cell.live = False
    del view.cells[cell.counter.key]
    view.new[cell.counter.key] = cell  # it may come again in this batch


def _leave_claims(
    view: View, id: str, lines: list[tuple[Counter, Cell, int]], amounts: tuple[int, ...]
) -> None:
    """Older always wins, so two waiters' claims cannot block each other."""
    for counter, cell, index in lines:
        claim, amount = cell.claim, amounts[index]
        if counter.hard and amount and (claim is None or claim.until <= view.now or id <= claim.id):
            cell.claim = Claim(id, amount, view.now + CLAIM_MS)
            _put(view, cell)


def _withdraw_claims(view: View, op: Settle) -> None:
    """A waiter that gave up is in nobody's way."""
    for counter, _ in op.plan.lines:
        cell = view.cells.get(counter.key)
        if cell is not None and cell.claim is not None and cell.claim.id == op.id:
            cell.claim = None
            if counter.keep < 0 and cell.empty(view.now):
                _drop(view, cell)


def _charge(
    view: View, was: Open, counter: Counter, cell: Cell, index: int, held: int, charged: int, real: int
) -> None:
    """What a reservation still holds, or was charged when it expired, becomes what it used. What goes over the
    reserved counts from now on.
    """
    if held == 0 and charged == real:
        return
    rev = was.plan.rev
    if cell.rev < rev or not cell.live or counter.carry is not None:
        _renew(view, counter, cell, rev)
        _put(view, cell)
    if counter.span:
        excess = max(0, real - was.hold[index - 1])
        cell.change(was.at, counter.span, real - excess - charged, -held)
        if excess:
            cell.take(counter, view.now, used=excess)
    else:
        cell.used += real - charged
        cell.held -= held
    if counter.keep < 0 and cell.empty(view.now):
        _drop(view, cell)
    elif real > charged:
        _fire(view, counter, cell)


def _fire(view: View, counter: Counter, cell: Cell) -> None:
    if cell.next is None or cell.used < cell.next:
        return
    for mark in sorted(cell.counter.marks, key=cell.due):
        if cell.due(mark) <= cell.used and mark.id not in cell.fired:
            cell.fired = (*cell.fired, mark.id)
            armed = _arming(counter, cell, view.now)
            view.fired.append(Fired(counter.key, mark.id, cell.cap, cell.used, view.now, armed))
            if mark.stop is not None:
                view.stops[mark.stop] = mark.id
                view.rev += 1
                view.revs[mark.stop] = view.rev
    cell.arm()


def _arming(counter: Counter, cell: Cell, now: int) -> str:
    """What tells two armings of a threshold apart: only a newer policy arms it again, and of a rolling window that was
    empty what begins it. Both are in the counter, so that a crossing that was lost is the same one when it is replayed
    on what is left of that.
    """
    if not counter.span:
        return f"r{cell.rev}"
    return f"r{cell.rev}.{cell.ring[0][0] if cell.ring else now // part_ms(counter.span)}"
