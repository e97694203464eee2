"""What a Redis URL says: which servers, who asks, and how the store is to behave."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote

from ...errors import ConfigurationError

Address = tuple[str, int]
"""Host and port; of a socket file, its path and 0."""

RECORDS_DAYS = 7
CONNECTIONS = 16
_PREFIX = re.compile(r"[A-Za-z0-9_.:-]{1,64}")
_HOST = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^\[\]:@/\s]+)?(?::(?P<port>[0-9]{1,5}))?")
_ESCAPE = "in a user's name or password write @ as %40, / as %2F, ? as %3F, : as %3A"
_KINDS: dict[str, Literal["single", "cluster", "sentinel", "socket"]] = {
    "": "single",
    "cluster": "cluster",
    "sentinel": "sentinel",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a store is and how it is used.

    hosts         servers of the cluster, sentinels, or the one server
    service       the name that the sentinels know the primary by
    user, password, sentinel_user, sentinel_password   never in a text
    ca, cert, key files for TLS; where `ca` is not given, the system's authorities count
    prefix        what all keys begin with
    records_days  how long records are kept once they are in the sums; None for ever
    evict         whether a server that evicts keys is taken
    wait          replicas that must have a batch before it is answered
    connections   at most so many a server
    """

    kind: Literal["single", "cluster", "sentinel", "socket"]
    hosts: tuple[Address, ...]
    tls: bool = False
    db: int = 0
    service: str = ""
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    sentinel_user: str | None = field(default=None, repr=False)
    sentinel_password: str | None = field(default=None, repr=False)
    ca: str | None = None
    cert: str | None = None
    key: str | None = field(default=None, repr=False)
    prefix: str = "qw"
    records_days: int | None = RECORDS_DAYS
    evict: bool = False
    wait: int = 0
    connections: int = CONNECTIONS

    @property
    def where(self) -> tuple[object, ...]:
        """What is the same for every spelling of one place, as far as a URL tells."""
        return self.kind, tuple(sorted(self.hosts)), self.service, self.db, self.prefix

    def __str__(self) -> str:
        return ",".join(host if not port else f"{host}:{port}" for host, port in self.hosts)


def parse(url: str) -> Place:
    """The place that a URL names: `redis://user:password@host:6379/0?prefix=qw`, `rediss://…` (TLS),
    `redis+cluster://host:port,host:port`, `redis+sentinel://host:port,host:port/service/0`, `unix:///path/to/socket`;
    `valkey` for `redis` is the same. Raises `ConfigurationError`, without the URL in it.
    """
    scheme, _, rest = url.partition("://")
    scheme = scheme.lower().replace("valkey", "redis")
    place_text, _, query = rest.partition("?")
    if scheme == "unix":
        return _options(Place("socket", ((_socket(place_text), 0),)), query)
    name, _, kind = scheme.partition("+")
    if name not in ("redis", "rediss") or kind not in _KINDS or "://" not in url:
        raise ConfigurationError(
            "store", "a Redis store is redis://host:port/db, or rediss, redis+cluster, redis+sentinel"
        )
    authority, _, path = place_text.partition("/")
    who, _, hosts = authority.rpartition("@")
    if "@" in who + path:
        raise ConfigurationError("store", _ESCAPE)
    user, colon, password = who.partition(":")
    found = Place(
        _KINDS[kind],
        _hosts(hosts, 26379 if kind == "sentinel" else 6379),
        name == "rediss",
        user=unquote(user) or None,
        password=unquote(password) if colon else None,
    )
    service = ""
    if found.kind == "sentinel":
        service, _, path = path.partition("/")
        if not service:
            raise ConfigurationError(
                "store", "a sentinel's URL names the service: redis+sentinel://host:26379/<service>/0"
            )
    return _options(replace(found, service=unquote(service), db=_db(path)), query)


def _hosts(text: str, port: int) -> tuple[Address, ...]:
    found = []
    for one in text.split(","):
        matched = _HOST.fullmatch(one)
        if matched is None or not 0 < int(matched["port"] or port) < 65536:
            raise ConfigurationError("store", f"a host of the URL is not host:port; {_ESCAPE}")
        found.append(((matched["host"] or "localhost").strip("[]"), int(matched["port"] or port)))
    return tuple(found)


def _socket(path: str) -> str:
    if not path.startswith("/"):
        raise ConfigurationError("store", "a socket's URL is unix:///path/to/socket?db=0")
    return unquote(path)


def _db(path: str) -> int:
    text = path.strip("/")
    if text and not (text.isascii() and text.isdigit()):
        raise ConfigurationError("store", "what stands behind the host is no database number")
    return int(text or 0)


def _count(name: str, least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise ConfigurationError(name, f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return read


def _text(name: str) -> Callable[[str], str]:
    def read(text: str) -> str:
        if not text:
            raise ConfigurationError(name, "it is empty; give a value or leave it out")
        return text

    return read


def _prefix(text: str) -> str:
    if not _PREFIX.fullmatch(text):
        raise ConfigurationError("prefix", f"{text!r} is not 1 to 64 letters, digits, and _ . : -")
    return text


def _evict(text: str) -> bool:
    if text != "ok":
        raise ConfigurationError("evict", f'{text!r} is not "ok", its only value')
    return True


def _days(text: str) -> int | None:
    return None if text == "none" else _count("records_days", 1, 100_000)(text)


_OPTIONS: dict[str, Callable[[str], Any]] = {
    "db": _count("db", 0, 1 << 20),
    "prefix": _prefix,
    "records_days": _days,
    "evict": _evict,
    "wait": _count("wait", 0, 100),
    "connections": _count("connections", 1, 10_000),
    "ca": _text("ca"),
    "cert": _text("cert"),
    "key": _text("key"),
    "sentinel_user": _text("sentinel_user"),
    "sentinel_password": _text("sentinel_password"),
}


def _options(place: Place, query: str) -> Place:
    given: dict[str, Any] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        read = _OPTIONS.get(name)
        if read is None:
            known = ", ".join(sorted(_OPTIONS))
            told = (
                repr(name) if name.isidentifier() else "what stands behind the ?"
            )  # it may be of a password
            raise ConfigurationError("store", f"{told} is no option of a Redis store; options are {known}")
        given[name] = read(value)
    found = replace(place, **given)
    if found.kind == "cluster" and found.db:
        raise ConfigurationError("db", "a cluster has database 0 only; tell stores apart by prefix=")
    if (found.ca or found.cert or found.key) and not found.tls:
        raise ConfigurationError("ca", "ca, cert and key are for TLS: write rediss:// for redis://")
    if found.kind != "sentinel" and (found.sentinel_user or found.sentinel_password):
        raise ConfigurationError("sentinel_password", "it is for redis+sentinel://")
    return found
