"""The store thread: everybody's steps in few trips, whatever loop they come from; nothing lost, nobody left waiting."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import threading
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Any
from weakref import WeakMethod

import anyio
import pytest

from quotaware import Quota
from quotaware.core.denied import is_of_denied
from quotaware.core.steps import (
    COST,
    NOTHING,
    REQUESTS,
    Answer,
    Counter,
    Extend,
    Op,
    Peek,
    Plan,
    Reserve,
    Result,
    Settle,
)
from quotaware.errors import StoreError, StoreUnavailable
from quotaware.stores import thread as module
from quotaware.stores.memory import MemoryStore, system_clock
from quotaware.stores.thread import LeaseTerms, StoreThread
from quotaware.stores.tickets import Steps, Ticket, drive, drive_async, on_loop
from quotaware.testing.store_suite.kit import FOREVER, ORG, ask, budget, in_threads, plan
from tests.support import FakeClock, check_books, ids, run_module

A_WHILE = 20.0
"""Seconds that no test waits out."""
LIMIT = budget(1_000_000)


class SlowStore(MemoryStore):
    """A store that may be waited for: it stops at its gate, and its next trips end as `faults` say.

    trips  organization → steps, of each trip
    """

    def __init__(self, clock: Callable[[], int]) -> None:
        super().__init__(clock)
        self.gate = threading.Event()
        self.gate.set()
        self.inside = threading.Event()
        self.faults: deque[BaseException | Callable[[Any], Any] | None] = deque()
        self.away = False
        self.trips: list[dict[str, list[Op]]] = []
        self.seen: dict[type, threading.Event] = {Extend: threading.Event(), Settle: threading.Event()}

    def lane(self, org: str) -> str:
        return "one"

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Any:
        self.trips.append({org: list(ops) for org, ops in work.items()})
        self.inside.set()
        assert self.gate.wait(A_WHILE)
        if self.away:
            raise StoreError("away")
        fault = self.faults.popleft() if self.faults else None
        if isinstance(fault, BaseException):
            raise fault
        answers = super().apply(work, deadline)
        for ops in work.values():
            for op in ops:
                if type(op) in self.seen:
                    self.seen[type(op)].set()
        return fault(answers) if fault is not None else answers

    def ops(self) -> list[Op]:
        return [op for trip in self.trips for ops in trip.values() for op in ops]

    def rows(self) -> list[tuple[str, int, int]]:
        """(id, part, cost) of every record."""
        return [(row.id, row.part, row.real[1]) for _, row in self.records(ORG, 0, FOREVER, "", 100_000)]


@pytest.fixture
def store(clock: FakeClock) -> SlowStore:
    return SlowStore(clock)


@pytest.fixture
def thread(store: SlowStore, clock: FakeClock) -> Iterator[StoreThread]:
    thread = StoreThread(store, clock, LeaseTerms(), 1.0)
    yield thread
    store.gate.set()
    store.away = False
    thread.stop(A_WHILE)
    assert thread._thread is None or not thread._thread.is_alive()


@pytest.fixture
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settles that the store did not take are sent again at once."""
    monkeypatch.setattr(module, "REPEAT_S", 0.001)
    monkeypatch.setattr(module, "FLUSH_S", 0.001)


def reserve(id: str, cost: int = 5, lease: int = 60_000) -> Reserve:
    return Reserve(id, LIMIT, (0, cost, 0), (0, 2, 0), lease, "")


def settle(id: str, cost: int = 5, **more: Any) -> Settle:
    return Settle(id, LIMIT, (0, cost, 0), "{}", **more)


def answered(ticket: Ticket[tuple[Result, Answer]]) -> str:
    assert ticket.wait(A_WHILE)
    return ticket.value()[0].verdict


def block(thread: StoreThread, store: SlowStore) -> Ticket[Any]:
    """Has the thread wait inside a trip, so that whatever comes now comes together."""
    store.gate.clear()
    store.inside.clear()
    ticket = thread.ask(ORG, Peek(LIMIT))
    assert store.inside.wait(A_WHILE)
    store.trips.clear()
    return ticket


# tickets


def test_plain_threads_are_answered(thread, new):
    results = Tally[str]()

    def work(number: int) -> None:
        for _ in range(20):
            id = new()
            results[answered(thread.ask(ORG, reserve(id)))] += 1
            thread.post(ORG, settle(id))

    in_threads(8, work)
    assert results == {"done": 160}
    assert thread.flush(A_WHILE)
    assert answered(thread.ask(ORG, Peek(LIMIT))) == "done"
    check_books(thread.store, ORG, {row[0]: LIMIT for row in thread.store.rows()})
    assert len(thread.store.rows()) == 160


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_tasks_of_any_loop_are_answered(anyio_backend, thread, new):
    assert on_loop()
    verdicts = []

    async def work() -> None:
        ticket = thread.ask(ORG, reserve(new()))
        assert await ticket.wait_async(A_WHILE)
        assert await ticket.wait_async(0)
        verdicts.append(ticket.value()[0].verdict)

    async with anyio.create_task_group() as group:
        for _ in range(50):
            group.start_soon(work)
    assert verdicts == ["done"] * 50


