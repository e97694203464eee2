"""The tree: what can be made and changed, who is told what, and writers that come between one another."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier

import pytest

from quotaware.core.limits import Limit
from quotaware.core.permissions import CALL_PERMISSIONS
from quotaware.core.steps import REQUESTS, Counter, Mark, Plan, Reserve, Result
from quotaware.errors import (
    AlreadyExists,
    ConfigurationError,
    Conflict,
    LimitSyntaxError,
    NotFound,
    StoreError,
)
from quotaware.stores.memory import MemoryStore
from quotaware.stores.protocol import Change, Doc
from quotaware.tenancy import keys
from quotaware.tenancy.directory import Directory
from quotaware.tenancy.nodes import Path
from quotaware.tenancy.service import Tenancy
from quotaware.tenancy.writes import TRIES

NOW = 1_700_000_000_000


def clock() -> int:
    return NOW


class BusyStore(MemoryStore):
    """A memory store in which another writer comes between: `between` runs once, after the next read."""

    between: Callable[[], object] | None = None

    def read(self, org: str, ids: Sequence[str]) -> tuple[int, list[Doc | None]]:
        seen = super().read(org, ids)
        between, self.between = self.between, None
        if between is not None:
            between()
        return seen

    def touch(self, org: str) -> None:
        """Moves the organization's revision, and nothing else."""
        self.commit(org, Change(super().read(org, ())[0]))


@pytest.fixture
def store():
    return BusyStore(clock)


@pytest.fixture
def directory(store):
    return Directory(store, clock)


@pytest.fixture
def tenancy(store, directory):
    return Tenancy(store, directory, clock)


@pytest.fixture
def org(tenancy):
    """An organization with one team and one project, by the ids that existing clients say."""
    tenancy.create_organization("Startup AI", id="org_startup_ai")
    tenancy.create_team("org_startup_ai", "ML", id="team_ml_001")
    tenancy.create_project("team_ml_001", "Production", org="org_startup_ai", id="proj_production")
    return "org_startup_ai"


@contextmanager
def refused(field: str, kind: type[AlreadyExists | ConfigurationError] = ConfigurationError):
    """Expects an error that names the field."""
    with pytest.raises(kind) as caught:
        yield caught
    error = caught.value
    assert (error.fields["field"] if isinstance(error, AlreadyExists) else error.field) == field


def revision(store: MemoryStore, org: str) -> int:
    return store.read(org, ())[0]


def audit(store: MemoryStore, org: str) -> list[dict]:
    return [json.loads(text) for _, text in store.audit(org, 0, 1000)]


def reserve(store: MemoryStore, path: Path, number: int, *lines: tuple[Counter, int]) -> Result:
    """One reserve with a plan made from this path; `number` tells reservations apart."""
    plan = Plan(path.org, path.rev, path.ids, lines)
    op = Reserve(f"{NOW:012x}{number:020x}", plan, (0, 0, 0), (0, 0, 0), 60_000, "{}")
    return store.apply({path.org: [op]}, 1.0)[path.org].results[0]


# making


def test_a_tree_is_made_from_the_top_down(tenancy, directory):
    org = tenancy.create_organization("Acme", zone="Europe/Berlin", limits=["$500/month"], models=["gpt-*"])
    team = tenancy.create_team(org.id, "Engineering", limits=["$300/month"], models=["gpt-4.1*"])
    project = tenancy.create_project(team.id, "Backend", limits=["8 concurrent"], environment="staging")
    made = tenancy.create_key(project.id, name="ci", limits=["60 requests/minute"], expires_at=NOW + 1)
    path = directory.load(org.id, made.node.id)
    assert path.ids == (made.node.id, project.id, team.id, org.id)
    assert path.zone == "Europe/Berlin"
    assert [tuple(map(str, node.limits)) for node in path.nodes] == [
        ("60 requests/minute",),
        ("8 concurrent",),
        ("$300/month",),
        ("$500/month",),
    ]
    assert [node.models for node in path.nodes] == [(), (), ("gpt-4.1*",), ("gpt-*",)]
    assert (path.project.environment, path.key.expires_at) == ("staging", NOW + 1)
    assert {node.created_at for node in path.nodes} == {NOW}
    assert path.nodes == (made.node, project, team, org)
    assert [node.rev for node in path.nodes] == [4, 3, 2, 1]


