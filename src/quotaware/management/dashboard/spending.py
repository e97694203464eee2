"""What was spent, as pages ask for it: the operations of the API where there is one, else with the rights of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from ...core.denials import iso
from ...core.forecasts import Forecast
from ...core.permissions import allows
from ...tenancy.nodes import Node
from ...usage import UsageRecord
from .. import analytics
from ..analytics import Analytics, Span
from ..sight import AGGREGATE, FULL, OWN
from .view import View

RECENT = timedelta(minutes=15)
RECENT_MOST = 12
_RUNS: Mapping[str, Callable[..., Analytics]] = {
    "organization": analytics.organization_analytics,
    "team": analytics.team_analytics,
    "project": analytics.project_analytics,
}


class Chief(NamedTuple):
    """Who spent the most in a time, and on which model most of it."""

    name: str
    cost: int
    model: str | None
    model_cost: int


def home(view: View) -> Node | None:
    """The highest node whose spending the viewer may see; None where there is none."""
    actor = view.ask.actor
    wanted = [view.org, *(grant.node for grant in actor.grants)]
    found = view.ask.tenancy.those(view.org, wanted)
    for id in wanted:
        if id in found and found[id].kind in _RUNS and sees(view, id):
            return found[id]
    return None


def sees(view: View, node: str) -> bool:
    """Whether the viewer may see all that a node spent; with `analytics:own`, where that is held right there."""
    if view.may(AGGREGATE, node) or view.may(FULL, node):
        return True
    return any(grant.node == node and allows(grant.permissions, OWN) for grant in view.ask.actor.grants)


def of(view: View, node: Node, **span: str) -> Analytics | None:
    """The analytics of a node; `span` as the query has it. None where the viewer may not."""
    query = Span.model_validate(span, strict=False)
    return view.maybe(_RUNS[node.kind], query=query, id=node.id)


def chief_of_yesterday(view: View, node: Node, zone: str) -> Chief | None:
    """The project that spent the most yesterday, as days are in the zone, and its most expensive model."""
    begin, end = day_before(view.parts.engine.now(), zone)
    span = {"from": iso(begin), "to": iso(end)}
    found = of(view, node, **span)
    if found is None or not found.by_project:
        return None
    id, most = next(iter(found.by_project.items()))
    project = view.ask.tenancy.those(view.org, [id]).get(id)
    inside = of(view, project, **span) if project is not None else None
    model = inside.top_models[0] if inside is not None and inside.top_models else None
    return Chief(
        most.name or id, most.cost, model.model if model is not None else None, model.cost if model else 0
    )


def day_before(now: int, zone: str) -> tuple[int, int]:
    """[begin, end) in ms of yesterday in a zone."""
    local = datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(zone))
    today = local.replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = (today - timedelta(hours=12)).replace(hour=0)
    return tuple(round(moment.timestamp() * 1000) for moment in (yesterday, today))  # type: ignore[return-value]


def forecasts(view: View) -> dict[str, Forecast]:
    """What this month comes to, by the id of each organization, team and project of which the viewer may see it."""
    found: dict[str, Forecast] = {}
    for dimension in ("team", "project"):
        for each in view.parts.usage.forecast(organization=view.org, by=(dimension,)):
            id = each.by[dimension]
            if isinstance(id, str):
                found[id] = each
    (whole,) = view.parts.usage.forecast(organization=view.org)
    found[view.org] = whole
    known = view.ask.tenancy.those(view.org, found)
    return {id: each for id, each in found.items() if id in known and sees(view, id)}


def recent(view: View, node: Node) -> list[UsageRecord]:
    """The calls that ended last, the newest first; none where the viewer may not see single calls there."""
    if not view.may(FULL, node.id):
        return []
    where = {} if node.kind == "organization" else {node.kind: node.id}
    since = datetime.fromtimestamp(view.parts.engine.now() / 1000, UTC) - RECENT
    page = view.parts.usage.page(organization=view.org, since=since, limit=1000, **where)
    return list(reversed(page.records[-RECENT_MOST:]))
