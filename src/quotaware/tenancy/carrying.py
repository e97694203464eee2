"""Since when a limit that carries over is as it is: what a period leaves in which nothing was called.

Such a period has no counter. All of its budget is left then, if the limit stood as it does now before the period ended;
what it might have been given itself by the one before is not reckoned.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ..core.limits import Limit
from ..core.terms import amount_of
from .nodes import Node


def dated(old: Node | None, new: Node, now: int) -> Node:
    """A node with the ms since which each of its limits that carry over is as it is, and the zone of its windows."""
    was = dict(new.carry_since)
    since = tuple(
        (
            shape,
            was[shape] if shape in was and (old is None or _said(old, shape) == _said(new, shape)) else now,
        )
        for shape in dict.fromkeys(limit.shape for limit in new.limits if limit.carryover)
    )
    zone_since = now if old is not None and old.zone != new.zone else new.zone_since
    if (since, zone_since) == (new.carry_since, new.zone_since):
        return new
    return replace(new, carry_since=since, zone_since=zone_since)


def idle(node: Node, limit: Limit, root: Node, before: int, begin: int) -> int:
    """What of a node's limit a period without a call leaves that was [before, begin) ms; `root`: the organization."""
    since = dict(node.carry_since).get(limit.shape)
    if since is None or since >= begin or root.zone_since > before:
        return 0
    same = (each for each in node.limits if each.shape == limit.shape and each.mode == limit.mode)
    least = min((each.amount for each in same), default=0)
    amount, _ = amount_of(node.overrides, limit.shape, least, begin - 1)
    return amount


def _said(node: Node, shape: str) -> Any:
    limits = [limit for limit in node.limits if limit.shape == shape]
    return limits, [override for override in node.overrides if override.limit == shape]
