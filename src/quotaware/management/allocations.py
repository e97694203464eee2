"""Allocation: what the children of an organization or a team have of its budgets."""

from __future__ import annotations

from typing import Any, Literal, get_args

from pydantic import Field

from ..core.limits import Limit
from ..errors import AlreadyExists
from ..tenancy.budgets import budgets
from ..tenancy.keys import Kind
from ..tenancy.nodes import Node
from ..tenancy.sharing import PERIODS, Allocated, Enforcement, Share, enforced
from ..words.wire import Answer, Body, Dollars, Listing, Page, Usd
from .pages import listed
from .routes import Ask, Route

Period = Literal["hourly", "daily", "weekly", "monthly", "quarterly", "yearly", "never"]
Type = Literal[
    "hourly_budget", "daily_budget", "weekly_budget", "monthly_budget", "quarterly_budget", "yearly_budget",
    "never_budget",
]  # fmt: skip
_SHARED: tuple[Kind, ...] = ("organization", "team")


class AllocationBody(Body):
    """What one child gets."""

    target: str = Field(description="a child by id or name; made where there is none")
    amount_usd: Usd
    type: Type = Field("monthly_budget", description="says the period where `reset_period` does not")
    reset_period: Period | None = None
    carryover: bool = Field(False, description="what was left of a period is added to the next")


class EnforcementBody(Body):
    """What happens when a budget is used up."""

    hard_limit: bool = Field(default=True, description="false: calls go on, and it is only told")
    notify_on_exceed: bool = True
    auto_disable_on_exceed: bool = Field(
        default=False, description="disabled then, until somebody enables it"
    )


class AllocateBody(Body):
    """Shares out a node's budgets, as a whole or not at all."""

    team_id: str = Field(description="the node that is shared out: an organization or a team, by id or name")
    allocations: list[AllocationBody] = Field(min_length=1, max_length=1000)
    enforcement: EnforcementBody = EnforcementBody()


class AllocationAnswer(Answer):
    """A budget of a child. `reset_period` is null for a budget over any hour, that of `window` `hour`."""

    target: str
    id: str
    kind: str
    type: str
    amount_usd: Dollars
    reset_period: Period | None
    window: str
    carryover: bool
    hard_limit: bool
    notify_on_exceed: bool
    auto_disable_on_exceed: bool


class SumAnswer(Answer):
    """A node's own budget of a period, null where it has none, and what of it its children have."""

    reset_period: Period | None
    window: str
    budget_usd: Dollars | None
    allocated_usd: Dollars
    available_usd: Dollars | None


class SharedAnswer(Answer):
    """A node that is shared out."""

    id: str
    name: str | None
    kind: str
    budgets: list[SumAnswer]


class AllocatedAnswer(SharedAnswer):
    """What was allocated, and how the node stands now."""

    allocations: list[AllocationAnswer]


class SharesAnswer(SharedAnswer, Listing[AllocationAnswer]):
    """A node's sums, and one page of what its children have."""


def allocate_quota(ask: Ask) -> AllocatedAnswer:
    """Takes quota:manage at the node, team:create to make a team, quota:override to pass the node's budget."""
    body: AllocateBody = ask.body
    node = ask.tenancy.place(ask.org, body.team_id, *_SHARED)
    shares = [
        Share(
            each.target,
            each.amount_usd,
            each.reset_period or each.type.removesuffix("_budget"),
            each.carryover,
        )
        for each in body.allocations
    ]
    said = body.enforcement
    enforcement = Enforcement(said.hard_limit, said.notify_on_exceed, said.auto_disable_on_exceed)
    made = ask.tenancy.allocate(ask.org, node, shares, enforcement)
    windows = [PERIODS[share.period] for share in shares]
    return AllocatedAnswer(
        **_shared(ask.tenancy.allocated(ask.org, node)),
        allocations=[
            _allocation(child, budgets(child)[window]) for child, window in zip(made, windows, strict=True)
        ],
    )


def list_allocations(kind: Kind, ask: Ask) -> SharesAnswer:
    """Takes quota:read at the node."""
    found = ask.tenancy.allocated(ask.org, ask.tenancy.place(ask.org, ask.params["id"], kind))

    def fetch(after: str, limit: int) -> list[Node]:
        return [child for child in found.children if child.id > after and budgets(child)][:limit]

    page = listed(
        ask.query, fetch, lambda child: [_allocation(child, own) for own in budgets(child).values()]
    )
    return SharesAnswer(
        **_shared(found), data=[each for child in page.data for each in child], next_cursor=page.next_cursor
    )


def list_organization_allocations(ask: Ask) -> SharesAnswer:
    """Takes quota:read. A page holds `limit` children, each with all its budgets."""
    return list_allocations("organization", ask)


def list_team_allocations(ask: Ask) -> SharesAnswer:
    """Takes quota:read at the team. A page holds `limit` children, each with all its budgets."""
    return list_allocations("team", ask)


def _shared(found: Allocated) -> dict[str, Any]:
    sums = [
        SumAnswer(
            reset_period=_period(window),
            window=window,
            budget_usd=budget,
            allocated_usd=given,
            available_usd=None if budget is None else max(0, budget - given),
        )
        for window, (budget, given) in found.sums.items()
    ]
    parent = found.parent
    return {"id": parent.id, "name": parent.name, "kind": parent.kind, "budgets": sums}


def _allocation(child: Node, budget: Limit) -> AllocationAnswer:
    done = enforced(child, budget)
    period = _period(str(budget.window))
    return AllocationAnswer(
        target=child.name or child.id,
        id=child.id,
        kind=child.kind,
        type=f"{period or budget.window}_budget",
        amount_usd=budget.amount,
        reset_period=period,
        window=str(budget.window),
        carryover=budget.carryover,
        hard_limit=done.hard,
        notify_on_exceed=done.notify,
        auto_disable_on_exceed=done.disable,
    )


def _period(window: str) -> Period | None:
    return next((period for period in get_args(Period) if PERIODS[period] == window), None)


_TAG = "allocation"

ROUTES = (
    Route(
        "POST", "/organizations/quota/allocate", allocate_quota, "Shares out a budget among children", _TAG,
        "quota:manage", AllocatedAnswer, AllocateBody, errors=(AlreadyExists,),
    ),
    Route(
        "GET", "/organizations/{id}/allocations", list_organization_allocations,
        "What the teams and projects of an organization have of its budgets", _TAG, "quota:read", SharesAnswer,
        query=Page,
    ),
    Route(
        "GET", "/teams/{id}/allocations", list_team_allocations,
        "What the projects of a team have of its budgets", _TAG, "quota:read", SharesAnswer, query=Page,
    ),
)  # fmt: skip
