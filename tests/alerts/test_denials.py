"""Denials: noted where calls are refused, put into the outbox once a limit and window over all processes."""

from __future__ import annotations

from typing import Any

import pytest

from quotaware.alerts import denials as noting
from quotaware.alerts.denials import HOUR_MS, LIFE_MS, Denials, Denied
from quotaware.alerts.due import Due
from quotaware.core.models import Model
from quotaware.core.steps import Over
from quotaware.stores.memory import MemoryStore
from quotaware.tenancy.directory import Directory
from quotaware.tenancy.nodes import Path
from quotaware.tenancy.plans import Policy, compile_policy
from quotaware.tenancy.service import Tenancy
from tests.support import FakeClock

ORG, PROJECT = "org_a", "proj_a"


class House:
    def __init__(self, limits: list[str], alerts: list[str], **more: Any) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore(self.clock)
        self.directory = Directory(self.store, self.clock)
        tenancy: Any = Tenancy(self.store, self.directory, self.clock)
        tenancy.create_organization("A", id=ORG, **more)
        tenancy.create_project(ORG, "app", org=ORG, id=PROJECT, limits=limits, alerts=alerts)
        self.told: list[Denied] = []

    def denials(self) -> Denials:
        return Denials(self.store, self.clock, self.told.append)

    def judged(self, end_user: str | None = None) -> tuple[Path, Policy]:
        path = self.directory.load(ORG, PROJECT)
        return path, compile_policy(path, (), end_user, self.clock())

    def note(self, denials: Denials, end_user: str | None = None, *, hard: bool = True) -> None:
        path, policy = self.judged(end_user)
        over = tuple(Over(c.key, c.cap, hard, c.cap - 1, 0, 5, None) for c, _ in policy.plan.lines)
        denials.note(path, policy, over)

    @property
    def events(self) -> list[Due | None]:
        return [Due.read(event) for event in self.store.outbox(ORG)]


@pytest.mark.parametrize(
    ("limit", "length"),
    [("$1/day", 12 * 3_600_000), ("$1/hour", HOUR_MS), ("$1/life", LIFE_MS)],
)
def test_it_is_told_again_in_the_next_window(limit: str, length: int) -> None:
    house = House([limit], ["denied email"])
    denials = house.denials()
    for _ in range(3):
        house.note(denials)
    assert len(house.told) == 1
    house.clock.advance(length - 1)
    house.note(denials)
    assert len(house.told) == 1
    house.clock.advance(1)
    house.note(denials)
    assert len(house.told) == 2
    assert len({denied.id for denied in house.told}) == 2 or limit == "$1/life"


def test_limits_of_all_kinds_are_told_of_by_their_shape() -> None:
    house = House(
        ["$1/day", "5 requests/minute", "2 concurrent", "3 requests/day per end_user"],
        ["denied email", "denied slack on requests/minute", "denied webhook on concurrency",
         "denied email on requests/day/per:end_user"],
    )  # fmt: skip
    denials = house.denials()
    for end_user in ("ann", "bob"):
        house.note(denials, end_user)
    found = [(denied.due.shape, denied.due.action) for denied in house.told]
    assert found == [
        ("cost/day", "email"),
        ("requests/minute", "slack"),
        ("concurrency", "webhook"),
        ("requests/day/per:end_user", "email"),  # once, whoever it was
    ]


def test_without_an_alert_on_it_nothing_is_noted() -> None:
    house = House(
        ["$1/day", "5 requests/minute"], ["80% email", "95% disable", "100% close", "forecast 100% email"]
    )
    denials = house.denials()
    house.note(denials)
    house.note(denials, hard=False)
    assert house.told == []


def test_the_organizations_usual_threshold_is_told_when_it_is_all_of_it() -> None:
    house = House(["$1/day"], [], alert_threshold=1_000_000)
    house.note(house.denials())
    assert [(denied.due.action, denied.due.level) for denied in house.told] == [("email", "1000000")]
    other = House(["$1/day"], [], alert_threshold=750_000)
    other.note(other.denials())
    assert other.told == []


def test_of_several_processes_one_puts_it() -> None:
    house = House(["$1/day"], ["denied email"])
    first, second = house.denials(), house.denials()
    house.note(first)
    house.clock.advance(7)
    house.note(second)
    assert len(house.told) == 2
    for denials, denied in zip((first, second), house.told, strict=True):
        denials.put(denied)
    (due,) = house.events
    assert due is not None
    assert (due.kind, due.cap, due.used, due.asked) == ("denied", 10**9, 10**9 - 1, 5)


def test_what_could_not_be_put_is_told_by_the_next() -> None:
    house = House(["$1/day"], ["denied email"])
    denials = house.denials()
    house.note(denials)
    denials.forget(house.told[0])
    house.note(denials)
    assert len(house.told) == 2


@pytest.mark.parametrize("count", [pytest.param(1_000_000, marks=pytest.mark.slow), 20_000])
def test_a_flood_is_one_alert(count: int) -> None:
    house = House(["$1/day"], ["denied email"])
    denials = house.denials()
    path, policy = house.judged()
    over = tuple(Over(c.key, c.cap, True, c.cap, 0, 5, None) for c, _ in policy.plan.lines)
    for _ in range(count):
        denials.note(path, policy, over)
    assert len(house.told) == 1


def test_what_is_known_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noting, "KNOWN", 3)
    names = [f"m{n}" for n in range(1, 9)]
    limits = [f"$1/day for {name}" for name in names]
    house = House(limits, [f"denied email on cost/day/for:{name}" for name in names])
    denials = house.denials()
    path = house.directory.load(ORG, PROJECT)
    for name in names:
        policy = compile_policy(path, (Model("p", name),), None, house.clock())
        over = tuple(Over(c.key, c.cap, True, c.cap, 0, 5, None) for c, _ in policy.plan.lines)
        denials.note(path, policy, over)
    assert len(house.told) == 8
    assert len(denials._told) == 3


def test_a_forked_child_has_told_nothing() -> None:
    house = House(["$1/day"], ["denied email"])
    denials = house.denials()
    house.note(denials)
    denials.begin_again()
    house.note(denials)
    assert len(house.told) == 2  # one of which the store takes
