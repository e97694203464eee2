"""Calls while the store is away: refused by default, or let through within bounds and booked when it is back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from quotaware import Quota
from quotaware.context import Identity
from quotaware.core.money import MAX_AMOUNT
from quotaware.core.steps import Settle
from quotaware.errors import StoreError
from quotaware.ids import Ids
from quotaware.outage import TRUSTED_MS
from quotaware.stores.guard import Guard
from quotaware.stores.journal import Leftover, leftovers
from quotaware.tenancy import keys
from tests.calls import CENT, _quotas_on, a_call, a_quota, ask, audited, let_go, refused, spend, used
from tests.support import NOON, AuditedStore, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=["inline", "thread"])
def store(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[AuditedStore]:
    with audited(clock, threaded=request.param == "thread") as store:
        yield store


@pytest.fixture
def away(store: AuditedStore, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Takes the store away (True) and brings it back (False), past the second in which nobody tries it."""

    def fails(*_: Any, **__: Any) -> Any:
        raise StoreError("connection refused")

    def switch(is_away: bool) -> None:
        for name in ("apply", "read", "find", "orgs"):
            monkeypatch.setattr(store, name, fails if is_away else getattr(AuditedStore, name).__get__(store))
        for quota in _quotas_on(store) if not is_away else ():
            if isinstance(quota._guard, Guard):
                quota._guard._failing.clear()

    return switch


def quota_on(store: AuditedStore, tmp_path: Path, *limits: str, **more: Any) -> Quota:
    quota = a_quota(
        store,
        **{
            "limits": limits,
            "on_store_error": "allow",
            "allow_max": 1.0,
            "journal": str(tmp_path / "journal"),
            "clock": store.clock,
            **more,
        },
    )
    spend(quota, 1)
    assert quota.flush()
    return quota


def flags(quota: Quota) -> list[bool]:
    return ["degraded" in record.flags for record in quota.blocking.usage.records()]


def test_by_default_nothing_goes(store, tmp_path, away):
    quota = quota_on(store, tmp_path, "$1/day", on_store_error="deny")
    away(True)
    error = refused(ask(quota))
    assert (error.status, error.code) == (503, "store_unavailable")
    assert error.retry_after in range(1, 6)
    away(False)
    spend(quota)
    assert not (tmp_path / "journal").exists()


def test_what_is_let_through_is_booked_when_the_store_is_back(store, tmp_path, away):
    quota = quota_on(store, tmp_path, "$1/day")
    away(True)
    for cents in (2, 3):
        spend(quota, cents)
    under_way = let_go(ask(quota, a_call(4)))
    assert under_way.degraded
    assert quota.stats["degraded"] == quota.health["degraded"] == 3
    assert len(list((tmp_path / "journal").iterdir())) == 1
    away(False)
    assert quota.flush()
    under_way.settle(used(4))
    assert quota.flush()
    records = list(quota.blocking.usage.records())
    assert [record.cost for record in records] == [CENT, 2 * CENT, 3 * CENT, 4 * CENT]
    assert flags(quota) == [False, True, True, True]
    assert not (tmp_path / "journal").exists()
    (told,) = store.outbox("org_app")
    assert json.loads(told.body) == {"degraded": {"cost": 9 * CENT}}
    assert {cost for key, cost in store.used.items() if "cost" in key or "$" in key or "day" in key} == {
        10 * CENT
    }


def test_money_and_rates_are_said_apart(store, tmp_path, away):
    quota = quota_on(store, tmp_path, "100 requests/minute", on_store_error={"rates": "allow"})
    away(True)
    spend(quota, 9)
    away(False)
    assert quota.flush()


def test_a_hard_cost_limit_makes_it_a_matter_of_money(store, tmp_path, away):
    quota = quota_on(store, tmp_path, "100 requests/minute", "$1/day", on_store_error={"rates": "allow"})
    away(True)
    assert refused(ask(quota)).code == "store_unavailable"
    away(False)


def test_one_process_spends_a_share_of_each_budget(store, tmp_path, away):
    """allow_max of the limit: what is held counts, and what is settled lower is free again."""
    quota = quota_on(store, tmp_path, "$1/day", allow_max=0.05)
    away(True)
    first = let_go(ask(quota, a_call(3)))
    assert "is spent" in refused(ask(quota, a_call(3))).message
    first.settle(used(1))
    spend(quota, 4)
    assert refused(ask(quota, a_call(1))).status == 503
    away(False)
    assert quota.flush()
    away(True)
    spend(quota, 5)
    away(False)
    assert quota.flush()


