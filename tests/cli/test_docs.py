"""The commands of docs/cli.md and the README, typed into a terminal: each says what the page says it does."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from quotaware import Quota
from tests.cli.terminal import Shell

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cli.md"
PIECE = re.compile(
    r"^```console\n(?P<session>.*?)^```$"
    r"|^```(?:yaml|toml) (?P<file>[\w./]+)\n(?P<content>.*?)^```$"
    r"|(?P<calls><!-- calls -->)",
    re.DOTALL | re.MULTILINE,
)
"""A session, a file that the reader writes, or where the app has made some calls."""
COMMAND = re.compile(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", re.MULTILINE)


def as_pattern(told: str) -> str:
    """What the page says a command says: any run of spaces, and `…` for whatever stands there, or any lines."""
    lines = [line for line in told.splitlines() if line.strip()]
    found = [
        r"[\s\S]*?"
        if line == "…"
        else r"\s+".join(re.escape(word).replace("…", ".*") for word in line.split())
        for line in lines
    ]
    return r"\s*".join(found)


def made(quota: Quota) -> None:
    """What customers of the chatbot and of the analytics asked."""
    tenancy = quota.blocking.tenancy
    for project, model, output in (
        ("chatbot", "gpt-4.1", 900),
        ("chatbot", "gpt-4.1", 700),
        ("analytics", "gpt-4.1-mini", 2000),
    ):
        (node,) = [each for each in tenancy.list(_org(quota), "project") if each.name == project]
        with (
            quota.acting_as(project=node.id),
            quota.call(provider="openai", model=model, input=1500, max_output=output) as call,
        ):
            call.used(input=1500, output=output)


def _org(quota: Quota) -> str:
    (org,) = quota.store.orgs("", 2)
    return org


@pytest.mark.parametrize("page", [PAGE, ROOT / "README.md"], ids=lambda page: page.name)
def test_the_commands_of_a_page_say_what_the_page_says(shell: Shell, tmp_path: Path, page: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    (tmp_path / "organization.yaml").write_text((ROOT / "examples" / "organization.yaml").read_text())
    for piece in PIECE.finditer(page.read_text()):
        if piece["calls"]:
            quota = Quota(f"sqlite:///{tmp_path}/quota.db")
            made(quota)
            assert quota.close(10)
        if piece["file"]:
            (tmp_path / piece["file"]).write_text(piece["content"])
        for line, told in COMMAND.findall(piece["session"] or ""):
            name, *words = shlex.split(line)
            assert name == "quotaware"
            ran = shell.start(words, cwd=tmp_path, environ=environ, columns=110).ended()
            assert re.search(as_pattern(told), ran.screen), f"{line}\n{ran.screen}\nis not\n{told}"


def test_every_command_stands_on_the_page(shell: Shell, tmp_path: Path) -> None:
    text = PAGE.read_text()
    told = shell.start(["--help"], cwd=tmp_path, environ={"HOME": str(tmp_path)}).ended().screen
    _, _, commands = told.partition("Commands:")
    names = re.findall(r"^  (\w+) ", commands, re.MULTILINE)
    assert len(names) > 15
    for name in names:
        assert f"`{name}`" in text, name
