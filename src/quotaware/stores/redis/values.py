"""How counters, reservations and records stand in the database: the scripts write them, here they are read, and written
when an organization moves in.

Packed structures with little-endian numbers, doubles where Lua counts with them (exact up to 2**53), and msgpack where
a script needs lists. What stands where is said in `cells.lua` and at each structure here.
"""

from __future__ import annotations

import hashlib
import json
from struct import Struct, calcsize, pack, unpack_from
from typing import Any

from ...core.cells import Cell, part_ms
from ...core.ledger import Ended, Fired, Open
from ...core.steps import NOTHING, Amounts, Counter, Event, How, Mark, Plan, Row
from .. import items
from . import msgpack
from .keys import decode, encode

HOWS: tuple[How, ...] = ("settled", "released", "expired")
_LETTERS = "sre"
_NEVER = 2.0**62
_encode_json = json.JSONEncoder(separators=(",", ":")).encode
_FIXED = Struct("<4d")  # used, held, cap, rev
_ROLLING = Struct("<5dH")  # used, held, cap, rev, span, number of parts
_MORE = Struct("<dB")  # next threshold, whether a claim stands; then msgpack
_OPEN = Struct("<7dI16s")  # at, hold, on_expiry, length of about, digest of the plan; then about
_EXPIRED = Struct("<cBdddd")  # "x", overrun, lease end, charged; then the reservation and its plan
FILLER = b"\xff"
"""The field that makes a hash a table; it stands for nothing."""
_ROW = Struct(
    "<3B8dII"
)  # how, part, overrun, at, settled_at, hold, real, length of id, of about; then id, about, outcome


def amounts(values: tuple[float, ...]) -> Amounts:
    """Three doubles as amounts."""
    tokens, cost, concurrency = map(int, values)
    return (tokens, cost, concurrency)


def pack_plan(plan: Plan) -> bytes:
    """A plan as it lies beside a reservation: scripts compare it, they do not read it."""
    return encode(_encode_json((plan.org, plan.rev, plan.deps, plan.lines)))


def unpack_plan(value: bytes) -> Plan:
    """What `pack_plan` packed."""
    return items.unpack_plan(json.loads(value))


def digest_of(blob: bytes) -> bytes:
    """What a packed plan is known by."""
    return hashlib.blake2b(blob, digest_size=16).digest()


def pack_open(held: Open) -> bytes:
    """A reservation under way, without its lease and plan."""
    about = encode(held.about)
    return (
        _OPEN.pack(held.at, *held.hold, *held.on_expiry, len(about), digest_of(pack_plan(held.plan))) + about
    )


def about_of(value: bytes) -> str:
    """What a reservation under way is about, of all that `pack_open` packed."""
    *_, length, _ = _OPEN.unpack_from(value)
    return decode(value[_OPEN.size : _OPEN.size + length])


def unpack_open(id: str, value: bytes, plan: bytes | None, lease_end: int) -> Open:
    """What `pack_open` or the script packed; `plan` None: it stands behind."""
    at, *figures, length, _ = _OPEN.unpack_from(value)
    behind = _OPEN.size + length
    return Open(
        id,
        unpack_plan(value[behind:] if plan is None else plan),
        int(at),
        lease_end,
        amounts(tuple(figures[:3])),
        amounts(tuple(figures[3:])),
        decode(value[_OPEN.size : behind]),
    )


def pack_ended(ended: Ended) -> bytes:
    """The end of a reservation: a letter, a capital if it was an overrun; or all of one that can be corrected."""
    if ended.was is None:
        letter = _LETTERS[HOWS.index(ended.how)]
        return encode(letter.upper() if ended.overrun else letter)
    head = _EXPIRED.pack(b"x", ended.overrun, ended.was.lease_end, *ended.charged)
    return head + pack_open(ended.was) + pack_plan(ended.was.plan)


def unpack_ended(id: str, value: bytes) -> Ended:
    """What `pack_ended` or the script packed; what was charged is remembered only where it can be corrected."""
    if value[:1] != b"x":
        letter = decode(value)
        return Ended(HOWS[_LETTERS.index(letter.lower())], letter.isupper(), NOTHING)
    _, overrun, lease_end, *charged = _EXPIRED.unpack_from(value)
    was = unpack_open(id, value[_EXPIRED.size :], None, int(lease_end))
    return Ended("expired", bool(overrun), amounts(tuple(charged)), was)


def pack_row(row: Row) -> bytes:
    """A record."""
    id, about = encode(row.id), encode(row.about)
    head = _ROW.pack(
        HOWS.index(row.how),
        row.part,
        row.overrun,
        row.at,
        row.settled_at,
        *row.hold,
        *row.real,
        len(id),
        len(about),
    )
    return head + id + about + encode(row.outcome)


