"""How each SDK is called: every client class that it has, and the methods that people use.

A way makes a client at an address and answers what asks it, whole and streamed (None where the API has no streams).
Each is asked at its provider's own host and path; `at` says where that is served.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from typing import Any, NamedTuple

HI = [{"role": "user", "content": "hi"}]
KEY = {"api_key": "x"}
AWS = {"aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "secret", "aws_region": "us-east-1"}
DEPLOYMENT = "mine"
CLAUDE_ON_BEDROCK = "anthropic.claude-sonnet-4-5-20250929-v1:0"

At = Callable[[str], str]
"""The base URL of a host, where it is served."""


class Asking(NamedTuple):
    """A client and what asks it, without arguments; the answer may have to be awaited, and iterated over."""

    client: Any
    whole: Callable[[], Any]
    streamed: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Way:
    """A client of an SDK and a method of its own; `versions` are the first numbers of those that have it so."""

    sdk: str
    client: str
    method: str
    make: Callable[[Any, At], Any]
    module: str
    versions: tuple[int, ...] = ()
    sync: bool = True

    def __str__(self) -> str:
        return f"{self.sdk}: {self.client}.{self.method}"

    @property
    def version(self) -> str | None:
        """Of the SDK that is installed, if that has this way."""
        try:
            found = metadata.version(self.sdk)
        except metadata.PackageNotFoundError:
            return None
        return found if not self.versions or int(found.partition(".")[0]) in self.versions else None

    @property
    def embeds(self) -> bool:
        """Whether it makes embeddings: there are no streams of them, and no words in them."""
        return "embed" in self.method

    def asking(self, at: At) -> Any:
        """The calls of a new client; from async code where it is an async one, and then to be awaited or not."""
        kind = getattr(import_module(self.module), self.client, None)
        return self.make(kind, at)


WAYS: list[Way] = []


def _way(
    sdk: str, method: str, *clients: str, module: str | None = None, versions: tuple[int, ...] = ()
) -> Callable[[Callable[[Any, At], Any]], Callable[[Any, At], Any]]:
    """One way for the sync client, and one for the async one, in this order."""

    def add(make: Callable[[Any, At], Any]) -> Callable[[Any, At], Any]:
        for client, sync in zip(clients, (True, False), strict=False):
            WAYS.append(Way(sdk, client, method, make, module or sdk, versions, sync))
        return make

    return add


def _flag(client: Any, ask: Callable[..., Any], **more: Any) -> Asking:
    """A method that streams where `stream=True` says so."""
    asking = partial(ask, **more)
    return Asking(client, asking, partial(asking, stream=True))


# What Stainless makes: one client, one shape


@_way("openai", "chat.completions.create", "OpenAI", "AsyncOpenAI")
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=f"{at('api.openai.com')}/v1")
    return _flag(client, client.chat.completions.create, model="gpt-4.1", messages=HI)


@_way("openai", "responses.create", "OpenAI", "AsyncOpenAI")
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=f"{at('api.openai.com')}/v1")
    return _flag(client, client.responses.create, model="gpt-4.1", input="hi")


@_way("openai", "embeddings.create", "OpenAI", "AsyncOpenAI")
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=f"{at('api.openai.com')}/v1")
    return Asking(client, partial(client.embeddings.create, model="text-embedding-3-small", input="hi"))


@_way("openai", "chat.completions.create", "AzureOpenAI", "AsyncAzureOpenAI")
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, azure_endpoint=at("mine.openai.azure.com"), api_version="2024-10-21")
    return _flag(client, client.chat.completions.create, model=DEPLOYMENT, messages=HI)


@_way("openai", "chat.completions.create at api.x.ai", "OpenAI", "AsyncOpenAI")
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=f"{at('api.x.ai')}/v1")
    return _flag(client, client.chat.completions.create, model="grok-4", messages=HI)


@_way("anthropic", "messages.create", "Anthropic", "AsyncAnthropic")
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=at("api.anthropic.com"))
    return _flag(client, client.messages.create, model="claude-sonnet-4-5", max_tokens=50, messages=HI)


@_way("anthropic", "messages.create", "AnthropicBedrock", "AsyncAnthropicBedrock")
def _(kind: Any, at: At) -> Asking:
    client = kind(**AWS, base_url=at("bedrock-runtime.us-east-1.amazonaws.com"))
    return _flag(client, client.messages.create, model=CLAUDE_ON_BEDROCK, max_tokens=50, messages=HI)


@_way("anthropic", "messages.create", "AnthropicVertex", "AsyncAnthropicVertex")
def _(kind: Any, at: At) -> Asking:
    base = f"{at('us-east5-aiplatform.googleapis.com')}/v1"
    client = kind(region="us-east5", project_id="mine", access_token="x", base_url=base)
    return _flag(client, client.messages.create, model="claude-sonnet-4-5", max_tokens=50, messages=HI)


@_way("groq", "chat.completions.create", "Groq", "AsyncGroq")
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=at("api.groq.com"))
    return _flag(client, client.chat.completions.create, model="llama-3.3-70b-versatile", messages=HI)


@_way("together", "chat.completions.create", "Together", "AsyncTogether")
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=f"{at('api.together.xyz')}/v1")
    model = "meta-llama/Llama-3.3-70B-Instruct-Turbo"
    return _flag(client, client.chat.completions.create, model=model, messages=HI)


@_way(
    "fireworks-ai",
    "chat.completions.create",
    "Fireworks",
    "AsyncFireworks",
    module="fireworks",
    versions=(1,),
)
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=at("api.fireworks.ai"))
    model = "accounts/fireworks/models/llama-v3p3-70b-instruct"
    return _flag(client, client.chat.completions.create, model=model, messages=HI)


@_way(
    "cerebras-cloud-sdk", "chat.completions.create", "Cerebras", "AsyncCerebras", module="cerebras.cloud.sdk"
)
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=at("api.cerebras.ai"), warm_tcp_connection=False)
    return _flag(client, client.chat.completions.create, model="llama-3.3-70b", messages=HI)


# Google


def _google(client: Any) -> Asking:
    asked, models = {"model": "gemini-2.5-flash", "contents": "hi"}, client.models
    return Asking(
        client, partial(models.generate_content, **asked), partial(models.generate_content_stream, **asked)
    )


def _google_client(at: At) -> Any:
    from google import genai

    return genai.Client(**KEY, http_options={"base_url": at("generativelanguage.googleapis.com")})


@_way("google-genai", "models.generate_content", "Client", module="google.genai")
def _(_: Any, at: At) -> Asking:
    return _google(_google_client(at))


def _google_async(_: Any, at: At) -> Asking:
    return _google(_google_client(at).aio)


WAYS.append(
    Way("google-genai", "Client.aio", "models.generate_content", _google_async, "google.genai", sync=False)
)


# Mistral


def _mistral(client: Any, asynchronous: bool) -> Asking:
    asked = {"model": "mistral-small-latest", "messages": HI}
    chat = client.chat
    if asynchronous:
        return Asking(client, partial(chat.complete_async, **asked), partial(chat.stream_async, **asked))
    return Asking(client, partial(chat.complete, **asked), partial(chat.stream, **asked))


def _mistral_ways(versions: tuple[int, ...], module: str) -> None:
    for sync in (True, False):

        def make(kind: Any, at: At, sync: bool = sync) -> Asking:
            return _mistral(kind(**KEY, server_url=at("api.mistral.ai")), not sync)

        method = "chat.complete" if sync else "chat.complete_async"
        WAYS.append(Way("mistralai", "Mistral", method, make, module, versions, sync))


_mistral_ways((1,), "mistralai")
_mistral_ways((2, 3), "mistralai.client")


# Cohere, Voyage, Hugging Face, Ollama


@_way("cohere", "chat", "ClientV2", "AsyncClientV2")
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=at("api.cohere.com"))
    asked = {"model": "command-r-08-2024", "messages": HI}
    return Asking(client, partial(client.chat, **asked), partial(client.chat_stream, **asked))


@_way("cohere", "embed", "ClientV2", "AsyncClientV2")
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=at("api.cohere.com"))
    asked = {
        "model": "embed-v4.0",
        "texts": ["hi"],
        "input_type": "search_query",
        "embedding_types": ["float"],
    }
    return Asking(client, partial(client.embed, **asked))


@_way("voyageai", "embed", "Client", "AsyncClient")
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=f"{at('api.voyageai.com')}/v1")
    return Asking(client, partial(client.embed, ["hi"], model="voyage-3.5"))


@_way("huggingface_hub", "chat_completion", "InferenceClient", "AsyncInferenceClient")
def _(kind: Any, at: At) -> Asking:
    client = kind(**KEY, base_url=f"{at('router.huggingface.co')}/v1")
    return _flag(client, client.chat_completion, model="meta-llama/Llama-3.3-70B-Instruct", messages=HI)


@_way("ollama", "chat", "Client", "AsyncClient")
def _(kind: Any, at: At) -> Asking:
    client = kind(at("ollama.internal"))
    return _flag(client, client.chat, model="llama3.2", messages=HI)


# LiteLLM


def _litellm(model: str, host: str, path: str) -> None:
    for sync, name in ((True, "completion"), (False, "acompletion")):

        def make(_: Any, at: At, name: str = name) -> Asking:
            litellm = import_module("litellm")
            litellm.disable_hf_tokenizer_download = True
            ask = getattr(litellm, name)
            return _flag(None, ask, model=model, messages=HI, **KEY, api_base=at(host) + path)

        method = f"{name} to {model.partition('/')[0]}"
        WAYS.append(Way("litellm", "litellm", method, make, "litellm", sync=sync))


_litellm("openai/gpt-4.1", "api.openai.com", "/v1")
_litellm("anthropic/claude-sonnet-4-5", "api.anthropic.com", "")
_litellm("groq/llama-3.3-70b-versatile", "api.groq.com", "/openai/v1")
_litellm("mistral/mistral-small-latest", "api.mistral.ai", "/v1")


# AWS


def _converse(client: Any) -> Asking:
    asked = {"modelId": CLAUDE_ON_BEDROCK, "messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    return Asking(client, partial(client.converse, **asked), partial(client.converse_stream, **asked))


def _invoke(client: Any) -> Asking:
    body = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 50, "messages": HI})
    asked = {"modelId": CLAUDE_ON_BEDROCK, "body": body}
    return Asking(
        client,
        partial(client.invoke_model, **asked),
        partial(client.invoke_model_with_response_stream, **asked),
    )


_AWS = {
    "region_name": "us-east-1",
    "aws_access_key_id": AWS["aws_access_key"],
    "aws_secret_access_key": AWS["aws_secret_key"],
}


def _bedrock(method: str, asking: Callable[[Any], Asking]) -> None:
    def sync(_: Any, at: At) -> Asking:
        url = at("bedrock-runtime.us-east-1.amazonaws.com")
        return asking(import_module("boto3").client("bedrock-runtime", endpoint_url=url, **_AWS))

    async def made(_: Any, at: At) -> Asking:
        url = at("bedrock-runtime.us-east-1.amazonaws.com")
        session = import_module("aiobotocore.session").get_session()
        opening = session.create_client("bedrock-runtime", endpoint_url=url, **_AWS)
        return asking(await opening.__aenter__())

    client = "client('bedrock-runtime')"
    WAYS.append(Way("boto3", client, method, sync, "boto3"))
    WAYS.append(Way("aiobotocore", client, method, made, "aiobotocore", sync=False))


_bedrock("converse", _converse)
_bedrock("invoke_model", _invoke)
