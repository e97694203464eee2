"""The memory store: all that a store does, inline, and bounded in whatever it keeps."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from quotaware.core.steps import CONCURRENCY, COST, NOTHING, TOKENS, Counter, Peek, Plan, Reserve, Settle
from quotaware.errors import ConfigurationError
from quotaware.stores.memory import IDLE_MS, MemoryStore, system_clock
from quotaware.stores.opening import open_store
from quotaware.testing.store_suite import StoreSuite
from quotaware.testing.store_suite.kit import (
    FOREVER,
    ORG,
    ask,
    budget,
    commit,
    doc,
    in_threads,
    plan,
    verdicts,
)
from tests.support import NOON, FakeClock

HOUR = 3_600_000


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock)


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def store(self, clock: FakeClock) -> MemoryStore:
        return MemoryStore(clock)

    @pytest.fixture
    def other_store(self, clock: FakeClock) -> MemoryStore:
        return MemoryStore(clock)


@pytest.mark.parametrize("batch", [1, 64, 256])
def test_of_a_hundred_thousand_calls_offered_exactly_those_go_that_the_limit_pays_for(store, new, batch):
    """I-1: N = 100,000 from 4 threads, K = 60,000; used + held is never over at the end of any batch."""
    limit = budget(60_000)
    done = [0] * 4

    def offer(number: int) -> None:
        left = 25_000
        while left:
            size = min(batch, left)
            left -= size
            answer = ask(store, *(Reserve(new(), limit, (0, 1, 0), NOTHING, 60_000, "") for _ in range(size)))
            done[number] += verdicts(answer).count("done")
            assert sum(answer.totals["budget"]) <= 60_000

    in_threads(4, offer)
    assert sum(done) == 60_000


def test_it_is_called_inline(store):
    assert store.lane(ORG) is None


def test_its_clock_is_the_systems_unless_one_is_given():
    before = time.time_ns() // 1_000_000
    assert before <= system_clock() <= MemoryStore().hello()


def test_it_is_opened_by_url():
    store = open_store("memory://", FakeClock())
    assert store.hello() == NOON
    with pytest.raises(ConfigurationError, match="memory://"):
        open_store("nowhere://", FakeClock())


def cells(store: MemoryStore) -> set[str]:
    return set(store._orgs[ORG].view.cells)


def call(store: MemoryStore, id: str, plan: Plan) -> None:
    ask(store, Reserve(id, plan, (1, 1, 1), NOTHING, 60_000, ""))
    ask(store, Settle(id, plan, (1, 1, 0), ""))


def per_user(user: int, now: int) -> Plan:
    """A rate, a budget an hour and a number of calls at once, each user's own."""
    start = now // HOUR * HOUR
    return plan(
        (Counter(f"tokens/{user}", 10, span=60_000), TOKENS),
        (Counter(f"cost/{user}@{start}", 10, since=start, until=start + HOUR, keep=start + HOUR), COST),
        (Counter(f"slots/{user}", 10, keep=-1), CONCURRENCY),
    )


def crowd(store: MemoryStore, clock: FakeClock, new: Callable[[], str], users: int, pace: int) -> int:
    """So many users call once each, `pace` ms apart on average, 64 at a time; the most counters there ever were."""
    most = 0
    for start in range(0, users, 64):
        plans = {new(): per_user(start + number, clock()) for number in range(64)}
        answer = ask(store, *(Reserve(id, own, (1, 1, 1), NOTHING, 60_000, "") for id, own in plans.items()))
        assert set(verdicts(answer)) == {"done"}
        ask(store, *(Settle(id, own, (1, 1, 0), "") for id, own in plans.items()))
        clock.advance(64 * pace)
        most = max(most, len(cells(store)))
    return most


def test_counters_are_forgotten_when_their_windows_end(store, clock, new):
    """I-27: 20,000 distinct end users over ten hours: never more counters than one hour's users have."""
    an_hours = HOUR // 1800
    assert crowd(store, clock, new, 20_000, 1800) < 1.2 * an_hours + 3 * 64
    assert len(store._orgs[ORG].swept) == len(store._orgs[ORG].sweeps) <= len(cells(store)) + 3 * 64


@pytest.mark.slow
def test_counters_are_forgotten_when_their_windows_end_over_days(store, clock, new):
    """I-27: 200,000 distinct end users."""
    assert crowd(store, clock, new, 200_000, 1800) < 1.2 * HOUR // 1800 + 3 * 64


