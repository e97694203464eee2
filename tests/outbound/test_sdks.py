"""What the openai and anthropic SDKs make of a metered call, of a denial, and of a provider that fails."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import anthropic
import anyio
import httpx
import httpx2
import openai
import pytest

from quotaware import Quota
from quotaware.testing import FakeProvider, Fault, Hang, Reset, Status
from tests.outbound.wire import CLAUDE, MODEL, chat, message, records
from tests.support import FakeClock

pytestmark = pytest.mark.anyio


class Sdk:
    """One client of an SDK; `ask` and `stream` are awaited in either world."""

    def __init__(self, name: str, sync: bool) -> None:
        self.name, self.sync = name, sync
        self.module = {"openai": openai, "anthropic": anthropic}[name]
        self.library = {"openai": httpx, "anthropic": httpx2}[name]
        kind = self.library.Client if sync else self.library.AsyncClient
        self.http = kind(verify=False, trust_env=False)

    def __str__(self) -> str:
        return f"{self.name}-{'sync' if self.sync else 'async'}"

    def client(self, provider: FakeProvider, **options: Any) -> Any:
        name = {"openai": "OpenAI", "anthropic": "Anthropic"}[self.name]
        url = provider.url + ("/v1" if self.name == "openai" else "")
        kind = getattr(self.module, name if self.sync else f"Async{name}")
        return kind(api_key="x", base_url=url, http_client=self.http, **options)

    async def ask(self, client: Any, **more: Any) -> Any:
        create = client.chat.completions.create if self.name == "openai" else client.messages.create
        answer = create(**((chat() if self.name == "openai" else message()) | more))
        return answer if self.sync else await answer

    async def text(self, client: Any, **more: Any) -> str:
        """The text of a streamed answer, as an app collects it."""
        stream, said = await self.ask(client, stream=True, **more), []
        if self.sync:
            said.extend(map(self._said, stream))
        else:
            said.extend([self._said(event) async for event in stream])
        return "".join(said)

    def _said(self, event: Any) -> str:
        if self.name == "openai":
            return (
                event.choices[0].delta.content or ""
            )  # an app looks no further: no event is without a choice
        return event.delta.text if event.type == "content_block_delta" else ""


KINDS = [("openai", True), ("openai", False), ("anthropic", True), ("anthropic", False)]


@pytest.fixture(params=KINDS, ids=lambda kind: f"{kind[0]}-{'sync' if kind[1] else 'async'}")
async def sdk(request: pytest.FixtureRequest) -> Any:
    made = Sdk(*request.param)
    yield made
    if made.sync:
        made.http.close()
    else:
        await made.http.aclose()


async def test_answers_and_streams_are_metered_and_read_as_ever(
    provider: FakeProvider, quota: Quota, sdk: Sdk
) -> None:
    client = sdk.client(provider)
    answer = await sdk.ask(client)
    assert await sdk.text(client) == "tok " * 16
    told = answer.usage.completion_tokens if sdk.name == "openai" else answer.usage.output_tokens
    assert told == 16
    left = records(quota)
    assert [(record.usage.output, record.quality, record.stream) for record in left] == [
        (16, "exact", False),
        (16, "exact", True),
    ]
    assert left[0].cost == left[1].cost > 0


async def test_the_helpers_of_the_sdks_work(provider: FakeProvider, quota: Quota, sdk: Sdk) -> None:
    """Raw and streaming responses, event helpers: they look at the HTTP answer itself."""
    client = sdk.client(provider)
    create = client.chat.completions if sdk.name == "openai" else client.messages
    body = chat() if sdk.name == "openai" else message()
    if sdk.sync:
        assert create.with_raw_response.create(**body).parse().model == body["model"]
        with create.with_streaming_response.create(**body) as response:
            assert "".join(response.iter_text()).startswith("{")
        with create.stream(**body) as stream:
            events = [event.type for event in stream]
    else:
        raw = (await create.with_raw_response.create(**body)).parse()
        assert (await raw if inspect.isawaitable(raw) else raw).model == body["model"]
        async with create.with_streaming_response.create(**body) as response:
            assert "".join([text async for text in response.iter_text()]).startswith("{")
        async with create.stream(**body) as stream:
            events = [event.type async for event in stream]
    assert len(events) > 16
    assert [record.quality for record in records(quota)] == ["exact"] * 3


# denials


def over_budget(_: Sdk) -> Quota:
    quota = Quota(limits=["$0.01/month"], clock=FakeClock())
    with quota.call(provider="openai", model=MODEL, input=1, max_output=1200) as call:
        call.used(output=1200)
    return quota


def over_rate(_: Sdk) -> Quota:
    quota = Quota(limits=["1 requests/minute"], clock=FakeClock())
    with quota.call(provider="openai", model=MODEL):
        pass
    return quota


def nobody(_: Sdk) -> Quota:
    return Quota()


def without_price(sdk: Sdk) -> Quota:
    return Quota(limits=["$1/month"], prices={}, unknown_model="deny")


DENIALS: dict[str, tuple[Callable[[Sdk], Quota], str, str, str, dict[str, Any]]] = {
    "budget": (
        over_budget,
        "RateLimitError",
        "quota_exceeded",
        "budget_exceeded",
        {"current_usage_usd": 0.0096, "limit_usd": 0.01, "reset_date": "2026-07-01T00:00:00Z"},
    ),
    "rate": (
        over_rate,
        "RateLimitError",
        "rate_limit_exceeded",
        "rate_limit_exceeded",
        {"retry_after_seconds": 60},
    ),
    "nobody": (nobody, "PermissionDeniedError", "permission_denied", "unattributed", {}),
    "no price": (without_price, "PermissionDeniedError", "permission_denied", "price_unknown", {}),
}


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("denial", DENIALS)
async def test_a_denial_is_the_sdks_own_exception_after_one_try(
    provider: FakeProvider, sdk: Sdk, denial: str, streamed: bool
) -> None:
    """Type, message, code and figures are ours; nothing reaches the wire, whatever `max_retries` says."""
    make, error, type_, code, figures = DENIALS[denial]
    quota, asked = make(sdk), []
    quota.instrument()
    before, hook = len(records(quota)), asked.append

    async def async_hook(request: Any) -> None:
        asked.append(request)

    sdk.http.event_hooks = {"request": [hook if sdk.sync else async_hook]}
    try:
        client = sdk.client(provider, max_retries=3)
        more = {"model": "no-such-model"} if denial == "no price" else {}
        with pytest.raises(getattr(sdk.module, error)) as raised:
            await sdk.ask(client, stream=streamed, **more)
        body = raised.value.response.json()["error"]
        assert (body["type"], body["code"]) == (type_, code)
        assert body["message"] in str(raised.value)
        assert {name: body.get(name) for name in figures} == figures
        if sdk.name == "openai":
            assert (raised.value.type, raised.value.code, raised.value.body) == (type_, code, body)
        else:
            assert (raised.value.type, raised.value.body["error"]) == (type_, body)
        assert (len(asked), provider.requests) == (1, 0)
        assert raised.value.request_id == body["request_id"]
        assert len(records(quota)) == before
    finally:
        quota.close()


async def test_a_key_that_nobody_knows_is_an_authentication_error(provider: FakeProvider, sdk: Sdk) -> None:
    from quotaware.tenancy import keys

    quota = Quota()
    quota.instrument()
    try:
        with (
            quota.acting_as(key=keys.make("live")),
            pytest.raises(sdk.module.AuthenticationError, match="Invalid API key"),
        ):
            await sdk.ask(sdk.client(provider))
        assert provider.requests == 0
    finally:
        quota.close()


async def test_a_store_that_is_away_is_a_server_error_after_one_try(provider: FakeProvider, sdk: Sdk) -> None:
    """503 store_unavailable: cannot tell is not the same as over the limit."""
    quota = Quota(limits=["$1/day"])
    quota.store.close()
    quota.instrument()
    try:
        with pytest.raises(sdk.module.InternalServerError) as raised:
            await sdk.ask(sdk.client(provider, max_retries=3))
        assert raised.value.response.status_code == 503
        assert raised.value.response.json()["error"]["type"] == "store_unavailable"
        assert provider.requests == 0
    finally:
        quota.uninstrument()


# I-21


FAULTS: dict[str, tuple[Fault, int]] = {
    "429": (Status(429, retry_after=0.001), 429),
    "500": (Status(500), 500),
    "503": (Status(503), 503),
    "timeout": (Hang(), 0),
    "reset": (Reset(), 0),
}


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The SDKs sleep between tries; here they do not."""
    for module in (openai, anthropic):
        monkeypatch.setattr(module._base_client, "INITIAL_RETRY_DELAY", 0.0)
        monkeypatch.setattr(module._base_client, "MAX_RETRY_DELAY", 0.0)
        monkeypatch.setattr(module._constants, "INITIAL_RETRY_DELAY", 0.0)


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("retries", [0, 1, 2, 3])
async def test_each_try_of_the_sdk_is_a_call_of_its_own(
    provider: FakeProvider, quota: Quota, sdk: Sdk, fault: str, retries: int
) -> None:
    """I-21: wire attempts = records; nothing is charged for a try that brought an error; each counts as a request."""
    kind, status = FAULTS[fault]
    provider.fail(*[kind] * (retries + 1))
    timeout = sdk.library.Timeout(10, read=0.05 if fault == "timeout" else 10)
    client = sdk.client(provider, max_retries=retries, timeout=timeout)
    with pytest.raises(sdk.module.APIError):
        await sdk.ask(client)
    await anyio.to_thread.run_sync(provider.wait_requests, retries + 1)
    left = records(quota)
    assert provider.requests == len(left) == retries + 1
    assert {(record.status, record.usage.output) for record in left} == {(status, 0)}
    if status:
        assert {(record.cost, record.quality) for record in left} == {(0, "exact")}
    else:  # it was sent, and the provider may have read it
        assert {record.quality for record in left} == {"partial"}
        assert len({record.cost for record in left}) == 1
    used = quota.store.used
    assert [used[key] for key in used if "/requests/" in key] == [retries + 1]


