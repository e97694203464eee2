"""How fast the stores are: reserve and settle over eight limits, beside the library `limits` in the same run.

    python benchmarks/stores.py [memory] [sqlite] [redis] [processes] [keys] [--rounds N] [--seconds S]

A pair is a reserve over eight counters, with lease, id guard and revision check, and its settle with record. Callers
are tasks of one event loop that reserve, then settle, through the store thread, as a Quota does. `limits` makes single
hits: fixed windows on the same Redis, moving windows in memory. The server is Valkey from its wheel, or `REDIS_URL`.
Rounds alternate, medians are told; the machine's noise is in all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import resource
import secrets
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import limits
import limits.aio
import limits.storage

sys.path.insert(0, str(Path(__file__).parents[1]))

from quotaware.core.steps import CONCURRENCY, COST, REQUESTS, TOKENS, Amounts, Counter, Plan, Reserve, Settle
from quotaware.ids import Ids
from quotaware.stores.lanes import Lanes
from quotaware.stores.memory import MemoryStore, system_clock
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Store
from quotaware.stores.thread import LeaseTerms

HOLD: Amounts = (1200, 4_000_000, 1)
REAL: Amounts = (900, 2_500_000, 0)
ON_EXPIRY: Amounts = (200, 300_000, 0)
ABOUT = (
    '{"project":"proj_0123456789","team":"team_01","key":"key_0123456789abcdefghij","provider":"openai",'
    '"operation":"chat","model":"gpt-4.1","input_bound":345}'
)
OUTCOME = '{"status":200,"model":"gpt-4.1-2025-04-14","usage":{"input":300,"output":600},"quality":"exact","ms":812}'
ORG = "org_bench"
CAP = 8_000_000_000_000_000


def plan(project: int, now: int) -> Plan:
    """Eight counters: two of organization and team, six of the project and its key, two of them rolling."""
    day = now - now % 86_400_000
    month = {"since": day, "until": day + 30 * 86_400_000, "keep": day + 33 * 86_400_000}
    today = {"since": day, "until": day + 2 * 86_400_000, "keep": day + 5 * 86_400_000}
    own = f"proj_{project}"
    lines = (
        (Counter(f"{ORG}/cost/month@{day}", CAP, **month), COST),
        (Counter(f"team_{project % 100}/cost/month@{day}", CAP, **month), COST),
        (Counter(f"{own}/cost/month@{day}", CAP, **month), COST),
        (Counter(f"{own}/cost/day@{day}", CAP, **today), COST),
        (Counter(f"{own}/tokens/minute", CAP, span=60_000), TOKENS),
        (Counter(f"{own}/requests/minute", CAP, span=60_000), REQUESTS),
        (Counter(f"key_{project}/cost/day@{day}", CAP, **today), COST),
        (Counter(f"key_{project}/concurrent", CAP, keep=-1), CONCURRENCY),
    )
    return Plan(ORG, 0, (), lines)


class Pairs:
    """Reserves and settles through the store thread."""

    def __init__(self, store: Store, projects: int) -> None:
        self.lanes = Lanes(store, system_clock, LeaseTerms(), 10.0)
        now = store.hello()
        self.plans = [plan(project, now) for project in range(projects)]
        self.ids = Ids()
        self.next = count()

    async def __call__(self) -> None:
        plan = self.plans[next(self.next) * 7919 % len(self.plans)]
        id = self.ids.new(system_clock())
        ticket = self.lanes.ask(ORG, Reserve(id, plan, HOLD, ON_EXPIRY, 60_000, ABOUT))
        await ticket.wait_async(30)
        result, _ = ticket.value()
        assert result.verdict == "done", result
        self.lanes.post(ORG, Settle(id, plan, REAL, OUTCOME))

    def close(self) -> None:
        assert self.lanes.close(30)


async def rate(work: Callable[[], Awaitable[Any]], callers: int, seconds: float) -> float:
    """How often a second so many callers do it, one after the other each."""
    done, end = 0, time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await work()
            done += 1

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return done / (time.perf_counter() - began)


def median(values: list[float]) -> float:
    return statistics.median(values)


@contextlib.contextmanager
def valkey() -> Iterator[str]:
    if given := os.environ.get("REDIS_URL"):
        yield given
        return
    from tests.servers import Server

    with Server() as server:
        yield server.url


def redis(rounds: int, seconds: float) -> None:
    print(
        "\nRedis: pairs a second (reserve over 8 limits + settle) beside single fixed-window hits of `limits`"
    )
    print(f"{'projects':>9} {'callers':>8} {'pairs/s':>9} {'hits/s':>9} {'ratio':>6}")
    with valkey() as url:
        for projects in (1, 100, 10_000):
            for callers in (64, 256):
                pairs: list[float] = []
                hits: list[float] = []
                for _ in range(rounds):
                    hits.append(asyncio.run(_hits(url, projects, callers, seconds)))
                    work = Pairs(open_store(f"{url}?prefix=b{secrets.token_hex(4)}", system_clock), projects)
                    pairs.append(asyncio.run(rate(work, callers, seconds)))
                    work.close()
                ratio = median([a / b for a, b in zip(pairs, hits, strict=True)])
                print(
                    f"{projects:>9} {callers:>8} {median(pairs):>9,.0f} {median(hits):>9,.0f} {ratio:>6.2f}"
                )
        _alone(url, rounds, seconds)


async def _hits(url: str, projects: int, callers: int, seconds: float) -> float:
    import redis.asyncio

    pool = redis.asyncio.BlockingConnectionPool.from_url(url, max_connections=callers, timeout=None)
    storage = limits.aio.storage.RedisStorage(f"async+{url}", connection_pool=pool, implementation="redispy")
    limiter = limits.aio.strategies.FixedWindowRateLimiter(storage)
    item, number = limits.parse("1000000000/day"), count()

    async def hit() -> None:
        assert await limiter.hit(item, str(next(number) % projects))

    try:
        await asyncio.gather(*(hit() for _ in range(callers)))  # connects
        return await rate(hit, callers, seconds)
    finally:
        await pool.aclose()


def _alone(url: str, rounds: int, seconds: float) -> None:
    """One caller: the whole way through the thread, and the store's call itself on the caller's thread."""
    through: list[float] = []
    bare: list[float] = []
    for _ in range(rounds):
        store = open_store(f"{url}?prefix=b{secrets.token_hex(4)}", system_clock)
        work = Pairs(store, 1)
        through.append(asyncio.run(_reserves(work, seconds)))
        bare.append(_bare(store, work, seconds))
        work.close()
    print(
        f"alone: a reserve through the thread {median(through):.0f} us, the store's own call {median(bare):.0f} us, "
        f"ratio {median([a / b for a, b in zip(through, bare, strict=True)]):.2f}"
    )


async def _reserves(work: Pairs, seconds: float) -> float:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        id = work.ids.new(system_clock())
        began = time.perf_counter()
        ticket = work.lanes.ask(ORG, Reserve(id, work.plans[0], HOLD, ON_EXPIRY, 60_000, ABOUT))
        await ticket.wait_async(30)
        times.append(time.perf_counter() - began)
        work.lanes.post(ORG, Settle(id, work.plans[0], REAL, OUTCOME))
        work.lanes.flush(30)
    return median(times) * 1e6


def _bare(store: Store, work: Pairs, seconds: float) -> float:
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        id = work.ids.new(system_clock())
        reserve = Reserve(id, work.plans[0], HOLD, ON_EXPIRY, 60_000, ABOUT)
        began = time.perf_counter()
        store.apply({ORG: [reserve]}, 10.0)
        times.append(time.perf_counter() - began)
        store.apply({ORG: [Settle(id, work.plans[0], REAL, OUTCOME)]}, 10.0)
    return median(times) * 1e6


def sqlite(rounds: int, seconds: float) -> None:
    print("\nSQLite: pairs a second, 256 callers, one process; beside bare group commits of the same rows")
    print(f"{'durability':>11} {'pairs/s':>9} {'floor/s':>9} {'share':>6}")
    for durability in ("commit", "relaxed"):
        pairs: list[float] = []
        floors: list[float] = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory() as directory:
                floors.append(_floor(Path(directory) / "floor.db", durability, seconds))
                store = open_store(f"sqlite:///{directory}/quota.db?durability={durability}", system_clock)
                work = Pairs(store, 1)
                pairs.append(asyncio.run(rate(work, 256, seconds)))
                work.close()
        share = median([a / b for a, b in zip(pairs, floors, strict=True)])
        print(f"{durability:>11} {median(pairs):>9,.0f} {median(floors):>9,.0f} {share:>6.0%}")


def _floor(path: Path, durability: str, seconds: float) -> float:
    """Reservations and records of a batch of 256 in one transaction each, and nothing decided."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("PRAGMA journal_mode=WAL")
        file.execute(f"PRAGMA synchronous={'FULL' if durability == 'commit' else 'NORMAL'}")
        file.execute("CREATE TABLE counter (k TEXT PRIMARY KEY, used, held) WITHOUT ROWID")
        file.execute("CREATE TABLE row (id TEXT PRIMARY KEY, about, outcome) WITHOUT ROWID")
        ids, done = Ids(), 0
        end = time.perf_counter() + seconds
        began = time.perf_counter()
        while time.perf_counter() < end:
            rows = [(ids.new(system_clock()), ABOUT, OUTCOME) for _ in range(256)]
            file.execute("BEGIN IMMEDIATE")
            file.executemany("INSERT INTO row VALUES (?, ?, '')", [row[:2] for row in rows])
            file.executemany(
                "REPLACE INTO counter VALUES (?, ?, ?)", [(f"c{n}", done, done) for n in range(8)]
            )
            file.execute("COMMIT")
            file.execute("BEGIN IMMEDIATE")
            file.executemany("UPDATE row SET outcome = ? WHERE id = ?", [(row[2], row[0]) for row in rows])
            file.executemany(
                "REPLACE INTO counter VALUES (?, ?, ?)", [(f"c{n}", done, done) for n in range(8)]
            )
            file.execute("COMMIT")
            done += 256
        return done / (time.perf_counter() - began)


