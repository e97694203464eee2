"""aiohttp's sessions are metered as httpx's clients are: which, by whom, once, whatever happens on the way."""

from __future__ import annotations

import asyncio
import gc
import gzip
import io
import json
import subprocess
import sys
import zlib
from collections.abc import AsyncIterator, Callable
from types import SimpleNamespace
from typing import Any

import aiohttp
import brotli
import httpx
import pytest

from quotaware import Quota
from quotaware.testing import Cut, FakeProvider, Hang, Redirect, Reset, Status
from quotaware.testing.server import serve
from tests.outbound.wire import (
    ANTHROPIC,
    DONE_EVENT,
    OPENAI,
    USAGE_EVENT,
    chat,
    event,
    message,
    records,
    seen_tokens,
)
from tests.support import AuditedStore, RunningClock

pytestmark = pytest.mark.anyio


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
        yield session


async def post(session: aiohttp.ClientSession, url: str, body: Any = None, **more: Any) -> tuple[int, bytes]:
    async with session.post(url, **({"json": body} if body is not None else {}), **more) as response:
        return response.status, await response.read()


def outputs(quota: Quota) -> list[int]:
    return [record.usage.output for record in records(quota)]


# the hook


async def test_sessions_made_before_and_after_are_metered(
    provider: FakeProvider, session: aiohttp.ClientSession
) -> None:
    quota = Quota(limits=["$1000/month"])
    quota.instrument()
    try:
        await post(session, provider.url + OPENAI, chat())
        async with aiohttp.ClientSession(
            base_url=provider.url, connector=aiohttp.TCPConnector(ssl=False)
        ) as own:
            await post(own, OPENAI, chat())
        async with aiohttp.request("post", provider.url + OPENAI, json=chat(), ssl=False) as response:
            await response.json()
        quota.uninstrument()
        await post(session, provider.url + OPENAI, chat())
        assert outputs(quota) == [16, 16, 16]
    finally:
        quota.close()


def test_uninstrument_leaves_the_class_as_it_was() -> None:
    before, path = dict(vars(aiohttp.ClientSession)), list(sys.meta_path)
    one, other = Quota(limits=["$1/day"]), Quota(limits=["$1/day"])
    one.instrument()
    other.instrument()
    assert dict(vars(aiohttp.ClientSession)) != before
    one.close()
    other.close()
    assert (dict(vars(aiohttp.ClientSession)), sys.meta_path) == (before, path)


