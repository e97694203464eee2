"""A cap that is written leaves a body that the provider takes: what it says of thinking still fits below it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.bounds import Call
from quotaware.providers.anthropic_batches import AnthropicBatches
from quotaware.providers.anthropic_messages import AnthropicMessages
from quotaware.providers.base import Format
from quotaware.providers.bedrock_converse import BedrockConverse
from quotaware.providers.bedrock_invoke import BedrockInvoke
from quotaware.providers.jsontext import edit, parse
from quotaware.providers.openai_chat import OpenAIChat
from quotaware.providers.openai_responses import OpenAIResponses

LEAST_BUDGET = 1_024
"""Anthropic's "Extended thinking": the least `budget_tokens`; it must be below `max_tokens`."""

MESSAGES = [{"role": "user", "content": "hi"}]
CLAUDE = {"model": "claude-sonnet-4-5", "messages": MESSAGES}
CONVERSE = {
    "model": "us.anthropic.claude-sonnet-4-5",
    "messages": [{"role": "user", "content": [{"text": "hi"}]}],
}


def messages(cap: int, budget: int) -> dict[str, Any]:
    return {**CLAUDE, "max_tokens": cap, "thinking": {"type": "enabled", "budget_tokens": budget}}


def invoke(cap: int, budget: int) -> dict[str, Any]:
    return {**messages(cap, budget), "anthropic_version": "bedrock-2023-05-31"}


def converse(cap: int, budget: int, name: str = "thinking") -> dict[str, Any]:
    thinking = {name: {"type": "enabled", "budget_tokens": budget}}
    return {
        **CONVERSE,
        "inferenceConfig": {"maxTokens": cap},
        "additionalModelRequestFields": {**thinking, "k": 1},
    }


def chat(cap: int, budget: int) -> dict[str, Any]:
    return {**CLAUDE, "max_tokens": cap, "reasoning": {"max_tokens": budget, "exclude": True}}


def chat_in_claudes_words(cap: int, budget: int) -> dict[str, Any]:
    return {**CLAUDE, "max_completion_tokens": cap, "thinking": {"type": "enabled", "budget_tokens": budget}}


def of_messages(body: dict[str, Any]) -> tuple[int, int]:
    return body["max_tokens"], body["thinking"]["budget_tokens"]


def of_converse(body: dict[str, Any]) -> tuple[int, int]:
    extra = dict(body["additionalModelRequestFields"])
    assert extra.pop("k") == 1
    (thinking,) = extra.values()
    return body["inferenceConfig"]["maxTokens"], thinking["budget_tokens"]


def of_chat(body: dict[str, Any]) -> tuple[int, int]:
    if "thinking" in body:
        return body["max_completion_tokens"], body["thinking"]["budget_tokens"]
    assert body["reasoning"]["exclude"] is True
    return body["max_tokens"], body["reasoning"]["max_tokens"]


WAYS: list[Any] = [
    pytest.param(AnthropicMessages(), messages, of_messages, id="messages"),
    pytest.param(BedrockInvoke(), invoke, of_messages, id="invoke"),
    pytest.param(BedrockInvoke(), chat, of_chat, id="invoke chat"),
    pytest.param(BedrockConverse(), converse, of_converse, id="converse"),
    pytest.param(
        BedrockConverse(), lambda c, b: converse(c, b, "reasoning_config"), of_converse, id="reasoning_config"
    ),
    pytest.param(OpenAIChat(), chat, of_chat, id="openrouter"),
    pytest.param(OpenAIChat(), chat_in_claudes_words, of_chat, id="chat"),
]


def capped(form: Format, body: dict[str, Any], cap: int) -> tuple[Call, dict[str, Any]]:
    """The call, and its body with the cap nearest to `cap` that it may have."""
    text = json.dumps(body).encode()
    parsed = parse(text)
    call = form.read("anthropic", parsed)
    return call, json.loads(edit(text, parsed, form.cap("anthropic", parsed, max(cap, call.least_cap))))


@pytest.mark.parametrize(("form", "written", "read"), WAYS)
@settings(max_examples=100, deadline=None)
@given(
    cap=st.integers(1, 40_000),
    named=st.integers(LEAST_BUDGET + 1, 64_000),
    budget=st.integers(LEAST_BUDGET, 63_999),
)
def test_thinking_fits_below_every_cap_that_may_be_written(
    form: Format, written: Any, read: Any, cap: int, named: int, budget: int
) -> None:
    call, body = capped(form, written(max(named, budget + 1), budget), cap)
    max_tokens, budget_tokens = read(body)
    assert call.least_cap == LEAST_BUDGET + 1
    assert LEAST_BUDGET <= budget_tokens < max_tokens
    assert budget_tokens <= budget
    assert max_tokens == min(max(named, budget + 1), max(cap, LEAST_BUDGET + 1))


@pytest.mark.parametrize(("form", "written", "read"), WAYS)
def test_thinking_that_fits_is_left_as_it_is(form: Format, written: Any, read: Any) -> None:
    assert read(capped(form, written(9_000, 1_500), 2_000)[1]) == (2_000, 1_500)


@pytest.mark.parametrize(
    "thinking",
    [None, {"type": "disabled"}, {"type": "adaptive"}, {"type": "enabled", "budget_tokens": "2000"}, 7],
)
def test_a_body_without_a_budget_for_thinking_takes_any_cap(thinking: object) -> None:
    for form in (AnthropicMessages(), OpenAIChat()):
        call, body = capped(form, {**CLAUDE, "max_tokens": 900, "thinking": thinking}, 5)
        assert (call.least_cap, body["max_tokens"], body["thinking"]) == (1, 5, thinking)


def test_a_batch_takes_the_least_of_all_its_messages() -> None:
    each = [{**CLAUDE, "max_tokens": 900}, messages(9_000, 4_000)]
    body = {"requests": [{"custom_id": str(n), "params": params} for n, params in enumerate(each)]}
    call = AnthropicBatches().read("anthropic", {"model": CLAUDE["model"], **body})
    assert call.least_cap == LEAST_BUDGET + 1


def test_responses_take_no_cap_below_sixteen() -> None:
    """OpenAI's API reference, `max_output_tokens`."""
    call, body = capped(OpenAIResponses(), {"model": "gpt-5", "input": "hi", "max_output_tokens": 900}, 3)
    assert (call.least_cap, body["max_output_tokens"]) == (16, 16)
