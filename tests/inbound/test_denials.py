"""Denials that the host lets escape become its caller's answer; all that it handles stays as it is."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from fastapi import FastAPI, HTTPException
from fastapi import Request as FastRequest
from fastapi.responses import StreamingResponse
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route

from quotaware import ApiError, NotFound, Quota, QuotaMiddleware, RateLimitExceeded, denial_of
from quotaware.context import DENIALS, Binding
from quotaware.testing.server import serve
from tests.apps.asgi import Answer, bearer, request
from tests.apps.hosts import answers
from tests.support import FakeClock

pytestmark = pytest.mark.anyio

JWT = (b"authorization", b"Bearer eyJhbGciOi.J9.x")


class Llm:
    """The SDKs as an app holds them, untouched, over a provider that always answers."""

    def __init__(self) -> None:
        http = httpx.AsyncClient(transport=httpx.MockTransport(answers))
        http2 = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda request: httpx2.Response(500)))
        self.openai = openai.AsyncOpenAI(api_key="k", base_url="http://llm.test/v1", http_client=http)
        self.anthropic = anthropic.AsyncAnthropic(api_key="k", base_url="http://llm.test", http_client=http2)

    async def ask(self) -> str:
        messages: Any = [{"role": "user", "content": "hi"}]
        done = await self.openai.chat.completions.create(model="gpt-4.1", messages=messages, max_tokens=5)
        return done.choices[0].message.content or ""

    async def ask_anthropic(self) -> str:
        messages: Any = [{"role": "user", "content": "hi"}]
        await self.anthropic.messages.create(model="claude-sonnet-5", messages=messages, max_tokens=5)
        return ""


@pytest.fixture(scope="module")
def llm() -> Llm:
    return Llm()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def spent(clock: FakeClock) -> Iterator[Quota]:
    """A quota of which nothing is left until a minute is over."""
    quota = Quota("memory://", limits=["1 requests/minute"], clock=clock)
    with quota.call(provider="local", model="m") as call:
        call.used(input=1)
    yield quota
    quota.close()


def starlette_app(quota: Quota, endpoint: Any, **options: Any) -> Starlette:
    app = Starlette(routes=[Route("/", endpoint)], **options)
    app.add_middleware(QuotaMiddleware, quota=quota)
    return app


def fastapi_app(quota: Quota, endpoint: Any, **options: Any) -> FastAPI:
    app = FastAPI(**options)
    app.add_middleware(QuotaMiddleware, quota=quota)
    app.get("/")(endpoint)
    return app


BOTH = pytest.mark.parametrize("make", [starlette_app, fastapi_app])


def is_rate_denial(answer: Answer) -> None:
    assert answer.error is None
    assert answer.status == 429
    assert answer.header("content-type") == "application/json"
    assert answer.header("content-length") == str(len(answer.body))
    assert answer.header("retry-after") == "60"
    error = answer.json()["error"]
    assert error["type"] == "rate_limit_exceeded"
    assert error["message"] == "Rate limit of 1 req/min exceeded"
    assert error["code"] == "rate_limit_exceeded"
    assert error["retry_after_seconds"] == 60
    assert error["limits"][0]["limit"] == 1
    assert error["request_id"].startswith("req_")
    assert answer.ended


# What escapes


@BOTH
async def test_an_sdk_error_becomes_our_answer(make: Callable[..., Any], spent: Quota, llm: Llm) -> None:
    async def endpoint(request: Request) -> Any:
        return PlainTextResponse(await llm.ask())

    is_rate_denial(await request(make(spent, endpoint), "/"))


@BOTH
async def test_so_does_that_of_an_sdk_on_the_other_library(
    make: Callable[..., Any], spent: Quota, llm: Llm
) -> None:
    async def endpoint(request: Request) -> Any:
        return PlainTextResponse(await llm.ask_anthropic())

    is_rate_denial(await request(make(spent, endpoint), "/"))


@BOTH
async def test_the_retry_is_true(make: Callable[..., Any], spent: Quota, llm: Llm, clock: FakeClock) -> None:
    """Who comes back after `Retry-After` gets an answer."""

    async def endpoint(request: Request) -> Any:
        return PlainTextResponse(await llm.ask())

    app = make(spent, endpoint)
    clock.advance(int((await request(app, "/")).header("retry-after") or "") * 1000)
    assert (await request(app, "/")).status == 200


@BOTH
async def test_wrapped_and_grouped_errors_are_seen_through(
    make: Callable[..., Any], spent: Quota, llm: Llm
) -> None:
    """`raise X from e`, a task group's ExceptionGroup, and one in the other."""

    async def caused() -> None:
        try:
            await llm.ask()
        except openai.OpenAIError as error:
            raise ValueError("no answer") from error

    async def grouped() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(llm.ask())
            group.create_task(llm.ask())

    async def mixed() -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(caused())
        except ExceptionGroup as error:
            raise RuntimeError("all failed") from error

    def through(way: Any) -> Any:
        async def endpoint(request: Request) -> Any:
            await way()

        return endpoint

    for way in (caused, grouped, mixed):
        is_rate_denial(await request(make(spent, through(way)), "/"))


