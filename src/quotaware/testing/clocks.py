"""A clock that a test moves by hand, and reservation ids that go by it."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

NOON = 1_781_524_800_000
"""2026-06-15T12:00:00Z in ms: far from the end of a day, a month, a quarter."""


class FakeClock:
    """ms since the epoch, moved by hand."""

    def __init__(self, now: int = NOON) -> None:
        self.now = now

    def __call__(self) -> int:
        return self.now

    def advance(self, ms: int) -> None:
        """So many ms later, or earlier where that is negative."""
        self.now += ms


def ids(clock: Callable[[], int]) -> Callable[[], str]:
    """Makes reservation ids, each later than the one before: twelve hex digits of time, then a count."""
    numbers = count()
    return lambda: f"{clock():012x}{next(numbers):020x}"
