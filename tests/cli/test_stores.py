"""`quotaware store` in a terminal: copy, check, prune, migrate, adopt."""

from __future__ import annotations

import secrets
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest
import redis

from quotaware import Quota
from quotaware.errors import StoreError
from tests.cli.conftest import Shop, each_place
from tests.cli.terminal import Shell
from tests.servers import Server, until

in_stores = pytest.mark.parametrize("shop", ["sqlite", "redis"], indirect=True)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


@in_stores
def test_books_that_are_in_order(shop: Shop) -> None:
    ran = shop.run("store", "check")
    assert ran.code == 0
    assert "The books are in order." in ran.screen
    found = shop.json("store", "check", shop.environ["QUOTAWARE_STORE"])
    assert (found["organizations"], found["records"], found["findings"]) == (1, 3, [])
    assert found["counters"] >= 4


def test_books_that_are_not_in_order(shop: Shop) -> None:
    shop.quota.close()
    change(shop.home / "quota.db", "UPDATE counter SET used = used + 1 WHERE key LIKE 'bot/cost/month%'")
    ran = shop.run("store", "check")
    assert ran.code == 1
    assert "bot/cost/month" in ran.screen
    assert "1 finding." in ran.screen
    (finding,) = shop.json("store", "check")["findings"]
    assert int(finding["found"]) == int(finding["expected"]) + 1


@in_stores
def test_everything_moves_into_an_empty_store(shop: Shop) -> None:
    shop.quota.close()
    source, target = shop.environ["QUOTAWARE_STORE"], f"sqlite:///{shop.home}/{secrets.token_hex(4)}.db"
    ran = shop.run("store", "copy", source, target)
    assert ran.code == 0, ran.screen
    assert "records        3" in ran.screen
    there = {**shop.environ, "QUOTAWARE_STORE": target}
    assert "3 requests" in shop.run("usage", environ=there).screen
    assert shop.run("store", "check", environ=there).code == 0
    again = shop.run("store", "copy", source, target)
    assert again.code == 2
    assert "take an empty store" in again.screen


@in_stores
def test_what_is_past_its_time_goes_now(shop: Shop) -> None:
    shop.quota.close()
    assert shop.run("store", "prune").code == 0
    assert shop.json("store", "prune")["busy"] == []
    assert shop.json("usage")["data"]


@in_stores
def test_a_store_is_brought_forward(shop: Shop) -> None:
    ran = shop.run("store", "migrate")
    assert ran.code == 0
    assert shop.run("store", "migrate", "--check").code == 0
    (shop.home / "empty.db").touch()
    empty = f"sqlite:///{shop.home}/empty.db"
    assert shop.run("store", "migrate", empty, "--check").code == 1
    assert "Brought forward from schema 0" in shop.run("store", "migrate", empty).screen
    assert shop.run("store", "migrate", empty, "--check").code == 0
    assert "schema" in ran.screen.lower()
    if shop.place == "sqlite":
        shop.quota.close()
        change(shop.home / "quota.db", "UPDATE meta SET v = 99 WHERE k = 'schema'")
        newer = shop.run("store", "migrate")
        assert newer.code == 2
        assert "update quotaware" in newer.screen


@in_stores
def test_an_organization_that_is_gone_is_taken_back_into_use(shop: Shop) -> None:
    running = shop.start("store", "adopt", "startup")
    running.until("is forgotten")
    running.type("n\n")
    assert running.ended().code == 130
    assert shop.run("store", "adopt", "startup", "--yes").code == 0


@pytest.mark.parametrize("shop", ["redis"], indirect=True)
def test_what_a_process_missed_it_goes_on_with_once_an_operator_says_so(shop: Shop) -> None:
    url = shop.environ["QUOTAWARE_STORE"]
    base, _, prefix = url.partition("?prefix=")
    with redis.Redis.from_url(base) as client:
        for key in client.scan_iter(f"*{prefix}*"):
            client.delete(key)

    def there() -> bool:
        """Whether the app's process can work in the organization."""
        with suppress(StoreError):
            shop.quota.blocking.alerts.deliveries("startup")
        return shop.quota.health["store"] == "ok"

    until(lambda: not there(), what="the process to miss it")
    assert shop.run("store", "adopt", "startup", "--yes").code == 0
    until(there, what="the process to go on")


@pytest.mark.slow
@pytest.mark.bounded
def test_a_person_waits_for_a_store_longer_than_a_call_does(shell: Shell, tmp_path: Path) -> None:
    with Server() as server:
        quota = Quota(server.url, deadline=5)
        quota.store.deadline = 5
        quota.bootstrap("StartupAI", id="startup")
        quota.close(10)
        for words in (("limits", "list"), ("store", "check"), ("store", "prune"), ("doctor",)):
            server.command("CLIENT", "PAUSE", 700, "ALL")
            environ = {"HOME": str(tmp_path), "QUOTAWARE_STORE": server.url}
            ran = shell.start(words, cwd=tmp_path, environ=environ).ended()
            assert ran.code == 0, ran


@each_place
def test_a_store_command_needs_a_store(shop: Shop) -> None:
    ran = shop.run("store", "check", "memory://")
    assert (ran.code, "lives in its app only" in ran.screen) == (2, True)
    gone = shop.run("store", "check", "sqlite:///gone.db")
    assert (gone.code, "There is no file" in gone.screen) == (4, True)
    assert not (shop.home / "gone.db").exists()
    if shop.place == "http":
        assert "give its --store" in shop.run("store", "check").screen
