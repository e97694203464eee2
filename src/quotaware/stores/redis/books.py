"""What finished calls left, and what is told of them: records, sums behind a watermark, events, and what is one's for a
time. Also the removal of what is past its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby

from ...core.steps import REMEMBER_MS, Event, Row, Sum, position, position_of
from ...errors import StoreError
from .keys import Names, bucketed, decode, encode, part, whole
from .steps import HOUR_MS, TRIES, Access, Met, Step
from .values import about_of, is_idle, pack_event, pack_row, unpack_event, unpack_row

DAY_MS = 86_400_000
LATE_HOURS = 24
"""How many hours' ended reservations are looked for beyond those that are remembered."""


def records(
    access: Access, org: str, since: int, until: int, after: str, limit: int, back: bool, deadline: float
) -> list[tuple[str, Row]]:
    """Records in the order in which they were booked, or back from the end."""
    if limit <= 0 or until <= 0:
        return []
    names = access.names(org)
    begin, end, other = str(max(0, since)), str(until - 1), f"({after}"
    if back:
        end = other if after and position_of(after) < (until, 0) else end
        step = Step(names).add("XREVRANGE", names("u"), end, begin, "COUNT", limit)
    else:
        begin = other if after and position_of(after) >= (since, 0) else begin
        step = Step(names).add("XRANGE", names("u"), begin, end, "COUNT", limit)
    (found,) = access.look(org, step, deadline).replies
    return [(decode(at), unpack_row(fields[1])) for at, fields in found]


def under_way(access: Access, org: str, limit: int, deadline: float) -> list[tuple[str, str]]:
    """What open reservations are about, by id."""
    names = access.names(org)
    if limit <= 0:
        return []
    (ids,) = access.look(org, Step(names).add("ZRANGE", names("x"), 0, limit - 1), deadline).replies
    if not ids:
        return []
    (found,) = access.look(org, Step(names).add("HMGET", names("r"), *ids), deadline).replies
    return [(decode(id), about_of(value)) for id, value in zip(ids, found, strict=True) if value is not None]


# sums


def put_sums(step: Step, names: Names, sums: Iterable[Sum], ttl: Callable[[int], int]) -> None:
    """Writes sums in place of what stands there."""
    by_bucket = groupby(sorted(sums), key=lambda each: (each.cube, each.bucket))
    for (cube, bucket), group in by_bucket:
        own = list(group)
        key, keep = sum_key(names, cube, bucket), max(each.keep for each in own)
        step.each("HSET", key, (word for each in own for word in (each.dims, f"{each.keep} {each.body}")))
        step.add("PEXPIRE", key, ttl(keep))
        step.add("ZADD", names("b"), 0, bucketed(cube, bucket))
        step.add("ZADD", names("g"), keep, bucketed(cube, bucket))


def sum_key(names: Names, cube: str, bucket: int) -> bytes:
    """The hash of a cube's bucket."""
    return names("s", f"{bucket}:{part(cube)}")


def bucket_of(member: bytes) -> tuple[str, int]:
    """Cube and bucket of an entry of the listing of sums."""
    cube, _, bucket = decode(member).rpartition("\0")
    return whole(cube), int(bucket)


def fold(access: Access, org: str, after: str, upto: str, put: Sequence[Sum], deadline: float) -> bool:
    """Writes sums and moves the watermark, unless another did."""
    names = access.names(org)
    now = access.look(org, Step(names), deadline)
    step = Step(names).need(names("m"), "folded", after)
    put_sums(step, names, put, lambda keep: access.ttl(now, keep))
    step.add("HSET", names("m"), "folded", upto)
    return not access.write(org, step, deadline).moved


def keep(access: Access, org: str, after: str, rows: Sequence[tuple[str, Row]], deadline: float) -> bool:
    """Writes records at the positions that another store gave them, and moves the watermark, unless another did."""
    names = access.names(org)
    step = Step(names).need(names("m"), "folded", after)
    for at, row in rows:
        step.add("XADD", names("u"), at, "r", pack_row(row))
    if rows:
        ms, count = position_of(rows[-1][0])
        step.add("HSET", names("m"), "folded", rows[-1][0], "booked", ms, "count", count)
    return not access.write(org, step, deadline).moved


def sums(
    access: Access, org: str, cube: str, since: int, until: int, lead: str, deadline: float
) -> list[Sum]:
    """Sums of a cube whose bucket is in [since, until) and whose dims begin so."""
    names, begin = access.names(org), encode(lead)
    least, most = max(0, since), max(0, until)
    step = Step(names).add(
        "ZRANGEBYLEX", names("b"), b"[" + bucketed(cube, least), b"(" + bucketed(cube, most)
    )
    (members,) = access.look(org, step, deadline).replies
    found: list[Sum] = []
    buckets = [bucket_of(member)[1] for member in members]
    for start in range(0, len(buckets), 100):
        step = Step(names)
        for bucket in buckets[start : start + 100]:
            step.add("HGETALL", sum_key(names, cube, bucket))
        for bucket, flat in zip(buckets[start:], access.look(org, step, deadline).replies, strict=False):
            found += (
                sum_of(cube, bucket, dims, value) for dims, value in pairs(flat) if dims.startswith(begin)
            )
    return found


def sum_of(cube: str, bucket: int, dims: bytes, value: bytes) -> Sum:
    """A sum as it stands in its hash."""
    until, _, body = decode(value).partition(" ")
    return Sum(cube, bucket, decode(dims), body, int(until))


def pairs(flat: Sequence[bytes]) -> Iterable[tuple[bytes, bytes]]:
    """Fields and values of a hash."""
    return zip(flat[::2], flat[1::2], strict=True)


