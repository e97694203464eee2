"""Sending from the outbox: at least once under one key, in order, with progress of its own for each address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from quotaware.alerts import sender as sending
from quotaware.alerts.addresses import Allowed
from quotaware.alerts.due import Due
from quotaware.alerts.log import DeliveryLog
from quotaware.alerts.notices import Notice
from quotaware.alerts.routes import Address, Routes
from quotaware.alerts.sender import GIVE_UP_MS, TRIES, WAITING, Delivery, Sender, lease_s, wait_s
from quotaware.alerts.sending import DONE, Outcome
from quotaware.alerts.settings import Alerts, Smtp
from quotaware.core.ledger import Fired
from quotaware.core.steps import Event
from quotaware.errors import StoreError
from quotaware.stores.memory import MemoryStore
from quotaware.stores.protocol import Store
from quotaware.tenancy.directory import Directory
from quotaware.tenancy.service import Tenancy
from quotaware.testing.clocks import NOON
from tests.support import FakeClock

ORG, PROJECT = "org_a", "proj_a"
FAILS = Outcome(False, "answered 500")
SENT = list[tuple[str, str, str]]


class House:
    """A store with an organization, and senders on it that note what they send instead of sending it."""

    def __init__(self, store: Store, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.directory = Directory(store, clock)
        self.tenancy: Any = Tenancy(store, self.directory, clock)
        self.log = DeliveryLog(store)
        self.sent: SENT = []
        self.answer: Callable[[Address, Notice], Outcome] = lambda address, notice: DONE
        self.tenancy.create_organization("A", id=ORG)
        self.tenancy.create_project(ORG, "app", org=ORG, id=PROJECT, limits=["$100/month"])

    def sender(self, alerts: Alerts | None = None) -> Sender:
        alerts = alerts or Alerts(smtp=Smtp("mail.example.com", "q@example.com"), to=["ann@example.com"])
        routes = Routes(alerts, self.store)

        def send(org: str, address: Address, notice: Notice, key: str) -> Outcome:
            outcome = self.answer(address, notice)
            self.sent.append((address.to, notice.title, key))
            return outcome

        routes.send = send  # type: ignore[method-assign]
        return Sender(self.store, self.directory, self.tenancy, routes, self.log, self.clock)

    def cross(
        self,
        *marks: str,
        cap: int = 100,
        used: int = 99,
        shape: str = "cost/month",
        at: int | None = None,
        armed: str = "r2",
    ) -> None:
        """These thresholds of the project's limit are crossed."""
        counter = (
            f"{PROJECT}/{shape}@{NOON - NOON % 86_400_000}" if "minute" not in shape else f"{PROJECT}/{shape}"
        )
        fired = [
            Fired(counter, mark, cap * 10**9, used * 10**9, self.clock() if at is None else at, armed)
            for mark in marks
        ]
        self.store.outbox(ORG, put=[each.event() for each in fired])

    @property
    def told(self) -> list[str]:
        """When what was sent was due."""
        return [title.partition(" of ")[0] for _, title, _ in self.sent]

    @property
    def outcomes(self) -> list[str]:
        return [entry["outcome"] for entry in self.log.entries(ORG)]


