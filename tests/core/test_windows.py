from __future__ import annotations

import itertools
import random
import zoneinfo
from bisect import bisect_left
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.windows import Window, zone
from quotaware.errors import ConfigurationError

UNITS = ["hour", "day", "week", "month", "quarter", "year"]
ZONES = sorted(zoneinfo.available_timezones())
MINUTE, HOUR, DAY = 60, 3600, 86400
FIRST, LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1970, 2101))


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


def calendar(unit: str) -> Window:
    return Window("calendar", unit)


# The oracle. It never asks which instant a local time is, only what the clock shows at an instant: it walks
# over the hours around a boundary, finds where the offset changes, and holds the boundary to its definition,
# "the first instant at which the clock shows this period or a later one".


def period(unit: str, second: int, tz: ZoneInfo) -> int:
    """The number, rising with the local time, of the period that the clock shows at an instant."""
    local = datetime.fromtimestamp(second, tz)
    return {
        "hour": local.toordinal() * 24 + local.hour,
        "day": local.toordinal(),
        "week": (local.toordinal() - 1) // 7,
        "month": local.year * 12 + local.month,
        "quarter": local.year * 4 + (local.month - 1) // 3,
        "year": local.year,
    }[unit]


def offset(second: int, tz: ZoneInfo) -> float:
    return datetime.fromtimestamp(second, tz).utcoffset().total_seconds()


def first_change(start: int, end: int, tz: ZoneInfo) -> int:
    """The second at which the offset changes, of a stretch within which it does so once."""
    before = offset(start, tz)
    return start + bisect_left(range(start, end), True, key=lambda second: offset(second, tz) != before)


def pieces(start: int, end: int, tz: ZoneInfo) -> Iterator[tuple[int, int]]:
    """[start, end) cut where the clock jumps, so that within a piece the local time only rises."""
    known = offset(start, tz)
    for step in range(start, end, 15 * MINUTE):
        ahead = min(step + 15 * MINUTE, end)
        if (then := offset(ahead, tz)) != known:
            jump = first_change(step, ahead, tz)
            yield start, jump
            start, known = jump, then
    yield start, end


def reached(unit: str, second: int, tz: ZoneInfo) -> int:
    """The latest period that the clock has shown up to an instant; no zone was ever set back by 26 hours."""
    return max(period(unit, end - 1, tz) for _, end in pieces(second - 26 * HOUR, second + 1, tz))


def check(unit: str, now: int, tz: ZoneInfo) -> None:
    """I-14: start <= now < end, and both are where the clock first shows another period."""
    start_ms, end_ms = calendar(unit).bounds(now * 1000, tz.key)
    told = f"{unit} of {now} in {tz.key}: {start_ms}..{end_ms}"
    assert start_ms <= now * 1000 < end_ms, told
    assert start_ms % 1000 == end_ms % 1000 == 0, told
    start, end = start_ms // 1000, end_ms // 1000
    within = reached(unit, start, tz)
    assert reached(unit, start - 1, tz) < within, told
    assert reached(unit, end - 1, tz) == within, told
    assert reached(unit, end, tz) > within, told


tz_of = cache(ZoneInfo)


def near_a_jump(tz: ZoneInfo, year_start: int, chance: random.Random) -> int:
    """An instant within two days of a change of the zone's offset, if there is one in that year."""
    months = [year_start + month * 30 * DAY for month in range(13)]
    changes = [(a, b) for a, b in itertools.pairwise(months) if offset(a, tz) != offset(b, tz)]
    if not changes:
        return year_start + chance.randrange(365 * DAY)
    low, high = chance.choice(changes)
    return first_change(low, high, tz) + chance.choice([-1, 0, 1, chance.randrange(-2 * DAY, 2 * DAY)])


def sample(size: int, seed: int) -> Iterator[tuple[ZoneInfo, int]]:
    """Zones in turn; one instant anywhere in 1970-2100, the next close to a jump of the clock."""
    chance = random.Random(seed)
    for number in range(size):
        tz = tz_of(ZONES[number % len(ZONES)])
        instant = chance.randrange(FIRST, LAST)
        yield tz, near_a_jump(tz, instant, chance) if number % 2 else instant


