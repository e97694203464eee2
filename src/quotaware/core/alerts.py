"""Alerts: what is said or done when so much of a limit is used, and their one text form.

    SHARE% ACTION [on SHAPE]      80% slack
    $AMOUNT ACTION [on SHAPE]     $400 email on cost/month

SHAPE names the limit (`Limit.shape`); without it an alert is on every budget of its node. Who is told is the
delivery's; when one is due, the ledger's.
"""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, cast, get_args

from ..errors import ConfigurationError
from .limits import Limit
from .money import MAX_AMOUNT, format_usd, usd
from .steps import Mark

Action = Literal["email", "slack", "webhook", "disable", "close"]
"""disable: stopped until the budget is raised above it or a new period begins; close: until somebody enables it."""
STOPS: Final = frozenset({"disable", "close"})
SHARE = 1_000_000
"""A share is in millionths of the limit."""
MAX_SHARE = 10 * SHARE


@dataclass(frozen=True, slots=True)
class Alert:
    """Due once `share` (millionths of the limit) or `amount` (nano-dollars) is used; one of the two is given.
    `limit` is the shape of the limit that it is on, None for every budget. Raises ConfigurationError naming the field.
    """

    action: Action
    share: int | None = None
    amount: int | None = None
    limit: str | None = None

    def __post_init__(self) -> None:
        if self.action not in get_args(Action):
            raise ConfigurationError(
                "action", f"{reprlib.repr(self.action)} is none of {', '.join(get_args(Action))}"
            )
        if (self.share is None) == (self.amount is None):
            raise ConfigurationError("threshold", "is a share of the limit or an amount, one of the two")
        if self.share is not None and not 0 < self.share <= MAX_SHARE:
            raise ConfigurationError("threshold", "is a share over 0 and up to 10, such as 0.8 for 80 %")
        if self.amount is not None and not 0 < self.amount <= MAX_AMOUNT:
            raise ConfigurationError("threshold", "is an amount over $0 and up to $9000000")
        if self.limit is not None and (not self.limit or len(self.limit) > 512):
            raise ConfigurationError("limit", "names a limit by its shape, such as cost/month")

    @classmethod
    def parse(cls, text: str) -> Alert:
        """The alert that a text says; the reverse of `str(alert)`. Raises ConfigurationError."""
        said, on, shape = text.partition(" on ") if isinstance(text, str) else ("", "", "")
        words = said.split()
        if len(words) != 2:
            raise ConfigurationError("alert", f"{reprlib.repr(text)} is none; write it like '80% email'")
        when, action, limit = words[0], cast("Action", words[1]), shape.strip() if on else None
        if when.endswith("%"):
            return cls(action, share=share_of(when[:-1], 100), limit=limit)
        return cls(action, amount=usd(when, "threshold"), limit=limit)

    def __str__(self) -> str:
        when = (
            format_usd(self.amount)
            if self.amount is not None
            else f"{Decimal(self.share or 0) * 100 / SHARE:f}%"
        )
        return f"{when} {self.action}" + (f" on {self.limit}" if self.limit else "")

    def bears_on(self, limit: Limit) -> bool:
        """Whether it is on this limit of its node."""
        if self.limit is not None:
            return limit.shape == self.limit and (self.amount is None or limit.metric == "cost")
        return limit.metric == "cost" and limit.models is None and limit.per is None

    def mark(self, node: str, limit: Limit, amount: int, until: int) -> Mark:
        """The ledger's threshold for it, where the limit is `amount` and its period ends at `until` ms (0: never)."""
        at = self.amount if self.amount is not None else -(-amount * (self.share or 0) // SHARE)
        when = f"={self.amount}" if self.amount is not None else str(self.share)
        stops = self.action in STOPS
        id = f"{self.action}:{when}" + (f":{until}:{limit.shape}" if stops else "")
        return Mark(id, at, node if stops else None)


@dataclass(frozen=True, slots=True)
class Stop:
    """What stopped a node: the mark's id read back. `until`: ms at which a new period begins, 0 for never."""

    action: Action
    limit: str
    until: int

    @classmethod
    def read(cls, mark: str) -> Stop:
        """From the id of a mark; one that has another form stops until it is taken away."""
        parts = mark.split(":", 3)
        if len(parts) == 4 and parts[0] in STOPS and parts[2].isdigit():
            return cls(cast("Action", parts[0]), parts[3], int(parts[2]))
        return cls("disable", "", 0)

    def over(self, now: int) -> bool:
        """Whether a new period has begun since."""
        return self.action == "disable" and 0 < self.until <= now


def share_of(value: str | float | Decimal, whole: int = 1) -> int:
    """A share as millionths: 0.8 of 1, or 80 of 100. Raises ConfigurationError naming `threshold`."""
    problem = ConfigurationError(
        "threshold", f"{reprlib.repr(value)} is no share; give one such as 0.8 for 80 %"
    )
    if isinstance(value, bool) or not isinstance(value, str | int | float | Decimal):
        raise problem
    try:
        number = Decimal(str(value)) * SHARE / whole
    except InvalidOperation:
        raise problem from None
    if not number.is_finite() or number != number.to_integral_value():
        raise problem
    return int(number)
