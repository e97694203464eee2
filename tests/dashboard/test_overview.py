"""What the first page answers: when which budget runs out, and which keys are blocked and why."""

from __future__ import annotations

import re

import pytest

from quotaware.context import Identity
from quotaware.core.permissions import ROLES
from quotaware.tenancy.keys import digest
from quotaware.testing.clocks import FakeClock
from tests.calls import CENT, a_call, ask, let_go, spend, used
from tests.dashboard.conftest import Browser, House, text_of

HOUR = 3_600_000
DAY = 24 * HOUR
KO = {"accept-language": "ko"}


@pytest.fixture
def org(house: House) -> House:
    """An organization in which nothing has a budget."""
    for node in (house.team, house.project, house.other):
        house.tenancy.update(house.org, node, limits=[])
    return house


def spent(house: House, cents: int, project: str | None = None, **who: str) -> None:
    by = Identity(project=project or house.project, **who) if "key" not in who else Identity(**who)
    spend(house.quota, cents, by=by)
    assert house.quota.flush()


def anew(house: House, key: str | None = None) -> Browser:
    """A browser before a process that has looked at nothing yet: one look serves all of a process for a second."""
    return House.beside(house, house.quota).browser(key or house.admin)


def tile(house: House, path: str = "/", **more: object) -> str:
    """What the page says of the first budget that runs out."""
    page = anew(house).get(path, **more).text
    return next(text_of(each) for each in re.findall(r'<div class="tile.*?</div>', page, re.DOTALL)[::-1])


def blocked(house: House, key: str | None = None, **more: object) -> str:
    """What the page says of what is blocked."""
    page = anew(house, key).get("/", **more).text
    found = re.search(r'<section class="card alerting".*?</section>', page, re.DOTALL)
    return text_of(found[0]) if found else ""


def midnight(clock: FakeClock, after_ms: int = 0) -> None:
    """So long after the midnight of 2026-06-01, a Monday: all but the quarter is new there."""
    clock.now = 1_780_272_000_000 + after_ms


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("$16/day", "today 17:00"),
        ("$70/day", None),
        ("$0.5/calendar hour soft", "today 09:30"),
        ("$50/week", "2026-06-06"),
        ("$100/month", "2026-06-12"),
        ("$150/quarter", "2026-06-19"),
        ("$300/year", "2026-07-07"),
        ("$300/life", "2026-07-07"),
        ("$2000/year", None),
        ("$9000/life", None),
        ("$11/hour", None),
        ("$11/day for other*", None),
        ("$11/day per end_user", None),
        ("$11/day shadow", None),
    ],
)
def test_every_budget_with_a_period_is_looked_at(
    org: House, clock: FakeClock, limit: str, expected: str | None
) -> None:
    """Eight dollars in eight hours, and no call before: a dollar an hour at the pace of the day, and eight a day at
    that of the week, of which a seventh counts at least.
    """
    midnight(clock, HOUR)
    org.tenancy.update(org.org, org.project, limits=[limit])
    for _ in range(8):
        spent(org, 100, end_user="u")
        clock.advance(HOUR)
    told = tile(org)
    assert "First budget to run out" in told
    if expected is None:
        assert "None at this pace all budgets last" in told or "– No budget" in told
    else:
        assert f"{expected} ranker: {limit}, at this pace" in told
        assert "tile warn" in anew(org).page("/")


def test_the_first_of_several_is_told_and_those_that_are_gone_beside(org: House, clock: FakeClock) -> None:
    midnight(clock, 12 * HOUR)
    org.tenancy.update(org.org, org.project, limits=["$300/month", "$16/day"])
    org.tenancy.update(org.org, org.other, limits=["$200/month"])
    spent(org, 800)
    spent(org, 800, org.other)
    assert "ranker: $16/day, at this pace" in tile(org)
    assert "used up" not in tile(org)
    org.tenancy.update(org.org, org.project, limits=["$300/month", "$8/day"])
    told = tile(org)
    assert "chatbot: $200/month, at this pace used up already: ranker, $8/day" in told
    org.tenancy.update(org.org, org.other, limits=["$8/month"])
    told = tile(org)
    assert "None at this pace all budgets last used up already: " in told
    assert "and 1 more" in told
    assert "이미 소진됨: " in tile(org, headers=KO)
    assert "Used up $8/day" in tile(org, f"/projects/{org.project}")


def test_a_raised_budget_runs_out_later(org: House, clock: FakeClock) -> None:
    midnight(clock, 12 * HOUR)
    org.tenancy.update(org.org, org.project, limits=["$16/day"])
    spent(org, 800)
    assert "$16/day" in tile(org)
    org.tenancy.override(org.org, org.project, "cost/day", 90_000 * CENT)
    assert "None at this pace" in tile(org)


def test_what_is_stopped_runs_out_no_more(org: House, clock: FakeClock) -> None:
    midnight(clock, 12 * HOUR)
    org.tenancy.update(org.org, org.project, limits=["$16/day"])
    spent(org, 800)
    assert "ranker: $16/day" in tile(org)
    org.tenancy.update(org.org, org.project, enabled=False)
    assert "None at this pace" in tile(org)


def test_where_nothing_has_a_budget_none_lasts(org: House) -> None:
    spent(org, 100)
    assert "– No budget" in tile(org)
    assert "– No budget" in tile(org, f"/projects/{org.project}")


