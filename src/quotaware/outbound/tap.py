"""Reads an answer on its way through: decodes a copy in bounded pieces, and knows at the end what was used.

The bytes that the app sees are those that came, save for a usage chunk that only we asked for.
"""

from __future__ import annotations

import importlib
import json
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from ..admission import Admission
from ..core.charges import Outcome
from ..providers.base import Format, Report, StreamReader

PIECE = 65_536
BOMB = 8 * 1024 * 1024
"""Decoded bytes that one piece of the wire may become; beyond that we stop reading (the app does not)."""
WHOLE = 262_144
"""A JSON answer up to this size is parsed whole; of a larger one only both ends are kept and looked at."""
END = 65_536


class Decoder(Protocol):
    """Decodes one content encoding, piece by piece."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The decoded bytes of `data`, in pieces of bounded size."""
        ...


class _Zlib:
    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._z = zlib.decompressobj(wbits)
        self._fresh = True

    def pieces(self, data: bytes) -> Iterator[bytes]:
        try:
            first = self._z.decompress(data, PIECE)
        except zlib.error:
            if not self._fresh or self._wbits != zlib.MAX_WBITS:
                raise
            self._z = zlib.decompressobj(
                -zlib.MAX_WBITS
            )  # "deflate" without its header, as some servers send it
            first = self._z.decompress(data, PIECE)
        self._fresh = False
        yield first
        while self._z.unconsumed_tail:
            yield self._z.decompress(self._z.unconsumed_tail, PIECE)


class _Whole:
    """An encoding whose library decodes without a bound of its own."""

    def __init__(self, decode: Callable[[bytes], bytes]) -> None:
        self._decode = decode

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), 1024):
            yield self._decode(data[start : start + 1024])


def _brotli() -> Decoder:
    try:
        made = importlib.import_module("brotli").Decompressor()
    except ImportError:
        made = importlib.import_module("brotlicffi").Decompressor()
    return _Whole(getattr(made, "process", None) or made.decompress)


def _zstd() -> Decoder:
    return _Whole(importlib.import_module("zstandard").ZstdDecompressor().decompressobj().decompress)


_DECODERS: Mapping[str, Callable[[], Decoder]] = {
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "deflate": lambda: _Zlib(zlib.MAX_WBITS),
    "br": _brotli,
    "zstd": _zstd,
}


def decoder(encoding: str) -> Decoder | None:
    """A decoder for a `Content-Encoding` value; None where it is not encoded. Raises LookupError, ImportError."""
    names = [
        name.strip().lower() for name in encoding.split(",") if name.strip().lower() not in {"", "identity"}
    ]
    if not names:
        return None
    if len(names) > 1:
        raise LookupError(encoding)
    return _DECODERS[names[0]]()


