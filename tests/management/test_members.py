"""People, groups and roles over the API."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from quotaware.core.permissions import ROLES
from quotaware.errors import NotFound, PermissionDenied
from tests.management.conftest import Api


@pytest.fixture
def team(api: Api) -> str:
    return str(api.tenancy.create_team(api.org, "engineering").id)


def fields(error: Any) -> list[str]:
    return [each["field"] for each in error["errors"]]


# members


def test_a_member_is_made_with_roles_and_groups_and_is_got_by_id_or_name(api: Api, team: str) -> None:
    group = api.ok("POST", "/groups", {"name": "leads", "node": "engineering", "roles": ["admin"]})
    made = api.ok(
        "POST",
        "/members",
        {
            "name": "ann",
            "email": "ann@example.com",
            "roles": [{"role": "developer", "node": "engineering"}, {"role": "admin", "node": api.org}],
            "groups": ["leads", group["id"]],
        },
    )
    assert made == {
        "id": made["id"],
        "name": "ann",
        "email": "ann@example.com",
        "roles": [{"role": "developer", "node": team}, {"role": "org_admin", "node": api.org}],
        "groups": [group["id"]],
        "enabled": True,
        "created_at": "2026-06-15T12:00:00Z",
        "revision": made["revision"],
    }
    assert api.ok("GET", "/members/ann") == made == api.ok("GET", f"/members/{made['id']}")
    assert api.tenancy.acting(api.org, "ann").may("quota:manage", (team, api.org))


def test_an_update_replaces_what_is_sent_and_null_clears(api: Api, team: str) -> None:
    made = api.ok("POST", "/members", {"name": "ann", "email": "ann@example.com", "id": "mem_ann"})
    changed = api.ok("PATCH", "/members/ann", {"roles": [{"role": "viewer", "node": team}]})
    assert changed["email"] == "ann@example.com"
    assert changed["roles"] == [{"role": "viewer", "node": team}]
    assert changed["revision"] > made["revision"]
    changed = api.ok("PATCH", "/members/ann", {"name": "anna", "email": None, "groups": []})
    assert (changed["name"], changed["email"], len(changed["roles"])) == ("anna", None, 1)
    assert api.error("GET", "/members/ann")["status"] == 404


def test_a_member_acts_by_name_alone(api: Api) -> None:
    """What the host's login has may be a name that its users choose: one that is another's id is nobody's."""
    ann = api.ok("POST", "/members", {"name": "ann", "roles": [{"role": "admin", "node": api.org}]})
    assert api.tenancy.acting(api.org, "ann").id == ann["id"]
    with pytest.raises(NotFound):
        api.tenancy.acting(api.org, ann["id"])


def test_a_disabled_member_may_do_nothing_until_enabled(api: Api) -> None:
    api.ok("POST", "/members", {"name": "ann", "roles": [{"role": "admin", "node": api.org}]})
    assert api.ok("POST", "/members/ann/disable")["enabled"] is False
    with pytest.raises(PermissionDenied, match="'ann' is disabled"):
        api.tenancy.acting(api.org, "ann")
    assert api.ok("POST", "/members/ann/enable")["enabled"] is True
    assert api.tenancy.acting(api.org, "ann").may("org:manage", (api.org,))


def test_one_role_is_given_and_taken_and_the_others_stay(api: Api, team: str) -> None:
    api.ok("POST", "/members", {"name": "ann", "roles": [{"role": "viewer", "node": api.org}]})
    role = api.ok("POST", "/roles", {"name": "on call", "permissions": ["quota:manage"]})
    given = api.ok("POST", "/members/ann/roles", {"role": "on call", "node": "engineering"})
    assert given["roles"] == [{"role": "viewer", "node": api.org}, {"role": role["id"], "node": team}]
    assert api.ok("POST", "/members/ann/roles", {"role": role["id"], "node": team}) == given
    assert api.error("DELETE", f"/members/ann/roles/viewer?node={team}")["status"] == 404
    taken = api.ok("DELETE", "/members/ann/roles/on call?node=engineering")
    assert taken["roles"] == [{"role": "viewer", "node": api.org}]
    assert api.error("DELETE", "/members/ann/roles/viewer")["errors"][0]["field"] == "node"


