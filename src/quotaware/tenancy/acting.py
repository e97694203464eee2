"""Which actor a member is right now: the member's roles and groups, read from the store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from ..stores.protocol import Store
from . import access
from .access import Actor
from .documents import as_a, is_a
from .keys import could_be_a_name
from .people import Group, Member, Role, predefined

T = TypeVar("T", Member, Role, Group)


class Acting(NamedTuple):
    """A member as an actor; `deps`: the documents that this comes from, `rev`: the lowest revision of these reads."""

    actor: Actor
    deps: tuple[str, ...]
    rev: int


def member_named(store: Store, org: str, name: str) -> Member | None:
    """The member of this name."""
    found = store.children(org, "member", "", name, "", 1) if could_be_a_name(name) else []
    return as_a(Member, found[0]) if found else None


def acting(store: Store, org: str, member: Member) -> Acting:
    """The actor that a member is."""
    rev, groups = several(store, Group, org, member.groups)
    named = {role for role, _ in member.roles} | {role for group in groups for role in group.roles}
    custom = sorted(role for role in named if not predefined(role))
    later, roles = several(store, Role, org, custom)
    actor = access.of_member(member, {each.id: each for each in groups}, {each.id: each for each in roles})
    return Acting(actor, (member.id, *member.groups, *custom), min(rev, later))


def several(store: Store, of: type[T], org: str, ids: Iterable[str]) -> tuple[int, Sequence[T]]:
    """Documents of a class that are there, and the organization's revision."""
    rev, docs = store.read(org, tuple(ids))
    return rev, [as_a(of, doc) for doc in docs if doc is not None and is_a(of, doc)]
