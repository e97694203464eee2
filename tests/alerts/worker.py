"""A process of an app that makes calls, and sends alerts: `python -m tests.alerts.worker SETTINGS`, as JSON.

It prints how many calls went through and how many were denied, and then lives until its input ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys

from quotaware import Alerts, Quota, QuotaExceeded, Smtp, Webhook
from quotaware.alerts import sender


async def spend(quota: Quota, calls: int, tasks: int) -> tuple[int, int]:
    passed = denied = 0

    async def some(count: int) -> None:
        nonlocal passed, denied
        for _ in range(count):
            try:
                async with quota.call(provider="p", model="m", input=100, max_output=0) as call:
                    await asyncio.sleep(0)
                    call.used(input=100, output=0)
                passed += 1
            except QuotaExceeded:
                denied += 1

    await asyncio.gather(*(some(calls // tasks) for _ in range(tasks)))
    return passed, denied


def main() -> None:
    given = json.loads(sys.argv[1])
    sender.FIRST_S, sender.LONGEST_S, sender.LEASE_S = 0.02, 0.2, given["lease"]
    sender.LEASES_S.clear()
    alerts = Alerts(
        rules=given["rules"],
        smtp=Smtp("127.0.0.1", "quota@example.com", given["smtp"], security="none"),
        to=["ann@example.com"],
        webhooks=[Webhook(given["url"], "env:HOOK_SECRET")],
        allow=["127.0.0.1"],
    )
    quota = Quota(
        given["store"],
        limits=[given["limit"]],
        alerts=alerts,
        prices={"m": {"input": 1000, "output": 1000}},
        settle_wait=0,
        deadline=10.0,
    )
    quota.store.deadline = 10.0
    passed, denied = asyncio.run(spend(quota, given["calls"], given["tasks"]))
    print(json.dumps({"pid": os.getpid(), "passed": passed, "denied": denied}), flush=True)
    sys.stdin.read()
    quota.close(10)


if __name__ == "__main__":
    main()
