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
"""What is added: `calls`, `corrected` (corrections, which are no calls), `cost` and `reserved` (nano-dollars), `ms` of
the `timed` calls (whose duration is known), `first_ms` (to the first token) of the `streamed` ones, tokens by kind (the
fields of `Usage`), how many calls were `partial`, `estimated`, `unsettled`, `overrun`, `suspect`, `unpriced`,
`degraded` or would be denied (`would_deny`). What is not there is 0.
"""
Steps = Mapping[str, int]
"""How many calls took as long as each step of the scale of durations: `85` is a step of whole durations, `f85` one of
the time to the first token.
"""
Value = str | int | None
Values = tuple[Value, ...]
Period = Literal["hour", "day"]

Subject = Literal["calls", "denied"]
"""What is added up: calls that were made, or calls that were denied, which are none."""

DIMENSIONS = (
    *("team", "project", "key", "member", "provider", "model", "operation", "status"),
    *("end_user", "code", "tag"),
)
OF: dict[Subject, tuple[str, ...]] = {
    "calls": tuple(name for name in DIMENSIONS if name != "code"),
    "denied": ("team", "project", "key", "provider", "model", "operation", "code"),
}
"""The dimensions of each."""
_KEY = DIMENSIONS.index("key")
TOKEN_KINDS = Usage.__slots__
TAGS = 32
"""So many of a call's tags are summed, the first ones by name."""
NAME = 200
"""So much of a name that somebody else chose is summed by, characters."""
GROWTH = 1.08
"""A step of the scale of durations is so many times the one before: its middle is within 4 % of all in it."""
DAY_MS = 86_400_000
OTHER = "(other)"
"""What stands for all names beyond those that are summed apart."""


@dataclass(frozen=True, slots=True, eq=False)
class Cube:
    """Sums by these dimensions, in buckets of these periods, the finest first.

    names  the dimension whose values others choose freely; most: so many of them a project and day are summed apart,
           those that came first (0: that is for another cube to bound)
    """

    name: str
    dims: tuple[str, ...]
    periods: tuple[Period, ...]
    of: Subject = "calls"
    names: str = ""
    most: int = 0

    def table(self, period: Period, zone: str) -> str:
        """What a store knows its sums as, of one period and zone."""
        return f"{self.name}.{period}@{zone}"

    def roster(self, zone: str) -> str:
        """What a store knows as how many names there are of a project and day."""
        return f"{self.name}.names@{zone}"

    def renamed(self, values: Values) -> Values:
        """The same with the name that stands for all others."""
        if not self.names:
            return values
        return tuple(
            [OTHER if dim == self.names else value for dim, value in zip(self.dims, values, strict=True)]
        )


PROJECTS = Cube("projects", ("team", "project"), ("hour", "day"))
MODELS = Cube("models", ("team", "project", "provider", "model"), ("hour", "day"), names="model", most=1000)
CUBES = (
    PROJECTS,
    MODELS,
    Cube("calls", DIMENSIONS[:8], ("hour", "day"), names="model"),
    Cube("end_users", ("team", "project", "end_user"), ("day",), names="end_user", most=10_000),
    Cube("tags", ("team", "project", "tag"), ("day",), names="tag", most=1000),
    Cube("denied", OF["denied"], ("hour", "day"), "denied"),
)
"""Of several that know what is asked the first answers: it has the fewest sums."""
ROSTERS = tuple(cube for cube in CUBES if cube.most)
"""Those that bound how many names are summed apart."""


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
    order), its tags, what it adds, and the steps of the scale of durations that it is one more of. One `of` denied
    calls adds `denied`, their number.
    """

    at: int
    values: Values
    tags: Sequence[str]
    measures: Measures
    steps: Sequence[str] = ()
    of: Subject = "calls"


class Cell(NamedTuple):
    """What records come to that have the same values."""

    measures: Measures
    steps: Measures

    def take(self, measures: Mapping[str, int], steps: Mapping[str, int]) -> None:
        """Adds in place."""
        add(self.measures, measures)
        add(self.steps, steps)

    @property
    def body(self) -> str:
        """As a store keeps it; the measures can be read without the steps."""
        text = _json(self.measures)
        return f"{text}\n{_json(self.steps)}" if self.steps else text


def of_body(body: str) -> tuple[Measures, str]:
    """The measures of a cell's body, and its steps as text ("": none)."""
    measures, _, steps = body.partition("\n")
    return _read(measures)[0], steps  # there is nothing around it


