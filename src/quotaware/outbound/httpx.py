"""The edge for httpx and httpx2, sync and async: as transports, and as one hook on the client classes.

The two libraries share their interface but not their classes: an answer must be made of the library that asked.
Neither is imported before it is used. A call is metered by the outermost layer that sees it; while it is on its way
further in, the request object carries a mark that lets it pass there.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from functools import cache
from threading import Lock
from types import ModuleType
from typing import Any

from ..context import current
from ..errors import ConfigurationError
from ..providers.base import Route
from ..stores.thread import drive, drive_async, on_loop
from .meter import MAX_BODY, Meter, Passage, Refusal
from .tap import Tap

LIBRARIES = ("httpx", "httpx2")
MARK = "quotaware.metered"
NEVER_SENT = frozenset({"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError"})
"""Errors (by name, the same in both libraries) after which nothing can have reached the provider."""


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
        if (size := _too_large(route, request)) is not None:
            decision: Refusal | Passage | None = self._meter.too_large(route, size)
        else:
            body = request.read() if route.format is not None else b""
            decision = drive(self._meter.begin(route, body, may_wait=not on_loop()))
        if isinstance(decision, Refusal):
            return _answer(request, decision)
        if not isinstance(decision, Passage):
            return self._inner.handle_request(request)
        tap, sent = decision.tap, _request(request, decision.body)
        try:
            response = self._inner.handle_request(sent)
        except BaseException as error:
            tap.failed(_was_sent(error))
            raise
        finally:
            sent.extensions.pop(MARK, None)
        return _tapped(request, response, tap, "sync")

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
        if (size := _too_large(route, request)) is not None:
            decision: Refusal | Passage | None = self._meter.too_large(route, size)
        else:
            body = await request.aread() if route.format is not None else b""
            decision = await drive_async(self._meter.begin(route, body, may_wait=True))
        if isinstance(decision, Refusal):
            return _answer(request, decision)
        if not isinstance(decision, Passage):
            return await self._inner.handle_async_request(request)
        tap, sent = decision.tap, _request(request, decision.body)
        try:
            response = await self._inner.handle_async_request(sent)
        except BaseException as error:
            tap.failed(_was_sent(error))
            raise
        finally:
            sent.extensions.pop(MARK, None)
        return _tapped(request, response, tap, "async")

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
        self._lock = Lock()
        self._meters: list[Meter] = []
        self._originals: dict[type, Callable[[Any, Any], Any]] = {}

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
        """Undoes `add`; with the last meter gone the classes are as they were."""
        with self._lock:
            if meter in self._meters:
                self._meters.remove(meter)
            if not self._meters:
                for kind, original in self._originals.items():
                    kind._transport_for_url = original  # type: ignore[attr-defined]
                self._originals.clear()

    def _patch(self, kind: type, transport: type[MeteredTransport | AsyncMeteredTransport]) -> None:
        if kind in self._originals:
            return
        original = kind._transport_for_url  # type: ignore[attr-defined]
        meters = self._meters

        def transport_for_url(client: Any, url: Any) -> Any:
            inner = original(client, url)
            binding = current()
            if binding is not None:
                return transport(binding.meter, inner)
            return transport(meters[0], inner) if meters else inner

        self._originals[kind] = original
        kind._transport_for_url = transport_for_url  # type: ignore[attr-defined]


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
    if route.provider is None and "content-length" not in request.headers:
        return None  # a streamed upload to a stranger: reading it would change how the app sends it
    return route


def _too_large(route: Route, request: Any) -> int | None:
    """The size of a body that is too long to be read; None for any other."""
    size = int(request.headers.get("content-length") or 0)
    return size if size > MAX_BODY and route.format is not None else None


def _request(request: Any, body: bytes | None) -> Any:
    """The request as it goes out: the app's own, or one with the changed body; marked as metered."""
    if body is None:
        sent = request
    else:
        headers = [
            (k, v)
            for k, v in request.headers.raw
            if k.lower() not in {b"content-length", b"transfer-encoding"}
        ]
        sent = _library(request).Request(
            request.method, request.url, headers=headers, content=body, extensions=request.extensions
        )
    sent.extensions[MARK] = True
    return sent


def _answer(request: Any, refusal: Refusal) -> Any:
    return _library(request).Response(
        refusal.status, headers=refusal.headers, content=refusal.body, request=request
    )


def _was_sent(error: BaseException) -> bool:
    return not any(kind.__name__ in NEVER_SENT for kind in type(error).__mro__)


def _tapped(request: Any, response: Any, tap: Tap, mode: str) -> Any:
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
        seen = tap.feed(whole) + tap.end()
        if not tap.rewrites:
            return response
        kept = [(k, v) for k, v in headers.raw if k.lower() not in {b"content-length", b"content-encoding"}]
        return library.Response(
            response.status_code, headers=kept, content=seen, extensions=response.extensions
        )
    response.stream = _streams(library)[mode](response.stream, tap)
    if tap.rewrites:
        headers.pop("content-length", None)
    if decodes:
        headers.pop("content-encoding", None)
    return response


@cache
def _streams(library: ModuleType) -> dict[str, type]:
    """Stream classes of a library, since it insists on its own bases."""

    class SyncStream(library.SyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, inner: Any, tap: Tap) -> None:
            self._inner = inner
            self._tap = tap

        def __iter__(self) -> Iterator[bytes]:
            tap = self._tap
            try:
                for data in self._inner:
                    if seen := tap.feed(data):
                        yield seen
                if kept := tap.end():
                    yield kept
            finally:
                tap.cut()

        def close(self) -> None:
            try:
                self._inner.close()
            finally:
                self._tap.cut()

    class AsyncStream(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, inner: Any, tap: Tap) -> None:
            self._inner = inner
            self._tap = tap

        async def __aiter__(self) -> AsyncIterator[bytes]:
            tap = self._tap
            try:
                async for data in self._inner:
                    if seen := tap.feed(data):
                        yield seen
                if kept := tap.end():
                    yield kept
            finally:
                tap.cut()

        async def aclose(self) -> None:
            try:
                await self._inner.aclose()
            finally:
                self._tap.cut()

    return {"sync": SyncStream, "async": AsyncStream}
