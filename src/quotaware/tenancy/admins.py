"""The last one who may manage an organization stays: no change, whoever makes it, leaves it without.

An admin is a key on the organization, or a member, with org:manage there: by a role of the member's own or by a group,
predefined or custom. One whose key ends some day is no lasting one, and the last only where there is no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import TypeVar

from ..core.permissions import allows
from ..errors import AlreadyExists
from ..stores.protocol import Doc, Store
from .access import of_member
from .documents import Thing, read_doc
from .nodes import Node
from .people import Group, Member, Role

T = TypeVar("T", Node, Member, Group, Role)

PAGE = 1000
_NEEDED = "org:manage"


def check_admins(store: Store, org: str, before: Iterable[Thing], after: Iterable[Thing], now: int) -> None:
    """Raises AlreadyExists with code `last_admin` where a change would leave nobody (or nobody lasting) who may manage
    the organization, and there was somebody before.
    """
    gone = {thing.id: thing for thing in before}
    come = {thing.id: thing for thing in after}
    if not any(_bears_on_admins(org, thing) and come.get(id) != thing for id, thing in gone.items()):
        return
    was, then = _Admins(store, org, {}, now), _Admins(store, org, {**dict.fromkeys(gone), **come}, now)
    for lasting in (True, False):
        if then.any(lasting):
            return
        if was.any(lasting):
            raise AlreadyExists("Nobody would be left who may manage the organization", code="last_admin")


def has_admin(store: Store, org: str, now: int) -> bool:
    """Whether there is somebody who may manage the organization."""
    return _Admins(store, org, {}, now).any(lasting=False)


class _Admins:
    """An organization with some things put in place of what is in the store (None: it is gone)."""

    def __init__(self, store: Store, org: str, instead: Mapping[str, Thing | None], now: int) -> None:
        self._store = store
        self._org = org
        self._instead = instead
        self._now = now

    def any(self, lasting: bool) -> bool:
        """Whether there is an admin."""
        for key in self._all(Node, "key", self._org):
            end = key.expires_at
            lives = key.enabled and not key.revoked and (end is None or (not lasting and end > self._now))
            if lives and allows(key.permissions, _NEEDED):
                return True
        groups = {group.id: group for group in self._all(Group, "group", self._org)}
        roles = {role.id: role for role in self._all(Role, "role", self._org)}
        members = self._all(Member, "member", self._org)
        return any(of_member(member, groups, roles).may(_NEEDED, (self._org,)) for member in members)

    def _all(self, of: type[T], kind: str, parent: str) -> Iterator[T]:
        stored = (
            self._instead.get(doc.id, read_doc(doc))
            for doc in _documents(self._store, self._org, kind, parent)
        )
        known = set()
        for thing in chain(stored, self._instead.values()):
            if isinstance(thing, of) and thing.parent == parent and thing.id not in known:
                known.add(thing.id)
                if not isinstance(thing, Node) or thing.kind == kind:
                    yield thing


def _bears_on_admins(org: str, thing: Thing) -> bool:
    """Whether somebody may be an admin because of it."""
    match thing:
        case Node(kind="key"):
            return thing.parent == org and allows(thing.permissions, _NEEDED)
        case Member():
            return thing.enabled and bool(thing.roles or thing.groups)
        case Group():
            return thing.parent == org and bool(thing.roles)
        case Role():
            return allows(thing.permissions, _NEEDED)
    return False


def _documents(store: Store, org: str, kind: str, parent: str) -> Iterator[Doc]:
    after = ""
    while page := store.children(org, kind, parent, None, after, PAGE):
        yield from page
        if len(page) < PAGE:
            return
        after = page[-1].id
