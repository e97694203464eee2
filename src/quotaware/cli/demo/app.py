"""The app of the demo, as anybody's: a route that asks a model, the middleware, and the management API at `/v1`."""

from __future__ import annotations

import random
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route

from ... import Quota, QuotaMiddleware
from ...testing import FakeProvider

MODEL = "gpt-4.1"
OPENAI = "https://api.openai.com/v1/chat/completions"
ANTHROPIC = "https://api.anthropic.com/v1/messages"
MAX_TOKENS = 2000


def demo_app(quota: Quota) -> Starlette:
    """Its models are played by a fake provider inside this process: nothing is sent to these hosts."""
    lengths = random.Random()  # noqa: S311  # no secret hangs on it
    provider = FakeProvider(output=lambda _: round(lengths.triangular(100, MAX_TOKENS, 600)))
    client = httpx.AsyncClient(transport=httpx.ASGITransport(provider))

    async def ask(request: Request) -> JSONResponse:
        question, model = request.query_params.get("question", "?"), request.query_params.get("model", MODEL)
        body = {
            "model": model,
            "messages": [{"role": "user", "content": question}],
            "max_tokens": MAX_TOKENS,
        }
        answer = await client.post(ANTHROPIC if model.startswith("claude") else OPENAI, json=body)
        provider.reset()  # what it keeps of each request is for tests
        told: Any = {"answer": _text(answer.json())} if answer.is_success else answer.json()
        return JSONResponse(told, answer.status_code)

    app = Starlette(routes=[Route("/ask", ask), Mount("/v1", quota.management())])
    app.add_middleware(QuotaMiddleware, quota=quota)
    return app


def _text(answer: Any) -> str:
    """What the model said, in either provider's shape."""
    text: str = (
        answer["content"][0]["text"] if "content" in answer else answer["choices"][0]["message"]["content"]
    )
    return text
