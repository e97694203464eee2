"""Calls of a simulated host: asked for, let go or refused, under way, ended in one of the ways in which calls end."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from quotaware.admission import Admission
from quotaware.context import Binding, Caller
from quotaware.core.bounds import UNKNOWN_OUTPUT, estimate_input, input_bound
from quotaware.core.bounds import Call as Wire
from quotaware.core.charges import Outcome
from quotaware.core.steps import COST, NOTHING, TOKENS, Amounts, Settle
from quotaware.core.usage import Usage
from quotaware.errors import ApiError
from quotaware.stores.tickets import Steps, Ticket

from .process import INPUT, OUTPUT
from .scheduler import MS, Event

if TYPE_CHECKING:
    from .process import Process
    from .world import Habits

State = Literal["asking", "refused", "cancelled", "wire", "ended", "gone"]
SHORTEST, LONGEST = 5 * MS, 600 * MS
"""How long a call is under way, µs."""


class Call:
    """One call. `real` is what it came to, once it has ended; `moved` when bytes last went by, µs; `over` how much its
    real cost was above its bound.
    """

    def __init__(
        self, process: Process, caller: Caller, binding: Binding, wire: Wire, habits: Habits
    ) -> None:
        self.process = process
        self.caller = caller
        self.binding = binding
        self.wire = wire
        self.state: State = "asking"
        self.admission: Admission | None = None
        self.began = self.moved = process.world.scheduler.now
        self.real: Amounts | None = None
        self.over = 0
        self.hung = False
        self.number = process.world.count()
        self._habits = habits
        self._steps: Steps[Admission | ApiError]
        self._waits: Event | None = None
        self._turn = 0

    @property
    def id(self) -> str:
        assert self.admission is not None
        return self.admission.id

    @property
    def most(self) -> int:
        """The most that it can cost, nano-dollars, while it stays within its bound."""
        assert self.admission is not None
        cap = self.admission.cap or self.wire.cap or UNKNOWN_OUTPUT
        return input_bound(self.wire, "calibrated") * INPUT + cap * self.wire.choices * OUTPUT

    # asking

    def ask(self) -> None:
        """Begins. Some are broken off by their caller while they wait."""
        process, scheduler = self.process, self.process.world.scheduler
        process.asking[self] = None
        self._steps = process.engine.admit(self.wire, self.binding, may_wait=not scheduler.chance(0.1))
        if scheduler.chance(self._habits.cancel):
            process.at(scheduler.between(0, 60 * MS), "x", self.cancel)
        self._go()

    def _go(self) -> None:
        self._turn += 1
        try:
            while True:
                ticket, timeout = next(self._steps)
                if not ticket.done:
                    break
        except StopIteration as stop:
            self._decided(stop.value)
            return
        self._listen(ticket)
        self._waits = self.process.at(timeout * 1000 * MS, "o", self._resume, self._turn)

    def _listen(self, ticket: Ticket[Any]) -> None:
        ticket._loop, ticket._wake = None, partial(self.process.world.woken, self, self._turn)

    def woken(self, turn: int) -> None:
        """What it waits for is there, and its task will run soon."""
        if turn == self._turn and self.state == "asking":
            delay = self.process.world.scheduler.between(20, 800)
            self.process.at(delay, "r", self._resume, turn)

    def _resume(self, turn: int) -> None:
        if turn == self._turn and self.state == "asking":
            self.process.world.scheduler.call_off(self._waits)
            self._go()

    def cancel(self) -> None:
        """Its caller does not want it any more."""
        if self.state == "asking":
            self._leave("cancelled")
            self._steps.close()

    def _leave(self, state: State) -> None:
        self.process.world.scheduler.call_off(self._waits)
        self.process.asking.pop(self, None)
        self.state = state

    def _decided(self, outcome: Admission | ApiError) -> None:
        self.process.decided += 1
        if isinstance(outcome, ApiError):
            self._leave("refused")
            self.process.world.scheduler.note(outcome.code)
            return
        self._leave("wire")
        self.admission = outcome
        self.process.wire[self.id] = self
        self.process.world.witness.admitted(self)
        self._travel()

    # under way

    def _travel(self) -> None:
        scheduler, habits = self.process.world.scheduler, self._habits
        self.moved = scheduler.now
        calm = self.process.world.calm
        if scheduler.chance(habits.hang) and not calm:
            self.hung = True  # its provider never answers
            return
        long = 8 if scheduler.chance(habits.long) and not calm else 1
        rest = SHORTEST if calm else scheduler.between(SHORTEST, LONGEST * long)
        for part in range(1, 3 * long):
            self.process.at(rest * part / (3 * long), "b", self._bytes)
        self.process.at(rest, "e", self.end)

    def _bytes(self) -> None:
        if self.state == "wire" and self.admission is not None:
            self.moved = self.process.world.scheduler.now
            self.admission.moved()

    def end(self) -> None:
        """The answer is there, or was broken off, or is an error."""
        if self.state != "wire" or self.admission is None:
            return
        scheduler, habits = self.process.world.scheduler, self._habits
        outcome = self._outcome()
        self.state = "ended"
        del self.process.wire[self.id]
        if scheduler.chance(habits.abandon):
            self.admission.abandon(outcome)  # the store thread will settle it
            return
        self.admission.settle(outcome)
        if scheduler.chance(habits.again):
            self.admission.settle(Outcome(200, usage=Usage(1, 1)))
            self.process.at(scheduler.between(0, 500 * MS), "2", self._end_again)

    def _outcome(self) -> Outcome:
        assert self.admission is not None
        scheduler, bound = self.process.world.scheduler, self.admission.bound
        most = min(bound.output, (self.admission.cap or self.wire.cap or 0) * self.wire.choices)
        way = scheduler.random.random()
        if way < 0.08:
            self.real = NOTHING
            return Outcome(500 if way < 0.04 else 0, sent=way < 0.04)
        output = round(scheduler.between(0, most))
        if way < 0.16:
            self._cost(min(estimate_input(self.wire), bound.input), output)
            return Outcome(200, seen=output, done=False)
        if scheduler.chance(self._habits.overrun):
            output = most + 1 + round(scheduler.between(0, most))
        read = round(scheduler.between(0, bound.input))
        self._cost(read, output)
        return Outcome(200, usage=Usage(input=read, output=output))

    def _cost(self, read: int, output: int) -> None:
        assert self.admission is not None
        real = self.real = (read + output, read * INPUT + output * OUTPUT, 0)
        hold = self.admission.bound.hold
        self.over = max(0, real[COST - 1] - hold[COST - 1])

    def _end_again(self) -> None:
        """A client that ends what has ended, in another way: nothing may come of it. It was told of the first end: an
        admission ends once, and no second one is ever on its way beside the first.
        """
        world = self.process.world
        if self.id in world.witness.booked and self.admission is not None:
            plan = self.admission.policy.plan
            real = self.real or NOTHING
            if not world.loses:  # what a server forgot, the second end would be the first of
                real = (real[TOKENS - 1] + 3, real[COST - 1] // 2, 0)
            how = world.scheduler.random.choice(("settled", "released", "expired"))
            self.process.engine.lanes.post(plan.org, Settle(self.id, plan, real, "{}", how))

    def gone(self) -> None:
        """Its process is no more."""
        self._leave("gone")
