"""What formats share whose answers are no generated text: nothing to cap, nothing to ask for, nothing streamed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .base import Report, StreamReader


class Plain:
    """The part of `Format` that an operation has no use for which answers at once and in full."""

    def cap(self, provider: str | None, body: Mapping[str, Any], tokens: int) -> dict[str, Any]:
        """See `Format.cap`: there is no output to cap."""
        return {}

    def ask_usage(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """See `Format.ask_usage`: usage is reported where it ever is."""
        return {}

    def stream(self, hide: bool) -> StreamReader:
        """See `Format.stream`: should a server stream after all, it passes unread."""
        return Unread()


class Unread:
    """The `StreamReader` of a stream that is not expected."""

    def feed(self, data: bytes) -> bytes:
        """See `StreamReader.feed`."""
        return data

    def flush(self) -> bytes:
        """See `StreamReader.flush`."""
        return b""

    def report(self) -> Report:
        """See `StreamReader.report`: nothing is known."""
        return Report()
