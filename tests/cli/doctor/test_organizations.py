"""Models without a price, budgets without alerts, keys that end."""

from __future__ import annotations

from typing import Any

import pytest

from quotaware import Identity, Quota
from quotaware.cli.doctor.findings import Evidence, NotLooked
from quotaware.cli.doctor.organizations import ending, unheard, unpriced
from quotaware.testing.clocks import FakeClock
from tests.calls import a_call, ask, let_go, refused, spend, used
from tests.cli.doctor.conftest import ORG, told

APP = Identity(project="app", organization=ORG)
DAY = 86_400_000


def tenancy_of(quota: Quota) -> Any:
    return quota.blocking.tenancy


def call(quota: Quota, model: str, **more: Any) -> None:
    let_go(ask(quota, a_call(model=model, **more), APP)).settle(used())
    quota.flush()


# prices


def test_a_model_that_counts_for_nothing(quota: Quota, evidence: Evidence) -> None:
    call(quota, "our-own-model", provider="openai")
    call(quota, "our-own-model", provider="openai")
    ((level, what),) = told(unpriced, evidence)
    assert level == "warning"
    assert what == "openai/our-own-model has no price: in 30d 2 calls were counted as costing nothing"


def test_a_model_that_is_refused(quota: Quota, evidence: Evidence, clock: FakeClock) -> None:
    tenancy_of(quota).set_limit(ORG, "app", "$1/day")
    assert refused(ask(quota, a_call(model="our-own-model"), APP)).code == "price_unknown"
    quota.flush()
    ((level, what),) = told(unpriced, evidence)
    assert level == "error"
    assert what == "our-own-model has no price: in 30d 1 were refused"


def test_models_that_have_a_price(quota: Quota, evidence: Evidence) -> None:
    """On the list, in the configuration, or by now in the organization; and what is free needs none."""
    from quotaware.core.terms import PriceRule

    call(quota, "our-own-model")
    rule = PriceRule.of("our-own-model", {"input": 1, "output": 1})
    tenancy_of(quota).set_price(ORG, rule)
    call(quota, "gpt-4.1", provider="openai")
    spend(quota, by=APP)
    call(quota, "free-model", operation="moderation", free=True)
    assert told(unpriced, evidence) == []


# alerts


def test_budgets_without_alerts(quota: Quota, evidence: Evidence) -> None:
    tenancy = tenancy_of(quota)
    tenancy.update(ORG, ORG, limits=["$100/month"])
    team = tenancy.create_team(ORG, "Search", limits=["$50/month", "600 requests/minute"]).id
    for number in range(6):
        tenancy.create_project(team, f"p{number}", limits=["$5/day"])
    ((level, what),) = told(unheard, evidence)
    assert level == "warning"
    assert what.startswith("budgets without an alert, 8 of them, run out without a word: organization 'Acme'")
    assert "team 'Search' ($50/month)" in what
    assert what.endswith(" and 3 more")


def test_budgets_with_alerts(quota: Quota, evidence: Evidence) -> None:
    """An alert on it, or none that bears: soft, each end user's own, another metric."""
    tenancy = tenancy_of(quota)
    tenancy.update(ORG, ORG, limits=["$100/month"], alerts=["80% email"])
    limits = ["$5/day per end_user", "10 requests/day", "$9/month soft", "$5/day for gpt-4.1*"]
    tenancy.update(ORG, "app", limits=limits, alerts=["50% email on cost/day/for:gpt-4.1*"])
    assert told(unheard, evidence) == []


def test_an_alert_on_every_budget_is_enough(quota: Quota, evidence: Evidence) -> None:
    tenancy_of(quota).set_limit(ORG, "app", "$1/day")
    assert len(told(unheard, evidence)) == 1
    tenancy_of(quota).update(ORG, ORG, alert_threshold=800_000)
    assert told(unheard, evidence) == []


def test_an_alert_that_reached_nobody(quota: Quota, evidence: Evidence, clock: FakeClock) -> None:
    from tests.servers import until

    alert = quota.blocking.alerts.test(ORG, "app")
    until(lambda: quota.blocking.alerts.deliveries(ORG, alert=alert), what="the delivery")
    ((level, what),) = told(unheard, evidence)
    assert level == "warning"
    assert what.startswith("alerts of the last 7 days, 1 of them, reached nobody: ")
    clock.advance(8 * DAY)
    assert told(unheard, evidence) == []


# keys


@pytest.mark.parametrize(
    ("ms", "level", "when"),
    [
        (3 * DAY, "warning", "in 3 days"),
        (5 * 3_600_000, "error", "in 5 hours"),
        (14 * DAY, "warning", "in 14 days"),
    ],
)
def test_a_key_that_ends_soon(
    quota: Quota, evidence: Evidence, clock: FakeClock, ms: int, level: str, when: str
) -> None:
    made = tenancy_of(quota).create_key("app", name="ci", expires_at=clock() + ms)
    ((found, what),) = told(ending, evidence)
    assert found == level
    assert what == f"key 'ci' ({made.node.id}, never used) ends {when}"


def test_keys_that_do_not(quota: Quota, evidence: Evidence, clock: FakeClock) -> None:
    tenancy = tenancy_of(quota)
    tenancy.create_key("app", name="for ever")
    tenancy.create_key("app", name="long", expires_at=clock() + 15 * DAY)
    tenancy.create_key("app", name="over", expires_at=clock() + 1)
    revoked = tenancy.create_key("app", name="revoked", expires_at=clock() + DAY)
    tenancy.revoke_key(ORG, revoked.node.id)
    clock.advance(10)
    assert told(ending, evidence) == []


def test_without_an_api_nothing_is_looked_at() -> None:
    for check in (unpriced, unheard, ending):
        with pytest.raises(NotLooked, match="no store, URL or app was given"):
            list(check(Evidence()))
