"""The provider of `tests.sdks`, which also uses tools: whoever offers it one has it called first, then gets the text.

Each answer reports `USAGE`, and at a path that begins with a number so many input tokens more, up to two; an argument
is the text too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from tests.sdks import provider
from tests.sdks.provider import TEXT, USAGE

OPENAI_USAGE = {"prompt_tokens": USAGE.input, "completion_tokens": USAGE.output, "total_tokens": USAGE.total}
JSON, SSE = b"application/json", b"text/event-stream"


class Provider:
    """An ASGI app; `requests` counts what arrived."""

    def __init__(self) -> None:
        self.requests = 0
        self._talks = provider.Provider()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._talks(scope, receive, send)
            return
        self.requests += 1
        scope, send = _numbered(scope, send)
        body, more = b"", True
        while more:
            part = await receive()
            body, more = body + part.get("body", b""), part.get("more_body", False)
        asked = json.loads(body) if body else {}
        calls = next((calls for end, calls in _CALLS.items() if scope["path"].endswith(end)), None)
        if calls is not None and asked.get("tools") and not _answered(asked):
            kind, pieces = (
                (SSE, _events(calls(asked))) if asked.get("stream") else (JSON, [_whole(calls(asked))])
            )
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
            for piece in pieces:
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b""})
            return
        given = [{"type": "http.request", "body": body, "more_body": False}]

        async def again() -> Any:
            return given.pop() if given else await receive()

        await self._talks(scope, again, send)


def _numbered(scope: Any, send: Any) -> tuple[Any, Any]:
    """The request without the number in its path, whose answer reports as many input tokens more."""
    _, number, rest = (scope["path"] + "/").split("/", 2)
    if not number.isdigit():
        return scope, send

    async def more(message: Any) -> None:
        if "body" in message:
            told = rb"\g<1>%d" % (USAGE.input + int(number))
            message = {**message, "body": _INPUT.sub(told, message["body"])}
        await send(message)

    return {**scope, "path": f"/{rest.rstrip('/')}"}, more


_INPUT = re.compile(rb'("(?:prompt_tokens|input_tokens|promptTokenCount)": ?)%d\b' % USAGE.input)


def _answered(asked: dict[str, Any]) -> bool:
    """Whether a tool's result is among the messages."""
    said = json.dumps([asked.get("messages"), asked.get("input")])
    return any(kind in said for kind in ('"tool_call_id"', '"tool_result"', '"function_call_output"'))


def _arguments(schema: dict[str, Any]) -> str:
    return json.dumps(dict.fromkeys(schema.get("properties", {}), TEXT))


Calls = Callable[[dict[str, Any]], tuple[dict[str, Any], list[dict[str, Any]]]]
"""Answers a request with the call of its first tool: the whole answer, and the same as events."""


def _chat(asked: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    tool = asked["tools"][0]["function"]
    function = {"name": tool["name"], "arguments": _arguments(tool["parameters"])}
    call = {"id": "call_1", "type": "function", "function": function}
    head = {"id": "c", "created": 0, "model": asked["model"]}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls"}
    whole = {**head, "object": "chat.completion", "choices": [choice], "usage": OPENAI_USAGE}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return {**head, "object": "chat.completion.chunk", "choices": [choice]}

    begun = {**call, "index": 0, "function": {**function, "arguments": ""}}
    said = {"index": 0, "function": {"arguments": function["arguments"]}}
    events = [
        chunk({"role": "assistant", "tool_calls": [begun]}),
        chunk({"tool_calls": [said]}),
        chunk({}, "tool_calls"),
    ]
    if (asked.get("stream_options") or {}).get("include_usage"):
        events.append({**chunk({}), "choices": [], "usage": OPENAI_USAGE})
    return whole, events


def _responses(asked: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    tool = asked["tools"][0]
    item = {
        "type": "function_call",
        "id": "fc_1",
        "call_id": "call_1",
        "name": tool["name"],
        "arguments": _arguments(tool["parameters"]),
        "status": "completed",
    }
    whole = {**provider.responses(asked), "output": [item]}
    events = [
        {
            "type": "response.created",
            "response": {**whole, "status": "in_progress", "output": [], "usage": None},
        },
        {"type": "response.output_item.done", "item": item, "output_index": 0},
        {"type": "response.completed", "response": whole},
    ]
    return whole, [{**event, "sequence_number": number} for number, event in enumerate(events)]


def _messages(asked: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    tool = asked["tools"][0]
    arguments = _arguments(tool["input_schema"])
    block = {"type": "tool_use", "id": "toolu_1", "name": tool["name"], "input": json.loads(arguments)}
    usage = {"input_tokens": USAGE.input, "output_tokens": USAGE.output}
    head = {"id": "m", "type": "message", "role": "assistant", "model": asked["model"], "stop_sequence": None}
    whole = {**head, "content": [block], "stop_reason": "tool_use", "usage": usage}
    delta = {"type": "input_json_delta", "partial_json": arguments}
    events = [
        {"type": "message_start", "message": {**whole, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": {**block, "input": {}}},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use", "stop_sequence": None},
            "usage": usage,
        },
        {"type": "message_stop"},
    ]
    return whole, events


_CALLS: dict[str, Calls] = {
    "/chat/completions": _chat,
    "/responses": _responses,
    "/messages": _messages,
}


def _whole(answer: tuple[dict[str, Any], list[dict[str, Any]]]) -> bytes:
    return json.dumps(answer[0]).encode()


def _events(answer: tuple[dict[str, Any], list[dict[str, Any]]]) -> Iterator[bytes]:
    for event in answer[1]:
        named = f"event: {event['type']}\n" if "type" in event else ""
        yield f"{named}data: {json.dumps(event)}\n\n".encode()
    if "choices" in answer[0]:
        yield b"data: [DONE]\n\n"