def test_random_ids_say_their_kind(tenancy):
    org = tenancy.create_organization("Acme")
    team = tenancy.create_team(org.id, "T")
    project = tenancy.create_project(org.id, "P")
    key = tenancy.create_key(org.id)
    prefixes = [id.partition("_")[0] for id in (org.id, team.id, project.id, key.node.id)]
    assert prefixes == ["org", "team", "proj", "key"]


def test_a_project_may_stand_right_below_its_organization(tenancy, directory, org):
    project = tenancy.create_project(org, "Loose", org=org)
    path = directory.load(org, project.id)
    assert (path.ids, path.team) == ((project.id, org), None)


def test_limits_are_taken_as_texts_and_as_values(tenancy, org):
    node = tenancy.create_team(org, "T", limits=("$50/month", Limit.parse("$40/month soft")))
    assert list(map(str, node.limits)) == ["$50/month", "$40/month soft"]


def test_two_limits_of_one_shape_and_mode_are_refused(tenancy, org):
    with refused("limits"):
        tenancy.create_team(org, "T", limits=["$50/month", "$40/month"])
    with refused("limits"):
        tenancy.update(org, "team_ml_001", limits=["1 concurrent soft", "2 concurrent soft"])


def test_a_limit_that_cannot_be_read_is_refused_with_its_word(tenancy, org):
    with pytest.raises(LimitSyntaxError, match="fortnight"):
        tenancy.create_team(org, "T", limits=["$50/fortnight"])


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda t, org: t.create_organization("A", id="Big Org"), "id"),
        (lambda t, org: t.create_organization("A", id=""), "id"),
        (lambda t, org: t.create_organization(""), "name"),
        (lambda t, org: t.create_organization(None), "name"),
        (lambda t, org: t.create_organization("\ud800"), "name"),
        (lambda t, org: t.create_organization("A", zone="Mars/Olympus"), "zone"),
        (lambda t, org: t.create_organization("A", models="gpt"), "models"),
        (lambda t, org: t.create_team(org, None), "name"),
        (lambda t, org: t.create_team(org, "T", limits="$1/day"), "limits"),
        (lambda t, org: t.create_team("not an id", "T"), "parent"),
        (lambda t, org: t.create_team("team_ml_001", "T"), None),
        (lambda t, org: t.create_project(org, "P", environment=""), "environment"),
        (lambda t, org: t.create_project("proj_production", "P"), "parent"),
        (lambda t, org: t.create_key(org, permissions=["Chat!"]), "permissions"),
        (lambda t, org: t.create_key(org, addresses=["home"]), "addresses"),
        (lambda t, org: t.create_key(org, expires_at=-1), "expires_at"),
        (lambda t, org: t.create_key(t.create_key(org).node.id), "parent"),
    ],
)
def test_what_cannot_be_made_is_refused_and_leaves_nothing(tenancy, store, org, make, field):
    before = revision(store, org)
    with pytest.raises(NotFound) if field is None else refused(field):
        make(tenancy, org)
    assert revision(store, org) - before in (0, 1)  # the last one makes a key to stand on
    assert store.orgs("", 10) == [org]


def test_a_parent_that_is_not_there_is_not_found(tenancy, org):
    for make in (
        lambda: tenancy.create_team("org_none", "T"),
        lambda: tenancy.create_project("team_none", "P"),
        lambda: tenancy.create_project("team_none", "P", org=org),
        lambda: tenancy.create_project("team_ml_001", "P", org="no org!"),
        lambda: tenancy.create_key("proj_none"),
        lambda: tenancy.create_key("proj_none", org=org),
    ):
        with pytest.raises(NotFound):
            make()


def test_names_are_unique_among_siblings(tenancy, org):
    with refused("name", AlreadyExists):
        tenancy.create_organization(tenancy.create_organization("Acme").name)
    with refused("name", AlreadyExists):
        tenancy.create_team(org, "ML")
    with refused("name", AlreadyExists):
        tenancy.create_project("team_ml_001", "Production")
    tenancy.create_key("proj_production", name="ci")
    with refused("name", AlreadyExists):
        tenancy.create_key("proj_production", name="ci")


def test_names_may_repeat_elsewhere_and_keys_need_none(tenancy, org):
    tenancy.create_project(org, "Production")
    tenancy.create_project(org, "ML")
    for _ in range(3):
        assert tenancy.create_key("proj_production").node.name is None


def test_an_id_that_is_taken_is_refused(tenancy, org):
    with refused("id", AlreadyExists):
        tenancy.create_organization("Another", id=org)
    with refused("id", AlreadyExists):
        tenancy.create_project(org, "P", id="team_ml_001")


