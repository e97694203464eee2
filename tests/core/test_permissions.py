from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.permissions import CALL_PERMISSIONS, ROLE_ALIASES, ROLES, allows, covers, grants, parse
from quotaware.errors import ConfigurationError

MANAGEMENT = sorted(
    {permission for role in ROLES.values() for permission in role} - set(CALL_PERMISSIONS)
    | {"team:read", "audit:read", "org:read", "api_key:create:limited"}
)

words = st.sampled_from(
    [
        "org",
        "api_key",
        "analytics",
        "quota",
        "chat",
        "x",
        "manage",
        "create",
        "delete",
        "write",
        "full",
        "read",
        "own",
    ]
)
permissions = st.one_of(
    st.just("*"),
    st.builds(
        lambda parts, star: ":".join(parts) + (":*" if star else ""),
        st.lists(words, min_size=1, max_size=4),
        st.booleans(),
    ),
)


@pytest.mark.parametrize(
    "text", ["chat:create", "api_key:create:limited", "analytics:*", "*", "quota", "v2:a_1:*"]
)
def test_a_permission_is_kept_as_it_was_given(text):
    assert parse(text) == parse(f" {text}\n") == text


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", ":", "chat:", ":create", "chat::create", "chat create", "chat:cre ate", "chat\n:create"),
        *("Chat:Create", "chat.create", "chat:créate", "chat:٣", "chat-x:create"),
        *("*:create", "chat:*:x", "chat:cre*", "**", "chat:**"),
        *("a" * 129, ":".join("a" * 65), None, 5, b"chat:create", ["chat:create"]),
    ],
)
def test_what_has_not_the_form_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"permission: .* such as 'chat:create'") as refused:
        parse(text)
    assert len(str(refused.value)) < 240


def test_a_permission_may_have_128_characters():
    assert parse("a" * 128) == "a" * 128


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("api_key:create", "api_key:create:limited"),
        ("quota:read", "quota:read:summary"),
        ("chat", "chat:create"),
        ("chat:*", "chat:create"),
        ("chat:*", "chat:create:x"),
        ("*", "org:manage"),
        ("org:manage", "*"),
        ("org", "chat:create"),
        ("org:*", "chat:create"),
        ("quota:manage", "quota:read"),
        ("quota:manage", "quota:read:summary"),
        ("api_key:create", "api_key:read"),
        ("x:full", "x:read"),
        ("x:y:manage", "x:y:read"),
        ("analytics:full", "analytics:own"),
        ("analytics:full", "analytics:read"),
        ("analytics:full", "analytics:read:aggregate"),
        ("analytics:full", "analytics:*"),
        ("analytics:read", "analytics:full"),
        ("analytics:read", "analytics:own"),
        ("analytics:manage", "analytics:own"),
        ("api_key:write", "api_key:create"),
        ("api_key:write", "api_key:delete"),
        ("api_key:write", "api_key:create:limited"),
        ("api_key:write", "api_key:read"),
        ("api_key:*", "api_key:write"),
        ("api_key:write:limited", "api_key:create:limited"),
    ],
)
def test_what_grants(held, wanted):
    assert grants(held, wanted)


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        ("api_key:create:limited", "api_key:create"),
        ("api_key:create:limited", "api_key:read"),
        ("api_key:create", "api_key:created"),
        ("api_key:create", "api_key:delete"),
        ("api_key:create", "api_key:write"),
        ("api_key:delete", "api_key:read"),
        ("api_key:write:limited", "api_key:create"),
        ("chat:*", "chat"),
        ("chat:*", "chats:create"),
        ("chat:*", "*"),
        ("chat:create", "chat:*"),
        ("quota:read:summary", "quota:read"),
        ("quota:manage", "quota:override"),
        ("quota:manage:x", "quota:read"),
        ("org:read", "chat:create"),
        ("org:create", "chat:create"),
        ("org:manage:x", "chat:create"),
        ("analytics:own", "analytics:read:aggregate"),
        ("analytics:read:aggregate", "analytics:own"),
        ("analytics:full", "analytics"),
        ("manage", "read"),
    ],
)
def test_what_does_not_grant(held, wanted):
    assert not grants(held, wanted)


@given(permissions)
@settings(deadline=None)
def test_a_permission_grants_itself(permission):
    assert parse(permission) == permission
    assert grants(permission, permission)


@given(st.lists(permissions, min_size=3, max_size=6))
@settings(deadline=None)
def test_what_is_granted_through_another_is_granted(some):
    for a, b, c in itertools.permutations(some, 3):
        assert grants(a, c) or not (grants(a, b) and grants(b, c))


def test_granting_is_transitive_over_every_short_permission():
    parts = ["org", "api_key", "analytics", "manage", "create", "write", "read"]
    short = ["*", *parts, *(f"{a}:{b}" for a in parts for b in [*parts, "*"])]
    short += [
        f"{name}:{last}" for name in ("api_key:write", "analytics:read", "x:create") for last in ("read", "*")
    ]
    granted = {a: {b for b in short if grants(a, b)} for a in short}
    for a in short:
        for b in granted[a]:
            assert granted[b] <= granted[a], (a, b)


@given(permissions, words)
@settings(deadline=None)
def test_a_longer_permission_narrows_a_shorter_one(permission, word):
    if permission.endswith("*"):
        assert grants(permission, permission.removesuffix("*") + word)
    else:
        assert grants(permission, f"{permission}:{word}")
        assert grants(permission, f"{permission}:*")


@given(st.lists(permissions, max_size=4), permissions, permissions)
@settings(deadline=None)
def test_holding_more_never_allows_less(held, more, wanted):
    assert allows([*held, more], wanted) or not (allows(held, wanted) or grants(more, wanted))
    if not covers(held, [wanted]):
        assert allows(held, wanted)


def test_an_alias_of_two_takes_both():
    assert allows(["api_key:create", "api_key:delete"], "api_key:write")
    assert allows(["api_key:create", "api_key:delete"], "api_key:write:limited")
    assert not allows(["api_key:create"], "api_key:write")


def test_who_holds_nothing_may_do_nothing():
    assert not allows([], "models:list")
    assert not allows(iter(()), "models:list")


def test_an_org_admin_may_do_everything():
    assert ROLE_ALIASES["admin"] == "org_admin"
    assert covers(ROLES["org_admin"], [*MANAGEMENT, *CALL_PERMISSIONS]) == []


def test_a_developer_makes_every_call_and_manages_next_to_nothing():
    held = ROLES["developer"]
    assert covers(held, CALL_PERMISSIONS) == []
    assert [name for name in MANAGEMENT if allows(held, name)] == [
        "analytics:own",
        "api_key:create:limited",
        "api_key:read",
        "quota:read",
        "quota:read:summary",
    ]


def test_a_viewer_makes_no_call_and_sees_totals_only():
    held = ROLES["viewer"]
    assert covers(held, CALL_PERMISSIONS) == list(CALL_PERMISSIONS)
    assert [name for name in MANAGEMENT if allows(held, name)] == [
        "analytics:read:aggregate",
        "quota:read:summary",
    ]


def test_roles_and_call_permissions_have_the_form():
    for permission in [*CALL_PERMISSIONS, *(held for role in ROLES.values() for held in role)]:
        assert parse(permission) == permission


def test_what_a_granter_lacks_is_named_in_order():
    granter = iter(["api_key:create:limited", "chat:create"])
    assert covers(granter, ["org:manage", "chat:create", "api_key:create", "chat:create:x"]) == [
        "org:manage",
        "api_key:create",
    ]
