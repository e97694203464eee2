"""One simulated process: a real `Quota`, whose clock, randomness and store thread the scheduler owns."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from random import Random
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from quotaware import Quota, admission, ids, outage, quota, turns
from quotaware.alerts import once, sender
from quotaware.alerts.service import Alerting
from quotaware.core.steps import Answer, Op, Settle
from quotaware.core.usage import Usage
from quotaware.errors import StoreError
from quotaware.housekeeping import Housekeeper
from quotaware.stores import guard, lanes, thread
from quotaware.stores.protocol import Clock, Store
from quotaware.stores.thread import LeaseTerms, StoreThread
from quotaware.tenancy import writes

from .scheduler import MS, SECOND, Event
from .server import Client

if TYPE_CHECKING:
    from .calls import Call
    from .world import World

BEGIN = 1_781_567_990_000
"""2026-06-15T23:59:50Z in ms: ten seconds before the end of a day."""
LEASE_MS, IDLE_MS, CALL_MS = 2_000, 6_000, 15_000
STALL = 150 * MS
"""A trip that takes longer is trouble."""
FAR_OFF = -(10**12)
INPUT, OUTPUT = 100_000, 1_000_000
"""What tokens cost, nano-dollars."""


class Flat:
    """The price of every model, and the list of prices that has it: cheap to ask, since it is asked all the time."""

    def __init__(self, overrides: object = None) -> None:
        """It has none."""

    def find(self, provider: str | None, model: str, at_ms: int) -> Flat:
        return self

    def listed(self, provider: str | None, model: str, at_ms: int) -> Flat:
        return self

    def told(self, model: str | None) -> Flat:
        return self

    def served(self, how: object) -> Flat:
        return self

    def told_of(self, provider: str | None, model: str) -> None:
        return None

    def context_window(self, provider: str | None, model: str) -> None:
        return None

    by_count = False

    def worst(self, input_tokens: int, output_tokens: int, **_: object) -> int:
        return input_tokens * INPUT + output_tokens * OUTPUT

    def cost(self, usage: Usage) -> int:
        return usage.input * INPUT + usage.output * OUTPUT


class _Mending:
    """The guard's lock. Nobody can wait for it here, so no turn of the process begins while it is taken."""

    def __init__(self) -> None:
        self.taken = 0

    def __enter__(self) -> None:
        self.taken += 1

    def __exit__(self, *exc: object) -> None:
        self.taken -= 1


class SimThread(StoreThread):
    """The store thread, whose turns are events: the loop of the real one, each round of it when it would run."""

    def __init__(self, store: Store, timer: Clock, terms: LeaseTerms, deadline: float) -> None:
        super().__init__(store, timer, terms, deadline)
        self._process: Process = timer.__self__  # type: ignore[attr-defined]
        self._process.threads.append(self)
        self._turns: Event | None = None
        self._since: int | None = None
        self._late: int | None = None

    def start(self) -> None:
        if self._turns is None:
            self._plan(0.0)

    def later(self, work: Any) -> None:
        super().later(work)
        self._plan(0.0)

    def _plan(self, seconds: float) -> None:
        """Has a turn come, no later than that."""
        scheduler = self._process.world.scheduler
        if self._since is not None or not self._process.alive:
            return  # a turn is under way, and looks for what is next when it ends
        if self._turns is not None:
            if self._turns[0] <= scheduler.now + seconds * SECOND:
                return
            scheduler.call_off(self._turns)
        delay = seconds * SECOND + scheduler.between(20, 300)
        self._turns = self._process.at(delay, "t", self._run)

    def _run(self) -> None:
        scheduler = self._process.world.scheduler
        self._turns = None
        if scheduler.overdue or self._process.mending.taken:
            self._late = self._late or scheduler.now
            scheduler.postpone(self.start)
            return
        if self.stalled:
            self._process.troubled()
        self._since, self._late = scheduler.now, None
        try:
            self._turn(self._next())
        finally:
            if self.stalled:
                self._process.troubled()
            self._since = None
        waits = max(0.0, self._wake_at() - self._process.world.monotonic())
        self._plan(0.0 if self._inbox.qsize() else waits)

    def _enqueue(self, item: Any) -> None:
        super()._enqueue(item)
        self._plan(0.0)

    @property
    def stalled(self) -> bool:
        """Whether its turn has been due or under way for longer than is healthy."""
        since = self._late if self._since is None else self._since
        return since is not None and self._process.world.scheduler.now - since > STALL

    @property
    def busy(self) -> bool:
        """Whether something is left to be done."""
        return self._since is not None or bool(self._inbox.qsize() or self._backlog)


@dataclass(frozen=True, slots=True)
class Ways:
    """How the processes of one world are set up: arguments of `Quota`."""

    settle_wait: float
    tight: str
    on_expiry: str
    clamp_min: int = 5


