"""Housekeeping: what is due is done, by one at a time, a little at once; what fails is done later."""

from __future__ import annotations

import logging
from collections import Counter as Tally
from collections.abc import Sequence
from typing import Any

import pytest

from quotaware import housekeeping
from quotaware.archive import Archive
from quotaware.core.rollups import DAY_MS, Keep
from quotaware.core.steps import NOTHING, Answer, Plan, Reserve, Settle, Sum
from quotaware.core.totals import FOREVER_MS
from quotaware.errors import Lost, StoreError
from quotaware.housekeeping import FOLD_AT, FOLD_S, HEARD, LATER_S, ORGANIZATIONS, PRUNE_S, Housekeeper
from quotaware.stores.memory import MemoryStore
from tests.sums import ORG, Caller, set_zone
from tests.support import FakeClock


class Timer:
    """Seconds, moved by hand; `each` passes at every look."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.each = 0.0

    def __call__(self) -> float:
        self.now += self.each
        return self.now


class House(MemoryStore):
    """A store that counts what is done in it, and fails at some of it."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.clock = clock
        self.done: Tally[str] = Tally()
        self.fails: dict[str, Exception] = {}

    def lane(self, org: str) -> str:
        return "second" if org == "org_b" else "first"

    def _do(self, what: str, org: str) -> None:
        self.done[what] += 1
        if error := self.fails.get(what) or self.fails.get(org):
            raise error

    def folded(self, org: str) -> str:
        self._do("look", org)
        return super().folded(org)

    def fold(self, org: str, after: str, upto: str, put: Sequence[Sum]) -> bool:
        self._do("fold", org)
        return super().fold(org, after, upto, put)

    def prune(self, org: str, limit: int) -> int:
        self._do("prune", org)
        return super().prune(org, limit)

    def orgs(self, after: str, limit: int) -> list[str]:
        self._do("orgs", "")
        return super().orgs(after, limit)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def timer() -> Timer:
    return Timer()


@pytest.fixture
def store(clock: FakeClock) -> House:
    return House(clock)


@pytest.fixture
def caller(store: House, clock: FakeClock) -> Caller:
    return Caller(store, clock)


@pytest.fixture
def keeper(store: House, timer: Timer) -> Housekeeper:
    return Housekeeper(store, timer=timer)


def hear(keeper: Housekeeper, settles: int, org: str = ORG) -> None:
    plan = Plan(org, 0, (), ())
    ops: list[Any] = [Settle("id", plan, NOTHING, "")] * settles
    ops.append(Reserve("id", plan, NOTHING, NOTHING, 0, ""))
    keeper.heard(org, Answer(0, 0, [], {}, [], 0), ops)


def behind(store: House, org: str = ORG) -> int:
    return len(store.records(org, 0, FOREVER_MS, MemoryStore.folded(store, org), 10**6))


def pass_by(timer: Timer, store: House, seconds: float) -> None:
    timer.now += seconds
    store.clock.advance(int(seconds * 1000))


def test_many_settles_are_folded_at_once(keeper: Housekeeper, store: House, caller: Caller) -> None:
    for _ in range(FOLD_AT):
        caller.call()
    hear(keeper, FOLD_AT - 1)
    assert not keeper.turn()
    assert store.done["fold"] == 0
    hear(keeper, 1)
    assert not keeper.turn()
    assert behind(store) == 0
    done = store.done["fold"]
    assert done == FOLD_AT / housekeeping.PAGE
    assert not keeper.turn()
    assert store.done["fold"] == done


def test_a_few_are_folded_after_five_seconds(
    keeper: Housekeeper, store: House, caller: Caller, timer: Timer
) -> None:
    caller.call()
    hear(keeper, 1)
    keeper.turn()
    pass_by(timer, store, FOLD_S - 0.1)
    keeper.turn()
    assert store.done["look"] == 0
    pass_by(timer, store, 0.1)
    keeper.turn()
    assert behind(store) == 0


