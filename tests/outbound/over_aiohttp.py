"""The SDKs that send by aiohttp, in an environment where they are installed: run by `test_over_aiohttp`.

Each makes a plain and a streamed call, and is then refused both. What is said of it, as one line of JSON: how many
requests arrived, what was metered, and the SDK's own errors.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import aiohttp

from quotaware import Quota
from quotaware.testing import FakeProvider
from quotaware.testing.server import serve
from tests.outbound import aws

USAGE = {"promptTokenCount": 7, "candidatesTokenCount": 5, "totalTokenCount": 12}
PRICE = {"input": 1, "output": 1}
Call = Callable[[bool], Awaitable[Any]]


class Gemini:
    """An ASGI app that answers as Gemini does."""

    requests = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            return
        while (await receive()).get("more_body"):
            pass
        self.requests += 1
        content = {"role": "model", "parts": [{"text": "hi"}]}
        answer = {"candidates": [{"content": content, "finishReason": "STOP"}], "usageMetadata": USAGE}
        body, kind = json.dumps(answer).encode(), b"application/json"
        if "stream" in scope["path"]:
            body, kind = b"data: %s\r\n\r\n" % body, b"text/event-stream"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        await send({"type": "http.response.body", "body": body})


async def google_genai(url: str) -> AsyncIterator[Call]:
    from google import genai

    models = genai.Client(api_key="x", http_options={"base_url": url}).aio.models
    asked: dict[str, Any] = {"model": "gemini-2.5-flash", "contents": "hi"}

    async def call(stream: bool) -> None:
        if not stream:
            await models.generate_content(**asked)
            return
        async for _ in await models.generate_content_stream(**asked):
            pass

    yield call


async def litellm(url: str) -> AsyncIterator[Call]:
    import litellm

    messages = [{"role": "user", "content": "hi"}]

    async def call(stream: bool) -> None:
        for model, base in (("anthropic/claude-sonnet-4-5", url), ("openai/gpt-4.1", f"{url}/v1")):
            answer = await litellm.acompletion(
                model=model, messages=messages, api_base=base, api_key="x", stream=stream, max_retries=0
            )
            if stream:
                async for _ in answer:
                    pass

    yield call


async def aiobotocore(url: str) -> AsyncIterator[Call]:
    from aiobotocore.session import get_session

    made = get_session().create_client(
        "bedrock-runtime",
        region_name=aws.REGION,
        endpoint_url=url,
        aws_access_key_id=aws.CREDENTIALS.access_key,
        aws_secret_access_key=aws.CREDENTIALS.secret_key,
    )
    async with made as client:

        async def call(stream: bool) -> None:
            if not stream:
                await client.converse(**aws.converse())
                return
            async for _ in (await client.converse_stream(**aws.converse()))["stream"]:
                pass

        yield call


async def told(sdk: Callable[[str], AsyncIterator[Call]], url: str, provider: str | None) -> dict[str, Any]:
    """What is to be said of an SDK."""
    hosts = {"127.0.0.1": provider} if provider else None
    free = Quota(limits=["$1000/month"], hosts=hosts, unknown_model=PRICE)
    spent = Quota(limits=["$0.000000001/month"], hosts=hosts, unknown_model=PRICE)
    errors: list[str] = []
    free.instrument()
    async for call in sdk(url):
        for stream in (False, True):
            await call(stream)
        with spent.acting_as(end_user="u"):
            for stream in (False, True):
                try:
                    await call(stream)
                except Exception as error:
                    errors.append(f"{type(error).__name__}: {error}")
    outputs = [record.usage.output for record in free.blocking.usage.records()]
    denied, sent = spent.stats["denied"], len(SENT)
    SENT.clear()
    free.close()
    spent.close()
    return {"outputs": outputs, "denied": denied, "sent": sent, "errors": errors, "hook": _left()}


def _left() -> bool:
    """Whether anything of ours is left on the path."""
    return "quotaware" in aiohttp.ClientSession._request.__module__ or any(
        type(finder).__module__.startswith("quotaware") for finder in sys.meta_path
    )


SENT: list[str] = []
"""The hosts to which aiohttp sent."""


def _count() -> None:
    original = aiohttp.ClientSession._request

    @functools.wraps(original)
    def request(session: Any, method: str, url: Any, **options: Any) -> Any:
        async def sending(request: aiohttp.ClientRequest, handler: Any) -> Any:
            SENT.append(request.url.host or "")
            return await handler(request)

        given = options.get("middlewares") or session._middlewares
        return original(session, method, url, **{**options, "middlewares": (*given, sending)})

    aiohttp.ClientSession._request = request


def main() -> None:
    _count()
    os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"
    said: dict[str, Any] = {}
    gemini, bedrock, provider = Gemini(), aws.Bedrock(), FakeProvider(output=5)
    with serve(gemini) as url:
        said["google-genai"] = asyncio.run(told(google_genai, url, "google"))
        said["google-genai"]["requests"] = gemini.requests
    with serve(bedrock) as url:
        said["aiobotocore"] = asyncio.run(told(aiobotocore, url, "aws"))
        said["aiobotocore"]["requests"] = len(bedrock.seen)
        said["aiobotocore"]["signed"] = all(seen["signed"] for seen in bedrock.seen)
    with provider.serve() as url:
        said["litellm"] = asyncio.run(told(litellm, url, None))
        said["litellm"]["requests"] = provider.requests
    print(json.dumps(said))


if __name__ == "__main__":
    main()