def test_roles_that_are_given_at_once_are_all_held(api: Api) -> None:
    api.ok("POST", "/members", {"name": "ann"})
    teams = [api.tenancy.create_team(api.org, f"t{number}").id for number in range(12)]

    def give(team: str) -> int:
        return int(api("POST", "/members/ann/roles", {"role": "viewer", "node": team}).status_code)

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(give, teams)) == {200}
    assert {each["node"] for each in api.ok("GET", "/members/ann")["roles"]} == set(teams)


def test_a_change_from_an_old_revision_is_refused_and_changes_nothing(api: Api, team: str) -> None:
    first = api("POST", "/members", {"name": "ann"}).headers["etag"]
    held = [{"role": "viewer", "node": team}]
    changed = {"email": "ann@example.com", "roles": held}
    api.ok("PATCH", "/members/ann", changed, headers={"if-match": first})
    for method, path, body in (
        ("PATCH", "/members/ann", {"name": "anna"}),
        ("DELETE", "/members/ann", None),
        ("DELETE", f"/members/ann/roles/viewer?node={team}", None),
        ("POST", "/members/ann/roles", {"role": "developer", "node": team}),
        ("POST", "/members/ann/disable", None),
    ):
        refused = api.error(method, path, body, headers={"if-match": first})
        assert (refused["status"], refused["code"]) == (412, "changed_meanwhile")
    member = api.ok("GET", "/members/ann")
    assert (member["enabled"], member["roles"], member["email"]) == (True, held, "ann@example.com")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, ["name"]),
        ({"name": None}, ["name"]),
        ({"name": ""}, ["name"]),
        ({"name": " ann"}, ["name"]),
        ({"name": "a\u0000b"}, ["name"]),
        ({"name": "x" * 201}, ["name"]),
        ({"name": "ann", "email": "ann"}, ["email"]),
        ({"name": "ann", "email": ["ann@example.com"]}, ["email"]),
        ({"name": "ann", "roles": "admin"}, ["roles"]),
        ({"name": "ann", "roles": [{"role": "admin"}]}, ["roles[0].node"]),
        ({"name": "ann", "roles": [{"role": "king", "node": "org_x"}]}, None),
        ({"name": "ann", "groups": "leads"}, ["groups"]),
        ({"name": "ann", "enabled": False}, ["enabled"]),
        ({"name": "ann", "created_at": "2020-01-01T00:00:00Z", "revision": 1}, ["created_at", "revision"]),
        ({"name": "ann", "id": "Not An Id"}, ["id"]),
    ],
)
def test_what_no_member_can_be_is_named(api: Api, body: Any, named: list[str] | None) -> None:
    error = api.error("POST", "/members", body)
    if named is None:
        assert error["status"] == 404
    else:
        assert (error["status"], fields(error)) == (422, named)
    assert api.ok("GET", "/members")["data"] == []


def test_half_a_character_is_no_text(api: Api) -> None:
    for path, body, status in (
        ("/members", '{"name": "\\ud800"}', 422),
        ("/groups", '{"name": "g", "node": "\\udfff"}', 404),
        ("/members", f'{{"name": "a", "roles": [{{"role": "\\ud800", "node": "{api.org}"}}]}}', 422),
    ):
        response = api("POST", path, content=body, headers={"content-type": "application/json"})
        assert response.status_code == status, response.text


def test_roles_groups_and_nodes_that_are_not_there(api: Api, team: str) -> None:
    rival_team = api.tenancy.create_team(api.rival, "theirs").id
    assert fields(
        api.error("POST", "/members", {"name": "a", "roles": [{"role": "king", "node": team}]})
    ) == ["roles"]
    for body in (
        {"name": "a", "roles": [{"role": "viewer", "node": "nowhere"}]},
        {"name": "a", "roles": [{"role": "viewer", "node": rival_team}]},
        {"name": "a", "groups": ["nobody"]},
    ):
        assert api.error("POST", "/members", body)["status"] == 404
    assert api.error("POST", "/members/ann/roles", {"role": "viewer", "node": team})["status"] == 404


