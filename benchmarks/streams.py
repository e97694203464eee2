"""What a chunk of a streamed answer costs more with us between: every format, then every library.

    python benchmarks/streams.py [--rounds 41]

A chunk is what providers send for a few letters of text. Each stream of 1,000 chunks is read bare and wrapped in turn,
in one run; µs of CPU time a chunk, medians. What a call costs apart from its stream is in overhead.py.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import io
import json
import statistics
import struct
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, NamedTuple

import aiohttp
import httpx

from quotaware import Quota
from quotaware.context import Binding
from quotaware.core.bounds import Call
from quotaware.outbound.aiohttp_streams import tapped_reader
from quotaware.outbound.httpx_streams import async_stream, sync_stream
from quotaware.outbound.tap import Tap
from quotaware.outbound.urllib3_streams import Raw
from quotaware.providers import registry
from quotaware.stores.tickets import drive

CHUNKS = 1_000
SSE, JSON = "text/event-stream", "application/json"


def framed(**members: Any) -> bytes:
    """A frame of AWS's event streams."""
    payload = json.dumps({**members, "p": "abcdefghijklmno"}).encode()
    headers = b"".join(
        struct.pack(">B", len(name)) + name + struct.pack(">BH", 7, len(value)) + value
        for name, value in (
            (b":event-type", b"chunk"),
            (b":content-type", b"application/json"),
            (b":message-type", b"event"),
        )
    )
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


GEMINI = {
    "candidates": [
        {"content": {"parts": [{"text": " Paris, the capital of France"}], "role": "model"}, "index": 0}
    ],
    "usageMetadata": {
        "promptTokenCount": 15,
        "candidatesTokenCount": 29,
        "totalTokenCount": 786,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 15}],
        "thoughtsTokenCount": 742,
    },
    "modelVersion": "gemini-2.5-pro",
    "responseId": "6hkqaYC5BbGEz7IPwb3ggA8",
}
CLAUDE = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " Paris"}}
CHAT = (
    b'data: {"id":"chatcmpl-C1KMEUDb1vVwsROQUCZTgG6A6vtWo","object":"chat.completion.chunk","created":1754432618,'
    b'"model":"gpt-4o-2024-08-06","service_tier":"default","system_fingerprint":"fp_ff25b2783a",%s'
    b'"choices":[{"index":0,"delta":{"content":" Paris"},"logprobs":null,"finish_reason":null}]}\n\n'
)


class Stream(NamedTuple):
    """A format's stream: where it is asked for, how it is called on the wire, and a chunk of it."""

    host: str
    path: str
    chunk: bytes
    kind: str = SSE
    hide: bool = False
    start: bytes = b""  # what stands before the first


