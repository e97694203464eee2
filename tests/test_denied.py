"""DenialCounter calls: each is counted once, by what and by whom, and a flood of them costs neither trips nor room."""

from __future__ import annotations

import logging
import random
import secrets
from collections import Counter as Tally
from collections.abc import Iterator
from pathlib import Path as File
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware import ConfigurationError, Quota
from quotaware.context import NOBODY, Identity
from quotaware.core.denied import is_of_denied
from quotaware.core.rollups import DAY_MS, Keep, bounds
from quotaware.core.totals import FOREVER_MS
from quotaware.denied import COUNTS, HAND_OVER_S, MODELS, NAMES, OTHER, ROW, DenialCounter
from quotaware.errors import ApiError, StoreError
from quotaware.ids import Ids
from quotaware.rollups import Folder
from quotaware.stores import copy
from quotaware.stores.lanes import Lanes
from quotaware.stores.memory import MemoryStore
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Store
from quotaware.stores.thread import LeaseTerms
from quotaware.tenancy import keys
from quotaware.tenancy.nodes import Node, Path
from quotaware.testing import FaultyStore
from quotaware.usage import UsageLog
from tests.calls import MODEL, a_call, a_quota, ask, let_go, refused, spend, used
from tests.sums import ORG, moment, set_zone
from tests.support import NOON, AuditedStore, FakeClock

HOUR_MS = 3_600_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["memory", "sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: File, clock: FakeClock) -> Iterator[Store]:
    urls = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path}/quota.db?durability=relaxed",
        "redis": lambda: f"{request.getfixturevalue('valkey_url')}?prefix=t{secrets.token_hex(6)}",
    }
    store = open_store(urls[request.param](), clock)
    yield store
    store.close()


def grown(quota: Quota) -> dict[str, Identity]:
    """Two projects of a team, one of the organization itself, each with a key that may make no call, one or two."""
    tenancy = quota.blocking.tenancy
    tenancy.create_organization("o", id="o")
    tenancy.create_team("o", "t", id="t", models=["tenth", "other"])
    for number, (id, parent) in enumerate({"p": "t", "q": "t", "r": "o"}.items()):
        tenancy.create_project(parent, id, org="o", id=id, limits=[f"{number} requests/life"])
        tenancy.create_key(id, org="o", id=f"k{id}")
    keys_ = {id: quota.store.read("o", [f"k{id}"]) for id in "pqr"}
    assert all(docs[0] for _, docs in keys_.values())
    made = {id: tenancy.get("o", f"k{id}").digest for id in "pqr"}
    return {id: Identity(key=digest) for id, digest in made.items()}


def by(quota: Quota, *names: str, **more: Any) -> dict[tuple[Any, ...], int]:
    return {tuple(total.by.values()): total.calls for total in quota.blocking.usage.denied(by=names, **more)}


# what is counted


def test_they_are_counted_by_reason_and_by_whose_they_are(store: Store, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, deadline=5)
    who = grown(quota)
    for id, times in {"p": 3, "q": 3, "r": 3}.items():
        for _ in range(times):
            outcome = ask(quota, a_call(provider="openai"), who[id])
            if not isinstance(outcome, ApiError):
                outcome.settle(used())
    refused(ask(quota, a_call(model="large"), who["p"]))
    refused(ask(quota, a_call(model="dear", operation="embeddings"), who["p"]))
    quota.blocking.tenancy.revoke_key("o", "kq")
    refused(ask(quota, by=who["q"]))
    refused(ask(quota, by=Identity(key=keys.digest(keys.make("live")))))
    refused(ask(quota))
    expected = {
        ("rate_limit_exceeded", "t", "p", "kp", "openai", "tenth", "chat"): 3,
        ("rate_limit_exceeded", "t", "q", "kq", "openai", "tenth", "chat"): 2,
        ("rate_limit_exceeded", None, "r", "kr", "openai", "tenth", "chat"): 1,
        ("model_not_allowed", "t", "p", "kp", None, "large", "chat"): 1,
        ("model_not_allowed", "t", "p", "kp", None, "dear", "embeddings"): 1,
        ("invalid_api_key", "t", "q", "kq", None, "tenth", "chat"): 1,
        ("invalid_api_key", None, None, None, None, "tenth", "chat"): 1,
        ("unattributed", None, None, None, None, "tenth", "chat"): 1,
    }
    everything = ("code", "team", "project", "key", "provider", "model", "operation")
    for fold in (False, True, True):
        if fold:
            for org in ("o", NOBODY.org):
                Folder(store).fold(org)
        assert by(quota, *everything) == expected
        assert by(quota, "code", organization="o") == {
            ("rate_limit_exceeded",): 6,
            ("model_not_allowed",): 2,
            ("invalid_api_key",): 1,
        }
        assert by(quota, "project", code="rate_limit_exceeded") == {("p",): 3, ("q",): 2, ("r",): 1}
        assert by(quota, "model", project="p") == {("tenth",): 3, ("large",): 1, ("dear",): 1}
        assert by(quota, "key", team="t", model="tenth") == {("kp",): 3, ("kq",): 3}
        assert [total.calls for total in quota.blocking.usage.denied(by=())] == [9, 2]
    assert sum(total.calls for total in quota.blocking.usage.denied()) == quota.stats["denied"] == 11
    assert quota.close()


