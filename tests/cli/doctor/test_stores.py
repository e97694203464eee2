"""The store's set-up and everybody's clocks, on real files and servers."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from quotaware import Quota
from quotaware.cli.doctor.findings import Evidence, NotLooked
from quotaware.cli.doctor.stores import clocks, set_up
from quotaware.cli.settings import Settings
from quotaware.stores.memory import system_clock
from quotaware.stores.opening import open_store
from quotaware.stores.sqlite import schema
from quotaware.testing.clocks import FakeClock
from quotaware.testing.server import serve
from tests.calls import spend
from tests.cli.doctor.conftest import ORG, told
from tests.servers import Server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that is set up well."""
    with Server({"appendonly": "yes"}) as server:
        yield server


@pytest.fixture
def of() -> Iterator[Callable[..., Evidence]]:
    """Makes evidence of a store by its URL."""
    stores = []

    def made(url: str, **more: Any) -> Evidence:
        stores.append(open_store(url, system_clock))
        return Evidence(store=stores[-1], **more)

    yield made
    for store in stores:
        store.close()


Of = Callable[..., Evidence]


@pytest.fixture
def file(tmp_path: Path) -> str:
    """The URL of a file that an app has used."""
    quota = Quota(url := f"sqlite:///{tmp_path}/quota.db", limits=["$1/day"])
    quota.bootstrap()
    quota.close()
    return url


def test_a_store_that_is_well(of: Of, file: str, server: Server, quota: Quota) -> None:
    assert told(set_up, of(file)) == []
    assert told(set_up, of(server.url)) == []
    assert told(set_up, Evidence(store=quota.store)) == []


def test_a_server_that_evicts(of: Of, server: Server) -> None:
    server.configure("maxmemory", "1gb")
    server.configure("maxmemory-policy", "allkeys-lru")
    try:
        ((level, what),) = told(set_up, of(server.url))
        assert level == "error"
        assert "evicts keys when its memory is full (maxmemory-policy allkeys-lru)" in what
        (finding,) = set_up(of(server.url))
        assert finding.do == "set maxmemory-policy noeviction, or say ?evict=ok"
        ((level, what),) = told(set_up, of(f"{server.url}?evict=ok"))
        assert level == "warning"
        assert what.startswith(f"{server.address} evicts keys")
    finally:
        server.configure("maxmemory-policy", "noeviction")
        server.configure("maxmemory", 0)


def test_a_server_that_is_nearly_full(of: Of, server: Server) -> None:
    with server.client() as client:
        used = client.info("memory")["used_memory"]
    server.configure("maxmemory", used)
    try:
        ((level, what),) = told(set_up, of(server.url))
    finally:
        server.configure("maxmemory", 0)
    assert level == "warning"
    assert "of its memory in use" in what


def test_a_server_without_a_log(of: Of, server: Server) -> None:
    server.configure("appendonly", "no")
    try:
        ((level, what),) = told(set_up, of(server.url))
    finally:
        server.configure("appendonly", "yes")
    assert level == "warning"
    assert what.startswith(f"{server.address} keeps no log of what is written (appendonly no)")


def test_a_server_that_is_away(of: Of) -> None:
    ((level, what),) = told(set_up, of("redis://127.0.0.1:1/0"))
    assert level == "error"
    assert what.startswith("the store does not answer: ")


def test_a_file_that_is_not_there_is_not_made(of: Of, tmp_path: Path) -> None:
    ((level, what),) = told(set_up, of(f"sqlite:///{tmp_path}/gone.db"))
    assert (level, what) == ("error", f"there is no file {tmp_path}/gone.db")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_empty(of: Of, tmp_path: Path) -> None:
    (tmp_path / "new.db").touch()
    evidence = of(f"sqlite:///{tmp_path}/new.db")
    assert told(set_up, evidence) == [("error", f"{tmp_path}/new.db is empty: no app has used it yet")]
    assert told(clocks, evidence) == []
    assert (tmp_path / "new.db").read_bytes() == b""


