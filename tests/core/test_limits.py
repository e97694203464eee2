from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.limits import Limit, Metric, Mode, bearing
from quotaware.core.models import MAX_PATTERN, MAX_STARS, Model
from quotaware.core.money import MAX_AMOUNT, NANO
from quotaware.core.windows import Window
from quotaware.errors import ConfigurationError, LimitSyntaxError

NAMES = ["second", "minute", "hour", "calendar hour", "day", "week", "month", "quarter", "year", "life"]
WINDOWS = [Window.parse(name) for name in NAMES]
MINUTE, DAY, MONTH = map(Window.parse, ("minute", "day", "month"))
WORDS = ("for", "per", "hard", "soft", "shadow")


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("$50/month", Limit("cost", 50 * NANO, MONTH)),
        ("600 requests/minute", Limit("requests", 600, MINUTE)),
        ("200000 tokens/minute soft", Limit("tokens", 200_000, MINUTE, mode="soft")),
        ("$1/day per end_user", Limit("cost", NANO, DAY, per="end_user")),
        ("20 requests/minute per end_user", Limit("requests", 20, MINUTE, per="end_user")),
        ("1000 requests/day for gpt-4.1*", Limit("requests", 1000, DAY, models="gpt-4.1*")),
        ("8 concurrent", Limit("concurrency", 8, None)),
        ("$500/life", Limit("cost", 500 * NANO, Window("life", "life"))),
        ("$3/calendar hour", Limit("cost", 3 * NANO, Window("calendar", "hour"))),
        ("100 requests/hour shadow", Limit("requests", 100, Window("rolling", "hour"), mode="shadow")),
        (
            "$5/day for gpt-4.1* per end_user soft",
            Limit("cost", 5 * NANO, DAY, "gpt-4.1*", "end_user", "soft"),
        ),
        ("$0/day", Limit("cost", 0, DAY)),
        ("0 requests/day", Limit("requests", 0, DAY)),
        ("1 request/day", Limit("requests", 1, DAY)),
        ("1 token/day for openai/gpt-4.1", Limit("tokens", 1, DAY, models="openai/gpt-4.1")),
        ("8 concurrent for a/b* per end_user", Limit("concurrency", 8, None, models="a/b*", per="end_user")),
        ("$9000000/year", Limit("cost", MAX_AMOUNT, Window("calendar", "year"))),
    ],
)
def test_a_limit_round_trips_through_its_text(text, limit):
    assert Limit.parse(text) == limit
    assert str(limit) == text


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("  $50 / month ", "$50/month"),
        ("$ 50/month", "$50/month"),
        ("$50.00/month", "$50/month"),
        ("$1,500.5/month", "$1500.5/month"),
        ("600   requests /\tminute", "600 requests/minute"),
        ("1,000 requests/day", "1000 requests/day"),
        ("1_000 request/day", "1000 requests/day"),
        ("$50/Month SOFT", "$50/month soft"),
        ("5 TOKENS/Calendar  HOUR FOR GPT-X PER End_User", "5 tokens/calendar hour for GPT-X per end_user"),
        ("$5/day soft per end_user for a/b", "$5/day for a/b per end_user soft"),
        ("$5/day hard", "$5/day"),
        ("$5/lifetime", "$5/life"),
        ("$5/calendar day", "$5/day"),
        ("8 CONCURRENT", "8 concurrent"),
    ],
)
def test_other_spellings_are_read_and_written_back_in_the_one_form(text, canonical):
    assert str(Limit.parse(text)) == canonical


