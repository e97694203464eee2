"""The organization as one file: what would change, done as one, and written back.

Looking at what is there takes quota:read on the organization; people, roles and prices org:manage, keys api_key:read,
channels quota:manage. What is changed takes what each change takes alone, and all is done, or nothing. What was spent
is touched by none of it.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ..alerts.service import AlertService
from ..core.permissions import allows
from ..errors import AlreadyExists, ConfigurationError, FileError, InvalidRequest, NotFound, Problem
from ..stores.protocol import Clock
from ..tenancy.documents import DOCUMENTS
from ..tenancy.service import Rehearsal, Tenancy
from ..tenancy.tree import organization_id
from . import entries, exporting, reading
from .applying import Secret, done
from .entries import dotted
from .exporting import SECTIONS
from .model import OrganizationFile
from .planning import Progress, planned
from .plans import Plan, named
from .reading import Format, Looked, Source
from .state import State

LOOK = "quota:read"


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done, in which organization, and what is shown once."""

    organization_id: str
    plan: Plan
    secrets: tuple[Secret, ...]


class Organizations:
    """The Python face: `quota.blocking.organization`. Used as it is, it acts for the host; `by` somebody, as that one
    may.

    A file is a path (.yaml, .toml, .json), or its values. Methods raise FileError with all that is wrong with it, each
    with its line; else as `Tenancy` does.
    """

    def __init__(self, tenancy: Tenancy, alerts: AlertService, clock: Clock) -> None:
        self._tenancy = tenancy
        self._alerts = alerts
        self._clock = clock

    def by(self, tenancy: Tenancy) -> Self:
        """The same, with a tenancy that acts for somebody."""
        other = copy.copy(self)
        other._tenancy = tenancy
        return other

    def plan(
        self, file: Source, *, organization: str | None = None, progress: Progress | None = None
    ) -> Plan:
        """What `apply` would do. `progress` hears now and then how many of how many things were looked at."""
        looked = reading.look(reading.text_of(file))
        org = self.home(looked.said, organization)

        def work(rehearsal: Rehearsal) -> Plan:
            plan = self._planned(rehearsal, looked, org, progress)
            self._do(plan, rehearsal, org, looked)
            return plan

        return self._tenancy.rehearse(org, work)

    def apply(
        self,
        file: Source,
        *,
        organization: str | None = None,
        allow_destroy: bool = False,
        revision: int | None = None,
        progress: Progress | None = None,
    ) -> Applied:
        """Makes the organization as the file says, all of it or nothing; makes it where there is none, for the host.
        Again, it changes nothing. What is shown once, secrets of new keys, is in the answer.

        allow_destroy  whether something may be taken away; AlreadyExists with code `would_destroy` else
        revision       of a plan, where just that is to be done; AlreadyExists with code `changed_since` where something
                       is another since
        """
        looked = reading.look(reading.text_of(file))
        org = self.home(looked.said, organization)

        def work(rehearsal: Rehearsal) -> Applied:
            plan = self._planned(rehearsal, looked, org)
            if plan.destroys and not allow_destroy:
                raise AlreadyExists(
                    f"{named(plan.destroys)} would be taken away; say that this may be",
                    code="would_destroy",
                    fields={"destroys": [step.told() for step in plan.destroys]},
                )
            if revision not in (None, plan.revision):
                raise AlreadyExists(
                    "It was changed since the plan was made; plan again", code="changed_since"
                )
            return Applied(org, plan, tuple(self._do(plan, rehearsal, org, looked, progress)))

        return self._tenancy.together(org, "organization.apply", work)

    def export(self, organization: str | None = None, *, format: Format = "yaml", ids: bool = False) -> str:
        """The organization as a file of this format, without what the actor may not look at."""
        return exporting.written(self.values(organization, ids=ids), format)

    def values(self, organization: str | None = None, *, ids: bool = False) -> dict[str, Any]:
        """The same as values."""
        org = (
            self._only()
            if organization is None
            else self._known(organization, "organization") or organization
        )
        self._tenancy.require(org, org, LOOK)
        held = self._tenancy.held_at(org, org)
        hidden = [names for permission, names in SECTIONS.items() if not allows(held, permission)]
        without = [name for names in hidden for name in names]

        def work(rehearsal: Rehearsal) -> dict[str, Any]:
            return exporting.exported(_state(rehearsal), org, self._clock(), ids=ids, without=without)

        return self._tenancy.rehearse(org, work)

    def home(self, file: OrganizationFile, organization: str | None = None) -> str:
        """The id of the organization that a file is for: the one that is named (by id or name), the file's own id, the
        one of its name, else one that is to be made.
        """
        if organization is not None:
            return self._known(organization, "organization") or organization
        if file.organization.id is not None:
            return file.organization.id
        name = file.organization.name
        return self._known(name, "organization.name", ids=False) or organization_id(name)

    def _known(self, name: str, field: str, *, ids: bool = True) -> str | None:
        """The id of the organization of this id or name, if there is one. Raises FileError where there are several."""
        found = [
            node.id
            for node in self._tenancy.organizations()
            if node.name == name or (ids and node.id == name)
        ]
        if ids and name in found:
            return name
        if len(found) > 1:
            several = Problem(field, f"is that of {len(found)} organizations; give its id")
            raise FileError("organization", [several])
        return found[0] if found else None

    def _planned(
        self, rehearsal: Rehearsal, looked: Looked, org: str, progress: Progress | None = None
    ) -> Plan:
        """The plan, in the light of what is there. Raises FileError with all that is wrong, whatever with."""
        state = _state(rehearsal)
        if state.node(org) is not None:
            rehearsal.require(org, org, LOOK)
            for permission in _needed(looked.said):
                rehearsal.require(org, org, permission)
        try:
            plan, wrong = planned(looked.said, state, org, self._clock(), progress=progress)
        except ConfigurationError:  # by a name, say, that is none
            if not looked.problems:
                raise
            raise looked.error() from None
        if looked.problems or wrong:
            raise looked.error(wrong)
        return plan

    def _do(
        self,
        plan: Plan,
        rehearsal: Rehearsal,
        org: str,
        looked: Looked,
        progress: Progress | None = None,
    ) -> list[Secret]:
        """Does a plan; what is refused is named as the file says it."""
        try:
            secrets = done(plan, rehearsal, org, self._alerts.by(rehearsal).add_channel, progress)
            rehearsal.check()
        except FileError as error:
            raise looked.error(error.problems) from None
        except InvalidRequest as error:
            said = {entry.path: entry.said for entry in entries.nodes(looked.said)}
            for each in error.fields.get("errors", ()):
                path = plan.paths.get(each.pop("node", ""))
                if path is not None:
                    each["field"] = dotted((*path, entries.word_of(said[path], "limits")))
            raise
        return secrets

    def _only(self) -> str:
        found = [node.id for node in self._tenancy.organizations()]
        if len(found) != 1:
            raise NotFound(f"There are {len(found)} organizations; say which")
        return found[0]


def _state(rehearsal: Rehearsal) -> State:
    sketch = rehearsal.sketch
    return State((thing for kind in DOCUMENTS for thing in sketch.of(kind)), sketch.rev)


def _needed(file: OrganizationFile) -> list[str]:
    """What it takes to look at what the file speaks of, besides the least."""
    said = _sections(file.given())
    return [permission for permission, names in SECTIONS.items() if said.intersection(names)]


def _sections(given: Mapping[str, Any]) -> set[str]:
    found = set(given)
    for name in ("organization", "teams", "projects"):
        value = given.get(name)
        for entry in value.values() if isinstance(value, dict) else [value] if value is not None else ():
            found |= _sections(entry.given())
    return found
