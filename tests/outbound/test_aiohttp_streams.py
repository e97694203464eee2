"""Our reader of an answer against the one that it is filled from: whatever is asked of them, in whatever order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientPayloadError, StreamReader
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.outbound.aiohttp_streams import tapped_reader


class Protocol:
    """The connection: it is told to pause and to go on."""

    connected = True
    paused = False

    @property
    def _reading_paused(self) -> bool:
        return self.paused

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self, resume_parser: bool = True) -> None:
        self.paused = False


class PassingTap:
    """Sees what goes by and changes nothing of it but what it is told to hold back until the end."""

    def __init__(self, held: int = 0) -> None:
        self.seen = b""
        self.held = held
        self.ended = ""

    def feed(self, data: bytes) -> Iterable[bytes]:
        self.seen += data
        return (data[: len(data) - self.held],) if self.held else (data,)

    def end(self) -> bytes:
        self.ended = self.ended or "whole"
        return b"kept" if self.held else b""

    def cut(self) -> bytes:
        self.ended = self.ended or "cut"
        return b"kept" if self.held else b""


FEEDS = st.lists(st.sampled_from([b"", b"a", b"one\n", b"two\nthree", b"\n\n", b"x" * 40]), max_size=12)
READS = st.lists(
    st.tuples(
        st.sampled_from(
            ["read", "readany", "readline", "readchunk", "readuntil", "readexactly", "read_nowait", "at_eof"]
        ),
        st.integers(1, 50),
    ),
    max_size=20,
)


@settings(max_examples=500, deadline=None)
@given(FEEDS, READS, st.booleans(), st.sampled_from(["eof", "error", "closed"]))
def test_it_answers_as_the_bare_reader_does(
    feeds: list[bytes], reads: list[tuple[str, int]], chunked: bool, end: str
) -> None:
    """All of the answer has come before it is read: after that nothing depends on when."""

    async def told(ours: bool) -> list[Any]:
        inner = StreamReader(Protocol(), 64, loop=asyncio.get_running_loop())
        reader = tapped_reader(aiohttp)(inner, PassingTap()) if ours else inner
        for data in feeds:
            if chunked:
                inner.begin_http_chunk_receiving()
            inner.feed_data(data)
            if chunked:
                inner.end_http_chunk_receiving()
        if end == "eof":
            inner.feed_eof()
        elif end == "error":
            inner.set_exception(ClientPayloadError("broken"))
        else:
            inner.feed_eof()
            reader.set_exception(ClientPayloadError("closed"))
        return [await _asked(reader, how, n) for how, n in reads]

    bare, metered = asyncio.run(told(False)), asyncio.run(told(True))
    assert metered == bare


async def _asked(reader: StreamReader, how: str, n: int) -> Any:
    try:
        if how in {"read", "readexactly"}:
            return await getattr(reader, how)(n)
        if how == "read_nowait":
            return reader.read_nowait(n if n < 40 else -1)
        if how == "at_eof":
            return reader.at_eof(), reader.is_eof()
        return await getattr(reader, how)()
    except Exception as error:
        return type(error).__name__, str(error)


@pytest.mark.parametrize("end", ["eof", "error"])
def test_what_was_kept_back_comes_before_the_end(end: str) -> None:
    async def main() -> None:
        inner = StreamReader(Protocol(), 64, loop=asyncio.get_running_loop())
        tap = PassingTap(held=1)
        reader = tapped_reader(aiohttp)(inner, tap)
        inner.feed_data(b"abc")
        assert await reader.readany() == b"ab"
        if end == "eof":
            inner.feed_eof()
            assert not reader.at_eof()
            assert await reader.readany() == b"kept"
            assert reader.at_eof()
        else:
            inner.set_exception(ClientPayloadError("broken"))
            assert await reader.readany() == b"kept"
            with pytest.raises(ClientPayloadError, match="broken"):
                await reader.readany()
        assert tap.ended == ("whole" if end == "eof" else "cut")

    asyncio.run(main())


def test_a_reader_that_waits_is_woken_when_the_answer_is_closed() -> None:
    async def main() -> None:
        inner = StreamReader(Protocol(), 64, loop=asyncio.get_running_loop())
        reader = tapped_reader(aiohttp)(inner, tap := PassingTap())
        waiting = asyncio.ensure_future(reader.read(5))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another coroutine is already waiting"):
            await reader.read(5)
        reader.set_exception(ClientPayloadError("closed"))
        with pytest.raises(ClientPayloadError, match="closed"):
            await waiting
        assert tap.ended == "cut"

    asyncio.run(main())


def test_the_wire_is_held_back_by_the_reader_that_was_there() -> None:
    async def main() -> None:
        protocol = Protocol()
        inner = StreamReader(protocol, 64, loop=asyncio.get_running_loop())
        reader = tapped_reader(aiohttp)(inner, PassingTap())
        inner.feed_data(b"x" * 200)
        assert protocol.paused
        assert await reader.read(1) == b"x"
        assert not protocol.paused  # it is in our hands now, and the wire may bring as much again
        inner.feed_data(b"x" * 200)
        assert protocol.paused
        for _ in range(199):
            assert await reader.read(1) == b"x"
            assert protocol.paused
        assert await reader.read(1) == b"x"
        assert not protocol.paused
        assert reader.get_read_buffer_limits() == inner.get_read_buffer_limits() == (64, 128)

    asyncio.run(main())
