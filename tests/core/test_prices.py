from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import astuple
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from itertools import product

import genai_prices
import pytest
from genai_prices.data_snapshot import DataSnapshot, get_snapshot, set_custom_snapshot
from genai_prices.types import ModelInfo
from hypothesis import example, given, settings
from hypothesis import strategies as st

from quotaware.core.prices import BATCH, MAX_NAME, Price, PriceBook, Rates, Service, dearest, service
from quotaware.core.usage import Usage
from quotaware.errors import ConfigurationError
from tests.support import NOVEMBER

NOW = 1_780_000_000_000
BOOK = PriceBook()

# Tiers, cached input, both cache writes, thinking and audio apart, a price by the request, dated prices.
LISTED = [
    ("openai", "gpt-4.1"),
    ("openai", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-4o-audio-preview"),
    ("openai", "o3"),
    ("openai", "gpt-5-mini"),
    ("openai", "gpt-5.6-sol"),
    ("openai", "text-embedding-3-small"),
    ("azure", "gpt-4o"),
    ("anthropic", "claude-sonnet-4-5-20250929"),
    ("anthropic", "claude-opus-4-6"),
    ("anthropic", "claude-3-5-haiku-latest"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("deepseek", "deepseek-chat"),
    ("groq", "llama-3.3-70b-versatile"),
    ("mistral", "mistral-large-latest"),
    ("perplexity", "sonar-pro"),
    ("perplexity", "sonar-deep-research"),
    ("x-ai", "grok-4"),
    ("openrouter", "anthropic/claude-sonnet-4.5"),
]
USAGES = [
    Usage(),
    Usage(input=1),
    Usage(output=1),
    Usage(input=17, output=3),
    Usage(input=127_999, output=16_384),
    Usage(input=128_001, output=777),
    Usage(input=200_000, output=1_001),
    Usage(input=200_001, output=1_001),
    Usage(input=272_001, output=9),
    Usage(input=1_234_567, output=65_537, cache_read=1_200_001),
    Usage(input=5_003, output=11, cache_read=2_001, cache_write=3_001),
    Usage(input=250_007, output=13, cache_read=100_003, cache_write=150_001, cache_write_1h=70_001),
    Usage(input=999, output=4_003, reasoning=3_001),
    Usage(input=1_501, output=901, audio_input=701, audio_output=499),
    Usage(input=40, output=7, web_searches=3, file_searches=2),
]


@st.composite
def prices(draw: st.DrawFn) -> Price:
    rate = st.integers(0, 10**6)
    apart = st.none() | rate
    starts = draw(st.lists(st.integers(0, 2_000), max_size=2, unique=True).map(sorted))
    tiers = tuple(
        Rates(above, draw(rate), draw(rate), *(draw(apart) for _ in range(6))) for above in (-1, *starts)
    )
    return Price(tiers, draw(rate), draw(st.sampled_from([1, 7, 10**6])))


tokens = st.integers(0, 3_000)
usages = st.builds(Usage, *[tokens] * 8)


def listed_cost(provider: str, model: str, usage: Usage, at_ms: int, how: Service = ()) -> int:
    """The list's own total in whole nano-dollars."""
    counts = {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cache_read_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
        "cache_write_1h_tokens": usage.cache_write_1h,
        "output_reasoning_tokens": usage.reasoning,
        "input_audio_tokens": usage.audio_input,
        "output_audio_tokens": usage.audio_output,
        "input_image_tokens": usage.image_input,
        "output_image_tokens": usage.image_output,
        "cache_audio_read_tokens": usage.cache_read_audio,
        "cache_image_read_tokens": usage.cache_read_image,
        "input_video_tokens": usage.video_input,
        "output_video_tokens": usage.video_output,
        "web_searches": usage.web_searches,
        "storage_searches": usage.file_searches,
        "rerank_searches": usage.rerank_searches,
        "input_document_pages": usage.pages,
        "input_annotated_document_pages": usage.annotated_pages,
        "input_characters": usage.characters,
        "audio_seconds": Decimal(usage.audio_ms) / 1000,
        "input_audio_seconds": Decimal(usage.audio_ms) / 1000,
    }
    total = genai_prices.calc_price(
        genai_prices.Usage(**{name: number for name, number in counts.items() if number}),
        model,
        provider_id=provider,
        genai_request_timestamp=datetime.fromtimestamp(at_ms // 1000, UTC),
        price_context=dict(how),
    ).total_price
    return int((total * 10**9).to_integral_value(ROUND_HALF_EVEN))


@pytest.mark.parametrize(("provider", "model"), LISTED)
def test_costs_equal_the_lists_own_to_the_nano_dollar(provider, model):
    price = BOOK.find(provider, model, NOW)
    assert price is not None
    for usage in USAGES:
        assert price.cost(usage) == listed_cost(provider, model, usage, NOW), usage


@pytest.mark.slow
def test_every_listed_model_costs_what_the_list_says():
    """Every provider and model of the list by its own name; most have rates for tokens, and so a price."""
    named = [(provider.id, model.id) for provider in get_snapshot().providers for model in provider.models]
    priced = [(*name, price) for name in named if (price := BOOK.find(*name, NOW))]
    assert len(priced) > 0.8 * len(named)
    for provider, model, price in priced:
        for usage in USAGES:
            assert price.cost(usage) == listed_cost(provider, model, usage, NOW), (provider, model, usage)


def contexts(model: ModelInfo) -> list[Service]:
    """Every way of service that a model of the list names, alone and with each other, and one that nobody names."""
    values: dict[str, list[str | None]] = {"service_tier": [None, "scale"]}
    for variant in model.price_variants or []:
        for name, value in variant.when.items():
            values.setdefault(name, [None]).append(value)
    return [service(**dict(zip(values, each, strict=True))) for each in product(*values.values())]


def test_every_way_of_service_costs_what_the_list_says():
    """Tiers, batches, fast modes and their mixtures, of every model that has them, before they were listed and after:
    to the nano-dollar.
    """
    models = [
        (home.id, model)
        for home in get_snapshot().providers
        for model in home.models
        if model.price_variants and home.find_model(model.id) is model
    ]
    assert len(models) > 100
    ways = 0
    for provider, model in models:
        for moment in (NOW, NOVEMBER):
            price = BOOK.find(provider, model.id, moment)
            for how in contexts(model):
                for usage in (USAGES[8], USAGES[11], Usage(pages=7, annotated_pages=3, audio_ms=61_000)):
                    cost = listed_cost(provider, model.id, usage, moment, how)
                    assert price.served(how).cost(usage) == cost, (provider, model.id, how, usage)
                ways += 1
    assert ways > 1_000


def test_a_tier_prices_the_whole_call_from_its_first_token_on():
    price = BOOK.find("anthropic", "claude-sonnet-4-5", NOW)
    assert price.cost(Usage(input=200_000)) == 200_000 * 3_000
    assert price.cost(Usage(input=200_001)) == 200_001 * 6_000


def test_half_a_nano_dollar_goes_to_the_even_one_and_only_once():
    price = Price.per_million(input=0.0005, output=0.0005)
    assert [price.cost(Usage(input=n)) for n in (1, 2, 3, 5)] == [0, 1, 2, 2]
    assert price.cost(Usage(input=1, output=1)) == 1


def test_requests_are_priced_where_the_price_says_so():
    price = Price.per_million(input=1, output=2, request=0.005)
    assert price.cost(Usage(input=1000)) == 1_000_000 + 5_000_000
    assert price.cost(Usage(input=1000), requests=3) == 1_000_000 + 15_000_000
    assert price.worst(1000, 0, requests=3) == 1_000_000 + 15_000_000


def test_what_is_not_priced_apart_is_priced_as_its_whole():
    everything = Usage(
        input=1000,
        output=500,
        cache_read=100,
        cache_write=300,
        cache_write_1h=200,
        reasoning=400,
        audio_input=50,
        audio_output=60,
    )
    plain = Price.per_million(input=1, output=2)
    assert plain.cost(everything) == 1000 * 1000 + 500 * 2000
    written = Price.per_million(input=1, output=2, cache_write=10)
    assert written.cost(everything) == 700 * 1000 + 300 * 10_000 + 500 * 2000


def test_a_token_is_charged_once_however_many_parts_claim_it():
    """I-20: parts that are more than the whole cost no more than the whole can."""
    price = Price.per_million(input=1, output=2, cache_read=0.1, cache_write=1.25, audio_input=3, reasoning=5)
    assert price.cost(Usage(input=10, cache_read=50)) == 10 * 100
    assert price.cost(Usage(input=10, audio_input=8, cache_read=8)) == 8 * 3000 + 2 * 100
    assert price.cost(Usage(input=10, cache_write=4, cache_write_1h=6)) == 6 * 1250 + 4 * 1000
    assert price.cost(Usage(output=10, reasoning=50)) == 10 * 5000


@settings(max_examples=200, deadline=None)
@given(price=prices(), usage=usages)
def test_a_price_kept_in_a_reservation_costs_the_same_to_the_nano_dollar(price, usage):
    """I-19: settling goes by the version that the reservation kept, whatever the list says by then."""
    kept = Price.load(price.version)
    assert kept == price
    assert kept.version == price.version
    assert kept.cost(usage) == price.cost(usage)


@pytest.mark.parametrize(("provider", "model"), LISTED)
def test_listed_prices_survive_as_text(provider, model):
    """I-19, for prices as they are really listed."""
    price = BOOK.find(provider, model, NOW)
    assert Price.load(price.version) == price


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gpt-4.1",
        "7",
        "[]",
        "{}",
        '{"tiers":[],"request":0,"scale":1}',
        '{"tiers":[{"above":0,"input":1}],"request":0,"scale":1}',
        '{"tiers":[{"above":-1},{"above":9},{"above":9}],"request":0,"scale":1}',
        '{"tiers":[{"above":-1,"input":-1}],"request":0,"scale":1}',
        '{"tiers":[{"above":-1,"input":0.5}],"request":0,"scale":1}',
        '{"tiers":[{"above":-1,"input":"1"}],"request":0,"scale":1}',
        '{"tiers":[{"above":-1,"inptu":1}],"request":0,"scale":1}',
        '{"tiers":[{"above":-1}],"request":0,"scale":0}',
        '{"tiers":[{"above":-1}],"request":true,"scale":1}',
        '{"tiers":[{"above":-1}],"request":0}',
    ],
)
def test_text_that_names_no_price_is_refused(text):
    with pytest.raises(ValueError, match="not the version of a price"):
        Price.load(text)


def within(usage: Usage, cache_write: bool, audio: bool) -> Usage:
    """The usage of a call that can do only so much."""
    return Usage(
        input=usage.input,
        output=usage.output,
        cache_read=usage.cache_read,
        cache_write=usage.cache_write if cache_write else 0,
        cache_write_1h=usage.cache_write_1h if cache_write else 0,
        reasoning=usage.reasoning,
        audio_input=usage.audio_input if audio else 0,
        audio_output=usage.audio_output if audio else 0,
    )


@settings(max_examples=400, deadline=None)
@given(
    price=prices(),
    usage=usages,
    more=st.tuples(tokens, tokens),
    cache_write=st.booleans(),
    audio=st.booleans(),
)
def test_no_usage_within_the_bounds_costs_more_than_the_worst(price, usage, more, cache_write, audio):
    """Tiers, parts that exceed their whole and all: the worst case is never below the real cost."""
    worst = price.worst(usage.input + more[0], usage.output + more[1], cache_write=cache_write, audio=audio)
    assert price.cost(within(usage, cache_write, audio)) <= worst


@settings(max_examples=200, deadline=None)
@given(
    told=st.lists(prices(), min_size=1, max_size=3),
    size=st.tuples(tokens, tokens),
    cache_write=st.booleans(),
    audio=st.booleans(),
)
def test_the_dearest_of_several_is_below_none_of_them(told, size, cache_write, audio):
    """Where one is dearer in input and another in output, or from some size on, each by its own rates."""
    named = {f"m{number}": price for number, price in enumerate(told)}
    most = dearest(named)
    assert most.told(None) == most.told("another") == most
    assert Price.load(most.version).worst(*size) == most.worst(*size)
    for name, price in named.items():
        assert most.told(f"{name}-2025-04-14") == price
        least = price.worst(*size, cache_write=cache_write, audio=audio)
        assert most.worst(*size, cache_write=cache_write, audio=audio) >= least


@settings(max_examples=200, deadline=None)
@given(price=prices(), size=st.tuples(tokens, tokens), more=st.tuples(tokens, tokens))
def test_the_worst_case_grows_with_each_bound_and_each_ability(price, size, more):
    worst = price.worst(*size, cache_write=False)
    assert worst <= price.worst(size[0] + more[0], size[1], cache_write=False)
    assert worst <= price.worst(size[0], size[1] + more[1], cache_write=False)
    assert worst <= price.worst(*size, cache_write=True)
    assert worst <= price.worst(*size, cache_write=False, audio=True)
    assert worst <= price.worst(*size, cache_write=False, requests=2)


def test_the_worst_case_is_no_more_than_it_must_be():
    plain = Price.per_million(input=2, output=8, cache_read=0.5)
    assert plain.worst(1000, 100) == plain.cost(Usage(input=1000, output=100))
    cached = Price.per_million(input=3, output=15, cache_write=3.75, cache_write_1h=6, audio_output=60)
    assert cached.worst(1000, 100, cache_write=False) == 1000 * 3000 + 100 * 15_000
    assert cached.worst(1000, 100) == 1000 * 6000 + 100 * 15_000
    assert cached.worst(1000, 100, audio=True) == 1000 * 6000 + 100 * 60_000
    falling = Price((Rates(-1, 10, 0), Rates(100, 1, 0)))
    assert falling.worst(100, 0) == falling.worst(1000, 0) == 1000
    assert falling.worst(1001, 0) == 1001


def test_a_user_writes_dollars_per_million_tokens():
    price = Price.per_million(input=2.0, output="8", cache_read=Decimal("0.5"))
    assert price == Price((Rates(-1, 2000, 8000, 500),))
    assert price.cost(Usage(input=1000, output=10, cache_read=400)) == 600 * 2000 + 400 * 500 + 10 * 8000


@pytest.mark.parametrize(
    ("rates", "field"),
    [
        ({"input": -1, "output": 1}, "input"),
        ({"input": 1, "output": float("nan")}, "output"),
        ({"input": float("inf"), "output": 1}, "input"),
        ({"input": 1, "output": 9_000_001}, "output"),
        ({"input": True, "output": 1}, "input"),
        ({"input": None, "output": 1}, "input"),
        ({"input": "dear", "output": 1}, "input"),
        ({"input": 1, "output": 1, "cache_read": 1e-10}, "cache_read"),
        ({"input": 1, "output": 1, "request": -0.01}, "request"),
        ({"input": 1}, "output"),
        ({"output": 1}, "input"),
        ({"input": 1, "output": 1, "outptu": 1}, "outptu"),
        ({}, "input"),
        ({"input": 1, "output": 1, "batch": {"input": -1}}, "batch.input"),
        ({"input": 1, "output": 1, "flex": {"request": "dear"}}, "flex.request"),
        ({"input": 1, "output": 1, "batch": {"batch": {}}}, "batch.batch"),
        ({"input": 1, "output": 1, "fast": 3}, "fast"),
        ({"input": 1, "output": True, "batch": {"output": 1}}, "output"),
    ],
)
def test_a_wrong_rate_is_named(rates, field):
    with pytest.raises(ConfigurationError) as alone:
        Price.per_million(**rates)
    assert alone.value.field == field
    with pytest.raises(ConfigurationError) as in_book:
        PriceBook({"my-model*": rates})
    assert in_book.value.field == f"prices['my-model*'].{field}"


@pytest.mark.parametrize("price", [None, 3, "3", [1, 2]])
def test_an_override_that_is_no_price_is_named(price):
    with pytest.raises(ConfigurationError, match="US dollars per million tokens") as wrong:
        PriceBook({"my-model": price})
    assert wrong.value.field == "prices['my-model']"


@pytest.mark.parametrize("name", ["", "  "])
def test_an_override_without_a_name_is_refused(name):
    with pytest.raises(ConfigurationError, match="name a model"):
        PriceBook({name: {"input": 1, "output": 1}})


def test_overrides_go_before_the_list_the_nearest_first():
    named = {
        "*": Price.per_million(input=1, output=1),
        "my-*": Price.per_million(input=2, output=2),
        "My-Model-*": {"input": 3, "output": 3},
        "my-model-x": {"input": 4, "output": 4},
        "local/my-model-x": {"input": 5, "output": 5},
    }
    book = PriceBook(named)

    def rate(provider, model):
        return book.find(provider, model, NOW).tiers[0].input // 1000

    assert rate("openai", "gpt-4.1") == 1
    assert rate(None, "my-own") == 2
    assert rate("openai", "my-model-y") == 3
    assert rate("openai", "MY-MODEL-X") == 4
    assert rate("local", "my-model-x") == 5
    assert rate(None, "local/my-model-x") == 5


def test_a_free_model_is_one_that_is_said_to_be():
    price = PriceBook({"llama*": {"input": 0, "output": 0}}).find(None, "llama-3", NOW)
    assert price.cost(Usage(input=10**6, output=10**6)) == price.worst(10**6, 10**6) == 0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "no-such-model"),
        ("anthropic", "gpt-4.1"),
        ("no-such-provider", "gpt-4.1"),
        (None, "no-such-model"),
        (None, "no-such/model"),
        ("openai", ""),
        (None, ""),
        (None, "/"),
        ("openai", "gpt-4.1" + "-x" * MAX_NAME),
    ],
)
def test_a_model_that_nobody_prices_by_the_token_has_no_price(provider, model):
    """Not known is not free: also where the list names a model and no rate for its tokens."""
    assert BOOK.find(provider, model, NOW) is None


