"""The edge for aiohttp: one more client middleware for each GET and POST, nearest to the wire.

There it sees what goes out last, each hop of a redirect and each try of the app's own middlewares. aiohttp is not
imported before the app does.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import io
import sys
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from ..errors import BodyTooLarge
from ..providers.base import Route
from . import passing
from .aiohttp_streams import tapped
from .meter import MAX_BODY, Meter, Passage, Refusal, becomes_socket, body_too_large, server_of
from .patching import Patch, Serving

ASKED = frozenset({"GET", "POST"})
"""Methods of calls and of look-ups."""
Handler = Callable[[Any], Awaitable[Any]]
"""What a middleware is given to send a request with: aiohttp's own, or the next middleware."""


def _requests(original: Any, serving: Serving) -> Any:
    """Our `ClientSession._request`. Raises `NotImplementedError` for an aiohttp that is too old."""
    bodies_are_read = hasattr(sys.modules["aiohttp"].Payload, "as_bytes")
    takes = inspect.signature(original).parameters
    any_more = any(
        each.kind is each.VAR_KEYWORD for each in takes.values()
    )  # of a session of the app's own kind
    if not (bodies_are_read and ("middlewares" in takes or any_more)):
        raise NotImplementedError(
            "in this aiohttp nobody can see a body before it goes; from 3.12.8 on one can"
        )

    def request(session: Any, method: Any, url: Any, **options: Any) -> Any:
        if serving() is None or not isinstance(method, str) or method.upper() not in ASKED:
            return original(session, method, url, **options)
        theirs, decodes = options.get("middlewares"), options.get("auto_decompress")
        theirs = session._middlewares if theirs is None else theirs
        if any(isinstance(each, _Metering) for each in theirs):  # a layer above has seen to it
            return original(session, method, url, **options)
        decodes = session._auto_decompress if decodes is None else decodes
        ours = _Metering(serving, decodes)
        return original(session, method, url, **{**options, "middlewares": (*theirs, ours)})

    return request


class _Metering:
    """Our middleware of one request."""

    def __init__(self, serving: Serving, decodes: bool) -> None:
        self._serving = serving
        self._decodes = decodes

    async def __call__(self, request: Any, handler: Handler) -> Any:
        meter = self._serving()
        return await (handler(request) if meter is None else _send(meter, request, handler, self._decodes))


PATCHES = (Patch("aiohttp", "ClientSession", "_request", _requests),)


async def _send(meter: Meter, request: Any, handler: Handler, decodes: bool) -> Any:
    """Sends a request on if it is no call, or one that may go; else answers it."""
    host, path = request.url.host or "", request.url.path
    if meter.passes(host, path):
        return await handler(request)
    socket = becomes_socket(request.method, request.headers)
    route = meter.route(request.method, host, path, socket=socket)
    if route is None or _unreadable(meter, route, request):
        return await handler(request)
    server = server_of(request.url.scheme, host, request.url.port) if meter.watched else None
    try:
        body = await _read(request) if route.reads else b""
    except BodyTooLarge as error:
        decision: Refusal | Passage | None = meter.too_large(route, error, server)
    else:
        if passing.passes(host, path, body):
            return await handler(request)
        headers = request.headers.copy()
        if request.compress:  # which is only done when it is written
            headers.pop("content-encoding", None)
        decision = await meter.decide_async(route, headers, body, server)
    if isinstance(decision, Refusal):
        return await _answer(request, decision)
    if not isinstance(decision, Passage):
        return await handler(request)
    tap, sent = decision.tap, None
    try:
        changed = await decision.body_async()
        sent = _request(request, changed)
        with tap.around():
            response = await handler(sent)
    except BaseException:
        tap.failed(sent is not None and sent.response is not None)
        raise
    return tapped(sys.modules["aiohttp"], response, tap, decodes)


def _unreadable(meter: Meter, route: Route, request: Any) -> bool:
    """Whether it is a streamed upload that must pass whatever it is: reading it would change how it is sent."""
    streamed = request.body and request.body.size is None and "content-length" not in request.headers
    return bool(streamed) and (route.provider is None or meter.engine.settings.shadow) and not route.lookup


async def _read(request: Any) -> bytes:
    """The request's body, which can be sent all the same. Raises `BodyTooLarge` before it holds too much of it."""
    payload = request.body
    if not payload:
        return b""
    if payload.size is None:
        kept = _Kept()
        await payload.write(kept)
        request._body = _payload(kept.body)  # in its place; the headers say already how it is sent
        await payload.close()
        return bytes(kept.body)
    if payload.size > MAX_BODY:
        raise body_too_large(payload.size)
    body: bytes = await payload.as_bytes()
    return body


class _Kept:
    """What a payload of unknown length is written into."""

    def __init__(self) -> None:
        self.body = bytearray()

    async def write(self, chunk: bytes) -> None:
        self.body += chunk
        if len(self.body) > MAX_BODY:
            raise body_too_large(len(self.body))

    async def drain(self) -> None:
        """It is never full."""


def _payload(body: bytes | bytearray) -> Any:
    return sys.modules["aiohttp"].BytesIOPayload(io.BytesIO(body))


def _copy(request: Any) -> Any:
    """The request as it goes out. The app's own stays as it is, since it may be sent more than once."""
    sent = copy.copy(request)
    sent.headers = request.headers.copy()
    sent.response = None
    return sent


def _request(request: Any, body: bytes | None) -> Any:
    sent = _copy(request)
    if body is not None:
        if not sent.compress:
            sent.headers.pop("content-encoding", None)
        sent._body = None  # which is not ours to close
        sent._update_body(_payload(body))
    return sent


async def _answer(request: Any, refusal: Refusal) -> Any:
    """The refusal as if it had come over the wire: read by the library itself, from a connection to nowhere."""
    asked = _copy(request)
    asked._body = asked._continue = asked._upload_tracker = None
    connection = _Connection(asked.loop)
    response = await asked.send(connection)
    headers = {**refusal.headers, "content-length": str(len(refusal.body))}
    lines = [f"HTTP/1.1 {refusal.status} {HTTPStatus(refusal.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    connection.protocol.data_received("\r\n".join([*lines, "", ""]).encode() + refusal.body)
    return await response.start(connection)


class _Connection:
    """As much of a connection as a response wants of its own."""

    force_close = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.protocol = sys.modules["aiohttp.client_proto"].ResponseHandler(loop)
        self.protocol.connection_made(_Nowhere())
        self.protocol.set_response_params()
        self._connector = self

    def add_callback(self, callback: Callable[[], None]) -> None:
        """What is to be done when it is free again, which it is."""
        callback()

    def release(self) -> None:
        self.protocol.close()

    close = release


class _Nowhere(asyncio.Transport):
    """Takes what is written and sends it to nobody."""

    def write(self, data: Any) -> None:
        pass

    def writelines(self, list_of_data: Any) -> None:
        pass

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        pass
