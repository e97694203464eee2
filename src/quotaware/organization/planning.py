"""What the file asks for against an organization as it stands, decided without touching either.

A thing is known by its id, where the file gives one, else by its name and place. A project whose name is not at the
place where the file has it, and which would be taken away elsewhere, has moved.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, TypeVar

from ..core.permissions import CALL_PERMISSIONS
from ..core.terms import PriceRule
from ..errors import ConfigurationError, Problem
from ..tenancy import keys as ids
from ..tenancy.budgets import set_anew
from ..tenancy.channels import Channel
from ..tenancy.documents import Thing, kind_of
from ..tenancy.keys import IdKind, Kind
from ..tenancy.nodes import Node
from ..tenancy.people import Group, Holding, Member, Role, predefined
from ..tenancy.pricing import price_id
from . import entries
from .entries import Entry, Path, dotted
from .model import ChannelEntry, Common, MemberEntry, OrganizationFile
from .plans import Action, Plan, Step

T = TypeVar("T", Group, Role, Member)
Progress = Callable[[int, int], None]
"""Hears how many of how many are done."""


class State:
    """An organization as it stands: all its things."""

    def __init__(self, things: Iterable[Thing], revision: int = 0) -> None:
        self.revision = revision
        self.by_id = {thing.id: thing for thing in things}
        self._below: dict[tuple[str, str], list[Thing]] = defaultdict(list)
        for thing in self.by_id.values():
            self._below[kind_of(thing), thing.parent].append(thing)

    def nodes(self, kind: Kind, parent: str) -> list[Node]:
        """Nodes right below another; of keys those that were not revoked."""
        return [
            each
            for each in self._below.get((kind, parent), ())
            if isinstance(each, Node) and not each.revoked
        ]

    def of(self, kind: type[T], parent: str) -> list[T]:
        """People's things below a node."""
        name = {Group: "group", Role: "role", Member: "member"}[kind]
        return [each for each in self._below.get((name, parent), ()) if isinstance(each, kind)]

    def channels(self, parent: str) -> list[Channel]:
        """Channels of a node."""
        return [each for each in self._below.get(("channel", parent), ()) if isinstance(each, Channel)]

    def node(self, id: str) -> Node | None:
        """The node of this id."""
        found = self.by_id.get(id)
        return found if isinstance(found, Node) and not found.revoked else None


def planned(
    file: OrganizationFile,
    state: State,
    org: str,
    now: int,
    *,
    new_id: Callable[[IdKind], str] = ids.new_id,
    progress: Progress | None = None,
) -> tuple[Plan, list[Problem]]:
    """The plan for an organization of this id, and what is wrong with the file in the light of it (then the plan is
    none to go by).
    """
    planner = _Planner(file, state, org, now, new_id, progress)
    return planner.plan(), planner.problems


