# ruff: noqa: S101
"""Steps that come twice, late or in any order: networks and clients repeat, and each step counts once."""

from __future__ import annotations

import random
from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass, replace
from threading import Lock

import pytest

from ...core.steps import (
    CONCURRENCY,
    COST,
    NOTHING,
    REQUESTS,
    TOKENS,
    Amounts,
    Counter,
    How,
    Op,
    Plan,
    Reserve,
    Settle,
)
from ...stores.protocol import Store
from .kit import FOREVER, ORG, OTHER_ORG, NewId, ask, budget, hold, in_threads, insist, plan, totals, verdicts

TREE = plan(
    (Counter("org", 1 << 40), COST),
    (Counter("rate", 1 << 40, span=3_600_000), TOKENS),
    (Counter("calls", 1 << 40, span=3_600_000), REQUESTS),
    (Counter("slots", 1 << 40, keep=-1), CONCURRENCY),
)


@dataclass
class _Call:
    """What a call ought to have come to. charged: what its ends said; late: it expired, and may be corrected."""

    state: str = "unknown"
    late: bool = False
    charged: Amounts = NOTHING
    rows: int = 0

    def take(self, op: Op) -> str:
        """The verdict on a step, by what came before."""
        if isinstance(op, Reserve):
            if self.state == "unknown":
                self.state = "open"
                return "done"
            return "again" if self.state == "open" else "ended"
        assert isinstance(op, Settle)
        if self.state == "unknown" and op.how != "released":
            return "unknown"
        if self.state == "ended" and not (self.late and op.how != "expired"):
            return "again"
        booked = op.how != "released" and self.state != "unknown"
        self.rows += booked or self.late
        self.late = op.how == "expired"
        self.charged = {"settled": op.real, "released": NOTHING, "expired": (1, 1, 0)}[op.how]
        self.state = "ended"
        return "done"


class Repeats:
    """Exactly once."""

    @pytest.mark.parametrize("seed", range(6))
    def test_every_batch_twice_or_three_times_in_any_order_is_each_step_once(
        self, store: Store, new: NewId, seed: int
    ) -> None:
        """I-5, I-6: settles before their reserves, releases after settles, what was expired told of later."""
        chance = random.Random(seed)  # noqa: S311
        sent: list[list[Op]] = []
        for _ in range(12):
            ops: list[Op] = []
            for id in [new() for _ in range(chance.randint(1, 3))]:
                ops += [hold(id, TREE, 9, tokens=7, slots=1, expiry=(1, 1, 0), lease=0), _end(chance, id)]
                if chance.random() < 0.3:
                    ops.append(_end(chance, id))
            cuts = sorted(chance.sample(range(1, len(ops) + 1), chance.randint(1, 2)))
            batches = [ops[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(ops)], strict=True)]
            sent += [batch for batch in batches if batch for _ in range(chance.randint(2, 3))]
        chance.shuffle(sent)
        calls: dict[str, _Call] = {}
        for batch in sent:
            expected = [calls.setdefault(op.id, _Call()).take(op) for op in batch]  # type: ignore[union-attr]
            assert verdicts(ask(store, *batch)) == expected
        rows = Tally(row.id for _, row in store.records(ORG, 0, FOREVER, "", 999))
        assert rows == Tally({id: call.rows for id, call in calls.items() if call.rows})
        found = dict(zip(["org", "rate", "calls", "slots"], totals(store, TREE), strict=True))
        still_open = sum(call.state == "open" for call in calls.values())
        assert found["org"] == (sum(call.charged[1] for call in calls.values()), 9 * still_open)
        assert found["rate"] == (sum(call.charged[0] for call in calls.values()), 7 * still_open)
        assert found["slots"] == (0, still_open)

    @pytest.mark.parametrize("count", [2, 3])
    def test_a_batch_that_several_send_at_once_is_applied_once(
        self, store: Store, same_store: Store | None, new: NewId, count: int
    ) -> None:
        """I-6: a client that repeats what it thinks lost, while the first is still under way."""
        objects = [store, same_store or store]
        once_each = Tally({(index, "done"): 1 for index in range(4)})
        again = Tally({(index, "again"): count - 1 for index in range(4)})
        for _ in range(8):
            ids = [new() for _ in range(4)]
            for batch in (
                [hold(id, TREE, 9, tokens=7, slots=1) for id in ids],
                [Settle(id, TREE, (3, 5, 0), "{}") for id in ids],
            ):
                assert _told_at_once(objects, batch, count) == once_each + again
        assert totals(store, TREE) == [(8 * 4 * 5, 0), (8 * 4 * 3, 0), (8 * 4, 0), (0, 0)]
        assert len(store.records(ORG, 0, FOREVER, "", 999)) == 32

    @pytest.mark.parametrize("seed", range(3))
    def test_any_order_of_the_same_ends_comes_to_the_same_totals(
        self, store: Store, new: NewId, seed: int
    ) -> None:
        """I-29: two organizations, the same calls, their ends in another order."""
        chance = random.Random(seed)  # noqa: S311
        ids = [new() for _ in range(20)]
        ends = [_end(chance, id) for id in ids]
        found = []
        for org in (ORG, OTHER_ORG):
            tree = replace(TREE, org=org)
            ask(
                store,
                *(hold(id, tree, 9, tokens=7, slots=1, expiry=(1, 1, 0), lease=0) for id in ids),
                org=org,
            )
            chance.shuffle(ends)
            for start in range(0, 20, 7):
                ask(store, *(replace(end, plan=tree) for end in ends[start : start + 7]), org=org)
            found.append(totals(store, tree))
        assert found[0] == found[1]

    @pytest.mark.parametrize("how", ["released", "settled"])
    def test_a_reserve_that_arrives_after_the_end_of_its_call_is_refused(
        self, store: Store, new: NewId, how: str
    ) -> None:
        """The reserve whose answer did not come in time was given up; it must not hold anything for ever."""
        limit: Plan = budget(10)
        id = new()
        end = insist(id, limit, (0, 1, 0)) if how == "settled" else Settle(id, limit, NOTHING, "", "released")
        assert verdicts(ask(store, end, hold(id, limit, 5), end)) == ["done", "ended", "again"]
        assert totals(store, limit) == [(how == "settled", 0)]


def _end(chance: random.Random, id: str) -> Settle:
    real = (chance.randint(0, 12), chance.randint(0, 12), 0)
    how: How = chance.choice(["settled", "settled", "settled", "released", "expired"])
    return Settle(id, TREE, real, "{}", how)


def _told_at_once(objects: Sequence[Store], batch: Sequence[Op], count: int) -> Tally[tuple[int, str]]:
    """How often each step of a batch came to what, that so many threads send at once."""
    told: Tally[tuple[int, str]] = Tally()
    lock = Lock()

    def send(number: int) -> None:
        answer = ask(objects[number % len(objects)], *batch)
        with lock:
            told.update(enumerate(verdicts(answer)))

    in_threads(count, send)
    return told
