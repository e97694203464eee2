"""What a denied call looks like: to the SDK that made it, and to the caller of the host that let it escape."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anthropic
import httpx
import openai
import pytest

from quotaware import Quota
from quotaware.tenancy import keys
from quotaware.testing import FakeProvider
from tests.acceptance.apps import MODELS, serving
from tests.acceptance.conftest import Audited

MESSAGES: Any = [{"role": "user", "content": "hello"}]
RETRIES = 4
"""What the SDKs would try again, did our answer not tell them to stop."""


def chat(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(model=MODELS["openai"], messages=MESSAGES, max_tokens=100)


def chat_stream(client: openai.OpenAI) -> Any:
    return client.chat.completions.create(
        model=MODELS["openai"], messages=MESSAGES, max_tokens=100, stream=True
    )


def embeddings(client: openai.OpenAI) -> Any:
    return client.embeddings.create(model="text-embedding-3-small", input="hello " * 20)


def message(client: anthropic.Anthropic) -> Any:
    return client.messages.create(model=MODELS["anthropic"], messages=MESSAGES, max_tokens=100)


def message_stream(client: anthropic.Anthropic) -> Any:
    return client.messages.create(model=MODELS["anthropic"], messages=MESSAGES, max_tokens=100, stream=True)


CALLS = [
    (openai, chat),
    (openai, chat_stream),
    (openai, embeddings),
    (anthropic, message),
    (anthropic, message_stream),
]


def sync_client(sdk: Any, url: str) -> Any:
    kind, base = (sdk.OpenAI, f"{url}/v1") if sdk is openai else (sdk.Anthropic, url)
    http = sdk.DefaultHttpxClient(verify=False)
    return kind(api_key="none", base_url=base, http_client=http, max_retries=RETRIES)


def async_client(sdk: Any, url: str) -> Any:
    kind, base = (sdk.AsyncOpenAI, f"{url}/v1") if sdk is openai else (sdk.AsyncAnthropic, url)
    http = sdk.DefaultAsyncHttpxClient(verify=False)
    return kind(api_key="none", base_url=base, http_client=http, max_retries=RETRIES)


def error_of(denied: openai.APIStatusError | anthropic.APIStatusError) -> dict[str, Any]:
    """Our error as the SDK's exception carries it: OpenAI's unpacks `error`, Anthropic's does not."""
    body: Any = denied.body
    return dict(body.get("error", body))


REFUSALS: list[tuple[str, dict[str, Any], int, str, str, dict[str, Any]]] = [
    (
        "$0.0000001/month",
        {},
        429,
        "quota_exceeded",
        "Monthly budget of $0.0000001 exceeded for project 'app'",
        {"code": "budget_exceeded", "current_usage_usd": 0.0, "limit_usd": 1e-07},
    ),
    (
        "0 requests/minute",
        {},
        429,
        "rate_limit_exceeded",
        "Rate limit of 0 req/min exceeded",
        {"code": "rate_limit_exceeded"},
    ),
    (
        "",
        {"unattributed": "deny"},
        403,
        "permission_denied",
        "This LLM call belongs to nobody",
        {"code": "unattributed"},
    ),
]


@pytest.mark.parametrize(("sdk", "call"), CALLS)
@pytest.mark.parametrize(("limit", "settings", "status", "kind", "text", "fields"), REFUSALS)
def test_the_sync_sdks_own_exception_carries_our_error_after_one_try(
    audited: Audited,
    fake_provider: FakeProvider,
    sdk: Any,
    call: Callable[[Any], Any],
    limit: str,
    settings: dict[str, Any],
    status: int,
    kind: str,
    text: str,
    fields: dict[str, Any],
) -> None:
    """I-21: the SDK would try five times; `x-should-retry: false` makes it one, and nothing reaches the wire."""
    quota, _ = audited(*filter(None, [limit]), **settings)
    with sync_client(sdk, fake_provider.url) as client:
        quota.metered(client)
        with pytest.raises(_exception(sdk, status)) as denied:
            call(client)
    _carries(denied.value, kind, text, fields)
    assert quota.stats["denied"] == 1
    assert fake_provider.requests == 0


