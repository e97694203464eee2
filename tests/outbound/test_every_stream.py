"""F8: a stream of every format, through every library, however it ends: one record, never less than was seen, and
nothing at $0.
"""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import ModuleType
from typing import Any

import aiohttp
import anyio
import anyio.lowlevel
import httpx
import httpx2
import pytest

from quotaware import Quota
from quotaware.core.bounds import Call
from quotaware.core.charges import charge
from quotaware.core.prices import Price
from quotaware.outbound.tap import Tap
from quotaware.providers import registry
from quotaware.testing.server import serve
from quotaware.usage import UsageRecord
from tests.outbound.aws import MODEL, client, converse
from tests.outbound.streamed import STREAMS, Streamed, Wire
from tests.outbound.test_tap import Ledger
from tests.outbound.wire import records
from tests.support import AuditedStore

pytestmark = [
    pytest.mark.filterwarnings(
        "ignore:(?s).*Async generator '(http|tests):pytest.PytestUnraisableExceptionWarning"
    ),
    pytest.mark.filterwarnings("ignore:(?s).*(unclosed|socket):pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Unclosed:ResourceWarning"),
]


@pytest.fixture(scope="module")
def served() -> Iterator[Wire]:
    app = Wire()
    with serve(app) as url:
        app.url = url
        yield app


@pytest.fixture
def quotas(books: AuditedStore) -> Iterator[Callable[[str | None], Quota]]:
    """A quota that takes the server for a provider's; afterwards the books agree and nothing is held."""
    made: list[Quota] = []

    def quota(provider: str | None) -> Quota:
        made.append(
            Quota(
                books,
                limits=["$1000/month", "1000000 requests/day"],
                clock=books.clock,
                hosts={"127.0.0.1": provider} if provider else {},
                unknown_model={"input": 1, "output": 2},
            )
        )
        made[-1].instrument()
        return made[-1]

    try:
        yield quota
        for one in made:
            assert one.flush()
            books.check()
            assert books.held == {}
            assert not one.stats.get("faults")
            assert not one.stats.get("unreadable")
    finally:
        for one in made:
            one.close()


# the libraries: each opens an answer and gives what comes of it, piece by piece


class Answer:
    """An answer under way: `got` is how many bytes the app has seen."""

    def __init__(self, pieces: AsyncIterator[bytes], close: Callable[[], Awaitable[None]]) -> None:
        self.pieces, self.close = pieces, close
        self.got = b""

    async def next(self) -> None:
        self.got += await anext(self.pieces)

    async def rest(self) -> None:
        async for piece in self.pieces:
            self.got += piece


Opened = Callable[[Wire, Streamed], Awaitable[Answer]]


def through_sync(library: ModuleType) -> Opened:
    async def opened(wire: Wire, stream: Streamed) -> Answer:
        made = library.Client(trust_env=False, verify=False, timeout=5)
        request = made.build_request(
            "POST", wire.url + stream.path, content=stream.body, headers={"content-type": stream.sent_as}
        )
        response = made.send(request, stream=True)
        raw = response.iter_raw()

        async def pieces() -> AsyncIterator[bytes]:
            for piece in raw:
                yield piece

        async def close() -> None:
            response.close()
            made.close()

        return Answer(pieces(), close)

    return opened


def through_async(library: ModuleType) -> Opened:
    async def opened(wire: Wire, stream: Streamed) -> Answer:
        made = library.AsyncClient(trust_env=False, verify=False, timeout=5)
        request = made.build_request(
            "POST", wire.url + stream.path, content=stream.body, headers={"content-type": stream.sent_as}
        )
        response = await made.send(request, stream=True)

        async def close() -> None:
            await response.aclose()
            await made.aclose()

        return Answer(response.aiter_raw(), close)

    return opened


async def through_aiohttp(wire: Wire, stream: Streamed) -> Answer:
    session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(sock_read=5))
    response = await session.post(
        wire.url + stream.path, data=stream.body, headers={"content-type": stream.sent_as}
    )

    async def pieces() -> AsyncIterator[bytes]:
        while piece := await response.content.readany():
            yield piece

    async def close() -> None:
        response.close()
        await session.close()

    return Answer(pieces(), close)


