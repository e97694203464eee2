"""An organization in each kind of place that the command line looks into, and a terminal to look from."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from starlette.applications import Starlette
from starlette.routing import Mount

from quotaware import Alerts, Quota
from quotaware.stores.memory import system_clock
from quotaware.stores.opening import open_store
from quotaware.testing.server import serve
from tests.cli.terminal import Ran, Running, Shell

ALSO = (pytest.mark.slow, pytest.mark.bounded)
PLACES = (
    pytest.param("http", marks=ALSO, id="http"),
    "sqlite",
    pytest.param("redis", marks=ALSO, id="redis"),
)
"""A memory store behind a running app's API, and stores that are opened by the command."""


@pytest.fixture(scope="session")
def shell() -> Iterator[Shell]:
    with Shell() as found:
        yield found


class Shop:
    """An organization with a team, two projects, a key, and some calls; and a terminal beside it.

    quota    as an app has it; a store that commands open themselves is closed here before
    environ  says commands where it is
    """

    def __init__(
        self, place: str, url: str, shell: Shell, home: Path, life: ExitStack, *, furnished: bool
    ) -> None:
        self.place = place
        self.home = home
        self._shell = shell
        store = open_store(url, system_clock)
        store.deadline = 10.0  # the machine may be busy with other things
        alerts = Alerts(secret_key=Fernet.generate_key().decode()) if place == "http" else None
        self.quota = quota = Quota(store, alerts=alerts)
        life.callback(quota.close)
        self.secret = self.admin = ""
        if furnished or place == "http":
            self.admin = str(quota.bootstrap("StartupAI", id="startup").key)
        if furnished:
            self._furnish(quota.blocking.tenancy)
        self.environ = {"HOME": str(home), "QUOTAWARE_STORE": url}
        if place == "http":
            app = Starlette(routes=[Mount("/v1", quota.management())])
            base = life.enter_context(serve(app))
            self.environ = {
                "HOME": str(home),
                "QUOTAWARE_URL": f"{base}/v1",
                "QUOTAWARE_KEY": self.admin,
            }

    def _furnish(self, tenancy: Any) -> None:
        tenancy.create_team("startup", "engineering", id="eng", limits=["$300/month"])
        tenancy.create_project("eng", "chatbot", id="bot", limits=["$100/month", "600 requests/minute"])
        tenancy.create_project("eng", "search", id="search", limits=["$0.01/month"])
        self.secret = tenancy.create_key("bot", name="ci", id="key_ci", limits=["60 requests/minute"]).secret
        for model, output in (("gpt-4.1", 1000), ("gpt-4.1", 500), ("gpt-4.1-mini", 2000)):
            self.call(model, output)

    def call(self, model: str = "gpt-4.1", output: int = 1000) -> None:
        """A finished call of the key, booked before the next one."""
        with (
            self.quota.acting_as(key=self.secret),
            self.quota.call(provider="openai", model=model, input=1000, max_output=output) as call,
        ):
            call.used(input=1000, output=output)
        assert self.quota.flush(10)

    def start(self, *words: str, environ: dict[str, str] | None = None, **more: Any) -> Running:
        """Starts `quotaware …` in the terminal."""
        given = self.environ if environ is None else environ
        return self._shell.start(words, cwd=self.home, environ=given, **more)

    def run(self, *words: str, **more: Any) -> Ran:
        """`quotaware …` in the terminal, to its end."""
        return self.start(*words, **more).ended()

    def json(self, *words: str) -> Any:
        """What `quotaware … --json` says."""
        return self.run(*words, "--json", piped=True).json


@pytest.fixture
def shop(request: pytest.FixtureRequest, shell: Shell, tmp_path: Path) -> Iterator[Shop]:
    """One place: SQLite, where a test does not say."""
    with ExitStack() as life:
        place = getattr(request, "param", "sqlite")
        yield Shop(place, _url(request, place), shell, tmp_path, life, furnished=True)


@pytest.fixture
def bare(request: pytest.FixtureRequest, shell: Shell, tmp_path: Path) -> Iterator[Shop]:
    """The same with nothing in it: behind an app, only its organization and the admin's key."""
    with ExitStack() as life:
        yield Shop(request.param, _url(request, request.param), shell, tmp_path, life, furnished=False)


def _url(request: pytest.FixtureRequest, place: str) -> str:
    if place == "redis":
        return f"{request.getfixturevalue('valkey_url')}?prefix=t{secrets.token_hex(6)}"
    home = request.getfixturevalue("tmp_path")
    return "memory://" if place == "http" else f"sqlite:///{home}/quota.db"


each_place = pytest.mark.parametrize("shop", PLACES, indirect=True)
