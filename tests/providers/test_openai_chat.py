"""OpenAI's chat completions: the request, the answer, the stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.usage import Usage
from quotaware.providers.base import Report, Unreadable
from quotaware.providers.openai_chat import OpenAIChat, chat_usage

CHAT = OpenAIChat()
HI = [{"role": "user", "content": "hi"}]


def body(**members: Any) -> dict[str, Any]:
    return {"model": "gpt-4o", "messages": HI, **members}


def chunk(**members: Any) -> bytes:
    return b"data: " + json.dumps({"model": "gpt-4o-2024", "choices": [], **members}).encode() + b"\n\n"


def said(text: str) -> bytes:
    return chunk(choices=[{"index": 0, "delta": {"content": text}}], usage=None)


USAGE = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
DONE = b"data: [DONE]\n\n"


def report(stream: bytes) -> Report:
    reader = CHAT.stream(hide=False)
    reader.feed(stream)
    return reader.report()


def test_a_plain_request_is_read_whole() -> None:
    call = CHAT.read("openai", body(stream=True, n=2, max_completion_tokens=50))
    assert (call.provider, call.operation, call.model) == ("openai", "chat", "gpt-4o")
    assert (call.stream, call.choices, call.cap, call.generates, call.free) == (True, 2, 50, True, False)
    assert (call.text, sum(call.kinds[5:]), call.parts, call.media, call.opaque) == (
        len("userhi"),
        0,
        1,
        0,
        False,
    )


def test_what_is_not_said_has_its_default() -> None:
    call = CHAT.read(None, body(stream=None, n=None, max_tokens=None))
    assert (call.provider, call.stream, call.choices, call.cap) == (None, False, 1, None)


def test_of_two_caps_the_larger_bears() -> None:
    """S9: which of them a server obeys is not known, so the bound must hold for both."""
    assert CHAT.read("openai", body(max_tokens=10, max_completion_tokens=90)).cap == 90
    assert CHAT.read("openai", body(max_tokens=90, max_completion_tokens=10)).cap == 90


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "n", "best_of"])
@pytest.mark.parametrize("value", [True, -1, 1.5, "100", [1], 2**63, 2**64])
def test_a_count_that_is_none_is_named(name: str, value: object) -> None:
    """I-20: nothing but a whole number bounds a call."""
    with pytest.raises(Unreadable, match=name):
        CHAT.read("openai", body(**{name: value}))


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"model": None}, "model"),
        ({"model": ["gpt-4o"]}, "model"),
        ({"messages": None}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"stream": "true"}, "stream"),
        ({"n": 0}, "n"),
    ],
)
def test_a_request_that_cannot_be_read_names_the_member(members: dict[str, Any], named: str) -> None:
    with pytest.raises(Unreadable, match=named) as caught:
        CHAT.read("openai", body(**members))
    assert caught.value.code == ("model_ambiguous" if named == "model" else "body_unreadable")


def test_best_of_counts_like_n() -> None:
    assert CHAT.read("openai", body(n=2, best_of=5)).choices == 5


def test_all_that_the_model_reads_is_counted() -> None:
    messages = [
        {"role": "system", "content": "é", "name": "bot"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "user", "content": [{"type": "text", "text": "two"}, {"type": "text", "text": "three"}]},
    ]
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    schema = {"type": "json_schema", "json_schema": {"name": "s"}}
    call = CHAT.read(
        "openai", body(messages=messages, tools=tools, response_format=schema, prediction={"content": "seen"})
    )
    compact = sum(len(json.dumps(value, separators=(",", ":"))) for value in (tools, schema))
    words = "systembotassistantf{}usertexttwotextthreeseen"
    assert call.text == len(words) + 2 + compact
    assert (sum(call.kinds[5:]), call.parts, call.tools, call.opaque) == (2, 3 + 2 + 1, 1, False)


def with_part(part: Any, model: str = "gpt-4o") -> Any:
    return CHAT.read("openai", body(model=model, messages=[{"role": "user", "content": [part]}]))


def image(detail: str | None = None, url: str = "data:image/png;base64,AAAA") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url} | ({"detail": detail} if detail else {})}


@pytest.mark.parametrize(
    ("model", "detail", "tokens"),
    [
        ("gpt-4o", "low", 85),
        ("gpt-4o-2024-08-06", None, 1_445),
        ("openai/gpt-4o", "high", 1_445),
        ("ft:gpt-4o:acme", "auto", 1_445),
        ("gpt-4o-mini", "low", 2_833),
        ("gpt-4o-mini", "high", 48_169),
        ("gpt-4.1-nano", "low", 3_779),
        ("o3", "high", 1_275),
        ("some-other-model", "low", 16_384),
    ],
)
def test_an_image_in_the_body_counts_the_most_that_one_can_take(model: str, detail: str, tokens: int) -> None:
    call = with_part(image(detail), model)
    assert (call.media, call.opaque) == (tokens, False)


@pytest.mark.parametrize(
    "part",
    [
        image(url="https://example.com/a.png"),
        {"type": "image_url", "image_url": None},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"file_data": "https://example.com/a.pdf"}},
        {"type": "input_audio", "input_audio": {"id": "audio-1"}},
        {"type": "document_url", "document_url": "https://example.com/a.pdf"},
        {"type": "video_url", "video_url": {"url": "data:video/mp4;base64,AAAA"}},
        {"type": ["odd"]},
    ],
)
def test_what_the_body_does_not_show_is_opaque(part: dict[str, Any]) -> None:
    """S9: addresses, ids and kinds of content that nobody here knows."""
    assert with_part(part).opaque


@pytest.mark.parametrize(
    "members",
    [
        {"web_search_options": {"search_context_size": "low"}},
        {"plugins": [{"id": "web"}]},
        {"search_parameters": {"mode": "on"}},
        {"tools": [{"type": "browser_search"}]},
        {"messages": [{"role": "assistant", "audio": {"id": "audio_1"}}]},
    ],
)
def test_what_the_provider_brings_in_itself_is_opaque(members: dict[str, Any]) -> None:
    assert CHAT.read("openai", body(**members)).opaque


@pytest.mark.parametrize(
    ("container", "size", "least", "most"), [("wav", 480_000, 100, 2_500), ("mp3", 20_000, 100, 1_000)]
)
def test_sound_in_the_body_is_bounded_by_its_bytes(container: str, size: int, least: int, most: int) -> None:
    """Ten seconds take 100 tokens at OpenAI, 320 at most elsewhere."""
    call = with_part(
        {"type": "input_audio", "input_audio": {"data": "A" * (size * 4 // 3), "format": container}}
    )
    assert least < call.media < most
    assert call.audio
    assert not call.opaque


def test_sound_that_is_asked_for_is_marked() -> None:
    assert CHAT.read("openai", body(audio={"voice": "alloy"}, modalities=["text", "audio"])).audio
    assert not CHAT.read("openai", body()).audio


@pytest.mark.parametrize(
    "part",
    [
        {
            "type": "file",
            "file": {"file_data": "data:application/pdf;base64," + "A" * 400_000, "filename": "a"},
        },
        {"type": "document_url", "document_url": "data:application/pdf;base64," + "A" * 400_000},
    ],
)
def test_a_document_in_the_body_is_bounded_by_its_bytes(part: dict[str, Any]) -> None:
    call = with_part(part)
    assert call.media == 300_001
    assert not call.opaque


def test_messages_of_any_shape_are_counted_and_left_to_the_provider_to_refuse() -> None:
    call = CHAT.read("openai", body(messages=["hi", None, 7, {"content": ["yo", None]}]))
    assert (call.text, call.parts) == (5, 6)


@pytest.mark.parametrize(
    ("provider", "members", "changes"),
    [
        ("openai", {}, {"max_completion_tokens": 300}),
        ("azure", {"max_tokens": None}, {"max_completion_tokens": 300}),
        ("groq", {}, {"max_tokens": 300}),
        (None, {}, {"max_tokens": 300}),
        ("openai", {"max_tokens": 900}, {"max_tokens": 300}),
        ("groq", {"max_completion_tokens": 900}, {"max_completion_tokens": 300}),
        (
            "openai",
            {"max_tokens": 900, "max_completion_tokens": 40},
            {"max_tokens": 300, "max_completion_tokens": 40},
        ),
    ],
)
def test_a_cap_is_set_under_the_name_that_the_server_knows(
    provider: str | None, members: dict[str, Any], changes: dict[str, Any]
) -> None:
    """A cap that the body names is lowered under its own name, never raised: no server takes both names."""
    assert CHAT.cap(provider, body(**members), 300) == changes


@pytest.mark.parametrize(
    ("members", "changes"),
    [
        ({}, {}),
        ({"stream": False}, {}),
        ({"stream": True}, {"stream_options": {"include_usage": True}}),
        ({"stream": True, "stream_options": None}, {"stream_options": {"include_usage": True}}),
        ({"stream": True, "stream_options": {"include_usage": True}}, {}),
        (
            {"stream": True, "stream_options": {"include_usage": False, "include_obfuscation": False}},
            {"stream_options": {"include_usage": True, "include_obfuscation": False}},
        ),
        ({"stream": True, "stream_options": "odd"}, {}),
    ],
)
def test_a_stream_is_asked_for_its_usage(members: dict[str, Any], changes: dict[str, Any]) -> None:
    assert CHAT.ask_usage(body(**members)) == changes


def test_a_server_that_refuses_stream_options_is_not_asked() -> None:
    assert OpenAIChat(asks=False).ask_usage(body(stream=True)) == {}


def test_usage_is_read_in_all_its_parts() -> None:
    assert chat_usage(
        {
            "prompt_tokens": 100,
            "completion_tokens": 50,
            "prompt_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 30, "audio_tokens": 20},
            "completion_tokens_details": {"reasoning_tokens": 10, "audio_tokens": 5},
        }
    ) == Usage(
        input=100, output=50, cache_read=40, cache_write=30, reasoning=10, audio_input=20, audio_output=5
    )


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (USAGE, Usage(input=9, output=4)),
        (
            USAGE | {"prompt_tokens_details": None, "completion_tokens_details": None},
            Usage(input=9, output=4),
        ),
        (USAGE | {"total_tokens": 99}, Usage(input=9, output=4)),
        (USAGE | {"prompt_cache_hit_tokens": 3}, Usage(input=9, output=4, cache_read=3)),
        (USAGE | {"cached_tokens": 2}, Usage(input=9, output=4, cache_read=2)),
        ({"prompt_tokens": 9, "total_tokens": 13}, Usage(input=9, output=4)),
        ({"completion_tokens": 4, "total_tokens": 13}, Usage(input=9, output=4)),
        ({"prompt_tokens": 0, "completion_tokens": 0}, Usage()),
        ({"prompt_tokens": 9.0, "completion_tokens": 4.0}, Usage(input=9, output=4)),
        ({"prompt_tokens": -9, "completion_tokens": 4}, Usage(input=-9, output=4)),
        ({"prompt_tokens": 2**64, "completion_tokens": 4}, Usage(input=2**64, output=4)),
        (USAGE | {"completion_tokens_details": {"reasoning_tokens": "3"}}, Usage(input=9, output=4)),
        ({"total_tokens": 13}, None),
        ({"prompt_tokens": 9}, None),
        ({"prompt_tokens": "9", "completion_tokens": 4}, None),
        ({"prompt_tokens": True, "completion_tokens": 4}, None),
        ({"prompt_tokens": None, "completion_tokens": 4}, None),
        ({"prompt_tokens": "1e3", "completion_tokens": 4}, None),
        ({"prompt_tokens": 9, "completion_tokens": float("nan")}, None),
        ({"prompt_tokens": float("inf"), "completion_tokens": 4}, None),
        ({"prompt_tokens": 0.1 + 0.2, "completion_tokens": 4}, None),
        ({}, None),
        ([], None),
        (None, None),
        ("odd", None),
    ],
)
def test_reported_numbers_are_taken_or_left(usage: object, expected: Usage | None) -> None:
    """I-20: garbage is not reported; a negative or absurd number is passed on for the engine to mark."""
    assert chat_usage(usage) == expected


@pytest.mark.parametrize(
    "answer", [None, [], "text", 7, {}, {"error": {"message": "no"}}, {"model": 1, "usage": 2}]
)
def test_a_whole_answer_without_usage_reports_none(answer: object) -> None:
    assert CHAT.answer(answer) == Report(done=True)


def test_a_stream_reports_model_usage_and_end() -> None:
    stream = said("hel") + said("lo") + chunk(usage=USAGE) + DONE
    assert report(stream) == Report("gpt-4o-2024", Usage(input=9, output=4), seen=2, done=True)


def test_a_stream_that_reports_nothing_is_counted() -> None:
    """Deltas with text count one token each at least, long ones by their bytes."""
    assert report(said("") + said("a") + said("b") + DONE) == Report("gpt-4o-2024", None, seen=2, done=True)
    assert report(said("x" * 41)).seen == 11


def test_of_two_usage_chunks_the_last_wins() -> None:
    """I-20: two usage chunks, and a server that reports a running total in every chunk."""
    running = [
        chunk(choices=[{"delta": {"content": "a"}}], usage=USAGE | {"completion_tokens": n})
        for n in (1, 2, 3)
    ]
    assert report(b"".join(running)) == Report("gpt-4o-2024", Usage(input=9, output=3), seen=3, done=False)
    assert report(chunk(usage=USAGE) + chunk(usage=USAGE | {"completion_tokens": 8})).usage == Usage(
        input=9, output=8
    )


def test_a_broken_usage_chunk_does_not_take_back_what_was_reported() -> None:
    assert report(chunk(usage=USAGE) + chunk(usage={"prompt_tokens": None})).usage == Usage(input=9, output=4)


def test_usage_in_a_groq_member_is_read() -> None:
    stream = chunk(choices=[{"delta": {}}], x_groq={"id": "1", "usage": USAGE})
    assert report(stream).usage == Usage(input=9, output=4)


def test_the_usage_after_all_text_is_the_true_one_even_if_the_end_is_cut_off() -> None:
    """I-22: from the usage on nothing else is charged, though `[DONE]` never came."""
    assert report(said("a") + chunk(usage=USAGE)).done
    assert not report(said("a") + chunk(usage=USAGE) + said("b")).done
    assert not report(said("a")).done


def test_an_error_in_the_middle_leaves_the_stream_unfinished() -> None:
    assert report(said("a") + b'data: {"error":{"message":"overloaded"}}\n\n') == Report(
        "gpt-4o-2024", seen=1
    )


def test_the_model_is_the_first_that_is_named() -> None:
    assert report(chunk(model="") + chunk(model="a") + chunk(model="b")).model == "a"


def test_a_text_that_speaks_of_usage_is_no_usage() -> None:
    text = '{"usage": {"prompt_tokens": 1, "completion_tokens": 1}} data: [DONE]'
    assert report(said(text)) == Report("gpt-4o-2024", None, seen=-(-len(text) // 4), done=False)


@pytest.mark.parametrize("name", ["content", "reasoning_content", "reasoning", "refusal"])
def test_all_that_is_generated_counts_as_seen(name: str) -> None:
    assert report(chunk(choices=[{"delta": {name: "word"}}])).seen == 1


def test_tool_calls_and_listed_content_count_as_seen() -> None:
    calls = {"tool_calls": [{"function": {"arguments": '{"a":'}}]}
    listed = {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]}
    assert report(chunk(choices=[{"delta": calls}]) + chunk(choices=[{"delta": listed}])).seen == 2


def test_hiding_leaves_out_the_usage_chunk_alone() -> None:
    """The app that did not ask for usage sees the stream as it would have been."""
    reader = CHAT.stream(hide=True)
    assert reader.feed(said("a")) == said("a")
    assert reader.feed(chunk(usage=USAGE)) == b""
    assert reader.feed(DONE) == DONE
    assert reader.flush() == b""
    assert reader.report() == Report("gpt-4o-2024", Usage(input=9, output=4), seen=1, done=True)


@pytest.mark.parametrize(
    "kept",
    [
        chunk(usage=None),
        chunk(choices=[{"delta": {}}], usage=USAGE),
        chunk(prompt_filter_results=[]),
        b": ping\n\n",
    ],
)
def test_hiding_leaves_all_else(kept: bytes) -> None:
    assert CHAT.stream(hide=True).feed(kept) == kept


def test_hiding_passes_an_event_on_as_soon_as_it_is_whole() -> None:
    reader, event = CHAT.stream(hide=True), said("a")
    assert reader.feed(event[:-1]) == b""
    assert reader.report().seen == 1
    assert reader.feed(event[-1:] + event[:5]) == event
    assert reader.flush() == event[:5]


def test_a_usage_chunk_that_lacks_its_blank_line_is_hidden_too() -> None:
    """A stream cut right there: the app would read it as a chunk without choices."""
    reader = CHAT.stream(hide=True)
    assert reader.feed(said("a") + chunk(usage=USAGE).rstrip()) == said("a")
    assert reader.flush() == b""
    assert reader.report() == Report("gpt-4o-2024", Usage(input=9, output=4), seen=1, done=True)


def test_hiding_holds_no_endless_line_back() -> None:
    """S7: an over-long event passes unread while it still comes in."""
    reader, part = CHAT.stream(hide=True), b"x" * (1 << 20)
    passed = b"".join(
        [reader.feed(b'data: {"usage":{},"a":"'), *(reader.feed(part) for _ in range(4)), reader.flush()]
    )
    assert passed == b'data: {"usage":{},"a":"' + part * 4
    assert reader.report() == Report()


def test_a_whole_event_keeps_its_object() -> None:
    """Without hiding the bytes are handed on themselves, not a copy."""
    event = said("a")
    assert CHAT.stream(hide=False).feed(event) is event


@pytest.mark.parametrize(
    ("model", "opaque"),
    [
        ("compound-beta", True),
        ("groq/compound", True),
        ("compounds", False),
        ("sonar-pro", True),
        ("perplexity/sonar", True),
        ("gpt-4o-search-preview-2025-03-11", True),
        ("gpt-5-search-api", True),
        ("o3-deep-research", True),
        ("openai/gpt-4.1:online", True),
        ("gpt-4.1", False),
        ("my-research", False),
    ],
)
def test_a_model_that_searches_by_itself_is_opaque(model: str, opaque: bool) -> None:
    assert OpenAIChat().read(None, {"model": model, "messages": []}).opaque is opaque


def test_reasoning_that_is_told_beside_the_output_is_part_of_it() -> None:
    """As xAI does; what adds up already is left as it is."""
    beside = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22}
    details = {"completion_tokens_details": {"reasoning_tokens": 7}}
    assert chat_usage({**beside, **details}) == Usage(input=10, output=12, reasoning=7)
    assert chat_usage({**beside, "total_tokens": 15, **details}) == Usage(input=10, output=5, reasoning=7)
    assert chat_usage({**beside, "total_tokens": 23, **details}) == Usage(input=10, output=5, reasoning=7)
