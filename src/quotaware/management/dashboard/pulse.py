"""Where all limits of an organization stand right now: looked at once for all who watch it in this process."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
MOST_KEYS = 200
"""Keys that are."""
KINDS: tuple[Kind, ...] = ("organization", "team", "project")
Looked = tuple[Node, tuple[Figures, ...]]
"""A node with its limits."""


@dataclass(frozen=True, slots=True)
class Standings:
    """One look: nodes with their limits, and a `mark` that is another as soon as any figure is, or another call has
    begun or ended.

    keys  those that are looked at
    cut   whether there are more teams or projects than are looked at
    """

    nodes: Mapping[str, Looked]
    keys: Mapping[str, Looked]
    mark: str
    cut: bool = False


@dataclass(slots=True)
class _Kept:
    """The newest look at an organization, as of `at`; its first keys as of the revision that they were read at."""

    lock: Lock = field(default_factory=Lock)
    at: float = 0.0
    found: Standings | None = None
    rev: int = -1
    keys: list[Node] = field(default_factory=list)


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
        self._orgs: LRUCache[str, _Kept] = LRUCache(100)

    def of(self, org: str, fresh: float = FRESH_S) -> Standings:
        """Where an organization stands, as of at most `fresh` seconds ago."""
        with self._lock:
            kept = self._orgs.setdefault(org, _Kept())
        asked = self._timer()
        with kept.lock:
            if kept.found is None or kept.at < asked - fresh:
                kept.at = self._timer()
                kept.found = self._look(org, kept)
            return kept.found

    def _look(self, org: str, kept: _Kept) -> Standings:
        found = [self._tenancy.list(org, kind, limit=MOST + 1) for kind in KINDS]
        nodes = [node for each in found for node in each[:MOST]]
        keys = self._keys(org, kept)
        wanted = [*nodes, *(key for key in keys if key.limits)]
        figures = self._tenancy.figures_of(org, [node.id for node in wanted])
        told, of_keys = (
            {node.id: (node, figures.get(node.id, ())) for node in each} for each in (nodes, keys)
        )
        last = [position for position, _ in self._store.records(org, 0, FOREVER_MS, "", 1, True)]
        calls = sorted(id for id, _ in self._store.under_way(org, OPEN))
        seen = [
            (node.id, node.rev, node.stopped, figures)
            for node, figures in (*told.values(), *of_keys.values())
        ]
        mark = hashlib.sha256(repr((seen, last, calls)).encode()).hexdigest()[:16]
        return Standings(told, of_keys, mark, any(len(each) > MOST for each in found))

    def _keys(self, org: str, kept: _Kept) -> list[Node]:
        rev, _ = self._store.read(org, ())
        if kept.rev != rev:
            kept.keys = [node for node in self._tenancy.list(org, "key", limit=MOST_KEYS) if not node.revoked]
            kept.rev = rev
        return kept.keys
