"""The dashboard on each store, in two processes of an app; and no secret in anything that it shows or tells."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import anyio
import pytest
from cryptography.fernet import Fernet

from quotaware import Alerts, Smtp
from quotaware.alerts.channels.webhook import new_secret
from quotaware.alerts.settings import Webhook
from quotaware.context import Identity
from quotaware.core.permissions import ROLES
from quotaware.errors import ApiError
from quotaware.management.dashboard.pulse import Pulse
from quotaware.management.dashboard.table import PAGES
from quotaware.testing.clocks import FakeClock
from tests.alerts.servers import Mailbox, Receiver
from tests.calls import a_call, a_quota, ask, let_go, spend, used
from tests.dashboard.conftest import BASE, Browser, House, led_to, text_of

DAY = 86_400_000
ALSO = (pytest.mark.slow, pytest.mark.bounded)


@pytest.fixture(params=["sqlite", pytest.param("redis", marks=ALSO)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/quota.db"
    return f"{request.getfixturevalue('valkey_url')}?prefix=dash{tmp_path.name}{time.time_ns()}"


class Two:
    """Two processes of an app on one store, and a browser that is led to either."""

    def __init__(self, url: str, clock: FakeClock) -> None:
        self.clock = clock
        self.first = a_quota(url, clock=clock)
        self.second = a_quota(url, clock=clock)
        self.house = House(self.first, clock)
        self.other = House.beside(self.house, self.second)

    def moved(self, browser: Browser) -> Browser:
        """The same browser, at the other process."""
        led = Browser(self.other.app)
        led.client.cookies.update(browser.client.cookies)
        led.token, led.once = browser.token, browser.once
        return led


@pytest.fixture
def two(url: str, clock: FakeClock) -> Iterator[Two]:
    two = Two(url, clock)
    yield two
    two.first.close()
    two.second.close()


def test_a_session_holds_in_every_process_and_ends_in_all_at_once(two: Two) -> None:
    here = two.house.browser(two.house.admin)
    there = two.moved(here)
    assert "Signed in as" in text_of(there.page("/"))
    assert led_to(there.post("/sign-out")) == "/sign-in"
    assert led_to(here.get("/")) == "/sign-in"
    key = two.house.tenancy.create_key(two.house.org, permissions=["org:manage"])
    here = two.house.browser(str(key.secret))
    there = two.moved(here)
    there.page("/keys")
    two.other.tenancy.revoke_key(two.house.org, key.node.id)
    for browser in (here, there):
        assert led_to(browser.get("/keys")) == "/sign-in?next=%2Fkeys"
    late = two.house.browser(two.house.admin)
    two.clock.advance(DAY)
    assert led_to(two.moved(late).get("/")) == "/sign-in"


def test_what_is_done_at_one_process_is_seen_at_the_other(two: Two) -> None:
    house = two.house
    here = house.browser(house.admin)
    path = f"/projects/{house.project}"
    here.page(path)
    assert here.post(f"{path}/limits", limit="60 requests/minute").status_code == 303
    there = two.moved(here)
    assert "60 requests/minute" in there.page(path)
    going = let_go(ask(two.first, a_call(200), Identity(project=house.project)))
    spend(two.first, 300, by=Identity(project=house.project, end_user="u1"))
    assert two.first.flush()
    page = text_of(there.page(path))
    assert "Spent $3.00 Held $2.00 Left $5.00" in page
    assert "Under way right now: 1" in page
    assert "u1" in page
    del going
    fields = {"place": f"project:{house.project}", "use": "calls", "days": "30", "name": "nightly"}
    here.page("/keys")
    made = here.post("/keys", **fields)
    assert "qw_live_" in made.text
    there = two.moved(here)
    there.sent = here.sent
    assert there.again("/keys", **fields).status_code == 409
    assert "nightly" in there.page("/keys")
    developer = house.browser(house.key(house.project, *ROLES["developer"], name="dev"))
    developer.page("/requests")
    more = {"limit": f"project:{house.project}:cost/month", "amount": "20", "reason": "launch"}
    assert developer.post("/requests", **more).status_code == 303
    (id,) = re.findall(r"/requests/([^/]+)/approve", there.page("/requests"))
    assert there.post(f"/requests/{id}/approve").status_code == 303
    here.page("/members")
    assert here.post("/members", name="mina", role="viewer", node=house.team).status_code == 303
    assert "viewer at Search" in text_of(there.page("/members"))
    here.page("/settings")
    changed = here.post("/settings", name="Startup", time_zone="Asia/Seoul", alert_threshold="75")
    assert changed.status_code == 303
    assert 'value="Asia/Seoul"' in there.page("/settings")
    assert "project.update" in there.page("/audit")
    assert "This call may go." in text_of(
        there.page(f"/explain?project={house.project}&model=tenth&max_output=10")
    )


def test_a_page_hears_of_what_another_process_does(two: Two) -> None:
    house = two.house
    pulse = Pulse(two.other.tenancy, two.second.store)
    before = pulse.of(house.org).mark
    assert pulse.of(house.org, fresh=0).mark == before
    going = let_go(ask(two.first, a_call(0), Identity(project=house.other)))
    begun = pulse.of(house.org, fresh=0).mark
    assert begun != before
    going.settle(used(0))
    assert two.first.flush()
    assert pulse.of(house.org, fresh=0).mark not in {before, begun}


# secrets


@pytest.fixture(params=[pytest.param("memory", marks=ALSO), "sqlite", pytest.param("redis", marks=ALSO)])
def any_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path}/quota.db",
        "redis": lambda: f"{request.getfixturevalue('valkey_url')}?prefix=secret{time.time_ns()}",
    }[request.param]()


def test_no_secret_is_on_a_page_in_an_event_an_alert_or_the_log_of_what_was_sent(
    any_url: str, clock: FakeClock, receiver: Receiver, mailbox: Mailbox, caplog: pytest.LogCaptureFixture
) -> None:
    """S3, S21: every page as admin, developer and viewer, every form with a fault, and all that alerts say."""
    caplog.set_level("DEBUG")
    caplog.set_level("WARNING", "httpx")
    caplog.set_level("WARNING", "httpx2")
    sealing, signing = Fernet.generate_key().decode(), new_secret()
    called: list[Any] = []
    quota = a_quota(
        any_url,
        clock=clock,
        alerts=Alerts(
            smtp=Smtp("127.0.0.1", "quota@example.com", mailbox.port, security="none"),
            to=["ops@example.com"],
            webhooks=[Webhook(f"{receiver.url}/hosts-own-path", signing)],
            callback=called.append,
            allow=["127.0.0.1"],
            secret_key=sealing,
        ),
    )
    house = House(quota, clock)
    admin = house.browser(house.admin)
    secrets = {
        house.admin, sealing, signing, "hosts-own-path",
        *(developer := [house.key(house.project, *ROLES["developer"], name="dev")]),
        *(viewer := [house.key(house.project, *ROLES["viewer"], name="viewer")]),
        calls := house.key(house.project, "chat:create", name="calls"),
    }  # fmt: skip
    told: list[str] = []

    def noted(response: Any) -> Any:
        told.extend((response.text, str(response.headers)))
        return response

    # a channel with secrets, alerts that go there, and a call that is refused
    admin.page("/alerts")
    made = admin.post(
        f"/alerts/{house.org}/channels", type="webhook", target=f"{receiver.url}/hidden-path-abcd"
    )
    (own,) = re.findall(r"whsec_[0-9A-Za-z+/=]+", made.text)
    secrets |= {own, "hidden-path"}
    slack = "https://hooks.slack.com/services/T0/B0/very-secret-slack-wxyz"
    noted(admin.post(f"/alerts/{house.project}/channels", type="slack", target=slack))
    secrets.add("very-secret-slack")
    house.tenancy.update(
        house.org, house.project, alerts=["50% email", "80% webhook", "denied webhook", "95% disable"]
    )
    with quota.acting_as(key=calls) as by:
        spend(quota, 990, by=by)
        assert isinstance(ask(quota, a_call(500), by), ApiError)
    assert quota.flush()
    noted(admin.post(f"/alerts/{house.org}/test"))
    # beside the host's own channels: two of thresholds and a test at each
    waited(clock, lambda: len(receiver.got) >= 6 and len(mailbox.got) >= 2 and len(called) >= 4)

    # every page, and every form with what is wrong
    ids = {
        "projects": house.project, "keys": house.tenancy.list(house.org, "key")[0].id, "alerts": house.project,
        "members": house.tenancy.create_member(house.org, "mina").id, "roles": "developer",
        "groups": house.tenancy.create_group(house.org, house.team, "ops").id,
        "requests": "none", "channels": "none",
    }  # fmt: skip
    browsers = [admin, house.browser(developer[0]), house.browser(viewer[0])]
    for browser in browsers:
        noted(browser.get("/"))
        for page in PAGES:
            kind = page.path.removeprefix("/live").split("/")[1]
            path = page.path.replace("{id}", ids.get(kind, ""))
            if page.method == "GET":
                response = noted(browser.get(path))
                assert browser is not admin or response.status_code == 200, path
        for wrong in (
            f"/explain?{urlencode({'model': 'tenth', 'key': calls})}",
            "/nothing",
            "/audit?since=x",
        ):
            noted(browser.get(wrong))
        for page in PAGES:
            if page.method == "POST" and page.path not in {"/keys", "/keys/{id}/rotate", "/keys/{id}/revoke"}:
                kind = page.path.split("/")[1]
                noted(browser.post(page.path.replace("{id}", ids.get(kind, "")), name="", role="nothing"))
    for attempt in (calls[:-1], calls, "nothing"):
        guest = Browser(house.app)
        guest.page("/sign-in")
        noted(guest.post("/sign-in", key=attempt))
    told += [str(quota.blocking.alerts.deliveries(house.org, limit=1000))]
    told += [posted.body.decode() for posted in receiver.got]
    told += [str(message) for _, message in mailbox.got]
    told += [repr(notice) for notice in called]
    told += [anyio.run(heard, house, admin), caplog.text]
    everything = "\n".join(told)
    for secret in secrets:
        assert secret not in everything, [text[:200] for text in told if secret in text]
    assert "abcd" in everything  # the last four characters tell channels apart
    quota.close()


async def heard(house: House, admin: Browser) -> str:
    """The beginning of the stream of events."""
    cookies = "; ".join(f"{name}={value}" for name, value in admin.client.cookies.items())
    sent: list[bytes] = []
    gone = anyio.Event()

    async def receive() -> Any:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message.get("body", b"") + repr(message.get("headers", "")).encode())
        if b"mark" in b"".join(sent) or b"moved" in b"".join(sent):
            gone.set()

    scope = {
        "type": "http", "method": "GET", "path": f"{BASE}/events", "raw_path": b"", "query_string": b"mark=old",
        "root_path": "", "scheme": "http", "http_version": "1.1", "server": ("testserver", 80),
        "client": ("127.0.0.1", 1), "headers": [(b"cookie", cookies.encode()), (b"host", b"testserver")],
    }  # fmt: skip
    with anyio.fail_after(20):
        await house.app(scope, receive, send)
    text = b"".join(sent).decode()
    assert "event: moved" in text
    assert "frame-ancestors 'none'" in text  # the stream has the headers of a page
    return text


def waited(clock: FakeClock, done: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not done():
        assert time.monotonic() < until
        clock.advance(1)
        time.sleep(0.01)
