"""Which request is a call, whose and in which format: by method, host and path alone.

A format joins by its own file and one line in `_FORMATS`, a provider by one line in `_PROVIDERS` and one for
each of its hosts in `_HOSTS`. Providers are named as genai-prices names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any, NamedTuple

from ..errors import ConfigurationError
from . import jsontext
from .anthropic_batches import AnthropicBatches
from .anthropic_messages import AnthropicCountTokens, AnthropicMessages
from .base import Format, Route
from .bedrock_converse import BedrockConverse, BedrockConverseStream
from .bedrock_invoke import BedrockInvoke, BedrockInvokeStream
from .cohere import CohereChat, CohereChatV1, CohereEmbed, cohere_refusal
from .formdata import Upload
from .gemini import (
    GeminiBatchEmbed,
    GeminiCache,
    GeminiCountTokens,
    GeminiEmbed,
    GeminiGenerate,
    GeminiStream,
    VertexPredict,
)
from .looking_up import looked_up
from .mistral import (
    MistralAgentChat,
    MistralChat,
    MistralConversation,
    MistralEmbeddings,
    MistralFim,
    MistralOcr,
)
from .openai_audio import OpenAISpeech, OpenAITranscription
from .openai_batches import OpenAIBatches
from .openai_chat import OpenAIChat
from .openai_completions import OpenAICompletions
from .openai_embeddings import OpenAIEmbeddings
from .openai_images import OpenAIImages, OpenAIVariations
from .openai_moderations import OpenAIModerations
from .openai_responses import OpenAICompaction, OpenAIResponses
from .rerank import Rerank
from .voyage import VoyageEmbeddings, VoyageInputs, voyage_refusal

NO_HOSTS: Mapping[str, str | None] = MappingProxyType({})
"""No host is decided otherwise than by the table."""


class _Reads(NamedTuple):
    suffix: str  # of the URL's path
    format: Format | None  # None: known to be free, not read
    operation: str
    needs: str  # the member that a body of this format has beside `model`
    of: tuple[type, ...] = (list,)  # and what it is
    free: bool = False
    within: str = ""  # what the path holds besides


_CHAT = _Reads("/chat/completions", OpenAIChat(), "chat", "messages")
_EMBEDDINGS = _Reads("/embeddings", OpenAIEmbeddings(), "embeddings", "input", (str, list))
_COMPLETIONS = _Reads("/completions", OpenAICompletions(), "completions", "prompt", (str, list))
_MODERATIONS = _Reads("/moderations", OpenAIModerations(), "moderations", "input", (str, list))
_IMAGES, _TRANSCRIPTION = OpenAIImages(), OpenAITranscription()
_MEDIA = (
    _Reads("/images/generations", _IMAGES, "images", "prompt", (str,)),
    _Reads("/images/edits", _IMAGES, "images", "prompt", (str,)),
    _Reads("/images/variations", OpenAIVariations(), "images", "image", (Upload,)),
    _Reads("/audio/speech", OpenAISpeech(), "audio", "input", (str,)),
    _Reads("/audio/transcriptions", _TRANSCRIPTION, "audio", "file", (Upload,)),
    _Reads("/audio/translations", _TRANSCRIPTION, "audio", "file", (Upload,)),
)
_RESPONSES = _Reads("/responses", OpenAIResponses(), "responses", "input", (str, list))
_COMPACTION = _Reads("/responses/compact", OpenAICompaction(), "responses", "input", (str, list))
_INPUT_TOKENS = _Reads("/responses/input_tokens", None, "input_tokens", "input", free=True)
_MESSAGES = _Reads("/messages", AnthropicMessages(), "chat", "messages")
_COUNT_TOKENS = _Reads(
    "/messages/count_tokens", AnthropicCountTokens(), "count_tokens", "messages", (list,), True
)

_GEMINI = (
    _Reads(":generatecontent", GeminiGenerate(), "chat", "contents", (list, dict, str)),
    _Reads(":streamgeneratecontent", GeminiStream(), "chat", "contents", (list, dict, str)),
    _Reads(":counttokens", GeminiCountTokens(), "count_tokens", "contents", (list, dict, str), free=True),
    _Reads(":embedcontent", GeminiEmbed(), "embeddings", "content", (dict, str)),
    _Reads(":batchembedcontents", GeminiBatchEmbed(), "embeddings", "requests"),
)

_CONVERSE = _Reads("/converse", BedrockConverse(), "chat", "messages")
_CONVERSE_STREAM = _Reads("/converse-stream", BedrockConverseStream(), "chat", "messages")
_BEDROCK = (
    _CONVERSE,
    _CONVERSE_STREAM,
    _Reads("/invoke", BedrockInvoke(), "chat", "messages", within="/model/"),
    _Reads("/invoke-with-response-stream", BedrockInvokeStream(), "chat", "messages", within="/model/"),
)
_RERANK = _Reads("/rerank", Rerank(), "rerank", "documents")
_COHERE_CHAT = _Reads("/v2/chat", CohereChat(), "chat", "messages")
_COHERE_EMBED = _Reads("/v2/embed", CohereEmbed(), "embeddings", "input_type", (str,))

_FORMATS = (
    _CHAT,
    _COMPLETIONS,
    _EMBEDDINGS,
    _MODERATIONS,
    *_MEDIA,
    _RESPONSES,
    _COMPACTION,
    _MESSAGES,
    _COUNT_TOKENS,
    *_GEMINI,
    _CONVERSE,
    _CONVERSE_STREAM,
    _RERANK,
    _COHERE_CHAT,
    _COHERE_EMBED,
)
_NEEDS = {reads.format.name: (reads.needs, reads.of) for reads in _FORMATS if reads.format}

_TEXTS = (_CHAT, _COMPLETIONS, _EMBEDDINGS, _MODERATIONS, _RESPONSES, _COMPACTION, *_MEDIA)
_BATCHES = _Reads("/batches", OpenAIBatches(), "batches", "input_file_id", (str,))
_KEPT = (  # what is only kept for calls that are made later
    _Reads("/files", None, "files", "file", free=True),
    _Reads("/uploads", None, "files", "filename", free=True),
    _Reads("/parts", None, "files", "data", free=True, within="/uploads/"),
    _Reads("/complete", None, "files", "part_ids", free=True, within="/uploads/"),
    _Reads("/conversations", None, "conversations", "items", free=True),
    _Reads("/items", None, "conversations", "items", free=True, within="/conversations/"),
)
_OPENAI = (*_TEXTS, _INPUT_TOKENS, _BATCHES, *_KEPT)
_ANTHROPIC = (
    _MESSAGES,
    _COUNT_TOKENS,
    _Reads("/messages/batches", AnthropicBatches(), "message_batches", "requests"),
    _Reads("/files", None, "files", "file", free=True),
)
_COMPATIBLE = (*_TEXTS, _BATCHES, *_KEPT, _MESSAGES, _COUNT_TOKENS, _RERANK)
_AWS = (
    *_BEDROCK,
    _Reads("/count-tokens", None, "count_tokens", "input", (dict,), free=True),
    _CHAT,
    _RESPONSES,
    _INPUT_TOKENS,
    _MESSAGES,
    _COUNT_TOKENS,
    *(
        _Reads(suffix, None, "unknown", "")
        for suffix in ("/model-invocation-job", "/model-customization-jobs", "/provisioned-model-throughput")
    ),
)
_COHERE = (
    _COHERE_CHAT,
    _Reads("/v1/chat", CohereChatV1(), "chat", "message", (str,)),
    _COHERE_EMBED,
    _COHERE_EMBED._replace(suffix="/v1/embed"),
    _RERANK._replace(format=Rerank(cohere_refusal)),
    _CHAT,
    _EMBEDDINGS,
    _Reads("/tokenize", None, "tokenize", "text", free=True),
    _Reads("/detokenize", None, "detokenize", "tokens", free=True),
    _Reads("/check-api-key", None, "check_api_key", "", free=True),
)
_MISTRAL_CHAT = _Reads("/chat/completions", MistralChat(), "chat", "messages")
_MISTRAL = (
    _MISTRAL_CHAT,
    _Reads("/fim/completions", MistralFim(), "completions", "prompt", (str,)),
    _Reads("/agents/completions", MistralAgentChat(), "chat", "messages"),
    _Reads("/conversations", MistralConversation(), "chat", "inputs", (str, list)),
    _Reads("/embeddings", MistralEmbeddings(), "embeddings", "input", (str, list)),
    _Reads("/ocr", MistralOcr(), "ocr", "document", (dict,)),
    _Reads("/files", None, "files", "file", free=True),
)
_VOYAGE = (
    _Reads("/embeddings", VoyageEmbeddings(), "embeddings", "input", (str, list)),
    _Reads("/multimodalembeddings", VoyageInputs(), "embeddings", "inputs"),
    _Reads("/contextualizedembeddings", VoyageInputs(), "embeddings", "inputs"),
    _RERANK._replace(format=Rerank(voyage_refusal)),
)
_CLAUDE, _PUBLISHED = "/publishers/anthropic/models/", "/publishers/"
_GOOGLE = (
    *_GEMINI,
    _Reads("/cachedcontents", GeminiCache(), "cached_contents", "contents"),
    _Reads("/files", None, "files", "file", free=True),
    # what is no deployment of the user's, though it stands where one would
    _Reads("/endpoints/openapi/chat/completions", _CHAT.format, "chat", "messages"),
    _Reads("/endpoints/openapi/embeddings", _EMBEDDINGS.format, "embeddings", "input"),
    _CHAT,
    _EMBEDDINGS,
    # Vertex serves models of others in their makers' formats
    _Reads(
        "/count-tokens:rawpredict",
        _COUNT_TOKENS.format,
        "count_tokens",
        "messages",
        free=True,
        within=_CLAUDE,
    ),
    _Reads(":rawpredict", _MESSAGES.format, "chat", "messages", within=_CLAUDE),
    _Reads(":streamrawpredict", _MESSAGES.format, "chat", "messages", within=_CLAUDE),
    _Reads(":rawpredict", _MISTRAL_CHAT.format, "chat", "messages", within="/publishers/mistralai/models/"),
    _Reads(
        ":streamrawpredict", _MISTRAL_CHAT.format, "chat", "messages", within="/publishers/mistralai/models/"
    ),
    _Reads(":predict", VertexPredict(), "embeddings", "instances", within="/publishers/google/models/"),
    _Reads("predict", None, "unknown", "instances", within=_PUBLISHED),
    _Reads(":predictlongrunning", None, "unknown", "instances", within=_PUBLISHED),
    _Reads("/batchpredictionjobs", None, "unknown", "model"),
)

# One host before many providers, each by the first segment of the path (`/together/v1/…`).
_HUGGINGFACE = "router.huggingface.co"
_HUGGINGFACE_PROVIDERS = (
    "cerebras",
    "fireworks-ai",
    "groq",
    "hyperbolic",
    "nebius",
    "novita",
    "nscale",
    "ovhcloud",
    "publicai",
    "sambanova",
    "together",
)

_PROVIDERS: dict[str, tuple[_Reads, ...]] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "azure": (*_OPENAI, *_ANTHROPIC),
    "google": _GOOGLE,
    "cohere": _COHERE,
    "mistral": _MISTRAL,
    "aws": _AWS,
    "avian": _COMPATIBLE,
    "cerebras": _COMPATIBLE,
    "deepseek": _COMPATIBLE,
    "fireworks": _COMPATIBLE,
    "groq": _COMPATIBLE,
    "moonshotai": _COMPATIBLE,
    "novita": _COMPATIBLE,
    "openrouter": _COMPATIBLE,
    "ovhcloud": _COMPATIBLE,
    "perplexity": _COMPATIBLE,
    "together": _COMPATIBLE,
    "voyageai": _VOYAGE,
    "x-ai": _COMPATIBLE,
    "zai": _COMPATIBLE,
    **{f"huggingface_{name}": _COMPATIBLE for name in _HUGGINGFACE_PROVIDERS},
}

_HOSTS: dict[str, str] = {
    "api.openai.com": "openai",
    "api.anthropic.com": "anthropic",
    "api.avian.io": "avian",
    "api.cerebras.ai": "cerebras",
    "api.cohere.ai": "cohere",
    "api.cohere.com": "cohere",
    "production.api.cohere.ai": "cohere",
    "api.deepseek.com": "deepseek",
    "api.fireworks.ai": "fireworks",
    "generativelanguage.googleapis.com": "google",
    "generativelanguage.mtls.googleapis.com": "google",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "codestral.mistral.ai": "mistral",
    "api.moonshot.ai": "moonshotai",
    "api.moonshot.cn": "moonshotai",
    "api.novita.ai": "novita",
    "openrouter.ai": "openrouter",
    "api.openrouter.ai": "openrouter",
    "oai.endpoints.kepler.ai.cloud.ovh.net": "ovhcloud",
    "api.perplexity.ai": "perplexity",
    "api.together.xyz": "together",
    "api.together.ai": "together",
    "api.voyageai.com": "voyageai",
    "ai.mongodb.com": "voyageai",
    "api.x.ai": "x-ai",
    "api.z.ai": "zai",
}

# Hosts by the end of their names: regions and tenants.
_DOMAINS: tuple[tuple[str, str], ...] = (
    (".api.openai.com", "openai"),
    (".openai.azure.com", "azure"),
    (".api.x.ai", "x-ai"),
)
_MIXED_DOMAINS = (".cognitiveservices.azure.com", ".services.ai.azure.com")
"""Azure's hosts of models beside other services."""

