"""All projects that the viewer may look at."""

from __future__ import annotations

from . import spending
from .overview import zone_of
from .standings import rows
from .view import Html, Page, View


def projects(view: View) -> Html:
    """The list."""
    found = rows(view, spending.forecasts(view, spending.homes(view)))
    teams = {row.node.id: row.node.name for row in found if row.node.kind == "team"}
    return Html(
        "projects.html",
        {
            "rows": [row for row in found if row.node.kind == "project"],
            "teams": teams,
            "zone": zone_of(view),
        },
    )


PAGES = (Page("GET", "/projects", projects, "nav.projects", ("quota:read:summary",)),)
