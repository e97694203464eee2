"""Questions about what was used, and the totals that answer them: values, and how they are added up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict

from ..errors import ConfigurationError
from . import rollups
from .money import to_usd
from .rollups import DIMENSIONS, OF, Bucket, Measures, Period, Subject, Value, Values
from .steps import Row
from .usage import Usage

FOREVER_MS = 1 << 53
LAST_MS = 250_000_000_000_000
"""The end of time, for calendars: in the year 9892."""


@dataclass(frozen=True, slots=True)
class Total:
    """What some calls came to.

    by            the value of each dimension asked for
    bucket        when the hour or day began, where these were asked for
    since, until  what it covers, [since, until): as asked, or wider where the records that would cut an hour or day are
                  gone, or narrower where what was asked for is kept no longer; None: all there is
    calls         how many; a correction is none
    usage         tokens by kind
    cost          nano-dollars; `cost_usd` the same in dollars. reserved: nano-dollars that were held
    duration_ms   of all `timed` calls together (of a call whose process died none is known)
    partial, estimated, unsettled, overrun, suspect, unpriced, degraded, would_deny   how many calls were so
    corrected     how many of the unsettled ones were told of later, and are charged for what they used
    measures      all of it as it was summed, by name
    """

    organization: str
    by: Mapping[str, Value]
    bucket: datetime | None
    since: datetime | None
    until: datetime | None
    calls: int
    usage: Usage
    cost: int
    reserved: int
    duration_ms: int
    timed: int
    partial: int
    estimated: int
    unsettled: int
    overrun: int
    suspect: int
    unpriced: int
    degraded: int
    would_deny: int
    corrected: int
    measures: Mapping[str, int] = field(repr=False)

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
        return rollups.percentile(self.measures, share)


@dataclass(frozen=True, slots=True)
class Denied:
    """How many calls were denied.

    by            the value of each dimension asked for
    bucket        when the hour or day began, where these were asked for
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
    provider: str | None
    model: str | None
    operation: str | None
    status: int | None
    end_user: str | None
    tag: str | None


class Asked(NamedTuple):
    """A question: calls admitted (or denied) in [begin, end) ms (None: open), with these values, by these
    dimensions.
    """

    org: str
    begin: int | None
    end: int | None
    by: tuple[str, ...]
    bucket: Period | None
    where: Mapping[str, Value]
    of: Subject = "calls"

    @property
    def dims(self) -> tuple[str, ...]:
        """The dimensions that it needs."""
        return tuple(name for name in DIMENSIONS if name in self.by or name in self.where)

    def within(self, at: int) -> bool:
        """Whether a call admitted at this ms is asked for."""
        return (self.begin or 0) <= at < (FOREVER_MS if self.end is None else self.end)

    def covers(self, bucket: Bucket) -> bool:
        """Whether all of a bucket is."""
        return self.within(bucket.begin) and self.within(bucket.end - 1)

    def touches(self, bucket: Bucket) -> bool:
        """Whether some of it is."""
        return bucket.end > (self.begin or 0) and (self.end is None or bucket.begin < self.end)

    def widened(self, bucket: Bucket) -> Asked:
        """The same, with all of a bucket."""
        return self._replace(
            begin=None if self.begin is None else min(self.begin, bucket.begin),
            end=None if self.end is None else max(self.end, bucket.end),
        )


def ask(
    org: str,
    begin: int | None,
    end: int | None,
    by: Sequence[str],
    bucket: Period | None,
    where: Narrowed | DeniedWhere,
    of: Subject = "calls",
) -> Asked:
    """A question that can be answered. Raises `ConfigurationError` naming what there is not."""
    by = (by,) if isinstance(by, str) else tuple(by)
    for name in (*by, *where):
        if name not in OF[of]:
            raise ConfigurationError("by", f"{name!r} is none of {', '.join(OF[of])}")
    if bucket not in {None, "hour", "day"}:
        raise ConfigurationError("bucket", f"{bucket!r} is neither 'hour' nor 'day'")
    begin, end = (None if each is None else min(max(0, each), LAST_MS) for each in (begin, end))
    values: Mapping[str, Any] = where
    given = {name: value for name, value in values.items() if value is not None}
    return Asked(org, begin, end, by, bucket, given, of)


Label = tuple[int, int] | None
"""The bucket that a total is told of, [begin, end) in ms."""


class Answer:
    """An answer that is being made of cells and records, which have these dimensions."""

    def __init__(self, asked: Asked, dims: tuple[str, ...]) -> None:
        self.asked = asked
        self._dims = dims
        self._by = [dims.index(name) for name in asked.by]
        self._where = [(dims.index(name), value) for name, value in asked.where.items()]
        self._found: dict[tuple[Label, Values], Measures] = {}

    def take(self, cells: Mapping[Values, Measures], label: Label) -> None:
        """Adds those of the cells that are asked for."""
        for values, measures in cells.items():
            if all(values[index] == value for index, value in self._where):
                group = tuple([values[index] for index in self._by])
                rollups.add(self._found.setdefault((label, group), {}), measures)

    def take_rows(self, rows: Sequence[tuple[str, Row]], zone: str) -> None:
        """Adds those of the records that are asked for."""
        for _, row in rows:
            for told in rollups.told(row):
                if told.of == self.asked.of and self.asked.within(told.at):
                    label = rollups.bounds(self.asked.bucket, told.at, zone) if self.asked.bucket else None
                    self.take(dict.fromkeys(rollups.points(told, self._dims), told.measures), label)

    def totals(self) -> list[Total]:
        """By bucket, the largest cost first."""
        found = [self._total(label, group, sums) for (label, group), sums in self._found.items()]
        return sorted(found, key=lambda total: (total.bucket or _EPOCH, -total.cost, str(total.by)))

    def denied(self) -> list[Denied]:
        """By bucket, the most first."""
        found = [
            Denied(**self._about(label, group), calls=sums["denied"])
            for (label, group), sums in self._found.items()
        ]
        return sorted(found, key=lambda total: (total.bucket or _EPOCH, -total.calls, str(total.by)))

    def _about(self, label: Label, group: Values) -> dict[str, Any]:
        """What a total is of."""
        since, until = self.asked.begin, self.asked.end
        if label is not None:
            since = max(label[0], since or 0)
            until = label[1] if until is None else min(label[1], until)
        return {
            "organization": self.asked.org,
            "by": dict(zip(self.asked.by, group, strict=True)),
            "bucket": None if label is None else _moment(label[0]),
            "since": _moment(since),
            "until": _moment(until),
        }

    def _total(self, label: Label, group: Values, sums: Measures) -> Total:
        counts: dict[str, Any] = {name: sums.get(name, 0) for name in _COUNTS}
        return Total(
            **self._about(label, group),
            usage=Usage(**{kind: sums.get(kind, 0) for kind in rollups.TOKEN_KINDS}),
            duration_ms=sums.get("ms", 0),
            timed=rollups.timed(sums),
            measures=sums,
            **counts,
        )


_COUNTS = (
    *("calls", "cost", "reserved", "partial", "estimated", "unsettled"),
    *("overrun", "suspect", "unpriced", "degraded", "would_deny", "corrected"),
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else _EPOCH + timedelta(milliseconds=ms)
