"""What a server must be for its counters to be right, looked at once at the start."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

from ...errors import ConfigurationError, StoreError
from .client import Command, Refusal
from .place import Address
from .servers import Servers

LEAST = (6, 2)
"""The oldest version of Redis; Valkey says which one it is compatible with."""


def check(servers: Servers, deadline: float) -> int:
    """Looks at all servers that answer; answers the time of one in ms. Raises `ConfigurationError`, `StoreError`."""
    until = time.monotonic() + deadline
    now = 0
    for address, facts, ms in look(servers, until):
        judge(servers, address, facts)
        now = max(now, ms)
    return now


def look(servers: Servers, until: float) -> Iterator[tuple[Address, dict[str, str], int]]:
    """What each server that answers says of itself (INFO), and its time in ms. Raises `StoreError` where none does."""
    failure, answered = StoreError("no server answered"), False
    for address in servers.primaries(until):
        try:
            told, told_time = servers.at(address, [Command((b"INFO",)), Command((b"TIME",))], until)
        except StoreError as error:
            failure = error  # the others serve what is theirs
            continue
        for reply in (told, told_time):
            if isinstance(reply, Refusal):
                raise _refused(reply)
        try:
            seconds, micros = map(int, told_time)
            facts = dict(re.findall(r"^([a-z_]+):(.*?)\r?$", told.decode("utf-8", "replace"), re.MULTILINE))
        except (TypeError, ValueError, AttributeError) as error:
            raise StoreError(f"the server answered nonsense: {told!r:.100}") from error
        answered = True
        yield address, facts, seconds * 1000 + micros // 1000
    if not answered:
        raise failure


def _refused(reply: Refusal) -> Exception:
    if reply.code == "NOPERM":
        return ConfigurationError(
            "store",
            "the user may not run INFO or TIME, by which the set-up is checked; allow both (+info +time)",
        )
    return StoreError(f"the server refused it: {reply}")


def judge(servers: Servers, address: Address, facts: dict[str, str]) -> None:
    """Looks at what a server says of itself (INFO). Raises `ConfigurationError`."""
    place = servers.place
    version = facts.get("redis_version", "")
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < LEAST:
        raise ConfigurationError(
            "store", f"the server is Redis {version}; 6.2 or newer, or Valkey, is needed"
        )
    if facts.get("role", "master") != "master":
        raise ConfigurationError(
            "store",
            f"{address[0]}:{address[1]} is a replica, which takes no writes; name the primary, or redis+sentinel://",
        )
    if facts.get("cluster_enabled") == "1" and place.kind != "cluster":
        raise ConfigurationError(
            "store", "the server is part of a cluster: write redis+cluster:// for redis://"
        )
    policy = facts.get("maxmemory_policy", "noeviction")
    if facts.get("maxmemory", "0") != "0" and policy != "noeviction" and not place.evict:
        raise ConfigurationError(
            "store",
            f"the server evicts keys when its memory is full (maxmemory-policy {policy}), and a counter that is evicted"
            " is forgotten money; set maxmemory-policy noeviction, or say ?evict=ok",
        )
