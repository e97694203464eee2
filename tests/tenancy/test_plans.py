"""From documents to counters: which limits bear on one kind of call, and as what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from quotaware.core.limits import Limit
from quotaware.core.models import Model
from quotaware.core.money import NANO
from quotaware.core.steps import CONCURRENCY, COST, REQUESTS, TOKENS
from quotaware.tenancy.nodes import Node, Path
from quotaware.tenancy.plans import KEEP_MS, Policy, compile_policy
from tests.support import NOON

HOUR = 3_600_000


def limits(*texts: str) -> tuple[Limit, ...]:
    return tuple(map(Limit.parse, texts))


ROOT = Node("org_1", "organization", "", "org", limits("$100/month"), zone="Europe/Berlin")
TEAM = Node("team_1", "team", "org_1", "team", limits("50 concurrent"))
PROJECT = Node("proj_1", "project", "team_1", "project", limits("$5/day", "1000 requests/day for gpt-4.1*"))
KEY = Node("key_1", "key", "proj_1", None, limits("60 requests/minute", "9000 tokens/minute"))
PATH = Path("org_1", 7, (KEY, PROJECT, TEAM, ROOT))


def compiled(path: Path = PATH, model: str | None = "gpt-4.1-mini", user: str | None = None) -> Policy:
    return compile_policy(path, () if model is None else (Model(None, model),), user, NOON)


def on_project(*texts: str) -> Policy:
    return compiled(Path("org_1", 7, (replace(PROJECT, limits=limits(*texts), parent="org_1"), ROOT)))


def test_every_limit_from_key_to_organization_is_a_line_narrowest_first() -> None:
    policy = compiled()
    assert [(counter.key.partition("@")[0], index) for counter, index in policy.plan.lines] == [
        ("key_1/requests/minute", REQUESTS),
        ("key_1/tokens/minute", TOKENS),
        ("proj_1/cost/day", COST),
        ("proj_1/requests/day/for:gpt-4.1*", REQUESTS),
        ("team_1/concurrency", CONCURRENCY),
        ("org_1/cost/month", COST),
    ]
    assert (policy.plan.org, policy.plan.rev) == ("org_1", 7)
    assert policy.plan.deps == ("key_1", "proj_1", "team_1", "org_1")
    assert all(
        policy.caps[counter.key, counter.cap].node.id in counter.key for counter, _ in policy.plan.lines
    )


def test_a_limit_for_other_models_or_for_end_users_does_not_bear() -> None:
    keys = [counter.key for counter, _ in compiled(model="o3").plan.lines]
    assert not any("requests/day" in key for key in keys)
    assert not any("requests/day" in counter.key for counter, _ in compiled(model=None).plan.lines)
    assert len(on_project("$1/day per end_user").plan.lines) == 1  # the organization's own


def test_each_end_user_has_a_counter() -> None:
    """Its key does not hold the name, which is the host's and may hold anything."""
    path = Path("org_1", 7, (replace(PROJECT, limits=limits("$1/day per end_user")), ROOT))
    keys = {compiled(path, user=user).plan.lines[0][0].key for user in ("ann", "bob", "a/b@c*{}", "\ud800")}
    assert len(keys) == 4
    assert not any("ann" in key or "{" in key for key in keys)
    assert compiled(path, user="ann").plan.lines[0][0].key in keys


def test_windows_are_the_ones_of_now_in_the_organizations_zone() -> None:
    """A calendar counter carries its window; the policy lasts until the first of them ends."""
    policy = compiled()
    counters = {counter.key.partition("@")[0]: counter for counter, _ in policy.plan.lines}
    day = counters["proj_1/cost/day"]
    assert day.since <= NOON < day.until
    assert day.since == NOON - 14 * HOUR  # midnight in Berlin, where it is 14 o'clock
    assert day.key == f"proj_1/cost/day@{day.since}"
    assert day.keep == day.until + 86_400_000 + KEEP_MS  # the next day may be reckoned from it
    assert (counters["key_1/requests/minute"].span, counters["key_1/requests/minute"].until) == (60_000, 0)
    assert counters["team_1/concurrency"].keep == -1
    assert policy.until == day.until


def test_a_policy_without_calendar_windows_lasts() -> None:
    path = Path("org_1", 7, (replace(ROOT, limits=limits("5 requests/minute", "$9/life", "2 concurrent")),))
    policy = compiled(path)
    assert policy.until == 0
    life = next(counter for counter, index in policy.plan.lines if index == COST)
    assert (life.key, life.until, life.keep) == ("org_1/cost/life", 0, 0)


def test_limits_of_one_shape_share_a_counter_and_the_hard_one_decides() -> None:
    policy = on_project("$9/day soft", "$7/day", "$5/day shadow")
    counter, _ = policy.plan.lines[0]
    assert (counter.cap, counter.hard) == (7 * NANO, True)
    assert sorted(counter.watch) == [5 * NANO, 9 * NANO]
    assert {policy.caps[counter.key, cap].limit.mode for cap in counter.watch} == {"soft", "shadow"}
    assert policy.budgets[0] == (counter.key, 7 * NANO)


def test_soft_and_shadow_limits_alone_are_counted_and_never_in_the_way() -> None:
    policy = on_project("$9/day soft", "$5/day shadow")
    counter, _ = policy.plan.lines[0]
    assert not counter.hard
    assert {counter.cap, *counter.watch} == {5 * NANO, 9 * NANO}
    assert [key for key, _ in policy.budgets] == ["org_1/cost/month@1780264800000"]


@pytest.mark.parametrize("order", [("$5/day soft", "$5/day shadow"), ("$5/day shadow", "$5/day soft")])
def test_where_a_shadow_and_a_soft_limit_are_equal_the_shadow_is_told(order: tuple[str, str]) -> None:
    """What it would have refused is recorded, which the soft one's meaning would hide."""
    policy = on_project(*order)
    counter, _ = policy.plan.lines[0]
    assert policy.caps[counter.key, 5 * NANO].limit.mode == "shadow"


def test_an_empty_path_bears_nothing() -> None:
    policy = compiled(Path("~unattributed", 0, ()))
    assert (policy.plan.lines, policy.until, policy.budgets) == ((), 0, ())
