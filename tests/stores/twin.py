"""The kernel and whoever decides in its place are asked the same, at random, wilder than an app asks: the same answers,
records, events and counters must come of it.

`run(seed, steps, left, right, clock)` drives both: batches of all steps over counters of every kind, amounts up to the
bound, changes of policy, repetitions, ids of all ages, plans that are stale, plans that differ from the reserve's.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from quotaware.core.money import MAX_AMOUNT
from quotaware.core.steps import (
    CONCURRENCY,
    COST,
    NOTHING,
    REMEMBER_MS,
    REQUESTS,
    TOKENS,
    Amounts,
    Answer,
    Counter,
    Extend,
    Mark,
    Op,
    Peek,
    Plan,
    Reserve,
    Settle,
)
from quotaware.errors import Conflict
from quotaware.stores import items
from quotaware.stores.protocol import Change, Doc, Store
from tests.support import FakeClock

from .differential import told

ORG = "org_a"
FOREVER = 1 << 53
HOUR = 3_600_000
PERIOD = 20_000
KEEP = 1000 * HOUR
"""Longer than any run: what a store does with counters that are due to be forgotten is its own."""
NODES = ("project", "key", "team")


class _World:
    """What the callers know: the policy's revision, plans, ids."""

    def __init__(self, seed: int, clock: FakeClock) -> None:
        self.chance = random.Random(seed)
        self.clock = clock
        self.rev = 0
        self.number = 0
        self.ids: list[str] = []
        self.plans: dict[str, Plan] = {}
        self.amount = self.chance.choice([3, 10, 1000, MAX_AMOUNT // 2000])

    def new_id(self) -> str:
        self.number += 1
        made = self.clock.now
        if self.chance.random() < 0.04:
            made -= self.chance.choice([HOUR, 20 * HOUR, REMEMBER_MS, REMEMBER_MS + 1, 3 * REMEMBER_MS])
        id = f"{made:012x}{self.number:020x}"
        self.ids.append(id)
        return id

    def some_id(self) -> str:
        recent = self.ids[-60:]
        return self.chance.choice(recent) if recent and self.chance.random() < 0.97 else self.new_id()

    def amounts(self) -> Amounts:
        top = self.amount
        return (
            self.chance.choice([0, 1, self.chance.randint(0, top)]),
            self.chance.choice([0, 1, self.chance.randint(0, top)]),
            self.chance.choice([0, 1, 1]),
        )

    def plan(self) -> Plan:
        chance, now = self.chance, self.clock.now
        start = now // PERIOD * PERIOD + chance.choice([0] * 12 + [PERIOD, -PERIOD])
        cap = chance.choice([self.amount, 3 * self.amount, 10 * self.amount, 2000 * self.amount])
        rate = (
            5 * self.amount
        )  # what a store may forget does not change: an older plan would bring back what that said
        lines: list[tuple[Counter, int]] = []
        if chance.random() < 0.8:
            lines.append((Counter("life", cap, marks=self._marks(cap, "project"), watch=(cap // 2,)), COST))
        if chance.random() < 0.7:
            window: dict[str, Any] = {"since": start, "until": start + PERIOD, "keep": start + PERIOD + KEEP}
            carry = f"period@{start - PERIOD}" if chance.random() < 0.6 else None
            idle = chance.choice((0, cap // 2)) if carry else 0
            hard = chance.random() < 0.8
            marks = self._marks(cap, share=700_000)
            lines.append(
                (Counter(f"period@{start}", cap, hard, marks=marks, carry=carry, idle=idle, **window), COST)
            )
        if chance.random() < 0.7:
            span = 1000
            watch = (rate, rate // 3) if chance.random() < 0.5 else ()
            marks = (Mark("half", rate // 2), Mark("all", rate))
            lines.append((Counter("rate", rate, watch=watch, span=span, marks=marks), TOKENS))
        if chance.random() < 0.5:
            lines.append((Counter("calls", 20, span=5000), REQUESTS))
        if chance.random() < 0.5:
            lines.append((Counter("slots", 5, keep=-1), CONCURRENCY))
        if chance.random() < 0.2:
            lines.append((Counter("soft", cap, False, keep=0), TOKENS))
        if chance.random() < 0.2:
            key = f"user/{chance.randint(0, 3)}}}{{:\0é😀"
            lines.append((Counter(key, cap), COST))
        deps = tuple(chance.sample(NODES, chance.randint(1, 3)))
        rev = max(0, self.rev - chance.choice([0] * 8 + [1, 2]))
        return Plan(ORG, rev, deps, tuple(lines))

    def _marks(self, cap: int, stop: str | None = None, share: int = 0) -> tuple[Mark, ...]:
        if self.chance.random() < 0.5:
            return ()
        stop = stop if self.chance.random() < 0.1 else None
        marks = [
            Mark("half", cap // 2),
            Mark("most", cap * 4 // 5, None, share),
            Mark("all", cap, stop, share),
        ]
        return tuple(self.chance.sample(marks, self.chance.randint(1, 3)))

    def op(self) -> Op:
        chance = self.chance
        kind = chance.random()
        if kind < 0.45:
            return self._reserve()
        if kind < 0.85:
            return self._settle()
        plan = self.plans.get(id := self.some_id()) or self.plan()
        return Extend(id, plan, chance.randint(1, 4000)) if kind < 0.92 else Peek(self.plan())

    def _reserve(self) -> Op:
        chance = self.chance
        id = self.new_id() if chance.random() < 0.9 else self.some_id()
        plan = self.plans[id] = self.plan()
        return Reserve(
            id,
            plan,
            self.amounts(),
            self.amounts(),
            chance.choice([0, 100, 5000, 60_000]),
            f'{{"n":{self.number},"é":"😀"}}',
            chance.random() < 0.4,
            chance.random() < 0.1,
            chance.random() < 0.05,
        )

    def _settle(self) -> Op:
        chance = self.chance
        id = self.some_id()
        plan = self.plans.get(id)
        if plan is None or chance.random() < 0.05:
            plan = self.plan()
        how = chance.choice(["settled", "settled", "settled", "released", "expired"])
        return Settle(id, plan, self.amounts(), '{"s":200}', how, chance.random() < 0.2, '{"forced":1}')

    def change(self) -> Change:
        chance = self.chance
        put = [Doc(id, "node", "top", None, 0, f'"{self.number}"') for id in NODES if chance.random() < 0.5]
        drop = [id for id in NODES if chance.random() < 0.05 and all(doc.id != id for doc in put)]
        resume = [id for id in NODES if chance.random() < 0.5 and id not in drop]
        return Change(self.rev, tuple(put), tuple(drop), tuple(resume), chance.choice(["", "{}"]))


def run(seed: int, steps: int, left: Store, right: Store, clock: FakeClock) -> int:
    """Both stores, which read the time from the clock, are asked `steps` steps; answers how many were done. Raises
    `AssertionError` with seed and step.
    """
    world = _World(seed, clock)
    done = 0
    while done < steps:
        done += _turn(world, left, right, f"seed {seed}, step {done}")
    for fact, twin in zip(facts(left, clock()), facts(right, clock()), strict=True):
        assert fact == twin, f"seed {seed}, at the end: {_difference(fact, twin)}"
    return done


def _turn(world: _World, left: Store, right: Store, where: str) -> int:
    chance = world.chance
    world.clock.advance(chance.choice([0, 1, 7, 20, 100, 300, 2000, -5000 if chance.random() < 0.05 else 0]))
    if chance.random() < 0.06:
        change = world.change()
        told = [_committed(store, change) for store in (left, right)]
        assert told[0] == told[1], where
        world.rev = told[0][0] if isinstance(told[0][0], int) else left.read(ORG, ())[0]
        return 1
    ops = [world.op() for _ in range(chance.choice([0, 1, 1, 2, 5, 30]))]
    answers = [_told(store, ops) for store in (left, right)]
    if answers[0] != answers[1]:
        for name, one, other in zip(Answer.__slots__, *(_fields(each) for each in answers), strict=True):
            if one != other and name == "results":
                for op, result, twin in zip(ops, one, other, strict=True):
                    assert result == twin, f"{where}: {op}\n{result}\n{twin}\n{ops}"
            assert one == other, f"{where}: {name}\n{one}\n{other}\n{ops}"
    world.rev = answers[0].rev
    for id, plan in answers[0].due:
        world.plans[id] = plan
    if chance.random() < 0.3:
        due = [Settle(id, plan, NOTHING, "{}", "expired") for id, plan in answers[0].due]
        again = [_told(store, due) for store in (left, right)]
        assert again[0] == again[1], where
        world.rev = again[0].rev
    return max(1, len(ops))


def _fields(answer: Answer) -> list[Any]:
    return [getattr(answer, name) for name in Answer.__slots__]


def _told(store: Store, ops: list[Op]) -> Answer:
    answer = store.apply({ORG: ops}, 5.0)[ORG]
    assert isinstance(answer, Answer), answer
    return replace(answer, due=sorted(answer.due) if len(answer.due) < 32 else [])


def _committed(store: Store, change: Change) -> tuple[int | str, list[Doc | None]]:
    rev: int | str
    try:
        rev = store.commit(ORG, change)
    except Conflict as error:
        rev = str(error)
    return rev, store.read(ORG, NODES)[1]


def _difference(fact: Any, twin: Any) -> str:
    if isinstance(fact, dict):
        return str(
            {
                key: (fact.get(key), twin.get(key))
                for key in fact.keys() | twin.keys()
                if fact.get(key) != twin.get(key)
            }
        )
    if isinstance(fact, list):
        return f"only left: {[x for x in fact if x not in twin]}\nonly right: {[x for x in twin if x not in fact]}"
    return f"{fact}\n{twin}"


def facts(store: Store, now: int) -> Iterator[object]:
    """All that two stores must agree on: documents, audit, records, events, reservations and counters (but what of a
    counter's definition comes with each plan anew, and those that are empty).
    """
    yield store.read(ORG, NODES)
    yield store.audit(ORG, 0, 1000)
    yield store.records(ORG, 0, FOREVER, "", 100_000)
    yield told(store.outbox(ORG))
    counters: dict[str, object] = {}
    others: list[tuple[str, str, str]] = []
    rows = list(store.dump(ORG))
    now = max(now, json.loads(rows[0].value)["now"])
    for item in rows:
        value = json.loads(item.value) if item.table in ("counter", "ended", "open") else None
        if item.table == "counter":
            cell = items.unpack_cell(value)
            if cell.counter.span:
                cell.slide(cell.counter.span, now)
                value = items.pack_cell(cell)
            figures = {name: value[name] for name in ("used", "held", "cap", "rev", "next", "fired", "ring")}
            if cell.counter.span:
                del figures["rev"]  # one that was forgotten begins with the revision of its next plan
            if value["used"] or value["held"]:
                counters[item.key] = figures
        elif item.table == "ended":
            others.append((item.table, item.key, str([value[0], value[1], value[3]])))
        elif item.table == "open":
            others.append((item.table, item.key, str(value)))
    yield counters
    yield sorted(others)
