"""One call's life: reserve over every limit that bears on it, or over none; settle at what it really used."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from quotaware import Quota
from quotaware.context import Caller, Identity
from quotaware.core.charges import Outcome
from quotaware.core.money import NANO
from quotaware.core.prices import PriceBook
from quotaware.core.usage import Usage
from quotaware.errors import StoreError
from quotaware.usage import UsageRecord
from tests.calls import (
    CENT,
    MODEL,
    TOKENS,
    a_call,
    a_quota,
    ask,
    audited,
    binding,
    let_go,
    refused,
    spend,
    used,
)
from tests.support import AuditedStore, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=[False, True], ids=["inline", "thread"])
def store(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[AuditedStore]:
    """The memory store as it is, and behind the store thread; its books are checked after every test (I-2)."""
    with audited(clock, threaded=request.param) as store:
        yield store


def simple(store: AuditedStore, clock: FakeClock, *limits: str, **more: Any) -> Quota:
    return a_quota(store, limits=limits, clock=clock, **more)


def records(quota: Quota) -> list[UsageRecord]:
    return list(quota.blocking.usage.records())


def the_record(quota: Quota) -> UsageRecord:
    (record,) = records(quota)
    return record


def cells(store: AuditedStore) -> dict[str, tuple[int, int]]:
    return {
        key: (cell.used, cell.held)
        for state in store._orgs.values()
        for key, cell in state.view.cells.items()
    }


def team_of(quota: Quota, **limits: list[str]) -> tuple[str, Caller]:
    """A tree whose nodes have these limits; its organization and its key's caller."""
    tenancy = quota.blocking.tenancy
    tenancy.create_organization("o", id="o", limits=limits.get("organization", ()))
    tenancy.create_team("o", "t", id="t", limits=limits.get("team", ()))
    tenancy.create_project("t", "p", org="o", id="p", limits=limits.get("project", ()))
    key = tenancy.create_key("p", org="o", id="k", limits=limits.get("key", ()))
    return "o", Caller("o", "k", digest=key.node.digest)


# reserve