def test_a_projects_own_page_says_when_its_first_budget_runs_out(org: House, clock: FakeClock) -> None:
    midnight(clock, 12 * HOUR)
    org.tenancy.update(org.org, org.project, limits=["$900/month", "$9/day"])
    spent(org, 800)
    assert re.search(r"today \d\d:\d\d \$9/day", tile(org, f"/projects/{org.project}"))
    page = text_of(anew(org).page("/"))
    assert re.search(r"\$9/day runs out today \d\d:\d\d", page)


def test_a_key_whose_own_limit_is_used_up_is_listed(house: House) -> None:
    house.tenancy.create_key(house.project, name="idle", limits=["$3/day"])
    made = house.tenancy.create_key(house.project, name="app", limits=["$3/day", "9 requests/day"])
    assert blocked(house) == ""
    spent(house, 300, key=digest(made.secret))
    told = blocked(house)
    assert re.search(r"Used up app key of ranker \$3/day until 20\d\d-", told)
    assert "9 requests/day" not in told
    assert "idle" not in told
    assert f"/keys/{made.node.id}" in anew(house).page("/")
    assert "소진됨 app ranker의 키 $3/day" in blocked(house, headers=KO)


def test_keys_that_are_disabled_stopped_or_have_expired_are_listed_and_revoked_ones_not(
    house: House, clock: FakeClock
) -> None:
    keys = {
        name: house.tenancy.create_key(house.project, name=name, **more).node.id
        for name, more in {
            "off": {},
            "gone": {},
            "late": {"expires_at": clock() + HOUR},
            "turned": {},
            "stopped": {"limits": ["$1/day"], "alerts": ["50% disable"]},
        }.items()
    }
    house.tenancy.update_key(house.org, keys["off"], enabled=False)
    house.tenancy.revoke_key(house.org, keys["gone"])
    house.tenancy.rotate_key(house.org, keys["turned"], grace_ms=HOUR)
    clock.advance(2 * HOUR)
    told = blocked(house)
    assert "Disabled off key of ranker was disabled and takes no calls" in told
    assert re.search(r"Expired late key of ranker since 20\d\d-", told)
    assert "gone" not in told
    assert keys["turned"] not in told
    clock.advance(8 * DAY)
    told = blocked(house)
    assert "late" not in told
    assert "off" in told


def test_a_key_that_a_threshold_stopped_says_so(house: House) -> None:
    made = house.tenancy.create_key(house.project, name="app", limits=["$2/day"], alerts=["50% disable"])
    spent(house, 100, key=digest(made.secret))
    assert "Stopped app key of ranker was stopped when a threshold of $2/day was crossed" in blocked(house)


def test_keys_are_listed_for_who_may_look_at_them(house: House) -> None:
    for project in (house.project, house.other):
        key = house.tenancy.create_key(project, name=f"of {project}").node.id
        house.tenancy.update_key(house.org, key, enabled=False)
    assert blocked(house, house.key(house.org, *ROLES["viewer"])) == ""
    there = blocked(house, house.key(house.project, "quota:read", "api_key:read"))
    assert f"of {house.project}" in there
    assert house.other not in there


def test_of_many_keys_those_that_were_refused_are_found(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [house.tenancy.create_key(house.project, limits=["$1/day"]) for _ in range(4)]
    for each in made:
        spent(house, 100, key=digest(each.secret))
    monkeypatch.setattr("quotaware.management.dashboard.pulse.MOST_KEYS", 1)
    assert blocked(house).count("key of ranker") <= 1
    for each in made:
        ask(house.quota, a_call(1), Identity(key=digest(each.secret)))
    assert house.quota.flush()
    assert blocked(house).count("key of ranker") == 4
    monkeypatch.setattr("quotaware.management.dashboard.blocked.SHOWN", 3)
    told = blocked(house)
    assert told.count("key of ranker") == 3
    assert "More keys are blocked. Keys" in told


def test_what_a_key_holds_moves_the_page(house: House) -> None:
    made = house.tenancy.create_key(house.project, name="app", limits=["9 requests/day"])
    before = re.search(r"\?mark=(\w+)", anew(house).page("/"))
    let_go(ask(house.quota, a_call(1), Identity(key=digest(made.secret)))).settle(used(1))
    assert house.quota.flush()
    house.clock.advance(2000)
    after = re.search(r"\?mark=(\w+)", anew(house).page("/"))
    assert before is not None
    assert after is not None
    assert before[1] != after[1]


def test_refused_calls_are_told_by_project_and_reason(
    house: House, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.tenancy.update(house.org, house.other, limits=["1 requests/day"])
    for project, calls in ((house.project, 3), (house.other, 2)):
        spent(house, 1, project)
        house.tenancy.update(house.org, house.project, limits=["$0.01/month"])
        for _ in range(calls):
            ask(house.quota, a_call(1), Identity(project=project))
    no_project = house.key(house.org, "chat:create")
    ask(house.quota, a_call(1), Identity(key=digest(no_project)))
    assert house.quota.flush()
    told = blocked(house)
    assert (
        "Calls refused in the last 24 hours: 6 ranker budget exceeded 3 chatbot rate limit exceeded 2" in told
    )
    assert "no project project required 1" in told
    assert "ranker 예산을 초과했습니다 3 chatbot 호출 속도 한도를 초과했습니다 2" in blocked(
        house, headers=KO
    )
    mine = blocked(house, house.key(house.other, *ROLES["developer"]))
    assert "chatbot rate limit exceeded 2" in mine
    assert "ranker" not in mine
    monkeypatch.setattr("quotaware.management.dashboard.spending.DENIED_MOST", 1)
    assert "ranker budget exceeded 3 …" in blocked(house)
    clock.advance(2 * DAY)
    assert "refused" not in blocked(house)
