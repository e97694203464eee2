"""Whatever comes over the wire: an answer, or `Unreadable`, and nothing else."""

from __future__ import annotations

import functools
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.bounds import Call
from quotaware.providers.anthropic_batches import AnthropicBatches, AnthropicBatchResults
from quotaware.providers.anthropic_messages import AnthropicCountTokens, AnthropicMessages
from quotaware.providers.base import Format, Report, Unreadable
from quotaware.providers.bedrock_converse import BedrockConverse, BedrockConverseStream
from quotaware.providers.bedrock_invoke import BedrockInvoke, BedrockInvokeStream
from quotaware.providers.by_request import ByRequest
from quotaware.providers.cohere import CohereChat, CohereChatV1, CohereEmbed, CohereTranscription
from quotaware.providers.gemini import (
    GeminiBatchEmbed,
    GeminiCache,
    GeminiCountTokens,
    GeminiEmbed,
    GeminiGenerate,
    GeminiStream,
    VertexPredict,
)
from quotaware.providers.gemini_batches import GeminiBatch, GeminiBatchResults, GeminiEmbedBatch
from quotaware.providers.gemini_interactions import GeminiInteractions
from quotaware.providers.jsontext import parse
from quotaware.providers.mistral import (
    MistralAgentChat,
    MistralContinuation,
    MistralConversation,
    MistralFim,
    MistralModerations,
    MistralOcr,
    MistralSpeech,
    MistralTranscription,
)
from quotaware.providers.ollama import OllamaChat, OllamaEmbed, OllamaGenerate
from quotaware.providers.openai_audio import OpenAISpeech, OpenAITranscription
from quotaware.providers.openai_chat import OpenAIChat
from quotaware.providers.openai_completions import OpenAICompletions
from quotaware.providers.openai_embeddings import OpenAIEmbeddings
from quotaware.providers.openai_images import OpenAIImages
from quotaware.providers.openai_moderations import OpenAIModerations
from quotaware.providers.openai_responses import OpenAICompaction, OpenAIResponses
from quotaware.providers.pooling import Pooling
from quotaware.providers.rerank import Rerank
from quotaware.providers.voyage import VoyageInputs
from tests.providers.frames import chunk, frame

