"""An organization with people and keys in it, and everybody as the actor that they are."""

from __future__ import annotations

import json
from typing import Any

from quotaware.core.money import usd
from quotaware.core.steps import Plan, Reserve, Settle
from quotaware.stores.protocol import Store
from quotaware.tenancy.access import of_key
from quotaware.tenancy.directory import Directory
from quotaware.tenancy.plans import compile_policy
from quotaware.tenancy.service import Tenancy
from quotaware.testing.clocks import FakeClock, ids

ORG = "org_a"
PROJECT = "proj_one"


class House:
    """Organization `org_a` with the teams `team_one` and `team_two`, a project in each, and one on its own."""

    def __init__(self, store: Store, clock: FakeClock, org: str = ORG) -> None:
        self.store = store
        self.clock = clock
        self.org = org
        self.directory = Directory(store, clock)
        self.host = Tenancy(store, self.directory, clock)
        self.host.create_organization("A", id=org)
        for team in ("one", "two"):
            self.host.create_team(org, team, id=f"team_{team}")
            self.host.create_project(f"team_{team}", f"p {team}", org=org, id=f"proj_{team}")
        self.host.create_project(org, "alone", org=org, id="proj_alone")

    def member(self, name: str, *roles: tuple[str, str]) -> Tenancy:
        """The service as used by a new member with these roles."""
        self.host.create_member(self.org, name, roles=roles)
        return self.as_member(name)

    def as_member(self, name: str) -> Tenancy:
        return self.host.by(self.host.acting(self.org, name))

    def key(self, node: str, *permissions: str, **more: Any) -> Tenancy:
        """The service as used by a new key of the host's making."""
        made = self.host.create_key(node, org=self.org, permissions=permissions, **more)
        return self.as_key(made.node.id)

    def as_key(self, id: str) -> Tenancy:
        return self.host.by(of_key(self.directory.load(self.org, id)))

    def audit(self) -> list[dict[str, Any]]:
        return [json.loads(row) for _, row in self.store.audit(self.org, 0, 10_000)]

    def documents(self) -> dict[str, Any]:
        """Everything that the organization is made of."""
        return {item.key: item.value for item in self.store.dump(self.org) if item.table == "doc"}


class Calls:
    """Calls of `proj_one`, each reserved and settled by hand."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.ids = ids(house.clock)

    def plan(self) -> Plan:
        path = self.house.directory.load(ORG, PROJECT)
        return compile_policy(path, (), None, self.house.clock()).plan

    def fits(self, dollars: int) -> bool:
        """Whether a call of so much would be let go now."""
        hold = (0, usd(dollars), 0)
        asked = Reserve(self.ids(), self.plan(), hold, hold, 60_000, "{}", dry=True)
        return self.house.store.apply({ORG: [asked]}, 5.0)[ORG].results[0].verdict == "done"

    def begin(self, dollars: int) -> tuple[str, Plan]:
        plan, id = self.plan(), self.ids()
        hold = (0, usd(dollars), 0)
        done = self.house.store.apply({ORG: [Reserve(id, plan, hold, hold, 60_000, "{}")]}, 5.0)[ORG]
        assert done.results[0].verdict == "done"
        return id, plan

    def end(self, call: tuple[str, Plan], dollars: int) -> None:
        id, plan = call
        self.house.store.apply({ORG: [Settle(id, plan, (0, usd(dollars), 0), "{}")]}, 5.0)

    def spend(self, dollars: int) -> None:
        self.end(self.begin(dollars), dollars)
