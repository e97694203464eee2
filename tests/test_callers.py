"""Who a call belongs to, and that a change of what it may do bears on the very next call (I-17, I-18)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from quotaware import Quota
from quotaware.context import Binding, Caller, Identity, current
from quotaware.errors import ApiError, ConfigurationError, InvalidKeyFormat
from quotaware.stores.tickets import drive
from quotaware.tenancy import keys
from quotaware.tenancy.credentials import NewKey
from quotaware.usage import UsageRecord
from tests.calls import CENT, a_call, a_quota, ask, ask_async, audited, binding, let_go, refused, spend, used
from tests.support import AuditedStore, FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=[False, True], ids=["inline", "thread"])
def store(request: pytest.FixtureRequest, clock: FakeClock) -> Iterator[AuditedStore]:
    with audited(clock, threaded=request.param) as store:
        yield store


class Team:
    """An organization `o` with a team, a project with a budget of ten cents a day, and a key on it."""

    def __init__(self, store: AuditedStore, clock: FakeClock, **more: Any) -> None:
        self.store = store
        self.quota: Quota = a_quota(store, clock=clock, **more)
        tenancy = self.tenancy = self.quota.blocking.tenancy
        tenancy.create_organization("o", id="o")
        tenancy.create_team("o", "t", id="t")
        tenancy.create_project("t", "p", org="o", id="p", limits=["$0.1/day"])
        self.key: NewKey = tenancy.create_key("p", org="o", id="k")

    @property
    def by_key(self) -> Identity:
        return Identity(key=keys.digest(self.key.secret))

    def ask(self, by: Identity | None = None) -> Any:
        return ask(self.quota, by=by or self.by_key)

    def record(self) -> UsageRecord:
        (record,) = self.quota.blocking.usage.records()
        return record


@pytest.fixture
def team(store: AuditedStore, clock: FakeClock) -> Team:
    return Team(store, clock)


# who


def test_a_call_of_nobody_is_denied_with_what_to_set(team: Team) -> None:
    error = refused(ask(team.quota))
    assert (error.status, error.code) == (403, "unattributed")
    for way_out in ("acting_as", "unattributed='allow'", "unattributed='project:<id>'", "identify"):
        assert way_out in error.message


def test_a_call_of_nobody_whose_credentials_were_refused_is_told_that(team: Team) -> None:
    by = Binding(team.quota.meter, None, InvalidKeyFormat())
    assert refused(ask(team.quota, by=by)).message == "Invalid API key format"


def test_what_is_allowed_unattributed_is_recorded_all_the_same(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, unattributed="allow")
    let_go(ask(quota, by=Identity(end_user="ann", tags={"job": "night"}))).settle(used())
    (record,) = quota.blocking.usage.records()
    assert (record.project, record.key, record.end_user, record.cost) == (None, None, "ann", CENT)
    assert record.tags == {"job": "night"}


def test_no_organization_can_have_the_id_of_the_unattributed(store: AuditedStore, clock: FakeClock) -> None:
    quota = a_quota(store, clock=clock, unattributed="allow")
    spend(quota)
    (record,) = quota.blocking.usage.records()
    with pytest.raises((ConfigurationError, ApiError)):
        quota.blocking.tenancy.create_organization("x", id=record.organization)


def test_calls_of_nobody_can_fall_to_a_project(store: AuditedStore, clock: FakeClock) -> None:
    team = Team(store, clock, unattributed="project:p")
    for _ in range(10):
        spend(team.quota)
    error = refused(ask(team.quota))
    assert error.message == "Daily budget of $0.1 exceeded for project 'p'"
    assert {record.project for record in team.quota.blocking.usage.records()} == {"p"}


def test_a_project_that_is_not_there_is_told(store: AuditedStore, clock: FakeClock) -> None:
    team = Team(store, clock, unattributed="project:nowhere")
    for by in (None, Identity(project="elsewhere"), Identity(project="Not An Id")):
        error = refused(ask(team.quota, by=by))
        assert (error.status, error.code) == (403, "unattributed")
        assert (by.project if by and by.project else "nowhere") in error.message


def test_a_key_that_is_not_there_is_a_key_that_is_wrong(team: Team) -> None:
    error = refused(team.ask(Identity(key=keys.digest(keys.make("live")))))
    assert (error.status, error.type, error.message) == (401, "authentication_error", "Invalid API key")


def test_a_key_that_is_not_on_a_project_makes_no_calls(team: Team) -> None:
    admin = team.tenancy.create_key("o", org="o")
    error = refused(team.ask(Identity(key=admin.node.digest)))
    assert (error.status, error.code) == (403, "project_required")


def test_a_key_needs_the_permission_of_the_operation(team: Team) -> None:
    chat = team.tenancy.create_key("p", org="o", permissions=["chat:create"])
    by = Caller("o", chat.node.id, digest=chat.node.digest)
    let_go(ask(team.quota, by=by)).settle(used())
    let_go(ask(team.quota, a_call(operation="unknown"), by)).settle(used())
    listing = a_call(operation="models", free=True, model=None)
    assert refused(ask(team.quota, listing, by)).message == "API key does not have 'models:list' permission"
    lister = team.tenancy.create_key("p", org="o", permissions=["models:list"])
    let_go(ask(team.quota, listing, Caller("o", lister.node.id, digest=lister.node.digest))).settle(used(0))
    error = refused(ask(team.quota, a_call(operation="embeddings"), by))
    assert (error.status, error.message) == (403, "API key does not have 'embeddings:create' permission")


def test_a_model_must_be_allowed_at_every_node(team: Team) -> None:
    """Rule 8: narrow, never widen."""
    narrow = team.tenancy.create_key("p", org="o", models=["other*", "tenth"])
    by = Caller("o", narrow.node.id, digest=narrow.node.digest)
    let_go(ask(team.quota, by=by)).settle(used())
    team.tenancy.update("o", "t", models=["other*"])
    error = refused(ask(team.quota, by=by))
    assert (error.status, error.code) == (403, "model_not_allowed")
    assert error.message == "Model 'tenth' is not allowed for team 't'"
    unnamed = refused(ask(team.quota, a_call(model=None, operation="unknown"), by))
    assert unnamed.code == "model_ambiguous"


def test_a_key_whose_document_carries_another_digest_opens_nothing(team: Team) -> None:
    """The index of digests is a hint; the document is the truth."""
    stray = keys.digest(keys.make("live"))
    team.store.link(stray, "o", "k")
    assert refused(team.ask(Identity(key=stray))).status == 401


# acting_as


def test_acting_as_a_key_in_sync_and_async_code(team: Team) -> None:
    with (
        team.quota.acting_as(key=team.key.secret, end_user="ann", tags={"job": "nightly"}),
        team.quota.call(provider=None, model="tenth", input=0, max_output=10) as call,
    ):
        call.used(output=5)
    record = team.record()
    assert (record.key, record.project, record.team, record.end_user) == ("k", "p", "t", "ann")
    assert (record.tags, record.cost) == ({"job": "nightly"}, CENT // 2)

    async def night() -> None:
        async with (
            team.quota.acting_as(project="p"),
            team.quota.call(provider=None, model="tenth", input=0, max_output=10) as call,
        ):
            call.used(output=1)

    asyncio.run(night())
    assert [each.key for each in team.quota.blocking.usage.records()] == ["k", None]
    assert current() is None


def test_blocks_nest_and_end(team: Team) -> None:
    with team.quota.acting_as(key=team.key.secret) as outer:
        with team.quota.acting_as(project="p") as inner:
            assert current() is inner
        assert current() is outer
    assert current() is None


def test_tasks_begun_in_a_block_act_as_it_does_and_no_others(team: Team) -> None:
    team.tenancy.update("o", "p", limits=[])

    async def user(name: str) -> str | None:
        with team.quota.acting_as(project="p", end_user=name):
            await asyncio.sleep(0)
            return await asyncio.create_task(asked())

    async def asked() -> str | None:
        await asyncio.sleep(0)
        by = team.quota.meter.binding()
        let_go(await ask_async(team.quota, by=by)).settle(used(0))
        assert isinstance(by.caller, Caller)
        return by.caller.end_user

    async def all_of_them() -> list[str | None]:
        return await asyncio.gather(*(user(f"u{n}") for n in range(20)))

    assert asyncio.run(all_of_them()) == [f"u{n}" for n in range(20)]


@pytest.mark.parametrize("key", ["", "qw_live_short", "sk-other", 17, b"qw_live_", "qw_live_" + "0" * 36])
def test_a_malformed_key_is_refused_at_once(key: Any, team: Team) -> None:
    before = dict(team.store.steps)
    with pytest.raises(InvalidKeyFormat):
        team.quota.acting_as(key=key)
    assert team.store.steps == before


def test_a_key_and_a_project_are_one_too_many(team: Team) -> None:
    with pytest.raises(ConfigurationError) as caught:
        team.quota.acting_as(key=team.key.secret, project="p")
    assert caught.value.field == "project"


# at once


CHANGES: dict[str, tuple[Callable[[Team], Any], Callable[[Team], Any], int]] = {
    "key revoked": (lambda team: team.tenancy.revoke_key("o", "k"), lambda team: None, 401),
    "key expired": (
        lambda team: team.tenancy.update("o", "k", expires_at=team.store.clock()),
        lambda team: team.tenancy.update("o", "k", expires_at=None),
        401,
    ),
    "key disabled": (
        lambda team: team.tenancy.disable("o", "k"),
        lambda team: team.tenancy.enable("o", "k"),
        403,
    ),
    "project disabled": (
        lambda team: team.tenancy.disable("o", "p"),
        lambda team: team.tenancy.enable("o", "p"),
        403,
    ),
    "team disabled": (
        lambda team: team.tenancy.disable("o", "t"),
        lambda team: team.tenancy.enable("o", "t"),
        403,
    ),
    "organization disabled": (
        lambda team: team.tenancy.disable("o", "o"),
        lambda team: team.tenancy.enable("o", "o"),
        403,
    ),
    "budget lowered": (
        lambda team: team.tenancy.update("o", "p", limits=["$0.01/day"]),
        lambda team: team.tenancy.update("o", "p", limits=["$0.1/day"]),
        429,
    ),
    "budget added above": (
        lambda team: team.tenancy.update("o", "o", limits=["$0/month"]),
        lambda team: team.tenancy.update("o", "o", limits=[]),
        429,
    ),
    "permission taken": (
        lambda team: team.tenancy.update("o", "k", permissions=["embeddings:create"]),
        lambda team: team.tenancy.update("o", "k", permissions=["chat:create"]),
        403,
    ),
    "models narrowed": (
        lambda team: team.tenancy.update("o", "t", models=["other"]),
        lambda team: team.tenancy.update("o", "t", models=[]),
        403,
    ),
}


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another process"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_bears_on_the_very_next_call(
    change: str, elsewhere: bool, store: AuditedStore, clock: FakeClock
) -> None:
    """I-17, I-18: the running call is settled, the next is refused; what is given back passes at once, though this
    process had it in memory as refused. A second Quota stands for another process: it shares the store only.
    """
    team = Team(store, clock)
    by = binding(team.quota, team.by_key)
    running = let_go(ask(team.quota, by=by))
    other = a_quota(store, clock=clock)
    changer = Team.__new__(Team)
    changer.store, changer.quota, changer.key = store, other, team.key
    changer.tenancy = other.blocking.tenancy if elsewhere else team.tenancy
    take, give, status = CHANGES[change]
    take(changer)
    for again in (by, team.by_key):
        assert refused(ask(team.quota, by=again)).status == status
    running.settle(used())
    if change != "key revoked":
        give(changer)
        let_go(ask(team.quota, by=by)).settle(used())
    team.quota.flush()
    assert {record.cost for record in team.quota.blocking.usage.records()} == {CENT}
    assert store.held == {}


def test_a_key_that_expires_by_the_clock_is_refused_from_then_on(team: Team, clock: FakeClock) -> None:
    team.tenancy.update("o", "k", expires_at=clock.now + 1000)
    let_go(team.ask()).settle(used())
    clock.advance(999)
    let_go(team.ask()).settle(used())
    clock.advance(1)
    assert refused(team.ask()).status == 401


@pytest.mark.parametrize("elsewhere", [False, True], ids=["here", "in another process"])
def test_what_is_deleted_makes_no_calls(elsewhere: bool, store: AuditedStore, clock: FakeClock) -> None:
    team = Team(store, clock)
    changer = a_quota(store, clock=clock).blocking.tenancy if elsewhere else team.tenancy
    by_key, by_project = binding(team.quota, team.by_key), binding(team.quota, Identity(project="p"))
    for by in (by_key, by_project):
        let_go(ask(team.quota, by=by)).settle(used())
    changer.delete("o", "k")
    assert refused(ask(team.quota, by=by_key)).status == 401
    let_go(ask(team.quota, by=by_project)).settle(used())
    changer.delete("o", "p")
    error = refused(ask(team.quota, by=by_project))
    assert (error.status, error.message) == (403, "There is no project 'p'")


def test_a_budget_below_what_is_used_and_held_shows_nothing_left(team: Team) -> None:
    """I-17: what runs is booked, nothing new goes, what remains is 0; raised again it frees at once."""
    let_go(team.ask()).settle(used(cents=1))
    running = let_go(ask(team.quota, a_call(cents=5), team.by_key))
    team.tenancy.update("o", "p", limits=["$0.02/day"])
    error = refused(team.ask())
    assert error.fields["limit_usd"] == 0.02
    path = drive(team.quota.engine.path("o", "k"))
    caller = Caller("o", "k", digest=team.key.node.digest)
    assert team.quota.engine.left(team.quota.engine.policy(path, a_call(), caller)) == 0
    running.settle(used(cents=5))
    team.tenancy.update("o", "p", limits=["$0.08/day"])
    let_go(ask(team.quota, a_call(cents=2), team.by_key)).settle(used(cents=2))
    assert refused(team.ask()).fields["current_usage_usd"] == 0.08


def test_making_keys_disturbs_nobody(team: Team) -> None:
    """Rule 5: a call goes on costing one reserve and one settle."""
    let_go(team.ask()).settle(used())
    for _ in range(50):
        team.tenancy.create_key("p", org="o")
    team.quota.flush()
    team.store.steps.clear()
    let_go(team.ask()).settle(used())
    team.quota.flush()
    assert team.store.steps == {"Reserve": 1, "Settle": 1}


def test_a_change_costs_one_reload_and_one_more_ask(store: AuditedStore, clock: FakeClock) -> None:
    """A change, process and path: whoever meets it first reloads, the others find it."""
    team = Team(store, clock)
    elsewhere = a_quota(store, clock=clock).blocking.tenancy
    bindings = [binding(team.quota, team.by_key) for _ in range(5)]
    for by in bindings:
        let_go(ask(team.quota, by=by)).settle(used(0))
    elsewhere.update("o", "t", limits=["$9/day"])
    team.quota.flush()
    store.steps.clear()
    for by in bindings:
        let_go(ask(team.quota, by=by)).settle(used(0))
    team.quota.flush()
    assert store.steps == {"Reserve": 6, "Settle": 5, "read": 1}


def test_calls_under_way_at_the_change_reload_once(clock: FakeClock) -> None:
    with audited(clock, threaded=True) as store:
        team = Team(store, clock)
        let_go(team.ask()).settle(used(0))
        a_quota(store, clock=clock).blocking.tenancy.update("o", "t", limits=["$9/day"])
        team.quota.flush()
        store.steps.clear()

        async def at_once() -> None:
            for outcome in await asyncio.gather(*(ask_async(team.quota, by=team.by_key) for _ in range(8))):
                let_go(outcome).settle(used(0))

        asyncio.run(at_once())
        assert store.steps["read"] == 1
        assert store.steps["Reserve"] <= 16


def test_a_refusal_is_looked_up_before_it_is_believed(team: Team) -> None:
    """What is refused from memory costs one look at the store, and a reload only where something changed."""
    team.tenancy.disable("o", "p")
    refused(team.ask())
    team.quota.flush()
    team.store.steps.clear()
    refused(team.ask())
    assert team.store.steps == {"Peek": 1}
