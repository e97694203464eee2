"""What the tests of the outbound edge share: the ways to send a request, and what is sent."""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import httpx
import httpx2
import pytest

from quotaware import Quota
from quotaware.usage import UsageRecord

OPENAI = "/v1/chat/completions"
ANTHROPIC = "/v1/messages"
MODEL = "gpt-4.1"
CLAUDE = "claude-sonnet-5"


@dataclass(frozen=True)
class Way:
    """A library, and sync or on which backend. Its methods do the same thing in each."""

    library: ModuleType
    backend: str | None  # None: sync

    @property
    def sync(self) -> bool:
        return self.backend is None

    def __str__(self) -> str:
        return f"{self.library.__name__}-{self.backend or 'sync'}"

    def client(self, **options: Any) -> Any:
        kind = self.library.Client if self.sync else self.library.AsyncClient
        return kind(**{"verify": False, "trust_env": False, **options})

    def mock(self, handler: Callable[[Any], Any], **options: Any) -> Any:
        """A client whose requests the handler answers."""
        return self.client(transport=self.library.MockTransport(handler), **options)

    def stream(self, pieces: Iterable[bytes | Exception]) -> Any:
        """A response's stream that gives these pieces, as a network would, and raises what is to be raised."""
        if self.sync:
            return _stream(self.library.SyncByteStream, "__iter__", _sync_pieces, pieces)
        return _stream(self.library.AsyncByteStream, "__aiter__", _async_pieces, pieces)

    def metered_transport(self, quota: Quota, inner: Any) -> Any:
        return quota.sync_transport(inner) if self.sync else quota.transport(inner)

    async def post(self, client: Any, url: str, body: Any = None, **more: Any) -> Any:
        return await self.result(client.post(url, **({"json": body} if body is not None else {}), **more))

    async def open(self, client: Any, url: str, body: Any, **more: Any) -> Any:
        """The answer with its body unread."""
        return await self.result(
            client.send(client.build_request("POST", url, json=body, **more), stream=True)
        )

    async def read(self, response: Any) -> bytes:
        return await self.result(response.read() if self.sync else response.aread())

    async def close(self, thing: Any) -> None:
        await self.result(thing.close() if self.sync else thing.aclose())

    def raw(self, response: Any) -> Any:
        """The generator of the answer's bytes, decoded."""
        return response.iter_bytes() if self.sync else response.aiter_bytes()

    async def next(self, generator: Any) -> bytes:
        return next(generator) if self.sync else await anext(generator)

    async def undecoded(self, response: Any) -> list[bytes]:
        """The bytes of the wire, as they came."""
        return list(response.iter_raw()) if self.sync else [piece async for piece in response.aiter_raw()]

    async def pieces(self, response: Any) -> AsyncIterator[bytes]:
        if self.sync:
            for piece in response.iter_bytes():
                yield piece
        else:
            async for piece in response.aiter_bytes():
                yield piece

    async def result(self, value: Any) -> Any:
        return await value if inspect.isawaitable(value) else value


SYNC = (Way(httpx, None), Way(httpx2, None))
USUAL = (*SYNC, Way(httpx, "asyncio"), Way(httpx2, "trio"))
"""Each library, both worlds, both backends; the two that are left out go into the slow tests."""
EVERY = (*SYNC, *(Way(library, backend) for library in (httpx, httpx2) for backend in ("asyncio", "trio")))
WAYS = [pytest.param(way, id=str(way), marks=[] if way in USUAL else [pytest.mark.slow]) for way in EVERY]
ASYNC = [way for way in WAYS if not way.values[0].sync]
ON_ASYNCIO = (*SYNC, Way(httpx, "asyncio"), Way(httpx2, "asyncio"))


def _stream(base: type, name: str, method: Callable[..., Any], pieces: Iterable[bytes | Exception]) -> Any:
    return type("Pieces", (base,), {"given": list(pieces), name: method})()


def _sync_pieces(self: Any) -> Iterator[bytes]:
    for piece in self.given:
        if isinstance(piece, Exception):
            raise piece
        yield piece


async def _async_pieces(self: Any) -> AsyncIterator[bytes]:
    for piece in self.given:
        if isinstance(piece, Exception):
            raise piece
        yield piece


def chat(stream: bool | None = None, **more: Any) -> dict[str, Any]:
    """An OpenAI request body."""
    asked = {} if stream is None else {"stream": stream}
    return {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], **asked, **more}


def message(stream: bool | None = None, **more: Any) -> dict[str, Any]:
    """An Anthropic request body."""
    asked = {} if stream is None else {"stream": stream}
    body = {"model": CLAUDE, "max_tokens": 500, "messages": [{"role": "user", "content": "hi"}]}
    return {**body, **asked, **more}


def completion(output: int = 3, **more: Any) -> dict[str, Any]:
    """An OpenAI answer."""
    usage = {"prompt_tokens": 2, "completion_tokens": output, "total_tokens": 2 + output}
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "tok " * output},
        "finish_reason": "stop",
    }
    return {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [choice],
        "usage": usage,
    } | more


def event(content: str | None = None, **more: Any) -> bytes:
    """One event of an OpenAI stream."""
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": None}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": MODEL, "choices": [choice]}
    return b"data: %s\n\n" % json.dumps(chunk | more, ensure_ascii=False).encode()


USAGE_EVENT = event(choices=[], usage={"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5})
DONE_EVENT = b"data: [DONE]\n\n"


def records(quota: Quota) -> list[UsageRecord]:
    """What the quota's calls left so far."""
    return list(quota.blocking.usage.records())


def seen_tokens(seen: bytes) -> int:
    """The tokens of the fake provider that stand in what an app has read."""
    return seen.count(b"tok ")
