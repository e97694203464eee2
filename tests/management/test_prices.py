"""Prices over the API: what stands in the maintained list, what an organization says otherwise, and from when on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from quotaware import Quota
from quotaware.core.prices import RATES, Price
from quotaware.management.prices import PriceAnswer, RatesAnswer, ServiceAnswer
from quotaware.testing.clocks import FakeClock
from quotaware.words.prices import NewPrice, NewService
from tests.management.conftest import Api
from tests.management.host import PRICES, Host

GPT = {"input": 2.0, "output": 8.0, "cache_read": 0.5, "web_search": 0.01, "file_search": 0.0025}
CLAUDE = {
    "input": 3.0, "output": 15.0, "cache_read": 0.3, "cache_write": 3.75, "cache_write_1h": 6.0, "web_search": 0.01,
}  # fmt: skip
OWN = {"model": "m", "input": 0, "output": 2000}
"""Twice what the app's configuration says of it."""


@pytest.fixture
def quota(clock: FakeClock) -> Iterator[Quota]:
    quota = Quota("memory://", clock=clock, prices=PRICES)
    yield quota
    quota.close()


@pytest.fixture
def host(quota: Quota) -> Host:
    return Host(quota)


@pytest.fixture
def key(api: Api) -> str:
    api.tenancy.create_project(api.org, "p", id="proj_p", limits=["$1/month"])
    return api.key("proj_p", "chat:create")


def costs(api: Api) -> list[float]:
    """What each call cost so far, in US dollars."""
    return [record.cost / 1e9 for record in api.quota.blocking.usage.records(organization=api.org)]


def in_force(api: Api, query: str) -> Any:
    """The one price in force that the API answers, without its revision."""
    (price,) = api.ok("GET", f"/prices?{query}")["data"]
    price.pop("revision")
    return price


def at(clock: FakeClock, *moment: int) -> None:
    clock.now = int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("query", "rates"),
    [
        ("model=gpt-4.1", GPT),
        ("model=gpt-4.1&provider=openai", GPT),
        (
            "model=claude-sonnet-4-5",
            CLAUDE,
        ),
        ("model=claude-sonnet-4-5-20250929&provider=anthropic", CLAUDE),
        ("model=claude-sonnet-4-20250514", CLAUDE),
        (
            "model=gemini-2.5-flash",
            {
                "input": 0.3,
                "output": 2.5,
                "cache_read": 0.03,
                "audio_input": 1.0,
                "cache_read_audio": 0.1,
                "web_search": 0.035,
            },
        ),
        ("model=deepseek-v3.2", {"input": 0.2288, "output": 0.3432}),
        ("model=deepseek-chat&provider=deepseek", {"input": 0.27, "output": 1.1, "cache_read": 0.07}),
    ],
)
def test_what_is_priced_out_of_the_box(api: Api, query: str, rates: dict[str, float]) -> None:
    price = in_force(api, query)
    told = {name: rate for name, rate in price.items() if isinstance(rate, float)}
    assert told == rates
    assert (price["source"], price["id"], price["in_force"]) == ("list", None, True)


def test_other_rates_for_much_input_are_told(api: Api) -> None:
    price = in_force(api, "model=claude-sonnet-4-5")
    assert price["tiers"] == [
        {
            **dict.fromkeys(RatesAnswer.model_fields), "above_input_tokens": 200_000,
            "input": 6.0, "output": 22.5, "cache_read": 0.6, "cache_write": 7.5, "cache_write_1h": 12.0,
        }
    ]  # fmt: skip


def test_what_nobody_prices_has_none(api: Api) -> None:
    assert api.ok("GET", "/prices?model=nobody-knows-it")["data"] == []


def test_a_price_for_what_nobody_lists_is_told(clock: FakeClock) -> None:
    quota = Quota("memory://", clock=clock, unknown_model=Price.per_million(input=1, output=2, request=0.01))
    api = Api(quota, clock)
    price = in_force(api, "model=nobody-knows-it")
    assert (price["source"], price["input"], price["output"], price["request"]) == (
        "unknown_model", 1.0, 2.0, 0.01,
    )  # fmt: skip
    quota.close()


def test_a_price_is_said_listed_got_and_taken_away(api: Api) -> None:
    said = {
        "model": "gpt-4.1*",
        "input": 1.5,
        "output": 6,
        "cache_read": 0.25,
        "reasoning": 7.000000001,
        "request": 0.002,
        "valid_from": "2026-06-01T00:00:00Z",
        "valid_until": "2026-07-01T00:00:00Z",
    }
    made = api("POST", "/prices", said)
    assert made.status_code == 201
    price = made.json()
    assert price == {
        **dict.fromkeys(PriceAnswer.model_fields),
        "id": price["id"],
        "source": "organization",
        "in_force": True,
        "tiers": [],
        "revision": price["revision"],
        **said,
    }
    assert api.ok("GET", "/prices")["data"] == [price] == api.ok("GET", "/prices?model=gpt-4.1-mini")["data"]
    assert api.ok("GET", f"/prices/{price['id']}") == price
    assert api.ok("GET", "/prices", key=api.rival_admin)["data"] == []
    assert api("DELETE", f"/prices/{price['id']}").status_code == 204
    assert api.ok("GET", "/prices")["data"] == []
    assert in_force(api, "model=gpt-4.1-mini")["source"] == "list"
    for method in ("GET", "DELETE"):
        assert api.error(method, f"/prices/{price['id']}")["status"] == 404


