"""Calls that fit what is spent and are kept out only by what others hold wait for it, oldest first (rule 2, I-26)."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import anyio
import pytest

from quotaware import Quota
from quotaware.admission import Admission
from quotaware.core.bounds import Call
from quotaware.errors import ApiError
from quotaware.stores.tickets import drive
from quotaware.waiting import Waiter, WaitingRoom
from tests.calls import CENT, a_call, a_quota, ask, ask_async, audited, binding, let_go, refused, spend, used
from tests.support import AuditedStore, RunningClock

A_WHILE = 30.0
"""Seconds that no test waits out."""


@pytest.fixture(params=[False, True], ids=["inline", "thread"])
def store(request: pytest.FixtureRequest) -> Iterator[AuditedStore]:
    with audited(RunningClock(), threaded=request.param) as store:
        yield store


def patient(store: AuditedStore, *limits: str, **more: Any) -> Quota:
    return a_quota(
        store, clock=store.clock, limits=limits, **{"settle_wait": A_WHILE, "deadline": A_WHILE, **more}
    )


async def until(fact: Callable[[], bool]) -> None:
    with anyio.fail_after(A_WHILE):
        while not fact():
            await anyio.sleep(0.001)


def waiting(quota: Quota) -> int:
    return len(quota.engine.room)


def nothing_left(quota: Quota) -> None:
    """Nobody waits, nothing is held or claimed."""
    assert quota.flush()
    assert waiting(quota) == 0
    assert quota.engine.room._lines == {}
    store = quota.store
    assert isinstance(store, AuditedStore)
    assert store.held == {}
    assert not any(cell.claim for state in store._orgs.values() for cell in state.view.cells.values())


# the room


def room_with(*lines: tuple[str, set[str]]) -> tuple[WaitingRoom, dict[str, Waiter]]:
    room = WaitingRoom(100)
    waiters = {id: room.join(id, frozenset(keys)) for id, keys in lines}
    return room, {id: waiter for id, waiter in waiters.items() if waiter is not None}


def test_a_line_is_in_the_order_of_ids() -> None:
    room, who = room_with(("2", {"a"}), ("1", {"a"}), ("3", {"b"}))
    assert {id: room.first(waiter) for id, waiter in who.items()} == {"1": True, "2": False, "3": True}
    room.leave(who["1"])
    assert who["2"].turn.done
    assert room.first(who["2"])


def test_what_is_let_go_calls_the_first_of_its_lines() -> None:
    room, who = room_with(("1", {"a"}), ("2", {"a"}), ("3", {"b"}))
    room.moved(["a", "z"])
    assert {id: waiter.turn.done for id, waiter in who.items()} == {"1": True, "2": False, "3": False}


def test_a_turn_is_new_before_each_try() -> None:
    """What is let go during the try is not missed."""
    room, who = room_with(("1", {"a"}))
    room.moved(["a"])
    room.again(who["1"], who["1"].keys)
    assert not who["1"].turn.done
    room.moved(["a"])
    assert who["1"].turn.done


def test_who_moves_to_another_line_makes_room_in_the_first() -> None:
    room, who = room_with(("1", {"a"}), ("2", {"a", "b"}))
    room.again(who["1"], frozenset({"c"}))
    assert who["2"].turn.done
    assert room.first(who["2"])
    assert room.ahead(["a", "b", "c", "d"]) == {"a", "b", "c"}


def test_the_head_of_one_line_is_not_called_again_and_again_while_another_is_before_it() -> None:
    """Else it would never sleep: an event loop on which it waits would stand still."""
    room, who = room_with(("0", {"a"}), ("1", {"b"}), ("2", {"a", "b"}))
    room.leave(who["0"])
    assert who["2"].turn.done
    assert not room.first(who["2"])
    assert not who["2"].turn.done
    room.leave(who["1"])
    assert who["2"].turn.done
    assert room.first(who["2"])


def test_a_full_room_takes_nobody() -> None:
    room = WaitingRoom(1)
    first = room.join("1", frozenset("a"))
    assert first is not None
    assert room.join("2", frozenset("a")) is None
    room.leave(first)
    assert room.join("2", frozenset("a")) is not None


# waiting


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize("limit", ["1 concurrent", "$0.01/day", "20 tokens/minute"])
async def test_a_call_that_only_others_keep_out_waits_and_goes(limit: str, store: AuditedStore) -> None:
    quota = patient(store, limit)
    first = let_go(await ask_async(quota))
    served: list[Admission] = []

    async def second() -> None:
        served.append(let_go(await ask_async(quota)))

    async with anyio.create_task_group() as group:
        group.start_soon(second)
        await until(lambda: waiting(quota) == 1)
        first.settle(used(0))
    served[0].settle(used(0))
    nothing_left(quota)
    assert quota.stats == {"admitted": 2}


def test_a_thread_waits_too(store: AuditedStore) -> None:
    quota = patient(store, "1 concurrent")
    first = let_go(ask(quota))
    served: list[Admission | ApiError] = []
    thread = threading.Thread(target=lambda: served.append(ask(quota, may_wait=True)))
    thread.start()
    while waiting(quota) == 0:
        time.sleep(0.001)
    first.settle(used())
    thread.join(A_WHILE)
    let_go(served[0]).settle(used())
    nothing_left(quota)


def test_what_is_let_go_calls_the_waiter_at_once() -> None:
    """It need not poll for what this process lets go."""
    with audited(RunningClock()) as store:
        quota = patient(store, "1 concurrent")
        first = let_go(ask(quota))
        steps = quota.engine.admit(a_call(), binding(quota), may_wait=True)
        turn, _ = next(steps)
        while turn.done:
            turn, _ = next(steps)
        first.settle(used(0))
        assert turn.done
        let_go(drive(steps)).settle(used(0))
        nothing_left(quota)


def test_what_is_spent_is_not_waited_for(store: AuditedStore) -> None:
    quota = patient(store, "$0.02/day", "9 concurrent")
    spend(quota)
    held = let_go(ask(quota))
    assert refused(ask(quota, a_call(cents=2), may_wait=True)).type == "quota_exceeded"
    assert refused(ask(quota, a_call(cents=5), may_wait=True)).type == "quota_exceeded"
    held.settle(used(0))
    nothing_left(quota)


@pytest.mark.anyio
async def test_a_wait_ends_when_the_money_turns_out_to_be_spent(store: AuditedStore) -> None:
    quota = patient(store, "$0.01/day")
    first = let_go(await ask_async(quota))
    async with anyio.create_task_group() as group:
        outcomes: list[Admission | ApiError] = []

        async def second() -> None:
            outcomes.append(await ask_async(quota))

        group.start_soon(second)
        await until(lambda: waiting(quota) == 1)
        first.settle(used())
    assert refused(outcomes[0]).fields["current_usage_usd"] == 0.01
    nothing_left(quota)


@pytest.mark.parametrize(
    ("wait", "may_wait"), [(0, True), (A_WHILE, False)], ids=["settle_wait 0", "on a loop"]
)
def test_who_may_not_wait_is_refused_at_once(wait: float, may_wait: bool, store: AuditedStore) -> None:
    """A sync call on a loop's own thread never waits: whom it waits for may need that loop."""
    quota = patient(store, "1 concurrent", settle_wait=wait)
    first = let_go(ask(quota))
    error = refused(ask(quota, may_wait=may_wait))
    assert (error.message, error.headers()) == ("Concurrency limit of 1 exceeded", {"retry-after": "1"})
    first.settle(used())
    nothing_left(quota)


