"""The memory store against a plain model that keeps every charge and every open call, and sums them anew each time.

Steps come in any order, twice, late, under outdated plans; limits change and windows pass meanwhile. After each step
verdicts, figures in the way and totals are the model's, and the books balance (I-1 to I-5, I-15, I-17, I-29).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from quotaware.core.cells import CLAIM_MS
from quotaware.core.steps import (
    CONCURRENCY,
    COST,
    NOTHING,
    REQUESTS,
    TOKENS,
    Amounts,
    Answer,
    Counter,
    Extend,
    How,
    Op,
    Peek,
    Plan,
    Reserve,
    Result,
    Settle,
)
from quotaware.stores.memory import MemoryStore
from quotaware.stores.protocol import Change, Doc
from tests.support import NOON, FakeClock, check_books, ids

ORG = "org_a"
DAY = 1000
"""Length of a fixed window, ms."""
KEEP = 1 << 50


@dataclass
class Charge:
    counter: Counter
    at: int
    amount: int


@dataclass
class Call:
    """One reservation, from its reserve to its end. `at` None: it was never reserved."""

    plan: Plan
    at: int = 0
    hold: Amounts = NOTHING
    on_expiry: Amounts = NOTHING
    lease_end: int = 0
    state: Literal["open", "expired", "ended"] = "open"
    overrun: bool = False
    charges: list[Charge] = field(default_factory=list)


def wanted(line: tuple[Counter, int], amounts: Amounts) -> int:
    return 1 if line[1] == REQUESTS else amounts[line[1] - 1]


class Model:
    """What ought to be, written without a thought for speed."""

    def __init__(self) -> None:
        self.calls: dict[str, Call] = {}
        self.requests: list[Charge] = []
        self.claims: dict[str, tuple[str, int, int]] = {}
        self.rev = 0
        self.revs: dict[str, int] = {}

    def used(self, key: str, now: int) -> int:
        charges = [charge for call in self.calls.values() for charge in call.charges] + self.requests
        return sum(
            charge.amount
            for charge in charges
            if charge.counter.key == key
            and (not charge.counter.span or now < charge.at + charge.counter.span)
        )

    def held(self, key: str, now: int) -> int:
        return sum(
            call.hold[index - 1]
            for call in self.calls.values()
            if call.state == "open"
            for counter, index in call.plan.lines
            if counter.key == key and index and (not counter.span or now < call.at + counter.span)
        )

    def stale(self, plan: Plan) -> set[str]:
        return {dep for dep in plan.deps if self.revs.get(dep, 0) > plan.rev}

    def reserve(self, op: Reserve, now: int) -> tuple[str, set[tuple[str, int, bool, int, int, int]]]:
        """The verdict, and what is (or is passed) in the way."""
        if op.id in self.calls:
            return ("again" if self.calls[op.id].state == "open" else "ended"), set()
        if not op.force:
            if self.stale(op.plan):
                return "stale", set()
            if any(
                counter.until and not counter.since <= now < counter.until for counter, _ in op.plan.lines
            ):
                return "window", set()
        over = set()
        for counter, index in op.plan.lines:
            amount = wanted((counter, index), op.hold)
            used, held = self.used(counter.key, now), self.held(counter.key, now)
            id, claimed, until = self.claims.get(counter.key, ("", 0, 0))
            ahead = claimed if id < op.id and until > now else 0
            if amount and used + held + ahead + amount > counter.cap:
                over.add((counter.key, counter.cap, counter.hard, used, held + ahead, amount))
            for cap in counter.watch:
                if amount and used + held + amount > cap:
                    over.add((counter.key, cap, False, used, held, amount))
        hard = [entry for entry in over if entry[2]]
        if hard and not op.force:
            if op.wait and all(used + asked <= cap for _, cap, _, used, _, asked in hard):
                for counter, index in op.plan.lines:
                    amount = wanted((counter, index), op.hold)
                    id, _, until = self.claims.get(counter.key, ("", 0, 0))
                    if counter.hard and amount and (until <= now or op.id <= id):
                        self.claims[counter.key] = (op.id, amount, now + CLAIM_MS)
            return "denied", over
        if not op.dry:
            self.withdraw(op.id)
            self.calls[op.id] = Call(op.plan, now, op.hold, op.on_expiry, now + op.lease)
            self.count_request(op.plan, now)
        return "done", over

    def count_request(self, plan: Plan, now: int) -> None:
        self.requests += [Charge(counter, now, 1) for counter, index in plan.lines if index == REQUESTS]

    def withdraw(self, id: str) -> None:
        self.claims = {key: claim for key, claim in self.claims.items() if claim[0] != id}

    def settle(self, op: Settle, now: int) -> tuple[str, bool]:
        """The verdict, and whether it is an overrun."""
        call = self.calls.get(op.id)
        if call is None:
            if op.how == "released":
                self.withdraw(op.id)
                self.calls[op.id] = Call(op.plan, state="ended")
            elif op.force:
                self.calls[op.id] = Call(op.plan, now, state="ended")
                self.count_request(op.plan, now)
                self.charge(self.calls[op.id], op.real, now)
            else:
                return "unknown", False
            return "done", False
        if call.state == "ended" or (call.state == "expired" and op.how == "expired"):
            return "again", call.overrun
        if op.how == "expired" and now < call.lease_end:
            return "again", False
        real = {"settled": op.real, "released": NOTHING, "expired": call.on_expiry}[op.how]
        call.overrun = real[COST - 1] > call.hold[COST - 1]
        call.state = "expired" if op.how == "expired" else "ended"
        self.charge(call, real, now)
        return "done", call.overrun

    def charge(self, call: Call, real: Amounts, now: int) -> None:
        call.charges = []
        for counter, index in call.plan.lines:
            if index != REQUESTS:
                held, used = call.hold[index - 1], real[index - 1]
                call.charges += [
                    Charge(counter, call.at, min(held, used)),
                    Charge(counter, now, max(0, used - held)),
                ]


amounts = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 1))
spent = st.tuples(st.integers(0, 9), st.integers(0, 9), st.just(0))


class Ledger(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(NOON - NOON % DAY)
        self.store = MemoryStore(self.clock)
        self.model = Model()
        self.new = ids(self.clock)
        self.refused: list[str] = []
        self.plans: dict[str, Plan] = {}
        self.caps = {"org": 20, "team": 15, "project": 4, "key": 2, "user": 9}

    @initialize()
    def begin(self) -> None:
        for node in self.caps:
            self.change(node)
        self.known = self.current()

    def change(self, node: str) -> None:
        self.model.rev = self.store.commit(ORG, Change(self.model.rev, (Doc(node, "node", "", None, 0, ""),)))
        self.model.revs[node] = self.model.rev

    def current(self) -> Plan:
        """The plan of now: fixed and rolling, hard and soft, all four metrics."""
        start = self.clock() // DAY * DAY
        lines = (
            (Counter(f"org@{start}", self.caps["org"], since=start, until=start + DAY, keep=KEEP), COST),
            (Counter("team", self.caps["team"], span=60), TOKENS),
            (Counter("project", self.caps["project"], span=80), REQUESTS),
            (Counter("key", self.caps["key"], keep=-1), CONCURRENCY),
            (Counter("user", self.caps["user"], hard=False, watch=(3, 5)), COST),
        )
        return Plan(ORG, self.model.rev, tuple(self.caps), lines)

    def do(self, op: Op) -> tuple[Result, Answer]:
        answer = self.store.apply({ORG: [op]}, 1.0)[ORG]
        assert isinstance(answer, Answer)
        assert answer.rev == self.model.rev
        due = {
            id
            for id, call in self.model.calls.items()
            if call.state == "open" and call.lease_end <= self.clock()
        }
        assert {id for id, _ in answer.due} == due
        return answer.results[0], answer

    def id(self, pick: int, among: Sequence[str]) -> str:
        """One of the ids that were there, or a new one."""
        return among[pick % len(among)] if among and pick else self.new()

    @rule(
        pick=st.integers(0, 9),
        again=st.sampled_from(["refused", "refused", "refused", "any"]),
        hold=amounts,
        on_expiry=amounts,
        lease=st.integers(1, 90),
        outdated=st.booleans(),
        flags=st.sampled_from(["", "", "", "wait", "wait", "force", "dry"]),
    )
    def reserve(self, pick, again, hold, on_expiry, lease, outdated, flags):
        if not outdated:
            self.known = self.current()
        on_expiry = tuple(map(min, on_expiry, (hold[0], hold[1], 0)))
        flag = {flags: True} if flags else {}
        id = self.id(pick // 2, self.refused if again == "refused" else list(self.model.calls))
        op = Reserve(id, self.known, hold, on_expiry, lease, "", **flag)
        verdict, over = self.model.reserve(op, self.clock())
        result, _ = self.do(op)
        assert result.verdict == verdict
        assert set(result.stale) == (self.model.stale(op.plan) if verdict == "stale" else set())
        if not (op.force and outdated):  # an outdated plan that is forced is measured by the newest caps
            assert {entry[:6] for entry in result.over} == over
        if id in self.refused:
            self.refused.remove(id)
        if verdict == "denied":
            self.refused.append(id)
        elif verdict == "done" and not op.dry:
            self.plans[id] = op.plan

    @rule(
        pick=st.integers(0, 12),
        real=spent,
        how=st.sampled_from(["settled", "settled", "released", "expired"]),
        force=st.booleans(),
    )
    def settle(self, pick: int, real: Amounts, how: How, force: bool):
        among = self.refused if how == "released" and force else list(reversed(self.model.calls))[:6]
        op = Settle(self.id(pick, among), self.current(), real, "", how, force and how == "settled")
        expected = self.model.settle(op, self.clock())
        result, _ = self.do(op)
        assert (result.verdict, result.overrun) == expected
        if result.verdict == "done":
            self.plans.setdefault(op.id, op.plan)

    @rule(pick=st.integers(0, 12), lease=st.integers(1, 90))
    def extend(self, pick: int, lease: int):
        id = self.id(pick, list(self.model.calls))
        call = self.model.calls.get(id)
        verdict = "unknown" if call is None else "done" if call.state == "open" else "ended"
        if call is not None and call.state == "open":
            call.lease_end = max(call.lease_end, self.clock() + lease)
        assert self.do(Extend(id, self.current(), lease))[0].verdict == verdict

    @rule(ms=st.one_of(st.integers(0, 40), st.sampled_from([CLAIM_MS, DAY])))
    def wait(self, ms: int):
        self.clock.advance(ms)

    @rule(ms=st.integers(1, 30))
    def expire_what_is_due(self, ms: int):
        self.clock.advance(ms)
        _, answer = self.do(Peek(self.current()))
        for id, plan in answer.due:
            op = Settle(id, plan, NOTHING, "", "expired")
            verdict, overrun = self.model.settle(op, self.clock())
            assert self.do(op)[0] == Result("done", overrun=overrun)
            assert verdict == "done"

    @rule(node=st.sampled_from(["org", "team", "project", "key", "user"]), cap=st.integers(0, 25))
    def change_a_limit(self, node: str, cap: int):
        self.caps[node] = cap
        self.change(node)

    @rule()
    def create_something_unrelated(self):
        self.change("stranger")

    @invariant()
    def totals_are_the_models(self) -> None:
        if not self.model.rev:
            return
        plan, now = self.current(), self.clock()
        _, answer = self.do(Peek(plan))
        assert answer.totals == {
            counter.key: (self.model.used(counter.key, now), self.model.held(counter.key, now))
            for counter, _ in plan.lines
        }

    def teardown(self) -> None:
        if self.model.rev:
            check_books(self.store, ORG, self.plans)


def test_the_ledger_is_the_model():
    run_state_machine_as_test(
        Ledger, settings=settings(max_examples=60, stateful_step_count=40, deadline=None)
    )


@pytest.mark.slow
def test_the_ledger_is_the_model_over_many_histories():
    run_state_machine_as_test(
        Ledger, settings=settings(max_examples=1000, stateful_step_count=80, deadline=None)
    )
