"""Stores by URL: the scheme names who makes them."""

from __future__ import annotations

import reprlib
from collections.abc import Callable

from ..errors import ConfigurationError
from .memory import MemoryStore
from .protocol import Clock, Store

StoreFactory = Callable[[str, Clock], Store]
"""Makes a store from its URL and the clock (ms) to use where it has none of its own. It must not connect yet."""

_FACTORIES: dict[str, StoreFactory] = {"memory": lambda url, clock: MemoryStore(clock)}


def register_store(scheme: str, factory: StoreFactory) -> None:
    """Makes `Quota("scheme://…")` open a store of one's own."""
    _FACTORIES[scheme] = factory


def open_store(url: str, clock: Clock) -> Store:
    """The store that a URL names, not connected yet. Raises `ConfigurationError`."""
    scheme, colon, _ = url.partition(":") if isinstance(url, str) else ("", "", "")
    factory = _FACTORIES.get(scheme.lower())
    if factory is None or not colon:
        known = ", ".join(f"{name}://" for name in sorted(_FACTORIES))
        given = f"{scheme}:…" if colon else reprlib.repr(url)  # a URL may hold a password
        raise ConfigurationError("store", f"{given} is no store URL that is known here; known are {known}")
    return factory(url, clock)
