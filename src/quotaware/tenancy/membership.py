"""People: members of an organization, groups, and the roles that they hold.

Who may manage a node (org:manage) gives and takes roles at it and below; what a person is called, and whether a person
may act at all, is for who manages the organization.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from typing import Any, TypeVar

from ..core.permissions import covers
from ..errors import AlreadyExists, ConfigurationError, NotFound
from .access import Actor
from .directory import missing, shortened
from .documents import Thing, as_a, is_a
from .keys import is_id, new_id
from .looking import check_page
from .nodes import Path
from .people import Group, Holding, Member, Role, predefined
from .tree import Tree
from .writes import Edit

T = TypeVar("T", Member, Role, Group)


class Membership(Tree):
    """Members, groups and custom roles."""

    # members

    def create_member(
        self,
        org: str,
        name: str,
        *,
        email: str | None = None,
        roles: Iterable[Holding | tuple[str, str]] = (),
        groups: Iterable[str] = (),
        id: str | None = None,
    ) -> Member:
        """A person, and the roles that the person holds: (role, node id) pairs. Takes org:manage at each of these
        nodes, and on the organization where there are none.
        """
        held = self._holdings(org, roles)
        member = Member(
            new_id("member") if id is None else id,
            org,
            name,
            email,
            held,
            tuple(groups),
            created_at=self._clock(),
        )
        return self._add(org, member, lambda: self._may_give(org, None, member))

    def update_member(self, org: str, id: str, *, expect: int | None = None, **changes: Any) -> Member:
        """Replaces what is given of name, email, enabled, roles, groups. Takes org:manage where a role is given or
        taken, and on the organization for what the person is.
        """
        if unknown := sorted(changes.keys() - {"name", "email", "enabled", "roles", "groups"}):
            raise ConfigurationError(
                unknown[0], "cannot be changed; give some of name, email, enabled, roles, groups"
            )
        if "roles" in changes:
            changes["roles"] = self._holdings(org, changes["roles"])
        if "groups" in changes:
            changes["groups"] = tuple(changes["groups"])

        def change(old: Member) -> Member:
            if not changes or changes.keys() & {"name", "email", "enabled"}:
                self._require("org:manage", self._path(org, org))
            return replace(old, **changes)

        return self._alter(org, id, expect, change)

    def give_role(self, org: str, id: str, role: str, node: str, *, expect: int | None = None) -> Member:
        """A member holds one role more. Takes org:manage at the node."""
        held = Holding(self._role_id(org, role), node)

        def change(old: Member) -> Member:
            self._require("org:manage", self._parent_of_role(org, node))
            return replace(old, roles=tuple(dict.fromkeys((*old.roles, held))))

        return self._alter(org, id, expect, change)

    def take_role(self, org: str, id: str, role: str, node: str, *, expect: int | None = None) -> Member:
        """A member holds one role less. Takes org:manage at the node. NotFound where the role is not held there."""
        held = Holding(self._role_id(org, role), node)

        def change(old: Member) -> Member:
            self._require("org:manage", self._parent_of_role(org, node))
            if held not in old.roles:
                raise NotFound(f"'{old.name}' does not hold '{shortened(role)}' at '{node}'")
            return replace(old, roles=tuple(each for each in old.roles if each != held))

        return self._alter(org, id, expect, change)

    def _alter(self, org: str, id: str, expect: int | None, change: Callable[[Member], Member]) -> Member:
        def draft() -> Edit:
            rev, old = self._read(Member, "member", org, id)
            new = change(old)
            self._may_give(org, old, new)
            if new.name != old.name:
                self._check_name(org, new)
            return Edit("member.update", rev, (old,), (new,))

        return self._one(Member, self._commit(org, "member.update", id, draft, expect))

    def delete_member(self, org: str, id: str, *, expect: int | None = None) -> None:
        """Takes org:manage on the organization."""

        def draft() -> Edit:
            rev, old = self._read(Member, "member", org, id)
            self._require("org:manage", self._path(org, org))
            return Edit("member.delete", rev, (old,))

        self._commit(org, "member.delete", id, draft, expect)

    def member(self, org: str, name_or_id: str) -> Member:
        """The member with this id or name. Takes org:manage, except for oneself."""
        found = self._named(Member, "member", org, name_or_id)
        if found.id != self._actor.id:
            self._require_anywhere("org:manage")
        return found

    def members(
        self,
        org: str,
        after: str = "",
        limit: int = 100,
        *,
        name: str | None = None,
        enabled: bool | None = None,
        group: str | None = None,
    ) -> tuple[Member, ...]:
        """Members by id, after the given one; `group`: those in it. Takes org:manage: on the organization for all of
        them, else those are shown who hold a role, or are in a group, where the actor has it.
        """
        self._may_list(org, limit)
        sees_all = self._actor.may("org:manage", (org,))
        above: dict[str, tuple[str, ...]] = {}
        places: dict[str, str] = {}

        def fits(member: Member) -> bool:
            if enabled not in (None, member.enabled) or (group is not None and group not in member.groups):
                return False
            nodes = [holding.node for holding in member.roles]
            nodes += () if sees_all else [self._place_of(org, id, places) for id in member.groups]
            return sees_all or any(
                self._actor.may("org:manage", self._above(org, node, above)) for node in nodes
            )

        found = (as_a(Member, doc) for doc in self._all(org, "member", "", after, name))
        return tuple(islice(filter(fits, found), limit))

    def acting(self, org: str, name: str) -> Actor:
        """The actor that a member is, by the name that the host's login has: with his roles as they stand now.

        Raises NotFound where there is no such member, PermissionDenied where it is disabled.
        """
        return self._directory.acting(self._inside(org), name)

    # groups

    def create_group(
        self, org: str, node: str, name: str, *, roles: Iterable[str] = (), id: str | None = None
    ) -> Group:
        """People at a node, and the roles that its members hold there. Takes org:manage at the node."""
        held = tuple(self._role_id(org, role) for role in roles)
        group = Group(new_id("group") if id is None else id, node, name, held, self._clock())

        def check() -> None:
            self._require("org:manage", self._parent(org, node))
            if held:
                self._may_hand_on()

        return self._add(org, group, check)

    def update_group(self, org: str, id: str, *, expect: int | None = None, **changes: Any) -> Group:
        """Replaces what is given of name and roles."""
        if unknown := sorted(changes.keys() - {"name", "roles"}):
            raise ConfigurationError(unknown[0], "cannot be changed; give some of name, roles")
        if "roles" in changes:
            changes["roles"] = tuple(self._role_id(org, role) for role in changes["roles"])

        def draft() -> Edit:
            rev, old = self._read(Group, "group", org, id)
            self._require("org:manage", self._path(org, old.parent))
            new = replace(old, **changes)
            if set(new.roles) - set(old.roles):
                self._may_hand_on()
            if new.name != old.name:
                self._check_name(org, new)
            return Edit("group.update", rev, (old,), (new,))

        return self._one(Group, self._commit(org, "group.update", id, draft, expect))

    def delete_group(self, org: str, id: str, *, expect: int | None = None) -> None:
        """The members are in it no more."""

        def draft() -> Edit:
            rev, old = self._read(Group, "group", org, id)
            self._require("org:manage", self._path(org, old.parent))
            bereft = self._bereft(org, {id})
            before: tuple[Thing, ...] = (old, *(member for member, _ in bereft))
            return Edit("group.delete", rev, before, tuple(member for _, member in bereft))

        self._commit(org, "group.delete", id, draft, expect)

    def group(self, org: str, name_or_id: str) -> Group:
        """The group with this id, or the only one with this name. Takes org:manage at its node."""
        found = self._named(Group, "group", org, name_or_id)
        self._require("org:manage", self._path(org, found.parent))
        return found

    def groups(
        self, org: str, after: str = "", limit: int = 100, *, node: str | None = None, name: str | None = None
    ) -> tuple[Group, ...]:
        """Groups by id, after the given one, of one node or of all: those where the actor has org:manage."""
        self._may_list(org, limit)
        above: dict[str, tuple[str, ...]] = {}
        found = (as_a(Group, doc) for doc in self._all(org, "group", node or "", after, name))
        return tuple(
            islice(
                (g for g in found if self._actor.may("org:manage", self._above(org, g.parent, above))), limit
            )
        )

    # roles

    def create_role(
        self,
        org: str,
        name: str,
        permissions: Iterable[str],
        *,
        description: str | None = None,
        id: str | None = None,
    ) -> Role:
        """A role of the organization's own. Takes org:manage on the organization, and each of its permissions."""
        role = Role(
            new_id("role") if id is None else id, org, name, tuple(permissions), description, self._clock()
        )
        return self._add(org, role, lambda: self._may_grant(org, None, role))

    def update_role(self, org: str, id: str, *, expect: int | None = None, **changes: Any) -> Role:
        """Replaces what is given of name, permissions, description, for all who hold it."""
        if unknown := sorted(changes.keys() - {"name", "permissions", "description"}):
            raise ConfigurationError(
                unknown[0], "cannot be changed; give some of name, permissions, description"
            )
        if "permissions" in changes:
            changes["permissions"] = tuple(changes["permissions"])

        def draft() -> Edit:
            rev, old = self._read(Role, "role", org, id)
            new = replace(old, **changes)
            self._may_grant(org, old, new)
            if new.name != old.name:
                self._check_name(org, new)
            return Edit("role.update", rev, (old,), (new,))

        return self._one(Role, self._commit(org, "role.update", id, draft, expect))

    def delete_role(self, org: str, id: str, *, expect: int | None = None) -> None:
        """AlreadyExists with code `in_use` while somebody holds it."""

        def draft() -> Edit:
            rev, old = self._read(Role, "role", org, id)
            self._require("org:manage", self._path(org, org))
            members = [as_a(Member, doc) for doc in self._all(org, "member", "")]
            groups = [as_a(Group, doc) for doc in self._all(org, "group", "")]
            holders = [each.name for each in members if any(role == id for role, _ in each.roles)]
            holders += [each.name for each in groups if id in each.roles]
            if holders:
                raise AlreadyExists(f"'{holders[0]}' holds it", code="in_use")
            return Edit("role.delete", rev, (old,))

        self._commit(org, "role.delete", id, draft, expect)

    def role(self, org: str, name_or_id: str) -> Role:
        """The custom role with this id or name. Takes org:manage somewhere."""
        found = self._named(Role, "role", org, name_or_id)
        self._require_anywhere("org:manage")
        return found

    def roles(self, org: str, after: str = "", limit: int = 100) -> tuple[Role, ...]:
        """Custom roles by id, after the given one. Takes org:manage somewhere."""
        self._may_list(org, limit)
        return tuple(as_a(Role, doc) for doc in islice(self._all(org, "role", "", after), limit))

    # how

    def _add(self, org: str, thing: T, check: Any) -> T:
        self._inside(org)

        what = f"{type(thing).__name__.lower()}.create"

        def draft() -> Edit:
            rev, (home,) = self._store.read(org, (org,))
            if home is None:
                raise missing("organization", org)
            check()
            self._check_id(org, thing)
            self._check_name(org, thing)
            return Edit(what, rev, after=(thing,))

        return self._one(type(thing), self._commit(org, what, thing.parent, draft))

    def _may_give(self, org: str, old: Member | None, new: Member) -> None:
        """Raises where the actor may not manage each node at which a role is given or taken, and the organization where
        somebody new has none.
        """
        before = old or replace(new, roles=(), groups=(), enabled=False)
        moved = {holding.node for holding in set(before.roles) ^ set(new.roles)}
        for id in set(before.groups) ^ set(new.groups):
            moved.add(self._group_place(org, id, new))
        for node in sorted(moved if moved or old is not None else {org}):
            self._require("org:manage", self._parent_of_role(org, node))
        given = set(new.roles) - set(before.roles) or set(new.groups) - set(before.groups)
        if given or ((new.roles or new.groups) and new.enabled > before.enabled):
            self._may_hand_on()

    def _group_place(self, org: str, id: str, member: Member) -> str:
        try:
            return self._read(Group, "group", org, id)[1].parent
        except NotFound:
            if id in member.groups:
                raise
            return org

    def _parent_of_role(self, org: str, node: str) -> Path:
        try:
            return self._path(org, node)
        except NotFound:
            raise missing("node", node) from None

    def _may_grant(self, org: str, old: Role | None, role: Role) -> None:
        path = self._path(org, org)
        self._require("org:manage", path)
        if covers(old.permissions if old is not None else (), role.permissions):
            self._may_hand_on()
        if lacking := covers(self._actor.at(path.ids), role.permissions):
            raise self._actor.lacks(lacking[0])

    def _holdings(self, org: str, roles: Iterable[Holding | tuple[str, str]]) -> tuple[Holding, ...]:
        pairs = tuple(roles)
        if not all(isinstance(pair, tuple | list) and len(pair) == 2 for pair in pairs):
            raise ConfigurationError("roles", "holds pairs of a role and the id of a node")
        return tuple(Holding(self._role_id(org, role), node) for role, node in pairs)

    def _role_id(self, org: str, role: str) -> str:
        """A predefined role's name, or a custom one's id, by its id or name."""
        name = predefined(role) if isinstance(role, str) else None
        if name is not None:
            return name
        try:
            return self._named(Role, "role", self._inside(org), str(role)).id
        except NotFound:
            raise ConfigurationError("roles", f"there is no role '{shortened(role)}'") from None

    def _named(self, of: type[T], what: str, org: str, name_or_id: str) -> T:
        self._inside(org)
        if is_id(name_or_id):
            _, (doc,) = self._store.read(org, (name_or_id,))
            if doc is not None and is_a(of, doc):
                return as_a(of, doc)
        return as_a(of, self._only(org, (what,), name_or_id))

    def _place_of(self, org: str, group: str, known: dict[str, str]) -> str:
        """The node of a group; none where it is gone."""
        if group not in known:
            _, (doc,) = self._store.read(org, (group,))
            known[group] = doc.parent if doc is not None else ""
        return known[group]

    def _may_list(self, org: str, limit: int) -> None:
        self._inside(org)
        self._require_anywhere("org:manage")
        check_page(limit)

    def _require_anywhere(self, permission: str) -> None:
        """Raises where the actor has the permission at no node of the organization."""
        self._actor.require(permission, [grant.node for grant in self._actor.grants])

    def _one(self, of: type[T], edit: Edit) -> T:
        (thing,) = (thing for thing in edit.after if isinstance(thing, of))
        return thing
