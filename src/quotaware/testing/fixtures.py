"""The pytest plugin: what a test asks for by name, with `pytest_plugins = ["quotaware.testing.fixtures"]`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .provider import FakeProvider


@pytest.fixture
def fake_provider() -> Iterator[FakeProvider]:
    """A `FakeProvider`, served on loopback at its `url`; its attributes may be set before it is asked."""
    from .provider import FakeProvider  # noqa: PLC0415 - only where it is asked for

    provider = FakeProvider()
    with provider.serve():
        yield provider