def test_an_id_given_in_two_organizations_needs_the_organization(tenancy, org):
    tenancy.create_organization("B", id="org_b")
    tenancy.create_team("org_b", "ML", id="team_ml_001")
    with refused("org"):
        tenancy.create_project("team_ml_001", "P")
    made = tenancy.create_project("team_ml_001", "P", org="org_b")
    assert tenancy.get("org_b", made.id) == made
    with pytest.raises(NotFound):
        tenancy.get(org, made.id)


# keys


@pytest.mark.parametrize(
    ("node_id", "environment", "prefix"),
    [
        ("proj_production", "live", "qw_live_"),
        ("proj_production", "staging", "qw_live_"),
        ("proj_production", "test", "qw_test_"),
        ("team_ml_001", "live", "qw_admin_"),
        ("org_startup_ai", "live", "qw_admin_"),
    ],
)
def test_a_key_looks_as_where_it_hangs(tenancy, org, node_id, environment, prefix):
    tenancy.update(org, "proj_production", environment=environment)
    made = tenancy.create_key(node_id)
    assert made.secret.startswith(prefix)
    assert keys.well_formed(made.secret)


def test_a_key_can_make_calls_unless_told_otherwise(tenancy, org):
    assert tenancy.create_key("proj_production").node.permissions == CALL_PERMISSIONS
    made = tenancy.create_key("proj_production", permissions=["chat:create"], addresses=["10.0.0.0/8", "::1"])
    assert made.node.permissions == ("chat:create",)
    assert made.node.addresses == ("10.0.0.0/8", "::1")
    written = tenancy.create_key(
        "proj_production", addresses=["::ffff:10.0.0.1", "FE80::%eth0/10", "::1/128"]
    )
    assert written.node.addresses == ("10.0.0.1", "fe80::/10", "::1")


def test_a_key_is_found_by_its_digest_and_its_secret_is_kept_nowhere(tenancy, store, directory, org):
    made = tenancy.create_key("proj_production", name="ci")
    digest = keys.digest(made.secret)
    assert made.node.digest == digest
    assert store.find(digest) == (org, made.node.id)
    assert directory.peek_key(digest) == (org, made.node.id)
    kept = f"{store.read(org, (made.node.id,))} {store.audit(org, 0, 100)} {made!r} {made.node!r}"
    assert made.secret not in kept
    assert digest not in str(store.audit(org, 0, 100))


def test_a_key_whose_digest_was_asked_for_before_works_at_once(tenancy, directory):
    """What was unknown a moment ago is not refused for a minute in the process that made it."""
    secret = keys.make("admin")
    assert directory.load_key(keys.digest(secret)) is None
    made = tenancy.bootstrap("A", admin_key=secret)
    assert directory.peek_key(keys.digest(secret)).org == made.organization_id


# looking


def test_a_node_is_got_by_id_inside_its_organization(tenancy, org):
    assert tenancy.get(org, "proj_production").name == "Production"
    assert tenancy.get(None, "proj_production") == tenancy.get(org, "proj_production")
    assert tenancy.get(None, org).kind == "organization"
    tenancy.create_organization("B", id="org_b")
    for home, node_id in (("org_b", "proj_production"), (org, "org_b"), (org, "No Id"), ("No Org", org)):
        with pytest.raises(NotFound):
            tenancy.get(home, node_id)
    for node_id in ("proj_none", "No Id", None):
        with pytest.raises(NotFound):
            tenancy.get(None, node_id)


def test_a_node_is_found_by_id_or_by_a_name_that_is_the_only_one(tenancy, org):
    project = tenancy.get(org, "proj_production")
    assert tenancy.find(org, "project", "proj_production") == project
    assert tenancy.find(org, "project", "Production") == project
    assert tenancy.find(org, "organization", "Startup AI").id == org
    tenancy.create_project(org, "Production")
    with pytest.raises(AlreadyExists) as caught:
        tenancy.find(org, "project", "Production")
    assert caught.value.code == "ambiguous_name"
    for kind, name in (("team", "proj_production"), ("project", "ML"), ("organization", "org_b")):
        with pytest.raises(NotFound):
            tenancy.find(org, kind, name)
    with pytest.raises(NotFound):
        tenancy.find("No Org", "project", "Production")


