"""What networks and servers do to the Redis store: every call ends in time, a batch that is repeated is applied once,
and the next call after the fault is right.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from threading import Thread

import pytest
import redis

from quotaware.core.steps import NOTHING, Answer, Settle
from quotaware.errors import ConfigurationError, Conflict, StoreError
from quotaware.stores.protocol import Change, Store
from quotaware.testing.store_suite.kit import FOREVER, ORG, commit, doc, in_threads, verdicts
from tests import faults
from tests.faults import CutReply, DropReply, Fault, HalfOpen, Proxy, Refuse, Reply, Slow, Stall, proxy
from tests.servers import Server, until
from tests.stores.trips import (
    LIMIT,
    OTHER,
    SLACK,
    asked,
    end,
    hold,
    insisted,
    refused,
    totals,
    tried,
)
from tests.support import check_books


@pytest.fixture
def before(valkey_server: Server) -> Iterator[Proxy]:
    with proxy(valkey_server.port) as found:
        yield found


@pytest.fixture
def store(before: Proxy, opens: Callable[[str], Store]) -> Store:
    found = opens(before.url)
    found.hello()
    return found


@pytest.fixture
def own() -> Iterator[Server]:
    """A server of the test's own, to be stopped and emptied."""
    with Server() as found:
        yield found


FAULTS: dict[str, Fault] = {
    "refused": Refuse(),
    "stalled": Stall(),
    "half open": HalfOpen(),
    "slow": Slow(piece=1, pause=0.1),  # each byte in time, even a shortest reply as a whole not
    "cut in the reply": CutReply(),
    "garbage": faults.GARBAGE,
    "LOADING": faults.LOADING,
    "READONLY": faults.READ_ONLY,
    "OOM": faults.OUT_OF_MEMORY,
    "NOSCRIPT": faults.NO_SCRIPT,
    "MOVED": faults.MOVED,
    "ASK": faults.ASK,
    "BUSY": faults.BUSY,
}
RARER: dict[str, Fault] = {
    "no reply": DropReply(),
    "nil": Reply(b"$-1\r\n"),
    "another type": Reply(b"*2\r\n:1\r\n+OK\r\n"),
    "TRYAGAIN": faults.TRY_AGAIN,
    "CLUSTERDOWN": faults.CLUSTER_DOWN,
    "MASTERDOWN": faults.MASTER_DOWN,
    "NOAUTH": faults.NO_AUTH,
}


def of_faults(*quick: str, never: str = "") -> pytest.MarkDecorator:
    """Each fault; all but the named ones are slow."""
    return pytest.mark.parametrize(
        "fault",
        [
            pytest.param(fault, id=name)
            if name in quick
            else pytest.param(fault, id=f"{name} bounded", marks=pytest.mark.slow)
            for name, fault in {**FAULTS, **RARER}.items()
            if name != never
        ],
    )


