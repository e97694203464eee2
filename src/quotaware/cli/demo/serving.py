"""Serves the demo until ctrl-c."""

from __future__ import annotations

import signal
import socket
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from threading import Thread
from types import TracebackType
from typing import Self

import anyio
import uvicorn

from ... import Notice
from .app import demo_app
from .company import Company, company
from .traffic import Tally, Traffic

HOST = "127.0.0.1"
GRACE_S = 1
"""So long open pages are waited for at the end, seconds."""

Say = Callable[[str], None]


class Demo:
    """The demo on a port of this machine; where that is taken and not `fixed`, on any. Raises `OSError`."""

    def __init__(self, port: int, *, fixed: bool) -> None:
        self._listener = _listening(port, fixed)
        self.url = f"http://{HOST}:{self._listener.getsockname()[1]}"
        self._company: Company | None = None
        self.tally = Tally()

    def run(self, serving: Callable[[], None], say: Say, browse: bool) -> None:
        """Blocks until ctrl-c or SIGTERM.

        serving  is called once it serves
        say      is told of each alert
        browse   opens the dashboard in a browser
        """

        def told(notice: Notice) -> None:
            say(f"{datetime.now():%H:%M:%S}  {notice.title}")  # the viewer's own time

        def begun() -> None:
            serving()
            if browse:
                page = f"{self.url}/v1/dashboard"
                Thread(target=webbrowser.open, args=(page,), daemon=True).start()  # some wait for its end

        self._company = made = company(told)
        traffic = Traffic(made, demo_app(made.quota), self.tally)
        config = uvicorn.Config(
            traffic.app,
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            timeout_graceful_shutdown=GRACE_S,
        )
        with _ended_by(signal.SIGTERM), suppress(KeyboardInterrupt):
            anyio.run(_serve, _Server(config, begun), self._listener, traffic)

    def told(self) -> dict[str, str]:
        """Where it is, and its keys."""
        made = self._made
        keys = {"admin_key": made.admin, "project_key": made.keys["ticket-triage"]}
        return {
            "dashboard": f"{self.url}/v1/dashboard",
            "api": f"{self.url}/v1",
            "app": f"{self.url}/ask",
            **keys,
        }

    def introduce(self, say: Say) -> None:
        """Says what there is to look at and to try."""
        told = self.told()
        say(
            "A made-up company with a month behind it and customers at work; all of it is gone at the end (ctrl-c).\n"
        )
        say(f"  The dashboard  {told['dashboard']}")
        say(f"  Sign in with   {told['admin_key']}\n")
        say(
            "The budget of ticket-triage is gone within a minute; its lead asks for more. Decide on the dashboard:"
        )
        say(
            f"  curl -i -H 'Authorization: Bearer {told['project_key']}' '{told['app']}?question=Is+this+urgent'\n"
        )
        say("The same from another terminal:")
        say(f"  quotaware top --url {told['api']} --key {told['admin_key']}\n")

    @property
    def _made(self) -> Company:
        if self._company is None:
            raise RuntimeError("the demo does not run yet")
        return self._company

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        if self._company is not None:
            self._company.quota.close()


class _Server(uvicorn.Server):
    """Says when it serves."""

    def __init__(self, config: uvicorn.Config, serving: Callable[[], None]) -> None:
        super().__init__(config)
        self._serving = serving

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._serving()


async def _serve(server: _Server, listener: socket.socket, traffic: Traffic) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(traffic.run)
        with suppress(KeyboardInterrupt):  # the server passes on the signal that ended it
            await server.serve(sockets=[listener])
        group.cancel_scope.cancel()


@contextmanager
def _ended_by(number: signal.Signals) -> Iterator[None]:
    """The signal ends the block as ctrl-c does."""
    before = signal.signal(number, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(number, before)


def _listening(port: int, fixed: bool) -> socket.socket:
    try:
        return _bound(port)
    except OSError:
        if fixed:
            raise
        return _bound(0)


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
    except BaseException:
        listener.close()
        raise
    return listener
