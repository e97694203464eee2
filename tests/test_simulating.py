"""What if: recorded calls decided once more under other limits, as the ledger would have decided them."""

from __future__ import annotations

import random
import secrets
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import anyio
import pytest

from quotaware import Quota
from quotaware.admission import Admission
from quotaware.context import Identity
from quotaware.core import simulation
from quotaware.core.charges import Outcome
from quotaware.core.simulation import Reason, Simulation, Tally
from quotaware.core.steps import Plan, Settle
from quotaware.core.usage import Usage
from quotaware.errors import ConfigurationError, LimitSyntaxError, NotFound
from quotaware.learned import Learned
from quotaware.simulating import replay
from quotaware.stores.memory import MemoryStore
from quotaware.stores.tickets import drive
from quotaware.tenancy.keys import digest
from tests.calls import CENT, a_call, a_quota, ask, let_go, spend, used
from tests.support import NOON, FakeClock

DAY = 86_400_000
HOUR = 3_600_000
WIDE = ["100000 requests/second"]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def quota(clock: FakeClock) -> Iterator[Quota]:
    quota = a_quota(MemoryStore(clock), clock=clock, limits=WIDE)
    yield quota
    quota.close()


def what_if(quota: Quota, *limits: str, period: str = "30d") -> Simulation:
    return quota.blocking.simulate({"app": limits}, period)


def test_a_budget_denies_what_does_not_fit_by_project_and_day(quota: Quota, clock: FakeClock) -> None:
    for _ in range(2):
        for _ in range(5):
            spend(quota, 2)
            clock.now += 1000
        clock.now += DAY
    found = what_if(quota, "$0.05/day")
    assert (found.total.calls, found.total.cost) == (10, 20 * CENT)
    assert (found.total.denied, found.total.denied_cost) == (6, 12 * CENT)
    assert {day: tally.denied for (_, day), tally in found.days.items()} == {
        date(2026, 6, 15): 3,
        date(2026, 6, 16): 3,
    }
    assert {project for project, _ in found.days} == {"proj_app"}
    assert found.reasons == {Reason("proj_app", "$0.05/day"): 6}
    first = found.examples[0]
    assert (first.met, first.cap, first.used, first.held, first.asked) == (
        "denied", 5 * CENT, 4 * CENT, 0, 2 * CENT,
    )  # fmt: skip
    assert first.at == datetime(2026, 6, 15, 12, 0, 2, tzinfo=UTC)


def test_what_is_not_named_stays_as_it_is(clock: FakeClock) -> None:
    store = MemoryStore(clock)
    wide = a_quota(store, clock=clock, limits=["$1/day"])
    for _ in range(5):
        spend(wide)
    wide.blocking.tenancy.update("org_app", "proj_app", limits=["$0.03/day"])
    assert wide.blocking.simulate({}).total.denied == 2
    assert wide.blocking.simulate({"proj_app": []}).total.denied == 0
    alerted = wide.blocking.simulate({"app": {"alerts": ["50% email"]}})
    assert (alerted.total.denied, alerted.total.alerts) == (2, 1)
    wide.close()


def test_nothing_is_changed_by_it(quota: Quota, clock: FakeClock) -> None:
    for _ in range(3):
        spend(quota)
    before = list(quota.blocking.usage.records())
    what_if(quota, "0 requests/day")
    assert list(quota.blocking.usage.records()) == before
    node = quota.blocking.tenancy.get("org_app", "proj_app")
    assert [str(limit) for limit in node.limits] == WIDE
    spend(quota)


def test_calls_under_way_at_once_are_told_from_their_begin_and_end(quota: Quota, clock: FakeClock) -> None:
    first = let_go(ask(quota))
    clock.now += 10
    second = let_go(ask(quota))
    clock.now += 10
    first.settle(used())
    clock.now += 10
    third = let_go(ask(quota))
    second.settle(used())
    third.settle(used())
    found = what_if(quota, "1 concurrent")
    assert [each.id for each in found.examples] == [second.id]
    assert what_if(quota, "2 concurrent").total.denied == 0