def test_a_place_is_named_by_id_or_by_a_name_that_only_one_of_its_kinds_has(tenancy, org):
    tenancy.create_project(org, "ML", org=org, id="proj_ml")
    assert tenancy.place(org, "team_ml_001", "project", "team") == "team_ml_001"
    assert tenancy.place(org, "Production", "team", "project") == "proj_production"
    assert tenancy.place(org, "Startup AI", "organization") == org
    assert tenancy.place(org, "ML", "team") == "team_ml_001"
    with pytest.raises(AlreadyExists, match="more than one team or project"):
        tenancy.place(org, "ML", "team", "project")
    for name in ("nobody", "proj_production", "", "\ud800", "a\0"):
        with pytest.raises(NotFound, match="no team"):
            tenancy.place(org, name, "team")


def test_an_id_goes_before_a_name(tenancy, org):
    tenancy.create_project(org, "proj_production")
    assert tenancy.find(org, "project", "proj_production").id == "proj_production"


def test_lists_go_by_id_in_pages(tenancy, org):
    made = {tenancy.create_project(org, f"P{number}").id for number in range(5)}
    everywhere = [node.id for node in tenancy.list(org, "project")]
    assert everywhere == sorted(made | {"proj_production"})
    assert [node.id for node in tenancy.list(org, "project", parent="team_ml_001")] == ["proj_production"]
    first = tenancy.list(org, "project", org, limit=3)
    rest = tenancy.list(org, "project", org, after=first[-1].id)
    assert [node.id for node in first + rest] == sorted(made)
    assert [node.id for node in tenancy.list(org, "organization")] == [org]
    assert tenancy.list("org_none", "project") == ()


def test_a_list_that_cannot_be_is_refused(tenancy, org):
    for limit in (0, -1, 1001):
        with refused("limit"):
            tenancy.list(org, "project", limit=limit)
    with refused("kind"):
        tenancy.list(org, "folder")
    with pytest.raises(NotFound):
        tenancy.list("No Org", "project")


# changing


def test_a_change_replaces_what_is_given_and_leaves_the_rest(tenancy, org):
    tenancy.update(
        org, "proj_production", limits=["$50/month"], models=["gpt-*"], name="Prod", environment="test"
    )
    node = tenancy.update(org, "proj_production", limits=["$60/month"])
    assert tuple(map(str, node.limits)) == ("$60/month",)
    assert (node.models, node.name, node.environment) == (("gpt-*",), "Prod", "test")
    assert node == tenancy.get(org, "proj_production")
    assert tenancy.update(org, org, zone="Asia/Tokyo").zone == "Asia/Tokyo"
    key = tenancy.create_key("proj_production").node
    changed = tenancy.update(
        org, key.id, name="ci", permissions=["chat:create"], expires_at=NOW, addresses=["::1"]
    )
    assert (changed.name, changed.permissions) == ("ci", ("chat:create",))
    assert (changed.expires_at, changed.addresses, changed.digest) == (NOW, ("::1",), key.digest)
    assert tenancy.update(org, key.id, expires_at=None, name=None).expires_at is None


def test_a_change_that_changes_nothing_moves_no_revision(tenancy, store, org):
    tenancy.update(org, "proj_production", limits=["$50/month"])
    before = revision(store, org)
    tenancy.update(org, "proj_production", limits=["$50.00/month"], enabled=True)
    tenancy.update(org, "proj_production")
    tenancy.enable(org, "proj_production")
    assert revision(store, org) == before


@pytest.mark.parametrize(
    ("node_id", "changes", "field"),
    [
        ("proj_production", {"digest": "0" * 64}, "digest"),
        ("proj_production", {"parent": "org_startup_ai"}, "parent"),
        ("proj_production", {"kind": "team"}, "kind"),
        ("proj_production", {"colour": "red"}, "colour"),
        ("proj_production", {"zone": "Asia/Tokyo"}, "zone"),
        ("proj_production", {"permissions": ["chat:create"]}, "permissions"),
        ("proj_production", {"models": ["a b"]}, "models"),
        ("proj_production", {"enabled": None}, "enabled"),
        ("proj_production", {"name": None}, "name"),
        ("team_ml_001", {"environment": "test"}, "environment"),
        ("org_startup_ai", {"expires_at": NOW}, "expires_at"),
    ],
)
def test_a_change_that_cannot_be_is_refused_naming_the_field(tenancy, store, org, node_id, changes, field):
    before = revision(store, org)
    with refused(field):
        tenancy.update(org, node_id, **changes)
    assert revision(store, org) == before