def test_a_file_of_something_else(of: Of, tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE other (a)")
    other.close()
    evidence = of(f"sqlite:///{tmp_path}/other.db")
    assert told(set_up, evidence) == [("error", "the file is a database of something else")]
    (tmp_path / "text.db").write_text("this is no database, but it is long enough to be one " * 20)
    ((level, what),) = told(set_up, of(f"sqlite:///{tmp_path}/text.db"))
    assert level == "error"
    assert what.endswith("text.db cannot be read: file is not a database")


def test_a_file_of_another_version(of: Of, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is looked at, and not brought forward."""
    monkeypatch.setattr(schema, "STEPS", (*schema.STEPS, "CREATE TABLE later (a);"))
    (finding,) = set_up(of(file))
    assert (finding.level, finding.what) == (
        "error",
        "the file has schema 1, which the first use by this version makes 2",
    )
    assert "quotaware store migrate" in finding.do
    assert told(clocks, of(file)) == []
    with sqlite3.connect(file.removeprefix("sqlite:///")) as connection:
        assert schema.version(connection) == 1
        connection.execute("UPDATE meta SET v = 7 WHERE k = 'schema'")
    connection.close()
    (finding,) = set_up(of(file))
    assert (finding.level, finding.do) == ("error", "update quotaware, or name another file")
    assert finding.what.startswith("the file has schema 7")


def test_a_disk_that_is_nearly_full(of: Of, file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(100 * 2**20))
    assert told(set_up, of(file)) == [("warning", "its disk has 100 MiB left")]


def test_without_a_store_nothing_is_looked_at() -> None:
    for check in (set_up, clocks):
        with pytest.raises(NotLooked):
            list(check(Evidence()))


@pytest.mark.parametrize(
    ("ahead_ms", "told_of"),
    [
        (0, None),
        (1_500, None),
        (-1_500, None),
        (-10_000, ("warning", "behind")),
        (10_000, ("warning", "ahead of")),
        (300_000, ("error", "ahead of")),
    ],
)
def test_the_clock_of_a_server(
    of: Of, server: Server, ahead_ms: int, told_of: tuple[str, str] | None
) -> None:
    """Ours is so much behind it."""
    found = told(clocks, of(server.url, clock=lambda: system_clock() - ahead_ms))
    if told_of is None:
        assert found == []
        return
    ((level, what),) = found
    assert level == told_of[0]
    assert what.startswith("the store's clock is ")
    assert f" s {told_of[1]} ours" in what


def test_a_file_and_a_server_that_is_away_have_no_clock_to_compare(of: Of, file: str) -> None:
    assert told(clocks, of(file)) == []
    assert told(clocks, of("redis://127.0.0.1:1/0")) == []


def an_app(date: int | None = None, **health: Any) -> Starlette:
    """A running app, whose clock and whose store's are so many ms ahead of ours."""

    async def healthz(request: Any) -> JSONResponse:
        headers = {} if date is None else {"date": formatdate((system_clock() + date) / 1000, usegmt=True)}
        return JSONResponse({"status": "ok", **health}, headers=headers)

    return Starlette(routes=[Route("/healthz", healthz)])


@pytest.mark.parametrize(
    ("app", "levels", "whose"),
    [
        (an_app(0, ahead_ms=0), [], ""),
        (an_app(500, ahead_ms=-900), [], ""),
        (an_app(), [], ""),
        (an_app(20_000), ["warning"], "the running app's clock is "),
        (an_app(-7_200_000), ["error"], "the running app's clock is "),
        (
            an_app(0, ahead_ms=5_000),
            ["warning"],
            "the store's, as the running app sees it, clock is 5.0 s ahead",
        ),
    ],
)
def test_the_clock_of_a_running_app(app: Starlette, levels: list[str], whose: str) -> None:
    with serve(app) as url:
        found = told(clocks, Evidence(settings=Settings(url=url, key="qw_any")))
    assert [level for level, _ in found] == levels
    assert all(what.startswith(whose) for _, what in found)


def test_a_call_from_a_time_that_has_not_come(evidence: Evidence, quota: Quota, clock: FakeClock) -> None:
    spend(quota, by=_of_project())
    quota.flush()
    assert told(clocks, evidence) == []
    clock.advance(-3_600_000)
    ((level, what),) = told(clocks, evidence)
    assert level == "warning"
    assert what.startswith("a call is recorded at ")


def _of_project() -> Any:
    from quotaware import Identity

    return Identity(project="app", organization=ORG)