@BOTH
async def test_an_error_that_keeps_the_denials_text_alone_is_seen_through(
    make: Callable[..., Any], spent: Quota, llm: Llm
) -> None:
    """As LiteLLM makes one of Anthropic's: the request id in the text says which denial it was."""

    async def endpoint(request: Request) -> Any:
        try:
            return PlainTextResponse(await llm.ask_anthropic())
        except anthropic.RateLimitError as error:
            text = error.response.text
        raise RuntimeError(f"AnthropicException - {text}")

    is_rate_denial(await request(make(spent, endpoint), "/"))


@BOTH
async def test_a_manual_call_escapes_alike(make: Callable[..., Any], spent: Quota) -> None:
    async def endpoint(request: Request) -> Any:
        async with spent.call(provider="local", model="m"):
            pass

    is_rate_denial(await request(make(spent, endpoint), "/"))


async def test_a_denial_under_acting_as_is_the_requests_too(llm: Llm) -> None:
    """The host makes a call as another project inside a request."""
    quota = Quota("memory://")
    org = quota.blocking.tenancy.create_organization("Acme").id
    project = quota.blocking.tenancy.create_project(org, "p", models=["claude-*"]).id

    async def endpoint(request: Request) -> Any:
        with quota.acting_as(project=project):
            await llm.ask()

    answer = await request(starlette_app(quota, endpoint), "/")
    quota.close()
    assert (answer.status, answer.json()["error"]["code"]) == (403, "model_not_allowed")


@BOTH
async def test_each_kind_of_denial_has_its_status(make: Callable[..., Any], llm: Llm) -> None:
    """429 with figures for a budget, 403 for a model, 401 where nobody was identified."""
    quota = Quota("memory://")
    tenancy = quota.blocking.tenancy
    org = tenancy.create_organization("Acme").id
    poor = tenancy.create_key(tenancy.create_project(org, "poor", limits=["$0/month"]).id).secret
    narrow = tenancy.create_key(tenancy.create_project(org, "narrow", models=["claude-*"]).id).secret

    async def endpoint(request: Request) -> Any:
        await llm.ask()

    app = make(quota, endpoint)
    budget = await request(app, "/", headers=[bearer(poor)])
    assert budget.status == 429
    error = budget.json()["error"]
    assert (error["type"], error["limit_usd"], error["current_usage_usd"]) == ("quota_exceeded", 0.0, 0.0)
    assert error["message"] == "Monthly budget of $0 exceeded for project 'poor'"
    assert budget.header("retry-after") is None

    model = await request(app, "/", headers=[bearer(narrow)])
    assert (model.status, model.json()["error"]["type"]) == (403, "permission_denied")
    assert model.json()["error"]["message"] == "Model 'gpt-4.1' is not allowed for project 'narrow'"

    nobody = await request(app, "/", headers=[JWT])
    assert (nobody.status, nobody.json()["error"]["message"]) == (401, "Invalid API key format")
    assert nobody.header("www-authenticate") == "Bearer"

    unattributed = await request(app, "/")
    assert (unattributed.status, unattributed.json()["error"]["code"]) == (403, "unattributed")
    quota.close()


@pytest.mark.parametrize(
    ("model", "status", "code"),
    [
        ('<b>"', 403, "model_not_allowed"),
        ("modèle-☃", 403, "model_not_allowed"),
        ("a\\ud800", 403, "model_ambiguous"),
        ("a\\u0000", 403, "model_ambiguous"),
    ],
)
async def test_what_a_model_name_holds_breaks_no_answer(model: str, status: int, code: str) -> None:
    """Neither a NUL, nor what is no ASCII, nor a lone surrogate, which is no UTF-8."""
    quota = Quota("memory://")
    tenancy = quota.blocking.tenancy
    org = tenancy.create_organization("Acme").id
    key = tenancy.create_key(tenancy.create_project(org, "narrow", models=["claude-*"]).id).secret
    client = httpx.AsyncClient(transport=httpx.MockTransport(answers))
    body = '{"model":"' + model.replace('"', '\\"') + '","messages":[]}'

    async def endpoint(request: Request) -> Any:
        (await client.post("http://llm.test/v1/chat/completions", content=body)).raise_for_status()

    answer = await request(starlette_app(quota, endpoint), "/", headers=[bearer(key)])
    quota.close()
    assert (answer.status, answer.json()["error"]["code"]) == (status, code)


