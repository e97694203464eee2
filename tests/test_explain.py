"""Explain: what it says is what the call itself meets at that moment, and asking changes nothing."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware import ConfigurationError, InvalidKeyFormat, NotFound, Quota, StoreError
from quotaware.admission import Admission
from quotaware.context import Identity
from quotaware.core.explanation import Explanation
from quotaware.core.limits import Limit
from quotaware.errors import ApiError
from quotaware.explaining import described
from quotaware.stores.opening import open_store
from quotaware.stores.protocol import Store
from quotaware.tenancy import keys
from quotaware.testing import FaultyStore
from tests.calls import CENT, MODEL, TOKENS, a_quota, ask, audited, binding, let_go, refused, spend, used
from tests.support import AuditedStore, FakeClock

DAY_MS = 86_400_000


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=[False, True], ids=["inline", "thread"])
def store(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[AuditedStore]:
    with audited(clock, threaded=request.param) as store:
        yield store


def why(quota: Quota, cents: int | None = 1, **more: Any) -> Explanation:
    """What is said of a call like `a_call`."""
    asked = {"model": MODEL, "input": 0, "max_output": None if cents is None else cents * TOKENS}
    return quota.blocking.explain(**{**asked, **more})  # type: ignore[arg-type]


def state(store: AuditedStore) -> tuple[set[tuple[str, int, int]], str]:
    """All that a call could have moved: what is used and held where nothing leaves by itself, and all else."""
    orgs = [(list(org.rows), dict(org.view.open), dict(org.view.ended)) for org in store._orgs.values()]
    cells = [(key, cell) for org in store._orgs.values() for key, cell in org.view.cells.items()]
    return {(key, cell.used, cell.held) for key, cell in cells if not cell.counter.span}, str(orgs)


def code(outcome: Admission | ApiError) -> str | None:
    return outcome.code if isinstance(outcome, ApiError) else None


# it says what the call meets

LIMITS = [
    *(
        "$0.05/day",
        "$0.03/month",
        "$0.10/life",
        "$0.02/week carryover",
        "$0.04/hour soft",
        "$0.01/quarter shadow",
    ),
    *(
        "3 requests/minute",
        "5 requests/day",
        "2 requests/week carryover",
        "60 tokens/minute",
        "90 tokens/day",
    ),
    *("1 concurrent", "2 concurrent", "2 requests/day for ten*", "$0.02/day per end_user", "0 requests/day"),
]
LIMIT_SETS = st.lists(st.sampled_from(LIMITS), max_size=3, unique_by=lambda text: Limit.parse(text).shape)
STEPS = st.sampled_from(
    ["spend", "spend", "hold", "end", "minute", "day", "ask", "ask", "ask", "disable", "enable"]
)


def grown(quota: Quota, limits: dict[str, list[str]], models: list[str], permissions: list[str]) -> str:
    """A tree of one of each, with these limits; its key's secret."""
    tenancy = quota.blocking.tenancy
    tenancy.create_organization("o", id="o", limits=limits["o"])
    tenancy.create_team("o", "t", id="t", limits=limits["t"], models=models)
    tenancy.create_project("t", "p", org="o", id="p", limits=limits["p"])
    return tenancy.create_key("p", org="o", id="k", limits=limits["k"], permissions=permissions).secret


