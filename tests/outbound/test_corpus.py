"""Everything recorded of OpenAI, of those who speak as it does, and of Anthropic's messages, replayed over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any
from urllib.parse import urlsplit

import anthropic
import httpx
import httpx2
import openai
import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from quotaware import Quota
from quotaware.testing import FakeProvider
from quotaware.testing.recordings import is_stream
from quotaware.usage import UsageRecord
from tests.corpus import exchanges, expected_of, needs_corpus, wire_body
from tests.outbound.wire import ON_ASYNCIO, Way, records
from tests.support import AuditedStore

pytestmark = [pytest.mark.anyio, needs_corpus]
CHATS = exchanges("openai", "/chat/completions")
RESPONSES = exchanges("openai", "/responses")
POLLS = [exchange for exchange in exchanges("openai") if exchange["method"] == "GET"]
COMPACTIONS = exchanges("openai", "/responses/compact")
EMBEDDINGS = exchanges("openai", "/embeddings")
MESSAGES = exchanges("anthropic", "/messages")
COUNTS = exchanges("anthropic", "/messages/count_tokens")
OTHERS = {name: exchanges(name) for name in ("azure", "deepseek", "groq", "huggingface", "openrouter")}
EVERY = [*CHATS, *RESPONSES, *COMPACTIONS, *EMBEDDINGS, *MESSAGES, *COUNTS, *chain(*OTHERS.values())]
COUNTED = ("input", "output", "cache_read", "cache_write", "reasoning")


@pytest.fixture
def quota(books: AuditedStore) -> Iterator[Quota]:
    """Models that have no price any more are given one."""
    made = Quota(
        books,
        limits=["$1000000/month"],
        clock=books._clock,
        unknown_model={"input": 1, "output": 1},
        settle_wait=0,
    )
    made.instrument()
    yield made
    assert made.flush()
    books.check()
    assert books.held == {}
    assert not made.stats.get("faults")
    assert not made.stats.get("unreadable")
    made.close()


def test_the_whole_corpus_is_here() -> None:
    assert [len(CHATS), len(RESPONSES), len(COMPACTIONS), len(EMBEDDINGS)] == [124, 173, 4, 3]
    assert [len(MESSAGES), len(COUNTS)] == [177, 3]
    assert [len(part) for part in OTHERS.values()] == [3, 9, 51, 14, 42]


def as_expected(record: UsageRecord, exchange: dict[str, Any]) -> bool:
    """Whether the record says what the provider itself reported."""
    model, usage = expected_of(exchange)
    if record.status != exchange["status"]:
        return False
    if usage is None:
        background = exchange["request"].get("background")
        free = record.status >= 400 or exchange in COUNTS
        return record.cost == 0 if free else record.quality == ("unsettled" if background else "estimated")
    told = {name: getattr(record.usage, name) for name in COUNTED}
    return (record.model, told, record.quality) == (model or record.requested_model, usage, "exact")


@pytest.mark.parametrize("part", range(4))
@pytest.mark.parametrize("chunk", [None, pytest.param(7, marks=pytest.mark.slow)], ids=["whole", "in shreds"])
async def test_every_exchange_is_recorded_with_what_the_provider_reported(
    provider: FakeProvider, quota: Quota, part: int, chunk: int | None
) -> None:
    """And every byte that the app reads is one that was sent. A quarter each way by default, all in shreds in slow."""
    way = ON_ASYNCIO[part]
    await replayed(provider, quota, way, EVERY[part::4] if chunk is None else EVERY, chunk)


def seen_by_the_app(exchange: dict[str, Any]) -> bytes:
    """All that was sent, but for a usage chunk that the app did not ask for."""
    asked = (exchange["request"].get("stream_options") or {}).get("include_usage")
    body = wire_body(exchange)
    if not is_stream(exchange) or asked or "messages" not in exchange["request"]:
        return body
    events = body.split(b"\n\n")
    return b"\n\n".join(e for e in events if b'"choices":[]' not in e or b'"usage":{' not in e)


async def replayed(
    provider: FakeProvider, quota: Quota, way: Way, part: list[dict[str, Any]], chunk: int | None
) -> None:
    provider.chunk = chunk
    client = way.client()
    for exchange in part:
        url = f"{provider.url}/replay/{exchange['id']}{urlsplit(exchange['url']).path}"
        answer = await way.post(client, url, exchange["request"])
        assert answer.content == seen_by_the_app(exchange), exchange["id"]
        assert answer.request.content == client.build_request("POST", url, json=exchange["request"]).content
    await way.close(client)
    left = records(quota)
    assert len(left) == len(part) == provider.requests
    wrong = {e["id"]: r for e, r in zip(part, left, strict=True) if not as_expected(r, e)}
    assert wrong == {}
    assert not [record for record in left if (record.usage.total or record.besides) and not record.cost]


@pytest.mark.parametrize("name", ["openai", "azure", "deepseek", "groq", "openrouter"])
async def test_so_they_are_where_the_host_is_known(
    provider: FakeProvider, books: AuditedStore, name: str
) -> None:
    """Under the provider's own rules: what a deployment is, whose word on the cost counts, what lists and counts."""
    everything = exchanges(name)
    part = [e for e in everything if e["method"] == "POST" and e not in CHATS]
    quota = Quota(
        books,
        limits=["$1000000/month"],
        clock=books._clock,
        hosts={"127.0.0.1": name},
        deployments={e["request"]["model"]: e["request"]["model"] for e in part},
        unknown_model={"input": 1, "output": 1},
        settle_wait=0,
    )
    client = httpx.AsyncClient()
    quota.metered(client)
    for exchange in part:
        url = urlsplit(exchange["url"])
        await client.post(f"{provider.url}/replay/{exchange['id']}{url.path}", json=exchange["request"])
    left = records(quota)
    free = [record for record in left if record.operation == "input_tokens"]
    assert [record.cost for record in free] == [0] * (name == "openai")
    told = [e for e in part if not e["url"].endswith("/input_tokens")]
    made = [record for record in left if record not in free]
    assert {e["id"]: r for e, r in zip(told, made, strict=True) if not as_expected(r, e)} == {}
    assert {record.provider for record in left} == {name}
    for exchange, record in zip(told, made, strict=True):
        usage = exchange["body"].get("usage") if isinstance(exchange["body"], dict) else None
        if name == "openrouter" and usage and "cost" in usage and not usage.get("is_byok"):
            assert record.cost == round(usage["cost"] * 10**9)
    await client.aclose()
    quota.close()