@pytest.mark.usefixtures("_no_waiting")
@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "streamed"])
async def test_a_call_that_succeeds_at_the_third_try_is_charged_once(
    provider: FakeProvider, quota: Quota, sdk: Sdk, streamed: bool
) -> None:
    """I-21."""
    provider.fail(Status(500), Reset())
    client = sdk.client(provider, max_retries=2, timeout=10)
    if streamed:
        assert await sdk.text(client) == "tok " * 16
    else:
        await sdk.ask(client)
    left = records(quota)
    assert [(record.status, record.usage.output) for record in left] == [(500, 0), (0, 0), (200, 16)]
    assert [record.cost > 0 for record in left] == [False, True, True]


@pytest.mark.usefixtures("_no_waiting")
async def test_a_retry_that_does_not_fit_is_denied(provider: FakeProvider, sdk: Sdk) -> None:
    """I-21: a request rate counts each try; the denial ends the SDK's tries."""
    quota = Quota(limits=["2 requests/day"])
    quota.instrument()
    provider.always(Status(500))
    try:
        with pytest.raises(sdk.module.RateLimitError, match="Rate limit of 2 req/day exceeded"):
            await sdk.ask(sdk.client(provider, max_retries=5))
        assert provider.requests == len(records(quota)) == 2
    finally:
        quota.close()


# both worlds


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_a_sync_sdk_call_made_on_a_loops_own_thread_works(
    provider: FakeProvider, quota: Quota, name: str, backend: str
) -> None:
    sdk = Sdk(name, sync=True)

    async def main() -> None:
        client = sdk.client(provider)
        await sdk.ask(client)
        assert await sdk.text(client) == "tok " * 16

    anyio.run(main, backend=backend)
    sdk.http.close()
    assert [record.quality for record in records(quota)] == ["exact", "exact"]


@pytest.mark.parametrize("name", ["openai", "anthropic"])
def test_the_async_sdks_work_on_trio(provider: FakeProvider, quota: Quota, name: str) -> None:
    async def main() -> None:
        sdk = Sdk(name, sync=False)
        client = sdk.client(provider)
        await sdk.ask(client)
        await sdk.http.aclose()

    anyio.run(main, backend="trio")
    assert [record.model for record in records(quota)] == [chat()["model"] if name == "openai" else CLAUDE]