def test_names_and_ids_are_taken_once(api: Api) -> None:
    api.ok("POST", "/members", {"name": "ann", "id": "mem_ann"})
    api.ok("POST", "/members", {"name": "bob"})
    for method, path, body, field in (
        ("POST", "/members", {"name": "ann"}, "name"),
        ("POST", "/members", {"name": "eve", "id": "mem_ann"}, "id"),
        ("PATCH", "/members/bob", {"name": "ann"}, "name"),
    ):
        error = api.error(method, path, body)
        assert (error["status"], error["type"], error["field"]) == (409, "conflict", field)


def test_the_last_admin_stays(api: Api) -> None:
    """Here a member: the only admin key of the organization is one that ends."""
    api.ok("POST", "/members", {"name": "ann", "roles": [{"role": "admin", "node": api.org}]})
    passing = api.key(api.org, "org:manage", expires_at=api.clock() + 60_000)
    api.tenancy.revoke_key(api.org, next(k.id for k in api.tenancy.list(api.org, "key") if not k.expires_at))
    for method, path, body in (
        ("DELETE", "/members/ann", None),
        ("POST", "/members/ann/disable", None),
        ("DELETE", f"/members/ann/roles/admin?node={api.org}", None),
        ("PATCH", "/members/ann", {"roles": []}),
    ):
        error = api.error(method, path, body, key=passing)
        assert (error["status"], error["code"]) == (409, "last_admin")
    bob = {"name": "bob", "roles": [{"role": "admin", "node": api.org}]}
    error = api.error("POST", "/members", bob, key=passing)
    assert (error["status"], error["code"]) == (403, "escalation")  # a role would not end with the key
    api.tenancy.create_member(api.org, "bob", roles=[("admin", api.org)])
    assert api("DELETE", "/members/ann", key=passing).status_code == 204
    assert [each["name"] for each in api.ok("GET", "/members", key=passing)["data"]] == ["bob"]


def test_lists_go_on_where_they_stopped(api: Api) -> None:
    names = {f"m{number}" for number in range(5)}
    for name in sorted(names):
        api.ok("POST", "/members", {"name": name})
    seen: list[str] = []
    cursor, pages = "", 0
    while cursor is not None:
        page = api.ok("GET", f"/members?limit=2{f'&cursor={cursor}' if cursor else ''}")
        seen += [each["name"] for each in page["data"]]
        cursor, pages = page["next_cursor"], pages + 1
    assert (set(seen), len(seen), pages) == (names, 5, 3)
    assert api.ok("GET", "/members?limit=5")["next_cursor"] is None  # a full page may be the last one


def test_who_manages_nothing_sees_no_people(api: Api) -> None:
    api.ok("POST", "/members", {"name": "ann", "id": "mem_ann"})
    key = api.key(api.org, "quota:manage", "api_key:create")
    for method, path, body in (
        ("GET", "/members", None),
        ("GET", "/members/ann", None),
        ("PATCH", "/members/ann", {}),
        ("PATCH", "/members/ann", {"email": None}),
        ("DELETE", "/members/ann", None),
        ("POST", "/members", {"name": "eve"}),
        ("POST", "/members/ann/roles", {"role": "viewer", "node": api.org}),
        ("DELETE", f"/members/ann/roles/viewer?node={api.org}", None),
        ("POST", "/members/ann/enable", None),
        ("GET", "/groups", None),
        ("POST", "/groups", {"name": "g", "node": api.org}),
        ("GET", "/roles", None),
        ("GET", "/roles/viewer", None),
        ("DELETE", "/roles/viewer", None),
        ("POST", "/roles", {"name": "r", "permissions": []}),
    ):
        error = api.error(method, path, body, key=key)
        assert (error["status"], error["type"]) == (403, "permission_denied"), (method, path)
        assert error["message"] == "API key does not have 'org:manage' permission"


