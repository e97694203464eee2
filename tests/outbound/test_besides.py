"""What an answer's own usage leaves out: passes that make a history shorter, and advisors. They cost what they used."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from quotaware import Quota
from quotaware.core.prices import PriceBook
from quotaware.core.usage import Usage
from quotaware.testing.recordings import is_stream
from quotaware.usage import UsageRecord
from tests.corpus import exchanges, needs_corpus, wire_body
from tests.outbound.test_prices import CLAUDE, OPENAI, ask, events
from tests.outbound.wire import records
from tests.support import NOVEMBER, AuditedStore, RunningClock

SONNET, OPUS = "claude-sonnet-4-6", "claude-opus-4-8"
LONG = [{"role": "user", "content": "The quick brown fox jumps over the lazy dog. " * 5_000}]
COMPACTED = {"context_management": {"edits": [{"type": "compact_20260112"}]}}
SOON = {
    "context_management": {
        "edits": [{"type": "compact_20260112", "trigger": {"type": "input_tokens", "value": 50_000}}]
    }
}
ADVISOR = {"type": "advisor_20260301", "name": "advisor", "model": OPUS, "max_tokens": 1_024}
RESULTS = "https://api.anthropic.com/v1/messages/batches"


@pytest.fixture
def books() -> AuditedStore:
    return AuditedStore(RunningClock(NOVEMBER))


def told(kind: str, sent: int, made: int, **more: Any) -> dict[str, Any]:
    return {"type": kind, "input_tokens": sent, "output_tokens": made, **more}


COMPACTION, ADVICE = told("compaction", 55_000, 125), told("advisor_message", 2_500, 22, model=OPUS)
COMPACTION_COST, ADVICE_COST = 55_000 * 3_000 + 125 * 15_000, 2_500 * 5_000 + 22 * 25_000
OWN_COST = 220 * 3_000 + 8 * 15_000


def message(*passes: dict[str, Any]) -> dict[str, Any]:
    usage = {"input_tokens": 220, "output_tokens": 8, "iterations": [*passes, told("message", 220, 8)]}
    return {"id": "msg_1", "type": "message", "model": SONNET, "content": [], "usage": usage}


def streamed(*passes: dict[str, Any]) -> bytes:
    whole = message(*passes)
    begun = {**whole, "usage": {"input_tokens": 220, "output_tokens": 1}}
    end = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": whole["usage"]}
    return events({"type": "message_start", "message": begun}, end, {"type": "message_stop"})


def body(**more: Any) -> dict[str, Any]:
    return {"model": SONNET, "max_tokens": 1_024, "messages": LONG, **more}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("asked", "passes", "cost", "besides"),
    [
        (SOON, (COMPACTION,), COMPACTION_COST, ((None, Usage(55_000, 125)),)),
        ({"tools": [ADVISOR]}, (ADVICE,), ADVICE_COST, ((OPUS, Usage(2_500, 22)),)),
        (
            SOON | {"tools": [{**ADVISOR, "model": SONNET}]},
            (COMPACTION, {**ADVICE, "model": SONNET}),
            COMPACTION_COST + 2_500 * 3_000 + 22 * 15_000,
            ((None, Usage(55_000, 125)), (SONNET, Usage(2_500, 22))),
        ),
        ({}, (), 0, ()),
    ],
)
def test_a_pass_costs_what_its_model_does_and_the_record_shows_it(
    quota: Quota,
    asked: dict[str, Any],
    passes: tuple[dict[str, Any], ...],
    cost: int,
    besides: Any,
    stream: bool,
) -> None:
    answer = streamed(*passes) if stream else message(*passes)
    record = ask(quota, CLAUDE, body(stream=stream, **asked), answer)
    assert (record.usage, record.besides) == (Usage(220, 8), besides)
    assert record.cost == OWN_COST + cost


@pytest.mark.parametrize("where", ["bedrock", "vertex"])
def test_so_it_does_elsewhere(quota: Quota, where: str) -> None:
    url = {
        "bedrock": "https://bedrock-runtime.us-east-1.amazonaws.com/model/anthropic.claude-sonnet-4-6/invoke",
        "vertex": "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/anthropic/models/"
        f"{SONNET}:rawPredict",
    }[where]
    asked = {name: value for name, value in body(anthropic_version="x", **SOON).items() if name != "model"}
    record = ask(quota, url, asked, message(COMPACTION))
    assert record.besides == ((None, Usage(55_000, 125)),)
    assert record.usage == Usage(220, 8)
    assert record.cost > 55_000 * 3_000


@pytest.mark.parametrize(
    ("asked", "more"),
    [
        ({}, False),
        (COMPACTED, True),  # 225,000 bytes may be 150,000 tokens
        (COMPACTED | {"messages": [{"role": "user", "content": "hi"}]}, False),
        ({"compaction": {"type": "summarize"}}, True),
        ({"tools": [ADVISOR]}, True),
    ],
)
def test_what_may_be_used_beside_the_answer_is_reserved(
    quota: Quota,
    asked: dict[str, Any],
    more: bool,
) -> None:
    """Where a body asks for it, and only where its history can be as long as what has it made shorter."""
    plain = {name: value for name, value in asked.items() if name not in {"context_management", "compaction"}}
    if "tools" in asked:  # one that is as long, and brings as much that is not shown
        plain["tools"] = [{**ADVISOR, "type": "adviser_20260301"}]
    usual = ask(quota, CLAUDE, body(**plain), message())
    record = ask(quota, CLAUDE, body(**asked), message())
    extra = record.reserved - usual.reserved
    assert (extra > 50_000 * 3_000) is more
    assert more or extra < 1_000_000  # what it is told of how to make it shorter


def test_tokens_beside_the_answer_count_on_limits(books: AuditedStore) -> None:
    quota = Quota(books, limits=["10000000 tokens/day"], clock=books._clock)
    quota.instrument()
    ask(quota, CLAUDE, body(**SOON, tools=[ADVISOR]), message(COMPACTION, ADVICE))
    assert quota.flush()
    assert 220 + 8 + 55_000 + 125 + 2_500 + 22 in books.used.values()
    quota.close()


def test_an_advisor_that_nobody_prices_is_refused_under_a_budget(quota: Quota) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, json=message()))
    with httpx.Client(transport=transport) as client:
        answer = client.post(CLAUDE, json=body(tools=[{**ADVISOR, "model": "claude-sage-99"}]))
    assert answer.status_code == 403
    assert "claude-sage-99" in answer.text


def test_a_pass_that_cannot_be_true_is_charged_at_the_bound(quota: Quota) -> None:
    """I-20."""
    transport = httpx.MockTransport(
        lambda _: httpx.Response(200, json=message(told("compaction", 10**12, 1)))
    )
    with httpx.Client(transport=transport) as client:
        client.post(CLAUDE, json=body(**SOON))
    (record,) = records(quota)
    assert record.flags == {"suspect"}
    assert OWN_COST < record.cost <= record.reserved


def test_batches_are_charged_theirs_when_their_results_are_read(quota: Quota) -> None:
    line = {"custom_id": "a", "result": {"type": "succeeded", "message": message(COMPACTION)}}
    answers = [
        httpx.Response(200, json={"id": "msgbatch_1", "type": "message_batch"}),
        httpx.Response(200, content=json.dumps(line).encode() + b"\n"),
    ]
    answers[1].headers["content-type"] = "application/x-jsonl"
    with httpx.Client(transport=httpx.MockTransport(lambda _: answers.pop(0))) as client:
        client.post(RESULTS, json={"requests": [{"custom_id": "a", "params": body(**SOON)}]})
        client.get(f"{RESULTS}/msgbatch_1/results")
    assert quota.flush()
    left = records(quota)
    assert sum(record.cost for record in left) == (OWN_COST + COMPACTION_COST) // 2
    assert sum(record.usage.total for record in left) == 220 + 8
    assert [record.besides for record in left if record.besides] == [((None, Usage(55_000, 125)),)]


def test_what_was_used_beside_an_answer_is_in_files_too(quota: Quota) -> None:
    ask(quota, CLAUDE, body(**SOON), message(COMPACTION))
    (row,) = map(json.loads, quota.blocking.usage.export("jsonl"))
    assert row["besides"] == [{"model": None, "input": 55_000, "output": 125}]
    assert '"[{""model"":null,""input"":55000,""output"":125}]"' in "".join(
        quota.blocking.usage.export("csv")
    )


PASSES = [
    exchange
    for exchange in exchanges("anthropic", "/messages")
    if (b'"compaction"' in wire_body(exchange) and b'"iterations"' in wire_body(exchange))
    or b"advisor_message" in wire_body(exchange)
]  # fmt: skip
COMPACTIONS = exchanges("openai", "/responses/compact")


def replayed(quota: Quota, exchange: dict[str, Any]) -> UsageRecord:
    """The record of a recorded exchange, at its own host, with a history that is as long as it was."""
    asked = exchange["request"]
    if "context_management" in asked:
        asked = {**asked, "messages": [*LONG, *asked["messages"]]}
    answer = wire_body(exchange) if is_stream(exchange) else exchange["body"]
    return ask(quota, exchange["url"], asked, answer)


@needs_corpus
def test_recorded_passes_cost_what_their_models_do(quota: Quota) -> None:
    """The records' usage stays what the recordings expect, to the token."""
    costs = {}
    for exchange in PASSES:
        record = replayed(quota, exchange)
        usage = exchange["expected"]["usage"]
        assert {name: getattr(record.usage, name) for name in usage} == usage
        price = PriceBook().find("anthropic", exchange["expected"]["model"], NOVEMBER)
        assert price is not None
        costs[exchange["id"]] = record.cost - price.cost(record.usage)
    assert costs == {
        "78712e1e5f40": 55_196 * 3_000 + 125 * 15_000,
        "1f8828af9e5a": 55_096 * 3_750 + 100 * 3_000 + 131 * 15_000,
        "f202e73d5e0d": 2_518 * 5_000 + 22 * 25_000,
        "b5617b958dc4": 2_564 * 10_000 + 99 * 50_000,
        "d1a5d3b400bb": 2_543 * 5_000 + 18 * 25_000,
    }


@needs_corpus
def test_compactions_cost_what_the_tokens_do_that_they_tell(quota: Quota) -> None:
    """Their `usage` is "Token accounting for the compaction pass" (API reference, responses); the recordings expect 0
    of an answer. What tells tokens costs something, polls aside, which are charged with the call that they ask for.
    """
    assert len(COMPACTIONS) == 4
    for exchange in COMPACTIONS:
        record, usage = replayed(quota, exchange), exchange["body"]["usage"]
        used = Usage(usage["input_tokens"], usage["output_tokens"])
        assert (record.usage, record.besides, record.quality) == (Usage(), ((None, used),), "exact")
        assert record.model == record.requested_model == exchange["request"]["model"]
        price = PriceBook().find("openai", exchange["request"]["model"], NOVEMBER)
        assert price is not None
        assert record.cost == price.cost(used) > 0


def test_a_compaction_that_tells_nothing_is_estimated(quota: Quota) -> None:
    asked = {"model": "gpt-5.4", "input": "hello " * 100}
    record = ask(quota, f"{OPENAI}/responses/compact", asked, {"object": "response.compaction", "output": []})
    assert (record.quality, record.besides) == ("estimated", ())
    assert record.cost > 0
