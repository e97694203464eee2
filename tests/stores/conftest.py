"""Time and ids of the store tests, and Redis stores that share a server without meeting each other."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Store
from tests.support import FakeClock, ids


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def new(clock: FakeClock) -> Callable[[], str]:
    return ids(clock)


Opens = Callable[..., Store]


@pytest.fixture
def prefixed() -> Callable[[str], str]:
    """A Redis URL with a key prefix that is this test's own."""
    prefix = f"t{secrets.token_hex(6)}"

    def url(base: str, **options: object) -> str:
        words = [f"prefix={prefix}", *(f"{name}={value}" for name, value in options.items())]
        return f"{base}{'&' if '?' in base else '?'}{'&'.join(words)}"

    return url


@pytest.fixture
def opens(clock: FakeClock, prefixed: Callable[..., str]) -> Iterator[Opens]:
    """Opens stores by URL, each as another process would: all see the same keys; they are closed at the end."""
    with ExitStack() as at_end:

        def open_one(base: str, **options: object) -> Store:
            store = open_store(prefixed(base, **options), clock)
            store.deadline = 2.0  # the machine may be busy with other things
            at_end.callback(store.close)
            return store

        yield open_one
