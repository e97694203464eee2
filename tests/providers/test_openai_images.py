"""OpenAI's images: the request, the answer, the stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.usage import Usage
from quotaware.providers.base import Report, Unreadable
from quotaware.providers.formdata import Upload
from quotaware.providers.openai_images import OpenAIImages, images_usage
from quotaware.providers.sse import EVENT_MAX

IMAGES = OpenAIImages()
USAGE = {
    "input_tokens": 50,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens": 1056,
    "total_tokens": 1106,
}
USED = Usage(input=50, output=1056, image_input=40, image_output=1056)


def read(**more: Any) -> Any:
    return IMAGES.read("openai", {"model": "gpt-image-1", "prompt": "a cat", **more})


def completed(size: int, kind: str = "image_generation.completed") -> bytes:
    event = {"type": kind, "b64_json": "A" * size, "usage": USAGE}
    return f"event: {kind}\ndata: {json.dumps(event)}\n\n".encode()


def test_the_text_counts_and_the_images_have_a_bound() -> None:
    call = read(n=3, quality="medium", partial_images=2)
    assert (call.text, call.choices, call.images, call.cap) == (5, 3, 3, 4_096 + 256)
    assert (call.operation, call.sealed, call.opaque) == ("images", True, False)
    assert read(quality="low").cap < read(quality="medium").cap < read().cap == read(quality="high").cap
    assert IMAGES.cap("openai", {}, 9) == IMAGES.ask_usage({"stream": True}) == {}


def test_a_form_says_the_same_in_text() -> None:
    call = read(n="2", stream="true", image=[Upload(9, b""), Upload(9, b"")], mask=Upload(9, b""))
    assert (call.choices, call.stream, call.opaque) == (2, True, False)
    assert call.media == 3 * 16_384


@pytest.mark.parametrize("given", [{"image_url": "https://example.com/a.png"}, {"file_id": "file-1"}])
def test_an_image_that_is_not_in_the_body_is_opaque(given: dict[str, str]) -> None:
    assert read(images=[given]).opaque


@pytest.mark.parametrize("more", [{"n": 0}, {"n": "many"}, {"n": 1.5}, {"model": None}])
def test_what_cannot_be_read_is_named(more: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match=next(iter(more))):
        read(**more)


@pytest.mark.parametrize(
    ("answer", "report"),
    [
        ({"data": [{}], "usage": USAGE}, Report(None, USED, done=True)),
        ({"data": [{}, {}]}, Report(None, Usage(images=2), done=True)),
        ({"usage": {**USAGE, "output_tokens_details": {"image_tokens": 1000}}}, None),
        (
            {"data": [{}], "usage": {"cost_in_usd_ticks": 200_000_000}},
            Report(None, Usage(images=1), done=True, cost=20_000_000),
        ),
        (  # OpenRouter's, as in its API reference
            {
                "data": [{}],
                "usage": {
                    "prompt_tokens": 0,
                    "completion_tokens": 4175,
                    "total_tokens": 4175,
                    "cost": 0.04,
                },
            },
            Report(None, Usage(output=4175, image_output=4175), done=True, cost=40_000_000),
        ),
    ],
)
def test_an_answer_tells_tokens_or_its_images_count(answer: dict[str, Any], report: Report | None) -> None:
    if report is None:
        assert images_usage(answer["usage"]) == Usage(
            input=50, output=1056, image_input=40, image_output=1000
        )
    else:
        assert IMAGES.answer(answer) == report


@pytest.mark.parametrize("size", [10, EVENT_MAX, 3 * EVENT_MAX])
@pytest.mark.parametrize("piece", [10**9, 60_000])
def test_each_image_of_a_stream_is_counted_however_long_it_is(size: int, piece: int) -> None:
    partial = completed(size, "image_generation.partial_image").replace(b'"usage"', b'"used"')
    stream = partial + completed(size) + completed(size, "image_edit.completed")
    reader = IMAGES.stream(hide=False)
    passed = b"".join(reader.feed(stream[at : at + piece]) for at in range(0, len(stream), piece))
    twice = Usage(input=100, output=2112, image_input=80, image_output=2112)
    assert reader.report() == Report(None, twice, done=True)
    assert passed == stream
