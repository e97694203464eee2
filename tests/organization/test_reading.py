"""The file as it is read: three formats that say the same, and all that is wrong at once, each with its line."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import yaml
from hypothesis import given
from hypothesis import strategies as st

from quotaware.errors import ConfigurationError, FileError, Problem
from quotaware.organization import reading
from quotaware.organization.reading import parse, read
from quotaware.organization.yamltext import dump

STARTUP: dict[str, Any] = {
    "organization": {"name": "StartupAI", "total_monthly_budget": 500.0},
    "teams": {
        "engineering": {
            "budget_usd": 300.0,
            "projects": ["backend-api", "mobile-app"],
            "roles": {"lead": ["admin"], "members": ["developer"]},
        },
        "product": {
            "budget_usd": 150.0,
            "projects": ["chatbot", "analytics"],
            "roles": {"pm": ["developer"], "designer": ["viewer"]},
        },
        "operations": {"budget_usd": 50.0, "projects": ["monitoring"], "roles": {"sre": ["developer"]}},
    },
    "global_settings": {"alert_threshold": 0.75, "auto_upgrade": False, "carryover_allowed": False},
}

YAML = """\
organization:
  name: StartupAI
  total_monthly_budget: 500.0
teams:
  engineering:
    budget_usd: 300.0
    projects: [backend-api, mobile-app]
    roles: {lead: [admin], members: [developer]}
  product:
    budget_usd: 150.0
    projects:
      - chatbot
      - analytics
    roles: {pm: [developer], designer: [viewer]}
  operations:
    budget_usd: 50.0
    projects: [monitoring]
    roles: {sre: [developer]}
global_settings: {alert_threshold: 0.75, auto_upgrade: false, carryover_allowed: false}
"""

TOML = """\
[organization]
name = "StartupAI"
total_monthly_budget = 500.0

[teams.engineering]
budget_usd = 300.0
projects = ["backend-api", "mobile-app"]
roles = { lead = ["admin"], members = ["developer"] }

[teams.product]
budget_usd = 150.0
projects = [
  "chatbot",
  "analytics",
]
roles.pm = ["developer"]
roles.designer = ["viewer"]

[teams.operations]
budget_usd = 50.0
projects = ["monitoring"]

[teams.operations.roles]
sre = ["developer"]

[global_settings]
alert_threshold = 0.75
auto_upgrade = false
carryover_allowed = false
"""


def lines_of(error: FileError) -> list[tuple[int | None, str]]:
    return [(each.line, each.field) for each in error.problems]


def wrong(text: str, format: reading.Format = "yaml") -> list[Problem]:
    with pytest.raises(FileError) as caught:
        read(parse(text, format, f"organization.{format}"))
    return list(caught.value.problems)


def test_the_contracts_file_reads_the_same_in_every_format(tmp_path: Path) -> None:
    for name, text in (("o.yaml", YAML), ("o.yml", YAML), ("o.toml", TOML), ("o.json", json.dumps(STARTUP))):
        path = tmp_path / name
        path.write_text(text)
        assert reading.text_of(path).data == STARTUP
        assert read(path) == read(str(path)) == read(STARTUP)


EVERY_MISTAKE = """\
organization:
  name: StartupAI
  total_monthly_budget: lots
  monthly_budget_usd: 500
  time_zone: Mars/Olympus
  alerts: [80% telegram]
global_settings:
  alert_threshold: 12
  carryover_allowed: false
  colour: blue
custom_roles:
  auditor: {permissions: ["analytics:full", "No Such"]}
  viewer: {permissions: []}
prices:
  - {model: our-model, input: 2}
  - {model: "a b", input: 1, output: 1}
teams:
  engineering:
    budget_usd: -1
    projects: [api, 7, api]
    limits: [$5/fortnight]
    roles: {lead: [admin, boss]}
  product:
    id: Not An Id
    limits: [$5/day, $6/day]
    rate_limit: {requests_per_minute: 1.5}
  operations:
    limits: [$50/month carryover]
    keys:
      ci:
        permissions: [chat:create, "chat create"]
        allowed_ips: [300.1.1.1]
        expires_at: tomorrow
        secret: qw_live_abc
    channels:
      - {type: slack, url: "https://hooks.slack.com/services/T/B/X"}
      - {type: email}
      - {type: pigeon}
    overrides:
      - {limit: cost/month, amount: 5, since: "2026-01-01T00:00:00Z", until: "2026-02-01T00:00:00Z"}
      - {limit: cost/month, amount_usd: 5, since: "2026-02-01T00:00:00Z", until: "2026-01-01T00:00:00Z"}
