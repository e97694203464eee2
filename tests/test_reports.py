"""Pages of records, top lists, forecasts and exports: what is told of records and totals beside themselves."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import pytest

from quotaware import ConfigurationError, Quota, Usage, admission, exporting, usage
from quotaware.context import Identity
from quotaware.core.charges import Outcome
from quotaware.core.rollups import DAY_MS
from quotaware.core.totals import Only
from quotaware.exporting import RECORD_FIELDS, TOTAL_FIELDS, plain
from quotaware.rollups import Folder
from quotaware.stores.memory import MemoryStore
from quotaware.usage import UsageLog, UsageRecord
from tests.calls import CENT, a_call, a_quota, ask, let_go, spend
from tests.sums import ORG, Caller, moment
from tests.support import NOON, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> MemoryStore:
    return MemoryStore(clock)


@pytest.fixture
def caller(store: MemoryStore, clock: FakeClock) -> Caller:
    return Caller(store, clock)


@pytest.fixture
def log(store: MemoryStore, clock: FakeClock) -> UsageLog:
    return UsageLog(store, Folder(store), clock)


def made(caller: Caller, count: int = 60) -> None:
    for number in range(count):
        (caller.lapse if number % 10 == 9 else caller.call)()
        caller.clock.advance(caller.chance.randrange(3_600_000))
    caller.correct()
    caller.correct()


# pages

WHERES: list[dict[str, Any]] = [
    *({}, {"project": "p1"}, {"team": "t1", "status": 200}, {"end_user": "bob ☃"}, {"tag": "job=nightly"}),
    *({"member": "mem_1", "key": "k1"}, {"model": "small-2", "provider": "openai"}, {"operation": "nothing"}),
]


def paged(log: UsageLog, limit: int, **asked: Any) -> list[UsageRecord]:
    found: list[UsageRecord] = []
    cursor = None
    while True:
        page = log.page(ORG, limit=limit, cursor=cursor, **asked)
        assert len(page.records) <= limit
        found += page.records
        cursor = page.next_cursor
        if cursor is None:
            return found


@pytest.mark.parametrize("limit", [1, 7, 1000])
@pytest.mark.parametrize("where", WHERES)
def test_pages_are_the_records_that_the_totals_are_of(
    log: UsageLog, caller: Caller, limit: int, where: dict[str, Any]
) -> None:
    """To the nano-dollar, the token and the call, whatever they are narrowed by."""
    made(caller)
    for period in ({}, {"since": moment(NOON + DAY_MS // 3), "until": moment(NOON + DAY_MS)}):
        found = paged(log, limit, **period, **where)
        assert found == list(log.records(ORG, **period, **where))
        totals = log.totals(ORG, by=(), **period, **where)
        assert sum(total.cost for total in totals) == sum(record.cost for record in found)
        assert sum(total.calls for total in totals) == sum(not record.correction for record in found)
        tokens = sum(total.usage.total for total in totals)
        assert tokens == sum(record.usage.total for record in found)


def test_of_what_somebody_may_see_totals_and_records_are_the_same(log: UsageLog, caller: Caller) -> None:
    made(caller)
    only = Only(("project", "key"), lambda values: values[0] == "p1" or values[1] == "k1")
    found = [each for each in log.records(ORG) if each.project == "p1" or each.key == "k1"]
    assert paged(log, 5, only=only) == list(log.records(ORG, only=only)) == found
    for by in ((), ("model",), ("end_user",), ("tag", "status")):
        costs = {tuple(each.by.values()): each.cost for each in log.totals(ORG, by=by, only=only)}
        if by in ((), ("model",)):
            assert sum(costs.values()) == sum(record.cost for record in found)
        assert costs.keys() <= {tuple(each.by.values()) for each in log.totals(ORG, by=by)}
    (all_of_it,) = log.forecast(ORG, only=only)
    assert all_of_it.spent == sum(record.cost for record in found)


def test_a_page_looks_through_so_many_records_and_says_where_it_stopped(
    log: UsageLog, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "SCAN", 10)
    for _ in range(25):
        caller.call(project="p1")
    caller.call(project="rare")
    page = log.page(ORG, project="rare")
    assert page.records == []
    assert page.next_cursor is not None
    assert [each.project for each in paged(log, 5, project="rare")] == ["rare"]


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        *(({"limit": 0}, "limit"), ({"limit": 1001}, "limit"), ({"cursor": "x"}, "cursor")),
        *(({"cursor": "1-"}, "cursor"), ({"cursor": "١-١"}, "cursor"), ({"colour": "red"}, "by")),
    ],
)
def test_a_page_that_cannot_be_is_named(log: UsageLog, asked: Any, field: str) -> None:
    with pytest.raises(ConfigurationError) as error:
        log.page(ORG, **asked)
    assert error.value.field == field


# top lists


@pytest.mark.parametrize("order", ["cost", "calls", "tokens", "input", "output", "mean_ms", "mean_first_ms"])
def test_the_largest_come_first(log: UsageLog, caller: Caller, order: Any) -> None:
    made(caller)
    totals = {str(total.by["end_user"]): total for total in log.totals(ORG, by=("end_user",))}
    largest = {
        "cost": lambda total: total.cost,
        "calls": lambda total: total.calls,
        "tokens": lambda total: total.usage.input + total.usage.output,
        "input": lambda total: total.usage.input,
        "output": lambda total: total.usage.output,
        "mean_ms": lambda total: total.mean_ms,
        "mean_first_ms": lambda total: total.mean_first_ms,
    }[order]
    assert len({largest(total) for total in totals.values()}) == 3
    found = log.top(ORG, "end_user", limit=2, order=order)
    assert found == sorted(totals.values(), key=largest, reverse=True)[:2]


def test_an_order_that_there_is_not_is_named(log: UsageLog) -> None:
    for asked, field in (({"order": "size"}, "order"), ({"limit": 0}, "limit")):
        with pytest.raises(ConfigurationError) as error:
            log.top(ORG, **asked)  # type: ignore[arg-type]
        assert error.value.field == field


# forecasts


def test_a_forecast_is_made_of_the_period_so_far_and_the_last_seven_days(
    store: MemoryStore, log: UsageLog, caller: Caller, clock: FakeClock
) -> None:
    """June 2026, day by day; those before the last seven do not say how it goes on."""
    clock.now = int(datetime(2026, 5, 28, 9, tzinfo=UTC).timestamp() * 1000)
    costs: list[tuple[int, str, int]] = []
    for day in range(20):
        for project in ("p1", "p2"):
            if project == "p1" or day > 15:
                caller.call(project=project)
                costs.append((clock.now, project, store._orgs[ORG].rows[-1][1].real[1]))
        clock.advance(DAY_MS)
    now = clock.now
    begin, end = (int(datetime(2026, month, 1, tzinfo=UTC).timestamp() * 1000) for month in (6, 7))
    week = (now - 7 * DAY_MS) // 3_600_000 * 3_600_000  # its hour is not cut

    def expected(project: str | None) -> tuple[int, int]:
        own = [(at, cost) for at, name, cost in costs if project in (None, name)]
        spent = sum(cost for at, cost in own if begin <= at)
        recent = [(at, cost) for at, cost in own if week <= at]
        first = max(week, min(at for at, _ in recent) // DAY_MS * DAY_MS)
        return spent, spent + sum(cost for _, cost in recent) * (end - now) // (now - first)

    for _ in range(2):
        (found,) = log.forecast(ORG)
        assert (found.spent, found.expected) == expected(None)
        assert (found.begin, found.end, found.now) == (moment(begin), moment(end), moment(now))
        by_project = log.forecast(ORG, by=("project",))
        told = {each.by["project"]: (each.spent, each.expected) for each in by_project}
        assert told == {project: expected(project) for project in ("p1", "p2")}
        assert [each.expected for each in by_project] == sorted(
            (each.expected for each in by_project), reverse=True
        )
        (narrowed,) = log.forecast(ORG, project="p2")
        assert (narrowed.spent, narrowed.expected) == expected("p2")
        Folder(store).fold(ORG)


def test_the_period_is_one_of_the_zone(log: UsageLog, caller: Caller, clock: FakeClock) -> None:
    clock.now = int(datetime(2026, 6, 30, 20, tzinfo=UTC).timestamp() * 1000)
    caller.call()
    for zone, month in (("UTC", 6), ("Asia/Tokyo", 7)):
        (found,) = log.forecast(ORG, time_zone=zone)
        assert found.begin == datetime(2026, month, 1, tzinfo=UTC) - timedelta(hours=9 if month == 7 else 0)
    (week,) = log.forecast(ORG, period="week")
    assert week.begin == datetime(2026, 6, 29, tzinfo=UTC)


def test_of_nothing_the_forecast_is_nothing(log: UsageLog) -> None:
    (found,) = log.forecast(ORG)
    assert (found.spent, found.calls, found.expected, found.runs_out(1)) == (0, 0, 0, None)
    assert log.forecast(ORG, by=("project",)) == []
    for asked in ({"period": "fortnight"}, {"period": None}, {"by": ("colour",)}, {"time_zone": "Mars"}):
        with pytest.raises(ConfigurationError):
            log.forecast(ORG, **asked)  # type: ignore[arg-type]


# exports

NAMES = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\tx",
    "\rx",
    "\n=1",
    "＝1",
    "＋1",
    "－1",
    "＠SUM(A1)",
    "plain",
    'a "b", c\r\nd',
    "☃",
    "\ud800",
    " =1",
]


@pytest.fixture
def quota(clock: FakeClock) -> Iterator[Quota]:
    quota = a_quota("memory://", clock=clock, limits=["$100/day"])
    yield quota
    quota.close()


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


def test_csv_and_json_lines_tell_every_record(quota: Quota, clock: FakeClock) -> None:
    for cents, name in enumerate(NAMES):
        spend(quota, cents, Identity(end_user=name, tags={"job": name} if cents % 2 else {}))
        clock.advance(1)
    records = list(quota.blocking.usage.records())
    told = [json.loads(line) for line in quota.blocking.usage.export("jsonl")]
    assert [tuple(each) for each in told] == [RECORD_FIELDS] * len(records)
    table = rows("".join(quota.blocking.usage.export()))
    assert len(table) == len(told) == len(records) == len(NAMES)
    for record, line, row in zip(records, told, table, strict=True):
        assert line["end_user"] == record.end_user
        assert line["tags"] == dict(record.tags)
        assert (line["id"], line["status"], line["output"]) == (record.id, 200, record.usage.output)
        assert (line["cost_nano_usd"], line["cost_usd"]) == (record.cost, float(record.cost_usd))
        assert datetime.fromisoformat(line["at"]) == record.at
        assert Decimal(row["cost_usd"]) == record.cost_usd
        assert int(row["cost_nano_usd"]) == record.cost
        assert row["end_user"] == plain(str(record.end_user))
        assert (row["key"], row["stream"], row["at"]) == ("", "false", line["at"])


def test_no_cell_of_a_spreadsheet_is_a_formula(quota: Quota) -> None:
    """S12: whatever names are, as text; a number stays one."""
    for name in NAMES:
        spend(quota, 1, Identity(end_user=name, tags={name: name}))
    text = "".join(quota.blocking.usage.export("csv")) + "".join(
        quota.blocking.usage.export_totals("csv", by=("end_user", "tag"))
    )
    text.encode()
    for row in csv.reader(io.StringIO(text, newline="")):
        for cell in row:
            assert cell[:1] not in tuple("=+-@\t\r\n＝＋－＠") or cell.lstrip("-").replace(".", "").isdigit()
    assert [plain(name) == f"'{name}" for name in NAMES] == [True] * 11 + [False] * 5


def test_a_correction_that_takes_back_is_a_negative_number(log: UsageLog, caller: Caller) -> None:

    while True:
        caller.lapse()
        caller.correct()
        found = [record for record in log.records(ORG) if record.correction and record.cost < 0]
        if found:
            break
    (row,) = rows("".join(exporting.records("csv", found[:1])))
    assert int(row["cost_nano_usd"]) == found[0].cost < 0
    assert (row["correction"], row["first_token_ms"] in {"", str(found[0].first_token_ms)}) == ("true", True)


def test_totals_are_exported_with_their_dimensions_and_percentiles(quota: Quota) -> None:
    for name in ("ann", "ann", "=bob"):
        spend(quota, 2, Identity(end_user=name))
    (line, other) = map(
        json.loads, quota.blocking.usage.export_totals("jsonl", by=("end_user",), bucket="day")
    )
    assert tuple(line) == ("organization", "end_user", "bucket", *TOTAL_FIELDS)
    assert (line["end_user"], line["calls"], line["cost_usd"]) == ("ann", 2, 0.04)
    assert line["bucket"] == "2026-06-15T00:00:00.000Z"
    assert line["p95_ms"] == pytest.approx(line["p50_ms"], abs=1000)
    table = rows("".join(quota.blocking.usage.export_totals(by="end_user", bucket="day")))
    assert [row["end_user"] for row in table] == ["ann", "'=bob"]
    assert other["calls"] == 1


def test_a_format_that_there_is_not_is_named(quota: Quota) -> None:
    for export in (quota.blocking.usage.export, quota.blocking.usage.export_totals):
        with pytest.raises(ConfigurationError, match="'xlsx' is none of csv, jsonl"):
            export("xlsx")  # type: ignore[operator]


def test_an_export_reads_as_it_is_taken(
    log: UsageLog, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many records there are, a page of them is in memory."""

    monkeypatch.setattr(usage, "PAGE", 10)
    for _ in range(50):
        caller.call()
    read, source = [0], log._source.records

    def counted(*args: Any) -> Any:
        found = source(*args)
        read[0] += len(found)
        return found

    monkeypatch.setattr(log._source, "records", counted)
    lines = exporting.records("jsonl", log.records(ORG))
    assert read == [0]
    for taken in range(1, 51):
        next(lines)
        assert read[0] <= taken + 10


