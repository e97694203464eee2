"""The race that a check before and a note after loses, side by side with reserving, over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from quotaware.core.money import format_usd
from quotaware.testing import FakeProvider
from quotaware.testing.server import serve
from tests.acceptance.apps import Clients, generated, host
from tests.acceptance.conftest import Audited

CALLERS = 64
OUTPUT = 20
COST = (2 + 1) * 2_000 + OUTPUT * 8_000
"""One call's, in nano-dollars: eight bytes and a message in, twenty tokens out, at $2 and $8 a million."""
BUDGET = 50 * COST


def naive(provider_url: str) -> Starlette:
    """A host that looks whether money is left, makes the call, and then notes what it cost."""
    clients = Clients(provider_url)
    spent = 0

    async def ask(request: Request) -> Response:
        nonlocal spent
        asked = await request.json()
        if spent + COST > BUDGET:
            return JSONResponse({"error": "over budget"}, 429)
        messages = [{"role": "user", "content": asked["prompt"]}]
        done = await clients.openai.chat.completions.create(
            model="gpt-4.1", messages=messages, max_tokens=asked["max_tokens"]
        )
        spent += done.usage.prompt_tokens * 2_000 + done.usage.completion_tokens * 8_000
        return JSONResponse({"text": done.choices[0].message.content})

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        await clients.aclose()

    return Starlette(routes=[Route("/openai", ask, methods=["POST"])], lifespan=lifespan)


async def offer_until_refused(url: str) -> int:
    """64 callers, each until it meets a 429; how many calls were answered."""
    answered = 0

    async def caller(client: httpx.AsyncClient) -> None:
        nonlocal answered
        while True:
            answer = await client.post("/openai", json={"prompt": "a budget", "max_tokens": OUTPUT})
            if answer.status_code == 429:
                return
            assert answer.status_code == 200
            answered += 1

    async with (
        httpx.AsyncClient(base_url=url, verify=False, timeout=60) as client,
        anyio.create_task_group() as group,
    ):
        for _ in range(CALLERS):
            group.start_soon(caller, client)
    return answered


@pytest.mark.anyio
async def test_reserving_never_overspends_where_checking_and_noting_does(audited: Audited) -> None:
    """F2 at 64 callers: the naive host spends what nobody had; ours not a nano-dollar, and denies nobody early."""
    provider = FakeProvider(output=OUTPUT, delay=0.02)
    with provider.serve() as provider_url, serve(naive(provider_url)) as url:
        await offer_until_refused(url)
        overspent = generated(provider) - BUDGET
    assert overspent > 10 * COST

    provider.reset()
    quota, store = audited(f"{format_usd(BUDGET)}/month", settle_wait=60)
    with provider.serve() as provider_url, serve(host(quota, provider_url)) as url:
        answered = await offer_until_refused(url)
    quota.flush()
    spent = generated(provider)
    assert spent <= BUDGET
    assert spent == sum(store.used.values()) == answered * COST
    assert answered >= 49
    assert max(store.peaks.values()) <= BUDGET
