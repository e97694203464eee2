"""Which request makes nothing: a listing, or a question about an answer that was made before."""

from __future__ import annotations

import re

from .anthropic_batches import AnthropicBatchResults
from .base import Format, Route
from .gemini_batches import GeminiBatchResults
from .gemini_interactions import GeminiInteractions
from .openai_batches import OpenAIBatches
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses

_KEPT: dict[str, Format | None] = {
    "responses": OpenAIResponses(),
    "models": None,
    "files": None,
    "batches": OpenAIBatches(),
    "deferred-completion": OpenAIChat(),
    "interactions": GeminiInteractions(),
}
"""What a provider lists or keeps, and how the answer is read."""
_RESULTS = AnthropicBatchResults()
_GEMINI_RESULTS = GeminiBatchResults()
_OPERATIONS = {"deferred-completion": "chat", "interactions": "responses"}
_ASKED = re.compile(
    rf"/({'|'.join(_KEPT)})(?:/([^/?]+))?(?:/(?:cancel|content|input_items|results))?/*(?:\?|\Z)",
    re.IGNORECASE,
)
_RESPONSE = re.compile(r"/(responses)/(resp_[A-Za-z0-9_-]+)(?:/cancel)?/*(?:\?|\Z)")


def looked_up(provider: str | None, path: str) -> Route | None:
    """The look-up at a path of a provider, if it is one; of a host nobody knows (None), only that of a response."""
    found = (_RESPONSE if provider is None else _ASKED).search(path)
    if found is None:
        return None
    kind, answer = found[1].lower(), found[2] or ""
    kept = _KEPT[kind]
    if "/messages/batches" in path.lower():  # Anthropic's: the batch itself does not tell its usage
        kept = _RESULTS if path.rstrip("/").lower().endswith("/results") else None
    elif kind == "batches" and provider == "google":
        kept = _GEMINI_RESULTS
    operation = _OPERATIONS.get(kind, kind)
    return Route(provider, kept if answer else None, operation, True, lookup=True, answer=answer)


def looks_up(path: str) -> bool:
    """Whether a path may be of a look-up on any host."""
    return "/responses/resp_" in path and _RESPONSE.search(path) is not None