def test_a_rolling_window_lets_go(quota: Quota, clock: FakeClock) -> None:
    ids = []
    for _ in range(4):
        admission = let_go(ask(quota))
        ids.append(admission.id)
        admission.settle(used())
        clock.now += 25_000
    found = what_if(quota, "2 requests/minute")
    assert [each.id for each in found.examples] == [ids[2]]


def test_token_limits_deny_by_what_was_held_and_what_was_used(quota: Quota, clock: FakeClock) -> None:
    """Each holds what it was expected to take, and counts what it took."""
    for _ in range(5):
        spend(quota, 2)  # 20 tokens, of 28 that were expected with its input
        clock.now += 1000
    found = what_if(quota, "50 tokens/day")
    assert (found.total.denied, found.reasons) == (3, {Reason("proj_app", "50 tokens/day"): 3})
    first = next(each for each in found.examples if each.met == "denied")
    assert (first.cap, first.used, first.held, first.asked) == (50, 40, 0, 28)
    assert what_if(quota, "70 tokens/minute").total.denied == 2
    assert what_if(quota, "60 tokens/second").total.denied == 0
    assert what_if(quota, "60 tokens/day for other*").total.denied == 0
    first_of_two, second = let_go(ask(quota, a_call(2))), let_go(ask(quota, a_call(2)))
    clock.now += 10
    first_of_two.settle(used(1))
    second.settle(used(1))
    assert what_if(quota, "150 tokens/day").total.denied == 1  # 100, 28 that are held, and 28 more


def test_limits_for_models_and_each_end_user(quota: Quota, clock: FakeClock) -> None:
    for who in ("ann", "ann", "bob"):
        spend(quota, by=Identity(end_user=who))
    found = what_if(quota, "1 requests/day per end_user")
    assert [each.end_user for each in found.examples] == ["ann"]
    assert what_if(quota, "0 requests/day for gpt-4.1*").total.denied == 0
    assert what_if(quota, "0 requests/day for tenth").total.denied == 3


def test_soft_and_shadow_limits_deny_nothing(quota: Quota) -> None:
    for _ in range(3):
        spend(quota)
    for mode in ("soft", "shadow"):
        found = what_if(quota, f"1 requests/day {mode}")
        assert (found.total.denied, found.total.over) == (0, 2)
        assert {each.met for each in found.examples} == {"over"}


def test_alerts_are_due_once_in_a_window(quota: Quota, clock: FakeClock) -> None:
    for _ in range(2):
        for _ in range(10):
            spend(quota)
        clock.now += DAY
    plan = {"app": {"limits": ["$0.1/day"], "alerts": ["50% email", "80% slack"]}}
    found = quota.blocking.simulate(plan)
    assert [(each.alert, each.used) for each in found.alerts] == [
        ("50% email", 5 * CENT),
        ("80% slack", 8 * CENT),
    ] * 2
    assert found.total.alerts == 4
    assert {each.project for each in found.alerts} == {"proj_app"}


def test_what_an_alert_stops_stays_stopped_until_the_next_period(quota: Quota, clock: FakeClock) -> None:
    for _ in range(2):
        for _ in range(4):
            spend(quota)
        clock.now += DAY
    found = quota.blocking.simulate({"app": {"limits": ["$0.1/day"], "alerts": ["$0.02 disable"]}})
    assert (found.total.denied, found.total.alerts) == (4, 2)
    assert found.reasons == {Reason("proj_app", "cost/day", stopped=True): 4}


def test_a_call_whose_answer_would_still_fit_is_clamped_not_denied(quota: Quota, clock: FakeClock) -> None:
    let_go(ask(quota, a_call(10))).settle(used(2))
    found = what_if(quota, "$0.05/day")
    assert (found.total.denied, found.total.clamped) == (0, 1)
    assert what_if(quota, "$0.01/day").total.denied == 1


def test_bodies_that_are_never_changed_are_not_clamped(clock: FakeClock) -> None:
    quota = a_quota(MemoryStore(clock), clock=clock, limits=WIDE, tight="deny")
    let_go(ask(quota, a_call(10))).settle(used(2))
    found = what_if(quota, "$0.05/day")
    assert (found.total.denied, found.total.clamped) == (1, 0)
    quota.close()