def test_a_new_name_must_be_free_among_siblings(tenancy, org):
    tenancy.create_project("team_ml_001", "Staging", id="proj_staging")
    with refused("name", AlreadyExists):
        tenancy.update(org, "proj_staging", name="Production")
    tenancy.update(org, "proj_production", name="Old")
    assert tenancy.update(org, "proj_staging", name="Production").name == "Production"
    assert tenancy.update(org, org, name="ML").name == "ML"


@pytest.mark.parametrize("method", ["update", "enable", "disable", "revoke_key", "delete"])
def test_what_is_not_in_this_organization_cannot_be_changed(tenancy, org, method):
    tenancy.create_organization("B", id="org_b")
    for home, node_id in (("org_b", "proj_production"), (org, "proj_none"), (org, "No Id"), ("No Org", org)):
        with pytest.raises(NotFound):
            getattr(tenancy, method)(home, node_id)


def test_disabled_and_enabled_again(tenancy, directory, org):
    assert not tenancy.disable(org, "proj_production").enabled
    assert not directory.load(org, "proj_production").project.enabled
    assert tenancy.enable(org, "proj_production").enabled


def test_enabling_ends_a_stop(tenancy, store, directory, org):
    """A node that a threshold stopped runs again when someone enables it, and after no other change."""
    counter = Counter("requests", 10, marks=(Mark("mark-1", 1, stop="proj_production"),))
    path = directory.load(org, "proj_production")
    assert reserve(store, path, 1, (counter, REQUESTS)).verdict == "done"
    assert tenancy.get(org, "proj_production").stopped == "mark-1"
    assert tenancy.update(org, "proj_production", models=["gpt-*"]).stopped == "mark-1"
    assert tenancy.get(org, "proj_production").stopped == "mark-1"
    assert tenancy.enable(org, "proj_production").stopped is None
    assert tenancy.get(org, "proj_production").stopped is None


def test_a_revoked_key_stays_revoked_and_leaves_its_name(tenancy, store, org):
    key = tenancy.create_key("proj_production", name="ci").node
    revoked = tenancy.revoke_key(org, key.id)
    assert revoked.revoked
    assert (revoked.name, tenancy.get(org, key.id)) == ("ci", revoked)
    before = revision(store, org)
    assert tenancy.revoke_key(org, key.id) == revoked
    assert revision(store, org) == before
    assert tenancy.create_key("proj_production", name="ci").node.name == "ci"


def test_only_a_key_is_revoked(tenancy, org):
    with pytest.raises(NotFound):
        tenancy.revoke_key(org, "proj_production")


def test_what_has_children_is_not_deleted(tenancy, org):
    key = tenancy.create_key("proj_production")
    for node_id in (org, "team_ml_001", "proj_production"):
        with pytest.raises(AlreadyExists) as caught:
            tenancy.delete(org, node_id)
        assert caught.value.code == "has_children"
    for node_id in (key.node.id, "proj_production", "team_ml_001", org):
        tenancy.delete(org, node_id)
        with pytest.raises(NotFound):
            tenancy.get(org, node_id)


def test_a_deleted_key_is_unlinked_and_its_name_is_free(tenancy, store, directory, org):
    made = tenancy.create_key("proj_production", name="ci")
    directory.load(org, made.node.id)
    tenancy.delete(org, made.node.id)
    assert store.find(made.node.digest) is None
    assert directory.load_key(made.node.digest) is None
    assert directory.peek(org, made.node.id) is None
    tenancy.create_key("proj_production", name="ci")


def test_every_change_leaves_one_audit_row(tenancy, store, org):
    tenancy.update(org, "proj_production", limits=["$50/month"])
    key = tenancy.create_key("proj_production", name="ci").node
    tenancy.revoke_key(org, key.id)
    tenancy.delete(org, key.id)
    rows = audit(store, org)
    assert [row["what"] for row in rows] == [
        "organization.create",
        "team.create",
        "project.create",
        "project.update",
        "key.create",
        "key.revoke",
        "key.delete",
    ]
    assert {row["at"] for row in rows} == {NOW}
    assert rows[0]["before"] == []
    assert rows[0]["after"][0]["name"] == "Startup AI"
    update = rows[3]
    assert "limits" not in update["before"][0]
    assert update["after"][0]["limits"] == ["$50/month"]
    assert (rows[5]["before"][0]["name"], rows[5]["after"][0]["revoked"]) == ("ci", True)
    assert (rows[6]["before"][0]["id"], rows[6]["after"]) == (key.id, [])


# writers that come between


