"""QuotaMiddleware: the caller is bound for everything that runs on a request's behalf, and for nothing else."""

from __future__ import annotations

import asyncio
import random
import threading
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx
import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from quotaware import ConfigurationError, Quota, QuotaMiddleware
from quotaware.context import current
from quotaware.testing import FakeProvider
from quotaware.testing.server import serve
from tests.apps.asgi import bearer, request, websocket
from tests.apps.hosts import FRAMEWORKS, WAYS, Provider, answers, with_fastapi, with_starlette

pytestmark = pytest.mark.anyio


class Tenant(NamedTuple):
    """A project with its key; what it asks for is a model of its own, so that a record betrays a mix-up."""

    model: str
    project: str
    key: str


@pytest.fixture
def quota() -> Iterator[Quota]:
    quota = Quota("memory://")
    yield quota
    quota.close()


@pytest.fixture
def provider() -> Provider:
    return Provider(answers)


def tenants(quota: Quota, count: int) -> list[Tenant]:
    tenancy = quota.blocking.tenancy
    org = tenancy.create_organization("Acme").id
    found = []
    for number in range(count):
        project = tenancy.create_project(org, f"p{number}", org=org)
        found.append(Tenant(f"model-{number}", project.id, tenancy.create_key(project.id, org=org).secret))
    return found


async def by_tenant(quota: Quota) -> Counter[tuple[str | None, str | None]]:
    """(model, project) of every record: how often."""
    return Counter([(record.requested_model, record.project) async for record in quota.usage.records()])


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_call_belongs_to_the_requests_caller(
    framework: str, way: str, quota: Quota, provider: Provider
) -> None:
    """In `async def` and `def` endpoints, in bodies that are made late, background tasks, tasks and threads."""
    (tenant,) = tenants(quota, 1)
    app = FRAMEWORKS[framework](quota, provider)
    answer = await request(app, f"/{way}", query=f"model={tenant.model}", headers=[bearer(tenant.key)])
    assert answer.error is None
    assert answer.status == 200
    assert ("later" if way == "background" else "200") in answer.body.decode()
    assert await by_tenant(quota) == {(tenant.model, tenant.project): 1}


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_websocket_binds_its_caller(framework: str, quota: Quota, provider: Provider) -> None:
    (tenant,) = tenants(quota, 1)
    app = FRAMEWORKS[framework](quota, provider)
    sent = await websocket(app, "/ws", tenant.model, headers=[bearer(tenant.key)])
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.send", "websocket.close"]
    assert sent[1]["text"] == "200"
    assert await by_tenant(quota) == {(tenant.model, tenant.project): 1}


async def test_dependencies_of_every_kind_are_the_callers(quota: Quota, provider: Provider) -> None:
    """Sync, async, and what a yielding one does after the endpoint."""
    (tenant,) = tenants(quota, 1)
    app = with_fastapi(quota, provider)
    answer = await request(app, "/depends", query=f"model={tenant.model}", headers=[bearer(tenant.key)])
    assert answer.json() == ["200"] * 4
    assert await by_tenant(quota) == {(tenant.model, tenant.project): 6}


async def test_a_thread_without_the_context_is_nobody(quota: Quota, provider: Provider) -> None:
    """`threading.Thread` copies no context: such a call is unattributed, never the first caller's."""
    (tenant,) = tenants(quota, 1)
    app = with_fastapi(quota, provider)
    answer = await request(app, "/bare-thread", query=f"model={tenant.model}", headers=[bearer(tenant.key)])
    assert answer.json() == "403"
    assert await by_tenant(quota) == {}


async def test_a_sync_call_on_the_loops_own_thread_works(quota: Quota, provider: Provider) -> None:
    """Wrong, but it goes through."""
    (tenant,) = tenants(quota, 1)
    app = with_fastapi(quota, provider)
    query = f"model={tenant.model}"
    pending = [request(app, "/on-the-loop", query=query, headers=[bearer(tenant.key)]) for _ in range(20)]
    assert [answer.json() for answer in await asyncio.gather(*pending)] == ["200"] * 20


