"""What an admission owes to networks that repeat themselves, stores that forget, and processes that fork."""

from __future__ import annotations

import gc
import os
from dataclasses import replace

import httpx
import httpx2
import pytest

from quotaware import AuthenticationError, Quota
from quotaware.admission import Attempt
from quotaware.context import Binding, Caller, bound
from quotaware.core.steps import COST, Reserve, Result, Settle
from quotaware.stores.tickets import drive

from .calls import PRICES, a_call, ask, let_go, used


@pytest.fixture
def quota() -> Quota:
    return Quota("memory://", limits=["$1/day"], prices=PRICES)


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


def test_a_late_copy_of_an_earlier_ask_does_not_let_a_larger_one_out(
    quota: Quota, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-1: what goes out is held in full, also where a call was refused, and asks for another bound the next time."""
    let_go(ask(quota)).settle(used())
    apply, engine = quota.store.apply, quota.engine
    asked: list[Reserve] = []

    def late(work, deadline):
        ops = [op for ops in work.values() for op in ops if isinstance(op, Reserve)]
        asked.extend(ops)
        if ops and len(asked) == 1:
            answers = apply(
                {org: [replace(op, dry=True) for op in ops] for org, ops in work.items()}, deadline
            )
            return {org: replace(answer, results=[Result("denied")]) for org, answer in answers.items()}
        if ops and len(asked) == 2:
            apply({ops[0].plan.org: [asked[0]]}, deadline)
        return apply(work, deadline)

    bounds = iter((1, 2, 2))
    bound = engine.bound
    monkeypatch.setattr(
        engine, "bound", lambda call, *more: bound(replace(call, cap=10 * next(bounds)), *more)
    )
    monkeypatch.setattr(quota.store, "apply", late)
    monkeypatch.setattr(Attempt, "_smaller", lambda *_: True)
    admission = let_go(ask(quota))
    (state,) = quota.store._orgs.values()
    assert [op.hold[COST - 1] for op in asked] == [10_000_000, 20_000_000, 20_000_000]
    assert {id: held.hold for id, held in state.view.open.items()} == {admission.id: admission.bound.hold}
    admission.settle(used(2))


def test_a_forked_child_does_not_settle_its_parents_call(
    quota: Quota, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I-23: the copy of a stream that a child collects is not the call."""
    admission = let_go(ask(quota))
    posted: list[Settle] = []
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        patch.setattr(quota.engine.lanes, "post", lambda org, op: posted.append(op))
        admission.settle(used())
    assert posted == []


def test_a_settle_from_a_finalizer_in_the_middle_of_a_trip_waits_for_its_end(quota: Quota) -> None:
    """The garbage collector runs finalizers anywhere, under a store's lock even: nothing blocks, nothing is lost."""
    forgotten = let_go(ask(quota))
    decide = quota.store._forget

    def collected(view):
        forgotten.settle(used())
        decide(view)

    quota.store._forget = collected
    let_go(ask(quota)).settle(used())
    del quota.store._forget
    assert quota.flush()
    assert len(list(quota.blocking.usage.records())) == 2


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_a_stream_that_is_forgotten_is_collected_at_any_allocation(library) -> None:
    """Response and stream refer to each other, so that only the collector ends them; here it runs all the time."""
    quota = Quota("memory://", limits=["$1000/day"])

    class Words(library.SyncByteStream):
        def __iter__(self):
            for _ in range(5):
                yield b'data: {"model":"gpt-4.1","choices":[{"delta":{"content":"hi"}}]}\n\n'

    def answer(request):
        return library.Response(200, headers={"content-type": "text/event-stream"}, stream=Words())

    client = library.Client(transport=quota.sync_transport(library.MockTransport(answer)))
    body = {
        "model": "gpt-4.1",
        "stream": True,
        "max_tokens": 10,
        "messages": [{"role": "user", "content": "x"}],
    }
    thresholds = gc.get_threshold()
    gc.set_threshold(50, 5, 5)
    try:
        for _ in range(200):
            request = client.build_request("POST", "https://api.openai.com/v1/chat/completions", json=body)
            response = client.send(request, stream=True)
            response.pieces = response.iter_raw()
            next(response.pieces)
    finally:
        gc.set_threshold(*thresholds)
    del response
    gc.collect()
    assert quota.flush()
    records = list(quota.blocking.usage.records())
    assert len(records) == 200
    assert {record.quality for record in records} == {"partial"}
    quota.close()


def test_a_path_that_was_read_before_a_change_is_not_judged_with_the_policy_after_it(quota: Quota) -> None:
    """I-18: another task has compiled the newer policy in the meantime; the key is revoked all the same."""
    tenancy = quota.blocking.tenancy
    organization = quota.bootstrap("o").organization_id
    key = tenancy.create_key(tenancy.create_project(organization, "p").id).node
    caller = Caller(organization, key.id, digest=key.digest)
    old = drive(quota.engine.place(caller))
    tenancy.revoke_key(organization, key.id)
    assert isinstance(ask(quota, by=caller), AuthenticationError)
    policy = quota.engine.policy(old, a_call(), caller)
    assert policy.plan.rev == old.rev
    assert isinstance(ask(quota, by=caller), AuthenticationError)


def test_a_call_by_hand_says_the_cap_that_it_was_let_go_with() -> None:
    """There is no body to write it into: whoever keeps it stays within the budget, and an overrun is told."""
    quota = Quota("memory://", limits=["$1/day"], settle_wait=0)
    for _ in range(8):
        with quota.call(provider="openai", model="gpt-4.1", input=100) as call:
            assert call.cap is None or call.cap >= 256
            call.used(input=100, output=call.cap or 32_768)
    with quota.call(provider="openai", model="gpt-4.1", input=100, max_output=300) as named:
        assert named.cap == 300
        named.used(input=100, output=900)
    records = list(quota.blocking.usage.records())
    assert [record.flags for record in records] == [frozenset()] * 8 + [frozenset({"overrun"})]
    assert sum(record.cost for record in records[:8]) <= 1_000_000_000


def test_what_a_block_within_a_request_spends_is_the_requests(quota: Quota) -> None:
    request = Binding(quota.meter, None)
    with bound(request):
        block = quota.acting_as(end_user="ann")
        with block:
            let_go(ask(quota, by=block.binding)).settle(used())
            with pytest.raises(RuntimeError, match="entered already"):
                block.__enter__()
        with block:
            pass
    assert request.calls == 1
    assert request.cost == block.binding.cost > 0
    assert request.holding == {}
