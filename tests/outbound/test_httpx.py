"""Which clients are metered, by whom, and once."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import ModuleType
from typing import Any

import anyio
import httpx
import httpx2
import pytest
from anthropic import Anthropic, AsyncAnthropic
from openai import AsyncOpenAI, OpenAI

from quotaware import ConfigurationError, Quota
from quotaware.testing import FakeProvider
from tests.outbound.wire import CLAUDE, MODEL, OPENAI, Way, chat, completion, message, records

KINDS = (httpx.Client, httpx.AsyncClient, httpx2.Client, httpx2.AsyncClient)
pytestmark = pytest.mark.anyio


def limited(**more: Any) -> Quota:
    return Quota(limits=["$1000/month"], **more)


def count(quota: Quota) -> int:
    return len(records(quota))


def answering(way: Way) -> Any:
    return way.library.MockTransport(lambda request: way.library.Response(200, json=completion()))


# the hook


async def test_clients_made_before_and_after_are_metered(provider: FakeProvider, way: Way) -> None:
    quota = limited()
    before = way.client()
    quota.instrument()
    try:
        after = way.client()
        for client in (before, after):
            await way.post(client, provider.url + OPENAI, chat())
            await way.close(client)
        assert [record.usage.output for record in records(quota)] == [16, 16]
    finally:
        quota.close()


async def test_a_subclass_is_metered(provider: FakeProvider, quota: Quota, way: Way) -> None:
    base = way.library.Client if way.sync else way.library.AsyncClient
    kind = type("Own", (base,), {"note": "an app's own client"})
    client = kind(verify=False)
    await way.post(client, provider.url + OPENAI, chat())
    await way.close(client)
    assert count(quota) == 1


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
def test_the_functions_of_the_module_are_metered(
    provider: FakeProvider, quota: Quota, library: ModuleType
) -> None:
    library.post(provider.url + OPENAI, json=chat(), verify=False)
    with library.stream("POST", provider.url + OPENAI, json=chat(stream=True), verify=False) as response:
        response.read()
    assert [record.stream for record in records(quota)] == [False, True]


def test_uninstrument_leaves_the_classes_as_they_were() -> None:
    """Whatever the order in which several quotas come and go, and however often each says it."""
    before = [dict(vars(kind)) for kind in KINDS]
    one, other = limited(), limited()
    for quota in (one, other, one):
        quota.instrument()
    assert all(dict(vars(kind)) != was for kind, was in zip(KINDS, before, strict=True))
    one.uninstrument()
    one.uninstrument()
    other.close()
    assert [dict(vars(kind)) for kind in KINDS] == before


def test_what_another_library_patched_on_top_of_the_hook_stays(provider: FakeProvider) -> None:
    """Taking the hook out from below would undo the other's patch as well; it lets everything pass instead."""
    quota, asked = limited(), []
    original = httpx.Client._transport_for_url
    quota.instrument()
    ours = httpx.Client._transport_for_url

    def theirs(client: httpx.Client, url: httpx.URL) -> Any:
        asked.append(url.path)
        return ours(client, url)

    httpx.Client._transport_for_url = theirs
    try:
        quota.uninstrument()
        assert httpx.Client._transport_for_url is theirs
        httpx.post(provider.url + OPENAI, json=chat(), verify=False)
        assert (count(quota), asked) == (0, [OPENAI])
        quota.instrument()
        httpx.post(provider.url + OPENAI, json=chat(), verify=False)
        assert count(quota) == 1
    finally:
        httpx.Client._transport_for_url = ours
        quota.close()
        assert httpx.Client._transport_for_url is original


async def test_an_uninstrumented_process_is_metered_no_more(provider: FakeProvider, way: Way) -> None:
    quota = limited()
    quota.instrument()
    client = way.client()
    quota.uninstrument()
    await way.post(client, provider.url + OPENAI, chat())
    await way.close(client)
    assert count(quota) == 0


