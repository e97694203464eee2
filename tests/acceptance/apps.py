"""A host app as users write them, whose routes call OpenAI and Anthropic through their own SDKs; and its callers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any

import anthropic
import genai_prices
import openai
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from quotaware import Quota, QuotaMiddleware
from quotaware.testing import FakeProvider
from quotaware.testing.server import serve
from tests.support import NOON

MODELS = {"openai": "gpt-4.1", "anthropic": "claude-sonnet-5"}


class Clients:
    """The SDKs' async clients, as an app makes them once; certificates are not read, since nothing is encrypted."""

    def __init__(self, provider_url: str) -> None:
        self.openai = openai.AsyncOpenAI(
            api_key="sk-none",
            base_url=f"{provider_url}/v1",
            http_client=openai.DefaultAsyncHttpxClient(verify=False),
        )
        self.anthropic = anthropic.AsyncAnthropic(
            api_key="sk-none",
            base_url=provider_url,
            http_client=anthropic.DefaultAsyncHttpxClient(verify=False),
        )

    async def aclose(self) -> None:
        await self.openai.close()
        await self.anthropic.close()


def host(quota: Quota | None, provider_url: str, **middleware: Any) -> Starlette:
    """The app: `POST /openai` and `POST /anthropic` take {"prompt", "max_tokens", "stream"} and answer text.

    Without a quota it is the same app, bare.
    """
    clients = Clients(provider_url)

    async def ask_openai(request: Request) -> Response:
        asked = await request.json()
        messages = [{"role": "user", "content": asked["prompt"]}]
        more = {name: asked[name] for name in ("max_tokens", "model") if name in asked}
        wanted: dict[str, Any] = {"model": MODELS["openai"], "messages": messages, **more}
        if not asked.get("stream"):
            done = await clients.openai.chat.completions.create(**wanted)
            return JSONResponse({"text": done.choices[0].message.content})
        chunks = await clients.openai.chat.completions.create(**wanted, stream=True)

        async def text() -> AsyncIterator[str]:
            async for chunk in chunks:
                yield chunk.choices[0].delta.content or ""

        return StreamingResponse(text(), media_type="text/plain")

    async def ask_anthropic(request: Request) -> Response:
        asked = await request.json()
        wanted: dict[str, Any] = {
            "model": MODELS["anthropic"],
            "messages": [{"role": "user", "content": asked["prompt"]}],
            "max_tokens": asked["max_tokens"],
        }
        if not asked.get("stream"):
            done = await clients.anthropic.messages.create(**wanted)
            return JSONResponse({"text": "".join(block.text for block in done.content)})
        events = await clients.anthropic.messages.create(**wanted, stream=True)

        async def text() -> AsyncIterator[str]:
            async for event in events:
                if event.type == "content_block_delta":
                    yield event.delta.text

        return StreamingResponse(text(), media_type="text/plain")

    async def size(request: Request) -> Response:
        """Takes any body in pieces, makes no call."""
        return JSONResponse({"bytes": sum([len(piece) async for piece in request.stream()])})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await clients.aclose()

    app = Starlette(
        routes=[
            Route("/openai", ask_openai, methods=["POST"]),
            Route("/anthropic", ask_anthropic, methods=["POST"]),
            Route("/size", size, methods=["POST"]),
        ],
        lifespan=lifespan,
    )
    if quota is not None:
        app.add_middleware(QuotaMiddleware, quota=quota, **middleware)
    return app


@contextmanager
def serving(quota: Quota | None, provider: FakeProvider, **middleware: Any) -> Iterator[str]:
    """The provider and the host app, each a real server on loopback; gives the host's URL, and closes the quota."""
    try:
        with provider.serve() as provider_url, serve(host(quota, provider_url, **middleware)) as url:
            yield url
    finally:
        if quota is not None:
            quota.close()


def generated(provider: FakeProvider) -> int:
    """What the provider says it generated for us, in nano-dollars, priced by the price list's own code."""
    at = datetime.fromtimestamp(NOON / 1000, UTC)
    total = 0
    for seen in provider.calls:
        if seen.reported is not None:
            usage = genai_prices.Usage(input_tokens=seen.reported.input, output_tokens=seen.reported.output)
            price = genai_prices.calc_price(usage, seen.model, genai_request_timestamp=at)
            nano = price.total_price * 10**9
            assert nano == int(nano)
            total += int(nano)
    return total
