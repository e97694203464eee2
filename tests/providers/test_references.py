"""Requests and answers in the shapes of the providers' API references, each read as its path says.

The address of each stands beside it; what bears on nothing is left out, and figures are any where a reference has none.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from quotaware.core.bounds import Call
from quotaware.core.usage import Usage
from quotaware.providers import naming
from quotaware.providers.base import Format, Route
from quotaware.providers.jsontext import parse
from quotaware.providers.registry import find
from tests.providers.test_recorded import feed_all

GEMINI = "generativelanguage.googleapis.com"
VERTEX = "us-central1-aiplatform.googleapis.com"


@dataclass
class Example:
    """model: as it is priced; used: what the answer tells, None where it tells nothing; cost: nano-dollars;
    own: what a pass of the model beside the answer used.
    """

    address: str
    url: str
    asked: dict[str, Any]
    answer: dict[str, Any] | list[dict[str, Any]]
    model: str | None
    used: Usage | None
    operation: str
    cost: int | None = None
    own: Usage | None = None
    deployments: dict[str, str] = field(default_factory=dict)

    @property
    def route(self) -> Route:
        host, _, path = self.url.partition("/")
        route = find("POST", host, f"/{path}")
        assert route is not None
        return route

    @property
    def format(self) -> Format:
        assert self.route.format is not None
        return self.route.format

    def call(self) -> Call:
        return naming.read(self.route, self.format, parse(json.dumps(self.asked).encode()), self.deployments)


HI = [{"role": "user", "content": "Hello!"}]
CHAT_USAGE = {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29}
CHAT = {"id": "c", "object": "chat.completion", "model": "m", "choices": [], "usage": CHAT_USAGE}
EMBEDDED = {"object": "list", "data": [], "model": "m", "usage": {"prompt_tokens": 8, "total_tokens": 8}}
IMAGE_USAGE = {
    "total_tokens": 100,
    "input_tokens": 50,
    "output_tokens": 50,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
}
IMAGE_USED = Usage(input=50, output=50, image_input=40, image_output=50)
SPOKEN = Usage(input=14, output=31, audio_input=4)

EXAMPLES = [
    Example(
        "platform.openai.com/docs/api-reference/responses/compact",
        "api.openai.com/v1/responses/compact",
        {"model": "gpt-5.1-codex-max", "input": HI},
        {
            "id": "resp_001",
            "object": "response.compaction",
            "output": [{"id": "cmp_001", "type": "compaction", "encrypted_content": "gAAAAABpM0Yj-...="}],
            "usage": {
                "input_tokens": 139,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens": 438,
                "output_tokens_details": {"reasoning_tokens": 64},
                "total_tokens": 577,
            },
        },
        "gpt-5.1-codex-max",
        Usage(),
        "responses",
        own=Usage(input=139, output=438, reasoning=64),
    ),
    Example(
        "platform.openai.com/docs/api-reference/images-streaming/image_edit",
        "api.openai.com/v1/images/edits",
        {"model": "gpt-image-1", "prompt": "a cat", "image": [], "stream": True},
        [
            {"type": "image_edit.partial_image", "b64_json": "...", "partial_image_index": 0},
            {"type": "image_edit.completed", "b64_json": "...", "usage": IMAGE_USAGE},
        ],
        "gpt-image-1",
        IMAGE_USED,
        "images",
    ),
    Example(
        "platform.openai.com/docs/api-reference/images/createVariation",
        "api.openai.com/v1/images/variations",
        {"model": "dall-e-2", "image": "otter.png", "n": 2},
        {"created": 1589478378, "data": [{"url": "https://..."}, {"url": "https://..."}]},
        "dall-e-2",
        Usage(images=2),
        "images",
    ),
    Example(
        "platform.openai.com/docs/api-reference/audio/transcript-text-done-event",
        "api.openai.com/v1/audio/transcriptions",
        {"model": "gpt-4o-transcribe", "stream": True},
        [
            {"type": "transcript.text.delta", "delta": " wonderful"},
            {
                "type": "transcript.text.done",
                "text": "I see skies of blue",
                "usage": {
                    "type": "tokens",
                    "input_tokens": 14,
                    "input_token_details": {"text_tokens": 10, "audio_tokens": 4},
                    "output_tokens": 31,
                    "total_tokens": 45,
                },
            },
        ],
        "gpt-4o-transcribe",
        SPOKEN,
        "audio",
    ),
    Example(
        "platform.openai.com/docs/api-reference/videos/create",
        "api.openai.com/v1/videos",
        {"model": "sora-2", "prompt": "A calico cat playing a piano on stage"},
        {"id": "video_123", "object": "video", "model": "sora-2", "status": "queued", "seconds": "8"},
        "sora-2",
        None,
        "videos",
    ),
    Example(
        "learn.microsoft.com/azure/ai-foundry/openai/reference (deployments)",
        "acme.openai.azure.com/openai/deployments/mine/images/generations",
        {"prompt": "a cat", "n": 1},
        {"created": 1, "data": [{"b64_json": "..."}], "usage": IMAGE_USAGE},
        "gpt-image-1",
        IMAGE_USED,
        "images",
        deployments={"mine": "gpt-image-1"},
    ),
    Example(
        "learn.microsoft.com/azure/ai-foundry/openai/latest (v1)",
        "acme.openai.azure.com/openai/v1/responses",
        {"model": "mine", "input": "hi"},
        {"model": "gpt-4.1", "status": "completed", "usage": {"input_tokens": 3, "output_tokens": 4}},
        "gpt-4.1",
        Usage(3, 4),
        "responses",
        deployments={"mine": "gpt-4.1"},
    ),
    Example(
        "ai.google.dev/gemini-api/docs/openai",
        f"{GEMINI}/v1beta/openai/chat/completions",
        {"model": "gemini-2.5-flash", "messages": HI},
        {**CHAT, "model": "gemini-2.5-flash"},
        "gemini-2.5-flash",
        Usage(19, 10),
        "chat",
    ),
    Example(
        "ai.google.dev/gemini-api/docs/openai#embeddings",
        f"{GEMINI}/v1beta/openai/embeddings",
        {"model": "gemini-embedding-001", "input": "Your text string goes here"},
        EMBEDDED,
        "gemini-embedding-001",
        Usage(8),
        "embeddings",
    ),
    Example(
        "ai.google.dev/api/caching#method:-cachedcontents.create",
        f"{GEMINI}/v1beta/cachedContents",
        {"model": "models/gemini-2.5-flash", "contents": [{"parts": [{"text": "a book"}]}], "ttl": "300s"},
        {"name": "cachedContents/1", "usageMetadata": {"totalTokenCount": 43130}},
        "gemini-2.5-flash",
        Usage(input=43130, cache_write=43130),
        "cached_contents",
    ),
    Example(
        "cloud.google.com/vertex-ai/generative-ai/docs/model-reference/imagen-api",
        f"{VERTEX}/v1/projects/p/locations/l/publishers/google/models/imagen-4.0-generate-001:predict",
        {"instances": [{"prompt": "a cat"}], "parameters": {"sampleCount": 2}},
        {"predictions": [{"bytesBase64Encoded": "iVBOR", "mimeType": "image/png"}] * 2},
        "imagen-4.0-generate-001",
        Usage(images=2),
        "images",
    ),
    Example(
        "openrouter.ai/docs/api-reference/responses",
        "openrouter.ai/api/v1/responses",
        {"model": "openai/gpt-4o", "input": "Tell me a joke"},
        {
            "model": "openai/gpt-4o",
            "status": "completed",
            "usage": {
                "input_tokens": 10,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens": 20,
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": 30,
            },
        },
        "openai/gpt-4o",
        Usage(10, 20),
        "responses",
    ),
    Example(
        "openrouter.ai/docs/api-reference/anthropic-messages",
        "openrouter.ai/api/v1/messages",
        {"model": "anthropic/claude-sonnet-4", "max_tokens": 1024, "messages": HI},
        {
            "type": "message",
            "model": "anthropic/claude-sonnet-4",
            "usage": {
                "cache_creation": None,
                "cache_creation_input_tokens": None,
                "cache_read_input_tokens": None,
                "input_tokens": 12,
                "output_tokens": 18,
            },
        },
        "anthropic/claude-sonnet-4",
        Usage(12, 18),
        "chat",
    ),
    Example(
        "openrouter.ai/docs/api-reference/images",
        "openrouter.ai/api/v1/images",
        {"model": "bytedance-seed/seedream-4.5", "prompt": "a red panda astronaut floating in space"},
        {
            "created": 1748372400,
            "data": [{"b64_json": "..."}],
            "usage": {"completion_tokens": 4175, "cost": 0.04, "prompt_tokens": 0, "total_tokens": 4175},
        },
        "bytedance-seed/seedream-4.5",
        Usage(output=4175, image_output=4175),
        "images",
        cost=40_000_000,
    ),
    Example(
        "openrouter.ai/docs/api-reference/transcriptions",
        "openrouter.ai/api/v1/audio/transcriptions",
        {"model": "openai/whisper-large-v3", "input_audio": {"data": "UklGRiQA", "format": "wav"}},
        {
            "text": "Hello",
            "usage": {
                "cost": 0.000508,
                "input_tokens": 83,
                "output_tokens": 30,
                "seconds": 9.2,
                "total_tokens": 113,
            },
        },
        "openai/whisper-large-v3",
        Usage(83, 30),
        "audio",
        cost=508_000,
    ),
    Example(
        "openrouter.ai/docs/api-reference/rerank",
        "openrouter.ai/api/v1/rerank",
        {"model": "cohere/rerank-v3.5", "query": "What is the capital of France?", "documents": ["Paris"]},
        {
            "id": "gen-rerank-1234567890-abc",
            "model": "cohere/rerank-v3.5",
            "results": [],
            "usage": {"search_units": 1, "total_tokens": 150},
        },
        "cohere/rerank-v3.5",
        Usage(150),
        "rerank",
    ),
    Example(
        "openrouter.ai/docs/api-reference/embeddings",
        "openrouter.ai/api/v1/embeddings",
        {"model": "openai/text-embedding-3-small", "input": "The quick brown fox"},
        {**EMBEDDED, "model": "openai/text-embedding-3-small"},
        "openai/text-embedding-3-small",
        Usage(8),
        "embeddings",
    ),
    Example(
        "api-docs.deepseek.com/guides/anthropic_api",
        "api.deepseek.com/anthropic/v1/messages",
        {"model": "deepseek-chat", "max_tokens": 1000, "messages": HI},
        {"type": "message", "model": "deepseek-chat", "usage": {"input_tokens": 12, "output_tokens": 18}},
        "deepseek-chat",
        Usage(12, 18),
        "chat",
    ),
    Example(
        "api-docs.deepseek.com/api/create-completion (FIM, beta)",
        "api.deepseek.com/beta/completions",
        {
            "model": "deepseek-chat",
            "prompt": "def fib(a):",
            "suffix": "    return fib(a-1)",
            "max_tokens": 128,
        },
        {
            "object": "text_completion",
            "model": "deepseek-chat",
            "choices": [],
            "usage": {
                **CHAT_USAGE,
                "prompt_cache_hit_tokens": 5,
                "prompt_cache_miss_tokens": 14,
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        },
        "deepseek-chat",
        Usage(19, 10, cache_read=5, reasoning=2),
        "completions",
    ),
    Example(
        "docs.x.ai/docs/api-reference#image-generations",
        "api.x.ai/v1/images/generations",
        {"model": "grok-2-image", "prompt": "A cat in a tree"},
        {"data": [{"url": "https://...", "revised_prompt": "A cat"}]},
        "grok-2-image",
        Usage(images=1),
        "images",
    ),
    Example(
        "docs.x.ai/docs/api-reference#create-new-response",
        "api.x.ai/v1/responses",
        {"model": "grok-4", "input": "What is 1+1?"},
        {
            "model": "grok-4",
            "status": "completed",
            "usage": {
                "input_tokens": 32,
                "input_tokens_details": {"cached_tokens": 6},
                "output_tokens": 256,
                "output_tokens_details": {"reasoning_tokens": 250},
                "total_tokens": 288,
            },
        },
        "grok-4",
        Usage(32, 256, cache_read=6, reasoning=250),
        "responses",
    ),
    Example(
        "docs.together.ai/reference/completions-1",
        "api.together.xyz/v1/completions",
        {"model": "meta-llama/Llama-4", "prompt": "<s>[INST] What is the capital of France? [/INST]"},
        {"object": "text.completion", "model": "meta-llama/Llama-4", "choices": [], "usage": CHAT_USAGE},
        "meta-llama/Llama-4",
        Usage(19, 10),
        "completions",
    ),
    Example(
        "docs.together.ai/reference/rerank-1",
        "api.together.xyz/v1/rerank",
        {"model": "Salesforce/Llama-Rank-v1", "query": "What animals?", "documents": ["panda", "llama"]},
        {
            "object": "rerank",
            "model": "Salesforce/Llama-Rank-v1",
            "results": [],
            "usage": {"prompt_tokens": 1837, "completion_tokens": 0, "total_tokens": 1837},
        },
        "Salesforce/Llama-Rank-v1",
        Usage(1837),
        "rerank",
    ),
    Example(
        "docs.fireworks.ai/api-reference/rerank-documents",
        "api.fireworks.ai/inference/v1/rerank",
        {"model": "fireworks/qwen3-reranker-8b", "query": "capital?", "documents": ["Paris"]},
        {
            "object": "list",
            "model": "fireworks/qwen3-reranker-8b",
            "data": [],
            "usage": {"prompt_tokens": 11, "total_tokens": 11, "completion_tokens": 0},
        },
        "fireworks/qwen3-reranker-8b",
        Usage(11),
        "rerank",
    ),
    Example(
        "docs.voyageai.com/reference/reranker-api",
        "api.voyageai.com/v1/rerank",
        {"model": "rerank-2.5", "query": "When?", "documents": ["a", "b"]},
        {"object": "list", "data": [], "model": "rerank-2.5", "usage": {"total_tokens": 26}},
        "rerank-2.5",
        Usage(26),
        "rerank",
    ),
    Example(
        "docs.voyageai.com/reference/multimodal-embeddings-api",
        "api.voyageai.com/v1/multimodalembeddings",
        {"model": "voyage-multimodal-3", "inputs": [{"content": [{"type": "text", "text": "banana."}]}]},
        {
            "object": "list",
            "data": [],
            "model": "voyage-multimodal-3",
            "usage": {"text_tokens": 5, "image_pixels": 2000000, "total_tokens": 3576},
        },
        "voyage-multimodal-3",
        Usage(3576),
        "embeddings",
    ),
    Example(
        "docs.vllm.ai/en/latest/serving/openai_compatible_server (re-rank)",
        "gpu.internal/v1/rerank",
        {
            "model": "BAAI/bge-reranker-base",
            "query": "What is the capital of France?",
            "documents": ["Paris"],
        },
        {
            "id": "rerank-fae51b2b664d4ed38f5969b612edff77",
            "model": "BAAI/bge-reranker-base",
            "usage": {"total_tokens": 56},
            "results": [],
        },
        "BAAI/bge-reranker-base",
        Usage(56),
        "rerank",
    ),
    Example(
        "huggingface.co/docs/inference-providers/tasks/feature-extraction",
        "router.huggingface.co/scaleway/v1/embeddings",
        {"model": "qwen3-embedding-8b", "input": "Today is a sunny day"},
        EMBEDDED,
        "qwen3-embedding-8b",
        Usage(8),
        "embeddings",
    ),
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.address)
def test_it_is_read(example: Example) -> None:
    call = example.call()
    assert (call.model, call.operation) == (example.model, example.operation)
    assert not call.free
    if isinstance(example.answer, list):
        events = [f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in example.answer]
        report = feed_all(example.format, events)[1]
    else:
        report = example.format.answer(example.answer)
    assert (report.usage, report.cost, report.done) == (example.used, example.cost, True)
    assert dict(report.besides).get(None) == example.own
