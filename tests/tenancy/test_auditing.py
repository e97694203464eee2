"""The audit log: read backwards out of stores that only read forwards, whatever stands between the rows."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaware.errors import ConfigurationError
from quotaware.stores.memory import MemoryStore
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Change, Store
from quotaware.tenancy import auditing
from quotaware.tenancy.auditing import SKEW_MS, Sought
from quotaware.tenancy.directory import Directory
from quotaware.tenancy.service import Tenancy
from quotaware.testing.clocks import FakeClock

ORG = "org_a"


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path / 'quota.db'}",
        "redis": lambda: f"{request.getfixturevalue('valkey_url')}?prefix=t{secrets.token_hex(6)}",
    }[request.param]()
    store = open_store(url, FakeClock())
    store.deadline = 2.0
    yield store
    store.close()


def service(store: Store, clock: FakeClock) -> Tenancy:
    return Tenancy(store, Directory(store, clock), clock)


def written(store: Store, rows: list[bool], at: int = 0) -> list[int]:
    """Writes a revision each, with an audit row or without; answers the revisions that have one, in order."""
    found = [rev for rev, _ in store.audit(ORG, 0, 1000)]
    for number, with_row in enumerate(rows):
        row = {
            "what": "x.y", "at": at + number, "who": {"kind": "host", "id": "", "name": None}, "from": None,
            "before": [], "after": [],
        }  # fmt: skip
        rev = store.commit(ORG, Change(store.read(ORG, ())[0], audit=json.dumps(row) if with_row else ""))
        found += [rev] if with_row else []
    return found


def paged(tenancy: Tenancy, limit: int, *, newest: bool, sought: Sought = Sought()) -> list[int]:
    """The revisions of all rows, read in pages."""
    found: list[int] = []
    cursor: int | None = None
    while True:
        page = tenancy.audit_log(ORG, sought, newest=newest, cursor=cursor, limit=limit)
        assert len(page.rows) <= limit
        found += [row["revision"] for row in page.rows]
        cursor = page.cursor
        if cursor is None:
            return found


def test_every_store_is_read_in_both_directions(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditing, "MAX_PAGE", 4)
    clock = FakeClock()
    tenancy = service(store, clock)
    tenancy.create_organization("A", id=ORG)
    revisions = written(store, [True] * 5 + [False] * 30 + [True, False, True] + [False] * 3)
    assert paged(tenancy, 3, newest=False) == revisions
    assert paged(tenancy, 3, newest=True) == revisions[::-1]
    beyond = tenancy.audit_log(ORG, cursor=1 << 53, limit=1)
    assert [row["revision"] for row in beyond.rows] == revisions[-1:]
    assert tenancy.audit_log(ORG, newest=False, cursor=1 << 53, limit=1) == ((), None)


@given(
    rows=st.lists(st.booleans(), max_size=60),
    limit=st.integers(1, 3),
    size=st.integers(3, 6),
    scan=st.integers(1, 9),
)
def test_every_row_is_read_once_in_order(rows: list[bool], limit: int, size: int, scan: int) -> None:
    clock = FakeClock()
    store = MemoryStore(clock)
    tenancy = service(store, clock)
    tenancy.create_organization("A", id=ORG)
    revisions = written(store, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(auditing, "MAX_PAGE", size)
        patch.setattr(auditing, "SCAN", scan)
        assert paged(tenancy, limit, newest=False) == revisions
        assert paged(tenancy, limit, newest=True) == revisions[::-1]


def test_rows_of_another_time_are_not_read_to_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where clocks cannot be so far apart, no row of the time that is asked for can follow."""
    clock = FakeClock()
    store = MemoryStore(clock)
    tenancy = service(store, clock)
    tenancy.create_organization("A", id=ORG)
    old = written(store, [True] * 4, at=clock())
    new = written(store, [True] * 4, at=clock() + 3 * SKEW_MS)[len(old) :]
    reads: list[tuple[str, int, int]] = []
    monkeypatch.setattr(auditing, "MAX_PAGE", 2)
    read = store.audit

    def seen(org: str, after: int, limit: int) -> list[tuple[int, str]]:
        reads.append((org, after, limit))
        return read(org, after, limit)

    monkeypatch.setattr(store, "audit", seen)
    since = Sought(since=clock() + 2 * SKEW_MS)
    until = Sought(until=clock() + SKEW_MS)
    assert paged(tenancy, 2, newest=True, sought=since) == new[::-1]
    assert min(after for _, after, _ in reads) >= old[0]
    reads.clear()
    assert paged(tenancy, 2, newest=False, sought=until) == old
    assert max(after for _, after, _ in reads) <= new[1]


def test_a_page_has_a_size() -> None:
    clock = FakeClock()
    tenancy = service(MemoryStore(clock), clock)
    tenancy.create_organization("A", id=ORG)
    for limit in (0, 1001):
        with pytest.raises(ConfigurationError, match="limit"):
            tenancy.audit_log(ORG, limit=limit)
