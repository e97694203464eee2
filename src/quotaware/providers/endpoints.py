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
from .by_request import ByRequest
from .cohere import CohereChat, CohereChatV1, CohereEmbed, CohereTranscription, cohere_refusal
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
from .gemini_batches import GeminiBatch, GeminiEmbedBatch
from .gemini_interactions import GeminiInteractions
from .google_shape import google_refusal
from .mistral import (
    MistralAgentChat,
    MistralChat,
    MistralContinuation,
    MistralConversation,
    MistralEmbeddings,
    MistralFim,
    MistralModerations,
    MistralOcr,
    MistralSpeech,
    MistralTranscription,
)
from .ollama import OllamaChat, OllamaEmbed, OllamaGenerate
from .openai_audio import OpenAISpeech, OpenAITranscription
from .openai_batches import OpenAIBatches
from .openai_chat import OpenAIChat
from .openai_completions import OpenAICompletions
from .openai_embeddings import OpenAIEmbeddings
from .openai_images import OpenAIImages, OpenAIVariations
from .openai_moderations import OpenAIModerations
from .openai_responses import OpenAICompaction, OpenAIResponses
from .pooling import Pooling
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
    Reads(":batchgeneratecontent", GeminiBatch(), ("batch",), (dict,)),
    Reads(":asyncbatchembedcontent", GeminiEmbedBatch(), ("batch",), (dict,)),
    Reads("/interactions", GeminiInteractions(), ("input",), _ASKED),
)
_CONVERSE = (
    Reads("/converse", BedrockConverse(), ("messages",)),
    Reads("/converse-stream", BedrockConverseStream(), ("messages",)),
)
_OLLAMA = (
    Reads("/api/chat", OllamaChat(), ("messages",)),
    Reads("/api/generate", OllamaGenerate(), ("prompt",), (str,)),
    Reads("/api/embed", OllamaEmbed(), ("input", "prompt"), _TEXT),
    Reads("/api/embeddings", OllamaEmbed(), ("input", "prompt"), _TEXT),
)
_POOLING = (
    Reads("/score", Pooling(), ("text_1", "queries", "data_1", "input", "messages"), _TEXT),
    Reads("/pooling", Pooling(), ("text_1", "queries", "data_1", "input", "messages"), _TEXT),
)
_RERANK = Reads("/rerank", Rerank(), ("documents",))
_COHERE_CHAT = Reads("/v2/chat", CohereChat(), ("messages",))
_COHERE_EMBED = Reads("/v2/embed", CohereEmbed(), ("input_type",), (str,))

ANYWHERE = (
    *_OLLAMA,
    *_TEXTS,
    *_CLAUDE,
    *_GEMINI,
    *_CONVERSE,
    *_POOLING,
    _RERANK,
    _COHERE_CHAT,
    _COHERE_EMBED,
)
"""What is a call on any host, if its body is one's."""

