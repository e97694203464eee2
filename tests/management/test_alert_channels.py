"""Channels of nodes, messages to try them, and the delivery log, over the API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from cryptography.fernet import Fernet

from quotaware import Alerts, Quota
from quotaware.alerts.channels import webhook
from quotaware.tenancy import keys
from quotaware.testing.clocks import FakeClock
from tests.alerts.servers import Receiver
from tests.management.conftest import Api


@pytest.fixture
def quota(clock: FakeClock) -> Iterator[Quota]:
    alerts = Alerts(secret_key=Fernet.generate_key().decode(), allow=["127.0.0.1"])
    quota = Quota("memory://", clock=clock, alerts=alerts)
    yield quota
    quota.close()


@pytest.fixture
def project(api: Api) -> str:
    team = api.ok("POST", f"/organizations/{api.org}/teams", {"name": "ml"})
    made = api.ok("POST", f"/teams/{team['id']}/projects", {"name": "pipeline", "monthly_budget_usd": 10})
    return str(made["id"])


def sent(api: Api, where: str, alert: str, count: int) -> list[Any]:
    until = time.monotonic() + 20
    while True:
        found = api.ok("GET", f"{where}/alerts/deliveries?alert_id={alert}")["data"]
        if len([each for each in found if each["outcome"] != "waiting"]) >= count:
            return list(found)
        assert time.monotonic() < until, found
        api.clock.advance(1)  # whose turn it is to send is a matter of ms
        time.sleep(0.01)


def test_a_channel_is_set_tried_looked_at_and_taken_away(api: Api, project: str) -> None:
    with Receiver().serve() as receiver:
        made = api.ok("POST", f"/projects/{project}/alert-channels", {"type": "webhook", "url": receiver.url})
        assert made["secret"].startswith("whsec_")
        assert made["target"] == f"127.0.0.1:{receiver.port}/…"
        assert made["node"] == project
        shown = api.ok("GET", f"/alert-channels/{made['id']}")
        assert shown == {**made, "secret": None}
        assert api.ok("GET", f"/projects/{project}/alert-channels")["data"] == [shown]
        alert = api.ok("POST", "/projects/pipeline/alerts/test")["alert_id"]
        (delivery,) = sent(api, f"/projects/{project}", alert, 1)
        assert {
            name: delivery[name] for name in ("kind", "channel", "outcome", "tries", "node", "target", "why")
        } == {
            "kind": "test",
            "channel": "webhook",
            "outcome": "delivered",
            "tries": 1,
            "node": project,
            "target": f"127.0.0.1:{receiver.port}/…",
            "why": "",
        }
        posted = receiver.got[0]
        stamp = int(posted.headers["webhook-timestamp"])
        signed = webhook.signature(made["secret"], posted.headers["webhook-id"], stamp, posted.body)
        assert posted.headers["webhook-signature"] == signed
    etag = f'"{shown["revision"]}"'
    path = f"/alert-channels/{made['id']}"
    assert api("PATCH", path, {"enabled": False}, headers={"if-match": '"1"'}).status_code == 412
    off = api.ok("PATCH", path, {"enabled": False}, headers={"if-match": etag})
    assert (off["enabled"], off["why"], off["target"], off["secret"]) == (False, None, made["target"], None)
    renewed = api.ok("PATCH", path, {"new_secret": True})
    assert renewed["secret"].startswith("whsec_")
    assert renewed["secret"] != made["secret"]
    assert api.error("PATCH", path, {"email": "a@example.com"})["errors"][0]["field"] == "email"
    assert api.error("PATCH", "/alert-channels/none", {"enabled": True})["status"] == 404
    etag = f'"{renewed["revision"]}"'
    assert api("DELETE", f"/alert-channels/{made['id']}", headers={"if-match": '"1"'}).status_code == 412
    api.ok("DELETE", f"/alert-channels/{made['id']}", headers={"if-match": etag})
    assert api.error("GET", f"/alert-channels/{made['id']}")["status"] == 404
    alert = api.ok("POST", f"/organizations/{api.org}/alerts/test")["alert_id"]
    (delivery,) = sent(api, f"/organizations/{api.org}", alert, 1)
    assert (delivery["outcome"], delivery["channel"]) == ("undeliverable", "none")
    assert api.ok("GET", f"/projects/{project}/alerts/deliveries?alert_id={alert}")["data"] == []
    assert len(api.ok("GET", f"/organizations/{api.org}/alerts/deliveries?limit=1")["data"]) == 1


def test_a_secret_that_was_made_is_shown_once_also_to_who_asks_again(api: Api, project: str) -> None:
    body = {"type": "webhook", "url": "https://hooks.example.com/x"}
    again = {"idempotency-key": "one"}
    path = f"/projects/{project}/alert-channels"
    first, second = (api.ok("POST", path, body, headers=again) for _ in range(2))
    assert first["secret"]
    assert second == {**first, "secret": None}
    given = webhook.new_secret()
    assert api.ok("POST", path, {**body, "secret": given})["secret"] is None
    log = str(api.ok("GET", "/audit-log")["data"])
    assert "channel.create" in log
    assert given not in log
    assert first["secret"] not in log


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "type"),
        ({"type": "fax"}, "type"),
        ({"type": "email"}, "email"),
        ({"type": "email", "email": "nobody"}, "email"),
        ({"type": "slack", "url": "https://evil.example/"}, "url"),
        ({"type": "webhook", "url": "http://hooks.example.com/"}, "url"),
        ({"type": "webhook", "url": "https://169.254.169.254/latest/meta-data"}, "url"),
        ({"type": "webhook", "url": "env:QUOTAWARE_ADMIN_KEY"}, "url"),
        ({"type": "webhook", "url": "https://hooks.example.com/", "secret": "short"}, "secret"),
    ],
)
def test_a_bad_channel_names_its_field(api: Api, project: str, body: dict[str, str], field: str) -> None:
    error = api.error("POST", f"/projects/{project}/alert-channels", body)
    assert (error["status"], error["errors"][0]["field"]) == (422, field)


def test_alerts_of_all_kinds_are_set_in_words(api: Api, project: str) -> None:
    texts = [
        "80% slack",
        "$4 email on cost/month",
        "forecast 100% email",
        "denied webhook",
        "expires 7d email",
    ]
    shown = api.ok("PATCH", f"/projects/{project}", {"alerts": texts})
    assert shown["alerts"] == texts
    assert shown["quota_alerts"] == [{"threshold": 0.8, "action": "slack"}]
    shown = api.ok("PATCH", f"/projects/{project}", {"quota_alerts": [{"threshold": 0.5, "action": "email"}]})
    assert shown["alerts"] == ["50% email", *texts[1:]]  # what has another form stays
    error = api.error("PATCH", f"/projects/{project}", {"alerts": ["denied disable"]})
    assert error["status"] == 422


def test_no_key_gets_out_by_an_alert(api: Api) -> None:
    """S3: also where somebody called a project by it."""
    secret = keys.make("live")
    team = api.ok("POST", f"/organizations/{api.org}/teams", {"name": "ml"})
    made = api.ok("POST", f"/teams/{team['id']}/projects", {"name": f"app {secret}"})
    with Receiver().serve() as receiver:
        api.ok("POST", f"/projects/{made['id']}/alert-channels", {"type": "slack", "url": receiver.url})
        api.ok("POST", f"/projects/{made['id']}/alert-channels", {"type": "webhook", "url": receiver.url})
        alert = api.ok("POST", f"/projects/{made['id']}/alerts/test")["alert_id"]
        found = sent(api, f"/projects/{made['id']}", alert, 2)
        assert secret not in str(found)
        assert len(receiver.got) == 2
        assert all(secret.encode() not in posted.body for posted in receiver.got)
