"""Where nodes stand, and how much of their limits is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ..core.limits import Limit
from ..core.steps import COST, Counter, Peek, Plan
from ..core.terms import amount_of
from ..errors import StoreError
from .keys import Kind, could_be_a_name, is_id
from .nodes import Node, Path
from .plans import counter_of, in_force
from .tree import Tree

LOOKS = 20
"""How often a node is read again because it changed before its counters were looked at."""

_CHANGING: dict[Kind, str] = {"key": "api_key:create:limited"}
"""What it takes to change the limits of a node, where it is not quota:manage."""

Totals = Mapping[str, tuple[int, int]]


class Figures(NamedTuple):
    """A limit of a node, and where it stands.

    amount     what is in force: the limit's own, or an override's (nano-dollars for cost)
    used, held   None for a limit that each end user has of their own
    until      ms at which its calendar window ends; None where there is none
    """

    limit: Limit
    amount: int
    used: int | None
    held: int | None
    until: int | None


class Standing(Tree):
    """Nodes: where they stand, and their figures."""

    def above(self, org: str, id: str) -> dict[Kind, str]:
        """The ids of a node and of all above it, by kind. Takes nothing."""
        return {node.kind: node.id for node in self._path(org, id).nodes}

    def child(self, org: str, kind: Kind, parent: str, name: str) -> str | None:
        """The id of the node of this name right below another, None where there is none. Takes nothing."""
        self._inside(org)
        if not (is_id(parent) and could_be_a_name(name)):
            return None
        found = self._store.children(org, kind, parent, name, "", 1)
        return found[0].id if found else None

    def figures(self, org: str, id: str) -> tuple[Node, tuple[Figures, ...]]:
        """A node and its limits, with what is used and held of them now. Takes what it takes to look at the node, or to
        change it.
        """
        for _ in range(LOOKS):
            path = self._path(org, id)
            self._may_look(path)
            found = self._figures(path)
            if found is not None:
                return path.nodes[0], found
        raise StoreError(f"'{id}' kept changing while it was looked at")

    def figures_of(self, org: str, ids: Iterable[str]) -> dict[str, tuple[Figures, ...]]:
        """The figures of many nodes, looked at in one step of the store. A node that is gone is not there. Takes of
        each what `figures` takes.
        """
        self._inside(org)
        paths = list(self._directory.load_all(org, filter(is_id, ids)).values())
        for path in paths:
            self._may_look(path)
        asked = [self._asked(path) for path in paths]
        found = {}
        for path, counters, result in zip(paths, asked, self._peek(org, paths, asked), strict=True):
            told = self._told(path, counters, *result)
            found[path.nodes[0].id] = self.figures(org, path.nodes[0].id)[1] if told is None else told
        return found

    def _may_look(self, path: Path) -> None:
        if not self._actor.may(_CHANGING.get(path.nodes[0].kind, "quota:manage"), path.ids):
            self._seen(path)

    def _figures(self, path: Path) -> tuple[Figures, ...] | None:
        """None where the path has changed meanwhile."""
        counters = self._asked(path)
        ((stale, totals),) = self._peek(path.org, [path], [counters])
        return self._told(path, counters, stale, totals)

    def _asked(self, path: Path) -> dict[str, Counter]:
        """The counters of a node's limits, by shape."""
        node, now = path.nodes[0], self._clock()
        counters = {}
        for shape in dict.fromkeys(limit.shape for limit in node.limits if limit.per is None):
            same, _ = in_force(node, [limit for limit in node.limits if limit.shape == shape], now)
            counters[shape] = counter_of(path, node, same, None, now)
        return counters

    def _peek(
        self, org: str, paths: Sequence[Path], asked: Sequence[Mapping[str, Counter]]
    ) -> list[tuple[bool, Totals]]:
        """Whether each path has changed, and what is used and held of the counters."""
        plans = [
            Plan(path.org, path.rev, path.deps, tuple((counter, COST) for counter in counters.values()))
            for path, counters in zip(paths, asked, strict=True)
        ]
        if not plans:
            return []
        answer = self._store.apply({org: [Peek(plan) for plan in plans]}, self._store.deadline)[org]
        if isinstance(answer, StoreError):
            raise answer
        return [(result.verdict == "stale", answer.totals) for result in answer.results]

    def _told(
        self, path: Path, counters: Mapping[str, Counter], stale: bool, totals: Totals
    ) -> tuple[Figures, ...] | None:
        if stale:
            return None
        node, now = path.nodes[0], self._clock()
        found = []
        for limit in node.limits:
            amount, _ = amount_of(node.overrides, limit.shape, limit.amount, now)
            counter = counters.get(limit.shape)
            if counter is None:
                found.append(Figures(limit, amount, None, None, None))
            else:
                used, held = totals.get(counter.key, (0, 0))
                found.append(Figures(limit, amount, used, held, counter.until or None))
        return tuple(found)
