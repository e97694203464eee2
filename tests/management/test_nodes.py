"""Organizations, teams and projects over the API: made, found, listed, changed, moved, switched, taken away."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from quotaware.errors import QuotaExceeded
from tests.management.conftest import Api

PIPELINE = {
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


@pytest.fixture
def team(api: Api) -> str:
    return api.ok("POST", f"/organizations/{api.org}/teams", {"name": "ml", "id": "team_ml_001"})["id"]


def test_a_project_is_made_by_the_contract(api: Api, team: str) -> None:
    response = api("POST", f"/teams/{team}/projects", PIPELINE)
    made = response.json()
    assert response.status_code == 201
    assert response.headers["etag"] == f'"{made["revision"]}"'
    assert {field: made[field] for field in PIPELINE} == PIPELINE
    assert made["team_id"] == team
    assert made["organization_id"] == api.org
    assert made["id"].startswith("proj_")
    assert made["environment"] == "live"
    assert made["limits"][0] == "$1500/month"
    assert made["alerts"] == ["50% email", "80% slack", "95% disable"]
    assert api.ok("GET", f"/projects/{made['id']}") == made
    assert api.ok("GET", "/projects/ml-feature-pipeline") == made


def test_sent_again_with_a_known_name_it_updates(api: Api, team: str) -> None:
    made = api.ok("POST", f"/teams/{team}/projects", PIPELINE)
    response = api("POST", "/teams/ml/projects", {"name": PIPELINE["name"], "monthly_budget_usd": 2000})
    again = response.json()
    assert response.status_code == 200
    assert again == {
        **made,
        "monthly_budget_usd": 2000.0,
        "limits": ["$2000/month", *made["limits"][1:]],
        "revision": again["revision"],
    }
    assert again["revision"] > made["revision"]
    stale = {"if-match": f'"{made["revision"]}"'}
    assert api.error("POST", "/teams/ml/projects", PIPELINE, headers=stale)["status"] == 412
    other = api.error("POST", "/teams/ml/projects", {**PIPELINE, "id": "proj_other"})
    assert (other["status"], other["field"]) == (409, "id")
    same = {**PIPELINE, "id": made["id"]}
    assert api.ok("POST", "/teams/ml/projects", same)["monthly_budget_usd"] == 1500


def test_many_who_make_one_project_at_once_make_one(api: Api, team: str) -> None:
    answers: list[Any] = []

    def send(budget: int) -> None:
        body = {"name": "shared", "monthly_budget_usd": budget}
        answers.append(api("POST", f"/teams/{team}/projects", body))

    threads = [threading.Thread(target=send, args=(budget,)) for budget in range(1, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.status_code for answer in answers) == [200] * 7 + [201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(api.ok("GET", "/projects")["data"]) == 1


def test_a_project_stands_below_the_organization_too(api: Api, team: str) -> None:
    path = f"/organizations/{api.org}/projects"
    made = api.ok("POST", path, {"name": "alone", "environment": "test", "allowed_models": ["gpt-4.1*"]})
    assert (made["team_id"], made["environment"], made["allowed_models"]) == (None, "test", ["gpt-4.1*"])
    assert api("POST", path, {"name": "alone", "environment": "dev"}).status_code == 200
    moved = api.ok("POST", f"/projects/{made['id']}/move", {"team_id": "ml"})
    assert (moved["team_id"], moved["environment"]) == (team, "dev")
    back = api.ok("POST", f"/projects/{made['id']}/move", {"organization_id": api.org})
    assert back["team_id"] is None
    assert api.error("POST", "/projects/alone/move", {})["errors"][0]["field"] == "team_id"
    both = {"team_id": team, "organization_id": api.org}
    assert api.error("POST", "/projects/alone/move", both)["errors"][0]["field"] == "organization_id"
    assert api.error("POST", "/projects/alone/move", {"team_id": "nowhere"})["status"] == 404
    stale = {"if-match": '"1"'}
    assert api.error("POST", "/projects/alone/move", {"team_id": team}, headers=stale)["status"] == 412


def test_lists_are_filtered_and_go_on_at_their_cursor(api: Api, team: str) -> None:
    other = api.ok("POST", f"/organizations/{api.org}/teams", {"name": "web"})["id"]
    for number in range(5):
        api.ok("POST", f"/teams/{team}/projects", {"name": f"p{number}", "environment": "test"})
    api.ok("POST", f"/teams/{other}/projects", {"name": "p0"})
    api.ok("POST", f"/organizations/{api.org}/projects", {"name": "alone"})
    api.ok("POST", "/projects/p1/disable")

    def names(query: str) -> list[str]:
        found = api.ok("GET", f"/projects?{query}")
        assert found["next_cursor"] is None
        return sorted(project["name"] for project in found["data"])

    assert names("team_id=ml") == ["p0", "p1", "p2", "p3", "p4"]
    assert names(f"team_id={team}&enabled=false") == ["p1"]
    assert names("name=p0") == ["p0", "p0"]
    assert names("environment=test&enabled=true") == ["p0", "p2", "p3", "p4"]
    assert names(f"organization_id={api.org}&direct=true") == ["alone"]
    assert len(names(f"organization_id={api.org}")) == 7
    assert api.error("GET", "/projects?cursor=No!")["errors"][0]["field"] == "cursor"
    assert api.error("GET", "/projects?team_id=nowhere")["status"] == 404
    seen, cursor = [], ""
    while cursor is not None:
        found = api.ok("GET", f"/projects?limit=2&environment=test{cursor and '&cursor='}{cursor}")
        assert len(found["data"]) <= 2
        seen += [project["name"] for project in found["data"]]
        cursor = found["next_cursor"]
    assert sorted(seen) == ["p0", "p1", "p2", "p3", "p4"]
    assert [each["name"] for each in api.ok("GET", "/teams?name=web")["data"]] == ["web"]
    assert [each["id"] for each in api.ok("GET", "/organizations")["data"]] == [api.org]


def test_what_is_sent_replaces_and_what_is_absent_stays(api: Api, team: str) -> None:
    made = api.ok("POST", f"/teams/{team}/projects", PIPELINE)
    path = f"/projects/{made['id']}"
    renamed = api.ok("PATCH", path, {"name": "pipeline", "environment": "test"})
    assert renamed == {
        **made,
        "name": "pipeline",
        "environment": "test",
        "revision": renamed["revision"],
    }
    assert api.ok("PATCH", path, {"rate_limit": {"requests_per_minute": 60}})["monthly_budget_usd"] == 1500
    assert api.ok("PATCH", path, {"model_limits": None})["rate_limit"] == {"requests_per_minute": 60}
    cleared = api.ok("PATCH", path, {"monthly_budget_usd": None, "rate_limit": None, "quota_alerts": None})
    assert (cleared["limits"], cleared["alerts"]) == ([], [])
    texts = api.ok("PATCH", path, {"limits": ["$1/day per end_user", "8 concurrent"], "alerts": ["$4 slack"]})
    assert texts["end_user_limits"] == {"daily_budget_usd": 1.0}
    assert texts["rate_limit"] == {"concurrent": 8}
    same = api.ok("PATCH", path, {"limits": texts["limits"]})
    assert same["revision"] == texts["revision"]  # nothing changed


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        (
            "POST",
            "/teams/ml/projects",
            {"name": "q", "daily_budget_usd": 1, "monthly_budget_usd": 101},
            "monthly",
        ),
        ("POST", "/teams/ml/projects", {"name": "q", "limits": ["$101/month"]}, "limits"),
        ("PATCH", "/projects/p", {"monthly_budget_usd": 101}, "monthly"),
        ("POST", "/projects/p/limits", {"limit": "$101/month"}, "limit"),
        ("PATCH", "/projects/p/limits/cost%2Fmonth?mode=soft", {"amount_usd": 101}, "amount_usd"),
    ],
)
def test_a_budget_over_the_parents_is_named_as_it_was_sent(
    api: Api, team: str, method: str, path: str, body: Any, field: str
) -> None:
    api.ok("PATCH", "/teams/ml", {"monthly_budget_usd": 100})
    texts = ["$1/month soft"] if method == "PATCH" else []
    api.ok("POST", "/teams/ml/projects", {"name": "p", "limits": texts})
    error = api.error(method, path, body, key=manager(api, team))
    assert (error["code"], error["window"]) == ("over_allocated", "month")
    named = "monthly_budget_usd" if field == "monthly" else field
    assert [each["field"] for each in error["errors"]] == [named]


def test_a_team_is_managed(api: Api, team: str) -> None:
    assert api.error("POST", f"/organizations/{api.org}/teams", {"name": "ml"})["field"] == "name"
    changed = api.ok("PATCH", "/teams/ml", {"name": "research", "monthly_budget_usd": 100})
    assert (changed["name"], changed["monthly_budget_usd"], changed["organization_id"]) == (
        "research",
        100.0,
        api.org,
    )
    project = api.ok("POST", "/teams/research/projects", {"name": "p", "monthly_budget_usd": 60})
    over = api.error(
        "POST", "/teams/research/projects", {"name": "q", "monthly_budget_usd": 60}, key=manager(api, team)
    )
    assert (over["status"], over["code"], over["available_usd"]) == (422, "over_allocated", 40.0)
    assert api.error("DELETE", f"/teams/{team}")["code"] == "has_children"
    assert api("DELETE", f"/projects/{project['id']}").status_code == 204
    assert api.error("DELETE", f"/teams/{team}")["code"] == "has_children"  # the manager's key
    (key,) = api.ok("GET", f"/api-keys?team_id={team}")["data"]
    assert api("DELETE", f"/api-keys/{key['id']}").status_code == 204
    assert api("DELETE", f"/teams/{team}").status_code == 204
    assert api.error("GET", f"/teams/{team}")["status"] == 404


def manager(api: Api, node: str) -> str:
    """A key that may set budgets, and not go over the parent's."""
    return api.key(node, "quota:manage")


