"""Streams on their way through: what the app sees of them, and what is left when they end, in whichever way."""

from __future__ import annotations

import contextlib
import gc
import json
import warnings
import zlib
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import anyio
import brotli
import httpx
import httpx2
import pytest
import zstandard

from quotaware import Quota
from quotaware.stores.memory import MemoryStore
from quotaware.testing import Cut, FakeProvider, Garbage, Hang, NoUsage, Reset, Status
from quotaware.testing.clocks import FakeClock
from tests.outbound.wire import (
    ANTHROPIC,
    ASYNC,
    DONE_EVENT,
    OPENAI,
    USAGE_EVENT,
    Way,
    chat,
    completion,
    event,
    message,
    records,
    seen_tokens,
)

pytestmark = [
    pytest.mark.anyio,
    # What apps leave behind that stop half way; on trio neither they nor httpx close the generators.
    pytest.mark.filterwarnings(
        "ignore:(?s).*Async generator '(http|tests):pytest.PytestUnraisableExceptionWarning"
    ),
]
HOST = "https://api.openai.com"
SSE = {"content-type": "text/event-stream; charset=utf-8"}
ASKED = {"stream_options": {"include_usage": True}}


def served_stream(way: Way, pieces: list[Any], sent: list[Any] | None = None, **headers: str) -> Any:
    """A client whose answers stream these pieces; `sent` collects the requests' bodies."""

    def answer(request: Any) -> Any:
        if sent is not None:
            sent.append(json.loads(request.content))
        return way.library.Response(200, headers={**SSE, **headers}, stream=way.stream(pieces))

    return way.mock(answer)


async def collected(way: Way, client: Any, body: Any, url: str = HOST + OPENAI) -> list[bytes]:
    """The pieces in which an app gets an answer."""
    response = await way.open(client, url, body)
    got = [piece async for piece in way.pieces(response)]
    await way.close(response)
    return got


# what the app sees

WORDS = [event("Grüße "), event("aus "), event("東京 🗼")]


async def test_usage_is_asked_for_and_its_chunk_is_kept_from_an_app_that_did_not_ask(
    quota: Quota, way: Way
) -> None:
    """Everything else passes as it came, piece by piece."""
    sent: list[Any] = []
    client = served_stream(way, [*WORDS, USAGE_EVENT, DONE_EVENT], sent)
    assert await collected(way, client, chat(stream=True)) == [*WORDS, DONE_EVENT]
    assert sent == [chat(stream=True) | ASKED]
    (record,) = records(quota)
    assert (record.usage.input, record.usage.output, record.quality, record.stream) == (2, 3, "exact", True)


async def test_an_app_that_asked_for_usage_gets_every_byte_as_it_came(quota: Quota, way: Way) -> None:
    sent: list[Any] = []
    pieces = [*WORDS, USAGE_EVENT, DONE_EVENT]
    client = served_stream(way, pieces, sent)
    assert await collected(way, client, chat(stream=True) | ASKED) == pieces
    assert sent == [chat(stream=True) | ASKED]
    assert records(quota)[0].quality == "exact"


async def test_other_stream_options_stay(quota: Quota, way: Way) -> None:
    sent: list[Any] = []
    client = served_stream(way, [*WORDS, USAGE_EVENT, DONE_EVENT], sent)
    body = chat(stream=True, stream_options={"include_obfuscation": False})
    assert await collected(way, client, body) == [*WORDS, DONE_EVENT]
    assert sent[0]["stream_options"] == {"include_obfuscation": False, "include_usage": True}