@pytest.mark.parametrize(
    ("name", "provider", "model"),
    [
        ("gpt-4.1-2025-04-14", "openai", "gpt-4.1"),
        ("GPT-4.1", "openai", "gpt-4.1"),
        ("claude-sonnet-4-5-20250929", "anthropic", "claude-sonnet-4-5"),
        ("openai/gpt-4.1", "openai", "gpt-4.1"),
        ("anthropic/claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5"),
        ("text-embedding-3-small", "openai", "text-embedding-3-small"),
        ("openrouter/anthropic/claude-sonnet-4.5", "openrouter", "anthropic/claude-sonnet-4.5"),
    ],
)
def test_where_the_host_is_unknown_the_name_alone_prices_it(name, provider, model):
    assert BOOK.find(None, name, NOW) == BOOK.find(provider, model, NOW) is not None


def test_a_prefixed_name_is_found_under_a_host_that_relays_others_models():
    assert BOOK.find("openai", "anthropic/claude-sonnet-4-5", NOW) == BOOK.find(
        "anthropic", "claude-sonnet-4-5", NOW
    )


def at(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)


def test_a_price_is_the_one_in_force_when_the_call_was_made():
    """I-19: o3 became cheaper on 10 June 2025; the day before costs what it did then."""
    before, after = (BOOK.find("openai", "o3", at(2025, 6, day, 12)) for day in (9, 11))
    assert before.tiers[0].input == 10_000
    assert after.tiers[0].input == 2_000


