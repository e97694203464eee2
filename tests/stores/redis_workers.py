"""Processes that share one Redis server, forked from one (`python -m tests.stores.redis_workers <what> <url> …`)."""

from __future__ import annotations

import subprocess
import sys

from quotaware.core.steps import NOTHING, Peek, Reserve, Settle
from quotaware.ids import Ids
from quotaware.stores.memory import system_clock
from quotaware.stores.redis import RedisStore
from quotaware.testing.store_suite.kit import ORG, ask, budget, verdicts
from tests.stores import forks
from tests.stores.forks import DEADLINE, in_children
from tests.support import check_books


def exact(url: str, offered: str, cap: str, batch: str) -> None:
    """F1: how many calls go that 4 processes offer."""
    print(forks.exact(lambda: RedisStore(url), int(offered), int(cap), int(batch)))


def fork(url: str) -> None:
    """A store that is used, then forked: parent and three children reserve and settle beside each other."""
    limit, ids = budget(1 << 40), Ids()
    store = RedisStore(url)
    store.deadline = DEADLINE
    made: dict[str, str] = {}

    def call(times: int) -> int:
        for _ in range(times):
            now = system_clock()
            id = ids.new(now)
            assert verdicts(ask(store, Reserve(id, limit, (0, 9, 0), NOTHING, 600_000, ""))) == ["done"]
            assert verdicts(ask(store, Settle(id, limit, (0, 1, 0), ""))) == ["done"]
            made[id] = ""
        return times

    call(10)
    total = 10 + sum(in_children(3, lambda index: call(300)))
    total += call(290)
    assert ask(store, Peek(limit)).totals == {"budget": (total, 0)}
    rows = [row.id for _, row in store.records(ORG, 0, 1 << 53, "", 10_000)]
    assert len(rows) == len(set(rows)) == total
    check_books(store, ORG, dict.fromkeys(rows, limit))
    store.close()
    print(total)


def imports() -> None:
    """Whether the library is loaded: by the package, by a memory store, by a Redis store."""
    code = """
import sys, quotaware
from quotaware.stores.opening import open_store
before = "redis" in sys.modules
open_store("memory://", lambda: 0)
memory = "redis" in sys.modules
open_store("redis://localhost", lambda: 0)
print(before, memory, "redis" in sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    {"exact": exact, "fork": fork, "imports": imports}[sys.argv[1]](*sys.argv[2:])
