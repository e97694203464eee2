"""The Store protocol: plain blocking calls, many steps at once.

A store keeps counters, reservations, records and small documents (the tenancy tree). It knows no limits,
calendars, prices or rules: `core/ledger.py` decides. Every method is thread-safe and ends within its deadline or
raises `StoreError`; no event loop is involved, so one store serves sync and async callers alike.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..core.steps import Answer, Op, Row
from ..errors import StoreError

Clock = Callable[[], int]
"""Answers the time in ms since the epoch, UTC."""


class Doc(NamedTuple):
    """A document of the tenancy tree.

    id, kind, parent, name   where it stands; a name is unique among the children of one parent and kind
    rev      the organization's revision at which it last changed (set by the store)
    body     JSON text that the store does not read
    stopped  the threshold that stopped it, if one did
    """

    id: str
    kind: str
    parent: str
    name: str | None
    rev: int
    body: str
    stopped: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """One change of an organization's documents, taken whole or not at all.

    expect  the revision it was computed from; another one there is a `Conflict`
    put     documents to write (their `rev` is ignored); drop: ids to delete; resume: nodes whose stop ends
    audit   a row for the audit log, JSON text
    """

    expect: int
    put: tuple[Doc, ...] = ()
    drop: tuple[str, ...] = ()
    resume: tuple[str, ...] = ()
    audit: str = ""


class Store(Protocol):
    """Where counters, reservations, records and the tree are kept."""

    def hello(self) -> int:
        """Connects, migrates, checks the set-up; answers the store's clock in ms."""
        ...

    def lane(self, org: str) -> Hashable | None:
        """Work of one lane shares a trip. None: call `apply` inline, it never waits."""
        ...

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        """Runs each organization's steps in order, all or nothing an organization; `deadline` in seconds."""
        ...

    def link(self, digest: str, org: str, key: str) -> None:
        """Remembers where the key with this SHA-256 lives: a hint, the key's document is the truth."""
        ...

    def unlink(self, digest: str) -> None:
        """Forgets it."""
        ...

    def find(self, digest: str) -> tuple[str, str] | None:
        """(organization, key id) of a key's digest."""
        ...

    def orgs(self, after: str, limit: int) -> list[str]:
        """Ids of organizations, in order, after the given one."""
        ...

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        """One consistent look at documents, with the organization's revision (0: there is none)."""
        ...

    def children(
        self, org: str, kind: str, parent: str, name: str | None, after: str, limit: int
    ) -> list[Doc]:
        """Documents of a kind below a parent ('' for any), by id after the given one; `name` picks one."""
        ...

    def commit(self, org: str, change: Change) -> int:
        """Writes a change; answers the new revision. Raises `Conflict`."""
        ...

    def audit(self, org: str, after: int, limit: int) -> list[tuple[int, str]]:
        """Audit rows as (revision, JSON text), after the given revision."""
        ...

    def records(self, org: str, since: int, until: int, after: str, limit: int) -> list[Row]:
        """What finished calls left, by reservation id and part, whose reserve was in [since, until) ms, after the
        given id; a page never ends between a call and its correction.
        """
        ...

    def once(self, org: str, name: str, value: str, ttl: int, expect: str | None = None) -> str:
        """Sets `name` for `ttl` ms where it is free or holds `expect`; answers the value that stands."""
        ...

    def close(self) -> None:
        """Lets go of files and connections; a closed store raises `StoreError`."""
        ...
