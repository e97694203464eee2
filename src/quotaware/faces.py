"""The faces of a Quota beside itself: the tree and what was used, awaited (`quota.tenancy`, `quota.usage`) and for sync
code (`quota.blocking`). One blocking implementation is behind both.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cached_property, partial
from itertools import dropwhile, islice
from typing import TYPE_CHECKING, Any, Protocol, Required, TypedDict, TypeVar, Unpack

import anyio.to_thread

from . import exporting
from .alerts.service import Alerting, AlertService
from .context import NOBODY
from .core.explanation import Explanation
from .core.forecasts import Forecast
from .core.simulation import Simulation
from .core.totals import Denied, DeniedWhere, Narrowed, Total, Unit
from .engine import Engine
from .errors import ConfigurationError
from .explaining import explain
from .exporting import Format
from .outbound.meter import Meter
from .rollups import Folder
from .simulating import Given, Period, Progress, Terms, read_period, read_plan, simulate
from .stores.protocol import Store
from .stores.tickets import drive
from .tenancy.service import Tenancy
from .usage import PAGE, START, Order, RecordPage, UsageLog, UsageRecord, largest

if TYPE_CHECKING:
    from .organization.service import Organizations

T = TypeVar("T")


class Asked(TypedDict, total=False):
    """What `Quota.explain` is asked."""

    model: Required[str]
    provider: str | None
    operation: str
    input: int | None
    max_output: int | None
    key: str | None
    project: str | None
    member: str | None
    organization: str | None
    end_user: str | None
    tags: Mapping[str, str] | None
    address: str | None


class HasParts(Protocol):
    """What the faces need of a Quota."""

    engine: Engine
    meter: Meter
    store: Store
    alerting: Alerting

    def flush(self, timeout: float = 1.0) -> bool: ...


class Blocking:
    """The face for sync code: `tenancy` makes and changes the tree, `usage` tells what was used, `alerts` what was sent
    to whom.
    """

    def __init__(self, quota: HasParts, tenancy: Tenancy, folder: Folder | None = None) -> None:
        self._quota = weakref.proxy(quota)
        self.tenancy = tenancy
        self.usage = BlockingUsage(quota, UsageLog(quota.store, folder, quota.engine.now))
        self.alerts = AlertService(quota.alerting, quota.store, tenancy, quota.engine.now)
        self._source = (folder or Folder(quota.store)).records

    @cached_property
    def organization(self) -> Organizations:
        """An organization as one file: `plan`, `apply` and `export` (docs/organization-file.md)."""
        from .organization.service import Organizations  # noqa: PLC0415  # who needs none loads no pydantic

        return Organizations(self.tenancy, self.alerts, self._quota.engine.now)

    def explain(self, **asked: Unpack[Asked]) -> Explanation:
        """The same as `Quota.explain`, for sync code."""
        return drive(explain(self._quota.engine, self._quota.meter.binding(), **asked))

    def simulate(
        self,
        plan: Mapping[str, Given],
        period: Period = "30d",
        *,
        organization: str | None = None,
        below: str = "",
        most: int | None = None,
        progress: Progress | None = None,
    ) -> Simulation:
        """The same as `Quota.simulate`, for sync code. `below`: only calls below the node of this id are told of, all
        of them are decided; `most`: ConfigurationError where there are more records.
        """
        engine = self._quota.engine
        drive(engine.prepared())
        self._quota.flush()
        org = organization or (engine.simple and engine.simple.org) or engine.directory.only_organization()
        if org is None:
            raise ConfigurationError("organization", "there are several, or none; say of which one")
        org = self.tenancy.place(org, org, "organization")  # one that is not there is no empty one
        read = read_plan(self.tenancy, org, plan)
        since, until = read_period(period, engine.now())
        settings = engine.settings
        terms = Terms(settings.tight != "deny", round(settings.settle_wait * 1000), settings.max_waiters)
        return simulate(
            self._source,
            engine.directory,
            org,
            read,
            since,
            until,
            terms,
            below=below,
            most=most,
            progress=progress,
        )


class BlockingUsage:
    """What was used, for sync code: `quota.blocking.usage.records(...)`."""

    def __init__(self, quota: HasParts, log: UsageLog) -> None:
        self._quota = weakref.proxy(quota)
        self._log = log

    def log(self) -> UsageLog:
        """The same of one organization at a time, and of `only` what somebody may see; what was settled in this process
        is in it.
        """
        self._quota.flush()
        return self._log

    def records(
        self,
        *,
        organization: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        **where: Unpack[Narrowed],
    ) -> Iterator[UsageRecord]:
        """Usage records, oldest first (organization by organization), narrowed by what is given; calls admitted in
        [since, until).
        """
        self._quota.flush()
        for org in self._which(organization, where.get("project")):
            yield from self._log.records(org, since=since, until=until, **where)

    def page(
        self,
        *,
        organization: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
        **where: Unpack[Narrowed],
    ) -> RecordPage:
        """At most `limit` (up to 1000) of the same records, from `next_cursor` of another page on. It may hold fewer
        though there are more, where many were looked through. Raises `ConfigurationError`, `StoreError`.
        """
        self._quota.flush()
        home, _, after = (cursor or "").rpartition("/")
        orgs = self._which(organization, where.get("project"))
        for org in dropwhile(lambda org: org != home, orgs) if cursor else orgs:
            found = self._log.page(org, since=since, until=until, limit=limit, cursor=after or None, **where)
            if found.next_cursor is not None:
                return RecordPage(found.records, f"{org}/{found.next_cursor}")
            if found.records and (following := next(orgs, None)) is not None:
                return RecordPage(found.records, f"{following}/{START}")
            if found.records:
                return found
            after = ""
        return RecordPage([], None)

    def export(self, format: Format = "csv", **asked: Any) -> Iterator[str]:
        """The records that `records` answers as text, line by line: "csv", with a line of names, or "jsonl" (JSON
        Lines). However many there are, only some are in memory. Raises `ConfigurationError`, `StoreError`.
        """
        return exporting.records(format, self.records(**asked))

    def export_totals(
        self, format: Format = "csv", *, by: Sequence[str] = ("model",), **asked: Any
    ) -> Iterator[str]:
        """The totals that `totals` answers as text, line by line."""
        by = (by,) if isinstance(by, str) else tuple(by)
        return exporting.totals(format, by, self.totals(by=by, **asked))

    def top(self, by: str = "model", *, limit: int = 10, order: Order = "cost", **asked: Any) -> list[Total]:
        """The largest totals of one dimension, of all organizations or one: see `UsageLog.top`."""
        return largest(self.totals(by=(by,), **asked), limit, order)

    def forecast(
        self,
        *,
        organization: str | None = None,
        period: Unit = "month",
        by: Sequence[str] = (),
        time_zone: str | None = None,
        **where: Unpack[Narrowed],
    ) -> list[Forecast]:
        """What the calendar period of now will have cost at its end (organization by organization, without those in
        which nothing was called): see `UsageLog.forecast`.
        """
        self._quota.flush()
        return [
            each
            for org in self._which(organization, where.get("project"))
            for each in self._log.forecast(org, period=period, by=by, time_zone=time_zone, **where)
            if organization is not None or each.calls or each.expected
        ]

    def totals(
        self,
        *,
        organization: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        by: Sequence[str] = ("model",),
        bucket: Unit | timedelta | None = None,
        time_zone: str | None = None,
        **where: Unpack[Narrowed],
    ) -> list[Total]:
        """What calls admitted in [since, until) came to (organization by organization): see `UsageLog.totals`."""
        self._quota.flush()
        return [
            total
            for org in self._which(organization, where.get("project"))
            for total in self._log.totals(
                org, since=since, until=until, by=by, bucket=bucket, time_zone=time_zone, **where
            )
        ]

    def denied(
        self,
        *,
        organization: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        by: Sequence[str] = ("code",),
        bucket: Unit | timedelta | None = None,
        time_zone: str | None = None,
        **where: Unpack[DeniedWhere],
    ) -> list[Denied]:
        """How many calls were denied in [since, until) (organization by organization): see `UsageLog.denied`. Denied
        calls are no calls; they stand in no record and no total. Other processes' are there within five seconds.
        """
        self._quota.flush()
        return [
            total
            for org in self._which(organization, where.get("project"))
            for total in self._log.denied(
                org, since=since, until=until, by=by, bucket=bucket, time_zone=time_zone, **where
            )
        ]

    def last_used(self, keys: Iterable[str], *, organization: str | None = None) -> dict[str, datetime]:
        """When each of these keys (ids, of one organization) made its last call, as of its admission, to the ms; one
        that made none is not there. A call under way is not seen yet.
        """
        self._quota.flush()
        ids = (keys,) if isinstance(keys, str) else tuple(keys)
        homes = [organization] if organization is not None else map(self._quota.engine.directory.locate, ids)
        home = next((home for home in homes if home is not None), None)
        return self._log.last_used(home, ids) if home is not None else {}

    def _which(self, organization: str | None, project: str | None) -> Iterator[str]:
        """The organizations that are asked about: one, or the project's, or all."""
        engine = self._quota.engine
        if organization is not None:
            yield organization
            return
        if project is not None:
            home = engine.directory.locate(project)
            yield from [home] if home else []
            return
        after = ""
        while orgs := self._quota.store.orgs(after, 100):
            yield from orgs
            after = orgs[-1]
        yield NOBODY.org


