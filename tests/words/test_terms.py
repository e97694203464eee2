"""The contract's words for limits and alerts say exactly what is there, and change nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaware.core.alerts import Alert
from quotaware.core.limits import Limit
from quotaware.core.windows import Window
from quotaware.errors import ApiError, ConfigurationError
from quotaware.management.bodies import validated
from quotaware.tenancy.nodes import Node
from quotaware.words import terms
from quotaware.words.terms import BUDGETS, ENTRIES, RATES, Terms

NAMES = ("second", "minute", "hour", "calendar hour", "day", "week", "month", "quarter", "year", "life")
WINDOWS = tuple(map(Window.parse, NAMES))


@st.composite
def limit(draw: st.DrawFn) -> Limit:
    metric = draw(st.sampled_from(["requests", "tokens", "cost", "concurrency"]))
    window = None if metric == "concurrency" else draw(st.sampled_from(WINDOWS))
    return Limit(
        metric,
        draw(st.integers(0, 10**12)),
        window,
        draw(st.sampled_from([None, "gpt-4.1", "claude-*"])),
        draw(st.sampled_from([None, "end_user"])),
        draw(st.sampled_from(["hard", "hard", "soft", "shadow"])),
        draw(st.booleans()) if window is not None and window.kind == "calendar" else False,
    )


limits = st.lists(limit(), max_size=12, unique_by=lambda each: (each.shape, each.mode)).map(tuple)
alert = st.builds(
    Alert,
    st.sampled_from(["email", "slack", "webhook", "disable", "close"]),
    st.integers(1, 10**6),
    st.none(),
    st.sampled_from([None, "cost/month"]),
)
alerts = st.lists(alert, max_size=6, unique=True).map(tuple)


def node(limits: Any, alerts: Any) -> Node:
    return Node("proj_1", "project", "team_1", "backend", limits=limits, alerts=alerts)


def sent(**words: Any) -> dict[str, Any]:
    return validated(Terms, words, "body").given()


def said(**words: Any) -> list[str]:
    """The limits that words make where there were none."""
    return list(map(str, terms.changes(sent(**words))["limits"]))


def without(told: dict[str, Any], *words: str) -> dict[str, Any]:
    return {word: value for word, value in told.items() if word not in {"limits", "alerts", *words}}


@given(limits, alerts)
def test_what_was_read_can_be_written_back_and_changes_nothing(limits: Any, alerts: Any) -> None:
    there = node(limits, alerts)
    told = terms.told(there)
    words = {word: _wire(word, told[word]) for word in told.keys() & terms.WORDS - {"limits", "alerts"}}
    for some in (words, *({word: value} for word, value in words.items())):
        back = sent(**some)
        new = terms.changes(back, limits, alerts)
        assert new.get("limits", limits) == limits
        assert set(new.get("alerts", alerts)) == set(alerts)
    texts = terms.changes(sent(limits=told["limits"], alerts=told["alerts"]))
    assert texts == {"limits": limits, "alerts": alerts}


def _wire(word: str, value: Any) -> Any:
    """As JSON has it: an amount in US dollars."""
    return value / 1e9 if word in BUDGETS and value is not None else value


amount = st.integers(0, 10**6)


def entry(words: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(sorted(words)), amount, max_size=4)


spoken = st.one_of(
    st.tuples(st.sampled_from(sorted(BUDGETS)), st.none() | amount),
    st.tuples(st.just("rate_limit"), entry(RATES)),
    st.tuples(st.just("end_user_limits"), entry(ENTRIES)),
    st.tuples(
        st.just("model_limits"),
        st.dictionaries(st.sampled_from(["gpt-4.1", "claude-*", "o3"]), entry(ENTRIES), max_size=3),
    ),
)


@given(limits, spoken)
def test_one_word_says_what_was_sent_and_the_others_what_they_said(limits: Any, pair: Any) -> None:
    word, value = pair
    before = terms.told(node(limits, ()))
    changed = node(terms.changes(sent(**{word: value}), limits)["limits"], ())
    after = terms.told(changed)
    assert without(after, word) == without(before, word)
    told = after[word]
    if word in BUDGETS:
        told = None if told is None else told / 1e9
    elif word == "model_limits":
        value = {pattern: entry for pattern, entry in value.items() if entry}
    assert told == value
    shadows = [each for each in limits if each.mode == "shadow"]
    assert [each for each in changed.limits if each.mode == "shadow"] == shadows


def test_the_words_of_the_contract() -> None:
    assert said(
        monthly_budget_usd=1500.0,
        model_limits={"gpt-4.1": {"daily_requests": 500, "daily_budget_usd": 25}},
        rate_limit={"requests_per_minute": 60, "requests_per_day": 10000, "concurrent": 8},
        end_user_limits={"daily_budget_usd": 0.5, "tokens_per_minute": 1000},
    ) == [
        "$1500/month",
        "60 requests/minute",
        "10000 requests/day",
        "8 concurrent",
        "$0.5/day per end_user",
        "1000 tokens/minute per end_user",
        "500 requests/day for gpt-4.1",
        "$25/day for gpt-4.1",
    ]
    budgets = said(hourly_budget_usd=1, daily_budget_usd=2, weekly_budget_usd=3, quarterly_budget_usd=4)
    assert budgets == ["$1/calendar hour", "$2/day", "$3/week", "$4/quarter"]
    assert said(yearly_budget_usd=5, total_budget_usd=6) == ["$5/year", "$6/life"]
    thresholds = [{"threshold": 0.5, "action": "email"}, {"threshold": 0.95, "action": "disable"}]
    assert list(map(str, terms.changes(sent(quota_alerts=thresholds))["alerts"])) == [
        "50% email",
        "95% disable",
    ]


def test_every_metric_in_every_window_has_one_word_for_models_and_end_users() -> None:
    slots = {(metric, window) for metric in ("requests", "tokens", "cost") for window in WINDOWS}
    assert set(ENTRIES.values()) == slots | {("concurrency", None)}
    assert len(ENTRIES) == len(set(ENTRIES.values()))
    assert len(RATES) == len(set(RATES.values()))


def test_a_budget_keeps_what_allocation_said_of_it() -> None:
    standing = (Limit.parse("$300/month carryover soft"), Limit.parse("$10/day"))
    new = terms.changes(sent(monthly_budget_usd=400), standing)["limits"]
    assert list(map(str, new)) == ["$400/month carryover soft", "$10/day"]
    assert terms.changes(sent(monthly_budget_usd=None), standing)["limits"] == standing[1:]


def test_alerts_on_one_limit_and_what_allocation_set_stand_apart() -> None:
    standing = (Alert.parse("100% close on cost/month"), Alert.parse("80% email"), Alert.parse("$4 slack"))
    assert terms.changes(sent(quota_alerts=[]), (), standing)["alerts"] == (standing[0], standing[2])
    assert terms.changes(sent(alerts=None), (), standing)["alerts"] == ()


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limits": ["$50/month"], "monthly_budget_usd": 5}, "limits"),
        ({"alerts": ["80% email"], "quota_alerts": []}, "alerts"),
    ],
)
def test_a_word_besides_the_texts_that_say_all_is_refused(body: Any, field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        terms.changes(sent(**body))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"monthly_budget_usd": -1}, "monthly_budget_usd"),
        ({"monthly_budget_usd": "5"}, "monthly_budget_usd"),
        ({"limits": ["$50/fortnight"]}, "limits[0]"),
        ({"limits": "$50/month"}, "limits"),
        ({"limits": [5]}, "limits[0]"),
        ({"alerts": ["80% shout"]}, "alerts[0]"),
        ({"quota_alerts": [{"threshold": 0, "action": "email"}]}, "quota_alerts[0].threshold"),
        ({"quota_alerts": [{"threshold": 11, "action": "email"}]}, "quota_alerts[0].threshold"),
        ({"quota_alerts": [{"threshold": "0.8", "action": "email"}]}, "quota_alerts[0].threshold"),
        ({"quota_alerts": [{"threshold": True, "action": "email"}]}, "quota_alerts[0].threshold"),
        ({"quota_alerts": [{"threshold": 0.8, "action": "close"}]}, "quota_alerts[0].action"),
        ({"quota_alerts": [{"threshold": 0.8, "action": "email"}] * 2}, "quota_alerts"),
        ({"rate_limit": {"requests_per_year": 5}}, "rate_limit.requests_per_year"),
        ({"rate_limit": {"requests_per_minute": 0.5}}, "rate_limit.requests_per_minute"),
        ({"model_limits": {"gpt-4.1": {"daily_requests": -5}}}, "model_limits.gpt-4.1.daily_requests"),
        ({"model_limits": {"a b": {"daily_requests": 5}}}, "model_limits.a b.[key]"),
        ({"model_limits": {"soft": {"daily_requests": 5}}}, "model_limits.soft.[key]"),
        ({"end_user_limits": {"daily_budget_usd": 1e9}}, "end_user_limits.daily_budget_usd"),
    ],
)
def test_what_cannot_be_is_named(body: Any, field: str) -> None:
    with pytest.raises(ApiError) as caught:
        sent(**body)
    assert [error["field"] for error in caught.value.fields["errors"]] == [field]