def test_another_organizations_people_are_not_there(api: Api) -> None:
    api.ok("POST", "/members", {"name": "ann", "id": "mem_ann"})
    api.ok("POST", "/groups", {"name": "g", "node": api.org, "id": "grp_one"})
    api.ok("POST", "/roles", {"name": "r", "permissions": [], "id": "role_one"})
    for noun, id in (("members", "mem_ann"), ("groups", "grp_one"), ("roles", "role_one")):
        for method in ("GET", "PATCH", "DELETE"):
            body = {} if method == "PATCH" else None
            foreign = api.error(method, f"/{noun}/{id}", body, key=api.rival_admin)
            missing = api.error(method, f"/{noun}/{'x' * len(id)}", body, key=api.rival_admin)
            for error in (foreign, missing):
                error.pop("request_id")
                error["message"] = error["message"].replace(id, "?").replace("x" * len(id), "?")
            assert foreign == missing
            assert foreign["status"] == 404
        assert api.ok("GET", f"/{noun}/{id}")["id"] == id


# groups


def test_a_group_gives_its_members_its_roles_at_its_node(api: Api, team: str) -> None:
    made = api.ok("POST", "/groups", {"name": "leads", "node": "engineering", "id": "grp_leads"})
    assert made == {
        "id": "grp_leads",
        "name": "leads",
        "node": team,
        "roles": [],
        "created_at": "2026-06-15T12:00:00Z",
        "revision": made["revision"],
    }
    api.ok("POST", "/members", {"name": "ann", "groups": ["leads"]})
    assert not api.tenancy.acting(api.org, "ann").may("quota:manage", (team,))
    changed = api.ok("PATCH", "/groups/leads", {"roles": ["admin"], "name": "the leads"})
    assert (changed["roles"], changed["name"]) == (["org_admin"], "the leads")
    assert api.tenancy.acting(api.org, "ann").may("quota:manage", (team,))
    assert [each["id"] for each in api.ok("GET", "/groups")["data"]] == ["grp_leads"]
    assert api("DELETE", "/groups/grp_leads").status_code == 204
    assert api.ok("GET", "/members/ann")["groups"] == []
    assert not api.tenancy.acting(api.org, "ann").may("quota:manage", (team,))


def test_what_no_group_can_be(api: Api, team: str) -> None:
    api.ok("POST", "/groups", {"name": "leads", "node": team})
    api.ok("POST", "/groups", {"name": "leads", "node": api.org})
    assert fields(api.error("POST", "/groups", {})) == ["name", "node"]
    assert fields(api.error("POST", "/groups", {"name": "x", "node": team, "roles": ["king"]})) == ["roles"]
    assert fields(api.error("POST", "/groups", {"name": "", "node": team})) == ["name"]
    assert api.error("POST", "/groups", {"name": "x", "node": "nowhere"})["status"] == 404
    assert api.error("POST", "/groups", {"name": "leads", "node": team})["field"] == "name"
    ambiguous = api.error("GET", "/groups/leads")
    assert (ambiguous["status"], ambiguous["code"]) == (409, "ambiguous_name")


def test_a_group_is_changed_from_the_revision_that_was_read(api: Api) -> None:
    etag = api("POST", "/groups", {"name": "leads", "node": api.org}).headers["etag"]
    api.ok("PATCH", "/groups/leads", {"roles": ["viewer"]}, headers={"if-match": etag})
    assert api.error("PATCH", "/groups/leads", {"roles": []}, headers={"if-match": etag})["status"] == 412
    assert api.error("DELETE", "/groups/leads", headers={"if-match": etag})["status"] == 412
    assert api.ok("GET", "/groups/leads")["roles"] == ["viewer"]


# roles


