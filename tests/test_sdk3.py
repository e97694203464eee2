"""The OpenAI SDK from version 3 on stands on httpx2; what holds for version 2 on httpx holds there too."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TESTS = ["tests/acceptance/test_budget.py", "tests/acceptance/test_denials.py", "tests/test_package.py"]
ON_HTTPX2 = """
import httpx2, openai
assert int(openai.__version__.partition(".")[0]) >= 3, openai.__version__
assert issubclass(openai.DefaultAsyncHttpxClient, httpx2.AsyncClient)
assert issubclass(openai.DefaultHttpxClient, httpx2.Client)
"""


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs it at the root of the project, with nothing of this environment on its path but the tests."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))
    }
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**inherited, "PYTHONPATH": str(ROOT), "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_bounded_openai_3_on_httpx2_is_metered_the_same(tmp_path: Path) -> None:
    """In an environment of its own, made from the package index: the budget that 64 callers use up and do not pass,
    the SDK's own exceptions with our figures, and the package as it is installed.
    """
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    asked = run(python, "-m", "pip", "index", "versions", "openai")
    if asked.returncode != 0:
        pytest.skip(f"the package index cannot be reached: {asked.stderr.strip()[-200:]}")
    installed = run(python, "-m", "pip", "install", "--quiet", f"{ROOT}[testing]", "openai>=3", "anthropic")
    assert installed.returncode == 0, installed.stderr
    stands = run(python, "-c", ON_HTTPX2)
    assert stands.returncode == 0, stands.stderr
    tested = run(python, "-m", "pytest", "-o", "addopts=-m 'not slow' -q", "-p", "no:cacheprovider", *TESTS)
    assert tested.returncode == 0, tested.stdout[-5000:]
    assert " passed" in tested.stdout
