"""OpenAI's responses: the request, the whole answer, the stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.usage import Usage
from quotaware.errors import QuotaExceeded
from quotaware.providers.base import Report, Unreadable
from quotaware.providers.openai_responses import OpenAICompaction, OpenAIResponses
from quotaware.providers.sse import EVENT_MAX

RESPONSES = OpenAIResponses()
COMPACTION = OpenAICompaction()
USAGE = {
    "input_tokens": 20,
    "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 2},
    "output_tokens": 7,
    "output_tokens_details": {"reasoning_tokens": 3},
    "total_tokens": 27,
}
USED = Usage(input=20, output=7, cache_read=8, cache_write=2, reasoning=3)
PNG = "data:image/png;base64,AAAA"


def read(given: Any = "hi", **more: Any) -> Any:
    return RESPONSES.read("openai", {"model": "gpt-4.1", "input": given, **more})


def event(kind: str, **members: Any) -> bytes:
    """One event as it goes over the wire."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def response(**members: Any) -> dict[str, Any]:
    return {
        "id": "resp_1",
        "object": "response",
        "model": "gpt-4.1-2025-04-14",
        "status": "completed",
        **members,
    }


def streamed(*events: bytes) -> Report:
    reader = RESPONSES.stream(hide=True)
    assert b"".join(map(reader.feed, events)) + reader.flush() == b"".join(events)
    return reader.report()


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("hé", 3),
        ([{"role": "user", "content": "hi"}], 6),
        ([{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}], 16),
        ([{"type": "function_call", "name": "f", "arguments": "{}", "call_id": "c"}], 17),
        (
            [
                {
                    "type": "function_call_output",
                    "call_id": "c",
                    "output": [{"type": "input_text", "text": "a"}],
                }
            ],
            32,
        ),
        ([{"type": "reasoning", "encrypted_content": "x" * 50}], 59),
    ],
)
def test_all_text_of_the_input_counts(given: Any, text: int) -> None:
    call = read(given)
    assert (call.text, call.opaque, call.media) == (text, False, 0)
    assert (call.operation, call.model, call.choices) == ("responses", "gpt-4.1", 1)


def test_what_is_beside_the_input_counts() -> None:
    tool = {"type": "function", "name": "f", "parameters": {}}
    call = read(instructions="be brief", tools=[tool, tool], text={"format": {"type": "text"}})
    assert call.tools == 2
    assert call.text == len("hibe brief") + len(json.dumps([tool, tool], separators=(",", ":"))) + len(
        '{"format":{"type":"text"}}'
    )
    assert not call.opaque


