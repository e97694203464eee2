"""The write-ahead log beside an SQLite file: what a crash left in it is played, and another file's log never is."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from quotaware.core.steps import NOTHING, Peek, Reserve
from quotaware.errors import ConfigurationError, StoreError
from quotaware.stores.sqlite import SQLiteStore, file, log
from quotaware.stores.sqlite.log import COUNTS, is_foreign, log_of
from quotaware.testing.store_suite.kit import FOREVER, ORG, ask, budget, commit, doc, in_threads
from tests.support import FakeClock, run_module

WORKERS = "tests.stores.sqlite_workers"
LIMIT = budget(FOREVER >> 10)

Opens = Callable[..., SQLiteStore]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quota.db"


@pytest.fixture
def opened(path: Path, clock: FakeClock) -> Iterator[Opens]:
    made: list[SQLiteStore] = []

    def open_one(at: Path = path, **options: Any) -> SQLiteStore:
        made.append(SQLiteStore(str(at), clock, **options))
        return made[-1]

    yield open_one
    for store in made:
        store.close()


@pytest.fixture
def write(new: Callable[[], str]) -> Callable[[SQLiteStore, int], None]:
    """Reserves 1 so many times, each in a transaction of its own."""

    def reserve(store: SQLiteStore, times: int) -> None:
        for _ in range(times):
            ask(store, Reserve(new(), LIMIT, (0, 1, 0), NOTHING, 60_000, ""))

    return reserve


def held(store: SQLiteStore) -> int:
    return ask(store, Peek(LIMIT)).totals["budget"][1]


def checkpoint(path: Path) -> None:
    """Copies the log into the file; the next that writes begins the log anew."""
    with contextlib.closing(sqlite3.connect(path)) as look:
        assert look.execute("PRAGMA wal_checkpoint").fetchone()[0] == 0


def crashed(path: Path) -> Path:
    """What a crash would leave at this moment, elsewhere."""
    to = Path(tempfile.mkdtemp(dir=path.parent)) / path.name
    for end in ("", "-wal"):
        shutil.copyfile(f"{path}{end}", f"{to}{end}")
    return to


def frames(path: Path) -> int:
    """How many pages SQLite would play of the log beside a file."""
    with contextlib.closing(sqlite3.connect(crashed(path))) as look:
        busy, found, _ = look.execute("PRAGMA wal_checkpoint").fetchone()
    assert not busy
    return int(found)


def sound(path: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as look:
        assert look.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# a crash


def test_what_a_killed_process_had_acknowledged_is_there_when_another_opens_the_file(tmp_path):
    """I-7: the only process, killed while it writes and copies the log into the file, 25 times; each time a new one
    opens the file and finds all of it.
    """
    assert int(run_module(WORKERS, "restarts", str(tmp_path / "q.db"), "25", "1")) > 25


@pytest.mark.slow
def test_what_a_process_killed_three_hundred_times_had_acknowledged_is_there(tmp_path):
    """I-7."""
    assert int(run_module(WORKERS, "restarts", str(tmp_path / "q.db"), "300", "2", timeout=600)) > 300


@pytest.mark.parametrize("before", [0, 1, 7])
@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("behind", [0, 1, 7])
def test_a_log_is_played_wherever_a_crash_left_it(opened, path, write, before, copied, behind):
    """Never copied into the file, copied and not begun anew, begun anew."""
    store = opened()
    store.hello()
    write(store, before)
    if copied:
        checkpoint(path)
    write(store, behind)
    left = crashed(path)
    assert not is_foreign(str(left))
    assert held(opened(left)) == before + behind
    sound(left)


def test_a_log_is_played_into_a_file_that_it_was_half_copied_into(opened, path, write):
    """And into one whose first page alone has been copied, so that it says more pages than there are."""
    store = opened()
    write(store, 3)
    checkpoint(path)
    commit(store, *(doc(f"n{number}", body='{"x":"' + "y" * 900 + '"}') for number in range(100)))
    left = crashed(path)
    log = Path(f"{left}-wal").read_bytes()
    assert int.from_bytes(log[32:36], "big") == 1
    with left.open("r+b") as half:
        half.write(log[56 : 56 + 4096])
    assert held(opened(left)) == 3
    sound(left)


@pytest.mark.parametrize("cut", [1, 31, 33, 60, 4000, 4152, 9000])
def test_a_log_that_was_cut_off_by_a_loss_of_power_is_left_to_sqlite(opened, path, write, cut):
    store = opened(durability="relaxed")
    write(store, 2)
    checkpoint(path)
    write(store, 2)
    left = crashed(path)
    os.truncate(f"{left}-wal", cut)
    assert held(opened(left)) >= 2
    sound(left)


@pytest.mark.parametrize("at", [0, 8, 17, 25, 33, 41, 50, 57, 57 + 40, 57 + 60, 3000])
def test_a_log_whose_beginning_is_damaged_is_left_to_sqlite(opened, path, write, at):
    """Sums say that it is not what was written, so SQLite plays nothing of it."""
    store = opened()
    write(store, 2)
    checkpoint(path)
    write(store, 2)
    left = crashed(path)
    with Path(f"{left}-wal").open("r+b") as log:
        log.seek(at)
        found = log.read(1)
        log.seek(at)
        log.write(bytes([found[0] ^ 0x55]))
    assert held(opened(left)) == 2
    sound(left)


def test_a_file_that_others_write_and_copy_into_is_never_taken_for_a_backup(opened, path, write, monkeypatch):
    """While the log is begun anew hundreds of times."""
    monkeypatch.setattr(file, "CHECKPOINT_PAGES", 8)
    store, ended = opened(durability="relaxed"), Event()
    write(store, 1)

    def work(number: int) -> None:
        if number == 0:
            write(store, 1500)
            ended.set()
        while not ended.is_set():
            assert not is_foreign(str(path))

    in_threads(2, work)


@pytest.mark.parametrize("grows_at", range(3))
def test_a_log_that_grows_while_it_is_read_is_left_to_sqlite(opened, path, write, monkeypatch, grows_at):
    """A read that meets the end, and the next one what was written there meanwhile."""
    write(opened(), 3)
    assert not is_foreign(str(path))
    whole = Path(log_of(str(path))).read_bytes()

    class Growing(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1, /) -> bytes:
            found = super().read(size)
            self.reads += 1
            if self.reads != grows_at + 1:
                return found
            self.seek(-len(found), os.SEEK_CUR)
            return b""

    monkeypatch.setattr(log, "open", lambda *args, **options: Growing(whole), raising=False)
    assert not is_foreign(str(path))


def test_the_count_begins_again_where_it_ends(opened, path, write):
    store = opened()
    write(store, 1)
    with store._file.write(1.0) as sql:
        sql.execute(f"PRAGMA user_version = {COUNTS - 3}")
    store.close()
    store = opened()
    write(store, 6)
    assert held(opened(crashed(path))) == 7


def test_what_others_change_in_the_file_is_played_as_well(opened, path, write):
    """An operator's own statements: no count, another schema, every page elsewhere."""
    store = opened()
    write(store, 3)
    checkpoint(path)
    for statement in ("CREATE TABLE notes (x)", "INSERT INTO notes VALUES (1)", "DROP TABLE notes", "VACUUM"):
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as operator:
            operator.execute(statement)
        assert held(opened(crashed(path))) == 3
        write(store, 1)
        checkpoint(path)
        assert held(opened(crashed(path))) == 4
        with store._file.write(1.0) as sql:
            sql.execute("UPDATE counter SET held = 3")
        store._books.forget()


