"""Python code of the host's own, called with a `Notice` on a thread of its own; async code in a loop there."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from threading import Lock
from typing import Any

from ... import forks
from ..notices import Notice
from ..sending import DONE, Outcome, within

TOTAL_S = 30.0
"""Seconds that a call may take; one that takes longer is not called again before it has ended."""


class Caller:
    """Calls the host's code, one notice at a time."""

    def __init__(self, callback: Callable[[Notice], Any]) -> None:
        self._callback = callback
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: no call is under way."""
        self._busy = Lock()

    def send(self, notice: Notice) -> Outcome:
        """Calls it. Raises nothing."""
        return within(TOTAL_S, lambda: self._run(notice), lambda: None)

    def _run(self, notice: Notice) -> Outcome:
        if not self._busy.acquire(blocking=False):
            return Outcome(False, "the call before has not ended yet")
        try:
            answer = self._callback(notice)
            if inspect.isawaitable(answer):
                asyncio.run(asyncio.wait_for(_awaited(answer), TOTAL_S))
            return DONE
        except Exception as error:
            return Outcome(False, f"it raised {type(error).__name__}")
        finally:
            self._busy.release()


async def _awaited(answer: Any) -> None:
    await answer
