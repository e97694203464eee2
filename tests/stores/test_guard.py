"""The guard: a store that fails is left alone for a while; one that lost something is told it again."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from threading import Event, Thread
from typing import Any

import pytest

from quotaware.core.steps import (
    COST,
    NOTHING,
    REQUESTS,
    REV_STEP,
    Answer,
    Counter,
    Mark,
    Op,
    Peek,
    Plan,
    Reserve,
    Settle,
)
from quotaware.errors import Lost, StoreError, StoreFull
from quotaware.stores import guard as guards
from quotaware.stores.guard import Guard, guarded
from quotaware.stores.memory import MemoryStore
from quotaware.stores.protocol import CLOSED_MS, Change, Doc, Item
from quotaware.stores.seen import Seen, new_epoch
from quotaware.testing.store_suite.kit import ORG, ask, commit, doc, verdicts
from tests.support import FakeClock, check_books


class Server:
    """What several processes share: a memory store with an epoch and a sequence, that can be put back in time."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.store = MemoryStore(clock)
        self.epochs: dict[str, tuple[str, int]] = {}
        self.fails: list[Exception] = []
        self.trips = 0
        self.base = 0  # the revision from before the last adoption

    def snapshot(self) -> tuple[list[Item], dict[str, tuple[str, int]]]:
        return list(self.store.dump(ORG)), dict(self.epochs)

    def restore(self, snapshot: tuple[list[Item], dict[str, tuple[str, int]]] | None = None) -> None:
        """Back to what it was, or empty."""
        self.store = MemoryStore(self.clock)
        self.epochs = dict(snapshot[1]) if snapshot else {}
        if snapshot:
            self.store.load(ORG, snapshot[0])


class Client:
    """A process's connection to the server."""

    deadline = 1.0

    def __init__(self, server: Server) -> None:
        self.server = server
        self.seen = Seen()

    def lane(self, org: str) -> str:
        return "server"

    def apply(self, work: Mapping[str, Sequence[Op]], deadline: float) -> Mapping[str, Answer | StoreError]:
        self.server.trips += 1
        if self.server.fails:
            raise self.server.fails.pop(0)
        answers: dict[str, Answer | StoreError] = {}
        for org, ops in work.items():
            lost = self._check(org)
            answers[org] = lost or self.server.store.apply({org: ops}, deadline)[org]
            if lost is None:
                self._wrote(org)
        return answers

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        if lost := self._check(org):
            raise lost
        return self.server.store.read(org, ids)

    def commit(self, org: str, change: Change) -> int:
        if lost := self._check(org):
            raise lost
        rev = self.server.store.commit(org, change)
        self._wrote(org)
        return rev

    def _check(self, org: str) -> Lost | None:
        return self.seen.check(org, *self.server.epochs.get(org, ("", 0)))

    def _wrote(self, org: str) -> None:
        epoch, seq = self.server.epochs.get(org) or (new_epoch(), 0)
        self.server.epochs[org] = (epoch, seq + 1)
        self.seen.note(org, epoch, seq + 1)

    def adopt(self, org: str, *, empty: bool = False) -> int | None:
        state = self.server.store._of(org)
        rev = state.view.rev
        if not state.docs and not empty:
            return None
        epoch, seq = self.server.epochs.get(org, ("", 0))
        known, newest = self.seen.of(org)[:2]
        if known and known == epoch and seq >= newest:
            return rev  # there is nothing to adopt
        if epoch == known or not epoch:
            epoch, seq = new_epoch(), 0
            self.server.base = rev
            state.view.closed = self.server.clock() + CLOSED_MS
            state.view.rev += REV_STEP
            self.server.epochs[org] = (epoch, seq)
        self.seen.take(org, epoch, seq)
        return self.server.base

    def __getattr__(self, name: str) -> Any:
        return getattr(self.server.store, name)


@pytest.fixture
def server(clock: FakeClock) -> Server:
    return Server(clock)


@pytest.fixture
def process(server: Server, clock: FakeClock) -> Guard:
    store = guarded(Client(server), clock)
    assert isinstance(store, Guard)
    return store


def limit(rev: int = 1) -> Plan:
    return Plan(ORG, rev, ("project",), ((Counter("calls", 100), REQUESTS), (Counter("budget", 100), COST)))


def reserve(id: str, rev: int = 1) -> Reserve:
    return Reserve(id, limit(rev), (0, 6, 0), (0, 2, 0), 60_000, "{}")


def totals(store: Any, rev: int = 1) -> dict[str, tuple[int, int]]:
    return ask(store, Peek(limit(rev))).totals


