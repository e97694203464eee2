"""Which request is a call, by method, host and path."""

from __future__ import annotations

from typing import Any

import pytest
from genai_prices.data_snapshot import get_snapshot

from quotaware.errors import ConfigurationError
from quotaware.providers.base import Route
from quotaware.providers.endpoints import PROVIDERS
from quotaware.providers.hosts import DOMAINS, HOSTS
from quotaware.providers.registry import check_hosts, find, plausible
from tests.corpus import exchanges, needs_corpus


def found(host: str, path: str, **more: Any) -> tuple[str | None, str | None, str] | None:
    route = find("POST", host, path, **more)
    return route and (route.provider, route.format.name if route.format else None, route.operation)


@pytest.mark.parametrize(
    ("host", "path", "expected"),
    [
        ("api.openai.com", "/v1/chat/completions", ("openai", "openai.chat", "chat")),
        ("api.openai.com", "/v1/embeddings", ("openai", "openai.embeddings", "embeddings")),
        ("api.openai.com", "/v1/responses", ("openai", "openai.responses", "responses")),
        ("api.openai.com", "/v1/responses/compact", ("openai", "openai.compaction", "responses")),
        ("api.deepseek.com", "/responses", ("deepseek", "openai.responses", "responses")),
        ("acme.openai.azure.com", "/openai/v1/responses", ("azure", "openai.responses", "responses")),
        ("openrouter.ai", "/api/v1/responses", ("openrouter", "openai.responses", "responses")),
        ("api.openai.com", "/v1/completions", ("openai", "openai.completions", "completions")),
        ("localhost:11434", "/v1/completions", (None, "openai.completions", "completions")),
        ("api.openai.com", "/v1/images/generations", ("openai", "openai.images", "images")),
        ("api.openai.com", "/v1/images/edits", ("openai", "openai.images", "images")),
        ("api.openai.com", "/v1/audio/speech", ("openai", "openai.speech", "audio")),
        ("api.groq.com", "/openai/v1/audio/transcriptions", ("groq", "openai.transcription", "audio")),
        ("api.openai.com", "/v1/moderations", ("openai", "openai.moderations", "moderations")),
        ("127.0.0.1:8000", "/v1/responses", (None, "openai.responses", "responses")),
        ("api.anthropic.com", "/v1/messages", ("anthropic", "anthropic.messages", "chat")),
        (
            "api.anthropic.com",
            "/v1/messages/count_tokens",
            ("anthropic", "anthropic.count_tokens", "count_tokens"),
        ),
        ("api.groq.com", "/openai/v1/chat/completions", ("groq", "openai.chat", "chat")),
        ("openrouter.ai", "/api/v1/chat/completions", ("openrouter", "openai.chat", "chat")),
        ("api.deepseek.com", "/chat/completions", ("deepseek", "openai.chat", "chat")),
        ("api.deepseek.com", "/anthropic/v1/messages", ("deepseek", "anthropic.messages", "chat")),
        ("api.mistral.ai", "/v1/chat/completions", ("mistral", "mistral.chat", "chat")),
        ("api.voyageai.com", "/v1/embeddings", ("voyageai", "voyage.embeddings", "embeddings")),
        ("eu.api.openai.com", "/v1/chat/completions", ("openai", "openai.chat", "chat")),
        ("acme.openai.azure.com", "/openai/deployments/d/chat/completions", ("azure", "openai.chat", "chat")),
        (
            "router.huggingface.co",
            "/together/v1/chat/completions",
            ("huggingface_together", "openai.chat", "chat"),
        ),
        ("router.huggingface.co", "/v1/chat/completions", (None, "openai.chat", "chat")),
        ("api.openai.com", "/v1/chat/completions/", ("openai", "openai.chat", "chat")),
        ("api.openai.com", "/v1/chat/completions?a=/v1/embeddings", ("openai", "openai.chat", "chat")),
        ("llm.internal", "/anything/chat/completions", (None, "openai.chat", "chat")),
        ("127.0.0.1", "/v1/messages", (None, "anthropic.messages", "chat")),
    ],
)
def test_a_post_to_a_formats_path_is_a_call(host: str, path: str, expected: object) -> None:
    assert found(host, path) == expected


@pytest.mark.parametrize(
    "host", ["API.OpenAI.com", "api.openai.com.", "api.openai.com:443", "api.openai.com.:8443"]
)
def test_a_host_is_known_in_any_spelling(host: str) -> None:
    """S10: capitals, a port and a trailing dot make no other host."""
    assert found(host, "/v1/chat/completions") == ("openai", "openai.chat", "chat")