def test_a_call_reserves_on_every_limit_from_key_to_organization(
    store: AuditedStore, clock: FakeClock
) -> None:
    quota = a_quota(store, clock=clock)
    _, caller = team_of(
        quota,
        key=["60 requests/minute"],
        project=["$1/day", "1000 tokens/minute"],
        team=["4 concurrent"],
        organization=["$50/month", "100 requests/day for tenth*", "9 requests/day for other"],
    )
    admission = let_go(ask(quota, a_call(cents=2, text=40), caller))
    expected = admission.bound.hold[0]
    assert {key.partition("@")[0]: figures for key, figures in cells(store).items()} == {
        "k/requests/minute": (1, 0),
        "p/cost/day": (0, 2 * CENT),
        "p/tokens/minute": (0, expected),
        "t/concurrency": (0, 1),
        "o/cost/month": (0, 2 * CENT),
        "o/requests/day/for:tenth*": (1, 0),
    }
    admission.settle(Outcome(200, usage=Usage(input=7, output=5)))
    quota.flush()
    assert {key.partition("@")[0]: figures for key, figures in cells(store).items()} == {
        "k/requests/minute": (1, 0),
        "p/cost/day": (CENT // 2, 0),
        "p/tokens/minute": (12, 0),
        "o/cost/month": (CENT // 2, 0),
        "o/requests/day/for:tenth*": (1, 0),
    }


@pytest.mark.parametrize("tight", ["key", "project", "team", "organization"])
def test_wherever_the_limit_sits_a_refusal_moves_none(
    tight: str, store: AuditedStore, clock: FakeClock
) -> None:
    """I-4: all or none, request counters included."""
    quota = a_quota(store, clock=clock)
    wide = ["100 requests/minute", "$5/day", "9 concurrent"]
    _, caller = team_of(
        quota,
        **{
            node: [*wide, "$0.015/month"] if node == tight else wide
            for node in ("key", "project", "team", "organization")
        },
    )
    first = let_go(ask(quota, by=caller))
    before = cells(store)
    error = refused(ask(quota, by=caller))
    assert error.fields["limits"][0]["kind"] == tight
    assert cells(store) == before
    first.settle(used())


def test_each_end_user_has_their_own(store: AuditedStore, clock: FakeClock) -> None:
    quota = simple(store, clock, "$0.01/day per end_user", "3 requests/minute")
    for user in ("ann", "bob"):
        spend(quota, by=Identity(end_user=user))
    error = refused(ask(quota, by=Identity(end_user="ann")))
    assert error.message == "Daily budget of $0.01 exceeded for an end user of project 'app'"
    spend(quota)  # nobody's: no user's limit bears
    assert refused(ask(quota)).message == "Rate limit of 3 req/min exceeded"


def test_a_limit_for_a_pattern_bears_on_its_models_only(store: AuditedStore, clock: FakeClock) -> None:
    quota = simple(store, clock, "1 requests/day for tenth", prices={"*": {"input": 0, "output": 1000}})
    spend(quota)
    assert refused(ask(quota)).message == "Rate limit of 1 req/day for tenth exceeded"
    let_go(ask(quota, a_call(model="tenth-mini"))).settle(used())
    assert refused(ask(quota, a_call(model="tenth-2026-01-31"))).status == 429


def test_a_hard_limit_is_never_passed(store: AuditedStore, clock: FakeClock) -> None:
    """I-1: a budget of K calls lets exactly K go."""
    quota = simple(store, clock, "$1/month", "64 concurrent")
    under_way = []
    let = 0
    for turn in range(300):
        outcome = ask(quota)
        if not hasattr(outcome, "settle"):
            assert under_way or let == 100
        else:
            under_way.append(outcome)
            let += 1
        if len(under_way) == 64 or turn > 250:
            for admission in under_way:
                admission.settle(used())
            under_way.clear()
            quota.flush()
    assert let == 100
    assert max(store.peaks[key] for key in store.peaks if "cost" in key) == NANO
    assert store.held == {}


# settle


def test_a_call_settles_at_what_was_reported(store: AuditedStore, clock: FakeClock) -> None:
    quota = simple(store, clock, "$1/day")
    usage = Usage(input=30, output=4, cache_read=10, reasoning=2)
    let_go(ask(quota, a_call(cents=5))).settle(Outcome(200, usage=usage), "tenth-2026-01-31")
    record = the_record(quota)
    assert (record.usage, record.quality, record.cost, record.reserved) == (
        usage,
        "exact",
        4_000_000,
        5 * CENT,
    )
    assert (record.model, record.requested_model) == ("tenth-2026-01-31", MODEL)
    assert (record.status, record.flags, record.correction) == (200, frozenset(), False)


@pytest.mark.parametrize(
    ("outcome", "quality", "cost"),
    [
        (Outcome(0, done=False, seen=3), "partial", 3_000_000),
        (Outcome(200, done=False, usage=Usage(output=2), seen=4), "partial", 4_000_000),
        (Outcome(200, seen=6), "estimated", 6_000_000),
        (Outcome(500), "exact", 0),
        (Outcome(0, sent=False, done=False), "exact", 0),
    ],
    ids=["timed out", "cut", "no usage", "error answer", "never sent"],
)
def test_the_quality_of_a_charge_is_recorded(
    outcome: Outcome, quality: str, cost: int, store: AuditedStore, clock: FakeClock
) -> None:
    quota = simple(store, clock, "$1/day")
    let_go(ask(quota)).settle(outcome)
    record = the_record(quota)
    assert (record.quality, record.cost, record.status) == (quality, cost, outcome.status)


def test_an_error_answer_costs_nothing_but_was_a_request(store: AuditedStore, clock: FakeClock) -> None:
    quota = simple(store, clock, "2 requests/minute", "$0.01/day")
    for status in (500, 429):
        let_go(ask(quota)).settle(Outcome(status))
    error = refused(ask(quota))
    assert [entry["rule"] for entry in error.fields["limits"]] == ["2 requests/minute"]


def test_zero_usage_costs_zero_and_a_free_call_passes_when_the_budget_is_spent(
    store: AuditedStore, clock: FakeClock
) -> None:
    quota = simple(
        store,
        clock,
        "$0.01/day",
        prices={MODEL: {"input": 0, "output": 1000}, "gratis": {"input": 0, "output": 0}},
    )
    let_go(ask(quota)).settle(used(0))
    spend(quota)
    assert refused(ask(quota)).type == "quota_exceeded"
    let_go(ask(quota, a_call(model="gratis"))).settle(used(50))
    let_go(ask(quota, a_call(free=True, generates=False, operation="count_tokens", model=None))).settle(
        Outcome(200)
    )
    assert sum(record.cost for record in records(quota)) == CENT


def test_a_call_dearer_than_its_bound_is_booked_in_full_and_marked(
    store: AuditedStore, clock: FakeClock
) -> None:
    """I-3: recorded in full, used may pass the limit, the next is denied."""
    quota = simple(store, clock, "$0.02/day")
    let_go(ask(quota)).settle(used(cents=3))
    record = the_record(quota)
    assert (record.cost, record.flags) == (3 * CENT, {"overrun"})
    error = refused(ask(quota))
    assert (error.fields["current_usage_usd"], error.fields["limit_usd"]) == (0.03, 0.02)


@pytest.mark.parametrize("output", [-1, TOKENS * 100 + 1, 2**63, 2**64])
def test_a_report_that_cannot_be_true_is_charged_at_the_bound(
    output: int, store: AuditedStore, clock: FakeClock
) -> None:
    """I-20."""
    quota = simple(store, clock, "$0.01/day", "9000 tokens/minute")
    let_go(ask(quota)).settle(Outcome(200, usage=Usage(output=output)))
    record = the_record(quota)
    assert (record.cost, record.flags, record.quality) == (CENT, {"suspect"}, "estimated")


def test_only_the_first_end_counts(store: AuditedStore, clock: FakeClock) -> None:
    """I-5."""
    quota = simple(store, clock, "$1/day")
    by = binding(quota)
    admission = let_go(ask(quota, by=by))
    admission.settle(used(0.5))
    admission.settle(used(1))
    admission.abandon(Outcome(0))
    quota.flush()
    assert the_record(quota).cost == CENT // 2
    assert (by.cost, by.calls, by.holding) == (CENT // 2, 1, {})


def test_an_abandoned_call_is_settled_by_the_store_thread(store: AuditedStore, clock: FakeClock) -> None:
    """A finalizer takes no lock: it only hands over."""
    quota = simple(store, clock, "$1/day")
    let_go(ask(quota)).abandon(used(0.5, done=False))
    quota.flush()
    assert (the_record(quota).quality, the_record(quota).cost) == ("partial", CENT // 2)
    assert store.held == {}


def test_a_fault_of_ours_while_settling_never_reaches_the_host(
    store: AuditedStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The lease ends the reservation then, at its bounded input."""
    quota = simple(store, clock, "$1/day", lease=10)
    let_go(ask(quota)).settle(Outcome(200, usage="not usage"))  # type: ignore[arg-type]
    assert quota.stats["faults"] == 1
    assert "could not be settled" in caplog.text
    clock.advance(10_001)
    spend(quota)
    quota.flush()
    assert sorted(record.quality for record in records(quota)) == ["exact", "unsettled"]
    assert store.held == {}


def test_nothing_stays_held_where_an_admission_cannot_be_made(
    store: AuditedStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the grant and the admission nothing may get lost."""
    quota = simple(store, clock, "$1/day")
    spend(quota)

    def no_more_threads(*_: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(quota._lanes, "keep", no_more_threads)
    with pytest.raises(RuntimeError):
        ask(quota)
    quota.flush()
    assert store.held == {}
    assert len(records(quota)) == 1


def test_a_call_whose_process_died_is_charged_its_bounded_input(
    store: AuditedStore, clock: FakeClock
) -> None:
    """Rule 3; a settle that comes later corrects it."""
    quota = simple(store, clock, "$1/day", lease=10, prices={MODEL: {"input": 1000, "output": 1000}})
    admission = let_go(ask(quota, a_call(text=25)))
    quota._lanes.drop(admission._lease)  # as if its process were gone
    clock.advance(10_001)
    let_go(ask(quota)).settle(used())
    late = next(record for record in records(quota) if record.id == admission.id)
    bounded = admission.bound.input
    assert (late.quality, late.cost, late.usage.input) == ("unsettled", bounded * 1_000_000, bounded)
    admission.settle(Outcome(200, usage=Usage(input=3, output=4)))
    parts = [record for record in records(quota) if record.id == admission.id]
    assert [part.correction for part in parts] == [False, True]
    assert sum(part.cost for part in parts) == 7_000_000


@pytest.mark.parametrize(("mode", "cents"), [("full", 2), ("none", 0)])
def test_what_a_dead_process_is_charged_is_the_hosts_to_say(
    mode: Any, cents: int, store: AuditedStore, clock: FakeClock
) -> None:
    quota = simple(store, clock, "$1/day", lease=10, on_expiry=mode)
    quota._lanes.drop(let_go(ask(quota, a_call(cents=2)))._lease)
    clock.advance(10_001)
    spend(quota)
    assert sum(record.cost for record in records(quota) if record.quality == "unsettled") == cents * CENT


# windows, and the truth of what a denial says


def test_retry_after_and_the_reset_are_true_for_a_rolling_window(
    store: AuditedStore, clock: FakeClock
) -> None:
    quota = simple(store, clock, "2 requests/minute")
    spend(quota)
    clock.advance(20_000)
    spend(quota)
    clock.advance(500)
    error = refused(ask(quota))
    assert error.headers() == {"retry-after": "40"}
    frees = datetime.fromisoformat(error.fields["limits"][0]["resets_at"])
    clock.now = round(frees.timestamp() * 1000) - 1
    assert refused(ask(quota)).fields["retry_after_seconds"] == 1
    clock.advance(1)
    spend(quota)


def test_the_reset_date_is_true_for_a_budget(store: AuditedStore, clock: FakeClock) -> None:
    quota = simple(store, clock, "$0.02/month", time_zone="America/New_York")
    spend(quota, cents=2)
    error = refused(ask(quota))
    assert error.fields["reset_date"] == "2026-07-01T04:00:00Z"
    reset = int(datetime(2026, 7, 1, 4, tzinfo=UTC).timestamp() * 1000)
    clock.now = reset - 1
    assert refused(ask(quota)).type == "quota_exceeded"
    clock.now = reset
    spend(quota, cents=2)
    assert refused(ask(quota)).fields["reset_date"] == "2026-08-01T04:00:00Z"


@pytest.mark.parametrize("shadow", [False, True])
def test_a_budget_with_what_was_carried_over_refuses_what_is_more(
    shadow: bool, store: AuditedStore, clock: FakeClock
) -> None:
    """It names the sum of both, and whose limit it is; in shadow it is told like any other."""
    quota = a_quota(store, clock=clock, limits=["$0.02/day carryover", "$9/day soft"], shadow=shadow)
    spend(quota, 1)
    clock.advance(86_400_000)
    for _ in range(3):
        spend(quota, 1)
    outcome = ask(quota)
    if shadow:
        assert let_go(outcome).would_deny == ["$0.02/day carryover"]
        return
    error = refused(outcome)
    assert error.message == "Daily budget of $0.03 exceeded for project 'app'"
    assert (error.fields["limit_usd"], error.fields["current_usage_usd"]) == (0.03, 0.03)
    assert [limit["rule"] for limit in error.fields["limits"]] == ["$0.02/day carryover"]


def test_a_call_settles_in_the_window_that_it_was_made_in(store: AuditedStore, clock: FakeClock) -> None:
    """I-15."""
    quota = simple(store, clock, "$0.02/day")
    over_midnight = let_go(ask(quota, a_call(cents=2)))
    clock.advance(12 * 3_600_000)
    fresh = let_go(ask(quota, a_call(cents=2)))
    over_midnight.settle(used(2))
    fresh.settle(used(1))
    spend(quota)
    quota.flush()
    assert sorted(store.used.values()) == [2 * CENT, 2 * CENT]


def test_a_clock_behind_the_stores_is_corrected(store: AuditedStore, clock: FakeClock) -> None:
    """The store answers `window`, and with its own time."""
    ours = FakeClock(clock.now - 24 * 3_600_000)
    quota = simple(store, ours, "$0.01/day")
    spend(quota)
    assert quota.engine.now() == clock.now
    error = refused(ask(quota))
    assert error.fields["reset_date"] == "2026-06-16T00:00:00Z"


def test_an_id_older_than_the_store_remembers_is_made_anew(store: AuditedStore, clock: FakeClock) -> None:
    quota = simple(store, FakeClock(clock.now - 72 * 3_600_000), "9 requests/minute")
    spend(quota)
    assert the_record(quota).cost == CENT


# tokens


def test_token_rates_reserve_the_expected_and_learn(store: AuditedStore, clock: FakeClock) -> None:
    """At admission used + held + expected ≤ limit; a first call is expected to take 1,024 tokens a choice."""
    quota = simple(store, clock, "1000000 tokens/minute")
    call = a_call(cents=None)
    first = let_go(ask(quota, call))
    unlearned = first.bound.hold[0]
    assert unlearned >= 1024
    first.settle(used(3))
    learned = let_go(ask(quota, call))
    assert learned.bound.hold[0] == unlearned - 1024 + 3 * TOKENS
    assert let_go(ask(quota, a_call(cents=1))).bound.hold[0] == unlearned - 1024 + TOKENS  # its own cap


def test_what_is_learned_drifts_by_an_eighth(store: AuditedStore, clock: FakeClock) -> None:
    quota = simple(store, clock)
    call = a_call(cents=None)
    held = []
    for cents in (80, 0, 0, 0):
        let_go(ask(quota, call)).settle(used(cents))
        held.append(let_go(ask(quota, call)).bound.hold[0])
    assert [held[0] - later for later in held] == [0, 100, 188, 264]


# prices


def test_a_model_without_a_price_is_not_free(store: AuditedStore, clock: FakeClock) -> None:
    quota = simple(store, clock, "$1/day")
    error = refused(ask(quota, a_call(model="nameless")))
    assert (error.status, error.type, error.code) == (403, "permission_denied", "price_unknown")
    assert "Quota(prices={" in error.message
    assert "nameless" in error.message


def test_an_endpoint_without_a_model_has_no_price_either(store: AuditedStore, clock: FakeClock) -> None:
    error = refused(ask(simple(store, clock, "$1/day"), a_call(model=None, operation="unknown")))
    assert error.code == "price_unknown"


def test_a_price_for_unknown_models_can_be_given(store: AuditedStore, clock: FakeClock) -> None:
    quota = simple(store, clock, "$1/day", unknown_model={"input": 0, "output": 2000})
    let_go(ask(quota, a_call(model="nameless"))).settle(used())
    assert the_record(quota).cost == 2 * CENT
    assert the_record(quota).flags == frozenset()


def test_without_a_cost_limit_a_model_without_a_price_passes_and_is_marked(
    store: AuditedStore, clock: FakeClock
) -> None:
    for limits in (["9 requests/minute"], ["$1/day soft"]):
        quota = simple(store, clock, *limits)
        let_go(ask(quota, a_call(model="nameless"))).settle(used())
    assert [(record.cost, record.flags) for record in records(quota)] == [(0, {"unpriced"})] * 2


def test_a_call_costs_the_price_of_when_it_was_made(store: AuditedStore, clock: FakeClock) -> None:
    """I-19."""
    quota = simple(store, clock, "$1/day")
    before = let_go(ask(quota))
    quota.engine.prices = PriceBook({MODEL: {"input": 0, "output": 9000}})
    after = let_go(ask(quota))
    before.settle(used())
    after.settle(used())
    assert [record.cost for record in records(quota)] == [CENT, 9 * CENT]
    assert [record.reserved for record in records(quota)] == [CENT, 9 * CENT]


# soft, shadow


def test_a_soft_limit_counts_and_is_never_in_the_way(store: AuditedStore, clock: FakeClock) -> None:
    quota = simple(store, clock, "$0.01/day soft", "1 requests/minute soft")
    for _ in range(3):
        spend(quota)
    quota.flush()
    assert sorted(store.used.values()) == [3, 3 * CENT]
    assert {record.would_deny for record in records(quota)} == {()}
    assert "would_deny" not in quota.stats


def test_a_shadow_limit_records_what_it_would_have_refused(store: AuditedStore, clock: FakeClock) -> None:
    quota = simple(store, clock, "$0.01/day shadow", "2 requests/minute shadow", "$1/day")
    for _ in range(3):
        spend(quota)
    assert [set(record.would_deny) for record in records(quota)] == [
        set(),
        {"$0.01/day shadow"},
        {"$0.01/day shadow", "2 requests/minute shadow"},
    ]
    assert quota.stats["would_deny"] == 2


# an answer that is no answer


def test_a_store_that_does_not_answer_is_no_denial(
    store: AuditedStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """503 for "cannot tell", never 429."""
    quota = simple(store, clock, "$1/day")
    spend(quota)

    def broken(*_: Any) -> Any:
        raise OSError("connection reset")

    monkeypatch.setattr(store, "apply", broken)
    error = refused(ask(quota))
    assert (error.status, error.type) == (503, "store_unavailable")
    assert error.retry_after in range(1, 6)
    monkeypatch.undo()
    spend(quota)
    assert quota.flush()
    assert store.held == {}


def test_a_store_closed_to_reserves_after_a_loss_is_unavailable(
    store: AuditedStore, clock: FakeClock
) -> None:
    quota = simple(store, clock, "$1/day")
    spend(quota)
    store._orgs["org_app"].view.closed = clock.now + 10_000
    assert refused(ask(quota)).code == "store_unavailable"
    clock.advance(10_000)
    spend(quota)


def test_a_policy_that_never_stands_still_ends_in_an_error(
    store: AuditedStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = simple(store, clock, "$1/day")
    spend(quota)
    read = store.read

    def changing(org: str, ids: Any) -> Any:
        found = read(org, ids)
        view = store._orgs[org].view
        view.rev += 1
        view.revs["proj_app"] = view.rev
        return found

    monkeypatch.setattr(store, "read", changing)
    quota.engine.directory.forget("org_app", "proj_app")
    assert refused(ask(quota)).type == "store_unavailable"


def test_a_counter_at_the_end_of_its_range_admits_no_more(store: AuditedStore, clock: FakeClock) -> None:
    """Amounts, caps and totals stay at or below $9 M, where a double is exact."""
    quota = simple(store, clock, "$9000000/life", unknown_model={"input": 0, "output": 9_000_000})
    let_go(ask(quota, a_call(model="dear", cap=999_999))).settle(Outcome(200, usage=Usage(output=1_000_000)))
    quota.flush()
    error = refused(ask(quota, a_call(model="dear", cap=1)))
    assert (error.status, error.type) == (429, "quota_exceeded")


def test_the_work_of_the_first_call_is_done_once(store: AuditedStore, clock: FakeClock) -> None:
    quota = simple(store, clock, "$1/day")
    for _ in range(3):
        spend(quota)
    quota.flush()
    assert len(store.audit("org_app", 0, 10)) == 1


def test_a_call_costs_one_reserve_and_one_settle(store: AuditedStore, clock: FakeClock) -> None:
    """Rule 5: no second trip on the hot path."""
    quota = simple(store, clock, "$1/day", "60 requests/minute", "9 concurrent")
    spend(quota)
    quota.flush()
    store.steps.clear()
    for _ in range(10):
        spend(quota)
    quota.flush()
    assert store.steps == {"Reserve": 10, "Settle": 10}


def test_the_first_use_of_a_store_that_is_away_is_tried_again_by_the_next_call(
    store: AuditedStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> int:
        raise StoreError("not yet")

    quota = simple(store, clock, "$1/day")
    monkeypatch.setattr(store, "hello", away)
    assert refused(ask(quota)).type == "store_unavailable"
    monkeypatch.undo()
    spend(quota)