_MIXED_HOSTS = re.compile(r"(?:[a-z0-9-]+-)?aiplatform(?:\.mtls|\.[a-z0-9-]+\.rep)?\.googleapis\.com")
"""Vertex AI's hosts, those of regions included, of models beside other services."""

_BEDROCK_HOSTS = re.compile(
    r"(?:[a-z0-9-]+\.)*(bedrock(?:-runtime|-agent-runtime|-mantle)?)(?:-fips)?\.[a-z0-9-]+\."
    r"(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws|amazonaws\.eu)"
)
"""Amazon Bedrock's hosts in all regions; that which manages it serves no model."""

_DEPLOYED = ("/deployments/", "/endpoints/", "/tunedmodels/")
"""What the deployment of a model follows in a URL."""
_MARKERS = ("/deployments/", "/models/", "/engines/")
"""What it, or a model, follows; the last one elsewhere the software that runs it."""
_OWN_MARKERS = {None: _MARKERS[:2], "google": ("/endpoints/", "/tunedmodels/", "/models/")}
_NAMING = re.compile("|".join({*_MARKERS, *_DEPLOYED, "/model/"}))
_BY_MODEL = tuple(reads.suffix for reads in _BEDROCK)
_VERSION = re.compile(r"(?:/extensions|/openai|/v[0-9]+)*\Z")


