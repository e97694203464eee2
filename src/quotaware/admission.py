"""One call on its way: from the first try to an `Admission`, and to its end.

`Attempt` reserves under the policy of the moment, reads it anew where it changed, cuts the output cap to what is
affordable, waits for what others hold. `Admission` is what a call that may go carries; it is settled once.
"""

from __future__ import annotations

import json
import os
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from .context import Binding, Caller
from .core.bounds import Call
from .core.charges import Outcome, charge
from .core.ledger import COST, NOTHING, Amounts, Over, Peek, Plan, Reserve, Result, Settle
from .core.prices import Price
from .errors import ApiError, PermissionDenied, QuotaExceeded, StoreError, StoreUnavailable
from .stores.thread import Lease, Steps
from .tenancy.nodes import Path
from .tenancy.plans import Policy
from .waiting import Waiter

if TYPE_CHECKING:
    from .engine import Engine

RELOADS = 3
"""How often one call reads a changed policy anew before it gives up."""
POLL_S = (0.005, 0.025)
"""How often the oldest waiter asks a store that other processes use too, seconds."""
POLL_ALONE_S = 0.1


@dataclass(frozen=True, slots=True)
class Bound:
    """What a call is let go with: the most it can cost, what it is expected to use, the cap to write (or None)."""

    input: int
    output: int
    hold: Amounts
    on_expiry: Amounts
    cap: int | None


_random = random.SystemRandom()


def new_id(now: int) -> str:
    """A reservation id: UUID version 7 (RFC 9562) as 32 hex digits, its first twelve the time in ms."""
    tail = int.from_bytes(os.urandom(10), "big")
    tail = (tail & ~(0xF << 76)) | (0x7 << 76)
    tail = (tail & ~(0x3 << 62)) | (0x2 << 62)
    return f"{now:012x}{tail:020x}"


