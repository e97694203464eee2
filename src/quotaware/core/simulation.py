"""What recorded calls would have met under other limits: the figures that a replay ends with."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

EXAMPLES = 20
"""So many single calls of each kind are shown, the first ones."""
ALERTS = 1000
"""So many alerts are listed, the first ones; all are counted."""

Met = Literal["denied", "clamped", "waited", "over"]
"""denied: refused; clamped: let go with less for its answer than was reserved; waited: let go once others had ended;
over: let go above a soft or shadow limit.
"""


@dataclass(slots=True)
class Tally:
    """Calls, and how many of them met what. `cost` nano-dollars that they came to, `denied_cost` those of the denied;
    `alerts` that were due.
    """

    calls: int = 0
    cost: int = 0
    denied: int = 0
    denied_cost: int = 0
    clamped: int = 0
    waited: int = 0
    over: int = 0
    alerts: int = 0

    def met(self, what: Met, cost: int) -> None:
        """One call met this."""
        setattr(self, what, getattr(self, what) + 1)
        if what == "denied":
            self.denied_cost += cost


@dataclass(frozen=True, slots=True)
class Reason:
    """What a call met: a limit, as limits are written, on a node. `stopped`: the node was stopped by an alert, and
    `limit` is the shape of the limit that it was on.
    """

    node: str
    limit: str
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Example:
    """One call and what it met. `cap`, `used`, `held` and `asked`: of the limit as it stood, in its own unit; 0 where a
    node was stopped.
    """

    met: Met
    id: str
    at: datetime
    project: str | None
    key: str | None
    end_user: str | None
    model: str | None
    cost: int
    reason: Reason
    cap: int = 0
    used: int = 0
    held: int = 0
    asked: int = 0


@dataclass(frozen=True, slots=True)
class Alerted:
    """An alert that would have been due, on a limit of a node; `project`: whose call it was that crossed it."""

    at: datetime
    node: str
    limit: str
    alert: str
    cap: int
    used: int
    project: str | None


@dataclass(slots=True)
class Simulation:
    """What calls admitted in [since, until) would have met.

    total     of all of them; days: by project and day of the organization's time zone
    reasons   how many calls each limit denied; one that stood in the way of several is counted for the first
    examples  the first calls of each kind; alerts: the first ones
    """

    organization: str
    since: datetime
    until: datetime
    total: Tally = field(default_factory=Tally)
    days: dict[tuple[str | None, date], Tally] = field(default_factory=dict)
    reasons: dict[Reason, int] = field(default_factory=dict)
    examples: list[Example] = field(default_factory=list)
    alerts: list[Alerted] = field(default_factory=list)

    def tallies(self, project: str | None, day: date) -> Iterable[Tally]:
        """The tallies that a call of a project and day is counted in."""
        return self.total, self.days.setdefault((project, day), Tally())

    def show(self, example: Example) -> None:
        """Keeps an example, while there are few of its kind."""
        if sum(each.met == example.met for each in self.examples) < EXAMPLES:
            self.examples.append(example)
