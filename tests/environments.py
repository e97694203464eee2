"""Virtual environments of their own for tests: what other versions of the SDKs do is seen in processes of theirs."""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def environment(folder: Path, *requirements: str, extra: str = "testing") -> Path:
    """Makes one from the package index, with this package, an extra of it and what else is asked for; gives its Python.
    The test is skipped where the index cannot be reached.
    """
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    asked = run(python, "-m", "pip", "index", "versions", "openai")
    if asked.returncode != 0:
        pytest.skip(f"the package index cannot be reached: {asked.stderr.strip()[-200:]}")
    installed = run(python, "-m", "pip", "install", "--quiet", f"{ROOT}[{extra}]", *requirements)
    assert installed.returncode == 0, installed.stderr[-5000:]
    return python


def run(*command: str | Path, timeout: float = 600) -> subprocess.CompletedProcess[str]:
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
        timeout=timeout,
        check=False,
    )
