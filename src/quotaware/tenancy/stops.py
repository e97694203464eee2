"""Nodes that a threshold stopped: when they run again, and that none is stopped by what does not hold any more."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping

from ..core.alerts import STOPS, Stop
from ..core.limits import Limit
from ..core.money import MAX_AMOUNT
from ..core.steps import COST, NOTHING, Answer, Counter, Op, Peek, Plan, Reserve
from ..errors import Conflict, StoreError
from ..stores.protocol import Change, Clock, Store
from .directory import Directory
from .nodes import Node, Path
from .plans import alerts_on, closes_whole, counter_of, in_force

TRIES = 100
PROBE = MAX_AMOUNT // 2
"""What is asked for to hear of the cap of a counter: more than is ever left of one."""


def runs_again(store: Store, path: Path, new: Node, changes: Mapping[str, object], now: int) -> bool:
    """Whether a change of a node, the first of the path, lets it run again that a threshold stopped: it was enabled, or
    a `disable` is not reached any more.
    """
    old = path.nodes[0]
    if old.stopped is None:
        return False
    if changes.get("enabled"):
        return True
    stop = Stop.read(old.stopped)
    if stop.action != "disable" or not changes.keys() & {"limits", "alerts", "overrides"}:
        return False
    changed = Path(path.org, path.rev, (new, *path.nodes[1:]), path.people)
    carried = carried_over(store, path, stop.limit, now)
    return stop.over(now) or not _reached(store, changed, stop.limit, now, carried)


def closes(limit: Limit, node: Node) -> bool:
    """Whether a node is to be closed once this hard budget of its is used up."""
    return limit.metric == "cost" and any(closes_whole(alert, limit) for alert in node.alerts)


def rules_changed(old: Node, new: Node) -> bool:
    """Whether thresholds that stop a node are not what they were."""
    if not any(alert.action in STOPS for alert in (*old.alerts, *new.alerts)):
        return False
    return (old.limits, old.alerts, old.overrides) != (new.limits, new.alerts, new.overrides)


def rearmed(store: Store, directory: Directory, org: str, id: str, clock: Clock) -> bool:
    """Gives the store the thresholds of a node as they are now, and lets the node run again if one stopped it in
    between that is not reached. False where it kept changing.
    """
    for _ in range(TRIES):
        now = clock()
        path = directory.load(org, id)
        lines = tuple((counter, COST) for _, counter in _counters(path, now))
        if _peek(store, Plan(org, path.rev, path.deps, lines)).results[0].verdict != "done":
            continue
        path = directory.load(org, id)
        node = path.nodes[0]
        if node.stopped is None:
            return True
        shape = Stop.read(node.stopped).limit
        if _reached(store, path, shape, now, carried_over(store, path, shape, now)):
            return True
        try:
            store.commit(org, Change(path.rev, resume=(id,), audit=""))
        except Conflict:
            continue
        directory.forget(org, id)
        return True
    return False


def carried_over(store: Store, path: Path, shape: str, now: int) -> int:
    """What was carried over to the limit of this shape on the first node of a path, as the store has it. Raises
    StoreError.
    """
    for limits, counter in _counters(path, now):
        if limits[0].shape == shape and counter.carry is not None:
            plan = Plan(path.org, 0, (), ((counter, COST),))
            id = f"{now:012x}{secrets.token_hex(10)}"
            answer = _ask(store, path.org, Reserve(id, plan, (0, PROBE, 0), NOTHING, 0, "", dry=True))
            over = answer.results[0].over
            return max(0, over[0].cap - counter.cap) if over else 0
    return 0


def _reached(store: Store, path: Path, shape: str, now: int, carried: int) -> bool:
    """Whether so much is used of the limit of this shape, on the first node, that it is to be stopped."""
    for limits, counter in _counters(path, now):
        if limits[0].shape != shape:
            continue
        used, _ = _peek(store, Plan(path.org, 0, (), ((counter, COST),))).totals.get(counter.key, (0, 0))
        node = path.nodes[0]
        stops = (alert for alert in alerts_on(path, node, limits[0]) if alert.action in STOPS)
        return any(used >= stop.at(limits[0].amount, carried) for stop in stops)
    return False


def _counters(path: Path, now: int) -> Iterator[tuple[list[Limit], Counter]]:
    """The limits of the first node, by shape, each with its counter."""
    node = path.nodes[0]
    for shape in dict.fromkeys(limit.shape for limit in node.limits):
        limits, _ = in_force(node, [limit for limit in node.limits if limit.shape == shape], now)
        yield limits, counter_of(path, node, limits, None, now)


def _peek(store: Store, plan: Plan) -> Answer:
    return _ask(store, plan.org, Peek(plan))


def _ask(store: Store, org: str, op: Op) -> Answer:
    found = store.apply({org: [op]}, store.deadline)[org]
    if isinstance(found, StoreError):
        raise found
    return found
