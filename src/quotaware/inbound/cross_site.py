"""Whether another web site may be behind a request that the browser signed with the host's cookie.

By Fetch Metadata (`Sec-Fetch-Site`, which browsers send to https and localhost), else by `Origin` against `Host`. A
request that only reads is let pass, since its answer stays unread there; so is one that carries a token in a header and
no cookie, which no other site can make the browser add.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .credentials import tokens

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_OWN = frozenset({b"same-origin", b"none"})


def cross_site(scope: Mapping[str, Any]) -> bool:
    """Whether to refuse it, where who calls was told by the host's own login."""
    headers = scope.get("headers", ())
    if scope.get("type") == "http" and scope.get("method") in _SAFE:
        return False
    if tokens(headers) and not _values(headers, b"cookie"):
        return False
    if sites := _values(headers, b"sec-fetch-site"):
        return not _OWN.issuperset(sites)
    origins = _values(headers, b"origin")
    hosts = _values(headers, b"host")
    return any(len(hosts) != 1 or origin.partition(b"://")[2] != hosts[0] for origin in origins)


def _values(headers: Any, name: bytes) -> list[bytes]:
    return [value.strip().lower() for key, value in headers if key.lower() == name]
