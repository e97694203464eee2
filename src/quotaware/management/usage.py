"""`/{organizations|teams|projects}/{id}/usage…`: what was used below a node, told in any way.

Totals by dimensions and buckets, denied calls, single records with a cursor, a forecast, and files of both. Figures are
exact at every moment, and what of them is told is what the caller may see (`sight.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar, get_args

from .. import exporting
from ..core.forecasts import Forecast
from ..core.permissions import allows
from ..core.rollups import OF, Value
from ..core.totals import Denied, Total, Unit
from ..core.usage import Usage
from ..errors import ConfigurationError
from ..tenancy.keys import Kind
from ..usage import UsageRecord, largest
from .analytics import to_ms
from .routes import Ask, Route, Streamed
from .sight import AGGREGATE, OWN, Sight
from .usage_wire import (
    LENGTHS,
    AskedDenied,
    AskedFile,
    AskedForecast,
    AskedRecords,
    AskedTotals,
    Beside,
    DeniedAnswer,
    DeniedTotals,
    ForecastAnswer,
    Forecasts,
    Narrow,
    RecordAnswer,
    Records,
    Tokens,
    Took,
    TotalAnswer,
    Totals,
)

R = TypeVar("R")


def usage(ask: Ask, kind: Kind) -> Totals:
    """Takes analytics:full, analytics:own (the caller's own keys and projects) or analytics:read:aggregate (totals that
    show no key, member, end user or tag).
    """
    query, sight = ask.query, Sight(ask, kind)
    where = _narrowed(query, kind, sight)
    by = tuple(dict.fromkeys(query.by))
    sight.require((*by, *where))
    found = ask.parts.usage.log().totals(ask.org, by=by, **_asked(ask, sight, query), **where)
    if query.bucket is None:
        found = largest(found, max(1, len(found)), query.order)
    else:
        found = [each for some in _bucketed(found) for each in largest(some, len(some), query.order)]
    told = found[: query.limit]
    names = _names(sight, (total.by for total in told))
    return Totals(
        view=sight.view, names=names, data=[_total(total) for total in told], left_out=len(found) - len(told)
    )


def denied(ask: Ask, kind: Kind) -> DeniedTotals:
    """Takes analytics:full, analytics:own (the caller's own keys and projects) or analytics:read:aggregate (no key)."""
    query, sight = ask.query, Sight(ask, kind)
    where = _narrowed(query, kind, sight, OF["denied"])
    by = tuple(dict.fromkeys(query.by))
    sight.require((*by, *where))
    found = ask.parts.usage.log().denied(ask.org, by=by, **_asked(ask, sight, query), **where)
    told = found[: query.limit]
    data = [DeniedAnswer(**_about(each), requests=each.calls) for each in told]
    names = _names(sight, (each.by for each in told))
    return DeniedTotals(view=sight.view, names=names, data=data, left_out=len(found) - len(told))


def usage_records(ask: Ask, kind: Kind) -> Records:
    """Takes analytics:full, or analytics:own (the caller's own keys and projects)."""
    query, sight = ask.query, Sight(ask, kind, single=True)
    where = _narrowed(query, kind, sight)
    since, until = query.bounds(ask.parts.engine.now())
    page = ask.parts.usage.log().page(
        ask.org,
        since=since,
        until=until,
        limit=query.limit,
        cursor=query.cursor,
        only=sight.only(query.environment),
        **where,
    )
    found = page.records
    names = _names(sight, ({name: getattr(each, name) for name in _NODES} for each in found))
    data = [_record(record) for record in found]
    return Records(view=sight.view, names=names, data=data, next_cursor=page.next_cursor)


def usage_file(ask: Ask, kind: Kind) -> Streamed:
    """Sent as it is read, however long it is. Records take analytics:full or analytics:own, totals what they take
    otherwise.
    """
    query = ask.query
    sight = Sight(ask, kind, single=query.of == "records")
    where = _narrowed(query, kind, sight)
    log = ask.parts.usage.log()
    lines: Iterator[str]
    if query.of == "totals":
        by = tuple(dict.fromkeys(query.by))
        sight.require((*by, *where))
        totals = log.totals(ask.org, by=by, **_asked(ask, sight, query), **where)
        lines = exporting.totals(query.format, by, totals)
    else:
        since, until = query.bounds(ask.parts.engine.now())
        records = log.records(ask.org, since=since, until=until, only=sight.only(query.environment), **where)
        lines = exporting.records(query.format, records)
    return Streamed(exporting.MEDIA[query.format], f"{query.of}-{sight.node}.{query.format}", lines)


def usage_forecast(ask: Ask, kind: Kind) -> Forecasts:
    """Takes analytics:full, analytics:own (the caller's own keys and projects) or analytics:read:aggregate (no key or
    person). Its budget takes quota:read:summary.
    """
    query, sight = ask.query, Sight(ask, kind)
    by = tuple(dict.fromkeys(query.by))
    sight.require(by)
    own = {} if kind == "organization" else {kind: sight.node}
    (total,), found = ask.parts.usage.log().forecasts(
        ask.org,
        by=((), by),
        period=query.period,
        time_zone=query.time_zone,
        only=sight.only(query.environment),
        **own,
    )
    found = found if by else []
    budget = None
    if sight.view != "own" and query.environment is None and allows(sight.held, "quota:read:summary"):
        budget = _budget(ask, sight.node, query.period)
    out = None if budget is None else total.runs_out(budget)
    return Forecasts(
        view=sight.view,
        names=_names(sight, (each.by for each in found)),
        begins_at=to_ms(total.begin),
        ends_at=to_ms(total.end),
        total=_forecast(total),
        data=[_forecast(each) for each in found],
        budget=budget,
        runs_out_at=None if out is None else to_ms(out),
    )


_NODES = ("team", "project", "key")


def _narrowed(query: Narrow, kind: Kind, sight: Sight, dims: Iterable[str] = OF["calls"]) -> dict[str, Any]:
    """What the query says of dimensions, and the node itself. Raises `ConfigurationError` where it names another."""
    where = {name: value for name in dims if (value := getattr(query, name, None)) is not None}
    if kind != "organization" and where.setdefault(kind, sight.node) != sight.node:
        raise ConfigurationError(kind, "is another than the one in the path")
    return where


def _asked(ask: Ask, sight: Sight, query: Any) -> dict[str, Any]:
    """What else totals are asked."""
    since, until = query.bounds(ask.parts.engine.now())
    bucket = query.bucket
    if bucket is not None and bucket not in get_args(Unit):
        bucket = int(bucket[:-1]) * LENGTHS[bucket[-1]]
    return {
        "since": since,
        "until": until,
        "bucket": bucket,
        "time_zone": query.time_zone,
        "only": sight.only(query.environment),
    }


def _bucketed(totals: Iterable[Total]) -> Iterable[list[Total]]:
    found: dict[datetime | None, list[Total]] = {}
    for total in totals:
        found.setdefault(total.bucket, []).append(total)
    return found.values()


def _names(sight: Sight, told: Iterable[Mapping[str, Value]]) -> dict[str, str | None]:
    ids = dict.fromkeys(str(by[name]) for by in told for name in _NODES if by.get(name) is not None)
    nodes = sight.nodes(ids)
    return {id: nodes[id].name if id in nodes else None for id in ids}


def _about(total: Total | Denied) -> dict[str, Any]:
    moments = {name: getattr(total, name) for name in ("bucket", "since", "until")}
    return {
        "by": dict(total.by),
        **{name: None if moment is None else to_ms(moment) for name, moment in moments.items()},
    }


def _tokens(usage: Usage) -> Tokens:
    return Tokens(**{field.name: getattr(usage, field.name) for field in fields(Usage)})


def _total(total: Total) -> TotalAnswer:
    return TotalAnswer(
        **_about(total),
        requests=total.calls,
        cost=total.cost,
        tokens=_tokens(total.usage),
        latency_ms=_took(total.timed, total.mean_ms, total.percentile_ms),
        first_token_ms=_took(total.streamed, total.mean_first_ms, total.percentile_first_ms),
        partial=total.partial,
        estimated=total.estimated,
        unsettled=total.unsettled,
        overrun=total.overrun,
        unpriced=total.unpriced,
    )


def _took(calls: int, mean: float, percentile: Callable[[float], float | None]) -> Took:
    return Took(calls=calls, mean=mean, p50=percentile(0.5), p95=percentile(0.95))


def _record(record: UsageRecord) -> RecordAnswer:
    same = {name: getattr(record, name) for name in RecordAnswer.model_fields if hasattr(record, name)}
    return RecordAnswer(
        **same
        | {
            "at": to_ms(record.at),
            "tags": dict(record.tags),
            "tokens": _tokens(record.usage),
            "latency_ms": record.duration_ms,
            "flags": sorted(record.flags),
            "would_deny": list(record.would_deny),
            "besides": [Beside(model=model, tokens=_tokens(used)) for model, used in record.besides],
        }
    )


def _forecast(found: Forecast) -> ForecastAnswer:
    return ForecastAnswer(
        by=dict(found.by),
        requests=found.calls,
        spent=found.spent,
        pace_per_day=found.pace,
        expected=found.expected,
    )


def _budget(ask: Ask, node: str, period: Unit) -> int | None:
    """The node's tightest budget for such a period, with what is in force for a time."""
    _, figures = ask.tenancy.figures(ask.org, node)
    budgets = [
        each.amount
        for each in figures
        if each.limit.metric == "cost"
        and each.limit.models is None
        and each.limit.per is None
        and each.limit.window is not None
        and (each.limit.window.kind, each.limit.window.unit) == ("calendar", period)
    ]
    return min(budgets, default=None)


def _routes(kind: Kind, plural: str) -> tuple[Route, ...]:
    """The operations on nodes of a kind."""

    def run(work: Callable[[Ask, Kind], R]) -> Callable[[Ask], R]:
        def operation(ask: Ask) -> R:
            return work(ask, kind)

        operation.__name__ = f"{work.__name__}_of_{kind}"
        operation.__doc__ = work.__doc__
        return operation

    path, any_of = f"/{plural}/{{id}}/usage", f"{OWN} or {AGGREGATE}"
    return (
        Route("GET", path, run(usage), "Totals by any dimensions, over time", _TAG, any_of, Totals, query=AskedTotals),
        Route(
            "GET", f"{path}/denied", run(denied), "Denied calls by reason", _TAG, any_of, DeniedTotals,
            query=AskedDenied,
        ),
        Route(
            "GET", f"{path}/records", run(usage_records), "Single calls", _TAG, OWN, Records, query=AskedRecords
        ),
        Route(
            "GET", f"{path}/export", run(usage_file), "A file of calls or totals", _TAG, any_of, query=AskedFile,
            media=tuple(media.partition(";")[0] for media in exporting.MEDIA.values()),
        ),
        Route(
            "GET", f"{path}/forecast", run(usage_forecast), "What a period will have cost", _TAG, any_of, Forecasts,
            query=AskedForecast,
        ),
    )  # fmt: skip


_TAG = "analytics"

ROUTES = (
    *_routes("organization", "organizations"),
    *_routes("team", "teams"),
    *_routes("project", "projects"),
)
