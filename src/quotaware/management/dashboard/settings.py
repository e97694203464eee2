"""Settings of the organization, and a message to try where its alerts go."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Any

from ..organizations import OrganizationChange, get_organization, update_organization
from .forms import WRONG, shown_again
from .view import Html, Page, Redirect, View


def settings(view: View) -> Html:
    """The page."""
    return _page(view)


def change(view: View) -> Html | Redirect:
    """Changes them."""
    try:
        given = {
            "name": view.said("name"),
            "time_zone": view.said("time_zone"),
            "alert_threshold": _share(view.said("alert_threshold")),
            "auto_upgrade": view.said("auto_upgrade") == "on",
            "carryover_allowed": view.said("carryover_allowed") == "on",
        }
        view.call(update_organization, body=view.body(OrganizationChange, **given), id=view.org)
    except WRONG as error:
        return _page(view, error)
    return Redirect("/settings", "told.saved")


def _page(view: View, error: Exception | None = None) -> Html:
    view.ask.actor.require("org:manage", (view.org,))
    found = view.call(get_organization, id=view.org)
    values, status = shown_again(view, error)
    share = found.alert_threshold
    values |= {"organization": found, "percent": "" if share is None else f"{share * 100:g}"}
    return Html("settings.html", values, status)


def _share(said: str) -> Any:
    """Hundredths as a share; what is no number is told off by the body."""
    try:
        return float(Decimal(said) / 100) if said else None
    except InvalidOperation:
        return said


PAGES = (
    Page("GET", "/settings", settings, "nav.settings", ("org:manage",)),
    Page("POST", "/settings", change),
)
