"""Several workers on a memory store: before they run, and while they do."""

from __future__ import annotations

from itertools import cycle
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette

from quotaware import Quota
from quotaware.cli.doctor.findings import Evidence, NotLooked
from quotaware.cli.doctor.workers import on_memory
from quotaware.cli.settings import Settings
from quotaware.tenancy import keys
from quotaware.testing.clocks import NOON, FakeClock
from quotaware.testing.server import serve
from tests.cli.doctor.conftest import told


@pytest.fixture
def memory(quota: Quota) -> Any:
    return quota.store


@pytest.mark.parametrize(
    "environ",
    [
        {"WEB_CONCURRENCY": "4"},
        {"UVICORN_WORKERS": "4"},
        {"GRANIAN_WORKERS": "4"},
        {"GUNICORN_CMD_ARGS": "--bind :8000 --workers=4"},
        {"GUNICORN_CMD_ARGS": "-w 4 -k uvicorn_worker.UvicornWorker"},
        {"WEB_CONCURRENCY": "1", "UVICORN_WORKERS": "4"},
    ],
)
def test_several_workers_on_memory(memory: Any, environ: dict[str, str]) -> None:
    ((level, what),) = told(on_memory, Evidence(store=memory, environ=environ))
    assert level == "error"
    assert "runs in 4 workers" in what


def test_what_the_command_is_told_goes_before_the_environment(memory: Any) -> None:
    four = {"WEB_CONCURRENCY": "4"}
    assert told(on_memory, Evidence(store=memory, environ=four, workers=1)) == []
    ((_, what),) = told(on_memory, Evidence(store=memory, workers=2))
    assert "runs in 2 workers (--workers)" in what


@pytest.mark.parametrize(
    "environ", [{}, {"WEB_CONCURRENCY": "1"}, {"WEB_CONCURRENCY": "auto"}, {"GUNICORN_CMD_ARGS": "-w"}]
)
def test_one_worker_may_count_in_memory(memory: Any, environ: dict[str, str]) -> None:
    assert told(on_memory, Evidence(store=memory, environ=environ)) == []


def test_several_may_share_a_file(tmp_path: Path) -> None:
    quota = Quota(f"sqlite:///{tmp_path}/quota.db")
    assert told(on_memory, Evidence(store=quota.store, environ={"WEB_CONCURRENCY": "4"})) == []
    quota.close()


class InTurn:
    """A server whose workers, an app each, take requests in turn."""

    def __init__(self, *apps: Any) -> None:
        self._apps = cycle(apps)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await next(self._apps)(scope, receive, send)


def a_worker(store: str, begun: int = 0) -> tuple[Quota, Starlette]:
    """One that began so many ms later than others."""
    quota = Quota(store, clock=FakeClock(NOON + begun))
    quota.bootstrap("acme", id="acme")
    app = Starlette()
    app.mount("/v1", quota.management())
    return quota, app


def test_a_running_app_whose_workers_have_a_store_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has made the organization for itself, and knows the operator's key."""
    monkeypatch.setenv("QUOTAWARE_ADMIN_KEY", key := keys.make("admin"))
    (one, first), (two, second) = a_worker("memory://"), a_worker("memory://", 5)
    with serve(InTurn(first, second)) as url:
        ((level, what),) = told(on_memory, Evidence(settings=Settings(url=f"{url}/v1", key=key)))
    one.close()
    two.close()
    assert level == "error"
    assert "gave one key 2 different answers" in what


def test_a_running_app_of_which_one_worker_knows_the_key() -> None:
    (one, first), (two, second) = a_worker("memory://"), a_worker("memory://")
    key = one.blocking.tenancy.create_key("acme", permissions=["org:manage"]).secret
    with serve(InTurn(first, second)) as url:
        assert [
            level for level, _ in told(on_memory, Evidence(settings=Settings(url=f"{url}/v1", key=key)))
        ] == ["error"]
    one.close()
    two.close()


def test_a_running_app_whose_workers_share_a_store(tmp_path: Path) -> None:
    (one, first), (two, second) = (a_worker(f"sqlite:///{tmp_path}/quota.db") for _ in range(2))
    key = one.blocking.tenancy.create_key("acme", permissions=["org:manage"]).secret
    with serve(InTurn(first, second)) as url:
        assert told(on_memory, Evidence(settings=Settings(url=f"{url}/v1", key=key))) == []
    one.close()
    two.close()


def test_an_app_that_answers_otherwise_is_not_judged() -> None:
    with serve(Starlette()) as url, pytest.raises(NotLooked, match="answered 404"):
        list(on_memory(Evidence(settings=Settings(url=url, key="qw_any"))))


def test_where_there_is_nothing_nothing_is_looked_at() -> None:
    with pytest.raises(NotLooked, match="no app, store or URL"):
        list(on_memory(Evidence()))
