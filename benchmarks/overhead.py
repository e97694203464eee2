"""What metering costs: A against B in one run, several rounds, medians and ratios.

    python benchmarks/overhead.py [--rounds 41]

Times are CPU time of the running thread, since shared machines make wall clocks jump; the two sides take turns.

1. a request to a host that is no LLM provider, bare client against hooked client (httpx and httpx2, sync and async)
2. an SDK call (openai) against a fake provider in memory, bare against metered with eight limits
3. the engine alone: admit and settle over eight limits, against one moving-window hit of the library `limits`
4. the same pair without `Quota(telemetry=…)`, and with OpenTelemetry (without and with an SDK) or Prometheus
5. a chunk of a streamed answer through the tap, and through aiohttp's reader with and without one

Nothing leaves the process: transports answer from memory.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from quotaware import Quota
from quotaware.context import Binding
from quotaware.core.bounds import Call
from quotaware.core.charges import Outcome
from quotaware.core.usage import Usage
from quotaware.providers import registry
from quotaware.stores.tickets import drive

EIGHT = [
    "$1000000/month",
    "$100000/day",
    "$10000/calendar hour",
    "1000000 requests/minute",
    "100000000 requests/day",
    "1000000000 tokens/minute",
    "$500000/month for gpt-4.1*",
    "1000 concurrent",
]
ANSWER = {
    "id": "c",
    "object": "chat.completion",
    "created": 0,
    "model": "gpt-4.1-2025-04-14",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 1, "total_tokens": 10},
}


def paired(name: str, bare: Callable[[], float], other: Callable[[], float], rounds: int) -> None:
    """Runs both in turn and prints medians (µs a request) and the median of the pairwise differences and ratios."""
    bare(), other()
    pairs = [(bare(), other()) for _ in range(rounds)]
    a = statistics.median(pair[0] for pair in pairs)
    b = statistics.median(pair[1] for pair in pairs)
    added = statistics.median(y - x for x, y in pairs)
    ratio = statistics.median(y / x for x, y in pairs)
    print(f"{name:<58} {a:9.2f} {b:9.2f} {added:+9.2f} {ratio:7.2f}")


def timed(work: Callable[[], object], times: int) -> float:
    start = time.thread_time()
    for _ in range(times):
        work()
    return (time.thread_time() - start) / times * 1e6


async def timed_async(work: Callable[[], Awaitable[object]], times: int) -> float:
    start = time.thread_time()
    for _ in range(times):
        await work()
    return (time.thread_time() - start) / times * 1e6


def strangers(library: Any, rounds: int) -> None:
    """A POST to a host nobody knows; the transport answers from memory."""
    quota = Quota("memory://", limits=EIGHT)
    transport = library.MockTransport(lambda request: library.Response(200, json={}))
    with library.Client(transport=transport) as client:
        request = client.build_request("POST", "https://service.example/items", json={"a": 1})

        def bare() -> float:
            return timed(lambda: client.send(request), 200)

        def hooked() -> float:
            quota.instrument()
            try:
                return timed(lambda: client.send(request), 200)
            finally:
                quota.uninstrument()

        paired(f"{library.__name__} sync, POST to a stranger", bare, hooked, rounds)

    async def both() -> None:
        async with library.AsyncClient(transport=transport) as client:
            request = client.build_request("POST", "https://service.example/items", json={"a": 1})
            pairs = []
            for _ in range(rounds + 1):
                plain = await timed_async(lambda: client.send(request), 200)
                quota.instrument()
                pairs.append((plain, await timed_async(lambda: client.send(request), 200)))
                quota.uninstrument()
            measured = iter(pairs[1:])
            last: list[tuple[float, float]] = [pairs[0]]

            def first() -> float:
                last[0] = next(measured, pairs[0])
                return last[0][0]

            paired(f"{library.__name__} async, POST to a stranger", first, lambda: last[0][1], rounds - 1)

    asyncio.run(both())
    quota.close()


def sdk(rounds: int) -> None:
    from openai import OpenAI

    quota = Quota("memory://", limits=EIGHT)

    def client(http: httpx.Client) -> Callable[[], object]:
        made = OpenAI(api_key="none", http_client=http)
        return lambda: made.chat.completions.create(
            model="gpt-4.1", max_tokens=100, messages=[{"role": "user", "content": "hello"}]
        )

    answer = json.dumps(ANSWER).encode()
    inner = httpx.MockTransport(
        lambda request: httpx.Response(200, content=answer, headers={"content-type": "application/json"})
    )
    quota.instrument()
    quota.uninstrument()
    bare, metered = (
        client(httpx.Client(transport=inner)),
        client(httpx.Client(transport=quota.sync_transport(inner))),
    )
    paired(
        "openai chat call, bare and metered over eight limits",
        lambda: timed(bare, 20),
        lambda: timed(metered, 20),
        rounds,
    )
    quota.close()


def engine(rounds: int) -> None:
    from limits import RateLimitItemPerMinute
    from limits.storage import MemoryStorage
    from limits.strategies import MovingWindowRateLimiter

    quota = Quota("memory://", limits=EIGHT)
    binding = Binding(quota.meter, None)
    call = Call("openai", "chat", "gpt-4.1", cap=100, text=400, parts=2, cache_write=False)

    def pair() -> None:
        admission: Any = drive(quota.engine.admit(call, binding, may_wait=True))
        admission.settle(Outcome(200, usage=Usage(100, 20)), "gpt-4.1")

    limiter = MovingWindowRateLimiter(MemoryStorage())
    item = RateLimitItemPerMinute(10_000_000)
    paired(
        "one `limits` moving-window hit; admit + settle over eight",
        lambda: timed(lambda: limiter.hit(item, "x"), 200),
        lambda: timed(pair, 200),
        rounds,
    )
    quota.close()


def telemetry(rounds: int) -> None:
    """Admit and settle over eight limits without `Quota(telemetry=…)`, and with it."""
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader
    from opentelemetry.sdk.trace import TracerProvider

    from quotaware.integrations.opentelemetry import OpenTelemetry
    from quotaware.integrations.prometheus import Prometheus

    call = Call("openai", "chat", "gpt-4.1", cap=100, text=400, parts=2, cache_write=False)

    def pair(quota: Quota) -> Callable[[], None]:
        binding = Binding(quota.meter, None)

        def run() -> None:
            admission: Any = drive(quota.engine.admit(call, binding, may_wait=True))
            with admission.around():
                pass
            admission.settle(Outcome(200, usage=Usage(100, 20)), "gpt-4.1")

        return run

    bare = Quota("memory://", limits=EIGHT)
    for name, observers in (
        ("again without", []),
        ("OpenTelemetry, no SDK", [OpenTelemetry()]),
        ("OpenTelemetry, SDK", [OpenTelemetry(TracerProvider(), MeterProvider([InMemoryMetricReader()]))]),
        ("Prometheus", [Prometheus()]),
    ):
        watched = Quota("memory://", limits=EIGHT, telemetry=observers)
        first, second = pair(bare), pair(watched)
        paired(
            f"admit + settle without telemetry; {name}",
            lambda work=first: timed(work, 200),
            lambda work=second: timed(work, 200),
            rounds,
        )
        watched.close()
    bare.close()


def stream(rounds: int) -> None:
    chunk = (
        b'data: {"id":"c","object":"chat.completion.chunk","created":0,"model":"gpt-4.1","choices":[{"index":0,'
        b'"delta":{"content":"hello"},"logprobs":null,"finish_reason":null}],"usage":null}\n\n'
    )
    route = registry.find("POST", "api.openai.com", "/v1/chat/completions")
    assert route is not None
    assert route.format is not None
    for hide in (False, True):
        reader = route.format.stream(hide)

        def through(reader: Any = reader) -> None:
            reader.feed(chunk)

        paired(
            f"a streamed chunk, kept and read ({'hiding' if hide else 'as it is'})",
            lambda: timed(lambda: chunk, 2_000),
            lambda through=through: timed(through, 2_000),
            rounds,
        )


def readers(rounds: int) -> None:
    """A chunk that comes in while the app waits for it, read by aiohttp's reader and by ours."""
    import aiohttp

    from quotaware.outbound.aiohttp_streams import tapped_reader

    class Protocol:
        connected = True

        def pause_reading(self) -> None:
            pass

        def resume_reading(self, resume_parser: bool = True) -> None:
            pass

    class Tap:
        def feed(self, data: bytes) -> tuple[bytes]:
            return (data,)

        def cut(self) -> bytes:
            return b""

    async def one(ours: bool) -> float:
        inner = aiohttp.StreamReader(Protocol(), 65_536, loop=asyncio.get_running_loop())
        reader: Any = tapped_reader(aiohttp)(inner, Tap()) if ours else inner

        async def chunk() -> None:
            inner.begin_http_chunk_receiving()
            inner.feed_data(b"x" * 200)
            inner.end_http_chunk_receiving()
            await reader.readany()

        return await timed_async(chunk, 2_000)

    paired(
        "a streamed chunk through aiohttp's reader",
        lambda: asyncio.run(one(False)),
        lambda: asyncio.run(one(True)),
        rounds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=41)
    rounds = parser.parse_args().rounds
    print(f"{'µs a request, medians':<58} {'bare':>9} {'ours':>9} {'added':>9} {'ratio':>7}")
    libraries: list[Any] = [httpx]
    try:
        import httpx2

        libraries.append(httpx2)
    except ImportError:
        pass
    for library in libraries:
        strangers(library, rounds)
    sdk(rounds)
    engine(rounds)
    telemetry(rounds)
    stream(rounds)
    readers(rounds)


if __name__ == "__main__":
    main()
