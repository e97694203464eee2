"""Time and ids of the store tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support import FakeClock, ids


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def new(clock: FakeClock) -> Callable[[], str]:
    return ids(clock)
