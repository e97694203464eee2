"""What a provider says, in its own shapes: OpenAI chat and embeddings, Anthropic messages, errors.

Lengths of answers and the usage to report come in, frames come out. Delays, faults, the socket and the ledger
are the fake provider's part.
"""

from __future__ import annotations

import base64
import json
import random
import struct
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from ..core.usage import Usage

TOKEN = "tok "  # noqa: S105 - one generated token, four bytes long
MAX_CHOICES = 128


class Frame(NamedTuple):
    """A piece of an answer: an event of a stream, or the whole body.

    tokens  generated tokens in it
    usage   what has been reported once it went out; None where it reports nothing
    """

    data: bytes
    tokens: int = 0
    usage: Usage | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; `stream` says that its frames go out as events, at the set pace."""

    frames: Iterable[Frame]
    status: int = 200
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    stream: bool = False


class Refused(Exception):
    """A request that a provider answers with an error of this status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer to generate: how long each choice is, whether its cap cut it, the usage to report or None."""

    id: str
    model: str
    lengths: Sequence[int]
    capped: Sequence[bool]
    usage: Usage | None


# Reading requests


def check_thinking(body: dict[str, Any], cap: int) -> None:
    """Refuses a request for thinking as Anthropic does: its budget is at least 1,024 tokens, and below the cap."""
    thinking = body.get("thinking")
    if not isinstance(thinking, dict) or thinking.get("type") != "enabled":
        return
    budget = whole(thinking, "budget_tokens")
    if budget is None or budget < 1_024:
        raise Refused(400, "thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if budget >= cap:
        raise Refused(400, "`max_tokens` must be greater than `thinking.budget_tokens`")


def whole(body: Mapping[str, Any], name: str, highest: int | None = None) -> int | None:
    """A member that must be a whole number from 1 on; None where it is missing or null. Raises `Refused`."""
    value = body.get(name)
    if value is None:
        return None
    if type(value) is not int or value < 1 or (highest is not None and value > highest):
        raise Refused(400, f"Invalid value for '{name}': {value!r}.")
    return value


def required(body: Mapping[str, Any], name: str, kind: type) -> Any:
    """A member that must be there, as a non-empty `kind`. Raises `Refused`."""
    value = body.get(name)
    if not isinstance(value, kind) or not value:
        raise Refused(400, f"Missing or invalid required parameter: '{name}'.")
    return value


def _text_bytes(value: object) -> int:
    if isinstance(value, str):
        return len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, list):
        return sum(map(_text_bytes, value))
    if isinstance(value, dict):
        return _text_bytes(value.get("text")) + _text_bytes(value.get("content"))
    return 0


def _quarter(size: int) -> int:
    return -(-size // 4)


def chat_input(body: Mapping[str, Any]) -> int:
    """Input tokens of a chat: its text (`system` and the messages' content) in UTF-8 bytes / 4, rounded up,
    and one a message. Tools, images and files count nothing.
    """
    messages = body.get("messages")
    count = len(messages) if isinstance(messages, list) else 0
    return _quarter(_text_bytes(messages) + _text_bytes(body.get("system"))) + count


def embedding_inputs(body: Mapping[str, Any]) -> list[Any]:
    """The things to embed: texts, or lists of token numbers. Raises `Refused`."""
    given = body.get("input")
    items = given if isinstance(given, list) and not all(isinstance(one, int) for one in given) else [given]
    if not all(isinstance(one, str | list) and one for one in items):
        raise Refused(400, "Missing or invalid required parameter: 'input'.")
    return items


def embedding_input(items: Iterable[Any]) -> int:
    """Input tokens of embeddings: each text's UTF-8 bytes / 4, rounded up; token numbers count one each."""
    return sum(len(one) if isinstance(one, list) else _quarter(_text_bytes(one)) for one in items)


# Writing answers


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


def plain(value: object, tokens: int = 0, usage: Usage | None = None) -> Answer:
    """A whole JSON answer."""
    return Answer([Frame(_json(value), tokens, usage)])


def _openai_usage(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read, "audio_tokens": usage.audio_input},
        "completion_tokens_details": {
            "reasoning_tokens": usage.reasoning,
            "audio_tokens": usage.audio_output,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _finish(capped: bool) -> str:
    return "length" if capped else "stop"


def _completion(kind: str, done: Completion) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{done.id}",
        "object": kind,
        "created": int(time.time()),
        "model": done.model,
        "service_tier": "default",
        "system_fingerprint": "fp_fake",
    }


def chat(done: Completion) -> Answer:
    """OpenAI chat completion, whole."""
    choices: list[dict[str, Any]] = [
        {
            "index": index,
            "message": {"role": "assistant", "content": TOKEN * length, "refusal": None, "annotations": []},
            "logprobs": None,
            "finish_reason": _finish(capped),
        }
        for index, (length, capped) in enumerate(zip(done.lengths, done.capped, strict=True))
    ]
    body = {**_completion("chat.completion", done), "choices": choices}
    if done.usage is not None:
        body["usage"] = _openai_usage(done.usage)
    return plain(body, sum(done.lengths), done.usage)


def chat_stream(done: Completion, include_usage: bool) -> Answer:
    """OpenAI chat completion, streamed; usage comes in a chunk of its own, only where it was asked for."""
    return Answer(
        _chat_events(done, include_usage), content_type="text/event-stream; charset=utf-8", stream=True
    )


def _chat_events(done: Completion, include_usage: bool) -> Iterator[Frame]:
    head = _completion("chat.completion.chunk", done)
    tail = {"usage": None} if include_usage else {}

    def event(index: int, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return b"data: %s\n\n" % _json({**head, "choices": [choice], **tail})

    indices = range(len(done.lengths))
    for index in indices:
        yield Frame(event(index, {"role": "assistant", "content": "", "refusal": None}))
    token = [Frame(event(index, {"content": TOKEN}), tokens=1) for index in indices]
    for step in range(max(done.lengths)):
        yield from (token[index] for index in indices if step < done.lengths[index])
    for index in indices:
        yield Frame(event(index, {}, _finish(done.capped[index])))
    if include_usage and done.usage is not None:
        last = {**head, "choices": [], "usage": _openai_usage(done.usage)}
        yield Frame(b"data: %s\n\n" % _json(last), usage=done.usage)
    yield Frame(b"data: [DONE]\n\n")


def embeddings(
    model: str, items: Sequence[Any], dimensions: int, packed: bool, usage: Usage | None
) -> Answer:
    """OpenAI embeddings: the same vector for the same input; `packed` as base64 of 32-bit floats."""

    def vector(item: Any) -> list[float] | str:
        draw = random.Random(repr(item))  # noqa: S311 - no secret hangs on it
        values = [draw.uniform(-1, 1) for _ in range(dimensions)]
        return base64.b64encode(struct.pack(f"<{dimensions}f", *values)).decode() if packed else values

    data = [
        {"object": "embedding", "index": index, "embedding": vector(item)} for index, item in enumerate(items)
    ]
    body: dict[str, Any] = {"object": "list", "data": data, "model": model}
    if usage is not None:
        body["usage"] = {"prompt_tokens": usage.input, "total_tokens": usage.total}
    return plain(body, usage=usage)


def models(names: Iterable[str]) -> Answer:
    """OpenAI's list of models."""
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "fake"} for name in names]
    return plain({"object": "list", "data": data})


