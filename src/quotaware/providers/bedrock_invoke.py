"""Bedrock's InvokeModel, whole and streamed: each model in its maker's own format, found by the body's shape.

What the body of an answer does not report, its headers do, and the last event of a stream.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core.bounds import Call
from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext
from .anthropic_messages import AnthropicMessages, MessageAnswer, messages_besides, messages_usage
from .base import Format, Report, StreamReader, Unreadable
from .bedrock_converse import CAPS, BedrockConverse, apart, bedrock_refusal, converse_usage
from .cohere import CohereEmbed, cohere_usage
from .eventstream import FrameReader, wrapped
from .openai_chat import OpenAIChat, chat_usage
from .rerank import Rerank
from .sse import message
from .text import Tally, delta_size, member, name_in, said_size, strings_named, total

_COUNTED = re.compile(r"x-amzn-bedrock-([a-z-]+)-token-count\Z")
_METRICS = "amazon-bedrock-invocationMetrics"
_WITH_METRICS = b'"%s"' % _METRICS.encode()
_TITAN = "textGenerationConfig"
_THINKING = ("reasoning", "thinking")
_WITHIN = ("", "inferenceConfig", _TITAN)
"""Members in which caps stand; "" is the body itself."""
_SAID = strings_named("generation", "outputText", "completion", "text", "input")
_NO_TEXT = re.compile(r"image|canvas|stability|stable|reel|video|luma|ray")

_MESSAGES, _CONVERSE, _CHAT, _EMBED, _RERANK = (
    AnthropicMessages(),
    BedrockConverse(),
    OpenAIChat(),
    CohereEmbed(),
    Rerank(),
)


class BedrockInvoke:
    """`bedrock.invoke`: POST …/model/{modelId}/invoke."""

    name = "bedrock.invoke"
    operation = "chat"
    streams = False

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`. Of several caps the largest bears: which of them a model obeys is not for us to know."""
        shape = _shape(body)
        call = _texts(provider, body) if shape is None else shape.read(provider, body)
        caps = [cap for named in _caps(body).values() for cap in named.values()]
        return replace(call, stream=self.streams, cap=max(caps, default=None))

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`: the caps that the body names are lowered; where it names none, one is set as the model's
        maker has it, whom `model` tells where the body does not.
        """
        shape = _shape(body)
        changed = shape.cap(provider, body, tokens) if shape in (_MESSAGES, _CHAT) else {}
        if shape is _CHAT:  # whose cap has another name at some makers
            changed = {name: value for name, value in changed.items() if name in _THINKING}
        named = _caps(body)
        if not named and shape is not _MESSAGES:
            within, name = _own_cap(shape, str(body.get("model", "")).lower())
            named = {within: {name: tokens}}
        for within, caps in named.items():
            lowered = {name: min(cap, tokens) for name, cap in caps.items()}
            changed |= {within: {**_settings(body, within), **lowered}} if within else lowered
        return changed

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: every answer reports it."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        besides = messages_besides(member(body, "usage"))
        return Report(name_in(body), _usage(body), done=True, besides=besides)

    def head(self, headers: Mapping[str, str]) -> Usage | None:
        """See `HeadReader.head`."""
        told = {
            found[1]: int(value)
            for name, value in headers.items()
            if (found := _COUNTED.match(name.lower())) and value.isdecimal() and len(value) < 16
        }
        if "input" not in told:
            return None
        return apart(
            told["input"],
            told.get("output", 0),
            told.get("cache-read-input", 0),
            told.get("cache-write-input", 0),
        )

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`; no event is ever there for us alone."""
        return FrameReader(_InvokeAnswer(), wrapped)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return bedrock_refusal(error)


class BedrockInvokeStream(BedrockInvoke):
    """`bedrock.invoke_stream`: POST …/model/{modelId}/invoke-with-response-stream."""

    name = "bedrock.invoke_stream"
    streams = True


@dataclass(slots=True)
class _InvokeAnswer(MessageAnswer):
    """A streamed answer in any maker's format. It is done at the metrics that Bedrock puts into its last event."""

    usage: Usage | None = None
    metrics: Usage | None = None

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no event is ours."""
        if b'"content_block_delta"' in event:
            return MessageAnswer.take(self, event)
        if b'"message_' in event:
            MessageAnswer.take(self, event)
        if size := delta_size(event) or said_size(event, _SAID):
            self.deltas += 1
            self.size += size
        if _WITH_METRICS in event:
            self._take_metrics(message(event).get(_METRICS))
        if b'"usage"' in event and b'"message_' not in event:
            told = message(event)
            self.usage = _usage(told) or _usage(told.get("metadata")) or self.usage
        return False

    def report(self) -> Report:
        """See `sse.Answer.report`: as the model tells it, where it does; Bedrock's own count does not say for how long
        input was cached.
        """
        told = MessageAnswer.report(self)
        return told._replace(usage=told.usage or self.usage or self.metrics)

    def _take_metrics(self, told: object) -> None:
        sent, made = count(member(told, "inputTokenCount")), count(member(told, "outputTokenCount"))
        cached, written = (
            count(member(told, f"cache{kind}InputTokenCount")) or 0 for kind in ("Read", "Write")
        )
        if sent is not None:
            self.metrics = apart(sent, made or 0, cached, written)
            self.done = True


def _shape(body: Mapping[str, Any]) -> Format | None:
    """The format that a body is in; None: texts in members of their own."""
    if body.get("anthropic_version") is not None and "messages" in body:
        return _MESSAGES
    if "messages" in body:
        return _CONVERSE if body.keys() & {"inferenceConfig", "schemaVersion", "toolConfig"} else _CHAT
    if isinstance(body.get("documents"), list) and "query" in body:
        return _RERANK
    return _EMBED if "input_type" in body else None


def _texts(provider: str | None, body: Mapping[str, Any]) -> Call:
    """A call whose body is text in members of its maker's (`prompt`, `inputText`), or asks for no text at all."""
    model, tally = jsontext.model_name(body), Tally()
    tally.add_strings({name: value for name, value in body.items() if name != "model"})
    bare = model.lower()
    makes_none = "embed" in bare or _NO_TEXT.search(bare) is not None
    return Call(
        provider=provider,
        operation="embeddings" if "embed" in bare else "unknown" if makes_none else "completions",
        model=model,
        text=tally.text,
        kinds=tally.kinds,
        parts=1,
        opaque=makes_none and "embed" not in bare,
        generates=not makes_none,
    )


