"""A server that comes back empty or older, or whose place a replica takes: noticed by everybody who saw the newer one,
never read as nothing spent, and gone on with only when that was decided.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from quotaware.core.steps import REV_STEP, Event, Extend, Peek, Settle
from quotaware.errors import Lost, StoreError
from quotaware.stores import guard
from quotaware.stores.protocol import CLOSED_MS, Change, Store
from quotaware.testing.store_suite.kit import ORG, commit, doc, verdicts
from tests.faults import Proxy, proxy
from tests.servers import (
    MASTER,
    Server,
    cluster,
    in_step,
    primary_and_replica,
    primary_of,
    promote,
    sentinel_over,
    until,
)
from tests.stores.trips import LIMIT, OTHER, asked, end, hold, insisted, totals, tried
from tests.support import check_books


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as found:
        yield found


@pytest.fixture
def store(server: Server, opens: Callable[[str], Store]) -> Store:
    return opens(server.url)


def lost(store: Store, *ops: object) -> Lost:
    """What a store says whose server lacks what it saw."""
    found = tried(store, ops or [Peek(LIMIT)])  # type: ignore[arg-type]
    assert isinstance(found, Lost), found
    return found


class TestEmptied:
    """I-11: a server that comes back with nothing."""

    def test_it_is_noticed_by_every_call_and_nothing_is_admitted(self, store, server, new):
        commit(store, doc("a"))
        asked(store, hold(new()))
        server.restart()
        lost(store, hold(new()))
        calls: list[Callable[[], object]] = [
            lambda: store.read(ORG, ["a"]),
            lambda: store.children(ORG, "node", "", None, "", 10),
            lambda: store.commit(ORG, Change(0, (doc("a"),))),
            lambda: store.commit(ORG, Change(1, (doc("a"),))),
        ]
        for call in calls:
            with pytest.raises(Lost):
                call()
        lost(store, hold(new(), force=True))
        assert server.command("DBSIZE") == 0

    def test_without_documents_it_stays_closed_until_an_operator_speaks(self, store, server, clock, new):
        commit(store, doc("a"))
        id = new()
        asked(store, hold(id))
        server.restart()
        for _ in range(2):
            assert store.adopt(ORG) is None
            lost(store, hold(new()))
        assert store.adopt(ORG, empty=True) is not None
        assert verdicts(asked(store, hold(new()))) == ["closed"]
        assert verdicts(asked(store, Settle(id, LIMIT, (0, 4, 0), "{}", force=True))) == ["done"]
        clock.advance(CLOSED_MS)
        rev = commit(store, doc("a"))
        assert rev > REV_STEP
        assert verdicts(asked(store, hold(new(), replace(LIMIT, rev=rev)))) == ["done"]
        assert totals(store) == (4, 5)

    def test_an_organization_that_nobody_saw_before_begins(self, store, server, new):
        """Another organization's loss is not this one's, and a process that never saw it cannot know."""
        asked(store, hold(new()))
        server.restart()
        assert asked(store, hold(new(), OTHER, 2), org="org_b").totals == {"other": (0, 2)}
        lost(store)

    def test_keys_that_are_flushed_are_a_loss_too(self, store, server, new):
        commit(store, doc("a"))
        server.command("FLUSHALL")
        lost(store, hold(new()))
        with pytest.raises(Lost):
            store.read(ORG, ["a"])


class TestOlder:
    """I-11: a server that comes back with what it had some time ago."""

    @pytest.fixture
    def earlier(self, store, server, new) -> dict[str, str]:
        """One reservation that the snapshot has, one settle and one more that it lacks."""
        commit(store, doc("a", body="1"))
        ids = {"kept": new(), "lost": new()}
        asked(store, hold(ids["kept"]))
        snapshot = server.snapshot()
        commit(store, doc("a", body="2"))
        asked(store, end(ids["kept"]), hold(ids["lost"]))
        server.restart(snapshot)
        return ids

    def test_it_is_noticed_and_nothing_is_written(self, store, server, earlier, new):
        size = server.command("DBSIZE")
        lost(store, hold(new()), end(earlier["kept"]))
        lost(store, Extend(earlier["lost"], LIMIT, 1000))
        with pytest.raises(Lost):
            store.read(ORG, ["a"])
        with pytest.raises(Lost):
            commit(store, doc("a"))
        assert server.command("DBSIZE") == size

    def test_it_goes_on_when_it_was_adopted_and_what_a_process_knows_is_replayed(
        self, store, clock, earlier, new
    ):
        """The revision is past every one that was given out; no reserve for ten seconds; forced ones are taken."""
        assert store.adopt(ORG) == 1
        rev, (found,) = store.read(ORG, ["a"])
        assert found is not None
        assert (rev, found.body) == (1 + REV_STEP, "1")
        plan = replace(LIMIT, rev=rev)
        replay = [hold(earlier["lost"], plan, force=True), end(earlier["kept"], plan)]
        assert verdicts(asked(store, hold(new(), plan), *replay)) == ["closed", "done", "done"]
        clock.advance(CLOSED_MS - 1)
        assert verdicts(asked(store, hold(new(), plan), *replay)) == ["closed", "again", "again"]
        clock.advance(1)
        late = new()
        assert verdicts(asked(store, hold(late, plan))) == ["done"]
        assert totals(store) == (3, 10)
        check_books(store, ORG, dict.fromkeys([*earlier.values(), late], LIMIT))

    def test_it_is_told_of_once_though_one_process_could_not_replay_at_first(
        self, server, opens, clock, new, monkeypatch
    ):
        """There is nothing to adopt any more then, and the store answers the revision that it is at."""
        monkeypatch.setattr(guard, "PROBE_S", 0.0)
        first, second = (guard.Guard(opens(server.url), clock) for _ in range(2))
        commit(first, doc("a"))
        snapshot = server.snapshot()
        for process in (first, second):
            asked(process, hold(new()))
        server.restart(snapshot)
        with monkeypatch.context() as broken:
            broken.setattr(first, "_replay_steps", lambda org: (_ for _ in ()).throw(StoreError("away")))
            assert isinstance(tried(first, [Peek(LIMIT)]), Lost)
        for process in (second, first):
            asked(process, Peek(LIMIT))
        (told,) = second.outbox(ORG)
        assert json.loads(told.body) == {"adopted": ORG, "rev": 1}

    def test_what_was_read_in_the_time_that_is_lost_lets_nobody_in(self, store, clock, earlier, new):
        """Its revision is younger than all the documents that are there, and its policy is not among them."""
        lost_time = replace(LIMIT, rev=2, deps=("a",))
        assert store.adopt(ORG) == 1
        clock.advance(CLOSED_MS)
        looked = asked(store, hold(new(), lost_time), hold(new(), replace(LIMIT, rev=1, deps=("a",))))
        assert [(result.verdict, result.stale) for result in looked.results] == [
            ("stale", ("a",)),
            ("done", ()),
        ]

    def test_another_process_that_saw_the_newer_one_notices_the_new_epoch(self, server, opens, clock, new):
        """The first one adopts; for the other nothing changes but that it knows: no second step of the revision, no
        longer wait; both replay, and each thing is there once.
        """
        one, other = opens(server.url), opens(server.url)
        commit(one, doc("a"))
        snapshot = server.snapshot()
        ids = [new(), new()]
        asked(one, hold(ids[0]))
        asked(other, hold(ids[1]))
        server.restart(snapshot)
        lost(one)
        lost(other)
        assert one.adopt(ORG) == 1
        clock.advance(CLOSED_MS - 1)
        lost(other, hold(new()))
        assert other.adopt(ORG) == 1
        assert one.read(ORG, ()) == other.read(ORG, ()) == (1 + REV_STEP, [])
        for store in (one, other):
            asked(store, *(hold(id, force=True) for id in ids))
        clock.advance(1)
        plan = replace(LIMIT, rev=1 + REV_STEP)
        assert verdicts(asked(other, hold(new(), plan))) == ["done"]
        assert totals(one) == totals(other) == (0, 15)

    def test_of_two_that_adopt_at_once_one_makes_the_epoch(self, server, opens, clock, new):
        stores = [opens(server.url) for _ in range(4)]
        commit(stores[0], doc("a"))
        snapshot = server.snapshot()
        for store in stores:
            asked(store, hold(new()))
        server.restart(snapshot)
        for store in stores:
            lost(store)
        assert [store.adopt(ORG) for store in stores] == [1] * 4
        assert {store.read(ORG, ())[0] for store in stores} == {1 + REV_STEP}

    def test_what_was_seen_of_a_fresh_store_is_taken_as_it_is(self, server, opens, earlier, new):
        """A process that saw nothing newer cannot know; it works with what is there (design, rule 7)."""
        fresh = opens(server.url)
        assert fresh.read(ORG, ["a"])[0] == 1
        assert totals(fresh) == (0, 5)

    def test_it_is_noticed_though_others_wrote_as_much_as_was_lost(self, store, server, opens, earlier, new):
        """They saw nothing newer, and carried the sequence past what this process knows."""
        stranger = opens(server.url)
        for _ in range(5):
            asked(stranger, hold(new()))
        with pytest.raises(Lost, match="without this process"):
            store.read(ORG, ["a"])
        lost(store)
        assert store.adopt(ORG) == 1
        with pytest.raises(Lost, match="went on"):
            stranger.read(ORG, ["a"])

    def test_a_write_of_any_kind_is_missed(self, server, opens, new):
        """Of the tree and beside the calls as of a batch."""
        writes: list[Callable[[Store], object]] = [
            lambda store: asked(store, hold(new())),
            lambda store: commit(store, doc("b")),
            lambda store: store.outbox(ORG, put=(Event("e", 1, "{}"),)),
            lambda store: store.once(ORG, "turn", "mine", 1000),
        ]
        for write in writes:
            store, stranger = opens(server.url), opens(server.url)
            commit(store, doc("a"))
            snapshot = server.snapshot()
            write(store)
            server.restart(snapshot)
            for _ in range(3):
                commit(stranger, doc("c"))
            lost(store)
            server.command("FLUSHALL")

    def test_it_can_be_lost_once_more(self, store, server, clock, earlier, new):
        store.adopt(ORG)
        clock.advance(CLOSED_MS)
        snapshot = server.snapshot()
        commit(store, doc("b"))
        server.restart(snapshot)
        lost(store)
        assert store.adopt(ORG) == 1 + REV_STEP
        assert store.read(ORG, ["b"]) == (1 + 2 * REV_STEP, [None])


class TestReplicas:
    """The primary is killed and a replica takes its place."""

    @pytest.fixture
    def pair(self) -> Iterator[tuple[Server, Server, Proxy]]:
        """Primary, replica, and the address under which an app knows whichever of the two is the primary."""
        with primary_and_replica() as (primary, replica), proxy(primary.port) as address:
            yield primary, replica, address

    def test_with_a_replica_that_had_everything_nothing_is_lost(self, pair, opens, new):
        primary, replica, address = pair
        store = opens(address.url)
        commit(store, doc("a"))
        ids = [new() for _ in range(6)]
        asked(store, *(hold(id) for id in ids[:4]))
        asked(store, end(ids[0]))
        in_step(replica, primary)
        primary.kill()
        assert isinstance(tried(store, [hold(ids[4])]), StoreError)
        promote(replica)
        address.lead(replica.port)
        assert verdicts(insisted(store, hold(ids[4]), end(ids[1]))) == ["done", "done"]
        assert totals(store) == (6, 15)
        check_books(store, ORG, dict.fromkeys(ids, LIMIT))

    def test_with_a_replica_that_lacked_the_last_writes_the_loss_is_noticed(self, pair, opens, clock, new):
        """Replication is asynchronous; what the primary took last is not on its heir."""
        primary, replica, address = pair
        store = opens(address.url)
        commit(store, doc("a"))
        asked(store, hold(new()))
        in_step(replica, primary)
        promote(replica)
        missing = new()
        asked(store, hold(missing))
        primary.kill()
        address.lead(replica.port)
        lost(store, hold(new()))
        assert store.adopt(ORG) == 1
        assert verdicts(asked(store, hold(missing, force=True))) == ["done"]
        clock.advance(CLOSED_MS)
        assert totals(store) == (0, 10)

    @pytest.mark.slow
    def test_a_sentinel_leads_to_the_new_primary_bounded(self, opens, new):
        """The primary is killed; calls end in time meanwhile, and go on with nothing lost."""
        with primary_and_replica() as (primary, replica), sentinel_over(primary) as sentinel:
            store = opens(f"redis+sentinel://{sentinel.address}/{MASTER}/0")
            commit(store, doc("a"))
            ids = [new() for _ in range(6)]
            asked(store, *(hold(id) for id in ids[:3]))
            in_step(replica, primary)
            primary.kill()
            assert isinstance(tried(store, [hold(ids[3]), end(ids[0])]), StoreError)
            until(lambda: primary_of(sentinel) == replica.port, what="the failover")
            assert verdicts(insisted(store, hold(ids[3]), end(ids[0]))) == ["done", "done"]
            assert totals(store) == (3, 15)
            check_books(store, ORG, dict.fromkeys(ids, LIMIT))

    @pytest.mark.slow
    def test_in_a_cluster_a_replica_takes_over_and_others_never_notice_bounded(self, opens, new):
        with cluster(replicas=True) as found:
            store = opens(found.url)
            commit(store, doc("a"))
            slots = _slots_of(found, store)
            mine = slots[ORG]
            other = next(org for org, server in slots.items() if server is not mine)
            plan = replace(OTHER, org=other)
            first, second = new(), new()
            asked(store, hold(first))
            asked(store, hold(new(), plan, 1), org=other)
            in_step(found.replicas[mine], mine)
            mine.kill()
            assert isinstance(tried(store, [hold(second)]), StoreError)
            asked(store, hold(new(), plan, 1), org=other)
            until(lambda: _leads(found.replicas[mine]), what="the failover")
            assert verdicts(insisted(store, hold(second), end(first))) == ["done", "done"]
            assert totals(store) == (3, 5)


def _leads(server: Server) -> bool:
    return bool(server.command("INFO", "replication")["role"] == "master")


def _slots_of(found, store: Store) -> dict[str, Server]:
    """Organizations, and the primary that each one's slot is on."""
    from redis.crc import key_slot

    return {org: found.owner(key_slot(org.encode())) for org in (ORG, *(f"org_{n}" for n in range(20)))}