async def through_botocore(wire: Wire, stream: Streamed) -> Answer:
    made = client(wire.url, read_timeout=5)
    if "converse" in stream.path:
        answer = made.converse_stream(**converse())["stream"]
    else:
        answer = made.invoke_model_with_response_stream(modelId=MODEL, body=stream.body)["body"]
    frames = answer._event_generator

    async def pieces() -> AsyncIterator[bytes]:
        for number, _ in enumerate(frames):
            yield stream.events[number]

    async def close() -> None:
        answer.close()

    return Answer(pieces(), close)


LIBRARIES: dict[str, tuple[Opened, str]] = {
    "httpx": (through_sync(httpx), "asyncio"),
    "httpx, async": (through_async(httpx), "asyncio"),
    "httpx2": (through_sync(httpx2), "asyncio"),
    "httpx2, async": (through_async(httpx2), "trio"),
    "aiohttp": (through_aiohttp, "asyncio"),
    "botocore": (through_botocore, "asyncio"),
}
CASES = [
    pytest.param(
        name,
        library,
        id=f"{name}-{library}",
        marks=[] if (number - way) % 5 == 0 or library == "botocore" else [pytest.mark.slow],
    )
    for number, (name, stream) in enumerate(STREAMS.items())
    for way, library in enumerate(LIBRARIES)
    if library != "botocore" or stream.provider == "aws"
]
"""Every format through every library; by default through one each, and botocore."""
SOME = [
    case if at % 10 == 0 else pytest.param(*case.values, id=case.id, marks=pytest.mark.slow)
    for at, case in enumerate(CASES)
]
"""The same for what takes long; by default every tenth."""


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    library: str = request.getfixturevalue("library") if "library" in request.fixturenames else "httpx"
    return LIBRARIES[library][1]


def judged(quota: Quota, stream: Streamed, answer: Answer) -> UsageRecord:
    """The one record there is; it holds what the app has seen."""
    (record,) = records(quota)
    assert (record.status, record.stream) == (200, True)
    assert record.cost > 0
    assert record.usage.output >= stream.seen(len(answer.got))
    if record.quality == "exact":
        assert (record.usage.input, record.usage.output) == stream.usage
    return record


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "library"), CASES)
async def test_read_to_its_end_it_is_charged_what_it_tells(
    served: Wire, quotas: Any, name: str, library: str
) -> None:
    """And every byte has reached the app."""
    stream = STREAMS[name]
    quota = quotas(stream.provider)
    served.plays(stream)
    answer = await LIBRARIES[library][0](served, stream)
    await answer.rest()
    await answer.close()
    assert answer.got == stream.wire
    assert judged(quota, stream, answer).quality == "exact"


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "library"), CASES)
@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["one", "every"])
async def test_cut_at_any_event_it_is_charged_what_was_seen(
    served: Wire, quotas: Any, name: str, library: str, every: bool
) -> None:
    """The server dies after an event, and within one, in slow after and within each: the app gets its library's error,
    we a record.
    """
    stream = STREAMS[name]
    quota, cuts, at = quotas(stream.provider), [], 0
    for one in stream.events:
        cuts += [at + len(one) // 2, at + len(one)]
        at += len(one)
    for number, cut in enumerate(cuts[:-1] if every else cuts[3:5], 1):
        served.plays(stream, cut, then="close")
        answer = await LIBRARIES[library][0](served, stream)
        with pytest.raises(Exception):  # each library has its own
            await answer.rest()
        await answer.close()
        left = records(quota)
        assert len(left) == number
        record = left[-1]
        assert record.cost > 0
        assert record.usage.output >= stream.seen(cut)
        assert record.quality == ("exact" if stream.ends(cut) else "partial")
        if record.quality == "exact":
            assert (record.usage.input, record.usage.output) == stream.usage


async def closed_in_the_middle(answer: Answer) -> None:
    await answer.next()
    await answer.close()


async def closed_unread(answer: Answer) -> None:
    await answer.close()


async def cancelled(answer: Answer) -> None:
    """The task that reads it."""
    await answer.next()
    with anyio.move_on_after(0.02):
        await answer.rest()
    await answer.close()


ENDINGS = [closed_in_the_middle, closed_unread, cancelled]


@pytest.mark.anyio
@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__)
@pytest.mark.parametrize(("name", "library"), CASES)
async def test_given_up_it_is_charged_what_was_seen(
    served: Wire, quotas: Any, name: str, library: str, end: Callable[[Answer], Awaitable[None]]
) -> None:
    """Closed in the middle, never read at all, its task cancelled while it waits for more."""
    if end is cancelled and library in {"httpx", "httpx2", "botocore"}:
        end = closed_in_the_middle  # nothing cancels a thread that reads
    stream = STREAMS[name]
    quota = quotas(stream.provider)
    served.plays(stream, len(b"".join(stream.events[:2])), then="hang")
    answer = await LIBRARIES[library][0](served, stream)
    await end(answer)
    assert judged(quota, stream, answer).quality == "partial"


