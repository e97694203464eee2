"""Forecasts, from figures alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from quotaware.core.forecasts import Pace, looked_back, of_calls, pace
from quotaware.core.rollups import DAY_MS

NOW = int(datetime(2026, 6, 11, tzinfo=UTC).timestamp() * 1000)
JUNE = (NOW - 10 * DAY_MS, NOW + 20 * DAY_MS)
WEEK_MS = 7 * DAY_MS


def test_what_is_left_of_the_period_goes_on_at_the_pace_of_late() -> None:
    """Ten days have gone, and a week of them cost 7 a day."""
    found = of_calls("org", {"team": "t"}, JUNE, NOW, (60, 9), Pace(49, WEEK_MS))
    assert (found.spent, found.calls, found.pace, found.expected) == (60, 9, 7, 60 + 20 * 7)
    assert (found.begin, found.end) == (datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))


def test_what_began_just_now_is_not_taken_to_go_on_so_day_and_night() -> None:
    for since in (NOW, NOW - 1, NOW - DAY_MS):
        found = of_calls("org", {}, JUNE, NOW, (5, 1), pace(5, since, NOW, JUNE))
        assert (found.pace, found.expected) == (5, 5 + 20 * 5)
    assert pace(5, NOW - 2 * DAY_MS, NOW, JUNE) == Pace(5, 2 * DAY_MS)


@pytest.mark.parametrize(
    ("period", "back"),
    [
        (90 * DAY_MS, WEEK_MS),
        (30 * DAY_MS, WEEK_MS),
        (WEEK_MS, WEEK_MS),
        (DAY_MS, DAY_MS),
        (3_600_000, 3_600_000),
    ],
)
def test_the_pace_is_of_a_time_as_long_as_the_period_at_most_a_week(period: int, back: int) -> None:
    assert looked_back((NOW, NOW + period)) == back
    assert pace(7, NOW, NOW, (NOW, NOW + period)) == Pace(7, back // 7)


@pytest.mark.parametrize(
    ("budget", "days"), [(59, 0), (60, 0), (61, 1 / 7), (130, 10), (199, 139 / 7), (200, None), (1000, None)]
)
def test_when_a_budget_runs_out(budget: int, days: float | None) -> None:
    """At once where it is used up, and never where it is enough for the period."""
    found = of_calls("org", {}, JUNE, NOW, (60, 9), Pace(49, WEEK_MS))
    out = found.runs_out(budget)
    assert (out is None) == (days is None)
    if out is not None and days is not None:
        assert abs(out - (found.now + timedelta(days=days))) < timedelta(milliseconds=2)


def test_where_nothing_is_spent_of_late_nothing_more_is_expected() -> None:
    found = of_calls("org", {}, JUNE, NOW, (60, 9), Pace(0, WEEK_MS))
    assert (found.pace, found.expected, found.runs_out(61)) == (0, 60, None)
    assert found.spent_usd * 10**9 == found.expected_usd * 10**9 == 60
