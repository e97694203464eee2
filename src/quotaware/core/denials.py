"""A denial: why a call may not go, in the words and figures of the management contract.

Source of the shape: the contract's error table (`quota_exceeded`, `rate_limit_exceeded`). Where several limits are in
the way, the one that frees last gives type and figures, and all stand in `limits`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from ..errors import ApiError, PermissionDenied, QuotaExceeded, RateLimitExceeded
from .bounds import BATCHES, Call
from .limits import Limit
from .models import ANY, Model, refused
from .money import format_usd, to_usd
from .steps import Over

HELD_RETRY_S = 1
"""What is told to wait where only calls under way are in the way: nobody knows when they end."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
RETRY_MAX_S = 86_400
"""A longer wait is told as `reset_date` only, never as a `Retry-After` that a client would sleep through."""

ADJECTIVE = {
    "second": "Per-second",
    "minute": "Per-minute",
    "hour": "Hourly",
    "day": "Daily",
    "week": "Weekly",
    "month": "Monthly",
    "quarter": "Quarterly",
    "year": "Yearly",
    "life": "Total",
}
_SHORT = {"second": "s", "minute": "min"}


class InTheWay(NamedTuple):
    """A limit that a call does not fit, whose it is, and the ms at which its window ends (0: it does not)."""

    over: Over
    limit: Limit
    node: str
    kind: str
    name: str
    until: int = 0

    @property
    def resets_at(self) -> int | None:
        """The ms from which on the call fits, other traffic aside; None where it never will, or nobody knows when."""
        if self.over.fits_at is not None:
            return self.over.fits_at
        return (self.until or None) if self.over.waits else None


def iso(ms: int) -> str:
    """RFC 3339 in UTC with a Z; milliseconds only where there are any."""
    text = (_EPOCH + ms * _MS).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return text.replace(".000Z", "Z")


def seconds_until(ms: int, now: int) -> int:
    """Whole seconds, rounded up, at least 1."""
    return max(1, -(-(ms - now) // 1000))


def denial(reasons: Sequence[InTheWay], now: int) -> ApiError:
    """The error for a call that `reasons` (at least one) are in the way of, at `now` ms."""
    worst = max(reasons, key=lambda reason: _frees(reason.over, now))
    over, limit = worst.over, worst.limit
    fields: dict[str, Any] = {"limits": [_figures(reason) for reason in reasons]}
    until = None if over.waits else over.fits_at
    wait = HELD_RETRY_S if over.waits else until and seconds_until(until, now)
    retry_after = wait if wait is not None and wait <= RETRY_MAX_S else None
    if limit.metric == "cost":
        fields |= {
            "current_usage_usd": float(to_usd(over.used)),
            "limit_usd": float(to_usd(over.cap)),
            "reset_date": iso(worst.resets_at) if worst.resets_at else None,
        }
        return QuotaExceeded(_message(worst), fields=fields, retry_after=retry_after, until=until)
    fields["retry_after_seconds"] = retry_after
    return RateLimitExceeded(_message(worst), fields=fields, retry_after=retry_after, until=until)


def stopped(reason: InTheWay, now: int) -> ApiError:
    """The error for a node that a threshold of this limit stopped."""
    over = reason.over
    fields = {
        "current_usage_usd": float(to_usd(over.used)),
        "limit_usd": float(to_usd(over.cap)),
        "reset_date": iso(reason.until) if reason.until else None,
        "limits": [_figures(reason)],
    }
    wait = seconds_until(reason.until, now) if reason.until else None
    unit = reason.limit.window.unit if reason.limit.window else "life"
    return QuotaExceeded(
        f"{reason.kind.capitalize()} '{reason.name}' is stopped: {format_usd(over.used)} of its "
        f"{ADJECTIVE[unit].lower()} budget of {format_usd(over.cap)} is used",
        code="stopped",
        fields=fields,
        retry_after=wait if wait is not None and wait <= RETRY_MAX_S else None,
        until=reason.until or None,
    )


def _frees(over: Over, now: int) -> float:
    if over.waits:
        return now
    return over.fits_at if over.fits_at is not None else float("inf")


def _message(reason: InTheWay) -> str:
    limit, cap = reason.limit, reason.over.cap
    models = f" for {limit.models}" if limit.models else ""
    whose = f" for {reason.kind} '{reason.name}'"
    if limit.per == "end_user":
        whose = f" for an end user of {reason.kind} '{reason.name}'"
    if limit.metric == "cost":
        unit = limit.window.unit if limit.window else "life"
        return f"{ADJECTIVE[unit]} budget of {format_usd(cap)}{models} exceeded{whose}"
    if limit.window is None:
        return f"Concurrency limit of {cap}{models} exceeded"
    unit = limit.window.unit
    counted = "req" if limit.metric == "requests" else "tokens"
    return f"Rate limit of {cap} {counted}/{_SHORT.get(unit, unit)}{models} exceeded"


def _figures(reason: InTheWay) -> dict[str, Any]:
    over = reason.over
    amounts = {"limit": over.cap, "used": over.used, "held": over.held, "asked": over.asked}
    return figures(reason.limit, reason.node, reason.kind, reason.name, amounts, reason.resets_at)


def figures(
    limit: Limit, node: str, kind: str, name: str, amounts: Mapping[str, int], resets_at: int | None
) -> dict[str, Any]:
    """A limit of a node as JSON, with these amounts of its metric: money in dollars."""
    money = limit.metric == "cost"
    return {
        "rule": str(limit),
        "on": node,
        "kind": kind,
        "name": name,
        "metric": limit.metric,
        **{word: float(to_usd(amount)) if money else amount for word, amount in amounts.items()},
        "resets_at": iso(resets_at) if resets_at else None,
    }


def off_list(call: Call, allowed: tuple[str, ...], kind: str, name: str) -> PermissionDenied | None:
    """Why the models that a node allows do not take in a call, if so: all that may serve it must be among them."""
    models = call.models or (() if call.free else (Model(call.provider, ANY),))
    found = refused(allowed, models)
    if found is None:
        return None
    if found.name == ANY:
        why = call.unknown or "this endpoint names none"
        return PermissionDenied(
            f"{kind.capitalize()} '{name}' allows certain models only, and {why}",
            code="model_ambiguous",
        )
    return PermissionDenied(
        f"Model '{found.name}' is not allowed for {kind} '{name}'", code="model_not_allowed"
    )


def unpriced(call: Call) -> PermissionDenied:
    """The refusal of a call under a cost limit whose price nobody knows."""
    if call.operation == BATCHES:
        message = (
            f"This call's cost has no bound, and a cost limit bears on it: {call.unknown}. A key with the permission "
            "'cost:unbounded' may make it; what it used is charged when the batch is asked for after its end"
        )
        return PermissionDenied(message, code="input_unbounded")
    if call.unknown:
        message = f"What this call costs is not known, and a cost limit bears on it: {call.unknown}"
    elif call.model is None:
        message = (
            "What this endpoint costs is not known here, and a cost limit bears on the call. "
            "Quota(hosts={'<host>': None}) lets a host's traffic pass without being judged"
        )
    else:
        message = (
            f"No price is known for model '{call.model}', and a cost limit bears on the call. Add one: "
            "Quota(prices={'<model>': {'input': <USD per million tokens>, 'output': …}}), POST /prices of the "
            "management API, or set unknown_model"
        )
    return PermissionDenied(message, code="price_unknown")