@settings(deadline=None, max_examples=150)
@given(
    limits=st.fixed_dictionaries(dict.fromkeys("otpk", LIMIT_SETS)),
    models=st.sampled_from([*[[], ["te*", "x"]] * 4, ["other"]]),
    permissions=st.sampled_from([*[["chat:create"], ["*"]] * 4, ["embeddings:create"]]),
    steps=st.lists(st.tuples(STEPS, st.integers(0, 4)), max_size=12),
    tight=st.sampled_from(["cap", "clamp", "deny"]),
    shadow=st.booleans(),
)
def test_it_may_go_just_where_it_then_goes(limits, models, permissions, steps, tight, shadow) -> None:
    """Over random trees and what was used: the same decision, error, caps and figures as the call itself meets."""
    clock = FakeClock()
    store = AuditedStore(clock)
    quota = a_quota(store, clock=clock, tight=tight, clamp_min=5, shadow=shadow, lease=1e8)
    secret = grown(quota, limits, models, permissions)
    by = Identity(end_user="ann", key=keys.digest(secret))
    under_way: list[Admission] = []
    for step, n in steps:
        match step:
            case "spend" | "hold":
                outcome = ask(quota, by=by)
                if isinstance(outcome, Admission):
                    under_way.append(outcome)
                if under_way and step == "spend":
                    under_way.pop().settle(used(n))
            case "end" if under_way:
                under_way.pop(0).settle(used(n))
            case "minute":
                clock.advance(30_000 * n)
            case "day":
                clock.advance(DAY_MS)
            case "disable" | "enable":
                quota.blocking.tenancy.update("o", "otpk"[n % 4], enabled=step == "enable")
            case "ask":
                cents = [None, 0, 1, 3, 9][n]
                meets(quota, store, by, secret, cents, under_way)
    meets(quota, store, by, secret, 1, under_way)
    for each in under_way:
        each.settle(used())
    quota.close()


def meets(
    quota: Quota,
    store: AuditedStore,
    by: Identity,
    secret: str,
    cents: int | None,
    under_way: list[Admission],
) -> None:
    """What is said of a call, held against what it meets."""
    quota.flush()
    (cells, before), stats = state(store), dict(quota.stats)
    said = why(quota, cents, key=secret, end_user="ann")
    cells_now, now = state(store)
    assert cells_now <= cells  # windows that are over may be forgotten meanwhile
    assert (now, dict(quota.stats)) == (before, stats)
    outcome = ask(quota, described(None, MODEL, "chat", 0, None if cents is None else cents * TOKENS), by)
    assert said.allowed == isinstance(outcome, Admission), said
    if isinstance(outcome, Admission):
        under_way.append(outcome)
        assert (said.reserved, said.tokens, said.output_cap) == (*outcome.bound.hold[1::-1], outcome.cap)
        assert list(said.would_deny) == outcome.would_deny
    elif said.reason is not None:
        assert said.reason.body() == outcome.body()
        assert said.reason.headers() == outcome.headers()
        if said.until is not None and not store.held:
            clock = store.clock
            assert isinstance(clock, FakeClock)
            back = clock()
            clock.now = said.until - 1
            soon = why(quota, cents, key=secret, end_user="ann")
            clock.now = said.until
            assert why(quota, cents, key=secret, end_user="ann").allowed, said
            assert soon.until is None or soon.allowed or soon.until >= said.until
            clock.now = max(back, said.until)


# whoever it is about


def test_a_key_is_named_by_its_secret_or_its_id(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock)
    secret = grown(quota, {"o": [], "t": [], "p": ["$1/day"], "k": ["1 requests/day"]}, [], ["chat:create"])
    for key in (secret, "k"):
        assert why(quota, key=key).allowed
        assert why(quota, key=key, organization="o").caller == {
            "organization": "o",
            "team": "t",
            "project": "p",
            "key": "k",
        }
        assert code_of(why(quota, key=key, operation="embeddings")) == "missing_permission"
    spend(quota, by=Identity(key=keys.digest(secret)))
    assert [code_of(why(quota, key=key)) for key in (secret, "k")] == ["rate_limit_exceeded"] * 2
    quota.blocking.tenancy.revoke_key("o", "k")
    assert [code_of(why(quota, key=key)) for key in (secret, "k")] == ["invalid_api_key"] * 2


def code_of(said: Explanation) -> str | None:
    return said.reason.code if said.reason is not None else None


