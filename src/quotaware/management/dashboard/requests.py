"""Requests for more: who asks, and who approves or rejects."""

from __future__ import annotations

from typing import Any

from ...tenancy.nodes import Node
from ...words.wire import Listing
from ..bodies import validated
from ..quota_requests import (
    NewRequest,
    Note,
    RequestAnswer,
    Requests,
    approve_request,
    create_request,
    list_requests,
    reject_request,
)
from .forms import WRONG, places, shown_again
from .overview import zone_of
from .view import Html, Page, Redirect, View

PAGE = 50


def requests(view: View) -> Html:
    """What waits for a decision, what was decided, and the form to ask."""
    return _list(view)


def ask(view: View) -> Html | Redirect:
    """Asks for more."""
    try:
        kind, _, rest = view.said("limit").partition(":")
        id, _, shape = rest.partition(":")
        field = "amount_usd" if shape.startswith("cost/") else "amount"
        given: dict[str, Any] = {f"{kind}_id": id, "limit": shape, field: _figure(view.said("amount"))}
        if view.said("periods"):
            given["periods"] = _figure(view.said("periods"))
        if reason := view.said("reason"):
            given["reason"] = reason
        made = view.call(create_request, body=view.body(NewRequest, **given))
    except WRONG as error:
        return _list(view, error)
    return Redirect("/requests", "told.granted" if made.state == "approved" else "told.asked")


def approve(view: View) -> Html | Redirect:
    """What was asked for holds at once."""
    return _decided(view, approve_request, "told.approved")


def reject(view: View) -> Html | Redirect:
    """It stays as it is."""
    return _decided(view, reject_request, "told.rejected")


def _decided(view: View, run: Any, told: str) -> Html | Redirect:
    note = view.said("note")
    try:
        view.call(run, body=view.body(Note, **({"note": note} if note else {})), id=view.params["id"])
    except WRONG as error:
        return _list(view, error)
    return Redirect("/requests", told)


def _list(view: View, error: Exception | None = None) -> Html:
    waiting = _some(view, "waiting", state="pending")
    all_of = _some(view, "cursor")
    decided = [each for each in all_of.data if each.state != "pending"]
    shown = [*waiting.data, *decided]
    nodes = view.ask.tenancy.those(view.org, {each.node for each in shown})
    asks_at = places(view, "quota:read")
    values, status = shown_again(view, error)
    values |= {
        "waiting": waiting.data,
        "next_waiting": waiting.next_cursor,
        "decided": decided,
        "next": all_of.next_cursor,
        "nodes": nodes,
        "people": _people(view, shown),
        "decides": {id for id, node in nodes.items() if _decides(view, node)},
        "limits": [
            (f"{node.kind}:{node.id}:{limit.shape}", node.name or node.id, str(limit))
            for node in asks_at
            for limit in node.limits
        ],
        "cut": asks_at.cut,
        "zone": zone_of(view),
    }
    return Html("requests.html", values, status)


def _some(view: View, cursor: str, **where: str) -> Listing[RequestAnswer]:
    """A page of requests, the newest first, from the cursor that the page's query has under this name."""
    asked = {"limit": PAGE, "cursor": view.query.get(cursor) or None, **where}
    return view.call(list_requests, query=validated(Requests, asked, "query"))


def _decides(view: View, node: Node) -> bool:
    """Whether it is worth showing the viewer the buttons."""
    return view.may("quota:override", node.id if node.kind == "organization" else node.parent)


def _people(view: View, found: list[RequestAnswer]) -> dict[str, str]:
    """Names of those who asked and decided, as far as the viewer may know them."""
    ids = {id for each in found for id in (each.requested_by, each.decided_by) if id}
    known = view.ask.tenancy.those(view.org, ids)
    told = {id: node.name or id for id, node in known.items() if view.may("api_key:read", id)}
    for id in ids - known.keys():
        member = view.maybe(lambda ask, id=id: ask.tenancy.member(view.org, id))
        if member is not None:
            told[id] = member.name
    return told


def _figure(said: str) -> Any:
    """A number where it is one; what else is said is told off by the body."""
    try:
        return int(said)
    except ValueError:
        pass
    try:
        return float(said)
    except ValueError:
        return said


PAGES = (
    Page("GET", "/requests", requests, "nav.requests", ("quota:read",)),
    Page("POST", "/requests", ask),
    Page("POST", "/requests/{id}/approve", approve),
    Page("POST", "/requests/{id}/reject", reject),
)
