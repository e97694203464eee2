"""Questions about what was used, and the totals that answer them: values, and how they are added up."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import takewhile
from typing import Any, Literal, NamedTuple, TypedDict, get_args

from ..errors import ConfigurationError
from . import rollups
from .denied import is_of_denied
from .money import to_usd
from .rollups import (
    DIMENSIONS,
    OF,
    Bucket,
    Cube,
    Measures,
    Period,
    Scale,
    Steps,
    Subject,
    Told,
    Value,
    Values,
)
from .steps import Row
from .usage import Usage
from .windows import Window
from .windows import zone as zone_named

FOREVER_MS = 1 << 53
LAST_MS = 250_000_000_000_000
"""The end of time, for calendars: in the year 9892."""
Unit = Literal["hour", "day", "week", "month", "quarter", "year"]
"""A period of the calendar: a week begins on Monday."""
HOUR_MS = 3_600_000
LEAST_MS = 60_000
"""The shortest bucket."""
BUCKETS = 10_000
"""The most buckets of one length that a period is divided into."""


def _measure(name: str, says: str) -> int:
    """A sum of a total, read when it is asked for: of most only a few are."""
    return property(lambda total: total.measures.get(name, 0), doc=says)  # type: ignore[return-value]


@dataclass(frozen=True, slots=True)
class Total:
    """What some calls came to.

    by            the value of each dimension asked for
    bucket        when the bucket began, where these were asked for
    since, until  what it covers, [since, until): as asked, or wider where the records that would cut an hour or day are
                  gone, or narrower where what was asked for is kept no longer; None: all there is. Of a bucket: what of
                  the period is in it; where it begins or ends within an hour or day that cannot be cut any more, all
                  of that belongs to the earlier one
    measures      all of it as it was summed, by name; scale: how long calls took
    """

    organization: str
    by: Mapping[str, Value]
    bucket: datetime | None
    since: datetime | None
    until: datetime | None
    measures: Mapping[str, int]
    scale: Scale = field(repr=False)

    calls = _measure("calls", "How many calls; a correction is none.")
    cost = _measure("cost", "Nano-dollars that they cost; `cost_usd` the same in dollars.")
    reserved = _measure("reserved", "Nano-dollars that were held for them.")
    duration_ms = _measure("ms", "How long all `timed` calls took together.")
    timed = _measure("timed", "How many calls have a known duration: those whose process did not die.")
    first_ms = _measure("first_ms", "How long it was to the first token of all `streamed` calls together.")
    streamed = _measure("streamed", "How many calls were answered in pieces, and came to a first token.")
    partial = _measure("partial", "How many were cut short.")
    estimated = _measure("estimated", "How many reported no usage.")
    unsettled = _measure("unsettled", "How many were charged by their lease, since their process died.")
    overrun = _measure("overrun", "How many cost more than was reserved.")
    suspect = _measure("suspect", "How many reported what could not be true.")
    unpriced = _measure("unpriced", "How many had no price.")
    degraded = _measure("degraded", "How many were let through while the store was away.")
    would_deny = _measure(
        "would_deny", "How many would have been denied, had their limit not been in shadow."
    )
    corrected = _measure(
        "corrected", "How many of the unsettled ones were told of later, and charged for what they used."
    )

    @property
    def usage(self) -> Usage:
        """Tokens by kind."""
        return Usage(**{kind: self.measures.get(kind, 0) for kind in rollups.TOKEN_KINDS})

    @property
    def cost_usd(self) -> Decimal:
        """The cost in dollars, exact."""
        return to_usd(self.cost)

    @property
    def mean_ms(self) -> float:
        """The mean duration of the timed calls, 0.0 of none."""
        return self.duration_ms / self.timed if self.timed else 0.0

    def percentile_ms(self, share: float) -> float | None:
        """The duration that this share (0.95) of the timed calls did not exceed, within 5 %; None of none."""
        return self.scale.percentile(share)

    @property
    def mean_first_ms(self) -> float:
        """The mean time to the first token of the streamed calls, 0.0 of none."""
        return self.first_ms / self.streamed if self.streamed else 0.0

    def percentile_first_ms(self, share: float) -> float | None:
        """The same as `percentile_ms` of the time to the first token of the streamed calls."""
        return self.scale.percentile(share, "f")


@dataclass(frozen=True, slots=True)
class Denied:
    """How many calls were denied.

    by            the value of each dimension asked for
    bucket        when the bucket began, where these were asked for
    since, until  what it covers, as of `Total`; a call counts in the minute in which it was denied
    calls         how many
    """

    organization: str
    by: Mapping[str, Value]
    bucket: datetime | None
    since: datetime | None
    until: datetime | None
    calls: int


class DeniedWhere(TypedDict, total=False):
    """Only denied calls that have this value in a dimension; None for any."""

    team: str | None
    project: str | None
    key: str | None
    provider: str | None
    model: str | None
    operation: str | None
    code: str | None


class Narrowed(TypedDict, total=False):
    """Only calls that have this value in a dimension; None for any. A tag is `name=value`."""

    team: str | None
    project: str | None
    key: str | None
    member: str | None
    provider: str | None
    model: str | None
    operation: str | None
    status: int | None
    end_user: str | None
    tag: str | None


Label = tuple[int, int] | None
"""The bucket that a total is told of, [begin, end) in ms."""


class Only(NamedTuple):
    """Which calls somebody may see: those of which `allows` is true, by their values in these dimensions."""

    dims: tuple[str, ...]
    allows: Callable[[Values], bool]


class Asked(NamedTuple):
    """A question: calls admitted (or denied) in [begin, end) ms (None: open), with these values, by these
    dimensions; in buckets of the calendar of a zone ("": the organization's), or of one length (ms) from `begin` on.
    """

    org: str
    begin: int | None
    end: int | None
    by: tuple[str, ...]
    bucket: Unit | int | None
    where: Mapping[str, Value]
    of: Subject = "calls"
    zone: str = ""
    anchor: int = 0
    only: Only | None = None

    @property
    def dims(self) -> tuple[str, ...]:
        """The dimensions that it needs."""
        needed = {*self.by, *self.where, *(self.only.dims if self.only is not None else ())}
        return tuple(name for name in DIMENSIONS if name in needed)

    @property
    def finest(self) -> Period | None:
        """The buckets of sums that its own are made of; None where these are shorter than all."""
        if isinstance(self.bucket, int):
            return "day" if self.bucket >= rollups.DAY_MS else "hour" if self.bucket >= HOUR_MS else None
        return "hour" if self.bucket == "hour" else "day"

    def may_be_about(self, row: Row) -> bool:
        """Whether a record can be about what is asked for, by its text alone: much quicker than to read it."""
        return is_of_denied(row) or names(row, self.where)

    def is_about(self, told: Told) -> bool:
        """Whether a record has the values that are asked for."""
        values = dict(zip(DIMENSIONS, told.values, strict=False))
        return all(
            value in told.tags if name == "tag" else values[name] == value
            for name, value in self.where.items()
        ) and (self.only is None or self.only.allows(tuple([values[name] for name in self.only.dims])))

    def within(self, at: int) -> bool:
        """Whether a call admitted at this ms is asked for."""
        return (self.begin or 0) <= at < (FOREVER_MS if self.end is None else self.end)

    def covers(self, bucket: Bucket) -> bool:
        """Whether all of a bucket is."""
        return self.within(bucket.begin) and self.within(bucket.end - 1)

    def whole(self, bucket: Bucket) -> bool:
        """Whether all of a bucket is, and of one bucket of the answer."""
        if not self.covers(bucket):
            return False
        label = self.label(bucket.begin)
        return label is None or bucket.end <= label[1]

    def touches(self, bucket: Bucket) -> bool:
        """Whether some of it is."""
        return bucket.end > (self.begin or 0) and (self.end is None or bucket.begin < self.end)

    def widened(self, bucket: Bucket) -> Asked:
        """The same, with all of a bucket."""
        return self._replace(
            begin=None if self.begin is None else min(self.begin, bucket.begin),
            end=None if self.end is None else max(self.end, bucket.end),
        )

    def label(self, at: int) -> Label:
        """The bucket of the answer that a moment (ms) lies in."""
        if self.bucket is None:
            return None
        if isinstance(self.bucket, int):
            begin = at - (at - self.anchor) % self.bucket
            return begin, begin + self.bucket
        return _WINDOWS[self.bucket].bounds(at, self.zone)


_WINDOWS: dict[Unit, Window] = {unit: Window("calendar", unit) for unit in get_args(Unit)}


def ask(
    org: str,
    begin: int | None,
    end: int | None,
    by: Sequence[str],
    bucket: Unit | timedelta | None,
    where: Narrowed | DeniedWhere,
    of: Subject = "calls",
    zone: str | None = None,
    only: Only | None = None,
) -> Asked:
    """A question that can be answered. Raises `ConfigurationError` naming what there is not."""
    by = (by,) if isinstance(by, str) else tuple(by)
    for name in (*by, *where):
        if name not in OF[of]:
            raise ConfigurationError("by", f"{name!r} is none of {', '.join(OF[of])}")
    if zone is not None:
        zone_named(zone)
    begin, end = (None if each is None else min(max(0, each), LAST_MS) for each in (begin, end))
    values: Mapping[str, Any] = where
    given = {name: rollups.short(value) for name, value in values.items() if value is not None}
    return Asked(org, begin, end, by, _bucket(bucket, begin, end), given, of, zone or "", begin or 0, only)


def _bucket(bucket: object, begin: int | None, end: int | None) -> Unit | int | None:
    if isinstance(bucket, timedelta):
        length = bucket // timedelta(milliseconds=1)
        if length < LEAST_MS or length % 1000:
            raise ConfigurationError("bucket", f"{bucket} is no minute or more, in whole seconds")
        if begin is None or end is None or (end - begin) // length >= BUCKETS:
            raise ConfigurationError(
                "bucket", f"of one length needs since and until, with at most {BUCKETS} buckets between"
            )
        return length
    if bucket is not None and bucket not in _WINDOWS:
        raise ConfigurationError(
            "bucket", f"{bucket!r} is neither a timedelta nor one of {', '.join(_WINDOWS)}"
        )
    return bucket


class _Sums(NamedTuple):
    """What is added up of one total."""

    measures: Measures
    scale: Scale


class Answer:
    """An answer that is being made of cells and records, which have these dimensions.

    moved  where buckets of the answer meet within a bucket of the sums that cannot be cut: all of that belongs to the
           earlier one, which ends there
    """

    def __init__(self, asked: Asked, dims: tuple[str, ...]) -> None:
        self.asked = asked
        self.moved: dict[int, int] = {}
        self._dims = dims
        self._by = [dims.index(name) for name in asked.by]
        self._where = [(dims.index(name), value) for name, value in asked.where.items()]
        self._only = asked.only and [dims.index(name) for name in asked.only.dims]
        self._found: dict[tuple[Label, Values], _Sums] = {}
        self._when: dict[Label, tuple[datetime | None, datetime | None, datetime | None]] = {}

    def take(self, values: Values, measures: Measures, steps: str | Steps, label: Label) -> None:
        """Adds what has these values, if that is asked for."""
        for index, value in self._where:
            if values[index] != value:
                return
        only = self.asked.only
        if only is not None and not only.allows(tuple([values[dims] for dims in self._only or ()])):
            return
        group = tuple([values[index] for index in self._by])
        found = self._found.get((label, group))
        if found is None:
            found = self._found[label, group] = _Sums({}, Scale())
        rollups.add(found.measures, measures)
        found.scale.add(steps)

    def take_rows(self, rows: Sequence[tuple[str, Row]]) -> None:
        """Adds those of the records that are asked for."""
        for _, row in rows:
            for told in rollups.told(row) if self.asked.may_be_about(row) else ():
                if told.of == self.asked.of and self.asked.within(told.at):
                    label, steps = self.asked.label(told.at), dict.fromkeys(told.steps, 1)
                    for values in dict.fromkeys(rollups.points(told, self._dims)):
                        self.take(values, told.measures, steps, label)

    def straddled(self, bucket: Bucket) -> Label:
        """Gives all of a bucket of the sums to the bucket of the answer that it begins in."""
        label = begin = self.asked.label(bucket.begin)
        while begin is not None and begin[1] < bucket.end:
            self.moved[begin[1]] = bucket.end
            begin = self.asked.label(begin[1])
        return label

    def totals(self) -> list[Total]:
        """By bucket, the largest cost first."""
        found = [Total(*self._about(label, group), *sums) for (label, group), sums in self._found.items()]
        return sorted(found, key=lambda total: (total.bucket or _EPOCH, -total.cost, str(total.by)))

    def denied(self) -> list[Denied]:
        """By bucket, the most first."""
        found = [
            Denied(*self._about(label, group), sums.measures["denied"])
            for (label, group), sums in self._found.items()
        ]
        return sorted(found, key=lambda total: (total.bucket or _EPOCH, -total.calls, str(total.by)))

    def _about(
        self, label: Label, group: Values
    ) -> tuple[str, Mapping[str, Value], datetime | None, datetime | None, datetime | None]:
        """What a total is of: organization, values, bucket, since, until."""
        when = self._when.get(label)
        if when is None:
            when = self._when[label] = self._moments(label)
        return self.asked.org, dict(zip(self.asked.by, group, strict=True)), *when

    def _moments(self, label: Label) -> tuple[datetime | None, datetime | None, datetime | None]:
        since, until = self.asked.begin, self.asked.end
        if label is not None:
            begin, end = (self.moved.get(edge, edge) for edge in label)
            since = max(begin, since or 0)
            until = end if until is None else min(end, until)
        return None if label is None else _moment(label[0]), _moment(since), _moment(until)


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else _EPOCH + timedelta(milliseconds=ms)


def names(row: Row, where: Mapping[str, Value]) -> bool:
    """Whether a call's record has the ids in it that its team, project and key are to have, wherever they stand there:
    ids have no character that JSON writes otherwise.
    """
    ids = (where[name] for name in _NAMED if name in where)
    return all(id in row.about for id in ids if isinstance(id, str))


_NAMED = ("team", "project", "key")


def lead(cube: Cube, where: Mapping[str, Value]) -> Values:
    """How the values of all sums begin that are about this."""
    return tuple([where[dim] for dim in takewhile(where.__contains__, cube.dims)])


def lead_text(cube: Cube, lead: Values) -> str:
    """The same as a store keeps it; "" where they may begin in any way."""
    text = dims_text(lead)
    return text if len(lead) == len(cube.dims) else f"{text[:-1]}," if lead else ""


def dims_text(values: Values) -> str:
    """The values of a cube's dimensions as a store keeps them."""
    return json.dumps(values, separators=(",", ":"))
