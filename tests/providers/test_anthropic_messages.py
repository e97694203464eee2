"""Anthropic's messages and token counting: the request, the answer, the stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.usage import Usage
from quotaware.providers.anthropic_messages import AnthropicCountTokens, AnthropicMessages, messages_usage
from quotaware.providers.base import Report, Unreadable

MESSAGES = AnthropicMessages()
HI = [{"role": "user", "content": "hi"}]


def body(**members: Any) -> dict[str, Any]:
    return {"model": "claude-sonnet-4-5", "max_tokens": 100, "messages": HI, **members}


def read(**members: Any) -> Any:
    return MESSAGES.read("anthropic", body(**members))


def with_block(block: Any, model: str = "claude-sonnet-4-5") -> Any:
    return read(model=model, messages=[{"role": "user", "content": [block]}])


def event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def text(words: str, **names: str) -> bytes:
    return event("content_block_delta", index=0, delta=names or {"type": "text_delta", "text": words})


USAGE = {
    "input_tokens": 10,
    "cache_creation_input_tokens": 5,
    "cache_read_input_tokens": 3,
    "output_tokens": 1,
}
START = event("message_start", message={"model": "claude-sonnet-4-5-20250929", "usage": USAGE})
FINAL = event("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 42})
STOP = event("message_stop")


def report(stream: bytes) -> Report:
    reader = MESSAGES.stream(hide=False)
    assert reader.feed(stream) is stream
    return reader.report()


def test_a_plain_request_is_read_whole() -> None:
    call = read(stream=True, system="be brief")
    assert (call.provider, call.operation, call.model) == ("anthropic", "chat", "claude-sonnet-4-5")
    assert (call.stream, call.choices, call.cap, call.generates, call.free) == (True, 1, 100, True, False)
    assert (call.text, call.parts, call.media, call.opaque) == (len("be briefuserhi"), 1, 0, False)


def test_a_request_without_max_tokens_is_left_to_the_provider_to_refuse() -> None:
    assert read(max_tokens=None).cap is None


@pytest.mark.parametrize("value", [True, -1, 1.5, "100", 2**64])
def test_a_cap_that_is_no_whole_number_is_named(value: object) -> None:
    """I-20: nothing but a whole number bounds a call."""
    with pytest.raises(Unreadable, match="max_tokens"):
        read(max_tokens=value)


@pytest.mark.parametrize("members", [{"model": 7}, {"model": ""}, {"messages": None}, {"stream": 1}])
def test_a_request_that_cannot_be_read_names_the_member(members: dict[str, Any]) -> None:
    with pytest.raises(Unreadable, match=next(iter(members))):
        read(**members)


def test_all_that_the_model_reads_is_counted() -> None:
    messages = [
        {"role": "user", "content": [{"type": "text", "text": "é"}]},
        {
            "role": "assistant",
            "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "bc"}}],
        },
        {"role": "user", "content": [{"type": "tool_result", "content": [{"type": "text", "text": "out"}]}]},
    ]
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    schema = {"format": {"type": "json_schema"}}
    call = read(
        messages=messages, tools=tools, output_config=schema, system=[{"type": "text", "text": "sys"}]
    )
    compact = sum(len(json.dumps(value, separators=(",", ":"))) for value in (tools, schema))
    words = "textsysusertextassistanttool_uset1fusertool_resulttextout" + '{"a":"bc"}'
    assert call.text == len(words) + 2 + compact
    assert (sum(call.kinds[5:]), call.tools, call.opaque) == (2, 1, False)
    assert call.parts == 3 + 1 + 1 + 1 + 1 + 1 + 1


@pytest.mark.parametrize(
    ("model", "tokens"),
    [
        ("claude-sonnet-4-5", 1_600),
        ("claude-3-haiku-20240307", 1_600),
        ("claude-opus-4-20250514", 1_600),
        ("claude-opus-4-7", 4_800),
        ("claude-sonnet-5", 4_800),
    ],
)
def test_an_image_in_the_body_counts_the_most_that_one_can_take(model: str, tokens: int) -> None:
    """Newer models look at larger images."""
    source = {"type": "base64", "media_type": "image/png", "data": "A" * 4_000}
    assert with_block({"type": "image", "source": source}, model).media == tokens
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "image", "source": source}]}
    call = with_block(result, model)
    assert (call.media, call.opaque, call.text) == (tokens, False, len("usertool_resulttimage"))


def test_a_document_in_the_body_is_bounded_by_its_bytes_or_its_text() -> None:
    pdf = {"type": "base64", "media_type": "application/pdf", "data": "A" * 400_000}
    assert with_block({"type": "document", "source": pdf}).media == 300_001
    small = {"type": "base64", "media_type": "application/pdf", "data": "AAAA"}
    assert with_block({"type": "document", "source": small}).media == 8_000
    plain = {"type": "text", "media_type": "text/plain", "data": "words"}
    assert with_block({"type": "document", "source": plain}).text == len("userdocumentwords")
    nested = {"type": "content", "content": [{"type": "text", "text": "words"}]}
    call = with_block({"type": "document", "source": nested})
    assert (call.text, call.opaque) == (len("userdocumenttextwords"), False)


@pytest.mark.parametrize(
    "block",
    [
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}},
        {"type": "document", "source": {"type": "base64"}},
        {"type": "container_upload", "file_id": "file_1"},
    ],
)
def test_what_the_body_does_not_show_is_opaque(block: dict[str, Any]) -> None:
    """S9: addresses and ids of what lies elsewhere."""
    assert with_block(block).opaque


@pytest.mark.parametrize(
    "members",
    [
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
        {"tools": [{"type": "a_tool_of_next_year", "name": "x"}]},
        {"container": "container_1"},
        {"mcp_servers": [{"url": "https://example.com"}]},
    ],
)
def test_what_the_provider_brings_in_itself_is_opaque(members: dict[str, Any]) -> None:
    assert read(**members).opaque


def test_a_tool_that_the_provider_describes_counts_without_its_schema_in_the_body() -> None:
    call = read(tools=[{"type": "bash_20250124", "name": "bash"}, {"type": "custom", "name": "f"}])
    assert (call.media, call.tools, call.opaque) == (1_500, 2, False)


@pytest.mark.parametrize(
    "members",
    [
        {"cache_control": {"type": "ephemeral"}},
        {"system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
                }
            ]
        },
        {"tools": [{"name": "f", "input_schema": {}, "cache_control": {"type": "ephemeral"}}]},
    ],
)
def test_a_write_to_the_cache_is_seen_wherever_it_is_asked_for(members: dict[str, Any]) -> None:
    assert read(**members).cache_write
    assert not read().cache_write
    assert MESSAGES.read(None, body()).cache_write


@pytest.mark.parametrize(
    "content", [None, 7, "text", [None, 7, ["deep"]], {"type": "text", "text": "x"}, {"type": []}]
)
def test_content_of_any_shape_is_counted_and_left_to_the_provider_to_refuse(content: object) -> None:
    assert (
        read(messages=[{"role": "user", "content": content}, "odd", None], system=content, tools="odd").text
        >= 4
    )


def test_a_cap_is_lowered_never_raised() -> None:
    assert MESSAGES.cap("anthropic", body(), 300) == {"max_tokens": 100}
    assert MESSAGES.cap("anthropic", body(max_tokens=900), 300) == {"max_tokens": 300}
    assert MESSAGES.cap("anthropic", body(max_tokens=None), 300) == {"max_tokens": 300}


def test_a_budget_for_thinking_stays_below_the_cap() -> None:
    thinking = {"type": "enabled", "budget_tokens": 8_000}
    lowered = {"max_tokens": 4_000, "thinking": {"type": "enabled", "budget_tokens": 2_000}}
    assert MESSAGES.cap("anthropic", body(max_tokens=9_000, thinking=thinking), 4_000) == lowered
    assert MESSAGES.cap("anthropic", body(max_tokens=9_000, thinking=thinking), 8_500) == {
        "max_tokens": 8_500
    }


def test_a_stream_reports_its_usage_unasked() -> None:
    assert MESSAGES.ask_usage(body(stream=True)) == {}


def test_cached_input_is_part_of_the_input() -> None:
    assert messages_usage(
        {
            "input_tokens": 6,
            "cache_creation_input_tokens": 574,
            "cache_read_input_tokens": 20_443,
            "cache_creation": {"ephemeral_5m_input_tokens": 74, "ephemeral_1h_input_tokens": 500},
            "output_tokens": 489,
            "output_tokens_details": {"thinking_tokens": 77},
        }
    ) == Usage(input=21_023, output=489, cache_read=20_443, cache_write=574, cache_write_1h=500, reasoning=77)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"input_tokens": 1, "output_tokens": 2}, Usage(input=1, output=2)),
        ({"input_tokens": 0, "output_tokens": 0}, Usage()),
        (
            {
                "input_tokens": 1,
                "output_tokens": 2,
                "cache_creation": {"ephemeral_5m_input_tokens": 4, "ephemeral_1h_input_tokens": 3},
            },
            Usage(input=8, output=2, cache_write=7, cache_write_1h=3),
        ),
        ({"input_tokens": 1, "output_tokens": 2, "cache_read_input_tokens": "9"}, Usage(input=1, output=2)),
        (
            {"input_tokens": -1, "output_tokens": 2, "cache_read_input_tokens": 9},
            Usage(input=-1, output=2, cache_read=9),
        ),
        ({"input_tokens": 2**63, "output_tokens": 2}, Usage(input=2**63, output=2)),
        ({"input_tokens": 1}, None),
        ({"output_tokens": 2}, None),
        ({"input_tokens": "1", "output_tokens": 2}, None),
        ({"input_tokens": True, "output_tokens": 2}, None),
        ({"input_tokens": 1, "output_tokens": float("nan")}, None),
        ({"input_tokens": 1, "output_tokens": float("inf")}, None),
        ({}, None),
        (None, None),
        ([1], None),
    ],
)
def test_reported_numbers_are_taken_or_left(usage: object, expected: Usage | None) -> None:
    """I-20: garbage is not reported; a negative or absurd number is passed on for the engine to mark."""
    assert messages_usage(usage) == expected


@pytest.mark.parametrize("answer", [None, [], {}, {"type": "error", "error": {}}, {"model": 1, "usage": 2}])
def test_a_whole_answer_without_usage_reports_none(answer: object) -> None:
    assert MESSAGES.answer(answer) == Report(done=True)


def test_a_stream_reports_model_usage_and_end() -> None:
    stream = START + text("hello") + event("ping") + FINAL + STOP
    usage = Usage(input=18, output=42, cache_read=3, cache_write=5)
    assert report(stream) == Report("claude-sonnet-4-5-20250929", usage, seen=2, done=True)


def test_before_its_final_usage_the_input_is_known_and_the_output_is_counted() -> None:
    found = report(START + text("a") + text("b"))
    assert found.usage == Usage(input=18, output=1, cache_read=3, cache_write=5)
    assert (found.seen, found.done) == (2, False)


def test_the_final_usage_is_the_true_one_even_if_the_end_is_cut_off() -> None:
    """I-22: from the usage on nothing else is charged, though `message_stop` never came."""
    assert report(START + FINAL).done


def test_a_later_report_of_the_input_wins_where_it_says_anything() -> None:
    final = event(
        "message_delta",
        delta={"stop_reason": "end_turn"},
        usage={"input_tokens": 50, "cache_read_input_tokens": None, "output_tokens": 42},
    )
    assert report(START + final).usage == Usage(input=58, output=42, cache_read=3, cache_write=5)


def test_output_in_several_deltas_is_cumulative() -> None:
    running = b"".join(
        event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": n}) for n in (5, 9)
    )
    found = report(START + running)
    assert found.usage is not None
    assert (found.usage.output, found.done) == (9, False)


def test_an_error_in_the_middle_leaves_the_stream_unfinished() -> None:
    found = report(START + text("a") + event("error", error={"type": "overloaded_error"}))
    assert (found.seen, found.done) == (1, False)


@pytest.mark.parametrize(
    ("name", "kind"),
    [("text", "text_delta"), ("thinking", "thinking_delta"), ("partial_json", "input_json_delta")],
)
def test_all_that_is_generated_counts_as_seen(name: str, kind: str) -> None:
    assert report(text("", type=kind, **{name: "12345"})).seen == 2


def test_what_is_not_generated_does_not_count() -> None:
    """Signatures, and results of tools that the provider ran."""
    result = {"type": "mcp_tool_result", "content": [{"type": "text", "text": "long"}]}
    assert report(text("", type="signature_delta", signature="long")).seen == 0
    assert report(event("content_block_start", content_block=result)).seen == 0


def test_a_text_that_speaks_of_events_is_no_event() -> None:
    assert not report(START + text('{"type":"message_stop"} message_delta')).done


@pytest.mark.parametrize(
    "broken",
    [
        b'data: {"type":"message_start"}\n\n',
        b'data: {"type":"message_delta","usage":7}\n\n',
        b'data: {"message_\n\n',
    ],
)
def test_broken_events_report_nothing(broken: bytes) -> None:
    assert report(broken) == Report()


def test_counting_tokens_is_free_and_uses_nothing() -> None:
    form = AnthropicCountTokens()
    call = form.read("anthropic", {"model": "claude-sonnet-5", "messages": HI})
    assert (call.operation, call.model, call.free, call.generates) == (
        "count_tokens",
        "claude-sonnet-5",
        True,
        False,
    )
    assert form.answer({"input_tokens": 2_000}) == Report(done=True)
    assert form.cap("anthropic", {}, 9) == form.ask_usage({}) == {}
    with pytest.raises(Unreadable, match="model"):
        form.read("anthropic", {"messages": HI})