def test_a_store_of_this_process_alone_needs_none(clock):
    store = MemoryStore(clock)
    assert guarded(store, clock) is store


class TestBreaker:
    @pytest.fixture(autouse=True)
    def time(self, monkeypatch: pytest.MonkeyPatch) -> list[float]:
        now = [0.0]
        monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
        return now

    def test_after_failures_in_a_row_it_is_tried_once_a_second(self, process, server, time):
        """I-10: at once while it is away, one probe a second, and as ever when it is back."""
        server.fails = [StoreError("away")] * 100
        for _ in range(guards.FAILURES):
            with pytest.raises(StoreError, match="away"):
                ask(process)
        assert process.health()["store"] == "away"
        for second in range(1, 4):
            for _ in range(50):
                with pytest.raises(StoreError, match="once a second"):
                    ask(process)
            time[0] = float(second)
            with pytest.raises(StoreError, match="away"):
                ask(process)
            assert server.trips == guards.FAILURES + second
        assert process.health()["away_s"] == 3.0
        server.fails = []
        time[0] = 4.0
        for _ in range(3):
            ask(process)
        assert process.health() == {"store": "ok", "away_s": 0, "lost": [], "ahead_ms": 0}

    @pytest.mark.parametrize("fault", [StoreError("reset"), OSError("reset")], ids=["away", "unexpected"])
    def test_failures_that_do_not_follow_each_other_change_nothing(self, process, server, fault):
        for _ in range(3 * guards.FAILURES):
            server.fails = [fault]
            with pytest.raises(type(fault), match="reset"):
                ask(process)
            ask(process)

    def test_a_fault_of_the_stores_own_is_no_outage(self, process, server):
        """A step that it cannot do fails as often as it is tried; the store is there for all others."""
        for _ in range(3 * guards.FAILURES):
            server.fails = [ZeroDivisionError("bug")]
            with pytest.raises(ZeroDivisionError):
                ask(process)
        ask(process)
        assert process.health()["store"] == "ok"

    def test_one_that_is_full_is_tried_as_ever(self, process, server, time):
        """I-10: it answers, and what frees room goes."""
        server.fails = [StoreFull("OOM")] * (3 * guards.FAILURES)
        for _ in range(3 * guards.FAILURES):
            with pytest.raises(StoreFull):
                ask(process)
        assert process.health() == {"store": "full", "away_s": 0, "lost": [], "ahead_ms": 0}
        ask(process)
        assert process.health()["store"] == "ok"

    def test_where_it_goes_away_when_it_was_full_it_is_left_alone(self, process, server, time):
        server.fails = [StoreFull("OOM"), *[StoreError("away")] * guards.FAILURES]
        for second in range(1 + guards.FAILURES):
            time[0] = float(second)
            with pytest.raises(StoreError):
                ask(process)
        assert process.health()["away_s"] == guards.FAILURES - 1
        with pytest.raises(StoreError, match="once a second"):
            ask(process)

    def test_of_a_lane_that_nobody_lies_on_any_more_nothing_is_told(self, process, server, monkeypatch):
        """A failover: the organization lies on another server, and the old one never answers again."""
        lanes = {"org_a": "old", "org_b": "other"}
        monkeypatch.setattr(process.inner, "lane", lambda org: lanes.get(org, "other"))
        server.fails = [StoreError("away")] * guards.FAILURES
        for _ in range(guards.FAILURES):
            with pytest.raises(StoreError):
                process.apply({"org_a": []}, 1.0)
        assert process.health()["store"] == "away"
        process.apply({"org_b": []}, 1.0)
        assert process.health()["store"] == "away"
        lanes["org_a"] = "new"
        assert process.health()["store"] == "ok"
        process.apply({"org_a": []}, 1.0)
        assert process.health()["store"] == "ok"

    def test_the_lanes_that_fail_are_bounded(self, process, server, monkeypatch):
        monkeypatch.setattr(guards, "LANES", 3)
        monkeypatch.setattr(process.inner, "lane", lambda org: org)
        for number in range(10):
            server.fails = [StoreError("away")]
            with pytest.raises(StoreError):
                process.apply({f"org_{number}": []}, 1.0)
        assert list(process._failing) == ["org_7", "org_8", "org_9"]

    def test_how_far_the_stores_clock_is_ahead_is_known(self, process, clock):
        """I-13: after a step back it stands still."""
        ask(process)
        clock.advance(-3_600_000)
        ask(process)
        assert process.health()["ahead_ms"] == 3_600_000


