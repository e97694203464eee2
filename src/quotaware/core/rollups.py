"""Sums: what many usage records come to, by hour and day.

A record is read into measures (whole numbers under a name) and into the values of dimensions; a cube adds the measures
of all records that have the same values in the same bucket. Buckets are the calendar hours and days of a time zone
(`core/windows.py`) in which a call was admitted. Adding is all that is ever done, so records can be summed in any
pages and in any order. When and by whom is left to others, answers are `totals.py`'s.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from .denied import counts_of, is_of_denied
from .steps import COST, TOKENS, Row
from .usage import Quality, Usage
from .windows import Window

Measures = dict[str, int]
"""What is added: `calls`, `corrected` (corrections, which are no calls), `cost` and `reserved` (nano-dollars), `ms` (of
all calls whose duration is known), tokens by kind (the fields of `Usage`), how many calls were `partial`, `estimated`,
`unsettled`, `overrun`, `suspect`, `unpriced`, `degraded` or would be denied (`would_deny`), and under the number n how
many took as long as step n of the scale of durations. What is not there is 0.
"""
Value = str | int | None
Values = tuple[Value, ...]
Period = Literal["hour", "day"]

Subject = Literal["calls", "denied"]
"""What is added up: calls that were made, or calls that were denied, which are none."""

DIMENSIONS = ("team", "project", "key", "provider", "model", "operation", "status", "end_user", "code", "tag")
OF: dict[Subject, tuple[str, ...]] = {
    "calls": tuple(name for name in DIMENSIONS if name != "code"),
    "denied": (*DIMENSIONS[:6], "code"),
}
"""The dimensions of each."""
_KEY = DIMENSIONS.index("key")
TOKEN_KINDS = Usage.__slots__
TAGS = 32
"""So many of a call's tags are summed, the first ones by name."""
GROWTH = 1.08
"""A step of the scale of durations is so many times the one before: its middle is within 4 % of all in it."""
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True, eq=False)
class Cube:
    """Sums by these dimensions, in buckets of these periods, the finest first."""

    name: str
    dims: tuple[str, ...]
    periods: tuple[Period, ...]
    of: Subject = "calls"

    def table(self, period: Period, zone: str) -> str:
        """What a store knows its sums as, of one period and zone."""
        return f"{self.name}.{period}@{zone}"


CUBES = (
    Cube("calls", DIMENSIONS[:7], ("hour", "day")),
    Cube("end_users", ("project", "end_user"), ("day",)),
    Cube("tags", ("project", "tag"), ("day",)),
    Cube("denied", OF["denied"], ("hour", "day"), "denied"),
)


_CUBES_OF: dict[Subject, list[Cube]] = {of: [cube for cube in CUBES if cube.of == of] for of in OF}


def cube_for(names: Collection[str], period: Period | None, of: Subject = "calls") -> Cube | None:
    """The cube that knows all these dimensions, in buckets no longer than asked for."""
    return next(
        (
            cube
            for cube in CUBES
            if cube.of == of and {*names} <= {*cube.dims} and (period or "day") in cube.periods
        ),
        None,
    )


class Keep(NamedTuple):
    """How long the sums of an hour and of a day are kept after its end, ms."""

    hour: int = 35 * DAY_MS
    day: int = 400 * DAY_MS

    def of(self, period: Period) -> int:
        """As long as this."""
        return self.hour if period == "hour" else self.day


KEEP = Keep()


class Told(NamedTuple):
    """A record as sums see it: when the call was admitted (ms), where it stands in the dimensions (all but the tag, in
    order), its tags, and what it adds. One `of` denied calls adds `denied`, their number.
    """

    at: int
    values: Values
    tags: Sequence[str]
    measures: Measures
    of: Subject = "calls"


def usage_of(row: Row, outcome: Mapping[str, object]) -> Measures:
    """The tokens of a record by kind. What was charged when a lease ended is input, and a correction takes it back."""
    if row.how == "expired":
        return {"input": row.real[TOKENS - 1]}
    said = outcome.get("usage")
    counts = {name: n for name, n in said.items() if name in TOKEN_KINDS} if isinstance(said, dict) else {}
    if row.part:
        total = counts.get("input", 0) + counts.get("output", 0)
        counts["input"] = counts.get("input", 0) - (total - row.real[TOKENS - 1])
    return counts


def quality_of(row: Row, outcome: Mapping[str, object]) -> Quality:
    """How well a record's charge is known."""
    if row.how == "expired":
        return "unsettled"
    quality: Quality = outcome.get("quality", "exact")  # type: ignore[assignment]
    return quality


def told(row: Row) -> list[Told]:
    """What a record tells: of a call, or of many that were denied, none of them later than it was booked."""
    if not is_of_denied(row):
        return [read(row)]
    return [
        Told(min(denial.minute, row.settled_at), denial.values, (), {"denied": n}, "denied")
        for denial, n in counts_of(row)
    ]


