"""Anthropic's messages, as JSON and as a stream, and its token counting, which is free."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..core.bounds import Call
from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext, media
from .anthropic_passes import asked_besides
from .base import Report, StreamReader
from .served import most_uses, speed
from .sse import EventReader, message
from .text import Tally, delta_size, member, name_in, seen_tokens, total

_PAGE = 8_000  # a page of a PDF: up to 3,000 tokens of text ("PDF support") and its image

# Tools that the app runs and Anthropic describes: their schemas are not in the body, up to 1,500 tokens each
# with the system prompt that they bring ("Tool use": at most computer use, 735 + 499). Any other typed
# tool runs at Anthropic and feeds the model what the body does not show.
_CLIENT_TOOLS = ("bash_", "computer_", "memory_", "text_editor_")
_CLIENT_TOOL_TOKENS = 1_500

# What models up to 4.5 are told of a schema for their answers; measured on recorded calls.
_SCHEMA_TOKENS, _TOLD_OF_SCHEMAS = 200, re.compile(r"-4[.-][0-5](?![0-9])")
_COMPACTION_TOKENS = 256  # and of making a history shorter

_PART, _ADDED = 16, 4_096  # tokens that each part, and a body as a whole, takes at most beside a token a byte

_THINKING_LEAST = 1_024  # the smallest budget for thinking; it must stay below `max_tokens`


class AnthropicMessages:
    """`anthropic.messages`: POST …/messages."""

    name = "anthropic.messages"
    operation = "chat"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`. A body without `max_tokens` (Anthropic refuses it) is read as one without cap.

        Anthropic writes to its cache only where `cache_control` asks; of other servers nothing is known.
        """
        model = jsontext.model_name(body)
        tally = _tally(body, model)
        return Call(
            provider=provider,
            operation=self.operation,
            model=model,
            stream=jsontext.flag(body, "stream"),
            cap=jsontext.whole(body, "max_tokens"),
            least_cap=least_cap(body.get("thinking")),
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=tally.media,
            doubt=tally.doubt,
            opaque=tally.opaque,
            cache_write=provider != "anthropic" or tally.cache_write or body.get("cache_control") is not None,
            tools=tally.tools,
            service=speed(body.get("speed")),
            web_searches=most_uses(body.get("tools"), "web_search_"),
            besides=asked_besides(provider, body, None if tally.opaque else _most(tally)),
        )

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`. A budget for thinking that would not fit is lowered to half of the cap."""
        named = jsontext.whole(body, "max_tokens")
        cap = tokens if named is None else min(named, tokens)
        thinking = fitting_thinking(body.get("thinking"), cap)
        return {"max_tokens": cap} | ({"thinking": thinking} if thinking else {})

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: every stream reports it."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        told = member(body, "usage")
        served = speed(member(told, "speed"))
        besides = messages_besides(told)
        return Report(name_in(body), messages_usage(told), done=True, service=served, besides=besides)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`; no event is ever there for us alone."""
        return EventReader(MessageAnswer(), hide=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return {"type": "error", **error.body()}


class AnthropicCountTokens(AnthropicMessages):
    """`anthropic.count_tokens`: POST …/messages/count_tokens. It answers a count and is free."""

    name = "anthropic.count_tokens"
    operation = "count_tokens"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`: only the model matters."""
        model = jsontext.model_name(body)
        return Call(provider=provider, operation=self.operation, model=model, generates=False, free=True)

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`: there is no output to cap."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`: what it counts is not what it uses."""
        return Report(done=True)


def least_cap(thinking: object, named: str = "budget_tokens") -> int:
    """The smallest output cap beside a request for thinking: one that is above the least budget for it."""
    return 1 if count(member(thinking, named)) is None else _THINKING_LEAST + 1


def fitting_thinking(thinking: object, cap: int, named: str = "budget_tokens") -> dict[str, Any] | None:
    """A request for thinking with a budget that fits a cap of at least `least_cap`; None where it fits as it is, or
    none is asked for. `named`: how its budget is called.
    """
    budget = count(member(thinking, named))
    if not isinstance(thinking, dict) or budget is None or budget < cap:
        return None
    return {**thinking, named: max(cap // 2, _THINKING_LEAST)}


def messages_usage(usage: object) -> Usage | None:
    """The tokens in a `usage` object; None where it tells no input or no output.

    Anthropic counts cached input apart; here it is part of `input`. Numbers are answered as reported; where
    one part of the input is negative, so is the input.
    """
    plain, output = count(member(usage, "input_tokens")), count(member(usage, "output_tokens"))
    if plain is None or output is None:
        return None
    lifetimes = member(usage, "cache_creation")
    hour = count(member(lifetimes, "ephemeral_1h_input_tokens")) or 0
    written = count(member(usage, "cache_creation_input_tokens"))
    if written is None:
        written = hour + (count(member(lifetimes, "ephemeral_5m_input_tokens")) or 0)
    cached = count(member(usage, "cache_read_input_tokens")) or 0
    return Usage(
        input=total(plain, written, cached),
        output=output,
        cache_read=cached,
        cache_write=written,
        cache_write_1h=hour,
        reasoning=count(member(member(usage, "output_tokens_details"), "thinking_tokens")) or 0,
        web_searches=count(member(member(usage, "server_tool_use"), "web_search_requests")) or 0,
    )


def messages_besides(usage: object) -> tuple[tuple[str | None, Usage], ...]:
    """The passes that a `usage` object tells in its `iterations` and that its own counts leave out: those that made the
    history shorter (None: the call's own model), and those of an advisor, by its model.
    """
    passes = member(usage, "iterations")
    found: list[tuple[str | None, Usage]] = []
    for each in passes if isinstance(passes, list) else ():
        kind, used = member(each, "type"), messages_usage(each)
        if used is not None and kind == "compaction":
            found.append((None, used))
        elif used is not None and kind == "advisor_message":
            found.append((name_in(each) or "", used))
    return tuple(found)


@dataclass(slots=True)
class MessageAnswer:
    """A streamed answer. `reported` is what its events said of usage so far; the last word counts.

    It is done at `message_stop`, or at the reason why it stopped, which comes with the final usage.
    """

    model: str | None = None
    reported: dict[str, Any] = field(default_factory=dict)
    deltas: int = 0
    size: int = 0
    done: bool = False

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no event is ours."""
        if b"content_block_delta" in event:
            if size := delta_size(event):
                self.deltas += 1
                self.size += size
        elif b'"message_' in event:
            self._take_message(message(event))
        return False

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        seen = seen_tokens(self.deltas, self.size)
        served = speed(self.reported.get("speed"))
        usage, besides = messages_usage(self.reported), messages_besides(self.reported)
        return Report(self.model, usage, seen, self.done, service=served, besides=besides)

    def _take_message(self, event: dict[str, Any]) -> None:
        kind = event.get("type")
        if kind == "message_start":
            started = event.get("message")
            model = member(started, "model")
            self.model = model if isinstance(model, str) else None
            self._take_usage(member(started, "usage"))
        elif kind == "message_delta":
            self._take_usage(event.get("usage"))
            self.done = self.done or isinstance(member(event.get("delta"), "stop_reason"), str)
        elif kind == "message_stop":
            self.done = True

    def _take_usage(self, usage: object) -> None:
        if isinstance(usage, dict):  # a new dict, since a copy of this answer looks ahead
            self.reported = self.reported | {k: value for k, value in usage.items() if value is not None}


def _most(tally: Tally) -> int:
    """More tokens than a body that shows all of its input can be."""
    return tally.text + tally.media + tally.doubt + tally.parts * _PART + _ADDED


def _tally(body: Mapping[str, Any], model: str) -> Tally:
    tally = Tally()
    _add_content(tally, body.get("system"), model)
    for entry in jsontext.items(body, "messages"):
        tally.parts += 1
        tally.add_strings(member(entry, "role"))
        _add_content(tally, member(entry, "content"), model)
    tools = body.get("tools")
    tally.add_tools(tools)
    for tool in tools if isinstance(tools, list) else ():
        kind = member(tool, "type")
        if isinstance(kind, str) and kind.startswith(_CLIENT_TOOLS):
            tally.media += _CLIENT_TOOL_TOKENS
        elif kind not in (None, "custom"):
            tally.opaque = True
    for schema in ("output_config", "output_format"):
        if body.get(schema) is not None:
            tally.add_json(body[schema])
            tally.media += _SCHEMA_TOKENS if _TOLD_OF_SCHEMAS.search(model) else 0
    if body.get("context_management") is not None:
        tally.media += _COMPACTION_TOKENS
    if body.get("container") is not None or body.get("mcp_servers"):
        tally.opaque = True
    return tally


def _add_content(tally: Tally, content: object, model: str) -> None:
    """Adds a text, or a list of blocks, which may hold such lists themselves."""
    waiting = [content]
    while waiting:
        block = waiting.pop()
        if isinstance(block, list):
            tally.parts += len(block)
            waiting.extend(block)
        elif isinstance(block, dict):
            kind, source = block.get("type"), block.get("source")
            tally.cache_write = tally.cache_write or "cache_control" in block
            tally.opaque = tally.opaque or kind == "container_upload"
            if kind in ("image", "document") and isinstance(source, dict):
                _add_source(tally, source, model if kind == "image" else None)
                waiting.append(source.get("content"))
                block = {name: value for name, value in block.items() if name != "source"}
            waiting.append(block.get("content"))
            if block.get("input") is not None:  # of a tool: whatever shape the app gave it
                tally.add_json(block["input"])
            tally.add_strings({name: block[name] for name in block.keys() - {"content", "input"}})
        else:
            tally.add_strings(block)


def _add_source(tally: Tally, source: Mapping[str, Any], model: str | None) -> None:
    """Adds what an image for a model, or a document (None), is made from, save for nested content."""
    kind, data = source.get("type"), source.get("data")
    if kind == "base64" and isinstance(data, str):
        tally.add_media(
            media.document(data, _PAGE, _PAGE) if model is None else media.claude_image(model, data)
        )
    elif kind == "text":
        tally.add_strings(data)
    elif kind != "content":
        tally.opaque = True