@pytest.mark.anyio
async def test_a_sync_call_on_the_loops_thread_does_not_wait(store: AuditedStore) -> None:
    quota = patient(store, "1 concurrent")
    with quota.call(provider=None, model="tenth", input=1, max_output=1) as outer:
        outer.used()
        with (
            quota.acting_as(end_user="another"),
            pytest.raises(ApiError),
            quota.call(provider=None, model="tenth", input=1, max_output=1),
        ):
            pass
    nothing_left(quota)


@pytest.mark.anyio
async def test_a_wait_ends_after_settle_wait(store: AuditedStore) -> None:
    quota = patient(store, "1 concurrent", settle_wait=0.05)
    first = let_go(await ask_async(quota))
    assert refused(await ask_async(quota)).status == 429
    first.settle(used())
    nothing_left(quota)


def test_no_more_wait_than_may(store: AuditedStore) -> None:
    quota = patient(store, "1 concurrent", max_waiters=0)
    first = let_go(ask(quota))
    assert refused(ask(quota, may_wait=True)).status == 429
    first.settle(used())
    nothing_left(quota)


def test_a_request_never_waits_for_what_it_holds_itself(store: AuditedStore) -> None:
    quota = patient(store, "1 concurrent")
    by = binding(quota)
    outer = let_go(ask(quota, by=by))
    assert refused(ask(quota, by=by, may_wait=True)).status == 429
    outer.settle(used())
    nothing_left(quota)


