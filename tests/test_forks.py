"""A child forked while threads of its parent hold our locks works all the same (preloading servers fork so)."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from quotaware import Quota, context
from quotaware.caches import SharedCache
from quotaware.context import Binding
from quotaware.core.steps import NOTHING, Peek, Plan
from quotaware.ids import Ids
from quotaware.outbound.hook import hook
from quotaware.stores.guard import Guard
from quotaware.stores.journal import Journal
from quotaware.stores.memory import MemoryStore
from quotaware.testing import FaultyStore
from quotaware.waiting import WaitingRoom
from tests.calls import a_quota, spend
from tests.support import NOON, AuditedStore, FakeClock

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")

HANGS_S = 10
"""A child that is not done by then waits for ever, seconds."""
PLAN = Plan("org", 0, (), ())


@contextmanager
def held(lock: Any) -> Iterator[None]:
    """A thread holds it for the block."""
    has_it, done = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            has_it.set()
            done.wait()

    thread = threading.Thread(target=hold)
    thread.start()
    has_it.wait()
    try:
        yield
    finally:
        done.set()
        thread.join()


def works_in_a_child(work: Callable[[], object], *locks: Any) -> None:
    """The work ends well in a child that is forked while other threads hold the locks."""
    with ExitStack() as others:
        for lock in locks:
            others.enter_context(held(lock))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                signal.signal(signal.SIGALRM, signal.SIG_DFL)
                signal.alarm(HANGS_S)
                work()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


def test_a_cache():
    cache: SharedCache[str, int] = SharedCache(2)

    def work() -> None:
        assert cache.get("a") is None
        cache["a"] = 1
        assert cache.get("a") == 1

    cache["a"] = 5
    works_in_a_child(work, cache._lock)
    assert cache.get("a") == 5


def test_ids():
    ids = Ids()
    works_in_a_child(lambda: ids.new(NOON), ids._lock)


def test_a_waiting_room_is_empty():
    """Who waits in the parent is in nobody's way."""
    room = WaitingRoom(1)
    assert room.join("a", frozenset({"k"}))

    def work() -> None:
        assert room.ahead(["k"]) == frozenset()
        assert room.join("b", frozenset({"k"}))

    works_in_a_child(work, room._lock)
    assert room.ahead(["k"]) == {"k"}


def test_a_memory_store():
    store = MemoryStore(FakeClock())
    works_in_a_child(lambda: store.apply({"org": [Peek(PLAN)]}, 1.0), store._lock)


def test_a_faulty_store():
    store = FaultyStore(MemoryStore(FakeClock()))
    works_in_a_child(lambda: store.apply({"org": [Peek(PLAN)]}, 1.0), store._lock)


def test_a_guard():
    clock = FakeClock()
    guard = Guard(AuditedStore(clock, threaded=True), clock)

    def work() -> None:
        guard.apply({"org": [Peek(PLAN)]}, 1.0)
        assert guard._mend("org")

    works_in_a_child(work, guard._keeping, guard._mending)


def test_a_journal_is_the_childs_own(tmp_path: Path):
    journal = Journal(tmp_path)
    assert journal.begin(Ids().new(NOON), PLAN, NOTHING, "")

    def work() -> None:
        journal.sync()
        assert len(journal) == 0
        assert journal.begin(Ids().new(NOON), PLAN, NOTHING, "")
        assert len(list(tmp_path.iterdir())) == 2

    works_in_a_child(work, journal._lock)
    journal.close()


def test_the_hook():
    quota = Quota("memory://", limits=["$1/day"])

    def work() -> None:
        quota.instrument()
        quota.uninstrument()

    works_in_a_child(work, hook._lock)
    quota.close()


def test_what_a_request_counts():
    binding = Binding(None, None)
    works_in_a_child(lambda: binding.settled("id", 1), context._counting.lock)


def test_a_quota_with_all_of_its_locks(tmp_path: Path):
    """I-23: the app was used before it forks its workers."""
    store = AuditedStore(FakeClock(), threaded=True)
    quota = a_quota(
        store,
        limits=["$1/day"],
        clock=store.clock,
        on_store_error="allow",
        allow_max=1.0,
        journal=str(tmp_path / "journal"),
    )
    spend(quota, 1)
    assert quota.flush()
    engine, guard = quota.engine, quota._guard
    assert isinstance(guard, Guard)

    def work() -> None:
        spend(quota, 2)
        assert quota.flush(HANGS_S)
        assert len(list(quota.blocking.usage.records())) == 2
        engine.outage.sync()

    works_in_a_child(
        work,
        store._lock,
        guard._keeping,
        guard._mending,
        engine._tallying,
        engine.directory._lock,
        engine.ids._lock,
        engine.room._lock,
        engine.policies._lock,
        engine.outage._lock,
        engine.outage._journal._lock,
        *(thread._starting for thread in (quota._lanes._beside, *quota._lanes._threads.values())),
    )
    spend(quota, 3)
    assert quota.close()
