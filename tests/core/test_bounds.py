from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.bounds import (
    Call,
    affordable_cap,
    estimate_input,
    expected_tokens,
    input_bound,
    max_output,
    output_bound,
    worst_cost,
)
from quotaware.core.counting import kinds_of, kinds_of_all
from quotaware.core.prices import Price, PriceBook, Rates
from quotaware.core.usage import Usage
from tests.corpus import exchanges, needs_corpus

BOOK = PriceBook()
AUGUST_2026 = 1_786_000_000_000
CHAT = Call(provider="openai", operation="chat", model="gpt-4.1")
CLAUDE = Call(provider="anthropic", operation="chat", model="claude-sonnet-4-5")

sizes = st.integers(0, 100_000)


@st.composite
def calls(draw: st.DrawFn) -> Call:
    text = draw(sizes)
    return Call(
        provider=None,
        operation="chat",
        model=draw(st.sampled_from([None, "gpt-4.1", "anthropic/claude-sonnet-4.5", "llama"])),
        cap=draw(st.none() | sizes),
        choices=draw(st.integers(1, 8)),
        text=text,
        kinds=draw(st.sampled_from([(), kinds_of(b"Aa1! " * (text // 5))])),
        parts=draw(st.integers(0, 50)),
        tools=draw(st.integers(0, 5)),
        media=draw(sizes),
        cache_write=draw(st.booleans()),
        audio=draw(st.booleans()),
    )


@settings(max_examples=200, deadline=None)
@given(call=calls())
def test_estimate_calibrated_and_strict_ascend(call):
    assert 0 < estimate_input(call) <= input_bound(call, "calibrated") <= input_bound(call, "strict")


@settings(max_examples=200, deadline=None)
@given(call=calls(), more=st.integers(1, 10_000), mode=st.sampled_from(["calibrated", "strict"]))
def test_the_input_bound_grows_with_all_that_a_body_holds(call, more, mode):
    bound = input_bound(call, mode)
    assert bound <= input_bound(replace(call, text=call.text + more), mode)
    if call.kinds:
        hangul = kinds_of_all(call.kinds, kinds_of("한".encode() * more))
        assert bound <= input_bound(replace(call, text=call.text + 3 * more, kinds=hangul), mode)
    assert bound <= input_bound(replace(call, parts=call.parts + more), mode)
    assert bound <= input_bound(replace(call, tools=call.tools + more), mode)
    assert bound + more == input_bound(replace(call, media=call.media + more), mode)


@pytest.mark.parametrize("call", [CHAT, CLAUDE])
def test_strict_takes_a_token_a_byte_whatever_the_script(call):
    empty = input_bound(call, "strict")
    assert input_bound(replace(call, text=900), "strict") == empty + 900
    assert input_bound(replace(call, text=900, kinds=kinds_of("한".encode() * 300)), "strict") == empty + 900


def test_text_of_which_nobody_counted_the_kinds_is_a_token_a_byte():
    assert input_bound(replace(CHAT, text=900), "calibrated") == input_bound(CHAT, "calibrated") + 900


def test_what_a_batch_holds_is_bounded_line_by_line():
    lines = (
        replace(CHAT, text=900, cap=100),
        replace(CLAUDE, text=50, cap=7, choices=2),
        replace(CHAT, text=1),
    )
    batch = replace(CLAUDE, text=951, choices=4, lines=lines)
    for mode in ("strict", "calibrated"):
        assert input_bound(batch, mode) == sum(input_bound(line, mode) for line in lines)
    assert estimate_input(batch) == sum(map(estimate_input, lines))
    assert output_bound(batch, 5_000) == 100 + 2 * 7 + 5_000
    assert output_bound(replace(batch, cap=50), 5_000) == 50 + 2 * 7 + 50
    price = Price.per_million(input=0, output=8)
    assert affordable_cap(price, batch, 0, 8_000 * (50 + 2 * 7 + 50), 5_000) == 50


def test_of_several_models_the_hungriest_bounds_a_call():
    grok = replace(CHAT, provider="openrouter", model="x-ai/grok-4")
    assert input_bound(replace(CHAT, also=(grok,)), "calibrated") == input_bound(grok, "calibrated")
    assert input_bound(replace(grok, also=(CHAT,)), "strict") == input_bound(grok, "strict")


def test_claudes_instructions_for_tools_are_in_its_bound():
    """Anthropic adds a few hundred tokens to every call that describes tools, OpenAI a few."""
    assert input_bound(replace(CLAUDE, tools=1), "calibrated") > input_bound(CLAUDE, "calibrated") + 500
    assert input_bound(replace(CHAT, tools=1), "calibrated") < input_bound(CHAT, "calibrated") + 50


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("gpt-4.1", 32_768),
        ("gpt-4.1-mini-2025-04-14", 32_768),
        ("ft:gpt-4.1-2025-04-14:acme::id", 32_768),
        ("gpt-4o", 16_384),
        ("gpt-4o-audio-preview", 16_384),
        ("ft:gpt-4o-mini-2024-07-18:org::id", 16_384),
        ("gpt-4", 8_192),
        ("gpt-4-0613", 8_192),
        ("gpt-4-turbo-2024-04-09", 4_096),
        ("gpt-4-32k", 32_768),
        ("gpt-3.5-turbo-0125", 4_096),
        ("gpt-35-turbo-16k", 16_385),
        ("o1-2024-12-17", 100_000),
        ("o1-preview", 32_768),
        ("o1-mini", 65_536),
        ("o3-mini-2025-01-31", 100_000),
        ("o4-mini", 100_000),
        ("gpt-5", 128_000),
        ("gpt-5.4-mini-2026-03-17", 128_000),
        ("gpt-5-pro-2025-10-06", 272_000),
        ("openai/gpt-4.1", 32_768),
        ("OpenAI/GPT-4.1", 32_768),
        ("claude-3-haiku-20240307", 4_096),
        ("claude-3-opus-latest", 4_096),
        ("claude-3-5-sonnet-20241022", 8_192),
        ("anthropic/claude-3.5-haiku", 8_192),
        ("claude-3-7-sonnet-latest", 128_000),
        ("claude-sonnet-4-20250514", 64_000),
        ("claude-sonnet-4-5-20250929", 64_000),
        ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", 64_000),
        ("claude-sonnet-4-6", 128_000),
        ("claude-opus-4-1-20250805", 32_000),
        ("claude-opus-4-5", 64_000),
        ("claude-opus-4-8", 128_000),
        ("claude-fable-5", 128_000),
        ("gemini-2.5-pro", 65_536),
        ("gemini-2.0-flash-001", 8_192),
        ("gemini-2.0-flash-thinking-exp", 65_536),
        ("deepseek-chat", 393_216),
    ],
)
def test_the_longest_answer_is_the_familys(model, tokens):
    """A dated, prefixed or fine-tuned name is its family's; the longest family that leads a name counts."""
    assert max_output(model) == max_output(model, context=7) == tokens


@pytest.mark.parametrize(
    "model", [None, "", "llama-3", "gpt-4.2", "gpt-4ever", "o10", "my-gpt-4", "x" * 10**6]
)
def test_a_model_of_no_family_answers_as_long_as_its_context(model):
    """Never below the true maximum: a name that only resembles a known one is not taken for it."""
    assert max_output(model) == 128_000
    assert max_output(model, context=1_000_000) == 1_000_000


@needs_corpus
def test_no_recorded_answer_is_longer_than_its_models_longest():
    for provider in ("openai", "anthropic"):
        for exchange in exchanges(provider):
            expected = exchange["expected"]
            if expected["usage"] and expected["model"]:
                assert expected["usage"]["output"] <= max_output(expected["model"])


@pytest.mark.parametrize(
    ("call", "most"),
    [
        (CHAT, 32_768),
        (replace(CHAT, choices=3), 3 * 32_768),
        (replace(CHAT, cap=100), 100),
        (replace(CHAT, cap=100, choices=4), 400),
        (replace(CHAT, cap=0), 0),
        (replace(CHAT, cap=1_000_000), 1_000_000),
        (replace(CHAT, generates=False), 0),
        (replace(CHAT, generates=False, cap=100), 0),
    ],
)
def test_the_output_bound_is_the_named_cap_else_the_longest_each_choice(call, most):
    assert output_bound(call, 32_768) == most


@pytest.mark.parametrize(
    ("call", "usual", "cap", "tokens"),
    [
        (CHAT, None, None, 50 + 1024),
        (CHAT, None, 100, 50 + 100),
        (CHAT, None, 5000, 50 + 1024),
        (replace(CHAT, choices=3), None, None, 50 + 3 * 1024),
        (replace(CHAT, choices=3), None, 100, 50 + 300),
        (CHAT, 400, None, 50 + 400),
        (CHAT, 400, 100, 50 + 100),
        (replace(CHAT, choices=3), 400, 100, 50 + 300),
        (CHAT, 0, None, 50),
        (replace(CHAT, generates=False), 400, None, 50),
    ],
)
def test_a_limit_on_tokens_reserves_the_expected(call, usual, cap, tokens):
    assert expected_tokens(call, 50, usual, cap) == tokens


def test_a_free_operation_costs_nothing_at_the_worst():
    price = Price.per_million(input=2, output=8, request=1)
    assert worst_cost(price, replace(CHAT, free=True), 10**6, 10**6) == 0
    assert worst_cost(price, CHAT, 1000, 100) == 2_000_000 + 800_000 + 10**9


def test_a_call_is_bounded_by_what_it_can_do():
    """Cache writes and audio are dearer: only a call that cannot have them is bounded without."""
    price = Price.per_million(
        input=1, output=2, cache_write=1.25, cache_write_1h=2, audio_input=5, audio_output=9
    )
    silent = replace(CHAT, cache_write=False)
    assert worst_cost(price, silent, 1000, 1000) == 1_000_000 + 2_000_000
    assert worst_cost(price, CHAT, 1000, 1000) == 2_000_000 + 2_000_000
    assert worst_cost(price, replace(CHAT, audio=True), 1000, 1000) == 5_000_000 + 9_000_000


def test_a_provider_that_writes_its_cache_unasked_is_bounded_with_it():
    """GPT-5.6 and later bill cache writes that no body asks for: they are in the bound."""
    price = BOOK.find("openai", "gpt-5.6-sol", AUGUST_2026)
    written = Usage(input=10_000, cache_write=10_000)
    assert price.cost(Usage(input=10_000)) < price.cost(written) <= worst_cost(price, CHAT, 10_000, 0)


rates = st.integers(0, 5_000)


@settings(max_examples=300, deadline=None)
@given(
    call=calls(),
    base=st.tuples(rates, rates),
    tier=st.tuples(st.integers(0, 5_000), rates, rates),
    scale=st.sampled_from([1, 3, 1000]),
    input_tokens=st.integers(0, 10_000),
    budget=st.integers(0, 10**10),
    longest=st.integers(0, 200_000),
)
def test_an_affordable_cap_fits_and_one_token_more_does_not(
    call, base, tier, scale, input_tokens, budget, longest
):
    """Under tiers too: with the cap the call fits its budget, and no larger cap up to the longest does."""
    price = Price((Rates(-1, *base), Rates(*tier)), scale=scale)
    cap = affordable_cap(price, call, input_tokens, budget, longest)
    assert 0 <= cap <= longest

    def cost(tokens):
        return worst_cost(price, call, input_tokens, tokens * call.choices)

    assert cap == 0 or cost(cap) <= budget
    assert cap == longest or cost(cap + 1) > budget


def test_a_dollar_serves_a_model_whose_longest_answer_costs_more():
    price = Price.per_million(input=30, output=60)
    assert price.worst(500, 32_768) > 10**9
    cap = affordable_cap(price, CHAT, 500, 10**9 // 4, 32_768)
    assert cap == (10**9 // 4 - 500 * 30_000) // 60_000


def test_a_cap_is_nothing_where_not_even_the_input_fits():
    price = Price.per_million(input=2, output=8)
    assert affordable_cap(price, CHAT, 1000, 1_999_999, 100) == 0
    assert affordable_cap(price, CHAT, 1000, 2_000_000, 100) == 0
    assert affordable_cap(price, CHAT, 1000, 2_008_000, 100) == 1


def test_what_is_free_needs_no_lower_cap():
    assert affordable_cap(Price.per_million(input=0, output=0), CHAT, 10**6, 0, 32_768) == 32_768
