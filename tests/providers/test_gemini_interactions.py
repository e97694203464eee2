"""Gemini's interactions. Shapes: ai.google.dev/api/interactions-api and …/gemini-api/docs/interactions/streaming."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.bounds import Call
from quotaware.core.usage import Usage
from quotaware.errors import QuotaExceeded
from quotaware.providers import naming
from quotaware.providers.base import Report, Unreadable
from quotaware.providers.gemini_interactions import GeminiInteractions
from quotaware.providers.jsontext import parse
from quotaware.providers.registry import find
from tests.providers.test_recorded import feed_all

HOST, PATH = "generativelanguage.googleapis.com", "/v1beta/interactions"
MODEL = "gemini-3-flash-preview"
USAGE = {
    "total_tokens": 300,
    "total_input_tokens": 100,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 60}, {"modality": "image", "tokens": 40}],
    "total_cached_tokens": 30,
    "total_output_tokens": 120,
    "output_tokens_by_modality": [{"modality": "audio", "tokens": 20}],
    "total_tool_use_tokens": 50,
    "total_thought_tokens": 30,
}
USED = Usage(input=150, output=150, cache_read=30, reasoning=30, image_input=40, audio_output=20)
FORM = GeminiInteractions()


def read(**body: Any) -> Call:
    return FORM.read("google", {"model": MODEL, **body})


def named(body: dict[str, Any], **deployments: str) -> Call:
    route = find("POST", HOST, PATH)
    assert route is not None
    assert route.format is not None
    return naming.read(route, route.format, parse(json.dumps(body).encode()), deployments)


def interaction(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "v1_abc", "object": "interaction", "model": MODEL, "status": status} | more


def event(kind: str, **more: Any) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), json.dumps({**more, "event_type": kind}).encode())


CREATED = event("interaction.created", interaction=interaction("in_progress"))
SAID = event("step.delta", index=1, delta={"text": "1, 2, 3, 4, 5, 6, ", "type": "text"})
ENDED = event("interaction.completed", interaction=interaction("completed", usage=USAGE))


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("abcd", 4),
        ([{"type": "text", "text": "abcd"}], len('{"type":"text","text":"abcd"}')),
        (
            [{"type": "user_input", "content": [{"type": "text", "text": "abcd"}]}],
            len('{"type":"text","text":"abcd"}'),
        ),
        (
            [{"type": "function_result", "name": "f", "call_id": "c", "result": {"a": 1}}],
            len('{"type":"function_result","name":"f","call_id":"c","result":{"a":1}}'),
        ),
    ],
)
def test_input_is_a_text_contents_or_steps(given: Any, text: int) -> None:
    call = read(input=given)
    assert (call.text, call.opaque, call.operation) == (text, False, "responses")


@pytest.mark.parametrize(
    ("part", "media", "opaque"),
    [
        ({"type": "image", "data": "AAAA", "mime_type": "image/png"}, 16 * 258, False),
        ({"type": "image", "uri": "https://x/i.png", "mime_type": "image/png"}, 0, True),
        ({"type": "document", "data": "A" * 40_000, "mime_type": "application/pdf"}, 30_000, False),
        ({"type": "video", "data": "AAAA", "mime_type": "video/mp4"}, 0, True),
    ],
)
def test_media(part: dict[str, Any], media: int, opaque: bool) -> None:
    call = read(input=[{"type": "user_input", "content": [part]}])
    assert call.media == pytest.approx(media, abs=5)
    assert call.opaque is opaque


@pytest.mark.parametrize(
    ("more", "opaque", "tools"),
    [
        ({"previous_interaction_id": "v1_x"}, True, 0),
        ({"environment": "remote"}, True, 0),
        ({"tools": [{"type": "function", "name": "f", "parameters": {}}]}, False, 1),
        ({"tools": [{"type": "google_search"}]}, True, 1),
        ({"tools": [{"type": "mcp_server", "url": "https://m"}]}, True, 1),
    ],
)
def test_what_the_body_does_not_show_is_opaque(more: dict[str, Any], opaque: bool, tools: int) -> None:
    call = read(input="hi", **more)
    assert (call.opaque, call.tools) == (opaque, tools)


def test_the_cap_stands_in_the_configuration() -> None:
    body = {"model": MODEL, "input": "hi", "generation_config": {"max_output_tokens": 50, "seed": 1}}
    assert FORM.read("google", body).cap == 50
    assert FORM.cap("google", body, 20) == {"generation_config": {"max_output_tokens": 20, "seed": 1}}
    assert FORM.cap("google", {"input": "hi"}, 20) == {"generation_config": {"max_output_tokens": 20}}
    assert read(input="hi", background=True, stream=True).background
    with pytest.raises(Unreadable, match="generation_config"):
        read(input="hi", generation_config=7)


def test_an_agent_is_known_by_what_its_owner_says() -> None:
    """S10: which model it runs is in no body."""
    body = {"agent": "deep-research-pro-preview-12-2025", "input": "Find a cure", "background": True}
    unknown = named(body)
    assert (unknown.model, unknown.opaque, unknown.sealed) == (None, True, True)
    assert "Quota(deployments=" in unknown.unknown
    known = named(body, **{"deep-research-pro-preview-12-2025": "gemini-3-pro-preview"})
    assert (known.model, known.unknown) == ("gemini-3-pro-preview", "")
    assert named({"model": f"models/{MODEL}", "input": "hi"}).model == MODEL


def test_a_whole_answer() -> None:
    assert FORM.answer(interaction("completed", usage=USAGE)) == Report(MODEL, USED, done=True)
    assert FORM.answer(interaction("requires_action", usage=USAGE)).usage == USED


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_one_under_way_tells_its_usage_later(status: str) -> None:
    report = FORM.answer(interaction(status))
    assert (report.usage, report.later) == (None, "v1_abc")
    started = FORM.answer(interaction(status, usage=USAGE))
    assert started.usage is None


def test_one_that_failed_without_a_word_used_nothing() -> None:
    assert FORM.answer(interaction("failed")).usage == Usage()
    assert FORM.answer(interaction("failed", usage=USAGE)).usage == USED
    assert FORM.answer(interaction("failed", steps=[{"type": "model_output"}])).usage is None


def test_a_stream() -> None:
    report = feed_all(FORM, [CREATED, SAID, SAID, ENDED, b"event: done\ndata: [DONE]\n\n"])[1]
    assert report == Report(MODEL, USED, 9, done=True)


@pytest.mark.parametrize(("model", "billed"), [(MODEL, 3), ("gemini-2.5-flash", 1)])
def test_searches_are_billed_each_or_once_a_prompt(model: str, billed: int) -> None:
    """`GroundingToolCount`; Gemini 2 is billed by the prompt."""
    searched = [{"type": "google_search", "count": 3}, {"type": "google_maps", "count": 5}]
    told = interaction("completed", usage={**USAGE, "grounding_tool_count": searched}, model=model)
    usage = FORM.answer(told).usage
    assert usage is not None
    assert usage.web_searches == billed
    streamed = feed_all(FORM, [event("interaction.completed", interaction=told)])[1]
    assert streamed.usage == usage
    assert read(input="hi", tools=[{"type": "google_search"}]).web_searches == 10
    assert read(input="hi").web_searches == 0


def test_the_tier_is_asked_for_and_told() -> None:
    assert read(input="hi", service_tier="flex").service == (("service_tier", "flex"),)
    told = interaction("completed", usage=USAGE, service_tier="priority")
    assert FORM.answer(told).service == (("service_tier", "priority"),)
    streamed = feed_all(FORM, [event("interaction.completed", interaction=told)])[1]
    assert streamed.service == (("service_tier", "priority"),)


@pytest.mark.parametrize(
    ("more", "sounds"),
    [
        ({"response_modalities": ["audio"]}, True),
        ({"response_format": {"type": "audio"}}, True),
        ({"response_format": [{"type": "text"}, {"type": "video"}]}, True),
        ({"response_format": {"type": "text"}}, False),
        ({}, False),
    ],
)
def test_sound_is_asked_for_in_two_ways(more: dict[str, Any], sounds: bool) -> None:
    assert read(input="hi", **more).audio is sounds


def test_a_cut_stream_counts_what_was_seen() -> None:
    report = feed_all(FORM, [CREATED, SAID, SAID])[1]
    assert (report.usage, report.seen, report.done, report.later) == (None, 9, False, "v1_abc")


@pytest.mark.parametrize(
    ("usage", "read"),
    [
        (None, None),
        ({}, None),
        ({"total_input_tokens": 7}, Usage(input=7)),
        ({"total_input_tokens": 7, "total_output_tokens": -1}, Usage(input=7, output=-1)),
        ({"total_input_tokens": 7, "total_tool_use_tokens": -3}, Usage(input=-3)),
    ],
)
def test_usage(usage: object, read: Usage | None) -> None:
    assert FORM.answer(interaction("completed", usage=usage)).usage == read


@pytest.mark.parametrize(("method", "end"), [("GET", ""), ("GET", "?stream=true"), ("POST", "/cancel")])
def test_asking_for_one_is_a_look_up(method: str, end: str) -> None:
    route = find(method, HOST, f"{PATH}/v1_abc{end}")
    assert route is not None
    assert (route.lookup, route.answer, route.operation) == (True, "v1_abc", "responses")
    assert route.format is not None
    assert route.format.name == "gemini.interactions"


def test_it_is_refused_as_google_does() -> None:
    assert FORM.refusal(QuotaExceeded("spent"))["error"]["status"] == "RESOURCE_EXHAUSTED"


def test_what_was_seen_of_an_event_stays_seen_when_it_is_whole() -> None:
    """Whatever else it says."""
    reader = GeminiInteractions().stream(hide=False)
    reader.feed(b'data: {"delta":{"content":"some words')
    seen = reader.report().seen
    reader.feed(b'"},"interaction":null}\n\n')
    assert reader.report().seen >= seen > 0