async def test_the_same_stream_with_and_without_us(provider: FakeProvider, way: Way) -> None:
    """What an app gets is what a bare client gets that does not ask for usage, save for what the provider itself
    writes into other chunks because it was asked (`"usage":null`) and what it draws anew each time (the id).
    """

    def told(stream: bytes) -> list[Any]:
        said = [line.removeprefix(b"data: ") for line in stream.split(b"\n\n")]
        events = [json.loads(line) if line.startswith(b"{") else line for line in said]
        return [{**e, "id": 0, "created": 0, "usage": None} if isinstance(e, dict) else e for e in events]

    client, quota = way.client(), Quota(limits=["$100/day"])
    bare = (await way.post(client, provider.url + OPENAI, chat(stream=True))).content
    quota.instrument()
    metered = (await way.post(client, provider.url + OPENAI, chat(stream=True))).content
    await way.close(client)
    quota.close()
    assert told(metered) == told(bare)
    assert metered.count(b"data: ") == bare.count(b"data: ") == 19


async def test_an_anthropic_stream_passes_untouched(quota: Quota, provider: FakeProvider, way: Way) -> None:
    client = way.client()
    response = await way.post(client, provider.url + ANTHROPIC, message(stream=True))
    await way.close(client)
    assert provider.calls[0].raw == response.request.content
    assert "content-encoding" not in response.headers
    assert response.content.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')
    (record,) = records(quota)
    assert (record.usage.output, record.quality) == (16, "exact")


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 1_000_000])
async def test_chunks_that_cut_events_and_characters_change_nothing(
    quota: Quota, way: Way, size: int
) -> None:
    """With hiding, an event is passed on once it is whole; without, each piece at once."""
    whole = b"".join([*WORDS, USAGE_EVENT, DONE_EVENT])
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    hidden = await collected(way, served_stream(way, pieces), chat(stream=True))
    assert b"".join(hidden) == b"".join([*WORDS, DONE_EVENT])
    assert "".join(json.loads(e[6:])["choices"][0]["delta"]["content"] for e in hidden[:-1] if size == 1) in {
        "",
        "Grüße aus 東京 🗼",
    }
    assert await collected(way, served_stream(way, pieces), chat(stream=True) | ASKED) == pieces
    assert [(r.usage.output, r.quality) for r in records(quota)] == [(3, "exact")] * 2


async def test_the_first_event_is_there_before_the_last_is_generated(quota: Quota, way: Way) -> None:
    """The provider goes on only once the app has seen what came so far: a stream that is held back would hang."""
    events = [*WORDS, USAGE_EVENT, DONE_EVENT]
    seen: list[bytes] = []

    def gated(at: int) -> None:
        assert len(seen) >= min(at, len(WORDS)), "held back"

    if way.sync:

        class Gated(way.library.SyncByteStream):
            def __iter__(self) -> Any:
                for at, piece in enumerate(events):
                    gated(at)
                    yield piece
    else:

        class Gated(way.library.AsyncByteStream):
            async def __aiter__(self) -> Any:
                for at, piece in enumerate(events):
                    gated(at)
                    await anyio.lowlevel.checkpoint()
                    yield piece

    for body in (chat(stream=True), chat(stream=True) | ASKED):
        client = way.mock(lambda request: way.library.Response(200, headers=SSE, stream=Gated()))
        response = await way.open(client, HOST + OPENAI, body)
        seen.clear()
        async for piece in way.pieces(response):
            seen += [piece]
        assert seen[-1] == DONE_EVENT


async def test_a_real_stream_arrives_while_it_is_generated(
    quota: Quota, provider: FakeProvider, way: Way
) -> None:
    """Over loopback, with a provider that hangs after three events: what it has sent is there."""
    provider.always(Hang(after_events=3))
    client = way.client()
    for path, body in ((OPENAI, chat(stream=True)), (ANTHROPIC, message(stream=True))):
        response = await way.open(client, provider.url + path, body)
        generator, got = way.raw(response), b""
        with anyio.fail_after(10):
            while got.count(b"\n\n") < 3:
                got += await way.next(generator)
        await way.close(response)
    await way.close(client)
    assert [record.quality for record in records(quota)] == ["partial", "partial"]


async def test_read_twice_gives_the_same(quota: Quota, provider: FakeProvider, way: Way) -> None:
    client = way.client()
    for body in (chat(), chat(stream=True), chat(stream=True) | ASKED):
        response = await way.open(client, provider.url + OPENAI, body)
        assert await way.read(response) == await way.read(response) == response.content != b""
        assert response.num_bytes_downloaded > 0
        assert response.elapsed.total_seconds() >= 0
        await way.close(response)
        await way.close(response)
    await way.close(client)
    assert [record.quality for record in records(quota)] == ["exact"] * 3


