"""Where nodes stand, and how much of their limits is used."""

from __future__ import annotations

from typing import NamedTuple

from ..core.limits import Limit
from ..core.steps import COST, Peek, Plan
from ..core.terms import amount_of
from ..errors import StoreError
from .keys import Kind
from .nodes import Node, Path
from .plans import counter_of, in_force
from .tree import Tree

LOOKS = 20
"""How often a node is read again because it changed before its counters were looked at."""

_CHANGING: dict[Kind, str] = {"key": "api_key:create:limited"}
"""What it takes to change the limits of a node, where it is not quota:manage."""


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
        if not name.isprintable():
            return None
        found = self._store.children(org, kind, parent, name, "", 1)
        return found[0].id if found else None

    def figures(self, org: str, id: str) -> tuple[Node, tuple[Figures, ...]]:
        """A node and its limits, with what is used and held of them now. Takes what it takes to look at the node, or to
        change it.
        """
        for _ in range(LOOKS):
            path = self._path(org, id)
            if not self._actor.may(_CHANGING.get(path.nodes[0].kind, "quota:manage"), path.ids):
                self._seen(path)
            found = self._figures(path)
            if found is not None:
                return path.nodes[0], found
        raise StoreError(f"'{id}' kept changing while it was looked at")

    def _figures(self, path: Path) -> tuple[Figures, ...] | None:
        """None where the path has changed meanwhile."""
        node, now = path.nodes[0], self._clock()
        counters = {}
        for shape in dict.fromkeys(limit.shape for limit in node.limits if limit.per is None):
            same, _ = in_force(node, [limit for limit in node.limits if limit.shape == shape], now)
            counters[shape] = counter_of(path, node, same, None, now)
        plan = Plan(path.org, path.rev, path.deps, tuple((counter, COST) for counter in counters.values()))
        answer = self._store.apply({path.org: [Peek(plan)]}, self._store.deadline)[path.org]
        if isinstance(answer, StoreError):
            raise answer
        if answer.results[0].verdict == "stale":
            return None
        found = []
        for limit in node.limits:
            amount, _ = amount_of(node.overrides, limit.shape, limit.amount, now)
            counter = counters.get(limit.shape)
            if counter is None:
                found.append(Figures(limit, amount, None, None, None))
            else:
                used, held = answer.totals.get(counter.key, (0, 0))
                found.append(Figures(limit, amount, used, held, counter.until or None))
        return tuple(found)
