"""Every command in a terminal: over a running app's API, on an SQLite file, on Redis."""

from __future__ import annotations

import json
import re
import stat

import pytest

from tests.cli.conftest import Shop, each_place

pytestmark = each_place


def test_keys_are_made_shown_changed_rotated_and_revoked(shop: Shop) -> None:
    assert "key_ci" in shop.run("keys", "list", "chatbot").screen
    made = shop.run(
        "keys", "create", "project/chatbot", "batch", "--limit", "5 requests/minute", "--expires", "30d"
    )
    secret = made.screen.split()[-1]
    assert made.code == 0
    assert secret.startswith("qw_live_")
    listed = {key["name"]: key for key in shop.json("keys", "list")}
    assert listed["batch"]["limits"] == ["5 requests/minute"]
    assert listed["batch"]["expires_at"] is not None
    assert secret not in shop.run("keys", "show", "batch").screen
    shop.run("keys", "change", "batch", "--limit", "7 requests/minute", "--model", "gpt-4.1*")
    shown = shop.json("keys", "show", "batch")
    assert (shown["limits"], shown["allowed_models"]) == (["7 requests/minute"], ["gpt-4.1*"])
    cleared = shop.json(
        "keys", "change", "batch", "--clear", "limits", "--clear", "models", "--clear", "expires"
    )
    assert (cleared["limits"], cleared["allowed_models"], cleared["expires_at"]) == ([], [], None)
    both = shop.run("keys", "change", "batch", "--limit", "7 requests/minute", "--clear", "limits")
    assert (both.code, "one of the two" in both.screen) == (2, True)
    none = shop.run("keys", "change", "batch", "--clear", "grace")
    assert (none.code, "--clear takes name, permissions" in none.screen) == (2, True)
    assert shop.json("keys", "change", "batch", "--clear", "permissions")["permissions"] == []
    nothing = shop.run("keys", "change", "batch")
    assert (nothing.code, "Say what is to change" in nothing.screen) == (2, True)
    assert "off" in shop.run("keys", "disable", "batch").screen
    assert "on" in shop.run("keys", "enable", "batch").screen
    rotated = shop.json("keys", "rotate", "batch", "--grace", "60")
    assert rotated["key"] not in (None, secret)
    assert shop.run("keys", "revoke", rotated["new_key_id"], "--yes").code == 0
    assert shop.json("keys", "show", rotated["new_key_id"])["revoked"] is True


def test_a_secret_goes_into_a_file_of_ones_own(shop: Shop) -> None:
    ran = shop.run("keys", "create", "chatbot", "quiet", "--secret-to", "secret")
    kept = shop.home / "secret"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    secret = kept.read_text().strip()
    assert secret.startswith("qw_live_")
    assert secret not in ran.raw
    again = shop.run("keys", "create", "chatbot", "more", "--secret-to", "secret")
    assert again.code == 2
    assert "is there already" in again.screen
    assert shop.run("keys", "create", "nowhere", "x", "--secret-to", "other").code == 4
    assert not (shop.home / "other").exists()
    assert "more" not in {key["name"] for key in shop.json("keys", "list")}


def test_what_was_used_of_a_key_stands_by_model(shop: Shop) -> None:
    ran = shop.run("keys", "usage", "ci")
    assert "3 requests" in ran.screen
    assert "gpt-4.1-mini" in ran.screen
    assert "█" in ran.screen
    assert shop.json("keys", "usage", "ci")["total_requests"] == 3


