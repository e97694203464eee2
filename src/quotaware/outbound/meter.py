"""What every HTTP edge does with a request, whatever its library: find out whether it is a call, have it decided, and
say what goes out instead.
"""

from __future__ import annotations

import json
import logging
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import SplitResult

import anyio.to_thread

from ..admission import Admission
from ..context import DENIED_HEADER, Binding, current
from ..core.bounds import Call
from ..engine import Engine
from ..errors import ApiError, BodyTooLarge, InvalidRequest, PermissionDenied
from ..logs import logged
from ..observing import Server, cleaned
from ..providers import formdata, jsontext, looking_up, naming, registry
from ..providers.base import Route, Unreadable
from ..stores.tickets import Steps, drive, drive_async, on_loop
from .decoding import whole
from .tap import Tap

logger = logging.getLogger("quotaware")

STRANGERS = 4096
"""Hosts without LLM calls that are remembered."""
LARGE = 131_072
PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
MAX_BODY = 32 * 1024 * 1024
"""A longer request body (bytes) is not read: at a known provider it is refused, elsewhere it passes."""


class Refusal(NamedTuple):
    """A synthetic answer, in the provider's own error shape."""

    status: int
    headers: dict[str, str]
    body: bytes


class Reading(NamedTuple):
    """A request body, read: the call that it asks for."""

    call: Call
    parsed: dict[str, Any]
    body: bytes


class Passage(NamedTuple):
    """A call that may go: the members to set in its body, and who reads the answer."""

    reading: Reading
    changes: Mapping[str, Any]
    tap: Tap

    async def body_async(self) -> bytes | None:
        """The same as `body`, in a thread where it takes longer than an event loop should stand still."""
        if self.changes and len(self.reading.body) > LARGE:
            return await anyio.to_thread.run_sync(self.body)
        return self.body()

    def body(self) -> bytes | None:
        """What to send instead of the app's body; None: as it came."""
        body, parsed = self.reading.body, self.reading.parsed
        try:
            return jsontext.edit(body, parsed, self.changes) if self.changes else None
        except Exception:
            logger.exception(
                "a call's body could not be changed and goes out as it came", extra=logged("body_not_changed")
            )
            self.tap.count("faults")
            return None


