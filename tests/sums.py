"""What the tests of folding and of totals share: calls that are booked at once, and a plain sum over all records."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from quotaware.core.steps import NOTHING, Plan, Reserve, Settle
from quotaware.core.totals import Total
from quotaware.core.usage import Usage
from quotaware.core.windows import Window
from quotaware.stores.protocol import Change, Store
from quotaware.tenancy.documents import to_doc
from quotaware.tenancy.nodes import Node
from quotaware.usage import UsageRecord
from tests.support import FakeClock, ids

ORG = "org_a"
FLAGS = ("overrun", "suspect", "unpriced", "degraded")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def moment(ms: int) -> datetime:
    return EPOCH + timedelta(milliseconds=ms)


def ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def set_zone(store: Store, zone: str, org: str = ORG) -> None:
    rev, _ = store.read(org, ())
    store.commit(org, Change(rev, (to_doc(Node(org, "organization", "", "Org", zone=zone)),)))


class Caller:
    """Makes calls in a store, each of its own dimensions, amounts and end."""

    def __init__(self, store: Store, clock: FakeClock, seed: int = 0) -> None:
        self.store = store
        self.clock = clock
        self.chance = random.Random(seed)
        self.new: Callable[[], str] = ids(clock)
        self.late: list[tuple[str, Plan]] = []

    def call(self, org: str = ORG, **about: Any) -> None:
        """One call, admitted now and ended a little later."""
        plan, id = Plan(org, 1 << 40, (), ()), self.new()
        told = json.dumps({**self._about(), **about})
        self._do(Reserve(id, plan, (9, self.chance.randrange(10**13), 0), NOTHING, 60_000, told))
        self.clock.advance(self.chance.randrange(3))
        self._do(self._end(id, plan))

    def lapse(self, org: str = ORG) -> None:
        """One whose process died; it may be told of later."""
        plan, id = Plan(org, 1 << 40, (), ()), self.new()
        hold = (9, self.chance.randrange(10**13), 0)
        self._do(Reserve(id, plan, hold, (5, hold[1] // 2, 0), 0, json.dumps(self._about())))
        self._do(Settle(id, plan, NOTHING, "{}", "expired"))
        self.late.append((id, plan))

    def correct(self) -> None:
        """One of those is told of."""
        if self.late:
            self._do(self._end(*self.late.pop(self.chance.randrange(len(self.late)))))

    def _do(self, op: Reserve | Settle) -> None:
        answer = self.store.apply({op.plan.org: [op]}, 1.0)[op.plan.org]
        assert [result.verdict for result in answer.results] == ["done"]  # type: ignore[union-attr]

    def _about(self) -> dict[str, Any]:
        pick = self.chance.choice
        about = {
            "team": pick([None, "t1"]),
            "project": pick(["p1", "p2"]),
            "key": pick([None, "k1"]),
            "member": pick([None, "mem_1"]),
            "provider": pick([None, "openai"]),
            "model": pick(["small", "large"]),
            "operation": "chat",
            "end_user": pick([None, "ann", "bob ☃"]),
            "tags": pick([None, {"job": "nightly"}, {"job": "nightly", "a=b": "c"}]),
        }
        return {name: value for name, value in about.items() if value is not None}

    def _end(self, id: str, plan: Plan) -> Settle:
        pick = self.chance.choice
        usage = Usage(
            input=self.chance.randrange(9), output=self.chance.randrange(9), cache_read=pick([0, 1])
        )
        outcome = {
            "status": pick([0, 200, 500]),
            "model": pick([None, "small-2"]),
            "usage": {name: n for name in usage.__slots__ if (n := getattr(usage, name))},
            "quality": pick(["exact", "partial", "estimated"]),
            "ms": pick([0, 17, 90_000]),
            "first_ms": pick([None, 0, 3, 700]),
            **{name: True for name in ("suspect", "unpriced", "degraded") if self.chance.random() < 0.2},
            "would_deny": pick([None, ["$1/day"]]),
        }
        text = json.dumps({name: value for name, value in outcome.items() if value is not None})
        return Settle(id, plan, (usage.total, self.chance.randrange(10**13), 0), text)


Group = tuple[int | None, tuple[tuple[str, Any], ...]]


def plain(
    records: Iterable[UsageRecord],
    by: Iterable[str],
    bucket: str | timedelta | None = None,
    zone: str = "UTC",
    where: Mapping[str, Any] | None = None,
    since: datetime = EPOCH,
) -> dict[Group, dict[str, Any]]:
    """What records come to, added one by one."""
    found: dict[Group, dict[str, Any]] = {}
    where, by = where or {}, tuple(by)
    for record in records:
        tags = [f"{name}={value}" for name, value in record.tags.items()]
        for tag in tags if "tag" in (*by, *where) else [None]:
            values = {name: tag if name == "tag" else getattr(record, name) for name in (*by, *where)}
            if all(values[name] == value for name, value in where.items()):
                group = (_begin(record, bucket, zone, since), tuple((name, values[name]) for name in by))
                total = found.setdefault(group, {**dict.fromkeys(_NUMBERS, 0), "durations": [], "firsts": []})
                _add(total, record)
    return found


def _begin(record: UsageRecord, bucket: str | timedelta | None, zone: str, since: datetime) -> int | None:
    if isinstance(bucket, timedelta):
        return ms(record.at - (record.at - since) % bucket)
    return Window("calendar", bucket).bounds(ms(record.at), zone)[0] if bucket else None


_NUMBERS = (
    *(
        "calls",
        "cost",
        "reserved",
        "duration_ms",
        "timed",
        "first_ms",
        "streamed",
        "partial",
        "estimated",
        "unsettled",
        "overrun",
    ),
    *("suspect", "unpriced", "degraded", "would_deny", "corrected", *Usage.__slots__),
)


def _add(total: dict[str, Any], record: UsageRecord) -> None:
    total["corrected" if record.correction else "calls"] += 1
    total["cost"] += record.cost
    total["reserved"] += 0 if record.correction else record.reserved
    for kind in Usage.__slots__:
        total[kind] += getattr(record.usage, kind)
    if record.quality != "unsettled":
        total["duration_ms"] += record.duration_ms
        total["timed"] += 1
        total["durations"].append(record.duration_ms)
    if record.first_token_ms is not None:
        total["first_ms"] += record.first_token_ms
        total["streamed"] += 1
        total["firsts"].append(record.first_token_ms)
    if record.quality != "exact":
        total[record.quality] += 1
    for flag in record.flags:
        total[flag] += 1
    total["would_deny"] += bool(record.would_deny)


def check(totals: Iterable[Total], expected: Mapping[Group, Mapping[str, Any]]) -> None:
    """Holds totals against a plain sum: every number exactly, percentiles within 5 %."""
    totals = list(totals)
    found = {(total.bucket and ms(total.bucket), tuple(total.by.items())): total for total in totals}
    assert len(found) == len(totals)
    assert found.keys() == expected.keys()
    for group, total in found.items():
        told = {name: getattr(total, name) for name in _NUMBERS if name not in Usage.__slots__}
        told |= {kind: getattr(total.usage, kind) for kind in Usage.__slots__}
        assert told == {name: expected[group][name] for name in _NUMBERS}, group
        for known, percentile in (("durations", total.percentile_ms), ("firsts", total.percentile_first_ms)):
            real = sorted(expected[group][known])
            for share in (0.5, 0.95):
                exact = real[max(0, -(-len(real) * int(share * 100) // 100) - 1)] if real else None
                estimate = percentile(share)
                assert (estimate is None) == (exact is None)
                assert exact is None or abs(estimate - exact) <= 0.05 * exact