def test_answers_without_a_settle_are_heard_of_once(keeper: Housekeeper, store: House, timer: Timer) -> None:
    """The organization is looked after, since others may have left something there; no answer folds it again."""
    hear(keeper, 0)
    keeper.turn()
    assert keeper.organizations() == [ORG]
    pass_by(timer, store, FOLD_S)
    keeper.turn()
    looks = store.done["look"]
    hear(keeper, 0)
    pass_by(timer, store, FOLD_S)
    keeper.turn()
    assert store.done["look"] == looks


def test_a_turn_begins_nothing_after_its_time(
    keeper: Housekeeper, store: House, caller: Caller, timer: Timer
) -> None:
    """And the next one goes on with what has waited longest."""
    for _ in range(3 * housekeeping.PAGE):
        caller.call()
    caller.call(org="org_b")
    keeper.turn([ORG, "org_b"])
    pass_by(timer, store, FOLD_S)
    timer.each = housekeeping.TURN_S / 6
    turns = 0
    while keeper.turn():
        turns += 1
        assert turns < 50
    assert turns > 1
    assert behind(store) == behind(store, "org_b") == 0


def test_while_another_folds_it_is_left_to_it(
    keeper: Housekeeper, store: House, caller: Caller, timer: Timer
) -> None:
    caller.call()
    other = Housekeeper(store, timer=timer)
    assert other._folder.turn.take(ORG)
    keeper.turn([ORG])
    pass_by(timer, store, FOLD_S)
    assert not keeper.turn()
    assert behind(store) == 1
    other._folder.turn.let_go(ORG)
    pass_by(timer, store, FOLD_S)
    keeper.turn()
    assert behind(store) == 0


def old_sums(store: House, count: int) -> None:
    store.fold(ORG, "", "1-0", [Sum("hour", n, "[]", "{}", 1) for n in range(count)])


def test_what_is_past_its_time_is_taken_away_once_a_minute(
    keeper: Housekeeper, store: House, timer: Timer
) -> None:
    """In pieces, until there is no more; by one of many."""
    set_zone(store, "UTC")
    old_sums(store, 3 * housekeeping.PRUNE)
    other = Housekeeper(store, timer=timer)
    for each in (keeper, other):
        each.turn([ORG])
    store.apply({ORG: []}, 1.0)
    pass_by(timer, store, PRUNE_S)
    for each in (keeper, other):
        assert not each.turn()
    assert store._orgs[ORG].sums == {}
    assert store.done["prune"] == 4
    pass_by(timer, store, PRUNE_S - 1)
    keeper.turn()
    assert store.done["prune"] == 4
    pass_by(timer, store, 1)
    keeper.turn()
    assert store.done["prune"] == 5


def test_sums_are_kept_as_long_as_it_was_told(
    store: House, caller: Caller, timer: Timer, clock: FakeClock
) -> None:
    keeper = Housekeeper(store, keep=Keep(hour=DAY_MS, day=2 * DAY_MS), timer=timer)
    caller.call()
    keeper.turn([ORG])
    pass_by(timer, store, FOLD_S)
    keeper.turn()
    keeps = {each.cube: each.keep - each.bucket for each in store._orgs[ORG].sums.values()}
    assert keeps["calls.hour@UTC"] == DAY_MS + 3_600_000
    assert keeps["calls.day@UTC"] == 3 * DAY_MS


