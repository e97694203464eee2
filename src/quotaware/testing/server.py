"""Any ASGI app as a real server on loopback, for tests: a thread, an event loop and a port of its own.

Needs uvicorn (`pip install 'quotaware[testing]'`).
"""

from __future__ import annotations

import asyncio
import functools
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from .faults import CLOSE

try:
    import uvicorn
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError as absent:
    raise ImportError(
        "serving an app on loopback needs uvicorn; install it with: pip install 'quotaware[testing]'"
    ) from absent

_DEADLINE = 30.0  # seconds for the app's start, and for its end


class _Server(uvicorn.Server):
    """uvicorn, started and ended without polling; its end breaks off whatever is still open."""

    def __init__(self, config: uvicorn.Config, grace: float) -> None:
        super().__init__(config)
        self.grace = grace
        self.settled = threading.Event()  # started, or never will be
        self.failure: BaseException | None = None
        self._ended: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None

    def run_thread(self, listener: socket.socket) -> None:
        try:
            asyncio.run(self.serve(sockets=[listener]))
        except BaseException as failure:  # uvicorn says by SystemExit that the start failed
            self.failure = failure
        finally:
            listener.close()
            self.settled.set()

    def end(self) -> None:
        if self._ended is not None:
            loop, event = self._ended
            loop.call_soon_threadsafe(event.set)

    async def main_loop(self) -> None:
        await self.on_tick(0)
        event = asyncio.Event()
        self._ended = asyncio.get_running_loop(), event
        self.settled.set()
        await event.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        tasks = set(self.server_state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=self.grace)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self.lifespan.shutdown()

    def close_connection(self, client: tuple[str, int]) -> None:
        for connection in self.server_state.connections:
            if isinstance(connection, H11Protocol) and connection.client == client:
                connection.transport.close()


def _closable(app: ASGIApp, server: _Server, scope: Scope, receive: Receive, send: Send) -> Any:
    if scope["type"] == "http":
        close = functools.partial(server.close_connection, scope["client"])
        scope["extensions"] = {**scope.get("extensions", {}), CLOSE: close}
    return app(scope, receive, send)


@contextmanager
def serve(app: ASGIApp, *, grace: float = 0.2) -> Iterator[str]:
    """Serves `app` on a free port of 127.0.0.1 until the block ends; gives `"http://127.0.0.1:PORT"`.

    The app's lifespan is run where it has one. At the end open connections are broken off, and requests that
    are then still at work are cancelled after `grace` seconds. Raises `RuntimeError` where the app does not
    start.
    """
    # Only where the protocol is named does asyncio set TCP_NODELAY; without it each answer takes 40 ms more.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    host, port = listener.getsockname()
    config = uvicorn.Config(
        app=lambda scope, receive, send: _closable(app, server, scope, receive, send),
        interface="asgi3",
        loop="asyncio",
        http="h11",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=300,
    )
    server = _Server(config, grace)
    thread = threading.Thread(target=server.run_thread, args=(listener,), name=f"serve:{port}", daemon=True)
    thread.start()
    try:
        if not server.settled.wait(_DEADLINE) or server.failure is not None:
            raise RuntimeError("the app did not start") from server.failure
        yield f"http://{host}:{port}"
    finally:
        server.end()
        thread.join(_DEADLINE)
