"""The values about people: members, the roles that they hold, the groups that they are in, their requests for more.

What a member may do where is `access.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final, Literal, NamedTuple, get_args

from ..core.permissions import ROLE_ALIASES, ROLES
from ..errors import ConfigurationError
from . import checks
from .keys import check_id


class Holding(NamedTuple):
    """A role that is held at a node, and counts there and below; a role of one's own making goes by its id."""

    role: str
    node: str


def predefined(role: str) -> str | None:
    """The name of a predefined role, an alias resolved; None for any other."""
    name = ROLE_ALIASES.get(role, role)
    return name if name in ROLES else None


@dataclass(frozen=True, slots=True)
class Role:
    """A custom role of an organization. Raises ConfigurationError naming the field that is wrong."""

    id: str
    parent: str
    name: str
    permissions: tuple[str, ...] = ()
    description: str | None = None
    created_at: int = 0
    rev: int = 0

    def __post_init__(self) -> None:
        _check(self)
        for field, value in (("id", self.id), ("name", self.name)):
            if predefined(value):
                raise ConfigurationError(field, f"{value!r} is a predefined role; choose another")


@dataclass(frozen=True, slots=True)
class Group:
    """People who are talked of together at a node (`parent`), and the roles that they hold there."""

    id: str
    parent: str
    name: str
    roles: tuple[str, ...] = ()
    created_at: int = 0
    rev: int = 0

    def __post_init__(self) -> None:
        _check(self)
        checks.each(_id)(self.roles, "roles")


@dataclass(frozen=True, slots=True)
class Member:
    """A person of an organization (`parent`).

    name     what the host's own login calls the person, once in an organization: a login or an address
    email    where alerts go
    roles    held by the person alone; groups: ids of the groups that the person is in
    enabled  False: may do nothing
    """

    id: str
    parent: str
    name: str
    email: str | None = None
    roles: tuple[Holding, ...] = ()
    groups: tuple[str, ...] = ()
    enabled: bool = True
    created_at: int = 0
    rev: int = 0

    def __post_init__(self) -> None:
        _check(self)
        checks.each(_holding)(self.roles, "roles")


State = Literal["pending", "approved", "rejected", "expired"]


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody's request that a limit of a node (`parent`) be raised.

    limit    its shape; amount: what is asked for (nano-dollars for cost)
    periods  for so many periods from the current one on; 0: for good
    creator  id of the key or member who asks; decider: who approved or rejected it
    """

    id: str
    parent: str
    name: None
    limit: str
    amount: int
    periods: int = 0
    reason: str | None = None
    state: State = "pending"
    creator: str = ""
    decider: str = ""
    note: str | None = None
    created_at: int = 0
    expires_at: int = 0
    rev: int = 0

    def __post_init__(self) -> None:
        _check(self)


def _id(value: Any, field: str) -> None:
    check_id(value, field)


def _holding(value: Any, field: str) -> None:
    if not isinstance(value, Holding):
        raise ConfigurationError(field, "holds pairs of a role and the id of a node")
    check_id(value.role, field)
    check_id(value.node, field)


def _one_of_states(value: Any, field: str) -> None:
    if value not in get_args(State):
        raise ConfigurationError(field, f"is one of {', '.join(get_args(State))}")


def _check(value: Role | Group | Member | Request) -> None:
    check_id(value.id, "id")
    check_id(value.parent, "parent")
    for field in fields(value):
        if (check := _CHECKS.get(field.name)) is not None:
            check(getattr(value, field.name), field.name)


_CHECKS: Final[dict[str, checks.Check]] = {
    "name": checks.maybe(checks.text(checks.MAX_NAME)),
    "permissions": checks.each(checks.permission),
    "description": checks.maybe(checks.text(1000)),
    "email": checks.maybe(checks.email),
    "groups": checks.each(_id),
    "enabled": checks.flag,
    "created_at": checks.number,
    "limit": checks.text(512),
    "amount": checks.amount,
    "periods": checks.number,
    "reason": checks.maybe(checks.text(2000)),
    "note": checks.maybe(checks.text(2000)),
    "state": _one_of_states,
    "expires_at": checks.number,
    "rev": checks.number,
}
