"""The journal of calls that were let through while the store was away: a file that survives the process.

One file a process, locked by its owner, in a directory that the app's processes share. A line is JSON: a plan, once, a
call that was let go, its end. What a process left behind is found by the next one that starts: ended calls are booked
as they ended, others as their reservation would have expired. Ids make sure that each is booked once, however often it
is read; one that the store will not remember any more gets a new one, written down before it is sent. A line that a
crash cut short is passed over.
"""

from __future__ import annotations

import contextlib
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

from ..core.steps import REMEMBER_MS, Amounts, Plan, Settle, id_time
from ..ids import Ids
from .items import pack_plan, unpack_plan
from .thread import anew, call_of

logger = logging.getLogger("quotaware")

MAX_BYTES = 64 * 1024 * 1024
MAX_CALLS = 100_000
SUFFIX = ".jsonl"
MARGIN_MS = 3_600_000
"""A call gets a new id so long before the store forgets its own."""


class Journal:
    """Writes this process's file, made at the first call that needs it; thread-safe.

    `pending` counts calls in it that the store has not booked yet.
    """

    def __init__(self, directory: str | Path) -> None:
        self.directory = Path(directory)
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._file: IO[bytes] | None = None
        self._plans: dict[int, tuple[int, Plan]] = {}
        self._pending: set[str] = set()
        self._size = 0
        self._unsynced = False

    def __len__(self) -> int:
        return len(self._pending)

    def begin(self, id: str, plan: Plan, on_expiry: Amounts, about: str) -> bool:
        """Notes a call before it goes. False where the journal is full or cannot be written: it must not go then."""
        if self._pid != os.getpid():
            self._begin()
        with self._lock:
            if len(self._pending) >= MAX_CALLS or self._size >= MAX_BYTES:
                return False
            try:
                number = self._plan(plan)
                self._write({"call": id, "plan": number, "on_expiry": on_expiry, "about": about})
            except OSError as error:
                logger.error("the journal in %s cannot be written: %s", self.directory, error)
                return False
            self._pending.add(id)
            return True

    def end(self, id: str, real: Amounts, outcome: str) -> None:
        """Notes how a call ended whose begin was noted."""
        if id not in self._pending:
            return
        with self._lock:
            try:
                self._write({"end": id, "real": real, "outcome": outcome})
            except OSError as error:  # it is booked from memory; after a crash, as one that expired
                logger.error("the end of a call could not be written to the journal: %s", error)

    def booked(self, id: str) -> bool:
        """The store has it. True where it was the last one that was missing."""
        if id not in self._pending:
            return False
        with self._lock:
            self._pending.discard(id)
            if self._pending:
                return False
            self._remove()
            return True

    def sync(self) -> None:
        """Sees to it that what was written survives a loss of power; called once a second."""
        with self._lock:
            if self._unsynced and self._file is not None:
                self._unsynced = False
                os.fsync(self._file.fileno())

    def close(self) -> None:
        """Lets go of the file; what is in it is the next process's."""
        with self._lock:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _plan(self, plan: Plan) -> int:
        known = self._plans.get(id(plan))
        if known is None:
            known = self._plans[id(plan)] = (len(self._plans), plan)  # kept, so that its id stays its own
            self._write({"plan": known[0], "lines": pack_plan(plan)})
        return known[0]

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is None:
            self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            if not _is_ours(self.directory):
                raise PermissionError(f"{self.directory} belongs to others, or they may write into it")
            path = self.directory / f"{os.getpid()}-{secrets.token_hex(4)}{SUFFIX}"
            self._file = path.open("xb", buffering=0)
            _own(self._file)
        data = json.dumps(line, separators=(",", ":")).encode() + b"\n"
        self._file.write(data)
        self._size += len(data)
        self._unsynced = True

    def _remove(self) -> None:
        if self._file is not None:
            _remove(self._file)
        self._file = None
        self._plans.clear()
        self._size = 0


class Leftover:
    """A file that a process left behind, now this one's: `settles` are to be sent, `booked` removes it at the end."""

    def __init__(self, file: IO[bytes], now: int, ids: Ids) -> None:
        self._file = file
        self.settles = list(_read(file, now, ids))
        self._pending = {call_of(settle) for settle in self.settles}
        if not self._pending:
            self._remove()

    def __len__(self) -> int:
        return len(self._pending)

    def booked(self, id: str) -> bool:
        """The store has it. True where it was the last one."""
        if id not in self._pending:
            return False
        self._pending.discard(id)
        if self._pending:
            return False
        self._remove()
        return True

    def close(self) -> None:
        """Lets go of the file: what is not booked yet is another's."""
        self._file.close()

    def _remove(self) -> None:
        _remove(self._file)


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
        if _own(file) and path.exists():  # another may just have finished with it
            yield Leftover(file, now, ids)
        else:
            file.close()


def _read(file: IO[bytes], now: int, ids: Ids) -> Iterator[Settle]:
    plans: dict[int, Plan] = {}
    begun: dict[str, dict[str, Any]] = {}
    ended: dict[str, dict[str, Any]] = {}
    again: dict[str, str] = {}
    for line in file:
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if "lines" in entry:
                plans[entry["plan"]] = unpack_plan(entry["lines"])
            elif "call" in entry:
                begun[entry["call"]] = entry
            elif "again" in entry:
                again[entry["again"]] = entry["id"]
            else:
                ended[entry["end"]] = entry
        except (ValueError, KeyError, TypeError):
            logger.warning("a line of the journal %s cannot be read", file.name)
    late = {id: ids.new(now) for id in begun if id_time(again.get(id, id)) < now - REMEMBER_MS + MARGIN_MS}
    if late:
        lines = [json.dumps({"again": id, "id": new}) for id, new in late.items()]
        file.write("".join(f"\n{line}\n" for line in lines).encode())
        file.flush()
        os.fsync(file.fileno())
    again |= late
    for id, call in begun.items():
        plan, end = plans[call["plan"]], ended.get(id)
        if end is None:
            step = Settle(
                id, plan, tuple(call["on_expiry"]), "{}", "expired", force=True, about=call["about"]
            )
        else:
            step = Settle(id, plan, tuple(end["real"]), end["outcome"], force=True, about=call["about"])
        yield anew(step, again[id]) if id in again else step


def _is_ours(directory: Path) -> bool:
    """Whether a directory is this user's, and nobody else may write into it."""
    try:
        found = directory.lstat()
    except OSError:
        return False
    mine = not hasattr(os, "geteuid") or found.st_uid == os.geteuid()
    return mine and stat.S_ISDIR(found.st_mode) and (os.name != "posix" or not found.st_mode & 0o022)


def _remove(file: IO[bytes]) -> None:
    path = Path(file.name)
    path.unlink(missing_ok=True)
    file.close()
    with contextlib.suppress(OSError):  # another file is in it
        path.parent.rmdir()


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