def unpack_row(value: bytes) -> Row:
    """What `pack_row` or the script packed."""
    how, part, overrun, at, settled_at, *figures, length, about = _ROW.unpack_from(value)
    begin = _ROW.size + length
    return Row(
        decode(value[_ROW.size : begin]),
        part,
        int(at),
        int(settled_at),
        decode(value[begin : begin + about]),
        decode(value[begin + about :]),
        HOWS[how],
        amounts(tuple(figures[:3])),
        amounts(tuple(figures[3:])),
        bool(overrun),
    )


def pack_cell(cell: Cell) -> bytes:
    """A counter's state."""
    figures = (cell.used, cell.held, cell.cap, cell.rev)
    if not cell.counter.span:
        return _FIXED.pack(*figures) + _pack_more(cell)
    parts = [value for part in cell.ring for value in part[1:]]
    head = _ROLLING.pack(*figures, cell.counter.span, len(cell.ring))
    return head + pack(f"<{len(parts)}d", *parts) + _pack_more(cell)


def flat_marks(counter: Counter) -> list[Any]:
    """The thresholds of a counter one after the other, as the script has them: id, at, stop, share."""
    return [value for mark in counter.marks for value in (mark.id, mark.at, mark.stop or False, mark.share)]


def _pack_more(cell: Cell) -> bytes:
    base = cell.counter.cap if cell.counter.cap != cell.cap else False
    marks = flat_marks(cell.counter)
    if base is False and not marks and not cell.fired:
        return b""
    next_mark = _NEVER if cell.next is None else cell.next
    more = [base, marks or False, list(cell.fired) or False, False]
    return _MORE.pack(next_mark, 0) + msgpack.pack(more)


def unpack_fixed(key: str, until: int, keep: int, value: bytes) -> Cell:
    """A fixed window's counter as `pack_cell` or the script packed it. What else belongs to its definition (when the
    window began, whether it is hard, what it watches) comes with each plan again and is not kept.
    """
    figures = _FIXED.unpack_from(value)
    return _unpack_more(Counter(key, 0, until=until, keep=keep), figures, value, _FIXED.size)


def unpack_rolling(key: str, value: bytes) -> Cell:
    """A rolling counter as `pack_cell` or the script packed it."""
    *figures, span, count = _ROLLING.unpack_from(value)
    form = f"<{3 * count}d"
    parts = map(int, unpack_from(form, value, _ROLLING.size))
    counter = Counter(key, 0, span=int(span))
    cell = _unpack_more(counter, tuple(figures), value, _ROLLING.size + calcsize(form))
    cell.ring = [
        [youngest // part_ms(counter.span), youngest, used, held]
        for youngest, used, held in zip(parts, parts, parts, strict=True)
    ]
    return cell


def _unpack_more(counter: Counter, figures: tuple[float, ...], value: bytes, behind: int) -> Cell:
    used, held, cap, rev = map(int, figures)
    more: list[Any] = [False, False, False, False]
    next_mark = _NEVER
    if len(value) > behind:
        next_mark, _ = _MORE.unpack_from(value, behind)
        more = msgpack.unpack(value[behind + _MORE.size :])
    flat = iter(more[1] or ())
    marks = tuple(
        Mark(id, at, stop or None, share) for id, at, stop, share in zip(flat, flat, flat, flat, strict=True)
    )
    cell = Cell(counter._replace(cap=cap if more[0] is False else more[0], marks=marks))
    cell.used, cell.held, cell.cap, cell.rev = used, held, cap, rev
    cell.next = None if next_mark >= _NEVER else int(next_mark)
    cell.fired = tuple(more[2] or ())
    return cell


def is_idle(value: bytes, now: int) -> bool:
    """Whether nothing is used, held or claimed in a fixed window's counter."""
    used, held, _, _ = _FIXED.unpack_from(value)
    claim = None
    if len(value) > _FIXED.size:
        _, _, _, claim = msgpack.unpack(value[_FIXED.size + _MORE.size :])
    return used == held == 0 and (not claim or claim[2] <= now)


def pack_event(event: Event) -> bytes:
    """An event as text; the script packs those of thresholds so, too."""
    return encode(f"E{event.at} {event.body}")


def unpack_event(id: str, value: bytes) -> Event:
    """What `pack_event` or the script packed, or a threshold that the script of an older version saw crossed."""
    if value[:1] == b"F":
        counter, mark, cap, used, at = msgpack.unpack(value[1:])
        return Fired(counter, mark, int(cap), int(used), int(at)).event()
    at, _, body = decode(value[1:]).partition(" ")
    return Event(id, int(at), body)
