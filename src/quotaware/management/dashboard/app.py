"""The dashboard as an ASGI app: who looks, what they see, and the headers that keep a page to itself.

A page needs a session, opened with a key, or the host's own login. A form carries its session's token, and a browser
sends the session's cookie from this very site only.
"""

from __future__ import annotations

import gzip
import logging
import re
import secrets
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode

import anyio.to_thread
from starlette.routing import compile_path

from ...errors import ApiError, MethodNotAllowed, NotFound, PermissionDenied, StoreError
from ...inbound.standing import away
from ...stores.tickets import drive_async
from ...tenancy import keys
from ...tenancy.access import Actor
from .. import bodies
from ..app import as_api, headers_of, path_of, takes_gzip
from ..parts import Door, Parts
from ..routes import Ask
from .assets import Asset, asset
from .events import Events
from .once import once
from .pulse import Pulse
from .render import Shell, rendered
from .sessions import COOKIE, LIFE_MS, Session, Sessions, same
from .table import PAGES
from .texts import Language, language_of
from .view import Html, Page, Redirect, View

logger = logging.getLogger("quotaware")

BASE = "/dashboard"
TOKEN, LANGUAGE, THEME = "quotaware_token", "quotaware_language", "quotaware_theme"
"""Cookies: the token of forms before anybody is signed in, and how pages look."""
THEMES = ("light", "dark")
YEAR_S = 365 * 86_400
MOST_FIELDS = 200
_CSP = "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; frame-ancestors 'none'"
POLICY = (
    ("content-security-policy", _CSP),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
)
_TEXT = "text/plain; charset=utf-8"
_TOKEN = re.compile(r"[0-9A-Za-z_-]{32}", re.ASCII)
_CREDENTIALS = frozenset({b"authorization", b"x-api-key"})


@dataclass(frozen=True, slots=True)
class Response:
    """What goes out."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()
    media: str = "text/html; charset=utf-8"
    cache: str = "no-store"


@dataclass(frozen=True, slots=True)
class Request:
    """What came in, read once."""

    scope: Any
    method: str
    path: str
    root: str
    headers: Mapping[str, str]
    cookies: Mapping[str, str]
    query: Mapping[str, str]
    form: Mapping[str, str]

    @property
    def language(self) -> Language:
        """The one that was chosen, else the first that the browser asks for and there is."""
        return language_of(self.cookies.get(LANGUAGE, ""), self.headers.get("accept-language", ""))

    @property
    def theme(self) -> str:
        """The one that was chosen, "" for the system's."""
        chosen = self.cookies.get(THEME, "")
        return chosen if chosen in THEMES else ""

    def cookie(self, name: str, value: str, age_s: int) -> tuple[str, str]:
        """The header that sets a cookie for the dashboard alone."""
        secure = "; Secure" if self.scope.get("scheme") == "https" else ""
        attributes = f"Path={self.root}; Max-Age={age_s}; HttpOnly; SameSite=Strict{secure}"
        return "set-cookie", f"{name}={value}; {attributes}"


