"""A TCP proxy on loopback that stands before a Redis and fails as told: what networks and servers do to each other.

It understands as much of the protocol as it needs to fail at a command and not at a connection's greeting. Its event
loop runs in a thread of its own, so sync and async tests use it alike.
"""

from __future__ import annotations

import asyncio
import socket
import struct
import threading
from collections.abc import Collection, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")

GREETING = frozenset({"HELLO", "AUTH", "CLIENT", "SELECT", "READONLY"})
"""Commands with which a connection begins: a fault meets them only where it meets the connection."""
CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Refuse:
    """Nobody listens, and what was connected is reset."""


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing goes through, either way; when it is healed all of it arrives, late."""


@dataclass(frozen=True, slots=True)
class HalfOpen:
    """The other end is gone without a word: what is sent is never answered, on this connection not even later."""


@dataclass(frozen=True, slots=True)
class Slow:
    """The reply comes in pieces of so many bytes, each `pause` seconds after the one before."""

    piece: int = 1
    pause: float = 0.02


@dataclass(frozen=True, slots=True)
class CutReply:
    """The server has acted, a part of its reply comes, then a reset."""

    part: float = 0.5


@dataclass(frozen=True, slots=True)
class DropReply:
    """The server has acted; instead of its reply comes a reset."""


@dataclass(frozen=True, slots=True)
class Reply:
    """These bytes come instead of the server's reply; `acted`: the server was asked all the same."""

    data: bytes
    acted: bool = False


Fault = Refuse | Stall | HalfOpen | Slow | CutReply | DropReply | Reply


def error(text: str) -> Reply:
    """An error as a server sends it."""
    return Reply(f"-{text}\r\n".encode())


LOADING = error("LOADING Redis is loading the dataset in memory")
READ_ONLY = error("READONLY You can't write against a read only replica.")
OUT_OF_MEMORY = error("OOM command not allowed when used memory > 'maxmemory'.")
NO_SCRIPT = error("NOSCRIPT No matching script. Please use EVAL.")
MOVED = error("MOVED 1 127.0.0.1:1")
ASK = error("ASK 1 127.0.0.1:1")
BUSY = error("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.")
TRY_AGAIN = error("TRYAGAIN Multiple keys request during rehashing of slot")
CLUSTER_DOWN = error("CLUSTERDOWN The cluster is down")
MASTER_DOWN = error("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.")
NO_AUTH = error("NOAUTH Authentication required.")
GARBAGE = Reply(b"\x00\xfe HTTP/1.1 400 Bad Request\r\n\r\n")