def test_a_plain_thread_is_on_no_loop():
    assert not on_loop()


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_all_loops_and_threads_are_answered_from_one_trip(backend, thread, store, new):
    """Two loops and two plain threads wait for one trip."""
    blocked = block(thread, store)
    got = Tally[str]()
    asked = threading.Semaphore(0)

    async def main() -> None:
        async def wait() -> None:
            ticket = thread.ask(ORG, reserve(new()))
            asked.release()
            assert await ticket.wait_async(A_WHILE)
            got[ticket.value()[0].verdict] += 1

        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(wait)

    def plain() -> None:
        ticket = thread.ask(ORG, reserve(new()))
        asked.release()
        got[answered(ticket)] += 1

    workers = [threading.Thread(target=partial(anyio.run, main, backend=backend)) for _ in range(2)]
    workers += [threading.Thread(target=plain) for _ in range(2)]
    for worker in workers:
        worker.start()
    for _ in range(12):
        assert asked.acquire(timeout=A_WHILE)
    store.gate.set()
    for worker in workers:
        worker.join(A_WHILE)
    assert answered(blocked) == "done"
    assert got == {"done": 12}
    assert [len(trip[ORG]) for trip in store.trips] == [12]


def test_each_loop_is_woken_once_a_batch(thread, store, new):
    async def main() -> int:
        loop = asyncio.get_running_loop()
        wakes = 0
        call_soon = loop.call_soon_threadsafe

        def counted(*args: Any, **more: Any) -> Any:
            nonlocal wakes
            wakes += 1
            return call_soon(*args, **more)

        block(thread, store)
        loop.call_soon_threadsafe = counted  # type: ignore[method-assign]
        tickets = [thread.ask(ORG, reserve(new())) for _ in range(40)]
        waits = [asyncio.ensure_future(ticket.wait_async(A_WHILE)) for ticket in tickets]
        await asyncio.sleep(0)
        store.gate.set()
        assert await asyncio.gather(*waits) == [True] * 40
        return wakes

    assert asyncio.run(main()) == 1


def test_a_loop_that_is_gone_harms_nobody(thread, store, new):
    blocked = block(thread, store)
    asked = thread.ask(ORG, reserve(new()))

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(asked.wait_async(A_WHILE))), 0.001)

    asyncio.run(give_up())
    other = thread.ask(ORG, reserve(new()))
    store.gate.set()
    assert [answered(ticket) for ticket in (blocked, other)] == ["done", "done"]
    assert asked.done


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_wait_ends_in_time(anyio_backend):
    ticket: Ticket[int] = Ticket()
    assert not ticket.wait(0.001)
    assert not await ticket.wait_async(0.001)
    ticket.resolve(7)
    ticket.resolve(8, ValueError())
    assert ticket.wait(0)
    assert await ticket.wait_async(0)
    assert ticket.value() == 7


def test_no_wake_up_is_lost():
    """A ticket that is resolved while somebody begins to wait for it."""
    for _ in range(300):
        ticket: Ticket[int] = Ticket()
        resolver = threading.Thread(target=ticket.resolve, args=(1,))
        resolver.start()
        assert ticket.wait(A_WHILE)
        resolver.join()


# trips


def test_all_that_wait_go_in_one_trip(thread, store, new):
    blocked = block(thread, store)
    tickets = [thread.ask(f"org_{number % 3}", Peek(plan(org=f"org_{number % 3}"))) for number in range(60)]
    store.gate.set()
    assert [answered(ticket) for ticket in (blocked, *tickets)] == ["done"] * 61
    assert [{org: len(ops) for org, ops in trip.items()} for trip in store.trips] == [
        {"org_0": 20, "org_1": 20, "org_2": 20}
    ]


def test_a_trip_carries_no_more_than_a_batch(thread, store):
    block(thread, store)
    tickets = [thread.ask(ORG, Peek(LIMIT)) for _ in range(600)]
    store.gate.set()
    assert {answered(ticket) for ticket in tickets} == {"done"}
    assert [len(trip[ORG]) for trip in store.trips] == [256, 256, 88]


def test_settles_go_before_reserves(thread, store, new):
    """What is let go is there for those who ask in the same trip."""
    narrow = budget(5)
    first, second, late = new(), new(), new()
    assert answered(thread.ask(ORG, Reserve(first, narrow, (0, 5, 0), NOTHING, 60_000, ""))) == "done"
    block(thread, store)
    asked = thread.ask(ORG, Reserve(second, narrow, (0, 5, 0), NOTHING, 60_000, ""))
    overtaken = thread.ask(ORG, Reserve(late, narrow, (0, 0, 0), NOTHING, 60_000, ""))
    thread.post(ORG, Settle(late, narrow, NOTHING, "", "released"))
    thread.post(ORG, Settle(first, narrow, NOTHING, ""))
    store.gate.set()
    assert answered(asked) == "done"
    assert answered(overtaken) == "ended"
    assert [type(op) for op in store.ops()] == [Settle, Settle, Reserve, Reserve]


def test_work_is_done_on_the_thread_between_the_steps(thread, store, new):
    block(thread, store)
    order: list[str] = []
    asked = thread.ask(ORG, reserve(new()))
    where = thread.call(lambda: order.append("call") or threading.current_thread().name)
    thread.later(lambda: order.append("later"))
    failed = thread.call(lambda: {}["missing"])
    second = thread.ask(ORG, reserve(new()))
    store.gate.set()
    assert [answered(ticket) for ticket in (asked, second)] == ["done", "done"]
    assert where.wait(A_WHILE)
    assert where.value() == "quotaware-store"
    assert failed.wait(A_WHILE)
    with pytest.raises(KeyError):
        failed.value()
    assert thread.flush(A_WHILE)
    assert order == ["call", "later"]
    assert [len(trip[ORG]) for trip in store.trips] == [2]


