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
            except GeneratorExit:  # from the garbage collector, it may be, in the middle of anything
                tap.abandon()
                raise
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

        def __aiter__(self) -> AsyncIterator[bytes]:
            return _Pieces(library, self._inner.__aiter__(), self._tap)

        async def aclose(self) -> None:
            try:
                await self._inner.aclose()
            finally:
                self._tap.cut()

    return AsyncStream


class _Pieces(AsyncGenerator[bytes, None]):
    """What the sync stream's generator does. No generator itself: forgotten half way, one of those would have to be
    closed by a loop, and be warned of.
    """

    def __init__(self, library: ModuleType, stream: AsyncIterator[bytes], tap: Tap) -> None:
        self._library = library
        self._stream = stream
        self._tap = tap
        self._ready: Iterator[bytes] = iter(())
        self._end: Exception | None = None

    async def asend(self, value: None) -> bytes:
        while True:
            try:
                for seen in self._ready:
                    return seen
            except Undecodable as error:
                self._tap.cut()
                raise self._library.DecodingError(str(error)) from error
            if self._end is not None:
                raise self._end
            await self._step()

    async def _step(self) -> None:
        try:
            self._ready = iter(self._tap.feed(await anext(self._stream)))
        except StopAsyncIteration as end:
            self._end, kept = end, self._tap.end()
            self._ready = iter([kept] if kept else ())
        except Exception as error:
            self._end, kept = error, self._tap.cut()
            self._ready = iter([kept] if kept else ())
        except BaseException:
            self._tap.cut()
            raise

    async def athrow(self, kind: Any, value: Any = None, trace: Any = None) -> bytes:
        self._tap.cut()
        if isinstance(self._stream, AsyncGenerator):  # as httpx2 does
            await self._stream.aclose()
        raise kind if value is None else value

    def __del__(self) -> None:
        self._tap.abandon()
