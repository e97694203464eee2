"""Nobody gives what he lacks: by a key, a role, a group, a move, a request, or by undoing what was set above him."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from quotaware.core.permissions import CALL_PERMISSIONS
from quotaware.errors import (
    AlreadyExists,
    ApiError,
    AuthenticationError,
    ConfigurationError,
    NotFound,
    PermissionDenied,
)
from quotaware.stores.memory import MemoryStore
from quotaware.tenancy.access import of_key
from quotaware.tenancy.directory import Directory
from quotaware.tenancy.service import Tenancy
from quotaware.testing.clocks import FakeClock

from .conftest import Opens
from .people import ORG, House

Attempt = Callable[[Tenancy], object]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def house(clock: FakeClock) -> House:
    return House(MemoryStore(clock), clock)


def refused(
    house: House, who: Tenancy, attempt: Attempt, kind: type[ApiError] = PermissionDenied
) -> ApiError:
    """The attempt is refused, and everything is as it was before."""
    before = house.documents()
    with pytest.raises(kind) as caught:
        attempt(who)
    assert house.documents() == before
    return caught.value


# keys


@pytest.mark.parametrize(
    "wider",
    [
        {"permissions": ["embeddings:create"]},
        {"permissions": ["*"]},
        {"permissions": ["chat:*", "org:manage"]},
        {"permissions": ["org:*"]},
        {"permissions": ["api_key:write"]},
        {"models": ["*"]},
        {"models": ["gpt-4.1", "gpt-5"]},
        {"models": ["gpt-4*"]},
        {"addresses": ["10.0.0.0/7"]},
        {"addresses": ["::/0"]},
        {"expires_at": 2_000_000_000_001},
        {"limits": ["61 requests/minute"]},
        {"limits": ["60 requests/minute soft"]},
        {"limits": ["60 requests/minute shadow"]},
    ],
    ids=str,
)
def test_a_restricted_key_makes_none_that_is_wider(house, wider):
    who = house.key(
        "proj_one",
        "chat:create",
        "api_key:create",
        models=["gpt-4.1*"],
        addresses=["10.0.0.0/8"],
        expires_at=2_000_000_000_000,
        limits=["60 requests/minute"],
    )
    given = {"permissions": ["chat:create"], **wider}
    refused(house, who, lambda t: t.create_key("proj_one", **given))
    made = who.create_key("proj_one", permissions=["chat:create"]).node
    refused(house, who, lambda t: t.update_key(ORG, made.id, **wider))
    refused(house, who, lambda t: t.update(ORG, made.id, **wider))
    if "permissions" in wider:
        refused(house, who, lambda t: t.update_key(ORG, made.id, add_permissions=wider["permissions"]))


def test_what_a_restricted_key_leaves_out_is_its_own(house):
    who = house.key(
        "proj_one",
        "chat:create",
        "api_key:create",
        models=["gpt-4.1*"],
        addresses=["10.0.0.0/8"],
        expires_at=2_000_000_000_000,
        limits=["60 requests/minute", "$5/day"],
    )
    made = who.create_key("proj_one", models=[], addresses=[], limits=["10 requests/minute"]).node
    assert (made.models, made.addresses, made.expires_at) == (
        ("gpt-4.1*",),
        ("10.0.0.0/8",),
        2_000_000_000_000,
    )
    assert list(map(str, made.limits)) == ["10 requests/minute", "$5/day"]
    assert made.permissions == ("chat:create",)
    for cleared in ({"models": []}, {"addresses": []}, {"limits": []}, {"expires_at": None}):
        refused(house, who, lambda t, cleared=cleared: t.update_key(ORG, made.id, **cleared))


def test_a_key_without_restrictions_makes_calls_as_far_as_its_maker_may(house):
    assert house.key("team_one", "org:manage").create_key("proj_one").node.permissions == CALL_PERMISSIONS
    who = house.key("proj_one", "embeddings:create", "api_key:create:limited")
    assert who.create_key("proj_one").node.permissions == ("embeddings:create",)


def test_the_limited_right_is_one_in_projects(house):
    """A developer makes keys in the projects where he holds the role, and none on a team or an organization."""
    who = house.member("ann", ("developer", "team_one"))
    assert who.create_key("proj_one", permissions=["chat:create"]).node.parent == "proj_one"
    for node in ("team_one", ORG, "proj_two", "proj_alone"):
        refused(house, who, lambda t, node=node: t.create_key(node, permissions=["chat:create"]))
    on_team = house.host.create_key("team_one", permissions=["chat:create"]).node
    refused(house, who, lambda t: t.rotate_key(ORG, on_team.id))
    refused(house, who, lambda t: t.update_key(ORG, on_team.id, name="mine"))


def test_rotating_answers_no_secret_of_more_than_ones_own(house):
    wide = house.host.create_key("proj_one", permissions=["chat:create"]).node
    admin = house.host.create_key("proj_one", permissions=["org:manage"]).node
    limited = house.key("proj_one", "chat:create", "api_key:create", limits=["60 requests/minute"])
    for who, target in (
        (house.key("proj_one", "api_key:create", "chat:create", models=["a"]), wide),
        (house.key("proj_one", "api_key:create", "chat:create", expires_at=2_000_000_000_000), wide),
        (house.key("proj_one", "api_key:create", "chat:create", addresses=["::1"]), wide),
        (limited, wide),
        (house.key("proj_one", "api_key:create", "chat:create"), admin),
    ):
        refused(house, who, lambda t, id=target.id: t.rotate_key(ORG, id))


def test_a_limited_key_takes_over_no_key_that_does_not_count_under_it(house):
    """Ten keys of somebody else, each within its own limit, would together be ten times that."""
    who = house.key("proj_one", "chat:create", "api_key:create", limits=["60 requests/minute"])
    other = house.host.create_key("proj_one", permissions=["chat:create"], limits=["10 requests/minute"]).node
    refused(house, who, lambda t: t.rotate_key(ORG, other.id))
    refused(house, who, lambda t: t.update_key(ORG, other.id, limits=["60 requests/minute"]))
    own = who.create_key("proj_one", limits=["10 requests/minute"]).node
    assert who.update_key(ORG, own.id, limits=["60 requests/minute"]).limits
    assert who.rotate_key(ORG, own.id).node.makers == own.makers


def test_a_key_makes_itself_only_narrower(house):
    key = house.host.create_key(
        "team_one", permissions=["org:manage"], limits=["$5/day", "60 requests/minute"]
    ).node
    house.host.update(ORG, key.id, alerts=["80% disable"])
    who = house.as_key(key.id)
    for wider in (
        {"limits": ["$6/day", "60 requests/minute"]},
        {"alerts": []},
        {"alerts": ["90% disable"]},
    ):
        refused(house, who, lambda t, wider=wider: t.update_key(ORG, key.id, **wider))
    refused(house, who, lambda t: t.override(ORG, key.id, "cost/day", 9 * 10**9))
    refused(house, who, lambda t: t.drop_limit(ORG, key.id, "cost/day"))
    asked = who.ask(ORG, key.id, "cost/day", 9 * 10**9)
    assert asked.state == "pending"
    refused(house, who, lambda t: t.decide(ORG, asked.id, "approved"))
    assert who.update_key(ORG, key.id, limits=["$4/day", "60 requests/minute"]).limits[0].amount == 4 * 10**9


def test_a_key_that_a_limited_one_made_frees_it_from_nothing(house):
    key = house.host.create_key("team_one", permissions=["org:manage"], limits=["$5/day"]).node
    child = house.as_key(key.id).create_key("team_one", permissions=["org:manage"]).node
    assert child.makers == (key.id,)
    who = house.as_key(child.id)
    refused(house, who, lambda t: t.update_key(ORG, key.id, limits=["$50/day"]))
    refused(house, who, lambda t: t.rotate_key(ORG, key.id))
    refused(house, who, lambda t: t.update_key(ORG, key.id, limits=[]))
    grandchild = who.create_key("proj_one").node
    assert grandchild.makers == (key.id, child.id)


def test_limited_keys_make_keys_only_so_deep(house):
    who = house.key("team_one", "org:manage", limits=["$5/day"])
    for _ in range(8):
        who = house.as_key(who.create_key("team_one", permissions=["org:manage"]).node.id)
    with pytest.raises(ConfigurationError) as caught:
        who.create_key("team_one")
    assert caught.value.field == "makers"


# nodes


@pytest.mark.parametrize(
    "wider",
    [
        {"limits": ["$101/month"]},
        {"limits": []},
        {"limits": ["$100/month soft"]},
        {"limits": ["$100/month carryover"]},
        {"limits": ["$100/quarter"]},
        {"alerts": []},
        {"alerts": ["99% disable"]},
        {"models": []},
        {"models": ["gpt-*"]},
        {"enabled": True},
    ],
    ids=str,
)
@pytest.mark.parametrize("node", ["team_one", "proj_one"])
def test_what_a_node_has_is_given_from_above_it(house, node, wider):
    house.host.update(ORG, node, limits=["$100/month"], alerts=["80% disable"], models=["gpt-4.1*"])
    if "enabled" in wider:
        house.host.disable(ORG, node)
    inside = house.member("ann", ("org_admin", node))
    error = refused(house, inside, lambda t: t.update(ORG, node, **wider))
    assert error.code == "missing_permission"
    assert error.fields["permission"] == "quota:manage"
    above = house.member("bob", ("org_admin", house.host.get(ORG, node).parent))
    assert above.update(ORG, node, **wider).rev


def test_whoever_stands_on_a_node_makes_it_narrower(house):
    house.host.update(ORG, "team_one", limits=["$100/month"], alerts=["80% disable"])
    who = house.member("ann", ("org_admin", "team_one"))
    node = who.update(
        ORG,
        "team_one",
        name="One",
        limits=["$90/month", "5 concurrent"],
        alerts=["50% email", "80% disable"],
        models=["gpt-4.1"],
        enabled=False,
    )
    assert (node.limits[0].amount, node.enabled) == (90 * 10**9, False)


def test_what_stands_below_is_given_freely(house):
    who = house.member("ann", ("org_admin", "team_one"))
    assert who.update(ORG, "proj_one", limits=["$100/month"]).limits
    assert who.update(ORG, "proj_one", limits=["$900/month"], enabled=True, alerts=[]).limits
    assert who.override(ORG, "proj_one", "cost/month", 10**12).overrides


def test_the_organization_s_own_is_its_admins(house):
    who = house.member("ann", ("org_admin", ORG))
    assert who.update(ORG, ORG, limits=["$500/month"]).limits
    assert who.update(ORG, ORG, limits=["$900/month"], zone="Asia/Tokyo").zone == "Asia/Tokyo"
    assert who.override(ORG, ORG, "cost/month", 10**12).overrides
    quota = house.key(ORG, "quota:manage")
    assert quota.update(ORG, ORG, limits=["$800/month"]).overrides == ()
    refused(house, quota, lambda t: t.update(ORG, ORG, zone="UTC"))


def test_a_request_of_one_s_own_is_decided_from_above(house):
    house.host.update(ORG, "team_one", limits=["$100/month"])
    who = house.member("ann", ("org_admin", "team_one"))
    asked = who.ask(ORG, "team_one", "cost/month", 200 * 10**9)
    assert asked.state == "pending"
    refused(house, who, lambda t: t.decide(ORG, asked.id, "approved"))
    refused(house, who, lambda t: t.override(ORG, "team_one", "cost/month", 200 * 10**9))
    refused(house, who, lambda t: t.drop_overrides(ORG, "team_one", "cost/month"))
    house.member("bob", ("org_admin", ORG)).decide(ORG, asked.id, "approved")
    assert house.host.get(ORG, "team_one").limits[0].amount == 200 * 10**9


def test_an_override_that_was_set_from_above_is_not_undone_from_inside(house):
    house.host.update(ORG, "team_one", limits=["$100/month"])
    house.host.override(ORG, "team_one", "cost/month", 10 * 10**9)
    who = house.member("ann", ("org_admin", "team_one"))
    node = who.update(ORG, "team_one", limits=["$99/month"])
    assert [each.amount for each in node.overrides] == [10 * 10**9]


# moving


@pytest.mark.parametrize(
    "attempt",
    [
        lambda t: t.create_project("team_two", "mine", org=ORG, id="search"),
        lambda t: t.create_project("team_two", "search", org=ORG, id="search"),
        lambda t: t.create_key("proj_two", org=ORG, permissions=["chat:create"], id="ci"),
        lambda t: t.create_member(ORG, "mine", roles=[("developer", "team_two")], id="ann"),
        lambda t: t.create_group(ORG, "team_two", "mine", id="leads"),
    ],
)
def test_nobody_is_taken_for_another_by_an_id_that_is_its_name(house, attempt):
    """An id goes before a name: whoever asks for `search`, or logs in as `ann`, would come to the other one."""
    house.host.create_project("team_one", "search", org=ORG)
    house.host.create_key("proj_one", org=ORG, name="ci")
    house.host.create_group(ORG, "team_one", "leads")
    house.member("ann", ("org_admin", ORG))
    intruder = house.member("eve", ("org_admin", "team_two"))
    before = house.documents()
    with pytest.raises(AlreadyExists, match="choose another id") as refused:
        attempt(intruder)
    assert (refused.value.fields, house.documents()) == ({"field": "id"}, before)


def test_nobody_moves_a_project_to_where_more_is_his(house):
    """Whoever has everything in team two would get the project's keys."""
    who = house.member("ann", ("org_admin", "team_two"))
    house.host.create_role(ORG, "quotas", ["quota:manage"], id="role_quotas")
    house.host.update_member(
        ORG,
        house.host.member(ORG, "ann").id,
        roles=[("org_admin", "team_two"), ("role_quotas", "team_one")],
    )
    who = house.as_member("ann")
    refused(house, who, lambda t: t.move_project(ORG, "proj_one", "team_two"))
    inside = house.member("bob", ("org_admin", "proj_one"), ("org_admin", "team_two"))
    refused(house, inside, lambda t: t.move_project(ORG, "proj_one", "team_two"))
    assert (
        house.member("eve", ("org_admin", ORG)).move_project(ORG, "proj_one", "team_two").parent == "team_two"
    )


