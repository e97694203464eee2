"""Forecasts: what a period is going to come to.

An alert looks at a limit's counter, and takes the pace that it had so far in its period (`forecast`). Who looks at what
was used has the records, and takes the pace of the last seven days (`Forecast`), on the first of a month too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from .money import to_usd
from .rollups import DAY_MS, Value

LEAST = 10
"""A tenth of the period has to be over: before that a few calls would say anything."""
RECENT_MS = 7 * DAY_MS
"""How far back the pace is taken from: a week, in which every weekday is once."""
LEAST_MS = DAY_MS
"""The shortest time that it is taken from: what began an hour ago is not thought to go on so day and night."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)


def forecast(used: int, since: int, now: int, until: int) -> int | None:
    """What will be used at `until` (ms), where `used` was since `since`; None where it is too early to tell, or over.

    The pace is the average so far: used / (now - since). Whole units, rounded down, never less than what is used.
    """
    passed, whole = now - since, until - since
    if passed <= 0 or now >= until or passed * LEAST < whole:
        return None
    return used * whole // passed


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a period has come to, and what it will have at its end, at the pace of the last seven days (or since the
    first call in them, but at least of a day).

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
    org: str,
    by: Mapping[str, Value],
    period: tuple[int, int],
    now: int,
    spent: tuple[int, int],
    recent: tuple[int, int],
) -> Forecast:
    """The forecast for a period [begin, end) of which it is `now`.

    spent   nano-dollars and calls so far
    recent  nano-dollars that calls cost since a moment, and that moment
    """
    cost, since = recent
    begin, end = period
    length = max(LEAST_MS, now - since)
    pace = cost * DAY_MS // length
    expected = spent[0] + cost * (end - now) // length
    return Forecast(org, by, _at(begin), _at(end), _at(now), *spent, pace, expected)


def _at(ms: int) -> datetime:
    return _EPOCH + ms * _MS