async def test_of_two_quotas_the_bound_one_is_served_and_the_first_gets_the_rest(
    provider: FakeProvider, way: Way
) -> None:
    """And neither ever meters a call of the other's again."""
    first, second = limited(), limited()
    client = way.client()
    try:
        first.instrument()
        second.instrument()
        await way.post(client, provider.url + OPENAI, chat())
        assert (count(first), count(second)) == (1, 0)
        with second.acting_as(end_user="u"):
            await way.post(client, provider.url + OPENAI, chat())
        assert (count(first), count(second)) == (1, 1)
        first.uninstrument()
        await way.post(client, provider.url + OPENAI, chat())
        assert (count(first), count(second)) == (1, 2)
    finally:
        await way.close(client)
        first.close()
        second.close()


# explicit transports and clients


async def test_an_explicit_transport_meters_once(provider: FakeProvider, way: Way) -> None:
    quota = limited()
    inner = way.library.HTTPTransport() if way.sync else way.library.AsyncHTTPTransport()
    client = way.client(transport=way.metered_transport(quota, inner))
    try:
        await way.post(client, provider.url + OPENAI, chat())
        assert count(quota) == 1
        quota.instrument()
        await way.post(client, provider.url + OPENAI, chat())
        assert count(quota) == 2
    finally:
        await way.close(client)
        quota.close()


async def test_nested_transports_and_a_metered_client_under_the_hook_meter_once(way: Way) -> None:
    """A call is metered once, however many layers see it: the outermost does it."""
    quota = limited()
    transport = way.metered_transport(quota, way.metered_transport(quota, answering(way)))
    client = quota.metered(quota.metered(way.client(transport=transport)))
    quota.instrument()
    try:
        await way.post(client, "https://api.openai.com" + OPENAI, chat())
        await way.close(client)
        assert count(quota) == 1
    finally:
        quota.close()


async def test_layers_of_two_quotas_meter_once(way: Way) -> None:
    """The hook, which serves the bound quota, is further out than the other's transport."""
    one, other = limited(), limited()
    client = way.client(transport=way.metered_transport(one, answering(way)))
    other.instrument()
    try:
        with other.acting_as(end_user="u"):
            await way.post(client, "https://api.openai.com" + OPENAI, chat())
        await way.close(client)
        assert (count(one), count(other)) == (0, 1)
    finally:
        other.close()
        one.close()


@pytest.mark.parametrize("hooked", [False, True], ids=["alone", "hooked"])
async def test_mounts_are_metered_and_a_mount_of_none_goes_to_the_default(way: Way, hooked: bool) -> None:
    quota = limited()
    mounts = {"all://api.openai.com": answering(way), "all://api.anthropic.com": None}
    client = quota.metered(way.mock(lambda request: way.library.Response(500), mounts=mounts))
    if hooked:
        quota.instrument()
    try:
        await way.post(client, "https://api.openai.com" + OPENAI, chat())
        await way.post(client, "https://api.anthropic.com/v1/messages", message())
        await way.close(client)
        assert [record.status for record in records(quota)] == [200, 500]
    finally:
        quota.close()


@pytest.mark.parametrize("hooked", [False, True], ids=["metered", "hooked"])
async def test_calls_through_a_proxy_are_metered(provider: FakeProvider, way: Way, hooked: bool) -> None:
    """The provider plays the proxy: it is asked for the whole URL of a host that does not exist."""
    quota = limited()
    client = way.client(proxy=provider.url)
    if hooked:
        quota.instrument()
    else:
        quota.metered(client)
    try:
        answer = await way.post(client, "http://llm.invalid" + OPENAI, chat())
        await way.close(client)
        assert (answer.status_code, provider.requests, count(quota)) == (200, 1, 1)
    finally:
        quota.close()


