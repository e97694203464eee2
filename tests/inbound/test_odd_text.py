"""Names and texts of any kind, which a client may have chosen, in whatever a request leads to (S16)."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from litestar import Litestar, get
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute

from quotaware import Identity, Quota, QuotaMiddleware
from quotaware.integrations.litestar import QuotaPlugin
from tests.apps.asgi import bearer, request, websocket
from tests.apps.hosts import Provider, answers

pytestmark = pytest.mark.anyio

ODD = {
    "quote": "'",
    "semicolon": ";",
    "braces": "{}",
    "hash tag": "}:x",
    "colon": "a:b",
    "star": "*",
    "CR LF": "a\r\nset-cookie: b",
    "NUL": "\0",
    "10 KB": "x" * 10_240,
    "emoji": "😀",
    "proto": "__proto__",
    "half a surrogate": "\ud800",
    "line separator": "a\u2028b",
    "empty": "",
    "space": " ",
    "format": "%s%n{0}",
    "escape": "\x1b[31m",
    "like": "%_",
}


@pytest.fixture(params=["memory", "sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return f"{request.getfixturevalue('valkey_url')}?prefix=odd-{tmp_path.name}"
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path / 'quota.db'}"


def ask(quota: Quota) -> Starlette:
    """One call a request; what is denied escapes."""
    provider = Provider(answers)

    async def endpoint(request: Request) -> PlainTextResponse:
        response = await provider.client.post(
            "/v1/chat/completions", json={"model": "m", "messages": [], "max_tokens": 1}
        )
        response.raise_for_status()
        return PlainTextResponse("answered")

    async def socket(ws: Any) -> None:
        await ws.accept()

    app = Starlette(routes=[Route("/", endpoint), WebSocketRoute("/ws", socket)])
    app.add_middleware(QuotaMiddleware, quota=quota)
    return app


async def test_an_end_user_of_any_name_has_a_limit_of_his_own(url: str) -> None:
    """One call each; the second is his, and nobody else's. Records say who and what as it was said."""
    quota = Quota(url, limits=["1 requests/day per end_user"], identify=lambda scope: scope["identity"])
    app = ask(quota)
    for text in ODD.values():
        who = Identity(end_user=text, tags={text: text})
        assert (await request(app, "/", identity=who)).status == 200
        again = await request(app, "/", identity=who)
        assert (again.status, again.json()["error"]["type"]) == (429, "rate_limit_exceeded")
    found = [(record.end_user, dict(record.tags)) async for record in quota.usage.records()]
    quota.close()
    assert sorted(found, key=str) == sorted(((text, {text: text}) for text in ODD.values()), key=str)


@pytest.fixture(scope="module")
def simple() -> Iterator[Quota]:
    quota = Quota("memory://", limits=["0 requests/day"], identify=lambda scope: scope["identity"])
    yield quota
    quota.close()


@pytest.fixture(scope="module")
def teams() -> Iterator[Quota]:
    quota = Quota("memory://", identify=lambda scope: scope["identity"])
    quota.blocking.tenancy.create_organization("Acme")
    yield quota
    quota.close()


texts = st.text(st.characters(codec=None, exclude_categories=()), max_size=200) | st.sampled_from(
    list(ODD.values())
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts, texts, texts)
async def test_whatever_identify_names_the_answer_is_ours(
    simple: Quota, teams: Quota, a: str, b: str, c: str
) -> None:
    """The JSON parses, no header is more than itself, and the log has one line."""
    for quota, who in (
        (simple, Identity(end_user=a, tags={b: c})),
        (teams, Identity(a, b, {c: c})),
        (teams, Identity(a, member=b)),
        (teams, Identity(a, member=b, organization=c)),
    ):
        app = ask(quota)
        answer = await request(app, "/", identity=who)
        assert answer.error is None
        assert answer.status in {403, 429, 503}
        assert json.loads(answer.body)["error"]["request_id"]
        for name, value in answer.headers:
            assert (name + value).decode("ascii").isprintable()


async def test_a_log_line_is_one_line(teams: Quota, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "quotaware")
    for text in ODD.values():
        await request(ask(teams), "/", identity=Identity(text))
    lines = [record.getMessage() for record in caplog.records if record.name == "quotaware"]
    assert len(lines) == len(ODD)
    assert all(line.isprintable() and len(line) < 1000 for line in lines)
    assert "\\r\\nset-cookie" in "".join(lines)


async def test_litestar_answers_it_too(teams: Quota) -> None:
    client = httpx.AsyncClient(transport=httpx.MockTransport(answers))

    @get("/")
    async def endpoint() -> None:
        (
            await client.post("http://llm.test/v1/chat/completions", json={"model": "m", "messages": []})
        ).raise_for_status()

    app: Any = Litestar([endpoint], plugins=[QuotaPlugin(teams)], openapi_config=None, logging_config=None)
    for text in ODD.values():
        answer = await request(app, "/", identity=Identity(text))
        assert (answer.status, answer.json()["error"]["type"]) in {
            (403, "permission_denied"),
            (503, "store_unavailable"),
        }


async def test_a_close_reason_fits_the_protocol(teams: Quota) -> None:
    """123 bytes, of whatever characters."""
    from quotaware.integrations.fastapi import current_caller

    async def socket(ws: Any) -> None:
        await current_caller(None, None)

    app = Starlette(routes=[WebSocketRoute("/ws", socket)])
    app.add_middleware(QuotaMiddleware, quota=teams)
    for text in (*ODD.values(), "😀" * 100, "é" * 100):
        (closed,) = await websocket(app, "/ws", identity=Identity(text))
        assert closed["code"] == 1008
        assert 0 < len(closed["reason"].encode()) <= 123
        assert closed["reason"].isprintable()


async def test_a_key_in_any_bytes_is_answered_alike(teams: Quota) -> None:
    for text in ODD.values():
        raw = b"qw_" + text.encode("utf-8", "surrogatepass")
        answer = await request(ask(teams), "/", headers=[(b"authorization", b"Bearer " + raw)], identity=None)
        assert (answer.status, answer.json()["error"]["message"]) == (401, "Invalid API key format")
    assert (await request(ask(teams), "/", headers=[bearer("qw_x")], identity=None)).status == 401
