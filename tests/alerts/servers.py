"""Receivers of alerts that are real servers on loopback: HTTP, and SMTP by aiosmtpd."""

from __future__ import annotations

import json
import shutil
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword


@dataclass
class Posted:
    """A request that the receiver got."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """An HTTP server. `answer` says with which status and headers each request is answered."""

    answer: Callable[[Posted], tuple[int, dict[str, str]]] = lambda posted: (200, {})
    body: bytes = b"ok"
    got: list[Posted] = field(default_factory=list)
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hook"

    @property
    def taken(self) -> list[Posted]:
        return [posted for posted in self.got if 200 <= posted.status < 300]

    @contextmanager
    def serve(self, certificate: Path | None = None) -> Iterator[Receiver]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                posted = Posted(self.path, headers, body, 0)
                posted.status, more = outer.answer(posted)
                outer.got.append(posted)
                self.send_response(posted.status)
                for name, value in more.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(outer.body)))
                self.end_headers()
                self.wfile.write(outer.body)

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *args: Any) -> None:
                pass  # a sender that was killed hangs up

        server = Server(("127.0.0.1", 0), Handler)
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            self.scheme = "https"
        self.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


class Mailbox:
    """An SMTP server. `refuse` answers a line such as `451 later` for a message that is not taken."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], Message]] = []
        self.refused = 0
        self.refuse: Callable[[str], str | None] = lambda to: None
        self.refuse_rcpt: Callable[[str], str | None] = lambda to: None
        self.logins: list[tuple[str, str]] = []
        self.tls = False
        self.port = 0

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if refusal := self.refuse_rcpt(address):
            return refusal
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.tls = server.transport.get_extra_info("ssl_object") is not None
        if refusal := self.refuse(envelope.rcpt_tos[0]):
            self.refused += 1
            return refusal
        self.got.append((list(envelope.rcpt_tos), message_from_bytes(envelope.content)))
        return "250 OK"

    def login(self, server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        self.logins.append((data.login.decode(), data.password.decode()))
        return AuthResult(success=data.password == b"right", handled=data.password == b"right")

    @contextmanager
    def serve(
        self, certificate: Path | None = None, *, security: str = "none", login: bool = False
    ) -> Iterator[Mailbox]:
        more: dict[str, Any] = {}
        context = None
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        if security == "starttls":
            more |= {"tls_context": context, "require_starttls": True}
        elif security == "tls":
            more |= {"ssl_context": context}
        if login:
            more |= {
                "authenticator": self.login,
                "auth_required": True,
                "auth_require_tls": security == "starttls",
            }
        controller = Controller(self, hostname="127.0.0.1", port=0, **more)
        controller.port = _free_port()
        controller.start()
        self.port = controller.port
        try:
            yield self
        finally:
            controller.stop()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def certificate_in(directory: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself, with its key, in one file."""
    openssl = shutil.which("openssl")
    assert openssl, "openssl is needed to make a certificate"
    path = directory / "both.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test",
         "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(path), "-out", str(path) + ".crt"],
        check=True,
        capture_output=True,
    )  # fmt: skip
    path.write_text(path.read_text() + Path(f"{path}.crt").read_text())
    return path