def test_the_predefined_roles_are_listed_first_and_stay_as_they_are(api: Api) -> None:
    api.ok("POST", "/roles", {"name": "auditor", "permissions": ["analytics:full"], "id": "a_first"})
    listed = api.ok("GET", "/roles")["data"]
    assert [each["id"] for each in listed] == ["developer", "org_admin", "viewer", "a_first"]
    assert [each["predefined"] for each in listed] == [True, True, True, False]
    assert {each["id"]: tuple(each["permissions"]) for each in listed[:3]} == dict(ROLES)
    assert api.ok("GET", "/roles/admin") == api.ok("GET", "/roles/org_admin") == listed[1]
    assert listed[1]["aliases"] == ["admin"]
    for method, body in (("PATCH", {"permissions": []}), ("DELETE", None)):
        error = api.error(method, "/roles/admin", body)
        assert (error["status"], error["code"]) == (409, "predefined")


def test_roles_are_listed_in_pages_across_both_kinds(api: Api) -> None:
    for number in range(3):
        api.ok("POST", "/roles", {"name": f"r{number}", "permissions": [], "id": f"b{number}"})
    for size in range(1, 7):
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            page = api.ok("GET", f"/roles?limit={size}{f'&cursor={cursor}' if cursor else ''}")
            assert 0 < len(page["data"]) <= size
            seen += [each["id"] for each in page["data"]]
            cursor = page["next_cursor"]
        assert seen == ["developer", "org_admin", "viewer", "b0", "b1", "b2"]


def test_a_role_is_changed_for_all_who_hold_it_and_goes_when_nobody_does(api: Api) -> None:
    made = api.ok("POST", "/roles", {"name": "keeper", "permissions": ["quota:read"], "description": "reads"})
    assert (made["predefined"], made["aliases"], made["description"]) == (False, [], "reads")
    api.ok("POST", "/members", {"name": "ann", "roles": [{"role": "keeper", "node": api.org}]})
    changed = api.ok("PATCH", "/roles/keeper", {"permissions": ["quota:manage"], "description": None})
    assert (changed["permissions"], changed["description"]) == (["quota:manage"], None)
    assert api.tenancy.acting(api.org, "ann").may("quota:manage", (api.org,))
    error = api.error("DELETE", "/roles/keeper")
    assert (error["status"], error["code"]) == (409, "in_use")
    api.ok("DELETE", f"/members/ann/roles/keeper?node={api.org}")
    assert api("DELETE", "/roles/keeper").status_code == 204
    assert api.error("GET", "/roles/keeper")["status"] == 404


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({"name": "r"}, ["permissions"]),
        ({"name": "admin", "permissions": []}, ["name"]),
        ({"name": "r", "permissions": [], "id": "viewer"}, ["id"]),
        ({"name": "r", "permissions": "chat:create"}, ["permissions"]),
        ({"name": "r", "permissions": ["Chat"]}, ["permissions"]),
        ({"name": "r", "permissions": ["a:*:b"]}, ["permissions"]),
        ({"name": "r", "permissions": [], "predefined": True}, ["predefined"]),
        ({"name": "r", "permissions": [], "description": "x" * 1001}, ["description"]),
    ],
)
def test_what_no_role_can_be_is_named(api: Api, body: Any, named: list[str]) -> None:
    assert fields(api.error("POST", "/roles", body)) == named


def test_a_role_is_changed_from_the_revision_that_was_read(api: Api) -> None:
    etag = api("POST", "/roles", {"name": "keeper", "permissions": []}).headers["etag"]
    api.ok("PATCH", "/roles/keeper", {"permissions": ["quota:read"]}, headers={"if-match": etag})
    assert (
        api.error("PATCH", "/roles/keeper", {"permissions": []}, headers={"if-match": etag})["status"] == 412
    )
    assert api.error("DELETE", "/roles/keeper", headers={"if-match": etag})["status"] == 412
    assert api.error("POST", "/roles", {"name": "keeper", "permissions": []})["field"] == "name"
