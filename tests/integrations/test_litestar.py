"""QuotaPlugin: a denial that escapes is answered as itself, and everything else exactly as Litestar answers it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import openai
import pytest
from litestar import Controller, Litestar, Request, Response, Router, asgi, get
from litestar.background_tasks import BackgroundTask
from litestar.config.cors import CORSConfig
from litestar.exceptions import HTTPException, NotFoundException
from litestar.response import Stream
from starlette.exceptions import HTTPException as StarletteHTTPException

from quotaware import ConfigurationError, Quota, QuotaMiddleware, denial_of
from quotaware.context import current
from quotaware.integrations.litestar import QuotaPlugin
from quotaware.testing.server import serve
from tests.apps.asgi import Answer, bearer, request, websocket
from tests.apps.hosts import Provider, answers, with_litestar

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def llm() -> openai.AsyncOpenAI:
    http = httpx.AsyncClient(transport=httpx.MockTransport(answers))
    return openai.AsyncOpenAI(api_key="k", base_url="http://llm.test/v1", http_client=http)


async def ask(llm: openai.AsyncOpenAI) -> str:
    await llm.chat.completions.create(
        model="gpt-4.1", messages=[{"role": "user", "content": "hi"}], max_tokens=5
    )
    return "answered"


@pytest.fixture
def quota() -> Iterator[Quota]:
    """Lets nothing through."""
    quota = Quota("memory://", limits=["0 requests/minute"])
    yield quota
    quota.close()


def build(quota: Quota | None, *handlers: Any, **options: Any) -> Any:
    """An app, with the plugin or without."""
    plugins = [] if quota is None else [QuotaPlugin(quota)]
    return Litestar(handlers, plugins=plugins, openapi_config=None, logging_config=None, **options)


def is_denial(answer: Answer) -> None:
    assert answer.error is None
    assert answer.status == 429
    assert answer.header("content-type") == "application/json"
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_exceeded", "rate_limit_exceeded")
    assert error["request_id"].startswith("req_")


def own(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """A handler of the host's."""
    denial = denial_of(error)
    return Response({"own": denial.code if denial else None}, status_code=418)


# A denial that escapes


@pytest.mark.parametrize("debug", [False, True])
async def test_a_denial_is_answered_as_itself(quota: Quota, llm: openai.AsyncOpenAI, debug: bool) -> None:
    @get("/")
    async def route() -> str:
        return await ask(llm)

    is_denial(await request(build(quota, route, debug=debug), "/"))


async def test_through_causes_and_groups(quota: Quota, llm: openai.AsyncOpenAI) -> None:
    @get("/caused")
    async def caused() -> None:
        try:
            await ask(llm)
        except openai.RateLimitError as error:
            raise ValueError from error

    @get("/grouped")
    async def grouped() -> None:
        try:
            await ask(llm)
        except openai.RateLimitError as error:
            raise ExceptionGroup("all failed", [KeyError(), error]) from None

    app = build(quota, caused, grouped)
    is_denial(await request(app, "/caused"))
    is_denial(await request(app, "/grouped"))


async def test_from_a_sync_route_and_whatever_media_type_it_has(quota: Quota) -> None:
    provider = Provider(answers)

    @get("/", media_type="text/html", sync_to_thread=True)
    def route() -> str:
        body = {"model": "m", "messages": []}
        provider.sync.post("/v1/chat/completions", json=body).raise_for_status()
        return ""

    is_denial(await request(build(quota, route), "/"))


async def test_retry_after_helps_where_it_can(llm: openai.AsyncOpenAI) -> None:
    quota = Quota("memory://", limits=["1 requests/minute"])

    @get("/")
    async def route() -> str:
        return await ask(llm)

    app = build(quota, route)
    assert (await request(app, "/")).status == 200
    answer = await request(app, "/")
    quota.close()
    is_denial(answer)
    assert 0 < int(answer.header("retry-after") or "") <= 60


async def test_a_401_names_its_scheme(llm: openai.AsyncOpenAI) -> None:
    quota = Quota("memory://")

    @get("/")
    async def route() -> str:
        return await ask(llm)

    answer = await request(build(quota, route), "/", headers=[(b"authorization", b"Basic eA==")])
    quota.close()
    assert (answer.status, answer.header("www-authenticate")) == (401, "Bearer")
    assert answer.json()["error"]["message"] == "Invalid API key format"


# The host's handlers