class TestEveryFault:
    """I-10: the answer is a `StoreError` in time; the next call after the fault is right; nothing is left over."""

    @of_faults(*FAULTS)
    def test_a_trip_that_meets_it_ends_in_time_and_the_next_is_right(self, store, before, new, fault):
        plans = {}
        ids = [new() for _ in range(4)]
        asked(store, hold(ids[0]))
        before.fail(fault)
        refused(store, hold(ids[1]), end(ids[0]))
        refused(store, hold(ids[2]))
        assert before.met
        before.heal()
        assert verdicts(asked(store, hold(ids[1]), end(ids[0])))[1] in {"done", "again"}
        asked(store, hold(ids[2]), hold(ids[3]))
        assert asked(store, hold(new(), OTHER, 7), org="org_b").totals == {"other": (0, 7)}
        assert totals(store) == (3, 15)
        plans |= dict.fromkeys(ids, LIMIT)
        check_books(store, ORG, plans)

    @of_faults("refused", "stalled", "garbage", "LOADING", "MOVED")
    def test_one_that_has_no_connection_yet_ends_in_time_too(self, before, opens, new, fault):
        """An app starts while its store is away: making one does not connect."""
        before.fail(fault)
        store = opens(before.url)
        refused(store, hold(new()), deadline=0.1)
        with pytest.raises(StoreError):
            store.hello()
        before.heal()
        store.hello()
        asked(store, hold(new()))

    @of_faults("half open", "garbage", never="nil")  # which says of a key that it is not there
    def test_all_else_that_a_store_does_ends_in_time_too(self, store, before, fault):
        commit(store, doc("a"))
        usual, store.deadline = store.deadline, 0.05
        before.fail(fault)
        calls: dict[str, Callable[[], object]] = {
            "hello": store.hello,
            "link": lambda: store.link("d", ORG, "k"),
            "unlink": lambda: store.unlink("d"),
            "find": lambda: store.find("d"),
            "orgs": lambda: store.orgs("", 10),
            "read": lambda: store.read(ORG, ["a"]),
            "children": lambda: store.children(ORG, "node", "", None, "", 10),
            "commit": lambda: store.commit(ORG, Change(1, (doc("b"),))),
            "audit": lambda: store.audit(ORG, 0, 10),
            "adopt": lambda: store.adopt(ORG),
            "records": lambda: store.records(ORG, 0, FOREVER, "", 10),
            "folded": lambda: store.folded(ORG),
            "sums": lambda: store.sums(ORG, "hour", 0, FOREVER),
            "pick": lambda: store.pick(ORG, [("hour", 0, "{}")]),
            "fold": lambda: store.fold(ORG, "", "1-0", []),
            "outbox": lambda: store.outbox(ORG),
            "once": lambda: store.once(ORG, "n", "v", 10),
            "prune": lambda: store.prune(ORG, 10),
            "dump": lambda: list(store.dump(ORG)),
        }
        for name, call in calls.items():
            began = time.monotonic()
            with pytest.raises(StoreError):
                call()
            assert time.monotonic() - began < 0.05 + SLACK, name
        before.heal()
        store.deadline = usual
        assert store.read(ORG, ["b"]) == (1, [None])
        assert store.find("d") is None

    def test_nothing_is_left_of_it_when_the_store_is_closed(self, before, opens, new):
        """F6: no thread and no socket, whatever was met."""
        threads = set(threading.enumerate())
        store = opens(before.url)
        for fault in (*FAULTS.values(), *RARER.values()):
            asked(store, hold(new()))
            before.fail(fault)
            refused(store, hold(new()), deadline=0.05)
            before.heal()
        store.close()
        until(lambda: before.connections == 0, what="the connections' end")
        assert set(threading.enumerate()) <= threads


class TestLostReplies:
    """I-6: applied, and the answer lost: repeated with the same ids, it is applied once."""

    @pytest.mark.parametrize(
        "fault", [CutReply(part) for part in (0.0, 0.1, 0.5, 0.99)] + [DropReply()], ids=str
    )
    def test_a_batch_that_is_repeated_is_applied_once(self, store, before, new, fault):
        ids = [new() for _ in range(40)]
        asked(store, *(hold(id) for id in ids[:20]))
        batch = [*(end(id) for id in ids[:20]), *(hold(id) for id in ids[20:])]
        before.fail(fault, times=2)
        insisted(store, *batch)
        assert before.met == 2
        assert set(verdicts(insisted(store, *batch))) == {"again"}
        assert totals(store) == (60, 100)
        assert len(store.records(ORG, 0, FOREVER, "", 99)) == 20
        check_books(store, ORG, dict.fromkeys(ids, LIMIT))

    @pytest.mark.parametrize("after", range(4))
    def test_a_change_of_the_tree_is_made_once(self, store, before, after):
        """Whoever repeats it finds a conflict, reads, and sees his own change; a look before it may be repeated."""
        assert store.read(ORG, ["a"]) == (0, [None])
        before.fail(DropReply(), times=1, after=after, commands={"EVALSHA", "EVAL", "EXEC"})
        change = Change(0, (doc("a"),))
        with contextlib.suppress(StoreError, Conflict):
            store.commit(ORG, change)
        with pytest.raises(Conflict):
            store.commit(ORG, change)
        assert store.read(ORG, ["a"]) == (1, [doc("a")._replace(rev=1)])

    def test_a_reserve_that_arrives_after_its_release_holds_nothing(self, store, before, new):
        """The network had it, its caller gave up and let it go: it must not hold anything when it arrives."""
        late, other = new(), new()
        asked(store, hold(other))
        before.fail(Stall())
        refused(store, hold(late))
        before.heal()
        assert verdicts(insisted(store, Settle(late, LIMIT, NOTHING, "{}", "released"))) in (
            ["done"],
            ["again"],
        )
        asked(store, end(other))
        for _ in range(20):
            assert totals(store) == (3, 0)
            time.sleep(0.005)

    def test_an_answer_that_comes_late_is_nobody_elses(self, store, before, new):
        """What the next call reads is its own answer."""
        for number in range(5):
            before.fail(Stall())
            refused(store, hold(new(), cost=1))
            before.heal()
            answer = asked(store, hold(new(), OTHER, 1), org="org_b")
            assert answer.totals == {"other": (0, number + 1)}


