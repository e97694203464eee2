"""Which node of the file is which of those that are there.

A node is known by its id, where the file gives one, else by its name and place. A project whose name is not at the
place where the file has it, and which would be taken away elsewhere, has moved.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import NamedTuple

from ..tenancy.documents import kind_of
from ..tenancy.keys import Kind
from ..tenancy.nodes import Node
from . import entries
from .drafting import Draft
from .entries import Entry, Path


class Placed(NamedTuple):
    """A node of the file: what it was, None for what is not there yet, and where it will be."""

    entry: Entry
    old: Node | None
    new: Node


class Placing:
    """The nodes of a file, found."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self._state = draft.state
        self._file = draft.file
        self._org = draft.org

    def nodes(self) -> list[Placed]:
        """The nodes of the file with what they were and where they will be; what is in their way is taken away."""
        file, state = self._file, self._state
        root = next(iter(entries.nodes(file)))
        if root.said.id not in (None, self._org):
            self._draft.wrong((*root.path, "id"), f"is another organization than '{self._org}'")
        old_root = state.node(self._org)
        found = [Placed(root, old_root, self._put(root, old_root, ""))]
        wanted = [entry for entry in entries.nodes(file) if entry.kind == "team"]
        teams = self.matched(wanted, state.nodes("team", self._org))
        for entry in wanted:
            old = teams.get(entry.path)
            found.append(Placed(entry, old, self._put(entry, old, self._org)))
        kept = {new.id for _, _, new in found}
        leaving = (
            [team for team in state.nodes("team", self._org) if team.id not in kept]
            if file.teams is not None
            else []
        )
        found += self._projects({entry.path: new for entry, _, new in found}, leaving)
        for team in leaving:
            self._remove_node("team", team)
        return found

    def _projects(self, above: Mapping[Path, Node], leaving: Iterable[Node]) -> list[Placed]:
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
            named = None if entry.path in old else at.get((parents[entry.path], entry.name))
            if named is not None and self._is_meant(entry, named):
                old[entry.path] = at.pop((parents[entry.path], entry.name))
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
            Placed(entry, old.get(entry.path), self._put(entry, old.get(entry.path), parents[entry.path]))
            for entry in wanted
        ]

    def matched(self, wanted: Iterable[Entry], there: Iterable[Node]) -> dict[Path, Node]:
        """The nodes at one place that entries mean: by id, else by name."""
        found: dict[Path, Node] = {}
        for entry in wanted:
            if (node := self._by_id(entry)) is not None:
                found[entry.path] = node
        taken = {node.id for node in found.values()}
        named = {node.name: node for node in there if node.id not in taken}
        for entry in wanted:
            node = None if entry.path in found else named.get(entry.name)
            if node is not None and self._is_meant(entry, node):
                found[entry.path] = node
        return found

    def _is_meant(self, entry: Entry, node: Node) -> bool:
        """Whether an entry means the node that has its name; the id of one that is there does not change."""
        if entry.said.id is None:
            return True
        self._draft.wrong(
            (*entry.path, "id"),
            f"is another one than '{node.id}', which the {node.kind} '{node.name}' has; ids do not change",
        )
        return False

    def _by_id(self, entry: Entry) -> Node | None:
        id = entry.said.id
        thing = None if id is None else self._state.by_id.get(id)
        if thing is None:
            return None
        if not isinstance(thing, Node) or thing.kind != entry.kind or thing.revoked:
            what = "a revoked key" if isinstance(thing, Node) and thing.revoked else f"a {kind_of(thing)}"
            self._draft.wrong((*entry.path, "id"), f"is that of {what}")
            return None
        return thing

    def _put(self, entry: Entry, old: Node | None, parent: str) -> Node:
        """The node at its place, with nothing of what the entry says but its name."""
        if old is not None:
            stays = (old.name, old.parent) == (entry.name, parent)
            new = old if stays else replace(old, name=entry.name, parent=parent)
        else:
            id = (
                self._org if entry.kind == "organization" else entry.said.id or self._draft.new_id(entry.kind)
            )
            new = Node(id, entry.kind, parent, entry.name, created_at=self._draft.now)
        self._draft.after[new.id] = new
        return new

    def _remove_node(self, kind: Kind, node: Node) -> None:
        where = self._draft.called(node)
        phase = "projects removed" if kind == "project" else "teams removed"
        for key in self._state.nodes("key", node.id):
            self._draft.step(phase, "remove", key, None, where)
        self._draft.gone.add(node.id)
        self._draft.step(phase, "remove", node, None, where)
