"""Where all limits of an organization stand right now: looked at once for all who watch it in this process."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock

from cachetools import LRUCache

from ...core.totals import FOREVER_MS
from ...stores.protocol import Store
from ...tenancy.keys import Kind
from ...tenancy.nodes import Node
from ...tenancy.service import Tenancy
from ...tenancy.standing import Figures
from ...usage import OPEN

FRESH_S = 1.0
"""For so long one look serves everybody."""
MOST = 500
"""Nodes of a kind that are looked at."""
KINDS: tuple[Kind, ...] = ("organization", "team", "project")


@dataclass(frozen=True, slots=True)
class Standings:
    """One look: nodes with their limits, and a `mark` that is another as soon as any figure is, or another call has
    begun or ended.

    cut   whether there are more nodes than are looked at
    """

    nodes: Mapping[str, tuple[Node, tuple[Figures, ...]]]
    mark: str
    cut: bool = False


class Pulse:
    """Looks for many at once. Blocking, thread-safe; raises `StoreError`.

    tenancy  acting for the host: whoever shows what is found looks first at who may see it
    store    where calls are
    """

    def __init__(self, tenancy: Tenancy, store: Store, timer: Callable[[], float] = time.monotonic) -> None:
        self._tenancy = tenancy
        self._store = store
        self._timer = timer
        self._lock = Lock()
        self._orgs: LRUCache[str, tuple[Lock, list[tuple[float, Standings]]]] = LRUCache(100)

    def of(self, org: str, fresh: float = FRESH_S) -> Standings:
        """Where an organization stands, as of at most `fresh` seconds ago."""
        with self._lock:
            lock, found = self._orgs.setdefault(org, (Lock(), []))
        asked = self._timer()
        with lock:
            if not found or found[0][0] < asked - fresh:
                began = self._timer()
                found[:] = [(began, self._look(org))]
            return found[0][1]

    def _look(self, org: str) -> Standings:
        found = [self._tenancy.list(org, kind, limit=MOST + 1) for kind in KINDS]
        nodes = [node for each in found for node in each[:MOST]]
        figures = self._tenancy.figures_of(org, [node.id for node in nodes])
        told = {node.id: (node, figures.get(node.id, ())) for node in nodes}
        last = [position for position, _ in self._store.records(org, 0, FOREVER_MS, "", 1, True)]
        calls = sorted(id for id, _ in self._store.under_way(org, OPEN))
        mark = hashlib.sha256(repr((told, last, calls)).encode()).hexdigest()[:16]
        return Standings(told, mark, any(len(each) > MOST for each in found))
