"""`quotaware plan`, `apply` and `export` in a terminal: over a running app's API, on an SQLite file, on Redis."""

from __future__ import annotations

import json
import shutil
import stat
from pathlib import Path

import pytest

from quotaware.tenancy import keys
from tests.cli.conftest import PLACES, Shop

pytestmark = pytest.mark.parametrize("bare", PLACES, indirect=True)
EXAMPLE = Path(__file__).parents[2] / "examples" / "organization.yaml"


@pytest.fixture
def file(bare: Shop) -> Path:
    """The startup's file, in the directory of the commands."""
    return Path(shutil.copy(EXAMPLE, bare.home / "organization.yaml"))


def test_plan_apply_change_plan_apply_export(bare: Shop, file: Path) -> None:
    planned = bare.run("plan", "organization.yaml")
    assert planned.code == 1
    assert "+ team engineering" in planned.screen
    assert "engineering: none -> $300 a month" in planned.screen
    running = bare.start("apply", "organization.yaml")
    running.until("Make it so?")
    running.type("y\n")
    done = running.ended()
    assert (done.code, "Done." in done.screen) == (0, True)
    again = bare.run("plan", "organization.yaml")
    assert (again.code, "StartupAI is as the file says." in again.screen) == (0, True)
    file.write_text(file.read_text().replace("300.0", "250.0").replace("analytics]", "analytics, search]"))
    planned = bare.run("plan", "organization.yaml")
    assert "engineering: $300 -> $250 a month (-$50)" in planned.screen
    assert "+ project product/search" in planned.screen
    assert bare.run("apply", "organization.yaml", "--json").code == 2
    assert bare.json("apply", "organization.yaml", "--yes")["counts"]["create"] == 1
    exported = bare.run("export", "back.yaml")
    assert "StartupAI is in back.yaml." in exported.screen
    assert bare.run("plan", "back.yaml").code == 0
    assert bare.run("apply", "back.yaml", "-y").code == 0
    assert "is there already" in bare.run("export", "back.yaml").screen
    assert bare.json("export", "again.yaml")["file"] == "again.yaml"
    assert (bare.home / "again.yaml").read_text() == (bare.home / "back.yaml").read_text()
    told = bare.run("export", "--format", "toml", piped=True).out
    (bare.home / "back.toml").write_text(told)
    assert bare.run("plan", "back.toml").code == 0
    (bare.home / "back.json").write_text(json.dumps(bare.json("export")))
    assert bare.run("plan", "back.json").code == 0


def test_a_plan_makes_nothing(bare: Shop, file: Path) -> None:
    if bare.place == "sqlite":
        gone = {**bare.environ, "QUOTAWARE_STORE": "sqlite:///new.db"}
        assert "+ team engineering" in bare.run("plan", "organization.yaml", environ=gone).screen
        assert not (bare.home / "new.db").exists()
    assert bare.run("plan", "organization.yaml").code == 1
    if bare.place == "http":
        assert bare.run("limits", "list", "engineering").code == 4
    else:
        told = "There is no file" if bare.place == "sqlite" else "no organization yet"
        assert told in bare.run("limits", "list").screen


def test_nothing_is_taken_away_unasked(bare: Shop, file: Path) -> None:
    bare.run("apply", "organization.yaml", "-y")
    file.write_text(file.read_text().replace("[chatbot, analytics]", "[chatbot]"))
    refused = bare.run("apply", "organization.yaml", "-y")
    assert (refused.code, "--allow-destroy" in refused.screen) == (2, True)
    running = bare.start("apply", "organization.yaml")
    running.until("gone for good")
    running.type("n\n")
    assert running.ended().code == 130
    assert bare.run("limits", "list", "project/analytics").code == 0
    running = bare.start("apply", "organization.yaml")
    running.until("gone for good")
    running.type("y\n")
    running.until("Make it so?")
    running.type("y\n")
    assert running.ended().code == 0
    assert bare.run("limits", "list", "project/analytics").code == 4


def test_new_keys_go_to_the_terminal_once_or_into_a_file(bare: Shop, file: Path) -> None:
    bare.run("apply", "organization.yaml", "-y")
    text = file.read_text()
    project = "projects: {backend-api: {keys: {ci: {}, nightly: {}}}, mobile-app: {}}"
    file.write_text(text.replace("projects: [backend-api, mobile-app]", project))
    running = bare.start("apply", "organization.yaml", "--secrets-to", "secrets.json")
    running.until("Make it so?")
    running.type("y\n")
    ran = running.ended()
    assert (ran.code, "qw_live_" in ran.raw) == (0, False)
    kept = bare.home / "secrets.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    secrets = {each["name"]: each["secret"] for each in json.loads(kept.read_text())}
    assert set(secrets) == {"ci", "nightly"}
    assert all(secret.startswith("qw_live_") for secret in secrets.values())
    file.write_text(file.read_text().replace("nightly: {}", "nightly: {}, weekly: {}"))
    shown = bare.run("apply", "organization.yaml", "-y")
    assert shown.screen.count("qw_live_") == 1
    assert bare.run("plan", "organization.yaml").code == 0
    assert "qw_live_" not in bare.run("export").screen


def test_all_mistakes_are_told_with_their_lines(bare: Shop, file: Path) -> None:
    (bare.home / "bad.yaml").write_text(
        "organization:\n  name: StartupAI\nteams:\n  engineering:\n    budget_usd: lots\n    colour: red\n"
        "    projects:\n      app: {limits: [50 dollars]}\n"
    )
    ran = bare.run("plan", "bad.yaml", columns=200)
    assert ran.code == 2
    for told in ("bad.yaml:5: teams.engineering.budget_usd", "bad.yaml:6:", "bad.yaml:8:"):
        assert told in ran.screen
    bare.run("apply", "organization.yaml", "-y")
    file.write_text(file.read_text().replace("{lead: [admin]", "{lead: [captain]"))
    line = next(n for n, text in enumerate(file.read_text().splitlines(), 1) if "captain" in text)
    unknown = bare.run("plan", "organization.yaml", columns=200)  # which only the organization can tell
    assert (unknown.code, f"organization.yaml:{line}: " in unknown.screen) == (2, True), unknown
    assert "captain" in unknown.screen
    assert bare.run("plan", "gone.yaml").code == 2
    (bare.home / "people.yaml").write_text(
        "organization: {name: StartupAI}\nteams:\n  engineering: {budget_usd: -5}\ncustom_roles:\n"
        "  buyer: {permissions: ['quota read']}\nmembers:\n  ada:\n    email: nowhere\n    groups: [nobody]\n"
    )
    people = bare.run("plan", "people.yaml", columns=200).screen
    for told in (
        "3: teams.engineering.budget_usd",
        "5: custom_roles.buyer",
        "8: members.ada.email",
        "9: members.ada.groups[0]",
    ):
        assert f"people.yaml:{told}" in people
    (bare.home / "names.yaml").write_text(
        "organization: {name: StartupAI}\nteams:\n  engineering: {budget_usd: -5}\nmembers: {'': {}}\n"
    )
    named = bare.run("plan", "names.yaml", columns=200).screen
    assert ("names.yaml:3: " in named, "names.yaml:4: " in named) == (True, True), named


def test_the_apps_own_admin_key_is_not_put_in_by_a_command(bare: Shop, file: Path) -> None:
    environ = {**bare.environ, "QUOTAWARE_ADMIN_KEY": keys.make("admin")}
    assert bare.run("plan", "organization.yaml", environ=environ).code == 1
    assert bare.run("apply", "organization.yaml", "-y", environ=environ).code == 0
    assert len(bare.quota.store.orgs("", 10)) == 1