# a backup in the file's place


def by_statement(path: Path, to: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as look:
        look.execute("VACUUM INTO ?", (str(to),))


def by_statement_with_a_log(path: Path, to: Path) -> None:
    by_statement(path, to)
    with contextlib.closing(sqlite3.connect(to)) as look:
        look.execute("PRAGMA journal_mode = WAL")


def by_interface(path: Path, to: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as look, contextlib.closing(sqlite3.connect(to)) as copy:
        look.backup(copy)


def by_dump(path: Path, to: Path) -> None:
    with contextlib.closing(sqlite3.connect(path)) as look, contextlib.closing(sqlite3.connect(to)) as copy:
        (count,) = look.execute("PRAGMA user_version").fetchone()
        copy.executescript("\n".join(look.iterdump()))
        copy.execute(f"PRAGMA user_version = {count}")  # as .recover does
        copy.execute("PRAGMA journal_mode = WAL")


def by_copy(path: Path, to: Path) -> None:
    checkpoint(path)
    shutil.copyfile(path, to)


WAYS = [by_statement, by_statement_with_a_log, by_interface, by_dump, by_copy]


def put_back(backup: Path, at: Path, how: str) -> None:
    if how == "moved":
        os.replace(backup, at)
    elif how == "copied":
        at.unlink()
        shutil.copyfile(backup, at)
    else:
        shutil.copyfile(backup, at)


@pytest.mark.parametrize("how", ["moved", "copied", "written over it"])
@pytest.mark.parametrize("way", WAYS)
def test_a_backup_beside_a_log_of_later_is_refused_until_that_is_taken_away(
    opened, path, write, way, how, clock
):
    """I-11: however it was made and put there. Then it has what the backup had."""
    store = opened()
    write(store, 5)
    way(path, backup := path.with_name("backup.db"))
    write(store, 3)
    checkpoint(path)
    write(store, 2)
    left = crashed(path)
    put_back(backup, left, how)
    before = left.read_bytes(), Path(f"{left}-wal").read_bytes()
    late = SQLiteStore(str(left), clock)
    with pytest.raises(
        ConfigurationError, match=r"take away the -wal and -shm files.*else put back the file"
    ):
        late.hello()
    with pytest.raises(StoreError, match="has a write-ahead log beside it"):
        ask(late, Peek(LIMIT))
    assert (left.read_bytes(), Path(f"{left}-wal").read_bytes()) == before, "all is as it was"
    Path(f"{left}-wal").unlink()
    assert held(late) == 5
    late.close()
    sound(left)


@pytest.mark.parametrize("behind", [0, 1, 4])
@pytest.mark.parametrize("way", WAYS[:-1])
def test_a_backup_beside_a_log_that_was_begun_before_it_is_refused(opened, path, write, way, behind):
    """Their pages may lie elsewhere."""
    store = opened()
    write(store, 2)
    checkpoint(path)
    write(store, 2)
    way(path, backup := path.with_name("backup.db"))
    write(store, behind)
    left = crashed(path)
    os.replace(backup, left)
    with pytest.raises(ConfigurationError, match="has a write-ahead log beside it"):
        opened(left).hello()


def test_a_copy_of_the_file_beside_a_log_that_was_begun_before_it_is_brought_forward(opened, path, write):
    """Its pages are where the log has them, and the log has all that came since: nothing is lost or mixed."""
    store = opened()
    write(store, 2)
    by_copy(path, backup := path.with_name("backup.db"))
    write(store, 2)
    left = crashed(path)
    os.replace(backup, left)
    assert held(opened(left)) == 4
    sound(left)


@pytest.mark.parametrize("written", [1, 4, 9])
def test_another_file_beside_a_log_is_refused(opened, path, write, written):
    store, other = opened(), opened(path.with_name("other.db"))
    write(store, 4)
    write(other, written)
    other.close()
    left = crashed(path)
    os.replace(path.with_name("other.db"), left)
    with pytest.raises(ConfigurationError, match="has a write-ahead log beside it"):
        opened(left).hello()


def test_a_file_behind_a_link_has_its_log_beside_itself(opened, path, write):
    link = path.with_name("link")
    link.symlink_to(path)
    store = opened(link)
    write(store, 2)
    by_copy(path, backup := path.with_name("backup.db"))
    write(store, 2)
    checkpoint(path)
    write(store, 2)
    assert log_of(str(link)) == f"{path.resolve()}-wal"
    os.replace(backup, path)
    assert is_foreign(str(link))
    with pytest.raises(StoreError, match=r"went on|older state"):
        ask(store, Peek(LIMIT))
    assert not is_foreign(str(link)), "who had the file open has taken its log away"
    assert held(opened()) == 2


def test_a_backup_beside_a_log_that_has_nothing_in_it_yet_is_opened(opened, path, write):
    """Killed after the head of a log was begun anew, and before its first frame: what stands behind it was copied into
    the file that was replaced, and SQLite plays none of it.
    """
    store = opened()
    write(store, 5)
    by_statement(path, backup := path.with_name("backup.db"))
    write(store, 3)
    checkpoint(path)
    left = crashed(path)
    assert frames(left)
    begun = bytearray(Path(f"{left}-wal").read_bytes())
    begun[16:20] = ((int.from_bytes(begun[16:20], "big") + 1) % (1 << 32)).to_bytes(
        4, "big"
    )  # the first salt
    order = "><"[int.from_bytes(begun[:4], "big") == log._MAGIC]
    begun[24:32] = b"".join(each.to_bytes(4, "big") for each in log._sums(bytes(begun[:24]), order, (0, 0)))
    Path(f"{left}-wal").write_bytes(begun)
    assert frames(left) == 0
    os.replace(backup, left)
    assert held(opened(left)) == 5
    sound(left)


def test_a_backup_beside_the_log_of_a_killed_process_is_refused(tmp_path, clock):
    """I-11: with real processes: written and backed up by one, killed, put back, opened by the next."""
    path = tmp_path / "q.db"
    run_module(WORKERS, "restarts", str(path), "1", "3")
    with contextlib.closing(sqlite3.connect(path)) as look:
        look.execute("VACUUM INTO ?", (str(tmp_path / "backup.db"),))
    run_module(WORKERS, "restarts", str(path), "1", "4", "killed")
    while not frames(path):  # killed just when the log was begun anew: there is nothing in it to be refused
        run_module(WORKERS, "restarts", str(path), "1", "4", "killed")
    os.replace(tmp_path / "backup.db", path)
    store = SQLiteStore(str(path), clock)
    with pytest.raises(ConfigurationError, match="has a write-ahead log beside it"):
        store.hello()
    Path(f"{path}-wal").unlink()
    Path(f"{path}-shm").unlink()
    assert store.read(ORG, ()) == (0, [])
    store.close()
    sound(path)
