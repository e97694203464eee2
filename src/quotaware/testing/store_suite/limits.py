# ruff: noqa: S101
"""Budgets that are lowered, soft, forced or at the end of the exact range; policies that changed."""

from __future__ import annotations

import pytest

from ...core.money import MAX_AMOUNT
from ...core.steps import COST, NOTHING, Counter, Over, Peek, Plan, Reserve, Settle
from ...stores.protocol import Store
from .kit import FOREVER, ORG, NewId, ask, budget, commit, doc, hold, insist, plan, totals, verdicts


def _under(rev: int, deps: tuple[str, ...] = (), cap: int = 100) -> Plan:
    return plan((Counter("budget", cap), COST), rev=rev, deps=deps)


class Limits:
    """Which calls fit."""

    def test_lowered_below_what_is_used_and_held_then_raised(self, store: Store, new: NewId) -> None:
        """I-17: calls under way finish and are booked, no new ones go; raising it again frees at once."""
        used, under_way = new(), new()
        before, lowered, raised = _under(1), _under(2, cap=10), _under(3, cap=101)
        ask(store, hold(used, before, 40), Settle(used, before, (0, 40, 0), ""), hold(under_way, before, 50))
        answer = ask(store, Peek(lowered), hold(new(), lowered, 1))
        assert answer.results[1].over == (Over("budget", 10, True, 40, 50, 1, None),)
        assert verdicts(ask(store, Settle(under_way, before, (0, 60, 0), ""))) == ["done"]
        assert verdicts(ask(store, hold(new(), lowered, 1))) == ["denied"]
        assert verdicts(ask(store, hold(new(), lowered, 0))) == ["done"]
        assert verdicts(ask(store, hold(new(), raised, 2), hold(new(), raised, 1))) == ["denied", "done"]
        assert totals(store, raised) == [(100, 1)]

    def test_an_older_policy_does_not_bring_an_older_cap_back(self, store: Store, new: NewId) -> None:
        ask(store, hold(new(), _under(5, cap=10), 5))
        assert verdicts(ask(store, hold(new(), _under(4), 6))) == ["denied"]

    def test_exactly_the_documents_that_changed_make_a_plan_stale(
        self, store: Store, same_store: Store | None, new: NewId
    ) -> None:
        """I-18: what another process changed binds on the next call; an unrelated change disturbs nobody."""
        other = same_store or store
        rev = commit(store, *(doc(node) for node in "abcd"))
        limit = _under(rev, ("a", "b", "c"))
        ask(store, hold(new(), limit, 1))
        commit(other, doc("d"), doc("new"))
        (fine,) = ask(store, hold(new(), limit, 1)).results
        assert (fine.verdict, fine.stale) == ("done", ())
        commit(other, doc("b"))
        rev = commit(other, doc("d"))
        for step in (hold(new(), limit, 1), Peek(limit), hold(new(), limit, 1, wait=True)):
            answer = ask(store, step)
            assert (answer.rev, answer.results[0].verdict, answer.results[0].stale) == (rev, "stale", ("b",))
        assert verdicts(ask(store, hold(new(), _under(rev, limit.deps), 1))) == ["done"]
        commit(other, doc("a"), drop=("c",))
        (stale,) = ask(store, hold(new(), _under(rev, limit.deps), 1)).results
        assert (stale.verdict, set(stale.stale)) == ("stale", {"a", "c"})
        assert totals(store, _under(FOREVER)) == [(0, 3)]

    def test_a_call_under_way_ends_under_a_policy_that_changed(self, store: Store, new: NewId) -> None:
        """I-18: it is settled on the key it started with, and one that was forced is taken."""
        limit = _under(commit(store, doc("key")), ("key",))
        id = new()
        ask(store, hold(id, limit, 5))
        commit(store, drop=("key",))
        assert verdicts(ask(store, hold(new(), limit, 5), hold(new(), limit, 5, force=True))) == [
            "stale",
            "done",
        ]
        assert verdicts(ask(store, Settle(id, limit, (0, 4, 0), ""))) == ["done"]
        assert totals(store, _under(FOREVER)) == [(4, 5)]

    def test_soft_and_watched_caps_are_told_and_never_in_the_way(self, store: Store, new: NewId) -> None:
        limit = plan((Counter("soft", 5, hard=False), COST), (Counter("hard", 100, watch=(4, 8)), COST))
        first, second = ask(store, hold(new(), limit, 6), hold(new(), limit, 6)).results
        assert (first.verdict, second.verdict) == ("done", "done")
        assert {(over.counter, over.cap, over.hard, over.held) for over in first.over} == {
            ("soft", 5, False, 0),
            ("hard", 4, False, 0),
        }
        assert {(over.counter, over.cap, over.hard, over.held) for over in second.over} == {
            ("soft", 5, False, 6),
            ("hard", 4, False, 6),
            ("hard", 8, False, 6),
        }
        (denied,) = ask(store, hold(new(), limit, 89)).results
        assert denied.verdict == "denied"
        assert [over.cap for over in denied.over if over.hard] == [100]

    def test_a_forced_reserve_is_taken_and_says_what_was_in_the_way(self, store: Store, new: NewId) -> None:
        limit = budget(10)
        answer = ask(store, hold(new(), limit, 25, force=True), hold(new(), limit, 1))
        assert verdicts(answer) == ["done", "denied"]
        assert answer.results[0].over == (Over("budget", 10, True, 0, 0, 25, None),)
        assert totals(store, limit) == [(0, 25)]

    def test_a_dry_reserve_decides_and_moves_nothing(self, store: Store, new: NewId) -> None:
        limit = budget(10)
        id = new()
        answer = ask(store, hold(id, limit, 10, dry=True), hold(new(), limit, 11, dry=True))
        assert verdicts(answer) == ["done", "denied"]
        assert totals(store, limit) == [(0, 0)]
        assert verdicts(ask(store, Settle(id, limit, (0, 1, 0), ""))) == ["unknown"]

    def test_what_costs_nothing_passes_when_the_budget_is_spent(self, store: Store, new: NewId) -> None:
        limit = budget(10)
        id = new()
        ask(store, hold(id, limit, 10), Settle(id, limit, (0, 12, 0), ""))
        assert verdicts(ask(store, hold(new(), limit, 0), hold(new(), limit, 1))) == ["done", "denied"]

    def test_what_goes_over_the_reserved_is_booked_in_full(self, store: Store, new: NewId) -> None:
        """I-3: the next call is refused, nothing is cut to the reservation."""
        limit = budget(10)
        id = new()
        (_, settled) = ask(store, hold(id, limit, 4), Settle(id, limit, (0, 17, 0), "")).results
        assert settled.overrun
        assert totals(store, limit) == [(17, 0)]
        ((_, row),) = store.records(ORG, 0, FOREVER, "", 9)
        assert (row.real[COST - 1], row.overrun) == (17, True)
        assert verdicts(ask(store, hold(new(), limit, 1))) == ["denied"]

    def test_a_settle_that_the_store_never_saw_the_reserve_of_is_booked_where_it_is_forced(
        self, store: Store, new: NewId
    ) -> None:
        limit = budget(10)
        id = new()
        assert verdicts(ask(store, Settle(id, limit, (0, 7, 0), ""))) == ["unknown"]
        assert verdicts(ask(store, insist(id, limit, (2, 7, 0)), insist(id, limit, (2, 7, 0)))) == [
            "done",
            "again",
        ]
        assert totals(store, limit) == [(7, 0)]
        ((_, row),) = store.records(ORG, 0, FOREVER, "", 9)
        assert (row.id, row.hold, row.real) == (id, NOTHING, (2, 7, 0))

    @pytest.mark.parametrize("span", [0, 3_600_000])
    def test_amounts_are_exact_up_to_their_bound_and_refused_beyond(
        self, store: Store, new: NewId, span: int
    ) -> None:
        """I-20: nine million dollars in nano-dollars, to the unit; a counter that would pass them is full."""
        soft = budget(MAX_AMOUNT, span=span, hard=False)
        most = (1 << 52) + 1
        first, second = new(), new()
        ask(store, hold(first, soft, most), hold(second, soft, MAX_AMOUNT - most))
        assert totals(store, soft) == [(0, MAX_AMOUNT)]
        full = [Reserve(new(), soft, (0, 1, 0), NOTHING, 60_000, "", force=force) for force in (False, True)]
        assert verdicts(ask(store, *full)) == ["full", "full"]
        ask(store, Settle(first, soft, (most - 1, most - 1, 0), ""))
        assert totals(store, soft) == [(most - 1, MAX_AMOUNT - most)]
        assert verdicts(ask(store, hold(new(), soft, 2), hold(new(), soft, 1))) == ["full", "done"]
        over = MAX_AMOUNT - most + 1_000_000_000_001
        ask(store, Settle(second, soft, (0, over, 0), ""))
        assert totals(store, soft) == [(most - 1 + over, 1)]
        rows = [row for _, row in store.records(ORG, 0, FOREVER, "", 9)]
        assert [row.real[:2] for row in rows] == [(most - 1, most - 1), (0, over)]
        assert verdicts(ask(store, hold(new(), soft, 1))) == ["full"]