def find(method: str, host: str, path: str, hosts: Mapping[str, str | None] = NO_HOSTS) -> Route | None:
    """The route of a request; None for what is neither a call nor a look-up.

    `hosts`, as `check_hosts` answers it, decides over the table. Only a POST is a call. On a known host any
    POST has a route, without a format where none reads it; elsewhere only what ends like a format's path has
    one, and `plausible` has the last word once its body is parsed. A look-up is a GET of what a known host lists
    or keeps, or of a response on any host, or a POST that cancels such a thing.
    """
    name = _bare(host)
    asked = path.partition("?")[0]
    if method != "POST" and method.upper() != "POST":
        return _looked_up(name, path, hosts) if method.upper() == "GET" else None
    if asked.endswith("/cancel") and (look_up := _looked_up(name, asked, hosts)) is not None:
        return look_up
    path = plain(asked)
    table: _Table | None
    if name in hosts:
        decided = hosts[name]
        table = _TABLES[decided] if decided is not None else _NO_CALLS
    else:
        table = _known(name, path)
    suffix, route = (table if table is not None else _STRANGERS).routed(path)
    if route is None or route.format is None or not (route.provider == "azure" or _NAMING.search(path)):
        return route
    return _named(route, name, squeezed(asked), suffix)


def _looked_up(name: str, path: str, hosts: Mapping[str, str | None]) -> Route | None:
    """The look-up at a path of a host, if it is one."""
    table = _known(name, path) or _STRANGERS
    provider = hosts.get(name, table.provider)
    return None if provider is None and name in hosts else looked_up(provider, path)


