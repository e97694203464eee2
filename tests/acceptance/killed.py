"""A worker that is killed at random points between reserve and settle, again and again, beside one that is not
(`python -m tests.acceptance.killed <url> <kills> <seed>`).

All are forked from this process, which has nothing open but knows the prices, so that a kill costs a fork. It prints
which calls were told to be settled in the store when their worker died, and what the one beside it did.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import select
import signal
import sqlite3
import sys
import time
from itertools import count
from typing import Any

from quotaware import Quota
from tests.acceptance.worker import PRICES
from tests.stores.forks import ended_well, forked

SETTINGS: dict[str, Any] = {"limits": ["$9000/month", "9000 concurrent"], "lease": 2.0, "deadline": 10}
TASKS = 8
"""Calls at once, of each worker."""


def opened(url: str) -> Quota:
    """A Quota that has time, on a machine that is busy with other things."""
    quota = Quota(url, prices=PRICES, settle_wait=0, **SETTINGS)
    quota.store.deadline = SETTINGS["deadline"]
    return quota


async def _call(quota: Quota, name: str) -> None:
    """One that takes a moment, and is known by its end user."""
    with quota.acting_as(end_user=name):
        async with quota.call(provider=None, model="both", input=5, max_output=10) as one:
            await asyncio.sleep(random.uniform(0, 0.01))
            one.used(input=5, output=10)


def killed(url: str, number: int, told: int) -> None:
    """Calls until it is killed, and tells of those that are settled in the store; one of them is held all the while."""
    quota = opened(url)
    settled: list[str] = []

    async def calls(task: int) -> None:
        for turn in count():
            await _call(quota, name := f"{number}.{task}.{turn}")
            settled.append(name)

    async def work() -> None:
        with quota.acting_as(end_user=f"{number}.held"):
            async with quota.call(provider=None, model="both", input=5, max_output=10):
                os.write(told, b"holds\n")
                tasks = [asyncio.create_task(calls(task)) for task in range(TASKS)]
                while not any(task.done() for task in tasks):
                    names, settled[:] = settled[:], []
                    assert await asyncio.to_thread(quota.flush, 30)
                    os.write(told, "".join(f"{name}\n" for name in names).encode())
                    await asyncio.sleep(0.001)

    asyncio.run(work())


def undisturbed(url: str, end: int, told: int) -> None:
    """Calls until it is told to end: how many there were, and how long the longest took."""
    quota = opened(url)

    async def work() -> tuple[int, float]:
        slowest = 0.0
        for turn in count():
            began = time.monotonic()
            await _call(quota, f"beside.{turn}")
            slowest = max(slowest, time.monotonic() - began)
            if select.select([end], [], [], 0)[0]:
                return turn + 1, slowest
        raise AssertionError

    calls, slowest = asyncio.run(work())
    assert quota.close(30)
    os.write(told, json.dumps({"calls": calls, "slowest": slowest}).encode())


def main(url: str, kills: int, chance: random.Random) -> None:
    Quota("memory://", prices=PRICES).close()
    (end, ending), (beside, told_beside) = os.pipe(), os.pipe()
    pid_beside = forked(lambda: undisturbed(url, end, told_beside))
    settled: list[str] = []
    for number in range(kills):
        read_end, write_end = os.pipe()
        pid = forked(lambda number=number, write_end=write_end: killed(url, number, write_end))
        os.close(write_end)
        told = os.read(read_end, 1 << 16)
        time.sleep(chance.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        while more := os.read(read_end, 1 << 16):
            told += more
        os.close(read_end)
        holds, *names = told.decode().split("\n")[:-1]
        assert holds == "holds"
        settled += names
        if url.startswith("sqlite:///"):
            with sqlite3.connect(url.removeprefix("sqlite:///")) as look:
                assert look.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            look.close()
    os.write(ending, b"\n")
    ended_well([pid_beside])
    print(json.dumps({"settled": settled, "beside": json.loads(os.read(beside, 1 << 16))}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), random.Random(int(sys.argv[3])))
