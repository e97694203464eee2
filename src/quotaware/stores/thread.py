"""The store thread: one a process and lane of a store. It owns the queue of what waits for the store.

Callers of any event loop, of trio and of plain threads queue steps here; all that wait go to the store in one trip,
and each loop is woken once a trip. A store that never waits (`lane` None) is called inline instead. The thread also
extends the leases of this process's calls, ends the leases that answers name as due, and runs what garbage
collection leaves behind, so that none of it needs a running loop.
"""

from __future__ import annotations

import contextlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeVar
from weakref import WeakMethod

from .. import forks
from ..core.steps import NOTHING, Answer, Extend, Op, Plan, Result, Settle
from ..errors import StoreError
from ..ids import Ids
from ..logs import logged
from .protocol import Clock, Store
from .tickets import Ticket, Waker, wake_all

logger = logging.getLogger("quotaware")
T = TypeVar("T")

BATCH = 256
"""Steps in one trip."""
QUEUE = 50_000
"""Steps that wait for the store at once; beyond, new ones that somebody waits for are refused."""
BACKLOG = 100_000
"""Settles kept while the store is away; the oldest are dropped (and counted) beyond."""
FOLLOWING = 32
"""Trips, one after the other, that one trip may call for."""
REPEAT_S = 0.5
"""How often the settles that the store did not take are sent again, seconds; FLUSH_S: while somebody waits for it."""
FLUSH_S = 0.05
TEND_S = 0.02
"""Leases are seen to no more often than this, seconds."""


@dataclass(slots=True)
class Lease:
    """A reservation of this process that is kept alive. `began` and `moved`, when bytes last went by, are ms of the
    store thread's timer. `quiet` is called, as long as its owner lives, where no byte went by for a lease.
    """

    id: str
    plan: Plan
    began: int
    moved: int
    quiet: WeakMethod[Callable[[], None]] | None = None


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """How long a reservation lives, ms: `lease` at a time, extended while bytes moved within `idle_max`, at most
    `call_max` in all.
    """

    lease: int = 60_000
    idle_max: int = 600_000
    call_max: int = 3_600_000


@dataclass(slots=True)
class _Job:
    """Work to do every so many seconds; `due` in monotonic seconds."""

    seconds: float
    work: Callable[[], None]
    due: float = 0.0


class _Step(NamedTuple):
    org: str
    op: Op
    ticket: Ticket[tuple[Result, Answer]] | None


class _Work(NamedTuple):
    call: Callable[[], Any]
    ticket: Ticket[Any]


_Item = _Step | _Work | Callable[[], None]


def _unheard(org: str, answer: Answer, ops: list[Op]) -> None:
    """Who hears of answers until somebody wants to."""


def _nothing() -> None:
    """The item of a turn without one."""


