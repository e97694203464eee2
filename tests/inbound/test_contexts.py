"""Whose a call is that is made elsewhere than in the endpoint: by whichever ways it gets there, never another's."""

from __future__ import annotations

import asyncio
import gc
import inspect
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from fastapi import BackgroundTasks, FastAPI
from fastapi.responses import StreamingResponse as FastStream
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar, get
from litestar.background_tasks import BackgroundTask as LitestarTask
from litestar.response import Response as LitestarResponse
from litestar.response import Stream
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.requests import Request
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

from quotaware import ConfigurationError, Identity, Quota, QuotaMiddleware, with_caller
from quotaware.context import Binding, bound, current
from quotaware.integrations.litestar import QuotaPlugin
from quotaware.outbound import executors
from quotaware.testing import FakeProvider
from tests.apps.asgi import bearer, request
from tests.apps.hosts import Provider, answers
from tests.inbound.bridges import ENDS, WAYS, Shared, go, shared
from tests.inbound.test_middleware import Tenant, by_tenant, tenants

PLACES = ("async", "sync", "stream", "stream-sync", "background")


async def follow(way: str, model: str, shared: Shared) -> str:
    """Goes a way as it stands in a query: names, and what is at the end."""
    *ways, end = way.split("-")
    return await go(shared, model, ways, end)


async def late(way: str, model: str, shared: Shared) -> AsyncIterator[str]:
    yield ""
    yield await follow(way, model, shared)


def late_sync(way: str, model: str, shared: Shared) -> Iterator[str]:
    yield ""
    yield asyncio.run(follow(way, model, shared))


def with_fastapi(quota: Quota, shared: Shared) -> Any:
    app = FastAPI()
    app.add_middleware(QuotaMiddleware, quota=quota)

    @app.get("/async")
    async def plain(model: str, way: str) -> Any:
        return await follow(way, model, shared)

    @app.get("/sync")
    def sync(model: str, way: str) -> Any:
        return asyncio.run(follow(way, model, shared))

    @app.get("/stream")
    async def stream(model: str, way: str) -> FastStream:
        return FastStream(late(way, model, shared))

    @app.get("/stream-sync")
    def stream_sync(model: str, way: str) -> FastStream:
        return FastStream(late_sync(way, model, shared))

    @app.get("/background")
    async def background(model: str, way: str, tasks: BackgroundTasks) -> str:
        tasks.add_task(follow, way, model, shared)
        return "200"

    return app


def with_starlette(quota: Quota, shared: Shared) -> Any:
    def asked(request: Request) -> tuple[str, str]:
        return request.query_params["way"], request.query_params["model"]

    async def plain(request: Request) -> PlainTextResponse:
        way, model = asked(request)
        return PlainTextResponse(await follow(way, model, shared))

    def sync(request: Request) -> PlainTextResponse:
        way, model = asked(request)
        return PlainTextResponse(asyncio.run(follow(way, model, shared)))

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(late(*asked(request), shared))

    def stream_sync(request: Request) -> StreamingResponse:
        return StreamingResponse(late_sync(*asked(request), shared))

    async def background(request: Request) -> PlainTextResponse:
        way, model = asked(request)
        return PlainTextResponse("200", background=BackgroundTask(follow, way, model, shared))

    places = zip(PLACES, (plain, sync, stream, stream_sync, background), strict=True)
    app = Starlette(routes=[Route(f"/{place}", endpoint) for place, endpoint in places])
    app.add_middleware(QuotaMiddleware, quota=quota)
    return app


def with_litestar(quota: Quota, shared: Shared) -> Any:
    @get("/async", media_type="text/plain")
    async def plain(model: str, way: str) -> str:
        return await follow(way, model, shared)

    @get("/sync", media_type="text/plain", sync_to_thread=True)
    def sync(model: str, way: str) -> str:
        return asyncio.run(follow(way, model, shared))

    @get("/stream")
    async def stream(model: str, way: str) -> Stream:
        return Stream(late(way, model, shared))

    @get("/stream-sync")
    async def stream_sync(model: str, way: str) -> Stream:
        return Stream(late_sync(way, model, shared))

    @get("/background", media_type="text/plain")
    async def background(model: str, way: str) -> LitestarResponse[str]:
        return LitestarResponse("200", background=LitestarTask(follow, way, model, shared))

    return Litestar(
        [plain, sync, stream, stream_sync, background],
        plugins=[QuotaPlugin(quota)],
        openapi_config=None,
        logging_config=None,
    )


