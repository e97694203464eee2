"""The edge for httpx and httpx2, sync and async: as transports, and as patches of the client classes.

The two libraries share their interface but not their classes: an answer must be made of the library that asked.
Neither is imported before it is used. A call is metered by the outermost layer that sees it; while it is on its way
further in, the request object carries a mark that lets it pass there, and the context another for other libraries.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from ..errors import BodyTooLarge
from ..observing import Server
from ..providers.base import Route
from . import passing
from .httpx_streams import async_stream, sync_stream
from .meter import MAX_BODY, Meter, Passage, Refusal, becomes_socket, body_too_large, server_of
from .patching import Patch, Serving
from .tap import Tap

LIBRARIES = ("httpx", "httpx2")
MARK = "quotaware.metered"
NEVER_SENT = frozenset(
    {
        "ConnectError",
        "ConnectTimeout",
        "LocalProtocolError",
        "PoolTimeout",
        "ProxyError",
        "UnsupportedProtocol",
    }
)
"""Errors (by name, the same in both libraries) after which no whole request can have reached the provider."""


class MeteredTransport:
    """A sync transport that meters what goes through `inner`; for clients of either library."""

    def __init__(self, meter: Meter, inner: Any) -> None:
        self._meter = meter
        self._inner = inner

    def handle_request(self, request: Any) -> Any:
        """Sends a request on if it is no call, or one that may go; else answers it."""
        route = _route(self._meter, request)
        if route is None:
            return self._inner.handle_request(request)
        server = _server(request.url) if self._meter.watched else None
        try:
            body = _read(request) if route.reads else b""
        except BodyTooLarge as error:
            decision: Refusal | Passage | None = self._meter.too_large(route, error, server)
        else:
            decision = self._meter.decide(route, request.headers, body, server)
        if isinstance(decision, Refusal):
            return _answer(request, decision)
        if not isinstance(decision, Passage):
            return self._inner.handle_request(request)
        tap, sent = decision.tap, None
        try:
            changed = decision.body()
            sent = _request(request, changed)
            went = body if changed is None else changed
            with passing.Passing(request.url.host, request.url.path, went, tap.around()):
                response = self._inner.handle_request(sent)
        except BaseException as error:
            tap.failed(sent is not None and _was_sent(error))
            raise
        return _tapped(request, response, tap, sync_stream)

    def close(self) -> None:
        """Closes the inner transport."""
        self._inner.close()

    def __enter__(self) -> MeteredTransport:
        self._inner.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._inner.__exit__(*exc)


class AsyncMeteredTransport:
    """An async transport that meters what goes through `inner`; for clients of either library."""

    def __init__(self, meter: Meter, inner: Any) -> None:
        self._meter = meter
        self._inner = inner

    async def handle_async_request(self, request: Any) -> Any:
        """Sends a request on if it is no call, or one that may go; else answers it."""
        route = _route(self._meter, request)
        if route is None:
            return await self._inner.handle_async_request(request)
        server = _server(request.url) if self._meter.watched else None
        try:
            body = await _aread(request) if route.reads else b""
        except BodyTooLarge as error:
            decision: Refusal | Passage | None = self._meter.too_large(route, error, server)
        else:
            decision = await self._meter.decide_async(route, request.headers, body, server)
        if isinstance(decision, Refusal):
            return _answer(request, decision)
        if not isinstance(decision, Passage):
            return await self._inner.handle_async_request(request)
        tap, sent = decision.tap, None
        try:
            changed = await decision.body_async()
            sent = _request(request, changed)
            went = body if changed is None else changed
            with passing.Passing(request.url.host, request.url.path, went, tap.around()):
                response = await self._inner.handle_async_request(sent)
        except BaseException as error:
            tap.failed(sent is not None and _was_sent(error))
            raise
        return _tapped(request, response, tap, async_stream)

    async def aclose(self) -> None:
        """Closes the inner transport."""
        await self._inner.aclose()

    async def __aenter__(self) -> AsyncMeteredTransport:
        await self._inner.__aenter__()
        return self

    async def __aexit__(self, *exc: Any) -> None:
        await self._inner.__aexit__(*exc)


def metered(meter: Meter, client: Any) -> bool:
    """Makes a client of httpx or httpx2 metered; False where it is none."""
    if not _is_client(client):
        return False
    kind = AsyncMeteredTransport if hasattr(client, "aclose") else MeteredTransport
    client._transport = kind(meter, client._transport)
    client._mounts = {
        pattern: inner if inner is None else kind(meter, inner) for pattern, inner in client._mounts.items()
    }
    return True


def _transports(kind: type[MeteredTransport | AsyncMeteredTransport]) -> Callable[[Any, Serving], Any]:
    def wrap(original: Any, serving: Serving) -> Any:
        def transport_for_url(client: Any, url: Any) -> Any:
            inner = original(client, url)
            meter = serving()
            if meter is None or meter.passes(url.host, url.path):
                return inner
            return kind(meter, inner)

        return transport_for_url

    return wrap


PATCHES = tuple(
    Patch(library, client, "_transport_for_url", _transports(kind))
    for library in LIBRARIES
    for client, kind in (("Client", MeteredTransport), ("AsyncClient", AsyncMeteredTransport))
)
"""Both libraries' clients are asked for the transport of each request."""


