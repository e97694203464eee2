"""Spans and metrics by the conventions for generative AI, collected by OpenTelemetry's own SDK."""

from __future__ import annotations

import asyncio
import gc
import io
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import httpx
import pytest
import requests
import websockets.exceptions
import websockets.sync.client
from botocore.httpsession import URLLib3Session
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from urllib3.connectionpool import HTTPConnectionPool

from quotaware import ConfigurationError, Quota
from quotaware.core.bounds import Call
from quotaware.core.usage import Usage
from quotaware.errors import ApiError
from quotaware.integrations.opentelemetry import OpenTelemetry, _modalities
from quotaware.outbound.meter import MAX_BODY, port
from quotaware.testing import FakeProvider
from quotaware.testing.server import serve
from tests.outbound import aws

CHAT = {
    "model": "gpt-4.1",
    "max_tokens": 20,
    "messages": [{"role": "user", "content": "what nobody may see"}],
}


class Collected:
    """What an SDK got of it."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.tracers = TracerProvider()
        self.tracers.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.telemetry = OpenTelemetry(self.tracers, self.meters)

    @property
    def spans(self) -> list[ReadableSpan]:
        return list(self.exporter.get_finished_spans())

    def points(self, name: str) -> list[tuple[dict[str, Any], Any]]:
        """Attributes and value (of a histogram: sum and count) of each series."""
        data = self.reader.get_metrics_data()
        found = []
        for resource in data.resource_metrics if data else ():
            for scope in resource.scope_metrics:
                assert scope.scope.name == "quotaware"
                for metric in scope.metrics:
                    if metric.name == name:
                        for point in metric.data.data_points:
                            value = (point.sum, point.count) if hasattr(point, "sum") else point.value
                            found.append((dict(point.attributes), value))
        return found


@pytest.fixture
def collected() -> Iterator[Collected]:
    made = Collected()
    yield made
    made.tracers.shutdown()
    made.meters.shutdown()


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider(output=7)


@pytest.fixture
def quota(collected: Collected) -> Iterator[Quota]:
    quota = Quota("memory://", limits=["$1/month"], telemetry=collected.telemetry)
    yield quota
    quota.close()


@pytest.fixture
def client(quota: Quota, provider: FakeProvider) -> Iterator[httpx.Client]:
    with provider.serve(), httpx.Client(transport=quota.sync_transport(To(provider))) as client:
        yield client


class To(httpx.BaseTransport):
    """Sends whatever host is meant to the fake provider; notes the span that is current meanwhile."""

    def __init__(self, provider: FakeProvider) -> None:
        self._provider = provider
        self._inner = httpx.HTTPTransport()
        self.within: list[Any] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.within.append(trace.get_current_span().get_span_context().span_id)
        url = httpx.URL(self._provider.url).copy_with(path=request.url.path)
        return self._inner.handle_request(
            httpx.Request(
                request.method, url, content=request.read(), headers={"content-type": "application/json"}
            )
        )

    def close(self) -> None:
        self._inner.close()


def post(
    client: httpx.Client, body: Any = CHAT, host: str = "api.openai.com", path: str = "/v1/chat/completions"
) -> int:
    return client.post(f"https://{host}{path}", json=body).status_code


def test_a_call_is_a_client_span_by_the_conventions(collected: Collected, client: httpx.Client) -> None:
    assert post(client) == 200
    (span,) = collected.spans
    assert (span.name, span.kind, span.status.status_code) == (
        "chat gpt-4.1",
        SpanKind.CLIENT,
        StatusCode.UNSET,
    )
    told = dict(span.attributes or {})
    assert told.pop("gen_ai.usage.input_tokens") > 0
    assert told.pop("quotaware.cost.usd") > 0
    assert 0 < told.pop("quotaware.decision.duration") < 60
    assert len(told.pop("quotaware.call.id")) > 8
    assert told == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4.1",
        "gen_ai.request.max_tokens": 20,
        "gen_ai.response.model": "gpt-4.1",
        "gen_ai.usage.output_tokens": 7,
        "server.address": "api.openai.com",
        "server.port": 443,
        "quotaware.organization": "org_app",
        "quotaware.project": "proj_app",
        "quotaware.quality": "exact",
    }


def test_the_span_leads_to_the_usage_record(collected: Collected, client: httpx.Client, quota: Quota) -> None:
    post(client)
    quota.flush()
    (record,) = quota.blocking.usage.records()
    assert collected.spans[0].attributes["quotaware.call.id"] == record.id
    assert collected.spans[0].attributes["quotaware.cost.usd"] == pytest.approx(record.cost / 1e9)


def test_spans_of_the_request_are_below_it_and_it_is_below_the_apps_own(
    collected: Collected, quota: Quota, provider: FakeProvider
) -> None:
    transport = To(provider)
    tracer = collected.tracers.get_tracer("app")
    with (
        provider.serve(),
        httpx.Client(transport=quota.sync_transport(transport)) as client,
        tracer.start_as_current_span("the app's"),
    ):
        post(client)
        outside = trace.get_current_span().get_span_context().span_id
    span, app = collected.spans
    assert transport.within == [span.context.span_id]
    assert span.parent.span_id == app.context.span_id == outside


Current = list[int]
"""Ids of the spans that were current when something was sent."""


async def by_httpx(provider: FakeProvider, seen: Current) -> None:
    class Noting(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            seen.append(current_span())
            return await super().handle_async_request(request)

    async with httpx.AsyncClient(transport=Noting()) as client:
        await client.post(f"{provider.url}/v1/chat/completions", json=CHAT)


async def by_aiohttp(provider: FakeProvider, seen: Current) -> None:
    async def note(*_: Any) -> None:
        seen.append(current_span())

    trace_config = aiohttp.TraceConfig()
    trace_config.on_connection_create_start.append(note)
    url = f"{provider.url}/v1/chat/completions"
    async with (
        aiohttp.ClientSession(trace_configs=[trace_config]) as session,
        session.post(url, json=CHAT) as answer,
    ):
        await answer.read()


async def by_requests(provider: FakeProvider, seen: Current) -> None:
    with requests.Session() as session, noting(HTTPConnectionPool, "urlopen", seen):
        session.trust_env = False
        session.post(f"{provider.url}/v1/chat/completions", json=CHAT)


async def by_boto3(provider: FakeProvider, seen: Current) -> None:
    bedrock = aws.Bedrock()
    with serve(bedrock) as url, noting(URLLib3Session, "send", seen):
        aws.client(url).converse(**aws.converse())


@contextmanager
def noting(owner: type, name: str, seen: Current) -> Iterator[None]:
    """Notes the span that is current whenever a method is called."""
    original = getattr(owner, name)

    def noted(*args: Any, **options: Any) -> Any:
        seen.append(current_span())
        return original(*args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, noted)
        yield


def current_span() -> int:
    return trace.get_current_span().get_span_context().span_id


@pytest.mark.parametrize("send", [by_httpx, by_aiohttp, by_requests, by_boto3])
def test_whatever_library_sends_it_its_own_spans_are_below(
    collected: Collected, provider: FakeProvider, send: Callable[[FakeProvider, Current], Awaitable[None]]
) -> None:
    seen: Current = []
    hosts = aws.HOSTS if send is by_boto3 else None
    quota = Quota("memory://", limits=["$9/day"], hosts=hosts, telemetry=collected.telemetry)
    quota.instrument()
    try:
        with provider.serve():
            asyncio.run(send(provider, seen))  # type: ignore[arg-type]
    finally:
        quota.close()
    (span,) = collected.spans
    assert span.attributes["gen_ai.usage.output_tokens"] > 0
    assert span.attributes["server.address"] == "127.0.0.1"
    assert 1024 < span.attributes["server.port"] < 65_536
    assert set(seen) == {span.context.span_id}
    assert current_span() == 0


@pytest.mark.parametrize("send", [by_httpx, by_aiohttp, by_requests, by_boto3])
def test_where_nobody_watches_nobody_looks_where_it_goes(
    provider: FakeProvider,
    monkeypatch: pytest.MonkeyPatch,
    send: Callable[[FakeProvider, Current], Awaitable[None]],
) -> None:
    """A look costs more than it is worth then."""
    looked: list[Any] = []
    for edge in ("aiohttp", "botocore", "httpx", "requests"):
        monkeypatch.setattr(f"quotaware.outbound.{edge}.server_of", lambda *parts: looked.append(parts))
    quota = Quota("memory://", limits=["$9/day"], hosts=aws.HOSTS if send is by_boto3 else None)
    quota.instrument()
    try:
        with provider.serve():
            asyncio.run(send(provider, []))  # type: ignore[arg-type]
        assert quota.stats["admitted"] == 1
    finally:
        quota.close()
    assert looked == []


async def over_httpx(url: str, body: bytes) -> int:
    async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: httpx.Response(200))) as client:
        return (await client.post(url, content=body)).status_code


async def over_aiohttp(url: str, body: bytes) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, data=io.BytesIO(body)) as answer:
        return answer.status


async def over_requests(url: str, body: bytes) -> int:
    with requests.Session() as session:
        return session.post(url, data=body).status_code


@pytest.mark.parametrize("send", [over_httpx, over_aiohttp, over_requests])
@pytest.mark.parametrize(
    ("body", "error"), [(b"[]", "model_ambiguous"), (b" " * (MAX_BODY + 1), "body_too_large")]
)
def test_what_cannot_be_judged_is_told_with_where_it_would_have_gone(
    collected: Collected, send: Callable[[str, bytes], Awaitable[int]], body: bytes, error: str
) -> None:
    quota = Quota(
        "memory://", limits=["$9/day"], hosts={"llm.invalid": "openai"}, telemetry=collected.telemetry
    )
    quota.instrument()
    try:
        status = asyncio.run(send("http://llm.invalid:8443/v1/chat/completions", body))  # type: ignore[arg-type]
    finally:
        quota.close()
    (span,) = collected.spans
    assert 400 <= status < 500
    assert span.attributes["error.type"] == error
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("llm.invalid", 8443)


def test_a_refused_look_up_is_told_with_where_it_would_have_gone(collected: Collected) -> None:
    quota = Quota("memory://", telemetry=collected.telemetry)
    tenancy = quota.blocking.tenancy
    org = tenancy.create_organization("A", id="org_a").id
    tenancy.create_project(org, "app", org=org, id="proj_a")
    key = tenancy.create_key("proj_a", org=org, permissions=["chat:create"]).secret
    client = quota.metered(httpx.Client(transport=httpx.MockTransport(lambda _: httpx.Response(200))))
    try:
        with quota.acting_as(key=key):
            assert client.get("https://api.openai.com/v1/models").status_code == 403
    finally:
        quota.close()
    (span,) = collected.spans
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("api.openai.com", 443)


def test_a_socket_is_told_with_where_it_leads(collected: Collected) -> None:
    quota = Quota(
        "memory://", limits=["$9/day"], hosts={"127.0.0.1": "openai"}, telemetry=collected.telemetry
    )
    quota.instrument()
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            with pytest.raises(websockets.exceptions.InvalidStatus):
                websockets.sync.client.connect(f"ws://127.0.0.1:{port}/v1/realtime", proxy=None)
    finally:
        quota.close()
    (span,) = collected.spans
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("127.0.0.1", port)


@pytest.mark.parametrize(
    ("url", "told"),
    [("https://h/", None), ("https://h:81/", 81), ("https://h:none/", None), ("https://h:99999/", None)],
)
def test_a_port_that_is_none_is_the_librarys_to_refuse(url: str, told: int | None) -> None:
    assert port(urlsplit(url)) == told


def test_many_calls_at_once_have_each_their_own(collected: Collected, quota: Quota) -> None:
    """I-20: in tasks of one loop."""
    seen: dict[str, int] = {}

    async def answer(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        seen[request.headers["x-number"]] = current_span()
        return httpx.Response(200, json={"model": request.headers["x-number"], "usage": None})

    async def run() -> None:
        async with httpx.AsyncClient(transport=quota.transport(httpx.MockTransport(answer))) as client:
            url = "https://api.openai.com/v1/chat/completions"
            await asyncio.gather(
                *(client.post(url, json=CHAT, headers={"x-number": f"n{n}"}) for n in range(20))
            )

    asyncio.run(run())
    assert {
        span.attributes["gen_ai.response.model"]: span.context.span_id for span in collected.spans
    } == seen
    assert len(seen) == len(set(seen.values())) == 20


def test_what_is_known_only_later_is_counted_then_once(collected: Collected, quota: Quota) -> None:
    """A response in the background, asked for until it is there."""
    usage = {"input_tokens": 15, "output_tokens": 9, "total_tokens": 24}
    one = {
        "id": "resp_" + "1" * 30,
        "object": "response",
        "background": True,
        "model": "gpt-4.1",
        "output": [],
    }
    states = [
        {"status": "queued"},
        {"status": "completed", "usage": usage},
        {"status": "completed", "usage": usage},
    ]
    inner = httpx.MockTransport(lambda request: httpx.Response(200, json={**one, **states.pop(0)}))
    asked = {"model": "gpt-4.1", "input": "2 + 2?", "background": True, "max_output_tokens": 1000}
    with httpx.Client(transport=quota.sync_transport(inner)) as client:
        post(client, asked, path="/v1/responses")
        quota.flush()
        assert collected.spans[0].attributes["quotaware.quality"] == "unsettled"
        assert "quotaware.cost.usd" not in collected.spans[0].attributes
        assert collected.points("quotaware.cost") == []
        for _ in range(2):
            client.get(f"https://api.openai.com/v1/responses/{one['id']}")
            quota.flush()
    ((_, cost),) = collected.points("quotaware.cost")
    assert cost == pytest.approx((15 * 2 + 9 * 8) / 1e6)
    tokens = [value for _, value in collected.points("gen_ai.client.inference.usage.output_tokens")]
    assert sum(tokens) == 9
    assert len(collected.spans) == 1


def test_a_call_by_hand_is_a_span_too_with_the_apps_spans_below_it(
    collected: Collected, quota: Quota
) -> None:
    with quota.call(provider="openai", model="gpt-4.1", input=9, max_output=5) as call:
        with collected.tracers.get_tracer("app").start_as_current_span("inner"):
            pass
        call.used(input=9, output=3)
    inner, span = collected.spans
    assert inner.parent.span_id == span.context.span_id
    assert span.attributes["gen_ai.usage.output_tokens"] == 3
    assert "server.address" not in span.attributes
    assert not trace.get_current_span().get_span_context().is_valid


def test_inside_of_another_genai_span_there_is_no_second_one(
    collected: Collected, client: httpx.Client
) -> None:
    """Instrumentations of the SDKs make one already."""
    other = collected.tracers.get_tracer("opentelemetry.instrumentation.openai_v2")
    with other.start_as_current_span("chat gpt-4.1", attributes={"gen_ai.operation.name": "chat"}):
        post(client)
        assert post(client, {**CHAT, "max_tokens": 32_000, "n": 100}) == 429
    (span,) = collected.spans
    assert span.attributes["quotaware.project"] == "proj_app"
    assert span.attributes["quotaware.denied"] == "budget_exceeded"
    assert span.attributes["quotaware.cost.usd"] > 0
    assert "gen_ai.usage.output_tokens" not in span.attributes


def test_a_span_that_ended_meanwhile_is_left_alone(
    collected: Collected, quota: Quota, caplog: pytest.LogCaptureFixture
) -> None:
    other = collected.tracers.get_tracer("other")
    call = quota.call(provider="openai", model="gpt-4.1", input=9, max_output=5)
    with other.start_as_current_span("chat", attributes={"gen_ai.operation.name": "chat"}):
        call.__enter__()
    call.used(input=1, output=1)
    call.__exit__(None, None, None)
    assert "ended span" not in caplog.text
    assert collected.points("quotaware.cost")


def test_a_refused_call_is_a_span_in_error(
    collected: Collected, client: httpx.Client, provider: FakeProvider
) -> None:
    assert post(client, {**CHAT, "max_tokens": 32_000, "n": 100}) == 429
    assert not provider.requests
    (span,) = collected.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == span.attributes["quotaware.denied"] == "budget_exceeded"
    assert "gen_ai.usage.input_tokens" not in span.attributes
    assert (span.attributes["server.address"], span.attributes["server.port"]) == ("api.openai.com", 443)
    ((told, count),) = collected.points("quotaware.calls.refused")
    assert (told["error.type"], told["quotaware.project"], count) == ("budget_exceeded", "proj_app", 1)
    assert not collected.points("gen_ai.client.inference.duration")


@pytest.mark.parametrize(("fault", "error"), [("500", "500"), ("429", "429"), ("reset", "no_answer")])
def test_a_call_that_fails_is_in_error(
    collected: Collected, client: httpx.Client, provider: FakeProvider, fault: str, error: str
) -> None:
    provider.fail(fault)
    if fault == "reset":
        with pytest.raises(httpx.HTTPError):
            post(client)
    else:
        assert post(client) == int(fault)
    (span,) = collected.spans
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == error
    ((told, (_, count)),) = collected.points("gen_ai.client.inference.duration")
    assert (told["error.type"], count) == (error, 1)
    ((told, count),) = collected.points("gen_ai.client.inference.usage.input_tokens")
    assert (told["gen_ai.token.modality"], count) == ("unknown", 0)


def test_metrics_by_the_conventions(collected: Collected, client: httpx.Client, quota: Quota) -> None:
    for _ in range(3):
        post(client)
    quota.flush()
    records = list(quota.blocking.usage.records())
    common = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4.1",
        "gen_ai.response.model": "gpt-4.1",
        "quotaware.organization": "org_app",
        "quotaware.project": "proj_app",
    }
    ((told, (seconds, count)),) = collected.points("gen_ai.client.inference.duration")
    assert (told, count) == (common, 3)
    assert seconds == pytest.approx(
        sum((s.end_time - s.start_time) / 1e9 for s in collected.spans), rel=0.2, abs=0.05
    )
    text = {**common, "gen_ai.token.modality": "text"}
    assert collected.points("gen_ai.client.inference.usage.output_tokens") == [(text, 21)]
    sent = sum(record.usage.input for record in records)
    assert collected.points("gen_ai.client.inference.usage.input_tokens") == [(text, sent)]
    ((told, cost),) = collected.points("quotaware.cost")
    assert told == common
    assert cost == pytest.approx(sum(record.cost for record in records) / 1e9)
    assert collected.points("quotaware.store.up") == [({}, 1)]
    assert collected.points("quotaware.faults") == [({}, 0)]


def test_a_stream_is_one_span_until_its_end_and_tells_its_first_token(
    collected: Collected, client: httpx.Client
) -> None:
    with client.stream(
        "POST", "https://api.openai.com/v1/chat/completions", json={**CHAT, "stream": True}
    ) as answer:
        assert not collected.spans
        for _ in answer.iter_bytes():
            pass
    (span,) = collected.spans
    assert span.attributes["gen_ai.request.stream"] is True
    assert span.attributes["gen_ai.usage.output_tokens"] == 7
    ((_, (_, count)),) = collected.points("quotaware.time_to_first_token")
    assert count == 1


def test_a_stream_that_is_left_or_forgotten_ends_its_span(
    collected: Collected, client: httpx.Client, quota: Quota
) -> None:
    url, body = "https://api.openai.com/v1/chat/completions", {**CHAT, "stream": True}
    with client.stream("POST", url, json=body) as answer:
        next(answer.iter_bytes())
    forgotten = client.send(client.build_request("POST", url, json=body), stream=True)
    next(forgotten.iter_bytes())
    del forgotten
    gc.collect()
    quota.flush()
    assert [span.attributes["quotaware.quality"] for span in collected.spans] == ["partial", "partial"]
    assert all("gen_ai.usage.output_tokens" not in span.attributes for span in collected.spans)


def test_one_serves_several_quotas_as_long_as_they_are_open(collected: Collected, quota: Quota) -> None:
    other = Quota("memory://", limits=["$1/day"], telemetry=collected.telemetry)
    assert collected.points("quotaware.store.up") == [({}, 1)]
    other.engine.count("faults")
    quota.engine.count("faults")
    assert collected.points("quotaware.faults") == [({}, 2)]
    other.close()
    assert collected.points("quotaware.store.up") == [({}, 1)]
    quota.close()
    assert collected.points("quotaware.store.up") == []


def test_embeddings_have_metrics_of_their_own(collected: Collected, client: httpx.Client) -> None:
    assert post(client, {"model": "text-embedding-3-small", "input": "hi"}, path="/v1/embeddings") == 200
    assert collected.spans[0].name == "embeddings text-embedding-3-small"
    assert collected.points("gen_ai.client.embeddings.duration")[0][1][1] == 1
    assert collected.points("gen_ai.client.embeddings.operation.input_tokens")[0][1][0] > 0
    assert not collected.points("gen_ai.client.inference.duration")


def test_names_that_were_only_asked_for_make_no_series(collected: Collected, client: httpx.Client) -> None:
    """S22: each of them is in its span, which is one request's."""
    for number in range(30):
        post(client, {**CHAT, "model": f"made-up-{number}"})
    assert len(collected.points("quotaware.calls.refused")) == 1
    assert collected.points("quotaware.calls.refused")[0][0]["gen_ai.request.model"] == "(other)"
    assert {span.attributes["gen_ai.request.model"] for span in collected.spans} >= {
        "made-up-3",
        "made-up-29",
    }


