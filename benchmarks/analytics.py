"""How fast a page of analytics is: thirty days of a team, over millions of records in a SQLite file.

    python benchmarks/analytics.py [--records N] [--file PATH] [--rounds N]

Ten teams with five projects of four keys each call six models all month; every hour is one of the same calls, so that
the records and their sums can be written in bulk, and are what the library itself would have written. Then the pages
are asked for over the management API, in this process. The first answer is told apart: nothing is in any cache then.
CPU is what the process itself worked for an answer, whatever else the machine does. A file that is there already is
used as it is.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).parents[1]))

from quotaware import Quota
from quotaware.core.rollups import DAY_MS, KEEP, Cell, fold, read
from quotaware.core.steps import Row, position
from quotaware.core.totals import FOREVER_MS, dims_text
from quotaware.stores.sqlite.rows import PUT_RECORD, record_row

DAYS, HOUR_MS = 30, 3_600_000
ORG = "org_bench"
TEAMS, PROJECTS, KEYS, MODELS = 10, 5, 4, 6
NOW_MS = 11 * HOUR_MS + 40 * 60_000
"""The time of the day at which it is asked."""
BEHIND = 500
"""Records that are in no sum yet."""


def an_hour(begin: int, count: int) -> list[Row]:
    """Calls that were admitted in the hour that begins then."""
    chance = random.Random(1)
    rows = []
    for number in range(count):
        at = begin + number * HOUR_MS // count
        team = int(chance.triangular(0, TEAMS, 2))
        project = chance.randrange(PROJECTS)
        ms = int(chance.lognormvariate(7, 0.8))
        output = chance.randrange(1, 2000)
        about = {
            "project": f"proj_{team}_{project}",
            "team": f"team_{team}",
            "key": f"key_{team}_{project}_{chance.randrange(KEYS)}",
            "provider": "openai",
            "operation": "chat",
            "model": f"model-{chance.randrange(MODELS)}",
            "end_user": f"user{chance.randrange(200)}",
            "input_bound": 900,
        }
        usage = {"input": chance.randrange(1, 9000), "output": output}
        status = 200 if chance.random() < 0.98 else 500
        outcome = {"status": status, "usage": usage, "quality": "exact", "ms": ms, "first_ms": ms // 5}
        cost = chance.randrange(10**7)
        rows.append(
            Row(
                f"{at:012x}{number:020x}",
                0,
                at,
                at + ms,
                json.dumps(about, separators=(",", ":")),
                json.dumps(outcome, separators=(",", ":")),
                "settled",
                (3000, 2 * cost, 0),
                (usage["input"] + output, cost, 0),
                False,
            )
        )
    return rows


def grown(path: Path, budgets: bool = False) -> str:
    """An organization with its tree, its teams and projects with or without budgets; answers an admin key."""
    quota = Quota(f"sqlite:///{path}")
    tenancy = quota.blocking.tenancy
    tenancy.create_organization(ORG, id=ORG)
    for team in range(TEAMS):
        limits = ["$900000/month"] if budgets else []
        tenancy.create_team(ORG, f"team {team}", id=f"team_{team}", limits=limits)
        for project in range(PROJECTS):
            id = f"proj_{team}_{project}"
            limits = ["$90000/month", "600 requests/minute"] if budgets else []
            tenancy.create_project(f"team_{team}", f"project {project}", org=ORG, id=id, limits=limits)
            for key in range(KEYS):
                tenancy.create_key(
                    id,
                    org=ORG,
                    id=f"key_{team}_{project}_{key}",
                    permissions=["chat:create"],
                    name=f"key {key}",
                )
    secret = str(tenancy.create_key(ORG, org=ORG, permissions=["org:manage"]).secret)
    quota.close()
    return secret


def fill(path: Path, records: int, now: int, length: int = DAYS) -> None:
    """Writes the records of so many days and of today until `now`, and the sums of all but the newest."""
    first, today = now - now % DAY_MS - length * DAY_MS, (now % DAY_MS) // HOUR_MS
    hours = length * 24 + today
    rows = an_hour(first, records // hours)
    sql = sqlite3.connect(path, isolation_level=None)
    sql.execute("PRAGMA journal_mode = WAL")
    sql.execute("PRAGMA synchronous = OFF")
    sql.execute("BEGIN")
    sql.execute("CREATE TEMP TABLE one AS SELECT * FROM record LIMIT 0")
    sql.execute("CREATE TEMP TABLE cell AS SELECT *, 0 AS hours FROM total LIMIT 0")
    sql.executemany(
        PUT_RECORD.replace("record", "one", 1),
        [record_row(ORG, row.settled_at, number, row) for number, row in enumerate(rows)],
    )
    for (bucket, values), cell in fold(map(read, rows), "UTC").items():
        for many in (1,) if bucket.period == "hour" else (24, today):
            whole = Cell({}, {})
            for _ in range(many):
                whole.take(*cell)
            place = (ORG, bucket.cube.table(bucket.period, "UTC"), first, dims_text(values), whole.body)
            keep = first + DAY_MS + KEEP.of(bucket.period)
            sql.execute("INSERT INTO cell VALUES (?, ?, ?, ?, ?, ?, ?)", (*place, keep, many))
    for hour in range(hours):
        sql.execute(_RECORDS + "FROM one", {"shift": hour * HOUR_MS})
        days = {} if hour % 24 else {"24": 24} if hour < length * 24 else {"today": today}
        for many in (1, *days.values()):
            sql.execute(_SUMS, {"shift": hour * HOUR_MS, "hours": many})
    upto = _last(sql)
    sql.execute(_RECORDS + f"FROM one LIMIT {BEHIND}", {"shift": hours * HOUR_MS})
    history = json.dumps([[position(first, 0), "UTC"]], separators=(",", ":"))
    sql.execute("INSERT INTO total VALUES (?, 'zones', 0, '[]', ?, ?)", (ORG, history, FOREVER_MS))
    found = (*_last(sql), position(*upto), ORG)
    sql.execute("UPDATE org SET booked = ?, count = ?, folded = ? WHERE id = ?", found)
    sql.execute("COMMIT")
    sql.close()


_RECORDS = """INSERT INTO record (org, booked, count, id, part, at, settled_at, about, outcome, how,
    hold_tokens, hold_cost, hold_slots, tokens, cost, slots, overrun)
    SELECT org, booked + :shift, count, printf('%012x', at + :shift) || substr(id, 13), part, at + :shift,
    settled_at + :shift, about, outcome, how, hold_tokens, hold_cost, hold_slots, tokens, cost, slots, overrun """
_SUMS = """INSERT INTO total SELECT org, cube, bucket + :shift, dims, body, keep + :shift FROM cell
    WHERE hours = :hours"""


def _last(sql: sqlite3.Connection) -> tuple[int, int]:
    """The position of the newest record."""
    newest = "SELECT booked, count FROM record WHERE org = ? ORDER BY booked DESC, count DESC LIMIT 1"
    found: tuple[int, int] = sql.execute(newest, (ORG,)).fetchone()
    return found


async def measured(quota: Quota, secret: str, rounds: int) -> None:
    """Asks for pages, and prints how long they took."""
    transport = httpx.ASGITransport(app=quota.management())
    headers = {"authorization": f"Bearer {secret}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://bench", headers=headers) as client:
        for name, path in PAGES.items():
            took, busy = [], []
            for _ in range(rounds + 1):
                began, worked = time.perf_counter(), time.process_time()
                answer = await client.get(path)
                took.append((time.perf_counter() - began) * 1000)
                busy.append((time.process_time() - worked) * 1000)
                answer.raise_for_status()
            first, *rest = took
            median, cpu = statistics.median(rest), statistics.median(busy[1:])
            print(
                f"{name:46} first {first:6.0f} ms  median {median:6.0f}  best {min(rest):6.0f}  CPU {cpu:6.0f}"
            )


PAGES = {
    "team, 30 days (analytics)": "/teams/team_2/analytics?period=30d",
    "project, 30 days (analytics)": "/projects/proj_2_1/analytics?period=30d",
    "organization, 30 days, by project and day": f"/organizations/{ORG}/usage?period=30d&by=project&bucket=day",
    "organization, 30 days, by model": f"/organizations/{ORG}/usage?period=30d&by=model",
    "organization, forecast of the month by project": f"/organizations/{ORG}/usage/forecast?by=project",
    "team, 24 hours, by model and hour": "/teams/team_2/usage?period=24h&by=model&bucket=hour",
    "team, a page of failed calls": "/teams/team_2/usage/records?period=30d&status=500&limit=50",
}


def timed(what: str, work: Callable[[], Any]) -> Any:
    began = time.perf_counter()
    done = work()
    print(f"{what}: {time.perf_counter() - began:.0f} s", flush=True)
    return done


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--records", type=int, default=10_000_000)
    options.add_argument("--rounds", type=int, default=10)
    options.add_argument("--file", type=Path)
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = given.file or Path(directory) / "analytics.db"
        note = path.with_suffix(".json")
        if not path.exists():
            now = time.time_ns() // 1_000_000 // DAY_MS * DAY_MS + NOW_MS
            secret = grown(path)
            timed(f"{given.records} records written", lambda: fill(path, given.records, now))
            note.write_text(json.dumps([secret, now]))
        secret, now = json.loads(note.read_text())
        with sqlite3.connect(path) as sql:
            (count,) = sql.execute("SELECT count(*) FROM record").fetchone()
            (sums,) = sql.execute("SELECT count(*) FROM total").fetchone()
        print(f"{count} records, {sums} sums, {path.stat().st_size / 2**30:.1f} GiB")
        quota = Quota(f"sqlite:///{path}", clock=lambda: now)
        asyncio.run(measured(quota, secret, given.rounds))
        quota.close()


if __name__ == "__main__":
    main()
