"""Newer prices by the host's choice: in the background, softly, and only while the Quota lives."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import genai_prices
import pytest
from genai_prices import data_snapshot
from genai_prices.update_prices import _shared_updater

from quotaware import Quota, refreshing
from quotaware.errors import ConfigurationError

MODELS = [
    {"id": f"m{n}", "match": {"equals": f"m{n}"}, "prices": {"input_mtok": 7, "output_mtok": 9}}
    for n in range(3)
]
LIST = [{"id": "openai", "name": "OpenAI", "api_pattern": "openai", "models": MODELS}]


class Lists(ThreadingHTTPServer):
    """Serves `body` with `status`, and counts."""

    status, body, asked = 200, json.dumps(LIST).encode(), 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/data.json"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        served: Any = self.server
        served.asked += 1
        self.send_response(served.status)
        self.send_header("content-length", str(len(served.body)))
        self.end_headers()
        self.wfile.write(served.body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lists]:
    monkeypatch.setattr(refreshing, "LEAST", 0.0001)
    with Lists(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()
    data_snapshot.set_custom_snapshot(None)


def rate(quota: Quota) -> int | None:
    price = quota.engine.prices.find("openai", "m0", quota.engine.now())
    return price and price.tiers[0].input


def test_newer_prices_are_used_when_they_are_there(lists: Lists) -> None:
    with closing(Quota("memory://", limits=["$1/day"], refresh_prices=lists.url)) as quota:
        assert rate(quota) is None
        quota._prepare()
        quota._prepare()
        assert genai_prices.wait_prices_updated_sync(10)
        assert rate(quota) == 7_000
        assert lists.asked == 1
    assert _shared_updater.ref_count == 0


def test_by_default_nothing_is_fetched() -> None:
    with closing(Quota("memory://", limits=["$1/day"])) as quota:
        quota._prepare()
        assert _shared_updater.ref_count == 0
        assert _shared_updater.thread is None or not _shared_updater.thread.is_alive()


@pytest.mark.parametrize(
    ("status", "body"), [(500, b""), (200, b"{"), (200, b"{}"), (200, b"[]"), (200, b'[{"id": 7}]')]
)
def test_what_is_no_list_changes_nothing(lists: Lists, status: int, body: bytes) -> None:
    lists.status, lists.body = status, body
    with closing(Quota("memory://", limits=["$1/day"], refresh_prices=lists.url)) as quota:
        quota._prepare()
        with pytest.raises(Exception):  # the thread's own, of whatever kind
            genai_prices.wait_prices_updated_sync(10)
        assert quota.engine.prices.find("openai", "gpt-4.1", quota.engine.now())
        assert data_snapshot._custom_snapshot is None


def test_half_a_list_is_none(lists: Lists, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refreshing, "LEAST", 0.5)
    with closing(Quota("memory://", limits=["$1/day"], refresh_prices=lists.url)) as quota:
        quota._prepare()
        with pytest.raises(ValueError, match="the list has 3 models"):
            genai_prices.wait_prices_updated_sync(10)
        assert data_snapshot._custom_snapshot is None


def test_a_thread_that_cannot_be_started_is_no_fault_of_the_hosts(
    lists: Lists, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", fails)
        refreshing.Refresh(lists.url).start()
    assert "cannot be refreshed" in caplog.text


@pytest.mark.parametrize("address", ["prices.json", 3600, None])
def test_another_choice_is_refused(address: Any) -> None:
    with pytest.raises(ConfigurationError) as wrong:
        Quota("memory://", refresh_prices=address)
    assert wrong.value.field == "refresh_prices"
