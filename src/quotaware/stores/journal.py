"""The journal of calls that were let through while the store was away: a file that survives the process.

One file a process, locked by its owner, in a directory that the app's processes share. A line is JSON: a plan, once, a
call that was let go, its end, that it is booked. What a process left behind is found by the next one that starts: ended
calls are booked as they ended, others as their reservation would have expired. Ids make sure that each is booked once,
however often it is read; one that the store will not remember any more gets a new one, written down before it is sent.
Each line begins and ends with a line break, so that one that was cut short spoils no other; it is passed over.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import secrets
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Lock
from typing import IO, Any

from .. import forks
from ..core.steps import REMEMBER_MS, Amounts, Plan, Settle, id_time
from ..ids import Ids
from ..logs import logged
from .items import pack_plan, unpack_plan
from .thread import anew, call_of

logger = logging.getLogger("quotaware")

MAX_BYTES = 64 * 1024 * 1024
MAX_CALLS = 100_000
SUFFIX = ".jsonl"
KINDS = ("plan", "call", "end", "again", "booked")
MARGIN_MS = 3_600_000
"""A call gets a new id so long before the store forgets its own."""


class _Noted:
    """Calls that the store has not booked yet (so many as its length), and the file that tells of them; thread-safe."""

    _lock: Lock
    _file: IO[bytes] | None
    _pending: set[str]

    def __len__(self) -> int:
        return len(self._pending)

    def booked(self, id: str) -> bool:
        """The store has it. True where it was the last one that was missing, and the file is gone."""
        if id not in self._pending:
            return False
        with self._lock:
            if id not in self._pending:
                return False
            self._pending.discard(id)
            if self._pending:
                self._note({"booked": id})
                return False
            self._remove()
            return True

    def renamed(self, id: str, new: str) -> None:
        """The store does not remember the call's id any more: it is about to be booked under a new one."""
        with self._lock:
            if id in self._pending:
                self._note({"again": id, "id": new})

    def close(self) -> None:
        """Lets go of the file; what is in it is the next process's."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _note(self, line: dict[str, Any]) -> None:
        """Where it cannot be written, this process still knows."""
        try:
            if self._file is not None:
                _append(self._file, line)
        except OSError as error:
            logger.error(
                "what became of a call could not be written to the journal: %s",
                error,
                extra=logged("journal_not_written", why=error),
            )

    def _remove(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            path = Path(file.name)
            path.unlink(missing_ok=True)
            file.close()
            with contextlib.suppress(OSError):  # another file is in it
                path.parent.rmdir()


class Journal(_Noted):
    """Writes this process's file, made at the first call that needs it."""

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        forks.begin(self)

    def begin_again(self) -> None:
        """In a forked child: its file will be its own."""
        self._lock = Lock()
        self._file = None
        self._plans: dict[int, tuple[int, Plan]] = {}
        self._pending = set()
        self._size = 0
        self._unsynced = False

    def begin(self, id: str, plan: Plan, on_expiry: Amounts, about: str) -> bool:
        """Notes a call before it goes. False where the journal is full or cannot be written: it must not go then."""
        with self._lock:
            if len(self._pending) >= MAX_CALLS or self._size >= MAX_BYTES:
                return False
            try:
                number = self._plan(plan)
                self._write({"call": id, "plan": number, "on_expiry": on_expiry, "about": about})
            except OSError as error:
                logger.error(
                    "the journal in %s cannot be written: %s",
                    self.directory,
                    error,
                    extra=logged("journal_not_written", path=self.directory, why=error),
                )
                return False
            self._pending.add(id)
            return True

    def end(self, id: str, real: Amounts, outcome: str) -> None:
        """Notes how a call ended whose begin was noted."""
        with self._lock:
            if id in self._pending:
                self._note({"end": id, "real": real, "outcome": outcome})

    def sync(self) -> None:
        """Sees to it that what was written survives a loss of power; called once a second."""
        with self._lock:
            if self._unsynced and self._file is not None:
                self._unsynced = False
                os.fsync(self._file.fileno())

    def _plan(self, plan: Plan) -> int:
        known = self._plans.get(id(plan))
        if known is None:
            known = (len(self._plans), plan)  # kept, so that its id stays its own
            self._write({"plan": known[0], "lines": pack_plan(plan)})
            self._plans[id(plan)] = known
        return known[0]

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is None:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _is_ours(self.directory):
                raise PermissionError(f"{self.directory} belongs to others, or they may write into it")
            path = self.directory / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
            self._file = path.open("xb", buffering=0)
            _own(self._file)
        self._size += _append(self._file, line)
        self._unsynced = True

    def _remove(self) -> None:
        super()._remove()
        self._plans.clear()
        self._size = 0


