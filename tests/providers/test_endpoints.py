"""Every path of the providers' API references: who reads it, or that it is free, or that nobody knows what it costs.

What is named nowhere here is of the last kind, on every host of a provider. The references are named at each part.
"""

from __future__ import annotations

import pytest

from quotaware.providers.endpoints import ANYWHERE, PROVIDERS
from quotaware.providers.registry import find

OPENAI, AZURE, FOUNDRY = "api.openai.com", "acme.openai.azure.com", "acme.services.ai.azure.com"
GEMINI, VERTEX = "generativelanguage.googleapis.com", "us-central1-aiplatform.googleapis.com"
RUNTIME, AGENTS, MANAGES = (
    "bedrock-runtime.us-east-1.amazonaws.com",
    "bedrock-agent-runtime.us-east-1.amazonaws.com",
    "bedrock.us-east-1.amazonaws.com",
)
TOGETHER, FIREWORKS, ROUTER = "api.together.xyz", "api.fireworks.ai", "openrouter.ai"
P = "/v1/projects/p/locations/l"

READ = [
    # platform.openai.com/docs/api-reference (openapi.yaml of github.com/openai/openai-openapi)
    (OPENAI, "/v1/responses/compact", "openai.compaction"),
    (OPENAI, "/v1/images/edits", "openai.images"),
    (OPENAI, "/v1/images/variations", "openai.variations"),
    (OPENAI, "/v1/audio/translations", "openai.transcription"),
    (OPENAI, "/v1/videos", "videos"),
    (OPENAI, "/v1/videos/edits", "videos"),
    (OPENAI, "/v1/videos/extensions", "videos"),
    # learn.microsoft.com/azure/foundry/openai: v1, deployments, Foundry's other makers
    (AZURE, "/openai/v1/chat/completions", "openai.chat"),
    (AZURE, "/openai/v1/responses", "openai.responses"),
    (AZURE, "/openai/v1/embeddings", "openai.embeddings"),
    (AZURE, "/openai/v1/images/generations", "openai.images"),
    (AZURE, "/openai/deployments/d/images/generations", "openai.images"),
    (AZURE, "/openai/deployments/d/images/edits", "openai.images"),
    (AZURE, "/openai/deployments/d/audio/speech", "openai.speech"),
    (AZURE, "/openai/deployments/d/audio/transcriptions", "openai.transcription"),
    (AZURE, "/openai/v1/video/generations/jobs", "videos"),
    (AZURE, "/openai/v1/batches", "openai.batches"),
    ("acme.openai.azure.us", "/openai/v1/chat/completions", "openai.chat"),
    ("acme.openai.azure.cn", "/openai/deployments/d/chat/completions", "openai.chat"),
    (FOUNDRY, "/anthropic/v1/messages", "anthropic.messages"),
    (FOUNDRY, "/anthropic/v1/messages/batches", "anthropic.batches"),
    (FOUNDRY, "/models/chat/completions", "openai.chat"),
    (FOUNDRY, "/api/projects/p/openai/v1/responses", "openai.responses"),
    (FOUNDRY, "/providers/cohere/v2/rerank", "rerank"),
    (FOUNDRY, "/providers/cohere/v2/embed", "cohere.embed"),
    # ai.google.dev/api, cloud.google.com/vertex-ai/generative-ai/docs/reference/rest
    (GEMINI, "/v1beta/models/g:batchGenerateContent", "gemini.batch"),
    (GEMINI, "/v1beta/models/g:asyncBatchEmbedContent", "gemini.embed_batch"),
    (GEMINI, "/v1beta/interactions", "gemini.interactions"),
    (GEMINI, "/v1beta/cachedContents", "gemini.cache"),
    (GEMINI, "/v1beta/models/imagen-4.0-generate-001:predict", "vertex.predict"),
    (GEMINI, "/v1/models/imagen-4.0-fast:predict", "vertex.predict"),
    (GEMINI, "/v1beta/models/veo-3.1:predictLongRunning", "videos"),
    (GEMINI, "/v1beta/openai/chat/completions", "openai.chat"),
    (GEMINI, "/v1beta/openai/embeddings", "openai.embeddings"),
    (GEMINI, "/v1beta/openai/images/generations", "openai.images"),
    (VERTEX, f"{P}/interactions", "gemini.interactions"),
    (VERTEX, f"{P}/publishers/google/models/imagen-4:predict", "vertex.predict"),
    (VERTEX, f"{P}/cachedContents", "gemini.cache"),
    # docs.aws.amazon.com/bedrock/latest/APIReference
    (RUNTIME, "/model/m/converse-stream", "bedrock.converse_stream"),
    (RUNTIME, "/openai/v1/chat/completions", "openai.chat"),
    # docs.cohere.com/reference
    ("api.cohere.com", "/v2/audio/transcriptions", "cohere.transcription"),
    ("api.cohere.com", "/v1/rerank", "rerank"),
    # openrouter.ai/docs/api-reference (openapi.yaml of github.com/OpenRouterTeam/docs)
    (ROUTER, "/api/v1/responses", "openai.responses"),
    (ROUTER, "/api/v1/embeddings", "openai.embeddings"),
    (ROUTER, "/api/v1/messages", "anthropic.messages"),
    (ROUTER, "/api/v1/rerank", "rerank"),
    (ROUTER, "/api/v1/images", "openai.images"),
    (ROUTER, "/api/v1/videos", "videos"),
    (ROUTER, "/api/v1/audio/speech", "openai.speech"),
    (ROUTER, "/api/v1/audio/transcriptions", "openai.transcription"),
    # api-docs.deepseek.com
    ("api.deepseek.com", "/beta/completions", "openai.completions"),
    ("api.deepseek.com", "/anthropic/v1/messages", "anthropic.messages"),
    # docs.x.ai/docs/api-reference
    ("api.x.ai", "/v1/responses", "openai.responses"),
    ("api.x.ai", "/v1/images/generations", "openai.images"),
    ("api.x.ai", "/v1/images/edits", "openai.images"),
    ("api.x.ai", "/v1/messages", "anthropic.messages"),
    ("api.x.ai", "/v1/videos/generations", "videos"),
    # docs.together.ai/reference (openapi.yaml of github.com/togethercomputer/openapi)
    (TOGETHER, "/v1/completions", "openai.completions"),
    (TOGETHER, "/v1/images/generations", "openai.images"),
    (TOGETHER, "/v1/audio/speech", "openai.speech"),
    (TOGETHER, "/v1/rerank", "rerank"),
    (TOGETHER, "/v2/videos", "videos"),
    # docs.fireworks.ai/api-reference
    (FIREWORKS, "/inference/v1/completions", "openai.completions"),
    (FIREWORKS, "/inference/v1/rerank", "rerank"),
    (FIREWORKS, "/inference/v1/messages", "anthropic.messages"),
    ("audio-turbo.us-virginia-1.direct.fireworks.ai", "/v1/audio/transcriptions", "openai.transcription"),
    # huggingface_hub/inference/_providers of github.com/huggingface/huggingface_hub
    ("router.huggingface.co", "/novita/v3/openai/chat/completions", "openai.chat"),
    ("router.huggingface.co", "/nscale/v1/images/generations", "openai.images"),
    ("router.huggingface.co", "/scaleway/v1/embeddings", "openai.embeddings"),
    # docs.voyageai.com/reference
    ("api.voyageai.com", "/v1/rerank", "rerank"),
    ("api.voyageai.com", "/v1/multimodalembeddings", "voyage.inputs"),
    # docs.vllm.ai/en/latest/serving/openai_compatible_server, at a host that is anybody's
    ("gpu.internal", "/v1/score", "pooling"),
    ("gpu.internal", "/pooling", "pooling"),
    ("gpu.internal", "/v2/rerank", "rerank"),
]
FREE = [
    (OPENAI, "/v1/responses/input_tokens"),
    (OPENAI, "/v1/conversations"),
    (OPENAI, "/v1/skills"),
    (OPENAI, "/v1/organization/projects/p/service_accounts"),
    (OPENAI, "/v1/fine_tuning/alpha/graders/validate"),
    (OPENAI, "/v1/fine_tuning/jobs/j/cancel"),
    (OPENAI, "/v1/containers/c/files"),
    (AZURE, "/openai/threads/t/messages"),
    (AZURE, "/openai/assistants"),
    (FOUNDRY, "/openai/v1/files"),
    ("api.anthropic.com", "/v1/messages/count_tokens"),
    ("api.anthropic.com", "/v1/organizations/workspaces"),
    (GEMINI, "/v1beta/models/g:countTokens"),
    (GEMINI, "/v1beta/batches/b:cancel"),
    (GEMINI, "/upload/v1beta/files"),
    (GEMINI, "/v1beta/fileSearchStores"),
    (VERTEX, f"{P}/publishers/google/models/g:computeTokens"),
    (VERTEX, f"{P}/publishers/google/models/veo:fetchPredictOperation"),
    (RUNTIME, "/model/m/count-tokens"),
    (AGENTS, "/sessions/"),
    ("api.cohere.com", "/v1/tokenize"),
    ("api.cohere.com", "/v1/datasets"),
    ("api.mistral.ai", "/v1/agents"),
    ("api.mistral.ai", "/v1/batch/jobs/j/cancel"),
    (ROUTER, "/api/v1/keys"),
    (TOGETHER, "/v1/files/upload"),
    (TOGETHER, "/v1/fine-tunes/estimate-price"),
    ("api.x.ai", "/v1/tokenize-text"),
    ("api.moonshot.ai", "/v1/tokenizers/estimate-token-count"),
    ("api.z.ai", "/api/paas/v4/tokenizer"),
]
UNKNOWN = [
    (OPENAI, "/v1/realtime/client_secrets"),
    (OPENAI, "/v1/realtime/calls"),
    (OPENAI, "/v1/realtime/sessions"),
    (OPENAI, "/v1/realtime/transcription_sessions"),
    (OPENAI, "/v1/chatkit/sessions"),
    (OPENAI, "/v1/fine_tuning/jobs"),
    (OPENAI, "/v1/fine_tuning/jobs/j/resume"),
    (OPENAI, "/v1/fine_tuning/alpha/graders/run"),
    (OPENAI, "/v1/evals"),
    (OPENAI, "/v1/evals/e/runs"),
    (OPENAI, "/v1/containers"),
    (OPENAI, "/v1/vector_stores"),
    (OPENAI, "/v1/vector_stores/v/files"),
    (OPENAI, "/v1/vector_stores/v/file_batches"),
    (OPENAI, "/v1/vector_stores/v/search"),
    (OPENAI, "/v1/threads/runs"),
    (OPENAI, "/v1/threads/t/runs"),
    (OPENAI, "/v1/threads/t/runs/r/submit_tool_outputs"),
    (OPENAI, "/v1/videos/v/remix"),
    (OPENAI, "/v1/audio/voices"),
    (FOUNDRY, "/openai/v1/fine_tuning/jobs"),
    (FOUNDRY, "/openai/threads/t/runs"),
    (FOUNDRY, "/api/projects/p/threads/t/runs"),
    (FOUNDRY, "/api/projects/p/openai/v1/containers"),
    ("acme.cognitiveservices.azure.com", "/openai/v1/evals/e/runs"),
    ("acme.cognitiveservices.azure.com", "/openai/v1/realtime/client_secrets"),
    (FOUNDRY, "/providers/blackforestlabs/v1/flux-2-pro"),
    ("api.anthropic.com", "/v1/complete"),
    ("api.anthropic.com", "/v1/sessions"),
    ("api.anthropic.com", "/v1/sessions/s/events"),
    ("api.anthropic.com", "/v1/deployments/d/run"),
    ("api.anthropic.com", "/v1/dreams"),
    (GEMINI, "/v1beta/auth_tokens"),
    (GEMINI, "/v1beta/fileSearchStores/f:importFile"),
    (GEMINI, "/v1beta/triggers"),
    (VERTEX, f"{P}/batchPredictionJobs"),
    (VERTEX, f"{P}/tuningJobs"),
    (VERTEX, f"{P}/reasoningEngines/r:query"),
    (VERTEX, f"{P}:evaluateInstances"),
    (VERTEX, f"{P}:retrieveContexts"),
    (VERTEX, f"{P}/ragCorpora/c/ragFiles:import"),
    (RUNTIME, "/async-invoke"),
    (RUNTIME, "/guardrail/g/version/1/apply"),
    (RUNTIME, "/guardrail-checks/invoke"),
    (RUNTIME, "/model/m/invoke-with-bidirectional-stream"),
    (AGENTS, "/agents/a/agentAliases/l/sessions/s/text"),
    (AGENTS, "/retrieveAndGenerate"),
    (AGENTS, "/knowledgebases/k/retrieve"),
    (AGENTS, "/flows/f/aliases/a"),
    (AGENTS, "/rerank"),
    ("bedrock-data-automation-runtime.us-east-1.amazonaws.com", "/"),
    (MANAGES, "/model-invocation-job"),
    (MANAGES, "/model-customization-jobs"),
    (MANAGES, "/evaluation-jobs"),
    (MANAGES, "/model-import-jobs"),
    (MANAGES, "/provisioned-model-throughput"),
    (MANAGES, "/marketplace-model/endpoints"),
    ("api.cohere.com", "/v1/generate"),
    ("api.cohere.com", "/v1/classify"),
    ("api.cohere.com", "/v1/embed-jobs"),
    ("api.cohere.com", "/v2/batches"),
    ("api.cohere.com", "/v1/finetuning/finetuned-models"),
    ("api.mistral.ai", "/v1/batch/jobs"),
    ("api.mistral.ai", "/v1/fine_tuning/jobs"),
    ("api.mistral.ai", "/v1/libraries/l/documents"),
    (ROUTER, "/api/v1/presets/p/chat/completions"),
    (ROUTER, "/api/v1/presets/p/messages"),
    (ROUTER, "/api/v1/presets/p/responses"),
    ("api.perplexity.ai", "/async/chat/completions"),
    ("api.perplexity.ai", "/search"),
    (TOGETHER, "/v1/fine-tunes"),
    (TOGETHER, "/v1/endpoints"),
    (TOGETHER, "/tci/execute"),
    (TOGETHER, "/v1/evaluation"),
    (FIREWORKS, "/inference/v1/workflows/accounts/fireworks/models/flux/text_to_image"),
    ("api.x.ai", "/v1/documents/search"),
    ("api.x.ai", "/v1/realtime/client_secrets"),
    ("api.voyageai.com", "/v1/batches"),
    ("router.huggingface.co", "/hf-inference/models/m/pipeline/feature-extraction"),
    ("router.huggingface.co", "/hf-inference/models/m"),
    ("router.huggingface.co", "/replicate/v1/models/m/predictions"),
    ("router.huggingface.co", "/fal-ai/fal-ai/flux/dev"),
    # what looks free, and leads elsewhere
    (OPENAI, "/v1/organization/../videos/v/remix"),
]


