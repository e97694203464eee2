"""Lanes: one thread each, so that what hangs stalls only what lies on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence

import pytest

from quotaware.core.steps import COST, NOTHING, Answer, Counter, Op, Peek, Plan, Reserve, Settle
from quotaware.errors import StoreError
from quotaware.stores.lanes import Lanes
from quotaware.stores.memory import MemoryStore, system_clock
from quotaware.stores.thread import LeaseTerms, StoreThread
from tests.support import FakeClock

A_WHILE = 20.0


class TwoServers(MemoryStore):
    """Each organization on the server that its last letter names; one of them can be made to hang."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.hangs: str | None = None
        self.taken = threading.Event()
        self.go_on = threading.Event()

    def lane(self, org: str) -> str:
        return org[-1:]

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        if any(self.lane(org) == self.hangs for org in work):
            self.taken.set()
            self.go_on.wait(A_WHILE)
        return super().apply(work, deadline)


@pytest.fixture
def store(clock: FakeClock) -> TwoServers:
    return TwoServers(clock)


@pytest.fixture
def lanes(store: TwoServers, clock: FakeClock) -> Iterator[Lanes]:
    lanes = Lanes(store, clock, LeaseTerms(), 1.0)
    yield lanes
    store.go_on.set()
    lanes.close(A_WHILE)


def limit(org: str) -> Plan:
    return Plan(org, 0, (), ((Counter("budget", 100), COST),))


def answered(lanes: Lanes, org: str) -> str:
    return answered_by(lanes, org)


def answered_by(thread: Lanes | StoreThread, org: str) -> str:
    ticket = thread.ask(org, Peek(limit(org)))
    assert ticket.wait(A_WHILE)
    return ticket.value()[0].verdict


def test_a_server_that_hangs_stalls_only_what_lies_on_it(lanes, store):
    assert lanes.of("org_a") is lanes.of("other_a") is not lanes.of("org_b")
    store.hangs = "a"
    stuck = lanes.ask("org_a", Peek(limit("org_a")))
    looked = lanes.call(threading.current_thread, "org_b")
    assert answered(lanes, "org_b") == "done"
    assert looked.wait(A_WHILE)
    assert not stuck.done
    assert not lanes.flush(0.02)
    store.go_on.set()
    assert stuck.wait(A_WHILE)
    assert lanes.flush(A_WHILE)


def test_leases_are_kept_in_their_lanes(lanes, store, clock, new):
    kept = {}
    for org in ("org_a", "org_b"):
        id = new()
        lanes.ask(org, Reserve(id, limit(org), (0, 5, 0), NOTHING, 60_000, "")).wait(A_WHILE)
        kept[org] = lanes.keep(id, limit(org))
    for _ in range(4):
        clock.advance(20_000)
        for lease in kept.values():
            lease.moved = clock()
        lanes.tend()
    assert [store._orgs[org].view.open[kept[org].id].lease_end for org in kept] == [clock() + 60_000] * 2
    lanes.drop(kept["org_a"])
    assert lanes.leases == [kept["org_b"]]


def test_every_answer_is_told(lanes, new):
    heard: list[tuple[str, int]] = []
    lanes.told = lambda org, answer, ops: heard.append((org, len(ops)))
    answered(lanes, "org_a")
    lanes.post("org_b", *(Settle(new(), limit("org_b"), (0, 1, 0), "{}", force=True) for _ in range(3)))
    assert lanes.flush(A_WHILE)
    assert heard[0] == ("org_a", 1)
    assert sum(count for org, count in heard if org == "org_b") == 3


def test_work_is_done_now_and_then_by_a_thread_of_its_own(store, clock):
    lanes = Lanes(store, clock, LeaseTerms(), 1.0)
    turn = threading.Event()
    names: list[str] = []
    lanes.every(0.001, lambda: (names.append(threading.current_thread().name), turn.set()))
    answered(lanes, "org_a")
    answered(lanes, "org_b")
    assert turn.wait(A_WHILE)
    assert lanes.close(A_WHILE)
    assert names[0] == "quotaware-store"
    assert not lanes._beside._thread.is_alive()


