"""The file applied: all of it or nothing, the same again changes nothing, and each change takes what it takes alone."""

from __future__ import annotations

import copy
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from quotaware import Quota
from quotaware.core.money import NANO
from quotaware.errors import (
    AlreadyExists,
    ConfigurationError,
    FileError,
    InvalidRequest,
    NotFound,
    PermissionDenied,
)
from quotaware.tenancy import keys
from quotaware.tenancy.access import of_key
from quotaware.tenancy.nodes import Node
from quotaware.testing.clocks import FakeClock
from tests.organization.test_reading import STARTUP

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "organization.yaml"
DAY = 86_400_000


def home(quota: Quota) -> str:
    (node,) = quota.blocking.tenancy.organizations()
    return node.id


def node(quota: Quota, kind: Any, name: str) -> Node:
    return quota.blocking.tenancy.find(home(quota), kind, name)


def acting(quota: Quota, secret: str) -> Any:
    """The file's face, for whoever holds a key."""
    tenancy = quota.blocking.tenancy
    place = tenancy._directory.load_key(keys.digest(secret))
    assert place is not None
    return quota.blocking.organization.by(tenancy.by(of_key(tenancy._directory.load(*place))))


def documents(quota: Quota) -> dict[str, Any]:
    store, org = quota.store, home(quota)
    return {item.key: item.value for item in store.dump(org) if item.table == "doc"}


# the contract's file


def test_the_contracts_file_makes_the_organization(quota: Quota) -> None:
    files = quota.blocking.organization
    assert not files.plan(EXAMPLE).empty
    assert list(quota.blocking.tenancy.organizations()) == []
    done = files.apply(EXAMPLE)
    tenancy, org = quota.blocking.tenancy, done.organization_id
    root = tenancy.get(org, org)
    assert (root.name, [str(limit) for limit in root.limits]) == ("StartupAI", ["$500/month"])
    assert (root.alert_threshold, root.auto_upgrade, root.carryover_allowed) == (750_000, False, False)
    teams = {team.name: team for team in tenancy.list(org, "team")}
    assert {name: str(team.limits[0]) for name, team in teams.items()} == {
        "engineering": "$300/month",
        "product": "$150/month",
        "operations": "$50/month",
    }
    projects = {project.name: project.parent for project in tenancy.list(org, "project")}
    assert projects["chatbot"] == projects["analytics"] == teams["product"].id
    groups = {(group.parent, group.name): group.roles for group in tenancy.groups(org)}
    assert groups[teams["engineering"].id, "lead"] == ("org_admin",)
    assert groups[teams["product"].id, "designer"] == ("viewer",)
    (admin,) = done.secrets
    assert (admin.kind, admin.name) == ("key", "admin")
    assert tenancy.get(org, admin.id).permissions == ("org:manage",)
    assert acting(quota, admin.secret).plan(EXAMPLE).empty


def test_applied_again_it_changes_nothing_and_written_back_it_is_what_it_was(
    quota: Quota, tmp_path: Path, startup: dict[str, Any]
) -> None:
    files = quota.blocking.organization
    files.apply(startup)
    before, rev = documents(quota), quota.store.read(home(quota), ())[0]
    again = files.apply(EXAMPLE)
    assert again.plan.empty
    assert again.secrets == ()
    assert (documents(quota), quota.store.read(home(quota), ())[0]) == (before, rev)
    startup["teams"]["product"]["projects"] = ["analytics", "chatbot"]  # by name
    assert files.values() == startup
    for format in ("yaml", "toml", "json"):
        path = tmp_path / f"organization.{format}"
        path.write_text(files.export(format=format))
        assert files.plan(path).empty


def test_a_budget_that_goes_away_is_told_with_its_period(quota: Quota, startup: dict[str, Any]) -> None:
    files = quota.blocking.organization
    files.apply(startup)
    del startup["teams"]["operations"]
    assert "    operations: $50 a month -> none" in str(files.plan(startup)).splitlines()