async def test_entering_and_leaving_a_metered_client_opens_and_closes_what_is_inside(way: Way) -> None:
    quota, said = limited(), []

    class Transport:
        def __enter__(self) -> None:
            said.append("opened")

        def __exit__(self, *exc: Any) -> None:
            said.append("closed")

        async def __aenter__(self) -> None:
            said.append("opened")

        async def __aexit__(self, *exc: Any) -> None:
            said.append("closed")

    client = quota.metered(way.client(transport=Transport()))
    if way.sync:
        with client:
            pass
    else:
        async with client:
            pass
    assert said == ["opened", "closed"]
    quota.close()


async def test_an_sdk_client_is_metered_as_a_whole(provider: FakeProvider) -> None:
    quota = limited()
    openai = quota.metered(
        OpenAI(api_key="x", base_url=provider.url + "/v1", http_client=httpx.Client(verify=False))
    )
    openai.chat.completions.create(**chat())
    openai.with_options(max_retries=0).chat.completions.create(**chat())
    anthropic = quota.metered(
        Anthropic(api_key="x", base_url=provider.url, http_client=httpx2.Client(verify=False))
    )
    anthropic.messages.create(**message())
    async_openai = quota.metered(
        AsyncOpenAI(api_key="x", base_url=provider.url + "/v1", http_client=httpx.AsyncClient(verify=False))
    )
    await async_openai.chat.completions.create(**chat())
    async_anthropic = quota.metered(
        AsyncAnthropic(api_key="x", base_url=provider.url, http_client=httpx2.AsyncClient(verify=False))
    )
    await async_anthropic.messages.create(**message())
    for client in (openai, anthropic):
        client.close()
    for client in (async_openai, async_anthropic):
        await client.close()
    assert [record.model for record in records(quota)] == [MODEL, MODEL, CLAUDE, MODEL, CLAUDE]
    quota.close()


@pytest.mark.parametrize("other", [object(), None, "client", 5, type("Carries", (), {"_client": object()})()])
def test_anything_else_cannot_be_metered(other: object) -> None:
    with pytest.raises(
        ConfigurationError, match="neither is nor carries a client of httpx or httpx2"
    ) as raised:
        limited().metered(other)
    assert raised.value.field == "client"


# one call, one record


async def test_a_request_object_sent_twice_at_once_is_two_calls(quota: Quota, way: Way) -> None:
    """What marks a call as metered on its way in must not hide another one with the same request."""
    client = way.mock(lambda request: way.library.Response(200, json=completion()))
    request = client.build_request("POST", "https://api.openai.com" + OPENAI, json=chat())
    if way.sync:
        meeting = threading.Barrier(2)

        def answer(request: Any) -> Any:
            meeting.wait(10)
            return way.library.Response(200, json=completion())

        client._transport.handler = answer
        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(anyio.to_thread.run_sync, client.send, request)
    else:
        arrived, together = [], anyio.Event()

        async def answer_async(request: Any) -> Any:
            arrived.append(request)
            if len(arrived) == 2:
                together.set()
            await together.wait()
            return way.library.Response(200, json=completion())

        client._transport.handler = answer_async
        with anyio.fail_after(10):
            async with anyio.create_task_group() as group:
                for _ in range(2):
                    group.start_soon(client.send, request)
    assert count(quota) == 2
    assert request.extensions.keys() == {"timeout"}


