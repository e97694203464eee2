"""Bedrock's Converse, whole and streamed: one format for all of its models, which stand in the URL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..core.bounds import Call
from ..core.usage import Usage, count
from ..errors import ApiError
from . import jsontext, media
from .anthropic_messages import fitting_thinking, least_cap
from .base import Report, StreamReader, Unreadable
from .eventstream import FrameReader
from .sse import message
from .text import Tally, delta_size, member, seen_tokens, string_size, total

_PAGE = 8_000
"""The most tokens of a page of a document: Claude's, the hungriest of those that have a known bound."""

CAPS = frozenset(
    {
        "max_completion_tokens",
        "max_gen_len",
        "max_new_tokens",
        "max_tokens",
        "max_tokens_to_sample",
        "maxTokenCount",
        "maxTokens",
    }
)
"""How the makers of Bedrock's models call an output cap."""

THINKING = ("thinking", "reasoning_config")
"""How a request for thinking is called, by Anthropic and in Amazon's own words."""

_ERRORS = {
    401: "AccessDeniedException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    503: "ServiceUnavailableException",
}


class BedrockConverse:
    """`bedrock.converse`: POST …/model/{modelId}/converse."""

    name = "bedrock.converse"
    operation = "chat"
    streams = False

    def read(self, provider: str | None, body: Mapping[str, Any]) -> Call:
        """See `Format.read`. A cap is read in `inferenceConfig` alone: the model's own fields may not name another."""
        model = jsontext.model_name(body)
        extra = body.get("additionalModelRequestFields")
        for fields in (extra, member(extra, "inferenceConfig")):
            if isinstance(fields, dict) and (twice := fields.keys() & CAPS):
                raise Unreadable(
                    f"additionalModelRequestFields.{min(twice)}: say it in inferenceConfig.maxTokens instead"
                )
        tally = converse_tally(body)
        return Call(
            provider=provider,
            operation=self.operation,
            model=model,
            stream=self.streams,
            cap=jsontext.whole(inference(body), "maxTokens"),
            least_cap=max(least_cap(member(extra, name)) for name in THINKING),
            text=tally.text,
            kinds=tally.kinds,
            parts=tally.parts,
            media=tally.media,
            doubt=tally.doubt,
            tools=tally.tools,
            opaque=tally.opaque,
            cache_write=tally.cache_write or "claude" not in model.lower(),
            audio=tally.audio,
        )

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`. A budget for thinking that would not fit is lowered to half of the cap."""
        settings, extra = inference(body), body.get("additionalModelRequestFields")
        named = jsontext.whole(settings, "maxTokens")
        cap = tokens if named is None else min(named, tokens)
        changed: dict[str, Any] = {"inferenceConfig": {**settings, "maxTokens": cap}}
        fitting = {name: fitting_thinking(member(extra, name), cap) for name in THINKING}
        if lowered := {name: thinking for name, thinking in fitting.items() if thinking}:
            changed["additionalModelRequestFields"] = {**body["additionalModelRequestFields"], **lowered}
        return changed

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: every stream reports it."""
        return {}

    def answer(self, body: object) -> Report:
        """See `Format.answer`; it does not name the model."""
        return Report(usage=converse_usage(member(body, "usage")), done=True)

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`; no event is ever there for us alone."""
        return FrameReader(_ConverseAnswer())

    def refusal(self, error: ApiError) -> dict[str, Any]:
        """See `Format.refusal`."""
        return bedrock_refusal(error)


class BedrockConverseStream(BedrockConverse):
    """`bedrock.converse_stream`: POST …/model/{modelId}/converse-stream."""

    name = "bedrock.converse_stream"
    streams = True


def converse_usage(usage: object) -> Usage | None:
    """The tokens in a `usage` object; None where it tells no input or no output.

    Bedrock counts cached input apart; here it is part of `input`. Where one part of the input is negative, so is the
    input.
    """
    plain, output = count(member(usage, "inputTokens")), count(member(usage, "outputTokens"))
    if plain is None or output is None:
        return None
    cached, written = (
        next(
            (n for end in ("Tokens", "TokenCount") if (n := count(member(usage, f"cache{kind}Input{end}")))),
            0,
        )
        for kind in ("Read", "Write")
    )
    details = member(usage, "cacheDetails")
    hour = sum(
        count(member(detail, "inputTokens")) or 0
        for detail in (details if isinstance(details, list) else ())
        if member(detail, "ttl") == "1h"
    )
    return apart(plain, output, cached, written, hour)


def apart(plain: int, output: int, cached: int, written: int, hour: int = 0) -> Usage:
    """A usage of counts that do not hold each other."""
    whole = total(plain, cached, written)
    return Usage(whole, output, cache_read=cached, cache_write=written, cache_write_1h=hour)


def bedrock_refusal(error: ApiError) -> dict[str, Any]:
    """An error as Bedrock writes it: a `message` and the name of an exception (as `code`, where botocore looks for
    it), and ours beside it.
    """
    name = _ERRORS.get(error.status, "ValidationException")
    return {"message": error.message, "code": name, "__type": name, **error.body()}


def inference(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The `inferenceConfig` of a body, empty where it has none. Raises `Unreadable` where it is no object."""
    found = body.get("inferenceConfig")
    if found is not None and not isinstance(found, dict):
        raise Unreadable("inferenceConfig: an object is required")
    return found or {}