def test_a_price_by_the_hour_changes_on_the_millisecond():
    peak = BOOK.find("deepseek", "deepseek-reasoner", at(2025, 3, 1, 0, 30))
    off_peak = BOOK.find("deepseek", "deepseek-reasoner", at(2025, 3, 1, 0, 30) - 1)
    assert peak != off_peak
    for price, moment in ((peak, at(2025, 3, 1, 0, 30)), (off_peak, at(2025, 3, 1, 0, 29))):
        usage = Usage(input=1001, output=77)
        assert price.cost(usage) == listed_cost("deepseek", "deepseek-reasoner", usage, moment)


def test_context_windows_are_the_lists():
    assert BOOK.context_window("openai", "gpt-4") == 8192
    assert BOOK.context_window(None, "anthropic/claude-sonnet-4-5") == 200_000
    assert BOOK.context_window("openai", "no-such-model") is None
    assert BOOK.context_window("openai", "x" * (MAX_NAME + 1)) is None


def test_names_from_outside_leave_nothing_behind():
    """Bounded: neither our cache nor the list's own grows with the names that callers make up."""
    snapshot = get_snapshot()
    kept = (snapshot._lookup_cache, snapshot._provider_cache, snapshot._provider_misses)
    before = [len(cache) for cache in kept]
    book = PriceBook(cache_size=50)
    for number in range(300):
        book.find("groq", f"made-up-{number}", NOW)
        book.find(f"made-up-{number}", f"made/up-{number}", NOW)
    assert [len(cache) for cache in kept] == before
    assert book._list[1].cache_info().currsize == 50