class Scale:
    """How long calls took, on the scale; what was added is read only when it is asked for."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[str | Steps] = []

    def add(self, part: str | Steps) -> None:
        """Adds the steps of a cell, read or as text."""
        if part:
            self._parts.append(part)

    @property
    def steps(self) -> Steps:
        """All of it."""
        together: Measures = {}
        for part in self._parts:
            add(together, json.loads(part) if isinstance(part, str) else part)
        self._parts = [together]
        return together

    def percentile(self, share: float, kind: str = "") -> float | None:
        """See `percentile`; kind "f": of the times to the first token."""
        cut = len(kind)
        own = {int(name[cut:]): n for name, n in self.steps.items() if name.rstrip("0123456789") == kind}
        return percentile(own, share)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Scale) and self.steps == other.steps

    __hash__ = None  # type: ignore[assignment]


def usage_of(row: Row, outcome: Mapping[str, object]) -> Measures:
    """The tokens of a record by kind. What was charged when a lease ended is input, and a correction takes it back."""
    if row.how == "expired":
        return {"input": row.real[TOKENS - 1]}
    said = outcome.get("usage")
    counts = {name: n for name, n in said.items() if name in TOKEN_KINDS} if isinstance(said, dict) else {}
    if row.part:
        total = counts.get("input", 0) + counts.get("output", 0)
        total += sum(used.get("input", 0) + used.get("output", 0) for _, used in besides_of(outcome))
        counts["input"] = counts.get("input", 0) - (total - row.real[TOKENS - 1])
    return counts


def besides_of(outcome: Mapping[str, object]) -> list[tuple[str | None, Measures]]:
    """What a record says was used beside the answer, by models; None: the call's own."""
    said = outcome.get("besides")
    return [
        (model, {name: n for name, n in counts.items() if name in TOKEN_KINDS})
        for model, counts in (said if isinstance(said, list) else ())
    ]


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
        Told(min(denial.minute, row.settled_at), denial.values, (), {"denied": n}, of="denied")
        for denial, n in counts_of(row)
    ]


def read(row: Row) -> Told:
    """Reads the record of a call."""
    about = json.loads(row.about) if row.about else {}
    outcome = json.loads(row.outcome) if row.outcome else {}
    measures: Measures = {"corrected" if row.part else "calls": 1, "cost": row.real[COST - 1]}
    measures.update(usage_of(row, outcome))
    steps: list[str] = []
    if not row.part:
        measures["reserved"] = row.hold[COST - 1]
    if (ms := outcome.get("ms")) is not None:
        measures["ms"], measures["timed"] = ms, 1
        steps.append(str(step_of(ms)))
    if (first := outcome.get("first_ms")) is not None:
        measures["first_ms"], measures["streamed"] = first, 1
        steps.append(f"f{step_of(first)}")
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
        about.get("member"),
        about.get("provider"),
        short(outcome.get("model") or about.get("model")),
        about.get("operation", "unknown"),
        outcome.get("status", 0),
        short(about.get("end_user")),
        None,
    )
    return Told(row.at, values, tags_of(about.get("tags")), measures, steps)


def short(name: Value) -> Value:
    """As much of a name as is summed by."""
    return name[:NAME] if isinstance(name, str) else name


def tags_of(tags: Mapping[str, str] | None) -> Sequence[str]:
    """A call's tags as they are summed."""
    return [f"{name}={tags[name]}"[:NAME] for name in sorted(tags)[:TAGS]] if tags else ()


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
    if not to:
        to.update(more)
        return
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


def fold(records: Iterable[Told], zone: str) -> dict[tuple[Bucket, Values], Cell]:
    """What the records come to, in every bucket of every cube."""
    by_hour: dict[tuple[Cube, int, Values], Cell] = {}
    begin = end = 0
    for told in records:
        if not begin <= told.at < end:
            begin, end = bounds("hour", told.at, zone)
        for cube in _WIDEST[told.of]:
            for values in points(told, cube.dims):
                cell = by_hour.get((cube, begin, values))
                if cell is None:
                    cell = by_hour[cube, begin, values] = Cell({}, {})
                add(cell.measures, told.measures)
                for step in told.steps:
                    cell.steps[step] = cell.steps.get(step, 0) + 1
    for (wide, hour, values), cell in list(by_hour.items()):
        for cube, places in _MADE_OF.get(wide, ()):
            own = tuple([values[place] for place in places])
            by_hour.setdefault((cube, hour, own), Cell({}, {})).take(*cell)
    cells: dict[tuple[Bucket, Values], Cell] = {}
    for (cube, hour, values), cell in by_hour.items():
        for period in cube.periods:
            bucket = Bucket(cube, period, zone, *bounds(period, hour, zone))  # a day is made of its hours
            cells.setdefault((bucket, values), Cell({}, {})).take(*cell)
    return cells


_CALLS = CUBES[2]
_MADE_OF = {
    _CALLS: [
        (cube, tuple(_CALLS.dims.index(dim) for dim in cube.dims))
        for cube in CUBES
        if cube.of == "calls" and {*cube.dims} < {*_CALLS.dims}
    ]
}
"""Cubes that have fewer dimensions than another are made of its cells."""
_WIDEST: dict[Subject, list[Cube]] = {
    of: [cube for cube in CUBES if cube.of == of and all(cube is not each for each, _ in _MADE_OF[_CALLS])]
    for of in OF
}


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


def percentile(steps: Mapping[int, int], share: float) -> float | None:
    """The duration (ms, within 5 %) that this share of all did not exceed, by nearest rank; None of none."""
    rank = max(1, math.ceil(share * sum(steps.values()) - 1e-9))
    for step in sorted(steps):
        rank -= steps[step]
        if rank <= 0:
            return ms_of(step)
    return None


_read = json.JSONDecoder().raw_decode
_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