def processes(rounds: int, seconds: float) -> None:
    print("\nSQLite, four processes, batches of 64: each one's share, and the longest that a batch waited")
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as directory:
            url = f"sqlite:///{directory}/quota.db"
            store = open_store(url, system_clock)
            store.hello()
            command = [sys.executable, __file__, "--one", url, "--seconds", str(seconds)]
            running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
            found = [process.communicate()[0].split() for process in running]
            store.close()
        rates = [float(each[0]) for each in found]
        fair = sum(rates) / 4
        shares = ", ".join(f"{each / fair:.0%}" for each in rates)
        print(
            f"{sum(rates):>9,.0f} pairs/s: {shares} of a fair share; {max(float(e[1]) for e in found):.0f} ms"
        )


def one_process(url: str, seconds: float) -> None:
    """Batches of 64 reserves, then their settles, on a file that others use too."""
    store, ids = open_store(url, system_clock), Ids()
    own = plan(0, store.hello())
    done, longest = 0, 0.0
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        called = [ids.new(system_clock()) for _ in range(64)]
        for batch in (
            [Reserve(id, own, HOLD, ON_EXPIRY, 60_000, ABOUT) for id in called],
            [Settle(id, own, REAL, OUTCOME) for id in called],
        ):
            start = time.perf_counter()
            store.apply({ORG: batch}, 10.0)
            longest = max(longest, time.perf_counter() - start)
        done += 64
    print(done / (time.perf_counter() - began), longest * 1000)
    store.close()


