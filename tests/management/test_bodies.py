"""No body does harm: too large, too deep, too many, of other types, with fields that are nobody's to set.

Every route that there is, from the table, with the examples of examples.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from quotaware.management.bodies import LARGE, MAX_ERRORS, ROOM
from quotaware.management.routes import Route
from tests.management.examples import CASE_IDS, CASES, Example, made
from tests.management.house import House

WITH_BODY = [case for case in CASES if case[0].body is not None]
BODY_IDS = [id for id, case in zip(CASE_IDS, CASES, strict=True) if case[0].body is not None]
NOBODYS = (
    "id",
    "org_id",
    "organization",
    "used",
    "held",
    "created_at",
    "revision",
    "rev",
    "digest",
    "__proto__",
)
"""Fields that say what is not for a request to say."""
VALUES = {
    "string": "text",
    "integer": 7,
    "number": 7.5,
    "boolean": True,
    "array": [1, 2],
    "object": {"a": 1},
}


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


def refused(house: House, route: Route, example: Example, body: Any, **headers: str) -> Any:
    """The error that the admin is answered, and its status; nothing has changed."""
    sent = made(route, example, house.places["own"])
    admin = house.callers["admin of the organization"]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answered = house.send(admin, sent.method, sent.path, body, named)
    assert answered.status >= 400, answered.body
    assert answered.error["type"] == "invalid_request"
    assert not house.changed()
    return {"status": answered.status, **answered.error}


def good(house: House, route: Route, example: Example) -> Any:
    return made(route, example, house.places["own"]).body or {}


# fields


@pytest.mark.parametrize(("route", "example"), WITH_BODY, ids=BODY_IDS)
def test_a_field_that_is_nobodys_to_set_is_named(house: House, route: Route, example: Example) -> None:
    assert route.body is not None
    body = good(house, route, example)
    for field in NOBODYS:
        if field not in route.body.model_fields:
            error = refused(house, route, example, {**body, field: 1})
            assert (error["status"], error["errors"]) == (
                422,
                [{"field": field, "message": "is not known here"}],
            )


@pytest.mark.parametrize(("route", "example"), WITH_BODY, ids=BODY_IDS)
def test_a_value_of_another_type_is_named(house: House, route: Route, example: Example) -> None:
    assert route.body is not None
    schema = route.body.model_json_schema()
    body = good(house, route, example)
    for field, told in schema["properties"].items():
        allowed = set(types(told, schema))
        assert allowed <= VALUES.keys() | {"null"}, field
        for kind, value in VALUES.items():
            if kind in allowed or (kind == "integer" and "number" in allowed):
                continue
            check_named(refused(house, route, example, {**body, field: value}), field)
        if allowed & {"number", "integer"}:
            check_named(refused(house, route, example, {**body, field: -1}), field)
            check_named(refused(house, route, example, {**body, field: 1e300}), field)
            raw = json.dumps({**body, field: float("nan")}).encode()
            assert refused(house, route, example, raw)["code"] == "not_json"
        if "null" not in allowed:
            check_named(refused(house, route, example, {**body, field: None}), field)


def check_named(error: Any, field: str) -> None:
    assert error["status"] == 422
    assert all(each["field"].startswith(field) for each in error["errors"]), error


def types(told: Any, schema: Any) -> Iterator[str]:
    """The JSON types that a schema lets through."""
    if "$ref" in told:
        told = schema["$defs"][told["$ref"].rpartition("/")[2]]
    for each in told.get("anyOf", ()):
        yield from types(each, schema)
    if "enum" in told or "const" in told:
        yield "string"
    elif "type" in told:
        yield told["type"]


# sizes


@pytest.mark.parametrize(("route", "example"), CASES, ids=CASE_IDS)
def test_a_body_over_the_bound_is_read_no_further(house: House, route: Route, example: Example) -> None:
    room = LARGE if route.large else ROOM
    unread = iter((b"{", b"}"))
    large = refused(house, route, example, unread, content_length=str(1 << 30))
    assert (large["status"], large["limit_bytes"]) == (413, room.bytes)
    assert next(unread) == b"{"
    read = 0

    def endless() -> Iterator[bytes]:
        nonlocal read
        while True:
            read += 1 << 16
            yield b" " * (1 << 16)

    assert refused(house, route, example, endless())["status"] == 413
    assert read <= room.bytes + (1 << 16)


@pytest.mark.parametrize(("route", "example"), CASES, ids=CASE_IDS)
def test_a_body_that_is_deep_or_twice_told_is_no_json(house: House, route: Route, example: Example) -> None:
    code = "not_json" if route.body is not None else "no_body"
    for raw in (
        b"[" * 100_000,
        b'{"name":' * 100_000,
        b'{"name": 1, "name": 2}',
        b'{"name": ' + b"9" * 5000 + b"}",
    ):
        error = refused(house, route, example, raw)
        assert (error["status"], error["code"]) == (400, code)


@pytest.mark.parametrize(("route", "example"), WITH_BODY, ids=BODY_IDS)
def test_a_number_of_four_thousand_digits_fits_nowhere(house: House, route: Route, example: Example) -> None:
    assert route.body is not None
    body = good(house, route, example)
    for field in route.body.model_fields:
        check_named(refused(house, route, example, {**body, field: 10**3999}), field)


@pytest.mark.parametrize(("route", "example"), WITH_BODY, ids=BODY_IDS)
def test_of_many_bad_fields_so_many_are_named(house: House, route: Route, example: Example) -> None:
    body = {f"no{number}": number for number in range(ROOM.widest // 2)}
    error = refused(house, route, example, body)
    assert (error["status"], len(error["errors"])) == (422, MAX_ERRORS)


@pytest.mark.parametrize("last", [b"}", b',"k80000":1}'])
def test_so_many_keys_are_too_many(house: House, last: bytes) -> None:
    route, example = WITH_BODY[0]
    keys = json.dumps({f"k{number}": 0 for number in range(90_000)}, separators=(",", ":")).encode()
    raw = keys[:-1] + last
    assert len(raw) <= ROOM.bytes
    wide = refused(house, route, example, raw)
    assert (wide["status"], wide["code"]) == (400, "not_json")
    assert refused(house, route, example, raw + raw[1:])["status"] == 413
    inside = b'{"name": ' + raw + b"}"
    assert refused(house, route, example, inside)["code"] == "not_json"


@pytest.mark.parametrize(
    "value", [[0] * 300_000, [[0] * (ROOM.widest - 1)] * 30, {str(n): [0] * 1000 for n in range(50)}]
)
def test_so_many_values_are_too_many(house: House, value: Any) -> None:
    for route, example in WITH_BODY[:3]:
        error = refused(house, route, example, {"name": value})
        assert (error["status"], error["code"]) == (400, "not_json")
