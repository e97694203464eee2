"""Server-sent events: told when something moved, looked at once for all, bounded, ended with the session."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from quotaware.context import Identity
from quotaware.management.dashboard import events
from quotaware.management.dashboard.app import COOKIE, POLICY
from quotaware.management.dashboard.events import Events
from quotaware.management.dashboard.pulse import Pulse
from quotaware.tenancy.access import Actor
from tests.calls import spend
from tests.dashboard.conftest import BASE, House


class Listener:
    """Keeps what is sent; says that it is gone when told so."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.text = ""
        self.gone = anyio.Event()
        self.heard = anyio.Event()

    async def receive(self) -> Any:
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        self.status = message.get("status", self.status)
        self.headers |= {name.decode(): value.decode() for name, value in message.get("headers", ())}
        self.text += message.get("body", b"").decode()
        self.heard.set()


async def signed_in() -> bool:
    return True


async def signed_out() -> bool:
    return False


def test_what_moved_since_the_page_was_made_is_told_and_nothing_else(house: House) -> None:
    pulse = Pulse(house.tenancy, house.quota.store)
    before = pulse.of(house.org).mark
    spend(house.quota, 1, by=Identity(project=house.project))
    assert house.quota.flush()
    after = pulse.of(house.org, fresh=0).mark
    assert before != after

    async def told(mark: str) -> str:
        listener = Listener()
        serving = Events(pulse, every=60)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(
                serving.serve,
                Actor("key", "k", org=house.org),
                mark,
                signed_in,
                listener.receive,
                listener.send,
                (),
            )
            while not listener.text:
                await listener.heard.wait()
                listener.heard = anyio.Event()
            listener.gone.set()
        return listener.text

    assert f"event: moved\ndata: {after}\n\n" in anyio.run(told, before)
    assert "moved" not in anyio.run(told, after)


def test_its_answers_bear_the_headers_of_pages(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """S12: also where there are too many."""
    browser = house.browser(house.admin)
    cookie = f"{COOKIE}={browser.client.cookies.get(COOKIE, path=BASE)}"
    scope = {
        "type": "http", "method": "GET", "path": f"{BASE}/events", "raw_path": f"{BASE}/events".encode(),
        "root_path": "", "scheme": "http", "query_string": b"", "headers": [(b"cookie", cookie.encode())],
    }  # fmt: skip

    async def asked() -> Listener:
        listener = Listener()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(house.app, dict(scope), listener.receive, listener.send)
            with anyio.fail_after(20):
                await listener.heard.wait()
            listener.gone.set()
        return listener

    for status in (200, 503):
        heard = anyio.run(asked)
        assert heard.status == status
        assert dict(POLICY).items() <= heard.headers.items()
        assert heard.headers["cache-control"] == "no-store"
        monkeypatch.setattr(events, "MOST", 0)


def test_it_ends_with_the_session(house: House) -> None:
    async def told() -> str:
        listener = Listener()
        serving = Events(Pulse(house.tenancy, house.quota.store))
        actor = Actor("key", "k", org=house.org)
        await serving.serve(actor, "", signed_out, listener.receive, listener.send, ())
        return listener.text

    assert anyio.run(told) == "event: end\ndata: signed out\n\n"


@pytest.mark.parametrize(("most", "each"), [(0, 8), (200, 0)])
def test_connections_are_bounded(house: House, monkeypatch: pytest.MonkeyPatch, most: int, each: int) -> None:
    monkeypatch.setattr(events, "MOST", most)
    monkeypatch.setattr(events, "MOST_EACH", each)

    async def told() -> int:
        listener = Listener()
        serving = Events(Pulse(house.tenancy, house.quota.store))
        actor = Actor("key", "k", org=house.org)
        await serving.serve(actor, "", signed_in, listener.receive, listener.send, ())
        return listener.status

    assert anyio.run(told) == 503


def test_many_viewers_cost_one_look(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    pulse = Pulse(house.tenancy, house.quota.store, timer=lambda: now[0])
    looks: list[str] = []
    look = pulse._look
    monkeypatch.setattr(pulse, "_look", lambda org, kept: looks.append(org) or look(org, kept))
    for _ in range(100):
        pulse.of(house.org)
    assert looks == [house.org]
    now[0] += 2
    pulse.of(house.org)
    assert len(looks) == 2
