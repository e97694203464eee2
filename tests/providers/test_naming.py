"""What model a request asks for: by its URL, its body, and what was said of deployments."""

from __future__ import annotations

from typing import Any

import pytest

from quotaware import Quota
from quotaware.core.bounds import Call
from quotaware.core.models import ANY, Model
from quotaware.errors import ConfigurationError, PermissionDenied, RateLimitExceeded
from quotaware.providers import naming, registry
from quotaware.providers.base import Unreadable

CHAT = "/v1/chat/completions"
AZURE = "acme.openai.azure.com"
SAID = naming.check_deployments({"Mini": "gpt-4.1-mini", f"{AZURE}/chat": "gpt-4.1"})


def read(host: str, path: str, said: dict[str, str] = SAID, **body: Any) -> Call:
    route = registry.find("POST", host, path)
    assert route is not None
    assert route.format is not None
    return naming.read(route, route.format, {"messages": [], **body}, said)


def names(host: str, path: str, **body: Any) -> list[str]:
    return [model.name for model in read(host, path, **body).models]


@pytest.mark.parametrize(
    ("host", "path", "body", "expected"),
    [
        ("api.openai.com", CHAT, {"model": "gpt-4.1"}, ["gpt-4.1"]),
        ("api.openai.com", CHAT, {"model": "GPT-4.1"}, ["GPT-4.1"]),
        ("api.openai.com", CHAT, {"model": "gpt-4.1. "}, ["gpt-4.1. ", "gpt-4.1"]),
        ("api.openai.com", CHAT, {"model": "ｇpt-4.1"}, ["ｇpt-4.1", "gpt-4.1"]),
        ("api.openai.com", CHAT, {"model": "x/gpt-4.1"}, ["x/gpt-4.1", "gpt-4.1"]),
        ("openrouter.ai", CHAT, {"model": "x/gpt-4.1"}, ["x/gpt-4.1"]),
        ("llm.internal", CHAT, {"model": "x/gpt-4.1"}, ["x/gpt-4.1"]),
        (
            "openrouter.ai",
            CHAT,
            {"model": "a", "models": ["b", "a"], "fallbacks": [{"model": "c"}]},
            ["a", "b", "c"],
        ),
        ("openrouter.ai", CHAT, {"models": ["b", "c"]}, ["b", "c"]),
        ("openrouter.ai", CHAT, {"model": "a", "models": None}, ["a"]),
        ("openrouter.ai", CHAT, {"model": "a", "models": []}, ["a"]),
        ("openrouter.ai", CHAT, {"model": "a", "models": "b"}, ["a", "b"]),
        ("openrouter.ai", CHAT, {"model": "a", "preset": None}, ["a"]),
        ("openrouter.ai", CHAT, {"model": "a", "preset": "p"}, [ANY]),
        ("openrouter.ai", CHAT, {"model": "openrouter/auto"}, ["openrouter/auto"]),
        (AZURE, "/openai" + CHAT, {"model": "mini"}, ["gpt-4.1-mini"]),
        (AZURE, "/openai" + CHAT, {"model": "gpt-4.1"}, [ANY]),
        (AZURE, "/openai/deployments/MINI/chat/completions", {"model": "gpt-4.1-mini"}, ["gpt-4.1-mini"]),
        (AZURE, "/openai/deployments/mini/extensions/chat/completions", {}, ["gpt-4.1-mini"]),
        (AZURE, "/openai/deployments/chat/chat/completions", {"model": "o3"}, ["gpt-4.1", "o3"]),
        ("other.openai.azure.com", "/openai/deployments/chat/chat/completions", {}, [ANY]),
        (AZURE, "/anthropic/v1/messages", {"model": "chat"}, ["gpt-4.1"]),
        ("gw.internal", "/deployments/mini/chat/completions", {"model": "o3"}, ["gpt-4.1-mini", "o3"]),
        ("gw.internal", "/deployments/o3/chat/completions", {"model": "o3"}, [ANY]),
        ("api.openai.com", "/v1/engines/o3/chat/completions", {"model": "gpt-4.1"}, ["o3", "gpt-4.1"]),
        ("gw.internal", "/engines/llama.cpp/v1/chat/completions", {"model": "gpt-4.1"}, ["gpt-4.1"]),
        ("gw.internal", "/models/Org/Big/v1/chat/completions", {"model": "tgi"}, ["Org/Big", "tgi"]),
        ("gw.internal", "/models/v1/chat/completions", {"model": "gpt-4.1"}, ["gpt-4.1"]),
        ("gw.internal", "/models/chat/completions", {"model": "gpt-4.1"}, ["gpt-4.1"]),
        ("gw.internal", "/\u0130/models/x/chat/completions", {"model": "y"}, ["x", "y"]),
    ],
)
def test_the_models_that_may_serve_a_request(
    host: str, path: str, body: dict[str, Any], expected: list[str]
) -> None:
    assert names(host, path, **body) == expected


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": ""},
        {"model": "a", "models": [5]},
        {"model": "a", "models": [""]},
        {"model": "a", "models": {"0": "b"}},
        {"model": "a", "models": [["b"]]},
        {"model": "a", "fallbacks": [{"name": "b"}]},
        {"model": "a", "models": [f"m{n}" for n in range(naming.MOST)]},
        {"model": "a\u200b"},
        {"model": " "},
        {"models": []},
    ],
)
def test_what_names_no_model_is_ambiguous(body: dict[str, Any]) -> None:
    with pytest.raises(Unreadable) as caught:
        read("openrouter.ai", CHAT, **body)
    assert caught.value.code == "model_ambiguous"


def test_a_request_is_read_as_each_of_its_models() -> None:
    """Pictures take more tokens with one model than with another; the cap that it names holds for all."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    said = [{"role": "user", "content": [picture]}]
    named = {"model": "openai/gpt-4.1", "models": ["openai/gpt-4o-mini"]}
    call = read("openrouter.ai", CHAT, **named, messages=said, max_tokens=9)
    (other,) = call.also
    assert other.media > call.media > 0
    assert (call.cap, other.cap) == (9, 9)
    assert call.models == (Model("openrouter", "openai/gpt-4.1"), Model("openrouter", "openai/gpt-4o-mini"))


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"chat": ""}, r"deployments\['chat'\]"),
        ({"chat": "gpt-4.1*"}, r"deployments\['chat'\]"),
        ({"chat": None}, r"deployments\['chat'\]"),
        ({"": "gpt-4.1"}, "deployments"),
        ({5: "gpt-4.1"}, "deployments"),
        ("chat", "deployments"),
    ],
)
def test_a_deployment_is_one_model(said: Any, field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{field}: "):
        Quota(deployments=said)


@pytest.mark.parametrize(
    ("limit", "provider", "model", "error", "told"),
    [
        ("0 requests/day for gpt-4.1", "openai", "x/GPT-4.1", RateLimitExceeded, "gpt-4.1"),
        ("$1/day", "openrouter", "openrouter/auto", PermissionDenied, "chooses the model"),
    ],
)
def test_a_call_that_its_host_tells_of_is_read_so_too(
    limit: str, provider: str, model: str, error: type[Exception], told: str
) -> None:
    """`quota.call`: no HTTP, the same names."""
    quota = Quota(limits=[limit])
    with pytest.raises(error, match=told), quota.call(provider=provider, model=model, input=1, max_output=1):
        pass
    quota.close()
