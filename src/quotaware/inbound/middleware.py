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
from ..errors import ApiError, ConfigurationError
from ..logs import logged
from .denials import body_of, denial_of, is_final, mark, one_line
from .edge import HasEdge
from .identify import Identify
from .limit_headers import limit_headers

logger = logging.getLogger("quotaware")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Any, Any, Any], Awaitable[None]]
"""Any framework's ASGI app: each has types of its own for what it takes."""

REASON_MAX = 123
"""Bytes of a WebSocket close reason (RFC 6455, 5.5)."""


class QuotaMiddleware:
    """Who calls, and every LLM call made on their behalf.

    quota       the Quota to serve
    identify    the host's own word on who calls, instead of the Quota's
    instrument  meter every httpx and httpx2 client of the process (`quota.instrument()`)
    only, skip  path prefixes: the only ones taken in, or those left out. `"/api"` means `/api` and all below it, as
                the app that the middleware is added to routes them

    Raises `ConfigurationError` for what is no list of paths.
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
        self.quota = quota
        self._edge = quota.edge
        self._identify = identify
        self._only = prefixes("only", only)
        self._skip = prefixes("skip", skip)
        if instrument:
            self._edge.instrument()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] not in {"http", "websocket"} or not self._takes(self.path(scope)):
            await self.app(scope, receive, send)
            return
        binding = await self._edge.bind(scope, self._identify)
        if isinstance(binding, ApiError):
            await _refuse(scope, send, binding)
            return
        with bound(binding):
            if scope["type"] == "websocket":
                await self._connect(scope, receive, send)
            else:
                await self._serve(scope, receive, send, binding)

    def path(self, scope: Scope) -> str:
        """The path that `only` and `skip` bear on: below where the app is mounted."""
        path: str = scope.get("path", "")
        root: str = scope.get("root_path", "").rstrip("/")
        return path[len(root) :] if root and _below(path, root) else path

    def handles(self, app: Any) -> bool:
        """Whether this (Starlette) app answers what escapes with a handler of its own."""
        handlers = getattr(app, "exception_handlers", None)
        return isinstance(handlers, dict) and (Exception in handlers or 500 in handlers)

    def _takes(self, path: str) -> bool:
        if self._only and not any(_below(path, prefix) for prefix in self._only):
            return False
        return not any(_below(path, prefix) for prefix in self._skip)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self.app(scope, receive, send)
        except ApiError as error:
            if not is_final(error):
                raise
            await _refuse(scope, send, error)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, binding: Binding) -> None:
        answer = _Answer(self._edge.engine, binding, scope, send)
        outer = scope.get("app")
        try:
            await self.app(scope, receive, answer.send)
        except Exception as error:
            denial = denial_of(error, binding)
            if denial is None:
                await answer.release()
                raise
            if not is_final(error) and (self.handles(outer) or self.handles(scope.get("app"))):
                mark(error, denial)
                await answer.release()
                raise
            logger.info(
                "a denied LLM call ended a request: %s",
                one_line(denial.message),
                extra=logged("request_denied", code=denial.code, request=denial.fields.get("request_id")),
            )
            if not await answer.end_with(denial):
                raise
        await answer.release()


class _Answer:
    """The response on its way out: tells what the calls behind it cost, and can still be ended with a denial.

    A Starlette app inside this middleware (mounted, or wrapped as a whole) answers 500 and raises on. Where a call of
    the request was denied, that 500 is kept back until it is known whether it was the denial's.
    """

    def __init__(self, engine: Any, binding: Binding, scope: Scope, send: Send) -> None:
        self._engine = engine
        self._binding = binding
        self._scope = scope
        self._send = send
        self._outer = scope.get("app")
        self._held: list[Message] = []
        self._headers: Iterable[tuple[bytes, bytes]] | None = None
        self._ended = False

    async def send(self, message: Message) -> None:
        kind, last = message["type"], not message.get("more_body")
        if kind == "http.response.start":
            self._headers = message.get("headers", ())
            if self._binding.calls:
                message = {**message, "headers": [*self._headers, *_told(self._engine, self._binding)]}
            if (
                message["status"] == 500
                and self._binding.denials
                and self._scope.get("app") is not self._outer
            ):
                self._held.append(message)
                return
        elif self._held and kind == "http.response.body" and last:
            self._held.append(message)
            return
        await self.release()
        self._ended = kind == "http.response.body" and last
        await self._send(message)

    async def release(self) -> None:
        """Sends what was kept back."""
        held, self._held = self._held, []
        for message in held:
            await self._send(message)

    async def end_with(self, denial: ApiError) -> bool:
        """Answers with the denial, or closes a body that has begun; False where neither can be done."""
        if self._headers is None or self._held:
            self._held.clear()
            await _refuse(self._scope, self.send, denial)
            return True
        if self._ended or any(name.lower() == b"content-length" for name, _ in self._headers):
            return False
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})
        return True


def _told(engine: Any, binding: Binding) -> list[tuple[bytes, bytes]]:
    """What an answer says of the calls behind it."""
    headers = []
    if binding.policy is not None:
        headers = limit_headers(binding.policy, engine.totals, engine.now(), engine.cap_of)
    headers.append(("quotaware-cost-usd", f"{to_usd(binding.cost):f}"))
    if binding.degraded:
        headers.append(("quotaware-degraded", "?1"))  # a boolean of RFC 9651
    return [(name.encode(), value.encode()) for name, value in headers]


async def _refuse(scope: Scope, send: Send, error: ApiError) -> None:
    kind = scope["type"]
    if kind == "websocket" and "websocket.http.response" not in (scope.get("extensions") or {}):
        reason = one_line(error.message).encode()[:REASON_MAX].decode(errors="ignore")
        await send({"type": "websocket.close", "code": 1008, "reason": reason})
        return
    response = "websocket.http.response" if kind == "websocket" else "http.response"
    body = json.dumps(body_of(error)).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        *((name.encode(), value.encode()) for name, value in error.headers().items()),
    ]
    await send({"type": f"{response}.start", "status": error.status, "headers": headers})
    await send({"type": f"{response}.body", "body": body, "more_body": False})


def prefixes(field: str, paths: Iterable[str]) -> tuple[str, ...]:
    """The path prefixes given as `field`. Raises `ConfigurationError`."""
    found = (paths,) if isinstance(paths, str) else tuple(paths)
    if isinstance(paths, str) or not all(isinstance(path, str) and path.startswith("/") for path in found):
        raise ConfigurationError(
            field, f"is a list of paths that begin with a slash, such as ['/api'], not {paths!r}"
        )
    return found


def _below(path: str, prefix: str) -> bool:
    prefix = prefix.rstrip("/")
    return path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in {"", "/"}
