"""What holds for every route: who is let in, bodies within bounds, one shape of errors, ETags, repeats."""

from __future__ import annotations

import itertools
import json
import threading
from typing import Any

import pytest
from pydantic import Field
from starlette.testclient import TestClient

from quotaware import Quota
from quotaware.errors import StoreError
from quotaware.management.app import Management
from quotaware.management.bodies import DEEPEST, ROOM
from quotaware.management.routes import Ask, Route
from quotaware.testing.clocks import FakeClock
from quotaware.words.wire import Body, Dollars, Listing, Moment, Page, Revised, Time, Usd
from tests.management.conftest import Api

made = itertools.count(1)


class Thing(Body):
    name: str = Field(min_length=1, max_length=20)
    cost_usd: Usd = 0
    at: Time | None = None
    tags: list[str] = Field(default_factory=list)


class Many(Page):
    tag: list[str] = Field(default_factory=list)
    loud: bool = False


class Made(Revised):
    name: str
    cost_usd: Dollars
    at: Moment | None
    secret: str | None
    number: int


def make_thing(ask: Ask) -> Made:
    number = next(made)
    if ask.body.name == "broken":
        raise RuntimeError("a fault of ours, with qw_live_secret in it")
    if ask.body.name == "away":
        raise StoreError("gone")
    return Made(
        revision=7,
        name=ask.body.name,
        cost_usd=ask.body.cost_usd,
        at=ask.body.at,
        secret="s3cret",
        number=number,
    )


def change_thing(ask: Ask) -> Made:
    return Made(
        revision=ask.expect or 0, name=ask.params["thing"], cost_usd=0, at=None, secret=None, number=0
    )


def delete_thing(ask: Ask) -> None:
    return None


def list_things(ask: Ask) -> Listing[Any]:
    return Listing(data=[ask.query.limit, ask.query.cursor, ask.query.tag, ask.query.loud])


ROUTES = (
    Route("GET", "/things", list_things, "", "t", query=Many, answer=Listing[Any]),
    Route("POST", "/things", make_thing, "", "t", body=Thing, answer=Made, status=201, secrets=("secret",)),
    Route("PATCH", "/things/{thing}", change_thing, "", "t", answer=Made),
    Route("DELETE", "/things/{thing}", delete_thing, "", "t", status=204),
)


@pytest.fixture
def things(api: Api) -> Api:
    """The same callers before a table of routes made for this."""
    quota = api.quota
    app = Management(quota.parts, quota.edge, ROUTES)
    api.client = TestClient(app, raise_server_exceptions=False)
    original = api.client.request
    api.client.request = lambda method, path, **more: original(method, path.removeprefix("/v1"), **more)
    return api


def test_me_says_who_the_key_is_and_what_it_may_do(api: Api) -> None:
    team = api.tenancy.create_team(api.org, "engineering")
    project = api.tenancy.create_project(team.id, "backend")
    key = api.key(project.id, "chat:create", name="ci")
    assert api.ok("GET", "/me", key=key) == {
        "kind": "key",
        "organization": {"id": api.org, "name": "StartupAI"},
        "team": {"id": team.id, "name": "engineering"},
        "project": {"id": project.id, "name": "backend"},
        "key": {"id": api.tenancy.list(api.org, "key", project.id)[0].id, "name": "ci"},
        "member": None,
        "permissions": ["chat:create"],
        "grants": [{"node": project.id, "role": None, "permissions": ["chat:create"]}],
    }


@pytest.mark.parametrize(
    ("authorization", "status", "kind", "message"),
    [
        (None, 401, "invalid_request", "Invalid API key format"),
        ("Bearer sk-somebody-else", 401, "invalid_request", "Invalid API key format"),
        ("Bearer qw_live_short", 401, "invalid_request", "Invalid API key format"),
    ],
)
def test_every_credential_is_judged_before_anything_else(
    api: Api, authorization: str | None, status: int, kind: str, message: str
) -> None:
    headers = {} if authorization is None else {"authorization": authorization}
    for path in ("/v1/me", "/v1/nowhere"):
        response = api.client.get(path, headers=headers)
        error = response.json()["error"]
        assert (response.status_code, error["type"], error["message"]) == (status, kind, message)
        assert response.headers["www-authenticate"] == "Bearer"
        assert error["request_id"] == response.headers["x-request-id"]


def test_without_any_admin_it_refuses_every_call_and_says_how_to_make_one(
    quota: Quota, clock: FakeClock
) -> None:
    """It never runs open."""
    client = TestClient(quota.management())
    project = quota.blocking.tenancy.create_project(
        quota.blocking.tenancy.create_organization("A").id, "P", id="p"
    )
    key = quota.blocking.tenancy.create_key(project.id).secret
    for headers in ({}, {"authorization": f"Bearer {key}"}, {"x-api-key": "nonsense"}):
        for path in ("/me", "/projects", "/nowhere"):
            response = client.get(path, headers=headers)
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (403, "no_admin_key")
            assert "quota.bootstrap(" in error["message"]
    first = quota.bootstrap("B")
    assert client.get("/me", headers={"authorization": f"Bearer {first.key}"}).status_code == 200