def test_a_change_is_planned_as_people_read_it_and_then_done(quota: Quota, startup: dict[str, Any]) -> None:
    files = quota.blocking.organization
    files.apply(startup)
    startup["teams"]["engineering"]["budget_usd"] = 280
    startup["teams"]["operations"]["projects"] = ["monitoring", "analytics"]
    startup["teams"]["product"]["projects"] = {"chatbot": {"rate_limit": {"requests_per_minute": 60}}}
    startup["members"] = {"ada": {"email": "ada@startup.example", "groups": ["engineering/lead"]}}
    plan = files.plan(startup)
    assert str(plan).splitlines() == [
        "~ team engineering",
        "    ~ limits: $300/month -> $280/month",
        "> project operations/analytics",
        "    ~ place: product -> operations",
        "~ project product/chatbot",
        "    + limits: 60 requests/minute",
        "+ member ada",
        "    + email: ada@startup.example",
        "    + groups: lead",
        "",
        "Budgets",
        "    engineering: $300 -> $280 a month (-$20)",
        "",
        "1 to create, 2 to change, 1 to move; 12 unchanged.",
    ]
    told = plan.told()
    assert json.loads(json.dumps(told)) == told
    assert told["steps"][1] == {
        "action": "move",
        "kind": "project",
        "id": node(quota, "project", "analytics").id,
        "name": "analytics",
        "where": "operations/analytics",
        "path": "teams.operations.projects.analytics",
        "destroys": False,
        "changes": [{"field": "place", "before": "product", "after": "operations"}],
    }
    assert told["money"] == [
        {"where": "engineering", "window": "month", "before_usd": 300.0, "after_usd": 280.0}
    ]
    assert documents(quota) == documents(quota)
    files.apply(startup)
    assert files.plan(startup).empty
    assert str(files.plan(startup)) == "StartupAI is as the file says."
    assert node(quota, "project", "analytics").parent == node(quota, "team", "operations").id


FULL: dict[str, Any] = {
    "organization": {
        "name": "Everything",
        "id": "org_everything",
        "time_zone": "Europe/Berlin",
        "limits": ["$5000/month", "100 concurrent"],
        "alerts": ["90% slack", "forecast 100% email"],
        "roles": {"board": ["viewer"]},
        "keys": {"ops": {"id": "key_ops", "permissions": ["quota:read", "analytics:full"]}, "plain": None},
        "channels": [{"type": "email", "email": "ops@example.com"}],
    },
    "teams": {
        "research": {
            "id": "team_research",
            "budget_usd": 1000,
            "carryover": True,
            "allowed_models": ["gpt-4.1*", "claude-*"],
            "quota_alerts": [{"threshold": 0.5, "action": "email"}, {"threshold": 0.95, "action": "disable"}],
            "end_user_limits": {"daily_budget_usd": 1},
            "overrides": [
                {
                    "limit": "cost/month",
                    "amount_usd": 1500,
                    "since": "2025-01-01T00:00:00Z",
                    "until": "2030-02-01T00:00:00Z",
                }
            ],
            "projects": {
                "agents": {
                    "id": "proj_agents",
                    "environment": "test",
                    "daily_budget_usd": 20,
                    "model_limits": {"gpt-4.1": {"daily_requests": 500, "daily_budget_usd": 25}},
                    "rate_limit": {"requests_per_minute": 60, "concurrent": 4},
                    "keys": {
                        "ci": {
                            "permissions": ["chat:create", "models:list"],
                            "allowed_ips": ["10.0.0.0/8"],
                            "allowed_models": ["gpt-4.1"],
                            "expires_at": "2030-01-01T00:00:00Z",
                            "rate_limit": {"requests_per_day": 100},
                        },
                        "off": {"enabled": False},
                    },
                    "channels": [{"type": "slack", "url": "env:QUOTAWARE_ALERT_SLACK"}],
                },
                "closed": {"enabled": False},
            },
            "roles": {"lead": ["admin", "auditor"]},
        },
        "quiet": None,
    },
    "projects": {"shared": {"limits": ["200000 tokens/minute soft", "1000 requests/day for gpt-4.1*"]}},
    "global_settings": {"alert_threshold": 0.8, "auto_upgrade": True, "carryover_allowed": True},
    "custom_roles": {
        "auditor": {"permissions": ["analytics:full", "quota:read"], "description": "looks at everything"}
    },
    "members": {
        "ada": {
            "email": "ada@example.com",
            "roles": [
                {"role": "admin", "node": "Everything"},
                {"role": "auditor", "node": "research/agents"},
            ],
            "groups": ["research/lead", "board"],
        },
        "bob": {"enabled": False},
        "eve": None,
    },
    "prices": [
        {"model": "our-model", "input": 2, "output": 8.5, "batch": {"input": 1}},
        {"model": "our-*", "input": 1, "output": 1, "valid_from": "2026-01-01T00:00:00Z"},
    ],
}