def _named(route: Route, host: str, path: str, suffix: str) -> Route:
    """The route with what its URL says of the model, in the letters that it is written in."""
    lower = path.lower()
    if len(lower) != len(path):  # some letters have no small one of their own
        path = lower
    own = ("/model/",) if suffix in _BY_MODEL else _OWN_MARKERS.get(route.provider, _MARKERS)
    for marker in own:
        begin, end = lower.find(marker) + len(marker), len(path) - len(suffix)
        if begin >= len(marker) and end > begin:
            named = _VERSION.sub("", f"/{path[begin:end]}").strip("/")
            return replace(route, named=named or None, deployed=marker in _DEPLOYED, host=host)
    return replace(route, host=host)


def plain(path: str) -> str:
    """A path as servers read it that are not particular: small letters, single slashes, none at the end."""
    return squeezed(path.lower())


def squeezed(path: str) -> str:
    """A path with single slashes, and none at its end."""
    path = path.rstrip("/")
    while "//" in path:
        path = path.replace("//", "/")
    return path


def strange(host: str, hosts: Mapping[str, str | None] = NO_HOSTS) -> bool:
    """Whether nothing is known of a host: there only the end of a path (`SUFFIXES`) makes a request a call."""
    name = _bare(host)
    return name not in hosts and _known(name, "/") is None