class Proxy:
    """Passes all on to `port` of 127.0.0.1, but for the fault that is set.

    port         where it listens
    met          how often the fault was met: by a command, and Refuse, Stall and HalfOpen by a connection too
    connections  client connections that are open
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._fault: Fault | None = None
        self._times: int | None = None
        self._after = 0
        self._commands: frozenset[str] = frozenset()
        self.met = 0
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._healed = asyncio.Event()
        self._healed.set()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy:{port}", daemon=True)
        self._thread.start()
        self.port = 0
        self._run(self._listen())

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    @property
    def connections(self) -> int:
        return len(self._links)

    def fail(
        self, fault: Fault, times: int | None = None, *, after: int = 0, commands: Collection[str] = ()
    ) -> None:
        """From now on this fault, at these commands or all but greetings: the next `times` times or until `heal`,
        `after` so many went through.
        """
        self._run(self._set(fault, times, after, frozenset(commands)))

    def lead(self, port: int) -> None:
        """From now on to another port; connections that are open stay where they are."""
        self._target = port

    def heal(self) -> None:
        """All is well again."""
        self._run(self._set(None, None, 0, frozenset()))

    def reset(self) -> None:
        """Breaks the connections that are open now."""
        self._run(self._reset())

    def close(self) -> None:
        """Ends it, its connections and its thread."""
        self._run(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    async def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._connected, sock=listener)

    async def _set(
        self, fault: Fault | None, times: int | None, after: int, commands: frozenset[str]
    ) -> None:
        self._fault, self._times, self._after, self._commands = fault, times, after, commands
        if isinstance(fault, Refuse):
            self._server.close()
            await self._reset()
        elif not self._server.is_serving():
            await self._listen()
        if isinstance(fault, Stall):
            self._healed.clear()
        else:
            self._healed.set()

    async def _reset(self) -> None:
        for link in list(self._links):
            self.met += isinstance(self._fault, Refuse)
            link.reset()
        await asyncio.sleep(0)

    async def _end(self) -> None:
        self._server.close()
        self._healed.set()
        links = list(self._links)
        for link in links:
            link.task.cancel()
        await asyncio.gather(*(link.task for link in links), return_exceptions=True)
        for link in links:
            link.close()
        await asyncio.sleep(0)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = _Link(self, reader, writer, self._target)
        self._links.add(link)
        link.task.add_done_callback(lambda _: self._links.discard(link))
        if isinstance(self._fault, Stall | HalfOpen):
            self.met += 1
            link.dead = isinstance(self._fault, HalfOpen)

    def take(self, commands: Collection[str]) -> Fault | None:
        """The fault that one of these commands meets now."""
        fault = self._fault
        if fault is None or not any(
            name in self._commands if self._commands else name not in GREETING for name in commands
        ):
            return None
        if self._after:
            self._after -= 1
            return None
        self.met += 1
        if self._times is not None:
            self._times -= 1
            if self._times == 0:
                self._fault = None
                self._healed.set()
        return fault

    async def pass_stall(self) -> None:
        """Waits while nothing goes through."""
        await self._healed.wait()


class _Link:
    """One client's connection, and the one behind it to the server; `dead`: what the client sends goes nowhere."""

    def __init__(
        self, proxy: Proxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target: int
    ) -> None:
        self._proxy = proxy
        self._reader = reader
        self._writer = writer
        self._behind: asyncio.StreamWriter | None = None
        self._reply: Fault | None = None
        self.dead = False
        self.task = asyncio.ensure_future(self._run(target))

    async def _run(self, target: int) -> None:
        """Passes on until one side ends."""
        try:
            await self._proxy.pass_stall()
            reader, self._behind = await asyncio.open_connection("127.0.0.1", target)
            ways = [asyncio.ensure_future(self._requests()), asyncio.ensure_future(self._replies(reader))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except OSError:  # the server is not there: neither are we
            self.reset()
        finally:
            self.close()

    def close(self) -> None:
        for writer in filter(None, (self._writer, self._behind)):
            writer.close()

    def reset(self) -> None:
        """Ends the client's connection with a RST."""
        sock = self._writer.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()

    async def _requests(self) -> None:
        assert self._behind is not None
        waiting = b""
        while data := await self._reader.read(CHUNK):
            commands, waiting = split(waiting + data)
            if not commands or self.dead:
                continue
            fault = self._proxy.take([name for name, _ in commands])
            self.dead = isinstance(fault, HalfOpen)
            if self.dead:
                continue
            await self._proxy.pass_stall()
            self._reply = fault
            if isinstance(fault, Reply) and not fault.acted:
                self._writer.write(fault.data * len(commands))
                continue
            self._behind.write(b"".join(raw for _, raw in commands))
            await self._behind.drain()

    async def _replies(self, reader: asyncio.StreamReader) -> None:
        while data := await reader.read(CHUNK):
            await self._proxy.pass_stall()
            match self._reply:
                case Slow(piece, pause):
                    for start in range(0, len(data), piece):
                        await asyncio.sleep(pause)
                        self._writer.write(data[start : start + piece])
                case CutReply(part):
                    self._writer.write(data[: max(1, int(len(data) * part))])
                    self.reset()
                    return
                case DropReply():
                    self.reset()
                    return
                case Reply(instead):
                    self._writer.write(instead)
                case _:
                    self._writer.write(data)
            await self._writer.drain()


def split(data: bytes) -> tuple[list[tuple[str, bytes]], bytes]:
    """The whole commands in what a client sent, each with its name and its bytes, and the rest."""
    commands: list[tuple[str, bytes]] = []
    start = 0
    while (found := _command(data, start)) is not None:
        name, end = found
        commands.append((name, data[start:end]))
        start = end
    return commands, data[start:]


def _command(data: bytes, at: int) -> tuple[str, int] | None:
    """The name of the command that begins here, and where it ends: `*<words>`, and of each `$<length>`, its bytes."""
    line = data.find(b"\r\n", at)
    if line < 0:
        return None
    words, at = int(data[at + 1 : line]), line + 2
    name = ""
    for number in range(words):
        line = data.find(b"\r\n", at)
        if line < 0:
            return None
        begin = line + 2
        at = begin + int(data[at + 1 : line]) + 2
        if at > len(data):
            return None
        if number == 0:
            name = data[begin : at - 2].decode("ascii", "replace").upper()
    return name, at


@contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """A proxy before a server's port, until the block ends."""
    found = Proxy(port)
    try:
        yield found
    finally:
        found.close()