def test_a_path_that_is_not_there_and_a_method_that_it_does_not_take(things: Api) -> None:
    assert things.error("GET", "/nowhere")["type"] == "not_found"
    refused = things("PUT", "/things")
    assert refused.status_code == 405
    assert refused.headers["allow"] == "GET, HEAD, POST"
    assert refused.json()["error"]["code"] == "method_not_allowed"
    assert things("HEAD", "/things").content == b""


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({}, ["name"]),
        ({"name": 5, "cost_usd": "5", "tags": "a"}, ["name", "cost_usd", "tags"]),
        ({"name": "a", "cost_usd": -1}, ["cost_usd"]),
        ({"name": "a", "cost_usd": True}, ["cost_usd"]),
        ({"name": "a", "cost_usd": 1e300}, ["cost_usd"]),
        ({"name": "a", "cost_usd": 0.0000000001}, ["cost_usd"]),
        ({"name": "a", "at": "yesterday"}, ["at"]),
        ({"name": "a", "at": "2026-12-23T09:15:00"}, ["at"]),
        ({"name": "a", "at": 5}, ["at"]),
        ({"name": "a", "at": "20261223T091500Z"}, ["at"]),
        ({"name": "a", "at": "2026-W52-3T09:15:00Z"}, ["at"]),
        ({"name": "a", "at": "2026-02-30T09:15:00Z"}, ["at"]),
        ({"name": "a", "at": "1969-12-31T23:59:59Z"}, ["at"]),
        ({"name": "a", "at": "9999-12-31T23:59:59-12:00"}, ["at"]),
        ({"name": "a", "tags": ["x", 5]}, ["tags[1]"]),
        ({"name": "a", "id": "mine", "__proto__": {}}, ["id", "__proto__"]),
    ],
)
def test_422_names_every_bad_field(things: Api, body: Any, fields: list[str]) -> None:
    error = things.error("POST", "/things", body)
    assert (error["status"], error["type"]) == (422, "invalid_request")
    assert [each["field"] for each in error["errors"]] == fields
    assert all(field in error["message"] for field in fields[:3])


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        (0.1 + 0.2, 0.3),
        (1500 * 1.1, 1650.0),
        (0.7 + 0.1, 0.8),
        (500 / 3, 166.666666666),  # three of them come to no more than 500
        (123456.123456789, 123456.123456789),
        (0.000000001, 0.000000001),
    ],
)
def test_money_that_was_reckoned_with_is_taken_at_the_precision_that_it_has(
    things: Api, sent: float, kept: float
) -> None:
    assert things.ok("POST", "/things", {"name": "a", "cost_usd": sent})["cost_usd"] == kept


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b"nonsense", 400),
        (b'{"name": "\xff"}', 400),
        (b'{"name": NaN}', 400),
        (b'{"name": "a", "name": "b"}', 400),
        (b'{"name": ' + b"9" * 5000 + b"}", 400),
        (b"[" * 100_000, 400),
        (b'{"a":' * (DEEPEST + 1) + b"1" + b"}" * (DEEPEST + 1), 400),
        (b'{"name": "' + b"[" * 200 + b'"}', 422),
        (b'{"name": "a"}' + b" " * ROOM.bytes, 413),
    ],
)
def test_a_body_that_cannot_be_read(things: Api, raw: bytes, status: int) -> None:
    response = things("POST", "/things", content=raw, headers={"content-type": "application/json"})
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request"


def test_a_body_without_a_length_is_read_no_further_than_the_bound(things: Api) -> None:
    sent = 0

    def endless() -> Any:
        nonlocal sent
        while sent < 100 * ROOM.bytes:
            sent += 65536
            yield b" " * 65536

    response = things("POST", "/things", content=endless(), headers={"content-type": "application/json"})
    assert response.status_code == 413


