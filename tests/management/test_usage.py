"""What was used over the wire: the same figures as the Python face says, as far as the caller may see them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from typing import Any

import anyio
import pytest

from quotaware import StoreError, Usage
from quotaware.context import Identity
from quotaware.core.denials import iso
from quotaware.core.money import to_usd
from quotaware.management import app as management_app
from quotaware.management.usage_wire import Tokens
from quotaware.usage import UsageLog, UsageRecord
from tests.calls import CENT, a_call, ask, refused
from tests.management.world import DAY, HOUR, MODELS, World
from tests.sums import moment


def busy(world: World, calls: int = 40) -> None:
    """Calls of all projects, keys and models over three days."""
    for number in range(calls):
        project = world.projects[number % 4]
        key = [None, *world.keys[project]][number % 3]
        world.call(project, key=key, model=MODELS[number // 3 % 3], cents=number, ms=number * 40)
        world.api.clock.advance(2 * HOUR)


def dollars(nano: int) -> float:
    return float(to_usd(nano))


BYS = [
    "model",
    "project",
    "project,model",
    "key,status",
    "operation,provider",
    "end_user",
    "tag",
    "member,team",
]


def test_no_kind_of_tokens_is_left_out() -> None:
    assert list(Tokens.model_fields) == [field.name for field in fields(Usage)]


@pytest.mark.parametrize("by", BYS)
@pytest.mark.parametrize("bucket", [None, "day", "week", "6h"])
def test_totals_are_those_of_the_python_face(world: World, by: str, bucket: str | None) -> None:
    api = world.api
    busy(world)
    since, until = api.clock() - 70 * HOUR - 5, api.clock() - 3
    dims = by.split(",")
    query = "&".join([*(f"by={each}" for each in dims), f"from={iso(since)}", f"to={iso(until)}"])
    query += f"&bucket={bucket}&time_zone=Asia/Tokyo" if bucket else ""
    for path, where in (
        (f"/organizations/{api.org}", {}),
        ("/teams/red", {"team": world.teams[0]}),
        (f"/projects/{world.projects[1]}", {"project": world.projects[1]}),
    ):
        answer = api.ok("GET", f"{path}/usage?{query}")
        totals = api.quota.blocking.usage.totals(
            organization=api.org,
            since=moment(since),
            until=moment(until),
            by=tuple(dims),
            bucket=timedelta(hours=6) if bucket == "6h" else bucket,
            time_zone="Asia/Tokyo" if bucket else None,
            **where,
        )
        told = sorted(answer["data"], key=lambda row: (row["bucket"] or "", -row["cost"], str(row["by"])))
        assert [(row["by"], row["requests"], row["cost"]) for row in told] == [
            (dict(total.by), total.calls, dollars(total.cost)) for total in totals
        ]
        for row, total in zip(told, totals, strict=True):
            assert row["tokens"]["output"] == total.usage.output
            assert row["latency_ms"] == {
                "calls": total.timed,
                "mean": total.mean_ms,
                "p50": total.percentile_ms(0.5),
                "p95": total.percentile_ms(0.95),
            }
            assert row["first_token_ms"] == {"calls": 0, "mean": 0.0, "p50": None, "p95": None}
            assert row["bucket"] == (total.bucket and iso(int(total.bucket.timestamp() * 1000)))
        assert (answer["view"], answer["left_out"]) == ("full", 0)
        ids = {
            str(id)
            for row in told
            for name, id in row["by"].items()
            if name in ("team", "project", "key") and id
        }
        assert answer["names"].keys() == ids
        assert all(answer["names"].values())


def test_the_largest_come_first_in_the_order_asked_for(world: World) -> None:
    api = world.api
    busy(world)
    rows = api.ok("GET", "/teams/red/usage?by=key&order=mean_ms&limit=2")
    assert rows["left_out"] == 3
    means = [
        row["latency_ms"]["mean"] for row in api.ok("GET", "/teams/red/usage?by=key&order=mean_ms")["data"]
    ]
    assert [row["latency_ms"]["mean"] for row in rows["data"]] == sorted(means, reverse=True)[:2]
    days = api.ok("GET", "/teams/red/usage?by=model&bucket=day&order=calls")["data"]
    assert [row["bucket"] for row in days] == sorted(row["bucket"] for row in days)


def test_what_is_narrowed_is_narrowed_in_all_of_them(world: World) -> None:
    api = world.api
    busy(world)
    live, key = world.projects[0], world.keys[world.projects[0]][0]
    narrow = f"model=small&key={key}&status=200&period=30d"
    own = [call for call in world.calls if call.key == key and call.model == "small"]
    assert own
    (row,) = api.ok("GET", f"/projects/{live}/usage?{narrow}")["data"]
    assert (row["requests"], row["cost"]) == (len(own), dollars(sum(call.cents for call in own) * CENT))
    records = api.ok("GET", f"/teams/red/usage/records?{narrow}")
    assert [each["cost"] for each in records["data"]] == [dollars(call.cents * CENT) for call in own]
    assert {each["project"] for each in records["data"]} == {live}
    assert api.ok("GET", f"/teams/red/usage?{narrow}&environment=test")["data"] == []
    assert api.ok("GET", "/teams/red/usage/records?environment=test&model=small")["data"]


def test_records_are_told_page_by_page(world: World) -> None:
    api = world.api
    busy(world)
    found: list[Any] = []
    cursor = ""
    while True:
        page = api.ok("GET", f"/organizations/{api.org}/usage/records?limit=7{cursor}")
        found += page["data"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    records: list[UsageRecord] = list(api.quota.blocking.usage.records(organization=api.org))
    assert [each["id"] for each in found] == [record.id for record in records]
    for each, record in zip(found, records, strict=True):
        assert each["at"] == iso(int(record.at.timestamp() * 1000))
        assert (each["key"], each["project"], each["model"]) == (record.key, record.project, record.model)
        assert (each["cost"], each["latency_ms"]) == (dollars(record.cost), record.duration_ms)
        assert each["tokens"]["output"] == record.usage.output


def test_denied_calls_are_told_by_reason_over_time(world: World) -> None:
    api = world.api
    live = world.projects[0]
    api.tenancy.update(api.org, live, models=["small"])
    for _ in range(3):
        refused(ask(api.quota, a_call(1, model="large"), Identity(live)))
        api.clock.advance(DAY)
    answer = api.ok("GET", "/teams/red/usage/denied?by=code&by=project&bucket=day")
    assert [row["requests"] for row in answer["data"]] == [1, 1, 1]
    assert answer["data"][0]["by"] == {"code": "model_not_allowed", "project": live}
    assert answer["names"] == {live: "red-live"}
    assert api.ok("GET", "/teams/red/usage/denied?code=disabled")["data"] == []
    viewer = api.key(world.teams[0], "analytics:read:aggregate")
    assert api.ok("GET", "/teams/red/usage/denied", key=viewer)["data"][0]["requests"] == 3
    assert api.error("GET", "/teams/red/usage/denied?by=key", key=viewer)["status"] == 403


def test_a_forecast_is_held_against_the_nodes_own_budget(world: World) -> None:
    api = world.api
    live = world.projects[0]
    for _ in range(7):
        world.call(live, cents=29)
        world.call(world.projects[1], cents=1)
        api.clock.advance(DAY)
    none = api.ok("GET", f"/projects/{live}/usage/forecast")
    assert (none["budget"], none["runs_out_at"]) == (None, None)
    api.tenancy.update(api.org, live, limits=["$3/month", "$2/week", "$1/month for small"])
    (face,) = api.quota.blocking.usage.forecast(organization=api.org, project=live)
    told = api.ok("GET", f"/projects/{live}/usage/forecast?by=model")
    assert told["total"] == {
        "by": {},
        "requests": 7,
        "spent": 2.03,
        "pace_per_day": dollars(face.pace),
        "expected": dollars(face.expected),
    }
    assert told["data"] == [{**told["total"], "by": {"model": "small"}}]
    assert told["budget"] == 3.0
    out = face.runs_out(3 * 10**9)
    assert out is not None
    assert told["runs_out_at"] == iso(int(out.timestamp() * 1000))
    assert (told["begins_at"], told["ends_at"]) == ("2026-06-01T00:00:00Z", "2026-07-01T00:00:00Z")
    test_only = api.ok("GET", "/teams/red/usage/forecast?environment=test&by=project")
    assert (test_only["total"]["spent"], test_only["names"]) == (0.07, {world.projects[1]: "red-trial"})
    blind = api.key(live, "analytics:full")
    assert api.ok("GET", f"/projects/{live}/usage/forecast", key=blind)["budget"] is None
    assert api.ok("GET", f"/projects/{live}/usage/forecast?period=week")["budget"] == 2.0


# files


@pytest.mark.parametrize(
    "query", ["format=csv", "format=jsonl", "of=totals&by=project&bucket=day", "of=totals&format=jsonl"]
)
def test_a_file_is_what_the_python_face_writes(
    world: World, query: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(management_app, "CHUNK", 300)
    api = world.api
    busy(world)
    response = api("GET", f"/organizations/{api.org}/usage/export?period=30d&{query}")
    assert response.status_code == 200
    face, kind = api.quota.blocking.usage, "jsonl" if "jsonl" in query else "csv"
    if "totals" in query:
        more = {"by": ("project",), "bucket": "day"} if "bucket" in query else {}
        since = moment((api.clock() + 1 - 30 * DAY) // HOUR * HOUR)
        lines = face.export_totals(
            kind, organization=api.org, since=since, until=moment(api.clock() + 1), **more
        )
    else:
        lines = face.export(kind, organization=api.org)
    assert response.content.decode() == "".join(lines)
    assert response.headers["content-type"] == (
        "application/x-ndjson" if kind == "jsonl" else "text/csv; charset=utf-8"
    )
    of = "totals" if "totals" in query else "records"
    assert response.headers["content-disposition"] == f'attachment; filename="{of}-{api.org}.{kind}"'
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert api("HEAD", f"/organizations/{api.org}/usage/export?{query}").content == b""


def test_a_file_of_nothing_is_a_line_of_names(world: World) -> None:
    (names,) = csv.reader(io.StringIO(world.api("GET", "/teams/red/usage/export").text, newline=""))
    assert names[:2] == ["id", "at"]
    assert world.api("GET", "/teams/red/usage/export?format=jsonl").content == b""


def failing(after: int) -> Any:
    def records(self: UsageLog, org: str, **asked: Any) -> Iterator[Any]:
        for number, record in enumerate(original(self, org, **asked)):
            if number == after:
                raise StoreError("gone")
            yield record

    original = UsageLog.records
    return records


def test_what_fails_before_anything_is_sent_has_its_status(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy(world, 10)
    monkeypatch.setattr(UsageLog, "records", failing(0))
    monkeypatch.setattr(management_app, "CHUNK", 1 << 30)
    assert world.api.error("GET", "/teams/red/usage/export")["status"] == 503


async def told(world: World, gone_after: int | None = None) -> list[Any]:
    """What a server is sent; whoever asked may be gone after so many pieces of the body."""
    api, sent, gone, asked = world.api, [], anyio.Event(), [False]

    async def receive() -> Any:
        if not asked[0]:
            asked[0] = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)
        if gone_after is not None and len(sent) > gone_after:
            gone.set()
            await anyio.sleep(0)

    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/organizations/{api.org}/usage/export",
        "query_string": b"format=jsonl",
        "headers": [(b"authorization", f"Bearer {api.admin}".encode())],
    }
    await api.quota.management()(scope, receive, send)
    return sent


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_what_breaks_off_in_the_middle_is_not_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server is told, and cuts the connection: nobody takes a part for the whole."""
    busy(world, 10)
    monkeypatch.setattr(management_app, "CHUNK", 1)
    sent = await told(world)
    assert [json.loads(each["body"])["id"] for each in sent[1:-1]] == [
        record.id for record in world.api.quota.blocking.usage.records(organization=world.api.org)
    ]
    assert not sent[-1].get("more_body")
    monkeypatch.setattr(UsageLog, "records", failing(5))
    with pytest.raises(StoreError):
        await told(world)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_nothing_is_read_for_who_is_gone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    busy(world, 40)
    monkeypatch.setattr(management_app, "CHUNK", 1)
    assert len(await told(world, gone_after=5)) < 10


