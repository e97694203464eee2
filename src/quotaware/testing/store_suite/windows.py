# ruff: noqa: S101
"""Rolling and calendar windows: what counts in which, and when it leaves."""

from __future__ import annotations

import random

import pytest

from ...core.cells import part_ms
from ...core.steps import COST, NOTHING, REQUESTS, TOKENS, Counter, Peek, Plan, Settle
from ...stores.protocol import Store
from .kit import (
    DAY,
    FOREVER,
    NOON,
    ORG,
    FakeClock,
    NewId,
    ask,
    budget,
    hold,
    insist,
    plan,
    today,
    totals,
    verdicts,
)


class _ExactLog:
    """A rolling window as it ought to be: every entry kept, summed anew each time."""

    def __init__(self, span: int) -> None:
        self.span = span
        self.entries: dict[str, list[tuple[int, int]]] = {}

    def total(self, now: int, late: int = 0) -> int:
        """What counts at `now`, entries `late` ms past their time included."""
        entries = [entry for own in self.entries.values() for entry in own]
        return sum(amount for at, amount in entries if at <= now < at + self.span + late)


class Windows:
    """When an amount counts."""

    def test_time_never_runs_back(self, store: Store, clock: FakeClock, new: NewId) -> None:
        """I-13: after a step back it stands still, and rolling windows with it."""
        rate = budget(1, span=1000)
        ask(store, hold(new(), rate, 1))
        later = new()
        clock.advance(-3_600_000)
        answer = ask(store, hold(later, rate, 1))
        assert answer.now == NOON
        assert verdicts(answer) == ["denied"]

    @pytest.mark.parametrize("seed", range(4))
    def test_a_rolling_window_is_an_exact_log_but_for_a_fiftieth(
        self, store: Store, clock: FakeClock, new: NewId, seed: int
    ) -> None:
        """I-16: no interval of its length admits more; late by a fiftieth at most; `fits_at` is true to the ms."""
        chance = random.Random(seed)  # noqa: S311
        span, cap = chance.choice([60, 1000, 3333]), chance.choice([5, 40, 100])
        rate, log = budget(cap, span=span), _ExactLog(span)
        open_: dict[str, tuple[int, int]] = {}
        for _ in range(120):
            clock.advance(
                chance.choice([0, 0, 1, 3, span // 40, span // 7]) if chance.random() < 0.95 else span
            )
            if open_ and chance.random() < 0.4:
                id = chance.choice(list(open_))
                at, held = open_.pop(id)
                real = chance.choice([0, held, chance.randint(0, held), held + chance.randint(1, 5)])
                ask(store, Settle(id, rate, (0, real, 0), ""))
                log.entries[id] = [(at, min(real, held)), (clock.now, max(0, real - held))]
                continue
            id, amount = new(), chance.randint(1, max(1, cap // 3))
            (result,) = ask(store, hold(id, rate, amount)).results
            if result.verdict == "done":
                open_[id] = (clock.now, amount)
                log.entries[id] = [(clock.now, amount)]
                assert log.total(clock.now) <= cap
                continue
            assert log.total(clock.now, late=part_ms(span)) + amount > cap
            (over,) = result.over
            assert over.fits_at is not None
            if chance.random() < 0.4:
                clock.now = over.fits_at - 1
                assert verdicts(ask(store, hold(new(), rate, amount, dry=True))) == ["denied"]
                clock.now = over.fits_at
                assert verdicts(ask(store, hold(new(), rate, amount, dry=True))) == ["done"]

    def test_a_window_is_the_current_one_or_the_step_is_told_so(
        self, store: Store, clock: FakeClock, new: NewId
    ) -> None:
        """A caller whose clock is wrong learns the store's."""
        old = today(clock.now, 10)
        clock.advance(DAY)
        answer = ask(store, hold(new(), old, 1), hold(new(), today(clock.now + DAY, 10), 1))
        assert verdicts(answer) == ["window", "window"]
        assert answer.now == clock.now
        assert verdicts(ask(store, hold(new(), today(clock.now, 10), 1))) == ["done"]

    def test_a_call_settles_in_the_window_that_it_was_reserved_in(
        self, store: Store, clock: FakeClock, new: NewId
    ) -> None:
        """I-15: the new window begins with nothing; the two together are what the records say."""
        old, ids = today(clock.now, 10), [new() for _ in range(3)]
        ask(store, *(hold(id, old, 3, expiry=(0, 2, 0)) for id in ids))
        clock.advance(DAY)
        now = today(clock.now, 10)
        assert totals(store, now) == [(0, 0)]
        ask(
            store,
            hold(new(), now, 10),
            Settle(ids[0], now, (0, 4, 0), ""),
            Settle(ids[1], now, NOTHING, "{}", "expired"),
            Settle(ids[2], now, NOTHING, "", "released"),
        )
        assert totals(store, old) == [(6, 0)]
        assert totals(store, now) == [(0, 10)]
        assert sum(row.real[COST - 1] for _, row in store.records(ORG, 0, FOREVER, "", 9)) == 6

    def test_what_is_told_after_the_lease_had_ended_corrects_the_window_of_the_call(
        self, store: Store, clock: FakeClock, new: NewId
    ) -> None:
        """I-5, I-15: a linked correction, over the end of a day and of a rolling window, once."""
        start = clock.now // DAY * DAY
        old = plan(
            (Counter(f"day@{start}", 100, since=start, until=start + DAY, keep=start + 30 * DAY), COST),
            (Counter("rate", 100, span=3_600_000), TOKENS),
            (Counter("calls", 100, span=3_600_000), REQUESTS),
        )
        low, high = new(), new()
        ask(store, *(hold(id, old, 9, tokens=9, expiry=(5, 5, 0), lease=10) for id in (low, high)))
        clock.advance(20)
        ask(store, *(Settle(id, old, NOTHING, "{}", "expired") for id in (low, high)))
        assert totals(store, old) == [(10, 0), (10, 0), (2, 0)]
        ends = [Settle(low, old, (1, 2, 0), "late"), Settle(high, old, (30, 20, 0), "late")]
        assert verdicts(ask(store, ends[0])) == ["done"]
        assert totals(store, old) == [(7, 0), (6, 0), (2, 0)]
        clock.advance(DAY)
        corrected = ask(store, ends[1], *ends)
        assert verdicts(corrected) == ["done", "again", "again"]
        assert corrected.results[0].overrun
        assert totals(store, old) == [
            (22, 0),
            (21, 0),
            (0, 0),
        ]  # the excess over the reserved counts from now
        rows = [row for _, row in store.records(ORG, 0, FOREVER, "", 9)]
        assert [(row.id, row.part, row.real[:2], row.outcome) for row in rows] == [
            (low, 0, (5, 5), "{}"),
            (high, 0, (5, 5), "{}"),
            (low, 1, (-4, -3), "late"),
            (high, 1, (25, 15), "late"),
        ]

    def test_what_was_left_of_the_period_before_is_added(
        self, store: Store, clock: FakeClock, new: NewId
    ) -> None:
        """Carry-over, and late settles of the period before count at once."""
        before = today(clock.now, 100)
        spent, late = new(), new()
        ask(store, hold(spent, before, 30), Settle(spent, before, (0, 30, 0), ""), hold(late, before, 50))
        clock.advance(DAY)
        now = today(clock.now, 100, carry=before.lines[0][0].key)
        first, second = ask(store, hold(new(), now, 121), hold(new(), now, 120)).results
        assert (first.verdict, [over.cap for over in first.over], second.verdict) == ("denied", [120], "done")
        ask(store, Settle(late, before, (0, 10, 0), ""))
        assert verdicts(ask(store, hold(new(), now, 41), hold(new(), now, 40))) == ["denied", "done"]

    def test_what_went_over_or_was_never_counted_carries_nothing(
        self, store: Store, clock: FakeClock, new: NewId
    ) -> None:
        before = today(clock.now, 10)
        ask(store, insist(new(), before, (0, 25, 0)))
        clock.advance(DAY)
        for name, carry in (("over", before.lines[0][0].key), ("none", "nobody")):
            now = today(clock.now, 10, name, carry=carry)
            assert verdicts(ask(store, hold(new(), now, 11), hold(new(), now, 10))) == ["denied", "done"], (
                name
            )

    def test_a_period_that_is_not_there_leaves_what_it_is_said_to(
        self, store: Store, clock: FakeClock, new: NewId
    ) -> None:
        """Until it is there, with what is left of it then."""
        before = today(clock.now, 10)
        clock.advance(DAY)
        now = today(clock.now, 10, carry=before.lines[0][0].key, idle=7)
        assert verdicts(ask(store, hold(new(), now, 18), hold(new(), now, 17))) == ["denied", "done"]
        ask(store, insist(new(), before, (0, 9, 0)))
        assert verdicts(ask(store, hold(new(), now, 1))) == ["denied"]

    def test_totals_are_those_of_now(self, store: Store, clock: FakeClock, new: NewId) -> None:
        rate: Plan = budget(10, span=1000)
        id = new()
        ask(store, hold(id, rate, 4))
        clock.advance(600)
        ask(store, hold(new(), rate, 3))
        clock.advance(400)
        assert ask(store, Peek(rate)).totals == {"budget": (0, 3)}
        ask(store, Settle(id, rate, (0, 9, 0), ""))
        assert ask(store, Peek(rate)).totals == {"budget": (5, 3)}
        clock.advance(1000)
        assert ask(store, Peek(rate)).totals == {"budget": (0, 0)}
