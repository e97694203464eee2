"""The Redis store: what every store does, on one server and on a cluster; the same as memory does it; and what its keys
are: how long they live, that they stand together, and that no name breaks them.
"""

from __future__ import annotations

import json
import re
import secrets
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.crc import key_slot

from quotaware.core.ledger import Fired
from quotaware.core.steps import (
    CONCURRENCY,
    COST,
    NOTHING,
    REQUESTS,
    TOKENS,
    Counter,
    Event,
    Mark,
    Peek,
    Reserve,
    Settle,
    Sum,
)
from quotaware.errors import ConfigurationError, StoreError
from quotaware.stores.memory import MemoryStore, system_clock
from quotaware.stores.opening import open_store
from quotaware.stores.redis import RedisStore, msgpack
from quotaware.stores.redis.keys import Names, part, whole
from quotaware.testing.store_suite import StoreSuite
from quotaware.testing.store_suite.kit import (
    FOREVER,
    ORG,
    ask,
    budget,
    commit,
    doc,
    in_threads,
    plan,
    verdicts,
)
from tests.servers import Server, cluster, primary_and_replica
from tests.stores import differential, twin
from tests.support import NOON, FakeClock, ids, run_module

HOUR, DAY = 3_600_000, 86_400_000
Client = redis.Redis | redis.RedisCluster


def client_of(url: str) -> Client:
    """A client to look in from the side."""
    place = urlsplit(url.replace("redis+cluster", "redis"))
    if "+cluster" in url:
        return redis.RedisCluster(place.hostname or "", place.port or 6379)
    return redis.Redis.from_url(url)


class Opened:
    """Stores on one server, and a look at their keys."""

    def __init__(self, url: str, clock: FakeClock) -> None:
        self.url = url
        self.client: Any = client_of(url)
        self._clock = clock
        self._prefix = f"t{secrets.token_hex(6)}"
        self._stores: list[RedisStore] = []

    def __call__(
        self,
        name: str = "",
        clock: FakeClock | None = None,
        *,
        servers_clock: bool = False,
        **options: object,
    ) -> RedisStore:
        """A store on keys of its own if it has a name."""
        options = {"prefix": self._prefix + name, **options}
        words = "&".join(f"{key}={value}" for key, value in options.items())
        store = RedisStore(f"{self.url}?{words}", None if servers_clock else clock or self._clock)
        store.deadline = 10.0  # the machine may be busy with other things
        self._stores.append(store)
        return store

    def found(self) -> set[bytes]:
        return set(self.client.scan_iter(match=f"{self._prefix}*", count=1000))

    def snapshot(self) -> Callable[[], None]:
        kept = {key: (max(0, self.client.pttl(key)), self.client.dump(key)) for key in self.found()}

        def put_back() -> None:
            for key in self.found():
                self.client.delete(key)
            for key, (ttl, value) in kept.items():
                self.client.restore(key, ttl, value)

        return put_back

    def close(self) -> None:
        for store in self._stores:
            store.close()
        for key in self.found():
            self.client.delete(key)
        self.client.close()


@pytest.fixture
def opened(valkey_url: str, clock: FakeClock) -> Iterator[Opened]:
    made = Opened(valkey_url, clock)
    yield made
    made.close()


@pytest.fixture
def store(opened: Opened) -> RedisStore:
    return opened()


class Suite(StoreSuite):
    """The suite on whatever `opened` opens."""

    @pytest.fixture
    def store(self, opened: Opened) -> RedisStore:
        return opened()

    @pytest.fixture
    def other_store(self, opened: Opened) -> RedisStore:
        return opened("-other")

    @pytest.fixture
    def same_store(self, opened: Opened) -> RedisStore:
        return opened()

    @pytest.fixture
    def snapshot(self, opened: Opened) -> Callable[[], Callable[[], None]]:
        return opened.snapshot


class TestRedisStore(Suite):
    """One server."""


@pytest.mark.slow
class TestRedisClusterStore(Suite):
    """A cluster of three."""

    @pytest.fixture
    def opened(self, cluster_url: str, clock: FakeClock) -> Iterator[Opened]:
        made = Opened(cluster_url, clock)
        yield made
        made.close()


# the same as memory


def test_it_answers_as_the_memory_store_does(opened):
    told: Tally[str] = Tally()
    for seed in range(4):
        clock = FakeClock()
        told.update(differential.run(seed, 150, MemoryStore(clock), opened(f"-{seed}", clock), clock))
    assert set(told) >= {"done", "denied", "again", "unknown", "stale", "ended", "old"}


