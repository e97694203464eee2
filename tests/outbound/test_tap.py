"""The tap by itself: streams cut at every byte, encodings piece by piece, and answers made to fill memory."""

from __future__ import annotations

import gc
import json
import sys
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakMethod

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.bounds import Call
from quotaware.core.charges import Outcome
from quotaware.core.usage import Usage
from quotaware.outbound import decoding
from quotaware.outbound.decoding import PIECE, decoder
from quotaware.outbound.tap import BOMB, END, WHOLE, Tap, Undecodable
from quotaware.providers import registry
from quotaware.providers.base import Format
from quotaware.providers.openai_chat import OpenAIChat
from quotaware.testing.recordings import is_stream
from tests.corpus import exchanges, needs_corpus, wire_body

OPENAI = registry.find("POST", "api.openai.com", "/v1/chat/completions").format


class Ledger:
    """Stands for an admission and notes how it was settled."""

    def __init__(self, stream: bool = True) -> None:
        self.call = Call("openai", "chat", "m", stream=stream)
        tally: Counter[str] = Counter()
        self.engine = SimpleNamespace(tally=tally, count=lambda name: tally.update([name]))
        self.settled: list[tuple[Outcome, str | None]] = []
        self.moves = 0
        self.firsts = 0

    def moved(self) -> None:
        self.moves += 1

    def when_quiet(self, look: WeakMethod[Callable[[], None]]) -> None:
        self.quiet = look

    def generated(self) -> None:
        self.firsts += 1

    def settle(self, outcome: Outcome, model: str | None = None) -> None:
        self.settled.append((outcome, model))

    abandon = settle

    @property
    def outcome(self) -> Outcome:
        ((outcome, _),) = self.settled
        return outcome


def tapped(
    ledger: Ledger, format: Format | None, *, hide: bool = False, encoding: str = "", kind: str = ""
) -> Tap:
    tap = Tap(ledger, format, hide)
    tap.answered(200, kind or "text/event-stream", encoding)
    return tap


def shown(tap: Tap, *pieces: bytes) -> bytes:
    return b"".join(seen for piece in pieces for seen in tap.feed(piece))


CHUNK = b'data: {"choices":[{"delta":{"content":%b}}]}\n\n'


def test_the_first_token_of_a_stream_is_told_once() -> None:
    """It is the first piece with something generated in it: not the head, not the role."""
    ledger = Ledger()
    tap = tapped(ledger, OpenAIChat())
    for piece, firsts in (
        (b"", 0),
        (b": wait\n\n", 0),
        (CHUNK % b'""', 0),
        (CHUNK % b'"a"', 1),
        (CHUNK % b'"b"', 1),
    ):
        shown(tap, piece)
        assert ledger.firsts == firsts
    tap.end()
    assert ledger.firsts == 1


def test_what_comes_whole_has_no_first_token() -> None:
    for stream in (True, False):
        ledger = Ledger(stream)
        tap = tapped(ledger, OpenAIChat(), kind="application/json")
        shown(tap, b'{"choices":[{"message":', b'{"content":"a"}}]}')
        tap.end()
        assert ledger.firsts == 0


def test_one_that_fails_to_be_told_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger()
    monkeypatch.setattr(ledger, "generated", lambda: 1 / 0)
    tap = tapped(ledger, OpenAIChat(), hide=True)
    pieces = (CHUNK % b'"a"', CHUNK % b'"b"')
    assert shown(tap, *pieces) == b"".join(pieces)
    tap.end()
    assert (ledger.outcome.seen, ledger.engine.tally) == (2, {"faults": 1})


# I-22


PROVIDERS = (
    "openai",
    "anthropic",
    "azure",
    "deepseek",
    "google",
    "groq",
    "huggingface",
    "mistral",
    "openrouter",
)


@cache
def short_streams() -> list[tuple[Format, dict[str, Any]]]:
    """The twenty shortest recorded streams that a format reads, each of at most 8 KB."""
    found = []
    for exchange in (exchange for provider in PROVIDERS for exchange in exchanges(provider)):
        url = urlsplit(exchange["url"])
        route = registry.find(exchange["method"], url.netloc, url.path)
        told = exchange["expected"]["usage"] is not None
        if is_stream(exchange) and told and route is not None and route.format is not None:
            found.append((route.format, exchange))
    return sorted(found, key=lambda pair: len(wire_body(pair[1])))[:20]