def test_they_are_no_calls(store: Store, clock: FakeClock) -> None:
    """They stand in no record, no total, and are no use of a key."""
    quota = a_quota(store, clock=clock, deadline=5)
    who = grown(quota)
    spend(quota, by=who["q"])
    assert quota.flush(10)  # before its lease is over
    clock.advance(HOUR_MS)
    refused(ask(quota, by=who["q"]))
    refused(ask(quota, by=who["p"]))
    usage = quota.blocking.usage
    for _ in range(2):
        assert len(list(usage.records())) == 1
        ((total),) = usage.totals(by=("project",))
        assert (total.by, total.calls, "denied" in total.measures) == ({"project": "q"}, 1, False)
        assert usage.totals(by=("end_user", "model"))[0].calls == 1
        assert usage.last_used(["kp", "kq"]).keys() == {"kq"}
        assert by(quota, "project") == {("q",): 1, ("p",): 1}
        Folder(store).fold("o")
    assert quota.close()


def test_they_are_told_by_hours_and_days_of_the_zone_and_since_and_until(
    store: Store, clock: FakeClock
) -> None:
    """To the minute, as long as the records are there."""
    quota = a_quota(store, clock=clock, limits=["0 requests/day"], time_zone="Asia/Kathmandu", deadline=5)
    times = [0, 14 * 60_000, 15 * 60_000, 16 * 60_000, 7 * HOUR_MS]  # an hour begins there at a quarter past
    for after in times:
        clock.now = NOON + after
        refused(ask(quota))
        quota.flush(5)
    for _ in range(2):
        hours = quota.blocking.usage.denied(by=(), bucket="hour")
        assert [(total.bucket, total.calls) for total in hours] == [
            (moment(NOON - 45 * 60_000), 2),
            (moment(NOON + 15 * 60_000), 2),
            (moment(NOON + 15 * 60_000 + 6 * HOUR_MS), 1),
        ]
        days = quota.blocking.usage.denied(by=(), bucket="day")
        assert [total.calls for total in days] == [4, 1]  # midnight is at a quarter past six there
        (cut,) = quota.blocking.usage.denied(
            since=moment(NOON + 14 * 60_000), until=moment(NOON + 16 * 60_000)
        )
        assert (cut.by, cut.calls) == ({"code": "rate_limit_exceeded"}, 2)
        assert (cut.since, cut.until) == (moment(NOON + 14 * 60_000), moment(NOON + 16 * 60_000))
        assert quota.blocking.usage.denied(since=moment(NOON + 8 * HOUR_MS)) == []
        assert quota.blocking.usage.denied(since=moment(NOON), until=moment(NOON)) == []
        Folder(store).fold("org_app")
    assert quota.close()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_awaited_it_is_the_same_and_what_there_is_not_is_named(clock: FakeClock) -> None:
    async with a_quota("memory://", clock=clock, limits=["0 requests/day"]) as quota:
        refused(ask(quota))
        assert await quota.usage.denied(by="code") == quota.blocking.usage.denied(by=("code",))
        for named in ({"by": ("status",)}, {"by": ("tag",)}, {"end_user": "ann"}, {"by": ("nothing",)}):
            with pytest.raises(ConfigurationError, match="is none of team, project, key, provider, model"):
                await quota.usage.denied(**named)  # type: ignore[arg-type]
        with pytest.raises(ConfigurationError, match="'code' is none of"):
            await quota.usage.totals(by=("code",))
        with pytest.raises(ConfigurationError, match="bucket"):
            await quota.usage.denied(bucket="fortnight")  # type: ignore[arg-type]


