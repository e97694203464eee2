"""An organization's documents as they would be after some writes: a copy in memory that the service works on as it does
on a store, so that many writes can be tried, and then be done as one.

Counters are the store's own, and are only looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from ..core.steps import Answer, Op
from ..errors import Conflict, StoreError
from ..stores.protocol import Change, Doc, Store
from .documents import DOCUMENTS, Thing, read_doc
from .writes import MAX_PAGE, TRIES

Place = tuple[str, str, str | None]


class Changed(NamedTuple):
    """What became of the documents."""

    before: tuple[Thing, ...]
    after: tuple[Thing, ...]
    resume: tuple[str, ...]


class Sketch:
    """The part of a store that has to do with documents, of one organization.

    rev     the revision that it was copied at
    links   digests of keys that were made since; unlinked: of keys that are gone
    """

    def __init__(self, store: Store, rev: int, docs: Iterable[Doc]) -> None:
        self.deadline = store.deadline
        self.rev = rev
        self.links: dict[str, tuple[str, str]] = {}
        self.unlinked: list[str] = []
        self._store = store
        self._now = rev
        self._docs: dict[str, Doc] = {}
        self._places: dict[Place, set[str]] = {}
        self._resumed: dict[str, None] = {}
        self._touched: dict[str, Doc | None] = {}
        for doc in docs:
            self._put(doc)

    def of(self, kind: str) -> Iterator[Thing]:
        """All things of a kind, by id."""
        yield from map(read_doc, self.children("", kind, "", None, "", len(self._docs)))

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        """As a store has it."""
        return self._now, [self._docs.get(id) for id in ids]

    def children(
        self, org: str, kind: str, parent: str, name: str | None, after: str, limit: int
    ) -> list[Doc]:
        """As a store has it."""
        found = sorted(id for id in self._places.get((kind, parent, name), ()) if id > after)
        return [self._docs[id] for id in found[:limit]]

    def commit(self, org: str, change: Change) -> int:
        """As a store has it, but for the audit row: there will be one of the whole; and for names, of which two may be
        the same until all is done (`twice_named`).
        """
        if change.expect != self._now:
            raise Conflict("the sketch was changed by another")
        self._now += 1
        for id in change.drop:
            self._touch(id)
            self._take(id)
        for doc in change.put:
            self._touch(doc.id)
            old = self._docs.get(doc.id)
            self._take(doc.id)
            self._put(doc._replace(rev=self._now, stopped=old.stopped if old is not None else None))
        for id in change.resume:
            self._touch(id)
            self._resumed[id] = None
            self._put(self._docs[id]._replace(rev=self._now, stopped=None))
        return self._now

    def link(self, digest: str, org: str, key: str) -> None:
        """As a store has it."""
        self.links[digest] = (org, key)

    def unlink(self, digest: str) -> None:
        """As a store has it."""
        self.links.pop(digest, None)
        self.unlinked.append(digest)

    def find(self, digest: str) -> tuple[str, str] | None:
        """As a store has it."""
        return self.links.get(digest) or self._store.find(digest)

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        """Looks at the store's own counters."""
        return self._store.apply(work, deadline)

    def changed(self) -> Changed:
        """What differs from the copy by now."""
        pairs = [(was, self._docs.get(id)) for id, was in self._touched.items()]
        pairs = [(was, now) for was, now in pairs if _said(was) != _said(now)]
        return Changed(
            tuple(read_doc(was) for was, _ in pairs if was is not None),
            tuple(read_doc(now) for _, now in pairs if now is not None),
            tuple(id for id in self._resumed if id in self._docs),
        )

    def twice_named(self) -> Doc | None:
        """Something that was changed and has the name of another of its kind at its place."""
        for id in self._touched:
            doc = self._docs.get(id)
            if doc is None or doc.name is None or doc.kind == "organization":
                continue
            if len(self._places[doc.kind, doc.parent, doc.name]) > 1:
                return doc
        return None

    def _touch(self, id: str) -> None:
        self._touched.setdefault(id, self._docs.get(id))

    def _take(self, id: str) -> None:
        doc = self._docs.pop(id, None)
        for place in _places(doc) if doc is not None else ():
            self._places[place].discard(id)

    def _put(self, doc: Doc) -> None:
        self._docs[doc.id] = doc
        for place in _places(doc):
            self._places.setdefault(place, set()).add(doc.id)


def sketched(store: Store, org: str) -> Sketch:
    """A copy of an organization as it stood at one revision; an empty one where there is none. Raises Conflict where it
    kept changing, StoreError.
    """
    for _ in range(TRIES):
        rev, _ = store.read(org, ())
        docs = [doc for kind in DOCUMENTS for doc in _all(store, org, kind)]
        if store.read(org, ())[0] == rev:
            return Sketch(store, rev, docs)
    raise Conflict(f"organization {org} kept changing; repeat later")


def _all(store: Store, org: str, kind: str) -> Iterator[Doc]:
    after = ""
    while page := store.children(org, kind, "", None, after, MAX_PAGE):
        yield from page
        if len(page) < MAX_PAGE:
            return
        after = page[-1].id


def _places(doc: Doc) -> Iterable[Place]:
    places: set[Place] = {(doc.kind, "", None), (doc.kind, doc.parent, None)}
    if doc.name is not None:
        places |= {(doc.kind, "", doc.name), (doc.kind, doc.parent, doc.name)}
    return places


def _said(doc: Doc | None) -> Doc | None:
    return None if doc is None else doc._replace(rev=0)