class Leftover(_Noted):
    """A file that a process left behind, now this one's: `settles` are to be sent."""

    def __init__(self, file: IO[bytes], now: int, ids: Ids) -> None:
        self._lock = Lock()
        self._file = file
        self.settles = list(_read(file, now, ids))
        self._pending = {call_of(settle) for settle in self.settles}
        if not self._pending:
            self._remove()


def leftovers(directory: str | Path, now: int, ids: Ids) -> Iterator[Leftover]:
    """Files in the directory that no living process owns; each is owned by who got it here.

    now  the store's clock, ms; ids: makes new ones for calls that it does not remember at that time
    """
    if not _is_ours(Path(directory)):  # what others put there is not believed
        return
    for path in sorted(Path(directory).glob(f"*{SUFFIX}")):
        try:
            file = path.open("r+b")
        except OSError:
            continue
        found = None
        try:
            if _own(file) and path.exists():  # another may just have finished with it
                found = Leftover(file, now, ids)
        except OSError as error:  # new ids cannot be written down: it stays as it is for another time
            logger.error(
                "the journal %s cannot be used: %s",
                path,
                error,
                extra=logged("journal_unusable", path=path, why=error),
            )
        if found is None:
            file.close()
        else:
            yield found


def _append(file: IO[bytes], line: dict[str, Any]) -> int:
    data = b"\n%b\n" % json.dumps(line, separators=(",", ":")).encode()
    written = file.write(data)
    file.flush()
    if written < len(data):
        raise OSError(errno.ENOSPC, "no room for the whole line")
    return written


def _entries(file: IO[bytes]) -> dict[str, dict[Any, dict[str, Any]]]:
    """A file's lines by their kind, which is their first word, and by what they speak of."""
    found: dict[str, dict[Any, dict[str, Any]]] = {kind: {} for kind in KINDS}
    for line in filter(bytes.strip, file):
        try:
            entry = json.loads(line)
            kind = next(iter(entry))
            if kind == "plan":
                entry["lines"] = unpack_plan(entry["lines"])
            found[kind][entry[kind]] = entry
        except (ValueError, KeyError, TypeError, StopIteration):
            logger.warning(
                "a line of the journal %s cannot be read",
                file.name,
                extra=logged("journal_line_unreadable", path=file.name),
            )
    return found


def _read(file: IO[bytes], now: int, ids: Ids) -> Iterator[Settle]:
    """What is to be booked of a file's calls; those with a new id have that written down now."""
    entries = _entries(file)
    begun = {id: call for id, call in entries["call"].items() if id not in entries["booked"]}
    again = {id: entry["id"] for id, entry in entries["again"].items()}
    late = [id for id in begun if id_time(again.get(id, id)) < now - REMEMBER_MS + MARGIN_MS]
    for id in late:
        again[id] = ids.new(now)
        _append(file, {"again": id, "id": again[id]})
    if late:
        os.fsync(file.fileno())
    for id, call in begun.items():
        plan, end, about = entries["plan"][call["plan"]]["lines"], entries["end"].get(id), call["about"]
        if end is None:
            step = Settle(id, plan, tuple(call["on_expiry"]), "{}", "expired", force=True, about=about)
        else:
            step = Settle(id, plan, tuple(end["real"]), end["outcome"], force=True, about=about)
        yield anew(step, again[id]) if id in again else step


def _is_ours(directory: Path) -> bool:
    """Whether a directory is this user's, and nobody else may write into it."""
    try:
        found = directory.lstat()
    except OSError:
        return False
    mine = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    return mine and stat.S_ISDIR(found.st_mode) and (os.name != "posix" or not found.st_mode & 0o022)


def _own(file: IO[bytes]) -> bool:
    """Takes the file's lock, which its process holds as long as it lives; whether it was free."""
    try:
        import fcntl  # noqa: PLC0415  # not on every system
    except ImportError:  # pragma: no cover
        return time.time() - os.stat(file.fileno()).st_mtime > STALE_S
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


STALE_S = 3600.0
"""Where files cannot be locked: how long one must lie untouched to be taken for left behind."""
