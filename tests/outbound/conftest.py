"""One served provider for all tests of the edge, and a quota whose books are checked after each."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quotaware import Quota
from quotaware.testing import FakeProvider
from tests.corpus import CORPUS
from tests.outbound.wire import WAYS, Way
from tests.support import AuditedStore, RunningClock


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Way:
    return request.param


@pytest.fixture
def anyio_backend(request: pytest.FixtureRequest) -> str:
    """The backend of the way that a test goes, asyncio where it goes none."""
    way = request.getfixturevalue("way") if "way" in request.fixturenames else None
    return (way.backend if way is not None else None) or "asyncio"


@pytest.fixture(scope="session")
def served() -> Iterator[FakeProvider]:
    provider = FakeProvider(corpus=CORPUS)
    with provider.serve():
        yield provider


@pytest.fixture
def provider(served: FakeProvider) -> FakeProvider:
    served.output, served.pace, served.delay, served.usage, served.chunk, served.encoding = (
        16,
        0,
        0,
        None,
        None,
        None,
    )
    served.reset()
    return served


@pytest.fixture
def books() -> AuditedStore:
    return AuditedStore(RunningClock())


@pytest.fixture
def quota(books: AuditedStore) -> Iterator[Quota]:
    """Instrumented, and never in the way; afterwards nothing is held and the books agree (I-2)."""
    made = Quota(
        books,
        limits=["$1000/month", "1000000 requests/day", "1000000000 tokens/day"],
        deployments={"d": "gpt-4.1"},
        clock=books._clock,
    )
    made.instrument()
    try:
        yield made
        assert made.flush()
        books.check()
        assert books.held == {}
        assert not made.stats.get("faults")
    finally:
        made.close()
