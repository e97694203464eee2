"""A dollar a day and a model whose longest answer costs more: calls that name no cap get one that fits."""

from __future__ import annotations

from typing import Any

import anthropic
import anyio
import openai
import pytest

from quotaware.core.bounds import max_output
from quotaware.core.money import NANO
from quotaware.core.prices import PriceBook
from quotaware.testing import FakeProvider
from tests.acceptance.apps import generated
from tests.acceptance.conftest import Audited

MODEL = "gpt-5-pro"
MESSAGES: Any = [{"role": "user", "content": "Tell me all of it."}]


@pytest.fixture
def provider() -> FakeProvider:
    return FakeProvider(output=(400, 4000), seed=11)


def test_the_models_longest_answer_costs_more_than_the_whole_limit() -> None:
    price = PriceBook().find(None, MODEL, 0)
    assert price is not None
    assert price.worst(0, max_output(MODEL)) > NANO


@pytest.mark.anyio
@pytest.mark.parametrize("callers", [1, 8])
async def test_calls_without_a_cap_go_through_until_the_dollar_is_nearly_spent(
    audited: Audited, provider: FakeProvider, callers: int
) -> None:
    """One after the other and eight at once: at least 90 % used, never over, a cap on each at the provider."""
    quota, store = audited("$1/day")
    outcomes: list[str | None] = []

    async def caller(client: openai.AsyncOpenAI) -> None:
        while True:
            try:
                await client.chat.completions.create(model=MODEL, messages=MESSAGES)
                outcomes.append("answered")
            except openai.RateLimitError as error:
                outcomes.append(error.type)
                return

    with provider.serve() as url:
        async with openai.AsyncOpenAI(
            api_key="none", base_url=f"{url}/v1", http_client=openai.DefaultAsyncHttpxClient(verify=False)
        ) as client:
            quota.metered(client)
            async with anyio.create_task_group() as group:
                for _ in range(callers):
                    group.start_soon(caller, client)
    quota.flush()

    assert outcomes[0] == "answered"
    assert outcomes.count("quota_exceeded") == callers
    assert outcomes.count("answered") == provider.requests == len(outcomes) - callers
    assert provider.requests > 4
    assert all(seen.cap is not None and seen.output <= seen.cap for seen in provider.calls)
    (used,) = store.used.values()
    assert 0.9 * NANO <= used <= NANO
    assert max(store.peaks.values()) <= NANO
    assert used == generated(provider)


@pytest.mark.parametrize(
    "named",
    [
        {"max_tokens": 900},
        {"max_completion_tokens": 900},
        {"max_tokens": 900, "stream": True, "stream_options": {"include_usage": True}},
    ],
)
def test_a_call_that_names_its_own_cap_goes_out_byte_for_byte(
    audited: Audited, provider: FakeProvider, named: dict[str, Any]
) -> None:
    """Also where it takes more than a quarter of what is left."""
    quota, store = audited("$1/day")
    left: list[bytes] = []
    http = openai.DefaultHttpxClient(verify=False)
    http.event_hooks = {"request": [lambda request: left.append(request.read())]}
    with (
        provider.serve() as url,
        openai.OpenAI(api_key="none", base_url=f"{url}/v1", http_client=http) as client,
    ):
        quota.metered(client)
        for _ in range(5):
            made = client.chat.completions.create(model=MODEL, messages=MESSAGES, **named)
            list(made)
        assert [seen.raw for seen in provider.calls] == left
        assert len(left) == 5
    quota.flush()
    assert sum(store.used.values()) == generated(provider)


def test_a_call_whose_own_cap_does_not_fit_any_more_is_denied_and_not_cut(
    audited: Audited, provider: FakeProvider
) -> None:
    quota, _ = audited("$1/day")
    with (
        provider.serve() as url,
        openai.OpenAI(
            api_key="none",
            base_url=f"{url}/v1",
            http_client=openai.DefaultHttpxClient(verify=False),
        ) as client,
    ):
        quota.metered(client)
        with pytest.raises(openai.RateLimitError) as denied:
            client.chat.completions.create(model=MODEL, messages=MESSAGES, max_completion_tokens=9000)
    assert denied.value.type == "quota_exceeded"
    assert provider.requests == 0


def test_a_clamped_call_that_thinks_stays_one_that_the_provider_takes(audited: Audited) -> None:
    """Its budget for thinking is lowered with its cap, as far as may be; then it is denied, and told how far."""
    provider = FakeProvider(output=2_000)
    quota, store = audited("$0.1/day", tight="clamp")
    thinking: Any = {"type": "enabled", "budget_tokens": 6_000}
    with (
        provider.serve() as url,
        anthropic.Anthropic(
            api_key="none", base_url=url, http_client=anthropic.DefaultHttpxClient(verify=False)
        ) as client,
    ):
        quota.metered(client)
        denied: Any = None
        while denied is None:
            try:
                client.messages.create(
                    model="claude-sonnet-4-6", messages=MESSAGES, max_tokens=8_000, thinking=thinking
                )
            except anthropic.RateLimitError as error:
                denied = error.body
    assert denied["error"]["least_cap"] == 1_025
    sent = [(seen.cap, seen.body["thinking"]["budget_tokens"]) for seen in provider.calls]
    assert len(sent) >= 2
    assert all(cap is not None and 1_024 <= budget < cap <= 8_000 for cap, budget in sent)
    assert [seen.status for seen in provider.calls] == [200] * len(sent)
    assert max(store.peaks.values()) <= NANO // 10


def test_the_fake_provider_refuses_thinking_that_does_not_fit(provider: FakeProvider) -> None:
    with (
        provider.serve() as url,
        anthropic.Anthropic(
            api_key="none", base_url=url, http_client=anthropic.DefaultHttpxClient(verify=False)
        ) as client,
    ):
        for cap, budget in ((1_024, 1_024), (5_000, 1_023)):
            with pytest.raises(anthropic.BadRequestError):
                client.messages.create(
                    model="claude-sonnet-4-6",
                    messages=MESSAGES,
                    max_tokens=cap,
                    thinking={"type": "enabled", "budget_tokens": budget},
                )
