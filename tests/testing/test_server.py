"""Any ASGI app on loopback: its start, its lifespan, its end."""

from __future__ import annotations

import threading
from typing import Any

import anyio
import httpx
import pytest

from quotaware.testing.server import serve


def _app(happened: list[str], fail: bool = False) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.failed" if fail else "lifespan.startup.complete"})
            await receive()
            happened.append("shutdown")
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["path"] == "/stuck":
            try:
                await anyio.sleep_forever()
            finally:
                happened.append("cancelled")
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": scope["path"].encode()})

    return app


def test_serves_and_runs_the_lifespan() -> None:
    """The app answers at the address that is given, and its shutdown has run when the block is left."""
    happened: list[str] = []
    with serve(_app(happened)) as url, httpx.Client(base_url=url) as client:
        assert client.get("/hello").text == "/hello"
        assert happened == []
    assert happened == ["shutdown"]
    with pytest.raises(httpx.ConnectError):
        httpx.get(url)


def test_an_app_without_lifespan() -> None:
    """An app that knows no lifespan is served as well, and two run side by side."""

    async def bare(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    with serve(bare) as first, serve(bare) as second:
        assert first != second
        assert [httpx.get(url).status_code for url in (first, second)] == [204, 204]


def test_an_app_that_does_not_start(caplog: pytest.LogCaptureFixture) -> None:
    """A start that fails is an error here, and leaves no thread."""
    before = threading.active_count()
    with pytest.raises(RuntimeError, match="did not start"), serve(_app([], fail=True)):
        pass
    assert threading.active_count() == before


def test_a_request_that_never_ends_is_cancelled(caplog: pytest.LogCaptureFixture) -> None:
    """The end does not wait for a handler that does not notice that its client is gone."""
    happened: list[str] = []
    with serve(_app(happened), grace=0.01) as url, pytest.raises(httpx.ReadTimeout):
        httpx.get(f"{url}/stuck", timeout=0.3)
    assert happened == ["cancelled", "shutdown"]
