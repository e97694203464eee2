"""What answers say that they cost."""

from __future__ import annotations

import json
from decimal import Decimal

import pytest

from quotaware.core.money import MAX_AMOUNT
from quotaware.providers.openai_chat import OpenAIChat
from quotaware.providers.openai_responses import OpenAIResponses
from quotaware.providers.registry import find
from quotaware.providers.reported_cost import reported_cost
from quotaware.testing.recordings import is_stream
from tests.corpus import exchanges, needs_corpus, wire_body


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        ({"cost": 0.00014}, 140_000),
        ({"cost": 4e-05}, 40_000),
        ({"cost": 0}, 0),
        ({"cost": 1.0000000005}, 1_000_000_000),
        ({"cost": 1.0000000015}, 1_000_000_002),
        ({"cost": 0.05, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}}, 1_050_000_000),
        ({"cost": 0.05, "is_byok": True}, 50_000_000),
        ({"cost": 0.05, "is_byok": False, "cost_details": {"upstream_inference_cost": 1}}, 50_000_000),
        ({"cost": {"total_cost": 0.006, "request_cost": 0.005}}, 6_000_000),
        ({"cost_in_usd_ticks": 37_756_000}, 3_775_600),
        ({"cost_in_usd_ticks": 5}, 0),
        ({"cost_in_usd_ticks": 15}, 2),
        ({"cost": -1}, None),
        ({"cost": True}, None),
        ({"cost": "1"}, None),
        ({"cost": float("nan")}, None),
        ({"cost": float("inf")}, None),
        ({"cost": 1e300}, None),
        ({"cost": MAX_AMOUNT}, MAX_AMOUNT),
        ({"cost": {}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_a_cost_is_told_in_the_ways_of_those_who_tell_it(usage: object, nano: int | None) -> None:
    assert reported_cost(usage) == nano


@pytest.mark.parametrize("form", [OpenAIChat(), OpenAIResponses()])
def test_whole_answers_and_streams_tell_it(form: OpenAIChat | OpenAIResponses) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "cost": 0.5}
    assert form.answer({"model": "m", "usage": usage}).cost == 500_000_000
    reader = form.stream(hide=False)
    whole = {"model": "m", "usage": usage, "choices": [], "type": "response.completed"}
    reader.feed(b"data: " + json.dumps({**whole, "response": whole}).encode() + b"\n\n")
    assert reader.report().cost == 500_000_000


@needs_corpus
def test_every_recorded_answer_of_openrouter_tells_its_cost() -> None:
    told = 0
    for exchange in exchanges("openrouter"):
        route = find("POST", "openrouter.ai", exchange["url"].removeprefix("https://openrouter.ai"))
        assert route is not None
        assert route.format is not None
        if is_stream(exchange):
            reader = route.format.stream(hide=False)
            reader.feed(wire_body(exchange))
            cost = reader.report().cost
        else:
            cost = route.format.answer(exchange["body"]).cost
            usage = exchange["body"].get("usage") or {}
            if "cost" in usage and not usage.get("is_byok"):
                assert cost == round(Decimal(str(usage["cost"])) * 10**9)
        told += cost is not None
    assert told >= 37
