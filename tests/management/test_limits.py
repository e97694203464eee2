"""Limits of any kind on any node, one by one, with where they stand."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest

from quotaware.core.limits import Limit
from tests.management.conftest import Api

RULES = (
    "$50/month",
    "600 requests/minute",
    "200000 tokens/day for gpt-4.1*",
    "$1/day per end_user",
    "8 concurrent",
)


@pytest.fixture
def project(api: Api) -> str:
    team = api.tenancy.create_team(api.org, "ml", id="team_ml_001").id
    return api.tenancy.create_project(team, "production", id="proj_production").id


def of(path: str, rule: str) -> str:
    """The path of one limit."""
    return f"{path}/{quote(Limit.parse(rule).shape, safe='')}"


def test_limits_of_any_kind_on_any_node(api: Api, project: str) -> None:
    key = api.ok("POST", "/api-keys/service", {"name": "ci", "project_id": project})["id"]
    for node in (f"organizations/{api.org}", "teams/ml", f"projects/{project}", f"api-keys/{key}"):
        path = f"/{node}/limits"
        for rule in RULES:
            response = api("POST", path, {"limit": rule})
            assert (response.status_code, response.json()["rule"]) == (201, rule)
        listed = api.ok("GET", path)
        assert listed["next_cursor"] is None
        assert [limit["rule"] for limit in listed["data"]] == list(RULES)
        assert api.ok("GET", f"/{node}")["limits"] == list(RULES)
        assert api.ok("PATCH", of(path, RULES[0]), {"amount_usd": 60})["rule"] == "$60/month"
        changed = api.ok("PATCH", of(path, RULES[2]), {"amount": 5, "mode": "soft"})
        assert changed["rule"] == "5 tokens/day for gpt-4.1* soft"
        for rule in RULES:
            assert api("DELETE", of(path, rule)).status_code == 204
        assert api.ok("GET", path)["data"] == []
        assert api.error("DELETE", of(path, RULES[0]))["status"] == 404


def test_a_limit_says_where_it_stands(api: Api, project: str) -> None:
    path = f"/projects/{project}/limits"
    for rule in ("$50/month", "$60/month soft", "10 requests/day", "$1/day per end_user", "2 concurrent"):
        api.ok("POST", path, {"limit": rule})
    blocking = {"provider": "openai", "model": "gpt-4.1", "input": 1000, "max_output": 1000}
    with api.quota.acting_as(project=project, end_user="u1"):
        with api.quota.call(**blocking) as call:
            call.used(input=1000, output=500)
        with api.quota.call(**blocking) as held:
            now = {limit["rule"]: limit for limit in api.ok("GET", path)["data"]}
            held.used(input=0, output=0)
    month = now["$50/month"]
    assert month == {
        "revision": month["revision"],
        "rule": "$50/month",
        "shape": "cost/month",
        "metric": "cost",
        "window": "month",
        "models": None,
        "per": None,
        "mode": "hard",
        "carryover": False,
        "amount": 50.0,
        "in_force": 50.0,
        "used": 0.006,
        "held": month["held"],
        "resets_at": month["resets_at"],
    }
    assert 0.01 <= month["held"] < 0.011  # the most that it can cost
    assert month["resets_at"].endswith("-01T00:00:00Z")
    assert (now["$60/month soft"]["used"], now["10 requests/day"]["used"]) == (0.006, 2)
    assert (now["$1/day per end_user"]["used"], now["$1/day per end_user"]["held"]) == (None, None)
    assert (now["2 concurrent"]["held"], now["2 concurrent"]["resets_at"]) == (1, None)
    api.tenancy.override(api.org, project, "cost/month", 75 * 10**9)
    raised = api.ok("GET", path)["data"][0]
    assert (raised["amount"], raised["in_force"]) == (50.0, 75.0)


def test_of_one_shape_the_mode_says_which(api: Api, project: str) -> None:
    path = f"/projects/{project}/limits"
    api.ok("POST", path, {"limit": "$50/month"})
    api.ok("POST", path, {"limit": "$40/month soft"})
    again = api.error("POST", path, {"limit": "$70/month"})
    assert (again["status"], again["field"]) == (409, "limit")
    one = of(path, "$50/month")
    assert api.error("PATCH", one, {"amount_usd": 60})["code"] == "ambiguous_name"
    assert api.ok("PATCH", f"{one}?mode=soft", {"amount_usd": 45})["rule"] == "$45/month soft"
    clash = api.error("PATCH", f"{one}?mode=soft", {"mode": "hard"})
    assert (clash["status"], clash["errors"][0]["field"]) == (422, "mode")
    assert api("DELETE", f"{one}?mode=hard").status_code == 204
    assert api.ok("PATCH", one, {"carryover": True})["rule"] == "$45/month carryover soft"


@pytest.mark.parametrize(
    ("method", "body", "field"),
    [
        ("POST", {"limit": "$50/fortnight"}, "limit"),
        ("POST", {}, "limit"),
        ("POST", {"limit": "$50/month", "used": 0}, "used"),
        ("PATCH", {"amount": 5}, "amount"),
        ("PATCH", {"amount_usd": -5}, "amount_usd"),
        ("PATCH", {"mode": "loose"}, "mode"),
        ("PATCH", {"carryover": 1}, "carryover"),
    ],
)
def test_a_bad_field_is_named(api: Api, project: str, method: str, body: Any, field: str) -> None:
    path = f"/projects/{project}/limits"
    api.ok("POST", path, {"limit": "$10/day"})
    api.ok("POST", path, {"limit": "9 requests/day"})
    at = path if method == "POST" else of(path, "$10/day")
    error = api.error(method, at, body)
    assert (error["status"], error["errors"][0]["field"]) == (422, field)
    dollars = api.error("PATCH", of(path, "9 requests/day"), {"amount_usd": 5})
    assert dollars["errors"][0]["field"] == "amount_usd"
    assert [limit["rule"] for limit in api.ok("GET", path)["data"]] == ["$10/day", "9 requests/day"]


def test_a_limit_is_changed_only_from_the_revision_that_was_seen(api: Api, project: str) -> None:
    path = f"/projects/{project}/limits"
    made = api("POST", path, {"limit": "$10/day"})
    api.ok("POST", path, {"limit": "$90/month"})
    stale = {"if-match": made.headers["etag"]}
    for method, body in (("PATCH", {"amount_usd": 5}), ("DELETE", None)):
        assert api.error(method, of(path, "$10/day"), body, headers=stale)["status"] == 412
    assert api.error("POST", path, {"limit": "8 concurrent"}, headers=stale)["status"] == 412
    now = {"if-match": api("GET", f"/projects/{project}").headers["etag"]}
    assert api.ok("PATCH", of(path, "$10/day"), {"amount_usd": 5}, headers=now)["amount"] == 5


def test_who_makes_keys_changes_their_limits_within_the_own(api: Api, project: str) -> None:
    maker = api.key(project, "api_key:create:limited", "chat:create", limits=["60 requests/minute"])
    body = {"name": "ci", "project_id": project, "permissions": ["chat:create"]}
    path = f"/api-keys/{api.ok('POST', '/api-keys/service', body, maker)['id']}/limits"
    one = of(path, "60 requests/minute")
    assert api.ok("PATCH", one, {"amount": 50}, maker)["amount"] == 50
    assert api.error("PATCH", one, {"amount": 70}, maker)["code"] == "escalation"
    assert api.error("DELETE", one, key=maker)["code"] == "escalation"
    assert api.error("GET", path, key=api.key(project, "chat:create"))["permission"] == "api_key:read"
