"""Frameworks on top of the SDKs, in an environment of their own: `tests/frameworks` says what is tried."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.environments import environment, run

FOLDER = Path(__file__).parent / "frameworks"
OPTIONS = ("-o", "addopts=-q -ra", "-W", "ignore", "-p", "no:cacheprovider")


@pytest.mark.slow
@pytest.mark.parametrize("chosen", ["not many_callers", "many_callers"])
def test_frameworks_are_metered_once_and_by_caller(chosen: str, tmp_path: Path) -> None:
    """All of them are there, and their recipes of the docs run; many callers at once ask by themselves."""
    python = environment(tmp_path, "fastapi", "-r", str(FOLDER / "requirements.txt"))
    tested = run(python, "-m", "pytest", *OPTIONS, "-k", chosen, str(FOLDER), timeout=900)
    assert tested.returncode == 0, tested.stdout[-5000:]
    closing = tested.stdout.splitlines()[-1]
    assert " passed" in closing
    assert "skipped" not in closing
