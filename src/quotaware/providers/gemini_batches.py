"""Gemini's batches: many calls in one request, whose answers, and what they used, are told when they are asked for.

Source: ai.google.dev/api/batch-api. Answers that go into a file tell nothing here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..core.bounds import MESSAGE_BATCHES, Call
from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext
from .base import Report, StreamReader, Unreadable
from .gemini import GeminiEmbed, GeminiGenerate
from .google_shape import each, either, google_refusal, metadata_usage, spelled
from .many import added, together
from .plain import Plain
from .text import member, name_in

_IN_A_FILE = "a batch asks for any amount in a file that the body only names; put its requests into the body"
_WHOLE = 262_144
_LONGEST = 65_536
"""Bytes of one `usageMetadata` at the most."""


class GeminiBatch(Plain):
    """`gemini.batch`: POST …:batchGenerateContent. `inputConfig` has the requests, or names a file of them."""

    name = "gemini.batch"
    operation = MESSAGE_BATCHES
    _one: GeminiGenerate | GeminiEmbed = GeminiGenerate()

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        model, source = jsontext.model_name(body), _source(body)
        if either(source, "requests") is None:
            return Call(
                provider=provider,
                operation="unknown",
                model=model,
                opaque=True,
                generates=False,
                unknown=_IN_A_FILE,
            )
        requests = [request for request, _ in _requests(source)]
        return together([self._one.read(provider, {**request, "model": model}) for request in requests])

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`: in each of its requests."""
        source = _source(body)
        capped = [
            {**entry, "request": {**request, **self._one.cap(provider, request, tokens)}}
            for request, entry in _requests(source)
        ]
        batch = member(body, "batch")
        config = spelled(batch, "inputConfig")
        return {"batch": {**batch, config: {**source, "requests": {"requests": capped}}}}

    def answer(self, body: object) -> Report:
        """See `Format.answer`: the name of the batch."""
        name = name_in(body, "name") or ""
        return Report(done=True, later=name.rpartition("/")[2])

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return google_refusal(error)


class GeminiEmbedBatch(GeminiBatch):
    """`gemini.embed_batch`: POST …:asyncBatchEmbedContent."""

    name = "gemini.embed_batch"
    _one = GeminiEmbed()


class GeminiBatchResults(GeminiBatch):
    """`gemini.batch_results`: what GET …/batches/{id} answers."""

    name = "gemini.batch_results"
    scans = True

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        told = member(body, "metadata")
        answers = [*_answers(member(body, "response")), *_answers(member(told, "output"))]
        usage: Usage | None = None
        for one in answers:
            response = member(one, "response")
            if (used := _used(response)) is not None:
                usage = added(usage, used)
            elif response is not None:
                return Report(done=True)
        if usage is None and (answers or member(told, "state") == "BATCH_STATE_FAILED"):
            usage = Usage()  # each of them failed
        return Report(None, usage, done=True)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`."""
        return _Scan(self)


class _Scan:
    """Reads an answer as it comes: whole where it is short, else for each `usageMetadata` that stands in it."""

    whole = True
    """Nothing in a long one says that it is complete but its end."""

    def __init__(self, format: GeminiBatchResults) -> None:
        self._format = format
        self._whole = bytearray()
        self._size = 0
        self._kept = bytearray()
        self._waits = False
        self._usage: Usage | None = None
        self._broken = False

    def feed(self, data: bytes) -> bytes:
        """See `StreamReader.feed`."""
        self._size += len(data)
        if self._size <= _WHOLE:
            self._whole += data
        self._kept += data
        if not self._waits or b"}" in data or len(self._kept) > 2 * _LONGEST:
            self._look()
        return data

    def flush(self) -> bytes:
        """See `StreamReader.flush`."""
        return b""

    def report(self) -> Report:
        """See `StreamReader.report`."""
        if self._size <= _WHOLE:
            try:
                return self._format.answer(json.loads(self._whole))
            except (ValueError, RecursionError):
                return Report()
        return Report(usage=None if self._broken else self._usage)

    def _look(self) -> None:
        """Adds up what is complete; keeps what may be the beginning of more."""
        self._waits = False
        while (found := _USED.search(self._kept)) is not None:
            read, length = _decoded(self._kept, found.end())
            if not length and len(self._kept) - found.end() <= _LONGEST:
                self._waits = True
                return
            used = metadata_usage(read) if length else None
            self._broken = self._broken or used is None
            self._usage = added(self._usage, used)
            del self._kept[: found.end() + length]
        del self._kept[:-_MARK]


_USED = re.compile(rb'(?<!\\)"usageMetadata"\s*:\s*(?=\{)')
_MARK = 64
"""Bytes that may be the beginning of it."""


def _decoded(kept: bytearray, begin: int) -> tuple[object, int]:
    """The JSON value that begins there, and its length in bytes; 0 where it is not complete."""
    text = kept[begin : begin + _LONGEST].decode("utf-8", "replace")
    try:
        value, end = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None, 0
    return value, len(text[:end].encode())


def _answers(output: object) -> list[Any]:
    held = either(output, "inlinedResponses") or either(output, "inlinedEmbedContentResponses")
    return each(member(held, "inlinedResponses"))


def _used(response: object) -> Usage | None:
    """What one answer used; of an embedding its tokens may be told alone."""
    alone = count(member(response, "tokenCount"))
    return Usage(input=alone) if alone is not None else metadata_usage(member(response, "usageMetadata"))


def _source(body: Mapping[str, Any]) -> Mapping[str, Any]:
    source = either(member(body, "batch"), "inputConfig")
    if not isinstance(source, dict):
        raise Unreadable("batch: its inputConfig is required, as an object")
    return source


def _requests(source: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """The requests in a body, and what each stands in."""
    entries = each(member(source.get("requests"), "requests"))
    found = [(member(entry, "request"), entry) for entry in entries]
    if not all(isinstance(request, dict) for request, _ in found):
        raise Unreadable("batch: each of its requests needs a request, as an object")
    return found