def test_a_sync_call_on_the_loops_own_thread_never_waits_for_others(quota: Quota) -> None:
    """Who holds what it would wait for may need this very loop to go on: it is refused instead, and no deadlock."""
    org = quota.bootstrap("Acme").organization_id
    project = quota.blocking.tenancy.create_project(org, "p", limits=["1 concurrent"])
    key = quota.blocking.tenancy.create_key(project.id).secret
    holding, go = threading.Event(), threading.Event()

    def slow(request: httpx.Request) -> httpx.Response:
        holding.set()
        go.wait(30)
        return answers(request)

    app = with_fastapi(quota, Provider(slow))
    with serve(app) as url, httpx.Client(base_url=url, headers={"x-api-key": key}, timeout=30) as client:
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(client.get, "/sync", params={"model": "m"})
            assert holding.wait(30)
            assert client.get("/on-the-loop", params={"model": "m"}).json() == "429"
            go.set()
            assert first.result().json() == "200"
        assert client.get("/on-the-loop", params={"model": "m"}).json() == "200"


# S19


async def storm(app: Any, who: list[Tenant], count: int, ways: tuple[str, ...]) -> None:
    """`count` requests at once, of tenants and in ways drawn at random."""
    draw = random.Random(19)

    async def one(tenant: Tenant, way: str) -> None:
        if way == "ws":
            sent = await websocket(app, "/ws", tenant.model, headers=[bearer(tenant.key)])
            assert sent[1]["text"] == "200"
            return
        header = bearer(tenant.key) if draw.random() < 0.5 else (b"x-api-key", tenant.key.encode())
        answer = await request(app, f"/{way}", query=f"model={tenant.model}", headers=[header])
        assert answer.error is None
        assert answer.status == 200

    await asyncio.gather(*(one(draw.choice(who), draw.choice(ways)) for _ in range(count)))


async def swaps(quota: Quota, who: list[Tenant]) -> tuple[int, int]:
    """(records, records that carry another's tenant)."""
    own = {(tenant.model, tenant.project) for tenant in who}
    found = await by_tenant(quota)
    return found.total(), sum(n for pair, n in found.items() if pair not in own)


@pytest.mark.parametrize(
    ("framework", "count"), [("starlette", 300), ("fastapi", 1000), ("litestar", 300), ("bare", 300)]
)
async def test_a_thousand_requests_of_a_hundred_tenants_never_mix(
    framework: str, count: int, quota: Quota, provider: Provider
) -> None:
    """S19: every record carries its own tenant, and nothing is bound once they are through."""
    who = tenants(quota, 100)
    await storm(FRAMEWORKS[framework](quota, provider), who, count, (*WAYS, "ws"))
    assert await swaps(quota, who) == (count, 0)
    assert current() is None


async def test_clients_that_all_share_keep_tenants_apart(quota: Quota, fake_provider: FakeProvider) -> None:
    """S19: a pool of ten connections to a real provider, used by all."""
    who = tenants(quota, 20)
    provider = Provider(answers)
    limits = httpx.Limits(max_connections=10)
    async with httpx.AsyncClient(base_url=fake_provider.url, limits=limits, timeout=60) as client:
        with httpx.Client(base_url=fake_provider.url, limits=limits, timeout=60) as sync:
            provider.client, provider.sync = client, sync
            await storm(with_fastapi(quota, provider), who, 150, (*WAYS, "ws"))
    assert await swaps(quota, who) == (150, 0)
    assert fake_provider.requests == 150


@pytest.mark.slow
@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_no_swap_in_a_hundred_thousand(framework: str, quota: Quota, provider: Provider) -> None:
    """S19: 25,000 of them under each framework, a thousand at a time."""
    who = tenants(quota, 100)
    app = FRAMEWORKS[framework](quota, provider)
    for _ in range(25):
        await storm(app, who, 1000, (*WAYS, "ws"))
    assert await swaps(quota, who) == (25_000, 0)


async def test_a_task_made_at_start_up_is_unattributed(quota: Quota, provider: Provider) -> None:
    """S19: a worker that serves a queue makes its calls as nobody, whoever filled the queue."""
    (tenant,) = tenants(quota, 1)
    queue: asyncio.Queue[asyncio.Future[str]] = asyncio.Queue()

    async def work() -> None:
        while True:
            (await queue.get()).set_result(await provider.ask(tenant.model))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        worker = asyncio.create_task(work())
        yield
        worker.cancel()

    app = FastAPI(lifespan=lifespan)
    app.add_middleware(QuotaMiddleware, quota=quota)

    @app.get("/")
    async def ask() -> str:
        job: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        await queue.put(job)
        return await job

    async with lifespan_of(app):
        answer = await request(app, "/", headers=[bearer(tenant.key)])
    assert answer.json() == "403"
    assert await by_tenant(quota) == {}


