"""The answer's byte stream with a tap on it, as httpx and httpx2 want it: each insists on its own base classes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from functools import cache
from types import ModuleType
from typing import Any

from .tap import Tap, Undecodable


@cache
def sync_stream(library: ModuleType) -> type:
    """The sync stream class for a library; made with the inner stream and the tap."""

    class SyncStream(library.SyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, inner: Any, tap: Tap) -> None:
            self._inner = inner
            self._tap = tap

        def __iter__(self) -> Iterator[bytes]:
            tap = self._tap
            try:
                for data in self._inner:
                    yield from tap.feed(data)
                if kept := tap.end():
                    yield kept
            except Undecodable as error:
                raise library.DecodingError(str(error)) from error
            except Exception:
                if kept := tap.cut():
                    yield kept
                raise
            finally:
                tap.cut()

        def close(self) -> None:
            try:
                self._inner.close()
            finally:
                self._tap.cut()

    return SyncStream


@cache
def async_stream(library: ModuleType) -> type:
    """The async stream class for a library; made with the inner stream and the tap."""

    class AsyncStream(library.AsyncByteStream):  # type: ignore[misc, name-defined]
        def __init__(self, inner: Any, tap: Tap) -> None:
            self._inner = inner
            self._tap = tap

        async def __aiter__(self) -> AsyncIterator[bytes]:
            tap = self._tap
            stream = self._inner.__aiter__()
            try:
                async for data in stream:
                    for seen in tap.feed(data):
                        yield seen
                if kept := tap.end():
                    yield kept
            except Undecodable as error:
                raise library.DecodingError(str(error)) from error
            except Exception:
                if kept := tap.cut():
                    yield kept
                raise
            finally:
                tap.cut()
                if isinstance(stream, AsyncGenerator):  # as httpx2 does, not left to the garbage collector
                    await stream.aclose()

        async def aclose(self) -> None:
            try:
                await self._inner.aclose()
            finally:
                self._tap.cut()

    return AsyncStream