def test_a_write_is_decided_anew_when_another_came_between(tenancy, store, org):
    """Neither change is lost."""
    store.between = lambda: tenancy.update(org, "proj_production", models=["gpt-*"])
    node = tenancy.update(org, "proj_production", limits=["$50/month"])
    assert (node.models, tuple(map(str, node.limits))) == (("gpt-*",), ("$50/month",))


def test_a_name_taken_in_between_is_refused(tenancy, store, org):
    store.between = lambda: tenancy.create_team(org, "Ops")
    with refused("name", AlreadyExists):
        tenancy.create_team(org, "Ops")


def test_a_parent_deleted_in_between_is_not_found(tenancy, store, org):
    tenancy.create_team(org, "Short-lived", id="team_short")
    store.between = lambda: tenancy.delete(org, "team_short")
    with pytest.raises(NotFound):
        tenancy.create_project("team_short", "P", org=org)
    with pytest.raises(NotFound):
        tenancy.get(org, "team_short")


def test_what_got_a_child_in_between_is_not_deleted(tenancy, store, org):
    tenancy.create_project("team_ml_001", "P", id="proj_p")
    store.between = lambda: tenancy.create_key("proj_p", org=org)
    with pytest.raises(AlreadyExists):
        tenancy.delete(org, "proj_p")


def test_a_writer_that_never_comes_through_gives_up(tenancy, store, org):
    """The tries are bounded, and the error says that a repeat can succeed."""
    turns = []

    def touch() -> None:
        turns.append(1)
        store.touch(org)
        store.between = touch

    store.between = touch
    with pytest.raises(Conflict):
        tenancy.update(org, "proj_production", enabled=False)
    assert TRIES <= len(turns) <= 5 * TRIES
    store.between = None
    assert tenancy.get(org, "proj_production").enabled


def test_a_store_that_does_not_answer_is_told(tenancy, store, org):
    store.close()
    for ask in (
        lambda: tenancy.get(org, org),
        lambda: tenancy.create_key("proj_production", org=org),
        lambda: tenancy.bootstrap(),
        lambda: tenancy.ensure_simple(["$1/day"]),
    ):
        with pytest.raises(StoreError):
            ask()


def test_eight_threads_make_fifty_keys_each_and_none_is_lost(tenancy, store, org):
    def make(worker: int) -> list[tuple[str, str]]:
        made = [tenancy.create_key("proj_production", org=org, name=f"{worker}-{n}") for n in range(50)]
        return [(key.node.id, key.secret) for key in made]

    with ThreadPoolExecutor(8) as pool:
        made = [pair for pairs in pool.map(make, range(8)) for pair in pairs]
    listed = tenancy.list(org, "key", "proj_production", limit=1000)
    assert {node.id for node in listed} == {id for id, _ in made}
    assert len({node.name for node in listed}) == 400
    assert all(store.find(keys.digest(secret)) == (org, id) for id, secret in made)
    assert len({node.rev for node in listed}) == 400
    assert sum(row["what"] == "key.create" for row in audit(store, org)) == 400


def test_eight_threads_that_make_the_same_projects_make_each_once(tenancy, org):
    def make(_: int) -> int:
        won = 0
        for number in range(50):
            try:
                tenancy.create_project("team_ml_001", f"P{number}", org=org)
                won += 1
            except AlreadyExists:
                pass
        return won

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(make, range(8))) == 50
    names = [node.name for node in tenancy.list(org, "project", "team_ml_001")]
    assert sorted(names) == sorted([*(f"P{number}" for number in range(50)), "Production"])


def test_eight_threads_changing_one_node_lose_no_update(tenancy, org):
    """Each changes its own field; in the end all stand."""
    fields = {
        "name": "N",
        "limits": ["$9/day"],
        "models": ["m*"],
        "permissions": ["chat:create"],
        "expires_at": NOW,
        "addresses": ["::1"],
        "enabled": False,
    }
    key = tenancy.create_key("proj_production").node
    with ThreadPoolExecutor(8) as pool:
        for change in [pool.submit(tenancy.update, org, key.id, **{name: fields[name]}) for name in fields]:
            change.result()
    node = tenancy.get(org, key.id)
    assert (node.name, node.models, node.permissions) == ("N", ("m*",), ("chat:create",))
    assert (node.expires_at, node.addresses, node.enabled) == (NOW, ("::1",), False)
    assert node.limits == (Limit.parse("$9/day"),)


# staleness