def test_a_call_without_a_cap_gets_one_that_the_share_pays_for(store, tmp_path, away):
    quota = quota_on(store, tmp_path, "$10/day", allow_max=0.5)
    away(True)
    admission = let_go(ask(quota, a_call(None)))
    assert admission.bound.hold[1] <= 500 * CENT // 4
    admission.settle(used(1))
    away(False)
    assert quota.flush()


def test_permissions_bear_as_ever(store, tmp_path, away):
    quota = quota_on(store, tmp_path, "$1/day")
    away(True)
    assert refused(ask(quota, a_call(model="nobody-knows-it"))).code == "price_unknown"
    away(False)


def team(store: AuditedStore, tmp_path: Path, **more: Any) -> tuple[Quota, Identity]:
    quota = a_quota(
        store, on_store_error="allow", journal=str(tmp_path / "journal"), clock=store.clock, **more
    )
    tenancy = quota.blocking.tenancy
    org = tenancy.create_organization("Org").id
    project = tenancy.create_project(org, "Project", org=org).id
    secret = tenancy.create_key(project, org=org).secret
    return quota, Identity(key=keys.digest(secret))


def test_a_key_that_is_not_known_here_never_passes(store, tmp_path, away):
    quota, caller = team(store, tmp_path)
    stranger = Identity(key=keys.digest(keys.make("live")))
    away(True)
    quota.engine.directory.forget_key(caller.key)
    assert refused(ask(quota, a_call(), caller)).status == 503
    assert refused(ask(quota, a_call(), stranger)).status == 503
    away(False)


def test_a_key_passes_for_a_minute_after_it_was_seen_valid(store, tmp_path, away, clock):
    quota, caller = team(store, tmp_path)
    spend(quota, 1, caller)
    clock.advance(10 * TRUSTED_MS)
    spend(quota, 1, caller)
    assert quota.flush()
    away(True)
    clock.advance(TRUSTED_MS)
    spend(quota, 1, caller)
    clock.advance(1)
    assert refused(ask(quota, a_call(), caller)).status == 503
    away(False)
    assert quota.flush()
    assert [record.cost for record in quota.blocking.usage.records()] == [CENT] * 3


def test_a_revoked_key_does_not_pass(store, tmp_path, away, clock):
    quota, caller = team(store, tmp_path)
    spend(quota, 1, caller)
    place = quota.engine.directory.peek_key(caller.key)
    quota.blocking.tenancy.revoke_key(place.org, place.key)
    assert refused(ask(quota, a_call(), caller)).status == 401
    away(True)
    assert refused(ask(quota, a_call(), caller)).status in (401, 503)
    away(False)


def test_a_project_that_the_host_names_is_known_once_it_was_used(store, tmp_path, away):
    quota, caller = team(store, tmp_path)
    org = quota.engine.directory.peek_key(caller.key).org
    project = quota.blocking.tenancy.list(org, "project")[0].id
    away(True)
    assert refused(ask(quota, a_call(), Identity(project))).status == 503
    away(False)
    spend(quota, 1, Identity(project))
    assert quota.flush()
    away(True)
    spend(quota, 1, Identity(project, "u1", {"job": "nightly"}))
    away(False)
    assert quota.flush()
    *_, last = quota.blocking.usage.records()
    assert (last.project, last.end_user, last.tags) == (project, "u1", {"job": "nightly"})


def test_calls_of_nobody_are_refused_as_ever(store, tmp_path, away):
    quota, _ = team(store, tmp_path)
    spend_nobody = refused(ask(quota)).code
    away(True)
    assert refused(ask(quota)).code == spend_nobody == "unattributed"
    away(False)


def test_calls_of_nobody_pass_where_they_are_allowed(store, tmp_path, away):
    quota, _ = team(store, tmp_path, unattributed="allow")
    spend(quota)
    assert quota.flush()
    away(True)
    spend(quota)
    away(False)
    assert quota.flush()
    assert flags(quota) == [False, True]


