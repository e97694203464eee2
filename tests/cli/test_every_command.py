"""Every command of the command line in a terminal, one after another in one organization: over a running app's API
whose store is memory, on an SQLite file, on Redis. What it says as JSON besides, on SQLite.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from quotaware.cli.main import app
from quotaware.cli.session import PREFIX
from quotaware.tenancy.access import Actor
from tests.cli.conftest import Shop, each_place

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
FILE = "organization: {name: StartupAI, total_monthly_budget: 900}\n"

TRIED: tuple[tuple[str, int], ...] = (
    ("init files", 0),
    ("doctor", 0),
    ("doctor --strict", 1),
    ("plan change.yaml", 1),
    ("apply change.yaml --yes", 0),
    ("plan change.yaml", 0),
    ("export back.yaml", 0),
    ("apply back.yaml --yes", 0),
    ("keys create chatbot batch", 0),
    ("keys list", 0),
    ("keys show batch", 0),
    ("keys change batch --expires 9d", 0),
    ("keys disable batch", 0),
    ("keys enable batch", 0),
    ("keys usage ci", 0),
    ("keys rotate batch --grace 60", 0),
    ("keys revoke ci --yes", 0),
    ("roles list", 0),
    ("roles add buyer --permission quota:override", 0),
    ("roles show buyer", 0),
    ("roles change buyer --permission quota:read", 0),
    ("groups add engineering leads --role developer", 0),
    ("groups list", 0),
    ("groups change leads --role viewer", 0),
    ("members add kim --role developer@chatbot", 0),
    ("members list", 0),
    ("members show kim", 0),
    ("members change kim --group leads", 0),
    ("members give kim buyer engineering", 0),
    ("members take kim buyer engineering", 0),
    ("members disable kim", 0),
    ("members enable kim", 0),
    ("members remove kim --yes", 0),
    ("groups remove leads --yes", 0),
    ("roles remove buyer --yes", 0),
    ("limits set chatbot $120/month", 0),
    ("limits list chatbot", 0),
    ("limits override chatbot cost/month 150", 0),
    ("limits overrides chatbot", 0),
    ("limits restore chatbot cost/month", 0),
    ("limits remove chatbot requests/minute --yes", 0),
    ("requests new chatbot cost/month 125", 0),
    ("requests list", 0),
    ("requests approve {first}", 0),
    ("requests reject {second}", 0),
    ("requests show {first}", 0),
    ("usage", 0),
    ("top --once", 0),
    ("explain gpt-4.1 --project chatbot", 0),
    ("explain gpt-4.1 --project search --input 1000000", 1),
    ("simulate chatbot 2_requests/day", 0),
    ("alerts channels", 0),
    ("alerts add chatbot email a@example.com", 0),
    ("alerts change {channel} --target b@example.com", 0),
    ("alerts disable {channel}", 0),
    ("alerts enable {channel}", 0),
    ("alerts remove {channel} --yes", 0),
    ("alerts test --wait 0", 1),
    ("alerts deliveries", 0),
    ("store check {store}", 0),
    ("store prune {store}", 0),
    ("store migrate {store}", 0),
    ("store migrate {store} --check", 0),
    ("store adopt startup {store} --yes", 0),
    ("store copy {store} sqlite:///{home}/copy.db", 0),
)
"""A command and the exit code that it ends with; `2_` is a number and a space in one word."""
NEEDS_A_STORE = 2
"""What a command on the store itself ends with where only an app is named."""
ELSEWHERE = {"demo"}
"""What looks nowhere, but makes a place of its own: in a terminal in test_demo.py."""


def leaves(command: object, path: tuple[str, ...] = ()) -> Iterator[str]:
    """All commands below one, by their words."""
    inside = getattr(command, "commands", None)
    if inside is None:
        yield " ".join(path)
    else:
        for name, each in inside.items():
            yield from leaves(each, (*path, name))


ROOT = typer.main.get_command(app)
COMMANDS = frozenset(leaves(ROOT))


def name_of(line: str) -> str:
    """Which command a line is."""
    first, second = line.split()[:2] if " " in line else (line, "")
    return first if first in COMMANDS else f"{first} {second}"


def test_there_is_no_other_command() -> None:
    assert {name_of(line) for line, _ in TRIED} | ELSEWHERE == COMMANDS


STAYS = {"name", "target", "secret", "new-secret", "secret-to", "clear"}
"""Options of a change that set what always is something, or nothing at all."""


@pytest.mark.parametrize("name", sorted(name for name in COMMANDS if name.endswith(" change")))
def test_whatever_a_change_sets_it_empties_too(name: str) -> None:
    change: Any = ROOT
    for word in name.split():
        change = change.commands[word]
    own = {each.opts[0].removeprefix("--"): each for each in change.params if each.opts[0].startswith("--")}
    set_ = {name for name, each in own.items() if not each.name.startswith(PREFIX)} - STAYS
    words = own["clear"].help.partition(":")[0].split(", ") if "clear" in own else []
    assert [name for name in set_ if not any(word.startswith(name) for word in words)] == []


def test_what_is_found_has_its_code_on_the_page() -> None:
    (row,) = re.findall(r"^\| 1 \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    told = set(re.findall(r"`([a-z ]+)(?: --\w+)?`", row))
    assert {name_of(line) for line, code in TRIED if code == 1} <= told <= COMMANDS


def lines(shop: Shop) -> Iterator[tuple[list[str], int]]:
    """The words of each line for this place, and its exit code there."""
    (shop.home / "change.yaml").write_text(FILE)
    tenancy = shop.quota.blocking.tenancy
    developer = tenancy.create_member("startup", "dev", roles=[("developer", "bot")])
    asking = tenancy.by(Actor("member", developer.id, org="startup"))
    ids = {
        word: asking.ask("startup", "bot", "cost/month", usd * 10**9).id
        for word, usd in (("first", 130), ("second", 140))
    }
    channel, _ = shop.quota.blocking.alerts.add_channel("startup", "bot", "email", email="c@example.com")
    ids["channel"] = channel.id
    url = shop.environ.get("QUOTAWARE_STORE", "")
    for line, code in TRIED:
        words = (word.format(**ids, store=url, home=shop.home) for word in line.split())
        yield [word.replace("2_", "2 ") for word in words if word], code


@each_place
def test_every_command_does_what_it_is_for(shop: Shop) -> None:
    for words, code in lines(shop):
        if shop.place == "http" and words[0] == "store":
            code = NEEDS_A_STORE
        ran = shop.run(*words)
        assert (ran.code, "Traceback" in ran.screen) == (code, False), (words, ran)
        assert ran.screen.strip(), words


@pytest.mark.slow
@pytest.mark.bounded
def test_every_command_says_it_as_json(shop: Shop) -> None:
    for words, code in lines(shop):
        ran = shop.run(*words, "--json", piped=True)
        assert ran.code == code, (words, ran)
        json.loads(ran.out)