class _Body:
    """Keeps a whole answer, or both ends of a long one, and reads it when it is complete."""

    def __init__(self, format: Format) -> None:
        self._format = format
        self._head = bytearray()
        self._tail = bytearray()
        self.size = 0

    def feed(self, data: bytes) -> bytes:
        self.size += len(data)
        room = WHOLE - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room > 0 else data
        if len(self._tail) > 2 * END:
            del self._tail[:-END]
        return data

    def flush(self) -> bytes:
        return b""

    def report(self) -> Report:
        text = bytes(self._head) + bytes(self._tail)
        answer: object = None
        try:
            answer = json.loads(text) if self.size <= len(text) else _ends(text, self._tail)
        except ValueError:
            answer = None
        seen = -(-self.size // 4)
        if answer is None:
            return Report(seen=seen)
        report = self._format.answer(answer)
        return report if report.usage is not None else report._replace(seen=report.seen or seen, done=True)


def _ends(head: bytes, tail: bytearray) -> dict[str, Any] | None:
    """`model` and `usage` of a JSON answer too long to be kept: looked up by name at its two ends."""
    found: dict[str, Any] = {}
    for name, text in (
        ("model", head[:END]),
        ("model", bytes(tail)),
        ("usage", head[:END]),
        ("usage", bytes(tail)),
    ):
        at = text.rfind(b'"' + name.encode() + b'"')
        colon = text.find(b":", at)
        if at >= 0 and colon >= 0:
            rest = text[colon + 1 :].decode("utf-8", "replace").lstrip()
            try:
                found[name] = json.JSONDecoder().raw_decode(rest)[0]
            except ValueError:
                continue
    return found if isinstance(found.get("usage"), dict) else None


class Tap:
    """One admitted call's answer. `feed` every piece, then `end` at its natural end or `cut` at any other."""

    def __init__(self, admission: Admission, format: Format | None, hide: bool) -> None:
        self._admission = admission
        self._format = format
        self._hide = hide
        self._status = 0
        self._reader: StreamReader | _Body | None = None
        self._decoder: Decoder | None = None
        self._reading = False
        self._over = False
        self.rewrites = False

    def answered(self, status: int, content_type: str, encoding: str) -> bool:
        """The head of the answer is here. True where the app must be given decoded bytes (and a head without the
        encoding): a usage chunk can only be taken out of what is readable.
        """
        self._status = status
        if self._format is None or status >= 300:
            return False
        if content_type.partition(";")[0].strip().lower() == "text/event-stream":
            self._reader = self._format.stream(self._hide)
            self.rewrites = self._hide
        else:
            self._reader = _Body(self._format)
        try:
            self._decoder = decoder(encoding)
            self._reading = True
        except (LookupError, ImportError):
            self.rewrites = False
        return self.rewrites and self._decoder is not None

    def feed(self, data: bytes) -> bytes:
        """Takes a piece of the wire, answers what the app may have of it now."""
        self._admission.moved()
        if not self._reading or self._reader is None:
            return data
        try:
            seen = self._read(data)
        except Exception:  # an encoding that is broken: the app will find out by itself
            self._admission.engine.tally["unreadable"] += 1
            self._reading = False
            return self._reader.flush() + data if self.rewrites else data
        return seen if self.rewrites else data

    def _read(self, data: bytes) -> bytes:
        reader = self._reader
        if reader is None:
            return data
        if self._decoder is None:
            return reader.feed(data)
        decoded = 0
        out = []
        for piece in self._decoder.pieces(data):
            decoded += len(piece)
            if decoded > BOMB and not self.rewrites:
                self._admission.engine.tally["bombs"] += 1
                self._reading = False
                break
            out.append(reader.feed(piece))
        return b"".join(out) if self.rewrites else data

    def end(self) -> bytes:
        """The answer came whole. What was kept back of it."""
        return self._finish(ended=True)

    def cut(self) -> None:
        """Nobody reads on: closed early, cancelled, broken off. After `end` it changes nothing."""
        self._finish(ended=False)

    def failed(self, sent: bool) -> None:
        """There was no answer. `sent`: the request may have reached the provider."""
        if not self._over:
            self._over = True
            self._admission.settle(Outcome(0, sent=sent, done=False))

    def _finish(self, ended: bool) -> bytes:
        if self._over:
            return b""
        self._over = True
        kept = self._reader.flush() if self._reader is not None else b""
        outcome, model = self._outcome(ended)
        self._admission.settle(outcome, model)
        return kept if self.rewrites else b""

    def _outcome(self, ended: bool) -> tuple[Outcome, str | None]:
        if self._reader is None:
            return Outcome(self._status, done=ended), None
        try:
            report = self._reader.report()
        except Exception:  # a fault of a format must not reach the host
            self._admission.engine.tally["unreadable"] += 1
            report = Report()
        whole = isinstance(self._reader, _Body)
        done = report.done or (ended and whole) or (ended and report.usage is None)
        return Outcome(self._status, usage=report.usage, seen=report.seen, done=done), report.model

    def __del__(self) -> None:
        if not self._over:
            self._over = True
            outcome, model = self._outcome(ended=False)
            self._admission.abandon(outcome, model)
