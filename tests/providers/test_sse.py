"""Events in a stream of bytes, in any chunking, with every line end, and of any length."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.providers.base import Report
from quotaware.providers.sse import EVENT_MAX, EventReader, Splitter, message, payload, single

PIECES = [
    b"data: {}",
    b": note",
    b"event: x",
    b"data:",
    b"\n",
    b"\r",
    b"\r\n",
    b"\n\n",
    b"\xf0\x9f",
    b"",
    b"\xef\xbb\xbf",
]


def chunked(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[begin:end] for begin, end in itertools.pairwise(edges)]


def split(chunks: list[bytes]) -> tuple[list[tuple[bytes, bool]], bytes]:
    splitter = Splitter()
    pieces = [piece for chunk in chunks for piece in splitter.feed(chunk)]
    return pieces, bytes(splitter.kept)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_an_event_ends_at_a_blank_line_whatever_its_line_ends(end: bytes) -> None:
    """LF, CRLF and CR alike; a CR at the very end waits, since an LF may follow it."""
    stream = end.join([b": hello", b"event: a", b"data: 1", b"", b"data: 2", b"", b"data: 3"])
    pieces, kept = split([stream])
    assert [payload(piece) for piece, _ in pieces] == [b"1", b"2"]
    assert kept == b"data: 3"


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_bytes_one_by_one_are_the_same_events(end: bytes) -> None:
    stream = end.join([b"data: \xf0\x9f\x98\x80", b"", b"data: 2", b"", b"data: 3", b"", b""])
    assert split([stream[at : at + 1] for at in range(len(stream))]) == split([stream])


def test_an_lf_after_a_cut_cr_is_no_line_of_its_own() -> None:
    """A CRLF stream cut between CR and LF gives its events whole."""
    pieces, kept = split([b"data: 1\r\n\r", b"\ndata: 2\r\n\r\n"])
    assert pieces == [(b"data: 1\r\n\r\n", True), (b"data: 2\r\n\r\n", True)]
    assert kept == b""


@given(
    st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join), st.lists(st.integers(0, 400), max_size=12)
)
@settings(deadline=None, max_examples=300)
def test_chunking_changes_nothing_and_no_byte_is_lost(stream: bytes, cuts: list[int]) -> None:
    pieces, kept = split(chunked(stream, cuts))
    assert b"".join(piece for piece, _ in pieces) + kept == stream
    assert (pieces, kept) == split([stream])


class Kept:
    """An `Answer` that keeps what it is given; the one of a name alone is ours."""

    def __init__(self) -> None:
        self.events: list[bytes] = []

    def take(self, event: bytes) -> bool:
        self.events.append(event)
        return event == b"event: x\n\n"

    def report(self) -> Report:
        return Report(seen=len(self.events))


@given(
    st.lists(st.sampled_from(PIECES), max_size=30).map(b"".join),
    st.lists(st.integers(0, 400), max_size=12),
    st.booleans(),
)
@settings(deadline=None, max_examples=300)
def test_a_chunk_that_is_one_event_is_read_as_any_other(stream: bytes, cuts: list[int], hide: bool) -> None:
    """Whether it is found to be one at a glance or is cut out, the answer is given the same events."""
    by_chunks, at_once, by_byte = Kept(), Kept(), Kept()
    passed = []
    for kept, chunks in (
        (by_chunks, chunked(stream, cuts)),
        (at_once, [stream]),
        (by_byte, [stream[at : at + 1] for at in range(len(stream))]),
    ):
        reader = EventReader(kept, hide)
        passed.append(b"".join(map(reader.feed, chunks)) + reader.flush())
    assert by_chunks.events == at_once.events == by_byte.events
    assert len(set(passed)) == 1
    if single(stream):
        assert split([stream]) == ([(stream, True)], b"")


@pytest.mark.parametrize(
    ("data", "is_one"),
    [
        (b"data: 1\n\n", True),
        (b"event: a\ndata: 1\n\n", True),
        (b"data: 1\r\n\r\n", True),
        (b"data: 1\n\ndata: 2\n\n", False),
        (b"data: 1\n\n\n", False),
        (b"data: 1\n", False),
        (b"data: 1\r\n\n", False),
        (b"\n", False),
        (b"", False),
        (b"y" * EVENT_MAX + b"\n\n", False),
    ],
)
def test_what_most_chunks_are_is_seen_at_a_glance(data: bytes, is_one: bool) -> None:
    assert single(data) is is_one


def test_data_is_read_as_the_standard_says() -> None:
    """Comments and other fields do not count, one leading space goes, lines are joined, a BOM may lead."""
    event = b"\xef\xbb\xbfdata: a\r\n: data: no\nid: 7\ndata:b\ndata:  c\ndatum: no\n\n"
    assert payload(event) == b"a\nb\n c"
    assert payload(b": nothing\n\n") == b""


def test_a_message_over_several_data_lines_is_one_json_object() -> None:
    assert message(b'data: {"a":\ndata: 1}\n\n') == {"a": 1}


@pytest.mark.parametrize("data", [b"[DONE]", b"[1]", b"{", b"\xff", b"", b"[" * 100_000, b"1" * 5_000])
def test_data_that_is_no_json_object_is_an_empty_message(data: bytes) -> None:
    assert message(b"data: " + data + b"\n\n") == {}


def test_an_endless_line_is_not_kept() -> None:
    """S7, F16: of 64 MiB without a line end no more than the bound is kept, and every byte passes."""
    splitter, chunk = Splitter(), b"x" * 65_536
    passed = most = readable = 0
    for _ in range(1_024):
        for piece, is_readable in splitter.feed(chunk):
            passed += len(piece)
            readable += len(piece) if is_readable else 0
        most = max(most, len(splitter.kept))
    assert passed + len(splitter.kept) == 64 << 20
    assert most <= EVENT_MAX + len(chunk)
    assert readable == EVENT_MAX
    assert splitter.begun() == b""
    assert splitter.feed(b"\n\ndata: 1\n\n")[-1] == (b"data: 1\n\n", True)


@pytest.mark.parametrize("size", range(EVENT_MAX - 3, EVENT_MAX + 8))
@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r"])
def test_what_is_readable_of_an_over_long_event_does_not_depend_on_chunks(size: int, end: bytes) -> None:
    """Also where its blank line lies across the bound, and the next event is whole again."""
    stream = b"y" * size + end + b"data: 1" + end + b"z"
    edge = size - 6
    small = [stream[:edge], *(stream[at : at + 1] for at in range(edge, len(stream)))]
    for chunks in ([stream], small):
        pieces, kept = split(chunks)
        assert b"".join(piece for piece, _ in pieces) + kept == stream
        readable = [piece for piece, is_readable in pieces if is_readable]
        assert readable == [(b"y" * size + end)[:EVENT_MAX], b"data: 1" + end]


def test_many_tiny_chunks_of_one_event_cost_no_copy_each() -> None:
    """10,000 chunks of one event are kept in one buffer, whose bytes come out as one event."""
    splitter = Splitter()
    body = json.dumps({"content": "a" * 10_000}).encode()
    assert not any(splitter.feed(body[at : at + 1]) for at in range(len(body)))
    assert splitter.feed(b"\n\n") == [(body + b"\n\n", True)]
