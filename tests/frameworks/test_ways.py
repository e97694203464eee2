"""Every way to ask a framework is metered once, as the provider reported it and the caller's, and refused once."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from contextvars import copy_context

import pytest

from quotaware import Quota
from tests.frameworks.conftest import Served
from tests.frameworks.way import WAYS, Way, missing

if not any(way.installed for way in WAYS):
    pytest.skip(
        "no framework is installed: pip install -r tests/frameworks/requirements.txt", allow_module_level=True
    )


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One loop for all: frameworks keep clients, whose connections are of one."""
    with asyncio.Runner() as made:
        yield made


def asked(way: Way, url: str, runner: asyncio.Runner) -> str:
    """What it says. Streams that it has left unread to their end are then closed."""
    said = runner.run(way.ask(url), context=copy_context()) if way.is_async else way.ask(url)
    gc.collect()
    runner.run(asyncio.sleep(0))
    return said


def test_every_framework_is_there() -> None:
    if absent := missing():
        pytest.skip(f"not installed: {', '.join(absent)}")


def test_it_is_metered_once_and_is_the_callers(way: Way, served: Served, runner: asyncio.Runner) -> None:
    before, quota = served.provider.requests, Quota(limits=["$1000/month"])
    quota.instrument()
    try:
        with quota.acting_as(end_user="ann", tags={"job": "nightly"}):
            said = asked(way, served.url, runner)
        assert quota.flush()
        left = list(quota.blocking.usage.records())
    finally:
        quota.close()
    assert "tok tok" in said or not way.usage.output
    assert served.provider.requests - before == way.calls
    assert [(one.model, one.usage, one.quality, one.stream) for one in left] == [
        (way.model, way.usage, "exact", way.stream)
    ] * way.calls
    assert all((one.end_user, one.tags) == ("ann", {"job": "nightly"}) and one.cost > 0 for one in left)


def test_a_denial_is_its_own_exception_after_one_try(
    way: Way, served: Served, runner: asyncio.Runner
) -> None:
    """Nothing is sent; each of the calls that it makes at once is tried once."""
    before, quota = served.provider.requests, Quota(limits=["$0.000000001/month"])
    quota.instrument()
    try:
        with pytest.raises(Exception, match="Monthly budget of") as raised:
            asked(way, served.url, runner)
        tries = quota.stats["denied"]
    finally:
        quota.close()
    assert f"{type(raised.value).__module__}.{type(raised.value).__name__}" == way.denied
    assert served.provider.requests == before
    assert 1 <= tries <= way.at_once
