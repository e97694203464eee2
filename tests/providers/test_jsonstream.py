"""Streams in JSON, cut anywhere: what is read of them is what a stream of events with the same objects says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.providers.base import Report, StreamReader
from quotaware.providers.jsonstream import ObjectReader
from quotaware.providers.sse import EventReader, payload

VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a"\\{}[]\n\r,é', max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('a"\\{', max_size=2), inner, max_size=3)
    ),
    max_leaves=8,
)
OBJECTS = st.lists(st.dictionaries(st.text("ab}", max_size=2), VALUES, max_size=3), max_size=4)


class Kept:
    """An `Answer` that keeps what it is given."""

    def __init__(self) -> None:
        self.events: list[bytes] = []

    def take(self, event: bytes) -> bool:
        self.events.append(event)
        return False

    def report(self) -> Report:
        return Report(seen=len(self.events))


def objects(reader: StreamReader, kept: Kept, chunks: list[bytes]) -> list[Any]:
    for chunk in chunks:
        assert reader.feed(chunk) == chunk
    assert reader.flush() == b""
    return [json.loads(payload(event)) for event in kept.events]


def shreds(text: bytes, cuts: list[int]) -> list[bytes]:
    at = sorted(cut % (len(text) + 1) for cut in cuts)
    return [text[a:b] for a, b in zip([0, *at], [*at, len(text)], strict=True)]


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("listed", [True, False])
@given(found=OBJECTS, cuts=st.lists(st.integers(0, 500), max_size=9))
@settings(deadline=None, max_examples=60)
def test_every_object_is_an_event_however_it_is_cut(
    indent: int | None, listed: bool, found: list[Any], cuts: list[int]
) -> None:
    text = (
        json.dumps(found, indent=indent) if listed else "\n".join(json.dumps(o, indent=indent) for o in found)
    )
    kept = Kept()
    reader = ObjectReader(EventReader(kept, hide=False))
    assert objects(reader, kept, shreds(text.encode(), cuts)) == found


@given(
    chunks=st.lists(
        st.binary(max_size=9)
        | st.sampled_from([b"{", b"}", b'"', b"\\", b"[", b"\n\n", b'{"a": {}}', b'{"\\""', b"\\}", b"\\{"]),
        max_size=20,
    )
)
@settings(deadline=None, max_examples=400)
def test_any_bytes_pass_and_say_the_same_in_one_piece(chunks: list[bytes]) -> None:
    shredded, joined = Kept(), Kept()
    reader, once = (
        ObjectReader(EventReader(shredded, hide=False)),
        ObjectReader(EventReader(joined, hide=False)),
    )
    for chunk in chunks:
        assert reader.feed(chunk) == chunk
    once.feed(b"".join(chunks))
    assert shredded.events == joined.events
    assert reader.report() == once.report()


def test_an_object_without_end_is_not_kept() -> None:
    """S7: of one that is longer than any event, only the beginning is read."""
    kept = Kept()
    reader = ObjectReader(EventReader(kept, hide=False))
    reader.feed(b'[{"text": "')
    for _ in range(64):
        reader.feed(b"x" * 65_536)
    assert sum(map(len, kept.events)) <= 1 << 20
    reader.feed(b'"}, {"a": 1}]')
    assert json.loads(payload(kept.events[-1])) == {"a": 1}
