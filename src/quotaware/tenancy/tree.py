"""Making and changing the tree: every write is one compare-and-set on the organization's revision.

Whatever a write depends on is read after the revision that it expects, so that it holds at the moment of the
write, or another writer came between and all is read again. Methods block: whoever is on an event loop runs
them in a thread. Ids are looked up inside one organization, so that none reaches into another. Who may do
what is decided by the caller.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from ..core.limits import Limit
from ..core.permissions import CALL_PERMISSIONS
from ..errors import AlreadyExists, ConfigurationError, Conflict
from ..stores.protocol import Change, Clock, Doc, Store
from . import keys
from .directory import Directory, missing
from .keys import Kind, id_of, is_id, new_id
from .nodes import KINDS, PARENTS, Node, fields_of, from_doc, to_doc

TRIES = 100
"""How often a write is begun anew because another came between."""
CALM = 5
"""After so many tries the next one waits a little, at random, so that writers draw apart."""
JITTER_MS = 10
MAX_PAGE = 1000
"""The most that one list answers."""

SIMPLE_ORG = "org_app"
SIMPLE_PROJECT = "proj_app"

_CHANGEABLE = (
    "name",
    "limits",
    "models",
    "enabled",
    "zone",
    "environment",
    "permissions",
    "expires_at",
    "addresses",
)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; `secret` is not kept and cannot be shown again."""

    node: Node
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What the first start made. `key` is the admin key's secret, for the one caller that made it."""

    organization_id: str
    key: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Edit:
    """A write as it was decided from what was read at `rev` or later."""

    what: str
    rev: int
    before: tuple[Node, ...] = ()
    after: tuple[Node, ...] = ()
    resume: tuple[str, ...] = ()