class _Planner:
    def __init__(
        self,
        file: OrganizationFile,
        state: State,
        org: str,
        now: int,
        new_id: Callable[[IdKind], str],
        progress: Progress | None,
    ) -> None:
        self.problems: list[Problem] = []
        self._file = file
        self._state = state
        self._org = org
        self._now = now
        self._new_id = new_id
        self._progress = progress
        self._steps: dict[str, list[Step]] = defaultdict(list)
        self._unchanged = 0
        self._where: dict[str, str] = {}
        self._after: dict[str, Node] = {}
        self._groups: dict[str, Group] = {}
        self._roles: dict[str, Role] = {}
        self._gone: set[str] = set()
        self._names: dict[str, str] = {}

    def plan(self) -> Plan:
        """Everything in its order, so that what is needed is there, and what is in the way is gone."""
        placed = self._place()
        self._name_places()
        self._plan_roles()
        nodes = [self._plan_node(entry, old, new) for entry, old, new in placed]
        for number, (entry, _, node) in enumerate(placed):
            self._plan_groups(entry, node)
            self._plan_keys(entry, node)
            self._plan_channels(entry, node)
            if self._progress is not None and number % 100 == 0:
                self._progress(number, len(placed))
        if self._progress is not None:
            self._progress(len(placed), len(placed))
        self._plan_members()
        self._check_carryover(nodes)
        steps = (step for phase in _PHASES for step in self._steps[phase])
        paths = {node.id: entry.path for entry, _, node in placed}
        return Plan(self._after[self._org], tuple(steps), self._unchanged, self._state.revision, paths)

    # which node of the file is which

    def _place(self) -> list[tuple[Entry, Node | None, Node]]:
        """The nodes of the file with what they were and where they will be; what is in their way is taken away."""
        file, state = self._file, self._state
        root = next(iter(entries.nodes(file)))
        if root.said.id not in (None, self._org):
            self._wrong((*root.path, "id"), f"is another organization than '{self._org}'")
        old_root = state.node(self._org)
        found = [(root, old_root, self._put(root, old_root, ""))]
        wanted = [entry for entry in entries.nodes(file) if entry.kind == "team"]
        teams = self._matched(wanted, state.nodes("team", self._org))
        for entry in wanted:
            old = teams.get(entry.path)
            found.append((entry, old, self._put(entry, old, self._org)))
        kept = {new.id for _, _, new in found}
        leaving = (
            [team for team in state.nodes("team", self._org) if team.id not in kept]
            if file.teams is not None
            else []
        )
        found += self._place_projects({entry.path: new for entry, _, new in found}, leaving)
        for team in leaving:
            self._remove_node("team", team)
        return found

    def _place_projects(
        self, above: Mapping[Path, Node], leaving: Iterable[Node]
    ) -> list[tuple[Entry, Node | None, Node]]:
        state, file = self._state, self._file
        managed = {team.id for team in leaving}
        managed |= {self._org} if file.projects is not None else set()
        for name, team in (file.teams or {}).items():
            if team.projects is not None:
                managed.add(above["teams", name].id)
        loose = {project.id: project for parent in managed for project in state.nodes("project", parent)}
        wanted = [entry for entry in entries.nodes(file) if entry.kind == "project"]
        parents = {
            entry.path: (above[entry.path[:-2]].id if len(entry.path) > 2 else self._org) for entry in wanted
        }
        old: dict[Path, Node] = {}
        for entry in wanted:
            if (node := self._by_id(entry)) is not None:
                old[entry.path] = node
        taken = {node.id for node in old.values()}
        at = {(node.parent, node.name): node for node in loose.values() if node.id not in taken}
        for entry in wanted:
            named = at.pop((parents[entry.path], entry.name), None) if entry.said.id is None else None
            if named is not None:
                old[entry.path] = named
        moved: dict[str | None, list[Node]] = defaultdict(list)
        for node in at.values():
            moved[node.name].append(node)
        missing = [entry for entry in wanted if entry.path not in old and entry.said.id is None]
        several = Counter(entry.name for entry in missing)
        for entry in missing:
            if len(moved[entry.name]) == 1 and several[entry.name] == 1:
                old[entry.path] = moved[entry.name].pop()
        kept = {node.id for node in old.values()}
        for project in loose.values():
            if project.id not in kept:
                self._remove_node("project", project)
        return [
            (entry, old.get(entry.path), self._put(entry, old.get(entry.path), parents[entry.path]))
            for entry in wanted
        ]

    def _matched(self, wanted: Iterable[Entry], there: Iterable[Node]) -> dict[Path, Node]:
        """The nodes at one place that entries mean: by id, else by name."""
        found: dict[Path, Node] = {}
        for entry in wanted:
            if (node := self._by_id(entry)) is not None:
                found[entry.path] = node
        taken = {node.id for node in found.values()}
        named = {node.name: node for node in there if node.id not in taken}
        for entry in wanted:
            node = named.get(entry.name) if entry.said.id is None else None
            if node is not None:
                found[entry.path] = node
        return found

    def _by_id(self, entry: Entry) -> Node | None:
        id = entry.said.id
        thing = None if id is None else self._state.by_id.get(id)
        if thing is None:
            return None
        if not isinstance(thing, Node) or thing.kind != entry.kind or thing.revoked:
            what = "a revoked key" if isinstance(thing, Node) and thing.revoked else f"a {kind_of(thing)}"
            self._wrong((*entry.path, "id"), f"is that of {what}")
            return None
        return thing

    def _put(self, entry: Entry, old: Node | None, parent: str) -> Node:
        """The node at its place, with nothing of what the entry says but its name."""
        if old is not None:
            new = (
                old
                if (old.name, old.parent) == (entry.name, parent)
                else replace(old, name=entry.name, parent=parent)
            )
        else:
            id = self._org if entry.kind == "organization" else entry.said.id or self._new_id(entry.kind)
            new = Node(id, entry.kind, parent, entry.name, created_at=self._now)
        self._after[new.id] = new
        return new

    def _remove_node(self, kind: Kind, node: Node) -> None:
        where = self._called(node)
        phase = "projects removed" if kind == "project" else "teams removed"
        for key in self._state.nodes("key", node.id):
            self._step(phase, "remove", key, None, where)
        self._gone.add(node.id)
        self._step(phase, "remove", node, None, where)

    def _called(self, node: Node) -> str:
        """A node as the file calls it."""
        if node.id not in self._where:
            parent = self._after.get(node.parent) or self._state.node(node.parent)
            lead = f"{parent.name}/" if node.kind == "project" and parent and parent.kind == "team" else ""
            self._where[node.id] = f"{lead}{node.name}"
        return self._where[node.id]

    def _name_places(self) -> None:
        """What ids are called in the plan."""
        for thing in (*self._state.by_id.values(), *self._after.values()):
            if isinstance(thing, Node) and thing.kind != "key":
                self._names[thing.id] = self._called(self._after.get(thing.id, thing))
            elif isinstance(thing, Group | Role):
                self._names[thing.id] = thing.name

    # what becomes of a node

    def _plan_node(self, entry: Entry, old: Node | None, base: Node) -> Node:
        new = self._filled(entry, old, base)
        self._after[new.id] = new
        where = self._called(new)
        if old is None:
            self._step(f"{entry.kind}s", "create", None, new, where, entry)
            return new
        if old.parent != new.parent:
            self._step("moves", "move", old, replace(old, parent=new.parent), where, entry)
            old = replace(old, parent=new.parent)
        if old == new:
            self._unchanged += 1
        else:
            self._step(f"{entry.kind}s", "change", old, new, where, entry)
        return new

    def _filled(self, entry: Entry, old: Node | None, base: Node) -> Node:
        """A node with what an entry says; as it was, where that is wrong."""
        try:
            given = entries.fields(entry.said, old)
            if entry.kind == "organization":
                given |= entries.node_fields_of(self._file)
            kept = {name: _kept(getattr(base, name), value) for name, value in given.items()}
            changes = {name: value for name, value in kept.items() if value != getattr(base, name)}
            new = replace(base, **changes) if changes else base
            if old is not None and changes:
                new = set_anew(old, new)
            return self._overridden(entry.said, new)
        except ConfigurationError as error:
            self._wrong((*entry.path, error.field), str(error).partition(": ")[2])
            return base

    def _overridden(self, said: Common, node: Node) -> Node:
        """With the overrides that an entry says; those that are over are none on either side."""
        if "overrides" not in said.model_fields_set:
            return node
        wanted = tuple(map(entries.override, said.overrides or ()))
        live = {each for each in node.overrides if each.until > self._now}
        if live == {each for each in wanted if each.until > self._now}:
            return node
        return replace(node, overrides=tuple(each for each in wanted if each.until > self._now))

    def _check_carryover(self, nodes: Iterable[Node]) -> None:
        root = self._after[self._org]
        old = self._state.node(self._org)
        if root.carryover_allowed or (old is not None and not old.carryover_allowed):
            return
        standing = (
            self._after.get(thing.id, thing)
            for thing in self._state.by_id.values()
            if isinstance(thing, Node) and not thing.revoked and thing.id not in self._gone
        )
        for node in {node.id: node for node in (*standing, *nodes)}.values():
            if node.parent not in self._gone and any(limit.carryover for limit in node.limits):
                self._wrong(
                    ("global_settings", "carryover_allowed"),
                    f"forbids what {node.kind} '{self._called(node)}' has: a limit that carries over",
                )

    # what hangs on a node

    def _plan_keys(self, entry: Entry, node: Node) -> None:
        if getattr(entry.said, "keys", None) is None:
            return
        where = self._called(node)
        there = self._state.nodes("key", node.id)
        wanted = list(entries.keys(entry))
        found = self._matched(wanted, [key for key in there if key.name is not None])
        for key in wanted:
            old = found.get(key.path)
            if old is not None and old.parent != node.id:
                self._wrong((*key.path, "id"), "is that of a key at another place, and keys are not moved")
            elif old is None:
                id = key.said.id or self._new_id("key")
                base = Node(id, "key", node.id, key.name, permissions=CALL_PERMISSIONS, created_at=self._now)
                self._step("keys", "create", None, self._filled(key, None, base), where, key)
            else:
                new = self._filled(key, old, replace(old, name=key.name))
                self._changed("keys", old, new, where, key)
        kept = {key.id for key in found.values()}
        for key_left in there:
            if key_left.name is not None and key_left.id not in kept:
                self._step("keys removed", "remove", key_left, None, where)

    def _plan_groups(self, entry: Entry, node: Node) -> None:
        said: Mapping[str, list[str]] | None = getattr(entry.said, "roles", None)
        there = {group.name: group for group in self._state.of(Group, node.id)}
        for name, group in there.items():
            if said is None or name in said:
                self._groups[group.id] = group
        if said is None:
            return
        where = self._called(node)
        for name, held in said.items():
            path: Path = (*entry.path, "roles", name)
            roles = tuple(dict.fromkeys(self._role(role, (*path, n)) for n, role in enumerate(held)))
            old = there.pop(name, None)
            new = old or Group(self._new_id("group"), node.id, name, (), self._now)
            new = replace(new, roles=_kept(new.roles, roles))
            self._groups[new.id] = new
            self._names[new.id] = name
            self._changed("groups", old, new, where, path)
        for group in there.values():
            self._step("groups removed", "remove", group, None, where)

    def _plan_channels(self, entry: Entry, node: Node) -> None:
        said: list[ChannelEntry] | None = getattr(entry.said, "channels", None)
        if said is None:
            return
        there = {channel.id: channel for channel in self._state.channels(node.id)}
        where = self._called(node)
        for number, each in enumerate(said):
            path: Path = (*entry.path, "channels", number)
            old = next((channel for channel in there.values() if _is_channel(channel, each)), None)
            target = each.email or each.url
            if old is not None:
                del there[old.id]
                self._unchanged += 1
            elif target is None:
                self._wrong((*path, "id"), "is that of no channel here; say where it sends to")
            else:
                new = Channel("new", node.id, None, each.type, target, hint=target)
                self._step("channels", "create", None, new, where, path, channel=each)
        for channel in there.values():
            self._step("channels removed", "remove", channel, None, where)

    # people

    def _plan_roles(self) -> None:
        there = {role.name: role for role in self._state.of(Role, self._org)}
        if self._file.custom_roles is None:
            self._roles = {role.id: role for role in there.values()}
            return
        for name, entry in self._file.custom_roles.items():
            path: Path = ("custom_roles", name)
            old = there.pop(name, None)
            new = old or Role(self._new_id("role"), self._org, name, (), None, self._now)
            given = entry.given()
            if "permissions" in given:
                given["permissions"] = _kept(new.permissions, tuple(given["permissions"]))
            new = replace(new, **given)
            self._roles[new.id] = new
            self._names[new.id] = name
            self._changed("roles", old, new, "", path)
        for role in there.values():
            self._step("roles removed", "remove", role, None, "")

    def _role(self, text: str, path: Path) -> str:
        """The role that is meant: a predefined one's name, or a custom one's id."""
        name = predefined(text)
        if name is not None:
            return name
        if text in self._roles:
            return text
        found = next((role.id for role in self._roles.values() if role.name == text), None)
        if found is None:
            self._wrong(path, entries.no_role(text))
        return found or "viewer"

    def _plan_members(self) -> None:
        if self._file.members is None:
            return
        places, groups = self._places(), self._group_names()
        there = {member.name: member for member in self._state.of(Member, self._org)}
        for name, entry in self._file.members.items():
            path: Path = ("members", name)
            old = there.pop(name, None)
            new = old or Member(self._new_id("member"), self._org, name, created_at=self._now)
            self._changed("members", old, self._member(new, entry, path, places, groups), "", path)
        for member in there.values():
            self._step("members removed", "remove", member, None, "")

    def _member(self, base: Member, entry: MemberEntry, path: Path, places: _Names, groups: _Names) -> Member:
        given = entry.given()
        if "roles" in given:
            held = [
                Holding(
                    self._role(each.role, (*path, "roles", number, "role")),
                    self._one(places, each.node, (*path, "roles", number, "node"), "node"),
                )
                for number, each in enumerate(entry.roles or ())
            ]
            given["roles"] = _kept(base.roles, tuple(dict.fromkeys(held)))
        if "groups" in given:
            names = (
                self._one(groups, each, (*path, "groups", number), "group")
                for number, each in enumerate(entry.groups or ())
            )
            given["groups"] = _kept(base.groups, tuple(dict.fromkeys(names)))
        if "enabled" in given:
            given["enabled"] = entry.enabled is not False
        return replace(base, **given)

    def _places(self) -> _Names:
        """The nodes that there will be, by what they may be called."""
        found: _Names = defaultdict(set)
        standing = (thing for thing in self._state.by_id.values() if isinstance(thing, Node))
        for node in {**{node.id: node for node in standing}, **self._after}.values():
            if node.kind != "key" and node.id not in self._gone:
                for name in (node.name or "", self._called(node)):
                    found[name].add(node.id)
                found[node.id] = {node.id}
        return found

    def _group_names(self) -> _Names:
        found: _Names = defaultdict(set)
        standing = (each for each in self._state.by_id.values() if isinstance(each, Group))
        removed = {step.thing.id for step in self._steps["groups removed"]}
        for group in {**{each.id: each for each in standing}, **self._groups}.values():
            if group.id not in removed and group.parent not in self._gone:
                node = self._after.get(group.parent) or self._state.node(group.parent)
                for name in (group.name, f"{self._called(node)}/{group.name}" if node else group.name):
                    found[name].add(group.id)
                found[group.id] = {group.id}
        return found

    def _one(self, names: _Names, name: str, path: Path, what: str) -> str:
        found = names.get(name, set())
        if len(found) != 1:
            several = f"may be any of {len(found)}; write team/{what}, or its id"
            self._wrong(path, several if found else f"there is no {what} {name!r}")
        return next(iter(found)) if found else self._org

    # how

    def _changed(self, phase: str, old: Thing | None, new: Thing, where: str, at: Entry | Path) -> None:
        if old is None:
            self._step(phase, "create", None, new, where, at)
        elif old == new:
            self._unchanged += 1
        else:
            self._step(phase, "change", old, new, where, at)

    def _step(
        self,
        phase: str,
        action: Action,
        before: Thing | None,
        after: Thing | None,
        where: str,
        at: Entry | Path = (),
        channel: ChannelEntry | None = None,
    ) -> None:
        path = at.path if isinstance(at, Entry) else at
        given = at.said.given() if isinstance(at, Entry) else {}
        thing = after if after is not None else before
        assert thing is not None  # noqa: S101  # one of the two is given
        step = Step(action, kind_of(thing), before, after, where, path, channel, given, self._names)
        self._steps[phase].append(step)

    def _wrong(self, path: Path, message: str) -> None:
        self.problems.append(Problem(dotted(path), message))


