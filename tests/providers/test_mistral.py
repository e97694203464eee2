"""Mistral's formats: what a request may take, which agent's model it is, what was used, how it is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.bounds import Call
from quotaware.core.usage import Usage
from quotaware.errors import QuotaExceeded
from quotaware.providers import naming
from quotaware.providers.base import Format, Report, Unreadable
from quotaware.providers.jsontext import edit, parse
from quotaware.providers.mistral import (
    MistralAgentChat,
    MistralChat,
    MistralConversation,
    MistralEmbeddings,
    MistralFim,
    MistralModerations,
    MistralOcr,
    MistralSpeech,
    MistralTranscription,
)
from quotaware.providers.registry import find

HOST = "api.mistral.ai"
TOLD = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
ALL: list[Format] = [
    MistralChat(),
    MistralFim(),
    MistralEmbeddings(),
    MistralConversation(),
    MistralModerations(),
    MistralOcr(),
    MistralSpeech(),
    MistralTranscription(),
]
HEARD = {"prompt_audio_seconds": 203, "prompt_tokens": 4, "completion_tokens": 635, "total_tokens": 3264}
"""The usage of a transcription, as in docs.mistral.ai/api (`UsageInfo`)."""


def read(body: dict[str, Any], form: Format) -> Call:
    return form.read("mistral", {"model": "mistral-small-latest", **body})


def named(path: str, body: dict[str, Any], **deployments: str) -> Call:
    route = find("POST", HOST, path)
    assert route is not None
    assert route.format is not None
    return naming.read(route, route.format, parse(json.dumps(body).encode()), deployments)


@pytest.mark.parametrize(
    ("path", "format", "operation"),
    [
        ("/v1/chat/completions", "mistral.chat", "chat"),
        ("/v1/fim/completions", "mistral.fim", "completions"),
        ("/v1/agents/completions", "mistral.agent_chat", "chat"),
        ("/v1/conversations", "mistral.conversation", "chat"),
        ("/v1/embeddings", "mistral.embeddings", "embeddings"),
        ("/v1/ocr", "mistral.ocr", "ocr"),
        ("/v1/files", None, "files"),
        ("/v1/conversations/c", "mistral.continuation", "chat"),
        ("/v1/conversations/c/restart", "mistral.continuation", "chat"),
        ("/v1/moderations", "mistral.moderations", "moderations"),
        ("/v1/chat/moderations", "mistral.moderations", "moderations"),
        ("/v1/classifications", "mistral.moderations", "moderations"),
        ("/v1/audio/transcriptions", "mistral.transcription", "audio"),
        ("/v1/audio/speech", "mistral.speech", "audio"),
        ("/v1/batch/jobs", None, "unknown"),
        ("/v1/libraries/l/documents", None, "unknown"),
        ("/v1/fine_tuning/jobs", None, "unknown"),
    ],
)
def test_its_host_is_read(path: str, format: str | None, operation: str) -> None:
    route = find("POST", HOST, path)
    assert route is not None
    assert (route.provider, route.format and route.format.name) == ("mistral", format)
    assert (route.operation, route.free) == (operation, operation == "files")


@pytest.mark.parametrize(
    ("path", "more"), [("/v1/agents/completions", {"messages": []}), ("/v1/conversations", {"inputs": "hi"})]
)
def test_an_agent_is_a_deployment(path: str, more: dict[str, Any]) -> None:
    """S8: its model is nowhere in the request; its owner says it, or the call is of an unknown one."""
    body = {"agent_id": "ag:1:poet", **more}
    assert "deployments" in named(path, body).unknown
    call = named(path, body, **{"ag:1:poet": "mistral-medium-latest"})
    assert [model.name for model in call.models] == ["mistral-medium-latest"]
    assert call.opaque
    both = named(path, {**body, "model": "mistral-large"}, **{"ag:1:poet": "mistral-medium-latest"})
    assert [model.name for model in both.models] == ["mistral-medium-latest", "mistral-large"]


def test_code_to_complete_is_read() -> None:
    call = read({"prompt": "def f(", "suffix": "return x", "max_tokens": 9, "stream": True}, MistralFim())
    assert (call.text, call.cap, call.stream) == (14, 9, True)
    with pytest.raises(Unreadable, match="prompt"):
        read({"prompt": ["a"]}, MistralFim())


def test_a_conversation_is_read() -> None:
    call = read(
        {
            "inputs": [{"role": "user", "content": "hello"}],
            "instructions": "be kind",
            "completion_args": {"max_tokens": 9},
            "tools": [{"type": "function", "function": {"name": "f"}}],
        },
        MistralConversation(),
    )
    assert (call.cap, call.tools, call.opaque) == (9, 1, False)
    assert call.text >= len("userhellobe kind")


@pytest.mark.parametrize(
    "more", [{"tools": [{"type": "web_search"}]}, {"inputs": [{"content": [{"type": "image_url"}]}]}]
)
def test_what_a_conversation_does_not_show_is_opaque(more: dict[str, Any]) -> None:
    assert read({"inputs": "hi", **more}, MistralConversation()).opaque


def test_caps_are_written_where_mistral_reads_them() -> None:
    body = b'{"model": "m", "inputs": "hi", "completion_args": {"temperature": 1, "max_tokens": 99}}'
    parsed = parse(body)
    assert edit(body, parsed, MistralConversation().cap("mistral", parsed, 7)) == (
        b'{"model": "m", "inputs": "hi", "completion_args": {"temperature":1,"max_tokens":7}}'
    )
    assert MistralConversation().cap("mistral", {"inputs": "hi"}, 7) == {"completion_args": {"max_tokens": 7}}
    assert MistralFim().cap("mistral", {"prompt": "a"}, 7) == {"max_tokens": 7}
    with pytest.raises(Unreadable, match="completion_args"):
        MistralConversation().cap("mistral", {"completion_args": 7}, 7)


def test_no_stream_is_asked_for_its_usage() -> None:
    """It refuses `stream_options`."""
    for form in ALL:
        assert form.ask_usage({"model": "m", "stream": True}) == {}


def test_answers_are_read() -> None:
    body = {"model": "mistral-small-latest", "usage": TOLD}
    told = Report("mistral-small-latest", Usage(9, 4), done=True)
    assert [form.answer(body) for form in (MistralFim(), MistralAgentChat(), MistralConversation())] == [
        told
    ] * 3
    pages = MistralOcr().answer(
        {"model": "mistral-ocr-latest", "pages": [], "usage_info": {"pages_processed": 3}}
    )
    assert pages == Report("mistral-ocr-latest", Usage(pages=3), done=True)
    assert MistralOcr().answer({}).usage is None


def test_pages_are_those_that_are_named_or_as_many_as_a_document_may_have() -> None:
    def most(**body: Any) -> tuple[int, int, bool]:
        call = read(body, MistralOcr())
        return call.pages, call.annotated_pages, call.opaque

    assert most(document={"type": "document_url"}) == (1_000, 0, True)
    assert most(document={"type": "document_url"}, pages=[0, 4]) == (2, 0, False)
    assert most(document={"type": "document_url"}, pages="0-4") == (1_000, 0, True)
    assert most(document={"type": "image_url"}, bbox_annotation_format={"type": "json_schema"}) == (
        1,
        1,
        False,
    )


def event(**members: Any) -> bytes:
    return b"data: " + json.dumps(members).encode() + b"\n\n"


def test_a_streamed_conversation_is_read() -> None:
    reader = MistralConversation().stream(hide=False)
    reader.feed(event(type="conversation.response.started", conversation_id="c"))
    reader.feed(event(type="message.output.delta", content="a" * 40))
    reader.feed(event(type="function.call.delta", arguments="b" * 4))
    assert reader.report() == Report(None, None, seen=11, done=False)
    reader.feed(event(type="conversation.response.done", usage=TOLD))
    assert reader.report() == Report(None, Usage(9, 4), seen=11, done=True)


def test_what_was_heard_is_told_in_seconds_and_tokens() -> None:
    """docs.mistral.ai/api, "Audio Transcriptions": `TranscriptionResponse`, `TranscriptionStreamDone`."""
    told = {"model": "voxtral-mini-latest", "text": "hi", "language": "en", "segments": [], "usage": HEARD}
    usage = Usage(input=4, output=635, audio_ms=203_000)
    assert MistralTranscription().answer(told) == Report("voxtral-mini-latest", usage, done=True)
    assert MistralTranscription().answer({**told, "usage": TOLD}).usage == Usage(9, 4)
    assert MistralTranscription().answer({}).usage is None
    reader = MistralTranscription().stream(hide=False)
    reader.feed(event(type="transcription.text.delta", text="a" * 40))
    assert reader.report() == Report(None, None, seen=10, done=False)
    reader.feed(event(type="transcription.done", **told))
    assert reader.report() == Report("voxtral-mini-latest", usage, seen=10, done=True)


def test_sound_that_a_url_or_a_file_id_names_is_opaque() -> None:
    call = read({"file_url": "https://x/a.mp3"}, MistralTranscription())
    assert (call.operation, call.opaque, call.media) == ("audio", True, 0)


def test_speech_is_told_in_tokens() -> None:
    """docs.mistral.ai/api, "Audio Speech": `SpeechStreamDone`; the model may be left to Mistral."""
    assert read({"input": "hello", "stream": True}, MistralSpeech()).stream
    assert not read({"input": "hello"}, MistralSpeech()).stream
    assert MistralSpeech().answer({"audio_data": "AAAA", "usage": TOLD}).usage == Usage(9, 4)
    assert MistralSpeech().answer({"audio_data": "AAAA"}).usage is None
    reader = MistralSpeech().stream(hide=False)
    reader.feed(event(type="speech.audio.delta", audio_data="A" * 400))
    reader.feed(event(type="speech.audio.done", usage=TOLD))
    assert reader.report() == Report(None, Usage(9, 4), done=True)
    unnamed = named("/v1/audio/speech", {"input": "hello"})
    assert (unnamed.model, unnamed.unknown) == (None, "the provider chooses its voice: name a model")


@pytest.mark.parametrize(
    ("path", "given"),
    [
        ("/v1/moderations", ["abcd", "ef"]),
        ("/v1/chat/moderations", [{"role": "", "content": "abcdef"}]),
        ("/v1/classifications", "abcdef"),
    ],
)
def test_moderations_count_what_they_read(path: str, given: Any) -> None:
    """docs.mistral.ai/api, "Classifiers": `ModerationResponse`, which tells no usage."""
    call = named(path, {"model": "mistral-moderation-latest", "input": given})
    assert (call.operation, call.text, call.opaque, call.free) == ("moderations", 6, False, False)
    assert MistralModerations().answer({"id": "m", "model": "m", "results": []}).usage is None
    with pytest.raises(Unreadable, match="model"):
        named(path, {"input": given})


@pytest.mark.parametrize("end", ["conv_1", "conv_1/restart"])
def test_a_conversation_that_goes_on_names_no_model(end: str) -> None:
    """docs.mistral.ai/api, "Conversations": the append and the restart of one."""
    call = named(f"/v1/conversations/{end}", {"inputs": "and then?", "completion_args": {"max_tokens": 9}})
    assert (call.model, call.cap, call.opaque) == (None, 9, True)
    assert "does not name" in call.unknown


@pytest.mark.parametrize("form", ALL, ids=lambda form: form.name)
def test_a_refusal_is_mistrals(form: Format) -> None:
    told = form.refusal(QuotaExceeded("The budget is spent", fields={"limit_usd": 10.0}))
    assert told["object"] == "error"
    assert (told["message"], told["type"], told["code"]) == (
        "The budget is spent",
        "quota_exceeded",
        "budget_exceeded",
    )
    assert told["limit_usd"] == 10.0
