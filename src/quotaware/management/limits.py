"""`/{organizations|teams|projects|api-keys}/{id}/limits`: limits of any kind on any node, one by one.

A limit is named by its shape: all of it but the amount and the mode, such as `cost/month` or
`requests/day/for:gpt-4.1*`. Where a node has several of one shape, `?mode=` says which.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from pydantic import Field

from ..core.limits import Limit, Metric, Mode, Per
from ..core.money import to_usd
from ..errors import AlreadyExists, ConfigurationError, PreconditionFailed
from ..tenancy.directory import missing
from ..tenancy.keys import Kind
from ..tenancy.nodes import Node
from ..tenancy.standing import Figures
from ..words.terms import Count, LimitText
from ..words.wire import Answer, Body, Listing, Moment, Revised, Usd
from .nodes import SEEING, found
from .routes import Ask, Route

A = TypeVar("A", bound=Answer | None)
Limits = tuple[Limit, ...]


class NewLimit(Body):
    """A limit that is to be added."""

    limit: LimitText


class LimitChange(Body):
    """What is sent replaces, what is absent stays."""

    amount: Count = Field(0, description="of requests, tokens or calls under way")
    amount_usd: Usd = Field(0, description="of a limit on cost")
    mode: Mode = "hard"
    carryover: bool = False


class Which(Body):
    """Which of several limits of one shape."""

    mode: Mode | None = None


class LimitAnswer(Revised):
    """A limit of a node, and where it stands; amounts are US dollars where the metric is cost.

    revision     the node's
    rule         the limit as a text
    in_force     its amount now, an override's where there is one
    used, held   by finished calls, and by those under way; null for a limit that each end user has of their own
    resets_at    when its calendar window ends
    """

    rule: str
    shape: str
    metric: Metric
    window: str | None
    models: str | None
    per: Per | None
    mode: Mode
    carryover: bool
    amount: int | float
    in_force: int | float
    used: int | float | None
    held: int | float | None
    resets_at: Moment | None


def told(figures: Figures, revision: int) -> LimitAnswer:
    """A limit as it is answered."""
    limit = figures.limit

    def amount(value: int | None) -> Any:
        return float(to_usd(value)) if limit.metric == "cost" and value is not None else value

    return LimitAnswer(
        revision=revision,
        rule=str(limit),
        shape=limit.shape,
        metric=limit.metric,
        window=str(limit.window) if limit.window is not None else None,
        models=limit.models,
        per=limit.per,
        mode=limit.mode,
        carryover=limit.carryover,
        amount=amount(limit.amount),
        in_force=amount(figures.amount),
        used=amount(figures.used),
        held=amount(figures.held),
        resets_at=figures.until,
    )


def list_limits(ask: Ask, kind: Kind) -> Listing[LimitAnswer]:
    """With what is used and held of them now. Takes what it takes to look at the node."""
    seen = ask.tenancy.get(ask.org, found(ask, kind))  # to change them is not to see them all
    node, figures = ask.tenancy.figures(ask.org, seen.id)
    return Listing(data=[told(each, node.rev) for each in figures], next_cursor=None)


def add_limit(ask: Ask, kind: Kind) -> LimitAnswer:
    """409 where there is one of that shape and mode already."""
    new = ask.body.limit

    def add(limits: Limits) -> Limits:
        if any(_is(limit, new) for limit in limits):
            raise AlreadyExists(
                f"There is a {new.mode} limit on {new.shape} already; change that one",
                fields={"field": "limit"},
            )
        return (*limits, new)

    _write(ask, kind, add)
    return _standing(ask, kind, new)


def change_limit(ask: Ask, kind: Kind) -> LimitAnswer:
    """What is sent replaces, what is absent stays. More than it was is given from above: it takes the right there."""
    given = ask.body.given()
    new: list[Limit] = []

    def change(limits: Limits) -> Limits:
        old = _one(ask, limits)
        new[:] = [_changed(old, given)]
        return tuple(new[0] if limit is old else limit for limit in limits)

    _write(ask, kind, change)
    return _standing(ask, kind, new[0])


def remove_limit(ask: Ask, kind: Kind) -> None:
    """Calls go without it at once. It takes the right above the node."""

    def remove(limits: Limits) -> Limits:
        old = _one(ask, limits)
        return tuple(limit for limit in limits if limit is not old)

    _write(ask, kind, remove)


def _write(ask: Ask, kind: Kind, change: Callable[[Limits], Limits]) -> None:
    write = ask.tenancy.update_key if kind == "key" else ask.tenancy.update

    def revise(node: Node) -> dict[str, Any]:
        return {"limits": change(node.limits)}

    write(ask.org, found(ask, kind), expect=ask.expect, revise=revise)


def _standing(ask: Ask, kind: Kind, limit: Limit) -> LimitAnswer:
    """The limit that was written, as it stands now."""
    node, figures = ask.tenancy.figures(ask.org, found(ask, kind))
    for each in figures:
        if _is(each.limit, limit):
            return told(each, node.rev)
    raise missing("limit", limit.shape)  # somebody else took it away meanwhile


def _is(limit: Limit, other: Limit) -> bool:
    return (limit.shape, limit.mode) == (other.shape, other.mode)


def _one(ask: Ask, limits: Limits) -> Limit:
    """The limit in the path. Raises NotFound, AlreadyExists where it may be one of several."""
    shape, mode = ask.params["shape"], ask.query.mode
    named = [limit for limit in limits if limit.shape == shape and mode in (None, limit.mode)]
    if not named:
        raise missing("limit", shape)
    if len(named) > 1:
        raise AlreadyExists(
            f"There is more than one limit on {shape}; say which: ?mode={named[0].mode}",
            code="ambiguous_name",
        )
    return named[0]


def _changed(limit: Limit, given: dict[str, Any]) -> Limit:
    """Raises ConfigurationError."""
    wrong, right = ("amount", "amount_usd") if limit.metric == "cost" else ("amount_usd", "amount")
    if wrong in given:
        raise ConfigurationError(wrong, f"is not for a limit on {limit.metric}; give {right}")
    return replace(limit, **{"amount" if field == right else field: value for field, value in given.items()})


def _routes(kind: Kind, plural: str, changing: str) -> tuple[Route, ...]:
    """The operations on nodes of a kind; `changing`: what it takes to change one."""
    many = f"/{plural}/{{id}}/limits"
    one = f"{many}/{{shape}}"
    tag = plural.replace("-", " ")

    def run(work: Callable[[Ask, Kind], A]) -> Callable[[Ask], A]:
        def operation(ask: Ask) -> A:
            return work(ask, kind)

        operation.__name__ = f"{work.__name__}_of_{kind}"
        operation.__doc__ = work.__doc__
        return operation

    return (
        Route(
            "GET",
            many,
            run(list_limits),
            "Its limits, and where they stand",
            tag,
            SEEING[kind],
            Listing[LimitAnswer],
        ),
        Route(
            "POST",
            many,
            run(add_limit),
            "Adds a limit",
            tag,
            changing,
            LimitAnswer,
            NewLimit,
            status=201,
            errors=(PreconditionFailed,),
        ),
        Route(
            "PATCH",
            one,
            run(change_limit),
            "Changes a limit",
            tag,
            changing,
            LimitAnswer,
            LimitChange,
            query=Which,
            errors=(AlreadyExists,),
        ),
        Route(
            "DELETE",
            one,
            run(remove_limit),
            "Takes a limit away",
            tag,
            changing,
            query=Which,
            status=204,
            errors=(AlreadyExists,),
        ),
    )


ROUTES = (
    *_routes("organization", "organizations", "quota:manage"),
    *_routes("team", "teams", "quota:manage"),
    *_routes("project", "projects", "quota:manage"),
    *_routes("key", "api-keys", "api_key:create:limited"),
)
