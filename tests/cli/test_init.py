"""`quotaware init` in a terminal: files to begin with, and nothing written over unasked."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest

from quotaware.cli.settings import Settings, of_file
from quotaware.organization import reading
from tests.cli.terminal import Ran, Running, Shell

FILES = ("quotaware.toml", "organization.yaml")


class Here:
    """An empty directory, and a terminal in it."""

    def __init__(self, shell: Shell, home: Path) -> None:
        self.home = home
        self.shell = shell

    def start(self, *words: str, **more: Any) -> Running:
        return self.shell.start(["init", *words], cwd=self.home, environ={"HOME": str(self.home)}, **more)

    def run(self, *words: str, **more: Any) -> Ran:
        return self.start(*words, **more).ended()

    def texts(self) -> list[str]:
        return [(self.home / name).read_text() for name in FILES]


@pytest.fixture
def here(shell: Shell, tmp_path: Path) -> Here:
    return Here(shell, tmp_path)


def test_it_writes_what_the_other_commands_read(here: Here) -> None:
    ran = here.run("--name", 'Müller & "Co"')
    assert ran.code == 0
    assert of_file(here.home / "quotaware.toml") == Settings(store="sqlite:///quota.db")
    said = reading.read(here.home / "organization.yaml")
    assert said.organization.name == 'Müller & "Co"'
    assert said.teams is not None
    assert said.teams["engineering"].projects is not None
    assert list(said.teams["engineering"].projects) == ["app"]
    assert 'quota = Quota("sqlite:///quota.db")' in ran.screen
    assert "app.add_middleware(QuotaMiddleware, quota=quota)" in ran.screen
    assert "quotaware plan organization.yaml" in ran.screen


def test_it_takes_the_store_or_url_that_it_is_told(here: Here) -> None:
    told = here.run("--store", "redis://127.0.0.1:6379/0", "--json", piped=True).json
    assert told["written"] == list(FILES)
    ast.parse("\n".join(told["app"]))
    assert told["app"][0] == 'quota = Quota("redis://127.0.0.1:6379/0")'
    assert of_file(here.home / "quotaware.toml").store == "redis://127.0.0.1:6379/0"
    assert here.run("elsewhere", "--url", "https://app.example/v1").code == 0
    assert of_file(here.home / "elsewhere" / "quotaware.toml").url == "https://app.example/v1"


def test_a_password_is_not_written(here: Here) -> None:
    ran = here.run("--store", "redis://app:hunter2@127.0.0.1/0")
    assert tomllib.loads(here.texts()[0]) == {}
    assert "hunter2" not in "".join([*here.texts(), ran.raw])
    assert 'quota = Quota(os.environ["QUOTAWARE_STORE"])' in ran.screen


def test_what_is_no_store_is_said_before_anything_is_written(here: Here) -> None:
    ran = here.run("--store", "sqlight:///quota.db")
    assert ran.code == 2
    assert "is no store URL" in ran.screen
    assert list(here.home.iterdir()) == []


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 130)])
def test_a_person_is_asked_before_anything_is_written_over(here: Here, answer: str, code: int) -> None:
    (here.home / "organization.yaml").write_text("mine")
    running = here.start()
    running.until("There is organization.yaml already. Write over it? [y/N]")
    running.type(f"{answer}\n")
    assert running.ended().code == code
    assert ((here.home / "organization.yaml").read_text() == "mine") == (answer == "n")
    assert (here.home / "quotaware.toml").exists() == (answer == "y")


def test_ctrl_c_is_no(here: Here) -> None:
    (here.home / "quotaware.toml").write_text("# mine")
    running = here.start()
    running.until("Write over it? [y/N]: ")
    running.waiting()
    running.type("\x03")
    ran = running.ended()
    assert ran.code == 130
    assert "Traceback" not in ran.screen
    assert (here.home / "quotaware.toml").read_text() == "# mine"


def test_force_asks_nobody(here: Here) -> None:
    here.run()
    first = here.texts()
    for name in FILES:
        (here.home / name).write_text("")
    assert here.run("--force").code == 0
    assert here.texts() == first


def test_what_it_writes_is_planned_applied_and_well(here: Here) -> None:
    """From nothing to an organization that the doctor has nothing to say of."""

    def run(*words: str) -> Ran:
        running = here.shell.start(words, cwd=here.home, environ={"HOME": str(here.home)}, columns=200)
        return running.ended()

    assert run("init", "--name", "StartupAI").code == 0
    assert run("plan", "organization.yaml").code == 1
    applied = run("apply", "organization.yaml", "--yes")
    assert applied.code == 0
    assert "qw_live_" in applied.screen
    assert run("plan", "organization.yaml").code == 0
    assert run("doctor", "--strict").code == 0
