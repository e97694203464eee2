"""Calls of which only the model is read: what a request costs is the user's to say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from quotaware.core.bounds import Call
from quotaware.errors import QuotaExceeded
from quotaware.providers import formdata, naming
from quotaware.providers.base import Report
from quotaware.providers.jsontext import parse
from quotaware.providers.registry import find


def asked(host: str, path: str, body: bytes) -> Call:
    route = find("POST", host, path)
    assert route is not None
    assert route.format is not None
    form = formdata.is_form(body)
    return naming.read(route, route.format, formdata.parse(body) if form else parse(body))


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nsora-2-pro\r\n'
    b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\na cat\r\n--b--\r\n'
)


@pytest.mark.parametrize(
    ("host", "path", "body", "model"),
    [
        # developers.openai.com/api/reference/resources/videos
        ("api.openai.com", "/v1/videos", json.dumps({"model": "sora-2", "prompt": "x"}).encode(), "sora-2"),
        ("api.openai.com", "/v1/videos", FORM, "sora-2-pro"),
        # docs.x.ai/docs/guides/video-generations
        ("api.x.ai", "/v1/videos/generations", b'{"model": "grok-imagine-video"}', "grok-imagine-video"),
        # docs.together.ai/reference/create-videos
        ("api.together.xyz", "/v2/videos", b'{"model": "google/veo-3.0"}', "google/veo-3.0"),
        # openrouter.ai/docs/api/api-reference/videos
        ("openrouter.ai", "/api/v1/videos", b'{"model": "google/veo-3.1"}', "google/veo-3.1"),
        # ai.google.dev/gemini-api/docs/video
        (
            "generativelanguage.googleapis.com",
            "/v1beta/models/veo-3.1-generate-preview:predictLongRunning",
            b'{"instances": [{"prompt": "a cat"}]}',
            "veo-3.1-generate-preview",
        ),
        (
            "us-central1-aiplatform.googleapis.com",
            "/v1/projects/p/locations/l/publishers/google/models/veo-3:predictLongRunning",
            b'{"instances": [{"prompt": "a cat"}]}',
            "veo-3",
        ),
    ],
)
def test_videos_are_known_by_their_model_alone(host: str, path: str, body: bytes, model: str) -> None:
    call = asked(host, path, body)
    assert (call.operation, call.model, call.generates, call.free) == ("videos", model, False, False)
    assert f"prices={{'{model}'" in call.unknown


def test_a_video_of_no_model_is_one_of_a_model_that_nobody_knows() -> None:
    call = asked("api.openai.com", "/v1/videos", b'{"prompt": "a cat"}')
    assert call.model is None
    assert "name one" in call.unknown


def test_its_answer_tells_nothing_that_is_counted() -> None:
    route = find("POST", "api.openai.com", "/v1/videos")
    assert route is not None
    assert route.format is not None
    told: dict[str, Any] = {
        "id": "video_123",
        "object": "video",
        "model": "sora-2",
        "status": "queued",
        "seconds": "8",
    }
    assert route.format.answer(told) == Report("sora-2", None, done=True)
    assert route.format.refusal(QuotaExceeded("spent"))["error"]["message"] == "spent"
