"""Processes that share one SQLite file, forked from one that has done nothing else (`python -m
tests.stores.sqlite_workers <what> <path> …`). What goes wrong in one of them ends this one with an error.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import sys
import time
from itertools import count
from pathlib import Path

from quotaware.core.steps import NOTHING, Answer, Op, Reserve, Settle
from quotaware.errors import ConfigurationError, StoreError
from quotaware.ids import Ids
from quotaware.stores.lanes import Lanes
from quotaware.stores.memory import system_clock
from quotaware.stores.sqlite import SQLiteStore, file
from quotaware.stores.thread import LeaseTerms
from quotaware.testing.store_suite.kit import FOREVER, ORG, ask, budget, verdicts
from tests.stores import forks
from tests.stores.forks import DEADLINE, ended_well, forked
from tests.support import check_books

HOLD, REAL = 10, 7


def exact(path: str, offered: str, cap: str, batch: str) -> None:
    """F1: how many calls go that 4 processes offer."""
    print(forks.exact(lambda: SQLiteStore(path), int(offered), int(cap), int(batch)))


def kills(path: str, times: str, seed: str) -> None:
    """I-7 and F3: a writer is killed so many times, at any moment, beside one that is not; what it was told to be
    written is there, once, and what it held is held.
    """
    chance, limit = random.Random(int(seed)), budget(FOREVER >> 10)
    store = SQLiteStore(path)
    store.hello()
    acknowledged: set[str] = set()
    beside = Ids()
    for _ in range(int(times)):
        read_end, write_end = os.pipe()
        pid = forked(lambda write_end=write_end: _write_until_killed(path, write_end))
        os.close(write_end)
        told = os.read(read_end, 1 << 16)  # it has begun
        time.sleep(chance.uniform(0, 0.03))
        id = beside.new(system_clock())
        assert verdicts(ask(store, Reserve(id, limit, (0, HOLD, 0), NOTHING, 600_000, ""))) == ["done"]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while more := os.read(read_end, 1 << 16):
            told += more
        os.close(read_end)
        assert verdicts(ask(store, Settle(id, limit, (0, REAL, 0), ""))) == ["done"]
        acknowledged |= {id, *told.decode().split("\n")[1:-1]}
        _check(store, path, acknowledged)
    check_books(store, ORG, dict.fromkeys(acknowledged | set(_records(store)), limit))
    store.close()
    print(len(acknowledged))


def restarts(path: str, times: str, seed: str, end: str = "looked") -> None:
    """I-7: the only process is killed, so many times, at any moment; the next one finds what was acknowledged. Nobody
    looks at the file in the end where it is to be left as it was `killed`.
    """
    chance, acknowledged = random.Random(int(seed)), 0
    file.CHECKPOINT_PAGES = 40
    for time_left in reversed(range(int(times))):
        read_end, write_end = os.pipe()
        pid = forked(lambda write_end=write_end: _write_until_killed(path, write_end))
        os.close(write_end)
        told = os.read(read_end, 1 << 16)
        while told.count(b"\n") < 2:
            told += os.read(read_end, 1 << 16)
        time.sleep(chance.uniform(0, 0.03))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while more := os.read(read_end, 1 << 16):
            told += more
        os.close(read_end)
        acknowledged += len(told.decode().split("\n")[1:-1])
        if time_left or end == "looked":
            ended_well([forked(lambda least=acknowledged: _look_after(path, least))])
    print(acknowledged)


def _look_after(path: str, acknowledged: int) -> None:
    """In a process of its own: it dies without closing the file, too."""
    store = SQLiteStore(path)
    found = _records(store)
    assert len(found) >= acknowledged, f"{len(found)} of {acknowledged} are there"
    _check(store, path, set())


def _write_until_killed(path: str, told: int) -> None:
    store, ids, limit = SQLiteStore(path), Ids(), budget(FOREVER >> 10)
    store.hello()
    os.write(told, b"ready\n")
    last: list[str] = []
    while True:
        now = system_clock()
        fresh = [ids.new(now) for _ in range(8)]
        ops: list[Op] = [Settle(id, limit, (0, REAL, 0), '{"status":200}') for id in last]
        ops += [Reserve(id, limit, (0, HOLD, 0), NOTHING, 600_000, "") for id in fresh]
        answer = store.apply({ORG: ops}, DEADLINE)[ORG]
        assert isinstance(answer, Answer)
        assert set(verdicts(answer)) == {"done"}
        os.write(told, "".join(f"{id}\n" for id in last).encode())
        last = fresh[:-1]  # one of them is never settled


def _records(store: SQLiteStore) -> list[str]:
    found, after = [], ""
    while page := store.records(ORG, 0, FOREVER, after, 5000):
        found += [row.id for _, row in page]
        after = page[-1][0]
    return found


def _check(store: SQLiteStore, path: str, acknowledged: set[str]) -> None:
    records = _records(store)
    assert len(records) == len(set(records)), "a settle was booked twice"
    assert not acknowledged - set(records), "an acknowledged settle is lost"
    look = sqlite3.connect(path)
    (used, held), (under_way,) = (
        look.execute(question).fetchone()
        for question in (
            "SELECT used, held FROM counter",
            "SELECT count(*) FROM reservation WHERE how IS NULL",
        )
    )
    assert look.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    look.close()
    assert (used, held) == (REAL * len(records), HOLD * under_way)


def preload(path: str, offered: str, cap: str) -> None:
    """I-23: used in the parent, by a store thread that is at work while it forks; 4 children and it admit exactly K."""
    store, limit = SQLiteStore(path), budget(int(cap))
    lanes = Lanes(store, system_clock, LeaseTerms(), DEADLINE)
    ids = Ids()

    def offer(number: int) -> int:
        done = 0
        for start in range(0, number, 500):
            now = system_clock()
            tickets = [
                lanes.ask(ORG, Reserve(ids.new(now), limit, (0, 1, 0), NOTHING, 600_000, ""))
                for _ in range(min(500, number - start))
            ]
            for ticket in tickets:
                assert ticket.wait(DEADLINE)
                done += ticket.value()[0].verdict == "done"
        return done

    done = offer(100)
    each = int(offered) // 5
    busy = [
        lanes.ask(ORG, Reserve(ids.new(system_clock()), limit, (0, 1, 0), NOTHING, 600_000, ""))
        for _ in range(2000)
    ]
    ends = [os.pipe() for _ in range(4)]

    def child(end: int) -> None:
        assert store._file._connection is None, "the parent's connection is not here"
        os.write(end, b"%d" % offer(each))
        assert lanes.close(DEADLINE)

    pids = [forked(lambda end=end: child(end)) for _, end in ends]
    assert all(ticket.wait(DEADLINE) for ticket in busy)
    done += sum(ticket.value()[0].verdict == "done" for ticket in busy)
    done += offer(each)
    ended_well(pids)
    done += sum(int(os.read(end, 99)) for end, _ in ends)
    assert lanes.close(DEADLINE)
    print(done)


def bare_fork(path: str) -> None:
    """A fork that Python was not told of in advance: the child leaves the parent's connection alone."""
    store, limit, ids = SQLiteStore(path), budget(10), Ids()
    ask(store, Reserve(ids.new(system_clock()), limit, (0, 1, 0), NOTHING, 600_000, ""))
    hold = store._file.hold_for_fork
    store._file.hold_for_fork = lambda: False  # type: ignore[method-assign]
    connection = store._file._connection

    def child() -> None:
        ask(store, Reserve(ids.new(system_clock()), limit, (0, 1, 0), NOTHING, 600_000, ""))
        assert store._file._connection is not connection
        store.close()

    ended_well([forked(child)])
    store._file.hold_for_fork = hold  # type: ignore[method-assign]
    assert store._file._connection is connection
    totals = ask(store, Reserve(ids.new(system_clock()), limit, (0, 1, 0), NOTHING, 600_000, "")).totals
    store.close()
    print(totals["budget"][1])


