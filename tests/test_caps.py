"""What a call may cost at most, and how its output cap is cut where money is tight (rule 2)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from quotaware import Quota
from quotaware.admission import Admission
from quotaware.core.bounds import UNKNOWN_OUTPUT, input_bound
from quotaware.core.charges import Outcome
from quotaware.core.money import NANO
from quotaware.core.usage import Usage
from quotaware.inbound.limit_headers import limit_headers
from tests.calls import CENT, MODEL, a_call, a_quota, ask, audited, let_go, refused, used
from tests.support import AuditedStore, FakeClock

UNCAPPED = a_call(cents=None)
"""As long as an answer can be: $128."""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Iterator[AuditedStore]:
    with audited(clock) as store:
        yield store


def on(store: AuditedStore, *limits: str, **more: Any) -> Quota:
    return a_quota(store, limits=limits, clock=store.clock, **{"clamp_min": 1, **more})


def test_a_call_without_a_cap_gets_one_that_a_quarter_of_what_is_left_pays_for(store: AuditedStore) -> None:
    """So a dollar serves a model whose longest answer costs more, and several calls fit side by side."""
    quota = on(store, "$1/day")
    caps = [let_go(ask(quota, UNCAPPED)).cap for _ in range(3)]
    assert caps == [250, 187, 140]  # a quarter of 1000, 750, 563 tokens
    assert sum(store.used.values()) == 0


def test_a_body_that_is_signed_gets_none(store: AuditedStore) -> None:
    """It is reserved as long as it can be, or refused."""
    quota = on(store, "$200/day", default_output=5, tight="clamp")
    for cents in (None, 12_800):
        admission = let_go(ask(quota, a_call(cents=cents, sealed=True)))
        assert (admission.cap, admission.bound.hold[1]) == (None, 12_800 * CENT)
        admission.settle(used())
    assert refused(ask(on(store, "$1/day"), a_call(cents=None, sealed=True))).type == "quota_exceeded"


def test_what_was_held_and_not_used_is_left_for_the_next(store: AuditedStore) -> None:
    quota = on(store, "$1/day")
    let_go(ask(quota, UNCAPPED)).settle(used(cents=4))
    assert let_go(ask(quota, UNCAPPED)).cap == 240


def test_a_call_that_names_its_cap_goes_as_it_came(store: AuditedStore) -> None:
    quota = on(store, "$1/day")
    admission = let_go(ask(quota, a_call(cents=90)))
    assert (admission.cap, admission.bound.hold[1]) == (None, 90 * CENT)
    assert refused(ask(quota, a_call(cents=11))).type == "quota_exceeded"


def test_where_money_is_not_tight_no_body_changes(store: AuditedStore) -> None:
    admission = let_go(ask(on(store, "$600/day"), UNCAPPED))
    assert (admission.cap, admission.bound.output) == (None, UNKNOWN_OUTPUT)


def test_without_a_budget_no_body_changes(store: AuditedStore) -> None:
    for limits in (["9 requests/minute"], ["$0.01/day soft"]):
        assert let_go(ask(on(store, *limits), UNCAPPED)).cap is None


def test_clamp_lowers_a_named_cap_to_what_is_left(store: AuditedStore) -> None:
    quota = on(store, "$1/day", tight="clamp")
    assert let_go(ask(quota, a_call(cents=90))).cap is None
    assert let_go(ask(quota, a_call(cents=90))).cap == 100
    assert refused(ask(quota, a_call(cents=90))).type == "quota_exceeded"


def test_clamp_caps_the_nameless_by_a_quarter_too(store: AuditedStore) -> None:
    assert let_go(ask(on(store, "$1/day", tight="clamp"), UNCAPPED)).cap == 250


def test_what_was_carried_over_is_left_too(store: AuditedStore, clock: FakeClock) -> None:
    """Also where the period's own amount is spent. The store is asked for it once a period."""
    quota = on(store, "$1/day carryover")
    let_go(ask(quota, UNCAPPED)).settle(used(cents=40))
    clock.advance(86_400_000)
    store.steps.clear()
    admission = let_go(ask(quota, UNCAPPED))
    assert (admission.cap, store.steps["Reserve"]) == (400, 2)  # a quarter of $1.60
    headers = dict(limit_headers(admission.policy, quota.engine.totals, clock(), quota.engine.cap_of))
    assert ";q=1600000;" in headers["ratelimit-policy"]
    assert ";r=1200000;" in headers["ratelimit"]  # what the call holds is gone for now
    admission.settle(used(cents=40))
    store.steps.clear()
    for cents, cap in ((40, 300), (30, 200), (25, 125), (25, 62)):
        admission = let_go(ask(quota, UNCAPPED))
        assert admission.cap == cap
        admission.settle(used(cents=cents))
    assert store.steps["Reserve"] == 4
    assert refused(ask(quota, a_call(cents=1))).fields["limit_usd"] == 1.6
    quota.blocking.tenancy.update("org_app", "proj_app", limits=["$2/day carryover"])
    assert let_go(ask(quota, UNCAPPED)).cap == 250  # a quarter of what the raise added


