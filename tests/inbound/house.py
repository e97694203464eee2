"""A Quota with one project whose store counts its trips, behind an app that remembers how each request stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from quotaware import Identity, Quota, QuotaMiddleware
from quotaware.context import Binding, Caller, current
from quotaware.core.steps import Answer, Op
from quotaware.errors import StoreError
from quotaware.stores.memory import MemoryStore
from quotaware.stores.protocol import Doc
from tests.apps.asgi import request
from tests.support import FakeClock


class CountingStore(MemoryStore):
    """Counts the trips that a look-up takes; `away` makes it fail."""

    trips = 0
    away = False

    def _trip(self) -> None:
        self.trips += 1
        if self.away:
            raise StoreError("away on order")

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        self._trip()
        return super().apply(work, deadline)

    def find(self, digest: str) -> tuple[str, str] | None:
        self._trip()
        return super().find(digest)

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        self._trip()
        return super().read(org, ids)


class House:
    """A Quota with one project, and an app behind its middleware that remembers how each request stood."""

    def __init__(self, **options: Any) -> None:
        self.clock = FakeClock()
        self.store = CountingStore(self.clock)
        self.quota = Quota(self.store, clock=self.clock, **options)
        self.tenancy = self.quota.blocking.tenancy
        self.org = self.tenancy.create_organization("Acme").id
        self.project = self.tenancy.create_project(self.org, "p", org=self.org).id
        self.bindings: list[Binding | None] = []
        self.app = QuotaMiddleware(self.inner, self.quota)

    async def inner(self, scope: Any, receive: Any, send: Any) -> None:
        self.bindings.append(current())
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    def key(self, **options: Any) -> Any:
        return self.tenancy.create_key(self.project, org=self.org, **options)

    async def status(self, *headers: tuple[bytes, bytes], **scope: Any) -> int | None:
        return (await request(self.app, "/", headers=headers, **scope)).status

    async def denied(self, *headers: tuple[bytes, bytes], **scope: Any) -> tuple[int | None, dict[str, Any]]:
        """(status, error without its request id)."""
        answer = await request(self.app, "/", headers=headers, **scope)
        error = answer.json()["error"]
        assert error.pop("request_id").startswith("req_")
        assert answer.header("content-type") == "application/json"
        return answer.status, error

    def caller(self) -> Caller | Identity | None:
        binding = self.bindings[-1]
        assert binding is not None
        return binding.caller
