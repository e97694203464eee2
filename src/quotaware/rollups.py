"""Folding: records become sums by hour and day, behind a watermark that the store keeps.

Any process folds, and many may at once: what is written counts only where the watermark still stands where it stood
when the sums were read, so no record is summed twice or left out, whoever stops in the middle of it. What the sums are
made of is `core/rollups.py`; when it is time to fold is the housekeeper's, what is answered from them `totals.py`'s.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Protocol

from .core.rollups import (
    DIMENSIONS,
    KEEP,
    OTHER,
    ROSTERS,
    Cube,
    Keep,
    Told,
    Value,
    Values,
    bounds,
    fold,
    last_used,
    of_body,
    points,
    told,
)
from .core.steps import Row, Sum, position_of
from .core.totals import FOREVER_MS, dims_text
from .stores.protocol import Store
from .tenancy.documents import from_doc
from .turns import Turn

PAGE = 1000
"""Records folded in one step, which touches up to eight sums for each."""
PICK = 2000
"""Sums looked up at once."""
TURN_MS = 30_000
"""How long a folder that stopped in the middle keeps the others from folding."""
_HISTORY = ("zones", 0, "[]")
_LAST_USED = ("last_used", 0)


class HasRecords(Protocol):
    """Where records are read: a store, or an archive before it."""

    def records(
        self, org: str, since: int, until: int, after: str, limit: int, back: bool = False
    ) -> list[tuple[str, Row]]: ...


def pages(
    source: HasRecords, org: str, since: int, until: int, after: str, size: int, back: bool = False
) -> Iterator[list[tuple[str, Row]]]:
    """Records with their positions, page by page: booked in [since, until) ms, behind a position; or back from it."""
    while page := source.records(org, since, until, after, size, back):
        yield page
        if len(page) < size:
            return
        after = page[-1][0]


def zone_of(store: Store, org: str) -> str:
    """The time zone in which an organization's hours and days begin."""
    _, (doc,) = store.read(org, [org])
    return from_doc(doc).zone if doc is not None else "UTC"


class History:
    """In which zones an organization's records were folded: [position of the first one, zone], in order."""

    def __init__(self, entries: list[tuple[str, str]]) -> None:
        self._entries = entries
        self._begins = [position_of(at) for at, _ in entries]

    @classmethod
    def of(cls, store: Store, org: str) -> History:
        """As the store has it."""
        (body,) = store.pick(org, [_HISTORY])
        return cls([(at, zone) for at, zone in json.loads(body)] if body else [])

    @property
    def first(self) -> str:
        """The position of the first record that was ever folded, "" where none was."""
        return self._entries[0][0] if self._entries else ""

    @property
    def zones(self) -> set[str]:
        """All zones that there are sums in."""
        return {zone for _, zone in self._entries}

    def zone_at(self, position: str) -> str | None:
        """The zone that the record at a position was folded in, None where it was before all."""
        index = bisect_right(self._begins, position_of(position))
        return self._entries[index - 1][1] if index else None

    def extended(self, position: str, zone: str) -> list[Sum]:
        """What to write where records from this position on are folded in a zone: nothing, if the last ones were."""
        if self._entries and self._entries[-1][1] == zone:
            return []
        body = json.dumps([*self._entries, (position, zone)], separators=(",", ":"))
        return [Sum(*_HISTORY, body, FOREVER_MS)]


