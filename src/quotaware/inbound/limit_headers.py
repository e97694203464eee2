"""`RateLimit` and `RateLimit-Policy` of the IETF draft (draft-ietf-httpapi-ratelimit-headers): structured field lists
with `q` quota, `w` window in seconds, `qu` unit, `r` what remains, `t` seconds until the quota is whole again.

The draft registers no unit for money or tokens; these carry a prefix. Money is told in whole micro-dollars.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ..core.steps import Counter
from ..tenancy.plans import Policy

MOST = 10
LARGEST = 999_999_999_999_999
"""The largest integer of a structured field (RFC 9651, 3.3.1)."""
MICRO = 1000
"""Nano-dollars in a micro-dollar."""
_UNITS = {
    "requests": "requests",
    "concurrency": "concurrent-requests",
    "tokens": "quotaware-tokens",
    "cost": "quotaware-micro-usd",
}
_SECONDS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86_400,
    "week": 604_800,
    "month": 2_592_000,
    "quarter": 7_776_000,
    "year": 31_536_000,
}


def limit_headers(
    policy: Policy,
    totals: Callable[[str], tuple[int, int]],
    now: int,
    cap_of: Callable[[Counter], int] = lambda counter: counter.cap,
) -> list[tuple[str, str]]:
    """The two headers for the hard limits of a policy, as of the last figures known; [] where it has none."""
    policies: list[str] = []
    states: list[str] = []
    names: set[str] = set()
    for counter, _ in policy.plan.lines[:MOST]:
        meaning = policy.caps.get((counter.key, counter.cap))
        if meaning is None or not counter.hard:
            continue
        limit, node = meaning
        name = re.sub(r"[^a-z0-9]+", "-", f"{node.kind}-{limit.shape}".lower()).strip("-")
        while name in names:  # patterns that differ in their signs only
            name += "-"
        names.add(name)
        scale = MICRO if limit.metric == "cost" else 1
        used, held = totals(counter.key)
        cap = cap_of(counter)
        remaining = min(LARGEST, max(0, cap - used - held) // scale)
        window = _SECONDS.get(limit.window.unit) if limit.window is not None else None
        policies.append(
            f'"{name}";q={min(LARGEST, cap // scale)}'
            + (f";w={window}" if window else "")
            + f';qu="{_UNITS[limit.metric]}"'
        )
        resets = f";t={-(-(counter.until - now) // 1000)}" if counter.until > now else ""
        states.append(f'"{name}";r={remaining}{resets}')
    if not policies:
        return []
    return [("ratelimit-policy", ", ".join(policies)), ("ratelimit", ", ".join(states))]
