"""The README's five minutes with teams, typed into a shell as they stand there, against the example app."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.test_examples import ROOT, read, started

SECTION = re.compile(r"^## Teams in five minutes$(.*?)^## ", re.DOTALL | re.MULTILINE)
SHELL = re.compile(r"^```sh\n(.*?)^```$", re.DOTALL | re.MULTILINE)
GIVEN = re.compile(r"^URL=\S+ ADMIN=.*$", re.MULTILINE)
CURL = '''#!{python}
"""What the README asks of curl, where there is none."""
import sys, httpx
flags = dict(zip(sys.argv, sys.argv[1:]))
url = next(word for word in sys.argv[1:] if word.startswith("http"))
headers = dict(word.split(": ", 1) for flag, word in zip(sys.argv, sys.argv[1:]) if flag == "-H")
body = flags.get("-d")
answer = httpx.request("POST" if body else "GET", url, headers=headers, content=body, timeout=60)
if "-i" in sys.argv:
    print(f"HTTP/1.1 {{answer.status_code}}", *(f"{{n}}: {{v}}" for n, v in answer.headers.items()), "", sep="\\n")
print(answer.text)
'''
"""Stands in for curl on a machine without it."""


def in_the_shell(script: str, directory: Path) -> str:
    """What a script prints."""
    if not shutil.which("curl"):
        (directory / "curl").write_text(CURL.format(python=sys.executable))
        (directory / "curl").chmod(0o755)
    path = f"{directory}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["sh", "-eu", "-c", script],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PATH": path},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.replace("\r\n", "\n")


def test_teams_in_five_minutes(tmp_path: Path) -> None:
    section = SECTION.search((ROOT / "README.md").read_text())
    assert section
    blocks = SHELL.findall(section[1])
    assert GIVEN.search(blocks[0])
    with started(ROOT / "examples" / "fastapi_app.py") as lines:
        raising = lines()[-1]
        found = re.search(r"Bearer (qw_admin_\w+)' '(http://[\w.:]+)/", raising)
        assert found
        admin, url = found.groups()
        blocks[0] = GIVEN.sub(f"URL={url} ADMIN={admin}", blocks[0])
        told = in_the_shell("echo; echo @@@\n".join(blocks), tmp_path).split("@@@\n")
    _, allocated, made, calls, after = told
    targets = {each["target"]: each["amount_usd"] for each in json.loads(allocated)["allocations"]}
    assert targets == {"engineering": 12.0, "product": 8.0}
    project = json.loads(made)
    assert (project["name"], project["monthly_budget_usd"]) == ("search", 0.001)
    good, _, bad = calls.strip().rpartition("HTTP/1.1 ")
    first, second = read(good), read(f"HTTP/1.1 {bad}")
    assert (first.status, first.body["project"]) == (200, project["id"])
    assert second.status == 429
    error = second.body["error"]
    assert (error["type"], error["message"]) == (
        "quota_exceeded",
        "Monthly budget of $0.001 exceeded for project 'search'",
    )
    raised, _, rest = after.partition("HTTP/1.1 ")
    assert json.loads(raised)["monthly_budget_usd"] == 2.0
    head, _, bodies = f"HTTP/1.1 {rest}".partition("\n\n")
    assert head.startswith("HTTP/1.1 200")
    answer, report = several(bodies)
    assert answer["project"] == project["id"]
    assert report["total_requests"] == 2
    assert report["by_project"][project["id"]]["name"] == "search"
    assert [key["name"] for key in report["by_key"].values()] == ["search-backend"]
    assert report["denied"] == {"requests": 1, "by_code": {"budget_exceeded": 1}}


def several(text: str) -> list[Any]:
    """The JSON values of a text, one behind the other."""
    found, decoder = [], json.JSONDecoder()
    while text := text.strip():
        value, end = decoder.raw_decode(text)
        found.append(value)
        text = text[end:]
    return found