def charged(outcome: Outcome) -> int:
    """Output tokens that an ending is charged."""
    reported = outcome.usage.output if outcome.usage else 0
    return reported if outcome.usage and outcome.done else max(reported, outcome.seen)


@needs_corpus
@pytest.mark.parametrize("hide", [pytest.param(False, marks=pytest.mark.slow), True], ids=["shown", "hidden"])
@pytest.mark.parametrize(
    "at", [*range(16), *(pytest.param(at, marks=pytest.mark.slow) for at in range(16, 20))]
)
def test_at_every_byte_of_a_stream_what_was_seen_is_charged(at: int, hide: bool) -> None:
    """F8, I-22: never a raise; output does not fall until usage is reported, from then on it is the true one."""
    format, exchange = short_streams()[at]
    wire, true = wire_body(exchange), exchange["expected"]["usage"]["output"]
    tap, before = tapped(Ledger(), format, hide=hide), 0
    for cut in range(len(wire)):
        shown(tap, wire[cut : cut + 1])
        outcome, _ = tap._outcome(ended=False)
        assert charged(outcome) == true if outcome.done else charged(outcome) >= before
        before = charged(outcome)
    assert outcome.done
    tap.cut()


@needs_corpus
@pytest.mark.parametrize("step", [97, pytest.param(1, marks=pytest.mark.slow)])
@pytest.mark.parametrize("hide", [False, True], ids=["shown", "hidden"])
@pytest.mark.parametrize("at", range(20))
def test_a_stream_that_is_cut_is_settled_once_and_seen_by_the_app_up_to_there(
    at: int, hide: bool, step: int
) -> None:
    """F8, I-22: the app has every byte up to the cut, save those of a usage chunk of ours."""
    format, exchange = short_streams()[at]
    wire, true = wire_body(exchange), exchange["expected"]["usage"]["output"]
    before = 0
    for cut in (*range(0, len(wire), step), len(wire)):
        ledger = Ledger()
        tap = tapped(ledger, format, hide=hide)
        got = shown(tap, wire[:cut]) + tap.cut()
        assert got == wire[:cut] or (hide and b'"usage":{' in wire[:cut] and len(got) < cut)
        assert tap.cut() == tap.end() == b""
        assert charged(ledger.outcome) == true if ledger.outcome.done else charged(ledger.outcome) >= before
        before = charged(ledger.outcome)
    assert (before, ledger.outcome.done) == (true, True)


@needs_corpus
def test_there_are_twenty_such_streams() -> None:
    assert [len(wire_body(exchange)) <= 8192 for _, exchange in short_streams()] == [True] * 20


# endings


def test_the_first_ending_counts() -> None:
    ledger = Ledger()
    tap = tapped(ledger, OPENAI)
    tap.end()
    tap.cut()
    tap.failed(sent=True)
    tap.abandon()
    del tap
    gc.collect()
    assert len(ledger.settled) == 1


USED = b'data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}\n\n'


@pytest.mark.parametrize("hide", [False, True])
def test_one_that_came_whole_is_settled_though_nobody_reads_to_its_end(hide: bool) -> None:
    ledger = Ledger()
    tap = tapped(ledger, OPENAI, hide=hide)
    look = ledger.quiet()
    assert look is not None
    shown(tap, CHUNK % b'"word"')
    look()
    assert ledger.settled == []  # more of it may come
    shown(tap, USED, b"data: [D")
    look()
    assert (ledger.outcome.usage, ledger.outcome.done) == (Usage(7, 5), True)
    assert shown(tap, b"ONE]\n\n") + tap.end() == (b"data: [DONE]\n\n" if hide else b"ONE]\n\n")


def test_what_is_kept_for_a_look_keeps_no_answer_alive() -> None:
    ledger = Ledger()
    tap = tapped(ledger, OPENAI)
    del tap
    gc.collect()
    assert ledger.quiet() is None
    assert len(ledger.settled) == 1


