"""What a finished call is charged: exactly what was reported, else what was seen, else an estimate."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.bounds import Call, estimate_input
from quotaware.core.charges import Charge, Outcome, charge
from quotaware.core.prices import Price
from quotaware.core.usage import Usage

PRICE = Price.per_million(input=2, output=8)
CALL = Call(None, "chat", "m", text=400, parts=1)
IN, OUT = 1000, 500
"""The bound of the call, tokens."""


def charged(outcome: Outcome, call: Call = CALL, price: Price | None = PRICE) -> Charge:
    return charge(call, price, IN, OUT, outcome)


def test_what_the_provider_reports_is_charged_to_the_token() -> None:
    usage = Usage(input=100, output=50)
    assert charged(Outcome(200, usage=usage)) == Charge(usage, "exact", 100 * 2000 + 50 * 8000)


def test_zero_means_zero() -> None:
    assert charged(Outcome(200, usage=Usage())) == Charge(Usage(), "exact", 0)


@pytest.mark.parametrize(
    "outcome",
    [
        Outcome(500),
        Outcome(429),
        Outcome(404, usage=Usage(input=5)),
        Outcome(302),
        Outcome(0, sent=False, done=False),
        Outcome(200, sent=False, usage=Usage(output=9)),
    ],
    ids=str,
)
def test_an_error_answer_or_a_request_that_never_left_costs_nothing(outcome: Outcome) -> None:
    assert charged(outcome) == Charge(Usage(), "exact", 0)


def test_a_free_call_costs_nothing_and_keeps_what_it_used() -> None:
    free = Call(None, "count_tokens", "m", free=True, generates=False)
    usage = Usage(input=10_000)
    assert charged(Outcome(200, usage=usage), free) == Charge(usage, "exact", 0)
    assert charged(Outcome(200), free) == Charge(Usage(), "exact", 0)


def test_a_model_without_a_price_costs_nothing_but_is_counted() -> None:
    assert charged(Outcome(200, usage=Usage(output=3)), price=None) == Charge(Usage(output=3), "exact", 0)


def test_a_good_answer_that_reports_nothing_is_estimated() -> None:
    expected = Usage(input=estimate_input(CALL), output=30)
    result = charged(Outcome(200, seen=30))
    assert result == Charge(expected, "estimated", PRICE.cost(expected))


@pytest.mark.parametrize("status", [0, 200])
def test_an_answer_that_broke_off_is_charged_its_input_and_what_was_seen(status: int) -> None:
    expected = Usage(input=estimate_input(CALL), output=30)
    assert charged(Outcome(status, seen=30, done=False)) == Charge(expected, "partial", PRICE.cost(expected))


def test_an_estimate_is_never_above_the_bound() -> None:
    result = charge(CALL, PRICE, 10, 20, Outcome(200, seen=10_000, done=False))
    assert (result.usage.input, result.usage.output) == (10, 20)


def test_a_report_that_came_before_the_break_counts_unless_more_was_seen() -> None:
    """I-22: never less than was seen."""
    usage = Usage(input=100, output=5)
    assert charged(Outcome(200, usage=usage, seen=20, done=False)).usage == Usage(input=100, output=20)
    assert charged(Outcome(200, usage=usage, seen=2, done=False)).usage == usage
    assert charged(Outcome(200, usage=usage, seen=2, done=False)).quality == "partial"


@pytest.mark.parametrize(
    "usage",
    [
        Usage(input=-1),
        Usage(output=-5),
        Usage(input=10, cache_read=-1),
        Usage(input=IN * 100 + 1),
        Usage(output=OUT * 100 + 1),
        Usage(output=2**63),
    ],
    ids=str,
)
def test_a_report_that_cannot_be_true_is_charged_at_the_bound(usage: Usage) -> None:
    """I-20: below 0 or above 100 times the bound is no usage."""
    bound = Usage(input=IN, output=OUT)
    assert charged(Outcome(200, usage=usage)) == Charge(bound, "estimated", PRICE.cost(bound), suspect=True)


def test_a_report_of_a_hundred_times_the_bound_is_believed() -> None:
    usage = Usage(input=IN * 100, output=OUT * 100)
    assert charged(Outcome(200, usage=usage)) == Charge(usage, "exact", PRICE.cost(usage))


@given(
    st.builds(
        Outcome,
        status=st.sampled_from([0, 200, 206, 300, 400, 429, 500]),
        sent=st.booleans(),
        usage=st.none() | st.builds(Usage, *[st.integers(-(2**70), 2**70)] * 3),
        seen=st.integers(0, 10_000),
        done=st.booleans(),
    )
)
@settings(deadline=None, max_examples=200)
def test_whatever_is_reported_the_charge_is_a_count_within_a_hundred_bounds(outcome: Outcome) -> None:
    """I-20: no report makes a charge negative or absurd."""
    result = charged(outcome)
    assert 0 <= result.usage.input <= IN * 100
    assert 0 <= result.usage.output <= max(OUT * 100, outcome.seen)
    assert 0 <= result.cost <= PRICE.worst(IN * 100, OUT * 100)


@pytest.mark.parametrize(
    ("provider", "told", "cost"),
    [
        ("openrouter", 77, 77),
        ("x-ai", 0, 0),
        ("perplexity", 5_000_000, 5_000_000),
        ("openai", 77, 600_000),
        (None, 77, 600_000),
        ("openrouter", None, 600_000),
    ],
)
def test_a_cost_that_is_billed_as_told_is_charged(provider: str | None, told: int | None, cost: int) -> None:
    """Whoever else tells one is not believed."""
    call = Call(provider, "chat", "m", text=400, parts=1)
    usage = Usage(input=100, output=50)
    assert charged(Outcome(200, usage=usage, cost=told), call) == Charge(usage, "exact", cost)


def test_a_cost_without_a_price_is_charged_too() -> None:
    call = Call("openrouter", "chat", "m")
    assert charged(Outcome(200, usage=Usage(input=1), cost=7), call, price=None).cost == 7


def test_a_cost_of_more_than_a_hundred_bounds_is_none() -> None:
    call = Call("openrouter", "chat", "m")
    most, usage = 100 * PRICE.worst(IN, OUT), Usage(input=100, output=50)
    assert charged(Outcome(200, usage=usage, cost=most), call).cost == most
    assert charged(Outcome(200, usage=usage, cost=most + 1), call) == Charge(
        usage, "exact", 600_000, suspect=True
    )


def test_the_cost_of_an_answer_that_broke_off_is_not_its_last_word() -> None:
    call = Call("openrouter", "chat", "m", text=400)
    assert charged(Outcome(200, usage=Usage(output=50), cost=1, done=False), call).cost == 50 * 8000