async def test_an_answer_that_is_in_memory_already_loses_the_chunk_too(quota: Quota, way: Way) -> None:
    """What mocks and caches answer with; its length says what it is now."""
    whole = b"".join([*WORDS, USAGE_EVENT, DONE_EVENT])
    client = way.mock(
        lambda request: way.library.Response(
            200, headers=SSE, content=whole, extensions={"http_version": b"HTTP/2"}
        )
    )
    response = await way.post(client, HOST + OPENAI, chat(stream=True))
    assert response.content == b"".join([*WORDS, DONE_EVENT])
    assert int(response.headers["content-length"]) == len(response.content)
    assert response.http_version == "HTTP/2"
    assert records(quota)[0].quality == "exact"


async def test_a_stream_that_does_not_say_it_is_one_is_read_as_one(quota: Quota, way: Way) -> None:
    """Some compatible servers send no content type, or `text/plain`."""
    for kind in ("text/plain; charset=utf-8", "application/octet-stream", ""):
        client = served_stream(way, [*WORDS, USAGE_EVENT, DONE_EVENT], **{"content-type": kind})
        assert await collected(way, client, chat(stream=True)) == [*WORDS, DONE_EVENT]
    assert [record.quality for record in records(quota)] == ["exact"] * 3


async def test_a_json_answer_to_a_streamed_call_is_read_as_json(quota: Quota, way: Way) -> None:
    for kind in ("application/json", "application/json; charset=utf-8", "application/vnd.x+json"):
        client = served_stream(way, [json.dumps(completion(5)).encode()], **{"content-type": kind})
        assert json.loads(b"".join(await collected(way, client, chat(stream=True)))) == completion(5)
    assert [(r.usage.output, r.quality) for r in records(quota)] == [(5, "exact")] * 3


# encodings


def deflated(wbits: int) -> Callable[[list[bytes]], list[bytes]]:
    def squeeze(pieces: list[bytes]) -> list[bytes]:
        made = zlib.compressobj(wbits=wbits)
        return [*(made.compress(p) + made.flush(zlib.Z_SYNC_FLUSH) for p in pieces), made.flush()]

    return squeeze


def brotlied(pieces: list[bytes]) -> list[bytes]:
    made = brotli.Compressor()
    return [*(made.process(p) + made.flush() for p in pieces), made.finish()]


def zstandardized(pieces: list[bytes]) -> list[bytes]:
    made = zstandard.ZstdCompressor().compressobj()
    flush = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    return [*(made.compress(p) + made.flush(flush) for p in pieces), made.flush()]


def zstandard_frames(pieces: list[bytes]) -> list[bytes]:
    return [zstandard.ZstdCompressor().compress(piece) for piece in pieces]


ENCODINGS = {
    "gzip": ("gzip", deflated(31)),
    "deflate": ("deflate", deflated(15)),
    "bare deflate": ("deflate", deflated(-15)),
    "br": ("br", brotlied),
    "zstd": ("zstd", zstandardized),
    "zstd frames": ("zstd", zstandard_frames),
}


def decodes(way: Way, encoding: str) -> bool:
    return encoding in way.client().headers["accept-encoding"]


