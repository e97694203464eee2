"""The tables of the file, and how an older file is brought forward.

`STEPS[n]` leads from schema n to n + 1; a new file is schema 0. A step is never changed once it was released: what is
wanted anew is a step of its own behind the others.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ...errors import ConfigurationError

_FIRST = """
CREATE TABLE org (
    id TEXT PRIMARY KEY,
    epoch TEXT NOT NULL, seq INTEGER NOT NULL, now INTEGER NOT NULL, rev INTEGER NOT NULL,
    closed INTEGER NOT NULL,                      -- no reserve before this ms
    booked INTEGER NOT NULL, count INTEGER NOT NULL,  -- position of the last record
    folded TEXT NOT NULL,                         -- the watermark
    former TEXT NOT NULL,                         -- epochs before this one, the newest first
    base INTEGER NOT NULL,                        -- the revision from before the last adoption
    accepted INTEGER NOT NULL                     -- whether an operator took it without documents
) WITHOUT ROWID;

CREATE TABLE node (
    org TEXT NOT NULL, id TEXT NOT NULL,
    kind TEXT NOT NULL, parent TEXT NOT NULL, name TEXT,
    rev INTEGER NOT NULL, body TEXT NOT NULL, stop TEXT,
    PRIMARY KEY (org, id)
) WITHOUT ROWID;
CREATE UNIQUE INDEX node_name ON node (org, kind, name, parent) WHERE name IS NOT NULL;
CREATE INDEX node_child ON node (org, kind, parent, id);
CREATE INDEX node_kind ON node (org, kind, id);

CREATE TABLE link (digest TEXT PRIMARY KEY, org TEXT NOT NULL, key TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX link_org ON link (org);

CREATE TABLE audit (org TEXT NOT NULL, rev INTEGER NOT NULL, row TEXT NOT NULL, PRIMARY KEY (org, rev)) WITHOUT ROWID;

CREATE TABLE counter (
    org TEXT NOT NULL, key TEXT NOT NULL,
    definition TEXT NOT NULL,
    used INTEGER NOT NULL, held INTEGER NOT NULL, cap INTEGER NOT NULL, rev INTEGER NOT NULL, next INTEGER,
    state TEXT NOT NULL,                          -- [fired, ring, claim], "" where there is nothing of it
    expires INTEGER,                              -- may be forgotten at this ms
    PRIMARY KEY (org, key)
) WITHOUT ROWID;
CREATE INDEX counter_expires ON counter (org, expires) WHERE expires IS NOT NULL;

CREATE TABLE plan (
    org TEXT NOT NULL, digest BLOB NOT NULL, text TEXT NOT NULL, made INTEGER NOT NULL, PRIMARY KEY (org, digest)
) WITHOUT ROWID;

CREATE TABLE reservation (
    org TEXT NOT NULL, id TEXT NOT NULL,
    at INTEGER, lease INTEGER,                    -- down to `about`: while it is open, and where it expired
    hold_tokens INTEGER, hold_cost INTEGER, hold_slots INTEGER,
    expiry_tokens INTEGER, expiry_cost INTEGER, expiry_slots INTEGER,
    plan BLOB, about TEXT,
    how TEXT, overrun INTEGER,                    -- from here on NULL while it is open
    tokens INTEGER, cost INTEGER, slots INTEGER,
    PRIMARY KEY (org, id)
) WITHOUT ROWID;
CREATE INDEX reservation_lease ON reservation (org, lease) WHERE how IS NULL;
CREATE INDEX reservation_expired ON reservation (org, plan) WHERE how = 'expired';

CREATE TABLE record (
    org TEXT NOT NULL, booked INTEGER NOT NULL, count INTEGER NOT NULL,
    id TEXT NOT NULL, part INTEGER NOT NULL, at INTEGER NOT NULL, settled_at INTEGER NOT NULL,
    about TEXT NOT NULL, outcome TEXT NOT NULL, how TEXT NOT NULL,
    hold_tokens INTEGER NOT NULL, hold_cost INTEGER NOT NULL, hold_slots INTEGER NOT NULL,
    tokens INTEGER NOT NULL, cost INTEGER NOT NULL, slots INTEGER NOT NULL,
    overrun INTEGER NOT NULL,
    PRIMARY KEY (org, booked, count)
) WITHOUT ROWID;

CREATE TABLE total (
    org TEXT NOT NULL, cube TEXT NOT NULL, bucket INTEGER NOT NULL, dims TEXT NOT NULL,
    body TEXT NOT NULL, keep INTEGER NOT NULL,
    PRIMARY KEY (org, cube, bucket, dims)
) WITHOUT ROWID;
CREATE INDEX total_keep ON total (org, keep);

CREATE TABLE event (
    org TEXT NOT NULL, id TEXT NOT NULL, at INTEGER NOT NULL, body TEXT NOT NULL, PRIMARY KEY (org, id)
) WITHOUT ROWID;

CREATE TABLE once (
    org TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, until INTEGER NOT NULL, PRIMARY KEY (org, name)
) WITHOUT ROWID;
"""

STEPS: tuple[str, ...] = (_FIRST,)

_FOREIGN = "the file is a database of something else; name another file"


def version(connection: sqlite3.Connection) -> int:
    """The schema of a file, 0 for a new one. Raises `ConfigurationError` where it is somebody else's database."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if "meta" not in tables:
        if tables:
            raise ConfigurationError("store", _FOREIGN)
        return 0
    return stored_version(connection)


def stored_version(connection: sqlite3.Connection) -> int:
    """The schema of a file that has one. Raises `ConfigurationError`."""
    try:
        (found,) = connection.execute("SELECT v FROM meta WHERE k = 'schema'").fetchone()
        return int(found)
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_ERROR:
            raise
    except (TypeError, ValueError):
        pass
    raise ConfigurationError("store", _FOREIGN)


def check_version(found: int, steps: Sequence[str] = STEPS) -> None:
    """Raises `ConfigurationError` where the file was written by a newer version of this library."""
    if found > len(steps):
        raise ConfigurationError(
            "store",
            f"the file has schema {found}, and this version of quotaware knows up to {len(steps)}: "
            "update quotaware, or name another file",
        )


def migrate(connection: sqlite3.Connection, steps: Sequence[str] = STEPS) -> None:
    """Brings the file forward, inside a write transaction that the caller has begun and commits: of many processes one
    does it. Raises `ConfigurationError`.
    """
    found = version(connection)
    check_version(found, steps)
    if found == 0:
        connection.execute("CREATE TABLE meta (k TEXT PRIMARY KEY, v) WITHOUT ROWID")
    for step in steps[found:]:
        for statement in _statements(step):
            connection.execute(statement)
    if found < len(steps):
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('schema', ?)", (len(steps),))


def _statements(script: str) -> list[str]:
    """The statements of a script, one by one: `executescript` would commit the caller's transaction."""
    found, statement = [], ""
    for line in script.splitlines():
        statement += line + "\n"
        if sqlite3.complete_statement(statement):
            found.append(statement)
            statement = ""
    return found