def test_where_nothing_can_be_noted_nothing_goes(store, tmp_path, away):
    (tmp_path / "journal").write_text("a file where the directory should be")
    quota = quota_on(store, tmp_path, "$1/day")
    away(True)
    assert "full" in refused(ask(quota)).message
    away(False)


def test_what_a_process_that_is_gone_had_let_through_is_booked_at_the_start(store, tmp_path, away):
    quota = quota_on(store, tmp_path, "$1/day")
    away(True)
    spend(quota, 2)
    let_go(ask(quota, a_call(3)))
    quota.engine.outage.close()  # as if the process were gone
    quota.engine.lanes.of("org_app")._backlog.clear()
    away(False)
    again = quota_on(store, tmp_path, "$1/day")
    assert [record.cost for record in again.blocking.usage.records()] == [CENT, 2 * CENT, 0, CENT]
    assert [record.quality for record in again.blocking.usage.records()] == [
        "exact",
        "exact",
        "unsettled",
        "exact",
    ]
    assert not (tmp_path / "journal").exists()


def test_each_is_booked_once_though_both_send_it(store, tmp_path, away):
    """The journal is read while its process still sends: ids guard it."""
    quota = quota_on(store, tmp_path, "$1/day")
    away(True)
    spend(quota, 2)
    quota.engine.outage.close()
    away(False)
    again = quota_on(store, tmp_path, "$1/day")
    assert quota.flush()
    assert [record.cost for record in again.blocking.usage.records()] == [CENT, 2 * CENT, CENT]


DAYS_3 = 3 * 86_400_000


def late(quota: Quota) -> list[tuple[int, bool]]:
    """Cost of each record, and whether it names an earlier id."""
    return [(record.cost, record.first is not None) for record in quota.blocking.usage.records()]


def test_a_call_whose_id_was_forgotten_is_a_new_record_that_names_it(store, tmp_path, away, clock):
    """I-5: an outage of three days."""
    quota = quota_on(store, tmp_path, "$1/day")
    away(True)
    spend(quota, 2)
    (gone,) = quota.engine.outage._journal._pending
    clock.advance(DAYS_3)
    away(False)
    assert quota.flush()
    assert quota.flush()
    assert late(quota) == [(CENT, False), (2 * CENT, True)]
    assert [record.first for record in quota.blocking.usage.records()] == [None, gone]
    assert quota.stats["degraded"] == 1
    assert not quota.health["dropped"]
    assert not (tmp_path / "journal").exists()


def test_so_is_one_that_a_process_left_behind_and_once_whatever_comes_between(
    store, tmp_path, away, clock, monkeypatch
):
    """I-5: who booked it first went before the file could be taken away; and days went by once more."""
    quota = quota_on(store, tmp_path, "$1/day")
    away(True)
    spend(quota, 2)
    quota.flush(0.05)
    quota.engine.outage.close()  # as if the process were gone
    quota.engine.lanes.of("org_app")._backlog.clear()
    clock.advance(DAYS_3)
    away(False)
    (file,) = (tmp_path / "journal").iterdir()
    with monkeypatch.context() as dies:
        dies.setattr(Leftover, "booked", lambda *_: False)
        again = quota_on(store, tmp_path, "$1/day")
        assert again.flush()
    assert late(again) == [(CENT, False), (2 * CENT, True), (CENT, False)]
    again.engine.outage.close()
    assert file.exists()
    clock.advance(3_600_000)
    third = quota_on(store, tmp_path, "$1/day")
    assert late(third) == [(CENT, False), (2 * CENT, True), (CENT, False), (CENT, False)]
    assert not file.exists()


def test_what_the_journal_holds_is_sent_in_batches(store, tmp_path, away):
    quota = quota_on(store, tmp_path, "$100/day")
    away(True)
    for _ in range(600):
        spend(quota, 1)
    quota.engine.outage.close()
    quota.engine.lanes.of("org_app")._backlog.clear()
    away(False)
    trips: list[int] = []
    apply = store.apply

    def counted(work: Any, deadline: float) -> Any:
        trips.append(sum(isinstance(op, Settle) for ops in work.values() for op in ops))
        return apply(work, deadline)

    store.apply = counted
    quota_on(store, tmp_path, "$100/day")
    assert max(trips) == 256