BEDROCK, INVOKED = "bedrock-runtime.us-east-1.amazonaws.com", "/model/m/invoke-with-response-stream"
AWS = "application/vnd.amazon.eventstream"
STREAMS = {
    "OpenAI chat": Stream("api.openai.com", "/v1/chat/completions", CHAT % b""),
    "OpenAI chat, hiding what we asked for": Stream(
        "api.openai.com", "/v1/chat/completions", CHAT % b'"usage":null,', hide=True
    ),
    "OpenAI chat, usage in every chunk": Stream(
        "api.example",
        "/v1/chat/completions",
        CHAT % b'"usage":{"prompt_tokens":9,"completion_tokens":1,"total_tokens":10},',
    ),
    "OpenAI completions": Stream(
        "api.openai.com",
        "/v1/completions",
        b'data: {"id":"cmpl-7iA7iJjj8V2zOkCGvWF2hAkDWBQZe","object":"text_completion","created":1690759702,'
        b'"choices":[{"text":" Paris","index":0,"logprobs":null,"finish_reason":null}],'
        b'"model":"gpt-3.5-turbo-instruct"}\n\n',
    ),
    "OpenAI responses": Stream(
        "api.openai.com",
        "/v1/responses",
        b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","content_index":0,'
        b'"delta":" Paris","item_id":"msg_68a6dd2eb1e4819fa4a1e2d5c5f0b4d00d8e5f4e","logprobs":[],'
        b'"obfuscation":"kJz3bW9Xqf","output_index":0,"sequence_number":7}\n\n',
    ),
    "OpenAI transcription": Stream(
        "api.openai.com",
        "/v1/audio/transcriptions",
        b'data: {"type":"transcript.text.delta","delta":" Paris","logprobs":[]}\n\n',
    ),
    "OpenAI speech, 4 KB": Stream(
        "api.openai.com",
        "/v1/audio/speech",
        b'data: {"type":"speech.audio.delta","audio":"%s"}\n\n' % base64.b64encode(bytes(range(256)) * 12),
    ),
    "OpenAI images, 64 KB of one": Stream("api.openai.com", "/v1/images/generations", b"A" * 65_536),
    "Anthropic messages": Stream(
        "api.anthropic.com",
        "/v1/messages",
        b"event: content_block_delta\ndata: %s\n\n" % json.dumps(CLAUDE).encode(),
    ),
    "Gemini, events": Stream(
        "generativelanguage.googleapis.com",
        "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
        b"data: %s\r\n\r\n" % json.dumps(GEMINI).encode(),
    ),
    "Gemini, an array": Stream(
        "generativelanguage.googleapis.com",
        "/v1beta/models/gemini-2.5-pro:streamGenerateContent",
        b"%s\n,\r\n" % json.dumps(GEMINI, indent=2).encode(),
        JSON,
        start=b"[",
    ),
    "Cohere chat": Stream(
        "api.cohere.com",
        "/v2/chat",
        b'event: content-delta\ndata: {"type":"content-delta","index":0,'
        b'"delta":{"message":{"content":{"text":" Paris"}}}}\n\n',
    ),
    "Cohere chat, version 1": Stream(
        "api.cohere.com",
        "/v1/chat",
        b'{"is_finished":false,"event_type":"text-generation","text":" Paris"}\n',
        "application/stream+json",
    ),
    "Mistral conversations": Stream(
        "api.mistral.ai",
        "/v1/conversations",
        b'event: message.output.delta\ndata: {"type":"message.output.delta","created_at":"2025-07-01T12:00:00Z",'
        b'"output_index":0,"id":"msg_01979c3d4d8f74f5a1b2c3d4e5f60718","content_index":0,'
        b'"model":"mistral-medium-2505","agent_id":null,"role":"assistant","content":" Paris"}\n\n',
    ),
    "Bedrock converse": Stream(
        BEDROCK, "/model/m/converse-stream", framed(contentBlockIndex=0, delta={"text": " Paris"}), AWS
    ),
    "Bedrock invoke, Claude": Stream(
        BEDROCK, INVOKED, framed(bytes=base64.b64encode(json.dumps(CLAUDE).encode()).decode()), AWS
    ),
    "Bedrock invoke, Nova": Stream(
        BEDROCK,
        INVOKED,
        framed(
            bytes=base64.b64encode(
                b'{"contentBlockDelta":{"delta":{"text":" Paris"},"contentBlockIndex":0}}'
            ).decode()
        ),
        AWS,
    ),
    "Bedrock invoke, Llama": Stream(
        BEDROCK,
        INVOKED,
        framed(
            bytes=base64.b64encode(
                b'{"generation":" Paris","prompt_token_count":null,"generation_token_count":3,"stop_reason":null}'
            ).decode()
        ),
        AWS,
    ),
}


class Taps:
    """Taps on streams of calls that were admitted."""

    def __init__(self) -> None:
        self.quota = Quota("memory://", limits=["$1000000/month", "1000 concurrent"])
        self.binding = Binding(self.quota.meter, None)

    def tap(self, stream: Stream) -> Tap:
        route = registry.find("POST", stream.host, stream.path)
        assert route is not None
        call = Call("openai", "chat", "gpt-4.1", stream=True, cap=100, text=400, parts=2, cache_write=False)
        admission: Any = drive(self.quota.engine.admit(call, self.binding, may_wait=True))
        tap = Tap(admission, route.format, stream.hide)
        tap.answered(200, stream.kind, "")
        deque(tap.feed(stream.start), 0)
        return tap