def test_a_name_is_told_on_one_line_and_without_keys(
    collected: Collected, client: httpx.Client, quota: Quota
) -> None:
    """S3, S16: as an app may name a model by hand, and an answer its own."""
    key = "qw_live_" + "Q" * 40
    post(client, {**CHAT, "model": key})
    post(client, {**CHAT, "model": "x" * 500})
    for name in (f"a\r\nb\x00{key}", "\ud800"):
        with suppress(ApiError), quota.call(provider="openai", model=name, input=1, max_output=1):
            pass
    answer = {"id": "c", "object": "chat.completion", "model": f"m\n{key}", "choices": [], "usage": None}
    inner = httpx.MockTransport(lambda request: httpx.Response(200, json=answer))
    with httpx.Client(transport=quota.sync_transport(inner)) as strange:
        post(strange)
    told = [dict(span.attributes or {}) for span in collected.spans]
    names = [each[name] for each in told for name in each if name.endswith(".model")]
    assert len(names) == 6
    assert all(name.isprintable() and len(name) <= 200 and key not in name for name in names)
    assert all(span.name.isprintable() for span in collected.spans)


@pytest.mark.parametrize(
    ("host", "body", "path", "provider_name", "operation"),
    [
        ("x.openai.azure.com", CHAT, "/openai/v1/chat/completions", "azure.ai.openai", "chat"),
        ("api.mistral.ai", CHAT, "/v1/chat/completions", "mistral_ai", "chat"),
        ("api.x.ai", CHAT, "/v1/chat/completions", "x_ai", "chat"),
        ("api.groq.com", CHAT, "/openai/v1/chat/completions", "groq", "chat"),
        ("llm.internal", CHAT, "/v1/chat/completions", "_OTHER", "chat"),
        ("api.openai.com", {"model": "gpt-4.1", "input": "hi"}, "/v1/responses", "openai", "chat"),
        (
            "api.openai.com",
            {"model": "davinci-002", "prompt": "hi"},
            "/v1/completions",
            "openai",
            "text_completion",
        ),
        (
            "generativelanguage.googleapis.com",
            {"contents": [{"parts": [{"text": "hi"}]}]},
            "/v1beta/models/gemini-2.5-flash:generateContent",
            "gcp.gen_ai",
            "generate_content",
        ),
    ],
)
def test_providers_and_operations_have_the_names_of_the_conventions(
    collected: Collected, host: str, body: Any, path: str, provider_name: str, operation: str
) -> None:
    quota = Quota("memory://", limits=["1000 requests/day"], telemetry=[collected.telemetry])
    inner = httpx.MockTransport(lambda request: httpx.Response(404, json={}))
    with httpx.Client(transport=quota.sync_transport(inner)) as client:
        post(client, body, host, path)
    quota.close()
    told = collected.spans[0].attributes
    assert (told["gen_ai.provider.name"], told["gen_ai.operation.name"]) == (provider_name, operation)


