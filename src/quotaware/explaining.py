"""Explaining: why a call may or may not go, by the very steps that would let it go (`Engine.look`)."""

from __future__ import annotations

import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from .admission import Admission, Attempt
from .context import Binding, Caller, Identity
from .core.bounds import Call, estimate_input
from .core.explanation import Explanation, LimitState
from .core.steps import COST, Over, Plan
from .core.usage import Usage
from .engine import Engine
from .errors import ApiError, ConfigurationError, InvalidKeyFormat, NotFound
from .providers import naming
from .settings import whole
from .stores.tickets import Steps
from .tenancy import access, keys
from .tenancy.directory import missing
from .tenancy.plans import Policy


def described(
    provider: str | None, model: str | None, operation: str, input: int | None, max_output: int | None
) -> Call:
    """A call in a few words: at most `input` tokens in (None: nobody knows yet) and `max_output` out (None: the model's
    longest answer, or less where money is tight). Raises `ConfigurationError`.
    """
    for name, value in (("provider", provider), ("model", model), ("operation", operation)):
        if not (isinstance(value, str) or (value is None and name == "provider")):
            raise ConfigurationError(name, f"{reprlib.repr(value)} is no text")
    call = Call(
        provider,
        operation,
        model,
        cap=None if max_output is None else whole("max_output", max_output),
        media=0 if input is None else whole("input", input),
        opaque=input is None,
        generates=max_output != 0,
    )
    return naming.reread(call)


def explain(
    engine: Engine,
    here: Binding,
    *,
    model: str,
    provider: str | None = None,
    operation: str = "chat",
    input: int | None = None,
    max_output: int | None = None,
    key: str | None = None,
    project: str | None = None,
    member: str | None = None,
    organization: str | None = None,
    end_user: str | None = None,
    tags: Mapping[str, str] | None = None,
    address: str | None = None,
) -> Steps[Explanation]:
    """May this caller make this call now? Who is not named at all is whoever calls `here`. See `Quota.explain`."""
    call = described(provider, model, operation, input, max_output)
    named = Identity(project, end_user, tags or {}, None, member, organization)
    if key is not None and (project is not None or member is not None):
        raise ConfigurationError("key", "says its project already, and acts itself; give one of them")
    return _explain(engine, here, call, named, key, address)


def _explain(
    engine: Engine, here: Binding, call: Call, named: Identity, key: str | None, address: str | None
) -> Steps[Explanation]:
    binding = Binding(here.meter, named)
    if key is not None:
        binding.caller = yield from _key(engine, key, named)
    elif named == Identity():
        binding = Binding(here.meter, here.caller, here.refusal)
    attempt, outcome = yield from engine.look(call, binding)
    refused_at_the_door = None
    if address is not None and not engine.settings.shadow:
        refused_at_the_door = access.elsewhere(attempt.path, address)
    reason = refused_at_the_door or (outcome if isinstance(outcome, ApiError) else None)
    limits = (yield from _limits(attempt)) if attempt.policy is not None else ()
    explanation = Explanation(
        allowed=reason is None,
        reason=reason,
        until=reason.until if reason is not None else None,
        limits=limits,
        caller=_caller(attempt),
        would_deny=tuple(attempt.would_deny),
    )
    bound = attempt.bound
    if bound is None:
        return explanation
    return replace(
        explanation,
        reserved=bound.hold[COST - 1],
        estimate=_estimate(attempt, bound.hold[0]),
        tokens=bound.hold[0],
        output_cap=outcome.cap if isinstance(outcome, Admission) else None,
        input_bound=bound.input,
        allowance=bound.allowance,
    )


def _key(engine: Engine, key: str, named: Identity) -> Steps[Caller | Identity]:
    """The caller that a key is, given as its secret or its id. Raises `InvalidKeyFormat`, `NotFound`, `StoreError`."""
    if not isinstance(key, str) or keys.is_ours(key):
        if not (isinstance(key, str) and keys.well_formed(key)):
            raise InvalidKeyFormat
        return replace(named, key=keys.digest(key))
    org = yield from engine.home(Identity(key, organization=named.organization))
    if org is None:
        raise missing("key", key)
    try:
        path = yield from engine.reread(org, key)
    except NotFound:
        raise missing("key", key) from None
    if path.key is None or path.nodes[0] is not path.key:
        raise missing("key", key)
    return Caller(org, key, named.end_user, named.tags, path.key.digest)


def _caller(attempt: Attempt) -> dict[str, str]:
    path = attempt.path
    found: dict[str, str] = {node.kind: node.id for node in reversed(path.nodes)}
    return {**found, "member": path.people[0]} if path.people else found


def _estimate(attempt: Attempt, tokens: int) -> int | None:
    """What a call will probably cost, nano-dollars."""
    call = attempt.call
    if call.free or attempt.price is None:
        return 0 if call.free else None
    input = min(estimate_input(call), tokens)
    return attempt.price.cost(Usage(input=input, output=tokens - input))


def _limits(attempt: Attempt) -> Steps[tuple[LimitState, ...]]:
    policy, answer = attempt.policy, attempt.answer
    if policy is None or answer is None:
        return ()
    totals, plan = answer.totals, policy.plan
    carried = tuple((counter, COST) for counter, _ in plan.lines if counter.carry is not None)
    caps: dict[str, int] = {}
    if carried:  # what was carried over is in the store only
        probed = yield from attempt.probe(Plan(plan.org, plan.rev, plan.deps, carried))
        caps = {entry.counter: entry.cap for entry in reversed(probed)}  # the deciding one stands first
    over = {entry.counter: entry for entry in reversed(attempt.over)}
    return tuple(_states(policy, totals, over, caps))


def _states(
    policy: Policy, totals: Mapping[str, tuple[int, int]], over: Mapping[str, Over], caps: Mapping[str, int]
) -> Iterator[LimitState]:
    for counter, _ in policy.plan.lines:
        used, held = totals.get(counter.key, (0, 0))
        entry = over.get(counter.key)
        resets_at = counter.until or (entry.fits_at if entry is not None else None)
        if entry is not None:  # with what an older call that waits lays claim to
            used, held = entry.used, entry.held
        for (key, amount), (limit, node) in policy.caps.items():
            if key == counter.key:
                cap = caps.get(key, amount) if amount == counter.cap else amount
                name = node.name or node.id
                yield LimitState(limit, node.id, node.kind, name, cap, used, held, resets_at)
