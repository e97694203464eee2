"""The SQLite store: what every store does, the same as memory does it, and what it forgets when."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotaware.core.steps import (
    CONCURRENCY,
    COST,
    NOTHING,
    REMEMBER_MS,
    REQUESTS,
    TOKENS,
    Counter,
    Extend,
    Mark,
    Peek,
    Plan,
    Reserve,
    Settle,
    Sum,
)
from quotaware.errors import ConfigurationError, Conflict, StoreError
from quotaware.stores.memory import MemoryStore
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Change, Item
from quotaware.stores.sqlite import SQLiteStore, books
from quotaware.stores.sqlite.plans import Plans
from quotaware.stores.sqlite.store import PLAN_MS
from quotaware.testing.store_suite import StoreSuite
from quotaware.testing.store_suite.kit import (
    DAY,
    FOREVER,
    NOON,
    ORG,
    FakeClock,
    ask,
    budget,
    commit,
    doc,
    ids,
    in_threads,
    plan,
    verdicts,
)
from tests.stores import differential


def opening(directory: Path, clock: FakeClock) -> Iterator[Callable[..., SQLiteStore]]:
    """Opens stores, on one file where they are told no other."""
    made: list[SQLiteStore] = []

    def open_one(name: str = "quota.db", **options: Any) -> SQLiteStore:
        made.append(SQLiteStore(str(directory / name), clock, **options))
        made[-1].deadline = 10.0  # the machine may be busy with other things
        return made[-1]

    yield open_one
    for store in made:
        store.close()


def backup_of(path: Path, to: Path) -> None:
    """Writes a file anew with what another has in it."""
    to.unlink(missing_ok=True)
    here, there = sqlite3.connect(path), sqlite3.connect(to)
    here.backup(there)
    here.close()
    there.close()


@pytest.fixture
def opened(tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., SQLiteStore]]:
    yield from opening(tmp_path, clock)


@pytest.fixture
def store(opened: Callable[..., SQLiteStore]) -> SQLiteStore:
    return opened()


@pytest.fixture
def other_store(opened: Callable[..., SQLiteStore]) -> SQLiteStore:
    return opened("other.db")


@pytest.fixture
def new(clock: FakeClock) -> Callable[[], str]:
    return ids(clock)


class SQLiteSuite(StoreSuite):
    @pytest.fixture
    def opened(self, tmp_path: Path, clock: FakeClock) -> Iterator[Callable[..., SQLiteStore]]:
        yield from opening(tmp_path, clock)

    @pytest.fixture
    def other_store(self, opened: Callable[..., SQLiteStore]) -> SQLiteStore:
        return opened("other.db")

    @pytest.fixture
    def same_store(self, opened: Callable[..., SQLiteStore]) -> SQLiteStore:
        return opened()

    @pytest.fixture
    def snapshot(self, tmp_path: Path, store: Any) -> Callable[[], Callable[[], None]]:
        def take() -> Callable[[], None]:
            store.hello()
            backup_of(tmp_path / "quota.db", tmp_path / "backup.db")

            def put_back() -> None:
                backup_of(tmp_path / "backup.db", tmp_path / "again.db")
                os.replace(tmp_path / "again.db", tmp_path / "quota.db")

            return put_back

        return take


class TestSQLiteStore(SQLiteSuite):
    @pytest.fixture
    def store(self, opened: Callable[..., SQLiteStore]) -> SQLiteStore:
        return opened()


class Turns:
    """Several stores on one file: each call goes to another, as if each were another process."""

    def __init__(self, *stores: SQLiteStore) -> None:
        self._stores = stores
        self._chance = Random(1)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._chance.choice(self._stores), name)

    def close(self) -> None:
        for store in self._stores:
            store.close()


class ForwardClock(FakeClock):
    """Stands still where it is told to go back: a process knows only of the time that was written."""

    def advance(self, ms: int) -> None:
        super().advance(max(0, ms))


@pytest.mark.slow
class TestThreeBesideEachOther(SQLiteSuite):
    """What one process keeps of the file is read anew where another has written."""

    @pytest.fixture
    def store(self, opened: Callable[..., SQLiteStore]) -> Turns:
        return Turns(*(opened(durability="relaxed") for _ in range(3)))

    @pytest.fixture
    def snapshot(self) -> None:
        """Each of the three notices a loss for itself."""


# as memory does it


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 1 << 32))
def test_it_answers_as_memory_does(tmp_path_factory, seed):
    same(tmp_path_factory, seed, 120)


@pytest.mark.parametrize("seed", range(3))
def test_three_beside_each_other_answer_as_memory_does(tmp_path_factory, seed):
    same_in_turns(tmp_path_factory, seed, 150)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20))
def test_it_answers_as_memory_does_for_long_bounded(tmp_path_factory, seed):
    same(tmp_path_factory, seed, 600)
    same_in_turns(tmp_path_factory, seed, 300)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(20, 320))
def test_it_answers_as_memory_does_for_very_long(tmp_path_factory, seed):
    same(tmp_path_factory, seed, 1500)


def same(places: pytest.TempPathFactory, seed: int, steps: int) -> None:
    clock = FakeClock()
    store = SQLiteStore(str(places.mktemp("same") / "quota.db"), clock, durability="relaxed")
    found = differential.run(seed, steps, MemoryStore(clock), store, clock)
    assert found.keys() >= {"done", "denied", "again", "unknown"}
    store.close()


def same_in_turns(places: pytest.TempPathFactory, seed: int, steps: int) -> None:
    clock = ForwardClock()
    path = str(places.mktemp("turns") / "quota.db")
    stores = [SQLiteStore(path, clock, durability="relaxed") for _ in range(3)]
    differential.run(seed, steps, MemoryStore(clock), Turns(*stores), clock)  # type: ignore[arg-type]
    for store in stores:
        store.close()


# opening


def test_an_import_of_quotaware_does_not_load_sqlite3():
    code = "import sys, quotaware; sys.exit('sqlite3' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_it_is_opened_by_url(tmp_path, clock, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for url, path in (
        ("sqlite:///quota.db", tmp_path / "quota.db"),
        (f"sqlite:///{tmp_path}/a%20b.db?durability=relaxed&records_days=90&network=ok", tmp_path / "a b.db"),
        ("SQLite:///forever.db?records_days=none", tmp_path / "forever.db"),
    ):
        store = open_store(url, clock)
        assert not path.exists(), "it does not connect before it is used"
        assert store.hello() == NOON
        assert path.exists()
        assert store.lane("org_a") == store.lane("org_b") is not None
        store.close()


@pytest.mark.parametrize(
    ("url", "field", "way_out"),
    [
        ("sqlite://quota.db", "store", "sqlite:///relative/path"),
        ("sqlite:quota.db", "store", "sqlite:////absolute/path"),
        ("sqlite:///", "store", "sqlite:///relative/path"),
        ("sqlite:///:memory:", "store", "memory://"),
        ("sqlite:///a.db?cache=1", "store", "durability, network, records_days"),
        ("sqlite:///a.db?durability=none", "durability", '"commit" nor "relaxed"'),
        ("sqlite:///a.db?records_days=0", "records_days", "None to keep them for ever"),
        ("sqlite:///a.db?records_days=-3", "records_days", "1 or more"),
        ("sqlite:///a.db?records_days=", "records_days", "1 or more"),
        ("sqlite:///a.db?network=yes", "network", '"ok"'),
    ],
)
def test_what_cannot_be_is_said_at_once(clock, url, field, way_out):
    with pytest.raises(ConfigurationError, match=way_out) as found:
        open_store(url, clock)
    assert found.value.field == field


@pytest.mark.parametrize("path", ["", ":memory:", "a\0b"])
def test_a_path_that_is_no_file_is_refused(path):
    with pytest.raises(ConfigurationError, match="memory://"):
        SQLiteStore(path)


def test_a_directory_that_the_process_leaves_does_not_matter(tmp_path, clock, monkeypatch):
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore("quota.db", clock)
    monkeypatch.chdir("/")
    store.hello()
    assert (tmp_path / "quota.db").exists()
    store.close()


@pytest.mark.parametrize(("durability", "level"), [("commit", 2), ("relaxed", 1)])
def test_durability_is_the_level_at_which_the_log_is_synced(opened, durability, level):
    store = opened(durability=durability)
    store.hello()
    connection = store._file._connection
    assert connection.execute("PRAGMA synchronous").fetchone() == (level,)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert connection.execute("PRAGMA busy_timeout").fetchone() == (0,)


# what is kept in the file and in the process


def test_all_is_there_after_a_restart(opened, clock, new):
    """Open reservations, claims, thresholds that fired, records, the time."""
    first = opened()
    limit = budget(10, marks=(Mark("half", 5),))
    held, waits = new(), new()
    ask(first, Reserve(held, limit, (0, 6, 0), (0, 2, 0), 60_000, '{"model":"m"}'))
    ask(first, Settle(held, limit, (0, 6, 0), "{}"))
    held, younger = new(), new()
    ask(first, Reserve(held, limit, (0, 4, 0), NOTHING, 60_000, ""))
    ask(first, Reserve(waits, limit, (0, 3, 0), NOTHING, 60_000, "", wait=True))
    first.close()
    clock.advance(-1000)
    second = opened()
    answer = ask(
        second,
        Settle(held, limit, (0, 1, 0), ""),
        Reserve(younger, limit, (0, 2, 0), NOTHING, 60_000, ""),
        Reserve(waits, limit, (0, 3, 0), NOTHING, 60_000, "", wait=True),
    )
    assert answer.now == NOON
    assert verdicts(answer) == ["done", "denied", "done"], "the older one's claim stands"
    assert answer.events == 0
    assert len(second.outbox(ORG)) == 1
    assert len(second.records(ORG, 0, FOREVER, "", 9)) == 2


def test_two_beside_each_other_see_what_the_other_did(opened, new):
    """A reservation of one is settled by the other, extended by the first, told twice by both."""
    here, there = opened(), opened()
    limit = budget(10)
    for one, other in ((here, there), (there, here)):
        id, held = new(), new()
        assert verdicts(ask(one, Reserve(id, limit, (0, 4, 0), NOTHING, 60_000, ""))) == ["done"]
        assert verdicts(ask(other, Reserve(id, limit, (0, 4, 0), NOTHING, 60_000, ""))) == ["again"]
        assert verdicts(ask(other, Settle(id, limit, (0, 1, 0), ""))) == ["done"]
        assert verdicts(ask(one, Settle(id, limit, (0, 1, 0), ""))) == ["again"]
        assert verdicts(ask(one, Extend(id, limit, 60_000))) == ["ended"]
        assert verdicts(ask(other, Reserve(held, limit, (0, 5, 0), NOTHING, 60_000, ""))) == ["done"]
        answer = ask(one, Reserve(new(), limit, (0, 5, 0), NOTHING, 60_000, ""), Peek(limit))
        assert verdicts(answer) == ["denied", "done"]
        ask(one, Settle(held, limit, NOTHING, "", "released"))
        assert ask(other, Peek(limit)).totals == ask(one, Peek(limit)).totals
    assert ask(here, Peek(limit)).totals == {"budget": (2, 0)}


def test_a_change_of_one_makes_the_others_calls_stale_at_once(opened, new):
    """I-18: and only those that rest on what changed."""
    here, there = opened(), opened()
    commit(here, doc("a"), doc("b"))
    plans = {id: plan((Counter(id, 10), COST), rev=1, deps=(id,)) for id in ("a", "b")}
    calls = [Reserve(new(), plans[id], (0, 1, 0), NOTHING, 60_000, "") for id in ("a", "b")]
    assert verdicts(ask(there, *calls)) == ["done", "done"]
    commit(here, doc("a", body='{"disabled":true}'))
    answer = ask(there, *(Reserve(new(), plans[id], (0, 1, 0), NOTHING, 60_000, "") for id in ("a", "b")))
    assert [result.stale for result in answer.results] == [("a",), ()]


def test_while_nobody_else_writes_counters_are_not_read_again(opened, new):
    """And while somebody else writes another organization."""
    here, there = opened(), opened()
    limit = budget(1000)
    ask(here, Reserve(new(), limit, (0, 1, 0), NOTHING, 60_000, ""))
    told: list[str] = []
    here._file._connection.set_trace_callback(told.append)
    ask(there, Peek(plan(*limit.lines, org="org_b")), org="org_b")
    commit(there, doc("root"), org="org_b")
    ask(here, Reserve(new(), limit, (0, 1, 0), NOTHING, 60_000, ""))
    assert not [statement for statement in told if "FROM counter" in statement]
    ask(there, Reserve(new(), limit, (0, 1, 0), NOTHING, 60_000, ""))
    assert ask(here, Peek(limit)).totals == {"budget": (0, 3)}
    assert [statement for statement in told if "FROM counter" in statement]


def test_a_refusal_and_a_look_write_nothing(store, new):
    limit = budget(1)
    ask(store, Reserve(new(), limit, (0, 1, 0), NOTHING, 60_000, ""))
    changes = store._file._connection.total_changes
    for _ in range(3):
        ask(store, Reserve(new(), limit, (0, 1, 0), NOTHING, 60_000, ""), Peek(limit))
        ask(store)
    assert store._file._connection.total_changes == changes


def test_time_that_was_told_and_not_written_does_not_run_back(store, clock, new):
    """I-13: a look moves nothing; the time that it told stands, also when what is kept of the organization is not."""
    commit(store, doc("a"))
    clock.advance(5000)
    told = ask(store, Peek(budget(1))).now
    clock.advance(-3000)
    with pytest.raises(Conflict):
        store.commit(ORG, Change(0, (doc("a"),)))
    assert ask(store, Peek(budget(1))).now == told
    assert store.once(ORG, "sender", "me", 10) == "me"
    clock.advance(2000)
    assert store.once(ORG, "sender", "you", 10) == "me"


def test_what_the_process_keeps_is_bounded(opened, new, monkeypatch):
    """I-27: 3,000 counters of one organization and 300 organizations pass through a room of 500."""
    monkeypatch.setattr(books, "CACHED", 500)
    store = opened(durability="relaxed")
    for start in range(0, 3000, 100):
        plans = [plan((Counter(f"user{number}", 9), COST)) for number in range(start, start + 100)]
        ask(store, *(Reserve(new(), own, (0, 1, 0), NOTHING, 60_000, "") for own in plans))
        assert store._books._size <= 500
    for number in range(300):
        ask(store, Reserve(new(), budget(9), (0, 1, 0), NOTHING, 60_000, ""), org=f"org_{number}")
    kept = store._books._known.values()
    assert store._books._size == sum(state.size for state in kept) <= 500
    assert len(store._books._told) <= 500
    assert ask(store, Peek(plan((Counter("user7", 9), COST)))).totals == {"user7": (0, 1)}


def test_plans_that_the_process_keeps_are_bounded(monkeypatch):
    monkeypatch.setattr("quotaware.stores.sqlite.plans.CACHED", 10)
    plans = Plans()
    digests = {plans.digest(budget(cap)) for cap in range(100)}
    assert len(digests) == 100
    assert len(plans._digests) <= 10
    assert len(plans._plans) <= 10


def test_many_reservations_under_one_plan_keep_it_once(store, clock, new):
    limit = budget(1000)
    called = [new() for _ in range(100)]
    ask(store, *(Reserve(id, limit, (0, 1, 0), NOTHING, 10, "") for id in called))
    with store._file.read(1.0) as sql:
        assert sql.execute("SELECT count(*) FROM plan").fetchone() == (1,)
    clock.advance(10)
    assert ask(store).due == [(id, limit) for id in sorted(called)[:32]]


def test_a_step_that_cannot_be_understood_undoes_its_batch(store, new):
    """Nothing of the trip is half done, and what the process keeps is right again afterwards."""
    limit = budget(10)
    ask(store, Reserve(new(), limit, (0, 1, 0), NOTHING, 60_000, ""))
    nonsense = Settle("no hex digits at all", limit, NOTHING, "", force=True)
    with pytest.raises(ValueError, match="invalid literal"):
        ask(store, Reserve(new(), limit, (0, 1, 0), NOTHING, 60_000, ""), nonsense)
    assert ask(store, Peek(limit)).totals == {"budget": (0, 1)}


def test_loading_is_all_or_nothing(store, other_store, new):
    limit = budget(10)
    commit(store, doc("root"))
    ask(store, Reserve(new(), limit, (0, 1, 0), NOTHING, 60_000, ""))
    with pytest.raises(StoreError, match="'weather' is no table"):
        other_store.load(ORG, [*store.dump(ORG), Item("weather", "today", '"fine"')])
    assert other_store.orgs("", 9) == []
    other_store.load(ORG, list(store.dump(ORG)))
    assert other_store.orgs("", 9) == [ORG]


def test_a_dump_of_many_pages_is_whole(store, other_store, new, monkeypatch):
    monkeypatch.setattr("quotaware.stores.sqlite.moving.PAGE", 7)
    limit = budget(1000)
    called = [new() for _ in range(50)]
    ask(store, *(Reserve(id, limit, (0, 1, 0), NOTHING, 60_000, "") for id in called))
    ask(store, *(Settle(id, limit, (0, 1, 0), "") for id in called[:30]))
    commit(store, *(doc(f"n{number}") for number in range(20)))
    store.fold(
        ORG, "", "1-0", [Sum(cube, number, "{}", "{}", FOREVER) for cube in "ab" for number in range(9)]
    )
    rows = list(store.dump(ORG))
    tables = [item.table for item in rows]
    assert {name: tables.count(name) for name in ("open", "ended", "record", "doc", "sum")} == {
        "open": 20,
        "ended": 30,
        "record": 30,
        "doc": 20,
        "sum": 18,
    }
    other_store.load(ORG, rows)
    assert sorted(other_store.dump(ORG)) == sorted(rows)


# what is forgotten


def rows_of(store: SQLiteStore, table: str) -> int:
    with store._file.read(1.0) as sql:
        return int(sql.execute(f"SELECT count(*) FROM {table}").fetchone()[0])


def call(store: SQLiteStore, id: str, limit: Plan) -> None:
    ask(store, Reserve(id, limit, (1, 1, 1), NOTHING, 60_000, ""), Settle(id, limit, (1, 1, 0), ""))


def test_counters_are_pruned_when_their_windows_are_over(store, clock, new):
    until = NOON + DAY
    lines = {
        "life": (Counter("life", 99), COST),
        "day": (Counter("day", 99, since=0, until=until, keep=until + DAY), COST),
        "minute": (Counter("minute", 99, span=60_000), TOKENS),
        "calls": (Counter("calls", 99, span=60_000), REQUESTS),
        "slots": (Counter("slots", 99, keep=-1), CONCURRENCY),
    }
    long = new()
    ask(store, Reserve(long, plan(lines["slots"]), (0, 0, 1), NOTHING, 9 * DAY, ""))
    call(store, new(), plan(*lines.values()))
    looked = plan(*lines.values())

    def left() -> set[str]:
        while store.prune(ORG, 1):
            pass
        return {item.key for item in store.dump(ORG) if item.table == "counter"}

    assert left() == set(lines)
    clock.advance(60_000)
    assert left() == {"life", "day", "slots"}
    ask(store, Settle(long, plan(lines["slots"]), NOTHING, ""))
    assert left() == {"life", "day"}
    clock.now = until + DAY - 1
    assert left() == {"life", "day"}
    clock.advance(1)
    assert left() == {"life"}
    clock.advance(999 * DAY)
    assert left() == {"life"}
    assert ask(store, Peek(looked)).totals["life"] == (1, 0)


def test_a_counter_that_only_a_claim_made_is_pruned(store, clock, new):
    """A waiter that died without a word leaves nothing behind."""
    shared, own = (Counter("shared", 1, keep=-1), CONCURRENCY), (Counter("own", 5, keep=-1), CONCURRENCY)
    ask(store, Reserve(new(), plan(shared), (0, 0, 1), NOTHING, 600_000, ""))
    ask(store, Reserve(new(), plan(shared, own), (0, 0, 1), NOTHING, 600_000, "", wait=True))
    assert store.prune(ORG, 99) == 0
    clock.advance(1000)
    assert store.prune(ORG, 99) == 1
    assert {item.key for item in store.dump(ORG) if item.table == "counter"} == {"shared"}


def test_what_was_pruned_begins_anew(store, clock, new):
    rate = plan((Counter("tokens", 3, span=1000), TOKENS))
    call(store, new(), rate)
    clock.advance(1000)
    assert store.prune(ORG, 99) == 1
    assert ask(store, Peek(rate)).totals == {"tokens": (0, 0)}
    call(store, new(), rate)
    assert ask(store, Peek(rate)).totals == {"tokens": (1, 0)}


def test_ended_reservations_are_pruned_when_their_ids_are_refused(store, clock, new):
    """Exactly once for ever: what is not remembered any more is told to be too old."""
    limit = budget(99)
    called, long = [new() for _ in range(5)], new()
    for id in called:
        call(store, id, limit)
    ask(store, Reserve(long, limit, (0, 1, 0), NOTHING, 9 * DAY, ""))
    clock.advance(REMEMBER_MS)
    assert store.prune(ORG, 99) == 0
    assert verdicts(ask(store, Settle(called[0], limit, (0, 9, 0), "", force=True))) == ["again"]
    clock.advance(1)
    assert [store.prune(ORG, 2) for _ in range(4)] == [2, 2, 1, 0]
    answer = ask(store, *(Settle(id, limit, (0, 9, 0), "", force=True) for id in called))
    assert verdicts(answer) == ["old"] * 5
    assert verdicts(ask(store, Settle(long, limit, (0, 1, 0), ""))) == ["done"]


def test_records_are_pruned_when_they_are_in_the_sums_and_their_days_are_over(opened, clock, new):
    kept, forever = opened(records_days=3), opened("forever.db", records_days=None)
    for store in (kept, forever):
        for _ in range(4):
            call(store, new(), budget(99))
        at = [position for position, _ in store.records(ORG, 0, FOREVER, "", 9)]
        store.fold(ORG, "", at[2], [])
    clock.advance(3 * DAY)
    assert all(store.prune(ORG, 99) == 4 for store in (kept, forever)), "the ends of reservations"
    assert rows_of(kept, "record") == 4
    clock.advance(1)
    assert [kept.prune(ORG, 2) for _ in range(3)] == [2, 1, 0]
    assert [position for position, _ in kept.records(ORG, 0, FOREVER, "", 9)] == at[3:], "not in the sums yet"
    assert forever.prune(ORG, 99) == 0
    assert rows_of(forever, "record") == 4


def test_sums_are_pruned_when_their_time_is_over(store, clock):
    store.fold(ORG, "", "1-0", [Sum("hour", number, "{}", "{}", NOON + number) for number in range(4)])
    assert store.prune(ORG, 99) == 1
    clock.advance(2)
    assert [store.prune(ORG, 1) for _ in range(3)] == [1, 1, 0]
    assert [each.bucket for each in store.sums(ORG, "hour", 0, 9)] == [3]


def test_plans_are_pruned_when_nothing_was_made_under_them_for_long(store, clock, new):
    """Those of open and of expired reservations are kept."""
    settled, open_, expired = (budget(cap) for cap in (97, 98, 99))
    done, held, corrected = new(), new(), new()
    ask(store, Reserve(done, settled, (0, 1, 0), NOTHING, 60_000, ""))
    ask(store, Settle(done, settled, (0, 1, 0), ""))
    ask(store, Reserve(held, open_, (0, 1, 0), NOTHING, 9 * DAY, ""))
    ask(store, Reserve(corrected, expired, (0, 1, 0), (0, 1, 0), 0, ""))
    ask(store, Settle(corrected, expired, NOTHING, "", "expired"))
    assert rows_of(store, "plan") == 3
    assert store.prune(ORG, 99) == 0
    clock.advance(PLAN_MS + 1)
    assert store.prune(ORG, 99) == 1
    store._books._plans = Plans()
    answer = ask(store, Settle(held, open_, (0, 1, 0), ""), Settle(corrected, expired, (0, 5, 0), ""))
    assert verdicts(answer) == ["done", "done"]
    call(store, new(), settled)
    assert ask(store, Peek(settled)).totals == {"budget": (8, 0)}


def test_names_that_ended_are_not_kept(store, clock):
    for number in range(20):
        store.once(ORG, f"name{number}", "value", 5)
        clock.advance(1)
    assert rows_of(store, "once") <= 6


def test_threads_write_documents_and_steps_beside_each_other(store, new):
    """The connection is one thread's at a time."""
    limit = budget(10_000)

    def work(number: int) -> None:
        for _ in range(20):
            ask(store, Reserve(new(), limit, (0, 1, 0), NOTHING, 60_000, ""))
            store.once(ORG, f"n{number}", "v", 1)
            store.children(ORG, "node", "", None, "", 9)

    in_threads(6, work)
    assert ask(store, Peek(limit)).totals == {"budget": (0, 120)}