# people


def test_a_role_is_given_by_who_has_all_of_it_there(house):
    who = house.member("ann", ("org_admin", "team_one"))
    house.host.create_role(ORG, "all", ["*"], id="role_all")
    assert who.create_member(ORG, "bob", roles=[("org_admin", "proj_one"), ("role_all", "team_one")]).roles
    for node in (ORG, "team_two", "proj_two"):
        for role in ("org_admin", "viewer", "role_all"):
            refused(
                house, who, lambda t, role=role, node=node: t.create_member(ORG, "x", roles=[(role, node)])
            )
            refused(house, who, lambda t, node=node: t.create_group(ORG, node, "g", roles=["viewer"]))
    self_id = house.host.member(ORG, "ann").id
    refused(
        house,
        who,
        lambda t: t.update_member(ORG, self_id, roles=[("org_admin", "team_one"), ("viewer", ORG)]),
    )


def test_nobody_joins_or_edits_a_group_of_a_place_that_is_not_his(house):
    group = house.host.create_group(ORG, ORG, "bosses", roles=["org_admin"])
    below = house.host.create_group(ORG, "team_one", "leads", roles=["developer"])
    who = house.member("ann", ("org_admin", "proj_one"))
    self_id = house.host.member(ORG, "ann").id
    for attempt in (
        lambda t: t.update_member(ORG, self_id, groups=[group.id]),
        lambda t: t.update_member(ORG, self_id, groups=[below.id]),
        lambda t: t.update_group(ORG, below.id, roles=["org_admin"]),
        lambda t: t.delete_group(ORG, below.id),
        lambda t: t.create_member(ORG, "x", groups=[group.id]),
    ):
        refused(house, who, attempt)
    lead = house.member("bob", ("org_admin", "team_one"))
    assert lead.update_group(ORG, below.id, roles=["org_admin"]).roles == ("org_admin",)
    assert lead.update_member(ORG, house.host.member(ORG, "bob").id, groups=[below.id]).groups == (below.id,)
    refused(house, lead, lambda t: t.update_member(ORG, self_id, groups=[group.id]))


