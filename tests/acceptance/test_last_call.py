"""A hundred calls at once where one more fits: one passes, the others are denied, and nothing stays held."""

from __future__ import annotations

import threading
from random import Random
from typing import Any

import anyio
import openai
import pytest

from quotaware.testing import FakeProvider
from tests.acceptance.conftest import Audited

CALL: dict[str, Any] = {
    "model": "gpt-4.1",
    "messages": [{"role": "user", "content": "hello"}],
    "max_tokens": 10,
}
ONE_RESERVATION = "0.00013"
"""Dollars: fits the bound of one such call, and not that of one and its rest."""


@pytest.mark.anyio
@pytest.mark.parametrize("threaded", [False, True])
@pytest.mark.parametrize(
    ("limit", "before", "settle_wait", "kind"),
    [
        ("4 requests/day", 3, 5, "rate_limit_exceeded"),
        ("4 requests/minute", 3, 5, "rate_limit_exceeded"),
        (f"${ONE_RESERVATION}/month", 0, 5, "quota_exceeded"),
        (f"${ONE_RESERVATION}/month", 0, 0, "quota_exceeded"),
        ("1 concurrent", 0, 0, "rate_limit_exceeded"),
    ],
)
async def test_of_a_hundred_calls_one_passes(
    audited: Audited, limit: str, before: int, settle_wait: float, kind: str, threaded: bool
) -> None:
    quota, store = audited(limit, settle_wait=settle_wait, threaded=threaded)
    passed: list[Any] = []
    denied: list[openai.RateLimitError] = []
    decided = threading.Event()

    async def call(client: openai.AsyncOpenAI) -> None:
        try:
            passed.append(await client.chat.completions.create(**CALL))
        except openai.RateLimitError as error:
            denied.append(error)
            if len(denied) == 99:
                decided.set()

    def answer_last(_: Random) -> int:
        """The one that passes is answered when the others are denied, unless they wait for it to settle."""
        assert settle_wait or decided.wait(30)
        return 5

    provider = FakeProvider(output=3)
    with provider.serve() as url:
        async with openai.AsyncOpenAI(
            api_key="none", base_url=f"{url}/v1", http_client=openai.DefaultAsyncHttpxClient(verify=False)
        ) as client:
            quota.metered(client)
            for _ in range(before):
                await client.chat.completions.create(**CALL)
            provider.output = answer_last
            async with anyio.create_task_group() as group:
                for _ in range(100):
                    group.start_soon(call, client)
    quota.flush()

    assert (len(passed), len(denied)) == (1, 99)
    assert provider.requests == before + 1
    assert {error.type for error in denied} == {kind}
    assert store.held == {}
