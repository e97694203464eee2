"""What is neither asked nor answered as a chat is: metered over every client all the same, or refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware import Quota
from quotaware.usage import UsageRecord
from tests.outbound.wire import Way, records
from tests.providers.test_gemini_batches import answered, batch, entry, response
from tests.providers.test_gemini_interactions import CREATED, ENDED, SAID, USAGE, interaction
from tests.providers.test_ollama import CHAT_END, piece
from tests.support import AuditedStore

pytestmark = pytest.mark.anyio
GOOGLE = "https://generativelanguage.googleapis.com/v1beta"
FLASH = "gemini-2.5-flash"
OLLAMA = "http://gpu.internal:11434/api/chat"
LONG = "word " * 500
"""So many that no usage told here could not be true."""
LLAMA = {"llama3.2": {"input": 1, "output": 2}}


def answering(way: Way, *answers: dict[str, Any] | bytes, kind: str = "text/event-stream") -> Any:
    """A client that is answered so, in order: bytes as a stream of that kind."""
    waiting = list(answers)

    def answer(request: Any) -> Any:
        told = waiting.pop(0)
        if isinstance(told, bytes):
            head = {"content-type": kind}
            return way.library.Response(200, headers=head, stream=way.stream([told[:99], told[99:]]))
        return way.library.Response(200, json=told)

    return way.mock(answer)


def calls(quota: Quota) -> list[UsageRecord]:
    return [record for record in records(quota) if record.requested_model is not None]


async def test_ollama_streams_objects(way: Way, books: AuditedStore) -> None:
    """I-1: one call, charged at what its last object tells."""
    quota = Quota(books, limits=["$10/month"], prices=LLAMA, clock=books._clock)
    lines = b"".join(json.dumps(one).encode() + b"\n" for one in (piece("The"), piece(" sky"), CHAT_END))
    client = quota.metered(answering(way, lines, kind="application/x-ndjson"))
    answer = await way.post(client, OLLAMA, {"model": "llama3.2", "messages": []})
    assert answer.content == lines
    (record,) = records(quota)
    assert (record.operation, record.quality, record.usage.input, record.usage.output) == (
        "chat",
        "exact",
        26,
        282,
    )
    assert record.cost == 26 * 1_000 + 282 * 2_000
    await way.close(client)


async def test_ollama_is_refused_in_its_own_shape(way: Way, quota: Quota) -> None:
    client = answering(way)
    answer = await way.post(client, OLLAMA, {"model": "llama3.2", "messages": []})
    assert answer.status_code == 403
    told = answer.json()
    assert (told["code"], "llama3.2" in told["error"]) == ("price_unknown", True)
    await way.close(client)


async def test_a_batch_of_geminis_is_charged_once_by_its_answers(way: Way, quota: Quota) -> None:
    """I-4: at its bound while it runs, at what was used when that is told; the list has no price of its batches."""
    pending = {"name": "batches/123", "metadata": {"state": "BATCH_STATE_PENDING"}}
    ended = answered(response(1000, 20), response(500, 10))
    client = answering(way, pending, pending, ended, ended)
    limited = entry(LONG, generationConfig={"maxOutputTokens": 100})
    await way.post(client, f"{GOOGLE}/models/{FLASH}:batchGenerateContent", batch(limited, limited))
    (first,) = calls(quota)
    assert (first.operation, first.quality) == ("message_batches", "unsettled")
    assert first.cost == first.reserved >= 2 * 100 * 2_500
    for _ in range(3):
        await way.result(client.get(f"{GOOGLE}/batches/123"))
    _, put_right = calls(quota)
    assert (put_right.id, put_right.correction, put_right.quality) == (first.id, True, "exact")
    assert first.cost + put_right.cost == 1500 * 300 + 30 * 2_500
    await way.close(client)


async def test_a_long_list_of_answers_is_summed_in_full(way: Way, quota: Quota) -> None:
    """More than is ever read whole."""
    pending = {"name": "batches/123", "metadata": {"state": "BATCH_STATE_PENDING"}}
    ended = answered(*(response(10, 2, note="x" * 5_000) for _ in range(100)))
    client = answering(way, pending, ended)
    await way.post(client, f"{GOOGLE}/models/{FLASH}:batchGenerateContent", batch(entry(LONG)))
    await way.result(client.get(f"{GOOGLE}/batches/123"))
    _, put_right = calls(quota)
    assert sum(record.cost for record in calls(quota)) == 1000 * 300 + 200 * 2_500
    assert put_right.quality == "exact"
    await way.close(client)


async def test_a_list_of_answers_that_breaks_off_is_no_sum(way: Way, quota: Quota) -> None:
    """I-1: the batch stays at its bound until its answers are read to their end."""
    told = json.dumps(answered(*(response(10, 2, note="x" * 5_000) for _ in range(100)))).encode()
    waiting = [[told[:300_000], way.library.ReadError("reset")], [told]]
    head = {"content-type": "application/json"}
    client = way.mock(
        lambda asked: (
            way.library.Response(200, json={"name": "batches/123"})
            if asked.method == "POST"
            else way.library.Response(200, headers=head, stream=way.stream(waiting.pop(0)))
        )
    )
    await way.post(client, f"{GOOGLE}/models/{FLASH}:batchGenerateContent", batch(entry(LONG)))
    with pytest.raises(way.library.ReadError):
        await way.result(client.get(f"{GOOGLE}/batches/123"))
    assert [record.quality for record in calls(quota)] == ["unsettled"]
    await way.result(client.get(f"{GOOGLE}/batches/123"))
    assert sum(record.cost for record in calls(quota)) == 1000 * 300 + 200 * 2_500
    await way.close(client)


async def test_a_batch_in_a_file_is_refused_under_a_budget(way: Way, quota: Quota) -> None:
    client = answering(way)
    body = {"batch": {"displayName": "mine", "inputConfig": {"fileName": "files/1"}}}
    answer = await way.post(client, f"{GOOGLE}/models/{FLASH}:batchGenerateContent", body)
    assert (answer.status_code, answer.json()["error"]["details"][0]["reason"]) == (403, "price_unknown")
    assert "put its requests into the body" in answer.json()["error"]["message"]
    await way.close(client)


async def test_an_interaction_streams_its_usage(way: Way, quota: Quota) -> None:
    client = answering(way, CREATED + SAID + ENDED)
    body = {"model": "gemini-3-flash-preview", "input": "Count", "stream": True}
    await way.post(client, f"{GOOGLE}/interactions", body)
    (record,) = calls(quota)
    assert (record.quality, record.usage.input, record.usage.output) == ("exact", 150, 150)
    assert record.usage.cache_read == 30
    assert record.cost > 0
    await way.close(client)


@pytest.mark.parametrize(("background", "quality"), [(False, "partial"), (True, "unsettled")])
async def test_a_cut_interaction_goes_on_only_in_the_background(
    way: Way, quota: Quota, background: bool, quality: str
) -> None:
    client = way.mock(
        lambda _: way.library.Response(
            200,
            headers={"content-type": "text/event-stream"},
            stream=way.stream([CREATED, SAID, way.library.ReadError("reset")]),
        )
    )
    body = {"model": "gemini-3-flash-preview", "input": "Count", "stream": True, "background": background}
    with pytest.raises(way.library.ReadError):
        await way.post(client, f"{GOOGLE}/interactions", body)
    (record,) = calls(quota)
    assert record.quality == quality
    await way.close(client)


async def test_an_interaction_in_the_background_is_put_right(way: Way, quota: Quota) -> None:
    """I-4."""
    ended = interaction("completed", usage=USAGE)
    client = answering(way, interaction("in_progress"), interaction("in_progress"), ended, ended)
    body = {"model": "gemini-3-flash-preview", "input": "Count", "background": True}
    await way.post(client, f"{GOOGLE}/interactions", body)
    (first,) = calls(quota)
    assert (first.quality, first.cost) == ("unsettled", first.reserved)
    for _ in range(3):
        await way.result(client.get(f"{GOOGLE}/interactions/v1_abc"))
    _, put_right = calls(quota)
    assert (put_right.correction, put_right.quality, put_right.usage.reasoning) == (True, "exact", 30)
    await way.close(client)


async def test_a_video_is_refused_without_a_price_and_charged_by_the_request_with_one(
    way: Way, books: AuditedStore
) -> None:
    url, body = "https://api.openai.com/v1/videos", {"model": "sora-2", "prompt": "a cat"}
    told = {"id": "video_1", "object": "video", "model": "sora-2", "status": "queued", "seconds": "8"}
    refusing = Quota("memory://", limits=["$10/month"])
    client = refusing.metered(answering(way, told))
    answer = await way.post(client, url, body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "price_unknown")
    assert "'request': <USD>" in answer.json()["error"]["message"]
    await way.close(client)
    refusing.close()
    price = {"sora-2": {"input": 0, "output": 0, "request": 0.8}}
    quota = Quota(books, limits=["$1/month"], prices=price, clock=books._clock)
    client = quota.metered(answering(way, told, told))
    answers = [await way.post(client, url, body) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    (record,) = records(quota)
    assert (record.operation, record.cost, record.model) == ("videos", 800_000_000, "sora-2")
    await way.close(client)


async def test_imagen_is_charged_by_the_image(way: Way, books: AuditedStore) -> None:
    """cloud.google.com/vertex-ai/generative-ai/docs/model-reference/imagen-api: `predictions`, one an image."""
    price = {"imagen-4.0-generate-001": {"input": 0, "output": 0, "image": 0.04}}
    quota = Quota(books, limits=["$1/month"], prices=price, clock=books._clock)
    image = {"bytesBase64Encoded": "iVBOR", "mimeType": "image/png"}
    client = quota.metered(answering(way, {"predictions": [image, image]}))
    body = {"instances": [{"prompt": "a cat"}], "parameters": {"sampleCount": 3}}
    await way.post(client, f"{GOOGLE}/models/imagen-4.0-generate-001:predict", body)
    (record,) = records(quota)
    assert (record.operation, record.usage.images, record.cost) == ("images", 2, 80_000_000)
    assert record.reserved == 120_000_000
    await way.close(client)


async def test_what_goes_on_a_conversation_is_recorded_and_refused_under_a_budget(
    way: Way, quota: Quota, books: AuditedStore
) -> None:
    """docs.mistral.ai/api: POST /v1/conversations/{id}; the model stands in none of both."""
    url = "https://api.mistral.ai/v1/conversations/conv_1"
    usage = {"prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35}
    told = {"conversation_id": "conv_1", "usage": usage, "outputs": []}
    client = answering(way, told)
    assert (await way.post(client, url, {"inputs": "and then?"})).status_code == 403
    await way.close(client)
    counting = Quota(books, limits=["100000 tokens/day"], clock=books._clock)
    client = counting.metered(answering(way, told))
    quota.uninstrument()
    assert (await way.post(client, url, {"inputs": "and then?"})).status_code == 200
    (record,) = records(counting)
    assert (record.usage.input, record.usage.output, record.quality) == (30, 5, "exact")
    await way.close(client)


async def test_a_socket_that_is_asked_for_over_http_is_of_unknown_cost(way: Way, quota: Quota) -> None:
    """As the packages do that open theirs with httpx. An ordinary GET is no call."""
    opens = {"upgrade": "websocket", "connection": "upgrade"}
    client = way.mock(lambda _: way.library.Response(101))
    url = "https://api.openai.com/v1/realtime?model=gpt-realtime"
    assert (await way.result(client.get(url, headers=opens))).status_code == 403
    assert (await way.result(client.get(url))).status_code == 101
    ours = "wss.internal"
    assert (await way.result(client.get(f"https://{ours}/v1/realtime", headers=opens))).status_code == 101
    assert records(quota) == []
    await way.close(client)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1/fine_tuning/jobs",
        "https://api.openai.com/v1/vector_stores/vs_1/files",
        "https://api.openai.com/v1/realtime/client_secrets",
        "https://acme.services.ai.azure.com/api/projects/p/threads/t/runs",
        "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/l/tuningJobs",
        "https://bedrock-runtime.us-east-1.amazonaws.com/guardrail/g/version/1/apply",
        "https://router.huggingface.co/hf-inference/models/m/pipeline/feature-extraction",
    ],
)
async def test_what_nobody_knows_the_cost_of_is_refused_under_a_budget_and_recorded_elsewhere(
    way: Way, quota: Quota, books: AuditedStore, url: str
) -> None:
    """S10; whatever its body is."""
    client = answering(way, {}, {})
    refused = await way.post(client, url, {"model": "gpt-4.1", "inputs": "x"})
    assert (refused.status_code, "price_unknown" in refused.text) == (403, True)
    quota.uninstrument()
    counting = Quota(books, limits=["10 requests/day"], clock=books._clock)
    counting.metered(client)
    assert (await way.post(client, url, content=b"\x00 no JSON")).status_code == 200
    (record,) = records(counting)
    told = (record.operation, record.cost, record.status, record.quality)
    assert told == ("unknown", 0, 200, "estimated")
    await way.close(client)


@pytest.mark.parametrize(
    "url",
    [
        "https://api.openai.com/v1/responses/input_tokens",
        "https://api.openai.com/v1/skills",
        f"{GOOGLE}/batches/123:cancel",
        f"{GOOGLE}/models/{FLASH}:countTokens",
        "https://api.cohere.com/v1/tokenize",
        "https://api.x.ai/v1/tokenize-text",
    ],
)
async def test_what_is_free_passes_when_the_budget_is_spent_and_is_recorded(way: Way, url: str) -> None:
    quota = Quota(limits=["$0.000001/month"])
    client = quota.metered(answering(way, {}))
    assert (await way.post(client, url, {"contents": [], "model": "m"})).status_code == 200
    (record,) = records(quota)
    assert (record.cost, record.reserved, record.quality) == (0, 0, "exact")
    await way.close(client)
    quota.close()