async def test_a_generator_closed_elsewhere_leaves_no_trace(quota: Quota) -> None:
    """S19: what another context ends cannot unbind it."""
    (tenant,) = tenants(quota, 1)
    left: list[AsyncGenerator[bytes]] = []

    async def body() -> AsyncGenerator[bytes]:
        try:
            yield b"one"
        finally:
            assert current() is None  # closed by whoever is at it: as nobody

    async def app(scope: Any, receive: Any, send: Any) -> None:
        chunks = body()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": await anext(chunks)})
        left.append(chunks)

    assert (await request(QuotaMiddleware(app, quota), "/", headers=[bearer(tenant.key)])).body == b"one"
    await left.pop().aclose()
    assert current() is None


# lifespan


@asynccontextmanager
async def lifespan_of(app: Any) -> AsyncIterator[list[Any]]:
    """Runs an app's lifespan around the block; gives what it sent."""
    into: asyncio.Queue[Any] = asyncio.Queue()
    sent: list[Any] = []
    said = asyncio.Event()

    async def send(message: Any) -> None:
        sent.append(message)
        said.set()

    into.put_nowait({"type": "lifespan.startup"})
    task = asyncio.create_task(
        app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, into.get, send)
    )
    await asyncio.wait([task, asyncio.create_task(said.wait())], return_when=asyncio.FIRST_COMPLETED)
    yield sent
    into.put_nowait({"type": "lifespan.shutdown"})
    await task


async def test_lifespan_passes_untouched(quota: Quota) -> None:
    seen: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.extend([scope, receive, send, current()])

    scope, receive, send = {"type": "lifespan"}, object(), object()
    await QuotaMiddleware(app, quota)(scope, receive, send)
    assert seen[0] is scope
    assert seen[1:] == [receive, send, None]


async def test_an_app_without_lifespan_raises_on_through(quota: Quota) -> None:
    """As a bare callable does that knows HTTP only: the server takes it for "not supported"."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"

    with pytest.raises(AssertionError):
        await QuotaMiddleware(app, quota)({"type": "lifespan"}, None, None)


async def test_an_unknown_scope_type_passes(quota: Quota) -> None:
    seen = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    await QuotaMiddleware(app, quota)({"type": "tunnel"}, None, None)
    assert seen == ["tunnel"]


# only, skip


def taken(quota: Quota, **options: Any) -> Callable[..., Any]:
    """An app that says whether the middleware took the request in."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        body = b"in" if current() else b"out"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": body})

    return QuotaMiddleware(app, quota, **options)


@pytest.mark.parametrize(
    ("options", "taken_in", "left_out"),
    [
        ({}, ["/", "/api", "//", ""], []),
        (
            {"only": ["/api"]},
            ["/api", "/api/", "/api/x"],
            ["/", "/ap", "/apis", "/api2/x", "/API", "/x/api", "//api"],
        ),
        ({"only": ["/api/"]}, ["/api", "/api/x"], ["/apis"]),
        ({"only": ["/"]}, ["/", "/api"], []),
        ({"skip": ["/health"]}, ["/", "/healthy", "/api/health"], ["/health", "/health/live"]),
        ({"skip": ["/"]}, [], ["/", "/api"]),
        (
            {"only": ["/api", "/v1"], "skip": ["/api/docs"]},
            ["/api", "/v1/x"],
            ["/api/docs", "/api/docs/x", "/v2"],
        ),
    ],
)
async def test_only_and_skip_go_by_segments(
    quota: Quota, options: Any, taken_in: list[str], left_out: list[str]
) -> None:
    """`"/api"` is `/api` and all below it, never `/apis`."""
    app = taken(quota, **options)
    assert {path: (await request(app, path)).body for path in (*taken_in, *left_out)} == {
        **dict.fromkeys(taken_in, b"in"),
        **dict.fromkeys(left_out, b"out"),
    }


