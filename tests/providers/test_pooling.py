"""Scores, classes and vectors of vLLM; bodies and answers as in docs.vllm.ai/en/latest/models/pooling_models."""

from __future__ import annotations

from typing import Any

import pytest

from quotaware.core.usage import Usage
from quotaware.errors import QuotaExceeded
from quotaware.providers.pooling import Pooling
from quotaware.providers.registry import check_hosts, find, plausible

MODEL = "BAAI/bge-reranker-v2-m3"


def test_a_score_of_pairs_reads_the_first_text_with_each_of_the_others() -> None:
    first, others = "What is the capital of Brazil?", ["The capital of Brazil is Brasilia.", "It is Paris."]
    call = Pooling().read(None, {"model": MODEL, "text_1": first, "text_2": others})
    assert (call.operation, call.generates, call.opaque) == ("embeddings", False, False)
    assert call.text == 2 * len(first) + sum(map(len, others))
    assert call.parts == 4
    same = Pooling().read(None, {"model": MODEL, "queries": first, "documents": others})
    assert same == call
    one = Pooling().read(None, {"model": MODEL, "text_1": first, "text_2": "It is Paris."})
    assert one.text == len(first) + len("It is Paris.")


@pytest.mark.parametrize(
    ("body", "text", "media", "opaque"),
    [
        ({"input": ["hello", "you"]}, 8, 0, False),
        ({"input": [[1, 2, 3], [4]]}, 0, 4, False),
        ({"messages": [{"role": "user", "content": "hello"}]}, 9, 0, False),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://i"}}]}
                ]
            },
            21,
            0,
            True,
        ),
    ],
)
def test_what_is_read(body: dict[str, Any], text: int, media: int, opaque: bool) -> None:
    call = Pooling().read(None, {"model": MODEL, **body})
    assert (call.text, call.media, call.opaque) == (text, media, opaque)


def test_the_usage_is_that_of_embeddings() -> None:
    answer = {
        "id": "score-request-id",
        "object": "list",
        "created": 693447,
        "model": MODEL,
        "data": [{"index": 0, "object": "score", "score": 1}],
        "usage": {"prompt_tokens": 38, "total_tokens": 38, "completion_tokens": 0},
    }
    report = Pooling().answer(answer)
    assert (report.model, report.usage, report.done) == (MODEL, Usage(input=38), True)
    assert Pooling().answer({**answer, "usage": {}}).usage is None


@pytest.mark.parametrize(
    ("path", "body", "called"),
    [
        ("/score", {"text_1": "a", "text_2": "b"}, True),
        ("/v1/score", {"queries": "a", "documents": ["b"]}, True),
        ("/pooling", {"input": "a"}, True),
        ("/score", {"player": "bob"}, False),
        ("/pooling", {"cars": 3}, False),
    ],
)
def test_on_a_host_nobody_knows_the_body_has_the_last_word(
    path: str, body: dict[str, Any], called: bool
) -> None:
    route = find("POST", "gpu.internal", path)
    assert route is not None
    assert plausible(route, {"model": MODEL, **body}) is called


@pytest.mark.parametrize("path", ["/tokenize", "/detokenize"])
def test_tokens_are_told_for_nothing(path: str) -> None:
    """On a host that is given to a provider; elsewhere such paths are none of ours."""
    route = find("POST", "gpu.internal", path, check_hosts({"gpu.internal": "openai"}))
    assert route is not None
    assert (route.free, route.operation) == (True, "tokenize")
    assert find("POST", "gpu.internal", path) is None
    classify = find("POST", "gpu.internal", "/classify", check_hosts({"gpu.internal": "openai"}))
    assert classify is not None
    assert classify.format is not None
    assert classify.format.name == "pooling"
    assert find("POST", "gpu.internal", "/classify") is None


def test_it_is_refused_as_openai_does() -> None:
    assert Pooling().refusal(QuotaExceeded("spent"))["error"]["message"] == "spent"
