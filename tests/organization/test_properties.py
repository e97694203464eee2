"""Whatever an organization is made of: written as a file and applied again it is as it was, and a file that was applied
asks for nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from quotaware import Quota
from quotaware.errors import ApiError, FileError, Problem
from quotaware.organization.exporting import written
from quotaware.organization.reading import parse, read
from quotaware.tenancy.access import of_key
from quotaware.testing.clocks import FakeClock

SLOW = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
NAMES = [
    "a",
    "b",
    "engineering",
    "no",
    "12",
    "a.b",
    "x/y",
    "a b",
    "7e3",
    "null",
    "키",
    "#1",
    "- x",
    "it's: so",
]
names = st.sampled_from(NAMES)
roles = st.lists(st.sampled_from(["admin", "developer", "viewer", "auditor"]), max_size=3, unique=True)
usd = st.integers(0, 10**15).map(lambda nano: nano / 10**9) | st.integers(0, 5000)
limits = st.lists(
    st.sampled_from(
        [
            "$50/month", "$300/quarter carryover", "600 requests/minute", "8 concurrent soft", "$0.000000001/day",
            "1000 requests/day for gpt-4.1*", "$1/day per end_user", "5 tokens/hour shadow", "$9/life",
            "$7/quarter soft",
        ]
    ),
    max_size=5,
    unique=True,
)  # fmt: skip
alerts = st.lists(
    st.sampled_from(
        ["80% email", "denied slack", "forecast 100% webhook", "95% disable", "$4 email on cost/month"]
    ),
    max_size=3,
    unique=True,
)
patterns = st.lists(st.sampled_from(["gpt-4.1*", "claude-*", "openai/gpt-4.1"]), max_size=2, unique=True)


def some(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    """A mapping in which each of these may be or not."""
    return st.fixed_dictionaries({}, optional=fields)


def exclusive(entry: dict[str, Any]) -> dict[str, Any]:
    """Without what cannot stand beside `limits`, and overrides of limits that are not there."""
    if "limits" in entry:
        for word in ("budget_usd", "total_monthly_budget", "rate_limit", "model_limits", "carryover"):
            entry.pop(word, None)
    entry.pop("overrides", None)
    if any(text.startswith("$50/month") for text in entry.get("limits", ())):
        entry["overrides"] = [
            {
                "limit": "cost/month",
                "amount_usd": 70,
                "since": "2020-01-01T00:00:00Z",
                "until": "2100-01-01T00:00:00Z",
            }
        ]
    return entry


common = {
    "limits": limits,
    "alerts": alerts,
    "allowed_models": patterns,
    "rate_limit": some(requests_per_minute=st.integers(0, 10**6), tokens_per_day=st.integers(0, 10**9)),
    "model_limits": st.dictionaries(
        st.sampled_from(["gpt-4.1", "claude-*"]),
        some(daily_requests=st.integers(0, 99), daily_budget_usd=usd),
        max_size=2,
    ),
    "carryover": st.booleans(),
}
keys = st.dictionaries(
    names,
    some(
        permissions=st.lists(st.sampled_from(["chat:create", "models:list", "*"]), max_size=2, unique=True),
        allowed_ips=st.lists(st.sampled_from(["10.0.0.0/8", "::1"]), max_size=2, unique=True),
        expires_at=st.sampled_from(["2090-01-01T00:00:00Z", "2090-01-01T00:00:00.123Z"]),
        enabled=st.booleans(),
        **common,
    ).map(exclusive),
    max_size=2,
)
place = {
    **common,
    "roles": st.dictionaries(names, roles, max_size=2),
    "keys": keys,
    "channels": st.lists(
        st.sampled_from(
            [
                {"type": "email", "email": "a@example.com"},
                {"type": "slack", "url": "env:QUOTAWARE_ALERT_SLACK"},
                {
                    "type": "webhook",
                    "url": "env:QUOTAWARE_ALERT_HOOK",
                    "secret": "env:QUOTAWARE_ALERT_SECRET",
                },
            ]
        ),
        max_size=2,
    ),
}
project = some(
    budget_usd=usd, environment=st.sampled_from(["live", "test", "on"]), enabled=st.booleans(), **place
)
projects = st.lists(names, max_size=3, unique=True) | st.dictionaries(
    names, project.map(exclusive) | st.none(), max_size=3
)
team = some(budget_usd=usd, enabled=st.booleans(), projects=projects, **place).map(exclusive)
members = st.dictionaries(
    names,
    some(
        email=st.sampled_from(["a@example.com", "b@example.com"]),
        enabled=st.booleans(),
        roles=st.lists(
            st.fixed_dictionaries(
                {
                    "role": st.sampled_from(["admin", "viewer", "auditor"]),
                    "node": st.sampled_from(["The Org", "org_it"]),
                }
            ),
            max_size=2,
            unique_by=lambda held: held["role"],
        ),
    ),
    max_size=3,
)
prices = st.lists(
    st.fixed_dictionaries(
        {"model": st.sampled_from(["m", "m-*", "n"]), "input": usd, "output": usd},
        optional={
            "cache_read": usd,
            "batch": some(input=usd, output=usd),
            "valid_from": st.sampled_from(["2020-01-01T00:00:00Z", "2050-01-01T00:00:00Z"]),
            "valid_until": st.just("2060-01-01T00:00:00Z"),
        },
    ),
    max_size=3,
    unique_by=lambda price: (price["model"], price.get("valid_from")),
)
files = st.fixed_dictionaries(
    {
        "organization": some(
            total_monthly_budget=usd, time_zone=st.sampled_from(["UTC", "Asia/Seoul"]), **place
        )
        .map(exclusive)
        .map(lambda entry: {"name": "The Org", "id": "org_it", **entry}),
        "custom_roles": st.just({"auditor": {"permissions": ["analytics:full"]}}),
    },
    optional={
        "teams": st.dictionaries(names, team | st.none(), max_size=4),
        "projects": projects,
        "global_settings": some(alert_threshold=st.sampled_from([0.5, 0.75, 1]), auto_upgrade=st.booleans()),
        "members": members,
        "prices": prices,
    },
)


def documents(quota: Quota) -> dict[str, str]:
    return {item.key: item.value for item in quota.store.dump("org_it") if item.table == "doc"}


@SLOW
@given(files, st.sampled_from(["yaml", "toml", "json"]))
def test_a_file_that_was_applied_asks_for_nothing_more_and_its_export_neither(
    file: dict[str, Any], format: Any
) -> None:
    with_clock = FakeClock()
    quota = Quota("memory://", clock=with_clock)
    try:
        face = quota.blocking.organization
        face.apply(file)
        assert face.plan(file).empty, str(face.plan(file))
        before = documents(quota)
        for ids in (False, True):
            text = face.export(format=format, ids=ids)
            back = parse(text, format)
            assert face.plan(back).empty, text
            assert face.apply(back).plan.empty
        assert documents(quota) == before
    finally:
        quota.close()


@SLOW
@given(files, files)
def test_whatever_it_was_before_it_becomes_as_the_file_says(
    first: dict[str, Any], second: dict[str, Any]
) -> None:
    """And written as a file it can be made anew elsewhere."""
    here, there = Quota("memory://", clock=FakeClock()), Quota("memory://", clock=FakeClock())
    try:
        face = here.blocking.organization
        face.apply(first)
        plan = face.plan(second)
        if plan.destroys:
            face.apply(second, allow_destroy=True)
        else:
            face.apply(second)
        assert face.plan(second).empty, str(face.plan(second))
        values = face.values()
        there.blocking.organization.apply(values)
        assert json.dumps(there.blocking.organization.values()) == json.dumps(values)
    finally:
        here.close()
        there.close()


PERMISSIONS = [
    "org:manage", "quota:manage", "quota:override", "quota:read", "team:create", "team:delete", "api_key:create",
    "api_key:read", "api_key:delete", "chat:create", "models:list",
]  # fmt: skip


@SLOW
@given(
    files, files, st.lists(st.sampled_from(PERMISSIONS), min_size=1, max_size=6, unique=True), st.booleans()
)
def test_a_plan_is_refused_where_doing_it_would_be_and_what_is_refused_leaves_all_as_it_is(
    first: dict[str, Any], second: dict[str, Any], permissions: list[str], restricted: bool
) -> None:
    quota = Quota("memory://", clock=FakeClock())
    try:
        quota.blocking.organization.apply(first)
        tenancy = quota.blocking.tenancy
        models = ["gpt-4.1"] if restricted else []
        made = tenancy.create_key("org_it", org="org_it", permissions=permissions, models=models)
        face = quota.blocking.organization.by(
            tenancy.by(of_key(tenancy._directory.load("org_it", made.node.id)))
        )
        before = documents(quota)
        planned, plan = told(lambda: face.plan(second))
        assert documents(quota) == before
        done, _ = told(lambda: face.apply(second, allow_destroy=True))
        if done != "would lose the last admin":
            assert planned == done
        if done is not None:
            assert documents(quota) == before
        else:
            assert plan.empty == (documents(quota) == before)
    finally:
        quota.close()


def told(work: Callable[[], Any]) -> tuple[str | None, Any]:
    """Why something is refused, and what it answers."""
    try:
        return None, work()
    except FileError as error:
        return str(error), None
    except ApiError as error:
        return "would lose the last admin" if error.code == "last_admin" else error.message, None


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(NAMES),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [*NAMES, "organization", "teams", "projects", "name", "limits", "keys", "roles", "members"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=15,
)


@SLOW
@given(anything)
def test_whatever_a_file_holds_it_is_read_or_told_what_is_wrong_with_it(value: Any) -> None:
    text = written({"organization": value, "teams": value, "members": {"a": value}}, "yaml")
    problems = wrong(text)
    assert problems is None or (problems and all(each.line is not None for each in problems))


def wrong(text: str) -> tuple[Problem, ...] | None:
    try:
        read(parse(text, "yaml"))
    except FileError as error:
        return error.problems
    return None
