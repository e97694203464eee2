"""How the tree is written: every write is one compare-and-set on the organization's revision, and one audit row.

Whatever a write depends on is read after the revision that it expects, so that it holds at the moment of the write, or
another writer came between and all is read again. What an actor may do is looked at in the same reading. Ids are looked
up inside one organization, so that none reaches into another.
"""

from __future__ import annotations

import copy
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from ..errors import AlreadyExists, Conflict
from ..stores.protocol import Change, Clock, Doc, Store
from .access import HOST, Actor
from .directory import Directory, missing
from .documents import Thing, as_a, is_a, kind_of, to_doc
from .keys import is_id
from .nodes import KINDS, Node, Path

T = TypeVar("T", bound=Thing)

TRIES = 100
"""How often a write is begun anew because another came between."""
CALM = 5
"""After so many tries the next one waits a little, at random, so that writers draw apart."""
JITTER_MS = 10
MAX_PAGE = 1000
"""The most that one list answers."""


@dataclass(frozen=True, slots=True)
class Edit:
    """A write as it was decided from what was read at `rev` or later."""

    what: str
    rev: int
    before: tuple[Thing, ...] = ()
    after: tuple[Thing, ...] = ()
    resume: tuple[str, ...] = ()


class Writes:
    """What all parts of the service have: the store, paths from memory, the clock, and who acts."""

    def __init__(self, store: Store, directory: Directory, clock: Clock, actor: Actor = HOST) -> None:
        self._store = store
        self._directory = directory
        self._clock = clock
        self._actor = actor

    def by(self, actor: Actor) -> Self:
        """The same service, used by this actor: everything is checked against what he may do, and told as his."""
        other = copy.copy(self)
        other._actor = actor
        return other

    def _commit(self, org: str, draft: Callable[[], Edit]) -> Edit:
        """Reads, decides and writes until no other writer came between; answers what was done."""
        for tries in range(TRIES):
            if tries >= CALM:
                time.sleep(secrets.randbelow(JITTER_MS) / 1000)
            edit = draft()
            if edit.before == edit.after:
                return edit
            changed = {thing.id for thing in (*edit.before, *edit.after)}
            kept = tuple(thing.id for thing in edit.after)
            change = Change(
                expect=edit.rev,
                put=tuple(map(to_doc, edit.after)),
                drop=tuple(changed.difference(kept)),
                resume=edit.resume,
                audit=_audit(edit, self._actor, self._clock()),
            )
            try:
                rev = self._store.commit(org, change)
            except Conflict:
                continue
            for id in changed:
                self._directory.forget(org, id)
            return replace(edit, after=tuple(replace(thing, rev=rev) for thing in edit.after))
        raise Conflict(f"organization {org} kept changing; repeat later")

    def _inside(self, org: str) -> str:
        """The organization, if the actor is of it: another's things are not there for him."""
        if not is_id(org) or self._actor.org not in ("", org):
            raise missing("organization", org)
        return org

    def _path(self, org: str, id: str) -> Path:
        """A node and all above it, as they stand now."""
        self._inside(org)
        found = self._store.read(org, (id,))[1][0] if is_id(id) else None
        if found is None or found.kind not in KINDS:
            raise missing("node", id)
        return self._directory.load(org, id)

    def _read(self, of: type[T], what: str, org: str, id: str) -> tuple[int, T]:
        """A document and the revision of the organization. Raises NotFound."""
        self._inside(org)
        if is_id(id):
            rev, (doc,) = self._store.read(org, (id,))
            if doc is not None and is_a(of, doc):
                return rev, as_a(of, doc)
        raise missing(what, id)

    def _called(self, org: str, kind: str, name: str) -> list[Doc]:
        """Up to two documents of a kind with this name, wherever they stand."""
        if (
            not isinstance(name, str) or not name.isprintable()
        ):  # no name is that; not every store could look for it
            return []
        return self._store.children(org, kind, "", name, "", 2)

    def _require(self, permission: str, path: Path) -> None:
        self._actor.require(permission, path.ids)

    def _check_name(self, org: str, thing: Thing) -> None:
        """Raises AlreadyExists where another of its kind has its name at the same place."""
        kind = kind_of(thing)
        if thing.name is None or kind == "organization":
            return
        others = self._store.children(org, kind, thing.parent, thing.name, "", 1)
        if others and others[0].id != thing.id:
            raise taken("name", f"There is a {kind} named '{thing.name}' already")


def taken(field: str, message: str) -> AlreadyExists:
    """The error for a name or id that another has."""
    return AlreadyExists(message, fields={"field": field})


def _audit(edit: Edit, actor: Actor, at: int) -> str:
    row: dict[str, Any] = {
        "what": edit.what,
        "at": at,
        "who": {"kind": actor.kind, "id": actor.id, "name": actor.name},
        "from": actor.address,
        "before": [shown(thing) for thing in edit.before],
        "after": [shown(thing) for thing in edit.after],
    }
    return json.dumps(row, separators=(",", ":"))


def shown(thing: Thing) -> dict[str, Any]:
    """A thing as the audit log has it: what was set on it, and nothing of a key's secret."""
    doc = to_doc(thing)
    body = json.loads(doc.body)
    body.pop("digest", None)
    stopped = {"stopped": thing.stopped} if isinstance(thing, Node) else {}
    return {"id": doc.id, "kind": doc.kind, "parent": doc.parent, "name": thing.name, **stopped, **body}
