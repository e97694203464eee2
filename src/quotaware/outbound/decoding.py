"""Content encodings, decoded piece by piece: whatever a few bytes of the wire would become, no piece is large."""

from __future__ import annotations

import importlib
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

PIECE = 65_536
"""Decoded bytes in one piece; encodings that cannot be stopped so exactly make up to a few MiB."""
_ZSTD_SLICE = 32
"""Bytes of zstd decoded at once: at most nine blocks end in them, each of at most 128 KiB (RFC 8878)."""
_BROTLI_SLICE = 1024
"""Bytes of brotli decoded at once by a library that takes no bound."""


class Decoder(Protocol):
    """Decodes one content encoding."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The decoded bytes of `data`, in pieces of bounded size. Raises what its library raises."""
        ...


class _Zlib:
    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._z = zlib.decompressobj(wbits)
        self._fresh = True

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if self._z.eof:  # what follows is no part of the answer, and would be kept
            return
        piece = self._first(data) if self._fresh else self._z.decompress(data, PIECE)
        while piece:
            yield piece
            piece = self._z.decompress(self._z.unconsumed_tail, PIECE)

    def _first(self, data: bytes) -> bytes:
        self._fresh = False
        try:
            return self._z.decompress(data, PIECE)
        except zlib.error:
            if self._wbits != zlib.MAX_WBITS:
                raise
            self._z = zlib.decompressobj(-zlib.MAX_WBITS)  # "deflate" without its header, as some send it
            return self._z.decompress(data, PIECE)


class _Brotli:
    def __init__(self) -> None:
        made = _library("brotli", "brotlicffi").Decompressor()
        self._decode: Callable[..., bytes] = getattr(made, "process", None) or made.decompress
        try:
            self._decode(b"", output_buffer_limit=PIECE)
            self._bounded = True
        except TypeError:
            self._bounded = False

    def pieces(self, data: bytes) -> Iterator[bytes]:
        if not self._bounded:
            for start in range(0, len(data), _BROTLI_SLICE):
                yield self._decode(data[start : start + _BROTLI_SLICE])
            return
        piece = self._decode(data, output_buffer_limit=PIECE)
        while piece:
            yield piece
            piece = self._decode(b"", output_buffer_limit=PIECE)


class _Zstd:
    def __init__(self) -> None:
        library = _library("compression.zstd", "backports.zstd", "zstandard")
        made = library.ZstdDecompressor
        self._new: Callable[[], Any] = (
            (lambda: made().decompressobj()) if hasattr(made, "decompressobj") else made
        )
        self._z = self._new()

    def pieces(self, data: bytes) -> Iterator[bytes]:
        for start in range(0, len(data), _ZSTD_SLICE):
            rest = data[start : start + _ZSTD_SLICE]
            while rest:
                if self._z.eof:  # an answer may be many frames
                    self._z = self._new()
                yield self._z.decompress(rest)
                rest = self._z.unused_data if self._z.eof else b""


def _library(*names: str) -> Any:
    """The first of these modules that is installed. Raises ImportError."""
    for name in names[:-1]:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return importlib.import_module(names[-1])


_DECODERS: Mapping[str, Callable[[], Decoder]] = {
    "gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "x-gzip": lambda: _Zlib(zlib.MAX_WBITS | 16),
    "deflate": lambda: _Zlib(zlib.MAX_WBITS),
    "br": _Brotli,
    "zstd": _Zstd,
}


def decoder(encoding: str) -> Decoder | None:
    """A decoder for a `Content-Encoding` value; None where it is not encoded.

    Raises `LookupError` for an encoding that is not known and for several on top of each other, `ImportError` where
    its library is not installed.
    """
    names = [name for part in encoding.split(",") if (name := part.strip().lower()) not in {"", "identity"}]
    if not names:
        return None
    if len(names) > 1:
        raise LookupError(encoding)
    return _DECODERS[names[0]]()


def whole(encoding: str, data: bytes, most: int) -> bytes:
    """Everything that `data` becomes, at most so many bytes. Raises as `decoder` and its pieces do, and `OverflowError`
    for more.
    """
    made = decoder(encoding)
    if made is None:
        return data
    decoded = bytearray()
    for piece in made.pieces(data):
        decoded += piece
        if len(decoded) > most:
            raise OverflowError(f"it is longer than {most} bytes")
    return bytes(decoded)
