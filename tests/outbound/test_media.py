"""Images and sound, by OpenAI's own client: what is billed is charged, by the token or by the count."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI

from quotaware import Quota
from quotaware.usage import UsageRecord
from tests.outbound.wire import records
from tests.support import AuditedStore

IMAGE_USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens": 1056,
    "total_tokens": 1106,
}


class Api:
    """What the provider answers next, and what it was sent."""

    def __init__(self) -> None:
        self.answer: Any = {}
        self.sent: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.sent.append(request)
        request.read()
        if isinstance(self.answer, bytes):
            return httpx.Response(200, content=self.answer, headers={"content-type": "audio/mpeg"})
        return httpx.Response(200, json=self.answer)


@pytest.fixture
def api() -> Api:
    return Api()


@pytest.fixture
def client(api: Api, quota: Quota) -> Iterator[OpenAI]:
    with httpx.Client(transport=httpx.MockTransport(api)) as http:
        yield OpenAI(api_key="x", http_client=http, max_retries=0)


def only(quota: Quota) -> UsageRecord:
    (record,) = records(quota)
    assert "overrun" not in record.flags
    assert "suspect" not in record.flags
    return record


def test_images_are_billed_by_the_token(client: OpenAI, api: Api, quota: Quota) -> None:
    api.answer = {"created": 0, "data": [{"b64_json": "AAAA"}], "usage": IMAGE_USAGE}
    client.images.generate(model="gpt-image-1", prompt="a cat", n=1)
    record = only(quota)
    assert (record.operation, record.quality, record.usage.image_input) == ("images", "exact", 40)
    assert record.cost == 10 * 5_000 + 40 * 10_000 + 1056 * 40_000


def test_an_edit_is_a_form_that_goes_out_as_it_came(client: OpenAI, api: Api, quota: Quota) -> None:
    api.answer = {"created": 0, "data": [{"b64_json": "AAAA"}], "usage": IMAGE_USAGE}
    pictures = [("a.png", io.BytesIO(b"\x89PNG" * 100)), ("b.png", io.BytesIO(b"\x89PNG" * 100))]
    client.images.edit(model="gpt-image-1", prompt="with a hat", image=pictures, n=2)  # type: ignore[arg-type]
    assert only(quota).requested_model == "gpt-image-1"
    assert api.sent[0].read().count(b"\x89PNG") == 200


def test_images_without_tokens_are_billed_by_their_number(api: Api, books: AuditedStore) -> None:
    prices: Any = {"dall-e-3": {"input": 0, "output": 0, "image": 0.04}}
    quota = Quota(books, limits=["$0.1/day"], clock=books._clock, prices=prices, settle_wait=0)
    api.answer = {"created": 0, "data": [{"url": "https://example.com"}, {"url": "https://example.com"}]}
    with httpx.Client(transport=httpx.MockTransport(api)) as http:
        client = quota.metered(OpenAI(api_key="x", http_client=http, max_retries=0))
        client.images.generate(model="dall-e-3", prompt="a cat", n=2)
        assert only(quota).cost == 80_000_000
        with pytest.raises(openai.RateLimitError):
            client.images.generate(model="dall-e-3", prompt="a cat")
    quota.close()


def test_what_is_read_out_is_billed_by_the_character(client: OpenAI, api: Api, quota: Quota) -> None:
    api.answer = b"\xff\xfb" * 5000
    assert client.audio.speech.create(model="tts-1", voice="alloy", input="hello").content == api.answer
    record = only(quota)
    assert (record.usage.characters, record.cost, record.operation) == (5, 5 * 15_000, "audio")


def test_or_by_tokens_that_nobody_tells(client: OpenAI, api: Api, quota: Quota) -> None:
    """Estimated by the text: sound says nothing of itself, however long it is."""
    api.answer = b"\xff\xfb" * 500_000
    client.audio.speech.create(model="gpt-4o-mini-tts", voice="alloy", input="hello " * 10)
    record = only(quota)
    assert (record.quality, record.usage.output) == ("estimated", 84)


@pytest.mark.parametrize(
    ("model", "usage", "cost"),
    [
        ("whisper-1", {"type": "duration", "seconds": 9}, 9_000 * 100),
        (
            "gpt-4o-transcribe",
            {
                "type": "tokens",
                "input_tokens": 100,
                "input_token_details": {"audio_tokens": 90},
                "output_tokens": 20,
            },
            10 * 2_500 + 90 * 6_000 + 20 * 10_000,
        ),
    ],
)
def test_what_is_written_down_is_billed_by_its_length_or_tokens(
    client: OpenAI, api: Api, quota: Quota, model: str, usage: dict[str, Any], cost: int
) -> None:
    api.answer = {"text": "hi", "usage": usage}
    client.audio.transcriptions.create(model=model, file=("a.mp3", b"ID3" + bytes(40_000)))
    record = only(quota)
    assert (record.quality, record.cost) == ("exact", cost)
    assert b'name="model"' in api.sent[0].read()


def test_a_transcript_that_tells_nothing_is_estimated_by_its_file(
    client: OpenAI, api: Api, quota: Quota
) -> None:
    api.answer = b"1\n00:00:00,000 --> 00:00:02,000\nhi\n"
    file = ("a.mp3", b"ID3" + bytes(159_997))
    client.audio.translations.create(model="whisper-1", file=file, response_format="srt")
    record = only(quota)
    assert (record.quality, record.usage.audio_ms, record.cost) == ("estimated", 10_000, 10_000 * 100)


def test_a_form_that_names_two_models_does_not_go_out(quota: Quota, api: Api) -> None:
    """S8."""
    part = b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n'
    body = part % (b"model", b"whisper-1") + part % (b"model", b"gpt-4o-transcribe") + b"--b--\r\n"
    with httpx.Client(transport=httpx.MockTransport(api)) as http:
        answer = http.post(
            "https://api.openai.com/v1/audio/transcriptions",
            content=body,
            headers={"content-type": "multipart/form-data; boundary=b"},
        )
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "model_ambiguous"
    assert api.sent == []


def test_a_model_that_is_priced_by_the_hour_is_not_free_in_a_chat(books: AuditedStore, api: Api) -> None:
    quota = Quota(books, limits=["$1/day"], clock=books._clock)
    with httpx.Client(transport=httpx.MockTransport(api)) as http:
        quota.metered(http)
        body = {"model": "whisper-1", "messages": [{"role": "user", "content": "hi"}]}
        answer = http.post("https://api.openai.com/v1/chat/completions", json=body)
    assert answer.json()["error"]["code"] == "price_unknown"
    quota.close()