@pytest.mark.parametrize("mode", ["deny", "allow"])
@pytest.mark.parametrize("fault", ["no directory", "garbage"])
def test_a_store_that_cannot_be_used_lets_nothing_pass(tmp_path: Path, mode: Any, fault: str) -> None:
    """Also where the app has no start: a call is refused, and health says why."""
    path = tmp_path / "quota.db"
    if fault == "garbage":
        path.write_bytes(b"no database " * 1000)
    else:
        path = tmp_path / "nowhere" / "quota.db"
    quota = a_quota(f"sqlite:///{path}", limits=["$1/day"], on_store_error=mode, journal=str(tmp_path / "j"))
    for _ in range(2):
        error = refused(ask(quota))
        assert (error.status, error.code) == (503, "store_unavailable")
        assert "cannot be used" in error.message
    assert quota.health["store"] == "unusable"
    assert str(path) in quota.health["why"] or str(path.parent) in quota.health["why"]
    if fault == "garbage":
        path.unlink()
    else:
        path.parent.mkdir()
    spend(quota)
    assert quota.health["store"] == "ok"
    assert quota.close(10)


def test_no_call_asks_for_more_than_can_be_counted(tmp_path: Path) -> None:
    """One caller's absurd numbers are nobody else's trouble: amounts end at the bound of exact arithmetic."""
    quota = a_quota(f"sqlite:///{tmp_path}/quota.db", limits=["100 requests/minute"], deadline=10.0)
    admission = let_go(ask(quota, a_call(1, choices=MAX_AMOUNT)))
    assert admission.bound.hold[:2] == (MAX_AMOUNT, MAX_AMOUNT)
    admission.settle(used(1))
    spend(quota)
    assert quota.flush(10)
    assert [record.cost for record in quota.blocking.usage.records()] == [CENT, CENT]
    assert quota.close(10)


def test_an_organization_that_is_gone_goes_on_when_an_operator_says_so(tmp_path: Path) -> None:
    """I-11: closed until then; after ten seconds the app goes on, without a restart."""
    clock = FakeClock()
    path = tmp_path / "quota.db"
    quota = a_quota(f"sqlite:///{path}", limits=["$1/day"], clock=clock, deadline=10.0)
    spend(quota)
    assert quota.flush(10)
    for each in tmp_path.iterdir():
        each.unlink()
    assert refused(ask(quota)).code == "store_unavailable"
    quota.adopt()
    clock.advance(10_000)
    spend(quota)
    assert quota.health["store"] == "ok"
    assert quota.close(10)


def test_what_the_dead_held_is_let_go_also_where_nobody_calls(tmp_path: Path) -> None:
    """I-7: another process that only lives ends it, and it is charged."""
    clock = FakeClock()
    url = f"sqlite:///{tmp_path}/quota.db"
    dead = a_quota(url, limits=["1 concurrent"], clock=clock, deadline=10.0)
    admission = let_go(ask(dead))
    dead._lanes.drop(admission._lease)
    living = a_quota(url, limits=["1 concurrent"], clock=clock, deadline=10.0)
    assert refused(ask(living)).status == 429
    clock.advance(60_001)
    living._keeper.turn()
    living._look_around()
    assert living.flush(10)
    spend(living)
    assert living.flush(10)
    assert [record.quality for record in living.blocking.usage.records()] == ["unsettled", "exact"]
    assert living.close(10)
    assert dead.close(10)


def test_a_journal_that_others_may_write_into_is_not_believed(store, tmp_path, away):
    quota = quota_on(store, tmp_path, "$1/day")
    directory = tmp_path / "journal"
    directory.mkdir()
    directory.chmod(0o777)
    away(True)
    assert "full" in refused(ask(quota)).message
    away(False)
    (directory / "1-planted.jsonl").write_text("{}")
    assert list(leftovers(directory, NOON, Ids())) == []


@pytest.mark.parametrize("verb", ["find", "read"])
def test_a_store_that_raises_what_it_should_not_lets_nothing_pass(store, tmp_path, monkeypatch, verb):
    """A fault of a store, whatever it is called, is a store that is away."""
    quota, caller = team(store, tmp_path)
    if verb == "find":
        quota.engine.directory.forget_key(caller.key)
    monkeypatch.setattr(store, verb, lambda *_: 1 / 0)
    assert refused(ask(quota, a_call(), caller)).status == 503