class Meter:
    """The outbound half of a Quota."""

    def __init__(
        self, engine: Engine, hosts: Mapping[str, str | None], deployments: Mapping[str, str] | None = None
    ) -> None:
        self.engine = engine
        self.watched = bool(engine.observers)
        """Whether anybody is told where requests go."""
        self._deployments = naming.check_deployments(deployments or {})
        self._hosts = registry.check_hosts(hosts)
        self._strangers: set[str] = set()

    def passes(self, host: str, path: str) -> bool:
        """Whether a request there is no call, whatever it carries. A host that was seen before costs one look."""
        if host not in self._strangers:
            if not registry.strange(host, self._hosts):
                return registry.never_called(host, self._hosts)
            if len(self._strangers) >= STRANGERS:
                self._strangers.clear()
            self._strangers.add(host)
        return not (registry.plain(path).endswith(registry.SUFFIXES) or looking_up.looks_up(path))

    def route(self, method: str, host: str, path: str, *, socket: bool = False) -> Route | None:
        """Where a request goes, if that may be a call; `socket`: whether it is to become a WebSocket."""
        return registry.find(method, host, path, self._hosts, socket=socket)

    def binding(self) -> Binding:
        """The standing of the running context with this meter."""
        found = current()
        return found if found is not None and found.meter is self else Binding(self, None)

    def too_large(self, route: Route, error: BodyTooLarge, server: Server | None) -> Refusal | None:
        """The answer to a body that is too long to be read, or None: it passes unread."""
        if route.provider is None or self.engine.settings.shadow:
            self.engine.count("unread")
            return None
        return self._unjudged(route, error, self.binding(), server)

    def decide(
        self, route: Route, headers: Mapping[str, str], body: bytes, server: Server | None
    ) -> Passage | Refusal | None:
        """Decides a request from sync code; on a loop's own thread it waits for no other call."""
        return drive(self.begin(route, self.read(route, headers, body), server, may_wait=not on_loop()))

    async def decide_async(
        self, route: Route, headers: Mapping[str, str], body: bytes, server: Server | None
    ) -> Passage | Refusal | None:
        """The same from async code."""
        if len(body) > LARGE or encoded(headers):
            reading = await anyio.to_thread.run_sync(self.read, route, headers, body)
        else:
            reading = self.read(route, headers, body)
        return await drive_async(self.begin(route, reading, server, may_wait=True))

    def read(self, route: Route, headers: Mapping[str, str], body: bytes) -> Reading | Unreadable | None:
        """What a body, sent under these headers (however they are spelled), asks for; None where it is no call after
        all. It may be run in a thread: a body that is encoded, or over `LARGE` bytes, takes longer than an event loop
        should stand still.
        """
        format, encoding = route.format, encoded(headers)
        if format is None or route.lookup:
            return Reading(Call(route.provider, route.operation, None, free=route.free), {}, body)
        if encoding:
            try:
                body = whole(encoding, body, MAX_BODY)
            except Exception as error:
                why = (
                    f"its body, encoded as {encoding[:64]!r}, cannot be read here ({error}); send it as it is"
                )
                return Reading(Call(route.provider, route.operation, None, unknown=why), {}, body)
        try:
            form = getattr(format, "forms", False) and formdata.is_form(body)
            parsed = (formdata if form else jsontext).parse(body)
            if not registry.plausible(route, parsed):
                return None
            call = naming.read(route, format, parsed, self._deployments)
            return Reading(replace(call, sealed=True) if _signed(headers) else call, parsed, body)
        except Unreadable as error:
            known = route.provider is not None or registry.claims(route, jsontext.claimed(body))
            return error if known else None
        except Exception:
            self._fault("could not be read")
            return None

    def begin(
        self, route: Route, reading: Reading | Unreadable | None, server: Server | None, *, may_wait: bool
    ) -> Steps[Passage | Refusal | None]:
        """Decides a request. None: it passes untouched."""
        try:
            return (yield from self._decide(route, reading, server, may_wait))
        except Exception:
            self._fault("could not be decided")
            return None

    def _decide(
        self, route: Route, reading: Reading | Unreadable | None, server: Server | None, may_wait: bool
    ) -> Steps[Passage | Refusal | None]:
        binding = self.binding()
        if route.lookup and isinstance(reading, Reading):
            return (yield from self._look_up(route, reading, binding, server))
        if isinstance(reading, Unreadable) and not self.engine.settings.shadow:
            return self._unjudged(route, _unreadable(reading), binding, server)
        if not isinstance(reading, Reading):
            return None
        outcome = yield from self.engine.admit(reading.call, binding, may_wait=may_wait, server=server)
        if isinstance(outcome, ApiError):
            return self._refusal(route, outcome, binding)
        try:
            return self._passage(route, outcome, reading)
        except BaseException:
            Tap(outcome, None, False).failed(sent=False)
            raise

    def _look_up(
        self, route: Route, reading: Reading, binding: Binding, server: Server | None
    ) -> Steps[Passage | Refusal]:
        """A request that makes nothing passes, unless it lists models and the caller may not."""
        look_up = yield from self.engine.look_up(reading.call, binding, route.answer, server=server)
        if isinstance(look_up, ApiError):
            return self._refusal(route, look_up, binding)
        return Passage(reading, {}, Tap(look_up, route.format, hide=False))

    def _fault(self, what: str) -> None:
        """A fault of ours never breaks a host's call: it is logged and counted, and the call passes unmetered."""
        logger.exception("a call %s and passes unmetered", what, extra=logged("call_unmetered"))
        self.engine.count("faults")

    def _passage(self, route: Route, admission: Admission, reading: Reading) -> Passage:
        format, parsed = route.format, reading.parsed
        changes: dict[str, Any] = {}
        asked = False
        if format is not None and parsed and not reading.call.sealed:
            if admission.cap is not None:
                asked_for = parsed if route.named is None else {**parsed, "model": reading.call.model}
                changes |= format.cap(route.provider, asked_for, admission.cap)
            if reading.call.stream and (more := format.ask_usage(parsed)):
                changes |= more
                asked = True
        return Passage(reading, changes, Tap(admission, format, hide=asked))

    def _unjudged(self, route: Route, error: ApiError, binding: Binding, server: Server | None) -> Refusal:
        """The answer to a call that cannot even be judged, which is counted as denied too."""
        self.engine.refused(error, Call(route.provider, route.operation, None), binding, server=server)
        return self._refusal(route, error, binding)

    def _refusal(self, route: Route, error: ApiError, binding: Binding) -> Refusal:
        request_id = f"req_{uuid.uuid4().hex}"
        error.fields.setdefault("request_id", request_id)
        binding.denied(error.fields["request_id"], error)
        try:
            shape = route.format.refusal(error) if route.format is not None else error.body()
        except Exception:  # denied is denied, in whatever shape
            logger.exception(
                "a denial could not be told in the provider's shape", extra=logged("denial_not_shaped")
            )
            shape = error.body()
        headers = {
            "content-type": "application/json",
            "x-should-retry": "false",
            "x-request-id": error.fields["request_id"],  # where OpenAI's SDK looks for it
            "request-id": error.fields["request_id"],  # and Anthropic's
            DENIED_HEADER: error.fields["request_id"],
            **error.headers(),
        }
        return Refusal(error.status, headers, json.dumps(shape).encode())


def becomes_socket(method: str, headers: Mapping[str, str]) -> bool:
    """Whether a request with these headers asks for a WebSocket."""
    return method == "GET" and headers.get("upgrade", "").lower() == "websocket"


def server_of(scheme: str, host: str, port: int | None) -> Server:
    """Where a request goes, as observers are told; asked for only where a meter is `watched`, since it costs more than
    a look. `port` None: the scheme's.
    """
    return Server(cleaned(host) or "", port or PORTS.get(scheme))


def port(url: SplitResult) -> int | None:
    """The port that a URL names; None where it names none, or one that is none."""
    try:
        return url.port
    except ValueError:  # the library that sends it says so
        return None


def encoded(headers: Mapping[str, str]) -> str:
    """How these headers say that the body is encoded; "" where it is as it is."""
    encoding = headers.get("content-encoding", "")
    return "" if encoding.strip().lower() in {"", "identity"} else encoding


def _signed(headers: Mapping[str, str]) -> bool:
    """Whether a signature over the body is in them, as in AWS's (`AWS4-HMAC-SHA256 …`)."""
    scheme = headers.get("authorization", "").partition(" ")[0].lower()
    return "hmac" in scheme or "ecdsa" in scheme


def body_too_large(size: int) -> BodyTooLarge:
    """The error for a body of so many bytes or more."""
    return BodyTooLarge(f"The request body of {size} bytes is longer than the {MAX_BODY} that can be metered")


def _unreadable(error: Unreadable) -> ApiError:
    if error.code == "model_ambiguous":
        return PermissionDenied(f"This call cannot be judged: {error.reason}", code=error.code)
    return InvalidRequest(f"This call cannot be judged: {error.reason}", code=error.code)
