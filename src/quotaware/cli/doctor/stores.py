"""The store: whether it can be used as it is set up, and whether its clock and ours are one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import quote

import httpx

from ...errors import ConfigurationError, StoreError
from ...stores.memory import MemoryStore
from ...stores.protocol import Clock, Store
from ..client import TIMEOUT_S
from ..printing import moment
from .findings import Evidence, Finding, NotLooked

OFF_MS, FAR_OFF_MS = 2_000, 60_000
"""Ms from which on two clocks differ, and differ so much that it does harm."""
FULL = 0.85
"""The share of its memory from which on a server is nearly full."""
ROOM = 256 * 2**20
"""Bytes of free disk below which a file is soon full."""
_SYNC = "let NTP (chrony, systemd-timesyncd) set the clocks of both"
_WHICH = "see that the URL names the file that the app uses"
_READ = "see docs/stores.md"


@runtime_checkable
class HasFacts(Protocol):
    """A store of servers that tell of themselves."""

    def facts(self) -> Mapping[str, Mapping[str, str]]:
        """By address."""
        ...


def set_up(evidence: Evidence) -> Iterator[Finding]:
    """Whether it answers, and is set up so that counters are right and last."""
    store = evidence.store
    if store is None:
        raise NotLooked("no store or app was given")
    path = getattr(store, "path", None)
    if path is not None:
        yield from (found := list(_file(path)))
        if any(finding.level == "error" for finding in found):
            return
    try:
        store.hello()
        told = store.facts() if isinstance(store, HasFacts) else {}
    except ConfigurationError as error:
        what, _, do = str(error).partition(": ")[2].rpartition("; ")
        yield Finding("error", what or do, do if what else _READ)
        return
    except StoreError as error:
        yield Finding(
            "error", f"the store does not answer: {error}", "see that it runs, and that its URL is right"
        )
        return
    for address, facts in told.items():
        yield from _server(address, facts)


def _file(path: str) -> Iterator[Finding]:
    """A file of SQLite, looked at without being changed."""
    import sqlite3  # noqa: PLC0415  # loaded only where it is used

    from ...stores.sqlite import schema  # noqa: PLC0415

    if not Path(path).exists():
        yield Finding("error", f"there is no file {path}", _WHICH)
        return
    try:
        with closing(sqlite3.connect(f"file:{quote(path)}?mode=ro", uri=True)) as connection:
            found = schema.version(connection)
        schema.check_version(found)
    except ConfigurationError as error:
        what, _, do = str(error).partition(": ")[2].replace("; ", ": ").rpartition(": ")
        yield Finding("error", what, do)
        return
    except sqlite3.Error as error:
        yield Finding("error", f"{path} cannot be read: {error}", _READ)
        return
    if found == 0:
        yield Finding("error", f"{path} is empty: no app has used it yet", _WHICH)
    elif found < len(schema.STEPS):
        yield Finding(
            "error",
            f"the file has schema {found}, which the first use by this version makes {len(schema.STEPS)}",
            "stop processes of older versions, keep a copy, then run: quotaware store migrate",
        )
    if (free := shutil.disk_usage(os.path.dirname(path)).free) < ROOM:
        yield Finding("warning", f"its disk has {free // 2**20} MiB left", "make room, or move the file")


def _server(address: str, facts: Mapping[str, str]) -> Iterator[Finding]:
    """What a server of Redis says of itself."""
    most, used = int(facts.get("maxmemory", "0")), int(facts.get("used_memory", "0"))
    policy = facts.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        yield Finding(
            "warning",
            f"{address} evicts keys when its memory is full (maxmemory-policy {policy}): a counter that is evicted is "
            "forgotten money",
            "set maxmemory-policy noeviction",
        )
    if most and used > FULL * most:
        yield Finding(
            "warning",
            f"{address} has {used / most:.0%} of its memory in use; a full one refuses calls",
            "raise maxmemory, or keep records for fewer days (?records_days=)",
        )
    if facts.get("aof_enabled") == "0":
        yield Finding(
            "warning",
            f"{address} keeps no log of what is written (appendonly no): a crash takes all since its last snapshot",
            "set appendonly yes, with appendfsync everysec or always",
        )


def clocks(evidence: Evidence) -> Iterator[Finding]:
    """The store's clock and the running app's against ours, and records from a time that has not come."""
    looked = False
    if (store := evidence.store) is not None and not isinstance(store, MemoryStore):
        looked = True
        if not hasattr(store, "path"):  # a file goes by our clock, and is not opened for that
            yield from _of_store(store, evidence.clock)
    if evidence.settings.url is not None:
        looked = True
        yield from _of_app(evidence)
    if evidence.api is not None:
        looked = True
        yield from _recorded_ahead(evidence)
    if not looked:
        raise NotLooked(evidence.why)


def _of_store(store: Store, clock: Clock) -> Iterator[Finding]:
    try:
        before = clock()
        told = store.hello()
        after = clock()
    except (ConfigurationError, StoreError):
        return  # the check of the store tells of it
    yield from _apart("the store's", told, before, after)


def _of_app(evidence: Evidence) -> Iterator[Finding]:
    settings = evidence.settings
    headers = {"authorization": f"Bearer {settings.key}"}
    before = evidence.clock()
    answer = httpx.get(
        f"{(settings.url or '').rstrip('/')}/healthz", headers=headers, timeout=settings.timeout or TIMEOUT_S
    )
    after = evidence.clock()
    if "date" in answer.headers:
        told = round(parsedate_to_datetime(answer.headers["date"]).timestamp() * 1000)
        yield from _apart("the running app's", told, before - 1000, after)  # it tells whole seconds
    health: Any = (
        answer.json() if answer.headers.get("content-type", "").startswith("application/json") else {}
    )
    if ahead := health.get("ahead_ms"):
        now = evidence.clock()
        yield from _apart("the store's, as the running app sees it,", now + ahead, now, now)


def _apart(whose: str, told: int, before: int, after: int) -> Iterator[Finding]:
    """A clock that said `told` between two looks at ours."""
    off = told - before if told < before else max(0, told - after)
    if abs(off) > OFF_MS:
        yield Finding(
            "error" if abs(off) > FAR_OFF_MS else "warning",
            f"{whose} clock is {abs(off) / 1000:,.1f} s {'ahead of' if off > 0 else 'behind'} ours: windows begin and "
            "end at another time than people think",
            _SYNC,
        )


def _recorded_ahead(evidence: Evidence) -> Iterator[Finding]:
    api, now = evidence.reached, datetime.fromtimestamp(evidence.clock() / 1000).astimezone()
    since = (now + timedelta(milliseconds=OFF_MS)).isoformat()
    until = (now + timedelta(days=3650)).isoformat()
    path = f"{api.organization().path}/usage/records"
    for record in api.get(path, **{"from": since, "to": until}, limit=1)["data"]:
        yield Finding(
            "warning",
            f"a call is recorded at {moment(record['at'])} UTC, yet to come: a clock was ahead, or ours behind",
            _SYNC,
        )