class Dashboard:
    """Everything below `/dashboard` of the mount."""

    def __init__(self, parts: Parts, door: Door) -> None:
        self._parts = parts
        self._door = door
        self._sessions = Sessions(parts.store)
        self._pulse = Pulse(parts.tenancy, parts.store)
        self._events = Events(self._pulse)
        self._pages = [(compile_path(page.path)[0], page) for page in PAGES]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        try:
            request = await _request(scope, receive)
        except bodies.Gone:
            return
        except ApiError as error:
            await _send(scope, send, Response(error.status, error.message.encode(), media=_TEXT))
            return
        try:
            if request.path == "/events" and request.method == "GET":
                _, actor = await self._signed_in(request)
                watch = partial(self._still, request)
                await self._events.serve(actor, request.query.get("mark", ""), watch, receive, send, POLICY)
                return
            response = await self._answer(request)
        except Exception as error:
            response = self._failed(request, error)
        await _send(scope, send, _packed(request, response))

    async def _answer(self, request: Request) -> Response:
        if request.path.startswith("/static/"):
            return _static(request)
        if request.path == "/sign-in":
            return await self._sign_in(request)
        if request.path == "/look" and request.method == "POST":
            return await self._look(request)
        try:
            session, actor = await self._signed_in(request)
        except ApiError as error:
            if error.status == 401:
                return _to_sign_in(request)
            raise
        if request.method == "POST" and not same(request.form.get("csrf", ""), session.csrf):
            raise PermissionDenied("This form is of another session; open the page anew", code="csrf")
        if request.path == "/sign-out" and request.method == "POST":
            await anyio.to_thread.run_sync(self._sessions.close, session)
            return _redirect(request, "/sign-in", request.cookie(COOKIE, "", 0))
        response = await anyio.to_thread.run_sync(self._page, request, session, actor)
        if request.cookies.get(COOKIE) != session.cookie:  # the host's own login was just met
            cookie = request.cookie(COOKIE, session.cookie, LIFE_MS // 1000)
            return Response(
                response.status, response.body, (*response.headers, cookie), response.media, response.cache
            )
        return response

    # who looks

    async def _signed_in(self, request: Request) -> tuple[Session, Actor]:
        """Whose session it is, as the store has both now; a member of the host's own login gets one.

        Raises `ApiError`: 401 where nobody is signed in.
        """
        await drive_async(self._parts.engine.prepared())
        try:
            cookie = request.cookies.get(COOKIE, "")
            session = await anyio.to_thread.run_sync(self._sessions.find, cookie) if cookie else None
            if session is not None and session.kind == "key":
                actor = await self._door.again(request.scope, session.who)
                if actor.org == session.org:
                    return session, actor
                session = None
            actor = await self._door.authenticate(_without_credentials(request.scope))
            if session is None or (session.org, session.who) != (actor.org, actor.id):
                if request.method == "POST":
                    raise PermissionDenied("This form is of another session; open the page anew", code="csrf")
                session = await anyio.to_thread.run_sync(self._sessions.open, actor.org, "member", actor.id)
        except StoreError:
            raise away() from None
        return session, actor

    async def _still(self, request: Request) -> bool:
        """Whether the viewer is still signed in."""
        try:
            await self._signed_in(request)
        except ApiError as error:
            return error.status >= 500
        return True

    async def _sign_in(self, request: Request) -> Response:
        token = request.cookies.get(TOKEN, "")
        if not _TOKEN.fullmatch(token):  # none, or none of ours: it goes out again in a header
            token = secrets.token_urlsafe(24)
        keep = request.cookie(TOKEN, token, LIFE_MS // 1000)
        if request.method != "POST":
            return self._asking(request, token, keep)
        if request.cookies.get(TOKEN) != token or not same(request.form.get("csrf", ""), token):
            return self._asking(request, token, keep, status=403, told="sign_in.stale")
        await drive_async(self._parts.engine.prepared())
        try:
            await anyio.to_thread.run_sync(self._parts.tenancy.require_admin)
            key = request.form.get("key", "").strip()
            if not keys.well_formed(key):
                return self._asking(request, token, keep, status=401, told="sign_in.malformed")
            actor = await self._door.authenticate(_with_key(request.scope, key))
        except ApiError as error:
            told = "sign_in.wrong" if error.status == 401 else ""
            return self._asking(request, token, keep, status=error.status, told=told, error=error)
        session = await anyio.to_thread.run_sync(self._sessions.open, actor.org, "key", keys.digest(key))
        if old := request.cookies.get(COOKIE):
            await anyio.to_thread.run_sync(self._end, old)
        return _redirect(
            request,
            _inside(request.form.get("next", "")),
            request.cookie(COOKIE, session.cookie, LIFE_MS // 1000),
            request.cookie(TOKEN, "", 0),
        )

    def _end(self, cookie: str) -> None:
        session = self._sessions.find(cookie)
        if session is not None:
            self._sessions.close(session)

    def _asking(
        self, request: Request, token: str, *headers: tuple[str, str], status: int = 200, told: str = "",
        error: ApiError | None = None,
    ) -> Response:  # fmt: skip
        target = request.form.get("next") or request.query.get("next", "")
        values = {"told": told, "error": error, "next": _inside(target)}
        return self._html(request, Html("sign_in.html", values, status), token, headers=headers)

    async def _look(self, request: Request) -> Response:
        """How pages look from now on: their language and theme."""
        token = request.cookies.get(TOKEN, "")
        if cookie := request.cookies.get(COOKIE):
            session = await anyio.to_thread.run_sync(self._sessions.find, cookie)
            token = session.csrf if session is not None else token
        if not token or not same(request.form.get("csrf", ""), token):
            raise PermissionDenied("This form is of another session; open the page anew", code="csrf")
        chosen = []
        language, theme = request.form.get("language"), request.form.get("theme")
        if language is not None:
            chosen.append(request.cookie(LANGUAGE, language_of(language, ""), YEAR_S))
        if theme is not None:
            chosen.append(request.cookie(THEME, theme if theme in THEMES else "", YEAR_S))
        return _redirect(request, _inside(request.form.get("next", "")), *chosen)

    # what they see

    def _page(self, request: Request, session: Session, actor: Actor) -> Response:
        page, params = self._found(request)
        view = View(
            Ask(actor, self._parts.tenancy.by(actor), self._parts, params),
            self._pulse,
            request.root,
            request.path,
            request.language,
            request.theme,
            session.csrf,
            request.query,
            request.form,
        )
        mark = (
            self._pulse.of(view.org).mark if page.method == "GET" else ""
        )  # what moves from here on is told
        answer = once(view, page.run) if page.method == "POST" else page.run(view)
        if isinstance(answer, Redirect):
            told = f"?{urlencode({'told': answer.told})}" if answer.told else ""
            return _redirect(request, f"{_inside(answer.path)}{told}")
        return self._html(request, answer, session.csrf, view, mark)

    def _found(self, request: Request) -> tuple[Page, Mapping[str, str]]:
        method = "GET" if request.method == "HEAD" else request.method
        known = False
        for pattern, page in self._pages:
            if (match := pattern.match(request.path)) is not None:
                if page.method == method:
                    return page, match.groupdict()
                known = True
        if known:
            raise MethodNotAllowed("This page does not take that")
        raise NotFound("There is no such page")

    def _html(
        self,
        request: Request,
        html: Html,
        csrf: str,
        view: View | None = None,
        mark: str = "",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> Response:
        shell = Shell(
            request.root, request.path, request.language, request.theme, csrf, request.query, view, mark
        )
        return Response(html.status, rendered(shell, html).encode("utf-8", "replace"), headers)

    def _failed(self, request: Request, error: Exception) -> Response:
        """A page for an error, without what only the log should say."""
        request_id = f"req_{uuid.uuid4().hex}"
        told = as_api(error, request_id)
        values = {"status": told.status, "error": told, "errors": told.fields.get("errors", ())}
        return self._html(request, Html("error.html", values, told.status), "")


def _static(request: Request) -> Response:
    found: Asset | None = asset(request.path.removeprefix("/static/"))
    if found is None:
        return Response(404, b"", media=_TEXT)
    cache = "public, max-age=31536000, immutable" if request.query.get("v") == found.tag else "no-cache"
    tag = f'"{found.tag}"'
    if request.headers.get("if-none-match") == tag:
        return Response(304, b"", (("etag", tag),), found.media, cache)
    if takes_gzip(request.headers):
        packed = (("etag", tag), ("content-encoding", "gzip"), ("vary", "accept-encoding"))
        return Response(200, found.packed, packed, found.media, cache)
    return Response(200, found.plain, (("etag", tag), ("vary", "accept-encoding")), found.media, cache)


def _packed(request: Request, response: Response) -> Response:
    """Compressed, where that is worth it. Another site cannot make the browser ask for a page as the viewer
    (SameSite=Strict), so its length tells nobody anything.
    """
    if (
        len(response.body) < 1024
        or not response.media.startswith("text/html")
        or not takes_gzip(request.headers)
    ):
        return response
    headers = (*response.headers, ("content-encoding", "gzip"), ("vary", "accept-encoding"))
    body = gzip.compress(response.body, 6, mtime=0)
    return Response(response.status, body, headers, response.media, response.cache)


def _to_sign_in(request: Request) -> Response:
    """To the door, and back afterwards; what a form did is not done again."""
    here = request.path if request.method == "GET" else "/"
    if request.headers.get("hx-request"):  # a part of a page: the whole page goes
        return Response(401, b"", (("hx-redirect", f"{request.root}/sign-in"),))
    where = "/sign-in" if here == "/" else f"/sign-in?{urlencode({'next': here})}"
    return _redirect(request, where, request.cookie(COOKIE, "", 0))


def _redirect(request: Request, path: str, *headers: tuple[str, str]) -> Response:
    """To a path of the dashboard, and to nowhere else."""
    return Response(303, b"", (("location", f"{request.root}{path}"), *headers))


def _inside(path: str) -> str:
    """A path of the dashboard that a form named; the first page for whatever is none."""
    plain = path.isascii() and path.isprintable() and "\\" not in path and "//" not in path
    return path if plain and path.startswith("/") and not path.startswith(("/sign", "/live")) else "/"


def _without_credentials(scope: Any) -> Any:
    """The request as the host's own login sees it: a key signs in by the form alone."""
    headers = [(name, value) for name, value in scope["headers"] if name.lower() not in _CREDENTIALS]
    return {**scope, "headers": headers}


def _with_key(scope: Any, key: str) -> Any:
    plain = _without_credentials(scope)
    return {**plain, "headers": [*plain["headers"], (b"authorization", f"Bearer {key}".encode())]}


async def _request(scope: Any, receive: Any) -> Request:
    """Raises `BodyTooLarge`, `bodies.Gone`."""
    headers = headers_of(scope)
    method = scope["method"]
    form = _fields(await bodies.read(receive, headers)) if method == "POST" else {}
    below = path_of(scope)
    path = below.removeprefix(BASE) or "/"
    root = scope.get("root_path", "").rstrip("/") + BASE
    query = _fields(scope.get("query_string", b""))
    return Request(scope, method, path, root, headers, _cookies(headers), query, form)


def _fields(raw: bytes) -> dict[str, str]:
    """Fields of a form or query; of one that is there twice, the values joined by lines."""
    found: dict[str, str] = {}
    try:
        pairs = parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=MOST_FIELDS)
    except ValueError:
        return {}
    for name, value in pairs:
        found[name] = f"{found[name]}\n{value}" if name in found else value
    return found


def _cookies(headers: Mapping[str, str]) -> dict[str, str]:
    try:
        return {name: each.value for name, each in SimpleCookie(headers.get("cookie", "")).items()}
    except CookieError:
        return {}


async def _send(scope: Any, send: Any, response: Response) -> None:
    headers = [
        ("cache-control", response.cache),
        *POLICY,
        ("content-type", response.media),
        ("content-length", str(len(response.body))),
        *response.headers,
    ]
    raw = [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers]
    await send({"type": "http.response.start", "status": response.status, "headers": raw})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})
