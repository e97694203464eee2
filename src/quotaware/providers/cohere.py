"""Cohere's chat, in its second version and its first, whole and streamed, and its embeddings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.bounds import Call
from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext
from .base import Report, StreamReader
from .openai_audio import OpenAITranscription
from .plain import Plain
from .sse import EventReader, message
from .text import Tally, delta_size, member, seen_tokens, text_size, total

_IMAGE_TOKENS = 4_096
"""The most tokens of one image (docs.cohere.com, "Image inputs": up to 3,328; embedded ones up to 3,136)."""


class CohereChat:
    """`cohere.chat`: POST …/v2/chat."""

    name = "cohere.chat"
    operation = "chat"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        tally = self._tally(body)
        if body.get("response_format") is not None:
            tally.add_json(body["response_format"])
        return Call(
            provider=provider,
            operation=self.operation,
            model=jsontext.model_name(body),
            stream=jsontext.flag(body, "stream"),
            cap=jsontext.whole(body, "max_tokens"),
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=tally.media,
            doubt=tally.doubt,
            tools=tally.tools,
            opaque=tally.opaque,
            cache_write=False,
        )

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`."""
        named = jsontext.whole(body, "max_tokens")
        return {"max_tokens": tokens if named is None else min(named, tokens)}

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: every stream reports it."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`; it does not name the model."""
        return Report(usage=cohere_usage(member(body, "usage")), done=True)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`; no event is ever there for us alone."""
        return EventReader(_CohereAnswer(), hide=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return cohere_refusal(error)

    def _tally(self, body: Mapping[str, Any]) -> Tally:
        tally = Tally()
        for entry in jsontext.items(body, "messages"):
            _add_message(tally, entry)
        _add_documents(tally, body)
        tally.add_tools(body.get("tools"))
        return tally


class CohereChatV1(CohereChat):
    """`cohere.chat_v1`: POST …/v1/chat, which streams JSON objects, one a line."""

    name = "cohere.chat_v1"

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        return Report(usage=cohere_usage(member(body, "meta")), done=True)

    def _tally(self, body: Mapping[str, Any]) -> Tally:
        tally = Tally()
        for name in ("message", "preamble", "chat_history"):
            tally.parts += 1
            tally.add_strings(body.get(name))
        if body.get("tool_results") is not None:
            tally.add_json(body["tool_results"])
        _add_documents(tally, body)
        tally.add_tools(body.get("tools"))
        tally.opaque = bool(body.get("connectors") or body.get("conversation_id"))
        return tally


class CohereEmbed(Plain):
    """`cohere.embed`: POST …/v2/embed and …/v1/embed."""

    name = "cohere.embed"
    operation = "embeddings"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        tally = Tally()
        for name in ("texts", "images", "inputs"):
            given = body.get(name)
            for entry in given if isinstance(given, list) else [given]:
                tally.parts += 1
                _add_content(tally, member(entry, "content") if isinstance(entry, dict) else entry)
        return Call(
            provider=provider,
            operation=self.operation,
            model=jsontext.model_name(body),
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=tally.media,
            doubt=tally.doubt,
            opaque=tally.opaque,
            cache_write=False,
            generates=False,
        )

    def answer(self, body: object) -> Report:
        """See `Format.answer`; it does not name the model."""
        return Report(usage=cohere_usage(member(body, "meta")), done=True)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return cohere_refusal(error)


class CohereTranscription(OpenAITranscription):
    """`cohere.transcription`: POST …/v2/audio/transcriptions."""

    name = "cohere.transcription"

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return cohere_refusal(error)


def cohere_usage(told: object) -> Usage | None:
    """The tokens that an answer tells: all that were processed (`tokens`), or else those that are billed."""
    tokens = member(told, "tokens")
    if count(member(tokens, "input_tokens")) is None:
        tokens = member(told, "billed_units")
    sent, images = count(member(tokens, "input_tokens")), count(member(tokens, "image_tokens"))
    if sent is None and images is None:
        return None
    parts = [part for part in (sent, images) if part is not None]
    return Usage(
        input=total(*parts),
        output=count(member(tokens, "output_tokens")) or 0,
        cache_read=count(member(told, "cached_tokens")) or 0,
    )


def cohere_refusal(error: ApiError) -> dict[str, Any]:
    """An error as Cohere's API writes it: a `message`, and ours beside it."""
    return {"message": error.message, **error.body()}


@dataclass(slots=True)
class _CohereAnswer:
    """A streamed answer, of either version. It is done at its last event, which has the usage."""

    usage: Usage | None = None
    deltas: int = 0
    size: int = 0
    done: bool = False

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no event is ours."""
        if b'"citation' in event and _is_citation(event):
            return False
        if b'"message-end"' in event or b'"stream-end"' in event:
            self._take_end(message(event))
        text = text_size(event, len(event)) if b'"text-generation"' in event else 0
        if size := max(text, delta_size(event)):  # the larger, so that more of an event never counts less
            self.deltas += 1
            self.size += size
        return False

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        return Report(None, self.usage, seen_tokens(self.deltas, self.size), self.done)

    def _take_end(self, event: dict[str, Any]) -> None:
        if event.get("type") == "message-end":
            self.usage = cohere_usage(member(event.get("delta"), "usage")) or self.usage
            self.done = True
        elif event.get("event_type") == "stream-end":
            self.usage = cohere_usage(member(event.get("response"), "meta")) or self.usage
            self.done = True


def _is_citation(event: bytes) -> bool:
    """Whether an event is of what was said before: it says so before it repeats that."""
    begins = [at for name in (b'"delta"', b'"text"') if (at := event.find(name)) >= 0]
    return event.find(b'"citation', 0, min(begins, default=len(event))) >= 0


def _add_message(tally: Tally, entry: object) -> None:
    tally.parts += 1
    if not isinstance(entry, dict):
        tally.add_strings(entry)
        return
    _add_content(tally, entry.get("content"))
    tally.add_strings({name: value for name, value in entry.items() if name != "content"})


def _add_content(tally: Tally, content: object) -> None:
    """Adds a text, an image as a `data:` URL, or a list of parts."""
    for part in content if isinstance(content, list) else [content]:
        tally.parts += 1
        image = member(part, "image_url")
        url = member(image, "url") if isinstance(image, dict) else image
        if member(part, "type") == "image_url" or (isinstance(part, str) and part.startswith("data:image/")):
            shown = isinstance(part, str) or (isinstance(url, str) and url.startswith("data:"))
            tally.media += _IMAGE_TOKENS
            tally.opaque = tally.opaque or not shown
        elif member(part, "document") is not None:
            tally.add_json(part)
        else:
            tally.add_strings(part)


def _add_documents(tally: Tally, body: Mapping[str, Any]) -> None:
    """Adds what answers may be taken from; Cohere puts its own words around each."""
    documents = body.get("documents")
    if isinstance(documents, list):
        tally.parts += 4 * len(documents)
        tally.add_json(documents)
