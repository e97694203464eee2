"""The ASGI app of the management API: who asks, what, and the one shape of every answer.

Everything but the pages that tell of the API itself takes a credential, before anything else is looked at. A route's
work is blocking and runs off the event loop.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import logging
import re
import uuid
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import anyio.to_thread
from starlette.routing import Match
from starlette.routing import Route as Pattern

from ..errors import (
    ApiError,
    ConfigurationError,
    Conflict,
    InternalError,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    PreconditionFailed,
    StoreError,
    StoreUnavailable,
)
from ..logs import logged
from ..stores.tickets import drive_async
from ..tenancy.access import Actor
from ..words import terms
from ..words.wire import Body
from . import bodies, repeats
from .parts import Door, Parts, Scraped
from .repeats import Reply
from .routes import Again, Ask, Route, Streamed

logger = logging.getLogger("quotaware")

_ETAG = re.compile(r'"([0-9]{1,19})"')
_WIRE = {"addresses": "allowed_ips", "after": "cursor", "models": "allowed_models", "zone": "time_zone"}
"""Fields of the tree that the wire calls otherwise."""
_EMPTY = (b"", b"{}")
"""Bodies that say nothing: many clients send one with every request."""
CHUNK = 65_536
"""Characters of a streamed answer that are sent at once, at least."""
_CONTROL = [
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]


@dataclass(frozen=True, slots=True)
class Told:
    """An answer as it goes out: bytes that tell of the API, or JSON."""

    status: int
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()
    media: str = "application/json"


@dataclass(frozen=True, slots=True)
class Telling:
    """An answer that goes out as it is made."""

    media: str
    headers: tuple[tuple[str, str], ...]
    chunks: Iterator[bytes]


Asgi = Callable[[Any, Any, Any], Awaitable[None]]
Page = Callable[[str], Told]
"""A page that tells of the API itself: takes the path that the API is mounted at."""


_HEALTH = ("store", "away_s", "ahead_ms", "records", "degraded", "dropped")
"""What of `Quota.health` is told: no organization by its id, and no error's own words."""


