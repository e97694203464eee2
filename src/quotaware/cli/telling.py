"""The organization as one file, planned and applied with a word now and then on how far that is."""

from __future__ import annotations

from typing import Any

from ..organization.planning import Progress
from ..organization.plans import Plan
from ..organization.reading import Source
from ..organization.service import Applied, Organizations


class Telling(Organizations):
    """Tells `heard` how many of how many things were looked at, or done."""

    def __init__(self, tenancy: Any, alerts: Any, clock: Any, heard: Progress) -> None:
        super().__init__(tenancy, alerts, clock)
        self._heard = heard

    def plan(self, file: Source, **more: Any) -> Plan:
        """As `Organizations.plan`."""
        return super().plan(file, **{**more, "progress": self._heard})

    def apply(self, file: Source, **more: Any) -> Applied:
        """As `Organizations.apply`."""
        return super().apply(file, **{**more, "progress": self._heard})
