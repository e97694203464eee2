"""The decision kernel of every store: what a batch of steps does to counters, reservations and records.

`decide` runs a batch over a `View` (cells, open and ended reservations, revisions) and changes the view in
place. It knows nothing of limits, calendars, prices or tenancy: a `Counter` is an opaque key with a cap, fixed
to a window or rolling, and the caller has computed all of it. Memory runs it over plain dicts; a database
loads what the batch names, runs it, and writes back what moved.

Two-phase as in double-entry ledgers: a reservation holds amounts on all its counters or on none, and ends once:
settled, released or expired.
"""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from .money import MAX_AMOUNT

Amounts = tuple[int, int, int]
"""(tokens, cost in nano-dollars, concurrency). Requests are always 1 and final, so they stand in no vector."""

REQUESTS, TOKENS, COST, CONCURRENCY = range(4)
"""What a plan's line counts: one request, or the amount at this index less one."""

NOTHING: Amounts = (0, 0, 0)
BUCKETS = 50
"""A rolling window is cut into this many parts; entries of one part leave together with its youngest."""
CLAIM_MS = 250
"""How long the oldest waiter's claim stands in a counter without being renewed."""
REMEMBER_MS = 48 * 3600 * 1000
"""How long the end of a reservation is remembered; older ids are refused."""


class Mark(NamedTuple):
    """A threshold of a counter: fires once when `used` reaches `at`; `stop` names a node that it disables."""

    id: str
    at: int
    stop: str | None = None


class Counter(NamedTuple):
    """One limit in one window, as a store sees it.

    key    opaque; fixed windows carry their start in it
    cap    at most this much; `hard` False only reports what goes over
    watch  further caps on the same counter that only report (soft and shadow limits beside a hard one)
    span   length of a rolling window in ms, 0 for a fixed one
    since, until   a fixed window is valid in [since, until) ms; until 0 is for ever
    keep   when a store may forget it, ms (late enough for what settles after its window); 0 never, -1 as soon as it
           is empty
    marks  thresholds
    carry  key of the period before: what was left of it is added to the cap; one that is not there leaves nothing
    """

    key: str
    cap: int
    hard: bool = True
    watch: tuple[int, ...] = ()
    span: int = 0
    since: int = 0
    until: int = 0
    keep: int = 0
    marks: tuple[Mark, ...] = ()
    carry: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All counters that bear on one kind of call, cached by whoever compiled it.

    rev    the organization's revision at which its documents were read (the lowest, where they differ)
    deps   ids of the documents it was made from: it is stale when one of them changed after `rev`
    lines  each counter, once, and what of a call it counts
    """

    org: str
    rev: int
    deps: tuple[str, ...]
    lines: tuple[tuple[Counter, int], ...]


@dataclass(frozen=True, slots=True)
class Reserve:
    """Hold `hold` on every counter of the plan, or on none.

    on_expiry  what is charged if the lease (ms from now) ends unsettled, at most the hold
    about      JSON text for the record, not read here
    wait       leave a claim where only others' holds are in the way
    force      take it whatever the caps say (shadow, replay); dry: decide only
    """

    id: str
    plan: Plan
    hold: Amounts
    on_expiry: Amounts
    lease: int
    about: str
    wait: bool = False
    force: bool = False
    dry: bool = False


How = Literal["settled", "released", "expired"]


@dataclass(frozen=True, slots=True)
class Settle:
    """End a reservation at its real amounts; what is released was never used, and leaves no record.

    `force` books an id that the store never saw (replay).
    """

    id: str
    plan: Plan
    real: Amounts
    outcome: str
    how: How = "settled"
    force: bool = False
    about: str = ""


@dataclass(frozen=True, slots=True)
class Extend:
    """Let a reservation live `lease` ms from now."""

    id: str
    plan: Plan
    lease: int


@dataclass(frozen=True, slots=True)
class Peek:
    """Look at the plan's counters (their totals come with the answer) and install its caps and thresholds."""

    plan: Plan


Op = Reserve | Settle | Extend | Peek

Verdict = Literal["done", "again", "denied", "stale", "window", "ended", "unknown", "closed", "full", "old"]
"""done first time · again the same step repeated, nothing moved · denied every line in the way is in `over` ·
stale the documents in `stale` changed · window a fixed window is not the current one · ended the id is finished ·
unknown no such reservation · closed after a loss · full a counter would pass its exact range · old the id is older
than what is remembered."""