@pytest.mark.parametrize(
    ("text", "word", "says"),
    [
        ("", "", "is empty; write it like '$50/month'"),
        ("   ", "", "is empty"),
        ("$50", "$50", "a window is missing after '$50'"),
        ("$50 month", "month", "a window is missing after '$50'; add one, such as /minute or /month"),
        ("$50 per month", "per", "a window is missing"),
        ("600 requests", "requests", "a window is missing after 'requests'"),
        ("600 requests soft", "soft", "a window is missing"),
        ("$50/", "/", "give one of second, minute"),
        ("$50/fortnight", "fortnight", "unknown window 'fortnight'; give one of second, minute"),
        ("$50/calendar", "calendar", "give one of second, minute"),
        ("$50/calendar minute", "calendar minute", "give one of second, minute"),
        ("600 calls/minute", "calls", "after '600' stands requests, tokens or concurrent"),
        ("50 usd/month", "usd", "$ before an amount of money"),
        ("600/minute", "/", "after '600' stands requests, tokens or concurrent"),
        ("600", "600", "after '600' stands requests, tokens or concurrent"),
        ("fifty requests/day", "fifty", "'fifty' is not a number"),
        ("$fifty/day", "$fifty", "is not a number"),
        ("50$/day", "50$", "is not a number"),
        ("$", "$", "is not a number"),
        ("requests/day", "requests", "is not a number"),
        ("-5 requests/day", "-5", "must not be negative"),
        ("$-5/day", "$-5", "must not be negative"),
        ("-$5/day", "-$5", "must not be negative"),
        ("nan tokens/day", "nan", "must be finite"),
        ("$NaN/day", "$NaN", "must be finite"),
        ("inf tokens/day", "inf", "must be finite"),
        ("$inf/day", "$inf", "must be finite"),
        ("$9000000.01/day", "$9000000.01", "over the bound; give US dollars from 0 to $9000000"),
        ("$1e999/day", "$1e999", "over the bound"),
        ("9000000000000001 tokens/day", "9000000000000001", "from 0 to 9000000000000000"),
        ("1.5 requests/day", "1.5", "must be whole"),
        ("$0.0000000001/day", "$0.0000000001", "at most nine decimals"),
        ("8 concurrent/minute", "/", "a limit on concurrency has no window"),
        ("0.5 concurrent", "0.5", "must be whole"),
        ("$5/day soft shadow", "shadow", "gives mode a second time"),
        ("$5/day hard soft", "soft", "gives mode a second time"),
        ("$5/day for a for b", "for", "gives models a second time"),
        ("$5/day per end_user per end_user", "per", "gives per a second time"),
        ("$5/day for", "for", "a model pattern is missing after 'for'"),
        ("$5/day for per end_user", "per", "a model pattern is missing after 'for'"),
        ("$5/day for SOFT", "SOFT", "a model pattern is missing after 'for'"),
        ("$5/day for " + "a" * 257, "a" * 257, "at most 256 characters, this one 257"),
        ("$5/day for " + "a*" * 17, "a*" * 17, "at most 16 stars, this one 17"),
        ("$5/day for a\0b", "a\0b", "no spaces or control characters"),
        ("$5/day per", "per", "'per' takes end_user"),
        ("$5/day per user", "user", "'per' takes end_user, not 'user'"),
        ("$5/day please", "please", "unknown word 'please'; after the window can stand for, per"),
        ("$5/day/month", "/", "unknown word '/'"),
        ("8 concurrent calls", "calls", "unknown word 'calls'"),
        ("$5/day " + "soft " * 400, "", "is longer than 1024 characters"),
    ],
)
def test_a_text_that_cannot_be_read_names_the_word_and_the_way_out(text, word, says):
    with pytest.raises(LimitSyntaxError) as refused:
        Limit.parse(text)
    assert refused.value.word == word
    assert says in str(refused.value)
    assert refused.value.field == "limit"


@pytest.mark.parametrize("text", [None, 50, b"$50/month", ["$50/month"], True])
def test_what_is_not_text_is_refused(text):
    with pytest.raises(LimitSyntaxError, match=r"must be text, such as '\$50/month'"):
        Limit.parse(text)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        *(("metric", value) for value in ("calls", "", None, [])),
        *(("amount", value) for value in (-1, MAX_AMOUNT + 1, 10**9000, 1.0, "5", None, True, float("nan"))),
        *(("window", value) for value in (None, "day", 60)),
        *(("models", value) for value in ("", "a b", "a" * 257, "*" * 17, "a\nb", 5, "soft", "For")),
        *(("per", value) for value in ("user", "", [])),
        *(("mode", value) for value in ("lax", None, [])),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_a_limit_that_makes_no_sense_cannot_be_made(field, wrong):
    sound = {"metric": "requests", "amount": 5, "window": DAY}
    with pytest.raises(ConfigurationError) as refused:
        Limit(**{**sound, field: wrong})
    assert refused.value.field == field


