"""OpenAI's responses, as JSON and as a stream, their compaction, and the compatible servers that speak the same.

An answer made in the background reports its usage only later, where it is asked for by its id.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from ..core.bounds import Call, max_output
from ..core.prices import Service
from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext
from .base import Report, StreamReader, Unreadable
from .openai_chat import add_audio, add_file, add_image, openai_refusal, searches, tokens_usage
from .openai_images import tool_calls, tool_usage
from .reported_cost import reported_cost
from .served import most_uses, tier
from .sse import EventReader, message
from .text import TAIL, Tally, member, name_in, seen_tokens, string_delta_size, usage_in

_HELD = ("previous_response_id", "conversation", "prompt")
"""Members that bring in what the server keeps."""
_OWN_TOOLS = (None, "apply_patch", "custom", "function", "local_shell", "namespace", "tool_search")
"""Tools that the app runs, or that only choose among those which the body describes."""
_LEAST_CAP = 16
"""The smallest `max_output_tokens` that is taken."""
_SEARCH_TOOL_TOKENS = 500
"""What the model is told of searching for tools, measured on recorded calls."""
_OWN_INSTRUCTIONS, _LEAVES_EMPTY = 256, re.compile(r"gpt-[5-9]")
"""What models read in place of instructions that are there but empty, and those that read nothing; measured too."""
_COMPACTION_TOKENS = 256
"""What the model is told of how to make a history shorter."""
_PRO_TOKENS = 4_096
"""What a call with `mode: pro` reads at least of what it was thought over by itself."""
_UNDER_WAY = ("queued", "in_progress")
_FINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")


class OpenAIResponses:
    """`openai.responses`: POST …/responses."""

    name = "openai.responses"
    operation = "responses"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        model = jsontext.model_name(body)
        tally = _tally(body, model)
        most = jsontext.whole(body, "max_tool_calls")
        return Call(
            provider=provider,
            operation=self.operation,
            model=model,
            stream=jsontext.flag(body, "stream"),
            cap=jsontext.whole(body, "max_output_tokens"),
            least_cap=_LEAST_CAP,
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=tally.media,
            doubt=tally.doubt,
            opaque=tally.opaque,
            audio=tally.audio,
            tools=tally.tools,
            background=jsontext.flag(body, "background"),
            service=tier(body.get("service_tier")),
            web_searches=most_uses(body.get("tools"), "web_search", most),
            file_searches=most_uses(body.get("tools"), "file_search", most),
            besides=tool_calls(provider, body.get("tools"), most),
        )

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`."""
        named = jsontext.whole(body, "max_output_tokens")
        return {"max_output_tokens": tokens if named is None else min(named, tokens)}

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: every stream reports it."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`."""
        return _report(body)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`; no event is ever there for us alone."""
        return EventReader(_ResponseAnswer(), hide=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return openai_refusal(error)


class OpenAICompaction(OpenAIResponses):
    """`openai.compaction`: POST …/responses/compact, which makes a long history shorter. It takes no cap."""

    name = "openai.compaction"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        call = super().read(provider, body)
        media = call.media + _COMPACTION_TOKENS
        return replace(call, cap=max_output(call.model), media=media, sealed=True)

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`: there is no member that would cap it."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`: its `usage` is that of a pass beside an answer, and there is no answer."""
        told = super().answer(body)
        if told.usage is None:
            return told
        return told._replace(usage=Usage(), besides=((None, told.usage), *told.besides))


def _tally(body: Mapping[str, Any], model: str) -> Tally:
    given = body.get("input")
    if given is not None and not isinstance(given, str | list):
        raise Unreadable("input: a text or a list is required")
    tally = Tally()
    for entry in given if isinstance(given, list) else [given]:
        tally.parts += 1
        _add_item(tally, entry, model)
    instructions = body.get("instructions")
    if instructions is not None:
        tally.parts += 1
        tally.add_strings(instructions)
    if instructions == "" and not _LEAVES_EMPTY.search(model):
        tally.media += _OWN_INSTRUCTIONS
    _add_tools(tally, body.get("tools"))
    if body.get("text") is not None:
        tally.add_json(body["text"])
    prompt = body.get("prompt")
    if prompt is not None:
        _add_item(tally, member(prompt, "variables"), model)
    if member(body.get("reasoning"), "mode") == "pro":
        tally.media += _PRO_TOKENS
        tally.opaque = True
    held = any(body.get(name) is not None for name in _HELD)
    tally.opaque = tally.opaque or held or searches(model)
    return tally


def _add_item(tally: Tally, item: object, model: str) -> None:
    """Adds an item of the input, whatever is nested in it."""
    waiting = [item]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            tally.parts += len(value)
            waiting.extend(value)
        elif isinstance(value, dict):
            kind = value.get("type")
            read = _MEDIA.get(kind) if isinstance(kind, str) else None
            if read is not None:
                read(tally, value, model)
                continue
            tally.opaque = tally.opaque or kind == "item_reference"
            _add_tools(tally, value.get("tools"))
            waiting.extend(held for name, held in value.items() if name != "tools")
        else:
            tally.add_strings(value)


