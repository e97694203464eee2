"""Stores by URL: the scheme names who makes them. Others' stores are registered, or found by their entry points."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Callable
from importlib.metadata import EntryPoint, entry_points

from ..errors import ConfigurationError
from .memory import MemoryStore
from .protocol import Clock, Store

StoreFactory = Callable[[str, Clock], Store]
"""Makes a store from its URL and the clock (ms) to use where it has none of its own. It must not connect yet."""

ENTRY_POINTS = "quotaware.stores"
"""The entry point group of installed distributions: the scheme is the name, a `StoreFactory` what it leads to."""

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*")  # RFC 3986, 3.1; case does not matter


def _sqlite(url: str, clock: Clock) -> Store:
    from .sqlite import open_url  # noqa: PLC0415  # sqlite3 is loaded only where it is used

    return open_url(url, clock)


def _redis(url: str, clock: Clock) -> Store:
    from .redis import open_url  # noqa: PLC0415  # the library redis is loaded only where it is used

    return open_url(url, clock)


_REDIS = (
    f"{name}{kind}"
    for name in ("redis", "rediss", "valkey", "valkeys")
    for kind in ("", "+cluster", "+sentinel")
)
_FACTORIES: dict[str, StoreFactory] = {
    "memory": lambda url, clock: MemoryStore(clock),
    "sqlite": _sqlite,
    **dict.fromkeys(_REDIS, _redis),
    "unix": _redis,
}


def register_store(scheme: str, factory: StoreFactory) -> None:
    """Makes `Quota("scheme://…")` open a store of one's own. Raises `ConfigurationError` where that is no scheme."""
    if not _SCHEME.fullmatch(scheme.lower()):
        raise ConfigurationError("scheme", f"{scheme!r} is none: letters first, then letters, digits, + . -")
    _FACTORIES[scheme.lower()] = factory


def open_store(url: str, clock: Clock) -> Store:
    """The store that a URL names, not connected yet. Raises `ConfigurationError`."""
    scheme, colon, _ = url.partition(":") if isinstance(url, str) else ("", "", "")
    scheme = scheme.lower()
    factory = _FACTORIES.get(scheme) or (_installed(scheme) if colon else None)
    if factory is None or not colon:
        installed = {point.name for point in entry_points(group=ENTRY_POINTS)}
        known = ", ".join(f"{name}://" for name in sorted(installed | _FACTORIES.keys()))
        given = f"{scheme}:…" if colon else reprlib.repr(url)  # a URL may hold a password
        raise ConfigurationError("store", f"{given} is no store URL that is known here; known are {known}")
    return factory(url, clock)


def _installed(scheme: str) -> StoreFactory | None:
    """The factory that an installed distribution offers for a scheme, which is known from then on."""
    found = sorted(entry_points(group=ENTRY_POINTS, name=scheme), key=_told)
    if not found:
        return None
    if len({point.value for point in found}) > 1:
        offers = ", ".join(map(_told, found))
        raise ConfigurationError(
            "store", f"several distributions offer {scheme}://: {offers}; remove all but one"
        )
    try:
        factory: StoreFactory = found[0].load()
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ConfigurationError(
            "store", f"{_told(found[0])} for {scheme}:// cannot be loaded: {why}"
        ) from error
    if not callable(factory):
        raise ConfigurationError("store", f"{_told(found[0])} for {scheme}:// is no store factory")
    return _FACTORIES.setdefault(scheme, factory)


def _told(point: EntryPoint) -> str:
    return f"{point.value} of {point.dist.name}" if point.dist is not None else point.value