def test_projects_members_and_end_users_are_told_apart(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock)
    tenancy = quota.blocking.tenancy
    grown(quota, {"o": [], "t": [], "p": ["$0.01/day per end_user"], "k": []}, [], ["*"])
    ann = tenancy.create_member("o", "ann", roles=[("developer", "p")])
    tenancy.create_member("o", "bob", roles=[("viewer", "p")])
    assert why(quota, project="p").limits == ()
    spend(quota, by=Identity("p", "u1"))
    assert code_of(why(quota, project="p", end_user="u1")) == "budget_exceeded"
    assert why(quota, project="p", end_user="u2").allowed
    said = why(quota, project="p", member="ann", organization="o")
    assert (said.allowed, said.caller["member"]) == (True, ann.id)
    assert code_of(why(quota, project="p", member="bob", organization="o")) == "missing_permission"
    assert code_of(why(quota, project="q")) == "unattributed"


def test_nobody_named_is_whoever_calls_here(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock)
    grown(quota, {"o": [], "t": [], "p": [], "k": []}, [], ["*"])
    said = why(quota)
    assert (code_of(said), said.limits, said.caller, said.reserved) == ("unattributed", (), {}, None)
    with quota.acting_as(project="p"):
        assert why(quota).caller["project"] == "p"
        assert why(quota, end_user="u1").caller == {}  # who is named is all that counts
    bound = binding(quota)
    assert refused(ask(quota, by=bound)).code == "unattributed"