@pytest.mark.anyio
@pytest.mark.parametrize(("sdk", "call"), CALLS)
@pytest.mark.parametrize(("limit", "settings", "status", "kind", "text", "fields"), REFUSALS)
async def test_the_async_sdks_own_exception_carries_our_error_after_one_try(
    audited: Audited,
    fake_provider: FakeProvider,
    sdk: Any,
    call: Callable[[Any], Awaitable[Any]],
    limit: str,
    settings: dict[str, Any],
    status: int,
    kind: str,
    text: str,
    fields: dict[str, Any],
) -> None:
    quota, _ = audited(*filter(None, [limit]), **settings)
    async with async_client(sdk, fake_provider.url) as client:
        quota.metered(client)
        with pytest.raises(_exception(sdk, status)) as denied:
            await call(client)
    _carries(denied.value, kind, text, fields)
    assert quota.stats["denied"] == 1
    assert fake_provider.requests == 0


def _exception(sdk: Any, status: int) -> type[Exception]:
    return {429: sdk.RateLimitError, 403: sdk.PermissionDeniedError}[status]


def _carries(denied: Any, kind: str, text: str, fields: dict[str, Any]) -> None:
    error = error_of(denied)
    assert error["type"] == kind
    assert error["message"].startswith(text)
    assert {name: error[name] for name in fields} == fields
    assert text in str(denied)
    assert denied.response.headers["quotaware-denied"] == error["request_id"]


def test_an_sdks_retry_of_a_providers_error_is_a_call_of_its_own(
    audited: Audited, fake_provider: FakeProvider
) -> None:
    """I-21: each attempt on the wire has its own reservation; the failed ones cost nothing."""
    quota, _ = audited("$1/month", "100 requests/day")
    fake_provider.fail("500:0.01", "429:0.01", None)
    with sync_client(openai, fake_provider.url) as client:
        quota.metered(client)
        chat(client)
    records = list(quota.blocking.usage.records())
    assert [record.status for record in records] == [500, 429, 200]
    assert [record.cost > 0 for record in records] == [False, False, True]
    assert fake_provider.requests == 3


# What the host's caller sees

ASKED = {"prompt": "hello", "max_tokens": 100}