STREAMING: list[Format] = [
    OpenAIChat(),
    AnthropicMessages(),
    GeminiStream(),
    OpenAIResponses(),
    CohereChat(),
    MistralConversation(),
    GeminiInteractions(),
]
FRAMED: list[Format] = [BedrockConverseStream(), BedrockInvokeStream()]
SHORT_STREAMS: list[Format] = [
    OpenAICompletions(),
    OpenAIImages(),
    OpenAISpeech(),
    OllamaChat(),
    OllamaGenerate(),
    MistralSpeech(),
    MistralTranscription(),
    GeminiBatchResults(),
]
FORMATS: list[Format] = [
    *STREAMING,
    *FRAMED,
    BedrockConverse(),
    BedrockInvoke(),
    OpenAIEmbeddings(),
    OpenAICompaction(),
    OpenAIModerations(),
    OpenAICompletions(),
    OpenAIImages(),
    OpenAISpeech(),
    OpenAITranscription(),
    AnthropicCountTokens(),
    GeminiGenerate(),
    GeminiCountTokens(),
    GeminiEmbed(),
    GeminiBatchEmbed(),
    GeminiCache(),
    VertexPredict(),
    CohereChatV1(),
    CohereEmbed(),
    CohereTranscription(),
    MistralAgentChat(),
    MistralFim(),
    MistralContinuation(),
    MistralModerations(),
    MistralOcr(),
    MistralSpeech(),
    MistralTranscription(),
    OllamaChat(),
    OllamaEmbed(),
    OllamaGenerate(),
    GeminiBatch(),
    GeminiBatchResults(),
    GeminiEmbedBatch(),
    Pooling(),
    ByRequest("videos"),
    Rerank(),
    VoyageInputs(),
    AnthropicBatches(),
    AnthropicBatchResults(),
]
NAMES = [
    *("model", "models", "messages", "input", "max_tokens", "n", "stream", "stream_options", "include_usage"),
    *(
        "role",
        "content",
        "type",
        "text",
        "image_url",
        "url",
        "detail",
        "input_audio",
        "data",
        "format",
        "file",
    ),
    *("file_data", "tools", "functions", "system", "source", "thinking", "budget_tokens", "usage", "choices"),
    *(
        "prompt_tokens",
        "completion_tokens",
        "prompt_tokens_details",
        "input_tokens",
        "output_tokens",
        "delta",
    ),
    *(
        "contents",
        "parts",
        "inlineData",
        "inline_data",
        "mimeType",
        "functionResponse",
        "requests",
        "instances",
    ),
    *("batch", "inputConfig", "request", "parameters", "sampleCount", "images", "options", "num_predict"),
    *(
        "text_1",
        "text_2",
        "queries",
        "generation_config",
        "interaction",
        "response",
        "metadata",
        "total_input_tokens",
    ),
    *("generationConfig", "maxOutputTokens", "max_output_tokens", "usageMetadata", "promptTokenCount"),
    *("candidates", "finishReason", "promptTokensDetails", "modality", "tokenCount", "functionDeclarations"),
    *(
        "inputs",
        "texts",
        "documents",
        "query",
        "chat_history",
        "suffix",
        "completion_args",
        "agent_id",
        "params",
        "result",
    ),
    *("meta", "tokens", "billed_units", "search_units", "image_tokens", "event_type", "usage_info"),
    *("inferenceConfig", "maxTokens", "max_new_tokens", "toolConfig", "cachePoint", "toolResult", "bytes"),
    *("prompt", "inputText", "textGenerationConfig", "maxTokenCount", "anthropic_version", "input_type"),
    *("inputTokens", "outputTokens", "cacheDetails", "inputTextTokenCount", "results", "metadata"),
    *("cache_creation", "message", "x_groq", "cache_control", "audio", "prediction", "container"),
    *("response", "instructions", "max_output_tokens", "input_image", "result", "prompt", "variables"),
]
WORDS = [
    *NAMES,
    "image",
    "document",
    "base64",
    "data:image/png;base64,AA",
    "http://a",
    "message_start",
    "message_delta",
    "message_stop",
    "input_file",
    "image_generation_call",
    "item_reference",
    "response.created",
    "response.completed",
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 9)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=3)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=6)
SHAPED = st.builds(
    lambda members, content, system: {
        "model": "m",
        "input": content,
        "messages": [{"role": "user", "content": content}],
        "system": system,
        **members,
    },
    OBJECTS,
    VALUES,
    VALUES,
)
SNIPPETS = [
    b"data: ",
    b"\n",
    b"\n\n",
    b"\r",
    b"event: message_start",
    b"[DONE]",
    b'{"delta":{"content":"',
    b'"}}',
    b'{"usage":{',
    b'"usage":{}',
    b"\\u12",
    b"\xff",
    b"content_block_delta",
    b'{"type":"message-end","delta":{"usage":{"tokens":{',
    b'{"event_type":"text-generation","text":"',
    b'"citation',
    b'{"type":"message.output.delta","content":"',
    b'{"usageMetadata": {"candidatesTokenCount": 7',
    b'{"type":"message_delta"}',
    b'{"type":"response.completed","response":{"usage":{',
    b'{"delta":"',
]
FRAMES = st.lists(
    st.sampled_from([b"\x00\x00", frame(b"{}")[:9]])
    | st.binary(max_size=4)
    | OBJECTS.map(lambda value: frame(json.dumps(value).encode()))
    | OBJECTS.map(lambda value: chunk(**value)),
    max_size=12,
)
STREAMS = st.lists(
    st.sampled_from(SNIPPETS)
    | st.binary(max_size=4)
    | OBJECTS.map(lambda value: b"data: " + json.dumps(value).encode() + b"\n\n"),
    max_size=12,
)