def test_a_role_that_one_holds_is_edited_by_who_manages_the_organization(house):
    role = house.host.create_role(ORG, "lead", ["quota:manage"])
    who = house.member("ann", (role.id, ORG), ("org_admin", "team_one"))
    refused(house, who, lambda t: t.update_role(ORG, role.id, permissions=["org:manage"]))
    refused(house, who, lambda t: t.create_role(ORG, "mine", ["chat:create"]))
    refused(house, who, lambda t: t.delete_role(ORG, role.id))
    admin = house.member("bob", ("org_admin", ORG))
    assert admin.update_role(ORG, role.id, permissions=["org:manage"]).permissions == ("org:manage",)


@pytest.mark.parametrize(
    "restriction",
    [
        {"models": ["gpt-4.1"]},
        {"addresses": ["10.0.0.1"]},
        {"expires_at": 2_000_000_000_000},
        {"limits": ["60 requests/minute"]},
    ],
    ids=str,
)
def test_a_restricted_key_gives_no_roles_since_they_would_not_be_restricted(house, restriction):
    who = house.key(ORG, "org:manage", **restriction)
    member = house.host.create_member(ORG, "ann", roles=[("viewer", ORG)])
    group = house.host.create_group(ORG, ORG, "g")
    role = house.host.create_role(ORG, "r", ["chat:create"])
    for attempt in (
        lambda t: t.create_member(ORG, "bob", roles=[("developer", ORG)]),
        lambda t: t.update_member(ORG, member.id, roles=[("org_admin", ORG)]),
        lambda t: t.update_member(ORG, member.id, groups=[group.id]),
        lambda t: t.create_group(ORG, ORG, "h", roles=["developer"]),
        lambda t: t.update_group(ORG, group.id, roles=["developer"]),
        lambda t: t.create_role(ORG, "s", ["chat:create"]),
        lambda t: t.update_role(ORG, role.id, permissions=["chat:create", "embeddings:create"]),
    ):
        assert refused(house, who, attempt).code == "escalation"
    assert who.create_member(ORG, "eve").roles == ()
    assert who.update_member(ORG, member.id, roles=[]).roles == ()
    assert who.update_role(ORG, role.id, permissions=[]).permissions == ()