@pytest.mark.parametrize("size", [2, 1_000_000], ids=["in twos", "at once"])
@pytest.mark.parametrize(
    "kind", [kind for kind in ENCODINGS if kind != "zstd frames"]
)  # too much for httpx itself
async def test_encoded_answers_are_read_and_the_app_decodes_them_as_ever(
    quota: Quota, way: Way, kind: str, size: int
) -> None:
    """Whole answers and streams in which nothing has to be hidden: every byte of the wire passes as it came."""
    encoding, squeeze = ENCODINGS[kind]
    if not decodes(way, encoding):
        pytest.skip(f"{way.library.__name__} has nothing installed to decode {encoding} with")
    events = [*WORDS, USAGE_EVENT, DONE_EVENT]
    answers = {
        "application/json": ([json.dumps(completion()).encode()], chat()),
        "text/event-stream": (events, chat(stream=True) | ASKED),
    }
    for content_type, (pieces, body) in answers.items():
        wire = [p[at : at + size] for p in squeeze(pieces) for at in range(0, len(p), size)]
        headers = {"content-type": content_type, "content-encoding": encoding}
        client = served_stream(way, wire, **headers)
        response = await way.open(client, HOST + OPENAI, body)
        assert response.headers["content-encoding"] == encoding
        assert await way.undecoded(response) == wire
        response = await way.open(client, HOST + OPENAI, body)
        assert await way.read(response) == b"".join(pieces)
    assert [(r.usage.output, r.quality) for r in records(quota)] == [(3, "exact")] * 4


@pytest.mark.parametrize("size", [2, 1_000_000], ids=["in twos", "at once"])
@pytest.mark.parametrize("kind", ENCODINGS)
async def test_the_chunk_is_kept_from_encoded_streams_too(
    quota: Quota, way: Way, kind: str, size: int
) -> None:
    """The app is given the decoded stream, and a head that says so; each event as soon as it can be read."""
    encoding, squeeze = ENCODINGS[kind]
    wire = [
        p[at : at + size] for p in squeeze([*WORDS, USAGE_EVENT, DONE_EVENT]) for at in range(0, len(p), size)
    ]
    client = served_stream(way, wire, **{"content-encoding": encoding, "content-length": "1000"})
    response = await way.open(client, HOST + OPENAI, chat(stream=True))
    assert not {"content-encoding", "content-length"} & set(response.headers)
    assert [piece async for piece in way.pieces(response)] == [*WORDS, DONE_EVENT]
    assert records(quota)[0].quality == "exact"


async def test_an_encoding_that_breaks_off_is_the_clients_own_error(quota: Quota, way: Way) -> None:
    """Where it has to be decoded for the app, too. What could be read before is charged."""
    whole = deflated(31)([*WORDS, DONE_EVENT])
    broken = [*whole[:2], b"\xff" * 40]
    for body in (chat(stream=True), chat(stream=True) | ASKED):
        response = await way.open(
            served_stream(way, broken, **{"content-encoding": "gzip"}), HOST + OPENAI, body
        )
        generator = way.raw(response)
        got = [await way.next(generator), await way.next(generator)]
        with pytest.raises(way.library.DecodingError):
            await way.next(generator)
        await way.close(response)
        assert got == WORDS[:2]
    assert [(r.usage.output >= 2, r.quality) for r in records(quota)] == [(True, "partial")] * 2


async def test_an_encoding_that_nobody_knows_passes_unread(quota: Quota, way: Way) -> None:
    """The answer is charged by estimate."""
    pieces = [*WORDS, USAGE_EVENT, DONE_EVENT]
    for encoding in ("unheard-of", "gzip, br"):
        client = served_stream(way, pieces, **{"content-encoding": encoding})
        response = await way.open(client, HOST + OPENAI, chat(stream=True))
        assert await way.undecoded(response) == pieces
    assert [(r.usage.output, r.quality) for r in records(quota)] == [(0, "estimated")] * 2
    assert quota.stats["unreadable"] == 2


# ways to end

Ending = Callable[[Way, Any, str, Any], Awaitable[bytes]]
"""Sends the body to the URL, ends it in its way, answers what the app has read."""


async def read_whole(way: Way, client: Any, url: str, body: Any) -> bytes:
    return (await way.post(client, url, body)).content


async def iterated_to_the_end(way: Way, client: Any, url: str, body: Any) -> bytes:
    response = await way.open(client, url, body)
    return b"".join([piece async for piece in way.pieces(response)])