async def test_a_transport_that_makes_a_call_of_its_own_is_metered_for_both(quota: Quota, way: Way) -> None:
    """A gateway that asks one model before it sends on to another."""
    inner = way.mock(lambda request: way.library.Response(200, json=completion(1)))
    if way.sync:

        def gateway(request: Any) -> Any:
            inner.post("https://api.openai.com" + OPENAI, json=chat())
            return way.library.Response(200, json=completion(2))

        client = way.mock(gateway)
    else:

        async def async_gateway(request: Any) -> Any:
            await inner.post("https://api.openai.com" + OPENAI, json=chat())
            return way.library.Response(200, json=completion(2))

        client = way.mock(async_gateway)
    await way.post(client, "https://api.openai.com" + OPENAI, chat())
    assert sorted(record.usage.output for record in records(quota)) == [1, 2]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_each_hop_of_a_redirect_is_judged_and_nothing_is_charged_for_the_redirect(
    provider: FakeProvider, quota: Quota, way: Way, status: int
) -> None:
    """A hop that is still a call is one; where the method becomes GET there is no second call."""
    from quotaware.testing import Redirect

    provider.fail(Redirect(provider.url + "/other" + OPENAI, status))
    client = way.client(follow_redirects=True)
    answer = await way.post(client, provider.url + OPENAI, chat())
    await way.close(client)
    assert [hop.status_code for hop in answer.history] == [status]
    left = [(record.status, record.usage.output, record.cost > 0) for record in records(quota)]
    if status in {307, 308}:
        assert left == [(status, 0, False), (200, 16, True)]
        assert provider.calls[0].raw == provider.calls[1].raw
    else:
        assert left == [(status, 0, False)]


async def test_a_redirect_to_a_place_that_is_over_its_limit_is_denied_there(
    provider: FakeProvider, way: Way
) -> None:
    from quotaware.testing import Redirect

    quota = Quota(limits=["1 requests/day"])
    quota.instrument()
    provider.fail(Redirect(provider.url + "/other" + OPENAI))
    client = way.client(follow_redirects=True)
    try:
        answer = await way.post(client, provider.url + OPENAI, chat())
        await way.close(client)
        assert (answer.status_code, [hop.status_code for hop in answer.history]) == (429, [307])
        assert (provider.requests, count(quota)) == (1, 1)
    finally:
        quota.close()


# denials


async def test_a_denied_call_never_reaches_the_wire(provider: FakeProvider, way: Way) -> None:
    """Its answer is one as a network would give it: it has to be read, then it is closed and `elapsed` is known."""
    quota = Quota(limits=["1 requests/day"])
    quota.instrument()
    client = way.client()
    try:
        await way.post(client, provider.url + OPENAI, chat())
        denied = await way.post(client, provider.url + OPENAI, chat())
        assert (denied.status_code, provider.requests, count(quota)) == (429, 1, 1)
        assert denied.json()["error"]["type"] == "rate_limit_exceeded"
        assert denied.headers["x-should-retry"] == "false"
        assert denied.headers["quotaware-denied"] == denied.json()["error"]["request_id"]
        assert int(denied.headers["retry-after"]) > 0
        assert denied.elapsed.total_seconds() >= 0
        assert denied.is_closed

        unread = await way.open(client, provider.url + OPENAI, chat(stream=True))
        assert await way.read(unread) == await way.read(unread) == unread.content
        with pytest.raises(way.library.HTTPStatusError, match="429"):
            unread.raise_for_status()
        assert (provider.requests, count(quota)) == (1, 1)
    finally:
        await way.close(client)
        quota.close()


async def test_a_denial_passes_the_hooks_and_the_auth_flow_of_the_client(
    provider: FakeProvider, way: Way
) -> None:
    quota = Quota(limits=["1 concurrent"], unattributed="deny")
    said: list[Any] = []

    async def hook(thing: Any) -> None:
        said.append(getattr(thing, "status_code", "request"))

    hooks = [lambda thing: said.append(getattr(thing, "status_code", "request"))] if way.sync else [hook]

    class Retrying(way.library.Auth):
        requires_response_body = True

        def auth_flow(self, request: Any) -> Any:
            request.headers["authorization"] = "Bearer first"
            response = yield request
            if response.status_code == 401 and response.json()["error"]["type"] == "authentication_error":
                request.headers["authorization"] = "Bearer second"
                yield request

    client = way.client(auth=Retrying(), event_hooks={"request": hooks, "response": hooks})
    quota.instrument()
    try:
        with quota.acting_as(key=_unknown_key()):
            denied = await way.post(client, provider.url + OPENAI, chat())
            digest = await way.post(
                client, provider.url + OPENAI, chat(), auth=way.library.DigestAuth("u", "p")
            )
        await way.close(client)
        assert (denied.status_code, digest.status_code, provider.requests) == (401, 401, 0)
        assert denied.request.headers["authorization"] == "Bearer second"
        assert said == ["request", 401] * 3
    finally:
        quota.close()


