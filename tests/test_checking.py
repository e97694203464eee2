"""The books of a store are in order whatever was done with it, and what is out of order is found (I-2)."""

from __future__ import annotations

import json
import random
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from quotaware import Quota
from quotaware.admission import Admission
from quotaware.checking import TRIES, Checked, Finding, check
from quotaware.context import Identity
from quotaware.core.charges import Outcome
from quotaware.errors import QuotawareError
from quotaware.housekeeping import Housekeeper
from quotaware.stores.memory import MemoryStore
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Item, Store
from quotaware.tenancy.access import of_key
from quotaware.testing.books import books
from tests.calls import CENT, a_call, a_quota, ask, let_go, used
from tests.support import FakeClock

ORG = "org_a"
DAY_MS = 86_400_000
MINUTE_MS = 60_000
LIMITS = ["$50/month", "1000 requests/day", "100000 tokens/minute", "8 concurrent", "$400/life"]
OF_PROJECT = ["$20/month", "$5/day per end_user", "90000 tokens/hour for tent*", "5000 requests/hour"]


@dataclass
class Works:
    """A Quota over a store, and an organization in it with limits of every kind."""

    quota: Quota
    clock: FakeClock

    def __post_init__(self) -> None:
        self.tenancy: Any = self.quota.blocking.tenancy
        self.tenancy.create_organization("A", id=ORG, limits=LIMITS)
        self.tenancy.create_team(ORG, "t", id="team_t", limits=["$40/month"])
        self.tenancy.create_team(ORG, "u", id="team_u", limits=["$30/month"])
        self.tenancy.create_project("team_t", "p", id="proj_p", limits=OF_PROJECT)
        self.tenancy.create_project("team_t", "q", id="proj_q", limits=["$9/month"])
        self.key: Any = self.tenancy.create_key("proj_p", id="key_k", limits=["$10/day", "300 requests/hour"])

    def call(self, cents: int = 1, *, by: Identity | None = None, end: str = "settled") -> None:
        """A call with the key of the project, or by somebody else."""
        caller = by or Identity(key=self.key.node.digest, end_user="u1")
        admission = let_go(ask(self.quota, a_call(cents), caller))
        if end == "settled":
            admission.settle(used(cents))
        elif end == "released":
            admission.settle(Outcome(500))

    def check(self) -> Checked:
        assert self.quota.flush(10)
        return check(self.quota.store, ORG)

    def quiet(self) -> Checked:
        """Nothing is found."""
        found = self.check()
        assert (found.findings, found.busy) == ((), False)
        return found


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def works(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Works]:
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path}/quota.db?durability=relaxed&records_days=5",
        "redis": lambda: f"{request.getfixturevalue('valkey_url')}?prefix=t{secrets.token_hex(6)}",
    }
    with ExitStack() as life:
        store = open_store(urls[request.param](), clock)
        quota = a_quota(store, clock=clock if request.param != "redis" else _of_server(store))
        life.callback(quota.close)
        yield Works(quota, clock)


def _of_server(store: Store) -> Callable[[], int]:
    """The clock of a server cannot be moved."""
    return store.hello


def test_the_books_are_in_order_after_calls_of_every_end(works: Works) -> None:
    for number in range(30):
        works.call(number % 4, end=("settled", "released", "settled", "open")[number % 4])
        works.call(1, by=Identity("proj_q", end_user=f"u{number % 3}"))
    found = works.quiet()
    assert (found.records, found.reservations) == (53, 7)
    assert found.counters > 10


def test_they_are_in_order_where_the_tree_was_changed_in_the_middle(works: Works) -> None:
    """Limits that came later count from then on; what is gone or elsewhere now counted where it was."""
    tenancy = works.tenancy
    for _ in range(3):
        works.call()
    tenancy.update(ORG, "proj_p", limits=[*OF_PROJECT, "$30/week", "$7/hour for tenth"])
    for _ in range(3):
        works.call()
    tenancy.update(ORG, "proj_p", limits=["$30/week"])
    works.call()
    tenancy.update(ORG, "proj_p", limits=["$30/week", "$20/month"])
    works.call()
    works.key = tenancy.rotate_key(ORG, "key_k")
    works.call()
    for _ in range(2):
        works.call(by=Identity("proj_q"))
    tenancy.move_project(ORG, "proj_q", "team_u")
    works.call(by=Identity("proj_q"))
    tenancy.delete(ORG, "proj_q")
    works.quiet()


