"""Waiting, written once for sync and async: tickets for what will be known, and what drives the logic that waits."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import threading
from collections.abc import Callable, Generator, Hashable, Iterable
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar

import anyio

T = TypeVar("T")


class _Loop(NamedTuple):
    """An event loop as seen from other threads."""

    key: Hashable
    call_soon: Callable[[Callable[[], None]], object]


Waker = tuple[_Loop | None, Callable[[], object]]
"""Who waits for a ticket: the loop to wake him on (None: on any thread), and how."""


def _running_loop() -> _Loop:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        token = sys.modules["trio"].lowlevel.current_trio_token()
        return _Loop(token, token.run_sync_soon)
    return _Loop(loop, loop.call_soon_threadsafe)


def on_loop() -> bool:
    """Whether this thread is running an event loop right now (a sync call here must not wait for others)."""
    try:
        _running_loop()
    except (KeyError, RuntimeError):
        return False
    return True


class Ticket(Generic[T]):
    """Something that will be known: an answer, or one's turn. Waited for from sync or async code, by one waiter."""

    __slots__ = ("_error", "_loop", "_value", "_wake", "done")

    def __init__(self) -> None:
        self.done = False
        self._value: T | None = None
        self._error: BaseException | None = None
        self._loop: _Loop | None = None
        self._wake: Callable[[], object] | None = None

    def value(self) -> T:
        """The answer of a ticket that is done, or its error raised."""
        if self._error is not None:
            raise self._error
        return self._value  # type: ignore[return-value]

    def resolve(self, value: T | None = None, error: BaseException | None = None) -> None:
        """Sets the answer and wakes who waits. The first answer stands."""
        if waker := self.put(value, error):
            wake_all([waker])

    def put(self, value: T | None = None, error: BaseException | None = None) -> Waker | None:
        """Sets the answer and says who is to be woken, for `wake_all` to do it once for many."""
        if self.done:
            return None
        self._value, self._error = value, error
        self.done = True
        return (self._loop, self._wake) if self._wake is not None else None

    def wait(self, timeout: float) -> bool:
        """Blocks this thread until it is done, at most `timeout` seconds."""
        if not self.done:
            turn = threading.Event()
            self._loop, self._wake = None, turn.set
            if not self.done:
                turn.wait(timeout)
        return self.done

    async def wait_async(self, timeout: float) -> bool:
        """Awaits until it is done, at most `timeout` seconds; on asyncio and trio."""
        if not self.done:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                await self._turn_elsewhere(timeout)
            else:
                await self._turn_on_asyncio(loop, timeout)
        return self.done

    async def _turn_elsewhere(self, timeout: float) -> None:
        turn = anyio.Event()
        self._loop, self._wake = _running_loop(), turn.set
        if not self.done:
            with anyio.move_on_after(timeout):
                await turn.wait()

    async def _turn_on_asyncio(self, loop: asyncio.AbstractEventLoop, timeout: float) -> None:
        """What `_turn_elsewhere` does, at a tenth of its cost."""
        turn = loop.create_future()
        self._loop, self._wake = _Loop(loop, loop.call_soon_threadsafe), partial(_wake, turn)
        if not self.done:
            timer = loop.call_later(timeout, _wake, turn)
            try:
                await turn
            finally:
                timer.cancel()


def _wake(turn: asyncio.Future[None]) -> None:
    if not turn.done():
        turn.set_result(None)


def wake_all(wakers: Iterable[Waker | None]) -> None:
    """Wakes all waiters, each loop once."""
    by_loop: dict[Hashable, tuple[_Loop, list[Callable[[], object]]]] = {}
    for loop, wake in filter(None, wakers):
        if loop is None:
            wake()
        else:
            by_loop.setdefault(loop.key, (loop, []))[1].append(wake)
    for loop, wakes in by_loop.values():
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits there any more
            loop.call_soon(partial(_call_all, wakes))


def _call_all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        call()


Steps = Generator[tuple[Ticket[Any], float], None, T]
"""Logic that waits now and then, written once for sync and async: it yields a ticket and how many seconds to wait
for it at most, and goes on when the ticket is done or the time is over.
"""


def drive(steps: Steps[T]) -> T:
    """Runs it from sync code, blocking this thread while it waits. A wait that is broken off (a signal) closes the
    steps, which let go of what they hold.
    """
    try:
        while True:
            ticket, timeout = next(steps)
            ticket.wait(timeout)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        steps.close()


async def drive_async(steps: Steps[T]) -> T:
    """Runs it from async code. A cancelled wait closes the steps, which let go of what they hold."""
    try:
        while True:
            ticket, timeout = next(steps)
            if not ticket.done:
                await ticket.wait_async(timeout)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]
    finally:
        steps.close()
