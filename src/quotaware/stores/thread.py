"""The store thread: one a process and store. It owns the store and the queue of what waits for it.

Callers of any event loop, of trio and of plain threads queue steps here; all that wait go to the store in one trip,
and each loop is woken once a trip. A store that never waits (`lane` None) is called inline instead. The thread also
extends the leases of this process's calls, ends the leases that answers name as due, and runs what garbage
collection leaves behind, so that none of it needs a running loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import sys
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Hashable
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, Generic, NamedTuple, TypeVar

import anyio

from ..core.ledger import NOTHING, Answer, Extend, Op, Plan, Result, Settle
from ..errors import StoreError
from .protocol import Clock, Store

logger = logging.getLogger("quotaware")
T = TypeVar("T")

BATCH = 256
"""Steps in one trip."""
BACKLOG = 100_000
"""Settles kept while the store is away; the oldest are dropped (and counted) beyond."""


class _Loop(NamedTuple):
    """An event loop as seen from other threads."""

    key: Hashable
    call_soon: Callable[[Callable[[], None]], object]


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
        if waker := self._settle(value, error):
            _wake([waker])

    def _settle(
        self, value: T | None, error: BaseException | None
    ) -> tuple[_Loop | None, Callable[[], object]] | None:
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
            turn = anyio.Event()
            self._loop, self._wake = _running_loop(), turn.set
            if not self.done:
                with anyio.move_on_after(timeout):
                    await turn.wait()
        return self.done


def _wake(wakers: list[tuple[_Loop | None, Callable[[], object]]]) -> None:
    """Wakes all waiters, each loop once."""
    by_loop: dict[Hashable, tuple[_Loop, list[Callable[[], object]]]] = {}
    for loop, wake in wakers:
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


@dataclass(slots=True)
class Lease:
    """A reservation of this process that is kept alive. `moved` is when bytes last went by, ms."""

    id: str
    plan: Plan
    began: int
    moved: int


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long a reservation lives, ms: `lease` at a time, extended while bytes moved within `idle_max`, at most
    `call_max` in all.
    """

    lease: int = 60_000
    idle_max: int = 600_000
    call_max: int = 3_600_000


class _Step(NamedTuple):
    org: str
    op: Op
    ticket: Ticket[tuple[Result, Answer]] | None


class _Work(NamedTuple):
    call: Callable[[], Any]
    ticket: Ticket[Any]


