"""The recipes of the docs run as they stand."""

from __future__ import annotations

import pytest

from tests.frameworks.conftest import Served
from tests.frameworks.way import missing
from tests.test_docs import FRAMEWORKS, run_page

if absent := missing():
    pytest.skip(f"not installed: {', '.join(absent)}", allow_module_level=True)


def test_the_recipes_run(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "OPENAI_API_KEY": "any",
        "OPENAI_BASE_URL": f"{served.url}/v1",
        "OPENAI_API_BASE": f"{served.url}/v1",  # as LlamaIndex calls it
    }.items():
        monkeypatch.setenv(name, value)
    run_page(FRAMEWORKS, monkeypatch)