def _add_tools(tally: Tally, tools: object) -> None:
    if isinstance(tools, list):
        tally.add_tools(tools)
        kinds = [member(tool, "type") for tool in tools]
        tally.media += _SEARCH_TOOL_TOKENS * kinds.count("tool_search")
        tally.opaque = tally.opaque or any(kind not in _OWN_TOOLS for kind in kinds)


def _add_image_part(tally: Tally, part: Mapping[str, Any], model: str) -> None:
    add_image(tally, {"url": part.get("image_url"), "detail": part.get("detail")}, model)


def _add_made_image(tally: Tally, item: Mapping[str, Any], model: str) -> None:
    """An image of an earlier answer: its data, or the id under which the server keeps it."""
    data = item.get("result")
    add_image(tally, {"url": f"data:,{data[:1]}" if isinstance(data, str) else None}, model)


def _add_audio_part(tally: Tally, part: Mapping[str, Any], model: str) -> None:
    add_audio(tally, part.get("input_audio"), model)


_MEDIA: dict[str, Callable[[Tally, Mapping[str, Any], str], None]] = {
    "computer_screenshot": _add_image_part,
    "image_generation_call": _add_made_image,
    "input_audio": _add_audio_part,
    "input_file": add_file,
    "input_image": _add_image_part,
}


def responses_usage(usage: object) -> Usage | None:
    """The tokens in a `usage` object of a response; None where input and output are not both told."""
    return tokens_usage(usage, "input", "output") or tokens_usage(usage, "prompt", "completion")


def _report(response: object) -> Report:
    """What a response says of itself, as it stands. One that failed without a word of usage has used nothing."""
    status = member(response, "status")
    usage = responses_usage(member(response, "usage"))
    if usage is None and status == "failed" and not member(response, "output"):
        usage = Usage()
    later = name_in(response, "id") if usage is None and status in _UNDER_WAY else None
    cost = reported_cost(member(response, "usage"))
    return Report(
        name_in(response),
        None if usage is None else replace(usage, **_searched(response)),
        done=True,
        later=later or "",
        cost=cost,
        service=tier(member(response, "service_tier")),
        besides=tool_usage(response),
    )


def _searched(response: object) -> dict[str, int]:
    """How often it searched, by its own count, else by what stands in its output; opening a page is no search."""
    output = member(response, "output")
    items = output if isinstance(output, list) else []
    told = count(member(member(member(response, "tool_usage"), "web_search"), "num_requests"))
    webs = sum(member(item, "type") == "web_search_call" and _searches(item) for item in items)
    files = sum(member(item, "type") == "file_search_call" for item in items)
    return {"web_searches": webs if told is None else told, "file_searches": files}


def _searches(item: object) -> bool:
    return member(member(item, "action"), "type") in (None, "search")


@dataclass(slots=True)
class _ResponseAnswer:
    """A streamed response. It is done at the event that ends it, which carries the whole of it, usage included."""

    model: str | None = None
    usage: Usage | None = None
    deltas: int = 0
    size: int = 0
    done: bool = False
    tail: bytes = b""
    later: str = ""
    cost: int | None = None
    service: Service = ()
    besides: tuple[tuple[str | None, Usage], ...] = ()

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no event is ours. Text in an event has its quotes escaped, so what stands in plain
        ones is a member.
        """
        if b'"response"' in event:
            self._take_response(event)
        at = event.find(b'"delta"')
        if at >= 0 and (size := string_delta_size(event, at)):
            self.deltas += 1
            self.size += 0 if event.find(b'audio.delta"', 0, at) >= 0 else size  # of sound it is no text
        return False

    def rest(self, piece: bytes) -> None:
        """See `EventReader`: what comes of an event after as much as can be read of it."""
        self.tail = (self.tail + piece)[-TAIL:]

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        usage = self.usage or (usage_in(self.tail, responses_usage) if self.tail else None)
        seen = seen_tokens(self.deltas, self.size)
        done = self.done or usage is not None
        return Report(
            self.model, usage, seen, done, "" if done else self.later, self.cost, self.service, self.besides
        )

    def _take_response(self, event: bytes) -> None:
        read = message(event)
        said = _report(read.get("response"))
        self.model = said.model or self.model
        self.cost = self.cost if said.cost is None else said.cost
        self.service = said.service or self.service
        self.besides = said.besides or self.besides
        if member(read.get("response"), "background") is True:
            self.later = said.later
        self.usage = said.usage or (None if read else usage_in(event, responses_usage)) or self.usage
        self.done = self.done or read.get("type") in _FINAL or self.usage is not None