class Over(NamedTuple):
    """One cap that the step would pass (or passed, if not `hard`).

    held counts what an older waiter claims. fits_at: ms at which the same step would fit, other traffic aside;
    None when that is up to others letting go, or never.
    """

    counter: str
    cap: int
    hard: bool
    used: int
    held: int
    asked: int
    fits_at: int | None

    @property
    def waits(self) -> bool:
        """Whether only what others hold is in the way."""
        return self.used + self.asked <= self.cap


@dataclass(frozen=True, slots=True)
class Result:
    """The answer to one step."""

    verdict: Verdict
    over: tuple[Over, ...] = ()
    stale: tuple[str, ...] = ()
    overrun: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one organization's batch.

    now      the store's clock, ms
    rev      the organization's revision
    results  one a step, in order
    totals   (used, held) of the counters of all reserves, settles and peeks, at the batch's end
    due      reservations whose lease has ended, for the caller to settle with how="expired"
    events   how many thresholds fired
    """

    now: int
    rev: int
    results: list[Result]
    totals: dict[str, tuple[int, int]]
    due: list[tuple[str, Plan]]
    events: int


class Claim(NamedTuple):
    """The oldest waiter's claim on a counter: it counts as held for every younger id."""

    id: str
    amount: int
    until: int


class Cell:
    """The state of one counter. `base` is the cap without what was carried over, `ring` a rolling window's parts:
    [index, youngest ms, used, held].
    """

    __slots__ = ("base", "cap", "claim", "fired", "held", "marks", "next", "rev", "ring", "used")

    def __init__(self) -> None:
        self.used = 0
        self.held = 0
        self.base = 0
        self.cap = 0
        self.rev = -1
        self.marks: tuple[Mark, ...] = ()
        self.next: int | None = None
        self.fired: tuple[str, ...] = ()
        self.ring: list[list[int]] = []
        self.claim: Claim | None = None

    def empty(self, now: int) -> bool:
        """Whether nothing is used, held or claimed here."""
        return self.used == self.held == 0 and (self.claim is None or self.claim.until <= now)


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


class Row(NamedTuple):
    """What a finished call leaves. `part` 0 is the call; 1 corrects it by the difference (settled after expiry)."""

    id: str
    part: int
    at: int
    settled_at: int
    about: str
    outcome: str
    how: How
    hold: Amounts
    real: Amounts
    overrun: bool


class Fired(NamedTuple):
    """A threshold that was crossed, at `at` ms with `used`."""

    counter: str
    mark: str
    cap: int
    used: int
    at: int


@dataclass(slots=True)
class View:
    """One organization's state as far as a batch needs it. `decide` changes it in place.

    now      the store's clock, never running back
    rev      the organization's revision; revs: node → revision of its last change; stops: node → mark that stopped it
    closed   no reserve is taken before this ms (after a loss)
    horizon  ids whose time is older are not remembered any more
    rows, fired, made   what the batch appended: records, thresholds, counters that were not there
    """

    now: int = 0
    rev: int = 0
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


def id_time(id: str) -> int:
    """The ms in which a reservation id was made: its first twelve hex digits (UUID version 7, RFC 9562)."""
    return int(id[:12], 16)


def decide(view: View, ops: Sequence[Op]) -> list[Result]:
    """Runs the steps in order over the view and answers each."""
    results = []
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
    for op in ops:
        if not isinstance(op, Extend):
            for counter, _ in op.plan.lines:
                cell = view.cells.get(counter.key)
                if cell is not None and cell.ring:
                    _slide(cell, counter.span, view.now)
                found[counter.key] = (cell.used, cell.held) if cell else (0, 0)
    return found


def _reserve(view: View, op: Reserve) -> Result:
    if refused := _not_now(view, op):
        return refused
    lines = [
        (
            counter,
            _cell(view, counter, op.plan.rev, keep=False),
            1 if index == REQUESTS else op.hold[index - 1],
            index,
        )
        for counter, index in op.plan.lines
    ]
    over: list[Over] = []
    for counter, cell, amount, _ in lines:
        if amount:
            wanted = cell.used + cell.held + amount
            if wanted > MAX_AMOUNT:
                return Result("full")
            if wanted > cell.cap or cell.claim is not None or counter.watch:
                over += _in_the_way(view, op.id, counter, cell, amount)
    hard = [entry for entry in over if entry.hard]
    if hard and not op.force:
        if op.wait and all(entry.waits for entry in hard):
            _leave_claims(view, op.id, lines)
        return Result("denied", tuple(over))
    if not op.dry:
        _hold(view, op.id, lines)
        view.open[op.id] = Open(
            op.id, op.plan, view.now, view.now + op.lease, op.hold, op.on_expiry, op.about
        )
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
    for counter, _ in op.plan.lines:
        if counter.until and not counter.since <= view.now < counter.until:
            return Result("window")
    return None


