"""Records read for sums, buckets of any zone, and durations on a scale."""

from __future__ import annotations

import json
import random
from datetime import datetime

import pytest

from quotaware.core import rollups
from quotaware.core.rollups import (
    CUBES,
    DAY_MS,
    KEEP,
    TAGS,
    Scale,
    bounds,
    cube_for,
    fold,
    percentile,
    points,
    read,
)
from quotaware.core.steps import Row

HOUR_MS = 3_600_000


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


NOON = at("2026-06-15T12:00:00+00:00")


def row(
    when: int = NOON, part: int = 0, how: str = "settled", about: object = None, outcome: object = None
) -> Row:
    about = json.dumps(about) if about is not None else ""
    outcome = json.dumps(outcome) if outcome is not None else ""
    return Row("id", part, when, when + 5, about, outcome, how, (9, 90, 1), (7, 70, 0), False)  # type: ignore[arg-type]


# a record


def test_a_call_says_what_it_was_and_adds_what_it_used() -> None:
    about = {"team": "t", "project": "p", "key": "k", "member": "m", "provider": "x", "model": "asked"}
    about |= {"operation": "chat"}
    told = read(
        row(
            about={**about, "end_user": "ann", "tags": {"job": "nightly"}},
            outcome={
                "status": 200,
                "model": "answered",
                "usage": {"input": 4, "output": 3, "reasoning": 2},
                "quality": "partial",
                "ms": 120,
                "first_ms": 30,
                "suspect": True,
                "unpriced": True,
                "degraded": True,
                "would_deny": ["$1/day"],
            },
        )._replace(overrun=True)
    )
    assert told.at == NOON
    assert told.values == ("t", "p", "k", "m", "x", "answered", "chat", 200, "ann", None)
    assert told.tags == ["job=nightly"]
    flags = ("partial", "overrun", "suspect", "unpriced", "degraded", "would_deny")
    assert told.measures == {
        "calls": 1,
        "cost": 70,
        "reserved": 90,
        "input": 4,
        "output": 3,
        "reasoning": 2,
        "ms": 120,
        "timed": 1,
        "first_ms": 30,
        "streamed": 1,
        **dict.fromkeys(flags, 1),
    }
    assert told.steps == [str(rollups.step_of(120)), f"f{rollups.step_of(30)}"]


def test_one_of_which_nothing_is_known_counts_all_the_same() -> None:
    told = read(row())
    assert told.values == (None, None, None, None, None, None, "unknown", 0, None, None)
    assert told.tags == ()
    assert told.measures == {"calls": 1, "cost": 70, "reserved": 90}


def test_one_whose_process_died_is_input_and_has_no_duration() -> None:
    told = read(row(how="expired", outcome={}))
    assert told.measures == {"calls": 1, "cost": 70, "reserved": 90, "input": 7, "unsettled": 1}


def test_a_correction_adds_its_difference_and_no_call() -> None:
    """What was charged as input comes off again: 7 less than what the two kinds are together."""
    told = read(row(part=1, outcome={"status": 200, "usage": {"input": 4, "output": 8}, "ms": 0}))
    assert told.measures == {"corrected": 1, "cost": 70, "input": -1, "output": 8, "ms": 0, "timed": 1}
    assert told.steps == ["0"]


def test_kinds_of_tokens_that_are_not_known_are_left_out() -> None:
    assert "input" in read(row(outcome={"usage": {"input": 1, "calls": 9}})).measures
    assert read(row(outcome={"usage": {"calls": 9}})).measures["calls"] == 1
    assert read(row(outcome={"usage": None})).measures["calls"] == 1


def test_a_call_counts_once_for_each_of_its_first_tags() -> None:
    told = read(row(about={"project": "p", "tags": {f"t{n:02}": "x" for n in range(TAGS + 5)}}))
    assert points(told, ("tag", "project")) == [(f"t{n:02}=x", "p") for n in range(TAGS)]
    assert points(told, ("project",)) == [("p",)]
    assert points(read(row()), ("project", "tag")) == []


# cubes


