"""The rows of an organization in a form that any store can write and any other read: `Item(table, key, value)`.

| table   | key            | value                                                    |
| ------- | -------------- | -------------------------------------------------------- |
| org     | ""             | {rev, closed, now, folded}                               |
| doc     | id             | [kind, parent, name, rev, body, stopped]                 |
| link    | digest         | key id                                                   |
| audit   | revision       | the row's text                                           |
| counter | key            | a cell, as `pack_cell` writes it                         |
| open    | id             | a reservation under way, as `pack_open` writes it        |
| ended   | id             | the end of one, as `pack_ended` writes it                |
| record  | position       | a row, as `pack_row` writes it                           |
| sum     | [cube, bucket, dims] | [body, keep]                                       |
| event   | id             | [at, body]                                               |
| once    | name           | [value, until]                                           |

Values are JSON text; times are ms since the epoch. What `pack_…` answers are JSON values, and a store may keep them so.
"""

from __future__ import annotations

import json
from typing import Any

from ..core.cells import Cell, Claim
from ..core.ledger import Ended, Open
from ..core.steps import Counter, Event, Mark, Plan, Row, Sum
from .protocol import Doc, Item

_encode = json.JSONEncoder(separators=(",", ":")).encode


def pack_counter(counter: Counter) -> list[Any]:
    """A counter as a list, trailing defaults left out."""
    values: list[Any] = list(counter)
    values[8] = [list(mark) for mark in counter.marks]
    defaults: tuple[Any, ...] = (None, None, True, (), 0, 0, 0, 0, [], None, 0)
    while len(values) > 2 and values[-1] == defaults[len(values) - 1]:
        values.pop()
    return values


def unpack_counter(values: list[Any]) -> Counter:
    """What `pack_counter` packed."""
    counter = Counter(*values)
    return counter._replace(watch=tuple(counter.watch), marks=tuple(Mark(*mark) for mark in counter.marks))


def pack_plan(plan: Plan) -> list[Any]:
    """[org, rev, deps, [[counter, index] …]]."""
    lines = [[pack_counter(counter), index] for counter, index in plan.lines]
    return [plan.org, plan.rev, list(plan.deps), lines]


def unpack_plan(values: list[Any]) -> Plan:
    """What `pack_plan` packed."""
    org, rev, deps, lines = values
    return Plan(org, rev, tuple(deps), tuple((unpack_counter(counter), index) for counter, index in lines))


def pack_cell(cell: Cell) -> dict[str, Any]:
    """A counter's state; a claim is a waiter's who asks again, and is left out."""
    return {
        "counter": pack_counter(cell.counter),
        "rev": cell.rev,
        "used": cell.used,
        "held": cell.held,
        "cap": cell.cap,
        "next": cell.next,
        "fired": list(cell.fired),
        "ring": cell.ring,
    }


def unpack_cell(value: dict[str, Any], claim: Claim | None = None) -> Cell:
    """What `pack_cell` packed."""
    cell = Cell(unpack_counter(value["counter"]))
    for name in ("rev", "used", "held", "cap", "next", "ring"):
        setattr(cell, name, value[name])
    cell.fired = tuple(value["fired"])
    cell.claim = claim
    return cell


def pack_open(held: Open) -> list[Any]:
    """[plan, at, lease_end, hold, on_expiry, about]."""
    return [
        pack_plan(held.plan),
        held.at,
        held.lease_end,
        list(held.hold),
        list(held.on_expiry),
        held.about,
    ]


def unpack_open(id: str, values: list[Any]) -> Open:
    """What `pack_open` packed."""
    plan, at, lease_end, hold, on_expiry, about = values
    return Open(id, unpack_plan(plan), at, lease_end, tuple(hold), tuple(on_expiry), about)


def pack_ended(ended: Ended) -> list[Any]:
    """[how, overrun, charged, the reservation or None]."""
    return [ended.how, ended.overrun, list(ended.charged), ended.was and pack_open(ended.was)]


def unpack_ended(id: str, values: list[Any]) -> Ended:
    """What `pack_ended` packed."""
    how, overrun, charged, was = values
    return Ended(how, overrun, tuple(charged), was and unpack_open(id, was))


def pack_row(row: Row) -> list[Any]:
    """The fields of a record in order."""
    return [list(value) if isinstance(value, tuple) else value for value in row]


def unpack_row(values: list[Any]) -> Row:
    """What `pack_row` packed."""
    row: Any = Row(*values)
    return row._replace(hold=tuple(row.hold), real=tuple(row.real))  # type: ignore[no-any-return]


def item(table: str, key: str, value: Any) -> Item:
    """An item with its value as JSON text."""
    return Item(table, key, _encode(value))


def doc_item(doc: Doc) -> Item:
    """A document as an item."""
    return item("doc", doc.id, list(doc[1:]))


def doc_of(found: Item) -> Doc:
    """The document that `doc_item` made it from."""
    return Doc(found.key, *json.loads(found.value))


def sum_item(total: Sum) -> Item:
    """A sum as an item."""
    return item("sum", json.dumps(list(total[:3])), list(total[3:]))


def sum_of(found: Item) -> Sum:
    """The sum that `sum_item` made it from."""
    return Sum(*json.loads(found.key), *json.loads(found.value))


def event_of(found: Item) -> Event:
    """The event of an item."""
    return Event(found.key, *json.loads(found.value))
