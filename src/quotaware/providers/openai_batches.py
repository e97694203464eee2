"""OpenAI's batches: what is asked stands in a file, and what it used is told when they have ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.bounds import BATCHES, Call
from ..core.prices import BATCH
from .base import Report
from .openai_embeddings import OpenAIEmbeddings
from .openai_responses import responses_usage
from .text import member, name_in

FILE_MOST = 200_000_000
"""The most tokens that a file of a batch asks to be read: a token a byte of the largest that OpenAI takes, 200 MB."""
_ENDED = ("completed", "failed", "expired", "cancelled")


class OpenAIBatches(OpenAIEmbeddings):
    """`openai.batches`: POST …/batches, and what is told of one later.

    The body names no model, so that what it costs has no bound; what it reads is bounded by the largest file.
    """

    name = "openai.batches"
    operation = BATCHES

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        return Call(
            provider=provider,
            operation=self.operation,
            model=None,
            doubt=FILE_MOST,
            opaque=True,
            generates=False,
            background=True,
            service=BATCH,
            unknown="a batch asks for models, and for any amount, in a file that the body only names",
        )

    def answer(self, body: object) -> Report:
        """See `Format.answer`. One that has ended without a word of usage has used nothing."""
        status = member(body, "status")
        ended = status in _ENDED
        usage = responses_usage(member(body, "usage")) if ended else None
        if usage is None and status == "failed":
            usage = (
                None
                if member(body, "output_file_id")
                else responses_usage({"input_tokens": 0, "output_tokens": 0})
            )
        later = None if ended else name_in(body, "id")
        return Report(name_in(body), usage, done=True, later=later or "")