def test_deny_changes_no_body(store: AuditedStore) -> None:
    quota = on(store, "$1/day", tight="deny")
    assert refused(ask(quota, UNCAPPED)).fields["limits"][0]["asked"] == 128.0
    assert let_go(ask(quota, a_call(cents=100))).cap is None


@pytest.mark.parametrize(("tight", "cents"), [("cap", None), ("clamp", 90)])
def test_no_cap_goes_below_the_least(tight: Any, cents: int | None, store: AuditedStore) -> None:
    """Then the call is denied."""
    quota = on(store, "$0.4/day", tight=tight, clamp_min=256)
    admission = let_go(ask(quota, a_call(cents)))
    assert admission.cap == (256 if cents is None else 400)
    admission.settle(used(cents=20))
    assert refused(ask(quota, a_call(cents))).type == "quota_exceeded"


def test_a_named_cap_below_the_least_is_never_raised(store: AuditedStore) -> None:
    quota = on(store, "$0.05/day", tight="clamp", clamp_min=256)
    assert let_go(ask(quota, a_call(cents=4))).cap is None
    assert refused(ask(quota, a_call(cents=4))).type == "quota_exceeded"


def test_the_default_cap_is_written_where_none_is_named(store: AuditedStore) -> None:
    quota = on(store, "$100/day", default_output=50)
    assert let_go(ask(quota, UNCAPPED)).cap == 50
    assert let_go(ask(quota, a_call(cents=1))).cap is None
    assert let_go(ask(quota, a_call(cents=None, generates=False))).cap is None
    assert let_go(ask(quota, a_call(cents=None, choices=3))).bound.output == 150


def test_the_default_cap_gives_way_where_money_is_tight(store: AuditedStore) -> None:
    assert let_go(ask(on(store, "$1/day", default_output=900), UNCAPPED)).cap == 250


def test_every_choice_is_paid_for(store: AuditedStore) -> None:
    quota = on(store, "$1/day")
    assert let_go(ask(quota, a_call(cents=2, choices=4))).bound.hold[1] == 8 * CENT
    assert let_go(ask(quota, a_call(cents=None, choices=4))).cap == 57  # a quarter of 92 cents, by four


def test_a_cap_is_cut_to_the_figures_that_a_denial_tells(store: AuditedStore) -> None:
    """Another process has spent in the meantime: this one learns it from the refusal, and tries once more."""
    here, there = on(store, "$1/day"), on(store, "$1/day")
    let_go(ask(here, UNCAPPED)).settle(used(0))
    let_go(ask(there, a_call(cents=90))).settle(used(cents=90))
    assert let_go(ask(here, UNCAPPED)).cap == 25


@pytest.mark.parametrize("width", [1, 8])
def test_a_dollar_is_served_until_it_is_nearly_spent(width: int, store: AuditedStore) -> None:
    """One after the other and eight at once: at least 90 % used, never over, a cap on each."""
    quota = on(store, "$1/day", clamp_min=16)
    spent = 0
    while let := [
        each for each in (ask(quota, UNCAPPED) for _ in range(width)) if isinstance(each, Admission)
    ]:
        for admission in let:
            assert admission.cap is not None
            output = min(12, admission.cap)
            admission.settle(Outcome(200, usage=Usage(output=output)))
            spent += output
    assert 900 <= spent <= 1000


