"""Taking turns: work that any process may do, and that need not be done by two at once."""

from __future__ import annotations

import os
import secrets
from threading import get_ident

from .stores.protocol import Store


class Turn:
    """A piece of work of each organization that a thread takes for itself, until it lets go or `ttl` ms are over.

    It only spares work: nothing may be wrong when two do it all the same. Raises `StoreError`.
    """

    def __init__(self, store: Store, name: str, ttl: int) -> None:
        self._store = store
        self._name = name
        self._ttl = ttl
        self._token = secrets.token_hex(8)

    def take(self, org: str, ttl: int | None = None) -> bool:
        """Whether it is this thread's, from now on for `ttl` ms (None: as ever)."""
        me = self._me()
        return self._store.once(org, self._name, me, ttl or self._ttl, expect=me) == me

    def let_go(self, org: str) -> None:
        """Leaves it to others, where it was this thread's."""
        self._store.once(org, self._name, "", 1, expect=self._me())

    def _me(self) -> str:
        return f"{self._token}-{os.getpid()}-{get_ident()}"  # a fork has its parent's token