def _caps(body: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    """The output caps that a body names, by the member in which they stand."""
    found: dict[str, dict[str, int]] = {}
    for within in _WITHIN:
        settings = _settings(body, within)
        for name in CAPS & settings.keys():
            if (cap := jsontext.whole(settings, name)) is not None:
                found.setdefault(within, {})[name] = cap
    return found


def _settings(body: Mapping[str, Any], within: str) -> Mapping[str, Any]:
    if not within:
        return body
    found = body.get(within)
    if found is not None and not isinstance(found, dict):
        raise Unreadable(f"{within}: an object is required")
    return found or {}


def _own_cap(shape: Format | None, model: str) -> tuple[str, str]:
    """Where the cap stands of a body that names none: within what, and by which name."""
    if shape is _CONVERSE:
        return "inferenceConfig", "maxTokens"
    if shape is None and "titan" in model:
        return _TITAN, "maxTokenCount"
    if shape is None and "llama" in model:
        return "", "max_gen_len"
    if shape is None and "claude" in model:
        return "", "max_tokens_to_sample"
    return "", "max_tokens"


def _usage(body: object) -> Usage | None:
    """What an answer reports, in any maker's words."""
    told = member(body, "usage")
    usage = (
        messages_usage(told) or converse_usage(told) or chat_usage(told) or cohere_usage(member(body, "meta"))
    )
    if usage is not None:
        return usage
    llama = count(member(body, "prompt_token_count"))
    if llama is not None:
        return Usage(llama, count(member(body, "generation_token_count")) or 0)
    titan = count(member(body, "inputTextTokenCount"))
    if titan is None:
        return None
    results = member(body, "results")
    made = (
        [count(member(result, "tokenCount")) or 0 for result in results] if isinstance(results, list) else []
    )
    return Usage(titan, total(*made))
