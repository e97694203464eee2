"""Several processes on one store: the same promises as one, on SQLite, Redis and Redis Cluster."""

from __future__ import annotations

import json
import secrets
import time
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from quotaware import Quota
from quotaware.core.bounds import input_bound
from quotaware.core.windows import zone
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Store
from quotaware.tenancy import keys
from quotaware.tenancy.starts import SIMPLE_ORG
from tests.acceptance import killed
from tests.acceptance.worker import PRICES, Worker
from tests.calls import CENT, a_call, ask, let_go, refused, used
from tests.support import FakeClock, books, check_books, run_module

PROCESSES = 4


@pytest.fixture(params=["sqlite", "redis", "cluster"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A store of this test's own."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/quota.db"
    server = request.getfixturevalue("valkey_url" if request.param == "redis" else "cluster_url")
    return f"{server}{'&' if '?' in server else '?'}prefix=t{secrets.token_hex(6)}"


@pytest.fixture(scope="module")
def pool() -> Iterator[list[Worker]]:
    """Processes that all tests here use in turn."""
    made = [Worker() for _ in range(PROCESSES)]
    yield made
    for worker in made:
        worker.end()


Make = Callable[..., Quota]


@pytest.fixture
def make(url: str) -> Iterator[Make]:
    """Makes Quotas on the store, each as another process has one; after the test the books agree (I-2)."""
    made: list[Quota] = []

    def quota(**settings: Any) -> Quota:
        made.append(Quota(url, prices=PRICES, **{"settle_wait": 0, "deadline": 10.0, **settings}))
        made[-1].store.deadline = 10.0
        return made[-1]

    yield quota
    for each in made:
        assert each.flush(10)
    with_books = next((each for each in made if each._limits is not None), None)
    if with_books is not None:
        check_books(with_books.store, SIMPLE_ORG)
    for each in made:
        each.close()


def test_of_many_tasks_in_many_processes_exactly_those_go_that_the_budget_pays_for(
    url: str, make: Make, pool: list[Worker]
) -> None:
    """I-1: 4 processes × 64 tasks, a budget of 500 calls; nothing is refused while there is money left (F2)."""
    quota = make(limits=["$5/month"])
    settings = {"limits": ["$5/month"], "settle_wait": 60, "deadline": 10}
    for worker in pool:
        worker.open(store=url, **settings)
        worker.do("exactly", tasks=64)
    answers = [worker.said() for worker in pool]
    assert sum(answer["went"] for answer in answers) == 500
    (cell,) = (cell for key, cell in books(quota.store, SIMPLE_ORG).cells.items() if "month" in key)
    assert (cell.used, cell.held) == (500 * CENT, 0)
    (denied,) = quota.blocking.usage.denied()
    assert (denied.by, denied.calls) == ({"code": "budget_exceeded"}, sum(each["denied"] for each in answers))
    assert denied.calls == 64 * PROCESSES


def test_random_costs_in_many_processes_add_up(url: str, make: Make, pool: list[Worker]) -> None:
    """I-2, I-3: over eight limits a call; what was used is what the calls say, to the nano-dollar."""
    limits = [
        "$5/month",
        "$4/day",
        "$9/life",
        "$3/hour",
        "600 requests/minute",
        "50000 tokens/minute",
        "200 requests/hour",
        "8 concurrent",
    ]
    quota = make(limits=limits)
    settings = {"limits": limits, "settle_wait": 60, "deadline": 10}
    for seed, worker in enumerate(pool):
        worker.open(store=url, **settings)
        worker.do("mixed", seed=seed, calls=40)
    spent = sum(worker.said()["spent"] for worker in pool)
    assert sum(record.cost for record in quota.blocking.usage.records()) == spent * CENT // 10


@pytest.mark.parametrize("rounds", [8, pytest.param(100, marks=pytest.mark.slow, id="bounded-100")])
def test_what_is_taken_away_is_gone_with_the_next_call(
    url: str, make: Make, pool: list[Worker], rounds: int
) -> None:
    """F7, I-18: a key revoked, a project disabled, a limit lowered: in four processes nothing is admitted that began
    after the change was acknowledged.
    """
    quota = make(on_store_error="deny")
    tenancy = quota.blocking.tenancy
    org = tenancy.create_organization("Org").id
    taken_away = {
        "invalid_api_key": lambda project, key: tenancy.revoke_key(org, key),
        "disabled": lambda project, key: tenancy.disable(org, project),
        "budget_exceeded": lambda project, key: tenancy.update(org, project, limits=["$0.01/year"]),
    }
    for worker in pool:
        worker.open(store=url, settle_wait=0, deadline=10)
    for number in range(rounds):
        code, take_away = list(taken_away.items())[number % len(taken_away)]
        project = tenancy.create_project(org, f"Project {number}", org=org, limits=["$1000/year"]).id
        key = tenancy.create_key(project, org=org)
        for worker in pool:
            worker.do("hammer", key=key.secret)
        assert [worker.said() for worker in pool] == ["began"] * PROCESSES
        take_away(project, key.node.id)
        acknowledged = time.monotonic()
        for worker in pool:
            said = worker.said()
            assert said["last"] <= acknowledged, f"{code} after {said['last'] - acknowledged} s"
            assert said["code"] == code


def test_a_killed_process_loses_nothing_and_holds_nothing_for_long(url: str, make: Make) -> None:
    """I-7: what it had settled is there, what it held is charged at its bounded input when its lease ends."""
    settings = {"limits": ["$50/month"], "lease": 0.5, "deadline": 10}
    quota = make(**settings)
    worker = Worker()
    worker.open(store=url, settle_wait=0, **settings)
    worker.do("hold", settled=3)
    assert [worker.said() for _ in range(4)] == [0, 1, 2, "holds"]
    worker.end(kill=True)
    until_nothing_is_open(quota)
    records = [
        record for record in quota.blocking.usage.records() if record.cost or record.quality != "exact"
    ]
    assert Tally(record.quality for record in records) == {"exact": 3, "unsettled": 1}


@pytest.mark.slow
@pytest.mark.parametrize("kills", [pytest.param(20, id="bounded-20"), 200])
def test_processes_killed_at_any_moment_disturb_nobody(url: str, make: Make, kills: int) -> None:
    """I-7, F3: between reserve and settle. What was settled is there once, each call that was held is charged once, at
    its bounded input, and all calls of a process beside them went and are booked.
    """
    told = json.loads(run_module("tests.acceptance.killed", url, str(kills), "1", timeout=900))
    quota = make(**killed.SETTINGS)
    until_nothing_is_open(quota)
    booked: dict[str, tuple[str, int]] = {}
    for record in quota.blocking.usage.records():
        if (
            record.end_user is not None
        ):  # a process that stood still for a lease has a call charged, and corrects it
            _, before = booked.get(record.end_user, ("", 0))
            booked[record.end_user] = (record.quality, before + record.cost)
    bounded = input_bound(a_call(model="both", media=5), "calibrated")
    settled, let_lie = ("exact", 15 * CENT // 10), ("unsettled", bounded * CENT // 10)
    assert set(booked.values()) == {settled, let_lie}
    beside = [name for name in booked if name.startswith("beside.")]
    assert len(beside) == told["beside"]["calls"] > kills
    assert {booked[name] for name in [*told["settled"], *beside]} == {settled}
    assert {booked[f"{number}.held"] for number in range(kills)} == {let_lie}


def until_nothing_is_open(quota: Quota) -> None:
    """Calls, for nothing, until all leases of those that died have ended."""
    end = time.monotonic() + 30
    while books(quota.store, SIMPLE_ORG).open:
        assert time.monotonic() < end
        for _ in range(8):
            let_go(ask(quota, a_call(0))).settle(used(0))
        assert quota.flush(10)


class TestClocks:
    """Time on a store that has a clock of its own, or a file's."""

    def test_a_process_whose_clock_is_off_counts_in_the_right_window(self, url: str, make: Make) -> None:
        """I-13: an hour ahead and an hour behind; the limits of both are one."""
        right = make(limits=["3 requests/day"])
        let_go(ask(right)).settle(used(0))
        clocks = [lambda ms=ms: int(time.time() * 1000) + ms for ms in (3_600_000, -3_600_000)]
        others = [make(limits=["3 requests/day"], clock=clock) for clock in clocks]
        for other in others if url.startswith("redis") else others[1:]:
            let_go(ask(other)).settle(used(0))
        last = let_go(ask(right)) if not url.startswith("redis") else None
        if last is not None:
            last.settle(used(0))
        for quota in (right, *others[1:]):
            assert refused(ask(quota)).status == 429


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    """A store whose time a test owns."""
    if request.param == "sqlite":
        store = open_store(f"sqlite:///{tmp_path}/quota.db", clock)
    else:
        from quotaware.stores.redis import RedisStore

        server = request.getfixturevalue("valkey_url")
        store = RedisStore(f"{server}?prefix=t{secrets.token_hex(6)}", clock=clock)
    store.deadline = 10.0
    yield store
    store.close()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def days_end(clock: FakeClock, day: str, name: str) -> int:
    """Sets the clock to an hour before the end of a local day; when it ends."""
    from datetime import datetime, timedelta

    start = datetime.fromisoformat(day).replace(tzinfo=zone(name))
    end = int((start + timedelta(days=1)).timestamp() * 1000)
    clock.now = end - 3_600_000
    return end


@pytest.mark.parametrize(
    ("day", "name"),
    [
        ("2026-06-30", "UTC"),
        ("2026-03-29", "Europe/Berlin"),
        ("2026-10-25", "Europe/Berlin"),
        ("2026-10-03", "Australia/Lord_Howe"),
        ("2026-12-31", "Asia/Seoul"),
    ],
)
def test_a_reservation_settles_in_the_window_that_it_was_made_in(
    opened: Store, clock: FakeClock, day: str, name: str
) -> None:
    """I-14, I-15: month and year ends, days of 23 and 25 hours: the new window begins empty, the sum of both is the
    sum of the records.
    """
    end = days_end(clock, day, name)
    quota = Quota(
        opened, limits=["$1/day"], prices=PRICES, clock=clock, time_zone=name, settle_wait=0, deadline=10.0
    )
    before = let_go(ask(quota, a_call(60)))
    clock.now = end - 1
    assert refused(ask(quota, a_call(60))).status == 429
    clock.now = end
    after = let_go(ask(quota, a_call(60)))
    before.settle(used(50))
    after.settle(used(10))
    assert quota.flush(10)
    cells = books(opened, SIMPLE_ORG).cells
    assert sorted((cell.counter.until, cell.used, cell.held) for cell in cells.values()) == [
        (end, 50 * CENT, 0),
        (max(cell.counter.until for cell in cells.values()), 10 * CENT, 0),
    ]
    assert sum(record.cost for record in quota.blocking.usage.records()) == 60 * CENT
    let_go(ask(quota, a_call(90))).settle(used(0))
    assert quota.flush(10)
    check_books(opened, SIMPLE_ORG)
    assert quota.close(10)


# the first start


def started(url: str, pool: list[Worker], organization: str | None, admin_key: str = "") -> list[Any]:
    """What the workers answer who all start at once."""
    for worker in pool:
        worker.open(store=url, deadline=10, admin_key=admin_key)
    for worker in pool:
        worker.do("bootstrap", organization=organization)
    return [worker.said() for worker in pool]


def test_processes_that_start_at_once_make_one_organization_and_one_key(
    url: str, make: Make, pool: list[Worker]
) -> None:
    answers = started(url, pool, "StartupAI")
    (key,) = [answer["key"] for answer in answers if answer["key"] is not None]
    (org,) = {answer["organization"] for answer in answers}
    quota = make()
    place = quota.engine.directory.load_key(keys.digest(key))
    assert place is not None
    assert place.org == org
    assert [node.id for node in quota.blocking.tenancy.list(org, "key")] == [place.key]
    assert {answer["key"] for answer in started(url, pool, "StartupAI")} == {None}


@pytest.mark.parametrize("organization", ["StartupAI", None], ids=["bootstrap", "start"])
def test_processes_that_start_at_once_with_an_admin_key_of_the_environment_make_it_once(
    url: str, make: Make, pool: list[Worker], organization: str | None
) -> None:
    secret = keys.make("admin")
    for _ in range(2):
        answers = started(url, pool, organization, secret)
        assert secret not in str(answers)
        assert {answer.get("key") for answer in answers} == {None}
    quota = make()
    place = quota.engine.directory.load_key(keys.digest(secret))
    assert place is not None
    path = quota.engine.directory.load(*place)
    assert path.organization.name == (organization or "default")
    assert path.nodes[0].permissions == ("org:manage",)
    assert quota.store.orgs("", 10) == [place.org]
    assert [node.id for node in quota.blocking.tenancy.list(place.org, "key")] == [place.key]
