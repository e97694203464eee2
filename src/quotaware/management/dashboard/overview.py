"""The first page: who spends what against which budget, what is coming, and what is blocked and why."""

from __future__ import annotations

from typing import Any

from . import spending
from .blocked import blocked_keys
from .charts import days
from .pulse import MOST
from .standings import Row, rows
from .view import Html, Page, View


def overview(view: View) -> Html:
    """The page."""
    home = next(iter(spending.homes(view)), None)
    month = spending.by_day(view, home, 30) if home is not None else None
    return Html("overview.html", {**_live(view), "chart": None if month is None else days(month)})


def live(view: View) -> Html:
    """What moves on it."""
    return Html("overview_live.html", _live(view))


def _live(view: View) -> dict[str, Any]:
    homes = spending.homes(view)
    home = next(iter(homes), None)
    zone = zone_of(view)
    paces = spending.Paces(view, homes)
    found = rows(view, paces)
    ends = sorted((row for row in found if row.out is not None), key=lambda row: row.out.at if row.out else 0)
    return {
        "zone": zone,
        "home": home,
        "rows": found,
        "cut": MOST if view.pulse.of(view.org).cut else 0,
        "held": held(found),
        "now": view.parts.engine.now(),
        "forecast": paces.month(home.id) if home is not None else None,
        "chief": spending.chief_of_yesterday(view, home, zone) if home is not None else None,
        "used_up": [row for row in ends if row.out and row.out.over],
        "first_out": next((row for row in ends if row.out and not row.out.over), None),
        "budgeted": any(row.budget is not None for row in found),
        "blocked": [row for row in found if row.blocked or any(bar.full for bar in row.bars)],
        "keys": blocked_keys(view, home),
        "denied": spending.denied_of_late(view, home) if home is not None else None,
        "recent": spending.recent(view, home) if home is not None else [],
        "under_way": spending.under_way(view, home) if home is not None else None,
        "names": {row.node.id: row.node.name for row in found},
    }


def held(found: list[Row]) -> int | None:
    """What calls under way hold, as far as budgets show it: the most that any sees."""
    return max((bar.held for row in found for bar in row.bars if bar.metric == "cost"), default=None)


def zone_of(view: View) -> str:
    """The organization's time zone."""
    return view.ask.tenancy.those(view.org, [view.org])[view.org].zone


PAGES = (
    Page("GET", "/", overview, "nav.overview"),
    Page("GET", "/live/overview", live),
)
