"""OpenAI's embeddings: the request and the answer."""

from __future__ import annotations

from typing import Any

import pytest

from quotaware.core.usage import Usage
from quotaware.providers.base import Report, Unreadable
from quotaware.providers.openai_embeddings import OpenAIEmbeddings

EMBEDDINGS = OpenAIEmbeddings()


def read(given: Any) -> Any:
    return EMBEDDINGS.read("openai", {"model": "text-embedding-3-small", "input": given})


@pytest.mark.parametrize(
    ("given", "text", "tokens", "parts"),
    [("é", 2, 0, 1), (["ab", "c"], 3, 0, 2), ([1, 2, 3], 0, 3, 1), ([[1, 2], [3]], 0, 3, 2), ([], 0, 0, 0)],
)
def test_input_is_text_or_token_ids(given: Any, text: int, tokens: int, parts: int) -> None:
    """Token ids count exactly: one each."""
    call = read(given)
    assert (call.text, call.media, call.parts, call.opaque) == (text, tokens, parts, False)
    assert (call.operation, call.generates, call.cap, call.choices) == ("embeddings", False, None, 1)


@pytest.mark.parametrize("given", [[{"image": "https://example.com/a.png"}], [["text"]], [[True]], [None]])
def test_input_of_another_kind_is_opaque(given: Any) -> None:
    assert read(given).opaque


@pytest.mark.parametrize("given", [None, 7, {"text": "a"}])
def test_without_input_it_is_unreadable(given: Any) -> None:
    with pytest.raises(Unreadable, match="input"):
        read(given)


def test_without_a_model_it_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="model"):
        EMBEDDINGS.read("openai", {"input": "a"})


def test_nothing_is_capped_or_asked_for() -> None:
    assert EMBEDDINGS.cap("openai", {}, 9) == EMBEDDINGS.ask_usage({"stream": True}) == {}


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        ({"prompt_tokens": 7, "total_tokens": 7}, Usage(input=7)),
        ({"total_tokens": 5}, Usage(input=5)),
        ({"prompt_tokens": 0}, Usage()),
        ({"prompt_tokens": -1}, Usage(input=-1)),
        ({"prompt_tokens": "7"}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_answer_reports_its_input(usage: object, expected: Usage | None) -> None:
    assert EMBEDDINGS.answer({"model": "m", "usage": usage}) == Report("m", expected, done=True)


def test_a_stream_after_all_is_passed_on() -> None:
    reader = EMBEDDINGS.stream(hide=False)
    assert reader.feed(b"data: {}\n\n") == b"data: {}\n\n"
    assert reader.report() == Report()