def test_the_full_form_says_all_that_there_is(quota: Quota, monkeypatch: pytest.MonkeyPatch) -> None:
    files, tenancy = quota.blocking.organization, quota.blocking.tenancy
    done = files.apply(FULL)
    org = done.organization_id
    assert org == "org_everything"
    assert files.plan(FULL).empty
    assert files.apply(FULL).plan.empty
    again = files.values()
    assert files.plan(again).empty
    assert files.apply(again).plan.empty
    assert files.plan(files.values(ids=True)).empty
    team, project = tenancy.get(org, "team_research"), tenancy.get(org, "proj_agents")
    assert [str(limit) for limit in team.limits] == ["$1000/month carryover", "$1/day per end_user"]
    assert [override.amount for override in team.overrides] == [1500 * NANO]
    assert team.models == ("gpt-4.1*", "claude-*")
    assert project.environment == "test"
    assert sorted(map(str, project.limits)) == [
        "$20/day",
        "$25/day for gpt-4.1",
        "4 concurrent",
        "500 requests/day for gpt-4.1",
        "60 requests/minute",
    ]
    assert not node(quota, "project", "closed").enabled
    secrets = {each.name: each.secret for each in done.secrets}
    assert secrets.keys() == {"admin", "ops", "plain", "ci", "off"}
    assert secrets["ci"].startswith("qw_test_")
    found = quota.store.find(keys.digest(secrets["ci"]))
    assert found is not None
    key = tenancy.get(*found)
    assert (key.name, key.addresses, key.models) == ("ci", ("10.0.0.0/8",), ("gpt-4.1",))
    assert not tenancy.find(org, "key", "off").enabled
    ada = tenancy.acting(org, "ada")
    assert ada.may("org:manage", (org,))
    assert tenancy.member(org, "bob").enabled is False
    assert [rule.model for rule in tenancy.prices(org).prices] == ["our-model", "our-*"]
    assert [each.target for each in tenancy.channels(org, "proj_agents")] == ["env:QUOTAWARE_ALERT_SLACK"]
    text = files.export()
    assert not any(secret in text for secret in secrets.values())
    assert again["members"]["ada"]["groups"] == ["lead", "board"]
    assert again["teams"]["research"]["roles"] == {"lead": ["admin", "auditor"]}


def test_what_a_webhook_is_signed_with_is_answered_once(one: Quota) -> None:
    files = one.blocking.organization
    hook = {"type": "webhook", "url": "env:QUOTAWARE_ALERT_HOOK"}
    file = {"organization": {"name": "Hooks", "channels": [hook]}}
    if not one.blocking.alerts._alerting.routes.vault.seals:
        with pytest.raises(FileError, match="secret"):
            files.apply(file)
    hook["secret"] = "env:QUOTAWARE_ALERT_SECRET"
    done = files.apply(file)
    assert [each.kind for each in done.secrets] == ["key"]
    assert files.plan(file).empty
    assert files.values()["organization"]["channels"] == [hook]
    hook["secret"] = "env:QUOTAWARE_ALERT_OTHER"
    assert [step.action for step in files.plan(file).steps] == ["create", "remove"]
    files.apply(file, allow_destroy=True)
    assert files.values()["organization"]["channels"] == [hook]


def test_a_channel_whose_url_may_not_be_shown_stands_by_its_id(one: Quota) -> None:
    files = one.blocking.organization
    org = files.apply({"organization": {"name": "Hooks"}}).organization_id
    channel, _ = one.blocking.alerts.add_channel(
        org, org, "webhook", url="https://example.com/hook", secret="env:QUOTAWARE_ALERT_SECRET"
    )
    values = files.values()
    assert values["organization"]["channels"] == [{"type": "webhook", "id": channel.id}]
    assert files.plan(values).empty
    values["organization"]["channels"][0]["id"] = "chan_other"
    with pytest.raises(FileError, match=r"organization.channels\[0\].id: is that of no channel here"):
        files.plan(values)


# what is not said, and what is taken away


def test_what_the_file_does_not_say_is_left_alone(one: Quota, startup: dict[str, Any]) -> None:
    files, tenancy = one.blocking.organization, one.blocking.tenancy
    org = files.apply(startup).organization_id
    team = node(one, "team", "engineering").id
    tenancy.set_limit(org, team, "60 requests/minute")
    key = tenancy.create_key(team, org=org, name="theirs").node.id
    tenancy.create_member(org, "ada")
    tenancy.create_project(org, "loose", org=org)
    assert files.plan(startup).empty
    files.apply({"organization": {"name": "StartupAI"}})
    assert tenancy.get(org, key).revoked is False
    startup["teams"]["engineering"]["budget_usd"] = None
    files.apply(startup)
    assert [str(limit) for limit in tenancy.get(org, team).limits] == ["60 requests/minute"]


