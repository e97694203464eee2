"""A hard monthly budget under many callers at once, through the real SDKs and real servers."""

from __future__ import annotations

from itertools import cycle, islice, product
from typing import Any

import anyio
import httpx
import pytest

from quotaware.core.money import usd
from quotaware.testing import FakeProvider
from tests.acceptance.apps import generated, serving
from tests.acceptance.conftest import Audited

KINDS = list(product((False, False, True), ("/openai", "/anthropic")))
"""(streamed, path): a third of the callers stream."""


@pytest.mark.anyio
async def test_a_monthly_budget_under_64_callers_is_used_up_and_never_passed(audited: Audited) -> None:
    """I-1, F2: streaming and not, answers of random length: spent ≤ budget to the nano-dollar at every instant, the
    ledger says what the provider generated, and what is left is less than one reservation.
    """
    await _use_up(audited, "0.125", callers=64, cap=60)


@pytest.mark.slow
@pytest.mark.anyio
async def test_bounded_a_larger_budget_under_128_callers_at_the_streams_own_pace(audited: Audited) -> None:
    """The same with more money, more callers, and streams that take their time."""
    await _use_up(audited, "0.2", callers=128, cap=100, pace=0.002)


async def _use_up(audited: Audited, budget: str, *, callers: int, cap: int, **provided: Any) -> None:
    quota, store = audited(f"${budget}/month", settle_wait=60)
    provider = FakeProvider(output=(1, cap * 3 // 2), seed=7, **provided)
    denials: list[dict[str, Any]] = []
    answered = 0

    async def caller(client: httpx.AsyncClient, path: str, stream: bool) -> None:
        nonlocal answered
        asked = {"prompt": "Tell me of the sea.", "max_tokens": cap, "stream": stream}
        while True:
            answer = await client.post(path, json=asked)
            if answer.status_code != 200:
                assert answer.status_code == 429
                denials.append(answer.json()["error"])
                return
            answered += 1

    with serving(quota, provider) as url:
        limits = httpx.Limits(max_connections=None)
        async with (
            httpx.AsyncClient(base_url=url, verify=False, limits=limits, timeout=60) as client,
            anyio.create_task_group() as group,
        ):
            for stream, path in islice(cycle(KINDS), callers):
                group.start_soon(caller, client, path, stream)
        records = [record async for record in quota.usage.records()]

    cap_nano = usd(budget)
    spent = sum(record.cost for record in records)
    largest = max(record.reserved for record in records)
    assert spent <= cap_nano
    assert max(store.peaks.values()) <= cap_nano
    assert cap_nano - spent < largest
    assert 100 * largest <= cap_nano
    assert spent == generated(provider)
    assert len(records) == answered == provider.requests
    assert {(record.quality, record.flags) for record in records} == {("exact", frozenset())}
    assert len(denials) == callers
    assert all(_was_true(denial) for denial in denials)


def _was_true(denial: dict[str, Any]) -> bool:
    """No false denial: what was spent already left no room for the call."""
    (limit,) = denial["limits"]
    return denial["type"] == "quota_exceeded" and usd(limit["used"]) + usd(limit["asked"]) > usd(
        limit["limit"]
    )
