"""Records kept elsewhere: every one of them once, whoever copies and wherever one stops; and read back as one."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware import Quota
from quotaware.archive import Archive
from quotaware.core.steps import Row
from quotaware.core.totals import FOREVER_MS
from quotaware.errors import ConfigurationError, StoreError
from quotaware.rollups import Folder
from quotaware.stores.memory import MemoryStore
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Store
from quotaware.tenancy.starts import SIMPLE_ORG
from quotaware.testing.store_suite.kit import in_threads
from quotaware.usage import UsageLog
from tests.calls import CENT, PRICES, spend
from tests.sums import ORG, Caller, check, moment, plain, set_zone
from tests.support import NOON, FakeClock


class Shelf(MemoryStore):
    """A store that breaks off at its n-th step from now, before it is done or (`after`) behind it; and that forgets its
    oldest records where it is told to.
    """

    breaks_in = -1
    after = False

    def folded(self, org: str) -> str:
        self._step()
        return super().folded(org)

    def records(
        self, org: str, since: int, until: int, after: str, limit: int, back: bool = False
    ) -> list[tuple[str, Row]]:
        self._step()
        return super().records(org, since, until, after, limit, back)

    def keep(self, org: str, after: str, rows: list[tuple[str, Row]]) -> bool:  # type: ignore[override]
        if not self.after:
            self._step()
        done = super().keep(org, after, rows)
        if self.after:
            self._step()
        return done

    def forget(self, most: int) -> None:
        rows = self._orgs[ORG].rows
        while len(rows) > most:
            rows.popleft()

    def _step(self) -> None:
        self.breaks_in -= 1
        if self.breaks_in == 0:
            raise StoreError("broken off")


def everything(store: Store) -> list[tuple[str, Row]]:
    look = super(Shelf, store).records if isinstance(store, Shelf) else store.records
    return look(ORG, 0, FOREVER_MS, "", 10**6)


def everything_of(store: Store, org: str) -> list[tuple[str, Row]]:
    return store.records(org, 0, FOREVER_MS, "", 10**6)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def main(clock: FakeClock) -> Shelf:
    return Shelf(clock)


@pytest.fixture
def shelf(clock: FakeClock) -> Shelf:
    return Shelf(clock)


@pytest.fixture
def caller(main: Shelf, clock: FakeClock) -> Caller:
    return Caller(main, clock)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.sampled_from(["call", "call", "lapse", "correct", "copy", "other", "fold"]), max_size=60),
    st.integers(1, 7),
)
def test_an_archive_has_every_record_once_whatever_the_pages(steps: list[str], page: int) -> None:
    """Two copiers of one archive, and a second archive that gets a complete copy of its own."""
    clock = FakeClock()
    main, shelf, second = Shelf(clock), Shelf(clock), Shelf(clock)
    caller = Caller(main, clock)
    mine, yours, other = Archive(main, shelf, page=page), Archive(main, shelf), Archive(main, second, page=3)
    for step in steps:
        match step:
            case "call":
                caller.call()
            case "lapse":
                caller.lapse()
            case "correct":
                caller.correct()
            case "copy":
                mine.copy(ORG)
            case "other":
                yours.copy(ORG)
            case "fold":
                Folder(main).fold(ORG)
                other.copy(ORG)
    for archive in (mine, other):
        while archive.copy(ORG):
            pass
    assert everything(shelf) == everything(second) == everything(main)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 4), st.booleans()), max_size=20), st.integers(1, 9))
def test_whoever_stops_in_the_middle_nothing_is_lost_or_kept_twice(
    breaks: list[tuple[bool, int, bool]], page: int
) -> None:
    """Before and behind every step in either store, the write with its answer lost among them."""
    clock = FakeClock()
    main, shelf = Shelf(clock), Shelf(clock)
    caller = Caller(main, clock)
    for there, step, after in breaks:
        caller.call()
        broken = shelf if there else main
        broken.breaks_in, broken.after = step, after
        with contextlib.suppress(StoreError):
            Archive(main, shelf, page=page).copy(ORG)
        broken.breaks_in = -1
    while Archive(main, shelf, page=page).copy(ORG):
        pass
    assert everything(shelf) == everything(main)


def test_copiers_at_once_keep_every_record_once(main: Shelf, shelf: Shelf, caller: Caller) -> None:
    calling = True

    def call() -> None:
        nonlocal calling
        for _ in range(600):
            caller.call()
        calling = False

    def work(number: int) -> None:
        archive = Archive(main, shelf, page=1 + number * 20)
        while calling or archive.copy(ORG):
            archive.copy(ORG)

    thread = Thread(target=call)
    thread.start()
    in_threads(4, work)
    thread.join()
    assert everything(shelf) == everything(main)


def test_it_says_how_much_was_to_be_copied(main: Shelf, shelf: Shelf, caller: Caller) -> None:
    archive = Archive(main, shelf, page=3)
    assert archive.copy(ORG) == 0
    for _ in range(5):
        caller.call()
    assert [archive.copy(ORG) for _ in range(3)] == [3, 2, 0]
    assert archive.copy("org_b") == 0


def test_a_store_is_not_its_own_archive(main: Shelf) -> None:
    with pytest.raises(ConfigurationError, match="another store") as error:
        Archive(main, main)
    assert error.value.field == "records"


def test_what_may_be_taken_away_is_in_the_archive(main: Shelf, shelf: Shelf, caller: Caller) -> None:
    archive = Archive(main, shelf, page=2)
    assert archive.has_oldest(ORG, 200)
    for _ in range(5):
        caller.call()
    assert not archive.has_oldest(ORG, 1)
    archive.copy(ORG)
    assert archive.has_oldest(ORG, 2)
    assert not archive.has_oldest(ORG, 3)
    while archive.copy(ORG):
        pass
    assert archive.has_oldest(ORG, 200)


def test_files_are_copied_folded_and_read_by_several_at_once(tmp_path: Path, clock: FakeClock) -> None:
    """Each thread has handles of its own on both files, as a process has; the main file keeps records for a day."""

    def open_both() -> tuple[Store, Archive]:
        main = open_store(f"sqlite:///{tmp_path}/main.db?records_days=1", clock)
        return main, Archive(main, open_store(f"sqlite:///{tmp_path}/archive.db", clock), page=40)

    main, archive = open_both()
    main.hello()
    archive.store.hello()
    set_zone(main, "Asia/Kathmandu")
    caller = Caller(main, clock)
    for number in range(150):
        caller.lapse() if number % 9 == 0 else caller.call()
        clock.advance(1_200_000)
    expected = everything(main)

    def keep_house(number: int) -> None:
        main, archive = open_both()
        folder = Folder(main, archive, page=30 + number)
        while archive.copy(ORG) or folder.fold(ORG):
            main.prune(ORG, 10)
        main.close()
        archive.store.close()

    in_threads(3, keep_house)
    while main.prune(ORG, 50):
        pass
    assert len(everything(main)) < 100
    assert everything(archive.store) == archive.records(ORG, 0, FOREVER_MS, "", 999) == expected
    assert archive.records(ORG, 0, FOREVER_MS, "", 999, True) == expected[::-1]
    assert archive.records(ORG, 0, FOREVER_MS, expected[70][0], 9, True) == expected[69:60:-1]
    log = UsageLog(main, Folder(main, archive), clock)
    since, until = moment(NOON + 7_654_321), moment(NOON + 100_000_000)
    for by in (("model",), ("tag",), ("end_user", "status")):
        for bucket in (None, "day"):
            totals = log.totals(ORG, since=since, until=until, by=by, bucket=bucket)
            found = log.records(ORG, since=since, until=until)
            check(totals, plain(found, by, bucket, "Asia/Kathmandu"))
    for store in (main, archive.store):
        store.close()


# reading


@pytest.mark.parametrize("copied", [0, 1, 4, 9, 10])
@pytest.mark.parametrize("left", [10, 8, 3, 0])
def test_records_are_read_as_if_they_were_in_one_place(
    main: Shelf, shelf: Shelf, caller: Caller, copied: int, left: int
) -> None:
    """Wherever the copy ends, and whatever the main store has forgotten of what was copied."""
    for _ in range(10):
        caller.call()
        caller.clock.advance(7)
    expected = everything(main)
    archive = Archive(main, shelf, page=copied or 1)
    if copied:
        archive.copy(ORG)
    main.forget(max(left, 10 - copied))
    for size in (1, 2, 3, 9, 10, 11):
        found: list[tuple[str, Row]] = []
        while page := archive.records(ORG, 0, FOREVER_MS, found[-1][0] if found else "", size):
            assert len(page) == min(size, 10 - len(found))
            found += page
        assert found == expected
    begin, end = expected[2][1].settled_at, expected[8][1].settled_at
    assert archive.records(ORG, begin, end, "", 99) == [
        each for each in expected if begin <= each[1].settled_at < end
    ]
    assert archive.records(ORG, begin, end, expected[5][0], 2) == expected[6:8]


def test_what_is_copied_and_forgotten_while_it_is_read_is_found(
    main: Shelf, shelf: Shelf, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look into the archive and the one into the main store."""
    for _ in range(6):
        caller.call()
    expected = everything(main)
    archive = Archive(main, shelf, page=2)
    read = main.records

    def moving(*which: object) -> list[tuple[str, Row]]:
        monkeypatch.undo()
        archive.copy(ORG)
        main.forget(4)
        return read(*which)  # type: ignore[arg-type]

    monkeypatch.setattr(main, "records", moving)
    assert archive.records(ORG, 0, FOREVER_MS, "", 99) == expected


