"""Clients that were written to the contract and know nothing of us: only their base URL points at the host app.

They speak over a real socket with `requests`, the app stands on an SQLite file, and its LLM calls leave by the OpenAI
SDK. Bodies are the contract's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from fastapi import FastAPI
from fastapi.responses import JSONResponse
from openai import AsyncOpenAI

from quotaware import Quota, QuotaMiddleware
from quotaware.stores.opening import open_store
from quotaware.tenancy import keys
from quotaware.testing import FakeProvider, FaultyStore
from quotaware.testing.clocks import FakeClock
from quotaware.testing.server import serve

NOVEMBER = 1_763_889_300_000
"""2025-11-23T09:15:00Z."""
PROJECT = {
    "name": "ml-feature-pipeline",
    "monthly_budget_usd": 1500.0,
    "quota_alerts": [
        {"threshold": 0.5, "action": "email"},
        {"threshold": 0.8, "action": "slack"},
        {"threshold": 0.95, "action": "disable"},
    ],
    "model_limits": {
        "gpt-4.1": {"daily_requests": 500, "daily_budget_usd": 25},
        "claude-sonnet-4-20250514": {"daily_requests": 300, "daily_budget_usd": 20},
    },
}
ALLOCATION = {
    "team_id": "org_startup_ai",
    "allocations": [
        {
            "target": target,
            "type": "monthly_budget",
            "amount_usd": amount,
            "reset_period": "monthly",
            "carryover": False,
        }
        for target, amount in (("engineering", 300.0), ("product", 150.0), ("operations", 50.0))
    ],
    "enforcement": {"hard_limit": True, "notify_on_exceed": True, "auto_disable_on_exceed": False},
}
SERVICE_KEY = {
    "name": "github-actions-ci-key",
    "project_id": "proj_production",
    "permissions": ["chat:create", "embeddings:create", "models:list"],
    "expires_at": "2025-12-23T09:15:00.123456Z",
    "rate_limit": {"requests_per_minute": 60, "requests_per_day": 10000},
    "allowed_ips": [],
    "allowed_models": ["gpt-4.1", "claude-sonnet-4-20250514", "gemini-2.5-flash", "deepseek-v3.2"],
}


class Client:
    """A client as anybody writes it: a base URL and a key."""

    def __init__(self, base: str, key: str) -> None:
        self.base = base
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {key}"

    def send(self, method: str, path: str, json: Any = None, **more: Any) -> requests.Response:
        return self.session.request(method, self.base + path, json=json, timeout=30, **more)

    def get(self, path: str, **more: Any) -> Any:
        return self.done("GET", path, **more)

    def post(self, path: str, json: Any = None) -> Any:
        return self.done("POST", path, json)

    def done(self, method: str, path: str, json: Any = None, **more: Any) -> Any:
        response = self.send(method, path, json, **more)
        assert response.status_code in {200, 201, 204}, response.text
        return response.json() if response.content else None


class Host:
    """The app at `url`, whose management API is at `url`/v1; a token of gpt-4.1 costs it a dollar.

    admin  a client with the first key; `call` makes the app call its model for someone
    """

    def __init__(self, url: str, quota: Quota, store: FaultyStore, clock: FakeClock) -> None:
        self.url = url
        self.quota = quota
        self.store = store
        self.clock = clock
        first = quota.bootstrap(organization="StartupAI", id="org_startup_ai")
        self.admin = self.client(first.key or "")

    def client(self, key: str) -> Client:
        return Client(f"{self.url}/v1", key)

    def call(self, key: str, tokens: int = 1, model: str = "gpt-4.1") -> requests.Response:
        asked = {"model": model, "tokens": str(tokens)}
        return requests.get(f"{self.url}/ask", asked, headers={"Authorization": f"Bearer {key}"}, timeout=30)

    def error(self, response: requests.Response, status: int) -> Any:
        """The error of an answer, which has the one shape."""
        assert response.status_code == status, response.text
        assert list(response.json()) == ["error"]
        error = response.json()["error"]
        assert isinstance(error["message"], str)
        assert isinstance(error["code"], str)
        return error


def app_of(quota: Quota, llm: AsyncOpenAI) -> FastAPI:
    app = FastAPI()

    @app.get("/ask")
    async def ask(model: str, tokens: int) -> JSONResponse:
        """It hands on whatever its SDK raises."""
        answer = await llm.chat.completions.create(
            model=model, max_tokens=tokens, messages=[{"role": "user", "content": "hi"}]
        )
        return JSONResponse({"answer": answer.choices[0].message.content})

    app.add_middleware(QuotaMiddleware, quota=quota)
    app.mount("/v1", quota.management())
    return app


@pytest.fixture
def host(fake_provider: FakeProvider, tmp_path: Path) -> Iterator[Host]:
    fake_provider.output = 1_000_000
    clock = FakeClock(NOVEMBER)
    store = FaultyStore(open_store(f"sqlite:///{tmp_path / 'quota.db'}", clock))
    quota = Quota(store, clock=clock, settle_wait=0, prices={"gpt-4.1": {"input": 0, "output": 1_000_000}})
    llm = AsyncOpenAI(base_url=f"{fake_provider.url}/v1", api_key="the-host's-own")
    with serve(app_of(quota, llm)) as url:
        yield Host(url, quota, store, clock)
    store.heal()
    quota.close()


@pytest.fixture
def production(host: Host) -> str:
    """A key on the project `proj_production` of the team `team_ml_001`."""
    host.admin.post("/organizations/org_startup_ai/teams", {"name": "ml", "id": "team_ml_001"})
    host.admin.post("/teams/team_ml_001/projects", {"name": "production", "id": "proj_production"})
    key: str = host.admin.post("/api-keys/service", SERVICE_KEY)["key"]
    return key


def test_a_project_with_its_quota(host: Host, production: str) -> None:
    made = host.admin.post("/teams/team_ml_001/projects", PROJECT)
    assert {name: made[name] for name in PROJECT} == PROJECT
    assert made["team_id"] == "team_ml_001"
    assert made["id"].startswith("proj_")
    raised = host.admin.post(
        "/teams/team_ml_001/projects", {"name": "ml-feature-pipeline", "monthly_budget_usd": 2000.0}
    )
    assert raised["id"] == made["id"]
    assert raised["monthly_budget_usd"] == 2000.0
    assert raised["quota_alerts"] == PROJECT["quota_alerts"]
    assert raised["model_limits"] == PROJECT["model_limits"]
    listed = host.admin.get("/projects")
    assert listed["next_cursor"] is None
    assert {each["name"] for each in listed["data"]} == {"production", "ml-feature-pipeline"}


def test_a_startup_shares_out_its_budget(host: Host) -> None:
    host.admin.done("PATCH", "/organizations/org_startup_ai", {"monthly_budget_usd": 500.0})
    host.admin.post("/organizations/quota/allocate", ALLOCATION)
    teams = {team["name"]: team["monthly_budget_usd"] for team in host.admin.get("/teams")["data"]}
    assert teams == {"engineering": 300.0, "product": 150.0, "operations": 50.0}
    host.admin.post("/organizations/quota/allocate", ALLOCATION)
    assert len(host.admin.get("/teams")["data"]) == 3
    greedy = {**ALLOCATION, "allocations": [{**ALLOCATION["allocations"][0], "amount_usd": 301.0}]}
    limited = host.admin.post(
        "/api-keys/service", {"organization_id": "org_startup_ai", "permissions": ["quota:manage"]}
    )["key"]
    refused = host.error(host.client(limited).send("POST", "/organizations/quota/allocate", greedy), 422)
    assert refused["type"] == "invalid_request"
    assert refused["code"] == "over_allocated"
    assert {team["name"]: team["monthly_budget_usd"] for team in host.admin.get("/teams")["data"]} == teams


def test_a_service_key_for_ci(host: Host, production: str) -> None:
    again = {**SERVICE_KEY, "name": "another"}
    made = host.admin.post("/api-keys/service", again)
    key, id = made.pop("key"), made["id"]
    assert key.startswith("qw_live_")
    assert keys.well_formed(key)
    assert made["expires_at"] == "2025-12-23T09:15:00.123Z"
    for field in ("name", "project_id", "permissions", "rate_limit", "allowed_ips", "allowed_models"):
        assert made[field] == again[field]
    shown = host.admin.get(f"/api-keys/{id}")
    assert "key" not in shown
    assert key not in str(shown)
    assert {name: shown[name] for name in again if name != "expires_at"} == {
        name: value for name, value in again.items() if name != "expires_at"
    }
    assert host.call(key).json() == {"answer": "tok "}
    changed = host.admin.done(
        "PUT",
        f"/api-keys/{id}",
        {
            "add_permissions": ["responses:create"],
            "remove_permissions": ["embeddings:create"],
            "rate_limit": {"requests_per_minute": 30},
            "allowed_models": ["gpt-4.1"],
            "expires_at": "2025-12-01T00:00:00Z",
        },
    )
    assert changed["permissions"] == ["chat:create", "models:list", "responses:create"]
    assert changed["rate_limit"] == {"requests_per_minute": 30}
    assert changed["allowed_models"] == ["gpt-4.1"]
    assert changed["expires_at"] == "2025-12-01T00:00:00Z"
    host.clock.advance(8 * 86_400_000)
    assert host.error(host.call(key), 401)["type"] == "authentication_error"


def test_a_key_is_rotated_and_revoked(host: Host, production: str) -> None:
    (key,) = host.admin.get("/api-keys?project_id=proj_production")["data"]
    rotated = host.admin.post(f"/api-keys/{key['id']}/rotate")
    assert rotated["new_key_id"] != key["id"]
    assert rotated["expires_at"] == "2025-12-23T09:15:00.123Z"
    assert host.error(host.call(production), 401)["type"] == "authentication_error"
    assert host.call(rotated["key"]).status_code == 200
    second = host.admin.post(f"/api-keys/{rotated['new_key_id']}/rotate", {"grace_seconds": 60})
    assert host.call(rotated["key"]).status_code == 200
    host.clock.advance(60_000)
    assert host.error(host.call(rotated["key"]), 401)["code"] == "invalid_api_key"
    assert host.call(second["key"]).status_code == 200
    assert host.admin.done("DELETE", f"/api-keys/{second['new_key_id']}") is None
    assert host.error(host.call(second["key"]), 401)["message"] == "Invalid API key"


def test_what_a_key_was_used_for(host: Host, production: str) -> None:
    (key,) = host.admin.get("/api-keys?project_id=proj_production")["data"]
    empty = host.admin.get(f"/api-keys/{key['id']}/usage", params={"days": 30})
    assert (empty["total_requests"], empty["total_cost_usd"], empty["avg_latency_ms"]) == (0, 0.0, 0.0)
    for tokens in (3, 4):
        assert host.call(production, tokens).status_code == 200
    rotated = host.admin.post(f"/api-keys/{key['id']}/rotate")
    assert host.call(rotated["key"], 5).status_code == 200
    usage = host.admin.get(f"/api-keys/{rotated['new_key_id']}/usage", params={"days": 30})
    assert usage["total_requests"] == 3
    assert usage["total_cost_usd"] == 12.0
    assert usage["avg_latency_ms"] >= 0.0
    assert usage["by_model"] == {"gpt-4.1": {"requests": 3, "cost": 12.0}}


def test_a_teams_analytics(host: Host, production: str) -> None:
    host.admin.post("/teams/team_ml_001/projects", {"name": "trial", "environment": "test"})
    trial = host.admin.post("/api-keys/service", {"name": "t", "project_id": "trial"})["key"]
    assert trial.startswith("qw_test_")
    for key, tokens in ((production, 5), (production, 5), (trial, 2)):
        assert host.call(key, tokens).status_code == 200
    assert host.call(production, 100, model="deepseek-v3.2").status_code == 200
    report = host.admin.get("/teams/team_ml_001/analytics", params={"period": "30d"})
    assert report["total_requests"] == 4
    assert report["total_cost_usd"] == sum(top["cost"] for top in report["top_models"])
    assert [top["model"] for top in report["top_models"]] == ["gpt-4.1", "deepseek-v3.2"]
    assert report["top_models"][0] == {"model": "gpt-4.1", "requests": 3, "cost": 12.0}
    assert report["by_model"]["gpt-4.1"] == {"requests": 3, "cost": 12.0}
    assert report["by_project"]["proj_production"]["name"] == "production"
    assert report["by_project"]["proj_production"]["requests"] == 3
    assert sorted(each["name"] for each in report["by_key"].values()) == ["github-actions-ci-key", "t"]
    assert [(day["date"], day["requests"]) for day in report["by_day"]] == [("2025-11-23", 4)]
    live = host.admin.get("/teams/team_ml_001/analytics", params={"period": "7d", "environment": "live"})
    assert live["total_requests"] == 3
    project = host.admin.get("/projects/proj_production/analytics", params={"period": "24h"})
    organization = host.admin.get("/organizations/org_startup_ai/analytics")
    assert (project["total_requests"], organization["total_requests"]) == (3, 4)


def test_a_budget_that_ran_out_is_raised_and_calls_go_at_once(host: Host, production: str) -> None:
    sent = {"name": "ml-pipeline", "monthly_budget_usd": 500.0}
    project = host.admin.post("/teams/team_ml_001/projects", sent)["id"]
    key = host.admin.post("/api-keys/service", {"name": "p", "project_id": project})["key"]
    for _ in range(5):
        assert host.call(key, 100).status_code == 200
    response = host.call(key, 1)
    error = host.error(response, 429)
    assert error["type"] == "quota_exceeded"
    assert error["message"] == "Monthly budget of $500 exceeded for project 'ml-pipeline'"
    assert error["current_usage_usd"] == 500.0
    assert error["limit_usd"] == 500.0
    assert error["reset_date"] == "2025-12-01T00:00:00Z"
    host.admin.post("/teams/team_ml_001/projects", {**sent, "monthly_budget_usd": 600.0})
    assert host.call(key, 100).status_code == 200
    assert host.error(host.call(key, 1), 429)["limit_usd"] == 600.0
    host.clock.advance(8 * 86_400_000)
    assert host.call(key, 1).status_code == 200


def test_a_threshold_stops_a_project_until_its_budget_is_raised(host: Host, production: str) -> None:
    sent = {
        "name": "ml-pipeline",
        "monthly_budget_usd": 100.0,
        "quota_alerts": [{"threshold": 0.8, "action": "disable"}, {"threshold": 0.5, "action": "slack"}],
    }
    project = host.admin.post("/teams/team_ml_001/projects", sent)["id"]
    key = host.admin.post("/api-keys/service", {"name": "p", "project_id": project})["key"]
    assert host.call(key, 85).status_code == 200
    assert host.quota.flush()
    error = host.error(host.call(key, 1), 429)
    assert (error["type"], error["current_usage_usd"], error["limit_usd"]) == ("quota_exceeded", 85.0, 100.0)
    host.admin.post("/teams/team_ml_001/projects", {"name": "ml-pipeline", "monthly_budget_usd": 200.0})
    assert host.call(key, 1).status_code == 200


# every row of the table of errors


def test_401_of_what_is_no_key(host: Host) -> None:
    for value in ("qw_live_abc", "sk-proj-somebody"):
        error = host.error(host.client(value).send("GET", "/me"), 401)
        assert (error["type"], error["message"]) == ("invalid_request", "Invalid API key format")
        assert error["request_id"]
    assert host.error(host.call("qw_live_abc"), 401)["type"] == "invalid_request"


def test_400_of_two_credentials(host: Host, production: str) -> None:
    headers = {"X-API-Key": production}
    error = host.error(host.admin.send("GET", "/me", headers=headers), 400)
    assert (error["type"], error["message"]) == ("invalid_request", "Ambiguous credentials")


def test_401_of_an_unknown_an_expired_and_a_revoked_key(host: Host, production: str) -> None:
    found = [host.error(host.client(keys.make("live")).send("GET", "/me"), 401)]
    (key,) = host.admin.get("/api-keys?project_id=proj_production")["data"]
    host.clock.advance(40 * 86_400_000)
    found.append(host.error(host.client(production).send("GET", "/me"), 401))
    host.clock.advance(-40 * 86_400_000)
    host.admin.done("DELETE", f"/api-keys/{key['id']}")
    found.append(host.error(host.client(production).send("GET", "/me"), 401))
    assert all(error.pop("request_id") for error in found)
    assert found[0] == found[1] == found[2]
    assert found[0]["type"] == "authentication_error"


def test_403_names_the_missing_permission(host: Host, production: str) -> None:
    error = host.error(host.client(production).send("POST", "/teams/team_ml_001/projects", PROJECT), 403)
    assert error["type"] == "permission_denied"
    assert error["message"] == "API key does not have 'quota:manage' permission"
    assert error["code"] == "missing_permission"


def test_403_of_a_model_and_an_address(host: Host, production: str) -> None:
    error = host.error(host.call(production, model="gpt-4o-mini"), 403)
    assert (error["type"], error["code"]) == ("permission_denied", "model_not_allowed")
    elsewhere = {**SERVICE_KEY, "name": "far", "allowed_ips": ["203.0.113.0/24", "2001:db8::/32"]}
    far = host.admin.post("/api-keys/service", elsewhere)["key"]
    error = host.error(host.call(far), 403)
    assert (error["type"], error["code"]) == ("permission_denied", "address_not_allowed")


def test_429_of_a_rate_says_when_to_come_back(host: Host, production: str) -> None:
    for _ in range(60):
        assert host.call(production).status_code == 200
    response = host.call(production)
    error = host.error(response, 429)
    assert (error["type"], error["message"]) == ("rate_limit_exceeded", "Rate limit of 60 req/min exceeded")
    assert response.headers["Retry-After"] == str(error["retry_after_seconds"])
    host.clock.advance(1000 * error["retry_after_seconds"])
    assert host.call(production).status_code == 200


def test_404_409_413_and_422(host: Host, production: str) -> None:
    missing = host.error(host.admin.send("POST", "/teams/team_none/projects", PROJECT), 404)
    assert missing["type"] == "not_found"
    taken = host.error(host.admin.send("POST", "/organizations/org_startup_ai/teams", {"name": "ml"}), 409)
    assert taken["type"] == "conflict"
    big = {**PROJECT, "name": "x" * (1 << 20)}
    assert (
        host.error(host.admin.send("POST", "/teams/team_ml_001/projects", big), 413)["type"]
        == "invalid_request"
    )
    bad = {
        **PROJECT,
        "monthly_budget_usd": -1,
        "quota_alerts": [{"threshold": "half", "action": "email"}],
        "x": 1,
    }
    invalid = host.error(host.admin.send("POST", "/teams/team_ml_001/projects", bad), 422)
    assert invalid["type"] == "invalid_request"
    assert {each["field"] for each in invalid["errors"]} == {
        "monthly_budget_usd",
        "quota_alerts[0].threshold",
        "x",
    }


def test_503_while_the_store_is_away(host: Host, production: str) -> None:
    host.store.fail()
    for response in (host.admin.send("GET", "/teams"), host.call(production)):
        error = host.error(response, 503)
        assert error["type"] == "store_unavailable"
        assert int(response.headers["Retry-After"]) >= 1
    host.store.heal()
    host.clock.advance(1000)
    assert host.admin.get("/me")["organization"]["id"] == "org_startup_ai"


def test_who_am_i(host: Host, production: str) -> None:
    me = host.client(production).get("/me")
    assert me["organization"] == {"id": "org_startup_ai", "name": "StartupAI"}
    assert me["team"]["id"] == "team_ml_001"
    assert me["project"]["id"] == "proj_production"
    assert me["permissions"] == SERVICE_KEY["permissions"]
    (own,) = host.admin.get("/organizations")["data"]
    assert own["id"] == "org_startup_ai"
