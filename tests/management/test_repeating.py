"""Every POST is done once however often it is sent, and every change is made only from what its sender saw.

Every route that there is, from the table, with the examples of examples.py.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from quotaware.management.routes import Route
from quotaware.management.table import ROUTES
from tests.management.examples import CASE_IDS, CASES, Example, made, name_of, noun_of
from tests.management.house import OWN, House

CLOSES = "disable_organization"
"""After it nobody is let in to send it again."""
POSTS = [case for case in CASES if case[0].method == "POST" and case[0].name != CLOSES]
POST_IDS = [id for id, case in zip(CASE_IDS, CASES, strict=True) if case in POSTS]
CHANGES = [case for case in CASES if case[0].method != "GET"]
CHANGE_IDS = [id for id, case in zip(CASE_IDS, CASES, strict=True) if case[0].method != "GET"]
LOOKS = {"explain_project", "plan_organization", "simulate_organization", "simulate_team", "simulate_project"}
"""What is a POST for its body's sake only."""
MAKES = ("add_alert_channel_of_", "send_test_alert_of_", "apply_organization")
"""POSTs about a thing that change nothing of it, or have the revision of a plan in their body."""


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


@pytest.fixture(autouse=True)
def as_it_was(house: House) -> Iterator[None]:
    yield
    house.undo()


@pytest.mark.parametrize(("route", "example"), POSTS, ids=POST_IDS)
def test_a_post_that_is_sent_again_is_done_once(
    house: House, route: Route, example: Example, request: pytest.FixtureRequest
) -> None:
    admin = house.callers["admin of the organization"]
    sent = made(route, example, house.places["own"])
    headers = {"idempotency-key": request.node.name}
    first = house.send(admin, sent.method, sent.path, sent.body, headers)
    assert first.status in (200, 201), first.body
    done = house.documents()
    again = house.send(admin, sent.method, sent.path, sent.body, headers)
    assert (again.status, again.headers.get("etag")) == (first.status, first.headers.get("etag"))
    assert again.json == {**first.json, **dict.fromkeys(route.secrets)}
    assert again.headers["idempotent-replayed"] == "true"
    assert house.documents() == done
    other = house.send(admin, sent.method, f"{sent.path}?more=1", sent.body, headers)
    assert (other.status, other.error["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(("route", "example"), POSTS, ids=POST_IDS)
def test_what_was_refused_was_not_done(
    house: House, route: Route, example: Example, request: pytest.FixtureRequest
) -> None:
    nobody, admin = house.callers["nobody's member"], house.callers["admin of the organization"]
    sent = made(route, example, house.places["own"])
    headers = {"idempotency-key": request.node.name}
    for _ in range(2):
        refused = house.send(nobody, sent.method, sent.path, sent.body, headers)
        assert refused.status == 403
        assert "idempotent-replayed" not in refused.headers
    assert house.send(admin, sent.method, sent.path, sent.body, headers).status in (200, 201)


def test_every_change_of_what_is_there_can_be_guarded() -> None:
    for route in ROUTES:
        if route.method in {"PUT", "PATCH", "DELETE"} or (route.method == "POST" and "{id}" in route.path):
            assert route.guarded or route.name in LOOKS or route.name.startswith(MAKES), name_of(route)


@pytest.mark.parametrize(("route", "example"), CHANGES, ids=CHANGE_IDS)
def test_a_change_is_made_only_from_the_revision_that_was_seen(
    house: House, route: Route, example: Example
) -> None:
    admin = house.callers["admin of the organization"]
    place = house.places["own"]
    sent = made(route, example, place)
    for stale in ('"999999999"', '"0"', "W/x", "7", '"7", "8"'):
        refused = house.send(admin, sent.method, sent.path, sent.body, {"if-match": stale})
        assert (refused.status, refused.error["type"]) == (412, "conflict"), refused.body
        assert not house.changed()
    if not route.guarded or route.again:
        return  # it makes something new
    id = place.ids[noun_of(route, example)]
    of = id if id in house.documents() else OWN  # a price is the organization's
    seen = {"if-match": f'"{house.revision(of)}"'}
    assert house.send(admin, sent.method, sent.path, sent.body, seen).status < 300
    if of in house.changed() and route.name != CLOSES:
        late = house.send(admin, sent.method, sent.path, sent.body, seen)
        assert late.status in ((404, 409, 412) if of in house.documents() else (404,))


@pytest.mark.parametrize(("route", "example"), CHANGES, ids=CHANGE_IDS)
def test_who_may_not_change_a_thing_learns_nothing_of_its_revision(
    house: House, route: Route, example: Example
) -> None:
    sent = made(route, example, house.places["own"])
    for caller in ("nobody's member", "call-only key"):
        refused = house.send(
            house.callers[caller], sent.method, sent.path, sent.body, {"if-match": '"999999999"'}
        )
        assert refused.status == (403 if route.guarded else 412)
        assert "revision" not in refused.error


@pytest.mark.parametrize(
    ("route", "example"),
    [case for case in CASES if "revision" in getattr(case[0].answer, "model_fields", ())],
    ids=lambda value: name_of(value) if isinstance(value, Route) else "",
)
def test_an_answer_has_its_etag(house: House, route: Route, example: Example) -> None:
    sent = made(route, example, house.places["own"])
    answered = house.send(house.callers["admin of the organization"], sent.method, sent.path, sent.body)
    assert answered.headers["etag"] == f'"{answered.json["revision"]}"'
