"""`GET /me`: who the caller is and what it may do."""

from __future__ import annotations

from typing import Any

from ..words.wire import Answer
from .routes import Ask, Route


class Place(Answer):
    """A node of the tree."""

    id: str
    name: str | None


class Granted(Answer):
    """Permissions that count at a node and below."""

    node: str
    role: str | None
    permissions: list[str]


class Me(Answer):
    """Who the caller is: where its key hangs, or where the member holds roles."""

    kind: str
    organization: Place
    team: Place | None
    project: Place | None
    key: Place | None
    member: Place | None
    permissions: list[str]
    grants: list[Granted]


def get_me(ask: Ask) -> Me:
    """Takes nothing: everybody may know who they are."""
    actor = ask.actor
    places: dict[str, Any] = {"team": None, "project": None, "key": None, "member": None}
    for each in ask.tenancy.whereabouts():
        places[each.kind] = Place(id=each.id, name=each.name)
    places["key" if actor.kind == "key" else "member"] = Place(id=actor.id, name=actor.name)
    grants = [
        Granted(node=grant.node, role=grant.role or None, permissions=list(grant.permissions))
        for grant in actor.grants
    ]
    held = dict.fromkeys(permission for grant in actor.grants for permission in grant.permissions)
    return Me(kind=actor.kind, permissions=list(held), grants=grants, **places)


ROUTES = (Route("GET", "/me", get_me, "Who the key is, and what it may do", "me", answer=Me),)
