"""The directory: cached looks, loads that find what changed, and bounds."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from quotaware.errors import NotFound, StoreError
from quotaware.stores.memory import MemoryStore
from quotaware.stores.protocol import Change, Doc
from quotaware.tenancy.directory import UNKNOWN_MS, UNREAD, Directory
from quotaware.tenancy.documents import to_doc
from quotaware.tenancy.nodes import Node

ORG = Node("org_a", "organization", "", "A")
TEAM = Node("team_a", "team", "org_a", "Engineering")
PROJECT = Node("proj_a", "project", "team_a", "Backend")
KEY = Node("key_a", "key", "proj_a", "ci")
ALL = (ORG, TEAM, PROJECT, KEY)


class Clock:
    now = 1_700_000_000_000

    def __call__(self) -> int:
        return self.now


class WatchedStore(MemoryStore):
    """A memory store that counts what it is asked; `between` runs once, after the next read has looked."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.asked: Counter[str] = Counter()
        self.between: Callable[[], object] | None = None

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        self.asked["read"] += 1
        seen = super().read(org, ids)
        between, self.between = self.between, None
        if between is not None:
            between()
        return seen

    def find(self, digest: str) -> tuple[str, str] | None:
        self.asked["find"] += 1
        found = super().find(digest)
        between, self.between = self.between, None
        if between is not None:
            between()
        return found

    def put(self, *nodes: Node, drop: tuple[str, ...] = ()) -> int:
        rev = super().read("org_a", ())[0]
        return self.commit("org_a", Change(rev, put=tuple(map(to_doc, nodes)), drop=drop))


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    store = WatchedStore(clock)
    store.put(*ALL)
    return store


@pytest.fixture
def directory(store, clock):
    return Directory(store, clock)


# paths


def test_a_path_leads_from_the_node_up_to_its_organization(directory):
    path = directory.load("org_a", "key_a")
    assert path.ids == ("key_a", "proj_a", "team_a", "org_a")
    assert path.rev == 1
    assert all(node.rev == 1 for node in path.nodes)
    assert directory.load("org_a", "org_a").ids == ("org_a",)


def test_a_look_never_asks_the_store(directory, store):
    assert directory.peek("org_a", "proj_a") is None
    loaded = directory.load("org_a", "proj_a")
    store.asked.clear()
    assert directory.peek("org_a", "proj_a") is loaded
    assert store.asked == {}


def test_a_known_path_is_read_again_in_one_trip(directory, store):
    directory.load("org_a", "key_a")
    store.put(Node("proj_a", "project", "team_a", "Backend", enabled=False))
    store.asked.clear()
    path = directory.load("org_a", "key_a")
    assert store.asked == {"read": 1}
    assert path.rev == 2
    assert not path.project.enabled
    assert directory.peek("org_a", "key_a") is path


def test_a_look_can_ask_for_a_path_that_is_young_enough(directory, clock):
    """A host route may trust a cached key for a while; a clock that ran back makes nothing young."""
    directory.load("org_a", "key_a")
    assert directory.peek("org_a", "key_a", within=0)
    clock.now += 5_000
    assert directory.peek("org_a", "key_a", within=5_000)
    clock.now += 1
    assert directory.peek("org_a", "key_a", within=5_000) is None
    assert directory.peek("org_a", "key_a")
    directory.load("org_a", "key_a")
    assert directory.peek("org_a", "key_a", within=5_000)
    clock.now -= 60_000
    assert directory.peek("org_a", "key_a", within=5_000) is None


def test_a_forgotten_path_has_to_be_loaded(directory):
    directory.load("org_a", "proj_a")
    directory.forget("org_a", "proj_a")
    directory.forget("org_a", "proj_a")
    assert directory.peek("org_a", "proj_a") is None


@pytest.mark.parametrize("node_id", ["proj_b", "", "no id", "x" * 1000, "key_a/"])
def test_an_unknown_node_is_not_found(directory, node_id):
    with pytest.raises(NotFound):
        directory.load("org_a", node_id)
    assert directory.peek("org_a", node_id) is None