async def test_asking_for_an_answer_again_costs_nothing(provider: FakeProvider, books: AuditedStore) -> None:
    """Each poll leaves a record that says so, with the model that the answer names."""
    quota = Quota(books, limits=["$1/month"], clock=books._clock, hosts={"127.0.0.1": "openai"})
    client = httpx.AsyncClient()
    quota.metered(client)
    for exchange in POLLS:
        url = urlsplit(exchange["url"])
        await client.get(f"{provider.url}/replay/{exchange['id']}{url.path}?{url.query}")
    left = records(quota)
    assert [record.cost for record in left] == [record.usage.total for record in left] == [0] * 7
    assert all(e["expected"]["model"] in (r.model, None) for e, r in zip(POLLS, left, strict=True))
    await client.aclose()
    quota.close()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_streams_are_read_through_an_encoding(
    provider: FakeProvider, quota: Quota, encoding: Any
) -> None:
    """Every recorded stream; what has to be hidden is hidden, the rest is decoded as ever."""
    provider.encoding = encoding
    streams = [exchange for exchange in EVERY if is_stream(exchange)]
    await replayed(provider, quota, ON_ASYNCIO[3], streams, None)


# the SDKs

KNOWN = {"model", "messages", "stream", "input", "max_tokens", "encoding_format", "background"}


