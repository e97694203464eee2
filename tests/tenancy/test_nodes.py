"""Nodes, paths and documents: what a node may say, and that a document says the same."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quotaware.core.limits import Limit
from quotaware.errors import ConfigurationError, StoreError
from quotaware.stores.protocol import Doc
from quotaware.tenancy.checks import MAX_ENTRIES, MAX_MS, MAX_NAME
from quotaware.tenancy.documents import from_doc, to_doc
from quotaware.tenancy.nodes import DEFAULTS, Node, Path, fields_of

ORG = Node("org_a", "organization", "", "A", zone="Europe/Berlin")
TEAM = Node("team_a", "team", "org_a", "Engineering")
PROJECT = Node("proj_a", "project", "team_a", "Backend")
KEY = Node("key_a", "key", "proj_a", None, permissions=("chat:create",), digest="0" * 64)
BY_KIND = {node.kind: node for node in (ORG, TEAM, PROJECT, KEY)}


def limit(text: str) -> Limit:
    return Limit.parse(text)


@pytest.mark.parametrize(
    ("node", "field", "value"),
    [
        (PROJECT, "kind", "folder"),
        (PROJECT, "id", "not an id"),
        (PROJECT, "id", ""),
        (PROJECT, "parent", ""),
        (ORG, "parent", "org_b"),
        (PROJECT, "name", None),
        (PROJECT, "name", ""),
        (PROJECT, "name", " padded "),
        (PROJECT, "name", "two\nlines"),
        (PROJECT, "name", "\ud800"),
        (PROJECT, "name", "x" * (MAX_NAME + 1)),
        (PROJECT, "name", 7),
        (PROJECT, "limits", ("$1/day",)),
        (PROJECT, "limits", [limit("$1/day")]),
        (PROJECT, "limits", (limit("$1/day"), limit("$2/day"))),
        (PROJECT, "limits", (limit("1 request/day soft"), limit("2 requests/day soft"))),
        (PROJECT, "enabled", 1),
        (PROJECT, "models", ("gpt 4",)),
        (PROJECT, "models", ("",)),
        (PROJECT, "models", ("*",) * (MAX_ENTRIES + 1)),
        (PROJECT, "models", "gpt-4.1"),
        (KEY, "permissions", ("Chat",)),
        (KEY, "permissions", (" chat:create",)),
        (PROJECT, "permissions", ("chat:create",)),
        (KEY, "expires_at", -1),
        (KEY, "expires_at", 1.5),
        (KEY, "expires_at", True),
        (KEY, "expires_at", MAX_MS + 1),
        (PROJECT, "expires_at", 1),
        (KEY, "revoked", "no"),
        (TEAM, "revoked", True),
        (KEY, "addresses", ("10.0.0.1/8",)),
        (KEY, "addresses", ("localhost",)),
        (KEY, "addresses", (1,)),
        (ORG, "addresses", ("10.0.0.0/8",)),
        (ORG, "zone", "Mars/Olympus"),
        (ORG, "zone", None),
        (TEAM, "zone", "Europe/Berlin"),
        (PROJECT, "environment", ""),
        (TEAM, "environment", "test"),
        (PROJECT, "created_at", -1),
        (PROJECT, "rev", -1),
        (KEY, "digest", "abc"),
        (KEY, "digest", "G" * 64),
        (PROJECT, "digest", "0" * 64),
        (PROJECT, "stopped", ""),
    ],
)
def test_a_value_that_no_node_can_have_is_refused_naming_the_field(node, field, value):
    with pytest.raises(ConfigurationError) as caught:
        replace(node, **{field: value})
    assert caught.value.field == field


@pytest.mark.parametrize("node", [TEAM, PROJECT, KEY])
def test_what_holds_without_a_word_may_be_said_of_a_node_of_another_kind(node):
    zone = bytes.decode(b"UTC")  # as it is read: another text than the default's
    assert zone is not DEFAULTS["zone"]
    assert replace(node, zone=zone) == node


def test_limits_of_one_shape_stand_together_where_their_modes_differ():
    limits = tuple(map(limit, ("$50/month", "$40/month soft", "$30/month shadow", "$5/month for gpt-4.1*")))
    assert replace(PROJECT, limits=limits).limits == limits


def test_addresses_are_addresses_and_blocks_of_both_families():
    addresses = ("192.0.2.7", "10.0.0.0/8", "2001:db8::1", "2001:db8::/32")
    assert replace(KEY, addresses=addresses).addresses == addresses


@pytest.mark.parametrize("name", ["limits", "models", "permissions", "addresses"])
@pytest.mark.parametrize("value", ["$1/day", 7, None])
def test_where_several_are_taken_one_text_is_refused(name, value):
    """A forgotten pair of brackets must not become a list of letters."""
    with pytest.raises(ConfigurationError) as caught:
        fields_of({name: value})
    assert caught.value.field == name


def test_limits_are_given_as_texts_or_as_limits():
    given = fields_of(
        {"limits": ["$1/day", limit("8 concurrent")], "models": iter(["a", "b"]), "zone": "UTC"}
    )
    assert given == {"limits": (limit("$1/day"), limit("8 concurrent")), "models": ("a", "b"), "zone": "UTC"}


def test_a_body_has_only_what_differs_from_the_defaults():
    assert to_doc(TEAM) == Doc("team_a", "team", "org_a", "Engineering", 0, "{}")
    node = replace(PROJECT, limits=(limit("$50/month"),), enabled=False, rev=7, stopped="m1")
    doc = to_doc(node)
    assert json.loads(doc.body) == {"limits": ["$50/month"], "enabled": False}
    assert (doc.rev, doc.stopped) == (7, "m1")


texts = st.sampled_from(["$50/month", "600 requests/minute", "8 concurrent", "$1/day per end_user soft"])
bodies = {
    "limits": st.lists(texts.map(limit), unique=True, max_size=3).map(tuple),
    "enabled": st.booleans(),
    "models": st.lists(st.sampled_from(["*", "gpt-4.1*", "claude-*"]), max_size=3).map(tuple),
    "created_at": st.integers(0, MAX_MS),
    "stopped": st.none() | st.just("m1"),
    "rev": st.integers(0, 2**40),
}
own = {
    "organization": {"zone": st.sampled_from(["UTC", "Asia/Tokyo"])},
    "team": {},
    "project": {"environment": st.sampled_from(["live", "test", "staging 2"])},
    "key": {
        "permissions": st.lists(st.sampled_from(["chat:create", "org:manage", "*"])).map(tuple),
        "expires_at": st.none() | st.integers(0, MAX_MS),
        "revoked": st.booleans(),
        "addresses": st.lists(st.sampled_from(["::1", "10.0.0.0/8"])).map(tuple),
        "digest": st.sampled_from(["", "a" * 64]),
        "name": st.none() | st.just("ci"),
    },
}
nodes = st.sampled_from(list(BY_KIND)).flatmap(
    lambda kind: st.fixed_dictionaries({**bodies, **own[kind]}).map(
        lambda given: replace(BY_KIND[kind], **given)
    )
)


@settings(deadline=None, max_examples=150)
@given(nodes)
def test_a_document_says_what_its_node_says(node):
    assert from_doc(to_doc(node)) == node


def test_the_name_of_a_revoked_key_is_kept_in_its_body_and_is_free_for_another():
    doc = to_doc(replace(KEY, name="ci", revoked=True))
    assert doc.name is None
    assert from_doc(doc).name == "ci"


def test_members_that_a_newer_version_wrote_are_passed_over():
    doc = Doc(
        "proj_a", "project", "team_a", "Backend", 3, '{"enabled": false, "colour": {"a": 1}, "id": "x"}'
    )
    assert from_doc(doc) == replace(PROJECT, enabled=False, rev=3)


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        "null",
        '"limits"',
        '{"limits": ["$50/fortnight"]}',
        '{"limits": "$50/month"}',
        '{"limits": [7]}',
        '{"models": "gpt"}',
        '{"models": {"gpt": 1}}',
        '{"enabled": null}',
        '{"permissions": ["chat:create"]}',
    ],
)
def test_a_document_that_cannot_be_read_is_an_error_and_never_a_node_that_allows_more(body):
    with pytest.raises(StoreError, match="proj_a"):
        from_doc(Doc("proj_a", "project", "team_a", "Backend", 1, body))
    with pytest.raises(StoreError, match="proj_a"):
        from_doc(Doc("proj_a", "folder", "team_a", "Backend", 1, "{}"))


def test_a_path_names_its_nodes():
    path = Path("org_a", 4, (KEY, PROJECT, TEAM, ORG))
    assert path.ids == ("key_a", "proj_a", "team_a", "org_a")
    assert (path.key, path.project, path.team, path.organization) == (KEY, PROJECT, TEAM, ORG)
    assert path.zone == "Europe/Berlin"


def test_a_path_without_key_project_or_team_says_so():
    path = Path("org_a", 4, (ORG,))
    assert (path.key, path.project, path.team, path.organization) == (None, None, None, ORG)


def test_the_defaults_allow_everything_and_limit_nothing():
    assert (DEFAULTS["limits"], DEFAULTS["models"], DEFAULTS["permissions"]) == ((), (), ())
