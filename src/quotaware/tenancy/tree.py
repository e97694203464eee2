"""Making and changing organizations, teams and projects; and what is done to a node of any kind.

Methods block: whoever is on an event loop runs them in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from ..core.limits import Limit, Mode
from ..errors import ApiError, ConfigurationError
from .access import beyond, is_restricted
from .budgets import overdrawn, set_anew, too_small
from .directory import missing
from .keys import Kind, id_of, is_id, new_id
from .narrowing import narrower
from .nodes import PARENTS, Node, Path, fields_of
from .removing import Removing
from .stops import runs_again
from .writes import Edit, taken

Revise = Callable[[Node], dict[str, Any]]
"""Changes that follow from what a node is at the moment of the write."""

_CHANGEABLE = {
    "name": (),
    "limits": (),
    "alerts": (),
    "models": (),
    "enabled": (),
    "zone": ("organization",),
    "prices": ("organization",),
    "alert_threshold": ("organization",),
    "auto_upgrade": ("organization",),
    "carryover_allowed": ("organization",),
    "environment": ("project",),
    "permissions": ("key",),
    "expires_at": ("key",),
    "addresses": ("key",),
}
"""What `update` takes, and of which kinds it is said (none: of all)."""
_MANAGED = frozenset(
    {"name", "enabled", "zone", "prices", "alert_threshold", "auto_upgrade", "carryover_allowed"}
)
"""What of an organization takes org:manage; in one that is disabled nobody manages anything any more."""


class Tree(Removing):
    """Nodes: made, changed, moved."""

    # making

    def create_organization(
        self,
        name: str,
        *,
        id: str | None = None,
        zone: str = "UTC",
        limits: Iterable[Limit | str] = (),
        models: Iterable[str] = (),
        **more: Any,
    ) -> Node:
        """Without an id, it follows from the name, so that no two are made with one name. For the host only."""
        if self._actor.kind != "host":
            raise self._actor.lacks("org:create")
        chosen = organization_id(name) if id is None else id
        node = self._node("organization", chosen, "", name, zone=zone, limits=limits, models=models, **more)

        def draft() -> Edit:
            rev, (doc,) = self._store.read(node.id, (node.id,))
            if doc is not None:
                raise taken("name" if id is None else "id", f"There is an organization {node.id!r} already")
            return Edit("organization.create", rev, after=(node,))

        return self._made(self._commit(node.id, "organization.create", node.id, draft))

    def create_team(
        self,
        org: str,
        name: str,
        *,
        id: str | None = None,
        limits: Iterable[Limit | str] = (),
        models: Iterable[str] = (),
        **more: Any,
    ) -> Node:
        """Takes team:create."""
        node = self._node("team", id, org, name, limits=limits, models=models, **more)
        return self._create(org, node, "team:create")

    def create_project(
        self,
        parent_id: str,
        name: str,
        *,
        org: str | None = None,
        id: str | None = None,
        limits: Iterable[Limit | str] = (),
        models: Iterable[str] = (),
        environment: str = "live",
        **more: Any,
    ) -> Node:
        """Below a team, or an organization itself. Without `org`, the parent is looked for in every one. Takes
        quota:manage.
        """
        node = self._node(
            "project", id, parent_id, name, limits=limits, models=models, environment=environment, **more
        )
        return self._create(self._home(org, parent_id), node, "quota:manage")

    # changing

    def update(
        self,
        org: str,
        id: str,
        *,
        expect: int | None = None,
        revise: Revise | None = None,
        **changes: Any,
    ) -> Node:
        """Replaces what is given: name, limits, alerts, models, enabled; zone, prices, alert_threshold, auto_upgrade,
        carryover_allowed (organization), environment (project); of a key as `update_key` does. Enabling lets a node run
        again that a threshold stopped, and so does raising the budget above it. A limit that is set has no overrides.

        expect   the revision (`Node.rev`) that the change was made from; Conflict where it moved since
        revise   answers further changes, from the node as it is when they are made

        Takes quota:manage above the node, since what it has is given from there: on the node itself it is enough for
        what makes it narrower (`narrower`), and for its name and environment. What makes an organization what it is
        takes org:manage. The revision moves only where something changed.
        """
        if unknown := sorted(changes.keys() - _CHANGEABLE.keys()):
            raise ConfigurationError(unknown[0], f"cannot be changed; give some of {', '.join(_CHANGEABLE)}")
        given = fields_of(changes)

        def changed(node: Node) -> dict[str, Any]:
            return {**given, **(fields_of(revise(node)) if revise is not None else {})}

        return self._change(org, id, expect, changed)

    def set_limit(self, org: str, id: str, limit: Limit | str, *, expect: int | None = None) -> Node:
        """Adds a limit, or replaces the one of its shape and mode. Takes what `update` does."""
        (given,) = fields_of({"limits": [limit]})["limits"]

        def changed(node: Node) -> dict[str, Any]:
            same = [each for each in node.limits if (each.shape, each.mode) == (given.shape, given.mode)]
            if same:
                return {"limits": tuple(given if each is same[0] else each for each in node.limits)}
            return {"limits": (*node.limits, given)}

        return self._change(org, id, expect, changed)

    def drop_limit(
        self, org: str, id: str, shape: str, mode: Mode | None = None, *, expect: int | None = None
    ) -> Node:
        """Takes away the limits of this shape (`Limit.shape`), or the one of that mode. Raises NotFound for none."""

        def changed(node: Node) -> dict[str, Any]:
            left = tuple(each for each in node.limits if each.shape != shape or mode not in (None, each.mode))
            if left == node.limits:
                raise missing("limit", shape)
            return {"limits": left}

        return self._change(org, id, expect, changed)

    def enable(self, org: str, id: str, *, expect: int | None = None) -> Node:
        """Calls here and below may go again, also where a threshold had stopped it."""
        return self.update(org, id, expect=expect, enabled=True)

    def disable(self, org: str, id: str, *, expect: int | None = None) -> Node:
        """No calls here and below, until it is enabled."""
        return self.update(org, id, expect=expect, enabled=False)

    def close_used_up(self, org: str, node: Node) -> None:
        """Disables a node as it was seen, since its budget is used up; one that was changed meanwhile is left alone."""

        def draft() -> Edit:
            path = self._path(org, node.id)
            old = path.nodes[0]
            if old.rev != node.rev or not old.enabled:
                return Edit("", path.rev)
            return Edit(f"{old.kind}.close", path.rev, (old,), (replace(old, enabled=False),))

        self._commit(org, "node.close", node.id, draft)

    def move_project(self, org: str, id: str, parent: str, *, expect: int | None = None) -> Node:
        """Puts a project below another team, or the organization; its keys, limits and counters go along. Takes
        quota:manage at the new place and org:manage at the old one, since everybody of the new place comes to have
        there what he has here.
        """

        def draft() -> Edit:
            path, above = self._path(org, id), self._parent(org, parent)
            old, new_parent = path.nodes[0], above.nodes[0]
            self._require("quota:manage", above)
            self._actor.require("org:manage", path.ids[1:])
            self._may_hand_on()
            if old.kind != "project" or new_parent.kind not in PARENTS["project"]:
                raise ConfigurationError("parent", f"a {old.kind} cannot stand below a {new_parent.kind}")
            new = replace(old, parent=parent)
            self._check_name(org, new)
            if old.parent != parent:
                self._within_budget(above, (), (new,))
            return Edit("project.move", min(path.rev, above.rev), (old,), (new,))

        return self._made(self._commit(org, "project.move", id, draft, expect))

    # how

    def _may_hand_on(self) -> None:
        """Raises PermissionDenied where the actor is restricted by more than permissions: whoever comes to have these
        by a role or a place would not be.
        """
        if is_restricted(self._actor):
            raise beyond("roles")

    def _made(self, edit: Edit) -> Node:
        return next(thing for thing in edit.after if isinstance(thing, Node))

    def _node(self, kind: Kind, id: str | None, parent: str, name: str | None, **given: Any) -> Node:
        id = new_id(kind) if id is None else id
        return Node(id, kind, parent, name, created_at=self._clock(), **fields_of(given))

    def _create(self, org: str, node: Node, permission: str) -> Node:
        self._inside(org)

        def draft() -> Edit:
            if not is_id(node.parent):
                raise missing("parent", node.parent)
            path = self._parent(org, node.parent)
            parent = path.nodes[0]
            self._require(permission, path)
            self._check_new(path, node)
            if parent.kind not in PARENTS[node.kind]:
                raise ConfigurationError("parent", f"a {node.kind} cannot stand below a {parent.kind}")
            self._check_id(org, node)
            self._check_name(org, node)
            if node.kind != "key":
                self._within_budget(path, (), (node,))
            return Edit(f"{node.kind}.create", path.rev, after=(node,))

        return self._made(self._commit(org, f"{node.kind}.create", node.parent, draft))

    def _parent(self, org: str, id: str) -> Path:
        try:
            return self._path(org, id)
        except ApiError:
            raise missing("parent", id) from None

    def _check_new(self, above: Path, node: Node) -> None:
        """What a kind of node has to say of a new one, or of a changed one; `above`: the path of its parent."""
        if not above.organization.carryover_allowed and any(limit.carryover for limit in node.limits):
            raise ConfigurationError("limits", "carry nothing over in this organization")
        if node.kind == "organization" and any(alert.action == "close" for alert in node.alerts):
            raise ConfigurationError(
                "alerts", "close no organization, since nobody in it could enable it again; take disable"
            )

    def _change(self, org: str, id: str, expect: int | None, changed: Revise) -> Node:
        """Changes of a node as it is now; `changed` answers the fields that become others."""

        def draft() -> Edit:
            path = self._path(org, id)
            old = path.nodes[0]
            changes = changed(old)
            _check_kind(old, changes)
            new = self._changed(path, changes)
            self._check_new(Path(org, path.rev, path.nodes[1:] or (new,)), new)
            if new.name != old.name:
                self._check_name(org, new)
            if new.limits != old.limits and new.kind != "key":
                self._within_budget(Path(org, path.rev, path.nodes[1:]), (old,), (new,))
                self._above_children(path, old, new)
            return self._edit(f"{old.kind}.update", path, new, changes)

        return self._made(self._commit(org, "node.update", id, draft, expect))

    def _changed(self, path: Path, changes: Mapping[str, Any]) -> Node:
        """The node with the changes, if the actor may make them."""
        old = path.nodes[0]
        new = set_anew(old, replace(old, **changes))
        if old.kind == "organization" and _MANAGED & changes.keys():
            self._require("org:manage", path)
        if (
            old.kind != "organization" or not changes or changes.keys() - _MANAGED
        ):  # its answer shows the node
            if self._actor.may("quota:manage", given_from(path)):
                return new
            self._require("quota:manage", path)
            new = replace(old, **changes)
            if not narrower(old, new) or (changes.get("enabled") and old.stopped is not None):
                raise self._actor.lacks("quota:manage", at=path.ids[1])
        return new

    def _edit(self, what: str, path: Path, new: Node, changes: Mapping[str, object]) -> Edit:
        """The change of a node, which may let it run again."""
        again = runs_again(self._store, path, new, changes, self._clock())
        resume = (new.id,) if again else ()
        return Edit(
            what, path.rev, (path.nodes[0],), (replace(new, stopped=None) if resume else new,), resume
        )

    def _within_budget(self, above: Path, before: Iterable[Node], after: Iterable[Node]) -> None:
        """Raises InvalidRequest where children would have more than their parent, unless the actor may go over it."""
        if not above.nodes or self._actor.may("quota:override", above.ids):
            return
        refusal = overdrawn(self._store, above.org, above.nodes[0], [*before], [*after], self._clock())
        if refusal is not None:
            raise refusal

    def _above_children(self, path: Path, old: Node, new: Node) -> None:
        if new.kind in ("organization", "team") and not self._actor.may("quota:override", path.ids):
            refusal = too_small(self._store, path.org, old, new, self._clock())
            if refusal is not None:
                raise refusal


def organization_id(name: str) -> str:
    """The same for everyone who starts with this name, so that workers starting at once meet."""
    if not isinstance(name, str):
        raise ConfigurationError("name", "is text")
    return id_of("organization", name)


def given_from(path: Path) -> tuple[str, ...]:
    """Ids of the nodes from which a node is given what it has: those above it, of an organization itself."""
    return path.ids[1:] or path.ids


def _check_kind(node: Node, changes: Iterable[str]) -> None:
    for name in changes:
        kinds = _CHANGEABLE.get(name, ())
        if kinds and node.kind not in kinds:
            raise ConfigurationError(name, f"is said of a {kinds[0]} only, not of a {node.kind}")
