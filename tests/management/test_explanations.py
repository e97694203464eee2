"""May a call go, and why not: the same answer as the call itself would get, for who may know."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quotaware import Quota
from quotaware.context import Identity
from quotaware.testing.clocks import FakeClock
from tests.calls import MODEL, a_call, a_quota, ask, refused, spend
from tests.management.conftest import Api


@pytest.fixture
def quota(clock: FakeClock) -> Iterator[Quota]:
    quota = a_quota(clock=clock)
    yield quota
    quota.close()


@pytest.fixture
def project(api: Api) -> str:
    team = api.tenancy.create_team(api.org, "red", limits=["100 requests/day"])
    return api.tenancy.create_project(team.id, "backend", limits=["$0.10/month"]).id


def test_a_key_asks_for_itself(api: Api, project: str) -> None:
    secret = api.key(project, "chat:create", name="ci")
    told = api.ok("POST", "/explain", {"model": MODEL, "input": 0, "max_output": 10}, key=secret)
    assert (told["allowed"], told["error"], told["until"]) == (True, None, None)
    assert told["caller"]["project"] == project
    assert told["caller"]["key"] == api.tenancy.find(api.org, "key", "ci").id
    assert (told["reserved_usd"], told["estimated_usd"]) == (0.01, 0.01)
    budget, rate = told["limits"]
    assert budget == {
        "rule": "$0.1/month",
        "on": project,
        "kind": "project",
        "name": "backend",
        "metric": "cost",
        "limit": 0.1,
        "used": 0.0,
        "held": 0.0,
        "remaining": 0.1,
        "resets_at": budget["resets_at"],
        "mode": "hard",
    }
    assert (rate["kind"], rate["name"], rate["limit"]) == ("team", "red", 100)


def test_what_would_be_refused_is_told_as_it_would_be_answered(api: Api, project: str) -> None:
    spend(api.quota, 10, Identity(project))
    answered = refused(ask(api.quota, a_call(1), Identity(project)))
    told = api.ok("POST", "/projects/backend/explain", {"model": MODEL, "input": 0, "max_output": 10})
    assert told["allowed"] is False
    assert told["error"] == answered.body()["error"]
    assert told["until"] == told["error"]["reset_date"]
    assert told["limits"][0]["used"] == 0.1
    assert told["limits"][0]["remaining"] == 0.0


def test_nothing_is_counted(api: Api, project: str) -> None:
    before = api.quota.stats
    for _ in range(5):
        api.ok("POST", "/projects/backend/explain", {"model": MODEL})
    assert api.quota.stats == before
    assert api.ok("GET", "/projects/backend/analytics")["total_requests"] == 0
    told = api.ok("POST", "/projects/backend/explain", {"model": MODEL})
    assert all(limit["used"] == limit["held"] == 0 for limit in told["limits"])


@pytest.mark.parametrize(
    ("change", "asked", "code"),
    [
        ({"enabled": False}, {}, "disabled"),
        ({"models": ["other*"]}, {}, "model_not_allowed"),
        ({}, {"model": "unheard-of"}, "price_unknown"),
    ],
)
def test_every_reason_has_its_code(api: Api, project: str, change: dict, asked: dict, code: str) -> None:
    if change:
        api.tenancy.update(api.org, project, **change)
    told = api.ok("POST", "/explain", {"project": "backend", "model": MODEL, **asked})
    assert (told["allowed"], told["error"]["code"]) == (False, code)


def test_keys_and_members_are_asked_about_by_who_may_know_them(api: Api, project: str) -> None:
    api.key(project, "embeddings:create", name="other", addresses=["10.0.0.0/8"])
    api.tenancy.create_member(api.org, "ada", roles=[("viewer", project)])
    told = api.ok("POST", "/explain", {"key": "other", "model": MODEL, "address": "10.1.1.1"})
    assert told["error"]["code"] == "missing_permission"
    embeddings = {"key": "other", "model": MODEL, "operation": "embeddings", "input": 9, "max_output": 0}
    told = api.ok("POST", "/explain", {**embeddings, "address": "10.1.1.1"})
    assert told["allowed"] is True
    told = api.ok("POST", "/explain", {**embeddings, "address": "8.8.8.8"})
    assert told["error"]["code"] == "address_not_allowed"
    told = api.ok("POST", "/projects/backend/explain", {"member": "ada", "model": MODEL})
    assert (told["allowed"], told["error"]["code"]) == (False, "missing_permission")
    assert told["caller"]["member"] == api.tenancy.member(api.org, "ada").id


def test_who_may_not_know_is_refused(api: Api, project: str) -> None:
    mere = api.key(project, "chat:create", name="mere")
    reader = api.key(project, "quota:read")
    api.key(project, "chat:create", name="other")
    api.tenancy.create_member(api.org, "ada", roles=[("developer", project)])
    for path, body, key, permission in (
        ("/projects/backend/explain", {}, mere, "quota:read"),
        ("/explain", {"project": "backend"}, mere, "quota:read"),
        ("/explain", {"key": "other"}, mere, "api_key:read"),
        ("/explain", {"member": "ada", "project": "backend"}, reader, "org:manage"),
        ("/projects/backend/explain", {"member": "ada"}, reader, "org:manage"),
    ):
        error = api.error("POST", path, {"model": MODEL, **body}, key=key)
        assert (error["status"], error.get("permission")) == (403, permission), body
    fits = {"model": MODEL, "input": 0, "max_output": 10}
    assert api.ok("POST", "/projects/backend/explain", fits, key=reader)["allowed"]


def test_what_is_elsewhere_is_not_there(api: Api, project: str) -> None:
    key = api.tenancy.create_key(project).node.id
    for body in ({"project": project}, {"key": key}, {"member": "ada"}):
        error = api.error("POST", "/explain", {"model": MODEL, **body}, key=api.rival_admin)
        assert error["status"] == 404
    assert (
        api.error("POST", f"/projects/{project}/explain", {"model": MODEL}, key=api.rival_admin)["status"]
        == 404
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "model"),
        ({"model": ""}, "model"),
        ({"model": MODEL, "input": -1}, "input"),
        ({"model": MODEL, "max_output": "5"}, "max_output"),
        ({"model": MODEL, "tags": {"a": 5}}, "tags.a"),
        ({"model": MODEL, "key": "a", "project": "b"}, "key"),
        ({"model": MODEL, "organization": "org_rival"}, "organization"),
    ],
)
def test_a_bad_question_names_its_field(api: Api, body: dict, field: str) -> None:
    error = api.error("POST", "/explain", body)
    assert (error["status"], error["errors"][0]["field"]) == (422, field)


def test_the_organizations_admin_key_has_no_project(api: Api) -> None:
    told = api.ok("POST", "/explain", {"model": MODEL})
    assert (told["allowed"], told["error"]["code"]) == (False, "project_required")


def test_a_member_asks_as_a_member(clock: FakeClock) -> None:
    who: dict[str, str] = {}
    quota = a_quota(clock=clock, identify=lambda scope: who)
    api = Api(quota, clock)
    project = api.tenancy.create_project(api.org, "backend", limits=["$0.10/month"]).id
    ada = api.tenancy.create_member(api.org, "ada", roles=[("developer", project)]).id
    who |= {"member": "ada", "organization": api.org}
    asked = {"model": MODEL, "input": 0, "max_output": 10}
    alone = api.client.post("/v1/explain", json=asked).json()
    assert (alone["allowed"], alone["error"]["code"]) == (False, "project_required")
    there = api.client.post("/v1/explain", json={**asked, "project": "backend", "member": "ada"}).json()
    assert (there["allowed"], there["caller"]["project"], there["caller"]["member"]) == (True, project, ada)
    quota.close()