@pytest.mark.parametrize("kind", [openai.RateLimitError, openai.OpenAIError, Exception, 500])
@pytest.mark.parametrize("layer", ["app", "router", "controller", "route"])
async def test_the_hosts_handlers_stand(quota: Quota, llm: openai.AsyncOpenAI, kind: Any, layer: str) -> None:
    """For the SDK's error, for Exception, for 500: on whatever layer. They may ask for the denial."""
    handlers: Any = {kind: own}
    none: Any = {}

    class Asks(Controller):
        exception_handlers = handlers if layer == "controller" else none

        @get("/", exception_handlers=handlers if layer == "route" else none)
        async def route(self) -> str:
            return await ask(llm)

    router = Router("/", route_handlers=[Asks], exception_handlers=handlers if layer == "router" else none)
    app = build(quota, router, exception_handlers=handlers if layer == "app" else none)
    answer = await request(app, "/")
    assert (answer.status, answer.json()) == (418, {"own": "rate_limit_exceeded"})


@pytest.mark.parametrize("kind", [HTTPException, StarletteHTTPException])
async def test_an_http_exception_of_the_host_stands(quota: Quota, llm: openai.AsyncOpenAI, kind: Any) -> None:
    @get("/")
    async def route() -> None:
        try:
            await ask(llm)
        except openai.RateLimitError as error:
            raise kind(status_code=418, detail="later") from error

    answer = await request(build(quota, route), "/")
    assert (answer.status, answer.json()["detail"]) == (418, "later")


async def test_the_map_that_the_host_gave_is_not_changed(quota: Quota) -> None:
    handlers: Any = {KeyError: own}
    build(quota, exception_handlers=handlers)
    assert Exception not in handlers


# Everything else


def _failing() -> list[Any]:
    @get("/bug")
    async def bug() -> None:
        raise ZeroDivisionError("my own bug")

    @get("/text", media_type="text/plain")
    async def text() -> None:
        raise ZeroDivisionError("my own bug")

    @get("/http")
    async def http() -> None:
        raise HTTPException(status_code=409, detail="taken", extra={"a": 1}, headers={"x-own": "1"})

    @get("/http500")
    async def http500() -> None:
        raise HTTPException(status_code=500, detail="secret")

    @get("/starlette")
    async def starlette() -> None:
        raise StarletteHTTPException(409, "taken")

    @get("/missing")
    async def missing() -> None:
        raise NotFoundException

    @get("/typed")
    async def typed(number: int) -> int:
        return number

    @get("/status")
    async def status() -> None:
        error = RuntimeError()
        error.status_code = 409  # type: ignore[attr-defined]
        raise error

    @get("/fine")
    async def fine() -> dict[str, int]:
        return {"a": 1}

    @get("/background")
    async def background() -> Response[str]:
        return Response("ok", background=BackgroundTask(print, end=""))

    return [bug, text, http, http500, starlette, missing, typed, status, fine, background]


PATHS = (
    *(
        "bug",
        "text",
        "http",
        "http500",
        "starlette",
        "missing",
        "typed",
        "status",
        "fine",
        "background",
        "nowhere",
    ),
)


@pytest.mark.parametrize(
    "handlers", [{}, {500: own}, {409: own}, {KeyError: own}], ids=["none", "500", "409", "key"]
)
@pytest.mark.parametrize("path", PATHS)
async def test_what_makes_no_call_is_answered_as_without_the_plugin(
    quota: Quota, path: str, handlers: Any
) -> None:
    """Byte for byte: status, headers, body; 404 and 405 too."""
    options: dict[str, Any] = {
        "exception_handlers": handlers,
        "cors_config": CORSConfig(allow_origins=["https://a.test"]),
    }
    origin = [(b"origin", b"https://a.test")]
    apps = [build(given, *_failing(), **options) for given in (None, quota)]
    for method in ("GET", "POST", "OPTIONS"):
        bare, metered = [await request(app, f"/{path}", method=method, headers=origin) for app in apps]
        assert bare.messages == metered.messages
        assert repr(bare.error) == repr(metered.error)


async def test_in_debug_mode_too(quota: Quota) -> None:
    """The debug page of a bug, in the form that the client asks for."""
    for accept in (b"text/html", b"application/json", b"text/plain"):
        bare, metered = [
            await request(build(given, *_failing(), debug=True), "/bug", headers=[(b"accept", accept)])
            for given in (None, quota)
        ]
        assert (bare.status, bare.headers[0]) == (metered.status, metered.headers[0])
        assert b"my own bug" in metered.body
        status = await request(build(quota, *_failing(), debug=True), "/http", headers=[(b"accept", accept)])
        assert status.status == 409


async def test_hooks_after_an_exception_still_hear_of_it(quota: Quota, llm: openai.AsyncOpenAI) -> None:
    heard: list[Exception] = []

    async def hook(error: Exception, scope: Any) -> None:
        heard.append(error)

    @get("/")
    async def route() -> str:
        return await ask(llm)

    await request(build(quota, route, after_exception=[hook]), "/")
    assert [type(error) for error in heard] == [openai.RateLimitError]


