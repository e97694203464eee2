"""What finished calls left, read back: async and blocking, narrowed, page by page, with corrections."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest

from quotaware import Quota, Usage
from quotaware.context import Identity
from quotaware.core.charges import Outcome
from quotaware.usage import UsageRecord
from tests.calls import CENT, a_call, a_quota, ask, audited, let_go, spend, used
from tests.support import AuditedStore, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=[False, True], ids=["inline", "thread"])
def store(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[AuditedStore]:
    with audited(clock, threaded=request.param) as store:
        yield store


@pytest.fixture
def quota(store: AuditedStore, clock: FakeClock) -> Quota:
    return a_quota(store, clock=clock, limits=["$100/day"])


async def everything(quota: Quota, **narrow: object) -> list[UsageRecord]:
    return [record async for record in quota.usage.records(**narrow)]  # type: ignore[arg-type]


def test_a_record_says_what_was_called_by_whom_and_what_it_cost(quota: Quota, clock: FakeClock) -> None:
    by = Identity(end_user="ann", tags={"job": "nightly", "emoji": "☃"})
    admission = let_go(ask(quota, a_call(cents=3, stream=True, provider="openai"), by))
    usage = Usage(input=8, output=20, cache_read=3, reasoning=4)
    admission.settle(Outcome(200, usage=usage), "tenth-2026")
    (record,) = quota.blocking.usage.records()
    assert record.id == admission.id
    assert record.at == datetime(2026, 6, 15, 12, tzinfo=UTC)
    assert (record.organization, record.project, record.team, record.key) == (
        "org_app",
        "proj_app",
        None,
        None,
    )
    assert (record.end_user, record.tags) == ("ann", {"job": "nightly", "emoji": "☃"})
    assert (record.provider, record.operation, record.stream) == ("openai", "chat", True)
    assert (record.model, record.requested_model) == ("tenth-2026", "tenth")
    assert (record.usage, record.quality) == (usage, "exact")
    assert (record.cost, record.reserved, record.cost_usd) == (2 * CENT, 3 * CENT, Decimal("0.02"))
    assert record.duration_ms >= 0


def test_a_call_that_was_refused_leaves_no_record(quota: Quota) -> None:
    ask(quota, a_call(cents=20_000))
    assert list(quota.blocking.usage.records()) == []


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_awaited_and_the_blocking_face_say_the_same(quota: Quota) -> None:
    for cents in (1, 2, 3):
        spend(quota, cents)
    assert await everything(quota) == list(quota.blocking.usage.records())
    assert [record.cost for record in await everything(quota)] == [CENT, 2 * CENT, 3 * CENT]


@pytest.mark.anyio
async def test_pages_lose_and_repeat_nothing(quota: Quota) -> None:
    for _ in range(1003):
        spend(quota, 0)
    ids = [record.id for record in await everything(quota)]
    assert len(ids) == 1003
    assert ids == sorted(set(ids))
    assert ids == [record.id for record in quota.blocking.usage.records()]


@pytest.mark.anyio
async def test_records_are_narrowed_by_whose_they_are(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, unattributed="allow")
    tenancy = quota.blocking.tenancy
    for org in ("a", "b"):
        tenancy.create_organization(org, id=org)
        tenancy.create_project(org, "p", org=org, id=f"p_{org}")
        key = tenancy.create_key(f"p_{org}", org=org, id=f"k_{org}")
        spend(quota, by=Identity(key=key.node.digest, end_user="ann"))
        spend(quota, by=Identity(project=f"p_{org}", end_user="bob"))
    spend(quota)

    async def who(**narrow: object) -> list[tuple[str, str | None, str | None]]:
        return [(each.organization, each.key, each.end_user) for each in await everything(quota, **narrow)]

    nobodys = ("~unattributed", None, None)
    assert await who() == [
        ("a", "k_a", "ann"),
        ("a", None, "bob"),
        ("b", "k_b", "ann"),
        ("b", None, "bob"),
        nobodys,
    ]
    assert await who(project="p_b") == [("b", "k_b", "ann"), ("b", None, "bob")]
    assert await who(organization="a", end_user="bob") == [("a", None, "bob")]
    assert await who(key="k_b") == [("b", "k_b", "ann")]
    assert await who(end_user="ann") == [("a", "k_a", "ann"), ("b", "k_b", "ann")]
    assert await who(organization="~unattributed") == [nobodys]
    for nothing in ({"project": "nowhere"}, {"organization": "c"}, {"key": "k_c"}, {"organization": ""}):
        assert await who(**nothing) == []


def test_since_and_until_are_exact_to_the_millisecond(quota: Quota, clock: FakeClock) -> None:
    """[since, until), whatever zone they are given in."""
    for ms in range(0, 1200, 41):
        clock.now = 1_781_524_800_000 + ms
        spend(quota, 0)
    records = list(quota.blocking.usage.records())
    for at, record in enumerate(records):
        assert list(quota.blocking.usage.records(since=record.at)) == records[at:]
        tokyo = record.at.astimezone(timezone(timedelta(hours=9)))
        assert list(quota.blocking.usage.records(until=tokyo)) == records[:at]
        local = record.at.astimezone().replace(tzinfo=None)
        assert list(quota.blocking.usage.records(since=local)) == records[at:]


def test_a_call_is_found_by_when_it_was_made_not_when_it_ended(quota: Quota, clock: FakeClock) -> None:
    admission = let_go(ask(quota))
    began = datetime.fromtimestamp(clock.now / 1000, UTC)
    clock.advance(5000)
    admission.settle(used())
    (record,) = quota.blocking.usage.records(until=began + timedelta(seconds=1))
    assert record.at == began


def test_a_correction_is_a_record_of_its_own_with_the_same_id(quota: Quota, clock: FakeClock) -> None:
    """I-5: settled after it had expired, by the difference."""
    admission = let_go(ask(quota))
    quota._lanes.drop(admission._lease)
    clock.advance(60_001)
    spend(quota)
    assert quota.flush()
    admission.settle(used(0.4))
    first, correction = (each for each in quota.blocking.usage.records() if each.id == admission.id)
    assert (first.quality, first.correction) == ("unsettled", False)
    assert (correction.quality, correction.correction) == ("exact", True)
    assert first.cost + correction.cost == CENT * 4 // 10
    assert first.usage.total + correction.usage.total == used(0.4).usage.total
    assert correction.usage.output == used(0.4).usage.output


def test_no_page_loses_or_repeats_a_call_or_its_correction(
    quota: Quota, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotaware.usage.PAGE", 10)
    late = []
    for number in range(11):
        admission = let_go(ask(quota, a_call(cents=0)))
        if number in (8, 9, 10):
            quota._lanes.drop(admission._lease)
            late.append(admission)
        else:
            admission.settle(used(0))
    clock.advance(60_001)
    spend(quota)
    quota.flush()
    for admission in late:
        admission.settle(used(0))
    found = [(each.id, each.correction) for each in quota.blocking.usage.records()]
    assert len(found) == len(set(found)) == 15
    assert [correction for _, correction in found] == [False] * 12 + [True] * 3


def test_the_latest_calls_and_those_under_way_are_told(quota: Quota, clock: FakeClock) -> None:
    log = quota.blocking.usage.log()
    for number in range(6):
        spend(quota, 1, Identity(end_user=f"u{number % 2}"))
        clock.advance(1000)
    going = let_go(ask(quota, a_call(cents=1), Identity(end_user="u1")))
    assert quota.flush()
    everything = list(quota.blocking.usage.records())[::-1]
    assert log.latest("org_app") == everything
    assert (
        log.latest("org_app", limit=2, end_user="u0")
        == [record for record in everything if record.end_user == "u0"][:2]
    )
    assert log.latest("org_app", since=everything[2].at) == everything[:3]
    assert log.under_way("org_app") == log.under_way("org_app", end_user="u1") == 1
    assert log.under_way("org_app", end_user="u0") == 0
    going.settle(used(1))
    assert quota.flush()
    assert log.under_way("org_app") == 0