def test_the_log_and_its_totals_reach_back_into_the_archive(
    main: Shelf, shelf: Shelf, caller: Caller, clock: FakeClock
) -> None:
    archive = Archive(main, shelf)
    folder = Folder(main, archive)
    log = UsageLog(main, folder, clock)
    for _ in range(20):
        caller.call()
        clock.advance(600_000)
    before = list(log.records(ORG))
    archive.copy(ORG)
    folder.fold(ORG)
    main.forget(3)
    caller.call()
    assert list(log.records(ORG))[:20] == before
    since = moment(NOON + 3_000_000)
    for by in (("model",), ("end_user", "model")):
        totals = log.totals(ORG, since=since, by=by)
        assert {total.since for total in totals} == {since}
        check(totals, plain(log.records(ORG, since=since), by))


def test_sums_that_are_lost_with_the_main_store_are_made_anew_from_the_archive(
    shelf: Shelf, main: Shelf, caller: Caller, clock: FakeClock
) -> None:
    for _ in range(9):
        caller.call()
    Archive(main, shelf).copy(ORG)
    emptied = Shelf(clock)
    clock.advance(1)
    Caller(emptied, clock, seed=1).call()
    archive = Archive(emptied, shelf)
    folder = Folder(emptied, archive, page=4)
    while folder.fold(ORG):
        pass
    log = UsageLog(emptied, folder, clock)
    assert sum(total.calls for total in log.totals(ORG)) == 10
    check(log.totals(ORG), plain(log.records(ORG), ("model",)))


