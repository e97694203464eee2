"""Totals: at every moment exactly what the records say, from the sums and what is behind them."""

from __future__ import annotations

import json
from collections import Counter as Tally
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware import ConfigurationError, Quota, StoreError, Usage
from quotaware.context import Identity
from quotaware.core.rollups import CUBES, DAY_MS, OTHER, ROSTERS, Cell, Keep, bounds, tags_of
from quotaware.core.steps import Row, Sum
from quotaware.core.totals import FOREVER_MS, Total, dims_text
from quotaware.rollups import Folder, zone_of
from quotaware.stores.memory import MemoryStore
from quotaware.usage import UsageLog, UsageRecord
from tests.calls import CENT, a_quota, audited, let_go, spend, used
from tests.calls import ask as admit
from tests.sums import EPOCH, ORG, Caller, check, moment, ms, plain, set_zone
from tests.support import NOON, AuditedStore, FakeClock

HOUR = timedelta(hours=1)


class TrimmedStore(MemoryStore):
    """Forgets its oldest records where it is told to, as a store with a retention does; counts what is read."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.read_rows = 0
        self.counted: Tally[str] = Tally()

    def forget(self, keep: int) -> None:
        rows = self._orgs[ORG].rows
        while len(rows) > keep:
            rows.popleft()

    def forget_hours(self, cube: str, count: int) -> None:
        sums = self._orgs[ORG].sums
        for place in [place for place in sums if place[0].startswith(f"{cube}.hour")][:count]:
            del sums[place]

    def records(
        self, org: str, since: int, until: int, after: str, limit: int, back: bool = False
    ) -> list[tuple[str, Row]]:
        found = super().records(org, since, until, after, limit, back)
        self.read_rows += len(found)
        self.counted["records"] += 1
        return found

    def sums(self, org: str, cube: str, since: int, until: int, lead: str = "") -> list[Sum]:
        self.counted["sums"] += 1
        return super().sums(org, cube, since, until, lead)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> TrimmedStore:
    return TrimmedStore(clock)


@pytest.fixture
def caller(store: TrimmedStore, clock: FakeClock) -> Caller:
    return Caller(store, clock)


@pytest.fixture
def folder(store: TrimmedStore) -> Folder:
    return Folder(store)


@pytest.fixture
def log(store: TrimmedStore, folder: Folder, clock: FakeClock) -> UsageLog:
    return UsageLog(store, folder, clock)


def records(log: UsageLog, total: Total | None = None) -> list[UsageRecord]:
    """All records, or those that a total covers."""
    return list(log.records(ORG, since=total and total.since, until=total and total.until))


# exactness

BYS = [
    *((), ("model",), ("project", "key"), ("team", "status"), ("end_user",), ("project", "tag")),
    *(("end_user", "model"), ("tag", "key"), ("member", "operation")),
]
LENGTHS = [timedelta(minutes=20), timedelta(hours=7), timedelta(days=1), timedelta(days=3)]
WHERES: list[dict[str, Any]] = [
    *(
        {},
        {"project": "p1"},
        {"team": "t1"},
        {"team": "t1", "project": "p1", "member": "mem_1"},
        {"model": "small-2"},
        {"status": 200},
        {"end_user": "ann"},
        {"tag": "job=nightly"},
    ),
]
ZONES = ["UTC", "Europe/Berlin", "Asia/Kathmandu", "Australia/Lord_Howe"]


@settings(deadline=None, max_examples=100)
@given(
    steps=st.lists(
        st.sampled_from(["call", "call", "lapse", "correct", "fold", "wait", "zone"]), max_size=50
    ),
    page=st.integers(1, 9),
    zones=st.lists(st.sampled_from(ZONES), min_size=1, max_size=3),
    start=st.sampled_from([NOON, 1_774_742_400_000, 1_792_875_600_000]),
    since=st.one_of(st.none(), st.integers(-DAY_MS, 5 * DAY_MS)),
    length=st.one_of(st.none(), st.integers(-1, 4 * DAY_MS)),
    by=st.sampled_from(BYS),
    where=st.sampled_from(WHERES),
    bucket=st.sampled_from([None, "hour", "day", "week", "month", *LENGTHS]),
    zone=st.sampled_from([None, None, *ZONES]),
)
def test_totals_are_what_the_records_say(
    steps, page, zones, start, since, length, by, where, bucket, zone
) -> None:
    """Whatever was folded when and in which zone, corrections, days of 23 and 25 hours, periods cut anywhere, told in
    any buckets of any zone.
    """
    clock = FakeClock(start)
    store = TrimmedStore(clock)
    set_zone(store, zones[0])
    caller, folder = Caller(store, clock, len(steps)), Folder(store, page=page)
    for step in steps:
        match step:
            case "call":
                caller.call()
            case "lapse":
                caller.lapse()
            case "correct":
                caller.correct()
            case "fold":
                folder.fold(ORG)
            case "wait":
                clock.advance(caller.chance.randrange(9 * 3_600_000))
            case "zone":
                set_zone(store, caller.chance.choice(zones))
    begin = None if since is None else moment(start + since)
    end = None if length is None else (begin or moment(start)) + timedelta(milliseconds=length)
    if isinstance(bucket, timedelta):
        begin, end = begin or moment(start), end or moment(start + 5 * DAY_MS)
    log = UsageLog(store, folder, clock)
    totals = log.totals(ORG, since=begin, until=end, by=by, bucket=bucket, time_zone=zone, **where)
    found = list(log.records(ORG, since=begin, until=end))
    check(totals, plain(found, by, bucket, zone or zone_of(store, ORG), where, begin or moment(0)))
    for total in totals:
        assert bucket or (total.since, total.until) == (begin, end)


def test_the_page_of_a_total_of_all_calls_is_the_largest_first(log: UsageLog, caller: Caller) -> None:
    for _ in range(30):
        caller.call()
    totals = log.totals(ORG, by=("project", "model"))
    assert [total.cost for total in totals] == sorted((total.cost for total in totals), reverse=True)
    assert {tuple(total.by) for total in totals} == {("project", "model")}
    days = log.totals(ORG, by=(), bucket="day")
    assert [(total.bucket, total.since, total.until) for total in days] == [
        (moment(NOON - NOON % DAY_MS), moment(NOON - NOON % DAY_MS), moment(NOON - NOON % DAY_MS + DAY_MS))
    ]


def test_one_dimension_can_be_named_without_a_list(log: UsageLog, caller: Caller) -> None:
    caller.call(model="m")
    assert log.totals(ORG, by="model") == log.totals(ORG, by=["model"]) == log.totals(ORG)


def test_of_nothing_there_is_no_total(log: UsageLog, caller: Caller) -> None:
    assert log.totals(ORG) == log.totals(ORG, by=("end_user", "model")) == []
    caller.call()
    now = moment(caller.clock.now)
    assert log.totals(ORG, since=now + HOUR) == log.totals(ORG, since=now, until=now - HOUR) == []
    assert log.totals(ORG, project="nowhere") == []
    assert log.totals("org_b") == []


def test_periods_at_the_ends_of_the_calendar(log: UsageLog, caller: Caller, folder: Folder) -> None:
    caller.call()
    folder.fold(ORG)
    first, last = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
    for by in ((), ("end_user", "model")):
        assert [total.calls for total in log.totals(ORG, since=first, until=last, by=by)] == [1]
        assert log.totals(ORG, since=last, by=by) == []
        assert log.totals(ORG, until=first, by=by) == []


@pytest.mark.parametrize(
    ("asked", "field", "said"),
    [
        ({"by": ("model", "colour")}, "by", "'colour' is none of team"),
        ({"by": "models"}, "by", "'models' is none of team"),
        ({"colour": "red"}, "by", "'colour' is none of team"),
        ({"bucket": "fortnight"}, "bucket", "'fortnight' is neither"),
        ({"bucket": timedelta(seconds=59)}, "bucket", "0:00:59 is no minute or more"),
        ({"bucket": timedelta(seconds=90, milliseconds=1)}, "bucket", "in whole seconds"),
        ({"bucket": timedelta(hours=1)}, "bucket", "needs since and until"),
        (
            {"bucket": timedelta(minutes=1), "since": moment(0), "until": moment(NOON)},
            "bucket",
            "at most 10000 buckets",
        ),
        ({"time_zone": "Mars/Olympus"}, "time_zone", "unknown time zone"),
    ],
)
def test_what_there_is_not_is_named(log: UsageLog, asked: Any, field: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as error:
        log.totals(ORG, **asked)
    assert error.value.field == field


def test_a_total_says_its_cost_in_dollars_and_how_long_calls_took(log: UsageLog, caller: Caller) -> None:
    caller.lapse()
    (none,) = log.totals(ORG, by=())
    assert (none.mean_ms, none.percentile_ms(0.95), none.timed, none.unsettled) == (0.0, None, 0, 1)
    caller.correct()
    caller.call()
    (total,) = log.totals(ORG, by=())
    assert total.cost_usd * 10**9 == total.cost
    assert total.mean_ms == total.duration_ms / 2
    assert (total.calls, total.timed, total.unsettled, total.corrected) == (2, 2, 1, 1)


# what is behind the sums


def test_much_that_is_behind_is_folded_first(
    log: UsageLog, store: TrimmedStore, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotaware.totals.PAGE", 10)
    for _ in range(9):
        caller.call()
    log.totals(ORG)
    assert store.folded(ORG) == ""
    caller.call()
    caller.clock.advance(1)
    check(log.totals(ORG), plain(records(log), ("model",)))
    assert store.folded(ORG) == store.records(ORG, 0, FOREVER_MS, "", 99)[-1][0]
    for _ in range(25):
        caller.call()
    caller.clock.advance(1)
    check(log.totals(ORG), plain(records(log), ("model",)))


def test_where_another_folds_it_is_left_to_it(
    log: UsageLog, store: TrimmedStore, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotaware.totals.PAGE", 2)
    assert Folder(store).turn.take(ORG)
    for _ in range(5):
        caller.call()
    check(log.totals(ORG), plain(records(log), ("model",)))
    assert store.folded(ORG) == ""


def test_a_look_that_is_disturbed_is_taken_again(
    log: UsageLog, store: TrimmedStore, caller: Caller, folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another folds between the sums and the records behind them: nothing is counted twice or left out."""
    monkeypatch.setattr("quotaware.totals.PAUSE_S", (0.0, 0.0))
    caller.call()
    folder.fold(ORG)
    read, disturb = store.sums, [3]

    def disturbed(org: str, cube: str, since: int, until: int, lead: str) -> list[Sum]:
        found = read(org, cube, since, until, lead)
        if disturb[0]:
            disturb[0] -= 1
            caller.call()
            folder.fold(ORG)
        return found

    monkeypatch.setattr(store, "sums", disturbed)
    check(log.totals(ORG), plain(records(log), ("model",)))
    assert disturb == [0]
    disturb[0] = 1000
    with pytest.raises(StoreError, match="kept moving"):
        log.totals(ORG)
    assert Folder(store).turn.take(ORG)  # nothing is left behind that keeps others from folding


