"""One stream of every format as its provider sends it, and a server that sends it as far as it is told to."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from quotaware.testing.faults import CLOSE
from tests.outbound.aws import MODEL as ON_BEDROCK
from tests.outbound.aws import chunks, converse, events, invoke
from tests.outbound.wire import ANTHROPIC, DONE_EVENT, MODEL, OPENAI, USAGE_EVENT, chat, event, message

SSE = "text/event-stream; charset=utf-8"
EVENT_STREAM = "application/vnd.amazon.eventstream"
WORDS = ("tok ", "größer ", "東京 🗼 ")
TOLD = {"input_tokens": 2, "output_tokens": 9, "total_tokens": 11}


class Streamed(NamedTuple):
    """A call whose answer streams, and what it is charged: input and output as they are told.

    `provider` is whose host it is, None where that is nobody's. `says` has a sign for each event: x where output can be
    seen in it, which is a token at least, u where the usage is told.
    """

    provider: str | None
    path: str
    body: bytes
    events: tuple[bytes, ...]
    usage: tuple[int, int]
    says: str
    kind: str = SSE
    sent_as: str = "application/json"

    @property
    def wire(self) -> bytes:
        return b"".join(self.events)

    def seen(self, got: int) -> int:
        """Tokens at the least in so many bytes of the stream, by the events that are whole."""
        tokens = at = 0
        for one, says in zip(self.events, self.says, strict=True):
            at += len(one)
            tokens += says == "x" and at <= got
        return tokens

    def ends(self, got: int) -> bool:
        """Whether the event that tells the usage is among so many bytes."""
        return got >= len(b"".join(self.events[: self.says.index("u") + 1]))


def named(*told: dict[str, Any]) -> tuple[bytes, ...]:
    """Events with their types as names."""
    return tuple(
        b"event: %s\ndata: %s\n\n" % (one["type"].encode(), json.dumps(one, ensure_ascii=False).encode())
        for one in told
    )


def listed(*told: dict[str, Any]) -> tuple[bytes, ...]:
    """The elements of an array, as Google writes it."""
    texts = [json.dumps(one, ensure_ascii=False, indent=2).encode() for one in told]
    return (b"[" + texts[0], *(b"\n,\r\n" + text for text in texts[1:]), b"\n]\n")


def lines(*told: dict[str, Any]) -> tuple[bytes, ...]:
    return tuple(json.dumps(one, ensure_ascii=False).encode() + b"\n" for one in told)


def form(**fields: str) -> bytes:
    """A form with a file of sound."""
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="%s"\r\n\r\n%s\r\n' % (n.encode(), v.encode())
        for n, v in fields.items()
    ]
    file = (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF'
        + bytes(64_000)
        + b"\r\n"
    )
    return b"".join(parts) + file + b"--b--\r\n"


def gemini(text: str, made: int, **more: Any) -> dict[str, Any]:
    part = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}
    usage = {"promptTokenCount": 2, "candidatesTokenCount": made, "totalTokenCount": 2 + made}
    return {"candidates": [part], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}


def written(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


_GEMINI = [gemini(word, n) for n, word in enumerate(WORDS, 1)] + [gemini("", 9, finishReason="STOP")]
_CLAUDE = named(
    {
        "type": "message_start",
        "message": {"model": "claude-sonnet-5", "usage": {"input_tokens": 2, "output_tokens": 1}},
    },
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": w}} for w in WORDS),
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 9}},
    {"type": "message_stop"},
)
_CHAT = tuple(event(word) for word in WORDS)
_ENDING = event(
    choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}],
    usage={"prompt_tokens": 2, "completion_tokens": 9},
)
_SOUND = base64.b64encode(bytes(range(256)) * 3).decode()
ASKED = {"stream_options": {"include_usage": True}}

STREAMS: dict[str, Streamed] = {
    "openai.chat": Streamed(
        "openai",
        OPENAI,
        written(chat(stream=True) | ASKED),
        (*_CHAT, USAGE_EVENT, DONE_EVENT),
        (2, 3),
        "xxxu ",
    ),
    "openai.completions": Streamed(
        "openai",
        "/v1/completions",
        written({"model": "gpt-3.5-turbo-instruct", "prompt": "hi", "stream": True} | ASKED),
        (
            *(b"data: %s\n\n" % json.dumps({"choices": [{"index": 0, "text": w}]}).encode() for w in WORDS),
            USAGE_EVENT,
            DONE_EVENT,
        ),
        (2, 3),
        "xxxu ",
    ),
    "openai.responses": Streamed(
        "openai",
        "/v1/responses",
        written({"model": MODEL, "input": "hi", "stream": True}),
        named(
            {
                "type": "response.created",
                "response": {"id": "r", "status": "in_progress", "model": MODEL, "usage": None},
            },
            *({"type": "response.output_text.delta", "delta": w, "output_index": 0} for w in WORDS),
            {
                "type": "response.completed",
                "response": {"id": "r", "status": "completed", "model": MODEL, "usage": TOLD},
            },
        ),
        (2, 9),
        " xxxu",
    ),
    "openai.images": Streamed(
        "openai",
        "/v1/images/generations",
        written({"model": "gpt-image-1", "prompt": "a cat", "stream": True, "partial_images": 2}),
        named(
            *(
                {"type": "image_generation.partial_image", "b64_json": _SOUND, "partial_image_index": n}
                for n in (0, 1)
            ),
            {"type": "image_generation.completed", "b64_json": _SOUND, "usage": TOLD},
        ),
        (2, 9),
        "  u",
    ),
    "openai.speech": Streamed(
        "openai",
        "/v1/audio/speech",
        written({"model": "gpt-4o-mini-tts", "voice": "alloy", "input": "hi", "stream_format": "sse"}),
        named(
            *({"type": "speech.audio.delta", "audio": _SOUND} for _ in range(3)),
            {"type": "speech.audio.done", "usage": TOLD},
        ),
        (2, 9),
        "   u",
    ),
    "openai.transcription": Streamed(
        "openai",
        "/v1/audio/transcriptions",
        form(model="gpt-4o-transcribe", stream="true"),
        named(
            *({"type": "transcript.text.delta", "delta": w} for w in WORDS),
            {"type": "transcript.text.done", "text": "".join(WORDS), "usage": {"type": "tokens", **TOLD}},
        ),
        (2, 9),
        "xxxu",
        sent_as="multipart/form-data; boundary=b",
    ),
    "anthropic.messages": Streamed(
        "anthropic", ANTHROPIC, written(message(stream=True)), _CLAUDE, (2, 9), "  xxxu "
    ),
    "vertex, claude": Streamed(
        "google",
        "/v1/projects/p/locations/global/publishers/anthropic/models/claude-sonnet-4-5:streamRawPredict",
        written({"anthropic_version": "vertex-2023-10-16", **message(stream=True)}),
        _CLAUDE,
        (2, 9),
        "  xxxu ",
    ),
    "gemini.stream": Streamed(
        "google",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        written({"contents": [{"parts": [{"text": "hi"}]}]}),
        tuple(b"data: %s\r\n\r\n" % json.dumps(one, ensure_ascii=False).encode() for one in _GEMINI),
        (2, 9),
        "xxxu",
    ),
    "gemini.stream, an array": Streamed(
        "google",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
        written({"contents": [{"parts": [{"text": "hi"}]}]}),
        listed(*_GEMINI),
        (2, 9),
        "xxxu ",
        kind="application/json; charset=UTF-8",
    ),
    "cohere.chat": Streamed(
        "cohere",
        "/v2/chat",
        written(
            {"model": "command-a-03-2025", "messages": [{"role": "user", "content": "hi"}], "stream": True}
        ),
        named(
            {"type": "message-start", "id": "m", "delta": {"message": {"role": "assistant"}}},
            *(
                {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": w}}}}
                for w in WORDS
            ),
            {
                "type": "message-end",
                "delta": {
                    "finish_reason": "COMPLETE",
                    "usage": {"tokens": {"input_tokens": 2, "output_tokens": 9}},
                },
            },
        ),
        (2, 9),
        " xxxu",
    ),
    "cohere.chat_v1": Streamed(
        "cohere",
        "/v1/chat",
        written({"model": "command-a-03-2025", "message": "hi", "stream": True}),
        lines(
            {"is_finished": False, "event_type": "stream-start", "generation_id": "g"},
            *({"is_finished": False, "event_type": "text-generation", "text": w} for w in WORDS),
            {
                "is_finished": True,
                "event_type": "stream-end",
                "response": {"text": "all", "meta": {"tokens": {"input_tokens": 2, "output_tokens": 9}}},
            },
        ),
        (2, 9),
        " xxxu",
        kind="application/stream+json",
    ),
    "mistral.chat": Streamed(
        "mistral",
        OPENAI,
        written({**chat(stream=True), "model": "mistral-small-latest"}),
        (*_CHAT, _ENDING, DONE_EVENT),
        (2, 9),
        "xxxu ",
    ),
    "mistral.conversation": Streamed(
        "mistral",
        "/v1/conversations",
        written({"model": "mistral-small-latest", "inputs": "hi", "stream": True}),
        named(
            {"type": "conversation.response.started", "conversation_id": "c"},
            *({"type": "message.output.delta", "content": w} for w in WORDS),
            {
                "type": "conversation.response.done",
                "usage": {"prompt_tokens": 2, "completion_tokens": 9, "total_tokens": 11},
            },
        ),
        (2, 9),
        " xxxu",
    ),
    "mistral.speech": Streamed(
        "mistral",
        "/v1/audio/speech",
        written({"model": "voxtral-mini-tts-2603", "input": "hi", "voice_id": "v", "stream": True}),
        named(
            *({"type": "speech.audio.delta", "audio_data": _SOUND} for _ in range(3)),
            {
                "type": "speech.audio.done",
                "usage": {"prompt_tokens": 2, "completion_tokens": 9, "total_tokens": 11},
            },
        ),
        (2, 9),
        "   u",
    ),
    "mistral.transcription": Streamed(
        "mistral",
        "/v1/audio/transcriptions",
        form(model="voxtral-mini-latest", stream="true"),
        named(
            *({"type": "transcription.text.delta", "text": w} for w in WORDS),
            {
                "type": "transcription.done",
                "model": "voxtral-mini-latest",
                "usage": {
                    "prompt_audio_seconds": 60,
                    "prompt_tokens": 2,
                    "completion_tokens": 9,
                    "total_tokens": 11,
                },
            },
        ),
        (2, 9),
        "xxxu",
        sent_as="multipart/form-data; boundary=b",
    ),
    "gemini.interactions": Streamed(
        "google",
        "/v1beta/interactions",
        written({"model": "gemini-2.5-flash", "input": "hi", "stream": True}),
        named(
            {"type": "interaction.created", "event_type": "interaction.created", "interaction": {"id": "i"}},
            *(
                {"type": "step.delta", "event_type": "step.delta", "delta": {"type": "text", "text": w}}
                for w in WORDS
            ),
            {
                "type": "interaction.completed",
                "event_type": "interaction.completed",
                "interaction": {
                    "id": "i",
                    "status": "completed",
                    "usage": {"total_input_tokens": 2, "total_output_tokens": 9, "total_tokens": 11},
                },
            },
        ),
        (2, 9),
        " xxxu",
    ),
    "ollama.chat": Streamed(
        None,
        "/api/chat",
        written({"model": "llama3.2", "messages": [{"role": "user", "content": "hi"}]}),
        lines(
            *(
                {"model": "llama3.2", "message": {"role": "assistant", "content": w}, "done": False}
                for w in WORDS
            ),
            {
                "model": "llama3.2",
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 2,
                "eval_count": 9,
            },
        ),
        (2, 9),
        "xxxu",
        kind="application/x-ndjson",
    ),
    "ollama.generate": Streamed(
        None,
        "/api/generate",
        written({"model": "llama3.2", "prompt": "hi"}),
        lines(
            *({"model": "llama3.2", "response": w, "done": False} for w in WORDS),
            {
                "model": "llama3.2",
                "done": True,
                "done_reason": "stop",
                "prompt_eval_count": 2,
                "eval_count": 9,
            },
        ),
        (2, 9),
        "xxxu",
        kind="application/x-ndjson",
    ),
    "bedrock.converse_stream": Streamed(
        "aws",
        f"/model/{ON_BEDROCK}/converse-stream",
        written({name: value for name, value in converse().items() if name != "modelId"}),
        tuple(events()),
        (7, 5),
        " xxxxx u",
        kind=EVENT_STREAM,
    ),
    "bedrock.invoke_stream": Streamed(
        "aws",
        f"/model/{ON_BEDROCK}/invoke-with-response-stream",
        written(invoke()),
        tuple(chunks()),
        (7, 5),
        " xxxxxu ",
        kind=EVENT_STREAM,
    ),
}


@dataclass
class Wire:
    """An ASGI app that sends one stream, `pieces`, and then does what `then` says: "end", "close" the connection in the
    middle of the answer, or "hang".
    """

    stream: Streamed | None = None
    pieces: list[bytes] = field(default_factory=list)
    then: str = "end"
    url: str = ""

    def plays(self, stream: Streamed, upto: int | None = None, then: str = "end") -> None:
        """From now on: so many bytes of this stream, each event in a piece of its own."""
        self.stream, self.pieces, self.then = stream, [], then
        left = len(stream.wire) if upto is None else upto
        for one in stream.events:
            if left > 0:
                self.pieces.append(one[:left])
            left -= len(one)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http" or self.stream is None:
            return
        while (await receive()).get("more_body"):
            pass
        headers = [(b"content-type", self.stream.kind.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for piece in self.pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        if self.then == "hang":
            await receive()  # until the other side is gone
        elif self.then == "close":
            scope["extensions"][CLOSE]()
        else:
            await send({"type": "http.response.body", "body": b""})
