"""Whose a host is, and whether nothing but LLM calls is posted there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from .endpoints import HUGGINGFACE


class Home(NamedTuple):
    """The provider of a host (None: nobody's own), and whether every POST to it is a call."""

    provider: str | None
    alone: bool = True


_ROUTER = "router.huggingface.co"
"""One host before many providers, each by the first segment of the path (`/together/v1/…`)."""

HOSTS: Mapping[str, str] = {
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
DOMAINS: tuple[tuple[str, str], ...] = (
    (".api.openai.com", "openai"),
    (".openai.azure.com", "azure"),
    (".openai.azure.us", "azure"),
    (".openai.azure.cn", "azure"),
    (".direct.fireworks.ai", "fireworks"),
    (".api.x.ai", "x-ai"),
)
"""Hosts by the end of their names: regions and tenants."""
_MIXED_AZURE = tuple(
    f".{service}.azure.{cloud}"
    for service in ("cognitiveservices", "services.ai")
    for cloud in ("com", "us", "cn")
)
"""Azure's hosts of models beside other services."""
_MODELS_ALONE = re.compile(r"/(?:openai|anthropic|providers|models)/|/api/projects/[^/]+/openai/")
"""How their paths begin that are of models."""

_VERTEX = re.compile(r"(?:[a-z0-9-]+-)?aiplatform(?:\.mtls|\.[a-z0-9-]+\.rep)?\.googleapis\.com")
"""Vertex AI's hosts, those of regions included, of models beside other services."""

_BEDROCK = re.compile(
    r"(?:[a-z0-9-]+\.)*(bedrock(?:-runtime|-agent-runtime|-data-automation-runtime|-mantle)?)(?:-fips)?\.[a-z0-9-]+\."
    r"(?:vpce\.)?(?:amazonaws\.com(?:\.cn)?|api\.aws|amazonaws\.eu)"
)
"""Amazon Bedrock's hosts in all regions; that which manages it serves no model."""

_ENDS = tuple(end for end, _ in DOMAINS)


def home(name: str, path: str) -> Home | None:
    """Whose a host of this name (small letters, no port) is; None: nobody knows."""
    if name == _ROUTER:
        behind = path[1:].partition("/")[0]
        return Home(f"huggingface_{behind}" if behind in HUGGINGFACE else None)
    if name.endswith(_ENDS):
        return Home(next(provider for end, provider in DOMAINS if name.endswith(end)))
    if name.endswith(_MIXED_AZURE):
        return Home("azure", alone=_MODELS_ALONE.match(path) is not None)
    if name.endswith(".googleapis.com") and _VERTEX.fullmatch(name):
        return Home("google", alone=False)
    if "bedrock" in name and (found := _BEDROCK.fullmatch(name)):
        return Home("aws", alone=found[1] != "bedrock")
    provider = HOSTS.get(name)
    return None if provider is None else Home(provider)
