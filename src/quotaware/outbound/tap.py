"""Reads an answer on its way through: decodes a copy in bounded pieces, and knows at the end what was used.

The bytes that the app sees are those that came, save for a usage chunk that only we asked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType
from typing import Any
from weakref import WeakMethod

from ..admission import Admission
from ..core.charges import Outcome
from ..core.usage import Usage
from ..lookups import LookUp
from ..providers.base import Format, HeadReader, Report, StreamReader
from ..providers.jsonstream import ObjectReader
from ..providers.jsontext import MODEL_MAX
from .decoding import PIECE, Decoder, decoder

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
"""An answer whose headers tell nothing."""
BOMB = 8 * 1024 * 1024
"""Decoded bytes that one piece of the wire may become, if it is not that long itself; beyond that we stop reading (the
app does not).
"""
WHOLE = 262_144
"""A JSON answer up to this size is parsed whole; of a larger one only both ends are kept and looked at."""
END = 65_536
LOOKS = 256
"""So many pieces of a streamed answer are looked at for its first token."""
_MODEL = ("model", "modelVersion")
_USAGE = ("usage", "usageMetadata", "usage_info", "meta")
"""Names by which answers tell their model and usage."""
_OBJECTS = frozenset(
    {"application/jsonl", "application/stream+json", "application/x-jsonl", "application/x-ndjson"}
)
"""Kinds of answers that are JSON objects, one after another."""


class Undecodable(Exception):
    """The encoding of an answer is broken, and the app is waiting for decoded bytes of it."""


class _Body:
    """Keeps a whole answer, or both ends of a long one, and reads it when it is complete."""

    whole = True

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
        except (ValueError, RecursionError):
            answer = None
        seen = -(-self.size // 4)
        if answer is None:
            return Report(seen=0 if getattr(self._format, "binary", False) else seen)
        report = self._format.answer(answer)
        return report if report.usage is not None else report._replace(seen=report.seen or seen, done=True)


class _Json:
    """An answer in JSON to a call that asked for a stream: an array of events, or one answer after all. Where it does
    not begin as JSON it is a stream of events, whatever its server calls it.
    """

    def __init__(self, format: Format) -> None:
        self._format = format
        self._reader: StreamReader | None = None
        self._size = 0
        self._objects = False  # whether there are any at all

    @property
    def whole(self) -> bool:
        return isinstance(self._reader, _Body)

    def feed(self, data: bytes) -> bytes:
        self._size += len(data)
        self._objects = self._objects or b"{" in data
        if self._reader is None:
            first = data.lstrip()[:1]
            if not first:
                return data
            reader = _Body(self._format) if first in (b"{", b"\xef") else self._format.stream(hide=False)
            self._reader = ObjectReader(reader) if first == b"[" else reader
        return self._reader.feed(data)

    def flush(self) -> bytes:
        return self._reader.flush() if self._reader is not None else b""

    def report(self) -> Report:
        report = self._reader.report() if self._reader is not None else Report()
        return report if self._objects else report._replace(seen=-(-self._size // 4))


def _ends(head: bytes, tail: bytearray) -> dict[str, Any] | None:
    """Model and usage of a JSON answer too long to be kept: looked up by name at its two ends."""
    found: dict[str, Any] = {}
    for name, text in ((name, text) for name in (*_USAGE, *_MODEL) for text in (head[:END], bytes(tail))):
        at = text.rfind(b'"' + name.encode() + b'"')
        colon = text.find(b":", at)
        if at >= 0 and colon >= 0:
            rest = text[colon + 1 :].decode("utf-8", "replace").lstrip()
            try:
                found[name] = json.JSONDecoder().raw_decode(rest)[0]
            except ValueError:
                continue
    return found if any(isinstance(found.get(name), dict) for name in _USAGE) else None


class Tap:
    """One admitted call's answer. `feed` every piece, then `end` at its natural end or `cut` at any other."""

    def __init__(self, admission: Admission | LookUp, format: Format | None, hide: bool) -> None:
        self._admission = admission
        self._format = format
        self._hide = hide
        self._status = 0
        self._reader: StreamReader | None = None
        self._decoder: Decoder | None = None
        self._told: Usage | None = None
        self._reading = False
        self._over = False
        self._looks = 0
        self.rewrites = False

    def around(self) -> AbstractContextManager[object]:
        """The block in which its request is sent, for who watches the call."""
        return self._admission.around()

    def answered(
        self, status: int, content_type: str, encoding: str, headers: Mapping[str, str] = NO_HEADERS
    ) -> bool:
        """The head of the answer is here. True where the app must be given decoded bytes (and a head without the
        encoding): a usage chunk can only be taken out of what is readable.
        """
        self._status = status
        if self._format is None or status >= 300:
            return False
        if isinstance(self._format, HeadReader):
            self._told = self._format.head(headers)
        kind = content_type.partition(";")[0].strip().lower()
        if kind == "text/event-stream" or (self._admission.call.stream and not kind.endswith("json")):
            self._reader = self._format.stream(self._hide)
            self.rewrites = self._hide
        elif kind in _OBJECTS:
            reader = self._format.stream(hide=False)
            self._reader = reader if isinstance(reader, ObjectReader) else ObjectReader(reader)
        elif getattr(self._format, "scans", False):
            self._reader = self._format.stream(hide=False)
        else:
            self._reader = _Json(self._format) if self._admission.call.stream else _Body(self._format)
        if self._admission.call.stream:
            self._looks = LOOKS
            self._admission.when_quiet(WeakMethod(self.look))
        try:
            self._decoder = decoder(encoding)
            self._reading = True
        except (LookupError, ImportError):
            self._fault("unreadable")
            self.rewrites = False
        return self.rewrites and self._decoder is not None

    def feed(self, data: bytes) -> Iterable[bytes]:
        """Takes a piece of the wire, answers what the app may have of it now. Raises `Undecodable` where the app was
        promised decoded bytes of an encoding that is broken.
        """
        self._admission.moved()
        if self._decoder is not None or len(data) > PIECE:
            return self._rewritten(data) if self.rewrites else self._looked(data)
        seen = self._through(data)
        if not self.rewrites:
            return (data,)
        return (seen,) if seen else ()

    def end(self) -> bytes:
        """The answer came whole. What was kept back of it."""
        return self._finish(ended=True)

    def cut(self) -> bytes:
        """Nobody reads on: closed early, cancelled, broken off. What was kept back; after `end` it changes nothing."""
        return self._finish(ended=False)

    def failed(self, sent: bool) -> None:
        """There was no answer. `sent`: the request may have reached the provider."""
        if not self._over:
            self._over = True
            self._admission.settle(Outcome(0, sent=sent, done=False))

    def look(self) -> None:
        """Settles a streamed answer that came whole, though nobody has read on to its end: some SDKs leave a stream at
        the last word, and keep hold of it. What they may read after all changes nothing.
        """
        if self._over or self._reader is None or getattr(self._reader, "whole", False):
            return
        outcome, model = self._outcome(ended=False)
        if outcome.done and outcome.usage is not None:
            self._admission.settle(outcome, model)

    def abandon(self) -> None:
        """Forgotten half way, says the garbage collector: the same as `cut`, but it takes no lock."""
        if not self._over:
            self._over = True
            self._admission.abandon(*self._outcome(ended=False))

    def _decoded(self, data: bytes) -> Iterator[bytes]:
        if self._decoder is not None:
            return self._decoder.pieces(data)
        return (data[at : at + PIECE] for at in range(0, len(data), PIECE))

    def _looked(self, data: bytes) -> Iterable[bytes]:
        """Reads a copy, as far as it can be read: what is wrong with its encoding is the app's to find out."""
        decoded, most = 0, max(BOMB, len(data))
        try:
            for piece in self._decoded(data) if self._reading else ():
                decoded += len(piece)
                if decoded > most:
                    self._fault("bombs")
                    break
                self._through(piece)
        except Exception:
            self._fault("unreadable")
        return (data,)

    def _rewritten(self, data: bytes) -> Iterator[bytes]:
        pieces = self._decoded(data)
        while True:
            try:
                piece = next(pieces)
            except StopIteration:
                return
            except Exception as error:
                self._fault("unreadable")
                raise Undecodable(str(error)) from error
            if seen := self._through(piece):
                yield seen

    def _through(self, piece: bytes) -> bytes:
        """What the app may see of decoded bytes: where a reader fails, all of them."""
        if self._reader is None or not self._reading:
            return piece
        try:
            seen = self._reader.feed(piece)
        except Exception:
            self._fault("unreadable")
            return piece
        if self._looks:
            self._look_for_token(self._reader)
        return seen

    def _look_for_token(self, reader: StreamReader) -> None:
        """Has it told when the first token of a streamed answer is here."""
        self._looks -= 1
        try:
            if getattr(reader, "whole", False):
                self._looks = 0
            elif reader.report().seen:
                self._looks = 0
                self._admission.generated()
        except Exception:  # the answer goes on all the same
            self._looks = 0
            self.count("faults")

    def count(self, name: str) -> None:
        """Counts something that went wrong on our side and must not reach the host."""
        self._admission.engine.count(name)

    def _fault(self, name: str) -> None:
        self._reading = False
        self.count(name)

    def _finish(self, ended: bool) -> bytes:
        if self._over:
            return b""
        self._over = True
        kept = self._reader.flush() if self._reader is not None else b""
        self._admission.settle(*self._outcome(ended))
        return kept if self.rewrites else b""

    def _outcome(self, ended: bool) -> tuple[Outcome, str | None]:
        if self._reader is None:
            return Outcome(self._status, done=ended), None
        try:
            report = self._reader.report()
        except Exception:  # a fault of a format must not reach the host
            self._fault("unreadable")
            report = Report()
        if report.usage is None and self._told is not None:
            report = report._replace(usage=self._told, done=True)
        whole = getattr(self._reader, "whole", False)
        done = report.done or (ended and whole) or (ended and report.usage is None)
        model = report.model and report.model[:MODEL_MAX]
        outcome = Outcome(
            self._status,
            usage=report.usage,
            seen=report.seen,
            done=done,
            later=report.later,
            cost=report.cost,
            service=report.service,
            besides=report.besides,
        )
        return outcome, model

    def __del__(self) -> None:
        self.abandon()
