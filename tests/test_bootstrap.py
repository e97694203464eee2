"""The first start: an admin key that is answered once, or that the environment names; and whether there is one."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from quotaware import ConfigurationError, PermissionDenied, Quota
from quotaware.tenancy import keys
from quotaware.tenancy.keys import id_of
from quotaware.tenancy.nodes import Path
from quotaware.tenancy.starts import SIMPLE_ORG
from tests.support import AuditedStore, FakeClock

SECRET = keys.make("admin")
ADMIN_KEY = "QUOTAWARE_ADMIN_KEY"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store(clock: FakeClock) -> AuditedStore:
    return AuditedStore(clock)


@pytest.fixture
def quota(store: AuditedStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> Quota:
    monkeypatch.setenv(ADMIN_KEY, SECRET)
    return Quota(store, clock=clock)


def path_of(store: AuditedStore, secret: str) -> Path:
    """Where a key leads, as a process that knows nothing yet sees it."""
    directory = Quota(store, clock=store.clock).engine.directory
    place = directory.load_key(keys.digest(secret))
    assert place is not None
    return directory.load(*place)


def test_an_id_can_be_chosen(store: AuditedStore, clock: FakeClock) -> None:
    quota = Quota(store, clock=clock)
    first, again = (quota.bootstrap("StartupAI", id="org_startup_ai") for _ in range(2))
    assert first.organization_id == again.organization_id == "org_startup_ai"
    assert (first.key is None, again.key) == (False, None)
    assert path_of(store, str(first.key)).organization.name == "StartupAI"
    with pytest.raises(ConfigurationError) as caught:
        quota.bootstrap("StartupAI", id="Startup AI")
    assert caught.value.field == "id"


# the environment's


def test_it_opens_the_organization_that_is_bootstrapped_first(
    quota: Quota, store: AuditedStore, clock: FakeClock
) -> None:
    first = quota.bootstrap("First")
    assert first.key is None
    clock.advance(1)
    second = quota.bootstrap("Second", id="a_second")  # before the first by id
    assert second.key is not None
    assert quota.bootstrap("First").key is None
    assert path_of(store, SECRET).ids == (id_of("key", keys.digest(SECRET)), first.organization_id)
    assert path_of(store, second.key).ids[1] == "a_second"


@pytest.mark.parametrize("made", [["First", "Second"], []], ids=["the first", "none"])
def test_it_is_there_from_the_start_on(
    quota: Quota, store: AuditedStore, clock: FakeClock, made: list[str]
) -> None:
    """Of the organization that was made first; where there is none, of one that is made for it."""
    for name in made:
        quota.blocking.tenancy.create_organization(name, id=f"org_{'zz' if name == 'First' else 'aa'}")
        clock.advance(1)
    quota._prepare()
    assert path_of(store, SECRET).organization.name == (made or ["default"])[0]
    before = store.orgs("", 10), store.audit("org_zz", 0, 10)
    quota._prepare()
    assert (store.orgs("", 10), store.audit("org_zz", 0, 10)) == before


def test_with_limits_it_manages_their_organization(
    store: AuditedStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ADMIN_KEY, SECRET)
    Quota(store, limits=["$1/day"], clock=clock)._prepare()
    assert path_of(store, SECRET).ids[1] == SIMPLE_ORG


def test_another_value_is_one_key_more(
    quota: Quota, store: AuditedStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    org = quota.bootstrap("StartupAI").organization_id
    other = keys.make("admin")
    monkeypatch.setenv(ADMIN_KEY, other)
    Quota(store, clock=clock)._prepare()
    assert {path_of(store, secret).ids[1] for secret in (SECRET, other)} == {org}


def test_one_that_was_revoked_stays_revoked(quota: Quota, store: AuditedStore) -> None:
    org = quota.bootstrap("StartupAI").organization_id
    quota.blocking.tenancy.revoke_key(org, path_of(store, SECRET).ids[0])
    quota.bootstrap("StartupAI")
    quota._prepare()
    assert path_of(store, SECRET).nodes[0].revoked


def test_a_random_key_goes_on_beside_it(
    store: AuditedStore, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Quota(store, clock=clock).bootstrap("StartupAI")
    monkeypatch.setenv(ADMIN_KEY, SECRET)
    assert Quota(store, clock=clock).bootstrap("StartupAI").key is None
    assert path_of(store, SECRET).ids[1] == path_of(store, str(first.key)).ids[1] == first.organization_id


@pytest.mark.parametrize(
    "value",
    ["hunter2", keys.make("live"), SECRET[:-1], SECRET + "\n"],
    ids=["other", "live", "short", "line"],
)
def test_a_malformed_one_is_named_and_not_repeated(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv(ADMIN_KEY, value)
    with pytest.raises(ConfigurationError) as caught:
        Quota()
    assert caught.value.field == ADMIN_KEY
    assert value not in str(caught.value)


def test_an_empty_one_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADMIN_KEY, "")
    quota = Quota()
    quota._prepare()
    assert quota.store.orgs("", 10) == []


def test_it_is_in_no_log_audit_row_or_document(
    quota: Quota, store: AuditedStore, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    first = quota.bootstrap("StartupAI")
    quota._prepare()
    kept = [str(item) for item in store.dump(first.organization_id)]
    assert kept
    assert SECRET not in "".join([*kept, caplog.text, repr(first), repr(vars(quota.blocking.tenancy))])


# whether there is one


def test_without_an_admin_it_is_told_how_to_make_one(store: AuditedStore, clock: FakeClock) -> None:
    quota = Quota(store, clock=clock, limits=["$1/day"])
    quota._prepare()
    tenancy = quota.blocking.tenancy
    assert not tenancy.has_admin()
    with pytest.raises(PermissionDenied, match=r"bootstrap\(.*QUOTAWARE_ADMIN_KEY") as caught:
        tenancy.require_admin()
    assert caught.value.code == "no_admin_key"


def test_once_there_is_an_admin_the_store_is_asked_no_more(store: AuditedStore, clock: FakeClock) -> None:
    quota = Quota(store, clock=clock)
    tenancy = quota.blocking.tenancy
    assert not tenancy.has_admin()
    org = quota.bootstrap("StartupAI").organization_id
    tenancy.require_admin()
    store.children = store.orgs = None  # type: ignore[method-assign, assignment]
    assert tenancy.has_admin()
    assert quota.blocking.tenancy.get(org, org).name == "StartupAI"


def test_a_key_that_does_not_work_or_may_not_manage_is_no_admin(
    store: AuditedStore, clock: FakeClock
) -> None:
    quota = Quota(store, clock=clock)
    tenancy = quota.blocking.tenancy
    org = tenancy.create_organization("A").id
    project = tenancy.create_project(org, "P").id
    tenancy.create_key(project, permissions=["org:manage"])
    tenancy.create_key(org, permissions=["quota:manage"])
    revoked, disabled = (tenancy.create_key(org, permissions=["org:manage"]).node.id for _ in range(2))
    tenancy.revoke_key(org, revoked)
    tenancy.update_key(org, disabled, enabled=False)
    later = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)
    tenancy.create_key(org, permissions=["org:manage"], expires_at=later)
    clock.now, now = later, clock.now
    assert not tenancy.has_admin()
    clock.now = now
    assert tenancy.has_admin()


@pytest.mark.parametrize("role", ["developer", "org_admin"])
def test_a_member_may_be_the_admin(store: AuditedStore, clock: FakeClock, role: str) -> None:
    tenancy = Quota(store, clock=clock).blocking.tenancy
    org = tenancy.create_organization("A").id
    tenancy.create_member(org, "ann", roles=[(role, org)])
    assert tenancy.has_admin() is (role == "org_admin")