class Folder:
    """Folds the records of organizations. Blocking, thread-safe; raises `StoreError`.

    records  where they are read, if not in the store itself
    keep     how long sums are kept; it says so of what is folded from now on
    page     records in one step
    turn     whose turn it is to fold
    """

    def __init__(
        self, store: Store, records: HasRecords | None = None, *, keep: Keep = KEEP, page: int = PAGE
    ) -> None:
        self.keep = keep
        self.turn = Turn(store, "fold", TURN_MS)
        self._store = store
        self.records = records or store
        self.page = page

    def fold(self, org: str, least: int = 1) -> int:
        """Folds one page; answers how many records were behind the watermark (at most a page), 0 where there were fewer
        than `least` and nothing was done. Where another folded at the same moment its sums stand: ask again.
        """
        after = self._store.folded(org)
        page = self.records.records(org, 0, FOREVER_MS, after, self.page)
        if len(page) < max(1, least):
            return 0
        zone = zone_of(self._store, org)
        history = History.of(self._store, org)
        records = [each for _, row in page for each in told(row)]
        put = self._summed(org, records, zone) + history.extended(page[0][0], zone)
        self._store.fold(org, after, page[-1][0], put)
        return len(page)

    def last_used(self, org: str, keys: Sequence[str]) -> dict[str, int]:
        """When the newest call of each of these keys was admitted (ms) that is in the sums."""
        found = self._store.pick(org, [(*_LAST_USED, key) for key in keys])
        return {key: int(body) for key, body in zip(keys, found, strict=True) if body is not None}

    def _pick(self, org: str, places: Sequence[tuple[str, int, str]]) -> list[str | None]:
        """What stands at these places, in trips that are short; what changes meanwhile the watermark tells of."""
        return [
            body
            for begin in range(0, len(places), PICK)
            for body in self._store.pick(org, places[begin : begin + PICK])
        ]

    def _summed(self, org: str, records: list[Told], zone: str) -> list[Sum]:
        """What stands in the store, with what these records add to it, and keys that were used later."""
        names = _Names(zone, records)
        names.hear(self._pick(org, names.places))
        records = [names.bounded(told) for told in records]
        cells = list(fold(records, zone).items())
        used = last_used(records)
        where = [(b.cube.table(b.period, zone), b.begin, dims_text(values)) for (b, values), _ in cells]
        standing = self._pick(org, [*where, *((*_LAST_USED, key) for key in used)])
        put = names.counts(self.keep)
        for ((bucket, _), cell), place, body in zip(cells, where, standing, strict=False):
            if body is not None:
                measures, steps = of_body(body)
                cell.take(measures, json.loads(steps) if steps else {})
            put.append(Sum(*place, cell.body, bucket.end + self.keep.of(bucket.period)))
        for (key, at), before in zip(used.items(), standing[len(where) :], strict=True):
            if before is None or int(before) < at:
                put.append(Sum(*_LAST_USED, key, str(at), FOREVER_MS))
        return put


class _Names:
    """Which names that others choose freely (models, end users, tags) are summed apart: so many of a project and day,
    those that came first. What is beyond them is summed as `OTHER`, so that no flood of names makes the sums many.

    places  what of the store has to be looked up: whether names are known, and how many there are
    """

    def __init__(self, zone: str, records: list[Told]) -> None:
        self._zone = zone
        self._known: set[tuple[Cube, int, Values]] = set()
        self._sizes: dict[tuple[Cube, int, Values], int] = {}
        self._before: dict[tuple[Cube, int, Values], int] = {}
        asked = [
            (cube, day, values)
            for told in records
            if told.of == "calls"
            for cube, day, values in self._of(told)
        ]
        self._names = list(dict.fromkeys(asked))
        self._rosters = list(dict.fromkeys((cube, day, values[:2]) for cube, day, values in self._names))
        self.places = [
            *((cube.table("day", zone), day, dims_text(values)) for cube, day, values in self._names),
            *((cube.roster(zone), day, dims_text(whose)) for cube, day, whose in self._rosters),
        ]

    def _of(self, told: Told) -> Iterator[tuple[Cube, int, Values]]:
        day, _ = bounds("day", told.at, self._zone)
        for cube in ROSTERS:
            name = cube.dims.index(cube.names)
            for values in points(told, cube.dims):
                if values[name] not in (None, OTHER):
                    yield cube, day, values

    def hear(self, found: Sequence[str | None]) -> None:
        """What stands at the places."""
        self._known = {name for name, body in zip(self._names, found, strict=False) if body is not None}
        sizes = zip(self._rosters, found[len(self._names) :], strict=True)
        self._before = {roster: int(body or 0) for roster, body in sizes}
        self._sizes = dict(self._before)

    def bounded(self, told: Told) -> Told:
        """The record with the names that are summed apart."""
        if told.of != "calls":
            return told
        over: set[tuple[str, Value]] = set()
        for name in self._of(told):
            cube, day, values = name
            whose = (cube, day, values[:2])
            if name in self._known:
                continue
            if self._sizes[whose] < cube.most:
                self._known.add(name)
                self._sizes[whose] += 1
            else:
                over.add((cube.names, values[cube.dims.index(cube.names)]))
        if not over:
            return told
        tags = dict.fromkeys(OTHER if ("tag", tag) in over else tag for tag in told.tags)
        places = zip(DIMENSIONS, told.values, strict=False)
        return told._replace(
            values=tuple([OTHER if place in over else place[1] for place in places]), tags=list(tags)
        )

    def counts(self, keep: Keep) -> list[Sum]:
        """How many names there are now, where that changed."""
        return [
            Sum(
                cube.roster(self._zone),
                day,
                dims_text(whose),
                str(size),
                bounds("day", day, self._zone)[1] + keep.day,
            )
            for (cube, day, whose), size in self._sizes.items()
            if size != self._before[cube, day, whose]
        ]


@lru_cache(maxsize=4096)  # the same ones stand in every bucket
def dims_of(text: str) -> Values:
    """The values that `dims_text` wrote."""
    return tuple(json.loads(text))
