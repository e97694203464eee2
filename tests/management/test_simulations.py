"""What if, over the wire: the same as the Python face says, as far as the caller may see it."""

from __future__ import annotations

from typing import Any

import pytest

from quotaware.management import simulations
from tests.calls import CENT
from tests.management.world import HOUR, World


def busy(world: World) -> None:
    """Ten cents in each project, in five calls."""
    for _ in range(5):
        for project in world.projects:
            world.call(project, key=world.keys[project][0], cents=2)
        world.api.clock.advance(HOUR)


def test_it_is_what_the_python_face_says_of_a_node(world: World) -> None:
    busy(world)
    api, project = world.api, world.projects[0]
    body = {"plan": {project: {"limits": ["$0.05/day"], "alerts": ["50% email"]}}, "period": "1d"}
    answered = api("POST", f"/projects/{project}/simulate", body)
    assert answered.status_code == 200
    found = api.quota.blocking.simulate(
        {project: body["plan"][project]}, "1d", organization=api.org, below=project
    )
    told = answered.json()
    assert told["total"] == {
        "requests": 5, "cost": 0.1, "denied": 3, "denied_cost": 0.06, "clamped": 0, "waited": 0, "over": 0,
        "alerts": 1,
    }  # fmt: skip
    assert (found.total.calls, found.total.denied) == (5, 3)
    assert sum(day["denied"] for day in told["days"]) == 3
    assert told["reasons"] == [{"on": project, "limit": "$0.05/day", "stopped": False, "requests": 3}]
    assert [each["id"] for each in told["examples"]] == [each.id for each in found.examples]
    assert told["examples"][0]["cap"] == 5 * CENT
    assert [(each["on"], each["alert"]) for each in told["alerts"]] == [(project, "50% email")]


def test_calls_and_limits_elsewhere_are_not_told(world: World) -> None:
    busy(world)
    api, project, team = world.api, world.projects[0], world.teams[0]
    api.tenancy.update(api.org, team, limits=["$0.06/day"], alerts=["50% email"])
    told = api("POST", f"/projects/{project}/simulate", {}).json()
    assert told["total"]["requests"] == 5
    assert told["total"]["denied"] == 3
    assert told["reasons"] == [{"on": None, "limit": None, "stopped": False, "requests": 3}]
    assert told["alerts"] == []
    assert {example["project"] for example in told["examples"]} == {project}
    assert {(example["cap"], example["why"]["limit"]) for example in told["examples"]} == {(None, None)}


def test_single_calls_take_analytics(world: World) -> None:
    busy(world)
    api, project = world.api, world.projects[0]
    body = {"plan": {project: {"limits": ["0 requests/day"]}}}
    manager = api.tenancy.create_key(project, permissions=["quota:manage"]).secret
    told = api("POST", f"/projects/{project}/simulate", body, key=manager).json()
    assert (told["total"]["denied"], told["examples"]) == (5, [])


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"plan": {"{project}": {"limits": ["much"]}}}, 422, "limit"),
        ({"plan": {"{sibling}": {"limits": []}}}, 404, None),
        ({"plan": {"red": {"limits": []}}}, 404, None),
        ({"from": "2026-06-01T00:00:00Z"}, 422, "from"),
        ({"period": "1d", "from": "2026-06-01T00:00:00Z", "to": "2026-06-02T00:00:00Z"}, 422, "period"),
        ({"from": "2026-06-03T00:00:00Z", "to": "2026-06-02T00:00:00Z"}, 422, "period"),
    ],
)
def test_what_cannot_be_asked_is_named(world: World, body: Any, status: int, field: str | None) -> None:
    names = {"{project}": world.projects[0], "{sibling}": world.projects[1]}
    if "plan" in body:
        body = {"plan": {names.get(id, id): said for id, said in body["plan"].items()}}
    answered = world.api("POST", f"/projects/{world.projects[0]}/simulate", body)
    assert answered.status_code == status
    assert field is None or field in str(answered.json())


def test_a_request_decides_only_so_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    busy(world)
    monkeypatch.setattr(simulations, "MOST", 19)
    answered = world.api("POST", f"/organizations/{world.api.org}/simulate", {})
    assert answered.status_code == 422
    assert "shorter" in str(answered.json())
