"""Calls that are spelled unusually are calls all the same, and what is denied stays denied."""

from __future__ import annotations

import httpx
import pytest

from quotaware import Quota
from quotaware.providers import registry

BODY = {"model": "gpt-4.1", "max_tokens": 10, "messages": [{"role": "user", "content": "x"}]}
ANSWER = {"model": "gpt-4.1", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}


def client(quota: Quota, seen: list[httpx.Request]) -> httpx.Client:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json=ANSWER)

    return httpx.Client(transport=quota.sync_transport(httpx.MockTransport(answer)))


@pytest.mark.parametrize("path", ["/v1/chat//completions", "/v1/Chat/Completions", "/v1/chat/completions/"])
@pytest.mark.parametrize("host", ["llm.internal", "api.openai.com"])
def test_slashes_and_letter_case_of_a_path_hide_nothing(host: str, path: str) -> None:
    quota = Quota("memory://", limits=["1 request/day"])
    seen: list[httpx.Request] = []
    answers = [client(quota, seen).post(f"https://{host}{path}", json=BODY) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 429]
    assert len(seen) == 1
    assert not quota.meter.passes(host, path)


def test_a_denial_whose_message_cannot_be_encoded_is_a_denial() -> None:
    """Names come from hosts, and hosts take them from headers: lone surrogates are told escaped."""
    quota = Quota("memory://")
    seen: list[httpx.Request] = []
    with quota.acting_as(project="nope\udcff"):
        answer = client(quota, seen).post("https://api.openai.com/v1/chat/completions", json=BODY)
    assert answer.status_code == 403
    assert seen == []


def test_after_uninstrument_a_bound_context_is_not_served_either() -> None:
    quota = Quota("memory://", limits=["0 requests/day"])
    with httpx.Client(transport=httpx.MockTransport(lambda r: httpx.Response(200, json=ANSWER))) as bare:
        send = type(bare)._transport_for_url
        quota.instrument()
        patched = type(bare)._transport_for_url
        quota.uninstrument()
        assert type(bare)._transport_for_url is send
        with quota.acting_as(end_user="ann"):
            url = httpx.URL("https://api.openai.com/v1/chat/completions")
            assert patched(bare, url) is send(bare, url)


def test_shadow_leaves_an_upload_of_unknown_length_as_it_is() -> None:
    """It refuses nothing, so it must not read what it could not give back."""
    quota = Quota("memory://", limits=["$1/day"], shadow=True)
    sizes: list[int] = []

    def answer(request: httpx.Request) -> httpx.Response:
        sizes.append(sum(len(part) for part in request.stream))
        return httpx.Response(200, json=ANSWER)

    with httpx.Client(transport=quota.sync_transport(httpx.MockTransport(answer))) as uploading:
        parts = (b"x" * 1_048_576 for _ in range(34))
        assert uploading.post("https://api.openai.com/v1/chat/completions", content=parts).status_code == 200
    assert sizes == [34 * 1_048_576]


def test_numbers_and_names_in_a_tools_input_are_input() -> None:
    """The strict bound is one token a byte of all that the model reads, whatever shape an app gave it."""
    route = registry.find("POST", "api.anthropic.com", "/v1/messages")
    assert route is not None
    assert route.format is not None
    use = {"type": "tool_use", "id": "t", "name": "f", "input": {str(n) * 3: [n, n / 7] for n in range(1000)}}
    body = {"model": "claude-sonnet-5", "messages": [{"role": "assistant", "content": [use]}]}
    assert route.format.read("anthropic", body).text > 25_000


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("gpt-5", "max_completion_tokens"),
        ("openai/o3-mini", "max_completion_tokens"),
        ("llama-3", "max_tokens"),
    ],
)
def test_a_cap_is_written_under_the_name_that_the_model_takes(model: str, name: str) -> None:
    """At a host nobody knows the model's family says it: newer ones of OpenAI refuse the older name."""
    route = registry.find("POST", "llm.internal", "/v1/chat/completions")
    assert route is not None
    assert route.format is not None
    assert route.format.cap(None, {"model": model, "messages": []}, 300) == {name: 300}
