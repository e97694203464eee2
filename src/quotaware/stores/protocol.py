"""The Store protocol: plain blocking calls, many steps at once.

A store keeps counters, reservations, records and small documents (the tenancy tree). It knows no limits,
calendars, prices or rules: `core/ledger.py` decides. Every method is thread-safe and ends within its deadline or
raises `StoreError`; no event loop is involved, so one store serves sync and async callers alike.

What several processes share can be lost behind their backs: a server restarts empty, a file is replaced by an older
one. Each organization therefore has an epoch (random, new whenever it begins or was adopted) and a sequence that
grows with each write. A store object remembers the newest it saw of each (`stores/seen.py`) and raises or answers
`Lost` where what it meets now is not that or newer. Nothing is read or written then, until `adopt`.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from ..core.steps import Answer, Event, Op, Row, Sum
from ..errors import StoreError

Clock = Callable[[], int]
"""Answers the time in ms since the epoch, UTC."""

CLOSED_MS = 10_000
"""How long no reserve is taken after an adoption, so that every living process can replay what it knows."""


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


class Item(NamedTuple):
    """One row of an organization as any store can write it and any other read it: `table` says what it is, `key` which,
    `value` is JSON text (`stores/items.py` has the form of each).
    """

    table: str
    key: str
    value: str


class Store(Protocol):
    """Where counters, reservations, records and the tree are kept.

    deadline  seconds that one trip may take, unless `Quota(deadline=…)` says otherwise

    One that serves several trips of a lane at once may say how many as `parallel`; else there is one at a time.
    """

    deadline: float

    def hello(self) -> int:
        """Connects, migrates, checks the set-up; answers the store's clock in ms. Raises `ConfigurationError` where
        the set-up cannot be used, `StoreError`.
        """
        ...

    def lane(self, org: str) -> Hashable | None:
        """Work of one lane shares a trip. None: call `apply` inline, it never waits. Answers without waiting."""
        ...

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        """Runs each organization's steps in order, all or nothing an organization; `deadline` in seconds. Thresholds
        that fire go into the outbox and finished calls into the records in the same step. All organizations in `work`
        are of one lane.
        """
        ...

    def adopt(self, org: str, *, empty: bool = False) -> int | None:
        """Goes on with what is there after a loss: a new epoch, no reserve for `CLOSED_MS`, the revision moved by
        `REV_STEP`. Where another process did that already, its epoch is taken over and nothing changed.

        Answers the revision from before the adoption; None where the organization has no documents: it stays lost until
        an operator restores it or says so with `empty`. Raises `StoreError`.
        """
        ...

    # the tree

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

    # what happened

    def records(
        self, org: str, since: int, until: int, after: str, limit: int, back: bool = False
    ) -> list[tuple[str, Row]]:
        """What finished calls left, in the order in which it was booked, each with its position `<ms>-<count>`: booked
        in [since, until) ms and after the given position ("": from the beginning). `back`: the newest first, and those
        before the position ("": from the end).
        """
        ...

    def under_way(self, org: str, limit: int) -> list[tuple[str, str]]:
        """Reservations that have not ended, as (id, about), in no order and at most so many."""
        ...

    def folded(self, org: str) -> str:
        """The watermark: the position up to which records are in the sums ("": none)."""
        ...

    def sums(self, org: str, cube: str, since: int, until: int, lead: str = "") -> list[Sum]:
        """Sums of a cube whose bucket is in [since, until) ms and whose dims begin with `lead`."""
        ...

    def pick(self, org: str, which: Sequence[tuple[str, int, str]]) -> list[str | None]:
        """The bodies of single sums, by (cube, bucket, dims)."""
        ...

    def fold(self, org: str, after: str, upto: str, put: Sequence[Sum]) -> bool:
        """Writes sums (in place of what stands there) and moves the watermark from `after` to `upto`, in one step.
        False, and nothing is written, where the watermark is not `after`: another folded first.
        """
        ...

    def keep(self, org: str, after: str, rows: Sequence[tuple[str, Row]]) -> bool:
        """Writes records that another store booked, at the positions that they have there, and moves the watermark from
        `after` to the last of them, in one step: they are in that store's sums, and this one's retention may take
        them. False, and nothing is written, where the watermark is not `after`: another copied first.
        """
        ...

    def outbox(self, org: str, put: Sequence[Event] = (), done: Sequence[str] = ()) -> list[Event]:
        """Adds events (one whose id is there already is left as it is), takes away those that are done, and answers
        those that are to be told, oldest first.
        """
        ...

    def once(self, org: str, name: str, value: str, ttl: int, expect: str | None = None) -> str:
        """Sets `name` for `ttl` ms where it is free or holds `expect`; answers the value that stands."""
        ...

    # house-keeping

    def prune(self, org: str, limit: int) -> int:
        """Removes up to `limit` rows a kind that are past their time (counters, ended reservations, sums), and of the
        folded records those older than the store's retention, the oldest first; answers how many, 0 when nothing was
        left to do.
        """
        ...

    def dump(self, org: str) -> Iterator[Item]:
        """All of an organization (`stores/items.py`), documents first, and records after its log, counters and
        reservations. Not one consistent look: for an app that is stopped, and for checks.
        """
        ...

    def load(self, org: str, rows: Iterable[Item]) -> None:
        """Writes what another store's `dump` answered. Raises `StoreError` where the organization is here already."""
        ...

    def close(self) -> None:
        """Lets go of files and connections; a closed store raises `StoreError`."""
        ...
