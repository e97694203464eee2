"""Where a key or project stands, from memory: what is asked for every call.

Looks never wait; loads read the store. What a look answers may be out of date, and that is safe: a reserve
carries the path's revision and ids, and the store names those that changed since (`Result.stale`); whoever
trusts a path without a reserve says for how long. A key's digest only leads to its document, which is the
truth. Deciding what a caller may do is left to others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum
from threading import Lock
from typing import Final, Literal, NamedTuple

from cachetools import LRUCache, TTLCache

from .. import forks
from ..errors import NotFound, PermissionDenied, StoreError
from ..stores.protocol import Clock, Doc, Store
from .access import Actor
from .acting import acting, member_named
from .documents import from_doc
from .keys import is_id
from .nodes import KINDS, Node, Path

PATHS = 2_500
"""Paths that are kept, those used last."""
UNKNOWN_MS = 60_000
"""How long a digest that the store did not know is taken for unknown without asking again."""


class KeyPlace(NamedTuple):
    """Where a key's document lies."""

    org: str
    key: str


class _Look(Enum):
    UNREAD = "not looked up yet"


UNREAD: Final = _Look.UNREAD
"""What `peek_key` answers for a digest that has not been looked up yet."""


class Directory:
    """Paths and key digests, thread-safe and bounded: `size` each of paths, known and unknown digests."""

    def __init__(self, store: Store, clock: Clock, size: int = 10_000) -> None:
        self._store = store
        self._clock = clock
        self._size = size
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: nothing is known."""
        size = self._size
        self._lock = Lock()
        self.administered = (
            False  # whether there is anybody who may manage an organization, as far as is known
        )
        self._paths: LRUCache[tuple[str, str, str], tuple[Path, int]] = LRUCache(min(size, PATHS))
        self._places: LRUCache[str, KeyPlace] = LRUCache(size)
        self._homes: LRUCache[str, str] = LRUCache(size)
        self._unknown: TTLCache[str, None] = TTLCache(size, UNKNOWN_MS, timer=self._clock)

    def peek_key(self, digest: str) -> KeyPlace | Literal[_Look.UNREAD] | None:
        """Where the key with this SHA-256 lies; None where there is none; UNREAD where `load_key` is due."""
        with self._lock:
            place = self._places.get(digest)
            if place is not None:
                return place
            return None if digest in self._unknown else UNREAD

    def load_key(self, digest: str) -> KeyPlace | None:
        """Asks the store where the key lies. Blocks; raises StoreError."""
        found = self._store.find(digest)
        if found is not None:
            return self.learn_key(digest, *found)
        with self._lock:
            place = self._places.get(digest)  # one that was learned while the store was asked
            if place is None:
                self._unknown[digest] = None
            return place

    def learn_key(self, digest: str, org: str, key: str) -> KeyPlace:
        """Takes note of a key that was just linked, or found."""
        place = KeyPlace(org, key)
        with self._lock:
            self._unknown.pop(digest, None)
            self._places[digest] = place
        return place

    def forget_key(self, digest: str) -> None:
        """Lets go of what is known of a digest."""
        with self._lock:
            self._places.pop(digest, None)

    def peek(self, org: str, node_id: str, within: int | None = None, member: str = "") -> Path | None:
        """The path as last loaded, if it is here; with `within`, only if that was at most so many ms ago. `member`: the
        name of the one who acts there.
        """
        with self._lock:
            entry = self._paths.get((org, node_id, member))
        if entry is None:
            return None
        path, at = entry
        return path if within is None or 0 <= self._clock() - at <= within else None

    def load(self, org: str, node_id: str, member: str = "") -> Path:
        """Reads the node and all above it, in one trip where the way up is known; and who acts there.

        Blocks; raises NotFound where the node, one above it or the member is missing, StoreError.
        """
        at = self._clock()
        known = self.peek(org, node_id, member=member)
        path = self._reread(known) if known else None
        try:
            path = path or self._climb(org, node_id)
            if member:
                path = self._with_member(path, member)
        except NotFound:
            self.forget(org, node_id, member)
            raise
        return self._kept(path, node_id, member, at)

    def load_all(self, org: str, ids: Iterable[str]) -> dict[str, Path]:
        """The paths of many nodes, in one trip as far as the way up is known, as one moment has them. What is gone is
        not there. Blocks; raises StoreError.
        """
        at, ids = self._clock(), list(dict.fromkeys(ids))
        known = {id: path for id in ids if (path := self.peek(org, id)) is not None}
        wanted = dict.fromkeys(node.id for path in known.values() for node in (*path.nodes, *path.makers))
        rev, docs = self._store.read(org, tuple(wanted)) if wanted else (0, [])
        now = dict(zip(wanted, docs, strict=True))
        found = {}
        for id in ids:
            path = _still(known[id], rev, now) if id in known else None
            if path is not None:
                found[id] = self._kept(path, id, "", at)
                continue
            with contextlib.suppress(NotFound):
                found[id] = self.load(org, id)
        return found

    def _kept(self, path: Path, node_id: str, member: str, at: int) -> Path:
        """What is known from now on: this, or what is newer."""
        with self._lock:
            newest = self._paths.get((path.org, node_id, member))
            if newest is not None and newest[0].rev > path.rev:
                return newest[0]
            self._paths[path.org, node_id, member] = path, at
        return path

    def acting(self, org: str, name: str) -> Actor:
        """The actor that a member is. Blocks; raises NotFound, PermissionDenied (it is disabled), StoreError."""
        member = member_named(self._store, org, name) if is_id(org) else None
        if member is None:
            raise missing("member", name)
        if not member.enabled:
            raise PermissionDenied(f"Member '{name[:100]}' is disabled", code="disabled")
        return acting(self._store, org, member).actor

    def _with_member(self, path: Path, name: str) -> Path:
        rev, _ = self._store.read(path.org, ())
        member = member_named(self._store, path.org, name)
        if member is None:
            raise missing("member", name)
        found = acting(self._store, path.org, member)
        return replace(
            path, rev=min(path.rev, rev, found.rev), people=found.deps, held=found.actor.at(path.ids)
        )

    def locate(self, node_id: str) -> str | None:
        """The organization that a node stands in, or None. Blocks; raises StoreError."""
        with self._lock:
            known = self._homes.get(node_id)
        if known is not None or not is_id(node_id):
            return known
        after = ""
        while orgs := self._store.orgs(after, 100):
            for org in orgs:
                _, (doc,) = self._store.read(org, (node_id,))
                if doc is not None:
                    with self._lock:
                        self._homes[node_id] = org
                    return org
            after = orgs[-1]
        return None

    def only_organization(self) -> str | None:
        """The organization, where there is only one. Blocks; raises StoreError."""
        orgs = self._store.orgs("", 2)
        return orgs[0] if len(orgs) == 1 else None

    def peek_home(self, node_id: str) -> str | None:
        """The organization that a node stands in, if that is known here."""
        with self._lock:
            return self._homes.get(node_id)

    def forget_all(self, org: str) -> None:
        """Lets go of all paths of an organization, and of what was unknown."""
        with self._lock:
            for place in [place for place in self._paths if place[0] == org]:
                del self._paths[place]
            self._unknown.clear()

    def forget(self, org: str, node_id: str, member: str = "") -> None:
        """Lets go of a path, so that the next look has to load it."""
        with self._lock:
            self._paths.pop((org, node_id, member), None)

    def _reread(self, known: Path) -> Path | None:
        """The same path as it is now; None where it no longer leads up that way."""
        ids = tuple(node.id for node in (*known.nodes, *known.makers))
        rev, docs = self._store.read(known.org, ids)
        return _still(known, rev, dict(zip(ids, docs, strict=True)))

    def _climb(self, org: str, node_id: str) -> Path:
        revs: list[int] = []
        docs: list[Doc] = []
        above = node_id
        while above or not docs:
            if len(docs) == len(KINDS):
                raise StoreError(f"the way up from {node_id} does not end")
            rev, (doc,) = self._store.read(org, (above,)) if is_id(above) else (1, [None])
            if rev == 0:  # gone, not merely without this node: nobody is told that a good key is none
                raise StoreError(f"organization {org} is not in the store")
            if doc is None:
                raise missing("node", above)
            revs.append(rev)
            docs.append(doc)
            above = doc.parent
        nodes = tuple(map(from_doc, docs))
        makers: list[Node] = []
        if nodes[0].makers:
            rev, found = self._store.read(org, nodes[0].makers)
            revs.append(rev)
            makers = [from_doc(doc) for doc in found if doc is not None]  # one that had limits is not let go
        return Path(org, min(revs), nodes, makers=tuple(makers))


def missing(what: str, id: str) -> NotFound:
    """The error for an id or name that is not there."""
    return NotFound(f"There is no {what} '{shortened(id)}' in this organization")


def shortened(text: object) -> str:
    """What somebody gave as an id or a name, fit to be repeated: at most 100 characters, each printable."""
    return "".join(char if char.isprintable() else "?" for char in str(text)[:100])


def _still(known: Path, rev: int, docs: Mapping[str, Doc | None]) -> Path | None:
    """A path as its documents have it at a revision; None where they no longer lead up that way."""
    nodes = (*known.nodes, *known.makers)
    found = [from_doc(doc) for node in nodes if (doc := docs[node.id]) is not None]
    if [(node.id, node.parent) for node in found] != [(node.id, node.parent) for node in nodes]:
        return None
    height = len(known.nodes)
    if not {node.id for node in found[height:]} <= set(found[0].makers):
        return None
    return Path(known.org, rev, tuple(found[:height]), makers=tuple(found[height:]))
