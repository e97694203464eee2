"""The commands of docs/cli.md and the README, typed into a terminal: each says what the page says it does. Those of
docs/doctor.md and docs/first-look.md are in test_first_look.py, and there are no others.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from quotaware import Quota
from quotaware.cli.main import app
from tests.cli.terminal import Shell

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "cli.md"
ROOT_COMMAND: Any = typer.main.get_command(app)
PIECE = re.compile(
    r"^```console\n(?P<session>.*?)^```$"
    r"|^```(?:yaml|toml) (?P<file>[\w./]+)\n(?P<content>.*?)^```$"
    r"|(?P<calls><!-- calls -->)",
    re.DOTALL | re.MULTILINE,
)
"""A session, a file that the reader writes, or where the app has made some calls."""
RUN = {"console": {"README.md", "cli.md"}, "sh": {"doctor.md", "first-look.md"}}
"""The pages on which blocks of these languages are typed, every one of them."""
BLOCK = re.compile(r"^[ \t]*```(.*)\n([\s\S]*?)^[ \t]*```$", re.MULTILINE)
SAID = re.compile(r"`(?:quotaware )?([a-z]+(?: [^`\n]+)?)`")
"""What may be a command within a sentence."""
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_has_a_command_that_no_test_types(page: Path) -> None:
    typed = re.compile(rf"\bquotaware (?:-|(?:{'|'.join(ROOT_COMMAND.commands)})\b)")
    for language, text in BLOCK.findall(page.read_text()):
        if typed.search(text):
            assert page.name in RUN.get(language, ()), text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_sentence_names_no_command_or_option_that_is_not_there(page: Path) -> None:
    """Where a page speaks of a command, as in `keys change` or `quotaware top --once`."""
    for said in SAID.findall(BLOCK.sub("", page.read_text())):
        first, *words = said.split()
        if (command := ROOT_COMMAND.commands.get(first)) is None:
            continue
        if words and hasattr(command, "commands"):
            assert words[0] in command.commands, said
            command = command.commands[words[0]]
        known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
        assert {word for word in words if word.startswith("-")} <= known, said


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
            assert ran.code in (0, 1), ran
            assert re.search(as_pattern(told), ran.screen), f"{line}\n{ran.screen}\nis not\n{told}"


def test_every_command_stands_on_the_page(shell: Shell, tmp_path: Path) -> None:
    text = PAGE.read_text()
    told = shell.start(["--help"], cwd=tmp_path, environ={"HOME": str(tmp_path)}).ended().screen
    _, _, commands = told.partition("Commands:")
    names = re.findall(r"^  (\w+) ", commands, re.MULTILINE)
    assert len(names) > 15
    for name in names:
        assert f"`{name}`" in text, name
