"""What every command has in common: where it looks, what it prints where, how it fails, and how it is stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import JSONResponse, RedirectResponse
from starlette.routing import Route

from quotaware.cli import main
from quotaware.cli.printing import money
from quotaware.testing.server import serve
from tests.cli.conftest import Shop, each_place
from tests.cli.terminal import Shell

ROOT = Path(__file__).parents[2]


def at(shop: Shop, url: str) -> dict[str, str]:
    """An environment that names an API."""
    return {"HOME": str(shop.home), "QUOTAWARE_URL": url, "QUOTAWARE_KEY": shop.admin}


@pytest.mark.parametrize(
    ("usd", "told"),
    [
        (None, "–"),
        (0, "$0.00"),
        (0.2, "$0.20"),
        (0.01433, "$0.01433"),
        (1e-9, "$0.00"),
        (1234.5, "$1,234.50"),
    ],
)
def test_money_has_its_cents_and_what_matters_below(usd: float | None, told: str) -> None:
    assert money(usd) == told


@each_place
def test_options_stand_before_a_command_or_after_it(shop: Shop) -> None:
    before = shop.run("--json", "-o", "startup", "roles", "list", piped=True)
    after = shop.run("roles", "list", "-o", "startup", "--json", piped=True)
    assert before.json == after.json
    assert before.screen == ""


@each_place
def test_an_error_is_a_line_and_a_code_and_never_a_traceback(shop: Shop) -> None:
    for code, words in (
        (4, ("limits", "list", "nowhere")),
        (2, ("limits", "set", "chatbot", "50 dollars")),
        (2, ("usage", "--period", "7x")),
        (2, ("keys", "create", "chatbot", "x", "--address", "fly")),
        (2, ("keys", "create", "chatbot", "x", "--expires", "soon")),
        (2, ("members", "add", "kim", "--role", "developer")),
        (2, ("explain", "gpt-4.1", "-p", "chatbot", "--tag", "job")),
        (4, ("requests", "approve", "req_none")),
        (2, ("keys", "fly")),
        (2, ("limits", "set", "chatbot")),
        (2, ("usage", "key_ci")),
        (2, ("--config", "gone.toml", "usage")),
    ):
        ran = shop.run(*words)
        assert ran.code == code, (words, ran)
        assert "rror" in ran.screen, (words, ran)
        assert "Traceback" not in ran.screen, (words, ran)


@each_place
def test_an_error_is_json_where_json_is_asked_for(shop: Shop) -> None:
    ran = shop.run("limits", "list", "nowhere", "--json", piped=True)
    assert (ran.code, ran.out) == (4, "")
    assert "There is no" in json.loads(ran.screen)["error"]["message"]
    for words, told in (
        (("limits", "set", "chatbot", "$1/month", "--mode"), "No such option: --mode"),
        (("keys", "fly"), "No such command 'fly'"),
        (("top", "--limit", "many"), "Invalid value for '--limit'"),
    ):
        ran = shop.run(*words, "--json", piped=True)
        assert (ran.code, ran.out) == (2, "")
        assert told in json.loads(ran.screen)["error"]["message"]
    assert shop.run("--version", "--json").code == shop.run("keys", "list", "-h", "--json").code == 0


def test_nobody_says_where_to_look(shop: Shop) -> None:
    ran = shop.run("usage", environ={"HOME": str(shop.home)})
    assert ran.code == 2
    assert "--store" in ran.screen
    assert "QUOTAWARE_URL" in ran.screen


def test_a_configuration_file_says_where_to_look(shop: Shop) -> None:
    (shop.home / "quotaware.toml").write_text(f'store = "{shop.environ["QUOTAWARE_STORE"]}"\n')
    assert "3 requests" in shop.run("usage", environ={"HOME": str(shop.home)}).screen
    own = shop.home / ".config" / "quotaware"
    own.mkdir(parents=True)
    (shop.home / "quotaware.toml").rename(own / "config.toml")
    assert "3 requests" in shop.run("usage", environ={"HOME": str(shop.home)}).screen


def test_several_organizations_are_told_apart(shop: Shop) -> None:
    shop.quota.blocking.tenancy.create_organization("Other", id="other")
    ran = shop.run("usage")
    assert ran.code == 2
    assert "other (Other)" in ran.screen
    assert "No calls." in shop.run("usage", "-o", "Other").screen
    assert "3 requests" in shop.run("usage", "-o", "startup").screen
    assert shop.run("usage", "-o", "third").code == 4


@pytest.mark.parametrize("shop", ["http"], indirect=True)
def test_an_app_that_is_not_there_or_is_another(shop: Shop) -> None:
    def at(url: str, key: str | None = shop.admin) -> dict[str, str]:
        return {"HOME": str(shop.home), "QUOTAWARE_URL": url, **({"QUOTAWARE_KEY": key} if key else {})}

    base = shop.environ["QUOTAWARE_URL"]
    for code, environ, told in (
        (5, at("http://127.0.0.1:1/v1"), "cannot be reached"),
        (2, at("ftp://127.0.0.1/v1"), "no URL"),
        (5, at(base.removesuffix("/v1")), "is that its URL?"),
        (3, at(base, None), "A key is missing"),
        (3, at(base, "sk-none"), "begin with qw_"),
        (3, at(base, str(shop.admin)[:-1] + "x"), "begin with qw_"),
        (3, at(base, shop.secret), "does not have 'org:manage' permission"),
    ):
        ran = shop.run("members", "list", environ=environ)
        assert (ran.code, told in " ".join(ran.screen.split())) == (code, True), ran
        assert str(shop.admin) not in ran.raw


@pytest.mark.parametrize("shop", ["http"], indirect=True)
def test_a_key_of_another_organization_is_not_taken_for_this_one(shop: Shop) -> None:
    assert shop.run("usage", "-o", "StartupAI").code == 0
    assert shop.run("usage", "-o", "startup").code == 0
    other = shop.run("usage", "-o", "rival")
    assert (other.code, "one of organization 'StartupAI'" in other.screen) == (4, True)


def test_a_server_that_hangs_or_leads_elsewhere_gets_no_key(shop: Shop) -> None:
    async def elsewhere(request: object) -> RedirectResponse:
        return RedirectResponse("http://127.0.0.1:1/")

    async def nonsense(request: object) -> JSONResponse:
        return JSONResponse({"error": "no"}, 500)

    routes = [Route("/v1/members", elsewhere), Route("/v2/members", nonsense)]
    with serve(Starlette(routes=routes)) as base:
        for path in ("v1", "v2"):
            environ = {
                "HOME": str(shop.home),
                "QUOTAWARE_URL": f"{base}/{path}",
                "QUOTAWARE_KEY": str(shop.admin),
            }
            ran = shop.run("members", "list", environ=environ)
            assert (ran.code, "is that its URL?" in ran.screen) == (5, True)


def test_a_server_that_hangs_is_not_waited_for_longer_than_is_said(shop: Shop) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        ran = shop.run("usage", "--timeout", "0.2", environ=at(shop, url))
    assert (ran.code, "did not answer in time" in ran.screen) == (5, True)
    assert shop.run("usage", "--timeout", "0").code == 2


def test_a_key_that_goes_over_plain_http_to_another_machine_is_warned_of(shop: Shop) -> None:
    ran = shop.run("usage", "--timeout", "0.2", environ=at(shop, "http://192.0.2.1/v1"))
    assert ran.code == 5
    assert "in the clear" in ran.screen
    near = shop.run("usage", environ=at(shop, "http://127.0.0.1:1/v1"))
    assert "in the clear" not in near.screen


def test_a_file_that_cannot_be_written(shop: Shop) -> None:
    for where in ("nowhere/calls.csv", "."):
        ran = shop.run("usage", "--what", "records", "-f", where)
        assert (ran.code, "Traceback" in ran.screen) == (2, False), ran
    assert shop.run("export", "nowhere/back.yaml").code == 2


def test_a_pipe_is_written_into_and_a_link_followed(shop: Shop) -> None:
    os.mkfifo(shop.home / "pipe")
    running = shop.start("usage", "--what", "records", "-f", "pipe")
    told = (shop.home / "pipe").read_text()
    assert running.ended().code == 0
    assert (shop.home / "pipe").is_fifo()
    (shop.home / "real.csv").write_text("old")
    (shop.home / "link.csv").symlink_to("real.csv")
    assert shop.run("usage", "--what", "records", "-f", "link.csv").code == 0
    assert (shop.home / "link.csv").is_symlink()
    assert (shop.home / "real.csv").read_text() == told
    assert sorted(path.name for path in shop.home.glob("*.part")) == []


def test_progress_is_shown_on_a_terminal_and_nowhere_else(shop: Shop) -> None:
    ran = shop.run("store", "check")
    assert "Checking" in ran.raw
    assert "Checking" not in ran.raw.rpartition("\x1b[2K")[2]  # gone when it is done
    (shop.home / "file.yaml").write_text("organization: {name: StartupAI, total_monthly_budget: 900}\n")
    assert re.search(r"Planning.* \d+ of \d+ things", shop.run("plan", "file.yaml").screen)
    done = subprocess.run(
        [sys.executable, "-m", "quotaware", "store", "check"],
        env={**os.environ, **shop.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "The books are in order." in done.stdout
    assert done.stderr == ""


def test_a_store_that_cannot_be_used(shop: Shop) -> None:
    ran = shop.run("usage", environ={**shop.environ, "QUOTAWARE_STORE": f"sqlite:///{shop.home}"})
    assert ran.code == 2
    assert "is a directory" in ran.screen
    ran = shop.run("usage", environ={**shop.environ, "QUOTAWARE_STORE": "redis://:hunter2@127.0.0.1:1/0"})
    assert ran.code == 5
    assert "hunter2" not in ran.screen


def test_a_fault_of_its_own_is_told_as_such(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(**_: object) -> None:
        raise ZeroDivisionError("in the middle")

    monkeypatch.setattr(main, "app", broken)
    assert main.run() == 70
    assert "ZeroDivisionError: in the middle. This is a fault of quotaware" in capsys.readouterr().err
    monkeypatch.setenv("QUOTAWARE_TRACEBACK", "1")
    with pytest.raises(ZeroDivisionError):
        main.run()


@pytest.mark.parametrize("shop", ["sqlite", "redis"], indirect=True)
def test_the_audit_log_says_who_did_it(shop: Shop) -> None:
    environ = {**shop.environ, "LOGNAME": "alice"}
    assert shop.run("limits", "set", "chatbot", "$90/month", environ=environ).code == 0
    row = shop.quota.blocking.tenancy.audit_log("startup").rows[0]
    assert (row["what"], row["who"]["kind"], row["who"]["name"]) == ("project.update", "host", "alice")


def test_what_would_be_ended_is_asked_for(shop: Shop) -> None:
    running = shop.start("keys", "revoke", "ci")
    running.until("Key 'ci' never works again.")
    running.type("y\n")
    assert running.ended().code == 0
    assert shop.json("keys", "show", "key_ci")["revoked"] is True


def test_where_nobody_can_be_asked_nothing_is_ended(shop: Shop) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "quotaware", "keys", "revoke", "ci"],
        env={**os.environ, **shop.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, "Say --yes" in done.stderr) == (2, True)
    assert shop.json("keys", "show", "ci")["revoked"] is False


def test_a_name_moves_no_cursor(shop: Shop) -> None:
    evil = "evil\x1b]0;owned\x07\x1b[2J[red]\x9b2J\u202e"
    with (
        shop.quota.acting_as(project="bot", end_user=evil),
        shop.quota.call(provider="openai", model="gpt-4.1", input=1, max_output=1) as call,
    ):
        call.used(input=1, output=1)
    shop.quota.flush(10)
    ran = shop.run("usage", "--what", "records", columns=300)
    assert "\x1b]0;owned" not in ran.raw
    assert "\x1b[2J" not in ran.raw
    assert "evil\\x1b]0;owned\\x07\\x1b[2J[red]\\x9b2J\\u202e" in ran.screen
    told = shop.run("usage", "--what", "records", "--json")
    assert "\x9b" not in told.raw
    assert any(record["end_user"] == evil for record in json.loads(told.screen))


def test_a_narrow_terminal_and_one_without_unicode(shop: Shop) -> None:
    assert "chatbot" in shop.run("usage", "--by", "project", columns=40).screen
    done = subprocess.run(
        [sys.executable, "-m", "quotaware", "limits", "list", "chatbot"],
        env={
            **os.environ,
            **shop.environ,
            "PYTHONIOENCODING": "ascii",
            "PYTHONPATH": os.pathsep.join(sys.path),
        },
        capture_output=True,
        check=True,
    )
    assert b"$100/month" in done.stdout
    assert done.stdout.isascii()


def test_a_reader_that_goes_away_is_no_error(shop: Shop) -> None:
    script = f"{sys.executable} -m quotaware usage --what records -f - | head -1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", script],
        env={**os.environ, **shop.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    header, code = done.stdout.splitlines()
    assert header.startswith("id,at,organization")
    assert code in ("0", "1")
    assert done.stderr == ""


def test_help_is_there_for_every_command(shell: Shell, tmp_path: Path) -> None:
    environ = {"HOME": str(tmp_path)}
    first = shell.start(["--help"], cwd=tmp_path, environ=environ).ended()
    assert first.code == 0
    for word in (
        "keys",
        "members",
        "roles",
        "limits",
        "usage",
        "explain",
        "simulate",
        "requests",
        "alerts",
        "store",
    ):
        assert f"  {word}" in first.screen
        told = shell.start([word, "--help"], cwd=tmp_path, environ=environ).ended()
        assert (told.code, "Usage:" in told.screen) == (0, True)
    assert shell.start(["--version"], cwd=tmp_path, environ=environ).ended().screen.startswith("quotaware ")


def test_without_its_extra_it_says_what_to_install() -> None:
    script = (
        "import sys; sys.modules['typer'] = None; import importlib.util as u; find = u.find_spec; "
        "u.find_spec = lambda name, *a: None if name == 'typer' else find(name, *a); "
        "sys.argv = ['quotaware']; import runpy; runpy.run_module('quotaware', run_name='__main__')"
    )
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "pip install 'quotaware[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_sigterm_ends_it(shop: Shop) -> None:
    shop.quota.alerting.stop(0)
    running = shop.start("alerts", "test", "--wait", "60")
    running.until("Waiting for the app")
    os.kill(running.pid, signal.SIGTERM)
    assert running.ended().code in (-signal.SIGTERM, 143)
