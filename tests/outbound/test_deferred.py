"""Answers that tell only later what they used: charged at the bound, and put right once when it is known."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quotaware import Quota
from quotaware.errors import StoreError
from quotaware.usage import UsageRecord
from tests.corpus import exchanges, needs_corpus, wire_body
from tests.outbound.wire import SYNC, Way, records
from tests.support import AuditedStore, RunningClock

pytestmark = pytest.mark.anyio
URL = "https://api.openai.com/v1/responses"
ID = "resp_047f9036fb333784006a5fe9db456c819095d041b89bf6629e"
ASKED = {"model": "gpt-4.1", "input": "What is 2 + 2?", "background": True, "max_output_tokens": 1000}
USAGE = {"input_tokens": 15, "output_tokens": 9, "total_tokens": 24}
EXACT = 15 * 2000 + 9 * 8000
"""What it really costs, nano-dollars."""


def response(status: str, usage: object = None, **more: Any) -> dict[str, Any]:
    made = {
        "id": ID,
        "object": "response",
        "status": status,
        "background": True,
        "model": "gpt-4.1-2025-04-14",
    }
    return {**made, "output": [], "usage": usage, **more}


def events(*responses: dict[str, Any]) -> bytes:
    kinds = (f"response.{one['status']}" for one in responses)
    return b"".join(
        b"data: " + json.dumps({"type": kind, "response": one}).encode() + b"\n\n"
        for kind, one in zip(kinds, responses, strict=True)
    )


class Provider:
    """Answers what it is told to, in order, as JSON or as a stream."""

    def __init__(self, way: Way, *answers: dict[str, Any] | bytes) -> None:
        self.way = way
        self.answers = list(answers)

    def __call__(self, request: Any) -> Any:
        answer = self.answers.pop(0)
        if isinstance(answer, bytes):
            head = {"content-type": "text/event-stream"}
            return self.way.library.Response(200, headers=head, stream=self.way.stream([answer]))
        return self.way.library.Response(200, json=answer)


async def get(way: Way, client: Any, id: str = ID, url: str = URL, **more: Any) -> Any:
    return await way.result(client.get(f"{url}/{id}", **more))


def calls(quota: Quota) -> list[UsageRecord]:
    """The records of calls, without those of look-ups."""
    return [record for record in records(quota) if record.requested_model is not None]


def spent(books: AuditedStore) -> int:
    """What the month's budget counts, nano-dollars."""
    return max(used for key, used in books.used.items() if "month" in key)


async def test_it_is_charged_at_its_bound_and_put_right_when_its_usage_is_known(
    way: Way, quota: Quota, books: AuditedStore
) -> None:
    """I-1, I-4: in between nothing is underestimated; afterwards the cost is exact, and told again changes nothing."""
    last = response("completed", USAGE)
    provider = Provider(way, response("queued"), response("in_progress"), last, last, last)
    client = way.mock(provider)
    await way.post(client, URL, ASKED)
    (first,) = calls(quota)
    assert (first.quality, first.status, first.model) == ("unsettled", 200, "gpt-4.1-2025-04-14")
    assert first.cost == first.reserved > 1000 * 8000
    assert spent(books) == first.cost
    await get(way, client)
    assert calls(quota) == [first]
    for _ in range(3):
        assert (await get(way, client)).json() == last
        _, put_right = calls(quota)
        assert (put_right.id, put_right.correction, put_right.quality) == (first.id, True, "exact")
        assert first.cost + put_right.cost == EXACT == spent(books)
        both = [record.usage for record in calls(quota)]
        assert (sum(usage.input for usage in both), sum(usage.output for usage in both)) == (15, 9)
    await way.close(client)


async def test_any_process_puts_it_right(way: Way, quota: Quota, books: AuditedStore) -> None:
    """It is asked for where nobody remembers the call; both may be at it at once."""
    last = response("completed", USAGE)
    client = way.mock(Provider(way, response("queued"), last))
    await way.post(client, URL, ASKED)
    with_own_memory = Quota(books, limits=["$1000/month"], clock=books._clock)
    elsewhere = way.mock(Provider(way, last, last))
    with_own_memory.metered(elsewhere)
    quota.uninstrument()
    assert with_own_memory.flush()
    for _ in range(2):
        await get(way, elsewhere)
    assert with_own_memory.flush()
    assert sum(record.cost for record in calls(quota)) == EXACT
    quota.instrument()
    await get(way, client)
    assert sum(record.cost for record in calls(quota)) == EXACT == spent(books)
    with_own_memory.close()
    await way.close(client)
    await way.close(elsewhere)


