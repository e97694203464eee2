"""The management contract's alerts, from the request that sets them to the mail that arrives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from quotaware import Alerts, PermissionDenied, Quota, QuotaExceeded, Smtp
from quotaware.testing.clocks import FakeClock
from tests.alerts.servers import Mailbox
from tests.management.conftest import Api


@pytest.fixture
def quota(clock: FakeClock, mailbox: Mailbox) -> Iterator[Quota]:
    quota = Quota(
        "memory://",
        clock=clock,
        prices={"m": {"input": 1000, "output": 1000}},
        settle_wait=0,
        alerts=Alerts(smtp=Smtp("127.0.0.1", "quota@example.com", mailbox.port, security="none")),
    )
    yield quota
    quota.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def api(quota: Quota, clock: FakeClock) -> Api:
    api = Api(quota, clock)
    api.ok("POST", f"/organizations/{api.org}/teams", {"name": "ml", "id": "team_ml"})
    ada = {"name": "ada", "email": "ada@example.com", "roles": [{"role": "admin", "node": "team_ml"}]}
    api.ok("POST", "/members", ada)
    return api


async def spend(quota: Quota, project: str, tokens: int) -> str:
    """How a call ends that costs a tenth of a cent a token: its error's code, or "done"."""
    try:
        with quota.acting_as(project=project):
            async with quota.call(provider="p", model="m", input=tokens, max_output=0) as call:
                call.used(input=tokens, output=0)
    except (QuotaExceeded, PermissionDenied) as error:
        return error.code
    return "done"


def waited(api: Api, done: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not done():
        assert time.monotonic() < until
        api.clock.advance(1)
        time.sleep(0.01)


def subjects(mailbox: Mailbox) -> list[str]:
    return [str(message["Subject"]) for _, message in mailbox.got]


@pytest.mark.anyio
async def test_a_project_is_told_of_stopped_and_runs_again(quota: Quota, api: Api, mailbox: Mailbox) -> None:
    body = {
        "name": "ml-pipeline",
        "id": "proj_a",
        "monthly_budget_usd": 1.0,
        "quota_alerts": [
            {"threshold": 0.5, "action": "email"},
            {"threshold": 0.8, "action": "slack"},
            {"threshold": 0.95, "action": "disable"},
        ],
    }
    api.ok("POST", "/teams/team_ml/projects", body)
    assert await spend(quota, "proj_a", 960) == "done"  # over all three at once
    assert await spend(quota, "proj_a", 1) == "stopped"
    quota.flush()
    waited(api, lambda: len(mailbox.got) == 2)
    assert subjects(mailbox) == [
        "50 % of the monthly budget of project 'ml-pipeline' is used",
        "Project 'ml-pipeline' is stopped: 95 % of its monthly budget is used",
    ]
    assert {to for tos, _ in mailbox.got for to in tos} == {"ada@example.com"}
    waited(api, lambda: len(deliveries(api, "proj_a")) == 3)
    assert sorted((each["channel"], each["outcome"]) for each in deliveries(api, "proj_a")) == [
        ("email", "delivered"),
        ("email", "delivered"),
        ("none", "undeliverable"),  # nobody has Slack
    ]
    (row,) = api.ok("GET", "/audit-log?what=project.stop")["data"]
    assert (row["who"]["kind"], row["after"][0]["id"]) == ("host", "proj_a")
    api.ok("POST", "/teams/team_ml/projects", {"name": "ml-pipeline", "monthly_budget_usd": 10.0})
    assert await spend(quota, "proj_a", 1000) == "done"
    assert len(mailbox.got) == 2


def deliveries(api: Api, project: str) -> list[Any]:
    return list(api.ok("GET", f"/projects/{project}/alerts/deliveries")["data"])


@pytest.mark.anyio
async def test_an_allocation_tells_when_it_is_exceeded(quota: Quota, api: Api, mailbox: Mailbox) -> None:
    share = {"target": "eng", "type": "monthly_budget", "amount_usd": 1.0, "reset_period": "monthly"}
    api.ok("PATCH", f"/organizations/{api.org}", {"monthly_budget_usd": 100.0})
    api.ok(
        "POST",
        "/organizations/quota/allocate",
        {
            "team_id": api.org,
            "allocations": [share],
            "enforcement": {"hard_limit": True, "notify_on_exceed": True},
        },
    )
    (eng,) = api.ok("GET", "/teams?name=eng")["data"]
    api.ok("POST", f"/teams/{eng['id']}/projects", {"name": "app", "id": "proj_b"})
    grace = {"name": "grace", "email": "grace@example.com", "roles": [{"role": "viewer", "node": eng["id"]}]}
    api.ok("POST", "/members", grace)
    assert await spend(quota, "proj_b", 900) == "done"
    for _ in range(5):
        assert await spend(quota, "proj_b", 200) == "budget_exceeded"
    quota.flush()
    waited(api, lambda: len(mailbox.got) == 1)
    assert subjects(mailbox) == ["The monthly budget of team 'eng' keeps calls out"]
    ((to, message),) = mailbox.got
    assert to == ["grace@example.com"]
    assert "$0.9 of $1 used" in message.get_payload(decode=True).decode()


@pytest.mark.anyio
async def test_the_organizations_threshold_is_on_every_budget(
    quota: Quota, api: Api, mailbox: Mailbox
) -> None:
    api.ok("PATCH", f"/organizations/{api.org}", {"alert_threshold": 0.75})
    api.ok("POST", "/teams/team_ml/projects", {"name": "app", "id": "proj_c", "monthly_budget_usd": 1.0})
    assert await spend(quota, "proj_c", 800) == "done"
    quota.flush()
    waited(api, lambda: len(mailbox.got) == 1)
    assert subjects(mailbox) == ["75 % of the monthly budget of project 'app' is used"]