# who sees what


def test_own_is_the_same_in_all_of_them(world: World) -> None:
    """Totals, records, files and forecasts of whoever has a project and a key of his own."""
    api = world.api
    busy(world)
    live, trial, other, _ = world.projects
    own = api.key(live, "analytics:own")
    node = api.tenancy.create_key(world.teams[0], permissions=["analytics:own"], name="narrow")
    mine = [call for call in world.calls if call.project == live]
    cost = dollars(sum(call.cents for call in mine) * CENT)
    path = f"/projects/{live}/usage"
    for by in BYS:
        query = "&".join(f"by={each}" for each in by.split(","))
        answer = api.ok("GET", f"{path}?{query}", key=own)
        assert answer["view"] == "own"
        if by != "tag":
            assert sum(row["requests"] for row in answer["data"]) == len(mine)
    assert len(api.ok("GET", f"{path}/records", key=own)["data"]) == len(mine)
    assert api("GET", f"{path}/export?format=jsonl", key=own).text.count("\n") == len(mine)
    forecast = api.ok("GET", f"{path}/forecast?by=key", key=own)
    assert (forecast["total"]["spent"], forecast["budget"]) == (cost, None)
    for what in ("", "/records", "/denied", "/forecast"):
        answer = api.ok("GET", f"/teams/red/usage{what}", key=node.secret)
        assert (answer["view"], answer["data"]) == ("own", [] if what else answer["data"])
        assert api.error("GET", f"/projects/{trial}/usage{what}", key=own)["status"] == 403
        assert api.error("GET", f"/projects/{other}/usage{what}", key=own)["status"] == 403


