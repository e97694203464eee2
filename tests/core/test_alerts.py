"""Alerts as text and as values: one form, everything that makes no sense refused by name."""

from __future__ import annotations

import pytest

from quotaware.core.alerts import Alert, Stop
from quotaware.core.limits import Limit
from quotaware.errors import ConfigurationError


@pytest.mark.parametrize(
    "text",
    [
        "80% email",
        "0.5% slack on cost/month",
        "95% disable",
        "100% close on cost/day",
        "$400 email on cost/month",
        "5000 email on requests/day",
        "100000 webhook on tokens/minute/for:gpt-4.1*",
        "forecast 100% email",
        "forecast $500 slack on cost/month",
        "forecast 9000 webhook on requests/day",
        "denied email",
        "denied slack on requests/minute",
        "expires 7d email",
    ],
)
def test_a_text_and_its_alert_are_each_others_reverse(text: str) -> None:
    assert str(Alert.parse(text)) == text
    assert Alert.parse(str(Alert.parse(text))) == Alert.parse(text)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "alert"),
        ("80%", "alert"),
        ("80% email now", "alert"),
        ("forecast email", "alert"),
        ("denied 80% email", "alert"),
        ("expires email", "alert"),
        ("denied disable", "action"),
        ("forecast 90% close", "action"),
        ("80% fax", "action"),
        ("0% email", "threshold"),
        ("1001% email", "threshold"),
        ("$0 email", "threshold"),
        ("0 email on requests/day", "threshold"),
        ("expires 0d email", "days"),
        ("expires 366d email", "days"),
        ("expires soon email", "days"),
        ("expires 7d email on cost/month", "limit"),
        ("80% email on ", "limit"),
    ],
)
def test_what_is_no_alert_names_what_is_wrong(text: str, field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Alert.parse(text)
    assert caught.value.field == field


@pytest.mark.parametrize("given", [{}, {"share": 1, "amount": 1}, {"kind": "denied", "share": 1}])
def test_one_threshold_is_given_where_there_is_one(given: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError, match="threshold"):
        Alert("email", **given)  # type: ignore[arg-type]


def test_a_kind_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="alert"):
        Alert("email", share=1, kind="wished")  # type: ignore[arg-type]


BUDGET = Limit.parse("$500/month")
REQUESTS = Limit.parse("1000 requests/day")


@pytest.mark.parametrize(
    ("text", "limit", "bears"),
    [
        ("80% email", BUDGET, True),
        ("80% email", REQUESTS, False),
        ("80% email", Limit.parse("$5/day per end_user"), False),
        ("80% email on requests/day", REQUESTS, True),
        ("$400 email on requests/day", REQUESTS, False),
        ("900 email on requests/day", REQUESTS, True),
        ("denied email", BUDGET, True),
        ("forecast 100% email", BUDGET, True),
        ("expires 7d email", BUDGET, False),
    ],
)
def test_on_which_limit_an_alert_is(text: str, limit: Limit, bears: bool) -> None:
    assert Alert.parse(text).bears_on(limit) is bears


def test_when_a_threshold_is_due() -> None:
    assert Alert.parse("80% email").at(500) == 400
    assert Alert.parse("33% email").at(100) == 33
    assert Alert.parse("$400 email").at(5) == 400 * 10**9
    mark = Alert.parse("900 email on requests/day").mark("proj_a", REQUESTS, 1000, 5)
    assert (mark.id, mark.at, mark.stop) == ("email:=900", 900, None)


def test_what_stops_a_node_is_read_back_from_its_mark() -> None:
    mark = Alert.parse("95% disable").mark("proj_a", BUDGET, BUDGET.amount, 77)
    assert mark.stop == "proj_a"
    assert Stop.read(mark.id) == Stop("disable", "cost/month", 77)
