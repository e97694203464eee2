"""The SQLite store: one file that survives a crash and serves every process of a host.

schema.py    the tables, and how an older file is brought forward
file.py      the open file: its connection, transactions, forks, what can be wrong with it
mounts.py    whether a path lies on a network file system
rows.py      counters, reservations and records as rows
books.py     one organization's counters and reservations: loaded, decided, written
tree.py      the documents of the tenancy tree
moving.py    dump and load
store.py     the `Store` protocol over these
"""

from __future__ import annotations

from .store import SQLiteStore
from .url import open_url

__all__ = ["SQLiteStore", "open_url"]
