"""A process of an app, told what to do over its standard input, one JSON line a task.

It is told what its Quota is given, and answers each task with a JSON line.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from quotaware import Quota
from quotaware.errors import ApiError

PRICES = {"tenth": {"input": 0, "output": 1000}, "both": {"input": 1000, "output": 1000}}
"""Ten output tokens cost a cent; of "both", ten input tokens as well."""


async def exactly(quota: Quota, task: dict[str, Any]) -> dict[str, Any]:
    """So many tasks call until they are refused: one cent each; answers how many went."""
    went = 0

    async def call() -> None:
        nonlocal went
        while True:
            try:
                async with quota.call(provider=None, model="tenth", input=0, max_output=10) as one:
                    went += 1
                    one.used(output=10)
            except ApiError as error:
                if error.status != 429:
                    raise
                return

    await asyncio.gather(*(call() for _ in range(task["tasks"])))
    quota.flush(30)
    return {"went": went, **quota.stats}


async def hammer(quota: Quota, task: dict[str, Any]) -> dict[str, Any]:
    """Calls with a key until it is refused: when the last one that went had begun, on the clock of all processes."""
    last, went = 0.0, 0
    while True:
        try:
            with quota.acting_as(key=task["key"]):
                began = time.monotonic()
                async with quota.call(provider=None, model="tenth", input=0, max_output=10) as one:
                    last, went = began, went + 1
                    one.used(output=10)
        except ApiError as error:
            return {"last": last, "went": went, "code": error.code}
        if went == 1:
            print(json.dumps("began"), flush=True)


async def mixed(quota: Quota, task: dict[str, Any]) -> dict[str, Any]:
    """Calls of random costs, some of which are given up: what they came to, in cents."""
    chance = random.Random(task["seed"])
    spent = 0
    for _ in range(task["calls"]):
        try:
            async with quota.call(
                provider=None, model="tenth", input=0, max_output=chance.randint(1, 100)
            ) as one:
                await asyncio.sleep(0)
                used = chance.randint(0, 100)
                one.used(output=used)
                spent += used
        except ApiError as error:
            if error.status != 429:
                raise
    quota.flush(30)
    return {"spent": spent}


async def hold(quota: Quota, task: dict[str, Any]) -> dict[str, Any]:
    """Settles some calls, tells each as soon as the store has it, and dies in the middle of others."""
    for number in range(task["settled"]):
        async with quota.call(provider=None, model="tenth", input=0, max_output=10) as one:
            one.used(output=10)
        assert quota.flush(30)
        print(json.dumps(number), flush=True)
    async with quota.call(provider=None, model="tenth", input=5, max_output=10):
        print(json.dumps("holds"), flush=True)
        await asyncio.sleep(3600)
    return {}


async def bootstrap(quota: Quota, task: dict[str, Any]) -> dict[str, Any]:
    """The first start, at import or by the first call, and the answer."""
    if task["organization"] is None:
        await quota.start()
        return {}
    first = quota.bootstrap(task["organization"])
    return {"organization": first.organization_id, "key": first.key}


TASKS: dict[str, Callable[[Quota, dict[str, Any]], Any]] = {
    "exactly": exactly,
    "hammer": hammer,
    "mixed": mixed,
    "hold": hold,
    "bootstrap": bootstrap,
}


def main() -> None:
    quota: Quota | None = None
    with asyncio.Runner() as runner:
        for line in sys.stdin:
            task = json.loads(line)
            if task["do"] == "open":
                if quota is not None:
                    quota.close(10)
                os.environ["QUOTAWARE_ADMIN_KEY"] = task.get("admin_key", "")
                quota = Quota(prices=PRICES, **task["settings"])
                quota.store.deadline = max(quota.store.deadline, task["settings"].get("deadline", 0.0))
            elif quota is not None:
                print(json.dumps(runner.run(TASKS[task["do"]](quota, task))), flush=True)
    if quota is not None:
        quota.close(10)


class Worker:
    """A worker process, seen from the test."""

    def __init__(self) -> None:
        root = Path(__file__).parents[2]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.acceptance.worker"],
            cwd=root,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def open(self, *, admin_key: str = "", **settings: Any) -> None:
        """Has it go on with a Quota of these settings, and with this QUOTAWARE_ADMIN_KEY."""
        self.do("open", settings=settings, admin_key=admin_key)

    def do(self, what: str, **task: Any) -> None:
        """Gives it a task."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": what, **task}) + "\n")
        self.process.stdin.flush()

    def said(self) -> Any:
        """The next line that it says."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"the worker ended with {self.process.wait()}"
        return json.loads(line)

    def end(self, *, kill: bool = False) -> None:
        """Lets it end by itself, or not."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if kill:
            self.process.kill()
        self.process.stdin.close()
        self.process.wait(30)
        self.process.stdout.close()


if __name__ == "__main__":
    main()
