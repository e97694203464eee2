# ruff: noqa: S101
"""Dump and load; and a store's end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from ...core.steps import CONCURRENCY, COST, NOTHING, REQUESTS, TOKENS, Counter, Mark, Peek, Plan, Settle, Sum
from ...errors import StoreError
from ...stores.protocol import Change, Item, Store
from .kit import FOREVER, ORG, FakeClock, NewId, ask, budget, commit, doc, hold, plan, totals, verdicts

TABLES = ["org", "doc", "link", "audit", "counter", "open", "ended", "record", "sum", "event", "once"]


def _furnish(store: Store, new: NewId) -> Plan:
    """Has something of everything in a store; answers the plan that it was done under."""
    commit(store, doc("project", "top", "Red"), audit='{"what":"made"}')
    store.link("digest", ORG, "key_a")
    day = Counter("day@0", 90, since=0, until=FOREVER, keep=FOREVER, marks=(Mark("half", 5, "project"),))
    tree = plan(
        (Counter("org", 100, watch=(50,)), COST),
        (day, COST),
        (Counter("rate", 100, span=60_000), TOKENS),
        (Counter("calls", 100, span=60_000), REQUESTS),
        (Counter("slots", 8, keep=-1), CONCURRENCY),
        rev=1,
        deps=("project",),
    )
    first, second, third = new(), new(), new()
    ask(store, *(hold(id, tree, 7, tokens=5, slots=1, expiry=(1, 2, 0)) for id in (first, second)))
    ask(store, Settle(first, tree, (4, 6, 0), '{"status":200}'))
    ask(store, Settle(second, tree, NOTHING, "{}", "expired", force=True))
    store.fold(ORG, "", "5-0", [Sum("hour", 0, "{}", "{}", FOREVER)])
    store.once(ORG, "sender", "me", 60_000)
    now = replace(tree, rev=store.read(ORG, ())[0])
    assert verdicts(ask(store, hold(third, now, 7, tokens=5, slots=1, expiry=(1, 2, 0)))) == ["done"]
    return now


class Moving:
    """From one store into another."""

    def test_what_is_dumped_can_be_loaded(
        self, store: Store, other_store: Store, clock: FakeClock, new: NewId
    ) -> None:
        """Documents, links, counters of all kinds, open and ended reservations, records, sums, events, leases."""
        _furnish(store, new)
        rows = list(store.dump(ORG))
        other_store.load(ORG, rows)
        assert sorted(other_store.dump(ORG)) == sorted(rows)
        assert {item.table for item in rows} == set(TABLES)
        told = [item.table for item in rows]
        assert told[:2] == ["org", "doc"]
        before = [place for place, table in enumerate(told) if table in {"audit", "counter", "open"}]
        assert max(before) < told.index("record")
        with pytest.raises(StoreError, match="already"):
            other_store.load(ORG, rows)

    def test_what_was_loaded_goes_on_where_it_was(
        self, store: Store, other_store: Store, clock: FakeClock, new: NewId
    ) -> None:
        """The same steps come to the same in both: no id is used twice, nothing is spent twice, leases end."""
        tree = _furnish(store, new)
        clock.advance(10)
        other_store.load(ORG, store.dump(ORG))
        rows = [row for _, row in store.records(ORG, 0, FOREVER, "", 9)]
        ended, fresh = [row.id for row in rows], [new() for _ in range(4)]
        clock.advance(250)
        for ops in (
            [hold(id, tree, 7) for id in ended],
            [Settle(id, tree, (3, 3, 0), "late") for id in ended],
            [hold(id, tree, 40, tokens=30, slots=3, expiry=(9, 9, 0), lease=100) for id in fresh],
            [Settle(fresh[0], tree, (50, 50, 0), "{}"), Peek(tree)],
        ):
            mine, other = ask(store, *ops), ask(other_store, *ops)
            assert (mine.results, mine.totals, mine.due) == (other.results, other.totals, other.due)
            assert mine.events == other.events
        clock.advance(60_000)
        assert sorted(ask(store).due) == sorted(ask(other_store).due) != []
        assert store.records(ORG, 0, FOREVER, "", 9) == other_store.records(ORG, 0, FOREVER, "", 9)
        assert commit(store, doc("a")) == commit(other_store, doc("a"))
        assert store.find("digest") == other_store.find("digest") == (ORG, "key_a")

    def test_much_is_moved_in_pieces(self, store: Store, other_store: Store, new: NewId) -> None:
        """What is loaded may come one by one, and be more than fits a page."""
        limit = budget(1 << 40)
        for start in range(0, 1200, 200):
            ids = [new() for _ in range(200)]
            ask(store, *(hold(id, limit, 3) for id in ids))
            ask(store, *(Settle(id, limit, (1, 2, 0), "") for id in ids[start // 200 :]))
        commit(store, *(doc(f"node{number}") for number in range(1200)))

        def one_by_one() -> Iterator[Item]:
            yield from store.dump(ORG)

        other_store.load(ORG, one_by_one())
        assert sorted(other_store.dump(ORG)) == sorted(store.dump(ORG))
        assert totals(other_store, limit) == [(2 * 1185, 3 * 15)]

    def test_a_closed_store_raises(self, other_store: Store) -> None:
        store = other_store
        commit(store, doc("a"))
        store.close()
        store.close()
        calls: list[Callable[[], object]] = [
            store.hello,
            lambda: store.apply({ORG: [Peek(budget(1))]}, 1.0),
            lambda: store.apply({}, 1.0),
            lambda: store.link("d", ORG, "k"),
            lambda: store.unlink("d"),
            lambda: store.find("d"),
            lambda: store.orgs("", 1),
            lambda: store.read(ORG, ["a"]),
            lambda: store.children(ORG, "node", "", None, "", 1),
            lambda: store.commit(ORG, Change(1)),
            lambda: store.audit(ORG, 0, 1),
            lambda: store.adopt(ORG),
            lambda: store.records(ORG, 0, FOREVER, "", 1),
            lambda: store.folded(ORG),
            lambda: store.sums(ORG, "hour", 0, 1),
            lambda: store.pick(ORG, [("hour", 0, "{}")]),
            lambda: store.fold(ORG, "", "1-0", []),
            lambda: store.keep(ORG, "", []),
            lambda: store.outbox(ORG),
            lambda: store.prune(ORG, 1),
            lambda: list(store.dump(ORG)),
            lambda: store.load(ORG, []),
            lambda: store.once(ORG, "n", "v", 1),
        ]
        for call in calls:
            with pytest.raises(StoreError):
                call()