@pytest.mark.parametrize("works", ["memory"], indirect=True)
def test_a_log_that_does_not_reach_back_leaves_open_since_when_a_limit_stands(works: Works) -> None:
    works.call()
    works.tenancy.update(ORG, "proj_p", limits=[*OF_PROJECT, "$30/week"])
    works.call()
    works.tenancy.update(ORG, "proj_p", limits=[*OF_PROJECT, "$31/week"])
    works.call()
    state = works.quota.store._orgs[ORG]  # type: ignore[attr-defined]
    last = state.audit[-1]
    state.audit.clear()
    state.audit.append(last)
    works.quiet()


def test_counters_of_a_keys_makers_are_in_order(works: Works) -> None:
    tenancy = works.tenancy
    limits = ["$3/day", "90 requests/hour"]
    maker = tenancy.create_key("proj_p", permissions=["api_key:create", "chat:create"], limits=limits)
    made = tenancy.by(of_key(tenancy.path(ORG, "key", maker.node.id))).create_key("proj_p", org=ORG)
    assert made.node.makers == (maker.node.id,)
    works.call(by=Identity(key=made.node.digest))
    tenancy.rotate_key(ORG, maker.node.id)
    works.call(by=Identity(key=made.node.digest))
    works.quiet()
    used = {key: cell.used for key, cell in books(works.quota.store, ORG).cells.items()}
    assert next(each for key, each in used.items() if key.startswith(f"{maker.node.id}/cost")) == 2 * CENT


@pytest.mark.parametrize("works", ["memory", "sqlite"], indirect=True)
def test_they_are_in_order_as_windows_go_by_and_records_are_pruned(works: Works, clock: FakeClock) -> None:
    """Windows that begin before the oldest record that is left are held to the sums."""
    chance = random.Random(4)
    for day in range(40):
        for _ in range(5):
            works.call(chance.randrange(3))
            clock.advance(chance.randrange(3 * MINUTE_MS))
        clock.advance(DAY_MS - chance.randrange(3_600_000))
        if day % 10 == 5:
            works.quiet()
    assert works.quota.flush(10)
    assert Housekeeper(works.quota.store).clear(ORG) is not None
    found = works.quiet()
    if works.quota.store.lane("") == "sqlite":
        assert 0 < found.records < 30  # of 200
        with closing(sqlite3.connect(works.quota.store.path)) as file, file:
            file.execute("UPDATE counter SET used = used + 1 WHERE key LIKE 'team_t/cost/month%'")
        assert {each.what for each in works.check().findings} == {"used"}


@pytest.mark.parametrize("works", ["memory", "sqlite"], indirect=True)
def test_reservations_whose_process_died_are_charged_and_counted(works: Works, clock: FakeClock) -> None:
    for _ in range(3):
        works.call(end="open")
    for lease in works.quota._lanes.leases:
        works.quota._lanes.drop(lease)
    clock.advance(2 * MINUTE_MS)
    works.call()
    found = works.quiet()
    assert (found.records, found.reservations) == (4, 0)