def test_windows_tile_in_every_zone():
    """I-14, F13: 5,000 instants of 1970-2100 over every zone and unit, against the oracle."""
    for number, (tz, now) in enumerate(sample(5_000, seed=14)):
        check(UNITS[number // 2 % len(UNITS)], now, tz)


@pytest.mark.slow
def test_windows_tile_in_every_zone_at_length():
    """I-14, F13: 100,000 instants."""
    for number, (tz, now) in enumerate(sample(100_000, seed=13)):
        check(UNITS[number // 2 % len(UNITS)], now, tz)


@pytest.mark.slow
def test_windows_tile_around_every_jump_of_every_clock():
    """I-14: every change of every zone's offset from 1970 to 2040, to the second, the units in turn."""
    turn = itertools.cycle(UNITS)
    for name in ZONES:
        tz = tz_of(name)
        for jump in jumps(tz, 1970, 2040):
            check(next(turn), jump - 1, tz)
            check(next(turn), jump, tz)


def jumps(tz: ZoneInfo, first: int, last: int) -> Iterator[int]:
    begin, stop = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (first, last))
    for week in range(begin, stop, 7 * DAY):
        if offset(week, tz) != offset(week + 7 * DAY, tz):
            yield from (start for start, _ in list(pieces(week, week + 7 * DAY, tz))[1:])


seconds = st.integers(FIRST - 100 * 365 * DAY, LAST)


@given(st.sampled_from(ZONES), seconds, st.sampled_from(UNITS))
@settings(deadline=None, max_examples=200)
def test_windows_tile_anywhere(name, now, unit):
    """I-14: any zone and instant, before 1970 too."""
    check(unit, now, tz_of(name))


@given(st.sampled_from(ZONES), st.integers(FIRST * 1000, LAST * 1000), st.sampled_from(UNITS))
@settings(deadline=None, max_examples=200)
def test_a_window_begins_where_the_last_one_ended(name, now_ms, unit):
    """I-14: neighbours meet, every instant of a window answers the same window, milliseconds included."""
    window = calendar(unit)
    start, end = window.bounds(now_ms, name)
    assert start <= now_ms < end
    assert window.bounds(start, name) == window.bounds(end - 1, name) == (start, end)
    assert window.bounds(end, name)[0] == end
    assert window.bounds(start - 1, name)[1] == start


BY_HAND = """
a plain day | UTC day | 2025-02-01T00Z | 2025-02-01T00Z | 2025-02-02T00Z
the last ms | UTC day | 2025-01-31T23:59:59.999Z | 2025-01-31T00Z | 2025-02-01T00Z
23 hours | Europe/Berlin day | 2025-03-30T12+02 | 2025-03-30T00+01 | 2025-03-31T00+02
25 hours | Europe/Berlin day | 2025-10-26T12+01 | 2025-10-26T00+02 | 2025-10-27T00+01
a month over the change | America/New_York month | 2025-03-15T12Z | 2025-03-01T00-05 | 2025-04-01T00-04
Monday | Asia/Tokyo week | 2025-01-05T12+09 | 2024-12-30T00+09 | 2025-01-06T00+09
February 29 | UTC day | 2024-02-29T12Z | 2024-02-29T00Z | 2024-03-01T00Z
a leap February | UTC month | 2024-02-29T12Z | 2024-02-01T00Z | 2024-03-01T00Z
no leap in 2100 | UTC month | 2100-02-28T12Z | 2100-02-01T00Z | 2100-03-01T00Z
December 31 | UTC month | 2025-12-31T12Z | 2025-12-01T00Z | 2026-01-01T00Z
a quarter | UTC quarter | 2025-12-31T12Z | 2025-10-01T00Z | 2026-01-01T00Z
a year | UTC year | 2024-12-31T12Z | 2024-01-01T00Z | 2025-01-01T00Z
zone +14 | Pacific/Kiritimati day | 2025-01-01T00+14 | 2025-01-01T00+14 | 2025-01-02T00+14
zone -12 | Etc/GMT+12 day | 2025-01-01T00-12 | 2025-01-01T00-12 | 2025-01-02T00-12
a half-hour zone | Asia/Kolkata hour | 2025-01-01T10:59+05:30 | 2025-01-01T10+05:30 | 2025-01-01T11+05:30
half an hour back | Australia/Lord_Howe day | 2025-04-06T12+10:30 | 2025-04-06T00+11 | 2025-04-07T00+10:30
an hour of 90 minutes | Australia/Lord_Howe hour | 2025-04-06T01:45+10:30 | 2025-04-06T01+11 | 2025-04-06T02+10:30
an hour of 30 minutes | Australia/Lord_Howe hour | 2025-10-05T02:45+11 | 2025-10-05T02:30+11 | 2025-10-05T03+11
before the missing day | Pacific/Apia day | 2011-12-29T12-10 | 2011-12-29T00-10 | 2011-12-31T00+14
after the missing day | Pacific/Apia day | 2011-12-31T00+14 | 2011-12-31T00+14 | 2012-01-01T00+14
midnight left out | America/Sao_Paulo day | 2018-11-04T12-02 | 2018-11-04T01-02 | 2018-11-05T00-02
the day before it | America/Sao_Paulo day | 2018-11-03T12-03 | 2018-11-03T00-03 | 2018-11-04T01-02
midnight left out | Africa/Cairo day | 2023-04-28T12+03 | 2023-04-28T01+03 | 2023-04-29T00+03
midnight left out | Asia/Beirut day | 2022-03-27T12+03 | 2022-03-27T01+03 | 2022-03-28T00+03
back from midnight to 23:00 | Africa/Cairo day | 2023-10-26T23:30+02 | 2023-10-26T00+03 | 2023-10-27T00+02
midnight twice | America/Havana day | 2025-11-02T00:30-05 | 2025-11-02T00-04 | 2025-11-03T00-05
back over midnight | America/St_Johns day | 2010-11-06T23:30-03:30 | 2010-11-07T00-02:30 | 2010-11-08T00-03:30
the day that lost it | America/St_Johns day | 2010-11-06T23:59-02:30 | 2010-11-06T00-02:30 | 2010-11-07T00-02:30
an hour twice | Europe/Berlin hour | 2025-10-26T02:30+01 | 2025-10-26T02+02 | 2025-10-26T03+01
an hour from a gap on | Pacific/Chatham hour | 2025-09-28T03:50+13:45 | 2025-09-28T03:45+13:45 | 2025-09-28T04:00+13:45
midnight within a gap | America/Toronto day | 1919-03-31T12-04 | 1919-03-31T00:30-04 | 1919-04-01T00-04
a shift of seconds | Africa/Monrovia day | 1972-01-07T12Z | 1972-01-07T00:44:30Z | 1972-01-08T00Z
local mean time | Europe/London day | 1840-06-01T12Z | 1840-06-01T00:01:15Z | 1840-06-02T00:01:15Z
the epoch | UTC hour | 1970-01-01T00Z | 1970-01-01T00Z | 1970-01-01T01Z
just before the epoch | UTC day | 1969-12-31T23:59:59.999Z | 1969-12-31T00Z | 1970-01-01T00Z
"""


@pytest.mark.parametrize("row", BY_HAND.strip().splitlines())
def test_calendar_windows_begin_at_the_local_boundary(row):
    """I-14, by hand: why | zone and unit | now | start | end."""
    _, place, now, start, end = row.split(" | ")
    name, unit = place.split()
    assert calendar(unit).bounds(ms(now), name) == (ms(start), ms(end))


def test_rolling_windows_have_a_length_and_no_bounds():
    lengths = {name: Window.parse(name).length_ms for name in ("second", "minute", "hour")}
    assert lengths == {"second": 1_000, "minute": 60_000, "hour": 3_600_000}
    assert Window("rolling", "hour").bounds(123, "UTC") == (0, 0)
    assert Window("life", "life").bounds(123, "UTC") == (0, 0)
    assert calendar("hour").length_ms == Window("life", "life").length_ms == 0


@pytest.mark.parametrize(
    ("text", "window"),
    [
        *((name, Window("rolling", name)) for name in ("second", "minute", "hour")),
        *((name, Window("calendar", name)) for name in ("day", "week", "month", "quarter", "year")),
        ("calendar hour", Window("calendar", "hour")),
        ("life", Window("life", "life")),
    ],
)
def test_a_window_round_trips_through_its_name(text, window):
    assert Window.parse(text) == window
    assert str(window) == text


def test_a_windows_name_may_be_said_otherwise():
    assert Window.parse("  Calendar   HOUR ") == calendar("hour")
    assert Window.parse("calendar day") == calendar("day")
    assert Window.parse("lifetime") == Window("life", "life")


@pytest.mark.parametrize("text", ["", "fortnight", "calendar minute", "calendar", "days", "m" * 500, None, 5])
def test_an_unknown_window_is_refused_with_the_known_ones(text):
    with pytest.raises(ConfigurationError, match=r"window: .* give one of second, .*life") as refused:
        Window.parse(text)
    assert len(str(refused.value)) < 200


@pytest.mark.parametrize(
    ("kind", "unit"), [("rolling", "day"), ("calendar", "second"), ("life", "day"), ("", "hour")]
)
def test_a_window_that_there_is_not_cannot_be_made(kind, unit):
    with pytest.raises(ConfigurationError, match="window: there is no"):
        Window(kind, unit)


@pytest.mark.parametrize(
    "name",
    ["", "Mars/X", "Europe", "../etc/x", "/etc/passwd", "a\0b", "x" * 5000, "\ud800", None, 5, ["UTC"]],
)
def test_an_unknown_time_zone_is_refused(name):
    with pytest.raises(ConfigurationError, match="time_zone: unknown time zone") as refused:
        zone(name)
    assert refused.value.field == "time_zone"
    assert len(str(refused.value)) < 200


def test_a_known_time_zone_is_answered_and_an_unknown_one_has_no_bounds():
    assert zone("Europe/Berlin").key == "Europe/Berlin"
    with pytest.raises(ConfigurationError, match="time_zone"):
        calendar("day").bounds(0, "Mars/Olympus")