def test_its_script_decides_as_the_kernel_does(opened):
    """Plans that are not the reserve's, exact up to the bound of amounts, thresholds that stop, names of all kinds."""
    for seed in range(12):
        clock = FakeClock()
        twin.run(seed, 150, MemoryStore(clock), opened(f"-{seed}", clock), clock)


@pytest.mark.slow
@pytest.mark.parametrize(
    "seeds", [pytest.param(range(100, 106), id="bounded"), range(106, 130), range(130, 400)]
)
def test_it_answers_as_the_memory_store_does_for_long(opened, seeds):
    for seed in seeds:
        clock = FakeClock()
        store = opened(f"-{seed}", clock)
        differential.run(seed, 400, MemoryStore(clock), store, clock)
        twin.run(seed, 500, MemoryStore(clock), opened(f"-twin{seed}", clock), clock)


# I-1 over processes


@pytest.mark.parametrize(
    "batch",
    [
        256,
        pytest.param(64, marks=pytest.mark.slow, id="bounded-64"),
        pytest.param(1, marks=pytest.mark.slow),
    ],
)
def test_of_a_hundred_thousand_calls_offered_exactly_those_go_that_the_limit_pays_for(opened, batch):
    """I-1 and F1: 4 processes, N = 100,000, K = 60,000; used + held is never over at the end of any batch."""
    url = f"{opened.url}?prefix={opened._prefix}"
    told = run_module("tests.stores.redis_workers", "exact", url, "100000", "60000", str(batch), timeout=900)
    assert told == "60000\n"


def test_a_forked_child_has_connections_of_its_own(opened):
    """I-23: parent and child go on at the same time, and neither reads the other's replies."""
    url = f"{opened.url}?prefix={opened._prefix}"
    assert run_module("tests.stores.redis_workers", "fork", url) == "1200\n"


# keys


TREE = (
    (Counter("month@0", 1000, since=0, until=FOREVER, keep=NOON + 40 * DAY, marks=(Mark("half", 5),)), COST),
    (Counter("life", 1000), COST),
    (Counter("rate", 1000, span=60_000), TOKENS),
    (Counter("calls", 1000, span=1000), REQUESTS),
    (Counter("slots", 1000, keep=-1), CONCURRENCY),
)


def everything(store: RedisStore, new: Callable[[], str], org: str = ORG) -> None:
    """A key of each kind."""
    tree = plan(*TREE, org=org)
    first, second, third = new(), new(), new()
    commit(store, doc("a", "top", "Name"), audit="{}", org=org)
    store.link("digest", org, "key")
    ask(store, *(Reserve(id, tree, (1, 9, 1), (1, 1, 0), 60_000, "{}") for id in (first, second)), org=org)
    ask(store, Settle(first, tree, (1, 9, 0), "{}"), org=org)
    ask(store, Settle(third, tree, NOTHING, "", "released"), org=org)
    store.fold(org, "", "5-0", [Sum("hour", NOON, "{}", "{}", NOON + 35 * DAY)])
    store.outbox(org, put=[Event("told", NOON, "{}")])
    store.once(org, "sender", "me", 60_000)


def test_every_key_lives_as_long_as_what_it_holds(opened):
    """What belongs to a window, a lease or a retention expires by itself; the tree, whole-life limits and what is open
    stay.
    """
    store = opened(servers_clock=True)
    now = store.hello()
    new = ids(system_clock)
    tree = plan((TREE[0][0]._replace(keep=now + 40 * DAY), COST), *TREE[1:])
    first, second = new(), new()
    commit(store, doc("a", "top", "Name"), audit="{}")
    ask(store, *(Reserve(id, tree, (1, 9, 1), NOTHING, 60_000, "{}") for id in (first, second)))
    ask(store, Settle(first, tree, (1, 9, 0), "{}"))
    store.fold(ORG, "", "5-0", [Sum("hour", now, "{}", "{}", now + 35 * DAY)])
    store.once(ORG, "sender", "me", 60_000)
    base = Names(opened._prefix, ORG).base
    left = {
        re.sub(r"(?<=^q:).*|\d{6,}", "#", key.removeprefix(base).decode()): opened.client.pttl(key)
        for key in opened.found()
        if key.startswith(base)
    }
    stays = {kind for kind, ms in left.items() if ms == -1}
    assert stays == {*"mdvniazrpxubgo", "w:0:0", "w:0:-1"}
    bounds = {
        "w:#:#": (40 * DAY, 40 * DAY + 2 * HOUR),
        "c:rate": (0, 61_000),
        "c:calls": (0, 2_000),
        "e:#": (48 * HOUR, 50 * HOUR + 1000),
        "s:#:hour": (35 * DAY, 35 * DAY + 2 * HOUR),
        "t:sender": (0, 61_000),
        "q:#": (0, HOUR),
    }
    assert left.keys() - stays == bounds.keys()
    for kind, (least, most) in bounds.items():
        assert least < left[kind] <= most, kind


