"""Rolling out in a living app: the global shadow refuses nothing, decides and records everything, and counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from quotaware import Quota
from quotaware.context import Identity
from quotaware.errors import ConfigurationError
from quotaware.stores.guard import Guard
from quotaware.tenancy import keys
from tests.calls import CENT, a_call, a_quota, ask, audited, binding, let_go, refused, spend, used
from tests.support import AuditedStore, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> Iterator[AuditedStore]:
    with audited(clock) as store:
        yield store


def shadow(store: AuditedStore, **more: Any) -> Quota:
    return a_quota(store, clock=store.clock, shadow=True, **more)


def told(quota: Quota) -> list[tuple[str, ...]]:
    """What each record says would have refused it."""
    return [record.would_deny for record in quota.blocking.usage.records()]


def test_limits_decide_and_refuse_nothing(store: AuditedStore) -> None:
    quota = shadow(store, limits=["$0.02/day", "2 requests/minute"])
    for _ in range(3):
        spend(quota)
    assert told(quota) == [(), (), ("$0.02/day", "2 requests/minute")]
    assert quota.stats == {"admitted": 3, "would_deny": 1}
    assert sum(record.cost for record in quota.blocking.usage.records()) == 3 * CENT


def test_no_body_is_changed_for_tight_money(store: AuditedStore) -> None:
    for tight in ("cap", "clamp"):
        admission = let_go(ask(shadow(store, limits=["$0.02/day"], tight=tight), a_call(cents=None)))
        assert admission.cap is None
        admission.settle(used(0))


@pytest.mark.parametrize("value", ["1", "true", "yes"])
def test_the_environment_switches_it_on(
    value: str, store: AuditedStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The emergency exit: no deploy."""
    monkeypatch.setenv("QUOTAWARE_SHADOW", value)
    quota = a_quota(store, clock=store.clock, limits=["$0/day"])
    spend(quota)
    assert told(quota) == [("$0/day",)]


@pytest.mark.parametrize("value", ["", "0"])
def test_the_environment_can_say_no(value: str, store: AuditedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUOTAWARE_SHADOW", value)
    assert refused(ask(a_quota(store, clock=store.clock, limits=["$0/day"]))).status == 429


def test_a_call_of_nobody_goes_and_is_counted(store: AuditedStore) -> None:
    quota = shadow(store)
    spend(quota)
    assert told(quota) == [("unattributed",)]
    assert quota.stats == {"admitted": 1, "would_deny": 1}


def test_keys_and_projects_that_are_wrong_go_too(store: AuditedStore) -> None:
    quota = shadow(store)
    tenancy = quota.blocking.tenancy
    tenancy.create_organization("o", id="o")
    tenancy.create_project("o", "p", id="p")
    key = tenancy.create_key("p", id="k")
    by_key = binding(quota, Identity(key=key.node.digest))
    by_project = binding(quota, Identity(project="p"))
    for by in (by_key, by_project):
        spend(quota, by=by)
    spend(quota, by=Identity(key=keys.digest(keys.make("live"))))
    spend(quota, by=Identity(project="nowhere"))
    tenancy.revoke_key("o", "k")
    spend(quota, by=by_key)
    tenancy.delete("o", "k")
    spend(quota, by=by_key)
    tenancy.delete("o", "p")
    spend(quota, by=by_project)
    found = {(record.project, record.would_deny) for record in quota.blocking.usage.records()}
    assert found == {
        ("p", ()),
        ("p", ("invalid_api_key",)),
        (None, ("invalid_api_key",)),
        (None, ("unattributed",)),
    }


def test_every_reason_is_told_and_each_once(store: AuditedStore) -> None:
    quota = shadow(store, limits=["$0/day"], bound="strict")
    let_go(ask(quota, a_call(opaque=True))).settle(used())
    let_go(ask(quota, a_call(model="nameless"))).settle(used())
    assert told(quota) == [
        ("input_unbounded", "$0/day"),
        ("price_unknown",),
    ]


def test_what_was_changed_elsewhere_is_decided_by_at_once(store: AuditedStore) -> None:
    """A forced reserve is never answered stale; the documents are looked at before."""
    quota = shadow(store)
    elsewhere = a_quota(store, clock=store.clock).blocking.tenancy
    elsewhere.create_organization("o", id="o")
    elsewhere.create_project("o", "p", id="p", limits=["$9/day"])
    by = binding(quota, Identity(project="p"))
    spend(quota, by=by)
    elsewhere.update("o", "o", limits=["$0.01/day"])
    spend(quota, by=by)
    elsewhere.disable("o", "p")
    spend(quota, by=by)
    assert told(quota) == [(), (), ("disabled", "$0.01/day")]


def test_a_store_that_is_away_refuses_nothing(store: AuditedStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """The switch is the emergency exit: what is let go meanwhile is booked when the store is back."""
    quota = shadow(store, limits=["$0.01/day"])
    spend(quota)
    with monkeypatch.context() as away:
        away.setattr(store, "apply", lambda *_: 1 / 0)
        for _ in range(3):
            spend(quota)
    assert quota.flush()
    records = list(quota.blocking.usage.records())
    assert [record.cost for record in records] == [CENT] * 4
    assert ["degraded" in record.flags for record in records] == [False, True, True, True]


@pytest.mark.parametrize("whose", ["a key that is not known", "nobody", "a full journal"])
def test_it_refuses_nobody_while_the_store_is_away(
    store: AuditedStore, monkeypatch: pytest.MonkeyPatch, whose: str
) -> None:
    quota = shadow(store, unattributed="deny")
    identity = Identity(key=keys.digest(keys.make("live"))) if "key" in whose else Identity()
    with monkeypatch.context() as away:
        for name in ("apply", "find", "read"):
            away.setattr(store, name, lambda *_: 1 / 0)
        if whose == "a full journal":
            away.setattr("quotaware.stores.journal.MAX_CALLS", 0)
        let_go(ask(quota, by=identity)).settle(used())
    if isinstance(quota._guard, Guard):
        quota._guard._failing.clear()
    assert quota.flush()
    (record,) = quota.blocking.usage.records()
    assert record.would_deny
    assert "degraded" in record.flags


@pytest.mark.parametrize("value", [1, 0, "yes", None, float("nan")])
def test_it_is_switched_by_true_and_false(value: Any) -> None:
    with pytest.raises(ConfigurationError) as caught:
        Quota(shadow=value)
    assert caught.value.field == "shadow"
