"""Overrides: another amount of a limit, in the current period or the next ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Annotated, Any, Literal

from pydantic import Field

from ..core.money import MAX_AMOUNT
from ..core.terms import Override
from ..errors import AlreadyExists, PreconditionFailed
from ..tenancy.keys import Kind
from ..tenancy.nodes import Node
from ..tenancy.requests import MAX_PERIODS
from ..words.wire import Answer, Body, Dollars, Listing, Moment, Revised, Time, Usd
from .bodies import bad_fields
from .routes import Ask, Route

NOUNS: tuple[tuple[str, Kind], ...] = (
    ("organizations", "organization"),
    ("teams", "team"),
    ("projects", "project"),
    ("api-keys", "key"),
)
"""The nodes of a kind, in paths."""
Shape = Annotated[
    str, Field(min_length=1, max_length=512, description="the limit by its shape, such as cost/month")
]


class Amount(Body):
    """A limit, and what it is to be: `amount_usd` for one on cost, `amount` for any other."""

    limit: Shape
    amount: int | None = Field(None, ge=0, le=MAX_AMOUNT, description="requests, tokens or calls under way")
    amount_usd: Usd | None = None

    def figure(self) -> int:
        """The amount as limits have it. Raises InvalidRequest naming the field that it belongs in."""
        wanted = _amount_field(self.limit)
        other = "amount" if wanted == "amount_usd" else "amount_usd"
        given: int | None = getattr(self, wanted)
        if given is None:
            raise bad_fields([{"field": wanted, "message": "is missing"}])
        if getattr(self, other) is not None:
            raise bad_fields(
                [{"field": other, "message": f"is not what '{self.limit}' counts; give {wanted}"}]
            )
        return given


class NewOverride(Amount):
    """The limit's amount for a time."""

    periods: int = Field(1, ge=1, le=MAX_PERIODS, description="for so many periods")
    skip: int = Field(0, ge=0, le=MAX_PERIODS, description="beginning so many periods from the current one")


class WhichOverride(Body):
    """The overrides of a limit, or the one of them that begins then."""

    limit: Shape
    since: Time | None = None


class AmountAnswer(Answer):
    """A limit's shape and an amount: one of the two is null."""

    limit: str
    amount: int | None
    amount_usd: Dollars | None


class OverrideAnswer(AmountAnswer):
    """What a limit is from `since` on, `until` then. `state`: current or coming."""

    since: Moment
    until: Moment
    state: Literal["current", "coming"]


class OverriddenAnswer(OverrideAnswer, Revised):
    """An override that was made, and the node that it is on, with the node's revision."""

    node: str
    kind: str
    name: str | None


def amount_told(limit: str, amount: int) -> dict[str, Any]:
    """The fields of `AmountAnswer`."""
    return {"limit": limit, "amount": None, "amount_usd": None, _amount_field(limit): amount}


def list_overrides(kind: Kind, ask: Ask) -> Listing[OverrideAnswer]:
    """Takes quota:read at the node. Those that are over are gone."""
    _, found = ask.tenancy.overrides(ask.org, _place(kind, ask))
    return Listing(data=[OverrideAnswer(**_told(ask, each)) for each in found], next_cursor=None)


def override(kind: Kind, ask: Ask) -> OverriddenAnswer:
    """Takes quota:override above the node (an organization's: on it). An override that is in the way is replaced."""
    body: NewOverride = ask.body
    amount = body.figure()
    node: Node = ask.tenancy.override(
        ask.org,
        _place(kind, ask),
        body.limit,
        amount,
        periods=body.periods,
        skip=body.skip,
        expect=ask.expect,
    )
    return OverriddenAnswer(
        **_told(ask, node.overrides[-1]), node=node.id, kind=node.kind, name=node.name, revision=node.rev
    )


def delete_overrides(kind: Kind, ask: Ask) -> None:
    """Takes quota:override above the node (an organization's: on it). The limit is what it was set to, at once."""
    which: WhichOverride = ask.query
    ask.tenancy.drop_overrides(ask.org, _place(kind, ask), which.limit, since=which.since, expect=ask.expect)


def _amount_field(limit: str) -> str:
    return "amount_usd" if limit.startswith("cost/") else "amount"


def _place(kind: Kind, ask: Ask) -> str:
    id: str = ask.tenancy.place(ask.org, ask.params["id"], kind)
    return id


def _told(ask: Ask, each: Override) -> dict[str, Any]:
    coming = each.since > ask.parts.engine.now()
    return {
        **amount_told(each.limit, each.amount),
        "since": each.since,
        "until": each.until,
        "state": "coming" if coming else "current",
    }


def _of(kind: Kind, run: Callable[[Kind, Ask], Any]) -> Callable[[Ask], Any]:
    """The operation on nodes of a kind, with a name of its own."""

    def of_kind(ask: Ask) -> Any:
        return run(kind, ask)

    of_kind.__name__ = f"{run.__name__}_of_{kind}"
    of_kind.__doc__ = run.__doc__
    return of_kind


def _routes(noun: str, kind: Kind) -> tuple[Route, ...]:
    path = f"/{noun}/{{id}}/overrides"
    route = partial(Route, tag="overrides")
    return (
        route(
            "GET", path, _of(kind, list_overrides), "Overrides, current and coming", takes="quota:read",
            answer=Listing[OverrideAnswer],
        ),
        route(
            "POST", path, _of(kind, override), "Sets a limit otherwise for a time", takes="quota:override",
            answer=OverriddenAnswer, body=NewOverride, status=201, errors=(AlreadyExists, PreconditionFailed),
        ),
        route(
            "DELETE", path, _of(kind, delete_overrides), "Takes overrides of a limit away",
            takes="quota:override", query=WhichOverride, status=204, errors=(AlreadyExists,),
        ),
    )  # fmt: skip


ROUTES = tuple(route for noun, kind in NOUNS for route in _routes(noun, kind))
