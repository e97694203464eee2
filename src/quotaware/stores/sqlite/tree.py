"""The documents of an organization: its tree, as rows."""

from __future__ import annotations

import sqlite3

from ...errors import Conflict
from ..protocol import Change, Doc

_COLUMNS = "id, kind, parent, name, rev, body, stop"
_PUT = """
INSERT INTO node (org, id, kind, parent, name, rev, body) VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (org, id) DO UPDATE SET
    kind = excluded.kind, parent = excluded.parent, name = excluded.name, rev = excluded.rev, body = excluded.body"""


def doc(sql: sqlite3.Connection, org: str, id: str) -> Doc | None:
    """One document."""
    row = sql.execute(f"SELECT {_COLUMNS} FROM node WHERE org = ? AND id = ?", (org, id)).fetchone()  # noqa: S608
    return Doc(*row) if row is not None else None


def there(sql: sqlite3.Connection, org: str) -> bool:
    """Whether the organization has documents."""
    return sql.execute("SELECT 1 FROM node WHERE org = ? LIMIT 1", (org,)).fetchone() is not None


def orgs(sql: sqlite3.Connection, after: str, limit: int) -> list[str]:
    """Organizations with documents, after the given one."""
    found = sql.execute(
        """SELECT id FROM org WHERE id > ? AND EXISTS (SELECT 1 FROM node WHERE node.org = org.id)
        ORDER BY id LIMIT ?""",
        (after, limit),
    )
    return [id for (id,) in found]


def children(
    sql: sqlite3.Connection, org: str, kind: str, parent: str, name: str | None, after: str, limit: int
) -> list[Doc]:
    """Documents of a kind, by id; below a parent and of a name where these are given."""
    where, values = "org = ? AND kind = ? AND id > ?", [org, kind, after]
    if parent:
        where += " AND parent = ?"
        values.append(parent)
    if name is not None:
        where += " AND name = ?"
        values.append(name)
    index = "INDEXED BY node_name" if name is not None else ""  # of all of a kind few bear one name
    found = sql.execute(
        f"SELECT {_COLUMNS} FROM node {index} WHERE {where} ORDER BY id LIMIT ?",  # noqa: S608
        (*values, limit),
    )
    return [Doc(*row) for row in found]


def change(sql: sqlite3.Connection, org: str, wanted: Change, rev: int) -> None:
    """Writes a change as revision `rev`. Raises `Conflict` where two documents would bear one name."""
    sql.executemany("DELETE FROM node WHERE org = ? AND id = ?", [(org, id) for id in wanted.drop])
    sql.executemany(  # names may be exchanged
        "UPDATE node SET name = NULL WHERE org = ? AND id = ?", [(org, each.id) for each in wanted.put]
    )
    for each in wanted.put:
        try:
            sql.execute(_PUT, (org, each.id, each.kind, each.parent, each.name, rev, each.body))
        except sqlite3.IntegrityError as error:
            raise Conflict(f"there is a {each.kind} named {each.name!r} already") from error
    sql.executemany(
        "UPDATE node SET stop = NULL, rev = ? WHERE org = ? AND id = ?",
        [(rev, org, id) for id in wanted.resume],
    )
    if wanted.audit:
        sql.execute("INSERT INTO audit VALUES (?, ?, ?)", (org, rev, wanted.audit))
