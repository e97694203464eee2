"""What an answer says that it cost, in the ways of the providers that say so. Whose word counts is for the charge.

Sources: OpenRouter's "Usage accounting" (US dollars in `cost`; with a key of one's own, that is its own fee alone),
xAI's "Cost tracking" (`cost_in_usd_ticks`, of which a dollar has ten thousand million), Perplexity's API reference
(`cost.total_cost`, US dollars).
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any

from ..core.money import MAX_AMOUNT
from .text import member

_NANO = 1_000_000_000
_TICKS = 10  # a nano-dollar


def reported_cost(usage: object) -> int | None:
    """The cost that a `usage` object tells, nano-dollars; None where it tells none that could be true."""
    ticks = member(usage, "cost_in_usd_ticks")
    if ticks is not None:
        return _nano(ticks, 1, _TICKS)
    cost = member(usage, "cost")
    if isinstance(cost, dict):
        cost = cost.get("total_cost")
    told = _nano(cost, _NANO)
    if told is not None and member(usage, "is_byok") is True:
        upstream = _nano(member(member(usage, "cost_details"), "upstream_inference_cost"), _NANO)
        return told + (upstream or 0)
    return told


def _nano(value: Any, times: int, per: int = 1) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_AMOUNT:
        return None
    exact = Decimal(repr(value)) * times / per
    return min(int(exact.to_integral_value(ROUND_HALF_EVEN)), MAX_AMOUNT)