class Tenancy:
    """The tree of every organization in a store.

    Methods raise NotFound for an id that is not there, AlreadyExists (`fields["field"]`) for a name or id
    that is taken, ConfigurationError naming the field of a bad value, StoreError, and Conflict where other
    writers kept coming between. Limits are given as `Limit` or as text (`"$50/month"`).
    """

    def __init__(self, store: Store, directory: Directory, clock: Clock) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock

    # making

    def create_organization(
        self,
        name: str,
        *,
        id: str | None = None,
        zone: str = "UTC",
        limits: Iterable[Limit | str] = (),
        models: Iterable[str] = (),
    ) -> Node:
        """Without an id, it follows from the name, so that no two are made with one name."""
        chosen = _organization_id(name) if id is None else id
        node = self._node("organization", chosen, "", name, zone=zone, limits=limits, models=models)

        def draft() -> _Edit:
            rev, (taken,) = self._store.read(node.id, (node.id,))
            if taken is not None:
                raise _taken("name" if id is None else "id", f"There is an organization {node.id!r} already")
            return _Edit("organization.create", rev, after=(node,))

        return self._commit(node.id, draft).after[0]

    def create_team(
        self,
        org: str,
        name: str,
        *,
        id: str | None = None,
        limits: Iterable[Limit | str] = (),
        models: Iterable[str] = (),
    ) -> Node:
        return self._create(org, self._node("team", id, org, name, limits=limits, models=models))

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
    ) -> Node:
        """Below a team, or an organization itself. Without `org`, the parent is looked for in every one."""
        node = self._node(
            "project", id, parent_id, name, limits=limits, models=models, environment=environment
        )
        return self._create(self._home(org, parent_id), node)

    def create_key(
        self,
        node_id: str,
        *,
        org: str | None = None,
        name: str | None = None,
        permissions: Iterable[str] = CALL_PERMISSIONS,
        models: Iterable[str] = (),
        limits: Iterable[Limit | str] = (),
        addresses: Iterable[str] = (),
        expires_at: int | None = None,
        id: str | None = None,
    ) -> NewKey:
        """A key on an organization, team or project; `expires_at` in ms since the epoch.

        Without `org`, the node is looked for in every one.
        """
        home = self._home(org, node_id)
        secret = keys.make(_key_kind(self.get(home, node_id)))
        node = self._node(
            "key",
            id,
            node_id,
            name,
            permissions=permissions,
            models=models,
            limits=limits,
            addresses=addresses,
            expires_at=expires_at,
            digest=keys.digest(secret),
        )
        made = self._create(home, node)
        self._link(made.digest, home, made.id)
        return NewKey(made, secret)

    # looking

    def get(self, org: str | None, id: str) -> Node:
        """The node with this id; without an organization, looked for in every one."""
        return from_doc(self._read(self._home(org, id), id)[1])

    def find(self, org: str, kind: Kind, name_or_id: str) -> Node:
        """The node of this kind with this id, or else the only one with this name in the organization.

        Raises AlreadyExists with code `ambiguous_name` where several have the name.
        """
        _check_org(org)
        if is_id(name_or_id):
            _, (doc,) = self._store.read(org, (name_or_id,))
            if doc is not None and doc.kind == kind:
                return from_doc(doc)
        named = self._store.children(org, kind, "", name_or_id, "", 2)
        if len(named) > 1:
            raise AlreadyExists(
                f"There is more than one {kind} named '{name_or_id}'; give its id", code="ambiguous_name"
            )
        if not named:
            raise missing(kind, name_or_id)
        return from_doc(named[0])

    def list(
        self, org: str, kind: Kind, parent: str | None = None, after: str = "", limit: int = 100
    ) -> tuple[Node, ...]:
        """Up to `limit` nodes of a kind, everywhere or right below one parent, by id after the given one."""
        _check_org(org)
        if kind not in KINDS:
            raise ConfigurationError("kind", f"is one of {', '.join(KINDS)}")
        if not 1 <= limit <= MAX_PAGE:
            raise ConfigurationError("limit", f"is from 1 to {MAX_PAGE}")
        return tuple(map(from_doc, self._store.children(org, kind, parent or "", None, after, limit)))

    # changing

    def update(self, org: str, id: str, **changes: Any) -> Node:
        """Replaces what is given: name, limits, models, enabled, zone (organization), environment (project),
        permissions, expires_at, addresses (key). Enabling lets a node run again that a threshold stopped.

        The revision moves only where something changed.
        """
        if unknown := sorted(changes.keys() - set(_CHANGEABLE)):
            raise ConfigurationError(unknown[0], f"cannot be changed; give some of {', '.join(_CHANGEABLE)}")
        return self._change(org, id, "update", **fields_of(changes))

    def enable(self, org: str, id: str) -> Node:
        """Calls here and below may go again, also where a threshold had stopped it."""
        return self.update(org, id, enabled=True)

    def disable(self, org: str, id: str) -> Node:
        """No calls here and below, until it is enabled."""
        return self.update(org, id, enabled=False)

    def revoke_key(self, org: str, id: str) -> Node:
        """The key never works again. Its name is free for another."""
        return self._change(org, id, "revoke", kind="key", revoked=True)

    def delete(self, org: str, id: str) -> None:
        """Takes a node away; AlreadyExists with code `has_children` while something stands below it."""

        def draft() -> _Edit:
            rev, doc = self._read(org, id)
            for kind in KINDS:
                if doc.kind in PARENTS[kind] and self._store.children(org, kind, id, None, "", 1):
                    raise AlreadyExists(
                        f"'{id}' has a {kind} below it; delete what is below first", code="has_children"
                    )
            return _Edit(f"{doc.kind}.delete", rev, before=(from_doc(doc),))

        (node,) = self._commit(org, draft).before
        if node.digest:
            self._store.unlink(node.digest)
            self._directory.forget_key(node.digest)

    # the first start

    def bootstrap(self, organization: str = "default", *, admin_key: str | None = None) -> Bootstrap:
        """The organization of this name with an admin key on it, made by the first caller of all.

        admin_key  use this one (form of `keys.make("admin")`) in place of a random one: put in where it is
                   missing, also later, so that it lets back in who lost the other. It is never answered

        Raises ConfigurationError naming `admin_key` where it is malformed or opens another organization.
        """
        if admin_key is not None and not (keys.well_formed(admin_key) and admin_key.startswith("qw_admin_")):
            raise ConfigurationError("admin_key", "is not well formed; make one with keys.make('admin')")
        secret = admin_key or keys.make("admin")
        digest = keys.digest(secret)
        root = self._node("organization", _organization_id(organization), "", organization)
        admin = self._node(
            "key", id_of("key", digest), root.id, None, permissions=("org:manage",), digest=digest
        )
        if place := self._store.find(digest):
            if place[0] != root.id:
                raise ConfigurationError("admin_key", "is the key of another organization already")
            admin = replace(admin, id=place[1])

        def draft() -> _Edit:
            rev, (old_root, old_admin) = self._store.read(root.id, (root.id, admin.id))
            made = () if old_root else (root,)
            if old_admin is None and (made or admin_key):
                made = (*made, admin)
            return _Edit("organization.bootstrap", rev, after=made)

        made = self._commit(root.id, draft).after
        if made or admin_key:
            self._link(digest, root.id, admin.id)
        return Bootstrap(root.id, secret if made and admin_key is None else None)

    def ensure_simple(self, limits: Iterable[Limit | str], zone: str = "UTC") -> tuple[str, str]:
        """(organization id, project id) of the tree behind an app that only has limits: one project, on which
        they sit. Called again with others, they replace the old; nothing is written where nothing changed.
        """
        root = self._node("organization", SIMPLE_ORG, "", "app", zone=zone)
        project = self._node("project", SIMPLE_PROJECT, SIMPLE_ORG, "app", limits=limits)

        def draft() -> _Edit:
            rev, docs = self._store.read(SIMPLE_ORG, (SIMPLE_ORG, SIMPLE_PROJECT))
            old_root, old_project = (from_doc(doc) if doc else None for doc in docs)
            pairs = (
                (old_root, replace(old_root, zone=zone) if old_root else root),
                (old_project, replace(old_project, limits=project.limits) if old_project else project),
            )
            return _Edit(
                "organization.simple",
                rev,
                before=tuple(old for old, new in pairs if old and old != new),
                after=tuple(new for old, new in pairs if old != new),
            )

        self._commit(SIMPLE_ORG, draft)
        return SIMPLE_ORG, SIMPLE_PROJECT

    # how

    def _node(self, kind: Kind, id: str | None, parent: str, name: str | None, **given: Any) -> Node:
        id = new_id(kind) if id is None else id
        return Node(id, kind, parent, name, created_at=self._clock(), **fields_of(given))

    def _create(self, org: str, node: Node) -> Node:
        _check_org(org)

        def draft() -> _Edit:
            rev, (parent, taken) = self._store.read(org, (node.parent, node.id))
            if parent is None:
                raise missing("parent", node.parent)
            if parent.kind not in PARENTS[node.kind]:
                raise ConfigurationError("parent", f"a {node.kind} cannot stand below a {parent.kind}")
            if taken is not None:
                raise _taken("id", f"There is a {taken.kind} with the id '{node.id}' already")
            self._check_name(org, node)
            return _Edit(f"{node.kind}.create", rev, after=(node,))

        return self._commit(org, draft).after[0]

    def _change(self, org: str, id: str, what: str, kind: Kind | None = None, **changes: Any) -> Node:
        def draft() -> _Edit:
            rev, doc = self._read(org, id)
            if kind not in (None, doc.kind):
                raise missing(str(kind), id)
            old = from_doc(doc)
            resume = (id,) if old.stopped is not None and changes.get("enabled") else ()
            new = replace(old, **changes, stopped=None if resume else old.stopped)
            if new.name != old.name:
                self._check_name(org, new)
            return _Edit(f"{doc.kind}.{what}", rev, (old,), (new,), resume)

        return self._commit(org, draft).after[0]

    def _commit(self, org: str, draft: Callable[[], _Edit]) -> _Edit:
        """Reads, decides and writes until no other writer came between; answers what was done."""
        for tries in range(TRIES):
            if tries >= CALM:
                time.sleep(secrets.randbelow(JITTER_MS) / 1000)
            edit = draft()
            if edit.before == edit.after:
                return edit
            changed = {node.id for node in (*edit.before, *edit.after)}
            kept = tuple(node.id for node in edit.after)
            change = Change(
                expect=edit.rev,
                put=tuple(map(to_doc, edit.after)),
                drop=tuple(changed.difference(kept)),
                resume=edit.resume,
                audit=_audit(edit, self._clock()),
            )
            try:
                rev = self._store.commit(org, change)
            except Conflict:
                continue
            for id in changed:
                self._directory.forget(org, id)
            return replace(edit, after=tuple(replace(node, rev=rev) for node in edit.after))
        raise Conflict(f"organization {org} kept changing; repeat later")

    def _read(self, org: str, id: str) -> tuple[int, Doc]:
        _check_org(org)
        if is_id(id):
            rev, (doc,) = self._store.read(org, (id,))
            if doc is not None:
                return rev, doc
        raise missing("node", id)

    def _check_name(self, org: str, node: Node) -> None:
        if node.name is None or node.kind == "organization":
            return
        others = self._store.children(org, node.kind, node.parent, node.name, "", 1)
        if others and others[0].id != node.id:
            raise _taken("name", f"There is a {node.kind} named '{node.name}' already")

    def _home(self, org: str | None, id: str) -> str:
        """The organization given, or the only one that has this id."""
        if org is not None:
            return org
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

    def _link(self, digest: str, org: str, key: str) -> None:
        self._store.link(digest, org, key)
        self._directory.learn_key(digest, org, key)


def _organization_id(name: str) -> str:
    """The same for everyone who starts with this name, so that workers starting at once meet."""
    if not isinstance(name, str):
        raise ConfigurationError("name", "is text")
    return id_of("organization", name)


def _check_org(org: str) -> None:
    if not is_id(org):
        raise missing("organization", org)


def _key_kind(node: Node) -> keys.KeyKind:
    if node.kind != "project":
        return "admin"
    return "test" if node.environment == "test" else "live"


def _taken(field: str, message: str) -> AlreadyExists:
    return AlreadyExists(message, fields={"field": field})


def _audit(edit: _Edit, at: int) -> str:
    before, after = ([_shown(node) for node in nodes] for nodes in (edit.before, edit.after))
    return json.dumps({"what": edit.what, "at": at, "before": before, "after": after}, separators=(",", ":"))


def _shown(node: Node) -> dict[str, Any]:
    body = json.loads(to_doc(node).body)
    body.pop("digest", None)
    return {
        "id": node.id,
        "kind": node.kind,
        "parent": node.parent,
        "name": node.name,
        "stopped": node.stopped,
        **body,
    }
