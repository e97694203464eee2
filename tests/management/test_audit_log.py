"""The audit log over the API: who changed what, when, from where."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from quotaware.stores.protocol import Change
from quotaware.tenancy import auditing
from tests.management.conftest import Api


def whats(api: Api, query: str = "") -> list[str]:
    return [row["what"] for row in api.ok("GET", f"/audit-log?{query}")["data"]]


def test_a_row_says_who_did_what_when_from_where_and_what_became_of_it(api: Api) -> None:
    team = api.tenancy.create_team(api.org, "engineering", limits=["$5/month"])
    api.clock.advance(90_000)
    who = api.ok("GET", "/me")["key"]
    api.client = TestClient(api.client.app, client=("203.0.113.7", 50000))
    api.ok("POST", "/organizations/quota/allocate", {
        "team_id": api.org, "allocations": [{"target": "engineering", "amount_usd": 7}],
    })  # fmt: skip
    row = api.ok("GET", "/audit-log")["data"][0]
    before = {
        "id": team.id,
        "kind": "team",
        "parent": api.org,
        "name": "engineering",
        "stopped": None,
        "limits": ["$5/month"],
        "created_at": "2026-06-15T12:00:00Z",
    }
    assert row == {
        "revision": row["revision"],
        "at": "2026-06-15T12:01:30Z",
        "what": "organization.allocate",
        "who": {"kind": "key", "id": who["id"], "name": who["name"]},
        "from": "203.0.113.7",
        "before": [before],
        "after": [{**before, "limits": ["$7/month"], "alerts": ["100% email on cost/month"]}],
        "on": None,
        "why": None,
    }
    made = api.ok("GET", "/audit-log?what=team.create")["data"][0]
    assert (made["who"], made["from"], made["before"]) == ({"kind": "host", "id": "", "name": None}, None, [])


def test_values_stand_in_the_words_of_the_wire(api: Api) -> None:
    api.tenancy.create_project(api.org, "p", id="proj_p", limits=["$1/month"], models=["gpt-4.1*"])
    api.ok("POST", "/members", {"name": "ann", "roles": [{"role": "viewer", "node": "p"}]})
    api.ok("POST", "/groups", {"name": "g", "node": "p", "roles": ["viewer"]})
    api.ok("POST", "/projects/p/overrides", {"limit": "cost/month", "amount_usd": 2})
    api.ok("POST", "/quota-requests", {"project_id": "p", "limit": "cost/month", "amount_usd": 3})
    api.tenancy.update(api.org, api.org, alert_threshold=750_000, zone="Europe/Berlin")
    rows = api.ok("GET", "/audit-log")["data"]
    after = {row["what"]: row["after"][0] for row in reversed(rows) if row["after"]}
    assert after["project.create"]["allowed_models"] == ["gpt-4.1*"]
    assert after["member.create"]["roles"] == [{"role": "viewer", "node": "proj_p"}]
    assert after["group.create"]["roles"] == ["viewer"]
    assert after["project.override"]["overrides"] == [
        {"limit": "cost/month", "amount": None, "amount_usd": 2.0, "since": "2026-06-15T12:00:00Z",
         "until": "2026-07-01T00:00:00Z"}
    ]  # fmt: skip
    request = after["request.create"]
    assert (request["amount"], request["amount_usd"], request["expires_at"]) == (
        None, 3.0, "2026-06-22T12:00:00Z",
    )  # fmt: skip
    organization = after["organization.update"]
    assert (organization["alert_threshold"], organization["time_zone"]) == (0.75, "Europe/Berlin")


def test_no_secret_and_no_digest_stands_in_it(api: Api) -> None:
    api.tenancy.create_project(api.org, "p", id="proj_p")
    made = api.tenancy.create_key("proj_p", name="ci")
    api.tenancy.rotate_key(api.org, made.node.id)
    text = api("GET", "/audit-log").text
    assert "key.rotate" in text
    assert made.secret not in text
    assert made.node.digest not in text


def test_an_attempt_that_was_refused_stands_in_it_with_the_reason(api: Api) -> None:
    project = api.tenancy.create_project(api.org, "p", limits=["$1/month"]).id
    key = api.key(project, "quota:read", id="key_p", name="reader")
    api.error("POST", "/projects/p/overrides", {"limit": "cost/month", "amount_usd": 5}, key=key)
    (row,) = api.ok("GET", "/audit-log?who=key_p")["data"]
    assert row["what"].endswith(".refused")
    assert (row["who"]["name"], row["on"], row["before"], row["after"]) == ("reader", project, [], [])
    assert row["why"] == {
        "code": "missing_permission",
        "message": "API key does not have 'quota:override' permission",
    }
    assert api.ok("GET", f"/audit-log?node={project}&who=reader")["data"] == [row]


def test_rows_are_filtered(api: Api) -> None:
    api.tenancy.create_team(api.org, "a", id="team_a")
    api.clock.advance(1000)
    api.ok("POST", "/members", {"name": "ann", "id": "mem_ann"})
    api.clock.advance(1000)
    api.ok("PATCH", "/members/ann", {"email": "ann@example.com"})
    key = api.ok("GET", "/me")["key"]["id"]
    assert whats(api, "what=member") == ["member.update", "member.create"]
    assert whats(api, "what=member.create") == ["member.create"]
    assert whats(api, "what=mem") == []
    assert whats(api, "node=mem_ann") == whats(api, "node=ann") == ["member.update", "member.create"]
    assert whats(api, "node=team_a") == ["team.create"]
    assert whats(api, f"who={key}") == ["member.update", "member.create"]
    assert set(whats(api, "who=host")) == {"organization.create", "key.create", "team.create"}
    assert whats(api, "since=2026-06-15T12:00:01Z") == ["member.update", "member.create"]
    assert whats(api, "since=2026-06-15T12:00:01Z&until=2026-06-15T12:00:02Z") == ["member.create"]
    assert "member.create" not in whats(api, "until=2026-06-15T12:00:01Z")
    assert whats(api, f"who={key}&what=member&node=team_a") == []


@pytest.mark.parametrize("order", ["newest", "oldest"])
@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_pages_go_on_where_they_stopped(api: Api, order: str, size: int) -> None:
    for number in range(5):
        api.tenancy.create_team(api.org, f"t{number}")
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.ok(
            "GET", f"/audit-log?what=team&order={order}&limit={size}{cursor and f'&cursor={cursor}'}"
        )
        seen += [row["after"][0]["name"] for row in page["data"]]
        cursor = page["next_cursor"]
    assert seen == [f"t{number}" for number in (range(5) if order == "oldest" else reversed(range(5)))]


@pytest.mark.parametrize("order", ["newest", "oldest"])
def test_a_page_looks_no_further_than_it_should_and_goes_on(
    api: Api, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing is found in so many rows, the page is empty and still goes on; none is read twice or left out."""
    for number in range(9):
        api.tenancy.create_team(api.org, f"t{number}")
    monkeypatch.setattr(auditing, "SCAN", 2)
    monkeypatch.setattr(auditing, "MAX_PAGE", 3)
    seen: list[str] = []
    cursor: str | None = ""
    pages = 0
    while cursor is not None:
        page = api.ok("GET", f"/audit-log?node=t4&order={order}&limit=3{cursor and f'&cursor={cursor}'}")
        seen += [row["after"][0]["name"] for row in page["data"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert (seen, pages) == (["t4"], 6)


def test_revisions_without_a_row_are_passed_over(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store moves the revision also where a threshold stops a node, and by more than one where it lost something."""
    store = api.quota.store
    monkeypatch.setattr(auditing, "MAX_PAGE", 2)
    made: list[str] = []
    for gap in (0, 1, 2, 7, 40, 0, 3):
        made.append(api.tenancy.create_team(api.org, f"t{len(made)}").name)
        for _ in range(gap):
            store.commit(api.org, Change(store.read(api.org, ())[0]))
    assert [row["after"][0]["name"] for row in api.ok("GET", "/audit-log?what=team&limit=2")["data"]] == (
        made[:-3:-1]
    )
    everything: list[Any] = api.ok("GET", "/audit-log?what=team&limit=2")["data"]
    cursor = str(everything[-1]["revision"])
    while cursor is not None:
        page = api.ok("GET", f"/audit-log?what=team&limit=2&cursor={cursor}")
        everything += page["data"]
        cursor = page["next_cursor"]
    assert [row["after"][0]["name"] for row in everything] == made[::-1]


def test_the_log_takes_org_manage_and_is_each_organizations_own(api: Api) -> None:
    for held in (("quota:manage", "quota:override", "api_key:create"), ("analytics:full",)):
        error = api.error("GET", "/audit-log", key=api.key(api.org, *held))
        assert (error["status"], error["message"]) == (403, "API key does not have 'org:manage' permission")
    team = api.tenancy.create_team(api.org, "a").id
    error = api.error("GET", "/audit-log", key=api.key(team, "org:manage"))  # not on the organization
    assert error["status"] == 403
    theirs = api.ok("GET", "/audit-log", key=api.rival_admin)["data"]
    assert {each["after"][0]["id"] for each in theirs if each["what"] == "organization.create"} == {api.rival}
    assert team not in api("GET", "/audit-log", key=api.rival_admin).text


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=0", "cursor"),
        ("cursor=99999999999999999999", "cursor"),
        ("order=sideways", "order"),
        ("since=yesterday", "since"),
        ("until=2026-06-15", "until"),
        ("by=me", "by"),
        ("who=a&who=b", "who"),
    ],
)
def test_what_cannot_be_asked(api: Api, query: str, field: str) -> None:
    error = api.error("GET", f"/audit-log?{query}")
    assert (error["status"], error["errors"][0]["field"]) == (422, field)
