"""`quotaware usage`: what was used below a node: totals, denied calls, single records, a forecast, and files."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, TextIO

import typer

from .arguments import Anywhere, Period, Since, Until, span
from .client import Place
from .failures import USAGE, Failure
from .printing import Column, money, number, portion, sparkline
from .printing import moment as when
from .session import Session

What = Literal["totals", "denied", "records", "forecast"]
BY: Mapping[str, list[str]] = {"totals": ["model"], "denied": ["code"], "forecast": []}
"""What is told apart where nothing is said."""


def usage(
    to: Session,
    node: Anywhere = None,
    what: Annotated[What, typer.Option(help="What to show.")] = "totals",
    by: Annotated[
        list[str] | None,
        typer.Option("--by", help="Apart by team, project, key, member, provider, model, …; repeat it."),
    ] = None,
    bucket: Annotated[
        str | None, typer.Option(help="In steps of time: hour to year, or 15m, 6h, 2d.")
    ] = None,
    period: Period = None,
    since: Since = None,
    until: Until = None,
    environment: Annotated[str | None, typer.Option(help="Of projects in this one only.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most lines.")] = 100,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", help="Write all records or totals into this file; - is stdout."),
    ] = None,
    format: Annotated[Literal["csv", "jsonl"], typer.Option(help="Of the file.")] = "csv",
) -> None:
    """What was used below a node: by model, or as it is said."""
    place = to.api.place(node)
    if place.kind == "key":
        raise Failure(
            "Name a project, a team or the organization; of a key see `quotaware keys usage`", USAGE
        )
    asked = {**span(period, since, until), "environment": environment}
    apart = by if by is not None else BY.get(what)
    if file is not None:
        if what not in {"totals", "records"}:
            raise Failure("A file is of --what records or totals", USAGE)
        _write(to, place, file, {**asked, "of": what, "format": format, "by": apart, "bucket": bucket})
    elif what == "totals":
        _totals(to, place, {**asked, "by": apart, "bucket": bucket, "limit": limit})
    elif what == "denied":
        _denied(to, place, {**asked, "by": apart, "bucket": bucket, "limit": limit})
    elif what == "records":
        _records(to, place, {**asked, "limit": limit})
    else:
        _forecast(to, place, {"by": apart, "environment": environment})


def _totals(to: Session, place: Place, asked: dict[str, Any]) -> None:
    found = to.api.get(f"{place.path}/usage", **asked)
    if to.out.json:
        to.out.data(found)
        return
    data = found["data"]
    if not data:
        to.out.aside("No calls.")
        return
    to.out.line(
        f"{place.kind} {place.name}:",
        f"{number(sum(each['requests'] for each in data))} requests, {money(sum(each['cost'] for each in data))}",
    )
    if asked["bucket"] is None:
        days = {"bucket": "day", "by": ["provider"], "limit": 10_000}
        _course(to, to.api.get(f"{place.path}/usage", **{**asked, **days})["data"])
    most = max(each["cost"] for each in data)
    columns = [
        *_apart(asked),
        Column("requests", str, True),
        Column("tokens in", str, True),
        Column("out", str, True),
        Column("p50 ms", str, True),
        Column("cost", str, True),
        Column("", str),
    ]
    cells = [
        (
            *_named(each, asked, found["names"]),
            number(each["requests"]),
            number(each["tokens"]["input"]),
            number(each["tokens"]["output"]),
            number(each["latency_ms"]["p50"]),
            money(each["cost"]),
            portion(each["cost"], most),
        )
        for each in data
    ]
    to.out.table(columns, cells)
    _left_out(to, found)


def _course(to: Session, days: list[dict[str, Any]]) -> None:
    """The cost of each day with calls, as a line."""
    costs: dict[str, float] = {}
    for each in days:
        costs[each["bucket"]] = costs.get(each["bucket"], 0) + each["cost"]
    if len(costs) > 1:
        first, last = when(min(costs))[:10], when(max(costs))[:10]
        to.out.line(f"{first} – {last}", sparkline([cost for _, cost in sorted(costs.items())]))


def _denied(to: Session, place: Place, asked: dict[str, Any]) -> None:
    found = to.api.get(f"{place.path}/usage/denied", **asked)
    if to.out.json:
        to.out.data(found)
        return
    if not found["data"]:
        to.out.aside("No calls were denied.")
        return
    most = max(each["requests"] for each in found["data"])
    cells = [
        (*_named(each, asked, found["names"]), number(each["requests"]), portion(each["requests"], most))
        for each in found["data"]
    ]
    to.out.table([*_apart(asked), Column("denied", str, True), Column("", str)], cells)
    _left_out(to, found)


RECORDS = (
    Column("at", lambda record: when(record["at"])),
    Column("project", lambda record: record["project"]),
    Column("key", lambda record: record["key"]),
    Column("end user", lambda record: record["end_user"]),
    Column("model", lambda record: record["model"]),
    Column("status", lambda record: record["status"], True),
    Column("in", lambda record: number(record["tokens"]["input"]), True),
    Column("out", lambda record: number(record["tokens"]["output"]), True),
    Column("ms", lambda record: number(record["latency_ms"]), True),
    Column("cost", lambda record: money(record["cost"]), True),
    Column("quality", lambda record: record["quality"]),
)


def _records(to: Session, place: Place, asked: dict[str, Any]) -> None:
    most = asked.pop("limit")
    found = to.api.pages(f"{place.path}/usage/records", most=most, **asked)
    to.out.rows(found, RECORDS, "No calls.")


def _forecast(to: Session, place: Place, asked: dict[str, Any]) -> None:
    found = to.api.get(f"{place.path}/usage/forecast", **asked)
    if to.out.json:
        to.out.data(found)
        return
    total = found["total"]
    to.out.facts(
        {
            "until": when(found["ends_at"]),
            "spent": money(total["spent"]),
            "a day": money(total["pace_per_day"]),
            "expected": money(total["expected"]),
            "budget": (found["budget"] is not None and money(found["budget"])) or None,
            "runs out": found["runs_out_at"] and when(found["runs_out_at"]),
        }
    )
    if asked["by"]:
        columns = [*_apart(asked), *(Column(title, str, True) for title in ("spent", "a day", "expected"))]
        cells = [
            (
                *_named(each, asked, found["names"]),
                *(money(each[name]) for name in ("spent", "pace_per_day", "expected")),
            )
            for each in found["data"]
        ]
        to.out.table(columns, cells)


def _write(to: Session, place: Place, file: str, asked: dict[str, Any]) -> None:
    text = to.api.text(f"{place.path}/usage/export", **asked)
    if file == "-":
        for piece in text:
            sys.stdout.write(piece)
        return
    path = Path(file)
    lines = 0
    with to.out.progress(f"Writing {path.name}", unit="lines") as told, _whole(path) as kept:
        for piece in text:
            kept.write(piece)
            lines += piece.count("\n")
            told(lines)
    rows = lines - (asked["format"] == "csv")
    to.out.done(f"{number(rows)} {asked['of']} in {path}", {"file": str(path), asked["of"]: rows})


@contextmanager
def _whole(path: Path) -> Iterator[TextIO]:
    """A file that is there as a whole or not at all; a pipe or a device is written into as it is."""
    if path.exists() and not path.is_file():
        with path.open("w", newline="") as kept:
            yield kept
        return
    path = path.resolve()  # what a link leads to
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("w", newline="") as kept:
            yield kept
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _apart(asked: dict[str, Any]) -> Iterator[Column]:
    if asked.get("bucket") is not None:
        yield Column("from", str)
    for name in asked["by"]:
        yield Column(name.replace("_", " "), str)


def _named(each: dict[str, Any], asked: dict[str, Any], names: Mapping[str, str | None]) -> Iterator[Any]:
    if asked.get("bucket") is not None:
        yield when(each["bucket"])
    for name in asked["by"]:
        value = each["by"].get(name)
        yield names.get(value) or value if isinstance(value, str) else value


def _left_out(to: Session, found: dict[str, Any]) -> None:
    if found["left_out"]:
        to.out.aside(f"{number(found['left_out'])} more are left out; see --limit")
