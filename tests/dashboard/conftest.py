"""A host app with the dashboard, and browsers that look at it over HTTP."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from html import unescape
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from quotaware import Quota
from quotaware.testing.clocks import FakeClock
from tests.alerts.servers import Mailbox, Receiver
from tests.calls import a_quota

BASE = "/v1/dashboard"


class Browser:
    """One browser: keeps cookies, sends forms with the token that the page had."""

    def __init__(self, app: Any) -> None:
        self.client = TestClient(app, raise_server_exceptions=False, follow_redirects=False)
        self.token = self.once = self.sent = ""

    def get(self, path: str = "/", **more: Any) -> Any:
        """A page, not followed where it leads elsewhere."""
        return self._kept(self.client.get(BASE + path, **more))

    def post(self, path: str, csrf: str | None = None, headers: Any = None, **fields: str) -> Any:
        """A form as the last page had it."""
        self.sent = self.once
        fields = {"csrf": self.token if csrf is None else csrf, "once": self.once, **fields}
        return self._kept(self.client.post(BASE + path, data=fields, headers=headers))

    def again(self, path: str, **fields: str) -> Any:
        """The same form a second time, from the page that it was on."""
        return self.client.post(BASE + path, data={"csrf": self.token, "once": self.sent, **fields})

    def page(self, path: str = "/") -> str:
        """The text of a page that is there."""
        response = self.get(path)
        assert response.status_code == 200, (response.status_code, response.headers, response.text)
        return response.text

    def sign_in(self, key: str, to: str = "") -> Any:
        """Signs in by the form."""
        self.page("/sign-in")
        return self.post("/sign-in", key=key, next=to)

    def _kept(self, response: Any) -> Any:
        found = re.search(r'name="csrf" value="([^"]+)"', response.text)
        self.token = found[1] if found else self.token
        found = re.search(r'name="once" value="([^"]+)"', response.text)
        self.once = found[1] if found else self.once
        return response


class House:
    """A Quota with its dashboard at /v1/dashboard: an organization with a team, two projects and an admin's key."""

    def __init__(self, quota: Quota, clock: FakeClock) -> None:
        self.quota = quota
        self.clock = clock
        self.app = Starlette()
        self.app.mount("/v1", quota.management())
        self.tenancy: Any = quota.blocking.tenancy
        self.org = self.tenancy.create_organization("StartupAI", id="startup").id
        self.team = self.tenancy.create_team(self.org, name="Search", limits=["$100/month"]).id
        self.project = self.tenancy.create_project(self.team, name="ranker", limits=["$10/month"]).id
        self.other = self.tenancy.create_project(self.org, name="chatbot", limits=["$5/day"]).id
        self.admin = self.key(self.org, "org:manage")

    @classmethod
    def beside(cls, other: House, quota: Quota) -> House:
        """Another process of the same app: another Quota on the store."""
        beside = copy.copy(other)
        beside.quota, beside.tenancy = quota, quota.blocking.tenancy
        beside.app = Starlette()
        beside.app.mount("/v1", quota.management())
        return beside

    def key(self, node: str, *permissions: str, **more: Any) -> str:
        """A key on a node."""
        return str(self.tenancy.create_key(node, permissions=permissions, **more).secret)

    def browser(self, key: str | None = None) -> Browser:
        """A browser, signed in with a key."""
        browser = Browser(self.app)
        if key is not None:
            response = browser.sign_in(key)
            assert response.status_code == 303, response.text
        return browser


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().serve() as receiver:
        yield receiver


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with Mailbox().serve() as mailbox:
        yield mailbox


@pytest.fixture
def quota(clock: FakeClock) -> Iterator[Quota]:
    quota = a_quota(clock=clock)
    yield quota
    quota.close()


@pytest.fixture
def house(quota: Quota, clock: FakeClock) -> House:
    return House(quota, clock)


@pytest.fixture
def admin(house: House) -> Browser:
    return house.browser(house.admin)


def text_of(html: str) -> str:
    """What a page says, without its tags."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]*>", " ", html)))


def led_to(response: Any) -> str:
    """Where a response leads, which is on this very site."""
    assert response.status_code == 303, response.text
    parts = urlsplit(response.headers["location"])
    assert not parts.scheme
    assert not parts.netloc
    return response.headers["location"].removeprefix(BASE)
