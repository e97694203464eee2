"""Keys as they are typed, on a terminal that has such (not on Windows, where ctrl-c alone is heard)."""

from __future__ import annotations

import os
import select
import sys
import time
from typing import Any, Self

try:
    import termios
    import tty
except ImportError:  # pragma: no cover  # Windows
    termios = tty = None  # type: ignore[assignment]


class Keyboard:
    """Keys of stdin while the block runs; the terminal is left as it was found."""

    def __init__(self) -> None:
        self._descriptor: int | None = None
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        if termios is not None and sys.stdin.isatty():
            self._descriptor = sys.stdin.fileno()
            self._before = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor is not None:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def wait(self, seconds: float) -> str:
        """The next key, or "" after so many seconds without one."""
        if self._descriptor is None:
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([self._descriptor], [], [], seconds)
        return os.read(self._descriptor, 1).decode("latin-1") if ready else ""