def in_a_row(clock: FakeClock, wait: float, gap: int) -> Quota:
    """Two calls of three cents, the second while the first is under way, which ends `gap` ms later at one cent."""
    quota = a_quota(MemoryStore(clock), clock=clock, limits=WIDE, tight="deny", settle_wait=wait)
    first, second = (let_go(ask(quota, a_call(3))) for _ in range(2))
    clock.now += gap
    first.settle(used(1))
    second.settle(used(1))
    return quota


@pytest.mark.parametrize(
    ("wait", "gap", "waited", "denied"), [(5, 4000, 1, 0), (5, 6000, 0, 1), (0, 4000, 0, 1)]
)
def test_what_others_hold_is_waited_for(
    clock: FakeClock, wait: float, gap: int, waited: int, denied: int
) -> None:
    quota = in_a_row(clock, wait, gap)
    found = what_if(quota, "$0.04/day")
    assert (found.total.waited, found.total.denied) == (waited, denied)
    quota.close()


def test_who_waits_goes_before_who_comes_later(clock: FakeClock) -> None:
    quota = a_quota(MemoryStore(clock), clock=clock, limits=WIDE, tight="deny", settle_wait=5)
    calls = []
    for _ in range(4):
        calls.append(let_go(ask(quota, a_call(3))))
        clock.now += 1
    for call in calls:
        clock.now += 1000
        call.settle(used(0.5))
    found = what_if(quota, "$0.04/day")
    assert [each.id for each in found.examples if each.met == "waited"] == [calls[1].id, calls[2].id]
    assert {each.id for each in found.examples if each.met == "denied"} == {calls[3].id}
    quota.close()


def test_what_was_used_before_the_period_counts_as_it_was(quota: Quota, clock: FakeClock) -> None:
    for _ in range(4):
        spend(quota)
    clock.now += 3 * HOUR
    spend(quota)
    found = what_if(quota, "$0.04/day", period="1h")
    assert (found.total.calls, found.total.denied) == (1, 1)
    assert found.examples[0].used == 4 * CENT
    assert what_if(quota, "$0.04/life", period="1h").total.denied == 1
    assert what_if(quota, "$0.01/hour", period="1h").total.denied == 0


def test_what_was_left_of_a_day_is_added_to_the_next(quota: Quota, clock: FakeClock) -> None:
    spend(quota)
    clock.now += DAY
    for _ in range(6):
        spend(quota)
    assert what_if(quota, "$0.02/day", period="1h").total.denied == 4
    assert what_if(quota, "$0.02/day carryover", period="1h").total.denied == 1


def test_a_call_that_was_let_through_in_an_outage_is_booked(quota: Quota, clock: FakeClock) -> None:
    spend(quota)
    quota.flush()
    about = '{"project":"proj_app","model":"tenth"}'
    id = quota.engine.ids.new(clock())
    step = Settle(id, Plan("org_app", 0, (), ()), (10, 3 * CENT, 1), "{}", force=True, about=about)
    quota.store.apply({"org_app": [step]}, 1.0)
    clock.now += 1000
    spend(quota)
    found = what_if(quota, "$0.04/day")
    assert (found.total.calls, found.total.denied) == (3, 1)
    assert found.examples[0].used == 4 * CENT


def test_a_call_that_expired_and_was_corrected_counts_first_the_one_then_the_other(
    quota: Quota, clock: FakeClock
) -> None:
    admission = let_go(ask(quota, a_call(5)))
    plan = admission.policy.plan
    quota.store.apply({"org_app": [Settle(admission.id, plan, (0, 0, 0), "{}", "expired", force=True)]}, 1.0)
    clock.now += 1000
    spend(quota)
    clock.now += 1000
    admission.settle(used(3))
    assert quota.flush()
    clock.now += 1000
    spend(quota)
    spend(quota)
    found = what_if(quota, "$0.05/day")
    assert (found.total.calls, found.total.cost) == (4, 6 * CENT)
    assert [(each.used, each.cost) for each in found.examples] == [(5 * CENT, CENT)]


def test_listings_are_no_calls(quota: Quota) -> None:
    spend(quota)
    about = '{"project":"proj_app","lookup":true}'
    id = quota.engine.ids.new(quota.engine.now())
    quota.store.apply(
        {"org_app": [Settle(id, Plan("org_app", 0, (), ()), (0, 0, 0), "{}", force=True, about=about)]}, 1.0
    )
    found = what_if(quota, "1 requests/day")
    assert found.total == Tally(calls=1, cost=CENT)