def timed(read: Callable[[], None]) -> float:
    """µs a chunk."""
    start = time.thread_time()
    read()
    return (time.thread_time() - start) / CHUNKS * 1e6


def compared(name: str, bare: Callable[[], float], wrapped: Callable[[], float], rounds: int) -> None:
    """Both in turn; prints medians, and that of the differences."""
    bare(), wrapped()
    pairs = [(bare(), wrapped()) for _ in range(rounds)]
    a, b = (statistics.median(side) for side in zip(*pairs, strict=True))
    print(f"{name:<48} {a:9.2f} {b:9.2f} {statistics.median(y - x for x, y in pairs):+9.2f}")


class Pieces(httpx.SyncByteStream, httpx.AsyncByteStream):
    """An answer's stream as httpx gives it."""

    def __init__(self, chunk: bytes) -> None:
        self.chunks = [chunk] * CHUNKS

    def __iter__(self) -> Iterator[bytes]:
        yield from self.chunks

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            yield chunk


def through_httpx(taps: Taps, stream: Stream, wrapped: bool) -> float:
    pieces: Any = Pieces(stream.chunk)
    read = sync_stream(httpx)(pieces, taps.tap(stream)) if wrapped else pieces
    return timed(lambda: deque(read, 0))


def through_async_httpx(taps: Taps, stream: Stream, wrapped: bool) -> float:
    pieces: Any = Pieces(stream.chunk)
    read = async_stream(httpx)(pieces, taps.tap(stream)) if wrapped else pieces

    async def all_of_it() -> None:
        async for _ in read:
            pass

    return timed(lambda: asyncio.run(all_of_it()))


class Protocol:
    """The connection under a reader of aiohttp's."""

    connected = True
    _reading_paused = False

    def pause_reading(self) -> None:
        pass

    def resume_reading(self, resume_parser: bool = True) -> None:
        pass


def through_aiohttp(taps: Taps, stream: Stream, wrapped: bool) -> float:
    """Each chunk comes in while the app waits for it."""
    tap = taps.tap(stream) if wrapped else None

    async def all_of_it() -> None:
        inner = aiohttp.StreamReader(Protocol(), 65_536, loop=asyncio.get_running_loop())  # type: ignore[arg-type]
        reader: Any = tapped_reader(aiohttp)(inner, tap) if tap else inner
        for _ in range(CHUNKS):
            inner.begin_http_chunk_receiving()
            inner.feed_data(stream.chunk)
            inner.end_http_chunk_receiving()
            await reader.readany()

    return timed(lambda: asyncio.run(all_of_it()))


def through_botocore(taps: Taps, stream: Stream, wrapped: bool) -> float:
    import urllib3

    raw: Any = urllib3.HTTPResponse(io.BytesIO(stream.chunk * CHUNKS), preload_content=False)
    if wrapped:
        raw = Raw(raw, taps.tap(stream))
    return timed(lambda: deque(raw.stream(len(stream.chunk)), 0))


LIBRARIES = {
    "httpx, async": (through_async_httpx, "OpenAI chat"),
    "aiohttp": (through_aiohttp, "OpenAI chat"),
    "botocore": (through_botocore, "Bedrock converse"),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=41)
    rounds = parser.parse_args().rounds
    taps = Taps()
    print(f"{'µs a chunk, medians':<48} {'bare':>9} {'wrapped':>9} {'added':>9}")
    cases = [(name, through_httpx, stream) for name, stream in STREAMS.items()]
    cases += [(f"{name}: {of}", through, STREAMS[of]) for name, (through, of) in LIBRARIES.items()]
    for name, through, stream in cases:
        compared(
            name,
            lambda through=through, stream=stream: through(taps, stream, False),  # type: ignore[misc]
            lambda through=through, stream=stream: through(taps, stream, True),  # type: ignore[misc]
            rounds,
        )
    taps.quota.close()


if __name__ == "__main__":
    main()
