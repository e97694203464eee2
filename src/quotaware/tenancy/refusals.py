"""Which refused attempts are written into the audit log: the first ones of each actor and organization in an hour.

An attempt that is refused costs its maker nothing, so that a flood of them must cost the organization no more than a
bounded number of rows. Each process counts for itself.
"""

from __future__ import annotations

from threading import Lock

from cachetools import TTLCache

from .. import forks
from ..stores.protocol import Clock

HOUR_MS = 3_600_000
OF_AN_ACTOR = 20
OF_AN_ORGANIZATION = 200
"""Rows in an hour."""
KNOWN = 10_000


class Refusals:
    """How many attempts were refused lately. Thread-safe and bounded."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: none yet."""
        self._lock = Lock()
        self._seen: TTLCache[tuple[str, str, int], int] = TTLCache(KNOWN, HOUR_MS, timer=self._clock)

    def worth_telling(self, org: str, actor: str) -> bool:
        """Whether one more is to be written; it counts then."""
        hour = self._clock() // HOUR_MS
        with self._lock:
            of_actor = self._seen.get((org, actor, hour), 0)
            of_org = self._seen.get((org, "", hour), 0)
            if of_actor >= OF_AN_ACTOR or of_org >= OF_AN_ORGANIZATION:
                return False
            self._seen[org, actor, hour] = of_actor + 1
            self._seen[org, "", hour] = of_org + 1
            return True
