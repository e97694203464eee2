# ruff: noqa: S101
"""Several objects on the same data, as several processes have them; and data that were put back behind their backs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ...core.steps import COST, NOTHING, REV_STEP, Counter, Mark, Peek, Settle
from ...errors import Conflict, Lost
from ...stores.protocol import CLOSED_MS, Change, Store
from .kit import (
    ORG,
    FakeClock,
    NewId,
    ask,
    budget,
    commit,
    doc,
    hold,
    in_threads,
    insist,
    plan,
    skip_unless,
    totals,
    verdicts,
)

ALONE = "same_store: no second object shares this store's data"
KEPT = "snapshot: nobody puts this store's data back behind its back"


class Sharing:
    """What one process does, every other one meets."""

    def test_another_object_meets_the_same_state(
        self, store: Store, same_store: Store | None, new: NewId
    ) -> None:
        skip_unless(same_store, ALONE)
        assert same_store is not None
        limit = budget(10)
        first, second = new(), new()
        ask(store, hold(first, limit, 6))
        assert verdicts(ask(same_store, hold(second, limit, 5), hold(first, limit, 6))) == ["denied", "again"]
        ask(same_store, Settle(first, limit, (0, 2, 0), ""))
        assert verdicts(ask(store, Settle(first, limit, (0, 2, 0), ""), hold(second, limit, 8))) == [
            "again",
            "done",
        ]
        commit(same_store, doc("a"))
        with pytest.raises(Conflict):
            store.commit(ORG, Change(0, (doc("a"),)))
        same_store.link("digest", ORG, "key")
        assert (store.read(ORG, ["a"])[0], store.find("digest")) == (1, (ORG, "key"))
        assert store.once(ORG, "sender", "me", 60_000) == same_store.once(ORG, "sender", "you", 60_000)

    def test_objects_together_never_take_more_than_the_limit(
        self, store: Store, same_store: Store | None, new: NewId
    ) -> None:
        """I-1 over two objects with two threads each, a lower cap and reads among it."""
        skip_unless(same_store, ALONE)
        budgeted = Counter("budget", 300, marks=(Mark("most", 200),))
        limit = plan((budgeted, COST), (Counter("rate", 400, span=60_000), COST))
        done, events = [0] * 4, [0] * 4

        def hammer(number: int) -> None:
            mine = (store, same_store)[number % 2]
            assert mine is not None
            for _ in range(20):
                batch = [hold(new(), limit, 1) for _ in range(8)]
                answer = ask(mine, *batch)
                taken = [op for op, verdict in zip(batch, verdicts(answer), strict=True) if verdict == "done"]
                done[number] += len(taken)
                events[number] += ask(mine, *(Settle(op.id, limit, (0, 1, 0), "") for op in taken)).events

        in_threads(4, hammer)
        assert (sum(done), sum(events)) == (300, 1)
        assert totals(store, limit) == [(300, 0), (300, 0)]

    def test_an_adoption_where_nothing_was_lost_changes_nothing(self, store: Store, new: NewId) -> None:
        commit(store, doc("a"))
        limit = budget(10)
        ask(store, hold(new(), limit, 4))
        assert store.adopt(ORG) == 1
        assert verdicts(ask(store, hold(new(), limit, 6))) == ["done"]
        assert store.read(ORG, ())[0] == 1

    def test_data_that_were_put_back_are_noticed_by_every_object_and_gone_on_with_once(
        self,
        store: Store,
        same_store: Store | None,
        snapshot: Callable[[], Callable[[], None]] | None,
        clock: FakeClock,
        new: NewId,
    ) -> None:
        """I-11: nothing is read or written until somebody adopts; then replays are taken, and reserves 10 s later."""
        skip_unless(snapshot, KEPT)
        assert snapshot is not None
        objects = [store, *([same_store] if same_store is not None else [])]
        limit = budget(10)
        kept, gone, later = new(), new(), new()
        commit(store, doc("a", body="1"))
        ask(store, hold(kept, limit, 2))
        put_back = snapshot()
        commit(store, doc("a", body="2"))
        ask(store, Settle(kept, limit, (0, 1, 0), "{}"), hold(gone, limit, 5))
        for each in objects:
            assert totals(each, limit) == [(1, 5)]
        put_back()
        for each in objects:
            told = each.apply({ORG: [hold(later, limit, 1), insist(gone, limit, (0, 3, 0))]}, each.deadline)[
                ORG
            ]
            assert isinstance(told, Lost)
            calls: list[Callable[[], object]] = [
                lambda each=each: each.read(ORG, ["a"]),  # type: ignore[misc]
                lambda each=each: each.children(ORG, "node", "", None, "", 9),  # type: ignore[misc]
                lambda each=each: each.commit(ORG, Change(1, (doc("a", body="3"),))),  # type: ignore[misc]
            ]
            for call in calls:
                with pytest.raises(Lost):
                    call()
        revs = {each.adopt(ORG) for each in objects}
        assert revs == {1}
        for each in objects:
            rev, (found,) = each.read(ORG, ["a"])
            assert found is not None
            assert (rev, found.body) == (1 + REV_STEP, "1")
            told_first = each is store
            assert totals(each, limit) == ([(0, 2)] if told_first else [(1, 5)])
            replayed = ask(
                each,
                hold(later, limit, 1),
                replace(hold(kept, limit, 2), force=True),
                Settle(kept, limit, (0, 1, 0), "{}", force=True),
                replace(hold(gone, limit, 5), force=True),
            )
            replies = ["again", "done", "done"] if told_first else ["ended", "again", "again"]
            assert verdicts(replayed) == ["closed", *replies]
            assert totals(each, limit) == [(1, 5)]
        clock.advance(CLOSED_MS)
        for each in objects:
            assert verdicts(ask(each, hold(new(), limit, 2))) == ["done"]

    def test_an_organization_that_is_gone_stays_closed_until_somebody_says_that_it_is_empty(
        self, store: Store, snapshot: Callable[[], Callable[[], None]] | None, clock: FakeClock, new: NewId
    ) -> None:
        """I-11: never read as nothing spent, never made anew by itself."""
        skip_unless(snapshot, KEPT)
        assert snapshot is not None
        store.hello()
        put_back = snapshot()
        limit = budget(10)
        commit(store, doc("a"))
        id = new()
        ask(store, hold(id, limit, 4))
        put_back()
        for _ in range(2):
            assert isinstance(store.apply({ORG: [Peek(limit)]}, store.deadline)[ORG], Lost)
            with pytest.raises(Lost):
                store.commit(ORG, Change(0, (doc("a"),)))
            assert store.adopt(ORG) is None
        assert store.adopt(ORG, empty=True) is not None
        assert verdicts(ask(store, hold(new(), limit, 1), insist(id, limit, (0, 3, 0)))) == ["closed", "done"]
        clock.advance(CLOSED_MS)
        assert commit(store, doc("a")) > REV_STEP
        assert verdicts(ask(store, hold(new(), limit, 8), hold(new(), limit, 7))) == ["denied", "done"]
        assert verdicts(ask(store, Settle(id, limit, NOTHING, "", "released"))) == ["again"]
