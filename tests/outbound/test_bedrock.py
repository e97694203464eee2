"""Bedrock over the client libraries, Anthropic's own client for it among them."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import anthropic
import httpx2
import pytest

from quotaware import Quota
from quotaware.core.usage import Usage
from quotaware.testing.server import serve
from tests.outbound import aws
from tests.outbound.wire import Way, records
from tests.providers.frames import chunk, event
from tests.support import AuditedStore

pytestmark = pytest.mark.anyio

HOST = "https://bedrock-runtime.us-east-1.amazonaws.com"
MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
CONVERSE = {"messages": [{"role": "user", "content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 50}}
TOLD = {"inputTokens": 4, "outputTokens": 10, "totalTokens": 14}
SPENT = {"limits": ["$0.000001/month"]}


def answering(way: Way, pieces: list[Any], kind: str, asked: list[Any], **headers: str) -> Any:
    def answer(request: Any) -> Any:
        asked.append(request)
        return way.library.Response(200, headers={"content-type": kind, **headers}, stream=way.stream(pieces))

    return way.mock(answer)


async def test_a_conversation_is_charged_what_it_reports(quota: Quota, way: Way) -> None:
    asked: list[Any] = []
    body = json.dumps({"output": {}, "stopReason": "end_turn", "usage": TOLD}).encode()
    client = answering(way, [body], "application/json", asked)
    response = await way.open(client, f"{HOST}/model/{MODEL}/converse", CONVERSE)
    assert await way.read(response) == body
    await way.close(client)
    (left,) = records(quota)
    assert (left.provider, left.model, left.usage, left.quality) == ("aws", MODEL, Usage(4, 10), "exact")
    assert left.cost == 4 * 3_300 + 10 * 16_500


@pytest.mark.parametrize("size", [1, 7, 10_000])
async def test_a_stream_passes_as_it_is_and_is_read_frame_by_frame(quota: Quota, way: Way, size: int) -> None:
    wire = b"".join(
        [
            event("messageStart", role="assistant"),
            *(event("contentBlockDelta", delta={"text": "tok "}) for _ in range(5)),
            event("messageStop", stopReason="end_turn"),
            event("metadata", usage=TOLD, metrics={"latencyMs": 7}),
        ]
    )
    asked: list[Any] = []
    pieces = [wire[at : at + size] for at in range(0, len(wire), size)]
    client = answering(way, pieces, "application/vnd.amazon.eventstream", asked)
    response = await way.open(client, f"{HOST}/model/{MODEL}/converse-stream", CONVERSE)
    assert await way.read(response) == wire
    await way.close(client)
    (left,) = records(quota)
    assert (left.usage, left.quality, left.operation) == (Usage(4, 10), "exact", "chat")


async def test_a_stream_that_breaks_off_is_charged_what_was_seen(quota: Quota, way: Way) -> None:
    pieces = [chunk(generation="tok "), chunk(generation="tok "), chunk(generation="tok ")[:30]]
    asked: list[Any] = []
    client = answering(
        way, [*pieces, way.library.ReadError("reset")], "application/vnd.amazon.eventstream", asked
    )
    url = f"{HOST}/model/meta.llama3-8b-instruct-v1:0/invoke-with-response-stream"
    response = await way.open(client, url, {"prompt": "hi", "max_gen_len": 50})
    with contextlib.suppress(way.library.ReadError):
        await way.read(response)
    await way.close(client)
    (left,) = records(quota)
    assert (left.usage.output, left.quality) == (2, "partial")


async def test_what_no_body_tells_the_headers_do(quota: Quota, way: Way) -> None:
    asked: list[Any] = []
    counts = {"x-amzn-bedrock-input-token-count": "7", "x-amzn-bedrock-output-token-count": "3"}
    client = answering(way, [b'{"outputs": [{"text": "hi"}]}'], "application/json", asked, **counts)
    url = f"{HOST}/model/mistral.mistral-7b-instruct-v0:2/invoke"
    await way.read(await way.open(client, url, {"prompt": "hi", "max_tokens": 50}))
    await way.close(client)
    (left,) = records(quota)
    assert (left.usage, left.quality) == (Usage(7, 3), "exact")


# what is signed


@pytest.mark.parametrize(("signed", "sent"), [(False, 1), (True, 0)])
async def test_into_a_signed_body_nothing_is_written(
    books: AuditedStore, way: Way, signed: bool, sent: int
) -> None:
    """A cap would break the signature: where one would be needed, the call is refused."""
    quota = Quota(books, limits=["$0.01/month"], clock=books._clock)
    quota.instrument()
    asked: list[Any] = []
    client = answering(way, [b"{}"], "application/json", asked)
    headers = {"authorization": "AWS4-HMAC-SHA256 Credential=a" if signed else "Bearer k"}
    body = {"messages": CONVERSE["messages"]}
    response = await way.post(client, f"{HOST}/model/{MODEL}/converse", body, headers=headers)
    assert (response.status_code, len(asked)) == (200 if sent else 429, sent)
    if sent:
        assert json.loads(asked[0].content)["inferenceConfig"]["maxTokens"] > 0
    capped = await way.post(client, f"{HOST}/model/{MODEL}/converse", CONVERSE, headers=headers)
    assert capped.status_code == 200
    assert json.loads(asked[-1].content) == CONVERSE
    await way.close(client)
    quota.close()


# Anthropic's client


def client_of(answer: Any) -> anthropic.AnthropicBedrock:
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.AnthropicBedrock(api_key="k", aws_region="us-east-1", http_client=http)


def test_anthropics_client_is_metered(quota: Quota) -> None:
    message = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "model": "claude-sonnet-4-5",
        "content": [{"type": "text", "text": "hi"}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }
    client = client_of(lambda request: httpx2.Response(200, json=message))
    asked = {"model": MODEL, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
    assert client.messages.create(**asked).usage.output_tokens == 2
    (left,) = records(quota)
    assert (left.provider, left.usage, left.quality) == ("aws", Usage(5, 2), "exact")


def test_anthropics_client_raises_its_own_error_after_one_try(books: AuditedStore) -> None:
    quota = Quota(books, clock=books._clock, **SPENT)
    quota.instrument()
    client = client_of(lambda request: pytest.fail("it was sent"))
    with pytest.raises(anthropic.RateLimitError, match="budget") as caught:
        client.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "hi"}])
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["code"] == "ThrottlingException"
    quota.close()


# boto3


def test_botos_client_is_metered_whole_and_streamed() -> None:
    """A profile in the URL is its model; the stream is read frame by frame."""
    app, profile = aws.Bedrock(), f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.{MODEL}"
    with serve(app) as url:
        app.url = url
        quota = Quota(limits=["$1000/month"], hosts={"127.0.0.1": "aws"})
        quota.instrument()
        try:
            client = aws.client(url)
            asked = {"modelId": profile, "messages": CONVERSE["messages"]}
            assert client.converse(**asked)["usage"] == aws.USAGE
            assert aws.text_of(client.converse_stream(**asked)["stream"]) == "tok " * 5
            told = [(r.provider, r.requested_model, r.usage.output, r.quality) for r in records(quota)]
            assert told == [("aws", f"us.{MODEL}", 5, "exact")] * 2
        finally:
            quota.close()