class StoreThread:
    """Runs a store for everybody in this process.

    timer      ms, for the ages of leases
    deadline   seconds for one trip
    told       hears of each answer before those who wait for it
    renamed    hears of each call that is about to be booked under a new id: old, new
    dropped    settles that will never reach the store: too many waited, or after the end
    """

    def __init__(self, store: Store, timer: Clock, terms: LeaseTerms, deadline: float) -> None:
        self.store = store
        self.terms = terms
        self.deadline = deadline
        self.dropped = 0
        self._timer = timer
        self._ids = Ids()
        self.told: Callable[[str, Answer, list[Op]], None] = _unheard
        self.renamed: Callable[[str, str], None] = lambda id, new: None
        self._closed = False
        self._jobs = [_Job(max(TEND_S, terms.lease / 3000), self.tend)]
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: no thread, and its parent's queue, leases and locks are none of its business."""
        self._inbox: SimpleQueue[_Item | None] = SimpleQueue()
        self._backlog: deque[tuple[str, Settle]] = deque()
        self._repeating: set[int] = set()
        self._leases: dict[str, Lease] = {}
        self._lapsing: dict[str, int] = {}  # organization → ms by which what was let lapse has ended
        self._repeat_at = 0.0
        self._thread: threading.Thread | None = None
        self._running = False
        self._used = time.monotonic()
        self._starting = threading.Lock()
        self._here = threading.local()

    # for callers

    def ask(self, org: str, op: Op) -> Ticket[tuple[Result, Answer]]:
        """Queues a step; the ticket answers with its result and the batch's answer, or a `StoreError`.

        Raises `StoreError` where too much waits for the store already.
        """
        ticket: Ticket[tuple[Result, Answer]] = Ticket()
        self._put([_Step(org, op, ticket)])
        return ticket

    def post(self, org: str, *ops: Settle) -> None:
        """Queues settles that nobody waits for; they are repeated until the store has taken them."""
        self._put([_Step(org, op, None) for op in ops])

    def call(self, work: Callable[[], T]) -> Ticket[T]:
        """Runs a blocking piece of store work (reading documents) off the caller's loop. Raises as `ask` does."""
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
        now = self._timer()
        lease = self._leases[id] = Lease(id, plan, now, now)
        self.start()
        return lease

    def drop(self, id: str) -> None:
        """Lets a lease go."""
        self._leases.pop(id, None)

    @property
    def leases(self) -> list[Lease]:
        """The reservations that it keeps alive."""
        return list(self._leases.values())

    @property
    def inline(self) -> bool:
        """Whether the store is called on the caller's own thread."""
        return self.store.lane("") is None

    def tend(self) -> None:
        """Extends the leases of calls that live, lets those of idle ones lapse, settles what has ended. The thread
        does it every third of a lease; with a clock of one's own it can be called at any time.
        """
        now = self._timer()
        steps: list[_Step] = []
        for lease in list(self._leases.values()):
            if now - lease.moved >= self.terms.lease and lease.quiet is not None:
                if (quiet := lease.quiet()) is not None:
                    quiet()
                if lease.id not in self._leases:  # that has settled it
                    continue
            if now - lease.moved < self.terms.idle_max and now - lease.began < self.terms.call_max:
                steps.append(_Step(lease.plan.org, Extend(lease.id, lease.plan, self.terms.lease), None))
            else:
                self.drop(lease.id)
                self._lapsing[lease.plan.org] = now + 2 * self.terms.lease
        for start in range(0, len(steps), BATCH):
            self._trip(steps[start : start + BATCH])
        lapsing = list(self._lapsing.items())
        self._trip([], [org for org, _ in lapsing])  # the answers name the leases that have ended
        for org, end in lapsing:
            if end < now:
                self._lapsing.pop(org, None)

    def look(self, orgs: Sequence[str]) -> None:
        """Ends the reservations of these organizations whose lease is over: the store's answers name them."""
        self._trip([], orgs)

    def flush(self, timeout: float) -> bool:
        """Waits (seconds) until everything queued so far has reached the store; whether it has."""
        until = time.monotonic() + timeout
        while not self._closed:
            if self._behind_all(self._emptied, until):
                return True
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(left, FLUSH_S))
        return not self._backlog

    def every(self, seconds: float, work: Callable[[], None]) -> None:
        """Has the thread do a short piece of work so often while it runs, from its next turn on."""
        self._jobs.append(_Job(seconds, work))

    def idle_s(self) -> float:
        """For how long it has had nothing to do, seconds."""
        busy = self._leases or self._lapsing or self._backlog or self._repeating or self._inbox.qsize()
        return 0.0 if busy else time.monotonic() - self._used

    def rest(self) -> None:
        """Ends the thread, without waiting for it; the next item starts another."""
        if self._thread is not None:
            self._inbox.put(None)

    def stop(self, timeout: float = 1.0) -> bool:
        """Flushes and ends the thread; whether everything had reached the store."""
        if self._closed:
            return True
        until = time.monotonic() + timeout
        flushed = self.flush(timeout)
        self._closed = True
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            self._inbox.put(None)
            thread.join(max(FLUSH_S, until - time.monotonic()))
        self._refuse_all()
        return flushed and not self._backlog

    # the queue

    def _put(self, steps: list[_Step]) -> None:
        if steps[0].ticket is None and getattr(self._here, "on_trip", False):
            for step in steps:
                self._inbox.put(step)  # a finalizer, run in the middle of this thread's own trip
        elif self.inline or self._thread is threading.current_thread():
            for start in range(0, len(steps), BATCH):
                self._trip(steps[start : start + BATCH])
        else:
            for step in steps:
                self._enqueue(step)

    def _enqueue(self, item: _Step | _Work) -> None:
        if item.ticket is not None and self._inbox.qsize() >= QUEUE:
            raise StoreError(f"{QUEUE} steps wait for the store already")
        self.start()
        self._used = time.monotonic()
        self._inbox.put(item)
        if self._closed:  # looked at after the put: what the thread took no more is answered here
            self._refuse_all()

    def _refuse_all(self) -> None:
        """Answers what is in the queue and will not be done any more."""
        thread = self._thread
        ends = False
        while (item := self._next()) is not _nothing:
            if item is None:
                ends = True
            elif isinstance(item, _Step | _Work) and item.ticket is not None:
                item.ticket.resolve(error=StoreError("quotaware is closed"))
            elif isinstance(item, _Step) and isinstance(item.op, Settle):
                self._give_up(item.op, "quotaware is closed")
            elif not isinstance(item, _Step | _Work):
                self._quietly(item)  # what it posts is counted
        if ends and thread is not None and thread.is_alive():
            self._inbox.put(None)  # it is the thread that this is for

    def _next(self) -> _Item | None:
        try:
            return self._inbox.get_nowait()
        except Empty:
            return _nothing

    def _behind_all(self, work: Callable[[], bool], until: float) -> bool:
        """What a piece of work answers that is done after all that is queued; False where it was not done in time."""
        thread = self._thread
        if thread is None or not thread.is_alive() or thread is threading.current_thread():
            self._take_all()
            return work()
        mark: Ticket[bool] = Ticket()
        self._inbox.put(_Work(work, mark))
        return mark.wait(max(0.0, until - time.monotonic())) and mark.value()

    # the thread

    def start(self) -> None:
        """Has the thread running, if it is not and may be."""
        if self._closed or self._running:
            return
        with self._starting:
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._work, name="quotaware-store", daemon=True)
                self._running = True
                try:
                    thread.start()
                except RuntimeError:  # no thread can be had, or the interpreter is going
                    self._running = False
                    logger.exception(
                        "the store thread could not be started", extra=logged("thread_not_started")
                    )
                else:
                    self._thread = thread

    def _work(self) -> None:
        try:
            while True:
                item: _Item | None = _nothing
                with contextlib.suppress(Empty):
                    item = self._inbox.get(timeout=max(0.0, self._wake_at() - time.monotonic()))
                if item is None:
                    self._take_all()
                    return
                self._turn(item)
        finally:
            self._running = False

    def _wake_at(self) -> float:
        """When there is something to do without an item, monotonic seconds."""
        for job in self._jobs:
            job.due = job.due or time.monotonic() + job.seconds
        wake = min(job.due for job in self._jobs)
        return min(wake, self._repeat_at) if self._backlog else wake

    def _turn(self, item: _Item) -> None:
        """Does an item, and what is due."""
        self._quietly(partial(self._take, item))
        now = time.monotonic()
        for job in self._jobs:
            if now >= job.due:
                job.due = now + job.seconds
                self._quietly(job.work)
        if self._backlog and now >= self._repeat_at:
            self._repeat_at = now + REPEAT_S
            self._quietly(self._repeat)

    def _take_all(self) -> None:
        """Does what is in the queue right now."""
        for _ in range(self._inbox.qsize()):
            item = self._next()
            if item is None:
                self._inbox.put(None)
            else:
                self._quietly(partial(self._take, item))

    def _take(self, item: _Item) -> None:
        """Does one item, and with a step all steps that wait behind it."""
        if isinstance(item, _Work):
            _run(item)
            return
        if not isinstance(item, _Step):
            item()
            return
        steps = [item]
        behind: list[_Item] = []
        while len(steps) < BATCH and (following := self._next()) is not _nothing:
            if following is None:
                self._inbox.put(None)
                break
            if isinstance(following, _Step):
                steps.append(following)
            else:
                behind.append(following)
        steps.sort(key=lambda step: not isinstance(step.op, Settle))
        self._quietly(partial(self._trip, steps))
        for other in behind:
            self._quietly(partial(self._take, other))

    # trips to the store

    def _trip(self, steps: Sequence[_Step], orgs: Sequence[str] = ()) -> None:
        """One trip to the store, and those that its answers call for: leases that have ended are settled, calls that
        the store knows nothing of are booked.
        """
        expired: set[str] = set()
        outer, self._here.on_trip = getattr(self._here, "on_trip", False), True
        try:
            for _ in range(FOLLOWING):
                if not steps and not orgs:
                    return
                steps, orgs = self._trip_once(steps, orgs, expired), ()
        finally:
            self._here.on_trip = outer

    def _trip_once(self, steps: Sequence[_Step], orgs: Sequence[str], expired: set[str]) -> list[_Step]:
        """Answers are told, tickets resolved; answers the steps that are called for and not `expired` yet."""
        work: dict[str, list[_Step]] = {org: [] for org in orgs}
        for step in steps:
            work.setdefault(step.org, []).append(step)
        answers = self._apply(work)
        if isinstance(answers, Exception):
            if len(steps) + len(orgs) > 1:
                return self._one_by_one(steps, orgs, expired)
            answers = dict.fromkeys(work, _failure(answers))
        wakers: list[Waker | None] = []
        following: list[_Step] = []
        for org, answer in answers.items():
            own = work[org]
            if isinstance(answer, StoreError):
                wakers += [step.ticket.put(None, answer) for step in own if step.ticket is not None]
                self._keep_for_later(own)
                continue
            self._quietly(partial(self.told, org, answer, [step.op for step in own]))
            for step, result in zip(own, answer.results, strict=True):
                if step.ticket is not None:
                    wakers.append(step.ticket.put((result, answer), None))
                elif (more := self._unasked(step.op, result, answer.now)) is not None:
                    following.append(_Step(org, more, None))
            due = [(id, plan) for id, plan in answer.due if id not in expired]
            expired.update(id for id, _ in due)
            following += [_Step(org, Settle(id, plan, NOTHING, "{}", "expired"), None) for id, plan in due]
        wake_all(wakers)
        return following

    def _one_by_one(self, steps: Sequence[_Step], orgs: Sequence[str], expired: set[str]) -> list[_Step]:
        """A trip met a fault in the store's code: each step once more alone, so that only the guilty fails. Ids guard
        what was done already. What is still left when a trip's time is over fails too, and is repeated as ever.
        """
        until = time.monotonic() + self.deadline
        following: list[_Step] = []
        for number, step in enumerate(steps):
            if time.monotonic() > until:
                late = StoreError("the store failed for another step, and this one's turn did not come")
                self._keep_for_later(steps[number:])
                wake_all([left.ticket.put(None, late) for left in steps[number:] if left.ticket is not None])
                break
            following += self._trip_once([step], (), expired)
        for org in orgs:
            following += self._trip_once([], [org], expired)
        return following

    def _apply(self, work: Mapping[str, list[_Step]]) -> dict[str, Answer | StoreError] | Exception:
        """What the store answers, nonsense as a `StoreError`; or what it met that it should not."""
        try:
            answers = self.store.apply(
                {org: [step.op for step in own] for org, own in work.items()}, self.deadline
            )
            told = answers if isinstance(answers, Mapping) else dict.fromkeys(work, answers)
            return {org: _sensible(told.get(org), len(own)) for org, own in work.items()}
        except StoreError as error:
            return dict.fromkeys(work, error)
        except Exception as error:
            logger.exception(
                "the store met an error of its own in a trip of %d steps",
                sum(map(len, work.values())),
                extra=logged("store_fault"),
            )
            return error
        except BaseException as error:
            if threading.current_thread() is not self._thread:
                raise
            return dict.fromkeys(work, _failure(error))

    def _unasked(self, op: Op, result: Result, now: int) -> Op | None:
        """What the result of a step that nobody waits for calls for: a call that was made is booked in any case, as a
        new record where the store does not remember its id any more.
        """
        if isinstance(op, Extend):
            if result.verdict in {"ended", "unknown"}:
                self.drop(op.id)
        elif isinstance(op, Settle) and op.how != "released" and not _is_named_again(op):
            if result.verdict == "unknown" and op.how == "settled" and not op.force:
                return replace(op, force=True)
            if result.verdict == "old":
                new = self._ids.new(now)
                self._quietly(partial(self.renamed, call_of(op), new))
                return anew(op, new)
        return None

    def _keep_for_later(self, steps: Sequence[_Step]) -> None:
        """Settles that the store did not take. Releases, of which each refused call makes one, fill half at most: what
        they let go ends with its lease too.
        """
        for step in steps:
            op = step.op
            if step.ticket is not None or not isinstance(op, Settle) or _is_named_again(op):
                continue
            if op.how != "released" or len(self._backlog) < BACKLOG // 2:
                self._backlog.append((step.org, op))
        while len(self._backlog) > BACKLOG:
            self._give_up(self._backlog.popleft()[1], f"{BACKLOG} settles wait for the store already")
        if self._backlog:
            self.start()

    def _give_up(self, op: Settle, why: str) -> None:
        if op.how == "settled":
            self.dropped += 1
            logger.error(
                "the settle of %s is lost: %s", op.id, why, extra=logged("settle_lost", call=op.id, why=why)
            )

    def _emptied(self) -> bool:
        """Sends what is in the backlog; whether the store has all of it."""
        self._repeat()
        return not self._backlog and not self._repeating

    def _repeat(self) -> None:
        """Sends the settles that the store did not take once more, while it takes some."""
        me = threading.get_ident()
        self._repeating.add(me)  # what it has taken out is in no backlog meanwhile
        try:
            self._repeat_all()
        finally:
            self._repeating.discard(me)

    def _repeat_all(self) -> None:
        waiting = len(self._backlog)
        while waiting:
            steps: list[_Step] = []
            with contextlib.suppress(IndexError):  # another thread may take some of them
                while len(steps) < BATCH:
                    steps.append(_Step(*self._backlog.popleft(), None))
            self._trip(steps)
            if len(self._backlog) >= waiting:
                return
            waiting = len(self._backlog)

    def _quietly(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception:
            logger.exception("the store thread met an error and goes on", extra=logged("thread_fault"))


def _is_named_again(op: Settle) -> bool:
    """The end of a lease that the store names until somebody has settled it; not what another process left."""
    return op.how == "expired" and not op.force


def anew(op: Settle, id: str) -> Settle:
    """The end of a call whose id is too old, under a new one: a record that names the first."""
    about = {"first": op.id} | json.loads(op.about or "{}")
    return replace(op, id=id, force=True, about=json.dumps(about, separators=(",", ":")))


def call_of(op: Settle) -> str:
    """The id under which the call of a settle was let go."""
    return str(json.loads(op.about)["first"]) if '"first":' in op.about else op.id


def _sensible(answer: object, steps: int) -> Answer | StoreError:
    if isinstance(answer, StoreError):
        return answer
    if isinstance(answer, Answer) and len(answer.results) == steps:
        return answer
    return StoreError(f"the store answered {steps} steps with nonsense: {answer!r:.100}")


def _failure(error: BaseException) -> StoreError:
    failure = StoreError(f"the store failed: {error!r}")
    failure.__cause__ = error
    return failure


def _run(work: _Work) -> None:
    try:
        work.ticket.resolve(work.call())
    except BaseException as error:
        work.ticket.resolve(error=error)
