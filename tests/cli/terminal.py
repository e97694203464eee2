"""A real terminal for the command line: each command is a process of its own whose terminal is a pty.

The processes are forked from one that has imported the command line and done nothing else, so that a test need not
wait for imports each time.
"""

from __future__ import annotations

import codecs
import fcntl
import gc
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

WITHIN_S = 60.0
"""A busy machine takes its time."""
_CODES = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-Z\\-_])")


class Ran:
    """A command that has ended.

    code    its exit code
    screen  all that came to the terminal, its control sequences taken out; raw: with them
    out     what came to stdout alone, where that was no terminal
    """

    def __init__(self, code: int, raw: str, out: str) -> None:
        self.code = code
        self.raw = raw
        self.screen = _CODES.sub("", raw).replace("\r\n", "\n")
        self.out = out

    @property
    def json(self) -> Any:
        """What it said with --json."""
        assert self.code in (0, 1), self.screen
        return json.loads(self.out)

    def __repr__(self) -> str:
        return f"<{self.code}: {self.screen}>"


class Running:
    """A command that runs in a terminal."""

    def __init__(self, shell: Shell, pid: int, master: int, piped: Path | None) -> None:
        self.pid = pid
        self._shell = shell
        self._master = master
        self._piped = piped
        self._raw = ""
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def until(self, text: str) -> None:
        """Waits until the terminal has shown this."""
        end = time.monotonic() + WITHIN_S
        while text not in _CODES.sub("", self._raw):
            assert self._read(end), f"{text!r} did not come, but {self._raw!r}"

    def waiting(self) -> None:
        """Waits until it sleeps, as one does who reads what is typed: a ctrl-c just before that is heard late."""
        end = time.monotonic() + WITHIN_S
        while Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < end
            time.sleep(0.01)

    def type(self, text: str) -> None:
        """Types."""
        os.write(self._master, text.encode())

    def ended(self) -> Ran:
        """Waits for its end."""
        end = time.monotonic() + WITHIN_S
        while self._read(end):
            pass
        os.close(self._master)
        out = self._piped.read_text() if self._piped is not None else ""
        return Ran(self._shell.wait(self.pid), self._raw, out)

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"it took too long: {self._raw!r}")
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the last one has closed the terminal
            return False
        self._raw += self._decode(data)
        return bool(data)


class Shell:
    """Runs commands; ends with its block."""

    def __init__(self) -> None:
        self._forks = subprocess.Popen(
            [sys.executable, "-m", "tests.cli.terminal"],
            cwd=Path(__file__).parents[2],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def start(
        self,
        words: Sequence[str],
        *,
        cwd: Path,
        environ: Mapping[str, str],
        columns: int = 120,
        piped: bool = False,
    ) -> Running:
        """Starts a command in a terminal so wide; `piped`: its stdout is a file."""
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        out = cwd / "stdout" if piped else None
        asked = {
            "words": list(words),
            "cwd": str(cwd),
            "environ": {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", **environ},
            "terminal": os.ttyname(slave),
            "out": str(out) if out else None,
        }
        pid = self._say(asked)
        os.close(slave)
        return Running(self, pid, master, out)

    def wait(self, pid: int) -> int:
        """The exit code of a command."""
        return self._say({"wait": pid})

    def _say(self, asked: Any) -> int:
        assert self._forks.stdin
        assert self._forks.stdout
        self._forks.stdin.write(json.dumps(asked) + "\n")
        self._forks.stdin.flush()
        return int(self._forks.stdout.readline())

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._forks.stdin
        self._forks.stdin.close()
        self._forks.wait(WITHIN_S)
        assert self._forks.stdout
        self._forks.stdout.close()


def main() -> None:
    """Forks a command for each line, and answers its pid; answers the exit code of one that is waited for."""
    import quotaware.management.table  # what a command imports when it needs it
    import quotaware.stores.redis
    import quotaware.stores.sqlite  # noqa: F401
    from quotaware.cli.main import run
    from quotaware.core.prices import PriceBook

    PriceBook({}).context_window(None, "gpt-4.1")
    gc.freeze()
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = _forked(asked, run)
        print(answer, flush=True)


def _forked(asked: Any, run: Any) -> int:
    told, tell = os.pipe()
    pid = os.fork()
    if pid:
        os.close(tell)
        os.read(told, 1)  # it has its terminal
        os.close(told)
        return pid
    code = 99
    try:
        _at_terminal(asked)
        os.write(tell, b".")
        os.close(tell)
        sys.argv = ["quotaware", *asked["words"]]
        code = run()
        sys.stdout.flush()
    finally:
        os._exit(code)


def _at_terminal(asked: Any) -> None:
    os.setsid()
    terminal = os.open(asked["terminal"], os.O_RDWR)  # a session's first terminal is its own
    out = os.open(asked["out"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600) if asked["out"] else terminal
    for number, file in enumerate((terminal, out, terminal)):
        os.dup2(file, number)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # which a run in the background ignores
    sys.stdin, sys.stdout, sys.stderr = (
        os.fdopen(n, m, encoding="utf-8") for n, m in ((0, "r"), (1, "w"), (2, "w"))
    )
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environ"])


if __name__ == "__main__":
    main()
