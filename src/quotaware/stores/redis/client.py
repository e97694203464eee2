"""Bounded connections to the servers of a place, and commands to whichever of them has a key.

Of redis-py only the connection is used (handshake, TLS, parser): its pools and its cluster client wait and retry by
themselves, where every trip here ends at its own deadline, the last byte of its reply included. A host's name is looked
up by the system, which no deadline bounds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, LifoQueue
from typing import Any, NamedTuple

from ...errors import ConfigurationError, StoreError
from .place import Address, Place


class Command(NamedTuple):
    """A command, its words as they go out, and a key that says which server it is for (None: any)."""

    words: tuple[bytes, ...]
    key: bytes | None = None

    def packed(self) -> bytes:
        """As it goes over the wire (RESP)."""
        return b"*%d\r\n" % len(self.words) + b"".join(
            [b"$%d\r\n%b\r\n" % (len(word), word) for word in self.words]
        )


class Refusal(Exception):
    """A server's answer that is an error: its code (`MOVED`, `OOM`) and the whole text."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def redis_module() -> Any:
    """The library `redis`, loaded at the first use. Raises `ConfigurationError`."""
    try:
        import redis  # noqa: PLC0415  # loaded only where it is used
    except ImportError as error:
        raise ConfigurationError(
            "store", "Redis needs the library redis: pip install 'quotaware[redis]'"
        ) from error
    return redis


class _Wire:
    """A socket whose every wait ends at its connection's `until` (monotonic seconds)."""

    def __init__(self, sock: Any, connection: Any) -> None:
        self._sock = sock
        self._connection = connection
        self._look = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def settimeout(self, timeout: float | None) -> None:
        self._look = timeout == 0  # only what is there already

    def recv(self, *arguments: Any) -> Any:
        self._wait()
        return self._sock.recv(*arguments)

    def recv_into(self, *arguments: Any) -> Any:
        self._wait()
        return self._sock.recv_into(*arguments)

    def sendall(self, data: bytes) -> None:
        self._wait()
        self._sock.sendall(data)

    def _wait(self) -> None:
        self._sock.settimeout(0 if self._look else _left(self._connection.until))


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline is over")
    return left


class _Timed:
    """What makes one of redis-py's connections end at a deadline: `until`, set for each trip."""

    until = 0.0

    socket_timeout = property(lambda self: _left(self.until), lambda self, given: None)
    socket_connect_timeout = socket_timeout

    def _connect(self) -> Any:
        sock = super()._connect()  # type: ignore[misc]
        return _Wire(sock, self)


class Pool:
    """At most so many connections to one server; who wants one waits for it until his deadline."""

    def __init__(
        self, place: Place, address: Address, user: str | None, password: str | None, db: int
    ) -> None:
        self._arguments: dict[str, Any] = {
            "username": user,
            "password": password,
            "db": db,
            "protocol": 2,
            "socket_timeout": None,
            "socket_connect_timeout": None,
        }
        connections = redis_module().connection
        if place.kind == "socket":
            base = connections.UnixDomainSocketConnection
            self._arguments["path"] = address[0]
        else:
            base = connections.SSLConnection if place.tls else connections.Connection
            self._arguments |= {"host": address[0], "port": address[1]}
        if place.tls:
            self._arguments |= {
                "ssl_ca_certs": place.ca,
                "ssl_certfile": place.cert,
                "ssl_keyfile": place.key,
            }
        self._class = type("TimedConnection", (_Timed, base), {})
        self._idle: LifoQueue[Any] = LifoQueue()
        self._most = place.connections
        self._closed = False
        for _ in range(place.connections):
            self._idle.put(None)

    @contextmanager
    def connection(self, until: float) -> Iterator[Any]:
        """One for this trip; broken off in the middle of it, it is let go, since a reply may still come."""
        try:
            found = self._idle.get(timeout=max(0.0, until - time.monotonic()))
        except Empty:
            raise StoreError(f"all {self._most} connections to the server are in use") from None
        try:
            if found is None:
                found = self._class(**self._arguments)
            found.until = until
            if found._sock is not None and _is_stale(found):
                found.disconnect()
            yield found
        except BaseException:
            if found is not None:
                found.disconnect()
            raise
        finally:
            if self._closed and found is not None:
                found.disconnect()
            self._idle.put(found)

    def close(self) -> None:
        """Lets go of all of them, those that are in use as soon as they are not."""
        self._closed = True
        for _ in range(self._most):
            try:
                found = self._idle.get_nowait()
            except Empty:
                return
            if found is not None:
                found.disconnect()


def _is_stale(connection: Any) -> bool:
    """Whether the server has closed it, or something came that nobody asked for."""
    try:
        return bool(connection.can_read(0))
    except Exception:
        return True


def exchange(connection: Any, commands: Sequence[Command]) -> list[Any]:
    """Sends commands in one go and reads all replies; an error reply stands among them as a `Refusal`."""
    refusals = redis_module().exceptions.ResponseError
    connection.send_packed_command([b"".join([command.packed() for command in commands])], check_health=False)
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(connection.read_response(disable_decoding=True))
        except refusals as error:
            replies.append(_refusal(error))
    return replies


_CODES = {
    "NoScriptError": "NOSCRIPT", "MovedError": "MOVED", "AskError": "ASK", "TryAgainError": "TRYAGAIN",
    "ClusterDownError": "CLUSTERDOWN", "MasterDownError": "MASTERDOWN", "ReadOnlyError": "READONLY",
    "OutOfMemoryError": "OOM", "NoPermissionError": "NOPERM", "ClusterCrossSlotError": "CROSSSLOT",
}  # fmt: skip


def _refusal(error: Exception) -> Refusal:
    """redis-py takes the code off the text of those that it knows."""
    text = str(error)
    code = _CODES.get(type(error).__name__)
    return Refusal(code, f"{code} {text}") if code else Refusal(text.partition(" ")[0], text)
