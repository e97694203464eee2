"""One call on its way: from the first try to an `Admission`, and to its end.

`Attempt` reserves under the policy of the moment, reads it anew where it changed, cuts the output cap to what is
affordable, waits for what others hold. `Admission` is what a call that may go carries; it is settled once.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING, Any, Literal
from weakref import WeakMethod

from .context import NOBODY, Binding, Caller
from .core.bounds import BATCHES, Call
from .core.charges import Charge, Outcome, charge
from .core.prices import Price
from .core.steps import COST, NOTHING, Amounts, Answer, Over, Peek, Plan, Reserve, Result, Settle
from .core.usage import Usage
from .deferred import Deferred, amounts, told
from .errors import ApiError, PermissionDenied, QuotaExceeded, QuotawareError, StoreError
from .logs import logged
from .observing import UNWATCHED, Ended, Watches, cleaned
from .stores.thread import Lease
from .stores.tickets import Steps
from .tenancy.nodes import Path
from .tenancy.plans import Policy
from .tenancy.stops import PROBE, closes
from .waiting import Waiter

if TYPE_CHECKING:
    from .engine import Engine

logger = logging.getLogger("quotaware")

RELOADS = 3
"""How often one call reads a changed policy anew before it gives up."""
POLL_S = (0.005, 0.025)
"""How often the oldest waiter asks a store that other processes use too, seconds."""
POLL_ALONE_S = 0.1
NOWHERE = Path("", 0, ())
"""Where a caller is of whom nothing is known."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What a call is let go with: the most it can cost, what it is expected to use, the cap to write (or None).

    `allowance`: how much of `input` is allowed for what its body does not show.
    """

    input: int
    output: int
    hold: Amounts
    on_expiry: Amounts
    cap: int | None
    allowance: int = 0


_random = random.SystemRandom()
_json = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Attempt:
    """One call on its way to an admission; `dry`: to one that is only looked at, and holds and records nothing.

    Tells what it was decided by last: the caller's `path`, the `policy` and the `bound`, the caps that were in the way
    (`over`), and the store's last `answer`.
    """

    def __init__(
        self, engine: Engine, call: Call, binding: Binding, may_wait: bool, *, dry: bool = False
    ) -> None:
        self.dry = dry
        self.path = NOWHERE
        self.policy: Policy | None = None
        self.price: Price | None = None
        self.bound: Bound | None = None
        self.over: tuple[Over, ...] = ()
        self.answer: Answer | None = None
        self.engine = engine
        self.call = call
        self.binding = binding
        self.may_wait = may_wait
        self._begin_anew()
        self.waiter: Waiter | None = None
        self.until: float | None = None
        self.claims: Plan | None = None
        self.would_deny: list[str] = []
        self.about = ""

    def _begin_anew(self) -> None:
        self.id = self.engine.ids.new(self.engine.now())
        self.asked: set[Amounts] = set()

    def run(self, caller: Caller) -> Steps[Admission | ApiError]:
        """Decides the call of a caller. Raises `StoreError`."""
        known: Path | None = None
        try:
            for _ in range(RELOADS + 1):
                path = yield from self.engine.place(caller, known)
                if isinstance(path, ApiError):
                    return (yield from self.run_unknown(path))
                self.path = path
                outcome = yield from self._try(caller, path)
                if isinstance(outcome, Admission | ApiError):
                    return outcome
                known = path if outcome == "stale" else None
            raise StoreError("the policy kept changing while a call was decided")
        finally:
            if self.claims is not None:  # not admitted after all: younger calls need not heed them
                self._release(self.claims)

    def run_unknown(self, refusal: ApiError) -> Steps[Admission | ApiError]:
        """Decides a call of nobody that is known: refused, or in shadow let go under no limits."""
        if not self.engine.settings.shadow:
            return refusal
        self.would_deny.append(refusal.code)
        return (yield from self.run(NOBODY))

    def _try(self, caller: Caller, path: Path) -> Steps[Admission | ApiError | Literal["stale", "retry"]]:
        """One policy, until it is decided, or the policy turns out not to be the current one."""
        engine = self.engine
        shadow = engine.settings.shadow
        refusal = engine.permitted(self.call, path, caller)
        policy = self.policy = engine.policy(path, self.call, caller)
        price = engine.price(self.call, policy)
        if self.call.operation == BATCHES and engine.may_be_unbounded(path):
            price = None
        if refusal is None and isinstance(price, ApiError):
            refusal = price
        if refusal is None and engine.settings.bound == "strict" and self.call.opaque and policy.budgets:
            refusal = PermissionDenied(
                "Part of this call's input is not in its body (a file, an image by URL, held history), so its cost "
                "has no bound; Quota(bound='calibrated') lets it pass",
                code="input_unbounded",
            )
        if refusal is not None or shadow:
            # What was decided from documents in memory is true only while they are the current ones. A reserve finds
            # that out by itself, but not one that is forced.
            looked = yield from self._ask(Peek(policy.plan))
            if looked.verdict == "stale":
                return "stale"
            refusal = engine.permitted(self.call, path, caller) or refusal  # with the figures of now
        if refusal is not None:
            if not shadow:
                return refusal
            self.would_deny.append(refusal.code)
        usable = self.price = None if isinstance(price, ApiError) else price
        said = about(self.call, caller, path)
        try:
            return (yield from self._reserve(policy, usable, said))
        finally:
            if self.waiter is not None:
                engine.room.leave(self.waiter)
                self.waiter = None

    def _reserve(
        self, policy: Policy, price: Price | None, about: dict[str, Any]
    ) -> Steps[Admission | ApiError | Literal["stale", "retry"]]:
        engine = self.engine
        if (uncarried := engine.uncarried(policy)) is not None:  # once a budget and period
            engine.note_carried(policy, (yield from self.probe(uncarried)))
        recut = 0
        while True:
            bound = self.bound = engine.bound(self.call, price, policy, engine.left(policy))
            if (yield from self._behind_others(policy.plan, bound)):
                continue  # with a bound from the figures of now
            result = yield from self._ask(self._reserve_step(policy.plan, bound, about))
            self.over = result.over
            if result.verdict != "denied":
                return self._answered(policy, price, bound, result)
            engine.note_totals(policy, result.over)
            if recut < RELOADS and self._smaller(policy, price, bound):
                recut += 1
                continue
            recut = 0
            if not (yield from self._wait_for(policy.plan, result)):
                yield from self._close_used_up(policy, price, result.over)
                if not self.dry:
                    engine.denied_by(self.path, policy, result.over)
                refusal = engine.explain(result.over, policy)
                if bound.cap is not None and bound.cap == self.call.least_cap:
                    refusal.fields["least_cap"] = bound.cap  # a smaller one would make the body invalid
                return refusal

    def _close_used_up(self, policy: Policy, price: Price | None, over: tuple[Over, ...]) -> Steps[None]:
        """Has nodes disabled that are to be so once a hard budget is used up. Since that is hardly ever to the last
        nano-dollar: when what is left pays for no answer of `clamp_min` tokens to a call like this.
        """
        closing = [(entry, policy.meaning(entry).node) for entry in over if closes(*policy.meaning(entry))]
        if self.dry or not closing:
            return
        engine = self.engine
        least = max(engine.settings.clamp_min, self.call.least_cap)
        smallest = replace(self.call, cap=min(least, self.call.cap or least))
        cost = engine.bound(smallest, price, policy, None).hold[COST - 1]
        for entry, node in closing:
            if entry.hard and entry.used + cost > entry.cap:
                with contextlib.suppress(
                    QuotawareError
                ):  # the call is refused all the same, and so is the next
                    yield from engine.close(policy.plan.org, node)

    def _answered(
        self, policy: Policy, price: Price | None, bound: Bound, result: Result
    ) -> Admission | ApiError | Literal["stale", "retry"]:
        """What becomes of any answer but a denial."""
        match result.verdict:
            case "again" if (
                len(self.asked) > 1
            ):  # a late copy of another ask was let in: what it holds is not known
                self._release(policy.plan)
                self._begin_anew()
                return "retry"
            case "done" | "again":  # again: its first answer was lost on the way
                try:
                    return self._admitted(policy, price, bound, result)
                except BaseException:
                    self._release(policy.plan)
                    raise
            case "stale":
                return "stale"
            case "window" | "old" | "ended":
                if result.verdict != "window":
                    self._begin_anew()
                self.engine.policies.clear()
                return "retry"
            case "full":
                return QuotaExceeded("A counter is at the end of its exact range", code="counter_full")
        raise StoreError("the store is recovering from a loss")

    def _smaller(self, policy: Policy, price: Price | None, bound: Bound) -> bool:
        """Whether the figures of the denial call for a smaller cap than was tried."""
        again = self.engine.bound(self.call, price, policy, self.engine.left(policy))
        return again.hold[COST - 1] < bound.hold[COST - 1]

    def _held_keys(self, plan: Plan, hold: Amounts) -> list[str]:
        return [counter.key for counter, index in plan.lines if counter.hard and index and hold[index - 1]]

    def _behind_others(self, plan: Plan, bound: Bound) -> Steps[bool]:
        """Whether it had to wait behind older calls that wait for a counter of this one. False: it is its turn."""
        room = self.engine.room
        if self.waiter is None:
            queued = room.ahead(self._held_keys(plan, bound.hold))
            if not queued or not self._may_wait_for(queued) or not self._join(queued):
                return False
        waiter = self.waiter
        if waiter is None:
            return False
        if not room.first(waiter) and (yield from self._wait(waiter, None)):
            return True
        room.again(waiter, waiter.keys)
        return False

    def _wait_for(self, plan: Plan, denied: Result) -> Steps[bool]:
        """Whether to try once more after a denial: once others let go of what was in the way."""
        hard = [entry for entry in denied.over if entry.hard]
        keys = frozenset(entry.counter for entry in hard)
        if not self.may_wait or not all(entry.waits for entry in hard):
            return False
        self.claims = plan
        if not self._may_wait_for(keys):
            return False
        if self.waiter is None:
            return self._join(keys)  # once more at once: what was let go before it stood in line woke nobody
        if keys != self.waiter.keys:
            self.engine.room.again(self.waiter, keys)  # and so here
            return True
        return (yield from self._wait(self.waiter, _poll(self.engine.lanes.inline)))

    def _may_wait_for(self, keys: frozenset[str]) -> bool:
        """Never for a counter that this very request holds: it might wait for itself."""
        return self.may_wait and all(keys.isdisjoint(own) for own in list(self.binding.holding.values()))

    def _join(self, keys: frozenset[str]) -> bool:
        if self.until is None:
            self.until = time.monotonic() + self.engine.settings.settle_wait
        self.waiter = self.engine.room.join(self.id, keys)
        return self.waiter is not None

    def _wait(self, waiter: Waiter, poll: float | None) -> Steps[bool]:
        """Waits for a turn; False when the time is over."""
        left = (self.until or 0.0) - time.monotonic()
        if left <= 0:
            return False
        yield waiter.turn, left if poll is None else min(left, poll)
        return True

    def _release(self, plan: Plan) -> None:
        if self.dry:  # nothing was held
            return
        self.engine.lanes.post(plan.org, Settle(self.id, plan, NOTHING, "{}", "released"))

    def note(self, caller: Caller, path: Path, bound: Bound) -> None:
        """Writes down what the record will say of the call."""
        self._write_about(about(self.call, caller, path), bound)

    def _write_about(self, about: dict[str, Any], bound: Bound) -> None:
        about = {**about, "input_bound": bound.input}
        if bound.cap is not None:
            about["cap"] = bound.cap
        self.about = _json(about)

    def _reserve_step(self, plan: Plan, bound: Bound, about: dict[str, Any]) -> Reserve:
        settings = self.engine.settings
        self._write_about(about, bound)
        self.asked.add(bound.hold)
        return Reserve(
            self.id,
            plan,
            bound.hold,
            bound.on_expiry,
            self.engine.lanes.terms.lease,
            self.about,
            wait=self.may_wait,
            force=settings.shadow,
            dry=self.dry,
        )

    def probe(self, plan: Plan) -> Steps[tuple[Over, ...]]:
        """The caps of budgets as the store has them. Raises `StoreError`."""
        id = self.engine.ids.new(self.engine.now())
        return (yield from self._ask(Reserve(id, plan, (0, PROBE, 0), NOTHING, 0, "", dry=True))).over

    def _ask(self, op: Reserve | Peek) -> Steps[Result]:
        lanes = self.engine.lanes
        ticket = lanes.ask(op.plan.org, op)
        answered = False
        try:
            yield ticket, lanes.deadline
            if not ticket.done:
                raise StoreError("the store did not answer in time")
            result, answer = ticket.value()
            self.answer = answer
            answered = True
        finally:
            if (
                not answered and isinstance(op, Reserve) and not op.dry
            ):  # what may have been granted is let go
                self._release(op.plan)
        if result.verdict in {"window", "old"}:
            self.engine.ahead = answer.now - self.engine.clock()
        return result

    def _admitted(self, policy: Policy, price: Price | None, bound: Bound, result: Result) -> Admission:
        engine = self.engine
        self.claims = None
        for entry in result.over:
            limit = policy.meaning(entry).limit
            if limit.mode != "soft":
                self.would_deny.append(str(limit))
        if self.dry:
            return Admission(self, policy, price, bound, dry=True)
        engine.confirm(policy.plan)
        if self.would_deny:
            engine.count("would_deny")
        admission = Admission(self, policy, price, bound)
        self.binding.admitted(self.id, frozenset(self._held_keys(policy.plan, bound.hold)), policy)
        return admission


def about(call: Call, caller: Caller, path: Path) -> dict[str, Any]:
    """What the record of a call says of whose it was and where it went."""
    said: dict[str, Any] = {
        "project": path.project.id if path.project else None,
        "team": path.team.id if path.team else None,
        "key": path.key.id if path.key else None,
        "member": path.people[0] if path.people else None,
        "end_user": caller.end_user,
        "tags": dict(caller.tags) or None,
        "provider": call.provider,
        "operation": call.operation,
        "model": call.model,
        "stream": call.stream or None,
    }
    return {name: value for name, value in said.items() if value is not None}


def _poll(alone: bool) -> float:
    return POLL_ALONE_S if alone else _random.uniform(*POLL_S)


class Admission:
    """A call that may go. It ends once, at the first `settle` or `abandon`; later ones change nothing."""

    __slots__ = (
        "_about",
        "_end",
        "_first_ms",
        "_lease",
        "_pid",
        "began",
        "binding",
        "bound",
        "call",
        "degraded",
        "engine",
        "id",
        "path",
        "policy",
        "price",
        "watches",
        "would_deny",
    )

    def __init__(
        self,
        attempt: Attempt,
        policy: Policy,
        price: Price | None,
        bound: Bound,
        *,
        degraded: bool = False,
        dry: bool = False,
    ) -> None:
        self.engine = attempt.engine
        self.id = attempt.id
        self.call = attempt.call
        self.binding = attempt.binding
        self.would_deny = attempt.would_deny
        self.path = attempt.path
        self.watches: Watches | None = None
        self.policy = policy
        self.price = price
        self.bound = bound
        self.began = time.monotonic()
        self._about = attempt.about
        self._first_ms: int | None = None
        self.degraded = degraded  # let go without the store: nothing is reserved for it
        self._lease: Lease | None = None if degraded or dry else self.engine.lanes.keep(self.id, policy.plan)
        self._pid = os.getpid()
        self._end = Lock()  # taken by the end that counts, never let go
        if dry:
            self._end.acquire()

    @property
    def cap(self) -> int | None:
        """The output cap (tokens a choice) to write into the body; None leaves it as it is."""
        return self.bound.cap

    def around(self) -> AbstractContextManager[object]:
        """The block in which its request is sent, for who watches the call."""
        return UNWATCHED if self.watches is None else self.watches.around()

    def moved(self) -> None:
        """Bytes went by: the lease goes on."""
        if self._lease is not None:
            self._lease.moved = self.engine.lanes.timer()

    def when_quiet(self, look: WeakMethod[Callable[[], None]]) -> None:
        """Has this called on the store's thread, each time that the lease is seen to and no bytes go by."""
        if self._lease is not None:
            self._lease.quiet = look

    def generated(self) -> None:
        """The first piece of a streamed answer with something generated in it is here."""
        if self._first_ms is None:
            self._first_ms = self._ms()

    def settle(self, outcome: Outcome, model: str | None = None) -> None:
        """Ends the call at what it really used; never waits, never raises into the host.

        `model` is what the answer names. Safe to call from any thread, any number of times.
        """
        if self._end.acquire(blocking=False) and self._pid == os.getpid():  # a fork's copy is not the call
            try:
                self._settle(outcome, model)
            except Exception:  # its lease will end, and charge it
                self.engine.count("faults")
                logger.exception("a call could not be settled", extra=logged("settle_failed", call=self.id))

    def _settle(self, outcome: Outcome, model: str | None) -> None:
        engine, call, bound = self.engine, self.call, self.bound
        if self._lease is not None:
            engine.lanes.drop(self._lease)
        goes_on = outcome.later and (call.background or not call.stream)
        if goes_on and outcome.usage is None and outcome.status < 300:
            if not self.degraded:
                self._defer(outcome, model)
                return
            outcome = replace(
                outcome, seen=bound.output
            )  # what it uses will never be known: the most, at a guess
        charged = charge(call, self.price and self.price.told(model), bound.input, bound.output, outcome)
        self.binding.settled(self.id, charged.cost)
        if charged.quality == "exact" and outcome.status < 300:
            org, project = self.policy.plan.org, self.policy.project
            shown = bound.input - bound.allowance
            engine.learned.take(org, project, call, shown, charged.read, charged.made)
        self._tell(outcome, charged, model)
        text = told(
            outcome,
            charged,
            model,
            ms=self._ms(),
            first_ms=self._first_ms,
            unpriced=(self.price is None and not call.free) or None,
            would_deny=self.would_deny or None,
            degraded=self.degraded or None,
        )
        real = amounts(charged)
        plan = self.policy.plan
        if self.degraded:
            engine.outage.ended(self, real, text)
        engine.lanes.post(plan.org, Settle(self.id, plan, real, text, force=self.degraded, about=self._about))

    def _defer(self, outcome: Outcome, model: str | None) -> None:
        """Charges what was reserved until the provider tells what was used (`Call.background`: all of it)."""
        plan, bound, cost = self.policy.plan, self.bound, self.bound.on_expiry[COST - 1]
        self.binding.settled(self.id, cost)
        charged = Charge(Usage(), "unsettled", cost)
        self._tell(outcome, replace(charged, cost=0), model)  # what it costs is told when it is known
        text = told(outcome, charged, model, ms=self._ms(), would_deny=self.would_deny or None)
        project = self.policy.project
        note = Deferred(
            self.id, plan, self.call, self.price, bound.input, bound.output, project, bound.allowance
        )
        self.engine.lanes.post(plan.org, Settle(self.id, plan, NOTHING, text, "expired", force=True))
        self.engine.deferred.keep(outcome.later, note)

    def _tell(self, outcome: Outcome, charged: Charge, model: str | None) -> None:
        """Has observers told how it ended."""
        if self.watches is not None:
            self.watches.ended(
                Ended(
                    outcome.status,
                    cleaned(model),
                    charged.usage,
                    charged.quality,
                    outcome.usage is not None and not charged.suspect,
                    charged.cost,
                    time.monotonic() - self.began,
                    None if self._first_ms is None else self._first_ms / 1000,
                )
            )

    def _ms(self) -> int:
        return round((time.monotonic() - self.began) * 1000)

    def abandon(self, outcome: Outcome, model: str | None = None) -> None:
        """Settles from a finalizer: hands it to the store thread and takes no lock."""
        if not self._end.locked():
            self.engine.lanes.later(lambda: self.settle(outcome, model))
