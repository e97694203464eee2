"""A denial says it in the words and figures of the management contract."""

from __future__ import annotations

from typing import Any

import pytest

from quotaware.core.denials import RETRY_MAX_S, InTheWay, denial, iso, seconds_until
from quotaware.core.limits import Limit
from quotaware.core.money import NANO
from quotaware.core.steps import Over

NOW = 1_736_000_000_000
FEBRUARY = 1_738_368_000_000


def in_the_way(
    text: str,
    used: int = 0,
    held: int = 0,
    asked: int = 1,
    fits_at: int | None = None,
    kind: str = "project",
    name: str = "ml-pipeline",
    until: int = 0,
) -> InTheWay:
    limit = Limit.parse(text)
    over = Over("counter", limit.amount, True, used, held, asked, fits_at)
    return InTheWay(over, limit, "proj_ml", kind, name, until)


def test_a_budget_is_denied_as_the_contract_shows_it() -> None:
    error = denial([in_the_way("$500/month", 523_450_000_000, asked=NANO, fits_at=FEBRUARY)], NOW)
    assert error.status == 429
    body = error.body()["error"]
    assert body["type"] == "quota_exceeded"
    assert body["message"] == "Monthly budget of $500 exceeded for project 'ml-pipeline'"
    assert body["current_usage_usd"] == 523.45
    assert body["limit_usd"] == 500.0
    assert body["reset_date"] == "2025-02-01T00:00:00Z"
    assert body["code"] == "budget_exceeded"


def test_a_rate_is_denied_as_the_contract_shows_it() -> None:
    error = denial([in_the_way("60 requests/minute", 60, fits_at=NOW + 12_001)], NOW)
    assert error.status == 429
    body = error.body()["error"]
    assert body["type"] == "rate_limit_exceeded"
    assert body["message"] == "Rate limit of 60 req/min exceeded"
    assert body["retry_after_seconds"] == 13
    assert error.headers() == {"retry-after": "13"}
    assert "reset_date" not in body


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("60 requests/second", "Rate limit of 60 req/s exceeded"),
        ("1000 requests/day for gpt-4.1*", "Rate limit of 1000 req/day for gpt-4.1* exceeded"),
        ("9 requests/calendar hour", "Rate limit of 9 req/hour exceeded"),
        ("200000 tokens/minute", "Rate limit of 200000 tokens/min exceeded"),
        ("8 concurrent", "Concurrency limit of 8 exceeded"),
        ("8 concurrent for claude-*", "Concurrency limit of 8 for claude-* exceeded"),
        ("$25/day for gpt-4.1", "Daily budget of $25 for gpt-4.1 exceeded for project 'ml-pipeline'"),
        (
            "$0.5/hour per end_user",
            "Hourly budget of $0.5 exceeded for an end user of project 'ml-pipeline'",
        ),
        ("$1/minute", "Per-minute budget of $1 exceeded for project 'ml-pipeline'"),
        ("$1/week", "Weekly budget of $1 exceeded for project 'ml-pipeline'"),
        ("$1/quarter", "Quarterly budget of $1 exceeded for project 'ml-pipeline'"),
        ("$1/year", "Yearly budget of $1 exceeded for project 'ml-pipeline'"),
        ("$1/life", "Total budget of $1 exceeded for project 'ml-pipeline'"),
    ],
)
def test_the_message_names_the_limit(text: str, message: str) -> None:
    assert denial([in_the_way(text)], NOW).message == message


def test_the_limit_that_frees_last_gives_type_and_figures_and_all_are_named() -> None:
    """Rule 8: a refusal names every limit that was in the way."""
    rate = in_the_way("60 requests/minute", 60, fits_at=NOW + 5000)
    budget = in_the_way("$1/month", NANO, asked=1, fits_at=FEBRUARY, kind="team", name="core")
    held = in_the_way("8 concurrent", 0, 8)
    for order in ([rate, budget, held], [held, budget, rate]):
        error = denial(order, NOW)
        assert error.type == "quota_exceeded"
        assert error.message == "Monthly budget of $1 exceeded for team 'core'"
        assert [entry["rule"] for entry in error.fields["limits"]] == [str(each.limit) for each in order]


def test_a_limit_that_never_lets_it_through_is_the_last_of_all() -> None:
    never = in_the_way("5 tokens/minute", asked=6)
    error = denial([never, in_the_way("$1/month", NANO, fits_at=FEBRUARY)], NOW)
    assert error.type == "rate_limit_exceeded"
    assert error.headers() == {}
    assert error.fields["retry_after_seconds"] is None


def test_every_limit_in_the_way_has_its_figures() -> None:
    error = denial(
        [
            in_the_way("$5/month", 4 * NANO, NANO // 2, NANO, None, until=FEBRUARY),
            in_the_way("9 tokens/minute", 3, 4, 5, NOW + 1),
        ],
        NOW,
    )
    money, tokens = error.fields["limits"]
    assert money == {
        "rule": "$5/month",
        "on": "proj_ml",
        "kind": "project",
        "name": "ml-pipeline",
        "metric": "cost",
        "limit": 5.0,
        "used": 4.0,
        "held": 0.5,
        "asked": 1.0,
        "resets_at": "2025-02-01T00:00:00Z",
    }
    assert (tokens["limit"], tokens["used"], tokens["held"], tokens["asked"]) == (9, 3, 4, 5)
    assert tokens["resets_at"] == iso(NOW + 1)


def test_what_only_others_hold_is_worth_a_short_wait() -> None:
    """Nobody knows when they end; a budget's window ends at the latest."""
    error = denial([in_the_way("$5/month", NANO, 4 * NANO, NANO, until=FEBRUARY)], NOW)
    assert error.headers() == {"retry-after": "1"}
    assert error.fields["reset_date"] == "2025-02-01T00:00:00Z"
    assert denial([in_the_way("8 concurrent", 0, 8)], NOW).headers() == {"retry-after": "1"}


def test_a_budget_that_no_time_refills_has_no_reset_date() -> None:
    error = denial([in_the_way("$5/life", 5 * NANO)], NOW)
    assert error.fields["reset_date"] is None
    assert error.headers() == {}


def test_a_wait_of_more_than_a_day_is_told_as_a_date_only() -> None:
    a_day = in_the_way("$1/month", NANO, fits_at=NOW + RETRY_MAX_S * 1000)
    longer = in_the_way("$1/month", NANO, fits_at=NOW + RETRY_MAX_S * 1000 + 1)
    assert denial([a_day], NOW).headers() == {"retry-after": str(RETRY_MAX_S)}
    assert denial([longer], NOW).headers() == {}


@pytest.mark.parametrize(
    ("ms", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (FEBRUARY, "2025-02-01T00:00:00Z"),
        (FEBRUARY + 7, "2025-02-01T00:00:00.007Z"),
    ],
)
def test_times_are_rfc_3339_in_utc(ms: int, text: str) -> None:
    assert iso(ms) == text


@pytest.mark.parametrize(("ms", "seconds"), [(-5, 1), (0, 1), (1, 1), (1000, 1), (1001, 2), (60_000, 60)])
def test_a_wait_is_whole_seconds_and_never_too_short(ms: int, seconds: int) -> None:
    assert seconds_until(NOW + ms, NOW) == seconds


def test_money_is_json_numbers() -> None:
    fields: dict[str, Any] = denial([in_the_way("$0.1/day", 30_000_000, asked=NANO)], NOW).fields
    assert (fields["current_usage_usd"], fields["limit_usd"]) == (0.03, 0.1)
