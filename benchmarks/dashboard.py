"""Server time and size of the dashboard's first page with a year of data in a SQLite file.

    python benchmarks/dashboard.py [--records N] [--file PATH] [--rounds N]

Ten teams with five projects, all with budgets, call six models for a year (`analytics.py` writes it). Each round is a
page for which the limits are looked at anew; CPU is what the process itself worked for it, whatever else the machine
does. A file that is there already is used as it is.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.analytics import DAY_MS, NOW_MS, fill, grown, timed
from starlette.applications import Starlette
from tests.dashboard.conftest import BASE, Browser

from quotaware import Quota
from quotaware.management.dashboard.pulse import FRESH_S

DAYS = 365
GOAL_MS, GOAL_BYTES = 150, 100_000
PAGES = ("/", "/live/overview", "/projects", "/projects/proj_2_1", "/keys", "/alerts", "/audit", "/requests")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--records", type=int, default=1_000_000)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--file", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = given.file or Path(directory) / "year.db"
        note = path.with_suffix(".json")
        if not path.exists():
            now = time.time_ns() // 1_000_000 // DAY_MS * DAY_MS + NOW_MS
            secret = grown(path, budgets=True)
            timed(f"{given.records} records written", lambda: fill(path, given.records, now, DAYS))
            note.write_text(json.dumps([secret, now]))
        secret, now = json.loads(note.read_text())
        with_quota(path, secret, now, given.rounds)


def with_quota(path: Path, secret: str, now: int, rounds: int) -> None:
    """Asks for pages, and prints how long they took."""
    quota = Quota(f"sqlite:///{path}", clock=lambda: now)
    app = Starlette()
    app.mount("/v1", quota.management())
    browser = Browser(app)
    browser.sign_in(secret)
    headers = {"accept-encoding": "gzip"}
    first = browser.client.get(f"{BASE}/", headers=headers)
    size = int(first.headers["content-length"])
    for asset in set(re.findall(r'"(/v1/dashboard/static/[^"]*)"', first.text)):
        size += int(browser.client.get(asset, headers=headers).headers["content-length"])
    print(f"first page over the wire: {size} bytes (goal {GOAL_BYTES})")
    for page in PAGES:
        took, busy = [], []
        for _ in range(rounds if page == "/" else 5):
            time.sleep(FRESH_S + 0.1)
            began, worked = time.perf_counter(), time.process_time()
            assert browser.client.get(f"{BASE}{page}", headers=headers).status_code == 200
            took.append(1000 * (time.perf_counter() - began))
            busy.append(1000 * (time.process_time() - worked))
        goal = f"  goal {GOAL_MS}" if page == "/" else ""
        print(
            f"{page:20} median {statistics.median(took):5.0f} ms  best {min(took):5.0f}"
            f"  CPU {statistics.median(busy):5.0f}{goal}"
        )
    quota.close()


if __name__ == "__main__":
    main()
