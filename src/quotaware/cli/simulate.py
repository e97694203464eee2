"""`quotaware simulate`: what recorded calls would have met under other limits. Nothing is changed."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .arguments import Called, Period, Since, Until, Where, span
from .failures import USAGE, Failure
from .printing import Column, money, number, portion, sparkline
from .printing import moment as when
from .session import Session


def reasons(called: Called) -> tuple[Column, ...]:
    """Of what denied calls."""
    return (
        Column("denied by", lambda reason: reason["limit"] or "a limit above"),
        Column("on", lambda reason: reason["on"] and called(reason["on"])),
        Column("calls", lambda reason: number(reason["requests"]), True),
    )


def alerts(called: Called) -> tuple[Column, ...]:
    """Of alerts that would have been due."""
    return (
        Column("alert", lambda alert: alert["alert"]),
        Column("limit", lambda alert: alert["limit"]),
        Column("on", lambda alert: called(alert["on"])),
        Column("at", lambda alert: when(alert["at"])),
    )


def simulate(
    to: Session,
    node: Where,
    limit: Annotated[
        list[str] | None, typer.Argument(help="What it has instead, such as '$50/month'.")
    ] = None,
    alert: Annotated[list[str], typer.Option("--alert", help="Such as '80% email'; repeat it.")] = [],  # noqa: B006
    period: Period = None,
    since: Since = None,
    until: Until = None,
) -> None:
    """What recorded calls would have met under other limits. Those below a node, had it other limits or alerts."""
    place = to.api.place(node)
    if place.kind == "key":
        raise Failure("Name a project, a team or the organization", USAGE)
    instead = {"limits": limit or None, "alerts": alert or None}
    plan = {place.id: {name: value for name, value in instead.items() if value is not None}}
    asked = {name: value for name, value in span(period, since, until).items() if value is not None}
    with to.out.progress("Deciding recorded calls once more") as told:
        to.api.heard = told
        found = to.api.post(f"{place.path}/simulate", {"plan": plan, **asked}, long=True)
    if to.out.json:
        to.out.data(found)
    else:
        _show(to, found)


def _show(to: Session, found: dict[str, Any]) -> None:
    total, days = found["total"], found["days"]
    to.out.facts(
        {
            "calls": f"{number(total['requests'])}, {money(total['cost'])}",
            "denied": f"{number(total['denied'])}, {money(total['denied_cost'])}",
            "clamped": number(total["clamped"]),
            "waited": number(total["waited"]),
            "over": number(total["over"]),
            "alerts": number(total["alerts"]),
        }
    )
    by_day: dict[str, list[float]] = {}
    for each in days:
        told = by_day.setdefault(each["date"], [0, 0, 0.0])
        for index, name in enumerate(("requests", "denied", "denied_cost")):
            told[index] += each[name]
    if by_day:
        to.out.line("denied by day ", sparkline([denied for _, denied, _ in by_day.values()]))
        most = max(calls for calls, _, _ in by_day.values())
        columns = [Column(title, str, title != "day") for title in ("day", "calls", "denied", "worth")]
        cells = [
            (day, number(calls), number(denied), money(cost), portion(denied, most))
            for day, (calls, denied, cost) in sorted(by_day.items())
        ]
        to.out.table([*columns, Column("", str)], cells)
    if found["reasons"]:
        to.out.tabulate(found["reasons"], reasons(to.api.called))
    if found["alerts"]:
        to.out.tabulate(found["alerts"], alerts(to.api.called))
