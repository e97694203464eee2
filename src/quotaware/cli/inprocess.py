"""An ASGI app as a transport of a sync httpx client: requests are answered in this process, as they are sent.

An answer is read as the app makes it, some chunks ahead at most, so that a long one takes no memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import ExitStack, suppress
from typing import Any

import anyio
import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal

AHEAD = 4
"""Chunks of an answer that are made before they are read."""


class InProcess(httpx.BaseTransport):
    """Runs `app` on an event loop of its own, in a thread."""

    def __init__(self, app: Callable[..., Any]) -> None:
        self._app = app
        self._life = ExitStack()
        self._portal: BlockingPortal = self._life.enter_context(start_blocking_portal())

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """The answer, its head read, its body to come."""
        body = request.read()
        exchange = self._portal.call(_Exchange)
        task = self._portal.start_task_soon(exchange.run, self._app, _scope(request), body)
        try:
            head = self._portal.call(exchange.next)
        except BaseException as error:  # ctrl-c, too
            self._portal.call(exchange.leave)
            if not isinstance(error, anyio.EndOfStream):
                raise
            task.result()  # raises what the app did
            raise httpx.RemoteProtocolError("the app answered nothing", request=request) from None
        return httpx.Response(
            head["status"],
            headers=head["headers"],
            stream=_Body(self._portal, exchange, task),
            request=request,
        )

    def close(self) -> None:
        """Ends the loop and its thread."""
        self._life.close()


class _Exchange:
    """One request and its answer, on the loop's side."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[Any](AHEAD)
        self._read = False
        self._gone = anyio.Event()

    async def run(self, app: Callable[..., Any], scope: Any, body: bytes) -> None:
        async def receive() -> Any:
            if self._read:
                await self._gone.wait()
                return {"type": "http.disconnect"}
            self._read = True
            return {"type": "http.request", "body": body, "more_body": False}

        async with self._send:
            with suppress(anyio.BrokenResourceError):  # whoever asked has heard enough
                await app(scope, receive, self._send.send)

    async def next(self) -> Any:
        return await self._receive.receive()

    async def leave(self) -> None:
        self._gone.set()
        self._receive.close()


class _Body(httpx.SyncByteStream):
    """What is left of an answer."""

    def __init__(self, portal: BlockingPortal, exchange: _Exchange, task: Any) -> None:
        self._portal, self._exchange, self._task = portal, exchange, task

    def __iter__(self) -> Iterator[bytes]:
        while True:
            try:
                message = self._portal.call(self._exchange.next)
            except anyio.EndOfStream:
                break
            if message.get("body"):
                yield message["body"]
            if not message.get("more_body"):
                return
        try:
            self._task.result()
        except Exception as error:
            raise httpx.ReadError("the answer broke off") from error

    def close(self) -> None:
        self._portal.call(self._exchange.leave)
        with suppress(Exception, CancelledError):
            self._task.result()


def _scope(request: httpx.Request) -> dict[str, Any]:
    return {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": request.url.raw_path.partition(b"?")[0],
        "query_string": request.url.query,
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "server": ("127.0.0.1", None),
        "client": None,
    }
