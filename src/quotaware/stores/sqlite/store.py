"""The Store protocol over one SQLite file."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from sqlite3 import Connection
from typing import Any, Literal

from ...core.steps import REMEMBER_MS, REV_STEP, Answer, Event, Op, Row, Sum, position, position_of
from ...errors import ConfigurationError, Conflict, StoreError
from ..memory import system_clock
from ..protocol import CLOSED_MS, Change, Clock, Doc, Item
from ..seen import Seen, new_epoch
from . import moving, tree
from .books import Books, Organization, find
from .file import DatabaseFile
from .rows import PUT_RECORD, RECORD, record_of, record_row

Durability = Literal["commit", "relaxed"]

DAY_MS = 86_400_000
RECORDS_DAYS = 400
PLAN_MS = 3_600_000
"""A plan is written anew after this time, if it is still in use, and forgotten if it is not."""
FORMER = 16
"""Epochs before an organization's own that are remembered."""

_SYNCHRONOUS = {"commit": "FULL", "relaxed": "NORMAL"}
_PAST = {
    "counter": ("key", "expires <= :now"),
    "reservation": ("id", "id < :horizon AND how IS NOT NULL"),
    "plan": (
        "digest",
        """made < :settled AND digest NOT IN (
            SELECT plan FROM reservation INDEXED BY reservation_lease WHERE org = :org AND how IS NULL UNION ALL
            SELECT plan FROM reservation INDEXED BY reservation_expired WHERE org = :org AND how = 'expired')""",
    ),
    "total": ("cube, bucket, dims", "keep <= :now"),
    "record": (
        "booked, count",
        "booked < :oldest AND (booked, count) <= (:booked, :count) ORDER BY booked, count",
    ),
}
"""Which rows of a table are past their time, and the key to find them by."""
_SUMS = """SELECT cube, bucket, dims, body, keep FROM total
    WHERE org = :org AND cube = :cube AND bucket >= :since AND bucket < :until"""
_SUMS_WITH = """WITH RECURSIVE begins (bucket) AS (
        SELECT min(bucket) FROM total WHERE org = :org AND cube = :cube AND bucket >= :since AND bucket < :until
        UNION ALL
        SELECT (SELECT min(bucket) FROM total
            WHERE org = :org AND cube = :cube AND bucket > begins.bucket AND bucket < :until)
        FROM begins WHERE bucket IS NOT NULL
    )
    SELECT cube, total.bucket, dims, body, keep FROM begins CROSS JOIN total
    WHERE org = :org AND cube = :cube AND total.bucket = begins.bucket AND dims >= :lead AND dims < :end"""
"""Bucket by bucket, each of which is looked up by how its dims begin."""
_LAST = chr(0x10FFFF)
"""Sorts behind all that dims go on with."""