class Management:
    """The management API as an ASGI app, to be mounted wherever the host wants it.

    routes  the table of operations
    pages   what is told of the API itself, by path; open to everybody
    dashboard  the app that serves `/dashboard` and what is below it
    needs_admin  nobody is let in before there is somebody who may manage anything
    """

    def __init__(
        self,
        parts: Parts,
        door: Door,
        routes: Iterable[Route],
        pages: Mapping[str, Page] | None = None,
        dashboard: Asgi | None = None,
        *,
        needs_admin: bool = True,
    ) -> None:
        self._parts = parts
        self._door = door
        self._pages = dict(pages or {})
        self._dashboard = dashboard
        self._needs_admin = needs_admin
        self._table: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods = self._table.setdefault(route.pattern, {})
            if route.method in methods:
                raise ValueError(f"{route.method} {route.path} is in the table twice")
            methods[route.method] = route
        self._patterns = [Pattern(path, _nothing, methods=["GET"]) for path in self._table]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008, "reason": "the management API speaks HTTP"})
            return
        if self._dashboard is not None and f"{path_of(scope)}/".startswith("/dashboard/"):
            await self._dashboard(scope, receive, send)
            return
        request_id = f"req_{uuid.uuid4().hex}"
        try:
            told = await self._answer(scope, receive)
        except bodies.Gone:
            return
        except Exception as error:
            told = _refused(as_api(error, request_id), request_id)
        if isinstance(told, Telling):
            await _tell(scope, receive, send, told, request_id)
        else:
            await _send(scope, send, told, request_id)

    async def _answer(self, scope: Any, receive: Any) -> Told | Telling:
        if path_of(scope) == "/healthz" and scope["method"] in {"GET", "HEAD"}:
            return await self._healthy(scope)
        if path_of(scope) == "/metrics" and self._parts.metrics and scope["method"] in {"GET", "HEAD"}:
            return await self._metrics(scope, self._parts.metrics)
        page = self._pages.get(path_of(scope))
        if page is not None and scope["method"] in {"GET", "HEAD"}:
            return page(scope.get("root_path", ""))
        actor = await self._let_in(scope)
        route, params = self._route(scope)
        headers = headers_of(scope)
        raw = await bodies.read(receive, headers, _room(route))
        work = partial(self._work, route, params, actor, headers, raw, scope)
        return await anyio.to_thread.run_sync(work)

    async def _healthy(self, scope: Any) -> Told:
        """Whether the store is well: open to everybody; who sends a key that holds `org:manage` hears how it is. A key
        that cannot be looked up, since the store is away, hears what everybody does.
        """
        seen = self._parts.health()
        well = seen["store"] == "ok" and seen.get("records", "ok") == "ok"
        told: dict[str, object] = {"status": "ok" if well else "degraded"}
        if "authorization" in headers_of(scope):
            with contextlib.suppress(StoreError, StoreUnavailable):
                actor = await self._let_in(scope)
                if actor.may("org:manage", (actor.org,)):
                    told |= {name: seen[name] for name in _HEALTH if name in seen}
        return _told(Reply(200 if well else 503, told))

    async def _metrics(self, scope: Any, metrics: Scraped) -> Told:
        """The metrics: of all organizations to who has the host's token, else of the own to who may see all of it."""
        headers, org = headers_of(scope), None
        if not metrics.opens(headers.get("authorization", "")):
            actor = await self._let_in(scope)
            actor.require("analytics:full", (actor.org,))
            org = actor.org

        def told() -> Told:
            page = metrics.page(org)
            if not takes_gzip(headers):
                return Told(200, page.body, (("vary", "accept-encoding"),), page.media)
            packed = (("content-encoding", "gzip"), ("vary", "accept-encoding"))
            return Told(200, gzip.compress(page.body, 1, mtime=0), packed, page.media)

        return await anyio.to_thread.run_sync(told)

    async def _let_in(self, scope: Any) -> Actor:
        """Who sends it; nobody, before there is anybody who may manage anything."""
        await drive_async(self._parts.engine.prepared())
        if self._needs_admin:
            await anyio.to_thread.run_sync(self._parts.tenancy.require_admin)
        return await self._door.authenticate(scope)

    def _route(self, scope: Any) -> tuple[Route, Mapping[str, str]]:
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        for pattern in self._patterns:
            match, found = pattern.matches({**scope, "method": "GET"})
            if match is Match.FULL:
                methods = self._table[pattern.path]
                if method not in methods:
                    allowed = sorted({*methods, *(("HEAD",) if "GET" in methods else ())})
                    raise MethodNotAllowed(
                        f"This path takes {', '.join(allowed)}", fields={"allowed": allowed}
                    )
                return methods[method], found["path_params"]
        raise NotFound("There is nothing at this path")

    def _work(
        self,
        route: Route,
        params: Mapping[str, str],
        actor: Actor,
        headers: Mapping[str, str],
        raw: bytes,
        scope: Any,
    ) -> Told | Telling:
        query_string = scope.get("query_string", b"")
        run = partial(self._run, route, params, actor, headers, raw, query_string)
        key = headers.get("idempotency-key")
        if route.method != "POST" or key is None:
            answer = run()
            return _telling(answer) if isinstance(answer, Streamed) else _told(answer)
        seen = json.dumps(headers.get("if-match")).encode()
        content = b"\0".join((route.method.encode(), scope["path"].encode(), query_string, seen, raw))
        who = f"{actor.kind}/{actor.id}"
        found = repeats.claim(self._parts.store, actor.org, who, key, content)
        if isinstance(found, Reply):
            return _told(found, ("idempotent-replayed", "true"))
        try:
            reply = run()
        except BaseException:
            found.drop()
            raise
        if isinstance(reply, Streamed):  # nothing was done that could be repeated
            found.drop()
            return _telling(reply)
        with contextlib.suppress(StoreError):  # it is done; a repeat is told so, or that it is under way
            found.keep(reply, route.secrets)
        return _told(reply)

    def _run(
        self,
        route: Route,
        params: Mapping[str, str],
        actor: Actor,
        headers: Mapping[str, str],
        raw: bytes,
        query: bytes,
    ) -> Reply | Streamed:
        expect = _expected(headers.get("if-match"))
        if expect is not None and route.method != "GET" and not route.guarded:
            raise PreconditionFailed("This changes nothing that has an ETag; send it without If-Match")
        body = None
        if route.body is not None:
            body = bodies.parsed(route.body, raw, headers.get("content-type", ""), _room(route))
        elif raw.strip() not in _EMPTY:
            raise MalformedRequest("This takes no body", code="no_body")
        ask = Ask(
            actor,
            self._parts.tenancy.by(actor),
            self._parts,
            params,
            None if route.query is None else bodies.queried(route.query, query),
            body,
            expect,
        )
        try:
            answer = route.run(ask)
        except (InvalidRequest, ConfigurationError) as error:
            raise _worded(error, body) from None
        if isinstance(answer, Streamed):
            return answer
        if answer is None:
            return Reply(204, None)
        if isinstance(answer, Again):
            return Reply(200, answer.answer.model_dump(mode="json"))
        return Reply(route.status, answer.model_dump(mode="json"))


def _room(route: Route) -> bodies.Room:
    return bodies.LARGE if route.large else bodies.ROOM


def _told(reply: Reply, *headers: tuple[str, str]) -> Told:
    if reply.body is None:
        return Told(reply.status, b"", headers)
    if "revision" in reply.body:
        headers = (*headers, ("etag", f'"{reply.body["revision"]}"'))
    return Told(reply.status, json.dumps(reply.body, separators=(",", ":")).encode(), headers)


