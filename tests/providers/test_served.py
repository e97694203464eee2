"""How calls ask to be served and are, and how often they search: what bears on the price besides tokens.

The shapes are those of recorded answers (`tool_usage`, `server_tool_use`, `serviceTier`, `trafficType`,
`cacheTokensDetails`) and of the types in OpenAI's and Anthropic's SDKs (`service_tier`, `speed`); other values than the
recorded ones, such as ON_DEMAND_PRIORITY, were never seen in an answer.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.prices import Service, service
from quotaware.core.usage import Usage
from quotaware.providers.anthropic_batches import AnthropicBatches
from quotaware.providers.anthropic_messages import AnthropicMessages
from quotaware.providers.base import Format
from quotaware.providers.gemini import GeminiGenerate
from quotaware.providers.openai_chat import OpenAIChat
from quotaware.providers.openai_completions import OpenAICompletions
from quotaware.providers.openai_responses import OpenAIResponses

CHAT = OpenAIChat()
RESPONSES = OpenAIResponses()
MESSAGES = AnthropicMessages()
GEMINI = GeminiGenerate()
FLEX, PRIORITY, FAST = service(service_tier="flex"), service(service_tier="priority"), service(speed="fast")
ASKED = {"model": "m", "messages": [], "input": "hi", "prompt": "hi", "contents": "hi"}


def events(*each: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in each)


def streamed(form: Format, *each: dict[str, Any]) -> Any:
    reader = form.stream(hide=False)
    reader.feed(events(*each))
    return reader.report()


@pytest.mark.parametrize(
    ("form", "members", "asked"),
    [
        (CHAT, {}, ()),
        (CHAT, {"service_tier": "flex"}, FLEX),
        (CHAT, {"service_tier": "Priority"}, PRIORITY),
        (CHAT, {"service_tier": "auto"}, ()),
        (CHAT, {"service_tier": 7}, ()),
        (CHAT, {"service_tier": "x" * 100}, ()),
        (OpenAICompletions(), {"service_tier": "flex"}, FLEX),
        (RESPONSES, {"service_tier": "priority"}, PRIORITY),
        (MESSAGES, {"speed": "fast"}, FAST),
        (MESSAGES, {"service_tier": "auto"}, ()),
        (GEMINI, {"serviceTier": "flex"}, FLEX),
        (GEMINI, {"service_tier": "SERVICE_TIER_PRIORITY"}, PRIORITY),
    ],
)
def test_a_body_says_how_it_asks_to_be_served(form: Format, members: dict[str, Any], asked: Service) -> None:
    assert form.read(None, {**ASKED, **members}).service == asked


CHUNK = {"model": "m", "choices": [{"delta": {"content": "hi"}}]}
TOKENS = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
SIDES = {"input_tokens": 3, "output_tokens": 2}
METADATA = {"promptTokenCount": 3, "candidatesTokenCount": 2}


@pytest.mark.parametrize(
    ("form", "answer", "served"),
    [
        (CHAT, {"usage": TOKENS}, ()),
        (CHAT, {"usage": TOKENS, "service_tier": "default"}, service(service_tier="default")),
        (RESPONSES, {"usage": SIDES, "service_tier": "flex"}, FLEX),
        (MESSAGES, {"usage": {**SIDES, "speed": "fast", "service_tier": "standard"}}, FAST),
        (GEMINI, {"usageMetadata": {**METADATA, "serviceTier": "priority"}}, PRIORITY),
        (GEMINI, {"usageMetadata": {**METADATA, "trafficType": "ON_DEMAND_PRIORITY"}}, PRIORITY),
        (GEMINI, {"usageMetadata": {**METADATA, "trafficType": "PROVISIONED_THROUGHPUT"}}, ()),
    ],
)
def test_an_answer_says_how_it_was_served(form: Format, answer: dict[str, Any], served: Service) -> None:
    report = form.answer(answer)
    assert (report.service, report.usage) == (served, Usage(3, 2))


def test_and_so_do_streams() -> None:
    last = {"model": "m", "choices": [], "usage": TOKENS, "service_tier": "flex"}
    assert streamed(CHAT, {**CHUNK, "service_tier": "flex"}, last).service == FLEX
    ended = {
        "type": "response.completed",
        "response": {"status": "completed", "usage": SIDES, "service_tier": "flex"},
    }
    assert streamed(RESPONSES, ended).service == FLEX
    started = {
        "type": "message_start",
        "message": {"model": "m", "usage": {"input_tokens": 3, "speed": "fast"}},
    }
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}}
    assert streamed(MESSAGES, started, delta).service == FAST
    assert streamed(GEMINI, {"usageMetadata": {**METADATA, "serviceTier": "flex"}}).service == FLEX


SEARCH = {"type": "web_search_call", "action": {"type": "search", "query": "q"}}
OPENED = {"type": "web_search_call", "action": {"type": "open_page", "url": "u"}}
FILES = {"type": "file_search_call"}


def grounded(model: str, *queries: str) -> dict[str, Any]:
    metadata = {"webSearchQueries": list(queries)}
    return {
        "candidates": [{"groundingMetadata": metadata}], "usageMetadata": METADATA, "modelVersion": model,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("form", "answer", "webs", "files"),
    [
        (RESPONSES, {"usage": SIDES, "output": [SEARCH, OPENED, SEARCH, FILES]}, 2, 1),
        (
            RESPONSES,
            {"usage": SIDES, "output": [SEARCH], "tool_usage": {"web_search": {"num_requests": 4}}},
            4,
            0,
        ),
        (RESPONSES, {"usage": SIDES, "output": [{"type": "web_search_call"}, 7]}, 1, 0),
        (MESSAGES, {"usage": {**SIDES, "server_tool_use": {"web_search_requests": 3}}}, 3, 0),
        (GEMINI, grounded("gemini-3.8-flash", "a", "b", "", "a"), 2, 0),
        (GEMINI, grounded("gemini-2.5-flash", "a", "b"), 1, 0),
        (GEMINI, grounded("gemini-2.5-flash"), 0, 0),
    ],
)
def test_searches_that_were_made_are_counted(
    form: Format, answer: dict[str, Any], webs: int, files: int
) -> None:
    assert form.answer(answer).usage == Usage(3, 2, web_searches=webs, file_searches=files)


def test_and_those_of_streams() -> None:
    ended = {
        "type": "response.completed", "response": {"status": "completed", "usage": SIDES, "output": [SEARCH, SEARCH]},
    }  # fmt: skip
    assert streamed(RESPONSES, ended).usage.web_searches == 2
    told = {"output_tokens": 2, "server_tool_use": {"web_search_requests": 1}}
    started = {"type": "message_start", "message": {"model": "m", "usage": {"input_tokens": 3}}}
    assert streamed(MESSAGES, started, {"type": "message_delta", "usage": told}).usage.web_searches == 1
    pieces = [grounded("gemini-3.8-flash", "a"), grounded("gemini-3.8-flash", "a", "b")]
    ended = {
        "candidates": [{"finishReason": "STOP"}],
        "usageMetadata": METADATA,
        "modelVersion": "gemini-3.8-flash",
    }
    assert streamed(GEMINI, *pieces, ended).usage.web_searches == 2


@pytest.mark.parametrize(
    ("form", "members", "webs", "files"),
    [
        (RESPONSES, {"tools": [{"type": "function"}]}, 0, 0),
        (RESPONSES, {"tools": [{"type": "web_search_preview"}]}, 10, 0),
        (RESPONSES, {"tools": [{"type": "web_search"}, {"type": "file_search"}], "max_tool_calls": 3}, 3, 3),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "max_uses": 2}]}, 2, 0),
        (MESSAGES, {"tools": [{"type": "web_search_20250305", "max_uses": "2"}]}, 10, 0),
        (MESSAGES, {"tools": [{"type": "web_fetch_20250910"}, 7]}, 0, 0),
        (GEMINI, {"tools": [{"google_search": {}}]}, 10, 0),
        (GEMINI, {"tools": [{"functionDeclarations": []}]}, 0, 0),
    ],
)
def test_searches_are_bounded_by_what_the_body_says(
    form: Format, members: dict[str, Any], webs: int, files: int
) -> None:
    call = form.read(None, {**ASKED, **members})
    assert (call.web_searches, call.file_searches) == (webs, files)


def test_a_batch_may_search_in_each_of_its_messages() -> None:
    params = {
        "model": "m",
        "max_tokens": 1,
        "messages": [],
        "tools": [{"type": "web_search_20250305", "max_uses": 2}],
    }
    call = AnthropicBatches().read("anthropic", {"model": "m", "requests": [{"params": params}] * 3})
    assert (call.web_searches, call.service) == (6, service(processing="batch"))


def test_cached_tokens_of_a_medium_are_told_apart() -> None:
    details = {
        "cached_tokens": 5,
        "audio_tokens": 4,
        "cached_tokens_details": {"audio_tokens": 3, "image_tokens": 1},
    }
    usage = CHAT.answer({"usage": {**TOKENS, "prompt_tokens": 9, "prompt_tokens_details": details}}).usage
    assert usage == Usage(9, 2, cache_read=5, audio_input=4, cache_read_audio=3, cache_read_image=1)
    told = {
        "promptTokenCount": 40,
        "cachedContentTokenCount": 20,
        "promptTokensDetails": [
            {"modality": "AUDIO", "tokenCount": 9},
            {"modality": "DOCUMENT", "tokenCount": 8},
            {"modality": "VIDEO", "tokenCount": 7},
        ],
        "cacheTokensDetails": [
            {"modality": "AUDIO", "tokenCount": 6},
            {"modality": "IMAGE", "tokenCount": 5},
        ],
    }
    assert GEMINI.answer({"usageMetadata": told}).usage == Usage(
        40,
        0,
        cache_read=20,
        audio_input=9,
        image_input=8,
        video_input=7,
        cache_read_audio=6,
        cache_read_image=5,
    )
