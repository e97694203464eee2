"""Allocation: a parent's budget is shared out among its children, in one write or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..core.alerts import SHARE, Alert
from ..core.limits import Limit
from ..core.windows import Window
from ..errors import ConfigurationError
from .keys import Kind, is_id, new_id
from .nodes import Node, Path
from .tree import Tree
from .writes import Edit

PERIODS = {
    "hourly": "calendar hour",
    "daily": "day",
    "weekly": "week",
    "monthly": "month",
    "quarterly": "quarter",
    "yearly": "year",
    "never": "life",
}
"""The window of a reset period."""


@dataclass(frozen=True, slots=True)
class Share:
    """What a child gets: `amount` nano-dollars a `period` (of `PERIODS`). `target` is its name or id; it is made if
    there is none.
    """

    target: str
    amount: int
    period: str = "monthly"
    carryover: bool = False


@dataclass(frozen=True, slots=True)
class Enforcement:
    """hard: calls over the budget are refused, else only told; notify: it is told when a budget is used up; disable:
    the child is closed then, until somebody enables it.
    """

    hard: bool = True
    notify: bool = True
    disable: bool = False


class Sharing(Tree):
    """Sharing out."""

    def allocate(
        self, org: str, node: str, shares: Sequence[Share], enforcement: Enforcement = Enforcement()
    ) -> tuple[Node, ...]:
        """Sets the budgets of a node's children: teams of an organization, projects of a team. Takes quota:manage, and
        quota:override where they come to more than the node has itself.
        """
        for number, share in enumerate(shares):
            if share.period not in PERIODS:
                raise ConfigurationError(
                    f"allocations[{number}].reset_period", f"is one of {', '.join(PERIODS)}"
                )
        made = [(new_id("team"), new_id("project")) for _ in shares]

        def draft() -> Edit:
            path = self._path(org, node)
            parent = path.nodes[0]
            self._require("quota:manage", path)
            if parent.kind not in ("organization", "team"):
                raise ConfigurationError("team_id", "names an organization or a team")
            before: list[Node] = []
            after: list[Node] = []
            resume: list[str] = []
            for share, ids in zip(shares, made, strict=True):
                old = self._target(org, parent, share.target)
                base = old or self._new_target(path, share.target, ids)
                if any(base.id == each.id for each in after):
                    raise ConfigurationError("target", f"{share.target!r} is named twice")
                new = _with_share(base, share, enforcement)
                self._check_new(path, new)
                if old is not None:
                    before.append(old)
                    self._above_children(Path(org, path.rev, (old, *path.nodes)), old, new)
                    if self._runs_again(Path(org, path.rev, (old, *path.nodes)), new, {"limits": new.limits}):
                        resume.append(new.id)
                        new = replace(new, stopped=None)
                after.append(new)
            self._within_budget(path, before, after)
            return Edit(f"{parent.kind}.allocate", path.rev, tuple(before), tuple(after), tuple(resume))

        return tuple(thing for thing in self._commit(org, draft).after if isinstance(thing, Node))

    def _target(self, org: str, parent: Node, target: str) -> Node | None:
        kind = _child_kind(parent)
        if is_id(target):
            _, (doc,) = self._store.read(org, (target,))
            if doc is not None and doc.kind in ("team", "project") and doc.parent == parent.id:
                return self._as_node(doc)
        named = self._store.children(org, kind, parent.id, target, "", 1)
        return self._as_node(named[0]) if named else None

    def _new_target(self, path: Path, target: str, ids: tuple[str, str]) -> Node:
        parent = path.nodes[0]
        kind = _child_kind(parent)
        self._require("team:create" if kind == "team" else "quota:manage", path)
        return self._node(kind, ids[0] if kind == "team" else ids[1], parent.id, target)


def _child_kind(parent: Node) -> Kind:
    return "team" if parent.kind == "organization" else "project"


def _with_share(node: Node, share: Share, enforcement: Enforcement) -> Node:
    """The node with its budget of that period, and what is said or done when it is used up."""
    limit = Limit(
        "cost",
        share.amount,
        Window.parse(PERIODS[share.period]),
        mode="hard" if enforcement.hard else "soft",
        carryover=share.carryover,
    )
    others = tuple(each for each in node.limits if each.shape != limit.shape)
    wanted = {"email": enforcement.notify or not enforcement.hard, "close": enforcement.disable}
    kept = tuple(each for each in node.alerts if not (each.limit == limit.shape and each.share == SHARE))
    alerts = tuple(
        Alert("close" if action == "close" else "email", share=SHARE, limit=limit.shape)
        for action, is_wanted in wanted.items()
        if is_wanted
    )
    return replace(node, limits=(*others, limit), alerts=(*kept, *alerts))