def test_a_node_is_not_reached_from_another_organization(directory, store):
    store.commit("org_b", Change(0, put=(to_doc(Node("org_b", "organization", "", "B")),)))
    directory.load("org_a", "proj_a")
    with pytest.raises(NotFound):
        directory.load("org_b", "proj_a")
    assert directory.peek("org_b", "proj_a") is None


def test_an_organization_that_is_gone_is_no_unknown_key(directory):
    """Its keys may be good ones: nobody is told otherwise."""
    with pytest.raises(StoreError, match="org_c is not in the store"):
        directory.load("org_c", "key_c")


@pytest.mark.parametrize("gone", ["key_a", "proj_a", "team_a", "org_a"])
def test_a_node_is_not_found_where_it_or_one_above_it_is_gone(directory, store, gone):
    directory.load("org_a", "key_a")
    store.put(drop=(gone,))
    with pytest.raises(NotFound, match=gone):
        directory.load("org_a", "key_a")
    assert directory.peek("org_a", "key_a") is None


def test_a_node_that_was_made_anew_elsewhere_is_found_there(directory, store):
    directory.load("org_a", "key_a")
    store.put(drop=("proj_a",))
    store.put(Node("proj_a", "project", "org_a", "Backend"))
    assert directory.load("org_a", "key_a").ids == ("key_a", "proj_a", "org_a")


def test_the_revision_of_a_path_is_the_lowest_of_its_reads(directory, store):
    """What changed while the way up was walked is stale for a reserve, so that it is loaded again."""
    store.between = lambda: store.put(Node("proj_a", "project", "team_a", "Backend", enabled=False))
    path = directory.load("org_a", "key_a")
    assert path.rev == 1
    assert not path.project.enabled


def test_an_older_load_that_ends_later_does_not_replace_a_newer_path(directory, store):
    directory.load("org_a", "proj_a")

    def another_worker() -> None:
        store.put(Node("proj_a", "project", "team_a", "Backend", enabled=False))
        directory.load("org_a", "proj_a")

    store.between = another_worker
    path = directory.load("org_a", "proj_a")
    assert path.rev == 2
    assert directory.peek("org_a", "proj_a") is path
    assert not path.project.enabled


def test_a_way_up_that_does_not_end_is_an_error(directory, store):
    store.put(Node("proj_x", "project", "proj_y", "X"), Node("proj_y", "project", "proj_x", "Y"))
    with pytest.raises(StoreError, match="proj_x"):
        directory.load("org_a", "proj_x")


def test_what_the_store_cannot_answer_is_no_answer(directory, store):
    store.close()
    with pytest.raises(StoreError):
        directory.load("org_a", "key_a")
    with pytest.raises(StoreError):
        directory.load_key("0" * 64)


def test_paths_are_bounded(store, clock):
    directory = Directory(store, clock, size=2)
    for node in ALL:
        directory.load("org_a", node.id)
    assert [directory.peek("org_a", node.id) is not None for node in ALL] == [False, False, True, True]


def test_a_node_is_located_in_its_organization(directory, store):
    """Through every page of organizations, and from memory the next time."""
    for number in range(150):
        other = Node(f"org_{number:03}", "organization", "", "Other")
        store.commit(other.id, Change(0, put=(to_doc(other),)))
    assert directory.locate("proj_a") == "org_a"
    store.asked.clear()
    assert directory.locate("proj_a") == "org_a"
    assert store.asked == {}


@pytest.mark.parametrize("node_id", ["proj_b", "", "no id"])
def test_what_stands_nowhere_is_not_located(directory, node_id):
    assert directory.locate(node_id) is None


# keys


def test_a_digest_is_unread_then_known(directory, store):
    store.link("d1", "org_a", "key_a")
    assert directory.peek_key("d1") is UNREAD
    assert directory.load_key("d1") == ("org_a", "key_a")
    store.asked.clear()
    place = directory.peek_key("d1")
    assert (place.org, place.key) == ("org_a", "key_a")
    assert store.asked == {}


