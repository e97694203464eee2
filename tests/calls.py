"""Calls without HTTP, for tests of the engine: one model at a tenth of a cent per output token, input for nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from quotaware import Quota
from quotaware.admission import Admission
from quotaware.context import Binding, Caller, Identity
from quotaware.core.bounds import Call
from quotaware.core.charges import Outcome
from quotaware.core.usage import Usage
from quotaware.errors import ApiError
from quotaware.quota import _open
from quotaware.stores.protocol import Clock
from quotaware.stores.tickets import drive, drive_async
from tests.support import AuditedStore

MODEL = "tenth"
PRICES = {MODEL: {"input": 0, "output": 1000}}
CENT = 10_000_000
"""Nano-dollars."""
TOKENS = 10
"""Output tokens for a cent."""


def a_call(cents: int | None = 1, **more: Any) -> Call:
    """A call that costs at most so many cents; None: one that names no cap."""
    return Call(
        **{
            "provider": None,
            "operation": "chat",
            "model": MODEL,
            "cap": None if cents is None else cents * TOKENS,
            **more,
        }
    )


def a_quota(store: Any = "memory://", **more: Any) -> Quota:
    """A Quota that never waits, unless it is told to."""
    return Quota(store, **{"prices": PRICES, "settle_wait": 0, **more})


@contextmanager
def audited(clock: Clock, *, threaded: bool = False) -> Iterator[AuditedStore]:
    """A store whose books are checked at the end (I-2), the Quotas on it closed."""
    store = AuditedStore(clock, threaded=threaded)
    try:
        yield store
        for quota in _quotas_on(store):
            assert quota.flush()
        store.check()
    finally:
        for quota in _quotas_on(store):
            quota.close()


def _quotas_on(store: AuditedStore) -> list[Quota]:
    return [quota for quota in _open if quota.store is store]


def binding(quota: Quota, caller: Caller | Identity | None = None) -> Binding:
    return Binding(quota.meter, caller)


def ask(
    quota: Quota,
    call: Call | None = None,
    by: Binding | Caller | Identity | None = None,
    *,
    may_wait: bool = False,
) -> Admission | ApiError:
    """What the engine says to a call."""
    bound = by if isinstance(by, Binding) else binding(quota, by)
    return drive(quota.engine.admit(call or a_call(), bound, may_wait=may_wait))


async def ask_async(
    quota: Quota, call: Call | None = None, by: Binding | Caller | Identity | None = None
) -> Admission | ApiError:
    bound = by if isinstance(by, Binding) else binding(quota, by)
    return await drive_async(quota.engine.admit(call or a_call(), bound, may_wait=True))


def let_go(outcome: Admission | ApiError) -> Admission:
    """The admission, where the call may go."""
    assert isinstance(outcome, Admission), outcome
    return outcome


def refused(outcome: Admission | ApiError) -> ApiError:
    """The error, where it may not."""
    assert isinstance(outcome, ApiError), "the call was let go"
    return outcome


def used(cents: float = 1, **more: Any) -> Outcome:
    """A good answer that cost so much."""
    return Outcome(200, usage=Usage(output=round(cents * TOKENS)), **more)


def spend(quota: Quota, cents: int = 1, by: Binding | Caller | Identity | None = None) -> None:
    """A call from its begin to its end."""
    let_go(ask(quota, a_call(cents), by)).settle(used(cents))
