"""Keys that no call goes with right now, and why; those that were revoked are meant to be so, and are left out.

Looked at are the first keys of the organization (`pulse.MOST_KEYS`) and those of whose calls the most were denied of
late.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from ...core.alerts import Stop
from ...core.rollups import DAY_MS
from ...tenancy.nodes import Node
from . import spending
from .pulse import Looked
from .standings import Bar, bar_of, stop_of
from .view import View

SHOWN = 20
"""Keys that are listed."""
JUDGED = 200
"""Blocked keys of which is found out whether the viewer may see them."""
EXPIRED_MS = 7 * DAY_MS
"""For so long a key that has expired is told of."""


@dataclass(frozen=True, slots=True)
class BlockedKey:
    """A key, where it hangs, its own limits, and what is in the way beside those of them that are used up: a threshold
    that stopped it, when it expired, or that it was disabled.
    """

    node: Node
    place: str
    bars: Sequence[Bar]
    stop: Stop | None
    expired: int | None


@dataclass(frozen=True, slots=True)
class BlockedKeys:
    """Those that are listed, and whether there are more."""

    shown: Sequence[BlockedKey]
    more: bool


def blocked_keys(view: View, home: Node | None) -> BlockedKeys:
    """Those that the viewer may look at."""
    if not view.may("api_key:read"):
        return BlockedKeys((), more=False)
    known = dict(view.pulse.of(view.org).keys)
    if home is not None:
        denied = [id for id in spending.keys_denied_of_late(view, home) if id not in known]
        known |= _looked(view, denied)
    found = (key for key in islice(_blocked(view, known), JUDGED) if view.may("api_key:read", key.node.id))
    shown = list(islice(found, SHOWN + 1))
    places = view.ask.tenancy.those(view.org, {key.node.parent for key in shown})
    named = [
        BlockedKey(key.node, place.name or place.id, key.bars, key.stop, key.expired)
        for key in shown[:SHOWN]
        if (place := places.get(key.node.parent)) is not None
    ]
    return BlockedKeys(named, more=len(shown) > SHOWN)


def _looked(view: View, ids: Iterable[str]) -> Mapping[str, Looked]:
    """Keys that the pulse does not look at. For the host: who may see them is found out afterwards."""
    tenancy = view.parts.tenancy
    nodes = tenancy.those(view.org, ids)
    figures = tenancy.figures_of(view.org, [node.id for node in nodes.values() if node.limits])
    return {id: (node, figures.get(id, ())) for id, node in nodes.items() if node.kind == "key"}


def _blocked(view: View, known: Mapping[str, Looked]) -> Iterator[BlockedKey]:
    now = view.parts.engine.now()
    replaced = {node.origin for node, _ in known.values() if node.origin and _goes(node, now)}
    for node, figures in known.values():
        bars = [bar_of(each) for each in figures]
        stop, expired = stop_of(node, now), None
        if not _goes(node, now) and node.expires_at is not None:
            expired = node.expires_at
            if now - expired > EXPIRED_MS or (node.origin or node.id) in replaced:
                continue  # that is long ago, or another has taken its place
        if not node.revoked and (
            stop or expired is not None or not node.enabled or any(bar.full for bar in bars)
        ):
            yield BlockedKey(node, "", bars, stop, expired)


def _goes(node: Node, now: int) -> bool:
    return not node.revoked and (node.expires_at is None or node.expires_at > now)