def _unknown_key() -> str:
    from quotaware.tenancy import keys

    return keys.make("live")


# both worlds


@pytest.mark.parametrize("library", [httpx, httpx2], ids=lambda library: library.__name__)
@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_sync_call_on_the_thread_of_a_running_loop_works(
    provider: FakeProvider, quota: Quota, library: ModuleType, backend: str
) -> None:
    """It blocks the loop, as it would without us, and does not deadlock; a denial comes at once."""

    async def main() -> None:
        with library.Client(verify=False) as client:
            assert client.post(provider.url + OPENAI, json=chat()).status_code == 200
            with client.stream("POST", provider.url + OPENAI, json=chat(stream=True)) as response:
                assert response.read().endswith(b"[DONE]\n\n")

    anyio.run(main, backend=backend)
    assert count(quota) == 2


@pytest.mark.parametrize("sdk", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["alone", "sdk"])
def test_after_alias_httpx_the_one_library_is_metered_once(provider: FakeProvider, sdk: bool) -> None:
    """`httpx2.alias_httpx()`: `import httpx` is httpx2 then, for the SDKs too."""
    script = f"""
import httpx2
httpx2.alias_httpx()
import httpx
assert httpx is httpx2
from quotaware import Quota
quota = Quota(limits=["$1/day"])
quota.instrument()
body = {chat()!r}
assert httpx.post({provider.url + OPENAI!r}, json=body, verify=False).status_code == 200
assert httpx2.post({provider.url + OPENAI!r}, json=body, verify=False).status_code == 200
if {sdk}:
    from openai import OpenAI
    client = OpenAI(api_key="x", base_url={provider.url + "/v1"!r}, http_client=httpx.Client(verify=False))
    assert client.chat.completions.create(**body).usage.completion_tokens == 16
assert [record.usage.output for record in quota.blocking.usage.records()] == [16] * {2 + sdk}
quota.close()
assert "quotaware" not in httpx.Client._transport_for_url.__module__
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert provider.requests == 2 + sdk


# faults of ours


@pytest.mark.parametrize(
    "where", ["quotaware.providers.openai_chat.OpenAIChat.read", "quotaware.engine.Engine.bound"]
)
async def test_a_fault_of_ours_lets_the_call_pass_and_is_counted(
    provider: FakeProvider,
    way: Way,
    where: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Rule 10: it never breaks a call that would have been allowed."""

    def broken(*args: Any, **more: Any) -> Any:
        raise ZeroDivisionError("a fault of ours")

    quota = limited()
    quota.instrument()
    monkeypatch.setattr(where, broken)
    client = way.client()
    try:
        answer = await way.post(client, provider.url + OPENAI, chat())
        assert (answer.status_code, provider.requests) == (200, 1)
        assert provider.calls[0].raw == answer.request.content
        assert quota.stats["faults"] == 1
        assert "passes unmetered" in caplog.text
    finally:
        await way.close(client)
        quota.close()


async def test_a_fault_after_the_reserve_holds_nothing(
    provider: FakeProvider, quota: Quota, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call passes unmetered, so what was reserved for it is let go."""

    def broken(*args: Any) -> Any:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("quotaware.providers.openai_chat.OpenAIChat.ask_usage", broken)
    client = way.client()
    answer = await way.post(client, provider.url + OPENAI, chat(stream=True))
    await way.close(client)
    assert answer.status_code == 200
    assert [(record.status, record.cost) for record in records(quota)] == [(0, 0)]
    assert quota.engine.tally.pop("faults") == 1
