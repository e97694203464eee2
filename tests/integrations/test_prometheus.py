"""The Prometheus page: what it counts, who sees it, and how long it can get."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from quotaware import ConfigurationError, Quota
from quotaware.core.bounds import Call
from quotaware.errors import ApiError
from quotaware.integrations import series
from quotaware.integrations.prometheus import KINDS, WHOSE, Prometheus
from quotaware.integrations.series import OTHER, REST, Series
from quotaware.observing import Place, Refused
from quotaware.stores.memory import MemoryStore
from quotaware.testing import FakeProvider, FaultyStore
from tests.support import FakeClock

TOKEN = "a-token-of-the-hosts-own"
LABELS = (*WHOSE, "status", "code", "kind", "outcome")
CHAT = {"model": "gpt-4.1", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def metrics() -> Prometheus:
    return Prometheus(TOKEN)


@pytest.fixture
def quota(metrics: Prometheus) -> Iterator[Quota]:
    quota = Quota("memory://", telemetry=metrics)
    yield quota
    quota.close()


def samples(text: str) -> dict[tuple[str, ...], float]:
    """Values by name and label values, buckets left out."""
    return {
        (sample.name, *(sample.labels[name] for name in LABELS if name in sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if not sample.name.endswith(("_bucket", "_created"))
    }


def scrape(quota: Quota, credential: str | None = TOKEN) -> tuple[int, str]:
    headers = {} if credential is None else {"authorization": f"Bearer {credential}"}
    answer = TestClient(quota.management()).get("/metrics", headers=headers)
    assert answer.headers["cache-control"] == "no-store"
    return answer.status_code, answer.text


def spend(quota: Quota, project: str, model: str = "gpt-4.1", **used: int) -> None:
    with (
        quota.acting_as(project=project),
        quota.call(provider="openai", model=model, input=100, max_output=50) as call,
    ):
        call.used(**(used or {"input": 100, "output": 10}))


def a_project(quota: Quota, org: str, name: str = "bot") -> str:
    return str(quota.blocking.tenancy.create_project(org, name).id)


def test_calls_are_counted_by_whose_they_are_and_what_became_of_them(quota: Quota) -> None:
    org = quota.bootstrap("acme").organization_id
    bot = a_project(quota, org)
    for _ in range(3):
        spend(quota, bot, input=100, output=10, cache_read=40, reasoning=4)
    quota.flush()
    costs = sum(record.cost for record in quota.blocking.usage.records())
    status, text = scrape(quota)
    found = samples(text)
    whose = (org, bot, "openai", "gpt-4.1")
    assert status == 200
    assert found["quotaware_calls_total", *whose, "200"] == 3
    tokens = {kind: found.get(("quotaware_tokens_total", *whose, kind)) for kind in KINDS}
    assert tokens == {"input": 300, "output": 30, "cache_read": 120, "cache_write": None, "reasoning": 12}
    assert found["quotaware_cost_usd_total", *whose] == pytest.approx(costs / 1e9)
    assert found["quotaware_call_seconds_count", "openai", "gpt-4.1"] == 3
    assert found["quotaware_decision_seconds_count", "let_go"] == 3
    assert found["quotaware_store_up",] == 1


def test_over_http_failures_refusals_and_first_tokens_are_counted(metrics: Prometheus) -> None:
    provider = FakeProvider()
    quota = Quota("memory://", limits=["4 requests/day"], telemetry=metrics)

    async def run() -> None:
        transport = quota.transport(httpx.ASGITransport(provider, raise_app_exceptions=False))
        async with httpx.AsyncClient(transport=transport, base_url="https://api.openai.com/v1") as client:
            provider.fail("503", "429")
            for body in (CHAT, CHAT, CHAT, {**CHAT, "stream": True}, CHAT, CHAT):
                await client.post("/chat/completions", json=body)

    anyio.run(run)
    found = samples(metrics.page().body.decode())
    quota.close()
    whose = ("org_app", "proj_app", "openai", "gpt-4.1")
    counts = {key[-1]: value for key, value in found.items() if key[0] == "quotaware_calls_total"}
    assert counts == {"503": 1, "429": 1, "200": 2}
    assert found["quotaware_calls_refused_total", *whose, "rate_limit_exceeded"] == 2
    assert found["quotaware_first_token_seconds_count", "openai", "gpt-4.1"] == 1
    assert found["quotaware_decision_seconds_count", "refused"] == 2


def test_how_the_store_is_and_what_went_without_it() -> None:
    store, clock, metrics = FaultyStore(MemoryStore(FakeClock())), FakeClock(), Prometheus(TOKEN)
    quota = Quota(
        store,
        limits=["9 requests/day"],
        on_store_error="allow",
        deadline=0.05,
        telemetry=metrics,
        clock=clock,
    )
    with quota.call(provider="openai", model="gpt-4.1", input=1, max_output=1):
        pass
    assert samples(metrics.page().body.decode())["quotaware_calls_degraded_total",] == 0
    store.p = 1.0
    for _ in range(6):
        with quota.call(provider="openai", model="gpt-4.1", input=1, max_output=1):
            pass
    found = samples(metrics.page().body.decode())
    assert found["quotaware_calls_degraded_total",] >= 1
    assert found["quotaware_store_up",] == 0
    assert found["quotaware_calls_total", "org_app", "proj_app", "openai", "gpt-4.1", "200"] == 7
    store.p = 0.0
    quota.close()


def test_one_serves_several_quotas_as_long_as_they_are_open(metrics: Prometheus) -> None:
    store = FaultyStore(MemoryStore(FakeClock()))
    quotas = [
        Quota(
            each,
            limits=["9 requests/day"],
            deadline=0.05,
            on_store_error="allow",
            clock=FakeClock(),
            telemetry=metrics,
        )
        for each in ("memory://", store)
    ]

    def call() -> dict[tuple[str, ...], float]:
        for quota in quotas:
            with quota.call(provider="openai", model="gpt-4.1", input=1, max_output=1):
                pass
        return samples(metrics.page().body.decode())

    assert call()["quotaware_store_up",] == 1
    store.p = 1.0
    for _ in range(5):
        found = call()
    assert found["quotaware_store_up",] == 0, "one of them is away"
    assert found["quotaware_calls_total", "org_app", "proj_app", "openai", "gpt-4.1", "200"] == 12
    store.p = 0.0
    quotas.pop().close()
    assert call()["quotaware_store_up",] == 1
    quotas.pop().close()
    assert not [key for key in call() if key[0] == "quotaware_store_up"]


def test_there_is_no_series_of_when_another_was_begun(metrics: Prometheus, quota: Quota) -> None:
    spend(quota, a_project(quota, quota.bootstrap("acme").organization_id))
    assert "_created" not in metrics.page().body.decode()


# who sees it


def test_a_key_sees_the_series_of_its_own_organization_alone(quota: Quota) -> None:
    first, other = quota.bootstrap("acme"), quota.bootstrap("rivals")
    for one in (first, other):
        spend(quota, a_project(quota, one.organization_id, f"bot-{one.organization_id}"))
    status, text = scrape(quota, first.key)
    assert status == 200
    assert samples(text)
    assert other.organization_id not in text
    assert all(key[1] == first.organization_id for key in samples(text))
    assert {key[1] for key in samples(scrape(quota)[1]) if key[0] == "quotaware_calls_total"} == {
        first.organization_id,
        other.organization_id,
    }


def test_nobody_else_sees_anything(quota: Quota) -> None:
    first = quota.bootstrap("acme")
    service = quota.blocking.tenancy.create_key(a_project(quota, first.organization_id)).secret
    for credential, expected in (
        (None, 401),
        (TOKEN + "x", 401),
        ("", 401),
        (TOKEN[:-1], 401),
        (service, 403),
    ):
        status, text = scrape(quota, credential)
        assert (status, "quotaware_" in text) == (expected, False)


def test_without_a_token_the_hosts_page_is_closed() -> None:
    quota = Quota("memory://", telemetry=Prometheus())
    quota.bootstrap("acme")
    assert scrape(quota, "None")[0] == scrape(quota, "")[0] == 401
    quota.close()


def test_without_prometheus_there_is_no_page() -> None:
    quota = Quota("memory://")
    assert scrape(quota, quota.bootstrap("acme").key)[0] == 404
    quota.close()


@pytest.mark.parametrize("token", ["", "short", "ünïcode-and-long-enough", 7])
def test_a_token_that_can_be_guessed_or_not_be_sent_is_named(token: str) -> None:
    with pytest.raises(ConfigurationError, match="token: is at least 16 characters of ASCII"):
        Prometheus(token)


def test_a_scraper_that_takes_gzip_gets_it(quota: Quota) -> None:
    client, headers = TestClient(quota.management()), {"authorization": f"Bearer {TOKEN}"}
    plain, packed = (
        client.get("/metrics", headers={**headers, "accept-encoding": encoding})
        for encoding in ("identity", "deflate, gzip;q=0.9")
    )
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.headers["vary"] == packed.headers["vary"] == "accept-encoding"
    assert int(packed.headers["content-length"]) < int(plain.headers["content-length"])
    assert packed.text.splitlines()[0] == plain.text.splitlines()[0]


def test_other_ways_of_asking(quota: Quota) -> None:
    client, headers = TestClient(quota.management()), {"authorization": f"bearer  {TOKEN}"}
    head = client.head("/metrics", headers=headers)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-type"].startswith("text/plain; version=0.0.4")
    quota.bootstrap("acme")
    assert client.post("/metrics", headers=headers).status_code in {401, 404, 405}


# how much there is of it


@pytest.mark.slow
@pytest.mark.bounded
def test_a_flood_of_denials_of_made_up_models_make_one_series(metrics: Prometheus) -> None:
    """S22: told as an engine tells them."""
    place = Place("acme", None, "bot")
    for number in range(100_000):
        metrics.refused(
            Refused(place, Call("openai", "chat", None), f"m{number}", "model_not_allowed", 403, 0.0)
        )
    found = samples(metrics.page().body.decode())
    denied = {key: value for key, value in found.items() if key[0] == "quotaware_calls_refused_total"}
    assert denied == {
        ("quotaware_calls_refused_total", "acme", "bot", "openai", OTHER, "model_not_allowed"): 100_000
    }
    assert len(metrics.page().body) < 20_000


def test_models_that_a_provider_refuses_make_no_series(metrics: Prometheus) -> None:
    """Nor those that a key may ask for and nobody has."""
    quota = Quota("memory://", limits=["100000 requests/day"], telemetry=metrics)
    inner = httpx.MockTransport(
        lambda request: httpx.Response(404, json={"error": {"message": "no such model"}})
    )
    with httpx.Client(transport=quota.sync_transport(inner)) as client:
        for number in range(100):
            client.post(
                "https://api.openai.com/v1/chat/completions", json={**CHAT, "model": f"nobodys-{number}"}
            )
    quota.close()
    found = samples(metrics.page().body.decode())
    calls = {key: value for key, value in found.items() if key[0] == "quotaware_calls_total"}
    assert calls == {("quotaware_calls_total", "org_app", "proj_app", "openai", OTHER, "404"): 100}


def test_however_many_there_are_the_series_are_bounded() -> None:
    found = Series(models=3, series=10)
    seen = {
        found.of(Place(f"org{org}", None, f"p{project}"), "openai", f"m{model}", answered=True)
        for org in range(5)
        for project in range(5)
        for model in range(5)
    }
    assert len(seen) == 11
    assert REST in seen
    assert {labels.model for labels in seen} <= {"m0", "m1", "m2", OTHER}
    assert found.name("openai", "m1") == "m1"
    assert found.name("openai", "another") == OTHER
    assert series.MODELS <= 1000
    assert series.SERIES <= 5000


def test_names_that_cannot_be_written_do_not_break_the_page(metrics: Prometheus) -> None:
    """S16."""
    quota = Quota(
        "memory://", limits=["9 requests/day"], unknown_model={"input": 1, "output": 1}, telemetry=metrics
    )
    key = "qw_live_" + "Q" * 40
    names = [
        "\ud800",
        'a"} 1\nquotaware_calls_total 7',
        "x" * 5000,
        key,
        "__proto__",
        "\x00",
        "😀",
        "a\u2028b",
    ]
    for name in names:
        try:
            with quota.call(provider="openai", model=name, input=1, max_output=1):
                pass
        except ApiError:
            pass
    text = metrics.page().body.decode()
    quota.close()
    assert key not in text
    calls = [key for key in samples(text) if key[0] == "quotaware_calls_total"]
    assert len(calls) == len(names) - 1  # NUL and a lone surrogate are both what cannot be shown
    assert all(len(line) < 600 for line in text.split("\n"))


@pytest.mark.slow
@pytest.mark.bounded
def test_one_scrape_tells_of_all_processes(tmp_path: Path) -> None:
    script = """
