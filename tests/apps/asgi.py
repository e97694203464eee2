"""Driving an ASGI app with exactly the bytes that a test says: headers twice, NUL in a value, no client."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import anyio


@dataclass
class Answer:
    """What an app sent. `error` is what it raised, `ended` whether its body came to an end."""

    status: int | None = None
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    body: bytes = b""
    ended: bool = False
    error: BaseException | None = None
    messages: list[Any] = field(default_factory=list)

    def json(self) -> Any:
        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        found = [value.decode() for key, value in self.headers if key.lower() == name.encode()]
        return ", ".join(found) if found else None


async def request(
    app: Any,
    path: str,
    *,
    method: str = "GET",
    query: str = "",
    headers: Iterable[tuple[bytes, bytes]] = (),
    body: bytes = b"",
    client: tuple[str, int] | None = ("127.0.0.1", 4000),
    **scope: Any,
) -> Answer:
    """One HTTP request."""
    answer = Answer()
    given = [{"type": "http.request", "body": body, "more_body": False}]

    over = anyio.Event()

    async def receive() -> Any:
        if given:
            return given.pop()
        await over.wait()  # the client stays until it has its answer
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        assert not answer.ended, "something is sent after the end"
        answer.messages.append(message)
        if message["type"] == "http.response.start":
            assert answer.status is None, "the answer begins twice"
            answer.status, answer.headers = message["status"], list(message.get("headers", ()))
        else:
            answer.body += message.get("body", b"")
            answer.ended = not message.get("more_body")
            if answer.ended:
                over.set()

    try:
        await app(
            {
                "type": "http",
                "asgi": {"version": "3.0", "spec_version": "2.4"},
                "http_version": "1.1",
                "method": method,
                "scheme": "http",
                "path": path,
                "raw_path": path.encode(),
                "query_string": query.encode(),
                "root_path": "",
                "headers": [(b"host", b"app.test"), *headers],
                "client": client,
                "server": ("app.test", 80),
                **scope,
            },
            receive,
            send,
        )
    except Exception as error:
        answer.error = error
    return answer


async def websocket(
    app: Any, path: str, *texts: str, headers: Iterable[tuple[bytes, bytes]] = (), **scope: Any
) -> list[Any]:
    """One WebSocket connection over which `texts` come in; all that the app sent."""
    sent: list[Any] = []
    given: list[Any] = [{"type": "websocket.connect"}]
    given += [{"type": "websocket.receive", "text": text} for text in texts]

    async def receive() -> Any:
        return given.pop(0) if given else {"type": "websocket.disconnect", "code": 1000}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(
        {
            "type": "websocket",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "ws",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"app.test"), *headers],
            "client": ("127.0.0.1", 4000),
            "server": ("app.test", 80),
            "subprotocols": [],
            **scope,
        },
        receive,
        send,
    )
    return sent


def bearer(key: str) -> tuple[bytes, bytes]:
    return b"authorization", f"Bearer {key}".encode()
