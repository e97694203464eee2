"""What is fuzzed: each target takes any bytes and asserts what must hold of them. By default hypothesis gives them.

python -m tests.fuzzing stream --seconds 300        coverage-guided, needs atheris
"""

from __future__ import annotations

import argparse
import gzip
import json
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FunctionType
from typing import Any

from quotaware.outbound.decoding import decoder
from quotaware.providers import formdata, jsontext, naming, registry
from quotaware.providers.base import Format, Report, Route, Unreadable
from quotaware.providers.endpoints import ANYWHERE, PROVIDERS
from quotaware.providers.sse import message
from tests.outbound.streamed import STREAMS

FORMATS: dict[str, Format] = {
    reads.format.name: reads.format
    for table in (ANYWHERE, *PROVIDERS.values())
    for reads in table
    if reads.format is not None
}
"""Every format there is, by its name."""
ENCODINGS = ("gzip", "deflate", "br", "zstd")
PIECE_MAX = 9 * 131_072
"""The largest piece that a decoder makes, bytes: zstd's."""


def _chosen(choice: int) -> Format:
    return list(FORMATS.values())[choice % len(FORMATS)]


def stream(data: bytes) -> None:
    """A stream of any bytes in any format, in chunks of a size: all of it passes, what is seen never falls, and the
    chunks change nothing.
    """
    if len(data) < 3:
        return
    form, hide, size, wire = _chosen(data[0]), bool(data[1] & 1), data[2] % 64 + 1, data[3:]
    reader, once, seen = form.stream(hide), form.stream(hide), 0
    passed = b""
    for at in range(0, len(wire), size):
        passed += reader.feed(wire[at : at + size])
        report = reader.report()
        assert report.seen >= seen
        seen = report.seen
    passed += reader.flush()
    assert once.feed(wire) + once.flush() == passed
    assert once.report() == reader.report()
    assert hide or passed == wire


def encoded(data: bytes) -> None:
    """Any bytes under any encoding: pieces of bounded size, or the decoder's own error."""
    if not data:
        return
    made, left = decoder(ENCODINGS[data[0] % len(ENCODINGS)]), 64
    assert made is not None
    try:
        for piece in made.pieces(data[1:]):
            assert len(piece) <= PIECE_MAX
            left -= 1
            if left == 0:
                return
    except AssertionError:
        raise
    except Exception:  # whichever the library has; the tap takes them all
        pass


def body(data: bytes) -> None:
    """A request body of any bytes in any format: a call, or `Unreadable`; a cap that is written bears."""
    if not data:
        return
    form, sent = _chosen(data[0]), data[1:]
    jsontext.claimed(sent)
    is_form = getattr(form, "forms", False) and formdata.is_form(sent)
    try:
        parsed = (formdata if is_form else jsontext).parse(sent)
        call = naming.read(Route("openai", form, form.operation), form, parsed)
        changes: dict[str, Any] = form.cap("openai", parsed, 300) | form.ask_usage(parsed)
    except Unreadable:
        return
    assert min(call.text, *call.kinds, call.parts, call.media, call.tools) >= 0
    if changes and not is_form:
        again = jsontext.parse(jsontext.edit(sent, parsed, changes))
        assert all(again[name] == value for name, value in changes.items())


def answer(data: bytes) -> None:
    """A whole answer of any bytes, in every format."""
    try:
        told = json.loads(data)
    except (ValueError, RecursionError):
        return
    for form in FORMATS.values():
        assert isinstance(form.answer(told), Report)


def url(data: bytes) -> None:
    """Any path at any host."""
    host, _, path = data.decode("latin-1").partition("/")
    for method in ("POST", "GET"):
        registry.find(method, host, "/" + path)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (stream, encoded, body, answer, url)
}


def seeds(target: str) -> list[bytes]:
    """What the fuzzing of a target begins with: a stream, a body, an answer, an address of every format."""
    found = []
    for streamed in STREAMS.values():
        route = registry.find(
            "POST", "h", streamed.path, {"h": streamed.provider} if streamed.provider else registry.NO_HOSTS
        )
        assert route is not None
        assert route.format is not None
        at = bytes([list(FORMATS).index(route.format.name)])
        told = [json.dumps(message(event)).encode() for event in streamed.events]
        found += {
            "stream": [at + b"\x00\x10" + streamed.wire],
            "encoded": [b"\x00" + gzip.compress(streamed.wire), b"\x01" + zlib.compress(streamed.wire)],
            "body": [at + streamed.body],
            "answer": told,
            "url": [b"api.openai.com" + streamed.path.encode(), b"h" + streamed.path.encode()],
        }[target]
    return found


def _functions(members: Mapping[str, Any], module: str) -> Iterator[Any]:
    """The functions that a module defines, those of its classes included."""
    for member in members.values():
        if getattr(member, "__module__", None) != module:
            continue
        if isinstance(member, FunctionType):
            yield member
        elif isinstance(member, type):
            yield from _functions(vars(member), module)


def main() -> None:
    import atheris  # type: ignore[import-not-found]  # comes with no other dependency; a slow test installs it

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=300)
    asked = parser.parse_args()
    target = TARGETS[asked.target]
    for name in [
        name for name in sys.modules if name.startswith(("quotaware.providers", "quotaware.outbound"))
    ]:
        for function in _functions(vars(sys.modules[name]), name):
            atheris.instrument_func(function)
    options = (f"-max_total_time={asked.seconds}", "-max_len=4096", "-timeout=5", "-rss_limit_mb=1024")
    with tempfile.TemporaryDirectory() as corpus:
        for number, seed in enumerate(seeds(asked.target)):
            Path(corpus, str(number)).write_bytes(seed)
        atheris.Setup([sys.argv[0], *options, corpus], target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
