"""Recorded calls in the order in which they were admitted, and the tree that they are decided in."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from cachetools import LRUCache

from ..core.models import ANY, Model
from ..core.simulation import Reason
from ..core.steps import COST, Amounts, Over, Row
from ..errors import NotFound
from ..tenancy.directory import Directory
from ..tenancy.nodes import Node, Path
from ..tenancy.plans import Policy, compile_policy

PATHS = 2000
"""Paths and policies that are kept, those used last."""


def changed(node: Node, fields: Mapping[str, Any]) -> Node:
    """The node with what a plan says of it, from the beginning on: nothing overrides limits that are named."""
    if "limits" not in fields:
        return replace(node, **fields)
    carry = tuple((shape, 0) for shape in dict.fromkeys(x.shape for x in fields["limits"] if x.carryover))
    return replace(node, **fields, overrides=(), carry_since=carry)


class Calls:
    """Records in the order of admission, a correction right behind its call. SQLite keeps them in a file of its own
    that is gone with it, so that sorting takes no memory.

    count   of all records; places: where the calls were made
    """

    def __init__(self) -> None:
        import sqlite3  # noqa: PLC0415  # only who simulates needs it

        self._db = sqlite3.connect("")
        columns = "id, part, at, settled_at, about, outcome, how, h0, h1, h2, r0, r1, r2, overrun"
        self._db.execute(f"create table calls ({columns})")
        self.count = 0
        self.places: set[tuple[str, ...]] = set()

    def add(self, rows: Iterable[Row]) -> None:
        for row in rows:
            flat = (*row[:7], *row.hold, *row.real, row.overrun)
            self._db.execute("insert into calls values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", flat)
            self.places.add(_place(json.loads(row.about or "{}")))
            self.count += 1

    def __iter__(self) -> Iterator[Call]:
        call: Call | None = None
        for flat in self._db.execute("select * from calls order by at, id, part"):
            row = Row._make((*flat[:7], flat[7:10], flat[10:13], bool(flat[13])))
            if row.part and call is not None and call.row.id == row.id:
                call.correction = row
                continue
            if call is not None:
                yield call
            call = None if row.part else Call(row, json.loads(row.about or "{}"), row.hold)
        if call is not None:
            yield call

    def close(self) -> None:
        self._db.close()


State = Literal["new", "waiting", "open", "denied"]


@dataclass(slots=True)
class Call:
    """A recorded call on its way: whose it was (`said`), what it holds, how much later than then it began (`late`)."""

    row: Row
    said: dict[str, Any]
    hold: Amounts
    correction: Row | None = None
    path: Path = field(default_factory=lambda: Path("", 0, ()))
    policy: Policy | None = None
    state: State = "new"
    late: int = 0
    why: Over | Reason | None = None

    @property
    def cost(self) -> int:
        """What it came to in the end, nano-dollars."""
        return self.row.real[COST - 1] + (self.correction.real[COST - 1] if self.correction else 0)

    @property
    def answered(self) -> bool:
        """Whether it made tokens that a lower cap would have made fewer of."""
        usage = json.loads(self.row.outcome or "{}").get("usage")
        return isinstance(usage, dict) and bool(usage.get("output"))


class Tree:
    """The tree as it stands, with what a plan says, and the policies made of it."""

    def __init__(self, directory: Directory, org: str, plan: Mapping[str, Mapping[str, Any]]) -> None:
        self._directory = directory
        self.org = org
        self._plan = plan
        self._paths: LRUCache[tuple[str, ...], Path] = LRUCache(PATHS)
        self._policies: LRUCache[tuple[Any, ...], Policy] = LRUCache(PATHS)
        top = self._load(org)
        self.zone = top.zone if top is not None else "UTC"

    def place(self, said: Mapping[str, Any]) -> Path:
        """Where a call stands: its key, or what is still there above it."""
        return self.path(_place(said))

    def path(self, ids: tuple[str, ...]) -> Path:
        """From the first of the nodes up that is there."""
        path = self._paths.get(ids)
        if path is None:
            found = (self._load(id) for id in (*ids, self.org))
            path = next((each for each in found if each is not None), Path(self.org, 0, ()))
            self._paths[ids] = path
        return path

    def _load(self, id: str) -> Path | None:
        try:
            path = self._directory.load(self.org, id)
        except NotFound:
            return None
        nodes, makers = (
            tuple(changed(node, self._plan[node.id]) if node.id in self._plan else node for node in some)
            for some in (path.nodes, path.makers)
        )
        return replace(path, nodes=nodes, makers=makers)

    def policy(self, path: Path, said: Mapping[str, Any], now: int) -> Policy:
        """What bears on a call at a time; a later one is newer to the counters."""
        model, end_user = Model(said.get("provider"), said.get("model") or ANY), said.get("end_user")
        key = (path.ids, model, end_user)
        policy = self._policies.get(key)
        if policy is None or (policy.until and now >= policy.until):
            policy = compile_policy(replace(path, rev=now + 1), (model,), end_user, now)
            self._policies[key] = policy
        return policy

    def begin(self, since: int, places: Iterable[tuple[str, ...]]) -> int:
        """The ms at which the earliest window begins that reaches into what is admitted at `since` in these places."""
        paths = map(self.path, places)
        limits = {limit for path in paths for node in (*path.nodes, *path.makers) for limit in node.limits}
        begins = [since]
        for limit in limits:
            window = limit.window
            if window is None:
                continue
            if window.kind == "life":
                return 0
            begin = since - window.length_ms if window.length_ms else window.bounds(since, self.zone)[0]
            begins.append(window.bounds(begin - 1, self.zone)[0] if limit.carryover else begin)
        return max(0, min(begins))


def _place(said: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(id for kind in ("key", "project", "team") if (id := said.get(kind)))
