"""One POST: to the address that was looked at, no redirect, a bound on time and on the answer."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quotaware.alerts import sending
from quotaware.alerts.addresses import Allowed, target_of
from quotaware.alerts.sending import Outcome, post, within
from tests.alerts.servers import Receiver

HERE = Allowed(["127.0.0.1", "hooks.example.com"])


def send(url: str, allowed: Allowed = HERE, **more: Any) -> Outcome:
    return post(target_of(url, allowed), {"Content-Type": "text/plain"}, b"hello", allowed, **more)


def test_it_is_taken(receiver: Receiver) -> None:
    assert send(receiver.url + "?a=b") == Outcome(True)
    (posted,) = receiver.got
    assert posted.path == "/hook?a=b"
    assert posted.body == b"hello"
    assert posted.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert posted.headers["content-type"] == "text/plain"


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(receiver: Receiver, status: int) -> None:
    receiver.answer = lambda posted: (status, {"Location": receiver.url + "/inner"})
    outcome = send(receiver.url)
    assert (outcome.ok, outcome.again) == (False, True)
    assert "redirect" in outcome.why
    assert len(receiver.got) == 1


def test_what_the_other_side_says_is_never_told(receiver: Receiver) -> None:
    receiver.body = b"the secret of the inner service"
    receiver.answer = lambda posted: (500, {"X-Secret": "inner"})
    outcome = send(receiver.url)
    assert outcome == Outcome(False, "answered 500")


def test_how_it_may_be_tried_again(receiver: Receiver) -> None:
    receiver.answer = lambda posted: (503, {"Retry-After": "120"})
    assert send(receiver.url).after == 120
    receiver.answer = lambda posted: (429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})
    assert send(receiver.url) == Outcome(False, "answered 429")
    receiver.answer = lambda posted: (410, {})
    assert send(receiver.url) == Outcome(False, "answered 410", again=False, gone=True)


def test_the_connection_goes_to_the_address_that_was_looked_at(
    monkeypatch: pytest.MonkeyPatch, receiver: Receiver
) -> None:
    """A name that answers otherwise the second time is asked once only."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def look_up(host: str, *more: Any, **named: Any) -> Any:
        asked.append(host)
        if host == "hooks.example.com":
            address = "127.0.0.1" if asked.count(host) == 1 else "127.0.0.2"
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, receiver.port))]
        return real(host, *more, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    assert send(f"http://hooks.example.com:{receiver.port}/").ok
    assert asked.count("hooks.example.com") == 1
    assert receiver.got[0].headers["host"] == f"hooks.example.com:{receiver.port}"


def test_a_private_address_is_found_out_when_it_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda host, port, **more: [(2, 1, 6, "", ("169.254.169.254", port))]
    )
    connected: list[Any] = []
    monkeypatch.setattr(socket, "create_connection", lambda *where, **more: connected.append(where))
    outcome = send("https://rebound.example.com/", Allowed())
    assert not outcome.ok
    assert "not public" in outcome.why
    assert not connected


def test_tls_is_checked_against_the_name(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Receiver().serve(certificate) as receiver:
        assert send(receiver.url).why == "its certificate is not trusted"
        assert not receiver.got

        def trusting() -> ssl.SSLContext:
            return ssl.create_default_context(cafile=str(certificate))

        assert send(receiver.url, context=trusting).ok
        real = socket.getaddrinfo
        monkeypatch.setattr(
            socket, "getaddrinfo", lambda host, *more, **named: real("127.0.0.1", *more, **named)
        )
        another = f"https://hooks.example.com:{receiver.port}/"  # at the same address
        assert send(another, context=trusting).why == "its certificate is not trusted"
        assert len(receiver.got) == 1
        assert send(receiver.url.replace("https", "http")).why.startswith("no answer")


@contextlib.contextmanager
def talking(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that talks to whoever connects, as badly as it likes."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def run() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    talk(connection)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
    thread.join(5)
    assert not thread.is_alive()


def test_an_answer_that_drips_is_cut_off() -> None:
    def drip(connection: socket.socket) -> None:
        for _ in range(2000):
            connection.sendall(b"H")  # a status line that never ends; once it is hung up, this fails
            time.sleep(0.01)

    with talking(drip) as url:
        began = time.monotonic()
        assert send(url, total=0.3) == Outcome(False, "no answer within 0.3 s")
        assert time.monotonic() - began < 3


def test_an_answer_whose_rest_drips_was_given_all_the_same() -> None:
    """It was taken: sent again it would come again and again, since each time it ended so."""

    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;")
        for _ in range(2000):
            connection.sendall(b"x")  # a line that never ends
            time.sleep(0.01)

    with talking(drip) as url:
        assert send(url, total=0.5) == Outcome(True)


def test_what_fails_after_the_answer_does_not_take_it_back() -> None:
    answered: list[Outcome] = []

    def work() -> Outcome:
        answered.append(Outcome(True))
        raise OSError("the farewell")

    assert within(5, work, lambda: None, answered) == Outcome(True)


def test_an_answer_without_end_is_read_no_further() -> None:
    sent = 0

    def pour(connection: socket.socket) -> None:
        nonlocal sent
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        with contextlib.suppress(OSError):
            for _ in range(1024):
                connection.sendall(bytes(1 << 20))
                sent += 1 << 20

    with talking(pour) as url:
        assert send(url).ok
    assert sent < 64 << 20  # what fits the buffers of the connection


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 999999999999 X\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 500,
    ],
)
def test_an_answer_that_is_none_is_a_failure(answer: bytes) -> None:
    with talking(lambda connection: connection.sendall(answer)) as url:
        outcome = send(url)
    assert (outcome.ok, outcome.again) == (False, True)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert send(f"http://127.0.0.1:{port}/").why == "no answer (ConnectionRefusedError)"


def test_a_name_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*args: Any, **more: Any) -> Any:
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert send("https://nowhere.example.com/").why == "its name was not found"


def test_a_fault_of_ours_is_a_failure_too(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> Outcome:
        raise LookupError("a fault of ours")

    assert within(5, fails, lambda: None) == Outcome(False, "a fault (LookupError)")
    assert "could not be sent" in caplog.text


def test_where_no_thread_can_be_had_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_thread(self: Any) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(sending.threading.Thread, "start", no_thread)
    assert within(1, lambda: Outcome(True), lambda: None) == Outcome(False, "no thread could be had")
