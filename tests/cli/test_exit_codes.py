"""Each exit code that the page tells of, provoked in a terminal; and the page tells of no other."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quotaware.cli import failures
from quotaware.tenancy.service import Tenancy
from tests.cli.conftest import ALSO, Shop
from tests.cli.terminal import Ran

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"


def plainly(*words: str) -> Callable[[Shop], Ran]:
    """The command as it stands."""
    return lambda shop: shop.run(*words)


def with_the_key_of_a_project(shop: Shop) -> Ran:
    return shop.run("members", "list", environ={**shop.environ, "QUOTAWARE_KEY": shop.secret})


def with_no_key(shop: Shop) -> Ran:
    return shop.run("usage", environ={**shop.environ, "QUOTAWARE_KEY": ""})


def with_a_name_that_is_taken(shop: Shop) -> Ran:
    shop.quota.blocking.tenancy.create_member("startup", "kim")
    return shop.run("members", "add", "kim")


def of_an_app_that_is_away(shop: Shop) -> Ran:
    return shop.run("usage", environ={**shop.environ, "QUOTAWARE_URL": "http://127.0.0.1:1/v1"})


def of_a_store_that_is_away(shop: Shop) -> Ran:
    return shop.run("usage", environ={**shop.environ, "QUOTAWARE_STORE": "redis://127.0.0.1:1/0"})


def of_what_is_no_quotaware(shop: Shop) -> Ran:
    url = shop.environ["QUOTAWARE_URL"].removesuffix("/v1")
    return shop.run("usage", environ={**shop.environ, "QUOTAWARE_URL": url})


def of_an_app_with_a_fault(shop: Shop) -> Ran:
    with pytest.MonkeyPatch.context() as patch:

        def broken(*_: Any, **__: Any) -> None:
            raise ZeroDivisionError

        patch.setattr(Tenancy, "roles", broken)
        return shop.run("roles", "list")


def asked(answer: str) -> Callable[[Shop], Ran]:
    """What a person says to a question."""

    def run(shop: Shop) -> Ran:
        running = shop.start("keys", "revoke", "ci")
        running.until("Revoke it?")
        running.waiting()
        running.type(answer)
        return running.ended()

    return run


def stopped_at_work(shop: Shop) -> Ran:
    running = shop.start("alerts", "test", "--wait", "60")
    running.until("Waiting for the app")
    running.waiting()
    os.kill(running.pid, signal.SIGINT)
    return running.ended()


RISE = "organization: {name: StartupAI, total_monthly_budget: 900}\n"
TRIED: tuple[tuple[int, str, Callable[[Shop], Ran]], ...] = (
    (0, "sqlite", plainly("usage")),
    (1, "sqlite", plainly("plan", "rise.yaml")),
    (1, "sqlite", plainly("explain", "gpt-4.1", "-p", "search", "--input", "1000000")),
    (2, "sqlite", plainly("keys", "fly")),
    (2, "sqlite", plainly("limits", "set", "chatbot", "50 dollars")),
    (2, "sqlite", plainly("plan", "gone.yaml")),
    (3, "http", with_the_key_of_a_project),
    (3, "http", with_no_key),
    (4, "sqlite", plainly("limits", "list", "nowhere")),
    (4, "sqlite", with_a_name_that_is_taken),
    (5, "http", of_an_app_that_is_away),
    (5, "http", of_what_is_no_quotaware),
    (5, "sqlite", of_a_store_that_is_away),
    (70, "http", of_an_app_with_a_fault),
    (130, "sqlite", asked("n\n")),
    (130, "sqlite", asked("\x03")),
    (130, "sqlite", asked("\x04")),
    (130, "sqlite", stopped_at_work),
)
"""A code, the place where it is provoked, and how. Of each code the first stands for all where time is short."""


@pytest.mark.parametrize(
    ("code", "shop", "provoked"),
    [
        pytest.param(code, place, provoke, marks=() if TRIED[at - 1][0] != code else ALSO, id=f"{code}-{at}")
        for at, (code, place, provoke) in enumerate(TRIED)
    ],
    indirect=["shop"],
)
def test_a_command_ends_with_the_code_of_what_became_of_it(
    code: int, shop: Shop, provoked: Callable[[Shop], Ran]
) -> None:
    (shop.home / "rise.yaml").write_text(RISE)
    ran = provoked(shop)
    assert (ran.code, "Traceback" in ran.screen) == (code, False), ran
    assert not shop.quota.blocking.tenancy.get("startup", "key_ci").revoked


def test_the_page_tells_of_each_and_each_is_tried() -> None:
    _, _, table = PAGE.read_text().partition("| exit code | |\n")
    told = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    known = {value for name, value in vars(failures).items() if name.isupper() and isinstance(value, int)}
    listed = {int(code) for code in re.findall(r"^(\d+) ", str(failures.__doc__), re.MULTILINE)}
    assert told == listed == known | {0} == {code for code, _, _ in TRIED}
