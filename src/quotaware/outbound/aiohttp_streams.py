"""The answer's reader with a tap on it: one of aiohttp's own kind, filled from the one that was there."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import cache
from types import ModuleType
from typing import Any, TypeVar

from .tap import Tap, Undecodable

T = TypeVar("T")


def tapped(library: ModuleType, response: Any, tap: Tap, decoded: bool) -> Any:
    """The response, its content read on the way through. `decoded`: the library decodes it before anyone reads."""
    headers = response.headers
    encoding = "" if decoded else headers.get("content-encoding", "")
    decodes = tap.answered(response.status, headers.get("content-type", ""), encoding, headers)
    if isinstance(response.content, library.streams.EmptyStreamReader):
        tap.end()
        return response
    response.content = tapped_reader(library)(response.content, tap)
    if tap.rewrites:
        gone = {"content-length", *(("content-encoding",) if decodes else ())}
        kept = [(name, value) for name, value in headers.items() if name.lower() not in gone]
        response._headers = type(headers)(type(headers.copy())(kept))
        response._raw_headers = tuple(
            (name, value) for name, value in response.raw_headers if name.decode().lower() not in gone
        )
        response._cache.pop("headers", None)
    return response


class _Idle:
    """Flow control for a reader that is filled from another, which has it already."""

    connected = True
    _reading_paused = False  # as older versions ask

    def pause_reading(self) -> None:
        pass

    def resume_reading(self, resume_parser: bool = True) -> None:
        pass


def _at_once(work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine answers that has nothing to wait for."""
    try:
        work.send(None)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]
    raise RuntimeError("it waits")


@cache
def tapped_reader(library: ModuleType) -> type:  # noqa: C901  # many methods, not many branches
    """The reader class; made with the inner reader and the tap."""

    class StreamReader(library.StreamReader):  # type: ignore[misc, name-defined]
        __slots__ = ("_failure", "_inner", "_tap")

        def __init__(self, inner: Any, tap: Tap) -> None:
            low, _ = inner.get_read_buffer_limits()
            super().__init__(_Idle(), low, timer=inner._timer, loop=inner._loop)
            self._inner = inner
            self._tap = tap
            self._failure: Exception | None = None

        async def _wait(self, func_name: str) -> None:
            """What every reading method does when there is nothing to read: gets more. A cancelled wait loses nothing
            and can be repeated.
            """
            if self._failure is not None:
                raise self._failure
            inner = self._inner
            try:
                self._take(*await inner.readchunk())
                while inner._buffer:
                    self._take(*await inner.readchunk())
            except Undecodable as error:
                self._tap.cut()
                raise library.ClientPayloadError(str(error)) from error
            except Exception as error:
                kept = self._tap.cut()
                if not kept:
                    raise
                self._failure = error
                self.feed_data(kept)

        def _take(self, data: bytes, ends_chunk: bool) -> None:
            if self._inner._http_chunk_splits is not None and not self.total_bytes:
                self.begin_http_chunk_receiving()
            for piece in self._tap.feed(data) if data else ():
                self.feed_data(piece)
            if ends_chunk and self._http_chunk_splits is not None:
                self.end_http_chunk_receiving()
            if not data and not ends_chunk:
                self._finish()

        def _finish(self) -> None:
            if not self._eof:
                self.feed_data(self._tap.end())
                self.feed_eof()

        def read_nowait(self, n: int = -1) -> bytes:
            self._inner.read_nowait(0)  # raises where it may not be read now
            while self._inner._buffer:
                self._take(*_at_once(self._inner.readchunk()))
            self.at_eof()
            seen: bytes = super().read_nowait(n)
            return seen

        def at_eof(self) -> bool:
            if not self._buffer and self._inner.at_eof():
                self._finish()
            ended: bool = super().at_eof()
            return ended

        def exception(self) -> BaseException | None:
            return super().exception() or self._inner.exception()  # type: ignore[no-any-return]

        def set_exception(self, exc: BaseException, *cause: Any) -> None:
            """Nobody reads on: the response was closed or released."""
            super().set_exception(exc, *cause)
            self._inner.set_exception(exc, *cause)  # on which a reader of ours waits
            self._tap.cut()

        # what is said of the network, not of what was read

        def is_eof(self) -> bool:
            return self._inner.is_eof()  # type: ignore[no-any-return]

        async def wait_eof(self) -> None:
            await self._inner.wait_eof()

        def on_eof(self, callback: Callable[[], None]) -> None:
            self._inner.on_eof(callback)

        @property
        def total_raw_bytes(self) -> int:
            return self._inner.total_raw_bytes  # type: ignore[no-any-return]

        def get_read_buffer_limits(self) -> tuple[int, int]:
            return self._inner.get_read_buffer_limits()  # type: ignore[no-any-return]

        def set_read_chunk_size(self, n: int) -> None:
            super().set_read_chunk_size(n)
            self._inner.set_read_chunk_size(n)

    return StreamReader
