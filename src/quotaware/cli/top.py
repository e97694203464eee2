"""`quotaware top`: spend, calls and denials by project, as they happen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

import httpx
import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from .arguments import Anywhere
from .client import Client, Place
from .failures import AWAY, USAGE, Failure
from .keyboard import Keyboard
from .printing import Column, Printer, bar, money, number, sparkline
from .session import Session

Order = Literal["cost", "requests", "denied"]

COURSE = 12
"""Bars of the line of an hour's calls: one for five minutes."""
STEP = timedelta(minutes=5)
AROUND = 6
"""Lines of a live view beside its projects."""
ORDERS: Mapping[str, Order] = {"s": "cost", "c": "requests", "d": "denied"}
HELP = "q quits; by s spend, c calls, d denied"


def _denied(row: Mapping[str, Any]) -> Text:
    return Text(number(row["denied"]), style="red" if row["denied"] else "")


def _used(row: Mapping[str, Any]) -> Text:
    budget = row["budget"]
    return bar(budget["used"], budget["in_force"]) if budget else Text("")


COLUMNS = (
    Column("project", lambda row: row["name"] or row["id"]),
    Column("cost", lambda row: money(row["cost"]), True),
    Column("calls", lambda row: number(row["requests"]), True),
    Column("denied", _denied, True),
    Column("mostly for", lambda row: row["denied_for"] or ""),
    Column("last hour", lambda row: sparkline(row["last_hour"])),
    Column("tightest budget", lambda row: row["budget"]["rule"] if row["budget"] else ""),
    Column("used", _used),
)


LESS = (
    (),
    {"mostly for"},
    {"mostly for", "last hour"},
    {"mostly for", "last hour", "tightest budget", "used"},
)
"""Columns that a narrower terminal goes without."""


def top(
    to: Session,
    node: Anywhere = None,
    period: Annotated[str, typer.Option(help="Of the last days or hours, such as 7d or 1h.")] = "24h",
    order: Annotated[Order, typer.Option(help="The largest first.")] = "cost",
    limit: Annotated[int, typer.Option(min=1, max=200, help="The most projects.")] = 20,
    every: Annotated[float, typer.Option(min=0.2, help="Look again after so many seconds.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print it once; so where nobody looks on.")] = False,
) -> None:
    """Spend, calls and denials by project, live: q quits."""
    place = to.api.place(node)
    if place.kind == "key":
        raise Failure("Name a project, a team or the organization", USAGE)
    if to.out.json:
        to.out.data(look(to.api, place, period, order, limit))
    elif once or not to.out.live:
        seen = look(to.api, place, period, order, limit)
        to.out.line(_heading(seen))
        to.out.table(COLUMNS, _cells(seen))
    else:
        _watch(to, place, period, order, limit, every)


def look(api: Client, place: Place, period: str, order: Order, limit: int) -> dict[str, Any]:
    """What there is to see now: of the node, and of the projects that come first."""
    path = f"{place.path}/usage"
    used = api.get(path, by=["project"], period=period, limit=10_000)
    refused = api.get(f"{path}/denied", by=["project", "code"], period=period, limit=10_000)
    names = {**used["names"], **refused["names"]}
    found: dict[str | None, dict[str, Any]] = {}

    def of(id: str | None) -> dict[str, Any]:
        empty: dict[str, Any] = {
            "id": id,
            "name": names.get(id or ""),
            "cost": 0.0,
            "requests": 0,
            "denied": 0,
        }
        return found.setdefault(id, {**empty, "denied_for": None, "last_hour": [0] * COURSE, "budget": None})

    for total in used["data"]:
        row = of(total["by"]["project"])
        row["cost"], row["requests"] = total["cost"], total["requests"]
    for total in sorted(refused["data"], key=lambda total: -total["requests"]):
        row = of(total["by"]["project"])
        row["denied"] += total["requests"]
        row["denied_for"] = row["denied_for"] or total["by"]["code"]
    rows = sorted(found.values(), key=lambda row: (-row[order], -row["requests"], row["name"] or ""))
    told = {name: sum(row[name] for row in rows) for name in ("cost", "requests", "denied")}
    rows, left_out = rows[:limit], len(rows[limit:])
    now = datetime.now(UTC)
    _courses(api, path, {row["id"]: row for row in rows}, now)
    for row in rows:
        row["budget"] = _budget(api, row["id"]) if row["id"] is not None else None
    at = now.isoformat(timespec="seconds").replace("+00:00", "Z")
    node = {"kind": place.kind, "id": place.id, "name": place.name}
    return {"at": at, "node": node, "period": period, **told, "projects": rows, "left_out": left_out}


