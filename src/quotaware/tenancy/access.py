"""Who acts on the tree, what that caller may do where, and how much of it may be handed on.

A grant is a set of permissions at a node, and holds there and below. Nobody hands on what he lacks: a key is made,
changed or rotated only by who has its permissions at its place, and who is restricted himself restricts what he makes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from ..core.addresses import contains
from ..core.addresses import within as addresses_within
from ..core.limits import Limit
from ..core.models import within
from ..core.permissions import ROLES, allows, covers
from ..errors import PermissionDenied
from .nodes import Node, Path
from .people import Group, Member, Role, predefined


@dataclass(frozen=True, slots=True)
class Grant:
    """Permissions at a node and below; `role`: by which role they came."""

    node: str
    permissions: tuple[str, ...]
    role: str = ""


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something: the host's own code, a key or a member.

    id, name   of the key or member
    org        the organization; "" for the host, which may do everything in all of them
    grants     what the actor may do where
    key        the key's own restrictions, which what it makes is held to
    address    from where, as far as it is known
    """

    kind: Literal["host", "key", "member"]
    id: str = ""
    name: str | None = None
    org: str = ""
    grants: tuple[Grant, ...] = ()
    key: Node | None = None
    address: str | None = None

    def at(self, nodes: Iterable[str]) -> tuple[str, ...]:
        """The permissions that count at a node, given by its own id and those of all above it."""
        if self.kind == "host":
            return ("*",)
        above = set(nodes)
        return tuple(
            dict.fromkeys(p for grant in self.grants if grant.node in above for p in grant.permissions)
        )

    def may(self, permission: str, nodes: Iterable[str]) -> bool:
        """Whether it is allowed at that node."""
        return allows(self.at(nodes), permission)

    def require(self, permission: str, nodes: Iterable[str]) -> None:
        """Raises `PermissionDenied` naming the permission where it is missing."""
        if not self.may(permission, nodes):
            raise self.lacks(permission)

    def lacks(self, permission: str) -> PermissionDenied:
        """The error for a permission that is missing."""
        who = "API key" if self.kind == "key" else f"Member '{self.name}'"
        return PermissionDenied(
            f"{who} does not have '{permission}' permission", fields={"permission": permission}
        )

    def seen_from(self, address: str | None) -> Actor:
        """The same, acting from this address."""
        return replace(self, address=address)


HOST = Actor("host")
"""The app that quotaware runs in: its own code may do everything."""


def of_key(path: Path) -> Actor:
    """The actor behind a key, whose path this is: its permissions hold on the node that it hangs on, and below."""
    key = path.nodes[0]
    return Actor("key", key.id, key.name, path.org, (Grant(key.parent, key.permissions),), key)


def of_member(member: Member, groups: Mapping[str, Group], roles: Mapping[str, Role]) -> Actor:
    """The actor behind a member, in whose groups and custom roles there is what these have; what is gone grants
    nothing.
    """
    if not member.enabled:
        return Actor("member", member.id, member.name, member.parent)
    held = [(holding.role, holding.node) for holding in member.roles]
    held += [
        (role, group.parent)
        for id in member.groups
        if (group := groups.get(id)) is not None
        for role in group.roles
    ]
    grants = tuple(Grant(node, permissions_of(role, roles), role) for role, node in held)
    return Actor("member", member.id, member.name, member.parent, grants)


def elsewhere(path: Path, address: str | None) -> PermissionDenied | None:
    """Why a path's key may not be used from this address, if so. Who has no address is in no list."""
    key = path.key
    if key is None or not key.addresses or contains(key.addresses, address):
        return None
    return PermissionDenied("API key may not be used from this address", code="address_not_allowed")


def permissions_of(role: str, roles: Mapping[str, Role]) -> tuple[str, ...]:
    """What a role, predefined or custom, allows."""
    name = predefined(role)
    if name is not None:
        return ROLES[name]
    custom = roles.get(role)
    return custom.permissions if custom is not None else ()


def inherit(actor: Actor, given: Mapping[str, object]) -> dict[str, object]:
    """The restrictions of a new key that its maker did not name are the maker's own."""
    key = actor.key
    if key is None:
        return dict(given)
    own: dict[str, object] = {
        "models": key.models,
        "addresses": key.addresses,
        "limits": key.limits,
        "expires_at": key.expires_at,
    }
    return {name: given.get(name) or value for name, value in own.items()} | {
        name: value for name, value in given.items() if name not in own
    }


def escalation(actor: Actor, nodes: Iterable[str], key: Node) -> PermissionDenied | None:
    """Why an actor may not make or change a key to be like this at its place, or come to hold its secret."""
    held = actor.at(nodes)
    if lacking := covers(held, key.permissions):
        return actor.lacks(lacking[0])
    own = actor.key
    if own is None:
        return None
    wider = (
        ("allowed_models", bool(own.models) and not _models_within(key.models, own.models)),
        ("allowed_ips", bool(own.addresses) and not _addresses_within(key.addresses, own.addresses)),
        (
            "expires_at",
            own.expires_at is not None and (key.expires_at is None or key.expires_at > own.expires_at),
        ),
        ("rate_limit", not _limits_within(key.limits, own.limits)),
    )
    for field, is_wider in wider:
        if is_wider:
            return PermissionDenied(
                f"API key cannot give more than it has itself: {field} goes beyond its own",
                code="escalation",
                fields={"field": field},
            )
    return None


def _models_within(models: Sequence[str], own: Sequence[str]) -> bool:
    return bool(models) and all(any(within(pattern, other) for other in own) for pattern in models)


def _addresses_within(addresses: Sequence[str], own: Sequence[str]) -> bool:
    return bool(addresses) and all(addresses_within(entry, own) for entry in addresses)


def _limits_within(limits: Sequence[Limit], own: Sequence[Limit]) -> bool:
    """Whether each hard limit of one's own is there, as strict or stricter."""
    return all(
        any(
            limit.shape == other.shape and limit.mode == "hard" and limit.amount <= other.amount
            for limit in limits
        )
        for other in own
        if other.mode == "hard"
    )
