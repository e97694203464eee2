"""Keys: made (and shown once), rotated, revoked."""

from __future__ import annotations

from typing import Any

from ...core.denials import iso
from ...core.permissions import CALL_PERMISSIONS, ROLES
from ...errors import InvalidRequest
from ...tenancy.keys import Kind
from ..api_keys import (
    ApiKeys,
    NewApiKey,
    Rotation,
    create_api_key,
    get_api_key,
    list_api_keys,
    revoke_api_key,
    rotate_api_key,
)
from ..bodies import bad_fields, validated
from .forms import places
from .overview import zone_of
from .view import Html, Page, Redirect, View

PAGE = 100
DAY_MS = 86_400_000
LIVES = (0, 7, 30, 90, 365)
"""Days that a key may be made for; 0: until it is revoked."""
GRACES = (0, 3600, 86_400)
"""Seconds that a rotated key may go on for."""
USES = {"calls": CALL_PERMISSIONS, "viewer": ROLES["viewer"], "admin": ROLES["org_admin"]}
"""What a key is for, and the permissions that this takes."""
_PLACES: tuple[Kind, ...] = ("project", "team", "organization")


def keys(view: View) -> Html:
    """The list, and the form for a new one."""
    return _list(view)


def create(view: View) -> Html:
    """Makes one."""
    try:
        kind, _, id = view.said("place").partition(":")
        use, days = view.said("use"), view.said("days")
        if kind not in _PLACES or use not in USES or days not in map(str, LIVES):
            raise bad_fields([{"field": "place", "message": "is one of those in the list"}])
        given: dict[str, Any] = {f"{kind}_id": id, "permissions": list(USES[use])}
        if name := view.said("name"):
            given["name"] = name
        if limits := view.lines("limits"):
            given["limits"] = limits
        if int(days):
            given["expires_at"] = iso(view.parts.engine.now() + int(days) * DAY_MS)
        made = view.call(create_api_key, body=view.body(NewApiKey, **given))
    except InvalidRequest as error:
        return _list(view, error)
    return Html("key_made.html", {"secret": made.key, "key": made, "rotated": False}, made=f"/keys/{made.id}")


def key(view: View) -> Html:
    """One key."""
    found = view.call(get_api_key, id=view.params["id"])
    return Html(
        "key.html",
        {
            "key": found,
            "node": view.ask.tenancy.get(view.org, found.id),
            "zone": zone_of(view),
            "graces": GRACES,
            "rotates": view.may("api_key:create:limited", found.id),
            "revokes": view.may("api_key:delete", found.id),
            "own": found.id == view.ask.actor.id,
        },
    )


def rotate(view: View) -> Html:
    """Makes one in its place."""
    grace = view.said("grace")
    body = view.body(Rotation, grace_seconds=int(grace) if grace in map(str, GRACES) else 0)
    made = view.call(rotate_api_key, body=body, id=view.params["id"])
    path = f"/keys/{made.new_key_id}"
    return Html("key_made.html", {"secret": made.key, "key": made, "rotated": True}, made=path)


def revoke(view: View) -> Redirect:
    """Ends it for good."""
    view.call(revoke_api_key, id=view.params["id"])
    return Redirect("/keys", "told.revoked")


def _list(view: View, error: InvalidRequest | None = None) -> Html:
    cursor = view.query.get("cursor") or None
    asked = {"limit": PAGE, "cursor": cursor, "revoked": None if view.query.get("all") else False}
    query = validated(ApiKeys, asked, "query")
    found = view.call(list_api_keys, query=query)
    to_choose = places(view, "api_key:create:limited", "project")
    above = places(view, "api_key:create", "team", "organization")
    names = view.ask.tenancy.those(
        view.org, {each.project_id or each.team_id or each.organization_id for each in found.data}
    )
    values = {
        "keys": found.data,
        "next": found.next_cursor,
        "names": {id: node.name or id for id, node in names.items()},
        "places": [
            (f"{node.kind}:{node.id}", node.kind, node.name or node.id) for node in [*to_choose, *above]
        ],
        "cut": to_choose.cut or above.cut,
        "lives": LIVES,
        "uses": tuple(USES),
        "zone": zone_of(view),
        "form": view.form,
        "error": error,
        "wanted": view.form.get("place") or view.query.get("place", ""),
    }
    return Html("keys.html", values, 200 if error is None else 422)


_ONE = "/keys/{id}"

PAGES = (
    Page("GET", "/keys", keys, "nav.keys", ("api_key:read", "api_key:create:limited")),
    Page("POST", "/keys", create),
    Page("GET", _ONE, key),
    Page("POST", f"{_ONE}/rotate", rotate),
    Page("POST", f"{_ONE}/revoke", revoke),
)
