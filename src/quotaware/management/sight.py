"""What of the calls somebody may see, and under which names.

Who holds `analytics:full` at a node sees everything there; with `analytics:own` only the caller's own keys and
projects; with `analytics:read:aggregate` totals, and no key or person. A key that was rotated and those in its place
are one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

from ..core.permissions import allows
from ..core.rollups import Value, Values
from ..core.totals import Only
from ..tenancy.keys import Kind
from ..tenancy.nodes import Node
from .routes import Ask

FULL, OWN, AGGREGATE = "analytics:full", "analytics:own", "analytics:read:aggregate"
PERSONAL = frozenset({"key", "member", "end_user", "tag"})
"""Dimensions that show a key or a person; tags are the host's own words, and may name anybody."""
View = Literal["full", "own", "aggregate"]


class Sight:
    """What the caller of a request sees below a node. Raises `PermissionDenied` where that is nothing, or (`single`) no
    single calls.
    """

    def __init__(self, ask: Ask, kind: Kind, *, single: bool = False) -> None:
        self._ask = ask
        self.org = ask.org
        self.node = ask.tenancy.place(ask.org, ask.params["id"], kind)
        self.held = ask.tenancy.held_at(ask.org, self.node)
        self.view = self._view(single)
        self._known: dict[str, Node | None] = {}

    def _view(self, single: bool) -> View:
        if allows(self.held, FULL):
            return "full"
        if allows(self.held, OWN):
            return "own"
        if allows(self.held, AGGREGATE) and not single:
            return "aggregate"
        raise self._ask.actor.lacks(OWN if single else AGGREGATE)

    def require(self, dims: Iterable[str]) -> None:
        """Raises `PermissionDenied` where one of the dimensions is not for the caller's eyes."""
        if self.view == "aggregate" and PERSONAL & {*dims}:
            raise self._ask.actor.lacks(OWN)

    def only(self, environment: str | None = None) -> Only | None:
        """Which calls are seen, of projects of one environment; None: all of them."""
        if self.view != "own":
            return (
                None
                if environment is None
                else Only(("project",), lambda of: self._is_in(of[0], environment))
            )
        mine = own_ids(self._ask)
        actor = self._ask.actor
        projects = {grant.node for grant in actor.grants if allows(grant.permissions, OWN)}

        def own(of: Values) -> bool:
            project, id = of
            if environment is not None and not self._is_in(project, environment):
                return False
            key = self._at(id)
            return project in projects or (key is not None and bool({key.id, key.creator} & mine))

        return Only(("project", "key"), own)

    def _is_in(self, project: Value, environment: str) -> bool:
        node = self._at(project)
        return node is not None and node.environment == environment

    def _at(self, id: Value) -> Node | None:
        if not isinstance(id, str):
            return None
        if id not in self._known:
            self._known[id] = self.nodes([id]).get(id)
        return self._known[id]

    def nodes(self, ids: Iterable[Value]) -> Mapping[str, Node]:
        """Those of the nodes that are still there."""
        return self._ask.tenancy.those(self.org, [id for id in dict.fromkeys(ids) if isinstance(id, str)])


def own_ids(ask: Ask) -> set[str]:
    """Ids of the caller: a key is also those that it took the place of, and that took its."""
    actor = ask.actor
    return {each.id for each in ask.tenancy.lineage(ask.org, actor.id)} if actor.kind == "key" else {actor.id}
