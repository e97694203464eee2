"""The servers that other tests stand on: what they lose and keep, and that none of them stays behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests import servers
from tests.servers import Server, primary_and_replica, primary_of, promote, sentinel_over, until


def test_a_server_starts_again_with_nothing_or_with_what_a_snapshot_has():
    with Server() as server:
        server.command("SET", "a", "1")
        before = server.snapshot()
        server.command("SET", "a", "2")
        server.restart(before)
        assert server.command("GET", "a") == b"1"
        server.restart()
        assert server.command("GET", "a") is None


def test_a_paused_server_answers_when_it_goes_on():
    with Server() as server, server.client(timeout=0.2) as client:
        client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert until(client.ping)


def test_a_server_that_cannot_start_says_why():
    with pytest.raises(AssertionError, match="nonsense"), Server({"nonsense": "yes"}):
        pass


def test_a_replica_has_what_its_primary_has_and_takes_its_place():
    with primary_and_replica() as (primary, replica):
        primary.command("SET", "a", "1")
        servers.in_step(replica, primary)
        primary.kill()
        promote(replica)
        assert replica.command("INCR", "a") == 2


@pytest.mark.slow
def test_a_sentinel_names_the_replica_when_the_primary_is_gone_bounded():
    with primary_and_replica() as (primary, replica), sentinel_over(primary) as sentinel:
        assert primary_of(sentinel) == primary.port
        primary.kill()
        until(lambda: primary_of(sentinel) == replica.port, what="the failover")


def test_a_cluster_takes_commands_and_moves_a_slot(shared_cluster):
    with redis.RedisCluster("127.0.0.1", shared_cluster.primaries[0].port) as client:
        for number in range(50):
            client.set(f"{{moved}}:{number}", number)
        slot = client.keyslot("{moved}")
        source = shared_cluster.owner(slot)
        target = next(server for server in shared_cluster.primaries if server is not source)
        move = servers.Move(shared_cluster, slot, source, target)
        move.begin()
        assert move.keys(20) == 20
        assert sorted(int(client.get(f"{{moved}}:{number}")) for number in range(50)) == list(range(50))
        move.end()
        assert shared_cluster.owner(slot) is target
        assert sorted(int(client.get(f"{{moved}}:{number}")) for number in range(50)) == list(range(50))


@pytest.mark.slow
def test_no_server_outlives_a_test_run_that_is_ended_bounded(tmp_path):
    """The run writes down the pid of its server and waits; the signal ends both."""
    told = tmp_path / "pid"
    (tmp_path / "test_it.py").write_text(
        "import pathlib, time\n"
        "def test_it(valkey_server):\n"
        f"    pathlib.Path({str(told)!r}).write_text(f'{{valkey_server.pid}}\\n')\n"
        "    time.sleep(60)\n"
    )
    root = Path(__file__).parents[1]
    run = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "tests.conftest", tmp_path],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root), *filter(None, sys.path)])},
        stdout=subprocess.DEVNULL,
    )
    try:
        pid = int(until(lambda: told.exists() and told.read_text().strip(), what="the server"))
        os.kill(pid, 0)
        run.terminate()
        run.wait(20)
    finally:
        run.kill()
        run.wait()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