async def test_a_plain_client_that_raises_for_status_escapes_alike(spent: Quota) -> None:
    client = httpx.AsyncClient(transport=httpx.MockTransport(answers))

    async def endpoint(request: Request) -> Any:
        body = {"model": "m", "messages": []}
        (await client.post("http://llm.test/v1/chat/completions", json=body)).raise_for_status()

    is_rate_denial(await request(starlette_app(spent, endpoint), "/"))


async def test_in_debug_mode_too(spent: Quota, llm: Llm) -> None:
    async def endpoint(request: Request) -> Any:
        await llm.ask()

    is_rate_denial(await request(starlette_app(spent, endpoint, debug=True), "/"))


async def test_behind_a_base_http_middleware_too(spent: Quota, llm: Llm) -> None:
    """Which runs the app in a task of its own, between this middleware and the endpoint."""

    async def endpoint(request: Request) -> Any:
        await llm.ask()

    async def dispatch(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    app = Starlette(routes=[Route("/", endpoint)])
    app.add_middleware(BaseHTTPMiddleware, dispatch=dispatch)
    app.add_middleware(QuotaMiddleware, quota=spent)
    is_rate_denial(await request(app, "/"))


async def test_under_a_bare_callable_too(spent: Quota, llm: Llm) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await llm.ask()

    is_rate_denial(await request(QuotaMiddleware(app, spent), "/"))


# Apps inside: each has answered 500 before the error goes on


def mounted(quota: Quota, inner: Any) -> Any:
    outer = Starlette(routes=[Mount("/inner", inner)])
    outer.add_middleware(QuotaMiddleware, quota=quota)
    return outer


def wrapped(quota: Quota, inner: Any) -> Any:
    return QuotaMiddleware(Starlette(routes=[Mount("/inner", inner)]), quota)


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("around", [mounted, wrapped])
async def test_a_mounted_or_wrapped_app_answers_with_the_denial(
    around: Callable[..., Any], debug: bool, spent: Quota, llm: Llm
) -> None:
    async def endpoint(request: FastRequest) -> Any:
        await llm.ask()

    inner = FastAPI(debug=debug)
    inner.get("/")(endpoint)
    is_rate_denial(await request(around(spent, inner), "/inner/"))


@pytest.mark.parametrize("around", [mounted, wrapped])
async def test_the_handlers_of_an_app_inside_stand(
    around: Callable[..., Any], spent: Quota, llm: Llm
) -> None:
    """Also one that answers 500 itself."""

    async def endpoint(request: Request) -> Any:
        await llm.ask()

    async def own(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"own": type(error).__name__}, 500)

    inner = Starlette(routes=[Route("/", endpoint)], exception_handlers={Exception: own})
    answer = await request(around(spent, inner), "/inner/")
    assert (answer.status, answer.json()) == (500, {"own": "RateLimitError"})
    assert isinstance(answer.error, openai.RateLimitError)


@pytest.mark.parametrize("around", [mounted, wrapped])
async def test_a_500_of_the_hosts_own_is_kept_back_only_until_it_ends(
    around: Callable[..., Any], spent: Quota, llm: Llm
) -> None:
    """A host that caught the denial and answers 500, at once or in pieces, or fails at something else afterwards."""

    async def caught() -> None:
        with pytest.raises(openai.RateLimitError):
            await llm.ask()

    async def whole(request: Request) -> Any:
        await caught()
        return PlainTextResponse("my own 500", 500)

    async def pieces(request: Request) -> Any:
        async def body() -> AsyncIterator[str]:
            yield "my own "
            yield "500"

        await caught()
        return StreamingResponse(body(), 500)

    async def other(request: Request) -> Any:
        await caught()
        raise KeyError("something else")

    routes = [Route("/whole", whole), Route("/pieces", pieces), Route("/other", other)]
    app = around(spent, Starlette(routes=routes))
    for path in ("whole", "pieces"):
        answer = await request(app, f"/inner/{path}")
        assert (answer.status, answer.body, answer.error) == (500, b"my own 500", None)
    failed = await request(app, "/inner/other")
    assert (failed.status, failed.body) == (500, b"Internal Server Error")
    assert isinstance(failed.error, KeyError)