@pytest.mark.anyio
@pytest.mark.parametrize("read", [0, 1], ids=["unread", "half read"])
@pytest.mark.parametrize(("name", "library"), SOME)
async def test_forgotten_it_is_settled_when_it_is_collected(
    served: Wire, quotas: Any, name: str, library: str, read: int
) -> None:
    """Nobody closes it. What the app has not asked for may have come all the same."""
    stream = STREAMS[name]
    quota = quotas(stream.provider)
    served.plays(stream, len(b"".join(stream.events[:2])), then="close")

    async def forgotten() -> Answer:
        answer = await LIBRARIES[library][0](served, stream)
        for _ in range(read):
            await answer.next()
        seen = Answer(None, None)  # type: ignore[arg-type]
        seen.got = answer.got
        return seen

    seen = await forgotten()
    for _ in range(60):
        gc.collect()
        await anyio.sleep(0.001)
        if records(quota):
            break
    assert judged(quota, stream, seen).quality == "partial"


@pytest.mark.anyio
@pytest.mark.parametrize(("name", "library"), SOME)
async def test_read_late_and_elsewhere_it_is_charged_to_whoever_asked(
    served: Wire, quotas: Any, books: AuditedStore, name: str, library: str
) -> None:
    """The provider is long done, the caller's context left, another's entered, and minutes have gone by."""
    stream = STREAMS[name]
    quota = quotas(stream.provider)
    served.plays(stream)
    with quota.acting_as(end_user="ada"):
        answer = await LIBRARIES[library][0](served, stream)
    with quota.acting_as(end_user="bob"):
        await anyio.lowlevel.checkpoint()
        gc.collect()
        await answer.rest()
        await answer.close()
    record = judged(quota, stream, answer)
    assert (record.end_user, record.quality) == ("ada", "exact")


# at every byte

CALL = Call("openai", "chat", "m", stream=True, text=40, parts=1)
PRICE = Price.per_million(input=1, output=2)


def tapped(stream: Streamed) -> tuple[Tap, Ledger]:
    route = registry.find(
        "POST", "127.0.0.1", stream.path, {"127.0.0.1": stream.provider} if stream.provider else {}
    )
    assert route is not None
    ledger = Ledger()
    tap = Tap(ledger, route.format, False)
    tap.answered(200, stream.kind, "")
    return tap, ledger


@pytest.mark.parametrize("name", STREAMS)
def test_cut_at_every_byte_it_is_settled_once_and_never_at_less_than_was_seen(name: str) -> None:
    """What is charged is never nothing and does not fall from byte to byte until the usage is told, and is the true one
    from then on; every byte has passed. The same when the bytes come one by one.
    """
    stream, before = STREAMS[name], 0
    slow, slow_ledger = tapped(stream)
    for cut in range(len(stream.wire) + 1):
        tap, ledger = tapped(stream)
        assert b"".join(tap.feed(stream.wire[:cut])) + tap.cut() == stream.wire[:cut]
        b"".join(slow.feed(stream.wire[cut - 1 : cut]) if cut else ())
        outcome = ledger.outcome
        assert charge(CALL, PRICE, 100, 100, outcome).cost > 0
        assert slow._outcome(ended=False)[0] == outcome
        told = outcome.usage.output if outcome.usage else 0
        made = told if outcome.usage and outcome.done else max(told, outcome.seen)
        assert made >= stream.seen(cut)
        if outcome.done:
            assert (outcome.usage.input, outcome.usage.output) == stream.usage
            assert stream.ends(cut + 4)  # all but its blank line is enough
        else:
            assert made >= before
            assert not stream.ends(cut)
            before = made if cut > 1 else 0  # of a bracket alone nothing is known yet
    slow.cut()
    assert slow_ledger.outcome.done