def _anthropic_usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input - usage.cache_read - usage.cache_write,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "cache_creation": {
            "ephemeral_5m_input_tokens": usage.cache_write - usage.cache_write_1h,
            "ephemeral_1h_input_tokens": usage.cache_write_1h,
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"thinking_tokens": usage.reasoning},
        "service_tier": "standard",
    }


def _stop(capped: bool) -> str:
    return "max_tokens" if capped else "end_turn"


def _message(done: Completion, content: list[Any], stop: str | None, usage: Usage | None) -> dict[str, Any]:
    message = {
        "id": f"msg_{done.id}",
        "type": "message",
        "role": "assistant",
        "model": done.model,
        "content": content,
        "stop_reason": stop,
        "stop_sequence": None,
    }
    return message if usage is None else {**message, "usage": _anthropic_usage(usage)}


def message(done: Completion) -> Answer:
    """Anthropic message, whole."""
    content = [{"type": "text", "text": TOKEN * done.lengths[0]}]
    return plain(_message(done, content, _stop(done.capped[0]), done.usage), done.lengths[0], done.usage)


def message_stream(done: Completion) -> Answer:
    """Anthropic message, streamed: input is reported at the start, output cumulatively at the end."""
    return Answer(_message_events(done), content_type="text/event-stream; charset=utf-8", stream=True)


