"""Forecasts and keys that end: looked for now and then, by one process, and told once."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from quotaware import Alerts, Quota
from quotaware.alerts.due import Due
from quotaware.alerts.sweeper import SWEEP_S, Sweeper
from quotaware.core.limits import Limit
from quotaware.core.models import Model
from quotaware.core.steps import Plan, Settle
from quotaware.rollups import Folder
from quotaware.stores.memory import MemoryStore
from quotaware.tenancy.directory import Directory
from quotaware.tenancy.plans import compile_policy
from quotaware.tenancy.service import Tenancy
from quotaware.testing.clocks import ids
from quotaware.usage import UsageLog
from tests.support import FakeClock

ORG, PROJECT, HOUR, DAY = "org_a", "proj_a", 3_600_000, 86_400_000
DOLLAR = 10**9


class House:
    def __init__(self) -> None:
        self.clock = FakeClock()  # noon
        self.store = MemoryStore(self.clock)
        self.directory = Directory(self.store, self.clock)
        self.tenancy: Any = Tenancy(self.store, self.directory, self.clock)
        self.tenancy.create_organization("A", id=ORG)
        self.tenancy.create_project(
            ORG, "app", org=ORG, id=PROJECT, limits=["$100/day", "10 requests/minute"]
        )
        self.ids = ids(self.clock)

    def sweeper(self) -> Sweeper:
        log = UsageLog(self.store, Folder(self.store), self.clock)
        return Sweeper(self.store, self.directory, self.tenancy, log, self.clock)

    def sweep(self, sweeper: Sweeper | None = None) -> list[Due]:
        """What a sweep puts into the outbox, which is emptied."""
        self.clock.advance(int(SWEEP_S * 1000))
        assert (sweeper or self.sweeper()).sweep(ORG)
        events = self.store.outbox(ORG)
        self.store.outbox(ORG, done=[event.id for event in events])
        found = [Due.read(event) for event in events]
        assert None not in found
        return [due for due in found if due is not None]

    def spend(self, dollars: float, model: str = "gpt-4.1", tokens: int = 0) -> None:
        path = self.directory.load(ORG, PROJECT)
        plan: Plan = compile_policy(path, (Model(None, model),), None, self.clock()).plan
        about, outcome = {"project": PROJECT, "model": model}, {"usage": {"input": tokens}}
        settle = Settle(
            self.ids(),
            plan,
            (tokens, int(dollars * DOLLAR), 0),
            json.dumps(outcome),
            force=True,
            about=json.dumps(about),
        )
        self.store.apply({ORG: [settle]}, 1.0)


@pytest.fixture
def house() -> House:
    return House()


def test_a_budget_that_is_going_to_be_passed_is_told_once_a_period(house: House) -> None:
    house.tenancy.update(ORG, PROJECT, alerts=["forecast 100% email", "forecast $150 slack", "99% email"])
    assert house.sweep() == []
    house.spend(40)
    house.clock.advance(DAY - HOUR)
    house.spend(30)
    assert house.sweep() == []  # 70 in 23 hours, 13 hours are left: some 70 will be
    house.spend(25)
    (due,) = house.sweep()
    assert (due.kind, due.action, due.node, due.shape, due.level) == (
        "forecast", "email", PROJECT, "cost/day", "1000000",
    )  # fmt: skip
    assert due.cap == 100 * DOLLAR
    assert 106 * DOLLAR < due.used < 109 * DOLLAR
    assert house.sweep() == []
    house.spend(30)
    (due,) = house.sweep()
    assert (due.action, due.level) == ("slack", f"={150 * DOLLAR}")
    house.clock.advance(DAY)
    assert house.sweep() == []  # a new day
    house.spend(80)
    assert {due.action for due in house.sweep()} == {"email", "slack"}


def test_an_alert_expects_what_the_forecast_of_what_was_used_does(house: House) -> None:
    """To the nano-dollar, for a month and for a day."""
    house.tenancy.update(
        ORG, PROJECT, limits=["$9/month", "$9/day"],
        alerts=["forecast 100% email on cost/month", "forecast 100% email on cost/day"],
    )  # fmt: skip
    for _ in range(9):
        house.clock.advance(DAY // 3)
        house.spend(2.5)
    found = {due.shape: due.used for due in house.sweep()}
    log = UsageLog(house.store, Folder(house.store), house.clock)
    for period in ("month", "day"):
        (told,) = log.forecast(ORG, project=PROJECT, period=period)
        assert found[f"cost/{period}"] == told.expected


def test_requests_tokens_and_models_have_a_pace_of_their_own(house: House) -> None:
    limits = ["10 requests/day", "1000 tokens/day", "$10/day for gpt-4.1*", "$10/day for claude*"]
    shapes = [Limit.parse(limit).shape for limit in limits]
    house.tenancy.update(
        ORG, PROJECT, limits=limits, alerts=[f"forecast 100% email on {shape}" for shape in shapes]
    )
    for _ in range(6):
        house.spend(1, tokens=60)
        house.spend(0.1, "claude-sonnet-4-5", tokens=10)
    found = {due.shape: due.used for due in house.sweep()}
    assert set(found) == set(shapes[:3])
    assert found[shapes[0]] == 12 + 12 * _left(house) // _least()
    assert found[shapes[1]] == 420 + 420 * _left(house) // _least()
    assert found[shapes[2]] == 6 * DOLLAR + 6 * DOLLAR * _left(house) // _least()


def _left(house: House) -> int:
    """Of a day that was at noon at first."""
    return DAY - house.clock() % DAY


def _least() -> int:
    return DAY // 7


def test_a_budget_that_was_raised_is_another(house: House) -> None:
    house.tenancy.update(ORG, PROJECT, alerts=["forecast 100% email"])
    house.spend(40)
    assert len(house.sweep()) == 1  # some 180
    house.tenancy.update(ORG, PROJECT, limits=["$200/day"])
    assert house.sweep() == []
    house.spend(10)
    assert len(house.sweep()) == 1


def test_what_was_carried_over_is_there_to_be_used(house: House) -> None:
    house.tenancy.update(ORG, PROJECT, limits=["$100/day carryover"], alerts=["forecast 100% email"])
    house.spend(40)
    house.clock.advance(DAY)
    house.spend(75)
    assert house.sweep() == []  # some 132 of 160 will be used
    house.spend(25)
    (due,) = house.sweep()
    assert due.cap == 160 * DOLLAR
    assert 168 * DOLLAR < due.used < 170 * DOLLAR


def test_one_process_sweeps(house: House) -> None:
    first, second = house.sweeper(), house.sweeper()
    assert first.sweep(ORG)
    assert not second.sweep(ORG)
    house.clock.advance(int(SWEEP_S * 1000))
    assert second.sweep(ORG)


def test_what_two_sweep_at_once_is_told_once(house: House) -> None:
    house.tenancy.update(ORG, PROJECT, alerts=["forecast 100% email"])
    house.spend(60)
    assert len(house.sweep(house.sweeper())) == 1
    assert house.sweep(house.sweeper()) == []


def test_a_key_that_is_about_to_end_is_told_once_to_all_that_want_it(house: House) -> None:
    house.tenancy.update(ORG, ORG, alerts=["expires 7d email"])
    house.tenancy.update(ORG, PROJECT, alerts=["expires 1d slack"])
    now = house.clock()
    ends = now + 10 * DAY
    key = house.tenancy.create_key(PROJECT, org=ORG, name="ci", permissions=["chat:create"], expires_at=ends)
    house.tenancy.create_key(PROJECT, org=ORG, permissions=["chat:create"])
    house.tenancy.create_key(
        PROJECT, org=ORG, permissions=["chat:create"], expires_at=now + 3 * DAY
    )  # so it was made
    revoked = house.tenancy.create_key(PROJECT, org=ORG, permissions=["chat:create"], expires_at=ends)
    house.tenancy.revoke_key(ORG, revoked.node.id)
    sweeper = house.sweeper()
    assert house.sweep(sweeper) == []
    house.clock.advance(2 * DAY)
    (due,) = house.sweep(sweeper)  # of the short one its last day only
    assert (due.action, due.node) == ("slack", _other(house, key.node.id))
    house.clock.advance(int(1.5 * DAY))
    (due,) = house.sweep(sweeper)
    assert (due.kind, due.action, due.node, due.until) == ("expires", "email", key.node.id, ends)
    assert house.sweep(sweeper) == []
    house.clock.advance(int(5.6 * DAY))
    (due,) = house.sweep(sweeper)
    assert due.action == "slack"
    house.clock.advance(DAY)
    assert house.sweep(sweeper) == []  # it is over


def _other(house: House, id: str) -> str:
    keys = house.tenancy.list(ORG, "key", revoked=False)
    (found,) = (key.id for key in keys if key.expires_at and key.id != id)
    return str(found)


def test_the_tree_is_read_only_where_it_changed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[str] = []
    real = house.store.children
    monkeypatch.setattr(
        house.store, "children", lambda org, kind, *more: (looks.append(kind), real(org, kind, *more))[1]
    )
    sweeper = house.sweeper()
    house.sweep(sweeper)
    first = len(looks)
    assert first
    house.sweep(sweeper)
    assert len(looks) == first
    house.tenancy.update(ORG, PROJECT, name="renamed")
    house.sweep(sweeper)
    assert len(looks) > first


def test_a_node_that_went_meanwhile_is_passed_over(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.tenancy.update(ORG, PROJECT, alerts=["forecast 100% email", "expires 9d email"])
    house.tenancy.create_key(
        PROJECT, org=ORG, permissions=["chat:create"], expires_at=house.clock() + 20 * DAY, id="key_a"
    )
    sweeper = house.sweeper()
    house.sweep(sweeper)
    rev = house.store.read(ORG, ())[0]
    house.tenancy.delete(ORG, "key_a")
    house.tenancy.delete(ORG, PROJECT)
    known = sweeper._known[ORG]
    monkeypatch.setattr(sweeper, "_look", lambda org: known)
    assert known.rev == rev
    assert house.sweep(sweeper) == []


@pytest.mark.anyio
async def test_a_quota_sweeps_by_itself(tmp_path: Path) -> None:
    clock = FakeClock()
    told = threading.Event()

    def quota() -> Quota:
        return Quota(
            f"sqlite:///{tmp_path}/q.db",
            limits=["$1/day"],
            clock=clock,
            prices={"m": {"input": 1000, "output": 1000}},
            alerts=Alerts(rules=["forecast 100% email"], callback=lambda notice: told.set()),
        )

    async with (
        quota() as first,
        first.call(provider="p", model="m", input=600, max_output=0) as call,
    ):
        call.used(input=600, output=0)
    clock.advance(int(SWEEP_S * 1000))
    async with quota() as second:
        await second.explain(provider="p", model="m", input=1)
        assert await anyio.to_thread.run_sync(told.wait, 20)
