"""The same random operations on two stores: same answers, same totals, same events, same books.

`run(seed, steps, left, right, clock)` drives both with one seed; both are new, and read the time from the same clock.
Dumps are compared at the end and along the way, without what a store is free to forget by itself.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable
from typing import Any

from quotaware.core.steps import (
    CONCURRENCY,
    COST,
    NOTHING,
    REQUESTS,
    TOKENS,
    Amounts,
    Answer,
    Counter,
    Event,
    Extend,
    Mark,
    Op,
    Peek,
    Plan,
    Reserve,
    Settle,
    Sum,
)
from quotaware.errors import Conflict
from quotaware.stores import items
from quotaware.stores.protocol import Change, Doc, Item, Store
from tests.support import FakeClock, ids

ORGS = ("org_a", "org_b")
NODES = ("root", "team", "project", "key_1", "key_2")
DAY = 86_400_000
WEEK = 7 * DAY


def run(seed: int, steps: int, left: Store, right: Store, clock: FakeClock) -> dict[str, int]:
    """Raises `AssertionError`, naming seed and step, where the two differ; answers how often each verdict came."""
    world = _World(random.Random(seed), left, right, clock)
    step = -1
    try:
        for step in range(steps):
            world.step()
            if step % 50 == 49:
                world.compare()
        world.compare()
    except AssertionError as error:
        raise AssertionError(f"seed={seed} step={step}: {error}") from error
    return world.verdicts


class _World:
    """What the operations are drawn from."""

    def __init__(self, chance: random.Random, left: Store, right: Store, clock: FakeClock) -> None:
        self.chance = chance
        self.stores = (left, right)
        self.clock = clock
        self.new = ids(clock)
        self.called: list[tuple[str, str, Plan]] = []  # organization, id, plan
        self.plans: dict[str, list[Plan]] = {org: [] for org in ORGS}
        self.verdicts: dict[str, int] = {}
        for org in ORGS:
            self.both(lambda store, org=org: store.commit(org, Change(0, tuple(_doc(id) for id in NODES))))

    def step(self) -> None:
        kinds: list[tuple[Callable[[], None], int]] = [
            (self.apply, 80),
            (self.change, 4),
            (self.read, 4),
            (self.fold, 3),
            (self.outbox, 3),
            (self.once, 3),
            (self.time, 20),
        ]
        self.chance.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]()

    def both(self, call: Callable[[Any], object]) -> Any:
        """What both stores answer, which is the same."""
        left, right = (_answered(call, store) for store in self.stores)
        assert left == right, f"{left!r}\nis not\n{right!r}"
        return left

    # steps

    def apply(self) -> None:
        work: dict[str, list[Op]] = {}
        for _ in range(self.chance.choice([1, 1, 2, 6, 20])):
            org = self.chance.choice(ORGS)
            work.setdefault(org, []).append(self.op(org))
        answers = self.both(lambda store: dict(store.apply(work, 5.0)))
        for org, answer in answers.items():
            assert isinstance(answer, Answer), answer
            for result in answer.results:
                self.verdicts[result.verdict] = self.verdicts.get(result.verdict, 0) + 1
            due: list[Op] = [Settle(id, plan, NOTHING, "{}", "expired") for id, plan in answer.due]
            if due and self.chance.random() < 0.7:
                self.both(lambda store, org=org, due=due: dict(store.apply({org: due}, 5.0)))

    def op(self, org: str) -> Op:
        chance = self.chance
        known = [each for each in self.called[-60:] if each[0] == org]
        kind = chance.choices(["reserve", "settle", "extend", "peek"], [45, 45, 6, 4])[0]
        if kind == "peek":
            return Peek(self.plan(org))
        if kind == "reserve" or not known:
            return self.reserve(org, known)
        _, id, plan = chance.choice(known)
        if kind == "extend":
            return Extend(id, plan, chance.choice([0, 50, 1000, 60_000]))
        how = chance.choices(["settled", "released", "expired"], [70, 15, 15])[0]
        force = chance.random() < 0.1
        return Settle(id, plan, self.amounts(12), '{"status":200}', how, force, '{"late":true}' * force)  # type: ignore[arg-type]

    def reserve(self, org: str, known: list[tuple[str, str, Plan]]) -> Reserve:
        chance = self.chance
        plan = self.plan(org)
        id = self.new()
        if known and chance.random() < 0.08:
            _, id, plan = chance.choice(known)  # told twice
        elif chance.random() < 0.03:
            id = f"{self.clock() - 3 * DAY:012x}{id[12:]}"
        hold = self.amounts(9)
        on_expiry: Amounts = (hold[0] // 2, hold[1] // 2, 0)
        wait, force, dry = (chance.random() < p for p in (0.3, 0.05, 0.05))
        self.called.append((org, id, plan))
        lease = chance.choice([5, 200, 5000, 60_000])
        return Reserve(id, plan, hold, on_expiry, lease, '{"model":"m"}', wait, force, dry)

    def amounts(self, most: int) -> Amounts:
        chance = self.chance
        return (chance.randint(0, most), chance.choice([0, chance.randint(0, most)]), 1)

    def plan(self, org: str) -> Plan:
        """A plan of the tree as it stands, or one that was made before."""
        chance = self.chance
        if self.plans[org] and chance.random() < 0.3:
            return chance.choice(self.plans[org][-5:])
        rev, found = self.stores[0].read(org, NODES)
        docs = {doc.id: doc for doc in found if doc is not None}
        path = ["root", "team", "project", chance.choice(["key_1", "key_2"])]
        lines = [line for id in path if id in docs for line in _lines(docs[id], self.clock())]
        plan = Plan(org, rev, tuple(path), tuple(chance.sample(lines, chance.randint(1, len(lines)))))
        self.plans[org].append(plan)
        return plan

    def change(self) -> None:
        """A change of the tree, sometimes of an older one, or of a name that is taken."""
        chance, org = self.chance, self.chance.choice(ORGS)
        rev, _ = self.stores[0].read(org, ())
        put = tuple(_doc(id, chance) for id in chance.sample(NODES, chance.randint(0, 2)))
        drop = ("spare",) if chance.random() < 0.2 else ()
        if chance.random() < 0.3:
            put += (_doc("spare")._replace(name=chance.choice(["Red", "key_1"])),)
        change = Change(
            rev - (chance.random() < 0.1),
            put,
            drop,
            resume=tuple(chance.sample(NODES, chance.randint(0, 1))),
            audit=chance.choice(["", '{"who":"me"}']),
        )
        self.both(lambda store: store.commit(org, change))

    def read(self) -> None:
        org, after = self.chance.choice(ORGS), self.chance.choice(["", "key_1", "project"])
        self.both(lambda store: store.read(org, (*NODES, "spare")))
        self.both(lambda store: store.children(org, "node", "", None, after, 3))
        self.both(lambda store: store.children(org, "node", "top", "Red", "", 3))
        self.both(lambda store: store.audit(org, 2, 3))
        self.both(lambda store: store.orgs("", 9))
        since = self.clock() - self.chance.choice([10, 1000, DAY])
        page = self.both(lambda store: store.records(org, since, self.clock(), "", 5))
        if page:
            self.both(lambda store: store.records(org, 0, self.clock() + 1, page[-1][0], 5))

    def fold(self) -> None:
        org, chance = self.chance.choice(ORGS), self.chance
        after = self.both(lambda store: store.folded(org)) if chance.random() < 0.8 else "1-0"
        page = self.both(lambda store: store.records(org, 0, self.clock() + 1, after, 20))
        if page:
            dims = json.dumps({"model": chance.choice("mn")})
            put = [Sum("hour", self.clock() // 1000, dims, str(chance.random()), self.clock() + WEEK)]
            self.both(lambda store: store.fold(org, after, page[-1][0], put))
            self.both(lambda store: store.pick(org, [put[0][:3], ("hour", 0, dims)]))
            lead = chance.choice(["", dims[:10], dims])
            self.both(lambda store: sorted(store.sums(org, "hour", 0, self.clock(), lead)))

    def outbox(self) -> None:
        org, chance = self.chance.choice(ORGS), self.chance
        events = self.both(lambda store: told(store.outbox(org)))
        done = [event for event in events if chance.random() < 0.3]
        put = [Event(chance.choice("xyz"), self.clock(), "{}")] if chance.random() < 0.5 else []

        def tell(store: Any) -> object:
            found = store.outbox(org)
            ids = [each.id for each, known in zip(found, told(found), strict=True) if known in done]
            return told(store.outbox(org, put, ids))

        self.both(tell)

    def once(self) -> None:
        org, chance = self.chance.choice(ORGS), self.chance
        name, value, expect = chance.choice("no"), chance.choice("mnk"), chance.choice([None, "m"])
        self.both(lambda store: store.once(org, name, value, 300, expect))

    def time(self) -> None:
        """On, and now and then back."""
        self.clock.advance(self.chance.choice([0, 1, 1, 7, 40, 300, 2000, 61_000, -500, -5000]))

    # books

    def compare(self) -> None:
        for org in ORGS:
            left, right = (_comparable(store.dump(org), self.clock()) for store in self.stores)
            assert left.keys() == right.keys(), f"{org}: only one has {left.keys() ^ right.keys()}"
            for key, value in left.items():
                assert value == right[key], f"{org} {key}: {value!r} is not {right[key]!r}"


def _doc(id: str, chance: random.Random | None = None) -> Doc:
    """A node whose body says how much of the usual amounts its limits allow."""
    size = chance.choice([1, 2, 5, 50]) if chance is not None else 5
    return Doc(id, "node", "top", id if id.startswith("key") else None, 0, str(size))


def _lines(doc: Doc, now: int) -> list[tuple[Counter, int]]:
    """The limits of a node: a budget a week with thresholds, one for ever, rates, calls at once.

    Those that a store may forget do not change: a call of an older policy would bring back what that said.
    """
    size = int(doc.body)
    start = now // WEEK * WEEK
    fixed: dict[str, int] = {"since": start, "until": start + WEEK, "keep": start + 3 * WEEK}
    carry = f"{doc.id}/week@{start - WEEK}" if doc.id == "team" else None
    share = 666_667 if carry else 0
    stop = doc.id if doc.id.startswith("key") else None
    marks = (Mark("half", 10 * size), Mark("all", 20 * size, stop, share))
    idle = 5 * size if carry else 0
    return [
        (Counter(f"{doc.id}/week@{start}", 30 * size, marks=marks, carry=carry, idle=idle, **fixed), COST),
        (Counter(f"{doc.id}/life", 400 * size, watch=(40 * size, 90 * size)), COST),
        (Counter(f"{doc.id}/soft", 45, hard=False, span=5000), TOKENS),
        (Counter(f"{doc.id}/tokens", 60, span=1000, marks=(Mark("hot", 30),)), TOKENS),
        (Counter(f"{doc.id}/calls", 40, span=60_000), REQUESTS),
        (Counter(f"{doc.id}/slots", 10, keep=-1), CONCURRENCY),
    ]


def _answered(call: Callable[[Any], object], store: Store) -> object:
    try:
        return call(store)
    except Conflict as error:
        return str(error)


def told(events: Iterable[Event]) -> list[tuple[str, int, object]]:
    """Events by what is the same in both."""
    return [(_told_id(id), at, json.loads(body)) for id, at, body in events]


def _told_id(id: str) -> str:
    """Without the revision of a rolling counter: one that was forgotten begins with that of its next plan."""
    return re.sub(r"\|r[0-9]+\.", "|r.", id)


def _comparable(found: Any, now: int) -> dict[tuple[str, str], Any]:
    """A dump by table and key, without counters that a store may have forgotten."""
    rows: list[Item] = list(found)
    (about,) = (json.loads(item.value) for item in rows if item.table == "org")
    now = max(now, about["now"])
    kept: dict[tuple[str, str], Any] = {}
    for table, key, value in rows:
        if table == "counter":
            cell = items.unpack_cell(json.loads(value))
            if cell.counter.span:
                cell.slide(cell.counter.span, now)
            if (cell.counter.span or cell.counter.keep < 0) and cell.used == cell.held == 0 and not cell.ring:
                continue
            packed = items.pack_cell(cell)
            definition = cell.counter._replace(hard=True, watch=(), since=0, until=0, carry=None, idle=0)
            packed["counter"] = items.pack_counter(definition)  # the rest comes with each plan again
            if cell.counter.span or cell.counter.keep < 0:
                del packed["rev"]  # one that was forgotten begins with the revision of its next plan
            kept[table, key] = packed
        elif table == "org":
            kept[table, key] = {
                **json.loads(value),
                "now": 0,
            }  # a batch that moves nothing need not write the time
        elif table == "ended":
            how, overrun, _, was = json.loads(value)  # what was charged counts where it can be corrected
            kept[table, key] = (how, overrun, was and json.loads(value))
        elif table == "event":
            at, body = json.loads(value)
            kept[table, f"{_told_id(key)} {at}"] = json.loads(body)
        elif table == "once" and json.loads(value)[1] <= now:
            continue
        else:
            kept[table, key] = value if table == "audit" else json.loads(value)
    return kept