async def left_inside_its_block(way: Way, client: Any, url: str, body: Any) -> bytes:
    """`break` in `with client.stream(...)`, the way that httpx documents."""
    got = b""
    if way.sync:
        with client.stream("POST", url, json=body) as response:
            for piece in response.iter_bytes():
                got += piece
                if b"tok " in got:
                    break
    else:
        async with client.stream("POST", url, json=body) as response:
            async for piece in response.aiter_bytes():
                got += piece
                if b"tok " in got:
                    break
    return got


async def opened(way: Way, client: Any, url: str, body: Any, tokens: int = 2) -> tuple[Any, Any, bytes]:
    """A response, its generator, and what was read until the first tokens had come."""
    response = await way.open(client, url, body)
    generator, got = way.raw(response), b""
    while seen_tokens(got) < tokens:
        got += await way.next(generator)
    return response, generator, got


async def closed_in_the_middle(way: Way, client: Any, url: str, body: Any) -> bytes:
    response, _, got = await opened(way, client, url, body)
    await way.close(response)
    return got


async def closed_before_anything_was_read(way: Way, client: Any, url: str, body: Any) -> bytes:
    await way.close(await way.open(client, url, body))
    return b""


async def generator_closed(way: Way, client: Any, url: str, body: Any) -> bytes:
    _, generator, got = await opened(way, client, url, body)
    await way.close(generator)
    await collected_by_the_loop()
    return got


async def generator_forgotten(way: Way, client: Any, url: str, body: Any) -> bytes:
    """Neither closed nor read to the end: the garbage collector finds it."""
    response, generator, got = await opened(way, client, url, body)
    del response, generator
    await collected_by_the_loop()
    return got


async def collected_by_the_loop() -> None:
    """A loop closes forgotten generators in tasks of its own: httpx nests six of them."""
    for _ in range(12):
        gc.collect(1)
        await anyio.lowlevel.checkpoint()


async def response_forgotten_unread(way: Way, client: Any, url: str, body: Any) -> bytes:
    response = await way.open(client, url, body)
    del response
    gc.collect(1)
    return b""


async def broken_by_the_app(way: Way, client: Any, url: str, body: Any) -> bytes:
    response, _, got = await opened(way, client, url, body)
    try:
        1 / 0
    except ZeroDivisionError:
        await way.close(response)
    return got


async def interrupted(way: Way, client: Any, url: str, body: Any) -> bytes:
    """Ctrl-C in the app's loop, without any block around it."""
    response, generator, got = await opened(way, client, url, body)
    throw = generator.throw if way.sync else generator.athrow
    with pytest.raises(KeyboardInterrupt):
        await way.result(throw(KeyboardInterrupt))
    await way.close(response)
    return got


async def client_closed(way: Way, client: Any, url: str, body: Any) -> bytes:
    response, _, got = await opened(way, client, url, body)
    await way.close(client)
    await way.close(response)
    return got


async def until_it_fails(way: Way, client: Any, url: str, body: Any) -> bytes:
    got = b""

    async def read() -> None:
        nonlocal got
        response = await way.open(client, url, body)
        async for piece in way.pieces(response):
            got += piece

    with pytest.raises(way.library.TransportError):
        await read()
    return got


async def cancelled_in_the_middle(way: Way, client: Any, url: str, body: Any) -> bytes:
    got = b""
    with anyio.CancelScope() as scope:
        async with client.stream("POST", url, json=body) as response:
            async for piece in response.aiter_bytes():
                got += piece
                if seen_tokens(got) >= 2:
                    scope.cancel()
    assert scope.cancelled_caught
    return got


async def cancelled_before_the_head(way: Way, client: Any, url: str, body: Any) -> bytes:
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(way.post, client, url, body)
            await anyio.to_thread.run_sync(client.provider.wait_requests, 1)
            scope.cancel()
    return b""


