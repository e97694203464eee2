"""The edge for requests: the adapter by which a session sends, whichever it is.

There each hop of a redirect is a request of its own, as the app's hooks and logins have made it. What urllib3 tries
again within one sending (an adapter's `max_retries`) is one call. requests is not imported before the app does.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from ..errors import BodyTooLarge
from . import passing
from .meter import MAX_BODY, Meter, Passage, Refusal, body_too_large, port, server_of
from .patching import Patch, Serving
from .tap import Tap
from .urllib3_streams import Raw

NEVER_SENT = frozenset(
    {"ConnectTimeout", "InvalidHeader", "InvalidURL", "NewConnectionError", "ProxyError", "SSLError"}
)
"""Errors (by name, urllib3's among them) after which no whole request can have reached the provider."""


def _sending(original: Any, serving: Serving) -> Any:
    """Our `HTTPAdapter.send`."""

    def send(adapter: Any, request: Any, *rest: Any, **options: Any) -> Any:
        meter = serving()
        if meter is None:
            return original(adapter, request, *rest, **options)
        url = urlsplit(request.url)
        host, path = url.hostname or "", unquote(url.path)
        decision, body = _decide(meter, url, host, path, request)
        if isinstance(decision, Refusal):
            return _answer(adapter, request, decision)
        if not isinstance(decision, Passage):
            return original(adapter, request, *rest, **options)
        tap, sent = decision.tap, None
        try:
            changed = decision.body()
            sent = request if changed is None else _changed(request, changed)
            with passing.Passing(host, path, body if changed is None else changed, tap.around()):
                response = original(adapter, sent, *rest, **options)
        except BaseException as error:
            tap.failed(sent is not None and _was_sent(error))
            raise
        response.request = request
        return _tapped(response, tap)

    return send


PATCHES = (Patch("requests.adapters", "HTTPAdapter", "send", _sending),)


def _decide(
    meter: Meter, url: SplitResult, host: str, path: str, request: Any
) -> tuple[Passage | Refusal | None, bytes]:
    """What becomes of a request, and its body where that was read."""
    route = None if meter.passes(host, path) else meter.route(request.method, host, path)
    if route is None:
        return None, b""
    headers = {str(name).lower(): _text(value) for name, value in request.headers.items()}
    strange = (route.provider is None or meter.engine.settings.shadow) and not route.lookup
    if strange and _streamed(request.body) and "content-length" not in headers:
        return None, b""  # it must pass whatever it is: reading it would change how it is sent
    server = server_of(url.scheme, host, port(url)) if meter.watched else None
    try:
        body = _read(request, headers) if route.reads else b""
    except BodyTooLarge as error:
        return meter.too_large(route, error, server), b""
    if passing.passes(host, path, body):
        return None, body
    return meter.decide(route, headers, body, server), body


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _streamed(body: Any) -> bool:
    return body is not None and not isinstance(body, bytes | bytearray | str)


def _read(request: Any, headers: Mapping[str, str]) -> bytes:
    """The request's body, which can be sent all the same. Raises `BodyTooLarge` before it holds too much of it."""
    size, body = headers.get("content-length", ""), request.body
    if size.isdecimal() and int(size) > MAX_BODY:
        raise body_too_large(int(size))
    if not _streamed(body):
        return _bytes(body or b"")
    if hasattr(body, "read"):
        back = body.tell() if hasattr(body, "seekable") and body.seekable() else None
        read = bytearray(_bytes(body.read(MAX_BODY + 1)))
        if back is not None:
            body.seek(back)
        else:
            request.body = bytes(read)
    else:
        read = bytearray()
        for part in body:
            read += _bytes(part)
            if len(read) > MAX_BODY:
                break
        request.body = [bytes(read)]  # in one chunk, as often as it is asked for
    if len(read) > MAX_BODY:
        raise body_too_large(len(read))
    return bytes(read)


def _bytes(part: Any) -> bytes:
    return part.encode() if isinstance(part, str) else bytes(part)


def _changed(request: Any, body: bytes) -> Any:
    """The request as it goes out. The app's own stays as it is, since it may be sent more than once."""
    sent = request.copy()
    for name in ("Content-Encoding", "Transfer-Encoding"):
        sent.headers.pop(name, None)
    sent.headers["Content-Length"] = str(len(body))
    sent.body = body
    return sent


def _was_sent(error: BaseException) -> bool:
    within = error.args[0] if error.args else None
    told = (error, within, getattr(within, "reason", None))
    return not any(kind.__name__ in NEVER_SENT for one in told for kind in type(one).__mro__)


def _answer(adapter: Any, request: Any, refusal: Refusal) -> Any:
    """The refusal as if it had come over the wire."""
    raw = sys.modules["urllib3"].HTTPResponse(
        io.BytesIO(refusal.body),
        {**refusal.headers, "content-length": str(len(refusal.body))},
        refusal.status,
        reason=HTTPStatus(refusal.status).phrase,
        preload_content=False,
        decode_content=False,
    )
    return adapter.build_response(request, raw)


def _tapped(response: Any, tap: Tap) -> Any:
    """The answer, read on the way through: decoded, as requests reads it, unless the app goes below that."""
    headers = response.headers
    status, kind, encoding = (
        response.status_code,
        headers.get("content-type", ""),
        headers.get("content-encoding", ""),
    )

    def encoded() -> None:
        if encoding:
            tap.answered(status, kind, encoding, headers)
            tap.rewrites = False  # the app gets what it went down for

    tap.answered(status, kind, "", headers)
    if tap.rewrites:
        headers.pop("content-length", None)
    response.raw = Raw(response.raw, tap, encoded)
    return response
