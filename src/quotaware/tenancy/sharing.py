"""Allocation: a parent's budget is shared out among its children, in one write or not at all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from ..core.alerts import SHARE, STOPS, Action, Alert
from ..core.limits import Limit
from ..core.windows import Window
from ..errors import ConfigurationError
from .budgets import budgets, children, set_anew
from .documents import from_doc
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
_CHILDREN: dict[Kind, tuple[Kind, ...]] = {"organization": ("team", "project"), "team": ("project",)}
"""What stands below a node that is shared out; the first is what is made for a target that is not there."""
_FIELDS = {"name": "target", "limits": "carryover"}
"""Fields of a child, as its share has them."""


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


class Allocated(NamedTuple):
    """A node, its children, and by window: its budget (None: it has none) and what of it they have, nano-dollars."""

    parent: Node
    children: tuple[Node, ...]
    sums: Mapping[str, tuple[int | None, int]]


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
            self._require("quota:manage", path)
            if path.nodes[0].kind not in _CHILDREN:
                raise ConfigurationError("team_id", "names an organization or a team")
            before: list[Node] = []
            after: list[Node] = []
            resume: list[str] = []
            for number, (share, ids) in enumerate(zip(shares, made, strict=True)):
                try:
                    old, new, again = self._shared(path, share, enforcement, ids, after)
                except ConfigurationError as error:
                    field = _FIELDS.get(error.field, error.field)
                    raise ConfigurationError(
                        f"allocations[{number}].{field}", str(error).partition(": ")[2]
                    ) from None
                before += [old] if old is not None else []
                after.append(new)
                resume += [new.id] if again else []
            self._within_budget(path, before, after)
            return Edit(
                f"{path.nodes[0].kind}.allocate", path.rev, tuple(before), tuple(after), tuple(resume)
            )

        done = self._commit(org, "node.allocate", node, draft).after
        return tuple(thing for thing in done if isinstance(thing, Node))

    def allocated(self, org: str, node: str) -> Allocated:
        """A node with its children, and what of its budgets they have. Takes quota:read."""
        path = self._path(org, node)
        self._require("quota:read", path)
        parent = path.nodes[0]
        if parent.kind not in _CHILDREN:
            raise ConfigurationError("team_id", "names an organization or a team")
        below = tuple(sorted(children(self._store, org, parent), key=lambda child: child.id))
        given: Counter[str] = Counter()
        for child in below:
            given.update({window: limit.amount for window, limit in budgets(child).items()})
        own = {window: limit.amount for window, limit in budgets(parent).items()}
        return Allocated(
            parent, below, {window: (own.get(window), given[window]) for window in {**own, **given}}
        )

    def _shared(
        self, path: Path, share: Share, enforcement: Enforcement, ids: tuple[str, str], others: Sequence[Node]
    ) -> tuple[Node | None, Node, bool]:
        """A child before and after its share, and whether it runs again where a threshold had stopped it."""
        old = self._target(path.org, path.nodes[0], share.target)
        base = old or self._new_target(path, share.target, ids)
        if any(base.id == each.id or (base.kind, base.name) == (each.kind, each.name) for each in others):
            raise ConfigurationError("target", f"{share.target!r} is named twice")
        new = set_anew(base, _with_share(base, share, enforcement))
        self._check_new(path, new)
        if old is None:
            return None, new, False
        own = Path(path.org, path.rev, (old, *path.nodes))
        self._above_children(own, old, new)
        edit = self._edit("allocate", own, new, {"limits": new.limits})
        return old, self._made(edit), bool(edit.resume)

    def _target(self, org: str, parent: Node, target: str) -> Node | None:
        kinds = _CHILDREN[parent.kind]
        if is_id(target):
            _, (doc,) = self._store.read(org, (target,))
            if doc is not None and doc.kind in kinds and doc.parent == parent.id:
                return from_doc(doc)
            if doc is not None:  # a new child that is called as another thing's id would be taken for that
                raise ConfigurationError("target", f"'{target}' is no child of {parent.kind} '{parent.name}'")
        named = [doc for kind in kinds for doc in self._all(org, kind, parent.id, name=target)]
        return from_doc(named[0]) if named else None

    def _new_target(self, path: Path, target: str, ids: tuple[str, str]) -> Node:
        parent = path.nodes[0]
        kind = _CHILDREN[parent.kind][0]
        self._require("team:create" if kind == "team" else "quota:manage", path)
        return self._node(kind, ids[0] if kind == "team" else ids[1], parent.id, target)


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
    wanted: dict[Action, bool] = {
        "email": enforcement.notify or not enforcement.hard,
        "close": enforcement.disable,
    }
    kept = tuple(each for each in node.alerts if not (_on_whole(each, limit) and each.action in wanted))
    alerts = tuple(
        Alert(action, share=SHARE, limit=limit.shape) for action, is_wanted in wanted.items() if is_wanted
    )
    return replace(node, limits=(*others, limit), alerts=(*kept, *alerts))


def enforced(node: Node, limit: Limit) -> Enforcement:
    """What is said and done when this budget of a node is used up."""
    actions = {each.action for each in node.alerts if _on_whole(each, limit)}
    return Enforcement(limit.mode == "hard", bool(actions - STOPS), "close" in actions)


def _on_whole(alert: Alert, limit: Limit) -> bool:
    return alert.kind == "used" and alert.limit == limit.shape and alert.share == SHARE