members:
  ada:
    email: not an address
    roles: [{role: developer}]
surprise: 1
"""


def test_a_file_with_every_kind_of_mistake_names_all_of_them_with_their_lines() -> None:
    found = wrong(EVERY_MISTAKE)
    assert [(each.line, each.field) for each in found] == [
        (3, "organization.total_monthly_budget"),
        (5, "organization.time_zone"),
        (6, "organization.alerts[0]"),
        (8, "global_settings.alert_threshold"),
        (10, "global_settings.colour"),
        (12, "custom_roles.auditor.permissions[1]"),
        (13, "custom_roles.viewer"),
        (15, "prices[0].output"),
        (16, "prices[1].model"),
        (19, "teams.engineering.budget_usd"),
        (20, "teams.engineering.projects[1]"),
        (20, "teams.engineering.projects[2]"),
        (21, "teams.engineering.limits[0]"),
        (22, "teams.engineering.roles.lead[1]"),
        (24, "teams.product.id"),
        (25, "teams.product.limits"),
        (26, "teams.product.rate_limit.requests_per_minute"),
        (28, "teams.operations.limits"),
        (31, "teams.operations.keys.ci.permissions"),
        (32, "teams.operations.keys.ci.allowed_ips"),
        (33, "teams.operations.keys.ci.expires_at"),
        (34, "teams.operations.keys.ci.secret"),
        (36, "teams.operations.channels[0].url"),
        (37, "teams.operations.channels[1]"),
        (38, "teams.operations.channels[2].type"),
        (40, "teams.operations.overrides[0].amount_usd"),
        (41, "teams.operations.overrides[1].until"),
        (44, "members.ada.email"),
        (45, "members.ada.roles[0].node"),
        (46, "surprise"),
    ]
    with pytest.raises(FileError) as caught:
        read(parse(EVERY_MISTAKE, "yaml", "organization.yaml"))
    told = str(caught.value).splitlines()
    assert len(told) == len(found)
    assert told[0] == "organization.yaml:3: organization.total_monthly_budget: is a number of US dollars"
    assert "qw_live_abc" not in str(caught.value)
    assert isinstance(caught.value, ConfigurationError)
    assert caught.value.field == "organization.total_monthly_budget"


TIMES = {"since": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    ("said", "field", "message"),
    [
        ({"total_monthly_budget": 1, "monthly_budget_usd": 1}, "total_monthly_budget", "says the same as"),
        ({"carryover": True, "limits": ["$1/day"]}, "carryover", "is a word of the limits"),
        ({"alerts": ["100% close"]}, "alerts", "close no organization"),
        ({"alerts": ["50% email", "50% email"]}, "alerts", "has one twice"),
        ({"alerts": ["50% email"], "quota_alerts": []}, "alerts", "says all alerts"),
        ({"allowed_models": ["a b"]}, "allowed_models", "has no spaces"),
        ({"name": " x"}, "name", "no spaces around it"),
        ({"roles": {"\x07": []}}, "roles.\x07", "has no control characters"),
        (
            {"channels": [{"type": "email", "url": "env:QUOTAWARE_ALERT_X"}]},
            "channels[0]",
            "email is missing",
        ),
        (
            {"channels": [{"type": "slack", "url": "env:QUOTAWARE_ALERT_X", "email": "a@example.com"}]},
            "channels[0].email",
            "is nothing that a channel of type slack has",
        ),
        ({"channels": [{"type": "email", "email": "nobody"}]}, "channels[0].email", "is an e-mail address"),
        (
            {
                "limits": ["5 requests/day"],
                "overrides": [{"limit": "requests/day", "amount_usd": 1, **TIMES}],
            },
            "overrides[0].amount",
            "is missing",
        ),
        (
            {"overrides": [{"limit": "cost/day", "amount_usd": 1, "amount": 1, **TIMES}]},
            "overrides[0].amount",
            "is not what 'cost/day' counts",
        ),
        ({"keys": {"k": {"id": "A"}}}, "keys.k.id", "is 1 to 64 characters"),
        (
            {"keys": {"k": {"id": "a"}, "l": {"id": "a"}}},
            "keys.l.id",
            "is that of organization.keys.k as well",
        ),
        ({"keys": {"k": {"environment": "test"}}}, "keys.k.environment", "is not known here"),
    ],
)
def test_each_mistake_is_named_where_it_is(said: dict[str, Any], field: str, message: str) -> None:
    with pytest.raises(FileError) as caught:
        read({"organization": {"name": "x", **said}})
    found = [each for each in caught.value.problems if each.field == f"organization.{field}"]
    assert any(message in each.message for each in found), caught.value.problems


def test_mistakes_of_people_and_prices_are_named_where_they_are() -> None:
    with pytest.raises(FileError) as caught:
        read(
            {
                "organization": {"name": "x"},
                "global_settings": {"carryover_allowed": False},
                "teams": {"t": {"budget_usd": 1, "carryover": True}},
                "custom_roles": {"auditor": {"description": "x" * 1001}, "tester": {"description": " x"}},
                "members": {"ada": {"roles": [{"role": "boss", "node": "x"}]}, "b\n": {}},
                "prices": [
                    {
                        "model": "m", "input": 1, "output": 1,
                        "valid_from": "2027-01-01T00:00:00Z", "valid_until": "2026-01-01T00:00:00Z",
                    },
                    {"model": "n", "input": 1, "output": 1},
                    {"model": "N", "input": 2, "output": 2},
                ],
            }
        )  # fmt: skip
    assert [(each.field, each.message) for each in caught.value.problems] == [
        ("custom_roles.auditor.description", "String should have at most 1000 characters"),
        ("custom_roles.tester.description", "has no control characters, and no spaces around it"),
        (
            "members.ada.roles[0].role",
            "there is no role 'boss'; give one of developer, org_admin, viewer, or of custom_roles",
        ),
        ("members.b\n", "has no control characters, and no spaces around it"),
        ("prices[0].valid_until", "comes after valid_from"),
        ("prices[2]", "says the same as prices[1]: a price of this model from then on"),
        ("teams.t.carryover", "carry over what is left, which global_settings.carryover_allowed forbids"),
    ]


def test_lines_are_told_in_json_too() -> None:
    text = json.dumps(yaml.safe_load(EVERY_MISTAKE), indent=1)
    by_yaml = {each.field for each in wrong(EVERY_MISTAKE)}
    found = wrong(text, "json")
    assert {each.field for each in found} == by_yaml
    at = text.splitlines()
    for each in found:
        name = each.field.rpartition(".")[2].partition("[")[0]
        assert each.line is not None
        assert "[" in each.field or name in at[each.line - 1] or each.message == "is missing", each


def test_lines_are_told_in_toml_too() -> None:
    found = wrong(
        """\