def test_answers_are_told_before_those_who_wait_hear_of_them(thread, new):
    told: list[tuple[str, list[Op]]] = []
    thread.told = lambda org, answer, ops: told.append((org, ops))
    op = reserve(new())
    answered(thread.ask(ORG, op))
    assert told == [(ORG, [op])]


def test_whoever_is_told_may_fail(thread, new, caplog):
    def told(org: str, answer: Answer, ops: list[Op]) -> None:
        raise RuntimeError("deaf")

    thread.told = told
    id = new()
    assert answered(thread.ask(ORG, reserve(id))) == "done"
    thread.post(ORG, settle(id))
    assert thread.flush(A_WHILE)
    assert thread.store.rows() == [(id, 0, 5)]
    assert "goes on" in caplog.text


# a store that is away, or worse


def nonsense(*results: Any) -> list[BaseException | Callable[[Any], Any]]:
    return [
        SystemExit(3),
        KeyboardInterrupt(),
        lambda answers: None,
        lambda answers: {},
        lambda answers: {ORG: "nonsense"},
        lambda answers: {ORG: Answer(0, 0, [], {}, [], 0)},
        lambda answers: {ORG: StoreError("no")},
        StoreError("away"),
    ]


@pytest.mark.parametrize("fault", nonsense())
def test_nonsense_is_a_store_error_for_who_asked_and_loses_no_settle(thread, store, new, often, fault):
    """Nothing is lost, booked once, and the thread lives."""
    id, other = new(), new()
    assert answered(thread.ask(ORG, reserve(id))) == "done"
    block(thread, store)
    asked = thread.ask(ORG, reserve(other))
    thread.post(ORG, settle(id, 4))
    store.faults += [None, fault]
    store.gate.set()
    assert asked.wait(A_WHILE)
    with pytest.raises(StoreError):
        asked.value()
    assert thread.flush(A_WHILE)
    assert store.rows() == [(id, 0, 4)]
    assert answered(thread.ask(ORG, reserve(new()))) == "done"
    assert thread.dropped == 0


class PoisonedStore(SlowStore):
    """Raises what no store should where one of these ids is in a trip."""

    poison: frozenset[str] = frozenset()

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Any:
        answers = super().apply(work, deadline)
        if any(getattr(op, "id", "") in self.poison for ops in work.values() for op in ops):
            raise ZeroDivisionError("a fault of the store")
        return answers


class TestAFaultInTheStore:
    """One step that the store cannot do without raising fails alone."""

    @pytest.fixture
    def store(self, clock: FakeClock) -> PoisonedStore:
        return PoisonedStore(clock)

    @pytest.mark.parametrize("poisoned", [(0,), (4,), (9,), (2, 7)])
    def test_only_the_guilty_step_fails(self, thread, store, new, caplog, poisoned):
        ids = [new() for _ in range(10)]
        block(thread, store)
        store.poison = frozenset(ids[number] for number in poisoned)
        tickets = [thread.ask(f"org_{number % 2}", reserve(id)) for number, id in enumerate(ids)]
        store.gate.set()
        for number, ticket in enumerate(tickets):
            assert ticket.wait(A_WHILE)
            if number in poisoned:
                with pytest.raises(StoreError, match="a fault of the store") as raised:
                    ticket.value()
                assert isinstance(raised.value.__cause__, ZeroDivisionError)
            else:
                assert ticket.value()[0].verdict in {"done", "again"}
        assert "an error of its own" in caplog.text

    def test_a_settle_that_fails_so_holds_up_no_other(self, thread, store, new, often):
        ids = [new() for _ in range(20)]
        for id in ids:
            assert answered(thread.ask(ORG, reserve(id))) == "done"
        store.poison = frozenset({ids[3]})
        block(thread, store)
        thread.post(ORG, *(settle(id) for id in ids))
        store.gate.set()
        assert not thread.flush(0.05), "that one is tried again"
        booked = [id for id, *_ in store.rows()]
        assert sorted(booked) == sorted(set(booked))
        assert {*ids} - {ids[3]} <= {*booked}
        store.poison = frozenset()
        assert thread.flush(A_WHILE)
        assert sorted(id for id, *_ in store.rows()) == sorted(ids)

    def test_leases_of_others_end_all_the_same(self, thread, store, new, clock):
        """An organization that cannot be looked at."""
        good, bad = new(), new()
        for org, id in (("a", good), ("b", bad)):
            assert answered(thread.ask(org, reserve(id, lease=10))) == "done"
        store.poison = frozenset({bad})
        clock.advance(20)
        thread.look(["a", "b"])
        assert [row.id for _, row in store.records("a", 0, FOREVER, "", 9)] == [good]

    def test_it_takes_no_longer_than_one_trip_more(self, store, clock, new):
        """Where each trip takes its whole time, the rest fails and is repeated."""
        thread = StoreThread(store, clock, LeaseTerms(), 0.0)
        ids = [new() for _ in range(3)]
        block(thread, store)
        store.poison = frozenset(ids)
        asked = [thread.ask(ORG, reserve(id)) for id in ids]
        thread.post(ORG, settle(new(), force=True))
        store.gate.set()
        for ticket in asked:
            assert ticket.wait(A_WHILE)
            with pytest.raises(StoreError):
                ticket.value()
        assert thread.flush(A_WHILE)
        assert len(store.rows()) == 1
        assert thread.stop(A_WHILE)


