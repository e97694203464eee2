"""What calls cost on their way: service tiers, fast modes, fees, pages, and prices that change while a call is out."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from typing import Any

import httpx
import pytest
from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot

from quotaware import Quota
from quotaware.core.prices import PriceBook
from quotaware.core.terms import PriceRule
from quotaware.usage import UsageRecord
from tests.outbound.wire import records
from tests.support import NOVEMBER, AuditedStore, RunningClock

OPENAI = "https://api.openai.com/v1"
CLAUDE = "https://api.anthropic.com/v1/messages"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/models"
VERTEX = "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/google/models"
HI = [{"role": "user", "content": "hi"}]


@pytest.fixture
def books() -> AuditedStore:
    return AuditedStore(RunningClock(NOVEMBER))


def ask(
    quota: Quota,
    url: str,
    body: dict[str, Any],
    answer: Any,
    meanwhile: Callable[[], object] = int,
    org: str | None = None,
) -> UsageRecord:
    """The record of a call, and it is the only one; `meanwhile` is done while the call is at the provider."""

    def respond(request: httpx.Request) -> httpx.Response:
        meanwhile()
        if isinstance(answer, bytes):
            return httpx.Response(200, content=answer, headers={"content-type": "text/event-stream"})
        return httpx.Response(200, json=answer)

    before = list(quota.blocking.usage.records(organization=org))
    with httpx.Client(transport=httpx.MockTransport(respond)) as client:
        assert client.post(url, json=body).status_code == 200
    (record,) = (r for r in quota.blocking.usage.records(organization=org) if r not in before)
    assert not record.flags
    assert record.cost <= record.reserved
    return record


def events(*each: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(one).encode() + b"\n\n" for one in each)


def response(**members: Any) -> dict[str, Any]:
    usage = {"input_tokens": 10, "output_tokens": 2}
    return {"id": "r", "status": "completed", "model": "gpt-5.4", "usage": usage, **members}


def chat(**members: Any) -> dict[str, Any]:
    return {
        "model": "gpt-5.4",
        "choices": [],
        "usage": {"prompt_tokens": 10, "completion_tokens": 2},
        **members,
    }


def claude(model: str, **usage: Any) -> dict[str, Any]:
    return {"model": model, "content": [], "usage": {"input_tokens": 10, "output_tokens": 2, **usage}}


def gemini(model: str, *queries: str, **usage: Any) -> dict[str, Any]:
    return {
        "candidates": [{"finishReason": "STOP", "groundingMetadata": {"webSearchQueries": list(queries)}}],
        "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 2, **usage},
        "modelVersion": model,
    }


RESPONSE = {"model": "gpt-5.4", "input": "hi", "max_output_tokens": 50}
CHAT = {"model": "gpt-5.4", "messages": HI, "max_completion_tokens": 50}
MESSAGE = {"model": "claude-opus-5", "messages": HI, "max_tokens": 50}
CONTENT = {"contents": "hi", "generationConfig": {"maxOutputTokens": 50}}
WEB = [{"type": "web_search"}]
CASES = {
    "usual": (f"{OPENAI}/responses", RESPONSE, response(service_tier="default"), 10 * 2_500 + 2 * 15_000),
    "flex": (
        f"{OPENAI}/responses", {**RESPONSE, "service_tier": "flex"}, response(service_tier="flex"),
        10 * 1_250 + 2 * 7_500,
    ),
    "priority": (
        f"{OPENAI}/chat/completions", {**CHAT, "service_tier": "priority"}, chat(service_tier="priority"),
        10 * 5_000 + 2 * 30_000,
    ),
    "priority that became the usual": (
        f"{OPENAI}/chat/completions", {**CHAT, "service_tier": "priority"}, chat(service_tier="default"),
        10 * 2_500 + 2 * 15_000,
    ),
    "priority that nobody tells of": (
        f"{OPENAI}/chat/completions", {**CHAT, "service_tier": "priority"}, chat(), 10 * 5_000 + 2 * 30_000,
    ),
    "flex in a stream": (
        f"{OPENAI}/chat/completions", {**CHAT, "service_tier": "flex", "stream": True},
        events(chat(service_tier="flex")) + b"data: [DONE]\n\n", 10 * 1_250 + 2 * 7_500,
    ),
    "fast": (CLAUDE, {**MESSAGE, "speed": "fast"}, claude("claude-opus-5", speed="fast"), 10 * 10_000 + 2 * 50_000),
    "fast that became the usual": (
        CLAUDE, {**MESSAGE, "speed": "fast"}, claude("claude-opus-5", speed="standard"), 10 * 5_000 + 2 * 25_000,
    ),
    "Anthropic's own tiers, which the list has no prices for": (
        CLAUDE, {**MESSAGE, "service_tier": "auto"}, claude("claude-opus-5", service_tier="priority"),
        10 * 5_000 + 2 * 25_000,
    ),
    "three searches": (
        CLAUDE, {**MESSAGE, "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}]},
        claude("claude-opus-5", server_tool_use={"web_search_requests": 3}), 10 * 5_000 + 2 * 25_000 + 30_000_000,
    ),
    "two searches and one of files": (
        f"{OPENAI}/responses", {**RESPONSE, "tools": [*WEB, {"type": "file_search", "vector_store_ids": ["v"]}]},
        response(output=[{"type": "web_search_call"}] * 2 + [{"type": "file_search_call"}]),
        10 * 2_500 + 2 * 15_000 + 2 * 10_000_000 + 2_500_000,
    ),
    "each query of a newer Gemini": (
        f"{GOOGLE}/gemini-3.5-flash:generateContent", {**CONTENT, "tools": [{"googleSearch": {}}]},
        gemini("gemini-3.5-flash", "a", "b"), 10 * 1_500 + 2 * 9_000 + 2 * 14_000_000,
    ),
    "the prompt once of an older one": (
        f"{GOOGLE}/gemini-2.5-flash:generateContent", {**CONTENT, "tools": [{"googleSearch": {}}]},
        gemini("gemini-2.5-flash", "a", "b"), 10 * 300 + 2 * 2_500 + 35_000_000,
    ),
    "pages": (
        "https://api.mistral.ai/v1/ocr", {"model": "mistral-ocr-latest", "document": {}, "pages": [0, 1, 2]},
        {"model": "mistral-ocr-latest", "pages": [], "usage_info": {"pages_processed": 3}}, 3 * 4_000_000,
    ),
    "annotated pages": (
        "https://api.mistral.ai/v1/ocr",
        {"model": "mistral-ocr-latest", "document": {}, "document_annotation_format": {"type": "json_schema"}},
        {"model": "mistral-ocr-latest", "pages": [], "usage_info": {"pages_processed": 3}}, 3 * 5_000_000,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_it_costs_what_is_listed_of_how_it_was_served_and_what_it_did(quota: Quota, case: str) -> None:
    url, body, answer, cost = CASES[case]
    assert ask(quota, url, body, answer).cost == cost


IMAGE = {"type": "image_generation", "model": "gpt-image-1.5", "quality": "low"}
MADE = {
    "image_gen": {
        "input_tokens": 50, "input_tokens_details": {"image_tokens": 40, "text_tokens": 10},
        "output_tokens": 272, "output_tokens_details": {"image_tokens": 272, "text_tokens": 0}, "total_tokens": 322,
    }
}  # fmt: skip
DRAWN = [{"type": "image_generation_call", "result": "opaque"}]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("tool", "told", "cost"),
    [
        (IMAGE, {"tool_usage": MADE}, 10 * 5_000 + 40 * 8_000 + 272 * 32_000),
        ({"type": "image_generation"}, {"tool_usage": MADE}, 10 * 5_000 + 40 * 10_000 + 272 * 40_000),
        ({"type": "image_generation"}, {"output": DRAWN}, 6_240 * 40_000),
        (IMAGE, {}, 0),
    ],
)
def test_what_an_image_tool_makes_costs_what_its_model_does(
    quota: Quota, tool: dict[str, Any], told: dict[str, Any], cost: int, stream: bool
) -> None:
    answer: Any = response(tools=[tool], **told)
    if stream:
        answer = events({"type": "response.completed", "response": answer})
    record = ask(quota, f"{OPENAI}/responses", {**RESPONSE, "tools": [tool], "stream": stream}, answer)
    assert record.cost == 10 * 2_500 + 2 * 15_000 + cost


def test_so_does_what_it_makes_in_the_background(quota: Quota) -> None:
    """Its images are priced as they were when it was asked for, by whoever sees what was used."""
    begun = {
        "id": "resp_1",
        "status": "queued",
        "model": "gpt-5.4",
        "usage": None,
        "output": [],
        "background": True,
    }
    answers = [begun, response(id="resp_1", tools=[IMAGE], tool_usage=MADE)]
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=answers.pop(0)))
    with httpx.Client(transport=transport) as client:
        client.post(f"{OPENAI}/responses", json={**RESPONSE, "tools": [IMAGE], "background": True})
        client.get(f"{OPENAI}/responses/resp_1")
    assert quota.flush()
    cost = 10 * 2_500 + 2 * 15_000 + 10 * 5_000 + 40 * 8_000 + 272 * 32_000
    assert sum(record.cost for record in records(quota)) == cost


def test_a_tool_of_a_model_that_nobody_prices_is_refused_under_a_budget(quota: Quota) -> None:
    body = {**RESPONSE, "tools": [{**IMAGE, "model": "gpt-image-99"}]}
    with httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, json=response()))
    ) as client:
        answer = client.post(f"{OPENAI}/responses", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "price_unknown")
    assert "gpt-image-99" in answer.json()["error"]["message"]


def test_a_report_of_a_tool_that_cannot_be_true_is_none(quota: Quota) -> None:
    """I-20."""
    told = {"image_gen": {"input_tokens": 1, "output_tokens": 10**12}}
    record = ask(quota, f"{OPENAI}/responses", {**RESPONSE, "tools": [IMAGE]}, response(tool_usage=told))
    assert record.cost == 10 * 2_500 + 2 * 15_000


@pytest.mark.parametrize("tier", ["flex", "priority"])
def test_google_tells_the_tier_on_both_of_its_hosts(quota: Quota, tier: str) -> None:
    """Asked for in the body of one, and in a header of the other, where only the answer tells it."""
    price = PriceBook().find("google", "gemini-3.8-flash-tts", NOVEMBER)
    assert price is not None
    served = price.served((("service_tier", tier),))
    assert served != price
    cost = 10 * served.tiers[0].input + 2 * served.tiers[0].output
    path = "gemini-3.8-flash-tts:generateContent"
    told = gemini("gemini-3.8-flash-tts", serviceTier=tier)
    assert ask(quota, f"{GOOGLE}/{path}", {**CONTENT, "serviceTier": tier}, told).cost == cost
    told = gemini("gemini-3.8-flash-tts", trafficType=f"ON_DEMAND_{tier.upper()}")
    assert ask(quota, f"{VERTEX}/{path}", CONTENT, told).cost == cost


def test_a_price_that_is_replaced_while_a_call_is_out_is_the_one_that_it_costs(quota: Quota) -> None:
    """I-19: newer lists, and what the organization says since, are for the calls after it; ways of service too."""
    body = {**CHAT, "service_tier": "flex"}
    answer = chat(service_tier="flex")
    old = 10 * 1_250 + 2 * 7_500

    def change() -> None:
        set_custom_snapshot(DataSnapshot(providers=[], from_auto_update=True))

    try:
        assert ask(quota, f"{OPENAI}/chat/completions", body, answer, change).cost == old
        with httpx.Client(
            transport=httpx.MockTransport(lambda _: httpx.Response(200, json=answer))
        ) as client:
            assert (
                client.post(f"{OPENAI}/chat/completions", json=body).status_code == 403
            )  # nobody lists it now
    finally:
        set_custom_snapshot(None)
    assert ask(quota, f"{OPENAI}/chat/completions", body, answer).cost == old


def test_so_is_one_of_the_organizations_own(books: AuditedStore) -> None:
    with closing(Quota(books, clock=books._clock)) as quota:
        tenancy = quota.blocking.tenancy
        tenancy.create_organization("o", id="o")
        tenancy.create_team("o", "t", id="t")
        tenancy.create_project("t", "p", org="o", id="p", limits=["$10/day"])
        quota.instrument()

        def says(price: float) -> Callable[[], object]:
            rates = {"input": price, "output": price, "flex": {"input": price / 2}}
            return lambda: tenancy.set_price("o", PriceRule.of("gpt-5.4", rates))

        says(1)()
        costs = []
        with quota.acting_as(key=tenancy.create_key("p", org="o").secret):
            for tier in ("default", "flex"):
                body, answer = {**CHAT, "service_tier": tier}, chat(service_tier=tier)
                says(1)()
                url = f"{OPENAI}/chat/completions"
                costs += [ask(quota, url, body, answer, then, "o").cost for then in (says(100), int)]
        assert costs == [12_000, 1_200_000, 5_000 + 2_000, 500_000 + 200_000]


def test_searches_that_nobody_can_have_made_are_no_report(quota: Quota) -> None:
    """I-20."""
    told = claude("claude-opus-5", server_tool_use={"web_search_requests": 10**9})
    with httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200, json=told))) as client:
        client.post(CLAUDE, json=MESSAGE)
    (record,) = records(quota)
    assert record.flags == {"suspect"}
    assert record.cost <= record.reserved


def test_a_search_of_documents_costs_what_is_said_of_it(books: AuditedStore) -> None:
    prices = {"rerank-*": {"input": 0, "output": 0, "rerank_search": 0.002}}
    with closing(Quota(books, limits=["$1/day"], prices=prices, clock=books._clock)) as quota:
        quota.instrument()
        body = {"model": "rerank-v3.5", "query": "q", "documents": ["a"] * 150}
        record = ask(
            quota, "https://api.cohere.com/v2/rerank", body, {"meta": {"billed_units": {"search_units": 2}}}
        )
        assert record.cost == record.reserved == 4_000_000
