"""All projects that the viewer may look at."""

from __future__ import annotations

from .overview import zone_of
from .pulse import MOST
from .spending import Paces
from .standings import by_name, row_of
from .view import Html, Page, View


def projects(view: View) -> Html:
    """The list."""
    tenancy, cursor = view.ask.tenancy, view.query.get("cursor", "")
    nodes = tenancy.list(view.org, "project", after=cursor, limit=MOST + 1)
    shown = nodes[:MOST]
    figures = tenancy.figures_of(view.org, [node.id for node in shown])
    teams = tenancy.those(view.org, {node.parent for node in shown} - {view.org})
    nowhere = Paces(view, ())
    found = [row_of(view, node, figures.get(node.id, ()), nowhere) for node in by_name(shown)]
    return Html(
        "projects.html",
        {
            "rows": found,
            "teams": {id: team.name or id for id, team in teams.items()},
            "next": shown[-1].id if len(nodes) > MOST else None,
            "zone": zone_of(view),
        },
    )


PAGES = (Page("GET", "/projects", projects, "nav.projects", ("quota:read:summary",)),)
