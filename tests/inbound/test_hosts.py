"""The host is sacred: an app to which only the middleware line is added answers byte for byte as before on every
route that makes no LLM call.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from quotaware import Quota, QuotaMiddleware
from quotaware.testing.server import serve
from tests.apps import existing
from tests.apps.asgi import bearer, request, websocket
from tests.apps.existing import VISITS, Visit

pytestmark = pytest.mark.anyio


def _named(visit: Visit) -> str:
    return f"{visit.method} {visit.path}"


def _teams() -> Quota:
    return Quota("memory://")


def _simple() -> Quota:
    return Quota("memory://", limits=["0 requests/day", "$0/month"])


def _shadow() -> Quota:
    return Quota("memory://", shadow=True)


@pytest.fixture(params=[_teams, _simple, _shadow])
def quota(request: pytest.FixtureRequest) -> Iterator[Quota]:
    quota: Quota = request.param()
    yield quota
    quota.close()


def outer(quota: Quota) -> Any:
    """The line as it is written."""
    app = existing.build()
    app.add_middleware(QuotaMiddleware, quota=quota)
    return app


def wrapped(quota: Quota) -> Any:
    """Around all of it."""
    return QuotaMiddleware(existing.build(), quota)


async def answer(app: Any, visit: Visit) -> tuple[Any, str]:
    """All that was sent, and what was raised."""
    found = await request(
        app, visit.path, method=visit.method, query=visit.query, headers=visit.headers, body=visit.body
    )
    return found.messages, repr(found.error)


@pytest.mark.parametrize("around", [outer, wrapped])
async def test_every_answer_is_as_before(around: Any, quota: Quota) -> None:
    """Message by message: status, headers, each piece of the body, and what goes on to the server."""
    before, after = existing.build(), around(quota)
    for visit in VISITS:
        assert await answer(after, visit) == await answer(before, visit), _named(visit)
    headers = [bearer(existing.token("ann"))]
    assert await websocket(after, "/echo", "hi", headers=headers) == await websocket(
        before, "/echo", "hi", headers=headers
    )


@pytest.mark.parametrize("around", [outer, wrapped])
def test_every_byte_is_as_before_over_a_real_server(around: Any, quota: Quota) -> None:
    with serve(existing.build()) as before, serve(around(quota)) as after:
        for visit in VISITS:
            assert _bytes(after, visit) == _bytes(before, visit), _named(visit)


def _bytes(url: str, visit: Visit) -> bytes:
    """The whole answer as it comes over the connection."""
    target = f"{visit.path}?{visit.query}" if visit.query else visit.path
    head = [f"{visit.method} {target} HTTP/1.1".encode(), b"host: app.test", b"connection: close"]
    head += [name + b": " + value for name, value in visit.headers]
    head += [f"content-length: {len(visit.body)}".encode()]
    at = urlsplit(url)
    with socket.create_connection((at.hostname, at.port), timeout=30) as connection:
        connection.sendall(b"\r\n".join(head) + b"\r\n\r\n" + visit.body)
        answer = b""
        while data := connection.recv(65_536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 ")
    return answer


async def test_with_a_quotaware_key_too() -> None:
    """Who sends one to a route that makes no LLM call reads the same answer as without."""
    quota = _teams()
    org = quota.bootstrap("Acme").organization_id
    project = quota.blocking.tenancy.create_project(org, "p", org=org)
    key = quota.blocking.tenancy.create_key(project.id, org=org).secret
    before, after = existing.build(), outer(quota)
    for visit in VISITS:
        if not {b"x-api-key", b"authorization"} & {name for name, _ in visit.headers}:
            with_key = visit._replace(headers=(*visit.headers, (b"x-api-key", key.encode())))
            if visit.path != "/keyed":
                assert await answer(after, with_key) == await answer(before, visit), _named(visit)
    quota.close()
