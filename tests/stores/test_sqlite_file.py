"""The SQLite file: what can be wrong with it, what happens to it while it is open, how it is brought forward."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from quotaware import Quota
from quotaware.core.steps import NOTHING, REV_STEP, Op, Peek, Reserve, Settle
from quotaware.errors import ConfigurationError, Lost, StoreError
from quotaware.stores.guard import Guard
from quotaware.stores.protocol import CLOSED_MS, Change
from quotaware.stores.sqlite import SQLiteStore
from quotaware.stores.sqlite.file import CHECKED_BYTES, DatabaseFile
from quotaware.stores.sqlite.mounts import network_type
from quotaware.testing.store_suite.kit import FOREVER, ORG, ask, budget, commit, doc, in_threads, verdicts
from tests.support import FakeClock, run_module

WORKERS = "tests.stores.sqlite_workers"
LIMIT = budget(10)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "quota.db"


@pytest.fixture
def opened(path: Path, clock: FakeClock) -> Iterator[Callable[..., SQLiteStore]]:
    """Opens stores on one file: each knows of it what a process would."""
    made: list[SQLiteStore] = []

    def open_one(at: Path = path, **options: Any) -> SQLiteStore:
        made.append(SQLiteStore(str(at), clock, **options))
        return made[-1]

    yield open_one
    for store in made:
        store.close()


@pytest.fixture
def store(opened: Callable[..., SQLiteStore]) -> SQLiteStore:
    return opened()


def reserve(new: Callable[[], str], amount: int = 1) -> Reserve:
    return Reserve(new(), LIMIT, (0, amount, 0), NOTHING, 60_000, "")


def copied(path: Path) -> Path:
    """A backup of the file as it is now."""
    to = path.with_name("backup.db")
    to.unlink(missing_ok=True)
    here, there = sqlite3.connect(path), sqlite3.connect(to)
    here.backup(there)
    here.close()
    there.close()
    return to


def put_back(backup: Path, path: Path) -> None:
    """As the docs say how."""
    for end in ("-wal", "-shm"):
        Path(f"{path}{end}").unlink()
    os.replace(backup, path)


# I-12: what is wrong at the start


def refused(path: Path, clock: FakeClock, **options: Any) -> str:
    """What is said at the start, and again at each use as an error of the store."""
    store = SQLiteStore(str(path), clock, **options)
    with pytest.raises(ConfigurationError) as found:
        store.hello()
    assert found.value.field == "store"
    with pytest.raises(StoreError) as again:
        store.apply({ORG: [Peek(LIMIT)]}, 1.0)
    assert str(again.value) == str(found.value)
    store.close()
    return str(found.value)


def test_a_directory_is_refused(tmp_path, clock):
    assert "is a directory; name a file in it" in refused(tmp_path, clock)


def test_a_directory_that_is_not_there_is_refused(tmp_path, clock):
    assert "is no directory; make it" in refused(tmp_path / "nowhere" / "quota.db", clock)
    (tmp_path / "file").touch()
    assert "is no directory; make it" in refused(tmp_path / "file" / "quota.db", clock)


def test_a_file_of_something_else_is_refused(path, clock):
    path.write_text("Dear diary, " * 999)
    assert "is no SQLite database, or is damaged" in refused(path, clock)
    assert path.read_text().startswith("Dear diary")


@pytest.mark.parametrize(
    "script", ["CREATE TABLE users (id)", "CREATE TABLE meta (k)", "CREATE TABLE meta (k, v)"]
)
def test_somebody_elses_database_is_refused_and_left_alone(path, clock, script):
    other = sqlite3.connect(path)
    other.execute(script)
    other.close()
    before = path.read_bytes()
    assert "is a database of something else; name another file" in refused(path, clock)
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused(opened, path, clock):
    store = opened()
    commit(store, *(doc(f"n{number}", body='{"x":"' + "y" * 300 + '"}') for number in range(200)))
    store.close()
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        file.write(b"\xff" * 8192)
    assert "is damaged; take away the -wal and -shm files beside it and put a backup" in refused(path, clock)


def test_a_large_file_is_not_read_through_at_the_start(opened, path):
    store = opened()
    store.hello()
    store.close()
    told: list[str] = []
    os.truncate(path, CHECKED_BYTES + 4096)
    store = opened()
    store._file._check_place = lambda: told.append("opened")  # type: ignore[method-assign]
    store.hello()
    assert told == ["opened"]


def test_a_file_of_a_newer_version_is_refused(opened, path, clock):
    opened().hello()
    newer(path)
    assert "has schema 99" in refused(path, clock)
    assert "update quotaware" in refused(path, clock)


def newer(path: Path) -> None:
    other = sqlite3.connect(path)
    with other:
        other.execute("UPDATE meta SET v = 99")
    other.close()


def test_a_file_that_a_newer_version_brought_forward_is_not_written_any_more(store, path, new):
    """I-30: refused cleanly, at the next batch."""
    ask(store, reserve(new))
    newer(path)
    for _ in range(2):
        with pytest.raises(StoreError, match="has schema 99"):
            ask(store, reserve(new))


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that any user can read."""
    with tempfile.TemporaryDirectory() as name:
        os.chmod(name, 0o755)
        yield Path(name)


