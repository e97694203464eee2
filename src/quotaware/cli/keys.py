"""`quotaware keys`: API keys. A secret is printed once, where it was made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from . import completing
from .arguments import Anywhere, Called, Empty, Where, Yes, changes, clearing, moment, said
from .client import path_of
from .printing import Column, money, number, portion
from .printing import moment as when
from .secret_files import SecretTo, hand_over, kept
from .session import Session, command

app = typer.Typer(name="keys", help="API keys: list, make, change, rotate, revoke.", no_args_is_help=True)

Id = Annotated[
    str, typer.Argument(help="A key, by id or name.", show_default=False, autocompletion=completing.keys)
]
Permissions = Annotated[list[str], typer.Option("--permission", help="Such as chat:create; repeat it.")]
Models = Annotated[list[str], typer.Option("--model", help="A model or pattern that may be used; repeat it.")]
Addresses = Annotated[list[str], typer.Option("--address", help="An address or CIDR block; repeat it.")]
Limits = Annotated[list[str], typer.Option("--limit", help="Such as '60 requests/minute'; repeat it.")]
Expires = Annotated[str | None, typer.Option(help="A day, a time, or a span from now such as 30d.")]

EMPTY: Empty = {
    "name": ("name", None),
    "permissions": ("permissions", []),
    "limits": ("limits", []),
    "models": ("allowed_models", []),
    "addresses": ("allowed_ips", []),
    "expires": ("expires_at", None),
}
Clear = Annotated[list[str], clearing(EMPTY)]


def state(key: Mapping[str, Any]) -> str:
    """Whether it works."""
    return "revoked" if key["revoked"] else "on" if key["enabled"] else "off"


def place(key: Mapping[str, Any]) -> str:
    """The id of the node that it hangs on."""
    return str(key["project_id"] or key["team_id"] or key["organization_id"])


def columns(called: Called) -> tuple[Column, ...]:
    """Of a list of keys."""
    return (
        Column("id", lambda key: key["id"]),
        Column("name", lambda key: key["name"]),
        Column("on", lambda key: called(place(key))),
        Column("state", state),
        Column("limits", lambda key: key["limits"]),
        Column("expires", lambda key: when(key["expires_at"])),
        Column("last used", lambda key: when(key["last_used_at"])),
    )


@command(app, "list")
def list_keys(to: Session, node: Anywhere = None) -> None:
    """Keys, of all places or on one node and below."""
    where: dict[str, Any] = {}
    if node is not None:
        found = to.api.place(node)
        where = {f"{found.kind}_id": found.id}
    to.out.rows(to.api.pages("/api-keys", **where), columns(to.api.called), "There are no keys.")


@command(app, "show")
def show(to: Session, key: Id) -> None:
    """One key, without its secret."""
    _show(to, to.api.get(path_of("api-keys", key)))


@command(app, "create")
def create(
    to: Session,
    node: Where,
    name: Annotated[str | None, typer.Argument(help="What it is called.")] = None,
    permission: Permissions = [],  # noqa: B006  # typer copies it
    model: Models = [],  # noqa: B006
    address: Addresses = [],  # noqa: B006
    limit: Limits = [],  # noqa: B006
    expires: Expires = None,
    secret_to: SecretTo = None,
) -> None:
    """Makes a key on a node and prints its secret, this once."""
    at = to.api.place(node)
    body = said(_given(name, permission, model, address, limit, expires)) | {f"{at.kind}_id": at.id}
    with kept(secret_to) as keep:
        key = to.api.post("/api-keys/service", body)
        hand_over(to.out, key, "key", key["id"], keep, secret_to)


@command(app, "change")
def change(
    to: Session,
    key: Id,
    name: Annotated[str | None, typer.Option(help="A new name.")] = None,
    permission: Permissions = [],  # noqa: B006
    model: Models = [],  # noqa: B006
    address: Addresses = [],  # noqa: B006
    limit: Limits = [],  # noqa: B006
    expires: Expires = None,
    clear: Clear = [],  # noqa: B006
) -> None:
    """Changes a key: what is said replaces, what is not said stays."""
    given = _given(name, permission, model, address, limit, expires)
    _show(to, to.api.patch(path_of("api-keys", key), changes(given, clear, EMPTY)))


@command(app, "rotate")
def rotate(
    to: Session,
    key: Id,
    grace: Annotated[int, typer.Option(min=0, help="Seconds that the old one still works.")] = 0,
    yes: Yes = False,
    secret_to: SecretTo = None,
) -> None:
    """Puts a new key in the place of one, and prints its secret, this once."""
    if not grace:
        to.confirm(f"The old key '{key}' stops at once. Rotate it?", yes)
    with kept(secret_to) as keep:
        made = to.api.post(path_of("api-keys", key, "rotate"), {"grace_seconds": grace})
        hand_over(to.out, made, "key", made["new_key_id"], keep, secret_to)


@command(app, "revoke")
def revoke(to: Session, key: Id, yes: Yes = False) -> None:
    """Ends a key for ever, at once."""
    found = to.api.get(path_of("api-keys", key))
    to.confirm(f"Key '{found['name'] or found['id']}' never works again. Revoke it?", yes)
    to.api.delete(path_of("api-keys", found["id"]))
    to.out.done(f"Revoked {found['id']}.", {"id": found["id"], "revoked": True})


@command(app, "enable")
def enable(to: Session, key: Id) -> None:
    """Lets a key work again."""
    _show(to, to.api.post(path_of("api-keys", key, "enable")))


@command(app, "disable")
def disable(to: Session, key: Id) -> None:
    """Has a key do nothing until it is enabled."""
    _show(to, to.api.post(path_of("api-keys", key, "disable")))


@command(app, "usage")
def usage(
    to: Session, key: Id, days: Annotated[int, typer.Option(min=1, max=400, help="How many days back.")] = 30
) -> None:
    """What was used with a key and those in whose place it came, by model."""
    found = to.api.get(path_of("api-keys", key, "usage"), days=days)
    if to.out.json:
        to.out.data(found)
        return
    to.out.line(
        f"{number(found['total_requests'])} requests, {money(found['total_cost_usd'])} in {days} days"
    )
    models = sorted(found["by_model"].items(), key=lambda each: -each[1]["cost"])
    most = max((each["cost"] for _, each in models), default=0)
    columns = [
        Column("model", str),
        Column("requests", str, True),
        Column("cost", str, True),
        Column("", str),
    ]
    cells = [
        (name, number(each["requests"]), money(each["cost"]), portion(each["cost"], most))
        for name, each in models
    ]
    to.out.table(columns, cells)


def _given(
    name: str | None,
    permissions: list[str],
    models: list[str],
    addresses: list[str],
    limits: list[str],
    expires: str | None,
) -> dict[str, Any]:
    return {
        "name": name,
        "permissions": permissions,
        "allowed_models": models,
        "allowed_ips": addresses,
        "limits": limits,
        "expires_at": moment(expires),
    }


def _show(to: Session, key: dict[str, Any]) -> None:
    if to.out.json:
        to.out.data(key)
        return
    to.out.facts(
        {
            "id": key["id"],
            "name": key["name"],
            "on": to.api.called(place(key)),
            "state": state(key),
            "permissions": key["permissions"],
            "models": key["allowed_models"],
            "addresses": key["allowed_ips"],
            "limits": key["limits"],
            "expires": key["expires_at"] and when(key["expires_at"]),
            "last used": key["last_used_at"] and when(key["last_used_at"]),
            "made by": key["created_by"],
            "made": when(key["created_at"]),
        }
    )