_Names = dict[str, set[str]]
_PHASES = (
    "organizations", "roles", "projects removed", "teams", "moves", "teams removed", "projects", "groups", "members",
    "keys", "channels", "members removed", "groups removed", "keys removed", "channels removed", "roles removed",
)  # fmt: skip


def _kept(old: Any, new: Any) -> Any:
    """The new value; the old one where it says the same in another order or form."""
    if not isinstance(new, tuple) or not isinstance(old, tuple):
        return new
    if any(isinstance(each, PriceRule) for each in (*old, *new)):
        return _kept_prices(old, new)
    if old == new:
        return old
    same = len(old) == len(new) and Counter(map(str, old)) == Counter(map(str, new))
    return old if same else new


def _kept_prices(old: tuple[PriceRule, ...], new: tuple[PriceRule, ...]) -> tuple[PriceRule, ...]:
    was = {price_id(rule): rule for rule in old}
    kept = tuple(
        old_rule if (old_rule := was.get(price_id(rule))) and _rates(old_rule) == _rates(rule) else rule
        for rule in new
    )
    return old if set(kept) == set(old) else kept


def _rates(rule: PriceRule) -> Any:
    return rule.until, sorted((name, Decimal(rate)) for name, rate in rule.rates)


def _is_channel(channel: Channel, said: ChannelEntry) -> bool:
    if said.id == channel.id:
        return True
    target = said.email or said.url
    same = channel.type == said.type and target is not None and channel.hint == target
    return same and said.secret in (None, channel.secret)
