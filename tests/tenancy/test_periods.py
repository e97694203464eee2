"""Budgets as time goes by: each period its own, and what was left of the last one where it is carried over."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from quotaware.stores.protocol import Store
from quotaware.tenancy.sharing import PERIODS, Enforcement, Share
from quotaware.testing.clocks import FakeClock

from .people import ORG, PROJECT, Calls, House

DAY = 86_400_000
AFTER = {
    "hourly": 3_600_000,
    "daily": DAY,
    "weekly": 7 * DAY,
    "monthly": 31 * DAY,
    "quarterly": 92 * DAY,
    "yearly": 366 * DAY,
}


@pytest.fixture
def house(any_store: Store, clock: FakeClock) -> House:
    return House(any_store, clock)


@pytest.fixture
def calls(house: House) -> Calls:
    return Calls(house)


def at(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, 12, tzinfo=UTC).timestamp() * 1000)


def most(calls: Calls) -> int:
    """The dearest call that would go now, in dollars."""
    return max((dollars for dollars in range(0, 1001, 10) if calls.fits(dollars)), default=0)


def allocate(house: House, period: str = "monthly", carryover: bool = False, **enforcement: bool) -> None:
    shares = [Share("p one", 100 * 10**9, period, carryover)]
    house.host.allocate(ORG, "team_one", shares, Enforcement(**enforcement))


@pytest.mark.parametrize("period", PERIODS)
def test_a_budget_is_new_when_its_period_begins(house, calls, clock, period):
    allocate(house, period)
    calls.spend(70)
    assert most(calls) == 30
    if period == "never":
        clock.advance(1000 * DAY)
        assert most(calls) == 30
    else:
        clock.advance(AFTER[period])
        assert most(calls) == 100


@pytest.mark.parametrize("period", ["daily", "weekly", "monthly", "quarterly"])
def test_what_was_left_is_added_to_the_next_period_and_to_the_one_after(house, calls, clock, period):
    allocate(house, period, carryover=True)
    calls.spend(70)
    clock.advance(AFTER[period])
    assert most(calls) == 130
    calls.spend(10)
    clock.advance(AFTER[period])
    assert most(calls) == 220
    calls.spend(220)
    clock.advance(AFTER[period])
    assert most(calls) == 100


def test_what_was_left_is_there_until_the_end_of_the_period_and_in_the_middle_of_it(house, calls, clock):
    """However late the first call of the period comes, and however often what is over was swept away before."""
    clock.now = at(2026, 6, 20)
    allocate(house, carryover=True)
    calls.spend(70)
    for moment in (at(2026, 7, 6), at(2026, 7, 20), at(2026, 7, 31)):
        clock.now = moment
        house.host.set_limit(ORG, "proj_two", "9 requests/day")
        while house.store.prune(ORG, 1000):
            pass
        assert most(calls) == 130
    calls.spend(130)
    assert most(calls) == 0


def test_a_period_without_any_call_leaves_its_budget(house, calls, clock):
    clock.now = at(2026, 6, 20)
    allocate(house, carryover=True)
    assert most(calls) == 100  # what was before it was allocated left nothing
    clock.now = at(2026, 7, 20)
    assert most(calls) == 200
    calls.spend(150)
    clock.now = at(2026, 8, 20)
    assert most(calls) == 150
    clock.now = at(2026, 11, 20)
    assert most(calls) == 200
    calls.spend(200)
    assert most(calls) == 0
    clock.now = at(2026, 12, 20)
    assert most(calls) == 100


def test_a_period_without_any_call_leaves_what_it_had_and_nothing_of_what_is_set_later(house, calls, clock):
    clock.now = at(2026, 6, 20)
    allocate(house)
    clock.now = at(2026, 8, 20)
    house.host.set_limit(ORG, PROJECT, "$100/month carryover")
    assert most(calls) == 100  # it did not carry over then
    clock.now = at(2026, 9, 20)
    house.host.override(ORG, PROJECT, "cost/month", 20 * 10**9)
    assert most(calls) == 20
    clock.now = at(2026, 10, 20)
    assert most(calls) == 120
    house.host.set_limit(ORG, PROJECT, "$900/month carryover")
    assert most(calls) == 900
    clock.now = at(2026, 11, 20)
    house.host.set_limit(ORG, PROJECT, "$50/month carryover")
    assert most(calls) == 50


def test_another_time_zone_is_no_period_without_a_call(house, calls, clock):
    clock.now = at(2026, 6, 20)
    allocate(house, carryover=True)
    clock.now = at(2026, 7, 20)
    calls.spend(100)
    house.host.update(ORG, ORG, zone="Asia/Tokyo")
    clock.now = at(2026, 8, 20)
    assert most(calls) == 100
    clock.now = at(2026, 9, 20)
    assert most(calls) == 200


def test_a_key_that_took_the_place_of_another_goes_on_with_what_was_left(house, clock):
    clock.now = at(2026, 6, 20)
    made = house.host.create_key(PROJECT, limits=["$100/month carryover"]).node
    clock.now = at(2026, 7, 20)
    rotated = house.host.rotate_key(ORG, made.id).node
    assert rotated.carry_since == made.carry_since == (("cost/month", at(2026, 6, 20)),)


def test_a_raise_in_the_middle_of_a_period_keeps_what_was_carried_over(house, calls, clock):
    allocate(house, carryover=True)
    calls.spend(70)
    clock.advance(31 * DAY)
    calls.spend(100)
    house.host.set_limit(ORG, PROJECT, "$200/month carryover")
    assert most(calls) == 130
    house.host.set_limit(ORG, PROJECT, "$50/month carryover")
    assert most(calls) == 0
    house.host.set_limit(ORG, PROJECT, "$200/month")
    assert most(calls) == 100


def test_an_override_is_for_its_periods_and_what_is_left_of_it_is_carried_over(house, calls, clock):
    clock.now = at(2026, 6, 20)
    allocate(house, carryover=True)
    house.host.override(ORG, PROJECT, "cost/month", 300 * 10**9)
    calls.spend(100)
    assert most(calls) == 200
    clock.now = at(2026, 7, 1)
    assert most(calls) == 300


def test_a_soft_budget_lets_calls_go_on_and_tells(house, calls, any_store):
    allocate(house, hard=False)
    calls.spend(150)
    assert most(calls) == 1000
    (event,) = any_store.outbox(ORG)
    assert "|email:1000000|100000000000|r" in event.id


def test_what_disables_itself_stays_so_in_the_new_period_until_it_is_enabled(house, calls, clock):
    allocate(house, disable=True)
    calls.spend(100)
    assert house.host.get(ORG, PROJECT).stopped is not None
    clock.advance(31 * DAY)
    allocate(house, disable=True)
    assert house.host.get(ORG, PROJECT).stopped is not None
    house.host.enable(ORG, PROJECT)
    assert house.host.get(ORG, PROJECT).stopped is None
    assert most(calls) == 100
