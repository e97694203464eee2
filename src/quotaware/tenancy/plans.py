"""From documents to counters: which limits bear on one kind of call, as a store counts them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple

from ..core.alerts import SHARE, STOPS, Alert
from ..core.limits import Limit, bearing
from ..core.models import Model
from ..core.prices import PriceBook
from ..core.steps import CONCURRENCY, COST, REMEMBER_MS, REQUESTS, TOKENS, Counter, Over, Plan
from ..core.terms import PriceRule, amount_of, prices_of
from .carrying import idle
from .nodes import Node, Path

KEEP_MS = REMEMBER_MS + 86_400_000
"""How long a calendar window's counters are kept after the next one's end, which may be reckoned from them: while a
call can settle or be corrected. It is the same for all of a unit, carried over or not, since that may change meanwhile.
"""

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
    prices   what the organization says of what models cost, as it is in force
    project  id of the project it is of; of what stands in its place, where there is none; "" where nobody is known
    carried  those of the budgets to which what was left of the last period is added, None where there are none
    """

    plan: Plan
    until: int
    caps: dict[tuple[str, int], Meaning]
    budgets: tuple[tuple[str, int], ...]
    prices: PriceBook | None = None
    carried: Plan | None = None
    project: str = ""

    def meaning(self, over: Over) -> Meaning:
        """The limit behind a cap that a call does not fit. The deciding one's may be more than its limit says, by what
        was carried over; it stands first among those of its counter.
        """
        found = None if over.hard else self.caps.get((over.counter, over.cap))
        return found or next(meaning for (key, _), meaning in self.caps.items() if key == over.counter)


def compile_policy(path: Path, models: Sequence[Model], end_user: str | None, now: int) -> Policy:
    """The counters of everything on the path that bears on a call which any of `models` may serve, narrowest first, in
    the windows of `now` ms; those of a key's makers last.

    Limits of one shape on one node share a counter, since they count the same; the strictest hard cap decides, the
    others are watched.
    """
    lines: list[tuple[Counter, int]] = []
    caps: dict[tuple[str, int], Meaning] = {}
    budgets: list[tuple[str, int]] = []
    ends: list[int] = []
    for node in (*path.nodes, *path.makers):
        shapes: dict[str, list[Limit]] = {}
        for limit in bearing(node.limits, models, end_user):
            shapes.setdefault(limit.shape, []).append(limit)
        for same in shapes.values():
            limits, change = in_force(node, same, now)
            counter = counter_of(path, node, limits, end_user, now)
            lines.append((counter, _LINE[limits[0].metric]))
            for limit in limits:
                caps.setdefault((counter.key, limit.amount), Meaning(limit, node))
            if counter.hard and limits[0].metric == "cost":
                budgets.append((counter.key, counter.cap))
            ends += [end for end in (counter.until, change) if end]
    plan = Plan(path.org, path.rev, path.deps, tuple(lines))
    rules, change = prices_of(path.organization.prices if path.nodes else (), now)
    ends += [change] if change else []
    keys = {key for key, _ in budgets}
    carried = tuple(line for line in lines if line[0].carry is not None and line[0].key in keys)
    of_carried = replace(plan, lines=carried) if carried else None
    return Policy(plan, min(ends, default=0), caps, tuple(budgets), book_of(rules), of_carried, _place(path))


def _place(path: Path) -> str:
    return path.project.id if path.project else path.nodes[0].id if path.nodes else ""


@lru_cache(256)
def book_of(rules: tuple[PriceRule, ...]) -> PriceBook | None:
    """Where what an organization says of prices is found; of two rules for one model the last one counts."""
    return PriceBook({rule.model: rule.price() for rule in rules}) if rules else None


def in_force(node: Node, limits: list[Limit], now: int) -> tuple[list[Limit], int]:
    """Limits of one shape with the amounts that they have now, the deciding one first; and the ms at which that may
    change (0: never).
    """
    change = 0
    if any(override.limit == limits[0].shape for override in node.overrides):
        amount, change = amount_of(node.overrides, limits[0].shape, limits[0].amount, now)
        if amount != limits[0].amount:
            limits = [replace(limits[0], amount=amount)]
    return sorted(limits, key=lambda limit: (_MODES.index(limit.mode), limit.amount)), change


def counter_of(path: Path, node: Node, limits: list[Limit], end_user: str | None, now: int) -> Counter:
    """The counter of limits of one shape on a node of the path, in the window of `now`. A key that took the place of
    another goes on with that one's.
    """
    first = limits[0]
    window = first.window
    key = f"{node.origin or node.id}/{first.shape}"
    if first.per == "end_user" and end_user is not None:
        key += "/" + hashlib.sha256(end_user.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    since = until = span = 0
    keep = -1
    carry, left = None, 0
    if window is not None:
        span = window.length_ms
        since, until = window.bounds(now, path.zone)
        keep = until + window.period_ms + KEEP_MS if until else 0
        if until:
            if first.carryover:
                before = window.bounds(since - 1, path.zone)[0]
                carry = f"{key}@{before}"
                left = idle(node, first, path.organization, before, since)
            key += f"@{since}"
    watch = tuple(dict.fromkeys(limit.amount for limit in limits[1:] if limit.mode != "hard"))
    marks = tuple(
        alert.mark(node.id, first, first.amount, until)
        for alert in alerts_on(path, node, first)
        if not (carry is not None and first.mode == "hard" and closes_whole(alert, first))
    )  # what closes only with all that was carried over is decided where a call is refused
    return Counter(
        key, first.amount, first.mode == "hard", watch, span, since, until, keep, marks, carry, left
    )


def closes_whole(alert: Alert, limit: Limit) -> bool:
    """Whether an alert closes its node once this budget is used up as a whole."""
    return alert.action == "close" and is_whole(alert, limit) and alert.bears_on(limit)


def told_when_denied(path: Path, node: Node, limit: Limit) -> list[Alert]:
    """What is due when a limit of a node of the path keeps a call out: its alerts on denials, and of a hard budget
    those that are due once it is used up, which it hardly ever is to the last nano-dollar.
    """
    denied = [alert for alert in node.alerts if alert.kind == "denied" and alert.bears_on(limit)]
    if limit.metric != "cost" or limit.mode != "hard":
        return denied
    whole = (each for each in alerts_on(path, node, limit) if is_whole(each, limit))
    return [*denied, *(each for each in whole if each.action not in STOPS)]


def is_whole(alert: Alert, limit: Limit) -> bool:
    """Whether an alert is due once all of this limit is used, as it was set."""
    whole = alert.amount == limit.amount if alert.share is None else alert.share == SHARE
    return alert.kind == "used" and whole


def alerts_on(path: Path, node: Node, limit: Limit) -> list[Alert]:
    """The thresholds on a limit of a node: its own, or the organization's for budgets that have none."""
    own = [alert for alert in node.alerts if alert.kind == "used" and alert.bears_on(limit)]
    share = path.organization.alert_threshold if path.nodes else None
    if not own and share:
        usual = Alert("email", share=share)
        return [usual] if usual.bears_on(limit) else []
    return own
