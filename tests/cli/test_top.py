"""`quotaware top` in a terminal: live, once, and as JSON; over an app's API, on SQLite and on Redis."""

from __future__ import annotations

import os
import pty
import sys
import termios

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from quotaware import PermissionDenied, QuotaExceeded
from quotaware.cli.keyboard import Keyboard
from quotaware.testing.server import serve
from tests.cli.conftest import Shop, each_place


def spend_search(shop: Shop) -> None:
    """Denied calls of the project with a budget of a cent."""
    for _ in range(3):
        with (
            pytest.raises(QuotaExceeded),
            shop.quota.acting_as(project="search"),
            shop.quota.call(provider="openai", model="gpt-4.1", input=1000, max_output=10_000),
        ):
            pass
    shop.quota.flush(10)


@each_place
def test_once_it_prints_what_there_is(shop: Shop) -> None:
    spend_search(shop)
    ran = shop.run("top", "--once", columns=200)
    assert ran.code == 0
    heading, titles, chatbot, search = ran.screen.rstrip().splitlines()
    assert heading.startswith("organization StartupAI, 24h: $0.0196, ")
    assert heading.endswith(" 3 calls, 3 denied")
    words = "project cost calls denied mostly for last hour tightest budget used"
    assert titles.split() == words.split()
    assert chatbot.startswith("chatbot ")
    assert "█" in chatbot
    assert "$100/month" in chatbot
    assert search.split()[:5] == ["search", "$0.00", "0", "3", "budget_exceeded"]


@each_place
def test_a_script_reads_it(shop: Shop) -> None:
    spend_search(shop)
    seen = shop.json("top", "--order", "denied")
    assert (seen["requests"], seen["denied"], seen["left_out"], seen["period"]) == (3, 3, 0, "24h")
    search, chatbot = seen["projects"]
    assert (search["id"], search["denied"], search["denied_for"], search["last_hour"]) == (
        "search",
        3,
        "budget_exceeded",
        [0] * 12,
    )
    assert (chatbot["id"], chatbot["requests"], sum(chatbot["last_hour"])) == ("bot", 3, 3)
    assert chatbot["budget"]["rule"] == "$100/month"
    assert chatbot["budget"]["used"] == pytest.approx(chatbot["cost"]) == pytest.approx(seen["cost"])
    assert shop.json("top", "--limit", "1")["left_out"] == 1
    assert [row["id"] for row in shop.json("top", "search")["projects"]] == ["search"]
    assert shop.json("top", "engineering")["requests"] == 3


def test_it_says_what_most_calls_were_denied_for(shop: Shop) -> None:
    for _ in range(4):
        with (
            pytest.raises(PermissionDenied),
            shop.quota.acting_as(project="search"),
            shop.quota.call(provider=None, model="nobody-prices-it", input=1, max_output=1),
        ):
            pass
    spend_search(shop)
    (row,) = shop.json("top", "search")["projects"]
    assert (row["denied"], row["denied_for"]) == (7, "price_unknown")


@pytest.mark.parametrize("shop", ["http"], indirect=True)
def test_it_moves_while_one_looks_and_ends_with_a_key(shop: Shop) -> None:
    running = shop.start("top", "--every", "0.2", columns=200)
    running.until("3 calls, 0 denied")
    shop.call()
    shop.quota.flush(10)
    running.until("4 calls, 0 denied")
    spend_search(shop)
    running.until("4 calls, 3 denied")
    running.type("d")
    running.until("budget_exceeded")
    running.type("q")
    ran = running.ended()
    assert ran.code == 0
    assert "\x1b[?1049h" in ran.raw  # a screen of its own
    assert ran.raw.rindex("\x1b[?1049l") > ran.raw.rindex("\x1b[?1049h")  # left again
    assert "\x1b[?25h" in ran.raw  # with its cursor


def test_ctrl_c_ends_it_too(shop: Shop) -> None:
    running = shop.start("top")
    running.until("q quits")
    running.type("\x03")
    ran = running.ended()
    assert ran.code == 0
    assert "Traceback" not in ran.screen
    assert "Aborted" not in ran.screen


def test_where_nobody_looks_on_it_prints_once(shop: Shop) -> None:
    ran = shop.run("top", piped=True)
    assert ran.code == 0
    assert ran.out.startswith("organization StartupAI, 24h: ")
    assert "\x1b" not in ran.out


def test_of_a_key_there_is_none(shop: Shop) -> None:
    ran = shop.run("top", "key/ci")
    assert ran.code == 2
    assert "Name a project, a team or the organization" in ran.screen


@pytest.mark.parametrize("shop", ["http"], indirect=True)
@pytest.mark.parametrize(("columns", "shows"), [(60, "chatbot"), (80, "used")])
def test_a_narrow_terminal_goes_without_some_columns(shop: Shop, columns: int, shows: str) -> None:
    running = shop.start("top", columns=columns)
    running.until("q quits")
    running.type("q")
    ran = running.ended()
    assert ran.code == 0
    assert shows in ran.screen
    assert "mostly for" not in ran.screen


def test_an_app_that_goes_away_is_waited_for(shop: Shop) -> None:
    app = Starlette(routes=[Mount("/v1", shop.quota.management())])
    with serve(app) as url:
        environ = {"HOME": str(shop.home), "QUOTAWARE_URL": f"{url}/v1", "QUOTAWARE_KEY": str(shop.admin)}
        running = shop.start("top", "--every", "0.2", environ=environ, columns=200)
        running.until("3 calls, 0 denied")
    running.until("It cannot be reached (")
    running.type("q")
    assert running.ended().code == 0


def test_a_key_that_is_revoked_meanwhile_ends_it(shop: Shop) -> None:
    tenancy = shop.quota.blocking.tenancy
    key = tenancy.create_key("startup", permissions=["org:manage"])
    with serve(Starlette(routes=[Mount("/v1", shop.quota.management())])) as url:
        environ = {"HOME": str(shop.home), "QUOTAWARE_URL": f"{url}/v1", "QUOTAWARE_KEY": key.secret}
        running = shop.start("top", "--every", "0.2", environ=environ, columns=200)
        running.until("3 calls, 0 denied")
        tenancy.revoke_key("startup", key.node.id)
        ran = running.ended()
    assert ran.code == 3
    assert "error: Invalid API key" in ran.screen


def test_keys_are_heard_one_by_one_and_the_terminal_is_left_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    master, slave = pty.openpty()
    with open(slave) as terminal:
        monkeypatch.setattr(sys, "stdin", terminal)
        before = termios.tcgetattr(slave)
        with Keyboard() as keyboard:
            assert keyboard.wait(0) == ""
            os.write(master, b"dq")
            assert (keyboard.wait(10), keyboard.wait(10)) == ("d", "q")
            assert termios.tcgetattr(slave) != before
        assert termios.tcgetattr(slave) == before
    os.close(master)