class Process:
    """A worker of the host app. `wire`: its calls under way, by id; `decided`: how many were let go or refused."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.skew = 0
        self.threads: list[SimThread] = []
        self.mending = _Mending()
        self.client = Client(self)
        self.wire: dict[str, Call] = {}
        self.asking: dict[Call, None] = {}
        self.decided = 0
        self._troubled = FAR_OFF
        self.quota = Quota(
            self.client,
            clock=self.clock,
            lease=LEASE_MS / 1000,
            idle_max=IDLE_MS / 1000,
            call_max=CALL_MS / 1000,
            settle_wait=world.ways.settle_wait,
            tight=world.ways.tight,
            on_expiry=world.ways.on_expiry,
            clamp_min=world.ways.clamp_min,
        )
        quota._open.discard(self.quota)
        self.quota._guard._mending = self.mending
        self._mends, self.quota._guard._mend = self.quota._guard._mend, self._mend
        self._hears, self.quota._lanes.told = self.quota._lanes.told, self._told
        self.engine = self.quota.engine
        self.engine.denied._timer = world.monotonic
        self.tenancy = self.quota.blocking.tenancy

    def clock(self) -> int:
        """Its own idea of the time, ms."""
        return BEGIN + self.world.scheduler.now // MS + self.skew

    def _told(self, org: str, answer: Answer, ops: list[Op]) -> None:
        for op, result in zip(ops, answer.results, strict=True):
            if isinstance(op, Settle) and op.how == "settled" and result.verdict in {"done", "again"}:
                self.world.witness.told(self, op)
        self._hears(org, answer, ops)

    def _mend(self, org: str) -> bool:
        losses = self.world.witness.losses
        mended = self._mends(org)
        if mended:
            self.world.witness.mended(self, org, losses)
        return mended

    def is_behind(self, org: str) -> bool:
        """Whether it will meet a loss when it asks for an organization next."""
        known, met = self.client.seen.of(org), self.world.server.met(org, self.client.seen.writer)
        return known.epoch != "" and (met[0] != known.epoch or met[1] < known.seq or met[2] < known.writes)

    def timer(self) -> int:
        """ms of a clock that nobody sets."""
        return self.world.scheduler.now // MS

    def at(self, delay: float, label: str, act: Any, *arguments: object) -> Event:
        """Something that happens in it, if it still lives then."""
        return self.world.scheduler.at(delay, self.name + label, self._do, act, arguments)

    def _do(self, act: Any, arguments: tuple[object, ...]) -> None:
        if self.alive:
            act(*arguments)
            self.world.acted = self

    def troubled(self) -> None:
        """The network, the store or a clock let it down just now: a lease may lapse for it."""
        self._troubled = self.world.scheduler.now

    def in_trouble(self) -> bool:
        """Whether that was within the life of a lease."""
        since = self.world.scheduler.now - self._troubled
        return since < 2 * LEASE_MS * MS or any(thread.stalled for thread in self.threads)

    def crash(self) -> None:
        """It is gone, and all that it knew."""
        self.alive = False
        self.world.witness.denied_by_dead += self.engine.tally["denied"]
        for call in [*self.wire.values(), *self.asking]:
            call.gone()


class _Time:
    """Stands for the module `time`: the virtual one of the world that runs."""

    def __init__(self, world: World) -> None:
        self._world = world

    def monotonic(self) -> float:
        return self._world.monotonic()

    def sleep(self, seconds: float) -> None:
        self._world.sleep(seconds)


class _Dice(Random):
    """Stands for what has its randomness from the system."""

    def randbelow(self, below: int) -> int:
        return self.randrange(below)

    def token_hex(self, count: int) -> str:
        return self.randbytes(count).hex()


class _Faults(logging.Handler):
    """Whatever the code under test logs of errors that it did not expect is a violation."""

    def __init__(self, world: World) -> None:
        super().__init__(logging.ERROR)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, StoreError):
            self._world.scheduler.fail("rule 10", f"{record.getMessage()}: {error!r}")


@contextmanager
def simulated(world: World) -> Iterator[None]:
    """Time, randomness, identities and store threads are the world's while it lasts."""
    time, dice = _Time(world), _Dice(world.scheduler.random.random())
    stands: list[tuple[ModuleType, str, object]] = [
        *((module, "time", time) for module in (admission, guard, lanes, sender, thread, writes)),
        (admission, "_random", dice),
        (outage, "_random", dice),
        (sender, "_random", dice),
        (writes, "secrets", dice),
        (once, "secrets", dice),
        (turns, "secrets", dice),
        (quota, "Housekeeper", partial(Housekeeper, timer=time.monotonic)),
        (ids, "os", SimpleNamespace(urandom=dice.randbytes)),
        (lanes, "StoreThread", SimThread),
        (quota, "StoreThread", SimThread),
        (quota, "Alerting", partial(Alerting, timer=time.monotonic)),
        (lanes, "steady", lambda clock: clock.__self__.timer),
        (quota, "PriceBook", Flat),
    ]
    logger = logging.getLogger("quotaware")
    handler, level, propagate = _Faults(world), logger.level, logger.propagate
    with ExitStack() as stack:
        for module, name, stand in stands:
            stack.enter_context(patch.object(module, name, stand))
        logger.addHandler(handler)
        logger.setLevel(logging.ERROR)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