class Attempt:
    """One call on its way to an admission."""

    def __init__(
        self, engine: Engine, call: Call, binding: Binding, caller: Caller, path: Path, may_wait: bool
    ) -> None:
        self.engine = engine
        self.call = call
        self.binding = binding
        self.caller = caller
        self.path = path
        self.may_wait = may_wait
        self.id = new_id(engine.now())
        self.waiter: Waiter | None = None
        self.until = 0.0
        self.would_deny: list[str] = []

    def run(self) -> Steps[Admission | ApiError]:
        reloads = 0
        while True:
            outcome = yield from self._try()
            if isinstance(outcome, Admission | ApiError):
                return outcome
            reloads += 1
            if reloads > RELOADS:
                raise StoreError("the policy kept changing while a call was decided")
            if outcome == "stale":
                self.path = yield from self.engine.reread(self.path.org, self.path.nodes[0].id)

    def _try(self) -> Steps[Admission | ApiError | Literal["stale", "retry"]]:
        """One policy, until it is decided, or the policy turns out not to be the current one."""
        engine = self.engine
        shadow = engine.settings.shadow
        refusal = engine.permitted(self.call, self.path, self.caller)
        policy = engine.policy(self.path, self.call, self.caller)
        price = engine.price(self.call, policy)
        if refusal is None and isinstance(price, ApiError):
            refusal = price
        if refusal is None and engine.settings.bound == "strict" and self.call.opaque and policy.budgets:
            refusal = PermissionDenied(
                "Part of this call's input is not in its body (a file, an image by URL, held history), so its cost "
                "has no bound; Quota(bound='calibrated') lets it pass",
                code="input_unbounded",
            )
        if refusal is not None:
            if not shadow:  # from documents in memory: true only if they are still the current ones
                looked = yield from self._ask(Peek(policy.plan))
                return "stale" if looked.verdict == "stale" else refusal
            self.would_deny.append(refusal.code)
        usable = None if isinstance(price, ApiError) else price
        try:
            return (yield from self._reserve(policy, usable))
        finally:
            if self.waiter is not None:
                engine.room.leave(self.waiter)
                self.waiter = None

    def _reserve(
        self, policy: Policy, price: Price | None
    ) -> Steps[Admission | ApiError | Literal["stale", "retry"]]:
        engine = self.engine
        room = engine.room
        recut = 0
        while True:
            bound = engine.bound(self.call, price, policy, engine.left(policy))
            held = self._held_keys(policy.plan, bound.hold)
            if self.waiter is None and self.may_wait and (queued := room.ahead(held)):
                self._join(queued)
            if self.waiter is not None:
                if not room.first(self.waiter) and (yield from self._wait(None)):
                    continue
                room.again(self.waiter, self.waiter.keys)
            result = yield from self._ask(self._reserve_step(policy.plan, bound))
            if result.verdict == "done":
                return self._admitted(policy, price, bound, result)
            if result.verdict == "stale":
                return "stale"
            if result.verdict in {"window", "old", "ended"}:
                if result.verdict != "window":
                    self.id = new_id(engine.now())
                engine.policies.clear()
                return "retry"
            if result.verdict == "full":
                return QuotaExceeded("A counter is at the end of its exact range", code="counter_full")
            if result.verdict != "denied":
                return StoreUnavailable("The quota store is recovering; try again", retry_after=5)
            engine.note_totals(result.over)
            hard = [entry for entry in result.over if entry.hard]
            if recut < RELOADS and self._smaller(policy, price, bound):
                recut += 1
                continue
            if not all(entry.waits for entry in hard) or not self._may_wait_for(hard):
                return engine.explain(result.over, policy)
            keys = frozenset(entry.counter for entry in hard)
            if self.waiter is None:
                if not self._join(keys):
                    return engine.explain(result.over, policy)
                continue
            room_keys = self.waiter.keys
            if not (yield from self._wait(_poll(engine.thread.inline))):
                return engine.explain(result.over, policy)
            if keys != room_keys:
                room.again(self.waiter, keys)
            recut = 0

    def _smaller(self, policy: Policy, price: Price | None, bound: Bound) -> bool:
        """Whether the figures of the denial call for a smaller cap than was tried."""
        again = self.engine.bound(self.call, price, policy, self.engine.left(policy))
        return again.hold[COST - 1] < bound.hold[COST - 1]

    def _held_keys(self, plan: Plan, hold: Amounts) -> list[str]:
        return [counter.key for counter, index in plan.lines if counter.hard and index and hold[index - 1]]

    def _may_wait_for(self, over: list[Over]) -> bool:
        if not self.may_wait:
            return False
        own = self.binding.holding.values()
        return not any(entry.counter in keys for entry in over for keys in own)

    def _join(self, keys: frozenset[str]) -> bool:
        self.until = time.monotonic() + self.engine.settings.settle_wait
        self.waiter = self.engine.room.join(self.id, keys)
        return self.waiter is not None

    def _wait(self, poll: float | None) -> Steps[bool]:
        """Waits for a turn; False when the time is over."""
        waiter = self.waiter
        left = self.until - time.monotonic()
        if waiter is None or left <= 0:
            return False
        yield waiter.turn, left if poll is None else min(left, poll)
        return True

    def _reserve_step(self, plan: Plan, bound: Bound) -> Reserve:
        settings = self.engine.settings
        about = json.dumps(self._about(bound), separators=(",", ":"), ensure_ascii=False)
        return Reserve(
            self.id,
            plan,
            bound.hold,
            bound.on_expiry,
            self.engine.thread.terms.lease,
            about,
            wait=self.may_wait,
            force=settings.shadow,
        )

    def _ask(self, op: Reserve | Peek) -> Steps[Result]:
        thread = self.engine.thread
        ticket = thread.ask(op.plan.org, op)
        answered = False
        try:
            yield ticket, thread.deadline
            if not ticket.done:
                raise StoreError("the store did not answer in time")
            result, answer = ticket.value()
            answered = True
        finally:
            if not answered and isinstance(op, Reserve):  # what may have been granted is let go
                thread.post(op.plan.org, Settle(op.id, op.plan, NOTHING, "{}", "released"))
        if result.verdict == "window":
            self.engine.ahead = answer.now - self.engine.clock()
        return result

    def _about(self, bound: Bound) -> dict[str, Any]:
        call, caller, path = self.call, self.caller, self.path
        about: dict[str, Any] = {
            "project": path.project.id if path.project else None,
            "team": path.team.id if path.team else None,
            "key": path.key.id if path.key else None,
            "end_user": caller.end_user,
            "tags": dict(caller.tags) or None,
            "provider": call.provider,
            "operation": call.operation,
            "model": call.model,
            "stream": call.stream or None,
            "cap": bound.cap,
            "input_bound": bound.input,
        }
        return {name: value for name, value in about.items() if value is not None}

    def _admitted(self, policy: Policy, price: Price | None, bound: Bound, result: Result) -> Admission:
        engine = self.engine
        for entry in result.over:
            meaning = policy.caps.get((entry.counter, entry.cap))
            if meaning is not None and meaning.limit.mode != "soft":
                self.would_deny.append(str(meaning.limit))
        if self.would_deny:
            engine.tally["would_deny"] += 1
        admission = Admission(engine, self.id, self.call, policy, price, bound, self.binding, self.would_deny)
        self.binding.holding[self.id] = frozenset(self._held_keys(policy.plan, bound.hold))
        self.binding.calls += 1
        self.binding.policy = policy
        return admission


