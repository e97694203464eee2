"""How a parent's budget is shared out: what its children have may not come to more than it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

from ..core.limits import Limit
from ..core.money import format_usd, to_usd
from ..errors import InvalidRequest
from ..stores.protocol import Store
from .documents import from_doc
from .nodes import PARENTS, Node

PAGE = 1000


class Shares(NamedTuple):
    """A budget of a parent, and what its children have of it, nano-dollars."""

    parent: Node
    limit: Limit
    given: int

    def error(self, asked: int) -> InvalidRequest:
        """The refusal of what would bring the sum to more than the budget; `asked`: of which so much is new."""
        total = self.given + asked
        return InvalidRequest(
            f"Budgets below {self.parent.kind} '{self.parent.name}' would come to {format_usd(total)} of its "
            f"{format_usd(self.limit.amount)}/{self.limit.window}",
            code="over_allocated",
            fields={
                "errors": [{"field": "limits", "message": "has a budget over what the parent has left"}],
                "window": str(self.limit.window),
                "parent_budget_usd": float(to_usd(self.limit.amount)),
                "allocated_usd": float(to_usd(self.given)),
                "requested_usd": float(to_usd(asked)),
                "available_usd": float(to_usd(max(0, self.limit.amount - self.given))),
            },
        )


def budgets(node: Node) -> dict[str, Limit]:
    """The budgets of a node that are shared out, by window: limits on all of its cost, the hard one where there is one
    and a soft one.
    """
    found = [
        limit
        for limit in node.limits
        if limit.metric == "cost" and limit.models is None and limit.per is None and limit.mode != "shadow"
    ]
    hard = {str(limit.window): limit for limit in found if limit.mode == "hard"}
    return {window: hard.get(window, limit) for limit in found for window in (str(limit.window),)}


def set_anew(old: Node, new: Node) -> Node:
    """A node without the overrides of limits that were just set to something else: what is set holds."""
    was = set(old.limits)
    shapes = {limit.shape for limit in (*old.limits, *new.limits) if (limit in was) != (limit in new.limits)}
    left = tuple(each for each in new.overrides if each.limit not in shapes)
    return new if left == new.overrides else replace(new, overrides=left)


def overdrawn(
    store: Store, org: str, parent: Node, before: list[Node], after: list[Node], now: int
) -> InvalidRequest | None:
    """Why children of a parent may not become `after` where they were `before`, if the sum passes its budget; what only
    gets less is always let through.
    """
    changed = {node.id for node in (*before, *after)}
    for window, limit in budgets(parent).items():
        old, new = (sum(_share(node, window, now) for node in nodes) for nodes in (before, after))
        if new > old:
            given = sum(
                _share(node, window, now) for node in children(store, org, parent) if node.id not in changed
            )
            if given + new > limit.amount:
                return Shares(parent, limit, given).error(new)
    return None


def too_small(store: Store, org: str, before: Node, after: Node, now: int) -> InvalidRequest | None:
    """Why a node's budget may not be lowered (or set) to this: its children have more already."""
    old = budgets(before)
    for window, limit in budgets(after).items():
        if window not in old or limit.amount < old[window].amount:
            given = sum(_share(node, window, now) for node in children(store, org, after))
            if given > limit.amount:
                return Shares(after, limit, given).error(0)
    return None


def children(store: Store, org: str, parent: Node) -> Iterator[Node]:
    """Teams and projects right below a node."""
    for kind, above in PARENTS.items():
        if parent.kind in above and kind != "key":
            after = ""
            while page := store.children(org, kind, parent.id, None, after, PAGE):
                yield from map(from_doc, page)
                after = page[-1].id


def _share(node: Node, window: str, now: int) -> int:
    """What a node has of its parent's budget: what was set, or more where it is overridden now or later."""
    limit = budgets(node).get(window)
    if limit is None:
        return 0
    amounts = (each.amount for each in node.overrides if each.limit == limit.shape and each.until > now)
    return max(limit.amount, *amounts, 0)
