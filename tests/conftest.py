"""What every test shares: the users' own fixtures, and both async backends only where a test asks for them."""

from __future__ import annotations

import pytest

pytest_plugins = ["quotaware.testing.fixtures"]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"
