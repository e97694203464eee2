"""Moving house: everything goes along, from any store into any other, and what is admitted there is what was here."""

from __future__ import annotations

import random
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import pytest

from quotaware import Quota
from quotaware.context import NOBODY
from quotaware.core.cells import CLAIM_MS
from quotaware.core.steps import (
    CONCURRENCY,
    COST,
    NOTHING,
    REMEMBER_MS,
    REQUESTS,
    TOKENS,
    Counter,
    Event,
    Extend,
    Mark,
    Op,
    Peek,
    Plan,
    Settle,
    Sum,
    id_time,
)
from quotaware.errors import ConfigurationError, RateLimitExceeded, StoreError
from quotaware.stores import copy
from quotaware.stores.memory import MemoryStore
from quotaware.stores.moving import UNATTRIBUTED, Copied
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Item, Store
from quotaware.testing import FaultyStore
from quotaware.testing.books import check_books
from quotaware.testing.store_suite.kit import (
    FOREVER,
    ORG,
    ask,
    budget,
    commit,
    doc,
    hold,
    insist,
    plan_of,
    today,
    totals,
    verdicts,
)
from tests.support import FakeClock

ORGS = ("org_a", "org_b")
KINDS = ("memory", "sqlite", "redis", "cluster")
OpenKind = Callable[[str], Store]


@pytest.fixture
def open_kind(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[OpenKind]:
    """Opens an empty store of a kind."""
    with ExitStack() as at_end:

        def open_one(kind: str) -> Store:
            own = secrets.token_hex(6)
            url = {
                "memory": lambda: "memory://",
                "sqlite": lambda: f"sqlite:///{tmp_path}/{own}.db?durability=relaxed",
                "redis": lambda: f"{request.getfixturevalue('valkey_url')}?prefix={own}",
                "cluster": lambda: f"{request.getfixturevalue('cluster_url')}?prefix={own}",
            }[kind]()
            store = open_store(url, clock)
            at_end.callback(store.close)
            return store

        yield open_one


class History:
    """Random things that happen in an organization, the same in every store that they are told to."""

    def __init__(self, org: str, seed: int, clock: FakeClock, new: Callable[[], str]) -> None:
        self.org = org
        self.clock = clock
        self.new = new
        self.chance = random.Random(f"{org}{seed}")
        self.called: list[str] = []

    def tree(self, rev: int) -> Plan:
        day = today(self.clock.now, 60, watch=(20,)).lines[0][0]
        lines = (
            (Counter("life", 150, marks=(Mark("half", 75), Mark("most", 100, "stopped"))), COST),
            (day._replace(carry=today(self.clock.now - 86_400_000, 60).lines[0][0].key), COST),
            (Counter("rate", 40, span=60_000), TOKENS),
            (Counter("calls", 12, span=60_000), REQUESTS),
            (Counter("slots", 4, keep=-1), CONCURRENCY),
        )
        return Plan(self.org, rev, ("node",), lines)

    def batch(self, rev: int) -> list[Op]:
        chance, tree = self.chance, self.tree(rev)
        ops: list[Op] = [Peek(tree)]
        young = self.clock.now - REMEMBER_MS + 3_600_000  # some stores remember longer than they promise
        known = [id for id in self.called[-8:] if id_time(id) > young]
        for _ in range(chance.randint(1, 4)):
            id = chance.choice(known) if known and chance.random() < 0.6 else self.new()
            self.called.append(id)
            amounts = (chance.randint(0, 15), chance.randint(0, 20), 0)
            match chance.choice(
                ["hold", "hold", "hold", "settle", "settle", "release", "expire", "extend", "insist"]
            ):
                case "hold":
                    lease = chance.choice([1000, 90_000])
                    more = {"lease": lease, chance.choice(["wait", "force", "dry"]): chance.random() < 0.2}
                    ops.append(
                        hold(id, tree, amounts[1], tokens=amounts[0], slots=1, expiry=(2, 3, 0), **more)
                    )
                case "settle":
                    ops.append(replace(insist(id, tree, amounts), force=False))
                case "insist":
                    ops.append(insist(id, tree, amounts))
                case "extend":
                    ops.append(Extend(id, tree, 60_000))
                case how:
                    ops.append(Settle(id, tree, NOTHING, "{}", "released" if how == "release" else "expired"))
        return ops

    def happen(self, *stores: Store, steps: int) -> None:
        """The same in all of them, and they answer the same."""
        for _ in range(steps):
            revs = {store.read(self.org, ())[0] for store in stores}
            (rev,) = revs
            ops = self.batch(self.chance.choice([rev, rev, rev, max(1, rev - 1)]))
            answers = [ask(store, *ops, org=self.org) for store in stores]
            told = [replace(answer, due=sorted(answer.due, key=str)) for answer in answers]
            assert all(each == told[0] for each in told)
            if self.chance.random() < 0.15:
                change = doc("node", body=str(rev))
                revs = {commit(store, change, org=self.org, resume=("stopped",)) for store in stores}
                assert len(revs) == 1
            self.clock.advance(self.chance.choice([0, 1, 40, 900, 30_000, 30_000_000]))

    def furnish(self, store: Store) -> None:
        """What hangs on the tree."""
        commit(store, doc("node", "top", "Red"), doc("stopped"), org=self.org, audit='{"made":"it"}')
        for number in range(3):
            store.link(f"digest{number}{self.org}", self.org, f"key{number}")
        store.fold(self.org, "", "5-0", [Sum("hour", self.clock.now, "{}", '{"calls":1}', FOREVER)])
        store.outbox(self.org, put=[Event("told", 5, "{}")])
        store.once(self.org, "sender", "me", 600_000)


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("here", "there"), [("memory", "memory"), *permutations(KINDS, 2)])
def test_what_is_admitted_after_the_move_is_what_would_have_been_before(
    open_kind, clock, new, here, there, seed
):
    """Random histories in two organizations; the same goes on in both stores, and they answer the same."""
    source, target = open_kind(here), open_kind(there)
    histories = [History(org, seed, clock, new) for org in ORGS]
    for history in histories:
        history.furnish(source)
        history.happen(source, steps=25)
    copied = copy(source, target)
    clock.advance(CLAIM_MS)  # a waiter asks again; its claim stays behind
    assert (copied.organizations, copied.documents, copied.links) == (2, 4, 6)
    rows = [[row for _, row in source.records(org, 0, FOREVER, "", 9999)] for org in ORGS]
    assert copied.records == len(rows[0]) + len(rows[1])
    assert copied.cost == sum(row.real[COST - 1] for own in rows for row in own)
    assert copied.tokens == sum(row.real[TOKENS - 1] for own in rows for row in own)
    assert copied.requests == sum(row.part == 0 for own in rows for row in own)
    for history in histories:
        org = history.org
        assert not [item for item in target.dump(org) if item.table == "open"]
        assert target.find(f"digest1{org}") == (org, "key1")
        assert target.once(org, "sender", "you", 1) == source.once(org, "sender", "you", 1)
        assert target.folded(org) == source.folded(org) == "5-0"
        assert target.outbox(org) == source.outbox(org) != []
        assert target.audit(org, 0, 9) == source.audit(org, 0, 9) != []
        history.happen(source, target, steps=25)
        assert target.records(org, 0, FOREVER, "", 9999) == source.records(org, 0, FOREVER, "", 9999)
        check_books(target, org, plan_of)


