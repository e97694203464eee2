"""The answer's bytes with a tap on them, as urllib3 gives them: botocore and requests read these."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

from .tap import Tap


class Raw(io.IOBase):
    """An answer of urllib3's, read on its way through; what is not read of it is as it was.

    `encoded` is called once before the first byte, where that is read as the wire has it, and not decoded.
    """

    def __init__(self, raw: Any, tap: Tap, encoded: Callable[[], None] | None = None) -> None:
        self._raw = raw
        self._tap = tap
        self._encoded = encoded
        self._kept = b""  # what the app may have, and did not ask for yet

    def read(
        self, amt: int | None = None, decode_content: bool | None = None, *rest: Any, **more: Any
    ) -> bytes:
        """Reads as urllib3 does, which says by no bytes that there are no more."""
        self._begin(decode_content)
        if amt is not None and 0 <= amt <= len(self._kept):
            return self._take(amt)
        while True:
            try:
                data: bytes = self._raw.read(amt, decode_content, *rest, **more)
            except BaseException:
                self._tap.cut()
                raise
            self._through(data)
            if amt is None or amt < 0:
                self._kept += self._tap.end()
                return self._take(len(self._kept))
            if not data:
                self._kept += self._tap.end()
            if self._kept or not data:
                return self._take(amt)

    def read1(self, amt: int | None = None, *args: Any, **more: Any) -> bytes:
        """At most one piece of the wire."""
        self._begin(*args[:1], **more)
        while not self._kept:
            data: bytes = self._raw.read1(amt, *args, **more)
            self._through(data)
            if not data:
                self._kept += self._tap.end() if amt != 0 else b""
                break
        return self._take(len(self._kept) if amt is None or amt < 0 else amt)

    def readinto(self, b: Any) -> int:
        """The same, into a buffer."""
        data = self.read(len(b))
        b[: len(data)] = data
        return len(data)

    def stream(self, amt: int | None = 2**16, decode_content: bool | None = None) -> Iterator[bytes]:
        """The pieces as they come."""
        tap = self._tap
        self._begin(decode_content)
        if self._kept:
            yield self._take(len(self._kept))
        try:
            for data in self._raw.stream(amt, decode_content):
                yield from tap.feed(data)
            if kept := tap.end():
                yield kept
        except GeneratorExit:  # from the garbage collector, it may be, in the middle of anything
            tap.abandon()
            raise
        except Exception:
            if kept := tap.cut():
                yield kept
            raise
        finally:
            tap.cut()

    def __iter__(self) -> Iterator[bytes]:
        """The lines, decoded as urllib3 does it."""
        begun = b""
        for data in self.stream(decode_content=True):
            *lines, begun = (begun + data).split(b"\n")
            yield from (line + b"\n" for line in lines)
        if begun:
            yield begun

    def _begin(self, decode_content: bool | None = None, **_: Any) -> None:
        encoded, self._encoded = self._encoded, None
        if encoded is not None and not (
            self._raw.decode_content if decode_content is None else decode_content
        ):
            encoded()

    def _through(self, data: bytes) -> None:
        if data:
            self._kept += b"".join(self._tap.feed(data))

    def _take(self, amt: int) -> bytes:
        taken, self._kept = self._kept[:amt], self._kept[amt:]
        return taken

    def close(self) -> None:
        """Nobody reads on."""
        try:
            self._raw.close()
        finally:
            self._tap.cut()

    @property
    def closed(self) -> bool:
        """Whether it is, or was read to its end."""
        return self._raw.closed and not self._kept

    def readable(self) -> bool:
        """Whether it can be read."""
        return self._raw.readable()  # type: ignore[no-any-return]

    def tell(self) -> int:
        """Bytes that were read of it."""
        return self._raw.tell()  # type: ignore[no-any-return]

    def fileno(self) -> int:
        """The socket's."""
        return self._raw.fileno()  # type: ignore[no-any-return]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def __del__(self) -> None:
        self._tap.abandon()
