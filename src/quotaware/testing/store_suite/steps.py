# ruff: noqa: S101
"""A batch of steps, and what it answers."""

from __future__ import annotations

import random

import pytest

from ...core.steps import (
    CONCURRENCY,
    COST,
    NOTHING,
    REQUESTS,
    TOKENS,
    Counter,
    Extend,
    Mark,
    Peek,
    Settle,
)
from ...stores.protocol import Store
from .kit import (
    FOREVER,
    ORG,
    OTHER_ORG,
    FakeClock,
    NewId,
    ask,
    budget,
    commit,
    doc,
    hold,
    in_threads,
    plan,
    totals,
    verdicts,
)


class Steps:
    """The one hot verb, `apply`."""

    def test_hello_answers_the_time(self, store: Store, clock: FakeClock) -> None:
        assert store.hello() == clock.now

    def test_a_batch_is_answered_in_order(self, store: Store, clock: FakeClock, new: NewId) -> None:
        limit = budget(10)
        first, second = new(), new()
        answer = ask(
            store,
            hold(first, limit, 6),
            hold(second, limit, 6),
            Extend(second, limit, 5),
            Settle(first, limit, (0, 1, 0), ""),
            hold(second, limit, 6),
            Peek(limit),
        )
        assert verdicts(answer) == ["done", "denied", "unknown", "done", "done", "done"]
        assert answer.totals == {"budget": (1, 6)}
        assert (answer.now, answer.rev, answer.due, answer.events) == (clock.now, 0, [], 0)

    def test_organizations_have_nothing_in_common(self, store: Store, new: NewId) -> None:
        mine, other = budget(1), plan((Counter("budget", 1), COST), org=OTHER_ORG)
        id = new()
        work = {ORG: [hold(id, mine, 1)], OTHER_ORG: [hold(id, other, 1)]}
        if store.lane(ORG) == store.lane(OTHER_ORG):
            answers = dict(store.apply(work, store.deadline))
            assert list(answers) == [ORG, OTHER_ORG]
        else:
            answers = {org: ask(store, *ops, org=org) for org, ops in work.items()}
        assert [verdicts(answer) for answer in answers.values()] == [["done"], ["done"]]  # type: ignore[arg-type]
        ask(store, Settle(id, mine, (0, 1, 0), ""))
        assert len(store.records(ORG, 0, FOREVER, "", 10)) == 1
        assert store.records(OTHER_ORG, 0, FOREVER, "", 10) == []

    def test_all_or_none_of_a_calls_limits_move(self, store: Store, new: NewId) -> None:
        """I-4: the third of four is in the way; the others have not moved by one unit, requests included."""
        tree = plan(
            (Counter("org", 100), COST),
            (Counter("calls", 100, span=60_000), REQUESTS),
            (Counter("project", 5), COST),
            (Counter("slots", 100, keep=-1), CONCURRENCY),
        )
        answer = ask(store, hold(new(), tree, 6, slots=1))
        assert verdicts(answer) == ["denied"]
        assert [(over.counter, over.cap, over.asked) for over in answer.results[0].over] == [
            ("project", 5, 6)
        ]
        assert totals(store, tree) == [(0, 0)] * 4
        assert [item for item in store.dump(ORG) if item.table in ("counter", "open", "record")] == []

    def test_every_limit_in_the_way_is_named(self, store: Store, new: NewId) -> None:
        tree = plan((Counter("a", 3), COST), (Counter("b", 100), COST), (Counter("c", 4), COST))
        (result,) = ask(store, hold(new(), tree, 6)).results
        assert {(over.counter, over.used, over.held, over.asked, over.hard) for over in result.over} == {
            ("a", 0, 0, 6, True),
            ("c", 0, 0, 6, True),
        }

    def test_nothing_to_do_still_names_what_is_due(self, store: Store, clock: FakeClock, new: NewId) -> None:
        limit = budget(10)
        id = new()
        ask(store, hold(id, limit, 6, lease=10))
        clock.advance(10)
        assert ask(store).due == [(id, limit)]

    def test_ended_leases_are_named_until_somebody_settles_them(
        self, store: Store, clock: FakeClock, new: NewId
    ) -> None:
        """I-7: every hold is gone at the lease's end; 32 of them in one answer."""
        limit = budget(1000)
        all_ids = [new() for _ in range(50)]
        ask(store, *(hold(id, limit, 5, expiry=(0, 2, 0), lease=100) for id in all_ids))
        clock.advance(50)
        ask(store, *(Extend(id, limit, 1000) for id in all_ids[40:]))
        clock.advance(50)
        first = ask(store).due
        assert len(first) == 32
        assert sorted(ask(store).due) == sorted(first)
        found = set()
        while due := ask(store).due:
            found |= {id for id, _ in due}
            answer = ask(store, *(Settle(id, due_plan, NOTHING, "{}", "expired") for id, due_plan in due))
            assert set(verdicts(answer)) == {"done"}
        assert found == set(all_ids[:40])
        assert totals(store, limit) == [(80, 50)]
        clock.advance(950)
        assert {id for id, _ in ask(store).due} == set(all_ids[40:])

    def test_a_lease_that_still_runs_does_not_expire_unless_forced(self, store: Store, new: NewId) -> None:
        limit = budget(10)
        id = new()
        ask(store, hold(id, limit, 6, expiry=(0, 2, 0)))
        assert verdicts(ask(store, Settle(id, limit, NOTHING, "{}", "expired"))) == ["again"]
        assert totals(store, limit) == [(0, 6)]
        assert verdicts(ask(store, Settle(id, limit, NOTHING, "{}", "expired", force=True))) == ["done"]
        assert totals(store, limit) == [(2, 0)]

    def test_ids_older_than_what_is_remembered_are_refused(
        self, store: Store, clock: FakeClock, new: NewId
    ) -> None:
        """Exactly once for ever, in bounded memory: after 48 hours an end is no longer remembered."""
        limit = budget(10)
        id, late = new(), new()
        ask(store, hold(id, limit, 5), Settle(id, limit, (0, 5, 0), ""))
        clock.advance(48 * 3_600_000)
        assert verdicts(ask(store, Settle(id, limit, (0, 5, 0), "", force=True))) == ["again"]
        clock.advance(60_000 + 1)
        while store.prune(ORG, 100):
            pass
        answer = ask(store, hold(late, limit, 1), Settle(late, limit, (0, 1, 0), "", force=True))
        assert verdicts(answer) == ["old", "old"]
        assert totals(store, limit) == [(5, 0)]

    def test_a_call_under_way_settles_however_old_its_id_is(
        self, store: Store, clock: FakeClock, new: NewId
    ) -> None:
        limit = budget(10)
        id = new()
        ask(store, hold(id, limit, 5))
        clock.advance(72 * 3_600_000)
        assert verdicts(ask(store, Settle(id, limit, (0, 3, 0), ""))) == ["done"]
        assert totals(store, limit) == [(3, 0)]

    def test_a_threshold_that_stops_a_node_stops_it_until_it_is_resumed(
        self, store: Store, new: NewId
    ) -> None:
        commit(store, doc("project"))
        marks = (Mark("full", 5, "project"),)
        limit = plan((Counter("budget", 100, marks=marks), COST), rev=1, deps=("project",))
        id = new()
        answer = ask(store, hold(id, limit, 5), Settle(id, limit, (0, 5, 0), ""), hold(new(), limit, 5))
        assert verdicts(answer) == ["done", "done", "stale"]
        assert (answer.events, answer.rev) == (1, 2)
        assert store.read(ORG, ["project"]) == (2, [doc("project")._replace(rev=2, stopped="full")])
        commit(store, resume=("project",))
        assert store.read(ORG, ["project"]) == (3, [doc("project")._replace(rev=3)])
        assert verdicts(ask(store, Peek(limit))) == ["stale"]

    @pytest.mark.parametrize("batch", [1, 64, 256])
    def test_threads_never_take_more_than_the_limit(self, store: Store, new: NewId, batch: int) -> None:
        """I-1: 8 threads, 4,096 offered, exactly 2,500 go; nothing over at any moment."""
        limit = budget(2500)
        done = [0] * 8

        def hammer(number: int) -> None:
            for _ in range(512 // batch):
                answer = ask(store, *(hold(new(), limit, 1) for _ in range(batch)))
                done[number] += verdicts(answer).count("done")
                used, held = answer.totals["budget"]
                assert used + held <= 2500

        in_threads(8, hammer)
        assert sum(done) == 2500

    def test_threads_that_reserve_and_settle_leave_balanced_books(self, store: Store, new: NewId) -> None:
        """I-2 under 8 threads: settles twice, releases, extensions."""
        tree = plan(
            (Counter("org", 10_000), COST),
            (Counter("rate", 10_000, span=60_000), TOKENS),
            (Counter("calls", 10_000, span=60_000), REQUESTS),
            (Counter("slots", 8, keep=-1), CONCURRENCY),
        )

        def hammer(number: int) -> None:
            chance = random.Random(number)  # noqa: S311
            for _ in range(60):
                id = new()
                if verdicts(ask(store, hold(id, tree, 7, tokens=5, slots=1, expiry=(1, 1, 0)))) != ["done"]:
                    continue
                ask(store, Extend(id, tree, 60_000))
                end = Settle(id, tree, (chance.randint(0, 9), chance.randint(0, 9), 0), "")
                if chance.random() < 0.2:
                    end = Settle(id, tree, NOTHING, "", "released")
                for _ in range(chance.choice([1, 2])):
                    ask(store, end)

        in_threads(8, hammer)
        assert [held for _, held in totals(store, tree)] == [0, 0, 0, 0]
        assert totals(store, tree)[-1] == (0, 0)
