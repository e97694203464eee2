"""Single sessions of aiohttp and clients of boto3 that are metered without patching their classes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from botocore.endpoint import Endpoint

from quotaware import Quota
from quotaware.errors import ConfigurationError
from quotaware.testing import FakeProvider
from quotaware.testing.server import serve
from tests.outbound import aws
from tests.outbound.aws import HOSTS, MODEL, Bedrock, client, converse, invoke, text_of
from tests.outbound.wire import OPENAI, chat, records

pytestmark = pytest.mark.anyio


@pytest.fixture
def quota() -> Iterator[Quota]:
    """Not instrumented."""
    made = Quota(limits=["$1000/month"], hosts={"127.0.0.1": "aws"})
    yield made
    assert not made.stats.get("faults")
    made.close()


@pytest.fixture
def bedrock() -> Iterator[Bedrock]:
    app = Bedrock()
    with serve(app) as url:
        app.url = url
        yield app


async def ask(session: aiohttp.ClientSession, url: str, **more: Any) -> int:
    async with session.post(url, json=chat(), **more) as response:
        await response.read()
        return response.status


@pytest.mark.parametrize("hooked", [False, True])
async def test_one_session_is_metered_and_no_other(provider: FakeProvider, hooked: bool) -> None:
    """Once, also where the class is patched or the session handed over twice."""
    quota = Quota(limits=["$1000/month"])
    async with aiohttp.ClientSession() as session, aiohttp.ClientSession() as other:
        if hooked:
            quota.instrument()
        assert quota.metered(quota.metered(session)) is session
        assert await ask(session, provider.url + OPENAI) == 200
        assert await ask(session, provider.url + OPENAI, middlewares=()) == 200
        assert len(records(quota)) == 2
        assert await ask(other, provider.url + OPENAI) == 200
        assert len(records(quota)) == (3 if hooked else 2)
        quota.uninstrument()
        assert await ask(session, provider.url + OPENAI) == 200
        assert len(records(quota)) == (4 if hooked else 3)
    quota.close()


async def test_a_session_that_sends_by_its_base_is_metered_once(provider: FakeProvider) -> None:
    """As those of caches do, over a class that is patched."""

    with pytest.warns(DeprecationWarning, match="Inheritance"):

        class Own(aiohttp.ClientSession):
            async def _request(self, *args: Any, **more: Any) -> Any:
                return await super()._request(*args, **more)

    quota = Quota(limits=["$1000/month"])
    quota.instrument()
    async with Own() as session:
        quota.metered(session)
        assert await ask(session, provider.url + OPENAI) == 200
    assert len(records(quota)) == 1
    quota.close()


async def test_the_last_quota_that_is_given_a_session_has_it(provider: FakeProvider) -> None:
    first, second = Quota(limits=["$1000/month"]), Quota(limits=["$1000/month"])
    async with aiohttp.ClientSession() as session:
        second.metered(first.metered(session))
        assert await ask(session, provider.url + OPENAI) == 200
    assert (len(records(first)), len(records(second))) == (0, 1)
    first.close()
    second.close()


async def test_a_denial_reaches_the_session(provider: FakeProvider) -> None:
    quota = Quota(limits=["$0.000001/month"], bound="strict")
    async with aiohttp.ClientSession() as session:
        assert await ask(quota.metered(session), provider.url + OPENAI) == 429
    assert provider.calls == []
    quota.close()


@pytest.mark.parametrize("hooked", [False, True])
def test_one_client_of_boto3_is_metered_and_no_other(bedrock: Bedrock, quota: Quota, hooked: bool) -> None:
    made, other = client(bedrock.url), client(bedrock.url)
    before = dict(vars(Endpoint))
    assert quota.metered(quota.metered(made)) is made
    assert dict(vars(Endpoint)) == before
    if hooked:
        quota.instrument()
    assert made.converse(**converse())["usage"] == aws.USAGE
    assert text_of(made.converse_stream(**converse())["stream"]) == "tok " * 5
    stream = made.invoke_model_with_response_stream(modelId=MODEL, body=json.dumps(invoke()))["body"]
    assert len(list(stream)) == len(aws.chunks())
    told = [(MODEL, 5, "exact")] * 3
    assert [(r.model, r.usage.output, r.quality) for r in records(quota)] == told
    other.converse(**converse())
    assert len(records(quota)) == (4 if hooked else 3)
    assert all(seen["signed"] for seen in bedrock.seen)
    quota.uninstrument()


def test_a_denial_reaches_a_client_of_boto3_after_one_try(bedrock: Bedrock) -> None:
    quota = Quota(limits=["$0.000001/month"], hosts=HOSTS)
    made = quota.metered(client(bedrock.url))
    with pytest.raises(made.exceptions.ClientError, match=r"\$0.000001"):
        made.converse(**converse())
    assert bedrock.seen == []
    assert quota.stats["denied"] == 1
    quota.close()


def test_a_method_that_an_app_has_put_in_front_stays(bedrock: Bedrock, quota: Quota) -> None:
    made, seen = client(bedrock.url), []
    own = made._endpoint._send

    def send(request: Any) -> Any:
        seen.append(request)
        return own(request)

    made._endpoint._send = send
    quota.metered(quota.metered(made)).converse(**converse())
    assert len(seen) == len(records(quota)) == 1


@pytest.mark.parametrize("other", [object(), None, "client", type("Carries", (), {"_endpoint": object()})()])
def test_anything_else_is_refused_with_what_there_is_to_do(quota: Quota, other: object) -> None:
    with pytest.raises(ConfigurationError, match=r"a session of aiohttp or requests.*instrument"):
        quota.metered(other)


# sockets


@pytest.mark.parametrize(
    ("host", "limits", "status"),
    [
        ("openai", ["$10/month"], 403),
        ("openai", ["10 requests/day"], 101),
        ("google", ["$10/month"], 403),
        (None, ["$10/month"], 101),
    ],
)
async def test_a_websocket_to_a_provider_is_a_call_that_nobody_reads(
    host: str | None, limits: list[str], status: int
) -> None:
    """OpenAI's Realtime, Gemini's Live: what goes by there is not counted."""
    quota = Quota(limits=limits, hosts={"127.0.0.1": host})
    quota.instrument()
    from aiohttp import web

    async def speak(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for said in socket:
            await socket.send_str(said.data)
            break
        await socket.close()
        return socket

    app = web.Application()
    app.router.add_get("/v1/realtime", speak)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1/realtime?model=gpt-realtime"
    try:
        async with aiohttp.ClientSession() as session:
            if status == 101:
                async with session.ws_connect(url) as socket:
                    await socket.send_str("hi")
                    assert await socket.receive_str() == "hi"
            else:
                with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                    await session.ws_connect(url)
                assert refused.value.status == status
    finally:
        await runner.cleanup()
    told = [(record.operation, record.status, record.cost) for record in records(quota)]
    assert told == ([("unknown", 101, 0)] if status == 101 and host else [])
    quota.close()