def _poll(alone: bool) -> float:
    return POLL_ALONE_S if alone else _random.uniform(*POLL_S)


class Admission:
    """A call that may go. It ends once, at the first of `settle`, `release`; later ends change nothing."""

    __slots__ = (
        "_ended",
        "_lease",
        "began",
        "binding",
        "bound",
        "call",
        "engine",
        "id",
        "policy",
        "price",
        "would_deny",
    )

    def __init__(
        self,
        engine: Engine,
        id: str,
        call: Call,
        policy: Policy,
        price: Price | None,
        bound: Bound,
        binding: Binding,
        would_deny: list[str],
    ) -> None:
        self.engine = engine
        self.id = id
        self.call = call
        self.policy = policy
        self.price = price
        self.bound = bound
        self.binding = binding
        self.would_deny = would_deny
        self.began = time.monotonic()
        self._lease: Lease | None = engine.thread.keep(id, policy.plan)
        self._ended = False

    @property
    def cap(self) -> int | None:
        """The output cap (tokens a choice) to write into the body; None leaves it as it is."""
        return self.bound.cap

    def moved(self) -> None:
        """Bytes went by: the lease goes on."""
        if self._lease is not None:
            self._lease.moved = self.engine.clock()

    def settle(self, outcome: Outcome, model: str | None = None) -> None:
        """Ends the call at what it really used; never waits, never raises into the host.

        `model` is what the answer names. Safe to call from any thread, any number of times.
        """
        if self._ended:
            return
        self._ended = True
        engine, call, bound = self.engine, self.call, self.bound
        engine.thread.drop(self.id)
        self.binding.holding.pop(self.id, None)
        charged = charge(call, self.price, bound.input, bound.output, outcome)
        self.binding.cost += charged.cost
        if charged.quality == "exact" and outcome.status < 300:
            engine.learn(call, self.policy, charged.usage, bound.input)
        counts = {name: n for name in charged.usage.__slots__ if (n := getattr(charged.usage, name))}
        told: dict[str, Any] = {
            "status": outcome.status,
            "model": model,
            "usage": counts,
            "quality": charged.quality,
            "ms": round((time.monotonic() - self.began) * 1000),
            "suspect": charged.suspect or None,
            "unpriced": (self.price is None and not call.free) or None,
            "would_deny": self.would_deny or None,
        }
        text = json.dumps({k: v for k, v in told.items() if v is not None}, separators=(",", ":"))
        real: Amounts = (max(0, charged.usage.total), charged.cost, 0)
        engine.thread.post(self.policy.plan.org, Settle(self.id, self.policy.plan, real, text))

    def abandon(self, outcome: Outcome, model: str | None = None) -> None:
        """Settles from a finalizer: hands it to the store thread and takes no lock."""
        if not self._ended:
            self.engine.thread.later(lambda: self.settle(outcome, model))
