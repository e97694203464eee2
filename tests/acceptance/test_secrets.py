"""S3: a key's secret is shown once, to who made it, and is nowhere else: not in what is logged, kept, answered or sent
on, whatever was done with it and however it failed.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient

from quotaware import Quota, QuotaMiddleware
from quotaware.errors import QuotawareError
from quotaware.integrations.opentelemetry import OpenTelemetry
from quotaware.integrations.prometheus import Prometheus
from quotaware.stores.protocol import Store
from quotaware.tenancy import keys
from quotaware.testing import FakeProvider

PROVIDER_KEY = "sk-the-hosts-own"
SCRAPER = "what-the-hosts-scraper-sends"


class Run:
    """A host with the API mounted, everything that leaves it, and every secret that was ever in it."""

    def __init__(self, url: str) -> None:
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        tracers = TracerProvider()
        tracers.add_span_processor(SimpleSpanProcessor(self.spans))
        traced = OpenTelemetry(tracers, MeterProvider([self.reader]))
        self.quota = Quota(url, telemetry=[traced, Prometheus(SCRAPER)])
        self.provider = FakeProvider()
        self.secrets: set[str] = {SCRAPER}
        self.told: list[str] = []
        llm = httpx.AsyncClient(
            transport=self.quota.transport(httpx.ASGITransport(self.provider)),
            base_url="https://api.openai.com/v1",
            headers={"authorization": f"Bearer {PROVIDER_KEY}"},
        )

        async def ask(request: Request) -> Response:
            answer = await llm.post("/chat/completions", json=await request.json())
            return JSONResponse(answer.json(), answer.status_code)

        async def broken(request: Request) -> Response:
            raise RuntimeError("the host's own fault")

        app = Starlette(routes=[Route("/ask", ask, methods=["POST"]), Route("/broken", broken)])
        app.mount("/v1", self.quota.management())
        app.add_middleware(QuotaMiddleware, quota=self.quota, instrument=False)
        self.client = TestClient(app, raise_server_exceptions=False)
        first = self.quota.bootstrap("StartupAI")
        self.org = first.organization_id
        self.admin = self.made(first.key)
        self.told += [repr(first), str(first)]

    def made(self, secret: str | None) -> str:
        assert secret is not None
        self.secrets.add(secret)
        return secret

    def send(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Sends it with the admin's key unless another credential is given, and notes the answer."""
        credentials = {"authorization", "x_api_key"} & headers.keys()
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if not credentials:
            sent["authorization"] = f"Bearer {self.admin}"
        response = self.client.request(method, path, json=body, headers=sent)
        shown = response.text
        if "json" in response.headers.get("content-type", "") and isinstance(response.json(), dict):
            answer = response.json()
            if answer.get("key") is not None and method == "POST" and "/api-keys" in path:
                self.made(answer.pop("key"))  # this once
            shown = json.dumps(answer)
        self.told += [shown, str(response.headers)]
        return response

    def key(self, project: str, **more: Any) -> tuple[str, str]:
        """A service key: its id and secret."""
        before = set(self.secrets)
        made = self.send("POST", "/v1/api-keys/service", {"project_id": project, **more})
        assert made.status_code < 300, made.text
        (secret,) = self.secrets - before
        return made.json()["id"], secret


@pytest.fixture(params=["memory", "sqlite", "redis"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Run]:
    urls = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path}/quota.db",
        "redis": lambda: f"{request.getfixturevalue('valkey_url')}?prefix=secrets{tmp_path.name}",
    }
    made = Run(urls[request.param]())
    yield made
    made.quota.close()


