"""An organization leaves or moves in: all that its keys hold, as `stores/items.py` writes it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from ...core.cells import Cell
from ...core.steps import REMEMBER_MS, id_time, position_of
from ...errors import StoreError
from .. import items
from ..protocol import Item
from ..seen import new_epoch
from . import tree, values
from .batch import HOUR_MS
from .books import bucket_of, pairs, put_once, put_sums, sum_key, sum_of
from .keys import Names, decode
from .steps import Access, Met, Step

PAGE = 500


class Dump:
    """Reads an organization page by page."""

    def __init__(self, access: Access, org: str, deadline: float) -> None:
        self._access = access
        self._org = org
        self._names = access.names(org)
        self._deadline = deadline

    def __iter__(self) -> Iterator[Item]:
        names = self._names
        met = self._look(Step(names))
        stored = self._look(Step(names).add("HGET", names("m"), "now")).replies[0]
        told = {"rev": met.rev, "closed": met.closed, "now": int(stored or 0), "folded": met.folded}
        yield items.item("org", "", told)
        yield from self._docs()
        for digest, key in self._hash(names("k")):
            yield items.item("link", decode(digest), decode(key))
        for at, text in self._stream(names("a")):
            yield Item("audit", at.partition("-")[0], decode(text))
        yield from self._fixed()
        yield from self._scanned()
        yield from self._open()
        for at, row in self._stream(names("u")):
            yield items.item("record", at, items.pack_row(values.unpack_row(row)))
        yield from self._sums()
        for id, value in self._hash(names("o")):
            event = values.unpack_event(decode(id), value)
            yield items.item("event", event.id, event[1:])

    def _look(self, step: Step) -> Met:
        return self._access.look(self._org, step, self._deadline)

    def _hash(self, key: bytes) -> Iterator[tuple[bytes, bytes]]:
        """All fields of a hash; a field that is told twice is taken once."""
        cursor, told = b"0", set[bytes]()
        while True:
            ((cursor, flat),) = self._look(Step(self._names).add("HSCAN", key, cursor, "COUNT", PAGE)).replies
            for field, value in pairs(flat):
                if field not in told and field != values.FILLER:
                    told.add(field)
                    yield field, value
            if cursor == b"0":
                return

    def _stream(self, key: bytes) -> Iterator[tuple[str, bytes]]:
        begin = "-"
        while True:
            (found,) = self._look(Step(self._names).add("XRANGE", key, begin, "+", "COUNT", PAGE)).replies
            for at, fields in found:
                yield decode(at), fields[1]
            if len(found) < PAGE:
                return
            begin = f"({decode(found[-1][0])}"

    def _docs(self) -> Iterator[Item]:
        fields = self._hash(self._names("d"))
        while ids := [decode(id) for id, _ in islice(fields, PAGE)]:
            _, docs = tree.read(self._access, self._org, ids, self._deadline)
            yield from (items.doc_item(doc) for doc in docs if doc is not None)

    def _fixed(self) -> Iterator[Item]:
        names = self._names
        (windows,) = self._look(Step(names).add("ZRANGE", names("z"), 0, -1)).replies
        for window in windows:
            until, _, keep = decode(window).partition(":")
            for field, value in self._hash(names("w", decode(window))):
                cell = values.unpack_fixed(decode(field), int(until), int(keep), value)
                yield items.item("counter", cell.counter.key, items.pack_cell(cell))

    def _scanned(self) -> Iterator[Item]:
        """What no list names: rolling counters, ended reservations, what is one's for a time."""
        names, cursor = self._names, b"0"
        told = set[bytes]()
        while True:
            cursor, keys = self._access.ask(
                "SCAN",
                cursor,
                "MATCH",
                names.pattern("cet"),
                "COUNT",
                PAGE,
                key=names.base,
                deadline=self._deadline,
            )
            for key in keys:
                if key not in told:
                    told.add(key)
                    yield from _SCANNED[key[len(names.base) :][:1]](self, key)
            if cursor == b"0":
                return

    def _rolling(self, key: bytes) -> Iterator[Item]:
        (value,) = self._look(Step(self._names).add("GET", key)).replies
        if value is not None:
            name = self._names.rest(key)
            yield items.item("counter", name, items.pack_cell(values.unpack_rolling(name, value)))

    def _ended(self, key: bytes) -> Iterator[Item]:
        for field, value in self._hash(key):
            id = decode(field)
            yield items.item("ended", id, items.pack_ended(values.unpack_ended(id, value)))

    def _once(self, key: bytes) -> Iterator[Item]:
        (value,) = self._look(Step(self._names).add("GET", key)).replies
        if value is not None:
            until, _, standing = decode(value).partition(" ")
            yield items.item("once", self._names.rest(key), [standing, int(until)])

    def _open(self) -> Iterator[Item]:
        names = self._names
        fields = self._hash(names("r"))
        while page := list(islice(fields, PAGE)):
            ids = [id for id, _ in page]
            ends, plans = self._look(
                Step(names).add("ZMSCORE", names("x"), *ids).add("HMGET", names("p"), *ids)
            ).replies
            for (id, value), end, plan in zip(page, ends, plans, strict=True):
                if end is None:
                    continue  # it ended since its page was read
                held = values.unpack_open(decode(id), value, plan, int(float(end)))
                yield items.item("open", held.id, items.pack_open(held))

    def _sums(self) -> Iterator[Item]:
        names = self._names
        (members,) = self._look(Step(names).add("ZRANGE", names("b"), 0, -1)).replies
        for member in members:
            cube, bucket = bucket_of(member)
            for dims, value in self._hash(sum_key(names, cube, bucket)):
                yield items.sum_item(sum_of(cube, bucket, dims, value))


