"""What people are told: one alert, in words and as data."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from ..core.denials import iso
from ..core.money import format_usd

KINDS = {
    "used": "quota.threshold",
    "stopped": "quota.stopped",
    "forecast": "quota.forecast",
    "denied": "quota.denied",
    "expires": "api_key.expiring",
    "store": "store.recovered",
    "test": "alert.test",
}
"""What a notice is about, and its type on the wire."""


@dataclass(frozen=True, slots=True)
class Notice:
    """One alert.

    id     the same for every delivery of it: what happened, once
    kind   used, stopped, forecast, denied, expires, store or test
    at     ms at which it was decided
    org    the organization; node: what it is about (id, kind, name), and `above` it the ids up to the organization
    title  one line; text: a few
    figures  the limit and its figures, JSON values, money in dollars
    """

    id: str
    kind: str
    at: int
    org: str
    node: str
    node_kind: str
    name: str
    above: tuple[str, ...]
    title: str
    text: str
    figures: dict[str, Any] = field(default_factory=dict)

    def payload(self) -> dict[str, Any]:
        """It as JSON, in the shape that Standard Webhooks recommends."""
        return {
            "type": KINDS[self.kind],
            "timestamp": iso(self.at),
            "data": {
                "id": self.id,
                "organization_id": self.org,
                "node": {"id": self.node, "kind": self.node_kind, "name": self.name},
                "title": self.title,
                "text": self.text,
                **self.figures,
            },
        }

    def packed(self) -> list[Any]:
        """It as an outbox keeps it."""
        return [getattr(self, name) for name in self.__slots__]

    @classmethod
    def unpacked(cls, values: list[Any]) -> Notice:
        """What `packed` packed."""
        given = dict(zip(cls.__slots__, values, strict=False))
        return cls(**{**given, "above": tuple(given["above"])})


def amount_text(metric: str, amount: int) -> str:
    """An amount of a limit's metric, for people."""
    return format_usd(amount) if metric == "cost" else f"{amount:,} {metric}"


def one_line(text: str) -> str:
    """Text that cannot leave its line or header, whatever is in it."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def to_json(value: Any) -> str:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"))
