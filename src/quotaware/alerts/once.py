"""What is to be done once among all processes, remembered in the store for as long as it could be done again."""

from __future__ import annotations

import secrets
from collections.abc import Callable

from ..stores.protocol import Store

DOING_MS = 60_000
"""Who dies while doing it is taken to have not done it after so long."""
_DONE = "done"


class Once:
    """Blocking; raises StoreError."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def do(self, org: str, name: str, ttl: int, work: Callable[[], object]) -> bool:
        """Does a piece of work where nobody did it under this name in the last `ttl` ms; whether it did. Where whoever
        does it dies in between it is done again, so that what it puts anywhere should have an id of its own.
        """
        mine = f"doing {secrets.token_hex(8)}"
        if self._store.once(org, name, mine, DOING_MS) != mine:
            return False
        work()
        self._store.once(org, name, _DONE, ttl, expect=mine)
        return True
