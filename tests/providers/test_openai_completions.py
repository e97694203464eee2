"""OpenAI's completions of a text: the request, the answer, the stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.usage import Usage
from quotaware.providers.base import Report, Unreadable
from quotaware.providers.openai_completions import OpenAICompletions

COMPLETIONS = OpenAICompletions()
USAGE = {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}


def read(prompt: Any = "hi", **more: Any) -> Any:
    return COMPLETIONS.read("openai", {"model": "gpt-3.5-turbo-instruct", "prompt": prompt, **more})


def event(text: str = "", **more: Any) -> bytes:
    choices = [{"text": text, "index": 0, "logprobs": None, "finish_reason": None}]
    return b"data: %s\n\n" % json.dumps({"model": "m", "choices": choices, **more}).encode()


@pytest.mark.parametrize(
    ("prompt", "text", "tokens", "choices"),
    [
        ("hé", 3, 0, 1),
        (["a", "bc"], 3, 0, 2),
        ([1, 2, 3], 0, 3, 1),
        ([[1, 2], [3]], 0, 3, 2),
        ([], 0, 0, 1),
        (None, 0, 0, 1),
    ],
)
def test_each_prompt_is_answered(prompt: Any, text: int, tokens: int, choices: int) -> None:
    """S9: a list of prompts costs an answer each, `n` and `best_of` times."""
    call = read(prompt)
    assert (call.text, call.media, call.choices, call.operation) == (text, tokens, choices, "completions")
    assert read(prompt, n=2, best_of=3).choices == 3 * choices


def test_what_follows_counts_too() -> None:
    assert read("a", suffix="bcd").text == 4


@pytest.mark.parametrize(
    ("more", "named"), [({"prompt": 7}, "prompt"), ({"max_tokens": -1}, "max_tokens"), ({"n": 0}, "n")]
)
def test_what_cannot_be_read_is_named(more: dict[str, Any], named: str) -> None:
    with pytest.raises(Unreadable, match=named):
        COMPLETIONS.read("openai", {"model": "m", "prompt": "a", **more})


def test_the_cap_is_max_tokens() -> None:
    assert read(max_tokens=9).cap == 9
    assert COMPLETIONS.cap("openai", {}, 300) == {"max_tokens": 300}
    assert COMPLETIONS.cap("openai", {"max_tokens": 50}, 300) == {"max_tokens": 50}


def test_a_whole_answer_reports_its_usage() -> None:
    assert COMPLETIONS.answer({"model": "m", "usage": USAGE}) == Report(
        "m", Usage(input=5, output=7), done=True
    )


def test_a_stream_is_counted_and_our_usage_chunk_hidden() -> None:
    told = event(choices=[], usage=USAGE)
    reader = COMPLETIONS.stream(hide=True)
    passed = reader.feed(event("x" * 40) + event("yy"))
    assert reader.report() == Report("m", None, seen=11)
    passed += reader.feed(told + b"data: [DONE]\n\n")
    assert passed == event("x" * 40) + event("yy") + b"data: [DONE]\n\n"
    assert reader.report() == Report("m", Usage(input=5, output=7), seen=11, done=True)
    assert COMPLETIONS.ask_usage({"stream": True}) == {"stream_options": {"include_usage": True}}
