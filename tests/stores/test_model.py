"""Every store against a plain model of the rules (`model.py`): the same decisions, the same totals.

Calls are over eight limits. Steps come in any order, alone and in batches, twice, late, under outdated plans, through
one of two stores that share the data; limits change and windows pass meanwhile. After each batch verdicts, figures in
the way, what is due and totals are the model's, and in the end the books balance (I-1 to I-5, I-15, I-17, I-29).
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle, product
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

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
    Settle,
)
from quotaware.stores.memory import DUE, MemoryStore
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Change, Doc, Store
from tests.stores.model import Expected, Model
from tests.support import FakeClock, check_books, ids

DAY = 1000
"""Length of a fixed window, ms."""
KEEP = 1 << 40
"""How long after its end it is kept, ms: longer than any history here."""
CAPS = {"org": 20, "day": 25, "calls": 12, "life": 60, "team": 15, "project": 4, "key": 2, "user": 9}
"""The limit of each node, when a history begins."""
LATER = [False, True, True]
"""Whether a step waits for others, to go with them in one batch."""
DRAWN: dict[str, dict[str, Sequence[Any]]] = {
    "reserve": {
        "pick": range(5),
        "among_refused": [True, True, True, False],
        "hold": list(product(range(7), range(7), range(2))),
        "on_expiry": list(product(range(7), range(7), [0])),
        "lease": range(1, 91),
        "outdated": [False, True],
        "flag": ["", "", "", "wait", "wait", "force", "dry"],
        "later": LATER,
    },
    "settle": {
        "pick": range(13),
        "real": list(product(range(10), range(10), [0])),
        "how": ["settled", "settled", "released", "expired"],
        "force": [False, True],
        "later": LATER,
    },
    "extend": {"pick": range(13), "lease": range(1, 91), "later": LATER},
    "wait": {"ms": [*range(31), *[CLAIM_MS] * 10, *[DAY] * 10]},
    "expire_what_is_due": {"ms": range(1, 31)},
    "change_a_limit": {"node": [*CAPS], "cap": range(26)},
    "create_something_unrelated": {},
}
"""What happens in a history, and what each of it is drawn from."""


def drawn(name: str) -> dict[str, st.SearchStrategy[Any]]:
    return {argument: st.sampled_from(values) for argument, values in DRAWN[name].items()}


class Ledger(RuleBasedStateMachine):
    """A history, in an organization of its own, on stores that share their data and a clock."""

    def __init__(self, stores: Sequence[Store], clock: FakeClock) -> None:
        super().__init__()
        clock.advance(DAY - clock() % DAY)
        self.org = f"org_{clock():x}"
        self.stores, self.clock, self.new = cycle(stores), clock, ids(clock)
        self.model = Model()
        self.caps = dict(CAPS)
        self.refused: list[str] = []
        self.plans: dict[str, Plan] = {}
        self.batch: list[tuple[Op, Expected, bool]] = []
        self.verdicts = Tally[str]()

    @initialize()
    def begin(self) -> None:
        for node in self.caps:
            self.change(node)
        self.known = self.current()

    def change(self, node: str) -> None:
        self.send()
        doc = Doc(node, "node", "", None, 0, "")
        self.model.change(next(self.stores).commit(self.org, Change(self.model.rev, (doc,))), node)

    def current(self) -> Plan:
        """The plan of now: fixed, rolling and for ever, hard and soft, all four metrics."""
        start, caps = self.clock() // DAY * DAY, self.caps
        window = {"since": start, "until": start + DAY, "keep": start + KEEP}
        lines = (
            (Counter(f"org@{start}", caps["org"], **window), COST),
            (Counter(f"day@{start}", caps["day"], **window), TOKENS),
            (Counter(f"calls@{start}", caps["calls"], **window), REQUESTS),
            (Counter("life", caps["life"]), COST),
            (Counter("team", caps["team"], span=60), TOKENS),
            (Counter("project", caps["project"], span=80), REQUESTS),
            (Counter("key", caps["key"], keep=-1), CONCURRENCY),
            (Counter("user", caps["user"], hard=False, watch=(3, 5)), COST),
        )
        return Plan(self.org, self.model.rev, tuple(caps), lines)

    def put(self, op: Op, *, later: bool = False, caps_known: bool = True) -> Expected:
        """Adds a step to the batch, and sends it, if not `later`."""
        expected = self.model.take(op, self.clock())
        self.batch.append((op, expected, caps_known))
        if not later:
            self.send()
        return expected

    def send(self) -> None:
        """A batch, with a look at what it comes to, is answered as the model does."""
        if not self.batch:
            return
        look = Peek(self.current())
        batch, self.batch = [*self.batch, (look, Expected("done"), True)], []
        answer = next(self.stores).apply({self.org: [op for op, _, _ in batch]}, 10)[self.org]
        assert isinstance(answer, Answer), answer
        for (op, expected, caps_known), result in zip(batch, answer.results, strict=True):
            over = frozenset(passed[:6] for passed in result.over) if caps_known else expected.over
            told = Expected(result.verdict, over, frozenset(result.stale), result.overrun)
            assert told == expected, op
            self.verdicts[result.verdict] += 1
        model, now = self.model, self.clock()
        assert (answer.now, answer.rev) == (now, model.rev)
        assert answer.totals.keys() >= {counter.key for counter, _ in look.plan.lines}
        assert answer.totals == {key: (model.used(key, now), model.held(key, now)) for key in answer.totals}
        self.due = answer.due
        named, due = {id for id, _ in answer.due}, model.due(now)
        assert named <= due
        assert len(named) == len(answer.due) == min(DUE, len(due))

    def id(self, pick: int, among: Sequence[str]) -> str:
        """One of the ids that were there, or a new one."""
        return among[pick % len(among)] if among and pick else self.new()

    @rule(**drawn("reserve"))
    def reserve(
        self,
        pick: int,
        among_refused: bool,
        hold: Amounts,
        on_expiry: Amounts,
        lease: int,
        outdated: bool,
        flag: str,
        later: bool,
    ) -> None:
        if not outdated:
            self.known = self.current()
        on_expiry = (min(hold[0], on_expiry[0]), min(hold[1], on_expiry[1]), 0)
        id = self.id(pick, self.refused if among_refused else list(self.model.calls))
        op = Reserve(id, self.known, hold, on_expiry, lease, "", **{flag: True} if flag else {})
        measured_by_its_own = not (op.force and outdated)  # else by the newest caps that were seen
        verdict = self.put(op, later=later, caps_known=measured_by_its_own).verdict
        if id in self.refused:
            self.refused.remove(id)
        if verdict == "denied":
            self.refused.append(id)
        elif verdict == "done" and not op.dry:
            self.plans[id] = op.plan

    @rule(**drawn("settle"))
    def settle(self, pick: int, real: Amounts, how: How, force: bool, later: bool) -> None:
        among = self.refused if how == "released" and force else list(reversed(self.model.calls))[:6]
        op = Settle(self.id(pick, among), self.current(), real, "", how, force and how == "settled")
        if self.put(op, later=later).verdict == "done":
            self.plans.setdefault(op.id, op.plan)

    @rule(**drawn("extend"))
    def extend(self, pick: int, lease: int, later: bool) -> None:
        id = self.id(pick, list(reversed(self.model.calls))[:12])
        self.put(Extend(id, self.current(), lease), later=later)

    @rule(**drawn("wait"))
    def wait(self, ms: int) -> None:
        self.send()
        self.clock.advance(ms)

    @rule(**drawn("expire_what_is_due"))
    def expire_what_is_due(self, ms: int) -> None:
        self.wait(ms)
        self.put(Peek(self.current()))
        for id, plan in self.due:
            op = Settle(id, plan, NOTHING, "", "expired")
            assert self.put(op, later=True).verdict == "done"
        self.send()

    @rule(**drawn("change_a_limit"))
    def change_a_limit(self, node: str, cap: int) -> None:
        spent = self.model.used("life", self.clock())
        self.caps[node] = spent + 4 * cap if node == "life" else cap
        self.change(node)

    @rule(**drawn("create_something_unrelated"))
    def create_something_unrelated(self) -> None:
        self.change("stranger")

    def teardown(self) -> None:
        self.send()
        if self.model.rev:
            check_books(next(self.stores), self.org, self.plans)


History = Callable[[], Ledger]


@pytest.fixture(params=["memory", "sqlite", "redis", "cluster"])
def history(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[History]:
    """Begins histories on a store of this test's own, reached through two objects where processes can share it."""
    if request.param == "memory":
        stores: list[Store] = [MemoryStore(clock)]
    elif request.param == "sqlite":
        url = f"sqlite:///{tmp_path}/quota.db?durability=relaxed"
        stores = [open_store(url, clock) for _ in range(2)]
    else:
        opens = request.getfixturevalue("opens")
        server = request.getfixturevalue("valkey_url" if request.param == "redis" else "cluster_url")
        stores = [opens(server) for _ in range(2)]
    yield lambda: Ledger(stores, clock)
    for store in stores:
        store.close()


