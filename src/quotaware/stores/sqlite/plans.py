"""Plans in the file: each once, by a digest of its text, since thousands of reservations hold under the same one."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from hashlib import blake2b

from ...core.steps import Plan
from .. import items
from .rows import encode

CACHED = 2048
"""Plans that the process remembers."""


class Plans:
    """The plans of this process, by their digests. Those that are in use are few, and their makers keep them: they are
    found by identity, since to compare a plan takes as long as to write it.
    """

    def __init__(self) -> None:
        self._digests: dict[int, tuple[Plan, bytes]] = {}
        self._plans: dict[bytes, Plan] = {}

    def digest(self, plan: Plan) -> bytes:
        """The digest of a plan."""
        known = self._digests.get(id(plan))
        if known is not None and known[0] is plan:
            return known[1]
        digest = blake2b(_text(plan).encode(), digest_size=12).digest()
        self._keep(digest, plan)
        return digest

    def put(self, sql: sqlite3.Connection, org: str, plan: Plan, now: int) -> bytes:
        """Has a plan in the file; answers its digest."""
        digest = self.digest(plan)
        sql.execute("INSERT OR IGNORE INTO plan VALUES (?, ?, ?, ?)", (org, digest, _text(plan), now))
        return digest

    def finder(self, sql: sqlite3.Connection, org: str) -> Callable[[bytes], Plan]:
        """Finds plans of an organization by their digests."""

        def find(digest: bytes) -> Plan:
            plan = self._plans.get(digest)
            if plan is None:
                (text,) = sql.execute(
                    "SELECT text FROM plan WHERE org = ? AND digest = ?", (org, digest)
                ).fetchone()
                plan = items.unpack_plan(json.loads(text))
                self._keep(digest, plan)
            return plan

        return find

    def _keep(self, digest: bytes, plan: Plan) -> None:
        if len(self._digests) >= CACHED:
            self._digests.clear()
            self._plans.clear()
        self._digests[id(plan)] = (plan, digest)
        self._plans[digest] = plan


def _text(plan: Plan) -> str:
    return encode(items.pack_plan(plan))
