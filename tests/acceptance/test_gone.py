"""I-8 from the outside: the host's own caller hangs up in mid-stream, and the host is terminated while streams run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx
import pytest

from quotaware import UsageRecord
from quotaware.core.steps import Settle
from quotaware.testing import FakeProvider

from .apps import serving
from .conftest import Audited

ROOT = Path(__file__).parents[2]
LONG = 10_000
A_WHILE = 20.0


def asked(provider: str) -> tuple[str, dict[str, object]]:
    return f"/{provider}", {"prompt": "a long story", "max_tokens": LONG, "stream": True}


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_caller_that_hangs_up_in_mid_stream_leaves_one_partial_record(
    audited: Audited, provider: str
) -> None:
    """What was seen is charged, nothing is held, and the provider is not read on: the upstream is closed too."""
    quota, store = audited("$100/day", "1 concurrent")
    upstream = FakeProvider(output=LONG, pace=0.005)
    settled = threading.Event()
    told = quota.engine.lanes.told

    def heard(org, answer, ops):
        told(org, answer, ops)
        if any(isinstance(op, Settle) for op in ops):
            settled.set()

    quota.engine.lanes.told = heard
    with serving(quota, upstream) as url:
        path, body = asked(provider)
        with httpx.stream("POST", url + path, json=body) as response:
            assert response.status_code == 200
            first = next(response.iter_text())
        assert first
        assert settled.wait(A_WHILE)
        upstream.wait_idle()
        assert store.held == {}
        records: list[UsageRecord] = list(quota.blocking.usage.records())
    (record,) = records
    (seen,) = upstream.calls
    assert record.quality == "partial"
    assert 0 < record.usage.output < LONG
    assert seen.sent < LONG
    assert record.cost > 0


def test_a_host_that_is_terminated_books_its_streams_before_it_ends() -> None:
    """SIGTERM under uvicorn: both streams are recorded by what was seen, and nothing is held when the app is gone."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.acceptance.terminated"],
        cwd=ROOT,
        env={"PYTHONPATH": ":".join([str(ROOT), *filter(None, sys.path)])},
        stdout=subprocess.PIPE,
        text=True,
    ) as app:
        try:
            assert app.stdout is not None
            url = f"http://127.0.0.1:{int(app.stdout.readline())}"
            with httpx.Client(transport=httpx.HTTPTransport(retries=20), timeout=A_WHILE) as client:
                one, two = (
                    client.send(client.build_request("POST", url + path, json=body), stream=True)
                    for path, body in map(asked, ("openai", "anthropic"))
                )
                assert next(one.iter_text())
                assert next(two.iter_text())
                app.send_signal(signal.SIGTERM)
                told = json.loads(app.stdout.readline())
                for response in (one, two):
                    response.close()
            app.wait(A_WHILE)
        finally:
            app.kill()
    assert told["held"] == {}
    assert [record["quality"] for record in told["records"]] == ["partial", "partial"]
    for record in told["records"]:
        assert 0 < record["usage"]["output"] < LONG
        assert record["cost"] > 0
