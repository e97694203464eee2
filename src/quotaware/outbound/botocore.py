"""The edge for botocore, and so for boto3: at its endpoint, where requests are made, signed and sent.

A body is judged, and changed, before it is signed. Each try is a request of its own there, and a call of its own here.
botocore is not imported before the app does.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Mapping
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import Any, NamedTuple
from urllib.parse import SplitResult, unquote, urlsplit

from ..context import DENIED_HEADER
from ..errors import BodyTooLarge
from .meter import MAX_BODY, Meter, Passage, Refusal, body_too_large, port, server_of
from .patching import Patch, Serving
from .tap import Tap
from .urllib3_streams import Raw

NEVER_SENT = frozenset({"ConnectTimeoutError", "EndpointConnectionError", "ProxyConnectionError", "SSLError"})
"""Errors (by name) after which no whole request can have reached the provider."""
_DECISION = "_quotaware_decision"
"""The attribute of a signed request that carries to its sending what was decided of it."""

Decision = Passage | Refusal | None


class _Asked(NamedTuple):
    """A request, signed or not."""

    method: str
    host: str
    path: str
    headers: Mapping[str, str]
    url: SplitResult

    @classmethod
    def of(cls, method: str, url: str, headers: Mapping[str, Any]) -> _Asked:
        split = urlsplit(url)
        told = {str(name).lower(): _text(value) for name, value in headers.items()}
        return cls(method, split.hostname or "", unquote(split.path), told, split)

    def decide(self, meter: Meter, body: Any) -> tuple[Decision, bytes | None]:
        """What becomes of it, and its body where that was read."""
        route = None if meter.passes(self.host, self.path) else meter.route(self.method, self.host, self.path)
        if route is None:
            return None, None
        server = server_of(self.url.scheme, self.host, port(self.url)) if meter.watched else None
        try:
            read = _read(body) if route.format is not None else b""
        except BodyTooLarge as error:
            return meter.too_large(route, error, server), None
        decision = meter.decide(route, self.headers, read, server)
        return decision, read if route.format is not None else None


def _making(original: Any, serving: Serving) -> Any:
    """Our `Endpoint.create_request`."""

    def create_request(endpoint: Any, params: dict[str, Any], operation_model: Any = None) -> Any:
        meter = serving()
        if meter is None:
            return original(endpoint, params, operation_model)
        asked = _Asked.of(params["method"], params["url"], params["headers"])
        decision, body = asked.decide(meter, params["body"])
        if body is not None and hasattr(params["body"], "read"):
            params["body"] = body  # it may be a file that can be read only once
        try:
            if isinstance(decision, Passage) and (changed := decision.body()) is not None:
                body = changed
                params = {**params, "body": body}
            request = original(endpoint, params, operation_model)
        except BaseException:
            _let_go(decision)
            raise
        signed = _Asked.of(request.method, request.url, request.headers)
        if signed[:3] != asked[:3] or (body is not None and (request.body or b"") != body):
            _let_go(decision)  # the app's own handlers have made another request of it
            decision, _ = signed.decide(meter, request.body)
        if decision is not None:
            setattr(request, _DECISION, decision)
        return request

    return create_request


def _sending(original: Any, serving: Serving) -> Any:
    """Our `Endpoint._send`."""

    def send(endpoint: Any, request: Any) -> Any:
        decision = vars(request).pop(_DECISION, None)
        if isinstance(decision, Refusal):
            return _answer(request, decision)
        if not isinstance(decision, Passage):
            return original(endpoint, request)
        try:
            with decision.tap.around():
                response = original(endpoint, request)
        except BaseException as error:
            decision.tap.failed(type(error).__name__ not in NEVER_SENT)
            raise
        return _tapped(response, decision.tap)

    return send


def _getting(original: Any, serving: Serving) -> Any:
    """Our `Endpoint._get_response`: what was not sent after all costs nothing."""

    def get_response(endpoint: Any, request: Any, *rest: Any) -> Any:
        try:
            return original(endpoint, request, *rest)
        finally:
            _let_go(vars(request).pop(_DECISION, None))

    return get_response


def _retrying(original: Any, serving: Serving) -> Any:
    """Our `_needs_retry` of either endpoint: asking again would change no denial."""

    async def no() -> bool:
        return False

    def needs_retry(
        endpoint: Any, attempts: int, model: Any, asked: Any, response: Any = None, *rest: Any, **more: Any
    ) -> Any:
        if response is not None and DENIED_HEADER in response[0].headers:
            return no() if iscoroutinefunction(original) else False
        return original(endpoint, attempts, model, asked, response, *rest, **more)

    return needs_retry


PATCHES = (
    Patch("botocore.endpoint", "Endpoint", "create_request", _making),
    Patch("botocore.endpoint", "Endpoint", "_get_response", _getting),
    Patch("botocore.endpoint", "Endpoint", "_send", _sending),
    Patch("botocore.endpoint", "Endpoint", "_needs_retry", _retrying),
    Patch("aiobotocore.endpoint", "AioEndpoint", "_needs_retry", _retrying),
)
"""aiobotocore's endpoint does all of it by itself, and sends by libraries that are metered, where it has signed."""


def _let_go(decision: Decision) -> None:
    if isinstance(decision, Passage):
        decision.tap.failed(sent=False)


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _read(body: Any) -> bytes:
    """A body in any form that botocore takes. Raises `BodyTooLarge` before it holds too much of it."""
    if hasattr(body, "read"):
        read = body.read(MAX_BODY + 1)
        if len(read) > MAX_BODY:
            with suppress(OSError):
                body.seek(-len(read), io.SEEK_CUR)
    else:
        read = body
    if isinstance(read, str):
        read = read.encode()
    if not isinstance(read, bytes | bytearray):
        return b""  # nothing, or a form
    if len(read) > MAX_BODY:
        raise body_too_large(len(read))
    return bytes(read)


def _answer(request: Any, refusal: Refusal) -> Any:
    """The refusal as if it had come over the wire."""
    headers = {**refusal.headers, "content-length": str(len(refusal.body))}
    raw = sys.modules["urllib3"].HTTPResponse(
        io.BytesIO(refusal.body), headers, refusal.status, preload_content=False, decode_content=False
    )
    return sys.modules["botocore.awsrequest"].AWSResponse(request.url, refusal.status, headers, raw)


def _tapped(response: Any, tap: Tap) -> Any:
    """The answer, read on the way through; one that is in memory already is read at once."""
    headers = response.headers
    encoding = headers.get("content-encoding", "")
    tap.answered(response.status_code, headers.get("content-type", ""), encoding, headers)
    tap.rewrites = False  # AWS's streams tell their usage unasked
    if response._content is None:
        response.raw = Raw(response.raw, tap)
    else:
        tap.feed(response._content)
        tap.end()
    return response