def test_what_is_taken_away_takes_a_word(quota: Quota, startup: dict[str, Any]) -> None:
    files, tenancy = quota.blocking.organization, quota.blocking.tenancy
    org = files.apply(startup).organization_id
    project = node(quota, "project", "chatbot")
    secret = tenancy.create_key(project.id, org=org, name="bot").secret
    del startup["teams"]["product"]
    before = documents(quota)
    plan = files.plan(startup)
    assert sorted((step.kind, step.name) for step in plan.destroys) == [
        ("key", "bot"),
        ("project", "analytics"),
        ("project", "chatbot"),
        ("team", "product"),
    ]
    assert plan.destroys == plan.steps
    with pytest.raises(AlreadyExists, match="would be taken away") as caught:
        files.apply(startup)
    assert caught.value.code == "would_destroy"
    assert {each["name"] for each in caught.value.fields["destroys"]} == {
        "analytics", "bot", "chatbot", "product",
    }  # fmt: skip
    assert documents(quota) == before
    files.apply(startup, allow_destroy=True)
    with pytest.raises(NotFound):
        tenancy.get(org, project.id)
    assert quota.store.find(keys.digest(secret)) is None
    assert files.plan(startup).empty


@pytest.mark.parametrize(
    ("section", "taken"),
    [
        ({"members": {}}, {"ada"}),
        ({"custom_roles": {}}, {"auditor"}),
        ({"projects": {}}, {"loose"}),
        ({"teams": {}}, {"eng"}),
    ],
)
def test_a_section_that_is_said_is_the_whole_of_it(one: Quota, section: Any, taken: set[str]) -> None:
    files = one.blocking.organization
    start = {"organization": {"name": "Whole"}}
    files.apply(
        start
        | {
            "members": {"ada": {}},
            "custom_roles": {"auditor": {}},
            "projects": ["loose"],
            "teams": {"eng": {"roles": {"lead": ["viewer"]}}},
        }
    )
    assert {step.name for step in files.plan(start | section).destroys} == taken
    files.apply(start | section, allow_destroy=True)
    assert files.plan(start | section).empty


def test_groups_keys_and_channels_of_a_node_are_the_whole_of_theirs_too(one: Quota) -> None:
    files, tenancy = one.blocking.organization, one.blocking.tenancy
    file: dict[str, Any] = {
        "organization": {
            "name": "Whole",
            "roles": {"lead": ["viewer"]},
            "keys": {"ci": {}},
            "channels": [{"type": "email", "email": "a@example.com"}],
        }
    }
    org = files.apply(file).organization_id
    file["organization"] |= {"roles": {}, "keys": {}, "channels": []}
    assert [step.kind for step in files.plan(file).destroys] == ["group", "key", "channel"]
    files.apply(file, allow_destroy=True)
    assert tenancy.groups(org) == ()
    assert tenancy.channels(org, org) == ()
    living = [key for key in tenancy.list(org, "key") if not key.revoked]
    assert [key.name for key in living] == [None]  # the admin's has no name, and is let be


def test_what_was_spent_is_not_touched(quota: Quota, startup: dict[str, Any]) -> None:
    files, tenancy = quota.blocking.organization, quota.blocking.tenancy
    org = files.apply(startup).organization_id
    project = node(quota, "project", "chatbot").id
    tenancy.update(org, project, limits=["$100/month"])
    with (
        quota.acting_as(project=project),
        quota.call(provider="x", model="m", input=0, max_output=3000) as call,
    ):
        call.used(input=0, output=3000)
    assert quota.flush(10)
    startup["teams"]["product"] = {
        "projects": {"chatbot": {"monthly_budget_usd": 120}},
    }
    files.apply(startup, allow_destroy=True)
    (figure,) = tenancy.figures(org, project)[1]
    assert (figure.amount, figure.used) == (120 * NANO, 3 * NANO)
    startup["teams"]["operations"]["projects"] = {"chatbot": {}}
    startup["teams"]["product"]["projects"] = {}
    files.apply(startup, allow_destroy=True)
    (figure,) = tenancy.figures(org, project)[1]
    assert figure.used == 3 * NANO


