"""Alerts of a whole Quota: what calls cross is told, channels are set and kept secret, all of it can be looked at."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest
from cryptography.fernet import Fernet

from quotaware import (
    Alerts,
    ConfigurationError,
    Notice,
    PermissionDenied,
    Quota,
    QuotaExceeded,
    Smtp,
    Webhook,
)
from quotaware.alerts import sender, sending
from quotaware.alerts.channels import callback, email, webhook
from quotaware.alerts.due import Due
from quotaware.alerts.log import PAGES, ROWS, DeliveryLog
from quotaware.alerts.routes import Address
from quotaware.alerts.secrets import Unreadable, Vault
from quotaware.alerts.sending import Outcome
from quotaware.errors import NotFound, StoreError
from quotaware.stores.memory import MemoryStore
from quotaware.tenancy.starts import SIMPLE_ORG, SIMPLE_PROJECT
from tests.alerts.servers import Posted, Receiver
from tests.support import FakeClock

PRICES = {"m": {"input": 1000, "output": 1000}}
CENT = 10  # tokens


class Told:
    """A callback that notes what it is told, and can be waited for."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []
        self._came = threading.Condition()

    def __call__(self, notice: Notice) -> None:
        with self._came:
            self.notices.append(notice)
            self._came.notify_all()

    def wait(self, count: int) -> list[str]:
        with self._came:
            assert self._came.wait_for(lambda: len(self.notices) >= count, 20), self.notices
            return [notice.title for notice in self.notices]


Make = Callable[..., Quota]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[Quota] = []

    def quota(store: str = "memory://", **settings: Any) -> Quota:
        made.append(Quota(store, prices=PRICES, settle_wait=0, **settings))
        return made[-1]

    yield quota
    for each in made:
        each.close()


async def spend(quota: Quota, tokens: int, real: int | None = None) -> bool:
    """Whether a call of so many tokens went through, at a tenth of a cent each; some more are held meanwhile."""
    try:
        async with quota.call(provider="p", model="m", input=tokens, max_output=0) as call:
            call.used(input=tokens if real is None else real, output=0)
    except QuotaExceeded:
        return False
    return True


@pytest.mark.anyio
async def test_thresholds_of_the_simple_way_are_told_as_calls_cross_them(make: Make) -> None:
    told = Told()
    quota = make(
        limits=["$1/day"], alerts=Alerts(rules=["50% email", "$0.8 slack", "90% webhook"], callback=told)
    )
    for _ in range(9):
        assert await spend(quota, 100)
    titles = told.wait(3)
    assert titles == [
        "50 % of the daily budget of project 'app' is used",
        "$0.8 of the daily budget of project 'app' is used",
        "90 % of the daily budget of project 'app' is used",
    ]
    assert told.notices[0].figures["used_usd"] == 0.5
    assert told.notices[0].above == (SIMPLE_PROJECT, SIMPLE_ORG)


