"""What happens to a store thread over a fork, in a process of its own (`python -m tests.stores.forked`).

The parent forks with a call under way and its thread in the middle of a trip; the child must have its own of all.
"""

from __future__ import annotations

import os
import sys
import threading

from quotaware.core.steps import NOTHING, Answer, Peek, Reserve
from quotaware.stores.memory import MemoryStore, system_clock
from quotaware.stores.thread import LeaseTerms, StoreThread
from quotaware.testing.store_suite.kit import ORG, budget
from tests.support import ids


class Gated(MemoryStore):
    """Waits at its gate, so that a fork can be made in the middle of a trip."""

    def __init__(self) -> None:
        super().__init__(system_clock)
        self.gate = threading.Event()
        self.gate.set()
        self.inside = threading.Event()
        self.trips = 0

    def lane(self, org: str) -> str:
        return "one"

    def apply(self, work, deadline):
        self.trips += 1
        self.inside.set()
        self.gate.wait(10)
        return super().apply(work, deadline)


def child(thread: StoreThread, store: Gated, limit, trips: int) -> None:
    store.gate.set()
    assert thread._leases == {}, "the parent's calls are not kept alive here"
    assert thread.flush(10), "nothing of the parent's is waited for"
    thread.tend()
    assert store.trips == trips, "the parent's steps are not done here"
    ticket = thread.ask(ORG, Peek(limit))
    assert ticket.wait(10), "the child has a thread of its own"
    assert isinstance(ticket.value()[1], Answer)
    thread.later(lambda: print("later ran in the child", flush=True))
    assert thread.stop(10)


def main() -> int:
    store, limit, new = Gated(), budget(10), ids(system_clock)
    thread = StoreThread(store, system_clock, LeaseTerms(), 10.0)
    held = new()
    assert thread.ask(ORG, Reserve(held, limit, (0, 1, 0), NOTHING, 60_000, "")).wait(10)
    thread.keep(held, limit)
    store.inside.clear()
    store.gate.clear()
    waiting = [thread.ask(ORG, Peek(limit))]
    assert store.inside.wait(10)
    waiting += [thread.ask(ORG, Peek(limit)) for _ in range(3)]
    trips = store.trips
    pid = os.fork()
    if pid == 0:
        try:
            child(thread, store, limit, trips)
        except BaseException as error:
            print(f"child: {error!r}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    store.gate.set()
    assert all(ticket.wait(10) for ticket in waiting), "the parent goes on as if nothing was"
    assert set(thread._leases) == {held}
    assert thread.stop(10)
    return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main())