# which is which


def test_an_id_makes_a_new_name_a_rename(one: Quota) -> None:
    files = one.blocking.organization
    file: dict[str, Any] = {
        "organization": {"name": "Names"},
        "teams": {
            "eng": {"id": "team_eng", "projects": {"api": {"id": "proj_api", "keys": {"k": {"id": "key_k"}}}}}
        },
    }
    files.apply(file)
    file["teams"] = {
        "engineering": {
            "id": "team_eng",
            "projects": {"backend": {"id": "proj_api", "keys": {"key": {"id": "key_k"}}}},
        }
    }
    assert [(step.action, step.kind) for step in files.plan(file).steps] == [
        ("change", "team"),
        ("change", "project"),
        ("change", "key"),
    ]
    files.apply(file)
    assert files.plan(file).empty
    assert (
        files.values(ids=False)["teams"]["engineering"]["projects"]["backend"]["keys"]["key"]["id"] == "key_k"
    )


def test_ids_go_before_names_and_may_be_swapped_with_them(one: Quota) -> None:
    files = one.blocking.organization
    file: dict[str, Any] = {"organization": {"name": "Names"}, "projects": {"a": {"id": "p1"}, "b": {}}}
    files.apply(file)
    file["projects"] = {"c": {"id": "p1"}, "b": {}, "a": {"id": "p2"}}
    plan = files.plan(file)
    assert [(step.action, step.thing.id) for step in plan.steps] == [("change", "p1"), ("create", "p2")]
    files.apply(file)
    assert files.plan(file).empty


def test_two_may_swap_their_names(one: Quota) -> None:
    files = one.blocking.organization
    file: dict[str, Any] = {
        "organization": {"name": "Names"},
        "teams": {"a": {"id": "t1", "projects": {"x": {"id": "p1"}, "y": {"id": "p2"}}}, "b": {"id": "t2"}},
    }
    files.apply(file)
    file["teams"] = {"b": {"id": "t1", "projects": {"y": {"id": "p1"}, "x": {"id": "p2"}}}, "a": {"id": "t2"}}
    files.apply(file)
    assert files.plan(file).empty
    assert node(one, "team", "b").id == "t1"
    assert node(one, "project", "x").id == "p2"


def test_an_id_goes_before_a_name_where_one_is_the_others(one: Quota) -> None:
    files = one.blocking.organization
    file: dict[str, Any] = {
        "organization": {"name": "Names", "id": "org_names"},
        "projects": {"first": {"id": "x"}, "x y": {}},
        "teams": {"y": {"id": "first_team"}},
        "members": {"ada": {"roles": [{"role": "viewer", "node": "x"}, {"role": "viewer", "node": "y"}]}},
    }
    files.apply(file)
    held = one.blocking.tenancy.member("org_names", "ada").roles
    assert [each.node for each in held] == ["x", "first_team"]


def test_what_is_at_several_places_is_made_and_taken_away_not_moved(one: Quota) -> None:
    files = one.blocking.organization
    start: dict[str, Any] = {
        "organization": {"name": "Moves"},
        "teams": {"a": {"projects": ["x"]}, "b": {"projects": ["x"]}, "c": {"projects": []}},
    }
    files.apply(start)
    start["teams"] = {"a": {"projects": []}, "b": {"projects": []}, "c": {"projects": ["x"]}}
    assert sorted(step.action for step in files.plan(start).steps) == ["create", "remove", "remove"]


def test_a_project_moves_out_of_a_team_that_goes_into_one_that_comes(one: Quota) -> None:
    files = one.blocking.organization
    start: dict[str, Any] = {"organization": {"name": "Moves"}, "teams": {"old": {"projects": ["x"]}}}
    files.apply(start)
    id = node(one, "project", "x").id
    start["teams"] = {"new": {"projects": ["x"]}}
    assert [(step.action, step.kind) for step in files.plan(start).steps] == [
        ("create", "team"),
        ("move", "project"),
        ("remove", "team"),
    ]
    files.apply(start, allow_destroy=True)
    assert node(one, "project", "x").id == id


