"""Where webhooks may go: a URL that others give must not make this process talk to what only it can reach.

A target is https on a usual port, named without tricks (user names, numbers in other bases, control characters), and
all addresses that its name has at the moment of sending are public; the connection goes to one of these, so that a name
that answers differently a moment later leads nowhere else. What the host allows (`Alerts(allow=…)`) may be private,
plain http, and on any port.

Sources: WHATWG URL Standard, 3.5 (a host that ends in a number is an IPv4 address); RFC 6890 and the IANA registries of
special addresses, as `ipaddress` has them; RFC 6052, 3056 and 4380 (IPv4 addresses within IPv6 ones).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from typing import NamedTuple
from urllib.parse import urlsplit

from ..errors import ConfigurationError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

PORTS = frozenset({443, 8443})
MAX_URL = 2000
_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)(?:\.(?!-)[a-z0-9_-]{1,63}(?<!-))*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_INNER = (".localhost", ".local", ".internal", ".intranet", ".lan", ".home.arpa", ".corp", ".home")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_SPECIAL = tuple(
    map(
        ipaddress.ip_network,
        ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16", "64:ff9b:1::/48", "3fff::/20", "5f00::/16"),
    )
)
"""Special blocks that `ipaddress` of some Python versions takes for public, and the address at which Azure's machines
reach what only they may reach.
"""


class Target(NamedTuple):
    """A URL that may be sent to, taken apart."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port, as the header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = 443 if self.scheme == "https" else 80
        return host if self.port == usual else f"{host}:{self.port}"


class Refused(ConfigurationError):
    """A target that nothing is sent to."""


class Allowed:
    """What the host lets private targets be: host names, addresses and CIDR blocks. Raises ConfigurationError."""

    def __init__(self, allow: Iterable[str] = ()) -> None:
        if isinstance(allow, str) or not isinstance(allow, Iterable):
            raise ConfigurationError("allow", "is a list of host names, addresses and CIDR blocks")
        self._names: set[str] = set()
        self._networks: list[Network] = []
        for each in allow:
            if not isinstance(each, str) or not each:
                raise ConfigurationError("allow", "holds host names, addresses and CIDR blocks")
            try:
                self._networks.append(ipaddress.ip_network(each, strict=False))
            except ValueError:
                if not _HOST.fullmatch(each.lower()):
                    raise ConfigurationError(
                        "allow", f"{each[:100]!r} is no host, address or block"
                    ) from None
                self._names.add(each.lower().rstrip("."))

    def name(self, host: str) -> bool:
        """Whether a host is allowed as it is called."""
        try:
            return self.address(ipaddress.ip_address(host))
        except ValueError:
            return host.rstrip(".") in self._names

    def address(self, address: Address) -> bool:
        """Whether an address is allowed."""
        return any(address in network for network in self._networks if network.version == address.version)


def target_of(url: str, allowed: Allowed, field: str = "url") -> Target:
    """A URL taken apart, if it may be sent to as far as its text tells. Raises `Refused` naming the field."""

    def refused(why: str) -> Refused:
        return Refused(field, why)

    if not isinstance(url, str) or not 0 < len(url) <= MAX_URL:
        raise refused(f"is a URL of at most {MAX_URL} characters")
    if not url.isascii() or any(char <= " " or char in '\\\x7f"<>^`{|}' for char in url):
        raise refused("has characters that no URL has; a name in other letters is written in its xn-- form")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise refused("is no URL") from None
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise refused("is an https URL")
    if "@" in parts.netloc:
        raise refused("has no user and no password in it")
    host = parts.hostname
    known = allowed.name(host)
    if parts.scheme == "http" and not known:
        raise refused("is an https URL; Quota(alerts=Alerts(allow=[…])) allows plain http to a host")
    port = port if port is not None else 443 if parts.scheme == "https" else 80
    if port not in PORTS and not known:
        raise refused(f"is on port {' or '.join(map(str, sorted(PORTS)))}, not {port}")
    if problem := _problem_of(host, known):
        raise refused(problem)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, host, port, path)


def _problem_of(host: str, known: bool) -> str | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        name = host.rstrip(".")
        if _NUMBER.fullmatch(name.rpartition(".")[2]) or not _HOST.fullmatch(host):
            return "names its host by name, or by an address in its usual form"
        private = "." not in name or f".{name}".endswith(_INNER)
        return "names a host that is not public" if private and not known else None
    return None if known or is_public(address) else "names an address that is not public"


def is_public(address: Address) -> bool:
    """Whether anybody on the Internet can have this address; of one that carries another, whether both may."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    if any(address in network for network in _SPECIAL):
        return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def resolve(target: Target, allowed: Allowed) -> list[str]:
    """The addresses of a target, looked up once; all of them may be sent to. Raises `Refused`, OSError."""
    found = socket.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    addresses = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    if not addresses:
        raise OSError("its name has no address")
    known = allowed.name(target.host)
    for text in addresses:
        address = ipaddress.ip_address(text.partition("%")[0])
        if not (known or is_public(address) or allowed.address(address)):
            raise Refused("url", "names a host with an address that is not public")
    return addresses
