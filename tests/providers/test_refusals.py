"""A refusal in the provider's own shape, as the real client libraries read it."""

from __future__ import annotations

import anthropic
import httpx
import httpx2
import openai
import pytest

from quotaware.errors import ApiError, PermissionDenied, QuotaExceeded, RateLimitExceeded
from quotaware.providers.anthropic_messages import AnthropicCountTokens, AnthropicMessages
from quotaware.providers.base import Format
from quotaware.providers.openai_chat import OpenAIChat
from quotaware.providers.openai_embeddings import OpenAIEmbeddings

FIGURES = {
    "current_usage_usd": 9.5,
    "limit_usd": 10.0,
    "reset_date": "2027-01-01T00:00:00Z",
    "limits": [{"id": "l1"}],
}
ERRORS = [
    QuotaExceeded("The budget of 10 USD is spent", fields=FIGURES, retry_after=3_600),
    RateLimitExceeded(
        "600 requests a minute", fields={"retry_after_seconds": 7, "limits": []}, retry_after=7
    ),
    PermissionDenied("The model is not allowed", code="model_not_allowed", fields={"model": "gpt-4o"}),
]
HI = [{"role": "user", "content": "hi"}]


def headers(error: ApiError) -> dict[str, str]:
    return {"x-should-retry": "false", **error.headers()}


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.type)
@pytest.mark.parametrize("stream", [False, True])
def test_the_openai_sdk_raises_its_own_error_with_our_figures_after_one_try(
    error: ApiError, stream: bool
) -> None:
    tries = []

    def answer(request: httpx.Request) -> httpx.Response:
        tries.append(request)
        return httpx.Response(error.status, json=OpenAIChat().refusal(error), headers=headers(error))

    with (
        httpx.Client(transport=httpx.MockTransport(answer)) as http,
        openai.OpenAI(api_key="k", http_client=http) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(model="gpt-4o", messages=HI, stream=stream)
    raised = caught.value
    assert type(raised) is (openai.RateLimitError if error.status == 429 else openai.PermissionDeniedError)
    assert len(tries) == 1
    assert (raised.type, raised.code, raised.param) == (error.type, error.code, None)
    assert error.message in raised.message
    assert raised.body == {
        "param": None,
        "message": error.message,
        "type": error.type,
        "code": error.code,
        **error.fields,
    }


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: error.type)
@pytest.mark.parametrize("stream", [False, True])
def test_the_anthropic_sdk_raises_its_own_error_with_our_figures_after_one_try(
    error: ApiError, stream: bool
) -> None:
    tries = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        tries.append(request)
        return httpx2.Response(error.status, json=AnthropicMessages().refusal(error), headers=headers(error))

    with (
        httpx2.Client(transport=httpx2.MockTransport(answer)) as http,
        anthropic.Anthropic(api_key="k", http_client=http) as client,
        pytest.raises(anthropic.APIStatusError) as caught,
    ):
        client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=HI, stream=stream)
    raised = caught.value
    assert type(raised) is (
        anthropic.RateLimitError if error.status == 429 else anthropic.PermissionDeniedError
    )
    assert len(tries) == 1
    assert raised.type == error.type
    assert error.message in raised.message
    assert raised.body == {
        "type": "error",
        "error": {"message": error.message, "type": error.type, "code": error.code, **error.fields},
    }


@pytest.mark.parametrize(
    ("form", "like"), [(OpenAIEmbeddings(), OpenAIChat()), (AnthropicCountTokens(), AnthropicMessages())]
)
def test_other_formats_of_a_provider_refuse_alike(form: Format, like: Format) -> None:
    assert form.refusal(ERRORS[0]) == like.refusal(ERRORS[0])