def test_a_member_is_shown_to_who_manages_where_he_is(house):
    who = house.member("ann", ("org_admin", "team_one"))
    inside = house.host.create_member(ORG, "in", roles=[("viewer", "proj_one")])
    group = house.host.create_group(ORG, "proj_one", "g")
    grouped = house.host.create_member(ORG, "grouped", groups=[group.id])
    outside = house.host.create_member(ORG, "out", roles=[("viewer", "team_two")])
    assert {member.name for member in who.members(ORG)} == {"ann", "in", "grouped"}
    assert len(house.host.members(ORG)) == 4
    assert [member.id for member in house.host.members(ORG, group=group.id)] == [grouped.id]
    assert [member.id for member in house.host.members(ORG, name="out")] == [outside.id]
    assert house.host.members(ORG, enabled=False) == ()
    refused(house, who, lambda t: t.update_member(ORG, outside.id))
    refused(house, who, lambda t: t.update_member(ORG, inside.id, email="x@y.z"))


# what an actor may do now


def test_a_right_that_was_taken_is_gone_for_who_had_looked_before(house):
    who = house.member("ann", ("org_admin", "team_one"))
    house.host.update_member(ORG, house.host.member(ORG, "ann").id, enabled=False)
    refused(house, who, lambda t: t.create_project("team_one", "late", org=ORG))
    key = house.host.create_key("team_one", permissions=["org:manage"]).node
    by_key = house.as_key(key.id)
    house.host.update(ORG, key.id, permissions=["chat:create"])
    refused(house, by_key, lambda t: t.create_project("team_one", "late", org=ORG))
    house.host.update(ORG, key.id, permissions=["org:manage"], enabled=False)
    assert refused(house, by_key, lambda t: t.create_project("team_one", "late", org=ORG)).code == "disabled"
    house.host.revoke_key(ORG, key.id)
    refused(house, by_key, lambda t: t.create_project("team_one", "late", org=ORG), AuthenticationError)
    house.host.delete(ORG, key.id)
    refused(house, by_key, lambda t: t.create_project("team_one", "late", org=ORG), AuthenticationError)