def test_what_is_open_is_charged_as_its_expiry_says(clock, new):
    source, target = MemoryStore(clock), MemoryStore(clock)
    limit = budget(1000)
    commit(source, doc("a"))
    open_ = [new() for _ in range(250)]
    ask(source, *(hold(id, limit, 3, tokens=5, expiry=(1, 2, 0)) for id in open_))
    copied = copy(source, target)
    assert (copied.settled, copied.requests, copied.cost, copied.tokens, copied.used) == (
        250,
        250,
        500,
        250,
        500,
    )
    for store in (source, target):
        assert totals(store, limit) == [(500, 0)]
        assert {row.how for _, row in store.records(ORG, 0, FOREVER, "", 999)} == {"expired"}
    late = Settle(open_[0], limit, (5, 3, 0), "{}")
    assert verdicts(ask(target, late, late)) == ["done", "again"]  # a process that still knew it may tell
    assert totals(target, limit) == [(501, 0)]


def test_calls_that_nobody_was_identified_for_go_along(clock, new):
    """Their organization has no documents, and is in no list."""
    assert NOBODY.org == UNATTRIBUTED
    source, target = MemoryStore(clock), MemoryStore(clock)
    nobody = Plan(UNATTRIBUTED, 0, (), ())
    ask(source, insist(new(), nobody, (1, 2, 0)), org=UNATTRIBUTED)
    assert copy(source, target) == Copied(organizations=1, records=1, requests=1, tokens=1, cost=2)
    assert len(target.records(UNATTRIBUTED, 0, FOREVER, "", 9)) == 1
    with pytest.raises(ConfigurationError, match=r"target: it has \['~unattributed'\] already"):
        copy(source, target)


def test_a_source_that_has_nothing_is_probably_another_one(clock):
    """A mistyped path, say: the operator would start on an empty target with every budget whole."""
    with pytest.raises(ConfigurationError, match="source: it has no organization"):
        copy(MemoryStore(clock), MemoryStore(clock))


def test_a_target_that_has_one_of_them_is_refused_before_anything_is_moved(clock, new):
    source, target = MemoryStore(clock), MemoryStore(clock)
    for org in ORGS:
        commit(source, doc("a"), org=org)
    id = new()
    ask(source, hold(id, budget(10), 3))
    commit(target, doc("b"), org="org_b")
    with pytest.raises(ConfigurationError, match=r"target: it has \['org_b'\] already; take an empty store"):
        copy(source, target)
    assert target.orgs("", 9) == ["org_b"]
    assert totals(source, budget(10)) == [(0, 3)]


def test_a_store_is_not_moved_into_itself(clock):
    store = MemoryStore(clock)
    with pytest.raises(ConfigurationError, match="it is the source"):
        copy(store, store)


