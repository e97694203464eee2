"""Children forked from a process, and what all of them offer to one store: for the workers of SQLite and Redis."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from quotaware.core.steps import NOTHING, Answer, Reserve
from quotaware.ids import Ids
from quotaware.stores.memory import system_clock
from quotaware.stores.protocol import Store
from quotaware.testing.store_suite.kit import ORG, budget, verdicts

DEADLINE = 30.0


def forked(work: Callable[[], None]) -> int:
    """Does the work in a child."""
    sys.stdout.flush()
    pid = os.fork()
    if pid:
        return pid
    try:
        work()
        sys.stdout.flush()
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


def ended_well(pids: list[int]) -> None:
    codes = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
    assert codes == [0] * len(pids), codes


def in_children(number: int, work: Callable[[int], int]) -> list[int]:
    """What the work comes to in each of some children that run beside each other."""
    ends = [os.pipe() for _ in range(number)]

    def run(index: int) -> None:
        os.write(ends[index][1], b"%d" % work(index))

    pids = [forked(lambda index=index: run(index)) for index in range(number)]
    ended_well(pids)
    return [int(os.read(end, 99)) for end, _ in ends]


def exact(opened: Callable[[], Store], offered: int, cap: int, batch: int) -> int:
    """I-1 and F1: 4 processes offer so many calls, each on a store of its own; how many go."""
    limit = budget(cap)

    def offer(index: int) -> int:
        store, ids, done = opened(), Ids(), 0
        left = offered // 4
        while left:
            size = min(batch, left)
            left -= size
            now = system_clock()
            ops = [Reserve(ids.new(now), limit, (0, 1, 0), NOTHING, 600_000, "") for _ in range(size)]
            answer = store.apply({ORG: ops}, DEADLINE)[ORG]
            assert isinstance(answer, Answer), answer
            assert sum(answer.totals["budget"]) <= cap
            done += verdicts(answer).count("done")
        store.close()
        return done

    return sum(in_children(4, offer))