def test_members_groups_and_roles(shop: Shop) -> None:
    shop.run("roles", "add", "buyer", "--permission", "quota:override", "--description", "grants more")
    assert "grants more" in shop.run("roles", "list").screen
    assert "predefined" in shop.run("roles", "show", "viewer").screen
    shop.run("roles", "change", "buyer", "--permission", "quota:override", "--permission", "quota:read")
    assert shop.json("roles", "show", "buyer")["permissions"] == ["quota:override", "quota:read"]
    emptied = shop.json("roles", "change", "buyer", "--clear", "permissions", "--clear", "description")
    assert (emptied["permissions"], emptied["description"]) == ([], None)
    assert "leads" in shop.run("groups", "add", "engineering", "leads", "--role", "developer").screen
    shop.run("groups", "change", "leads", "--role", "viewer")
    assert shop.json("groups", "list")[0]["roles"] == ["viewer"]
    added = shop.run("members", "add", "kim", "--email", "kim@example.com", "--role", "developer@chatbot")
    assert "developer@chatbot" in added.screen
    shop.run("members", "give", "kim", "buyer", "engineering")
    shop.run("members", "change", "kim", "--group", "leads", "--email", "k@example.com")
    kim = shop.json("members", "show", "kim")
    assert (len(kim["roles"]), len(kim["groups"]), kim["email"]) == (2, 1, "k@example.com")
    shop.run("members", "take", "kim", "buyer", "engineering")
    kim = shop.json("members", "change", "kim", "--clear", "groups", "--clear", "email", "--clear", "roles")
    assert (kim["roles"], kim["groups"], kim["email"]) == ([], [], None)
    assert shop.json("groups", "change", "leads", "--clear", "roles")["roles"] == []
    assert "no" in shop.run("members", "disable", "kim").screen
    assert "yes" in shop.run("members", "enable", "kim").screen
    assert [member["name"] for member in shop.json("members", "list")] == ["kim"]
    assert shop.run("members", "remove", "kim", "-y").code == 0
    assert "There are no members." in shop.run("members", "list").screen
    assert shop.run("groups", "remove", "leads", "-y").code == 0
    assert shop.run("roles", "remove", "buyer", "-y").code == 0


def test_limits_and_where_they_stand(shop: Shop) -> None:
    shown = shop.run("limits", "list", "chatbot").screen
    assert "$100/month" in shown
    assert "░" in shown
    whole = shop.run("limits", "list", "--below", columns=200).screen
    for on in ("team engineering", "project chatbot", "project search"):
        assert re.search(rf"{on} +\$\S+/month .*[█░] ", whole), whole
    listed = shop.json("limits", "list", "engineering", "--below")
    assert sorted({limit["on"]["name"] for limit in listed}) == ["chatbot", "engineering", "search"]
    assert len(shop.json("limits", "list", "chatbot", "--below")) == 2
    shop.run("limits", "set", "chatbot", "$120/month")
    shop.run("limits", "set", "chatbot", "500 requests/day for gpt-4.1*")
    rules = [limit["rule"] for limit in shop.json("limits", "list", "chatbot")]
    assert sorted(rules) == ["$120/month", "500 requests/day for gpt-4.1*", "600 requests/minute"]
    assert shop.run("limits", "remove", "chatbot", "requests/day/for:gpt-4.1*", "-y").code == 0
    shop.run("limits", "override", "chatbot", "cost/month", "150", "--periods", "2")
    assert "$150.00" in shop.run("limits", "overrides", "chatbot").screen
    assert {limit["rule"]: limit["in_force"] for limit in shop.json("limits", "list", "bot")}[
        "$120/month"
    ] == 150.0
    shop.run("limits", "restore", "chatbot", "cost/month")
    assert shop.json("limits", "overrides", "chatbot") == []


