"""`quotaware limits`: limits of any kind on any node, and where they stand."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from ..core.limits import Limit
from ..core.money import to_usd
from .arguments import Anywhere, Where, Yes
from .client import Place
from .printing import Column, bar, money, number
from .printing import moment as when
from .session import Session, command

app = typer.Typer(name="limits", help="Limits and where they stand.", no_args_is_help=True)

Shape = Annotated[
    str,
    typer.Argument(
        help="A limit without its amount, such as cost/month or requests/day.", show_default=False
    ),
]
Mode = Annotated[str | None, typer.Option(help="hard, soft or shadow, where there are several of one shape.")]


def amount(limit: dict[str, Any], field: str) -> str:
    """A figure of a limit, in its own unit."""
    value = limit[field]
    return money(value) if limit["metric"] == "cost" else number(value)


COLUMNS = (
    Column("limit", lambda limit: limit["rule"]),
    Column("used", lambda limit: amount(limit, "used"), True),
    Column("held", lambda limit: amount(limit, "held"), True),
    Column("of", lambda limit: amount(limit, "in_force"), True),
    Column("", lambda limit: bar(limit["used"], limit["in_force"])),
    Column("resets", lambda limit: when(limit["resets_at"])),
)

ON = Column("on", lambda limit: f"{limit['on']['kind']} {limit['on']['name']}")


@command(app, "list")
def list_limits(
    to: Session,
    node: Anywhere = None,
    below: Annotated[bool, typer.Option("--below", help="Also of all teams and projects below it.")] = False,
) -> None:
    """The limits of a node, with what is used and held of each."""
    place = to.api.place(node)
    if below:
        nobody = f"There is no limit on {place.kind} '{place.name}' or below."
        to.out.rows(_limits_below(to, place), (ON, *COLUMNS), nobody)
        return
    to.out.rows(_limits(to, place), COLUMNS, f"There is no limit on {place.kind} '{place.name}'.")


@command(app, "set")
def set_limit(
    to: Session,
    node: Where,
    limit: Annotated[
        str, typer.Argument(help="Such as '$50/month' or '60 requests/minute'.", show_default=False)
    ],
) -> None:
    """Sets a limit on a node: one of the same shape and mode gets the new amount, all others stay."""
    new = Limit.parse(limit)
    place = to.api.place(node)
    if any((each["shape"], each["mode"]) == (new.shape, new.mode) for each in _limits(to, place)):
        value = float(to_usd(new.amount)) if new.metric == "cost" else new.amount
        body = {**figure(new.metric, value), "carryover": new.carryover}
        told = to.api.patch(_path(place, new.shape), body, mode=new.mode)
    else:
        told = to.api.post(f"{place.path}/limits", {"limit": str(new)})
    to.out.one(told, COLUMNS)


@command(app, "remove")
def remove(to: Session, node: Where, shape: Shape, mode: Mode = None, yes: Yes = False) -> None:
    """Takes a limit away: calls go without it at once."""
    place = to.api.place(node)
    to.confirm(f"Calls of {place.kind} '{place.name}' go without a limit on {shape}. Remove it?", yes)
    to.api.delete(_path(place, shape), mode=mode)
    to.out.done(f"Removed {shape} from {place.kind} '{place.name}'.", {"node": place.id, "removed": shape})


OVERRIDES = (
    Column("limit", lambda override: override["limit"]),
    Column(
        "amount",
        lambda override: (
            number(override["amount"]) if override["amount_usd"] is None else money(override["amount_usd"])
        ),
        True,
    ),
    Column("from", lambda override: when(override["since"])),
    Column("until", lambda override: when(override["until"])),
    Column("state", lambda override: override["state"]),
)


@command(app, "overrides")
def overrides(to: Session, node: Anywhere = None) -> None:
    """Other amounts of a node's limits, in this period or the next ones."""
    place = to.api.place(node)
    found = to.api.get(f"{place.path}/overrides")["data"]
    to.out.rows(found, OVERRIDES, f"There is no override on {place.kind} '{place.name}'.")


@command(app, "override")
def override(
    to: Session,
    node: Where,
    shape: Shape,
    amount: Annotated[
        float, typer.Argument(help="US dollars of a limit on cost, else a number.", show_default=False)
    ],
    periods: Annotated[int, typer.Option(min=1, help="For so many periods.")] = 1,
    skip: Annotated[int, typer.Option(min=0, help="Beginning so many periods from now.")] = 0,
) -> None:
    """Gives a limit another amount for some periods, from the current one on."""
    place = to.api.place(node)
    body = {"limit": shape, **figure(shape, amount), "periods": periods, "skip": skip}
    told = to.api.post(f"{place.path}/overrides", body)
    to.out.done(f"{shape} of {place.kind} '{place.name}' has another amount.", told)


@command(app, "restore")
def restore(to: Session, node: Where, shape: Shape) -> None:
    """Ends all overrides of a limit: it has its own amount again, at once."""
    place = to.api.place(node)
    to.api.delete(f"{place.path}/overrides", limit=shape)
    to.out.done(
        f"{shape} of {place.kind} '{place.name}' has its own amount.", {"node": place.id, "limit": shape}
    )


def figure(shape: str, amount: float) -> dict[str, Any]:
    """An amount in the field that the API has for a limit of this shape."""
    if shape.startswith("cost"):
        return {"amount_usd": amount}
    return {"amount": int(amount) if amount == int(amount) else amount}


def _limits(to: Session, place: Place) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = to.api.get(f"{place.path}/limits")["data"]
    return found


def _limits_below(to: Session, top: Place) -> list[dict[str, Any]]:
    """The limits of a node and of all below it that the caller may look at, each with the node that it is on."""
    places = [top]
    if top.kind == "organization":
        places += [Place("team", node["id"], node) for node in to.api.pages("/teams")]
    if top.kind in ("organization", "team"):
        inside: dict[str, Any] = {f"{top.kind}_id": top.id}
        places += [Place("project", node["id"], node) for node in to.api.pages("/projects", **inside)]
    found = []
    with to.out.progress("Looking at", len(places), "nodes") as told:
        for done, place in enumerate(places):
            told(done, len(places), place.name)
            on = {"kind": place.kind, "id": place.id, "name": place.name}
            found += [{"on": on, **limit} for limit in _limits(to, place)]
    return found


def _path(place: Place, shape: str) -> str:
    return f"{place.path}/limits/{quote(shape, safe='/:')}"
