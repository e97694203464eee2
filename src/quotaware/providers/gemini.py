"""Gemini's content generation, whole and streamed, its token counting, its embeddings and its cached contents.

The model stands in the URL (`…/models/gemini-2.5-flash:generateContent`), on both of Google's hosts.
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
from .google_shape import (
    add_contents,
    add_tools,
    config,
    each,
    either,
    google_refusal,
    grounding,
    metadata_usage,
    spelled,
    web_searches,
    whole,
)
from .plain import Plain
from .served import SEARCHES, google_tier, tier
from .sse import EventReader, message
from .text import Tally, member, name_in, seen_tokens, text_size

_MADE, _THOUGHT = (
    re.compile(rb'"%s"\s*:\s*([0-9]{1,9})' % name)
    for name in (b"candidatesTokenCount", b"thoughtsTokenCount")
)
_SEARCH_TOOLS = ("googleSearch", "googleSearchRetrieval")
_MOST_QUERIES = 1_000
_SCHEMAS = ("responseSchema", "responseJsonSchema")


class GeminiGenerate:
    """`gemini.generate`: POST …:generateContent."""

    name = "gemini.generate"
    operation = "chat"
    streams = False

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`. `maxOutputTokens` bounds what is thought and what is said together."""
        settings = config(body)
        tally = _tally(body)
        for schema in _SCHEMAS:
            if (given := either(settings, schema)) is not None:
                tally.add_json(given)
        modalities = each(either(settings, "responseModalities"))
        return Call(
            provider=provider,
            operation=self.operation,
            model=jsontext.model_name(body),
            stream=self.streams,
            cap=whole(settings, "maxOutputTokens"),
            choices=whole(settings, "candidateCount", least=1) or 1,
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=tally.media,
            doubt=tally.doubt,
            tools=tally.tools,
            opaque=tally.opaque,
            cache_write=False,
            audio=tally.audio or not {"AUDIO", "VIDEO"}.isdisjoint(map(str, modalities)),
            service=tier(either(body, "serviceTier")),
            web_searches=SEARCHES if _searches(body) else 0,
        )

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`."""
        settings = config(body)
        named = whole(settings, "maxOutputTokens")
        cap = tokens if named is None else min(named, tokens)
        return {spelled(body, "generationConfig"): {**settings, spelled(settings, "maxOutputTokens"): cap}}

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: every answer and every event reports it."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        told, model = member(body, "usageMetadata"), name_in(body, "modelVersion")
        usage = _with_searches(metadata_usage(told), model, grounding(body))
        return Report(model, usage, done=True, service=google_tier(told))

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`; no event is ever there for us alone."""
        return EventReader(_GeminiAnswer(), hide=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return google_refusal(error)


class GeminiStream(GeminiGenerate):
    """`gemini.stream`: POST …:streamGenerateContent. With `alt=sse` its answer is events, else an array of them."""

    name = "gemini.stream"
    streams = True


class _Gemini(Plain):
    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return google_refusal(error)


class GeminiCountTokens(_Gemini):
    """`gemini.count_tokens`: POST …:countTokens. It answers a count and is free."""

    name = "gemini.count_tokens"
    operation = "count_tokens"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`: only the model matters."""
        model = jsontext.model_name(body)
        return Call(provider=provider, operation=self.operation, model=model, generates=False, free=True)

    def answer(self, body: object) -> Report:
        """See `Format.answer`: what it counts is not what it uses."""
        return Report(done=True)


class GeminiEmbed(_Gemini):
    """`gemini.embed`: POST …:embedContent."""

    name = "gemini.embed"
    operation = "embeddings"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        tally = Tally()
        self.add(tally, body)
        return _embeddings(provider, body, tally)

    def add(self, tally: Tally, body: Mapping[str, Any]) -> None:
        """Adds what is to be embedded."""
        add_contents(tally, body.get("content"))
        tally.add_strings(body.get("title"))

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        return Report(name_in(body, "modelVersion"), metadata_usage(member(body, "usageMetadata")), done=True)


class GeminiBatchEmbed(GeminiEmbed):
    """`gemini.batch_embed`: POST …:batchEmbedContents, many contents that are embedded at once."""

    name = "gemini.batch_embed"

    def add(self, tally: Tally, body: Mapping[str, Any]) -> None:
        """Adds what is to be embedded."""
        for request in each(body.get("requests")):
            if not isinstance(request, dict):
                raise Unreadable("requests: a list of objects is required")
            super().add(tally, request)


