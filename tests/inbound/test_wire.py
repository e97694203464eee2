"""Credentials as bytes on a socket: one clear answer each, the same whichever server reads them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from quotaware.tenancy import keys
from tests.servers import free_port, until

ROOT = Path(__file__).parents[2]
KEY = keys.make("admin")
OTHER = keys.make("live")
APP = "tests.inbound.wire_app:app"
UVICORN = ("uvicorn", APP, "--no-proxy-headers")
GRANIAN = ("granian", APP, "--interface", "asgi")
SERVERS: dict[str, Callable[[int], tuple[str, ...]]] = {
    "uvicorn, h11": lambda port: (*UVICORN, "--http", "h11", "--port", str(port)),
    "uvicorn, httptools": lambda port: (*UVICORN, "--http", "httptools", "--port", str(port)),
    "granian": lambda port: (*GRANIAN, "--host", "127.0.0.1", "--port", str(port)),
}
UNIX: dict[str, Callable[[str], tuple[str, ...]]] = {
    "uvicorn": lambda path: (*UVICORN, "--uds", path),
    "granian": lambda path: (*GRANIAN, "--uds", path),
}

Place = int | str
"""Where a server listens: a port, or the path of a Unix socket."""


class Told(NamedTuple):
    """What came back: the status, and the error without its request id or the body."""

    status: int
    body: Any


def connected(place: Place) -> socket.socket:
    if isinstance(place, int):
        return socket.create_connection(("127.0.0.1", place), timeout=30)
    wire = socket.socket(socket.AF_UNIX)
    wire.settimeout(30)
    try:
        wire.connect(place)
    except OSError:
        wire.close()
        raise
    return wire


def ask(place: Place, path: str, *lines: bytes) -> Told:
    """One request with exactly these header lines."""
    head = b"\r\n".join([f"GET {path} HTTP/1.1".encode(), b"Host: app.test", b"Connection: close", *lines])
    received = b""
    with connected(place) as wire:
        wire.sendall(head + b"\r\n\r\n")
        while piece := wire.recv(65536):
            received += piece
    start, _, body = received.partition(b"\r\n\r\n")
    status = int(start.split(b" ")[1])
    if b"chunked" in start.lower():
        body = body.partition(b"\r\n")[2].rpartition(b"\r\n0\r\n")[0]
    try:
        told = json.loads(body)
    except ValueError:
        return Told(status, None)  # the server's own answer
    error = told.get("error")
    if error is not None:
        assert error.pop("request_id").startswith("req_")
    return Told(status, error or told)


@contextmanager
def running(place: Place, command: tuple[str, ...]) -> Iterator[Place]:
    """The app in a process of its own, until the block ends."""
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "WIRE_KEY": KEY}
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [sys.executable, "-m", *command], cwd=ROOT, env=environ, stdout=log, stderr=log
        )
        try:
            until(lambda: ask(place, "/host").status == 200, timeout=60, what="a server")
            yield place
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module", params=SERVERS)
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    found = free_port()
    with running(found, SERVERS[request.param](found)):
        yield found


MALFORMED = (401, "invalid_request", "Invalid API key format")
UNKNOWN = (401, "authentication_error", "Invalid API key")
AMBIGUOUS = (400, "invalid_request", "Ambiguous credentials")
GOOD, NOBODY = "the key", "nobody"

BEARER = b"Authorization: Bearer "
CASES: dict[str, tuple[list[bytes], Any, Any]] = {
    # lines, on a host's route, under the management API
    "none": ([], NOBODY, MALFORMED),
    "a key": ([BEARER + KEY.encode()], GOOD, GOOD),
    "scheme in another case": ([b"authorization: bEARER " + KEY.encode()], GOOD, GOOD),
    "tabs and spaces": ([b"Authorization:\t  Bearer \t " + KEY.encode() + b" \t "], GOOD, GOOD),
    "in the other header": ([b"x-api-key:" + KEY.encode()], GOOD, GOOD),
    "in both": ([BEARER + KEY.encode(), b"X-API-Key: " + KEY.encode()], GOOD, GOOD),
    "unknown": ([BEARER + OTHER.encode()], UNKNOWN, UNKNOWN),
    "malformed": ([BEARER + b"qw_live_x"], MALFORMED, MALFORMED),
    "bad checksum": ([BEARER + KEY[:-1].encode() + b"~"], MALFORMED, MALFORMED),
    "twice": ([BEARER + KEY.encode()] * 2, AMBIGUOUS, AMBIGUOUS),
    "twice, in two cases": (
        [BEARER + KEY.encode(), b"AUTHORIZATION: bearer " + KEY.encode()],
        AMBIGUOUS,
        AMBIGUOUS,
    ),
    "two keys": ([BEARER + KEY.encode(), b"X-API-Key: " + OTHER.encode()], AMBIGUOUS, AMBIGUOUS),
    "comma-joined": ([BEARER + KEY.encode() + b", Bearer " + KEY.encode()], MALFORMED, MALFORMED),
    "folded in spaces": ([BEARER + KEY.encode() + b"  " + KEY.encode()], MALFORMED, MALFORMED),
    "empty": ([b"Authorization:"], NOBODY, MALFORMED),
    "scheme alone": ([b"Authorization: Bearer"], NOBODY, MALFORMED),
    "without a scheme": ([b"Authorization: " + KEY.encode()], NOBODY, MALFORMED),
    "another scheme": ([b"Authorization: Basic dXNlcjpwYXNz"], NOBODY, MALFORMED),
    "a token of the host": ([BEARER + b"eyJhbGciOi.J9.x"], NOBODY, MALFORMED),
    "beside a token of the host": (
        [BEARER + b"eyJhbGciOi.J9.x", b"X-API-Key: " + KEY.encode()],
        GOOD,
        AMBIGUOUS,
    ),
    "8 KB": ([BEARER + b"qw_live_" + b"a" * 8192], MALFORMED, MALFORMED),
    "8 KB of the host's": ([BEARER + b"j" * 8192], NOBODY, MALFORMED),
    "Latin-1": ([BEARER + b"qw_live_\xe9" + b"a" * 35], MALFORMED, MALFORMED),
    "UTF-8": ([BEARER + "qw_live_é".encode() + b"a" * 35], MALFORMED, MALFORMED),
    "no text": ([b"Authorization: \xff\xfe\xfd"], NOBODY, MALFORMED),
}


@pytest.mark.parametrize("case", CASES)
def test_one_answer_each(case: str, port: int) -> None:
    lines, host, ours = CASES[case]
    for path, expected in (("/host", host), ("/v1/me", ours)):
        told = ask(port, path, *lines)
        if expected in (GOOD, NOBODY):
            assert told.status == 200, told
            assert path == "/v1/me" or told.body["key"] is (expected == GOOD)
        else:
            assert (told.status, told.body["type"], told.body["message"]) == expected


@pytest.mark.parametrize(
    "value", [KEY.encode() + b"\0", b"\0", b"qw_live_\x7f\x01"], ids=["NUL behind a key", "NUL", "DEL"]
)
def test_control_characters_open_nothing(value: bytes, port: int) -> None:
    """Most servers refuse them themselves, as RFC 9110 says; who lets them through has them judged."""
    for path in ("/host", "/v1/me"):
        assert ask(port, path, BEARER + value).status in {400, 401} or (path, value) == (
            "/host",
            b"\0",
        )


def test_a_header_too_long_for_any_server_opens_nothing(port: int) -> None:
    assert ask(port, "/v1/me", BEARER + b"a" * 30_000).status in {400, 401, 431}


def test_the_client_behind_a_proxy(port: int) -> None:
    told = ask(port, "/host", b"X-Forwarded-For: 1.1.1.1, 203.0.113.9", b"x-forwarded-for: 127.0.0.1")
    assert told.body == {"key": False, "address": "203.0.113.9", "peer": "127.0.0.1"}
    assert ask(port, "/host", b'Forwarded: for="[2001:db8::7]:1"').body["address"] == "2001:db8::7"
    assert ask(port, "/host").body["address"] == "127.0.0.1"


@pytest.mark.parametrize("server", UNIX)
def test_a_unix_socket_has_no_address_but_what_the_proxy_says(server: str) -> None:
    with tempfile.TemporaryDirectory() as directory:  # a path that is short enough for a socket
        path = f"{directory}/s"
        with running(path, UNIX[server](path)):
            assert ask(path, "/host").body["address"] is None
            assert ask(path, "/host", b"X-Forwarded-For: 203.0.113.9").body["address"] == "203.0.113.9"
            assert ask(path, "/v1/me", BEARER + KEY.encode()).status == 200
