"""Figures for charts, and for the tables that say the same to who does not see them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from ...core.money import to_usd
from ..analytics import Day


@dataclass(frozen=True, slots=True)
class Chart:
    """Cost and calls by day; `data` for the script, as JSON."""

    days: Sequence[Day]
    data: str


def days(found: Sequence[Day]) -> Chart:
    """A chart of days."""
    at = [round(datetime.fromisoformat(day.date).replace(tzinfo=UTC).timestamp()) for day in found]
    cost = [float(to_usd(day.cost)) for day in found]
    return Chart(found, json.dumps([at, cost]))
