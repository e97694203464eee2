"""Windows: the stretch of time that a limit counts over.

A rolling window is a length; a calendar window is a pair of instants that depends on the time zone; the
whole life is neither. Time comes in as an argument. What is counted, and how a rolling window forgets, is
the ledger's.

Calendar windows are tiles. The window of a local period begins at the first instant at which the local
clock shows that period or a later one. So where the clock jumps over midnight the day begins at the first
valid instant, where midnight comes twice it begins at the first, an hour that is repeated is one long
window, a day that a zone left out is an empty one, and no instant lies in two windows or in none.
"""

from __future__ import annotations

import reprlib
from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Literal
from zoneinfo import ZoneInfo

from quotaware.errors import ConfigurationError

Kind = Literal["rolling", "calendar", "life"]

_ROLLING_MS = {"second": 1_000, "minute": 60_000, "hour": 3_600_000}

# A full length of each period, less than two: the period after one is that of its begin plus the step.
_STEPS = {
    "hour": timedelta(hours=1),
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=31),
    "quarter": timedelta(days=92),
    "year": timedelta(days=366),
}
_WAY_OUT = "give one of second, minute, hour, calendar hour, day, week, month, quarter, year, life"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_SLOT_MS = 3_600_000

_NAMES: dict[str, tuple[Kind, str]] = {
    **{f"calendar {unit}": ("calendar", unit) for unit in _STEPS},
    **{unit: ("calendar", unit) for unit in _STEPS},
    **{unit: ("rolling", unit) for unit in _ROLLING_MS},
    "life": ("life", "life"),
    "lifetime": ("life", "life"),
}


@dataclass(frozen=True, slots=True)
class Window:
    """What a limit counts over: rolling (second, minute, hour), calendar (hour, day, week from Monday, month,
    quarter, year) or the whole life. Raises ConfigurationError for any other pair.
    """

    kind: Kind
    unit: str

    def __post_init__(self) -> None:
        if (self.kind, self.unit) not in _NAMES.values():
            raise ConfigurationError("window", f"there is no {self.kind} window {self.unit!r}; {_WAY_OUT}")

    @classmethod
    def parse(cls, text: str) -> Window:
        """The window of a name: `minute`, `calendar hour`, `month`, `life`; the reverse of `str(window)`.

        Case and spaces do not matter, `lifetime` is `life`, `calendar day` is `day`. Raises
        ConfigurationError.
        """
        name = " ".join(text.lower().split()) if isinstance(text, str) else ""
        if name not in _NAMES:
            raise ConfigurationError("window", f"unknown window {reprlib.repr(text)}; {_WAY_OUT}")
        return cls(*_NAMES[name])

    def __str__(self) -> str:
        return "calendar hour" if self.kind == "calendar" and self.unit == "hour" else self.unit

    @property
    def length_ms(self) -> int:
        """Milliseconds of a rolling window; 0 for the others."""
        return _ROLLING_MS[self.unit] if self.kind == "rolling" else 0

    @property
    def period_ms(self) -> int:
        """Milliseconds of a calendar window, the longest of its unit (the clock's changes aside); 0 for the others."""
        return _STEPS[self.unit] // timedelta(milliseconds=1) if self.kind == "calendar" else 0

    def bounds(self, now_ms: int, zone: str) -> tuple[int, int]:
        """[start, end) in milliseconds of the calendar window that `now_ms` lies in; (0, 0) for the others.

        `zone` is an IANA name. start <= now_ms < end holds for every instant of the years 2 to 9997. Raises
        ConfigurationError for an unknown zone.
        """
        if self.kind != "calendar":
            return 0, 0
        return next(tile for tile in _tiles(self.unit, zone, now_ms // _SLOT_MS) if now_ms < tile[1])


def zone(name: str) -> ZoneInfo:
    """The time zone of an IANA name; ConfigurationError on `time_zone` where there is none."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError, TypeError, AttributeError):
        raise ConfigurationError(
            "time_zone",
            f"unknown time zone {reprlib.repr(name)}; give an IANA name such as 'Europe/Berlin' or 'UTC'",
        ) from None


@lru_cache(maxsize=4096)
def _tiles(unit: str, zone_name: str, slot: int) -> tuple[tuple[int, int], ...]:
    """The windows of one hour of absolute time, in order, so that a lookup needs no calendar.

    Where the clock has just gone back over a boundary, the first is over by then, and the next goes on.
    """
    tz = zone(zone_name)
    tiles = [_tile(unit, tz, slot * _SLOT_MS)]
    while tiles[-1][1] < (slot + 1) * _SLOT_MS:
        tiles.append(_tile(unit, tz, tiles[-1][1]))
    return tuple(tiles)


def _tile(unit: str, tz: ZoneInfo, now_ms: int) -> tuple[int, int]:
    """[start, end) of the period that the clock shows."""
    period = _period(unit, _local(now_ms // 1000, tz))
    following = _period(unit, period + _STEPS[unit])
    return _begin(period, tz) * 1000, _begin(following, tz) * 1000


def _period(unit: str, local: datetime) -> datetime:
    """The local time at which the period of `local` begins by the calendar."""
    if unit == "hour":
        return local.replace(minute=0, second=0)
    midnight = local.replace(hour=0, minute=0, second=0)
    match unit:
        case "week":
            return midnight - timedelta(days=local.weekday())
        case "month":
            return midnight.replace(day=1)
        case "quarter":
            return midnight.replace(month=(local.month - 1) // 3 * 3 + 1, day=1)
        case "year":
            return midnight.replace(month=1, day=1)
    return midnight


def _begin(local: datetime, tz: ZoneInfo) -> int:
    """The first instant, in seconds since the epoch, at which the clock of `tz` shows `local` or later."""
    instant = _instant(local, tz)
    if _local(instant, tz) == local:
        return instant
    # The clock jumps over it: read with the offset before the jump it lies behind the jump, and conversely.
    before = _instant(local.replace(fold=1), tz)
    return before + bisect_left(range(before, instant), True, key=lambda second: _local(second, tz) >= local)


def _instant(local: datetime, tz: ZoneInfo) -> int:
    return (local.replace(tzinfo=tz).astimezone(UTC) - _EPOCH) // _SECOND


def _local(second: int, tz: ZoneInfo) -> datetime:
    return (_EPOCH + second * _SECOND).astimezone(tz).replace(tzinfo=None, fold=0)
