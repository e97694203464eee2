"""Server-sent events: that something moved. What it is, each page asks for itself, with its viewer's rights."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import anyio
import anyio.to_thread

from ...errors import StoreError
from ...tenancy.access import Actor
from .pulse import Pulse

EVERY_S = 2.0
"""How often is looked whether anything moved."""
LAST_S = 600.0
"""How long one connection is served; a browser opens another."""
MOST, MOST_EACH = 200, 8
"""Connections of this process, and of one key or member."""


class Events:
    """The open connections of a process."""

    def __init__(self, pulse: Pulse, every: float = EVERY_S) -> None:
        self._pulse = pulse
        self._every = every
        self._open: Counter[str] = Counter()

    async def serve(
        self,
        actor: Actor,
        mark: str,
        still: Callable[[], Awaitable[bool]],
        receive: Any,
        send: Any,
        policy: Iterable[tuple[str, str]],
    ) -> None:
        """Tells of each change since `mark`, which the page was made with, until the viewer leaves or is no longer
        signed in (`still`).
        """
        if self._open.total() >= MOST or self._open[actor.id] >= MOST_EACH:
            headers = [
                *_raw(policy),
                (b"cache-control", b"no-store"),
                (b"retry-after", b"30"),
                (b"content-length", b"0"),
            ]
            await send({"type": "http.response.start", "status": 503, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
            return
        headers = [
            *_raw(policy),
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-store"),
            (b"x-accel-buffering", b"no"),
        ]
        self._open[actor.id] += 1
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(_until_gone, receive, tasks.cancel_scope)
                with anyio.move_on_after(LAST_S):
                    await self._tell(actor.org, mark, still, send)
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                tasks.cancel_scope.cancel()
        finally:
            self._open[actor.id] -= 1
            self._open += Counter()  # keeps those that are open

    async def _tell(self, org: str, mark: str, still: Callable[[], Awaitable[bool]], send: Any) -> None:
        while True:
            if not await still():
                await _say(send, b"event: end\ndata: signed out\n\n")
                return
            try:
                standings = await anyio.to_thread.run_sync(self._pulse.of, org)
            except StoreError:
                await _say(send, b"event: away\ndata: store\n\n")
            else:
                moved = mark != standings.mark
                mark = standings.mark
                await _say(send, f"event: moved\ndata: {mark}\n\n".encode() if moved else b": still\n\n")
            await anyio.sleep(self._every)


async def _say(send: Any, text: bytes) -> None:
    await send({"type": "http.response.body", "body": text, "more_body": True})


async def _until_gone(receive: Any, scope: anyio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()


def _raw(headers: Iterable[tuple[str, str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers]
