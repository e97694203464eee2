"""How fast limits of an organization are used: read once for all nodes of a kind, from the sums of what was used."""

from __future__ import annotations

from collections.abc import Mapping

from ..core.forecasts import Pace, looked_back, pace
from ..core.limits import Limit
from ..core.models import ANY, Model, concerns
from ..core.rollups import Value
from ..tenancy.nodes import Node
from ..usage import Late, UsageLog

_AMOUNTS = {"cost": "cost", "requests": "calls", "tokens": "tokens"}
"""What of late use counts for a metric."""


class Paces:
    """Those of one organization as of `now` ms. Blocking; raises StoreError."""

    def __init__(self, log: UsageLog, org: str, now: int) -> None:
        self._log = log
        self._org = org
        self._now = now
        self._known: dict[tuple[str, int], Mapping[Value, list[tuple[Value, Late]]]] = {}

    def of(self, node: Node, limit: Limit, period: tuple[int, int]) -> Pace:
        """The pace at which a limit of a node is used, in its metric; `period`: of its window that is now."""
        found = [
            late
            for model, late in self._of(node.kind, period).get(node.id, [])
            if limit.models is None or concerns(limit.models, Model(None, str(model or ANY)))
        ]
        used = sum(getattr(late, _AMOUNTS[limit.metric]) for late in found)
        return pace(used, min((late.since for late in found), default=self._now), self._now, period)

    def _of(self, kind: str, period: tuple[int, int]) -> Mapping[Value, list[tuple[Value, Late]]]:
        """By the id of each node of a kind, what its calls came to of late, model by model."""
        key = kind, looked_back(period)
        if key not in self._known:
            told: dict[Value, list[tuple[Value, Late]]] = {}
            by = ("model",) if kind == "organization" else (kind, "model")
            for group, late in self._log.of_late(self._org, period, by).items():
                told.setdefault(self._org if kind == "organization" else group[0], []).append(
                    (group[-1], late)
                )
            self._known[key] = told
        return self._known[key]