FRAMEWORKS = {"fastapi": with_fastapi, "starlette": with_starlette, "litestar": with_litestar}


class House:
    """An app with many tenants, whose requests all go at once."""

    def __init__(self, framework: str, quota: Quota, shared: Shared, count: int = 12) -> None:
        self.quota = quota
        self.app = FRAMEWORKS[framework](quota, shared)
        self.tenants = tenants(quota, count)
        self.expected: Counter[tuple[str | None, str | None]] = Counter()

    async def visit(self, tenant: Tenant, place: str, way: str) -> None:
        query = f"model={tenant.model}&way={way}"
        answer = await request(self.app, f"/{place}", query=query, headers=[bearer(tenant.key)])
        assert (answer.status, answer.error) == (200, None)
        assert "200" in answer.body.decode()
        self.expected[tenant.model, tenant.project] += 1

    async def visits(self, plan: list[tuple[int, str, str]]) -> None:
        """(whose, in which place, by which way); then every record is its own tenant's."""
        await asyncio.gather(*(self.visit(self.tenants[who], place, way) for who, place, way in plan))
        assert await by_tenant(self.quota) == self.expected
        assert current() is None


@pytest.fixture
def quota() -> Iterator[Quota]:
    quota = Quota("memory://")
    yield quota
    quota.close()


@pytest.fixture
def ways() -> Iterator[Shared]:
    with shared(Provider(answers)) as made:
        yield made


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_each_way_leads_to_the_caller(framework: str, quota: Quota, ways: Shared) -> None:
    """From each place of an app, and each end; all of them at once, of different callers."""
    house = House(framework, quota, ways)
    plan = [(place, f"{way}-{end}") for place in PLACES for way in WAYS for end in ENDS]
    asyncio.run(house.visits([(n % len(house.tenants), *each) for n, each in enumerate(plan)]))


WAY = st.tuples(st.lists(st.sampled_from(sorted(WAYS)), max_size=4), st.sampled_from(sorted(ENDS)))
VISIT = st.tuples(
    st.integers(0, 11), st.sampled_from(PLACES), WAY.map(lambda way: "-".join([*way[0], way[1]]))
)


@pytest.mark.parametrize("examples", [20, pytest.param(500, marks=pytest.mark.slow)])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_whatever_ways_follow_upon_each_other_a_call_is_never_anothers(
    framework: str, examples: int, quota: Quota, ways: Shared
) -> None:
    """Up to 48 requests of twelve callers at once: each record has its own caller, and no call is without one."""
    house = House(framework, quota, ways)

    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
    @given(st.lists(VISIT, min_size=8, max_size=48))
    def holds(plan: list[tuple[int, str, str]]) -> None:
        asyncio.run(house.visits(plan))

    holds()


# answers that are read late


class Late:
    """An app whose endpoint begins a streamed answer and leaves it to be read by whoever asks for `/read`."""

    def __init__(self, quota: Quota, url: str) -> None:
        self.begun: dict[str, Any] = {}
        self.client = openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="x")
        self.sync = openai.OpenAI(base_url=f"{url}/v1", api_key="x")
        self.app = FastAPI()
        self.app.add_middleware(QuotaMiddleware, quota=quota)
        body: dict[str, Any] = {"messages": [{"role": "user", "content": "hi"}], "stream": True}

        @self.app.get("/begin")
        async def begin(model: str) -> None:
            self.begun[model] = await self.client.chat.completions.create(model=model, **body)

        @self.app.get("/begin-sync")
        def begin_sync(model: str) -> None:
            self.begun[model] = self.sync.chat.completions.create(model=model, **body)

        @self.app.get("/read")
        async def read(model: str) -> int:
            return len([chunk async for chunk in self.begun.pop(model)])

        @self.app.get("/read-sync")
        def read_sync(model: str) -> int:
            return len(list(self.begun.pop(model)))

        @self.app.get("/forget")
        async def forget(model: str) -> None:
            del self.begun[model]


