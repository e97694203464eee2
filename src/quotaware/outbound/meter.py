"""What every HTTP edge does with a request, whatever its library: find out whether it is a call, have it decided, and
say what goes out instead.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..admission import Admission
from ..context import DENIED_HEADER, Binding, current
from ..core.bounds import Call
from ..engine import Engine
from ..errors import ApiError, BodyTooLarge, InvalidRequest, PermissionDenied
from ..providers import jsontext, registry
from ..providers.base import Route, Unreadable
from ..stores.thread import Steps
from .tap import Tap

MAX_BODY = 32 * 1024 * 1024
"""A longer request body (bytes) is not read: at a known provider it is refused, elsewhere it passes."""


class Refusal(NamedTuple):
    """A synthetic answer, in the provider's own error shape."""

    status: int
    headers: dict[str, str]
    body: bytes


class Passage(NamedTuple):
    """A call that may go: `body` to send instead of the app's (None: as it came), and who reads the answer."""

    body: bytes | None
    tap: Tap


class Meter:
    """The outbound half of a Quota."""

    def __init__(self, engine: Engine, hosts: Mapping[str, str | None]) -> None:
        registry.check_hosts(hosts)
        self.engine = engine
        self._hosts = hosts

    def route(self, method: str, host: str, path: str) -> Route | None:
        """Where a request goes, if that may be a call. Strangers cost a microsecond here and nothing after."""
        return registry.find(method, host, path, self._hosts)

    def binding(self) -> Binding:
        """The standing of the running context with this meter."""
        found = current()
        return found if found is not None and found.meter is self else Binding(self, None)

    def too_large(self, route: Route, size: int) -> Refusal | None:
        """The answer to a body of `size` bytes that is too long to be read, or None: it passes unread."""
        if route.provider is None:
            self.engine.tally["unread"] += 1
            return None
        error = BodyTooLarge(
            f"The request body of {size} bytes is longer than the {MAX_BODY} that can be metered",
        )
        return self._refusal(route, error, self.binding())

    def begin(self, route: Route, body: bytes, *, may_wait: bool) -> Steps[Passage | Refusal | None]:
        """Decides a request. None: it is no call after all, or cannot be judged, and passes untouched."""
        binding = self.binding()
        try:
            read = self._read(route, body)
        except Unreadable as error:
            if self.engine.settings.shadow:
                return None
            return self._refusal(route, _unreadable(error), binding)
        if read is None:
            return None
        call, parsed = read
        outcome = yield from self.engine.admit(call, binding, may_wait=may_wait)
        if isinstance(outcome, ApiError):
            return self._refusal(route, outcome, binding)
        try:
            return self._passage(route, outcome, call, body, parsed)
        except BaseException:
            Tap(outcome, None, False).failed(sent=False)
            raise

    def _read(self, route: Route, body: bytes) -> tuple[Call, dict[str, Any]] | None:
        if route.format is None:
            return Call(route.provider, route.operation, None, free=route.free), {}
        try:
            parsed = jsontext.parse(body)
        except Unreadable:
            if route.provider is None and not _looks_like_json(body):
                return None
            raise
        if not registry.plausible(route, parsed):
            return None
        return route.format.read(route.provider, parsed), parsed

    def _passage(
        self, route: Route, admission: Admission, call: Call, body: bytes, parsed: dict[str, Any]
    ) -> Passage:
        format = route.format
        changes: dict[str, Any] = {}
        asked = False
        if format is not None:
            if admission.cap is not None:
                changes |= format.cap(route.provider, parsed, admission.cap)
            if call.stream and (more := format.ask_usage(parsed)):
                changes |= more
                asked = True
        edited = jsontext.edit(body, parsed, changes) if changes else None
        return Passage(edited, Tap(admission, format, hide=asked))

    def _refusal(self, route: Route, error: ApiError, binding: Binding) -> Refusal:
        request_id = f"req_{uuid.uuid4().hex}"
        error.fields.setdefault("request_id", request_id)
        binding.denied(error.fields["request_id"], error)
        shape = route.format.refusal(error) if route.format is not None else error.body()
        headers = {
            "content-type": "application/json",
            "x-should-retry": "false",
            "x-request-id": error.fields["request_id"],
            DENIED_HEADER: error.fields["request_id"],
            **error.headers(),
        }
        return Refusal(error.status, headers, json.dumps(shape, ensure_ascii=False).encode())


def _unreadable(error: Unreadable) -> ApiError:
    if error.code == "model_ambiguous":
        return PermissionDenied(f"This call cannot be judged: {error.reason}", code=error.code)
    return InvalidRequest(f"This call cannot be judged: {error.reason}", code=error.code)


def _looks_like_json(body: bytes) -> bool:
    return body.lstrip()[:1] == b"{"