class StoreThread:
    """Runs a store for everybody in this process.

    deadline   seconds for one trip
    told       set by whoever is to hear of each answer, before those who wait for it
    """

    told: Callable[[str, Answer, list[Op]], None] | None = None

    def __init__(self, store: Store, clock: Clock, terms: LeaseTerms, deadline: float) -> None:
        self.store = store
        self.terms = terms
        self.deadline = deadline
        self.dropped = 0
        self._clock = clock
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._inbox: SimpleQueue[_Step | _Work | Callable[[], None] | None] = SimpleQueue()
        self._backlog: deque[tuple[str, Settle]] = deque()
        self._leases: dict[str, Lease] = {}
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._closed = False

    # for callers

    def ask(self, org: str, op: Op) -> Ticket[tuple[Result, Answer]]:
        """Queues a step; the ticket answers with its result and the batch's answer, or a `StoreError`."""
        ticket: Ticket[tuple[Result, Answer]] = Ticket()
        self._put(_Step(org, op, ticket))
        return ticket

    def post(self, org: str, op: Settle) -> None:
        """Queues a settle that nobody waits for; it is repeated until the store has taken it."""
        self._put(_Step(org, op, None))

    def call(self, work: Callable[[], T]) -> Ticket[T]:
        """Runs a blocking piece of store work (reading documents) off the caller's loop."""
        ticket: Ticket[T] = Ticket()
        if self.inline:
            _run(_Work(work, ticket))
        else:
            self._enqueue(_Work(work, ticket))
        return ticket

    def later(self, work: Callable[[], None]) -> None:
        """Hands work to the thread from a finalizer: only puts it into the queue, takes no lock."""
        self._inbox.put(work)

    def keep(self, id: str, plan: Plan) -> Lease:
        """Keeps a reservation's lease alive until `drop`."""
        now = self._clock()
        lease = self._leases[id] = Lease(id, plan, now, now)
        self._start()
        return lease

    def drop(self, id: str) -> None:
        """Lets a lease go."""
        self._leases.pop(id, None)

    @property
    def inline(self) -> bool:
        """Whether the store is called on the caller's own thread."""
        return self.store.lane("") is None

    def tend(self) -> None:
        """Extends the leases of calls that live, and settles those that ended. The thread does it every third of a
        lease; with a clock of one's own it can be called at any time.
        """
        now = self._clock()
        work: dict[str, list[Op]] = defaultdict(list)
        for lease in list(self._leases.values()):
            org = lease.plan.org
            alive = now - lease.moved < self.terms.idle_max and now - lease.began < self.terms.call_max
            if alive:
                work[org].append(Extend(lease.id, lease.plan, self.terms.lease))
            else:
                self.drop(lease.id)
                work.setdefault(org, [])
        if work:
            self._trip([_Step(org, op, None) for org, ops in work.items() for op in ops], list(work))

    def flush(self, timeout: float) -> bool:
        """Waits until everything queued so far has reached the store; whether it has."""
        until = time.monotonic() + timeout
        if self._thread is not None and self._thread is not threading.current_thread():
            mark: Ticket[None] = Ticket()
            self._inbox.put(_Work(lambda: None, mark))
            if not mark.wait(timeout):
                return False
        else:
            self._drain()
        while self._backlog and time.monotonic() < until:
            self._repeat()
        return not self._backlog

    def close(self, timeout: float = 1.0) -> bool:
        """Flushes, stops the thread, closes the store; whether everything had reached it."""
        if self._closed:
            return True
        flushed = self.flush(timeout)
        self._closed = True
        if self._thread is not None and self._thread is not threading.current_thread():
            self._inbox.put(None)
            self._thread.join(timeout)
        self.store.close()
        return flushed

    # the thread

    def _put(self, step: _Step) -> None:
        if self.inline:
            if self._pid != os.getpid():
                self._reset()
            self._trip([step], [step.org])
        else:
            self._enqueue(step)

    def _enqueue(self, item: _Step | _Work) -> None:
        if self._pid != os.getpid():  # a forked child: the parent's thread and queue are not here
            self._reset()
        if self._closed:
            if item.ticket is not None:
                item.ticket.resolve(error=StoreError("quotaware is closed"))
            return
        self._start()
        self._inbox.put(item)

    def _start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        with self._starting:
            if (self._thread is None or not self._thread.is_alive()) and not self._closed:
                self._thread = threading.Thread(target=self._work, name="quotaware-store", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        period = self.terms.lease / 3000
        tended = time.monotonic()
        while True:
            wait = max(0.0, tended + period - time.monotonic()) if self._leases or self._backlog else None
            try:
                item = self._inbox.get(timeout=wait)
            except Empty:
                tended = time.monotonic()
                self._quietly(self.tend)
                self._quietly(self._repeat)
                continue
            if item is None:
                return
            self._quietly(partial(self._take, item))
            if time.monotonic() - tended >= period:
                tended = time.monotonic()
                self._quietly(self.tend)

    def _drain(self) -> None:
        with contextlib.suppress(Empty):
            while (item := self._inbox.get_nowait()) is not None:
                self._take(item)

    def _take(self, item: _Step | _Work | Callable[[], None]) -> None:
        """Does one item, and with a step all steps that wait behind it."""
        if isinstance(item, _Work):
            _run(item)
            return
        if not isinstance(item, _Step):
            item()
            return
        steps = [item]
        behind: list[_Work | Callable[[], None]] = []
        with contextlib.suppress(Empty):
            while len(steps) < BATCH:
                following = self._inbox.get_nowait()
                if following is None:
                    self._inbox.put(None)
                    break
                if isinstance(following, _Step):
                    steps.append(following)
                else:
                    behind.append(following)
        steps.sort(key=lambda step: not isinstance(step.op, Settle))
        self._trip(steps, [])
        for other in behind:
            self._take(other)

    def _trip(self, steps: list[_Step], orgs: list[str]) -> None:
        """One trip to the store; answers are told, tickets resolved, ended leases settled."""
        work: dict[str, list[_Step]] = {org: [] for org in orgs}
        for step in steps:
            work.setdefault(step.org, []).append(step)
        try:
            answers = self.store.apply(
                {org: [step.op for step in own] for org, own in work.items()}, self.deadline
            )
        except Exception as error:
            failure = error if isinstance(error, StoreError) else StoreError(f"the store failed: {error!r}")
            failure.__cause__ = error if failure is not error else error.__cause__
            answers = dict.fromkeys(work, failure)
        wakers = []
        due: list[_Step] = []
        for org, own in work.items():
            answer = answers[org]
            if isinstance(answer, StoreError):
                for step in own:
                    if step.ticket is not None:
                        wakers.append(step.ticket._settle(None, answer))
                    elif isinstance(step.op, Settle):
                        self._keep_for_later(org, step.op)
                continue
            for step, result in zip(own, answer.results, strict=True):
                if isinstance(step.op, Extend) and result.verdict in {"ended", "unknown"}:
                    self.drop(step.op.id)
                if step.ticket is not None:
                    wakers.append(step.ticket._settle((result, answer), None))
                elif isinstance(step.op, Settle) and result.verdict == "unknown":
                    self._book_unknown(org, step.op)
            if self.told is not None:
                self.told(org, answer, [step.op for step in own])
            due.extend(
                _Step(org, Settle(id, plan, NOTHING, "{}", "expired"), None) for id, plan in answer.due
            )
        _wake([waker for waker in wakers if waker is not None])
        if due:
            self._trip(due, [])

    def _book_unknown(self, org: str, op: Settle) -> None:
        """A settle of a reservation that the store never saw: the call was made, so it is booked all the same."""
        if not op.force:
            forced = Settle(op.id, op.plan, op.real, op.outcome, op.how, force=True, about=op.about)
            self._trip([_Step(org, forced, None)], [])

    def _keep_for_later(self, org: str, op: Settle) -> None:
        if len(self._backlog) >= BACKLOG:
            self._backlog.popleft()
            self.dropped += 1
        self._backlog.append((org, op))
        self._start()

    def _repeat(self) -> None:
        """Sends the settles that the store did not take, once more."""
        waiting = [self._backlog.popleft() for _ in range(min(BATCH, len(self._backlog)))]
        if waiting:
            self._trip([_Step(org, op, None) for org, op in waiting], [])

    def _quietly(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            logger.exception("the store thread met an error and goes on")


Steps = Generator[tuple[Ticket[Any], float], None, T]
"""Logic that waits now and then, written once for sync and async: it yields a ticket and how many seconds to wait
for it at most, and goes on when the ticket is done or the time is over.
"""


def drive(steps: Steps[T]) -> T:
    """Runs it from sync code, blocking this thread while it waits."""
    try:
        while True:
            ticket, timeout = next(steps)
            ticket.wait(timeout)
    except StopIteration as stop:
        return stop.value  # type: ignore[no-any-return]


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


def _run(work: _Work) -> None:
    try:
        work.ticket.resolve(work.call())
    except BaseException as error:
        work.ticket.resolve(error=error)
