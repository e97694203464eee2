"""Moving house: all that one store has goes into another, while the app is stopped, and is counted on both sides.

Rows go from `Store.dump` into `Store.load` as they come, so memory does not grow with what there is.
"""

from __future__ import annotations

import json
import reprlib
from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, NamedTuple

from ..core.steps import COST, NOTHING, REMEMBER_MS, TOKENS, Plan, Settle, id_time
from ..errors import ConfigurationError, StoreError
from . import items
from .memory import system_clock
from .opening import open_store
from .protocol import Clock, Item, Store

UNATTRIBUTED = "~unattributed"
"""The organization without documents in which the calls are recorded that nobody was identified for."""
PAGE = 100
"""Organizations looked up, and reservations settled, at once."""
PROGRESS = 1000
"""Rows between two words of progress."""
GRACE_MS = 3_600_000
"""What may be forgotten within this time of the move is not compared."""

_encode = json.JSONEncoder(sort_keys=True).encode

Progress = Callable[[str, int], None]
"""Hears of an organization, and how many of its rows are moved: every thousand, and all of them at its end."""


@dataclass(frozen=True, slots=True)
class Copied:
    """What was moved: the same on both sides.

    settled   reservations that were open, and were charged as their expiry says
    requests, tokens, cost   what all records come to; cost in nano-dollars
    used      of all counters that are kept for more than an hour, summed
    """

    organizations: int = 0
    documents: int = 0
    links: int = 0
    counters: int = 0
    records: int = 0
    settled: int = 0
    requests: int = 0
    tokens: int = 0
    cost: int = 0
    used: int = 0


def copy(
    source: Store | str,
    target: Store | str,
    *,
    progress: Progress | None = None,
    clock: Clock = system_clock,
    also: Sequence[str] = (UNATTRIBUTED,),
) -> Copied:
    """Moves all organizations of `source` into `target`: tree, keys, audit, counters, records, sums, events, leases.

    source, target   stores, or URLs of them, which are opened and closed here
    progress         hears how far it is
    clock            ms since the epoch, for stores opened here
    also             organizations without documents, which a store does not list

    No process may use either store meanwhile. Reservations that are open in the source are ended there first, each
    charged as its expiry says; nothing else in the source changes. What is there afterwards is compared: documents,
    links, audit, records, sums and lasting counters must be equal to the last character, else it is a `StoreError`.

    Raises `ConfigurationError` where the source has nothing, or the target has an organization already, before
    anything is moved; `StoreError`
    where a store fails in the middle or the two differ in the end. Then what the target has is worth nothing: copy
    again, into an empty one.
    """
    with _opened(source, clock) as here, _opened(target, clock) as there:
        if here is there:
            raise ConfigurationError("target", "it is the source")
        listed, unlisted = _orgs(here), [org for org in also if _has(here, org)]
        if not listed and not unlisted:
            raise ConfigurationError("source", "it has no organization: is it the right one?")
        standing = sorted({*listed} & {*_orgs(there)}) + [org for org in unlisted if _has(there, org)]
        if standing:
            raise ConfigurationError(
                "target", f"it has {reprlib.repr(standing)} already; take an empty store"
            )
        total: Tally[str] = Tally(organizations=0)
        for org in [*listed, *unlisted]:
            total.update(_copy_one(here, there, org, progress or (lambda org, rows: None)))
        return Copied(**total)


def _copy_one(source: Store, target: Store, org: str, progress: Progress) -> Tally[str]:
    settled = _settle_open(source, org)
    forgotten = source.hello() + GRACE_MS
    left, arrived = _Inventory(forgotten), _Inventory(forgotten)
    target.load(org, _told(left.passing(source.dump(org)), org, progress))
    for _ in arrived.passing(target.dump(org)):
        pass
    for table, gone in left.tables.items():
        come = arrived.tables[table]
        if gone != come:
            told = "other values" if gone.number == come.number else f"{come.number}"
            raise StoreError(
                f"organization {org}: {gone.number} rows of {table!r} were moved, and the target has {told}; "
                "copy again, into an empty store"
            )
    left.figures.update(organizations=1, settled=settled)
    return left.figures


