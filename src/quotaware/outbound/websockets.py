"""The edge for the websockets library, by which the openai and google-genai SDKs speak with realtime models.

What is said in a socket is not read. So one to a provider is a call of unknown cost: refused where a cost limit bears
on it, in the library's own way and before the socket is asked for, else recorded. The library is not imported before
the app does.
"""

from __future__ import annotations

import sys
from http import HTTPStatus
from inspect import iscoroutinefunction
from typing import Any
from urllib.parse import unquote

from ..observing import Server
from ..providers.base import Route
from .meter import Meter, Passage, Refusal, server_of
from .patching import Patch, Serving
from .tap import Tap


def _handshakes(original: Any, serving: Serving) -> Any:
    """Our `ClientConnection.handshake`."""
    if not iscoroutinefunction(original):

        def handshake(connection: Any, *args: Any, **more: Any) -> Any:
            meter = serving()
            route, server = _to(meter, connection) if meter else (None, None)
            tap = _let_go(meter.decide(route, {}, b"", server)) if meter and route else None
            try:
                answer = original(connection, *args, **more)
            except BaseException as error:
                _failed(tap, error)
                raise
            _answered(tap, HTTPStatus.SWITCHING_PROTOCOLS)
            return answer

        return handshake

    async def handshake_async(connection: Any, *args: Any, **more: Any) -> Any:
        meter = serving()
        route, server = _to(meter, connection) if meter else (None, None)
        tap = _let_go(await meter.decide_async(route, {}, b"", server)) if meter and route else None
        try:
            answer = await original(connection, *args, **more)
        except BaseException as error:
            _failed(tap, error)
            raise
        _answered(tap, HTTPStatus.SWITCHING_PROTOCOLS)
        return answer

    return handshake_async


PATCHES = tuple(
    Patch(f"websockets.{world}.client", "ClientConnection", "handshake", _handshakes)
    for world in ("asyncio", "sync", "trio")
)


def _to(meter: Meter, connection: Any) -> tuple[Route | None, Server | None]:
    """Where a socket leads."""
    protocol = connection.protocol
    uri = protocol.uri if hasattr(protocol, "uri") else protocol.wsuri  # as it was called before 14
    path = unquote(uri.resource_name.partition("?")[0])
    server = server_of("wss" if uri.secure else "ws", uri.host, uri.port) if meter.watched else None
    return meter.route("GET", uri.host, path, socket=True), server


def _let_go(decision: Passage | Refusal | None) -> Tap | None:
    """What to settle of a socket that may be opened. Raises `InvalidStatus` for one that may not."""
    if not isinstance(decision, Refusal):
        return decision.tap if decision is not None else None
    library = sys.modules["websockets"]
    headers = library.Headers({**decision.headers, "content-length": str(len(decision.body))})
    status = HTTPStatus(decision.status)
    raise library.exceptions.InvalidStatus(
        library.http11.Response(status.value, status.phrase, headers, decision.body)
    )


def _failed(tap: Tap | None, error: BaseException) -> None:
    response = getattr(error, "response", None)
    if response is not None:
        _answered(tap, response.status_code)
    elif tap is not None:
        tap.failed(sent=True)


def _answered(tap: Tap | None, status: int) -> None:
    if tap is not None:
        tap.answered(status, "", "")
        tap.end()
