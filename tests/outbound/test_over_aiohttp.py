"""The SDKs that send by aiohttp are metered once, refused once, and in their own words."""

from __future__ import annotations

import json
import sys
import venv
from pathlib import Path

import pytest

from tests.test_sdk3 import ROOT, run

SDKS = ("google-genai", "litellm", "aiobotocore", "boto3")


@pytest.mark.slow
def test_bounded_sdks_over_aiohttp_are_metered_once(tmp_path: Path) -> None:
    """In an environment of its own, made from the package index: google-genai's async client sends by aiohttp,
    LiteLLM's by httpx over aiohttp, aiobotocore by aiohttp what it has signed.
    """
    venv.create(tmp_path, with_pip=True)
    python = tmp_path / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    asked = run(python, "-m", "pip", "index", "versions", "litellm")
    if asked.returncode != 0:
        pytest.skip(f"the package index cannot be reached: {asked.stderr.strip()[-200:]}")
    installed = run(python, "-m", "pip", "install", "--quiet", f"{ROOT}[aiohttp,testing]", *SDKS)
    assert installed.returncode == 0, installed.stderr
    ran = run(python, "-m", "tests.outbound.over_aiohttp")
    assert ran.returncode == 0, ran.stderr[-5000:]
    said = json.loads(ran.stdout.splitlines()[-1])
    for sdk, calls in (("google-genai", 2), ("aiobotocore", 2), ("litellm", 4)):
        told = said[sdk]
        assert (told["outputs"], told["requests"], told["hook"]) == ([5] * calls, calls, False), sdk
        assert told["sent"] == calls, f"{sdk} sends by something else"
        assert (told["denied"], len(told["errors"])) == (2, 2), sdk
        assert all("budget" in error for error in told["errors"]), told["errors"]
    assert said["aiobotocore"]["signed"]