def test_what_another_process_left_is_repeated_too(thread, store, new, often):
    """F19: what was under way when it died is sent as expired, and no answer of the store names it."""
    id = new()
    store.away = True
    thread.post(ORG, Settle(id, LIMIT, (0, 2, 0), "{}", "expired", force=True))
    assert not thread.flush(0.01)
    store.away = False
    assert thread.flush(A_WHILE)
    assert store.rows() == [(id, 0, 2)]


def test_releases_of_refused_calls_do_not_push_out_settles(thread, store, new, monkeypatch, often):
    monkeypatch.setattr(module, "BACKLOG", 10)
    store.away = True
    first = new()
    thread.post(ORG, settle(first, force=True))
    for _ in range(30):
        thread.post(ORG, Settle(new(), LIMIT, NOTHING, "{}", "released"))
    thread.flush(0.01)
    store.away = False
    assert thread.flush(A_WHILE)
    assert store.rows() == [(first, 0, 5)]
    assert thread.dropped == 0


def test_settles_are_repeated_by_themselves_until_they_are_taken(thread, store, new, often):
    called = [new() for _ in range(300)]
    for ticket in [thread.ask(ORG, reserve(id)) for id in called]:
        answered(ticket)
    store.away = True
    for id in called:
        thread.post(ORG, settle(id, 3))
    assert not thread.flush(0.02)
    store.seen[Settle].clear()
    store.away = False
    assert store.seen[Settle].wait(A_WHILE)
    assert thread.flush(A_WHILE)
    assert sorted(store.rows()) == [(id, 0, 3) for id in sorted(called)]
    check_books(store, ORG, dict.fromkeys(called, LIMIT))


def test_settles_are_repeated_while_others_keep_the_thread_busy(thread, store, new, often):
    id = new()
    answered(thread.ask(ORG, reserve(id)))
    store.faults.append(StoreError("away"))
    thread.post(ORG, settle(id))
    assert thread.call(lambda: None).wait(A_WHILE)
    for _ in range(10_000):
        answered(thread.ask(ORG, Peek(LIMIT)))
        if store.rows():
            break
    assert store.rows() == [(id, 0, 5)]


def test_settles_that_are_sent_again_from_many_sides_are_booked_once(thread, store, new):
    """Who flushes and the thread itself take from one backlog."""
    called = [new() for _ in range(2000)]
    store.away = True
    for id in called:
        thread.post(ORG, settle(id, 1, force=True))
    assert thread.call(lambda: None).wait(A_WHILE)
    store.away = False
    in_threads(4, lambda number: thread._repeat())
    assert thread.flush(A_WHILE)
    assert sorted(store.rows()) == [(id, 0, 1) for id in called]


def test_a_settle_of_a_call_that_the_store_never_saw_is_booked(thread, store, new):
    """I-11: the call was made, whatever the store has lost."""
    id = new()
    thread.post(ORG, settle(id, 4, about='{"project":"p"}'))
    assert thread.flush(A_WHILE)
    ((_, row),) = store.records(ORG, 0, FOREVER, "", 10)
    assert (row.id, row.real, row.about) == (id, (0, 4, 0), '{"project":"p"}')
    assert [op.force for op in store.ops() if isinstance(op, Settle)] == [False, True]


def test_a_settle_that_is_too_late_for_the_store_is_a_new_record_that_names_it(thread, store, clock, new):
    """I-5. One that was let go late holds nothing any more."""
    id = new()
    clock.advance(49 * 3_600_000)
    thread.post(ORG, settle(id), Settle(new(), LIMIT, NOTHING, "", "released"))
    assert thread.flush(A_WHILE)
    ((_, row),) = store.records(ORG, 0, FOREVER, "", 10)
    assert row.id != id
    assert json.loads(row.about) == {"first": id}
    assert thread.dropped == 0


def test_its_new_id_is_told_before_it_is_sent_and_kept_though_the_answer_is_lost(
    thread, store, clock, new, often
):
    """I-5 and I-6: booked once."""
    id = new()
    clock.advance(49 * 3_600_000)
    told: list[tuple[str, str]] = []

    def renamed(old: str, fresh: str) -> None:
        assert all(op.id != fresh for op in store.ops())
        told.append((old, fresh))

    thread.renamed = renamed
    store.faults += [None, lambda answers: {ORG: StoreError("the answer is lost")}]
    thread.post(ORG, settle(id))
    assert thread.flush(A_WHILE)
    ((old, fresh),) = told
    assert old == id
    assert store.rows() == [(fresh, 0, 5)]
    assert [op.id for op in store.ops()] == [id, fresh, fresh]


def test_a_lease_that_another_ended_long_ago_leaves_no_second_record(thread, store, clock, new):
    """Its end was named, and is forgotten by the time that this process comes with it."""
    id = new()
    clock.advance(49 * 3_600_000)
    thread._trip([module._Step(ORG, Settle(id, LIMIT, NOTHING, "{}", "expired"), None)])
    assert store.rows() == []


