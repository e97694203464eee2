"""Planning and applying an organization of many projects from one file, by the command.

    python benchmarks/organization_file.py [--projects 10000] [--places sqlite redis http]

The file has a hundred teams, a budget and a rate limit a project. Each command is a process of its own at a terminal,
with its bar. Prints of each the seconds by the clock, from its start to its end, and those that it worked; over an
app's API also those that the app worked, whose store is memory.

sqlite  a file that the command opens
redis   a server that the command opens, started here
http    the API of an app in this process
"""

from __future__ import annotations

import argparse
import os
import pty
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.routing import Mount

from quotaware import Quota
from quotaware.organization.exporting import written
from quotaware.testing.server import serve

TEAMS = 100
FOUND = 1
"""What a plan ends with that would change something."""
BAR = b"things"
"""Stands in a bar."""
PLACES = ("sqlite", "redis", "http")


def organization(projects: int) -> dict[str, Any]:
    """So many projects in a hundred teams."""
    entry = {"budget_usd": 100, "rate_limit": {"requests_per_minute": 60}}
    return {
        "organization": {"name": "Large", "total_monthly_budget": 5_000_000},
        "teams": {
            f"team {team}": {
                "budget_usd": 50_000,
                "projects": {f"project {team}-{number}": dict(entry) for number in range(projects // TEAMS)},
            }
            for team in range(TEAMS)
        },
    }


def at_a_terminal(words: list[str], environ: Mapping[str, str]) -> tuple[int, bytes, float]:
    """Runs `quotaware …` at a terminal: its exit code, all that it wrote, and the seconds that it worked."""
    pid, terminal = pty.fork()
    if pid == 0:
        command = [sys.executable, "-m", "quotaware", *words]
        os.execve(sys.executable, command, {**os.environ, "TERM": "xterm-256color", **environ})
    told = b""
    while True:
        try:
            told += (data := os.read(terminal, 1 << 16))
        except OSError:  # it has ended
            break
        if not data:
            break
    _, status, used = os.wait4(pid, 0)
    os.close(terminal)
    return os.waitstatus_to_exitcode(status), told, used.ru_utime + used.ru_stime


def timed(what: str, code: int, words: list[str], environ: Mapping[str, str]) -> None:
    """Runs a command that is to end with this code, and prints how long it took."""
    begin, worked = time.perf_counter(), time.process_time()
    ended, told, cpu = at_a_terminal(words, environ)
    took, here = time.perf_counter() - begin, time.process_time() - worked
    assert ended == code, told[-2000:].decode(errors="replace")
    app = f"   {here:6.2f} s of the app's" if "QUOTAWARE_URL" in environ else ""
    bar = "a bar" if BAR in told else "no figures"
    print(f"  {what:<26} {took:6.2f} s   {cpu:6.2f} s of work{app}   {bar}", flush=True)


@contextmanager
def opened(place: str, folder: Path) -> Iterator[dict[str, str]]:
    """A place with nothing in it but what an app begins with; answers the environment that says where it is."""
    if place == "sqlite":
        yield {"QUOTAWARE_STORE": f"sqlite:///{folder}/quota.db"}
    elif place == "redis":
        sys.path.insert(0, str(Path(__file__).parents[1]))
        from tests.servers import Server

        with Server() as server:
            yield {"QUOTAWARE_STORE": server.url}
    else:
        quota = Quota("memory://")
        key = str(quota.bootstrap("Large").key)
        with serve(Starlette(routes=[Mount("/v1", quota.management())])) as base:
            yield {"QUOTAWARE_URL": f"{base}/v1", "QUOTAWARE_KEY": key}
        quota.close()


def measured(place: str, projects: int) -> None:
    """All commands at one place."""
    print(place, flush=True)
    data = organization(projects)
    with tempfile.TemporaryDirectory() as folder, opened(place, Path(folder)) as where:
        file = Path(folder) / "organization.yaml"
        file.write_text(written(data))
        environ = {**where, "HOME": folder, "QUOTAWARE_TIMEOUT": "600"}
        timed("plan, nothing is there", FOUND, ["plan", str(file)], environ)
        timed("apply", 0, ["apply", str(file), "--yes"], environ)
        timed("plan, nothing differs", 0, ["plan", str(file)], environ)
        data["teams"]["team 1"]["projects"]["project 1-1"]["budget_usd"] = 120
        file.write_text(written(data))
        timed("plan, one budget differs", FOUND, ["plan", str(file)], environ)
        timed("export", 0, ["export", f"{folder}/back.yaml"], environ)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--projects", type=int, default=10_000)
    parser.add_argument("--places", nargs="+", choices=PLACES, default=PLACES)
    asked = parser.parse_args()
    for place in asked.places:
        measured(place, asked.projects)


if __name__ == "__main__":
    main()