class AwaitedUsage:
    """The Python face of what was used: `quota.usage.records(...)`."""

    def __init__(self, blocking: BlockingUsage) -> None:
        self._blocking = blocking

    def records(
        self,
        *,
        organization: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        **where: Unpack[Narrowed],
    ) -> AsyncIterator[UsageRecord]:
        """The same as `quota.blocking.usage.records`, off the event loop."""
        return _awaited(self._blocking.records(organization=organization, since=since, until=until, **where))

    async def page(
        self,
        *,
        organization: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
        **where: Unpack[Narrowed],
    ) -> RecordPage:
        """The same as `quota.blocking.usage.page`, off the event loop."""
        page = partial(
            self._blocking.page,
            organization=organization,
            since=since,
            until=until,
            limit=limit,
            cursor=cursor,
            **where,
        )
        return await anyio.to_thread.run_sync(page)

    def export(self, format: Format = "csv", **asked: Any) -> AsyncIterator[str]:
        """The same as `quota.blocking.usage.export`, off the event loop."""
        return _awaited(self._blocking.export(format, **asked))

    async def export_totals(
        self, format: Format = "csv", *, by: Sequence[str] = ("model",), **asked: Any
    ) -> AsyncIterator[str]:
        """The same as `quota.blocking.usage.export_totals`, off the event loop."""
        export = partial(self._blocking.export_totals, format, by=by, **asked)
        async for line in _awaited(await anyio.to_thread.run_sync(export)):
            yield line

    async def top(
        self, by: str = "model", *, limit: int = 10, order: Order = "cost", **asked: Any
    ) -> list[Total]:
        """The same as `quota.blocking.usage.top`, off the event loop."""
        top = partial(self._blocking.top, by, limit=limit, order=order, **asked)
        return await anyio.to_thread.run_sync(top)

    async def forecast(
        self,
        *,
        organization: str | None = None,
        period: Unit = "month",
        by: Sequence[str] = (),
        time_zone: str | None = None,
        **where: Unpack[Narrowed],
    ) -> list[Forecast]:
        """The same as `quota.blocking.usage.forecast`, off the event loop."""
        forecast = partial(
            self._blocking.forecast,
            organization=organization,
            period=period,
            by=by,
            time_zone=time_zone,
            **where,
        )
        return await anyio.to_thread.run_sync(forecast)

    async def totals(
        self,
        *,
        organization: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        by: Sequence[str] = ("model",),
        bucket: Unit | timedelta | None = None,
        time_zone: str | None = None,
        **where: Unpack[Narrowed],
    ) -> list[Total]:
        """The same as `quota.blocking.usage.totals`, off the event loop."""
        totals = partial(
            self._blocking.totals,
            organization=organization,
            since=since,
            until=until,
            by=by,
            bucket=bucket,
            time_zone=time_zone,
            **where,
        )
        return await anyio.to_thread.run_sync(totals)

    async def denied(
        self,
        *,
        organization: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        by: Sequence[str] = ("code",),
        bucket: Unit | timedelta | None = None,
        time_zone: str | None = None,
        **where: Unpack[DeniedWhere],
    ) -> list[Denied]:
        """The same as `quota.blocking.usage.denied`, off the event loop."""
        denied = partial(
            self._blocking.denied,
            organization=organization,
            since=since,
            until=until,
            by=by,
            bucket=bucket,
            time_zone=time_zone,
            **where,
        )
        return await anyio.to_thread.run_sync(denied)

    async def last_used(self, keys: Iterable[str], *, organization: str | None = None) -> dict[str, datetime]:
        """The same as `quota.blocking.usage.last_used`, off the event loop."""
        return await anyio.to_thread.run_sync(
            partial(self._blocking.last_used, keys, organization=organization)
        )


async def _awaited(items: Iterator[T]) -> AsyncIterator[T]:
    """The same items, each some of them made off the event loop."""
    while some := await anyio.to_thread.run_sync(lambda: list(islice(items, PAGE))):
        for item in some:
            yield item


class Awaited:
    """The awaited face of blocking methods: each runs off the event loop, under its own name."""

    def __init__(self, inner: object) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name.startswith("_") or not inspect.ismethod(method):
            raise AttributeError(name)

        async def awaited(*args: Any, **kwargs: Any) -> Any:
            return await anyio.to_thread.run_sync(partial(method, *args, **kwargs))

        awaited.__name__ = name
        awaited.__doc__ = method.__doc__
        return awaited