def converse_tally(body: Mapping[str, Any]) -> Tally:
    """Everything in a body that the model reads."""
    tally = Tally(model=str(body.get("model", "")))
    _add_blocks(tally, body.get("system"))
    for entry in jsontext.items(body, "messages"):
        tally.parts += 1
        tally.add_strings(member(entry, "role"))
        _add_blocks(tally, member(entry, "content"))
    tools = member(body.get("toolConfig"), "tools")
    for tool in tools if isinstance(tools, list) else ():
        _add_tool(tally, tool)
    for name in ("additionalModelRequestFields", "outputConfig"):
        if body.get(name) is not None:
            tally.add_json(body[name])
    tally.opaque = tally.opaque or body.get("promptVariables") is not None
    return tally


def _add_tool(tally: Tally, tool: object) -> None:
    if member(tool, "cachePoint") is not None:
        tally.cache_write = True
    else:
        tally.add_tools([tool])
        tally.opaque = tally.opaque or member(tool, "systemTool") is not None


def _add_blocks(tally: Tally, blocks: object) -> None:
    """Adds blocks of content, and those that they hold themselves."""
    waiting = [blocks]
    while waiting:
        block = waiting.pop()
        if isinstance(block, list):
            tally.parts += len(block)
            waiting.extend(block)
        elif isinstance(block, dict):
            rest = dict(block)
            tally.cache_write = tally.cache_write or rest.pop("cachePoint", None) is not None
            waiting += [_add_media(tally, kind, rest.pop(kind)) for kind in _MEDIA & rest.keys()]
            result = rest.pop("toolResult", None)
            if isinstance(result, dict):
                waiting.append(result.get("content"))
                tally.add_strings({name: value for name, value in result.items() if name != "content"})
            else:
                tally.add_strings(result)
            if rest:
                tally.add_json(rest)
        else:
            tally.add_strings(block)


_MEDIA = frozenset({"audio", "document", "image", "video"})


def _add_media(tally: Tally, kind: str, block: object) -> object:
    """Adds an image, a document, a sound or a video; answers the blocks that it is made of."""
    source = member(block, "source")
    tally.add_strings([member(block, name) for name in ("name", "context")])
    tally.audio = tally.audio or kind in {"audio", "video"}
    data = member(source, "bytes")
    if kind == "document" and member(source, "text") is not None:
        tally.add_strings(source["text"])
    elif kind == "document" and member(source, "content") is not None:
        return source["content"]
    elif kind in {"audio", "video"} or not isinstance(data, str):
        tally.opaque = True
    else:
        tally.add_media(
            media.claude_image(tally.model, data) if kind == "image" else media.document(data, _PAGE, _PAGE)
        )
    return None


@dataclass(slots=True)
class _ConverseAnswer:
    """A streamed answer. It is done at its metadata, the last event, which has the usage."""

    usage: Usage | None = None
    deltas: int = 0
    size: int = 0
    done: bool = False

    def take(self, event: bytes) -> bool:
        """See `sse.Answer.take`; no event is ours."""
        if size := delta_size(event) or (string_size(event, b"input") if b'"toolUse"' in event else 0):
            self.deltas += 1
            self.size += size
        elif b'"usage"' in event and (usage := converse_usage(message(event).get("usage"))):
            self.usage = usage
            self.done = True
        return False

    def report(self) -> Report:
        """See `sse.Answer.report`."""
        return Report(None, self.usage, seen_tokens(self.deltas, self.size), self.done)