def test_the_end_is_the_end_of_all_threads_and_of_the_store(lanes, store):
    answered(lanes, "org_a")
    threads = [lanes.of("org_a")._thread, lanes.of("org_b")._thread]
    assert lanes.close(A_WHILE)
    assert lanes.close(A_WHILE)
    assert not any(thread is not None and thread.is_alive() for thread in threads)
    with pytest.raises(StoreError):
        store.hello()
    for org in ("org_a", "org_c"):
        late = lanes.ask(org, Peek(limit(org)))
        assert late.wait(A_WHILE)
        with pytest.raises(StoreError, match="closed"):
            late.value()


def test_a_clock_that_is_set_does_not_end_a_lease(store, new, monkeypatch):
    """I-13: ages are measured by a clock that does not jump; idle calls are let go in time all the same."""
    lanes = Lanes(store, system_clock, LeaseTerms(60_000, 600_000, 3_600_000), 1.0)
    id = new()
    lanes.ask("org_a", Reserve(id, limit("org_a"), (0, 5, 0), NOTHING, 60_000, "")).wait(A_WHILE)
    lease = lanes.keep(id, limit("org_a"))
    now = time.time_ns()
    for hours in (+2, -2):
        monkeypatch.setattr(time, "time_ns", lambda hours=hours: now + hours * 3_600_000_000_000)
        lanes.tend()
        assert lanes.leases == [lease]
    lease.moved -= 600_000
    lanes.tend()
    assert lanes.leases == []
    assert lanes.close(A_WHILE)


def test_a_thread_whose_lane_is_gone_is_let_go(store, clock, new, monkeypatch):
    """A failover gives an organization another lane: nobody needs the old one's thread, once its work is done."""
    monkeypatch.setattr("quotaware.stores.lanes.IDLE_S", 0.0)
    lanes = Lanes(store, clock, LeaseTerms(), 1.0)
    assert answered(lanes, "org_a") == "done"
    old = lanes.of("org_a")
    old.dropped = 2
    id = new()
    assert answered(lanes, "org_b") == "done"
    lease = lanes.keep(id, limit("org_b"))
    busy = lanes.of("org_b")
    store.lane = lambda org: "c"
    assert answered(lanes, "org_a") == "done"
    assert set(lanes._threads.values()) == {busy, lanes.of("org_a")}
    assert old._thread is not None
    old._thread.join(A_WHILE)
    assert not old._thread.is_alive()
    assert lanes.dropped == 2
    assert answered_by(old, "org_a") == "done", "who still has it is served"
    assert lanes.leases == [lease]
    assert old.stop(A_WHILE)
    assert lanes.close(A_WHILE)


def test_a_store_may_serve_two_trips_of_a_lane_at_once(store, clock, new):
    """While one hangs the other goes on; all steps of one reservation take the same way, so that none overtakes."""
    store.parallel = 2
    lanes = Lanes(store, clock, LeaseTerms(), 1.0)
    by_thread: dict[object, str] = {}
    while len(by_thread) < 2:
        id = new()
        by_thread.setdefault(lanes.of("org_a", id), id)
    stuck, free = by_thread.values()
    store.hangs = "a"
    waiting = lanes.ask("org_a", Reserve(stuck, limit("org_a"), (0, 5, 0), NOTHING, 60_000, ""))
    store.taken.wait(A_WHILE)
    store.hangs = None
    reserved = lanes.ask("org_a", Reserve(free, limit("org_a"), (0, 5, 0), NOTHING, 60_000, ""))
    assert reserved.wait(A_WHILE)
    assert not waiting.done
    lease = lanes.keep(free, limit("org_a"))
    lanes.post(
        "org_a", Settle(stuck, limit("org_a"), (0, 4, 0), "{}"), Settle(free, limit("org_a"), (0, 3, 0), "{}")
    )
    lanes.drop(lease)
    assert lanes.leases == []
    store.go_on.set()
    assert lanes.flush(A_WHILE)
    assert store._orgs["org_a"].view.cells["budget"].used == 7
    assert lanes.close(A_WHILE)