async def test_a_stream_that_was_left_is_put_right_by_the_one_that_resumes_it(
    way: Way, quota: Quota, books: AuditedStore
) -> None:
    """The provider goes on with it, whoever reads."""
    begun = events(response("queued"), response("in_progress"))
    rest = events(response("in_progress"), response("completed", USAGE))
    client = way.mock(Provider(way, begun, begun, rest))
    await way.post(client, URL, {**ASKED, "stream": True})
    (first,) = calls(quota)
    assert first.cost == first.reserved
    await get(way, client, params={"stream": "true", "starting_after": "0"})
    assert len(calls(quota)) == 1
    await get(way, client, params={"stream": "true", "starting_after": "1"})
    assert sum(record.cost for record in calls(quota)) == EXACT == spent(books)
    await way.close(client)


async def test_a_stream_that_comes_whole_is_charged_at_once(way: Way, quota: Quota) -> None:
    client = way.mock(
        Provider(way, events(response("queued"), response("completed", USAGE)), response("completed", USAGE))
    )
    await way.post(client, URL, {**ASKED, "stream": True})
    (record,) = calls(quota)
    assert (record.cost, record.quality) == (EXACT, "exact")
    await get(way, client)
    assert calls(quota) == [record]
    await way.close(client)


async def test_a_stored_answer_is_charged_once(way: Way, quota: Quota) -> None:
    """Asking for it again costs nothing."""
    answer = response("completed", USAGE, background=False, store=True)
    client = way.mock(Provider(way, answer, answer, answer))
    await way.post(client, URL, {**ASKED, "background": False, "store": True})
    await get(way, client)
    await get(way, client)
    made, *asked = records(quota)
    assert (made.cost, made.quality) == (EXACT, "exact")
    assert [(r.operation, r.cost, r.model, r.usage.total) for r in asked] == [
        ("responses", 0, "gpt-4.1-2025-04-14", 0)
    ] * 2
    await way.close(client)


@pytest.mark.parametrize(
    ("last", "cost"),
    [
        (response("failed"), lambda cost, _: cost == 0),
        (response("incomplete", USAGE), lambda cost, _: cost == EXACT),
        (response("cancelled", USAGE), lambda cost, _: cost == EXACT),
        (response("cancelled"), lambda cost, bound: 0 < cost < bound),
        ({"error": "?"}, lambda cost, bound: cost == bound),
    ],
    ids=["failed", "incomplete", "cancelled with usage", "cancelled", "no response"],
)
async def test_however_it_ends(
    way: Way, quota: Quota, last: dict[str, Any], cost: Callable[[int, int], bool]
) -> None:
    """One that failed has used nothing; one that was cancelled without a word is charged as far as it was seen."""
    client = way.mock(Provider(way, response("queued"), last))
    await way.post(client, URL, ASKED)
    await way.post(client, f"{URL}/{ID}/cancel")
    made = calls(quota)
    assert cost(sum(record.cost for record in made), made[0].reserved)
    await way.close(client)


async def test_a_server_that_nobody_knows_is_followed_too(way: Way, quota: Quota) -> None:
    url = "https://llm.internal/v1/responses"
    client = way.mock(Provider(way, response("queued"), {"resp": 1}, response("completed", USAGE)))
    await way.post(client, url, ASKED)
    await get(way, client, "other", url)
    await get(way, client, url=url)
    assert sum(record.cost for record in calls(quota)) == EXACT
    await way.close(client)


async def test_what_costs_nothing_counts_under_no_limit(way: Way, books: AuditedStore) -> None:
    """A poll takes nothing away from calls, and is not refused when the budget is spent."""
    quota = Quota(books, limits=["$0.01/month", "1 requests/day"], clock=books._clock, settle_wait=0)
    client = way.mock(Provider(way, response("queued"), *[response("in_progress")] * 3))
    quota.metered(client)
    assert (await way.post(client, URL, ASKED)).status_code == 200
    assert (await way.post(client, URL, ASKED)).status_code == 429
    for _ in range(3):
        assert (await get(way, client)).status_code == 200
    assert [record.operation for record in records(quota)] == ["responses"] * 4
    books.check()
    quota.close()
    await way.close(client)


async def test_a_call_that_the_store_was_away_for_is_charged_at_the_most(way: Way) -> None:
    books = AuditedStore(RunningClock(), threaded=True)
    quota = Quota(books, limits=["$1000/month"], clock=books._clock, on_store_error="allow")
    client = way.mock(
        Provider(way, response("completed", USAGE), response("queued"), response("completed", USAGE))
    )
    quota.metered(client)
    await way.post(client, URL, {**ASKED, "background": False})
    assert quota.flush()
    apply = books.apply

    def away(*_: Any) -> Any:
        raise StoreError("away")

    books.apply = away  # type: ignore[method-assign]
    await way.post(client, URL, ASKED)
    books.apply = apply  # type: ignore[method-assign]
    await get(way, client)
    assert quota.flush()
    _, late = calls(quota)
    assert (late.quality, late.usage.output, "degraded" in late.flags) == ("estimated", 1000, True)
    quota.close()
    await way.close(client)


