"""Counting denied calls: in memory as they come, and now and then handed to the store as one record of many.

So a flood of denials costs no trip of its own, and neither memory nor the store grows with it: the counts of a minute
are as many as there are projects, keys and codes in it, and names that callers choose are bounded.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from threading import Lock

from . import forks
from .core.bounds import Call
from .core.denied import MINUTE_MS, NAME, Denial, outcome_of
from .core.steps import NOTHING, Plan, Settle
from .errors import without_keys
from .ids import Ids
from .stores.lanes import Lanes
from .tenancy.nodes import Path

HAND_OVER_S = 5.0
"""How long counts stay in memory at most, seconds: so much a process that is killed may lose."""
STUCK_S = 1.0
"""How often that is tried, seconds."""
ROW = 200
"""Counts in one record."""
COUNTS = 10_000
"""Counts in memory; with more they are handed over at once, and where the store does not take them no others are begun.
"""
MODELS = 1000
"""Names of models that an organization's denials are counted by in an hour; all others are `OTHER`."""
NAMES = 20_000
"""Such names in all."""
OTHER = "(other)"
HOUR_MS = 3_600_000


class DenialCounter:
    """The counts of this process that the store does not have yet. Thread-safe; never waits for the store, and never
    raises.

    lost   hears of each denial that could not be counted, for want of room while the store is away
    timer  seconds, of a clock that does not jump
    """

    def __init__(
        self, lanes: Lanes, ids: Ids, lost: Callable[[], None], timer: Callable[[], float] = time.monotonic
    ) -> None:
        self._lanes = lanes
        self._ids = ids
        self._lost = lost
        self._timer = timer
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: what the parent counted is the parent's to hand over."""
        self._lock = Lock()
        self._counts: dict[str, dict[Denial, int]] = {}
        self._unheard: set[str] = set()  # organizations that the store has not answered for since
        self._stuck_until = 0.0
        self._size = 0
        self._since = 0.0
        self._models: dict[str, set[str]] = {}
        self._named = 0
        self._hour = 0

    def note(self, org: str, path: Path, call: Call, code: str, now: int) -> None:
        """Counts a call of a caller at this place that was denied at `now` ms."""
        team, project, key = path.team, path.project, path.key
        model = None if call.model is None else without_keys(call.model[: 2 * NAME])[:NAME]
        with self._lock:
            denial = Denial(
                now - now % MINUTE_MS,
                team.id if team else None,
                project.id if project else None,
                key.id if key else None,
                call.provider,
                None if model is None else self._name(org, model, now // HOUR_MS),
                call.operation[:NAME],
                code,
            )
            counts = self._counts.setdefault(org, {})
            known = counts.get(denial)
            counted = known is not None or self._size < COUNTS
            if counted:
                counts[denial] = (known or 0) + 1
            if known is None and counted:
                self._since = self._since if self._size else self._timer()
                self._size += 1
            full = self._size >= COUNTS and self._timer() >= self._stuck_until
        if not counted:
            self._lost()
        if full:
            self.hand_over(now, again=False)
            if self._size >= COUNTS:
                self._stuck_until = self._timer() + STUCK_S
        self._lanes.attend()

    def _name(self, org: str, model: str, hour: int) -> str:
        if hour != self._hour:
            self._hour, self._named = hour, 0
            self._models.clear()
        names = self._models.setdefault(org, set())
        if model not in names:
            if len(names) >= MODELS or self._named >= NAMES:
                return OTHER
            names.add(model)
            self._named += 1
        return model

    def turn(self, now: int) -> None:
        """Hands over what has been here for long enough."""
        if self._size and self._timer() - self._since >= HAND_OVER_S:
            self.hand_over(now, again=False)

    def heard(self, org: str) -> None:
        """The store answered for an organization."""
        if org in self._unheard:
            self._unheard.discard(org)

    def hand_over(self, now: int, *, again: bool = True) -> None:
        """Queues all of it for the store, which gets each count once; `again`: also where the store has not answered
        for the organization since the last time.
        """
        with self._lock:
            counts = {org: own for org, own in self._counts.items() if again or org not in self._unheard}
            for org, own in counts.items():
                del self._counts[org]
                self._size -= len(own)
        for org, own in counts.items():
            if own:
                self._unheard.add(org)
            plan = Plan(org, 0, (), ())
            settles = [
                Settle(self._ids.new(now), plan, NOTHING, outcome_of(some), force=True)
                for some in _parts(own)
            ]
            self._lanes.post(org, *settles)


def _parts(counts: dict[Denial, int]) -> Iterator[dict[Denial, int]]:
    """So many at a time as one record tells."""
    left = iter(counts.items())
    while part := dict(islice(left, ROW)):
        yield part
