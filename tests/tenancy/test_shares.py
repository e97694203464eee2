"""A parent's budget: what its children have never comes to more, whoever shares it out, however many at once."""

from __future__ import annotations

import contextlib
import json
import random
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.limits import Limit
from quotaware.core.money import MAX_AMOUNT, usd
from quotaware.errors import ApiError, ConfigurationError, Conflict, InvalidRequest
from quotaware.stores.memory import MemoryStore
from quotaware.stores.protocol import Store
from quotaware.tenancy.directory import Directory
from quotaware.tenancy.service import Tenancy
from quotaware.tenancy.sharing import Share
from quotaware.testing.clocks import FakeClock

from .conftest import Opens
from .people import ORG, House

TOTAL = usd(100)


def amount(limits: list[str]) -> int:
    """The monthly budget among the texts of a node's limits."""
    found = [Limit.parse(text) for text in limits]
    return sum(each.amount for each in found if each.shape == "cost/month")


def most_ever_shared(store: Store, parent: str) -> int:
    """The most that the children of a node had at any revision, by the audit log."""
    shares: dict[str, int] = {}
    most = 0
    for _, text in store.audit(ORG, 0, 100_000):
        row = json.loads(text)
        for each in row["before"]:
            shares.pop(each["id"], None)
        for each in row["after"]:
            if each["kind"] in ("team", "project") and each["parent"] == parent:
                shares[each["id"]] = amount(each.get("limits", []))
        most = max(most, sum(shares.values()))
    return most