def _in_the_way(view: View, id: str, counter: Counter, cell: Cell, amount: int) -> list[Over]:
    """The caps of a counter that an amount would pass."""
    ahead = _claimed(cell, id, view.now)
    wanted = cell.used + cell.held + amount
    over = [_over(counter, cell, cap, False, 0, amount) for cap in counter.watch if wanted > cap]
    if wanted + ahead > cell.cap:
        over.insert(0, _over(counter, cell, cell.cap, counter.hard, ahead, amount))
    return over


def _hold(view: View, id: str, lines: list[tuple[Counter, Cell, int, int]]) -> None:
    for counter, cell, amount, index in lines:
        if cell.claim is not None and cell.claim.id == id:
            cell.claim = None
        if amount:
            _put(view, counter, cell)
            if index == REQUESTS:
                _take(cell, counter, view.now, used=amount)
                _fire(view, counter, cell)
            else:
                _take(cell, counter, view.now, held=amount)


def _settle(view: View, op: Settle) -> Result:
    held = view.open.get(op.id)
    if held is None:
        return _settle_unknown(view, op)
    if op.how == "expired" and view.now < held.lease_end:
        return Result("again")
    real = _charged(op, held)
    overrun = real[COST - 1] > held.hold[COST - 1]
    for counter, index in held.plan.lines:
        if index != REQUESTS:
            _charge(view, held, counter, index, held.hold[index - 1], 0, real[index - 1])
    del view.open[op.id]
    view.ended[op.id] = Ended(op.how, overrun, real, held if op.how == "expired" else None)
    if op.how != "released":
        view.rows.append(
            Row(op.id, 0, held.at, view.now, held.about, op.outcome, op.how, held.hold, real, overrun)
        )
    return Result("done", overrun=overrun)


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
    for counter, index in op.plan.lines:
        if amount := 1 if index == REQUESTS else op.real[index - 1]:
            cell = _cell(view, counter, op.plan.rev)
            _take(cell, counter, view.now, used=amount)
            _fire(view, counter, cell)
    view.ended[op.id] = Ended(op.how, charged=op.real)
    view.rows.append(
        Row(op.id, 0, id_time(op.id), view.now, op.about, op.outcome, op.how, NOTHING, op.real, False)
    )
    return Result("done")


def _correct(view: View, op: Settle, was: Open, charged: Amounts) -> Result:
    """Settled after it had expired: the provisional charge becomes the real one, in the reservation's windows."""
    real = _charged(op, was)
    overrun = real[COST - 1] > was.hold[COST - 1]
    for counter, index in was.plan.lines:
        if index != REQUESTS:
            _charge(view, was, counter, index, 0, charged[index - 1], real[index - 1])
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
    for counter, _ in op.plan.lines:
        if counter.key in view.cells:
            _fire(view, counter, _cell(view, counter, op.plan.rev))
    return Result("done")


def stale_deps(view: View, plan: Plan) -> tuple[str, ...]:
    """Documents that changed since the plan's were read. One number says that none did."""
    if plan.rev >= view.rev:
        return ()
    return tuple(dep for dep in plan.deps if view.revs.get(dep, 0) > plan.rev)


def _cell(view: View, counter: Counter, rev: int, keep: bool = True) -> Cell:
    """The counter's cell, its old parts let go and the newest policy's caps and thresholds installed.

    A new one is put into the view only where it is kept: a refusal leaves no counter behind.
    """
    cell = view.cells.get(counter.key)
    if cell is None:
        cell = Cell()
        if keep:
            _put(view, counter, cell)
    if cell.ring:
        _slide(cell, counter.span, view.now)
    if rev > cell.rev:
        cell.rev = rev
        cell.base = cell.cap = counter.cap
        cell.marks = counter.marks
        if counter.marks or cell.fired:
            cell.fired = tuple(m.id for m in counter.marks if m.id in cell.fired and m.at <= cell.used)
            cell.next = min((m.at for m in counter.marks if m.id not in cell.fired), default=None)
    if counter.carry is not None:
        before = view.cells.get(counter.carry)
        left = max(0, before.cap - before.used - before.held) if before else 0
        cell.cap = cell.base + left
    return cell


def _put(view: View, counter: Counter, cell: Cell) -> None:
    if counter.key not in view.cells:
        view.cells[counter.key] = cell
        view.made.append(counter)


