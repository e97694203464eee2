"""S7, F16, F18: answers that were made to do harm, or came to harm: nothing raises, and memory is bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc
import venv
import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, pairwise
from pathlib import Path

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.outbound.tap import Tap, Undecodable
from quotaware.providers import registry
from tests.fuzzing import TARGETS, seeds
from tests.outbound.streamed import STREAMS, Streamed
from tests.outbound.test_tap import Ledger, squeezed

ROOT = Path(__file__).parents[2]
ENCODED: dict[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    "gzip": lambda data: squeezed(data, 31),
    "deflate": lambda data: squeezed(data, 15),
    "br": lambda data: brotli.compress(data, quality=1),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}
BOUND = 16 << 20
"""Bytes that an answer may cost us at the most."""


def tapped(stream: Streamed, hide: bool = False, encoding: str = "") -> tuple[Tap, Ledger]:
    route = registry.find(
        "POST", "127.0.0.1", stream.path, {"127.0.0.1": stream.provider} if stream.provider else {}
    )
    assert route is not None
    ledger = Ledger()
    tap = Tap(ledger, route.format, hide)
    tap.answered(200, stream.kind, encoding)
    return tap, ledger


EDITS = st.lists(
    st.tuples(
        st.integers(0, 3_000),
        st.integers(0, 40),
        st.binary(max_size=6)
        | st.sampled_from([b"\n\n", b"\r", b'"', b"{", b"}", b"data: ", b"\x00", b"9" * 5_000]),
    ),
    max_size=4,
)


def mangled(wire: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """The bytes with some of them replaced by others."""
    for at, long, by in edits:
        begin = at % (len(wire) + 1)
        wire = wire[:begin] + by + wire[begin + long :]
    return wire


@pytest.mark.parametrize("name", STREAMS)
@given(
    edits=EDITS,
    damage=EDITS,
    cuts=st.lists(st.integers(0, 3_000), max_size=8),
    hide=st.booleans(),
    encoding=st.sampled_from([*ENCODED]),
)
@settings(deadline=None, max_examples=25)
def test_a_stream_that_came_to_harm_is_passed_on_and_settled_once(
    name: str, edits: list, damage: list, cuts: list[int], hide: bool, encoding: str
) -> None:
    """Bytes changed, lost and put in between, before it was encoded and after. What the app waits to be decoded and
    cannot be is the one error that there is.
    """
    stream = STREAMS[name]
    wire = mangled(ENCODED[encoding](mangled(stream.wire, edits)), damage if encoding else [])
    tap, ledger = tapped(stream, hide, encoding)
    seen = b""
    edges = [0, *sorted(cut % (len(wire) + 1) for cut in cuts), len(wire)]
    try:
        for begin, end in pairwise(edges):
            seen += b"".join(tap.feed(wire[begin:end]))
        seen += tap.end()
    except Undecodable:
        assert tap.rewrites
        assert encoding
        tap.cut()
    else:
        assert seen == wire or tap.rewrites
    assert len(ledger.settled) == 1
    assert ledger.outcome.seen >= 0
    assert not ledger.engine.tally["faults"]
    if not encoding:
        assert not ledger.engine.tally["unreadable"]


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.binary(max_size=300))
@settings(deadline=None, max_examples=200)
def test_any_bytes_hold_what_is_said_of_them(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
@given(drawn=st.data())
@settings(deadline=None, max_examples=100)
def test_what_is_nearly_right_holds_it_too(target: str, drawn: st.DataObject) -> None:
    """What is right gets further in than any bytes do: as it is, and with some of it cut or overwritten."""
    right = drawn.draw(st.sampled_from(seeds(target)))
    TARGETS[target](right)
    at = drawn.draw(st.integers(0, len(right)))
    to = drawn.draw(st.integers(at, len(right)))
    TARGETS[target](right[:at] + drawn.draw(st.binary(max_size=8)) + right[to:])


# memory


def most_held(tap: Tap, pieces: Iterable[bytes]) -> int:
    """Bytes that were held at the most while an app read this, and forgot each piece."""
    tracemalloc.start()
    try:
        for piece in pieces:
            for _ in tap.feed(piece):
                pass
        tap.end()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def endless(begun: bytes, size: int = 32 << 20) -> Iterator[bytes]:
    yield begun
    block = b"x" * 65_536
    for _ in range(size >> 16):
        yield block


@pytest.mark.parametrize("name", STREAMS)
def test_an_event_without_an_end_is_not_kept(name: str) -> None:
    """F16: 32 MiB of one, whatever it is an event of; what was seen before it counts."""
    stream = STREAMS[name]
    half = len(stream.wire) // 2
    tap, ledger = tapped(stream)
    assert most_held(tap, endless(stream.wire[:half])) < BOUND
    assert ledger.outcome.seen >= stream.seen(half)


@pytest.mark.parametrize("name", STREAMS)
def test_events_without_an_end_are_not_kept(name: str) -> None:
    """Thousands of each event, then the end: no more is held than of one, and what is told at the end is charged."""
    stream = STREAMS[name]
    tap, ledger = tapped(stream)
    many = chain(
        *([one] * (500 if sign == "x" else 1) for one, sign in zip(stream.events, stream.says, strict=True))
    )
    assert most_held(tap, many) < 1 << 20
    assert (ledger.outcome.usage.input, ledger.outcome.usage.output) == stream.usage
    assert ledger.outcome.seen >= 500 * stream.says.count("x")


def bomb(encoding: str) -> bytes:
    """64 MiB of nothing."""
    if encoding == "zstd":
        return zstandard.ZstdCompressor().compress(bytes(64 << 20))
    if encoding == "br":
        made = brotli.Compressor(quality=1)
        return b"".join([*(made.process(bytes(1 << 20)) for _ in range(64)), made.finish()])
    made = zlib.compressobj(1, wbits=31 if encoding == "gzip" else 15)
    return b"".join([*(made.compress(bytes(1 << 20)) for _ in range(64)), made.flush()])


@pytest.mark.parametrize("hide", [False, True], ids=["shown", "hidden"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("kind", ["text/event-stream", "application/json", "application/x-ndjson"])
def test_whatever_a_few_bytes_would_become_little_is_held(kind: str, encoding: str, hide: bool) -> None:
    """F16, S7: reading stops, and the answer is charged by estimate; where the app is given decoded bytes, it is given
    them piece by piece.
    """
    tap, ledger = tapped(STREAMS["openai.chat"]._replace(kind=kind), hide, encoding)
    assert most_held(tap, [bomb(encoding)]) < BOUND
    assert ledger.outcome.usage is None
    assert ledger.engine.tally["bombs"] == (not tap.rewrites)


# coverage-guided


@pytest.mark.slow
def test_fuzzing_by_coverage_finds_nothing(tmp_path: Path) -> None:
    """F18: each target for a while under atheris, in an environment with that on top."""
    venv.create(tmp_path, with_pip=True, system_site_packages=True)
    python = tmp_path / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))
    }
    paths = os.pathsep.join([str(ROOT), str(ROOT / "src"), *filter(None, sys.path)])

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, *command],
            cwd=tmp_path,
            env={**inherited, "PYTHONPATH": paths},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )

    installed = run("-m", "pip", "install", "--quiet", "--only-binary", ":all:", "atheris")
    if installed.returncode != 0:
        pytest.skip(f"atheris cannot be installed here: {installed.stderr.strip()[-200:]}")
    for target in TARGETS:
        fuzzed = run("-m", "tests.fuzzing", target, "--seconds", "20")
        assert fuzzed.returncode == 0, (target, fuzzed.stderr[-5_000:])
        assert "Done" in fuzzed.stderr, target