surprise = 1
[organization]
name = "StartupAI"
total_monthly_budget = "lots"  # [not a table]
[teams."a.b"]
budget_usd = -1
note = '''
[organization]
'''
[teams.engineering]
projects = [
  "api",
  7,
]
roles = { lead = [3] }
[[prices]]
model = "m"
input = 1
output = 1
[[prices]]
model = "a b"
input = 1
output = 1
[prices.batch]
input = -1
""",
        "toml",
    )
    assert [(each.line, each.field) for each in found] == [
        (1, "surprise"),
        (4, "organization.total_monthly_budget"),
        (6, "teams.a.b.budget_usd"),
        (7, "teams.a.b.note"),
        (11, "teams.engineering.projects[1]"),
        (15, "teams.engineering.roles.lead[0]"),
        (21, "prices[1].model"),
        (25, "prices[1].batch.input"),
    ]


@pytest.mark.parametrize(
    ("format", "text", "line", "message"),
    [
        ("yaml", "organization:\n  name: [", 3, "is no YAML"),
        ("yaml", "organization: {name: x}\n---\nteams: {}", 2, "is no YAML"),
        ("yaml", "a: &a [*a]", 1, "holds itself"),
        ("yaml", "organization:\n  name: !!python/name:os.system x", 2, "has the tag"),
        ("yaml", "? [a]\n: 1", 1, "a name that is no text"),
        ("yaml", "", 1, "is empty"),
        ("yaml", "- 1", 1, "is no mapping"),
        ("json", '{\n "organization": nope}', 2, "is no JSON"),
        ("json", '{"a": NaN}', None, "NaN is no number"),
        ("json", "[" * 100, None, "nested deeper"),
        ("json", "[]", 1, "is no mapping"),
        ("toml", "[organization]\nname = ", 2, "is no TOML"),
        ("toml", "[organization]\nname = 'a'\nname = 'b'\n", 3, "is no TOML"),
    ],
)
def test_a_text_that_is_none_says_where(
    format: reading.Format, text: str, line: int | None, message: str
) -> None:
    (found,) = wrong(text, format)
    assert message in found.message
    assert found.line == line


def test_a_mistake_hides_none_of_a_like_name() -> None:
    found = wrong("organization: {name: x}\nteams:\n  a: {id: A}\n  ab: {budget_usd: -1, id: B}\n")
    assert [each.field for each in found] == ["teams.a.id", "teams.ab.budget_usd", "teams.ab.id"]
    found = wrong(
        "organization: {name: x}\nteams:\n  a: {limits: [$1/day, $2/day]}\n  ab: {limits: [$1/moon]}\n"
    )
    assert [each.field for each in found] == ["teams.a.limits", "teams.ab.limits[0]"]


def test_what_stands_twice_is_told() -> None:
    text = "organization: {name: x}\nteams:\n  a: {}\n  a: {}\n"
    assert [(each.line, each.message) for each in wrong(text)] == [(4, "stands here twice")]
    text = '{"organization": {"name": "x"},\n"teams": {"a": {},\n"a": {}}}'
    assert [(each.line, each.message) for each in wrong(text, "json")] == [(3, "stands here twice")]


def test_a_bomb_of_aliases_is_refused() -> None:
    levels = "\n".join(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 10)}]" for n in range(1, 9))
    (found,) = wrong(f"x0: &x0 [{', '.join(['a'] * 10)}]\n{levels}")
    assert "values" in found.message


def test_an_alias_is_what_it_names() -> None:
    data = parse("organization: {name: x}\nteams: {a: &a {budget_usd: 1}, b: *a}", "yaml").data
    assert data["teams"] == {"a": {"budget_usd": 1}, "b": {"budget_usd": 1}}


def test_a_path_that_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="cannot be read: No such file"):
        read(tmp_path / "none.yaml")
    with pytest.raises(FileError, match=r"^'organization: a+'…: cannot be read: File name too long$"):
        read("organization: " + "a" * 10_000)
    (tmp_path / "x.yaml").write_bytes(b"organization:\n  name: \xff\n")
    with pytest.raises(FileError, match=r"x.yaml:2: is no text in UTF-8"):
        read(tmp_path / "x.yaml")
    (tmp_path / "x.ini").write_text("a=1")
    with pytest.raises(ConfigurationError, match=r"cannot be told from 'x\.ini'"):
        read(tmp_path / "x.ini")
    with pytest.raises(ConfigurationError, match="format"):
        parse("", "xml")  # type: ignore[arg-type]


def test_plain_words_are_what_yaml_1_2_has_them_for() -> None:
    text = (
        "[yes, on, ~, null, true, 12, -3, 0o17, 0x1f, 1.5, 1e3, .5, 22:22, 2026-01-01, 1_000, 'true', "
        "\"7\", .inf, '']"
    )
    data = parse(f"organization: {text}", "yaml").data["organization"]
    assert data == [
        "yes", "on", None, None, True, 12, -3, 15, 31, 1.5, 1000.0, 0.5, "22:22", "2026-01-01", "1_000", "true", "7",
        ".inf", "",
    ]  # fmt: skip


scalars = st.none() | st.booleans() | st.integers(-(10**15), 10**15) | st.floats(allow_nan=False) | st.text()
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values, min_size=1, max_size=4))
def test_what_is_written_as_yaml_is_read_as_it_was_by_us_and_by_others(data: dict[str, Any]) -> None:
    text = dump(data)
    infinite = any(word in text for word in (".inf",))
    if not infinite:
        assert parse(text, "yaml").data == data
    assert yaml.safe_load(text) == data


@given(st.dictionaries(st.text(min_size=1), values, min_size=1, max_size=4))
def test_json_lines_are_those_of_the_parser(data: dict[str, Any]) -> None:
    text = json.dumps(data, indent=1, allow_nan=True)
    if "NaN" in text or "Infinity" in text:
        return
    found = parse(text, "json")
    assert found.data == data

    def paths(value: Any, at: tuple[str | int, ...]) -> Any:
        inside = (
            value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
        )
        for name, each in inside:
            yield (*at, name)
            yield from paths(each, (*at, name))

    assert list(found.lines) == list(paths(data, ()))
    assert list(found.lines.values()) == sorted(found.lines.values())


toml = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.text(max_size=4), toml, min_size=1, max_size=4))
def test_toml_lines_are_where_the_keys_are(data: dict[str, Any]) -> None:
    text = tomli_w.dumps(data)
    found = parse(text, "toml")
    assert found.data == data
    lines = text.split("\n")
    for path, line in found.lines.items():
        value: Any = data
        for part in path:
            value = value[part]  # what has a line is there
        name = next(part for part in reversed(path) if isinstance(part, str))
        written = lines[line - 1]
        assert written.startswith("[") or tomllib.loads(written.partition(" = ")[0] + " = 0") == {name: 0}
    assert {(name,) for name in data} <= {path[:1] for path in found.lines}
