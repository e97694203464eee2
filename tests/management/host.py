"""A host app whose one route makes an LLM call, with the management API mounted beside it."""

from __future__ import annotations

import threading
from typing import Any

import anyio.to_thread
import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from quotaware import Quota, QuotaMiddleware
from quotaware.testing import FakeProvider

PRICES = {"m": {"input": 0, "output": 1000}}
"""So that each token of an answer is a tenth of a cent, and a prompt nothing."""
MILL = 0.001
"""US dollars of a token."""


class Host:
    """`call(key, tokens)` asks the app for an answer of so many tokens, and gives what the app's own client was given.

    gate  while it is closed (`clear`), the provider does not answer; `provider.wait_requests` says who stands there
    """

    def __init__(self, quota: Quota) -> None:
        self.provider = FakeProvider(output=10_000)
        self.gate = threading.Event()
        self.gate.set()
        self.arrived = threading.Semaphore(0)
        transport = quota.transport(httpx.ASGITransport(self._provider))
        llm = httpx.AsyncClient(base_url="http://llm.test", transport=transport)

        async def ask(request: Request) -> Response:
            answer = await llm.post("/v1/chat/completions", json=await request.json())
            return JSONResponse(answer.json(), answer.status_code)

        app = Starlette(routes=[Route("/ask", ask, methods=["POST"])])
        app.mount("/v1", quota.management())
        app.add_middleware(QuotaMiddleware, quota=quota, instrument=False)
        self.client = TestClient(app)

    async def _provider(self, scope: Any, receive: Any, send: Any) -> None:
        self.arrived.release()
        await anyio.to_thread.run_sync(self.gate.wait)
        await self.provider(scope, receive, send)

    def call(self, key: str, tokens: int = 10, model: str = "m") -> Any:
        """The provider's answer, or ours in its place."""
        asked = {"model": model, "messages": [{"role": "user", "content": "hi"}], "max_tokens": tokens}
        return self.client.post("/ask", json=asked, headers={"authorization": f"Bearer {key}"})

    def goes(self, key: str, tokens: int = 10, model: str = "m") -> bool:
        """Whether such a call goes."""
        return bool(self.call(key, tokens, model).status_code == 200)

    def refused(self, key: str, tokens: int = 10, model: str = "m") -> Any:
        """The error of a call that does not go, with its status."""
        response = self.call(key, tokens, model)
        assert response.status_code >= 400, response.text
        return {"status": response.status_code, **response.json()["error"]}
