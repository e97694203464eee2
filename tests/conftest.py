"""What every test shares: the users' own fixtures, both async backends only where a test asks for them, and real
servers that start when the first test wants one and end with the run, also with one that SIGTERM ends.
"""

from __future__ import annotations

import gc
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from quotaware import quota

if TYPE_CHECKING:
    from tests.servers import Cluster, Server

pytest_plugins = ["quotaware.testing.fixtures"]

with suppress(ModuleNotFoundError):  # environments of the SDKs' own have none
    from hypothesis import settings

    settings.register_profile("quotaware", deadline=None)  # a machine may be busy
    settings.load_profile("quotaware")


def pytest_configure() -> None:
    """SIGTERM ends the run as ctrl-c does: fixtures are torn down, and what they started ends."""
    run = os.getpid()

    def end(number: int, _: object) -> None:
        if os.getpid() == run:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)  # a forked child just ends
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, end)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """An environment with all SDKs takes minutes to make, and begins first, beside all else."""
    items.sort(key=lambda item: not item.nodeid.startswith("tests/sdks/"))


def pytest_collection_finish() -> None:
    """What was imported and collected lives to the end: the garbage collector need not look at it again each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    """What tests opened ends with their module: else its threads look into stores that are gone."""
    before = set(quota._open)
    yield
    for each in set(quota._open) - before:
        each.close(0)


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def valkey_server() -> Iterator[Server]:
    """A server that all tests share: what one of them writes has a prefix of its own, and none of them breaks it."""
    from tests.servers import Server

    with Server() as server:
        yield server


@pytest.fixture(scope="session")
def valkey_url(request: pytest.FixtureRequest) -> str:
    """The URL of the shared server, or of one that is there already: `REDIS_URL`."""
    if given := os.environ.get("REDIS_URL"):
        return given
    server: Server = request.getfixturevalue("valkey_server")
    return server.url


@pytest.fixture(scope="session")
def shared_cluster() -> Iterator[Cluster]:
    """Three servers that share the slots, for all tests."""
    from tests.servers import cluster

    with cluster() as found:
        yield found


@pytest.fixture(scope="session")
def cluster_url(shared_cluster: Cluster) -> str:
    """The URL of the shared cluster, or of one that is there already: `REDIS_CLUSTER_URL`."""
    return os.environ.get("REDIS_CLUSTER_URL") or shared_cluster.url