@pytest.mark.anyio
async def test_a_million_denials_are_told_once_a_limit_and_window(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    """A thousand here; each but the first costs a look into one dictionary, and none is logged or audited (S22)."""
    caplog.set_level(logging.DEBUG, "quotaware")
    told, clock = Told(), FakeClock()
    quota = make(
        limits=["$1/day", "2000 requests/hour"],
        clock=clock,
        alerts=Alerts(rules=["denied email", "denied slack on requests/hour"], callback=told),
    )
    assert await spend(quota, 900)
    rev = quota.store.read(SIMPLE_ORG, ())
    for _ in range(1000):
        assert not await spend(quota, 200)
    assert told.wait(1) == ["The daily budget of project 'app' keeps calls out"]
    assert [record.getMessage() for record in caplog.records] == []
    assert quota.store.read(SIMPLE_ORG, ()) == rev
    figures = dict(told.notices[0].figures)
    assert 0.2 <= figures.pop("asked_usd") <= 0.21
    assert figures.pop("resets_at").endswith("Z")
    assert figures == {
        "action": "email",
        "rule": "cost/day",
        "metric": "cost",
        "limit_usd": 1.0,
        "used_usd": 0.9,
    }
    clock.advance(86_400_000)
    assert await spend(quota, 900)
    assert not await spend(quota, 200)
    assert told.wait(2)[1] == told.notices[0].title
    quota.flush()
    assert len(told.notices) == 2


@pytest.mark.anyio
async def test_a_budget_whose_last_cents_are_too_few_is_told_when_it_refuses(make: Make) -> None:
    """What `notify_on_exceed` of an allocation sets: it is hardly ever used up to the last nano-dollar."""
    told = Told()
    quota = make(limits=["$1/day"], alerts=Alerts(rules=["100% email on cost/day"], callback=told))
    assert await spend(quota, 990)
    assert not await spend(quota, 20)
    assert told.wait(1) == ["The daily budget of project 'app' keeps calls out"]
    assert await spend(quota, 2, real=10)  # and now it is used up: nothing new
    quota.blocking.alerts.test(SIMPLE_ORG)
    assert [notice.kind for notice in (told.wait(2), told.notices)[1]] == ["denied", "test"]


@pytest.mark.anyio
async def test_looking_whether_a_call_would_go_tells_nothing(make: Make) -> None:
    told = Told()
    quota = make(limits=["$1/day"], alerts=Alerts(rules=["denied email"], callback=told))
    assert await spend(quota, 900)
    for _ in range(3):
        assert not (await quota.explain(provider="p", model="m", input=200, max_output=0)).allowed
    quota.blocking.alerts.test(SIMPLE_ORG)
    told.wait(1)
    assert [notice.kind for notice in told.notices] == ["test"]


@pytest.mark.anyio
async def test_shadow_mode_refuses_nothing_and_so_tells_of_no_denial(make: Make) -> None:
    told = Told()
    quota = make(limits=["$1/day"], shadow=True, alerts=Alerts(rules=["denied email"], callback=told))
    for _ in range(3):
        assert await spend(quota, 900)
    quota.blocking.alerts.test(SIMPLE_ORG)
    told.wait(1)
    assert [notice.kind for notice in told.notices] == ["test"]


@pytest.mark.anyio
async def test_a_store_that_is_away_has_the_next_denial_told(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Told()
    quota = make(limits=["$1/day"], alerts=Alerts(rules=["denied email"], callback=told))
    assert await spend(quota, 900)
    real, failed = quota.store.once, threading.Event()

    def once(org: str, name: str, *more: Any, **named: Any) -> str:
        if name.startswith("alerts.denied") and not failed.is_set():
            failed.set()
            raise StoreError("away")
        return real(org, name, *more, **named)

    monkeypatch.setattr(quota.store, "once", once)
    assert not await spend(quota, 200)
    assert failed.wait(10)
    while not told.notices:
        assert not await spend(quota, 200)
    assert len(told.notices) == 1


@pytest.mark.anyio
async def test_what_a_process_left_is_sent_by_the_next_that_starts(make: Make, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/quota.db"
    first = make(url, limits=["$1/day"])
    await first.start()
    first.alerting.stop(1)  # it sends no more
    due = Due("forecast", "email", SIMPLE_PROJECT, "cost/day", "1000000", 10**9, 2 * 10**9)
    first.store.outbox(SIMPLE_ORG, put=[due.event("left", 1)])
    first.close()
    told = Told()
    async with make(url, limits=["$1/day"], alerts=Alerts(callback=told)):
        titles = await anyio.to_thread.run_sync(told.wait, 1)  # and nobody calls
    assert titles == ["Project 'app' is going to use 100 % of its daily budget"]


@pytest.mark.anyio
async def test_no_call_waits_for_an_alert(make: Make) -> None:
    begun, go = threading.Event(), threading.Event()

    def hangs(notice: Notice) -> None:
        begun.set()
        go.wait(30)

    quota = make(limits=["$1/day"], alerts=Alerts(rules=["10% email", "20% email"], callback=hangs))
    try:
        assert await spend(quota, 100)
        assert await anyio.to_thread.run_sync(begun.wait, 20)
        for _ in range(5):
            assert await spend(quota, 100)
        assert quota.flush()
        assert len([record async for record in quota.usage.records()]) == 6
        assert not go.is_set()
    finally:
        go.set()


@pytest.mark.anyio
async def test_an_alert_is_no_call(make: Make, receiver: Receiver) -> None:
    """Also where the receiver looks like a provider, and everything is metered."""
    secret = webhook.new_secret()
    url = f"http://127.0.0.1:{receiver.port}/v1/chat/completions"
    quota = make(
        limits=["$1/day"],
        hosts={"127.0.0.1": "openai"},
        alerts=Alerts(rules=["50% webhook"], webhooks=[Webhook(url, secret)], allow=["127.0.0.1"]),
    )
    quota.instrument()
    assert await spend(quota, 600)
    for _ in range(2000):
        if receiver.got:
            break
        await _a_moment()
    assert receiver.got[0].json["type"] == "quota.threshold"
    assert len([record async for record in quota.usage.records()]) == 1
    assert quota.stats["admitted"] == 1


async def _a_moment() -> None:
    import anyio

    await anyio.sleep(0.01)


# channels


NOTICE = Notice("n", "test", 0, "org_a", "proj_a", "project", "app", ("team_a", "org_a"), "title", "text")


@pytest.fixture
def house(make: Make) -> Quota:
    quota = make(alerts=Alerts(secret_key=Fernet.generate_key().decode(), allow=["127.0.0.1"]))
    tenancy = quota.blocking.tenancy
    tenancy.create_organization("A", id="org_a")
    tenancy.create_team("org_a", "team", id="team_a")
    tenancy.create_project("team_a", "app", org="org_a", id="proj_a", limits=["$1/day"])
    return quota


def test_a_channel_of_a_node_is_told_of_what_happens_below(house: Quota, receiver: Receiver) -> None:
    alerts = house.blocking.alerts
    channel, secret = alerts.add_channel("org_a", "team_a", "webhook", url=receiver.url)
    other, none = alerts.add_channel("org_a", "proj_a", "slack", url=receiver.url)
    assert none is None
    assert secret is not None
    id = alerts.test("org_a", "proj_a")
    found = _waited(lambda: alerts.deliveries("org_a", alert=id), 2)
    assert {entry["outcome"] for entry in found} == {"delivered"}
    assert {entry["target"] for entry in found} == {f"127.0.0.1:{receiver.port}/…"}
    signed = next(posted for posted in receiver.got if "webhook-id" in posted.headers)
    stamp = int(signed.headers["webhook-timestamp"])
    assert signed.headers["webhook-signature"] == webhook.signature(
        secret, signed.headers["webhook-id"], stamp, signed.body
    )
    assert len(alerts.deliveries("org_a", node="proj_a")) == 2
    assert alerts.deliveries("org_a", node="team_a", limit=1)
    assert [each.id for each in alerts.channels("org_a", "team_a")] == [channel.id]
    alerts.drop_channel("org_a", channel.id)
    alerts.drop_channel("org_a", other.id)
    assert alerts.channels("org_a", "team_a") == ()
    id = alerts.test("org_a", "proj_a")
    (entry,) = _waited(lambda: alerts.deliveries("org_a", alert=id), 1)
    assert (entry["outcome"], entry["channel"]) == ("undeliverable", "none")


def test_a_channel_is_changed_and_nothing_of_it_that_was_not_named(house: Quota, receiver: Receiver) -> None:
    alerts = house.blocking.alerts
    channel, secret = alerts.add_channel("org_a", "proj_a", "webhook", url="https://old.example.com/x" * 3)
    moved, none = alerts.change_channel("org_a", channel.id, url=receiver.url)
    assert (moved.id, moved.type, moved.secret, none) == (channel.id, "webhook", channel.secret, None)
    assert moved.hint == f"127.0.0.1:{receiver.port}/…"
    id = alerts.test("org_a", "proj_a")
    (entry,) = _waited(lambda: alerts.deliveries("org_a", alert=id), 1)
    assert entry["outcome"] == "delivered"
    _, fresh = alerts.change_channel("org_a", channel.id, new_secret=True)
    assert fresh is not None
    assert fresh != secret
    id = alerts.test("org_a", "proj_a")
    _waited(lambda: alerts.deliveries("org_a", alert=id), 1)
    posted = receiver.got[-1]
    stamp = int(posted.headers["webhook-timestamp"])
    signed = webhook.signature(fresh, posted.headers["webhook-id"], stamp, posted.body)
    assert posted.headers["webhook-signature"] == signed
    off, _ = alerts.change_channel("org_a", channel.id, enabled=False)
    assert (off.enabled, off.target) == (False, moved.target)
    id = alerts.test("org_a", "proj_a")
    (entry,) = _waited(lambda: alerts.deliveries("org_a", alert=id), 1)
    assert (entry["outcome"], entry["channel"]) == ("undeliverable", "none")
    assert alerts.change_channel("org_a", channel.id, url=receiver.url)[0].enabled
    still, _ = alerts.change_channel("org_a", channel.id, url=receiver.url, enabled=False)
    assert not still.enabled
    mail, _ = alerts.add_channel("org_a", "proj_a", "email", email="a@example.com")
    mail, _ = alerts.change_channel("org_a", mail.id, email="b@example.com")
    assert (mail.target, mail.hint) == ("b@example.com", "b@example.com")
    for given, field in (
        ({"url": receiver.url}, "url"),
        ({"email": "none"}, "email"),
        ({"new_secret": True}, "new_secret"),
        ({"secret": webhook.new_secret()}, "secret"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            alerts.change_channel("org_a", mail.id, **given)  # type: ignore[arg-type]
        assert caught.value.field == field
    with pytest.raises(ConfigurationError, match="in place of"):
        alerts.change_channel("org_a", channel.id, new_secret=True, secret=webhook.new_secret())


def test_a_channel_that_wants_nothing_any_more_is_disabled_and_says_so(
    house: Quota, receiver: Receiver
) -> None:
    alerts = house.blocking.alerts
    receiver.answer = lambda posted: (410, {})
    channel, _ = alerts.add_channel("org_a", "team_a", "webhook", url=receiver.url)
    id = alerts.test("org_a", "proj_a")
    (entry,) = _waited(lambda: alerts.deliveries("org_a", alert=id), 1)
    assert (entry["outcome"], entry["why"]) == ("failed", "answered 410; the channel is disabled")
    (found,) = alerts.channels("org_a", "team_a")
    assert (found.enabled, found.why) == (False, "answered 410")
    row = house.blocking.tenancy.audit("org_a")[-1]
    assert (row["what"], row["who"]["kind"]) == ("channel.update", "host")
    assert (row["after"][0]["enabled"], row["after"][0]["why"]) == (False, "answered 410")
    id = alerts.test("org_a", "proj_a")
    (entry,) = _waited(lambda: alerts.deliveries("org_a", alert=id), 1)
    assert (entry["outcome"], entry["channel"]) == ("undeliverable", "none")
    assert len(receiver.got) == 1
    receiver.answer = lambda posted: (200, {})
    back, _ = alerts.change_channel("org_a", channel.id, enabled=True)
    assert (back.enabled, back.why) == (True, "")
    id = alerts.test("org_a", "proj_a")
    (entry,) = _waited(lambda: alerts.deliveries("org_a", alert=id), 1)
    assert entry["outcome"] == "delivered"


@pytest.mark.parametrize("channel", ["webhook", "slack"])
def test_one_of_the_apps_own_that_answers_410_is_told_nothing_more(
    make: Make, receiver: Receiver, caplog: pytest.LogCaptureFixture, channel: str
) -> None:
    """Until the app starts anew, which it does without a word of the store."""
    receiver.answer = lambda posted: (410, {})
    own: dict[str, Any] = (
        {"slack": receiver.url}
        if channel == "slack"
        else {"webhooks": [Webhook(receiver.url, webhook.new_secret())]}
    )
    given = Alerts(allow=["127.0.0.1"], **own)
    quota, anew = (make(alerts=given) for _ in range(2))
    for each in (quota, anew):
        each.blocking.tenancy.create_organization("A", id="org_a")
    alerts = quota.blocking.alerts
    id = alerts.test("org_a")
    (entry,) = _waited(lambda: alerts.deliveries("org_a", alert=id), 1)
    why = "answered 410; it is told nothing until the app starts anew"
    assert (entry["outcome"], entry["why"]) == ("failed", why)
    (record,) = [each for each in caplog.records if each.quotaware["event"] == "channel_disabled"]  # type: ignore[attr-defined]
    target = f"127.0.0.1:{receiver.port}/…"
    assert record.getMessage() == (
        f"the app's own {channel} {target} answered 410, and is told nothing until the app starts anew"
    )
    assert record.quotaware["channel"] == target  # type: ignore[attr-defined]
    id = alerts.test("org_a")
    (entry,) = _waited(lambda: alerts.deliveries("org_a", alert=id), 1)
    assert (entry["outcome"], entry["channel"], entry["target"]) == ("undeliverable", channel, target)
    assert entry["why"] == "it answered 410 before, and is told nothing until the app starts anew"
    routes = quota.alerting.routes
    (address,) = [each for each in routes.of("org_a", None, "") if each.channel == channel]
    outcome = routes.send("org_a", address, NOTICE, "msg_1")  # what waited for it already
    assert (outcome.ok, outcome.again, outcome.why) == (False, False, entry["why"])
    assert len(receiver.got) == 1
    receiver.answer = lambda posted: (200, {})
    id = anew.blocking.alerts.test("org_a")
    (entry,) = _waited(lambda: anew.blocking.alerts.deliveries("org_a", alert=id), 1)
    assert entry["outcome"] == "delivered"


def test_a_channel_that_was_changed_while_its_old_place_said_it_wants_nothing_stays(
    house: Quota, receiver: Receiver
) -> None:
    alerts = house.blocking.alerts
    channel, _ = alerts.add_channel("org_a", "proj_a", "webhook", url=receiver.url)

    def gone(posted: Posted) -> tuple[int, dict[str, str]]:
        alerts.change_channel("org_a", channel.id, url=f"{receiver.url}/new")
        return 410, {}

    receiver.answer = gone
    id = alerts.test("org_a", "proj_a")
    (entry,) = _waited(lambda: alerts.deliveries("org_a", alert=id), 1)
    assert (entry["outcome"], entry["why"]) == ("failed", "answered 410")
    assert alerts.channels("org_a", "proj_a")[0].enabled


def test_what_waits_for_a_channel_that_was_disabled_is_sent_no_more(house: Quota, receiver: Receiver) -> None:
    alerts = house.blocking.alerts
    channel, _ = alerts.add_channel("org_a", "proj_a", "webhook", url=receiver.url)
    routes = house.alerting.routes
    alerts.change_channel("org_a", channel.id, enabled=False)
    outcome = routes.send("org_a", Address("webhook", channel.id), NOTICE, "msg_1")
    assert outcome == Outcome(False, "the channel is disabled", again=False)
    assert receiver.got == []


def _waited(look: Callable[[], list[Any]], count: int) -> list[Any]:
    """What is found once there are so many, none of them waiting."""
    import time

    until = time.monotonic() + 20
    while True:
        found = look()
        if len([entry for entry in found if entry["outcome"] != "waiting"]) >= count:
            return found
        assert time.monotonic() < until, found
        time.sleep(0.01)


def test_no_secret_of_a_channel_is_kept_in_the_clear(house: Quota, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3, S21: neither in the store, whose dump is looked through, nor in the audit log or the delivery log."""
    alerts = house.blocking.alerts
    path = "T0123456/B7654321/veryVerySecretPart"
    given = webhook.new_secret()
    slack, _ = alerts.add_channel("org_a", "org_a", "slack", url=f"https://hooks.slack.com/services/{path}")
    hook, _ = alerts.add_channel(
        "org_a", "org_a", "webhook", url=f"https://h.example.com/{path}", secret=given
    )
    _, made = alerts.add_channel("org_a", "org_a", "webhook", url="https://h.example.com/x")
    monkeypatch.setenv("QUOTAWARE_ALERT_SLACK", f"https://hooks.slack.com/services/{path}")
    named, _ = alerts.add_channel("org_a", "org_a", "slack", url="env:QUOTAWARE_ALERT_SLACK")
    assert (slack.hint, hook.hint, named.hint) == (
        "hooks.slack.com/…Part",
        "h.example.com/…Part",
        "env:QUOTAWARE_ALERT_SLACK",
    )
    everything = "\n".join(item.value for item in house.store.dump("org_a"))
    everything += repr(house.blocking.tenancy.audit("org_a")) + repr(
        [slack.without_secrets(), hook.without_secrets()]
    )
    assert "hooks.slack.com/…Part" in everything
    for secret in (path, "veryVerySecretPart", given, given.removeprefix("whsec_"), made or ""):
        assert secret not in everything


@pytest.mark.parametrize("before", ["?", "/?", "#", "/?a=/"])
def test_a_url_whose_secret_begins_right_behind_its_host_shows_no_more_of_it(
    house: Quota, before: str
) -> None:
    """S21: four characters, wherever they stand."""
    url = f"https://h.example.com{before}token-that-nobody-may-see-wxyz"
    hook, _ = house.blocking.alerts.add_channel("org_a", "org_a", "webhook", url=url)
    assert hook.hint == "h.example.com/…wxyz"
    assert "nobody-may-see" not in repr(house.blocking.tenancy.audit("org_a"))


@pytest.mark.parametrize(
    ("kind", "given", "field"),
    [
        ("fax", {}, "type"),
        ("email", {}, "email"),
        ("email", {"email": "nobody"}, "email"),
        ("email", {"email": "a@b\r\nBcc: c@d"}, "email"),
        ("email", {"email": "a@b", "url": "https://h.example.com/"}, "url"),
        ("slack", {}, "url"),
        ("slack", {"url": "https://h.example.com/"}, "url"),
        ("slack", {"url": "https://hooks.slack.com/x", "secret": "whsec_x"}, "secret"),
        ("slack", {"url": "env:HOME"}, "url"),
        ("slack", {"url": "env:QUOTAWARE_ADMIN_KEY"}, "url"),
        ("slack", {"url": "env:"}, "url"),
        ("webhook", {"url": "https://169.254.169.254/"}, "url"),
        ("webhook", {"url": "https://h.example.com/", "secret": "short"}, "secret"),
        ("webhook", {"url": "https://h.example.com/", "secret": "env:PATH"}, "secret"),
    ],
)
def test_a_channel_that_makes_no_sense_names_what_is_wrong(
    house: Quota, kind: Any, given: dict[str, str], field: str
) -> None:
    with pytest.raises(ConfigurationError) as caught:
        house.blocking.alerts.add_channel("org_a", "org_a", kind, **given)
    assert caught.value.field == field
    assert house.blocking.alerts.channels("org_a", "org_a") == ()


def test_without_a_key_secrets_are_named_in_the_environment(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    quota = make()
    quota.blocking.tenancy.create_organization("A", id="org_a")
    add = quota.blocking.alerts.add_channel
    for given in (
        {"url": "https://h.example.com/"},
        {"url": "https://h.example.com/", "secret": webhook.new_secret()},
    ):
        with pytest.raises(ConfigurationError, match="secret_key"):
            add("org_a", "org_a", "webhook", **given)
    with pytest.raises(ConfigurationError, match="QUOTAWARE_ALERT_"):
        add("org_a", "org_a", "slack", url="https://hooks.slack.com/services/x")
    for inside in ("https://169.254.169.254/", "http://h.example.com/", "https://127.0.0.1/"):
        with pytest.raises(ConfigurationError, match="url"):
            add("org_a", "org_a", "webhook", url=inside, secret="env:QUOTAWARE_ALERT_HOOK")
    hook, made = add(
        "org_a", "org_a", "webhook", url="https://h.example.com/", secret="env:QUOTAWARE_ALERT_HOOK"
    )
    assert made is None
    monkeypatch.setenv("QUOTAWARE_ALERT_HOOK", "no secret")
    with pytest.raises(ConfigurationError, match="whsec_"):
        add("org_a", "org_a", "webhook", url="https://h.example.com/", secret="env:QUOTAWARE_ALERT_HOOK")
    monkeypatch.delenv("QUOTAWARE_ALERT_HOOK")
    id = quota.blocking.alerts.test("org_a")
    (entry,) = _waited_for(quota, id)
    assert entry["why"] == "the environment variable QUOTAWARE_ALERT_HOOK is not set"
    assert entry["outcome"] == "waiting"
    assert hook.hint == "h.example.com/…"


def _waited_for(quota: Quota, id: str) -> list[Any]:
    import time

    until = time.monotonic() + 20
    while not (found := [e for e in quota.blocking.alerts.deliveries("org_a", alert=id) if e["tries"]]):
        assert time.monotonic() < until
        time.sleep(0.01)
    return found


def test_a_channel_that_names_another_variable_gets_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """However it came to be kept so."""
    monkeypatch.setenv("PASSWORD_OF_THE_HOST", "hidden")
    with pytest.raises(Unreadable, match="PASSWORD_OF_THE_HOST"):
        Vault(None).open("env:PASSWORD_OF_THE_HOST")


def test_keys_that_seal_may_be_changed(make: Make) -> None:
    old, new = (Fernet.generate_key().decode() for _ in range(2))
    store = MemoryStore()
    first = Quota(store, alerts=Alerts(secret_key=old))
    first.blocking.tenancy.create_organization("A", id="org_a")
    channel, _ = first.blocking.alerts.add_channel(
        "org_a", "org_a", "slack", url="https://hooks.slack.com/services/x"
    )
    opened = [
        Quota(store, alerts=Alerts(secret_key=keys)).alerting.routes.vault
        for keys in ([new, old], [old], new)
    ]
    assert (
        opened[0].open(channel.target)
        == opened[1].open(channel.target)
        == "https://hooks.slack.com/services/x"
    )
    with pytest.raises(Exception, match="another secret_key"):
        opened[2].open(channel.target)
    with pytest.raises(Exception, match="no secret_key"):
        Quota(store).alerting.routes.vault.open(channel.target)
    with pytest.raises(ConfigurationError, match="secret_key"):
        Quota(store, alerts=Alerts(secret_key="short"))


def test_a_node_has_so_many_channels_and_takes_them_along(house: Quota) -> None:
    alerts, tenancy = house.blocking.alerts, house.blocking.tenancy
    for n in range(20):
        alerts.add_channel("org_a", "proj_a", "email", email=f"p{n}@example.com")
    with pytest.raises(Exception, match="20 channels"):
        alerts.add_channel("org_a", "proj_a", "email", email="one@example.com")
    tenancy.delete("org_a", "proj_a")
    assert house.store.children("org_a", "channel", "", None, "", 100) == []


def test_who_may_not_manage_a_node_sets_and_tries_nothing_there(house: Quota) -> None:
    tenancy = house.blocking.tenancy
    key = tenancy.create_key("proj_a", org="org_a", permissions=["quota:manage", "quota:read"])
    actor = house.engine.directory.load("org_a", key.node.id)
    from quotaware.tenancy.access import of_key

    alerts = house.blocking.alerts.by(tenancy.by(of_key(actor)))
    channel, _ = alerts.add_channel("org_a", "proj_a", "email", email="ann@example.com")
    assert alerts.test("org_a", "proj_a")
    assert alerts.deliveries("org_a", node="proj_a") is not None
    for refused in (
        lambda: alerts.add_channel("org_a", "team_a", "email", email="ann@example.com"),
        lambda: alerts.channels("org_a", "team_a"),
        lambda: alerts.test("org_a"),
        lambda: alerts.deliveries("org_a"),
        lambda: alerts.deliveries("org_a", node="team_a"),
    ):
        with pytest.raises(PermissionDenied):
            refused()
    with pytest.raises(NotFound):
        alerts.deliveries("org_b")
    with pytest.raises(NotFound):
        alerts.test("org_a", "nothing")
    alerts.drop_channel("org_a", channel.id)
    with pytest.raises(ConfigurationError, match="limit"):
        alerts.deliveries("org_a", node="proj_a", limit=0)


# people


def test_members_at_the_node_are_told_or_else_those_above(house: Quota) -> None:
    tenancy = house.blocking.tenancy

    def told(node: str) -> list[str]:
        path = house.engine.directory.load("org_a", node)
        return sorted(address.to for address in house.alerting.routes.of("org_a", path, "email"))

    tenancy.create_member("org_a", "ada", email="ada@example.com", roles=[("org_admin", "org_a")])
    tenancy.create_member("org_a", "mute", roles=[("viewer", "team_a")])
    off = tenancy.create_member("org_a", "off", email="off@example.com", roles=[("viewer", "team_a")])
    tenancy.update_member("org_a", off.id, enabled=False)
    assert told("proj_a") == told("team_a") == ["ada@example.com"]
    group = tenancy.create_group("org_a", "team_a", "leads", roles=["viewer"])
    tenancy.create_member("org_a", "tom", email="tom@example.com", groups=[group.id])
    assert told("proj_a") == told("team_a") == ["tom@example.com"]
    tenancy.create_member("org_a", "dev", email="dev@example.com", roles=[("developer", "proj_a")])
    tenancy.create_member(
        "org_a", "two", email="two@example.com", roles=[("viewer", "proj_a"), ("viewer", "team_a")]
    )
    assert told("proj_a") == ["dev@example.com", "two@example.com"]
    assert told("team_a") == ["tom@example.com", "two@example.com"]
    assert told("org_a") == ["ada@example.com"]


# the log


def test_the_log_keeps_the_newest_and_never_grows() -> None:
    store = MemoryStore()
    log = DeliveryLog(store)
    for n in range(PAGES * ROWS + 3 * ROWS + 7):
        log.add("org_a", {"n": n})
    found = [entry["n"] for entry in log.entries("org_a")]
    assert found == list(range(PAGES * ROWS + 3 * ROWS + 6, PAGES * ROWS + 3 * ROWS + 6 - len(found), -1))
    assert len(found) == (PAGES - 1) * ROWS + 7
    assert list(log.entries("org_b")) == []


def test_who_writes_the_log_at_once_loses_nothing() -> None:
    log = DeliveryLog(MemoryStore())

    def write(who: int) -> None:
        for n in range(30):
            while True:
                try:
                    log.add("org_a", {"who": who, "n": n})
                    break
                except StoreError:
                    continue

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = list(log.entries("org_a"))
    assert len(found) == len({(entry["who"], entry["n"]) for entry in found}) == 120


# the configuration

GOOD = webhook.new_secret()
TWO_SECRETS = [Webhook("https://h.example.com/", secret) for secret in (GOOD, webhook.new_secret())]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"alerts": {}}, "alerts"),
        ({"alerts": Alerts(rules=["80% email"])}, "alerts.rules"),
        ({"alerts": Alerts(rules=["80% fax"]), "limits": ["$1/day"]}, "action"),
        ({"alerts": Alerts(to=["nobody"])}, "alerts.to"),
        ({"alerts": Alerts(slack="https://example.com/")}, "alerts.slack"),
        ({"alerts": Alerts(slack="env:NOT_SET_ANYWHERE")}, "alerts.slack"),
        ({"alerts": Alerts(webhooks=[Webhook("https://10.0.0.1/", GOOD)])}, "alerts.webhooks"),
        ({"alerts": Alerts(webhooks=[Webhook("http://h.example.com/", GOOD)])}, "alerts.webhooks"),
        ({"alerts": Alerts(webhooks=[Webhook("https://h.example.com/", "x")])}, "alerts.webhooks"),
        ({"alerts": Alerts(webhooks=TWO_SECRETS)}, "alerts.webhooks"),
        ({"alerts": Alerts(allow=["no host!"])}, "allow"),
    ],
)
def test_alerts_are_configured_well(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Quota("memory://", **given)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"smtp": "mail"}, "alerts.smtp"),
        ({"callback": 5}, "alerts.callback"),
        ({"to": "a@b"}, "alerts.to"),
        ({"rules": None}, "alerts.rules"),
        ({"slack": 5}, "alerts.slack"),
        ({"webhooks": TWO_SECRETS[0]}, "alerts.webhooks"),
        ({"webhooks": ["https://h.example.com/"]}, "alerts.webhooks"),
    ],
)
def test_alerts_are_what_they_are_called(given: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Alerts(**given)
    assert caught.value.field == field


def test_no_secret_stands_in_a_repr() -> None:
    secret = webhook.new_secret()
    given = Alerts(
        slack="https://hooks.slack.com/services/abc",
        webhooks=[Webhook("https://h.example.com/tok", secret)],
        smtp=Smtp("smtp.example.com", "quota@example.com", user="quota", password="word-of-the-server"),
        secret_key=Fernet.generate_key().decode(),
    )
    assert "hooks.slack" not in repr(given)
    assert "word-of-the-server" not in repr(given)
    assert secret not in repr(given)
    assert "tok" not in repr(given)


def test_a_lease_is_longer_than_an_attempt_takes() -> None:
    for channel, most in (
        ("webhook", sending.TOTAL_S),
        ("slack", sending.TOTAL_S),
        ("email", email.TOTAL_S),
        ("callback", callback.TOTAL_S),
    ):
        assert most < sender.lease_s(channel) <= 2 * most
