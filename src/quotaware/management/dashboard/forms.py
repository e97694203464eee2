"""What forms of several pages have in common: the places to choose from, and what is told of a refused one."""

from __future__ import annotations

from typing import Any

from ...errors import AlreadyExists, ApiError, ConfigurationError, InvalidRequest
from ...tenancy.keys import Kind
from ...tenancy.nodes import Node
from ..app import as_api
from .pulse import MOST
from .view import View

WRONG = (InvalidRequest, AlreadyExists, ConfigurationError)
"""What a form can be mended for: it is shown again with what was in it."""
PLACES: tuple[Kind, ...] = ("organization", "team", "project")


class Places(list[Node]):
    """Nodes to choose from; `cut`: there are more, and of each kind only so many were looked at (0: there are not)."""

    cut = 0


def places(view: View, permission: str, *kinds: Kind) -> Places:
    """The nodes of these kinds (none: of all but keys) at which the viewer has a permission."""
    found = Places()
    for kind in kinds or PLACES:
        nodes = view.ask.tenancy.list(view.org, kind, limit=MOST + 1)
        found += [node for node in nodes[:MOST] if view.may(permission, node.id)]
        if len(nodes) > MOST:
            found.cut = MOST
    return found


def names(view: View, ids: set[str]) -> dict[str, str]:
    """What the nodes of these ids are called."""
    return {id: node.name or id for id, node in view.ask.tenancy.those(view.org, ids).items()}


def shown_again(view: View, error: Exception | None) -> tuple[dict[str, Any], int]:
    """What the form's page says of an error, and its status."""
    told: ApiError | None = None if error is None else as_api(error, "")
    return {"form": view.form, "error": told}, 200 if told is None else told.status