def _is_client(client: Any) -> bool:
    return any(
        isinstance(client, module.Client | module.AsyncClient)
        for name in LIBRARIES
        if (module := sys.modules.get(name)) is not None
    )


def _library(request: Any) -> ModuleType:
    for name in LIBRARIES:
        module = sys.modules.get(name)
        if module is not None and isinstance(request, module.Request):
            return module
    raise TypeError(f"not a request of httpx or httpx2: {type(request)!r}")


def _route(meter: Meter, request: Any) -> Route | None:
    url = request.url
    socket = becomes_socket(request.method, request.headers)
    route = meter.route(request.method, url.host, url.path, socket=socket)
    if route is None or MARK in request.extensions:
        return None
    strange = route.provider is None or meter.engine.settings.shadow
    if strange and not route.lookup and "content-length" not in request.headers:
        return None  # a streamed upload that must pass whatever it is: reading it would change how it is sent
    return route


def _server(url: Any) -> Server:
    return server_of(url.scheme, url.host, url.port)


def _read(request: Any) -> bytes:
    """The request's body, which can be sent all the same. Raises `BodyTooLarge` before it holds too much of it."""
    if (body := _at_hand(request)) is None:
        kept = bytearray()
        for part in request.stream:
            _keep(kept, part)
        body = _replace(request, kept)
    return body


async def _aread(request: Any) -> bytes:
    if (body := _at_hand(request)) is None:
        kept = bytearray()
        async for part in request.stream:
            _keep(kept, part)
        body = _replace(request, kept)
    return body


def _at_hand(request: Any) -> bytes | None:
    """The body where it is in memory already; None where it is still to be read."""
    size = request.headers.get("content-length", "")
    if size.isdecimal() and int(size) > MAX_BODY:
        raise body_too_large(int(size))
    try:
        body: bytes = request.content
    except _library(request).RequestNotRead:
        return None
    return body


def _keep(kept: bytearray, part: bytes) -> None:
    kept += part
    if len(kept) > MAX_BODY:
        raise body_too_large(len(kept))


def _replace(request: Any, kept: bytearray) -> bytes:
    body = bytes(kept)
    request.stream = _library(request).ByteStream(body)
    return body


def _request(request: Any, body: bytes | None) -> Any:
    """The request as it goes out: marked as metered, with the changed body if there is one. The app's own stays as it
    is, since it may be sent more than once, at the same time even.
    """
    library, extensions = _library(request), {**request.extensions, MARK: True}
    if body is None:
        sent = library.Request(request.method, request.url, stream=request.stream, extensions=extensions)
        sent.headers = request.headers  # the same, so that what an inner transport adds stays to be seen
        if isinstance(sent.stream, library.ByteStream):
            sent.read()  # which makes its content known, as the app's is
        return sent
    headers = [
        (k, v)
        for k, v in request.headers.raw
        if k.lower() not in {b"content-length", b"transfer-encoding", b"content-encoding"}
    ]
    return library.Request(request.method, request.url, headers=headers, content=body, extensions=extensions)


def _answer(request: Any, refusal: Refusal) -> Any:
    """The refusal as if it had come over the wire: a body still to be read, which makes `elapsed` known."""
    library = _library(request)
    return library.Response(
        refusal.status,
        headers={**refusal.headers, "content-length": str(len(refusal.body))},
        stream=library.ByteStream(refusal.body),
        request=request,
    )


def _was_sent(error: BaseException) -> bool:
    return not any(kind.__name__ in NEVER_SENT for kind in type(error).__mro__)


def _tapped(request: Any, response: Any, tap: Tap, stream: Callable[[ModuleType], type]) -> Any:
    """The answer, its stream read on the way through; one that is in memory already is read at once."""
    library = _library(request)
    headers = response.headers
    try:
        whole = response.content
    except library.ResponseNotRead:
        whole = None
    encoding = headers.get("content-encoding", "") if whole is None else ""
    decodes = tap.answered(response.status_code, headers.get("content-type", ""), encoding, headers)
    if whole is not None:
        seen = b"".join(tap.feed(whole)) + tap.end()
        if not tap.rewrites:
            return response
        kept = [(k, v) for k, v in headers.raw if k.lower() not in {b"content-length", b"content-encoding"}]
        return library.Response(
            response.status_code, headers=kept, content=seen, extensions=response.extensions
        )
    response.stream = stream(library)(response.stream, tap)
    if tap.rewrites:
        headers.pop("content-length", None)
    if decodes:
        headers.pop("content-encoding", None)
    return response