def _courses(api: Client, path: str, rows: Mapping[str | None, dict[str, Any]], now: datetime) -> None:
    """Adds the calls of the last hour to the rows."""
    end = now.replace(minute=now.minute // 5 * 5, second=0, microsecond=0) + STEP
    begin = end - COURSE * STEP
    since = begin.isoformat().replace("+00:00", "Z")
    asked = {"by": ["project"], "bucket": "5m", "time_zone": "UTC", "limit": 10_000, "from": since}
    for total in api.get(path, **asked)["data"]:
        at = (datetime.fromisoformat(total["bucket"]) - begin) // STEP
        row = rows.get(total["by"]["project"])
        if row is not None and 0 <= at < COURSE:
            row["last_hour"][at] += total["requests"]


def _budget(api: Client, project: str) -> dict[str, Any] | None:
    """The hard budget of a project that most is used of."""
    try:
        limits = api.get(f"/projects/{project}/limits")["data"]
    except Failure as failure:
        if failure.error.get("type") in {"not_found", "permission_denied"}:
            return None  # it is gone, or its limits are not for these eyes
        raise
    shares = [
        (limit["used"] / limit["in_force"] if limit["in_force"] else 1.0, at)
        for at, limit in enumerate(limits)
        if limit["metric"] == "cost" and limit["mode"] == "hard" and limit["used"] is not None
    ]
    if not shares:
        return None
    tightest = limits[max(shares)[1]]
    return {name: tightest[name] for name in ("rule", "used", "in_force", "resets_at")}


# what a person sees


def _heading(seen: Mapping[str, Any]) -> str:
    node = seen["node"]
    figures = f"{money(seen['cost'])}, {number(seen['requests'])} calls, {number(seen['denied'])} denied"
    return f"{node['kind']} {node['name']}, {seen['period']}: {figures}"


def _cells(seen: Mapping[str, Any], columns: Sequence[Column] = COLUMNS) -> list[list[Any]]:
    return [[column.of(row) for column in columns] for row in seen["projects"]]


def _table(out: Printer, seen: Mapping[str, Any]) -> Table:
    """As much as fits side by side."""
    for less in LESS:
        columns = [column for column in COLUMNS if column.title not in less]
        table = out.made_table(columns, _cells(seen, columns))
        if out.fits(table):
            break
    return table


def _view(out: Printer, seen: Mapping[str, Any] | None, said: str) -> Group:
    """The whole screen."""
    if seen is None:
        return Group(out.text(said))
    more = f"{number(seen['left_out'])} more; see --limit" if seen["left_out"] else ""
    table = _table(out, seen)
    return Group(
        out.text(_heading(seen), "bold"), Text(""), table, out.text(more, "dim"), out.text(said, "dim")
    )


def _watch(to: Session, place: Place, period: str, order: Order, limit: int, every: float) -> None:
    """Looks again and again, until a person has seen enough."""
    seen: dict[str, Any] | None = None
    with suppress(KeyboardInterrupt), Keyboard() as keyboard, to.out.screen() as screen:
        while True:
            said, most = HELP, max(1, min(limit, screen.lines - AROUND))
            try:
                seen = look(to.api, place, period, order, most)
            except (Failure, httpx.HTTPError) as error:
                if isinstance(error, Failure) and error.code != AWAY:
                    raise
                said = f"It cannot be reached ({error}); trying again. {HELP}"
            screen.show(_view(to.out, seen, said))
            key = keyboard.wait(every)
            if key == "q":
                return
            order = ORDERS.get(key, order)
