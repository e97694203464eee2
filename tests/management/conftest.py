"""A host app with the management API, and whoever calls it."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from quotaware import Quota, admission
from quotaware.testing.clocks import FakeClock
from tests.calls import a_quota
from tests.management.world import MODELS, World, furnished

ORG = "org_startup"


class Api:
    """The API of a Quota, mounted at /v1, as clients see it.

    admin  the first key, on the organization `org`; another organization, `rival`, has its own, `rival_admin`
    """

    def __init__(self, quota: Quota, clock: FakeClock) -> None:
        self.quota = quota
        self.clock = clock
        app = Starlette()
        app.mount("/v1", quota.management())
        self.client = TestClient(app, raise_server_exceptions=False)
        self.tenancy: Any = quota.blocking.tenancy
        self.org, self.admin = self.organization("StartupAI")
        self.rival, self.rival_admin = self.organization("Rival")

    def organization(self, name: str) -> tuple[str, str]:
        """Another organization, and its admin key."""
        node = self.tenancy.create_organization(name)
        return node.id, self.key(node.id, "org:manage")

    def key(self, node: str, *permissions: str, **more: Any) -> str:
        """A key on a node."""
        return self.tenancy.create_key(node, permissions=permissions, **more).secret

    def __call__(self, method: str, path: str, json: Any = None, key: str | None = None, **more: Any) -> Any:
        """Sends it, with the admin's key unless another is given, and answers the response."""
        headers = {"authorization": f"Bearer {key or self.admin}", **more.pop("headers", {})}
        return self.client.request(method, f"/v1{path}", json=json, headers=headers, **more)

    def ok(self, method: str, path: str, json: Any = None, key: str | None = None, **more: Any) -> Any:
        """The same, where it goes well: answers the body."""
        response = self(method, path, json, key, **more)
        assert response.status_code < 300, response.text
        return response.json() if response.content else None

    def error(self, method: str, path: str, json: Any = None, key: str | None = None, **more: Any) -> Any:
        """The same, where it is refused: answers the error, with its status."""
        response = self(method, path, json, key, **more)
        assert response.status_code >= 400, response.text
        return {"status": response.status_code, **response.json()["error"]}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def quota(clock: FakeClock) -> Iterator[Quota]:
    quota = Quota("memory://", clock=clock)
    yield quota
    quota.close()


@pytest.fixture
def api(quota: Quota, clock: FakeClock) -> Api:
    return Api(quota, clock)


@pytest.fixture
def world(clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    quota = a_quota(clock=clock, prices={model: {"input": 0, "output": 1000} for model in MODELS})
    monkeypatch.setattr(admission, "time", SimpleNamespace(monotonic=lambda: clock() / 1000))
    yield furnished(Api(quota, clock))
    quota.close()