class TestLoss:
    """I-11."""

    def test_what_an_older_state_does_not_have_is_replayed(self, process, server, clock, new):
        commit(process, doc("project"))
        open_then, ended = new(), new()
        ask(process, reserve(open_then))
        snapshot = server.snapshot()
        settled, released, still_open, expired = (new() for _ in range(4))
        ask(process, *map(reserve, (ended, settled, released, still_open, expired)))
        ask(process, Settle(settled, limit(), (0, 5, 0), '{"status":200}'))
        ask(
            process,
            Settle(open_then, limit(), (0, 4, 0), "{}"),
            Settle(released, limit(), NOTHING, "{}", "released"),
        )
        commit(process, doc("project", body='{"limit":1}'), doc("new"))
        before = totals(process, 2)
        assert before == {"calls": (6, 0), "budget": (9, 18)}
        server.restore(snapshot)
        heard: list[str] = []
        process.adopted = heard.append
        assert verdicts(ask(process, reserve(new(), 2))) == ["closed"]
        assert heard == [ORG, ORG], "when it goes on, and when all is replayed"
        rev, (project, made) = process.read(ORG, ["project", "new"])
        assert project is not None
        assert made is not None
        assert project.body == '{"limit":1}'
        assert rev > REV_STEP
        assert totals(process, rev) == before
        assert {row.id for _, row in process.records(ORG, 0, 1 << 53, "", 9)} == {settled, open_then}
        check_books(
            server.store, ORG, dict.fromkeys((open_then, ended, settled, still_open, expired), limit())
        )
        clock.advance(CLOSED_MS)
        assert verdicts(ask(process, reserve(new(), rev))) == ["done"]
        (told,) = server.store.outbox(ORG)
        assert told.id.startswith("adopted|")

    def test_every_process_replays_what_it_knows(self, process, server, clock, new):
        other = Guard(Client(server), clock)
        commit(process, doc("project"))
        snapshot = server.snapshot()
        for store in (process, other):
            id = new()
            ask(store, reserve(id))
            ask(store, Settle(id, limit(), (0, 5, 0), "{}"))
        server.restore(snapshot)
        ask(process)
        epoch = server.epochs[ORG][0]
        assert totals(process)["budget"] == (5, 0)
        assert verdicts(ask(other, reserve(new()))) == ["closed"]
        assert totals(other)["budget"] == (10, 0)
        assert server.epochs[ORG][0] == epoch, (
            "the first to notice gives the new epoch, the second takes it over"
        )

    def test_an_emptied_organization_stays_closed(self, process, server, new, monkeypatch):
        """Never read as nothing spent, and never made anew by itself."""
        now = [0.0]
        monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
        commit(process, doc("project"))
        ask(process, reserve(new()))
        server.restore(None)
        for _ in range(5):
            now[0] += 0.5
            answer = process.apply({ORG: [reserve(new())]}, 1.0)[ORG]
            assert isinstance(answer, Lost)
            assert process.health()["store"] == "lost"
        with pytest.raises(Lost):
            process.read(ORG, ["project"])
        with pytest.raises(Lost):
            process.commit(ORG, Change(0, (doc("project"),)))
        assert server.store._orgs[ORG].view.cells == {}
        assert process.adopt(ORG, empty=True) == 0
        now[0] += 1.0
        assert verdicts(ask(process, reserve(new()))) == ["closed"]

    def test_a_read_goes_on_after_what_was_lost_is_replayed(self, process, server):
        commit(process, doc("project"))
        snapshot = server.snapshot()
        commit(process, doc("project", body="new"))
        server.restore(snapshot)
        _, (found,) = process.read(ORG, ["project"])
        assert found is not None
        assert found.body == "new"
        assert commit(process, doc("other")) > REV_STEP

    def test_a_replay_that_fails_is_tried_again(self, process, server, new, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
        commit(process, doc("project"))
        snapshot = server.snapshot()
        id = new()
        ask(process, reserve(id))
        server.restore(snapshot)
        with monkeypatch.context() as broken:
            broken.setattr(server.store, "read", lambda *_: (_ for _ in ()).throw(StoreError("away")))
            broken.setattr(Client, "adopt", lambda *_: (_ for _ in ()).throw(StoreError("away")))
            assert isinstance(process.apply({ORG: []}, 1.0)[ORG], Lost)
        assert isinstance(process.apply({ORG: []}, 1.0)[ORG], Lost), "not at once"
        now[0] = 1.0
        ask(process)
        assert totals(process)["budget"] == (0, 6)

    def test_what_is_older_than_a_minute_or_too_much_is_not_kept(self, process, new, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
        monkeypatch.setattr(guards, "REPLAY_STEPS", 10)
        commit(process, doc("project"))
        for _ in range(20):
            ask(process, reserve(new()))
        assert process._steps == sum(len(told.ops) for told in process._told) == 10
        now[0] = 61.0
        ask(process, reserve(new()))
        assert process._steps == 1

    def test_a_call_that_runs_for_long_holds_what_it_held(self, process, server, new, monkeypatch):
        """Its reserve is older than what else is replayed."""
        now = [0.0]
        monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
        commit(process, doc("project"))
        snapshot = server.snapshot()
        long, ended = new(), new()
        ask(process, reserve(long), reserve(ended))
        now[0] = 3000.0
        ask(process, Settle(ended, limit(), (0, 5, 0), "{}"))
        server.restore(snapshot)
        ask(process)
        assert totals(process)["budget"] == (5, 6)

    def test_links_are_made_again(self, process, server):
        commit(process, doc("project"))
        snapshot = server.snapshot()
        process.link("digest", ORG, "key")
        process.unlink("another")
        ask(process)
        server.restore(snapshot)
        ask(process)
        assert server.store.find("digest") == (ORG, "key")

    def test_a_change_that_another_made_meanwhile_is_made_on_top_of(self, process, server, monkeypatch):
        commit(process, doc("project"))
        snapshot = server.snapshot()
        commit(process, doc("project", body="new"))
        server.restore(snapshot)
        real, between = Client.commit, [True]

        def commit_late(self: Client, org: str, change: Change) -> int:
            if between.pop() if between else False:
                real(self, org, replace(change, put=(doc("other"),)))
            return real(self, org, change)

        monkeypatch.setattr(Client, "commit", commit_late)
        _, (project, other) = process.read(ORG, ["project", "other"])
        assert project is not None
        assert project.body == "new"
        assert other is not None

    def test_a_replay_that_is_broken_off_goes_on(self, process, server, new, monkeypatch):
        """The store's new epoch is known by then, so that no answer says any more that something is missing."""
        now = [0.0]
        monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
        commit(process, doc("project"))
        snapshot = server.snapshot()
        ask(process, reserve(new()))
        server.restore(snapshot)
        with monkeypatch.context() as broken:
            broken.setattr(
                Client, "outbox", lambda *_, **__: (_ for _ in ()).throw(StoreError("away")), raising=False
            )
            broken.setattr(
                guards.Guard, "_replay_steps", lambda *_: (_ for _ in ()).throw(StoreError("away"))
            )
            assert isinstance(process.apply({ORG: []}, 1.0)[ORG], Lost)
        assert totals(server.store)["budget"] == (0, 0)
        assert process.health()["lost"] == [ORG]
        now[0] = 1.0
        assert totals(process)["budget"] == (0, 6)
        assert process.health()["store"] == "ok"

    def test_an_adoption_is_told_of_once_however_many_come_to_it(self, server, clock):
        """Also where a sender has taken it meanwhile."""
        first, second = (Guard(Client(server), clock) for _ in range(2))
        commit(first, doc("project"))
        ask(second)
        snapshot = server.snapshot()
        for process in (first, second):
            ask(process)
        server.restore(snapshot)
        ask(first)
        (told,) = server.store.outbox(ORG)
        server.store.outbox(ORG, done=(told.id,))
        ask(second)
        assert server.store.outbox(ORG) == []
        server.restore(snapshot)
        ask(second)
        (again,) = server.store.outbox(ORG)
        assert again.id != told.id, "the same state was put back once more: another loss"

    def test_of_an_adoption_that_nobody_came_to_tell_of_the_next_process_tells(
        self, process, server, new, monkeypatch
    ):
        now = [0.0]
        monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
        commit(process, doc("project"))
        snapshot = server.snapshot()
        ask(process, reserve(new()))
        server.restore(snapshot)
        with monkeypatch.context() as broken:
            broken.setattr(
                Client, "outbox", lambda *_, **__: (_ for _ in ()).throw(StoreError("away")), raising=False
            )
            assert isinstance(process.apply({ORG: []}, 1.0)[ORG], Lost)
        now[0] = 1.0
        ask(process)
        assert len(server.store.outbox(ORG)) == 1
        assert process.health()["store"] == "ok"

    def test_an_adoption_whose_replay_failed_is_told_of_as_the_same(self, server, monkeypatch, clock):
        """Though there is nothing to adopt any more when it is replayed at last."""
        now = [0.0]
        monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
        first, second = (Guard(Client(server), clock) for _ in range(2))
        commit(first, doc("project"))
        ask(second)
        snapshot = server.snapshot()
        for process in (first, second):
            ask(process)
        server.restore(snapshot)
        with monkeypatch.context() as broken:
            broken.setattr(
                Client, "outbox", lambda *_, **__: (_ for _ in ()).throw(StoreError("away")), raising=False
            )
            assert isinstance(first.apply({ORG: []}, 1.0)[ORG], Lost)
        ask(second)
        now[0] = 1.0
        ask(first)
        assert [json.loads(each.body) for each in server.store.outbox(ORG)] == [{"adopted": ORG, "rev": 1}]

    def test_a_loss_that_two_threads_notice_is_mended_once(self, process, server, caplog, monkeypatch):
        """One in its own step, one since it may do none meanwhile."""
        commit(process, doc("project"))
        snapshot = server.snapshot()
        ask(process)
        server.restore(snapshot)
        adopt, threads = process.inner.adopt, []

        def slowly(org: str) -> int | None:
            noticed = Event()
            monkeypatch.setattr(process.inner, "adopt", adopt)
            monkeypatch.setattr(process, "_mend_once", lambda *more: noticed.set() or mend_once(*more))
            threads.append(Thread(target=ask, args=(process,)))
            threads[0].start()
            assert noticed.wait(10)
            return adopt(org)

        mend_once = process._mend_once
        monkeypatch.setattr(process.inner, "adopt", slowly)
        ask(process)
        threads[0].join(10)
        assert [each.getMessage() for each in caplog.records] == [
            f"the store went on without what it knew of organization {ORG}; replaying"
        ]
        assert len(server.store.outbox(ORG)) == 1

    @pytest.mark.parametrize("span", [0, 3_600_000])
    def test_a_threshold_that_was_crossed_in_what_is_lost_is_the_same_event_when_it_is_replayed(
        self, process, server, clock, new, span
    ):
        """I-28: also where it was told before, so that it is told under the same key."""
        limit = Plan(ORG, 1, (), ((Counter("b", 20, span=span, marks=(Mark("most", 8),)), COST),))
        ids = [new() for _ in range(3)]
        commit(process, doc("project"))
        ask(process, Reserve(ids[0], limit, (0, 1, 0), NOTHING, 60_000, "{}"))
        snapshot = server.snapshot()
        for id in ids[1:]:
            ask(process, Reserve(id, limit, (0, 4, 0), NOTHING, 60_000, "{}"))
        clock.advance(100)
        for id in ids:
            ask(process, Settle(id, limit, (0, 4, 0), "{}"))
        (crossed,) = server.store.outbox(ORG)
        server.restore(snapshot)
        clock.advance(1000)
        ask(process, Peek(limit))
        (again,) = [each for each in server.store.outbox(ORG) if not each.id.startswith("adopted")]
        assert (again.id, again.at) == (crossed.id, clock())

    def test_a_store_that_is_put_back_again_during_a_replay_is_adopted_anew(
        self, process, server, new, monkeypatch
    ):
        now = [0.0]
        monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
        commit(process, doc("project"))
        snapshot = server.snapshot()
        ask(process, reserve(new()))
        server.restore(snapshot)
        replay = guards.Guard._replay_changes

        def put_back(guard: Guard, org: str, rev: int) -> None:
            replay(guard, org, rev)
            server.restore(snapshot)

        with monkeypatch.context() as again:
            again.setattr(guards.Guard, "_replay_changes", put_back)
            assert isinstance(process.apply({ORG: []}, 1.0)[ORG], Lost)
        now[0] = 1.0
        assert totals(process)["budget"] == (0, 6)
        assert process.health()["store"] == "ok"

    def test_of_two_changes_that_are_made_again_the_later_stands(self, server, clock):
        """Rule 5 over a loss, in whatever order processes notice it: what was revoked last stays so."""
        for first_to_notice in (0, 1):
            server.restore(None)
            pair = [Guard(Client(server), clock) for _ in range(2)]
            commit(pair[0], doc("project"))
            snapshot = server.snapshot()
            commit(pair[0], doc("project", body="older"))
            commit(pair[1], doc("project", body="newer"))
            server.restore(snapshot)
            for store in (pair[first_to_notice], pair[1 - first_to_notice]):
                ask(store)
            _, (found,) = pair[0].read(ORG, ["project"])
            assert found is not None
            assert found.body == "newer"

    def test_what_was_changed_since_the_loss_is_not_undone(self, server, clock):
        late, prompt = (Guard(Client(server), clock) for _ in range(2))
        commit(late, doc("project"))
        snapshot = server.snapshot()
        commit(late, doc("project", body="lost"), doc("other", body="lost"))
        ask(prompt)
        server.restore(snapshot)
        ask(prompt)
        commit(prompt, doc("project", body="since"))
        ask(late)
        _, docs = late.read(ORG, ["project", "other"])
        assert [found and found.body for found in docs] == ["since", "lost"]

    def test_a_change_whose_revision_another_was_given_is_made_again(self, server, clock):
        """By one that had seen nothing newer, before anybody noticed; where both changed the same, its own stands."""
        knows, stranger = (Guard(Client(server), clock) for _ in range(2))
        commit(knows, doc("project"))
        snapshot = server.snapshot()
        knows.commit(
            ORG, Change(1, (doc("project", body="lost"), doc("key", body="revoked")), audit='{"by":"a"}')
        )
        ask(knows)
        server.restore(snapshot)
        stranger.commit(ORG, Change(1, (doc("project", body="since"),), audit='{"by":"b"}'))
        ask(knows)
        _, docs = knows.read(ORG, ["project", "key"])
        assert [found and found.body for found in docs] == ["since", "revoked"]

    def test_a_loss_that_was_met_is_not_forgotten_when_others_write_on(
        self, process, server, clock, new, monkeypatch
    ):
        """Who has not seen what was lost goes on, and carries the sequence past what this process saw."""
        now = [0.0]
        monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
        commit(process, doc("project"))
        snapshot = server.snapshot()
        ask(process, reserve(new()))
        server.restore(snapshot)
        with monkeypatch.context() as broken:
            broken.setattr(Client, "adopt", lambda *_: (_ for _ in ()).throw(StoreError("away")))
            assert isinstance(process.apply({ORG: []}, 1.0)[ORG], Lost)
        stranger = Guard(Client(server), clock)
        for _ in range(5):
            ask(stranger)
        now[0] = 1.0
        assert totals(process)["budget"] == (0, 6)

    def test_of_two_ends_the_first_is_told_again(self, process, server, new):
        """I-5: a repeat that said something else changes nothing, after a loss neither."""
        commit(process, doc("project"))
        snapshot = server.snapshot()
        id = new()
        ask(process, reserve(id))
        for cost in (5, 3):
            ask(process, Settle(id, limit(), (0, cost, 0), "{}"))
        server.restore(snapshot)
        ask(process)
        assert totals(process)["budget"] == (5, 0)

    def test_nothing_passes_what_is_to_be_replayed(self, process, server, new, monkeypatch):
        """A late release of a call that was settled would be taken for its end, where its settle was not there yet."""
        now = [0.0]
        monkeypatch.setattr(guards.time, "monotonic", lambda: now[0])
        commit(process, doc("project"))
        snapshot = server.snapshot()
        id = new()
        ask(process, reserve(id))
        ask(process, Settle(id, limit(), (0, 5, 0), "{}"))
        server.restore(snapshot)
        with monkeypatch.context() as broken:
            broken.setattr(
                guards.Guard, "_replay_steps", lambda *_: (_ for _ in ()).throw(StoreError("away"))
            )
            assert isinstance(process.apply({ORG: []}, 1.0)[ORG], Lost)
        late = Settle(id, limit(), NOTHING, "{}", "released")
        answers = process.apply({ORG: [late], "other": []}, 1.0)
        assert isinstance(answers[ORG], Lost)
        assert isinstance(answers["other"], Answer), "which lost nothing"
        now[0] = 1.0
        assert verdicts(ask(process, late)) == ["again"]
        assert totals(process)["budget"] == (5, 0)

    def test_what_is_done_beside_the_calls_notices_a_loss(self, process, server, new):
        """A process in which nobody calls replays too."""
        commit(process, doc("project"))
        snapshot = server.snapshot()
        ask(process, reserve(new()))
        server.restore(snapshot)
        once, lost = server.store.once, [True]

        def finds_out(*arguments: Any, **named: Any) -> str:
            if lost.pop() if lost else False:
                raise process.inner._check(ORG)
            return once(*arguments, **named)

        server.store.once = finds_out
        assert process.once(ORG, "turn", "mine", 1000) == "mine"
        assert totals(server.store)["budget"] == (0, 6)
