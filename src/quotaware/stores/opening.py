"""Stores by URL: the scheme names who makes them."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import urlsplit

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
    scheme = urlsplit(url).scheme if isinstance(url, str) else ""
    factory = _FACTORIES.get(scheme)
    if factory is None:
        known = ", ".join(f"{name}://" for name in sorted(_FACTORIES))
        raise ConfigurationError("store", f"{url!r} is no store URL that is known here; known are {known}")
    return factory(url, clock)
