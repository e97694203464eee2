"""I-28 over several processes: each alert is decided once and arrives at least once under one key, in order, while the
mail server and the webhook's receiver fail half of the time, and who sends is killed in the middle.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

import pytest

from quotaware.alerts.channels import webhook
from quotaware.stores.memory import system_clock
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Store
from quotaware.tenancy.starts import SIMPLE_ORG
from tests.alerts.servers import Mailbox, Posted, Receiver

PROCESSES, TASKS = 4, 10
SHARES = (10, 30, 50, 80, 95)
CENTS_A_CALL = 10
WAIT_S = 120.0


class Killer:
    """Kills whoever sends just now, once: when the second message was taken, and before the sender hears of it."""

    def __init__(self, store: Store, pids: set[int]) -> None:
        self._store = store
        self._pids = pids
        self._lock = Lock()
        self._seen = 0
        self.killed: int | None = None

    def taken(self) -> None:
        with self._lock:
            self._seen += 1
            if self._seen < 2 or self.killed is not None:
                return
            holder = self._store.once(SIMPLE_ORG, "alerts", "", 1)
            pid = int(holder.split("-")[1])
            assert pid in self._pids
            self.killed = pid
            os.kill(pid, signal.SIGKILL)


@contextmanager
def processes(settings: dict[str, Any], secret: str) -> Iterator[list[subprocess.Popen[str]]]:
    root = Path(__file__).parents[2]
    path = os.pathsep.join([str(root), *filter(None, sys.path)])
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.alerts.worker", json.dumps(settings)],
            cwd=root,
            env={**os.environ, "PYTHONPATH": path, "HOOK_SECRET": secret},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(PROCESSES)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


@pytest.fixture(
    params=[
        pytest.param("sqlite", marks=[pytest.mark.slow, pytest.mark.bounded]),
        pytest.param("redis", marks=[pytest.mark.slow, pytest.mark.bounded]),
        pytest.param("cluster", marks=pytest.mark.slow),
    ]
)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/quota.db"
    server = request.getfixturevalue("valkey_url" if request.param == "redis" else "cluster_url")
    return f"{server}{'&' if '?' in server else '?'}prefix=t{secrets.token_hex(6)}"


@pytest.mark.parametrize("calls", [pytest.param(10_000, marks=pytest.mark.slow), 800])
def test_each_alert_is_decided_once_and_arrives_in_order(url: str, calls: int) -> None:
    secret = webhook.new_secret()
    chance = random.Random(7)
    store = open_store(url, system_clock)
    store.deadline = 10.0
    store.hello()
    pids: set[int] = set()
    killer = Killer(store, pids)

    def answer(posted: Posted) -> tuple[int, dict[str, str]]:
        if chance.random() < 0.5:
            return 503, {}
        killer.taken()
        return 200, {}

    receiver, mailbox = Receiver(answer), Mailbox()
    mailbox.refuse = lambda to: "451 later" if chance.random() < 0.5 else None
    with receiver.serve(), mailbox.serve():
        settings = {
            "store": url,
            "limit": f"${calls // 2 * CENTS_A_CALL / 100}/life",
            "rules": [f"{share}% {action}" for share in SHARES for action in ("email", "webhook")],
            "smtp": mailbox.port,
            "url": receiver.url,
            "calls": calls // PROCESSES,
            "tasks": TASKS,
            "lease": 1.0,
        }
        with processes(settings, secret) as started:
            pids |= {process.pid for process in started}
            _wait(lambda: _mailed(mailbox) == list(SHARES) and _posted(receiver) == list(SHARES))
            _wait(lambda: store.outbox(SIMPLE_ORG) == [])
            done = []
            for process in started:
                assert process.stdout is not None
                if line := process.stdout.readline():
                    done.append(json.loads(line))
    assert killer.killed is not None
    assert len(done) >= PROCESSES - 1
    assert sum(each["denied"] for each in done) > 0  # it was over the budget
    keys = {(_share(posted.json["data"]["title"]), posted.headers["webhook-id"]) for posted in receiver.got}
    assert sorted(share for share, _ in keys) == list(
        SHARES
    )  # each was decided once, whatever was sent again
    assert len({posted.json["data"]["id"] for posted in receiver.got}) == len(SHARES)
    for posted in receiver.got:
        stamp = int(posted.headers["webhook-timestamp"])
        signed = webhook.signature(secret, posted.headers["webhook-id"], stamp, posted.body)
        assert posted.headers["webhook-signature"] == signed
    mails = {(_share(str(message["Subject"])), message["Message-ID"]) for _, message in mailbox.got}
    assert sorted(share for share, _ in mails) == list(SHARES)
    taken = [posted.headers["webhook-id"] for posted in receiver.taken]
    assert len(taken) > len(set(taken))  # what the killed one had sent came again, under its key
    store.close()


def _share(title: str) -> int:
    return int(title.partition(" %")[0])


def _posted(receiver: Receiver) -> list[int]:
    """The thresholds that arrived, each where it came first."""
    return list(dict.fromkeys(_share(posted.json["data"]["title"]) for posted in receiver.taken))


def _mailed(mailbox: Mailbox) -> list[int]:
    return list(dict.fromkeys(_share(str(message["Subject"])) for _, message in mailbox.got))


def _wait(done: Any) -> None:
    until = time.monotonic() + WAIT_S
    while not done():
        assert time.monotonic() < until
        time.sleep(0.02)
