"""`/groups`: people who are talked of together at a node, and the roles that they hold there."""

from __future__ import annotations

from pydantic import Field

from ..errors import AlreadyExists
from ..tenancy.people import Group
from ..words.wire import Body, Listing, Moment, Page, Revised
from .members import NODES
from .pages import listed
from .routes import Ask, Route


class NewGroup(Body):
    """People at a node; members join it."""

    name: str = Field(description="once at its node")
    node: str = Field(description="an organization, a team or a project, by id or name")
    roles: list[str] = Field(
        default_factory=list, description="what its members may do there, each by id or name"
    )
    id: str | None = Field(None, description="1 to 64 of a-z, 0-9, _ and -; random without it")


class GroupChange(Body):
    """What is sent replaces, what is absent stays."""

    name: str = ""
    roles: list[str] = Field(default_factory=list)


class GroupAnswer(Revised):
    """A group; `roles` are predefined ones by name, custom ones by id."""

    id: str
    name: str
    node: str
    roles: list[str]
    created_at: Moment


def list_groups(ask: Ask) -> Listing[GroupAnswer]:
    """Takes org:manage somewhere."""
    return listed(ask.query, lambda after, limit: ask.tenancy.groups(ask.org, after, limit), shown)


def create_group(ask: Ask) -> GroupAnswer:
    """Takes org:manage at the node."""
    body: NewGroup = ask.body
    node = ask.tenancy.place(ask.org, body.node, *NODES)
    return shown(ask.tenancy.create_group(ask.org, node, body.name, roles=body.roles, id=body.id))


def get_group(ask: Ask) -> GroupAnswer:
    """Takes org:manage at its node."""
    return shown(_group(ask))


def update_group(ask: Ask) -> GroupAnswer:
    """Takes org:manage at its node."""
    changes = ask.body.given()
    return shown(ask.tenancy.update_group(ask.org, _group(ask).id, expect=ask.expect, **changes))


def delete_group(ask: Ask) -> None:
    """Takes org:manage at its node. Its members are in it no more."""
    ask.tenancy.delete_group(ask.org, _group(ask).id, expect=ask.expect)


def shown(group: Group) -> GroupAnswer:
    """A group as it is answered."""
    return GroupAnswer(
        id=group.id,
        name=group.name,
        node=group.parent,
        roles=list(group.roles),
        created_at=group.created_at,
        revision=group.rev,
    )


def _group(ask: Ask) -> Group:
    return ask.tenancy.group(ask.org, ask.params["id"])


_TAKES = "org:manage"
_TAG = "members"
_ONE = "/groups/{id}"
_TAKEN = (AlreadyExists,)

ROUTES = (
    Route("GET", "/groups", list_groups, "Groups, by id", _TAG, _TAKES, Listing[GroupAnswer], query=Page),
    Route(
        "POST", "/groups", create_group, "Makes a group", _TAG, _TAKES, GroupAnswer, NewGroup,
        status=201, errors=_TAKEN,
    ),
    Route("GET", _ONE, get_group, "One group, by id or name", _TAG, _TAKES, GroupAnswer, errors=_TAKEN),
    Route(
        "PATCH", _ONE, update_group, "Changes a group", _TAG, _TAKES, GroupAnswer, GroupChange, errors=_TAKEN
    ),
    Route("DELETE", _ONE, delete_group, "Takes a group away", _TAG, _TAKES, status=204, errors=_TAKEN),
)  # fmt: skip
