"""What is learned of models: how much they usually answer, and what input comes along that no body shows."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware import Quota
from quotaware.context import Identity
from quotaware.core.charges import Outcome
from quotaware.core.usage import Usage
from quotaware.learned import KEPT, LEAST, MOST, SEED, Learned
from tests.calls import MODEL, a_call, a_quota, ask, audited, let_go
from tests.support import AuditedStore, FakeClock

ORG, PROJECT = "org", "project"
OPAQUE = a_call(opaque=True)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Iterator[AuditedStore]:
    with audited(clock) as store:
        yield store


def taught(*inputs: int, shown: int = 100) -> Learned:
    learned = Learned()
    for input in inputs:
        learned.take(ORG, PROJECT, OPAQUE, shown, input, 10)
    return learned


def end(admission: Any, input: int) -> None:
    admission.settle(Outcome(200, usage=Usage(input=input, output=5)))


def two_projects(store: AuditedStore, clock: FakeClock) -> Quota:
    quota = a_quota(store, clock=clock)
    tenancy = quota.blocking.tenancy
    tenancy.create_organization("o", id="o")
    for name in ("p", "q"):
        tenancy.create_project("o", name, org="o", id=name)
    return quota


# the allowance


def test_it_begins_at_the_documented_default() -> None:
    assert taught().allowance(ORG, PROJECT, OPAQUE) == SEED == 16_384


def test_a_call_whose_body_shows_all_is_allowed_nothing() -> None:
    assert taught(50_000).allowance(ORG, PROJECT, a_call()) == 0


def test_what_was_brought_above_what_was_shown_is_allowed_for_and_a_quarter_more() -> None:
    assert taught(100 + 40_000).allowance(ORG, PROJECT, OPAQUE) == 50_000


def test_it_falls_slowly_where_less_is_brought_and_never_below_the_least() -> None:
    assert taught(0).allowance(ORG, PROJECT, OPAQUE) == SEED - SEED // 64
    assert taught(*[0] * 100).allowance(ORG, PROJECT, OPAQUE) > SEED // 8
    assert taught(*[0] * 1000).allowance(ORG, PROJECT, OPAQUE) == LEAST


def test_a_report_that_cannot_be_true_does_not_raise_it_beyond_what_any_model_reads() -> None:
    assert taught(10**15).allowance(ORG, PROJECT, OPAQUE) == MOST


def test_calls_that_show_all_teach_nothing_of_it() -> None:
    learned = Learned()
    learned.take(ORG, PROJECT, a_call(), 100, 90_000, 10)
    assert learned.allowance(ORG, PROJECT, OPAQUE) == SEED


@settings(max_examples=100, deadline=None)
@given(hidden=st.lists(st.integers(0, 60_000), min_size=30, max_size=300))
def test_it_covers_whatever_it_has_seen_within_the_last_calls(hidden: list[int]) -> None:
    """After any calls it is at least what any of the last ten brought, and at most a quarter above the most of all."""
    learned = taught(*(100 + each for each in hidden))
    assert max(hidden[-10:]) <= learned.allowance(ORG, PROJECT, OPAQUE) <= max(SEED, max(hidden) * 5 // 4)


def test_a_growing_conversation_is_covered_turn_by_turn() -> None:
    learned, history, beyond = Learned(), 500, []
    for _ in range(60):
        if history > learned.allowance(ORG, PROJECT, OPAQUE):
            beyond.append(history)
        learned.take(ORG, PROJECT, OPAQUE, 100, 100 + history, 10)
        history = history * 9 // 8 + 100
    assert beyond == []


def test_what_threads_teach_at_once_is_not_lost() -> None:
    """The one large call among many small ones is remembered, whoever comes between."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(10):
            learned = Learned()

            def small(learned: Learned = learned) -> None:
                for _ in range(5):
                    learned.take(ORG, PROJECT, OPAQUE, 100, 100, 10)

            threads = [threading.Thread(target=small) for _ in range(4)]
            for thread in threads:
                thread.start()
            learned.take(ORG, PROJECT, OPAQUE, 100, 800_100, 10)
            for thread in threads:
                thread.join()
            most = 1_000_000
            for _ in range(20):
                most -= most // 64
            assert learned.allowance(ORG, PROJECT, OPAQUE) >= most
    finally:
        sys.setswitchinterval(interval)