@pytest.mark.parametrize(
    ("change", "field", "message"),
    [
        ({"organization": {"name": "Known", "id": "org_other"}}, "organization.id", "another organization"),
        ({"teams": {"x": {"id": "proj_api"}}}, "teams.x.id", "is that of a project"),
        ({"teams": {"ops": {}, "eng": {"id": "team_new"}}}, "teams.eng.id", "which the team 'eng' has"),
        ({"projects": {"loose": {"id": "proj_new"}}}, "projects.loose.id", "which the project 'loose' has"),
        (
            {"projects": {"loose": {"keys": {"k": {"id": "key_gone"}}}}},
            "projects.loose.keys.k.id",
            "is that of a revoked key",
        ),
        (
            {"projects": {"loose": {"keys": {"k": {"id": "key_k"}}}}},
            "projects.loose.keys.k.id",
            "keys are not moved",
        ),
        ({"organization": {"name": "Known", "roles": {"a": ["boss"]}}}, "organization.roles.a[0]", "no role 'boss'"),
        ({"members": {"ada": {"groups": ["nobody"]}}}, "members.ada.groups[0]", "there is no group 'nobody'"),
        ({"members": {"ada": {"groups": ["lead"]}}}, "members.ada.groups[0]", "may be any of 2"),
        (
            {"members": {"ada": {"roles": [{"role": "viewer", "node": "x/y"}]}}},
            "members.ada.roles[0].node",
            "there is no node 'x/y'",
        ),
        (
            {"members": {"ada": {"roles": [{"role": "boss", "node": "eng"}]}}},
            "members.ada.roles[0].role",
            "there is no role 'boss'",
        ),
        (
            {"global_settings": {"carryover_allowed": False}},
            "global_settings.carryover_allowed",
            "forbids what project 'eng/api' has",
        ),
        (
            {"projects": {"loose": {"overrides": [{
                "limit": "tokens/day", "amount": 1, "since": "2026-01-01T00:00:00Z", "until": "2040-01-01T00:00:00Z",
            }]}}},
            "projects.loose.overrides[0].limit",
            "there is no limit 'tokens/day' here; it has none",
        ),
    ],
)  # fmt: skip
def test_what_does_not_go_with_what_is_there_is_named(
    one: Quota, change: dict[str, Any], field: str, message: str
) -> None:
    files = one.blocking.organization
    known: dict[str, Any] = {
        "organization": {"name": "Known", "id": "org_known"},
        "teams": {
            "eng": {
                "projects": {
                    "api": {
                        "id": "proj_api",
                        "limits": ["$5/month carryover"],
                        "keys": {"k": {"id": "key_k"}},
                    }
                },
                "roles": {"lead": []},
            },
            "ops": {"roles": {"lead": []}},
        },
        "projects": {"loose": {}},
    }
    files.apply(known)
    one.blocking.tenancy.create_key("proj_api", org="org_known", id="key_gone")
    one.blocking.tenancy.revoke_key("org_known", "key_gone")
    wanted = {"organization": {"name": "Known"}} | change
    with pytest.raises(FileError) as caught:
        files.plan(wanted, organization="org_known")
    assert [(each.field, message in each.message) for each in caught.value.problems] == [(field, True)]


def test_mistakes_in_the_file_and_against_what_is_there_are_told_together(one: Quota, tmp_path: Path) -> None:
    one.blocking.organization.apply(STARTUP)
    path = tmp_path / "organization.yaml"
    path.write_text(
        "organization: {name: StartupAI, budget: 1}\n"
        "members:\n"
        "  ada:\n"
        "    groups: [7, nobody]\n"
        "    roles:\n"
        "      - {role: boss, node: mars}\n"
    )
    with pytest.raises(FileError) as caught:
        one.blocking.organization.plan(path)
    assert [(each.line, each.field) for each in caught.value.problems] == [
        (1, "organization.budget"),
        (4, "members.ada.groups[0]"),
        (4, "members.ada.groups[1]"),
        (6, "members.ada.roles[0].node"),
        (6, "members.ada.roles[0].role"),
    ]
    assert str(caught.value).splitlines()[2] == f"{path}:4: members.ada.groups[1]: there is no group 'nobody'"


# who may