@pytest.mark.anyio
@pytest.mark.parametrize("how", ["", "-sync"], ids=["async", "sync"])
async def test_an_answer_that_another_reads_later_is_charged_to_who_asked(
    how: str, quota: Quota, fake_provider: FakeProvider
) -> None:
    """All begin first; when their requests are over, each is read within a request of its neighbour."""
    late, who = Late(quota, fake_provider.url), tenants(quota, 8)

    async def visit(place: str, model: str, tenant: Tenant) -> None:
        answer = await request(late.app, place, query=f"model={model}", headers=[bearer(tenant.key)])
        assert (answer.status, answer.error) == (200, None)

    await asyncio.gather(*(visit(f"/begin{how}", tenant.model, tenant) for tenant in who))
    neighbours = zip(who, who[1:] + who[:1], strict=True)
    await asyncio.gather(*(visit(f"/read{how}", tenant.model, other) for tenant, other in neighbours))
    late.sync.close()
    await late.client.close()
    assert await by_tenant(quota) == Counter({(tenant.model, tenant.project): 1 for tenant in who})
    outputs = {record.usage.output async for record in quota.usage.records()}
    assert outputs == {16}


@pytest.mark.anyio
async def test_an_answer_that_another_drops_is_charged_to_who_asked(
    quota: Quota, fake_provider: FakeProvider
) -> None:
    late, (one, two) = Late(quota, fake_provider.url), tenants(quota, 2)
    query = f"model={one.model}"
    assert (await request(late.app, "/begin-sync", query=query, headers=[bearer(one.key)])).status == 200
    assert (await request(late.app, "/forget", query=query, headers=[bearer(two.key)])).status == 200
    gc.collect()
    late.sync.close()
    await late.client.close()
    assert await by_tenant(quota) == {(one.model, one.project): 1}


# thread pools


def bind(quota: Quota, name: str) -> Binding:
    return quota.acting_as(end_user=name).binding


def whose() -> str | None:
    """The end user of the binding that runs here, without a store."""
    found = current()
    assert found is None or isinstance(found.caller, Identity)
    return None if found is None else found.caller.end_user


def test_jobs_of_a_pool_are_whoever_submits_them_while_we_are_instrumented(quota: Quota) -> None:
    quota.instrument()
    with ThreadPoolExecutor(1) as pool:
        for name in ("ann", "bob"):
            with quota.acting_as(end_user=name):
                assert pool.submit(whose).result() == name
                assert list(pool.map(lambda _: whose(), range(2))) == [name, name]
            assert pool.submit(whose).result() is None
    quota.uninstrument()
    assert ThreadPoolExecutor.submit.__module__ == "concurrent.futures.thread"
    with ThreadPoolExecutor(1) as pool, quota.acting_as(end_user="ann"):
        assert pool.submit(whose).result() is None
        assert pool.submit(with_caller(whose)).result() == "ann"