def test_an_answer_in_json_is_not_looked_at_before_its_end() -> None:
    ledger = Ledger()
    tap = tapped(ledger, OPENAI, kind="application/json")
    shown(tap, b'{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5}}')
    tap.look()
    assert ledger.settled == []
    tap.end()
    tap.look()
    assert ledger.outcome.usage == Usage(7, 5)


def test_a_tap_that_is_forgotten_settles_what_was_seen() -> None:
    ledger = Ledger()
    tap = tapped(ledger, OPENAI)
    shown(tap, b'data: {"choices":[{"delta":{"content":"word"}}]}\n\n')
    del tap
    gc.collect()
    assert (ledger.outcome.seen, ledger.outcome.done) == (1, False)


@pytest.mark.parametrize("hide", [False, True])
def test_a_reader_that_fails_does_not_reach_the_host(hide: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger()
    tap = tapped(ledger, OPENAI, hide=hide)

    def broken(*_: Any) -> Any:
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr("quotaware.providers.sse.EventReader.feed", broken)
    monkeypatch.setattr("quotaware.providers.sse.EventReader.report", broken)
    assert shown(tap, b"data: 1\n\n", b"data: 2\n\n") == b"data: 1\n\ndata: 2\n\n"
    assert tap.end() == b""
    assert ledger.outcome.usage is None
    assert ledger.engine.tally["unreadable"] == 2


def test_an_endpoint_that_no_format_reads_is_passed_and_settled() -> None:
    ledger = Ledger()
    tap = tapped(ledger, None)
    assert shown(tap, b"anything") == b"anything"
    tap.end()
    assert ledger.outcome == Outcome(200, done=True)


def test_every_piece_keeps_the_lease_alive() -> None:
    ledger = Ledger()
    tap = tapped(ledger, OPENAI)
    shown(tap, b"a", b"b", b"c")
    tap.cut()
    assert ledger.moves == 3


# whole answers


def answer(size: int, usage: dict[str, int] | None, first: bool = False) -> bytes:
    content = 'quoted \\"usage\\": {\\"prompt_tokens\\": 9} text ' * (size // 50)
    told = b'"usage":%s' % json.dumps(usage).encode() if usage else b'"more":1'
    text = b'"choices":[{"message":{"content":"%s"}}]' % content.encode()
    return b'{"model":"gpt-4.1",%s}' % b",".join([told, text] if first else [text, told])


@pytest.mark.parametrize("first", [False, True], ids=["usage last", "usage first"])
@pytest.mark.parametrize("size", [100, WHOLE, WHOLE + END, WHOLE + 2 * END, 4 * WHOLE])
def test_usage_is_found_in_answers_of_any_size_wherever_it_stands(size: int, first: bool) -> None:
    """Of a large one only both ends are kept; text in which the word stands is no usage."""
    ledger = Ledger()
    tap = tapped(ledger, OPENAI, kind="application/json")
    wire = answer(size, {"prompt_tokens": 7, "completion_tokens": 5, "total_tokens": 12}, first)
    for at in range(0, len(wire), 10_000):
        assert shown(tap, wire[at : at + 10_000]) == wire[at : at + 10_000]
    tap.end()
    ((outcome, model),) = ledger.settled
    assert (outcome.usage.input, outcome.usage.output, outcome.done, model) == (7, 5, True, "gpt-4.1")


def test_a_large_answer_without_usage_is_charged_by_its_size() -> None:
    for size in (1000, 4 * WHOLE):
        ledger = Ledger()
        tap = tapped(ledger, OPENAI, kind="application/json")
        wire = answer(size, None)
        shown(tap, wire)
        tap.end()
        assert (ledger.outcome.usage, ledger.outcome.done) == (None, True)
        assert ledger.outcome.seen == -(-len(wire) // 4)


@pytest.mark.parametrize(
    "wire", [b"", b"{", b"[1]", b"null", b"<html>", b"\xff\xfe", b'{"usage": []}', b"[" * 100_000]
)
def test_an_answer_that_is_no_answer_is_charged_by_its_size(wire: bytes) -> None:
    ledger = Ledger()
    tap = tapped(ledger, OPENAI, kind="application/json")
    assert shown(tap, wire) == wire
    tap.end()
    assert (ledger.outcome.usage, ledger.outcome.seen) == (None, -(-len(wire) // 4))


# encodings


def squeezed(data: bytes, wbits: int) -> bytes:
    made = zlib.compressobj(wbits=wbits)
    return made.compress(data) + made.flush()


def frames(data: bytes) -> bytes:
    half = len(data) // 2
    return b"".join(zstandard.ZstdCompressor().compress(part) for part in (data[:half], data[half:]))


SQUEEZE = {
    "gzip": lambda data: squeezed(data, 31),
    "x-gzip": lambda data: squeezed(data, 31),
    "deflate": lambda data: squeezed(data, 15),
    " GZIP , identity": lambda data: squeezed(data, 31),
    "br": brotli.compress,
    "zstd": frames,
    "identity": None,
    "": None,
}


@settings(deadline=None, max_examples=60)
@given(
    data=st.one_of(st.binary(max_size=2000), st.integers(0, 300_000).map(lambda size: b"tok " * (size // 4))),
    encoding=st.sampled_from([name for name, squeeze in SQUEEZE.items() if squeeze]),
    cuts=st.lists(st.integers(2, 1000), max_size=8),
)
def test_decoded_pieces_joined_are_what_was_encoded(data: bytes, encoding: str, cuts: list[int]) -> None:
    """However the wire is cut."""
    wire, made, got = SQUEEZE[encoding](data), decoder(encoding), []
    for cut in (*cuts, len(wire)):
        got += made.pieces(wire[:cut])
        wire = wire[cut:]
    assert b"".join(got) == data


def test_nothing_that_can_be_decoded_is_held_back() -> None:
    """Wherever the wire stops, all is out that an unbounded decoder gives, though pieces are bounded."""
    wire = squeezed(bytes(2 * PIECE + 100), 31)
    for end in range(len(wire)):
        got = sum(map(len, decoder("gzip").pieces(wire[:end])))
        assert got == len(zlib.decompressobj(31).decompress(wire[:end]))


def test_what_follows_the_end_of_a_body_is_not_kept() -> None:
    """S7."""
    made, more = decoder("gzip"), bytes(1 << 20)
    assert b"".join(made.pieces(squeezed(b"all", 31) + b"rubbish")) == b"all"
    tracemalloc.start()
    try:
        for _ in range(32):
            assert list(made.pieces(more)) == []
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


def test_pieces_are_small_whatever_they_were_made_from() -> None:
    """S7: 16 MiB of nothing, in each encoding."""
    for encoding, most, squeeze in (
        ("gzip", PIECE, SQUEEZE["gzip"]),
        ("deflate", PIECE, SQUEEZE["deflate"]),
        ("br", 2 * PIECE, lambda data: brotli.compress(data, quality=4)),
        ("zstd", 9 * 131_072, SQUEEZE["zstd"]),
    ):
        wire, size = squeeze(bytes(16 << 20)), 0
        for piece in decoder(encoding).pieces(wire):
            assert len(piece) <= most, encoding
            size += len(piece)
        assert size == 16 << 20


def test_a_brotli_that_takes_no_bound_is_fed_little_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before version 1.2."""
    fed = []

    class Old:
        def __init__(self) -> None:
            self._made = brotli.Decompressor()

        def process(self, data: bytes) -> bytes:
            fed.append(len(data))
            return self._made.process(data)

    monkeypatch.setattr(decoding, "_library", lambda *names: SimpleNamespace(Decompressor=Old))
    data = bytes(range(256)) * 40
    assert b"".join(decoder("br").pieces(brotli.compress(data, quality=0))) == data
    assert max(fed) <= 1024


@pytest.mark.parametrize("encoding", ["identity", "", "Identity, identity"])
def test_what_is_not_encoded_needs_no_decoder(encoding: str) -> None:
    assert decoder(encoding) is None


def test_unknown_and_nested_encodings_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    for encoding in ("aws-chunked", "gzip, br", "gzip;q=1"):
        with pytest.raises(LookupError):
            decoder(encoding)
    monkeypatch.setitem(sys.modules, "brotli", None)
    monkeypatch.setitem(sys.modules, "brotlicffi", None)
    with pytest.raises(ImportError):
        decoder("br")


def test_hidden_streams_of_such_encodings_pass_as_they_came() -> None:
    ledger = Ledger()
    tap = tapped(ledger, OPENAI, hide=True, encoding="unheard-of")
    assert not tap.rewrites
    assert shown(tap, b"\x00\x01") == b"\x00\x01"
    assert ledger.engine.tally["unreadable"] == 1


def test_a_broken_encoding_is_raised_only_where_the_app_waits_for_decoded_bytes() -> None:
    wire = b"\x1f\x8b" + b"\xff" * 20
    assert shown(tapped(Ledger(), OPENAI, encoding="gzip"), wire) == wire
    with pytest.raises(Undecodable):
        shown(tapped(Ledger(), OPENAI, hide=True, encoding="gzip"), wire)


# F16, S7

BOUND = 16 << 20


@cache
def gzip_bomb(size: int) -> list[bytes]:
    made, block = zlib.compressobj(1, wbits=31), bytes(1 << 20)
    wire = b"".join(made.compress(block) for _ in range(size >> 20)) + made.flush()
    return [wire[at : at + 65_536] for at in range(0, len(wire), 65_536)]


def endless(start: bytes, size: int) -> Iterator[bytes]:
    yield start
    for _ in range(size >> 16):
        yield b"x" * 65_536


BOMBS: dict[str, tuple[str, str, Callable[[], Iterable[bytes]]]] = {
    "gzip": ("gzip", "text/event-stream", lambda: gzip_bomb(256 << 20)),
    "gzip of json": ("gzip", "application/json", lambda: gzip_bomb(256 << 20)),
    "line": ("", "text/event-stream", lambda: endless(b"data: ", 64 << 20)),
    "event": ("", "text/event-stream", lambda: endless(b'data: {"choices":[{"delta":{"content":"', 64 << 20)),
    "json": ("", "application/json", lambda: endless(b'{"choices":[{"message":{"content":"', 64 << 20)),
    "tiny chunks": ("", "text/event-stream", lambda: [b"x"] * 10_000),
}


@pytest.mark.parametrize("hide", [False, True], ids=["shown", "hidden"])
@pytest.mark.parametrize("case", BOMBS)
def test_answers_made_to_fill_memory_do_not(case: str, hide: bool) -> None:
    """F16, S7: 256 MiB from 1 MiB of gzip, a 64 MiB line without an end, endless tiny chunks; on our account stays
    less than 16 MiB, and the app is passed all of it.
    """
    encoding, kind, make = BOMBS[case]
    ledger, pieces = Ledger(), make()
    tap = tapped(ledger, OPENAI, hide=hide, encoding=encoding, kind=kind)
    given = size = 0
    tracemalloc.start()
    try:
        for piece in pieces:
            given += len(piece)
            for seen in tap.feed(piece):
                size += len(seen)
        size += len(tap.end())
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert given >= 10_000
    assert most < BOUND
    assert size == (256 << 20 if case == "gzip" and hide else given)
    assert ledger.engine.tally["bombs"] == (case == "gzip of json" or (case == "gzip" and not hide))
    assert ledger.outcome.usage is None


def test_what_is_read_of_one_piece_of_the_wire_is_bounded() -> None:
    """Reading stops, and the answer is charged by estimate; the app's stream goes on."""
    ledger = Ledger()
    tap = tapped(ledger, OPENAI, encoding="gzip")
    wire = squeezed(bytes(2 * BOMB), 31)
    assert shown(tap, wire, b"and on") == wire + b"and on"
    tap.end()
    assert ledger.engine.tally["bombs"] == 1
    assert (ledger.outcome.usage, ledger.outcome.done) == (None, True)


def test_the_app_may_hold_back_without_our_holding_more() -> None:
    """Decoded pieces are made one by one, as the app asks for them."""
    tap = tapped(Ledger(), OPENAI, hide=True, encoding="gzip")
    pieces = iter(tap.feed(squeezed(b": comment\n\n" * 100_000, 31)))
    assert len(next(pieces)) <= PIECE