def test_a_reserve_with_an_old_path_names_only_what_changed(tenancy, store, directory, org):
    """Rule 5: at once, without a second trip; after one reload the call goes."""
    key = tenancy.create_key("proj_production", org=org).node
    path = directory.load(org, key.id)
    assert reserve(store, path, 1).verdict == "done"
    for number, (change, node_id) in enumerate(
        [
            (lambda: tenancy.update(org, "proj_production", limits=["$50/month"]), "proj_production"),
            (lambda: tenancy.disable(org, "team_ml_001"), "team_ml_001"),
            (lambda: tenancy.update(org, org, zone="Asia/Tokyo"), org),
            (lambda: tenancy.revoke_key(org, key.id), key.id),
        ],
        start=2,
    ):
        change()
        result = reserve(store, path, number)
        assert (result.verdict, result.stale) == ("stale", (node_id,))
        path = directory.load(org, key.id)
        assert reserve(store, path, number).verdict == "done"


def test_a_deleted_project_is_stale_and_then_not_found(tenancy, store, directory, org):
    path = directory.load(org, "proj_production")
    tenancy.delete(org, "proj_production")
    assert reserve(store, path, 1).stale == ("proj_production",)
    with pytest.raises(NotFound):
        directory.load(org, "proj_production")


def test_a_new_key_disturbs_no_other_path(tenancy, store, directory, org):
    first = tenancy.create_key("proj_production", org=org).node
    path = directory.load(org, first.id)
    for _ in range(3):
        tenancy.create_key("proj_production", org=org)
    tenancy.create_project("team_ml_001", "Another", org=org)
    assert reserve(store, path, 1).verdict == "done"
    assert directory.peek(org, first.id) is path


# the first start


def test_the_first_start_answers_an_admin_key_once(tenancy, directory):
    first = tenancy.bootstrap("StartupAI")
    assert keys.well_formed(first.key)
    assert first.key.startswith("qw_admin_")
    assert first.key not in repr(first)
    place = directory.load_key(keys.digest(first.key))
    path = directory.load(place.org, place.key)
    assert path.organization.name == "StartupAI"
    assert path.key.permissions == ("org:manage",)
    assert path.ids == (place.key, first.organization_id)
    again = tenancy.bootstrap("StartupAI")
    assert (again.organization_id, again.key) == (first.organization_id, None)
    assert tenancy.bootstrap("Another").organization_id != first.organization_id
    assert tenancy.bootstrap().organization_id == tenancy.bootstrap("default").organization_id


def test_sixteen_workers_that_start_at_once_get_one_organization_and_one_key(store):
    """Each with its own directory, as processes have."""
    start = Barrier(16)

    def worker(_: int):
        mine = Tenancy(store, Directory(store, clock), clock)
        start.wait()
        return mine.bootstrap("StartupAI")

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(worker, range(16)))
    assert len({answer.organization_id for answer in answers}) == 1
    (key,) = [answer.key for answer in answers if answer.key is not None]
    org = answers[0].organization_id
    (made,) = Tenancy(store, Directory(store, clock), clock).list(org, "key")
    assert store.find(keys.digest(key)) == (org, made.id)
    assert revision(store, org) == 1


def test_an_organization_that_was_made_before_is_the_one_that_starts(tenancy):
    org = tenancy.create_organization("StartupAI")
    answer = tenancy.bootstrap("StartupAI")
    assert (answer.organization_id, answer.key) == (org.id, None)
    assert tenancy.list(org.id, "key") == ()


def test_an_admin_key_that_is_given_works_and_is_not_answered(tenancy, store, directory):
    secret = keys.make("admin")
    for _ in range(2):
        answer = tenancy.bootstrap("StartupAI", admin_key=secret)
        assert answer.key is None
    place = directory.load_key(keys.digest(secret))
    assert directory.load(*place).key.permissions == ("org:manage",)
    assert revision(store, answer.organization_id) == 1


def test_an_admin_key_given_later_lets_back_in(tenancy, store):
    """Who lost the first one sets another; so does one whose link was lost."""
    org = tenancy.bootstrap("StartupAI").organization_id
    secret = keys.make("admin")
    tenancy.bootstrap("StartupAI", admin_key=secret)
    assert len(tenancy.list(org, "key")) == 2
    store.unlink(keys.digest(secret))
    tenancy.bootstrap("StartupAI", admin_key=secret)
    assert store.find(keys.digest(secret))[0] == org
    assert len(tenancy.list(org, "key")) == 2