class Churn:
    """Whatever may be done with an organization, by chance; what is refused is no matter."""

    KINDS = (
        "$50/month",
        "$5/day",
        "$60/month carryover",
        "100 requests/day for tenth",
        "5000 tokens/minute",
        "$1/day per end_user",
        "$9/week for ten*",
        "$900/life",
        "40 requests/hour",
        "$3/calendar hour",
        "2000 tokens/day per end_user for tenth",
    )

    def __init__(self, works: Works, clock: FakeClock, seed: int) -> None:
        self.works = works
        self.clock = clock
        self.chance = random.Random(seed)
        self.projects = ["proj_p", "proj_q"]
        self.keys = [works.key]

    def step(self) -> None:
        verbs = (
            [self.call] * 8
            + [self.wait] * 3
            + [self.limit, self.limit, self.tree, self.grow, self.die, self.tidy]
        )
        with suppress(QuotawareError):
            self.chance.choice(verbs)()

    def call(self) -> None:
        choice = self.chance.choice
        by = choice(
            [
                Identity(key=choice(self.keys).node.digest, end_user=choice([None, "a", "b"])),
                Identity(choice(self.projects), end_user=choice([None, "a"])),
            ]
        )
        outcome = ask(self.works.quota, a_call(self.chance.randrange(1, 5)), by)
        if isinstance(outcome, Admission) and self.chance.random() < 0.9:
            outcome.settle(choice([used(0), used(1), used(3), used(9), Outcome(500), Outcome(0, sent=False)]))

    def wait(self) -> None:
        self.clock.advance(self.chance.randrange(self.chance.choice([90_000, 3 * DAY_MS])))

    def limit(self) -> None:
        node = self.chance.choice([ORG, "team_t", "team_u", *self.projects])
        if self.chance.random() < 0.3:
            self.works.tenancy.override(ORG, node, "cost/month", 10**9 * self.chance.randrange(1, 99))
        else:
            limits = self.chance.sample(self.KINDS, self.chance.randrange(4))
            self.works.tenancy.update(ORG, node, limits=limits)

    def tree(self) -> None:
        tenancy, choice = self.works.tenancy, self.chance.choice
        match choice(["move", "zone", "rotate", "delete"]):
            case "move":
                tenancy.move_project(ORG, choice(self.projects), choice(["team_t", "team_u", ORG]))
            case "zone":
                tenancy.update(ORG, ORG, zone=choice(["UTC", "Asia/Seoul", "America/New_York"]))
            case "rotate":
                grace = choice([0, MINUTE_MS])
                self.keys.append(tenancy.rotate_key(ORG, choice(self.keys).node.id, grace_ms=grace))
            case "delete" if len(self.projects) > 1:
                gone = choice(self.projects)
                tenancy.delete(ORG, gone)
                self.projects.remove(gone)

    def grow(self) -> None:
        limits = self.chance.sample(self.KINDS, self.chance.randrange(3))
        tenancy, choice = self.works.tenancy, self.chance.choice
        if choice([True, False]):
            self.keys.append(tenancy.create_key(choice(self.projects), limits=limits))
        else:
            name = f"n{len(self.projects)}{self.chance.random()}"
            self.projects.append(tenancy.create_project("team_t", name, limits=limits).id)

    def die(self) -> None:
        lanes = self.works.quota._lanes
        for lease in lanes.leases:
            lanes.drop(lease)
        self.clock.advance(2 * MINUTE_MS)
        lanes.look([ORG])

    def tidy(self) -> None:
        self.works.quota.flush(10)
        Housekeeper(self.works.quota.store).clear(ORG)


@pytest.mark.parametrize("works", ["memory"], indirect=True)
@pytest.mark.parametrize("seed", range(12))
def test_they_are_in_order_whatever_is_done(works: Works, clock: FakeClock, seed: int) -> None:
    churn = Churn(works, clock, seed)
    for _ in range(8):
        for _ in range(15):
            churn.step()
        works.quiet()


# what is out of order


