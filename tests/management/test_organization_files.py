"""The organization as one file, over HTTP."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from quotaware.management.bodies import LARGE, ROOM
from tests.management.conftest import Api
from tests.organization.test_reading import STARTUP

OVERRIDE = {"since": "2026-01-01T00:00:00Z", "until": "2040-01-01T00:00:00Z"}


@pytest.fixture
def file() -> dict[str, Any]:
    return copy.deepcopy(STARTUP)


def at(api: Api, verb: str) -> str:
    return f"/organizations/{api.org}/{verb}"


def test_the_contracts_file_is_planned_applied_and_exported(api: Api, file: dict[str, Any]) -> None:
    plan = api.ok("POST", at(api, "plan"), {"file": file})
    assert plan["counts"] == {"create": 13, "change": 1, "move": 0, "remove": 0, "unchanged": 0}
    assert {"where": "engineering", "window": "month", "before_usd": None, "after_usd": 300.0} in plan[
        "money"
    ]
    done = api.ok("POST", at(api, "apply"), {"file": file, "revision": plan["revision"]})
    assert done["steps"] == plan["steps"]
    assert done["secrets"] == []
    assert api.ok("POST", at(api, "plan"), {"file": file})["steps"] == []
    file["teams"]["product"]["projects"].sort()
    assert api.ok("GET", at(api, "export")) == {"file": file}
    with_ids = api.ok("GET", at(api, "export?ids=true"))["file"]
    assert with_ids["organization"]["id"] == api.org
    assert api.ok("POST", at(api, "plan"), {"file": with_ids})["steps"] == []


def test_new_keys_are_shown_once_and_work(api: Api) -> None:
    file = {"organization": {"name": "StartupAI", "keys": {"bot": {"permissions": ["quota:read"]}}}}
    headers = {"idempotency-key": "first"}
    done = api.ok("POST", at(api, "apply"), {"file": file}, headers=headers)
    (secret,) = done["secrets"]
    assert (secret["kind"], secret["name"], secret["where"]) == ("key", "bot", "StartupAI")
    assert api.ok("GET", "/me", key=secret["secret"])["permissions"] == ["quota:read"]
    again = api("POST", at(api, "apply"), {"file": file}, headers=headers)
    assert again.headers["idempotent-replayed"] == "true"
    assert again.json() == {**done, "secrets": None}
    assert api.ok("POST", at(api, "apply"), {"file": file})["steps"] == []


def test_taking_away_takes_a_word_and_a_plan_that_is_old_is_none(api: Api, file: dict[str, Any]) -> None:
    api.ok("POST", at(api, "apply"), {"file": file})
    old = api.ok("POST", at(api, "plan"), {"file": file})["revision"]
    del file["teams"]["operations"]
    refused = api.error("POST", at(api, "apply"), {"file": file})
    assert (refused["status"], refused["code"]) == (409, "would_destroy")
    assert [(each["kind"], each["name"]) for each in refused["destroys"]] == [
        ("project", "monitoring"),
        ("team", "operations"),
    ]
    api.ok("PATCH", "/teams/product", {"monthly_budget_usd": 100})
    late = api.error("POST", at(api, "apply"), {"file": file, "allow_destroy": True, "revision": old})
    assert (late["status"], late["code"]) == (409, "changed_since")
    api.ok("POST", at(api, "apply"), {"file": file, "allow_destroy": True})
    assert {team["name"] for team in api.ok("GET", "/teams")["data"]} == {"engineering", "product"}


def test_what_is_wrong_is_named_as_the_body_has_it(api: Api, file: dict[str, Any]) -> None:
    file["organization"]["colour"] = "blue"
    file["teams"]["engineering"]["budget_usd"] = -1
    refused = api.error("POST", at(api, "plan"), {"file": file})
    assert refused["status"] == 422
    assert [each["field"] for each in refused["errors"]] == [
        "file.organization.colour",
        "file.teams.engineering.budget_usd",
    ]
    file["members"] = {"ada": {"groups": ["nobody"]}}
    refused = api.error("POST", at(api, "apply"), {"file": file})
    assert [each["field"] for each in refused["errors"]] == [
        "file.members.ada.groups[0]",
        "file.organization.colour",
        "file.teams.engineering.budget_usd",
    ]
    for nothing in ({}, {"organization": 1}, {"organization": {"name": 7}}):
        assert api.error("POST", at(api, "plan"), {"file": nothing})["status"] == 422
    assert api.error("POST", at(api, "plan"), {"file": []})["errors"][0]["field"] == "file"
    odd = {"overrides": [{**OVERRIDE, "limit": "tokens/day", "amount": 1}]}
    unknown = api.error("POST", at(api, "plan"), {"file": {"organization": {"name": "StartupAI", **odd}}})
    assert [each["field"] for each in unknown["errors"]] == ["file.organization.overrides[0].limit"]
    wrong = {
        "organization": {"name": "StartupAI", "roles": {"x": ["boss"]}},
        "members": {"a": {"groups": ["y"]}},
    }
    for verb in ("plan", "apply"):
        refused = api.error("POST", at(api, verb), {"file": wrong})
        assert [each["field"] for each in refused["errors"]] == [
            "file.members.a.groups[0]",
            "file.organization.roles.x[0]",
        ]


def test_a_sum_over_the_parents_budget_is_refused_whole(api: Api, file: dict[str, Any]) -> None:
    bot = api.key(api.org, "quota:manage", "team:create")
    file["teams"]["product"]["budget_usd"] = 200
    for team in file["teams"].values():
        del team["roles"]
    api.ok("PATCH", f"/organizations/{api.org}", {"monthly_budget_usd": 500})
    del file["global_settings"]
    refused = api.error("POST", at(api, "apply"), {"file": file}, bot)
    assert (refused["status"], refused["code"]) == (422, "over_allocated")
    assert refused["allocated_usd"] + refused["requested_usd"] == 550.0
    assert [each["field"] for each in refused["errors"]] == ["file.organization.total_monthly_budget"]
    assert api.ok("GET", "/teams")["data"] == []
    file["teams"]["product"]["budget_usd"] = 150
    assert api.ok("POST", at(api, "apply"), {"file": file}, bot)["counts"]["create"] == 8


def test_who_may_not_do_one_of_the_changes_does_none(api: Api, file: dict[str, Any]) -> None:
    bot = api.key(api.org, "quota:manage")
    for team in file["teams"].values():
        del team["roles"]
    del file["global_settings"]
    refused = api.error("POST", at(api, "apply"), {"file": file}, bot)
    assert (refused["status"], refused["permission"]) == (403, "team:create")
    assert refused["step"] == "create team 'engineering'"
    assert api.ok("GET", f"/organizations/{api.org}")["monthly_budget_usd"] is None
    assert api.error("POST", f"/organizations/{api.rival}/plan", {"file": file})["status"] == 404


def test_an_export_shows_no_more_than_may_be_seen(api: Api, file: dict[str, Any]) -> None:
    file["teams"]["product"]["keys"] = {"bot": {}}
    file["members"] = {"ada": {}}
    secret = api.ok("POST", at(api, "apply"), {"file": file})["secrets"][0]["secret"]
    answered = api("GET", at(api, "export"))
    assert secret not in answered.text
    assert "bot" in answered.json()["file"]["teams"]["product"]["keys"]
    reader = api.key(api.org, "quota:read")
    found = api.ok("GET", at(api, "export"), key=reader)["file"]
    assert found.keys() == {"organization", "teams", "global_settings"}
    assert found["teams"]["product"] == {"budget_usd": 150, "projects": ["analytics", "chatbot"]}


def test_a_whole_organization_fits_into_one_request(api: Api) -> None:
    projects = {f"project-{number:05}-{'x' * 100}": {"environment": "y" * 60} for number in range(6000)}
    file = {"organization": {"name": "StartupAI"}, "projects": projects}
    assert len(str(file)) > ROOM.bytes
    assert api.ok("POST", at(api, "plan"), {"file": file})["counts"]["create"] == 6000
    too_many = {"organization": {"name": "StartupAI"}, "projects": [str(n) for n in range(LARGE.widest + 1)]}
    assert api.error("POST", at(api, "plan"), {"file": too_many})["status"] == 400
