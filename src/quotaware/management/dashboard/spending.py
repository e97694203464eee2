"""What was spent, as pages ask for it: by the operations of the API, or with the same sight as theirs (`sight.py`)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ...core.denials import iso
from ...core.forecasts import Forecast
from ...tenancy.nodes import Node
from ...usage import UsageRecord
from .. import analytics
from ..analytics import Analytics, Span
from ..bodies import validated
from ..sight import Sight
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


def homes(view: View) -> list[Node]:
    """The highest nodes of whose spending the viewer may see anything: the organization, or where the grants are."""
    wanted = [view.org, *(grant.node for grant in view.ask.actor.grants)]
    found = view.ask.tenancy.those(view.org, wanted)
    seen = [found[id] for id in dict.fromkeys(wanted) if id in found and found[id].kind in _RUNS]
    seen = [node for node in seen if sight(view, node) is not None]
    return seen[:1] if seen and seen[0].id == view.org else seen


def sight(view: View, node: Node, *, single: bool = False) -> Sight | None:
    """What of a node's calls the viewer sees; None: nothing, or (`single`) no single calls."""

    def look(ask: Any, kind: Any) -> Sight:
        return Sight(ask, kind, single=single)

    return view.maybe(look, node.kind, id=node.id)


def of(view: View, node: Node, **span: str) -> Analytics | None:
    """The analytics of a node; `span` as the query has it. None where the viewer may not."""
    query = validated(Span, span, "query", strict=False)
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
    if model is None:
        return Chief(most.name or id, most.cost, None, 0)
    return Chief(most.name or id, most.cost, model.model, model.cost)


def day_before(now: int, zone: str) -> tuple[int, int]:
    """[begin, end) in ms of yesterday in a zone."""
    local = datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(zone))
    today = local.replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = (today - timedelta(hours=12)).replace(hour=0)
    return round(yesterday.timestamp() * 1000), round(today.timestamp() * 1000)


def forecasts(view: View, nodes: Iterable[Node]) -> dict[str, Forecast]:
    """What this month comes to, as far as the viewer sees it, of these nodes and of each team and project below."""
    found: dict[str, Forecast] = {}
    for node in nodes:
        seen = sight(view, node)
        if seen is None:
            continue
        asked = asked_of(node) | {"organization": view.org, "only": seen.only()}
        for dimension in ("team", "project"):
            told = view.parts.usage.forecast(by=(dimension,), **asked)
            found |= {each.by[dimension]: each for each in told if isinstance(each.by[dimension], str)}
        (found[node.id],) = view.parts.usage.forecast(**asked)
    return found


def recent(view: View, node: Node) -> list[UsageRecord]:
    """The calls that ended last, the newest first; none where the viewer may not see single calls there."""
    seen = sight(view, node, single=True)
    if seen is None:
        return []
    since = datetime.fromtimestamp(view.parts.engine.now() / 1000, UTC) - RECENT
    asked = asked_of(node) | {"organization": view.org, "only": seen.only()}
    page = view.parts.usage.page(since=since, limit=1000, **asked)
    return list(reversed(page.records[-RECENT_MOST:]))


def asked_of(node: Node) -> dict[str, Any]:
    """A node as usage is narrowed to it."""
    return {} if node.kind == "organization" else {node.kind: node.id}
