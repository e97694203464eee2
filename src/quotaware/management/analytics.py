"""What was used, of an organization, a team or a project, and of one key.

Who holds `analytics:full` sees everything there; with `analytics:own` only the caller's own keys and projects; with
`analytics:read:aggregate` totals, and no key. A key that was rotated and those in its place are one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from ..core.permissions import allows
from ..core.rollups import Value
from ..core.totals import Denied, Total
from ..errors import ConfigurationError
from ..tenancy.keys import Kind
from ..tenancy.nodes import Node
from ..words.wire import Answer, Body, Dollars, Moment, Time
from .routes import Ask, Route
from .sight import AGGREGATE, FULL, OWN, Sight, own_ids

TOP = 10
LONGEST_DAYS = 400
"""Sums are kept so long."""
_MS = timedelta(milliseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_HALF_A_DAY = timedelta(hours=12)
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1)}

Nodes = Mapping[str, Node]


def _period(text: str) -> str:
    if not re.fullmatch(_PERIOD, text):
        raise ValueError("is a number of days or hours, such as 7d or 24h")
    return text


_PERIOD = "^[1-9][0-9]{0,3}[dh]$"
Period = Annotated[str, AfterValidator(_period), WithJsonSchema({"type": "string", "pattern": _PERIOD})]


class Span(Body):
    """Which calls: those of the last N days or hours, or those admitted in [from, to)."""

    period: Period | None = Field(
        None, description="`Nd` (from the beginning of an hour on) or `Nh`, such as 7d or 24h; 30d by default"
    )
    since: Time | None = Field(None, alias="from", description="instead of a period: the beginning")
    until: Time | None = Field(None, alias="to", description="the end, which is not in it; now by default")
    environment: str | None = Field(
        None, min_length=1, max_length=64, description="of projects in this one only"
    )

    @model_validator(mode="after")
    def _one_of_both(self) -> Span:
        if self.period is not None and (self.since is not None or self.until is not None):
            raise ConfigurationError("period", "is instead of from and to; give one of the two")
        if self.until is not None and self.since is not None and self.since > self.until:
            raise ConfigurationError("from", "is after to")
        if self.period is not None and self.length > LONGEST_DAYS * _UNITS["d"]:
            raise ConfigurationError("period", f"is at most {LONGEST_DAYS} days")
        return self

    @property
    def hours(self) -> bool:
        """Whether the period is so many hours."""
        return self.period is not None and self.period.endswith("h")

    @property
    def length(self) -> timedelta:
        """How long the period is."""
        period = self.period or "30d"
        return int(period[:-1]) * _UNITS[period[-1]]

    def bounds(self, now: int) -> tuple[datetime, datetime]:
        """[from, to); what is admitted right now is in it. Days back begin with the hour (of UTC) that they begin in,
        so that no hour has to be cut.
        """
        end = _moment(now + 1 if self.until is None else self.until)
        if self.since is not None:
            return _moment(self.since), end
        since = end - self.length
        return (since if self.hours else since.replace(minute=0, second=0, microsecond=0)), end


class Days(Body):
    """How many days back."""

    days: int = Field(30, ge=1, le=LONGEST_DAYS)


class Used(Answer):
    """What some calls came to."""

    requests: int
    cost: Dollars


class Named(Used):
    """The same of one project or key; `name` is null where it has none, or is gone."""

    name: str | None


class Day(Used):
    """The same of one day in the organization's time zone."""

    date: str = Field(json_schema_extra={"format": "date"})


class Model(Used):
    """The same of one model."""

    model: str


class DeniedCalls(Answer):
    """Calls that were refused, which are no requests: how many, and by the `code` of their error."""

    requests: int
    by_code: dict[str, int]


class Summed(Answer):
    """Calls together. The mean of nothing is 0.0."""

    total_requests: int
    total_cost_usd: Dollars
    avg_latency_ms: float
    by_model: dict[str, Used]
    denied: DeniedCalls