def test_an_unknown_digest_stays_unknown_for_a_minute(directory, store, clock):
    assert directory.load_key("d1") is None
    store.link("d1", "org_a", "key_a")
    clock.now += UNKNOWN_MS - 1
    assert directory.peek_key("d1") is None
    clock.now += 1
    assert directory.peek_key("d1") is UNREAD


def test_a_key_that_was_just_made_is_known_at_once(directory):
    assert directory.load_key("d1") is None
    directory.learn_key("d1", "org_a", "key_a")
    assert directory.peek_key("d1") == ("org_a", "key_a")


def test_a_key_made_while_the_store_was_asked_for_it_is_known(directory, store):
    store.between = lambda: directory.learn_key("d1", "org_a", "key_a")
    assert directory.load_key("d1") == ("org_a", "key_a")
    assert directory.peek_key("d1") == ("org_a", "key_a")


def test_a_forgotten_digest_is_unread(directory):
    directory.learn_key("d1", "org_a", "key_a")
    directory.forget_key("d1")
    directory.forget_key("d1")
    assert directory.peek_key("d1") is UNREAD


def test_any_number_of_random_digests_takes_bounded_memory(directory, store):
    """I-27: of 100,000 unknown and 20,000 known digests, 10,000 each are remembered, the latest."""
    store.link("d1", "org_a", "key_a")
    directory.load_key("d1")
    digests = [secrets.token_hex(32) for _ in range(100_000)]
    for digest in digests:
        assert directory.load_key(digest) is None
    assert directory.peek_key("d1") == ("org_a", "key_a")
    assert sum(directory.peek_key(digest) is None for digest in digests) == 10_000
    assert directory.peek_key(digests[-10_000]) is None
    for digest in digests[:20_000]:
        directory.learn_key(digest, "org_a", "key_a")
    assert sum(directory.peek_key(digest) not in (None, UNREAD) for digest in digests) == 10_000
    assert directory.peek_key("d1") is UNREAD


def test_looks_and_loads_from_many_threads_agree(directory, store):
    """Eight threads read while one changes: each sees revisions only rise."""
    store.link("d1", "org_a", "key_a")

    def watch(_: int) -> bool:
        seen = []
        for _ in range(200):
            assert directory.load_key("d1") == ("org_a", "key_a")
            seen.append(directory.load("org_a", "key_a").rev)
            looked = directory.peek("org_a", "key_a")
            seen.append(looked.rev)
        return seen == sorted(seen)

    def change() -> bool:
        for turn in range(100):
            store.put(Node("proj_a", "project", "team_a", "Backend", enabled=bool(turn % 2)))
        return True

    with ThreadPoolExecutor(9) as pool:
        changing = pool.submit(change)
        assert all(pool.map(watch, range(8)))
        assert changing.result()
    assert directory.load("org_a", "key_a").rev == 101


def test_many_are_loaded_in_one_trip_once_the_way_up_is_known(
    store: WatchedStore, directory: Directory
) -> None:
    other = Node("proj_b", "project", "team_b", "Frontend")
    store.put(*ALL, Node("team_b", "team", "org_a", "Design"), other)
    ids = ["proj_a", "key_a", "proj_b", "org_a", "nothing", "proj_a"]
    first = directory.load_all("org_a", iter(ids))
    assert list(first) == ["proj_a", "key_a", "proj_b", "org_a"]
    assert first == {id: directory.load("org_a", id) for id in first}
    store.asked.clear()
    assert directory.load_all("org_a", list(first)) == first
    assert store.asked["read"] == 1
    store.put(Node("proj_b", "project", "team_a", "Frontend"), Node("team_a", "team", "org_a", "Platform"))
    store.put(drop=("key_a",))
    moved = directory.load_all("org_a", list(first))
    assert {id: path.ids for id, path in moved.items()} == {
        "proj_a": ("proj_a", "team_a", "org_a"),
        "proj_b": ("proj_b", "team_a", "org_a"),
        "org_a": ("org_a",),
    }
    assert moved["proj_a"].nodes[1].name == "Platform"
    assert directory.load_all("org_a", []) == {}
