"""`quotaware members` and `quotaware groups`: people, the groups that they are in, and the roles that they hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from . import completing
from .arguments import Called, Empty, Where, Yes, changes, clearing
from .client import path_of
from .failures import USAGE, Failure
from .printing import Column
from .printing import moment as when
from .session import Session, command

app = typer.Typer(name="members", help="People and the roles that they hold.", no_args_is_help=True)
groups = typer.Typer(name="groups", help="Groups of people, and what they may do.", no_args_is_help=True)

Id = Annotated[
    str,
    typer.Argument(help="A member, by id or name.", show_default=False, autocompletion=completing.members),
]
Group = Annotated[str, typer.Argument(help="A group, by id or name.", show_default=False)]
Name = Annotated[str, typer.Argument(help="What the host's own login calls the person.", show_default=False)]
Roles = Annotated[list[str], typer.Option("--role", help="ROLE@NODE, such as developer@chatbot; repeat it.")]
Groups = Annotated[list[str], typer.Option("--group", help="A group to join, by id or name; repeat it.")]
Role = Annotated[
    str, typer.Argument(help="org_admin, developer, viewer, or a custom role.", show_default=False)
]

EMPTY: Empty = {
    "email": ("email", None),
    "roles": ("roles", []),
    "groups": ("groups", []),
}
Clear = Annotated[list[str], clearing(EMPTY)]


def held(member: Mapping[str, Any], called: Called) -> list[str]:
    """The roles of a member as they are written."""
    return [f"{each['role']}@{called(each['node'])}" for each in member["roles"]]


def columns(called: Called) -> tuple[Column, ...]:
    """Of a list of members."""
    return (
        Column("id", lambda member: member["id"]),
        Column("name", lambda member: member["name"]),
        Column("e-mail", lambda member: member["email"]),
        Column("roles", lambda member: held(member, called)),
        Column("groups", lambda member: member["groups"]),
        Column("enabled", lambda member: member["enabled"]),
    )


@command(app, "list")
def list_members(to: Session) -> None:
    """All people of the organization."""
    to.out.rows(to.api.pages("/members"), columns(to.api.called), "There are no members.")


@command(app, "show")
def show(to: Session, member: Id) -> None:
    """One person."""
    _show(to, to.api.get(path_of("members", member)))


@command(app, "add")
def add(
    to: Session,
    name: Name,
    email: Annotated[str | None, typer.Option(help="Where alerts go.")] = None,
    role: Roles = [],  # noqa: B006  # typer copies it
    group: Groups = [],  # noqa: B006
) -> None:
    """Adds a person, as the host's own login knows them."""
    body = {"name": name, "email": email, "roles": [_held(each) for each in role], "groups": group}
    _show(to, to.api.post("/members", body))


@command(app, "change")
def change(
    to: Session,
    member: Id,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    email: Annotated[str | None, typer.Option(help="A new address.")] = None,
    role: Roles = [],  # noqa: B006
    group: Groups = [],  # noqa: B006
    clear: Clear = [],  # noqa: B006
) -> None:
    """Changes a person: what is said replaces, what is not said stays."""
    given = {"name": name, "email": email, "roles": [_held(each) for each in role], "groups": group}
    _show(to, to.api.patch(path_of("members", member), changes(given, clear, EMPTY)))


@command(app, "give")
def give(to: Session, member: Id, role: Role, node: Where) -> None:
    """Gives a role at a node."""
    _show(to, to.api.post(path_of("members", member, "roles"), {"role": role, "node": node}))


@command(app, "take")
def take(to: Session, member: Id, role: Role, node: Where) -> None:
    """Takes a role away again."""
    _show(to, to.api.delete(path_of("members", member, "roles", role), node=node))


@command(app, "enable")
def enable(to: Session, member: Id) -> None:
    """Lets a person do again what the roles say."""
    _show(to, to.api.post(path_of("members", member, "enable")))


@command(app, "disable")
def disable(to: Session, member: Id) -> None:
    """Has a person do nothing until enabled."""
    _show(to, to.api.post(path_of("members", member, "disable")))


@command(app, "remove")
def remove(to: Session, member: Id, yes: Yes = False) -> None:
    """Removes a person, with all roles."""
    found = to.api.get(path_of("members", member))
    to.confirm(f"Member '{found['name']}' loses all roles. Remove?", yes)
    to.api.delete(path_of("members", found["id"]))
    to.out.done(f"Removed {found['name']}.", {"id": found["id"], "removed": True})


def group_columns(called: Called) -> tuple[Column, ...]:
    """Of a list of groups."""
    return (
        Column("id", lambda group: group["id"]),
        Column("name", lambda group: group["name"]),
        Column("at", lambda group: called(group["node"])),
        Column("roles", lambda group: group["roles"]),
    )


EMPTY_GROUP: Empty = {"roles": ("roles", [])}
ClearOfGroup = Annotated[list[str], clearing(EMPTY_GROUP)]
GroupRoles = Annotated[list[str], typer.Option("--role", help="What its members may do there; repeat it.")]


@command(groups, "list")
def list_groups(to: Session) -> None:
    """All groups of the organization."""
    to.out.rows(to.api.pages("/groups"), group_columns(to.api.called), "There are no groups.")


@command(groups, "add")
def add_group(to: Session, node: Where, name: Group, role: GroupRoles = []) -> None:  # noqa: B006
    """Makes a group at a node."""
    body = {"name": name, "node": to.api.place(node).id, "roles": role}
    to.out.one(to.api.post("/groups", body), group_columns(to.api.called))


@command(groups, "change")
def change_group(
    to: Session,
    group: Group,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    role: GroupRoles = [],  # noqa: B006
    clear: ClearOfGroup = [],  # noqa: B006
) -> None:
    """Changes a group: what is said replaces, what is not said stays."""
    body = changes({"name": name, "roles": role}, clear, EMPTY_GROUP)
    to.out.one(to.api.patch(path_of("groups", group), body), group_columns(to.api.called))


@command(groups, "remove")
def remove_group(to: Session, group: Group, yes: Yes = False) -> None:
    """Removes a group: its members lose what it gave them."""
    to.confirm(f"The members of '{group}' lose what it gave them. Remove it?", yes)
    to.api.delete(path_of("groups", group))
    to.out.done(f"Removed group {group}.", {"group": group, "removed": True})


def _held(text: str) -> dict[str, str]:
    role, at, node = text.partition("@")
    if not (role and at and node):
        raise Failure(f"--role is ROLE@NODE, such as developer@chatbot, and not '{text}'", USAGE)
    return {"role": role, "node": node}


def _show(to: Session, member: dict[str, Any]) -> None:
    if to.out.json:
        to.out.data(member)
        return
    to.out.facts(
        {
            "id": member["id"],
            "name": member["name"],
            "e-mail": member["email"],
            "roles": held(member, to.api.called),
            "groups": member["groups"],
            "enabled": member["enabled"],
            "made": when(member["created_at"]),
        }
    )
