"""What every store must do, whatever it is made of: a class of tests to inherit, with a `store` fixture of one's own.

The decisions themselves are the kernel's and proved there; here it is what a store adds to them.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import replace
from threading import Barrier, Thread
from typing import Any

import pytest

from quotaware.core.steps import (
    CONCURRENCY,
    COST,
    NOTHING,
    REQUESTS,
    TOKENS,
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
    position_of,
)
from quotaware.errors import Conflict, StoreError
from quotaware.stores.protocol import Change, Doc, Store
from tests.support import NOON

ORG = "org_a"
FOREVER = 1 << 53


def plan(*lines: tuple[Counter, int], rev: int = 0, deps: tuple[str, ...] = (), org: str = ORG) -> Plan:
    return Plan(org, rev, deps, lines)


def budget(cap: int, **more: Any) -> Plan:
    return plan((Counter("budget", cap, **more), COST))


def doc(id: str, parent: str = "", name: str | None = None, kind: str = "node", body: str = "{}") -> Doc:
    return Doc(id, kind, parent, name, 0, body)


def ask(store: Store, *ops: Op, org: str = ORG) -> Answer:
    answer = store.apply({org: ops}, 1.0)[org]
    assert isinstance(answer, Answer)
    return answer


def verdicts(answer: Answer) -> list[str]:
    return [result.verdict for result in answer.results]


def commit(store: Store, *put: Doc, org: str = ORG, **more: Any) -> int:
    rev, _ = store.read(org, ())
    return store.commit(org, Change(rev, put, **more))


def in_threads(count: int, work: Callable[[int], None]) -> None:
    """Runs it in threads that begin together; raises what one of them raised."""
    begin, failed = Barrier(count), []

    def run(number: int) -> None:
        begin.wait()
        try:
            work(number)
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


class StoreConformance:
    """Behaviours of a store with an injected clock (fixtures `store`, and `other_store`: one that has nothing in common
    with it); `check` is called with the plans by id when a test moved money."""

    def check(self, store: Store, plans: dict[str, Plan]) -> None:
        """Holds the counters against records and open reservations (I-2)."""

    # steps

    def test_hello_answers_the_time(self, store, clock):
        assert store.hello() == clock.now

    def test_a_batch_is_answered_in_order(self, store, new):
        limit = budget(10)
        first, second = new(), new()
        answer = ask(
            store,
            Reserve(first, limit, (0, 6, 0), NOTHING, 60_000, ""),
            Reserve(second, limit, (0, 6, 0), NOTHING, 60_000, ""),
            Extend(second, limit, 5),
            Settle(first, limit, (0, 1, 0), ""),
            Reserve(second, limit, (0, 6, 0), NOTHING, 60_000, ""),
            Peek(limit),
        )
        assert verdicts(answer) == ["done", "denied", "unknown", "done", "done", "done"]
        assert answer.totals == {"budget": (1, 6)}
        assert (answer.now, answer.rev, answer.due, answer.events) == (NOON, 0, [], 0)
        self.check(store, {first: limit, second: limit})

    def test_organizations_have_nothing_in_common(self, store, new):
        mine, other = budget(1), plan((Counter("budget", 1), COST), org="org_b")
        id = new()
        work = {
            ORG: [Reserve(id, mine, (0, 1, 0), NOTHING, 60_000, "")],
            "org_b": [Reserve(id, other, (0, 1, 0), NOTHING, 60_000, "")],
        }
        answers = store.apply(work, 1.0)
        assert [verdicts(answer) for answer in answers.values()] == [["done"], ["done"]]
        assert list(answers) == [ORG, "org_b"]
        ask(store, Settle(id, mine, (0, 1, 0), ""))
        assert len(store.records(ORG, 0, FOREVER, "", 10)) == 1
        assert store.records("org_b", 0, FOREVER, "", 10) == []

    def test_nothing_to_do_still_names_what_is_due(self, store, clock, new):
        limit = budget(10)
        id = new()
        ask(store, Reserve(id, limit, (0, 6, 0), NOTHING, 10, ""))
        clock.advance(10)
        assert ask(store).due == [(id, limit)]

    def test_ended_leases_are_named_until_somebody_settles_them(self, store, clock, new):
        """I-7: every hold is gone at the lease's end; 32 of them in one answer."""
        limit = budget(1000)
        all_ids = [new() for _ in range(50)]
        ask(store, *(Reserve(id, limit, (0, 5, 0), (0, 2, 0), 100, "") for id in all_ids))
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
        assert ask(store, Peek(limit)).totals == {"budget": (80, 50)}
        clock.advance(950)
        assert {id for id, _ in ask(store).due} == set(all_ids[40:])
        self.check(store, dict.fromkeys(all_ids, limit))

    def test_time_never_runs_back(self, store, clock, new):
        """I-13: after a step back it stands still, and rolling windows with it."""
        rate = budget(1, span=1000)
        ask(store, Reserve(new(), rate, (0, 1, 0), NOTHING, 60_000, ""))
        later = new()
        clock.advance(-3_600_000)
        answer = ask(store, Reserve(later, rate, (0, 1, 0), NOTHING, 60_000, ""))
        assert answer.now == NOON
        assert verdicts(answer) == ["denied"]

    def test_a_threshold_that_stops_a_node_stops_it_until_it_is_resumed(self, store, new):
        commit(store, doc("project"))
        marks = (Mark("full", 5, "project"),)
        limit = plan((Counter("budget", 100, marks=marks), COST), rev=1, deps=("project",))
        id = new()
        answer = ask(
            store,
            Reserve(id, limit, (0, 5, 0), NOTHING, 60_000, ""),
            Settle(id, limit, (0, 5, 0), ""),
            Reserve(new(), limit, (0, 5, 0), NOTHING, 60_000, ""),
        )
        assert verdicts(answer) == ["done", "done", "stale"]
        assert (answer.events, answer.rev) == (1, 2)
        assert store.read(ORG, ["project"]) == (2, [doc("project")._replace(rev=2, stopped="full")])
        commit(store, resume=("project",))
        assert store.read(ORG, ["project"]) == (3, [doc("project")._replace(rev=3)])
        assert verdicts(ask(store, Peek(limit))) == ["stale"]

    @pytest.mark.parametrize("batch", [1, 64, 256])
    def test_threads_never_take_more_than_the_limit(self, store, new, batch):
        """I-1: 8 threads, 4,096 offered, exactly 2,500 go; nothing over at any moment."""
        limit = budget(2500)
        done = [0] * 8

        def hammer(number: int) -> None:
            for _ in range(512 // min(batch, 512)):
                ops = [Reserve(new(), limit, (0, 1, 0), NOTHING, 60_000, "") for _ in range(batch)]
                answer = ask(store, *ops)
                done[number] += verdicts(answer).count("done")
                used, held = answer.totals["budget"]
                assert used + held <= 2500

        in_threads(8, hammer)
        assert sum(done) == 2500

    def test_threads_that_reserve_and_settle_leave_balanced_books(self, store, clock, new):
        """I-2 under 8 threads: settles twice, releases, expiries, extensions."""
        tree = plan(
            (Counter("org", 10_000), COST),
            (Counter("rate", 10_000, span=60_000), TOKENS),
            (Counter("calls", 10_000, span=60_000), REQUESTS),
            (Counter("slots", 8, keep=-1), CONCURRENCY),
        )
        plans: dict[str, Plan] = {}

        def hammer(number: int) -> None:
            chance = random.Random(number)
            for _ in range(60):
                id = new()
                if verdicts(ask(store, Reserve(id, tree, (5, 7, 1), (1, 1, 0), 60_000, "")))[0] != "done":
                    continue
                plans[id] = tree
                ask(store, Extend(id, tree, 60_000))
                end = Settle(id, tree, (chance.randint(0, 9), chance.randint(0, 9), 0), "")
                if chance.random() < 0.2:
                    end = Settle(id, tree, NOTHING, "", "released")
                for _ in range(chance.choice([1, 2])):
                    ask(store, end)

        in_threads(8, hammer)
        totals = ask(store, Peek(tree)).totals
        assert [held for _, held in totals.values()] == [0, 0, 0, 0]
        assert totals["slots"] == (0, 0)
        self.check(store, plans)

    # documents

    def test_documents_are_written_and_read_with_their_revision(self, store):
        assert store.read(ORG, ["a"]) == (0, [None])
        assert commit(store, doc("a", body='{"x":1}'), doc("b", "a", "B")) == 1
        assert commit(store, doc("c")) == 2
        assert store.read(ORG, ["b", "nobody", "a"]) == (
            2,
            [doc("b", "a", "B")._replace(rev=1), None, doc("a", body='{"x":1}')._replace(rev=1)],
        )
        commit(store, doc("a"), drop=("b",))
        assert store.read(ORG, ["a", "b"]) == (3, [doc("a")._replace(rev=3), None])

    def test_a_change_of_another_revision_is_a_conflict_and_writes_nothing(self, store):
        commit(store, doc("a"))
        for expect in (0, 2):
            with pytest.raises(Conflict, match=f"at revision 1, not {expect}"):
                store.commit(ORG, Change(expect, (doc("b"),), audit="{}"))
        assert store.read(ORG, ["b"]) == (1, [None])
        assert store.audit(ORG, 0, 10) == []

    def test_of_writers_at_once_each_revision_is_one_writers(self, store):
        commit(store, doc("count", body="0"))

        def increase(number: int) -> None:
            for _ in range(20):
                while True:
                    rev, (found,) = store.read(ORG, ["count"])
                    assert found is not None
                    try:
                        store.commit(ORG, Change(rev, (doc("count", body=str(int(found.body) + 1)),)))
                        break
                    except Conflict:
                        continue

        in_threads(4, increase)
        rev, (found,) = store.read(ORG, ["count"])
        assert found is not None
        assert (rev, found.body) == (81, "80")

    def test_a_name_is_one_documents_among_its_kind_and_parent(self, store):
        commit(store, doc("a", "top", "Red"))
        for other in (doc("b", "else", "Red"), doc("c", "top", "Red", kind="team"), doc("d", "top", None)):
            commit(store, other)
        with pytest.raises(Conflict, match="'Red'"):
            commit(store, doc("e", "top", "Blue"), doc("f", "top", "Red"))
        assert store.read(ORG, ["e"]) == (4, [None])
        with pytest.raises(Conflict, match="'Blue'"):
            commit(store, doc("e", "top", "Blue"), doc("f", "top", "Blue"))
        assert store.children(ORG, "node", "top", "Blue", "", 10) == []

    def test_a_name_is_free_again_when_its_document_is_renamed_moved_or_dropped(self, store):
        for number, away in enumerate([doc("a", "top", "Blue"), doc("a", "else", "Red"), None]):
            commit(store, doc("a", "top", "Red"))
            commit(store, *([away] if away else []), drop=() if away else ("a",))
            commit(store, doc(f"heir{number}", "top", "Red"))
            (found,) = store.children(ORG, "node", "top", "Red", "", 10)
            assert found.id == f"heir{number}"
            commit(store, drop=(f"heir{number}",))

    @pytest.mark.parametrize("order", [1, -1])
    def test_two_documents_can_change_names_in_one_change(self, store, order):
        commit(store, doc("a", "top", "Red"), doc("b", "top", "Blue"))
        commit(store, *[doc("a", "top", "Blue"), doc("b", "top", "Red")][::order])
        assert [found.id for found in store.children(ORG, "node", "top", "Red", "", 10)] == ["b"]
        assert [found.id for found in store.children(ORG, "node", "top", "Blue", "", 10)] == ["a"]
        commit(store, doc("c", "top", "Red"), drop=("b",))
        assert [found.id for found in store.children(ORG, "node", "top", "Red", "", 10)] == ["c"]

    def test_children_come_in_pages_by_id(self, store):
        commit(
            store,
            *(doc(f"n{number}", f"top{number % 2}") for number in range(7)),
            doc("t", "top0", kind="team"),
        )

        def children(parent: str, after: str, limit: int) -> list[str]:
            return [found.id for found in store.children(ORG, "node", parent, None, after, limit)]

        assert children("top0", "", 2) == ["n0", "n2"]
        assert children("top0", "n2", 2) == ["n4", "n6"]
        assert children("top0", "n6", 2) == []
        assert children("", "n1", 3) == ["n2", "n3", "n4"]
        assert children("nowhere", "", 2) == []
        assert store.children("org_b", "node", "", None, "", 2) == []

    def test_children_are_found_by_name(self, store):
        commit(store, doc("a", "top", "Red"), doc("b", "else", "Red"), doc("c", "top", "Blue"))
        found = store.children(ORG, "node", "top", "Red", "", 10)
        assert found == [doc("a", "top", "Red")._replace(rev=1)]
        assert [child.id for child in store.children(ORG, "node", "", "Red", "", 10)] == ["a", "b"]
        assert store.children(ORG, "node", "top", "Red", "a", 10) == []
        assert store.children(ORG, "node", "top", "Green", "", 10) == []

    def test_organizations_come_in_pages_and_only_with_documents(self, store):
        for number in range(5):
            commit(store, doc("root"), org=f"org_{number}")
        ask(store, Peek(budget(1)), org="org_empty")
        assert store.orgs("", 3) == ["org_0", "org_1", "org_2"]
        assert store.orgs("org_2", 3) == ["org_3", "org_4"]
        assert store.orgs("org_4", 3) == []

    def test_audit_rows_come_by_revision(self, store):
        for number in range(4):
            commit(store, doc("a"), audit=f"row {number}" if number != 2 else "")
        assert store.audit(ORG, 0, 2) == [(1, "row 0"), (2, "row 1")]
        assert store.audit(ORG, 2, 2) == [(4, "row 3")]
        assert store.audit("org_b", 0, 2) == []

    def test_links_lead_to_keys(self, store):
        assert store.find("digest") is None
        store.link("digest", ORG, "key_a")
        assert store.find("digest") == (ORG, "key_a")
        store.link("digest", ORG, "key_b")
        assert store.find("digest") == (ORG, "key_b")
        store.unlink("digest")
        store.unlink("digest")
        assert store.find("digest") is None

    def test_once_is_the_first_ones_until_it_ends(self, store, clock):
        assert store.once(ORG, "sender", "me", 100) == "me"
        assert store.once(ORG, "sender", "you", 100) == "me"
        assert store.once(ORG, "folder", "you", 100) == "you"
        assert store.once("org_b", "sender", "you", 100) == "you"
        clock.advance(99)
        assert store.once(ORG, "sender", "you", 100, expect="them") == "me"
        assert store.once(ORG, "sender", "me", 100, expect="me") == "me"
        clock.advance(99)
        assert store.once(ORG, "sender", "you", 100) == "me"
        clock.advance(1)
        assert store.once(ORG, "sender", "you", 100) == "you"

    def test_of_threads_that_want_it_at_once_one_has_it(self, store):
        told = [""] * 8

        def want(number: int) -> None:
            told[number] = store.once(ORG, "sender", str(number), 1000)

        in_threads(8, want)
        assert len(set(told)) == 1

    # records

    def test_a_record_says_all_that_was_told(self, store, clock, new):
        limit = budget(10)
        id = new()
        ask(store, Reserve(id, limit, (2, 6, 1), NOTHING, 60_000, '{"model":"m"}'))
        clock.advance(250)
        ask(store, Settle(id, limit, (3, 7, 0), '{"status":200}'))
        ((position, row),) = store.records(ORG, 0, FOREVER, "", 10)
        assert position_of(position) == (NOON + 250, 0)
        assert row._asdict() == {
            "id": id,
            "part": 0,
            "at": NOON,
            "settled_at": NOON + 250,
            "about": '{"model":"m"}',
            "outcome": '{"status":200}',
            "how": "settled",
            "hold": (2, 6, 1),
            "real": (3, 7, 0),
            "overrun": True,
        }

    def test_records_come_in_the_order_in_which_they_were_booked(self, store, clock, new):
        limit = budget(1000)
        called = [new() for _ in range(6)]
        for id in called:
            ask(store, Reserve(id, limit, (0, 1, 0), NOTHING, 60_000, ""))
        for id in reversed(called):
            ask(store, Settle(id, limit, (0, 1, 0), ""))
            clock.advance(10)
        booked = called[::-1]

        def found(since: int, until: int, after: str, limit: int) -> list[str]:
            return [row.id for _, row in store.records(ORG, since, until, after, limit)]

        everything = store.records(ORG, 0, FOREVER, "", 9)
        assert [row.id for _, row in everything] == booked
        assert found(0, FOREVER, "", 4) == booked[:4]
        assert found(0, FOREVER, everything[3][0], 4) == booked[4:]
        assert found(0, FOREVER, everything[5][0], 4) == []
        assert found(NOON + 10, NOON + 30, "", 9) == booked[1:3]
        assert found(NOON + 10, NOON + 30, everything[1][0], 9) == booked[2:3]
        assert found(NOON + 60, FOREVER, "", 9) == []
        assert store.records("org_b", 0, FOREVER, "", 9) == []

    def test_every_record_has_a_position_of_its_own(self, store, clock, new):
        """Many of one millisecond and one batch, corrections among them; a page may begin between any two."""
        limit = budget(1000)
        called = [new() for _ in range(4)]
        for id in called:
            ask(
                store,
                Reserve(id, limit, (0, 9, 0), (0, 2, 0), 0, ""),
                Settle(id, limit, NOTHING, "", "expired"),
            )
        ask(store, *(Settle(id, limit, (0, 5, 0), "") for id in called[1:3]))
        everything = [*((id, 0) for id in called), (called[1], 1), (called[2], 1)]
        positions = [position_of(at) for at, _ in store.records(ORG, 0, FOREVER, "", 99)]
        assert positions == sorted(set(positions))
        for size in range(1, 7):
            seen: list[tuple[str, int]] = []
            after = ""
            while page := store.records(ORG, 0, FOREVER, after, size):
                seen += [(row.id, row.part) for _, row in page]
                after = page[-1][0]
            assert seen == everything, size
        self.check(store, dict.fromkeys(called, limit))

    # sums

    def test_sums_are_written_behind_a_watermark_that_one_of_many_moves(self, store):
        assert store.folded(ORG) == ""
        hour = Sum("hour", NOON, '{"model":"m"}', '{"calls":1}', FOREVER)
        assert store.fold(ORG, "", "5-0", [hour])
        assert store.folded(ORG) == "5-0"
        late = hour._replace(body='{"calls":9}')
        assert not store.fold(ORG, "", "6-0", [late])
        assert not store.fold(ORG, "4-0", "6-0", [late])
        assert store.folded(ORG) == "5-0"
        assert store.sums(ORG, "hour", 0, FOREVER) == [hour]
        more = hour._replace(body='{"calls":2}')
        other = hour._replace(bucket=NOON + 1)
        assert store.fold(ORG, "5-0", "6-0", [more, other, hour._replace(cube="day")])
        assert sorted(store.sums(ORG, "hour", NOON, NOON + 2)) == [more, other]
        assert store.sums(ORG, "hour", NOON, NOON + 1) == [more]
        assert store.sums(ORG, "hour", NOON + 2, FOREVER) == []
        which = [("hour", NOON, hour.dims), ("hour", NOON, "{}"), ("day", NOON, hour.dims)]
        assert store.pick(ORG, which) == [more.body, None, hour.body]
        assert store.pick("org_b", which) == [None, None, None]
        assert (store.folded("org_b"), store.sums("org_b", "hour", 0, FOREVER)) == ("", [])

    def test_of_folders_at_once_one_moves_the_watermark(self, store):
        won = [False] * 8

        def fold(number: int) -> None:
            won[number] = store.fold(ORG, "", "7-0", [Sum("hour", NOON, "{}", str(number), FOREVER)])

        in_threads(8, fold)
        assert won.count(True) == 1
        assert store.sums(ORG, "hour", 0, FOREVER)[0].body == str(won.index(True))

    # thresholds

    def test_a_threshold_is_told_once_until_it_is_done(self, store, clock, new):
        """I-28: one event a counter, mark and cap, in the step that crossed it."""
        marks = (Mark("half", 5), Mark("most", 8))
        limit = budget(10, marks=marks)
        id = new()
        answer = ask(
            store, Reserve(id, limit, (0, 9, 0), NOTHING, 60_000, ""), Settle(id, limit, (0, 9, 0), "")
        )
        assert answer.events == 2
        ask(store, Settle(id, limit, (0, 9, 0), ""), Peek(limit))
        half, most = store.outbox(ORG)
        assert (half.at, most.at) == (NOON, NOON)
        assert json.loads(half.body) == {"counter": "budget", "mark": "half", "cap": 10, "used": 9}
        assert half.id != most.id
        assert store.outbox(ORG, done=(half.id,)) == [most]
        forecast = Event("forecast", NOON - 1, "{}")
        assert store.outbox(ORG, put=(forecast, most._replace(body="other"))) == [forecast, most]
        assert store.outbox(ORG, done=("forecast", most.id, "nothing")) == []
        assert store.outbox("org_b") == []

    # moving house

    def test_what_is_dumped_can_be_loaded(self, store, other_store, clock, new):
        """Documents, links, counters of all kinds, open and ended reservations, records, sums, events, leases."""
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
        ask(store, *(Reserve(id, tree, (5, 7, 1), (1, 2, 0), 60_000, "{}") for id in (first, second)))
        ask(store, Settle(first, tree, (4, 6, 0), '{"status":200}'))
        ask(store, Settle(second, tree, NOTHING, "{}", "expired", force=True))
        store.fold(ORG, "", "5-0", [Sum("hour", NOON, "{}", "{}", FOREVER)])
        store.once(ORG, "sender", "me", 60_000)
        ask(
            store,
            Reserve(third, replace(tree, rev=store.read(ORG, ())[0]), (5, 7, 1), (1, 2, 0), 60_000, "{}"),
        )
        rows = list(store.dump(ORG))
        other_store.load(ORG, rows)
        assert sorted(other_store.dump(ORG)) == sorted(rows)
        assert {item.table for item in rows} == {
            "org",
            "doc",
            "link",
            "audit",
            "counter",
            "open",
            "ended",
            "record",
            "sum",
            "event",
            "once",
        }
        with pytest.raises(StoreError, match="already"):
            other_store.load(ORG, rows)

    # the end

    def test_a_closed_store_raises(self, store):
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
            lambda: store.outbox(ORG),
            lambda: store.prune(ORG, 1),
            lambda: list(store.dump(ORG)),
            lambda: store.load(ORG, []),
            lambda: store.once(ORG, "n", "v", 1),
        ]
        for call in calls:
            with pytest.raises(StoreError):
                call()
