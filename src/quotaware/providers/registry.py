"""Which request is a call, whose and in which format: by method, host and path alone.

What each provider has stands in `endpoints.py`, whose a host is in `hosts.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from . import jsontext
from .base import Route
from .endpoints import ANYWHERE, BY_MODEL, PROVIDERS, Reads
from .hosts import Home, home
from .looking_up import looked_up

NO_HOSTS: Mapping[str, str | None] = MappingProxyType({})
"""No host is decided otherwise than by the table."""

_NEEDS = {reads.format.name: (reads.needs, reads.of) for reads in ANYWHERE if reads.format}
_DEPLOYED = ("/deployments/", "/endpoints/", "/tunedmodels/")
"""What the deployment of a model follows in a URL."""
_MARKERS = ("/deployments/", "/models/", "/engines/")
"""What it, or a model, follows; the last one elsewhere the software that runs it."""
_OWN_MARKERS = {None: _MARKERS[:2], "google": ("/endpoints/", "/tunedmodels/", "/models/")}
_NAMING = re.compile("|".join({*_MARKERS, *_DEPLOYED, "/model/"}))
_VERSION = re.compile(r"(?:/extensions|/openai|/v[0-9]+)*\Z")


def find(
    method: str, host: str, path: str, hosts: Mapping[str, str | None] = NO_HOSTS, *, socket: bool = False
) -> Route | None:
    """The route of a request; None for what is neither a call nor a look-up.

    `hosts`, as `check_hosts` answers it, decides over the table. Only a POST is a call. On a known host any
    POST has a route, without a format where none reads it; elsewhere only what ends like a format's path has
    one, and `plausible` has the last word once its body is parsed. A look-up is a GET of what a known host lists
    or keeps, or of a response on any host, or a POST that cancels such a thing. A GET that becomes a WebSocket
    (`socket`) on a known host is a call that no format reads.
    """
    name = _bare(host)
    if socket:
        at = hosts[name] if name in hosts else home(name, "/")
        return None if at is None else Route(at.provider if isinstance(at, Home) else at, None, "unknown")
    asked = path.partition("?")[0]
    if method != "POST" and method.upper() != "POST":
        return _looked_up(name, path, hosts) if method.upper() == "GET" else None
    if asked.endswith("/cancel") and (look_up := _looked_up(name, asked, hosts)) is not None:
        return look_up
    path = plain(asked)
    if name in hosts:
        decided = hosts[name]
        table = _NO_CALLS if decided is None else _table(Home(decided))
    else:
        table = _table(home(name, path) or _STRANGERS)
    suffix, route = table.routed(path)
    if route is None or route.format is None or not (route.provider == "azure" or _NAMING.search(path)):
        return route
    return _named(route, name, squeezed(asked), suffix)


def _looked_up(name: str, path: str, hosts: Mapping[str, str | None]) -> Route | None:
    """The look-up at a path of a host, if it is one."""
    provider = hosts.get(name, (home(name, path) or _STRANGERS).provider)
    return None if provider is None and name in hosts else looked_up(provider, path)


def _named(route: Route, host: str, path: str, suffix: str) -> Route:
    """The route with what its URL says of the model, in the letters that it is written in."""
    lower = path.lower()
    if len(lower) != len(path):  # some letters have no small one of their own
        path = lower
    own = ("/model/",) if suffix in BY_MODEL else _OWN_MARKERS.get(route.provider, _MARKERS)
    for marker in own:
        begin, end = lower.find(marker) + len(marker), len(path) - len(suffix)
        if begin >= len(marker) and end > begin:
            named = _VERSION.sub("", f"/{path[begin:end]}").strip("/")
            return replace(route, named=named or None, deployed=marker in _DEPLOYED, host=host)
    return replace(route, host=host)


def plain(path: str) -> str:
    """A path as servers read it that are not particular: small letters, single slashes, none at the end."""
    return squeezed(path.lower())


def squeezed(path: str) -> str:
    """A path with single slashes, and none at its end."""
    path = path.rstrip("/")
    while "//" in path:
        path = path.replace("//", "/")
    return path


def strange(host: str, hosts: Mapping[str, str | None] = NO_HOSTS) -> bool:
    """Whether nothing is known of a host: there only the end of a path (`SUFFIXES`) makes a request a call."""
    name = _bare(host)
    return name not in hosts and home(name, "/") is None


def never_called(host: str, hosts: Mapping[str, str | None]) -> bool:
    """Whether the user has decided that no request to a host is a call."""
    return hosts.get(_bare(host), "") is None


def plausible(route: Route, body: Mapping[str, Any]) -> bool:
    """Whether a parsed body belongs to its route: on a host nobody knows, the path's end alone says little.

    It does where it, or the URL, names a model, and it has what the format needs beside it.
    """
    if route.provider is not None or route.format is None:
        return True
    return claims(route, body.items())


def claims(route: Route, members: Iterable[tuple[str, Any]]) -> bool:
    """The same of a body's members as they stand in it, twice perhaps, or in letters that only some servers read."""
    needs, kinds = _NEEDS[route.format.name] if route.format is not None else ((), ())
    named, has = route.named is not None, False
    for name, value in members:
        match jsontext.folded(name):
            case "model":
                named = named or (isinstance(value, str) and value != "")
            case "models":
                named = named or (isinstance(value, list) and value != [])
            case other if other in needs:
                has = has or isinstance(value, kinds)
    return named and has


def check_hosts(hosts: Mapping[str, str | None]) -> dict[str, str | None]:
    """The hosts a user decides over, as `find` takes them: name → provider, or None for never a call.

    Raises `ConfigurationError` for a provider that is not known, naming those that are.
    """
    for host, provider in hosts.items():
        if provider is not None and provider not in PROVIDERS:
            known = ", ".join(sorted(PROVIDERS))
            raise ConfigurationError("hosts", f"{host!r} is given to {provider!r}; known are None, {known}")
    return {_bare(host): provider for host, provider in hosts.items()}


class _Table(NamedTuple):
    """The routes of one home, made once: suffix, what the path holds besides, route; and that of all other paths."""

    routes: tuple[tuple[str, str, Route], ...]
    unknown: Route | None

    def routed(self, path: str) -> tuple[str, Route | None]:
        """The route of a path, and the suffix that it is known by."""
        for suffix, within, route in self.routes:
            if path.endswith(suffix) and within in path and not (route.free and "/.." in path):
                return suffix, route
        return "", self.unknown


_NO_CALLS = _Table((), None)
_STRANGERS = Home(None, alone=False)
SUFFIXES = tuple(reads.suffix for reads in ANYWHERE)
"""How the paths end that are calls on any host."""


@cache
def _table(at: Home) -> _Table:
    rows = ANYWHERE if at.provider is None else PROVIDERS[at.provider]
    routes = tuple((reads.suffix, reads.within, _route(at.provider, reads)) for reads in rows)
    return _Table(routes, Route(at.provider, None, "unknown") if at.alone else None)


def _route(provider: str | None, reads: Reads) -> Route:
    operation = reads.operation if reads.format is None else reads.format.operation
    return Route(provider, reads.format, operation, reads.free)


def _bare(host: str) -> str:
    """A host's name without its port and trailing dot, in small letters."""
    name = host.lower()
    head, _, port = name.rpartition(":")
    if port.isdigit() and (":" not in head or head.endswith("]")):
        name = head or name
    return name.removesuffix(".")
