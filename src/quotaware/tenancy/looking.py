"""Looking at the tree: nodes got, found and listed, each only by who may see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from ..errors import AlreadyExists, ConfigurationError, NotFound
from ..stores.protocol import Doc
from .directory import missing, shortened
from .documents import from_doc
from .keys import Kind, could_be_a_name, is_id
from .nodes import KINDS, Node, Path
from .writes import MAX_PAGE, Writes

_SEEING = {
    "organization": "quota:read:summary",
    "team": "quota:read:summary",
    "project": "quota:read:summary",
    "key": "api_key:read",
}
"""What it takes to look at a node."""


class Looking(Writes):
    """Nodes: looked at."""

    def get(self, org: str | None, id: str) -> Node:
        """The node with this id; without an organization, looked for in every one."""
        return self._seen(self._path(self._home(org, id), id))

    def organizations(self) -> Iterator[Node]:
        """All that there are, by id, for the host; for anybody else the own one."""
        for org in [self._actor.org] if self._actor.org else self._organizations():
            _, (doc,) = self._store.read(org, (org,))
            if doc is not None:
                yield from_doc(doc)

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

    def require(self, org: str, id: str, permission: str) -> None:
        """Raises PermissionDenied where the actor lacks a permission at a node, NotFound where there is none."""
        self._require(permission, self._path(org, id))

    def those(self, org: str, ids: Iterable[str]) -> Mapping[str, Node]:
        """The nodes of these ids that are there. Takes nothing: it is for who may know the ids already."""
        _, docs = self._store.read(self._inside(org), tuple(filter(is_id, ids)))
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
        below: str | None = None,
        name: str | None = None,
        enabled: bool | None = None,
        environment: str | None = None,
        revoked: bool | None = None,
    ) -> tuple[Node, ...]:
        """Up to `limit` nodes of a kind by id after the given one: those that the actor may see.

        parent  right below this node; below: at any depth below it
        name, enabled, environment, revoked    only those of which this is true; None: of all
        """
        self._inside(org)
        if kind not in KINDS:
            raise ConfigurationError("kind", f"is one of {', '.join(KINDS)}")
        check_page(limit)
        wanted = {"enabled": enabled, "environment": environment, "revoked": revoked}
        wanted = {field: value for field, value in wanted.items() if value is not None}
        sees_all = self._actor.may(_SEEING[kind], (org,))
        above: dict[str, tuple[str, ...]] = {}

        def fits(node: Node) -> bool:
            if any(getattr(node, field) != value for field, value in wanted.items()):
                return False
            if sees_all and below is None:
                return True
            ids = self._above(org, node.parent, above)
            may_see = sees_all or self._actor.may(_SEEING[kind], (node.id, *ids))
            return may_see and (below is None or below in ids)

        nodes = map(from_doc, self._all(org, kind, parent or "", after, name))
        return tuple(islice(filter(fits, nodes), limit))

    def _above(self, org: str, id: str, known: dict[str, tuple[str, ...]]) -> tuple[str, ...]:
        """Ids from a node up to its organization, as they stand now; none where it is gone."""
        if id not in known:
            try:
                known[id] = self._directory.load(org, id).ids if id else ()
            except NotFound:
                known[id] = ()
        return known[id]

    def _seen(self, path: Path) -> Node:
        node = path.nodes[0]
        if node.id != self._actor.id:  # a key may always look at itself
            self._require(_SEEING[node.kind], path)
        return node

    def _found(self, org: str, kinds: Sequence[Kind], name_or_id: str) -> Path:
        self._inside(org)
        if is_id(name_or_id):
            _, (doc,) = self._store.read(org, (name_or_id,))
            if doc is not None and doc.kind in kinds:
                return self._directory.load(org, name_or_id)
        return self._directory.load(org, self._only(org, kinds, name_or_id).id)

    def _only(self, org: str, kinds: Sequence[str], name: str) -> Doc:
        """The only document of these kinds with this name in the organization."""
        named = [doc for kind in kinds for doc in islice(self._all(org, kind, "", name=name), 2)]
        what = " or ".join(filter(None, (", ".join(kinds[:-1]), kinds[-1])))
        if len(named) > 1:
            raise AlreadyExists(
                f"There is more than one {what} named '{shortened(name)}'; give its id", code="ambiguous_name"
            )
        if not named:
            raise missing(what, name)
        return named[0]

    def _all(
        self, org: str, kind: str, parent: str, after: str = "", name: str | None = None
    ) -> Iterator[Doc]:
        """Documents of a kind below a parent ("": anywhere), by id after the given one."""
        if (parent and not is_id(parent)) or not (name is None or could_be_a_name(name)):
            return
        if after and not is_id(after):
            raise ConfigurationError("after", "is the id that the page before ended with")
        while page := self._store.children(org, kind, parent, name, after, MAX_PAGE):
            yield from page
            if len(page) < MAX_PAGE:
                return
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


def check_page(limit: int) -> None:
    """Raises ConfigurationError naming `limit` where a page cannot be that long."""
    if isinstance(limit, bool) or not isinstance(limit, int) or not 1 <= limit <= MAX_PAGE:
        raise ConfigurationError("limit", f"is from 1 to {MAX_PAGE}")
