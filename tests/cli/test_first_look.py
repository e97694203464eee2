"""The commands of the pages on the doctor and on a first look, run as they stand there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.cli.conftest import Shop

DOCS = Path(__file__).parents[2] / "docs"
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SHOWN = re.compile(r"^```sh\n([^\n]*)\n```\n\n```\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def words_of(line: str) -> list[str]:
    """The words of a line behind `quotaware`."""
    first, *words = shlex.split(line, comments=True)
    assert first == "quotaware"
    return words


def test_the_doctor_finds_what_the_page_says(shop: Shop) -> None:
    page = (DOCS / "doctor.md").read_text()
    ((line, shown),) = SHOWN.findall(page)
    (app,) = PYTHON.findall(page)
    (shop.home / "app.py").write_text(app)
    ran = shop.run(*words_of(line), environ={"HOME": str(shop.home)}, columns=400)
    assert ran.code == 1
    told = ran.screen[ran.screen.rindex("ok       sdks") :]  # a bar went before
    assert [each.rstrip() for each in told.rstrip().splitlines()] == shown.splitlines()


@pytest.mark.parametrize("shop", ["http"], indirect=True)
def test_each_way_to_call_the_doctor(shop: Shop) -> None:
    """Each as it stands there but for the address, which is the shop's."""
    page = (DOCS / "doctor.md").read_text()
    (shop.home / "app.py").write_text(PYTHON.findall(page)[0])
    ways, _ = SHELL.findall(page)  # the other one is that of the test before
    lines = ways.splitlines()
    assert len(lines) == 4
    for line in lines:
        words = words_of(line.replace("https://app.example.com/v1", shop.environ["QUOTAWARE_URL"]))
        environ = {"HOME": str(shop.home), "QUOTAWARE_KEY": shop.environ["QUOTAWARE_KEY"]}
        ran = shop.run(*words, environ=environ, columns=400)
        assert ran.code == (1 if "app:app" in line or "quota.db" in line else 0), ran
        assert "error    store       there is no file" in ran.screen or "quota.db" not in line


def test_files_to_begin_with_and_top(shop: Shop) -> None:
    page = (DOCS / "first-look.md").read_text()
    demo, init, top = SHELL.findall(page)
    assert demo == "pip install 'quotaware[demo]'\nquotaware demo\n"  # tried in test_demo.py
    ran = shop.run(*words_of(init), environ={"HOME": str(shop.home)})
    assert ran.code == 0
    for line in PYTHON.findall(page)[0].splitlines()[-2:]:
        assert line in ran.screen
    live, once = top.splitlines()
    ran = shop.run(*words_of(once), columns=200)
    assert ran.code == 0
    assert ran.screen.startswith("project chatbot, 7d: ")
    running = shop.start(*words_of(live))
    running.until("q quits")
    running.type("q")
    assert running.ended().code == 0
