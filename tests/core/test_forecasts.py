"""Forecasts, from figures alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from quotaware.core.forecasts import LEAST_MS, RECENT_MS, of_calls
from quotaware.core.rollups import DAY_MS

NOW = int(datetime(2026, 6, 11, tzinfo=UTC).timestamp() * 1000)
JUNE = (NOW - 10 * DAY_MS, NOW + 20 * DAY_MS)


def test_what_is_left_of_the_period_goes_on_at_the_pace_of_late() -> None:
    """Ten days have gone, and a week of them cost 7 a day."""
    found = of_calls("org", {"team": "t"}, JUNE, NOW, (60, 9), (49, NOW - RECENT_MS))
    assert (found.spent, found.calls, found.pace, found.expected) == (60, 9, 7, 60 + 20 * 7)
    assert (found.begin, found.end) == (datetime(2026, 6, 1, tzinfo=UTC), datetime(2026, 7, 1, tzinfo=UTC))


def test_what_began_just_now_is_not_taken_to_go_on_so_day_and_night() -> None:
    found = of_calls("org", {}, JUNE, NOW, (5, 1), (5, NOW - 1))
    assert (found.pace, found.expected) == (5, 5 + 20 * 5)
    assert of_calls("org", {}, JUNE, NOW, (5, 1), (5, NOW - LEAST_MS)).expected == found.expected


@pytest.mark.parametrize(
    ("budget", "days"), [(59, 0), (60, 0), (61, 1 / 7), (130, 10), (199, 139 / 7), (200, None), (1000, None)]
)
def test_when_a_budget_runs_out(budget: int, days: float | None) -> None:
    """At once where it is used up, and never where it is enough for the period."""
    found = of_calls("org", {}, JUNE, NOW, (60, 9), (49, NOW - RECENT_MS))
    out = found.runs_out(budget)
    assert (out is None) == (days is None)
    if out is not None and days is not None:
        assert abs(out - (found.now + timedelta(days=days))) < timedelta(milliseconds=2)


def test_where_nothing_is_spent_of_late_nothing_more_is_expected() -> None:
    found = of_calls("org", {}, JUNE, NOW, (60, 9), (0, NOW - RECENT_MS))
    assert (found.pace, found.expected, found.runs_out(61)) == (0, 60, None)
    assert found.spent_usd * 10**9 == found.expected_usd * 10**9 == 60
