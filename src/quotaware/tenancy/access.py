"""Who acts on the tree, what that caller may do where, and how much of it may be handed on.

A grant is a set of permissions at a node, and holds there and below. Nobody hands on what he lacks: a key is made,
changed or rotated only by who has its permissions at its place, and who is restricted himself restricts what he makes:
what a limited key makes counts under that key's limits too, so that all of it together uses no more than the key could.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..core.addresses import contains
from ..core.permissions import ROLES, allows, covers
from ..errors import PermissionDenied
from .narrowing import addresses_within, limits_within, models_within, most
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

    def lacks(self, permission: str, at: str | None = None) -> PermissionDenied:
        """The error for a permission that is missing; `at`: the id of the node on which it would be enough."""
        who = "API key" if self.kind == "key" else f"Member '{self.name}'"
        where = f" on '{at}', which is above" if at else ""
        return PermissionDenied(
            f"{who} does not have '{permission}' permission{where}",
            fields={"permission": permission} | ({"node": at} if at else {}),
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


def inherit(actor: Actor, given: Mapping[str, Any]) -> dict[str, Any]:
    """What is given of a new key, made ready for a maker who is restricted: a restriction that is empty is the maker's
    own, and so is a limit that is not named.
    """
    key = actor.key
    if key is None:
        return dict(given)
    own = {"models": key.models, "addresses": key.addresses, "expires_at": key.expires_at}
    named = {limit.shape for limit in given["limits"]}
    hard = (limit for limit in key.limits if limit.mode == "hard" and limit.shape not in named)
    return {
        **given,
        **{name: given[name] or value for name, value in own.items()},
        "limits": (*given["limits"], *hard),
    }


def makers_of(actor: Actor) -> tuple[str, ...]:
    """The keys whose limits bear on what this actor makes: its own, where it has some, and those that bear on it."""
    key = actor.key
    if key is None:
        return ()
    limited = any(limit.mode == "hard" for limit in key.limits)
    return (*key.makers, key.origin or key.id) if limited else key.makers


def is_restricted(actor: Actor) -> bool:
    """Whether an actor is held to more than permissions: what it hands on must be held to that as well."""
    key = actor.key
    return key is not None and bool(
        key.models or key.addresses or key.expires_at is not None or makers_of(actor)
    )


def escalation(actor: Actor, nodes: Iterable[str], key: Node) -> PermissionDenied | None:
    """Why an actor may not make or change a key to be like this at its place, or come to hold its secret."""
    if lacking := covers(actor.at(nodes), key.permissions):
        return actor.lacks(lacking[0])
    own = actor.key
    if own is None:
        return None
    ends = own.expires_at is None or (key.expires_at is not None and key.expires_at <= own.expires_at)
    same = is_same(actor, key)
    for field, fits in (
        ("allowed_models", models_within(key.models, own.models)),
        ("allowed_ips", addresses_within(key.addresses, own.addresses)),
        ("expires_at", ends),
        ("rate_limit", limits_within(most(key), own.limits)),
        ("rate_limit", same or set(makers_of(actor)) <= set(key.makers)),
    ):
        if not fits:
            return beyond(field)
    return None


def is_same(actor: Actor, key: Node) -> bool:
    """Whether a key is the actor itself, or took its place, or the other way round."""
    own = actor.key
    return own is not None and (own.origin or own.id) == (key.origin or key.id)


def beyond(field: str) -> PermissionDenied:
    """The error for what would give more than the giver has."""
    return PermissionDenied(
        f"API key cannot give more than it has itself: {field} goes beyond its own",
        code="escalation",
        fields={"field": field},
    )