def test_a_target_that_keeps_less_is_noticed(clock, new):
    """Nothing is lost in silence."""
    source, target = MemoryStore(clock), MemoryStore(clock, records=10)
    commit(source, doc("a"))
    ask(source, *(insist(new(), budget(100), (1, 2, 0)) for _ in range(25)))
    with pytest.raises(StoreError, match="25 rows of 'record' were moved, and the target has 10; copy again"):
        copy(source, target)


class Careless(MemoryStore):
    """Changes what it is given."""

    def load(self, org, rows):
        cell = '{"counter":["budget",100],"rev":0,"used":7'
        super().load(org, (item._replace(value=item.value.replace(cell, cell[:-1] + "8")) for item in rows))


def test_values_that_differ_are_noticed(clock, new):
    source = MemoryStore(clock)
    commit(source, doc("a"))
    ask(source, insist(new(), budget(100), (0, 7, 0)))
    with pytest.raises(StoreError, match="1 rows of 'counter' were moved, and the target has other values"):
        copy(source, Careless(clock))


class Busy(MemoryStore):
    """Has a call that begins while it is moved."""

    def dump(self, org: str) -> Iterator[Item]:
        rows = list(super().dump(org))
        ask(self, hold(f"{self._clock():012x}{secrets.token_hex(10)}", budget(100), 1))
        return iter(rows)


def test_a_store_that_is_in_use_is_not_moved(clock):
    source = Busy(clock)
    commit(source, doc("a"))
    with pytest.raises(StoreError, match="is open: a process uses the store, stop it and copy again"):
        copy(source, MemoryStore(clock))


@pytest.mark.parametrize("trip", range(1, 8))
def test_a_store_that_fails_in_the_middle_says_so(clock, new, trip):
    source, target = FaultyStore(MemoryStore(clock)), MemoryStore(clock)
    commit(source, doc("a"))
    ask(source, hold(new(), budget(10), 3))
    began = source.trips
    sound = source._fault
    source._fault = lambda: sound() if source.trips < began + trip else source.fail(1) or sound()
    with pytest.raises(StoreError, match="did not answer"):
        copy(source, target)


class OutOfReach(MemoryStore):
    """Has an organization that it cannot work with, as a Cluster whose one server is away."""

    def apply(self, work, deadline):
        return dict.fromkeys(work, StoreError("its server is away"))


def test_an_organization_that_cannot_be_worked_with_is_not_moved(clock, new):
    source, target = OutOfReach(clock), MemoryStore(clock)
    commit(source, doc("a"))
    MemoryStore.apply(source, {ORG: [hold(new(), budget(10), 3)]}, 1.0)
    with pytest.raises(StoreError, match="its server is away"):
        copy(source, target)
    assert target.orgs("", 9) == []


def test_progress_is_told_by_the_thousand_and_rows_are_not_gathered(clock, new):
    """Bounded: a row is taken from the source when the target asks for it."""
    ahead = 0

    class Source(MemoryStore):
        def dump(self, org):
            nonlocal ahead
            for item in super().dump(org):
                ahead += 1
                yield item

    class Target(MemoryStore):
        def load(self, org, rows):
            def one_by_one():
                nonlocal ahead
                ahead = 0
                for item in rows:
                    assert ahead == 1
                    ahead = 0
                    yield item

            super().load(org, one_by_one())

    source = Source(clock)
    for org in ORGS:
        commit(source, *(doc(f"n{number}") for number in range(1500)), org=org)
    told: list[tuple[str, int]] = []
    copy(source, Target(clock), progress=lambda org, rows: told.append((org, rows)))
    assert told == [("org_a", 1000), ("org_a", 1501), ("org_b", 1000), ("org_b", 1501)]


def test_stores_are_opened_by_url_and_closed(tmp_path):
    """The whole of an app's quota: what was spent is spent, keys open the same doors."""
    old, new = f"sqlite:///{tmp_path}/old.db", f"sqlite:///{tmp_path}/new.db"
    quota = Quota(old)
    first = quota.bootstrap(organization="StartupAI")
    tenancy = quota.blocking.tenancy
    project = tenancy.create_project(first.organization_id, "chat", limits=["$1/day", "2 requests/day"])
    key = tenancy.create_key(project.id, name="ci").secret

    def call(quota: Quota) -> None:
        bounds = {"provider": "openai", "model": "gpt-4.1", "input": 10, "max_output": 10}
        with quota.acting_as(key=key), quota.call(**bounds) as call:
            call.used(input=10, output=10)

    call(quota)
    quota.close()
    copied = copy(old, new)
    assert (copied.organizations, copied.requests, copied.cost) == (1, 1, 10 * 2_000 + 10 * 8_000)
    moved = Quota(new)
    call(moved)
    with pytest.raises(RateLimitExceeded):
        call(moved)
    assert len(list(moved.blocking.usage.records(project=project.id))) == 2
    moved.close()
    with pytest.raises(ConfigurationError, match="already"):
        copy(old, new)
