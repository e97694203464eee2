"""Faults as they are really made, each a patch of the real code that the simulator must see through.

Most are the mistakes of ledgers and limiters that were met elsewhere; the last ones were in this project, and the
simulator found them.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from quotaware.admission import Attempt
from quotaware.core import ledger
from quotaware.core.cells import Cell
from quotaware.core.ledger import Ended, View
from quotaware.core.steps import COST, NOTHING, REQUESTS, Extend, Reserve, Result, Settle
from quotaware.stores.guard import Guard
from quotaware.stores.seen import Seen
from quotaware.stores.thread import StoreThread

from .process import Process

Bug = Callable[[], AbstractContextManager[Any]]


def check_then_record() -> AbstractContextManager[Any]:
    """The counters are looked at in one trip and moved in another, so that two callers see the same room."""
    ask = Attempt._ask

    def looks_first(attempt: Attempt, op: Any) -> Any:
        if not isinstance(op, Reserve):
            return (yield from ask(attempt, op))
        result = yield from ask(attempt, replace(op, dry=True))
        if result.verdict != "done":
            return result
        return (yield from ask(attempt, replace(op, force=True)))

    return patch.object(Attempt, "_ask", looks_first)


def no_id_guard() -> AbstractContextManager[Any]:
    """A reserve that the network repeats is taken for a new one."""
    judge = ledger._not_now

    def forgets(view: View, op: Reserve) -> Result | None:
        refused = judge(view, op)
        return None if refused is not None and refused.verdict in {"again", "ended"} else refused

    return patch.object(ledger, "_not_now", forgets)


def settled_twice() -> AbstractContextManager[Any]:
    """A settle that is sent again, since its reply was lost, is charged again."""
    settle = ledger._settle_unknown

    def charges(view: View, op: Settle) -> Result:
        ended = view.ended.get(op.id)
        if ended is not None and ended.how == op.how == "settled":
            for counter, index in op.plan.lines:
                if index != REQUESTS and counter.key in view.cells:
                    view.cells[counter.key].take(counter, view.now, used=op.real[index - 1])
        return settle(view, op)

    return patch.object(ledger, "_settle_unknown", charges)


def expired_twice() -> AbstractContextManager[Any]:
    """Two processes end the same lease, and the hold is given back twice."""
    settle = ledger._settle_unknown

    def gives_back(view: View, op: Settle) -> Result:
        ended = view.ended.get(op.id)
        if ended is not None and ended.was is not None and op.how == "expired":
            for counter, index in op.plan.lines:
                cell = view.cells.get(counter.key)
                if index != REQUESTS and cell is not None:
                    cell.held = max(0, cell.held - ended.was.hold[index - 1])
        return settle(view, op)

    return patch.object(ledger, "_settle_unknown", gives_back)


def lease_not_extended() -> AbstractContextManager[Any]:
    """A call that outlives its lease is taken for dead."""
    trip = StoreThread._trip

    def leaves_out(thread: StoreThread, steps: Any, orgs: Any = ()) -> None:
        trip(thread, [step for step in steps if not isinstance(step.op, Extend)], orgs)

    return patch.object(StoreThread, "_trip", leaves_out)


def resized_to_fit() -> AbstractContextManager[Any]:
    """What does not fit is reserved at what is left, and goes out all the same."""
    step = Attempt._reserve_step

    def shrinks(attempt: Attempt, plan: Any, bound: Any, about: Any) -> Reserve:
        op = step(attempt, plan, bound, about)
        engine = attempt.engine
        left = [
            max(0, counter.cap - sum(engine.totals(counter.key)))
            for counter, index in plan.lines
            if index == COST
        ]
        cost = min([op.hold[COST - 1], *left])
        return replace(op, hold=(op.hold[0], cost, op.hold[2]), on_expiry=NOTHING)

    return patch.object(Attempt, "_reserve_step", shrinks)


def released_after_settle() -> AbstractContextManager[Any]:
    """A late release of a call that was settled gives back what it was charged."""
    settle = ledger._settle_unknown

    def gives_back(view: View, op: Settle) -> Result:
        ended = view.ended.get(op.id)
        if ended is not None and ended.how == "settled" and op.how == "released":
            for counter, index in op.plan.lines:
                cell = view.cells.get(counter.key)
                if index != REQUESTS and cell is not None and not counter.span:
                    cell.used = max(0, cell.used - ended.charged[index - 1])
        return settle(view, op)

    return patch.object(ledger, "_settle_unknown", gives_back)


def stale_policy() -> AbstractContextManager[Any]:
    """Nobody compares the revision under which a call was judged with the one that is in force."""
    return patch.object(ledger, "stale_deps", lambda view, plan: ())


def loss_not_noticed() -> AbstractContextManager[Any]:
    """Nobody compares epoch, sequence and writes: a store that came back older is read as less spent."""
    return patch.object(Seen, "check", lambda seen, org, *met: None)


def no_tombstone() -> AbstractContextManager[Any]:
    """A release that overtakes its reserve is forgotten, and the reserve is granted to nobody."""
    settle = ledger._settle_unknown

    def forgets(view: View, op: Settle) -> Result:
        result = settle(view, op)
        if op.how == "released" and view.ended.get(op.id) == Ended("released"):
            del view.ended[op.id]
        return result

    return patch.object(ledger, "_settle_unknown", forgets)


def settle_not_repeated() -> AbstractContextManager[Any]:
    """A settle that met a store that was away is not sent again."""
    return patch.object(StoreThread, "_keep_for_later", lambda thread, steps: None)


def claims_ignored() -> AbstractContextManager[Any]:
    """Younger calls take what the oldest waiter waits for."""
    return patch.object(Cell, "claimed", lambda cell, id, now: 0)


def refusal_moves_counters() -> AbstractContextManager[Any]:
    """A limit that is met before the one in the way has moved already."""
    reserve = ledger._reserve

    def moves(view: View, op: Reserve) -> Result:
        result = reserve(view, op)
        if result.verdict == "denied":
            for counter, index in op.plan.lines:
                if index == REQUESTS and counter.key in view.cells:
                    view.cells[counter.key].take(counter, view.now, used=1)
        return result

    return patch.object(ledger, "_reserve", moves)


def half_replayed() -> AbstractContextManager[Any]:
    """A replay that is interrupted is never gone on with."""

    mend = Guard._mend

    def forgets(guard: Guard, org: str) -> bool:
        mended = mend(guard, org)
        guard._lost.pop(org, None)
        return mended

    return patch.object(Guard, "_mend", forgets)


def replayed_in_any_order() -> AbstractContextManager[Any]:
    """After a loss each process makes its changes again, also those that another process had changed once more."""
    return patch.object(Guard, "_is_later", lambda guard, org, doc, ours: False)


def lease_by_a_clock_that_is_set() -> AbstractContextManager[Any]:
    """Ages of leases are measured by the time of day."""
    return patch.object(Process, "timer", Process.clock)


PLANTED: dict[str, Bug] = {
    bug.__name__: bug
    for bug in (
        check_then_record,
        no_id_guard,
        settled_twice,
        expired_twice,
        lease_not_extended,
        resized_to_fit,
        released_after_settle,
        stale_policy,
        loss_not_noticed,
        no_tombstone,
        settle_not_repeated,
        claims_ignored,
        refusal_moves_counters,
        half_replayed,
        replayed_in_any_order,
        lease_by_a_clock_that_is_set,
    )
}
