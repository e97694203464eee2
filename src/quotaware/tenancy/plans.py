"""From documents to counters: which limits bear on one kind of call, as a store counts them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import NamedTuple

from ..core.limits import Limit, bearing
from ..core.steps import CONCURRENCY, COST, REMEMBER_MS, REQUESTS, TOKENS, Counter, Plan
from .nodes import Node, Path

KEEP_MS = REMEMBER_MS + 86_400_000
"""How long a calendar window's counters are kept after its end: while a call of it can settle or be corrected."""

_MODES = ("hard", "shadow", "soft")
"""What counts where limits of one shape have one amount too, first."""
_LINE = {"requests": REQUESTS, "tokens": TOKENS, "cost": COST, "concurrency": CONCURRENCY}


class Meaning(NamedTuple):
    """The limit behind a counter's cap, and the node that it stands on."""

    limit: Limit
    node: Node


@dataclass(frozen=True, slots=True)
class Policy:
    """A plan with what its counters mean.

    until    ms at which a calendar window of it ends, so that it must be made anew; 0: never
    caps     (counter key, cap) → meaning
    budgets  the hard limits on cost: (counter key, cap)
    """

    plan: Plan
    until: int
    caps: dict[tuple[str, int], Meaning]
    budgets: tuple[tuple[str, int], ...]


def compile_policy(path: Path, model: str | None, end_user: str | None, now: int) -> Policy:
    """The counters of everything on the path, narrowest first, in the windows of `now` ms.

    Limits of one shape on one node share a counter, since they count the same; the strictest hard cap decides, the
    others are watched.
    """
    lines: list[tuple[Counter, int]] = []
    caps: dict[tuple[str, int], Meaning] = {}
    budgets: list[tuple[str, int]] = []
    ends: list[int] = []
    for node in path.nodes:
        shapes: dict[str, list[Limit]] = {}
        for limit in bearing(node.limits, model, end_user):
            shapes.setdefault(limit.shape, []).append(limit)
        for shape, limits in shapes.items():
            limits.sort(key=lambda limit: (_MODES.index(limit.mode), limit.amount))
            first = limits[0]
            counter = _counter(node, shape, limits, end_user, path.zone, now)
            lines.append((counter, _LINE[first.metric]))
            for limit in limits:
                caps.setdefault((counter.key, limit.amount), Meaning(limit, node))
            if counter.hard and first.metric == "cost":
                budgets.append((counter.key, counter.cap))
            if counter.until:
                ends.append(counter.until)
    plan = Plan(path.org, path.rev, path.ids, tuple(lines))
    return Policy(plan, min(ends, default=0), caps, tuple(budgets))


def _counter(
    node: Node, shape: str, limits: list[Limit], end_user: str | None, zone: str, now: int
) -> Counter:
    first = limits[0]
    window = first.window
    key = f"{node.id}/{shape}"
    if first.per == "end_user" and end_user is not None:
        key += "/" + hashlib.sha256(end_user.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    since = until = span = 0
    keep = -1
    if window is not None:
        span = window.length_ms
        since, until = window.bounds(now, zone)
        keep = until + KEEP_MS if until else 0
        if until:
            key += f"@{since}"
    watch = tuple(dict.fromkeys(limit.amount for limit in limits[1:] if limit.mode != "hard"))
    return Counter(key, first.amount, first.mode == "hard", watch, span, since, until, keep)
