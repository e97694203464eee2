"""Gemini's batches: what they may take, and what their answers say was used. Shapes: ai.google.dev/api/batch-api."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.usage import Usage
from quotaware.errors import QuotaExceeded
from quotaware.providers import naming
from quotaware.providers.base import Unreadable
from quotaware.providers.gemini_batches import GeminiBatch, GeminiBatchResults, GeminiEmbedBatch
from quotaware.providers.jsontext import parse
from quotaware.providers.registry import find

HOST = "generativelanguage.googleapis.com"
MODEL = "gemini-2.5-flash"


def entry(text: str = "Hello!", key: str = "k", **request: Any) -> dict[str, Any]:
    asked = {"contents": [{"parts": [{"text": text}]}], **request}
    return {"request": asked, "metadata": {"key": key}}


def batch(*entries: dict[str, Any], config: str = "inputConfig") -> dict[str, Any]:
    return {"batch": {"displayName": "mine", config: {"requests": {"requests": list(entries)}}}}


def answered(*responses: dict[str, Any], state: str = "BATCH_STATE_SUCCEEDED") -> dict[str, Any]:
    """What GET …/batches/{id} answers."""
    held = {"inlinedResponses": {"inlinedResponses": list(responses)}}
    return {
        "name": "batches/123",
        "metadata": {"@type": "…GenerateContentBatch", "model": f"models/{MODEL}", "state": state},
        "done": True,
        "response": {"@type": "…GenerateContentBatchOutput", **held},
    }


def response(sent: int, made: int, **more: Any) -> dict[str, Any]:
    usage = {"promptTokenCount": sent, "candidatesTokenCount": made, "totalTokenCount": sent + made}
    content = {"role": "model", "parts": [{"text": 'it says {"usageMetadata": {"promptTokenCount": 9}}'}]}
    return {
        "response": {"candidates": [{"content": content, **more}], "usageMetadata": usage},
        "metadata": {"key": "k"},
    }


def read_in(pieces: list[bytes]) -> Any:
    reader = GeminiBatchResults().stream(hide=False)
    for piece in pieces:
        assert reader.feed(piece) == piece
    assert reader.flush() == b""
    return reader.report()


@pytest.mark.parametrize("config", ["inputConfig", "input_config"])
def test_a_batch_is_all_of_its_requests_each_as_long_as_the_longest(config: str) -> None:
    """S9."""
    one = GeminiBatch().read("google", {"model": MODEL, **batch(entry("abcd"), config=config)})
    capped = entry("abcd", generationConfig={"maxOutputTokens": 100})
    two = GeminiBatch().read("google", {"model": MODEL, **batch(capped, capped, config=config)})
    assert (one.operation, one.model, one.choices, one.cap) == ("message_batches", MODEL, 1, None)
    assert (two.choices, two.cap, two.text) == (2, 100, 2 * one.text)
    assert one.background
    assert one.generates
    mixed = GeminiBatch().read("google", {"model": MODEL, **batch(capped, entry("abcd"))})
    assert mixed.cap is None


def test_the_cap_is_written_into_each_request_and_all_else_stays() -> None:
    body = batch(entry(generationConfig={"maxOutputTokens": 500, "topK": 3}), entry(), config="input_config")
    changed = GeminiBatch().cap("google", body, 100)
    first, second = changed["batch"]["input_config"]["requests"]["requests"]
    assert first["request"]["generationConfig"] == {"maxOutputTokens": 100, "topK": 3}
    assert second["request"]["generationConfig"] == {"maxOutputTokens": 100}
    assert (first["metadata"], changed["batch"]["displayName"]) == ({"key": "k"}, "mine")


def test_embeddings_generate_nothing() -> None:
    asked = {"request": {"content": {"parts": [{"text": "abcd"}]}}}
    call = GeminiEmbedBatch().read("google", {"model": "gemini-embedding-001", **batch(asked, asked)})
    assert (call.operation, call.generates, call.text, call.background) == ("message_batches", False, 8, True)
    assert GeminiEmbedBatch().cap("google", batch(asked), 5)["batch"]["inputConfig"] == {
        "requests": {"requests": [asked]}
    }


def test_a_batch_of_a_file_is_unknown() -> None:
    body = {"batch": {"displayName": "mine", "inputConfig": {"fileName": "files/1"}}}
    call = GeminiBatch().read("google", {"model": MODEL, **body})
    assert (call.operation, call.model) == ("unknown", MODEL)
    assert "file" in call.unknown


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"batch": 7},
        {"batch": {"inputConfig": 7}},
        batch(),
        batch({"request": 7}),
        {"batch": {"inputConfig": {"requests": 7}}},
        {"batch": {"inputConfig": {}, "input_config": {}}},
    ],
)
def test_what_is_no_batch_is_unreadable(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        GeminiBatch().read("google", {"model": MODEL, **body})


def test_a_model_that_one_of_its_requests_names_is_judged_too() -> None:
    """S10: whichever of them Google obeys."""
    route = find("POST", HOST, f"/v1beta/models/{MODEL}:batchGenerateContent")
    assert route is not None
    assert route.format is not None
    body = batch(entry(model="models/gemini-2.5-pro"), entry(model=f"models/{MODEL}"))
    call = naming.read(route, route.format, parse(json.dumps(body).encode()))
    assert [model.name for model in call.models] == [MODEL, "gemini-2.5-pro"]


def test_its_answer_names_it() -> None:
    told = {"name": "batches/123", "metadata": {"state": "BATCH_STATE_PENDING"}}
    assert GeminiBatch().answer(told).later == "123"
    assert GeminiBatch().answer({}).later == ""


def test_what_its_answers_used_is_summed() -> None:
    error = {"error": {"code": 400, "message": "no"}, "metadata": {"key": "k"}}
    told = answered(response(10, 2), response(5, 1), error)
    assert GeminiBatchResults().answer(told).usage == Usage(input=15, output=3)
    inside = {**told, "metadata": {**told["metadata"], "output": told["response"]}, "response": None}
    assert GeminiBatchResults().answer(inside).usage == Usage(input=15, output=3)


def test_what_its_embeddings_used_is_summed() -> None:
    alone = {"response": {"embedding": {"values": [0.1]}, "tokenCount": 4}}
    usual = {"response": {"embedding": {"values": [0.1]}, "usageMetadata": {"promptTokenCount": 3}}}
    told = answered()
    told["response"] = {"inlinedEmbedContentResponses": {"inlinedResponses": [alone, usual]}}
    assert GeminiBatchResults().answer(told).usage == Usage(input=7)


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (answered(state="BATCH_STATE_PENDING") | {"response": None, "done": False}, None),
        (answered(state="BATCH_STATE_FAILED") | {"response": None}, Usage()),
        (answered({"error": {"code": 3}}), Usage()),
        (answered(response(5, 1), {"response": {"candidates": []}}), None),
        (answered() | {"response": {"responsesFile": "files/2"}}, None),
        ({}, None),
    ],
)
def test_what_is_not_told_in_full_is_not_known(told: dict[str, Any], usage: Usage | None) -> None:
    assert GeminiBatchResults().answer(told).usage == usage


@pytest.mark.parametrize("size", [1, 7, 1000, 100_000])
def test_a_long_answer_is_summed_as_it_goes_by(size: int) -> None:
    """However it is cut; what a model has written is no usage."""
    text = json.dumps(answered(*(response(10, 2, note="x" * 3_000) for _ in range(100)))).encode()
    assert len(text) > 262_144
    report = read_in([text[at : at + size] for at in range(0, len(text), size)])
    assert (report.usage, report.done) == (Usage(input=1000, output=200), False)


def test_a_short_answer_is_read_whole_and_a_cut_one_is_not_known() -> None:
    text = json.dumps(answered(response(10, 2))).encode()
    assert read_in([text[:50], text[50:]]).usage == Usage(input=10, output=2)
    assert read_in([text[:-5]]).usage is None


def test_a_long_answer_with_a_usage_that_cannot_be_read_is_not_known() -> None:
    broken = json.dumps(answered(response(10, 2, note="x" * 300_000))).replace("10", '"10"').encode()
    assert read_in([broken]).usage is None
    assert GeminiBatchResults().stream(hide=False).whole  # type: ignore[attr-defined]
    endless = (
        b'{"x": "' + b"x" * 300_000 + b'", "usageMetadata": {"promptTokenCount": 1, "a": "' + b"y" * 200_000
    )
    assert read_in([endless[at : at + 50_000] for at in range(0, len(endless), 50_000)]).usage is None


def test_it_is_refused_as_google_does() -> None:
    assert GeminiBatch().refusal(QuotaExceeded("spent"))["error"]["status"] == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("end", ["", ":cancel"])
def test_asking_for_one_is_free(end: str) -> None:
    route = find("POST" if end else "GET", HOST, f"/v1beta/batches/123{end}")
    assert route is not None
    assert route.free
    assert route.answer == ("" if end else "123")