async def test_a_list_of_models_is_free_and_recorded_as_such(way: Way, quota: Quota) -> None:
    client = way.mock(lambda _: way.library.Response(200, json={"object": "list", "data": []}))
    for url in (
        "https://api.openai.com/v1/models",
        "https://api.groq.com/openai/v1/models/llama",
        "https://a.example/models",
    ):
        await way.result(client.get(url))
    left = [(r.provider, r.operation, r.cost, r.quality, r.status) for r in records(quota)]
    assert left == [("openai", "models", 0, "exact", 200), ("groq", "models", 0, "exact", 200)]
    await way.close(client)


async def test_a_deferred_completion_of_xai_is_charged_what_it_says(way: Way, quota: Quota) -> None:
    """Its answer can be had once, under the name that the first answer told."""
    url, name = "https://api.x.ai/v1/chat", "f15c114e-f47d-40ca-8d5c-8c23d656eeb6"
    usage = {"prompt_tokens": 27, "completion_tokens": 48, "total_tokens": 75, "cost_in_usd_ticks": 12_340}
    done = {"id": "c", "model": "grok-4", "choices": [{"index": 0}], "usage": usage}
    client = way.mock(Provider(way, {"request_id": name}, done))
    body = {
        "model": "grok-4",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 99,
        "deferred": True,
    }
    await way.post(client, f"{url}/completions", body)
    (first,) = calls(quota)
    assert first.cost == first.reserved > 0
    await way.result(client.get(f"{url}/deferred-completion/{name}"))
    assert sum(record.cost for record in calls(quota)) == 1_234
    await way.close(client)


@needs_corpus
async def test_the_recorded_ones_are_charged_once(way: Way, quota: Quota) -> None:
    """As they were recorded: asked for in the background, polled, resumed."""
    recorded = [e for e in exchanges("openai") if "/responses" in e["url"]]
    polls = [e for e in recorded if e["method"] == "GET"]
    began = [e for e in recorded if (e["request"] or {}).get("background") and isinstance(e["body"], dict)]
    assert (len(began), len(polls)) == (4, 7)
    waiting: list[dict[str, Any]] = []

    def answer(request: Any) -> Any:
        exchange = waiting.pop(0)
        head = {"content-type": exchange["content_type"]}
        return way.library.Response(exchange["status"], headers=head, content=wire_body(exchange))

    client = way.mock(answer)
    for exchange in began:
        same = [e for e in polls if exchange["body"]["id"] in e["url"]]
        waiting += [exchange, *same]
        await way.post(client, exchange["url"], exchange["request"])
        for poll in same:
            await way.result(client.get(poll["url"]))
        told = same[-1]["body"]["usage"]
        mine = [r for r in calls(quota) if r.id == calls(quota)[-1].id]
        assert sum(r.usage.input for r in mine) == told["input_tokens"]
        assert sum(r.usage.output for r in mine) == told["output_tokens"]
    await way.close(client)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_on_a_store_that_processes_share_one_begins_and_another_ends_it(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """Neither knows of the other; both may see the usage at once."""
    url = f"sqlite:///{tmp_path}/quota.db"
    if kind == "redis":
        url = f"{request.getfixturevalue('valkey_url')}?prefix=t{secrets.token_hex(6)}"
    way, last = SYNC[0], response("completed", USAGE)
    one, other, third = (Quota(url, limits=["$1000/month"], deadline=10) for _ in range(3))
    answers = ((one, [response("queued")]), (other, [last, last]), (third, [last]))
    clients = []
    for quota, given in answers:
        client = way.mock(Provider(way, *given))
        clients.append(quota.metered(client))
    assert clients[0].post(URL, json=ASKED).status_code == 200
    assert one.flush(30)
    (first,) = calls(one)
    assert first.cost == first.reserved > EXACT
    for at in (1, 2, 1):
        clients[at].get(f"{URL}/{ID}")
    for quota in (other, third):
        assert quota.flush(30)
    assert sum(record.cost for record in calls(one)) == EXACT
    assert [record.correction for record in calls(one)] == [False, True]
    for quota, client in zip((one, other, third), clients, strict=True):
        client.close()
        quota.close()
