"""I-25: a call is cancelled at each of its checkpoints in turn; nothing stays held, and its record is not lost."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator, Hashable, Iterator
from typing import Any

import anyio
import httpx
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from quotaware import Quota
from quotaware.testing import FakeProvider
from tests.outbound.wire import ANTHROPIC, ASYNC, OPENAI, Way, chat, message, records
from tests.support import AuditedStore, RunningClock

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("way", ASYNC)]


class ThreadedStore(AuditedStore):
    """A store that takes its time, and so is called on a thread of its own, as a database is."""

    def lane(self, org: str) -> Hashable | None:
        return "one"


class CancelledAt:
    """Runs a coroutine and cancels the scope around it when it suspends for the k-th time, on any backend."""

    def __init__(self, k: int, work: Coroutine[Any, Any, None]) -> None:
        self.left = k
        self.work = work
        self.scope = anyio.CancelScope()

    async def run(self) -> bool:
        """Whether it was cancelled; False where it was done before."""
        with self.scope:
            await self
        return self.left <= 0

    def __await__(self) -> Generator[Any, Any, None]:
        resume: Callable[[], Any] = lambda: self.work.send(None)  # noqa: E731
        while True:
            try:
                trap = resume()
            except StopIteration:
                return
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()
            try:
                given = yield trap
            except BaseException as error:
                resume = lambda error=error: self.work.throw(error)  # noqa: E731
            else:
                resume = lambda given=given: self.work.send(given)  # noqa: E731


@pytest.fixture(
    params=[AuditedStore, pytest.param(ThreadedStore, marks=pytest.mark.slow)], ids=["inline", "threaded"]
)
def store(request: pytest.FixtureRequest) -> AuditedStore:
    return request.param(RunningClock())


@pytest.fixture
def quota(store: AuditedStore) -> Iterator[Quota]:
    made = Quota(store, limits=["$1000/month", "100000 requests/day", "50 concurrent"], clock=store._clock)
    made.instrument()
    with made.call(provider="openai", model="gpt-4.1", input=1):
        pass  # what is only done once is done
    yield made
    made.close()


async def streamed(way: Way, provider: FakeProvider) -> None:
    async with (
        way.client() as client,
        client.stream("POST", provider.url + OPENAI, json=chat(stream=True)) as response,
    ):
        async for _ in response.aiter_lines():
            pass


async def streamed_by_anthropic(way: Way, provider: FakeProvider) -> None:
    url, body = provider.url + ANTHROPIC, message(stream=True)
    async with way.client() as client, client.stream("POST", url, json=body) as response:
        async for _ in response.aiter_bytes():
            pass


async def whole(way: Way, provider: FakeProvider) -> None:
    async with way.client() as client:
        await client.post(provider.url + OPENAI, json=chat())


async def streamed_by_an_sdk(way: Way, provider: FakeProvider) -> None:
    """Whichever SDK stands on this library."""
    async with way.client() as http:
        if way.library is httpx:
            client = AsyncOpenAI(api_key="x", base_url=provider.url + "/v1", http_client=http, max_retries=0)
            stream = await client.chat.completions.create(**chat(stream=True))
        else:
            other = AsyncAnthropic(api_key="x", base_url=provider.url, http_client=http, max_retries=0)
            stream = await other.messages.create(**message(stream=True))
        async for _ in stream:
            pass


async def by_hand(way: Way, provider: FakeProvider) -> None:
    quota = provider.quota
    async with quota.call(provider="openai", model="gpt-4.1", input=10, max_output=10) as call:
        await anyio.sleep(0)
        call.used(input=5, output=5)
        await anyio.sleep(0)


CALLS = (streamed, streamed_by_anthropic, whole, streamed_by_an_sdk, by_hand)


@pytest.mark.filterwarnings(
    "ignore:(?s).*Async generator '(http|openai|anthropic):pytest.PytestUnraisableExceptionWarning"
)
@pytest.mark.filterwarnings("ignore:(?s).*unclosed:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("call", CALLS, ids=lambda call: call.__name__)
async def test_a_call_cancelled_at_any_checkpoint_holds_nothing_and_is_not_lost(
    provider: FakeProvider,
    store: AuditedStore,
    quota: Quota,
    way: Way,
    call: Callable[[Way, FakeProvider], Coroutine[Any, Any, None]],
) -> None:
    """Every request that arrived at the provider has left its record; none is there twice."""
    provider.output, provider.pace, provider.quota = 3, 0.001, quota
    k, before = 0, len(records(quota))
    with anyio.fail_after(60):
        cancelled = True
        while cancelled:
            k += 1
            cancelled = await CancelledAt(k, call(way, provider)).run()
            assert quota.flush()
            assert store.held == {}, k
    assert k >= (3 if call is by_hand else 6)
    await anyio.to_thread.run_sync(provider.wait_idle)
    store.check()
    left = records(quota)[before:]
    assert provider.requests <= len(left) <= k
    assert len({record.id for record in left}) == len(left)
    assert left[-1].quality == "exact"
    assert {record.quality for record in left} <= {"exact", "partial"}
    assert quota.engine.lanes.leases == []
    assert not quota.stats.get("faults")


async def test_a_call_cancelled_while_it_waits_leaves_the_line(
    provider: FakeProvider, store: AuditedStore, way: Way
) -> None:
    """It waits for what others hold; the next in line is served when they let go."""
    quota = Quota(store, limits=["1 concurrent"], clock=store._clock)
    quota.instrument()
    client = way.client()
    try:
        holder = await way.open(client, provider.url + OPENAI, chat(stream=True))
        for k in (1, 2, 3):
            assert await CancelledAt(k, whole(way, provider)).run()
        assert (len(quota.engine.room), provider.requests) == (0, 1)
        async with anyio.create_task_group() as group:
            group.start_soon(whole, way, provider)
            with anyio.fail_after(10):
                while not len(quota.engine.room):
                    await anyio.sleep(0.001)
            await way.close(holder)
        assert quota.flush()
        assert (provider.requests, store.held) == (2, {})
        store.check()
    finally:
        await way.close(client)
        quota.close()