# A body that has begun


def test_a_begun_body_is_closed_cleanly(quota: Quota) -> None:
    """Over a real server; a bug of the host's own breaks it off as ever, and so does a handler change nothing here."""

    def chunks(error: bool) -> Any:
        async def body() -> AsyncIterator[str]:
            yield "one "
            if error:
                raise KeyError("my own bug")
            async with httpx.AsyncClient(transport=httpx.MockTransport(answers)) as client:
                answer = await client.post(
                    "http://llm.test/v1/chat/completions", json={"model": "m", "messages": []}
                )
                answer.raise_for_status()

        return body()

    @get("/denied")
    async def denied() -> Stream:
        return Stream(chunks(error=False), media_type="text/plain")

    @get("/bug")
    async def bug() -> Stream:
        return Stream(chunks(error=True), media_type="text/plain")

    with serve(build(quota, denied, bug)) as url, httpx.Client() as client:
        response = client.get(f"{url}/denied")
        assert (response.status_code, response.text) == (200, "one ")
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"{url}/bug")


# The middleware's part


async def test_arguments_reach_the_middleware() -> None:
    quota = Quota("memory://")
    org = quota.blocking.tenancy.create_organization("Acme").id
    quota.blocking.tenancy.create_project(org, "p", id="proj_p")
    app = with_litestar(
        quota, Provider(answers), identify=lambda scope: {"project": "proj_p"}, skip=["/task"]
    )
    assert (await request(app, "/async", query="model=m")).body == b"200"
    assert (await request(app, "/task", query="model=m")).body == b"403"
    assert [record.project async for record in quota.usage.records()] == ["proj_p"]
    quota.close()
    uninstrumented = with_litestar(quota, Provider(answers), instrument=False)
    assert (await request(uninstrumented, "/async", query="model=m")).body == b"200"


def test_wrong_paths_are_named_when_the_plugin_is_made(quota: Quota) -> None:
    with pytest.raises(ConfigurationError, match=r"^only: "):
        QuotaPlugin(quota, only="/api")
    with pytest.raises(ConfigurationError, match=r"^skip: "):
        QuotaPlugin(quota, skip=["api"])


async def test_prefixes_hold_for_all_routes_whatever_kind_of_iterable_they_are(quota: Quota) -> None:
    @get(["/a", "/b", "/ab"])
    async def route() -> bool:
        return current() is not None

    app = Litestar(
        [route], plugins=[QuotaPlugin(quota, only=iter(["/a"]))], openapi_config=None, logging_config=None
    )
    assert [(await request(app, path)).body for path in ("/a", "//a/", "/b", "/ab")] == [
        b"true",
        b"true",
        b"false",
        b"false",
    ]


async def test_prefixes_see_a_mounts_whole_path(quota: Quota) -> None:
    """Litestar cuts the mount's own path off before the middleware runs."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(current() is not None).encode()})

    mount = asgi("/v1", is_mount=True, copy_scope=True)(app)

    @get("/x")
    async def route() -> bool:
        return current() is not None

    cases: list[tuple[dict[str, Any], list[bytes]]] = [
        ({"skip": ["/v1"]}, [b"False", b"true"]),
        ({"only": ["/v1/x"]}, [b"True", b"false"]),
    ]
    for options, expected in cases:
        plugin = QuotaPlugin(quota, **options)
        host = Litestar([mount, route], plugins=[plugin], openapi_config=None, logging_config=None)
        assert [(await request(host, path)).body for path in ("/v1/x", "/x")] == expected
        below = [await request(host, path, root_path="/root") for path in ("/root/v1//x", "/root/x")]
        assert [answer.body for answer in below] == expected


async def test_a_bad_key_is_answered_before_the_route(quota: Quota) -> None:
    app = with_litestar(quota, Provider(answers))
    answer = await request(app, "/async", query="model=m", headers=[bearer("qw_live_x")])
    assert (answer.status, answer.json()["error"]["message"]) == (401, "Invalid API key format")
    (closed,) = await websocket(app, "/ws", headers=[bearer("qw_live_x")])
    assert closed["type"] == "websocket.close"


async def test_the_middleware_alone_meters_too(quota: Quota, llm: openai.AsyncOpenAI) -> None:
    """Without the plugin only what escapes is Litestar's 500."""

    @get("/")
    async def route() -> str:
        return await ask(llm)

    app = QuotaMiddleware(build(None, route), quota)
    assert (await request(app, "/")).status == 500
    assert quota.stats["denied"] == 1
