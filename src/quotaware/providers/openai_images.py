"""OpenAI's images: made from a text, edited, varied; billed by the token, or by the image elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.bounds import Call
from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext
from .base import Report, StreamReader
from .formdata import Upload
from .many import added
from .openai_chat import openai_refusal, tokens_usage
from .reported_cost import reported_cost
from .sse import EventReader, message
from .text import TAIL, Tally, member, usage_in

# The most tokens of one made image, by its quality: OpenAI's guide "Image generation" has up to 408, 1,584 and 6,240
# for GPT Image 1; newer models make larger ones. Each picture that is shown on the way takes 100 more.
_MOST = {"low": 1_024, "medium": 4_096}
_MOST_OTHERWISE = 16_384
_PARTIAL = 128
_GIVEN = 16_384
"""The most tokens of one image that is given."""


TOOL_MODEL = "gpt-image-1"
"""The model of the image tool that names none (OpenAI's SDK, `ImageGeneration`)."""
_TOOL_IMAGES = 2
"""Images that a call is bounded by which may make them with a tool and names no bound of its own."""
_UNTOLD = 6_240
"""Tokens of an image of which only is told that it was made: as many as the guide's largest takes."""


def tool_calls(provider: str | None, tools: object, named: int | None) -> tuple[Call, ...]:
    """What the image tools among these ask for; `named`: how often at most tools may be used."""
    found = tools if isinstance(tools, list) else []
    return tuple(
        Call(
            provider=provider,
            operation="images",
            model=_tool_model(tool),
            cap=_MOST.get(str(tool.get("quality")), _MOST_OTHERWISE),
            choices=_TOOL_IMAGES if named is None else named,
            media=_GIVEN * (_TOOL_IMAGES if named is None else named),
            sealed=True,
            cache_write=False,
        )
        for tool in found
        if member(tool, "type") == "image_generation"
    )


def tool_usage(response: object) -> tuple[tuple[str | None, Usage], ...]:
    """What the image tool of a response used: as it is told, else by the images in its output."""
    tools, output = member(response, "tools"), member(response, "output")
    tool: Mapping[str, Any] = (
        next((t for t in tools if member(t, "type") == "image_generation"), {})
        if isinstance(tools, list)
        else {}
    )
    usage = images_usage(member(member(response, "tool_usage"), "image_gen"))
    if usage is None and isinstance(output, list):
        made = sum(member(item, "type") == "image_generation_call" for item in output)
        usage = Usage(output=made * _UNTOLD, image_output=made * _UNTOLD)
    return ((_tool_model(tool), usage),) if usage and usage.total else ()


def _tool_model(tool: Mapping[str, Any]) -> str:
    model = tool.get("model")
    return model if isinstance(model, str) and model else TOOL_MODEL


class OpenAIImages:
    """`openai.images`: POST …/images/generations and …/images/edits; JSON, or a form with files."""

    name = "openai.images"
    operation = "images"
    forms = True

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`."""
        model = jsontext.model_name(body)
        made, partial = _number(body, "n") or 1, _number(body, "partial_images", 0) or 0
        tally = Tally()
        tally.parts = 1
        tally.add_strings(body.get("prompt"))
        for name in ("image", "images", "mask"):
            given = body.get(name)
            for one in given if isinstance(given, list) else [given] if given is not None else []:
                tally.media += _GIVEN
                tally.opaque = tally.opaque or not isinstance(one, Upload)
        each = _MOST.get(str(body.get("quality")), _MOST_OTHERWISE) + partial * _PARTIAL
        return Call(
            provider=provider,
            operation=self.operation,
            model=model,
            stream=body.get("stream") in (True, "true"),
            cap=each,
            sealed=True,
            choices=made,
            images=made,
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=tally.media,
            doubt=tally.doubt,
            opaque=tally.opaque,
            cache_write=False,
        )

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`: an image takes what it takes."""
        return {}

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: where there is one it is told."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`; it does not name the model. Images that no tokens are told of are counted."""
        told = member(body, "usage")
        usage, data = images_usage(told), member(body, "data")
        if usage is None and isinstance(data, list):
            usage = Usage(images=len(data))
        return Report(None, usage, done=True, cost=reported_cost(told))

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`."""
        return EventReader(_ImageAnswer(), hide=False)

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return openai_refusal(error)


class OpenAIVariations(OpenAIImages):
    """`openai.variations`: POST …/images/variations, which takes no text."""

    name = "openai.variations"


def images_usage(usage: object) -> Usage | None:
    """The tokens in a `usage` object. Where it does not say what the output is, it is images."""
    told = tokens_usage(usage, "input", "output") or tokens_usage(usage, "prompt", "completion")
    if told is None:
        return None
    made = count(member(member(usage, "output_tokens_details"), "image_tokens"))
    return Usage(
        input=told.input,
        output=told.output,
        cache_read=told.cache_read,
        cache_read_image=told.cache_read_image,
        image_input=count(member(member(usage, "input_tokens_details"), "image_tokens")) or 0,
        image_output=told.output if made is None else made,
    )


@dataclass(slots=True)
class _ImageAnswer:
    """Images that come as a stream. Each is told of at its end, with its usage, and counts by itself."""

    usage: Usage | None = None
    tail: bytes = b""

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no event is ours."""
        self._end()
        if b".completed" in event[:256]:
            read = message(event)
            self._add(images_usage(read.get("usage")))
            self.tail = b"" if read else event
        return False

    def rest(self, piece: bytes) -> None:
        """See `EventReader`: the image itself is longer than what is read of an event, its usage stands behind it."""
        self.tail = (self.tail + piece)[-TAIL:] if self.tail else b""

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        found = added(self.usage, usage_in(self.tail, images_usage)) if self.tail else self.usage
        return Report(None, found, done=found is not None)

    def _end(self) -> None:
        if self.tail:
            self._add(usage_in(self.tail, images_usage))
            self.tail = b""

    def _add(self, usage: Usage | None) -> None:
        self.usage = added(self.usage, usage)


def _number(body: Mapping[str, Any], name: str, least: int = 1) -> int | None:
    """A whole number in a body; in a form it is written as text."""
    value = body.get(name)
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 16:
        value = int(value)
    return jsontext.whole({name: value}, name, least)