def test_in_shadow_and_where_it_is_only_asked_nothing_is_denied(clock: FakeClock) -> None:
    quota = a_quota("memory://", clock=clock, limits=["0 requests/day"], shadow=True)
    let_go(ask(quota)).settle(used())
    assert by(quota) == {}
    other = a_quota("memory://", clock=clock, limits=["0 requests/day"])
    assert not other.blocking.explain(model=MODEL).allowed
    assert by(other) == {}
    for each in (quota, other):
        each.close()


def test_those_that_are_let_wait_are_counted_once_where_they_are_refused_in_the_end(clock: FakeClock) -> None:
    quota = a_quota("memory://", limits=["1 concurrent"], settle_wait=0.05)
    holds = let_go(ask(quota))
    refused(ask(quota, may_wait=True))
    assert by(quota, "code") == {("rate_limit_exceeded",): 1}
    holds.settle(used())
    quota.close()


# exactly once

STEPS = st.lists(
    st.sampled_from([*["deny"] * 4, "minute", "hours", "hand over", "fold", "zone"]), max_size=40
)


@settings(deadline=None, max_examples=80)
@given(
    steps=STEPS,
    page=st.integers(1, 5),
    zones=st.lists(
        st.sampled_from(["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"]),
        min_size=1,
        max_size=2,
    ),
    since=st.one_of(st.none(), st.integers(-HOUR_MS, 60 * HOUR_MS)),
    length=st.one_of(st.none(), st.integers(0, 50 * HOUR_MS)),
    dims=st.sampled_from([(), ("code",), ("project", "model"), ("key", "code")]),
    bucket=st.sampled_from([None, "hour", "day"]),
)
def test_whenever_they_are_handed_over_and_folded_each_counts_once(
    steps, page, zones, since, length, dims, bucket
) -> None:
    """Against a plain count of (minute, whose, what), over any period cut at minutes."""
    clock = FakeClock()
    store = MemoryStore(clock)
    set_zone(store, zones[0])
    folder, chance = Folder(store, page=page), random.Random(len(steps))
    denied = a_counter(store, clock)
    noted: Tally[tuple[int, str, str, str, str]] = Tally()
    for step in steps:
        match step:
            case "deny":
                where = tuple(chance.choice(["x", "y"]) for _ in range(4))
                project, key, model, code = where
                denied.note(ORG, at_place(project, key), a_call(model=model), code, clock())
                noted[(clock() - clock() % 60_000, *where)] += 1
            case "minute":
                clock.advance(chance.randrange(90_000))
            case "hours":
                clock.advance(chance.randrange(9 * HOUR_MS))
            case "hand over":
                denied.hand_over(clock())
            case "fold":
                folder.fold(ORG)
            case "zone" if bucket is None:
                set_zone(store, chance.choice(zones))
    denied.hand_over(clock())
    begin = None if since is None else NOON + since - since % 60_000
    end = None if length is None else (begin or NOON) + length - length % 60_000
    log = UsageLog(store, folder, clock)
    totals = log.denied(ORG, since=begin and moment(begin), until=end and moment(end), by=dims, bucket=bucket)
    expected: Tally[tuple[Any, ...]] = Tally()
    for (minute, *where), n in noted.items():
        if (begin or 0) <= minute < (end or FOREVER_MS):
            values = dict(zip(("project", "key", "model", "code"), where, strict=True))
            label = moment(bounds(bucket, minute, zones[0])[0]) if bucket else None
            expected[(label, *(values[name] for name in dims))] += n
    assert {(total.bucket, *total.by.values()): total.calls for total in totals} == expected
    assert list(log.records(ORG)) == []


