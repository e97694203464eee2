"""What finished calls left: usage records, what they come to (`totals.py`) and will come to, read from the store."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any, Literal, NamedTuple, Unpack, get_args

from .core.denied import is_of_denied
from .core.forecasts import Forecast, looked_back, of_calls, pace
from .core.money import to_usd
from .core.rollups import DAY_MS, Value, besides_of, bounds, quality_of, read, usage_of
from .core.steps import NOTHING, REMEMBER_MS, Row
from .core.totals import FOREVER_MS, Denied, DeniedWhere, Narrowed, Only, Total, Unit, ask
from .core.usage import Quality, Usage
from .errors import ConfigurationError
from .rollups import Folder, pages, zone_of
from .stores.memory import system_clock
from .stores.protocol import Clock, Store
from .totals import Accounts

PAGE = 1000
SCAN = 20_000
"""So many records are looked through for one page of them."""
NEWEST = 5000
"""So many of the newest records are looked through for the latest that are asked for."""
MOST = 1000
"""The most records of a page."""
OPEN = 1000
"""Calls that are under way are counted so far."""
START = "0-0"
"""The cursor before all records."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One finished call, or (`correction`) the difference to an earlier charge of the call with the same id.

    id            the reservation's id; time-ordered
    first         the id under which a call was let go that could only be booked after its id was forgotten
    at            when the call was admitted; duration_ms until it was settled, first_token_ms until the first piece of
                  a streamed answer with something generated in it was there (None: it came whole, or never)
    project, team, key, member, end_user, tags   whose it was; the member: who acted, by the host's own login
    provider, operation   where it went
    model         as the answer names it, else as it was asked for; requested_model: as it was asked for
    usage         tokens, and its `quality`: exact, partial, estimated, unsettled
    besides       what was used beside the answer, by models (None: the call's own): passes that made a history shorter,
                  an advisor, an image tool. It is in the cost and in what token limits count, not in `usage`
    cost          nano-dollars, at the price in force when the call was made; `cost_usd` the same in dollars
    reserved      nano-dollars that were held for it
    status        HTTP status of the answer, 0 where none came
    flags         overrun (cost more than was reserved), suspect (the report could not be true), unpriced,
                  degraded (let through while the store was away)
    would_deny    limits (or reasons) that refused it, had they not been in shadow
    """

    id: str
    at: datetime
    duration_ms: int
    organization: str
    project: str | None
    team: str | None
    key: str | None
    member: str | None
    end_user: str | None
    tags: Mapping[str, str]
    provider: str | None
    operation: str
    model: str | None
    requested_model: str | None
    usage: Usage
    quality: Quality
    cost: int
    reserved: int
    status: int
    stream: bool = False
    flags: frozenset[str] = frozenset()
    would_deny: tuple[str, ...] = ()
    first: str | None = None
    first_token_ms: int | None = None
    correction: bool = False
    besides: tuple[tuple[str | None, Usage], ...] = ()

    @property
    def cost_usd(self) -> Decimal:
        """The cost in dollars, exact."""
        return to_usd(self.cost)


class RecordPage(NamedTuple):
    """Some records, and the cursor to go on with (None: there are no more). It may hold fewer than were asked for, or
    none, where many had to be looked through.
    """

    records: list[UsageRecord]
    next_cursor: str | None


class Late(NamedTuple):
    """What some calls came to of late: nano-dollars, calls and tokens since a moment, ms."""

    cost: int
    calls: int
    tokens: int
    since: int


class UsageLog:
    """Reads usage records of an organization, and adds them up. Blocking; `quota.usage` is its awaited face.

    folder  keeps the sums, and knows where records are read (an archive, if there is one)
    clock   ms since the epoch
    """

    def __init__(self, store: Store, folder: Folder | None = None, clock: Clock = system_clock) -> None:
        folder = folder or Folder(store)
        self._source = folder.records
        self._accounts = Accounts(store, folder, clock)
        self._store = store
        self._clock = clock

    def records(
        self,
        organization: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        only: Only | None = None,
        **where: Unpack[Narrowed],
    ) -> Iterator[UsageRecord]:
        """Records of calls admitted in [since, until), in the order in which they were booked (a call is booked when it
        ends), narrowed as `totals` are. Raises as these do.
        """
        scan = self._scan(organization, since, until, "", where, only)
        return (record for _, record in scan if record is not None)

    def page(
        self,
        organization: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int = 100,
        cursor: str | None = None,
        only: Only | None = None,
        **where: Unpack[Narrowed],
    ) -> RecordPage:
        """At most `limit` of the same records, from a cursor on. What the records of all pages come to is what `totals`
        say of the same calls. Raises `ConfigurationError`, `StoreError`.
        """
        if not 1 <= limit <= MOST:
            raise ConfigurationError("limit", f"{limit} is not from 1 to {MOST}")
        if cursor is not None and not _POSITION.fullmatch(cursor):
            raise ConfigurationError("cursor", "is what a page answered as its next_cursor")
        found: list[UsageRecord] = []
        scan = self._scan(organization, since, until, cursor or "", where, only)
        for looked, (position, record) in enumerate(scan, 1):
            if record is not None:
                found.append(record)
            if len(found) == limit or looked == SCAN:
                return RecordPage(found, position)
        return RecordPage(found, None)

    def latest(
        self,
        organization: str,
        *,
        since: datetime | None = None,
        limit: int = 10,
        only: Only | None = None,
        **where: Unpack[Narrowed],
    ) -> list[UsageRecord]:
        """The last records that were booked, the newest first: at most so many, of calls admitted from `since` on,
        among the organization's last 5,000. Narrowed as `totals` are; raises as these do.
        """
        scan = self._scan(organization, since, None, "", where, only, back=True)
        return list(islice((record for _, record in islice(scan, NEWEST) if record is not None), limit))

    def under_way(self, organization: str, *, only: Only | None = None, **where: Unpack[Narrowed]) -> int:
        """How many calls are on their way right now, in all processes, looked at until 1,000 are counted. Narrowed as
        `totals` are, by what is known of a call before it ends. Raises as these do.
        """
        wanted = ask(organization, None, None, (), None, where, only=only)
        told = [read(_not_ended(*each)) for each in self._store.under_way(organization, OPEN)]
        return sum(wanted.is_about(each) for each in told)

    def _scan(
        self,
        org: str,
        since: datetime | None,
        until: datetime | None,
        after: str,
        where: Narrowed,
        only: Only | None,
        back: bool = False,
    ) -> Iterator[tuple[str, UsageRecord | None]]:
        """All records from a position on that may be asked for, those that are with what they say."""
        begin, end = _ms(since, 0), _ms(until, FOREVER_MS)
        wanted = ask(org, None, None, (), None, where, only=only)
        narrowed = bool(wanted.where) or only is not None
        # none is booked before it was admitted, or later than its end is remembered
        for page in pages(self._source, org, begin, end + REMEMBER_MS, after, PAGE, back):
            for position, row in page:
                ours = begin <= row.at < end and not is_of_denied(row)
                asked = ours and (not narrowed or (wanted.may_be_about(row) and wanted.is_about(read(row))))
                yield position, _record(org, row) if asked else None

    def totals(
        self,
        organization: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        by: Sequence[str] = ("model",),
        bucket: Unit | timedelta | None = None,
        time_zone: str | None = None,
        only: Only | None = None,
        **where: Unpack[Narrowed],
    ) -> list[Total]:
        """What calls admitted in [since, until) came to, by these dimensions: `team`, `project`, `key`, `member`,
        `provider`, `model`, `operation`, `status`, `end_user`, `tag` (a call counts once for each of its tags);
        narrowed by the same dimensions. In all, or by "hour", "day", "week", "month", "quarter" or "year" of a time
        zone (the organization's, if none is named), or by stretches of one length from `since` on. The largest cost
        first.

        Exact at every moment, or of the period that the totals say. `end_user` and `tag` are summed by day, and with
        `team` and `project` only; what else they are combined with, and buckets shorter than an hour, are answered from
        the records, as far back as these are kept. Of a project and day 1,000 models, 10,000 end users and 1,000 tags
        are summed apart, and what comes later as `(other)`.
        Raises `ConfigurationError` for a dimension, bucket or zone that there is not, `StoreError`.
        """
        begin = None if since is None else _ms(since, 0)
        end = None if until is None else _ms(until, 0)
        return self._accounts.answer(
            ask(organization, begin, end, by, bucket, where, zone=time_zone, only=only)
        ).totals()

    def top(
        self, organization: str, by: str = "model", *, limit: int = 10, order: Order = "cost", **asked: Any
    ) -> list[Total]:
        """The largest totals of one dimension, those with most `cost`, `calls`, `tokens`, `input` or `output` first, or
        the longest mean duration (`mean_ms`) or time to the first token (`mean_first_ms`); otherwise as `totals`.
        """
        return largest(self.totals(organization, by=(by,), **asked), limit, order)

    def forecast(
        self,
        organization: str,
        *,
        period: Unit = "month",
        by: Sequence[str] = (),
        time_zone: str | None = None,
        only: Only | None = None,
        **where: Unpack[Narrowed],
    ) -> list[Forecast]:
        """What the calendar period of now will have cost at its end, at the pace of late (of a month that of the last
        seven days; `core/forecasts.py`): in all, or by dimensions, the most expected first. Raises as `totals` does.
        """
        asked: dict[str, Any] = {"period": period, "time_zone": time_zone, "only": only, **where}
        return self.forecasts(organization, by=(by,), **asked)[0]

    def forecasts(
        self,
        organization: str,
        *,
        by: Sequence[Sequence[str]],
        period: Unit = "month",
        time_zone: str | None = None,
        only: Only | None = None,
        **where: Unpack[Narrowed],
    ) -> list[list[Forecast]]:
        """The same by several sets of dimensions; by team and project from one look at what was used."""
        if len(by) > 1 and not {name for names in by for name in names} <= _TREE:
            asked: dict[str, Any] = {"period": period, "time_zone": time_zone, "only": only, **where}
            return [self.forecasts(organization, by=(names,), **asked)[0] for names in by]
        now = self._clock()
        zone = time_zone or zone_of(self._store, organization)
        every = tuple(dict.fromkeys(name for names in by for name in names))
        checked = ask(organization, None, None, every, period, where, zone=zone)
        ends = checked.label(now)
        if ends is None:
            raise ConfigurationError("period", f"is one of {', '.join(get_args(Unit))}")
        of_late = self.of_late(organization, ends, every, zone=zone, only=only, **where)
        spent = self._between(organization, ends[0], now + 1, by=every, only=only, **where)
        so_far = {tuple(total.by.values()): (total.cost, total.calls) for total in spent}
        found = []
        for names in by:
            places = [every.index(name) for name in names]
            late, before = _grouped(of_late, places), _summed(so_far, places)
            groups = dict.fromkeys([*before, *late] if names else [()])
            told = []
            for group in groups:
                some = late.get(group, Late(0, 0, 0, now))
                fast = pace(some.cost, some.since, now, ends)
                named = dict(zip(names, group, strict=True))
                told.append(of_calls(organization, named, ends, now, before.get(group, (0, 0)), fast))
            found.append(sorted(told, key=lambda each: (-each.expected, str(each.by))))
        return found

    def of_late(
        self,
        organization: str,
        period: tuple[int, int],
        by: Sequence[str] = (),
        *,
        zone: str | None = None,
        only: Only | None = None,
        **where: Unpack[Narrowed],
    ) -> dict[tuple[Value, ...], Late]:
        """What the pace of a period [begin, end) of now is taken from, by dimensions: of all that have any."""
        now, zone = self._clock(), zone or zone_of(self._store, organization)
        back = looked_back(period)
        bucket: Unit = "day" if back > DAY_MS else "hour"
        since, _ = bounds("hour", now - back, zone) if back >= DAY_MS else (now - back, 0)  # no hour is cut
        found: dict[tuple[Value, ...], Late] = {}
        asked: dict[str, Any] = {"by": by, "bucket": bucket, "time_zone": zone, "only": only, **where}
        for each in self._between(organization, since, now + 1, **asked):
            group, first = tuple(each.by.values()), _ms(each.since, 0)
            cost, calls, tokens, began = found.get(group, Late(0, 0, 0, first))
            found[group] = Late(
                cost + each.cost, calls + each.calls, tokens + each.usage.total, min(began, first)
            )
        return found

    def _between(self, org: str, begin: int, end: int, **asked: Any) -> list[Total]:
        return self.totals(org, since=_EPOCH + begin * _MS, until=_EPOCH + end * _MS, **asked)

    def denied(
        self,
        organization: str,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        by: Sequence[str] = ("code",),
        bucket: Unit | timedelta | None = None,
        time_zone: str | None = None,
        only: Only | None = None,
        **where: Unpack[DeniedWhere],
    ) -> list[Denied]:
        """How many calls were denied in [since, until), by these dimensions: `code` (of the error), `team`, `project`,
        `key`, `provider`, `model`, `operation`; in all or by bucket, narrowed, exact and kept as `totals`. The most
        first. Whose a call is that nobody was identified for is None. Raises as `totals` does.
        """
        begin = None if since is None else _ms(since, 0)
        end = None if until is None else _ms(until, 0)
        return self._accounts.answer(
            ask(organization, begin, end, by, bucket, where, "denied", time_zone, only)
        ).denied()

    def last_used(self, organization: str, keys: Iterable[str]) -> dict[str, datetime]:
        """When the newest call of each of these keys was admitted, to the ms; a key without one is not there. A call
        counts once it has ended. Raises `StoreError`.
        """
        found = self._accounts.last_used(organization, tuple(dict.fromkeys(keys)))
        return {key: _EPOCH + at * _MS for key, at in found.items()}


def _grouped(found: Mapping[tuple[Value, ...], Late], places: Sequence[int]) -> dict[tuple[Value, ...], Late]:
    """What is there by some of its dimensions alone."""
    told: dict[tuple[Value, ...], Late] = {}
    for group, (cost, calls, tokens, since) in found.items():
        own = tuple(group[place] for place in places)
        a, b, c, first = told.get(own, Late(0, 0, 0, since))
        told[own] = Late(a + cost, b + calls, c + tokens, min(first, since))
    return told


def _summed(
    found: Mapping[tuple[Value, ...], tuple[int, int]], places: Sequence[int]
) -> dict[tuple[Value, ...], tuple[int, int]]:
    told: dict[tuple[Value, ...], tuple[int, int]] = {}
    for group, (cost, calls) in found.items():
        own = tuple(group[place] for place in places)
        a, b = told.get(own, (0, 0))
        told[own] = a + cost, b + calls
    return told


def largest(totals: Iterable[Total], limit: int, order: Order) -> list[Total]:
    """The first so many of totals in an order. Raises `ConfigurationError` for one that there is not."""
    if order not in _ORDERS:
        raise ConfigurationError("order", f"{order!r} is none of {', '.join(_ORDERS)}")
    if limit < 1:
        raise ConfigurationError("limit", f"{limit} is not 1 or more")
    return sorted(totals, key=lambda total: (-_ORDERS[order](total), str(total.by)))[:limit]


Order = Literal["cost", "calls", "tokens", "input", "output", "mean_ms", "mean_first_ms"]
_ORDERS: Mapping[str, Callable[[Total], float]] = {
    "cost": lambda total: total.cost,
    "calls": lambda total: total.calls,
    "tokens": lambda total: total.usage.total,
    "input": lambda total: total.usage.input,
    "output": lambda total: total.usage.output,
    "mean_ms": lambda total: total.mean_ms,
    "mean_first_ms": lambda total: total.mean_first_ms,
}
_TREE = frozenset({"team", "project"})
"""Dimensions of which every call has one value, and whose sums are kept as long as those of all."""
_POSITION = re.compile(r"[0-9]{1,16}-[0-9]{1,16}", re.ASCII)


def _ms(moment: datetime | None, otherwise: int) -> int:
    """A moment as ms since the epoch, exactly; one without a zone is local time."""
    return otherwise if moment is None else (moment.astimezone(UTC) - _EPOCH) // _MS


def _not_ended(id: str, about: str) -> Row:
    """A call under way, as if nothing had come of it."""
    return Row(id, 0, 0, 0, about, "", "released", NOTHING, NOTHING, False)


def _record(organization: str, row: Row) -> UsageRecord:
    about = json.loads(row.about) if row.about else {}
    outcome = json.loads(row.outcome) if row.outcome else {}
    flags: dict[str, Literal[True] | None] = {
        "overrun": row.overrun or None,
        "suspect": outcome.get("suspect"),
        "unpriced": outcome.get("unpriced"),
        "degraded": outcome.get("degraded"),
    }
    return UsageRecord(
        id=row.id,
        at=datetime.fromtimestamp(row.at / 1000, UTC),
        duration_ms=outcome.get("ms", row.settled_at - row.at),
        organization=organization,
        project=about.get("project"),
        team=about.get("team"),
        key=about.get("key"),
        member=about.get("member"),
        end_user=about.get("end_user"),
        tags=about.get("tags", {}),
        provider=about.get("provider"),
        operation=about.get("operation", "unknown"),
        model=outcome.get("model") or about.get("model"),
        requested_model=about.get("model"),
        usage=Usage(**usage_of(row, outcome)),
        quality=quality_of(row, outcome),
        cost=row.real[1],
        reserved=row.hold[1],
        status=outcome.get("status", 0),
        stream=bool(about.get("stream")),
        flags=frozenset(name for name, is_set in flags.items() if is_set),
        would_deny=tuple(outcome.get("would_deny", ())),
        first=about.get("first"),
        first_token_ms=outcome.get("first_ms"),
        correction=row.part > 0,
        besides=tuple((model, Usage(**counts)) for model, counts in besides_of(outcome)),
    )