class KeyUsage(Summed):
    """What a key was used for."""

    days: int


class Analytics(Summed):
    """What was used, all figures of the same moment.

    `since` and `until` are what it covers: wider than asked where the records that would cut an hour or day are gone.
    `view` is how much the caller may see. Models go by the largest cost.
    """

    since: Moment
    until: Moment
    view: Literal["full", "own", "aggregate"]
    by_project: dict[str, Named]
    by_key: dict[str, Named]
    by_day: list[Day]
    top_models: list[Model]


def organization_analytics(ask: Ask) -> Analytics:
    """Takes analytics:full, analytics:own (the caller's own keys and projects) or analytics:read:aggregate (totals)."""
    return _analytics(ask, "organization")


def team_analytics(ask: Ask) -> Analytics:
    """Takes analytics:full, analytics:own (the caller's own keys and projects) or analytics:read:aggregate (totals)."""
    return _analytics(ask, "team")


def project_analytics(ask: Ask) -> Analytics:
    """Takes analytics:full, analytics:own (the caller's own keys and projects) or analytics:read:aggregate (totals)."""
    return _analytics(ask, "project")


def key_usage(ask: Ask) -> KeyUsage:
    """Takes analytics:full, or analytics:own for the caller's own keys."""
    tenancy, org = ask.tenancy, ask.org
    id = tenancy.place(org, ask.params["id"], "key")
    held = tenancy.held_at(org, id)
    if not allows(held, FULL):
        if not allows(held, OWN):
            raise ask.actor.lacks(OWN)
        if not own_ids(ask) & {id, tenancy.those(org, [id])[id].creator}:
            raise ask.actor.lacks(FULL)
    until = _moment(ask.parts.engine.now() + 1)
    since = until - timedelta(days=ask.query.days)
    found: list[Total] = []
    denied: list[Denied] = []
    for key in tenancy.lineage(org, id):
        asked = {"organization": org, "since": since, "until": until, "key": key.id}
        found += ask.parts.usage.totals(by=("model",), **asked)
        denied += ask.parts.usage.denied(by=("code",), **asked)
    return KeyUsage(days=ask.query.days, **_summed(found, denied))


def _analytics(ask: Ask, kind: Kind) -> Analytics:
    org, span, sight = ask.org, ask.query, Sight(ask, kind)
    since, until = span.bounds(ask.parts.engine.now())
    asked: dict[str, Any] = {"since": since, "until": until, "only": sight.only(span.environment)}
    if kind != "organization":
        asked[kind] = sight.node
    log = ask.parts.usage.log()
    found: list[Total] = log.totals(org, by=("project", "key", "model"), bucket="day", **asked)
    denied: list[Denied] = log.denied(org, by=("code",), **asked)
    nodes = sight.nodes(total.by[name] for total in found for name in ("project", "key"))
    summed = _summed(found, denied)
    return Analytics(
        since=to_ms(min([since, *(total.since for total in found if total.since)])),
        until=to_ms(max([until, *(total.until for total in found if total.until)])),
        view=sight.view,
        by_project=_named(found, lambda total: total.by["project"], nodes),
        by_key={} if sight.view == "aggregate" else _by_key(ask, found, nodes),
        by_day=days_of(ask, found),
        top_models=[
            Model(model=model, requests=used.requests, cost=used.cost)
            for model, used in list(summed["by_model"].items())[:TOP]
        ],
        **summed,
    )


def days_of(ask: Ask, totals: Iterable[Total]) -> list[Day]:
    """Totals by day as they are answered, the first day first."""
    return [
        Day(date=str(day), requests=requests, cost=cost)
        for day, (requests, cost) in sorted(_grouped(totals, _date(ask)).items())
    ]


