"""The command: what it gathers, what it prints, how it exits."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from quotaware import Quota
from quotaware.cli.doctor.checks import CHECKS
from quotaware.cli.main import app
from tests.servers import Server

Run = Callable[..., Result]

APP = """
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from quotaware import Quota, QuotaMiddleware
    quota = Quota({store!r})
    quota.bootstrap("acme", id="acme")
    app = Starlette(middleware=[{middleware}])
"""
OURS = "Middleware(QuotaMiddleware, quota=quota, instrument=False)"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs `quotaware doctor` in an empty directory."""
    monkeypatch.chdir(tmp_path)
    for name in ("URL", "KEY", "STORE", "CONFIG"):
        monkeypatch.delenv(f"QUOTAWARE_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["doctor", *words])

    return run


def written(name: str, store: str = "memory://", middleware: str = OURS) -> str:
    """An app in a module of this name."""
    Path(f"{name}.py").write_text(textwrap.dedent(APP).format(store=store, middleware=middleware))
    return f"{name}:app"


def a_file(path: Path, **of_project: Any) -> str:
    """The URL of a store with an organization and a project."""
    url = f"sqlite:///{path}/quota.db"
    quota = Quota(url)
    quota.bootstrap("acme", id="acme")
    quota.blocking.tenancy.create_project("acme", "app", **of_project)
    quota.close()
    return url


def states(result: Result) -> dict[str, str]:
    return {each["check"]: each["state"] for each in json.loads(result.stdout)["checks"]}


def test_without_anything_it_looks_at_the_environment(run: Run) -> None:
    result = run("--json")
    assert result.exit_code == 0
    found = states(result)
    assert list(found) == [check.name for check in CHECKS]
    assert {name: state for name, state in found.items() if state != "skipped"} == {"sdks": "ok"}


def test_a_store_that_is_well(run: Run, tmp_path: Path) -> None:
    url = a_file(tmp_path, limits=["$1/day"], alerts=["80% email"])
    found = states(run("--store", url, "--json"))
    assert found == dict.fromkeys(found, "ok") | {"middleware": "skipped", "proxies": "skipped"}


def test_a_warning_is_no_error_unless_one_says_so(run: Run, tmp_path: Path) -> None:
    url = a_file(tmp_path, limits=["$1/day"])
    result = run("--store", url, "--json")
    told = json.loads(result.stdout)
    assert (result.exit_code, told["errors"], told["warnings"]) == (0, 0, 1)
    (finding,) = (finding for each in told["checks"] for finding in each["findings"])
    assert finding["level"] == "warning"
    assert finding["what"].startswith("budgets without an alert, 1 of them")
    assert finding["do"].startswith("give them alerts ('80% email')")
    assert run("--store", url, "--strict").exit_code == 1


def test_a_person_reads_what_is_wrong_and_what_to_do(run: Run, tmp_path: Path) -> None:
    result = run("--store", f"sqlite:///{tmp_path}/gone.db")
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    at = lines.index(f"error    store       there is no file {tmp_path}/gone.db")
    assert lines[at + 1].strip() == "→ see that the URL names the file that the app uses"
    assert "skipped  prices      the store cannot be used" in lines
    assert "errors: 1, warnings: 0, " in result.stderr
    assert not (tmp_path / "gone.db").exists()


def test_an_app(run: Run, tmp_path: Path) -> None:
    """Its middlewares, its store and its organization."""
    url = a_file(tmp_path, limits=["$1/day"])
    found = states(run(written("app_with_a_file", url), "--json"))
    assert found == dict.fromkeys(found, "ok") | {"middleware": "warning", "alerts": "warning"}


def test_an_app_without_the_middleware(run: Run) -> None:
    result = run(written("app_without_it", middleware=""), "--json")
    assert result.exit_code == 1
    found = states(result)
    assert found["middleware"] == "error"
    assert found["prices"] == "skipped"


def test_an_app_that_counts_in_memory(run: Run) -> None:
    target = written("app_in_memory")
    assert states(run(target, "--json"))["workers"] == "ok"
    result = run(target, "--json", "--workers", "2")
    assert (result.exit_code, states(result)["workers"]) == (1, "error")


def test_an_app_that_cannot_be_loaded(run: Run) -> None:
    from quotaware.cli.failures import Failure

    result = run("no_such_module:app")
    assert isinstance(result.exception, Failure)
    assert result.exception.code == 2


def test_a_store_of_several_organizations_is_told_which(run: Run, tmp_path: Path) -> None:
    url = a_file(tmp_path, limits=["$1/day"], alerts=["80% email"])
    quota = Quota(url)
    quota.blocking.tenancy.create_organization("Other", id="other")
    quota.close()
    told = json.loads(run("--store", url, "--json").stdout)
    (why,) = {each["skipped"] for each in told["checks"] if each["check"] in ("prices", "alerts", "keys")}
    assert "Say which organization" in why
    assert states(run("--store", url, "-o", "acme", "--json"))["keys"] == "ok"


def test_a_server(run: Run) -> None:
    with Server() as server:
        quota = Quota(server.url)
        quota.bootstrap("acme")
        quota.close()
        found = states(run("--store", server.url, "--json"))
    assert found["store"] == "warning"  # it keeps no log
    assert (found["clock"], found["alerts"]) == ("ok", "ok")
