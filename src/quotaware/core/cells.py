"""The state of one counter: what is used, held and claimed, in a fixed window or in the parts of a rolling one."""

from __future__ import annotations

from typing import NamedTuple

from .money import MAX_AMOUNT
from .steps import Counter, Mark, Over

BUCKETS = 50
"""A rolling window is cut into this many parts; entries of one part leave together with its youngest."""
MILLION = 1_000_000
CLAIM_MS = 250
"""How long the oldest waiter's claim stands in a counter without being renewed."""


class Claim(NamedTuple):
    """The oldest waiter's claim on a counter: it counts as held for every younger id."""

    id: str
    amount: int
    until: int


class Cell:
    """The state of one counter: as the newest policy `rev` has it (`counter`), its cap with what was carried over,
    `ring` a rolling window's parts: [index, youngest ms, used, held]. `live`: whether it is in its view.
    """

    __slots__ = ("cap", "claim", "counter", "fired", "held", "live", "next", "rev", "ring", "used")

    def __init__(self, counter: Counter) -> None:
        self.counter = counter
        self.used = 0
        self.held = 0
        self.cap = 0
        self.rev = -1
        self.next: int | None = None
        self.fired: tuple[str, ...] = ()
        self.ring: list[list[int]] = []
        self.claim: Claim | None = None
        self.live = True

    def empty(self, now: int) -> bool:
        """Whether nothing is used, held or claimed here."""
        return self.used == self.held == 0 and (self.claim is None or self.claim.until <= now)

    def renew(self, counter: Counter, rev: int, left: int | None) -> None:
        """The newest policy's cap and thresholds: one that is passed already stays fired, another is armed again.
        `left`: what was left of the period before, None where nothing is carried over. A cell that is not live knows of
        no policy before.
        """
        if not self.live:
            self.rev, self.next, self.fired, self.claim = -1, None, (), None
        newer, cap = rev > self.rev, self.cap
        if newer:
            self.rev, self.counter, self.cap = rev, counter, counter.cap
        if left is not None:
            self.cap = min(MAX_AMOUNT, self.counter.cap + left)
        if newer and (counter.marks or self.next is not None or self.fired):
            self.fired = tuple(m.id for m in counter.marks if m.id in self.fired and self.due(m) <= self.used)
            self.arm()
        elif cap != self.cap and self.counter.marks:
            self.arm()

    def due(self, mark: Mark) -> int:
        """What has to be used so that a threshold is crossed."""
        carried = self.cap - self.counter.cap
        if not mark.share or carried <= 0:
            return mark.at
        return min(MAX_AMOUNT, mark.at + carried * mark.share // MILLION)

    def arm(self) -> None:
        """Notes where the next threshold is crossed that was not yet."""
        self.next = min((self.due(m) for m in self.counter.marks if m.id not in self.fired), default=None)

    def claimed(self, id: str, now: int) -> int:
        """What an older waiter claims of it."""
        claim = self.claim
        if claim is None:
            return 0
        if claim.until <= now:
            self.claim = None
            return 0
        return claim.amount if claim.id < id else 0

    def over(self, counter: Counter, cap: int, hard: bool, ahead: int, amount: int) -> Over:
        """The figures of a cap that `amount` does not fit, `ahead` of it claimed."""
        fits_at = self._fits_at(counter, cap, amount)
        return Over(counter.key, cap, hard, self.used, self.held + ahead, amount, fits_at)

    def take(self, counter: Counter, now: int, used: int = 0, held: int = 0) -> None:
        """Counts amounts from now on."""
        self.used += used
        self.held += held
        if counter.span:
            index = now // part_ms(counter.span)
            if self.ring and self.ring[-1][0] >= index:
                last = self.ring[-1]
                last[1] = now
                last[2] += used
                last[3] += held
            else:
                self.ring.append([index, now, used, held])

    def change(self, at: int, span: int, used: int, held: int) -> None:
        """Changes what an entry of `at` counts in a rolling window, if it still does."""
        index = at // part_ms(span)
        for part in reversed(self.ring):
            if part[0] == index:
                part[2] += used
                part[3] += held
                self.used += used
                self.held += held
            if part[0] <= index:
                return

    def slide(self, span: int, now: int) -> None:
        """Lets go of the parts whose youngest entry is older than the window."""
        gone = 0
        for part in self.ring:
            if part[1] + span > now:
                break
            self.used -= part[2]
            self.held -= part[3]
            gone += 1
        if gone:
            del self.ring[:gone]
            if not self.ring:  # an empty window forgets: its thresholds fire again
                self.fired = ()
                self.arm()

    def _fits_at(self, counter: Counter, cap: int, amount: int) -> int | None:
        if amount > cap:
            return None
        if not counter.span:
            return counter.until if counter.until and self.used + amount > cap else None
        left = self.used + self.held
        if left + amount <= cap:  # only a claim is in the way
            return None
        for _, youngest, used, held in self.ring:
            left -= used + held
            if left + amount <= cap:
                return youngest + counter.span
        return None


def part_ms(span: int) -> int:
    """How many ms of a rolling window leave together: a fiftieth."""
    return max(1, span // BUCKETS)
