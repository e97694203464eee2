"""`sqlite:///relative/path?option=value` as a store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qsl, unquote

from ...errors import ConfigurationError
from ..protocol import Clock
from .store import SQLiteStore


def open_url(url: str, clock: Clock) -> SQLiteStore:
    """The store of `sqlite:///relative/path` or `sqlite:////absolute/path`, not connected yet.

    Options: durability=commit|relaxed · records_days=<days>|none · network=ok. Raises `ConfigurationError`.
    """
    place, _, query = url.partition("?")
    scheme_less = place.partition(":")[2]
    if not scheme_less.startswith("///") or len(scheme_less) == 3:
        raise ConfigurationError(
            "store", "an SQLite store is sqlite:///relative/path or sqlite:////absolute/path"
        )
    options: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        read = _OPTIONS.get(name)
        if read is None:
            known = ", ".join(sorted(_OPTIONS))
            raise ConfigurationError(
                "store", f"{name!r} is no option of an SQLite store; options are {known}"
            )
        options |= read(value)
    return SQLiteStore(unquote(scheme_less[3:]), clock, **options)


def _records_days(value: str) -> dict[str, Any]:
    if value == "none":
        return {"records_days": None}
    return {"records_days": int(value) if value.isascii() and value.isdigit() else value}


def _network(value: str) -> dict[str, Any]:
    if value != "ok":
        raise ConfigurationError("network", f'{value!r} is not "ok", its only value')
    return {"network_ok": True}


_OPTIONS: Mapping[str, Callable[[str], dict[str, Any]]] = {
    "durability": lambda value: {"durability": value},
    "records_days": _records_days,
    "network": _network,
}
