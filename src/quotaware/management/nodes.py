"""What organizations, teams, projects and keys have in common on the wire, and how they are found.

A node in a path or a field goes by its id, or by its name where that is the only one of its kind in the caller's
organization.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import Field

from ..core.alerts import Stop
from ..tenancy.checks import MAX_ENTRIES, MAX_NAME
from ..tenancy.keys import Kind
from ..tenancy.nodes import Node
from ..words import terms
from ..words.terms import Terms, TermsAnswer
from ..words.wire import Answer, Listing, Moment, Page
from .pages import listed
from .routes import Ask

A = TypeVar("A")

Name = Annotated[str, Field(min_length=1, max_length=MAX_NAME)]
ChosenId = Annotated[
    str, Field(min_length=1, max_length=64, description="1 to 64 of a-z, 0-9, _ and -; random without it")
]
Models = Annotated[
    list[str],
    Field(max_length=MAX_ENTRIES, description="patterns of the models that may be used; empty: all"),
]

SEEING: Mapping[Kind, str] = {
    "organization": "quota:read:summary",
    "team": "quota:read:summary",
    "project": "quota:read:summary",
    "key": "api_key:read",
}
"""What it takes to look at nodes of a kind."""
_INSIDE = {"allowed_models": "models", "allowed_ips": "addresses", "time_zone": "zone"}
"""Words of the wire that are called otherwise in the tree."""


class NewNode(Terms):
    """A node that is to be made."""

    name: Name
    id: ChosenId | None = None
    allowed_models: Models | None = None


class NodeChange(Terms):
    """What is sent replaces, what is absent stays."""

    name: Name = ""
    allowed_models: Models | None = None


class Nodes(Page):
    """Which of them, and which page."""

    name: str | None = Field(None, max_length=MAX_NAME)
    enabled: bool | None = None


class Inside(Nodes):
    """Which of them, and which page."""

    direct: bool = Field(False, description="only what stands right below the one that is named")


class Stopped(Answer):
    """What stopped a node: the threshold of a limit. `until`: when a new period begins."""

    action: str
    limit: str = Field(description="its shape, such as cost/month")
    until: Moment | None


class NodeAnswer(TermsAnswer):
    """A node as it stands."""

    id: str
    name: str | None
    enabled: bool
    stopped: Stopped | None
    allowed_models: list[str]
    created_at: Moment


def found(ask: Ask, kind: Kind, name_or_id: str | None = None) -> str:
    """The id of the node in the path (`id`), or of the one that is named. Takes nothing; raises NotFound."""
    place: str = ask.tenancy.place(ask.org, ask.params["id"] if name_or_id is None else name_or_id, kind)
    return place


def said(given: Mapping[str, Any]) -> dict[str, Any]:
    """What a body gives besides its terms, by the tree's names; a list that is null is empty."""
    plain = {_INSIDE.get(field, field): value for field, value in given.items() if field not in terms.WORDS}
    return {field: () if value is None and field in _LISTS else value for field, value in plain.items()}


_LISTS = frozenset({"models", "addresses"})


def made(body: Any) -> dict[str, Any]:
    """What a node is made from, by the tree's names. Raises ConfigurationError."""
    given = body.given()
    return said(given) | terms.changes(given)


def changed(ask: Ask, id: str, given: Mapping[str, Any]) -> Node:
    """An organization, team or project, with what is given changed."""

    def revise(node: Node) -> dict[str, Any]:
        return terms.changes(given, node.limits, node.alerts)

    node: Node = ask.tenancy.update(ask.org, id, expect=ask.expect, revise=revise, **said(given))
    return node


def switched(ask: Ask, kind: Kind, *, enabled: bool) -> Node:
    """The node in the path, enabled or disabled."""
    return changed(ask, found(ask, kind), {"enabled": enabled})


def shown(ask: Ask, node: Node) -> dict[str, Any]:
    """The fields of `NodeAnswer`."""
    stop = Stop.read(node.stopped) if node.stopped is not None else None
    if stop is not None and stop.over(ask.parts.engine.now()):
        stop = None
    return terms.told(node) | {
        "id": node.id,
        "name": node.name,
        "enabled": node.enabled,
        "stopped": stop and {"action": stop.action, "limit": stop.limit, "until": stop.until or None},
        "allowed_models": list(node.models),
        "created_at": node.created_at,
    }


def page(
    ask: Ask, kind: Kind, shown: Callable[[Node], A], within: str | None = None, **filters: Any
) -> Listing[A]:
    """One page of the nodes of a kind, anywhere or within another node, that the caller may see and the filters let
    through. Raises PermissionDenied where the caller may see none of them anywhere.
    """
    ask.require_anywhere(SEEING[kind])
    query: Nodes = ask.query
    filters |= {"name": query.name, "enabled": query.enabled}
    filters |= {"parent": within} if isinstance(query, Inside) and query.direct else {"below": within}

    def fetch(after: str, limit: int) -> Sequence[Node]:
        nodes: Sequence[Node] = ask.tenancy.list(ask.org, kind, after=after, limit=limit, **filters)
        return nodes

    return listed(query, fetch, shown)