@pytest.mark.parametrize(
    ("item", "least", "opaque"),
    [
        ({"type": "input_image", "image_url": PNG, "detail": "high"}, 85, False),
        ({"type": "input_image", "image_url": "https://example.com/a.png"}, 0, True),
        ({"type": "input_image", "file_id": "file-1"}, 0, True),
        (
            {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
            5000,
            False,
        ),
        ({"type": "input_file", "file_id": "file-1"}, 0, True),
        ({"type": "input_file", "file_url": "https://example.com/a.pdf"}, 0, True),
        ({"type": "input_audio", "input_audio": {"data": "AAAA", "format": "mp3"}}, 1, False),
        ({"type": "image_generation_call", "id": "ig_1", "result": "AAAA"}, 85, False),
        ({"type": "image_generation_call", "id": "ig_1"}, 0, True),
        (
            {"type": "computer_call_output", "output": {"type": "computer_screenshot", "image_url": PNG}},
            85,
            False,
        ),
        ({"type": "item_reference", "id": "msg_1"}, 0, True),
        ({"type": "tool_search_output", "tools": [{"type": "function", "name": "f"}]}, 0, False),
    ],
)
@pytest.mark.parametrize("nested", [False, True])
def test_what_is_not_text_has_a_bound_or_is_opaque(
    item: dict[str, Any], least: int, opaque: bool, nested: bool
) -> None:
    given = [{"type": "function_call_output", "output": [item]}] if nested else [item]
    call = read(given)
    assert call.opaque is opaque
    assert call.media >= least
    assert (call.media > 0) is (least > 0)


@pytest.mark.parametrize(
    "held",
    [
        {"previous_response_id": "resp_0"},
        {"conversation": "conv_1"},
        {"conversation": {"id": "conv_1"}},
        {"prompt": {"id": "pmpt_1", "variables": {"a": "b"}}},
        {"tools": [{"type": "web_search"}]},
        {"tools": [{"type": "mcp", "server_url": "https://example.com"}]},
    ],
)
def test_what_the_server_brings_in_is_opaque(held: dict[str, Any]) -> None:
    """S9."""
    assert read(**held).opaque
    assert not read(**dict.fromkeys(held)).opaque


def test_sound_and_stream_are_told() -> None:
    assert read([{"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}}]).audio
    assert read(stream=True).stream
    assert not read().stream


@pytest.mark.parametrize(
    ("more", "named"),
    [
        ({"input": 7}, "input"),
        ({"input": {}}, "input"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"max_output_tokens": "9"}, "max_output_tokens"),
        ({"stream": "yes"}, "stream"),
        ({"model": None}, "model"),
    ],
)
def test_what_cannot_be_read_is_named(more: dict[str, Any], named: str) -> None:
    with pytest.raises(Unreadable, match=named):
        RESPONSES.read("openai", {"model": "m", "input": "hi", **more})


def test_the_cap_is_max_output_tokens() -> None:
    assert read(max_output_tokens=50).cap == 50
    assert RESPONSES.cap("openai", {}, 300) == {"max_output_tokens": 300}
    assert RESPONSES.cap("openai", {"max_output_tokens": 50}, 300) == {"max_output_tokens": 50}
    assert RESPONSES.cap("openai", {"max_output_tokens": 500}, 300) == {"max_output_tokens": 300}


def test_a_compaction_takes_no_cap() -> None:
    body = {"model": "gpt-4.1", "input": [], "previous_response_id": "resp_0"}
    assert COMPACTION.cap("openai", body, 300) == {}
    assert COMPACTION.read("openai", body).opaque


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, USED),
        ({"input_tokens": 3, "total_tokens": 5}, Usage(input=3, output=2)),
        ({"prompt_tokens": 3, "completion_tokens": 2}, Usage(input=3, output=2)),
        (
            {"input_tokens": 3, "output_tokens": 2, "input_token_details": {"audio_tokens": 1}},
            Usage(input=3, output=2, audio_input=1),
        ),
        ({"input_tokens": 0, "output_tokens": 0}, Usage()),
        ({"input_tokens": -1, "output_tokens": 2}, Usage(input=-1, output=2)),
        ({"input_tokens": 3}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_whole_answer_reports_its_usage(usage: object, expected: Usage | None) -> None:
    assert RESPONSES.answer(response(usage=usage)) == Report("gpt-4.1-2025-04-14", expected, done=True)


@pytest.mark.parametrize("end", ["completed", "incomplete", "failed"])
def test_a_stream_is_done_at_the_event_that_ends_it(end: str) -> None:
    begin = event("response.created", response=response(status="in_progress", usage=None))
    text = event("response.output_text.delta", delta="four")
    last = event(f"response.{end}", response=response(status=end, usage=USAGE))
    assert streamed(begin, text) == Report("gpt-4.1-2025-04-14", None, seen=1)
    assert streamed(begin, text, last) == Report("gpt-4.1-2025-04-14", USED, seen=1, done=True)


def test_an_answer_that_failed_may_tell_no_usage() -> None:
    assert streamed(event("response.failed", response=response(usage=None))).done


@pytest.mark.parametrize(
    ("delta", "seen"),
    [
        (event("response.output_text.delta", delta="x" * 40), 10),
        (event("response.function_call_arguments.delta", delta='{"response": "delta"}'), 6),
        (event("response.reasoning_summary_text.delta", delta="é" * 8), 2),
        (event("response.output_audio.delta", delta="A" * 4000), 1),
        (event("response.output_text.delta", delta=""), 0),
        (event("response.output_text.done", text="x" * 40), 0),
    ],
)
def test_what_went_by_is_counted(delta: bytes, seen: int) -> None:
    """A lower bound: one token for four bytes, of sound one a piece."""
    assert streamed(delta).seen == seen


@pytest.mark.parametrize("piece", [EVENT_MAX + 9, 65_536, 1000])
def test_the_usage_of_an_answer_too_long_to_be_read_is_found_at_its_end(piece: int) -> None:
    """Images made on the way are in the last event, before its usage."""
    image = {"type": "image_generation_call", "result": "A" * (3 * EVENT_MAX)}
    long = event("response.completed", response=response(output=[image], usage=USAGE, user=None))
    reader = RESPONSES.stream(hide=False)
    for at in range(0, len(long), piece):
        reader.feed(long[at : at + piece])
    assert reader.report() == Report(None, USED, done=True)


def test_the_usage_in_an_event_that_is_no_json_is_found_at_its_end() -> None:
    broken = event("response.completed", response=response(output="X", usage=USAGE)).replace(b'"X"', b'"\\o"')
    assert streamed(broken).usage == USED
    assert streamed(broken.replace(b"_tokens", b"")).usage is None


def test_a_refusal_is_openais() -> None:
    error = QuotaExceeded("no more", code="x")
    assert RESPONSES.refusal(error)["error"]["message"] == "no more"
