"""The recorded exchanges as tests see them: where they lie, which there are, the bytes that are served."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from quotaware.testing.recordings import recorded_body, recordings

CORPUS = Path(os.environ.get("QUOTAWARE_CORPUS") or Path(__file__).parents[2] / "shared" / "corpus")

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason=f"no recorded exchanges in {CORPUS}; set QUOTAWARE_CORPUS to their folder"
)


def exchanges(provider: str, ends: str | None = None) -> list[dict[str, Any]]:
    """The exchanges with one provider, those alone whose URL's path ends so; none where the corpus is absent.

    What is given is shared between tests and read only.
    """
    if not CORPUS.is_dir():
        return []
    return [
        dict(exchange)
        for exchange in recordings(CORPUS).values()
        if exchange["provider"] == provider and urlsplit(exchange["url"]).path.endswith(ends or "")
    ]


def wire_body(exchange: dict[str, Any]) -> bytes:
    """The answer's bytes as the fake provider serves them, before any compression."""
    return recorded_body(exchange)


def expected_of(exchange: dict[str, Any]) -> tuple[str | None, dict[str, int] | None]:
    """The model and the usage that the recording says were reported."""
    return exchange["expected"]["model"], exchange["expected"]["usage"]
