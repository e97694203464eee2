"""RateLimit, RateLimit-Policy and Quotaware-Cost-Usd: on answers of requests that made calls, and on no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quotaware import Limit, Quota, QuotaMiddleware
from quotaware.core.models import Model
from quotaware.core.money import usd
from quotaware.errors import StoreError
from quotaware.inbound.limit_headers import LARGEST, limit_headers
from quotaware.tenancy.nodes import Node, Path
from quotaware.tenancy.plans import compile_policy
from tests.apps.asgi import Answer, bearer, request
from tests.apps.hosts import FRAMEWORKS, Provider, answers, with_fastapi
from tests.support import NOON, FakeClock

pytestmark = pytest.mark.anyio

DAY_LEFT_S = 43_200
"""From `NOON` to midnight."""


class Item(NamedTuple):
    """A member of a structured field list: a string with parameters."""

    name: str
    params: dict[str, int | str]


def parse(field: str) -> list[Item]:
    """A list of strings with parameters that are integers or strings: RFC 9651, 4.2.1, strictly."""
    items: list[Item] = []
    rest = field
    while True:
        name, rest = _string(rest)
        params: dict[str, int | str] = {}
        while rest.startswith(";"):
            key = re.match(r"; *([a-z*][a-z0-9_.*-]*)=", rest)
            assert key, rest
            rest = rest[key.end() :]
            if rest.startswith('"'):
                params[key[1]], rest = _string(rest)
            else:
                number = re.match(r"-?[0-9]{1,15}(?![0-9.])", rest)
                assert number, rest
                params[key[1]], rest = int(number[0]), rest[number.end() :]
        items.append(Item(name, params))
        if not rest:
            return items
        comma = re.match(r"[ \t]*,[ \t]*(?=.)", rest)
        assert comma, rest
        rest = rest[comma.end() :]


def _string(text: str) -> tuple[str, str]:
    found = re.match(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"', text)
    assert found, text
    return re.sub(r"\\(.)", r"\1", found[1]), text[found.end() :]


def told(answer: Answer) -> tuple[dict[str, Any], dict[str, Any]]:
    """(policies, states) by name."""
    policies, states = (
        {item.name: item.params for item in parse(answer.header(name) or "")}
        for name in ("ratelimit-policy", "ratelimit")
    )
    return policies, states


@pytest.fixture
def quota() -> Iterator[Quota]:
    limits = ["$1/day", "5 requests/minute", "1000 tokens/day", "8 concurrent", "3 requests/hour soft"]
    quota = Quota("memory://", limits=limits, clock=FakeClock())
    yield quota
    quota.close()


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_an_answer_tells_of_the_hard_limits(framework: str, quota: Quota) -> None:
    """The IETF draft's form: quota, window and unit of each; what remains, and when a calendar window ends."""
    app = FRAMEWORKS[framework](quota, Provider(answers))
    path = "/async"
    if framework == "bare":  # its answer begins before its call is made
        app = QuotaMiddleware(_calls_first(Provider(answers)), quota)
    answer = await request(app, path, query="model=gpt-4.1")
    policies, states = told(answer)
    assert policies == {
        "project-cost-day": {"q": 1_000_000, "w": 86_400, "qu": "quotaware-micro-usd"},
        "project-requests-minute": {"q": 5, "w": 60, "qu": "requests"},
        "project-tokens-day": {"q": 1000, "w": 86_400, "qu": "quotaware-tokens"},
        "project-concurrency": {"q": 8, "qu": "concurrent-requests"},
    }
    assert states == {
        "project-cost-day": {"r": 999_940, "t": DAY_LEFT_S},
        "project-requests-minute": {"r": 4},
        "project-tokens-day": {"r": 985, "t": DAY_LEFT_S},
        "project-concurrency": {"r": 8},
    }
    assert answer.header("quotaware-cost-usd") == "0.00006"  # 10 tokens in at $2, 5 out at $8 a million


def _calls_first(provider: Provider) -> Any:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await provider.ask("gpt-4.1")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    return app


async def test_the_cost_is_that_of_all_calls_of_the_request(quota: Quota) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        for _ in range(3):
            await provider.ask("gpt-4.1")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"x-own", b"1")]})
        await send({"type": "http.response.body", "body": b""})

    provider = Provider(answers)
    answer = await request(QuotaMiddleware(app, quota), "/")
    assert answer.header("quotaware-cost-usd") == "0.00018"
    assert answer.header("x-own") == "1"
    assert told(answer)[1]["project-requests-minute"] == {"r": 2}


