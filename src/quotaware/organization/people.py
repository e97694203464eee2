"""What becomes of people: custom roles, groups, members."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ..errors import ConfigurationError
from ..tenancy.nodes import Node
from ..tenancy.people import Group, Holding, Member, Role, predefined
from . import entries
from .drafting import Draft
from .entries import Entry, Path
from .model import MemberEntry
from .state import kept

P = TypeVar("P", Role, Member)
Names = Mapping[str, set[str]]
"""What ids may be called."""


class People:
    """The people of a file. Roles come first, groups node by node, members last."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._state = draft.state
        self._file = draft.file
        self._org = draft.org
        self._roles: dict[str, Role] = {}
        self._groups: dict[str, Group] = {}

    def roles(self) -> None:
        """The organization's own."""
        there = {role.name: role for role in self._state.of(Role, self._org)}
        if self._file.custom_roles is None:
            self._roles = {role.id: role for role in there.values()}
            return
        for name, entry in self._file.custom_roles.items():
            path: Path = ("custom_roles", name)
            old = there.pop(name, None)
            new = old or Role(self._draft.new_id("role"), self._org, name, (), None, self._draft.now)
            given = entry.given()
            if "permissions" in given:
                given["permissions"] = kept(new.permissions, tuple(given["permissions"]))
            new = self._with(new, given, path)
            self._roles[new.id] = new
            self._draft.names[new.id] = name
            self._draft.changed("roles", old, new, "", path)
        for role in there.values():
            self._draft.step("roles removed", "remove", role, None, "")

    def groups(self, entry: Entry, node: Node) -> None:
        """Those of a node."""
        said: Mapping[str, list[str]] | None = getattr(entry.said, "roles", None)
        there = {group.name: group for group in self._state.of(Group, node.id)}
        for name, group in there.items():
            if said is None or name in said:
                self._groups[group.id] = group
        if said is None:
            return
        where = self._draft.called(node)
        for name, held in said.items():
            path: Path = (*entry.path, "roles", name)
            roles = tuple(dict.fromkeys(self._role(role, (*path, n)) for n, role in enumerate(held)))
            old = there.pop(name, None)
            new = old or Group(self._draft.new_id("group"), node.id, name, (), self._draft.now)
            new = replace(new, roles=kept(new.roles, roles))
            self._groups[new.id] = new
            self._draft.names[new.id] = name
            self._draft.changed("groups", old, new, where, path)
        for group in there.values():
            self._draft.step("groups removed", "remove", group, None, where)

    def members(self) -> None:
        """All of them."""
        if self._file.members is None:
            return
        places, groups = self._places(), self._group_names()
        there = {member.name: member for member in self._state.of(Member, self._org)}
        for name, entry in self._file.members.items():
            path: Path = ("members", name)
            old = there.pop(name, None)
            new = old or Member(self._draft.new_id("member"), self._org, name, created_at=self._draft.now)
            self._draft.changed("members", old, self._member(new, entry, path, places, groups), "", path)
        for member in there.values():
            self._draft.step("members removed", "remove", member, None, "")

    def _role(self, text: str, path: Path) -> str:
        """The role that is meant: a predefined one's name, or a custom one's id."""
        name = predefined(text)
        if name is not None:
            return name
        if text in self._roles:
            return text
        found = next((role.id for role in self._roles.values() if role.name == text), None)
        if found is None:
            self._draft.wrong(path, entries.no_role(text))
        return found or "viewer"

    def _member(self, base: Member, entry: MemberEntry, path: Path, places: Names, groups: Names) -> Member:
        given = entry.given()
        if "roles" in given:
            held = [
                Holding(
                    self._role(each.role, (*path, "roles", number, "role")),
                    self._one(places, each.node, (*path, "roles", number, "node"), "node"),
                )
                for number, each in enumerate(entry.roles or ())
            ]
            given["roles"] = kept(base.roles, tuple(dict.fromkeys(held)))
        if "groups" in given:
            names = (
                self._one(groups, each, (*path, "groups", number), "group")
                for number, each in enumerate(entry.groups or ())
            )
            given["groups"] = kept(base.groups, tuple(dict.fromkeys(names)))
        if "enabled" in given:
            given["enabled"] = entry.enabled is not False
        return self._with(base, given, path)

    def _with(self, base: P, given: Mapping[str, Any], path: Path) -> P:
        """With these fields; as it was where one of them is none, which is told."""
        try:
            return replace(base, **given)
        except ConfigurationError as error:
            self._draft.wrong((*path, error.field), str(error).partition(": ")[2])
            return base

    def _places(self) -> Names:
        """The nodes that there will be, by what they may be called."""
        called = {
            id: (node.name or "", self._draft.called(node)) for id, node in self._draft.standing().items()
        }
        return _by_names(called)

    def _group_names(self) -> Names:
        """The same of groups."""
        removed = {step.thing.id for step in self._draft.steps("groups removed")}
        there = {each.id: each for each in self._state.by_id.values() if isinstance(each, Group)}
        nodes = self._draft.standing()
        return _by_names(
            {
                id: (group.name, f"{self._draft.called(nodes[group.parent])}/{group.name}")
                for id, group in (there | self._groups).items()
                if id not in removed and group.parent in nodes
            }
        )

    def _one(self, names: Names, name: str, path: Path, what: str) -> str:
        found = names.get(name, set())
        if len(found) != 1:
            several = f"may be any of {len(found)}; write team/{what}, or its id"
            self._draft.wrong(path, several if found else f"there is no {what} {name!r}")
        return next(iter(found)) if found else self._org


def _by_names(called: Mapping[str, Iterable[str]]) -> Names:
    """Ids by names; an id goes before a name."""
    found: dict[str, set[str]] = defaultdict(set)
    for id, names in called.items():
        for name in names:
            found[name].add(id)
    return found | {id: {id} for id in called}
