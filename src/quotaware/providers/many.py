"""Many calls in one request, which are billed together: batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace

from ..core.bounds import MESSAGE_BATCHES, Call
from ..core.counting import kinds_of_all
from ..core.prices import BATCH
from ..core.usage import Usage
from .base import Unreadable


def together(calls: Sequence[Call]) -> Call:
    """All calls of a batch as one that is answered later, each bounded by itself.

    Raises `Unreadable` where there is none.
    """
    if not calls:
        raise Unreadable("requests: at least one is required")
    caps = [call.cap for call in calls]
    return Call(
        provider=calls[0].provider,
        operation=MESSAGE_BATCHES,
        model=calls[0].model,
        cap=max((cap for cap in caps if cap is not None), default=None) if None not in caps else None,
        least_cap=max(call.least_cap for call in calls),
        choices=sum(call.choices for call in calls),
        text=sum(call.text for call in calls),
        kinds=kinds_of_all(*(call.kinds for call in calls)),
        parts=sum(call.parts for call in calls),
        media=sum(call.media for call in calls),
        doubt=sum(call.doubt for call in calls),
        tools=sum(call.tools for call in calls),
        opaque=any(call.opaque for call in calls),
        cache_write=any(call.cache_write for call in calls),
        audio=any(call.audio for call in calls),
        generates=any(call.generates for call in calls),
        background=True,
        lines=tuple(calls),
        web_searches=sum(call.web_searches for call in calls),
        service=BATCH,
        besides=_besides(calls),
    )


def _besides(calls: Sequence[Call]) -> tuple[Call, ...]:
    """What all of them ask for beside their answers, one of each model: it reads what they read together."""
    found: dict[str | None, Call] = {}
    for other in (other for call in calls for other in call.besides):
        one = found.get(other.model)
        found[other.model] = other if one is None else _either(one, other)
    return tuple(found.values())


def _either(one: Call, other: Call) -> Call:
    return replace(
        one,
        choices=max(one.choices, other.choices),
        cap=(one.cap or 0) + (other.cap or 0),
        media=one.media + other.media,
    )


def added(one: Usage | None, other: Usage | None) -> Usage | None:
    """Two usages as one; None is none."""
    if one is None or other is None:
        return one or other
    return replace(one, **{f.name: getattr(one, f.name) + getattr(other, f.name) for f in fields(Usage)})