def test_one_for_the_same_model_from_the_same_moment_is_replaced(api: Api) -> None:
    first = api("POST", "/prices", OWN)
    again = api("POST", "/prices", {**OWN, "model": "M", "output": 3000})
    later = api("POST", "/prices", {**OWN, "valid_from": "2026-07-01T00:00:00Z"})
    assert [each.status_code for each in (first, again, later)] == [201, 200, 201]
    assert first.json()["id"] == again.json()["id"] != later.json()["id"]
    listed = {each["id"]: each["output"] for each in api.ok("GET", "/prices")["data"]}
    assert listed == {again.json()["id"]: 3000.0, later.json()["id"]: 2000.0}


def test_every_rate_can_be_said_and_is_told(api: Api) -> None:
    """For the usual way of service and for each other one, each until a time of its own."""
    rates = {name: 1 + number / 8 for number, name in enumerate(RATES)}
    service = {name: rate / 2 for name, rate in rates.items()}
    said = {
        "model": "m",
        "valid_until": "2026-07-01T00:00:00Z",
        **rates,
        "batch": service,
        "fast": {"page": 0.5},
    }
    answer = api.ok("POST", "/prices", said)
    assert {name: answer[name] for name in rates} == rates
    assert answer["batch"] == {**service, "tiers": []}
    assert answer["fast"] == {**rates, "page": 0.5, "tiers": []}
    assert (answer["flex"], answer["priority"]) == (None, None)
    assert api.ok("GET", f"/prices/{answer['id']}") == answer
    (entry,) = api.ok("GET", "/audit-log?what=organization.prices")["data"]
    assert entry["after"][0]["prices"] == [{**said, "valid_from": None}]


def test_no_rate_is_missing_from_the_wire() -> None:
    for model in (NewPrice, NewService, ServiceAnswer):
        assert {*RATES} <= {*model.model_fields}


def test_what_a_batch_costs_is_told_of_the_list(api: Api, clock: FakeClock) -> None:
    at(clock, 2026, 11, 9)
    price = in_force(api, "model=gpt-5.4")
    assert (price["batch"]["input"], price["flex"]["output"], price["fast"]["input"]) == (1.25, 7.5, 5.0)
    assert price["batch"]["tiers"][0]["input"] == 2.5
    assert price["priority"]["web_search"] == 0.01
    assert in_force(api, "model=claude-opus-5")["fast"]["cache_write"] == 12.5


def test_lists_go_on_where_they_stopped(api: Api) -> None:
    for number in range(5):
        api.ok("POST", "/prices", {**OWN, "model": f"m{number}"})
    seen: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.ok("GET", f"/prices?limit=2{cursor and f'&cursor={cursor}'}")
        seen += [each["model"] for each in page["data"]]
        cursor = page["next_cursor"]
    assert sorted(seen) == [f"m{number}" for number in range(5)]


def test_names_go_before_patterns_and_what_began_later_before_what_began_earlier(api: Api) -> None:
    july, august = "2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z"
    for model, output, since in (
        ("m", 5, august),  # said first, and yet the newest
        ("*", 1, None),
        ("m", 2, None),
        ("m-*", 3, None),
        ("m", 4, july),
        ("openai/m", 6, None),
    ):
        api.ok("POST", "/prices", {"model": model, "input": 0, "output": output, "valid_from": since})
    for query, output in (
        ("model=m", 2),
        ("model=M", 2),
        ("model=m&provider=openai", 6),
        ("model=m-mini", 3),
        ("model=gpt-4.1", 1),
        (f"model=m&at={july}", 4),
        ("model=m&at=2026-07-31T23:59:59.999Z", 4),
        (f"model=m&at={august}", 5),
    ):
        assert in_force(api, query)["output"] == output, query