def test_limits_are_told_with_what_is_left_of_them(store: AuditedStore, clock: FakeClock) -> None:
    """Whose they are, hard or not; a budget with what was carried over."""
    limits = [
        "$0.02/day carryover",
        "$9/day soft",
        "3 requests/minute",
        "1 concurrent",
        "2 requests/day for other",
    ]
    quota = a_quota(store, clock=clock, limits=limits)
    spend(quota, 1)
    clock.advance(DAY_MS)
    spend(quota, 1)
    let_go(ask(quota)).settle(used(1))
    under_way = let_go(ask(quota))
    said = why(quota)
    midnight = (clock() // DAY_MS + 1) * DAY_MS
    assert [(str(s.limit), s.node, s.cap, s.used, s.held, s.remaining, s.resets_at) for s in said.limits] == [
        ("$0.02/day carryover", "proj_app", 3 * CENT, 2 * CENT, CENT, 0, midnight),
        ("$9/day soft", "proj_app", 900 * CENT, 2 * CENT, CENT, 897 * CENT, midnight),
        ("3 requests/minute", "proj_app", 3, 3, 0, 0, clock() + 60_000),
        ("1 concurrent", "proj_app", 1, 0, 1, 0, None),
    ]
    assert said.until == clock() + 60_000
    body = json.loads(json.dumps(said.body()))
    assert body["error"]["type"] == "rate_limit_exceeded"
    assert body["limits"][0]["remaining"] == 0.0
    assert body["limits"][1] == {
        "rule": "$9/day soft",
        "on": "proj_app",
        "kind": "project",
        "name": "app",
        "metric": "cost",
        "limit": 9.0,
        "used": 0.02,
        "held": 0.01,
        "remaining": 8.97,
        "resets_at": "2026-06-17T00:00:00Z",
        "mode": "soft",
    }
    under_way.settle(used(0))


def test_it_tells_what_the_call_would_cost(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=["$1/day"], prices={MODEL: {"input": 1000, "output": 1000}})
    said = why(quota, 3, input=20)
    assert (said.reserved, said.output_cap) == (CENT // 10 * (30 + 28), None)
    assert (said.tokens, said.estimate) == (30 + 28, CENT // 10 * 58)
    capped = why(quota, None)
    assert capped.output_cap is not None
    assert (capped.allowed, capped.body()["output_cap"]) == (True, capped.output_cap)
    free = why(quota, model="unpriced", max_output=10)
    assert (code_of(free), free.estimate, free.body()["estimated_usd"]) == ("price_unknown", None, None)


def test_in_shadow_all_may_go_and_what_is_in_the_way_is_told(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, limits=["0 requests/day"], shadow=True)
    said = why(quota, project="proj_app", address="10.0.0.1")
    assert (said.allowed, said.would_deny, said.body()["would_deny"]) == (
        True,
        ("0 requests/day",),
        ["0 requests/day"],
    )
    assert "would_deny" not in quota.stats


def test_a_keys_addresses_bear_where_one_is_given(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock)
    grown(quota, {"o": [], "t": [], "p": ["1 requests/day"], "k": []}, [], ["*"])
    quota.blocking.tenancy.update_key("o", "k", addresses=["10.0.0.0/8"])
    assert why(quota, key="k").allowed
    assert why(quota, key="k", address="::ffff:10.1.2.3").allowed
    said = why(quota, key="k", address="192.0.2.1")
    assert (code_of(said), len(said.limits)) == ("address_not_allowed", 1)


# what cannot be told


def test_what_there_is_not_is_an_error(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock)
    grown(quota, {"o": [], "t": [], "p": [], "k": []}, [], ["*"])
    for key in ("nowhere", "p", "o"):
        for more in ({}, {"organization": "o"}):
            with pytest.raises(NotFound, match=f"no key '{key}'"):
                why(quota, key=key, **more)
    for key in ("qw_live_x", keys.make("live")[:-1], 7):
        with pytest.raises(InvalidKeyFormat):
            why(quota, key=key)
    assert code_of(why(quota, key=keys.make("live"))) == "invalid_api_key"
    for field, more in {
        "key": {"key": "k", "project": "p"},
        "model": {"model": None},
        "input": {"input": -1},
        "max_output": {"max_output": 1.5},
        "project": {"project": 7},
        "tags": {"tags": {"a": 1}},
    }.items():
        with pytest.raises(ConfigurationError) as caught:
            why(quota, **more)
        assert caught.value.field == field
    with pytest.raises(TypeError, match="modell"):
        why(quota, modell="x")


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_while_the_store_is_away_nobody_can_tell(clock: FakeClock) -> None:
    faulty = FaultyStore(AuditedStore(clock))
    quota = a_quota(faulty, clock=clock, limits=["1 requests/day"])
    assert (await quota.explain(model=MODEL, input=0, max_output=10)).allowed
    faulty.fail()
    with pytest.raises(StoreError):
        await quota.explain(model=MODEL, input=0, max_output=10)
    with pytest.raises(StoreError):
        why(quota)
    faulty.heal()
    quota.close()


# on every store


@pytest.fixture(params=["memory", "sqlite", "redis"])
def real(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[Store]:
    urls = {
        "memory": lambda: "memory://",
        "sqlite": lambda: f"sqlite:///{tmp_path}/quota.db?durability=relaxed",
        "redis": lambda: f"{request.getfixturevalue('valkey_url')}?prefix=t{secrets.token_hex(6)}",
    }
    store = open_store(urls[request.param](), clock)
    yield store
    store.close()


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
async def test_asking_leaves_every_store_as_it_is(real: Store) -> None:
    quota = a_quota(
        real, limits=["$0.03/day", "60 tokens/minute", "2 concurrent", "$1/week carryover"], deadline=5
    )
    spend(quota, 1)
    assert quota.flush(5)
    before = [item for item in real.dump("org_app") if item.table != "org"]
    for cents, allowed in ((1, True), (3, False), (None, False)) * 2:
        said = await quota.explain(
            model=MODEL, input=0, max_output=None if cents is None else cents * TOKENS, project="proj_app"
        )
        assert said.allowed is allowed
        assert len(said.limits) == 4
    assert quota.flush(5)
    assert [item for item in real.dump("org_app") if item.table != "org"] == before
    assert dict(quota.stats) == {"admitted": 1}
    assert quota.close()