def sharing(t: Tenancy, mover: Tenancy, turn: random.Random) -> object:
    """One way or another to give a child of team one a budget."""
    money = turn.choice((usd(10), usd(30), usd(60), usd(100)))
    text = f"${money // 10**9}/month"
    name = f"p{turn.randrange(6)}"
    match turn.randrange(6):
        case 0:
            return t.create_project("team_one", f"n{turn.randrange(10**9)}", org=ORG, limits=[text])
        case 1:
            return t.allocate(ORG, "team_one", [Share(name, money), Share("q", money // 2)])
        case 2:
            return t.update(ORG, "proj_one", limits=[text])
        case 3:
            return mover.move_project(ORG, "proj_two", "team_one")
        case 4:
            return t.ask(ORG, "proj_one", "cost/month", money)
        case _:
            return t.update(ORG, t.find(ORG, "project", name).id, limits=[text])


def test_many_who_share_out_at_once_never_give_more_than_there_is(opens: Opens, clock: FakeClock):
    house = House(opens(), clock)
    house.host.update(ORG, ORG, auto_upgrade=True)
    house.host.update(ORG, "team_one", limits=["$100/month"])
    house.host.update(ORG, "proj_two", limits=["$40/month"])
    house.host.update(ORG, "proj_one", limits=["$1/month"])
    house.host.create_role(ORG, "r", ["quota:manage"], id="role_r")
    house.member("ann", ("org_admin", "team_two"), ("role_r", "team_one"))
    start = threading.Barrier(8)

    def worker(seed: int) -> int:
        store = opens()
        tenancy = Tenancy(store, Directory(store, clock), clock)
        who = tenancy.by(house.key(ORG, "quota:manage")._actor)
        mover = tenancy.by(tenancy.acting(ORG, "ann"))
        turn, done = random.Random(seed), 0
        start.wait()
        for _ in range(12):
            with contextlib.suppress(ApiError, Conflict, ConfigurationError):
                sharing(who, mover, turn)
                done += 1
        return done

    with ThreadPoolExecutor(8) as pool:
        done = sum(pool.map(worker, range(8)))
    assert done > 8
    assert 0 < most_ever_shared(house.store, "team_one") <= TOTAL


@pytest.mark.parametrize(
    "attempt",
    [
        lambda t: t.create_project("team_one", "new", org=ORG, limits=["$51/month"]),
        lambda t: t.create_project("team_one", "new", org=ORG, limits=["$51/month soft"]),
        lambda t: t.update(ORG, "proj_one", limits=["$101/month"]),
        lambda t: t.set_limit(ORG, "proj_one", "$101/month"),
        lambda t: t.allocate(ORG, "team_one", [Share("new", usd(51))]),
        lambda t: t.allocate(ORG, "team_one", [Share("new", usd(30)), Share("other", usd(30))]),
        lambda t: t.allocate(ORG, "team_one", [Share("p one", usd(101))]),
        lambda t: t.update(ORG, "team_one", limits=["$49/month"]),
        lambda t: t.allocate(ORG, ORG, [Share("one", usd(49))]),
    ],
)
def test_what_would_come_to_more_is_refused_whole_with_the_figures(attempt: Callable[[Tenancy], object]):
    clock = FakeClock()
    house = House(MemoryStore(clock), clock)
    house.host.update(ORG, "team_one", limits=["$100/month", "$10/day"])
    house.host.update(ORG, "proj_one", limits=["$50/month"])
    before = house.documents()
    who = house.key(ORG, "quota:manage", "team:create")
    before = house.documents()
    with pytest.raises(InvalidRequest) as caught:
        attempt(who)
    assert caught.value.code == "over_allocated"
    assert house.documents() == before
    figures = caught.value.fields
    total = figures["allocated_usd"] + figures["requested_usd"]
    assert total > figures["parent_budget_usd"]
    attempt(house.member("boss", ("org_admin", ORG)))  # quota:override goes over it


def test_a_project_that_moves_has_to_fit_at_its_new_place():
    clock = FakeClock()
    house = House(MemoryStore(clock), clock)
    house.host.update(ORG, "team_one", limits=["$100/month"])
    house.host.update(ORG, "proj_one", limits=["$50/month"])
    house.host.update(ORG, "proj_two", limits=["$51/month"])
    house.host.create_role(ORG, "r", ["quota:manage"], id="role_r")
    who = house.member("ann", ("org_admin", "team_two"), ("role_r", "team_one"))
    with pytest.raises(InvalidRequest):
        who.move_project(ORG, "proj_two", "team_one")
    house.host.update(ORG, "proj_two", limits=["$50/month"])
    assert who.move_project(ORG, "proj_two", "team_one").parent == "team_one"


def test_what_is_overridden_counts_as_long_as_it_is():
    """Two who are granted more for a month would otherwise come to more than there is."""
    clock = FakeClock()
    house = House(MemoryStore(clock), clock)
    house.host.update(ORG, ORG, auto_upgrade=True)
    house.host.update(ORG, "team_one", limits=["$100/month"])
    house.host.update(ORG, "proj_one", limits=["$40/month"])
    house.host.create_project("team_one", "other", org=ORG, id="proj_other", limits=["$40/month"])
    who = house.key("team_one", "quota:read")
    assert who.ask(ORG, "proj_one", "cost/month", usd(60), periods=1).state == "approved"
    assert who.ask(ORG, "proj_other", "cost/month", usd(60), periods=1).state == "pending"
    assert who.ask(ORG, "proj_other", "cost/month", usd(41)).state == "pending"
    clock.advance(31 * 86_400_000)
    assert who.ask(ORG, "proj_other", "cost/month", usd(60)).state == "approved"


def test_only_a_budget_is_granted_at_once():
    clock = FakeClock()
    house = House(MemoryStore(clock), clock)
    house.host.update(ORG, ORG, auto_upgrade=True)
    house.host.update(ORG, "proj_one", limits=["10 requests/minute", "$1/month for gpt-5", "$5/month"])
    who = house.key("team_one", "quota:read")
    assert who.ask(ORG, "proj_one", "requests/minute", 1000).state == "pending"
    assert who.ask(ORG, "proj_one", "cost/month/for:gpt-5", usd(9)).state == "pending"
    assert who.ask(ORG, "proj_one", "cost/month", usd(9)).state == "approved"


def test_an_organization_grants_itself_nothing():
    clock = FakeClock()
    house = House(MemoryStore(clock), clock)
    house.host.update(ORG, ORG, auto_upgrade=True, limits=["$100/month"])
    developer = house.member("ann", ("developer", ORG))
    assert developer.ask(ORG, ORG, "cost/month", usd(101)).state == "pending"
    assert developer.ask(ORG, ORG, "cost/month", usd(101), periods=1).state == "pending"
    assert house.key(ORG, "quota:manage").ask(ORG, ORG, "cost/month", usd(101)).state == "approved"


def test_a_request_is_for_as_much_as_a_limit_may_be():
    clock = FakeClock()
    house = House(MemoryStore(clock), clock)
    house.host.update(ORG, "proj_one", limits=["$1/month"])
    asker = house.key("proj_one", "quota:read")
    assert asker.ask(ORG, "proj_one", "cost/month", MAX_AMOUNT).amount == MAX_AMOUNT
    with pytest.raises(ConfigurationError, match="amount: is a whole number"):
        asker.ask(ORG, "proj_one", "cost/month", MAX_AMOUNT + 1)


def test_a_request_is_decided_once(any_store: Store, clock: FakeClock):
    house = House(any_store, clock)
    house.host.update(ORG, "proj_one", limits=["$1/month"])
    asked = house.key("proj_one", "quota:read").ask(ORG, "proj_one", "cost/month", usd(5))
    start = threading.Barrier(4)

    def decide(number: int) -> bool:
        directory = Directory(any_store, clock)
        start.wait()
        try:
            Tenancy(any_store, directory, clock).decide(ORG, asked.id, ("approved", "rejected")[number % 2])
        except ApiError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(decide, range(4))) == 1
    granted = house.host.request(ORG, asked.id).state == "approved"
    assert (house.host.get(ORG, "proj_one").limits[0].amount == usd(5)) == granted


def test_setting_a_limit_ends_what_overrode_it():
    clock = FakeClock()
    house = House(MemoryStore(clock), clock)
    house.host.update(ORG, "proj_one", limits=["$10/month", "$1/day"])
    house.host.override(ORG, "proj_one", "cost/month", usd(5))
    house.host.override(ORG, "proj_one", "cost/day", usd(2))
    node = house.host.update(ORG, "proj_one", limits=["$20/month", "$1/day"])
    assert [each.limit for each in node.overrides] == ["cost/day"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 120)), min_size=1, max_size=12))
def test_any_order_of_allocations_keeps_within_the_parent(steps: list[tuple[int, int]]):
    clock = FakeClock()
    house = House(MemoryStore(clock), clock)
    house.host.update(ORG, "team_one", limits=["$100/month"])
    who = house.key(ORG, "quota:manage")
    have = dict.fromkeys(range(4), 0)
    for child, dollars in steps:
        fits = sum(have.values()) - have[child] + dollars <= 100 or dollars <= have[child]
        try:
            who.allocate(ORG, "team_one", [Share(f"c{child}", usd(dollars))])
            assert fits
            have[child] = dollars
        except InvalidRequest:
            assert not fits
    assert most_ever_shared(house.store, "team_one") <= TOTAL
