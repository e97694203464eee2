"""API keys over the API: made, shown once, changed, rotated, switched, revoked; and never more than their maker."""

from __future__ import annotations

from typing import Any

import pytest

from tests.management.conftest import Api

CI = {
    "name": "github-actions-ci-key",
    "project_id": "proj_production",
    "permissions": ["chat:create", "embeddings:create", "models:list"],
    "expires_at": "2036-12-23T09:15:00.123456Z",
    "rate_limit": {"requests_per_minute": 60, "requests_per_day": 10000},
    "allowed_ips": [],
    "allowed_models": ["gpt-4.1", "claude-sonnet-4-20250514", "gemini-2.5-flash", "deepseek-v3.2"],
}


@pytest.fixture
def team(api: Api) -> str:
    return api.tenancy.create_team(api.org, "ml", id="team_ml_001").id


@pytest.fixture
def project(api: Api, team: str) -> str:
    return api.tenancy.create_project(team, "production", id="proj_production").id


def make(api: Api, key: str | None = None, **more: Any) -> Any:
    return api.ok("POST", "/api-keys/service", {**CI, **more}, key)


def me(api: Api, key: str) -> int:
    return api("GET", "/me", key=key).status_code


def test_a_key_is_made_by_the_contract(api: Api, project: str, team: str) -> None:
    response = api("POST", "/api-keys/service", CI)
    made = response.json()
    assert response.status_code == 201
    assert {**{field: made[field] for field in CI}} == {**CI, "expires_at": "2036-12-23T09:15:00.123Z"}
    assert (made["team_id"], made["organization_id"], made["revoked"]) == (team, api.org, False)
    assert made["key"].startswith("qw_live_")
    assert me(api, made["key"]) == 200
    shown = api.ok("GET", f"/api-keys/{made['id']}")
    assert shown == {field: value for field, value in made.items() if field != "key"}
    assert shown["last_used_at"] is None
    assert api.ok("GET", f"/api-keys/{made['id']}", key=made["key"]) == shown  # its own


def test_a_key_hangs_on_one_of_three_places(api: Api, project: str, team: str) -> None:
    on_team = make(api, name="a", project_id=None, team_id="ml")
    assert (on_team["project_id"], on_team["team_id"]) == (None, team)
    assert on_team["key"].startswith("qw_admin_")
    on_org = make(api, name="b", project_id=None, organization_id=api.org)
    assert (on_org["project_id"], on_org["team_id"], on_org["organization_id"]) == (None, None, api.org)
    none = api.error("POST", "/api-keys/service", {**CI, "project_id": None})
    assert (none["status"], none["errors"][0]["field"]) == (422, "project_id")
    both = api.error("POST", "/api-keys/service", {**CI, "team_id": team})
    assert (both["status"], both["errors"][0]["field"]) == (422, "team_id")
    assert api.error("POST", "/api-keys/service", {**CI, "project_id": "proj_none"})["status"] == 404


def test_keys_are_listed_by_place_and_state(api: Api, project: str, team: str) -> None:
    ci, other = make(api), make(api, name="other")
    make(api, name="team", project_id=None, team_id=team)
    api.ok("POST", f"/api-keys/{other['id']}/disable")
    api.ok("POST", f"/api-keys/{ci['id']}/rotate")

    def names(query: str) -> list[tuple[str, bool]]:
        return sorted((key["name"], key["revoked"]) for key in api.ok("GET", f"/api-keys?{query}")["data"])

    assert names("project_id=production") == [(CI["name"], False), (CI["name"], True), ("other", False)]
    assert names("project_id=production&revoked=false&enabled=true") == [(CI["name"], False)]
    assert names(f"team_id={team}&direct=true") == [("team", False)]
    assert len(names(f"team_id={team}")) == 4
    assert names("name=other") == [("other", False)]
    assert len(api.ok("GET", "/api-keys?limit=2")["data"]) == 2
    assert api.error("GET", f"/api-keys?project_id=production&team_id={team}")["status"] == 422
    assert api.error("GET", "/api-keys", key=ci["key"])["status"] == 401  # it was rotated
    new = make(api, name="callonly")["key"]
    assert api.error("GET", "/api-keys", key=new)["permission"] == "api_key:read"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_key_is_changed(api: Api, project: str, method: str) -> None:
    made = make(api)
    path = f"/api-keys/{made['id']}"
    change = {
        "add_permissions": ["responses:create"],
        "remove_permissions": ["models:list"],
        "rate_limit": {"requests_per_minute": 5},
        "allowed_ips": ["203.0.113.0/24"],
        "allowed_models": ["gpt-4.1"],
        "expires_at": "2036-01-01T00:00:00Z",
    }
    changed = api.ok(method, path, change)
    assert changed["permissions"] == ["chat:create", "embeddings:create", "responses:create"]
    for field in ("rate_limit", "allowed_ips", "allowed_models", "expires_at"):
        assert changed[field] == change[field]
    assert changed["limits"] == ["5 requests/minute"]
    assert changed["name"] == CI["name"]
    freed = api.ok(method, path, {"allowed_models": [], "allowed_ips": None, "expires_at": None})
    assert (freed["allowed_models"], freed["allowed_ips"], freed["expires_at"]) == ([], [], None)
    assert api.ok(method, path, {"end_user_limits": {"daily_budget_usd": 1}})["rate_limit"]
    assert api.ok(method, path, {"permissions": ["chat:create"]})["permissions"] == ["chat:create"]
    assert api.error(method, path, {"allowed_ips": ["10.1"]})["errors"][0]["field"] == "allowed_ips"
    assert api.error(method, path, {"add_permissions": ["Chat!"]})["errors"][0]["field"] == "add_permissions"