@pytest.mark.parametrize(
    "host", ["xapi.openai.com", "api.openai.com.evil.example", "openai.com", "openai.azure.com"]
)
def test_a_look_alike_is_another_host(host: str) -> None:
    assert find("POST", host, "/v1/chat/completions") == find(
        "POST", "stranger.example", "/v1/chat/completions"
    )


@pytest.mark.parametrize("host", ["[::1]:8000", "[::1]", "::1", "localhost:8000", ":80", ""])
def test_addresses_and_ports_of_all_kinds_are_read(host: str) -> None:
    assert found(host, "/v1/chat/completions") == (None, "openai.chat", "chat")


@pytest.mark.parametrize(
    ("host", "path", "provider"),
    [
        ("api.openai.com", "/v1/threads/t/runs", "openai"),
        ("api.openai.com", "/v1/realtime/client_secrets", "openai"),
        ("api.anthropic.com", "/v1/complete", "anthropic"),
        ("api.anthropic.com", "/v1/chat/completions", "anthropic"),
        ("router.huggingface.co", "/together/v1/images", "huggingface_together"),
        ("router.huggingface.co", "/", None),
        ("api.openai.com", "", "openai"),
    ],
)
def test_a_post_on_a_known_host_that_nobody_reads_is_unknown(
    host: str, path: str, provider: str | None
) -> None:
    """S10: it is named, so that it can be refused under a cost limit."""
    assert find("POST", host, path) == Route(provider, None, "unknown")


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ("api.openai.com", "/v1/responses/input_tokens"),
        ("api.openai.com", "/v1/files"),
        ("api.groq.com", "/openai/v1/files"),
        ("api.openai.com", "/v1/uploads/upload_1/parts"),
        ("api.openai.com", "/v1/conversations/conv_1/items"),
        ("api.anthropic.com", "/v1/messages/count_tokens"),
    ],
)
def test_counting_tokens_is_free(host: str, path: str) -> None:
    route = find("POST", host, path)
    assert route is not None
    assert route.free


@pytest.mark.parametrize(
    ("method", "host", "path", "expected"),
    [
        ("GET", "api.openai.com", "/v1/models", ("openai", "models", "")),
        ("get", "api.groq.com", "/openai/v1/models/llama/", ("groq", "models", "llama")),
        ("GET", "api.openai.com", "/v1/responses/resp_1?stream=true", ("openai", "responses", "resp_1")),
        ("GET", "api.openai.com", "/v1/responses/resp_1/input_items", ("openai", "responses", "resp_1")),
        ("POST", "api.openai.com", "/v1/responses/resp_1/cancel", ("openai", "responses", "resp_1")),
        ("GET", "acme.openai.azure.com", "/openai/v1/responses/resp_1", ("azure", "responses", "resp_1")),
        ("GET", "acme.cognitiveservices.azure.com", "/openai/responses/r", ("azure", "responses", "r")),
        ("GET", "api.x.ai", "/v1/chat/deferred-completion/f15c-1", ("x-ai", "chat", "f15c-1")),
        ("GET", "api.openai.com", "/v1/batches", ("openai", "batches", "")),
        ("GET", "api.openai.com", "/v1/files/file-1/content", ("openai", "files", "file-1")),
        ("GET", "llm.internal", "/v1/responses/resp_1", (None, "responses", "resp_1")),
        ("POST", "llm.internal", "/v1/responses/resp_1/cancel", (None, "responses", "resp_1")),
        ("GET", "ours.internal", "/v1/models", ("openai", "models", "")),
    ],
)
def test_what_makes_nothing_is_a_look_up(method: str, host: str, path: str, expected: object) -> None:
    route = find(method, host, path, check_hosts({"ours.internal": "openai"}))
    assert route is not None
    assert (route.lookup, route.free) == (True, True)
    assert (route.provider, route.operation, route.answer) == expected


@pytest.mark.parametrize(
    ("method", "host", "path"),
    [
        ("GET", "api.openai.com", "/v1/organization/costs"),
        ("DELETE", "api.openai.com", "/v1/responses/resp_1"),
        ("GET", "llm.internal", "/v1/models"),
        ("GET", "llm.internal", "/v1/responses/mine"),
        ("GET", "never.internal", "/v1/responses/resp_1"),
    ],
)
def test_other_requests_are_none(method: str, host: str, path: str) -> None:
    assert find(method, host, path, check_hosts({"never.internal": None})) is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "OPTIONS", "PUT", "PATCH", "get"])
