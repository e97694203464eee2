"""An explanation: whether a call may go now, by which limits, and if not, why: values, and their shape in JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ApiError
from .denials import figures, iso
from .limits import Limit
from .money import to_usd


@dataclass(frozen=True, slots=True)
class LimitState:
    """A limit that bears on a call, as it stood.

    limit          the limit itself: its metric, window, mode
    node, kind, name   whose it is
    cap            how much there is: its amount, and what was carried over (nano-dollars where it is on cost)
    used, held     what of it is gone: spent for good, and reserved by calls under way
    resets_at      ms at which its calendar window ends, or from which on a call fits that does not fit now; None where
                   there is no such moment, or nobody knows it
    """

    limit: Limit
    node: str
    kind: str
    name: str
    cap: int
    used: int
    held: int
    resets_at: int | None

    @property
    def remaining(self) -> int:
        """What is left."""
        return max(0, self.cap - self.used - self.held)

    def body(self) -> dict[str, Any]:
        """As JSON, in the words of a denial's `limits`; money in dollars."""
        amounts = {"limit": self.cap, "used": self.used, "held": self.held, "remaining": self.remaining}
        told = figures(self.limit, self.node, self.kind, self.name, amounts, self.resets_at)
        return {**told, "mode": self.limit.mode}


@dataclass(frozen=True, slots=True)
class Explanation:
    """Whether a call may go at this moment, and why.

    allowed      whether it may; one that only waits for what calls under way hold may not, now
    reason       the error that it would be answered with, None where it is allowed
    until        ms from which on it fits, other traffic aside; None where it is allowed, or nobody knows, or never
    limits       all limits that bear on it, narrowest first, hard or not; empty where it is not known who calls
    caller       who calls, by the ids of organization, team, project, key and member, as far as they are known
    reserved     nano-dollars that would be held: the most that it can cost. None where it was refused before
    estimate     nano-dollars that it will probably cost; None where it was refused before, or has no price
    tokens       that it will probably take, which is what limits on tokens hold. None where it was refused before
    input_bound  the most tokens that its input is taken to be. None where it was refused before
    allowance    how many of these are allowed for input that the body does not show: what such calls of the project and
                 model were seen to bring, 16,384 until some were; 0 where the body shows all. None as before
    output_cap   output tokens (a choice) that would be written into its body, or the app has to keep; None: as it came
    would_deny   what would have refused it, were it not in shadow
    """

    allowed: bool
    reason: ApiError | None
    until: int | None
    limits: tuple[LimitState, ...]
    caller: Mapping[str, str]
    reserved: int | None = None
    estimate: int | None = None
    tokens: int | None = None
    output_cap: int | None = None
    input_bound: int | None = None
    allowance: int | None = None
    would_deny: tuple[str, ...] = ()

    def body(self) -> dict[str, Any]:
        """As JSON: the reason under `error`, as the call would be answered; times in RFC 3339, money in dollars."""
        return {
            "allowed": self.allowed,
            **(self.reason.body() if self.reason is not None else {"error": None}),
            "until": None if self.until is None else iso(self.until),
            "limits": [limit.body() for limit in self.limits],
            "caller": dict(self.caller),
            "reserved_usd": _usd(self.reserved),
            "estimated_usd": _usd(self.estimate),
            "expected_tokens": self.tokens,
            "output_cap": self.output_cap,
            "input_bound": self.input_bound,
            "allowance": self.allowance,
            "would_deny": list(self.would_deny),
        }


def _usd(nano: int | None) -> float | None:
    return None if nano is None else float(to_usd(nano))
