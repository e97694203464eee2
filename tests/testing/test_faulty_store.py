"""The store that fails as told: what was done behind each fault, and what an app sees of it."""

from __future__ import annotations

import inspect
import time
from collections import Counter as Tally
from threading import Barrier, Thread

import pytest

import quotaware
from quotaware.core.steps import COST, NOTHING, Answer, Counter, Peek, Plan, Reserve, Settle
from quotaware.errors import StoreError, StoreUnavailable
from quotaware.stores.memory import MemoryStore
from quotaware.stores.protocol import Change, Doc, Store
from quotaware.testing import FaultyStore
from quotaware.testing.store_suite import StoreSuite
from tests.support import FakeClock, ids

LIMIT = Plan("org_a", 0, (), ((Counter("budget", 100), COST),))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def new(clock):
    return ids(clock)


@pytest.fixture
def store(clock) -> FaultyStore:
    return FaultyStore(MemoryStore(clock))


class TestWithoutFaults(StoreSuite):
    """It does what the store in it does."""

    @pytest.fixture
    def store(self, clock) -> FaultyStore:
        return FaultyStore(MemoryStore(clock))

    @pytest.fixture
    def other_store(self, clock) -> FaultyStore:
        return FaultyStore(MemoryStore(clock))

    @pytest.fixture
    def same_store(self, store) -> FaultyStore:
        return FaultyStore(store.inner)

    @pytest.fixture
    def snapshot(self) -> None:
        return None  # the memory in it is this process's own


def reserve(store: Store, id: str, deadline: float = 1.0) -> Answer:
    answer = store.apply({"org_a": [Reserve(id, LIMIT, (0, 5, 0), NOTHING, 60_000, "")]}, deadline)["org_a"]
    assert isinstance(answer, Answer)
    return answer


def used_and_held(store: FaultyStore) -> tuple[int, int]:
    answer = store.inner.apply({"org_a": [Peek(LIMIT)]}, 1.0)["org_a"]
    assert isinstance(answer, Answer)
    return answer.totals["budget"]


def test_a_trip_that_is_refused_changed_nothing(store, new):
    store.fail(2)
    for _ in range(2):
        with pytest.raises(StoreError, match="did not answer"):
            reserve(store, new())
    assert used_and_held(store) == (0, 0)
    reserve(store, new())
    assert used_and_held(store) == (0, 5)
    assert (store.trips, store.faults) == (3, {"refused": 2})


def test_behind_an_answer_that_is_lost_the_store_has_acted(store, new):
    """I-6: the same step again is applied once."""
    store.fail(1, "lost")
    id = new()
    with pytest.raises(StoreError, match="lost"):
        reserve(store, id)
    assert used_and_held(store) == (0, 5)
    assert reserve(store, id).results[0].verdict == "again"
    assert used_and_held(store) == (0, 5)


def test_a_slow_trip_is_late_and_past_its_deadline_without_an_answer(store, new):
    store.fail(2, "slow")
    store.delay = 0.05
    began = time.monotonic()
    reserve(store, new(), deadline=1.0)
    assert time.monotonic() - began >= 0.05
    with pytest.raises(StoreError, match="lost"):
        reserve(store, new(), deadline=0.01)
    assert time.monotonic() - began < 1
    assert used_and_held(store) == (0, 10)


def test_it_fails_until_it_is_healed(store, new):
    store.fail()
    for _ in range(20):
        with pytest.raises(StoreError):
            store.read("org_a", ())
    with pytest.raises(StoreError):
        store.commit("org_a", Change(0, (Doc("a", "node", "", None, 0, "{}"),)))
    store.heal()
    assert store.read("org_a", ["a"]) == (0, [None])


def test_chance_is_seeded(clock):
    def met(seed: int) -> list[bool]:
        store = FaultyStore(MemoryStore(clock), p=0.3, seed=seed)
        found = []
        for _ in range(200):
            try:
                store.find("digest")
                found.append(False)
            except StoreError:
                found.append(True)
        assert store.faults.total() == sum(found)
        assert set(store.faults) == {"refused", "lost"}
        return found

    assert met(1) == met(1)
    assert met(1) != met(2)
    assert 30 < sum(met(1)) < 90


def test_every_trip_of_many_threads_is_counted_once(store):
    store.fail(1000)
    begin = Barrier(8)
    failed: Tally[int] = Tally()

    def hammer(number: int) -> None:
        begin.wait()
        for _ in range(250):
            try:
                store.find("digest")
            except StoreError:
                failed[number] += 1

    threads = [Thread(target=hammer, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (store.trips, store.faults["refused"], failed.total()) == (2000, 1000, 1000)


def test_every_call_of_a_store_is_a_trip(store):
    """Closing and the lane are none; whatever the protocol gains must be one too."""
    calls = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if not name.startswith("_")}
    for name in calls - {"lane", "close"}:
        store.fail(1)
        wanted = inspect.signature(getattr(Store, name)).parameters.values()
        arguments = [None for each in wanted if each.name != "self" and each.kind != each.KEYWORD_ONLY]
        if name == "apply":
            arguments = [{}, 1.0]
        with pytest.raises(StoreError, match="did not answer"):
            getattr(store, name)(*arguments)
    assert store.faults["refused"] == len(calls) - 2


def test_an_app_sees_that_its_store_is_away_and_that_it_is_back():
    store = FaultyStore(MemoryStore())
    quota = quotaware.Quota(store, limits=["100 requests/minute"], deadline=0.5)

    def one_call() -> None:
        with quota.call(provider="local", model="llama", operation="chat") as call:
            call.used(input=1, output=1)

    try:
        one_call()
        store.fail()
        with pytest.raises(StoreUnavailable):
            one_call()
        store.heal()
        one_call()
    finally:
        assert quota.close()


def test_a_settle_whose_answer_was_lost_is_booked_once(store, new):
    id = new()
    reserve(store, id)
    store.fail(1, "lost")
    end = {"org_a": [Settle(id, LIMIT, (0, 3, 0), "{}")]}
    with pytest.raises(StoreError):
        store.apply(end, 1.0)
    store.apply(end, 1.0)
    assert used_and_held(store) == (3, 0)
    assert len(store.records("org_a", 0, 1 << 53, "", 9)) == 1
