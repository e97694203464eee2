"""Ollama's own formats, beside those of OpenAI and Anthropic that it speaks too: chat, generation, embeddings.

They stream by default: JSON objects, one a line, of which the last tells what was used.
Source: docs/api.md of github.com/ollama/ollama.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.bounds import Call
from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext
from .base import Report, StreamReader, Unreadable
from .openai_embeddings import OpenAIEmbeddings, embeddings_usage
from .sse import EventReader, message
from .text import Tally, member, name_in, said_size, seen_tokens, strings_named

_IMAGE_TOKENS = 16_384
"""The most tokens of one image, whatever model reads it."""
_WRITTEN = strings_named("content", "response", "thinking")
_NOTHING_DONE = ("load", "unload")


class OllamaChat:
    """`ollama.chat`: POST …/api/chat."""

    name = "ollama.chat"
    operation = "chat"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        tally = Tally()
        self._add(tally, body)
        if body.get("format") is not None:
            tally.add_json(body["format"])
        cap = jsontext.whole(_options(body), "num_predict", least=-2)
        return Call(
            provider=provider,
            operation=self.operation,
            model=jsontext.model_name(body),
            stream=body.get("stream") is not False,
            cap=cap if cap is not None and cap >= 0 else None,  # -1 and -2: as long as it likes
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
        options = _options(body)
        named = jsontext.whole(options, "num_predict", least=-2)
        cap = tokens if named is None or named < 0 else min(named, tokens)
        return {"options": {**options, "num_predict": cap}}

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: every answer reports it."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        return Report(name_in(body), _usage(body), done=True)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`; no object is ever there for us alone."""
        return EventReader(_OllamaAnswer(), hide=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return ollama_refusal(error)

    def _add(self, tally: Tally, body: Mapping[str, Any]) -> None:
        for entry in jsontext.items(body, "messages"):
            tally.parts += 1
            said = dict(entry) if isinstance(entry, dict) else {"content": entry}
            _add_images(tally, said.pop("images", None))
            tally.add_strings(said)
        tally.add_tools(body.get("tools"))


class OllamaGenerate(OllamaChat):
    """`ollama.generate`: POST …/api/generate. Its deprecated `context` is a conversation as token ids."""

    name = "ollama.generate"
    operation = "completions"

    def _add(self, tally: Tally, body: Mapping[str, Any]) -> None:
        for name in ("prompt", "suffix", "system", "template"):
            tally.parts += 1
            tally.add_strings(body.get(name))
        context = body.get("context")
        tally.media += len(context) if isinstance(context, list) else 0
        _add_images(tally, body.get("images"))


class OllamaEmbed(OpenAIEmbeddings):
    """`ollama.embed`: POST …/api/embed, and …/api/embeddings, which it superseded and which tells no usage.

    At the second path others speak OpenAI's format.
    """

    name = "ollama.embed"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        given = body.get("input")
        return super().read(provider, {**body, "input": body.get("prompt") if given is None else given})

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        sent = count(member(body, "prompt_eval_count"))
        usage = embeddings_usage(member(body, "usage")) if sent is None else Usage(input=sent)
        return Report(name_in(body), usage, done=True)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return ollama_refusal(error)


def ollama_refusal(error: ApiError) -> dict[str, Any]:
    """An error as Ollama's API writes it: `error` is the text of it, and ours stands beside it."""
    return {**error.body()["error"], "error": error.message}


@dataclass(slots=True)
class _OllamaAnswer:
    """A streamed answer. It is done at the object that says so, which has the usage."""

    model: str | None = None
    usage: Usage | None = None
    deltas: int = 0
    size: int = 0
    made: int = 0
    done: bool = False

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no object is ours."""
        if size := said_size(event, _WRITTEN):
            self.deltas += 1
            self.size += size
        if self.model is None or b'"eval_count"' in event or b'"done_reason"' in event:
            told = message(event)
            self.model = name_in(told) or self.model
            self.usage = _usage(told) or self.usage
            self.made = max(self.made, count(told.get("eval_count")) or 0)
            self.done = self.done or told.get("done") is True
        return False

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        seen = max(self.made, seen_tokens(self.deltas, self.size))
        return Report(self.model, self.usage, seen, self.done)


def _usage(told: object) -> Usage | None:
    """What an answer, or the last object of one, tells; counts that are 0 are left out of it. None where the input is
    not told of an answer that has some: older servers leave out what they had read before.
    """
    if member(told, "done") is not True:
        return None
    if member(told, "done_reason") in _NOTHING_DONE:
        return Usage()
    sent, made = count(member(told, "prompt_eval_count")), count(member(told, "eval_count"))
    return None if sent is None else Usage(input=sent, output=made or 0)


def _options(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = body.get("options")
    if found is not None and not isinstance(found, dict):
        raise Unreadable("options: an object is required")
    return found or {}


def _add_images(tally: Tally, images: object) -> None:
    tally.media += _IMAGE_TOKENS * len(images) if isinstance(images, list) else 0