def test_it_is_bounded() -> None:
    learned = Learned()
    for number in range(KEPT + 100):
        learned.take(ORG, f"p{number}", OPAQUE, 0, 90_000, 10)
    assert len(learned._allowances) == KEPT
    assert learned.allowance(ORG, "p0", OPAQUE) == SEED
    assert learned.allowance(ORG, f"p{KEPT + 99}", OPAQUE) == 112_500


# as the engine has it


def test_each_project_and_model_has_its_own(store: AuditedStore, clock: FakeClock) -> None:
    quota = two_projects(store, clock)
    p, q = (Identity(project=name, organization="o") for name in ("p", "q"))
    plain = let_go(ask(quota, by=p)).bound.input
    first = let_go(ask(quota, OPAQUE, p))
    assert first.bound.input == plain + SEED
    end(first, plain + 40_000)
    assert let_go(ask(quota, OPAQUE, p)).bound.input == plain + 50_000
    assert let_go(ask(quota, OPAQUE, q)).bound.input == plain + SEED
    other = let_go(ask(quota, a_call(opaque=True, model="another"), p))
    assert other.bound.allowance == SEED


def test_calls_under_way_at_once_teach_by_what_each_was_shown(store: AuditedStore, clock: FakeClock) -> None:
    """What a call was allowed when it began has no part in it: ten at once do not raise it tenfold."""
    quota = two_projects(store, clock)
    p = Identity(project="p", organization="o")
    at_once = [let_go(ask(quota, OPAQUE, p)) for _ in range(10)]
    shown = at_once[0].bound.input - SEED
    for admission in at_once:
        end(admission, shown + 40_000)
    assert let_go(ask(quota, OPAQUE, p)).bound.input == shown + 50_000


def test_only_what_providers_report_teaches(store: AuditedStore, clock: FakeClock) -> None:
    quota = two_projects(store, clock)
    p = Identity(project="p", organization="o")
    for outcome in (Outcome(200), Outcome(500, usage=Usage(input=90_000)), Outcome(0, sent=True, done=False)):
        let_go(ask(quota, OPAQUE, p)).settle(outcome)
    assert let_go(ask(quota, OPAQUE, p)).bound.allowance == SEED


def test_what_is_told_later_teaches_too(store: AuditedStore, clock: FakeClock) -> None:
    """As of a response that was made in the background; what a batch used together teaches nothing of one call."""
    quota = two_projects(store, clock)
    p = Identity(project="p", organization="o")
    late = Outcome(200, usage=Usage(input=40_000, output=5))
    for operation, name in (("message_batches", "batch_1"), ("responses", "resp_1")):
        call = a_call(opaque=True, background=True, operation=operation)
        let_go(ask(quota, call, p)).settle(Outcome(200, later=name))
        assert quota.flush()
        assert let_go(ask(quota, OPAQUE, p)).bound.allowance == SEED
        shown = let_go(ask(quota, call, p)).bound.input - SEED
        quota.engine.deferred.settle("o", name, late, MODEL)
        assert quota.flush()
    assert let_go(ask(quota, OPAQUE, p)).bound.allowance == (40_000 - shown) * 5 // 4


def test_each_line_of_a_batch_that_does_not_show_all_is_allowed_for() -> None:
    batch = a_call(opaque=True, lines=(OPAQUE, a_call(), OPAQUE))
    assert taught().allowance(ORG, PROJECT, batch) == 2 * SEED


def test_explain_tells_it(store: AuditedStore, clock: FakeClock) -> None:
    quota = two_projects(store, clock)
    asked: dict[str, Any] = {"model": MODEL, "project": "p", "organization": "o", "max_output": 10}
    before = quota.blocking.explain(**asked)
    assert before.allowance == SEED
    assert before.input_bound is not None
    shown = before.input_bound - SEED
    end(let_go(ask(quota, OPAQUE, Identity(project="p", organization="o"))), shown + 40_000)
    after = quota.blocking.explain(**asked)
    assert (after.allowance, after.input_bound) == (50_000, shown + 50_000)
    assert after.body()["allowance"] == 50_000
    shows_all = quota.blocking.explain(**asked, input=7)
    assert (shows_all.allowance, shows_all.input_bound) == (0, shown + 7)
    refused = quota.blocking.explain(**{**asked, "project": "nowhere"})
    assert (refused.allowance, refused.body()["input_bound"]) == (None, None)