def _summed(totals: Sequence[Total], denied: Iterable[Denied]) -> dict[str, Any]:
    """The fields of `Summed`, models by the largest cost."""
    by_code: Counter[str] = Counter()
    for each in denied:
        by_code[str(each.by["code"])] += each.calls
    timed = sum(total.timed for total in totals)
    models = _grouped(totals, lambda total: str(total.by["model"] or "unknown"))
    return {
        "total_requests": sum(total.calls for total in totals),
        "total_cost_usd": sum(total.cost for total in totals),
        "avg_latency_ms": sum(total.duration_ms for total in totals) / timed if timed else 0.0,
        "by_model": {
            model: Used(requests=requests, cost=cost)
            for model, (requests, cost) in sorted(models.items(), key=lambda each: (-each[1][1], each[0]))
        },
        "denied": DeniedCalls(requests=by_code.total(), by_code=dict(by_code.most_common())),
    }


def _grouped(totals: Iterable[Total], of: Callable[[Total], Any]) -> dict[Any, tuple[int, int]]:
    """(requests, cost) of the totals by what `of` says of each, without those that it says None of."""
    found: dict[Any, tuple[int, int]] = {}
    for total in totals:
        group = of(total)
        if group is not None:
            requests, cost = found.get(group, (0, 0))
            found[group] = requests + total.calls, cost + total.cost
    return found


def _by_key(ask: Ask, totals: Iterable[Total], nodes: Nodes) -> dict[str, Named]:
    heads = _heads(ask, nodes)

    def head(total: Total) -> Value:
        key = total.by["key"]
        return heads[str(key)].id if key in heads else key

    return _named(totals, head, heads)


def _named(
    totals: Iterable[Total], of: Callable[[Total], Any], nodes: Mapping[str, Node]
) -> dict[str, Named]:
    names = {node.id: node.name for node in nodes.values()}
    found = sorted(_grouped(totals, of).items(), key=lambda each: (-each[1][1], each[0]))
    return {id: Named(requests=requests, cost=cost, name=names.get(id)) for id, (requests, cost) in found}


def _heads(ask: Ask, nodes: Nodes) -> Nodes:
    """By the id of each key the newest of those that took each other's place."""
    keys = [node for node in nodes.values() if node.kind == "key"]
    for node in tuple(keys):
        if node.name is None and node.expires_at is not None:  # in its grace: its name went on to its heir
            keys += ask.tenancy.lineage(ask.org, node.id)
    keys.sort(key=lambda key: (key.created_at, not key.revoked, key.expires_at is None))
    newest = {key.origin or key.id: key for key in keys}
    return {key.id: newest[key.origin or key.id] for key in keys}


def _date(ask: Ask) -> Callable[[Total], date | None]:
    zone = ZoneInfo(ask.tenancy.those(ask.org, [ask.org])[ask.org].zone)

    def local(total: Total) -> date | None:
        # Noon is in the same day in almost any zone; days before a change of zone began at another midnight.
        return None if total.bucket is None else (total.bucket + _HALF_A_DAY).astimezone(zone).date()

    return local


def _moment(ms: int) -> datetime:
    return _EPOCH + ms * _MS


def to_ms(moment: datetime) -> int:
    """A moment as ms since the epoch."""
    return (moment - _EPOCH) // _MS


_TAG = "analytics"
_TAKES = f"{OWN} or {AGGREGATE}"

ROUTES = (
    Route(
        "GET", "/organizations/{id}/analytics", organization_analytics, "What an organization used", _TAG, _TAKES,
        Analytics, query=Span,
    ),
    Route("GET", "/teams/{id}/analytics", team_analytics, "What a team used", _TAG, _TAKES, Analytics, query=Span),
    Route(
        "GET", "/projects/{id}/analytics", project_analytics, "What a project used", _TAG, _TAKES, Analytics,
        query=Span,
    ),
    Route("GET", "/api-keys/{id}/usage", key_usage, "What a key was used for", _TAG, OWN, KeyUsage, query=Days),
)  # fmt: skip