def test_a_quota_keeps_its_records_elsewhere(tmp_path: Path) -> None:
    """`records=`: what the store let go of is still there, and the totals are those of all."""
    elsewhere = f"sqlite:///{tmp_path}/records.db"
    with closing_at_the_end(Quota(limits=["$9/day"], records=elsewhere, prices=PRICES)) as quota:
        for _ in range(5):
            spend(quota)
        assert quota.flush()
        keep_house(quota)
        quota.store._orgs[SIMPLE_ORG].rows.clear()
        spend(quota)
        assert [record.cost for record in quota.blocking.usage.records()] == [CENT] * 6
        (total,) = quota.blocking.usage.totals(by=())
        assert (total.calls, total.cost) == (6, 6 * CENT)


def keep_house(quota: Quota) -> None:
    """As its thread does, some seconds later."""
    quota._keeper.turn([SIMPLE_ORG])
    later = quota._keeper._timer() + 6
    quota._keeper._timer = lambda: later
    while quota._keeper.turn():
        pass


def test_an_archive_that_is_away_for_a_while_is_said_so(tmp_path: Path) -> None:
    """By `health`, from its first failure until it answers again; calls go on, and every record is kept."""
    place = tmp_path / "elsewhere"
    place.mkdir()
    quota = Quota(limits=["$9/day"], records=f"sqlite:///{place}/records.db", prices=PRICES)
    with closing_at_the_end(quota):
        spend(quota)
        assert quota.health["records"] == "ok"
        place.rename(tmp_path / "gone")
        for _ in range(2):
            spend(quota)
            keep_house(quota)
            assert (quota.health["records"], quota.health["store"]) == ("away", "ok")
        (tmp_path / "gone").rename(place)
        keep_house(quota)
        assert quota.health["records"] == "ok"
        assert len(everything_of(quota._archive.store, SIMPLE_ORG)) == 3
    assert "records" not in Quota(limits=["$9/day"]).health


