"""A Quota over a store that audits itself; after each test nothing is held and the books agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import pytest

from quotaware import Quota
from tests.support import AuditedStore, RunningClock


class Audited(Protocol):
    """Makes a Quota (with these limits, or none: the way for teams) and its store, called inline or by its thread."""

    def __call__(
        self, *limits: str, threaded: bool = False, **settings: Any
    ) -> tuple[Quota, AuditedStore]: ...


@pytest.fixture
def audited() -> Iterator[Audited]:
    made: list[tuple[Quota, AuditedStore]] = []

    def make(*limits: str, threaded: bool = False, **settings: Any) -> tuple[Quota, AuditedStore]:
        clock = RunningClock()
        store = AuditedStore(clock, threaded=threaded)
        quota = Quota(store, limits=limits or None, clock=clock, **settings)
        made.append((quota, store))
        return quota, store

    yield make
    for quota, store in made:
        assert quota.close()
    for _, store in made:
        assert store.held == {}
        store.check()