@pytest.mark.parametrize(
    ("root", "path", "body"),
    [
        ("/proxy", "/proxy/api", b"in"),  # as servers and Starlette have it: the path with its root
        ("/proxy/", "/proxy/api", b"in"),
        ("/proxy", "/api", b"in"),  # as some servers have it: without
        ("/pro", "/proxy/api", b"out"),
        ("/api", "/api/x", b"out"),
        ("/api", "/api/api/x", b"in"),
    ],
)
async def test_prefixes_count_below_where_the_app_is_mounted(
    quota: Quota, root: str, path: str, body: bytes
) -> None:
    assert (await request(taken(quota, only=["/api"]), path, root_path=root)).body == body


async def test_a_mounted_app_has_its_own_prefixes(quota: Quota) -> None:
    def standing(request: Request) -> PlainTextResponse:
        return PlainTextResponse("in" if current() else "out")

    inner = Starlette(routes=[Route("/api", standing), Route("/open", standing)])
    inner.add_middleware(QuotaMiddleware, quota=quota, only=["/api"])
    outer = Starlette(routes=[Mount("/inner", inner)])
    assert (await request(outer, "/inner/api")).body == b"in"
    assert (await request(outer, "/inner/open")).body == b"out"


@pytest.mark.parametrize("field", ["only", "skip"])
@pytest.mark.parametrize("wrong", ["/api", "", ["api"], [""], [None], ["/a", "b"]])
def test_what_is_no_list_of_paths_is_named(quota: Quota, field: str, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"^{field}: is a list of paths"):
        QuotaMiddleware(taken(quota), quota, **{field: wrong})


async def test_what_is_left_out_is_not_judged(quota: Quota) -> None:
    """A key in the wrong form is nobody's business there."""
    app = taken(quota, skip=["/open"])
    bad = [bearer("qw_live_nonsense")]
    assert (await request(app, "/open", headers=bad)).status == 200
    assert (await request(app, "/", headers=bad)).status == 401


# instrument


async def test_without_instrument_no_client_is_metered(quota: Quota, provider: Provider) -> None:
    app = with_starlette(quota, provider, instrument=False)
    answer = await request(app, "/async", query="model=m")
    assert answer.body == b"200"  # nobody asked, and nobody was asked
    assert await by_tenant(quota) == {}
    quota.metered(provider.client)
    assert (await request(app, "/async", query="model=m")).body == b"403"


# unattributed


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_an_unattributed_call_is_denied_and_says_what_to_set(framework: str, quota: Quota) -> None:
    seen: list[httpx.Response] = []
    provider = Provider(answers)
    provider.client.event_hooks["response"] = [lambda response: _keep(seen, response)]
    answer = await request(FRAMEWORKS[framework](quota, provider), "/async", query="model=m")
    assert "403" in answer.body.decode()
    error = seen[0].json()["error"]
    assert error["code"] == "unattributed"
    for way_out in ("acting_as", "unattributed='allow'", "project:<id>"):
        assert way_out in error["message"]


async def _keep(seen: list[httpx.Response], response: httpx.Response) -> None:
    await response.aread()
    seen.append(response)


async def test_an_allowed_unattributed_call_is_recorded_all_the_same(provider: Provider) -> None:
    quota = Quota("memory://", unattributed="allow")
    assert (await request(with_starlette(quota, provider), "/async", query="model=m")).body == b"200"
    assert await by_tenant(quota) == {("m", None): 1}
    quota.close()


async def test_an_unattributed_call_can_fall_to_a_project(provider: Provider) -> None:
    """Also where the request carries the host's own credentials."""
    quota = Quota("memory://", unattributed="project:proj_rest")
    org = quota.blocking.tenancy.create_organization("Acme").id
    quota.blocking.tenancy.create_project(org, "rest", id="proj_rest")
    app = with_starlette(quota, provider)
    for headers in ([], [(b"authorization", b"Bearer eyJhbGciOi.J9.x")]):
        assert (await request(app, "/async", query="model=m", headers=headers)).body == b"200"
    assert await by_tenant(quota) == {("m", "proj_rest"): 2}
    quota.close()


async def test_with_limits_every_call_is_the_one_projects(provider: Provider) -> None:
    quota = Quota("memory://", limits=["5 requests/day"])
    app = with_starlette(quota, provider)
    for headers in ([], [(b"x-api-key", b"the-hosts-own")]):
        assert (await request(app, "/async", query="model=m", headers=headers)).body == b"200"
    assert await by_tenant(quota) == {("m", "proj_app"): 2}
    quota.close()
