"""API keys: made, changed, rotated, revoked. A secret is answered once, and only its SHA-256 is kept.

Nobody makes, changes or rotates a key to be more than he is himself (`access.py`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ..core.alerts import Alert
from ..core.limits import Limit
from ..core.permissions import CALL_PERMISSIONS
from ..errors import AlreadyExists, ConfigurationError
from . import access, keys
from .directory import missing
from .keys import new_id
from .nodes import Node, Path, fields_of
from .tree import Revise, Tree, check_expected
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
        permissions: Iterable[str] = CALL_PERMISSIONS,
        models: Iterable[str] = (),
        limits: Iterable[Limit | str] = (),
        alerts: Iterable[Alert | str] = (),
        addresses: Iterable[str] = (),
        expires_at: int | None = None,
        id: str | None = None,
    ) -> NewKey:
        """A key on an organization, team or project; `expires_at` in ms since the epoch. Without `org`, the node is
        looked for in every one. Takes api_key:create; what a restricted maker leaves out is his own.
        """
        home = self._home(org, node_id)
        given = fields_of(
            {
                "permissions": permissions,
                "models": models,
                "limits": limits,
                "alerts": alerts,
                "addresses": addresses,
            }
        )
        restrictions: dict[str, Any] = access.inherit(self._actor, {**given, "expires_at": expires_at})
        kind = _key_kind(self._parent(home, node_id).nodes[0])
        secret = keys.make(kind)
        node = self._node(
            "key", id, node_id, name, digest=keys.digest(secret), creator=self._actor.id, **restrictions
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
        api_key:create.
        """
        added, removed = (tuple(changes.pop(name, ())) for name in ("add_permissions", "remove_permissions"))
        if unknown := sorted(changes.keys() - _OF_A_KEY):
            raise ConfigurationError(
                unknown[0], f"cannot be changed; give some of {', '.join(sorted(_OF_A_KEY))}"
            )
        given = fields_of(changes)

        def draft() -> Edit:
            path = self._key_path(org, id)
            old = path.nodes[0]
            check_expected(old, expect)
            ready = {**given, **(fields_of(revise(old)) if revise is not None else {})}
            if old.revoked:
                raise AlreadyExists(f"Key '{id}' is revoked; make another one", code="revoked")
            held = ready.get("permissions", old.permissions)
            held = tuple(p for p in dict.fromkeys((*held, *added)) if p not in removed)
            new = replace(old, **{**ready, "permissions": held})
            self._may_make(path, new)
            if new.name != old.name:
                self._check_name(org, new)
            if not new.enabled or held != old.permissions or new.expires_at is not None:
                self._keeps_an_admin(org, {id}, ())
            return self._edit("key.update", path, new, ready)

        return self._made(self._commit(org, draft))

    def rotate_key(self, org: str, id: str, *, grace_ms: int = 0, expect: int | None = None) -> NewKey:
        """A key in place of this one: same name, place, permissions, restrictions, spend and history. The old one stops
        at once, or works `grace_ms` longer, both on one budget. Takes api_key:create.
        """
        if not 0 <= grace_ms <= MAX_GRACE_MS:
            raise ConfigurationError("grace_seconds", f"is from 0 to {MAX_GRACE_MS // 1000}")
        chosen = new_id("key")

        def draft() -> Edit:
            path = self._key_path(org, id)
            old = path.nodes[0]
            check_expected(old, expect)
            now = self._clock()
            if old.revoked or (old.expires_at is not None and old.expires_at <= now):
                raise AlreadyExists(f"Key '{id}' does not work any more; make another one", code="revoked")
            new = replace(
                old,
                id=chosen,
                digest=digest,
                origin=old.origin or old.id,
                created_at=now,
                stopped=None,
                rev=0,
            )
            self._may_make(path, new)
            end = min(now + grace_ms, old.expires_at or now + grace_ms)
            replaced = (
                replace(old, expires_at=end, name=None)
                if grace_ms
                else replace(old, revoked=True, name=old.name)
            )
            return Edit("key.rotate", path.rev, (old,), (replaced, new))

        secret = keys.make(_key_kind(self._key_path(org, id).nodes[1]))
        digest = keys.digest(secret)
        edit = self._commit(org, draft)
        made = edit.after[1]
        if not isinstance(made, Node):
            raise TypeError("a key was made")
        self._link(digest, org, made.id)
        return NewKey(made, secret)

    def revoke_key(self, org: str, id: str, *, expect: int | None = None) -> Node:
        """The key never works again. Its name is free for another. Takes api_key:delete."""

        def draft() -> Edit:
            path = self._key_path(org, id)
            old = path.nodes[0]
            check_expected(old, expect)
            self._actor.require("api_key:delete", path.ids[1:])
            self._keeps_an_admin(org, {id}, ())
            return Edit("key.revoke", path.rev, (old,), (replace(old, revoked=True),))

        return self._made(self._commit(org, draft))

    def lineage(self, org: str, id: str) -> tuple[Node, ...]:
        """The key with those that it took the place of, and that took its: they have one spend and one history."""
        key = self._key_path(org, id).nodes[0]
        origin = key.origin or key.id
        found = [self._as_node(doc) for doc in self._all(org, "key", key.parent)]
        return tuple(each for each in found if origin in (each.id, each.origin))

    def _may_change(self, path: Path, changes: dict[str, Any]) -> None:
        super()._may_change(path, changes)
        if path.nodes[0].kind == "key":
            self._may_make(path, replace(path.nodes[0], **changes))

    def _check_new(self, above: Path, node: Node) -> None:
        super()._check_new(above, node)
        if node.kind == "key" and node.rev == 0:
            refusal = access.escalation(self._actor, above.ids, node)
            if refusal is not None:
                raise refusal

    def _may_make(self, path: Path, key: Node) -> None:
        """Raises PermissionDenied where the actor may not make a key like this at the place of the path's."""
        place = path.ids[1:]
        self._actor.require("api_key:create:limited", place)
        refusal = access.escalation(self._actor, place, key)
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


def _key_kind(node: Node) -> keys.KeyKind:
    if node.kind != "project":
        return "admin"
    return "test" if node.environment == "test" else "live"
