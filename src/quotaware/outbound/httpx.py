"""The edge for httpx and httpx2, sync and async: as transports, and as one hook on the client classes.

The two libraries share their interface but not their classes: an answer must be made of the library that asked.
Neither is imported before it is used. A call is metered by the outermost layer that sees it; while it is on its way
further in, the request object carries a mark that lets it pass there.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable
from threading import Lock
from types import ModuleType
from typing import Any

import anyio.to_thread

from .. import forks
from ..context import current
from ..errors import BodyTooLarge, ConfigurationError
from ..providers.base import Route
from ..stores.tickets import drive, drive_async, on_loop
from .httpx_streams import async_stream, sync_stream
from .meter import LARGE, MAX_BODY, Meter, Passage, Refusal, body_too_large
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
        try:
            body = _read(request) if route.format is not None else b""
        except BodyTooLarge as error:
            decision: Refusal | Passage | None = self._meter.too_large(route, error)
        else:
            reading = self._meter.read(route, body, _encoding(request))
            decision = drive(self._meter.begin(route, reading, may_wait=not on_loop()))
        if isinstance(decision, Refusal):
            return _answer(request, decision)
        if not isinstance(decision, Passage):
            return self._inner.handle_request(request)
        tap, sent = decision.tap, None
        try:
            sent = _request(request, decision.body())
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
        try:
            body = await _aread(request) if route.format is not None else b""
        except BodyTooLarge as error:
            decision: Refusal | Passage | None = self._meter.too_large(route, error)
        else:
            encoding = _encoding(request)
            if len(body) > LARGE or encoding:
                reading = await anyio.to_thread.run_sync(self._meter.read, route, body, encoding)
            else:
                reading = self._meter.read(route, body)
            decision = await drive_async(self._meter.begin(route, reading, may_wait=True))
        if isinstance(decision, Refusal):
            return _answer(request, decision)
        if not isinstance(decision, Passage):
            return await self._inner.handle_async_request(request)
        tap, sent = decision.tap, None
        try:
            changed = await anyio.to_thread.run_sync(decision.body) if decision.large else decision.body()
            sent = _request(request, changed)
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


def metered(meter: Meter, client: Any) -> Any:
    """Makes an existing client metered and answers it: one of httpx or httpx2, or an SDK's that carries one.

    Raises `ConfigurationError` where there is no such client inside.
    """
    http: Any = client if _is_client(client) else getattr(client, "_client", None)
    if not _is_client(http):
        raise ConfigurationError(
            "client",
            f"{type(client).__name__} neither is nor carries a client of httpx or httpx2 (as the openai and anthropic "
            "clients do); give it quota.transport(...) or quota.sync_transport(...) when you make it",
        )
    kind = AsyncMeteredTransport if hasattr(http, "aclose") else MeteredTransport
    http._transport = kind(meter, http._transport)
    http._mounts = {
        pattern: inner if inner is None else kind(meter, inner) for pattern, inner in http._mounts.items()
    }
    return client


class Hook:
    """The one piece of global state: the client classes of both libraries ask it for each request's transport.

    The Quota bound to the running context is served; a call that nothing is bound to goes to the first Quota that
    was instrumented.
    """

    def __init__(self) -> None:
        self._meters: list[Meter] = []
        self._patches: dict[Any, tuple[Callable[[Any, Any], Any], Callable[[Any, Any], Any]]] = {}
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: as it is."""
        self._lock = Lock()

    def add(self, meter: Meter) -> None:
        """Instruments both libraries, as far as they are installed."""
        with self._lock:
            if meter not in self._meters:
                self._meters.append(meter)
            for name in LIBRARIES:
                if importlib.util.find_spec(name) is not None:
                    module = importlib.import_module(name)
                    self._patch(module.Client, MeteredTransport)
                    self._patch(module.AsyncClient, AsyncMeteredTransport)

    def remove(self, meter: Meter) -> None:
        """Undoes `add`; with the last meter gone the classes are as they were. Where somebody else has patched them
        since, ours stays below theirs and lets everything pass.
        """
        with self._lock:
            if meter in self._meters:
                self._meters.remove(meter)
            if self._meters:
                return
            for kind, (original, ours) in list(self._patches.items()):
                if kind._transport_for_url is ours:
                    kind._transport_for_url = original
                    del self._patches[kind]

    def _patch(self, kind: Any, transport: type[MeteredTransport | AsyncMeteredTransport]) -> None:
        if kind in self._patches:
            return
        original = kind._transport_for_url
        meters = self._meters

        def transport_for_url(client: Any, url: Any) -> Any:
            inner = original(client, url)
            binding = current() if meters else None
            meter = binding.meter if binding is not None else next(iter(meters), None)
            if meter is None or meter.passes(url.host, url.path):
                return inner
            return transport(meter, inner)

        self._patches[kind] = original, transport_for_url
        kind._transport_for_url = transport_for_url


hook = Hook()


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
    route = meter.route(request.method, url.host, url.path)
    if route is None or MARK in request.extensions:
        return None
    if "content-length" not in request.headers and (route.provider is None or meter.engine.settings.shadow):
        return None  # a streamed upload that must pass whatever it is: reading it would change how it is sent
    return route


def _encoding(request: Any) -> str:
    """How the body is encoded; "" where it is as it is."""
    encoding: str = request.headers.get("content-encoding", "")
    return "" if encoding.strip().lower() in {"", "identity"} else encoding


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
    decodes = tap.answered(response.status_code, headers.get("content-type", ""), encoding)
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
