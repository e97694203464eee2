"""Alerts, the audit log, explanations and settings, over HTTP."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator

import pytest
from cryptography.fernet import Fernet

from quotaware import Alerts, Quota
from quotaware.context import Identity
from quotaware.core.permissions import ROLES
from quotaware.testing.clocks import FakeClock
from tests.alerts.servers import Receiver
from tests.calls import a_quota, spend
from tests.dashboard.conftest import Browser, House, led_to, text_of
from tests.dashboard.test_pages import ATTACKS


@pytest.fixture
def quota(clock: FakeClock) -> Iterator[Quota]:
    alerts = Alerts(secret_key=Fernet.generate_key().decode(), allow=["127.0.0.1"])
    quota = a_quota(clock=clock, alerts=alerts)
    yield quota
    quota.close()


def until(house: House, browser: Browser, path: str, text: str) -> str:
    """The page once it says so: who sends is beside."""
    end = time.monotonic() + 20
    while text not in (page := text_of(browser.page(path))):
        assert time.monotonic() < end, page
        house.clock.advance(1)
        time.sleep(0.01)
    return page


def test_a_channel_is_added_tried_and_removed(house: House, admin: Browser) -> None:
    path = f"/alerts/{house.project}"
    with Receiver().serve() as receiver:
        admin.page(path)
        made = admin.post(f"{path}/channels", type="webhook", target=receiver.url)
        assert made.status_code == 200, text_of(made.text)
        secret = re.search(r"whsec_[^<]+", made.text)
        assert secret is not None
        listed = admin.page(path)
        assert secret[0] not in listed
        assert f"127.0.0.1:{receiver.port}/…" in listed
        assert led_to(admin.post(f"{path}/test")) == f"{path}?told=told.tested"
        until(house, admin, path, "Delivered")
        assert len(receiver.got) == 1
        assert "Delivered" in until(house, admin, f"/live{path}", "Delivered")
    (channel,) = re.findall(r"/channels/([^/]+)/remove", admin.page(path))
    assert led_to(admin.post(f"/channels/{channel}/remove")) == f"{path}?told=told.channel_removed"
    assert "/remove" not in admin.page(path)


def test_thresholds_are_added_and_removed(house: House, admin: Browser) -> None:
    path = f"/alerts/{house.project}"
    admin.page(path)
    assert led_to(admin.post(f"{path}/rules", rule="80% email")) == f"{path}?told=told.alert_added"
    assert admin.post(f"{path}/rules", rule="95% disable").status_code == 303
    assert [str(each) for each in house.tenancy.get(house.org, house.project).alerts] == [
        "80% email",
        "95% disable",
    ]
    wrong = admin.post(f"{path}/rules", rule="<b>soon</b>")
    assert wrong.status_code == 422
    assert 'value="&lt;b&gt;soon' in wrong.text
    assert led_to(admin.post(f"{path}/rules/remove", rule="80% email")) == f"{path}?told=told.alert_removed"
    assert [str(each) for each in house.tenancy.get(house.org, house.project).alerts] == ["95% disable"]
    developer = house.browser(house.key(house.project, *ROLES["developer"]))
    developer.page(path)
    assert developer.post(f"{path}/rules", rule="50% email").status_code == 403


def test_a_channel_is_changed_disabled_and_gets_another_secret(house: House, admin: Browser) -> None:
    alerts = house.quota.blocking.alerts
    mail, _ = alerts.add_channel(house.org, house.project, "email", email="a@example.com")
    hook, _ = alerts.add_channel(house.org, house.project, "webhook", url="https://a.example.com/hook")
    path = f"/alerts/{house.project}"
    admin.page(path)
    assert (
        led_to(admin.post(f"/channels/{mail.id}", target="b@example.com"))
        == f"{path}?told=told.channel_changed"
    )
    assert "b@example.com" in admin.page(path)
    wrong = admin.post(f"/channels/{mail.id}", target="nowhere")
    assert wrong.status_code == 422
    assert "b@example.com" in text_of(wrong.text)
    assert admin.post(f"/channels/{hook.id}/disable").status_code == 303
    assert "Disabled Change" in text_of(admin.page(path))
    assert admin.post(f"/channels/{hook.id}/enable").status_code == 303
    house.tenancy.update_channel(house.org, hook.id, enabled=False, why="answered 410")
    assert "Disabled answered 410" in text_of(admin.page(path))
    assert admin.post(f"/channels/{hook.id}", target="https://b.example.com/hook").status_code == 303
    assert "answered 410" not in admin.page(path)
    made = admin.post(f"/channels/{hook.id}/secret")
    assert re.search(r"whsec_[0-9A-Za-z+/=]+", made.text)
    assert "whsec_" not in admin.again(f"/channels/{hook.id}/secret").text
    assert admin.post(f"/channels/{mail.id}/secret").status_code == 422


def test_a_wrong_channel_is_shown_again(house: House, admin: Browser) -> None:
    path = f"/alerts/{house.org}"
    admin.page(path)
    wrong = admin.post(f"{path}/channels", type="email", target="nowhere")
    assert wrong.status_code == 422
    assert 'value="nowhere"' in wrong.text
    assert admin.post(f"{path}/channels", type="pigeon", target="x").status_code == 422


def test_nobody_to_tell_is_told(house: House, admin: Browser) -> None:
    admin.page("/settings")
    assert led_to(admin.post(f"/alerts/{house.org}/test")).startswith(f"/alerts/{house.org}")
    until(house, admin, "/alerts", "Nobody to tell")
    assert "Nobody to tell" not in text_of(admin.page(f"/alerts?node={house.project}"))


def test_alerts_show_what_the_viewer_may_see(house: House) -> None:
    developer = house.browser(house.key(house.project, *ROLES["developer"]))
    page = developer.page("/alerts")
    assert "Of ranker and all below it" in text_of(page)
    assert "/channels" not in page
    assert developer.get(f"/alerts/{house.other}").status_code == 403
    assert developer.post(f"/alerts/{house.project}/test").status_code == 403
    assert (
        developer.post(f"/alerts/{house.project}/channels", type="email", target="a@example.com").status_code
        == 403
    )
    viewer = house.browser(house.key(house.project, *ROLES["viewer"]))
    assert viewer.get("/alerts").status_code == 403


def test_the_audit_log_says_who_changed_what(house: House, admin: Browser) -> None:
    admin.page(f"/projects/{house.project}")
    admin.post(f"/projects/{house.project}/limits", limit="60 requests/minute")
    page = text_of(admin.page("/audit?what=project&node=ranker"))
    assert "project.update" in page
    assert 'limits : ["$10/month"] → ["$10/month", "60 requests/minute"]' in page
    assert "chatbot" not in page
    assert "the host app" in text_of(admin.page("/audit?who=host"))
    assert "No change is like this." in text_of(admin.page("/audit?who=nobody"))


def test_the_audit_log_goes_on_and_keeps_its_filters(house: House, admin: Browser) -> None:
    for number in range(60):
        house.tenancy.update(house.org, house.project, name=f"ranker {number}")
    page = admin.page("/audit?what=project")
    (further,) = re.findall(r'href="/v1/dashboard(/audit\?[^"]*cursor=[^"]*)"', page)
    assert "what=project" in further
    assert "ranker 59" in page
    assert "ranker 59" not in admin.page(further.replace("&amp;", "&"))


def test_days_of_the_audit_log_are_the_organizations(house: House, admin: Browser, clock: FakeClock) -> None:
    house.tenancy.update(house.org, house.org, zone="Asia/Seoul")
    day = text_of(admin.page("/audit"))
    today = re.search(r"\d{4}-\d\d-\d\d", day[day.index("What changed") :])
    assert today is not None
    assert "organization.update" in text_of(admin.page(f"/audit?since={today[0]}&until={today[0]}"))
    assert "No change is like this." in text_of(admin.page("/audit?until=2001-01-01"))
    for wrong in ("since=soon", "until=9999-12-31", "cursor=x"):
        response = admin.get(f"/audit?{wrong}")
        assert response.status_code == 422, wrong
        assert "organization.update" in response.text


def test_the_audit_log_is_for_who_manages_the_organization(house: House) -> None:
    for key in (house.key(house.project, "org:manage"), house.key(house.org, "quota:manage")):
        browser = house.browser(key)
        assert browser.get("/audit").status_code == 403
        assert browser.get("/settings").status_code == 403
        assert browser.post("/settings", name="mine").status_code == 403


def test_why_a_call_is_refused_and_until_when(house: House, admin: Browser) -> None:
    ask = f"/explain?project={house.project}&model=tenth&max_output=10"
    assert "This call may go." in text_of(admin.page(ask))
    spend(house.quota, 1000, by=Identity(project=house.project))
    assert house.quota.flush()
    page = text_of(admin.page(ask))
    assert "This call is refused. Monthly budget of $10 exceeded for project 'ranker'" in page
    assert "It fits again from" in page
    assert "$10/month ranker $10.00 $0.00 $0.00" in page
    key = house.tenancy.create_key(house.other, name="app").node
    assert "This call may go." in text_of(admin.page("/explain?key=app&model=tenth&max_output=10"))
    assert key.id not in admin.page(ask)


@pytest.mark.parametrize(
    ("asked", "status"),
    [("key=nothing&model=tenth", 404), ("project=nothing&model=tenth", 404), ("model=tenth&max_output=ten", 422),
     ("model=tenth&input=-1", 422)],
)  # fmt: skip
def test_a_question_that_makes_no_sense_is_shown_again(
    house: House, admin: Browser, asked: str, status: int
) -> None:
    response = admin.get(f"/explain?{asked}")
    assert response.status_code == status
    assert 'value="tenth"' in response.text
    assert 'role="alert"' in response.text


def test_others_calls_are_not_explained(house: House) -> None:
    developer = house.browser(house.key(house.project, *ROLES["developer"]))
    assert "This call may go." in text_of(developer.page("/explain?model=tenth&max_output=10"))
    assert developer.get(f"/explain?project={house.other}&model=tenth").status_code == 403


def test_settings_are_changed(house: House, admin: Browser) -> None:
    admin.page("/settings")
    fields = {"name": "New name", "time_zone": "Asia/Seoul", "alert_threshold": "75", "auto_upgrade": "on"}
    assert led_to(admin.post("/settings", **fields)) == "/settings?told=told.saved"
    found = house.tenancy.get(house.org, house.org)
    assert (found.name, found.zone, found.auto_upgrade, found.carryover_allowed) == (
        "New name", "Asia/Seoul", True, False,
    )  # fmt: skip
    assert 'name="alert_threshold" inputmode="decimal" autocomplete="off" value="75"' in admin.page(
        "/settings"
    )
    for wrong in (
        {"time_zone": "Moon/Sea"},
        {"alert_threshold": "lots"},
        {"alert_threshold": "NaN"},
        {"name": ""},
    ):
        response = admin.post("/settings", **{**fields, **wrong})
        assert response.status_code in (400, 422), wrong
    assert admin.post("/settings", **{**fields, "alert_threshold": ""}).status_code == 303
    assert house.tenancy.get(house.org, house.org).alert_threshold is None


@pytest.mark.parametrize("name", ATTACKS)
def test_names_and_questions_stay_text(house: House, admin: Browser, name: str) -> None:
    house.tenancy.update(house.org, house.project, name=name)
    house.tenancy.update(house.org, house.org, name=name)
    for path, params in (
        ("/alerts", {"node": house.project}), ("/audit", {}), ("/audit", {"who": name, "node": name, "since": name}),
        ("/explain", {"model": name, "end_user": name, "project": house.project}),
        ("/explain", {"model": "m", "key": name}),
        ("/settings", {}),
    ):  # fmt: skip
        page = admin.get(path, params=params).text
        inside = [
            tag for tag in re.findall(r"<(?:script|img|svg|iframe)\b[^>]*>", page) if "/static/" not in tag
        ]
        assert inside == []
        assert not re.search(r"<[^>]*\s(?:on[a-z]+|style|srcdoc)\s*=", re.sub(r'"[^"]*"', '""', page))
