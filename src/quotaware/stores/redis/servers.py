"""The servers of a place: which of them has a key, and what to do where one says that another has it now.

A trip is tried again where nothing can have been done, or where that is harmless because ids guard what is done, until
its deadline; what stays undone is a `StoreError`.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import Any

from ...errors import StoreError, StoreFull
from .client import Command, Pool, Refusal, exchange, redis_module
from .keys import decode
from .place import Address, Place

logger = logging.getLogger("quotaware")

SLOTS = 16384
PAUSE_S = (0.003, 0.02)
"""How long before a trip is tried again, seconds."""
_ASKING = Command((b"ASKING",))
_PASSES = {"TRYAGAIN", "CLUSTERDOWN", "MASTERDOWN", "LOADING", "READONLY"}
"""What may be over in a moment."""


@dataclass(slots=True)
class _Turn:
    """A command that is under way: where it is sent, if that was said, and what came of it."""

    command: Command
    to: Address | None = None
    asking: bool = False
    reply: Any = None
    done: bool = False


class Servers:
    """Connections to all servers of a place, made when they are needed. Thread-safe."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._closed = False
        self.begin_again()

    def begin_again(self) -> None:
        """In a forked child: sockets, pools and locks are the parent's."""
        self._lock = Lock()
        self._pools: dict[Address, Pool] = {}
        self._slots: list[Address | None] = [None] * SLOTS if self.place.kind == "cluster" else []
        self._primary: Address | None = (
            self.place.hosts[0] if self.place.kind in ("single", "socket") else None
        )
        self._known = self.place.kind in ("single", "socket")
        self._failed: set[Address] = set()

    def check(self) -> None:
        """Raises `StoreError` where it is closed."""
        if self._closed:
            raise StoreError("the Redis store is closed")

    def close(self) -> None:
        """Lets go of all connections."""
        self._closed = True
        with self._lock:
            pools, self._pools = self._pools, {}
        for pool in pools.values():
            pool.close()

    def lane(self, key: bytes) -> Hashable:
        """The server that has a key, as far as that is known; one and the same where it is not."""
        found = self._slots[key_slot(key)] if self._slots else None
        return found or "redis"

    def primaries(self, until: float) -> list[Address]:
        """All servers that have keys."""
        self._learn(until)
        return sorted({found for found in self._slots if found}) if self._slots else [self._one()]

    def run(self, commands: Sequence[Command], until: float, *, again: bool = True) -> list[Any]:
        """The reply to each command, a `Refusal` or `StoreError` where there is none.

        again  whether it does no harm to repeat one that may have been done
        """
        self.check()
        turns = [_Turn(command) for command in commands]
        waiting = turns
        while waiting:
            self._round(waiting, until, again)
            waiting = [turn for turn in waiting if not turn.done]
            pause = random.uniform(*PAUSE_S)  # noqa: S311
            if waiting and time.monotonic() + pause < until:
                time.sleep(pause)
            else:
                break
        return [turn.reply for turn in turns]

    def at(self, address: Address, commands: Sequence[Command], until: float) -> list[Any]:
        """Replies of one server. Raises `StoreError`."""
        try:
            with self._pool(address).connection(until) as connection:
                return exchange(connection, commands)
        except StoreError:
            raise
        except Exception as error:
            raise StoreError(f"the server at {_told(address)} did not answer: {_why(error)}") from error

    # one round

    def _round(self, turns: Sequence[_Turn], until: float, again: bool) -> None:
        by_server: dict[Address, list[_Turn]] = {}
        try:
            self._learn(until)
            for turn in turns:
                by_server.setdefault(turn.to or self._home(turn.command), []).append(turn)
        except StoreError as error:
            for turn in turns:
                turn.reply = error
            return
        for address, own in by_server.items():
            self._visit(address, own, until, again)

    def _visit(self, address: Address, turns: Sequence[_Turn], until: float, again: bool) -> None:
        sent = False
        words: list[Command] = []
        for turn in turns:
            words += (_ASKING, turn.command) if turn.asking else (turn.command,)
        if self.place.wait:
            words.append(self._wait_command(until))
        try:
            with self._pool(address).connection(until) as connection:
                connection.connect()
                sent = True
                replies = exchange(connection, words)
        except Exception as error:
            self._forget(address)
            told = f"the server at {_told(address)} did not answer: {_why(error)}"
            failure = error if isinstance(error, StoreError) else StoreError(told)
            done = (sent and not again) or isinstance(error, redis_module().exceptions.AuthenticationError)
            for turn in turns:
                turn.reply, turn.to, turn.done = failure, None, done
            return
        copies = replies.pop() if self.place.wait else None
        found = iter(replies)
        for turn in turns:
            if turn.asking:
                next(found)
            self._take(turn, next(found), address)
            if copies is not None and turn.done and (isinstance(copies, Refusal) or copies < self.place.wait):
                turn.reply = StoreError(f"done, but {copies} replicas have it, not {self.place.wait}")

    def _take(self, turn: _Turn, reply: Any, asked: Address) -> None:
        """A reply: the answer, or where or when to try again."""
        turn.reply, turn.to, turn.asking, turn.done = reply, None, False, True
        if not isinstance(reply, Refusal):
            return
        if reply.code in ("MOVED", "ASK") and self._slots and turn.command.key is not None:
            turn.done = False
            turn.to, turn.asking = _address(str(reply), asked), reply.code == "ASK"
            if reply.code == "MOVED":
                self._slots[key_slot(turn.command.key)] = turn.to
                self._known = False
        elif reply.code == "OOM":
            turn.reply = StoreFull(f"the server is full: {reply}")
        elif reply.code in _PASSES:
            turn.done = False
            if reply.code == "READONLY":
                self._forget(None)

    def _wait_command(self, until: float) -> Command:
        # a server looks ten times a second whether it is over
        ms = max(1, int((until - time.monotonic()) * 500))
        return Command((b"WAIT", b"%d" % self.place.wait, b"%d" % ms))

    # who has what

    def _home(self, command: Command) -> Address:
        if not self._slots:
            return self._one()
        if command.key is None:
            found = next((each for each in self._slots if each), None)
        else:
            found = self._slots[key_slot(command.key)]
        if found is None:
            self._known = False
            raise StoreError("no server of the cluster has the slot")
        return found

    def _one(self) -> Address:
        if self._primary is None:
            raise StoreError(f"the sentinels name no primary {self.place.service!r}")
        return self._primary

    def _forget(self, address: Address | None) -> None:
        """A server failed: another may be the primary by now."""
        if self.place.kind in ("cluster", "sentinel"):
            self._known = False
            if address is not None:
                self._failed.add(address)

    def _learn(self, until: float) -> None:
        """Asks who has what, where that is not known (any more)."""
        self.check()
        if self._known:
            return
        asks = self._ask_sentinel if self.place.kind == "sentinel" else self._ask_cluster
        known = list(self._pools) if self.place.kind == "cluster" else []
        hosts = [*dict.fromkeys([*self.place.hosts, *known])]
        random.shuffle(hosts)
        hosts.sort(key=self._failed.__contains__)  # those that failed lately are asked last
        failure: Exception | None = None
        for number, host in enumerate(hosts):
            left = until - time.monotonic()
            if left <= 0:
                break
            try:
                asks(host, time.monotonic() + left / (len(hosts) - number))
            except (StoreError, Refusal, ValueError, TypeError, IndexError) as error:
                failure = error
                self._failed.add(host)
            else:
                self._known = True
                self._failed.discard(host)
                return
        if failure is None:
            raise StoreError("the deadline is over")
        if self._primary is None and not any(self._slots):
            raise StoreError(f"none of {self.place} says who has what: {failure}")

    def _ask_cluster(self, host: Address, until: float) -> None:
        (reply,) = self.at(host, [Command((b"CLUSTER", b"SLOTS"))], until)
        if isinstance(reply, Refusal):
            raise reply
        slots: list[Address | None] = [None] * SLOTS
        for first, last, (name, port, *_), *_ in reply:
            owner = (decode(name) if name else host[0], int(port))
            slots[first : last + 1] = [owner] * (last + 1 - first)
        self._slots = slots

    def _ask_sentinel(self, host: Address, until: float) -> None:
        asked = Command((b"SENTINEL", b"GET-MASTER-ADDR-BY-NAME", self.place.service.encode()))
        (reply,) = self.at(host, [asked], until)
        if isinstance(reply, Refusal):
            raise reply
        if reply is None:
            raise StoreError(f"the sentinel knows no {self.place.service!r}")
        name, port = reply
        self._primary = (decode(name), int(port))

    def _pool(self, address: Address) -> Pool:
        with self._lock:
            found = self._pools.get(address)
            if found is None:
                if self._closed:
                    raise StoreError("the Redis store is closed")
                place = self.place
                login: tuple[str | None, str | None, int] = (place.user, place.password, place.db)
                if place.kind == "sentinel" and address in place.hosts:
                    login = (place.sentinel_user, place.sentinel_password, 0)
                found = self._pools[address] = Pool(place, address, *login)
            return found


def key_slot(key: bytes) -> int:
    """The Cluster slot of a key."""
    from redis.crc import key_slot as slot  # noqa: PLC0415  # loaded at the first use

    return int(slot(key))


def _address(text: str, asked: Address) -> Address:
    """Where a MOVED or ASK leads; without a host, to the same one."""
    host, _, port = text.rpartition(" ")[2].rpartition(":")
    return host.strip("[]") or asked[0], int(port)


def _told(address: Address) -> str:
    return f"{address[0]}:{address[1]}" if address[1] else address[0]


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
