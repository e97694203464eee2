"""The client's address behind the proxies of the host, which are the only ones whose word is taken for it.

`X-Forwarded-For`, and `Forwarded` (RFC 7239), are read only where the peer is a trusted proxy, and from the right: each
proxy adds at the end whom it has spoken to, so the first who is not trusted is the client, and whatever stands left of
it the client may have written. What cannot be read there, and two headers that differ, are no address at all: a key
that is tied to addresses is then refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ..core.addresses import Address, Block, address_of, block_of
from ..errors import ConfigurationError

UNIX = "unix"
"""In a list of trusted proxies: whoever comes over a Unix socket."""

LONGEST = 8192
"""Characters of a header line that are read; a longer one is no work for an event loop, and no proxy's."""

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105  # RFC 9110's word
_PAIR = re.compile(rf'[ \t]*(?:({_TOKEN})=({_TOKEN}|"(?:[^"\\]|\\.)*")[ \t]*)?(;|,|\Z)')
"""A pair and what ends it; a pair may be missing."""
_PORT = re.compile(r"(?::[._0-9A-Za-z-]+)?")


class Proxies:
    """Whom the host trusts to say who a client is: addresses, CIDR blocks, `unix`.

    Raises `ConfigurationError`, naming `trusted_proxies`.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        if isinstance(trusted, str) or not isinstance(trusted, Iterable):
            raise ConfigurationError("trusted_proxies", "is a list, such as ['10.0.0.0/8']")
        entries = tuple(trusted)
        self._unix = UNIX in entries
        self.blocks = tuple(_block(entry) for entry in entries if entry != UNIX)

    def client(self, scope: Mapping[str, Any]) -> Address | None:
        """The client's address; None where there is none, or none that can be believed."""
        host = (scope.get("client") or ("",))[0]
        peer = address_of(host)
        if not (self._unix if host == "" else self._trusts(peer)):
            return peer
        headers = scope.get("headers", ())
        found = [
            self._nearest(lines, hops)
            for name, hops in ((b"x-forwarded-for", _listed), (b"forwarded", _forwarded))
            if (lines := [value.decode("latin-1") for key, value in headers if key.lower() == name])
        ]
        if not found:
            return peer
        return found[0] if all(each == found[0] for each in found) else None

    def _trusts(self, address: Address | None) -> bool:
        return address is not None and any(address in block for block in self.blocks)

    def _nearest(self, lines: list[str], hops: Callable[[str], list[str]]) -> Address | None:
        """The first from the right who is not trusted; the last where all are."""
        hop = None
        for line in reversed(lines):
            for text in reversed(hops(line) if len(line) <= LONGEST else [""]):
                hop = _address(text)
                if not self._trusts(hop):
                    return hop
        return hop


def _block(entry: object) -> Block:
    try:
        return block_of(str(entry))
    except ValueError as error:
        raise ConfigurationError(
            "trusted_proxies", f"holds IP addresses, CIDR blocks and {UNIX!r}: {error}"
        ) from None


def _listed(line: str) -> list[str]:
    """The hops of one `X-Forwarded-For`."""
    return [hop for each in line.split(",") if (hop := each.strip(" \t"))]


def _forwarded(line: str) -> list[str]:
    """Whom the elements of one `Forwarded` are for; of a line that cannot be read, nobody."""
    hops: list[str] = []
    pairs: dict[str, str] = {}
    at = 0
    while at < len(line):
        found = _PAIR.match(line, at)
        if found is None or (found[1] or "").lower() in pairs:
            return [""]
        at = found.end()
        if found[1]:
            pairs[found[1].lower()] = found[2]
        if pairs and found[3] != ";":
            hops.append(_unquoted(pairs.get("for", "")))
            pairs = {}
    return [*hops, _unquoted(pairs.get("for", ""))] if pairs else hops


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1]) if text.startswith('"') else text


def _address(hop: str) -> Address | None:
    """`192.0.2.1`, `192.0.2.1:80`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:80`; no other is an address."""
    if hop.startswith("["):
        host, bracket, port = hop[1:].partition("]")
        host = host if bracket and ":" in host else ""
    elif hop.count(":") == 1:
        host, _, number = hop.partition(":")
        port = f":{number}"
    else:
        host, port = hop, ""
    return address_of(host) if _PORT.fullmatch(port) else None