def plausible(route: Route, body: Mapping[str, Any]) -> bool:
    """Whether a parsed body belongs to its route: on a host nobody knows, the path's end alone says little.

    It does where it, or the URL, names a model, and it has what the format needs beside it.
    """
    if route.provider is not None or route.format is None:
        return True
    return claims(route, body.items())


def claims(route: Route, members: Iterable[tuple[str, Any]]) -> bool:
    """The same of a body's members as they stand in it, twice perhaps, or in letters that only some servers read."""
    needs, kinds = _NEEDS[route.format.name] if route.format is not None else ("", ())
    named, has = route.named is not None, False
    for name, value in members:
        match jsontext.folded(name):
            case "model":
                named = named or (isinstance(value, str) and value != "")
            case "models":
                named = named or (isinstance(value, list) and value != [])
            case other if other == needs:
                has = has or isinstance(value, kinds)
    return named and has


def check_hosts(hosts: Mapping[str, str | None]) -> dict[str, str | None]:
    """The hosts a user decides over, as `find` takes them: name → provider, or None for never a call.

    Raises `ConfigurationError` for a provider that is not known, naming those that are.
    """
    for host, provider in hosts.items():
        if provider is not None and provider not in _PROVIDERS:
            known = ", ".join(sorted(_PROVIDERS))
            raise ConfigurationError("hosts", f"{host!r} is given to {provider!r}; known are None, {known}")
    return {_bare(host): provider for host, provider in hosts.items()}


class _Table(NamedTuple):
    """The routes of one provider, made once."""

    routes: tuple[tuple[str, str, Route], ...]
    unknown: Route | None

    @property
    def provider(self) -> str | None:
        """Whose they are; None of a host nobody knows."""
        return self.routes[0][2].provider if self.routes else None

    def routed(self, path: str) -> tuple[str, Route | None]:
        """The route of a path, and the suffix that it is known by."""
        for suffix, within, route in self.routes:
            if path.endswith(suffix) and within in path:
                return suffix, route
        return "", self.unknown


def _table(provider: str | None, formats: tuple[_Reads, ...], *, alone: bool = True) -> _Table:
    """`alone`: whether nothing but LLM calls is posted there."""
    routes = (
        (reads.suffix, reads.within, Route(provider, reads.format, reads.operation, reads.free))
        for reads in formats
    )
    return _Table(tuple(routes), Route(provider, None, "unknown") if alone else None)


_TABLES = {provider: _table(provider, formats) for provider, formats in _PROVIDERS.items()}
_KNOWN = {host: _TABLES[provider] for host, provider in _HOSTS.items()}
_ENDS = tuple(end for end, _ in _DOMAINS)
_STRANGERS = _table(None, _FORMATS, alone=False)
_HUGGINGFACE_OTHERS = _table(None, _FORMATS)
_NO_CALLS = _table(None, (), alone=False)
_MIXED = _table("azure", _PROVIDERS["azure"], alone=False)
_BEDROCK_CONTROL = _table("aws", _PROVIDERS["aws"], alone=False)
_VERTEX = _table("google", _PROVIDERS["google"], alone=False)
SUFFIXES = tuple(reads.suffix for reads in _FORMATS)
"""How the paths end that are calls on any host."""


def _known(name: str, path: str) -> _Table | None:
    if name == _HUGGINGFACE:
        return _TABLES.get(f"huggingface_{path[1:].partition('/')[0]}", _HUGGINGFACE_OTHERS)
    if name.endswith(_ENDS):
        return next(_TABLES[provider] for end, provider in _DOMAINS if name.endswith(end))
    if name.endswith(_MIXED_DOMAINS):
        return _MIXED
    if name.endswith(".googleapis.com") and _MIXED_HOSTS.fullmatch(name):
        return _VERTEX
    if "bedrock" in name and (found := _BEDROCK_HOSTS.fullmatch(name)):
        return _BEDROCK_CONTROL if found[1] == "bedrock" else _TABLES["aws"]
    return _KNOWN.get(name)


def _bare(host: str) -> str:
    """A host's name without its port and trailing dot, in small letters."""
    name = host.lower()
    head, _, port = name.rpartition(":")
    if port.isdigit() and (":" not in head or head.endswith("]")):
        name = head or name
    return name.removesuffix(".")