# What the host handles


@pytest.mark.parametrize("registered", [Exception, 500])
async def test_a_handler_for_everything_stands(registered: Any, spent: Quota, llm: Llm) -> None:
    """Starlette calls it outside of all middleware; `denial_of` still finds the denial there."""

    async def own(request: Request, error: Exception) -> JSONResponse:
        denial = denial_of(error)
        return JSONResponse({"own": denial.code if denial else None}, 418)

    async def endpoint(request: Request) -> Any:
        try:
            await llm.ask()
        except openai.OpenAIError as error:
            raise RuntimeError("wrapped") from error

    answer = await request(starlette_app(spent, endpoint, exception_handlers={registered: own}), "/")
    assert (answer.status, answer.json()) == (418, {"own": "rate_limit_exceeded"})
    assert isinstance(answer.error, RuntimeError)  # Starlette raises it on, for the server's log


@BOTH
@pytest.mark.parametrize("kind", [openai.RateLimitError, openai.APIStatusError, openai.OpenAIError])
async def test_a_handler_for_the_sdks_error_stands(
    make: Callable[..., Any], kind: type[Exception], spent: Quota, llm: Llm
) -> None:
    def own(request: Request, error: Exception) -> JSONResponse:
        denial = denial_of(error)
        assert denial
        return JSONResponse(denial.body(), 503, denial.headers())

    async def endpoint(request: Request) -> Any:
        await llm.ask()

    answer = await request(make(spent, endpoint, exception_handlers={kind: own}), "/")
    assert answer.error is None
    assert (answer.status, answer.header("retry-after")) == (503, "60")
    assert answer.json()["error"]["code"] == "rate_limit_exceeded"


@BOTH
async def test_an_http_exception_of_the_host_stands(make: Callable[..., Any], spent: Quota, llm: Llm) -> None:
    async def endpoint(request: Request) -> Any:
        try:
            await llm.ask()
        except openai.RateLimitError as error:
            raise HTTPException(418, "later") from error

    answer = await request(make(spent, endpoint), "/")
    assert (answer.status, answer.error) == (418, None)
    assert b"later" in answer.body


@BOTH
async def test_a_caught_denial_leaves_no_trace(make: Callable[..., Any], spent: Quota, llm: Llm) -> None:
    async def endpoint(request: Request) -> Any:
        try:
            await llm.ask()
        except openai.RateLimitError:
            return JSONResponse({"answer": "come back later"})

    answer = await request(make(spent, endpoint), "/")
    assert (answer.status, answer.json()) == (200, {"answer": "come back later"})
    assert len(answer.headers) == 2


# What is none of ours


def _unrelated() -> list[BaseException]:
    response = httpx.Response(429, request=httpx.Request("POST", "http://llm.test"))
    looped = ValueError("a")
    looped.__cause__ = KeyError("b")
    looped.__cause__.__cause__ = looped
    strange = RuntimeError("c")
    strange.response = 42  # type: ignore[attr-defined]
    return [
        ZeroDivisionError(),
        openai.RateLimitError("the provider's own", response=response, body=None),
        httpx.HTTPStatusError("the same", request=response.request, response=response),
        ExceptionGroup("several", [ValueError(), ExceptionGroup("deep", [KeyError()])]),
        looped,
        strange,
        Wordless(),
        ValueError("Rate limit of 1 req/min exceeded, request req_0123456789abcdef0123456789abcdef"),
    ]


class Wordless(Exception):
    """One that cannot even be printed."""

    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize("error", _unrelated(), ids=lambda error: type(error).__name__)
async def test_any_other_error_passes_untouched(error: Exception, spent: Quota, llm: Llm) -> None:
    """Even in a request of which a call was denied before."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        with pytest.raises(openai.RateLimitError):
            await llm.ask()
        raise error

    answer = await request(QuotaMiddleware(app, spent), "/")
    assert answer.error is error
    assert answer.messages == []


async def test_an_implicit_context_is_no_cause(spent: Quota, llm: Llm) -> None:
    """What was raised while a denial was being handled is the host's own error."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await llm.ask()
        except openai.RateLimitError:
            raise KeyError("my own bug") from None

    assert isinstance((await request(QuotaMiddleware(app, spent), "/")).error, KeyError)