@pytest.mark.parametrize("what", ["", "/denied", "/export", "/forecast"])
@pytest.mark.parametrize("dim", ["key", "member", "end_user", "tag"])
def test_aggregate_shows_no_key_and_no_person(world: World, what: str, dim: str) -> None:
    """Neither by it, nor narrowed to it; nor single calls."""
    api = world.api
    busy(world, 8)
    viewer = api.key(world.teams[0], "analytics:read:aggregate")
    of = "of=totals&" if what == "/export" else ""
    assert api("GET", f"/teams/red/usage{what}?{of}", key=viewer).status_code == 200
    if not (what == "/denied" and dim != "key"):
        error = api.error("GET", f"/teams/red/usage{what}?{of}by={dim}", key=viewer)
        assert (error["status"], error["permission"]) == (403, "analytics:own")
    if what in ("", "/export"):
        value = "a=b" if dim == "tag" else "x"
        assert api.error("GET", f"/teams/red/usage{what}?{of}{dim}={value}", key=viewer)["status"] == 403
    for single in ("/records", "/export"):
        assert api.error("GET", f"/teams/red/usage{single}", key=viewer)["status"] == 403


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("?by=colour", "by[0]"),
        ("?bucket=fortnight", "bucket"),
        ("?bucket=0h", "bucket"),
        ("?bucket=1m&period=30d", "bucket"),
        ("?time_zone=Mars", "time_zone"),
        ("?order=size", "order"),
        ("?limit=0", "limit"),
        ("?status=ok", "status"),
        ("?team=elsewhere", "team"),
        ("?period=30d&from=2026-01-01T00:00:00Z", "period"),
        ("/records?limit=1001", "limit"),
        ("/records?cursor=x", "cursor"),
        ("/denied?by=status", "by[0]"),
        ("/export?format=xlsx", "format"),
        ("/export?of=keys", "of"),
        ("/forecast?period=fortnight", "period"),
        ("/forecast?time_zone=Mars", "time_zone"),
    ],
)
def test_what_cannot_be_asked_is_named(world: World, path: str, field: str) -> None:
    error = world.api.error("GET", f"/teams/red/usage{path}")
    assert (error["status"], error["errors"][0]["field"]) == (422, field)
