"""`/roles`: the predefined roles, which stay as they are, and an organization's own."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from ..core.permissions import ROLE_ALIASES, ROLES
from ..errors import AlreadyExists
from ..tenancy.people import Role, predefined
from ..words.wire import Body, Listing, Moment, Page, Revised
from .pages import listed
from .routes import Ask, Route


class NewRole(Body):
    """A role of the organization's own."""

    name: str = Field(description="once in the organization")
    permissions: list[str] = Field(description="such as quota:manage; none that the caller lacks")
    description: str | None = None
    id: str | None = Field(None, description="1 to 64 of a-z, 0-9, _ and -; random without it")


class RoleChange(Body):
    """What is sent replaces, for all who hold the role; what is absent stays."""

    name: str = ""
    permissions: list[str] = Field(default_factory=list)
    description: str | None = None


class RoleAnswer(Revised):
    """A role; a predefined one cannot be changed, and may have other names (`aliases`)."""

    id: str
    name: str
    aliases: list[str]
    permissions: list[str]
    description: str | None
    predefined: bool
    created_at: Moment | None


def list_roles(ask: Ask) -> Listing[RoleAnswer]:
    """Takes org:manage somewhere. The predefined ones come first."""

    def fetch(after: str, limit: int) -> Sequence[RoleAnswer]:
        first = after in {"", *_PREDEFINED}
        fixed = [each for name, each in _PREDEFINED.items() if first and name > after][:limit]
        own = ask.tenancy.roles(ask.org, "" if first else after, max(1, limit - len(fixed)))
        return [*fixed, *map(shown, own)][:limit]

    return listed(ask.query, fetch, lambda role: role)


def create_role(ask: Ask) -> RoleAnswer:
    """Takes org:manage, and each of its permissions."""
    return shown(ask.tenancy.create_role(ask.org, **ask.body.given()))


def get_role(ask: Ask) -> RoleAnswer:
    """Takes org:manage somewhere."""
    ask.tenancy.roles(ask.org, limit=1)
    name = predefined(ask.params["id"])
    return _PREDEFINED[name] if name is not None else shown(_role(ask))


def update_role(ask: Ask) -> RoleAnswer:
    """Takes org:manage, and each of its permissions."""
    changes = ask.body.given()
    return shown(ask.tenancy.update_role(ask.org, _role(ask).id, expect=ask.expect, **changes))


def delete_role(ask: Ask) -> None:
    """Takes org:manage. 409 `in_use` while somebody holds it."""
    ask.tenancy.delete_role(ask.org, _role(ask).id, expect=ask.expect)


def shown(role: Role) -> RoleAnswer:
    """A role as it is answered."""
    return RoleAnswer(
        id=role.id,
        name=role.name,
        aliases=[],
        permissions=list(role.permissions),
        description=role.description,
        predefined=False,
        created_at=role.created_at,
        revision=role.rev,
    )


def _role(ask: Ask) -> Role:
    """The custom role that the path names. Raises AlreadyExists with code `predefined` for another."""
    name = predefined(ask.params["id"])
    if name is None:
        return ask.tenancy.role(ask.org, ask.params["id"])
    ask.actor.require("org:manage", (ask.org,))
    raise AlreadyExists(
        f"'{name}' is predefined and stays as it is; make a role of your own", code="predefined"
    )


_PREDEFINED = {
    name: RoleAnswer(
        id=name,
        name=name,
        aliases=[alias for alias, of in ROLE_ALIASES.items() if of == name],
        permissions=list(ROLES[name]),
        description=None,
        predefined=True,
        created_at=None,
        revision=0,
    )
    for name in sorted(ROLES)
}
_TAKES = "org:manage"
_TAG = "members"
_ONE = "/roles/{id}"
_TAKEN = (AlreadyExists,)

ROUTES = (
    Route(
        "GET", "/roles", list_roles, "Roles: the predefined ones, then one's own, by id", _TAG, _TAKES,
        Listing[RoleAnswer], query=Page,
    ),
    Route(
        "POST", "/roles", create_role, "Makes a role", _TAG, _TAKES, RoleAnswer, NewRole,
        status=201, errors=_TAKEN,
    ),
    Route("GET", _ONE, get_role, "One role, by id, name or alias", _TAG, _TAKES, RoleAnswer),
    Route(
        "PATCH", _ONE, update_role, "Changes a role for all who hold it", _TAG, _TAKES, RoleAnswer, RoleChange,
        errors=_TAKEN,
    ),
    Route("DELETE", _ONE, delete_role, "Takes a role away", _TAG, _TAKES, status=204, errors=_TAKEN),
)  # fmt: skip