_BATCHES = Reads("/batches", OpenAIBatches())
_VIDEOS = ByRequest("videos")
_CANCELLED = _free("cancel", "/cancel", ":cancel")
_KEPT = (  # for calls that are made later
    *_unread("/files", within="/vector_stores/"),  # billed by the day that they are kept
    *_free("files", "/files", "/uploads"),
    *_free("files", "/parts", "/complete", within="/uploads/"),
    *_free("conversations", "/conversations"),
    *_free("conversations", "/items", within="/conversations/"),
    *_free("threads", "/assistants", "/threads"),
    *_free("threads", "/messages", within="/threads/"),
)
_SERVED = (  # by those who serve models of others
    _RERANK,
    *_POOLING,
    Reads("/classify", Pooling()),
    *_free("tokenize", "/tokenize", "/detokenize"),
    *_free("manage", "/api/show", "/api/pull", "/api/push", "/api/copy", "/api/create"),
)
_OPENAI = (
    *_OLLAMA,
    *_TEXTS,
    *_INPUT_TOKENS,
    _BATCHES,
    Reads("/videos", _VIDEOS),
    Reads("/videos/edits", _VIDEOS),
    Reads("/videos/extensions", _VIDEOS),
    *_KEPT,
    *_free("skills", "/skills"),
    *_free("organization", "", within="/v1/organization/"),
    *_free("fine_tuning", "/graders/validate"),
    *_unread("/runs", "/submit_tool_outputs"),
    *_CANCELLED,
    *_SERVED,
)
_MESSAGE_BATCHES = Reads("/messages/batches", AnthropicBatches())
_ANTHROPIC = (
    *_CLAUDE,
    _MESSAGE_BATCHES,
    *_free("files", "/files"),
    *_free("skills", "/skills"),
    *_free("organization", "", within="/v1/organizations/"),
)
_AZURE = (
    _MESSAGE_BATCHES,
    *_OPENAI,
    *_ANTHROPIC,
    Reads("/video/generations/jobs", _VIDEOS),
    _COHERE_EMBED,
)
_COMPATIBLE = (
    *_OLLAMA,
    *_TEXTS,
    _BATCHES,
    Reads("/videos", _VIDEOS),
    Reads("/videos/generations", _VIDEOS),
    Reads("/videos/edits", _VIDEOS),
    Reads("/videos/extensions", _VIDEOS),
    *_KEPT,
    *_CLAUDE,
    *_free("files", "/files/upload"),
    *_free("tokenize", "/tokenize-text", "/tokenizer", "/estimate-token-count"),
    *_free("fine_tuning", "/fine-tunes/estimate-price"),
    *_CANCELLED,
    *_SERVED,
)
_OPENROUTER = (
    # a preset may choose any model
    *_unread("/chat/completions", "/messages", "/responses", within="/presets/"),
    Reads("/images", _IMAGES),
    *_free("keys", "/keys", "/auth/keys/code"),
    *_free("feedback", "/generation/feedback"),
    *_COMPATIBLE,
)
_PERPLEXITY = (*_unread("/async/chat/completions"), *_COMPATIBLE)
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
    *_free("sessions", "/sessions", "/invocations", "/invocationsteps"),
    # jobs, and what is rented, at the host that manages
    *_unread(
        "/model-invocation-job",
        "/model-customization-jobs",
        "/custom-model-deployments",
        "/create-custom-model",
        "/model-import-jobs",
        "/provisioned-model-throughput",
        "/marketplace-model/endpoints",
        "/evaluation-jobs",
        "/advanced-prompt-optimization-jobs",
        "/start",
        "/test-workflows",
    ),
)
_COHERE_RERANK = Rerank(cohere_refusal)
_COHERE = (
    _COHERE_CHAT,
    Reads("/v1/chat", CohereChatV1()),
    _COHERE_EMBED,
    Reads("/v1/embed", _COHERE_EMBED.format),
    Reads("/rerank", _COHERE_RERANK),
    _CHAT,
    _EMBEDDINGS,
    Reads("/audio/transcriptions", CohereTranscription()),
    *_free("tokenize", "/tokenize"),
    *_free("detokenize", "/detokenize"),
    *_free("check_api_key", "/check-api-key"),
    *_free("files", "/datasets"),
    *_free("connectors", "/connectors"),
    *_CANCELLED,
)
_MISTRAL_CHAT, _MODERATION = MistralChat(), MistralModerations()
_MISTRAL = (
    Reads("/chat/completions", _MISTRAL_CHAT),
    Reads("/fim/completions", MistralFim()),
    Reads("/agents/completions", MistralAgentChat()),
    Reads("/conversations", MistralConversation()),
    Reads("/embeddings", MistralEmbeddings()),
    Reads("/moderations", _MODERATION),
    Reads("/classifications", _MODERATION),
    Reads("/ocr", MistralOcr()),
    Reads("/audio/transcriptions", MistralTranscription()),
    Reads("/audio/speech", MistralSpeech()),
    *_free("files", "/files"),
    *_free("agents", "/agents"),
    *_CANCELLED,
    Reads("", MistralContinuation(), within="/conversations/"),
)
_VOYAGE = (
    Reads("/embeddings", VoyageEmbeddings()),
    Reads("/multimodalembeddings", VoyageInputs()),
    Reads("/contextualizedembeddings", VoyageInputs()),
    Reads("/rerank", Rerank(voyage_refusal)),
    *_free("files", "/files"),
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
    *_free("files", "/files", "/files:register"),
    *_free("count_tokens", ":computetokens"),
    *_free("operations", ":cancel", ":fetchpredictoperation"),
    *_free("agents", "/agents", "/webhooks", ":ping", ":rotatesigningsecret"),
    *_free("file_search_stores", "/filesearchstores"),
    # what is no deployment of the user's, though it stands where one would
    Reads("/endpoints/openapi/chat/completions", _CHAT.format),
    Reads("/endpoints/openapi/embeddings", _EMBEDDINGS.format),
    _CHAT,
    _EMBEDDINGS,
    Reads("/openai/images/generations", _IMAGES),
    # Vertex serves models of others in their makers' formats
    Reads("/count-tokens:rawpredict", _CLAUDE[1].format, free=True, within=_OF_ANTHROPIC),
    Reads(":rawpredict", _CLAUDE[0].format, within=_OF_ANTHROPIC),
    Reads(":streamrawpredict", _CLAUDE[0].format, within=_OF_ANTHROPIC),
    Reads(":rawpredict", _MISTRAL_CHAT, within=_OF_MISTRAL),
    Reads(":streamrawpredict", _MISTRAL_CHAT, within=_OF_MISTRAL),
    Reads(":predict", VertexPredict(), within=_OF_GOOGLE),
    Reads(":predict", VertexPredict(), within="/models/imagen"),
    Reads(":predictlongrunning", ByRequest("videos", google_refusal)),
    *_unread("predict", within=_PUBLISHED),
    *_unread(
        "/batchpredictionjobs",
        "/tuningjobs",
        ":evaluateinstances",
        ":corroboratecontent",
        ":augmentprompt",
        ":retrievecontexts",
        ":askcontexts",
        ":query",
        ":streamquery",
        "/ragfiles:import",
    ),
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
    "ovhcloud",
    "together",
    "x-ai",
    "zai",
)
"""Providers in OpenAI's shape, and some of them in Anthropic's."""
PROVIDERS: Mapping[str, tuple[Reads, ...]] = {
    "openai": _OPENAI,
    "anthropic": _ANTHROPIC,
    "azure": _AZURE,
    "google": _GOOGLE,
    "cohere": _COHERE,
    "mistral": _MISTRAL,
    "aws": _AWS,
    "voyageai": _VOYAGE,
    "openrouter": _OPENROUTER,
    "perplexity": _PERPLEXITY,
    **dict.fromkeys(_SHAPED_ALIKE, _COMPATIBLE),
    **{f"huggingface_{name}": _COMPATIBLE for name in HUGGINGFACE},
}
