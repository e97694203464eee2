"""An organization to look at, and checks that look at it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import pytest

from quotaware import Quota
from quotaware.cli.client import over
from quotaware.cli.doctor.apps import layers_of, quota_of
from quotaware.cli.doctor.findings import Evidence, Finding, Look
from quotaware.tenancy.access import Actor
from quotaware.testing.clocks import FakeClock
from tests.calls import a_quota

ORG = "acme"
Found = Callable[..., list[Finding]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def quota(clock: FakeClock) -> Iterator[Quota]:
    """With an organization, and a project in it."""
    quota = a_quota(clock=clock)
    quota.blocking.tenancy.create_organization("Acme", id=ORG)
    quota.blocking.tenancy.create_project(ORG, name="app", id="app")
    yield quota
    quota.close()


@pytest.fixture
def evidence(quota: Quota, clock: FakeClock) -> Iterator[Evidence]:
    """What its API says, by the very clock that it has."""
    api = over(quota, Actor("host", org=ORG), ExitStack())
    yield Evidence(quota=quota, store=quota.store, api=api, clock=clock)
    api.close()


def of_app(app: Any, **more: Any) -> Evidence:
    """An app as evidence."""
    layers = layers_of(app)
    quota = quota_of(layers)
    return replace(Evidence(), layers=layers, quota=quota, store=quota and quota.store, **more)


def told(look: Look, evidence: Evidence) -> list[tuple[str, str]]:
    """What a check finds: how bad it is, and what. Everything says what to do."""
    found = list(look(evidence))
    assert all(finding.do for finding in found)
    return [(finding.level, finding.what) for finding in found]
