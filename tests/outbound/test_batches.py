"""Batches: no bound, so none under a budget without leave; charged once, when their usage is told."""

from __future__ import annotations

from typing import Any

import pytest

from quotaware import Quota
from quotaware.core.bounds import input_bound
from quotaware.providers.base import Report
from quotaware.providers.openai_batches import OpenAIBatches
from tests.outbound.wire import Way, records
from tests.support import NOVEMBER, AuditedStore, RunningClock

pytestmark = pytest.mark.anyio
URL = "https://api.openai.com/v1/batches"
ASKED = {"input_file_id": "file-1", "endpoint": "/v1/chat/completions", "completion_window": "24h"}
USAGE = {"input_tokens": 1_000_000, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 200_000}
HALF = (1_000_000 * 2_000 + 200_000 * 8_000) // 2
"""What it costs of gpt-4.1 in a batch, nano-dollars."""


@pytest.fixture
def books() -> AuditedStore:
    """At a time when the list has prices for batches."""
    return AuditedStore(RunningClock(NOVEMBER))


def batch(status: str, **more: Any) -> dict[str, Any]:
    return {"id": "batch_1", "object": "batch", "status": status, "usage": None, "model": None, **more}


def provider(way: Way, *answers: dict[str, Any]) -> Any:
    waiting = list(answers)
    return way.mock(lambda _: way.library.Response(200, json=waiting.pop(0)))


async def get(way: Way, client: Any) -> Any:
    return await way.result(client.get(f"{URL}/batch_1"))


async def test_one_is_refused_under_a_budget(way: Way, quota: Quota) -> None:
    """S9."""
    client = provider(way)
    answer = await way.post(client, URL, ASKED)
    assert answer.status_code == 403
    assert answer.json()["error"]["code"] == "input_unbounded"
    assert "cost:unbounded" in answer.json()["error"]["message"]
    await way.close(client)


async def test_without_a_budget_it_passes_and_is_charged_once_when_it_has_ended(
    way: Way, books: AuditedStore
) -> None:
    quota = Quota(books, limits=["100000000 tokens/day"], clock=books._clock)
    ended = batch("completed", usage=USAGE, model="gpt-4.1", output_file_id="file-2")
    client = provider(way, batch("validating"), batch("in_progress", usage=USAGE), ended, ended)
    quota.metered(client)
    await way.post(client, URL, ASKED)
    for _ in range(3):
        await get(way, client)
    told = [r for r in records(quota) if r.cost or r.quality == "unsettled"]
    assert [(r.quality, r.cost, r.operation) for r in told] == [
        ("unsettled", 0, "batches"),
        ("exact", HALF, "batches"),
    ]
    assert sum(r.usage.input for r in told) == 1_000_000
    assert told[1].model == "gpt-4.1"
    assert books.used[next(key for key in books.used if "day" in key or "tokens" in key)] == 1_200_000
    books.check()
    quota.close()
    await way.close(client)


async def test_a_key_with_leave_may_make_one_under_a_budget(way: Way, books: AuditedStore) -> None:
    """What it used counts on the budget when it is known."""
    quota = Quota(books, clock=books._clock)
    tenancy = quota.blocking.tenancy
    tenancy.create_organization("o", id="o")
    tenancy.create_team("o", "t", id="t")
    tenancy.create_project("t", "p", org="o", id="p", limits=["$10/day"])
    client = provider(way, batch("validating"), batch("completed", usage=USAGE, model="gpt-4.1"))
    quota.metered(client)
    for permissions, status in ((["batches:create"], 403), (["batches:create", "cost:unbounded"], 200)):
        key = tenancy.create_key("p", org="o", permissions=permissions).secret
        with quota.acting_as(key=key):
            assert (await way.post(client, URL, ASKED)).status_code == status
    with quota.acting_as(key=key):
        await get(way, client)
    assert sum(record.cost for record in quota.blocking.usage.records(organization="o")) == HALF
    assert HALF in books.used.values()
    books.check()
    quota.close()
    await way.close(client)


async def test_a_key_for_certain_models_makes_none(way: Way, books: AuditedStore) -> None:
    """S8: nobody knows which models are in the file."""
    quota = Quota(books, clock=books._clock)
    tenancy = quota.blocking.tenancy
    tenancy.create_organization("o", id="o")
    tenancy.create_team("o", "t", id="t")
    tenancy.create_project("t", "p", org="o", id="p")
    key = tenancy.create_key("p", org="o", models=["gpt-4.1-mini"])
    client = provider(way)
    quota.metered(client)
    with quota.acting_as(key=key.secret):
        answer = await way.post(client, URL, ASKED)
    assert answer.json()["error"]["code"] == "model_ambiguous"
    quota.close()
    await way.close(client)


@pytest.mark.parametrize(
    ("answer", "report"),
    [
        (batch("validating"), Report(done=True, later="batch_1")),
        (batch("cancelling"), Report(done=True, later="batch_1")),
        (batch("expired"), Report(done=True)),
        ({}, Report(done=True)),
    ],
)
def test_what_a_batch_tells(answer: object, report: Report) -> None:
    assert OpenAIBatches().answer(answer) == report


def test_one_that_failed_has_used_nothing() -> None:
    usage = OpenAIBatches().answer(batch("failed")).usage
    assert usage is not None
    assert usage.total == 0
    assert OpenAIBatches().answer(batch("failed", output_file_id="file-2")).usage is None


def test_what_its_file_may_ask_to_be_read_is_bounded_by_the_largest_that_is_taken() -> None:
    """A token a byte of 200 MB; what it costs has no bound, since any model may stand in it."""
    call = OpenAIBatches().read("openai", ASKED)
    assert 200_000_000 <= input_bound(call, "strict") < 200_001_000
    assert call.opaque
    assert call.unknown