def test_a_disabled_team_is_closed_to_its_own_keys(api: Api, team: str) -> None:
    key = manager(api, team)
    assert api.ok("POST", f"/teams/{team}/disable", key=key)["enabled"] is False
    assert api.error("POST", f"/teams/{team}/enable", key=key)["code"] == "disabled"
    assert api.ok("POST", f"/teams/{team}/enable")["enabled"] is True
    assert api.ok("POST", f"/projects/{_project(api, team)}/disable")["enabled"] is False
    assert api.ok("POST", "/projects/p/enable")["enabled"] is True


def _project(api: Api, team: str) -> str:
    return api.ok("POST", f"/teams/{team}/projects", {"name": "p"})["id"]


def test_an_organization_is_managed(api: Api) -> None:
    path = f"/organizations/{api.org}"
    settings = {
        "name": "Startup Inc",
        "time_zone": "Europe/Berlin",
        "auto_upgrade": True,
        "alert_threshold": 0.75,
        "carryover_allowed": False,
        "monthly_budget_usd": 500.0,
        "quota_alerts": [{"threshold": 0.9, "action": "webhook"}],
    }
    changed = api.ok("PATCH", path, settings)
    assert {field: changed[field] for field in settings} == settings
    assert api.ok("GET", "/organizations/Startup Inc") == changed
    assert api.ok("PATCH", path, {"alert_threshold": None})["alert_threshold"] is None
    assert api.error("PATCH", path, {"time_zone": "Mars"})["errors"][0]["field"] == "time_zone"
    carried = api.error("PATCH", path, {"limits": ["$5/month carryover"]})
    assert carried["errors"] == [{"field": "limits", "message": "carry nothing over in this organization"}]
    carried = api.error("POST", f"{path}/limits", {"limit": "$5/day carryover"})
    assert [each["field"] for each in carried["errors"]] == ["limit"]
    closed = api.error("PATCH", path, {"alerts": ["100% close"]})
    assert [each["field"] for each in closed["errors"]] == ["alerts"]
    quota = api.key(api.org, "quota:manage")
    assert api.ok("PATCH", path, {"monthly_budget_usd": 600}, key=quota)["monthly_budget_usd"] == 600
    assert api.error("PATCH", path, {"name": "Mine"}, key=quota)["permission"] == "org:manage"
    assert api.error("POST", "/organizations", {"name": "Another"})["status"] == 405
    assert api.error("DELETE", path)["status"] == 405


