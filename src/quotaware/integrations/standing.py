"""How the stores of a process's Quotas are, and what went wrong with calls there, as figures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

Health = Callable[[], Mapping[str, object]]
Stats = Callable[[], Mapping[str, int]]


class Figures(NamedTuple):
    """up: whether every store answers (1 or 0), None where there is no Quota any more; the others are counts."""

    up: int | None
    dropped: int
    degraded: int
    faults: int


class Standing:
    """All Quotas that one observer serves, as they are when it is asked."""

    def __init__(self) -> None:
        self._quotas: list[tuple[Health, Stats]] = []

    def add(self, health: Health, stats: Stats) -> None:
        """One more; both tell nothing once it is gone."""
        self._quotas.append((health, stats))

    def figures(self) -> Figures:
        """All of them together."""
        seen = [(found, stats()) for health, stats in self._quotas if (found := health())]
        return Figures(
            int(all(health.get("store") == "ok" for health, _ in seen)) if seen else None,
            sum(int(str(health.get("dropped", 0))) for health, _ in seen),
            sum(stats.get("degraded", 0) for _, stats in seen),
            sum(stats.get("faults", 0) for _, stats in seen),
        )
