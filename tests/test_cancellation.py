"""I-25: a call that is cancelled at any await leaves no hold, no waiter, no claim, and no half record."""

from __future__ import annotations

import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

import anyio
import pytest

from quotaware import Quota
from quotaware.context import Identity
from quotaware.tenancy import keys
from tests.calls import a_call, a_quota, ask, audited, binding, let_go, used
from tests.support import AuditedStore, FakeClock

BACKENDS = pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])


@types.coroutine
def cancelled_at(
    nth: int, scope: anyio.CancelScope, work: Coroutine[Any, Any, None]
) -> Generator[Any, Any, bool]:
    """Runs `work` and cancels `scope` as it is about to wait for the `nth` time; whether it came so far."""
    waits = 0
    resume: Callable[[], Any] = lambda: work.send(None)  # noqa: E731
    while True:
        try:
            signal = resume()
        except StopIteration:
            return waits >= nth
        waits += 1
        if waits == nth:
            scope.cancel()
        try:
            value = yield signal
        except BaseException as error:
            resume = lambda error=error: work.throw(error)  # noqa: E731
        else:
            resume = lambda value=value: work.send(value)  # noqa: E731


class Scene:
    """A key on a project with one slot and ten cents a day, in a store behind a thread."""

    def __init__(self, store: AuditedStore) -> None:
        self.store = store
        self.entered = 0
        self.secret = ""
        tenancy = self.quota().blocking.tenancy
        tenancy.create_organization("o", id="o", limits=["$9/day"])
        tenancy.create_project("o", "p", id="p", limits=["1 concurrent", "$0.1/day", "9 tokens/day soft"])
        self.secret = tenancy.create_key("p", id="k").secret

    def quota(self) -> Quota:
        return a_quota(self.store, clock=self.store.clock, settle_wait=30)

    async def one_call(self, quota: Quota) -> None:
        async with (
            quota.acting_as(key=self.secret),
            quota.call(provider=None, model="tenth", input=0, max_output=10) as call,
        ):
            self.entered += 1
            await anyio.sleep(0)
            call.used(output=0)
            await anyio.sleep(0)

    def check(self, quota: Quota) -> None:
        assert quota.flush()
        assert self.store.held == {}
        assert len(quota.engine.room) == 0
        view = self.store._orgs["o"].view
        assert not view.open
        assert not any(cell.claim for cell in view.cells.values())
        assert not quota._lanes.leases
        records = list(quota.blocking.usage.records())
        assert len(records) == self.entered
        assert {record.key for record in records} <= {"k"}
        self.store.check()


@pytest.mark.anyio
@BACKENDS
async def test_a_first_call_cancelled_at_any_await(anyio_backend_name: str) -> None:
    """From a cold start: the store opened, the key and its path looked up, the reserve."""
    with audited(FakeClock(), threaded=True) as store:
        scene = Scene(store)
        nth, reached = 0, True
        while reached:
            nth += 1
            quota = scene.quota()
            reached = False
            with anyio.CancelScope() as scope:
                reached = await cancelled_at(nth, scope, scene.one_call(quota))
            reached = reached or scope.cancelled_caught
            scene.check(quota)
        assert nth > 5


@pytest.mark.anyio
@BACKENDS
async def test_a_call_that_waits_cancelled_at_any_await(anyio_backend_name: str) -> None:
    """Another call has the slot for a while."""
    with audited(FakeClock(), threaded=True) as store:
        scene = Scene(store)
        quota = scene.quota()
        by = Identity(key=keys.digest(scene.secret))
        nth, reached = 0, True
        while reached:
            nth += 1
            holder = let_go(ask(quota, by=by))
            scene.entered += 1
            reached = False

            async def let_it_go(holder: Any = holder) -> None:
                await anyio.sleep(0.01)
                holder.settle(used(0))

            async with anyio.create_task_group() as group:
                group.start_soon(let_it_go)
                with anyio.CancelScope() as scope:
                    reached = await cancelled_at(nth, scope, scene.one_call(quota))
                reached = reached or scope.cancelled_caught
            scene.check(quota)
        assert nth > 4


@pytest.mark.parametrize("threaded", [False, True], ids=["inline", "thread"])
@pytest.mark.parametrize("held", [False, True], ids=["free", "held by another"])
def test_a_decision_broken_off_at_any_step(threaded: bool, held: bool) -> None:
    """The same for sync code: an exception out of any wait closes the steps there."""
    with audited(FakeClock(), threaded=threaded) as store:
        scene = Scene(store)
        nth, reached = 0, True
        while reached and nth < 12:
            nth += 1
            quota = scene.quota()
            by = Identity(key=keys.digest(scene.secret))
            other = scene.quota()
            holder = let_go(ask(other, by=by)) if held else None
            steps = quota.engine.admit(a_call(), binding(quota, by), may_wait=True)
            admission = None
            try:
                for _ in range(nth):
                    ticket, timeout = next(steps)
                    ticket.wait(min(timeout, 0.02) if held else 1.0)
            except StopIteration as stop:
                reached = False
                admission = let_go(stop.value)
            steps.close()
            for each in (holder, admission):
                if each is not None:
                    scene.entered += 1
                    each.settle(used(0))
            assert other.flush()
            scene.check(quota)
        assert nth > 3