def arguments(exchange: dict[str, Any]) -> dict[str, Any]:
    """The recorded body as the arguments of an SDK's method; what it may not know by name goes along all the same."""
    body = exchange["request"]
    return {n: v for n, v in body.items() if n in KNOWN} | {
        "extra_body": {n: v for n, v in body.items() if n not in KNOWN}
    }


def readable(exchange: dict[str, Any]) -> bool:
    """Whether an SDK can read it: in one recorded stream an event is no JSON any more."""
    events = wire_body(exchange).split(b"data: ")[1:] if is_stream(exchange) else []
    try:
        return all(event.startswith(b"[DONE]") or json.loads(event.split(b"\n\n")[0]) for event in events)
    except ValueError:
        return False


def events_of(exchange: dict[str, Any]) -> int:
    """How many events an SDK gives of a recorded stream."""
    lines = wire_body(exchange).splitlines()
    return sum(line.startswith(b"data: {") and b'"ping"' not in line for line in lines)


async def told(answer: Any) -> list[Any]:
    """What an SDK gives of an answer: one object, or the events of a stream."""
    if hasattr(answer, "__aiter__"):
        return [event async for event in answer]
    return list(answer) if hasattr(answer, "response") and hasattr(answer, "__iter__") else [answer]


async def played(exchange: dict[str, Any], call: Any, error: type[Exception]) -> None:
    async def ask() -> list[Any]:
        answer = call(**arguments(exchange))
        return await told(await answer if hasattr(answer, "__await__") else answer)

    if exchange["status"] >= 400:
        with pytest.raises(error):
            await ask()
        return
    got = await ask()
    if is_stream(exchange):
        assert len(got) == events_of(exchange), exchange["id"]
    elif exchange["expected"]["usage"]:
        assert got[0].model == exchange["expected"]["model"]
        assert got[0].usage.model_dump(exclude_unset=True)


@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_openais_sdk_reads_every_exchange(provider: FakeProvider, quota: Quota, sync: bool) -> None:
    """Half of them in each world."""
    http = (httpx.Client if sync else httpx.AsyncClient)(verify=False)
    client = (OpenAI if sync else AsyncOpenAI)(api_key="x", base_url=provider.url + "/v1", http_client=http)
    part = [*CHATS, *filter(readable, RESPONSES), *EMBEDDINGS][sync::2]
    for exchange in part:
        there = client.with_options(base_url=f"{provider.url}/replay/{exchange['id']}/v1", max_retries=0)
        call = there.embeddings.create if exchange in EMBEDDINGS else there.chat.completions.create
        if exchange in RESPONSES:
            call = there.responses.create
        await played(exchange, call, openai.APIStatusError)
    http.close() if sync else await http.aclose()
    left = records(quota)
    wrong = {e["id"]: r for e, r in zip(part, left, strict=True) if not as_expected(r, e)}
    assert wrong == {}


@pytest.mark.filterwarnings("ignore:The model:DeprecationWarning")
@pytest.mark.parametrize("sync", [True, False], ids=["sync", "async"])
async def test_anthropics_sdk_reads_every_exchange(provider: FakeProvider, quota: Quota, sync: bool) -> None:
    """Half of them in each world."""
    http = (httpx2.Client if sync else httpx2.AsyncClient)(verify=False)
    client = (Anthropic if sync else AsyncAnthropic)(api_key="x", base_url=provider.url, http_client=http)
    part = [*MESSAGES, *COUNTS][sync::2]
    for exchange in part:
        there = client.with_options(
            base_url=f"{provider.url}/replay/{exchange['id']}", max_retries=0, timeout=60
        )
        call = there.messages.count_tokens if exchange in COUNTS else there.messages.create
        await played(exchange, call, anthropic.APIStatusError)
    http.close() if sync else await http.aclose()
    left = records(quota)
    wrong = {e["id"]: r for e, r in zip(part, left, strict=True) if not as_expected(r, e)}
    assert wrong == {}
