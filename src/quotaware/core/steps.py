"""What a store is asked, and what it answers: the values of the ledger, with no decision in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Amounts = tuple[int, int, int]
"""(tokens, cost in nano-dollars, concurrency). Requests are always 1 and final, so they stand in no vector."""

REQUESTS, TOKENS, COST, CONCURRENCY = range(4)
"""What a plan's line counts: one request, or the amount at this index less one."""

NOTHING: Amounts = (0, 0, 0)
REMEMBER_MS = 48 * 3600 * 1000
"""How long the end of a reservation is remembered; older ids are refused."""
REV_STEP = 1 << 20
"""How far an adoption after a loss moves an organization's revision: past all that was given out and may be lost."""


class Mark(NamedTuple):
    """A threshold of a counter: fires once when `used` reaches `at`, and `share` millionths of what was carried over on
    top; `stop` names a node that it disables.
    """

    id: str
    at: int
    stop: str | None = None
    share: int = 0


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
    carry  key of the period before, which ended where this one begins and is kept as long after its end: what was left
           of it is added to the cap
    idle   what the period before leaves if it is not there, since nothing moved it
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
    idle: int = 0


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

    `force` books an id that the store never saw (replay), and lets one expire before its lease ends.
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


class Event(NamedTuple):
    """Something that is to be told to people: `id` is its idempotency key, `body` JSON text."""

    id: str
    at: int
    body: str


class Sum(NamedTuple):
    """What many records come to. `bucket` is when its hour or day begins (ms); `dims` and `body` are JSON text that a
    store does not read; it may be forgotten at `keep` ms.
    """

    cube: str
    bucket: int
    dims: str
    body: str
    keep: int


def position(ms: int, count: int) -> str:
    """Where a record stands in the order in which records were booked: the ms, and which of that ms."""
    return f"{ms}-{count}"


def position_of(text: str) -> tuple[int, int]:
    """(ms, count) of a position; "" is before all."""
    ms, _, count = text.partition("-")
    return (int(ms), int(count)) if text else (-1, -1)


def id_time(id: str) -> int:
    """The ms in which a reservation id was made: its first twelve hex digits (UUID version 7, RFC 9562)."""
    return int(id[:12], 16)