import os, sys
from prometheus_client import Counter
from quotaware import Quota
from quotaware.core.bounds import Call
from quotaware.integrations.prometheus import KINDS, WHOSE, Prometheus
Counter("the_apps_own", "x").inc()
metrics = Prometheus()
quota = Quota("memory://", limits=["100 requests/day"], telemetry=metrics)
with quota.call(provider="openai", model="gpt-4.1", input=5, max_output=5) as call:
    call.used(input=5, output=5)
if sys.argv[1:]:
    sys.stdout.buffer.write(metrics.page().body)
"""
    env = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for last in ([], [], ["show"]):
        done = subprocess.run(
            [sys.executable, "-c", script, *last], env=env, check=True, capture_output=True, text=True
        )
    found = samples(done.stdout)
    assert found["quotaware_calls_total", "org_app", "proj_app", "openai", "gpt-4.1", "200"] == 3
    assert found["quotaware_store_up",] == 1
    assert "the_apps_own" not in done.stdout


def test_what_cannot_be_told_disturbs_no_call(metrics: Prometheus, caplog: pytest.LogCaptureFixture) -> None:
    quota = Quota("memory://", limits=["9 requests/day"], telemetry=[Broken(), metrics])
    with quota.call(provider="openai", model="gpt-4.1", input=1, max_output=1):
        pass
    quota.close()
    assert samples(metrics.page().body.decode())["quotaware_decision_seconds_count", "let_go"] == 1
    assert "an observer failed" in caplog.text


class Broken:
    def begun(self, begun: object) -> None:
        raise RuntimeError("an observer's own fault")

    def refused(self, refused: object) -> None:
        raise RuntimeError

    def late(self, late: object) -> None:
        raise RuntimeError

    def observe(self, health: object, stats: object) -> None:
        """Nothing yet."""
