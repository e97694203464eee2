"""OpenAI's chat completions, as JSON and as a stream, and the many compatible servers that speak the same."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..core.bounds import Call
from ..core.prices import Service
from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext, media
from .anthropic_messages import fitting_thinking, least_cap
from .base import Report, StreamReader
from .reported_cost import reported_cost
from .served import tier
from .sse import EventReader, message, payload
from .text import Tally, delta_size, member, name_in, seen_tokens

_CAPS = ("max_completion_tokens", "max_tokens")
_THINKING = (("thinking", "budget_tokens"), ("reasoning", "max_tokens"))
"""Requests for thinking with a budget, which must stay below the cap: Claude's, in its own words and OpenRouter's."""
_OUTSIDE = ("web_search_options", "search_parameters", "plugins")  # bring in what the body does not show
_OWN_TOOLS = (None, "function", "custom")  # run by the app; any other kind runs on the provider's side
_OPENAIS = re.compile(r"(?:^|[/:])(?:gpt|o[1-9])")
_SEARCHES = re.compile(
    r"(?:^|/)(?:compound|sonar)(?![a-z0-9])|-search-(?:preview|api)|deep-research|:online(?![a-z0-9])"
)
"""Models that bring in of themselves what no body shows: Groq's systems, Perplexity's, those that search."""
# Reasoning models of these refuse `max_tokens`; compatible servers often know nothing else.
_NAMES_NEW_CAP = frozenset({"openai", "azure"})
_NEW_CAP_ONLY = re.compile(r"(?:^|/)(?:gpt-[5-9]|o[1-9](?:-|$))")
"""Models that refuse the older name of the cap, wherever they are served."""

PAGE = 5_000
"""The most tokens of a page of a document, text and picture."""


class OpenAIChat:
    """`openai.chat`: POST …/chat/completions.

    `asks`: whether the server knows `stream_options`; one that does not reports usage in every stream anyway.
    """

    name = "openai.chat"
    operation = "chat"

    def __init__(self, *, asks: bool = True) -> None:
        self._asks = asks

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`.

        Where both caps are named the larger bears: which of them a server obeys is not for us to know, and
        the bound must hold either way.
        """
        model = jsontext.model_name(body)
        tally = Tally()
        for entry in jsontext.items(body, "messages"):
            _add_message(tally, entry, model)
        tally.add_tools(body.get("tools"))
        tally.add_tools(body.get("functions"))
        if body.get("response_format") is not None:
            tally.add_json(body["response_format"])
        tally.add_strings(member(body.get("prediction"), "content"))
        caps = [cap for name in _CAPS if (cap := jsontext.whole(body, name)) is not None]
        return Call(
            provider=provider,
            operation=self.operation,
            model=model,
            stream=jsontext.flag(body, "stream"),
            cap=max(caps, default=None),
            least_cap=max(least_cap(body.get(name), budget) for name, budget in _THINKING),
            choices=max(jsontext.whole(body, name, least=1) or 1 for name in ("n", "best_of")),
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=tally.media,
            doubt=tally.doubt,
            opaque=tally.opaque
            or searches(model)
            or any(body.get(name) not in (None, []) for name in _OUTSIDE)
            or _runs_tools(body.get("tools")),
            audio=tally.audio or body.get("audio") is not None,
            tools=tally.tools,
            background=body.get("deferred") is True,
            service=tier(body.get("service_tier")),
        )

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`: the caps that the body names are lowered; where it names none, one is set."""
        named = {name: min(cap, tokens) for name in _CAPS if (cap := jsontext.whole(body, name)) is not None}
        new = provider in _NAMES_NEW_CAP or _NEW_CAP_ONLY.search(str(body.get("model"))) is not None
        changed: dict[str, Any] = named or {_CAPS[0] if new else _CAPS[1]: tokens}
        cap = min(changed.values())
        for name, budget in _THINKING:
            if thinking := fitting_thinking(body.get(name), cap, budget):
                changed[name] = thinking
        return changed

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`."""
        options = body.get("stream_options") or {}
        if not self._asks or body.get("stream") is not True or not isinstance(options, dict):
            return {}
        if options.get("include_usage") is True:
            return {}
        return {"stream_options": {**options, "include_usage": True}}

    def answer(self, body: object) -> Report:
        """See `Format.answer`. xAI answers a deferred call with the name under which its answer will be kept."""
        report, later = whole_answer(body, chat_usage), member(body, "request_id")
        deferred = report.usage is None and isinstance(later, str) and member(body, "choices") is None
        return report._replace(later=later) if deferred else report

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`."""
        return EventReader(ChatAnswer(), hide)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return openai_refusal(error)


