"""The file while it is open: one connection, its transactions, and what can be wrong with it.

SQLite's own busy handler starves some of several processes, so it is off: a transaction is asked for again after short
random pauses until the deadline. Before each transaction the path is compared with the file that is open: one that was
deleted or replaced is never written into, and a write-ahead log is played only into the file that it was written for
(`log.py`). Around a fork the connection is closed, since SQLite's locks belong to a
process and its library remembers them past the fork.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from ...errors import ConfigurationError, Lost, StoreError
from ...logs import logged
from .log import brand, count, is_foreign, log_of
from .mounts import network_type
from .schema import STEPS, check_version, migrate, stored_version, version

logger = logging.getLogger("quotaware")
T = TypeVar("T")

PAUSE_S = (0.0001, 0.003)
"""A lock that another holds is asked for again after so many seconds, random between the two."""
CHECKED_BYTES = 16 << 20
"""A file up to this size is looked through for damage when it is opened."""
CHECKPOINT_PAGES = 4000
"""The write-ahead log is copied into the file when it has grown to so many pages."""
CACHE_KIB = 16 << 10
"""SQLite's own page cache."""
FORK_S = 1.0
"""How long a fork waits for a transaction that is under way."""
CLOSE_S = 1.0
"""How long closing waits for one."""

_WAITS = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL})
_NOWHERE = (0, 0)
_BACKUP = "take away the -wal and -shm files beside it and put a backup in its place"
_FOREIGN_LOG = (
    "has a write-ahead log beside it that belongs to another file, or to another state of it: where a backup was put "
    "in its place, take away the -wal and -shm files beside it; else put back the file that they belong to"
)
_SET_UP = {
    sqlite3.SQLITE_CORRUPT: f"is damaged; {_BACKUP}",
    sqlite3.SQLITE_NOTADB: f"is no SQLite database, or is damaged; name another file, or {_BACKUP}",
    sqlite3.SQLITE_READONLY: "cannot be written by this user; give it the right to write the file and its directory",
    sqlite3.SQLITE_PERM: "cannot be opened by this user; give it the right to read and write the file",
    sqlite3.SQLITE_CANTOPEN: "cannot be opened; the file and its directory must be readable and writable by this user",
}
"""What is wrong with the set-up, by SQLite's primary result code (sqlite.org/rescode.html)."""

_abandoned: list[sqlite3.Connection] = []
"""Connections that a forked child was left with: it must neither use nor close them."""


