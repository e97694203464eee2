"""What is asked: other limits for some nodes, and a period. The calls of it are read, sorted and decided anew."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from ..core.alerts import Alert
from ..core.denied import is_of_denied
from ..core.limits import Limit
from ..core.simulation import Simulation
from ..core.steps import REMEMBER_MS
from ..errors import ConfigurationError, NotFound
from ..rollups import HasRecords, pages
from ..tenancy.directory import Directory, missing
from ..tenancy.keys import Kind
from ..tenancy.nodes import fields_of
from ..tenancy.service import Tenancy
from .recorded import Calls, Tree, changed
from .replay import EPOCH, MS, Replay, Terms

Given = Iterable[str | Limit] | Mapping[str, Iterable[str | Limit | Alert]]
"""What a node has instead: its limits; or its `limits` and `alerts` by these names."""
Plan = Mapping[str, Given]
"""By the name or id of a node; what is not named stays as it is."""
Period = str | tuple[datetime, datetime]
"""The last days or hours (`"30d"`, `"24h"`), or [since, until)."""
Progress = Callable[[int, int], None]
"""Hears how many records were read, and how many calls were decided, after every thousand of each."""

PAGE = 1000
_KINDS: tuple[Kind, ...] = ("project", "team", "organization", "key")
"""Where a name is looked for, in this order."""
_UNITS = {"d": timedelta(days=1), "h": timedelta(hours=1)}


def read_period(period: Period, now: int) -> tuple[int, int]:
    """[since, until) in ms. Raises ConfigurationError."""
    if isinstance(period, str):
        if not re.fullmatch(r"[1-9][0-9]{0,3}[dh]", period):
            raise ConfigurationError(
                "period", "is a number of days or hours, such as 30d or 24h, or two times"
            )
        length = int(period[:-1]) * _UNITS[period[-1]] // MS
        return max(0, now + 1 - length), now + 1
    if not (
        isinstance(period, tuple) and len(period) == 2 and all(isinstance(at, datetime) for at in period)
    ):
        raise ConfigurationError("period", "is text such as 30d, or (since, until)")
    since, until = ((at.astimezone(UTC) - EPOCH) // MS for at in period)
    if since > until:
        raise ConfigurationError("period", "ends before it begins")
    return since, until


def read_plan(tenancy: Tenancy, org: str, plan: Plan) -> dict[str, dict[str, Any]]:
    """What each node (by its id) has instead. Raises ConfigurationError naming what is wrong, NotFound, AlreadyExists
    (several have the name).
    """
    if not isinstance(plan, Mapping):
        raise ConfigurationError("plan", "names nodes and what each has: {'app': ['$50/month']}")
    read: dict[str, dict[str, Any]] = {}
    for name, given in plan.items():
        said = given if isinstance(given, Mapping) else {"limits": given}
        if unknown := said.keys() - {"limits", "alerts"}:
            raise ConfigurationError("plan", f"{min(map(str, unknown))!r} is neither limits nor alerts")
        fields = fields_of(dict(said))
        id = _named(tenancy, org, name)
        if id in read:
            raise ConfigurationError("plan", f"names {name!r} twice")
        changed(tenancy.those(org, [id])[id], fields)  # so that what is wrong is said before anything is read
        read[id] = fields
    return read


def _named(tenancy: Tenancy, org: str, name: str) -> str:
    """The node of an id or name; of several kinds that have the name the first of `_KINDS`."""
    for kind in _KINDS:
        with suppress(NotFound):
            return tenancy.place(org, name, kind)
    raise missing("node", name)


def simulate(
    source: HasRecords,
    directory: Directory,
    org: str,
    plan: Mapping[str, Mapping[str, Any]],
    since: int,
    until: int,
    terms: Terms,
    *,
    below: str = "",
    most: int | None = None,
    progress: Progress | None = None,
) -> Simulation:
    """Decides recorded calls of [since, until) ms under a plan (`read_plan`).

    below  id of a node: only calls below it are told of, all of them are decided
    most   so many records are read; ConfigurationError on `period` where there are more

    Blocks; raises StoreError.
    """
    tell = progress or (lambda read, decided: None)
    tree = Tree(directory, org, plan)
    with closing(Calls()) as calls:

        def take(begin: int, end: int) -> None:
            for page in pages(source, org, begin, end, "", PAGE):
                calls.add(row for _, row in page if row.at < until and not is_of_denied(row))
                tell(calls.count, 0)
                if most is not None and calls.count > most:
                    raise ConfigurationError("period", f"has more than {most} calls; take a shorter one")

        take(since, until + REMEMBER_MS)
        take(tree.begin(since, calls.places), since)
        replay = Replay(tree, since, until, terms, below)
        for decided, call in enumerate(calls, 1):
            replay.begin(call)
            if decided % PAGE == 0:
                tell(calls.count, decided)
        replay.end()
    return replay.found
