"""Bedrock's formats: which model it is, what a request may take, what an answer used in any maker's words, refusals."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.bounds import Call
from quotaware.core.usage import Usage
from quotaware.errors import PermissionDenied, QuotaExceeded
from quotaware.providers import naming
from quotaware.providers.base import Format, HeadReader, Report, Unreadable
from quotaware.providers.bedrock_converse import BedrockConverse, BedrockConverseStream, converse_usage
from quotaware.providers.bedrock_invoke import BedrockInvoke, BedrockInvokeStream
from quotaware.providers.jsontext import edit, parse
from quotaware.providers.registry import find
from tests.providers.frames import chunk, event, frame

HOST = "bedrock-runtime.us-east-1.amazonaws.com"
CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
HI = {"messages": [{"role": "user", "content": [{"text": "hello"}]}]}
PROFILE = f"arn:aws:bedrock:us-east-1:123456789012:inference-profile/{CLAUDE}"
OWN_PROFILE = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123def456"


def named(path: str, body: dict[str, Any], **deployments: str) -> Call:
    route = find("POST", HOST, path)
    assert route is not None
    assert route.format is not None
    return naming.read(
        route, route.format, parse(json.dumps(body).encode()), naming.check_deployments(deployments)
    )


def read(body: dict[str, Any], form: Format | None = None, model: str = CLAUDE) -> Call:
    return (form or BedrockConverse()).read("aws", {"model": model, **body})


# which call


@pytest.mark.parametrize(
    "host",
    [
        HOST,
        "bedrock-runtime-fips.us-gov-west-1.amazonaws.com",
        "bedrock-runtime.cn-north-1.amazonaws.com.cn",
        "vpce-0a1b-c2d3.bedrock-runtime.eu-west-1.vpce.amazonaws.com",
        "bedrock-runtime.us-east-1.api.aws",
    ],
)
@pytest.mark.parametrize(
    ("end", "format"),
    [
        ("converse", "bedrock.converse"),
        ("converse-stream", "bedrock.converse_stream"),
        ("invoke", "bedrock.invoke"),
        ("invoke-with-response-stream", "bedrock.invoke_stream"),
    ],
)
def test_its_hosts_are_read_in_every_region(host: str, end: str, format: str) -> None:
    route = find("POST", host, f"/model/{CLAUDE}/{end}")
    assert route is not None
    assert (route.provider, route.format and route.format.name, route.named) == ("aws", format, CLAUDE)


@pytest.mark.parametrize(
    ("host", "path", "told"),
    [
        (HOST, "/openai/v1/chat/completions", ("openai.chat", "chat", False)),
        ("bedrock-mantle.us-east-1.api.aws", "/v1/responses", ("openai.responses", "responses", False)),
        ("bedrock-mantle.us-east-1.api.aws", "/anthropic/v1/messages", ("anthropic.messages", "chat", False)),
        (HOST, f"/model/{CLAUDE}/count-tokens", (None, "count_tokens", True)),
        (HOST, "/async-invoke", (None, "unknown", False)),
        ("bedrock-agent-runtime.us-east-1.amazonaws.com", "/agents/a/x", (None, "unknown", False)),
        ("bedrock.us-east-1.amazonaws.com", "/model-invocation-job", (None, "unknown", False)),
        ("bedrock.us-east-1.amazonaws.com", "/model-customization-jobs", (None, "unknown", False)),
    ],
)
def test_what_else_it_serves_is_known(host: str, path: str, told: tuple[str | None, str, bool]) -> None:
    route = find("POST", host, path)
    assert route is not None
    assert (route.format and route.format.name, route.operation, route.free) == told


@pytest.mark.parametrize(
    "host",
    [
        "s3.us-east-1.amazonaws.com",
        "bedrock-runtime.us-east-1.amazonaws.com.evil.example",
        "xbedrock.a.api.aws",
    ],
)
def test_other_hosts_are_strangers(host: str) -> None:
    assert find("POST", host, "/guardrails") is None


def test_what_is_managed_is_no_call() -> None:
    assert find("POST", "bedrock.us-east-1.amazonaws.com", "/guardrails") is None


# which model


@pytest.mark.parametrize(
    ("written", "models"),
    [
        (CLAUDE, [CLAUDE]),
        (PROFILE, [CLAUDE]),
        (PROFILE.replace(":", "%3A").replace("/", "%2F"), [CLAUDE]),
        ("arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-lite-v1:0", ["amazon.nova-lite-v1:0"]),
        ("arn:aws-us-gov:bedrock:us-gov-west-1::foundation-model/meta.llama3-v1:0", ["meta.llama3-v1:0"]),
    ],
)
@pytest.mark.parametrize("end", ["converse", "invoke"])
def test_names_profiles_and_arns_are_the_model_that_they_name(
    written: str, models: list[str], end: str
) -> None:
    """S8: whether the URL comes decoded or as it stands on the wire."""
    assert [model.name for model in named(f"/model/{written}/{end}", HI).models] == models


@pytest.mark.parametrize(
    "arn",
    [
        OWN_PROFILE,
        "arn:aws:bedrock:us-east-1:123456789012:provisioned-model/abc123def456",
        "arn:aws:bedrock:us-east-1:123456789012:custom-model-deployment/abc123def456",
        "arn:aws:bedrock:us-east-1:123456789012:imported-model/abc123def456",
        "arn:aws:bedrock:us-east-1:123456789012:default-prompt-router/abc123def456",
        "arn:aws:sagemaker:us-east-1:123456789012:endpoint/abc123def456",
    ],
)
def test_what_only_its_owner_knows_is_a_deployment(arn: str) -> None:
    call = named(f"/model/{arn}/converse", HI)
    assert "deployments={'abc123def456'" in call.unknown
    assert call.model is None
    for deployments in (
        {"abc123def456": "claude-x"},
        {arn: "claude-x"},
        {f"{HOST}/abc123def456": "claude-x"},
    ):
        assert [m.name for m in named(f"/model/{arn}/converse", HI, **deployments).models] == ["claude-x"]


def test_a_body_that_names_another_model_is_read_as_both() -> None:
    call = named(f"/model/{CLAUDE}/invoke", {**HI, "model": "other"})
    assert [model.name for model in call.models] == [CLAUDE, "other"]


# converse


def test_a_conversation_is_read() -> None:
    call = read(
        {
            "system": [{"text": "be kind"}, {"cachePoint": {"type": "default"}}],
            "messages": [
                {"role": "user", "content": [{"text": "héllo"}]},
                {
                    "role": "assistant",
                    "content": [{"toolUse": {"toolUseId": "t", "name": "f", "input": {"a": 1}}}],
                },
                {
                    "role": "user",
                    "content": [
                        {"toolResult": {"toolUseId": "t", "content": [{"json": {"b": 2}}, {"text": "ok"}]}}
                    ],
                },
            ],
            "toolConfig": {"tools": [{"toolSpec": {"name": "f"}}, {"cachePoint": {"type": "default"}}]},
            "inferenceConfig": {"maxTokens": 50},
        }
    )
    assert (call.cap, call.tools, call.opaque, call.cache_write, sum(call.kinds[5:])) == (
        50,
        1,
        False,
        True,
        2,
    )
    assert call.text > len('be kindhéllo{"a":1}{"b":2}ok')


def test_claude_writes_no_cache_that_is_not_asked_for() -> None:
    assert not read(HI).cache_write
    assert read(HI, model="amazon.nova-pro-v1:0").cache_write


@pytest.mark.parametrize(
    ("block", "media", "opaque"),
    [
        ({"image": {"format": "png", "source": {"bytes": "AAAA"}}}, 1_600, False),
        ({"image": {"format": "png", "source": {"s3Location": {"uri": "s3://a"}}}}, 0, True),
        ({"document": {"name": "d", "source": {"bytes": "A" * 40_000}}}, 30_000, False),
        ({"document": {"name": "d", "source": {"text": "abc"}}}, 0, False),
        ({"document": {"name": "d", "source": {"content": [{"text": "abc"}]}}}, 0, False),
        ({"video": {"format": "mp4", "source": {"bytes": "AAAA"}}}, 0, True),
        ({"audio": {"format": "mp3", "source": {"bytes": "AAAA"}}}, 0, True),
    ],
)
def test_media_are_bounded_or_opaque(block: dict[str, Any], media: int, opaque: bool) -> None:
    for content in ([block], [{"toolResult": {"toolUseId": "t", "content": [block]}}]):
        call = read({"messages": [{"role": "user", "content": content}]})
        assert (call.media >= media, call.opaque) == (True, opaque)
        assert call.text < 100


@pytest.mark.parametrize(
    "more",
    [{"promptVariables": {"a": {"text": "b"}}}, {"toolConfig": {"tools": [{"systemTool": {"name": "web"}}]}}],
)
def test_what_the_body_does_not_show_is_opaque(more: dict[str, Any]) -> None:
    assert read({**HI, **more}).opaque


@pytest.mark.parametrize(
    "more",
    [
        {"additionalModelRequestFields": {"max_tokens": 100_000}},
        {"additionalModelRequestFields": {"inferenceConfig": {"max_new_tokens": 100_000}}},
        {"inferenceConfig": 7},
        {"inferenceConfig": {"maxTokens": "9"}},
        {"messages": None},
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read({**HI, **more})


def test_a_cap_that_stands_twice_is_refused() -> None:
    for text in (
        b'{"inferenceConfig": {"maxTokens": 9, "maxTokens": 100000}}',
        b'{"inferenceConfig": {"maxTokens": 9}, "inferenceConfig": {}}',
    ):
        with pytest.raises(Unreadable, match="twice"):
            parse(text)


def test_a_cap_is_written_and_thinking_fits_it() -> None:
    body = (
        b'{"messages": [], "inferenceConfig": {"temperature": 1}, "additionalModelRequestFields": '
        b'{"thinking": {"type": "enabled", "budget_tokens": 9000}, "k": 1}}'
    )
    parsed = parse(body)
    assert edit(body, parsed, BedrockConverse().cap("aws", parsed, 4_000)) == (
        b'{"messages": [], "inferenceConfig": {"temperature":1,"maxTokens":4000}, '
        b'"additionalModelRequestFields": {"thinking":{"type":"enabled","budget_tokens":2000},"k":1}}'
    )
    assert BedrockConverse().cap("aws", HI, 7) == {"inferenceConfig": {"maxTokens": 7}}
    assert BedrockConverse().cap("aws", {"inferenceConfig": {"maxTokens": 3}}, 7) == {
        "inferenceConfig": {"maxTokens": 3}
    }


TOLD = {"inputTokens": 4, "outputTokens": 101, "cacheReadInputTokens": 90, "cacheWriteInputTokens": 10}


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (TOLD, Usage(104, 101, cache_read=90, cache_write=10)),
        (
            {**TOLD, "cacheDetails": [{"ttl": "1h", "inputTokens": 6}, {"ttl": "5m", "inputTokens": 4}]},
            Usage(104, 101, cache_read=90, cache_write=10, cache_write_1h=6),
        ),
        ({"inputTokens": 4, "outputTokens": 1, "cacheReadInputTokenCount": 3}, Usage(7, 1, cache_read=3)),
        ({"inputTokens": 4, "outputTokens": 1, "cacheReadInputTokens": -3}, Usage(-3, 1, cache_read=-3)),
        ({"inputTokens": 4}, None),
        (None, None),
    ],
)
def test_cached_input_is_counted_apart(told: object, usage: Usage | None) -> None:
    assert converse_usage(told) == usage
    assert BedrockConverse().answer({"output": {}, "usage": told}) == Report(None, usage, done=True)


def delta(text: str) -> bytes:
    return event("contentBlockDelta", contentBlockIndex=0, delta={"text": text})


CONVERSE_STREAM = (
    event("messageStart", role="assistant")
    + delta("a" * 40)
    + event("contentBlockDelta", contentBlockIndex=1, delta={"toolUse": {"input": '{"a": 1}'}})
    + event("contentBlockDelta", contentBlockIndex=2, delta={"reasoningContent": {"text": "hm"}})
    + event("messageStop", stopReason="end_turn")
)


def test_a_streamed_conversation_is_read() -> None:
    reader = BedrockConverseStream().stream(hide=False)
    reader.feed(CONVERSE_STREAM)
    assert reader.report() == Report(None, None, seen=13, done=False)
    reader.feed(event("metadata", usage=TOLD, metrics={"latencyMs": 5}))
    assert reader.report() == Report(None, Usage(104, 101, cache_read=90, cache_write=10), seen=13, done=True)
    assert read(HI, BedrockConverseStream()).stream


def test_a_stream_cut_at_every_byte_never_counts_backwards() -> None:
    """I-22."""
    whole = CONVERSE_STREAM + event("metadata", usage=TOLD, metrics={})
    reader, seen = BedrockConverseStream().stream(hide=False), 0
    for at in range(len(whole)):
        reader.feed(whole[at : at + 1])
        assert reader.report().seen >= seen
        seen = reader.report().seen
    assert reader.report().usage == Usage(104, 101, cache_read=90, cache_write=10)


def test_a_stream_that_ends_in_an_exception_is_not_done() -> None:
    reader = BedrockConverseStream().stream(hide=False)
    reader.feed(delta("a") + frame(b'{"message": "slow down"}', "throttlingException", "exception"))
    assert reader.report() == Report(None, None, seen=1, done=False)


# invoke


@pytest.mark.parametrize(
    ("model", "body", "cap", "text"),
    [
        (
            CLAUDE,
            {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": HI["messages"]},
            9,
            9,
        ),
        ("amazon.nova-lite-v1:0", {**HI, "inferenceConfig": {"max_new_tokens": 9}}, 9, 20),
        ("amazon.nova-lite-v1:0", {**HI, "inferenceConfig": {"maxTokens": 9, "max_new_tokens": 12}}, 12, 20),
        (
            "amazon.titan-text-lite-v1",
            {"inputText": "hello", "textGenerationConfig": {"maxTokenCount": 9}},
            9,
            6,
        ),
        ("meta.llama3-8b-instruct-v1:0", {"prompt": "hello", "max_gen_len": 9}, 9, 6),
        ("mistral.mistral-7b-instruct-v0:2", {"prompt": "hello", "max_tokens": 9}, 9, 6),
        (
            "openai.gpt-oss-20b-1:0",
            {"messages": [{"role": "user", "content": "hello"}], "max_completion_tokens": 9},
            9,
            9,
        ),
        ("anthropic.claude-v2", {"prompt": "hello", "max_tokens_to_sample": 9}, 9, 6),
    ],
)
def test_every_makers_request_is_read_and_capped(
    model: str, body: dict[str, Any], cap: int, text: int
) -> None:
    form = BedrockInvoke()
    call = read(body, form, model)
    assert (call.cap, call.generates, call.stream) == (cap, True, False)
    assert call.text >= text - 1
    lowered = {**body, **form.cap("aws", {**body, "model": model}, 5)}
    assert read(lowered, form, model).cap == 5
    assert read(lowered, BedrockInvokeStream(), model).stream


@pytest.mark.parametrize(
    ("model", "body", "changed"),
    [
        (CLAUDE, {"anthropic_version": "b", "messages": []}, {"max_tokens": 5}),
        (
            "amazon.nova-lite-v1:0",
            {"schemaVersion": "messages-v1", "messages": []},
            {"inferenceConfig": {"maxTokens": 5}},
        ),
        ("amazon.titan-text-lite-v1", {"inputText": "a"}, {"textGenerationConfig": {"maxTokenCount": 5}}),
        ("meta.llama3-8b-instruct-v1:0", {"prompt": "a"}, {"max_gen_len": 5}),
        ("anthropic.claude-v2", {"prompt": "a"}, {"max_tokens_to_sample": 5}),
        ("openai.gpt-oss-20b-1:0", {"messages": []}, {"max_tokens": 5}),
        ("mistral.mistral-7b-instruct-v0:2", {"prompt": "a"}, {"max_tokens": 5}),
    ],
)
def test_a_cap_is_written_as_the_models_maker_has_it(
    model: str, body: dict[str, Any], changed: dict[str, Any]
) -> None:
    assert BedrockInvoke().cap("aws", {**body, "model": model}, 5) == changed


@pytest.mark.parametrize(
    ("model", "body", "operation"),
    [
        ("amazon.titan-embed-text-v2:0", {"inputText": "hello"}, "embeddings"),
        ("cohere.embed-english-v3", {"texts": ["hello"], "input_type": "search_query"}, "embeddings"),
        ("cohere.rerank-v3-5:0", {"query": "a", "documents": ["b"], "api_version": 2}, "rerank"),
        (
            "amazon.nova-canvas-v1:0",
            {"taskType": "TEXT_IMAGE", "textToImageParams": {"text": "a cat"}},
            "unknown",
        ),
        ("stability.sd3-large-v1:0", {"prompt": "a cat"}, "unknown"),
    ],
)
def test_what_makes_no_text_is_told_apart(model: str, body: dict[str, Any], operation: str) -> None:
    call = read(body, BedrockInvoke(), model)
    assert (call.operation, call.generates) == (operation, False)


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        (
            {"usage": {"input_tokens": 5, "output_tokens": 2, "cache_read_input_tokens": 3}},
            Usage(8, 2, cache_read=3),
        ),
        ({"usage": {"inputTokens": 5, "outputTokens": 2}}, Usage(5, 2)),
        ({"usage": {"prompt_tokens": 5, "completion_tokens": 2}}, Usage(5, 2)),
        ({"generation": "hi", "prompt_token_count": 5, "generation_token_count": 2}, Usage(5, 2)),
        ({"inputTextTokenCount": 5, "results": [{"tokenCount": 2}, {"tokenCount": 3}]}, Usage(5, 5)),
        ({"embedding": [0.1], "inputTextTokenCount": 5}, Usage(5)),
        ({"meta": {"billed_units": {"input_tokens": 5}}}, Usage(5)),
        ({"outputs": [{"text": "hi"}]}, None),
        ([], None),
    ],
)
def test_every_makers_usage_is_read(answer: object, usage: Usage | None) -> None:
    assert BedrockInvoke().answer(answer).usage == usage


@pytest.mark.parametrize(
    ("headers", "usage"),
    [
        ({"X-Amzn-Bedrock-Input-Token-Count": "5", "X-Amzn-Bedrock-Output-Token-Count": "2"}, Usage(5, 2)),
        ({"x-amzn-bedrock-input-token-count": "5"}, Usage(5)),
        (
            {"x-amzn-bedrock-input-token-count": "5", "x-amzn-bedrock-cache-read-input-token-count": "3"},
            Usage(8, cache_read=3),
        ),
        ({"x-amzn-bedrock-output-token-count": "2"}, None),
        ({"x-amzn-bedrock-input-token-count": "five"}, None),
        ({"x-amzn-bedrock-input-token-count": "9" * 40}, None),
        ({}, None),
    ],
)
def test_headers_tell_the_usage_too(headers: dict[str, str], usage: Usage | None) -> None:
    form = BedrockInvoke()
    assert isinstance(form, HeadReader)
    assert form.head(headers) == usage


METRICS = {
    "amazon-bedrock-invocationMetrics": {
        "inputTokenCount": 5,
        "outputTokenCount": 2,
        "cacheReadInputTokenCount": 3,
    }
}


def test_a_stream_of_claudes_is_read_as_claude_tells_it() -> None:
    started = {
        "model": "claude-x",
        "usage": {"input_tokens": 5, "output_tokens": 1, "cache_read_input_tokens": 3},
    }
    reader = BedrockInvokeStream().stream(hide=False)
    reader.feed(chunk(type="message_start", message=started))
    reader.feed(chunk(type="content_block_delta", delta={"type": "text_delta", "text": "a" * 40}))
    assert reader.report() == Report("claude-x", Usage(8, 1, cache_read=3), seen=10, done=False)
    reader.feed(chunk(type="message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 12}))
    reader.feed(chunk(type="message_stop", **METRICS))
    assert reader.report() == Report("claude-x", Usage(8, 12, cache_read=3), seen=10, done=True)


@pytest.mark.parametrize(
    "said",
    [
        {"generation": "a" * 40},
        {"outputText": "a" * 40},
        {"outputs": [{"text": "a" * 40}]},
        {"choices": [{"delta": {"content": "a" * 40}}]},
        {"contentBlockDelta": {"delta": {"text": "a" * 40}}},
    ],
)
def test_a_stream_of_others_is_read_by_what_bedrock_adds(said: dict[str, Any]) -> None:
    reader = BedrockInvokeStream().stream(hide=False)
    reader.feed(chunk(**said))
    assert reader.report() == Report(None, None, seen=10, done=False)
    reader.feed(chunk(stop_reason="stop", **METRICS))
    assert reader.report() == Report(None, Usage(8, 2, cache_read=3), seen=10, done=True)


def test_a_stream_of_novas_tells_its_usage_itself() -> None:
    reader = BedrockInvokeStream().stream(hide=False)
    reader.feed(chunk(metadata={"usage": TOLD}, **METRICS))
    assert reader.report() == Report(None, Usage(104, 101, cache_read=90, cache_write=10), seen=0, done=True)


# refusals


@pytest.mark.parametrize("form", [BedrockConverse(), BedrockInvoke()])
def test_a_refusal_is_one_of_bedrocks_exceptions(form: Format) -> None:
    spent = form.refusal(QuotaExceeded("The budget is spent", fields={"limit_usd": 10.0}))
    assert (spent["message"], spent["code"]) == ("The budget is spent", "ThrottlingException")
    assert (spent["error"]["code"], spent["error"]["limit_usd"]) == ("budget_exceeded", 10.0)
    assert form.refusal(PermissionDenied("no"))["code"] == "AccessDeniedException"
