"""What the file asks for against an organization as it stands, decided without touching either."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from ..core.permissions import CALL_PERMISSIONS
from ..errors import ConfigurationError, Problem
from ..tenancy import keys as ids
from ..tenancy.budgets import set_anew
from ..tenancy.channels import Channel
from ..tenancy.keys import IdKind
from ..tenancy.nodes import Node
from . import entries
from .drafting import Draft
from .entries import Entry, Path
from .model import ChannelEntry, OrganizationFile
from .people import People
from .placing import Placing
from .plans import Plan
from .state import State, kept

Progress = Callable[[int, int], None]
"""Hears how many of how many are done."""
OFTEN = 100
"""After so many it hears again."""


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
    draft = Draft(file, state, org, now, new_id)
    return _Planner(draft, progress or (lambda done, of: None)).plan(), draft.problems


class _Planner:
    def __init__(self, draft: Draft, progress: Progress) -> None:
        self._draft = draft
        self._state = draft.state
        self._org = draft.org
        self._progress = progress
        self._placing = Placing(draft)
        self._people = People(draft)

    def plan(self) -> Plan:
        draft = self._draft
        placed = self._placing.nodes()
        draft.name_places()
        self._people.roles()
        nodes = [self._node(entry, old, new) for entry, old, new in placed]
        for number, (entry, _, node) in enumerate(placed):
            self._people.groups(entry, node)
            self._keys(entry, node)
            self._channels(entry, node)
            if number % OFTEN == 0:
                self._progress(number, len(placed))
        self._progress(len(placed), len(placed))
        self._people.members()
        self._check_carryover(nodes)
        paths = {node.id: entry.path for entry, _, node in placed}
        root = draft.after[self._org]
        return Plan(root, tuple(draft.steps()), draft.unchanged, self._state.revision, paths)

    def _node(self, entry: Entry, old: Node | None, base: Node) -> Node:
        new = self._filled(entry, old, base)
        self._draft.after[new.id] = new
        where = self._draft.called(new)
        if old is None:
            self._draft.step(f"{entry.kind}s", "create", None, new, where, entry)
            return new
        if old.parent != new.parent:
            self._draft.step("moves", "move", old, replace(old, parent=new.parent), where, entry)
            old = replace(old, parent=new.parent)
        if old == new:
            self._draft.unchanged += 1
        else:
            self._draft.step(f"{entry.kind}s", "change", old, new, where, entry)
        return new

    def _filled(self, entry: Entry, old: Node | None, base: Node) -> Node:
        """A node with what an entry says; as it was, where that is wrong."""
        try:
            given = entries.fields(entry.said, old)
            if entry.kind == "organization":
                given |= entries.node_fields_of(self._draft.file)
            ready = {name: kept(getattr(base, name), value) for name, value in given.items()}
            changes = {name: value for name, value in ready.items() if value != getattr(base, name)}
            new = replace(base, **changes) if changes else base
            if old is not None and changes:
                new = set_anew(old, new)
            return self._overridden(entry, new)
        except ConfigurationError as error:
            self._draft.wrong(
                (*entry.path, entries.word_of(entry.said, error.field)), str(error).partition(": ")[2]
            )
            return base

    def _overridden(self, entry: Entry, node: Node) -> Node:
        """With the overrides that an entry says; those that are over are none on either side."""
        if "overrides" not in entry.said.model_fields_set:
            return node
        shapes = {limit.shape for limit in node.limits}
        wanted = []
        for number, said in enumerate(entry.said.overrides or ()):
            each = entries.override(said)
            if each.limit not in shapes:
                there = ", ".join(sorted(shapes)) or "none"
                path = (*entry.path, "overrides", number, "limit")
                self._draft.wrong(path, f"there is no limit '{each.limit}' here; it has {there}")
            elif each.until > self._draft.now:
                wanted.append(each)
        live = [each for each in node.overrides if each.until > self._draft.now]
        return node if set(live) == set(wanted) else replace(node, overrides=tuple(wanted))

    def _check_carryover(self, nodes: Iterable[Node]) -> None:
        root = self._draft.after[self._org]
        old = self._state.node(self._org)
        if root.carryover_allowed or (old is not None and not old.carryover_allowed):
            return
        keys = (
            thing
            for thing in self._state.by_id.values()
            if isinstance(thing, Node) and thing.kind == "key" and not thing.revoked
        )
        living = (key for key in keys if key.parent not in self._draft.gone)
        for node in {node.id: node for node in (*living, *self._draft.standing().values(), *nodes)}.values():
            if any(limit.carryover for limit in node.limits):
                self._draft.wrong(
                    ("global_settings", "carryover_allowed"),
                    f"forbids what {node.kind} '{self._draft.called(node)}' has: a limit that carries over",
                )

    def _keys(self, entry: Entry, node: Node) -> None:
        if getattr(entry.said, "keys", None) is None:
            return
        where = self._draft.called(node)
        there = self._state.nodes("key", node.id)
        wanted = list(entries.keys(entry))
        found = self._placing.matched(wanted, [key for key in there if key.name is not None])
        for key in wanted:
            old = found.get(key.path)
            if old is not None and old.parent != node.id:
                self._draft.wrong(
                    (*key.path, "id"), "is that of a key at another place, and keys are not moved"
                )
            elif old is None:
                id = key.said.id or self._draft.new_id("key")
                base = Node(
                    id, "key", node.id, key.name, permissions=CALL_PERMISSIONS, created_at=self._draft.now
                )
                self._draft.step("keys", "create", None, self._filled(key, None, base), where, key)
            else:
                new = self._filled(key, old, replace(old, name=key.name))
                self._draft.changed("keys", old, new, where, key)
        meant = {key.id for key in found.values()}
        for key_left in there:
            if key_left.name is not None and key_left.id not in meant:
                self._draft.step("keys removed", "remove", key_left, None, where)

    def _channels(self, entry: Entry, node: Node) -> None:
        said: list[ChannelEntry] | None = getattr(entry.said, "channels", None)
        if said is None:
            return
        there = {channel.id: channel for channel in self._state.channels(node.id)}
        where = self._draft.called(node)
        for number, each in enumerate(said):
            path: Path = (*entry.path, "channels", number)
            old = next((channel for channel in there.values() if _is_channel(channel, each)), None)
            target = each.email or each.url
            if old is not None:
                del there[old.id]
                self._draft.unchanged += 1
            elif target is None:
                self._draft.wrong((*path, "id"), "is that of no channel here; say where it sends to")
            else:
                new = Channel("new", node.id, None, each.type, target, hint=target)
                self._draft.step("channels", "create", None, new, where, path, channel=each)
        for channel in there.values():
            self._draft.step("channels removed", "remove", channel, None, where)


def _is_channel(channel: Channel, said: ChannelEntry) -> bool:
    if said.id == channel.id:
        return True
    target = said.email or said.url
    same = channel.type == said.type and target is not None and channel.hint == target
    return same and said.secret in (None, channel.secret)
