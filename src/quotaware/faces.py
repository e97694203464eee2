"""The faces of a Quota beside itself: the tree and what was used, awaited (`quota.tenancy`, `quota.usage`) and for sync
code (`quota.blocking`). One blocking implementation is behind both.
"""

from __future__ import annotations

import inspect
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from itertools import islice
from typing import Any, Protocol, Required, TypedDict, Unpack

import anyio.to_thread

from .alerts.service import Alerting, AlertService
from .context import NOBODY
from .core.explanation import Explanation
from .core.totals import Denied, DeniedWhere, Narrowed, Total, Unit
from .engine import Engine
from .explaining import explain
from .outbound.meter import Meter
from .rollups import Folder
from .stores.protocol import Store
from .stores.tickets import drive
from .tenancy.service import Tenancy
from .usage import PAGE, UsageLog, UsageRecord


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

    def explain(self, **asked: Unpack[Asked]) -> Explanation:
        """The same as `Quota.explain`, for sync code."""
        return drive(explain(self._quota.engine, self._quota.meter.binding(), **asked))


class BlockingUsage:
    """What was used, for sync code: `quota.blocking.usage.records(...)`."""

    def __init__(self, quota: HasParts, log: UsageLog) -> None:
        self._quota = weakref.proxy(quota)
        self._log = log

    def records(
        self,
        *,
        organization: str | None = None,
        project: str | None = None,
        key: str | None = None,
        end_user: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Iterator[UsageRecord]:
        """Usage records, oldest first (organization by organization), narrowed by what is given; calls admitted in
        [since, until).
        """
        self._quota.flush()
        for org in [organization] if organization is not None else self._organizations(project):
            yield from self._log.records(
                org, project=project, key=key, end_user=end_user, since=since, until=until
            )

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
        orgs = [organization] if organization is not None else self._organizations(where.get("project"))
        return [
            total
            for org in orgs
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
        orgs = [organization] if organization is not None else self._organizations(where.get("project"))
        return [
            total
            for org in orgs
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

    def _organizations(self, project: str | None) -> Iterator[str]:
        engine = self._quota.engine
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

    async def records(
        self,
        *,
        organization: str | None = None,
        project: str | None = None,
        key: str | None = None,
        end_user: str | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> AsyncIterator[UsageRecord]:
        """The same as `quota.blocking.usage.records`, off the event loop."""
        records = self._blocking.records(
            organization=organization, project=project, key=key, end_user=end_user, since=since, until=until
        )
        while page := await anyio.to_thread.run_sync(lambda: list(islice(records, PAGE))):
            for record in page:
                yield record

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