def _telling(answer: Streamed) -> Telling:
    """The first of it is made now: what goes wrong at once is told with its own status."""
    chunks = _chunks(answer.pieces)
    first = next(chunks, b"")
    named = ("content-disposition", f'attachment; filename="{answer.filename}"')
    return Telling(answer.media, (named,), chain((first,), chunks))


def _chunks(pieces: Iterator[str]) -> Iterator[bytes]:
    """The text in some larger pieces."""
    some: list[str] = []
    size = 0
    for piece in pieces:
        some.append(piece)
        size += len(piece)
        if size >= CHUNK:
            yield "".join(some).encode()
            some, size = [], 0
    yield "".join(some).encode()


def _refused(error: ApiError, request_id: str) -> Told:
    headers = error.headers()
    return Told(error.status, json.dumps(error.body(request_id)).encode(), tuple(headers.items()))


def as_api(error: Exception, request_id: str) -> ApiError:
    """Any exception as what the caller is told of it."""
    match error:
        case ApiError() if error.code == "changed_meanwhile":
            return PreconditionFailed(error.message, fields=error.fields)
        case ApiError():
            return error
        case ConfigurationError():
            return _worded(error, None)
        case StoreError():
            return StoreUnavailable("The quota store did not answer; try again", retry_after=1)
        case Conflict():
            return StoreUnavailable("The organization kept changing; try again", retry_after=1)
    logger.error(
        "a management request failed (%s)",
        request_id,
        exc_info=error,
        extra=logged("request_failed", request=request_id),
    )
    return InternalError("Something went wrong here; the log has it under this request id")


def _worded(error: InvalidRequest | ConfigurationError, body: Body | None) -> InvalidRequest:
    """The error with its fields called as the body calls them."""

    def word(field: str, window: str | None = None) -> str:
        if field == "limits" and body is not None:
            return terms.field_of(body, window)
        return _WIRE.get(field, field)

    if isinstance(error, ConfigurationError):
        return bodies.bad_fields([{"field": word(error.field), "message": str(error).partition(": ")[2]}])
    for each in error.fields.get("errors", ()):
        each["field"] = word(each["field"], error.fields.get("window"))
    return error


def _expected(if_match: str | None) -> int | None:
    """The revision that a change was made from. Raises `PreconditionFailed` for a tag that none of ours is."""
    if if_match is None or if_match.strip() == "*":
        return None
    found = _ETAG.fullmatch(if_match.strip())
    if found is None:
        raise PreconditionFailed('If-Match is the ETag that was answered, such as "12"')
    return int(found[1])


def takes_gzip(headers: Mapping[str, str]) -> bool:
    """Whether who sent these headers reads an answer that is compressed."""
    return "gzip" in headers.get("accept-encoding", "").lower()


def headers_of(scope: Any) -> dict[str, str]:
    """Headers by lower-case name; one that came twice has its values joined, as HTTP has it."""
    found: dict[str, str] = {}
    for name, value in scope.get("headers", ()):
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def path_of(scope: Any) -> str:
    """The path below the mount."""
    path: str = scope.get("path", "")
    root: str = scope.get("root_path", "").rstrip("/")
    below = path[len(root) :] if root and path.startswith(f"{root}/") else path
    return below or "/"


async def _send(scope: Any, send: Any, told: Told, request_id: str) -> None:
    headers = [
        *_CONTROL,
        (b"x-request-id", request_id.encode()),
        *((name.encode(), value.encode()) for name, value in told.headers),
    ]
    if told.status != 204:
        headers += [(b"content-type", told.media.encode()), (b"content-length", str(len(told.body)).encode())]
    await send({"type": "http.response.start", "status": told.status, "headers": headers})
    body = b"" if scope["method"] == "HEAD" else told.body
    await send({"type": "http.response.body", "body": body})


async def _tell(scope: Any, receive: Any, send: Any, telling: Telling, request_id: str) -> None:
    """Sends an answer as it is made, off the event loop, until whoever asked is gone. Where it breaks off in the middle
    the connection does too, so that nobody takes a part for the whole.
    """
    headers = [
        *_CONTROL,
        (b"x-request-id", request_id.encode()),
        *((name.encode(), value.encode()) for name, value in telling.headers),
        (b"content-type", telling.media.encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    broken: Exception | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(_until_gone, receive, group.cancel_scope)
        try:
            while scope["method"] != "HEAD" and (
                chunk := await anyio.to_thread.run_sync(next, telling.chunks, None)
            ):
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        except Exception as error:
            logger.exception(
                "an answer broke off in the middle (%s)",
                request_id,
                extra=logged("answer_broke_off", request=request_id),
            )
            broken = error
        group.cancel_scope.cancel()
    if broken is not None:
        raise broken


async def _until_gone(receive: Any, sending: anyio.CancelScope) -> None:
    """The body was read to its end: nothing else comes then."""
    if (await receive())["type"] == "http.disconnect":
        sending.cancel()


async def _lifespan(receive: Any, send: Any) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


async def _nothing(request: Any) -> Any:
    """Stands in the patterns, which only match paths."""
    raise NotImplementedError
