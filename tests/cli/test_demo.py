"""The demo, as a user starts it: a living dashboard, and a clean end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from quotaware.cli.demo import command
from quotaware.cli.failures import Failure
from quotaware.cli.session import Common, Session
from tests.cli.terminal import Shell
from tests.environments import environment
from tests.servers import until

ROOT = Path(__file__).parents[2]


@contextmanager
def demo(
    *words: str, python: str = sys.executable, path: str = str(ROOT / "src")
) -> Iterator[subprocess.Popen[str]]:
    """`quotaware demo …`, in a process of its own that may speak to this machine only."""
    process = subprocess.Popen(
        [python, "-m", "quotaware", "demo", *words],
        env={**os.environ, "PYTHONPATH": path, "HTTPS_PROXY": "http://127.0.0.1:1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def told(process: subprocess.Popen[str]) -> dict[str, str]:
    """What it says with `--json` once it serves."""
    assert process.stdout
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            break
    found: dict[str, str] = json.loads("".join(lines))
    return found


class Demo:
    """A demo that runs, and an admin's client of its API."""

    def __init__(self, facts: dict[str, str]) -> None:
        self.facts = facts
        self.api = httpx.Client(
            base_url=facts["api"], headers={"authorization": f"Bearer {facts['admin_key']}"}, timeout=30
        )
        self.org = self.get("/me")["organization"]["id"]

    def get(self, path: str, **query: Any) -> Any:
        return self.api.get(path, params=query).raise_for_status().json()

    def calls(self) -> int:
        """How many there were in the last two hours: none of the made-up past."""
        path = f"/organizations/{self.org}/usage"
        return sum(each["requests"] for each in self.get(path, period="2h")["data"])


@pytest.fixture(scope="module")
def running() -> Iterator[Demo]:
    with demo("--port", "0", "--json") as process:
        found = Demo(told(process))
        yield found
        found.api.close()


def test_calls_are_made_while_one_looks(running: Demo) -> None:
    first = until(running.calls)
    until(lambda: running.calls() > first + 5)


def test_there_is_a_month_behind_it(running: Demo) -> None:
    path = f"/organizations/{running.org}/usage"
    days = running.get(path, period="31d", by="project", bucket="day", limit=10_000)["data"]
    assert len({each["bucket"][:10] for each in days}) >= 30
    assert len({each["by"]["project"] for each in days}) == 5


@pytest.mark.slow
@pytest.mark.bounded
def test_some_calls_are_refused_for_budgets_and_rates(running: Demo) -> None:
    path = f"/organizations/{running.org}/usage/denied"

    def codes() -> bool:
        found = {each["by"]["code"] for each in running.get(path, period="2h")["data"]}
        return found >= {"budget_exceeded", "rate_limit_exceeded"}

    until(codes, timeout=120)


@pytest.mark.slow
@pytest.mark.bounded
def test_a_lead_asks_for_more_and_gets_it(running: Demo) -> None:
    """Who signs in with the admin's key approves, and the project's own call goes."""

    def waiting() -> Any:
        return running.get("/quota-requests", state="pending")["data"]

    (request, *_) = until(waiting, timeout=120)
    headers = {"authorization": f"Bearer {running.facts['project_key']}"}
    refused = httpx.get(running.facts["app"], headers=headers, timeout=30)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
    running.api.post(f"/quota-requests/{request['id']}/approve", json={}).raise_for_status()
    answered = httpx.get(running.facts["app"], headers=headers, timeout=30)
    assert answered.status_code == 200, answered.text
    assert answered.json()["answer"].startswith("tok ")


@pytest.mark.slow
@pytest.mark.bounded
def test_alerts_become_due(running: Demo) -> None:
    path = f"/organizations/{running.org}/alerts/deliveries"

    def titles() -> bool:
        sent = [each for each in running.get(path)["data"] if each["channel"] == "callback"]
        return any("ticket-triage" in each["title"] and each["outcome"] == "delivered" for each in sent)

    until(titles, timeout=120)


