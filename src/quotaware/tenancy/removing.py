"""Taking nodes away, with all that makes no sense without them: groups, requests, channels, dead keys, roles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..errors import AlreadyExists
from .channels import Channel
from .documents import Thing, as_a, from_doc
from .looking import Looking
from .nodes import KINDS, Node, Path
from .people import Group, Member, Request
from .writes import Edit

_BELOW: dict[str, type[Node | Group | Request | Channel]] = {
    "group": Group,
    "request": Request,
    "channel": Channel,
}


class Removing(Looking):
    """Nodes: taken away."""

    def delete(self, org: str, id: str, *, expect: int | None = None) -> None:
        """Takes a node away, with its groups, requests, channels and dead keys, and all roles held at it; AlreadyExists
        with code `has_children` while something else stands below it. A team takes team:delete, a key api_key:delete,
        another node quota:manage at its parent.
        """

        def draft() -> Edit:
            path = self._path(org, id)
            node = path.nodes[0]
            self._may_delete(path)
            gone: list[Thing] = [node]
            for kind in (*KINDS, *_BELOW):
                for doc in self._all(org, kind, id):
                    below = as_a(_BELOW.get(kind, Node), doc)
                    if isinstance(below, Node) and not below.revoked:
                        raise AlreadyExists(
                            f"'{id}' has a {kind} below it; delete what is below first", code="has_children"
                        )
                    gone.append(below)
            self._check_made(org, gone)
            bereft = self._bereft(org, {thing.id for thing in gone})
            before = (*gone, *(member for member, _ in bereft))
            return Edit(f"{node.kind}.delete", path.rev, before, tuple(member for _, member in bereft))

        for thing in self._commit(org, "node.delete", id, draft, expect).before:
            if isinstance(thing, Node) and thing.digest:
                self._store.unlink(thing.digest)
                self._directory.forget_key(thing.digest)

    def _may_delete(self, path: Path) -> None:
        node = path.nodes[0]
        if node.kind == "organization" and self._actor.kind != "host":
            raise self._actor.lacks("org:delete")
        permission = {"team": "team:delete", "key": "api_key:delete"}.get(node.kind, "quota:manage")
        self._actor.require(permission, path.ids[1:])

    def _check_made(self, org: str, gone: Iterable[Thing]) -> None:
        """Raises AlreadyExists with code `has_children` where a key goes whose limits bear on others that it made."""
        ids = {thing.id for thing in gone}
        if not any(isinstance(thing, Node) and thing.limits and thing.kind == "key" for thing in gone):
            return
        for doc in self._all(org, "key", ""):
            if doc.id not in ids and not ids.isdisjoint(from_doc(doc).makers):
                raise AlreadyExists(
                    f"Key '{doc.id}' counts under its limits; delete that one first", code="has_children"
                )

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
