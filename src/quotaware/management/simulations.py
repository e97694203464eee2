"""`POST /{organizations|teams|projects}/{id}/simulate`: recorded calls below a node, decided under other limits.

All of the organization's calls are decided, since they share what is above; told is of those below the node, and of
limits above it only that there is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from ..core.permissions import allows
from ..core.simulation import Alerted, Example, Reason, Simulation, Tally
from ..errors import ConfigurationError, NotFound
from ..simulating import moment
from ..tenancy.directory import missing
from ..tenancy.keys import Kind
from ..words.wire import Answer, Body, Dollars, Moment, Time
from .analytics import Period, to_ms
from .routes import Ask, Route
from .sight import FULL

MANAGE = "quota:manage"
MOST = 50_000
"""So many records are decided in one request: some seconds of a worker."""
Text = Annotated[str, Field(min_length=1, max_length=1024)]
Name = Annotated[str, Field(min_length=1, max_length=200)]


class Instead(Body):
    """What a node has instead; null: what it has now."""

    limits: list[Text] | None = Field(None, max_length=100)
    alerts: list[Text] | None = Field(None, max_length=100)


class AskedPlan(Body):
    """Other limits, and which calls: those of the last N days or hours, or those admitted in [from, to)."""

    plan: dict[Name, Instead] = Field(
        default_factory=dict, max_length=100, description="by the id of the node or one below it"
    )
    period: Period | None = Field(None, description="`Nd` or `Nh`, such as 7d or 24h; 30d by default")
    since: Time | None = Field(None, alias="from", description="instead of a period: the beginning")
    until: Time | None = Field(None, alias="to", description="the end, which is not in it")

    @model_validator(mode="after")
    def _one_of_both(self) -> AskedPlan:
        if (self.since is None) != (self.until is None):
            raise ConfigurationError("from", "and to are given together")
        if self.period is not None and self.since is not None:
            raise ConfigurationError("period", "is instead of from and to; give one of the two")
        return self

    def asked(self) -> str | tuple[datetime, datetime]:
        """The period, as `Quota.simulate` takes it."""
        if self.since is not None and self.until is not None:
            return moment(self.since), moment(self.until)
        return self.period or "30d"


class Met(Answer):
    """Calls, and what they would have met. `denied_cost`: what the denied ones came to."""

    requests: int
    cost: Dollars
    denied: int
    denied_cost: Dollars
    clamped: int = Field(description="let go with a lower output cap")
    waited: int = Field(description="let go once others had ended")
    over: int = Field(description="let go above a soft or shadow limit")
    alerts: int


class MetThen(Met):
    """The same of one project and day (in the organization's time zone)."""

    project: str | None
    date: str = Field(json_schema_extra={"format": "date"})


class Why(Answer):
    """A limit that was met; null where it is on a node above, or the limit of another's key."""

    on: str | None = Field(description="id of the node whose it is")
    limit: str | None = Field(description="as limits are written; its shape where the node was stopped")
    stopped: bool = Field(description="whether an alert on it had stopped the node")


class Denials(Why):
    """How many calls a limit would have denied."""

    requests: int


class OneCall(Answer):
    """A call, and what it would have met; figures in nano-dollars, tokens, requests or calls, null with the limit."""

    met: Literal["denied", "clamped", "waited", "over"]
    id: str
    at: Moment
    project: str | None
    key: str | None
    end_user: str | None
    model: str | None
    cost: Dollars
    why: Why
    cap: int | None
    used: int | None
    held: int | None
    asked: int | None


class Due(Answer):
    """An alert that would have been due."""

    at: Moment
    on: str
    limit: str
    alert: str
    project: str | None


class Simulated(Answer):
    """What calls admitted in [since, until) would have met. `examples` are single calls, for `analytics:full` only."""

    since: Moment
    until: Moment
    total: Met
    days: list[MetThen]
    reasons: list[Denials]
    examples: list[OneCall]
    alerts: list[Due]


def simulate(ask: Ask, kind: Kind) -> Simulated:
    """Takes analytics:full or quota:manage at the node; single calls are shown with analytics:full. 422 where there are
    more records than are decided in one request.
    """
    org, asked = ask.org, ask.body
    node = ask.tenancy.place(org, ask.params["id"], kind)
    held = ask.tenancy.held_at(org, node)
    if not allows(held, FULL) and not allows(held, MANAGE):
        raise ask.actor.lacks(FULL)
    inside = _Inside(ask, node)
    for id in asked.plan:
        if not inside(id):
            raise missing("node", id)
    plan = {id: instead.given() for id, instead in asked.plan.items()}
    found = ask.parts.simulate(plan, asked.asked(), organization=org, below=node, most=MOST)
    return _answer(found, inside, single=allows(held, FULL))


class _Inside:
    """Whether a node is the one that was asked about, or below it."""

    def __init__(self, ask: Ask, node: str) -> None:
        self._directory = ask.parts.engine.directory
        self._org = ask.org
        self._node = node
        self._known: dict[str, bool] = {}

    def __call__(self, id: str) -> bool:
        if id not in self._known:
            try:
                self._known[id] = self._node in self._directory.load(self._org, id).ids
            except NotFound:
                self._known[id] = False
        return self._known[id]


def _answer(found: Simulation, inside: Callable[[str], bool], *, single: bool) -> Simulated:
    reasons: dict[tuple[Any, ...], int] = {}
    for reason, calls in found.reasons.items():
        told = _why(reason, inside)
        key = (told.on, told.limit, told.stopped)
        reasons[key] = reasons.get(key, 0) + calls
    return Simulated(
        since=to_ms(found.since),
        until=to_ms(found.until),
        total=Met(**_met(found.total)),
        days=[
            MetThen(project=project, date=str(day), **_met(tally))
            for (project, day), tally in sorted(
                found.days.items(), key=lambda each: (each[0][1], str(each[0][0]))
            )
        ],
        reasons=[
            Denials(on=on, limit=limit, stopped=stopped, requests=calls)
            for (on, limit, stopped), calls in sorted(reasons.items(), key=lambda each: -each[1])
        ],
        examples=[_one(each, inside) for each in found.examples] if single else [],
        alerts=[_due(each) for each in found.alerts if inside(each.node)],
    )


def _met(tally: Tally) -> dict[str, Any]:
    said = asdict(tally)
    return {"requests": said.pop("calls"), **said}


def _why(reason: Reason, inside: Callable[[str], bool]) -> Why:
    if not inside(reason.node):
        return Why(on=None, limit=None, stopped=reason.stopped)
    return Why(on=reason.node, limit=reason.limit, stopped=reason.stopped)


def _one(example: Example, inside: Callable[[str], bool]) -> OneCall:
    figures = {name: getattr(example, name) for name in ("cap", "used", "held", "asked")}
    if not inside(example.reason.node) or example.reason.stopped:
        figures = dict.fromkeys(figures)
    same = {
        name: getattr(example, name) for name in ("met", "id", "project", "key", "end_user", "model", "cost")
    }
    return OneCall(**same, **figures, at=to_ms(example.at), why=_why(example.reason, inside))


def _due(alert: Alerted) -> Due:
    return Due(at=to_ms(alert.at), on=alert.node, limit=alert.limit, alert=alert.alert, project=alert.project)


def _route(kind: Kind, plural: str) -> Route:
    def operation(ask: Ask) -> Simulated:
        return simulate(ask, kind)

    operation.__name__ = f"simulate_{kind}"
    operation.__doc__ = simulate.__doc__
    summary = "What recorded calls would have met under other limits"
    path = f"/{plural}/{{id}}/simulate"
    return Route("POST", path, operation, summary, "analytics", f"{FULL} or {MANAGE}", Simulated, AskedPlan)


ROUTES = (
    _route("organization", "organizations"),
    _route("team", "teams"),
    _route("project", "projects"),
)
