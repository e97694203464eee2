"""A plan while it is made: its steps by phase, what there will be, and what is wrong."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

from ..errors import Problem
from ..tenancy.documents import Thing, kind_of
from ..tenancy.keys import IdKind
from ..tenancy.nodes import Node
from ..tenancy.people import Group, Role
from .entries import Entry, Path, dotted
from .model import ChannelEntry, OrganizationFile
from .plans import Action, Step
from .state import State

PHASES = (
    "organizations", "roles", "projects removed", "teams", "moves", "teams removed", "projects", "groups", "members",
    "keys", "channels", "members removed", "groups removed", "keys removed", "channels removed", "roles removed",
)  # fmt: skip
"""In this order what is needed is there, and what is in the way is gone."""


class Draft:
    """What all parts of the planning have.

    after  the nodes that there will be of those that the file says, by id
    gone   ids of nodes that will be taken away
    names  what ids are called in the plan
    """

    def __init__(
        self, file: OrganizationFile, state: State, org: str, now: int, new_id: Callable[[IdKind], str]
    ) -> None:
        self.file = file
        self.state = state
        self.org = org
        self.now = now
        self.new_id = new_id
        self.problems: list[Problem] = []
        self.unchanged = 0
        self.after: dict[str, Node] = {}
        self.gone: set[str] = set()
        self.names: dict[str, str] = {}
        self._steps: dict[str, list[Step]] = defaultdict(list)
        self._where: dict[str, str] = {}

    def steps(self, phase: str | None = None) -> Iterable[Step]:
        """Those of a phase, or all in their order."""
        return [step for each in ([phase] if phase else PHASES) for step in self._steps[each]]

    def standing(self) -> dict[str, Node]:
        """The nodes that there will be, keys apart, by id."""
        there = (thing for thing in self.state.by_id.values() if isinstance(thing, Node))
        found = {node.id: node for node in there} | self.after
        return {id: node for id, node in found.items() if node.kind != "key" and id not in self.gone}

    def called(self, node: Node) -> str:
        """A node as the file calls it."""
        if node.id not in self._where:
            parent = self.after.get(node.parent) or self.state.node(node.parent)
            lead = f"{parent.name}/" if node.kind == "project" and parent and parent.kind == "team" else ""
            self._where[node.id] = f"{lead}{node.name}"
        return self._where[node.id]

    def name_places(self) -> None:
        """What ids are called in the plan."""
        for thing in (*self.state.by_id.values(), *self.after.values()):
            if isinstance(thing, Node) and thing.kind != "key":
                self.names[thing.id] = self.called(self.after.get(thing.id, thing))
            elif isinstance(thing, Group | Role):
                self.names[thing.id] = thing.name

    def changed(self, phase: str, old: Thing | None, new: Thing, where: str, at: Entry | Path) -> None:
        """A thing that becomes another one, or is made."""
        if old is None:
            self.step(phase, "create", None, new, where, at)
        elif old == new:
            self.unchanged += 1
        else:
            self.step(phase, "change", old, new, where, at)

    def step(
        self,
        phase: str,
        action: Action,
        before: Thing | None,
        after: Thing | None,
        where: str,
        at: Entry | Path = (),
        channel: ChannelEntry | None = None,
    ) -> None:
        """One step more."""
        path = at.path if isinstance(at, Entry) else at
        said = at.said if isinstance(at, Entry) else None
        thing = after if after is not None else before
        assert thing is not None  # noqa: S101  # one of the two is given
        step = Step(action, kind_of(thing), before, after, where, path, channel, said, self.names)
        self._steps[phase].append(step)

    def wrong(self, path: Path, message: str) -> None:
        """Something that does not go with what is there."""
        self.problems.append(Problem(dotted(path), message))
