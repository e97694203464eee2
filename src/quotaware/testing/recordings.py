"""Recorded exchanges: a folder of `*.jsonl` files, one exchange a line, read once and found by id.

Of each line `id`, `status`, `content_type`, `body` (parsed JSON, or the raw text of a stream) and
`expected.usage` are used here.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..core.usage import Usage


@functools.lru_cache(maxsize=4)
def recordings(folder: Path) -> Mapping[str, Mapping[str, Any]]:
    """All exchanges under `folder` by id. Raises `FileNotFoundError` where it holds none."""
    found: dict[str, Mapping[str, Any]] = {}
    for file in sorted(folder.glob("*.jsonl")):
        with file.open(encoding="utf-8") as lines:
            found.update((exchange["id"], exchange) for exchange in map(json.loads, lines))
    if not found:
        raise FileNotFoundError(f"no recorded exchanges (*.jsonl) in {folder}")
    return found


def is_stream(exchange: Mapping[str, Any]) -> bool:
    """Whether the recorded answer is a stream of events."""
    return str(exchange["content_type"]).startswith("text/event-stream")


def recorded_body(exchange: Mapping[str, Any]) -> bytes:
    """The answer's body as it is served: a stream's text as it came, anything else as compact UTF-8 JSON."""
    body = exchange["body"]
    if isinstance(body, str) and is_stream(exchange):
        return body.encode()
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def recorded_usage(exchange: Mapping[str, Any]) -> Usage | None:
    """What the provider reported in the recorded answer; None where it reported nothing."""
    usage = exchange["expected"]["usage"]
    return None if usage is None else Usage(**usage)
