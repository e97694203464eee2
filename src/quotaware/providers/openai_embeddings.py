"""OpenAI's embeddings, and the compatible servers that speak the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.bounds import Call
from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext
from .base import Report, StreamReader, Unreadable
from .openai_chat import OpenAIChat, openai_refusal, whole_answer
from .text import Tally, member


class OpenAIEmbeddings:
    """`openai.embeddings`: POST …/embeddings. Nothing is generated, nothing is streamed."""

    name = "openai.embeddings"
    operation = "embeddings"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`. Input that is given as token ids counts one token each, as `media`."""
        model = jsontext.model_name(body)
        given = body.get("input")
        if not isinstance(given, (str, list)):
            raise Unreadable("input: a text or a list is required")
        tally = Tally()
        entries = [given] if isinstance(given, str) or is_tokens(given) else given
        for entry in entries:
            tally.parts += 1
            if isinstance(entry, list) and is_tokens(entry):
                tally.media += len(entry)
            else:
                tally.add_strings(entry)
                tally.opaque = tally.opaque or not isinstance(entry, str)
        return Call(
            provider=provider,
            operation=self.operation,
            model=model,
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=tally.media,
            doubt=tally.doubt,
            opaque=tally.opaque,
            cache_write=False,
            generates=False,
        )

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`: there is no output to cap."""
        return {}

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: usage is always reported."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        return whole_answer(body, embeddings_usage)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`: should a server stream after all, it is read as a chat is."""
        return OpenAIChat().stream(hide)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return openai_refusal(error)


def embeddings_usage(usage: object) -> Usage | None:
    """The tokens in a `usage` object: `prompt_tokens`, or `total_tokens` where only that is told."""
    sent = count(member(usage, "prompt_tokens"))
    if sent is None:
        sent = count(member(usage, "total_tokens"))
    return None if sent is None else Usage(input=sent)


def is_tokens(entry: list[Any]) -> bool:
    """Whether a list is of token ids."""
    return bool(entry) and all(type(token) is int for token in entry)
