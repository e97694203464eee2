"""What vLLM, and others after it, do with models that write nothing: scores of pairs, classes, vectors.

Source: "Pooling models" of docs.vllm.ai. Reranking and embeddings have formats of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.bounds import Call
from ..core.counting import kinds_of_all, repeated
from ..errors import ApiError
from . import jsontext
from .base import Report
from .openai_chat import openai_refusal, whole_answer
from .openai_embeddings import embeddings_usage
from .plain import Plain
from .text import Tally, member

FIRST = ("text_1", "queries", "data_1")
"""Members whose texts are read anew with each of the others."""
SECOND = ("text_2", "documents", "data_2")


class Pooling(Plain):
    """`pooling`: POST …/score, …/pooling and …/classify."""

    name = "pooling"
    operation = "embeddings"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`. Texts are counted, token ids one token each; images by URL are opaque."""
        tally, first = Tally(), Tally()
        pairs = max((_many(body.get(name)) for name in SECOND), default=1)
        for name in FIRST:
            _add(first, body.get(name))
        for name in (*SECOND, "input", "messages"):
            _add(tally, body.get(name))
        return Call(
            provider=provider,
            operation=self.operation,
            model=jsontext.model_name(body),
            text=tally.text + first.text * pairs,
            kinds=kinds_of_all(tally.kinds, repeated(first.kinds, pairs)),
            parts=tally.parts + first.parts * pairs,
            media=tally.media + first.media * pairs,
            doubt=tally.doubt + first.doubt * pairs,
            opaque=tally.opaque or first.opaque,
            cache_write=False,
            generates=False,
        )

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        return whole_answer(body, embeddings_usage)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return openai_refusal(error)


def _many(value: object) -> int:
    return max(1, len(value)) if isinstance(value, list) else 1


def _add(tally: Tally, value: object) -> None:
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            if value and all(type(token) is int for token in value):
                tally.media += len(value)
            else:
                waiting.extend(value)
        elif isinstance(value, dict):
            tally.opaque = tally.opaque or member(value, "type") not in (None, "text")
            waiting.extend(value.values())
        elif value is not None:
            tally.parts += 1
            tally.add_strings(value)