def test_an_archive_that_does_not_answer_at_the_start_refuses_no_call(tmp_path: Path) -> None:
    path = tmp_path / "records.db"
    quota = Quota(limits=["$9/day"], records=f"sqlite:///{path}", prices=PRICES)
    with closing_at_the_end(quota):
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN EXCLUSIVE")
            spend(quota)
            assert (quota.health["records"], quota.health["store"]) == ("away", "ok")
        keep_house(quota)
        quota._archive.store.hello()
        assert quota.health["records"] == "ok"


def test_an_archive_is_away_while_one_organization_fails_in_it(
    main: Shelf, shelf: Shelf, caller: Caller
) -> None:
    caller.call()
    archive = Archive(main, shelf)
    shelf.breaks_in = 1
    with pytest.raises(StoreError):
        archive.copy(ORG)
    archive.copy("org_b")
    assert archive.state == "away"
    archive.copy(ORG)
    assert archive.state == "ok"


def test_an_archive_that_was_put_back_goes_on_with_what_it_has(
    tmp_path: Path, main: Shelf, caller: Caller, clock: FakeClock
) -> None:
    """What it lost is copied again, as far as the main store has it; one that is gone is not made anew."""
    path = tmp_path / "records.db"
    archive = Archive(main, open_store(f"sqlite:///{path}", clock))
    for _ in range(3):
        caller.call()
    archive.copy(ORG)
    with closing(sqlite3.connect(path)) as look:
        look.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    caller.call()
    archive.copy(ORG)
    (tmp_path / "backup.db").replace(path)
    caller.call()
    assert archive.copy(ORG) == 2
    assert everything(archive.store) == everything(main)
    for file in tmp_path.glob("records.db*"):
        file.unlink()
    with pytest.raises(StoreError, match="is gone; put it back"):
        archive.copy(ORG)
    assert archive.state == "away"
    assert not path.exists()
    archive.store.close()


@contextmanager
def closing_at_the_end(quota: Quota) -> Iterator[Quota]:
    yield quota
    assert quota.close()


@pytest.mark.parametrize("records", ["memory://", "nowhere://", 5, ""])
def test_a_store_for_records_that_cannot_be_one_is_named(records: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Quota("memory://", records=records)
    assert caught.value.field in ("records", "store")


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize(
    "spelling",
    [
        "sqlite:///{place}/main.db",
        "SQLite:///{place}/main.db?records_days=none",
        "sqlite:///{place}/./sub/../main.db",
        "sqlite:///{place}/m%61in.db?durability=relaxed",
        "sqlite:///main.db",
        "sqlite:///sub/../main.db",
        "sqlite:///{place}/link.db",
        "sqlite:///{place}/directory/main.db",
    ],
)
def test_the_same_file_by_another_name_is_no_other_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spelling: str, there: bool
) -> None:
    """Whether it is there already or not."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "link.db").symlink_to("main.db")
    (tmp_path / "directory").symlink_to(tmp_path)
    store = f"sqlite:///{tmp_path}/main.db"
    if there:
        made = open_store(store, FakeClock())
        made.hello()
        made.close()
    with pytest.raises(ConfigurationError, match="is another store than the one") as caught:
        Quota(store, records=spelling.format(place=tmp_path))
    assert caught.value.field == "records"


def test_a_second_name_of_the_file_is_no_other_store(tmp_path: Path) -> None:
    (tmp_path / "main.db").touch()
    os.link(tmp_path / "main.db", tmp_path / "second.db")
    with pytest.raises(ConfigurationError, match="is another store than the one"):
        Quota(f"sqlite:///{tmp_path}/main.db", records=f"sqlite:///{tmp_path}/second.db")


def test_another_file_is_another_store(tmp_path: Path) -> None:
    quota = Quota(f"sqlite:///{tmp_path}/main.db", records=f"sqlite:///{tmp_path}/second.db")
    assert quota.health["records"] == "ok"
    assert quota.close()


@pytest.mark.parametrize(
    "spelling",
    [
        "redis://localhost",
        "valkey://localhost:6379/0?records_days=9",
        "rediss://me:secret@localhost/0?prefix=qw",
    ],
)
def test_the_same_redis_by_another_url_is_no_other_store(spelling: str) -> None:
    with pytest.raises(ConfigurationError, match="is another store than the one"):
        Quota("redis://localhost:6379/0", records=spelling)


@pytest.mark.parametrize(
    "other", ["redis://localhost:6380", "redis://localhost/1", "redis://localhost?prefix=records"]
)
def test_another_place_in_redis_is_another_store(other: str) -> None:
    assert Quota("redis://localhost:6379/0", records=other).close()