def test_the_oldest_settles_are_dropped_and_counted_beyond_a_bound(thread, store, new, monkeypatch):
    monkeypatch.setattr(module, "BACKLOG", 5)
    called = [new() for _ in range(8)]
    store.away = True
    for id in called:
        thread.post(ORG, settle(id, force=True))
    thread.post(ORG, Settle(new(), LIMIT, NOTHING, "", "released"))
    assert not thread.flush(0.02)
    assert len(thread._backlog) == 5
    assert thread.dropped == 3
    store.away = False
    assert thread.flush(A_WHILE)
    assert len(store.rows()) == 5


def test_more_steps_than_the_queue_takes_are_refused_and_settles_never(thread, store, new, monkeypatch):
    """Rule 11: a store that hangs fills no memory."""
    monkeypatch.setattr(module, "QUEUE", 3)
    block(thread, store)
    tickets = [thread.ask(ORG, Peek(LIMIT)) for _ in range(3)]
    with pytest.raises(StoreError, match="3 steps wait"):
        thread.ask(ORG, Peek(LIMIT))
    with pytest.raises(StoreError, match="3 steps wait"):
        thread.call(lambda: None)
    thread.post(ORG, settle(new(), force=True))
    store.gate.set()
    assert [answered(ticket) for ticket in tickets] == ["done"] * 3
    assert thread.flush(A_WHILE)
    assert len(store.rows()) == 1


def test_a_call_whose_reserve_was_not_answered_in_time_holds_nothing(store, clock):
    """Time-out: refused as unavailable; what the store may have granted meanwhile is let go."""
    quota = Quota(store, limits=["$1/day"], clock=clock, deadline=0.05)
    try:
        with quota.call(provider=None, model="gpt-4.1", input=10, max_output=10) as call:
            call.used(input=10, output=10)
        store.gate.clear()
        with (
            pytest.raises(StoreUnavailable),
            quota.call(provider=None, model="gpt-4.1", input=10, max_output=10),
        ):
            raise AssertionError("it must not go")
        store.gate.set()
        assert quota.flush(A_WHILE)
        ((org, state),) = [(org, state) for org, state in store._orgs.items() if state.view.cells]
        check_books(store, org)
        assert state.view.open == {}
        assert [cell.held for cell in state.view.cells.values()] == [0]
        assert sum(not is_of_denied(row) for _, row in state.rows) == 1
    finally:
        store.gate.set()
        quota.close(A_WHILE)


# leases


