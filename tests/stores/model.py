"""A plain model of the rules, for stores to be held to: it keeps every call and all that each was charged, and sums
anew each time. What ought to be, without a thought for speed; nothing of the kernel is in it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Literal, NamedTuple

from quotaware.core.cells import CLAIM_MS
from quotaware.core.steps import COST, NOTHING, REQUESTS, Amounts, Counter, Extend, Op, Plan, Reserve, Settle


class Entry(NamedTuple):
    """An amount that counts from a moment on, for as long as its window is (`span` 0: for ever)."""

    at: int
    span: int
    amount: int


@dataclass
class Call:
    """One reservation, from its reserve to its end."""

    plan: Plan
    at: int = 0
    hold: Amounts = NOTHING
    on_expiry: Amounts = NOTHING
    lease_end: int = 0
    state: Literal["open", "expired", "ended"] = "open"
    overrun: bool = False


Passed = tuple[str, int, bool, int, int, int]
"""A cap that is, or was, in the way: counter, cap, hard, used, held, asked."""


class Expected(NamedTuple):
    """What a store must say to a step."""

    verdict: str
    over: frozenset[Passed] = frozenset()
    stale: frozenset[str] = frozenset()
    overrun: bool = False


def wanted(line: tuple[Counter, int], amounts: Amounts) -> int:
    """What a line counts of a call."""
    return 1 if line[1] == REQUESTS else amounts[line[1] - 1]


def counted(entries: Iterable[Entry], now: int) -> int:
    """What entries come to that have not left their window."""
    return sum(entry.amount for entry in entries if not entry.span or now < entry.at + entry.span)


class Model:
    """One organization; time is told it with each question. `uses` and `holds` are by counter, then by call."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.requests: defaultdict[str, list[Entry]] = defaultdict(list)
        self.uses: defaultdict[str, dict[str, tuple[Entry, Entry]]] = defaultdict(dict)
        self.holds: defaultdict[str, dict[str, Entry]] = defaultdict(dict)
        self.claims: dict[str, tuple[str, int, int]] = {}
        self.rev = 0
        self.revs: dict[str, int] = {}

    def used(self, key: str, now: int) -> int:
        return counted([*chain.from_iterable(self.uses[key].values()), *self.requests[key]], now)

    def held(self, key: str, now: int) -> int:
        return counted(self.holds[key].values(), now)

    def due(self, now: int) -> set[str]:
        """Whose lease has ended."""
        return {id for id, call in self.calls.items() if call.state == "open" and call.lease_end <= now}

    def change(self, rev: int, node: str) -> None:
        """A document changed, at this revision of the organization."""
        self.rev = self.revs[node] = rev

    def stale(self, plan: Plan) -> frozenset[str]:
        return frozenset(dep for dep in plan.deps if self.revs.get(dep, 0) > plan.rev)

    def take(self, op: Op, now: int) -> Expected:
        """Does a step; answers what a store must say to it."""
        if isinstance(op, Reserve):
            return self._reserve(op, now)
        if isinstance(op, Settle):
            return self._settle(op, now)
        if isinstance(op, Extend):
            return self._extend(op, now)
        stale = self.stale(op.plan)
        return Expected("stale" if stale else "done", stale=stale)

    def _reserve(self, op: Reserve, now: int) -> Expected:
        if op.id in self.calls:
            return Expected("again" if self.calls[op.id].state == "open" else "ended")
        if not op.force:
            if stale := self.stale(op.plan):
                return Expected("stale", stale=stale)
            if any(
                counter.until and not counter.since <= now < counter.until for counter, _ in op.plan.lines
            ):
                return Expected("window")
        over = frozenset(self._over(op, now))
        hard = [passed for passed in over if passed[2]]
        if hard and not op.force:
            if op.wait and all(used + asked <= cap for _, cap, _, used, _, asked in hard):
                self._claim(op, now)
            return Expected("denied", over)
        if not op.dry:
            self._withdraw(op.id)
            self.calls[op.id] = Call(op.plan, now, op.hold, op.on_expiry, now + op.lease)
            self._count_request(op.plan, now)
            for counter, index in op.plan.lines:
                if index != REQUESTS:
                    self.holds[counter.key][op.id] = Entry(now, counter.span, op.hold[index - 1])
        return Expected("done", over)

    def _over(self, op: Reserve, now: int) -> set[Passed]:
        over = set()
        for counter, index in op.plan.lines:
            if amount := wanted((counter, index), op.hold):
                used, held = self.used(counter.key, now), self.held(counter.key, now)
                id, claimed, until = self.claims.get(counter.key, ("", 0, 0))
                ahead = claimed if id < op.id and until > now else 0
                if used + held + ahead + amount > counter.cap:
                    over.add((counter.key, counter.cap, counter.hard, used, held + ahead, amount))
                for cap in counter.watch:
                    if used + held + amount > cap:
                        over.add((counter.key, cap, False, used, held, amount))
        return over

    def _claim(self, op: Reserve, now: int) -> None:
        for counter, index in op.plan.lines:
            amount = wanted((counter, index), op.hold)
            id, _, until = self.claims.get(counter.key, ("", 0, 0))
            if counter.hard and amount and (until <= now or op.id <= id):
                self.claims[counter.key] = (op.id, amount, now + CLAIM_MS)

    def _withdraw(self, id: str) -> None:
        self.claims = {key: claim for key, claim in self.claims.items() if claim[0] != id}

    def _count_request(self, plan: Plan, now: int) -> None:
        for counter, index in plan.lines:
            if index == REQUESTS:
                self.requests[counter.key].append(Entry(now, counter.span, 1))

    def _settle(self, op: Settle, now: int) -> Expected:
        call = self.calls.get(op.id)
        if call is None:
            return self._settle_unknown(op, now)
        if call.state == "ended" or (call.state == "expired" and op.how == "expired"):
            return Expected("again", overrun=call.overrun)
        if op.how == "expired" and now < call.lease_end:
            return Expected("again")
        real = {"settled": op.real, "released": NOTHING, "expired": call.on_expiry}[op.how]
        call.overrun = real[COST - 1] > call.hold[COST - 1]
        call.state = "expired" if op.how == "expired" else "ended"
        self._charge(op.id, real, now)
        return Expected("done", overrun=call.overrun)

    def _settle_unknown(self, op: Settle, now: int) -> Expected:
        if op.how == "released":
            self._withdraw(op.id)
            self.calls[op.id] = Call(op.plan, state="ended")
        elif op.force:
            self.calls[op.id] = Call(op.plan, now, state="ended")
            self._count_request(op.plan, now)
            self._charge(op.id, op.real, now)
        else:
            return Expected("unknown")
        return Expected("done")

    def _charge(self, id: str, real: Amounts, now: int) -> None:
        """In place of what it held, or was charged before."""
        call = self.calls[id]
        for counter, index in call.plan.lines:
            if index != REQUESTS:
                held, used = call.hold[index - 1], real[index - 1]
                self.holds[counter.key].pop(id, None)
                self.uses[counter.key][id] = (
                    Entry(call.at, counter.span, min(held, used)),
                    Entry(now, counter.span, max(0, used - held)),
                )

    def _extend(self, op: Extend, now: int) -> Expected:
        call = self.calls.get(op.id)
        if call is None:
            return Expected("unknown")
        if call.state != "open":
            return Expected("ended")
        call.lease_end = max(call.lease_end, now + op.lease)
        return Expected("done")