@pytest.fixture(params=["memory", "sqlite", "redis"])
def house(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[House]:
    from quotaware.stores.opening import open_store

    clock = FakeClock()
    if request.param == "memory":
        yield House(MemoryStore(clock), clock)
        return
    url = f"sqlite:///{tmp_path}/q.db"
    if request.param == "redis":
        import secrets

        url = f"{request.getfixturevalue('valkey_url')}?prefix=t{secrets.token_hex(6)}"
    store = open_store(url, clock)
    store.deadline = 5.0
    store.hello()
    yield House(store, clock)
    store.close()


@pytest.fixture
def here() -> House:
    clock = FakeClock()
    return House(MemoryStore(clock), clock)


def test_what_was_crossed_at_once_is_told_in_order(house: House) -> None:
    house.cross("slack:950000", "email:500000", "email:=80000000000", "email:95000")
    house.sender().turn(ORG)
    assert house.told == ["9.5 %", "50 %", "$80"]  # the one for Slack has nobody
    assert house.store.outbox(ORG) == []
    assert sorted(house.outcomes) == ["delivered", "delivered", "delivered", "undeliverable"]


def test_a_turn_without_anything_to_do_takes_no_lease(here: House) -> None:
    assert here.sender().turn(ORG) is None
    assert list(here.store.dump(ORG)) == list(MemoryStore.dump(here.store, ORG))  # type: ignore[arg-type]
    assert not any(item.table == "once" for item in here.store.dump(ORG))


def test_what_failed_is_tried_again_later_under_the_same_key(house: House) -> None:
    house.answer = lambda address, notice: FAILS if len(house.sent) < 3 else DONE
    house.cross("email:500000")
    sender = house.sender()
    at = sender.turn(ORG)
    waits = []
    while at is not None:
        waits.append(at - house.clock())
        house.clock.advance(at - house.clock() - 1)
        assert sender.turn(ORG) == at  # not a ms before
        house.clock.advance(1)
        at = sender.turn(ORG)
    assert len({key for _, _, key in house.sent}) == 1
    assert len(house.sent) == 4
    assert 2500 <= waits[0] <= 5000
    assert 7500 <= waits[1] <= 15_000
    assert 22_500 <= waits[2] <= 45_000
    (entry,) = house.log.entries(ORG)
    assert (entry["outcome"], entry["tries"], entry["target"]) == ("delivered", 4, "a…@example.com")


def test_a_later_threshold_waits_for_the_earlier_one(house: House) -> None:
    house.answer = lambda address, notice: FAILS if len(house.sent) < 2 else DONE
    house.cross("email:500000")
    sender = house.sender()
    at = sender.turn(ORG)
    house.clock.advance(10)
    house.cross("email:800000", "email:950000")
    assert sender.turn(ORG) == at
    assert house.told == ["50 %"]
    while at is not None:
        house.clock.advance(max(0, at - house.clock()))
        at = sender.turn(ORG)
    assert house.told == ["50 %", "50 %", "50 %", "80 %", "95 %"]


def test_another_limit_and_another_address_do_not_wait(here: House) -> None:
    alerts = Alerts(smtp=Smtp("mail.example.com", "q@example.com"), to=["ann@example.com", "bob@example.com"])
    here.answer = lambda address, notice: FAILS if "ann" in address.to and "monthly" in notice.title else DONE
    here.cross("email:500000", "email:800000")
    here.clock.advance(1)
    here.cross("email:500000", shape="cost/day")
    sender = here.sender(alerts)
    at = sender.turn(ORG)
    assert at is not None
    arrived = [(to, title) for to, title, _ in here.sent]
    assert [to for to, _ in arrived].count("bob@example.com") == 3
    here.clock.advance(1)
    sender.turn(ORG)  # the next turn goes on with the limit that does not wait
    assert ("ann@example.com", "50 % of the daily budget of project 'app' is used") in [
        (to, title) for to, title, _ in here.sent
    ]


def test_no_address_starves_behind_one_that_fails(here: House) -> None:
    addresses = [f"p{n}@example.com" for n in range(5)]
    alerts = Alerts(smtp=Smtp("mail.example.com", "q@example.com"), to=addresses)
    here.answer = lambda address, notice: FAILS if address.to == addresses[0] else DONE
    for n in range(10):
        here.cross("email:500000", shape=f"cost/month/for:m{n}")
    here.sender(alerts).turn(ORG)
    for address in addresses[1:]:
        assert sum(to == address for to, _, _ in here.sent) == 10
    assert sum(to == addresses[0] for to, _, _ in here.sent) == 1
    first_round = [to for to, _, _ in here.sent[:5]]
    assert sorted(first_round) == addresses  # one after the other


def test_a_sender_that_dies_leaves_the_rest_to_the_next(house: House) -> None:
    """It died after the message was taken and before that was written down: it is sent once more, the same."""

    class Died(BaseException):
        pass

    def die(address: Address, notice: Notice) -> Outcome:
        if notice.title.startswith("80"):
            house.sent.append((address.to, notice.title, "taken, unknown"))
            raise Died
        return DONE

    house.cross("email:500000", "email:800000", "email:950000")
    house.answer = die
    first = house.sender()
    first._turn.let_go = lambda org: None  # type: ignore[method-assign]  # it dies, and lets nothing go
    with pytest.raises(Died):
        first.turn(ORG)
    house.answer = lambda address, notice: DONE
    second = house.sender()
    assert second.turn(ORG) == house.clock() + sending.BUSY_MS
    assert len(house.sent) == 2
    house.clock.advance(int(lease_s("email") * 1000))
    assert second.turn(ORG) is None
    assert house.told == ["50 %", "80 %", "80 %", "95 %"]


def test_each_address_has_its_own_progress_over_restarts(house: House) -> None:
    alerts = Alerts(smtp=Smtp("mail.example.com", "q@example.com"), to=["ann@example.com", "bob@example.com"])
    house.answer = lambda address, notice: FAILS if "bob" in address.to else DONE
    house.cross("email:500000")
    at = house.sender(alerts).turn(ORG)
    house.answer = lambda address, notice: DONE
    house.clock.advance(1000)
    assert house.sender(alerts).turn(ORG) == at  # another process knows when, too
    house.clock.advance(at - house.clock())  # type: ignore[operator]
    assert house.sender(alerts).turn(ORG) is None
    assert sorted(to for to, _, _ in house.sent) == ["ann@example.com", "bob@example.com", "bob@example.com"]
    keys = {to: key for to, _, key in house.sent}
    assert keys["ann@example.com"] != keys["bob@example.com"]


def test_what_cannot_be_delivered_is_given_up_and_stands_in_the_log(here: House) -> None:
    here.answer = lambda address, notice: FAILS
    here.cross("email:500000", "email:800000")
    sender = here.sender()
    at = sender.turn(ORG)
    begin = here.clock()
    while at is not None:
        assert at - begin <= GIVE_UP_MS + 3_600_000
        here.clock.advance(max(1, at - here.clock()))
        at = sender.turn(ORG)
    assert here.outcomes == ["failed", "failed"]
    assert len(here.sent) <= 2 * TRIES
    last = next(here.log.entries(ORG))
    assert (last["why"], last["title"][:4]) == ("answered 500", "80 %")
    assert last["tries"] <= TRIES
    assert here.store.outbox(ORG) == []


def test_what_makes_no_sense_to_try_again_is_given_up_at_once(here: House) -> None:
    here.answer = lambda address, notice: Outcome(False, "answered 410", again=False)
    here.cross("email:500000")
    assert here.sender().turn(ORG) is None
    (entry,) = here.log.entries(ORG)
    assert (entry["outcome"], entry["why"], entry["tries"]) == ("failed", "answered 410", 1)


def test_the_other_side_says_when(here: House) -> None:
    here.answer = lambda address, notice: Outcome(False, "answered 429", after=600)
    here.cross("email:500000")
    assert here.sender().turn(ORG) == here.clock() + 600_000


def test_waits_grow_and_are_drawn_at_random() -> None:
    for tries in range(1, 40):
        most = min(3600.0, 5.0 * 3 ** (tries - 1)) if tries < 20 else 3600.0
        drawn = {wait_s(tries) for _ in range(20)}
        assert len(drawn) > 1
        assert all(most / 2 <= wait <= most for wait in drawn)


def test_one_sends_at_a_time(house: House) -> None:
    house.cross("email:500000")
    other = house.sender()

    def busy(address: Address, notice: Notice) -> Outcome:
        assert other.turn(ORG) == house.clock() + sending.BUSY_MS
        return DONE

    house.answer = busy
    assert house.sender().turn(ORG) is None
    assert house.told == ["50 %"]


def test_who_lost_the_lease_sends_no_more(here: House) -> None:
    def slow(address: Address, notice: Notice) -> Outcome:
        here.clock.advance(int(lease_s("email") * 1000))
        here.store.once(ORG, "alerts", "another", 60_000)
        return DONE

    here.cross("email:500000", "email:800000")
    here.answer = slow
    assert here.sender().turn(ORG) == here.clock()
    assert here.told == ["50 %"]


def test_an_alert_that_is_armed_anew_is_another(house: House) -> None:
    """A rolling window that was empty in between fires the same threshold again."""
    for began in range(2):
        house.cross("email:500000", shape="cost/minute", armed=f"r2.{began}")
        assert house.sender().turn(ORG) is None
        house.clock.advance(60_000)
    assert house.told == ["50 %", "50 %"]
    assert len({key for _, _, key in house.sent}) == 2


def test_an_alert_that_is_armed_anew_is_told_for_each_arming_though_nobody_sent_meanwhile(
    house: House,
) -> None:
    """I-28: the limit was raised and lowered while no sender was there; all of it is used each time."""
    for armed in ("r2", "r4", "r4"):  # the last one is told again by who replays
        house.cross("email:500000", "email:1000000", used=100, armed=armed)
        house.clock.advance(1)
    assert house.sender().turn(ORG) is None
    assert house.told == ["50 %", "100 %", "50 %", "100 %"]
    assert len({key for _, _, key in house.sent}) == 4
    assert house.store.outbox(ORG) == []


def test_a_crossing_that_the_store_lost_after_it_was_told_is_told_under_the_same_key(here: House) -> None:
    """I-11: whoever replays it crosses it at another time, and it is the same alert."""
    for _ in range(2):
        here.cross("email:500000")
        assert here.sender().turn(ORG) is None
        here.clock.advance(500)
    assert len(here.sent) == 2
    assert len({key for _, _, key in here.sent}) == 1


def test_an_organization_that_begins_anew_tells_anew() -> None:
    """An app on the memory store that starts again has the same ids and revisions."""
    keys, clock = set(), FakeClock()
    for _ in range(2):
        clock.advance(1)
        house = House(MemoryStore(clock), clock)
        house.cross("email:500000")
        assert house.sender().turn(ORG) is None
        keys |= {key for _, _, key in house.sent}
    assert len(keys) == 2


def test_what_is_told_of_one_organization_has_no_key_of_another(here: House) -> None:
    """Both may have named their nodes alike, and both go to the webhook of the host."""
    here.tenancy.create_organization("B", id="org_b")
    here.tenancy.create_project("org_b", "app", org="org_b", id=PROJECT)
    due = Due("forecast", "email", PROJECT, "cost/month", "500000", 10**9, 10**9)
    for org in (ORG, "org_b"):
        here.store.outbox(org, put=[due.event("forecast|1", here.clock())])
        assert here.sender().turn(org) is None
    assert len({key for _, _, key in here.sent}) == len(here.sent) == 2


def test_a_threshold_that_an_older_version_saw_crossed_is_told(house: House) -> None:
    """Its id says nothing of the arming. All of it used is told again then, too, and no refusal after it."""
    for _ in range(2):
        house.cross("email:1000000", used=100, armed="")
        assert house.sender().turn(ORG) is None
        house.clock.advance(1)
    house.cross("email:1000000", used=100, armed="r4")
    assert house.sender().turn(ORG) is None
    assert house.told == ["100 %"] * 3
    assert len({key for _, _, key in house.sent}) == 3
    assert house.store.outbox(ORG) == []


def test_all_of_a_budget_that_an_older_version_told_is_told_again_where_it_is_armed_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It noted the whole id of the event: both versions may send, while one takes the place of the other."""
    with monkeypatch.context() as older:
        older.setattr(sending, "armed_of", lambda event: (event, ""))
        house.cross("email:1000000", used=100, armed="r2")
        assert house.sender().turn(ORG) is None
    house.clock.advance(1)
    house.cross("email:1000000", used=100, armed="r4")
    assert house.sender().turn(ORG) is None
    assert house.told == ["100 %"] * 2


def test_an_alert_that_nobody_is_told_of_is_kept_as_undeliverable(here: House) -> None:
    here.cross("slack:500000", "email:800000")
    assert here.sender(Alerts(to=["ann@example.com"])).turn(ORG) is None
    found = [(entry["channel"], entry["outcome"], entry["target"]) for entry in here.log.entries(ORG)]
    assert found == [("email", "undeliverable", "a…@example.com"), ("none", "undeliverable", "")]


def test_a_stop_is_told_to_all_and_stands_in_the_audit_log_once(house: House) -> None:
    mark = f"disable:950000:{NOON}:cost/month"
    house.cross(mark)
    house.answer = lambda address, notice: FAILS if len(house.sent) < 1 else DONE
    sender = house.sender()
    at = sender.turn(ORG)
    house.clock.advance(at - house.clock())  # type: ignore[operator]
    assert sender.turn(ORG) is None
    assert house.sent[0][1] == "Project 'app' is stopped: 95 % of its monthly budget is used"
    rows = [row for row in house.tenancy.audit(ORG) if row["what"] == "project.stop"]
    assert [(row["after"][0]["id"], row["after"][0]["stopped"]) for row in rows] == [(PROJECT, mark)]
    assert rows[0]["at"] == NOON


def test_of_a_budget_that_is_used_up_and_refuses_only_the_first_is_told(house: House) -> None:
    since = NOON - NOON % 86_400_000
    due = Due("denied", "email", PROJECT, "cost/month", "1000000", 100 * 10**9, 95 * 10**9, 6 * 10**9, since)
    house.store.outbox(ORG, put=[due.event("denied|1", house.clock())])
    house.sender().turn(ORG)
    house.clock.advance(5)
    house.cross("email:1000000", used=100)
    assert house.sender().turn(ORG) is None
    assert [title for _, title, _ in house.sent] == ["The monthly budget of project 'app' keeps calls out"]
    house.clock.advance(5)
    house.cross("email:1000000", cap=200, used=200)  # it was raised, and is used up again
    house.sender().turn(ORG)
    assert len(house.sent) == 2
    house.clock.advance(5)
    raised = replace(due, cap=200 * 10**9, used=200 * 10**9)
    house.store.outbox(ORG, put=[raised.event("denied|2", house.clock())])
    assert house.sender().turn(ORG) is None
    assert len(house.sent) == 2


def test_an_event_that_cannot_be_read_is_left_to_who_can(here: House) -> None:
    strange = Event("strange", here.clock(), '{"of":"a newer version"}')
    broken = Event("d|broken", here.clock(), "[]")
    here.store.outbox(ORG, put=[strange, broken, Event("none", here.clock(), "no JSON")])
    here.cross("email:500000")
    assert here.sender().turn(ORG) is None
    assert here.told == ["50 %"]
    assert len(here.store.outbox(ORG)) == 3
    here.clock.advance(GIVE_UP_MS)
    here.sender().turn(ORG)
    assert [event.id for event in here.store.outbox(ORG)] == ["d|broken"]


def test_an_event_that_cannot_be_told_keeps_no_other_from_being_sent(
    here: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here.cross("email:500000", "email:800000")
    real = sending.notice_of

    def fails(event: Event, due: Due, *more: Any) -> Notice:
        if due.level == "500000":
            raise LookupError("a fault of ours")
        return real(event, due, *more)

    monkeypatch.setattr(sending, "notice_of", fails)
    sender = here.sender()
    sender.turn(ORG)
    assert here.told == ["80 %"]
    assert len(here.store.outbox(ORG)) == 1
    assert "cannot be told" in caplog.text
    here.clock.advance(GIVE_UP_MS)
    sender.turn(ORG)
    assert here.store.outbox(ORG) == []


def test_a_flood_is_bounded_and_told_in_the_log(here: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "WAITING", 10)
    here.answer = lambda address, notice: FAILS
    for n in range(20):
        here.cross("email:500000", shape=f"cost/month/for:m{n}")
    here.sender().turn(ORG)
    assert len(here.store.outbox(ORG)) == 10
    assert here.outcomes == ["dropped"] * 10
    assert WAITING == 2000


def test_events_of_the_store_itself_are_told_to_the_organization(here: House) -> None:
    here.store.outbox(
        ORG,
        put=[
            Event("adopted|7", here.clock(), f'{{"adopted":"{ORG}","rev":7}}'),
            Event("degraded|1", here.clock() + 1, '{"degraded":{"cost":5000000000}}'),
        ],
    )
    assert here.sender().turn(ORG) is None
    assert [title for _, title, _ in here.sent] == ["The store of the quotas was away, or lost something"] * 2


def test_a_node_that_is_gone_is_told_of_all_the_same(here: House) -> None:
    here.cross("email:500000")
    here.tenancy.delete(ORG, PROJECT)
    here.sender().turn(ORG)
    assert here.told == ["50 %"]


def test_a_store_that_is_away_loses_nothing(here: House) -> None:
    here.cross("email:500000")
    sender = here.sender()
    real = here.store.outbox
    calls = iter(range(100))

    def flaky(org: str, **more: Any) -> Any:
        if next(calls) == 2:  # it was sent, and that cannot be written down
            raise StoreError("away")
        return real(org, **more)

    here.store.outbox = flaky  # type: ignore[method-assign]
    with pytest.raises(StoreError):
        sender.turn(ORG)
    assert sender.turn(ORG) is None or sender.turn(ORG) is not None
    here.clock.advance(5)
    sender.turn(ORG)
    assert here.told == ["50 %", "50 %"]
    assert len({key for _, _, key in here.sent}) == 1


def test_a_delivery_is_kept_and_read_back() -> None:
    notice = Notice(
        "alert_1", "used", 5, ORG, PROJECT, "project", "app", (PROJECT, ORG), "t", "x", {"a": 1.5}
    )
    delivery = Delivery(
        "msg_1", 5, "proj_a/cost/month", 7, Address("email", "a@b"), notice, 2, 99, "answered 500"
    )
    assert Delivery.read(delivery.event()) == delivery


def test_private_targets_are_the_hosts_to_allow() -> None:
    store = MemoryStore(FakeClock())
    with pytest.raises(ValueError, match="slack"):
        Routes(Alerts(slack="https://127.0.0.1/x"), store)
    with pytest.raises(ValueError, match="is an e-mail"):
        Routes(Alerts(to=["nobody"]), store)
    assert Routes(Alerts(slack="http://127.0.0.1/x", allow=["127.0.0.1"]), store)
    assert Allowed(["127.0.0.1"])
