"""One batch of one organization as the script reads it (`load.lua`, `decide.lua`, `write.lua`), and its answer.

The request is one flat msgpack array, so that the script makes no table a row: known epoch, sequence and number of own
writes, an epoch for an organization that is new, the clock (0: the server's), slack for what expires, time of the
oldest id, how many of each; then ids by the hour they were made in, the homes of counters, plans, steps. A plan is
packed once for as long as it is used; a batch adds only which homes its counters are in: the hash of a window, or a
rolling counter's own key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from struct import Struct, unpack_from
from threading import Lock
from typing import NamedTuple, TypeVar

from ...core.steps import Answer, Counter, Extend, Op, Over, Peek, Plan, Reserve, Result, Settle, Verdict
from ..seen import Known
from . import msgpack
from .keys import Names, decode, encode, window_name
from .values import HOWS, digest_of, flat_marks, pack_plan, unpack_plan

T = TypeVar("T")

HOUR_MS = 3_600_000
_NO_BLOB = msgpack.text(b"")
PLANS = 2_000
"""Plans whose packed form is kept."""
_FOREVER = 2.0**62
_RESERVE = Struct(">BBIBIBBdBdBdBdBdBdBd")
_SETTLE = Struct(">BBIBIBBdBdBd")
_EXTEND = Struct(">BBIBd")
_PEEK = Struct(">BBI")
_LINE = Struct(">BBBd")
_PLAN = Struct(">BdBdBd")
_SIZES = Struct(">BIBIBI")
_NUMBER = Struct(">BH")
_ROLLING = -2
_SPAN = b"\x82" + msgpack.text(b"line")
_SPAN_MS = msgpack.text(b"span")
_HEAD = Struct("<cddddIIIIII")
_OVER = Struct("<IIBddddd")
_LETTERS: dict[str, Verdict] = {
    "d": "done", "D": "done", "a": "again", "A": "again", "n": "denied", "s": "stale", "w": "window",
    "e": "ended", "u": "unknown", "c": "closed", "f": "full", "o": "old",
}  # fmt: skip
_RESULTS = {ord(letter): Result(verdict, overrun=letter.isupper()) for letter, verdict in _LETTERS.items()}


Home = tuple[bytes, int]
"""The end of the key that a counter is in, and when that may be forgotten, ms (`_ROLLING`: it is the counter's own)."""


@dataclass(frozen=True, slots=True)
class Packed:
    """A plan as the script reads it: digest, blob (only for who reserves under it), `head`, the numbers of its homes in
    this batch, `tail`; so many values in all. `keys`: its counters.
    """

    plan: Plan
    digest: bytes
    blob: bytes
    head: bytes
    homes: tuple[Home, ...]
    numbers: Struct
    tail: bytes
    values: int
    keys: tuple[str, ...]


def _home(counter: Counter) -> Home:
    if counter.span:
        return encode(f"c:{counter.key}"), _ROLLING
    return window_name(counter.until, counter.keep), counter.keep


def _home_before(counter: Counter) -> Home:
    """Of the period before, which ends where this one begins and is kept as long after its end."""
    keep = counter.since + counter.keep - counter.until if counter.until else counter.keep
    return window_name(counter.since if counter.until else 0, keep), keep


def _special(line: int, counter: Counter, carry: int) -> bytes:
    """What only some lines have."""
    if not (counter.watch or counter.marks or carry):
        return _SPAN + msgpack.number(line) + _SPAN_MS + msgpack.number(counter.span)
    marks = flat_marks(counter)
    parts = {
        "span": counter.span,
        "watch": list(counter.watch),
        "marks": marks,
        "carry": carry,
        "idle": counter.idle,
    }
    return msgpack.pack({"line": line, **{name: part for name, part in parts.items() if part}})


def pack_plan_lines(plan: Plan, blob: bytes | None = None) -> Packed:
    """A plan as the script reads it."""
    blob = pack_plan(plan) if blob is None else blob
    homes: dict[Home, int] = {}
    places: list[bytes] = []
    carried: list[bytes] = []
    lines: list[bytes] = []
    more: list[bytes] = []
    since, till = 0, _FOREVER
    for number, (counter, index) in enumerate(plan.lines, 1):
        home = homes.setdefault(_home(counter), len(homes) + 1)
        places.append(_NUMBER.pack(0xCD, home) + msgpack.text(encode(counter.key)))
        lines.append(_LINE.pack(index, (not counter.hard) + 2 * (counter.keep < 0), 0xCB, counter.cap))
        if counter.until:
            since, till = max(since, counter.since), min(till, counter.until)
        if counter.carry is not None:
            home = homes.setdefault(_home_before(counter), len(homes) + 1)
            carried.append(_NUMBER.pack(0xCD, home) + msgpack.text(encode(counter.carry)))
        if counter.span or counter.watch or counter.marks or counter.carry is not None:
            carry = len(plan.lines) + len(carried) if counter.carry is not None else 0
            more.append(_special(number, counter, carry))
    deps = msgpack.array_head(len(plan.deps)) + b"".join([msgpack.text(encode(dep)) for dep in plan.deps])
    sizes = _SIZES.pack(0xCE, len(lines), 0xCE, len(lines) + len(carried), 0xCE, len(homes))
    return Packed(
        plan,
        msgpack.text(digest_of(blob)),
        msgpack.text(blob),
        _PLAN.pack(0xCB, plan.rev, 0xCB, since, 0xCB, till) + msgpack.text(deps) + sizes,
        tuple(homes),
        _home_numbers(len(homes)),
        b"".join([*places, *carried, *lines, msgpack.number(len(more)), *more]),
        10 + len(homes) + 5 * len(lines) + 2 * len(carried) + len(more),
        tuple([counter.key for counter, _ in plan.lines]),
    )


@cache
def _home_numbers(count: int) -> Struct:
    return Struct(">" + "BH" * count)


class Plans:
    """Packed plans, by the object that they were packed from. Thread-safe."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: dict[int, Packed] = {}

    def __call__(self, plan: Plan) -> Packed:
        """The packed form of a plan."""
        found = self._kept.get(id(plan))  # what is kept keeps its plan, so no other bears its id
        if found is None:
            found = pack_plan_lines(plan)
            with self._lock:
                while len(self._kept) >= PLANS:
                    del self._kept[next(iter(self._kept))]
                self._kept[id(plan)] = found
        return found


@dataclass(frozen=True, slots=True)
class Batch:
    """What goes to the script, and what is needed to understand its answer."""

    org: str
    ops: Sequence[Op]
    keys: list[bytes]
    payload: bytes
    asked: list[Packed]


def pack_batch(
    names: Names,
    org: str,
    ops: Sequence[Op],
    known: Known,
    writer: str,
    epoch: str,
    clock: int,
    slack: int,
    plans: Plans,
    extra: Sequence[Packed] = (),
) -> Batch:
    """A batch of one organization. `known`: what was seen of it by `writer`; `epoch`: its, if it is new; `extra`:
    plans of reservations that are settled under another plan.
    """
    used: dict[int, Packed] = {}
    for op in ops:
        if not isinstance(op, Extend) and id(op.plan) not in used:
            used[id(op.plan)] = plans(op.plan)
    asked = list(used.values())
    listed = [*asked, *extra]
    homes: dict[Home, int] = {}
    for packed in listed:
        for home in packed.homes:
            if home not in homes:
                homes[home] = len(homes) + 1
    by_hour, oldest = _ids_by_hour(ops)
    ids = [each for group in by_hour.values() for each in group]

    number = msgpack.number
    out = [
        msgpack.text(encode(known.epoch)),
        number(known.seq),
        number(known.writes),
        msgpack.text(encode(epoch)),
    ]
    counts = (len(by_hour), len(homes), len(ids), len(listed), len(ops), len(asked))
    out += map(number, (clock, slack, oldest, *counts))
    out += (number(len(group)) for group in by_hour.values())
    out += (msgpack.text(encode(each)) for each in ids)
    out += (number(keep) for _, keep in homes)
    values = len(out)
    reserving = {id(op.plan) for op in ops if isinstance(op, Reserve)}
    for packed in listed:
        blob = packed.blob if id(packed.plan) in reserving else _NO_BLOB
        own: list[int] = []
        for home in packed.homes:
            own += (0xCD, homes[home])
        out += (packed.digest, blob, packed.head, packed.numbers.pack(*own), packed.tail)
        values += packed.values
    values += _pack_ops(out, ops, _numbers(ids), _numbers(used))

    keys = [names(kind) for kind in "mvhrpxuozy"]
    keys.append(names("q", writer))
    keys += (names("e", str(hour)) for hour in by_hour)
    keys += (names.base + end for end, _ in homes)
    return Batch(org, ops, keys, msgpack.array_head(values) + b"".join(out), asked)


def _ids_by_hour(ops: Sequence[Op]) -> tuple[dict[int, list[str]], int]:
    """The ids of a batch, each once, by the hour that they were made in; and when the oldest was, ms."""
    by_hour: dict[int, list[str]] = {}
    oldest = 1 << 48
    for each in dict.fromkeys([op.id for op in ops if not isinstance(op, Peek)]):
        made = int(each[:12], 16)
        oldest = min(oldest, made)
        by_hour.setdefault(made // HOUR_MS, []).append(each)
    return by_hour, oldest


def _numbers(things: Iterable[T]) -> dict[T, int]:
    return {each: number for number, each in enumerate(things, 1)}


def _pack_ops(out: list[bytes], ops: Sequence[Op], ids: dict[str, int], plans: dict[int, int]) -> int:
    """The steps; answers of how many values they are."""
    values = 0
    for op in ops:
        if isinstance(op, Reserve):
            tokens, cost, concurrency = op.hold
            tokens_due, cost_due, concurrency_due = op.on_expiry
            out.append(
                _RESERVE.pack(
                    1, 0xCE, ids[op.id], 0xCE, plans[id(op.plan)], op.wait + 2 * op.force + 4 * op.dry, 0xCB, op.lease,
                    0xCB, tokens, 0xCB, cost, 0xCB, concurrency,
                    0xCB, tokens_due, 0xCB, cost_due, 0xCB, concurrency_due,
                )
            )  # fmt: skip
            out.append(msgpack.text(encode(op.about)))
            values += 12
        elif isinstance(op, Settle):
            tokens, cost, concurrency = op.real
            out.append(
                _SETTLE.pack(
                    2, 0xCE, ids[op.id], 0xCE, plans[id(op.plan)], HOWS.index(op.how) + 4 * op.force,
                    0xCB, tokens, 0xCB, cost, 0xCB, concurrency,
                )
            )  # fmt: skip
            out.append(msgpack.text(encode(op.outcome)))
            out.append(msgpack.text(encode(op.about)))
            values += 9
        elif isinstance(op, Extend):
            out.append(_EXTEND.pack(3, 0xCE, ids[op.id], 0xCB, op.lease))
            values += 3
        else:
            out.append(_PEEK.pack(4, 0xCE, plans[id(op.plan)]))
            values += 2
    return values


class Lost(NamedTuple):
    """The organization that was met is not the known one, or an older state of it ("" and 0: it is not there)."""

    epoch: str
    seq: int
    writes: int


class Foreign(NamedTuple):
    """The batch settles reservations that were made under these plans, which it does not name."""

    plans: list[Packed]


class Done(NamedTuple):
    """The batch's answer, and what the organization came to."""

    answer: Answer
    epoch: str
    seq: int
    writes: int


def read_answer(batch: Batch, reply: bytes) -> Done | Lost | Foreign:
    """What the script answered. Raises `ValueError`, `struct.error` and the like where that is nonsense."""
    if reply[:1] == b"l":
        seq, writes = unpack_from("<dd", reply, 1)
        return Lost(decode(reply[17:]), int(seq), int(writes))
    if reply[:1] == b"p":
        return Foreign([pack_plan_lines(unpack_plan(blob), blob) for blob in dict.fromkeys(_sized(reply, 1))])
    _, seq, writes, now, rev, events, epoch_size, ops, totals_size, overs_size, stale_size = (
        _HEAD.unpack_from(reply)
    )
    if ops != len(batch.ops) or totals_size != sum(16 * len(packed.keys) for packed in batch.asked):
        raise ValueError("the answer is to another batch")
    verdicts = _HEAD.size + epoch_size
    totals = verdicts + ops
    overs = totals + totals_size
    stale = overs + overs_size
    due = stale + stale_size
    results = [_RESULTS[letter] for letter in reply[verdicts:totals]]
    _read_overs(batch.ops, reply[overs:stale], results)
    _read_stale(reply[stale:due], results)
    figures = iter(unpack_from(f"<{totals_size // 8}q", reply, totals))
    pairs = zip(figures, figures, strict=True)
    found: dict[str, tuple[int, int]] = {}
    for packed in batch.asked:
        found.update(zip(packed.keys, pairs))  # noqa: B905  # as many as it has keys; the rest is the others'
    answer = Answer(
        int(now),
        int(rev),
        results,
        found,
        _read_due(reply[due:]),
        events,
    )
    return Done(answer, decode(reply[_HEAD.size : verdicts]), int(seq), int(writes))


def _read_overs(ops: Sequence[Op], rows: bytes, results: list[Result]) -> None:
    found: dict[int, list[Over]] = {}
    for number, line, hard, *figures in _OVER.iter_unpack(rows):
        cap, used, held, asked, fits_at = map(int, figures)
        counter = ops[number - 1].plan.lines[line - 1][0]
        if not counter.span:
            fits_at = counter.until if asked <= cap < used + asked else 0
        over = Over(counter.key, cap, bool(hard), used, held, asked, fits_at if fits_at > 0 else None)
        found.setdefault(number, []).append(over)
    for number, all_over in found.items():
        results[number - 1] = Result(results[number - 1].verdict, tuple(all_over))


def _read_stale(rows: bytes, results: list[Result]) -> None:
    found: dict[int, list[str]] = {}
    at = 0
    while at < len(rows):
        number, size = unpack_from("<II", rows, at)
        at += 8 + size
        found.setdefault(number, []).append(decode(rows[at - size : at]))
    for number, deps in found.items():
        results[number - 1] = Result("stale", stale=tuple(deps))


def _read_due(rows: bytes) -> list[tuple[str, Plan]]:
    due = []
    at = 0
    while at < len(rows):
        id_size, size = unpack_from("<II", rows, at)
        begin = at + 8 + id_size
        due.append((decode(rows[at + 8 : begin]), unpack_plan(rows[begin : begin + size])))
        at = begin + size
    return due


def _sized(rows: bytes, at: int) -> Iterable[bytes]:
    while at < len(rows):
        (size,) = unpack_from("<I", rows, at)
        at += 4 + size
        yield rows[at - size : at]