async def test_of_two_quotas_the_bound_one_is_served(
    provider: FakeProvider, session: aiohttp.ClientSession
) -> None:
    first, second = Quota(limits=["$1/day"]), Quota(limits=["$1/day"])
    try:
        first.instrument()
        second.instrument()
        await post(session, provider.url + OPENAI, chat())
        with second.acting_as(end_user="u"):
            await post(session, provider.url + OPENAI, chat())
        assert (len(records(first)), len(records(second))) == (1, 1)
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize("when", ["before", "after", "never"])
def test_nothing_is_imported_and_whatever_is_imported_is_metered(provider: FakeProvider, when: str) -> None:
    """In a process of its own: the library may come before us, after us, or not at all."""
    script = f"""
import sys
import zlib
if {when!r} == "before":
    import aiohttp
from quotaware import Quota
quota = Quota(limits=["$1/day"])
path = list(sys.meta_path)
quota.instrument()
assert ("aiohttp" in sys.modules) == ({when!r} == "before")
if {when!r} == "after":
    import aiohttp, importlib.machinery
    assert type(aiohttp.__loader__) is type(aiohttp.__spec__.loader) is importlib.machinery.SourceFileLoader
async def main():
    async with aiohttp.request("POST", {provider.url + OPENAI!r}, json={chat()!r}, ssl=False) as response:
        assert (await response.json())["usage"]["completion_tokens"] == 16
if {when!r} != "never":
    import asyncio
    asyncio.run(main())
    assert len(list(quota.blocking.usage.records())) == 1
quota.close()
assert sys.meta_path == path
import aiohttp
assert "quotaware" not in aiohttp.ClientSession._request.__module__
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("lacks", ["middlewares", "bodies"])
def test_an_aiohttp_that_is_too_old_is_said_not_to_be_metered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lacks: str
) -> None:
    async def request(session: Any, method: str, url: str, *, data: Any = None) -> None:
        """As it was in 3.11."""

    if lacks == "middlewares":
        monkeypatch.setattr(aiohttp.ClientSession, "_request", request)
    else:
        monkeypatch.delattr(aiohttp.Payload, "as_bytes")
        request = aiohttp.ClientSession._request  # type: ignore[assignment]
    quota = Quota(limits=["$1/day"])
    quota.instrument()
    quota.close()
    assert aiohttp.ClientSession._request is request
    assert "calls through aiohttp are not metered" in caplog.text
    assert "from 3.12.8 on" in caplog.text


# denials


async def test_a_denied_call_never_reaches_the_wire(
    provider: FakeProvider, session: aiohttp.ClientSession
) -> None:
    """Its answer reads like any other, however the app reads it."""
    quota = Quota(limits=["1 requests/day"])
    quota.instrument()
    try:
        await post(session, provider.url + OPENAI, chat())
        async with session.post(provider.url + OPENAI, json=chat()) as denied:
            error = (await denied.json())["error"]
            assert (denied.status, denied.reason, denied.ok) == (429, "Too Many Requests", False)
            assert error["type"] == "rate_limit_exceeded"
            assert denied.headers["x-should-retry"] == "false"
            assert denied.headers["quotaware-denied"] == error["request_id"]
            assert int(denied.headers["retry-after"]) > 0
            assert denied.request_info.method == "POST"
        streamed = await session.post(provider.url + OPENAI, json=chat(stream=True), compress=True)
        assert json.loads(b"".join([piece async for piece in streamed.content.iter_any()]))["error"]
        with pytest.raises(aiohttp.ClientResponseError, match="429, message='Too Many Requests'"):
            await session.post(provider.url + OPENAI, json=chat(), raise_for_status=True)
        assert (provider.requests, len(records(quota))) == (1, 1)
        assert not quota.stats.get("faults")
    finally:
        quota.close()
    assert session.connector is not None
    assert len(session.connector._acquired) == 0


async def upload() -> AsyncIterator[bytes]:
    body = json.dumps(chat()).encode()
    yield body[:20]
    yield body[20:]


async def test_a_denial_is_in_the_providers_shape(
    provider: FakeProvider, session: aiohttp.ClientSession
) -> None:
    quota = Quota(limits=["$0.000001/day"])
    quota.instrument()
    try:
        for url, body in ((OPENAI, chat()), (ANTHROPIC, message())):
            status, answer = await post(session, provider.url + url, body)
            assert status == 429
            assert json.loads(answer)["error"]["type"] == "quota_exceeded"
        assert provider.requests == 0
    finally:
        quota.close()


# what goes out


@pytest.mark.parametrize(
    "body",
    [
        lambda: json.dumps(chat(), indent=1).encode(),
        lambda: json.dumps(chat(), indent=1),
        lambda: io.BytesIO(json.dumps(chat()).encode()),
        lambda: io.StringIO(json.dumps(chat())),
        upload,
    ],
    ids=["bytes", "text", "file", "text file", "upload"],
)
async def test_whatever_a_body_is_made_of_it_is_judged_and_goes_out_as_it_came(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession, body: Callable[[], Any]
) -> None:
    known = Quota(limits=["$1000/month"], hosts={provider.url.partition("//")[2]: "openai"})
    bare = await post(session, provider.url + OPENAI, data=body())
    with known.acting_as(end_user="u"):
        metered = await post(session, provider.url + OPENAI, data=body())
    assert metered[0] == bare[0] == 200
    assert outputs(known) == [16]
    sent = [(call.raw, {n: v for n, v in call.headers.items() if n != "host"}) for call in provider.calls]
    assert sent[0] == sent[1]
    known.close()


async def test_a_cap_is_written_where_money_is_tight(
    provider: FakeProvider, session: aiohttp.ClientSession
) -> None:
    """Into a body that is compressed on the way too; the app's own payload stays as it is."""
    quota = Quota(limits=["$0.05/month"])
    quota.instrument()
    try:
        for compress in (None, "gzip"):
            status, _ = await post(session, provider.url + OPENAI, chat(), compress=compress)
            assert status == 200
        plain, packed = provider.calls
        assert plain.body["max_tokens"] > 0
        assert int(plain.headers["content-length"]) == len(plain.raw)
        assert packed.headers["content-encoding"] == "gzip"
        assert json.loads(gzip.decompress(packed.raw))["max_tokens"] > 0
    finally:
        quota.close()