def test_keys_teams_and_what_is_gone(clock: FakeClock) -> None:
    quota = a_quota(MemoryStore(clock), clock=clock)
    tenancy = quota.blocking.tenancy
    org = tenancy.create_organization("acme").id
    team = tenancy.create_team(org, "data").id
    project = tenancy.create_project(team, "bot").id
    made = tenancy.create_key(project)
    for _ in range(3):
        spend(quota, by=Identity(key=digest(made.secret)))
    key = made.node.id
    assert quota.blocking.simulate({key: ["1 requests/day"]}).reasons == {Reason(key, "1 request/day"): 2}
    assert quota.blocking.simulate({"data": ["$0.02/day"]}).reasons == {Reason(team, "$0.02/day"): 1}
    assert quota.blocking.simulate({"acme": ["$0/day"]}).total.denied == 3
    tenancy.delete(org, key)
    tenancy.delete(org, project)
    gone = quota.blocking.simulate({"acme": ["$0.01/day"]}, organization=org)
    assert (gone.total.calls, gone.total.denied) == (3, 2)
    quota.close()


def test_days_are_those_of_the_organization(clock: FakeClock) -> None:
    quota = a_quota(MemoryStore(clock), clock=clock, limits=WIDE, time_zone="Asia/Seoul")
    spend(quota)
    clock.now += 4 * HOUR  # 16:00 UTC, 01:00 in Seoul
    spend(quota)
    found = what_if(quota, "1 requests/day")
    assert found.total.denied == 0
    assert [day for _, day in found.days] == [date(2026, 6, 15), date(2026, 6, 16)]
    quota.close()


def test_a_period_is_days_hours_or_two_times(quota: Quota, clock: FakeClock) -> None:
    spend(quota)
    clock.now += 2 * HOUR
    spend(quota)
    assert what_if(quota, period="1h").total.calls == 1
    assert what_if(quota, period="1d").total.calls == 2
    noon = datetime(2026, 6, 15, 12, tzinfo=UTC)
    both = quota.blocking.simulate({}, (noon, noon + timedelta(hours=1)))
    assert (both.total.calls, both.since, both.until) == (1, noon, noon + timedelta(hours=1))


@pytest.mark.parametrize(
    "period", ["", "0d", "1w", "99999d", 30, (1, 2), (datetime(2026, 6, 2), datetime(2026, 6, 1))]
)
def test_a_period_that_is_none_is_refused_by_name(quota: Quota, period: object) -> None:
    with pytest.raises(ConfigurationError) as caught:
        quota.blocking.simulate({}, period)  # type: ignore[arg-type]
    assert caught.value.field == "period"


