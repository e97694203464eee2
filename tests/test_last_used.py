"""When a key was used last: to the ms, wherever its records stand, on every store."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware import Quota
from quotaware.context import Identity
from quotaware.rollups import Folder
from quotaware.stores.memory import MemoryStore
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Store
from quotaware.tenancy import keys
from quotaware.usage import UsageLog
from tests.calls import a_call, a_quota, ask, let_go, refused, used
from tests.sums import ORG, Caller, moment, set_zone
from tests.support import FakeClock

KEYS = ("k1", "k2", "k3")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    urls = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path}/quota.db?durability=relaxed",
        "redis": lambda: f"{request.getfixturevalue('valkey_url')}?prefix=t{secrets.token_hex(6)}",
    }
    store = open_store(urls[request.param](), clock)
    yield store
    store.close()


@settings(deadline=None, max_examples=60)
@given(
    steps=st.lists(st.sampled_from([*KEYS, *KEYS, "nobody", "lapse", "correct", "fold"]), max_size=40),
    page=st.integers(1, 5),
)
def test_it_is_the_newest_record_of_the_key_whatever_was_folded_when(steps: list[str], page: int) -> None:
    """Corrections, calls that died, keys that were never used; each key asked for alone and together."""
    clock = FakeClock()
    store = MemoryStore(clock)
    set_zone(store, "UTC")
    caller, folder = Caller(store, clock, len(steps)), Folder(store, page=page)
    log = UsageLog(store, folder, clock)
    newest: dict[str, int] = {}
    for step in steps:
        clock.advance(caller.chance.randrange(10_000_000))
        match step:
            case "lapse":
                caller.lapse()
            case "correct":
                caller.correct()
            case "fold":
                folder.fold(ORG)
            case _:
                caller.call(key=None if step == "nobody" else step)
        for record in log.records(ORG):
            if record.key is not None:
                at = round(record.at.timestamp() * 1000)
                newest[record.key] = max(at, newest.get(record.key, 0))
        assert log.last_used(ORG, KEYS) == {key: moment(newest[key]) for key in KEYS if key in newest}
    for key in KEYS:
        assert log.last_used(ORG, [key, key]).get(key) == (moment(newest[key]) if key in newest else None)


def test_more_records_than_a_page_are_folded_first(clock: FakeClock) -> None:
    store = MemoryStore(clock)
    set_zone(store, "UTC")
    caller, folder = Caller(store, clock), Folder(store)
    for number in range(1100):
        caller.call(key=f"k{number % 7}")
    log = UsageLog(store, folder, clock)
    assert len(log.last_used(ORG, [f"k{number}" for number in range(8)])) == 7
    assert store.folded(ORG) != ""


def test_on_every_store_it_is_when_the_last_call_was_admitted(store: Store, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, deadline=5)
    tenancy = quota.blocking.tenancy
    org = tenancy.create_organization("A", id=ORG).id
    project = tenancy.create_project(org, "P").id
    made = [tenancy.create_key(project, limits=["2 requests/day"]) for _ in range(3)]
    used_by = [Identity(key=keys.digest(each.secret)) for each in made]
    ids = [each.node.id for each in made]
    admitted = {}
    for _ in range(2):
        for by, id in zip(used_by[:2], ids, strict=False):
            clock.advance(1234)
            admitted[id] = clock()
            admission = let_go(ask(quota, by=by))
            clock.advance(77)
            admission.settle(used())
        assert {id: moment(at) for id, at in admitted.items()} == quota.blocking.usage.last_used(ids)
        Folder(store).fold(ORG)
    clock.advance(1000)
    refused(ask(quota, by=used_by[0]))  # which is no use
    under_way = let_go(ask(quota, a_call(0), used_by[2]))  # and this one is not known yet
    expected = {id: moment(at) for id, at in admitted.items()}
    assert quota.blocking.usage.last_used(ids, organization=ORG) == expected
    assert quota.blocking.usage.last_used(ids[0]) == {ids[0]: expected[ids[0]]}
    under_way.settle(used(0))
    assert len(quota.blocking.usage.last_used(ids)) == 3
    assert quota.close()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_awaited_it_is_the_same_and_of_unknown_keys_nothing(clock: FakeClock) -> None:
    async with Quota("memory://", clock=clock) as quota:
        assert await quota.usage.last_used(["key_nowhere"]) == {}
        assert await quota.usage.last_used([]) == {}
