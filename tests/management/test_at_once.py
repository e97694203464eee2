"""What is changed over the API bears on the very next LLM call of the app, in both directions."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from quotaware import Quota
from quotaware.testing.clocks import FakeClock
from tests.management.conftest import Api
from tests.management.host import PRICES, Host

Request = tuple[str, str, Any]
PROJECT, KEY = "/projects/backend", "/api-keys/key_ci"


@pytest.fixture
def quota(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Quota]:
    """On the store that a test names, memory by default."""
    urls: dict[str, Callable[[], str]] = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path / 'quota.db'}",
        "redis": lambda: f"{request.getfixturevalue('valkey_url')}?prefix=t{secrets.token_hex(6)}",
    }
    url = urls[getattr(request, "param", "memory")]()
    quota = Quota(url, clock=clock, prices=PRICES, deadline=5)  # the machine may be busy with other things
    yield quota
    quota.close()


on_every_store = pytest.mark.parametrize("quota", ["memory", "sqlite", "redis"], indirect=True)


@pytest.fixture
def host(quota: Quota) -> Host:
    return Host(quota)


@pytest.fixture
def key(api: Api) -> str:
    """Of a project with room for ten calls of ten tokens, and other limits with room for more."""
    api.ok("POST", "/organizations/StartupAI/teams", {"name": "engineering", "id": "team_eng"})
    api.ok("PATCH", "/organizations/StartupAI", {"monthly_budget_usd": 5})
    limits = {"model_limits": {"m": {"daily_requests": 99}}, "rate_limit": {"requests_per_minute": 99}}
    api.ok("POST", "/teams/team_eng/projects", {"name": "backend", "monthly_budget_usd": 0.1, **limits})
    api.ok("POST", f"{PROJECT}/limits", {"limit": "99 requests/day"})
    made = {"name": "ci", "id": "key_ci", "project_id": "backend", "permissions": ["chat:create"]}
    return str(api.ok("POST", "/api-keys/service", made)["key"])


def again(**terms: Any) -> Request:
    """The project, sent again with its known name."""
    return ("POST", "/teams/team_eng/projects", {"name": "backend", **terms})


@pytest.mark.parametrize(
    ("closes", "opens", "status"),
    [
        (("POST", f"{PROJECT}/disable", None), ("POST", f"{PROJECT}/enable", None), 403),
        (("POST", "/teams/team_eng/disable", None), ("POST", "/teams/engineering/enable", None), 403),
        (("POST", f"{KEY}/disable", None), ("POST", f"{KEY}/enable", None), 403),
        (
            ("PATCH", PROJECT, {"monthly_budget_usd": 0.01}),
            ("PATCH", PROJECT, {"monthly_budget_usd": 0.1}),
            429,
        ),
        (again(monthly_budget_usd=0.01), again(monthly_budget_usd=0.1), 429),
        (
            again(model_limits={"m": {"daily_requests": 1}}),
            again(model_limits={"m": {"daily_requests": 9}}),
            429,
        ),
        (again(rate_limit={"requests_per_minute": 1}), again(rate_limit={"requests_per_minute": 9}), 429),
        (
            again(quota_alerts=[{"threshold": 0.1, "action": "disable"}]),
            again(quota_alerts=[{"threshold": 0.9, "action": "disable"}]),
            429,
        ),
        (
            ("POST", f"{PROJECT}/overrides", {"limit": "cost/month", "amount_usd": 0.01}),
            ("DELETE", f"{PROJECT}/overrides?limit=cost/month", None),
            429,
        ),
        (
            ("PATCH", f"{PROJECT}/limits/requests/day", {"amount": 1}),
            ("PATCH", f"{PROJECT}/limits/requests/day", {"amount": 9}),
            429,
        ),
        (
            ("PATCH", "/organizations/StartupAI", {"monthly_budget_usd": 0.01}),
            ("PATCH", "/organizations/StartupAI", {"monthly_budget_usd": 5}),
            429,
        ),
        (("PUT", KEY, {"allowed_models": ["other"]}), ("PUT", KEY, {"allowed_models": []}), 403),
        (
            ("PUT", KEY, {"remove_permissions": ["chat:create"]}),
            ("PUT", KEY, {"add_permissions": ["chat:create"]}),
            403,
        ),
        (("PUT", KEY, {"allowed_ips": ["192.0.2.1"]}), ("PUT", KEY, {"allowed_ips": []}), 403),
    ],
)
def test_what_closes_and_what_opens(
    api: Api, host: Host, key: str, closes: Request, opens: Request, status: int
) -> None:
    assert host.goes(key)
    for _ in range(2):
        assert api(closes[0], closes[1], closes[2]).status_code < 300
        assert host.call(key).status_code == status
        assert api(opens[0], opens[1], opens[2]).status_code < 300
        assert host.goes(key)


def test_a_rotated_or_revoked_key_is_gone_for_the_next_call(api: Api, host: Host, key: str) -> None:
    assert host.goes(key)
    rotated = api.ok("POST", f"{KEY}/rotate")
    assert host.refused(key)["status"] == 401
    assert host.goes(rotated["key"])
    assert api("DELETE", f"/api-keys/{rotated['new_key_id']}").status_code == 204
    assert host.refused(rotated["key"])["status"] == 401


@on_every_store
def test_a_budget_that_ran_out_is_raised_and_the_call_goes(api: Api, host: Host, key: str) -> None:
    """By each of the ways that there are: sent again, patched, overridden, asked for and approved, allocated."""
    asked = {"project_id": "backend", "limit": "cost/month", "amount_usd": 0.14}
    reader = api.key("team_eng", "quota:read")
    share = {"target": "backend", "amount_usd": 0.15}

    def approve() -> None:
        request = api.ok("POST", "/quota-requests", asked, key=reader)
        api.ok("POST", f"/quota-requests/{request['id']}/approve")

    raises: list[Callable[[], Any]] = [
        lambda: api.ok(*again(monthly_budget_usd=0.11)),
        lambda: api.ok("PATCH", PROJECT, {"monthly_budget_usd": 0.12}),
        lambda: api.ok("PATCH", f"{PROJECT}/limits/cost/month", {"amount_usd": 0.13}),
        approve,
        lambda: api.ok(
            "POST", "/organizations/quota/allocate", {"team_id": "engineering", "allocations": [share]}
        ),
        lambda: api.ok("POST", f"{PROJECT}/overrides", {"limit": "cost/month", "amount_usd": 0.16}),
    ]
    assert host.goes(key, 100)
    for raise_by_ten in raises:
        assert not host.goes(key, 1)
        raise_by_ten()
        assert host.goes(key, 10)
    spent = sum(record.cost for record in api.quota.blocking.usage.records(organization=api.org))
    assert spent == 160_000_000


@on_every_store
def test_many_approvals_at_once_are_one(api: Api, host: Host, key: str) -> None:
    reader = api.key("team_eng", "quota:read")
    asked = {"project_id": "backend", "limit": "cost/month", "amount_usd": 0.2, "periods": 1}
    id = api.ok("POST", "/quota-requests", asked, key=reader)["id"]
    verdicts = ["approve", "reject"] * 4
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda verdict: api("POST", f"/quota-requests/{id}/{verdict}"), verdicts))
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 7
    decided = api.ok("GET", f"/quota-requests/{id}")["state"]
    overrides = api.ok("GET", f"{PROJECT}/overrides")["data"]
    assert len(overrides) == (1 if decided == "approved" else 0)
    assert host.goes(key, 150) is (decided == "approved")


@on_every_store
def test_many_allocations_at_once_never_come_to_more_than_there_is(api: Api) -> None:
    api.ok("PATCH", "/organizations/StartupAI", {"monthly_budget_usd": 10})
    manager = api.key(api.org, "quota:manage", "team:create")

    def allocate(number: int) -> int:
        share = {"target": f"t{number % 5}", "amount_usd": 3 + number % 3}
        body = {"team_id": api.org, "allocations": [share]}
        return int(api("POST", "/organizations/quota/allocate", body, key=manager).status_code)

    with ThreadPoolExecutor(8) as pool:
        statuses = set(pool.map(allocate, range(40)))
    assert statuses == {200, 422}
    (budget,) = api.ok("GET", f"/organizations/{api.org}/allocations")["budgets"]
    assert 0 < budget["allocated_usd"] <= budget["budget_usd"] == 10.0
