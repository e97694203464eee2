"""What becomes of calls while the store does not answer: refused, or let through, noted, and booked when it is back.

Which of the two is said apart for calls that a hard cost limit bears on and for all others. What is let through is
decided from memory: who calls must be known already, permissions bear as ever, and money is bounded, a share of each
budget for each process and outage.
"""

from __future__ import annotations

import json
import logging
import random
from collections import defaultdict
from itertools import groupby
from threading import Lock
from typing import TYPE_CHECKING

from . import forks
from .admission import Admission, Attempt, Bound
from .context import NOBODY, Binding, Caller
from .core.bounds import Call
from .core.steps import COST, Amounts, Answer, Event, Op, Settle
from .errors import ApiError, StoreError, StoreUnavailable
from .logs import logged
from .stores.journal import Journal, Leftover, leftovers
from .stores.thread import call_of
from .tenancy.nodes import Path
from .tenancy.plans import Policy

if TYPE_CHECKING:
    from .engine import Engine

logger = logging.getLogger("quotaware")

TRUSTED_MS = 60_000
"""How long after it was seen valid a key may pass while the store is away."""
RETRY_S = (1, 5)
"""When a refused caller is told to come back, seconds; at random, so that not all come at once."""

_random = random.SystemRandom()


class Outage:
    """Decides calls without the store, as `Settings.on_store_error` says; `Settings.allow_max` bounds what one process
    may spend of each budget in one outage.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._modes = engine.settings.on_store_error
        self._share = engine.settings.allow_max
        self._journal = Journal(engine.settings.journal)
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: what the parent let through is the parent's to book."""
        self._lock = Lock()
        self._spent: defaultdict[str, int] = defaultdict(int)
        self._leftovers: list[Leftover] = []
        self._cost = 0

    def admit(self, call: Call, binding: Binding, error: StoreError) -> Admission | ApiError:
        """An admission that is booked later, or the refusal."""
        refusal = StoreUnavailable(
            f"The quota store did not answer; try again ({error})", retry_after=_random.randint(*RETRY_S)
        )
        engine = self._engine
        shadow = engine.settings.shadow
        if not (self._modes.allows or shadow):
            return refusal
        caller = engine.known_caller(binding)
        path = engine.known_path(caller, TRUSTED_MS) if isinstance(caller, Caller) else None
        attempt = Attempt(engine, call, binding, may_wait=False)
        if not isinstance(caller, Caller) or path is None:
            unknown = caller if isinstance(caller, ApiError) else refusal
            if not shadow:
                return unknown
            attempt.would_deny.append(unknown.code)
            caller, path = NOBODY, Path(NOBODY.org, 0, ())
        return self._decide(attempt, caller, path, refusal)

    def _decide(
        self, attempt: Attempt, caller: Caller, path: Path, refusal: ApiError
    ) -> Admission | ApiError:
        engine, call = self._engine, attempt.call
        attempt.path = path
        shadow = engine.settings.shadow
        policy = engine.policy(path, call, caller)
        if not shadow and (self._modes.cost if policy.budgets else self._modes.rates) == "deny":
            return refusal
        forbidden = engine.permitted(call, path, caller)
        price = engine.price(call, policy)
        if forbidden is None and isinstance(price, ApiError):
            forbidden, price = price, None
        if forbidden is not None:
            if not shadow:
                return forbidden
            attempt.would_deny.append(forbidden.code)
        usable = None if isinstance(price, ApiError) else price
        bound = engine.bound(call, usable, policy, None if shadow else self._left(policy))
        attempt.note(caller, path, bound)
        if not shadow and not self._take(policy, bound):
            return StoreUnavailable(
                "The quota store is away, and what may be spent meanwhile is spent; try again",
                retry_after=RETRY_S[1],
            )
        noted = self._journal.begin(attempt.id, policy.plan, bound.on_expiry, attempt.about)
        if not noted and not shadow:  # which refuses nothing: it is booked from memory
            return StoreUnavailable(
                "The quota store is away, and the journal of calls let through meanwhile is full",
                retry_after=RETRY_S[1],
            )
        engine.count("degraded")
        attempt.binding.admitted(attempt.id, frozenset(), policy, degraded=True)
        return Admission(attempt, policy, usable, bound, degraded=True)

    def _left(self, policy: Policy) -> int | None:
        with self._lock:
            return min(
                (int(cap * self._share) - self._spent[key] for key, cap in policy.budgets), default=None
            )

    def _take(self, policy: Policy, bound: Bound) -> bool:
        cost = bound.hold[COST - 1]
        with self._lock:
            if any(self._spent[key] + cost > int(cap * self._share) for key, cap in policy.budgets):
                return False
            for key, _ in policy.budgets:
                self._spent[key] += cost
            return True

    def ended(self, admission: Admission, real: Amounts, outcome: str) -> None:
        """A call that was let through has ended: noted, and sent until the store takes it."""
        over = admission.bound.hold[COST - 1] - real[COST - 1]
        with self._lock:
            for key, _ in admission.policy.budgets:
                self._spent[key] -= over
            self._cost += real[COST - 1]
        self._journal.end(admission.id, real, outcome)

    def heard(self, org: str, answer: Answer, ops: list[Op]) -> None:
        """Looks in the store's answers for calls that are booked now."""
        if not self._journal and not self._leftovers:
            return
        for op, result in zip(ops, answer.results, strict=True):
            if isinstance(op, Settle) and result.verdict in {"done", "again"}:
                self._booked(org, call_of(op))

    def renamed(self, id: str, new: str) -> None:
        """A call that the store does not remember any more is about to be booked under a new id."""
        for journal in (self._journal, *self._leftovers):
            journal.renamed(id, new)

    def _booked(self, org: str, id: str) -> None:
        if self._journal.booked(id):
            self._over(org)
        for leftover in list(self._leftovers):
            if leftover.booked(id):
                self._leftovers.remove(leftover)

    def _over(self, org: str) -> None:
        """All that was let through in this outage is booked: it is told, and the next one begins with a whole share."""
        with self._lock:
            cost, self._cost = self._cost, 0
            self._spent.clear()
        logger.warning(
            "calls let through while the store was away are booked: %.6f USD",
            cost / 1e9,
            extra=logged("outage_booked", organization=org, cost_usd=cost / 1e9),
        )
        told = json.dumps({"degraded": {"cost": cost}})
        event = Event(f"degraded|{self._engine.ids.new(self._engine.now())}", self._engine.now(), told)
        self._engine.lanes.call(lambda: self._engine.lanes.store.outbox(org, put=(event,)), org)

    def recover(self) -> None:
        """Sends what processes that are gone had let through. Called at the start and now and then."""
        for leftover in leftovers(self._journal.directory, self._engine.now(), self._engine.ids):
            if leftover:
                self._leftovers.append(leftover)
                logger.warning(
                    "%d calls of a process that is gone are booked now",
                    len(leftover),
                    extra=logged("leftovers_booked", calls=len(leftover)),
                )
            for org, settles in groupby(leftover.settles, key=lambda settle: settle.plan.org):
                self._engine.lanes.post(org, *settles)

    def close(self) -> None:
        """Lets go of the journal; what is not booked yet is for the next process that starts."""
        self._journal.close()
        for leftover in self._leftovers:
            leftover.close()

    def sync(self) -> None:
        """Once a second: what was noted is made to survive a loss of power."""
        self._journal.sync()
