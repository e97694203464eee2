"""Whose word is taken for a client's address: who believes everybody lets every address be forged."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from ...core.addresses import Block
from .findings import Evidence, Finding, NotLooked

MANY = 2**24
"""IPv4 addresses in one block beyond which it is no proxy's network any more; private ones have so many."""
WIDE = 16
"""The length in bits of an IPv6 prefix up to which one is not."""
_OWN = (IPv6Network("fc00::/7"), IPv6Network("fe80::/10"))
"""Nobody from outside has these."""
_FORGED = "who sends X-Forwarded-For chooses an address, and so gets past the addresses that a key is tied to"


def trusted(evidence: Evidence) -> Iterator[Finding]:
    """Quota's trusted_proxies, a ProxyHeadersMiddleware of the app, and what servers are told in the environment."""
    for where in _servers(evidence.environ):
        yield Finding(
            "error",
            f"{where} is '*': the server believes everybody who says for whom a request comes; {_FORGED}",
            "name the addresses of your proxies there",
        )
    if evidence.layers is None:
        if not any(map(evidence.environ.get, _VARIABLES)):
            raise NotLooked("no app was given (MODULE:APP), and nothing is said in the environment")
        return
    for layer in evidence.layers:
        hosts = layer.options.get("trusted_hosts", "")
        if layer.named("proxyheaders") and _everybody(hosts):
            yield Finding(
                "error",
                f"{layer.name}(trusted_hosts='*') believes everybody who says for whom a request comes; {_FORGED}",
                "name the addresses of your proxies as trusted_hosts",
            )
    quota = evidence.quota
    for block in quota.edge.proxies.blocks if quota is not None else ():
        if _wide(block):
            yield Finding(
                "error",
                f"trusted_proxies has {block}, which is anybody; {_FORGED}",
                "name the addresses or networks of your proxies alone",
            )


_VARIABLES = ("FORWARDED_ALLOW_IPS", "UVICORN_FORWARDED_ALLOW_IPS", "GUNICORN_CMD_ARGS")
"""Read by uvicorn and gunicorn."""


def _wide(block: Block) -> bool:
    if isinstance(block, IPv4Network):
        return block.num_addresses > MANY
    return block.prefixlen <= WIDE and not any(block.subnet_of(own) for own in _OWN)


def _servers(environ: Mapping[str, str]) -> Iterator[str]:
    """Where a server is told to believe everybody."""
    *plain, arguments = _VARIABLES
    yield from (name for name in plain if _everybody(environ.get(name, "")))
    words = _words(environ.get(arguments, ""))
    for at, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name == "--forwarded-allow-ips" and _everybody(
            value if equals else "".join(words[at + 1 : at + 2])
        ):
            yield f"--forwarded-allow-ips in {arguments}"


def _everybody(hosts: Any) -> bool:
    entries = hosts.split(",") if isinstance(hosts, str) else hosts
    return any(isinstance(entry, str) and entry.strip() == "*" for entry in entries or ())


def _words(arguments: str) -> list[str]:
    try:
        return shlex.split(arguments)
    except ValueError:
        return arguments.split()