def test_all_of_an_organization_is_in_its_slot(opened, store, new):
    everything(store, new)
    slot = key_slot(ORG.encode())
    elsewhere = {key for key in opened.found() if key_slot(key) != slot}
    assert {key.split(b":", 1)[1] for key in elsewhere} == {b"k:digest", b"orgs"}


@pytest.mark.parametrize(
    "org", ["a}b", "{", "}{", "", ":", "a:{b}", "a\0b", "😀", "%7d", "x" * 500, "\ud800"]
)
def test_no_organizations_name_breaks_its_keys(opened, store, new, org):
    """S16: each has one slot of its own, and what is dumped says what was given."""
    everything(store, new, org)
    everything(store, new, "else")
    names = Names(opened._prefix, org)
    slot = key_slot(names.base)
    own = {key for key in opened.found() if key.startswith(names.base)}
    assert len(own) >= 20
    assert {key_slot(key) for key in own} == {slot}
    assert store.read(org, ["a"])[1] == [doc("a", "top", "Name")._replace(rev=1)]
    assert store.orgs("", 9) == sorted([org, "else"])
    assert store.find("digest") == ("else", "key")
    other = opened("-other")
    rows = list(store.dump(org))
    other.load(org, rows)
    assert sorted(other.dump(org)) == sorted(rows)


