"""Whether the write-ahead log beside a database file is its own.

SQLite plays a log that is whole into whatever file it lies beside: also the one that a crash left of the file which
stood there before a backup was put in its place. So that the two can be told apart, each transaction that writes counts
up a number in the file's head (`user_version`), and the head thereby comes first in what a transaction leaves in the
log. A log begins where all that was before it is in the file. Its file therefore counts one less than the log's first
head, or as much as one of its heads; a backup from before it counts less.

Copies that SQLite itself makes (VACUUM INTO, .backup, .recover, a dump read back) may have the same count, and their
pages elsewhere. They are known by the number of their schema (`schema_version`), which is not copied as it is, and
begins anywhere in a new file.

Formats: sqlite.org/fileformat2.html, 1.3 (the head) and 4 (the log).
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import struct
from dataclasses import dataclass
from io import FileIO
from typing import NamedTuple
from urllib.parse import quote

COUNTS = 1 << 31
"""The count begins again at 0 here."""
CHANGES = 1000
"""More changes of the schema than one transaction ever makes."""

_BEGIN = struct.Struct(">8I")  # magic, version, page size, checkpoints, two salts, two sums
_FRAME = struct.Struct(">6I")  # page, size of the file at a commit, two salts, two sums
_MAGIC = 0x377F0682  # and 1 where the sums are of big-endian words
_SCHEMA, _COUNT = 40, 60  # where they are in the first page


class Head(NamedTuple):
    """What a file's first page says of its state."""

    writes: int
    schema: int


@dataclass(frozen=True, slots=True)
class _Log:
    """What a log says of the file that it was begun on.

    begin   its own first bytes, others each time that it is begun anew
    first   the first head in it
    heads   how many there are
    schema  the newest that they name
    """

    begin: bytes
    first: Head
    heads: int
    schema: int

    def is_of(self, file: Head) -> bool:
        ahead = (file.writes - self.first.writes + 1) % COUNTS
        return ahead <= self.heads and self.first.schema - CHANGES < file.schema <= self.schema


def brand(connection: sqlite3.Connection) -> None:
    """Lets a file begin anywhere with its count and its schema's number. For one that has no log yet."""
    connection.execute(f"PRAGMA user_version = {random.randrange(COUNTS)}")  # noqa: S311
    connection.execute(f"PRAGMA schema_version = {random.randrange(CHANGES, COUNTS >> 1)}")  # noqa: S311


def count(connection: sqlite3.Connection) -> None:
    """Counts a transaction that has written, inside of it."""
    (counted,) = connection.execute("PRAGMA user_version").fetchone()
    connection.execute(f"PRAGMA user_version = {(counted + 1) % COUNTS}")


def log_of(path: str) -> str:
    """Where SQLite keeps the log of the file at a path: beside the file, and not beside a link to it."""
    return os.path.realpath(path) + "-wal"


def is_foreign(path: str) -> bool:
    """Whether the log beside a file is certain to be another's: False also where that cannot be told, so that what a
    crash left is always played. Others may be writing: both are looked at until the log stayed the same meanwhile.
    """
    before = _log(path)
    while before is not None:
        file = _head(path)
        log = _log(path)
        if file is None or log is None or log.is_of(file):
            return False
        if log.begin == before.begin:
            return True
        before = log
    return False


def _head(path: str) -> Head | None:
    """The head of a file as it is without a log; None where SQLite cannot read it. SQLite reads it, because closing a
    file that this process opened by itself would end the locks that SQLite holds on it
    (sqlite.org/howtocorrupt.html, 2.2).
    """
    with contextlib.suppress(sqlite3.Error):
        look = sqlite3.connect(f"file:{quote(path)}?mode=ro&immutable=1", uri=True)
        with contextlib.closing(look):
            ask = ("PRAGMA user_version", "PRAGMA schema_version")
            return Head(*(look.execute(each).fetchone()[0] for each in ask))
    return None


def _log(path: str) -> _Log | None:
    """What the log beside a file says; None where there is none, where SQLite would play nothing of it, or where its
    first transaction was not counted.
    """
    try:
        with open(log_of(path), "rb", buffering=0) as file:  # SQLite holds no locks on it
            while (found := _read(file)) is not None:
                file.seek(0)
                begin = file.read(_BEGIN.size)
                file.seek(0)
                if begin == found.begin:  # else it was begun anew under way
                    return found
            return None
    except OSError:
        return None


def _read(file: FileIO) -> _Log | None:
    begin = file.read(_BEGIN.size)
    if len(begin) < _BEGIN.size:
        return None
    magic, _, size, _, *salts, high, low = _BEGIN.unpack(begin)
    order = "><"[magic == _MAGIC]
    frame = file.read(_FRAME.size)
    page = file.read(size)
    if magic & ~1 != _MAGIC or size % 8 or len(frame) < _FRAME.size or len(page) < size:  # it may just grow
        return None
    sums = _sums(begin[:24], order, (0, 0))
    number, _, *own_salts, own_high, own_low = _FRAME.unpack(frame)
    if sums != (high, low) or number != 1 or own_salts != salts:
        return None
    if _sums(frame[:8] + page, order, sums) != (own_high, own_low):
        return None
    first, heads, schema = _told(page), 1, _told(page).schema
    while len(frame := file.read(_FRAME.size)) == _FRAME.size:
        number, _, *own_salts, _, _ = _FRAME.unpack(frame)
        if own_salts != salts:  # left from before it was begun anew
            break
        if number == 1:
            heads += 1
            schema = max(schema, _told(file.read(_COUNT + 4)).schema)
            file.seek(size - _COUNT - 4, os.SEEK_CUR)
        else:
            file.seek(size, os.SEEK_CUR)
    return _Log(begin, first, heads, schema)


def _told(page: bytes) -> Head:
    """The head as a first page has it; nothing of one that is cut off."""
    page = page.ljust(_COUNT + 4, b"\0")
    return Head(*(struct.unpack_from(">i", page, at)[0] for at in (_COUNT, _SCHEMA)))


def _sums(data: bytes, order: str, sums: tuple[int, int]) -> tuple[int, int]:
    """The log's check sums over more bytes (fileformat2.html, 4.2)."""
    high, low = sums
    words = struct.unpack(f"{order}{len(data) // 4}I", data)
    for first, second in zip(words[::2], words[1::2], strict=True):
        high = (high + first + low) & 0xFFFFFFFF
        low = (low + second + high) & 0xFFFFFFFF
    return high, low
