"""Denials that somebody wants to be told of: seen where a call is refused, told beside, once a limit and window.

A refused call only looks whether an alert is on the limit, and whether it was told already; a flood costs no more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from threading import Lock
from typing import NamedTuple

from .. import forks
from ..core.alerts import Alert
from ..core.steps import Over
from ..stores.protocol import Clock, Store
from ..tenancy.nodes import Path
from ..tenancy.plans import Policy, told_when_denied
from .due import Due
from .once import Once

KNOWN = 10_000
"""Limits that are known to have been told of, those that were last."""
HOUR_MS, LIFE_MS = 3_600_000, 30 * 86_400_000
"""How long a limit on calls at once is told of once, and one for the whole life."""


class Denied(NamedTuple):
    """One denial that is to be told: of which alert, in which organization, and once until when (ms); `key`: what this
    process knows it by.
    """

    org: str
    due: Due
    at: int
    until: int
    key: tuple[str, str, int]

    @property
    def id(self) -> str:
        """Of its event; the same for all denials by the limit in this window."""
        due = self.due
        begin = due.since or self.until
        return f"denied|{due.limit}|{begin}|{due.cap}|{due.action}|{due.level}"


class Denials:
    """What this process has seen. Thread-safe; `note` never waits and never raises."""

    def __init__(self, store: Store, clock: Clock, tell: Callable[[Denied], None]) -> None:
        self._store = store
        self._clock = clock
        self._tell = tell
        self._once = Once(store)
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: nothing was told."""
        self._lock = Lock()
        self._told: OrderedDict[tuple[str, str, int], int] = OrderedDict()

    def note(self, path: Path, policy: Policy, over: Iterable[Over]) -> None:
        """A call was refused by these limits."""
        for entry in over:
            if not entry.hard:
                continue
            limit, node = policy.meaning(entry)
            if not node.alerts and not path.organization.alert_threshold:
                continue
            what = entry.counter if limit.per is None else f"{node.id}/{limit.shape}"
            key, now = (path.org, what, entry.cap), self._clock()
            if self._told.get(key, 0) > now:
                continue
            alerts = told_when_denied(path, node, limit)
            if not alerts:
                continue
            shape, since, until = limit.shape, 0, now + (limit.window.length_ms if limit.window else HOUR_MS)
            if limit.window is not None and limit.window.kind != "rolling":
                since, until = limit.window.bounds(now, path.zone)
                until = until or now + LIFE_MS
            if self._is_new(key, now, until):
                for alert in alerts:
                    due = _due(alert, node.id, shape, entry, since, until)
                    self._tell(Denied(path.org, due, now, until, key))

    def _is_new(self, key: tuple[str, str, int], now: int, until: int) -> bool:
        with self._lock:
            if self._told.get(key, 0) > now:
                return False
            self._told[key] = until
            self._told.move_to_end(key)
            while len(self._told) > KNOWN:
                self._told.popitem(last=False)
            return True

    def put(self, denied: Denied) -> None:
        """Puts one into the outbox, where no other process did. Blocks; raises StoreError."""
        due = denied.due
        name = f"alerts.denied|{due.limit}|{due.since}|{due.cap}|{due.action}|{due.level}"
        event = due.event(denied.id, denied.at)
        ttl = max(1, denied.until - denied.at)
        self._once.do(denied.org, name, ttl, lambda: self._store.outbox(denied.org, put=(event,)))

    def forget(self, denied: Denied) -> None:
        """It could not be put: the next one is told."""
        with self._lock:
            self._told.pop(denied.key, None)


def _due(alert: Alert, node: str, shape: str, over: Over, since: int, until: int) -> Due:
    level = alert.level if alert.kind == "used" else ""
    used = over.used if level or not over.waits else over.used + over.held
    return Due("denied", alert.action, node, shape, level, over.cap, used, over.asked, since, until)
