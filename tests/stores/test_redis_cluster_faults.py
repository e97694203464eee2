"""The Redis store on a cluster whose slots move and whose servers stop: what lies elsewhere never notices, and what is
on the way is applied whole or refused.
"""

from __future__ import annotations

import random
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Event, Thread

import pytest
from redis.crc import key_slot

from quotaware.core.steps import Op, Peek, Plan, Reserve, Settle
from quotaware.errors import StoreError
from quotaware.stores.protocol import Store
from quotaware.testing.store_suite.kit import commit, doc, in_threads, verdicts
from tests.servers import Cluster, Move, Server
from tests.stores.trips import LIMIT, PATIENCE, asked, end, hold, tried
from tests.support import check_books


@pytest.fixture
def org() -> str:
    """An organization of the test's own: its slot may be moved about."""
    return f"org_{secrets.token_hex(6)}"


@pytest.fixture
def plan(org: str) -> Plan:
    return replace(LIMIT, org=org)


@pytest.fixture
def store(cluster_url: str, opens: Callable[[str], Store]) -> Store:
    found = opens(cluster_url)
    found.hello()
    return found


@pytest.fixture
def move(shared_cluster: Cluster, org: str) -> Iterator[Move]:
    """The organization's slot, about to move to another server; at the end it has arrived."""
    slot = key_slot(org.encode())
    source = shared_cluster.owner(slot)
    target = next(each for each in shared_cluster.primaries if each is not source)
    found = Move(shared_cluster, slot, source, target)
    yield found
    found.end()


def repeated(store: Store, org: str, batches: list[list[Op]]) -> None:
    """Every batch once more, until it is answered. Each was applied whole or not at all: new or known as a whole."""
    for batch in batches:
        stop = time.monotonic() + 10
        while isinstance(answer := tried(store, batch, org), StoreError):
            assert time.monotonic() < stop, answer
        told = verdicts(answer)
        assert all(verdict == "done" for verdict in told) or "done" not in told, told


def test_organizations_of_all_servers_are_served(store, new):
    answers = {}
    for number in range(12):
        org = f"org_{number}_{secrets.token_hex(3)}"
        commit(store, doc("a"), org=org)
        answers[org] = asked(store, hold(new(), replace(LIMIT, org=org)), org=org)
    assert all(answer.totals["budget"] == (0, 5) for answer in answers.values())
    assert set(answers) <= set(store.orgs("", 10_000))


def test_while_a_slot_moves_key_by_key_nothing_is_lost_or_doubled(store, move, org, plan, new):
    """A key at a time moves; after each a batch is tried. Those that are refused are repeated when it has arrived."""
    first, second = [new() for _ in range(8)], [new() for _ in range(8)]
    commit(store, doc("a"), org=org)
    asked(store, *(hold(id, plan) for id in first), org=org)
    move.begin()
    batches: list[list[Op]] = [[end(first[n], plan), hold(second[n], plan)] for n in range(8)]
    met = []
    for batch in batches:
        move.keys(1)
        met.append(isinstance(tried(store, batch, org), StoreError))
    assert any(met), "no batch met the move"
    move.end()
    repeated(store, org, batches)
    answer = asked(store, Peek(plan), org=org)
    assert answer.totals["budget"] == (3 * 8, 5 * 8)
    assert store.read(org, ["a"]) == (1, [doc("a")._replace(rev=1)])
    check_books(store, org, dict.fromkeys(first + second, plan))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [pytest.param(0, id="bounded"), 1, 2, 3, 4, 5, 6, 7])
def test_while_slots_move_under_load_nothing_is_lost_or_doubled(store, shared_cluster, org, plan, new, seed):
    """Three threads reserve and settle while the slot goes round the cluster, keys in handfuls."""
    chance = random.Random(seed)
    wide = replace(plan, lines=tuple((counter._replace(cap=1 << 40), index) for counter, index in plan.lines))
    over = Event()
    batches: list[list[list[Op]]] = [[], [], []]

    def hammer(number: int) -> None:
        while not over.is_set():
            pair = [new(), new()]
            for batch in ([hold(id, wide) for id in pair], [end(id, wide) for id in pair]):
                batches[number].append(list(batch))
                tried(store, batch, org)
            time.sleep(0.005)

    def go_round() -> None:
        slot = key_slot(org.encode())
        for _ in range(4):
            source = shared_cluster.owner(slot)
            others = [each for each in shared_cluster.primaries if each is not source]
            move = Move(shared_cluster, slot, source, chance.choice(others))
            move.begin()
            while move.keys(chance.choice([1, 2, 50])):
                time.sleep(chance.random() * 0.02)
            move.end()
            time.sleep(0.2)

    def run(number: int) -> None:
        try:
            hammer(number) if number < 3 else go_round()
        finally:
            over.set()

    in_threads(4, run)
    for own in batches:
        repeated(store, org, own)
    ids = [op.id for own in batches for batch in own for op in batch if isinstance(op, Reserve)]
    assert asked(store, Peek(wide), org=org).totals["budget"] == (3 * len(ids), 0)
    check_books(store, org, dict.fromkeys(ids, wide))


def test_a_server_that_hangs_holds_up_what_lies_on_it_only(shared_cluster, store, new):
    """A lane is a primary: others go on, and the lane is known without waiting."""
    by_server: dict[Server, str] = {}
    while len(by_server) < 3:
        name = f"org_{secrets.token_hex(6)}"
        by_server.setdefault(shared_cluster.owner(key_slot(name.encode())), name)
    for org in by_server.values():
        asked(store, hold(new(), replace(LIMIT, org=org)), org=org)
    assert len({store.lane(org) for org in by_server.values()}) == 3
    (stopped, hung), *others = by_server.items()
    stopped.pause()
    waits = Thread(target=tried, args=(store, [hold(new(), replace(LIMIT, org=hung))], hung, PATIENCE))
    try:
        waits.start()
        for _, org in others:
            asked(store, hold(new(), replace(LIMIT, org=org)), org=org)
        assert store.lane(hung) is not None
        assert waits.is_alive()
    finally:
        stopped.resume()
    waits.join()
    repeated(store, hung, [[hold(new(), replace(LIMIT, org=hung))]])


def test_a_reserve_and_its_end_survive_a_move_between_them(store, move, org, plan, new):
    id = new()
    asked(store, hold(id, plan), org=org)
    move.begin()
    move.end()
    answer = asked(store, Settle(id, plan, (0, 4, 0), "{}"), org=org)
    assert (verdicts(answer), answer.totals["budget"]) == (["done"], (4, 0))
    assert asked(store, hold(new(), plan), org=org).totals["budget"] == (4, 5)