class TestScripts:
    def test_scripts_that_were_flushed_are_sent_again(self, store, valkey_server, new):
        for number in range(3):
            asked(store, hold(new()))
            valkey_server.command("SCRIPT", "FLUSH", "SYNC")
            rev, _ = store.read(ORG, ())
            store.commit(ORG, Change(rev, (doc(f"n{number}"),)))
            valkey_server.command("SCRIPT", "FLUSH", "SYNC")
            store.outbox(ORG)
        assert totals(store) == (0, 15)

    def test_many_threads_that_miss_the_script_at_once_all_get_through(self, store, valkey_server, new):
        ids = [[new() for _ in range(5)] for _ in range(16)]

        def hammer(number: int) -> None:
            for id in ids[number]:
                if number == 0:
                    valkey_server.command("SCRIPT", "FLUSH", "ASYNC")
                insisted(store, hold(id))

        in_threads(16, hammer)
        assert totals(store) == (0, 16 * 5 * 5)

    def test_a_script_of_somebody_elses_that_does_not_end_keeps_it_from_answering_only(self, own, opens, new):
        """BUSY, from a real server."""
        store = opens(own.url)
        asked(store, hold(new()))
        own.configure("busy-reply-threshold", 20)
        with own.client(timeout=20) as client:

            def run() -> None:
                with contextlib.suppress(redis.ResponseError):  # killed
                    client.eval("while true do end", 0)

            endless = Thread(target=run)
            endless.start()
            try:
                until(lambda: _answers(own, "BUSY"), what="the busy script")
                refused(store, hold(new()))
                refused(store, hold(new()))
            finally:
                own.command("SCRIPT", "KILL")
                endless.join()
        asked(store, hold(new()))
        assert totals(store) in {(0, 10), (0, 15), (0, 20)}


class TestServers:
    def test_a_paused_server_holds_nobody_up(self, own, opens, new):
        store = opens(own.url)
        ids = [new() for _ in range(5)]
        asked(store, *(hold(id) for id in ids[:2]))
        own.pause()
        for _ in range(3):
            refused(store, *(end(id) for id in ids[:2]), hold(ids[2]))
        own.resume()
        insisted(store, *(end(id) for id in ids[:2]), hold(ids[2]))
        assert totals(store) == (6, 5)
        check_books(store, ORG, dict.fromkeys(ids, LIMIT))

    def test_a_replica_takes_nothing(self, valkey_server, own, opens, new):
        """READONLY, from a real server: nothing is told to be done that is not."""
        store = opens(own.url)
        own.command("REPLICAOF", "127.0.0.1", "1")
        refused(store, hold(new()))
        own.command("REPLICAOF", "NO", "ONE")
        asked(store, hold(new()))
        assert totals(store) == (0, 5)

    def test_with_its_memory_full_a_batch_is_taken_whole_or_not_at_all(self, own, opens, new):
        """OOM, from a real server: a settle goes through, or is refused and taken later; nothing is done by half."""
        own.configure("maxmemory-policy", "noeviction")
        store = opens(own.url)
        held, more = [new() for _ in range(10)], [new() for _ in range(10)]
        asked(store, *(hold(id) for id in held))
        own.configure("maxmemory", 100_000)
        refused(store, *(hold(id) for id in more))
        with pytest.raises(StoreError):
            commit(store, doc("a"))
        batches = [[end(held[n]), hold(more[n])] for n in range(10)]
        first = [tried(store, batch) for batch in batches]
        own.configure("maxmemory", 0)
        for batch, answer in zip(batches, first, strict=True):
            told = verdicts(asked(store, *batch))
            assert told == (["again", "again"] if isinstance(answer, Answer) else ["done", "done"])
        assert totals(store) == (30, 50)
        check_books(store, ORG, dict.fromkeys(held + more, LIMIT))

    @pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
    def test_one_that_may_evict_counters_is_refused_at_start(self, own, opens, policy):
        own.configure("maxmemory", "100mb")
        own.configure("maxmemory-policy", policy)
        with pytest.raises(ConfigurationError, match=policy):
            opens(own.url).hello()
        opens(own.url, evict="ok").hello()

    def test_more_threads_than_connections_all_get_through(self, store, before, new):
        """Redis clients raise when their pool is exhausted; 256 at once must not meet that."""
        ids = [new() for _ in range(256)]
        failed: list[object] = []

        def one(number: int) -> None:
            found = store.apply({ORG: [hold(ids[number], cost=1)]}, 10.0)[ORG]
            if not isinstance(found, Answer):
                failed.append(found)

        in_threads(256, one)
        assert failed == []
        assert totals(store) == (0, 256)
        assert before.connections <= 32


def _answers(server: Server, error: str) -> bool:
    """Whether it answers with this error."""
    try:
        server.command("GET", "anything")
    except redis.RedisError as met:
        return error in str(met)
    return False