def test_only_the_host_opens_an_organization_again(api: Api) -> None:
    path = f"/organizations/{api.org}"
    assert api.ok("POST", f"{path}/enable")["enabled"] is True
    assert api.ok("POST", f"{path}/disable")["enabled"] is False
    assert api.error("POST", f"{path}/enable")["code"] == "disabled"
    api.tenancy.enable(api.org, api.org)
    assert api.ok("GET", path)["enabled"] is True


def test_a_name_that_several_have_is_no_address(api: Api, team: str) -> None:
    api.ok("POST", f"/teams/{team}/projects", {"name": "same"})
    api.ok("POST", f"/organizations/{api.org}/projects", {"name": "same"})
    assert api.error("GET", "/projects/same")["code"] == "ambiguous_name"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "name"),
        ({"name": ""}, "name"),
        ({"name": " a"}, "name"),
        ({"name": "a\nb"}, "name"),
        ({"name": "a", "id": "Not An Id"}, "id"),
        ({"name": "a", "environment": ""}, "environment"),
        ({"name": "a", "allowed_models": ["x y"]}, "allowed_models"),
        ({"name": "a", "allowed_models": "gpt-4.1"}, "allowed_models"),
        ({"name": "a", "used": 5}, "used"),
        ({"name": "a", "limits": ["$5/month", "$6/month"]}, "limits"),
    ],
)
def test_a_bad_field_is_named(api: Api, team: str, body: Any, field: str) -> None:
    error = api.error("POST", f"/teams/{team}/projects", body)
    assert (error["status"], error["errors"][0]["field"]) == (422, field)
    assert api.ok("GET", "/projects")["data"] == []