class Planted(MemoryStore):
    """A memory store whose dump was tampered with."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.tamper: Callable[[Item], Item | None] = lambda item: item

    def dump(self, org: str) -> Iterator[Item]:
        for item in super().dump(org):
            found = self.tamper(item)
            if found is not None:
                yield found


@pytest.fixture
def planted(clock: FakeClock) -> Iterator[Works]:
    quota = a_quota(Planted(clock), clock=clock)
    works = Works(quota, clock)
    for _ in range(3):
        works.call()
    works.call(end="open")
    works.quiet()
    yield works
    quota.close()


def _tamper(works: Works, table: str, key: str, change: Callable[[Any], Any] | None) -> None:
    """A row of the dump is another from now on; None: it is gone."""

    def tamper(item: Item) -> Item | None:
        if item.table != table or not item.key.startswith(key):
            return item
        return None if change is None else item._replace(value=json.dumps(change(json.loads(item.value))))

    works.quota.store.tamper = tamper  # type: ignore[attr-defined]


def _with(name: str, by: int) -> Callable[[Any], Any]:
    return lambda cell: {**cell, name: cell[name] + by}


@pytest.mark.parametrize("by", [1, -1])
def test_a_nano_dollar_too_much_or_too_little_is_found(planted: Works, by: int) -> None:
    _tamper(planted, "counter", "team_t/cost/month", _with("used", by))
    (found,) = planted.check().findings
    assert found.of.startswith("team_t/cost/month@")
    assert found[:2] == (ORG, "used")
    assert (found.found, found.expected) == (str(3 * CENT + by), str(3 * CENT))


def test_what_is_held_by_nobody_is_found(planted: Works) -> None:
    _tamper(planted, "counter", f"{ORG}/cost/life", _with("held", 5))
    assert planted.check().findings == (Finding(ORG, "held", f"{ORG}/cost/life", str(CENT + 5), str(CENT)),)


def test_a_counter_that_is_gone_is_found(planted: Works) -> None:
    _tamper(planted, "counter", "proj_p/cost/month", None)
    whats = {(found.what, found.found) for found in planted.check().findings}
    assert whats == {("used", "0"), ("held", "0")}


def test_a_record_that_is_gone_is_found_on_every_counter(planted: Works) -> None:
    first: list[str] = []

    def drop(item: Item) -> Item | None:
        if item.table != "record":
            return item
        first[:] = first or [item.key]
        return None if item.key == first[0] else item

    planted.quota.store.tamper = drop  # type: ignore[attr-defined]
    found = {(each.what, each.of.partition("@")[0].partition(" at ")[0]) for each in planted.check().findings}
    assert {
        ("used", f"{ORG}/cost/month"),
        ("used", f"{ORG}/cost/life"),
        ("used", "team_t/cost/month"),
        ("used", "proj_p/cost/month"),
        ("used", "key_k/cost/day"),
        ("parts", f"{ORG}/tokens/minute"),
    } <= found


def test_a_rolling_window_whose_parts_are_not_what_it_says_is_found(planted: Works) -> None:
    _tamper(planted, "counter", f"{ORG}/tokens/minute", _with("used", 7))
    (found,) = planted.check().findings
    assert (found.what, found.of) == ("parts", f"{ORG}/tokens/minute")


def test_a_key_that_leads_nowhere_and_a_node_below_nothing_are_found(planted: Works) -> None:
    planted.quota.store.unlink(planted.key.node.digest)
    _tamper(planted, "doc", "team_t", None)
    found = planted.check().findings
    assert ("link", "key_k", "nothing", "key_k") in [each[1:] for each in found]
    assert {each.of for each in found if each.what == "parent"} == {"proj_p", "proj_q"}


def test_what_moves_while_it_is_looked_at_is_no_finding(planted: Works) -> None:
    """It is read again, so many times; and then said to be busy."""
    readings: list[int] = []

    def moves(item: Item) -> Item:
        if item.table == "org":
            readings.append(1)
        if item.table == "counter" and item.key.startswith("team_t/cost"):
            return item._replace(value=json.dumps(_with("used", len(readings))(json.loads(item.value))))
        return item

    planted.quota.store.tamper = moves  # type: ignore[attr-defined]
    found = planted.check()
    assert (found.busy, found.findings, len(readings)) == (True, (), TRIES)


def test_one_torn_reading_is_read_again(planted: Works) -> None:
    readings: list[int] = []

    def once(item: Item) -> Item | None:
        if item.table == "org":
            readings.append(1)
        return None if item.table == "record" and len(readings) == 1 else item

    planted.quota.store.tamper = once  # type: ignore[attr-defined]
    found = planted.check()
    assert (found.busy, found.findings, len(readings)) == (False, (), 2)
