"""Alerts: what is said or done when so much of a limit is used, and their one text form.

    SHARE% ACTION [on SHAPE]            80% slack
    $AMOUNT ACTION [on SHAPE]           $400 email on cost/month
    NUMBER ACTION on SHAPE              5000 email on requests/day
    forecast SHARE% ACTION [on SHAPE]   forecast 100% email
    denied ACTION [on SHAPE]            denied slack on requests/minute
    expires DAYSd ACTION                expires 7d email

SHAPE names the limit (`Limit.shape`); without it an alert is on every budget of its node. `forecast` is due once the
period is going to end above that (`core/forecasts.py`); `denied` once the limit kept a call out, once in its window;
`expires` so many days before a key on the node or below ends. Who is told is the delivery's; when a threshold is due,
the ledger's.
"""

from __future__ import annotations

import re
import reprlib
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Final, Literal, cast, get_args

from ..errors import ConfigurationError
from .limits import Limit
from .money import MAX_AMOUNT, count, format_usd, usd
from .steps import Mark

Action = Literal["email", "slack", "webhook", "disable", "close"]
"""disable: stopped until the budget is raised above it or a new period begins; close: until somebody enables it."""
STOPS: Final = frozenset({"disable", "close"})
Kind = Literal["used", "forecast", "denied", "expires"]
"""What an alert is due by: what is used, what will be, a call that was kept out, a key that ends."""
SHARE = 1_000_000
"""A share is in millionths of the limit."""
MAX_SHARE = 10 * SHARE
MAX_DAYS = 365
_DAYS = re.compile(r"[0-9]{1,3}d")


@dataclass(frozen=True, slots=True)
class Alert:
    """Of the kinds used and forecast, due at `share` (millionths of the limit), `amount` (nano-dollars) or `count`
    (requests, tokens); one of them is given. Of the kind expires, so many `days` before. `limit` is the shape of the
    limit that it is on, None for every budget. Raises ConfigurationError naming the field.
    """

    action: Action
    share: int | None = None
    amount: int | None = None
    limit: str | None = None
    kind: Kind = "used"
    days: int | None = None
    count: int | None = None

    def __post_init__(self) -> None:
        if self.action not in get_args(Action):
            raise ConfigurationError(
                "action", f"{reprlib.repr(self.action)} is none of {', '.join(get_args(Action))}"
            )
        if self.kind not in get_args(Kind):
            raise ConfigurationError(
                "alert", f"{reprlib.repr(self.kind)} is none of {', '.join(get_args(Kind))}"
            )
        if self.kind != "used" and self.action in STOPS:
            raise ConfigurationError(
                "action", f"only what is used can {self.action}; take email, slack or webhook"
            )
        given = [value for value in (self.share, self.amount, self.count) if value is not None]
        if len(given) != (1 if self.kind in {"used", "forecast"} else 0):
            raise ConfigurationError(
                "threshold",
                "is a share of the limit or an amount, one of the two; denied and expires have none",
            )
        if self.share is not None and not 0 < self.share <= MAX_SHARE:
            raise ConfigurationError("threshold", "is a share over 0 and up to 10, such as 0.8 for 80 %")
        if self.amount is not None and not 0 < self.amount <= MAX_AMOUNT:
            raise ConfigurationError("threshold", "is an amount over $0 and up to $9000000")
        if self.count is not None and not (0 < self.count <= MAX_AMOUNT and self.limit):
            raise ConfigurationError(
                "threshold", "is a number over 0 of a limit that is named: 5000 email on requests/day"
            )
        if (self.days is None) == (self.kind == "expires") or not 0 < (
            1 if self.days is None else self.days
        ) <= MAX_DAYS:
            raise ConfigurationError("days", f"are from 1 to {MAX_DAYS}, of expires only: expires 7d email")
        if self.limit is not None and (not self.limit or len(self.limit) > 512 or self.kind == "expires"):
            raise ConfigurationError("limit", "names a limit by its shape, such as cost/month")

    @classmethod
    def parse(cls, text: str) -> Alert:
        """The alert that a text says; the reverse of `str(alert)`. Raises ConfigurationError."""
        said, on, shape = text.partition(" on ") if isinstance(text, str) else ("", "", "")
        words = said.split()
        kind = cast(
            "Kind", words.pop(0) if words and words[0] in {"forecast", "denied", "expires"} else "used"
        )
        if len(words) != (1 if kind == "denied" else 2):
            raise ConfigurationError("alert", f"{reprlib.repr(text)} is none; write it like '80% email'")
        action, limit = cast("Action", words[-1]), shape.strip() if on else None
        when = words[0]
        if kind == "denied":
            return cls(action, limit=limit, kind=kind)
        if kind == "expires":
            days = int(when[:-1]) if _DAYS.fullmatch(when) else None
            return cls(action, limit=limit, kind=kind, days=days)
        if when.endswith("%"):
            return cls(action, share=share_of(when[:-1], 100), limit=limit, kind=kind)
        if when.isdecimal() and limit is not None and not limit.startswith("cost"):
            return cls(action, count=count(when, "threshold"), limit=limit, kind=kind)
        return cls(action, amount=usd(when, "threshold"), limit=limit, kind=kind)

    def __str__(self) -> str:
        words = ["" if self.kind == "used" else self.kind, self._when(), self.action]
        return " ".join(filter(None, words)) + (f" on {self.limit}" if self.limit else "")

    def _when(self) -> str:
        if self.days is not None:
            return f"{self.days}d"
        if self.share is not None:
            return f"{Decimal(self.share) * 100 / SHARE:f}%"
        if self.count is not None:
            return str(self.count)
        return "" if self.amount is None else format_usd(self.amount)

    def bears_on(self, limit: Limit) -> bool:
        """Whether it is on this limit of its node."""
        if self.kind == "expires":
            return False
        if self.limit is not None:
            money = limit.metric == "cost"
            return limit.shape == self.limit and (self.amount is None or money) and not (money and self.count)
        return limit.metric == "cost" and limit.models is None and limit.per is None

    def at(self, amount: int, carried: int = 0) -> int:
        """What has to be used of a limit of this amount, and what was carried over to it, so that it is due."""
        given = self.count if self.amount is None else self.amount
        if given is not None:
            return given
        share = self.share or 0
        return -(-amount * share // SHARE) + carried * share // SHARE

    def mark(self, node: str, limit: Limit, amount: int, until: int) -> Mark:
        """The ledger's threshold for it, where the limit is `amount` and its period ends at `until` ms (0: never)."""
        stops = self.action in STOPS
        id = f"{self.action}:{self.level}" + (f":{until}:{limit.shape}" if stops else "")
        share = (self.share or 0) if limit.carryover else 0
        return Mark(id, self.at(amount), node if stops else None, share)

    @property
    def level(self) -> str:
        """When it is due, as ids have it: `800000` of a million, or `=` and an amount."""
        given = self.count if self.amount is None else self.amount
        return str(self.share) if given is None else f"={given}"


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
