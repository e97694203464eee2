"""A batch is charged at its bound when it is made, and at what its results say once these are read."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware import Quota
from quotaware.usage import UsageRecord
from tests.outbound.wire import CLAUDE, Way, records
from tests.providers.test_anthropic_batches import ID, batch, params, result
from tests.support import NOVEMBER, AuditedStore, RunningClock

pytestmark = pytest.mark.anyio
URL = "https://api.anthropic.com/v1/messages/batches"


@pytest.fixture
def books() -> AuditedStore:
    """At a time when the list has prices for batches."""
    return AuditedStore(RunningClock(NOVEMBER))


def lines(*each: dict[str, Any]) -> bytes:
    return b"".join(json.dumps(one).encode() + b"\n" for one in each)


class Provider:
    """Anthropic's, with one batch whose results break off where `cut` is set."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.cut = False
        self.client = way.mock(self.answer)

    def answer(self, request: Any) -> Any:
        if request.method == "POST":
            return self.way.library.Response(200, json={"id": ID, "processing_status": "in_progress"})
        if not str(request.url).endswith("/results"):
            return self.way.library.Response(200, json={"id": ID, "processing_status": "ended"})
        told = [lines(result(500, 20, CLAUDE)), lines(result(300, 10, CLAUDE))]
        pieces: list[Any] = [told[0], self.way.library.ReadError("reset")] if self.cut else told
        head = {"content-type": "application/x-jsonl"}
        return self.way.library.Response(200, headers=head, stream=self.way.stream(pieces))

    async def get(self, end: str = "/results") -> Any:
        return await self.way.result(self.client.get(f"{URL}/{ID}{end}"))


def calls(quota: Quota) -> list[UsageRecord]:
    return [record for record in records(quota) if record.requested_model is not None]


async def test_a_batch_is_charged_once_by_its_results(quota: Quota, way: Way) -> None:
    """I-4: what is no whole result changes nothing of its charge; the results do so once, at half the price."""
    provider = Provider(way)
    made = await way.post(provider.client, URL, batch(params(model=CLAUDE), params(model=CLAUDE)))
    assert made.json()["id"] == ID
    (first,) = calls(quota)
    assert (first.operation, first.quality) == ("message_batches", "unsettled")
    assert first.cost == first.reserved > 2 * 50 * 5_000
    await provider.get("")
    provider.cut = True
    with pytest.raises(way.library.ReadError):
        await provider.get()
    assert calls(quota) == [first]
    provider.cut = False
    for _ in range(2):
        assert (await provider.get()).text.count("\n") == 2
        _, put_right = calls(quota)
        assert (put_right.id, put_right.correction, put_right.quality) == (first.id, True, "exact")
        assert first.cost + put_right.cost == 800 * 1_000 + 30 * 5_000
    await way.close(provider.client)


async def test_a_batch_that_could_cost_more_than_is_left_is_refused(way: Way) -> None:
    """S9: all of its messages count, each at its longest."""
    quota, provider = Quota(limits=["$1/month"]), Provider(way)
    quota.instrument()
    try:
        one = params(model=CLAUDE, max_tokens=2_000)
        assert (await way.post(provider.client, URL, batch(one))).status_code == 200
        assert (await way.post(provider.client, URL, batch(*[one] * 200))).status_code == 429
    finally:
        await way.close(provider.client)
        quota.close()