def fuzzed(few: int, many: int, **drawn: Any) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Tries a test on few examples each time, and on many as a slow proof."""

    def tried(test: Callable[..., None]) -> Callable[..., None]:
        @pytest.mark.parametrize(
            "examples",
            [few, pytest.param(many, marks=pytest.mark.slow, id=f"many-{many}")],
        )
        @functools.wraps(test)
        def run(form: Format, examples: int) -> None:
            @settings(deadline=None, max_examples=examples)
            @given(**drawn)
            def one(**values: Any) -> None:
                test(form, **values)

            one()

        del run.__wrapped__  # whose signature names what is drawn
        return run

    return tried


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@fuzzed(15, 100, body=OBJECTS | SHAPED)
def test_a_request_is_read_or_unreadable(form: Format, body: dict[str, Any]) -> None:
    try:
        call = form.read("openai", body)
    except Unreadable:
        return
    assert isinstance(call, Call)
    assert min(call.text, *call.kinds, call.parts, call.media, call.tools) >= 0
    assert call.choices >= 1
    changed = {**body, **form.cap("openai", body, 300), **form.ask_usage(body)}
    again = form.read("openai", changed)
    assert again.sealed or (again.cap or 0) <= 300


@pytest.mark.parametrize("form", FORMATS, ids=lambda form: form.name)
@fuzzed(12, 60, body=VALUES | OBJECTS)
def test_an_answer_of_any_shape_is_reported(form: Format, body: object) -> None:
    assert isinstance(form.answer(body), Report)


@pytest.mark.parametrize("form", [*STREAMING, *SHORT_STREAMS], ids=lambda form: form.name)
@fuzzed(15, 100, chunks=STREAMS, hide=st.booleans())
def test_a_stream_of_any_bytes_is_passed_on_and_never_counts_backwards(
    form: Format, chunks: list[bytes], hide: bool
) -> None:
    reader, passed, seen = form.stream(hide), b"", 0
    for piece in chunks:
        passed += reader.feed(piece)
        assert reader.report().seen >= seen
        seen = reader.report().seen
    passed += reader.flush()
    assert reader.report().seen == seen
    assert hide or passed == b"".join(chunks)
    once = form.stream(hide)
    assert once.feed(b"".join(chunks)) + once.flush() == passed
    assert once.report() == reader.report()


KINDS = [
    "",
    "content_block_delta",
    "conversation.response.done",
    "citation",
    "function.call.delta",
    "message-end",
    "message.output.delta",
    "response.audio.delta",
    "speech.audio.delta",
    "speech.audio.done",
    "text-generation",
    "transcription.done",
    "transcription.text.delta",
]
TEXTS = ("delta", "text", "content", "arguments")
"""Members that have the text of an event, in some format."""


@pytest.mark.parametrize("form", [*STREAMING, *SHORT_STREAMS], ids=lambda form: form.name)
@pytest.mark.parametrize("text", TEXTS)
def test_an_event_that_says_its_kind_twice_never_counts_backwards(form: Format, text: str) -> None:
    """Once before the text and once after it, where it was counted already while it was under way."""
    for before, after in itertools.product(KINDS, KINDS):
        reader, seen = form.stream(hide=False), 0
        for piece in (
            f'data: {{"type":"{before}",',
            f'"{text}":"a few",',
            f'"type":"{after}"}}',
            "\n\n",
        ):
            reader.feed(piece.encode())
            assert reader.report().seen >= seen, (before, after)
            seen = reader.report().seen


@pytest.mark.parametrize("form", FRAMED, ids=lambda form: form.name)
@fuzzed(15, 100, chunks=FRAMES, hide=st.booleans())
def test_frames_of_any_bytes_are_passed_on_and_never_count_backwards(
    form: Format, chunks: list[bytes], hide: bool
) -> None:
    reader, once, seen = form.stream(hide), form.stream(hide), 0
    for piece in chunks:
        assert reader.feed(piece) == piece
        assert reader.report().seen >= seen
        seen = reader.report().seen
    assert reader.flush() == b""
    once.feed(b"".join(chunks))
    assert once.report() == reader.report()


def test_a_schema_that_is_nested_too_deeply_is_unreadable() -> None:
    """S6: what could be parsed but not written again; the walk over messages has no such bound."""
    deep: Any = "x"
    for _ in range(50_000):
        deep = [deep]
    body = {
        "model": "m",
        "messages": [{"role": "user", "content": deep}],
        "contents": [deep],
        "input": [deep],
        "inputs": [deep],
        "tools": [deep, {"functionDeclarations": [deep]}],
        "toolConfig": {"tools": [deep]},
    }
    for form in (*STREAMING, BedrockConverse(), BedrockInvoke()):
        with pytest.raises(Unreadable, match="nested"):
            form.read(None, body)
        assert form.read(None, {**body, "tools": None, "toolConfig": None}).text >= 1
    with pytest.raises(Unreadable):
        parse(b'{"tools":' + b"[" * 50_000)
