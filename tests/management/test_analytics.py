"""Analytics: exact against sums kept by hand, and no more than the caller may see."""

from __future__ import annotations

import random
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from quotaware.context import Identity
from quotaware.core.denials import iso
from quotaware.tenancy import keys
from quotaware.tenancy.access import of_key
from quotaware.testing.clocks import FakeClock
from tests.calls import a_call, a_quota, ask, refused, spend
from tests.management.conftest import Api
from tests.management.world import DAY, HOUR, MODELS, World


def bare(answer: dict[str, Any]) -> dict[str, Any]:
    """The sums of an answer, without names."""
    found = {
        name: answer[name] for name in ("total_requests", "total_cost_usd", "avg_latency_ms", "by_model")
    }
    for name in ("by_project", "by_key"):
        found[name] = {
            id: {"requests": each["requests"], "cost": each["cost"]} for id, each in answer[name].items()
        }
    return found


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 60))]
)
def test_sums_are_those_of_the_calls_whatever_is_asked(world: World, seed: int) -> None:
    api, chance = world.api, random.Random(seed)
    start = api.clock()
    for _ in range(150):
        project = chance.choice(world.projects)
        world.call(
            project,
            key=chance.choice([None, *world.keys[project]]),
            model=chance.choice(MODELS),
            cents=chance.randrange(30),
            ms=chance.randrange(5000),
        )
        api.clock.advance(chance.randrange(8 * HOUR))
    for _ in range(40):
        now = api.clock()
        hours = chance.randrange(1, 24 * 60)
        query, since, until = chance.choice(
            [
                (f"period={hours}h", now + 1 - hours * HOUR, now + 1),
                (f"period={1 + hours // 24}d", (now + 1 - (1 + hours // 24) * DAY) // HOUR * HOUR, now + 1),
                (between(start, start + hours * HOUR), start, start + hours * HOUR),
            ]
        )
        environment = chance.choice([None, "live", "test"])
        kind, id, own = chance.choice(
            [
                ("organizations", api.org, world.projects),
                *(
                    ("teams", team, [p for p in world.projects if world.homes[p] == team])
                    for team in world.teams
                ),
                *(("projects", project, [project]) for project in world.projects),
            ]
        )
        calls = [
            call
            for call in world.calls
            if since <= call.at < until
            and call.project in own
            and environment in {None, "live" if world.projects.index(call.project) % 2 == 0 else "test"}
        ]
        narrowed = f"&environment={environment}" if environment else ""
        answer = api.ok("GET", f"/{kind}/{id}/analytics?{query}{narrowed}")
        assert bare(answer) == world.told(calls)
        assert sum(day["requests"] for day in answer["by_day"]) == len(calls)
        costs = [(top["cost"], top["requests"]) for top in answer["top_models"]]
        assert costs == sorted(costs, key=lambda each: -each[0])
        assert {top.pop("model"): top for top in answer["top_models"]} == answer["by_model"]
    for key in world.secrets:
        calls = [call for call in world.calls if call.key == key and call.at > api.clock() - 7 * DAY]
        answer = api.ok("GET", f"/api-keys/{key}/usage?days=7")
        assert answer.pop("days") == 7
        assert answer.pop("denied") == {"requests": 0, "by_code": {}}
        assert answer == {name: world.told(calls)[name] for name in answer}


def between(since: int, until: int) -> str:
    return f"from={iso(since)}&to={iso(until)}"


def test_of_nothing_everything_is_nothing(world: World) -> None:
    answer = world.api.ok("GET", f"/teams/{world.teams[0]}/analytics?period=30d")
    assert bare(answer) == {
        "total_requests": 0,
        "total_cost_usd": 0.0,
        "avg_latency_ms": 0.0,
        "by_model": {},
        "by_project": {},
        "by_key": {},
    }
    assert answer["by_day"] == answer["top_models"] == []
    key = world.keys[world.projects[0]][0]
    assert world.api.ok("GET", f"/api-keys/{key}/usage")["avg_latency_ms"] == 0.0


def test_things_are_told_by_name_and_the_largest_cost_comes_first(world: World) -> None:
    project, other, *_ = world.projects
    key = world.keys[project][0]
    world.call(project, key=key, model="small", cents=5)
    world.call(project, model="large", cents=7)
    world.call(other, model="middle", cents=6)
    answer = world.api.ok("GET", "/teams/red/analytics?period=24h")
    assert answer["by_project"] == {
        project: {"name": "red-live", "requests": 2, "cost": 0.12},
        other: {"name": "red-trial", "requests": 1, "cost": 0.06},
    }
    assert list(answer["by_project"]) == [project, other]
    assert answer["by_key"] == {key: {"name": "red-live-0", "requests": 1, "cost": 0.05}}
    assert answer["top_models"] == [
        {"model": "large", "requests": 1, "cost": 0.07},
        {"model": "middle", "requests": 1, "cost": 0.06},
        {"model": "small", "requests": 1, "cost": 0.05},
    ]
    assert answer["view"] == "full"


def test_days_are_those_of_the_organization(world: World) -> None:
    api = world.api
    api.tenancy.update(api.org, api.org, zone="Pacific/Auckland")
    world.call(world.projects[0])
    api.clock.advance(DAY)
    world.call(world.projects[0], cents=2)
    days = api.ok("GET", f"/organizations/{api.org}/analytics")["by_day"]
    assert [(day["requests"], day["cost"]) for day in days] == [(1, 0.01), (1, 0.02)]
    zone = ZoneInfo("Pacific/Auckland")
    at = [datetime.fromtimestamp(call.at / 1000, zone).date().isoformat() for call in world.calls]
    assert [day["date"] for day in days] == at


def test_a_key_that_was_rotated_is_one_with_what_it_took_the_place_of(world: World) -> None:
    api, project = world.api, world.projects[0]
    old = world.keys[project][0]
    world.call(project, key=old, cents=3, ms=100)
    for grace in (60_000, 0):
        made = api.tenancy.rotate_key(api.org, old, grace_ms=grace)
        old = made.node.id
        assert list(api.ok("GET", "/projects/red-live/analytics")["by_key"]) == [old]
        world.secrets[old] = made.secret
        world.call(project, key=old, cents=3, ms=200)
        assert list(api.ok("GET", "/projects/red-live/analytics")["by_key"]) == [old]
    for key in (old, world.keys[project][0]):
        answer = api.ok("GET", f"/api-keys/{key}/usage?days=1")
        assert (answer["total_requests"], answer["total_cost_usd"]) == (3, 0.09)
        assert answer["avg_latency_ms"] == pytest.approx(500 / 3)
    assert api.ok("GET", "/projects/red-live/analytics")["by_key"] == {
        old: {"name": "red-live-0", "requests": 3, "cost": 0.09}
    }


def test_what_is_gone_is_still_counted_and_has_no_name(world: World) -> None:
    project = world.projects[0]
    world.call(project, key=world.keys[project][0], cents=3)
    for key in world.keys[project]:
        world.api.tenancy.revoke_key(world.api.org, key)
    world.api.tenancy.delete(world.api.org, project)
    answer = world.api.ok("GET", "/teams/red/analytics")
    assert answer["by_project"] == {project: {"name": None, "requests": 1, "cost": 0.03}}
    assert answer["total_requests"] == 1
    assert world.api.ok("GET", "/teams/red/analytics?environment=live")["total_requests"] == 0


def test_denied_calls_stand_apart(world: World) -> None:
    api, (live, trial, *_) = world.api, world.projects
    key = world.keys[live][0]
    world.call(live, key=key)
    api.tenancy.update(api.org, live, models=["small"])
    api.tenancy.disable(api.org, trial)
    for project, who, model, times in (
        (live, key, "large", 3),
        (live, None, "large", 2),
        (trial, None, "small", 4),
    ):
        for _ in range(times):
            digest = keys.digest(world.secrets[who]) if who else None
            identity = Identity(None if who else project, None, {}, digest)
            refused(ask(api.quota, a_call(1, model=model), identity))
    answer = api.ok("GET", "/teams/red/analytics")
    assert answer["total_requests"] == 1
    assert answer["denied"] == {"requests": 9, "by_code": {"model_not_allowed": 5, "disabled": 4}}
    assert api.ok("GET", "/teams/red/analytics?environment=test")["denied"] == {
        "requests": 4,
        "by_code": {"disabled": 4},
    }
    told = api.ok("GET", f"/api-keys/{key}/usage")
    assert (told["total_requests"], told["denied"]["requests"]) == (1, 3)
    own = api.key(live, "analytics:own")
    assert api.ok("GET", f"/projects/{live}/analytics", key=own)["denied"]["requests"] == 5
    assert api.ok("GET", "/teams/blue/analytics")["denied"]["requests"] == 0


# who sees what


def test_own_is_what_the_caller_made_or_is_and_its_projects(world: World) -> None:
    api, org = world.api, world.api.org
    live, trial, *_ = world.projects
    team = world.teams[0]
    caller = api.tenancy.create_key(
        team, name="dev", permissions=["analytics:own", "api_key:create", "chat:create"]
    )
    mine = api.tenancy.by(of_key(api.tenancy.path(org, "key", caller.node.id))).create_key(
        live, name="mine", permissions=["chat:create"]
    )
    world.secrets[mine.node.id] = mine.secret
    world.call(live, key=mine.node.id, cents=2)
    world.call(live, key=world.keys[live][0], cents=5)
    world.call(trial, cents=7)
    answer = api.ok("GET", f"/teams/{team}/analytics", key=caller.secret)
    assert answer["view"] == "own"
    assert (answer["total_requests"], answer["total_cost_usd"]) == (1, 0.02)
    assert list(answer["by_key"]) == [mine.node.id]
    assert list(answer["by_project"]) == [live]
    assert api.ok("GET", f"/api-keys/{mine.node.id}/usage", key=caller.secret)["total_requests"] == 1
    refused = api.error("GET", f"/api-keys/{world.keys[live][0]}/usage", key=caller.secret)
    assert (refused["status"], refused["permission"]) == (403, "analytics:full")
    heir = api.tenancy.rotate_key(org, caller.node.id)
    assert api.ok("GET", f"/teams/{team}/analytics", key=heir.secret)["total_requests"] == 1


def test_a_members_own_are_the_keys_that_he_made_and_the_projects_of_his_roles(clock: FakeClock) -> None:
    who: dict[str, str] = {}
    quota = a_quota(clock=clock, identify=lambda scope: who)
    api = Api(quota, clock)
    tenancy = api.tenancy
    team = tenancy.create_team(api.org, "red").id
    own, other = (tenancy.create_project(team, name).id for name in ("own", "other"))
    tenancy.create_role(api.org, "maker", ["analytics:own", "api_key:create", "chat:create"])
    tenancy.create_member(api.org, "ada", roles=[("maker", team), ("developer", own)])
    who |= {"member": "ada", "organization": api.org}
    made = api.client.post(
        "/v1/api-keys/service", json={"project_id": "other", "permissions": ["chat:create"]}
    )
    for identity, cents in (
        (Identity(own), 1),
        (Identity(other), 2),
        (Identity(None, None, {}, keys.digest(made.json()["key"])), 4),
    ):
        spend(quota, cents, identity)
    told = api.client.get("/v1/teams/red/analytics").json()
    assert (told["view"], told["total_requests"], told["total_cost_usd"]) == ("own", 2, 0.05)
    assert list(told["by_key"]) == [made.json()["id"]]
    assert {id: each["cost"] for id, each in told["by_project"].items()} == {own: 0.01, other: 0.04}
    assert api.client.get(f"/v1/organizations/{api.org}/analytics").status_code == 403
    quota.close()


def test_a_key_of_a_project_owns_that_project(world: World) -> None:
    live, trial, *_ = world.projects
    world.call(live, key=world.keys[live][0], cents=5)
    world.call(trial, cents=7)
    own = world.api.key(live, "analytics:own")
    assert world.api.ok("GET", f"/projects/{live}/analytics", key=own)["total_cost_usd"] == 0.05
    for path in (
        f"/projects/{trial}/analytics",
        "/teams/red/analytics",
        f"/organizations/{world.api.org}/analytics",
    ):
        refused = world.api.error("GET", path, key=own)
        assert (refused["status"], refused["code"]) == (403, "missing_permission")


def test_aggregate_shows_no_key(world: World) -> None:
    live = world.projects[0]
    world.call(live, key=world.keys[live][0], cents=5)
    viewer = world.api.key(world.teams[0], "analytics:read:aggregate")
    answer = world.api.ok("GET", "/teams/red/analytics", key=viewer)
    assert (answer["view"], answer["total_requests"], answer["by_key"]) == ("aggregate", 1, {})
    assert world.keys[live][0] not in str(answer)
    assert "red-live-0" not in str(answer)
    refused = world.api.error("GET", f"/api-keys/{world.keys[live][0]}/usage", key=viewer)
    assert (refused["status"], refused["permission"]) == (403, "analytics:own")


def test_who_may_not_is_told_so_and_what_is_elsewhere_is_not_there(world: World) -> None:
    api = world.api
    call_only = api.key(world.projects[0], "chat:create")
    for path in ("/teams/red/analytics", "/projects/red-live/analytics", "/api-keys/red-live-0/usage"):
        refused = api.error("GET", path, key=call_only)
        assert (refused["status"], refused["type"]) == (403, "permission_denied")
        known, unknown = (
            api.error("GET", each, key=api.rival_admin)
            for each in (
                path.replace("red-live-0", world.keys[world.projects[0]][0])
                .replace("red-live", world.projects[0])
                .replace("red", world.teams[0]),
                path.replace("red", "no"),
            )
        )
        assert known["status"] == unknown["status"] == 404
        assert known["type"] == unknown["type"] == "not_found"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("period=30", "period"),
        ("period=0d", "period"),
        ("period=-1d", "period"),
        ("period=30m", "period"),
        ("period=401d", "period"),
        ("period=9999d", "period"),
        ("period=1d&from=2026-01-01T00:00:00Z", "period"),
        ("from=yesterday", "from"),
        ("since=2026-01-01T00:00:00Z", "since"),
        ("from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", "from"),
        ("environment=", "environment"),
    ],
)
def test_a_period_that_is_none_is_told(world: World, query: str, field: str) -> None:
    error = world.api.error("GET", f"/teams/red/analytics?{query}")
    assert (error["status"], error["errors"][0]["field"]) == (422, field)


@pytest.mark.parametrize("days", ["0", "401", "x", "1.5"])
def test_days_that_are_none_are_told(world: World, days: str) -> None:
    error = world.api.error("GET", f"/api-keys/red-live-0/usage?days={days}")
    assert (error["status"], error["errors"][0]["field"]) == (422, "days")