TEXT = st.text(
    alphabet=st.one_of(st.sampled_from("{}:*?[]\\%\0\r\n'\";é😀_"), st.characters(codec="utf-8")), max_size=12
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(TEXT, TEXT, TEXT, TEXT)
def test_no_name_of_any_kind_breaks_another(opened, one, two, three, four):
    """S16: ids of documents, kinds, parents, names, counters, cubes, dims, events and names of `once`."""
    clock = FakeClock()
    store = opened(f"-{secrets.token_hex(4)}", clock)
    put = [
        doc(f"1{one}", two, f"1{three}", four),
        doc(f"2{one}", two + three, None, four),
        doc(f"3{one}", two, f"3{three}", four + two),
        doc(f"4{one}", f"4{two}", f"1{three}", four),
    ]
    rev = commit(store, *put)
    found = [each._replace(rev=rev) for each in put]
    assert store.read(ORG, [each.id for each in put])[1] == found
    for parent in {two, f"4{two}"} - {""}:
        below = [each for each in found if (each.kind, each.parent) == (four, parent)]
        assert store.children(ORG, four, parent, None, "", 9) == below
        assert store.children(ORG, four, parent, f"1{three}", "", 9) == [
            each for each in below if each.name == f"1{three}"
        ]
    lines = [
        (Counter(f"{number}{key}", 9, span=span), COST)
        for number, (key, span) in enumerate([(one, 0), (two, 900), (three, 0)])
    ]
    marked = Counter(f"4{four}", 9, marks=(Mark(one, 1), Mark(f"{one}|", 2)))
    tree = plan(*lines, (marked, COST))
    id = f"{NOON:012x}{0:020x}"
    answer = ask(store, Reserve(id, tree, (0, 5, 0), NOTHING, 1, one), Settle(id, tree, (0, 3, 0), two))
    assert verdicts(answer) == ["done", "done"]
    assert answer.totals == {counter.key: (3, 0) for counter, _ in tree.lines}
    ((_, row),) = store.records(ORG, 0, FOREVER, "", 9)
    assert (row.about, row.outcome) == (one, two)
    sums = [
        Sum(cube, bucket, dims, one, FOREVER)
        for cube in {two, three}
        for bucket in (5, 50)
        for dims in {one, four}
    ]
    assert store.fold(ORG, "", "5-0", sums)
    for cube in {two, three}:
        assert sorted(store.sums(ORG, cube, 0, 99)) == sorted(each for each in sums if each.cube == cube)
    assert store.once(ORG, three, four, 99) == store.once(ORG, three, "else", 99) == four
    crossed = [Fired(marked.key, mark.id, 9, 3, answer.now, "r0").event() for mark in marked.marks]
    told = store.outbox(ORG, put=[Event(two, NOON, three)])
    assert {(each.id, each.at) for each in told} >= {(each.id, each.at) for each in crossed}
    assert len(told) == 3
    assert [json.loads(each.body) for each in told if each.body != three] == [
        json.loads(each.body) for each in sorted(crossed, key=lambda each: each.id)
    ]
    assert len({(item.table, item.key) for item in store.dump(ORG)}) == len(list(store.dump(ORG)))


def test_a_threshold_that_an_older_version_saw_crossed_is_in_the_outbox_until_it_is_done(opened, store):
    """Its script wrote the figures as msgpack, and no arming."""
    crossed = Fired("budget", "most", 10, 9, NOON).event()
    figures = [msgpack.text(text) for text in (b"budget", b"most", b"10", b"9", str(NOON).encode())]
    name = Names(opened._prefix, ORG)("o")
    opened.client.hset(name, crossed.id, b"F" + msgpack.array_head(5) + b"".join(figures))
    assert store.outbox(ORG) == [crossed]
    assert crossed.id == "budget|most|10"
    assert store.outbox(ORG, done=[crossed.id]) == []


@given(TEXT)
def test_a_part_of_a_key_can_be_read_back(text):
    assert whole(part(text)) == text
    assert not set(part(text)) & set("\0:{}")


# commands


def test_an_admission_is_one_command_that_does_nothing_else(opened, store, new):
    """While nothing changes there is one round trip: no look at revisions, no second call."""
    everything(store, new)
    rev = store.read(ORG, ())[0]
    tree = replace(plan(*TREE), rev=rev, deps=("a",))
    ask(store, Reserve(new(), tree, (1, 1, 1), NOTHING, 60_000, "{}"))
    server: Any = redis.Redis.from_url(opened.url)
    with server.monitor() as watch:
        id = new()
        assert verdicts(ask(store, Reserve(id, tree, (1, 1, 1), NOTHING, 60_000, "{}"))) == ["done"]
        ask(store, Settle(id, tree, (1, 1, 0), "{}"))
        server.echo("end")
        met: list[tuple[str, str]] = []
        while "end" not in (told := watch.next_command())["command"]:
            if opened._prefix in told["command"]:
                met.append((told["client_type"], told["command"].split()[0]))
    server.close()
    assert [name for kind, name in met if kind != "lua"] == ["EVALSHA", "EVALSHA"]
    inside = Tally(name for kind, name in met if kind == "lua")
    assert not {"TIME", "KEYS", "SCAN"} & inside.keys()
    assert sum(inside.values()) < 60


def test_organizations_of_one_batch_share_a_trip(opened, store, new):
    orgs = [f"org_{number}" for number in range(20)]
    work = {org: [Peek(plan((Counter("budget", 9), COST), org=org))] for org in orgs}
    store.apply(work, 5.0)
    sent: list[int] = []
    run = store._servers.run
    store._servers.run = lambda commands, *more, **named: (
        sent.append(len(commands)) or run(commands, *more, **named)
    )
    assert list(store.apply(work, 5.0)) == orgs
    assert sent == [20]


def test_more_callers_than_connections_wait_for_them(opened, new):
    """256 at once over four connections: none is refused."""
    store = opened(connections=4)
    limit = budget(256)
    calls = [new() for _ in range(256)]
    told = [""] * 256

    def call(number: int) -> None:
        answer = ask(store, Reserve(calls[number], limit, (0, 1, 0), NOTHING, 60_000, ""))
        told[number] = verdicts(answer)[0]

    in_threads(256, call)
    assert told == ["done"] * 256
    assert store._servers._pools[store._place.hosts[0]]._idle.qsize() == 4


def test_a_settle_under_another_plan_moves_what_its_reserve_held(store, new):
    """The reservation says which counters it is on; the batch is sent again with them."""
    mine, other = plan(*TREE), plan((Counter("else", 5), COST))
    first, second = new(), new()
    ask(store, *(Reserve(id, mine, (1, 9, 1), (1, 2, 0), 60_000, "{}") for id in (first, second)))
    answer = ask(
        store,
        Settle(first, other, (1, 7, 0), "{}"),
        Settle(second, other, NOTHING, "{}", "expired", force=True),
    )
    assert verdicts(answer) == ["done", "done"]
    assert answer.totals == {"else": (0, 0)}
    assert ask(store, Settle(second, other, (1, 8, 0), "{}")).totals == {"else": (0, 0)}
    totals = ask(store, Peek(mine)).totals
    assert (totals["life"], totals["rate"], totals["calls"], totals["slots"]) == (
        (15, 0),
        (2, 0),
        (2, 0),
        (0, 0),
    )


def test_batches_of_any_size_go_through(store, clock):
    """More counters, ids and arguments than one command of a script takes."""
    lines = tuple((Counter(f"c{number}", 9), COST) for number in range(5000))
    rolling = tuple((Counter(f"r{number}", 9, span=60_000), COST) for number in range(4500))
    wide = plan(*lines, *rolling)
    calls = [f"{clock():012x}{number:020x}" for number in range(5001)]
    assert verdicts(ask(store, Reserve(calls[0], wide, (0, 2, 0), NOTHING, 60_000, ""))) == ["done"]
    answer = ask(store, Settle(calls[0], wide, (0, 1, 0), ""))
    assert answer.totals == {counter.key: (1, 0) for counter, _ in wide.lines}
    limit = budget(100_000)
    many = [Reserve(id, limit, (0, 1, 0), NOTHING, 60_000, "") for id in calls[1:]]
    assert ask(store, *many).totals == {"budget": (0, 5000)}
    assert set(verdicts(ask(store, *(Settle(id, limit, (0, 1, 0), "") for id in calls[1:])))) == {"done"}
    assert len(store.records(ORG, 0, FOREVER, "", 9000)) == 5001


# forgetting


def test_what_is_past_its_time_is_removed_before_it_expires(opened, store, clock, new):
    """Hashes are unlinked by `prune`; the counters of windows under way, and those for ever, stay."""
    everything(store, new)
    names = Names(opened._prefix, ORG)
    month = names.window(FOREVER, NOON + 40 * DAY)
    ended = names("e", str(NOON // HOUR))
    assert store.prune(ORG, 100) == 0
    clock.advance(50 * HOUR)
    assert opened.client.exists(ended)
    assert store.prune(ORG, 100) == 1
    assert not opened.client.exists(ended)
    clock.advance(35 * DAY)
    assert store.prune(ORG, 100) == 1
    assert store.sums(ORG, "hour", 0, FOREVER) == []
    clock.advance(5 * DAY)
    assert opened.client.exists(month)
    assert store.prune(ORG, 100) == 1
    assert not opened.client.exists(month)
    assert opened.client.exists(names.window(0, 0))
    assert store.prune(ORG, 100) == 0


def test_records_go_when_they_are_in_the_sums_and_old(opened, clock, new):
    store = opened(records_days=2)
    for_ever = opened("-kept", records_days="none")
    limit = budget(1000)
    for _ in range(6):
        id = new()
        for each in (store, for_ever):
            ask(each, Reserve(id, limit, (0, 1, 0), NOTHING, 60_000, ""), Settle(id, limit, (0, 1, 0), ""))
        clock.advance(HOUR)
    booked = [at for at, _ in store.records(ORG, 0, FOREVER, "", 9)]
    clock.advance(3 * DAY)
    for each in (store, for_ever):
        each.prune(ORG, 100)  # the ended reservations
        assert each.prune(ORG, 100) == 0, "what is in no sum is kept"
    for each in (store, for_ever):
        each.fold(ORG, "", booked[3], [])
    assert [store.prune(ORG, 3), store.prune(ORG, 3), store.prune(ORG, 3)] == [3, 1, 0]
    assert [at for at, _ in store.records(ORG, 0, FOREVER, "", 9)] == booked[4:]
    assert for_ever.prune(ORG, 100) == 0
    assert len(for_ever.records(ORG, 0, FOREVER, "", 9)) == 6


def test_a_counter_that_only_a_claim_kept_is_forgotten(store, clock, new):
    slots = plan((Counter("slots", 1, keep=-1), CONCURRENCY), (Counter("more", 5, keep=-1), CONCURRENCY))
    id = new()
    ask(store, Reserve(id, slots, (0, 0, 1), NOTHING, 60_000, ""))
    ask(store, Reserve(new(), slots, (0, 0, 1), NOTHING, 60_000, "", wait=True))
    ask(store, Settle(id, slots, NOTHING, ""))
    assert {item.key for item in store.dump(ORG) if item.table == "counter"} == {"slots", "more"}
    assert store.prune(ORG, 100) == 0, "the claim still stands"
    clock.advance(1000)
    assert store.prune(ORG, 100) == 2
    assert [item for item in store.dump(ORG) if item.table == "counter"] == []


# the set-up


@pytest.fixture
def own() -> Iterator[Server]:
    with Server() as server:
        yield server


def test_the_servers_clock_is_the_stores(valkey_url):
    store = open_store(valkey_url, system_clock)
    assert abs(store.hello() - system_clock()) < 60_000
    limit = budget(9)
    assert abs(ask(store, Peek(limit)).now - system_clock()) < 60_000
    store.close()


def test_a_server_that_evicts_counters_is_refused_unless_it_is_said(own):
    store = RedisStore(own.url)
    store.hello()
    own.command("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    store.hello()
    own.command("CONFIG", "SET", "maxmemory", "100mb")
    with pytest.raises(ConfigurationError, match=r"allkeys-lru.*evict=ok"):
        store.hello()
    RedisStore(f"{own.url}?evict=ok").hello()
    own.command("CONFIG", "SET", "maxmemory-policy", "noeviction")
    store.hello()


def test_a_replica_is_refused_and_copies_can_be_waited_for(new):
    with primary_and_replica() as (primary, replica):
        with pytest.raises(ConfigurationError, match="is a replica"):
            RedisStore(replica.url).hello()
        limit, id = budget(9), new()
        store = RedisStore(f"{primary.url}?wait=1", FakeClock())
        assert verdicts(ask(store, Reserve(id, limit, (0, 1, 0), NOTHING, 60_000, ""))) == ["done"]
        demanding = RedisStore(f"{primary.url}?wait=2", FakeClock())
        answer = demanding.apply({ORG: [Settle(id, limit, (0, 1, 0), "")]}, 0.3)[ORG]
        assert isinstance(answer, StoreError)
        assert "1 replicas have it, not 2" in str(answer)
        assert verdicts(ask(store, Settle(id, limit, (0, 1, 0), ""))) == ["again"]
        store.close()
        demanding.close()


def test_a_cluster_is_not_taken_for_one_server(cluster_url):
    store = RedisStore(cluster_url.replace("redis+cluster", "redis"))
    with pytest.raises(ConfigurationError, match=re.escape("redis+cluster://")):
        store.hello()
    store.close()


def test_a_users_rights_and_password_are_used(own):
    """The database number, an ACL user that may touch nothing but the store's keys, and one that may not even look."""
    rights = ["~qw:*", "+@all", "-@dangerous", "+info"]
    own.command("ACL", "SETUSER", "ana", "on", ">s:e@c/r%t", *rights)
    own.command("ACL", "SETUSER", "bob", "on", ">pw", *rights, "-info")
    store = RedisStore(f"redis://ana:s%3Ae%40c%2Fr%25t@{own.address}/3", FakeClock())
    store.hello()
    commit(store, doc("a"))
    assert own.command("INFO", "keyspace").keys() == {"db3"}
    with pytest.raises(ConfigurationError, match="INFO"):
        RedisStore(f"redis://bob:pw@{own.address}").hello()
    for bad in ("ana:wrong", "nobody:pw"):
        with pytest.raises(StoreError) as refused:
            RedisStore(f"redis://{bad}@{own.address}").hello()
        assert bad.split(":")[1] not in str(refused.value)
    store.close()


def test_a_socket_file_will_do(new, tmp_path):
    path = tmp_path / "s"
    with Server({"unixsocket": str(path)}):
        store = RedisStore(f"unix://{path}?db=2", FakeClock())
        store.hello()
        assert store.lane(ORG) is not None
        assert ask(store, Peek(budget(9))).totals == {"budget": (0, 0)}
        assert str(store._place) == str(path)
        store.close()


def test_scripts_survive_a_flush(opened, store, new):
    limit, id = budget(9), new()
    ask(store, Reserve(id, limit, (0, 1, 0), NOTHING, 60_000, ""))
    commit(store, doc("a"))
    opened.client.script_flush()
    assert verdicts(ask(store, Settle(id, limit, (0, 1, 0), ""))) == ["done"]
    assert commit(store, doc("b")) == 2


def test_it_is_not_made_in_the_middle_of_a_cluster_that_is_gone():
    with cluster() as found:
        store = RedisStore(found.url, FakeClock())
        assert store.lane(ORG) == store.lane("org_b") == "redis", "nothing is known yet, and nobody is asked"
        store.hello()
        assert store.lane(ORG) != "redis"
    for call in (store.hello, lambda: store.read(ORG, ())):
        with pytest.raises(StoreError):
            call()
    store.close()