class DatabaseFile:
    """One database file, opened at the first use.

    doubts    called when the file at the path is found to be another than before: others may have written into it as
              much as was lost with the one before
    forgets   called whenever a connection is new: what was cached of the file may be wrong
    kept      whether something was seen in the file: it is not made anew then when it is gone
    others    inside write transactions, a number that stays the same while no other connection has written
    schema    steps to the newest schema (`schema.py`)
    """

    def __init__(
        self,
        path: str,
        *,
        synchronous: str,
        network_ok: bool,
        forgets: Callable[[], None],
        doubts: Callable[[], None] = lambda: None,
        steps: tuple[str, ...] = STEPS,
    ) -> None:
        self.path = os.path.abspath(path)
        self.kept = False
        self.others = 0
        self._synchronous = synchronous
        self._network_ok = network_ok
        self._forgets = forgets
        self._doubts = doubts
        self._steps = steps
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._pid = os.getpid()
        self._file = self._log = _NOWHERE
        self._closed = False
        self._dropped: weakref.finalize[[], DatabaseFile]
        _files.add(self)

    def open(self, seconds: float) -> None:
        """Opens the file if it is not open. Raises `ConfigurationError` where the set-up cannot be used, `StoreError`
        for what may pass.
        """
        with self._held(seconds) as until:
            self._ready(until)

    def schema(self) -> tuple[int, int]:
        """The schema of the file as it stands, and the newest. Raises as `open` does."""
        try:
            with closing(sqlite3.connect(f"{Path(self.path).as_uri()}?mode=ro", uri=True)) as connection:
                found = version(connection)
        except sqlite3.Error as error:
            raise self._failure(error, 0) from error
        check_version(found, self._steps)
        return found, len(self._steps)

    @contextmanager
    def read(self, seconds: float) -> Iterator[sqlite3.Connection]:
        """A transaction that sees one state of the file and locks nobody out."""
        with self._transaction("BEGIN", seconds) as connection:
            yield connection

    @contextmanager
    def write(
        self, seconds: float, *, then: Callable[[], None] = lambda: None, anew: bool = False
    ) -> Iterator[sqlite3.Connection]:
        """A transaction that is the only writing one, committed at the end. `then` is called when it is, before another
        thread's; `anew` makes a file that is gone again.
        """
        with self._transaction("BEGIN IMMEDIATE", seconds, then, anew) as connection:
            found = connection.execute("PRAGMA data_version").fetchone()[0]
            if found != self.others:  # another process wrote: it may be a newer version of this library
                check_version(stored_version(connection), self._steps)
                self.others = found
            changes = connection.total_changes
            yield connection
            if connection.total_changes != changes:
                count(connection)

    def gone(self) -> bool:
        """Whether the file that something was seen in is not there any more."""
        return self.kept and _identity(self.path) is None

    def place(self) -> tuple[object, ...]:
        """What is the same for every spelling of the path."""
        try:
            found = os.stat(self.path)
        except OSError:
            return (os.path.realpath(self.path),)
        return found.st_dev, found.st_ino

    def close(self) -> None:
        """Closes it for good, within `CLOSE_S`: where a transaction goes on for longer, it does so at its end."""
        self._closed = True
        if self._lock.acquire(timeout=CLOSE_S):
            self._let_go()
            self._lock.release()
        else:
            logger.warning(
                "%s is in use by another thread, and is closed when that ends or the process does",
                self.path,
                extra=logged("file_busy_at_close", path=self.path),
            )

    # transactions

    @contextmanager
    def _held(self, seconds: float) -> Iterator[float]:
        """This thread alone uses the connection; answers when the deadline ends. SQLite's errors become ours."""
        until = time.monotonic() + seconds
        if not self._lock.acquire(timeout=max(0.0, seconds)):
            raise StoreError(f"{self.path} was in use by other threads for {seconds:g} s")
        try:
            yield until
        except sqlite3.Error as error:
            raise self._failure(error, seconds) from error
        finally:
            if self._closed:
                self._let_go()
            self._lock.release()

    @contextmanager
    def _transaction(
        self, begin: str, seconds: float, then: Callable[[], None] = lambda: None, anew: bool = False
    ) -> Iterator[sqlite3.Connection]:
        try:
            with self._held(seconds) as until:
                connection = self._ready(until, anew)
                try:
                    patiently(lambda: connection.execute(begin), until)
                    yield connection
                    connection.execute("COMMIT")
                except BaseException as error:
                    self._undo(connection, error)
                    raise
                then()
        except ConfigurationError as error:  # was right at the start, and is not any more
            raise StoreError(str(error)) from error

    def _undo(self, connection: sqlite3.Connection, error: BaseException) -> None:
        with contextlib.suppress(sqlite3.Error):
            if connection.in_transaction:
                connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.Error | ConfigurationError) and _code(error) not in _WAITS:
            self._let_go()  # what is wrong with the file is found out when it is opened again

    def _failure(self, error: sqlite3.Error, seconds: float) -> ConfigurationError | StoreError:
        code = _code(error)
        if code in _WAITS:
            return StoreError(f"{self.path} was locked by other processes for {seconds:g} s")
        if code in _SET_UP:
            return ConfigurationError("store", f"{self.path} {_SET_UP[code]} (SQLite: {error})")
        if code == sqlite3.SQLITE_FULL:
            return StoreError(f"{self.path} cannot grow: the disk or the database is full")
        return StoreError(f"{self.path} failed: {error}")

    # the connection

    def _ready(self, until: float, anew: bool = False) -> sqlite3.Connection:
        """The connection to the file that stands at the path now. Raises `Lost` where it is gone."""
        if self._closed:
            raise StoreError(f"{self.path} is closed")
        if self._pid != os.getpid():
            self._begin_again()
        there = _identity(self.path)
        if self._connection is not None and there == self._file:
            return self._connection
        if self._connection is not None:
            if there is not None:
                _remove_log(self.path, self._log)
            self._let_go()
        if there is None and self.kept and not anew:
            raise Lost(f"{self.path} is gone; put it back, or a backup of it")
        if self._file not in (_NOWHERE, there):
            self._doubts()
        self._file = there or _NOWHERE
        self._connection = self._connected(until)
        self._dropped = weakref.finalize(self, self._connection.close)  # a fork would not know of it
        self._dropped.atexit = False
        self._file = there or _identity(self.path) or _NOWHERE
        self._log = _identity(log_of(self.path)) or _NOWHERE
        self.others = 0
        self._forgets()
        return self._connection

    def _connected(self, until: float) -> sqlite3.Connection:
        self._check_place()
        if is_foreign(self.path):
            raise ConfigurationError("store", f"{self.path} {_FOREIGN_LOG}")
        connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._set_up(connection, until)
        except BaseException:
            connection.close()
            raise
        return connection

    def _check_place(self) -> None:
        if os.path.isdir(self.path):
            raise ConfigurationError("store", f"{self.path} is a directory; name a file in it")
        directory = os.path.dirname(self.path)
        if not os.path.isdir(directory):
            raise ConfigurationError(
                "store", f"{directory} is no directory; make it, or name a file elsewhere"
            )
        if not self._network_ok and (found := network_type(os.path.realpath(self.path))):
            raise ConfigurationError(
                "store",
                f"{self.path} lies on a network file system ({found}), where SQLite's locks do not hold: use a local "
                "disk, or redis:// for several hosts; network=ok in the URL takes the risk",
            )

    def _set_up(self, connection: sqlite3.Connection, until: float) -> None:
        def ask(pragma: str) -> object:
            found = patiently(lambda: connection.execute(f"PRAGMA {pragma}").fetchone(), until)
            return found[0] if found else None

        ask(f"synchronous = {self._synchronous}")
        ask(f"wal_autocheckpoint = {CHECKPOINT_PAGES}")
        ask(f"cache_size = -{CACHE_KIB}")
        found = patiently(lambda: version(connection), until)
        check_version(found, self._steps)
        if ask("journal_mode") != "wal":
            patiently(lambda: connection.execute("BEGIN IMMEDIATE"), until)
            if ask("journal_mode") != "wal":  # nor did another process do it
                brand(connection)
            patiently(lambda: connection.execute("COMMIT"), until)  # without a log readers are waited for
        if ask("journal_mode = WAL") != "wal":
            raise ConfigurationError("store", f"{self.path} lies where SQLite can keep no write-ahead log")
        if Path(self.path).stat().st_size <= CHECKED_BYTES and (fault := ask("quick_check(1)")) != "ok":
            raise ConfigurationError("store", f"{self.path} {_SET_UP[sqlite3.SQLITE_CORRUPT]} ({fault})")
        if found < len(self._steps):
            patiently(lambda: connection.execute("BEGIN IMMEDIATE"), until)
            migrate(connection, self._steps)
            count(connection)
            connection.execute("COMMIT")

    def _let_go(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self._dropped.detach()
            with contextlib.suppress(sqlite3.Error):
                connection.close()

    # forks

    def hold_for_fork(self) -> bool:
        """Closes the connection, and keeps it closed until the fork is made; whether that could be done in time."""
        held = self._lock.acquire(timeout=FORK_S)
        if held and self._pid == os.getpid():
            self._let_go()
        return held

    def release_after_fork(self) -> None:
        """The parent goes on."""
        self._lock.release()

    def begin_in_child(self) -> None:
        """The child begins anew."""
        self._lock = threading.Lock()
        self._begin_again()

    def _begin_again(self) -> None:
        if self._connection is not None:
            self._dropped.detach()
            _abandoned.append(self._connection)
            self._connection = None
        self._pid = os.getpid()


def patiently(call: Callable[[], T], until: float) -> T:
    """What a call answers, repeated after short random pauses for as long as another holds the lock that it needs.
    `until` is of time.monotonic(). Raises the call's error.
    """
    while True:
        try:
            return call()
        except sqlite3.OperationalError as error:
            left = until - time.monotonic()
            if _code(error) not in _WAITS or left <= 0:
                raise
        time.sleep(min(left, random.uniform(*PAUSE_S)))  # noqa: S311


def _code(error: Exception) -> int:
    """SQLite's primary result code, 0 of what is not SQLite's."""
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _identity(path: str) -> tuple[int, int] | None:
    """(device, inode) of the file at a path; None where there is none."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError("store", f"{path} cannot be looked at: {error}") from error
    return found.st_dev, found.st_ino


def _remove_log(path: str, log: tuple[int, int]) -> None:
    """Removes the write-ahead log of a file that was replaced: SQLite would play it into the one that came. Another
    process may do the same and begin a log of its own, so the directory is locked meanwhile.
    """
    try:
        import fcntl  # noqa: PLC0415  # not on every system
    except ImportError:  # pragma: no cover  # where files that are open cannot be replaced
        return
    directory = os.open(os.path.dirname(os.path.realpath(path)), os.O_RDONLY)
    try:
        fcntl.flock(directory, fcntl.LOCK_EX)
        if _identity(beside := log_of(path)) == log:
            for name in (beside, beside.removesuffix("wal") + "shm"):
                Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"the write-ahead log of {path} cannot be removed: {error}") from error
    finally:
        os.close(directory)


_files: weakref.WeakSet[DatabaseFile] = weakref.WeakSet()
_held: dict[int, list[DatabaseFile]] = {}
"""The files that a thread which forks keeps closed meanwhile, by thread."""


def _before_fork() -> None:
    _held[threading.get_ident()] = [file for file in list(_files) if file.hold_for_fork()]


def _after_in_parent() -> None:
    for file in _held.pop(threading.get_ident(), ()):
        file.release_after_fork()


def _after_in_child() -> None:
    _held.clear()
    for file in list(_files):
        file.begin_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
