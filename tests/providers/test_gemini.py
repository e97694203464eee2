"""Google's formats: what the model is called, what a request may take, what an answer used, how it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.bounds import Call
from quotaware.core.usage import Usage
from quotaware.errors import PermissionDenied, QuotaExceeded
from quotaware.providers import naming
from quotaware.providers.base import Format, Report, Unreadable
from quotaware.providers.gemini import (
    GeminiBatchEmbed,
    GeminiCache,
    GeminiCountTokens,
    GeminiEmbed,
    GeminiGenerate,
    GeminiStream,
    VertexPredict,
)
from quotaware.providers.google_shape import metadata_usage
from quotaware.providers.jsontext import edit, parse
from quotaware.providers.registry import find

GEMINI = "generativelanguage.googleapis.com"
VERTEX = "europe-west4-aiplatform.googleapis.com"
PUBLISHED = "/v1/projects/p/locations/l/publishers/google/models/gemini-2.5-pro"
HI = {"contents": [{"role": "user", "parts": [{"text": "hello"}]}]}


def named(host: str, path: str, body: dict[str, Any], **deployments: str) -> Call:
    route = find("POST", host, path)
    assert route is not None
    assert route.format is not None
    return naming.read(route, route.format, parse(json.dumps(body).encode()), deployments)


def read(body: dict[str, Any], form: Format | None = None) -> Call:
    return (form or GeminiGenerate()).read("google", {"model": "gemini-2.5-pro", **body})


# which call


@pytest.mark.parametrize(
    ("host", "path", "format"),
    [
        (GEMINI, "/v1beta/models/g:generateContent", "gemini.generate"),
        (GEMINI, "/v1beta/models/g:streamGenerateContent?alt=sse", "gemini.stream"),
        (GEMINI, "/v1beta/models/g:embedContent", "gemini.embed"),
        (GEMINI, "/v1beta/models/g:batchEmbedContents", "gemini.batch_embed"),
        (GEMINI, "/v1beta/models/g:countTokens", "gemini.count_tokens"),
        (GEMINI, "/v1beta/cachedContents", "gemini.cache"),
        (GEMINI, "/v1beta/openai/chat/completions", "openai.chat"),
        (GEMINI, "/v1beta/openai/embeddings", "openai.embeddings"),
        (VERTEX, f"{PUBLISHED}:generateContent", "gemini.generate"),
        (VERTEX, f"{PUBLISHED}:streamGenerateContent", "gemini.stream"),
        (VERTEX, f"{PUBLISHED}:predict", "vertex.predict"),
        ("aiplatform.googleapis.com", f"{PUBLISHED}:countTokens", "gemini.count_tokens"),
        ("aiplatform.eu.rep.googleapis.com", f"{PUBLISHED}:generateContent", "gemini.generate"),
        (VERTEX, "/v1/projects/p/locations/l/endpoints/openapi/chat/completions", "openai.chat"),
        (VERTEX, "/v1/projects/p/locations/l/publishers/anthropic/models/c:rawPredict", "anthropic.messages"),
        (
            VERTEX,
            "/v1/projects/p/locations/l/publishers/anthropic/models/c:streamRawPredict",
            "anthropic.messages",
        ),
        (VERTEX, "/v1/projects/p/locations/l/publishers/mistralai/models/m:rawPredict", "mistral.chat"),
        (
            VERTEX,
            "/v1/projects/p/locations/l/publishers/anthropic/models/count-tokens:rawPredict",
            "anthropic.count_tokens",
        ),
    ],
)
def test_both_hosts_are_read(host: str, path: str, format: str) -> None:
    route = find("POST", host, path)
    assert route is not None
    assert (route.provider, route.format and route.format.name) == ("google", format)


@pytest.mark.parametrize(
    ("host", "path"),
    [
        (GEMINI, "/v1beta/models/g:generateAnswer"),
        (GEMINI, "/v1beta/auth_tokens"),
        (GEMINI, "/upload/v1beta/fileSearchStores/s:uploadToFileSearchStore"),
        (VERTEX, "/v1/projects/p/locations/l/tuningJobs"),
        (VERTEX, "/v1/projects/p/locations/l:evaluateInstances"),
        (VERTEX, "/v1/projects/p/locations/l/publishers/meta/models/llama:rawPredict"),
        (VERTEX, "/v1/projects/p/locations/l/publishers/google/models/x:serverStreamingPredict"),
        (VERTEX, "/v1/projects/p/locations/l/batchPredictionJobs"),
    ],
)
def test_what_costs_and_is_not_read_is_unknown(host: str, path: str) -> None:
    """S10: so that it can be refused under a cost limit."""
    route = find("POST", host, path)
    assert route is not None
    assert (route.provider, route.format, route.operation, route.free) == ("google", None, "unknown", False)


@pytest.mark.parametrize(
    "path", ["/v1/projects/p/locations/l/datasets", "/v1/projects/p/locations/l/endpoints/7:predict"]
)
def test_what_else_vertex_serves_is_no_call(path: str) -> None:
    assert find("POST", VERTEX, path) is None


@pytest.mark.parametrize("host", ["storage.googleapis.com", "aiplatform.googleapis.com.evil.example"])
def test_other_hosts_are_strangers(host: str) -> None:
    assert find("POST", host, "/anything") is None


# which model


@pytest.mark.parametrize(
    ("host", "path", "said", "models"),
    [
        (GEMINI, "/v1beta/models/Gemini-2.5-Pro:generateContent", None, ["Gemini-2.5-Pro"]),
        (
            GEMINI,
            "/v1beta/models/gemini-2.5-pro:generateContent",
            "models/gemini-2.5-pro",
            ["gemini-2.5-pro"],
        ),
        (GEMINI, "/v1beta/models/gemini-2.5-pro:generateContent", "gemini-x", ["gemini-2.5-pro", "gemini-x"]),
        (VERTEX, f"{PUBLISHED}:generateContent", PUBLISHED[4:], ["gemini-2.5-pro"]),
        (
            VERTEX,
            "/v1/projects/p/locations/l/publishers/google/models/g@001:generateContent",
            None,
            ["g@001"],
        ),
        (GEMINI, "/v1beta/cachedContents", "models/gemini-2.5-pro", ["gemini-2.5-pro"]),
        ("llm.internal", "/gemini/v1beta/models/gemini-2.5-pro:generateContent", None, ["gemini-2.5-pro"]),
    ],
)
def test_the_url_names_the_model_and_so_may_the_body(
    host: str, path: str, said: str | None, models: list[str]
) -> None:
    """S8: the resource names of one model are that model; where body and URL differ, both are judged."""
    call = named(host, path, HI if said is None else {**HI, "model": said})
    assert [model.name for model in call.models] == models


def test_each_request_of_a_batch_may_name_a_model() -> None:
    requests = [
        {"model": f"models/{name}", "content": {"parts": [{"text": "a"}]}} for name in ("e", "other", "e")
    ]
    call = named(GEMINI, "/v1beta/models/e:batchEmbedContents", {"requests": requests})
    assert [model.name for model in call.models] == ["e", "other"]


def test_a_batch_whose_request_names_two_models_is_ambiguous() -> None:
    with pytest.raises(Unreadable, match="model") as caught:
        parse(b'{"requests": [{"model": "a", "model": "b"}]}')
    assert caught.value.code == "model_ambiguous"


@pytest.mark.parametrize(
    ("host", "path"),
    [
        (VERTEX, "/v1/projects/p/locations/l/endpoints/123:generateContent"),
        (GEMINI, "/v1beta/tunedModels/123:generateContent"),
    ],
)
def test_a_tuned_model_is_a_deployment(host: str, path: str) -> None:
    assert "deployments" in named(host, path, HI).unknown
    call = named(host, path, HI, **{"123": "gemini-2.5-flash"})
    assert [model.name for model in call.models] == ["gemini-2.5-flash"]


# what it asks for


def test_a_request_is_read() -> None:
    call = read(
        {
            "systemInstruction": {"parts": [{"text": "system"}]},
            "contents": [
                {"role": "user", "parts": [{"text": "héllo"}, {"functionCall": {"name": "f", "args": {}}}]}
            ],
            "tools": [{"functionDeclarations": [{"name": "f"}, {"name": "g"}]}],
            "generationConfig": {
                "maxOutputTokens": 50,
                "candidateCount": 3,
                "responseSchema": {"type": "STRING"},
            },
        }
    )
    assert (call.cap, call.choices, call.tools, call.stream, call.opaque) == (50, 3, 2, False, False)
    assert sum(call.kinds[5:]) == 2
    assert call.text >= len("systemhéllo") + 1 + len('{"name":"f","args":{}}') + len('{"type":"STRING"}')


def test_members_are_read_in_both_spellings() -> None:
    camel = read(
        {
            **HI,
            "systemInstruction": {"parts": {"text": "s"}},
            "generationConfig": {"maxOutputTokens": 9},
            "tools": {"functionDeclarations": {"name": "f"}},
        }
    )
    snake = read(
        {
            **HI,
            "system_instruction": {"parts": {"text": "s"}},
            "generation_config": {"max_output_tokens": 9},
            "tools": {"function_declarations": {"name": "f"}},
        }
    )
    assert snake.cap == camel.cap == 9
    assert (snake.tools, snake.parts, snake.opaque) == (camel.tools, camel.parts, False)


@pytest.mark.parametrize(
    "body",
    [
        {"generationConfig": {"maxOutputTokens": 9, "max_output_tokens": 10**6}},
        {"generationConfig": {}, "generation_config": {"max_output_tokens": 10**6}},
        {"systemInstruction": {}, "system_instruction": {}},
        {"generationConfig": 5},
        {"generationConfig": {"maxOutputTokens": "9"}},
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable):
        read({**HI, **body})


def test_a_cap_that_stands_twice_is_refused() -> None:
    with pytest.raises(Unreadable, match="maxOutputTokens"):
        parse(b'{"generationConfig": {"maxOutputTokens": 9, "maxOutputTokens": 100000}}')


@pytest.mark.parametrize("name", ["generationConfig", "contents", "systemInstruction"])
def test_a_member_may_not_stand_twice_or_in_other_letters(name: str) -> None:
    assert parse(f'{{"{name}": 1}}'.encode()) == {name: 1}
    for text in (f'{{"{name}": 1, "{name}": 2}}', f'{{"{name.upper()}": 1}}'):
        with pytest.raises(Unreadable, match=name):
            parse(text.encode())


@pytest.mark.parametrize(
    "body",
    [
        {"tools": [{"googleSearch": {}}]},
        {"tools": [{"url_context": {}}]},
        {"tools": [{"codeExecution": {}}]},
        {"cachedContent": "cachedContents/7"},
        {"cached_content": "cachedContents/7"},
        {"contents": {"parts": [{"fileData": {"fileUri": "https://a/b.pdf"}}]}},
        {"contents": {"parts": [{"file_data": {"file_uri": "gs://a"}}]}},
        {"contents": {"parts": [{"inlineData": {"mimeType": "video/mp4", "data": "AAAA"}}]}},
        {"contents": {"parts": [{"inlineData": {"data": "AAAA"}}]}},
    ],
)
def test_what_the_body_does_not_show_is_opaque(body: dict[str, Any]) -> None:
    assert read({**HI, **body}).opaque


@pytest.mark.parametrize(
    ("kind", "data", "least", "audio"),
    [
        ("image/png", "A" * 400, 1_548, False),
        ("audio/wav", "A" * 320_000, 960, True),
        ("application/pdf", "A" * 400, 5_000, False),
        ("text/csv", "A" * 400, 300, False),
    ],
)
def test_media_count_what_they_can_take(kind: str, data: str, least: int, audio: bool) -> None:
    blob = {"inlineData": {"mimeType": kind, "data": data}}
    inside = {"functionResponse": {"name": "f", "response": {}, "parts": [blob]}}
    for part in (blob, inside):
        call = read({"contents": [{"parts": [part]}]})
        assert call.media >= least
        assert (call.audio, call.opaque) == (audio, False)
        assert call.text < 200


def test_speech_is_audio() -> None:
    assert read({**HI, "generationConfig": {"responseModalities": ["AUDIO"]}}).audio


def test_streaming_stands_in_the_url() -> None:
    assert read(HI, GeminiStream()).stream


def test_text_to_embed_is_read_and_nothing_else_of_predictions() -> None:
    text = read({"instances": [{"content": "hello"}]}, VertexPredict())
    image = read({"instances": [{"prompt": "a cat"}], "parameters": {"sampleCount": 4}}, VertexPredict())
    assert (text.operation, text.text, text.generates) == ("embeddings", 5, False)
    assert (image.operation, image.opaque) == ("unknown", True)


@pytest.mark.parametrize(
    ("body", "written"),
    [
        (b'{"contents":[]}', b'{"contents":[],"generationConfig":{"maxOutputTokens":7}}'),
        (
            b'{"generationConfig": {"temperature": 0.5}, "contents":[]}',
            b'{"generationConfig": {"temperature":0.5,"maxOutputTokens":7}, "contents":[]}',
        ),
        (
            b'{"generation_config": {"max_output_tokens": 99}, "contents":[]}',
            b'{"generation_config": {"max_output_tokens":7}, "contents":[]}',
        ),
        (
            b'{"generationConfig": {"maxOutputTokens": 3}, "contents":[]}',
            b'{"generationConfig": {"maxOutputTokens":3}, "contents":[]}',
        ),
    ],
)
def test_a_cap_is_written_where_google_reads_it(body: bytes, written: bytes) -> None:
    parsed = parse(body)
    assert edit(body, parsed, GeminiGenerate().cap("google", parsed, 7)) == written


# what it used


@pytest.mark.parametrize(
    ("told", "usage"),
    [
        (
            {"promptTokenCount": 6, "candidatesTokenCount": 1, "thoughtsTokenCount": 35},
            Usage(6, 36, reasoning=35),
        ),
        ({"promptTokenCount": 15, "toolUsePromptTokenCount": 770}, Usage(785, 0)),
        ({"promptTokenCount": 9, "cachedContentTokenCount": 4}, Usage(9, 0, cache_read=4)),
        (
            {
                "promptTokenCount": 9,
                "candidatesTokenCount": 8,
                "promptTokensDetails": [
                    {"modality": "TEXT", "tokenCount": 2},
                    {"modality": "AUDIO", "tokenCount": 7},
                ],
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 8}],
            },
            Usage(9, 8, audio_input=7, audio_output=8),
        ),
        (
            {
                "promptTokenCount": 260,
                "candidatesTokenCount": 1_290,
                "promptTokenDetails": [{"modality": "IMAGE", "tokenCount": 258}],
                "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1_290}],
            },
            Usage(260, 1_290, image_input=258, image_output=1_290),
        ),
        ({"promptTokenCount": 5, "candidatesTokenCount": -1}, Usage(5, -1)),
        ({}, None),
        ({"promptTokenCount": "9"}, None),
        (None, None),
        ([], None),
    ],
)
def test_usage_is_read(told: object, usage: Usage | None) -> None:
    assert metadata_usage(told) == usage


def test_a_cache_is_charged_as_it_is_written() -> None:
    report = GeminiCache().answer({"name": "cachedContents/7", "usageMetadata": {"totalTokenCount": 4_000}})
    assert report.usage == Usage(input=4_000, cache_write=4_000)
    call = read({**HI, "ttl": "300s"}, GeminiCache())
    assert (call.cache_write, call.generates) == (True, False)


def test_a_count_is_free() -> None:
    assert read({"contents": []}, GeminiCountTokens()).free
    assert GeminiCountTokens().answer({"totalTokens": 5}).usage is None


@pytest.mark.parametrize(
    ("form", "body"),
    [
        (GeminiEmbed(), {"content": {"parts": [{"text": "hello"}]}}),
        (GeminiBatchEmbed(), {"requests": [{"content": {"parts": [{"text": "hel"}]}}, {"content": "lo"}]}),
    ],
)
def test_embeddings_count_their_text(form: Format, body: dict[str, Any]) -> None:
    call = read(body, form)
    assert (call.text, call.operation, call.generates) == (5, "embeddings", False)


def event(*texts: str, usage: dict[str, int] | None = None, reason: str | None = None) -> bytes:
    candidate: dict[str, Any] = {"content": {"parts": [{"text": text} for text in texts], "role": "model"}}
    told = {"candidates": [candidate | ({"finishReason": reason} if reason else {})]}
    return b"data: " + json.dumps(told | ({"usageMetadata": usage} if usage else {})).encode() + b"\r\n\r\n"


def test_a_stream_that_breaks_off_counts_what_was_made() -> None:
    """I-22: the usage of a step is replaced by that of the next one; what was made does not become less."""
    reader = GeminiStream().stream(hide=False)
    reader.feed(
        event("a" * 40, usage={"promptTokenCount": 9, "candidatesTokenCount": 30, "thoughtsTokenCount": 20})
    )
    reader.feed(event("b", usage={"promptTokenCount": 9}))
    report = reader.report()
    assert (report.seen, report.done) == (50, False)
    assert report.usage == Usage(9, 0)
    reader.feed(event("c", usage={"promptTokenCount": 12, "candidatesTokenCount": 40}, reason="STOP"))
    assert reader.report().usage == Usage(12, 40)
    assert reader.report().done


def test_text_without_usage_counts_by_its_bytes() -> None:
    reader = GeminiStream().stream(hide=False)
    reader.feed(event("a" * 100))
    reader.feed(b'data: {"candidates": [{"groundingMetadata": {"text": "' + b"x" * 999)
    assert reader.report()._replace(model=None) == Report(seen=25)


def test_a_prompt_that_was_blocked_is_done() -> None:
    reader = GeminiStream().stream(hide=False)
    reader.feed(
        b'data: {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 4}}\n\n'
    )
    assert reader.report().done
    assert reader.report().usage == Usage(4, 0)


# how it is refused


def test_a_refusal_is_googles_status() -> None:
    spent = QuotaExceeded("The budget is spent", fields={"limit_usd": 10.0}, retry_after=60)
    error = GeminiGenerate().refusal(spent)["error"]
    assert (error["code"], error["status"], error["message"]) == (
        429,
        "RESOURCE_EXHAUSTED",
        "The budget is spent",
    )
    assert (error["type"], error["limit_usd"]) == ("quota_exceeded", 10.0)
    assert error["details"][0]["reason"] == "budget_exceeded"
    assert error["details"][1]["retryDelay"] == "60s"
    denied = GeminiCountTokens().refusal(PermissionDenied("no", code="model_not_allowed"))["error"]
    assert (denied["code"], denied["status"], len(denied["details"])) == (403, "PERMISSION_DENIED", 1)
