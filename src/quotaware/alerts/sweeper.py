"""Looks for what no call tells of: budgets that are going to be passed, and keys that end soon.

One process an organization does it, every `SWEEP_S`. The tree is read whole only where it changed; between changes it
is known which limits and keys there are to look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from ..core.alerts import Alert
from ..core.steps import Event
from ..errors import NotFound
from ..stores.protocol import Clock, Store
from ..tenancy.directory import Directory
from ..tenancy.documents import from_doc
from ..tenancy.nodes import KINDS, Node
from ..tenancy.stops import carried_over
from ..turns import Turn
from ..usage import UsageLog
from .due import Due
from .once import Once
from .paces import Paces

SWEEP_S = 300.0
PAGE = 1000
LOOKED_AT = 10_000
"""Limits and keys of one organization that are looked at, the first by id of each."""
ORGANIZATIONS = 1000
"""Organizations of which that is remembered."""
DAY_MS = 86_400_000


class _Known(NamedTuple):
    """What there is to look at in an organization, as of a revision."""

    rev: int
    forecasts: tuple[str, ...]
    keys: tuple[tuple[str, int, int], ...]  # id, created_at, expires_at
    expiring: bool


class Sweeper:
    """Blocking; for one thread at a time. Raises StoreError."""

    def __init__(self, store: Store, directory: Directory, tenancy: Any, log: UsageLog, clock: Clock) -> None:
        self._store = store
        self._log = log
        self._directory = directory
        self._tenancy = tenancy
        self._clock = clock
        self._once = Once(store)
        self._turn = Turn(store, "alerts.sweep", int(SWEEP_S * 1000) - 1000)
        self._known: dict[str, _Known] = {}

    def sweep(self, org: str) -> bool:
        """Puts what became due into the outbox; whether it was this process's turn."""
        if not self._turn.take(org):
            return False
        known = self._look(org)
        now = self._clock()
        paces = Paces(self._log, org, now)
        for id in known.forecasts:
            self._forecast(org, id, paces)
        for key, created, expires in known.keys:
            if now < expires:
                self._expiring(org, key, created, expires, now)
        return True

    def _look(self, org: str) -> _Known:
        known = self._known.get(org)
        rev, _ = self._store.read(org, ())
        if known is not None and known.rev == rev:
            return known
        forecasts: list[str] = []
        keys: list[tuple[str, int, int]] = []
        expiring = False
        for node in self._nodes(org):
            kinds = {alert.kind for alert in node.alerts}
            expiring |= "expires" in kinds
            if "forecast" in kinds and len(forecasts) < LOOKED_AT:
                forecasts.append(node.id)
            if node.kind == "key" and node.expires_at and not node.revoked and len(keys) < LOOKED_AT:
                keys.append((node.id, node.created_at, node.expires_at))
        found = _Known(rev, tuple(forecasts), tuple(keys) if expiring else (), expiring)
        self._known.pop(org, None)
        self._known[org] = found
        while len(self._known) > ORGANIZATIONS:
            del self._known[next(iter(self._known))]
        return found

    def _nodes(self, org: str) -> Iterator[Node]:
        for kind in KINDS:
            after = ""
            while page := self._store.children(org, kind, "", None, after, PAGE):
                yield from map(from_doc, page)
                after = page[-1].id

    def _forecast(self, org: str, id: str, paces: Paces) -> None:
        try:
            node, figures = self._tenancy.figures(org, id)
            path = self._directory.load(org, id)
        except NotFound:
            return
        now, zone = self._clock(), path.zone
        for found in figures:
            window = found.limit.window
            if not found.used or window is None or window.kind != "calendar":
                continue
            since, until = window.bounds(now, zone)
            will = found.used + paces.of(node, found.limit, (since, until)).over(until - now)
            carried = 0
            if found.limit.carryover:
                carried = carried_over(self._store, path, found.limit.shape, now)
            cap = found.amount + carried
            for alert in node.alerts:
                due_at = alert.at(found.amount, carried)
                if alert.kind == "forecast" and alert.bears_on(found.limit) and will >= due_at:
                    shape = found.limit.shape
                    due = Due("forecast", alert.action, id, shape, alert.level, cap, will, since=since)
                    self._put(org, due, f"{since}|{found.amount}", now, until)

    def _expiring(self, org: str, key: str, created: int, expires: int, now: int) -> None:
        try:
            path = self._directory.load(org, key)
        except NotFound:
            return
        for alert in _expiry_alerts(path.nodes):
            before = (alert.days or 0) * DAY_MS
            if expires - before <= now and expires - created > before:
                due = Due("expires", alert.action, key, until=expires)
                self._put(org, due, f"{expires}|{alert.days}", now, expires)

    def _put(self, org: str, due: Due, when: str, now: int, until: int) -> None:
        id = f"{due.kind}|{due.limit}|{when}|{due.action}|{due.level}"
        event: Event = due.event(id, now)
        self._once.do(
            org, f"alerts.{id}", until - now + DAY_MS, lambda: self._store.outbox(org, put=(event,))
        )


def _expiry_alerts(nodes: Sequence[Node]) -> list[Alert]:
    """Those on a key and on all above it."""
    found = (alert for node in nodes for alert in node.alerts if alert.kind == "expires")
    return list(dict.fromkeys(found))