def test_a_file_that_this_user_cannot_write_is_refused(public, clock):
    store = SQLiteStore(str(public / "quota.db"), clock)
    store.hello()
    store.close()
    (public / "quota.db").chmod(0o444)
    public.chmod(0o555)
    told = run_module(WORKERS, "unwritable", str(public / "quota.db"), "opened")
    public.chmod(0o755)
    assert "cannot be " in told
    assert "by this user" in told
    assert told.endswith("StoreError\n")


def test_a_file_that_this_user_cannot_make_is_refused(public):
    public.chmod(0o555)
    told = run_module(WORKERS, "unwritable", str(public / "quota.db"), "new")
    public.chmod(0o755)
    assert "cannot be opened; the file and its directory must be readable and writable by this user" in told


def test_a_file_that_this_user_cannot_look_at_is_refused(public):
    (public / "inner").mkdir(mode=0o700)
    told = run_module(WORKERS, "unwritable", str(public / "inner" / "quota.db"), "new")
    assert "cannot be looked at" in told


MOUNTS = r"""/dev/vda / ext4 rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
server:/data /data nfs4 rw,vers=4.2 0 0
/dev/vdb /data/local ext4 rw 0 0
//server/share /mnt/my\040share cifs rw 0 0
user@host: /home/me/far fuse.sshfs rw 0 0
/dev/fuse /home/me/near fuse.portal rw 0 0
/dev/vdc /twice ext4 rw 0 0
server:/twice /twice nfs rw 0 0
nonsense
"""


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/quota.db", None),
        ("/dev/shm/quota.db", None),
        ("/data/quota.db", "nfs4"),
        ("/database/quota.db", None),
        ("/data/local/quota.db", None),
        ("/mnt/my share/a/quota.db", "cifs"),
        ("/home/me/far/quota.db", "fuse.sshfs"),
        ("/home/me/near/quota.db", None),
        ("/twice/quota.db", "nfs"),
    ],
)
def test_network_file_systems_are_known(path, found):
    assert network_type(path, MOUNTS) == found


def test_where_mounts_are_not_listed_nothing_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr("quotaware.stores.sqlite.mounts.MOUNTS", tmp_path / "nowhere")
    assert network_type("/quota.db") is None


def test_a_file_on_a_network_file_system_is_refused_unless_its_owner_takes_the_risk(
    path, clock, monkeypatch, opened
):
    listed = path.with_name("mounts")
    listed.write_text(f"server:/data {path.parent.resolve()} nfs4 rw 0 0\n")
    monkeypatch.setattr("quotaware.stores.sqlite.mounts.MOUNTS", listed)
    told = refused(path, clock)
    assert "network file system (nfs4)" in told
    assert "network=ok in the URL takes the risk" in told
    assert not path.exists()
    opened(network_ok=True).hello()


def test_a_place_where_no_log_can_be_kept_is_refused(path, clock, monkeypatch):
    class Stubborn(sqlite3.Connection):
        def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
            return super().execute(sql.replace("journal_mode = WAL", "journal_mode"), *values)

    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *args, **more: connect(*args, factory=Stubborn, **more))
    assert "can keep no write-ahead log" in refused(path, clock)


# I-12: what is wrong for a while


