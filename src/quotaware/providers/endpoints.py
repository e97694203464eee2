"""What each provider has: which path of its API is a call, and in which format.

A format joins by its own file and one line here, a provider by one line in `PROVIDERS`, named as genai-prices names it,
and one for each of its hosts in `hosts.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from .anthropic_batches import AnthropicBatches
from .anthropic_messages import AnthropicCountTokens, AnthropicMessages
from .base import Format
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


class Reads(NamedTuple):
    """One row of a table: what is posted to a path.

    suffix     how the path ends
    format     what reads it; None: not read
    needs      a body has one of these members beside `model`; looked at only where nobody knows the host
    of         and what that is
    free       it costs nothing
    within     what the path holds besides
    operation  what it is called that no format reads
    """

    suffix: str
    format: Format | None
    needs: tuple[str, ...] = ()
    of: tuple[type, ...] = (list,)
    free: bool = False
    within: str = ""
    operation: str = "unknown"


def _free(operation: str, *suffixes: str, within: str = "") -> tuple[Reads, ...]:
    """What makes nothing that is billed."""
    return tuple(Reads(end, None, free=True, within=within, operation=operation) for end in suffixes)


def _unread(*suffixes: str, within: str = "") -> tuple[Reads, ...]:
    """What is billed in ways that are not known here; where nothing else is posted, that goes without saying."""
    return tuple(Reads(end, None, within=within) for end in suffixes)


_TEXT = (str, list)
_CHAT = Reads("/chat/completions", OpenAIChat(), ("messages",))
_EMBEDDINGS = Reads("/embeddings", OpenAIEmbeddings(), ("input",), _TEXT)
_IMAGES, _TRANSCRIPTION = OpenAIImages(), OpenAITranscription()
_TEXTS = (
    _CHAT,
    Reads("/completions", OpenAICompletions(), ("prompt",), _TEXT),
    _EMBEDDINGS,
    Reads("/moderations", OpenAIModerations(), ("input",), _TEXT),
    Reads("/images/generations", _IMAGES, ("prompt",), (str,)),
    Reads("/images/edits", _IMAGES, ("prompt",), (str,)),
    Reads("/images/variations", OpenAIVariations(), ("image",), (Upload,)),
    Reads("/audio/speech", OpenAISpeech(), ("input",), (str,)),
    Reads("/audio/transcriptions", _TRANSCRIPTION, ("file",), (Upload,)),
    Reads("/audio/translations", _TRANSCRIPTION, ("file",), (Upload,)),
    Reads("/responses", OpenAIResponses(), ("input",), _TEXT),
    Reads("/responses/compact", OpenAICompaction(), ("input",), _TEXT),
)
_RESPONSES = _TEXTS[-2]
_INPUT_TOKENS = _free("input_tokens", "/responses/input_tokens")
_CLAUDE = (
    Reads("/messages", AnthropicMessages(), ("messages",)),
    Reads("/messages/count_tokens", AnthropicCountTokens(), ("messages",), free=True),
)
_ASKED = (list, dict, str)
_GEMINI = (
    Reads(":generatecontent", GeminiGenerate(), ("contents",), _ASKED),
    Reads(":streamgeneratecontent", GeminiStream(), ("contents",), _ASKED),
    Reads(":counttokens", GeminiCountTokens(), ("contents",), _ASKED, free=True),
    Reads(":embedcontent", GeminiEmbed(), ("content",), (dict, str)),
    Reads(":batchembedcontents", GeminiBatchEmbed(), ("requests",)),
)
_CONVERSE = (
    Reads("/converse", BedrockConverse(), ("messages",)),
    Reads("/converse-stream", BedrockConverseStream(), ("messages",)),
)
_RERANK = Reads("/rerank", Rerank(), ("documents",))
_COHERE_CHAT = Reads("/v2/chat", CohereChat(), ("messages",))
_COHERE_EMBED = Reads("/v2/embed", CohereEmbed(), ("input_type",), (str,))

ANYWHERE = (*_TEXTS, *_CLAUDE, *_GEMINI, *_CONVERSE, _RERANK, _COHERE_CHAT, _COHERE_EMBED)
"""What is a call on any host, if its body is one's."""

