"""Python's own ways for work to get from one task or thread to another, which may follow upon each other: whatever
they lead to, an LLM call at the end is the caller's who set out.

Pools, loops and workers are shared by all requests, so that each of their threads serves many.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread

from quotaware import with_caller
from tests.apps.hosts import Provider

Go = Callable[[], Any]
"""What is left of the way: a coroutine function."""
ENOUGH = 1000
"""Threads of a pool whose jobs wait for other jobs of it."""


class Shared:
    """What the requests share: two pools, a loop on its own thread, a thread and a task that work off a queue."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider
        self.pool = ThreadPoolExecutor(ENOUGH)
        self.other_pool = ThreadPool(32)
        self.loop = asyncio.new_event_loop()
        self.loop.set_default_executor(self.pool)
        self.jobs: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self.tasks: asyncio.Queue[Callable[[], Awaitable[None]] | None] = asyncio.Queue()
        self.threads = [threading.Thread(target=work) for work in (self._run, self._work)]

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.run(self._work_async())

    async def _work_async(self) -> None:
        while (job := await self.tasks.get()) is not None:
            await job()

    def _work(self) -> None:
        while (job := self.jobs.get()) is not None:
            job()


@contextmanager
def shared(provider: Provider) -> Iterator[Shared]:
    made = Shared(provider)
    for thread in made.threads:
        thread.start()
    try:
        yield made
    finally:
        made.jobs.put(None)
        made.loop.call_soon_threadsafe(made.tasks.put_nowait, None)
        for thread in made.threads:
            thread.join()
        made.other_pool.terminate()
        made.pool.shutdown()


async def go(shared: Shared, model: str, ways: Sequence[str], end: str) -> str:
    """Goes one way after the other, makes the call as `end` says and answers what the provider said."""
    await asyncio.sleep(0)
    if ways:
        return await WAYS[ways[0]](shared, partial(go, shared, model, ways[1:], end))
    return await ENDS[end](shared, model)


def run(go: Go) -> Any:
    """Goes on, on a loop of this thread's own."""
    return asyncio.run(go())


async def task(shared: Shared, go: Go) -> Any:
    return await asyncio.create_task(go())


async def gathered(shared: Shared, go: Go) -> Any:
    return (await asyncio.gather(go(), asyncio.sleep(0)))[0]


async def group(shared: Shared, go: Go) -> Any:
    async with asyncio.TaskGroup() as tasks:
        made = tasks.create_task(go())
    return made.result()


async def call_soon(shared: Shared, go: Go) -> Any:
    loop = asyncio.get_running_loop()
    made: asyncio.Future[asyncio.Task[Any]] = loop.create_future()
    loop.call_soon(lambda: made.set_result(loop.create_task(go())))
    return await (await made)


async def to_thread(shared: Shared, go: Go) -> Any:
    return await asyncio.to_thread(run, go)


async def anyio_thread(shared: Shared, go: Go) -> Any:
    return await anyio.to_thread.run_sync(run, go, limiter=anyio.CapacityLimiter(1))


async def there_and_back(shared: Shared, go: Go) -> Any:
    return await anyio.to_thread.run_sync(anyio.from_thread.run, go, limiter=anyio.CapacityLimiter(1))


async def default_executor(shared: Shared, go: Go) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, run, go)


async def executor(shared: Shared, go: Go) -> Any:
    return await asyncio.get_running_loop().run_in_executor(shared.pool, run, go)


async def submitted(shared: Shared, go: Go) -> Any:
    return await asyncio.wrap_future(shared.pool.submit(run, go))


async def mapped(shared: Shared, go: Go) -> Any:
    return (await asyncio.to_thread(lambda: list(shared.pool.map(run, [go]))))[0]


async def other_loop(shared: Shared, go: Go) -> Any:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(go(), shared.loop))


async def thread(shared: Shared, go: Go) -> Any:
    done: Future[Any] = Future()
    threading.Thread(target=with_caller(lambda: done.set_result(run(go)))).start()
    return await asyncio.wrap_future(done)


async def timer(shared: Shared, go: Go) -> Any:
    done: Future[Any] = Future()
    threading.Timer(0, with_caller(lambda: done.set_result(run(go)))).start()
    return await asyncio.wrap_future(done)


WAYS: dict[str, Callable[[Shared, Go], Awaitable[Any]]] = {
    way.__name__: way
    for way in (
        task,
        gathered,
        group,
        call_soon,
        to_thread,
        anyio_thread,
        there_and_back,
        default_executor,
        executor,
        submitted,
        mapped,
        other_loop,
        thread,
        timer,
    )
}


async def asked(shared: Shared, model: str) -> str:
    return await shared.provider.ask(model)


async def asked_sync(shared: Shared, model: str) -> str:
    """On the loop's own thread: wrong, and the caller's all the same."""
    return shared.provider.ask_sync(model)


async def by_thread_pool(shared: Shared, model: str) -> str:
    """`multiprocessing`'s pool of threads, which is no executor."""
    done: Future[str] = Future()
    job = with_caller(shared.provider.ask_sync)
    shared.other_pool.apply_async(job, (model,), callback=done.set_result, error_callback=done.set_exception)
    return await asyncio.wrap_future(done)


async def by_worker_thread(shared: Shared, model: str) -> str:
    done: Future[str] = Future()
    ask = with_caller(shared.provider.ask_sync)
    shared.jobs.put(lambda: done.set_result(ask(model)))
    return await asyncio.wrap_future(done)


async def by_worker_task(shared: Shared, model: str) -> str:
    done: Future[str] = Future()
    ask = with_caller(shared.provider.ask)

    async def job() -> None:
        done.set_result(await ask(model))

    shared.loop.call_soon_threadsafe(shared.tasks.put_nowait, job)
    return await asyncio.wrap_future(done)


ENDS: dict[str, Callable[[Shared, str], Awaitable[str]]] = {
    end.__name__: end for end in (asked, asked_sync, by_thread_pool, by_worker_thread, by_worker_task)
}