@contextmanager
def signed_in(facts: dict[str, str]) -> Iterator[httpx.Client]:
    """A browser that has signed in with the key."""
    base = facts["dashboard"]
    with httpx.Client(timeout=30) as browser:
        token = re.search(r'name="csrf" value="([^"]+)"', browser.get(f"{base}/sign-in").text)
        assert token
        form = {"csrf": token[1], "key": facts["admin_key"]}
        assert browser.post(f"{base}/sign-in", data=form).status_code == 303
        yield browser


def test_its_dashboard_opens_with_the_key(running: Demo) -> None:
    with signed_in(running.facts) as browser:
        overview = browser.get(f"{running.facts['dashboard']}/")
    assert overview.status_code == 200
    for name in ("ranker", "summaries", "chatbot", "ticket-triage", "evals"):
        assert name in overview.text


@pytest.mark.parametrize(
    "number",
    [signal.SIGINT, pytest.param(signal.SIGTERM, marks=[pytest.mark.slow, pytest.mark.bounded])],
    ids=["ctrl-c", "SIGTERM"],
)
@pytest.mark.slow
@pytest.mark.bounded
def test_it_ends_cleanly(number: signal.Signals) -> None:
    """Also while a page is open that hears of events."""
    with demo("--port", "0", "--json") as process:
        facts = told(process)
        with signed_in(facts) as browser, browser.stream("GET", f"{facts['dashboard']}/events") as events:
            assert next(events.iter_lines())
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.slow
@pytest.mark.bounded
def test_a_person_is_told_what_to_look_at(shell: Shell, tmp_path: Path) -> None:
    """In a terminal, until ctrl-c; alerts come as they are due."""
    running = shell.start(["demo", "--port", "0"], cwd=tmp_path, environ={"HOME": str(tmp_path)}, columns=200)
    running.until("The dashboard  http://127.0.0.1:")
    running.until("Sign in with   qw_admin_")
    running.until("quotaware top --url http://127.0.0.1:")
    running.until("80 % of the daily budget of project 'ticket-triage' is used")
    running.type("\x03")
    ran = running.ended()
    assert ran.code == 0
    assert re.search(r"Ended: \d+ calls were answered, \d+ refused\.", ran.screen)
    assert "Traceback" not in ran.screen
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.bounded
def test_a_browser_is_opened_where_one_asks_for_it(shell: Shell, tmp_path: Path) -> None:
    browser = tmp_path / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > "$(dirname "$0")/opened"\n')
    browser.chmod(0o755)
    environ = {"HOME": str(tmp_path), "BROWSER": f"{browser} %s"}
    running = shell.start(["demo", "--port", "0", "--open"], cwd=tmp_path, environ=environ, columns=200)
    running.until("Sign in with")
    opened = until((tmp_path / "opened").read_text)
    running.type("\x03")
    assert f"The dashboard  {opened.strip()}\n" in running.ended().screen


@pytest.mark.slow
@pytest.mark.bounded
def test_where_its_port_is_taken_it_takes_another() -> None:
    from quotaware.cli.demo.serving import Demo as Served

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Served(port, fixed=False) as served:
            assert served.url.startswith("http://127.0.0.1:")
            assert served.url != f"http://127.0.0.1:{port}"


def test_without_its_extra_it_says_which(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(command, "find_spec", lambda name: None)
    with pytest.raises(Failure, match=r"The demo needs uvicorn and jinja2: pip install 'quotaware\[demo\]'"):
        command.demo(Session(Common()))


def test_a_port_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with demo("--port", str(port)) as process:
            out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (4, "")
    assert err == f"error: Port {port} cannot be had: Address already in use; take another, or --port 0\n"


@pytest.mark.slow
def test_in_a_fresh_environment_it_lives_within_ten_seconds(tmp_path: Path) -> None:
    """With its own extra and nothing else, from the start of the process to a page that shows what is spent."""
    python = environment(tmp_path / "fresh", extra="demo")
    begun = time.monotonic()
    with demo("--port", "0", "--json", python=str(python), path="") as process:
        facts = told(process)
        with signed_in(facts) as browser:
            overview = browser.get(f"{facts['dashboard']}/")
        took = time.monotonic() - begun
        assert overview.status_code == 200
        assert "ticket-triage" in overview.text
        running = Demo(facts)
        until(running.calls)
        running.api.close()
    assert took < 10, took
