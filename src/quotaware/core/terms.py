"""What an organization says of its own for a time: another amount of a limit, another price of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ..errors import ConfigurationError
from .models import check_pattern
from .money import count
from .prices import Price, Usd


@dataclass(frozen=True, slots=True)
class Override:
    """In [since, until) ms the limit of this shape is `amount` (nano-dollars for cost) instead. Raises
    ConfigurationError naming the field.
    """

    limit: str
    amount: int
    since: int
    until: int

    def __post_init__(self) -> None:
        if not isinstance(self.limit, str) or not self.limit:
            raise ConfigurationError("limit", "names a limit by its shape, such as cost/month")
        count(self.amount, "amount")
        if not 0 <= self.since < self.until:
            raise ConfigurationError("until", "comes after since")


def amount_of(overrides: Iterable[Override], limit: str, amount: int, now: int) -> tuple[int, int]:
    """The amount in force for a limit that is `amount` otherwise, and the ms at which that may change (0: never)."""
    changes = []
    for override in overrides:
        if override.limit == limit and now < override.until:
            changes.append(override.since if now < override.since else override.until)
            if override.since <= now:
                amount = override.amount
    return amount, min(changes, default=0)


@dataclass(frozen=True, slots=True)
class PriceRule:
    """What a model, or a pattern of models, costs for calls made in [since, until) ms (0: without an end).

    rates  (name, US dollars per million tokens as text), as in `Price.per_million`; that of a way of service is led by
           it: `batch.input`

    Raises ConfigurationError naming the rate.
    """

    model: str
    rates: tuple[tuple[str, str], ...]
    since: int = 0
    until: int = 0

    def __post_init__(self) -> None:
        check_pattern(self.model, "model")
        if self.until and not 0 <= self.since < self.until:
            raise ConfigurationError("until", "comes after since")
        self.price()

    @classmethod
    def of(
        cls, model: str, rates: Mapping[str, Usd | Mapping[str, Usd]], since: int = 0, until: int = 0
    ) -> PriceRule:
        """From rates as people give them."""
        told: dict[str, str] = {}
        for name, rate in rates.items():
            if isinstance(rate, Mapping):
                told |= {f"{name}.{own}": _plain(each) for own, each in rate.items()}
            else:
                told[name] = _plain(rate)
        return cls(model, tuple(sorted(told.items())), since, until)

    def price(self) -> Price:
        """The price that it says."""
        return Price.said(nested(self.rates), "")

    def holds(self, now: int) -> bool:
        """Whether it is in force."""
        return self.since <= now and (not self.until or now < self.until)


def nested(rates: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Rates by their names, those of a way of service below it."""
    said: dict[str, Any] = {}
    for name, rate in rates:
        how, dot, own = name.partition(".")
        if dot:
            said.setdefault(how, {})[own] = rate
        else:
            said[name] = rate
    return said


def prices_of(rules: Iterable[PriceRule], now: int) -> tuple[tuple[PriceRule, ...], int]:
    """The rules in force, of two for one model the one that began later last; and the ms at which that may change (0:
    never).
    """
    known = tuple(rules)
    changes = [at for rule in known for at in (rule.since, rule.until) if at > now]
    holding = sorted((rule for rule in known if rule.holds(now)), key=lambda rule: rule.since)
    return tuple(holding), min(changes, default=0)


def _plain(rate: Usd) -> str:
    return f"{Decimal(str(rate)):f}" if isinstance(rate, int | float | Decimal) else str(rate)