class VertexPredict(_Gemini):
    """`vertex.predict`: POST …/models/…:predict, by which Google embeds text, and makes images.

    What else is asked for so has an answer of another shape for every model, and is taken to report no usage.
    """

    name = "vertex.predict"
    operation = "embeddings"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`: what is no text to embed, and no image to make, is `unknown`."""
        tally, model = Tally(), jsontext.model_name(body)
        instances = jsontext.items(body, "instances")
        for instance in instances:
            tally.parts += 1
            tally.add_strings(instance)
        if all(isinstance(member(instance, "content"), str) for instance in instances):
            return _embeddings(provider, body, tally)
        if _MAKES_IMAGES.search(model.lower()) is None:
            return Call(provider=provider, operation="unknown", model=model, opaque=True)
        parameters = body.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise Unreadable("parameters: an object is required")
        return Call(
            provider=provider,
            operation="images",
            model=model,
            images=whole(parameters or {}, "sampleCount", least=1) or _SAMPLES,
            cache_write=False,
            generates=False,
        )

    def answer(self, body: object) -> Report:
        """See `Format.answer`: the images that are there."""
        images = sum(
            str(either(one, "mimeType")).startswith("image/") for one in each(member(body, "predictions"))
        )
        return Report(usage=Usage(images=images) if images else None, done=True)


_MAKES_IMAGES = re.compile(r"imagen-|imagegeneration|virtual-try-on|product-recontext")
_SAMPLES = 4
"""Images that are made where the request does not say how many."""


class GeminiCache(_Gemini):
    """`gemini.cache`: POST …/cachedContents, which writes content to Google's cache for calls to come.

    How long it is kept there is billed apart, by the hour, and is not in the usage.
    """

    name = "gemini.cache"
    operation = "cached_contents"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        tally = _tally(body)
        return Call(
            provider=provider,
            operation=self.operation,
            model=jsontext.model_name(body),
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=tally.media,
            doubt=tally.doubt,
            tools=tally.tools,
            opaque=tally.opaque,
            audio=tally.audio,
            generates=False,
        )

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        written = count(member(member(body, "usageMetadata"), "totalTokenCount"))
        usage = None if written is None else Usage(input=written, cache_write=written)
        return Report(usage=usage, done=True)


@dataclass(slots=True)
class _GeminiAnswer:
    """A streamed answer. Each event tells the usage of the step under way, the last one that of all; the newest that
    can be read is parsed once it is asked for. It is done at the reason why it ended, which comes with that of all.
    """

    newest: bytes = b""
    before: bytes = b""
    deltas: int = 0
    size: int = 0
    made: int = 0
    queries: frozenset[str] = frozenset()

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no event is ours."""
        if size := _said(event):
            self.deltas += 1
            self.size += size
        if b'"webSearchQueries"' in event and len(self.queries) < _MOST_QUERIES:
            self.queries |= grounding(message(event))
        at = event.find(b'"usageMetadata"')
        if at >= 0:
            self.before, self.newest = self.newest, event
            made, thought = _MADE.search(event, at), _THOUGHT.search(event, at)
            self.made = max(self.made, (int(made[1]) if made else 0) + (int(thought[1]) if thought else 0))
        return False

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        told = message(self.newest) or message(self.before)
        metadata, model = member(told, "usageMetadata"), name_in(told, "modelVersion")
        usage = _with_searches(metadata_usage(metadata), model, self.queries)
        ended = any(isinstance(member(c, "finishReason"), str) for c in each(told.get("candidates")))
        blocked = isinstance(member(told.get("promptFeedback"), "blockReason"), str)
        seen = max(self.made, seen_tokens(self.deltas, self.size))
        done = usage is not None and (ended or blocked)
        return Report(model, usage, seen, done, service=google_tier(metadata))


def _said(event: bytes) -> int:
    """Bytes of text in an event, without what the text is grounded on."""
    end = event.find(b'"groundingMetadata"')
    return text_size(event, len(event) if end < 0 else end)


def _with_searches(usage: Usage | None, model: str | None, queries: frozenset[str]) -> Usage | None:
    return replace(usage, web_searches=web_searches(model, len(queries))) if usage and queries else usage


def _searches(body: Mapping[str, Any]) -> bool:
    """Whether it has Google search."""
    return any(either(tool, name) is not None for tool in each(body.get("tools")) for name in _SEARCH_TOOLS)


def _embeddings(provider: str | None, body: Mapping[str, Any], tally: Tally) -> Call:
    return Call(
        provider=provider,
        operation="embeddings",
        model=jsontext.model_name(body),
        text=tally.text,
        kinds=tally.kinds,
        parts=tally.parts,
        media=tally.media,
        doubt=tally.doubt,
        opaque=tally.opaque,
        audio=tally.audio,
        cache_write=False,
        generates=False,
    )


def _tally(body: Mapping[str, Any]) -> Tally:
    """Everything in a body that the model reads."""
    model, resolution = body.get("model"), either(config(body), "mediaResolution")
    tally = Tally(
        model=model if isinstance(model, str) else "",
        resolution=resolution if isinstance(resolution, str) else "",
    )
    add_contents(tally, body.get("contents"))
    add_contents(tally, either(body, "systemInstruction"))
    add_tools(tally, body.get("tools"))
    tally.opaque = tally.opaque or either(body, "cachedContent") is not None
    return tally
