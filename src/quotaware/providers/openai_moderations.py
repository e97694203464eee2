"""OpenAI's moderations, which cost nothing there, and those of servers that speak the same."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.bounds import Call
from . import jsontext
from .base import Report
from .openai_chat import whole_answer
from .openai_embeddings import OpenAIEmbeddings, embeddings_usage
from .text import Tally

_DEFAULT = "omni-moderation-latest"
"""What OpenAI takes where a body names no model."""
_FREE = frozenset({"openai", "azure"})


class OpenAIModerations(OpenAIEmbeddings):
    """`openai.moderations`: POST …/moderations. Nothing is generated."""

    name = "openai.moderations"
    operation = "moderations"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        model = _DEFAULT if body.get("model") is None else jsontext.model_name(body)
        tally = Tally()
        tally.parts = 1
        tally.add_strings(body.get("input"))
        return Call(
            provider=provider,
            operation=self.operation,
            model=model,
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            opaque=isinstance(body.get("input"), list) and any(isinstance(e, dict) for e in body["input"]),
            cache_write=False,
            generates=False,
            free=provider in _FREE,
        )

    def answer(self, body: object) -> Report:
        """See `Format.answer`: most tell no usage."""
        return whole_answer(body, embeddings_usage)