def test_a_secret_is_shown_once_and_is_nowhere_else(
    run: Run, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.WARNING, "httpx2")  # the caller's own
    chat = {"model": "gpt-4.1-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
    team = run.send("POST", f"/v1/organizations/{run.org}/teams", {"name": "engineering"}).json()["id"]
    project = run.send(
        "POST", f"/v1/teams/{team}/projects", {"name": "chatbot", "monthly_budget_usd": 1}
    ).json()["id"]
    id, secret = run.key(project, name="ci")

    # calls that go, that are refused, and that fail
    referer = f"https://app.example/?key={secret}"
    assert (
        run.send("POST", "/ask", chat, authorization=f"Bearer {secret}", referer=referer).status_code == 200
    )
    assert run.send("POST", "/ask", chat, x_api_key=secret).status_code == 200
    assert run.send("POST", f"/ask?key={secret}", chat, authorization=f"Bearer {secret}").status_code == 200
    large = {**chat, "max_tokens": 30_000_000}
    assert run.send("POST", "/ask", large, authorization=f"Bearer {secret}").status_code == 429
    for name in ("no-such-model", secret, f"gpt-4.1-mini-{secret}"):
        unknown_model = {**chat, "model": name}
        assert run.send("POST", "/ask", unknown_model, authorization=f"Bearer {secret}").status_code == 403
    assert run.send("GET", "/broken", authorization=f"Bearer {secret}").status_code == 500
    wrong = secret[:-1] + ("A" if secret[-1] != "A" else "B")
    assert run.send("GET", "/broken", authorization=f"Bearer {wrong}").status_code == 401
    assert (
        run.send("GET", "/broken", authorization=f"Bearer {secret}", x_api_key=run.admin).status_code == 400
    )

    # everything that is told of it
    for path in (
        "/v1/me",
        f"/v1/api-keys/{id}",
        "/v1/api-keys",
        f"/v1/api-keys/{id}/usage",
        f"/v1/projects/{project}/analytics",
        "/v1/audit-log",
        f"/v1/api-keys/{secret}",
        f"/v1/projects?name={secret}",
        "/v1/metrics",
        f"/v1/metrics?token={secret}",
    ):
        run.send("GET", path)
    run.send("GET", "/v1/me", authorization=f"Bearer {secret}")
    run.send("GET", "/v1/metrics", authorization=f"Bearer {secret}")
    scraped = run.send("GET", "/v1/metrics", authorization=f"Bearer {SCRAPER}")
    assert f'project="{project}",provider="openai",status="200"' in scraped.text
    run.send("PATCH", f"/v1/api-keys/{id}", {secret: secret, "name": 5})
    run.send("POST", f"/v1/projects/{project}/move", {"parent": secret})
    run.send("DELETE", f"/v1/teams/{team}", authorization=f"Bearer {secret}")

    # made, rotated, repeated, revoked
    again = {"idempotency_key": "once"}
    for _ in range(2):
        run.send("POST", "/v1/api-keys/service", {"name": "twice", "project_id": project}, **again)
    assert run.send("POST", f"/v1/api-keys/{id}/rotate", {"grace_seconds": 60}).status_code < 300
    admin = run.key(project, name="short")[1]
    assert run.send("DELETE", f"/v1/api-keys/{id}").status_code == 204
    assert run.send("POST", "/ask", chat, authorization=f"Bearer {secret}").status_code == 401
    assert len(run.secrets) >= 5

    # from Python
    run.told += list(map(repr, run.quota.blocking.tenancy.list(run.org, "key")))
    made = run.quota.blocking.tenancy.create_key(project, name="python")
    run.made(made.secret)
    run.told += [repr(made), str(made), repr(made.node)]
    for tried in (secret, admin, wrong):
        try:
            with run.quota.acting_as(key=tried), run.quota.call(provider="openai", model="nothing"):
                pass
        except QuotawareError as error:
            run.told += [*traceback.format_exception(error), repr(error), str(vars(error))]
    run.told.append(repr(run.quota))
    assert run.quota.flush()

    assert run.provider.requests >= 3
    for place, text in everything(run, caplog, tmp_path):
        for hidden in (*run.secrets, wrong):
            shown = [line for line in text.splitlines() if hidden in line]
            assert not shown, f"{place}: {shown[0][:300]}"
    sent = [json.dumps(dict(seen.headers)) for seen in run.provider.calls]
    assert all(PROVIDER_KEY in headers for headers in sent)
    assert PROVIDER_KEY not in "".join(run.told) + "".join(kept(run.quota.store))


def everything(run: Run, caplog: pytest.LogCaptureFixture, files: Path) -> Iterator[tuple[str, str]]:
    """All that left the host or stays behind, and where it was found."""
    yield "answers and errors", "\n".join(run.told)
    yield "logs", caplog.text + "\n".join(str(vars(record)) for record in caplog.records)
    yield "records", "\n".join(map(repr, run.quota.blocking.usage.records()))
    yield "audit", "\n".join(map(repr, run.quota.blocking.tenancy.audit(run.org, limit=1000)))
    yield "dump", "\n".join(kept(run.quota.store))
    spans = [span.to_json() for span in run.spans.get_finished_spans()]
    assert len(spans) >= 7
    yield "spans", "\n".join(spans)
    metrics = run.reader.get_metrics_data()
    assert metrics is not None
    assert "quotaware.calls.refused" in metrics.to_json()
    yield "metrics", metrics.to_json()
    for seen in run.provider.calls:
        yield "upstream", f"{seen.path} {dict(seen.headers)} {seen.raw!r}"
    for path in files.rglob("*"):
        if path.is_file():
            yield path.name, path.read_bytes().decode("latin-1")


def kept(store: Store) -> Iterator[str]:
    """All rows of all organizations."""
    for org in store.orgs("", 1000):
        for item in store.dump(org):
            yield str(item)


def test_only_a_hash_is_kept(run: Run) -> None:
    """Its SHA-256 finds it, so that no secret is ever compared with another; nothing else of it is there."""
    rows = "".join(kept(run.quota.store))
    assert keys.digest(run.admin) in rows
    body = run.admin.removeprefix("qw_admin_")
    assert not any(body[at : at + 12] in rows for at in range(len(body) - 11))


def test_the_file_of_a_database_has_only_a_hash(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/quota.db"
    quota = Quota(url)
    secret = quota.bootstrap("A").key
    assert secret is not None
    quota.close()
    with sqlite3.connect(tmp_path / "quota.db") as database:
        text = "\n".join(database.iterdump())
    assert keys.digest(secret) in text
    assert secret not in text
