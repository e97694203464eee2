"""Voyage's embeddings: OpenAI's in its own words for errors, those of text and images, and those in context."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.bounds import Call
from ..errors import ApiError
from . import jsontext
from .base import Report
from .openai_chat import whole_answer
from .openai_embeddings import OpenAIEmbeddings, embeddings_usage
from .plain import Plain
from .text import Tally, member

_IMAGE_TOKENS = 16_000_000 // 560 + 1
"""The most tokens of one image (docs.voyageai.com, "Multimodal embeddings": 16 million pixels, 560 to a token)."""


class VoyageEmbeddings(OpenAIEmbeddings):
    """`voyage.embeddings`: POST …/embeddings."""

    name = "voyage.embeddings"

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return voyage_refusal(error)


class VoyageInputs(Plain):
    """`voyage.inputs`: POST …/multimodalembeddings and …/contextualizedembeddings, whose `inputs` are lists."""

    name = "voyage.inputs"
    operation = "embeddings"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        tally = Tally()
        for entry in jsontext.items(body, "inputs"):
            content = member(entry, "content") if isinstance(entry, dict) else entry
            for part in content if isinstance(content, list) else [content]:
                tally.parts += 1
                _add_part(tally, part)
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
        """See `Format.answer`."""
        return whole_answer(body, embeddings_usage)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return voyage_refusal(error)


def voyage_refusal(error: ApiError) -> dict[str, Any]:
    """An error as Voyage's API writes it: a `detail`, and what we tell besides. Nothing is named `error`: its own SDK
    (before 0.5) fails over that.
    """
    told: dict[str, Any] = error.body()["error"]
    return {"detail": error.message, **told}


def _add_part(tally: Tally, part: object) -> None:
    kind = member(part, "type")
    if not isinstance(part, dict) or kind == "text":
        tally.add_strings(part)
    elif kind == "image_base64" and isinstance(part.get("image_base64"), str):
        tally.media += _IMAGE_TOKENS
    else:
        tally.opaque = True
