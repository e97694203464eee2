"""Folding: whoever folds, in whatever pages, and wherever one stops, every record is in the sums once."""

from __future__ import annotations

import contextlib
import json
from collections import Counter as Tally
from collections.abc import Sequence
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.rollups import CUBES, DAY_MS, Keep, fold, of_body, read
from quotaware.core.steps import Row, Sum
from quotaware.core.totals import FOREVER_MS
from quotaware.errors import StoreError
from quotaware.rollups import Folder, History, dims_of, pages, zone_of
from quotaware.stores.memory import MemoryStore
from quotaware.testing.store_suite.kit import in_threads
from tests.sums import ORG, Caller, set_zone
from tests.support import NOON, FakeClock


class BreakingStore(MemoryStore):
    """Breaks off at the n-th step from now, before it is done or (`after`) behind it."""

    breaks_in = -1
    after = False
    counted: Tally[str]

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.counted = Tally()

    def _step(self, name: str) -> None:
        self.counted[name] += 1
        self.breaks_in -= 1
        if self.breaks_in == 0:
            raise StoreError("broken off")

    def folded(self, org: str) -> str:
        self._step("folded")
        return super().folded(org)

    def records(
        self, org: str, since: int, until: int, after: str, limit: int, back: bool = False
    ) -> list[tuple[str, Row]]:
        self._step("records")
        return super().records(org, since, until, after, limit, back)

    def pick(self, org: str, which: Sequence[tuple[str, int, str]]) -> list[str | None]:
        self._step("pick")
        return super().pick(org, which)

    def fold(self, org: str, after: str, upto: str, put: Sequence[Sum]) -> bool:
        if self.after:
            done = super().fold(org, after, upto, put)
            self._step("fold")
            return done
        self._step("fold")
        return super().fold(org, after, upto, put)


def sums(store: MemoryStore, zone: str = "UTC") -> dict[tuple[str, int, tuple[object, ...]], dict[str, int]]:
    """All sums of a store in a zone, and the steps of durations under their own names."""
    return {
        (f"{cube.name}.{period}", each.bucket, dims_of(each.dims)): whole(*of_body(each.body))
        for cube in CUBES
        for period in cube.periods
        for each in store.sums(ORG, cube.table(period, zone), 0, FOREVER_MS)
    }


def whole(measures: dict[str, int], steps: str) -> dict[str, int]:
    return {**measures, **(json.loads(steps) if steps else {})}


def expected(
    store: MemoryStore, zone: str = "UTC"
) -> dict[tuple[str, int, tuple[object, ...]], dict[str, int]]:
    """What all records come to at once."""
    rows = [row for _, row in MemoryStore.records(store, ORG, 0, FOREVER_MS, "", 10**6)]
    return {
        (f"{b.cube.name}.{b.period}", b.begin, values): {**cell.measures, **cell.steps}
        for (b, values), cell in fold(map(read, rows), zone).items()
    }


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> BreakingStore:
    return BreakingStore(clock)


@pytest.fixture
def caller(store: BreakingStore, clock: FakeClock) -> Caller:
    return Caller(store, clock)


def history(store: MemoryStore) -> History:
    return History.of(store, ORG)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(["call", "call", "lapse", "correct", "fold", "hours"]), max_size=60),
    st.integers(1, 7),
    st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu"]),
)
def test_whatever_the_pages_all_records_are_in_the_sums_once(steps: list[str], page: int, zone: str) -> None:
    """Corrections long after their call, in any order with the folding."""
    clock = FakeClock(NOON - 40 * DAY_MS)
    store = BreakingStore(clock)
    set_zone(store, zone)
    caller, folder = Caller(store, clock), Folder(store, page=page)
    for step in steps:
        match step:
            case "call":
                caller.call()
            case "lapse":
                caller.lapse()
            case "correct":
                caller.correct()
            case "fold":
                folder.fold(ORG)
            case "hours":
                clock.advance(caller.chance.randrange(30 * 3_600_000))
    while folder.fold(ORG):
        pass
    assert sums(store, zone) == expected(store, zone)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.integers(1, 6), st.booleans()), max_size=20), st.integers(1, 9))
def test_whoever_stops_in_the_middle_nothing_is_lost_or_summed_twice(
    breaks: list[tuple[int, bool]], page: int
) -> None:
    """I-7 of folding: before and behind every step, the write with its answer lost among them."""
    clock = FakeClock()
    store = BreakingStore(clock)
    caller = Caller(store, clock)
    for step, after in breaks:
        caller.call()
        store.breaks_in, store.after = step, after
        with contextlib.suppress(StoreError):
            Folder(store, page=page).fold(ORG)
        store.breaks_in = -1
    while Folder(store, page=page).fold(ORG):
        pass
    assert sums(store) == expected(store)


def test_folders_at_once_sum_every_record_once(store: BreakingStore, caller: Caller) -> None:
    """Four threads that all fold while others call; no lease between them."""
    calling = True

    def call() -> None:
        nonlocal calling
        for _ in range(600):
            caller.call()
        calling = False

    def work(number: int) -> None:
        folder = Folder(store, page=1 + number * 20)
        while calling or folder.fold(ORG):
            folder.fold(ORG)

    thread = Thread(target=call)
    thread.start()
    in_threads(4, work)
    thread.join()
    while Folder(store).fold(ORG):
        pass
    assert sums(store) == expected(store)


