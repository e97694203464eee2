"""Totals of many generated records, held against sums kept apart, on each store."""

from __future__ import annotations

import json
import random
import secrets
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from quotaware.core.rollups import DAY_MS
from quotaware.core.steps import Plan, Settle
from quotaware.core.usage import Usage
from quotaware.ids import Ids
from quotaware.rollups import Folder
from quotaware.stores.memory import MemoryStore
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Store
from quotaware.usage import UsageLog, UsageRecord
from tests.sums import ORG, check, moment, plain
from tests.support import FakeClock

DAYS = 30
BEGIN = 1_779_235_200_000
"""20 May 2026, midnight in UTC."""
FEW, MANY = 1_500, 1_000_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(BEGIN)


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    """With a retention that keeps all records."""
    opened: Mapping[str, Callable[[], Store]] = {
        "memory": lambda: MemoryStore(clock, records=2 * MANY),
        "sqlite": lambda: open_store(f"sqlite:///{tmp_path}/quota.db?durability=relaxed", clock),
        "redis": lambda: open_store(
            f"{request.getfixturevalue('valkey_url')}?prefix=t{secrets.token_hex(6)}&records_days=none", clock
        ),
    }
    store = opened[request.param]()
    store.deadline = 30.0  # it is not what is tried here
    yield store
    store.close()


class Generated:
    """Calls of a month, made up: `records` are what the store is to tell of them."""

    def __init__(self, store: Store, clock: FakeClock, count: int) -> None:
        self._store = store
        self._clock = clock
        self._chance = random.Random(count)
        self._ids = Ids()
        self._plan = Plan(ORG, 1 << 40, (), ())
        self._usages = [self._usage() for _ in range(500)]
        self._teams = {f"p{n}": f"t{n % 4}" for n in range(12)}
        self.records: list[UsageRecord] = []
        step = DAYS * DAY_MS / count
        page = min(500, count // DAYS)
        for begin in range(0, count, page):
            steps = []
            for number in range(begin, min(count, begin + page)):
                clock.now = BEGIN + int(number * step)
                steps.append(self._made())
            answer = store.apply({ORG: steps}, 60.0)[ORG]
            assert {result.verdict for result in answer.results} == {"done"}  # type: ignore[union-attr]
        folder = Folder(store)
        while folder.fold(ORG, least=FEW // 10):  # the newest are behind the sums
            pass

    def _usage(self) -> Usage:
        chance = self._chance
        return Usage(
            input=chance.randrange(50_000),
            output=chance.randrange(4000),
            cache_read=chance.choice([0, chance.randrange(9000)]),
            cache_write=chance.choice([0, 0, 700]),
            reasoning=chance.choice([0, chance.randrange(900)]),
            audio_input=chance.choice([0, 0, 0, 31]),
            images=chance.choice([0, 0, 0, 1]),
        )

    def _made(self) -> Settle:
        """One call, and what its record says."""
        chance, now = self._chance, self._clock.now
        project = f"p{int(chance.triangular(0, 12, 2))}"
        said: dict[str, Any] = {
            "team": self._teams[project],
            "project": project,
            "key": f"k_{project}_{chance.randrange(3)}",
            "member": chance.choice([None, None, "mem_1", "mem_2"]),
            "end_user": f"u{int(chance.paretovariate(0.7)) % 300}",
            "tags": chance.choice(
                [{}, {"job": "nightly"}, {"job": "chat", "plan": f"plan{chance.randrange(9)}"}]
            ),
            "provider": chance.choice(["openai", "anthropic"]),
            "operation": chance.choice(["chat", "chat", "embeddings"]),
        }
        usage, model = chance.choice(self._usages), f"m{chance.randrange(7)}"
        stream = chance.random() < 0.6
        ms = int(chance.lognormvariate(7, 1))
        status = chance.choice([200] * 9 + [500])
        quality = "exact" if chance.random() < 0.95 else "partial"
        outcome = {
            "status": status,
            "model": model,
            "usage": {name: n for name in Usage.__slots__ if (n := getattr(usage, name))},
            "quality": quality,
            "ms": ms,
            **({"first_ms": ms // 5} if stream else {}),
        }
        cost = chance.randrange(10**9)
        about = {name: value for name, value in said.items() if value}
        id = self._ids.new(now)
        self.records.append(
            cast(
                "UsageRecord",
                SimpleNamespace(
                    **said, at=moment(now), model=model, usage=usage, status=status, quality=quality, cost=cost,
                    reserved=0, duration_ms=ms, first_token_ms=ms // 5 if stream else None, flags=(),
                    would_deny=(), correction=False,
                ),
            )
        )  # fmt: skip
        real = (usage.total, cost, 0)
        return Settle(id, self._plan, real, json.dumps(outcome), force=True, about=json.dumps(about))


def at(days: float) -> datetime:
    return moment(BEGIN) + timedelta(days=days)


QUESTIONS: list[tuple[tuple[str, ...], Any, str | None, float | None, float | None, dict[str, Any]]] = [
    ((), None, None, None, None, {}),
    (("model",), "day", None, None, None, {"team": "t1"}),
    (("project", "key", "model"), None, None, 3.31, 21.77, {"team": "t2"}),
    (("status", "operation"), "week", "Asia/Seoul", None, None, {}),
    (("member", "provider"), None, None, 10.5, None, {"project": "p3"}),
    (("end_user",), None, None, 2, 29, {"project": "p1"}),
    (("tag",), "day", None, None, None, {"team": "t0"}),
    (("team",), "day", "America/St_Johns", None, 12.123, {}),
    (("project",), "month", None, None, None, {"model": "m3", "status": 200}),
    (("end_user", "model"), None, None, 28, None, {"team": "t3"}),
    (("model",), timedelta(minutes=30), None, 29, 29.5, {"key": "k_p2_1"}),
    (("operation",), timedelta(hours=10), None, 1.01, 9, {"tag": "job=chat"}),
    ((), "hour", None, 25.4, 29.6, {}),
]
"""By, bucket, zone, since and until in days, narrowed to."""


@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
def test_totals_are_what_was_made_to_the_nano_dollar_the_token_and_the_call(
    store: Store, clock: FakeClock, count: int
) -> None:
    """Percentiles within 5 %; single records come to the same."""
    made = Generated(store, clock, count)
    log = UsageLog(store, Folder(store), clock)
    for by, bucket, zone, first, last, where in QUESTIONS:
        since, until = (None if days is None else at(days) for days in (first, last))
        begin, end = since or at(0), until or at(DAYS)
        asked = [record for record in made.records if begin <= record.at < end]
        totals = log.totals(ORG, since=since, until=until, by=by, bucket=bucket, time_zone=zone, **where)
        check(totals, plain(asked, by, bucket, zone or "UTC", where, begin))
        assert bucket or {(total.since, total.until) for total in totals} == {(since, until)}
    seen = [record for record in made.records if record.project == "p5" and record.status == 500]
    page = log.page(ORG, project="p5", status=500, limit=1000)
    assert [(each.at, each.cost, each.usage) for each in page.records] == [
        (each.at, each.cost, each.usage) for each in seen[: len(page.records)]
    ]
    assert page.next_cursor is not None or len(page.records) == len(seen)
