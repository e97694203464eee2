"""Single trips to a store that may fail, for the tests of faults: each must end in time, whatever it comes to."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from quotaware.core.steps import (
    CONCURRENCY,
    COST,
    NOTHING,
    REQUESTS,
    Answer,
    Counter,
    Op,
    Peek,
    Plan,
    Reserve,
    Settle,
)
from quotaware.errors import Lost, StoreError
from quotaware.stores.protocol import Store
from quotaware.testing.store_suite.kit import FOREVER, ORG

DEADLINE = 0.15
"""What a trip is given, seconds."""
SLACK = 1.5
"""By so much later it must have ended: 50 ms are promised, the rest is for a machine busy with other things."""
PATIENCE = 10.0
"""What a trip is given that is to be answered, seconds: on such a machine too."""

LIMIT = Plan(
    ORG,
    0,
    (),
    (
        (Counter("budget", 1000), COST),
        (Counter("day@0", 1000, since=0, until=FOREVER, keep=FOREVER), COST),
        (Counter("calls", 1000, span=60_000), REQUESTS),
        (Counter("slots", 1000, keep=-1), CONCURRENCY),
    ),
)
OTHER = Plan("org_b", 0, (), ((Counter("other", 7), COST),))


def hold(id: str, plan: Plan = LIMIT, cost: int = 5, **more: Any) -> Reserve:
    return Reserve(id, plan, (0, cost, 1), NOTHING, 60_000, "{}", **more)


def end(id: str, plan: Plan = LIMIT, cost: int = 3) -> Settle:
    return Settle(id, plan, (0, cost, 0), "{}")


def tried(store: Store, ops: Sequence[Op], org: str = ORG, deadline: float = DEADLINE) -> Answer | StoreError:
    """What one trip comes to, which must be in time."""
    began = time.monotonic()
    try:
        found: Answer | StoreError = store.apply({org: ops}, deadline)[org]
    except StoreError as error:
        found = error
    assert time.monotonic() - began < deadline + SLACK
    return found


def asked(store: Store, *ops: Op, org: str = ORG) -> Answer:
    """What it answers, in time."""
    found = tried(store, ops, org, PATIENCE)
    assert isinstance(found, Answer), found
    return found


def insisted(store: Store, *ops: Op, within: float = 10.0) -> Answer:
    """The same batch, again and again until it is answered."""
    stop = time.monotonic() + within
    while True:
        found = tried(store, ops)
        if isinstance(found, Answer) or time.monotonic() > stop:
            assert isinstance(found, Answer), found
            return found


def refused(store: Store, *ops: Op, deadline: float = DEADLINE) -> StoreError:
    """Why it was not answered."""
    found = tried(store, ops, deadline=deadline)
    assert isinstance(found, StoreError), found
    assert not isinstance(found, Lost)
    return found


def totals(store: Store, plan: Plan = LIMIT) -> tuple[int, int]:
    """(used, held) of a plan's first counter."""
    return asked(store, Peek(plan), org=plan.org).totals[plan.lines[0][0].key]
