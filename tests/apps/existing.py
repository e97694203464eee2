"""An app as it is found in the wild, before anyone thought of quotas: a JWT login of its own, its own exception
handlers, CORS, compression, a mounted part. None of its routes makes an LLM call.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, NamedTuple

from fastapi import (
    BackgroundTasks,
    Cookie,
    Depends,
    FastAPI,
    Header,
    HTTPException,
    Request,
    Response,
    WebSocket,
)
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.middleware.gzip import GZipMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBasic, HTTPBasicCredentials, HTTPBearer
from pydantic import BaseModel

SECRET = b"the app's own"


class OutOfStock(Exception):
    """Handled by the app."""


class Order(BaseModel):
    item: str
    count: int


def token(user: str) -> str:
    """A JWT, HS256."""
    head, body = (
        _part(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, {"sub": user})
    )
    signature = hmac.new(SECRET, f"{head}.{body}".encode(), hashlib.sha256).digest()
    return f"{head}.{body}.{_part(signature)}"


def _part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def user(credentials: Annotated[HTTPAuthorizationCredentials, Depends(HTTPBearer())]) -> str:
    """Who the app's own token names."""
    try:
        _, body, _ = credentials.credentials.split(".")
        name: str = json.loads(base64.urlsafe_b64decode(body + "=="))["sub"]
    except (ValueError, KeyError):
        raise HTTPException(401, "bad token", {"WWW-Authenticate": "Bearer"}) from None
    if not hmac.compare_digest(token(name), credentials.credentials):
        raise HTTPException(401, "bad signature", {"WWW-Authenticate": "Bearer"})
    return name


def build() -> FastAPI:
    """The app. Whoever wants quotas adds one line behind this."""
    app = FastAPI(title="Existing")
    app.add_middleware(GZipMiddleware, minimum_size=500)
    app.add_middleware(
        CORSMiddleware,
        allow_origins=["https://front.test"],
        allow_credentials=True,
        expose_headers=["x-total"],
    )
    app.exception_handler(OutOfStock)(_out_of_stock)
    app.exception_handler(RequestValidationError)(_invalid)
    app.mount("/inner", _inner())
    _add_accounts(app)
    _add_bodies(app)
    _add_failures(app)
    return app


async def _out_of_stock(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"sorry": str(error)}, 409, {"x-own": "1"})


async def _invalid(request: Request, error: Exception) -> PlainTextResponse:
    return PlainTextResponse("no such order", 400)


def _inner() -> FastAPI:
    inner = FastAPI()

    @inner.get("/ping")
    def ping() -> str:
        return "pong"

    @inner.get("/bug")
    def bug() -> str:
        raise KeyError("a bug inside")

    return inner


def _add_accounts(app: FastAPI) -> None:
    @app.post("/token")
    def login(name: str) -> dict[str, str]:
        return {"token": token(name)}

    @app.get("/me")
    async def me(name: Annotated[str, Depends(user)]) -> dict[str, str]:
        return {"name": name}

    @app.get("/basic")
    async def basic(login: Annotated[HTTPBasicCredentials, Depends(HTTPBasic())]) -> str:
        return login.username

    @app.get("/keyed")
    async def keyed(x_api_key: Annotated[str, Header()]) -> str:
        return x_api_key

    @app.get("/cookie")
    async def cookie(response: Response, seen: Annotated[str | None, Cookie()] = None) -> str | None:
        response.set_cookie("seen", "1", httponly=True)
        return seen

    @app.websocket("/echo")
    async def echo(ws: WebSocket) -> None:
        await ws.accept()
        await ws.send_text(await ws.receive_text() + str(ws.headers.get("authorization")))
        await ws.close()


