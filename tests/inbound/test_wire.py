"""Credentials as bytes on a socket: one clear answer each, the same whichever server reads them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from quotaware.tenancy import keys
from tests.servers import free_port, until

ROOT = Path(__file__).parents[2]
KEY = keys.make("admin")
OTHER = keys.make("live")
APP = "tests.inbound.wire_app:app"
SERVERS: dict[str, Callable[[int], list[str]]] = {
    "uvicorn, h11": lambda port: ["uvicorn", APP, "--port", str(port), "--http", "h11", "--no-proxy-headers"],
    "uvicorn, httptools": lambda port: [
        "uvicorn",
        APP,
        "--port",
        str(port),
        "--http",
        "httptools",
        "--no-proxy-headers",
    ],
    "granian": lambda port: [
        "granian",
        APP,
        "--port",
        str(port),
        "--interface",
        "asgi",
        "--host",
        "127.0.0.1",
    ],
}


class Told(NamedTuple):
    """What came back: the status, and the error without its request id or the body."""

    status: int
    body: Any


def ask(port: int, path: str, *lines: bytes) -> Told:
    """One request with exactly these header lines."""
    head = b"\r\n".join([f"GET {path} HTTP/1.1".encode(), b"Host: app.test", b"Connection: close", *lines])
    received = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as wire:
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


@pytest.fixture(scope="module")
def ports() -> Iterator[dict[str, int]]:
    """Every server, each with the app in a process of its own."""
    environ = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "WIRE_KEY": KEY}
    running = []
    ports = {}
    with tempfile.TemporaryFile() as log:
        for name, command in SERVERS.items():
            ports[name] = free_port()
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", *command(ports[name])],
                    cwd=ROOT,
                    env=environ,
                    stdout=log,
                    stderr=log,
                )
            )
        try:
            for port in ports.values():
                until(lambda port=port: ask(port, "/host").status == 200, timeout=60, what="a server")
            yield ports
        finally:
            for process in running:
                process.terminate()
            for process in running:
                process.wait(30)


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


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("case", CASES)
def test_one_answer_each(case: str, server: str, ports: dict[str, int]) -> None:
    lines, host, ours = CASES[case]
    for path, expected in (("/host", host), ("/v1/me", ours)):
        told = ask(ports[server], path, *lines)
        if expected in (GOOD, NOBODY):
            assert told.status == 200, told
            assert path == "/v1/me" or told.body["key"] is (expected == GOOD)
        else:
            assert (told.status, told.body["type"], told.body["message"]) == expected


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    "value", [KEY.encode() + b"\0", b"\0", b"qw_live_\x7f\x01"], ids=["NUL behind a key", "NUL", "DEL"]
)
def test_control_characters_open_nothing(server: str, value: bytes, ports: dict[str, int]) -> None:
    """Most servers refuse them themselves, as RFC 9110 says; who lets them through has them judged."""
    for path in ("/host", "/v1/me"):
        assert ask(ports[server], path, BEARER + value).status in {400, 401} or (path, value) == (
            "/host",
            b"\0",
        )


@pytest.mark.parametrize("server", SERVERS)
def test_a_header_too_long_for_any_server_opens_nothing(server: str, ports: dict[str, int]) -> None:
    assert ask(ports[server], "/v1/me", BEARER + b"a" * 30_000).status in {400, 401, 431}


@pytest.mark.parametrize("server", SERVERS)
def test_the_client_behind_a_proxy(server: str, ports: dict[str, int]) -> None:
    told = ask(
        ports[server], "/host", b"X-Forwarded-For: 1.1.1.1, 203.0.113.9", b"x-forwarded-for: 127.0.0.1"
    )
    assert told.body == {"key": False, "address": "203.0.113.9", "peer": "127.0.0.1"}
    assert ask(ports[server], "/host", b'Forwarded: for="[2001:db8::7]:1"').body["address"] == "2001:db8::7"
    assert ask(ports[server], "/host").body["address"] == "127.0.0.1"