def test_a_key_that_the_organization_has_already_may_be_given(tenancy, store):
    first = tenancy.bootstrap("StartupAI")
    other = tenancy.create_key(first.organization_id, permissions=["org:manage"])
    before = revision(store, first.organization_id)
    for secret in (first.key, other.secret):
        assert tenancy.bootstrap("StartupAI", admin_key=secret).key is None
    assert revision(store, first.organization_id) == before


def test_a_revoked_admin_key_stays_revoked(tenancy):
    secret = keys.make("admin")
    org = tenancy.bootstrap("StartupAI", admin_key=secret).organization_id
    (key,) = tenancy.list(org, "key")
    tenancy.revoke_key(org, key.id)
    tenancy.bootstrap("StartupAI", admin_key=secret)
    assert [node.revoked for node in tenancy.list(org, "key")] == [True]


def test_workers_that_start_at_once_with_an_admin_key_make_it_once(store):
    secret = keys.make("admin")
    start = Barrier(8)

    def worker(_: int):
        start.wait()
        return Tenancy(store, Directory(store, clock), clock).bootstrap("StartupAI", admin_key=secret)

    with ThreadPoolExecutor(8) as pool:
        (org,) = {answer.organization_id for answer in pool.map(worker, range(8))}
    assert revision(store, org) == 1
    assert store.find(keys.digest(secret))[0] == org


@pytest.mark.parametrize(
    "secret",
    ["", "qw_admin_0", "hunter2", keys.make("live"), keys.make("admin")[:-1] + "-"],
    ids=["empty", "short", "other", "live", "dash"],
)
def test_an_admin_key_that_is_malformed_is_refused_and_not_repeated(tenancy, store, secret):
    with refused("admin_key") as caught:
        tenancy.bootstrap("StartupAI", admin_key=secret)
    assert not secret or secret not in str(caught.value)
    assert store.orgs("", 10) == []


def test_an_admin_key_opens_one_organization(tenancy, store):
    secret = keys.make("admin")
    tenancy.bootstrap("A", admin_key=secret)
    with refused("admin_key"):
        tenancy.bootstrap("B", admin_key=secret)
    assert len(store.orgs("", 10)) == 1


# one app and no keys


def test_the_simple_tree_is_one_project_with_the_limits(tenancy, directory):
    org, project = tenancy.ensure_simple(["$50/month", Limit.parse("600 requests/minute")], "Europe/Berlin")
    assert (org, project) == ("org_app", "proj_app")
    path = directory.load(org, project)
    assert path.ids == (project, org)
    assert tuple(map(str, path.project.limits)) == ("$50/month", "600 requests/minute")
    assert path.organization.limits == ()
    assert path.zone == "Europe/Berlin"


def test_the_simple_tree_is_written_only_where_something_changed(tenancy, store, directory):
    tenancy.ensure_simple(["$50/month"])
    tenancy.ensure_simple(["$50/month"])
    assert revision(store, "org_app") == 1
    path = directory.load("org_app", "proj_app")
    tenancy.ensure_simple(["$60/month"])
    assert reserve(store, path, 1).stale == ("proj_app",)
    assert tuple(map(str, directory.load("org_app", "proj_app").project.limits)) == ("$60/month",)
    path = directory.load("org_app", "proj_app")
    tenancy.ensure_simple(["$60/month"], "Asia/Tokyo")
    assert reserve(store, path, 2).stale == ("org_app",)
    assert [row["what"] for row in audit(store, "org_app")] == ["organization.simple"] * 3


def test_the_simple_tree_keeps_what_else_was_set(tenancy):
    org, project = tenancy.ensure_simple(["$50/month"])
    tenancy.disable(org, project)
    tenancy.ensure_simple(["$60/month"])
    assert not tenancy.get(org, project).enabled


def test_the_simple_tree_of_sixteen_workers_is_made_once(store):
    start = Barrier(16)

    def worker(_: int):
        start.wait()
        return Tenancy(store, Directory(store, clock), clock).ensure_simple(["$50/month"])

    with ThreadPoolExecutor(16) as pool:
        assert set(pool.map(worker, range(16))) == {("org_app", "proj_app")}
    assert revision(store, "org_app") == 1


def test_what_the_simple_tree_cannot_have_is_refused(tenancy, store):
    with pytest.raises(LimitSyntaxError):
        tenancy.ensure_simple(["fifty dollars"])
    with refused("limits"):
        tenancy.ensure_simple("$50/month")
    with refused("limits"):
        tenancy.ensure_simple(["$50/month", "$40/month"])
    with refused("zone"):
        tenancy.ensure_simple([], "Mars/Olympus")
    assert store.orgs("", 10) == []