def read(row: Row) -> Told:
    """Reads the record of a call."""
    about = json.loads(row.about) if row.about else {}
    outcome = json.loads(row.outcome) if row.outcome else {}
    measures: Measures = {"corrected" if row.part else "calls": 1, "cost": row.real[COST - 1]}
    measures.update(usage_of(row, outcome))
    if not row.part:
        measures["reserved"] = row.hold[COST - 1]
    if (ms := outcome.get("ms")) is not None:
        measures["ms"] = ms
        measures[str(step_of(ms))] = 1
    if (quality := quality_of(row, outcome)) != "exact":
        measures[quality] = 1
    if row.overrun:
        measures["overrun"] = 1
    for name in ("suspect", "unpriced", "degraded", "would_deny"):
        if outcome.get(name):
            measures[name] = 1
    values = (
        about.get("team"),
        about.get("project"),
        about.get("key"),
        about.get("provider"),
        outcome.get("model") or about.get("model"),
        about.get("operation", "unknown"),
        outcome.get("status", 0),
        about.get("end_user"),
        None,
    )
    tags = about.get("tags")
    return Told(row.at, values, [f"{k}={tags[k]}" for k in sorted(tags)[:TAGS]] if tags else (), measures)


def points(told: Told, dims: tuple[str, ...]) -> list[Values]:
    """Where a record stands in these dimensions: once, or once for each of its tags where the tag is one of them."""
    places = _places(dims)
    if "tag" not in dims:
        return [tuple([told.values[place] for place in places])]
    return [tuple([(*told.values, tag)[place] for place in places]) for tag in told.tags]


@lru_cache(maxsize=256)
def _places(dims: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(DIMENSIONS.index(name) for name in dims)


def add(to: Measures, more: Mapping[str, int]) -> None:
    """Adds measures in place."""
    get = to.get
    for name, amount in more.items():
        to[name] = get(name, 0) + amount


def bounds(period: Period, at: int, zone: str) -> tuple[int, int]:
    """[begin, end) in ms of the bucket that `at` lies in. Raises `ConfigurationError` for an unknown zone."""
    return _WINDOWS[period].bounds(at, zone)


_WINDOWS: dict[Period, Window] = {"hour": Window("calendar", "hour"), "day": Window("calendar", "day")}


class Bucket(NamedTuple):
    """A bucket of one cube and period in one zone, [begin, end) in ms."""

    cube: Cube
    period: Period
    zone: str
    begin: int
    end: int


def fold(records: Iterable[Told], zone: str) -> dict[tuple[Bucket, Values], Measures]:
    """What the records come to, in every bucket of every cube."""
    by_hour: dict[tuple[Cube, int, Values], Measures] = {}
    begin = end = 0
    for told in records:
        if not begin <= told.at < end:
            begin, end = bounds("hour", told.at, zone)
        for cube in _CUBES_OF[told.of]:
            for values in points(told, cube.dims):
                add(by_hour.setdefault((cube, begin, values), {}), told.measures)
    cells: dict[tuple[Bucket, Values], Measures] = {}
    for (cube, hour, values), measures in by_hour.items():
        for period in cube.periods:
            bucket = Bucket(cube, period, zone, *bounds(period, hour, zone))  # a day is made of its hours
            add(cells.setdefault((bucket, values), {}), measures)
    return cells


def last_used(records: Iterable[Told]) -> dict[str, int]:
    """When the newest call of each key was admitted, ms."""
    found: dict[str, int] = {}
    for told in records:
        key = told.values[_KEY]
        if isinstance(key, str) and told.of == "calls":
            found[key] = max(told.at, found.get(key, 0))
    return found


def step_of(ms: int) -> int:
    """The step of a duration on the scale: 0 for no time, then each `GROWTH` times the one before."""
    return 1 + int(math.log(ms) / _LOG) if ms > 0 else 0


def ms_of(step: int) -> float:
    """The middle of the whole ms of a step."""
    return (math.ceil(GROWTH ** (step - 1)) + math.ceil(GROWTH**step) - 1) / 2 if step else 0.0


_LOG = math.log(GROWTH)


def timed(measures: Mapping[str, int]) -> int:
    """How many of the calls have a known duration."""
    return sum(count for name, count in measures.items() if name.isdigit())


def percentile(measures: Mapping[str, int], share: float) -> float | None:
    """The duration (ms, within 5 %) that this share of the timed calls did not exceed, by nearest rank; None where no
    duration is known.
    """
    rank = max(1, math.ceil(share * timed(measures) - 1e-9))
    for step in sorted(int(name) for name in measures if name.isdigit()):
        rank -= measures[str(step)]
        if rank <= 0:
            return ms_of(step)
    return None
