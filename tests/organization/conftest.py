"""A Quota on each store, and the contract's file."""

from __future__ import annotations

import copy
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quotaware import Quota
from quotaware.stores import open_store
from quotaware.testing.clocks import FakeClock
from tests.organization.test_reading import STARTUP


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def quota(request: pytest.FixtureRequest, clock: FakeClock, tmp_path: Path) -> Iterator[Quota]:
    """Over every store."""
    url = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path}/quota.db",
        "redis": lambda: f"{request.getfixturevalue('valkey_url')}?prefix=t{secrets.token_hex(6)}",
    }[request.param]()
    store = open_store(url, clock)
    store.deadline = 10.0  # a machine may be busy
    made = Quota(store, clock=clock, deadline=10.0, prices={"m": {"input": 0, "output": 1000}})
    yield made
    made.close()


@pytest.fixture
def one(clock: FakeClock) -> Iterator[Quota]:
    """In memory."""
    made = Quota("memory://", clock=clock)
    yield made
    made.close()


@pytest.fixture
def startup() -> dict[str, Any]:
    """The contract's file, to be changed."""
    return copy.deepcopy(STARTUP)
