"""Why was this refused? What would become of a call right now, and which limits bear on it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from ...core.money import NANO
from ...errors import NotFound
from ...tenancy.keys import is_ours
from ..explanations import AskedOf, Explained, State, explain_call
from .forms import WRONG, names, places, shown_again
from .overview import zone_of
from .view import Html, Page, View


def explain(view: View) -> Html:
    """The question, and the answer where one was asked."""
    error: Exception | None = None
    found: Explained | None = None
    if view.query.get("model"):
        try:
            found = view.call(explain_call, body=_asked(view))
        except (*WRONG, NotFound) as wrong:
            error = wrong
    values, status = shown_again(view, error)
    values |= {
        "form": {name: said for name, said in view.query.items() if not is_ours(said.strip())},
        "found": found,
        "until": None if found is None else _moment(found.until),
        "limits": [] if found is None else [_row(each) for each in found.limits],
        "names": {} if found is None else names(view, {each.on for each in found.limits}),
        "projects": places(view, "quota:read", "project"),
        "zone": zone_of(view),
    }
    return Html("explain.html", values, status)


def _asked(view: View) -> AskedOf:
    given: dict[str, Any] = {}
    for name in ("model", "provider", "operation", "end_user", "key", "project"):
        if said := view.query.get(name, "").strip():
            given[name] = said
    for name in ("input", "max_output"):
        if said := view.query.get(name, "").strip():
            given[name] = int(said) if said.isdecimal() else said
    if "key" in given:
        given.pop("project", None)
    return view.body(AskedOf, **given)


def _row(state: State) -> dict[str, Any]:
    """A limit with its figures as the filters of pages take them."""
    scale = NANO if state.metric == "cost" else 1
    figures = {name: round(getattr(state, name) * scale) for name in ("limit", "used", "held", "remaining")}
    return {**state.model_dump(), **figures, "resets": _moment(state.resets_at)}


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


PAGES = (Page("GET", "/explain", explain, "nav.explain", ("quota:read",)),)
