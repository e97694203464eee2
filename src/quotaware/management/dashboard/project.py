"""One project: its limits, what it spends, on which models and for whom, its keys and alerts."""

from __future__ import annotations

from typing import Any

from ..api_keys import ApiKeys, list_api_keys
from ..limits import NewLimit, Which, add_limit, remove_limit
from ..projects import disable_project, enable_project
from . import spending
from .charts import days
from .overview import zone_of
from .standings import row_of
from .view import Html, Page, Redirect, View

MOST_KEYS = 100
MOST_USERS = 10


def project(view: View) -> Html:
    """The page."""
    found = _live(view)
    node = found["row"].node
    month = spending.of(view, node, period="30d")
    keys = view.maybe(
        list_api_keys,
        query=ApiKeys.model_validate({"project_id": node.id, "limit": MOST_KEYS, "revoked": False}),
    )
    users = spending.end_users(view, node, 30)
    more = {
        "month": month,
        "chart": None if month is None else days(month.by_day),
        "keys": None if keys is None else keys.data,
        "keys_cut": MOST_KEYS if keys is not None and keys.next_cursor else 0,
        "end_users": None if users is None else users[:MOST_USERS],
        "users_cut": MOST_USERS if users and len(users) > MOST_USERS else 0,
        "manages": view.may("quota:manage", node.id),
        "reads": view.may("quota:read", node.id),
        "makes_keys": view.may("api_key:create:limited", node.id),
    }
    return Html("project.html", {**found, **more})


def live(view: View) -> Html:
    """What moves on it."""
    return Html("project_live.html", _live(view))


def limit(view: View) -> Redirect:
    """Adds a limit."""
    body = view.body(NewLimit, limit=view.said("limit"))
    view.call(add_limit, "project", body=body, id=view.params["id"])
    return Redirect(f"/projects/{view.params['id']}", "told.limit_added")


def unlimit(view: View) -> Redirect:
    """Takes a limit away."""
    which = Which.model_validate({"mode": view.said("mode") or None})
    view.call(remove_limit, "project", query=which, id=view.params["id"], shape=view.said("shape"))
    return Redirect(f"/projects/{view.params['id']}", "told.limit_removed")


def enable(view: View) -> Redirect:
    """Lets calls go again."""
    view.call(enable_project, id=view.params["id"])
    return Redirect(f"/projects/{view.params['id']}", "told.enabled")


def disable(view: View) -> Redirect:
    """Stops its calls."""
    view.call(disable_project, id=view.params["id"])
    return Redirect(f"/projects/{view.params['id']}", "told.disabled")


def _live(view: View) -> dict[str, Any]:
    tenancy = view.ask.tenancy
    seen = tenancy.find(view.org, "project", view.params["id"])
    node, figures = tenancy.figures(view.org, seen.id)
    paces = spending.Paces(view, [node])
    team = tenancy.those(view.org, [node.parent]).get(node.parent) if node.parent != view.org else None
    return {
        "zone": zone_of(view),
        "row": row_of(view, node, figures, paces),
        "now": view.parts.engine.now(),
        "team": team,
        "forecast": paces.month(node.id),
        "recent": spending.recent(view, node),
        "under_way": spending.under_way(view, node),
        "names": {node.id: node.name},
    }


_ONE = "/projects/{id}"

PAGES = (
    Page("GET", _ONE, project),
    Page("GET", "/live/projects/{id}", live),
    Page("POST", f"{_ONE}/limits", limit),
    Page("POST", f"{_ONE}/limits/remove", unlimit),
    Page("POST", f"{_ONE}/enable", enable),
    Page("POST", f"{_ONE}/disable", disable),
)