def test_a_window_on_concurrency_cannot_be_made():
    with pytest.raises(ConfigurationError, match="window: a limit on concurrency has none"):
        Limit("concurrency", 8, MINUTE)


patterns = (
    st.text(st.one_of(st.sampled_from("*/-.:a4"), st.characters()), min_size=1, max_size=MAX_PATTERN)
    .filter(lambda text: text.isprintable() and " " not in text and text.count("*") <= MAX_STARS)
    .filter(lambda text: text.lower() not in WORDS)
)
limits = st.builds(
    lambda metric, amount, window, *rest: Limit(
        metric, amount, None if metric == "concurrency" else window, *rest
    ),
    st.sampled_from(get_args(Metric)),
    st.integers(0, MAX_AMOUNT),
    st.sampled_from(WINDOWS),
    st.none() | patterns,
    st.sampled_from([None, "end_user"]),
    st.sampled_from(get_args(Mode)),
)


@given(limits)
@settings(deadline=None, max_examples=100)
def test_every_limit_round_trips_through_its_text(limit):
    assert Limit.parse(str(limit)) == limit
    assert str(Limit.parse(str(limit))) == str(limit)


@given(limits, st.permutations(range(3)))
@settings(deadline=None)
def test_suffixes_stand_in_any_order(limit, order):
    what = str(Limit(limit.metric, limit.amount, limit.window))
    suffixes = [
        f"for {limit.models}" if limit.models else "",
        "per end_user" if limit.per else "",
        limit.mode,
    ]
    assert Limit.parse(" ".join([what, *(suffixes[place] for place in order)])) == limit


fragments = st.sampled_from(
    [
        "$50",
        "600",
        "requests",
        "/",
        "month",
        "for",
        "gpt-4*",
        "per",
        "end_user",
        "soft",
        "nan",
        "-1",
        "concurrent",
    ]
)


@given(st.one_of(st.text(max_size=60), st.lists(fragments, max_size=8).map(" ".join)))
@settings(deadline=None, max_examples=150)
def test_any_text_is_a_limit_or_refused(text):
    try:
        limit = Limit.parse(text)
    except LimitSyntaxError:
        return
    assert Limit.parse(str(limit)) == limit


@pytest.mark.parametrize(
    ("text", "shape"),
    [
        ("$50/month", "cost/month"),
        ("600 requests/minute for gpt-4.1*", "requests/minute/for:gpt-4.1*"),
        ("$1/day per end_user", "cost/day/per:end_user"),
        ("$1/day for a/b per end_user", "cost/day/per:end_user/for:a/b"),
        ("5 tokens/hour", "tokens/hour"),
        ("5 tokens/calendar hour", "tokens/calendar hour"),
        ("8 concurrent", "concurrency"),
    ],
)
def test_a_shape_names_the_counter(text, shape):
    assert Limit.parse(text).shape == shape


@given(limits, limits)
@settings(deadline=None)
def test_a_shape_depends_on_all_but_amount_and_mode(one, other):
    same = Limit(one.metric, other.amount, one.window, one.models, one.per, other.mode)
    assert same.shape == one.shape
    told_apart = (one.metric, one.window, one.models, one.per) != (
        other.metric,
        other.window,
        other.models,
        other.per,
    )
    assert (one.shape != other.shape) == told_apart


def test_a_pattern_cannot_pass_for_an_end_users_shape():
    assert Limit.parse("$1/day for a/per:end_user").shape != Limit.parse("$1/day for a per end_user").shape


def test_only_the_limits_that_concern_a_call_bear_on_it():
    total, dear, each, each_dear = map(
        Limit.parse,
        ("$50/month", "5 requests/day for gpt-4.1", "$1/day per end_user", "$1/day for gpt* per end_user"),
    )
    every = (total, dear, each, each_dear)
    assert bearing(every, [Model("openai", "gpt-4.1")], "u42") == list(every)
    assert bearing(every, [Model("openai", "gpt-4.1-2025-04-14")], None) == [total, dear]
    assert bearing(every, [Model("openai", "claude-sonnet-4")], "u42") == [total, each]
    assert bearing(every, [], "u42") == [total, each]
    assert bearing(iter(every), [], None) == [total]
    assert bearing((), [Model("openai", "gpt-4.1")], "u42") == []