def memory(rounds: int, seconds: float) -> None:
    del seconds
    pairs: list[float] = []
    batched: list[float] = []
    hits: list[float] = []
    for _ in range(rounds):
        hits.append(_moving_window())
        pairs.append(_inline(1))
        batched.append(_inline(64))
    print("\nMemory: a reserve over 8 limits and its settle, beside one moving-window hit of `limits`")
    for name, found in (("called one by one", pairs), ("in batches of 64", batched)):
        ratio = median([a / b for a, b in zip(found, hits, strict=True)])
        print(f"{name:>18}: {median(found):.1f} us a pair, {median(hits):.1f} us a hit, ratio {ratio:.1f}")


def _inline(batch: int, pairs: int = 8192) -> float:
    store, ids, own = MemoryStore(), Ids(), plan(0, system_clock())
    began = time.perf_counter()
    for _ in range(pairs // batch):
        called = [ids.new(system_clock()) for _ in range(batch)]
        store.apply({ORG: [Reserve(id, own, HOLD, ON_EXPIRY, 60_000, ABOUT) for id in called]}, 1.0)
        store.apply({ORG: [Settle(id, own, REAL, OUTCOME) for id in called]}, 1.0)
    return (time.perf_counter() - began) / pairs * 1e6


def _moving_window(hits: int = 8192) -> float:
    limiter = limits.strategies.MovingWindowRateLimiter(limits.storage.MemoryStorage())
    item = limits.parse("1000000000/minute")
    began = time.perf_counter()
    for _ in range(hits):
        limiter.hit(item, "caller")
    return (time.perf_counter() - began) / hits * 1e6


def keys(rounds: int, seconds: float) -> None:
    """What a reserve costs where there are ten projects, and where there are 100,000 with ten keys each."""
    del rounds
    print("\nMany keys and projects (SQLite): a pair alone, and what this process keeps in memory")
    for projects, links in ((10, 100), (100_000, 1_000_000)):
        with tempfile.TemporaryDirectory() as directory:
            store = open_store(f"sqlite:///{directory}/quota.db?durability=relaxed", system_clock)
            now = store.hello()
            ids = Ids()
            for start in range(0, projects, 256):
                ops = [
                    Settle(ids.new(system_clock()), plan(number, now), REAL, OUTCOME, force=True, about=ABOUT)
                    for number in range(start, min(projects, start + 256))
                ]
                store.apply({ORG: ops}, 30.0)
            for number in range(links):
                store.link(f"{number:064x}", ORG, f"key_{number}")
            before = _resident()
            work = Pairs(store, projects)
            found = asyncio.run(rate(work, 1, max(seconds, 2.0)))
            known = sum(
                store.find(f"{number:064x}") is not None for number in range(0, links, max(1, links // 100))
            )
            print(
                f"{projects:>8,} projects, {links:>9,} keys: {1e6 / found:>6.0f} us a pair; "
                f"{known} of 100 keys found; +{(_resident() - before) / 1e6:.0f} MB"
            )
            work.close()


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1]) if sys.platform == "linux" else 0
    return pages * resource.getpagesize()


PARTS = {"memory": memory, "sqlite": sqlite, "redis": redis, "processes": processes, "keys": keys}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="PART", choices=[*PARTS, []], help=", ".join(PARTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        one_process(given.one, given.seconds)
        return
    for name in given.parts or PARTS:
        PARTS[name](given.rounds, given.seconds)


if __name__ == "__main__":
    main()
