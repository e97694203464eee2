"""A clock, and the stores that several tests run over."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from quotaware.stores.memory import MemoryStore
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Store
from quotaware.testing.clocks import FakeClock

Opens = Callable[[], Store]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def opens(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Opens]:
    """Opens one store, each time as another process would; memory is one process's own."""
    if request.param == "memory":
        shared = MemoryStore(clock)
        yield lambda: shared
        return
    url = f"sqlite:///{tmp_path}/quota.db"
    if request.param == "redis":
        url = f"{request.getfixturevalue('valkey_url')}?prefix=t{secrets.token_hex(6)}"
    with ExitStack() as at_end:

        def open_one() -> Store:
            store = open_store(url, clock)
            store.deadline = 5.0  # the machine may be busy with other things
            at_end.callback(store.close)
            return store

        yield open_one


@pytest.fixture
def any_store(opens: Opens) -> Store:
    return opens()