def test_a_lock_that_another_process_holds_is_waited_for_until_the_deadline(store, path, new):
    """Refused in time as an error of the store, nothing half done, and right again at once."""
    ask(store, reserve(new))
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, sys.path)]),
    }
    holder = subprocess.Popen(
        [sys.executable, "-m", WORKERS, "hold", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        began = time.monotonic()
        with pytest.raises(StoreError, match=r"locked by other processes for 0\.3 s"):
            store.apply({ORG: [reserve(new)]}, 0.3)
        assert 0.3 <= time.monotonic() - began < 2
        assert store.read(ORG, ()) == (0, []), "who only reads is not kept waiting"
        holder.communicate()
    assert ask(store, reserve(new)).totals == {"budget": (0, 2)}


def test_a_lock_that_is_given_back_in_time_is_not_noticed(store, path, new):
    ask(store, reserve(new))
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    releasing = Thread(target=lambda: other.execute("COMMIT"))
    begin = store._file._ready

    def ready(*args: Any) -> sqlite3.Connection:
        connection = begin(*args)
        releasing.start()
        return connection

    store._file._ready = ready  # type: ignore[method-assign]
    assert store.apply({ORG: [reserve(new)]}, 30.0)[ORG].totals == {"budget": (0, 2)}  # type: ignore[union-attr]
    releasing.join()
    other.close()


def test_a_thread_that_holds_the_connection_is_waited_for_until_the_deadline(store):
    store.hello()
    with store._file._lock, pytest.raises(StoreError, match=r"in use by other threads for 0\.05 s"):
        store.apply({}, 0.05)


def test_closing_ends_in_time_behind_a_transaction_that_does_not(store, new, monkeypatch, caplog):
    """What the transaction wrote is there; it closes the file itself."""
    monkeypatch.setattr("quotaware.stores.sqlite.file.CLOSE_S", 0.05)
    ask(store, reserve(new))
    with store._file.write(1.0) as connection:
        connection.execute("UPDATE counter SET held = 7")
        closing = Thread(target=store.close)
        closing.start()
        closing.join(10)
        assert not closing.is_alive()
        assert "is in use by another thread, and is closed when that ends" in caplog.text
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")
    with pytest.raises(StoreError, match="is closed"):
        ask(store, Peek(LIMIT))
    assert not Path(f"{store._file.path}-wal").exists(), "nobody has it open"
    look = sqlite3.connect(store._file.path)
    assert look.execute("SELECT held FROM counter").fetchone() == (7,)
    look.close()


def test_a_quota_closes_in_time_behind_a_file_that_is_stuck(path):
    """A second for each store beside the timeout, and not what the lock takes."""
    quota = Quota(f"sqlite:///{path}", limits=["$9/day"], records=f"sqlite:///{path}.records")
    with quota.call(provider="openai", model="gpt-4.1", input=1, max_output=1) as call:
        call.used(input=1, output=1)
    assert quota.flush()
    began = time.monotonic()
    with quota.store._file._lock, quota._archive.store._file._lock:
        quota.close(timeout=0.2)
        assert time.monotonic() - began < 10


def test_a_store_that_is_let_go_without_closing_is_not_open_any_more(path, clock):
    """Else a fork would not know of it."""
    SQLiteStore(str(path), clock).hello()
    assert not Path(f"{path}-wal").exists()


def test_a_file_that_cannot_grow_loses_nothing_that_was_acknowledged(path):
    """The batch that did not fit goes through when there is room again."""
    assert str(path) in run_module(WORKERS, "full", str(path))


def test_a_full_database_is_said_to_be_full(store, new):
    ask(store, reserve(new))
    connection = store._file._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    many: list[Op] = [Reserve(new(), LIMIT, NOTHING, NOTHING, 60_000, "x" * 1000) for _ in range(100)]
    settled = Settle(many[0].id, LIMIT, NOTHING, "")  # type: ignore[union-attr]
    with pytest.raises(StoreError, match="disk or the database is full"):
        ask(store, *many, settled)
    assert verdicts(ask(store, *many, settled)) == ["done"] * 101, "a new connection has no such bound"
    assert ask(store, Peek(LIMIT)).totals == {"budget": (0, 1)}


def test_a_disk_that_fails_is_an_error_of_the_store(store, new):
    ask(store, reserve(new))

    def fails() -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_WRITE
        raise error

    with pytest.raises(StoreError, match="failed: disk I/O error"), store._file.write(1.0):
        fails()
    assert ask(store, reserve(new)).totals == {"budget": (0, 2)}


# while it is open: deleted, replaced, older


def lost(store: SQLiteStore, new: Callable[[], str]) -> None:
    """Nothing is read or written."""
    answer = store.apply({ORG: [reserve(new)]}, 1.0)[ORG]
    assert isinstance(answer, Lost)
    calls: list[Callable[[], object]] = [
        lambda: store.read(ORG, ()),
        lambda: store.children(ORG, "node", "", None, "", 1),
        lambda: store.commit(ORG, Change(0)),
        lambda: store.records(ORG, 0, FOREVER, "", 1),
        lambda: store.folded(ORG),
        lambda: store.fold(ORG, "", "1-0", []),
        lambda: store.outbox(ORG),
        lambda: store.once(ORG, "n", "v", 1),
        lambda: store.prune(ORG, 1),
    ]
    for call in calls:
        with pytest.raises(Lost):
            call()


def test_a_file_that_was_put_back_to_an_older_state_is_noticed(opened, path, new):
    """I-11: by every process that saw the newer one; what is in the old file's log is not played into it."""
    here, there = opened(), opened()
    commit(here, doc("root"))
    ask(here, reserve(new))
    older = copied(path)
    ask(here, reserve(new))
    ask(there, reserve(new))
    os.replace(older, path)
    lost(here, new)
    lost(there, new)
    fresh = opened()
    assert ask(fresh, Peek(LIMIT)).totals == {"budget": (0, 1)}
    with fresh._file.read(1.0) as sql:
        assert sql.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_file_that_was_put_back_and_written_as_much_as_was_lost_is_noticed(opened, path, new):
    """I-11: epoch and sequence are what this process knows; and it never writes into the file that is gone."""
    store = opened()
    for org in (ORG, "org_b"):
        commit(store, doc("root"), org=org)
        ask(store, reserve(new), org=org)
    older = copied(path)
    ask(store, reserve(new))
    put_back(older, path)
    other = opened()
    for _ in range(3):
        ask(other, reserve(new))
    lost(store, new)
    assert ask(other, Peek(LIMIT)).totals == {"budget": (0, 4)}
    for org in (ORG, "org_b"):
        with pytest.raises(Lost):
            store.read(org, ())
        assert store.adopt(org) == 1
        assert store.read(org, ())[0] == 1 + REV_STEP, "once"
    assert verdicts(ask(store, reserve(new), org="org_new")) == ["done"]


def test_what_was_read_in_the_time_that_is_lost_lets_nobody_in(opened, path, new, clock):
    """Its revision is younger than all the documents that are there, and its policy is not among them."""
    store = opened()
    commit(store, doc("root"))
    older = copied(path)
    commit(store, doc("root"))
    put_back(older, path)
    lost(store, new)
    assert store.adopt(ORG) == 1
    clock.advance(CLOSED_MS)
    plans = (replace(LIMIT, rev=rev, deps=("root",)) for rev in (2, 1))
    answer = ask(store, *(replace(reserve(new), plan=plan) for plan in plans))
    assert [(result.verdict, result.stale) for result in answer.results] == [
        ("stale", ("root",)),
        ("done", ()),
    ]


def test_a_file_that_was_replaced_while_it_was_closed_is_noticed(opened, path, new):
    """Around a fork, or after an error."""
    store = opened()
    commit(store, doc("root"))
    same = copied(path)
    with store._file._lock:
        store._file._let_go()
    os.replace(same, path)
    lost(store, new)


def test_what_was_lost_with_a_file_that_others_wrote_into_since_is_told_again(opened, path, new, clock):
    """I-11: by the guard, each step once; also what the other wrote stays."""
    here = Guard(opened(), clock)
    commit(here, doc("root"))
    ask(here, reserve(new))
    older = copied(path)
    held, settled = reserve(new, 2), reserve(new, 3)
    ask(here, held, settled)
    ask(here, Settle(settled.id, LIMIT, (0, 3, 0), "{}"))
    put_back(older, path)
    there = Guard(opened(), clock)
    for _ in range(2):
        ask(there, reserve(new))
    for _ in range(2):
        assert ask(here, Peek(LIMIT)).totals == {"budget": (3, 1 + 2 + 2)}
        assert ask(there, Peek(LIMIT)).totals == {"budget": (3, 1 + 2 + 2)}
    assert verdicts(ask(here, held, settled, reserve(new))) == ["again", "ended", "closed"]
    clock.advance(CLOSED_MS)
    assert verdicts(ask(here, reserve(new))) == verdicts(ask(there, reserve(new))) == ["done"]
    assert here.health()["store"] == there.health()["store"] == "ok"


def test_a_file_that_was_replaced_by_another_is_noticed(opened, path, new):
    store, other = opened(), opened(path.with_name("other.db"))
    ask(store, reserve(new))
    ask(other, reserve(new))
    other.close()
    os.replace(path.with_name("other.db"), path)
    lost(store, new)
    assert verdicts(ask(store, reserve(new), org="org_new")) == ["done"], "others' are no concern of it"


def test_a_file_that_was_replaced_by_nonsense_is_an_error_of_the_store(store, path, new):
    ask(store, reserve(new))
    nonsense = path.with_name("nonsense")
    nonsense.write_text("Dear diary, " * 999)
    os.replace(nonsense, path)
    with pytest.raises(StoreError, match="is no SQLite database"):
        ask(store, reserve(new))


def test_a_file_that_was_deleted_is_not_made_anew(store, path, new):
    commit(store, doc("root"))
    ask(store, reserve(new))
    kept = copied(path)
    for file in path.parent.glob("quota.db*"):
        file.unlink()
    for _ in range(2):
        with pytest.raises(Lost, match="is gone; put it back"):
            ask(store, reserve(new))
        with pytest.raises(Lost, match="is gone; put it back"):
            store.find("digest")
    assert store.adopt(ORG) is None
    assert not path.exists()
    os.replace(kept, path)
    lost(store, new)
    assert store.adopt(ORG) == 1
    assert ask(store, Peek(LIMIT)).totals == {"budget": (0, 1)}


def test_a_file_that_was_deleted_before_anything_was_in_it_is_made_anew(store, path, new):
    store.hello()
    path.unlink()
    assert verdicts(ask(store, reserve(new))) == ["done"]
    assert path.exists()


def test_an_organization_that_is_gone_is_never_made_anew_by_itself(opened, path, new):
    store = opened()
    ask(store, reserve(new))
    with store._file.write(1.0) as sql:
        for table in ("org", "counter", "reservation"):
            sql.execute(f"DELETE FROM {table}")
    store._books.forget()
    lost(store, new)


# adoption


def test_after_a_loss_it_goes_on_when_it_is_adopted_by_all_that_noticed(opened, path, new, clock):
    """I-11: closed for ten seconds, a new epoch, the revision past all that may be lost; the second to notice takes
    over what the first did.
    """
    here, there = opened(), opened()
    rev = commit(here, doc("root"))
    older = copied(path)
    commit(here, doc("root"))
    for store in (here, there):
        ask(store, reserve(new))
    os.replace(older, path)
    lost(here, new)
    assert here.adopt(ORG) == rev
    assert here.read(ORG, ())[0] == rev + REV_STEP
    answer = ask(here, reserve(new), Reserve(new(), LIMIT, (0, 1, 0), NOTHING, 60_000, "", force=True))
    assert verdicts(answer) == ["closed", "done"]
    lost(there, new)
    clock.advance(CLOSED_MS)
    assert there.adopt(ORG) == rev
    assert there.read(ORG, ())[0] == rev + REV_STEP, "it was adopted once"
    assert verdicts(ask(there, reserve(new))) == ["done"]
    assert verdicts(ask(here, reserve(new))) == ["done"]
    assert here.adopt(ORG) == there.adopt(ORG) == rev + REV_STEP, "there is nothing to adopt"


def test_a_file_that_was_put_back_to_before_an_adoption_is_adopted_again(opened, path, new, clock):
    store = opened()
    commit(store, doc("root"))
    older = copied(path)
    for _ in range(2):
        ask(store, reserve(new))
        again = path.with_name("again.db")
        again.write_bytes(older.read_bytes())
        os.replace(again, path)
        lost(store, new)
        assert store.adopt(ORG) == 1
        assert verdicts(ask(store, reserve(new))) == ["closed"]
        clock.advance(CLOSED_MS)
        assert verdicts(ask(store, reserve(new))) == ["done"]


def test_an_emptied_file_stays_closed_until_an_operator_speaks(opened, path, new, clock):
    """I-11: in any process; who comes to it later closes it once more."""
    store, operator = opened(), opened()
    commit(store, doc("root"))
    ask(store, reserve(new))
    for file in path.parent.glob("quota.db*"):
        file.unlink()
    with pytest.raises(Lost):
        ask(store, reserve(new))
    assert operator.adopt(ORG) is None
    lost(store, new)
    assert store.adopt(ORG) is None
    lost(store, new)
    assert operator.adopt(ORG, empty=True) == 0
    clock.advance(CLOSED_MS)
    assert store.adopt(ORG) == REV_STEP
    assert store.read(ORG, ["root"]) == (2 * REV_STEP, [None])
    assert verdicts(ask(store, reserve(new))) == ["closed"]
    clock.advance(CLOSED_MS)
    assert verdicts(ask(store, reserve(new))) == ["done"]


def test_a_file_that_is_gone_is_made_anew_by_who_says_so(store, path, new):
    ask(store, reserve(new))
    for file in path.parent.glob("quota.db*"):
        file.unlink()
    assert store.adopt(ORG, empty=True) == 0
    assert verdicts(ask(store, reserve(new))) == ["closed"]


def test_an_emptied_file_is_restored_by_loading(opened, path, new):
    store = opened()
    commit(store, doc("root"))
    ask(store, reserve(new))
    rows = list(store.dump(ORG))
    for file in path.parent.glob("quota.db*"):
        file.unlink()
    store.load(ORG, rows)
    assert sorted(store.dump(ORG)) == sorted(rows)
    assert verdicts(ask(store, reserve(new))) == ["done"]


# bringing a file forward

STEPS = (
    "CREATE TABLE a (x);\nINSERT INTO a VALUES (1);\n",
    "ALTER TABLE a ADD COLUMN y;\nUPDATE a SET y = x + 1;\n",
    "CREATE TABLE b (z);\nINSERT INTO b SELECT y FROM a;\n",
)


def database(path: Path, steps: tuple[str, ...]) -> DatabaseFile:
    return DatabaseFile(str(path), synchronous="FULL", network_ok=False, forgets=lambda: None, steps=steps)


def content(file: DatabaseFile) -> list[Any]:
    with file.read(1.0) as sql:
        return [*sql.execute("SELECT * FROM b"), *sql.execute("SELECT v FROM meta WHERE k = 'schema'")]


@pytest.mark.parametrize("done", [0, 1, 2, 3])
def test_a_file_of_any_older_version_is_brought_forward(path, done):
    if done:
        older = database(path, STEPS[:done])
        older.open(1.0)
        older.close()
    file = database(path, STEPS)
    file.open(1.0)
    assert content(file) == [(2,), (3,)]
    file.close()


def test_of_many_that_open_an_older_file_one_brings_it_forward(path):
    older = database(path, STEPS[:1])
    older.open(1.0)
    older.close()
    files = [database(path, STEPS) for _ in range(6)]
    in_threads(6, lambda number: files[number].open(30.0))
    for file in files:
        assert content(file) == [(2,), (3,)]
        file.close()


def test_of_many_that_open_a_new_file_one_makes_it(path, clock, new):
    stores = [SQLiteStore(str(path), clock) for _ in range(6)]
    for store in stores:
        store.deadline = 30.0
    in_threads(6, lambda number: (stores[number].hello(), ask(stores[number], reserve(new)))[0])
    assert ask(stores[0], Peek(LIMIT)).totals == {"budget": (0, 6)}
    for store in stores:
        store.close()


def test_a_step_that_fails_leaves_the_file_as_it_was(path):
    older = database(path, STEPS[:1])
    older.open(1.0)
    older.close()
    broken = database(path, (STEPS[0], "CREATE TABLE c (x);\nINSERT INTO nowhere VALUES (1);\n"))
    with pytest.raises(StoreError, match="no such table: nowhere"):
        broken.open(1.0)
    file = database(path, STEPS)
    file.open(1.0)
    assert content(file) == [(2,), (3,)]
    with file.read(1.0) as sql:
        assert sql.execute("SELECT count(*) FROM sqlite_master WHERE name = 'c'").fetchone() == (0,)
    file.close()


def test_an_older_version_beside_a_newer_is_refused_cleanly(path):
    """I-30: the newer one has brought the file forward under it."""
    older = database(path, STEPS[:2])
    older.open(1.0)
    newer_one = database(path, STEPS)
    newer_one.open(1.0)
    with pytest.raises(StoreError, match="schema 3"), older.write(1.0):
        pass
    older.close()
    newer_one.close()
