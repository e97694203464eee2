"""Voyage's formats: what a request may take, what an answer used, how it is refused."""

from __future__ import annotations

from typing import Any

import pytest

from quotaware.core.usage import Usage
from quotaware.errors import QuotaExceeded
from quotaware.providers.base import Format, Report, Unreadable
from quotaware.providers.registry import find
from quotaware.providers.rerank import Rerank
from quotaware.providers.voyage import VoyageEmbeddings, VoyageInputs, voyage_refusal


@pytest.mark.parametrize("host", ["api.voyageai.com", "ai.mongodb.com"])
@pytest.mark.parametrize(
    ("path", "format"),
    [
        ("/v1/embeddings", "voyage.embeddings"),
        ("/v1/multimodalembeddings", "voyage.inputs"),
        ("/v1/contextualizedembeddings", "voyage.inputs"),
        ("/v1/rerank", "rerank"),
        ("/v1/batches", None),
    ],
)
def test_its_hosts_are_read(host: str, path: str, format: str | None) -> None:
    route = find("POST", host, path)
    assert route is not None
    assert (route.provider, route.format and route.format.name) == ("voyageai", format)


@pytest.mark.parametrize(
    ("inputs", "text", "media", "opaque"),
    [
        ([["ab", "c"], ["de"]], 5, 0, False),
        ([{"content": [{"type": "text", "text": "abc"}]}], 7, 0, False),
        (
            [{"content": [{"type": "image_base64", "image_base64": "data:image/png;base64,AA"}]}],
            0,
            28_572,
            False,
        ),
        ([{"content": [{"type": "image_url", "image_url": "https://a/b.png"}]}], 0, 0, True),
        ([{"content": [{"type": "video_url", "video_url": "https://a/b.mp4"}]}], 0, 0, True),
    ],
)
def test_inputs_are_read(inputs: list[Any], text: int, media: int, opaque: bool) -> None:
    call = VoyageInputs().read("voyageai", {"model": "voyage-multimodal-3.5", "inputs": inputs})
    assert (call.text, call.media, call.opaque, call.generates) == (text, media, opaque, False)


def test_without_inputs_it_is_unreadable() -> None:
    with pytest.raises(Unreadable, match="inputs"):
        VoyageInputs().read("voyageai", {"model": "m", "inputs": "text"})


def test_usage_is_the_total() -> None:
    told = {
        "model": "voyage-multimodal-3.5",
        "usage": {"text_tokens": 5, "image_pixels": 2_000, "total_tokens": 9},
    }
    assert VoyageInputs().answer(told) == Report("voyage-multimodal-3.5", Usage(9), done=True)


@pytest.mark.parametrize("form", [VoyageEmbeddings(), VoyageInputs(), Rerank(voyage_refusal)])
def test_a_refusal_has_voyages_detail_and_ours_beside_it(form: Format) -> None:
    told = form.refusal(QuotaExceeded("The budget is spent", fields={"limit_usd": 10.0}))
    assert (told["detail"], told["limit_usd"], told["type"]) == (
        "The budget is spent",
        10.0,
        "quota_exceeded",
    )
    assert "error" not in told  # over which its SDK fails, before 0.5
