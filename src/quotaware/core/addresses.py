"""IP addresses and CIDR blocks in one form each, so that two ways to write an address never make two addresses.

An IPv4-mapped IPv6 address (`::ffff:10.0.0.1`, which a dual-stack socket shows) is the IPv4 one, in a list as in a
client. A zone (`fe80::1%eth0`) says which wire of this machine, and is dropped. What `inet_aton` alone would read
(`010.0.0.1`, `10.1`, `0x0a000001`) is no address here. 6to4 (`2002::/16`) and NAT64 (`64:ff9b::/96`) stay what they
are: who writes the IPv4 address into them is not known.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

Address = IPv4Address | IPv6Address
Block = IPv4Network | IPv6Network

_LONGEST = 100
"""Characters of an address with its zone; the longest without one has 45."""
_MAPPED = IPv6Network("::ffff:0:0/96")
_BLOCK = re.compile(r"[^/]+(?:/[0-9]{1,3})?")


def address_of(text: str) -> Address | None:
    """The address in its one form; None where the text is none."""
    if len(text) > _LONGEST:
        return None
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def block_of(text: str) -> Block:
    """An address as a block of one, or a CIDR block, in its one form. Raises `ValueError` that says what is wrong."""
    if len(text) > _LONGEST or not _BLOCK.fullmatch(text):
        raise ValueError(f"{text[:_LONGEST]!r} is neither an address nor a block such as 10.0.0.0/8")
    found = ip_network(re.sub(r"%[^/]*", "", text))
    if isinstance(found, IPv6Network) and found.subnet_of(_MAPPED):
        mapped = found.network_address.ipv4_mapped
        return IPv4Network((int(mapped or 0), found.prefixlen - 96))
    return found


def canonical(text: str) -> str:
    """An address or block as it is written: `10.0.0.1`, `10.0.0.0/8`. Raises `ValueError`."""
    block = block_of(text)
    return str(block.network_address if block.num_addresses == 1 else block)


def contains(entries: Sequence[str], text: str | None) -> bool:
    """Whether an address is among entries of a list; what is no address is in none."""
    address = None if text is None else address_of(text)
    return address is not None and any(address in block for block in blocks_of(tuple(entries)))


def within(entry: str, others: Iterable[str]) -> bool:
    """Whether all of an entry lies in one of the others."""
    block = block_of(entry)
    return any(
        block.version == other.version and block.subnet_of(other)  # type: ignore[arg-type]  # of one version
        for other in map(block_of, others)
    )


@lru_cache(1024)
def blocks_of(entries: tuple[str, ...]) -> tuple[Block, ...]:
    """A list's blocks; lists are few and asked for at every request."""
    return tuple(map(block_of, entries))