def test_each_change_takes_what_it_takes_alone(quota: Quota, startup: dict[str, Any]) -> None:
    files, tenancy = quota.blocking.organization, quota.blocking.tenancy
    org = files.apply(startup).organization_id

    def may(*permissions: str, node: str = org) -> Any:
        return acting(quota, tenancy.create_key(node, org=org, permissions=permissions).secret)

    changed = {"organization": {"name": "StartupAI"}, "teams": {"operations": {"budget_usd": 40}}}
    keep = {"engineering": {}, "product": {}}
    changed["teams"] |= keep
    before = documents(quota)
    with pytest.raises(PermissionDenied, match="quota:read"):
        may("team:create").plan(changed)
    with pytest.raises(PermissionDenied, match="quota:manage"):
        may("quota:read").plan(changed)
    with pytest.raises(PermissionDenied, match="quota:manage"):
        may("quota:read").apply(changed)
    with pytest.raises(PermissionDenied, match="quota:read"):
        may("org:manage", node=node(quota, "team", "engineering").id).plan(changed)
    left = documents(quota)
    assert {id: left[id] for id in before} == before
    assert [row["what"] for row in tenancy.audit(org)].count("organization.apply.refused") == 1
    quota_only = may("quota:manage")
    quota_only.apply(changed)
    assert str(node(quota, "team", "operations").limits[0]) == "$40/month"
    with pytest.raises(PermissionDenied, match="org:manage"):
        quota_only.plan({**changed, "members": {}})
    with pytest.raises(PermissionDenied, match="org:manage"):
        quota_only.apply({"organization": {"name": "StartupAI", "time_zone": "Asia/Seoul"}})
    with pytest.raises(PermissionDenied, match="org:manage"):
        quota_only.plan(startup)  # the groups of its teams
    with pytest.raises(PermissionDenied, match="api_key:read"):
        quota_only.plan({"organization": {"name": "StartupAI", "keys": {}}})
    assert quota_only.values().keys() == {"organization", "teams", "global_settings"}
    assert "roles" not in quota_only.values()["teams"]["engineering"]
    with pytest.raises(PermissionDenied):
        may("models:list").values()


def test_more_than_the_parent_has_is_refused_with_all_figures(quota: Quota, startup: dict[str, Any]) -> None:
    files, tenancy = quota.blocking.organization, quota.blocking.tenancy
    org = files.apply(startup).organization_id
    bot = acting(quota, tenancy.create_key(org, org=org, permissions=["quota:manage"]).secret)
    wanted: dict[str, Any] = {
        "organization": {"name": "StartupAI"},
        "teams": {
            "engineering": {"budget_usd": 300},
            "product": {"budget_usd": 250},
            "operations": {"budget_usd": 50, "projects": {"monitoring": {"budget_usd": 51}}},
        },
    }
    for done in (bot.plan, bot.apply):
        with pytest.raises(InvalidRequest, match=r"\$600 of its \$500/month") as caught:
            done(wanted)
        assert [each["field"] for each in caught.value.fields["errors"]] == [
            "organization.limits",
            "teams.operations.budget_usd",
        ]
    wanted["organization"]["total_monthly_budget"] = 600
    wanted["teams"]["operations"]["projects"]["monitoring"]["budget_usd"] = 50
    bot.apply(wanted)
    assert bot.plan(wanted).empty


def test_a_restricted_key_gives_no_more_than_it_has(one: Quota) -> None:
    files, tenancy = one.blocking.organization, one.blocking.tenancy
    org = files.apply({"organization": {"name": "Keys"}, "projects": ["api"]}).organization_id
    maker = tenancy.create_key(org, org=org, permissions=["org:manage"], models=["gpt-4.1"]).secret
    wanted = {
        "organization": {"name": "Keys"},
        "projects": {"api": {"keys": {"ci": {"allowed_models": ["gpt-*"]}}}},
    }
    with pytest.raises(PermissionDenied, match="allowed_models"):
        acting(one, maker).apply(wanted)
    wanted["projects"]["api"]["keys"]["ci"]["allowed_models"] = ["gpt-4.1"]
    (made,) = acting(one, maker).apply(wanted).secrets
    assert made.where == "api"


def test_only_the_host_makes_an_organization(one: Quota, startup: dict[str, Any]) -> None:
    admin = one.bootstrap("Other")
    assert admin.key is not None
    other = acting(one, admin.key)
    with pytest.raises(NotFound):
        other.apply(startup)
    with pytest.raises(NotFound):
        other.plan(startup)


# together with others


def test_just_what_was_planned_is_done_or_nothing(one: Quota, startup: dict[str, Any]) -> None:
    files, tenancy = one.blocking.organization, one.blocking.tenancy
    org = files.apply(startup).organization_id
    startup["teams"]["operations"]["budget_usd"] = 40
    plan = files.plan(startup)
    tenancy.update(org, node(one, "team", "product").id, limits=["$1/month"])
    with pytest.raises(AlreadyExists) as caught:
        files.apply(startup, revision=plan.revision)
    assert caught.value.code == "changed_since"
    files.apply(startup, revision=files.plan(startup).revision)


