"""An ASGI app behind a sync httpx client, in one process: answers come as they are made, and end as they end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from quotaware.cli.inprocess import AHEAD, InProcess

START = {"type": "http.response.start", "status": 200, "headers": [(b"x-one", b"1"), (b"x-one", b"2")]}


@pytest.fixture
def serve(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A client over an app."""
    made: list[httpx.Client] = []

    def client(app: Any) -> httpx.Client:
        made.append(httpx.Client(base_url="http://local", transport=InProcess(app)))
        return made[-1]

    yield client
    before = threading.active_count()
    for each in made:
        each.close()
    assert threading.active_count() <= before - len(made)


def test_a_request_arrives_as_it_was_sent(serve: Any) -> None:
    seen: dict[str, Any] = {}

    async def app(scope: Any, receive: Any, send: Any) -> None:
        seen.update(scope, body=(await receive())["body"])
        await send(START)
        await send({"type": "http.response.body", "body": b"done"})

    answer = serve(app).post("/a%2Fb/c?x=1&y=%C3%A4", json={"z": 1}, headers={"If-Match": '"3"'})
    assert (answer.status_code, answer.text, answer.headers.get_list("x-one")) == (200, "done", ["1", "2"])
    assert (seen["method"], seen["path"], seen["raw_path"]) == ("POST", "/a/b/c", b"/a%2Fb/c")
    assert (seen["query_string"], seen["body"]) == (b"x=1&y=%C3%A4", b'{"z":1}')
    assert (b"if-match", b'"3"') in seen["headers"]


def test_a_long_answer_is_made_as_it_is_read(serve: Any) -> None:
    sent: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        for number in range(100):
            await send({"type": "http.response.body", "body": b"%d\n" % number, "more_body": True})
            sent.append(number)
        await send({"type": "http.response.body", "body": b""})

    with serve(app).stream("GET", "/") as answer:
        lines = answer.iter_lines()
        assert next(lines) == "0"
        assert len(sent) <= AHEAD + 2
        assert [*lines] == [str(number) for number in range(1, 100)]


def test_who_has_heard_enough_ends_the_app(serve: Any) -> None:
    ended = threading.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        try:
            await send(START)
            while True:
                await send({"type": "http.response.body", "body": b"x" * 1000, "more_body": True})
        finally:
            ended.set()

    with serve(app).stream("GET", "/") as answer:
        assert next(answer.iter_raw()) == b"x" * 1000
    assert ended.wait(10)


def test_an_app_hears_that_nobody_listens_any_more(serve: Any) -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send(START)
        await send({"type": "http.response.body", "body": b"one", "more_body": True})
        heard.append((await receive())["type"])

    with serve(app).stream("GET", "/") as answer:
        assert next(answer.iter_raw()) == b"one"
    assert heard == ["http.disconnect"]


def test_what_an_app_raises_is_raised(serve: Any) -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise ZeroDivisionError("before its answer")

    async def broken_off(scope: Any, receive: Any, send: Any) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise ZeroDivisionError("in the middle")

    async def silent(scope: Any, receive: Any, send: Any) -> None:
        return

    with pytest.raises(ZeroDivisionError, match="before its answer"):
        serve(broken).get("/")
    with pytest.raises(httpx.ReadError, match="broke off"):
        serve(broken_off).get("/")
    with pytest.raises(httpx.RemoteProtocolError, match="answered nothing"):
        serve(silent).get("/")
