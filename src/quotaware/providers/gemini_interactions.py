"""Gemini's interactions, as JSON and as a stream: conversations and agents' work that Google keeps.

One in the background reports its usage only later, where it is asked for by its id.
Source: ai.google.dev/api/interactions-api.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.bounds import Call
from ..core.prices import Service
from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext
from .base import Report, StreamReader, Unreadable
from .google_shape import add_data, each, google_refusal, web_searches
from .served import most_uses, tier
from .sse import EventReader, message
from .text import Tally, delta_size, member, name_in, seen_tokens, total

_MEDIA = frozenset({"audio", "document", "image", "video"})
_HELD = ("environment", "previous_interaction_id")
"""Members that bring in what the server keeps."""
_UNDER_WAY = ("queued", "in_progress")


class GeminiInteractions:
    """`gemini.interactions`: POST …/interactions."""

    name = "gemini.interactions"
    operation = "responses"
    agent = "agent"

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`. `max_output_tokens` bounds what is thought and what is said together."""
        tally = Tally()
        _add(tally, body.get("input"))
        tally.add_strings(body.get("system_instruction"))
        _add_tools(tally, body.get("tools"))
        if body.get("response_format") is not None:
            tally.add_json(body["response_format"])
        held = any(body.get(name) is not None for name in (*_HELD, "agent"))
        return Call(
            provider=provider,
            operation=self.operation,
            model=jsontext.model_name(body),
            stream=jsontext.flag(body, "stream"),
            cap=jsontext.whole(_config(body), "max_output_tokens"),
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=tally.media,
            doubt=tally.doubt,
            tools=tally.tools,
            opaque=tally.opaque or held,
            audio=tally.audio or _sounds(body),
            cache_write=False,
            sealed=body.get("agent") is not None,
            background=jsontext.flag(body, "background"),
            service=tier(body.get("service_tier")),
            web_searches=most_uses(body.get("tools"), "google_search"),
        )

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`."""
        settings = _config(body)
        named = jsontext.whole(settings, "max_output_tokens")
        cap = tokens if named is None else min(named, tokens)
        return {"generation_config": {**settings, "max_output_tokens": cap}}

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: every stream reports it."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`. One that failed without a word of usage has used nothing."""
        status = member(body, "status")
        usage = interaction_usage(member(body, "usage"), name_in(body))
        under_way = status in _UNDER_WAY
        if usage is None and status == "failed" and not member(body, "steps"):
            usage = Usage()
        later = name_in(body, "id") if under_way else None
        served = tier(member(body, "service_tier"))
        known = None if under_way else usage
        return Report(name_in(body), known, done=True, later=later or "", service=served)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`; no event is ever there for us alone."""
        return EventReader(_InteractionAnswer(), hide=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return google_refusal(error)


def interaction_usage(usage: object, model: str | None) -> Usage | None:
    """The tokens in a `usage` object, and Google's searches for an answer of the model; None where it tells no input.
    What tools brought in counts as input.
    """
    sent = count(member(usage, "total_input_tokens"))
    if sent is None:
        return None
    names = ("total_tool_use_tokens", "total_output_tokens", "total_thought_tokens", "total_cached_tokens")
    tools, made, thought, cached = (count(member(usage, name)) or 0 for name in names)
    return Usage(
        input=total(sent, tools),
        output=total(made, thought),
        cache_read=cached,
        reasoning=thought,
        audio_input=_among(usage, ("input", "tool_use"), "audio"),
        audio_output=_among(usage, ("output",), "audio"),
        image_input=_among(usage, ("input", "tool_use"), "image"),
        image_output=_among(usage, ("output",), "image"),
        video_input=_among(usage, ("input", "tool_use"), "video"),
        video_output=_among(usage, ("output",), "video"),
        cache_read_audio=_among(usage, ("cached",), "audio"),
        cache_read_image=_among(usage, ("cached",), "image"),
        web_searches=web_searches(model, _searched(usage)),
    )


@dataclass(slots=True)
class _InteractionAnswer:
    """A streamed interaction. It is done at the event that ends it, which has the usage."""

    model: str | None = None
    usage: Usage | None = None
    deltas: int = 0
    size: int = 0
    done: bool = False
    later: str = ""
    served: Service = ()

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no event is ours. Text in an event has its quotes escaped, so what stands in plain
        ones is a member.
        """
        if b'"interaction"' in event:
            self._take_interaction(message(event))
        if size := delta_size(event):  # also then: it counted while the event was not whole yet
            self.deltas += 1
            self.size += size
        return False

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        seen = seen_tokens(self.deltas, self.size)
        later = "" if self.done else self.later
        return Report(self.model, self.usage, seen, self.done, later, service=self.served)

    def _take_interaction(self, event: dict[str, Any]) -> None:
        told = event.get("interaction")
        self.model = name_in(told) or self.model
        self.usage = interaction_usage(member(told, "usage"), self.model) or self.usage
        self.served = tier(member(told, "service_tier")) or self.served
        self.later = name_in(told, "id") or self.later
        over = event.get("event_type") in ("interaction.completed", "interaction.complete")
        self.done = self.done or (over and member(told, "status") not in _UNDER_WAY)


def _add(tally: Tally, value: object) -> None:
    """Adds the input: a text, one content, a list of them, or of steps that hold some."""
    waiting = [value]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            tally.parts += len(value)
            waiting.extend(value)
        elif not isinstance(value, dict):
            tally.add_strings(value)
        elif str(value.get("type")) in _MEDIA:
            if "uri" in value:
                tally.opaque = True
            else:
                add_data(tally, value)
        elif "content" in value:
            waiting.append(value["content"])
        else:
            tally.add_json(value)


def _add_tools(tally: Tally, tools: object) -> None:
    """Adds tools. Those that are no functions run at Google, and bring in what the body does not show."""
    if isinstance(tools, list):
        tally.add_tools(tools)
        tally.opaque = tally.opaque or any(member(tool, "type") != "function" for tool in tools)


def _config(body: Mapping[str, Any]) -> Mapping[str, Any]:
    found = body.get("generation_config")
    if found is not None and not isinstance(found, dict):
        raise Unreadable("generation_config: an object is required")
    return found or {}


def _sounds(body: Mapping[str, Any]) -> bool:
    """Whether sound or video is asked for, in the newer member or the older one."""
    formats = (str(member(one, "type")) for one in each(body.get("response_format")))
    asked = {*map(str, each(body.get("response_modalities"))), *formats}
    return not asked.isdisjoint({"audio", "video"})


def _searched(usage: object) -> int:
    """How often Google was searched."""
    told = each(member(usage, "grounding_tool_count"))
    return sum(count(member(one, "count")) or 0 for one in told if member(one, "type") == "google_search")


def _among(usage: object, sides: tuple[str, ...], modality: str) -> int:
    """How many tokens of these sides are of a modality."""
    told = [one for side in sides for one in each(member(usage, f"{side}_tokens_by_modality"))]
    return sum(
        count(member(one, "tokens")) or 0 for one in told if str(member(one, "modality")).lower() == modality
    )
