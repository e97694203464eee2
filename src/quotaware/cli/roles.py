"""`quotaware roles`: the predefined roles, and an organization's own."""

from __future__ import annotations

from typing import Annotated

import typer

from .arguments import Empty, Yes, changes, clearing
from .client import path_of
from .printing import Column
from .session import Session, command

app = typer.Typer(name="roles", help="Roles: what who holds them may do.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="A role, by id or name.", show_default=False)]
Permissions = Annotated[list[str], typer.Option("--permission", help="Such as quota:manage; repeat it.")]
Description = Annotated[str | None, typer.Option(help="What it is for.")]

EMPTY: Empty = {"permissions": ("permissions", []), "description": ("description", None)}
Clear = Annotated[list[str], clearing(EMPTY)]

COLUMNS = (
    Column("id", lambda role: role["id"]),
    Column("name", lambda role: role["name"]),
    Column("permissions", lambda role: role["permissions"]),
    Column("predefined", lambda role: role["predefined"]),
    Column("description", lambda role: role["description"] or ""),
)


@command(app, "list")
def list_roles(to: Session) -> None:
    """All roles, the predefined ones first."""
    to.out.rows(to.api.pages("/roles"), COLUMNS, "There are no roles.")


@command(app, "show")
def show(to: Session, role: Id) -> None:
    """One role."""
    to.out.one(to.api.get(path_of("roles", role)), COLUMNS)


@command(app, "add")
def add(
    to: Session,
    name: Annotated[str, typer.Argument(help="What it is called.", show_default=False)],
    permission: Permissions,
    description: Description = None,
) -> None:
    """Makes a role of the organization's own."""
    body = {"name": name, "permissions": permission, "description": description}
    to.out.one(to.api.post("/roles", body), COLUMNS)


@command(app, "change")
def change(
    to: Session,
    role: Id,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    permission: Permissions = [],  # noqa: B006  # typer copies it
    description: Description = None,
    clear: Clear = [],  # noqa: B006
) -> None:
    """Changes a role for all who hold it: what is said replaces, what is not said stays."""
    given = {"name": name, "permissions": permission, "description": description}
    to.out.one(to.api.patch(path_of("roles", role), changes(given, clear, EMPTY)), COLUMNS)


@command(app, "remove")
def remove(to: Session, role: Id, yes: Yes = False) -> None:
    """Removes a role: whoever holds it loses what it gave them."""
    to.confirm(f"Whoever holds '{role}' loses what it gave them. Remove it?", yes)
    to.api.delete(path_of("roles", role))
    to.out.done(f"Removed role {role}.", {"role": role, "removed": True})
