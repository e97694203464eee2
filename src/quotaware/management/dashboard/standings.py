"""Nodes and their limits as pages show them: what is spent, held and left, what stands still and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ...core.alerts import Stop
from ...core.forecasts import Forecast
from ...core.rollups import DAY_MS
from ...tenancy.keys import Kind
from ...tenancy.nodes import Node
from ...tenancy.standing import Figures
from .pulse import MOST
from .spending import Paces
from .view import View

FAR_MS = 366 * DAY_MS
"""No budget that has no end is said to run out later than that."""
NEAR = 80.0
"""From so many hundredths on a limit is shown as nearly used."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A limit as a bar. Amounts as its metric counts them; `used` None: each end user has their own.

    used_share, held_share   hundredths of it, at most 100 together
    state     "ok", "near" or "full"
    """

    rule: str
    shape: str
    mode: str
    metric: str
    amount: int
    used: int | None
    held: int
    until: int | None
    used_share: float
    held_share: float
    state: str

    @property
    def full(self) -> bool:
        """Whether nothing fits any more."""
        return self.state == "full"

    @property
    def left(self) -> int:
        """What nobody used or holds."""
        return max(0, self.amount - (self.used or 0) - self.held)


class Out(NamedTuple):
    """A budget, and the moment (ms) at which it is used up at the pace of late; `over`: it is already."""

    bar: Bar
    at: int
    over: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A node in the table of the overview: how deep it stands, its chief budget, all its limits, and which of its
    budgets runs out first, if any does before it begins anew.
    """

    node: Node
    depth: int
    path: str
    bars: Sequence[Bar]
    budget: Bar | None
    stop: Stop | None
    forecast: Forecast | None = None
    out: Out | None = None

    @property
    def blocked(self) -> bool:
        """Whether nothing can go here right now."""
        return not self.node.enabled or self.stop is not None


def bar_of(figures: Figures) -> Bar:
    """A limit as a bar."""
    limit, held = figures.limit, figures.held or 0
    used = hundredths(figures.used or 0, figures.amount)
    both = hundredths((figures.used or 0) + held, figures.amount)
    full = figures.used is not None and figures.used >= figures.amount and limit.mode == "hard"
    state = "full" if full else "near" if used >= NEAR else "ok"
    return Bar(
        str(limit), limit.shape, limit.mode, limit.metric, figures.amount, figures.used, held, figures.until,
        used, round(both - used, 2), state,
    )  # fmt: skip


def hundredths(part: int, whole: int) -> float:
    """Of 100, from 0 to 100; of nothing everything is all."""
    if part <= 0 and whole > 0:
        return 0.0
    return min(100.0, round(100 * part / whole, 2)) if whole > 0 else 100.0


def rows(view: View, paces: Paces) -> list[Row]:
    """What the viewer may look at: the organization, teams and projects, each below what it stands in."""
    tenancy, org = view.ask.tenancy, view.org
    seen = {kind: tenancy.list(org, kind, limit=MOST) for kind in _KINDS}
    standing = view.pulse.of(org).nodes
    found = [_row(view, node, 0, standing, paces) for node in seen["organization"]]
    teams = {team.id for team in seen["team"]}
    for team in by_name(seen["team"]):
        found.append(_row(view, team, 1, standing, paces))
        below = [project for project in seen["project"] if project.parent == team.id]
        found += [_row(view, project, 2, standing, paces) for project in by_name(below)]
    others = [project for project in seen["project"] if project.parent not in teams]
    found += [_row(view, project, 1, standing, paces) for project in by_name(others)]
    return found


def row_of(view: View, node: Node, figures: Sequence[Figures], paces: Paces, depth: int = 0) -> Row:
    """One node with its limits."""
    bars = [bar_of(each) for each in figures]
    now = view.parts.engine.now()
    chief = next((each for each in figures if _is_budget(each)), None)
    path = f"/projects/{node.id}" if node.kind == "project" else ""
    budget = None if chief is None else bar_of(chief)
    stop, out = stop_of(node, now), first_out(node.id, figures, paces, now)
    if out is not None and not out.over and (stop is not None or not node.enabled):
        out = None  # nothing goes there at any pace
    return Row(node, depth, path, bars, budget, stop, paces.month(node.id), out)


def stop_of(node: Node, now: int) -> Stop | None:
    """The threshold that keeps a node from running, where one still does."""
    stop = Stop.read(node.stopped) if node.stopped is not None else None
    return None if stop is None or stop.over(now) else stop


def first_out(id: str, figures: Sequence[Figures], paces: Paces, now: int) -> Out | None:
    """Which budget of a node is used up first. Those for some models or each end user have no pace of their own, and
    what is left of a rolling window comes back of itself: they are not looked at.
    """
    found = []
    for each in filter(_is_budget, figures):
        window, left = each.limit.window, each.amount - (each.used or 0)
        if window is None or window.kind == "rolling":
            continue
        pace = paces.a_day(id, window) if left > 0 else None
        if left <= 0:
            found.append(Out(bar_of(each), now, over=True))
        elif pace and (at := now + left * DAY_MS // pace) < (each.until or now + FAR_MS):
            found.append(Out(bar_of(each), at, over=False))
    return min(found, key=lambda out: out.at, default=None)


_KINDS: tuple[Kind, ...] = ("organization", "team", "project")


def _row(
    view: View,
    node: Node,
    depth: int,
    standing: Mapping[str, tuple[Node, tuple[Figures, ...]]],
    paces: Paces,
) -> Row:
    _, figures = standing.get(node.id, (node, ()))
    return row_of(view, node, figures, paces, depth)


def _is_budget(figures: Figures) -> bool:
    limit = figures.limit
    return limit.metric == "cost" and limit.models is None and limit.per is None and limit.mode != "shadow"


def by_name(nodes: Sequence[Node]) -> list[Node]:
    """Nodes as people look for them."""
    return sorted(nodes, key=lambda node: (node.name or "").casefold())