def test_a_change_is_made_from_the_revision_that_was_read(api: Api) -> None:
    first = api("POST", "/prices", OWN)
    etag = {"if-match": first.headers["etag"]}
    api.ok("POST", "/prices", {**OWN, "output": 3000}, headers=etag)
    assert api.error("POST", "/prices", {**OWN, "output": 1}, headers=etag)["status"] == 412
    assert api.error("DELETE", f"/prices/{first.json()['id']}", headers=etag)["status"] == 412
    assert in_force(api, "model=m")["output"] == 3000.0


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"model": "two words"}, "model"),
        ({"model": "x" * 257}, "model"),
        ({"model": "*" * 17}, "model"),
        ({"input": None}, "input"),
        ({"input": "2"}, "input"),
        ({"input": -1}, "input"),
        ({"output": 1e9}, "output"),
        ({"output": 0.0000000001}, "output"),
        ({"cache_read": True}, "cache_read"),
        ({"batch": 1}, "batch"),
        ({"batch": {"input": -1}}, "batch.input"),
        ({"flex": {"batch": {}}}, "flex.batch"),
        ({"volume": 1}, "volume"),
        ({"valid_from": "tomorrow"}, "valid_from"),
        ({"valid_until": "2026-07-01"}, "valid_until"),
        ({"valid_from": "2026-07-01T00:00:00Z", "valid_until": "2026-07-01T00:00:00Z"}, "valid_until"),
        ({"valid_until": "1970-01-01T00:00:00Z"}, "valid_until"),
        ({"id": "price_mine"}, "id"),
    ],
)
def test_what_no_price_can_be(api: Api, change: dict[str, Any], named: str) -> None:
    error = api.error("POST", "/prices", {**OWN, **change})
    assert (error["status"], [each["field"] for each in error["errors"]]) == (422, [named])
    assert api.ok("GET", "/prices")["data"] == []


def test_prices_take_org_manage(api: Api) -> None:
    id = api.ok("POST", "/prices", OWN)["id"]
    team = api.tenancy.create_team(api.org, "a").id
    for key in (api.key(api.org, "quota:manage", "quota:override"), api.key(team, "org:manage")):
        for method, path, body in (
            ("GET", "/prices", None),
            ("GET", "/prices?model=m", None),
            ("GET", f"/prices/{id}", None),
            ("POST", "/prices", OWN),
            ("DELETE", f"/prices/{id}", None),
            ("DELETE", "/prices/nothing", None),
        ):
            error = api.error(method, path, body, key=key)
            assert (error["status"], error["message"]) == (
                403, "API key does not have 'org:manage' permission",
            )  # fmt: skip
    for method in ("GET", "DELETE"):
        assert api.error(method, f"/prices/{id}", key=api.rival_admin)["status"] == 404


# what it does to calls


def test_the_very_next_call_is_charged_what_was_said(api: Api, host: Host, key: str) -> None:
    assert host.goes(key, 10)
    id = api.ok("POST", "/prices", OWN)["id"]
    assert host.goes(key, 10)
    api("DELETE", f"/prices/{id}")
    assert host.goes(key, 10)
    assert costs(api) == [0.01, 0.02, 0.01]


def test_a_price_begins_and_ends_by_itself(api: Api, host: Host, clock: FakeClock, key: str) -> None:
    api.ok(
        "POST",
        "/prices",
        {**OWN, "valid_from": "2026-06-20T00:00:00Z", "valid_until": "2026-06-25T00:00:00Z"},
    )
    for moment in (
        (2026, 6, 19, 23, 59, 59),
        (2026, 6, 20),
        (2026, 6, 24, 23, 59, 59),
        (2026, 6, 25),
    ):
        at(clock, *moment)
        assert host.goes(key, 10)
    assert costs(api) == [0.01, 0.02, 0.02, 0.01]


def test_a_call_under_way_is_charged_what_it_was_made_at(api: Api, host: Host, key: str) -> None:
    host.gate.clear()
    slow = threading.Thread(target=host.goes, args=(key, 10))
    slow.start()
    assert host.arrived.acquire(timeout=10)
    api.ok("POST", "/prices", OWN)
    host.gate.set()
    slow.join(10)
    assert host.goes(key, 10)
    assert costs(api) == [0.01, 0.02]


def test_what_nobody_priced_goes_once_it_is_priced(api: Api, host: Host, key: str) -> None:
    refused = host.refused(key, 10, "brand-new")
    assert (refused["status"], refused["code"]) == (403, "price_unknown")
    assert "POST /prices" in refused["message"]
    api.ok("POST", "/prices", {"model": "brand-*", "input": 0, "output": 500})
    assert host.goes(key, 10, "brand-new")
    assert costs(api) == [0.005]


def test_a_budget_counts_what_the_organization_says(api: Api, host: Host, key: str) -> None:
    api.ok("POST", "/prices", {**OWN, "output": 100_000})
    assert host.goes(key, 10)
    denied = host.refused(key, 10)
    assert (denied["status"], denied["current_usage_usd"]) == (429, 1.0)
    rival = api.tenancy.create_project(api.rival, "p", limits=["$0.01/month"]).id
    assert host.goes(api.key(rival, "chat:create"), 10)  # another organization pays what it did
