"""OpenAI's moderations: free there, and what others tell of them elsewhere."""

from __future__ import annotations

from typing import Any

import pytest

from quotaware.core.usage import Usage
from quotaware.providers import naming
from quotaware.providers.base import Report
from quotaware.providers.openai_moderations import OpenAIModerations
from quotaware.providers.registry import find

MODERATIONS = OpenAIModerations()


@pytest.mark.parametrize(
    ("provider", "free"), [("openai", True), ("azure", True), ("mistral", False), (None, False)]
)
def test_they_are_free_at_openai(provider: str | None, free: bool) -> None:
    call = MODERATIONS.read(provider, {"model": "omni-moderation-latest", "input": "hi"})
    assert (call.free, call.generates, call.text, call.operation) == (free, False, 2, "moderations")


@pytest.mark.parametrize("body", [{"input": "hi"}, {"model": None, "input": ["hi"]}])
def test_openai_has_a_model_for_who_names_none(body: dict[str, Any]) -> None:
    route = find("POST", "api.openai.com", "/v1/moderations")
    assert route is not None
    assert route.format is not None
    assert naming.read(route, route.format, body).model == "omni-moderation-latest"


def test_an_image_is_opaque() -> None:
    assert MODERATIONS.read(None, {"model": "m", "input": [{"type": "image_url"}]}).opaque
    assert not MODERATIONS.read(None, {"model": "m", "input": ["a"]}).opaque


@pytest.mark.parametrize(("usage", "expected"), [(None, None), ({"prompt_tokens": 3}, Usage(input=3))])
def test_an_answer_tells_what_it_tells(usage: object, expected: Usage | None) -> None:
    assert MODERATIONS.answer({"model": "m", "usage": usage, "results": []}) == Report(
        "m", expected, done=True
    )
