"""One call's life, from admission to settlement: no transport, no wire format.

`Engine.admit` decides whether a call may go and reserves the most that it can cost; the `Admission` it answers is
settled once, by whoever saw the call end. Logic that waits is written once, as steps that sync and async code drive
(`stores/thread.py`).
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections import Counter as Tally
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from threading import RLock
from typing import Literal, NamedTuple

from . import forks
from .admission import Admission, Attempt, Bound
from .caches import SharedCache
from .callers import Callers
from .context import NOBODY, Binding, Caller, Identity
from .core import bounds
from .core.alerts import Stop
from .core.bounds import Call
from .core.denials import InTheWay, denial, off_list, stopped, unpriced
from .core.models import Model
from .core.money import MAX_AMOUNT
from .core.permissions import allows
from .core.prices import Price, PriceBook, dearest
from .core.steps import NOTHING, Amounts, Answer, Counter, Op, Over, Plan, Settle
from .deferred import DeferredCalls
from .denied import DenialCounter
from .errors import (
    ApiError,
    AuthenticationError,
    PermissionDenied,
    StoreError,
)
from .ids import Ids
from .learned import Learned
from .logs import logged
from .lookups import LookUp
from .observing import Begun, Observers, Place, Refused, Server, cleaned
from .outage import Outage
from .settings import Settings
from .stores.lanes import Lanes
from .stores.protocol import Clock
from .stores.tickets import Steps
from .tenancy.access import elsewhere
from .tenancy.directory import Directory
from .tenancy.nodes import Node, Path
from .tenancy.plans import Policy, compile_policy, counter_of, in_force
from .waiting import WaitingRoom

logger = logging.getLogger("quotaware")

POLICIES = 2_500
"""Compiled policies that are kept, those used last: with their paths and their packed plans some 12 KB each."""
TOTALS = 16_384
"""Counters whose figures are remembered."""
SHARE = 4
"""A cap that is written takes at most this part of what is left, so that several calls fit side by side."""


class InForce(NamedTuple):
    """A price: who says it (the organization, the host's `Quota(prices=…)`, the maintained list, or
    `Quota(unknown_model=…)`), and the model or pattern that it is said of.
    """

    source: Literal["organization", "configuration", "list", "unknown_model"]
    model: str
    price: Price


class Engine(Callers):
    """Decides, reserves and settles for all calls of a Quota in this process."""

    def __init__(
        self,
        lanes: Lanes,
        directory: Directory,
        prices: PriceBook,
        settings: Settings,
        clock: Clock,
        observers: Observers | None = None,
    ) -> None:
        super().__init__(lanes, directory, settings, clock)
        lanes.told = self.told
        self.prices = prices
        self.tally: Tally[str] = Tally()
        self.observers = observers or Observers()
        self._close: Callable[[str, Node], None] = lambda org, node: None
        self._tell_denial: Callable[[Path, Policy, tuple[Over, ...]], None] = lambda path, policy, over: None
        self.room = WaitingRoom(settings.max_waiters)
        self.ids = Ids()
        self.policies: SharedCache[tuple[str, str, tuple[Model, ...], str | None, str], Policy] = SharedCache(
            POLICIES
        )
        self._totals: dict[str, tuple[int, int]] = {}
        self._carried: SharedCache[tuple[str, int], int] = SharedCache(TOTALS)
        self.learned = Learned()
        self.denied = DenialCounter(lanes, self.ids, lambda: self.count("denied_uncounted"))
        self.deferred = DeferredCalls(lanes, self._batch_price, self.learned, self.observers)
        self.outage = Outage(self)
        lanes.renamed = self.outage.renamed
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: as it is."""
        self._tallying = RLock()  # a finalizer may count while its thread does

    def count(self, name: str) -> None:
        """Adds one to a count of this process (`quota.stats`)."""
        with self._tallying:
            self.tally[name] += 1

    def close_with(self, close: Callable[[str, Node], None]) -> None:
        """Blocking work that disables a node of an organization whose budget is used up."""
        self._close = close

    def tell_denials(self, tell: Callable[[Path, Policy, tuple[Over, ...]], None]) -> None:
        """Hears of every call that limits kept out; takes note, and does not wait."""
        self._tell_denial = tell

    def denied_by(self, path: Path, policy: Policy, over: tuple[Over, ...]) -> None:
        """Has it told that these limits kept a call out."""
        try:
            self._tell_denial(path, policy, over)
        except Exception:
            logger.exception(
                "a denial could not be told", extra=logged("denial_not_told", organization=path.org)
            )

    def close(self, org: str, node: Node) -> Steps[None]:
        """Does it. Raises as it does, and `StoreError`."""
        yield from self._call(partial(self._close, org, node))

    def adopted(self, org: str) -> None:
        """The store went on from an older state of an organization: what was read of it before is not true any more."""
        self.directory.forget_all(org)
        self.policies.clear()
        self._totals.clear()
        self._carried.clear()

    def told(self, org: str, answer: Answer, ops: list[Op]) -> None:
        """Hears of every answer of the store: totals, what was let go, what was booked late."""
        self.outage.heard(org, answer, ops)
        self.denied.heard(org)
        if len(self._totals) > TOTALS:  # they are known again with the next answers
            self._totals.clear()
        self._totals.update(answer.totals)
        if len(self.room):
            for op in ops:
                if isinstance(op, Settle):
                    self.room.moved([counter.key for counter, _ in op.plan.lines])

    # may it go

    def standing(self, path: Path, caller: Caller) -> ApiError | None:
        """Why nothing on this path may act right now, if so: a dead key, a disabled node."""
        key = path.key
        if caller.digest is not None and (key is None or key.digest != caller.digest):
            return AuthenticationError()
        if key is not None and (key.revoked or (key.expires_at is not None and key.expires_at <= self.now())):
            return AuthenticationError()
        for node in path.nodes:
            if node.stopped is not None and (refusal := self._stopped(path, node, Stop.read(node.stopped))):
                return refusal
            if not node.enabled:
                return PermissionDenied(
                    f"{node.kind.capitalize()} '{node.name}' is disabled", code="disabled"
                )
        return None

    def _stopped(self, path: Path, node: Node, stop: Stop) -> ApiError | None:
        """Why a threshold keeps a node from running, if it still does."""
        now = self.now()
        if stop.over(now):
            return None
        limits = [limit for limit in node.limits if limit.shape == stop.limit]
        if stop.action == "close" or not limits:
            return PermissionDenied(
                f"{node.kind.capitalize()} '{node.name}' is disabled: its budget was used up", code="disabled"
            )
        limits, _ = in_force(node, limits, now)
        counter = counter_of(path, node, limits, None, now)
        used, held = self.totals(counter.key)
        over = Over(counter.key, counter.cap, True, used, held, 0, counter.until or None)
        return stopped(
            InTheWay(over, limits[0], node.id, node.kind, node.name or node.id, counter.until), now
        )

    def admit(
        self, call: Call, binding: Binding, *, may_wait: bool, server: Server | None = None
    ) -> Steps[Admission | ApiError]:
        """Decides a call: an `Admission` that must be settled, or the error to answer it with.

        `server` is where it goes, as observers are told. `may_wait` False where this thread must not wait for other
        calls (a sync call on a loop's own thread). Shadow mode answers an Admission in any case.
        """
        path = None
        began = time.monotonic() if self.observers else 0.0
        try:
            yield from self.prepared()
            may_wait = may_wait and self.settings.settle_wait > 0
            attempt = Attempt(self, call, binding, may_wait)
            outcome = yield from self._decide(attempt)
            path = attempt.path
        except StoreError as error:
            outcome = self.outage.admit(call, binding, error)
        if isinstance(outcome, ApiError):
            self.refused(outcome, call, binding, path, began, server)
        else:
            self.count("admitted")
            if self.observers:
                outcome.watches = self.observers.begun(_begun(outcome, time.monotonic() - began, server))
        return outcome

    def look_up(
        self, call: Call, binding: Binding, answer: str, *, server: Server | None = None
    ) -> Steps[LookUp | ApiError]:
        """A request that makes nothing, `answer` what it asks for, `server` where it goes; the error for a list of
        models that its caller may not see. One of nobody that is known passes unrecorded.
        """
        caller: Caller | ApiError | None = None
        path: Path | ApiError | None = None
        with contextlib.suppress(StoreError):
            yield from self.prepared()
            named = binding.caller
            caller = named if isinstance(named, Caller) else (yield from self.resolve(named or Identity()))
            if isinstance(caller, Caller):
                path = yield from self.place(caller)
        if not isinstance(caller, Caller) or not isinstance(path, Path):
            return LookUp(self, call, None, answer)
        if call.operation == "models" and not self.settings.shadow:
            refusal = self.permitted(call, path, caller)
            if refusal is not None:
                self.refused(refusal, call, binding, path, server=server)
                return refusal
        return LookUp(self, call, (caller, path), answer)

    def refused(
        self,
        error: ApiError,
        call: Call,
        binding: Binding,
        path: Path | None = None,
        began: float = 0.0,
        server: Server | None = None,
    ) -> None:
        """Counts a call that was denied; `path`: of its caller, where that was found; `began`: when it was asked
        for, of time.monotonic(); `server`: where it would have gone.
        """
        self.count("denied")
        caller = self.known_caller(binding)
        org = caller.org if isinstance(caller, Caller) else NOBODY.org
        if isinstance(caller, Caller) and (path is None or not path.nodes):
            path = self.directory.peek(org, caller.node, member=caller.member)
        path = path or Path(org, 0, ())
        self.denied.note(org, path, call, error.code, self.now())
        if self.observers:
            took = time.monotonic() - began if began else 0.0
            told = Refused(
                _place(org, path), call, cleaned(call.model), error.code, error.status, took, server
            )
            self.observers.refused(told)

    def look(self, call: Call, binding: Binding) -> Steps[tuple[Attempt, Admission | ApiError]]:
        """Decides a call as `admit` does that must not wait, and holds, records and counts nothing. The admission is to
        be looked at only. Raises `StoreError` where the store does not answer: nobody can tell then.
        """
        yield from self.prepared()
        attempt = Attempt(self, call, binding, may_wait=False, dry=True)
        return attempt, (yield from self._decide(attempt))

    def _decide(self, attempt: Attempt) -> Steps[Admission | ApiError]:
        binding = attempt.binding
        caller = binding.caller
        if not isinstance(caller, Caller):
            resolved = yield from self.resolve(caller or Identity())
            if isinstance(resolved, ApiError):
                return (yield from attempt.run_unknown(binding.refusal or resolved))
            caller = binding.caller = resolved
        return (yield from attempt.run(caller))

    def permitted(self, call: Call, path: Path, caller: Caller) -> ApiError | None:
        """Whether key and tree let this operation and model through."""
        if refusal := self.standing(path, caller):
            return refusal
        if caller.address is not None and (refusal := elsewhere(path, caller.address)):
            return refusal
        key = path.key
        held, who = (
            (key.permissions, "API key") if key is not None else (path.held, f"Member '{caller.member}'")
        )
        if held is not None:
            if path.project is None:
                return PermissionDenied(
                    f"Key '{path.nodes[0].id}' is not on a project; calls are made with a project's key",
                    code="project_required",
                )
            wanted = _PERMISSION.get(call.operation, f"{call.operation}:create")
            if not (call.free and call.operation != "models") and not allows(held, wanted):
                return PermissionDenied(f"{who} does not have '{wanted}' permission")
        for node in path.nodes:
            if node.models and (refusal := off_list(call, node.models, node.kind, node.name or node.id)):
                return refusal
        return None

    def may_be_unbounded(self, path: Path) -> bool:
        """Whether whoever calls was given leave to ask for what has no bound (`cost:unbounded`)."""
        held = path.key.permissions if path.key is not None else path.held
        return held is not None and allows(held, "cost:unbounded")

    def _batch_price(self, provider: str | None, model: str, at: int) -> Price | None:
        """What a model costs that a batch turns out to have asked for."""
        found = self.price_in_force(None, provider, model, at)
        return found and found.price

    def policy(self, path: Path, call: Call, caller: Caller) -> Policy:
        """The compiled policy of a path for a call's models and end user, in the windows of now."""
        models = call.models
        key = (path.org, path.nodes[0].id if path.nodes else "", models, caller.end_user, caller.member)
        policy = self.policies.get(key)
        now = self.now()
        if policy is None or policy.plan.rev != path.rev or (policy.until and now >= policy.until):
            newer = policy is not None and policy.plan.rev > path.rev
            policy = compile_policy(path, models, caller.end_user, now)
            if not newer:  # what is judged by an old path is reserved by it, and found stale
                self.policies[key] = policy
        return policy

    def price(self, call: Call, policy: Policy) -> Price | ApiError | None:
        """The price in force. None: free, or no cost limit bears on what has no price."""
        if call.free:
            return None
        price = self._price_of_all(call, policy)
        if not call.besides or not isinstance(price, Price):
            return price
        besides: dict[str, Price] = {}
        for one in call.besides:
            if one.model is None:  # the call's own
                continue
            if other := self._price_of(one, policy):
                besides[one.model] = other
            elif policy.budgets:
                return unpriced(one)
        return replace(price, besides=tuple(besides.items()))

    def _price_of_all(self, call: Call, policy: Policy) -> Price | ApiError | None:
        """The price of whatever the call may be served as."""
        if not call.also:
            return self._price_of(call, policy) or (unpriced(call) if policy.budgets else None)
        found: dict[str, Price] = {}
        for one in call.readings:
            if one.model is not None and (price := self._price_of(one, policy)):
                found[one.model] = price
            elif policy.budgets:
                return unpriced(one)
        return dearest(found) if found else None

    def _price_of(self, call: Call, policy: Policy) -> Price | None:
        """The price of one reading of a call, if it is known."""
        if call.model is None:
            return None
        found = self.price_in_force(
            policy.prices, call.provider, call.model, self.now(), listed=not call.unknown
        )
        if found is None or (found.source == "list" and found.price.by_count and not call.counted):
            return None
        return found.price

    def price_in_force(
        self, own: PriceBook | None, provider: str | None, model: str, at: int, *, listed: bool = True
    ) -> InForce | None:
        """The price of a model at a time (ms), where an organization says `own` of prices. `listed` False: the list
        knows nothing of it.
        """
        if own is not None and (told := own.told_of(provider, model)):
            return InForce("organization", *told)
        if told := self.prices.told_of(provider, model):
            return InForce("configuration", *told)
        if listed and (price := self.prices.listed(provider, model, at)):
            return InForce("list", model, price)
        default = self.settings.unknown_model
        return InForce("unknown_model", model, default) if isinstance(default, Price) else None

    def bound(self, call: Call, price: Price | None, policy: Policy, left: int | None) -> Bound:
        """The bound of a call where `left` nano-dollars are left on the tightest budget (None: no budget)."""
        settings = self.settings
        org, project = policy.plan.org, policy.project
        allowance = self.learned.allowance(org, project, call)
        most_input = bounds.input_bound(call, settings.bound) + allowance
        longest = max(map(self._longest, call.readings))
        final, capped = call, call.generates and not call.sealed
        if capped and call.cap is None and settings.default_output is not None:
            final = replace(call, cap=self._writable(call, settings.default_output, longest))
        output = bounds.output_bound(final, longest)
        cost = _worst(price, call, most_input, output)
        if left is not None and price is not None and capped and not settings.shadow:
            named = call.cap is not None
            share = left if named else left // SHARE
            if cost > share and settings.tight in _CUTS[named]:
                fits = bounds.affordable_cap(price, call, most_input, share, final.cap or longest)
                least = min(settings.clamp_min, final.cap or longest)
                final = replace(call, cap=self._writable(final, max(fits, least), longest))
                output = bounds.output_bound(final, longest)
                cost = _worst(price, call, most_input, output)
        tokens = bounds.expected_tokens(
            final,
            bounds.estimate_input(call),
            self.learned.usual_output(org, call.model),
            output // call.choices,
        )
        hold: Amounts = (min(tokens, MAX_AMOUNT), min(cost, MAX_AMOUNT), 1)
        cap = final.cap if final.cap != call.cap else None
        return Bound(most_input, output, hold, self._on_expiry(price, call, most_input, hold), cap, allowance)

    def _writable(self, call: Call, cap: int, longest: int) -> int:
        """The cap nearest to `cap` with which a body is still a valid one: within its model's longest answer and what
        its input leaves of the context window; not below what its thinking needs, nor above the cap that it names.
        """
        window = self.prices.context_window(call.provider, call.model) if call.model is not None else None
        if window is not None:
            room = window - bounds.input_bound(call, "calibrated")
            cap = min(cap, max(room, self.settings.clamp_min))
        cap = max(min(cap, longest), call.least_cap)
        return cap if call.cap is None else min(cap, call.cap)

    def _longest(self, call: Call) -> int:
        """The longest answer of its model, tokens."""
        context = self.prices.context_window(call.provider, call.model) if call.model is not None else None
        return bounds.max_output(call.model, context)

    def _on_expiry(self, price: Price | None, call: Call, most_input: int, hold: Amounts) -> Amounts:
        full = self.settings.bound == "strict" or call.background
        mode = "full" if full else self.settings.on_expiry
        if mode == "none":
            return NOTHING
        if mode == "full":
            return (hold[0], hold[1], 0)
        return (min(most_input, hold[0]), min(_worst(price, call, most_input, 0), hold[1]), 0)

    def left(self, policy: Policy) -> int | None:
        """What the tightest budget has left, as of the last answer seen, nano-dollars; None without a budget."""
        if not policy.budgets:
            return None
        left = []
        for key, cap in policy.budgets:
            used, held = self.totals(key)
            most = cap if policy.carried is None else self._carried.get((key, cap)) or cap
            left.append(max(0, most - used - held))
        return min(left)

    def note_totals(self, policy: Policy, over: tuple[Over, ...]) -> None:
        """Keeps the figures of a denial, so that the next bound is made from them."""
        for entry in over:
            self._totals[entry.counter] = (entry.used, entry.held)
        self.note_carried(policy, over)

    def cap_of(self, counter: Counter) -> int:
        """The cap of a counter, with what was carried over as far as that is known."""
        return self._carried.get((counter.key, counter.cap)) or counter.cap if counter.carry else counter.cap

    def uncarried(self, policy: Policy) -> Plan | None:
        """Budgets of which it is not known yet what was carried over."""
        plan = policy.carried
        if plan is None or all(self._carried.get((each.key, each.cap)) for each, _ in plan.lines):
            return None
        return plan

    def note_carried(self, policy: Policy, over: tuple[Over, ...]) -> None:
        """Keeps the caps that the store has of budgets with what was carried over."""
        if policy.carried is not None:
            caps = {counter.key: counter.cap for counter, _ in policy.carried.lines}
            for entry in over:
                if entry.hard and entry.counter in caps:
                    self._carried[entry.counter, caps[entry.counter]] = entry.cap

    def explain(self, over: tuple[Over, ...], policy: Policy) -> ApiError:
        """The error for a denied reserve."""
        ends = {counter.key: counter.until for counter, _ in policy.plan.lines}
        reasons = []
        for entry in over:
            if entry.hard:
                limit, node = policy.meaning(entry)
                reasons.append(
                    InTheWay(entry, limit, node.id, node.kind, node.name or node.id, ends[entry.counter])
                )
        return denial(reasons, self.now())

    def totals(self, key: str) -> tuple[int, int]:
        """(used, held) of a counter as of the last answer seen."""
        return self._totals.get(key) or (0, 0)


_PERMISSION = {
    **dict.fromkeys(("cached_contents", "completions", "ocr", "unknown"), "chat:create"),
    "message_batches": "batches:create",
    "models": "models:list",
    "videos": "images:create",
}
_CUTS = {False: ("cap", "clamp"), True: ("clamp",)}
"""Under which settings a cap is written for a call that names none (False), or lowered for one that does (True)."""


def _place(org: str, path: Path) -> Place:
    return Place(org, path.team.id if path.team else None, path.project.id if path.project else None)


def _begun(admission: Admission, took: float, server: Server | None) -> Begun:
    call, cap = admission.call, admission.cap
    return Begun(
        admission.id,
        _place(admission.policy.plan.org, admission.path),
        call,
        cleaned(call.model),
        call.cap if cap is None else cap,
        took,
        admission.degraded,
        tuple(admission.would_deny),
        server,
    )


def _worst(price: Price | None, call: Call, most_input: int, output: int) -> int:
    return bounds.worst_cost(price, call, most_input, output) if price else 0