def test_one_that_others_overtook_writes_nothing(
    store: BreakingStore, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its look at the sums that stand and its own write."""
    caller.call()
    pick = store.pick

    def overtaken(org: str, which: Sequence[tuple[str, int, str]]) -> list[str | None]:
        found = pick(org, which)
        monkeypatch.undo()
        assert Folder(store).fold(ORG) == 1
        return found

    monkeypatch.setattr(store, "pick", overtaken)
    assert Folder(store).fold(ORG) == 1
    assert Folder(store).fold(ORG) == 0
    assert sums(store) == expected(store)


def test_it_says_how_much_was_behind_the_watermark(store: BreakingStore, caller: Caller) -> None:
    folder = Folder(store, page=3)
    assert folder.fold(ORG) == 0
    for _ in range(5):
        caller.call()
    assert [folder.fold(ORG) for _ in range(3)] == [3, 2, 0]
    caller.call()
    assert folder.fold(ORG, least=2) == 0
    assert store.folded(ORG) == store.records(ORG, 0, FOREVER_MS, "", 9)[4][0]
    caller.call()
    assert folder.fold(ORG, least=2) == 2


def test_organizations_have_sums_of_their_own(store: BreakingStore, caller: Caller) -> None:
    caller.call()
    caller.call(org="org_b")
    assert Folder(store).fold("org_b") == 1
    assert (sums(store), store.folded(ORG)) == ({}, "")


def test_sums_are_exact_whatever_their_size(store: BreakingStore, caller: Caller) -> None:
    """Far above 2**53, and above 2**64."""
    set_zone(store, "UTC")
    folder = Folder(store)
    for _ in range(3):
        caller.call(team="t1", project="p1")
        folder.fold(ORG)
        huge = [
            each for each in store._orgs[ORG].sums.values() if each.cube.startswith(("calls", "projects"))
        ]
        for each in huge:
            body = {**of_body(each.body)[0], "cost": 2**80 + 1}
            store._orgs[ORG].sums[each[:3]] = each._replace(body=json.dumps(body))
        caller.call(team="t1", project="p1")
        ((_, last),) = store.records(ORG, 0, FOREVER_MS, store.folded(ORG), 2)
        folder.fold(ORG)
        costs = {m["cost"] for m in sums(store).values()}
        assert 2**80 + 1 + last.real[1] in costs


def test_hours_and_days_are_kept_as_long_as_was_said(
    store: BreakingStore, caller: Caller, clock: FakeClock
) -> None:
    """From their end on; what is folded anew keeps its time."""
    caller.call(project="p1", key="k1", end_user="ann", tags={"job": "nightly"})
    Folder(store).fold(ORG)
    day = NOON - NOON % DAY_MS + DAY_MS
    keeps = {each.cube: each.keep for each in store._orgs[ORG].sums.values()}
    hour = NOON + 3_600_000
    assert keeps == {
        **{f"{name}.hour@UTC": hour + 35 * DAY_MS for name in ("projects", "models", "calls")},
        **{
            f"{name}.day@UTC": day + 400 * DAY_MS
            for name in ("projects", "models", "calls", "end_users", "tags")
        },
        **{f"{name}.names@UTC": day + 400 * DAY_MS for name in ("models", "end_users", "tags")},
        "zones": FOREVER_MS,
        "last_used": FOREVER_MS,
    }
    clock.advance(36 * DAY_MS)
    caller.call()
    Folder(store, keep=Keep(hour=1, day=2)).fold(ORG)
    assert store.prune(ORG, 200) == 3
    assert not any(kind == "calls.hour" and at < hour for kind, at, _ in sums(store))
    assert sum(m["calls"] for (kind, *_), m in sums(store).items() if kind == "calls.day") == 2
    clock.advance(1000 * DAY_MS)
    caller.call()
    while store.prune(ORG, 200):
        pass
    assert sums(store) == {}
    assert history(store).first


def test_the_zone_is_the_organizations_and_is_remembered_with_the_sums(
    store: BreakingStore, caller: Caller
) -> None:
    assert zone_of(store, ORG) == "UTC"
    folder = Folder(store)
    for zone in ("Europe/Berlin", "Europe/Berlin", "Asia/Kolkata", "Europe/Berlin"):
        set_zone(store, zone)
        assert zone_of(store, ORG) == zone
        caller.call()
        folder.fold(ORG)
    at = [position for position, _ in store.records(ORG, 0, FOREVER_MS, "", 9)]
    known = history(store)
    assert known.first == at[0]
    assert known.zones == {"Europe/Berlin", "Asia/Kolkata"}
    assert [known.zone_at(each) for each in at] == [
        "Europe/Berlin",
        "Europe/Berlin",
        "Asia/Kolkata",
        "Europe/Berlin",
    ]
    assert (known.zone_at("0-0"), known.zone_at(f"{1 << 50}-0")) == (None, "Europe/Berlin")
    calls = {
        zone: sum(m["calls"] for (kind, *_), m in sums(store, zone).items() if kind == "calls.day")
        for zone in known.zones
    }
    assert calls == {"Europe/Berlin": 3, "Asia/Kolkata": 1}


def test_of_nothing_there_is_no_history(store: BreakingStore) -> None:
    known = history(store)
    assert (known.first, known.zones, known.zone_at("5-0")) == ("", set(), None)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 6])
def test_pages_lose_and_repeat_nothing(store: BreakingStore, caller: Caller, size: int) -> None:
    for _ in range(5):
        caller.call()
    everything = store.records(ORG, 0, FOREVER_MS, "", 99)
    assert [row for page in pages(store, ORG, 0, FOREVER_MS, "", size) for row in page] == everything
    assert list(pages(store, ORG, 0, FOREVER_MS, everything[-1][0], size)) == []
