"""Sockets to realtime models, opened as the SDKs open theirs: refused under a cost limit, else recorded."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import trio
import websockets
from openai import AsyncOpenAI, OpenAI
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as connect_async
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.sync.server import serve
from websockets.trio.client import connect as connect_trio

from quotaware import Quota
from tests.outbound.wire import records

PATH = "/v1/realtime?model=gpt-realtime"


class Realtime:
    """A server that says back what it hears, and refuses where it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.refuses = False

    def judge(self, connection: Any, request: Any) -> Any:
        self.asked.append(request.path)
        return connection.respond(429, "too many") if self.refuses else None

    def speak(self, connection: Any) -> None:
        for said in connection:
            connection.send(said)


@pytest.fixture
def realtime() -> Iterator[Realtime]:
    app = Realtime()
    with serve(app.speak, "127.0.0.1", 0, process_request=app.judge) as server:
        app.url = f"ws://127.0.0.1:{server.socket.getsockname()[1]}"  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield app
        finally:
            server.shutdown()
            thread.join()


def in_sync(url: str) -> str | bytes:
    with connect(url) as socket:
        socket.send("hi")
        return socket.recv()


def on_asyncio(url: str) -> str | bytes:
    async def speak() -> str | bytes:
        async with connect_async(url) as socket:
            await socket.send("hi")
            return await socket.recv()

    return asyncio.run(speak())


def on_trio(url: str) -> str | bytes:
    async def speak() -> str | bytes:
        async with connect_trio(url) as socket:
            await socket.send("hi")
            said: str | bytes = await socket.recv()
            return said

    return trio.run(speak)


WAYS = pytest.mark.parametrize("say", [in_sync, on_asyncio, on_trio])


def a_quota(*limits: str, host: str | None = "openai") -> Quota:
    quota = Quota(limits=list(limits), hosts={"127.0.0.1": host})
    quota.instrument()
    return quota


@WAYS
@pytest.mark.parametrize("provider", ["openai", "google", "azure"])
def test_under_a_cost_limit_none_is_opened(realtime: Realtime, say: Any, provider: str) -> None:
    """S10: before anything is asked; in the library's own error, with ours in it."""
    quota = a_quota("$10/month", host=provider)
    with pytest.raises(InvalidStatus) as refused:
        say(realtime.url + PATH)
    response = refused.value.response
    assert (response.status_code, response.reason_phrase) == (403, "Forbidden")
    error = json.loads(response.body)["error"]
    assert error["code"] == "price_unknown"
    assert response.headers["x-request-id"] == error["request_id"]
    assert realtime.asked == []
    assert quota.stats["denied"] == 1
    quota.close()


@WAYS
def test_under_any_other_limit_it_is_opened_and_recorded(realtime: Realtime, say: Any) -> None:
    quota = a_quota("1 requests/day")
    assert say(realtime.url + PATH) == "hi"
    with pytest.raises(InvalidStatus, match="429"):
        say(realtime.url + PATH)
    (record,) = records(quota)
    assert (record.operation, record.status, record.cost) == ("unknown", 101, 0)
    assert realtime.asked == [PATH]
    quota.close()


@WAYS
def test_sockets_to_others_pass(realtime: Realtime, say: Any) -> None:
    quota = a_quota("$10/month", host=None)
    assert say(realtime.url + PATH) == "hi"
    assert records(quota) == []
    quota.close()


@WAYS
def test_after_uninstrument_nothing_of_ours_is_left(realtime: Realtime, say: Any) -> None:
    before = ClientConnection.handshake
    quota = a_quota("$10/month")
    assert ClientConnection.handshake is not before
    quota.uninstrument()
    assert ClientConnection.handshake is before
    assert say(realtime.url + PATH) == "hi"
    quota.close()


@WAYS
def test_a_servers_own_refusal_is_the_apps_and_costs_nothing(realtime: Realtime, say: Any) -> None:
    quota, realtime.refuses = a_quota("10 requests/day"), True
    with pytest.raises(InvalidStatus, match="429"):
        say(realtime.url + PATH)
    (record,) = records(quota)
    assert (record.status, record.cost) == (429, 0)
    quota.close()


@WAYS
def test_a_connection_that_breaks_is_the_apps_error(
    realtime: Realtime, say: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = a_quota("10 requests/day")

    def broken(_: Any) -> None:
        raise ConnectionResetError("reset")

    monkeypatch.setattr(websockets.client.ClientProtocol, "connect", broken)
    with pytest.raises((ConnectionResetError, ExceptionGroup)):
        say(realtime.url + PATH)
    (record,) = records(quota)
    assert (record.status, record.cost, record.quality) == (0, 0, "partial")
    quota.close()


@pytest.mark.filterwarnings("ignore:connect.. must be used as a context manager:DeprecationWarning")
def test_openais_own_client_is_refused(realtime: Realtime) -> None:
    quota = a_quota("$10/month")
    made: dict[str, Any] = {"api_key": "x", "websocket_base_url": realtime.url + "/v1"}

    async def ask() -> None:
        async with AsyncOpenAI(**made) as client, client.realtime.connect(model="gpt-realtime"):
            pass

    with (
        pytest.raises(InvalidStatus),
        OpenAI(**made) as client,
        client.realtime.connect(model="gpt-realtime"),
    ):
        pass
    with pytest.raises(InvalidStatus):
        asyncio.run(ask())
    assert realtime.asked == []
    quota.uninstrument()
    with OpenAI(**made) as client, client.realtime.connect(model="gpt-realtime") as connection:
        connection.close()
    assert realtime.asked == [PATH]
    quota.close()


def test_the_library_is_not_imported_before_the_app_does() -> None:
    import subprocess

    script = (
        "import sys; from quotaware import Quota; q = Quota(limits=['$1/day']); q.instrument();"
        "assert 'websockets' not in sys.modules; import websockets.sync.client as c;"
        "assert 'quotaware' in c.ClientConnection.handshake.__module__; q.close();"
        "assert 'quotaware' not in c.ClientConnection.handshake.__module__"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