@pytest.mark.parametrize(("host", "path", "name"), READ)
def test_what_is_read(host: str, path: str, name: str) -> None:
    route = find("POST", host, path)
    assert route is not None
    assert route.format is not None
    assert (route.format.name, route.free) == (name, False)


@pytest.mark.parametrize(("host", "path"), FREE)
def test_what_is_free(host: str, path: str) -> None:
    """It makes nothing that is billed, and is recorded as such."""
    route = find("POST", host, path)
    assert route is not None
    assert route.free
    assert route.operation != "unknown"


@pytest.mark.parametrize(("host", "path"), UNKNOWN)
def test_what_nobody_knows_the_cost_of_is_never_taken_for_free(host: str, path: str) -> None:
    """S10: it is refused where a cost limit bears on the call, and recorded elsewhere."""
    route = find("POST", host, path)
    assert route is not None
    assert (route.format, route.operation, route.free) == (None, "unknown", False)


@pytest.mark.parametrize(
    "host", [OPENAI, AZURE, FOUNDRY, GEMINI, VERTEX, RUNTIME, "api.x.ai", ROUTER, "router.huggingface.co"]
)
def test_a_websocket_to_a_provider_is_one_of_these(host: str) -> None:
    route = find("GET", host, "/v1/realtime", socket=True)
    assert route is not None
    assert (route.format, route.operation, route.free) == (None, "unknown", False)
    assert find("GET", "chat.example", "/v1/realtime", socket=True) is None


@pytest.mark.parametrize("host", ["acme.cognitiveservices.azure.com", FOUNDRY, VERTEX, MANAGES])
def test_what_else_such_a_host_serves_is_no_call(host: str) -> None:
    assert find("POST", host, "/vision/v3.2/models/landmarks/analyze") is None
    assert find("POST", host, "/documentintelligence/documentModels/m:analyze") is None
    assert find("POST", host, "/") is None


def test_every_row_can_be_reached() -> None:
    """None stands behind another one that takes its paths."""
    for rows in (ANYWHERE, *PROVIDERS.values()):
        for row in rows:
            path = row.within + row.suffix
            first = next(one for one in rows if path.endswith(one.suffix) and one.within in path)
            assert (first.format, first.free) == (row.format, row.free), path
