"""`/members`: the people of an organization, and the roles that they hold in it."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from ..errors import AlreadyExists, PreconditionFailed
from ..tenancy.keys import Kind
from ..tenancy.people import Member
from ..words.wire import Answer, Body, Listing, Moment, Page, Revised
from .pages import listed
from .routes import Ask, Route

NODES: tuple[Kind, ...] = ("organization", "team", "project")
"""Where roles are held."""


class HeldRole(Body):
    """A role at a node, each by id or name."""

    role: str = Field(description="org_admin (or admin), developer, viewer, or a custom role")
    node: str = Field(description="an organization, a team or a project")


class NewMember(Body):
    """A person as the host's login knows them."""

    name: str = Field(description="what the host's own login calls the person; once in an organization")
    email: str | None = Field(None, description="where alerts go")
    roles: list[HeldRole] = Field(default_factory=list)
    groups: list[str] = Field(default_factory=list, description="groups, each by id or name")
    id: str | None = Field(None, description="1 to 64 of a-z, 0-9, _ and -; random without it")


class MemberChange(Body):
    """What is sent replaces, what is absent stays."""

    name: str = ""
    email: str | None = None
    roles: list[HeldRole] = Field(default_factory=list)
    groups: list[str] = Field(default_factory=list)


class AtNode(Body):
    """Where a role is held."""

    node: str = Field(description="an organization, a team or a project, by id or name")


class HoldingAnswer(Answer):
    """A role that is held at a node: a predefined one's name, or a custom one's id."""

    role: str
    node: str


class MemberAnswer(Revised):
    """A person; `groups` are ids."""

    id: str
    name: str
    email: str | None
    roles: list[HoldingAnswer]
    groups: list[str]
    enabled: bool
    created_at: Moment


def list_members(ask: Ask) -> Listing[MemberAnswer]:
    """Takes org:manage somewhere."""
    return listed(ask.query, lambda after, limit: ask.tenancy.members(ask.org, after, limit), shown)


def create_member(ask: Ask) -> MemberAnswer:
    """Takes org:manage where the roles are held, and on the organization where there are none."""
    return shown(ask.tenancy.create_member(ask.org, **_told(ask)))


def get_member(ask: Ask) -> MemberAnswer:
    """Takes org:manage somewhere; members may look at themselves."""
    return shown(_member(ask))


def update_member(ask: Ask) -> MemberAnswer:
    """Takes org:manage on the organization; for roles and groups, where they are."""
    return shown(ask.tenancy.update_member(ask.org, _member(ask).id, expect=ask.expect, **_told(ask)))


def delete_member(ask: Ask) -> None:
    """Takes org:manage. The last admin stays: 409 `last_admin`."""
    ask.tenancy.delete_member(ask.org, _member(ask).id, expect=ask.expect)


def enable_member(ask: Ask) -> MemberAnswer:
    """Takes org:manage."""
    return shown(ask.tenancy.update_member(ask.org, _member(ask).id, expect=ask.expect, enabled=True))


def disable_member(ask: Ask) -> MemberAnswer:
    """Takes org:manage. A member who is disabled may do nothing."""
    return shown(ask.tenancy.update_member(ask.org, _member(ask).id, expect=ask.expect, enabled=False))


def give_role(ask: Ask) -> MemberAnswer:
    """Takes org:manage at the node."""
    held = _pair(ask, ask.body)
    return shown(ask.tenancy.give_role(ask.org, _member(ask).id, *held, expect=ask.expect))


def take_role(ask: Ask) -> MemberAnswer:
    """Takes org:manage at the node."""
    node = ask.tenancy.place(ask.org, ask.query.node, *NODES)
    role = ask.params["role"]
    return shown(ask.tenancy.take_role(ask.org, _member(ask).id, role, node, expect=ask.expect))


def shown(member: Member) -> MemberAnswer:
    """A member as it is answered."""
    return MemberAnswer(
        id=member.id,
        name=member.name,
        email=member.email,
        roles=[HoldingAnswer(role=role, node=node) for role, node in member.roles],
        groups=list(member.groups),
        enabled=member.enabled,
        created_at=member.created_at,
        revision=member.rev,
    )


def _member(ask: Ask) -> Member:
    return ask.tenancy.member(ask.org, ask.params["id"])


def _told(ask: Ask) -> dict[str, Any]:
    """What the body gives, with ids in place of names."""
    told: dict[str, Any] = ask.body.given()
    if "roles" in told:
        told["roles"] = [_pair(ask, held) for held in told["roles"]]
    if "groups" in told:
        told["groups"] = list(dict.fromkeys(ask.tenancy.group(ask.org, group).id for group in told["groups"]))
    return told


def _pair(ask: Ask, held: HeldRole) -> tuple[str, str]:
    return held.role, ask.tenancy.place(ask.org, held.node, *NODES)


_TAKES = "org:manage"
_TAG = "members"
_ONE = "/members/{id}"
_TAKEN = (AlreadyExists,)
_GUARDED = (AlreadyExists, PreconditionFailed)

ROUTES = (
    Route("GET", "/members", list_members, "Members, by id", _TAG, _TAKES, Listing[MemberAnswer], query=Page),
    Route(
        "POST", "/members", create_member, "Makes a member", _TAG, _TAKES, MemberAnswer, NewMember,
        status=201, errors=_TAKEN,
    ),
    Route("GET", _ONE, get_member, "One member, by id or name", _TAG, _TAKES, MemberAnswer),
    Route(
        "PATCH", _ONE, update_member, "Changes a member", _TAG, _TAKES, MemberAnswer, MemberChange,
        errors=_TAKEN,
    ),
    Route("DELETE", _ONE, delete_member, "Takes a member away", _TAG, _TAKES, status=204, errors=_TAKEN),
    Route(
        "POST", f"{_ONE}/enable", enable_member, "Lets a member act again", _TAG, _TAKES, MemberAnswer,
        errors=_GUARDED,
    ),
    Route(
        "POST", f"{_ONE}/disable", disable_member, "Lets a member do nothing", _TAG, _TAKES, MemberAnswer,
        errors=_GUARDED,
    ),
    Route(
        "POST", f"{_ONE}/roles", give_role, "Gives a member one role", _TAG, _TAKES, MemberAnswer, HeldRole,
        errors=_GUARDED,
    ),
    Route(
        "DELETE", f"{_ONE}/roles/{{role}}", take_role, "Takes one role from a member", _TAG, _TAKES,
        MemberAnswer, query=AtNode, errors=_TAKEN,
    ),
)  # fmt: skip
