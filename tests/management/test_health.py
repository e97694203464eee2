"""`GET /healthz`: whether the store is well, told to everybody; how it is, only to who may manage."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from quotaware import Quota
from quotaware.context import Identity
from quotaware.stores.memory import MemoryStore
from quotaware.testing import FaultyStore
from tests.calls import a_quota, ask, spend
from tests.support import FakeClock


@pytest.fixture
def store() -> FaultyStore:
    return FaultyStore(MemoryStore(FakeClock()))


@pytest.fixture
def quota(store: FaultyStore) -> Iterator[Quota]:
    quota = a_quota(store, clock=FakeClock())
    yield quota
    store.p = 0.0
    quota.close()


def get(
    quota: Quota, key: str | None = None, method: str = "GET", path: str = "/healthz"
) -> tuple[int, object]:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answer = TestClient(quota.management()).request(method, path, headers=headers)
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.json() if answer.content else None


def test_everybody_hears_that_it_is_well_before_there_is_any_key(quota: Quota) -> None:
    assert get(quota) == (200, {"status": "ok"})
    assert get(quota, method="HEAD") == (200, None)


def test_who_may_manage_hears_how_it_is(quota: Quota) -> None:
    admin = quota.bootstrap("acme").key
    status, told = get(quota, admin)
    assert status == 200
    assert isinstance(told, dict)
    assert (told["status"], told["store"], told["degraded"], told["dropped"]) == ("ok", "ok", 0, 0)
    assert not told.keys() - {"status", "store", "away_s", "ahead_ms", "records", "degraded", "dropped"}


def test_other_keys_hear_what_everybody_does(quota: Quota) -> None:
    first = quota.bootstrap("acme")
    project = quota.blocking.tenancy.create_project(first.organization_id, "bot").id
    assert get(quota, quota.blocking.tenancy.create_key(project).secret) == (200, {"status": "ok"})
    assert get(quota, "qw_live_nothing")[0] == 401


def test_a_store_that_is_away_is_told_and_no_more(quota: Quota, store: FaultyStore) -> None:
    first = quota.bootstrap("acme")
    admin = first.key
    project = quota.blocking.tenancy.create_project(first.organization_id, "bot", limits=["$1/day"]).id
    spend(quota, by=Identity(project))
    quota.flush()
    store.p = 1.0
    for _ in range(3):
        ask(quota, by=Identity(project))
    for key in (None, admin):
        status, told = get(quota, key)
        assert status == 503
        assert isinstance(told, dict)
        assert told["status"] == "degraded"
    assert get(quota) == (503, {"status": "degraded"})


def test_nothing_else_stands_there(quota: Quota) -> None:
    quota.bootstrap("acme")
    assert get(quota, path="/healthz/more")[0] == 401
    assert get(quota, method="POST")[0] == 401
