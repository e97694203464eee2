"""Completion: in the shells that are installed here as a person has it, and what each of them asks."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import ALSO, Shop, each_place

WITHIN_S = 60.0
SHELLS = ("bash", "zsh", "fish")


class Typist:
    """Somebody at a shell."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._seen = ""

    def type(self, text: str) -> None:
        """Types."""
        os.write(self._terminal, text.encode())

    def until(self, text: str) -> None:
        """Waits until the terminal has shown this."""
        end = time.monotonic() + WITHIN_S
        while text not in self._seen:
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"{text!r} did not come, but {self._seen!r}"
            self._seen += os.read(self._terminal, 65536).decode("utf-8", "replace")
        _, _, self._seen = self._seen.partition(text)


@contextmanager
def at_a_shell(name: str, shop: Shop) -> Iterator[Typist]:
    """An interactive shell with `quotaware` on its path, and nothing of whoever runs the tests."""
    (binary := shop.home / "bin").mkdir(exist_ok=True)
    (binary / "quotaware").write_text(f'#!/bin/sh\nexec {sys.executable} -m quotaware "$@"\n')
    (binary / "quotaware").chmod(0o755)
    environ = {
        **shop.environ,
        "PATH": f"{binary}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TERM": "xterm-256color",
        "LANG": "C.UTF-8",
        **{name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
    }
    terminal, its = pty.openpty()
    termios.tcsetwinsize(its, (40, 200))
    running = subprocess.Popen(
        [str(shutil.which(name)), "-i"], env=environ, cwd=shop.home, preexec_fn=lambda: os.login_tty(its)
    )
    os.close(its)
    try:
        typist = Typist(terminal)
        typist.type("echo re''ady\r")
        typist.until("ready")
        yield typist
    finally:
        running.kill()
        running.wait()
        os.close(terminal)


@pytest.mark.slow
@pytest.mark.bounded
@pytest.mark.parametrize("name", SHELLS)
def test_a_shell_completes_as_soon_as_it_is_installed(name: str, shop: Shop) -> None:
    """What is typed after the tab shows that the line was whole by then."""
    if shutil.which(name) is None:
        pytest.skip(f"there is no {name} here")
    with at_a_shell(name, shop) as first:
        first.type("quotaware --install-completion\r")
        first.until(f"{name} completion installed")
    with at_a_shell(name, shop) as later:
        if name == "zsh":
            later.type("quotaware \t\x15")  # its first tab reads the file, and no more
        later.type("quotaware limi\tlist ch\t--jso\t\r")
        later.until('"rule": "600 requests/minute"')


def completed(kind: str, line: str, environ: dict[str, str]) -> str:
    """What a shell is offered at the end of a line."""
    words = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_TYPER_COMPLETE_ARGS": line}
    asked = {
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_WORD_TO_COMPLETE": line.rsplit(maxsplit=1)[-1],
    }
    return answered(f"complete_{kind}", {**environ, **words, **asked})


def answered(instruction: str, environ: dict[str, str]) -> str:
    """What `quotaware` says to a shell's question."""
    done = subprocess.run(
        [sys.executable, "-m", "quotaware"],
        env={
            **os.environ,
            **environ,
            "_QUOTAWARE_COMPLETE": instruction,
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize(
    "kind", ["bash", *(pytest.param(kind, marks=ALSO) for kind in ("zsh", "fish", "powershell"))]
)
def test_it_completes_commands(kind: str, tmp_path: Path) -> None:
    assert "keys" in completed(kind, "quotaware ke", {"HOME": str(tmp_path)})


@each_place
def test_it_completes_names(shop: Shop) -> None:
    assert completed("bash", "quotaware limits list ch", shop.environ).split() == ["chatbot"]


@pytest.mark.slow
@pytest.mark.bounded
def test_keys_are_completed_and_nothing_that_cannot_be_looked_up(shop: Shop) -> None:
    assert completed("bash", "quotaware keys show c", shop.environ).split() == ["ci"]
    gone = {"HOME": str(shop.home), "QUOTAWARE_STORE": "sqlite:///gone.db"}
    assert completed("bash", "quotaware limits list ch", gone).split() == []
    by_option = f"quotaware limits list --store {shop.environ['QUOTAWARE_STORE']} ch"
    assert completed("bash", by_option, {"HOME": str(shop.home)}).split() == ["chatbot"]


@pytest.mark.slow
@pytest.mark.bounded
def test_the_script_for_powershell_asks_what_is_answered(tmp_path: Path) -> None:
    """There is none here to run it."""
    environ = {"HOME": str(tmp_path)}
    script = answered("source_powershell", environ)
    assert "Register-ArgumentCompleter -Native -CommandName quotaware" in script
    values = {'"complete_powershell"': "complete_powershell", "$commandAst.ToString()": "quotaware ke"}
    values["$wordToComplete"] = "ke"
    asked = {
        name: values[value] for name, value in re.findall(r"\$Env:(\w+) = (.+)", script) if value != '""'
    }
    told = answered(asked.pop("_QUOTAWARE_COMPLETE"), {**environ, **asked})
    assert [line.partition(":::")[0] for line in told.splitlines()] == ["keys"]