def test_organizations_that_nobody_calls_in_are_found(
    keeper: Housekeeper, store: House, caller: Caller, timer: Timer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process left behind that is gone; a few at a time, then from the beginning."""
    monkeypatch.setattr(housekeeping, "ROAM", 2)
    for org in ("org_a", "org_b", "org_c"):
        set_zone(store, "UTC", org)
        caller.call(org=org)
    for _ in range(2):
        pass_by(timer, store, PRUNE_S)
        keeper.turn()
        pass_by(timer, store, FOLD_S)
        keeper.turn()
    assert [behind(store, org) for org in ("org_a", "org_b", "org_c")] == [0, 0, 0]
    pass_by(timer, store, PRUNE_S)
    keeper.turn()
    pass_by(timer, store, PRUNE_S)
    store.fails["orgs"] = StoreError("away")
    keeper.turn()
    assert keeper._roamed == ""


def test_the_memory_of_what_was_heard_is_bounded(
    keeper: Housekeeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "ORGANIZATIONS", 3)
    for number in range(6):
        hear(keeper, 1, f"org_{number}")
    hear(keeper, 1, "org_4")
    keeper.turn()
    assert list(keeper._cares) == ["org_3", "org_5", "org_4"]
    assert (keeper._heard.maxlen, ORGANIZATIONS) == (HEARD, 10_000)


# what fails


def test_what_the_store_refuses_is_done_later(
    keeper: Housekeeper, store: House, caller: Caller, timer: Timer
) -> None:
    """One try a lane: nothing of it may answer, and each try may take a deadline."""
    for org in ("org_a", "org_b", "org_c"):
        caller.call(org=org)
    keeper.turn(["org_a", "org_c", "org_b"])
    pass_by(timer, store, FOLD_S)
    store.fails = {"org_a": StoreError("away"), "org_c": StoreError("away")}
    assert not keeper.turn()
    assert store.done["look"] == 2
    assert behind(store, "org_b") == 0
    store.fails = {}
    pass_by(timer, store, LATER_S)
    keeper.turn()
    assert behind(store, "org_a") == behind(store, "org_c") == 0


def test_a_lost_organization_keeps_no_other_waiting(
    keeper: Housekeeper, store: House, caller: Caller, timer: Timer
) -> None:
    for org in ("org_a", "org_c"):
        caller.call(org=org)
    keeper.turn(["org_a", "org_c"])
    pass_by(timer, store, FOLD_S)
    store.fails = {"org_a": Lost("gone")}
    assert not keeper.turn()
    assert (behind(store, "org_a"), behind(store, "org_c")) == (1, 0)


def test_a_record_that_cannot_be_read_stops_nothing_else(
    keeper: Housekeeper, store: House, caller: Caller, timer: Timer, caplog: pytest.LogCaptureFixture
) -> None:
    caller.call(org="org_c")
    caller.call()
    _, row = store._orgs[ORG].rows.pop()
    store._orgs[ORG].rows.append(((5, 0), row._replace(about="{")))
    keeper.turn([ORG, "org_c"])
    pass_by(timer, store, FOLD_S)
    with caplog.at_level(logging.ERROR, "quotaware"):
        assert not keeper.turn()
    assert "housekeeping of org_a failed" in caplog.text
    assert behind(store, "org_c") == 0


# an archive


@pytest.fixture
def shelf(clock: FakeClock) -> House:
    return House(clock)


def test_records_are_copied_and_then_folded(store: House, shelf: House, caller: Caller, timer: Timer) -> None:
    archive = Archive(store, shelf, page=10)
    keeper = Housekeeper(store, archive, timer=timer)
    for _ in range(25):
        caller.call()
    keeper.turn([ORG])
    pass_by(timer, store, FOLD_S)
    assert not keeper.turn()
    assert behind(store) == behind(shelf) == 0
    assert len(shelf._orgs[ORG].rows) == 25


def test_nothing_is_taken_away_before_the_archive_has_it(
    store: House, shelf: House, caller: Caller, timer: Timer
) -> None:
    """I-2 of records kept elsewhere: while the archive is away, or another's turn to copy, the main store keeps all."""
    archive = Archive(store, shelf)
    keeper = Housekeeper(store, archive, timer=timer)
    caller.call()
    keeper.turn([ORG])
    assert Archive(store, shelf).turn.take(ORG)
    pass_by(timer, store, FOLD_S)
    keeper.turn()
    assert behind(store) == 0
    assert shelf._orgs[ORG].rows == type(shelf._orgs[ORG].rows)()
    pass_by(timer, store, PRUNE_S - FOLD_S - 1)
    shelf.fails["look"] = StoreError("away")
    pass_by(timer, store, 1)
    keeper.turn()
    assert store.done["prune"] == 0
    del shelf.fails["look"]
    pass_by(timer, store, PRUNE_S)
    keeper.turn()
    pass_by(timer, store, PRUNE_S)
    keeper.turn()
    assert store.done["prune"] == shelf.done["prune"] >= 1
    assert len(shelf._orgs[ORG].rows) == 1
