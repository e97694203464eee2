"""Mistral's formats: OpenAI's chat and embeddings in its own words for errors, its completion of code, its agents, its
reading of documents, its ears and its voice.
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
from .base import Report, StreamReader, Unreadable
from .openai_audio import OpenAISpeech, OpenAITranscription
from .openai_chat import OpenAIChat, chat_usage, whole_answer
from .openai_embeddings import OpenAIEmbeddings
from .openai_moderations import OpenAIModerations
from .plain import Plain
from .sse import EventReader, message
from .text import Tally, member, name_in, seen_tokens, string_size

_OWN_TOOLS = (None, "function")
_ANNOTATIONS = ("document_annotation_format", "bbox_annotation_format")
_MOST_PAGES = 1_000
"""Pages of a document that OCR takes at most, as those say who relay it (AIML API's "Mistral OCR")."""


class MistralChat(OpenAIChat):
    """`mistral.chat`: POST …/chat/completions.

    It answers 422 to `stream_options`, and reports usage in every stream.
    """

    name = "mistral.chat"

    def __init__(self) -> None:
        super().__init__(asks=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return mistral_refusal(error)


class MistralAgentChat(MistralChat):
    """`mistral.agent_chat`: POST …/agents/completions. What the agent was made with, the body does not show."""

    name = "mistral.agent_chat"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        return replace(super().read(provider, body), opaque=True)


class MistralFim(MistralChat):
    """`mistral.fim`: POST …/fim/completions, which writes what stands between a `prompt` and a `suffix`."""

    name = "mistral.fim"
    operation = "completions"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        tally = Tally(parts=2)
        if not isinstance(body.get("prompt"), str):
            raise Unreadable("prompt: a text is required")
        tally.add_strings([body["prompt"], body.get("suffix")])
        return Call(
            provider=provider,
            operation=self.operation,
            model=jsontext.model_name(body),
            stream=jsontext.flag(body, "stream"),
            cap=jsontext.whole(body, "max_tokens"),
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            cache_write=False,
        )


class MistralEmbeddings(OpenAIEmbeddings):
    """`mistral.embeddings`: POST …/embeddings."""

    name = "mistral.embeddings"

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return mistral_refusal(error)


class MistralConversation:
    """`mistral.conversation`: POST …/conversations, the first call of a conversation that Mistral keeps."""

    name = "mistral.conversation"
    operation = "chat"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`. An agent was made with what the body does not show."""
        tally = Tally()
        inputs = body.get("inputs")
        for entry in inputs if isinstance(inputs, list) else [inputs]:
            tally.parts += 1
            tally.add_strings(entry)
            tally.opaque = tally.opaque or isinstance(
                member(entry, "content"), list
            )  # images and files among it
        tally.add_strings(body.get("instructions"))
        tools = body.get("tools")
        tally.add_tools(tools)
        elsewhere = isinstance(tools, list) and any(member(tool, "type") not in _OWN_TOOLS for tool in tools)
        return Call(
            provider=provider,
            operation=self.operation,
            model=jsontext.model_name(body),
            stream=jsontext.flag(body, "stream"),
            cap=jsontext.whole(_arguments(body), "max_tokens"),
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            tools=tally.tools,
            opaque=tally.opaque or elsewhere or body.get("agent_id") is not None,
            cache_write=False,
        )

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`."""
        arguments = _arguments(body)
        named = jsontext.whole(arguments, "max_tokens")
        return {
            "completion_args": {**arguments, "max_tokens": tokens if named is None else min(named, tokens)}
        }

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: every stream reports it."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        return whole_answer(body, chat_usage)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`; no event is ever there for us alone."""
        return EventReader(_ConversationAnswer(), hide=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return mistral_refusal(error)


class MistralContinuation(MistralConversation):
    """`mistral.continuation`: POST …/conversations/{id} and …/restart, which go on with what Mistral keeps."""

    name = "mistral.continuation"
    chosen = "its conversation was begun with a model, or an agent, that this request does not name"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        return replace(super().read(provider, body), opaque=True)


class MistralModerations(OpenAIModerations):
    """`mistral.moderations`: POST …/moderations, …/classifications, and both of a chat. They tell no usage."""

    name = "mistral.moderations"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`: texts, or the messages of chats."""
        jsontext.model_name(body)  # there is none that is taken for granted
        return replace(super().read(provider, body), opaque=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return mistral_refusal(error)


class MistralSpeech(OpenAISpeech):
    """`mistral.speech`: POST …/audio/speech, whose sound comes in JSON or in events."""

    name = "mistral.speech"
    binary = False
    chosen = "the provider chooses its voice: name a model"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        return replace(super().read(provider, body), stream=jsontext.flag(body, "stream"))

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        return Report(None, chat_usage(member(body, "usage")), done=True)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`."""
        return EventReader(_SoundAnswer(), hide=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return mistral_refusal(error)


class MistralTranscription(OpenAITranscription):
    """`mistral.transcription`: POST …/audio/transcriptions, billed by the second of sound."""

    name = "mistral.transcription"

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        return Report(name_in(body), _heard(member(body, "usage")), done=True)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`."""
        return EventReader(_SoundAnswer(), hide=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return mistral_refusal(error)


class MistralOcr(Plain):
    """`mistral.ocr`: POST …/ocr. It is billed by the page, and takes no tokens."""

    name = "mistral.ocr"
    operation = "ocr"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`. How many pages a document has, the body does not show where it names none."""
        model, named = jsontext.model_name(body), body.get("pages")
        image = member(body.get("document"), "type") == "image_url"
        pages = len(named) if isinstance(named, list) and named else 1 if image else _MOST_PAGES
        return Call(
            provider=provider,
            operation=self.operation,
            model=model,
            opaque=pages == _MOST_PAGES,
            pages=pages,
            annotated_pages=pages if any(body.get(name) is not None for name in _ANNOTATIONS) else 0,
            cache_write=False,
            generates=False,
        )

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        pages = count(member(member(body, "usage_info"), "pages_processed"))
        return Report(name_in(body), None if pages is None else Usage(pages=pages), done=True)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return mistral_refusal(error)


def mistral_refusal(error: ApiError) -> dict[str, Any]:
    """An error as Mistral's API writes it: flat, and an object of its own kind."""
    return {"object": "error", "param": None, **error.body()["error"]}


_DELTA = re.compile(rb'"message\.output\.delta"|"function\.call\.delta"')


@dataclass(slots=True)
class _ConversationAnswer:
    """A streamed conversation. It is done at its last event, which has the usage."""

    usage: Usage | None = None
    deltas: int = 0
    size: int = 0
    done: bool = False

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no event is ours."""
        if _DELTA.search(event):
            if size := max(string_size(event, b"content"), string_size(event, b"arguments")):
                self.deltas += 1
                self.size += size
        elif b'"conversation.response.done"' in event:
            told = message(event)
            if told.get("type") == "conversation.response.done":
                self.usage = chat_usage(told.get("usage")) or self.usage
                self.done = True
        return False

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        return Report(None, self.usage, seen_tokens(self.deltas, self.size), self.done)


@dataclass(slots=True)
class _SoundAnswer:
    """Sound or what was heard as a stream. It is done at the event that says so, which has the usage."""

    model: str | None = None
    usage: Usage | None = None
    deltas: int = 0
    size: int = 0
    done: bool = False

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no event is ours."""
        if b'.done"' in event:
            told = message(event)
            if told.get("type") in ("transcription.done", "speech.audio.done"):
                self.model = name_in(told)
                self.usage = _heard(told.get("usage")) or self.usage
                self.done = True
        if b'"transcription.text.delta"' in event and (size := string_size(event, b"text")):
            self.deltas += 1
            self.size += size
        return False

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        return Report(self.model, self.usage, seen_tokens(self.deltas, self.size), self.done)


def _heard(usage: object) -> Usage | None:
    """The tokens in a `usage` object, and the seconds of sound, which are no tokens of the input."""
    told, seconds = chat_usage(usage), count(member(usage, "prompt_audio_seconds"))
    if told is None or seconds is None:
        return told
    return replace(told, audio_ms=seconds * 1000)


def _arguments(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = body.get("completion_args")
    if found is not None and not isinstance(found, dict):
        raise Unreadable("completion_args: an object is required")
    return found or {}
