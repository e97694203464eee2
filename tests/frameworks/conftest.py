"""One provider for all ways, and a test of a `way` for each whose framework is installed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib import import_module
from typing import NamedTuple

import pytest

from quotaware.testing.server import serve
from tests.frameworks.provider import Provider
from tests.frameworks.way import WAYS

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # it would look for a newer one
FILES = (
    "huggingface_hub",
    "instructor",
    "langchain",
    "litellm",
    "llama_index",
    "openai_agents",
    "pydantic_ai",
)
for file in FILES:
    import_module(f"tests.frameworks.{file}")


class Served(NamedTuple):
    """The provider, and where."""

    provider: Provider
    url: str


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    """Each file has its own: frameworks keep connections, which are of one event loop."""
    provider = Provider()
    with serve(provider) as url:
        yield Served(provider, url)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "way" in metafunc.fixturenames:
        there = [way for way in WAYS if way.installed]
        metafunc.parametrize("way", there, ids=map(str, there))