def test_what_was_used(shop: Shop) -> None:
    ran = shop.run("usage")
    assert "organization StartupAI: 3 requests" in ran.screen
    assert ran.screen.index("gpt-4.1 ") < ran.screen.index("gpt-4.1-mini")
    by_key = shop.run("usage", "team/engineering", "--by", "project", "--by", "key", "--period", "7d").screen
    assert "chatbot" in by_key
    assert "ci" in by_key
    assert shop.json("usage", "--by", "model", "--bucket", "day")["data"][0]["bucket"] is not None
    assert "No calls were denied." in shop.run("usage", "--what", "denied").screen
    records = shop.json("usage", "--what", "records", "--limit", "2")
    assert [record["model"] for record in records] == ["gpt-4.1", "gpt-4.1"]
    assert "expected" in shop.run("usage", "--what", "forecast", "--by", "project").screen
    assert "3 records in calls.csv" in shop.run("usage", "--what", "records", "-f", "calls.csv").screen
    lines = (shop.home / "calls.csv").read_text().splitlines()
    assert len(lines) == 4
    told = shop.run("usage", "--what", "totals", "-f", "-", "--format", "jsonl", piped=True).out
    assert {json.loads(line)["model"] for line in told.splitlines()} == {"gpt-4.1", "gpt-4.1-mini"}


def test_what_was_denied(shop: Shop) -> None:
    with (
        pytest.raises(Exception, match="budget"),
        shop.quota.acting_as(project="search"),
        shop.quota.call(provider="openai", model="gpt-4.1", input=10**6, max_output=10**4),
    ):
        pass
    shop.quota.flush(10)
    assert "budget_exceeded" in shop.run("usage", "--what", "denied").screen


def test_may_this_call_go(shop: Shop) -> None:
    may = shop.run("explain", "gpt-4.1", "--project", "chatbot", "--input", "100", "--tag", "job=nightly")
    assert may.code == 0
    assert "It may go." in may.screen
    assert "project chatbot" in may.screen
    not_ = shop.run("explain", "gpt-4.1", "-p", "search", "--input", "1000000", "--max-output", "10000")
    assert not_.code == 1
    assert "budget_exceeded" in not_.screen
    assert shop.json("explain", "gpt-4.1", "--as-key", "ci")["allowed"] is True


def test_what_calls_would_have_met(shop: Shop) -> None:
    ran = shop.run("simulate", "chatbot", "2 requests/day", "--alert", "50% email", "--period", "7d")
    assert "denied by" in ran.screen
    found = shop.json("simulate", "chatbot", "2 requests/day")
    assert (found["total"]["requests"], found["total"]["denied"]) == (3, 1)


def test_who_may_not_raise_a_limit_asks_for_more(shop: Shop) -> None:
    asked = shop.json("requests", "new", "chatbot", "cost/month", "200", "--reason", "launch")
    assert (asked["state"], asked["amount_usd"]) == ("approved", 200.0)  # who may set it has it at once
    other = shop.quota.blocking.tenancy.create_key("bot", name="dev", permissions=["quota:read"])
    for amount, verb in ((300, "approve"), (400, "reject")):
        if shop.place == "http":
            key = {**shop.environ, "QUOTAWARE_KEY": other.secret}
            id = shop.run(
                "requests", "new", "bot", "cost/month", str(amount), "--json", environ=key, piped=True
            ).json
            assert id["state"] == "pending"
            assert shop.run("requests", verb, id["id"], environ=key).code == 3
            assert f"{verb}" in shop.run("requests", verb, id["id"], "--note", "fine").screen
            assert "launch" not in shop.run("requests", "list", "--state", "rejected").screen
    assert "launch" in shop.run("requests", "list", "--node", "chatbot").screen
    assert shop.json("requests", "show", asked["id"])["reason"] == "launch"


def test_an_alert_is_tried(shop: Shop) -> None:
    """The app sends it; where nobody runs it, it waits, and the exit code says so."""
    if shop.place != "http":
        shop.quota.alerting.stop(0)
    ran = shop.run("alerts", "test", "chatbot", "--wait", "20" if shop.place == "http" else "0.6")
    assert ran.code == 1
    told = "undeliverable" if shop.place == "http" else "No process of the app has sent it"
    assert told in ran.screen
    assert (
        "There is no channel on project 'chatbot' itself." in shop.run("alerts", "channels", "chatbot").screen
    )
    assert len(shop.json("alerts", "deliveries", "chatbot")) == (shop.place == "http")