def test_a_plan_that_cannot_be_is_refused_by_name(quota: Quota) -> None:
    simulate = quota.blocking.simulate
    with pytest.raises(LimitSyntaxError):
        simulate({"app": ["much"]})
    with pytest.raises(NotFound):
        simulate({"nobody": ["$1/day"]})
    for plan, field in (
        (["$1/day"], "plan"),
        ({"app": {"limit": ["$1/day"]}}, "plan"),
        ({"app": [], "proj_app": []}, "plan"),
        ({"app": "$1/day"}, "limits"),
        ({"app": ["$1/day", "$2/day"]}, "limits"),
        ({"app": {"alerts": ["much"]}}, "alert"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            simulate(plan)  # type: ignore[arg-type]
        assert caught.value.field == field


def test_where_there_are_several_organizations_one_is_named(clock: FakeClock) -> None:
    quota = a_quota(MemoryStore(clock), clock=clock)
    for name in ("one", "two"):
        quota.blocking.tenancy.create_organization(name)
    with pytest.raises(ConfigurationError, match="organization"):
        quota.blocking.simulate({})
    quota.close()


def test_an_organization_that_is_not_there_is_no_empty_one(quota: Quota) -> None:
    spend(quota)
    with pytest.raises(NotFound):
        quota.blocking.simulate({}, organization="org_nobody")
    assert quota.blocking.simulate({}, organization="org_app").total.calls == 1


def test_too_many_records_are_refused_where_a_bound_is_set(quota: Quota) -> None:
    for _ in range(3):
        spend(quota)
    with pytest.raises(ConfigurationError, match="shorter"):
        quota.blocking.simulate({}, most=2)
    assert quota.blocking.simulate({}, most=3).total.calls == 3


def test_it_tells_how_far_it_is(quota: Quota) -> None:
    for _ in range(1001):
        spend(quota)
    heard: list[tuple[int, int]] = []
    quota.blocking.simulate({}, progress=lambda read, decided: heard.append((read, decided)))
    assert heard == [(1000, 0), (1001, 0), (1001, 1000)]


def test_few_examples_are_kept_and_all_are_counted(quota: Quota) -> None:
    for _ in range(50):
        spend(quota)
    found = what_if(quota, "0 requests/day")
    assert (found.total.denied, len(found.examples)) == (50, simulation.EXAMPLES)


async def _awaited(quota: Quota) -> Simulation:
    return await quota.simulate({"app": ["1 requests/day"]})


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_it_is_awaited_too(quota: Quota, backend: str) -> None:
    for _ in range(3):
        spend(quota)
    assert anyio.run(_awaited, quota, backend=backend).total.denied == 2


def test_counters_that_nothing_depends_on_are_let_go_of(
    quota: Quota, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    tidy = replay.Replay._tidy

    def watched(self: replay.Replay) -> None:
        tidy(self)
        sizes.append(len(self._view.cells))

    monkeypatch.setattr(replay, "TIDY", 10)
    monkeypatch.setattr(replay.Replay, "_tidy", watched)
    for number in range(100):
        spend(quota, by=Identity(end_user=f"user{number}"))
        clock.now += 2 * HOUR
    what_if(quota, "5 requests/hour per end_user", "1 concurrent")
    assert len(sizes) >= 5
    assert max(sizes) <= 10


# as the real ones


LIMITS = [
    "$0.12/day",
    "$0.08/calendar hour",
    "$0.03/hour",
    "4 requests/minute",
    "2 requests/second",
    "3 concurrent",
    "$0.05/day per end_user",
    "$0.2/month carryover",
    "6 requests/day for tenth",
    "$0.02/hour soft",
    "1 requests/minute shadow",
    "$0.4/life",
    "90 tokens/day",
    "60 tokens/hour",
    "30 tokens/calendar hour",
    "70 tokens/day per end_user",
    "40 tokens/hour for tenth",
    "50 tokens/day soft",
]


def drive_calls(quota: Quota, clock: FakeClock, seed: int, only: set[int] | None = None) -> dict[int, str]:
    """Calls of two end users, under way at once, over days; answers those that were let go, by number. The same of one
    seed whatever is let go.
    """
    chance = random.Random(seed)
    going: list[tuple[int, int, Admission | None, float]] = []
    admitted: dict[int, str] = {}
    now = NOON
    for number in range(60):
        now += chance.choice([1, 300, 900, 20_000, 70_000, 4_000_000, 40_000_000])
        cents, real = chance.randint(1, 4), chance.choice([0.5, 1, 1, 2, 3])
        ends = now + chance.choice([2, 500, 30_000, 5_000_000]) + number * 7
        who = chance.choice(["ann", "bob"])
        for end, _, admission, cost in sorted(
            (each for each in going if each[0] < now), key=lambda each: each[:2]
        ):
            clock.now = end
            if admission is not None:
                admission.settle(used(cost))
                assert quota.flush()  # at this very time
        going = [each for each in going if each[0] >= now]
        clock.now = now
        if only is not None and number not in only:
            continue
        outcome = ask(quota, a_call(cents), Identity(end_user=who))
        if isinstance(outcome, Admission):
            admitted[number] = outcome.id
            going.append((ends, number, outcome, real))
    for end, _, admission, cost in sorted(going, key=lambda each: each[:2]):
        clock.now = end
        if admission is not None:
            admission.settle(used(cost))
            assert quota.flush()
    return admitted


def a_fresh(clock: FakeClock, limits: list[str], store: str | None = None) -> Quota:
    """Whose limits have stood for two months. No lease ends: when that is found depends on who calls meanwhile."""
    long = 10.0**6
    clock.now = NOON - 70 * DAY
    quota = a_quota(
        store or MemoryStore(clock), clock=clock, limits=limits, tight="deny", lease=long, idle_max=long,
        call_max=long,
    )  # fmt: skip
    drive(quota.engine.prepared())
    clock.now = NOON
    return quota


@pytest.mark.parametrize("seed", range(40))
def test_it_decides_as_a_fresh_quota_that_gets_the_same_calls(
    clock: FakeClock, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulation, "EXAMPLES", 1000)
    # what calls usually take is learned from those that are let go; each holds what it held then
    monkeypatch.setattr(Learned, "usual_output", lambda self, org, model: None)
    limits = random.Random(seed).sample(LIMITS, 3)
    wide = a_fresh(clock, WIDE)
    recorded = drive_calls(wide, clock, seed)
    found = wide.blocking.simulate({"app": limits}, "400d")
    fresh = a_fresh(clock, limits)
    admitted = drive_calls(fresh, clock, seed, set(recorded))
    denied = {
        number for number, id in recorded.items() if id in {e.id for e in found.examples if e.met == "denied"}
    }
    assert denied == recorded.keys() - admitted.keys()
    assert found.total.denied == len(denied)
    wide.close()
    fresh.close()


@pytest.mark.parametrize("seed", range(40))
def test_the_limits_of_then_deny_nothing_of_what_was_let_go(clock: FakeClock, seed: int) -> None:
    limits = random.Random(seed).sample(LIMITS, 3)
    quota = a_fresh(clock, limits)
    admitted = drive_calls(quota, clock, seed)
    found = quota.blocking.simulate({"app": limits}, "400d")
    assert found.total.calls == len(admitted)
    assert (found.total.denied, found.total.clamped, found.total.waited) == (0, 0, 0)
    for days in (1, 3):
        assert quota.blocking.simulate({}, f"{days}d").total.denied == 0
    quota.close()


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/quota.db"
    return f"{request.getfixturevalue('valkey_url')}?prefix=sim{secrets.token_hex(6)}"


@pytest.mark.parametrize("seed", range(3))
def test_what_a_database_recorded_is_decided_as_what_memory_did(
    clock: FakeClock, url: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also by another process, of what it never saw; and nothing is written by it."""
    monkeypatch.setattr(simulation, "EXAMPLES", 1000)
    limits = random.Random(seed).sample(LIMITS, 6)
    told: list[Simulation] = []
    for store in (None, url):
        with closing(a_fresh(clock, WIDE, store)) as quota:
            drive_calls(quota, clock, seed)
            told.append(quota.blocking.simulate({"app": limits}, "400d"))
    with closing(a_quota(url, clock=clock, limits=WIDE, tight="deny")) as other:
        before = [list(other.store.dump(org)) for org in other.store.orgs("", 9)]
        told.append(other.blocking.simulate({"app": limits}, "400d"))
        after = [list(other.store.dump(org)) for org in other.store.orgs("", 9)]
    assert sorted(map(str, before)) == sorted(map(str, after))
    assert told[0].total.denied > 0
    for found in told[1:]:
        assert (found.total, found.days, found.reasons) == (told[0].total, told[0].days, told[0].reasons)
        assert [(each.met, each.at, each.reason, each.used, each.held) for each in found.examples] == [
            (each.met, each.at, each.reason, each.used, each.held) for each in told[0].examples
        ]
        assert [(each.alert, each.at) for each in found.alerts] == [
            (each.alert, each.at) for each in told[0].alerts
        ]


def test_many_calls_that_come_and_end_in_one_ms(clock: FakeClock) -> None:
    quota = a_quota(MemoryStore(clock), clock=clock, limits=["$0.1/day", "3 concurrent"], tight="deny")
    under_way: list[Admission] = []
    for number in range(40):
        outcome = ask(quota, a_call(2))
        if isinstance(outcome, Admission):
            under_way.append(outcome)
        if under_way and number % 2:
            under_way.pop(0).settle(Outcome(200, usage=Usage(output=1)))
    for call in under_way:
        call.settle(used(0.1))
    found = quota.blocking.simulate({})
    assert found.total.calls > 10
    assert found.total.denied == 0
    quota.close()