def test_a_store_is_the_model(history: History) -> None:
    """40 steps a history: the simpler, the better to be read when it fails."""
    run_state_machine_as_test(history, settings=settings(max_examples=25, deadline=None))


@pytest.mark.slow
def test_a_store_is_the_model_over_many_histories(history: History) -> None:
    run_state_machine_as_test(
        history, settings=settings(max_examples=500, stateful_step_count=80, deadline=None)
    )


@pytest.mark.slow
@pytest.mark.parametrize("seed", [pytest.param(0, id="bounded"), *range(1, 20)])
def test_a_store_is_the_model_for_long(history: History, seed: int) -> None:
    """Thousands of steps from one seed, calls the most of them."""
    ledger, chance = history(), Random(seed)
    names = [*DRAWN, *["reserve"] * 6, *["settle"] * 4]
    ledger.begin()
    for step in range(4000):
        name = chance.choice(names)
        arguments = {argument: chance.choice(values) for argument, values in DRAWN[name].items()}
        try:
            getattr(ledger, name)(**arguments)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}, step {step}: {name} {arguments}") from error
    ledger.teardown()
    assert ledger.verdicts.keys() == {"done", "again", "denied", "stale", "window", "ended", "unknown"}
    assert min(ledger.verdicts.values()) > 10, "each of them came often"
