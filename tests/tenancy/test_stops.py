"""A node that a threshold stops, while its budget is being raised: it never stays stopped by what does not hold."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from quotaware.core.money import usd
from quotaware.stores.protocol import Store
from quotaware.testing.clocks import FakeClock

from .people import ORG, Calls, House

PROJECT = "proj_one"


@pytest.fixture
def house(any_store: Store, clock: FakeClock) -> House:
    return House(any_store, clock)


@pytest.fixture
def calls(house: House) -> Calls:
    return Calls(house)


def stopped(house: House) -> bool:
    return house.host.get(ORG, PROJECT).stopped is not None


@pytest.mark.parametrize("action", ["disable", "close"])
def test_a_call_under_way_that_ends_after_a_raise_stops_nothing(house, calls, action):
    house.host.update(ORG, PROJECT, limits=["$100/month"], alerts=[f"80% {action}"])
    call = calls.begin(90)
    house.host.update(ORG, PROJECT, limits=["$200/month"])
    calls.end(call, 90)
    assert not stopped(house)
    calls.spend(75)
    assert stopped(house)
    house.host.together(ORG, "raise", lambda each: each.update(ORG, PROJECT, limits=["$300/month"]))
    assert stopped(house) == (action == "close")


@pytest.mark.parametrize("action", ["disable", "close"])
@pytest.mark.parametrize(
    "raised",
    [
        lambda t: t.update(ORG, PROJECT, limits=["$200/month"]),
        lambda t: t.set_limit(ORG, PROJECT, "$200/month"),
        lambda t: t.override(ORG, PROJECT, "cost/month", usd(200)),
        lambda t: t.update(ORG, PROJECT, alerts=["99% disable"]),
        lambda t: t.drop_limit(ORG, PROJECT, "cost/month"),
        lambda t: t.together(ORG, "raise", lambda each: each.update(ORG, PROJECT, limits=["$200/month"])),
    ],
)
def test_a_call_that_ends_just_after_the_raise_was_written_stops_nothing(house, calls, action, raised):
    """It is settled between the write of the new budget and the store's learning of the new thresholds."""
    house.host.update(ORG, PROJECT, limits=["$100/month"], alerts=[f"80% {action}"])
    call = calls.begin(90)
    commit = house.store.commit

    def commit_and_settle(org: str, change: object) -> int:
        house.store.commit = commit
        rev = commit(org, change)
        calls.end(call, 90)
        return rev

    house.store.commit = commit_and_settle
    raised(house.host)
    assert not stopped(house)


@pytest.mark.parametrize("action", ["disable", "close"])
def test_what_is_over_the_new_threshold_too_stays_stopped(house, calls, action):
    house.host.update(ORG, PROJECT, limits=["$100/month"], alerts=[f"80% {action}"])
    call = calls.begin(90)
    commit = house.store.commit

    def commit_and_settle(org: str, change: object) -> int:
        house.store.commit = commit
        rev = commit(org, change)
        calls.end(call, 90)
        return rev

    house.store.commit = commit_and_settle
    house.host.update(ORG, PROJECT, limits=["$101/month"])
    assert stopped(house)


def test_a_disable_ends_with_a_raise_above_it_and_a_close_only_by_enabling(house, calls, clock):
    house.host.update(ORG, PROJECT, limits=["$100/month"], alerts=["80% disable"])
    calls.spend(85)
    assert stopped(house)
    house.host.update(ORG, PROJECT, limits=["$105/month"])
    assert stopped(house)
    house.host.update(ORG, PROJECT, limits=["$110/month"])
    assert not stopped(house)
    house.host.update(ORG, PROJECT, alerts=["80% close"])
    calls.spend(5)
    assert stopped(house)
    house.host.update(ORG, PROJECT, limits=["$500/month"])
    clock.advance(40 * 86_400_000)
    house.host.update(ORG, PROJECT, limits=["$600/month"])
    assert stopped(house)
    house.host.enable(ORG, PROJECT)
    assert not stopped(house)


def test_a_disable_ends_with_a_raise_where_something_was_carried_over(house, calls, clock):
    house.host.update(ORG, PROJECT, limits=["$100/month carryover"], alerts=["80% disable"])
    calls.spend(50)
    clock.advance(31 * 86_400_000)
    calls.spend(119)  # of $150
    assert not stopped(house)
    calls.spend(1)
    assert stopped(house)
    house.host.update(ORG, PROJECT, limits=["$99/month carryover"])
    assert stopped(house)
    house.host.update(ORG, PROJECT, limits=["$101/month carryover"])
    assert not stopped(house)
    house.host.update(ORG, PROJECT, limits=["$200/month carryover"])
    calls.spend(79)  # of $250
    assert not stopped(house)
    calls.spend(1)
    assert stopped(house)


@pytest.mark.parametrize("action", ["disable", "close"])
def test_raises_and_settles_at_once_never_leave_it_stopped_below_its_threshold(house, calls, action):
    """The last raise is far above all that was spent, whatever came first."""
    house.host.update(ORG, PROJECT, limits=["$10/month"], alerts=[f"80% {action}"])
    for turn in range(1, 9):
        call = calls.begin(1)
        target = f"${100 * turn}/month"
        work: list[Callable[[], object]] = [
            lambda call=call: calls.end(call, 9 * 1),
            lambda target=target: house.host.update(ORG, PROJECT, limits=[target]),
        ]
        with ThreadPoolExecutor(2) as pool:
            for done in [pool.submit(each) for each in work]:
                done.result()
        if stopped(house):  # it was over the old threshold before the raise began
            assert action == "close"
            house.host.enable(ORG, PROJECT)
        assert not stopped(house)