class SQLiteStore:
    """Counters, reservations, records and documents in one file, for all processes and threads of one host.

    path          the file, made at the first use
    clock         ms since the epoch; time never runs back inside
    durability    "commit": what was acknowledged survives a crash of the process, of the system, and a loss of power
                  (the log is synced with each batch). "relaxed": it survives a crash of the process; a crash of the
                  system or a loss of power takes what was written since the log was last copied into the file (some
                  16 MiB of it at most), and the file stays whole
    records_days  how long records are kept once they are in the sums; None for ever
    network_ok    take a file on a network file system, where locks may not hold

    A file that is to be put back must be moved into place (`mv`) as a whole, not written into. Raises
    `ConfigurationError`.
    """

    deadline = 1.0

    def __init__(
        self,
        path: str,
        clock: Clock = system_clock,
        *,
        durability: Durability = "commit",
        records_days: int | None = RECORDS_DAYS,
        network_ok: bool = False,
    ) -> None:
        if not path or path == ":memory:" or "\0" in path:
            raise ConfigurationError("store", f"{path!r} is no file; name one, or use memory://")
        if durability not in _SYNCHRONOUS:
            raise ConfigurationError("durability", f'{durability!r} is neither "commit" nor "relaxed"')
        if records_days is not None and not (isinstance(records_days, int) and records_days > 0):
            raise ConfigurationError(
                "records_days",
                f"{records_days!r} is no number of days; give 1 or more, or None to keep them for ever",
            )
        self._clock = clock
        self._records_days = records_days
        self._books = Books()
        self._seen = Seen()
        self._file = DatabaseFile(
            path,
            synchronous=_SYNCHRONOUS[durability],
            network_ok=network_ok,
            forgets=self._books.forget,
            doubts=self._seen.doubt_all,
        )

    def hello(self) -> int:
        self._file.open(self.deadline)
        return self._clock()

    def lane(self, org: str) -> Hashable | None:
        return "sqlite"

    @property
    def path(self) -> str:
        """The file, as an absolute path."""
        return self._file.path

    def schema(self) -> tuple[int, int]:
        """The schema of the file as it stands, and the newest that is known here; nothing is changed."""
        return self._file.schema()

    @property
    def place(self) -> Hashable:
        """What tells it from other stores: the same for each spelling of its path."""
        return self._file.place()

    def close(self) -> None:
        self._file.close()

    # what happens

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        answers: dict[str, Answer | StoreError] = {}
        met: list[Organization] = []
        with self._file.write(deadline, then=partial(self._put_back, met)) as sql:
            now = self._clock()
            for org, ops in work.items():
                state = self._books.take(sql, org, self._file.others)
                if lost := self._seen.check(org, state.epoch, state.seq):
                    answers[org] = lost
                else:
                    answers[org] = self._books.batch(sql, state, ops, now)
                    met.append(state)
        return answers

    def adopt(self, org: str, *, empty: bool = False) -> int | None:
        met: list[Organization] = []
        if not empty and self._file.gone():
            return None
        with self._file.write(self.deadline, then=partial(self._go_on, met), anew=empty) as sql:
            state = self._books.take(sql, org, self._file.others)
            known, newest = self._seen.of(org)[:2]
            archived = (
                state.folded and not state.booked
            )  # records of another store, which can copy them again
            if not (empty or state.accepted or archived or tree.there(sql, org)):
                return None
            met.append(state)
            if known and known == state.epoch and state.seq >= newest:
                return state.rev
            now = self._books.time(state, self._clock())
            former = state.former.split()
            if state.epoch and (known in former or now < state.closed):
                return state.base
            before = [epoch for epoch in (known, state.epoch) if epoch and epoch not in former]
            state.former = " ".join([*before, *former][:FORMER])
            state.epoch, state.base = new_epoch(), state.rev
            state.now, state.closed, state.rev = now, now + CLOSED_MS, state.rev + REV_STEP
            state.accepted = int(empty or state.accepted)
            state.save(sql)
            return state.base

    # the tree

    def link(self, digest: str, org: str, key: str) -> None:
        with self._file.write(self.deadline) as sql:
            sql.execute("INSERT OR REPLACE INTO link VALUES (?, ?, ?)", (digest, org, key))

    def unlink(self, digest: str) -> None:
        with self._file.write(self.deadline) as sql:
            sql.execute("DELETE FROM link WHERE digest = ?", (digest,))

    def find(self, digest: str) -> tuple[str, str] | None:
        with self._file.read(self.deadline) as sql:
            found: tuple[str, str] | None = sql.execute(
                "SELECT org, key FROM link WHERE digest = ?", (digest,)
            ).fetchone()
            return found

    def orgs(self, after: str, limit: int) -> list[str]:
        with self._file.read(self.deadline) as sql:
            return tree.orgs(sql, after, limit)

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        with self._reading(org) as (sql, state):
            return state.rev, [tree.doc(sql, org, id) for id in ids]

    def children(
        self, org: str, kind: str, parent: str, name: str | None, after: str, limit: int
    ) -> list[Doc]:
        with self._reading(org) as (sql, _):
            return tree.children(sql, org, kind, parent, name, after, limit)

    def commit(self, org: str, change: Change) -> int:
        with self._writing(org) as (sql, state):
            if state.rev != change.expect:
                raise Conflict(f"organization {org} is at revision {state.rev}, not {change.expect}")
            state.rev += 1
            tree.change(sql, org, change, state.rev)
            state.revs.clear()
            state.save(sql)
            return state.rev

    def audit(self, org: str, after: int, limit: int) -> list[tuple[int, str]]:
        with self._reading(org) as (sql, _):
            found = "SELECT rev, row FROM audit WHERE org = ? AND rev > ? ORDER BY rev LIMIT ?"
            return sql.execute(found, (org, after, limit)).fetchall()

    def once(self, org: str, name: str, value: str, ttl: int, expect: str | None = None) -> str:
        with self._writing(org) as (sql, state):
            now = self._books.time(state, self._clock())
            found = sql.execute("SELECT value, until FROM once WHERE org = ? AND name = ?", (org, name))
            standing, until = found.fetchone() or ("", 0)
            if until > now and standing != expect:
                return str(standing)
            sql.execute("DELETE FROM once WHERE org = ? AND until <= ?", (org, now))
            sql.execute("INSERT OR REPLACE INTO once VALUES (?, ?, ?, ?)", (org, name, value, now + ttl))
            state.save(sql)
            return value

    # what happened

    def records(
        self, org: str, since: int, until: int, after: str, limit: int, back: bool = False
    ) -> list[tuple[str, Row]]:
        begin, end, way = max((since, -1), position_of(after)), (until, 0), "ASC"
        if back:
            begin, end, way = (since, -1), min(end, position_of(after)) if after else end, "DESC"
        with self._reading(org) as (sql, _):
            found = sql.execute(
                f"""SELECT {RECORD} FROM record WHERE org = ? AND (booked, count) > (?, ?) AND (booked, count) < (?, ?)
                ORDER BY booked {way}, count {way} LIMIT ?""",  # noqa: S608
                (org, *begin, *end, limit),
            )
            return [(position(*row[:2]), record_of(row)) for row in found]

    def under_way(self, org: str, limit: int) -> list[tuple[str, str]]:
        with self._reading(org) as (sql, _):
            found = "SELECT id, about FROM reservation WHERE org = ? AND how IS NULL LIMIT ?"
            return sql.execute(found, (org, limit)).fetchall()

    def folded(self, org: str) -> str:
        with self._reading(org) as (_, state):
            return state.folded

    def sums(self, org: str, cube: str, since: int, until: int, lead: str = "") -> list[Sum]:
        which = {"org": org, "cube": cube, "since": since, "until": until, "lead": lead, "end": lead + _LAST}
        with self._reading(org) as (sql, _):
            return [Sum(*row) for row in sql.execute(_SUMS_WITH if lead else _SUMS, which)]

    def pick(self, org: str, which: Sequence[tuple[str, int, str]]) -> list[str | None]:
        with self._reading(org) as (sql, _):
            one = "SELECT body FROM total WHERE org = ? AND cube = ? AND bucket = ? AND dims = ?"
            found = [sql.execute(one, (org, *key)).fetchone() for key in which]
            return [row and row[0] for row in found]

    def fold(self, org: str, after: str, upto: str, put: Sequence[Sum]) -> bool:
        return self._move_watermark(
            org,
            after,
            upto,
            "INSERT OR REPLACE INTO total VALUES (?, ?, ?, ?, ?, ?)",
            [(org, *each) for each in put],
        )

    def keep(self, org: str, after: str, rows: Sequence[tuple[str, Row]]) -> bool:
        kept = [record_row(org, *position_of(at), row) for at, row in rows]
        return self._move_watermark(org, after, rows[-1][0] if rows else after, PUT_RECORD, kept)

    def outbox(self, org: str, put: Sequence[Event] = (), done: Sequence[str] = ()) -> list[Event]:
        with (self._writing if put or done else self._reading)(org) as (sql, state):
            if put or done:
                sql.executemany(
                    "INSERT OR IGNORE INTO event VALUES (?, ?, ?, ?)", [(org, *each) for each in put]
                )
                sql.executemany("DELETE FROM event WHERE org = ? AND id = ?", [(org, id) for id in done])
                state.save(sql)
            found = sql.execute("SELECT id, at, body FROM event WHERE org = ? ORDER BY at, id", (org,))
            return [Event(*row) for row in found]

    # house-keeping

    def prune(self, org: str, limit: int) -> int:
        with self._writing(org) as (sql, state):
            now = self._books.time(state, self._clock())
            booked, count = position_of(state.folded)
            bounds: dict[str, Any] = {
                "org": org,
                "limit": limit,
                "now": now,
                "settled": now - PLAN_MS,
                "horizon": f"{max(0, now - REMEMBER_MS):012x}",
                "oldest": now - self._records_days * DAY_MS if self._records_days is not None else 0,
                "booked": booked,
                "count": count,
            }
            gone = 0
            for table, (key, past) in _PAST.items():
                gone += sql.execute(
                    f"""DELETE FROM {table} WHERE org = :org AND ({key}) IN
                    (SELECT {key} FROM {table} WHERE org = :org AND {past} LIMIT :limit)""",  # noqa: S608
                    bounds,
                ).rowcount
            if gone:
                state.forget()
                state.save(sql)
            return gone

    def dump(self, org: str) -> Iterator[Item]:
        with self._reading(org) as (_, state):
            found = [moving.org_item(state)]
        yield from found
        for table in range(moving.TABLES):
            after: tuple[Any, ...] = ()
            while True:
                with self._reading(org) as (sql, _):
                    found, after = moving.page(sql, org, table, after)
                if not found:
                    break
                yield from found

    def load(self, org: str, rows: Iterable[Item]) -> None:
        met: list[Organization] = []
        with self._file.write(self.deadline, then=partial(self._go_on, met), anew=True) as sql:
            state = self._books.take(sql, org, self._file.others)
            if moving.here(sql, org):
                raise StoreError(f"organization {org} is in this store already")
            state.forget()
            moving.load(sql, state, rows)
            state.save(sql)
            met.append(state)

    # one organization at a time

    @contextmanager
    def _reading(self, org: str) -> Iterator[tuple[Connection, Organization]]:
        """A look at an organization. Raises `Lost`."""
        with self._file.read(self.deadline) as sql:
            state = find(sql, org)
            self._check(state)
            self._note(state)
            yield sql, state

    @contextmanager
    def _writing(self, org: str) -> Iterator[tuple[Connection, Organization]]:
        """A change of an organization, whose row is to be saved where something moved. Raises `Lost`."""
        met: list[Organization] = []
        with self._file.write(self.deadline, then=partial(self._put_back, met)) as sql:
            state = self._books.take(sql, org, self._file.others)
            self._check(state)
            met.append(state)
            yield sql, state

    def _move_watermark(
        self, org: str, after: str, upto: str, statement: str, put: Sequence[tuple[Any, ...]]
    ) -> bool:
        """Runs a statement for each row where the watermark is `after`, and moves it."""
        with self._writing(org) as (sql, state):
            if state.folded != after:
                return False
            sql.executemany(statement, put)
            state.folded = upto
            state.save(sql)
            return True

    def _check(self, state: Organization) -> None:
        if lost := self._seen.check(state.id, state.epoch, state.seq):
            raise lost

    def _note(self, state: Organization) -> None:
        self._seen.note(state.id, state.epoch, state.seq)
        self._file.kept = self._file.kept or bool(state.epoch)

    def _put_back(self, met: Iterable[Organization]) -> None:
        """After a commit: what is known of these organizations is right."""
        for state in met:
            self._note(state)
            self._books.put_back(state)

    def _go_on(self, met: Iterable[Organization]) -> None:
        """After a commit: goes on with these organizations as they are."""
        for state in met:
            self._seen.take(state.id, state.epoch, state.seq)
            self._put_back([state])