# the faces of a Quota


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_awaited_they_are_the_same(quota: Quota) -> None:
    for cents, name in ((1, "ann"), (2, "bob"), (3, "ann")):
        spend(quota, cents, Identity(end_user=name))
    awaited, blocking = quota.usage, quota.blocking.usage
    page = await awaited.page(limit=2)
    assert page == blocking.page(limit=2)
    assert (await awaited.page(limit=2, cursor=page.next_cursor)).records == list(blocking.records())[2:]
    assert await awaited.top("end_user", limit=1) == blocking.top("end_user", limit=1)
    assert [total.cost for total in await awaited.top("end_user", order="calls")] == [4 * CENT, 2 * CENT]
    assert await awaited.forecast(project="proj_app") == blocking.forecast(project="proj_app")
    assert [line async for line in awaited.export("jsonl")] == list(blocking.export("jsonl"))
    lines = [line async for line in awaited.export_totals(by=("end_user",), end_user="ann")]
    assert lines == list(blocking.export_totals(by=("end_user",), end_user="ann"))
    assert len(lines) == 2


def test_pages_go_on_from_one_organization_to_the_next(clock: FakeClock) -> None:
    with_all = a_quota("memory://", clock=clock, unattributed="allow")
    for org in ("a", "b", "c"):
        with_all.blocking.tenancy.create_organization(org, id=org)
        with_all.blocking.tenancy.create_project(org, "p", org=org, id=f"p_{org}")
        for _ in range(3 if org != "b" else 0):
            spend(with_all, by=Identity(project=f"p_{org}"))
    spend(with_all)
    face = with_all.blocking.usage
    everything = list(face.records())
    assert len(everything) == 7
    for limit in (1, 2, 3, 100):
        found: list[UsageRecord] = []
        cursor = None
        for _ in range(20):
            page = face.page(limit=limit, cursor=cursor)
            found += page.records
            cursor = page.next_cursor
            if cursor is None:
                break
        assert found == everything
    assert [each.organization for each in face.forecast()] == ["a", "c", "~unattributed"]
    assert [each.calls for each in face.forecast(organization="b")] == [0]
    assert len(face.top("project")) == 3
    with pytest.raises(ConfigurationError, match="cursor"):
        face.page(cursor="a/nonsense")
    with_all.close()