def at_place(project: str = "p", key: str = "k") -> Path:
    nodes = (
        Node(key, "key", project, None),
        Node(project, "project", ORG, "P"),
        Node(ORG, "organization", "", "O"),
    )
    return Path(ORG, 1, nodes)


def a_counter(store: Store, clock: FakeClock, **more: Any) -> DenialCounter:
    lanes = Lanes(store, clock, LeaseTerms(), 1.0)
    counter = DenialCounter(lanes, Ids(), more.pop("lost", lambda: None), **more)
    lanes.told = lambda org, answer, ops: counter.heard(org)
    return counter


def test_threads_at_once_lose_none_and_count_none_twice(clock: FakeClock) -> None:
    store = MemoryStore(clock)
    set_zone(store, "UTC")
    denied = a_counter(store, clock)

    def note(number: int) -> None:
        for n in range(2000):
            denied.note(ORG, at_place(f"p{n % 3}"), a_call(), "c", clock())
            if n % 100 == number:
                denied.hand_over(clock())

    threads = [Thread(target=note, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    denied.hand_over(clock())
    assert sum(total.calls for total in UsageLog(store).denied(ORG)) == 8000


@pytest.mark.parametrize("kind", ["lost", "refused"])
def test_where_the_store_fails_they_are_sent_again_and_count_once(clock: FakeClock, kind: Any) -> None:
    faulty = FaultyStore(MemoryStore(clock))
    quota = a_quota(faulty, clock=clock, limits=["0 requests/day"])
    refused(ask(quota))
    faulty.fail(1, kind)
    quota.engine.denied.hand_over(clock())
    assert quota.flush(5)
    assert by(quota, "code") == {("rate_limit_exceeded",): 1}
    quota.close()


def test_while_the_store_is_away_they_are_counted_in_memory(clock: FakeClock) -> None:
    """One record waits for the store at most; with the store back all are there."""
    faulty = FaultyStore(MemoryStore(clock))
    timer = Timer()
    quota = a_quota(faulty, clock=clock, limits=["0 requests/day"], deadline=0.2)
    quota.engine.denied._timer = timer
    quota._prepare()
    faulty.fail()
    for _ in range(20):
        assert refused(ask(quota)).code == "store_unavailable"
        timer.now += HAND_OVER_S
        quota.engine.denied.turn(clock())
    assert quota.flush(0.1) is False
    assert len(quota._lanes._threads) == 1
    (thread,) = quota._lanes._threads.values()
    assert len(thread._backlog) <= 2
    faulty.heal()
    assert quota.flush(5)
    assert by(quota, "code") == {("store_unavailable",): 20}
    quota.close()


class OneIsLost(MemoryStore):
    """Takes nothing of one organization."""

    def apply(self, work: Any, deadline: float) -> Any:
        kept = {org: ops for org, ops in work.items() if org != "org_lost"}
        return {**super().apply(kept, deadline), **dict.fromkeys(work.keys() - kept, StoreError("lost"))}


def test_one_organization_that_is_lost_keeps_no_other_from_being_counted(clock: FakeClock) -> None:
    store, timer = OneIsLost(clock), Timer()
    denied = a_counter(store, clock, timer=timer)
    place = Path("org_lost", 0, ())
    for n in range(1, 6):
        denied.note("org_lost", place, a_call(), "c", clock())
        denied.note(ORG, at_place(), a_call(), "c", clock())
        timer.now += HAND_OVER_S
        denied.turn(clock())
        assert sum(total.calls for total in UsageLog(store).denied(ORG)) == n
    assert list(denied._counts) == ["org_lost"]
    assert sum(denied._counts["org_lost"].values()) == 4  # one was handed over, and waits


def test_also_where_no_answer_of_the_store_is_needed_to_deny_there_is_who_hands_over(
    clock: FakeClock,
) -> None:
    quota = a_quota("memory://", clock=clock)
    refused(ask(quota))
    assert quota._lanes._beside._running
    quota.close()


def test_a_process_whose_clock_is_ahead_counts_in_the_stores_time(clock: FakeClock) -> None:
    """What it denied is not in an hour that has not begun, wherever its record stands."""
    store = MemoryStore(clock)
    set_zone(store, "UTC")
    denied, folder = a_counter(store, clock), Folder(store)
    denied.note(ORG, at_place(), a_call(), "c", clock() + 2 * HOUR_MS)
    denied.hand_over(clock() + 2 * HOUR_MS)
    for _ in range(2):
        (total,) = UsageLog(store, folder, clock).denied(ORG, bucket="hour")
        assert (total.bucket, total.calls) == (moment(NOON), 1)
        folder.fold(ORG)


class Timer:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_they_reach_the_store_within_seconds_by_themselves(clock: FakeClock) -> None:
    store, timer = AuditedStore(clock), Timer()
    set_zone(store, "UTC")
    denied = a_counter(store, clock, timer=timer)
    denied.turn(clock())
    assert store.steps["Settle"] == 0
    timer.now = 100.0
    denied.note(ORG, at_place(), a_call(), "c", clock())
    timer.now += HAND_OVER_S / 2
    denied.note(ORG, at_place("q"), a_call(), "c", clock())
    denied.turn(clock())
    assert store.steps["Settle"] == 0
    timer.now += HAND_OVER_S / 2
    denied.turn(clock())
    denied.turn(clock())
    assert store.steps["Settle"] == 1
    (total,) = UsageLog(store).denied(ORG)
    assert total.calls == 2


def test_a_process_hands_over_what_it_has_when_it_ends(tmp_path: File, clock: FakeClock) -> None:
    url = f"sqlite:///{tmp_path}/quota.db"
    quota = a_quota(url, limits=["0 requests/day"])
    refused(ask(quota))
    assert quota.close()
    again = a_quota(url, limits=["0 requests/day"])
    assert by(again, "code") == {("rate_limit_exceeded",): 1}
    assert again.close()


def test_a_forked_child_does_not_hand_over_its_parents(clock: FakeClock) -> None:
    store = MemoryStore(clock)
    denied = a_counter(store, clock)
    denied.note(ORG, at_place(), a_call(), "c", clock())
    denied.begin_again()  # what a child does first
    denied.hand_over(clock())
    assert store.records(ORG, 0, FOREVER_MS, "", 9) == []


# a flood


def test_a_denial_costs_no_trip_of_its_own(clock: FakeClock) -> None:
    store = AuditedStore(clock)
    quota = a_quota(store, clock=clock)
    who = grown(quota)
    refused(ask(quota, by=who["p"]))
    store.steps.clear()
    for _ in range(500):
        refused(ask(quota, by=who["p"]))
    assert store.steps["Reserve"] == 500
    assert store.steps["Settle"] <= 1  # where five seconds were over
    quota.flush()
    assert store.steps["Settle"] <= 2
    quota.close()


@pytest.mark.parametrize("calls", [100_000, pytest.param(1_000_000, marks=pytest.mark.slow)])
def test_a_flood_with_many_names_stays_small_and_says_nothing(
    calls: int, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A model for each of 100,000 calls; and so many organizations: in memory, in the store and in the log."""
    caplog.set_level(logging.DEBUG)
    store = MemoryStore(clock)
    denied = a_counter(store, clock)
    place = at_place()
    for n in range(calls):
        denied.note(ORG, place, a_call(model=f"m{n % 100_000}" + "x" * 300), "c", clock())
        assert n % 5000 or denied._size <= COUNTS
    assert denied._size <= MODELS + 1
    denied.hand_over(clock())
    log = UsageLog(store)
    totals = log.denied(ORG, by=("model",))
    assert sum(total.calls for total in totals) == calls
    assert len(totals) == MODELS + 1
    assert totals[0].by == {"model": OTHER}
    assert {len(str(total.by["model"])) for total in totals[1:]} <= {200}
    rows = store.records(ORG, 0, FOREVER_MS, "", 10**6)
    assert len(rows) <= 1 + MODELS // ROW + calls // COUNTS
    assert all(is_of_denied(row) for _, row in rows)
    for n in range(2 * NAMES):
        denied.note(f"org_{n % 1000}", Path(f"org_{n % 1000}", 0, ()), a_call(model=f"m{n}"), "c", clock())
    assert denied._size <= COUNTS
    assert denied._named <= NAMES
    clock.advance(HOUR_MS)
    denied.note(ORG, place, a_call(model="another hour"), "c", clock())
    assert (denied._named, len(denied._models)) == (1, 1)
    assert caplog.records == []


def test_where_memory_is_full_and_the_store_away_the_rest_is_told_as_uncounted(clock: FakeClock) -> None:
    faulty = FaultyStore(MemoryStore(clock))
    lost: list[None] = []
    denied = a_counter(faulty, clock, lost=lambda: lost.append(None))
    faulty.fail()
    denied.note(ORG, at_place(), a_call(), "c", clock())
    denied.hand_over(clock())
    assert not denied._lanes.flush(0.05)
    for n in range(COUNTS + 10):
        denied.note(ORG, at_place(f"p{n}"), a_call(), "c", clock())
    assert len(lost) == 10
    denied.note(ORG, at_place("p7"), a_call(), "c", clock())  # one that is known is counted on
    assert len(lost) == 10
    faulty.heal()
    assert denied._lanes.flush(5)
    denied.hand_over(clock())
    assert denied._lanes.flush(5)
    totals = UsageLog(faulty).denied(ORG, by=("project",))
    assert sum(total.calls for total in totals) == COUNTS + 2
    denied._lanes.close()


def test_a_key_that_was_put_where_a_model_belongs_is_kept_by_nobody(clock: FakeClock) -> None:
    quota = a_quota("memory://", clock=clock, limits=["0 requests/day"])
    secret = keys.make("live")
    refused(ask(quota, a_call(model=secret)))
    refused(ask(quota, a_call(model="x" * 185 + secret)))  # cut in the middle of it
    models = [str(model) for (model,) in by(quota, "model")]
    assert "qw_live_…" in models
    assert not any(secret[8:12] in model for model in models)
    quota.close()


# wherever the records go


def test_they_go_along_to_an_archive_and_to_another_store(clock: FakeClock) -> None:
    archive = MemoryStore(clock)
    quota = a_quota(MemoryStore(clock), clock=clock, limits=["0 requests/day"], records=archive)
    refused(ask(quota))
    quota.flush()
    assert quota._archive is not None
    quota._archive.copy("org_app")
    assert by(quota, "code") == {("rate_limit_exceeded",): 1}
    target = MemoryStore(clock)
    copy(quota.store, target)
    moved = a_quota(target, clock=clock, limits=["0 requests/day"])
    refused(ask(moved))
    assert by(moved, "code") == {("rate_limit_exceeded",): 2}
    for each in (quota, moved):
        each.close()


def test_hours_are_kept_as_long_as_the_sums_of_calls(clock: FakeClock) -> None:
    """What is gone is left out, and the answer says from when on it is."""
    store = MemoryStore(clock)
    set_zone(store, "UTC")
    keep = Keep(hour=DAY_MS, day=10 * DAY_MS)
    denied, folder = a_counter(store, clock), Folder(store, keep=keep)
    for _ in range(3):
        denied.note(ORG, at_place(), a_call(), "c", clock())
        denied.hand_over(clock())
        folder.fold(ORG)
        clock.advance(DAY_MS)
    log = UsageLog(store, folder, clock)
    assert [total.calls for total in log.denied(ORG, by=(), bucket="day")] == [1, 1, 1]
    hours = log.denied(ORG, by=(), bucket="hour")
    assert [total.calls for total in hours] == [1]


def test_the_face_flushes_and_raises_what_the_store_raises(clock: FakeClock) -> None:
    faulty = FaultyStore(MemoryStore(clock))
    quota = a_quota(faulty, clock=clock, limits=["0 requests/day"], deadline=0.2)
    refused(ask(quota))
    faulty.fail()
    with pytest.raises(StoreError):
        quota.blocking.usage.denied()
    faulty.heal()
    assert quota.close(5)
