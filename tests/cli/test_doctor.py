"""`quotaware doctor` in a terminal: over a running app's API, on SQLite, on Redis."""

from __future__ import annotations

from tests.cli.conftest import Shop, each_place

CHECKS = ["sdks", "middleware", "proxies", "workers", "store", "clock", "prices", "alerts", "keys"]


@each_place
def test_it_finds_what_is_wrong_and_is_quiet_when_that_is_mended(shop: Shop) -> None:
    ran = shop.run("doctor", columns=200)
    assert ran.code == 0
    lines = ran.screen.splitlines()
    (alerts,) = (at for at, line in enumerate(lines) if line.startswith("warning  alerts"))
    assert "budgets without an alert, 3 of them, run out without a word: team 'engineering'" in lines[alerts]
    assert lines[alerts + 1].strip().startswith("→ give them alerts ('80% email')")
    assert "errors: 0, " in ran.screen
    assert shop.run("doctor", "--strict").code == 1
    shop.quota.blocking.tenancy.update("startup", "startup", alert_threshold=800_000)
    told = shop.json("doctor")
    assert [each["check"] for each in told["checks"]] == CHECKS
    found = {each["check"]: each["state"] for each in told["checks"]}
    assert found["alerts"] == found["prices"] == found["keys"] == found["clock"] == found["sdks"] == "ok"
    assert told["errors"] == 0


def test_with_an_error_it_exits_with_1(shop: Shop) -> None:
    from datetime import UTC, datetime, timedelta

    ends = datetime.now(UTC) + timedelta(hours=3)
    key = shop.quota.blocking.tenancy.create_key(
        "bot", name="nightly", expires_at=round(ends.timestamp() * 1000)
    )
    ran = shop.run("doctor", columns=200)
    assert ran.code == 1
    assert f"error    keys        key 'nightly' ({key.node.id}, never used) ends in 3 hours" in ran.screen
    assert f"→ make its life longer, or: quotaware keys rotate {key.node.id}" in ran.screen
    assert key.secret not in ran.raw


def test_a_key_that_may_not_look_has_checks_skipped_and_says_why(shop: Shop) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from quotaware.testing.server import serve

    secret = shop.quota.blocking.tenancy.create_key("bot", permissions=["quota:read"]).secret
    with serve(Starlette(routes=[Mount("/v1", shop.quota.management())])) as url:
        environ = {"HOME": str(shop.home), "QUOTAWARE_URL": f"{url}/v1", "QUOTAWARE_KEY": secret}
        told = shop.run("doctor", "--json", environ=environ, piped=True).json
    skipped = {each["check"]: each["skipped"] for each in told["checks"] if each["state"] == "skipped"}
    assert {"middleware", "prices", "alerts", "keys"} <= skipped.keys()
    assert "permission" in skipped["prices"].lower()


def test_an_app_that_is_away(shop: Shop) -> None:
    environ = {"HOME": str(shop.home), "QUOTAWARE_URL": "http://127.0.0.1:1/v1", "QUOTAWARE_KEY": shop.secret}
    ran = shop.run("doctor", environ=environ)
    assert ran.code == 5
    assert "It cannot be reached" in ran.screen
    assert "Traceback" not in ran.screen
