"""How the tree is written: every write is one compare-and-set on the organization's revision, and one audit row.

Whatever a write depends on is read after the revision that it expects, so that it holds at the moment of the write, or
another writer came between and all is read again. So is what the actor may do: who lost a right a moment ago has it no
more. Ids are looked up inside one organization, so that none reaches into another. What is refused leaves all as it is,
and an audit row (`refusals.py`).
"""

from __future__ import annotations

import contextlib
import copy
import json
import logging
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self, TypeVar

from ..errors import AlreadyExists, AuthenticationError, Conflict, NotFound, PermissionDenied, StoreError
from ..logs import logged
from ..stores.protocol import Change, Clock, Store
from .access import HOST, Actor, of_key
from .acting import acting
from .admins import check_admins
from .carrying import dated
from .channels import Channel
from .directory import Directory, missing, shortened
from .documents import Thing, as_a, is_a, kind_of, to_doc
from .keys import is_id
from .nodes import KINDS, Node, Path
from .people import Member
from .refusals import Refusals
from .stops import rearmed, rules_changed

logger = logging.getLogger("quotaware")

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
        self._refusals = Refusals(clock)

    def by(self, actor: Actor) -> Self:
        """The same service, used by this actor: everything is checked against what he may do, and told as his."""
        other = copy.copy(self)
        other._actor = actor
        return other

    def _commit(
        self, org: str, what: str, on: str, draft: Callable[[], Edit], expect: int | None = None
    ) -> Edit:
        """Reads, decides and writes until no other writer came between; answers what was done. `what` and `on` tell of
        an attempt that is refused: what was to be done, and on which thing.

        expect   the revision that this thing must be at; looked at last, so that only who may do it learns of it (RFC
                 9110, 13.2.1). AlreadyExists with code `changed_meanwhile` where it is at another
        """
        self._inside(org)
        for tries in range(TRIES):
            if tries >= CALM:
                time.sleep(secrets.randbelow(JITTER_MS) / 1000)
            try:
                actor, rev = self._actor_now()
                self._actor = actor
                edit = draft()
                self._check_admins(org, edit)
            except PermissionDenied as refusal:
                self._tell_refused(org, what, on, refusal)
                raise
            if self._actor is not actor:  # another thread does something as the same actor
                continue
            edit = _dated(edit, self._clock())
            if expect is not None:
                _check_expected(edit, on, expect)
            if edit.before == edit.after:
                return edit
            changed = {thing.id for thing in (*edit.before, *edit.after)}
            kept = tuple(thing.id for thing in edit.after)
            change = Change(
                expect=edit.rev if rev is None else min(edit.rev, rev),
                put=tuple(map(to_doc, edit.after)),
                drop=tuple(changed.difference(kept)),
                resume=edit.resume,
                audit=self._audit(edit, actor),
            )
            try:
                rev = self._store.commit(org, change)
            except Conflict:
                continue
            for id in changed:
                self._directory.forget(org, id)
            self._rearm(org, edit)
            return replace(edit, after=tuple(replace(thing, rev=rev) for thing in edit.after))
        raise Conflict(f"organization {org} kept changing; repeat later")

    def _audit(self, edit: Edit, actor: Actor) -> str:
        """The row of the audit log."""
        row: dict[str, Any] = {
            **row_of(edit.what, actor, self._clock()),
            "before": [shown(thing) for thing in edit.before],
            "after": [shown(thing) for thing in edit.after],
        }
        return json.dumps(row, separators=(",", ":"))

    def _actor_now(self) -> tuple[Actor, int | None]:
        """The actor with what it may do now, and the revision at which that was read. Raises AuthenticationError for a
        key that is none any more, PermissionDenied for one that is disabled.
        """
        actor = self._actor
        if actor.kind == "host":
            return actor, None
        if actor.kind == "member":
            rev, member = self._read(Member, "member", actor.org, actor.id)
            found = acting(self._store, actor.org, member)
            return found.actor.seen_from(actor.address), min(rev, found.rev)
        try:
            path = self._directory.load(actor.org, actor.id)
        except NotFound:
            raise AuthenticationError from None
        key = path.nodes[0]
        if key.revoked or (key.expires_at is not None and key.expires_at <= self._clock()):
            raise AuthenticationError
        if off := [node for node in path.nodes if not node.enabled]:
            raise PermissionDenied(
                f"{off[0].kind.capitalize()} '{off[0].name or off[0].id}' is disabled", code="disabled"
            )
        return of_key(path).seen_from(actor.address), path.rev

    def _check_admins(self, org: str, edit: Edit) -> None:
        """Raises AlreadyExists where nobody would be left who may manage the organization; the host may do that."""
        if self._actor.kind != "host":
            check_admins(self._store, org, edit.before, edit.after, self._clock())

    def _tell_refused(self, org: str, what: str, on: str, refusal: PermissionDenied) -> None:
        """An audit row of an attempt that was refused; none where there were too many (`Refusals`)."""
        actor = self._actor
        if not self._refusals.worth_telling(org, actor.id):
            return
        row = {
            **row_of(f"{what}.refused", actor, self._clock()),
            "on": shortened(on),
            "why": {"code": refusal.code, "message": refusal.message},
            "before": [],
            "after": [],
        }
        told = json.dumps(row, separators=(",", ":"))
        with contextlib.suppress(StoreError):  # the refusal stands all the same
            for _ in range(TRIES):
                with contextlib.suppress(Conflict):
                    self._store.commit(org, Change(self._store.read(org, ())[0], audit=told))
                    return

    def _rearm(self, org: str, edit: Edit) -> None:
        """Lets the store know the thresholds of changed limits at once: a call under way, settled under the old ones,
        must not stop a node that runs, and whose budget was raised meanwhile.
        """
        before = {thing.id: thing for thing in edit.before if isinstance(thing, Node)}
        for new in edit.after:
            old = before.get(new.id)
            if old is None or not isinstance(new, Node) or not rules_changed(old, new) or new.stopped:
                continue
            try:
                if rearmed(self._store, self._directory, org, new.id, self._clock):
                    continue
            except (StoreError, NotFound):
                pass
            logger.warning(
                "%s of organization %s may be stopped by a threshold that was changed",
                new.id,
                org,
                extra=logged("stop_may_remain", node=new.id, organization=org),
            )

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

    def _require(self, permission: str, path: Path) -> None:
        self._actor.require(permission, path.ids)

    def _check_id(self, org: str, thing: Thing) -> None:
        """Raises AlreadyExists where something has the id of what is new, or another of its kind goes by it as a name:
        ids go before names, and who makes the one would be taken for the other.
        """
        _, (there,) = self._store.read(org, (thing.id,))
        kind = kind_of(thing)
        if there is not None:
            raise taken("id", f"There is a {there.kind} with the id '{thing.id}' already")
        if self._store.children(org, kind, "", thing.id, "", 1):
            raise taken("id", f"There is a {kind} named '{thing.id}' already; choose another id")

    def _check_name(self, org: str, thing: Thing) -> None:
        """Raises AlreadyExists where another of its kind has its name at the same place."""
        kind = kind_of(thing)
        if thing.name is None or kind == "organization":
            return
        others = self._store.children(org, kind, thing.parent, thing.name, "", 1)
        if others and others[0].id != thing.id:
            raise taken("name", f"There is a {kind} named '{thing.name}' already")


