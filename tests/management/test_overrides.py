"""More for a time and more for good: overrides, and requests that somebody else decides."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from quotaware import Quota
from quotaware.testing.clocks import FakeClock
from tests.management.conftest import Api
from tests.management.host import PRICES, Host

DAY = 86_400_000


@pytest.fixture
def quota(clock: FakeClock) -> Iterator[Quota]:
    quota = Quota("memory://", clock=clock, prices=PRICES)
    yield quota
    quota.close()


@pytest.fixture
def host(quota: Quota) -> Host:
    return Host(quota)


@pytest.fixture
def key(api: Api) -> str:
    """Of a project with ten cents a month and sixty requests a minute."""
    api.tenancy.create_team(api.org, "engineering", id="team_eng", limits=["$0.15/month"])
    api.tenancy.create_project(
        "team_eng",
        "backend",
        id="proj_backend",
        limits=["$0.1/month", "60 requests/day", "9 requests/minute"],
    )
    return api.key("proj_backend", "chat:create", "quota:read", id="key_backend", limits=["$0.05/day"])


def at(clock: FakeClock, *moment: int) -> None:
    clock.now = int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


def fields(error: Any) -> list[str]:
    return [each["field"] for each in error["errors"]]


def budget(api: Api) -> str:
    return str(api.tenancy.get(api.org, "proj_backend").limits[0])


def wants(amount: float, **more: Any) -> dict[str, Any]:
    return {"project_id": "backend", "limit": "cost/month", "amount_usd": amount, **more}


# overrides


def test_an_override_holds_at_once_and_until_its_period_ends(
    api: Api, host: Host, clock: FakeClock, key: str
) -> None:
    api.tenancy.update(api.org, "team_eng", limits=[])
    api.tenancy.update(api.org, "key_backend", limits=[])
    assert host.goes(key, 100)
    assert not host.goes(key, 1)
    made = api.ok("POST", "/projects/backend/overrides", {"limit": "cost/month", "amount_usd": 0.2})
    assert made == {
        "limit": "cost/month",
        "amount": None,
        "amount_usd": 0.2,
        "since": "2026-06-15T12:00:00Z",
        "until": "2026-07-01T00:00:00Z",
        "state": "current",
        "node": "proj_backend",
        "kind": "project",
        "name": "backend",
        "revision": made["revision"],
    }
    assert host.goes(key, 100)
    assert not host.goes(key, 1)
    at(clock, 2026, 7, 1)
    assert host.goes(key, 100)
    assert not host.goes(key, 1)
    assert api.ok("GET", "/projects/backend/overrides") == {"data": [], "next_cursor": None}


def test_an_override_may_begin_later_and_last_longer(
    api: Api, host: Host, clock: FakeClock, key: str
) -> None:
    api.tenancy.update(api.org, "team_eng", limits=[])
    api.tenancy.update(api.org, "key_backend", limits=[])
    body = {"limit": "cost/month", "amount_usd": 0.3, "periods": 2, "skip": 1}
    made = api.ok("POST", "/projects/proj_backend/overrides", body)
    assert (made["since"], made["until"]) == ("2026-07-01T00:00:00Z", "2026-09-01T00:00:00Z")
    assert made["state"] == "coming"
    assert not host.goes(key, 101)
    for month, most in ((7, 300), (8, 300), (9, 100)):
        at(clock, 2026, month, 15)
        assert [each["state"] for each in api.ok("GET", "/projects/backend/overrides")["data"]] == (
            ["current"] if month < 9 else []
        )
        assert host.goes(key, most)
        assert not host.goes(key, 1)


def test_periods_begin_at_midnight_of_the_organizations_zone(
    api: Api, host: Host, clock: FakeClock, key: str
) -> None:
    api.ok("PATCH", "/organizations/StartupAI", {"time_zone": "America/New_York"})
    api.tenancy.update(api.org, "team_eng", limits=[])
    api.tenancy.update(api.org, "key_backend", limits=[])
    made = api.ok("POST", "/projects/backend/overrides", {"limit": "cost/month", "amount_usd": 0.2})
    assert made["until"] == "2026-07-01T04:00:00Z"
    assert host.goes(key, 200)
    at(clock, 2026, 7, 1, 3, 59, 59)
    assert host.refused(key, 1)["reset_date"] == "2026-07-01T04:00:00Z"
    at(clock, 2026, 7, 1, 4)
    assert host.goes(key, 100)
    assert not host.goes(key, 1)


def test_an_override_replaces_what_is_in_its_way_and_is_taken_away(api: Api, host: Host, key: str) -> None:
    path = "/projects/backend/overrides"
    api.ok("POST", path, {"limit": "cost/month", "amount_usd": 0.2, "skip": 3})
    api.ok("POST", path, {"limit": "cost/month", "amount_usd": 0.12, "periods": 2})
    api.ok("POST", path, {"limit": "cost/month", "amount_usd": 0.01})
    api.ok("POST", path, {"limit": "requests/day", "amount": 1})
    listed = api.ok("GET", path)["data"]
    assert [(each["limit"], each["amount"], each["amount_usd"]) for each in listed] == [
        ("cost/month", None, 0.2), ("cost/month", None, 0.01), ("requests/day", 1, None),
    ]  # fmt: skip
    assert host.goes(key)
    assert not host.goes(key)
    assert api("DELETE", f"{path}?limit=requests/day").status_code == 204
    assert not host.goes(key)
    since = listed[1]["since"]
    assert api("DELETE", f"{path}?limit=cost/month&since={since}").status_code == 204
    assert host.goes(key)  # at once
    assert [each["amount_usd"] for each in api.ok("GET", path)["data"]] == [0.2]
    for query in (f"limit=cost/month&since={since}", "limit=requests/day", "limit=nothing"):
        assert api.error("DELETE", f"{path}?{query}")["status"] == 404
    assert api("DELETE", f"{path}?limit=cost/month").status_code == 204
    assert api.ok("GET", path)["data"] == []


def test_taking_an_override_that_lowered_away_lets_a_stopped_node_run(api: Api, host: Host, key: str) -> None:
    api.tenancy.update(api.org, "proj_backend", alerts=["100% disable"])
    api.ok("POST", "/projects/backend/overrides", {"limit": "cost/month", "amount_usd": 0.01})
    assert host.goes(key)
    assert host.refused(key)["code"] == "stopped"
    api("DELETE", "/projects/backend/overrides?limit=cost/month")
    assert host.goes(key)


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("organizations/StartupAI", "cost/year"),
        ("teams/engineering", "cost/month"),
        ("projects/backend", "cost/month"),
        ("api-keys/key_backend", "cost/day"),
    ],
)
def test_every_kind_of_node_takes_overrides(api: Api, key: str, path: str, limit: str) -> None:
    api.tenancy.update(api.org, api.org, limits=["$5/year"])
    made = api.ok("POST", f"/{path}/overrides", {"limit": limit, "amount_usd": 7})
    assert api.ok("GET", f"/{path}/overrides")["data"][0]["amount_usd"] == 7.0
    assert api("DELETE", f"/{path}/overrides?limit={limit}").status_code == 204
    assert api.ok("GET", f"/{path}/overrides")["data"] == []
    assert api.error("GET", f"/{path.partition('/')[0]}/nowhere/overrides")["status"] == 404
    assert made["revision"] > 0


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, ["limit"]),
        ({"limit": "cost/month"}, ["amount_usd"]),
        ({"limit": "cost/month", "amount": 5}, ["amount_usd"]),
        ({"limit": "requests/day", "amount_usd": 5}, ["amount"]),
        ({"limit": "cost/month", "amount_usd": 5, "amount": 5}, ["amount"]),
        ({"limit": "requests/day", "amount_usd": 5, "amount": 5}, ["amount_usd"]),
        ({"limit": "cost/month", "amount_usd": -5}, ["amount_usd"]),
        ({"limit": "cost/month", "amount_usd": "5"}, ["amount_usd"]),
        ({"limit": "requests/day", "amount": 1.5}, ["amount"]),
        ({"limit": "requests/day", "amount": -1}, ["amount"]),
        ({"limit": "requests/day", "amount": 10**16}, ["amount"]),
        ({"limit": "cost/week", "amount_usd": 5}, ["limit"]),
        ({"limit": "$0.1/month", "amount": 5}, ["limit"]),
        ({"limit": "requests/minute", "amount": 5}, ["limit"]),
        ({"limit": "cost/month", "amount_usd": 5, "periods": 0}, ["periods"]),
        ({"limit": "cost/month", "amount_usd": 5, "periods": 121}, ["periods"]),
        ({"limit": "cost/month", "amount_usd": 5, "skip": -1}, ["skip"]),
        ({"limit": "cost/month", "amount_usd": 5, "until": "2026-07-01T00:00:00Z"}, ["until"]),
    ],
)
def test_what_no_override_can_be(api: Api, key: str, body: Any, named: list[str]) -> None:
    error = api.error("POST", "/projects/backend/overrides", body)
    assert (error["status"], fields(error)) == (422, named)
    assert api.ok("GET", "/projects/backend/overrides")["data"] == []


def test_overrides_take_quota_override(api: Api, key: str) -> None:
    manager = api.key("team_eng", "quota:manage")
    body = {"limit": "cost/month", "amount_usd": 5}
    for method, path, sent in (("POST", "", body), ("DELETE", "?limit=cost/month", None)):
        error = api.error(method, f"/projects/backend/overrides{path}", sent, key=manager)
        assert (error["status"], error["message"]) == (
            403,
            "API key does not have 'quota:override' permission",
        )
    summary = api.key(api.org, "quota:read:summary")
    error = api.error("GET", "/projects/backend/overrides", key=summary)
    assert (error["status"], error["message"]) == (403, "API key does not have 'quota:read' permission")
    for method, path, sent in (
        ("GET", "", None), ("POST", "", body), ("DELETE", "?limit=cost/month", None)
    ):  # fmt: skip
        foreign = api.error(method, f"/projects/proj_backend/overrides{path}", sent, key=api.rival_admin)
        assert foreign["status"] == 404


def test_who_may_override_on_the_node_itself_is_told_that_it_takes_it_above(api: Api, key: str) -> None:
    own = api.key("team_eng", "quota:override", "quota:read")
    api.tenancy.update(api.org, "team_eng", limits=["$9/month"])
    body = {"limit": "cost/month", "amount_usd": 10}
    asked = api.ok("POST", "/quota-requests", {**body, "team_id": "team_eng"}, key=own)
    for path, sent in (("/teams/team_eng/overrides", body), (f"/quota-requests/{asked['id']}/approve", {})):
        error = api.error("POST", path, sent, key=own)
        assert (error["status"], error["node"]) == (403, api.org)
        assert error["message"] == (
            f"API key does not have 'quota:override' permission on '{api.org}', which is above"
        )


def test_overrides_are_made_from_the_revision_that_was_read(api: Api, key: str) -> None:
    path, body = "/projects/backend/overrides", {"limit": "cost/month", "amount_usd": 5}
    first = api("POST", path, body).headers["etag"]
    api.ok("POST", path, {**body, "amount_usd": 6}, headers={"if-match": first})
    for method, where, sent in (("POST", path, body), ("DELETE", f"{path}?limit=cost/month", None)):
        assert api.error(method, where, sent, headers={"if-match": first})["status"] == 412
    assert [each["amount_usd"] for each in api.ok("GET", path)["data"]] == [6.0]


# requests


def test_who_may_not_raise_a_limit_asks_and_the_approval_holds_at_once(
    api: Api, host: Host, key: str
) -> None:
    api.tenancy.update(api.org, "team_eng", limits=[])
    api.tenancy.update(api.org, "key_backend", limits=[])
    assert host.goes(key, 100)
    asked = api.ok("POST", "/quota-requests", wants(0.2, reason="a launch"), key=key)
    assert asked == {
        "id": asked["id"],
        "node": "proj_backend",
        "limit": "cost/month",
        "amount": None,
        "amount_usd": 0.2,
        "periods": 0,
        "reason": "a launch",
        "state": "pending",
        "requested_by": "key_backend",
        "decided_by": None,
        "note": None,
        "created_at": "2026-06-15T12:00:00Z",
        "expires_at": "2026-06-22T12:00:00Z",
        "revision": asked["revision"],
    }
    assert not host.goes(key, 1)
    approved = api.ok("POST", f"/quota-requests/{asked['id']}/approve", {"note": "good luck"})
    assert (approved["state"], approved["note"]) == ("approved", "good luck")
    assert approved["decided_by"] not in {None, "key_backend"}
    assert host.goes(key, 100)
    assert not host.goes(key, 1)
    assert api.ok("GET", f"/quota-requests/{asked['id']}", key=key) == approved


def test_a_request_for_some_periods_ends_with_them(api: Api, host: Host, clock: FakeClock, key: str) -> None:
    api.tenancy.update(api.org, "team_eng", limits=[])
    api.tenancy.update(api.org, "key_backend", limits=[])
    asked = api.ok("POST", "/quota-requests", wants(0.2, periods=1), key=key)
    api.ok("POST", f"/quota-requests/{asked['id']}/approve")
    assert host.goes(key, 200)
    at(clock, 2026, 7, 1)
    assert not host.goes(key, 101)
    assert host.goes(key, 100)


def test_a_rejected_request_changes_nothing(api: Api, host: Host, key: str) -> None:
    asked = api.ok("POST", "/quota-requests", wants(0.2), key=key)
    rejected = api.ok("POST", f"/quota-requests/{asked['id']}/reject", {"note": "not now"})
    assert (rejected["state"], rejected["note"]) == ("rejected", "not now")
    for verdict in ("approve", "reject"):
        error = api.error("POST", f"/quota-requests/{asked['id']}/{verdict}")
        assert (error["status"], error["code"], error["state"]) == (409, "decided", "rejected")
    assert budget(api) == "$0.1/month"


def test_a_request_that_nobody_decides_expires_in_a_week(api: Api, clock: FakeClock, key: str) -> None:
    asked = api.ok("POST", "/quota-requests", wants(0.2), key=key)
    clock.advance(7 * DAY - 1)
    assert api.ok("GET", f"/quota-requests/{asked['id']}")["state"] == "pending"
    clock.advance(1)
    assert api.ok("GET", f"/quota-requests/{asked['id']}")["state"] == "expired"
    assert [each["id"] for each in api.ok("GET", "/quota-requests?state=expired")["data"]] == [asked["id"]]
    assert api.ok("GET", "/quota-requests?state=pending")["data"] == []
    for verdict in ("approve", "reject"):
        error = api.error("POST", f"/quota-requests/{asked['id']}/{verdict}")
        assert (error["status"], error["code"], error["state"]) == (409, "decided", "expired")


def test_nobody_decides_without_quota_override_least_of_all_their_own(api: Api, key: str) -> None:
    manager = api.key("team_eng", "quota:manage")
    asked = api.ok("POST", "/quota-requests", wants(0.2), key=manager)  # over the team's: it waits
    assert asked["state"] == "pending"
    for verdict in ("approve", "reject"):
        for who in (manager, key):
            error = api.error("POST", f"/quota-requests/{asked['id']}/{verdict}", key=who)
            assert error["message"] == "API key does not have 'quota:override' permission"
        assert (
            api.error("POST", f"/quota-requests/{asked['id']}/{verdict}", key=api.rival_admin)["status"]
            == 404
        )
    assert api.ok("GET", f"/quota-requests/{asked['id']}")["state"] == "pending"
    overrider = api.key("team_eng", "quota:override", "quota:read")
    assert api.ok("POST", f"/quota-requests/{asked['id']}/approve", key=overrider)["state"] == "approved"


def test_what_the_asker_may_set_is_granted_at_once(api: Api, key: str) -> None:
    manager = api.key("team_eng", "quota:manage")
    assert api.ok("POST", "/quota-requests", wants(0.15), key=manager)["state"] == "approved"
    assert api.ok("POST", "/quota-requests", wants(0.5))["state"] == "approved"  # an admin's
    assert budget(api) == "$0.5/month"


def test_auto_upgrade_grants_at_once_within_the_parents_budget(api: Api, host: Host, key: str) -> None:
    api.tenancy.update(api.org, "key_backend", limits=[])
    assert host.goes(key, 100)
    assert api.ok("POST", "/quota-requests", wants(0.12), key=key)["state"] == "pending"
    api.tenancy.update(api.org, api.org, auto_upgrade=True)
    granted = api.ok("POST", "/quota-requests", wants(0.15), key=key)
    assert (granted["state"], granted["decided_by"]) == ("approved", "key_backend")
    assert host.goes(key, 50)
    assert api.ok("POST", "/quota-requests", wants(0.16), key=key)["state"] == "pending"
    assert api.ok("POST", "/quota-requests", wants(0.16, periods=1), key=key)["state"] == "pending"


def test_an_approval_never_lowers_what_was_raised_meanwhile(api: Api, key: str) -> None:
    asked = api.ok("POST", "/quota-requests", wants(0.2), key=key)
    api.tenancy.update(api.org, "proj_backend", limits=["$3/month"])
    assert api.ok("POST", f"/quota-requests/{asked['id']}/approve")["state"] == "approved"
    assert [str(limit) for limit in api.tenancy.get(api.org, "proj_backend").limits] == ["$3/month"]


def test_an_approval_of_a_limit_that_is_gone_decides_nothing(api: Api, key: str) -> None:
    asked = api.ok("POST", "/quota-requests", wants(0.2), key=key)
    api.tenancy.update(api.org, "proj_backend", limits=[])
    error = api.error("POST", f"/quota-requests/{asked['id']}/approve")
    assert (error["status"], error["code"]) == (422, "no_such_limit")
    assert api.ok("GET", f"/quota-requests/{asked['id']}")["state"] == "pending"


def test_any_limit_of_any_node_can_be_asked_for(api: Api, key: str) -> None:
    api.tenancy.update(api.org, api.org, limits=["8 concurrent"])
    for field, name, limit, amount in (
        ("organization_id", "StartupAI", "concurrency", {"amount": 16}),
        ("team_id", "engineering", "cost/month", {"amount_usd": 9}),
        ("project_id", "proj_backend", "requests/minute", {"amount": 10}),
        ("api_key_id", "key_backend", "cost/day", {"amount_usd": 9}),
    ):
        asked = api.ok("POST", "/quota-requests", {field: name, "limit": limit, **amount})
        assert (asked["state"], asked["limit"]) == ("approved", limit)
    limits = [str(each) for each in api.tenancy.get(api.org, "proj_backend").limits]
    assert "10 requests/minute" in limits


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"limit": "cost/month", "amount_usd": 5}, ["project_id"]),
        ({**wants(5), "team_id": "engineering"}, ["team_id", "project_id"]),
        ({"project_id": "backend", "amount_usd": 5}, ["limit"]),
        ({"project_id": "backend", "limit": "cost/month", "amount": 5}, ["amount_usd"]),
        (wants(0.1), ["limit"]),
        (wants(0.01), ["limit"]),
        ({**wants(5), "limit": "cost/week"}, ["limit"]),
        (wants(5, periods=-1), ["periods"]),
        (wants(5, reason="x" * 2001), ["reason"]),
        (wants(5, reason="a\u0000b"), ["reason"]),
        (wants(5, state="approved"), ["state"]),
        ({"project_id": "backend", "limit": "requests/minute", "amount": 99, "periods": 1}, ["limit"]),
    ],
)
def test_what_cannot_be_asked_for(api: Api, key: str, body: Any, named: list[str]) -> None:
    error = api.error("POST", "/quota-requests", body)
    assert (error["status"], fields(error)) == (422, named)
    assert api.ok("GET", "/quota-requests")["data"] == []


def test_only_so_many_requests_of_a_node_wait(
    api: Api, clock: FakeClock, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotaware.tenancy.requests.MAX_PENDING", 2)
    first = api.ok("POST", "/quota-requests", wants(0.2), key=key)["id"]
    api.ok("POST", "/quota-requests", wants(0.3), key=key)
    error = api.error("POST", "/quota-requests", wants(0.4), key=key)
    assert (error["status"], error["code"]) == (409, "too_many_pending")
    api.ok("POST", f"/quota-requests/{first}/reject")
    api.ok("POST", "/quota-requests", wants(0.4), key=key)
    assert api.error("POST", "/quota-requests", wants(0.5), key=key)["status"] == 409
    clock.advance(7 * DAY)
    assert api.ok("POST", "/quota-requests", wants(0.5), key=key)["state"] == "pending"


def test_requests_are_listed_by_state_and_node_for_who_may_read_there(api: Api, key: str) -> None:
    other = api.tenancy.create_project(api.org, "other", limits=["$1/month"])
    mine = [api.ok("POST", "/quota-requests", wants(1 + n), key=key)["id"] for n in range(3)]
    others = api.key(other.id, "quota:read")
    body = {"project_id": "other", "limit": "cost/month", "amount_usd": 2}
    theirs = api.ok("POST", "/quota-requests", body, key=others)["id"]
    api.ok("POST", f"/quota-requests/{mine[0]}/reject")

    def ids(query: str, key: str | None = None) -> set[str]:
        found = api.ok("GET", f"/quota-requests?{query}", key=key)
        assert found["next_cursor"] is None
        return {each["id"] for each in found["data"]}

    assert ids("") == {*mine, theirs}
    assert ids("", key) == set(mine)
    assert ids("", others) == {theirs}
    assert ids("state=rejected") == {mine[0]}
    assert ids("state=pending&node=backend") == set(mine[1:])
    assert ids("node=other") == {theirs}
    assert ids("", api.rival_admin) == set()
    page = api.ok("GET", "/quota-requests?limit=3")
    rest = api.ok("GET", f"/quota-requests?limit=3&cursor={page['next_cursor']}")
    assert {each["id"] for each in (*page["data"], *rest["data"])} == {*mine, theirs}
    assert fields(api.error("GET", "/quota-requests?state=gone")) == ["state"]
    for path in ("/quota-requests?node=nowhere", "/quota-requests/req_none", f"/quota-requests/{other.id}"):
        assert api.error("GET", path)["status"] == 404
    error = api.error("GET", f"/quota-requests/{theirs}", key=key)
    assert (error["status"], error["message"]) == (403, "API key does not have 'quota:read' permission")
    error = api.error("POST", "/quota-requests", wants(5), key=api.key(api.org, "api_key:create"))
    assert (error["status"], error["message"]) == (403, "API key does not have 'quota:read' permission")


def test_a_limited_key_is_not_raised_by_its_own_word(api: Api) -> None:
    api.ok("PATCH", f"/organizations/{api.org}", {"auto_upgrade": True})
    project = api.ok("POST", f"/organizations/{api.org}/projects", {"name": "p", "daily_budget_usd": 50})
    made = {"project_id": project["id"], "permissions": ["quota:read"], "daily_budget_usd": 5}
    key = api.ok("POST", "/api-keys/service", made)
    more = {"limit": "cost/day", "amount_usd": 60}
    own = api.ok("POST", "/quota-requests", {"api_key_id": key["id"], **more}, key=key["key"])
    assert own["state"] == "pending"
    of_project = api.ok("POST", "/quota-requests", {"project_id": project["id"], **more}, key=key["key"])
    assert of_project["state"] == "approved"