@pytest.mark.parametrize("host", ["api.openai.com", "stranger.example"])
def test_only_a_post_is_a_call(method: str, host: str) -> None:
    assert find(method, host, "/v1/chat/completions") is None


def test_a_method_in_small_letters_is_the_same() -> None:
    assert find("post", "api.openai.com", "/v1/embeddings") == find(
        "POST", "api.openai.com", "/v1/embeddings"
    )


@pytest.mark.parametrize(
    "path", ["/", "", "/v1/completion", "/chat/completions/x", "/mychat/completion", "/v1/messages/7"]
)
def test_strangers_traffic_is_no_call(path: str) -> None:
    assert find("POST", "stranger.example", path) is None


def test_hosts_decides_over_the_table() -> None:
    """A host that is given to a provider is that provider's in everything; one that is None is never a call."""
    hosts = check_hosts({"LLM.internal:8080": "openai", "chat.example": None, "api.groq.com": None})
    assert found("llm.internal", "/v1/chat/completions", hosts=hosts) == ("openai", "openai.chat", "chat")
    assert found("llm.internal", "/v1/other", hosts=hosts) == ("openai", None, "unknown")
    assert found("chat.example", "/v1/chat/completions", hosts=hosts) is None
    assert found("api.groq.com", "/openai/v1/chat/completions", hosts=hosts) is None
    assert found("api.openai.com", "/v1/embeddings", hosts=hosts) == (
        "openai",
        "openai.embeddings",
        "embeddings",
    )


def test_an_unknown_provider_for_a_host_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigurationError, match=r"'llm.internal'.*'opnai'.*anthropic.*openai") as caught:
        check_hosts({"llm.internal": "opnai"})
    assert caught.value.field == "hosts"


@pytest.mark.parametrize(
    ("path", "body", "is_call"),
    [
        ("/chat/completions", {"model": "m", "messages": []}, True),
        ("/embeddings", {"model": "m", "input": "text"}, True),
        ("/embeddings", {"model": "m", "input": ["text"]}, True),
        ("/responses", {"model": "m", "input": "hi"}, True),
        ("/responses", {"model": "m", "input": []}, True),
        ("/responses", {"model": "m", "answers": "hi"}, False),
        ("/messages", {"model": "m", "messages": []}, True),
        ("/messages", {"to": "bob", "messages": []}, False),
        ("/messages", {"model": "m", "text": "hi"}, False),
        ("/messages", {"model": "m", "messages": "hi"}, False),
        ("/chat/completions", {"model": 7, "messages": []}, False),
        ("/chat/completions", {"model": "", "messages": []}, False),
        ("/embeddings", {"model": "m", "input": {"a": 1}}, False),
        ("/embeddings", {}, False),
    ],
)
def test_on_a_host_nobody_knows_the_body_has_the_last_word(
    path: str, body: dict[str, Any], is_call: bool
) -> None:
    route = find("POST", "stranger.example", path)
    assert route is not None
    assert plausible(route, body) is is_call


def test_on_a_known_host_the_path_is_enough() -> None:
    route = find("POST", "api.openai.com", "/v1/chat/completions")
    assert route is not None
    assert plausible(route, {})


def test_a_server_that_refuses_stream_options_is_not_asked_for_usage() -> None:
    asked = [find("POST", host, "/v1/chat/completions") for host in ("api.mistral.ai", "api.openai.com")]
    changes = [route.format.ask_usage({"stream": True}) for route in asked if route and route.format]
    assert changes == [{}, {"stream_options": {"include_usage": True}}]


def test_every_provider_is_one_that_has_prices() -> None:
    priced = {provider.id for provider in get_snapshot().providers}
    assert set(PROVIDERS) <= priced
    assert set(HOSTS.values()) | {provider for _, provider in DOMAINS} <= set(PROVIDERS)


@needs_corpus
@pytest.mark.parametrize(
    ("provider", "name"),
    [
        ("openai", "openai"),
        ("anthropic", "anthropic"),
        ("groq", "groq"),
        ("openrouter", "openrouter"),
        ("deepseek", "deepseek"),
        ("mistral", "mistral"),
        ("voyage", "voyageai"),
        ("azure", "azure"),
    ],
)
def test_the_recorded_exchanges_are_found(provider: str, name: str) -> None:
    """Each POST has its provider; what no format reads yet is unknown, not free."""
    for exchange in exchanges(provider):
        host, _, path = exchange["url"].removeprefix("https://").partition("/")
        route = find(exchange["method"], host, f"/{path}")
        assert route is not None
        assert route.provider == name
        assert route.lookup == (exchange["method"] == "GET")
