"""The OpenAI SDK from version 3 on stands on httpx2; what holds for version 2 on httpx holds there too."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.environments import environment, run

TESTS = ["tests/acceptance/test_budget.py", "tests/acceptance/test_denials.py", "tests/test_package.py"]
ON_HTTPX2 = """
import httpx2, openai
assert int(openai.__version__.partition(".")[0]) >= 3, openai.__version__
assert issubclass(openai.DefaultAsyncHttpxClient, httpx2.AsyncClient)
assert issubclass(openai.DefaultHttpxClient, httpx2.Client)
"""


@pytest.mark.slow
def test_bounded_openai_3_on_httpx2_is_metered_the_same(tmp_path: Path) -> None:
    """In an environment of its own, made from the package index: the budget that 64 callers use up and do not pass,
    the SDK's own exceptions with our figures, and the package as it is installed.
    """
    python = environment(tmp_path, "openai>=3", "anthropic")
    stands = run(python, "-c", ON_HTTPX2)
    assert stands.returncode == 0, stands.stderr
    tested = run(python, "-m", "pytest", "-o", "addopts=-m 'not slow' -q", "-p", "no:cacheprovider", *TESTS)
    assert tested.returncode == 0, tested.stdout[-5000:]
    assert " passed" in tested.stdout