def test_a_rotated_key_stops_at_once_or_after_its_grace(api: Api, project: str) -> None:
    made = make(api)
    response = api("POST", f"/api-keys/{made['id']}/rotate")
    first = response.json()
    assert response.status_code == 201
    assert (first["expires_at"], first["name"]) == (made["expires_at"], made["name"])
    assert [me(api, key) for key in (made["key"], first["key"])] == [401, 200]
    path = f"/api-keys/{first['new_key_id']}/rotate"
    second = api.ok("POST", path, {"grace_seconds": 60})
    assert [me(api, key) for key in (first["key"], second["key"])] == [200, 200]
    api.clock.advance(60_001)
    assert [me(api, key) for key in (first["key"], second["key"])] == [401, 200]
    shown = api.ok("GET", f"/api-keys/{second['new_key_id']}")
    assert (shown["replaces"], shown["rate_limit"]) == (made["id"], CI["rate_limit"])
    assert api.error("POST", path)["code"] == "revoked"
    assert api.error("POST", path, {"grace_seconds": -1})["errors"][0]["field"] == "grace_seconds"


def test_a_secret_is_shown_once(api: Api, project: str) -> None:
    headers = {"idempotency-key": "once"}
    first = api("POST", "/api-keys/service", CI, headers=headers).json()
    again = api("POST", "/api-keys/service", CI, headers=headers).json()
    assert again == {**first, "key": None}
    headers = {"idempotency-key": "twice"}
    path = f"/api-keys/{first['id']}/rotate"
    new = api("POST", path, headers=headers).json()
    assert api("POST", path, headers=headers).json() == {**new, "key": None}


def test_a_revoked_key_can_still_be_looked_at(api: Api, project: str) -> None:
    made = make(api)
    path = f"/api-keys/{made['id']}"
    stale = {"if-match": '"1"'}
    assert api.error("DELETE", path, headers=stale)["status"] == 412
    assert me(api, made["key"]) == 200
    assert api("DELETE", path).status_code == 204
    assert api("DELETE", path).status_code == 204
    assert api.error("GET", "/me", key=made["key"])["type"] == "authentication_error"
    assert api.ok("GET", path)["revoked"] is True
    assert api.error("PATCH", path, {"name": "x"})["code"] == "revoked"
    assert make(api)["id"] != made["id"]  # its name is free again


def test_a_disabled_key_does_nothing_until_it_is_enabled(api: Api, project: str) -> None:
    made = make(api)
    assert api.ok("POST", f"/api-keys/{made['id']}/disable")["enabled"] is False
    assert api.error("GET", "/me", key=made["key"])["code"] == "disabled"
    assert api.ok("POST", f"/api-keys/{made['id']}/enable")["enabled"] is True
    assert me(api, made["key"]) == 200


def test_no_key_is_made_to_be_more_than_its_maker(api: Api, project: str) -> None:
    limits = ["60 requests/minute"]
    maker = api.key(
        project, "api_key:create", "chat:create", models=["gpt-4.1"], limits=limits, expires_at=2**41
    )
    body = {"name": "child", "project_id": project, "permissions": ["chat:create"]}
    child = api.ok("POST", "/api-keys/service", body, key=maker)  # what is left out is the maker's own
    assert (child["allowed_models"], child["limits"]) == (["gpt-4.1"], limits)
    assert child["expires_at"] == "2039-09-07T15:47:35.552Z"
    assert child["created_by"] is not None
    for more, field in (
        ({"permissions": ["chat:create", "quota:manage"]}, "permission"),
        ({"allowed_models": ["gpt-*"]}, "allowed_models"),
        ({"rate_limit": {"requests_per_minute": 61}}, "rate_limit"),
        ({"expires_at": "2040-01-01T00:00:00Z"}, "expires_at"),
    ):
        refused = api.error("POST", "/api-keys/service", {**body, "name": "more", **more}, key=maker)
        assert refused["status"] == 403
        assert refused.get("field", "permission") == field
    path = f"/api-keys/{child['id']}"
    for change in (
        {"add_permissions": ["org:manage"]},
        {"allowed_models": []},
        {"limits": []},
        {"rate_limit": None},
        {"expires_at": None},
    ):
        assert api.error("PATCH", path, change, key=maker)["status"] == 403
    assert api.ok("GET", path) == {field: value for field, value in child.items() if field != "key"}


def test_when_it_was_used_last(api: Api, project: str) -> None:
    made = make(api, permissions=["chat:create"])
    with (
        api.quota.acting_as(key=made["key"]),
        api.quota.call(provider="openai", model="gpt-4.1", input=10, max_output=10) as call,
    ):
        call.used(input=10, output=5)
    used = api.ok("GET", f"/api-keys/{made['id']}")["last_used_at"]
    assert used is not None
    assert api.ok("GET", "/api-keys?name=" + CI["name"])["data"][0]["last_used_at"] == used