@pytest.mark.anyio
async def test_nor_behind_another_that_waits_for_what_it_holds(store: AuditedStore) -> None:
    quota = patient(store, "1 concurrent", "$1/day")
    by = binding(quota)
    outer = let_go(await ask_async(quota, by=by))
    async with anyio.create_task_group() as group:
        group.start_soon(ask_async, quota)
        await until(lambda: waiting(quota) == 1)
        assert refused(await ask_async(quota, by=by)).status == 429
        group.cancel_scope.cancel()
    outer.settle(used())
    nothing_left(quota)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_oldest_is_served_first(store: AuditedStore) -> None:
    """Strict order of arrival within a process."""
    quota = patient(store, "1 concurrent")
    order: list[int] = []
    first = let_go(await ask_async(quota))

    async def one(number: int) -> None:
        admission = let_go(await ask_async(quota))
        order.append(number)
        await anyio.sleep(0)
        admission.settle(used(0))

    async with anyio.create_task_group() as group:
        for number in range(30):
            group.start_soon(one, number)
            await until(lambda number=number: waiting(quota) == number + 1)  # type: ignore[misc]
        first.settle(used(0))
    assert order == list(range(30))
    nothing_left(quota)


@pytest.mark.anyio
async def test_a_big_call_is_not_starved_by_small_ones(store: AuditedStore) -> None:
    """I-26: younger calls that would fit queue behind it, and go once it has been served."""
    quota = patient(store, "$0.04/day")
    order: list[str] = []
    small = [let_go(await ask_async(quota)) for _ in range(4)]

    async def one(name: str, cents: int) -> None:
        admission = let_go(await ask_async(quota, a_call(cents)))
        order.append(name)
        admission.settle(used(0))

    async with anyio.create_task_group() as group:
        group.start_soon(one, "big", 4)
        await until(lambda: waiting(quota) == 1)
        for number in range(5):
            group.start_soon(one, f"small {number}", 1)
            await until(lambda number=number: waiting(quota) == number + 2)  # type: ignore[misc]
        for admission in small:
            admission.settle(used(0))
            await anyio.sleep(0)
    assert order == ["big", *(f"small {number}" for number in range(5))]
    nothing_left(quota)


@pytest.mark.anyio
async def test_who_waits_for_one_limit_keeps_nobody_from_another(store: AuditedStore) -> None:
    quota = patient(store, "1 concurrent for tenth", prices={"*": {"input": 0, "output": 1000}})
    first = let_go(await ask_async(quota))
    async with anyio.create_task_group() as group:
        group.start_soon(ask_async, quota)
        await until(lambda: waiting(quota) == 1)
        let_go(ask(quota, a_call(model="other"))).settle(used())
        group.cancel_scope.cancel()
    first.settle(used())
    nothing_left(quota)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_waiter_that_is_cancelled_leaves_its_place_and_its_claim(store: AuditedStore) -> None:
    quota = patient(store, "$0.02/day")
    first = let_go(await ask_async(quota, a_call(cents=2)))
    scope = anyio.CancelScope()

    async def big() -> None:
        with scope:
            await ask_async(quota, a_call(cents=2))

    async with anyio.create_task_group() as group:
        group.start_soon(big)
        await until(lambda: waiting(quota) == 1)
        scope.cancel()
        await until(lambda: waiting(quota) == 0)
        first.settle(used(0))
        assert quota.flush()
        let_go(ask(quota, a_call(cents=2))).settle(used(0))  # may not wait, and need not
    nothing_left(quota)


