# ruff: noqa: S101
"""Claims: the oldest waiter's stands in the counter, so that no younger call of any process takes what it waits for."""

from __future__ import annotations

import random
from collections import Counter as Tally
from collections import deque

from ...core.cells import CLAIM_MS
from ...core.steps import CONCURRENCY, NOTHING, Counter, Op, Plan, Settle
from ...stores.protocol import Store
from .kit import FakeClock, NewId, ask, budget, hold, plan, totals, verdicts


def _slot(cap: int = 1) -> Plan:
    return plan((Counter("slots", cap, keep=-1), CONCURRENCY))


class Waiting:
    """First come, first served."""

    def test_nobody_younger_takes_what_the_oldest_waiter_waits_for(
        self, store: Store, same_store: Store | None, new: NewId
    ) -> None:
        """I-26, the waiters in two processes."""
        other = same_store or store
        one = _slot()
        holder, older, younger = new(), new(), new()
        ask(store, hold(holder, one, slots=1))
        assert verdicts(ask(other, hold(younger, one, slots=1, wait=True))) == ["denied"]
        assert verdicts(ask(store, hold(older, one, slots=1, wait=True))) == ["denied"]
        ask(other, Settle(holder, one, NOTHING, ""))
        refused = ask(other, hold(younger, one, slots=1, wait=True)).results[0]
        assert [(over.used, over.held, over.fits_at) for over in refused.over] == [(0, 1, None)]
        assert verdicts(ask(store, hold(older, one, slots=1, wait=True))) == ["done"]
        ask(store, Settle(older, one, NOTHING, ""))
        assert verdicts(ask(other, hold(younger, one, slots=1, wait=True))) == ["done"]
        ask(other, Settle(younger, one, NOTHING, ""))
        assert totals(store, one) == [(0, 0)]

    def test_a_claim_lapses_unless_it_is_renewed(self, store: Store, clock: FakeClock, new: NewId) -> None:
        one = _slot()
        holder, older, younger = new(), new(), new()
        ask(store, hold(holder, one, slots=1), hold(older, one, slots=1, wait=True))
        ask(store, Settle(holder, one, NOTHING, ""))
        clock.advance(CLAIM_MS - 1)
        assert verdicts(ask(store, hold(younger, one, slots=1))) == ["denied"]
        clock.advance(1)
        assert verdicts(ask(store, hold(younger, one, slots=1))) == ["done"]

    def test_a_waiter_that_gives_up_is_in_nobodys_way(self, store: Store, new: NewId) -> None:
        one = _slot()
        holder, older = new(), new()
        ask(store, hold(holder, one, slots=1), hold(older, one, slots=1, wait=True))
        ask(store, Settle(holder, one, NOTHING, ""), Settle(older, one, NOTHING, "", "released"))
        assert verdicts(ask(store, hold(new(), one, slots=1))) == ["done"]

    def test_no_claim_is_left_where_waiting_does_not_help(self, store: Store, new: NewId) -> None:
        limit = budget(10)
        spender = new()
        ask(store, hold(spender, limit, 5), Settle(spender, limit, (0, 5, 0), ""))
        ask(store, hold(new(), limit, 6, wait=True))
        assert verdicts(ask(store, hold(new(), limit, 5))) == ["done"]

    def test_both_of_two_processes_are_served(
        self, store: Store, same_store: Store | None, clock: FakeClock, new: NewId
    ) -> None:
        """I-26: one slot, 20 ms calls, waiters in both; who settles asks for its own oldest at once, the other polls.
        Without the claim the one that settles hands over to itself for ever.
        """
        chance = random.Random(7)  # noqa: S311
        objects = [store, same_store or store]
        one = _slot()
        arrivals = [new() for _ in range(40)]
        waiting = [deque(arrivals[0::2]), deque(arrivals[1::2])]
        polls = [clock.now, clock.now + 1]
        running: tuple[int, str, int] | None = None
        served: Tally[int] = Tally()
        stop = clock.now + 1000
        while clock.now < stop:
            asking: list[tuple[int, list[Op]]] = []
            if running is not None and clock.now >= running[2]:
                waiting[running[0]].append(new())
                asking.append((running[0], [Settle(running[1], one, NOTHING, "")]))
                running = None
            for process in range(2):
                if clock.now >= polls[process]:
                    polls[process] = clock.now + chance.randint(5, 25)
                    asking.append((process, []))
            for process, ops in asking:
                id = waiting[process][0]
                if verdicts(ask(objects[process], *ops, hold(id, one, slots=1, wait=True)))[-1] == "done":
                    waiting[process].popleft()
                    running = (process, id, clock.now + 20)
                    served[process] += 1
            clock.advance(1)
        assert abs(served[0] - served[1]) <= 5
        assert sum(served.values()) >= 25
