"""Anthropic's message batches: many messages in one request, whose results tell only later what they used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.bounds import MESSAGE_BATCHES, Call
from ..core.usage import Usage
from ..errors import ApiError
from . import jsontext
from .anthropic_messages import AnthropicMessages, messages_besides, messages_usage
from .base import Report, StreamReader, Unreadable
from .jsonstream import ObjectReader
from .many import added, together
from .plain import Plain
from .sse import EventReader, message
from .text import member, name_in

_MESSAGES = AnthropicMessages()


class AnthropicBatches(Plain):
    """`anthropic.batches`: POST …/messages/batches. Its usage is known once its results are read."""

    name = "anthropic.batches"
    operation = MESSAGE_BATCHES

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`: all of its messages, each bounded by itself."""
        model = jsontext.model_name(body)
        return together([_MESSAGES.read(provider, {**params, "model": model}) for params in _params(body)])

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`: in each of its messages."""
        capped = [
            {**request, "params": {**params, **_MESSAGES.cap(provider, params, tokens)}}
            for request, params in zip(body["requests"], _params(body), strict=True)
        ]
        return {"requests": capped}

    def answer(self, body: object) -> Report:
        """See `Format.answer`: the name of the batch."""
        return Report(done=True, later=name_in(body, "id") or "")

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return _MESSAGES.refusal(error)


class AnthropicBatchResults(AnthropicBatches):
    """`anthropic.batch_results`: what GET …/messages/batches/{id}/results answers, one JSON object a line."""

    name = "anthropic.batch_results"

    def answer(self, body: object) -> Report:
        """See `Format.answer`: a batch of one message."""
        answer = _ResultsAnswer()
        answer.add(body)
        return answer.report()._replace(done=True)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`."""
        return _Results(EventReader(_ResultsAnswer(), hide=False))


class _Results(ObjectReader):
    whole = True
    """Nothing in it says that it is complete but its end."""


@dataclass(slots=True)
class _ResultsAnswer:
    """The sum over all results. One that cannot be read leaves the sum unknown; several models leave open which."""

    usage: Usage | None = None
    model: str | None = None
    mixed: bool = False
    broken: bool = False
    besides: tuple[tuple[str | None, Usage], ...] = ()

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no event is ours."""
        self.add(message(event))
        return False

    def add(self, line: object) -> None:
        """Adds one result."""
        result = member(line, "result")
        told = member(result, "message")
        usage = messages_usage(member(told, "usage")) if told is not None else Usage()
        if not isinstance(result, dict) or usage is None:
            self.broken = True
            return
        self.usage = added(self.usage, usage)
        self.besides += messages_besides(member(told, "usage"))
        model = member(told, "model")
        if isinstance(model, str):
            self.mixed = self.mixed or self.model not in {None, model}
            self.model = model

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        model = None if self.mixed else self.model
        return Report(model, None if self.broken else self.usage, besides=self.besides)


def _params(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = [member(request, "params") for request in jsontext.items(body, "requests")]
    if not all(isinstance(params, dict) for params in found):
        raise Unreadable("requests: each needs its params, as an object")
    return found