def searches(model: str) -> bool:
    """Whether a model brings in of itself what no body shows."""
    return _SEARCHES.search(model.lower()) is not None


def openai_refusal(error: ApiError) -> dict[str, Any]:
    """An error as OpenAI's API writes it: the SDK reads `message`, `type`, `code` and `param` of it."""
    return {"error": {"param": None, **error.body()["error"]}}


def whole_answer(body: object, usage: Callable[[object], Usage | None]) -> Report:
    """What a whole answer in OpenAI's shape says; `usage` reads its `usage` member."""
    told = _usage_of(body)
    served = tier(member(body, "service_tier"))
    return Report(name_in(body), usage(told), done=True, cost=reported_cost(told), service=served)


def chat_usage(usage: object) -> Usage | None:
    """The tokens in a `usage` object, in OpenAI's names and those of compatible servers; see `tokens_usage`."""
    return tokens_usage(usage, "prompt", "completion")


def tokens_usage(usage: object, sent: str, made: str) -> Usage | None:
    """The tokens in a `usage` object that calls its two sides so: `prompt` and `completion`, or `input` and `output`.

    None where input and output are not both told, each by itself or by the total. Numbers are answered as
    they are reported, negative ones too.
    """
    input_, output, total = (count(member(usage, f"{name}_tokens")) for name in (sent, made, "total"))
    if input_ is None and output is not None and total is not None:
        input_ = total - output
    if output is None and input_ is not None and total is not None:
        output = total - input_
    if input_ is None or output is None:
        return None
    of_input, of_output = _details(usage, sent), _details(usage, made)
    of_cached = member(of_input, "cached_tokens_details")
    reasoning = _first(member(of_output, "reasoning_tokens"))
    if total is not None and 0 < reasoning == total - input_ - output:
        output += reasoning  # xAI tells it beside the output
    return Usage(
        input=input_,
        output=output,
        cache_read=_first(
            member(of_input, "cached_tokens"),
            member(usage, "prompt_cache_hit_tokens"),
            member(usage, "cached_tokens"),
        ),
        cache_write=_first(member(of_input, "cache_write_tokens")),
        reasoning=reasoning,
        audio_input=_first(member(of_input, "audio_tokens")),
        audio_output=_first(member(of_output, "audio_tokens")),
        cache_read_audio=_first(member(of_cached, "audio_tokens")),
        cache_read_image=_first(member(of_cached, "image_tokens")),
    )


def _details(usage: object, side: str) -> Any:
    """What a side's tokens are made of, under either of its names."""
    told = member(usage, f"{side}_tokens_details")
    return member(usage, f"{side}_token_details") if told is None else told


_MODEL = re.compile(rb'"model"\s*:\s*"[^"]')
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
_COUNTED = rb'"(?:prompt|completion|total)_tokens"\s*:\s*[0-9]++\s*'
_TOLD = re.compile(rb'"usage"\s*:\s*\{\s*(?=%s,\s*%s[,}])' % (_COUNTED, _COUNTED))
_CHOICE = re.compile(rb'"choices"\s*:\s*\[\s*\{')
_FINISHED = re.compile(rb'"finish_reason"\s*:\s*"')
_DONE_MAX = 64  # bytes of an event that can be the last one


