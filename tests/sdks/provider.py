"""One server that answers as each provider does, in the format that the path asks for; each answer reports `USAGE`.

OpenAI's chat and embeddings and Anthropic's messages are the fake provider's, Bedrock is the one of `tests.outbound`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

from quotaware.core.usage import Usage
from quotaware.testing import FakeProvider
from quotaware.testing.answers import Answer, Completion, message, message_stream
from tests.outbound import aws

USAGE = Usage(input=7, output=5)
WORD = "tok "
"""What every answer says, once a token."""
TEXT = WORD * USAGE.output
SSE, LINES, JSON = "text/event-stream", "application/x-ndjson", "application/json"


def _event(value: Any, kind: str | None = None) -> bytes:
    named = f"event: {kind}\n" if kind else ""
    return f"{named}data: {json.dumps(value)}\n\n".encode()


def _line(value: Any) -> bytes:
    return json.dumps(value).encode() + b"\n"


# OpenAI responses


def _response(status: str, text: str = "", **more: Any) -> dict[str, Any]:
    part = {"type": "output_text", "text": text, "annotations": []}
    said = {"type": "message", "id": "m", "role": "assistant", "status": "completed", "content": [part]}
    answer = {"id": "resp_1", "object": "response", "created_at": 0, "model": "gpt-4.1", "status": status}
    rest = {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "output": [said] if text else []}
    return {**answer, **rest, **more}


_RESPONSES_USAGE = {
    "input_tokens": USAGE.input,
    "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": USAGE.output,
    "output_tokens_details": {"reasoning_tokens": 0},
    "total_tokens": USAGE.total,
}


def responses(_: Any) -> Any:
    return _response("completed", TEXT, usage=_RESPONSES_USAGE)


def responses_stream(_: Any) -> Iterable[bytes]:
    place = {"item_id": "m", "output_index": 0, "content_index": 0, "logprobs": []}
    events = [
        {"type": "response.created", "response": _response("in_progress")},
        *({"type": "response.output_text.delta", "delta": WORD, **place} for _ in range(USAGE.output)),
        {"type": "response.completed", "response": responses(None)},
    ]
    for number, event in enumerate(events):
        yield _event({**event, "sequence_number": number}, event["type"])


# Gemini


def _gemini(text: str, **more: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text}]}
    return {"candidates": [{"content": content, "index": 0, **more}], "modelVersion": "gemini-2.5-flash"}


_GEMINI_USAGE = {
    "promptTokenCount": USAGE.input,
    "candidatesTokenCount": USAGE.output,
    "totalTokenCount": USAGE.total,
}


def gemini(_: Any) -> Any:
    return {**_gemini(TEXT, finishReason="STOP"), "usageMetadata": _GEMINI_USAGE}


def gemini_stream(_: Any) -> Iterable[bytes]:
    for _ in range(USAGE.output - 1):
        yield _event(_gemini(WORD))
    yield _event({**_gemini(WORD, finishReason="STOP"), "usageMetadata": _GEMINI_USAGE})


# Anthropic's messages where the path names the model


def vertex(_: Any) -> Any:
    return _told(message(_SAID))


def vertex_stream(_: Any) -> Iterable[bytes]:
    for frame in message_stream(_SAID).frames:
        yield frame.data


_SAID = Completion("1", "claude-sonnet-4-5", [USAGE.output], [False], USAGE)


def _told(answer: Answer) -> Any:
    (frame,) = answer.frames
    return json.loads(frame.data)


# Mistral


def _mistral(kind: str, **choice: Any) -> dict[str, Any]:
    head = {"id": "c", "object": kind, "created": 0, "model": "mistral-small-latest"}
    return {**head, "choices": [{"index": 0, **choice}]}


_OPENAI_USAGE = {
    "prompt_tokens": USAGE.input,
    "completion_tokens": USAGE.output,
    "total_tokens": USAGE.total,
}


def mistral(_: Any) -> Any:
    message = {"role": "assistant", "content": TEXT, "tool_calls": None}
    told = _mistral("chat.completion", message=message, finish_reason="stop")
    return {**told, "usage": _OPENAI_USAGE}


def mistral_stream(_: Any) -> Iterable[bytes]:
    def chunk(content: str, finish: str | None = None) -> dict[str, Any]:
        delta = {"role": "assistant", "content": content}
        return _mistral("chat.completion.chunk", delta=delta, finish_reason=finish)

    for _ in range(USAGE.output):
        yield _event(chunk(WORD))
    yield _event({**chunk("", "stop"), "usage": _OPENAI_USAGE})
    yield b"data: [DONE]\n\n"


# Cohere


_COHERE_TOKENS = {"input_tokens": USAGE.input, "output_tokens": USAGE.output}
_COHERE_USAGE = {"billed_units": _COHERE_TOKENS, "tokens": _COHERE_TOKENS}


def cohere(_: Any) -> Any:
    message = {"role": "assistant", "content": [{"type": "text", "text": TEXT}]}
    return {"id": "c", "finish_reason": "COMPLETE", "message": message, "usage": _COHERE_USAGE}


def cohere_stream(_: Any) -> Iterable[bytes]:
    def said(text: str, **more: Any) -> dict[str, Any]:
        return {"message": {"content": {"text": text, **more}}}

    start = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}}
    events = [
        {"type": "message-start", "id": "c", "delta": start},
        {"type": "content-start", "index": 0, "delta": said("", type="text")},
        *({"type": "content-delta", "index": 0, "delta": said(WORD)} for _ in range(USAGE.output)),
        {"type": "content-end", "index": 0},
        {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": _COHERE_USAGE}},
    ]
    for event in events:
        yield _event(event, event["type"])


def cohere_embed(_: Any) -> Any:
    return {
        "id": "e",
        "embeddings": {"float": [[0.1, 0.2]]},
        "texts": ["hi"],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": USAGE.input}},
        "response_type": "embeddings_by_type",
    }


# Voyage


def voyage(_: Any) -> Any:
    data = [{"object": "embedding", "embedding": [0.1, 0.2], "index": 0}]
    return {"object": "list", "data": data, "model": "voyage-3.5", "usage": {"total_tokens": USAGE.input}}


# Ollama


def _ollama(text: str, done: bool) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    head = {"model": "llama3.2", "created_at": "2026-01-01T00:00:00Z", "message": message, "done": done}
    ended = {"done_reason": "stop", "prompt_eval_count": USAGE.input, "eval_count": USAGE.output}
    return head | (ended if done else {})


def ollama(_: Any) -> Any:
    return _ollama(TEXT, done=True)


def ollama_stream(_: Any) -> Iterable[bytes]:
    for _ in range(USAGE.output):
        yield _line(_ollama(WORD, done=False))
    yield _line(_ollama("", done=True))


Written = Callable[[Any], Any]
_ANSWERS: tuple[tuple[str, str, Written, Written | None, str], ...] = (
    # host's end, path's end, whole, stream, the stream's kind
    ("", "/responses", responses, responses_stream, SSE),
    ("", ":generateContent", gemini, None, JSON),
    ("", ":streamGenerateContent", gemini, gemini_stream, SSE),
    ("", ":rawPredict", vertex, None, JSON),
    ("", ":streamRawPredict", vertex, vertex_stream, SSE),
    ("mistral.ai", "/chat/completions", mistral, mistral_stream, SSE),
    ("cohere.com", "/v2/chat", cohere, cohere_stream, SSE),
    ("cohere.com", "/v2/embed", cohere_embed, None, JSON),
    ("voyageai.com", "/embeddings", voyage, None, JSON),
    ("", "/api/chat", ollama, ollama_stream, LINES),
)
_BEDROCK = ("/converse", "/converse-stream", "/invoke", "/invoke-with-response-stream")


class Provider:
    """An ASGI app; `requests` counts what arrived, `unsigned` what AWS would not have taken."""

    def __init__(self) -> None:
        self.requests = 0
        self.unsigned = 0
        self._bedrock = aws.Bedrock()
        self._usual = FakeProvider(
            output=USAGE.output, usage=lambda seen, told: Usage(USAGE.input, told.output)
        )

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._usual(scope, receive, send)
            return
        self.requests += 1
        host = dict(scope["headers"]).get(b"host", b"").decode().partition(":")[0]
        if scope["path"].endswith(_BEDROCK):
            await self._bedrock(scope, receive, send)
            self.unsigned += not self._bedrock.seen[-1]["signed"]
            return
        for at, suffix, whole, stream, kind in _ANSWERS:
            if host.endswith(at) and scope["path"].endswith(suffix):
                await _answer(scope, receive, send, whole, stream, kind)
                return
        await self._usual(scope, receive, send)


async def _answer(
    scope: Any, receive: Any, send: Any, whole: Written, stream: Written | None, kind: str
) -> None:
    body, more = b"", True
    while more:
        part = await receive()
        body, more = body + part.get("body", b""), part.get("more_body", False)
    asked = json.loads(body)
    streams = stream is not None and (
        asked.get("stream", kind == LINES) or b"alt=sse" in scope["query_string"]
    )
    pieces = stream(asked) if stream is not None and streams else [json.dumps(whole(asked)).encode()]
    headers = [(b"content-type", (kind if streams else JSON).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for piece in pieces:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})
