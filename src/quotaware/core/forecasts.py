"""Forecasts: what a period is going to come to, at the pace that it had so far."""

from __future__ import annotations

LEAST = 10
"""A tenth of the period has to be over: before that a few calls would say anything."""


def forecast(used: int, since: int, now: int, until: int) -> int | None:
    """What will be used at `until` (ms), where `used` was since `since`; None where it is too early to tell, or over.

    The pace is the average so far: used / (now - since). Whole units, rounded down, never less than what is used.
    """
    passed, whole = now - since, until - since
    if passed <= 0 or now >= until or passed * LEAST < whole:
        return None
    return used * whole // passed