def test_strict_takes_a_token_a_byte_and_holds_all_of_it_to_the_end(
    store: AuditedStore, clock: FakeClock
) -> None:
    quota = on(store, "$5/day", bound="strict", lease=10, prices={MODEL: {"input": 1000, "output": 1000}})
    admission = let_go(ask(quota, a_call(text=500)))
    assert admission.bound.input >= 500
    assert admission.bound.on_expiry[1] == admission.bound.hold[1]
    quota._lanes.drop(admission._lease)
    clock.advance(10_001)
    let_go(ask(quota)).settle(used())
    charged = {record.id: record.cost for record in quota.blocking.usage.records()}
    assert charged[admission.id] == admission.bound.hold[1]


def test_strict_refuses_what_the_body_does_not_show(store: AuditedStore) -> None:
    quota = on(store, "$5/day", bound="strict")
    error = refused(ask(quota, a_call(opaque=True)))
    assert (error.status, error.code) == (403, "input_unbounded")
    assert "calibrated" in error.message
    unlimited = on(store, "5 requests/minute", bound="strict")
    let_go(ask(unlimited, a_call(opaque=True))).settle(used())


def test_a_free_call_holds_no_money(store: AuditedStore) -> None:
    quota = on(store, "$0/day")
    free = a_call(cents=None, free=True, generates=False, operation="count_tokens")
    assert let_go(ask(quota, free)).bound.hold[1] == 0
    assert refused(ask(quota)).fields["limit_usd"] == 0.0


def test_the_tightest_budget_cuts(store: AuditedStore) -> None:
    quota = on(store, "$9/month", "$1/day", "$4/week")
    assert let_go(ask(quota, UNCAPPED)).cap == 250
    assert quota.engine.totals(next(key for key in store._orgs["org_app"].view.cells if "day" in key)) == (
        0,
        NANO // 4,
    )


# a cap that is written leaves the body valid

BLACK = "gpt-4"
"""A model with a short context window (8,192 tokens), at a tenth of a cent per output token too."""


def on_black(store: AuditedStore, *limits: str, **more: Any) -> Quota:
    return on(store, *limits, prices={BLACK: {"input": 0, "output": 1000}}, **more)


@pytest.mark.parametrize("cents", [None, 300])
def test_no_cap_goes_below_what_makes_the_body_invalid(cents: int | None, store: AuditedStore) -> None:
    """As beside a request for thinking: then the call is denied, and told the least that it could be."""
    quota = on(store, "$2/day", tight="clamp")
    admission = let_go(ask(quota, a_call(cents, least_cap=1025)))
    assert admission.cap == (1025 if cents is None else 2000)
    admission.settle(used(cents=100))
    error = refused(ask(quota, a_call(cents, least_cap=1025)))
    assert (error.type, error.fields["least_cap"]) == ("quota_exceeded", 1025)
    assert "least_cap" not in refused(ask(quota, a_call(cents=101, sealed=True))).fields


def test_a_cap_that_is_invalid_as_it_came_is_left_as_it_came(store: AuditedStore) -> None:
    quota = on(store, "$2/day", tight="clamp", default_output=50)
    assert let_go(ask(quota, a_call(cents=50, least_cap=1025))).cap is None
    quota = on(store, "$0.5/day", tight="clamp")
    assert refused(ask(quota, a_call(cents=60, least_cap=1025))).type == "quota_exceeded"


def test_a_default_cap_is_as_long_as_the_body_needs_and_the_model_can(store: AuditedStore) -> None:
    assert (
        let_go(ask(on(store, "$200/day", default_output=50), replace(UNCAPPED, least_cap=1025))).cap == 1025
    )
    call = replace(UNCAPPED, provider="openai", model="gpt-4-turbo")
    quota = on(store, "5 requests/day", default_output=50_000)
    assert let_go(ask(quota, call)).cap == 4_096


def test_a_cap_leaves_room_for_the_input_in_the_context_window(store: AuditedStore) -> None:
    """Many servers refuse a cap that, with the input, is longer than the window of the model."""
    call = replace(UNCAPPED, provider="openai", model=BLACK, text=5_000)
    input = input_bound(call, "calibrated")
    for quota in (on_black(store, "$20/day"), on_black(store, "5 requests/day", default_output=8_000)):
        assert let_go(ask(quota, call)).cap == 8_192 - input
    full = replace(call, text=30_000)
    assert let_go(ask(on_black(store, "$20/day", clamp_min=100), full)).cap == 100