HELD = Hang(after_events=8)  # nothing more comes, so that what the app has not asked for is not there either
ENDINGS: dict[str, tuple[Any, Ending, str]] = {
    "read whole": (None, read_whole, "exact"),
    "iterated to the end": (None, iterated_to_the_end, "exact"),
    "left inside its block": (HELD, left_inside_its_block, "partial"),
    "closed in the middle": (HELD, closed_in_the_middle, "partial"),
    "closed before anything was read": (HELD, closed_before_anything_was_read, "partial"),
    "generator closed": (HELD, generator_closed, "partial"),
    "generator forgotten": (HELD, generator_forgotten, "partial"),
    "response forgotten unread": (HELD, response_forgotten_unread, "partial"),
    "broken by the app": (HELD, broken_by_the_app, "partial"),
    "interrupted": (HELD, interrupted, "partial"),
    "client closed": (HELD, client_closed, "partial"),
    "timed out in the middle": (HELD, until_it_fails, "partial"),
    "timed out before the head": (Hang(), until_it_fails, "partial"),
    "cut between events": (Cut(after_events=8), until_it_fails, "partial"),
    "cut inside an event": (Cut(after_bytes=1500), until_it_fails, "partial"),
    "cut inside the first event": (Cut(after_bytes=20), until_it_fails, "partial"),
    "reset before the head": (Reset(), until_it_fails, "partial"),
    "an error answer": (Status(500), read_whole, "exact"),
    "an error answer closed unread": (Status(429), closed_before_anything_was_read, "exact"),
    "no usage": (NoUsage(), read_whole, "estimated"),
    "garbage": (Garbage(), read_whole, "estimated"),
}
CANCELLED: dict[str, tuple[Any, Ending, str]] = {
    "in the middle": (HELD, cancelled_in_the_middle, "partial"),
    "before the head": (Hang(), cancelled_before_the_head, "partial"),
}
CALLS = {
    "openai": (OPENAI, chat(stream=True)),
    "openai asked": (OPENAI, chat(stream=True) | ASKED),
    "anthropic": (ANTHROPIC, message(stream=True)),
}