def _dated(edit: Edit, now: int) -> Edit:
    """The write with what its nodes say of since when they are as they are."""
    before = {thing.id: thing for thing in edit.before if isinstance(thing, Node)}
    return replace(
        edit,
        after=tuple(
            dated(before.get(thing.id), thing, now) if isinstance(thing, Node) else thing
            for thing in edit.after
        ),
    )


def _check_expected(edit: Edit, on: str, expect: int) -> None:
    (rev,) = (thing.rev for thing in edit.before if thing.id == on)
    if rev != expect:
        raise AlreadyExists(
            "It was changed meanwhile; read it again", code="changed_meanwhile", fields={"revision": rev}
        )


def taken(field: str, message: str) -> AlreadyExists:
    """The error for a name or id that another has."""
    return AlreadyExists(message, fields={"field": field})


def row_of(what: str, actor: Actor, at: int) -> dict[str, Any]:
    """How every row begins."""
    who = {"kind": actor.kind, "id": actor.id, "name": actor.name}
    return {"what": what, "at": at, "who": who, "from": actor.address}


def shown(thing: Thing) -> dict[str, Any]:
    """A thing as the audit log has it: what was set on it, and nothing of a key's secret."""
    doc = to_doc(thing.without_secrets() if isinstance(thing, Channel) else thing)
    body = json.loads(doc.body)
    body.pop("digest", None)
    stopped = {"stopped": thing.stopped} if isinstance(thing, Node) else {}
    return {"id": doc.id, "kind": doc.kind, "parent": doc.parent, "name": thing.name, **stopped, **body}
