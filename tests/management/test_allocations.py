"""Allocation over the API: as the contract has it, refused whole over the parent's budget, and in force at once."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from quotaware import Quota
from quotaware.testing.clocks import FakeClock
from tests.management.conftest import Api
from tests.management.host import PRICES, Host

ALLOCATE = "/organizations/quota/allocate"


@pytest.fixture
def quota(clock: FakeClock) -> Iterator[Quota]:
    quota = Quota("memory://", clock=clock, prices=PRICES)
    yield quota
    quota.close()


@pytest.fixture
def host(quota: Quota) -> Host:
    return Host(quota)


def share(target: str, amount: float, **more: Any) -> dict[str, Any]:
    return {"target": target, "type": "monthly_budget", "amount_usd": amount, **more}


def allocate(
    api: Api, node: str, *shares: dict[str, Any], key: str | None = None, **enforcement: bool
) -> Any:
    body = {"team_id": node, "allocations": list(shares)}
    return api("POST", ALLOCATE, {**body, **({"enforcement": enforcement} if enforcement else {})}, key)


def project(api: Api, org: str, name: str, limit: str | None = None) -> tuple[str, str]:
    """A project with such a budget, and a key on it."""
    made = api.tenancy.create_project(org, name, limits=[limit] if limit else [])
    return made.id, api.key(made.id, "chat:create")


def at(clock: FakeClock, *moment: int) -> None:
    clock.now = int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


def test_the_contracts_own_request_makes_a_team_and_answers_it_with_its_budget(api: Api) -> None:
    api.tenancy.update(api.org, api.org, limits=["$500/month"])
    answered = api.ok(
        "POST",
        ALLOCATE,
        {
            "team_id": api.org,
            "allocations": [
                {
                    "target": "engineering",
                    "type": "monthly_budget",
                    "amount_usd": 300.0,
                    "reset_period": "monthly",
                    "carryover": False,
                }
            ],
            "enforcement": {
                "hard_limit": True,
                "notify_on_exceed": True,
                "auto_disable_on_exceed": False,
            },
        },
    )
    team = api.tenancy.find(api.org, "team", "engineering")
    assert answered == {
        "id": api.org,
        "name": "StartupAI",
        "kind": "organization",
        "budgets": [
            {
                "reset_period": "monthly",
                "window": "month",
                "budget_usd": 500.0,
                "allocated_usd": 300.0,
                "available_usd": 200.0,
            }
        ],
        "allocations": [
            {
                "target": "engineering",
                "id": team.id,
                "kind": "team",
                "type": "monthly_budget",
                "amount_usd": 300.0,
                "reset_period": "monthly",
                "window": "month",
                "carryover": False,
                "hard_limit": True,
                "notify_on_exceed": True,
                "auto_disable_on_exceed": False,
            }
        ],
    }
    assert [str(limit) for limit in team.limits] == ["$300/month"]
    assert [str(alert) for alert in team.alerts] == ["100% email on cost/month"]


def test_nodes_and_targets_go_by_id_or_name(api: Api) -> None:
    team = api.tenancy.create_team(api.org, "engineering").id
    backend = api.tenancy.create_project(team, "backend").id
    direct = api.tenancy.create_project(api.org, "direct").id
    for node, target, id in (
        ("StartupAI", "engineering", team),
        (api.org, team, team),
        (api.org, "direct", direct),
        (team, "backend", backend),
        ("engineering", backend, backend),
    ):
        assert allocate(api, node, share(target, 1)).json()["allocations"][0]["id"] == id
    made = allocate(api, "engineering", share("mobile", 1)).json()["allocations"][0]
    assert (made["kind"], api.tenancy.get(api.org, made["id"]).parent) == ("project", team)


@pytest.mark.parametrize(
    ("period", "limit"),
    [
        ("hourly", "$1/calendar hour carryover"),
        ("daily", "$1/day carryover"),
        ("weekly", "$1/week carryover"),
        ("monthly", "$1/month carryover"),
        ("quarterly", "$1/quarter carryover"),
        ("yearly", "$1/year carryover"),
        ("never", "$1/life"),
    ],
)
def test_every_reset_period(api: Api, period: str, limit: str) -> None:
    carryover = period != "never"
    by_name = allocate(api, api.org, share("a", 1, reset_period=period, carryover=carryover)).json()
    by_type = allocate(
        api, api.org, {"target": "b", "type": f"{period}_budget", "amount_usd": 1, "carryover": carryover}
    ).json()
    for answered, name in ((by_name, "a"), (by_type, "b")):
        assert answered["allocations"][0]["reset_period"] == period
        assert [str(each) for each in api.tenancy.find(api.org, "team", name).limits] == [limit]


def test_an_allocation_again_replaces_the_budget_of_its_period_and_leaves_the_rest(api: Api) -> None:
    team = api.tenancy.create_team(
        api.org,
        "a",
        limits=["$9/day", "60 requests/minute"],
        alerts=["100% slack on cost/month", "50% email"],
    )
    allocate(api, api.org, share("a", 5), auto_disable_on_exceed=True)
    allocate(api, api.org, share("a", 7), hard_limit=False, notify_on_exceed=False)
    node = api.tenancy.get(api.org, team.id)
    assert [str(each) for each in node.limits] == ["$9/day", "60 requests/minute", "$7/month soft"]
    assert [str(each) for each in node.alerts] == [
        "100% slack on cost/month",
        "50% email",
        "100% email on cost/month",  # a soft one is told of in any case: that is all it does
    ]


def test_a_sum_over_the_parents_budget_is_refused_whole_with_the_figures(api: Api) -> None:
    api.tenancy.update(api.org, api.org, limits=["$500/month"])
    api.tenancy.create_team(api.org, "unlisted", limits=["$100/month"])
    api.tenancy.create_team(api.org, "engineering", limits=["$50/month"])
    key = api.key(api.org, "quota:manage", "team:create")
    refused = allocate(api, api.org, share("engineering", 300), share("product", 101), key=key)
    error = refused.json()["error"]
    assert (refused.status_code, error["type"], error["code"]) == (422, "invalid_request", "over_allocated")
    assert error["message"] == ("Budgets below organization 'StartupAI' would come to $501 of its $500/month")
    figures = ("parent_budget_usd", "allocated_usd", "requested_usd", "available_usd")
    assert [error[name] for name in figures] == [500.0, 100.0, 401.0, 400.0]
    assert ([each["field"] for each in error["errors"]], error["window"]) == (["allocations"], "month")
    names = {team.name: [str(each) for each in team.limits] for team in api.tenancy.list(api.org, "team")}
    assert names == {"unlisted": ["$100/month"], "engineering": ["$50/month"]}  # nothing was made or changed
    fits = allocate(api, api.org, share("engineering", 300), share("product", 100), key=key)
    assert (fits.status_code, fits.json()["budgets"][0]["available_usd"]) == (200, 0.0)
    other = allocate(api, api.org, share("engineering", 9999, reset_period="yearly"), key=key)
    assert other.status_code == 200  # the parent has no budget for a year


def test_who_may_override_goes_over_the_parents_budget(api: Api) -> None:
    api.tenancy.update(api.org, api.org, limits=["$500/month"])
    key = api.key(api.org, "quota:manage", "team:create", "quota:override")
    over = allocate(api, api.org, share("engineering", 600), key=key).json()["budgets"][0]
    assert (over["allocated_usd"], over["available_usd"]) == (600.0, 0.0)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"team_id": "T"}, "allocations"),
        ({"team_id": "T", "allocations": []}, "allocations"),
        ({"allocations": [share("a", 1)]}, "team_id"),
        ({"team_id": "T", "allocations": [share("a", -1)]}, "allocations[0].amount_usd"),
        ({"team_id": "T", "allocations": [share("a", 1e9)]}, "allocations[0].amount_usd"),
        ({"team_id": "T", "allocations": [{"target": "a"}]}, "allocations[0].amount_usd"),
        ({"team_id": "T", "allocations": [share("a", 1), share("", 1)]}, "allocations[1].target"),
        ({"team_id": "T", "allocations": [share("a", 1), share("b\n", 1)]}, "allocations[1].target"),
        ({"team_id": "T", "allocations": [share("a", 1), share("a", 2)]}, "allocations[1].target"),
        ({"team_id": "T", "allocations": [share("a", 1, reset_period="fortnightly")]},
         "allocations[0].reset_period"),
        ({"team_id": "T", "allocations": [share("a", 1, type="budget")]}, "allocations[0].type"),
        ({"team_id": "T", "allocations": [share("a", 1, carryover=1)]}, "allocations[0].carryover"),
        ({"team_id": "T", "allocations": [share("a", 1, carryover=True, reset_period="never")]},
         "allocations[0].carryover"),
        ({"team_id": "T", "allocations": [share("a", 1, id="team_x")]}, "allocations[0].id"),
        ({"team_id": "T", "allocations": [share("a", 1)], "enforcement": {"hard_limit": "yes"}},
         "enforcement.hard_limit"),
    ],
)  # fmt: skip
def test_what_cannot_be_allocated_is_named_and_nothing_is_made(api: Api, body: Any, field: str) -> None:
    api.tenancy.create_team(api.org, "T")
    error = api.error("POST", ALLOCATE, body)
    assert (error["status"], [each["field"] for each in error["errors"]]) == (422, [field])
    assert api.tenancy.list(api.org, "project") == ()


def test_carryover_is_an_error_where_the_organization_has_none(api: Api) -> None:
    api.tenancy.update(api.org, api.org, carryover_allowed=False)
    refused = allocate(api, api.org, share("a", 1), share("b", 1, carryover=True)).json()["error"]
    assert refused["errors"][0]["field"] == "allocations[1].carryover"
    assert api.tenancy.list(api.org, "team") == ()


def test_a_team_keeps_what_its_projects_have_already(api: Api) -> None:
    team = api.tenancy.create_team(api.org, "a", limits=["$10/month"]).id
    api.tenancy.create_project(team, "p", limits=["$8/month"])
    key = api.key(api.org, "quota:manage")
    refused = allocate(api, api.org, share("a", 7), key=key).json()["error"]
    assert (refused["code"], refused["allocated_usd"]) == ("over_allocated", 8.0)
    assert allocate(api, api.org, share("a", 8), key=key).status_code == 200


@pytest.mark.parametrize(
    ("held", "node", "lacking"),
    [
        (("quota:read",), "a", "quota:manage"),
        (("team:create",), "ORG", "quota:manage"),
        (("quota:manage",), "ORG", "team:create"),
    ],
)
def test_what_it_takes(api: Api, held: tuple[str, ...], node: str, lacking: str) -> None:
    api.tenancy.create_team(api.org, "a")
    refused = allocate(api, node.replace("ORG", api.org), share("new", 1), key=api.key(api.org, *held))
    assert refused.status_code == 403
    assert refused.json()["error"]["message"] == f"API key does not have '{lacking}' permission"
    assert len(api.tenancy.list(api.org, "team")) == 1


def test_who_manages_a_team_shares_it_out_and_does_not_give_it_more(api: Api) -> None:
    team = api.tenancy.create_team(api.org, "a", limits=["$5/month"]).id
    lead = api.key(team, "quota:manage", "quota:override", "team:create")
    assert allocate(api, "a", share("p", 5), key=lead).status_code == 200
    assert (
        allocate(api, "a", share("q", 5), key=lead).status_code == 200
    )  # over it: the team's own budget holds
    for node in (api.org, "StartupAI"):
        refused = allocate(api, node, share("a", 50), key=lead)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "missing_permission")
    assert [str(limit) for limit in api.tenancy.get(api.org, team).limits] == ["$5/month"]


def test_another_organizations_node_is_not_there(api: Api) -> None:
    theirs = api.tenancy.create_team(api.rival, "theirs").id
    for node in (api.rival, theirs, "theirs", "nowhere"):
        refused = allocate(api, node, share("a", 1))
        assert (refused.status_code, refused.json()["error"]["type"]) == (404, "not_found")
        for kind in ("organizations", "teams"):
            assert api.error("GET", f"/{kind}/{node}/allocations")["status"] == 404
    # a target of theirs is no child of ours: it is a name like any other
    made = allocate(api, api.org, share(theirs, 1)).json()["allocations"][0]
    assert made["id"] != theirs
    assert api.tenancy.get(api.rival, theirs).limits == ()


def test_what_children_have_is_listed_in_pages_with_the_sums_of_all(api: Api) -> None:
    api.tenancy.update(api.org, api.org, limits=["$100/month", "$5/hour", "9 requests/day"])
    allocate(api, api.org, *(share(f"t{n}", 10) for n in range(3)))
    allocate(api, api.org, share("t0", 2, reset_period="daily"), hard_limit=False)
    api.tenancy.create_team(api.org, "without")
    seen: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.ok("GET", f"/organizations/{api.org}/allocations?limit=2{cursor and f'&cursor={cursor}'}")
        sums = {each["window"]: (each["budget_usd"], each["allocated_usd"]) for each in page["budgets"]}
        assert sums == {"month": (100.0, 30.0), "hour": (5.0, 0.0), "day": (None, 2.0)}
        seen += page["data"]
        cursor = page["next_cursor"]
    assert sorted((each["target"], each["window"], each["hard_limit"]) for each in seen) == [
        ("t0", "day", False), ("t0", "month", True), ("t1", "month", True), ("t2", "month", True),
    ]  # fmt: skip
    of_team = api.ok("GET", "/teams/t0/allocations")["budgets"]
    assert [(each["window"], each["budget_usd"], each["available_usd"]) for each in of_team] == [
        ("month", 10.0, 10.0), ("day", 2.0, 2.0),
    ]  # fmt: skip
    reader = api.key(api.org, "quota:read:summary")
    error = api.error("GET", "/teams/t0/allocations", key=reader)
    assert error["message"] == "API key does not have 'quota:read' permission"


def test_an_allocation_repeated_by_its_key_is_done_once(api: Api) -> None:
    body = {"team_id": api.org, "allocations": [share("a", 1)]}
    first, again = (api("POST", ALLOCATE, body, headers={"idempotency-key": "k"}) for _ in range(2))
    assert first.json() == again.json()
    assert again.headers["idempotent-replayed"] == "true"
    done = [row["what"] for row in api.tenancy.audit(api.org)]
    assert done.count("organization.allocate") == 1


# what it does to calls


def test_a_raised_budget_lets_the_very_next_call_go(api: Api, host: Host) -> None:
    id, key = project(api, api.org, "p")
    allocate(api, api.org, share("p", 0.1))
    assert host.goes(key, 100)
    denied = host.refused(key, 1)
    assert (denied["status"], denied["type"], denied["limit_usd"]) == (429, "quota_exceeded", 0.1)
    allocate(api, api.org, share(id, 0.101))
    assert host.goes(key, 1)
    assert not host.goes(key, 1)


@pytest.mark.parametrize(
    ("period", "last", "first"),
    [
        ("hourly", (2026, 6, 15, 12, 59, 59), (2026, 6, 15, 13)),
        ("daily", (2026, 6, 15, 23, 59, 59), (2026, 6, 16)),
        ("weekly", (2026, 6, 21, 23, 59, 59), (2026, 6, 22)),
        ("monthly", (2026, 6, 30, 23, 59, 59), (2026, 7, 1)),
        ("quarterly", (2026, 6, 30, 23, 59, 59), (2026, 7, 1)),
        ("yearly", (2026, 12, 31, 23, 59, 59), (2027, 1, 1)),
    ],
)
def test_a_budget_is_new_when_its_period_begins(
    api: Api, host: Host, clock: FakeClock, period: str, last: tuple[int, ...], first: tuple[int, ...]
) -> None:
    _, key = project(api, api.org, "p")
    allocate(api, api.org, share("p", 0.01, reset_period=period))
    assert host.goes(key)
    at(clock, *last)
    denied = host.refused(key)
    assert denied["reset_date"] == datetime(*first, tzinfo=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")  # type: ignore[misc, arg-type]
    at(clock, *first)
    assert host.goes(key)
    assert not host.goes(key)


def test_a_budget_that_never_resets(api: Api, host: Host, clock: FakeClock) -> None:
    _, key = project(api, api.org, "p")
    allocate(api, api.org, share("p", 0.01, reset_period="never"))
    assert host.goes(key)
    at(clock, 2036, 1, 1)
    denied = host.refused(key)
    assert (denied["status"], denied["reset_date"]) == (429, None)


def test_what_was_left_is_added_to_the_next_period_and_on_to_the_one_after(
    api: Api, host: Host, clock: FakeClock
) -> None:
    _, key = project(api, api.org, "p")
    allocate(api, api.org, share("p", 0.1, carryover=True))
    assert host.goes(key, 40)
    at(clock, 2026, 7, 3)
    assert host.goes(key, 100)
    at(clock, 2026, 8, 3)
    assert host.goes(key, 160)
    assert not host.goes(key, 1)
    at(clock, 2026, 9, 1)
    assert host.goes(key, 100)
    assert not host.goes(key, 1)


def test_without_carryover_what_was_left_is_gone(api: Api, host: Host, clock: FakeClock) -> None:
    _, key = project(api, api.org, "p")
    allocate(api, api.org, share("p", 0.1))
    assert host.goes(key, 40)
    at(clock, 2026, 7, 3)
    assert host.goes(key, 100)
    assert not host.goes(key, 1)


def test_a_soft_budget_lets_calls_go_on(api: Api, host: Host) -> None:
    _, key = project(api, api.org, "p")
    allocate(api, api.org, share("p", 0.01), hard_limit=False)
    assert all(host.goes(key) for _ in range(5))
    allocate(api, api.org, share("p", 0.01), hard_limit=True)
    assert not host.goes(key)  # counted all the while


@pytest.mark.parametrize(
    ("hard", "budget"),
    [
        (True, 0.01),  # used up to the cent
        (True, 0.0105),  # what is left pays for nothing
        (False, 0.01),
    ],
)
def test_what_disables_itself_stays_disabled_until_somebody_enables_it(
    api: Api, host: Host, clock: FakeClock, hard: bool, budget: float
) -> None:
    id, key = project(api, api.org, "p")
    allocate(api, api.org, share("p", budget), hard_limit=hard, auto_disable_on_exceed=True)
    assert host.goes(key)
    if budget > 0.01:
        assert host.refused(key)["type"] == "quota_exceeded"
    for moment in ((2026, 6, 20), (2026, 7, 1), (2026, 12, 1)):
        at(clock, *moment)
        denied = host.refused(key)
        assert (denied["status"], denied["type"], denied["code"]) == (403, "permission_denied", "disabled")
    allocate(api, api.org, share("p", 5), hard_limit=hard, auto_disable_on_exceed=True)
    assert host.refused(key)["code"] == "disabled"  # more money alone does not open it
    api.ok("POST", f"/projects/{id}/enable")
    assert host.goes(key)


def test_what_was_carried_over_is_used_up_before_it_disables(api: Api, host: Host, clock: FakeClock) -> None:
    _, key = project(api, api.org, "p")
    allocate(api, api.org, share("p", 0.1, carryover=True), auto_disable_on_exceed=True)
    assert host.goes(key, 40)
    at(clock, 2026, 7, 3)
    assert host.goes(key, 100)
    assert host.goes(key, 60)
    assert host.refused(key, 1)["status"] == 429
    assert host.refused(key, 1)["code"] == "disabled"
    at(clock, 2026, 8, 3)
    assert host.refused(key, 1)["code"] == "disabled"


def test_a_call_that_asks_for_too_much_disables_nothing(api: Api, host: Host) -> None:
    """What is left would pay for an answer: the budget is not used up, though this call does not fit."""
    _, key = project(api, api.org, "p")
    allocate(api, api.org, share("p", 1), auto_disable_on_exceed=True)
    assert host.goes(key, 500)
    for _ in range(2):
        assert host.refused(key, 501)["status"] == 429
    assert host.goes(key, 244)
    assert host.refused(key, 257)["status"] == 429  # 256 tokens would cost as much as is left
    assert host.goes(key, 256)
    assert host.refused(key, 1)["code"] == "disabled"


def test_without_auto_disable_a_used_up_budget_is_new_in_the_next_period(
    api: Api, host: Host, clock: FakeClock
) -> None:
    _, key = project(api, api.org, "p")
    allocate(api, api.org, share("p", 0.0105))
    assert host.goes(key)
    assert [host.refused(key)["status"] for _ in range(2)] == [429, 429]
    at(clock, 2026, 7, 1)
    assert host.goes(key)


def test_the_closing_stands_in_the_audit_log(api: Api, host: Host) -> None:
    id, key = project(api, api.org, "p")
    allocate(api, api.org, share("p", 0.0105), auto_disable_on_exceed=True)
    assert host.goes(key)
    assert not host.goes(key)
    row = api.ok("GET", "/audit-log")["data"][0]
    assert (row["what"], row["who"]["kind"], row["after"][0]["id"]) == ("project.close", "host", id)
    assert row["after"][0]["enabled"] is False


def test_a_threshold_stops_with_429_and_a_raise_or_a_new_period_lets_it_run(
    api: Api, host: Host, clock: FakeClock
) -> None:
    id, key = project(api, api.org, "p")
    allocate(api, api.org, share("p", 0.1))
    api.tenancy.update(api.org, id, alerts=["50% disable"])
    assert host.goes(key, 50)
    denied = host.refused(key, 1)
    assert (denied["status"], denied["type"]) == (429, "quota_exceeded")
    assert (denied["current_usage_usd"], denied["limit_usd"]) == (0.05, 0.1)
    allocate(api, api.org, share("p", 0.1))  # the same again is no raise
    assert host.refused(key, 1)["status"] == 429
    allocate(api, api.org, share("p", 0.2))
    assert host.goes(key, 50)
    assert host.refused(key, 1)["status"] == 429
    at(clock, 2026, 7, 1)
    assert host.goes(key, 100)
    assert host.refused(key, 1)["status"] == 429


def test_shares_of_one_parent_hold_together(api: Api, host: Host) -> None:
    """Children may have more than the parent where somebody overrode it; the parent's own budget still holds."""
    api.tenancy.update(api.org, api.org, limits=["$0.15/month"])
    keys = [project(api, api.org, name)[1] for name in "ab"]
    assert allocate(api, api.org, share("a", 0.1), share("b", 0.1)).status_code == 200
    assert host.goes(keys[0], 100)
    assert host.goes(keys[1], 50)
    denied = host.refused(keys[1], 1)
    assert denied["message"] == "Monthly budget of $0.15 exceeded for organization 'StartupAI'"


def test_orders_of_allocation_come_to_the_same(api: Api) -> None:
    """Whatever the order of two allocations, the sum is the same and never over the parent's."""
    api.tenancy.update(api.org, api.org, limits=["$10/month"])
    key = api.key(api.org, "quota:manage", "team:create")
    for order in itertools.permutations([("a", 6), ("b", 5), ("a", 4)]):
        for name, amount in order:
            allocate(api, api.org, share(name, amount), key=key)
            sums = api.ok("GET", f"/organizations/{api.org}/allocations")["budgets"][0]
            assert sums["allocated_usd"] <= sums["budget_usd"]