async def test_an_upload_that_is_too_long_is_refused_before_it_is_read(
    quota: Quota, provider: FakeProvider, session: aiohttp.ClientSession
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 1_000_000

    for data in (endless(), io.BytesIO(b" " * 33 * 1024 * 1024)):
        response = await session.post("https://api.openai.com" + OPENAI, data=data)
        assert response.status == 413
        response.release()
    assert provider.requests == 0


async def test_a_signed_body_goes_out_as_it_was_signed(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession
) -> None:
    headers = {"authorization": "AWS4-HMAC-SHA256 Credential=a"}
    for more in ({}, {"compress": True}):
        await post(session, provider.url + OPENAI, chat(stream=True), headers=headers, **more)
    assert provider.calls[0].body == chat(stream=True)
    assert zlib.decompress(provider.calls[1].raw) == provider.calls[0].raw
    assert len(records(quota)) == 2


# streams


async def test_a_usage_chunk_that_only_we_asked_for_is_kept_from_the_app(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession
) -> None:
    status, seen = await post(session, provider.url + OPENAI, chat(stream=True))
    assert provider.calls[0].body["stream_options"] == {"include_usage": True}
    assert (status, seen_tokens(seen), seen.count(b'"usage":{')) == (200, 16, 0)
    assert seen.endswith(b"data: [DONE]\n\n")
    (record,) = records(quota)
    assert (record.usage.output, record.quality) == (16, "exact")


@pytest.mark.parametrize("encoding", [None, "gzip", "deflate"])
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("decodes", [True, False], ids=["decoded", "raw"])
async def test_encoded_answers_are_read(
    provider: FakeProvider,
    quota: Quota,
    session: aiohttp.ClientSession,
    encoding: str | None,
    stream: bool,
    decodes: bool,
) -> None:
    """Where the session does not decode, what we must take something out of is given to the app decoded."""
    provider.encoding = encoding
    async with session.post(provider.url + OPENAI, json=chat(stream), auto_decompress=decodes) as response:
        seen = await response.read()
        assert ("content-encoding" in response.headers) == (encoding is not None and (decodes or not stream))
    assert (seen_tokens(seen) == 16) == (decodes or stream or encoding is None)
    assert b'"usage":{' not in seen or not stream
    assert outputs(quota) == [16]


@pytest.mark.parametrize("decodes", [True, False], ids=["decoded", "raw"])
async def test_brotli_is_read_too(quota: Quota, session: aiohttp.ClientSession, decodes: bool) -> None:
    body = event("tok ") + USAGE_EVENT + DONE_EVENT

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            head = [(b"content-type", b"text/event-stream"), (b"content-encoding", b"br")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            await send({"type": "http.response.body", "body": brotli.compress(body)})

    with serve(app) as url:
        async with session.post(url + OPENAI, json=chat(True), auto_decompress=decodes) as response:
            assert await response.read() == body.replace(USAGE_EVENT, b"")
    assert outputs(quota) == [3]


READS: dict[str, Callable[[aiohttp.ClientResponse], Any]] = {
    "read": lambda response: response.read(),
    "text": lambda response: _encoded(response.text()),
    "any": lambda response: _joined(response.content.iter_any()),
    "chunked": lambda response: _joined(response.content.iter_chunked(7)),
    "chunks": lambda response: _joined(response.content.iter_chunks(), lambda piece: piece[0]),
    "lines": lambda response: _joined(response.content),
    "until": lambda response: _until(response.content),
    "exactly": lambda response: _exactly(response.content),
    "nowait": lambda response: _nowait(response.content),
}


async def _encoded(text: Any) -> bytes:
    return (await text).encode()


async def _joined(pieces: Any, of: Callable[[Any], bytes] = lambda piece: piece) -> bytes:
    return b"".join([of(piece) async for piece in pieces])


async def _until(content: aiohttp.StreamReader) -> bytes:
    seen = b""
    while piece := await content.readuntil(b"\n\n"):
        seen += piece
    return seen


async def _exactly(content: aiohttp.StreamReader) -> bytes:
    seen = b""
    try:
        while True:
            seen += await content.readexactly(5)
    except asyncio.IncompleteReadError as end:
        return seen + end.partial


async def _nowait(content: aiohttp.StreamReader) -> bytes:
    seen = await content.readany()
    await content.wait_eof()
    assert content.is_eof()
    seen += content.read_nowait()
    assert content.at_eof()
    return seen


@pytest.mark.parametrize("stream", [None, True], ids=["whole", "stream"])
@pytest.mark.parametrize("how", READS)
async def test_however_it_is_read_it_is_the_same_and_metered(
    provider: FakeProvider,
    session: aiohttp.ClientSession,
    stream: bool | None,
    how: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The app asks for usage itself, so that not a byte is to be different."""
    monkeypatch.setattr("quotaware.testing.answers.time", SimpleNamespace(time=lambda: 1_800_000_000))
    body = chat(stream, **({"stream_options": {"include_usage": True}} if stream else {}))
    provider.chunk = 11
    seen = []
    quota = Quota(limits=["$1000/month"])
    for instrumented in (False, True):
        if instrumented:
            quota.instrument()
        provider.reset()
        async with session.post(provider.url + OPENAI, json=body) as response:
            seen.append((await READS[how](response), response.content.total_bytes, response.content.at_eof()))
    assert outputs(quota) == [16]
    quota.close()
    assert seen[0] == seen[1]


async def test_http_chunks_end_where_they_did(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession
) -> None:
    body = chat(True, stream_options={"include_usage": True})
    ends, seen = 0, b""
    async with session.post(provider.url + OPENAI, json=body) as response:
        async for data, ends_here in response.content.iter_chunks():
            seen += data
            if ends_here:
                assert seen.endswith(b"\n\n")
                ends += 1
    assert ends > 16


async def test_a_slow_reader_holds_the_wire_back_as_ever(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession
) -> None:
    """However long the answer: what is kept for the app is bounded."""
    provider.output = 60_000
    most = 0
    async with session.post(provider.url + OPENAI, json=chat(stream=True), read_bufsize=4096) as response:
        reader: Any = response.content
        while await reader.read(1000):
            most = max(most, reader._size + reader._inner._size)
    assert 0 < most < 600_000
    assert outputs(quota) == [60_000]


# however it ends


async def closed(response: aiohttp.ClientResponse) -> None:
    response.close()


async def released(response: aiohttp.ClientResponse) -> None:
    response.release()


async def left(response: aiohttp.ClientResponse) -> None:
    await response.__aexit__(None, None, None)


async def cancelled(response: aiohttp.ClientResponse) -> None:
    task = asyncio.ensure_future(response.read())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.parametrize("end", [closed, released, left, cancelled], ids=lambda end: end.__name__)
async def test_a_stream_that_is_not_read_to_its_end_is_charged_what_was_seen(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession, end: Callable[[Any], Any]
) -> None:
    provider.always(Hang(after_events=5))
    response = await session.post(provider.url + OPENAI, json=chat(stream=True))
    seen = b""
    while seen_tokens(seen) < 3:
        seen += await response.content.readany()
    await end(response)
    (record,) = records(quota)
    assert (record.quality, record.usage.output >= seen_tokens(seen)) == ("partial", True)


async def test_a_forgotten_answer_is_settled_when_it_is_collected(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession
) -> None:
    """Which is not before its connection is free: until then aiohttp itself holds it."""
    provider.pace = 0.002  # not all of it comes with its head

    async def forget() -> None:
        await session.post(provider.url + OPENAI, json=chat(stream=True))

    await forget()
    while session.connector._acquired:
        await asyncio.sleep(0.001)
    gc.collect()
    (record,) = records(quota)
    assert record.quality == "partial"


async def test_a_wait_that_times_out_can_be_repeated(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession
) -> None:
    """Cancelling one read ends nothing."""
    provider.pace = 0.01
    async with session.post(provider.url + OPENAI, json=chat(stream=True)) as response:
        seen = b""
        while not response.content.at_eof():
            try:
                seen += await asyncio.wait_for(response.content.readany(), 0.004)
            except TimeoutError:
                continue
    assert (seen_tokens(seen), outputs(quota)) == (16, [16])


async def test_a_connection_that_breaks_is_the_apps_error_and_charged_what_was_seen(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession
) -> None:
    provider.fail(Cut(after_events=4), Reset())
    with pytest.raises(aiohttp.ClientPayloadError):
        await post(session, provider.url + OPENAI, chat(stream=True))
    with pytest.raises(aiohttp.ServerDisconnectedError):
        await post(session, provider.url + OPENAI, chat())
    assert sorted(record.quality for record in records(quota)) == ["partial", "partial"]


async def test_a_timeout_is_the_apps_error(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession
) -> None:
    provider.always(Hang())
    for timeout in (aiohttp.ClientTimeout(total=0.05), aiohttp.ClientTimeout(sock_read=0.05)):
        with pytest.raises(TimeoutError):
            await post(session, provider.url + OPENAI, chat(), timeout=timeout)
    assert [record.quality for record in records(quota)] == ["partial", "partial"]
    assert all(record.usage.input > 0 for record in records(quota))


async def test_what_never_left_costs_nothing(quota: Quota, session: aiohttp.ClientSession) -> None:
    """No connection, and a task that is cancelled while it waits for one."""
    with pytest.raises(aiohttp.ClientConnectorError):
        await post(session, "http://127.0.0.1:9" + OPENAI, chat())
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1)) as small:
        small.connector._limit = 0
        small.connector._available_connections = lambda key: 0
        task = asyncio.ensure_future(post(small, "http://127.0.0.1:9" + OPENAI, chat()))
        while not small.connector._waiters:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert [(record.cost, record.usage.input) for record in records(quota)] == [(0, 0), (0, 0)]


async def test_an_error_answer_costs_nothing_and_each_try_is_a_call(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession
) -> None:
    """The app's own middleware tries again; it sees each answer of the wire, and so do we."""
    provider.fail(Status(503))

    async def again(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        response = await handler(request)
        if response.status == 503:
            response.release()
            response = await handler(request)
        return response

    status, seen = await post(session, provider.url + OPENAI, chat(stream=True), middlewares=[again])
    assert (status, b'"usage":{' in seen) == (200, False)
    assert [(record.status, record.usage.output) for record in records(quota)] == [(503, 0), (200, 16)]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_each_hop_of_a_redirect_is_judged_and_nothing_is_charged_for_the_redirect(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession, status: int
) -> None:
    provider.fail(Redirect(provider.url + "/other" + OPENAI, status))
    async with session.post(provider.url + OPENAI, json=chat(stream=True)) as answer:
        seen = await answer.read()
        assert [hop.status for hop in answer.history] == [status]
    left = [(record.status, record.usage.output, record.cost > 0) for record in records(quota)]
    if status in {307, 308}:
        assert left == [(status, 0, False), (200, 16, True)]
        assert provider.calls[0].raw == provider.calls[1].raw
        assert b'"usage":{' not in seen  # it was we who asked, at each hop
    else:
        assert left == [(status, 0, False)]


# two layers


class OverAiohttp(httpx.AsyncBaseTransport):
    """An httpx transport that sends by aiohttp, as LiteLLM's does."""

    def __init__(self, session: aiohttp.ClientSession, rewrite: bool = False) -> None:
        self.session, self.rewrite = session, rewrite

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sent: dict[str, Any] = {"data": request.content, "headers": request.headers}
        if self.rewrite:
            sent = {"json": json.loads(request.content)}
        response = await self.session.request(
            request.method, str(request.url), auto_decompress=False, allow_redirects=False, **sent
        )
        return httpx.Response(
            response.status, headers=response.headers, stream=_Stream(response), request=request
        )


class _Stream(httpx.AsyncByteStream):
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for piece in self.response.content.iter_any():
            yield piece

    async def aclose(self) -> None:
        self.response.close()


@pytest.mark.parametrize("rewrite", [False, True], ids=["as it is", "written anew"])
async def test_a_call_through_httpx_over_aiohttp_is_metered_once(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession, rewrite: bool
) -> None:
    async with httpx.AsyncClient(transport=OverAiohttp(session, rewrite)) as client:
        for body in (chat(), chat(stream=True)):
            answer = await client.post(provider.url + OPENAI, json=body)
            assert answer.status_code == 200
    assert outputs(quota) == [16, 16]


async def test_what_else_is_called_meanwhile_is_metered_too(
    provider: FakeProvider, quota: Quota, session: aiohttp.ClientSession
) -> None:
    """Another call by the transport itself, and one of a task that it began and that outlives it."""
    tasks: list[asyncio.Task[Any]] = []
    over = asyncio.Event()

    async def later() -> None:
        await over.wait()
        await post(session, provider.url + OPENAI, chat())

    class Guarded(OverAiohttp):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            tasks.append(asyncio.ensure_future(later()))
            await post(self.session, provider.url + OPENAI, chat(max_tokens=5))
            return await super().handle_async_request(request)

    async with httpx.AsyncClient(transport=Guarded(session)) as client:
        await client.post(provider.url + OPENAI, json=chat())
    over.set()
    await asyncio.gather(*tasks)
    assert len(records(quota)) == provider.requests == 3


# faults of ours


@pytest.mark.parametrize(
    "where", ["quotaware.providers.openai_chat.OpenAIChat.read", "quotaware.engine.Engine.bound"]
)
async def test_a_fault_of_ours_lets_the_call_pass_and_is_counted(
    provider: FakeProvider, session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr(where, broken)
    quota = Quota(limits=["$1000/month"])
    quota.instrument()
    try:
        assert (await post(session, provider.url + OPENAI, chat()))[0] == 200
        assert quota.stats["faults"] == 1
    finally:
        quota.close()


async def test_a_call_cancelled_at_any_checkpoint_holds_nothing(provider: FakeProvider) -> None:
    from tests.outbound.test_cancel import CancelledAt

    store = AuditedStore(RunningClock())
    quota = Quota(store, limits=["$1000/month", "50 concurrent"], clock=store.clock)
    quota.instrument()
    provider.output = 3

    async def streamed() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=False)) as session:
            await post(session, provider.url + OPENAI, chat(stream=True))

    k, was_cancelled = 0, True
    while was_cancelled:
        k += 1
        was_cancelled = await CancelledAt(k, streamed()).run()
        gc.collect()
        assert quota.flush()
        assert store.held == {}
        store.check()
    assert k > 3
    assert len(records(quota)) >= provider.requests
    quota.close()
