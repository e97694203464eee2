"""The examples, started as a user starts them, answer the curl lines that they print as these lines say."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from quotaware.testing import FakeProvider

ROOT = Path(__file__).parent.parent
EXAMPLES = sorted((ROOT / "examples").glob("*_app.py"))
each = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)


Lines = Callable[[], list[str]]


@contextmanager
def started(example: Path, **environ: str) -> Iterator[Lines]:
    """Runs it on a free port until the block ends; gives the curl lines, as soon as it serves."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    inherited = {name: value for name, value in os.environ.items() if "_API_KEY" not in name}
    process = subprocess.Popen(
        [sys.executable, example.relative_to(ROOT)],
        cwd=ROOT,
        env={**inherited, "PYTHONPATH": "src", "PORT": str(port), **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )

    def found() -> list[str]:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line.strip())
            if "Uvicorn running" in line:
                break
        curls = [line for line in lines if line.startswith("curl ")]
        assert len(curls) == 4, "\n".join(lines)
        assert all(f"127.0.0.1:{port}" in line for line in curls)
        assert any(line.startswith("The key of project 'chatbot': qw_live_") for line in lines)
        assert any(line.startswith("The admin's key: qw_admin_") for line in lines)
        return curls

    try:
        yield found
    finally:
        process.terminate()
        process.communicate(timeout=30)


def run(line: str) -> str:
    """What the line prints in a shell; where there is no curl, what it would print."""
    if shutil.which("curl"):
        done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.replace("\r\n", "\n")
    _, _, header, url, *flags = shlex.split(line)
    name, value = header.split(": ")
    body = json.loads(flags[flags.index("-d") + 1]) if "-d" in flags else None
    response = httpx.request(
        "GET" if body is None else "POST", url, headers={name: value}, json=body, timeout=60
    )
    headers = "".join(f"{name}: {value}\n" for name, value in response.headers.items())
    return (f"HTTP/1.1 {response.status_code}\n{headers}\n" if "-i" in flags else "") + response.text


class Third(NamedTuple):
    """What the call over the budget is answered."""

    status: int
    headers: dict[str, str]
    body: Any


def tried(lines: list[str]) -> tuple[str, str, Third]:
    """(answer, stream, the third) of the first three lines."""
    answer, stream, third = map(run, lines[:3])
    return json.loads(answer)["answer"], stream, read(third)


def read(answer: str) -> Third:
    head, _, body = answer.partition("\n\n")
    status, *headers = head.splitlines()
    pairs = dict(header.lower().split(": ", 1) for header in headers)
    return Third(int(status.split()[1]), pairs, json.loads(body))


@pytest.fixture(scope="module")
def all_started() -> Iterator[dict[Path, Lines]]:
    """All of them, without any key of a provider: they start side by side."""
    with ExitStack() as at_end:
        yield {example: at_end.enter_context(started(example)) for example in EXAMPLES}


@each
def test_it_does_what_it_prints(example: Path, all_started: dict[Path, Lines]) -> None:
    """An answer, a stream, a budget that is gone, and one that its admin has raised."""
    lines = all_started[example]()
    answer, stream, third = tried(lines)
    assert answer == "tok " * 100
    assert stream == "tok " * 100
    assert third.status == 429
    assert third.headers["content-type"] == "application/json"
    error = third.body["error"]
    assert error["type"] == "quota_exceeded"
    assert error["message"] == "Monthly budget of $0.002 exceeded for project 'chatbot'"
    assert error["limit_usd"] == 0.002
    assert 0.0016 < error["current_usage_usd"] < 0.002
    project = json.loads(run(lines[3]))
    assert (project["name"], project["monthly_budget_usd"]) == ("chatbot", 1.0)
    again = read(run(lines[2]))
    assert (again.status, again.body) == (200, {"answer": "tok " * 100, "project": project["id"]})


@each
@pytest.mark.slow
@pytest.mark.parametrize("provider", ["OPENAI", "ANTHROPIC"])
def test_with_a_key_of_a_provider_it_asks_that_one(
    example: Path, provider: str, fake_provider: FakeProvider
) -> None:
    fake_provider.output = 100
    base = fake_provider.url + ("/v1" if provider == "OPENAI" else "")
    with started(example, **{f"{provider}_API_KEY": "sk-real", f"{provider}_BASE_URL": base}) as lines:
        answer, stream, third = tried(lines())
    assert answer == stream == "tok " * 100
    assert (third.status, third.body["error"]["type"]) == (429, "quota_exceeded")
    assert [call.model for call in fake_provider.calls] == [
        {"OPENAI": "gpt-4.1", "ANTHROPIC": "claude-haiku-4-5"}[provider]
    ] * 2
    assert all("sk-real" in str(call.headers) for call in fake_provider.calls)
    assert "qw_" not in str([(call.headers, call.raw) for call in fake_provider.calls])


@each
def test_it_is_short(example: Path) -> None:
    assert len(example.read_text().splitlines()) < 100
