"""Reranking, as Cohere made it and Voyage, Jina, vLLM and others speak it: documents in order of a query."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..core.bounds import Call
from ..core.counting import kinds_of_all, repeated
from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext
from .base import Report
from .openai_chat import openai_refusal
from .plain import Plain
from .text import Tally, member, name_in

_DOCUMENTS = 100
_CHUNK = 500
"""A search is billed for each hundred documents (Cohere's "search unit"). Long ones are cut into parts, of 510 tokens
and more by model; that each part counts is assumed, to be on the safe side, and a token is at least a byte.
"""


class Rerank(Plain):
    """`rerank`: POST …/rerank. `refusal` writes an error as the provider does."""

    name = "rerank"
    operation = "rerank"

    def __init__(self, refusal: Callable[[ApiError], dict[str, Any]] = openai_refusal) -> None:
        self._refusal = refusal

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`. The query is read once more with each document."""
        tally, query = Tally(), Tally()
        query.add_strings(body.get("query"))
        documents = jsontext.items(body, "documents")
        times = max(1, len(documents))
        for document in documents:
            tally.add_strings(document)
        return Call(
            provider=provider,
            operation=self.operation,
            model=jsontext.model_name(body),
            text=tally.text + query.text * times,
            kinds=kinds_of_all(tally.kinds, repeated(query.kinds, times)),
            parts=len(documents) + 1,
            rerank_searches=-(-(len(documents) + tally.text // _CHUNK) // _DOCUMENTS),
            cache_write=False,
            generates=False,
        )

    def answer(self, body: object) -> Report:
        """See `Format.answer`: tokens, or none where it is billed by the search."""
        usage = member(body, "usage")
        tokens = count(member(usage, "total_tokens"))
        searches = count(member(member(member(body, "meta"), "billed_units"), "search_units"))
        known = tokens is not None or searches is not None
        told = Usage(input=tokens or 0, rerank_searches=searches or 0) if known else None
        return Report(name_in(body), told, done=True)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return self._refusal(error)