def test_a_job_of_nobody_is_nobodys_where_threads_inherit_a_context(
    quota: Quota, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from Python 3.14 on they may: the thread would be whoever's was the first job."""
    quota.instrument()
    monkeypatch.setattr(executors, "INHERITED", True)
    inherits = bound(bind(quota, "first")).__enter__
    with ThreadPoolExecutor(1, initializer=inherits) as pool:
        assert pool.submit(whose).result() is None
        with quota.acting_as(end_user="ann"):
            assert pool.submit(whose).result() == "ann"
        assert pool.submit(whose).result() is None


def test_a_job_is_given_and_fails_as_ever(quota: Quota) -> None:
    quota.instrument()

    def job(*args: Any, **kwargs: Any) -> Any:
        if not args:
            raise ValueError("no arguments")
        return args, kwargs

    with ThreadPoolExecutor(1) as pool, quota.acting_as(end_user="ann"):
        assert pool.submit(job, 1, fn=2, binding=3, function=4).result() == (
            (1,),
            {"fn": 2, "binding": 3, "function": 4},
        )
        with pytest.raises(ValueError, match="no arguments"):
            pool.submit(job).result()
        with pytest.raises(TypeError):
            pool.submit()  # type: ignore[call-arg]
    with pytest.raises(RuntimeError, match="shutdown"), quota.acting_as(end_user="ann"):
        pool.submit(job)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_process_that_is_forked_while_somebody_calls_is_nobodys(quota: Quota) -> None:
    """A worker of a pool of processes, forked for one caller's job, is there for all that come."""
    asked, told = os.pipe()
    with quota.acting_as(end_user="ann"):
        child = os.fork()
        if child == 0:
            os.write(told, repr(whose()).encode())
            os._exit(0)
        assert whose() == "ann"
    os.waitpid(child, 0)
    assert os.read(asked, 100) == b"None"
    os.close(asked)
    os.close(told)


# the helper for all other threads


def test_with_caller_keeps_what_the_function_is(quota: Quota) -> None:
    def work(a: int, *, b: int = 2) -> tuple[int, int]:
        """Works."""
        return a, b

    async def work_async(a: int) -> int:
        return a

    with quota.acting_as(end_user="ann"):
        acts, acts_async = with_caller(work), with_caller(work_async)
    assert (acts.__name__, acts.__doc__, acts(1, b=3)) == ("work", "Works.", (1, 3))
    assert inspect.iscoroutinefunction(acts_async)
    assert asyncio.run(acts_async(4)) == 4
    with quota.acting_as(end_user="bob"):
        assert with_caller(whose)() == "bob"


def test_with_caller_is_whose_it_was_made_again_and_at_the_same_time(quota: Quota) -> None:
    """In the context of another too, which it leaves as it was; after the block is over; in many threads at once."""
    together = threading.Barrier(4)

    def work() -> str | None:
        together.wait(10)
        return whose()

    with quota.acting_as(end_user="ann"):
        ann = with_caller(work)
    with quota.acting_as(end_user="bob"):
        bob = with_caller(work)
        with ThreadPoolExecutor(4) as pool:
            said = [pool.submit(job) for job in (ann, bob, ann, bob)]
        assert [each.result() for each in said] == ["ann", "bob", "ann", "bob"]
        assert whose() == "bob"


def test_with_caller_of_a_coroutine_function_holds_over_its_awaits(quota: Quota) -> None:
    async def work() -> tuple[str | None, str | None]:
        before = whose()
        await asyncio.sleep(0)
        return before, whose()

    async def run() -> None:
        with quota.acting_as(end_user="ann"):
            ann = with_caller(work)
        with quota.acting_as(end_user="bob"):
            assert await asyncio.gather(ann(), work(), ann()) == [
                ("ann", "ann"),
                ("bob", "bob"),
                ("ann", "ann"),
            ]
            assert await ann() == ("ann", "ann")
            assert whose() == "bob"

    asyncio.run(run())


def test_with_caller_where_nobody_calls_is_nobodys_wherever_it_runs(quota: Quota) -> None:
    work = with_caller(whose)
    with quota.acting_as(end_user="ann"):
        assert work() is None
        assert whose() == "ann"


def test_with_caller_leaves_the_context_as_it_was_when_the_work_fails(quota: Quota) -> None:
    with quota.acting_as(end_user="ann"):
        fails = with_caller(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        fails()
    assert current() is None


def generates() -> Iterator[int]:
    yield 1


async def generates_async() -> AsyncIterator[int]:
    yield 1


@pytest.mark.parametrize("given", [generates, generates_async, generates(), None, "work"])
def test_with_caller_refuses_what_does_not_work_when_it_is_called(given: Any) -> None:
    """A call in a thread's `target=` instead of a function, a generator that runs only where it is consumed."""
    with pytest.raises(ConfigurationError) as caught:
        with_caller(given)
    assert caught.value.field == "function"
