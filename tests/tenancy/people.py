"""An organization with people and keys in it, and everybody as the actor that they are."""

from __future__ import annotations

import json
from typing import Any

from quotaware.stores.protocol import Store
from quotaware.tenancy.access import of_key
from quotaware.tenancy.directory import Directory
from quotaware.tenancy.service import Tenancy
from quotaware.testing.clocks import FakeClock

ORG = "org_a"


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