def _add_bodies(app: FastAPI) -> None:
    @app.post("/orders", status_code=201)
    async def order(given: Order) -> Order:
        return given

    @app.post("/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @app.get("/large")
    def large() -> list[int]:
        return list(range(1000))

    @app.get("/stream")
    async def stream() -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            for number in range(3):
                yield f"{number} "

        return StreamingResponse(body(), media_type="text/plain")

    @app.get("/stream-sync")
    def stream_sync() -> StreamingResponse:
        def body() -> Iterator[bytes]:
            yield from (b"a", b"", b"b")

        return StreamingResponse(body())

    @app.get("/empty", status_code=204)
    async def empty(tasks: BackgroundTasks) -> None:
        tasks.add_task(lambda: None)

    @app.get("/moved")
    async def moved() -> RedirectResponse:
        return RedirectResponse("/large")


def _add_failures(app: FastAPI) -> None:
    @app.get("/stock")
    async def stock() -> None:
        raise OutOfStock("no apples")

    @app.get("/teapot")
    async def teapot() -> None:
        raise HTTPException(418, "short and stout", {"x-own": "1"})

    @app.get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError

    @app.get("/late-bug")
    async def late_bug() -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            yield "one"
            raise KeyError("a bug half way")

        return StreamingResponse(body())

    @app.get("/background-bug")
    async def background_bug(tasks: BackgroundTasks) -> str:
        tasks.add_task(_fails)
        return "ok"


def _fails() -> None:
    raise KeyError("a bug afterwards")


class Visit(NamedTuple):
    """One request to the app."""

    path: str
    method: str = "GET"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    body: bytes = b""
    query: str = ""


def _bearer(text: str) -> tuple[tuple[bytes, bytes], ...]:
    return ((b"authorization", f"Bearer {text}".encode()),)


_ORIGIN = ((b"origin", b"https://front.test"),)
_PREFLIGHT = (
    *_ORIGIN,
    (b"access-control-request-method", b"GET"),
    (b"access-control-request-headers", b"x-a"),
)
_JSON = ((b"content-type", b"application/json"),)

VISITS: tuple[Visit, ...] = (
    Visit("/token", "POST", query="name=ann"),
    Visit("/me", headers=_bearer(token("ann"))),
    Visit("/me", headers=(*_bearer(token("ann")), *_ORIGIN)),
    Visit("/me"),
    Visit("/me", headers=_bearer("not.a.token")),
    Visit("/me", headers=_bearer(token("ann")[:-2] + "xx")),
    Visit("/me", headers=_bearer(token("ann")) + _bearer(token("bob"))),
    Visit("/me", headers=((b"authorization", b"Basic eA=="),)),
    Visit("/basic", headers=((b"authorization", b"Basic dXNlcjpwYXNz"),)),
    Visit("/basic", headers=((b"authorization", b"Basic nonsense"),)),
    Visit("/keyed", headers=((b"x-api-key", b"another-systems-key"),)),
    Visit("/keyed", headers=((b"x-api-key", b"one"), (b"x-api-key", b"two"))),
    Visit("/keyed"),
    Visit("/cookie", headers=((b"cookie", b"seen=0"),)),
    Visit("/orders", "POST", _JSON, b'{"item":"apple","count":2}'),
    Visit("/orders", "POST", _JSON, b'{"item":"apple"}'),
    Visit("/orders", "POST", _JSON, b"no json"),
    Visit("/raw", "POST", (), b"x" * 100_000),
    Visit("/large"),
    Visit("/large", headers=((b"accept-encoding", b"gzip"),)),
    Visit("/large", "HEAD"),
    Visit("/stream"),
    Visit("/stream-sync", headers=_ORIGIN),
    Visit("/empty"),
    Visit("/moved"),
    Visit("/me/", headers=_bearer(token("ann"))),
    Visit("/stock", headers=_ORIGIN),
    Visit("/teapot"),
    Visit("/bug"),
    Visit("/bug", headers=_ORIGIN),
    Visit("/late-bug"),
    Visit("/background-bug"),
    Visit("/inner/ping"),
    Visit("/inner/bug"),
    Visit("/inner/none"),
    Visit("/none"),
    Visit("/large", "DELETE"),
    Visit("/me", "OPTIONS", _PREFLIGHT),
    Visit("/me", "OPTIONS", ((b"origin", b"https://evil.test"), *_PREFLIGHT[1:])),
    Visit("/openapi.json"),
    Visit("/docs"),
)
"""Every route, in the ways that it can be asked."""