def test_many_counters_that_end_together_are_all_forgotten(store, clock, new):
    """More are removed in a batch than it can make."""
    for batch in range(10):
        plans = {new(): per_user(batch * 200 + number, clock()) for number in range(200)}
        ask(store, *(Reserve(id, own, (1, 1, 1), NOTHING, 60_000, "") for id, own in plans.items()))
        ask(store, *(Settle(id, own, (1, 1, 0), "") for id, own in plans.items()))
    assert len(cells(store)) == 4000
    clock.advance(HOUR)
    lines = 0
    while len(cells(store)) > 3:
        call(store, new(), per_user(-1, clock()))
        lines += 6
        assert lines < 2 * 4000


def test_a_rolling_counter_in_use_is_kept(store, clock, new):
    rate = plan((Counter("tokens", 3, span=1000), TOKENS))
    for _ in range(8):
        call(store, new(), rate)
        clock.advance(400)
        assert cells(store) == {"tokens"}
    assert ask(store, Peek(rate)).totals == {"tokens": (2, 0)}
    clock.advance(1000)
    ask(store)
    assert cells(store) == set()


def test_a_counter_that_is_made_anew_is_forgotten_anew(store, clock, new):
    """A call that outlives its rolling window and its own slot: one counter goes in the step in which one comes."""
    long = plan((Counter("tokens", 9, span=1000), TOKENS), (Counter("slots", 9, keep=-1), CONCURRENCY))
    id = new()
    ask(store, Reserve(id, long, (1, 0, 1), NOTHING, 60_000, ""))
    clock.advance(1500)
    ask(store)
    assert cells(store) == {"slots"}
    ask(store, Settle(id, long, (4, 0, 0), ""))
    assert cells(store) == {"tokens"}
    clock.advance(1000)
    ask(store)
    assert cells(store) == set()
    clock.advance(IDLE_MS)
    ask(store)
    assert store._orgs[ORG].swept == {}


def test_a_counter_that_only_a_claim_made_is_forgotten(store, clock, new):
    """A waiter that died without a word leaves nothing behind."""
    shared, own = (Counter("shared", 1, keep=-1), CONCURRENCY), (Counter("own", 5, keep=-1), CONCURRENCY)
    holder = new()
    ask(store, Reserve(holder, plan(shared), (0, 0, 1), NOTHING, 600_000, ""))
    waiter = Reserve(new(), plan(shared, own), (0, 0, 1), NOTHING, 600_000, "", wait=True)
    assert verdicts(ask(store, waiter)) == ["denied"]
    assert cells(store) == {"shared", "own"}
    clock.advance(IDLE_MS)
    ask(store)
    assert cells(store) == {"shared"}
    ask(store, Settle(holder, plan(shared), NOTHING, ""))
    clock.advance(IDLE_MS)
    ask(store)
    assert cells(store) == set()
    assert store._orgs[ORG].swept == {}


def test_a_counter_for_ever_is_kept_for_ever(store, clock, new):
    call(store, new(), budget(10))
    clock.advance(400 * 24 * HOUR)
    ask(store)
    assert ask(store, Peek(budget(10))).totals == {"budget": (1, 0)}


def test_records_are_the_newest_ones(clock, new):
    store = MemoryStore(clock, records=10)
    called = [new() for _ in range(25)]
    for id in called:
        call(store, id, budget(100))
    assert [row.id for _, row in store.records(ORG, 0, FOREVER, "", 100)] == called[15:]


def test_audit_rows_are_the_newest_ones(clock):
    store = MemoryStore(clock, records=3)
    for _ in range(5):
        commit(store, doc("a"), audit="row")
    assert [rev for rev, _ in store.audit(ORG, 0, 10)] == [3, 4, 5]


def test_ends_that_are_no_longer_remembered_are_refused(clock, new):
    """Exactly once, in bounded memory: what could have been ended and forgotten is told to be too old."""
    store = MemoryStore(clock, remember=5)
    limit = budget(100)
    called = []
    for _ in range(12):
        called.append(new())
        call(store, called[-1], limit)
        clock.advance(1)
    assert len(store._orgs[ORG].view.ended) == 5
    again = ask(store, *(Settle(id, limit, (0, 9, 0), "", force=True) for id in called))
    assert verdicts(again) == ["old"] * 7 + ["again"] * 5
    assert again.totals == {"budget": (12, 0)}


def test_a_call_that_is_under_way_ends_however_old_its_id_is(clock, new):
    store = MemoryStore(clock, remember=2)
    limit = budget(100)
    long = new()
    ask(store, Reserve(long, limit, (0, 9, 0), NOTHING, 60_000, ""))
    for _ in range(5):
        clock.advance(1)
        call(store, new(), limit)
    assert verdicts(ask(store, Settle(long, limit, (0, 7, 0), ""))) == ["done"]
    assert ask(store, Peek(limit)).totals == {"budget": (12, 0)}


def test_names_that_ended_are_not_kept(store, clock):
    for number in range(100):
        store.once(ORG, f"name{number}", "value", 10)
        clock.advance(1)
    assert len(store._orgs[ORG].once) <= 11
