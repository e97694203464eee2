"""Making and changing organizations, teams and projects; and what is done to a node of any kind.

Methods block: whoever is on an event loop runs them in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from ..core.alerts import Stop
from ..core.limits import Limit
from ..core.permissions import allows
from ..core.steps import COST, Peek, Plan
from ..errors import AlreadyExists, ApiError, ConfigurationError, StoreError
from ..stores.protocol import Doc
from .budgets import overdrawn, too_small
from .directory import missing
from .documents import Thing, as_a, from_doc
from .keys import Kind, id_of, is_id, new_id
from .nodes import KINDS, PARENTS, Node, Path, fields_of
from .people import Group, Holding, Member, Request
from .plans import alerts_on, counter_of, in_force
from .writes import MAX_PAGE, Edit, Writes, taken

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
_MANAGED = frozenset({"name", "zone", "prices", "alert_threshold", "auto_upgrade", "carryover_allowed"})
"""What of an organization takes org:manage."""


class Tree(Writes):
    """Nodes: made, looked at, changed, moved, taken away."""

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

        return self._made(self._commit(node.id, draft))

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

    # looking

    def get(self, org: str | None, id: str) -> Node:
        """The node with this id; without an organization, looked for in every one."""
        return self._seen(self._path(self._home(org, id), id))

    def find(self, org: str, kind: Kind, name_or_id: str) -> Node:
        """The node of this kind with this id, or else the only one with this name in the organization.

        Raises AlreadyExists with code `ambiguous_name` where several have the name.
        """
        return self._seen(self._found(org, (kind,), name_or_id))

    def place(self, org: str, name_or_id: str, *kinds: Kind) -> str:
        """The id of the only node of these kinds that goes by this id or name. Takes nothing: what may be done there is
        looked at by whatever is done. Raises as `find` does.
        """
        return self._found(org, kinds, name_or_id).nodes[0].id

    def path(self, org: str, kind: Kind, name_or_id: str) -> Path:
        """The same with all above it."""
        path = self._found(org, (kind,), name_or_id)
        self._seen(path)
        return path

    def held_at(self, org: str, id: str) -> tuple[str, ...]:
        """What the actor may do at a node."""
        return self._actor.at(self._path(org, id).ids)

    def those(self, org: str, ids: Iterable[str]) -> Mapping[str, Node]:
        """The nodes of these ids that are there. Takes nothing: it is for who may know the ids already."""
        _, docs = self._store.read(self._inside(org), tuple(ids))
        return {doc.id: from_doc(doc) for doc in docs if doc is not None and doc.kind in KINDS}

    def whereabouts(self) -> tuple[Node, ...]:
        """Where the actor stands, narrowest first: the node of its key, or a member's organization, and all above."""
        actor = self._actor
        return self._path(actor.org, actor.key.parent if actor.key is not None else actor.org).nodes

    def list(
        self,
        org: str,
        kind: Kind,
        parent: str | None = None,
        after: str = "",
        limit: int = 100,
        *,
        name: str | None = None,
        **filters: Any,
    ) -> tuple[Node, ...]:
        """Up to `limit` nodes of a kind, everywhere or right below one parent, by id after the given one: those that
        the actor may see.

        name, enabled, environment, revoked    only those of which this is true; None: of all
        """
        self._inside(org)
        if kind not in KINDS:
            raise ConfigurationError("kind", f"is one of {', '.join(KINDS)}")
        if not 1 <= limit <= MAX_PAGE:
            raise ConfigurationError("limit", f"is from 1 to {MAX_PAGE}")
        wanted = {field: value for field, value in filters.items() if value is not None}
        found: list[Node] = []
        above: dict[str, tuple[str, ...]] = {}
        while len(found) < limit:
            page = self._store.children(org, kind, parent or "", name, after, limit)
            found += [
                node
                for node in map(from_doc, page)
                if all(getattr(node, field) == value for field, value in wanted.items())
                and self._may_see(kind, (node.id, *self._above(org, node.parent, above)))
            ]
            if len(page) < limit:
                break
            after = page[-1].id
        return tuple(found[:limit])

    def _above(self, org: str, id: str, known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
        """Ids from a node up to its organization."""
        if id not in known:
            path = self._directory.peek(org, id) or self._directory.load(org, id) if id else None
            known[id] = path.ids if path is not None else ()
        return known[id]

    def _may_see(self, kind: str, ids: Iterable[str]) -> bool:
        return self._actor.may(_SEEING[kind], ids)

    def _seen(self, path: Path) -> Node:
        node = path.nodes[0]
        if node.id != self._actor.id:  # a key may always look at itself
            self._require(_SEEING[node.kind], path)
        return node

    def _found(self, org: str, kinds: Sequence[Kind], name_or_id: str) -> Path:
        self._inside(org)
        what = " or ".join(kinds)
        if is_id(name_or_id):
            _, (doc,) = self._store.read(org, (name_or_id,))
            if doc is not None and doc.kind in kinds:
                return self._directory.load(org, name_or_id)
        named = [doc for kind in kinds for doc in self._called(org, kind, name_or_id)]
        if len(named) > 1:
            raise AlreadyExists(
                f"There is more than one {what} named '{name_or_id}'; give its id", code="ambiguous_name"
            )
        if not named:
            raise missing(what, name_or_id)
        return self._directory.load(org, named[0].id)

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
        carryover_allowed (organization), environment (project), permissions, expires_at, addresses (key). Enabling lets
        a node run again that a threshold stopped, and so does raising the budget above it.

        expect   the revision (`Node.rev`) that the change was made from; Conflict where it moved since
        revise   answers further changes, from the node as it is when they are made

        Takes quota:manage; what makes an organization what it is takes org:manage. The revision moves only where
        something changed.
        """
        if unknown := sorted(changes.keys() - _CHANGEABLE.keys()):
            raise ConfigurationError(unknown[0], f"cannot be changed; give some of {', '.join(_CHANGEABLE)}")
        return self._change(org, id, "update", expect=expect, revise=revise, **fields_of(changes))

    def enable(self, org: str, id: str, *, expect: int | None = None) -> Node:
        """Calls here and below may go again, also where a threshold had stopped it."""
        return self.update(org, id, expect=expect, enabled=True)

    def disable(self, org: str, id: str, *, expect: int | None = None) -> Node:
        """No calls here and below, until it is enabled."""
        return self.update(org, id, expect=expect, enabled=False)

    def move_project(self, org: str, id: str, parent: str, *, expect: int | None = None) -> Node:
        """Puts a project below another team, or the organization; its keys, limits and counters go along. Takes
        quota:manage at the project's old place and at the new one.
        """

        def draft() -> Edit:
            path, above = self._path(org, id), self._path(org, parent)
            old, new_parent = path.nodes[0], above.nodes[0]
            check_expected(old, expect)
            self._actor.require("quota:manage", path.ids[1:])
            self._require("quota:manage", above)
            if old.kind != "project" or new_parent.kind not in PARENTS["project"]:
                raise ConfigurationError("parent", f"a {old.kind} cannot stand below a {new_parent.kind}")
            new = replace(old, parent=parent)
            self._check_name(org, new)
            if old.parent != parent:
                self._within_budget(above, (), (new,))
            return Edit("project.move", min(path.rev, above.rev), (old,), (new,))

        return self._made(self._commit(org, draft))

    def delete(self, org: str, id: str, *, expect: int | None = None) -> None:
        """Takes a node away, with its groups, its requests, its dead keys and all roles held at it; AlreadyExists with
        code `has_children` while something else stands below it. A team takes team:delete, a key api_key:delete,
        another node quota:manage at its parent.
        """

        def draft() -> Edit:
            path = self._path(org, id)
            node = path.nodes[0]
            check_expected(node, expect)
            self._may_delete(path)
            gone: list[Thing] = [node]
            for kind in (*KINDS, "group", "request"):
                for doc in self._all(org, kind, id):
                    below = as_a(_BELOW.get(kind, Node), doc)
                    if isinstance(below, Node) and not below.revoked:
                        raise AlreadyExists(
                            f"'{id}' has a {kind} below it; delete what is below first", code="has_children"
                        )
                    gone.append(below)
            bereft = self._bereft(org, {thing.id for thing in gone})
            before = (*gone, *(member for member, _ in bereft))
            return Edit(f"{node.kind}.delete", path.rev, before, tuple(member for _, member in bereft))

        for thing in self._commit(org, draft).before:
            if isinstance(thing, Node) and thing.digest:
                self._store.unlink(thing.digest)
                self._directory.forget_key(thing.digest)

    def _may_delete(self, path: Path) -> None:
        node = path.nodes[0]
        if node.kind == "organization" and self._actor.kind != "host":
            raise self._actor.lacks("org:delete")
        permission = {"team": "team:delete", "key": "api_key:delete"}.get(node.kind, "quota:manage")
        self._actor.require(permission, path.ids[1:])
        if node.kind == "key":
            self._keeps_an_admin(path.org, {node.id}, ())

    def _bereft(self, org: str, gone: set[str]) -> Sequence[tuple[Member, Member]]:
        """Members that held a role at what goes, or were in its groups, before and after."""
        found = []
        for doc in self._all(org, "member", org):
            member = as_a(Member, doc)
            left = replace(
                member,
                roles=tuple(holding for holding in member.roles if holding.node not in gone),
                groups=tuple(group for group in member.groups if group not in gone),
            )
            if left != member:
                found.append((member, left))
        return found

    def _keeps_an_admin(self, org: str, gone: set[str], instead: Iterable[Member]) -> None:
        """Raises AlreadyExists with code `last_admin` where nobody would be left with org:manage on the organization:
        keys and members without those in `gone`, members as in `instead`.
        """
        if self._actor.kind == "host":
            return
        for doc in self._all(org, "key", org):
            key = from_doc(doc)
            lives = not key.revoked and key.expires_at is None
            if key.id not in gone and lives and allows(key.permissions, "org:manage"):
                return
        changed = {member.id: member for member in instead}
        for doc in self._all(org, "member", org):
            member = changed.get(doc.id) or as_a(Member, doc)
            if member.id not in gone and member.enabled and Holding("org_admin", org) in member.roles:
                return
        raise AlreadyExists("Nobody would be left who may manage the organization", code="last_admin")

    # how

    def _made(self, edit: Edit) -> Node:
        (node,) = (thing for thing in edit.after if isinstance(thing, Node))
        return node

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
            _, (there,) = self._store.read(org, (node.id,))
            if there is not None:
                raise taken("id", f"There is a {there.kind} with the id '{node.id}' already")
            self._check_name(org, node)
            self._within_budget(path, (), (node,))
            return Edit(f"{node.kind}.create", path.rev, after=(node,))

        return self._made(self._commit(org, draft))

    def _parent(self, org: str, id: str) -> Path:
        try:
            return self._path(org, id)
        except ApiError:
            raise missing("parent", id) from None

    def _check_new(self, above: Path, node: Node) -> None:
        """What a kind of node has to say of a new one, or of a changed one; `above`: the path of its parent."""
        if not above.organization.carryover_allowed and any(limit.carryover for limit in node.limits):
            raise ConfigurationError("carryover", "is not allowed in this organization")

    def _change(
        self,
        org: str,
        id: str,
        what: str,
        kind: Kind | None = None,
        expect: int | None = None,
        revise: Revise | None = None,
        **given: Any,
    ) -> Node:
        def draft() -> Edit:
            path = self._path(org, id)
            old = path.nodes[0]
            if kind not in (None, old.kind):
                raise missing(str(kind), id)
            check_expected(old, expect)
            changes = {**given, **(fields_of(revise(old)) if revise is not None else {})}
            self._may_change(path, changes)
            new = replace(old, **changes)
            self._check_new(Path(org, path.rev, path.nodes[1:] or (new,)), new)
            if new.name != old.name:
                self._check_name(org, new)
            if new.limits != old.limits:
                self._within_budget(Path(org, path.rev, path.nodes[1:]), (old,), (new,))
                self._above_children(path, old, new)
            return self._edit(f"{old.kind}.{what}", path, new, changes)

        return self._made(self._commit(org, draft))

    def _edit(self, what: str, path: Path, new: Node, changes: Mapping[str, object]) -> Edit:
        """The change of a node, which may let it run again."""
        resume = (new.id,) if self._runs_again(path, new, changes) else ()
        return Edit(
            what, path.rev, (path.nodes[0],), (replace(new, stopped=None) if resume else new,), resume
        )

    def _may_change(self, path: Path, changes: dict[str, Any]) -> None:
        node = path.nodes[0]
        for name in changes:
            kinds = _CHANGEABLE.get(name, ())
            if kinds and node.kind not in kinds:
                raise ConfigurationError(name, f"is said of a {kinds[0]} only, not of a {node.kind}")
        if node.kind == "organization" and _MANAGED & changes.keys():
            self._require("org:manage", path)
        if node.kind != "organization" or changes.keys() - _MANAGED:
            self._require("quota:manage", path)

    def _within_budget(self, above: Path, before: Iterable[Node], after: Iterable[Node]) -> None:
        """Raises InvalidRequest where children would have more than their parent, unless the actor may go over it."""
        if not above.nodes or self._actor.may("quota:override", above.ids):
            return
        refusal = overdrawn(self._store, above.org, above.nodes[0], [*before], [*after])
        if refusal is not None:
            raise refusal

    def _above_children(self, path: Path, old: Node, new: Node) -> None:
        if new.kind in ("organization", "team") and not self._actor.may("quota:override", path.ids):
            refusal = too_small(self._store, path.org, old, new)
            if refusal is not None:
                raise refusal

    def _runs_again(self, path: Path, new: Node, changes: Mapping[str, object]) -> bool:
        """Whether a change lets a node run again that a threshold stopped."""
        old = path.nodes[0]
        if old.stopped is None:
            return False
        if changes.get("enabled"):
            return True
        stop, now = Stop.read(old.stopped), self._clock()
        if stop.action != "disable" or not changes.keys() & {"limits", "alerts", "overrides"}:
            return False
        if stop.over(now):
            return True
        limits = [limit for limit in new.limits if limit.shape == stop.limit]
        if not limits:
            return True
        changed = Path(path.org, path.rev, (new, *path.nodes[1:]), path.people)
        limits, _ = in_force(new, limits, now)
        counter = counter_of(changed, new, limits, None, now)
        answer = self._store.apply(
            {path.org: [Peek(Plan(path.org, 0, (), ((counter, COST),)))]}, self._store.deadline
        )
        found = answer[path.org]
        if isinstance(found, StoreError):
            raise found
        used, _ = found.totals.get(counter.key, (0, 0))
        stops = [
            alert.mark(new.id, limits[0], limits[0].amount, 0).at
            for alert in alerts_on(changed, new, limits[0])
            if alert.action == "disable"
        ]
        return used < min(stops, default=used + 1)

    @staticmethod
    def _as_node(doc: Doc) -> Node:
        return from_doc(doc)

    def _all(self, org: str, kind: str, parent: str) -> Iterator[Doc]:
        after = ""
        while page := self._store.children(org, kind, parent, None, after, MAX_PAGE):
            yield from page
            after = page[-1].id

    def _home(self, org: str | None, id: str) -> str:
        """The organization given, or the only one that has this id."""
        if org is not None:
            return org
        if self._actor.org:
            return self._actor.org
        homes = (home for home in self._organizations() if self._store.read(home, (id,))[1][0])
        found = tuple(islice(homes, 2)) if is_id(id) else ()
        if not found:
            raise missing("node", id)
        if len(found) > 1:
            raise ConfigurationError("org", f"more than one organization has {id!r}; say which")
        return found[0]

    def _organizations(self) -> Iterator[str]:
        page = self._store.orgs("", MAX_PAGE)
        while page:
            yield from page
            page = self._store.orgs(page[-1], MAX_PAGE)


_SEEING = {
    "organization": "quota:read:summary",
    "team": "quota:read:summary",
    "project": "quota:read:summary",
    "key": "api_key:read",
}
"""What it takes to look at a node."""
_BELOW: dict[str, type[Node | Group | Request]] = {"group": Group, "request": Request}


def organization_id(name: str) -> str:
    """The same for everyone who starts with this name, so that workers starting at once meet."""
    if not isinstance(name, str):
        raise ConfigurationError("name", "is text")
    return id_of("organization", name)


def check_expected(thing: Thing, expect: int | None) -> None:
    """Raises AlreadyExists with code `changed_meanwhile` where a thing is not at the revision that was expected."""
    if expect is not None and thing.rev != expect:
        raise AlreadyExists(
            "It was changed meanwhile; read it again",
            code="changed_meanwhile",
            fields={"revision": thing.rev},
        )
