"""How a call asks to be served, and how its answer says that it was, where that bears on the price.

Sources: OpenAI's "Fast mode" (`service_tier`; its SDK's types have it in the answer), Anthropic's "Fast mode" (`speed`;
its SDK's types have it in `usage`), Google's "Priority inference" (`service_tier`; recorded answers have it in
`usageMetadata`, and those of Vertex `trafficType`, whose values for other tiers are known from others' code only).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.prices import Service, service
from .text import member

SEARCHES = 10
"""The most searches that a call is bounded by which may make them and names no bound of its own."""
_LONGEST = 32
_TRAFFIC = {"ON_DEMAND": "standard", "ON_DEMAND_FLEX": "flex", "ON_DEMAND_PRIORITY": "priority"}


def tier(value: object) -> Service:
    """A service tier as OpenAI's body or answer, or Google's, names it. `auto` leaves it to the provider."""
    name = _word(value)
    return () if name in (None, "auto") else service(service_tier=name)


def speed(value: object) -> Service:
    """Anthropic's `speed`."""
    return service(speed=_word(value))


def google_tier(usage: object) -> Service:
    """The tier that a `usageMetadata` tells."""
    return tier(member(usage, "serviceTier")) or tier(_TRAFFIC.get(str(member(usage, "trafficType"))))


def most_uses(tools: object, kind: str, named: int | None = None) -> int:
    """How often at most a call may use the tools of a kind that it describes: as often as each says, or the call says
    of all (`named`), else `SEARCHES` times.
    """
    found = (
        [tool for tool in tools if str(member(tool, "type")).startswith(kind)]
        if isinstance(tools, list)
        else []
    )
    if named is not None:
        return named if found else 0
    return sum(_most(tool) for tool in found)


def _most(tool: Mapping[str, Any]) -> int:
    most = tool.get("max_uses")
    return most if isinstance(most, int) and most > 0 else SEARCHES


def _word(value: object) -> str | None:
    if not isinstance(value, str) or not value or len(value) > _LONGEST:
        return None
    return value.lower().removeprefix("service_tier_")
