"""Cohere's formats: what a request may take, what an answer and a stream of either version used, how it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.bounds import Call
from quotaware.core.usage import Usage
from quotaware.errors import QuotaExceeded
from quotaware.providers.base import Format, Report, Unreadable
from quotaware.providers.cohere import CohereChat, CohereChatV1, CohereEmbed, cohere_refusal, cohere_usage
from quotaware.providers.jsonstream import ObjectReader
from quotaware.providers.registry import find
from quotaware.providers.rerank import Rerank

USAGE = {
    "billed_units": {"input_tokens": 13, "output_tokens": 61},
    "tokens": {"input_tokens": 542, "output_tokens": 63},
    "cached_tokens": 100,
}


def read(body: dict[str, Any], form: Format | None = None) -> Call:
    return (form or CohereChat()).read("cohere", {"model": "command-a-03-2025", **body})


def lines(*events: dict[str, Any], sse: bool = True) -> bytes:
    head, end = (b"data: ", b"\n\n") if sse else (b"", b"\n")
    return b"".join(head + json.dumps(event).encode() + end for event in events)


def report(stream: bytes, form: Format | None = None) -> Report:
    reader = (form or CohereChat()).stream(hide=False)
    assert reader.feed(stream) == stream
    return reader.report()


@pytest.mark.parametrize("host", ["api.cohere.com", "api.cohere.ai", "production.api.cohere.ai"])
@pytest.mark.parametrize(
    ("path", "format", "operation"),
    [
        ("/v2/chat", "cohere.chat", "chat"),
        ("/v1/chat", "cohere.chat_v1", "chat"),
        ("/v2/embed", "cohere.embed", "embeddings"),
        ("/v1/embed", "cohere.embed", "embeddings"),
        ("/v2/rerank", "rerank", "rerank"),
        ("/compatibility/v1/chat/completions", "openai.chat", "chat"),
        ("/v1/tokenize", None, "tokenize"),
        ("/v1/embed-jobs", None, "unknown"),
    ],
)
def test_its_hosts_are_read(host: str, path: str, format: str | None, operation: str) -> None:
    route = find("POST", host, path)
    assert route is not None
    assert (route.provider, route.format and route.format.name) == ("cohere", format)
    assert (route.operation, route.free) == (operation, operation == "tokenize")


def test_a_chat_is_read() -> None:
    call = read(
        {
            "messages": [{"role": "user", "content": [{"type": "text", "text": "héllo"}]}],
            "documents": [{"id": "1", "data": {"text": "a fact"}}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "response_format": {"type": "json_object"},
            "max_tokens": 50,
            "stream": True,
        }
    )
    assert (call.cap, call.stream, call.tools, call.opaque, sum(call.kinds[5:])) == (50, True, 1, False, 2)
    assert call.text > len("userhéllo") + len('{"type":"json_object"}') + len("a fact")


def test_a_chat_of_the_first_version_is_read() -> None:
    chat = {"message": "hello", "preamble": "be kind", "chat_history": [{"role": "USER", "message": "hi"}]}
    call = read({**chat, "tool_results": [{"outputs": []}]}, CohereChatV1())
    assert call.text >= len("hellobe kindUSERhi")
    assert not call.opaque
    for held in ({"connectors": [{"id": "web-search"}]}, {"conversation_id": "c"}):
        assert read({**chat, **held}, CohereChatV1()).opaque


@pytest.mark.parametrize(
    ("url", "opaque"), [("data:image/png;base64,AAAA", False), ("https://a/b.png", True), (None, True)]
)
def test_images_are_bounded(url: str | None, opaque: bool) -> None:
    content = [{"type": "image_url", "image_url": {"url": url}}]
    for body, form in (
        ({"messages": [{"role": "user", "content": content}]}, CohereChat()),
        ({"inputs": [{"content": content}], "input_type": "image"}, CohereEmbed()),
    ):
        call = read(body, form)
        assert call.media >= 3_328
        assert call.opaque == opaque
        assert call.text < 50


def test_embeddings_are_read() -> None:
    call = read({"texts": ["hel", "lo"], "images": ["data:image/png;base64,AAAA"]}, CohereEmbed())
    assert (call.text, call.generates, call.operation) == (5, False, "embeddings")
    assert call.media >= 3_136


def test_a_chat_without_messages_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="messages"):
        read({})


@pytest.mark.parametrize(("named", "set_to"), [({}, 9), ({"max_tokens": 99}, 9), ({"max_tokens": 3}, 3)])
def test_a_cap_is_written(named: dict[str, int], set_to: int) -> None:
    assert CohereChat().cap("cohere", {"messages": [], **named}, 9) == {"max_tokens": set_to}


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (USAGE, Usage(542, 63, cache_read=100)),
        ({"billed_units": USAGE["billed_units"]}, Usage(13, 61)),
        ({"billed_units": {"input_tokens": 2, "image_tokens": 300}}, Usage(302)),
        ({"billed_units": {"image_tokens": 300}}, Usage(300)),
        ({"billed_units": {"input_tokens": -2, "image_tokens": 300}}, Usage(-2)),
        ({"billed_units": {"search_units": 1}}, None),
        ({}, None),
        (None, None),
    ],
)
def test_usage_is_read(told: object, usage: Usage | None) -> None:
    assert cohere_usage(told) == usage


def test_answers_are_read() -> None:
    assert CohereChat().answer({"usage": USAGE}).usage == Usage(542, 63, cache_read=100)
    assert CohereChatV1().answer({"text": "hi", "meta": USAGE}).usage == Usage(542, 63, cache_read=100)
    assert CohereEmbed().answer({"meta": {"billed_units": {"input_tokens": 2}}}).usage == Usage(2)


def said(text: str) -> dict[str, Any]:
    return {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": text}}}}


END = {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": USAGE}}


def test_a_stream_is_read() -> None:
    stream = lines({"type": "message-start"}, said("a" * 40), said("b"))
    assert report(stream) == Report(None, None, seen=11, done=False)
    assert report(stream + lines(END)) == Report(None, Usage(542, 63, cache_read=100), seen=11, done=True)


def test_what_is_cited_is_not_counted_twice() -> None:
    cited = {"type": "citation-start", "delta": {"message": {"citations": {"text": "x" * 400}}}}
    assert report(lines(said("a"), cited)).seen == 1


def test_tools_count_by_their_arguments() -> None:
    called = {
        "type": "tool-call-delta",
        "delta": {"message": {"tool_calls": {"function": {"arguments": "x" * 40}}}},
    }
    assert report(lines(called)).seen == 10


def test_a_stream_of_the_first_version_is_read() -> None:
    stream = lines(
        {"event_type": "stream-start"}, {"event_type": "text-generation", "text": "a" * 40}, sse=False
    )
    ended = lines({"event_type": "stream-end", "response": {"text": "a" * 40, "meta": USAGE}}, sse=False)
    reader = ObjectReader(CohereChatV1().stream(hide=False))
    reader.feed(stream)
    assert reader.report() == Report(None, None, seen=10, done=False)
    reader.feed(ended)
    assert reader.report() == Report(None, Usage(542, 63, cache_read=100), seen=10, done=True)


def test_a_refusal_has_coheres_message_and_our_error() -> None:
    error = QuotaExceeded("The budget is spent", fields={"limit_usd": 10.0})
    told = CohereChat().refusal(error)
    assert told["message"] == "The budget is spent"
    assert (told["error"]["type"], told["error"]["limit_usd"]) == ("quota_exceeded", 10.0)
    assert CohereEmbed().refusal(error) == told == Rerank(cohere_refusal).refusal(error)


# reranking


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/api/rerank"])
def test_any_host_may_rerank(path: str) -> None:
    route = find("POST", "stranger.example", path)
    assert route is not None
    assert route.format is not None
    assert route.format.name == "rerank"


def test_the_query_counts_with_each_document() -> None:
    call = read({"query": "whó?", "documents": ["a", {"text": "bc"}]}, Rerank())
    assert (call.text, sum(call.kinds[5:]), call.generates) == (3 + 2 * 5, 4, False)


def test_a_search_is_a_hundred_documents_or_parts_of_them() -> None:
    def most(*documents: str) -> int:
        return read({"query": "q", "documents": list(documents)}, Rerank()).rerank_searches

    assert [most("a"), most(*["a"] * 100), most(*["a"] * 101), most("a" * 500 * 100)] == [1, 1, 2, 2]


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ({"model": "rerank-2.5", "usage": {"total_tokens": 26}}, Report("rerank-2.5", Usage(26), done=True)),
        ({"meta": {"billed_units": {"search_units": 1}}}, Report(None, Usage(rerank_searches=1), done=True)),
        ({"results": []}, Report(done=True)),
        ([], Report(done=True)),
    ],
)
def test_reranking_is_told_in_tokens_or_searches(answer: object, told: Report) -> None:
    assert Rerank().answer(answer) == told


def test_more_of_an_event_never_counts_less() -> None:
    """Whatever stands in it: here both names for what is said."""
    reader = CohereChat().stream(hide=False)
    reader.feed(b'data: {"event_type": "text-generation", "text": "four and twenty"')
    seen = reader.report().seen
    reader.feed(b', "delta": {"content": "x"}}\n\n')
    assert reader.report().seen == seen == 4