def test_words_that_are_changed_at_once_are_all_changed(api: Api, team: str) -> None:
    path = f"/projects/{_project(api, team)}"
    words: list[dict[str, Any]] = [
        {"monthly_budget_usd": 5.0},
        {"daily_budget_usd": 1.0},
        {"rate_limit": {"requests_per_minute": 6}},
        {"model_limits": {"gpt-4.1": {"daily_requests": 7}}},
        {"end_user_limits": {"daily_requests": 8}},
        {"quota_alerts": [{"threshold": 0.5, "action": "slack"}]},
    ]
    threads = [threading.Thread(target=api.ok, args=("PATCH", path, each)) for each in words]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    told = api.ok("GET", path)
    for each in words:
        assert {word: told[word] for word in each} == each


def test_what_a_threshold_stopped_says_so_until_there_is_more(api: Api, team: str) -> None:
    body = {
        "name": "p",
        "monthly_budget_usd": 0.01,
        "quota_alerts": [{"threshold": 0.5, "action": "disable"}],
    }
    made = api.ok("POST", f"/teams/{team}/projects", body)
    assert made["stopped"] is None

    def use() -> None:
        with (
            api.quota.acting_as(project=made["id"]),
            api.quota.call(provider="openai", model="gpt-4.1", input=10, max_output=800) as call,
        ):
            call.used(input=10, output=800)

    def stopped() -> Any:
        api.quota.flush()
        return api.ok("GET", "/projects/p")["stopped"]

    use()
    month = stopped()
    assert (month["action"], month["limit"]) == ("disable", "cost/month")
    assert month["until"].endswith("-01T00:00:00Z")
    with pytest.raises(QuotaExceeded):
        use()
    again = api.ok("POST", f"/teams/{team}/projects", {"name": "p", "monthly_budget_usd": 0.03})
    assert again["stopped"] is None
    use()
    use()
    assert stopped() is not None
    api.clock.advance(31 * 86_400_000)
    assert stopped() is None
    use()