def test_a_body_that_is_no_json_or_is_not_wanted(things: Api) -> None:
    form = things(
        "POST", "/things", content=b"name=a", headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert (form.status_code, form.json()["error"]["code"]) == (400, "not_json")
    assert things.error("DELETE", "/things/1", {"a": 1})["code"] == "no_body"
    assert things("DELETE", "/things/1", {}).status_code == 204  # says nothing, as many clients do


def test_money_and_times_cross_the_wire_exactly(things: Api) -> None:
    sent = {"name": "a", "cost_usd": 0.000000001, "at": "2026-12-23T10:15:00.123456+01:00"}
    answered = things.ok("POST", "/things", sent)
    assert answered["cost_usd"] == 1e-9
    assert answered["at"] == "2026-12-23T09:15:00.123Z"
    for at in ("1970-01-01t00:00:00z", "9999-12-31T23:59:59.999Z"):
        assert things.ok("POST", "/things", {"name": "a", "at": at})["at"] == at.upper()


def test_queries_are_read_by_their_types(things: Api) -> None:
    answered = things.ok("GET", "/things?limit=5&cursor=c&tag=a&tag=b&loud=true")
    assert answered == {"data": [5, "c", ["a", "b"], True], "next_cursor": None}
    for query, field in (
        ("limit=0", "limit"),
        ("limit=x", "limit"),
        ("limit=1&limit=2", "limit"),
        ("no=1", "no"),
    ):
        assert things.error("GET", f"/things?{query}")["errors"][0]["field"] == field


def test_an_answer_says_its_revision_and_takes_it_back(things: Api) -> None:
    response = things("POST", "/things", {"name": "a"})
    assert response.status_code == 201
    assert response.headers["etag"] == '"7"'
    assert response.headers["cache-control"] == "no-store"
    assert things.ok("PATCH", "/things/x", headers={"if-match": '"12"'})["revision"] == 12
    assert things.ok("PATCH", "/things/x", headers={"if-match": "*"})["revision"] == 0
    assert things.error("PATCH", "/things/x", headers={"if-match": "W/x"})["status"] == 412
    assert things("DELETE", "/things/x").status_code == 204


def test_a_fault_of_ours_is_told_without_its_insides(things: Api, caplog: pytest.LogCaptureFixture) -> None:
    error = things.error("POST", "/things", {"name": "broken"})
    assert (error["status"], error["type"]) == (500, "internal_error")
    assert "fault" not in json.dumps(error)
    assert error["request_id"] in caplog.text
    away = things("POST", "/things", {"name": "away"})
    assert (away.status_code, away.json()["error"]["type"]) == (503, "store_unavailable")
    assert int(away.headers["retry-after"]) > 0


def test_a_post_that_is_sent_again_is_done_once(things: Api) -> None:
    headers = {"idempotency-key": "abc"}
    first = things("POST", "/things", {"name": "a"}, headers=headers)
    again = things("POST", "/things", {"name": "a"}, headers=headers)
    assert first.status_code == again.status_code == 201
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["etag"] == first.headers["etag"]
    assert again.json() == {**first.json(), "secret": None}  # a secret is shown once
    other = things.error("POST", "/things", {"name": "b"}, headers=headers)
    assert (other["status"], other["code"]) == (422, "idempotency_key_reused")
    for seen in ("*", ""):
        from_another = things.error("POST", "/things", {"name": "a"}, headers={**headers, "if-match": seen})
        assert from_another["code"] == "idempotency_key_reused"
    rival = things("POST", "/things", {"name": "a"}, key=things.rival_admin, headers=headers)
    assert rival.json()["number"] != first.json()["number"]  # somebody else's key is another one
    things.clock.advance(24 * 3_600_000 + 1)
    late = things("POST", "/things", {"name": "a"}, headers=headers)
    assert late.json()["number"] > first.json()["number"]


def test_what_was_refused_can_be_sent_again(things: Api) -> None:
    headers = {"idempotency-key": "abc"}
    assert things.error("POST", "/things", {"name": ""}, headers=headers)["status"] == 422
    assert things.ok("POST", "/things", {"name": "a"}, headers=headers)["name"] == "a"
    assert (
        things.error("POST", "/things", {"name": "broken"}, headers={"idempotency-key": "x"})["status"] == 500
    )
    assert things.ok("POST", "/things", {"name": "a"}, headers={"idempotency-key": "x"})["name"] == "a"
    bad = things.error("POST", "/things", {"name": "a"}, headers={"idempotency-key": "x" * 300})
    assert (bad["status"], bad["code"]) == (400, "bad_idempotency_key")


def test_a_post_that_is_under_way_is_not_done_twice(things: Api) -> None:
    inside, on = threading.Event(), threading.Event()

    def slow(ask: Ask) -> Made:
        inside.set()
        on.wait(10)
        return make_thing(ask)

    quota = things.quota
    route = Route("POST", "/slow", slow, "", "t", body=Thing, answer=Made)
    client = TestClient(Management(quota.parts, quota.edge, (route,)))
    headers = {"authorization": f"Bearer {things.admin}", "idempotency-key": "k"}
    answers: list[Any] = []
    first = threading.Thread(
        target=lambda: answers.append(client.post("/slow", json={"name": "a"}, headers=headers))
    )
    first.start()
    assert inside.wait(10)
    second = client.post("/slow", json={"name": "a"}, headers=headers)
    on.set()
    first.join(10)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "under_way")
    assert answers[0].status_code == 200