_SCANNED: dict[bytes, Callable[[Dump, bytes], Iterator[Item]]] = {
    b"c": Dump._rolling,
    b"e": Dump._ended,
    b"t": Dump._once,
}


def load(access: Access, org: str, rows: Iterable[Item], deadline: float) -> tuple[str, int]:
    """Writes what another store's dump answered; answers epoch and sequence. Raises `StoreError`."""
    names = access.names(org)
    step = Step(names)
    for kind in "druz":
        step.need(names(kind), "?", 0)
    met, _ = access.run(org, step, deadline, epoch=new_epoch())
    if met.moved:
        raise StoreError(f"organization {org} is in this store already")
    tree.list_org(access, org, deadline)
    pages = iter(rows)
    while page := list(islice(pages, PAGE)):
        step = Step(names)
        for row in page:
            if row.table == "link":
                tree.link(access, row.key, org, json.loads(row.value), deadline)
            else:
                _load(step, names, row, lambda end: access.ttl(met, end))  # noqa: B023  # used at once
        met, _ = access.run(org, step, deadline, epoch=new_epoch())
    return met.epoch, met.seq


def _load(step: Step, names: Names, row: Item, ttl: Callable[[int], int]) -> None:
    key = row.key
    value: Any = json.loads(row.value) if row.table != "audit" else row.value
    match row.table:
        case "org":
            words = [word for name in ("rev", "closed", "now", "folded") for word in (name, value[name])]
            step.add("HSET", names("m"), *words)
        case "doc":
            doc = items.doc_of(row)
            tree.put(step, names, [(doc, doc.rev)])
            if doc.stopped is not None:
                step.add("HSET", names("h"), key, doc.stopped)
        case "audit":
            step.add("XADD", names("a"), f"{key}-0", "r", value)
        case "counter":
            _load_counter(step, names, items.unpack_cell(value), ttl)
        case "open":
            held = items.unpack_open(key, value)
            step.add("HSET", names("r"), key, values.pack_open(held))
            step.add("HSET", names("p"), key, values.pack_plan(held.plan))
            step.add("ZADD", names("x"), held.lease_end, key)
        case "ended":
            hour = id_time(key) // HOUR_MS
            step.add("HSET", names("e", str(hour)), key, values.pack_ended(items.unpack_ended(key, value)))
            step.add("PEXPIRE", names("e", str(hour)), ttl((hour + 1) * HOUR_MS + REMEMBER_MS))
        case "record":
            ms, count = position_of(key)
            step.add("XADD", names("u"), key, "r", values.pack_row(items.unpack_row(value)))
            step.add("HSET", names("m"), "booked", ms, "count", count)
        case "sum":
            put_sums(step, names, [items.sum_of(row)], ttl)
        case "event":
            step.add("HSETNX", names("o"), key, values.pack_event(items.event_of(row)))
        case "once":
            standing, until = value
            put_once(step, names("t", key), standing, until, ttl(until))


def _load_counter(step: Step, names: Names, cell: Cell, ttl: Callable[[int], int]) -> None:
    counter = cell.counter
    if counter.span:
        end = (cell.ring[-1][1] if cell.ring else 0) + counter.span
        step.add("SET", names("c", counter.key), values.pack_cell(cell), "PX", ttl(end))
        return
    key = names.window(counter.until, counter.keep)
    step.add("HSET", key, counter.key, values.pack_cell(cell))
    step.add("ZADD", names("z"), counter.keep, names.rest(key))
    if counter.keep > 0:
        step.add("PEXPIRE", key, ttl(counter.keep))