def test_tokens_are_told_by_what_they_are_of() -> None:
    heard = Usage(input=100, output=50, audio_input=60, image_input=10, cache_read=20, cache_read_audio=5)
    call = Call("openai", "chat", "gpt-4o-audio", media=100)
    assert dict(_modalities(call, heard, "input")) == {"audio": 60, "image": 10, "text": 30}
    assert dict(_modalities(call, heard, "output")) == {"unknown": 50}
    assert dict(_modalities(call, heard, "cache_read")) == {"audio": 5, "text": 15}
    assert dict(_modalities(Call("openai", "chat", "gpt-4.1"), Usage(input=3), "input")) == {"text": 3}


def test_what_is_no_observer_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"telemetry: 'otel' is no observer|telemetry: 'o'"):
        Quota("memory://", limits=[], telemetry="otel")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match=r"telemetry: True is no observer"):
        Quota("memory://", limits=[], telemetry=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("module", ["opentelemetry", "prometheus"])
def test_without_the_extra_it_says_what_to_install(module: str) -> None:
    library = "prometheus_client" if module == "prometheus" else "opentelemetry"
    extra = "prometheus" if module == "prometheus" else "otel"
    script = f"""
import sys
sys.modules[{library!r}] = None
try:
    import quotaware.integrations.{module}
except ImportError as error:
    assert "pip install 'quotaware[{extra}]'" in str(error), error
else:
    raise SystemExit("it was imported")
"""
    subprocess.run([sys.executable, "-c", script], check=True)