_BATCHES = Reads("/batches", OpenAIBatches())
_KEPT = (  # for calls that are made later
    *_free("files", "/files", "/uploads"),
    *_free("files", "/parts", "/complete", within="/uploads/"),
    *_free("conversations", "/conversations"),
    *_free("conversations", "/items", within="/conversations/"),
)
_OPENAI = (*_TEXTS, *_INPUT_TOKENS, _BATCHES, *_KEPT)
_ANTHROPIC = (
    *_CLAUDE,
    Reads("/messages/batches", AnthropicBatches()),
    *_free("files", "/files"),
)
_COMPATIBLE = (*_TEXTS, _BATCHES, *_KEPT, *_CLAUDE, _RERANK)
_BEDROCK = (
    *_CONVERSE,
    Reads("/invoke", BedrockInvoke(), within="/model/"),
    Reads("/invoke-with-response-stream", BedrockInvokeStream(), within="/model/"),
)
BY_MODEL = tuple(reads.suffix for reads in _BEDROCK)
"""How paths end in which the model's name follows `/model/`."""
_AWS = (
    *_BEDROCK,
    *_free("count_tokens", "/count-tokens"),
    _CHAT,
    _RESPONSES,
    *_INPUT_TOKENS,
    *_CLAUDE,
    *_unread("/model-invocation-job", "/model-customization-jobs", "/provisioned-model-throughput"),
)
_COHERE = (
    _COHERE_CHAT,
    Reads("/v1/chat", CohereChatV1()),
    _COHERE_EMBED,
    Reads("/v1/embed", _COHERE_EMBED.format),
    Reads("/rerank", Rerank(cohere_refusal)),
    _CHAT,
    _EMBEDDINGS,
    *_free("tokenize", "/tokenize"),
    *_free("detokenize", "/detokenize"),
    *_free("check_api_key", "/check-api-key"),
)
_MISTRAL_CHAT = MistralChat()
_MISTRAL = (
    Reads("/chat/completions", _MISTRAL_CHAT),
    Reads("/fim/completions", MistralFim()),
    Reads("/agents/completions", MistralAgentChat()),
    Reads("/conversations", MistralConversation()),
    Reads("/embeddings", MistralEmbeddings()),
    Reads("/ocr", MistralOcr()),
    *_free("files", "/files"),
)
_VOYAGE = (
    Reads("/embeddings", VoyageEmbeddings()),
    Reads("/multimodalembeddings", VoyageInputs()),
    Reads("/contextualizedembeddings", VoyageInputs()),
    Reads("/rerank", Rerank(voyage_refusal)),
)
_OF_ANTHROPIC, _OF_MISTRAL, _OF_GOOGLE, _PUBLISHED = (
    "/publishers/anthropic/models/",
    "/publishers/mistralai/models/",
    "/publishers/google/models/",
    "/publishers/",
)
_GOOGLE = (
    *_GEMINI,
    Reads("/cachedcontents", GeminiCache()),
    *_free("files", "/files"),
    # what is no deployment of the user's, though it stands where one would
    Reads("/endpoints/openapi/chat/completions", _CHAT.format),
    Reads("/endpoints/openapi/embeddings", _EMBEDDINGS.format),
    _CHAT,
    _EMBEDDINGS,
    # Vertex serves models of others in their makers' formats
    Reads("/count-tokens:rawpredict", _CLAUDE[1].format, free=True, within=_OF_ANTHROPIC),
    Reads(":rawpredict", _CLAUDE[0].format, within=_OF_ANTHROPIC),
    Reads(":streamrawpredict", _CLAUDE[0].format, within=_OF_ANTHROPIC),
    Reads(":rawpredict", _MISTRAL_CHAT, within=_OF_MISTRAL),
    Reads(":streamrawpredict", _MISTRAL_CHAT, within=_OF_MISTRAL),
    Reads(":predict", VertexPredict(), within=_OF_GOOGLE),
    *_unread("predict", ":predictlongrunning", within=_PUBLISHED),
    *_unread("/batchpredictionjobs"),
)

HUGGINGFACE = (
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
"""Providers behind Hugging Face's router."""
_SHAPED_ALIKE = (
    "avian",
    "cerebras",
    "deepseek",
    "fireworks",
    "groq",
    "moonshotai",
    "novita",
    "openrouter",
    "ovhcloud",
    "perplexity",
    "together",
    "x-ai",
    "zai",
)
"""Providers in OpenAI's shape, and some of them in Anthropic's."""
PROVIDERS: Mapping[str, tuple[Reads, ...]] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "azure": (*_OPENAI, *_ANTHROPIC),
    "google": _GOOGLE,
    "cohere": _COHERE,
    "mistral": _MISTRAL,
    "aws": _AWS,
    "voyageai": _VOYAGE,
    **dict.fromkeys(_SHAPED_ALIKE, _COMPATIBLE),
    **{f"huggingface_{name}": _COMPATIBLE for name in HUGGINGFACE},
}