def test_a_key_that_ends_while_it_acts_does_no_more(house, clock):
    who = house.key("team_one", "org:manage", expires_at=clock() + 1000)
    clock.advance(1000)
    refused(house, who, lambda t: t.create_project("team_one", "late", org=ORG), AuthenticationError)


@pytest.mark.parametrize(
    "attempt",
    [
        lambda t: t.bootstrap("A"),
        lambda t: t.ensure_simple([]),
        lambda t: t.home_of("x"),
        lambda t: t.create_organization("B"),
    ],
)
def test_what_is_for_the_host_alone_nobody_else_does(house, attempt):
    refused(house, house.member("ann", ("org_admin", ORG)), attempt)


# the last admin


def last_admin(house: House, who: Tenancy, attempt: Attempt) -> None:
    error = refused(house, who, attempt, AlreadyExists)
    assert error.code == "last_admin"


def test_the_last_admin_stays(house):
    who = house.member("ann", ("org_admin", ORG))
    self_id = house.host.member(ORG, "ann").id
    for attempt in (
        lambda t: t.delete_member(ORG, self_id),
        lambda t: t.update_member(ORG, self_id, enabled=False),
        lambda t: t.update_member(ORG, self_id, roles=[("viewer", ORG)]),
    ):
        last_admin(house, who, attempt)
    assert who.update_member(ORG, self_id, email="ann@example.com").email
    house.member("bob", ("org_admin", ORG))
    assert who.update_member(ORG, self_id, roles=[("viewer", ORG)]).roles