def test_the_time_to_the_first_token_is_recorded_and_told(
    quota: Quota, monkeypatch: pytest.MonkeyPatch
) -> None:

    now = [0.0]
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: now[0]))
    for first in (None, 250, 750):
        call = let_go(ask(quota, a_call(1, stream=first is not None)))
        if first is not None:
            now[0] += first / 1000
            call.generated()
            now[0] += 1
            call.generated()
        call.settle(Outcome(200, usage=Usage(output=1)))
    assert [record.first_token_ms for record in quota.blocking.usage.records()] == [None, 250, 750]
    (total,) = quota.blocking.usage.totals(by=())
    assert (total.streamed, total.first_ms, total.mean_first_ms, total.timed) == (2, 1000, 500.0, 3)
    assert total.percentile_first_ms(1.0) == pytest.approx(750, rel=0.05)
    assert total.percentile_ms(0.0) == 0.0


def test_forecasts_of_several_dimensions_are_those_of_each(
    store: MemoryStore, log: UsageLog, caller: Caller, clock: FakeClock
) -> None:
    made(caller, 200)
    sets: list[tuple[str, ...]] = [(), ("team",), ("project",), ("team", "project")]
    for _ in range(2):
        assert log.forecasts(ORG, by=sets) == [log.forecast(ORG, by=names) for names in sets]
        mixed: list[tuple[str, ...]] = [(), ("tag",), ("end_user",), ("model",)]
        assert log.forecasts(ORG, by=mixed, period="week") == [
            log.forecast(ORG, by=names, period="week") for names in mixed
        ]
        while Folder(store).fold(ORG):
            pass
