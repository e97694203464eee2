"""The ASGI middleware: binds the caller for everything that runs on a request's behalf.

Pure ASGI, one class, no base: works under Starlette, FastAPI, Litestar, Quart, Django and a bare callable. It never
reads a request body, and changes a response only where the request made LLM calls.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any

from ..context import Binding, bound
from ..core.money import to_usd
from ..errors import ApiError
from .denials import denial_of
from .edge import HasEdge, Identify
from .limit_headers import limit_headers

logger = logging.getLogger("quotaware")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class QuotaMiddleware:
    """Who calls, and every LLM call made on their behalf.

    quota       the Quota to serve
    identify    the host's own word on who calls, instead of the Quota's
    instrument  meter every httpx and httpx2 client of the process (`quota.instrument()`)
    only, skip  path prefixes: the only ones taken in, or those left out
    """

    def __init__(
        self,
        app: App,
        quota: HasEdge,
        *,
        identify: Identify | None = None,
        instrument: bool = True,
        only: Iterable[str] = (),
        skip: Iterable[str] = (),
    ) -> None:
        self.app = app
        self._edge = quota.edge
        self._identify = identify
        self._only = tuple(only)
        self._skip = tuple(skip)
        if instrument:
            self._edge.instrument()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in {"http", "websocket"} or not self._takes(scope.get("path", "")):
            await self.app(scope, receive, send)
            return
        binding = await self._edge.bind(scope, self._identify)
        if isinstance(binding, ApiError):
            await _refuse(scope, send, binding)
            return
        with bound(binding):
            if scope["type"] == "websocket":
                await self.app(scope, receive, send)
            else:
                await self._serve(scope, receive, send, binding)

    def _takes(self, path: str) -> bool:
        if self._only and not path.startswith(self._only):
            return False
        return not path.startswith(self._skip) if self._skip else True

    async def _serve(self, scope: Scope, receive: Receive, send: Send, binding: Binding) -> None:
        started: Message | None = None

        async def watched(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = message
                if binding.calls:
                    message = {
                        **message,
                        "headers": [*message.get("headers", ()), *_told(self._edge.engine, binding)],
                    }
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            denial = denial_of(error, binding)
            if denial is None or _host_handles(scope):
                raise
            logger.info("a denied LLM call ended a request: %s", denial.message)
            if started is None:
                await _refuse(scope, watched, denial)
            elif all(name.lower() != b"content-length" for name, _ in started.get("headers", ())):
                await send({"type": "http.response.body", "body": b"", "more_body": False})
            else:
                raise


def _host_handles(scope: Scope) -> bool:
    """Whether a Starlette app has a handler of its own for whatever escapes."""
    handlers = getattr(scope.get("app"), "exception_handlers", None)
    return isinstance(handlers, dict) and (Exception in handlers or 500 in handlers)


def _told(engine: Any, binding: Binding) -> list[tuple[bytes, bytes]]:
    """What an answer says of the calls behind it."""
    headers = limit_headers(binding.policy, engine.totals, engine.now()) if binding.policy is not None else []
    cost = f"{to_usd(binding.cost):f}"
    return [(name.encode(), value.encode()) for name, value in [*headers, ("quotaware-cost-usd", cost)]]


async def _refuse(scope: Scope, send: Send, error: ApiError) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": error.message[:120]})
        return
    body = json.dumps(error.body(), ensure_ascii=False).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *((name.encode(), value.encode()) for name, value in error.headers().items()),
    ]
    if error.status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})
