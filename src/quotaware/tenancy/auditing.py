"""The audit log: who changed what, when, from where. Rows are only ever added; each is one revision."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from ..errors import ConfigurationError, Conflict
from ..stores.protocol import Change
from .documents import from_doc
from .writes import MAX_PAGE, TRIES, Writes, row_of, shown

SCAN = 10_000
"""Rows that one page is looked for in."""
SKEW_MS = 86_400_000
"""No two processes' clocks are further apart: from here on, rows are no more of the time that is asked for."""

Entry = dict[str, Any]
"""A row: revision, what, at (ms), who (kind, id, name), from (address), before, after; `on` and `why` where the attempt
was refused.
"""


@dataclass(frozen=True, slots=True)
class Sought:
    """Which rows.

    who           id or name of who did it, or `host`
    what          what was done, such as `project.update`, or its first words: `project`
    node          id or name of something that was changed
    since, until  ms: at or after, and before
    """

    who: str | None = None
    what: str | None = None
    node: str | None = None
    since: int = 0
    until: int | None = None

    def takes(self, row: Entry) -> bool:
        """Whether a row is one of them."""
        who, what = row["who"], row["what"]
        things = [name for each in (*row["before"], *row["after"]) for name in (each["id"], each["name"])]
        return (
            self.who in (None, who["id"], who["name"], *(["host"] if who["kind"] == "host" else []))
            and (self.what is None or f"{what}.".startswith(f"{self.what}."))
            and self.node in (None, row.get("on"), *things)
            and self.since <= row["at"]
            and (self.until is None or row["at"] < self.until)
        )

    def over(self, row: Entry, newest: bool) -> bool:
        """Whether nothing that is sought can come after this row any more."""
        if newest:
            return bool(row["at"] < self.since - SKEW_MS)
        return self.until is not None and row["at"] >= self.until + SKEW_MS


class Entries(NamedTuple):
    """A page of rows, and the revision to go on from; None at the end. It may hold fewer rows than were asked for, or
    none, and still go on.
    """

    rows: tuple[Entry, ...]
    cursor: int | None


class Auditing(Writes):
    """Looking into the log."""

    def audit(self, org: str, after: int = 0, limit: int = 100) -> list[Entry]:
        """Rows after a revision, oldest first. Takes org:manage on the organization."""
        self._require("org:manage", self._path(org, org))
        return [_entry(*row) for row in self._store.audit(org, after, limit)]

    def audit_log(
        self,
        org: str,
        sought: Sought = Sought(),
        *,
        newest: bool = True,
        cursor: int | None = None,
        limit: int = 100,
    ) -> Entries:
        """A page of the rows that are sought, newest or oldest first, on from a cursor. Takes org:manage on the
        organization.
        """
        if not 1 <= limit <= MAX_PAGE:
            raise ConfigurationError("limit", f"is from 1 to {MAX_PAGE}")
        self._require("org:manage", self._path(org, org))
        rows = self._newest(org, cursor) if newest else self._oldest(org, cursor or 0)
        found: list[Entry] = []
        for looked, row in enumerate(rows, 1):
            if sought.over(row, newest):
                break
            if sought.takes(row):
                found.append(row)
            if len(found) == limit or looked == SCAN:
                more = next(rows, None) is not None
                return Entries(tuple(found), row["revision"] if more else None)
        return Entries(tuple(found), None)

    def add_stop(self, org: str, id: str, mark: str, at: int) -> None:
        """A row of a node that a threshold stopped at `at` ms: the store did that, and knows no rows. For the host."""
        if self._actor.kind != "host":
            raise self._actor.lacks("org:manage")
        rev, (doc,) = self._store.read(org, (id,))
        things = [shown(replace(from_doc(doc), stopped=mark))] if doc is not None else []
        kind = doc.kind if doc is not None else "node"
        row = {**row_of(f"{kind}.stop", self._actor, at), "before": [], "after": things}
        told = json.dumps(row, separators=(",", ":"))
        for _ in range(TRIES):
            with contextlib.suppress(Conflict):
                self._store.commit(org, Change(rev, audit=told))
                return
            rev, _ = self._store.read(org, ())

    def _oldest(self, org: str, after: int) -> Iterator[Entry]:
        while page := self._store.audit(org, after, MAX_PAGE):
            yield from (_entry(*row) for row in page)
            after = page[-1][0]

    def _newest(self, org: str, before: int | None) -> Iterator[Entry]:
        """Rows before a revision, backwards, though a store only reads forwards: revisions are looked through in spans,
        which grow where there is nothing in them, and are halved where there is more than is read at once.
        """
        end = self._store.read(org, ())[0]
        end = end if before is None else min(end, before - 1)
        span = MAX_PAGE
        while end > 0:
            begin = max(0, end - span)
            page = [row for row in self._store.audit(org, begin, MAX_PAGE) if row[0] <= end]
            if len(page) == MAX_PAGE and page[-1][0] < end and span > MAX_PAGE:
                span = max(MAX_PAGE, span // 2)
                continue
            yield from (_entry(*row) for row in reversed(page))
            end, span = begin, MAX_PAGE if page else span * 2


def _entry(revision: int, text: str) -> Entry:
    return {"revision": revision, **json.loads(text)}
