"""What an admission owes to networks that repeat themselves, stores that forget, and processes that fork."""

from __future__ import annotations

import os

import pytest

from quotaware import Quota
from quotaware.core.steps import Reserve, Settle

from .calls import ask, let_go, used


@pytest.fixture
def quota() -> Quota:
    return Quota("memory://", limits=["$1/day"], prices={"*": {"input": 1, "output": 1}})


def test_a_call_that_the_store_forgot_is_booked_with_all_that_was_known_of_it(quota: Quota) -> None:
    """A settle carries what the record needs, for a store that never saw (or lost) the reserve."""
    admission = let_go(ask(quota))
    (state,) = quota.store._orgs.values()
    state.view.open.clear()
    admission.settle(used())
    (record,) = quota.blocking.usage.records()
    assert record.id == admission.id
    assert record.project == "proj_app"
    assert record.model == admission.call.model


def test_a_reserve_whose_first_answer_was_lost_is_granted(
    quota: Quota, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-6: the repeat is answered `again`, which is a yes."""
    let_go(ask(quota)).settle(used())
    apply = quota.store.apply

    def twice(work, deadline):
        if any(isinstance(op, Reserve) for ops in work.values() for op in ops):
            apply(work, deadline)
        return apply(work, deadline)

    monkeypatch.setattr(quota.store, "apply", twice)
    admission = let_go(ask(quota))
    admission.settle(used())
    assert len(list(quota.blocking.usage.records())) == 2


def test_a_forked_child_does_not_settle_its_parents_call(
    quota: Quota, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-23: the copy of a stream that a child collects is not the call."""
    admission = let_go(ask(quota))
    posted: list[Settle] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        patch.setattr(quota.engine.thread, "post", lambda org, op: posted.append(op))
        admission.settle(used())
    assert posted == []
