"""The table of checks, and how one is run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from ..failures import Failure
from . import middlewares, organizations, proxies, sdks, stores, workers
from .findings import Evidence, Finding, Look, NotLooked


class Check(NamedTuple):
    """A check: its name, and what it looks at."""

    name: str
    about: str
    look: Look


CHECKS = (
    Check("sdks", "installed SDKs are metered", sdks.unmetered),
    Check("middleware", "the order of the app's middlewares", middlewares.order),
    Check("proxies", "whose word is taken for addresses", proxies.trusted),
    Check("workers", "several workers share a store", workers.on_memory),
    Check("store", "the store answers and is set up well", stores.set_up),
    Check("clock", "clocks agree", stores.clocks),
    Check("prices", "models in use have a price", organizations.unpriced),
    Check("alerts", "budgets have alerts, and those that were sent reached somebody", organizations.unheard),
    Check("keys", "no key is about to end", organizations.ending),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a check. `skipped`: why it could not be looked at."""

    check: Check
    findings: tuple[Finding, ...] = ()
    skipped: str | None = None

    @property
    def state(self) -> str:
        """error, warning, skipped or ok: the worst that holds."""
        levels = {finding.level for finding in self.findings}
        for level in ("error", "warning"):
            if level in levels:
                return level
        return "ok" if self.skipped is None else "skipped"

    def told(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "check": self.check.name,
            "about": self.check.about,
            "state": self.state,
            "skipped": self.skipped,
            "findings": [finding._asdict() for finding in self.findings],
        }


def examine(check: Check, evidence: Evidence) -> Outcome:
    """Runs a check; one that may not look at something, or has nothing to look at, is skipped."""
    found: list[Finding] = []
    try:
        found.extend(check.look(evidence))
    except (NotLooked, Failure) as why:
        return Outcome(check, tuple(found), str(why))
    return Outcome(check, tuple(found))