@pytest.mark.filterwarnings("ignore:(?s).*ResourceWarning. unclosed:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "call", ["openai", "anthropic", pytest.param("openai asked", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("ending", ENDINGS)
async def test_however_a_stream_ends_it_leaves_one_record(
    quota: Quota, provider: FakeProvider, way: Way, ending: str, call: str
) -> None:
    """I-8: exact, partial or estimated as it should be, never less than what the app has seen; nothing stays held."""
    await check_ending(quota, provider, way, *ENDINGS[ending], *CALLS[call])


@pytest.mark.parametrize("way", ASYNC)
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("ending", CANCELLED)
async def test_a_cancelled_stream_leaves_one_record(
    quota: Quota, provider: FakeProvider, way: Way, ending: str, call: str
) -> None:
    """I-8, of calls whose task is cancelled."""
    await check_ending(quota, provider, way, *CANCELLED[ending], *CALLS[call])


async def check_ending(
    quota: Quota,
    provider: FakeProvider,
    way: Way,
    fault: Any,
    end: Ending,
    quality: str,
    path: str,
    body: Any,
) -> None:
    provider.always(fault)
    read = 10.0
    if isinstance(fault, Hang) and end is until_it_fails:
        read = 0.03 if fault == Hang() else 0.5  # so that the head comes in time, on a busy machine too
    client = way.client(timeout=way.library.Timeout(10, read=read))
    client.provider = provider
    got = await end(way, client, provider.url + path, body)
    (record,) = records(quota)
    assert record.quality == quality
    assert record.usage.output >= seen_tokens(got)
    headless = isinstance(fault, Reset) or fault == Hang()
    assert record.status == (0 if headless else getattr(fault, "code", 200))
    if record.status == 200:
        assert record.cost > 0
    assert quota.store.held == {}
    await way.close(client)


@pytest.mark.parametrize("way", ASYNC)
async def test_a_cancelled_stream_is_settled_at_once(quota: Quota, provider: FakeProvider, way: Way) -> None:
    """Though nobody has closed the answer yet, and somebody still holds it."""
    provider.always(HELD)
    client = way.client()
    response, generator, _ = await opened(way, client, provider.url + OPENAI, chat(stream=True))
    with anyio.CancelScope() as scope:
        while True:
            scope.cancel()
            await way.next(generator)
    assert [record.quality for record in records(quota)] == ["partial"]
    await way.close(generator)
    await way.close(response)
    await way.close(client)


async def test_a_call_that_never_opened_a_connection_costs_nothing(quota: Quota, way: Way) -> None:
    """But it counts as a request."""
    client = way.client()
    with pytest.raises(way.library.ConnectError):
        await way.post(client, "http://127.0.0.1:9" + OPENAI, chat(stream=True))
    await way.close(client)
    (record,) = records(quota)
    assert (record.status, record.cost, record.usage.total, record.quality) == (0, 0, 0, "exact")


async def test_a_request_that_cannot_be_written_costs_nothing(
    quota: Quota, provider: FakeProvider, way: Way
) -> None:
    """The library refuses its own request: nothing whole has reached the provider."""
    client = way.client()
    with pytest.raises(way.library.LocalProtocolError):
        await way.post(client, provider.url + OPENAI, chat(), headers={"x-broken": "a\x00b"})
    await way.close(client)
    (record,) = records(quota)
    assert (record.status, record.cost, record.usage.total) == (0, 0, 0)


async def test_an_error_event_in_the_middle_ends_with_what_was_seen(quota: Quota, way: Way) -> None:
    """The provider says in its stream that it failed; the app is told in its own words."""
    error = (
        b'data: {"error": {"message": "The server had an error", "type": "server_error", "code": null}}\n\n'
    )
    assert await collected(way, served_stream(way, [*WORDS, error]), chat(stream=True)) == [*WORDS, error]
    overloaded = b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"O"}}\n\n'
    start = {
        "type": "message_start",
        "message": {"model": "claude-sonnet-5", "usage": {"input_tokens": 9, "output_tokens": 1}},
    }
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "word " * 8}}
    pieces = [
        b"event: %s\ndata: %s\n\n" % (e["type"].encode(), json.dumps(e).encode())
        for e in (start, delta, delta)
    ]
    client = served_stream(way, [*pieces, overloaded])
    assert await collected(way, client, message(stream=True), "https://api.anthropic.com" + ANTHROPIC) == [
        *pieces,
        overloaded,
    ]
    one, other = records(quota)
    assert one.usage.output >= 3
    assert (other.usage.input, other.quality) == (9, "partial")
    assert other.usage.output >= 16


async def test_a_stream_cut_inside_an_event_gives_the_app_what_came_of_it(quota: Quota, way: Way) -> None:
    """Byte for byte what it would have got without us, then the same error."""
    half = WORDS[2][:-9]
    for body in (chat(stream=True), chat(stream=True) | ASKED):
        client = served_stream(way, [*WORDS[:2], half, way.library.ReadError("cut")])
        response = await way.open(client, HOST + OPENAI, body)
        generator = way.raw(response)
        assert [await way.next(generator) for _ in range(3)] == [*WORDS[:2], half]
        with pytest.raises(way.library.ReadError, match="cut"):
            await way.next(generator)
        await way.close(response)
    assert [(r.quality, r.usage.output >= 3) for r in records(quota)] == [("partial", True)] * 2


async def test_whatever_ends_an_answer_after_its_usage_leaves_it_exact(quota: Quota, way: Way) -> None:
    """Apps stop reading at `[DONE]`, or before it: all that is charged is known then."""
    for body in (chat(stream=True), chat(stream=True) | ASKED):
        response = await way.open(
            served_stream(way, [*WORDS, USAGE_EVENT + DONE_EVENT, way.library.ReadError("cut")]),
            HOST + OPENAI,
            body,
        )
        async with contextlib.aclosing(way.pieces(response)) as pieces:
            async for piece in pieces:
                if DONE_EVENT in piece:
                    break
        await way.close(response)
    assert [(r.usage.output, r.quality) for r in records(quota)] == [(3, "exact")] * 2


