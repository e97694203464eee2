"""API keys: made, changed, rotated, revoked. A secret is answered once, and only its SHA-256 is kept.

Nobody makes, changes or rotates a key to be more than he is himself (`access.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.alerts import Alert, Stop
from ..core.limits import Limit
from ..core.permissions import CALL_PERMISSIONS, allows
from ..errors import AlreadyExists, ConfigurationError
from . import access, checks, keys
from .budgets import set_anew
from .directory import missing
from .documents import from_doc
from .keys import new_id
from .narrowing import narrower
from .nodes import Node, Path, fields_of
from .tree import Revise, Tree
from .writes import Edit

MAX_GRACE_MS = 30 * 86_400_000


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just made; `secret` is not kept and cannot be shown again."""

    node: Node
    secret: str = field(repr=False)


class Credentials(Tree):
    """Keys of organizations, teams and projects."""

    def create_key(
        self,
        node_id: str,
        *,
        org: str | None = None,
        name: str | None = None,
        permissions: Iterable[str] | None = None,
        models: Iterable[str] = (),
        limits: Iterable[Limit | str] = (),
        alerts: Iterable[Alert | str] = (),
        addresses: Iterable[str] = (),
        expires_at: int | None = None,
        id: str | None = None,
    ) -> NewKey:
        """A key on an organization, team or project; `expires_at` in ms since the epoch. Without `org`, the node is
        looked for in every one. Takes api_key:create; `:limited` is enough on a project.

        What a restricted maker leaves out is his own; of permissions, what makes calls, as far as he may make them. A
        key that is made by a limited one counts under that one's limits too, so that all that it makes comes to no more
        than it could use itself.
        """
        home = self._home(org, node_id)
        above = self._parent(home, node_id)
        held = self._actor.at(above.ids)
        given = fields_of(
            {
                "permissions": [p for p in CALL_PERMISSIONS if allows(held, p)]
                if permissions is None
                else permissions,
                "models": models,
                "limits": limits,
                "alerts": alerts,
                "addresses": addresses,
                "expires_at": expires_at,
            }
        )
        secret = keys.make(_key_kind(above.nodes[0]))
        node = self._node(
            "key",
            id,
            node_id,
            name,
            digest=keys.digest(secret),
            creator=self._actor.id,
            makers=access.makers_of(self._actor),
            **access.inherit(self._actor, given),
        )
        made = self._create(home, node, "api_key:create:limited")
        self._link(made.digest, home, made.id)
        return NewKey(made, secret)

    def update_key(
        self,
        org: str,
        id: str,
        *,
        expect: int | None = None,
        revise: Revise | None = None,
        **changes: Any,
    ) -> Node:
        """Replaces what is given of name, permissions, models, limits, alerts, addresses, expires_at, enabled;
        `add_permissions` and `remove_permissions` change them one by one; `expect` and `revise` as in `update`. Takes
        api_key:create (or `:limited`, on a project). A key makes itself only narrower.
        """
        added, removed = (_several(changes, name) for name in ("add_permissions", "remove_permissions"))
        if unknown := sorted(changes.keys() - _OF_A_KEY):
            raise ConfigurationError(
                unknown[0], f"cannot be changed; give some of {', '.join(sorted(_OF_A_KEY))}"
            )
        self._key_path(org, id)
        given = fields_of(changes)

        def changed(old: Node) -> dict[str, Any]:
            ready = {**given, **(fields_of(revise(old)) if revise is not None else {})}
            if not (added or removed):
                return ready
            held = ready.get("permissions", old.permissions)
            left = tuple(p for p in dict.fromkeys((*held, *added)) if p not in removed)
            return {**ready, "permissions": left}

        return self._change(org, id, expect, changed)

    def rotate_key(self, org: str, id: str, *, grace_ms: int = 0, expect: int | None = None) -> NewKey:
        """A key in place of this one: same name, place, permissions, restrictions, spend and history. The old one stops
        at once, or works `grace_ms` longer, both on one budget. Takes api_key:create. Raises AlreadyExists where it
        does not work any more, or a threshold stopped it.
        """
        if not isinstance(grace_ms, int) or not 0 <= grace_ms <= MAX_GRACE_MS:
            raise ConfigurationError("grace_seconds", f"is from 0 to {MAX_GRACE_MS // 1000}")
        chosen = new_id("key")

        def draft() -> Edit:
            path = self._key_path(org, id)
            old = path.nodes[0]
            now = self._clock()
            if old.revoked or (old.expires_at is not None and old.expires_at <= now):
                raise AlreadyExists(f"Key '{id}' does not work any more; make another one", code="revoked")
            self._may_make(path, old)
            if old.stopped is not None and not Stop.read(old.stopped).over(now):
                raise AlreadyExists(
                    f"Key '{id}' is stopped: its budget was used up; raise that, or enable it, first",
                    code="stopped",
                )
            new = replace(
                old,
                id=chosen,
                digest=digest,
                origin=old.origin or old.id,
                created_at=now,
                stopped=None,
                rev=0,
            )
            end = min(now + grace_ms, old.expires_at or now + grace_ms)
            replaced = replace(old, expires_at=end, name=None) if grace_ms else replace(old, revoked=True)
            return Edit("key.rotate", path.rev, (old,), (replaced, new))

        secret = keys.make(_key_kind(self._key_path(org, id).nodes[1]))
        digest = keys.digest(secret)
        edit = self._commit(org, "key.rotate", id, draft, expect)
        (made,) = (thing for thing in edit.after if isinstance(thing, Node) and thing.id == chosen)
        self._link(digest, org, made.id)
        return NewKey(made, secret)

    def revoke_key(self, org: str, id: str, *, expect: int | None = None) -> Node:
        """The key never works again. Its name is free for another. Takes api_key:delete."""

        def draft() -> Edit:
            path = self._key_path(org, id)
            old = path.nodes[0]
            self._actor.require("api_key:delete", path.ids[1:])
            return Edit("key.revoke", path.rev, (old,), (replace(old, revoked=True),))

        return self._made(self._commit(org, "key.revoke", id, draft, expect))

    def lineage(self, org: str, id: str) -> tuple[Node, ...]:
        """The key with those that it took the place of, and that took its: they have one spend and one history."""
        key = self._key_path(org, id).nodes[0]
        origin = key.origin or key.id
        found = [from_doc(doc) for doc in self._all(org, "key", key.parent)]
        return tuple(each for each in found if origin in (each.id, each.origin))

    def _check_new(self, above: Path, node: Node) -> None:
        super()._check_new(above, node)
        if node.kind == "key" and node.rev == 0:
            self._may_hold(above.ids, node, above.nodes[0])

    def _changed(self, path: Path, changes: Mapping[str, Any]) -> Node:
        old = path.nodes[0]
        if old.kind != "key":
            return super()._changed(path, changes)
        if old.revoked:
            raise AlreadyExists(f"Key '{old.id}' is revoked; make another one", code="revoked")
        new = set_anew(old, replace(old, **changes))
        self._may_make(path, new)
        if access.is_same(self._actor, old):
            resumes = changes.get("enabled") and old.stopped is not None
            if resumes or not narrower(old, replace(new, overrides=old.overrides)):
                raise access.beyond("enabled" if resumes else "limits")
        return new

    def _edit(self, what: str, path: Path, new: Node, changes: Mapping[str, object]) -> Edit:
        """A key that took the place of another shares its counters, and so its limits are the other's too."""
        edit = super()._edit(what, path, new, changes)
        if not new.origin:
            return edit
        _, (doc,) = self._store.read(path.org, (new.origin,))
        if doc is None:
            return edit
        first = from_doc(doc)
        same = replace(first, limits=new.limits, overrides=new.overrides, alerts=new.alerts)
        if same == first:
            return edit
        return replace(edit, before=(*edit.before, first), after=(*edit.after, same))

    def _may_make(self, path: Path, key: Node) -> None:
        """Raises PermissionDenied where the actor may not make a key like this at the place of the path's."""
        self._actor.require("api_key:create:limited", path.ids[1:])
        self._may_hold(path.ids[1:], key, path.nodes[1])

    def _may_hold(self, ids: tuple[str, ...], key: Node, above: Node) -> None:
        if above.kind != "project":  # the limited right is one in projects
            self._actor.require("api_key:create", ids)
        refusal = access.escalation(self._actor, ids, key)
        if refusal is not None:
            raise refusal

    def _key_path(self, org: str, id: str) -> Path:
        path = self._path(org, id)
        if path.nodes[0].kind != "key":
            raise missing("key", id)
        return path

    def _link(self, digest: str, org: str, key: str) -> None:
        self._store.link(digest, org, key)
        self._directory.learn_key(digest, org, key)


_OF_A_KEY = frozenset(
    {"name", "permissions", "models", "limits", "alerts", "addresses", "expires_at", "enabled"}
)


def _several(changes: dict[str, Any], name: str) -> tuple[str, ...]:
    """Permissions that are added or taken away, out of the changes."""
    found = fields_of({"permissions": changes.pop(name, ())})["permissions"]
    for each in found:
        checks.permission(each, name)
    return tuple(found)


def _key_kind(node: Node) -> keys.KeyKind:
    if node.kind != "project":
        return "admin"
    return "test" if node.environment == "test" else "live"