def test_answers_while_others_call_and_fold_never_go_back_or_ahead(
    log: UsageLog, store: TrimmedStore, caller: Caller
) -> None:
    """An answer counts what was there at some moment while it was made, never fewer than before."""
    ended = False

    def work() -> None:
        nonlocal ended
        for number in range(800):
            caller.call(project="p")
            if number % 7 == 0:
                Folder(store, page=5).fold(ORG)
        ended = True

    thread = Thread(target=work)
    thread.start()
    before = 0
    while not ended:
        booked = len(store._orgs[ORG].rows) if ORG in store._orgs else 0
        calls = sum(total.calls for total in log.totals(ORG, by=("project",)))
        assert before <= calls
        assert booked <= calls <= len(store._orgs[ORG].rows if ORG in store._orgs else ())
        before = calls
    thread.join()
    check(log.totals(ORG), plain(records(log), ("model",)))


# what is no longer there


def made(caller: Caller, clock: FakeClock, hours: int = 60) -> None:
    """A call every twenty minutes."""
    for _ in range(3 * hours):
        caller.call()
        clock.now += 20 * 60_000 - 5


@pytest.mark.parametrize("minutes", [7, 90, 1501])
@pytest.mark.parametrize("by", [("model",), ("end_user",), ("tag",)])
def test_where_the_records_of_an_edge_are_gone_the_answer_is_wider_and_says_so(
    log: UsageLog, store: TrimmedStore, caller: Caller, clock: FakeClock, minutes: int, by: tuple[str, ...]
) -> None:
    """By hours where there are hours, else by days; what is behind the sums is told of the same period."""
    made(caller, clock)
    everything = records(log)
    while Folder(store).fold(ORG):
        pass
    since, until = moment(NOON) + timedelta(minutes=minutes), moment(NOON) + timedelta(minutes=minutes + 1800)
    exact = log.totals(ORG, since=since, until=until, by=by)
    check(exact, plain([each for each in everything if since <= each.at < until], by))
    assert {(total.since, total.until) for total in exact} == {(since, until)}
    store.forget(2)
    caller.call()
    everything += records(log)[-1:]
    wide = log.totals(ORG, since=since, until=until, by=by)
    unit = "hour" if by == ("model",) else "day"
    begin, end = (
        moment(bounds(unit, int(each.timestamp() * 1000), "UTC")[n]) for n, each in enumerate((since, until))
    )
    assert {(total.since, total.until) for total in wide} == {(begin, end)}
    check(wide, plain([each for each in everything if begin <= each.at < end], by))


