"""What if: recorded calls decided once more, under other limits, by the ledger that decides the real ones."""

from .asking import Given, Period, Plan, Progress, read_period, read_plan, simulate
from .replay import Terms, moment

__all__ = ["Given", "Period", "Plan", "Progress", "Terms", "moment", "read_period", "read_plan", "simulate"]
