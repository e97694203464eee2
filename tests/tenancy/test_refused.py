"""The audit log: every change and every refused attempt, by whom and from where, without a secret in it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from quotaware.errors import PermissionDenied, StoreError
from quotaware.stores.memory import MemoryStore
from quotaware.tenancy import keys, refusals
from quotaware.tenancy.service import Tenancy
from quotaware.testing.clocks import FakeClock

from .people import ORG, House


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def house(clock: FakeClock) -> House:
    return House(MemoryStore(clock), clock)


def attempts(house: House) -> dict[str, Callable[[Tenancy], object]]:
    """What an outsider may not do, by what the audit log calls it."""
    host = house.host
    key = host.create_key("proj_one", permissions=["chat:create"]).node.id
    member = host.create_member(ORG, "m", roles=[("viewer", ORG)]).id
    group = host.create_group(ORG, ORG, "g").id
    role = host.create_role(ORG, "r", ["chat:create"]).id
    host.update(ORG, "proj_one", limits=["$1/month"])
    asked = house.member("asker", ("developer", "proj_one")).ask(ORG, "proj_one", "cost/month", 2 * 10**9).id
    return {
        "team.create": lambda t: t.create_team(ORG, "T"),
        "project.create": lambda t: t.create_project("team_one", "P"),
        "key.create": lambda t: t.create_key("proj_one"),
        "node.update": lambda t: t.update(ORG, "proj_one", limits=[]),
        "project.move": lambda t: t.move_project(ORG, "proj_one", "team_two"),
        "node.delete": lambda t: t.delete(ORG, "proj_alone"),
        "node.allocate": lambda t: t.allocate(ORG, ORG, []),
        "node.override": lambda t: t.override(ORG, "proj_one", "cost/month", 1),
        "key.rotate": lambda t: t.rotate_key(ORG, key),
        "key.revoke": lambda t: t.revoke_key(ORG, key),
        "member.create": lambda t: t.create_member(ORG, "x"),
        "member.update": lambda t: t.update_member(ORG, member, roles=[("org_admin", ORG)]),
        "member.delete": lambda t: t.delete_member(ORG, member),
        "group.create": lambda t: t.create_group(ORG, ORG, "h"),
        "group.update": lambda t: t.update_group(ORG, group, roles=["org_admin"]),
        "group.delete": lambda t: t.delete_group(ORG, group),
        "role.create": lambda t: t.create_role(ORG, "s", []),
        "role.update": lambda t: t.update_role(ORG, role, permissions=["*"]),
        "role.delete": lambda t: t.delete_role(ORG, role),
        "request.create": lambda t: t.ask(ORG, "proj_one", "cost/month", 3 * 10**9),
        "request.approved": lambda t: t.decide(ORG, asked, "approved"),
        "request.rejected": lambda t: t.decide(ORG, asked, "rejected"),
    }


def test_each_refused_attempt_changes_nothing_and_leaves_one_row(house, clock):
    tried = attempts(house)
    who = house.key("proj_two", "chat:create", "api_key:read")
    who = house.host.by(who._actor.seen_from("10.1.2.3"))
    for what, attempt in tried.items():
        clock.advance(refusals.HOUR_MS)
        documents, rows = house.documents(), len(house.audit())
        with pytest.raises(PermissionDenied) as caught:
            attempt(who)
        assert house.documents() == documents
        *_, row = house.audit()
        assert len(house.audit()) == rows + 1
        assert row["what"] == f"{what}.refused"
        assert row["who"] == {"kind": "key", "id": who._actor.id, "name": None}
        assert (row["from"], row["at"]) == ("10.1.2.3", clock())
        assert row["why"] == {"code": caught.value.code, "message": caught.value.message}
        assert (row["before"], row["after"]) == ([], [])


def test_a_flood_of_refused_attempts_leaves_a_bounded_number_of_rows(house, clock):
    before = len(house.audit())
    actors = [house.key("proj_two", "chat:create") for _ in range(15)]
    made = len(house.audit()) - before
    for who in actors:
        for number in range(40):
            with pytest.raises(PermissionDenied):
                who.create_team(ORG, f"T{number}")
    told = [row for row in house.audit() if row["what"] == "team.create.refused"]
    assert len(house.audit()) == before + made + len(told)
    assert len(told) == refusals.OF_AN_ORGANIZATION
    by_actor = {row["who"]["id"] for row in told}
    assert all(sum(row["who"]["id"] == id for row in told) <= refusals.OF_AN_ACTOR for id in by_actor)
    clock.advance(refusals.HOUR_MS)
    with pytest.raises(PermissionDenied):
        actors[0].create_team(ORG, "again")
    assert len(house.audit()) == before + made + len(told) + 1


def test_a_refusal_stands_where_the_store_takes_no_row(house):
    who = house.key("proj_two", "chat:create")

    def commit(org: str, change: object) -> int:
        raise StoreError("the disk is full")

    house.store.commit = commit
    with pytest.raises(PermissionDenied):
        who.create_team(ORG, "T")


def test_no_secret_and_no_digest_is_in_the_log(house):
    made = house.host.create_key("proj_one", permissions=["chat:create"], name="ci")
    rotated = house.host.rotate_key(ORG, made.node.id)
    house.host.update_key(ORG, rotated.node.id, limits=["5 requests/minute"])
    house.host.revoke_key(ORG, rotated.node.id)
    house.host.delete(ORG, rotated.node.id)
    text = str(house.store.audit(ORG, 0, 1000))
    for secret in (made.secret, rotated.secret):
        assert secret not in text
        assert keys.digest(secret) not in text
    assert "digest" not in text


def test_the_log_only_grows(house):
    rows = house.store.audit(ORG, 0, 1000)
    house.host.delete(ORG, "proj_alone")
    house.key("proj_two", "chat:create")
    assert house.store.audit(ORG, 0, 1000)[: len(rows)] == rows
    assert [rev for rev, _ in house.store.audit(ORG, 0, 1000)] == sorted(
        {rev for rev, _ in house.store.audit(ORG, 0, 1000)}
    )