def test_where_only_the_hours_are_gone_the_edge_is_made_of_records(
    log: UsageLog, store: TrimmedStore, caller: Caller, clock: FakeClock
) -> None:
    made(caller, clock)
    while Folder(store, keep=Keep(hour=0)).fold(ORG):
        pass
    store.forget_hours(
        "models", 10
    )  # a few of a day's hours, or all: what is left is not taken for the whole
    since, until = moment(NOON) + timedelta(minutes=7), moment(NOON) + timedelta(minutes=2000)
    check(
        log.totals(ORG, since=since, until=until),
        plain(log.records(ORG, since=since, until=until), ("model",)),
    )
    everything = records(log)
    store.forget(0)
    totals = log.totals(ORG, since=since, until=until)
    begin, end = moment(NOON - NOON % DAY_MS), moment(NOON + 34 * 3_600_000)  # its own hours are all there
    assert {(total.since, total.until) for total in totals} == {(begin, end)}
    check(totals, plain([each for each in everything if begin <= each.at < end], ("model",)))


def test_what_only_records_know_is_answered_as_far_back_as_they_are_kept(
    log: UsageLog, store: TrimmedStore, caller: Caller, clock: FakeClock
) -> None:
    made(caller, clock)
    by = ("end_user", "model")
    check(log.totals(ORG, by=by), plain(records(log), by))
    while Folder(store).fold(ORG):
        pass
    store.forget(50)
    totals = log.totals(ORG, by=by, bucket="hour")
    oldest = store._orgs[ORG].rows[0][0][0]
    assert min(total.since for total in totals if total.since) == moment(oldest + 1)
    found = [each for each in records(log) if each.at > moment(oldest)]
    check(totals, plain(found, by, "hour"))
    later = log.totals(ORG, by=by, since=moment(oldest) + HOUR)
    assert {total.since for total in later} == {moment(oldest) + HOUR}
    store.forget(0)
    assert log.totals(ORG, by=by) == []