def _message_events(done: Completion) -> Iterator[Frame]:
    def event(kind: str, **more: Any) -> bytes:
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), _json({"type": kind, **more}))

    # The first event's output is a first guess, as the provider's own is: it is no token of the text.
    begun = done.usage and Usage(
        input=done.usage.input,
        output=min(1, done.usage.output),
        cache_read=done.usage.cache_read,
        cache_write=done.usage.cache_write,
        cache_write_1h=done.usage.cache_write_1h,
    )
    yield Frame(event("message_start", message=_message(done, [], None, begun)), usage=begun)
    yield Frame(event("content_block_start", index=0, content_block={"type": "text", "text": ""}))
    yield Frame(event("ping"))
    token = Frame(
        event("content_block_delta", index=0, delta={"type": "text_delta", "text": TOKEN}), tokens=1
    )
    for _ in range(done.lengths[0]):
        yield token
    yield Frame(event("content_block_stop", index=0))
    ended: dict[str, Any] = {"delta": {"stop_reason": _stop(done.capped[0]), "stop_sequence": None}}
    if done.usage is not None:
        ended["usage"] = _anthropic_usage(done.usage)
    yield Frame(event("message_delta", **ended), usage=done.usage)
    yield Frame(event("message_stop"))


_ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_OPENAI_ERRORS = {429: ("requests", "rate_limit_exceeded"), 401: ("invalid_request_error", "invalid_api_key")}


def error(status: int, message: str, anthropic: bool, headers: tuple[tuple[str, str], ...] = ()) -> Answer:
    """An error in OpenAI's or Anthropic's shape."""
    body: dict[str, Any]
    if anthropic:
        kind = _ANTHROPIC_ERRORS.get(status, "api_error" if status >= 500 else "invalid_request_error")
        body = {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_fake"}
    else:
        usual = ("server_error" if status >= 500 else "invalid_request_error", None)
        kind, code = _OPENAI_ERRORS.get(status, usual)
        body = {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return Answer([Frame(_json(body))], status, headers=headers)


def redirect(url: str, status: int) -> Answer:
    """An empty answer that names another place."""
    return Answer([Frame(b"")], status, headers=(("location", url),))


_BROKEN_PAGE = b"<html><body>\xff\xfe 502 said nobody</body></html>"
_BROKEN_EVENTS = (
    b'data: {"id": "chatcmpl-\n\n',
    b"data: [\xff\xfe]\n\n",
    b"\x00event data no colon\n",
    b"data: {",
)


def garbage(stream: bool) -> Answer:
    """Nonsense that claims to be what was asked for; neither JSON nor UTF-8."""
    if stream:
        return Answer([Frame(data) for data in _BROKEN_EVENTS], content_type="text/event-stream", stream=True)
    return Answer([Frame(_BROKEN_PAGE)])


# The wire


_WINDOW = {"gzip": 31, "deflate": 15}  # zlib's number for each container


def encoded(frames: Iterable[Frame], encoding: str | None) -> Iterator[Frame]:
    """The frames as they stand on the wire, each readable as soon as it has arrived."""
    if encoding is None:
        yield from frames
        return
    squeeze = zlib.compressobj(wbits=_WINDOW[encoding])
    for frame in frames:
        yield frame._replace(data=squeeze.compress(frame.data) + squeeze.flush(zlib.Z_SYNC_FLUSH))
    yield Frame(squeeze.flush())


def joined(frames: Iterable[Frame]) -> Frame:
    """All of them as one."""
    parts = list(frames)
    usage = next((part.usage for part in parts if part.usage is not None), None)
    return Frame(b"".join(part.data for part in parts), sum(part.tokens for part in parts), usage)


def marked(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Each frame, and whether it is the last."""
    rest = iter(frames)
    held = next(rest, None)
    while held is not None:
        following = next(rest, None)
        yield held, following is None
        held = following