def hold(path: str) -> None:
    """Holds the write lock until the input ends."""
    look = sqlite3.connect(path, isolation_level=None)
    look.execute("BEGIN IMMEDIATE")
    print("held", flush=True)
    sys.stdin.read()


def full(path: str) -> None:
    """I-12: no room for the file to grow. What was refused is not half there, and goes through when there is room."""
    store, limit, ids = SQLiteStore(path), budget(FOREVER >> 10), Ids()
    store.hello()
    room = Path(path).stat().st_size + (200 << 10)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, hard))
    done = 0
    refused: list[Op] = []
    for _ in count():
        ops: list[Op] = [
            Reserve(ids.new(system_clock()), limit, (0, 1, 0), NOTHING, 600_000, "x" * 500) for _ in range(64)
        ]
        try:
            ask(store, *ops)
        except StoreError as error:
            print(error)
            refused = ops
            break
        done += len(ops)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    answer = ask(store, *refused)
    assert set(verdicts(answer)) == {"done"}
    assert answer.totals == {"budget": (0, done + len(refused))}
    look = sqlite3.connect(path)
    assert look.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    look.close()
    store.close()


def unwritable(path: str, how: str) -> None:
    """I-12: as a user without the right to write."""
    if os.geteuid() == 0:
        os.setuid(65_534)
    store = SQLiteStore(path)
    try:
        store.hello()
    except ConfigurationError as error:
        print(error)
    if how == "opened":
        try:
            store.read(ORG, ())
        except StoreError as error:
            print(type(error).__name__)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    {each.__name__: each for each in (exact, kills, preload, bare_fork, restarts, hold, full, unwritable)}[
        what
    ](*arguments)