def test_newer_prices_that_the_host_fetched_are_used():
    old = get_snapshot()
    book = PriceBook()
    assert book.find("openai", "gpt-4.1", NOW)
    try:
        set_custom_snapshot(DataSnapshot(providers=[], from_auto_update=True))
        assert book.find("openai", "gpt-4.1", NOW) is None
    finally:
        set_custom_snapshot(None)
    assert get_snapshot() is old
    assert book.find("openai", "gpt-4.1", NOW)


def test_any_thread_may_ask():
    book = PriceBook(cache_size=3)
    names = [model for provider, model in LISTED if provider == "openai"] * 40
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: book.find("openai", name, NOW), names))
    assert found == [BOOK.find("openai", name, NOW) for name in names]


def test_the_list_is_loaded_at_the_first_look_only():
    """Importing and making a book costs no host's start-up time."""
    program = (
        "import sys; from quotaware.core.prices import PriceBook;"
        "book = PriceBook({'m': {'input': 1, 'output': 1}});"
        "book.find(None, 'm', 0); assert 'genai_prices' not in sys.modules;"
        "book.find('openai', 'gpt-4.1', 0); assert 'genai_prices' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


@given(price=prices())
@example(price=Price((Rates(-1),)))
@settings(max_examples=50, deadline=None)
def test_nothing_used_costs_the_request_alone(price):
    nothing = Price(
        tuple(Rates(tier.above, *[0] * (len(astuple(tier)) - 1)) for tier in price.tiers), price.request
    )
    assert nothing.cost(Usage(input=500, output=500)) == price.request
    assert price.cost(Usage(), requests=0) == 0


@pytest.mark.parametrize(
    ("provider", "model", "usage", "nano"),
    [
        ("openai", "tts-1", Usage(characters=1_000), 15_000_000),
        ("openai", "whisper-1", Usage(audio_ms=60_000), 6_000_000),
        ("groq", "whisper-large-v3", Usage(audio_ms=3_600_000), 111_000_000),
        ("openai", "gpt-image-1", Usage(input=50, image_input=40, output=100, image_output=100), 4_450_000),
        ("openai", "gpt-image-1.5", Usage(output=100, image_output=90), 90 * 32_000 + 10 * 10_000),
    ],
)
def test_what_is_billed_by_count_or_as_images_is_priced_as_listed(provider, model, usage, nano):
    price = BOOK.find(provider, model, NOW)
    assert price is not None
    assert price.cost(usage) == nano
    assert Price.load(price.version) == price
    assert price.worst(usage.input, usage.output, counts=usage) >= nano


def test_a_price_by_the_image_character_and_hour_is_said():
    price = Price.per_million(input=0, output=0, image=0.04, characters=15, audio_hour=0.36)
    assert price.cost(Usage(images=2, characters=3, audio_ms=10)) == 80_000_000 + 45_000 + 1_000
    assert price.by_count
    assert not Price.per_million(input=1, output=0, image=1).by_count
    assert not Price.per_million(input=0, output=0).by_count
    both = dearest({"a": price, "b": Price.per_million(input=1, output=1, image=0.1)})
    assert both.cost(Usage(images=1, characters=1)) == 100_000_000 + 15_000


def test_what_a_user_says_of_a_way_of_service_is_charged_there():
    """What is not said of it costs there what it costs otherwise."""
    price = Price.per_million(
        input=2,
        output=8,
        cache_read=1,
        batch={"input": 1, "output": 4},
        flex={"output": 5},
        fast={"input": 20},
    )
    usage = Usage(input=10, output=10, cache_read=5)
    costs = {
        (): 5 * 2_000 + 5 * 1_000 + 10 * 8_000,
        BATCH: 5 * 1_000 + 5 * 1_000 + 10 * 4_000,
        (("service_tier", "flex"),): 5 * 2_000 + 5 * 1_000 + 10 * 5_000,
        (("speed", "fast"),): 5 * 20_000 + 5 * 1_000 + 10 * 8_000,
        (("service_tier", "fast"),): 5 * 20_000 + 5 * 1_000 + 10 * 8_000,
        (("service_tier", "priority"),): 5 * 2_000 + 5 * 1_000 + 10 * 8_000,
    }
    assert {how: price.served(how).cost(usage) for how in costs} == costs
    assert Price.load(price.version) == price
    other = Price.per_million(input=3, output=3)
    most = dearest({"a": price, "b": other})
    assert most.served(BATCH).cost(Usage(input=10)) == 30_000
    assert most.served(BATCH).cost(Usage(output=10)) == 40_000
    assert most.told("a").served(BATCH) == price.served(BATCH)
    assert most.served(()) == most


def test_the_worst_of_a_way_of_service_is_never_below_the_usual_one():
    """A provider may serve a call that asks for priority as any other; what is asked for in a batch is in one."""
    price = Price.per_million(
        input=2,
        output=8,
        priority={"input": 4},
        flex={"input": 1, "output": 4},
        batch={"input": 1, "output": 4},
    )
    assert price.worst(10, 10, how=(("service_tier", "priority"),)) == 10 * 4_000 + 10 * 8_000
    assert price.worst(10, 10, how=(("service_tier", "flex"),)) == 10 * 2_000 + 10 * 8_000
    assert price.worst(10, 10, how=BATCH) == 10 * 1_000 + 10 * 4_000
    assert (
        dearest({"a": price, "b": Price.per_million(input=0, output=9)}).worst(10, 10, how=BATCH) == 100_000
    )


def test_cached_tokens_of_a_medium_have_a_rate_of_their_own():
    """Else they cost what the medium does, and are not charged as cached too."""
    usage = Usage(
        input=100, audio_input=30, image_input=20, cache_read=40, cache_read_audio=10, cache_read_image=5
    )
    own = {
        "audio_input": 10,
        "image_input": 8,
        "cache_read": 0.5,
        "cache_read_audio": 2,
        "cache_read_image": 3,
    }
    price = Price.per_million(input=1, output=0, **own)
    assert price.cost(usage) == 20_000 + 15_000 + 20 * 10_000 + 15 * 8_000 + 25 * 500 + 25 * 1_000
    assert price.cost(usage) <= price.worst(100, 0, audio=True)
    del own["cache_read_audio"], own["cache_read_image"]
    price = Price.per_million(input=1, output=0, **own)
    assert price.cost(usage) == 30 * 10_000 + 20 * 8_000 + 25 * 500 + 25 * 1_000
    price = Price.per_million(input=1, output=0, cache_read=0.5)
    assert price.cost(usage) == 40 * 500 + 60 * 1_000


def test_fees_are_charged_by_the_use_and_pages_by_the_page():
    price = Price.per_million(
        input=1,
        output=1,
        web_search=0.01,
        file_search=0.0025,
        rerank_search=0.002,
        page=0.001,
        annotated_page=0.003,
    )
    assert price.cost(Usage(web_searches=3, file_searches=2, rerank_searches=1)) == 37_000_000
    assert price.cost(Usage(pages=10, annotated_pages=4)) == 6 * 1_000_000 + 4 * 3_000_000
    assert not price.by_count
    assert not Price.per_million(input=0, output=0, web_search=1).by_count
    assert Price.per_million(input=0, output=0, page=1).by_count


def test_a_snapshot_of_a_model_costs_what_is_said_of_it():
    book = PriceBook(
        {"my-model": {"input": 3, "output": 3}, "my-model-2026-01-02": {"input": 4, "output": 4}}
    )
    assert book.find(None, "my-model-2026-01-01", NOW).tiers[0].input == 3_000
    assert book.find(None, "my-model-2026-01-02", NOW).tiers[0].input == 4_000
    assert book.find(None, "my-model-mini", NOW) is None


@pytest.mark.parametrize("pattern", ["gpt-?", "gpt-[45]", "a b", "x" * 300, "*a" * 20])
def test_a_pattern_of_another_kind_is_refused(pattern):
    with pytest.raises(ConfigurationError) as wrong:
        PriceBook({pattern: {"input": 1, "output": 1}})
    assert wrong.value.field == f"prices[{pattern!r}]"


def test_short_sounds_are_billed_as_ten_seconds_where_that_is_so():
    price = BOOK.find("groq", "whisper-large-v3", NOW)
    assert price.cost(Usage(audio_ms=1_000)) == price.cost(Usage(audio_ms=10_000)) == 308_333
    assert price.cost(Usage()) == 0
    assert price.worst(0, 0, counts=Usage(audio_ms=1)) == 308_333
    assert listed_cost("groq", "whisper-large-v3", Usage(audio_ms=1_000), NOW) == 308_333
    assert Price.load(price.version) == price