def ask(url: str, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return httpx.post(url + path, json=ASKED, headers=headers)


@pytest.mark.parametrize("path", ["/openai", "/anthropic"])
@pytest.mark.parametrize(
    ("limit", "kind", "fields", "resets"),
    [
        ("$0.0000001/month", "quota_exceeded", {"current_usage_usd", "limit_usd", "reset_date"}, False),
        ("1 request/minute", "rate_limit_exceeded", {"retry_after_seconds"}, True),
        ("1 request/day", "rate_limit_exceeded", {"retry_after_seconds"}, True),
    ],
)
def test_the_hosts_caller_gets_429_with_our_body_and_retry_after_where_it_helps(
    audited: Audited, path: str, limit: str, kind: str, fields: set[str], resets: bool
) -> None:
    quota, _ = audited(limit)
    provider = FakeProvider()
    with serving(quota, provider) as url:
        answers = [ask(url, path) for _ in range(2)]
    denied = answers[-1]
    error = denied.json()["error"]
    assert denied.status_code == 429
    assert denied.headers["content-type"] == "application/json"
    assert error["type"] == kind
    assert {"message", "code", "request_id", "limits", *fields} <= error.keys()
    assert ("retry-after" in denied.headers) is resets
    if resets:
        assert int(denied.headers["retry-after"]) == error["retry_after_seconds"] > 0
    assert provider.requests == int(resets)


class Team:
    """An organization with a project and a key, made the way teams are."""

    def __init__(self, audited: Audited, **key: Any) -> None:
        self.quota: Quota
        self.quota, self.store = audited()
        self.org = self.quota.bootstrap("StartupAI").organization_id
        self.tenancy = self.quota.blocking.tenancy
        team = self.tenancy.create_team(self.org, "engineering")
        project = self.tenancy.create_project(team.id, "ml-pipeline", limits=["$1/month"])
        self.key = self.tenancy.create_key(project.id, **key)
        self.headers = {"authorization": f"Bearer {self.key.secret}"}


@pytest.mark.parametrize("path", ["/openai", "/anthropic"])
@pytest.mark.parametrize(
    ("key", "code", "text"),
    [
        (
            {"permissions": ["embeddings:create"]},
            "missing_permission",
            "does not have 'chat:create' permission",
        ),
        ({"models": ["gpt-4o*"]}, "model_not_allowed", "is not allowed for key"),
        ({"addresses": ["10.0.0.0/8"]}, "address_not_allowed", "may not be used from this address"),
    ],
)
def test_the_hosts_caller_gets_403_for_what_its_key_may_not(
    audited: Audited, path: str, key: dict[str, Any], code: str, text: str
) -> None:
    team = Team(audited, **key)
    provider = FakeProvider()
    with serving(team.quota, provider) as url:
        answer = ask(url, path, team.headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (403, "permission_denied", code)
    assert text in error["message"]
    assert "request_id" in error
    assert provider.requests == 0


@pytest.mark.parametrize("path", ["/openai", "/anthropic"])
def test_a_key_that_may_is_served_and_its_secret_goes_nowhere(audited: Audited, path: str) -> None:
    """S3: our header is never in an upstream request, our secret in no answer."""
    team = Team(audited)
    provider = FakeProvider()
    with serving(team.quota, provider) as url:
        answer = ask(url, path, team.headers)
        records = list(team.quota.blocking.usage.records())
    assert answer.status_code == 200
    assert float(answer.headers["quotaware-cost-usd"]) > 0
    assert "ratelimit" in answer.headers
    assert [record.key for record in records] == [team.key.node.id]
    assert team.key.secret not in str(answer.headers) + answer.text
    (seen,) = provider.calls
    assert team.key.secret not in json.dumps(dict(seen.headers)) + seen.raw.decode()


@pytest.mark.parametrize(
    ("credential", "kind", "code", "text"),
    [
        ("qw_live_tooshort", "invalid_request", "invalid_key_format", "Invalid API key format"),
        ("unknown", "authentication_error", "invalid_api_key", "Invalid API key"),
        ("revoked", "authentication_error", "invalid_api_key", "Invalid API key"),
        ("somebody-elses-token", "invalid_request", "invalid_key_format", "Invalid API key format"),
    ],
)
def test_the_hosts_caller_gets_401_for_a_credential_that_is_none(
    audited: Audited, credential: str, kind: str, code: str, text: str
) -> None:
    """Malformed, made by nobody, revoked; and the host's own, once an LLM call is made with it."""
    team = Team(audited)
    if credential == "revoked":
        team.tenancy.revoke_key(team.org, team.key.node.id)
        credential = team.key.secret
    elif credential == "unknown":
        credential = keys.make("live")
    provider = FakeProvider()
    with serving(team.quota, provider) as url:
        answer = ask(url, "/openai", {"authorization": f"Bearer {credential}"})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (401, kind, code)
    assert error["message"] == text
    assert "retry-after" not in answer.headers
    assert provider.requests == 0


def test_a_revoked_key_stops_at_the_next_call(audited: Audited) -> None:
    """I-18 within a process: no call after the change is acknowledged, on a warm cache."""
    team = Team(audited)
    provider = FakeProvider()
    with serving(team.quota, provider) as url:
        before = ask(url, "/openai", team.headers)
        team.tenancy.revoke_key(team.org, team.key.node.id)
        after = ask(url, "/openai", team.headers)
    assert (before.status_code, after.status_code) == (200, 401)
    assert provider.requests == 1
