"""OpenAI's older completions of a text, and the many servers that still speak them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.bounds import Call
from . import jsontext
from .base import StreamReader, Unreadable
from .openai_chat import ChatAnswer, OpenAIChat
from .openai_embeddings import is_tokens
from .served import tier
from .sse import EventReader
from .text import Tally, text_size


class OpenAICompletions(OpenAIChat):
    """`openai.completions`: POST …/completions. Each prompt of a list gets answers of its own."""

    name = "openai.completions"
    operation = "completions"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`. A prompt that is given as token ids counts one token each, as `media`."""
        model = jsontext.model_name(body)
        given = body.get("prompt")
        if given is not None and not isinstance(given, str | list):
            raise Unreadable("prompt: a text or a list is required")
        prompts = given if isinstance(given, list) and not is_tokens(given) else [given]
        tally = Tally()
        for prompt in prompts:
            tally.parts += 1
            if isinstance(prompt, list) and is_tokens(prompt):
                tally.media += len(prompt)
            else:
                tally.add_strings(prompt)
        tally.add_strings(body.get("suffix"))
        each = max(jsontext.whole(body, name, least=1) or 1 for name in ("n", "best_of"))
        return Call(
            provider=provider,
            operation=self.operation,
            model=model,
            stream=jsontext.flag(body, "stream"),
            cap=jsontext.whole(body, "max_tokens"),
            choices=each * max(len(prompts), 1),
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=tally.media,
            doubt=tally.doubt,
            service=tier(body.get("service_tier")),
        )

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`."""
        named = jsontext.whole(body, "max_tokens")
        return {"max_tokens": tokens if named is None else min(named, tokens)}

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`."""
        return EventReader(_CompletionAnswer(), hide)


class _CompletionAnswer(ChatAnswer):
    """The same stream, but that a choice has its text in itself."""

    __slots__ = ()

    def _size(self, event: bytes) -> int:
        return text_size(event, len(event))