@pytest.mark.parametrize(
    ("names", "period", "cube"),
    [
        (set(), None, "projects"),
        ({"project"}, "hour", "projects"),
        ({"team", "model"}, None, "models"),
        ({"provider", "member"}, None, "calls"),
        ({"model", "status"}, "hour", "calls"),
        ({"team", "project", "key", "member", "provider", "model", "operation", "status"}, None, "calls"),
        ({"end_user"}, "day", "end_users"),
        ({"project", "tag"}, None, "tags"),
        ({"end_user"}, "hour", None),
        ({"end_user", "model"}, None, None),
        ({"end_user", "tag"}, None, None),
    ],
)
def test_the_cube_that_knows_what_is_asked(names, period, cube) -> None:
    found = cube_for(names, period)
    assert (found and found.name) == cube


def test_sums_are_kept_35_and_400_days() -> None:
    assert (KEEP.of("hour"), KEEP.of("day")) == (35 * DAY_MS, 400 * DAY_MS)


ZONES = [
    "UTC",
    "Europe/Berlin",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Cairo",
]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(
    "around",
    ["2011-12-30T10:00+00:00", "2026-03-29T01:00+00:00", "2026-04-04T15:00+00:00", "2026-10-25T01:00+00:00"],
)
def test_hours_and_days_come_to_the_same_and_lie_where_the_clock_says(zone, around) -> None:
    """Daylight saving, half-hour zones and a day that was left out: every record in one hour and in its day."""
    chance = random.Random(around)
    rows = [row(at(around) + chance.randrange(-3 * DAY_MS, 3 * DAY_MS)) for _ in range(500)]
    cells = fold(map(read, rows), zone)
    sums: dict[tuple[str, str], int] = {}
    for (bucket, _), cell in cells.items():
        assert (bucket.begin, bucket.end) == bounds(bucket.period, bucket.begin, zone)
        inside = sum(bucket.begin <= each.at < bucket.end for each in rows)
        assert cell.measures["calls"] == inside
        key = (bucket.cube.name, bucket.period)
        sums[key] = sums.get(key, 0) + cell.measures["calls"]
    named = {(name, period): 500 for name in ("calls", "models", "projects") for period in ("hour", "day")}
    assert sums == {**named, ("end_users", "day"): 500}


def test_the_order_of_the_records_does_not_matter() -> None:
    """I-29."""
    rows = [row(NOON + n * 700_000, about={"project": f"p{n % 3}"}) for n in range(50)]
    shuffled = random.Random(1).sample(rows, len(rows))
    assert fold(map(read, rows), "Asia/Kolkata") == fold(map(read, shuffled), "Asia/Kolkata")


def test_a_table_is_named_by_cube_period_and_zone() -> None:
    assert CUBES[0].table("hour", "Asia/Kolkata") == "projects.hour@Asia/Kolkata"


# durations


def test_every_duration_is_within_four_percent_of_its_step() -> None:
    chance = random.Random(1)
    for ms in [*range(1, 20_000), *(chance.randrange(1, 2 * DAY_MS) for _ in range(20_000))]:
        assert abs(rollups.ms_of(rollups.step_of(ms)) - ms) <= 0.04 * ms
    assert rollups.ms_of(rollups.step_of(0)) == 0.0


@pytest.mark.parametrize("spread", [10, 1000, HOUR_MS])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.07, 0.5, 0.9, 0.95, 0.99, 1.0])
def test_percentiles_are_within_five_percent(spread, share) -> None:
    chance = random.Random(spread)
    durations = [int(chance.lognormvariate(0, 1) * spread) for _ in range(1000)]
    scale = Scale()
    for ms in durations:
        scale.add({str(rollups.step_of(ms)): 1})
        scale.add(f'{{"f{rollups.step_of(3 * ms)}":1}}')
    exact = sorted(durations)[max(0, round(share * 1000) - 1)]
    for found, real in ((scale.percentile(share), exact), (scale.percentile(share, "f"), 3 * exact)):
        assert found is not None
        assert abs(found - real) <= 0.05 * real


def test_the_percentile_of_nothing_is_none() -> None:
    assert percentile({}, 0.5) is None
    assert Scale().percentile(0.5) is None
