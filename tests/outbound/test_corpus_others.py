"""Everything recorded of the providers with wire formats of their own, replayed over real HTTP as from their hosts."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from quotaware import Quota
from quotaware.testing import FakeProvider
from quotaware.usage import UsageRecord
from tests.corpus import exchanges, needs_corpus, wire_body
from tests.outbound.wire import ON_ASYNCIO, records
from tests.support import AuditedStore

pytestmark = [pytest.mark.anyio, needs_corpus]
COUNTED = ("input", "output", "cache_read", "cache_write", "reasoning")
AS_HOSTS_OF = {
    "google": ("google", 208),
    "google-vertex": ("google", 83),
    "anthropic": ("anthropic", 180),
    "cohere": ("cohere", 16),
    "mistral": ("mistral", 44),
    "voyage": ("voyageai", 4),
}
"""Whose host each file's provider is, and how many exchanges it has."""


def as_expected(record: UsageRecord, exchange: dict[str, Any]) -> bool:
    """Whether the record says what the provider itself reported."""
    expected = exchange["expected"]
    if record.status != exchange["status"] or expected["model"] not in (None, record.model):
        return False
    if expected["usage"] is None:
        free = record.operation in {"count_tokens", "tokenize"} or record.status >= 400
        return record.cost == 0 if free else record.quality == "estimated"
    told = {name: getattr(record.usage, name) for name in COUNTED}
    return (told, record.quality) == (expected["usage"], "exact")


@pytest.mark.parametrize("chunk", [None, pytest.param(7, marks=pytest.mark.slow)], ids=["whole", "in shreds"])
@pytest.mark.parametrize("provider_name", AS_HOSTS_OF)
async def test_every_exchange_is_recorded_with_what_the_provider_reported(
    provider: FakeProvider, books: AuditedStore, provider_name: str, chunk: int | None
) -> None:
    """A part of them each way, and every byte that the app reads is one that was sent."""
    owner, many = AS_HOSTS_OF[provider_name]
    recorded = exchanges(provider_name)
    assert len(recorded) == many
    provider.chunk = chunk
    quota = Quota(
        books,
        limits=["$1000000/month"],
        clock=books._clock,
        unknown_model={"input": 1, "output": 1},
        hosts={"127.0.0.1": owner},
        settle_wait=0,
    )
    quota.instrument()
    for part, way in enumerate(ON_ASYNCIO):
        client = way.client()
        for exchange in recorded[part :: len(ON_ASYNCIO)]:
            url = urlsplit(exchange["url"])
            asked = f"{provider.url}/replay/{exchange['id']}{url.path}?{url.query}"
            answer = await way.post(client, asked, exchange["request"])
            assert answer.content == wire_body(exchange), exchange["id"]
        await way.close(client)
    left = records(quota)
    asked_for = [e for part in range(len(ON_ASYNCIO)) for e in recorded[part :: len(ON_ASYNCIO)]]
    assert len(left) == len(recorded) == provider.requests
    wrong = {e["id"]: r for e, r in zip(asked_for, left, strict=True) if not as_expected(r, e)}
    assert wrong == {}
    assert quota.flush()
    books.check()
    assert books.held == {}
    assert not quota.stats.get("faults")
    assert not quota.stats.get("unreadable")
    quota.close()


@pytest.mark.parametrize("way", ON_ASYNCIO, ids=str)
async def test_a_stream_without_sse_is_an_array_of_the_same_events(
    provider: FakeProvider, books: AuditedStore, way: Any
) -> None:
    """Gemini's stream as it is without `alt=sse`, cut anywhere: the same usage; one that breaks off is charged what
    was seen.
    """
    quota = Quota(
        books,
        limits=["$1000/month"],
        clock=books._clock,
        unknown_model={"input": 1, "output": 1},
        settle_wait=0,
    )
    quota.instrument()
    recorded = [e for e in exchanges("google") if "streamGenerateContent" in e["url"]]
    for exchange in recorded:
        events = [e[6:].strip() for e in wire_body(exchange).replace(b"\r", b"").split(b"\n\n") if e]
        pretty = [json.dumps(json.loads(event), indent=2).encode() for event in events]
        body = b"[" + b"\n,\r\n".join(pretty) + b"\n]\n"
        size = max(1, len(body) // 50)
        pieces = [body[at : at + size] for at in range(0, len(body), size)]

        def answer(request: Any, pieces: list[bytes] = pieces) -> Any:
            headers = {"content-type": "application/json; charset=UTF-8"}
            return way.library.Response(200, headers=headers, stream=way.stream(pieces))

        client = way.mock(answer)
        path = urlsplit(exchange["url"]).path
        response = await way.open(
            client, f"https://generativelanguage.googleapis.com{path}", exchange["request"]
        )
        assert await way.read(response) == body
        await way.close(client)
    left = records(quota)
    assert len(left) == len(recorded) >= 10
    assert [as_expected(r, e) for r, e in zip(left, recorded, strict=True)] == [True] * len(left)
    assert not quota.stats.get("faults")
    quota.close()
