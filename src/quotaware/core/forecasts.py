"""Forecasts: what a calendar period is going to come to. Alerts, the API and the dashboard all mean the same by it.

What was used so far, and the rest of the period at the pace of late: what was used in the time before now that is as
long as the period, at most in the last seven days, so that on the first of a month too there is a pace. Where the first
use lies within that time it is the pace since then, but at least of a seventh of it: what began an hour ago is not
thought to go on so day and night for a month.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import NamedTuple

from .money import to_usd
from .rollups import DAY_MS, Value

LONGEST_MS = 7 * DAY_MS
"""How far back the pace is taken from at most: a week, in which every weekday is once."""
PARTS = 7
"""The pace is taken from one of so many parts of that time at least."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


class Pace(NamedTuple):
    """So much was used in so many ms."""

    used: int
    ms: int

    def over(self, ms: int) -> int:
        """What that comes to in so many ms, in whole units, rounded down."""
        return self.used * ms // self.ms


def looked_back(period: tuple[int, int]) -> int:
    """How many ms before now the pace of a period [begin, end) is taken from."""
    begin, end = period
    return min(LONGEST_MS, end - begin)


def pace(used: int, since: int, now: int, period: tuple[int, int]) -> Pace:
    """The pace of what was used since a moment in that time."""
    return Pace(used, max(looked_back(period) // PARTS, now - since))


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a period has come to, and what it will have at its end, at the pace of late.

    by            whose it is: the value of each dimension asked for
    begin, end    the period, [begin, end)
    now           when it was made
    spent, calls  so far; nano-dollars
    pace          nano-dollars a day
    expected      nano-dollars at the end
    """

    organization: str
    by: Mapping[str, Value]
    begin: datetime
    end: datetime
    now: datetime
    spent: int
    calls: int
    pace: int
    expected: int

    @property
    def spent_usd(self) -> Decimal:
        """What was spent so far in dollars, exact."""
        return to_usd(self.spent)

    @property
    def expected_usd(self) -> Decimal:
        """What is expected in dollars."""
        return to_usd(self.expected)

    def runs_out(self, budget: int) -> datetime | None:
        """When a budget (nano-dollars) of the period is used up at this pace: now, where it is already, and None where
        that is not before the end.
        """
        if self.spent >= budget:
            return self.now
        if self.expected <= budget:
            return None
        return min(self.end, self.now + (budget - self.spent) * DAY_MS // self.pace * _MS)


def of_calls(
    org: str, by: Mapping[str, Value], period: tuple[int, int], now: int, spent: tuple[int, int], late: Pace
) -> Forecast:
    """The forecast for a period [begin, end) of which it is `now`; `spent`: nano-dollars and calls so far."""
    begin, end = period
    expected = spent[0] + late.over(end - now)
    return Forecast(org, by, _at(begin), _at(end), _at(now), *spent, late.over(DAY_MS), expected)


def _at(ms: int) -> datetime:
    return _EPOCH + ms * _MS
