"""`quotaware keys`: API keys. A secret is printed once, where it was made."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from .printing import Column, moment
from .session import Session, command

app = typer.Typer(name="keys", help="API keys: list, make, change, rotate, revoke.", no_args_is_help=True)

Node = Annotated[str | None, typer.Argument(help="A project, team or organization, by name or id.")]


def _state(key: Any) -> str:
    return "revoked" if key["revoked"] else "on" if key["enabled"] else "off"


COLUMNS = (
    Column("id", lambda key: key["id"]),
    Column("name", lambda key: key["name"]),
    Column("on", lambda key: key["project_id"] or key["team_id"] or key["organization_id"]),
    Column("state", _state),
    Column("permissions", lambda key: key["permissions"]),
    Column("limits", lambda key: key.get("limits")),
    Column("expires", lambda key: moment(key["expires_at"])),
    Column("last used", lambda key: moment(key["last_used_at"])),
)


@command(app, "list")
def list_keys(to: Session, node: Node = None) -> None:
    """Keys, of all places or of one."""
    where: dict[str, Any] = {}
    if node is not None:
        place = to.api.place(node)
        where = {f"{place.kind}_id": place.id}
    to.out.rows(to.api.pages("/api-keys", **where), COLUMNS, "There are no keys.")
