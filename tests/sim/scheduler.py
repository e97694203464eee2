"""One line of events in virtual time, in an order that a seed decides. Nothing else moves the world.

A blocking call of the code under test (a trip to the store, a sleep) lets the world go on until its answer is there:
the events of all others run inside it, on the same stack. So real interleavings are met without a thread; what waits
outermost goes on last, as a process does that was not scheduled for a while.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from heapq import heappop, heappush
from random import Random
from typing import Any, Protocol

MS = 1000
SECOND = 1000 * MS
"""Virtual time is counted in µs from 0."""


class Violation(BaseException):
    """An invariant is broken. No `Exception`, so that no code under test takes it for a fault of the store."""


class Event(list[Any]):
    """[time, number, label, action, arguments]; the action is None once it was called off."""


class Answered(Protocol):
    """What a blocking call waits for."""

    done: bool


class Scheduler:
    """Runs events in the order of their time.

    now    virtual µs; steps: events that were run; limit: about how many it will be
    after  called after each event: the place to check what always holds
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.now = 0
        self.steps = 0
        self.limit = 1 << 62
        self.after: Callable[[], None] = lambda: None
        self.violation: Violation | None = None
        self._events: list[Event] = []
        self._count = 0
        self._waiting: list[tuple[Answered, float]] = []
        self._postponed: list[Callable[[], None]] = []
        self._trace = hashlib.blake2b(digest_size=16)

    @property
    def trace(self) -> str:
        """A hash of all that happened, and when."""
        return self._trace.hexdigest()

    def note(self, text: str) -> None:
        """Something that belongs into the trace."""
        self._trace.update(text.encode())

    def at(self, delay: float, label: str, act: Callable[..., None], *arguments: object) -> Event:
        """Has something happen after so many µs."""
        self._count += 1
        event = Event((self.now + 1 + int(delay), self._count, label, act, arguments))
        heappush(self._events, event)
        return event

    @staticmethod
    def call_off(event: Event | None) -> None:
        """It will not happen."""
        if event is not None:
            event[3] = None

    def between(self, least: float, most: float) -> float:
        """A random number, evenly spread."""
        return least + (most - least) * self.random.random()

    def chance(self, share: float) -> bool:
        """True in so many cases of one."""
        return share > 0 and self.random.random() < share

    def gap(self, mean: float) -> float:
        """The time to the next of many events that know nothing of each other."""
        return self.random.expovariate(1 / mean)

    def fail(self, invariant: str, what: str) -> None:
        """Raises the `Violation`, with what replays it."""
        self.violation = Violation(f"seed={self.seed} step={self.steps} {invariant}: {what}")
        raise self.violation

    def step(self) -> bool:
        """Runs the next event; False where there is none."""
        if self.violation is not None:
            raise self.violation
        event = self._next()
        if event is None:
            return False
        heappop(self._events)
        time, _, label, act, arguments = event
        self.now = max(self.now, time)
        self.steps += 1
        self.note(f"{self.now}{label}")
        try:
            act(*arguments)
            self.after()
        except Exception as error:
            self.violation = Violation(f"seed={self.seed} step={self.steps} {label} raised {error!r}")
            raise self.violation from error
        return True

    def wait(self, answer: Answered, until: float) -> None:
        """Lets the world go on until the answer is there, or that moment is over."""
        self._waiting.append((answer, until))
        try:
            while not answer.done:
                event = self._next()
                if event is None or event[0] > until:
                    self.now = max(self.now, int(until))
                    return
                self.step()
        finally:
            self._waiting.pop()
            postponed, self._postponed = self._postponed, []
            for begin in postponed:
                begin()

    def postpone(self, begin: Callable[[], None]) -> None:
        """To be done when the next wait is over."""
        self._postponed.append(begin)

    @property
    def overdue(self) -> bool:
        """Whether somebody who waits further out could go on already, or the end is near: nobody should begin a wait
        inside his now.
        """
        waiting = self._waiting
        if self.steps >= self.limit and waiting:
            return True
        return any(answer.done or self.now > until for answer, until in waiting)

    def _next(self) -> Event | None:
        while self._events and self._events[0][3] is None:
            heappop(self._events)
        return self._events[0] if self._events else None
