"""What is no wider than something else: models, addresses, limits, and a node against what it was before.

Never True wrongly: where it is not plain to see that something is within another, it is not.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..core.addresses import within as is_inside
from ..core.limits import Limit
from ..core.models import within
from .nodes import Node


def models_within(models: Sequence[str], own: Sequence[str]) -> bool:
    """Whether patterns of models take in none that `own` do not; none at all take in every model."""
    return not own or (bool(models) and all(any(within(each, other) for other in own) for each in models))


def addresses_within(addresses: Sequence[str], own: Sequence[str]) -> bool:
    """The same of addresses and CIDR blocks."""
    return not own or (bool(addresses) and all(is_inside(each, own) for each in addresses))


def limits_within(limits: Iterable[Limit], own: Iterable[Limit]) -> bool:
    """Whether each hard limit of `own` is there, as strict or stricter."""
    there = tuple(limits)
    return all(any(_as_strict(limit, other) for limit in there) for other in own if other.mode == "hard")


def most(node: Node) -> tuple[Limit, ...]:
    """The limits of a node with the most that they are now or will be by an override."""
    return tuple(_at_most(node, limit) for limit in node.limits)


def narrower(old: Node, new: Node) -> bool:
    """Whether a node lets through no more than before, and says no less of it: what whoever stands on it may do to it,
    without a right above it.
    """
    return (
        all(any(_as_strict(limit, other) for limit in new.limits) for other in old.limits)
        and models_within(new.models, old.models)
        and set(old.alerts) <= set(new.alerts)
        and (old.enabled or not new.enabled)
        and old.overrides == new.overrides
    )


def _as_strict(limit: Limit, other: Limit) -> bool:
    return (
        limit.shape == other.shape
        and limit.mode in ("hard", other.mode)
        and limit.amount <= other.amount
        and limit.carryover <= other.carryover
    )


def _at_most(node: Node, limit: Limit) -> Limit:
    amounts = [each.amount for each in node.overrides if each.limit == limit.shape]
    return limit if not amounts else replace(limit, amount=max(limit.amount, *amounts))