@pytest.fixture(params=["inline", "thread"])
def tended(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[StoreThread]:
    """A thread whose leases are seen to by hand, with lease 1 s, idle 5 s, call 60 s."""
    store = MemoryStore(clock) if request.param == "inline" else SlowStore(clock)
    thread = StoreThread(store, clock, LeaseTerms(1000, 5000, 60_000), 1.0)
    thread._start = lambda: None  # type: ignore[method-assign]
    yield thread
    thread._closed = True


def totals(thread: StoreThread) -> tuple[int, int]:
    return ask(thread.store, Peek(LIMIT)).totals["budget"]


def test_a_lease_is_extended_while_bytes_move(tended, clock, new):
    """I-9: lease 1 s, call 50 s: held all along, one charge."""
    id = new()
    ask(tended.store, reserve(id, lease=1000))
    lease = tended.keep(id, LIMIT)
    for _ in range(100):
        clock.advance(500)
        lease.moved = clock()
        tended.tend()
        assert totals(tended) == (0, 5)
    tended.drop(id)
    ask(tended.store, settle(id, 3))
    tended.tend()
    assert totals(tended) == (3, 0)


@pytest.mark.parametrize("moving", [False, True])
def test_a_lease_ends_when_nothing_moves_or_the_call_takes_too_long(tended, clock, new, moving):
    """Nothing held stays held, on an organization that nobody calls any more too."""
    id = new()
    ask(tended.store, reserve(id, lease=1000))
    lease = tended.keep(id, LIMIT)
    for _ in range(400):
        clock.advance(300)
        if moving:
            lease.moved = clock()
        tended.tend()
        if not tended._leases and not tended._lapsing:
            break
    held = clock.now - int(id[:12], 16)
    assert (60_000 if moving else 5000) <= held <= (60_000 if moving else 5000) + 4 * 1000
    assert totals(tended) == (2, 0)
    ((_, row),) = tended.store.records(ORG, 0, FOREVER, "", 9)
    assert (row.how, row.real) == ("expired", (0, 2, 0))


def test_the_owner_of_a_lease_is_asked_when_nothing_moved_for_as_long_as_one(tended, clock, new):
    class Owner:
        def __init__(self, id):
            self.id, self.asked, self.over = id, 0, False

        def look(self):
            self.asked += 1
            if self.over:
                tended.drop(self.id)
                ask(tended.store, settle(self.id, 3))

    owner = Owner(new())
    ask(tended.store, reserve(owner.id))
    lease = tended.keep(owner.id, LIMIT)
    lease.quiet = WeakMethod(owner.look)
    silence = tended.terms.lease
    for passed, asked in ((silence - 1, 0), (1, 1), (1, 2)):
        clock.advance(passed)
        tended.tend()
        assert owner.asked == asked
        assert totals(tended) == (0, 5)
    lease.moved = clock()
    tended.tend()
    assert owner.asked == 2
    clock.advance(silence)
    owner.over = True
    tended.tend()
    assert (totals(tended), tended._leases) == ((3, 0), {})


def test_a_lease_whose_owner_is_gone_goes_on_without_it(tended, clock, new):
    class Owner:
        def look(self):
            raise AssertionError("nobody is there")

    id = new()
    ask(tended.store, reserve(id))
    tended.keep(id, LIMIT).quiet = WeakMethod(Owner().look)
    clock.advance(tended.terms.lease)
    tended.tend()
    assert (totals(tended), [*tended._leases]) == ((0, 5), [id])


def test_a_lease_of_a_call_that_the_store_knows_to_be_over_is_dropped(tended, clock, new):
    ended, unknown = new(), new()
    ask(tended.store, reserve(ended), settle(ended))
    for id in (ended, unknown):
        tended.keep(id, LIMIT)
    tended.tend()
    assert tended._leases == {}


def test_many_leases_are_extended_a_batch_at_a_time(clock, new):
    store = SlowStore(clock)
    thread = StoreThread(store, clock, LeaseTerms(), 1.0)
    thread._start = lambda: None  # type: ignore[method-assign]
    for _ in range(600):
        thread.keep(new(), LIMIT)
    thread.tend()
    assert [len(trip.get(ORG, [])) for trip in store.trips] == [256, 256, 88]


def test_leases_of_others_that_ended_are_settled_by_whoever_hears_of_them(thread, store, clock, new):
    """I-7: of a process that died, hundreds at once."""
    called = [new() for _ in range(700)]
    ask(store, *(reserve(id, lease=1000) for id in called))
    clock.advance(1000)
    assert answered(thread.ask(ORG, Peek(LIMIT))) == "done"
    assert thread.flush(A_WHILE)
    assert ask(store, Peek(LIMIT)).totals == {"budget": (1400, 0)}
    assert len(store.rows()) == 700


def test_more_ended_leases_than_one_trip_settles_are_settled_in_turn(thread, store, clock, new):
    called = [new() for _ in range(module.FOLLOWING * 32 + 10)]
    ask(store, *(reserve(id, lease=1000) for id in called))
    clock.advance(1000)
    for _ in range(2):
        answered(thread.ask(ORG, Peek(LIMIT)))
        assert thread.flush(A_WHILE)
    assert ask(store).due == []
    assert len(store.rows()) == len(called)


def test_ended_leases_that_could_not_be_settled_do_not_pile_up(thread, store, clock, new):
    """The store names them again; they never drive real settles out of the backlog."""
    id = new()
    ask(store, reserve(id, lease=1000))
    clock.advance(1000)
    store.faults += [None, StoreError("away"), None]
    answered(thread.ask(ORG, Peek(LIMIT)))
    assert thread.flush(A_WHILE)
    assert not thread._backlog
    answered(thread.ask(ORG, Peek(LIMIT)))
    assert thread.flush(A_WHILE)
    assert store.rows() == [(id, 0, 2)]


def test_a_store_that_names_an_ended_lease_for_ever_is_heard_once_a_trip(thread, store, new):
    id = new()

    def again(answers: Mapping[str, Answer]) -> Mapping[str, Answer]:
        return {
            org: Answer(a.now, a.rev, a.results, a.totals, [(id, LIMIT)], 0) for org, a in answers.items()
        }

    store.faults += [again] * 10
    assert answered(thread.ask(ORG, Peek(LIMIT))) == "done"
    assert thread.flush(A_WHILE)
    assert [type(op) for op in store.ops()] == [Peek, Settle]
    assert store.rows() == []


@pytest.fixture
def lively() -> Iterator[tuple[StoreThread, SlowStore]]:
    """Leases of 60 ms on the real clock."""
    store = SlowStore(system_clock)
    thread = StoreThread(store, system_clock, LeaseTerms(60, 600_000, 3_600_000), 1.0)
    yield thread, store
    thread.stop(A_WHILE)


def test_a_lease_that_begins_when_the_thread_idles_is_extended(lively):
    """I-9: nothing but the lease itself wakes the thread, and it wakes again and again."""
    thread, store = lively
    new = ids(system_clock)
    for _ in range(3):
        id = new()
        assert answered(thread.ask(ORG, reserve(id, lease=60))) == "done"
        assert thread.flush(A_WHILE)
        thread.keep(id, LIMIT)
        for _ in range(2):
            store.seen[Extend].clear()
            assert store.seen[Extend].wait(A_WHILE)
        thread.drop(id)
        thread.post(ORG, settle(id))
        assert thread.flush(A_WHILE)
    assert [cost for _, _, cost in store.rows()] == [5, 5, 5]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_leases_live_on_while_the_loop_is_blocked(anyio_backend, lively):
    """I-9: the event loop blocked for three extensions → still one charge."""
    thread, store = lively
    id = ids(system_clock)()
    ticket = thread.ask(ORG, reserve(id, lease=60_000))
    assert await ticket.wait_async(A_WHILE)
    thread.keep(id, LIMIT)
    for _ in range(3):
        store.seen[Extend].clear()
        assert store.seen[Extend].wait(A_WHILE)
    thread.post(ORG, settle(id))
    assert thread.flush(A_WHILE)
    assert store.rows() == [(id, 0, 5)]


def test_the_thread_idles_when_there_is_nothing_to_do(thread, new):
    """I-24: it waits in its queue for a third of a lease at a time, leases or none."""
    waits: list[float] = []

    class Watched(SimpleQueue[Any]):
        def get(self, block: bool = True, timeout: float | None = None) -> Any:
            waits.append(timeout or 0.0)
            return super().get(block, timeout)

    thread._inbox = Watched()
    for _ in range(5):
        id = new()
        answered(thread.ask(ORG, reserve(id)))
        thread.keep(id, LIMIT)
    assert thread.flush(A_WHILE)
    assert len(waits) <= 7
    assert min(waits) > 1.0


# finalizers


@pytest.mark.parametrize("lane", [None, "one"])
def test_what_a_finalizer_hands_over_is_done_and_waited_for(store, clock, new, lane):
    """An abandoned stream is settled when it is collected."""
    store.lane = lambda org: lane  # type: ignore[method-assign]
    thread = StoreThread(store, clock, LeaseTerms(), 1.0)
    id = new()
    answered(thread.ask(ORG, reserve(id)))

    class Stream:
        def __del__(self) -> None:
            thread.later(lambda: thread.post(ORG, settle(id, 4)))

    stream = [Stream()]
    stream.append(stream)  # type: ignore[arg-type]
    del stream
    gc.collect()
    assert thread.flush(A_WHILE)
    assert store.rows() == [(id, 0, 4)]
    assert thread.stop(A_WHILE)


def test_a_finalizer_that_fails_takes_nothing_with_it(thread, store, new, caplog):
    block(thread, store)
    asked = thread.ask(ORG, reserve(new()))
    thread.later(lambda: {}["missing"])
    fine = thread.call(lambda: 7)
    store.gate.set()
    assert answered(asked) == "done"
    assert fine.wait(A_WHILE)
    assert fine.value() == 7
    assert "goes on" in caplog.text


def test_what_a_finalizer_hands_over_at_the_end_is_settled_before_it(store, clock, new):
    thread = StoreThread(store, clock, LeaseTerms(), 1.0)
    id = new()
    answered(thread.ask(ORG, reserve(id)))
    thread.later(lambda: thread.later(lambda: thread.post(ORG, settle(id, 4))))
    assert thread.stop(A_WHILE)
    assert [(row.id, row.real[1]) for _, row in store._orgs[ORG].rows] == [(id, 4)]


# flush and close


def test_flush_waits_for_what_was_queued_and_says_whether_it_arrived(thread, store, new):
    assert thread.flush(A_WHILE), "nothing was queued"
    id = new()
    answered(thread.ask(ORG, reserve(id)))
    block(thread, store)
    thread.post(ORG, settle(id))
    assert not thread.flush(0.01)
    store.gate.set()
    assert thread.flush(A_WHILE)
    assert store.rows() == [(id, 0, 5)]


def test_flush_without_a_thread_does_what_is_queued(store, clock, new):
    thread = StoreThread(store, clock, LeaseTerms(), 1.0)
    done: list[int] = []
    thread.later(lambda: done.append(1))
    assert thread.flush(A_WHILE)
    assert done == [1]


def test_flush_on_the_thread_itself_does_not_wait_for_itself(thread, store, new):
    id = new()
    flushed = thread.call(
        lambda: (thread.post(ORG, settle(id, force=True)), thread.flush(A_WHILE), store.rows())
    )
    assert flushed.wait(A_WHILE)
    assert flushed.value() == (None, True, [(id, 0, 5)])


def test_it_flushes_before_it_ends(store, clock, new):
    thread = StoreThread(store, clock, LeaseTerms(), 1.0)
    id = new()
    answered(thread.ask(ORG, reserve(id)))
    thread.post(ORG, settle(id))
    assert thread.stop(A_WHILE)
    assert thread._thread is not None
    assert not thread._thread.is_alive()
    assert len(store._orgs[ORG].rows) == 1
    assert thread.stop(A_WHILE)
    assert thread.flush(A_WHILE)


def test_after_the_end_who_asks_is_told_and_what_is_posted_is_counted(store, clock, new, caplog):
    thread = StoreThread(store, clock, LeaseTerms(), 1.0)
    answered(thread.ask(ORG, Peek(LIMIT)))
    thread.stop(A_WHILE)
    for ticket in (thread.ask(ORG, Peek(LIMIT)), thread.call(store.hello)):
        assert ticket.wait(A_WHILE)
        with pytest.raises(StoreError, match="closed"):
            ticket.value()
    thread.post(ORG, settle(new()))
    thread.post(ORG, Settle(new(), LIMIT, NOTHING, "", "released"))
    assert thread.dropped == 1
    thread.later(partial(thread.post, ORG, settle(new())))
    thread.post(ORG, settle(new()))
    assert thread.dropped == 3
    assert "is lost" in caplog.text
    thread.keep(new(), LIMIT)
    assert not thread._thread.is_alive()


def test_a_store_that_was_away_to_the_end_is_said_so(store, clock, new):
    thread = StoreThread(store, clock, LeaseTerms(), 1.0)
    answered(thread.ask(ORG, Peek(LIMIT)))
    store.away = True
    thread.post(ORG, settle(new()))
    assert not thread.stop(0.02)


def test_nobody_is_left_waiting_when_it_is_closed_with_a_store_that_hangs(thread, store, new):
    block(thread, store)
    tickets = [thread.ask(ORG, reserve(new())) for _ in range(5)]
    thread.post(ORG, settle(new()))
    assert not thread.stop(0.02)
    for ticket in tickets:
        assert ticket.done
        with pytest.raises(StoreError, match="closed"):
            ticket.value()
    assert thread.dropped == 1
    store.gate.set()
    thread._thread.join(A_WHILE)
    assert not thread._thread.is_alive(), "the thread ends all the same"


def test_nobody_who_asks_while_it_is_closed_is_left_waiting(clock, new):
    for _ in range(10):
        store = SlowStore(clock)
        thread = StoreThread(store, clock, LeaseTerms(), 1.0)
        tickets: list[Ticket[Any]] = []

        def work(number: int, thread: StoreThread = thread, tickets: list[Ticket[Any]] = tickets) -> None:
            if number == 0:
                thread.stop(A_WHILE)
            else:
                tickets.extend(thread.ask(ORG, Peek(LIMIT)) for _ in range(30))

        in_threads(4, work)
        assert all(ticket.wait(A_WHILE) for ticket in tickets)


def test_a_thread_that_cannot_be_started_is_reported_and_breaks_nothing(
    store, clock, new, monkeypatch, caplog
):
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    thread = StoreThread(store, clock, LeaseTerms(), 1.0)
    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", start)
        thread.keep(new(), LIMIT)
        ticket = thread.ask(ORG, Peek(LIMIT))
        assert not ticket.wait(0)
    assert "could not be started" in caplog.text
    assert answered(thread.ask(ORG, Peek(LIMIT))) == "done"
    assert answered(ticket) == "done"
    assert thread.stop(A_WHILE)


# inline


def test_a_store_that_never_waits_is_called_on_the_callers_thread(clock, new):
    store = MemoryStore(clock)
    thread = StoreThread(store, clock, LeaseTerms(), 1.0)
    assert thread.inline
    id = new()
    asked = thread.ask(ORG, reserve(id))
    assert asked.done
    assert asked.value()[0].verdict == "done"
    called = thread.call(threading.current_thread)
    assert called.done
    assert called.value() is threading.current_thread()
    thread.post(ORG, settle(id))
    assert ask(store, Peek(LIMIT)).totals == {"budget": (5, 0)}
    assert thread._thread is None
    assert thread.stop(A_WHILE)


def test_an_inline_store_is_called_from_many_threads_at_once():
    """Reserves, leases, settles, finalizers and the thread's own tending; the books balance."""
    store = MemoryStore()
    thread = StoreThread(store, system_clock, LeaseTerms(30, 600_000, 3_600_000), 1.0)
    new = ids(system_clock)
    tree = plan((Counter("budget", 10_000_000), COST), (Counter("calls", 10_000_000, span=60_000), REQUESTS))
    plans: dict[str, Plan] = {}

    def work(number: int) -> None:
        for turn in range(100):
            id = new()
            plans[id] = tree
            assert (
                thread.ask(ORG, Reserve(id, tree, (0, 5, 0), NOTHING, 60_000, "")).value()[0].verdict
                == "done"
            )
            thread.keep(id, tree)
            if turn % 10 == 0:
                thread.tend()
            thread.drop(id)
            end = partial(thread.post, ORG, Settle(id, tree, (0, 3, 0), "{}"))
            thread.later(end) if turn % 3 == 0 else end()

    in_threads(8, work)
    assert thread.flush(A_WHILE)
    assert ask(store, Peek(tree)).totals == {"budget": (2400, 0), "calls": (800, 0)}
    check_books(store, ORG, plans)
    assert thread.stop(A_WHILE)


def test_a_signal_in_an_inline_store_reaches_the_caller(store, clock, new):
    store.lane = lambda org: None  # type: ignore[method-assign]
    thread = StoreThread(store, clock, LeaseTerms(), 1.0)
    store.faults.append(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        thread.ask(ORG, Peek(LIMIT))


# forks


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_has_a_thread_a_queue_and_leases_of_its_own():
    """I-23: forked in the middle of a trip."""
    assert run_module("tests.stores.forked") == "later ran in the child\n"


# logic that waits


def waiting(ticket: Ticket[int], timeout: float, left: list[str]) -> Steps[int]:
    try:
        yield ticket, timeout
        return ticket.value() if ticket.done else -1
    finally:
        left.append("left")


def test_steps_are_driven_from_sync_code():
    left: list[str] = []
    ticket: Ticket[int] = Ticket()
    assert drive(waiting(ticket, 0.001, left)) == -1
    ticket.resolve(7)
    assert drive(waiting(ticket, A_WHILE, left)) == 7
    assert left == ["left", "left"]


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_steps_are_driven_from_async_code_and_left_when_cancelled(anyio_backend):
    left: list[str] = []
    ticket: Ticket[int] = Ticket()
    assert await drive_async(waiting(ticket, 0.001, left)) == -1
    with anyio.CancelScope() as scope:
        scope.cancel()
        await drive_async(waiting(ticket, A_WHILE, left))
    assert scope.cancelled_caught
    assert left == ["left", "left"]
    ticket.resolve(error=ValueError())
    with pytest.raises(ValueError):
        await drive_async(waiting(ticket, A_WHILE, left))
    ticket = Ticket()
    ticket.resolve(7)
    assert await drive_async(waiting(ticket, A_WHILE, left)) == 7


def test_a_sync_wait_that_is_broken_off_is_left():
    left: list[str] = []

    class Broken(Ticket[int]):
        def wait(self, timeout: float) -> bool:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(waiting(Broken(), A_WHILE, left))
    assert left == ["left"]