def _claimed(cell: Cell, id: str, now: int) -> int:
    claim = cell.claim
    if claim is None:
        return 0
    if claim.until <= now:
        cell.claim = None
        return 0
    return claim.amount if claim.id < id else 0


def _leave_claims(view: View, id: str, lines: list[tuple[Counter, Cell, int, int]]) -> None:
    """Older always wins, so two waiters' claims cannot block each other."""
    for counter, cell, amount, _ in lines:
        claim = cell.claim
        if counter.hard and amount and (claim is None or claim.until <= view.now or id <= claim.id):
            cell.claim = Claim(id, amount, view.now + CLAIM_MS)
            _put(view, counter, cell)


def _withdraw_claims(view: View, op: Settle) -> None:
    """A waiter that gave up is in nobody's way."""
    for counter, _ in op.plan.lines:
        cell = view.cells.get(counter.key)
        if cell is not None and cell.claim is not None and cell.claim.id == op.id:
            cell.claim = None
            if counter.keep < 0 and cell.empty(view.now):
                del view.cells[counter.key]


def _over(counter: Counter, cell: Cell, cap: int, hard: bool, ahead: int, amount: int) -> Over:
    return Over(
        counter.key,
        cap,
        hard,
        cell.used,
        cell.held + ahead,
        amount,
        _fits_at(counter, cell, cap, amount),
    )


def _fits_at(counter: Counter, cell: Cell, cap: int, amount: int) -> int | None:
    if amount > cap:
        return None
    if counter.span:
        left = cell.used + cell.held
        if left + amount <= cap:  # only a claim is in the way
            return None
        for _, youngest, used, held in cell.ring:
            left -= used + held
            if left + amount <= cap:
                return youngest + counter.span
        return None
    return counter.until if counter.until and cell.used + amount > cap else None


def _take(cell: Cell, counter: Counter, now: int, used: int = 0, held: int = 0) -> None:
    cell.used += used
    cell.held += held
    if counter.span:
        index = now // part_ms(counter.span)
        if cell.ring and cell.ring[-1][0] >= index:
            last = cell.ring[-1]
            last[1] = now
            last[2] += used
            last[3] += held
        else:
            cell.ring.append([index, now, used, held])


def _charge(view: View, was: Open, counter: Counter, index: int, held: int, charged: int, real: int) -> None:
    """What a reservation still holds, or was charged when it expired, becomes what it used. What goes over the
    reserved counts from now on.
    """
    if held == 0 and charged == real:
        return
    cell = _cell(view, counter, was.plan.rev)
    excess = max(0, real - was.hold[index - 1])
    part = _part(cell, was.at, counter.span) if counter.span else None
    if part is not None:
        part[2] += real - excess - charged
        part[3] -= held
    if part is not None or not counter.span:
        cell.used += real - excess - charged
        cell.held -= held
    if excess:
        _take(cell, counter, view.now, used=excess)
    if counter.keep < 0 and cell.empty(view.now):
        del view.cells[counter.key]
    elif real > charged:
        _fire(view, counter, cell)


def _slide(cell: Cell, span: int, now: int) -> None:
    ring = cell.ring
    gone = 0
    for part in ring:
        if part[1] + span > now:
            break
        cell.used -= part[2]
        cell.held -= part[3]
        gone += 1
    if gone:
        del ring[:gone]
        if not ring:  # an empty window forgets: its thresholds fire again
            cell.fired = ()
            cell.next = min((m.at for m in cell.marks), default=None)


def _part(cell: Cell, at: int, span: int) -> list[int] | None:
    index = at // part_ms(span)
    for part in reversed(cell.ring):
        if part[0] == index:
            return part
        if part[0] < index:
            return None
    return None


def part_ms(span: int) -> int:
    """How many ms of a rolling window leave together: a fiftieth."""
    return max(1, span // BUCKETS)


def _fire(view: View, counter: Counter, cell: Cell) -> None:
    if cell.next is None or cell.used < cell.next:
        return
    for mark in sorted(cell.marks, key=lambda m: m.at):
        if mark.at <= cell.used and mark.id not in cell.fired:
            cell.fired = (*cell.fired, mark.id)
            view.fired.append(Fired(counter.key, mark.id, cell.cap, cell.used, view.now))
            if mark.stop is not None:
                view.stops[mark.stop] = mark.id
                view.rev += 1
                view.revs[mark.stop] = view.rev
    cell.next = min((m.at for m in cell.marks if m.id not in cell.fired), default=None)