async def test_a_denial_of_another_request_is_not_this_ones(spent: Quota, llm: Llm) -> None:
    kept: list[Exception] = []

    async def first(scope: Any, receive: Any, send: Any) -> None:
        try:
            await llm.ask()
        except openai.RateLimitError as error:
            kept.append(error)

    async def second(scope: Any, receive: Any, send: Any) -> None:
        raise kept[0]

    await request(QuotaMiddleware(first, spent), "/")
    assert (await request(QuotaMiddleware(second, spent), "/")).error is kept[0]


def test_a_request_remembers_its_newest_denials_only() -> None:
    binding = Binding(None, None)
    errors = [RateLimitExceeded(str(number)) for number in range(3 * DENIALS)]
    for number, error in enumerate(errors):
        binding.denied(f"req_{number}", error)
    assert list(binding.denials.values()) == errors[-DENIALS:]


def test_outside_a_request_an_error_of_ours_is_known_by_itself() -> None:
    found = NotFound("There is no such thing")
    assert denial_of(found) is found
    assert denial_of(ExceptionGroup("g", [ValueError(), found])) is found
    assert denial_of(ValueError()) is None


def test_a_long_chain_ends() -> None:
    error: Exception = ApiError("far away")
    for _ in range(1000):
        outer = ValueError()
        outer.__cause__ = error
        error = outer
    assert denial_of(error) is None


# A response that has begun


@BOTH
async def test_a_body_that_has_begun_is_closed_cleanly(
    make: Callable[..., Any], spent: Quota, llm: Llm
) -> None:
    async def body() -> AsyncIterator[str]:
        yield "one "
        yield await llm.ask()

    async def endpoint(request: Request) -> Any:
        return StreamingResponse(body(), media_type="text/plain")

    answer = await request(make(spent, endpoint), "/")
    assert (answer.error, answer.status, answer.body, answer.ended) == (None, 200, b"one ", True)


def test_over_a_real_server_the_client_reads_a_complete_answer(spent: Quota, llm: Llm) -> None:
    """The chunked body has its end; with the middleware away it breaks off."""
    app = FastAPI()

    @app.get("/")
    async def endpoint() -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            yield "one "
            yield await Llm().ask()  # a client of the server's own loop

        return StreamingResponse(body(), media_type="text/plain")

    @app.get("/bug")
    async def bug() -> StreamingResponse:
        async def body() -> AsyncIterator[str]:
            yield "one "
            raise KeyError("my own bug")

        return StreamingResponse(body(), media_type="text/plain")

    app.add_middleware(QuotaMiddleware, quota=spent)
    with serve(app) as url, httpx.Client() as client:
        response = client.get(url)
        assert (response.status_code, response.text) == (200, "one ")
        assert response.headers["transfer-encoding"] == "chunked"
        with pytest.raises(httpx.RemoteProtocolError):
            client.get(f"{url}/bug")


async def test_a_body_of_a_promised_length_cannot_be_closed(spent: Quota, llm: Llm) -> None:
    """So the error goes on, and the server breaks the connection off: the client must not take it for whole."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        headers = [(b"Content-Length", b"100")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        await llm.ask()

    answer = await request(QuotaMiddleware(app, spent), "/")
    assert isinstance(answer.error, openai.RateLimitError)
    assert not answer.ended


@BOTH
async def test_a_background_task_fails_as_ever(make: Callable[..., Any], spent: Quota, llm: Llm) -> None:
    """The answer is out already, with or without a length: nothing more is sent, and the server logs the error."""

    async def whole(request: Request) -> Any:
        return JSONResponse({"ok": True}, background=BackgroundTask(llm.ask))

    async def streamed(request: Request) -> Any:
        return StreamingResponse(iter(["ok"]), background=BackgroundTask(llm.ask))

    for endpoint in (whole, streamed):
        answer = await request(make(spent, endpoint), "/")
        assert isinstance(answer.error, openai.RateLimitError)
        assert answer.ended


async def test_an_answer_that_is_a_denial_is_logged_without_a_traceback(
    spent: Quota, llm: Llm, caplog: pytest.LogCaptureFixture
) -> None:
    async def endpoint(request: Request) -> Any:
        await llm.ask()

    with caplog.at_level(logging.INFO, "quotaware"):
        await request(starlette_app(spent, endpoint), "/")
    assert [record.message for record in caplog.records if record.name == "quotaware"] == [
        "a denied LLM call ended a request: Rate limit of 1 req/min exceeded"
    ]