def test_a_wait_that_a_signal_breaks_off_leaves_nothing(
    store: AuditedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception out of a sync wait (Ctrl-C, a worker's time limit) gives the place up at once."""
    quota = patient(store, "1 concurrent")
    first = let_go(ask(quota))
    steps = quota.engine.admit(a_call(), binding(quota), may_wait=True)

    def interrupted(*_: Any) -> bool:
        raise KeyboardInterrupt

    while waiting(quota) == 0:
        ticket, timeout = next(steps)
        ticket.wait(timeout)
    monkeypatch.setattr("quotaware.stores.thread.Ticket.wait", interrupted)
    try:
        with pytest.raises(KeyboardInterrupt) as kept:  # as long as this is kept, so is its frame
            drive(steps)
        monkeypatch.undo()
        assert waiting(quota) == 0
        assert kept.value is not None
    finally:
        first.settle(used())
    nothing_left(quota)


@pytest.mark.anyio
async def test_a_raised_limit_lets_waiters_go(store: AuditedStore) -> None:
    quota = patient(store, "1 concurrent")
    first = let_go(await ask_async(quota))
    async with anyio.create_task_group() as group:

        async def second() -> None:
            let_go(await ask_async(quota)).settle(used())

        group.start_soon(second)
        await until(lambda: waiting(quota) == 1)
        await quota.tenancy.update("org_app", "proj_app", limits=["2 concurrent"])
    first.settle(used())
    nothing_left(quota)


@pytest.mark.anyio
async def test_a_waiter_is_given_a_cap_by_the_figures_of_its_turn() -> None:
    """Not by those of when it came, when others held nearly everything."""
    with audited(RunningClock()) as store:
        quota = patient(store, "$1/day", clamp_min=16)
        other = let_go(await ask_async(quota, a_call(cents=99)))
        caps: list[int | None] = []

        async def second() -> None:
            admission = let_go(await ask_async(quota, a_call(cents=None)))
            caps.append(admission.cap)
            admission.settle(used(0))

        async with anyio.create_task_group() as group:
            group.start_soon(second)
            await until(lambda: waiting(quota) == 1)
            other.settle(used(0))
        assert caps == [250]
        nothing_left(quota)


# many at once


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("width", "threaded"),
    [(1, False), (8, False), (64, False), (256, False), (1000, False), (64, True), (1000, True)],
)
async def test_the_race_ends_without_overspend_and_without_false_denials(width: int, threaded: bool) -> None:
    """F2: 640 offered (1,000 at that width), 100 may go: exactly 100 go, and nobody is refused while money is there."""
    with audited(RunningClock(), threaded=threaded) as store:
        quota = patient(store, "$1/day")
        at_once = anyio.CapacityLimiter(width)
        spent = 0
        early = 0

        async def one() -> None:
            nonlocal spent, early
            async with at_once:
                outcome = await ask_async(quota)
                if isinstance(outcome, Admission):
                    await anyio.sleep(0.001)
                    spent += CENT
                    outcome.settle(used())
                elif spent < 100 * CENT:
                    early += 1

        async with anyio.create_task_group() as group:
            for _ in range(max(640, width)):
                group.start_soon(one)
        assert (spent, early) == (100 * CENT, 0)
        assert quota.flush()
        assert sum(store.used.values()) == 100 * CENT
        nothing_left(quota)


@pytest.mark.anyio
@pytest.mark.parametrize("width", [1, 8, 64])
async def test_to_check_and_then_record_overspends(width: int) -> None:
    """What the race is about: the naive pattern, offered the same, goes over by up to all but one of those at once."""
    at_once = anyio.CapacityLimiter(width)
    spent = went = 0

    async def one() -> None:
        nonlocal spent, went
        async with at_once:
            if spent + CENT <= 100 * CENT:
                went += 1
                await anyio.sleep(0.001)
                spent += CENT

    async with anyio.create_task_group() as group:
        for _ in range(640):
            group.start_soon(one)
    over = went - 100
    assert (0 < over < width) if width > 1 else over == 0


@pytest.mark.anyio
@pytest.mark.parametrize("limit", ["$0.01/day", "1 requests/minute"])
async def test_a_hundred_at_once_against_one_that_is_left(limit: str, store: AuditedStore) -> None:
    """One passes, 99 are denied, and after its settle no counter holds anything."""
    quota = patient(store, limit)

    async def one() -> bool:
        outcome = await ask_async(quota)
        if isinstance(outcome, Admission):
            await asyncio.sleep(0.01)
            outcome.settle(used())
        return isinstance(outcome, Admission)

    outcomes = await asyncio.gather(*(one() for _ in range(100)))
    assert sum(outcomes) == 1
    assert quota.flush()
    assert quota.stats == {"admitted": 1, "denied": 99}
    assert len(list(quota.blocking.usage.records())) == 1
    nothing_left(quota)


def test_threads_and_loops_share_one_line(store: AuditedStore) -> None:
    """I-26: all who wait are served, whatever they run on, and none is let past the limit."""
    quota = patient(store, "3 concurrent", "$9/day")
    under_way = most = done = 0
    lock = threading.Lock()
    chance = random.Random(7)

    def begin() -> None:
        nonlocal under_way, most
        with lock:
            under_way += 1
            most = max(most, under_way)

    def end(admission: Admission) -> None:
        nonlocal under_way, done
        with lock:
            under_way -= 1
            done += 1
        admission.settle(used())

    def sync_caller() -> None:
        for _ in range(10):
            admission = let_go(ask(quota, may_wait=True))
            begin()
            time.sleep(chance.random() / 1000)
            end(admission)

    async def async_caller() -> None:
        for _ in range(10):
            admission = let_go(await ask_async(quota))
            begin()
            await anyio.sleep(chance.random() / 1000)
            end(admission)

    async def several() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(5):
                group.start_soon(async_caller)

    threads = [threading.Thread(target=sync_caller) for _ in range(5)]
    threads += [
        threading.Thread(target=partial(anyio.run, several, backend=name)) for name in ("asyncio", "trio")
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(A_WHILE)
    assert (done, most) == (150, 3)
    nothing_left(quota)


@pytest.mark.anyio
async def test_calls_that_need_several_limits_do_not_block_each_other_for_ever(store: AuditedStore) -> None:
    """I-26: no deadlock: each holds all or nothing while it waits."""
    quota = patient(
        store,
        "2 concurrent for a*",
        "2 concurrent for *b",
        "$0.05/day",
        prices={"*": {"input": 0, "output": 1000}},
    )
    chance = random.Random(3)

    async def one(call: Call) -> None:
        admission = let_go(await ask_async(quota, call))
        await anyio.sleep(chance.random() / 1000)
        admission.settle(used(0))

    with anyio.fail_after(A_WHILE):
        async with anyio.create_task_group() as group:
            for _ in range(150):
                model = chance.choice(["a", "b", "ab", "c"])
                group.start_soon(one, a_call(chance.randint(1, 5), model=model))
    nothing_left(quota)


@pytest.mark.anyio
async def test_two_processes_take_turns() -> None:
    """The oldest waiter's claim stands in the counter: whoever settles does not hand over to itself for ever. Two
    Quotas on a store that others may use too stand for the processes.
    """
    with audited(RunningClock(), threaded=True) as store:
        quotas = [patient(store, "1 concurrent") for _ in range(2)]
        served: list[int] = []

        async def caller(number: int) -> None:
            for _ in range(10):
                admission = let_go(await ask_async(quotas[number]))
                served.append(number)
                await anyio.sleep(0.002)
                admission.settle(used(0))

        async with anyio.create_task_group() as group:
            for number in (0, 1):
                for _ in range(2):
                    group.start_soon(caller, number)
        assert sorted(served) == [0] * 20 + [1] * 20
        assert min(served[:20].count(0), served[:20].count(1)) >= 3
        assert all(quota.flush() for quota in quotas)
        for quota in quotas:
            nothing_left(quota)