def pick(
    access: Access, org: str, which: Sequence[tuple[str, int, str]], deadline: float
) -> list[str | None]:
    """The bodies of single sums."""
    names = access.names(org)
    step = Step(names)
    for cube, bucket, dims in which:
        step.add("HGET", sum_key(names, cube, bucket), dims)
    found = access.look(org, step, deadline).replies
    return [None if value is None else decode(value).partition(" ")[2] for value in found]


# events, and what is one's for a time


def outbox(
    access: Access, org: str, put: Sequence[Event], done: Sequence[str], deadline: float
) -> list[Event]:
    """Adds and takes away events; answers those that are to be told."""
    names = access.names(org)
    step = Step(names)
    for event in put:
        step.add("HSETNX", names("o"), event.id, pack_event(event))
    step.each("HDEL", names("o"), done).add("HGETALL", names("o"))
    met = (access.write if put or done else access.look)(org, step, deadline)
    events = [unpack_event(decode(id), value) for id, value in pairs(met.replies[-1])]
    return sorted(events, key=lambda event: (event.at, event.id))


def once(
    access: Access, org: str, name: str, value: str, ttl: int, expect: str | None, deadline: float
) -> str:
    """Sets a name where it is free or holds what is expected; answers what stands."""
    names = access.names(org)
    key = names("t", name)
    for _ in range(TRIES):
        met = access.look(org, Step(names).add("GET", key), deadline)
        raw = met.replies[0] or b""
        until, _, standing = decode(raw).partition(" ")
        if raw and int(until) > met.now and standing != expect:
            return standing
        step = Step(names).need(key, "", raw)
        put_once(step, key, value, met.now + ttl, ttl + access.slack)
        if not access.write(org, step, deadline).moved:
            return value
    raise StoreError(f"{name!r} changes hands too fast to be had")


def put_once(step: Step, key: bytes, value: str, until: int, ttl: int) -> None:
    """Writes what is one's until a time."""
    step.add("SET", key, f"{until} {value}", "PX", max(1, ttl))


# what is past its time


def prune(access: Access, org: str, limit: int, records_days: int | None, deadline: float) -> int:
    """Removes up to `limit` of each kind; answers how many."""
    names = access.names(org)
    met = access.look(org, Step(names), deadline)
    counted = (
        _prune_windows(access, org, names, met, limit, deadline)
        + _prune_idle(access, org, names, met, limit, deadline)
        + _prune_sums(access, org, names, met, limit, deadline)
    )
    if records_days is not None and met.folded:
        counted += _prune_records(access, org, names, met, met.now - records_days * DAY_MS, limit, deadline)
    return counted


def _prune_windows(access: Access, org: str, names: Names, met: Met, limit: int, deadline: float) -> int:
    """Hashes of counters and of ended reservations, before they expire: not every server does that aside."""
    look = Step(names).add("ZRANGEBYSCORE", names("z"), "(0", met.now, "LIMIT", 0, limit)
    (members,) = access.look(org, look, deadline).replies
    last = (met.now - REMEMBER_MS) // HOUR_MS - 1
    hours = [names("e", str(hour)) for hour in range(last - LATE_HOURS, last + 1)]
    windows = [names("w", decode(member)) for member in members]
    look = Step(names)
    for key in hours[-limit:]:
        look.add("EXISTS", key)
    there = access.look(org, look, deadline).replies
    gone = [key for key, is_there in zip(hours[-limit:], there, strict=True) if is_there]
    if not windows and not gone:
        return 0
    step = Step(names)
    for key in windows + gone:
        step.add("UNLINK", key)
    step.each("ZREM", names("z"), members)
    access.write(org, step, deadline)
    return len(windows) + len(gone)


def _prune_idle(access: Access, org: str, names: Names, met: Met, limit: int, deadline: float) -> int:
    """Counters that go as soon as they are empty, and that were there for a waiter's claim only."""
    key, listed = names.window(0, -1), names("y")
    look = Step(names).add("ZRANGEBYSCORE", listed, "-inf", met.now, "LIMIT", 0, limit)
    (fields,) = access.look(org, look, deadline).replies
    if not fields:
        return 0
    (values,) = access.look(org, Step(names).add("HMGET", key, *fields), deadline).replies
    count = 0
    for field, value in zip(fields, values, strict=True):
        step = Step(names).need(key, field, value or b"").add("ZREM", listed, field)
        if value is not None and is_idle(value, met.now):
            step.add("HDEL", key, field)
        count += not access.write(org, step, deadline).moved
    return count


def _prune_sums(access: Access, org: str, names: Names, met: Met, limit: int, deadline: float) -> int:
    look = Step(names).add("ZRANGEBYSCORE", names("g"), "-inf", met.now, "LIMIT", 0, limit)
    (members,) = access.look(org, look, deadline).replies
    if not members:
        return 0
    step = Step(names)
    for member in members:
        cube, bucket = bucket_of(member)
        step.add("UNLINK", sum_key(names, cube, bucket))
    step.each("ZREM", names("b"), members).each("ZREM", names("g"), members)
    access.write(org, step, deadline)
    return len(members)


def _prune_records(
    access: Access, org: str, names: Names, met: Met, oldest: int, limit: int, deadline: float
) -> int:
    """Of the records in the sums those that were booked before `oldest`, first ones first."""
    most = min((oldest - 1, (1 << 63) - 1), position_of(met.folded))
    if most < (0, 0):
        return 0
    step = Step(names).add("XRANGE", names("u"), "-", position(*most), "COUNT", limit)
    (found,) = access.look(org, step, deadline).replies
    if not found:
        return 0
    ms, count = position_of(decode(found[-1][0]))
    access.write(org, Step(names).add("XTRIM", names("u"), "MINID", position(ms, count + 1)), deadline)
    return len(found)