@dataclass(slots=True)
class ChatAnswer:
    """A streamed answer. It is done at `[DONE]`, at the usage that follows all text, or at that which comes with the
    reason why it ended.

    Some servers tell the usage so far in every chunk: of those the newest is kept as it came, and parsed when it is
    asked for, or the one before it where it cannot be read.
    """

    model: str | None = None
    usage: Usage | None = None
    deltas: int = 0
    size: int = 0
    done: bool = False
    cost: int | None = None
    newest: bytes = b""
    before: bytes = b""
    finished: bool = False
    service: Service = ()

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; ours is the chunk that has no choices and the usage."""
        if size := self._size(event):
            self.deltas += 1
            self.size += size
            self.done = self.finished = False
        if self.model is None and _MODEL.search(event):
            self.model = name_in(message(event))
        at = event.find(b'"usage"')
        if at >= 0:
            if _TOLD.match(event, at) and _CHOICE.search(event):
                self.newest, self.before = event, self.newest
                self.finished = _FINISHED.search(event) is not None
                return False
            if _USAGE.search(event, at):
                return self._take_usage(message(event))
        if len(event) < _DONE_MAX and b"[DONE]" in event and payload(event).strip() == b"[DONE]":
            self.done = True
        return False

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        seen = seen_tokens(self.deltas, self.size)
        return self._told()._replace(seen=seen)

    def _size(self, event: bytes) -> int:
        return delta_size(event)

    def _told(self) -> Report:
        """All but what was seen."""
        for event in filter(None, (self.newest, self.before)):
            chunk = message(event)
            reported = _usage_of(chunk)
            if (usage := chat_usage(reported)) is not None:
                cost = reported_cost(reported)
                return Report(
                    self.model,
                    usage,
                    done=self.done or (self.finished and event is self.newest),
                    cost=self.cost if cost is None else cost,
                    service=tier(chunk.get("service_tier")) or self.service,
                )
        return Report(self.model, self.usage, done=self.done, cost=self.cost, service=self.service)

    def _take_usage(self, chunk: dict[str, Any]) -> bool:
        reported, told = _usage_of(chunk), self._told()
        self.usage, self.cost, self.service = told.usage, told.cost, told.service
        self.newest = self.before = b""
        self.usage = chat_usage(reported) or self.usage
        self.cost = self.cost if (cost := reported_cost(reported)) is None else cost
        self.service = tier(chunk.get("service_tier")) or self.service
        last = _last_choice(chunk)
        alone = last is None and "error" not in chunk and isinstance(chunk.get("usage"), dict)
        ended = alone or isinstance(member(last, "finish_reason"), str)
        self.done = self.done or (ended and self.usage is not None)
        return alone


def _usage_of(answer: object) -> object:
    """What an answer or a chunk of it reports, wherever its server puts it: in itself, in a member of Groq's, in its
    last choice.
    """
    within = member(answer, "usage") or member(member(answer, "x_groq"), "usage")
    return within or member(_last_choice(answer), "usage")


def _last_choice(answer: object) -> object:
    choices = member(answer, "choices")
    return choices[-1] if isinstance(choices, list) and choices else None


def _first(*reported: object) -> int:
    return next((number for value in reported if (number := count(value)) is not None), 0)


def _runs_tools(tools: object) -> bool:
    return isinstance(tools, list) and any(member(tool, "type") not in _OWN_TOOLS for tool in tools)


def _add_message(tally: Tally, entry: object, model: str) -> None:
    tally.parts += 1
    content = member(entry, "content")
    if not isinstance(entry, dict) or not isinstance(content, list):
        tally.add_strings(entry)
    else:
        tally.add_strings({name: value for name, value in entry.items() if name != "content"})
        for part in content:
            _add_part(tally, part, model)
    if member(entry, "audio") is not None:  # an earlier answer in sound, which the server keeps
        tally.opaque = tally.audio = True


def _add_part(tally: Tally, part: object, model: str) -> None:
    tally.parts += 1
    kind = member(part, "type")
    read = _PARTS.get(kind) if isinstance(kind, str) else None
    if not isinstance(part, dict) or kind in _TEXT_PARTS:
        tally.add_strings(part)
    elif read is None:  # unknown to us: what is written in it, and perhaps what that stands for
        tally.add_strings(part)
        tally.opaque = True
    else:
        read(tally, part.get(kind), model)


def add_image(tally: Tally, image: object, model: str) -> None:
    url = image if isinstance(image, str) else member(image, "url")
    if not isinstance(url, str) or not url.startswith("data:"):
        tally.opaque = True
        return
    tally.add_media(media.image(model, url, member(image, "detail")))


def add_audio(tally: Tally, audio: object, model: str) -> None:
    data, container = member(audio, "data"), member(audio, "format")
    tally.audio = True
    if not isinstance(data, str) or not isinstance(container, str):
        tally.opaque = True
        return
    second = media.OPENAI_SECOND if _OPENAIS.search(model) else media.GEMINI_SECOND
    tally.add_media(media.sound(data, container, second))


def add_file(tally: Tally, file: object, _: str) -> None:
    data = member(file, "file_data")
    tally.add_strings(member(file, "filename"))
    if isinstance(data, str) and not data.startswith(("http:", "https:")):
        tally.add_media(media.document(data, PAGE, PAGE))
    else:
        tally.opaque = True


def _add_document(tally: Tally, document: object, model: str) -> None:
    url = document if isinstance(document, str) else member(document, "url")
    add_file(tally, {"file_data": url}, model)


_TEXT_PARTS = ("text", "refusal", "thinking")
_PARTS: dict[str, Callable[[Tally, object, str], None]] = {
    "image_url": add_image,
    "input_audio": add_audio,
    "file": add_file,
    "document_url": _add_document,
}
