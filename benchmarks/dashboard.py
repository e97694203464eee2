"""Server time and size of the first page with a year of data: `python benchmarks/dashboard.py [N]`, N records."""

from __future__ import annotations

import random
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

from tests.calls import PRICES, a_call, a_quota, ask, used
from tests.dashboard.conftest import BASE, House

from quotaware.context import Identity
from quotaware.testing.clocks import FakeClock

DAY = 86_400_000
GOAL_MS, GOAL_BYTES = 150, 100_000


def main(records: int) -> None:
    """A year on SQLite, as many records a day as all days together hold."""
    models = [f"model-{n}" for n in range(12)]
    with tempfile.TemporaryDirectory() as directory:
        clock = FakeClock()
        clock.advance(-365 * DAY)
        url = f"sqlite:///{Path(directory) / 'year.db'}"
        quota = a_quota(url, clock=clock, prices=dict.fromkeys(models, PRICES["tenth"]))
        house = House(quota, clock)
        teams = [
            house.tenancy.create_team(house.org, name=f"team-{n}", limits=["$9000/month"]).id
            for n in range(5)
        ]
        projects = [
            house.tenancy.create_project(teams[n % 5], name=f"project-{n}", limits=["$900/month"]).id
            for n in range(20)
        ]
        chance = random.Random(1)
        for number in range(records):
            if number % max(1, records // 365) == 0:
                quota.flush(10)
                clock.advance(DAY)
            caller = Identity(project=chance.choice(projects), end_user=f"u{chance.randrange(50)}")
            admission = ask(quota, a_call(1, model=chance.choice(models)), caller)
            admission.settle(used(1))
        quota.flush(30)
        quota._keep_house()  # as it does by itself every few seconds
        browser = house.browser(house.admin)
        headers = {"accept-encoding": "gzip"}
        first = browser.client.get(f"{BASE}/", headers=headers)
        size = int(first.headers["content-length"])
        for asset in set(re.findall(r'"(/v1/dashboard/static/[^"]*)"', first.text)):
            size += int(browser.client.get(asset, headers=headers).headers["content-length"])
        took = []
        for _ in range(20):
            began = time.perf_counter()
            assert browser.client.get(f"{BASE}/", headers=headers).status_code == 200
            took.append(1000 * (time.perf_counter() - began))
            time.sleep(1.1)  # so that the limits are looked at anew
        took.sort()
        print(f"{records} records: {statistics.median(took):.0f} ms (p95 {took[18]:.0f}; goal {GOAL_MS})")
        print(f"over the wire: {size} bytes (goal {GOAL_BYTES})")
        quota.close()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