def test_the_last_admin_key_stays(house, clock):
    who = house.key(ORG, "org:manage")
    key = who._actor.id
    for attempt in (
        lambda t: t.revoke_key(ORG, key),
        lambda t: t.delete(ORG, key),
        lambda t: t.update_key(ORG, key, enabled=False),
        lambda t: t.disable(ORG, key),
        lambda t: t.update_key(ORG, key, expires_at=clock() + 10**9),
        lambda t: t.update(ORG, key, expires_at=clock() + 10**9),
        lambda t: t.update_key(ORG, key, remove_permissions=["org:manage"]),
        lambda t: t.update(ORG, key, permissions=["chat:create"]),
    ):
        last_admin(house, who, attempt)
    rotated = who.rotate_key(ORG, key)
    assert house.as_key(rotated.node.id).create_key(ORG, permissions=["org:manage"])


def test_the_last_admin_by_a_group_or_a_custom_role_stays(house):
    role = house.host.create_role(ORG, "boss", ["org:manage"])
    group = house.host.create_group(ORG, ORG, "bosses", roles=[role.id])
    house.host.create_member(ORG, "ann", groups=[group.id])
    who = house.as_member("ann")
    for attempt in (
        lambda t: t.delete_group(ORG, group.id),
        lambda t: t.update_group(ORG, group.id, roles=[]),
        lambda t: t.update_role(ORG, role.id, permissions=["quota:manage"]),
        lambda t: t.update_member(ORG, house.host.member(ORG, "ann").id, groups=[]),
    ):
        last_admin(house, who, attempt)
    assert who.create_member(ORG, "bob").name == "bob"
    assert who.update_group(ORG, group.id, name="heads").name == "heads"


def test_an_expiring_admin_is_the_last_only_where_there_is_no_other(house, clock):
    who = house.key(ORG, "org:manage", expires_at=clock() + 10**9)
    lasting = house.member("ann", ("org_admin", ORG))
    ann = house.host.member(ORG, "ann").id
    last_admin(house, who, lambda t: t.update_member(ORG, ann, enabled=False))
    assert lasting.revoke_key(ORG, who._actor.id).revoked
    other = house.key(ORG, "org:manage", expires_at=clock() + 10**9)
    house.host.delete_member(ORG, ann)
    last_admin(house, other, lambda t: t.revoke_key(ORG, other._actor.id))


def test_two_admins_who_remove_each_other_leave_one(house):
    """Whoever comes second is no admin any more, whatever it had read before."""
    one, two = house.member("ann", ("org_admin", ORG)), house.member("bob", ("org_admin", ORG))
    ann, bob = house.host.member(ORG, "ann").id, house.host.member(ORG, "bob").id
    one.delete_member(ORG, bob)
    with pytest.raises(NotFound):
        two.delete_member(ORG, ann)
    assert house.host.member(ORG, "ann")


@pytest.mark.parametrize("kind", ["members", "keys"])
def test_admins_who_remove_one_another_at_once_leave_one(opens: Opens, clock: FakeClock, kind: str):
    """Each as in a process of its own."""
    house = House(opens(), clock)
    names = [f"a{number}" for number in range(4)]
    for name in names:
        if kind == "members":
            house.member(name, ("org_admin", ORG))
        else:
            house.host.create_key(ORG, permissions=["org:manage"], id=name)
    start = Barrier(len(names))

    def remove_the_others(name: str) -> None:
        store = opens()
        tenancy = Tenancy(store, Directory(store, clock), clock)
        found = tenancy.acting(ORG, name) if kind == "members" else of_key(house.directory.load(ORG, name))
        who = tenancy.by(found)
        start.wait()
        for other in names:
            with contextlib.suppress(ApiError):
                if kind == "keys":
                    who.revoke_key(ORG, other)
                else:
                    who.update_member(ORG, tenancy.member(ORG, other).id, roles=[])

    with ThreadPoolExecutor(len(names)) as pool:
        list(pool.map(remove_the_others, names))
    left = [key for key in house.host.list(ORG, "key") if not key.revoked]
    left += [member for member in house.host.members(ORG) if member.roles]
    assert len(left) == 1
