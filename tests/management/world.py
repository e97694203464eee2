"""Two teams with projects and keys, whose calls are noted as they are made, to hold against what is told of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from quotaware.context import Identity
from quotaware.core.money import to_usd
from quotaware.tenancy import keys
from tests.calls import CENT, a_call, ask, let_go, used

if TYPE_CHECKING:
    from tests.management.conftest import Api

HOUR = 3_600_000
DAY = 24 * HOUR
MODELS = ("small", "middle", "large")


class Made(NamedTuple):
    """One call, as it is to be told of."""

    at: int
    ms: int
    cents: int
    model: str
    team: str
    project: str
    key: str | None


@dataclass
class World:
    """Two teams with two projects each, one of them a test, and a key on each; `calls` are all that were made."""

    api: Api
    calls: list[Made]
    teams: list[str]
    projects: list[str]
    keys: dict[str, list[str]]
    secrets: dict[str, str]
    homes: dict[str, str]

    def call(
        self, project: str, *, key: str | None = None, model: str = MODELS[0], cents: int = 1, ms: int = 0
    ) -> None:
        secret = self.secrets.get(key or "")
        who = Identity(None if secret else project, None, {}, keys.digest(secret) if secret else None)
        let_through = let_go(ask(self.api.quota, a_call(cents, model=model), who))
        self.calls.append(Made(self.api.clock(), ms, cents, model, self.homes[project], project, key))
        self.api.clock.advance(ms)
        let_through.settle(used(cents))

    def told(self, calls: list[Made]) -> dict[str, Any]:
        """What analytics say of these calls."""
        return {
            "total_requests": len(calls),
            "total_cost_usd": dollars(sum(call.cents for call in calls)),
            "avg_latency_ms": sum(call.ms for call in calls) / len(calls) if calls else 0.0,
            "by_model": grouped(calls, "model"),
            "by_project": grouped(calls, "project"),
            "by_key": grouped([call for call in calls if call.key], "key"),
        }


def dollars(cents: int) -> float:
    return float(to_usd(cents * CENT))


def grouped(calls: list[Made], by: str) -> dict[str, Any]:
    requests: Counter[str] = Counter()
    cost: Counter[str] = Counter()
    for call in calls:
        requests[getattr(call, by)] += 1
        cost[getattr(call, by)] += call.cents
    return {each: {"requests": requests[each], "cost": dollars(cost[each])} for each in requests}


def furnished(api: Api) -> World:
    """The world, in which nobody has called yet."""
    tenancy, org = api.tenancy, api.org
    world = World(api, [], [], [], {}, {}, {})
    for team_name in ("red", "blue"):
        team = tenancy.create_team(org, team_name).id
        world.teams.append(team)
        for name, environment in (("live", "live"), ("trial", "test")):
            project = tenancy.create_project(team, f"{team_name}-{name}", environment=environment).id
            world.projects.append(project)
            world.homes[project] = team
            made = [tenancy.create_key(project, name=f"{team_name}-{name}-{n}") for n in range(2)]
            world.keys[project] = [each.node.id for each in made]
            world.secrets |= {each.node.id: each.secret for each in made}
    return world