def test_records_that_go_while_they_are_read_are_not_half_told_of(
    log: UsageLog, store: TrimmedStore, caller: Caller, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("quotaware.totals.PAGE", 10)
    monkeypatch.setattr("quotaware.totals.PAUSE_S", (0.0, 0.0))
    made(caller, clock)
    while Folder(store).fold(ORG):
        pass
    everything, read = records(log), store.records
    store.forget(170)

    def going(*asked: Any) -> list[tuple[str, Row]]:
        found = read(*asked)
        store.forget(len(store._orgs[ORG].rows) - 1)
        return found

    monkeypatch.setattr(store, "records", going)
    totals = log.totals(ORG, by=("end_user", "model"))
    (since,) = {total.since for total in totals}
    assert since is not None
    check(totals, plain([each for each in everything if each.at >= since], ("end_user", "model")))


def test_of_sums_that_are_kept_no_longer_the_answer_is_narrower_and_says_so(
    log: UsageLog, store: TrimmedStore, caller: Caller, clock: FakeClock, folder: Folder
) -> None:
    caller.call()
    folder.fold(ORG)
    clock.advance(399 * DAY_MS)
    assert [(total.calls, total.since) for total in log.totals(ORG, by=())] == [(1, None)]
    assert log.totals(ORG, by=(), bucket="hour") == []
    clock.advance(2 * DAY_MS)
    caller.call()
    (total,) = log.totals(ORG, by=())
    midnight = moment(clock.now - clock.now % DAY_MS)
    assert (total.calls, total.since) == (1, midnight - timedelta(days=400))
    (total,) = log.totals(ORG, by=(), since=midnight)
    assert (total.calls, total.since) == (1, midnight)
    (hour,) = log.totals(ORG, by=(), bucket="hour")
    assert hour.calls == 1


def test_after_a_change_of_the_zone_the_older_days_are_told_in_the_new_one(
    log: UsageLog, store: TrimmedStore, caller: Caller, clock: FakeClock, folder: Folder
) -> None:
    """A period is exact all the same: the days of both zones are cut, each where it lies."""
    set_zone(store, "Asia/Kathmandu")
    made(caller, clock, 30)
    folder.fold(ORG)
    set_zone(store, "Europe/Berlin")
    made(caller, clock, 30)
    folder.fold(ORG)
    for bucket in ("hour", "day", "week"):
        everything = log.totals(ORG, by=(), bucket=bucket)
        check(everything, plain(records(log), (), bucket, "Europe/Berlin"))
    for zone in ("Asia/Kathmandu", "America/St_Johns", "UTC"):
        days = log.totals(ORG, by=("model",), bucket="day", time_zone=zone)
        check(days, plain(records(log), ("model",), "day", zone))
    for hours in range(20, 40):
        since = moment(NOON) + hours * HOUR + timedelta(minutes=13)
        check(log.totals(ORG, since=since), plain(log.records(ORG, since=since), ("model",)))


@pytest.mark.parametrize(("hours", "edge"), [(True, 19 * 60), (False, 0)])
def test_where_a_bucket_begins_in_what_cannot_be_cut_the_earlier_one_has_it_and_both_say_so(
    log: UsageLog,
    store: TrimmedStore,
    caller: Caller,
    clock: FakeClock,
    folder: Folder,
    hours: bool,
    edge: int,
) -> None:
    """Days of Kathmandu begin at a quarter past an hour of UTC: that hour, or where only days are left that day, is
    not divided.
    """
    made(caller, clock, 80)
    everything = records(log)
    while folder.fold(ORG):
        pass
    store.forget(0)
    if not hours:
        store.forget_hours("models", 10**6)
    days = log.totals(ORG, by=("model",), bucket="day", time_zone="Asia/Kathmandu")
    edges = {total.until for total in days} & {total.since for total in days}
    assert {each.hour * 60 + each.minute for each in edges if each} == {edge}
    for total in days:
        covered = [
            each for each in everything if (total.since or EPOCH) <= each.at < (total.until or each.at)
        ]
        assert total.cost == sum(each.cost for each in covered if each.model == total.by["model"])
    assert sum(total.cost for total in days) == sum(each.cost for each in everything)


# floods of names

MOST = 5
NAMED: dict[str, Callable[[UsageRecord], list[tuple[Any, Any]]]] = {
    "model": lambda record: [((record.provider, record.model), record.model)],
    "end_user": lambda record: [(record.end_user, record.end_user)],
    "tag": lambda record: [(tag, tag) for tag in tags_of(record.tags)],
}
"""What names a record has: as it is told from others, and as it is summed by."""


@pytest.fixture
def few_names() -> Iterator[None]:
    """So few are summed apart."""
    before = [cube.most for cube in ROSTERS]
    for cube in ROSTERS:
        object.__setattr__(cube, "most", MOST)
    yield
    for cube, most in zip(ROSTERS, before, strict=True):
        object.__setattr__(cube, "most", most)


def summed_by(everything: list[UsageRecord], dim: str) -> list[tuple[UsageRecord, list[Any]]]:
    """The names that records are summed by: of each project and day those that came first."""
    rosters: dict[Any, set[Any]] = {}
    found = []
    for record in everything:
        roster = rosters.setdefault((record.team, record.project, record.at.date()), set())
        names: list[Any] = []
        for name, told in NAMED[dim](record):
            if told is not None and len(roster) < MOST:
                roster.add(name)
            names.append(told if told is None or name in roster else OTHER)
        found.append((record, list(dict.fromkeys(names))))
    return found


@pytest.mark.usefixtures("few_names")
@pytest.mark.parametrize("dim", NAMED)
@pytest.mark.parametrize("page", [1, 7, 500])
def test_so_many_names_are_summed_apart_and_the_others_as_one(
    log: UsageLog, store: TrimmedStore, caller: Caller, clock: FakeClock, page: int, dim: str
) -> None:
    """S22: models, end users and tags that are made up for every call. Each project and day has its own, first come;
    of the sums nothing is lost, whatever the period, and the records know every name.
    """
    for number in range(150):
        name = f"n{number // 2 if number > 75 else number}"
        tags = {"a": name, "b": f"{name}-{number % 3}"}
        caller.call(**{"model": name, "end_user": name, "tags": tags} if number % 3 else {})
        clock.advance(caller.chance.randrange(30 * 60_000))
    everything = records(log)
    while Folder(store, page=page).fold(ORG):
        pass
    summed = summed_by(everything, dim)
    start = ms(everything[0].at)
    for since, until, where in (
        (None, None, {}),
        (moment(start + 7_000_000), moment(start + 100_000_000), {}),
        (moment(start + 1), None, {"project": "p1"}),
        (None, moment(start + 80_000_000), {dim: OTHER}),
        (None, moment(start + 80_000_000), {dim: "n1" if dim != "tag" else "a=n1"}),
    ):
        totals = log.totals(ORG, by=(dim,), since=since, until=until, **where)
        expected: Tally[Any] = Tally()
        for record, names in summed:
            asked = (since or EPOCH) <= record.at < (until or moment(FOREVER_MS // 1000))
            if asked and where.get("project") in (None, record.project):
                expected.update({n: 1 for n in names if where.get(dim) in (None, n)})
        assert {total.by[dim]: total.calls for total in totals} == expected, (since, until, where)
    for cube in ROSTERS:
        cells = [each for each in store._orgs[ORG].sums.values() if each.cube == cube.table("day", "UTC")]
        projects = {(each.bucket, tuple(json.loads(each.dims)[:2])) for each in cells}
        assert len(cells) <= len(projects) * 2 * (MOST + 2)
    assert len({record.end_user for record in records(log)}) > 50


def test_what_is_not_folded_yet_has_its_own_name(
    log: UsageLog, caller: Caller, folder: Folder, few_names: None
) -> None:
    for number in range(MOST + 2):
        caller.call(team="t1", project="p1", end_user=f"n{number}")
    assert len(log.totals(ORG, by=("end_user",))) == MOST + 2
    folder.fold(ORG)
    assert len(log.totals(ORG, by=("end_user",))) == MOST + 1


def test_long_names_are_cut(log: UsageLog, caller: Caller, folder: Folder) -> None:
    """For sums only, and for whoever asks for one."""
    caller.call(end_user="u" * 1000, tags={"t": "v" * 1000})
    for _ in range(2):
        for by, name in (("end_user", "u" * 1000), ("tag", "t=" + "v" * 1000)):
            (total,) = log.totals(ORG, by=(by,), **{by: name})  # type: ignore[arg-type]
            assert total.by[by] == name[:200]
        folder.fold(ORG)
    assert [record.end_user for record in records(log)] == ["u" * 1000]


# cost


def test_a_year_is_answered_from_its_days(store: TrimmedStore, clock: FakeClock, log: UsageLog) -> None:
    """365 days × 100 cells; no record is read, and the days come in few steps."""
    dims = [
        (f"t{n % 5}", f"p{n % 20}", f"k{n}", None, "openai", f"m{n % 4}", "chat", 200) for n in range(100)
    ]
    body = Cell(
        {"calls": 10, "cost": 7, "input": 100, "output": 50, "ms": 9000, "timed": 10}, {"85": 10}
    ).body
    first = NOON - 365 * DAY_MS
    days = [bounds("day", first + day * DAY_MS, "UTC")[0] for day in range(366)]
    (cube,) = (cube for cube in CUBES if cube.name == "calls")
    table = cube.table("day", "UTC")
    put = [Sum(table, day, dims_text(each), body, FOREVER_MS) for day in days for each in dims]
    projects = [dims_text(each) for each in {each[:2] for each in dims}]
    put += [Sum("projects.day@UTC", day, each, body, FOREVER_MS) for day in days for each in projects]
    history = Sum("zones", 0, "[]", json.dumps([[f"{first}-0", "UTC"]]), FOREVER_MS)
    assert store.fold(ORG, "", f"{NOON}-0", [*put, history])
    since = moment(NOON - NOON % DAY_MS) - timedelta(days=365)
    totals = log.totals(ORG, by=("project",), status=200, since=since)
    assert len(totals) == 20
    assert {total.calls for total in totals} == {366 * 50}
    assert totals[0].percentile_ms(0.5) == pytest.approx(700, rel=0.05)
    assert store.read_rows == 0
    assert store.counted["sums"] <= 8
    assert store.counted["records"] <= 2
    assert len(log.totals(ORG, by=("model", "key"), bucket="day", project="p1")) == 366 * 5


# the faces of a Quota


@pytest.fixture(params=[False, True], ids=["inline", "thread"])
def books(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[AuditedStore]:
    with audited(clock, threaded=request.param) as store:
        yield store


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_awaited_and_the_blocking_face_say_the_same(books: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(books, clock=clock, limits=["$100/day"], time_zone="Asia/Tokyo")
    for cents in (1, 2):
        spend(quota, cents, Identity(end_user="ann"))
    spend(quota, 4)
    assert quota.blocking.usage.totals() == await quota.usage.totals()
    (total,) = await quota.usage.totals(bucket="day")
    assert (total.organization, total.by, total.calls, total.cost) == (
        "org_app",
        {"model": "tenth"},
        3,
        7 * CENT,
    )
    assert (total.usage, total.bucket) == (Usage(output=70), datetime(2026, 6, 14, 15, tzinfo=UTC))
    users = await quota.usage.totals(by=("end_user",), project="proj_app")
    assert [(each.by["end_user"], each.cost) for each in users] == [(None, 4 * CENT), ("ann", 3 * CENT)]
    assert (
        await quota.usage.totals(organization="nowhere") == await quota.usage.totals(project="nowhere") == []
    )
    assert await quota.usage.totals(since=moment(clock.now) + HOUR) == []


def test_totals_of_all_organizations_come_one_by_one(books: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(books, clock=clock, unattributed="allow")
    for org in ("a", "b"):
        quota.blocking.tenancy.create_organization(org, id=org)
        quota.blocking.tenancy.create_project(org, "p", org=org, id=f"p_{org}")
        spend(quota, by=Identity(project=f"p_{org}"))
    spend(quota)
    totals = quota.blocking.usage.totals(by=("project",))
    assert [(each.organization, each.by["project"], each.calls) for each in totals] == [
        ("a", "p_a", 1),
        ("b", "p_b", 1),
        ("~unattributed", None, 1),
    ]
    assert [each.organization for each in quota.blocking.usage.totals(project="p_b")] == ["b"]


def test_a_call_that_ends_after_its_lease_is_one_call_at_its_real_cost(
    books: AuditedStore, clock: FakeClock
) -> None:
    """I-5, in the totals."""
    quota: Quota = a_quota(books, clock=clock, limits=["$100/day"])
    admission = let_go(admit(quota))
    for lease in quota._lanes.leases:
        quota._lanes.drop(lease)
    clock.advance(60_001)
    spend(quota, 0)
    assert quota.flush()
    admission.settle(used(0.4))
    (total,) = quota.blocking.usage.totals(by=())
    assert (total.calls, total.corrected, total.unsettled, total.cost) == (2, 1, 1, CENT * 4 // 10)
