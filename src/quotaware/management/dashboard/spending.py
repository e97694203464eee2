"""What was spent, as pages ask for it: by the operations of the API, or with the same sight as theirs (`sight.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from ...core.forecasts import Forecast
from ...core.totals import Total, Unit
from ...core.windows import Window
from ...tenancy.nodes import Node
from ...usage import UsageLog, UsageRecord
from .. import analytics
from ..analytics import Analytics, Day, Span
from ..bodies import validated
from ..sight import Sight
from .view import View

RECENT = timedelta(minutes=15)
RECENT_MOST = 12
DENIED_MOST = 10
"""Projects with denied calls that are told of."""
KEYS_MOST = 100
"""Keys with denied calls that are looked at."""
_RUNS: Mapping[str, Callable[..., Analytics]] = {
    "organization": analytics.organization_analytics,
    "team": analytics.team_analytics,
    "project": analytics.project_analytics,
}


class Chief(NamedTuple):
    """Who spent the most in a time, and on which model most of it."""

    name: str
    cost: int
    model: str
    model_cost: int


class DeniedOfLate(NamedTuple):
    """Denied calls: how many, and by project (None: nobody that is known; the most first) and the code of their error;
    `more`: whether there are more projects.
    """

    calls: int
    projects: Sequence[tuple[str | None, Mapping[str, int]]]
    more: bool


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


def by_day(view: View, node: Node, days: int) -> list[Day] | None:
    """What a node used on each of the last days; None where the viewer may see nothing there."""
    asked = _asked(view, node)
    if asked is None:
        return None
    since, until = Span.model_validate({"period": f"{days}d"}).bounds(view.parts.engine.now())
    found = _log(view).totals(by=(), bucket="day", since=since, until=until, **asked)
    return analytics.days_of(view.ask, found)


def chief_of_yesterday(view: View, node: Node, zone: str) -> Chief | None:
    """The project that spent the most yesterday, as days are in the zone, and its most expensive model."""
    begin, end = day_before(view.parts.engine.now(), zone)
    asked = _asked(view, node)
    if asked is None:
        return None
    asked = {**asked, "since": _moment(begin), "until": _moment(end), "by": ("project", "model")}
    found = [total for total in _log(view).totals(**asked) if total.by["project"] is not None]
    cost: Counter[str] = Counter()
    for total in found:
        cost[str(total.by["project"])] += total.cost
    if not cost:
        return None
    ((id, most),) = cost.most_common(1)
    model = next(total for total in found if total.by["project"] == id)  # the largest cost comes first
    project = view.ask.tenancy.those(view.org, [id]).get(id)
    name = project.name if project is not None else None
    return Chief(name or id, most, str(model.by["model"] or "unknown"), model.cost)


def denied_of_late(view: View, node: Node) -> DeniedOfLate:
    """What was denied in the last 24 hours below a node."""
    asked = _asked(view, node)
    if asked is None:
        return DeniedOfLate(0, (), more=False)
    since = _moment(view.parts.engine.now()) - timedelta(days=1)
    found: dict[str | None, dict[str, int]] = {}
    for each in _log(view).denied(by=("project", "code"), since=since, **asked):
        id = each.by["project"]
        found.setdefault(None if id is None else str(id), {})[str(each.by["code"])] = each.calls
    most = sorted(found.items(), key=lambda of: -sum(of[1].values()))
    shown = most[:DENIED_MOST]
    names = view.ask.tenancy.those(view.org, [id for id, _ in shown if id is not None])
    told = [(id and (names[id].name if id in names else id), codes) for id, codes in shown]
    return DeniedOfLate(sum(sum(codes.values()) for codes in found.values()), told, len(most) > len(shown))


def keys_denied_of_late(view: View, node: Node) -> list[str]:
    """Ids of the keys of whose calls the most were denied in the last 24 hours."""
    asked = _asked(view, node)
    if asked is None:
        return []
    since = _moment(view.parts.engine.now()) - timedelta(days=1)
    found = _log(view).denied(by=("key",), since=since, **asked)
    return [str(each.by["key"]) for each in found if each.by["key"] is not None][:KEYS_MOST]


def day_before(now: int, zone: str) -> tuple[int, int]:
    """[begin, end) in ms of yesterday in a zone."""
    local = datetime.fromtimestamp(now / 1000, UTC).astimezone(ZoneInfo(zone))
    today = local.replace(hour=0, minute=0, second=0, microsecond=0)
    yesterday = (today - timedelta(hours=12)).replace(hour=0)
    return round(yesterday.timestamp() * 1000), round(today.timestamp() * 1000)


class Paces:
    """How fast money goes, as far as the viewer sees it, at these nodes and at each team and project below."""

    def __init__(self, view: View, nodes: Iterable[Node]) -> None:
        self._view = view
        self._nodes = tuple(nodes)
        self._found: dict[Unit, dict[str, Forecast]] = {}

    def month(self, id: str) -> Forecast | None:
        """What this month comes to at a node; None where the viewer may see nothing there."""
        return self._of("month").get(id)

    def a_day(self, id: str, window: Window) -> int | None:
        """The pace that a limit's window goes at there, in nano-dollars a day. All that are a week long or longer go at
        that of the last week.
        """
        found = self._of("hour" if window.unit == "hour" else "day" if window.unit == "day" else "month").get(
            id
        )
        return None if found is None else found.pace

    def _of(self, period: Unit) -> dict[str, Forecast]:
        if period not in self._found:
            self._found[period] = _forecasts(self._view, self._nodes, period)
        return self._found[period]


def _forecasts(view: View, nodes: Iterable[Node], period: Unit) -> dict[str, Forecast]:
    found: dict[str, Forecast] = {}
    for node in nodes:
        asked = _asked(view, node)
        if asked is None:
            continue
        levels = [(dimension,) for dimension in _BELOW[node.kind]]
        (own,), *below = _log(view).forecasts(by=[(), *levels], period=period, **asked)
        told = (
            (each.by[dimension], each)
            for (dimension,), some in zip(levels, below, strict=True)
            for each in some
        )
        found |= {id: each for id, each in told if isinstance(id, str)}
        found[node.id] = own
    return found


def recent(view: View, node: Node) -> list[UsageRecord]:
    """The calls that ended last, the newest first; none where the viewer may not see single calls there."""
    asked = _asked(view, node, single=True)
    if asked is None:
        return []
    since = _moment(view.parts.engine.now()) - RECENT
    return _log(view).latest(since=since, limit=RECENT_MOST, **asked)


def under_way(view: View, node: Node) -> int | None:
    """How many calls are on their way, as far as that is counted; None where the viewer may see nothing there."""
    asked = _asked(view, node)
    return None if asked is None else _log(view).under_way(**asked)


def end_users(view: View, node: Node, days: int) -> list[Total] | None:
    """What each end user of a node cost in the last days, the most first; None where the viewer may not see that."""
    asked = _asked(view, node, single=True)
    if asked is None:
        return None
    since = _moment(view.parts.engine.now()) - timedelta(days=days)
    found = _log(view).totals(by=("end_user",), since=since, **asked)
    return [total for total in found if total.by["end_user"] is not None]


_BELOW: Mapping[str, tuple[str, ...]] = {
    "organization": ("team", "project"),
    "team": ("project",),
    "project": (),
}


def _log(view: View) -> UsageLog:
    """What was used, with what was settled in this process until the page asked first."""
    if "log" not in view.kept:
        view.kept["log"] = view.parts.usage.log()
    log: UsageLog = view.kept["log"]
    return log


def _asked(view: View, node: Node, *, single: bool = False) -> dict[str, Any] | None:
    """How usage is asked for what the viewer sees of a node; None where that is nothing."""
    key = "asked", node.id, single
    if key not in view.kept:
        seen = sight(view, node, single=single)
        where: dict[str, Any] = {} if node.kind == "organization" else {node.kind: node.id}
        asked = {**where, "organization": view.org, "only": seen.only()} if seen is not None else None
        view.kept[key] = asked
    kept: dict[str, Any] | None = view.kept[key]
    return kept


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