def test_another_writer_between_is_seen(
    one: Quota, startup: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    files, tenancy = one.blocking.organization, one.blocking.tenancy
    org = files.apply(startup).organization_id
    commit = type(one.store).commit
    came: list[int] = []

    def late(self: Any, home: str, change: Any) -> int:
        if not came:
            came.append(1)
            tenancy.update(org, node(one, "team", "product").id, limits=["$10/month"])
        return commit(self, home, change)

    monkeypatch.setattr(type(one.store), "commit", late)
    startup["teams"]["operations"]["budget_usd"] = 40
    files.apply(startup)
    assert came
    assert files.plan(startup).empty


def test_two_who_apply_at_once_do_it_one_after_the_other(quota: Quota, startup: dict[str, Any]) -> None:
    files = quota.blocking.organization
    files.apply(startup)
    wanted = []
    for number in (1, 2):
        one_of_two = copy.deepcopy(startup)
        for team in one_of_two["teams"].values():
            team["budget_usd"] = number
            team["projects"] = [f"only-{number}"]
        wanted.append(one_of_two)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda file: files.apply(file, allow_destroy=True), wanted))
    assert sorted(files.plan(file).empty for file in wanted) == [False, True]


def test_it_is_one_row_of_the_log_and_tells_how_far_it_is(one: Quota, startup: dict[str, Any]) -> None:
    files, tenancy = one.blocking.organization, one.blocking.tenancy
    seen: list[tuple[int, int]] = []
    org = files.apply(startup, progress=lambda *at: seen.append(at)).organization_id
    rows = tenancy.audit(org)
    assert [row["what"] for row in rows] == ["organization.apply"]
    assert seen[-1][0] == seen[-1][1] > 0
    seen.clear()
    files.plan(startup, progress=lambda *at: seen.append(at))
    assert seen == [(0, 9), (9, 9)]


def test_which_organization_is_meant(one: Quota) -> None:
    files, tenancy = one.blocking.organization, one.blocking.tenancy
    with pytest.raises(NotFound, match="There are 0 organizations"):
        files.export()
    tenancy.create_organization("Twice", id="one")
    tenancy.create_organization("Twice", id="two")
    with pytest.raises(FileError, match="is that of 2 organizations; give its id"):
        files.plan({"organization": {"name": "Twice"}})
    with pytest.raises(NotFound, match="There are 2 organizations"):
        files.export()
    files.apply({"organization": {"name": "Twice", "id": "two"}, "teams": {"x": {}}})
    assert files.values("two")["teams"] == {"x": {}}
    assert "teams" not in files.values("one")
    with pytest.raises(FileError, match="is that of 2 organizations"):
        files.export("Twice")
    with pytest.raises(NotFound):
        files.export("never")
    renamed = files.apply({"organization": {"name": "Once"}}, organization="one")
    assert files.plan({"organization": {"name": "Once"}}, organization="Once").empty
    assert files.values("Once") == files.values("one")
    assert [step.action for step in renamed.plan.steps] == ["change"]
    assert tenancy.get("one", "one").name == "Once"


def test_overrides_that_are_over_are_none(one: Quota, clock: FakeClock) -> None:
    files, tenancy = one.blocking.organization, one.blocking.tenancy
    org = files.apply({"organization": {"name": "Overs", "limits": ["$5/month"]}}).organization_id
    tenancy.override(org, org, "cost/month", 9 * NANO)
    values = files.values()
    assert values["organization"]["overrides"][0]["amount_usd"] == 9
    assert files.plan(values).empty
    clock.advance(40 * DAY)
    assert files.plan(values).empty
    assert "overrides" not in files.values()["organization"]


def test_a_format_that_there_is_not_is_named(one: Quota) -> None:
    one.blocking.organization.apply({"organization": {"name": "x"}})
    with pytest.raises(ConfigurationError, match="format"):
        one.blocking.organization.export(format="xml")  # type: ignore[arg-type]


async def awaited(quota: Quota) -> None:
    done = await quota.organization.apply(STARTUP)
    assert (await quota.organization.plan(STARTUP)).empty
    assert "StartupAI" in await quota.organization.export(done.organization_id)


def test_it_is_awaited_too(one: Quota) -> None:
    import asyncio

    asyncio.run(awaited(one))
