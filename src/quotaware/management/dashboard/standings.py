"""Nodes and their limits as pages show them: what is spent, held and left, what stands still and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ...core.alerts import Stop
from ...core.forecasts import Forecast
from ...core.windows import Window
from ...tenancy.keys import Kind
from ...tenancy.nodes import Node
from ...tenancy.standing import Figures
from .pulse import MOST
from .view import View

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
    def left(self) -> int:
        """What nobody used or holds."""
        return max(0, self.amount - (self.used or 0) - self.held)


@dataclass(frozen=True, slots=True)
class Row:
    """A node in the table of the overview: how deep it stands, its chief budget and all its limits."""

    node: Node
    depth: int
    path: str
    bars: Sequence[Bar]
    budget: Bar | None
    stop: Stop | None
    forecast: Forecast | None = None
    runs_out: int | None = None

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


def rows(view: View, forecasts: Mapping[str, Forecast]) -> list[Row]:
    """What the viewer may look at: the organization, teams and projects, each below what it stands in."""
    tenancy, org = view.ask.tenancy, view.org
    seen = {kind: tenancy.list(org, kind, limit=MOST) for kind in _KINDS}
    standing = view.pulse.of(org).nodes
    found = [_row(view, node, 0, standing, forecasts) for node in seen["organization"]]
    teams = {team.id for team in seen["team"]}
    for team in by_name(seen["team"]):
        found.append(_row(view, team, 1, standing, forecasts))
        below = [project for project in seen["project"] if project.parent == team.id]
        found += [_row(view, project, 2, standing, forecasts) for project in by_name(below)]
    others = [project for project in seen["project"] if project.parent not in teams]
    found += [_row(view, project, 1, standing, forecasts) for project in by_name(others)]
    return found


def row_of(
    view: View, node: Node, figures: Sequence[Figures], forecast: Forecast | None = None, depth: int = 0
) -> Row:
    """One node with its limits."""
    bars = [bar_of(each) for each in figures]
    stop = Stop.read(node.stopped) if node.stopped is not None else None
    if stop is not None and stop.over(view.parts.engine.now()):
        stop = None
    chief = next((each for each in figures if _is_budget(each)), None)
    runs_out = None
    if chief is not None and forecast is not None and chief.limit.window == MONTH:
        moment = forecast.runs_out(chief.amount)
        runs_out = None if moment is None else round(moment.timestamp() * 1000)
    path = f"/projects/{node.id}" if node.kind == "project" else ""
    budget = None if chief is None else bar_of(chief)
    return Row(node, depth, path, bars, budget, stop, forecast, runs_out)


MONTH = Window.parse("month")
_KINDS: tuple[Kind, ...] = ("organization", "team", "project")


def _row(
    view: View,
    node: Node,
    depth: int,
    standing: Mapping[str, tuple[Node, tuple[Figures, ...]]],
    forecasts: Mapping[str, Forecast],
) -> Row:
    _, figures = standing.get(node.id, (node, ()))
    return row_of(view, node, figures, forecasts.get(node.id), depth)


def _is_budget(figures: Figures) -> bool:
    limit = figures.limit
    return limit.metric == "cost" and limit.models is None and limit.per is None and limit.mode != "shadow"


def by_name(nodes: Sequence[Node]) -> list[Node]:
    """Nodes as people look for them."""
    return sorted(nodes, key=lambda node: (node.name or "").casefold())
