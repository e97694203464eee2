"""An organization as items that any other store can read (`stores/items.py`), and items as an organization."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from ...core.ledger import Open
from ...core.steps import Plan, Sum, position, position_of
from ...errors import StoreError
from .. import items
from ..protocol import Doc, Item
from . import rows
from .books import Organization
from .plans import Plans

PAGE = 500
"""Rows read in one look."""


class _Table(NamedTuple):
    """A table, its key behind the organization, and what else an item needs; `item` makes it from both (and
    what finds plans)."""

    name: str
    key: tuple[str, ...]
    columns: str
    item: Callable[[tuple[Any, ...], Callable[[bytes], Plan]], Item]


def _counter(row: tuple[Any, ...], _: object) -> Item:
    key, *columns = row
    cell: Any = tuple(columns)
    return items.item("counter", key, items.pack_cell(rows.cell_of(cell)))


def _reservation(row: tuple[Any, ...], plan_of: Callable[[bytes], Plan]) -> Item:
    was, ended = rows.reservation_of(row[1:], plan_of)
    if ended is not None:
        return items.item("ended", row[0], items.pack_ended(ended))
    assert was is not None  # noqa: S101  # an open one has its plan
    return items.item("open", row[0], items.pack_open(was))


_CELL = "definition, used, held, cap, rev, next, state, expires"
_TABLES = (
    _Table("node", ("id",), "kind, parent, name, rev, body, stop", lambda row, _: items.doc_item(Doc(*row))),
    _Table("audit", ("rev",), "row", lambda row, _: Item("audit", str(row[0]), row[1])),
    _Table("counter", ("key",), _CELL, _counter),
    _Table("reservation", ("id",), rows.RESERVATION, _reservation),
    _Table(
        "record",
        ("booked", "count"),
        rows.RECORD,
        lambda row, _: items.item("record", position(*row[:2]), items.pack_row(rows.record_of(row[2:]))),
    ),
    _Table("total", ("cube", "bucket", "dims"), "body, keep", lambda row, _: items.sum_item(Sum(*row))),
    _Table("event", ("id",), "at, body", lambda row, _: items.item("event", row[0], row[1:])),
    _Table("once", ("name",), "value, until", lambda row, _: items.item("once", row[0], row[1:])),
    _Table("link", ("digest",), "key", lambda row, _: items.item("link", row[0], row[1])),
)
TABLES = len(_TABLES)


def org_item(state: Organization) -> Item:
    """The organization's own row."""
    told = {"rev": state.rev, "closed": state.closed, "now": state.now, "folded": state.folded}
    return items.item("org", "", told)


def page(
    sql: sqlite3.Connection, org: str, table: int, after: tuple[Any, ...]
) -> tuple[list[Item], tuple[Any, ...]]:
    """Items of the table of this number whose key is after the given one (all for none), and the key of the last."""
    each = _TABLES[table]
    key = ", ".join(each.key)
    beyond = f"AND ({key}) > ({', '.join('?' * len(after))})" if after else ""
    found = sql.execute(
        f"SELECT {key}, {each.columns} FROM {each.name} WHERE org = ? {beyond} ORDER BY {key} LIMIT ?",  # noqa: S608
        (org, *after, PAGE),
    ).fetchall()
    plan_of = Plans().finder(sql, org)
    return [each.item(row, plan_of) for row in found], found[-1][: len(each.key)] if found else ()


def here(sql: sqlite3.Connection, org: str) -> bool:
    """Whether anything of an organization is in the file that must not be mixed with another's."""
    return any(
        sql.execute(f"SELECT 1 FROM {name} WHERE org = ? LIMIT 1", (org,)).fetchone()  # noqa: S608
        for name in ("node", "counter", "reservation", "record")
    )


def load(sql: sqlite3.Connection, state: Organization, found: Iterable[Item]) -> None:
    """Writes the items of an organization that is not there yet; its row is the caller's to save."""
    plans = Plans()

    def plan(held: Open) -> bytes:
        return plans.put(sql, state.id, held.plan, state.now)

    for item in found:
        key = item.key
        value: Any = json.loads(item.value) if item.table != "audit" else item.value
        match item.table:
            case "org":
                state.rev, state.closed = value["rev"], value["closed"]
                state.now, state.folded = value["now"], value["folded"]
            case "counter":
                sql.execute(rows.PUT_CELL, (state.id, key, *rows.cell_row(items.unpack_cell(value))))
            case "open":
                held = items.unpack_open(key, value)
                sql.execute(rows.PUT_OPEN, rows.open_row(state.id, held, plan(held)))
            case "ended":
                ended = items.unpack_ended(key, value)
                if ended.was is None:
                    sql.execute(rows.PUT_ENDED, rows.ended_row(state.id, key, ended))
                else:
                    row = rows.expired_row(state.id, ended.was, plan(ended.was), ended)
                    sql.execute(rows.PUT_EXPIRED, row)
            case "record":
                at = position_of(key)
                state.booked, state.count = max((state.booked, state.count), at)
                sql.execute(rows.PUT_RECORD, rows.record_row(state.id, *at, items.unpack_row(value)))
            case _:
                _load_plain(sql, state.id, item, value)


def _load_plain(sql: sqlite3.Connection, org: str, item: Item, value: Any) -> None:
    """What is in a table as it is in the item."""
    match item.table:
        case "doc":
            row: tuple[Any, ...] = items.doc_of(item)
        case "sum":
            row = items.sum_of(item)
        case "audit":
            row = (int(item.key), value)
        case "event" | "once":
            row = (item.key, *value)
        case "link":
            sql.execute("INSERT OR REPLACE INTO link VALUES (?, ?, ?)", (item.key, org, value))
            return
        case _:
            raise StoreError(f"{item.table!r} is no table that is known here")
    table = {"doc": "node", "sum": "total"}.get(item.table, item.table)
    sql.execute(f"INSERT OR REPLACE INTO {table} VALUES ({', '.join('?' * (1 + len(row)))})", (org, *row))  # noqa: S608
