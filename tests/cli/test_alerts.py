"""`quotaware alerts` in a terminal: channels are added, changed and taken away, and no secret of one is seen."""

from __future__ import annotations

import os
import stat
import subprocess
import sys

import pytest

from quotaware.alerts.channels.webhook import new_secret
from tests.cli.conftest import Shop, each_place
from tests.cli.terminal import Running

SLACK = "https://hooks.slack.com/services/T0/B0/abcdefghijklmnopqrstuvwx"
in_an_app = pytest.mark.parametrize("shop", ["http"], indirect=True)


def ids(shop: Shop, node: str = "chatbot") -> list[str]:
    return [channel["id"] for channel in shop.json("alerts", "channels", node)]


def typed(running: Running, what: str, text: str) -> None:
    """Types what is asked for."""
    running.until(f"{what}: ")
    running.waiting()
    running.type(f"{text}\n")


def piped(shop: Shop, text: str, *words: str) -> subprocess.CompletedProcess[str]:
    """`quotaware …` where stdin is no terminal, and says this."""
    return subprocess.run(
        [sys.executable, "-m", "quotaware", *words],
        env={**os.environ, **shop.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


@each_place
def test_channels_are_added_changed_and_taken_away(shop: Shop) -> None:
    added = shop.run("alerts", "add", "chatbot", "email", "team@example.com")
    assert (added.code, "team@example.com" in added.screen) == (0, True)
    (id,) = ids(shop)
    changed = shop.json("alerts", "change", id, "--target", "ops@example.com")
    assert (changed["target"], changed["enabled"]) == ("ops@example.com", True)
    assert shop.json("alerts", "disable", id)["enabled"] is False
    assert shop.json("alerts", "enable", id)["enabled"] is True
    named = shop.json("alerts", "add", "engineering", "slack", "env:QUOTAWARE_ALERT_SLACK")
    assert (named["type"], named["target"]) == ("slack", "env:QUOTAWARE_ALERT_SLACK")
    hook = shop.json(
        "alerts", "add", "StartupAI", "webhook", "https://example.com/x", "--secret", "env:QUOTAWARE_ALERT_A"
    )
    again = shop.json("alerts", "change", hook["id"], "--secret", "env:QUOTAWARE_ALERT_B")
    assert (again["revision"] > hook["revision"], again["secret"]) == (True, None)
    running = shop.start("alerts", "remove", id)
    running.until("Alerts go to ops@example.com no more")
    running.type("n\n")
    assert (running.ended().code, ids(shop)) == (130, [id])
    assert shop.run("alerts", "remove", id, "--yes").code == 0
    assert ids(shop) == []


@each_place
def test_what_is_wrong_with_a_channel_is_said(shop: Shop) -> None:
    for code, words, told in (
        (2, ("add", "chatbot", "pager", "x"), "is not one of 'email', 'slack', 'webhook'"),
        (2, ("add", "chatbot", "email", "nobody"), "is an e-mail address"),
        (
            2,
            ("add", "chatbot", "email", "a@example.com", "--secret", "env:QUOTAWARE_ALERT_A"),
            "nothing that",
        ),
        (2, ("add", "chatbot", "slack", "env:HOME"), "begins with QUOTAWARE_ALERT_"),
        (2, ("add", "chatbot", "webhook", "http://example.com"), "is an https URL"),
        (4, ("add", "nowhere", "email", "a@example.com"), "There is no"),
        (4, ("change", "chan_none", "--target", "a@example.com"), "chan_none"),
        (4, ("remove", "chan_none", "--yes"), "chan_none"),
    ):
        ran = shop.run("alerts", *words)
        assert (ran.code, told in ran.screen) == (code, True), (words, ran)
    assert ids(shop) == []


def test_a_secret_is_not_taken_from_the_command_line(shop: Shop) -> None:
    for words in (
        ("add", "chatbot", "slack", SLACK),
        ("add", "chatbot", "webhook", "https://example.com/x", "--secret", new_secret()),
    ):
        ran = shop.run("alerts", *words)
        assert (ran.code, "say - and type it" in ran.screen) == (2, True), ran
    assert ids(shop) == []


def test_where_nothing_encrypts_a_secret_it_is_refused_with_the_way_out(shop: Shop) -> None:
    """A store that is opened here: the app's key is the app's."""
    for asked, words in (
        (("The URL", SLACK), ("slack", "-")),
        (None, ("webhook", "https://example.com/x")),
        (("The secret", new_secret()), ("webhook", "https://example.com/x", "--secret", "-")),
    ):
        running = shop.start("alerts", "add", "chatbot", *words)
        if asked:
            typed(running, *asked)
        ran = running.ended()
        assert (ran.code, "name an environment variable (env:QUOTAWARE_ALERT_…)" in ran.screen) == (2, True)
        assert asked is None or asked[1] not in ran.raw
    assert ids(shop) == []


@in_an_app
def test_a_secret_is_typed_unseen(shop: Shop) -> None:
    running = shop.start("alerts", "add", "chatbot", "slack", "-")
    typed(running, "The URL", SLACK)
    ran = running.ended()
    assert (ran.code, SLACK in ran.raw, "hooks.slack.com" in ran.screen) == (0, False, True)
    (id,) = ids(shop)
    running = shop.start("alerts", "change", id, "--target", "-")
    running.until("The URL: ")
    running.waiting()
    running.type("\x03")
    ran = running.ended()
    assert (ran.code, "Traceback" in ran.screen) == (130, False)


@pytest.mark.slow
@pytest.mark.bounded
@in_an_app
def test_a_secret_is_read_where_nobody_types(shop: Shop) -> None:
    secret = new_secret()
    ran = piped(
        shop, f"https://example.com/hook\n{secret}\n", "alerts", "add", "bot", "webhook", "-", "--secret", "-"
    )
    assert (ran.returncode, secret in ran.stdout + ran.stderr) == (0, False)
    nothing = piped(shop, "", "alerts", "change", *ids(shop), "--secret", "-")
    assert (nothing.returncode, "The secret is missing" in nothing.stderr) == (2, True)


@in_an_app
def test_a_secret_that_is_made_is_shown_once_or_kept(shop: Shop) -> None:
    made = shop.run("alerts", "add", "chatbot", "webhook", "https://example.com/hook")
    (id,) = ids(shop)
    assert made.screen.split()[-1].startswith("whsec_")
    assert "whsec_" not in shop.run("alerts", "channels", "chatbot").screen
    kept = shop.json("alerts", "change", id, "--new-secret", "--secret-to", "secret")
    assert (kept["secret"], kept["secret_in"]) == (None, "secret")
    assert stat.S_IMODE((shop.home / "secret").stat().st_mode) == 0o600
    assert (shop.home / "secret").read_text().strip() not in ("", made.screen.split()[-1])
    both = shop.run("alerts", "change", id, "--new-secret", "--secret", "env:QUOTAWARE_ALERT_A")
    assert (both.code, "in place of a secret of your own" in both.screen) == (2, True)
