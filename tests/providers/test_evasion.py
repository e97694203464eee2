"""S9: whatever makes a call dearer than it looks is in its bound, or said to be not shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.bounds import Call, input_bound, max_output, output_bound, worst_cost
from quotaware.core.prices import PriceBook
from quotaware.core.usage import Usage
from quotaware.providers import naming
from quotaware.providers.jsontext import parse
from quotaware.providers.registry import find

NOW = 1_786_000_000_000
CHAT = "api.openai.com/v1/chat/completions"
RESPONSES = "api.openai.com/v1/responses"
MESSAGES = "api.anthropic.com/v1/messages"
GEMINI = "generativelanguage.googleapis.com/v1beta/models/gemini-2.5-flash:generateContent"
CONVERSE = "bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-sonnet-4-6/converse"

COMPLETIONS, ASKED = "api.openai.com/v1/completions", {"model": "gpt-3.5-turbo-instruct"}
THINKING = {"thinkingConfig": {"thinkingBudget": 24_000}}
URL = "https://example.com/a"
HI = [{"role": "user", "content": "hi"}]
ASK = {"contents": [{"parts": [{"text": "hi"}]}]}


def call_of(address: str, body: dict[str, Any]) -> Call:
    host, _, path = address.partition("/")
    route = find("POST", host, f"/{path}")
    assert route is not None
    assert route.format is not None
    return naming.read(route, route.format, parse(json.dumps(body).encode()))


def chat(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    content: Any = list(parts) or "hi"
    return {"model": "gpt-4.1", "messages": [{"role": "user", "content": content}], **more}


def response(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"model": "gpt-5", "input": [{"role": "user", "content": list(parts)}], **more}


def message(*blocks: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "model": "claude-sonnet-4-6",
        "max_tokens": 100,
        "messages": [{"role": "user", "content": [*blocks, {"type": "text", "text": "hi"}]}],
        **more,
    }


def content(**part: Any) -> dict[str, Any]:
    return {"contents": [{"parts": [part]}]}


@pytest.mark.parametrize(
    ("address", "body", "output"),
    [
        (CHAT, chat(n=8, max_completion_tokens=100), 800),
        (CHAT, chat(max_tokens=50, max_completion_tokens=400), 400),
        (CHAT, chat(max_tokens=400, max_completion_tokens=50, n=2), 800),
        (CHAT, chat(), max_output("gpt-4.1")),
        (CHAT, chat(n=3), 3 * max_output("gpt-4.1")),
        (COMPLETIONS, {**ASKED, "prompt": ["a", "b"], "n": 2, "best_of": 5, "max_tokens": 10}, 100),
        (RESPONSES, response(max_output_tokens=300, reasoning={"effort": "high"}), 300),
        (MESSAGES, message(max_tokens=9_000, thinking={"type": "enabled", "budget_tokens": 8_000}), 9_000),
        (GEMINI, {**ASK, "generationConfig": {"candidateCount": 4, "maxOutputTokens": 50, **THINKING}}, 200),
        (GEMINI, {**ASK, "generation_config": {"candidate_count": 4, "max_output_tokens": 50}}, 200),
        (GEMINI, {**ASK, "generationConfig": {"candidateCount": 2}}, 2 * max_output("gemini-2.5-flash")),
        (CONVERSE, {"messages": [{"content": [{"text": "hi"}]}], "inferenceConfig": {"maxTokens": 70}}, 70),
        ("api.cohere.com/v2/chat", {"model": "command-a-03-2025", "messages": HI, "max_tokens": 60}, 60),
    ],
)  # fmt: skip
def test_every_answer_is_bounded_at_its_longest(address: str, body: dict[str, Any], output: int) -> None:
    """`n`, `best_of`, `candidateCount`, both caps, none at all, budgets for thinking and reasoning."""
    call = call_of(address, body)
    assert output_bound(call, max_output(call.model)) == output


@pytest.mark.parametrize(
    ("address", "body"),
    [
        (CHAT, chat({"type": "image_url", "image_url": {"url": URL}})),
        (CHAT, chat({"type": "file", "file": {"file_id": "file-1"}})),
        (CHAT, chat(web_search_options={})),
        (CHAT, chat(search_parameters={"mode": "auto"})),
        (CHAT, chat(tools=[{"type": "web_search"}])),
        (CHAT, {**chat(), "messages": [*HI, {"role": "assistant", "audio": {"id": "audio_1"}}]}),
        (CHAT, chat(model="gpt-4o-search-preview")),
        (RESPONSES, response(previous_response_id="resp_1")),
        (RESPONSES, response(conversation="conv_1")),
        (RESPONSES, response(prompt={"id": "pmpt_1"})),
        (RESPONSES, response({"type": "input_file", "file_id": "file-1"})),
        (RESPONSES, response({"type": "input_file", "file_url": URL})),
        (RESPONSES, response({"type": "input_image", "image_url": URL})),
        (RESPONSES, {"model": "gpt-5", "input": [{"type": "item_reference", "id": "msg_1"}]}),
        (RESPONSES, response(reasoning={"mode": "pro"})),
        *(
            (RESPONSES, response(tools=[{"type": kind}]))
            for kind in ("web_search", "file_search", "code_interpreter", "mcp", "image_generation", "shell")
        ),
        (MESSAGES, message({"type": "image", "source": {"type": "url", "url": URL}})),
        (MESSAGES, message({"type": "document", "source": {"type": "url", "url": URL}})),
        (MESSAGES, message({"type": "document", "source": {"type": "file", "file_id": "file_1"}})),
        (MESSAGES, message({"type": "container_upload", "file_id": "file_1"})),
        (MESSAGES, message(container="container_1")),
        (MESSAGES, message(mcp_servers=[{"type": "url", "url": URL}])),
        *(
            (MESSAGES, message(tools=[{"type": kind, "name": "t"}]))
            for kind in ("web_search_20250305", "web_fetch_20250910", "code_execution_20260120")
        ),
        (GEMINI, content(fileData={"fileUri": URL})),
        (GEMINI, content(file_data={"file_uri": URL})),
        (GEMINI, {**ASK, "cachedContent": "cachedContents/1"}),
        *(
            (GEMINI, {**ASK, "tools": [{tool: {}}]})
            for tool in ("googleSearch", "urlContext", "codeExecution", "fileSearch")
        ),
        (CONVERSE, {"messages": [{"role": "user", "content": [{"image": {"source": {"s3Location": {}}}}]}]}),
        ("api.mistral.ai/v1/agents/completions", {"agent_id": "a", "messages": HI}),
        ("api.openai.com/v1/batches", {"input_file_id": "file-1"}),
    ],
)
def test_what_a_body_does_not_show_is_said_to_be_so(address: str, body: dict[str, Any]) -> None:
    """Then it has an allowance, and where the bound is strict it is refused."""
    assert call_of(address, body).opaque


def test_huge_tools_are_in_the_bound() -> None:
    properties = {f"property_{n}": {"type": "string", "description": "x" * 200} for n in range(500)}
    schema = {"type": "object", "properties": properties}
    written = len(json.dumps(schema, separators=(",", ":")))
    for address, body in (
        (CHAT, chat(tools=[{"type": "function", "function": {"name": "f", "parameters": schema}}])),
        (CHAT, chat(response_format={"type": "json_schema", "json_schema": {"schema": schema}})),
        (RESPONSES, response(tools=[{"type": "function", "name": "f", "parameters": schema}])),
        (RESPONSES, response(text={"format": {"type": "json_schema", "schema": schema}})),
        (MESSAGES, message(tools=[{"name": "f", "input_schema": schema}])),
        (MESSAGES, message(output_config={"format": {"type": "json_schema", "schema": schema}})),
        (GEMINI, {**ASK, "tools": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}]}),
        (GEMINI, {**ASK, "generationConfig": {"responseSchema": schema}}),
        (CONVERSE, {
            "messages": [{"role": "user", "content": [{"text": "hi"}]}],
            "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": schema}}}]},
        }),
    ):  # fmt: skip
        call = call_of(address, body)
        assert input_bound(call, "strict") >= written
        assert input_bound(call, "calibrated") >= written // 5


def test_a_write_to_the_cache_is_in_the_worst_cost() -> None:
    """Anthropic bills it at twice the input for an hour; a body that asks for none is bounded without."""
    price = PriceBook().find("anthropic", "claude-sonnet-4-6", NOW)
    assert price is not None
    kept = {"type": "text", "text": "hello", "cache_control": {"type": "ephemeral", "ttl": "1h"}}
    plain, cached = call_of(MESSAGES, message()), call_of(MESSAGES, message(kept))
    written = Usage(input=10_000, cache_write=10_000, cache_write_1h=10_000)
    assert worst_cost(price, cached, 10_000, 0) >= price.cost(written)
    assert worst_cost(price, plain, 10_000, 0) < price.cost(written)


def test_a_longer_context_is_in_the_worst_cost() -> None:
    """Above 200,000 tokens of input Gemini 2.5 Pro costs more for all of it."""
    price = PriceBook().find("google", "gemini-2.5-pro", NOW)
    assert price is not None
    call = call_of(GEMINI, ASK)
    for size in (199_000, 200_001, 900_000):
        assert worst_cost(price, call, size, 1_000) >= price.cost(Usage(input=size, output=1_000))


def test_what_is_answered_later_is_known_to_be() -> None:
    assert call_of(RESPONSES, response(background=True)).background
    batch = {"requests": [{"custom_id": "1", "params": message(max_tokens=500)}] * 3}
    call = call_of("api.anthropic.com/v1/messages/batches", batch)
    assert call.background
    assert output_bound(call, 128_000) == 1_500
    assert input_bound(call, "calibrated") == 3 * input_bound(call_of(MESSAGES, message()), "calibrated")
