"""AWS's event streams, cut anywhere, broken anywhere, endless."""

from __future__ import annotations

import json
import struct
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.providers.base import Report
from quotaware.providers.eventstream import FrameReader, wrapped
from quotaware.providers.sse import EVENT_MAX, payload
from tests.providers.frames import chunk, frame


class Kept:
    """An `Answer` that keeps the data of what it is given."""

    def __init__(self) -> None:
        self.events: list[bytes] = []

    def take(self, event: bytes) -> bool:
        self.events.append(payload(event))
        return False

    def report(self) -> Report:
        return Report(seen=len(self.events))


def made() -> tuple[FrameReader, Kept]:
    kept = Kept()
    return FrameReader(kept), kept


PAYLOADS = st.lists(
    st.binary(min_size=1, max_size=40).filter(lambda p: not set(p) & set(b"\r\n\x0b\x0c\x1c\x1d\x1e\x85")),
    max_size=5,
)


@given(payloads=PAYLOADS, cuts=st.lists(st.integers(0, 2_000), max_size=12))
@settings(deadline=None, max_examples=100)
def test_every_payload_is_an_event_however_it_is_cut(payloads: list[bytes], cuts: list[int]) -> None:
    text = b"".join(map(frame, payloads))
    at = sorted(cut % (len(text) + 1) for cut in cuts)
    reader, kept = made()
    for begin, end in zip([0, *at], [*at, len(text)], strict=True):
        assert reader.feed(text[begin:end]) == text[begin:end]
    assert reader.flush() == b""
    assert [event.removeprefix(b" ") for event in kept.events] == [p.removeprefix(b" ") for p in payloads]


@given(
    chunks=st.lists(st.binary(max_size=40) | st.sampled_from([frame(b"{}"), frame(b"{}")[:20]]), max_size=12)
)
@settings(deadline=None, max_examples=150)
def test_any_bytes_pass_and_say_the_same_in_one_piece(chunks: list[bytes]) -> None:
    (reader, kept), (once, at_once) = made(), made()
    for piece in chunks:
        assert reader.feed(piece) == piece
    once.feed(b"".join(chunks))
    assert kept.events == at_once.events


def test_lines_within_a_payload_are_one_event() -> None:
    reader, kept = made()
    reader.feed(frame(b'{\r\n\n"a": 1}'))
    assert [json.loads(event) for event in kept.events] == [{"a": 1}]


@pytest.mark.parametrize(
    "bad",
    [
        b"<html><body>not a frame at all</body></html>",
        b"\x00" * 16,
        frame(b"{}")[:8] + b"\x00\x00\x00\x00" + frame(b"{}")[12:],
        struct.pack(">III", 1 << 31, 0, zlib.crc32(struct.pack(">II", 1 << 31, 0))),
        struct.pack(">III", 20, 9, zlib.crc32(struct.pack(">II", 20, 9))) + b"12345678",
    ],
)
def test_from_what_is_no_frame_on_nothing_is_read_or_kept(bad: bytes) -> None:
    reader, kept = made()
    reader.feed(frame(b"{}"))
    reader.feed(bad)
    for _ in range(8):
        reader.feed(b"x" * 65_536)
    reader.feed(frame(b"{}"))
    assert kept.events == [b"{}"]
    assert reader.report().seen == 1
    assert not reader._kept


def test_a_frame_that_is_too_long_passes_unread_and_the_next_is_read() -> None:
    """S7: of such a one nothing is kept."""
    long, reader, kept = frame(b"x" * (EVENT_MAX + 1)), *made()
    for at in range(0, len(long), 65_536):
        reader.feed(long[at : at + 65_536])
        assert len(reader._kept) <= 65_536
    reader.feed(frame(b"{}"))
    assert kept.events == [b"{}"]


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        (b'{"bytes": "e30=", "p": "a"}', b"{}"),
        (b'{"bytes": "***"}', b""),
        (b'{"bytes": "e"}', b""),
        (b'{"bytes": 7}', b""),
        (b'{"bytes": "\\u00e9"}', b""),
        (b'{"message": "throttled"}', b""),
        (b"[" * 100_000, b""),
        (b"\xff", b""),
        (b"[]", b""),
    ],
)
def test_what_is_wrapped_is_unwrapped(text: bytes, inside: bytes) -> None:
    assert wrapped(text) == inside


def test_what_holds_nothing_is_no_event() -> None:
    kept = Kept()
    reader = FrameReader(kept, wrapped)
    reader.feed(frame(b'{"message": "too many"}', "throttlingException", "exception") + chunk(a=1))
    assert [json.loads(event) for event in kept.events] == [{"a": 1}]
