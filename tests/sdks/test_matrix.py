"""Every SDK is metered exactly once, refused in its own words, and left alone afterwards, as the docs' page says."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from quotaware import Quota
from tests.environments import environment, run
from tests.sdks import matrix
from tests.sdks.page import ENVIRONMENTS, PAGE, found, page, section, sections
from tests.sdks.provider import USAGE


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [pytest.param(name, id=f"bounded_{name}" if name == "newest" else name) for name in ENVIRONMENTS]
)
def test_the_sdks_of_an_environment_are_as_the_page_says(name: str, tmp_path: Path) -> None:
    rows = found(name, tmp_path)
    trials = [(row, row[trial]) for row in rows for trial in ("whole", "streamed") if trial in row]
    assert [
        (row["sdk"], row["client"], row["method"], trial["wrong"]) for row, trial in trials if trial["wrong"]
    ] == []
    for row, trial in trials:
        assert _own(row["sdk"], trial["denied"]), trial["denied"]
        assert _own(row["sdk"], trial["forbidden"]), trial["forbidden"]
    assert section(name, rows) in sections(PAGE.read_text())


@pytest.mark.slow
def test_streams_that_an_sdk_leaves_early_are_charged_as_the_page_says(tmp_path: Path) -> None:
    python = environment(tmp_path, "-r", str(Path(__file__).parent / "environments" / "leaving.txt"))
    ran = run(python, "-m", "tests.sdks.leaving")
    assert ran.returncode == 0, ran.stderr[-5000:]
    left = json.loads(ran.stdout)
    ((bounded, output, quality),) = partly = left["partly read"]
    assert bounded >= USAGE.input
    assert (output, quality) == (USAGE.output, "partial")
    assert left["held"] == partly
    assert left["quiet"] == left["again"] == [*partly, [USAGE.input, USAGE.output, "exact"]]


def _own(sdk: str, exception: str) -> bool:
    """Whether it is one that the SDK's users know."""
    libraries = {
        "boto3": "botocore",
        "aiobotocore": "botocore",
        "fireworks-ai": "fireworks",
        "google-genai": "google.genai",
    }
    kind = libraries.get(sdk, sdk.partition("-")[0])
    return exception.startswith(f"{kind}.") or (sdk, exception) in ODD


ODD = {
    ("huggingface_hub", "aiohttp.ClientResponseError"),
    ("huggingface_hub", "requests.exceptions.HTTPError"),
}
"""Hugging Face's older clients let the HTTP library's own errors through, with what was answered in them."""


def test_the_page_is_the_scripts_and_has_every_environment() -> None:
    text = PAGE.read_text()
    assert text == page(sections(text))
    titles = [path.read_text().splitlines()[0].removeprefix("# ") for path in ENVIRONMENTS.values()]
    assert [one.splitlines()[0] for one in sections(text)] == [f"## {title}" for title in titles]


@pytest.fixture
def tried() -> Callable[[], dict[str, Any]]:
    def rows() -> dict[str, Any]:
        with warnings.catch_warnings(action="ignore"):
            (row,) = matrix.rows(["anthropic: Anthropic.messages"])
        return row

    return rows


def test_a_way_that_is_as_it_should_be(tried: Callable[[], dict[str, Any]]) -> None:
    row = tried()
    for trial in (row["whole"], row["streamed"]):
        assert trial == {
            "over": ["httpx2"],
            "denied": "anthropic.RateLimitError",
            "forbidden": "anthropic.PermissionDeniedError",
            "tries": [1, 1],
            "wrong": [],
        }


@pytest.mark.slow
@pytest.mark.bounded
def test_what_is_not_metered_is_noticed(
    tried: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Quota, "instrument", lambda quota: None)
    for trial in (tried()["whole"], tried()["streamed"]):
        assert [wrong.partition(",")[0] for wrong in trial["wrong"]] == ["1 sent", "refused", "refused"]


@pytest.mark.slow
@pytest.mark.bounded
def test_what_stays_on_the_path_is_noticed(
    tried: Callable[[], dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stays = Quota("memory://", limits=["$1000/month"])
    stays.instrument()
    try:
        assert all("uninstrument" in trial["wrong"][-1] for trial in (tried()["whole"], tried()["streamed"]))
    finally:
        stays.close()