async def test_a_call_let_through_without_the_store_is_told(
    quota: Quota, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    def fails(*_: Any) -> Any:
        raise StoreError("away")

    let_through = Quota(limits=["$10/day"], on_store_error="allow", allow_max=1, journal=str(tmp_path / "j"))
    provider = Provider(answers)
    app = QuotaMiddleware(_calls_first(provider), let_through)
    quota.uninstrument()
    assert (await request(app, "/")).header("quotaware-degraded") is None
    with monkeypatch.context() as away:
        away.setattr(let_through.store, "apply", fails)
        answer = await request(app, "/")
    assert answer.header("quotaware-degraded") == "?1"
    assert answer.header("quotaware-cost-usd") == "0.00006"
    assert let_through.close()


@pytest.mark.parametrize("way", ["stream", "background"])
async def test_a_call_after_the_headers_leaves_them_alone(quota: Quota, way: str) -> None:
    answer = await request(with_fastapi(quota, Provider(answers)), f"/{way}", query="model=gpt-4.1")
    assert _ours(answer) == set()
    assert quota.stats["admitted"] == 1


async def test_an_answer_without_a_call_carries_nothing(quota: Quota) -> None:
    answer = await request(with_fastapi(quota, Provider(answers)), "/openapi.json")
    assert answer.status == 200
    assert _ours(answer) == set()


async def test_a_request_whose_calls_were_all_denied_carries_nothing(quota: Quota) -> None:
    """It cost nothing; the denial tells the figures where the host lets it escape."""
    denying = Quota("memory://", limits=["0 requests/day"])
    answer = await request(with_fastapi(denying, Provider(answers)), "/async", query="model=gpt-4.1")
    denying.close()
    assert answer.json() == "429"
    assert _ours(answer) == set()


async def test_without_limits_only_the_cost_is_told() -> None:
    quota = Quota("memory://", limits=[])
    answer = await request(with_fastapi(quota, Provider(answers)), "/async", query="model=gpt-4.1")
    quota.close()
    assert _ours(answer) == {"quotaware-cost-usd"}


async def test_a_free_call_is_told_as_zero() -> None:
    quota = Quota("memory://", limits=[], prices={"m": {"input": 0, "output": 0}})
    answer = await request(with_fastapi(quota, Provider(answers)), "/async", query="model=m")
    quota.close()
    assert answer.header("quotaware-cost-usd") == "0"


async def test_what_is_used_up_remains_zero(quota: Quota) -> None:
    app = with_fastapi(quota, Provider(answers))
    for _ in range(5):
        answer = await request(app, "/async", query="model=gpt-4.1")
    assert told(answer)[1]["project-requests-minute"] == {"r": 0}


async def test_limits_of_the_whole_path_are_told_under_their_own_names() -> None:
    quota = Quota("memory://")
    tenancy = quota.blocking.tenancy
    org = tenancy.create_organization("Acme", limits=["$100/month"])
    project = tenancy.create_project(org.id, "p", limits=["$10/month", "9 requests/day for gpt-4.1*"])
    key = tenancy.create_key(project.id, limits=["2 requests/second"]).secret
    app = with_fastapi(quota, Provider(answers))
    answer = await request(app, "/async", query="model=gpt-4.1", headers=[bearer(key)])
    quota.close()
    policies, states = told(answer)
    assert list(policies) == list(states)
    assert list(policies) == [
        "key-requests-second",
        "project-cost-month",
        "project-requests-day-for-gpt-4-1",
        "organization-cost-month",
    ]


def _ours(answer: Answer) -> set[str]:
    names = {name.decode().lower() for name, _ in answer.headers}
    return names & {"ratelimit", "ratelimit-policy", "quotaware-cost-usd"}


AMOUNTS = st.integers(0, 9 * 10**15)
LIMITS = st.lists(
    st.builds(
        lambda amount, what: Limit.parse(f"{amount} {what}"),
        AMOUNTS,
        st.sampled_from(
            [
                "requests/day",
                "tokens/minute",
                "tokens/year for ünïcode-*",
                'tokens/day for a"b\\c',
                "concurrent",
            ]
        ),
    )
    | st.builds(
        lambda pattern: Limit.parse(f"7 requests/day for {pattern}"), st.sampled_from(["a.b", "a_b", "a*b"])
    ),
    max_size=12,
    unique_by=lambda limit: limit.shape,
)


@given(LIMITS, AMOUNTS)
def test_whatever_the_limits_the_fields_parse(limits: list[Limit], used: int) -> None:
    """Integers within the format's fifteen digits, names that are told apart, at most ten members."""
    project = Node("proj_p", "project", "org_o", "p", limits=tuple(limits))
    path = Path("org_o", 1, (project, Node("org_o", "organization", "", "o")))
    models = ["ünïcode-1", 'a"b\\c', "a.b", "a_b"]
    for model in models:
        told = compile_policy(path, (Model(None, model),), None, NOON)
        headers = dict(limit_headers(told, lambda key: (used, 0), NOON))
        if not headers:
            continue
        policies, states = parse(headers["ratelimit-policy"]), parse(headers["ratelimit"])
        assert [item.name for item in policies] == [item.name for item in states]
        assert len({item.name for item in policies}) == len(policies) <= 10
        for state, policy in zip(states, policies, strict=True):
            remains, quota = state.params["r"], policy.params["q"]
            assert isinstance(remains, int)
            assert isinstance(quota, int)
            assert 0 <= remains <= quota <= LARGEST


def test_patterns_that_differ_in_signs_only_keep_two_names() -> None:
    limits = (Limit.parse("7 requests/day for a.*"), Limit.parse("8 requests/day for a*"))
    project = Node("proj_p", "project", "org_o", "p", limits=limits)
    policy = compile_policy(
        Path("org_o", 1, (project, Node("org_o", "organization", "", "o"))), (Model(None, "a.b"),), None, NOON
    )
    names = [item.name for item in parse(dict(limit_headers(policy, lambda key: (0, 0), NOON))["ratelimit"])]
    assert names == ["project-requests-day-for-a", "project-requests-day-for-a-"]


def test_money_is_whole_micro_dollars_rounded_down() -> None:
    project = Node("proj_p", "project", "org_o", "p", limits=(Limit.parse("$0.0000029/day"),))
    policy = compile_policy(
        Path("org_o", 1, (project, Node("org_o", "organization", "", "o"))), (), None, NOON
    )
    headers = dict(limit_headers(policy, lambda key: (usd("0.000001"), 0), NOON))
    assert parse(headers["ratelimit-policy"])[0].params["q"] == 2
    assert parse(headers["ratelimit"])[0].params["r"] == 1
