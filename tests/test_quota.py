"""What a host app makes and holds: its arguments, the simple way, calls by hand, its life."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import anyio
import pytest

from quotaware import ConfigurationError, Limit, LimitSyntaxError, Price, Quota, Usage
from quotaware.context import Identity, current
from quotaware.errors import ApiError, QuotaExceeded
from quotaware.outbound.manual import ManualCall
from quotaware.stores.memory import MemoryStore
from quotaware.stores.opening import register_store
from quotaware.tenancy.starts import SIMPLE_ORG, SIMPLE_PROJECT
from tests.calls import (
    CENT,
    PRICES,
    a_call,
    a_quota,
    ask,
    ask_async,
    audited,
    binding,
    let_go,
    refused,
    spend,
    used,
)
from tests.support import AuditedStore, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=[False, True], ids=["inline", "thread"])
def store(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[AuditedStore]:
    with audited(clock, threaded=request.param) as store:
        yield store


# I-20: what is no such value is refused where it is given, by name

NO_COUNT: list[Any] = [
    -1,
    float("nan"),
    float("inf"),
    1e999,
    2**63,
    2**64,
    "1e3",
    "7",
    True,
    1.5,
    b"1",
    [],
    Decimal(3),
]
NO_SECONDS: list[Any] = [
    -1,
    -0.001,
    float("nan"),
    float("inf"),
    1e999,
    2**63,
    "1e3",
    "5",
    True,
    None,
    [],
    Decimal(3),
]
NO_TEXT: list[Any] = [5, 1.5, True, float("nan"), 2**63, [], {}, b"text"]
WRONG: dict[str, list[Any]] = {
    "default_output": [*NO_COUNT, 0],
    "clamp_min": [*NO_COUNT, 0, None],
    "max_waiters": [*NO_COUNT, None],
    "settle_wait": NO_SECONDS,
    "key_ttl": NO_SECONDS,
    "lease": [*NO_SECONDS, 0],
    "idle_max": NO_SECONDS,
    "call_max": NO_SECONDS,
    "deadline": [*(value for value in NO_SECONDS if value is not None), 0],
    "on_store_error": [*NO_TEXT, None, "", "pass", {"money": "deny"}, {"cost": "maybe"}],
    "allow_max": [-0.1, 1.1, float("nan"), "0.5", True, None, [], Decimal(0)],
    "journal": ["", 5, True, [], b"text"],
    "bound": [*NO_TEXT, None, "", "Strict", "exact"],
    "tight": [*NO_TEXT, None, "", "shrink"],
    "on_expiry": [*NO_TEXT, None, "", "all"],
    "shadow": [None, 0, 1, "true", float("nan"), []],
    "unattributed": [*NO_TEXT, None, "", "project", "project:", "project:Not An Id", "alow"],
    "time_zone": [*NO_TEXT, None, "", "Mars/Olympus", "../UTC"],
    "identify": [5, "ann", {}],
    "hosts": [5, "openai", ["openai"], {5: "openai"}],
    "prices": [5, "free", ["m"], {5: {"input": 1, "output": 1}}],
    "store": [*NO_TEXT, None, object()],
    "limits": ["$5/month", Limit.parse("$5/month"), 5, True],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in WRONG.items() for value in values]
)
def test_an_argument_that_cannot_be_used_is_named(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Quota(**{name: value})
    assert caught.value.field == name


@pytest.mark.parametrize(
    "rate", [-1, float("nan"), float("inf"), 1e999, 2**63, True, None, "much", [], "-1", "nan", 1e-12]
)
@pytest.mark.parametrize("name", ["prices", "unknown_model"])
def test_a_price_that_cannot_be_used_is_named(name: str, rate: Any) -> None:
    price = {"input": rate, "output": 1}
    with pytest.raises(ConfigurationError) as caught:
        Quota(**{name: {"my-model": price} if name == "prices" else price})
    assert caught.value.field == ("prices['my-model'].input" if name == "prices" else "unknown_model.input")


@pytest.mark.parametrize("price", [5, "free", {"input": 1}, {"input": 1, "output": 1, "extra": 1}, {}])
def test_an_incomplete_price_is_named(price: Any) -> None:
    for more in ({"prices": {"m": price}}, {"unknown_model": price}):
        with pytest.raises(ConfigurationError, match=r"prices|unknown_model"):
            Quota(**more)


@pytest.mark.parametrize(
    "text",
    [
        *("", "$50", "$-1/month", "nan requests/day", "inf tokens/minute", "1e999 requests/day"),
        *("$9000001/month", "600 requests/fortnight", "600 calls/minute", "$1/day per person"),
        *("9223372036854775808 tokens/day", 5, None),
    ],
)
def test_a_limit_that_cannot_be_read_is_named(text: Any) -> None:
    with pytest.raises(LimitSyntaxError):
        Quota(limits=["$1/day", text])


def test_two_limits_that_contradict_are_told_where_they_are_given() -> None:
    """And not by the first call."""
    with pytest.raises(ConfigurationError, match="two hard limits on cost/day") as caught:
        Quota(limits=["$1/day", "$2/day"])
    assert caught.value.field == "limits"


@pytest.mark.parametrize(
    ("name", "value"),
    [("end_user", value) for value in NO_TEXT]
    + [("project", value) for value in NO_TEXT]
    + [("tags", value) for value in ["job", 5, ["job"], {"job": 5}, {5: "job"}, {"job": None}]],
)
def test_who_acts_is_text(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Quota().acting_as(**{name: value})
    assert caught.value.field == name


@pytest.mark.parametrize(
    ("name", "value"),
    [("input", value) for value in NO_COUNT]
    + [("max_output", value) for value in NO_COUNT]
    + [("model", value) for value in [*NO_TEXT, None]]
    + [("operation", value) for value in [*NO_TEXT, None]]
    + [("provider", value) for value in NO_TEXT],
)
def test_a_call_by_hand_says_what_it_is(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Quota().call(**{"provider": "local", "model": "m", name: value})
    assert caught.value.field == name


@pytest.mark.parametrize("value", [*NO_COUNT, None])
def test_what_a_call_by_hand_used_is_counts(value: Any, store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=["$1/day"])
    with quota.call(provider=None, model="tenth", max_output=10) as call:
        with pytest.raises(ConfigurationError) as caught:
            call.used(output=value)
        assert caught.value.field == "output"
        call.used(output=1)


@pytest.mark.parametrize(
    "url", ["", "quota.db", "mysql://localhost/0", "memory", "redis//x", "http://[bad", "://", ":memory:"]
)
def test_an_unknown_store_is_told_which_are_known(url: str) -> None:
    with pytest.raises(ConfigurationError, match="memory://") as caught:
        Quota(url)
    assert caught.value.field == "store"


def test_an_unknown_store_does_not_tell_its_password() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Quota("mysql://quota:hunter2@localhost/0")
    assert "hunter2" not in str(caught.value)
    assert "mysql" in str(caught.value)


def test_a_store_of_ones_own_opens_by_its_scheme(clock: FakeClock) -> None:
    opened: list[str] = []

    def factory(url: str, clock: Any) -> AuditedStore:
        opened.append(url)
        return AuditedStore(clock)

    register_store("attic", factory)
    quota = Quota("attic://box/7", limits=["$1/day"], clock=clock, prices=PRICES)  # type: ignore[dict-item]
    spend(quota)
    assert opened == ["attic://box/7"]
    assert isinstance(quota.store, AuditedStore)
    quota.close()


def test_prices_are_given_as_rates_or_as_a_price(clock: FakeClock) -> None:
    for price in ({"input": 0, "output": 1000}, Price.per_million(input=0, output=1000)):
        quota = Quota(limits=["$1/day"], prices={"tenth": price}, unknown_model=price, clock=clock)  # type: ignore[dict-item, arg-type]
        assert let_go(ask(quota)).bound.hold[1] == CENT
        assert let_go(ask(quota, a_call(model="nameless"))).bound.hold[1] == CENT


# the simple way


def test_limits_make_one_project_that_every_call_belongs_to(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=["$0.02/day", Limit.parse("9 requests/minute")])
    spend(quota)
    spend(quota, by=Identity(end_user="ann"))
    assert refused(ask(quota)).message == "Daily budget of $0.02 exceeded for project 'app'"
    assert {record.project for record in quota.blocking.usage.records()} == {SIMPLE_PROJECT}


def test_a_restart_with_other_limits_replaces_them_and_keeps_the_counters(
    store: AuditedStore, clock: FakeClock
) -> None:
    first = a_quota(store, clock=clock, limits=["$0.02/day"])
    spend(first, cents=2)
    assert refused(ask(first)).status == 429
    second = a_quota(store, clock=clock, limits=["$0.03/day", "5 requests/minute"])
    spend(second)
    assert refused(ask(second)).fields["current_usage_usd"] == 0.03
    assert refused(ask(first)).fields["limit_usd"] == 0.03  # the process that still runs follows
    again = a_quota(store, clock=clock, limits=["$0.03/day", "5 requests/minute"])
    refused(ask(again))
    assert again.flush()
    assert len(store.audit(SIMPLE_ORG, 0, 10)) == 2  # nothing is written where nothing changed


def test_without_limits_everything_goes_and_is_recorded(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=[])
    let_go(ask(quota, a_call(model="nameless"))).settle(used())
    assert len(list(quota.blocking.usage.records())) == 1


def test_days_begin_at_midnight_of_the_time_zone(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=["$0.01/day"], time_zone="Asia/Tokyo")
    spend(quota)
    assert refused(ask(quota)).fields["reset_date"] == "2026-06-15T15:00:00Z"
    clock.advance(3 * 3_600_000)
    spend(quota)


def test_many_threads_that_call_first_set_up_once(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=["$9/day"])
    errors: list[BaseException] = []

    def call() -> None:
        try:
            spend(quota)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=call) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.audit(SIMPLE_ORG, 0, 10)) == 1


# calls by hand


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_a_call_by_hand_is_charged_what_it_says(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=["$1/day"])
    async with quota.call(provider=None, model="tenth", operation="chat") as call:
        call.used(input=1000, output=1)
        call.used(input=5000, output=20, reasoning=5)
    with quota.call(provider="local", model="tenth", input=10, max_output=30) as call:
        call.used(output=30)
    records = list(quota.blocking.usage.records())
    assert [record.usage for record in records] == [
        Usage(input=5000, output=20, reasoning=5),
        Usage(output=30),
    ]
    assert [record.cost for record in records] == [2 * CENT, 3 * CENT]
    assert [record.quality for record in records] == ["exact", "exact"]
    assert records[1].provider == "local"


def broken(call: ManualCall) -> None:
    call.used(output=3)
    raise ZeroDivisionError


def test_a_call_by_hand_without_a_word_is_estimated_and_a_broken_one_partial(
    store: AuditedStore, clock: FakeClock
) -> None:
    quota = a_quota(store, clock=clock, limits=["$1/day"])
    call = quota.call(provider=None, model="tenth", input=7, max_output=10)
    with call:
        pass
    with pytest.raises(ZeroDivisionError), call:
        1 / 0
    with pytest.raises(ZeroDivisionError), call:
        broken(call)
    with call:
        pass  # what it was told the last time is forgotten
    assert [record.quality for record in quota.blocking.usage.records()] == [
        "estimated",
        "partial",
        "exact",
        "estimated",
    ]


@pytest.mark.anyio
async def test_a_call_by_hand_that_is_refused_raises(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=["$0.01/day"])
    with pytest.raises(QuotaExceeded), quota.call(provider=None, model="tenth", input=0, max_output=20):
        pytest.fail("it was let in")
    with pytest.raises(QuotaExceeded):
        async with quota.call(provider=None, model="tenth", input=0, max_output=20):
            pytest.fail("it was let in")
    assert store.held == {}


def test_a_call_by_hand_without_output_needs_none(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=["$0/day"])
    with quota.call(provider=None, model="tenth", operation="embeddings", input=50, max_output=0) as call:
        call.used(input=50)


# its life


def test_bootstrap_answers_the_key_once(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock)
    first, second = quota.bootstrap("StartupAI"), quota.bootstrap("StartupAI")
    assert first.organization_id == second.organization_id
    assert first.key is not None
    assert second.key is None
    with quota.acting_as(key=first.key), pytest.raises(ApiError, match="is not on a project"):
        quota.call(provider=None, model="tenth").__enter__()
    assert current() is None


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_it_is_opened_and_closed_as_a_block(store: AuditedStore, clock: FakeClock) -> None:
    async with a_quota(store, clock=clock, limits=["$1/day"]) as quota:
        assert len(store.audit(SIMPLE_ORG, 0, 10)) == 1
        let_go(await ask_async(quota)).settle(used())
    assert len(store._orgs[SIMPLE_ORG].rows) == 1
    error = refused(await ask_async(quota))
    assert error.type == "store_unavailable"


def test_closing_takes_along_what_was_settled(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=["$1/day"])
    under_way = [let_go(ask(quota)) for _ in range(50)]
    for admission in under_way:
        admission.settle(used())
    assert quota.close()
    assert len(store._orgs[SIMPLE_ORG].rows) == 50
    assert quota.close()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_the_tree_is_made_awaited_too(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock)
    root = await quota.tenancy.create_organization("StartupAI")
    project = await quota.tenancy.create_project(root.id, "chat", limits=["$1/day"])
    key = await quota.tenancy.create_key(project.id)
    with quota.acting_as(key=key.secret):
        let_go(await ask_async(quota, by=quota.meter.binding())).settle(used())
    assert await quota.tenancy.get(root.id, project.id) == quota.blocking.tenancy.get(root.id, project.id)
    with pytest.raises(AttributeError):
        quota.tenancy.conquer
    with pytest.raises(AttributeError):
        quota.tenancy._commit


def test_counts_of_the_process(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=["$0.02/day"])
    assert quota.stats == {}
    spend(quota)
    refused(ask(quota, a_call(cents=2)))
    assert quota.stats == {"admitted": 1, "denied": 1}


def test_the_lease_of_a_call_that_lives_is_extended(store: AuditedStore, clock: FakeClock) -> None:
    """I-9: as long as bytes move, whatever the event loop does; no longer than `idle_max` without, and `call_max`."""
    quota = a_quota(store, clock=clock, limits=["1 concurrent"], lease=30, idle_max=120, call_max=600)
    busy = let_go(ask(quota))
    for _ in range(20):
        clock.advance(25_000)
        busy.moved()
        quota.tend()
        assert quota.flush()
        assert refused(ask(quota)).status == 429
    clock.advance(125_000)
    quota.tend()
    assert quota.flush()
    let_go(ask(quota)).settle(used(0))
    busy.settle(used(0))


@pytest.mark.parametrize(
    ("callers", "models"), [(4200, 100), pytest.param(100_000, 100_000, marks=pytest.mark.slow)]
)
def test_memory_is_bounded_however_many_pass(callers: int, models: int, clock: FakeClock) -> None:
    """I-27: distinct end users, models and keys pass through without a cache that grows with them."""
    store = MemoryStore(clock)
    quota = a_quota(
        store,
        clock=clock,
        limits=["$9/minute per end_user", "5 concurrent per end_user"],
        prices={"*": {"input": 0, "output": 1000}},
    )
    engine = quota.engine
    for number in range(callers):
        call = a_call(0, model=f"m{number % models}", opaque=True)
        outcome = ask(quota, call, Identity(end_user=f"u{number}"))
        let_go(outcome).settle(used(0))
        clock.advance(20)
        refused(ask(quota, by=Identity(key=f"{number:064x}")))
    assert len(engine.policies) <= 4096
    assert len(engine._totals) <= 16_384
    assert len(engine.learned._outputs) <= 4096
    assert len(engine.learned._allowances) <= 4096
    assert len(engine.directory._unknown) <= 10_000
    assert not quota._lanes.leases
    assert engine.room._lines == {}
    assert len(store._orgs[SIMPLE_ORG].view.cells) < 5000
    quota.close()


def test_a_request_keeps_nothing_of_its_calls(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=["$9/day"])
    by = binding(quota)
    for _ in range(200):
        spend(quota, by=by)
    gc.collect()
    assert (by.calls, by.cost, by.holding) == (200, 200 * CENT, {})


@pytest.mark.anyio
async def test_records_are_read_off_the_event_loop(store: AuditedStore, clock: FakeClock) -> None:
    """I-24: reading thousands of them blocks nothing."""
    quota = a_quota(store, clock=clock, limits=["$9/day"])
    spend(quota)
    loops = threading.get_ident()
    seen: list[int] = []
    records = store.records

    def noted(*args: Any) -> Any:
        seen.append(threading.get_ident())
        return records(*args)

    store.records = noted  # type: ignore[method-assign]
    assert len([record async for record in quota.usage.records()]) == 1
    assert seen
    assert loops not in seen
    await anyio.sleep(0)
