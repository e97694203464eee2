"""The proxy that fails as told, before a real server: what the client meets, and what the server did."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
import redis

from tests.faults import (
    GARBAGE,
    LOADING,
    CutReply,
    DropReply,
    Fault,
    HalfOpen,
    Proxy,
    Refuse,
    Reply,
    Slow,
    Stall,
    proxy,
    split,
)

TIMEOUT = 0.3


@pytest.fixture
def before(valkey_url: str) -> Iterator[Proxy]:
    with proxy(redis.connection.parse_url(valkey_url)["port"]) as found:
        yield found


@pytest.fixture
def direct(valkey_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(valkey_url) as found:
        found.delete("faults:n")
        yield found
        found.delete("faults:n")


@pytest.fixture
def client(before: Proxy) -> Iterator[redis.Redis]:
    retry = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    with redis.Redis(port=before.port, socket_timeout=TIMEOUT, retry=retry, protocol=2) as found:
        for _ in range(10):  # a busy machine may take longer than that to begin
            with suppress(redis.TimeoutError):
                if found.ping():
                    break
        yield found


def add(client: redis.Redis) -> int:
    return client.incrby("faults:n", 1)


def count(direct: redis.Redis) -> int:
    return int(direct.get("faults:n") or 0)


@pytest.mark.parametrize(
    ("fault", "met", "acted"),
    [
        pytest.param(CutReply(), redis.ConnectionError, True, id="cut"),
        pytest.param(DropReply(), redis.ConnectionError, True, id="dropped"),
        pytest.param(HalfOpen(), redis.TimeoutError, False, id="half open"),
        pytest.param(LOADING, redis.BusyLoadingError, False, id="LOADING"),
        pytest.param(GARBAGE, redis.InvalidResponse, False, id="garbage"),
        pytest.param(Reply(b"$-1\r\n", acted=True), None, True, id="replaced"),
    ],
)
def test_a_fault_is_met_once_and_then_all_is_well(before, client, direct, fault: Fault, met, acted):
    assert add(client) == 1
    before.fail(fault, times=1)
    if met is None:
        assert add(client) is None
    else:
        with pytest.raises(met):
            add(client)
    client.close()
    assert before.met == 1
    assert count(direct) == 1 + acted
    assert add(client) == 2 + acted
    assert before.met == 1


def test_refused_and_taken_again_on_the_same_port(before, client, direct):
    before.fail(Refuse())
    for _ in range(2):
        with pytest.raises(redis.ConnectionError):
            add(client)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", before.port))
    before.heal()
    assert add(client) == 1


def test_what_was_stalled_arrives_late(before, client, direct):
    before.fail(Stall())
    with pytest.raises(redis.TimeoutError):
        add(client)
    assert count(direct) == 0
    before.heal()
    end = time.monotonic() + 5
    while count(direct) == 0 and time.monotonic() < end:
        time.sleep(0.01)
    assert add(client) == 2


def test_a_slow_reply_outlasts_a_time_out_for_each_read(before, client):
    before.fail(Slow(piece=1, pause=0.06))
    began = time.monotonic()
    assert client.echo("slowly") == b"slowly"
    assert time.monotonic() - began > 2 * TIMEOUT


def test_only_the_named_commands_meet_it(before, client, direct):
    before.fail(LOADING, commands={"GET"})
    assert add(client) == 1
    with pytest.raises(redis.BusyLoadingError):
        client.get("faults:n")
    assert before.met == 1


def test_what_was_connected_can_be_reset(before):
    with socket.create_connection(("127.0.0.1", before.port), timeout=5) as held:
        held.sendall(b"*1\r\n$4\r\nPING\r\n")
        assert held.recv(100) == b"+PONG\r\n"
        before.reset()
        with pytest.raises(ConnectionResetError):
            held.recv(100)
    with socket.create_connection(("127.0.0.1", before.port), timeout=5) as held:
        held.sendall(b"*1\r\n$4\r\nPING\r\n")
        assert held.recv(100) == b"+PONG\r\n"


def test_connections_are_counted_and_nothing_is_left(valkey_url):
    threads = threading.active_count()
    with proxy(redis.connection.parse_url(valkey_url)["port"]) as found:
        with redis.Redis(port=found.port) as client:
            client.ping()
            assert found.connections == 1
        end = time.monotonic() + 5
        while found.connections and time.monotonic() < end:
            time.sleep(0.01)
        assert found.connections == 0
    assert threading.active_count() == threads


def test_commands_are_told_apart_wherever_the_bytes_are_cut():
    sent = b"*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nset\r\n$1\r\na\r\n$6\r\n*1\r\n$4\r\n"
    whole = [("PING", sent[:14]), ("SET", sent[14:])]
    for cut in range(len(sent) + 1):
        first, rest = split(sent[:cut])
        second, nothing = split(rest + sent[cut:])
        assert first + second == whole
        assert nothing == b""