async def test_a_whole_answer_that_is_not_read_to_its_end_is_charged_what_was_seen(
    quota: Quota, way: Way
) -> None:
    data = json.dumps(completion(400, usage=None)).encode()
    client = served_stream(way, [data[:800], data[800:]], **{"content-type": "application/json"})
    response = await way.open(client, HOST + OPENAI, chat())
    await way.next(way.raw(response))
    await way.close(response)
    (record,) = records(quota)
    assert (record.quality, record.usage.output >= seen_tokens(data[:800])) == ("partial", True)


async def test_embeddings_never_have_output(quota: Quota, provider: FakeProvider, way: Way) -> None:
    """However long the vectors are, and whether or not their usage is told or all of them is read."""
    client, body = way.client(), {"model": "text-embedding-3-small", "input": "hi", "dimensions": 512}
    url = provider.url + "/v1/embeddings"
    provider.fail(None, NoUsage(), Cut())
    await way.post(client, url, body)
    await way.post(client, url, body)
    with pytest.raises(way.library.TransportError):
        await way.post(client, url, body)
    await way.close(client)
    left = records(quota)
    assert [record.quality for record in left] == ["exact", "estimated", "partial"]
    assert {record.usage.output for record in left} == {0}
    assert all(record.usage.input > 0 for record in left)


@pytest.mark.parametrize("way", ASYNC)
async def test_a_stream_read_in_another_task_is_charged_to_whoever_opened_it(
    quota: Quota, provider: FakeProvider, way: Way
) -> None:
    client = way.client()
    with quota.acting_as(end_user="ada"):
        response = await way.open(client, provider.url + OPENAI, chat(stream=True))
    with quota.acting_as(end_user="bob"):
        async with anyio.create_task_group() as group:
            group.start_soon(response.aread)
    await way.close(client)
    assert [(record.end_user, record.quality) for record in records(quota)] == [("ada", "exact")]


@pytest.mark.parametrize("way", [Way(httpx, "trio"), Way(httpx2, "trio")], ids=str)
async def test_no_generator_more_is_left_to_the_garbage_collector_than_without_us(
    provider: FakeProvider, way: Way
) -> None:
    """httpx2 closes what is inside as soon as the app closes what it reads; with us between it still does."""
    client, quota = way.client(), Quota(limits=["$1/day"])

    async def forgotten() -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            async with (
                client.stream("POST", provider.url + OPENAI, json=chat(stream=True)) as response,
                contextlib.aclosing(response.aiter_bytes()) as pieces,
            ):
                await anext(pieces)
            del pieces, response
            await collected_by_the_loop()
        return [str(warning.message) for warning in caught]

    bare = await forgotten()
    quota.instrument()
    assert await forgotten() == bare
    await way.close(client)
    assert [record.quality for record in records(quota)] == ["partial"]
    quota.close()


class Pieces(httpx.SyncByteStream):
    """An answer that comes in these pieces, as it is read."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces


def test_a_stream_that_came_whole_and_is_held_unread_is_over_after_a_lease() -> None:
    """An SDK may leave a stream at its last word and keep hold of it: nobody is to wait for that."""
    clock = FakeClock()
    quota = Quota(MemoryStore(clock), clock=clock, limits=["1 concurrent"], lease=30, settle_wait=0)
    quota.instrument()

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers=SSE, stream=Pieces(event("word"), USAGE_EVENT, DONE_EVENT))

    def asked() -> httpx.Response:
        request = client.build_request("POST", HOST + OPENAI, json=chat(stream=True, **ASKED))
        return client.send(request, stream=True)

    def left() -> list[str]:
        clock.advance(30_000)
        quota.tend()
        return [record.quality for record in records(quota)]

    with httpx.Client(transport=httpx.MockTransport(answer)) as client:
        pieces = asked().iter_bytes()
        assert next(pieces) == event("word")
        assert left() == []  # more of it may come
        assert asked().status_code == 429
        assert next(pieces) == USAGE_EVENT
        assert left() == ["exact"]
        with contextlib.closing(asked()) as other:
            assert other.status_code == 200
        assert [*pieces] == [DONE_EVENT]
        assert left() == ["exact", "partial"]
    quota.close()