def _settle_open(store: Store, org: str) -> int:
    """Ends all reservations that are open, as if their leases had run out; how many."""
    found: list[tuple[str, Plan]] = [
        (item.key, items.unpack_open(item.key, json.loads(item.value)).plan)
        for item in store.dump(org)
        if item.table == "open"
    ]
    for start in range(0, len(found), PAGE):
        ops = [
            Settle(id, plan, NOTHING, "{}", "expired", force=True) for id, plan in found[start : start + PAGE]
        ]
        answer = store.apply({org: ops}, store.deadline)[org]
        if isinstance(answer, StoreError):
            raise answer
    return len(found)


class _Rows(NamedTuple):
    """How many rows of a table there were, and the sum of their digests: the same in any order."""

    number: int = 0
    digest: int = 0


@dataclass
class _Inventory:
    """What of an organization passes by, but for what may be forgotten before `forgotten` (ms)."""

    forgotten: int
    tables: dict[str, _Rows] = field(default_factory=lambda: dict.fromkeys(_LASTING, _Rows()))
    figures: Tally[str] = field(default_factory=Tally)

    def passing(self, rows: Iterable[Item]) -> Iterator[Item]:
        """The same rows, each taken down."""
        for item in rows:
            if item.table == "open":
                raise StoreError(
                    f"reservation {item.key} is open: a process uses the store, stop it and copy again"
                )
            if item.table in self.tables:
                self._take(item)
            yield item

    def _take(self, item: Item) -> None:
        value: Any = item.value if item.table == "audit" else json.loads(item.value)
        compared = _LASTING[item.table](item.key, value, self.forgotten)
        if compared is not None:
            number, digest = self.tables[item.table]
            told = _encode([item.table, item.key, compared])
            digest += int.from_bytes(blake2b(told.encode(), digest_size=16).digest())
            self.tables[item.table] = _Rows(number + 1, digest)
            self.figures.update(_FIGURES.get(item.table, lambda value: {})(value))


def _all(key: str, value: Any, forgotten: int) -> Any:
    return value


def _counter(key: str, cell: dict[str, Any], forgotten: int) -> Any:
    """A rolling one goes with its window, one of what is under way when that ends."""
    found = items.unpack_counter(cell["counter"])
    lasting = not found.span and (found.keep == 0 or found.keep > forgotten)
    return [cell[name] for name in ("used", "held", "cap", "rev", "next", "fired")] if lasting else None


def _sum(key: str, value: Any, forgotten: int) -> Any:
    _, keep = value
    return value if keep > forgotten else None


def _ended(id: str, value: Any, forgotten: int) -> Any:
    """What one was charged that can no longer be corrected is nobody's business."""
    how, overrun, charged, was = value
    return [how, overrun, charged if was else None, was] if id_time(id) > forgotten - REMEMBER_MS else None


_LASTING: dict[str, Callable[[str, Any, int], Any]] = {
    "doc": _all,
    "link": _all,
    "audit": _all,
    "record": _all,
    "event": _all,
    "counter": _counter,
    "sum": _sum,
    "ended": _ended,
}
"""The tables that are compared: what of a row is, or None where it may be forgotten before long."""


def _record_figures(value: Any) -> dict[str, int]:
    row = items.unpack_row(value)
    return {
        "records": 1,
        "requests": row.part == 0,
        "tokens": row.real[TOKENS - 1],
        "cost": row.real[COST - 1],
    }


_FIGURES: dict[str, Callable[[Any], dict[str, int]]] = {
    "doc": lambda value: {"documents": 1},
    "link": lambda value: {"links": 1},
    "counter": lambda value: {"counters": 1, "used": value["used"]},
    "record": _record_figures,
}


def _told(rows: Iterable[Item], org: str, progress: Progress) -> Iterator[Item]:
    count = 0
    for count, item in enumerate(rows, 1):
        yield item
        if count % PROGRESS == 0:
            progress(org, count)
    progress(org, count)


def _orgs(store: Store) -> list[str]:
    found: list[str] = []
    while page := store.orgs(found[-1] if found else "", PAGE):
        found += page
    return found


def _has(store: Store, org: str) -> bool:
    """Whether anything of an organization is in a store."""
    return any(item.table != "org" for item in store.dump(org))


@contextmanager
def _opened(store: Store | str, clock: Clock) -> Iterator[Store]:
    """A store that is ready; one that was given as a URL is closed at the end."""
    found = open_store(store, clock) if isinstance(store, str) else store
    try:
        found.hello()
        yield found
    finally:
        if isinstance(store, str):
            found.close()
