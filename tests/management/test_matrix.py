"""Who may do what: every route for every caller on one's own, a sibling's and another organization's things.

What is expected comes from the contract alone: its table of roles (house.py), its rules of what grants what (`holds`
below) and what each operation takes (`Route.takes`, examples.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from quotaware.management.routes import Route
from quotaware.management.table import ROUTES
from tests.management.examples import (
    ANYWHERE,
    CASE_IDS,
    CASES,
    EXAMPLES,
    Example,
    examples_of,
    made,
    name_of,
    noun_of,
)
from tests.management.house import OWN, House, Who

NODE_LISTS = {"GET /teams": "team", "GET /projects": "project", "GET /api-keys": "key"}


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    house = House()
    yield house
    house.close()


# the oracle


def holds(held: Iterable[str], wanted: str) -> bool:
    """Whether who holds these permissions may do what takes `wanted`, by the contract's words."""
    grants = set()
    for permission in held:
        if permission == "org:manage":
            return True  # grants every management and call permission
        if permission == "api_key:write":
            grants |= {"api_key:create", "api_key:delete"}
        if permission in ("analytics:read", "analytics:full"):
            grants.add("analytics")
        thing, _, verb = permission.rpartition(":")
        if verb in ("manage", "create", "full"):
            grants.add(f"{thing}:read")
        grants.add(permission.removesuffix(":*"))
    return any(wanted == grant or wanted.startswith(f"{grant}:") for grant in grants)


def held(who: Who, nodes: Iterable[str] | None) -> list[str]:
    """What somebody holds at a node, given with all above it; None: anywhere."""
    return [
        permission
        for node, permissions in who.grants
        if nodes is None or node in nodes
        for permission in permissions
    ]


def lacking(who: Who, route: Route, example: Example, above: Any) -> set[str]:
    """The permissions one of which is missing; none where all is allowed."""
    at = example.at or noun_of(route, example)
    takes = example.takes if example.takes is not None else route.takes
    for wanted, where in ((takes, at), *example.also):
        any_of = [each for each in wanted.split(" or ") if each]
        has = held(who, None if where == ANYWHERE else above[where])
        if any_of and not any(holds(has, each) for each in any_of):
            return {*any_of, *route.takes.split(" or ")} if wanted == takes else {wanted}
    return set()


# every route has an example, and none hides another


def test_every_route_has_an_example_and_every_example_a_route() -> None:
    for route in ROUTES:
        examples_of(route)
    assert EXAMPLES.keys() <= {name_of(route) for route in ROUTES}


def test_no_route_shadows_another(house: House) -> None:
    for route, example in CASES:
        sent = made(route, example, house.places["own"])
        found, _ = house.app._route(
            {"type": "http", "method": sent.method, "path": sent.path.partition("?")[0], "root_path": ""}
        )
        assert found is route


# who may do what


def check(house: House, route: Route, example: Example, who: Who, where: str) -> None:
    """One request, and what becomes of it."""
    place = house.places[where]
    sent = made(route, example, place)
    answered = house.send(who, sent.method, sent.path, sent.body)
    if who.refused is not None:
        assert (answered.status, answered.error["code"]) == who.refused
    elif missing := lacking(who, route, example, place.above):
        assert answered.status == 403, answered.body
        assert answered.error["permission"] in missing
        assert f"does not have '{answered.error['permission']}' permission" in answered.error["message"]
    else:
        assert answered.status in ({200, 201} if route.status != 204 else {204}), answered.body
        if name_of(route) in NODE_LISTS:
            check_listed(house, route, example, who, answered.json["data"])
        if sent.method != "GET":
            house.undo()
        return
    assert not house.changed()


def check_listed(house: House, route: Route, example: Example, who: Who, data: Any) -> None:
    """A list holds what the caller may see, all of it where nothing narrows it, and nothing else."""
    noun = NODE_LISTS[name_of(route)]
    listed = {each["id"] for each in data}
    for name, place in house.places.items():
        may = name not in ("foreign", "absent") and holds(held(who, place.above[noun]), route.takes)
        if not may or not example.query:
            assert (place.ids[noun] in listed) == may, place.ids[noun]


@pytest.mark.parametrize(("route", "example"), CASES, ids=CASE_IDS)
def test_exactly_who_has_the_permission_may(house: House, route: Route, example: Example) -> None:
    for where in ("own", "sibling"):
        for name, who in house.callers.items():
            try:
                check(house, route, example, who, where)
            except AssertionError as error:
                raise AssertionError(f"{name}, {where}: {error}") from error


@pytest.mark.slow
@pytest.mark.parametrize(("route", "example"), CASES, ids=CASE_IDS)
def test_exactly_who_has_the_permission_may_in_another_project_of_the_team(
    house: House, route: Route, example: Example
) -> None:
    for name, who in house.callers.items():
        try:
            check(house, route, example, who, "neighbour")
        except AssertionError as error:
            raise AssertionError(f"{name}, neighbour: {error}") from error


@pytest.mark.parametrize(("route", "example"), CASES, ids=CASE_IDS)
def test_what_is_anothers_is_not_there(house: House, route: Route, example: Example) -> None:
    foreign, absent = (made(route, example, house.places[where]) for where in ("foreign", "absent"))
    if foreign == absent:
        return  # it names nothing
    for name, who in house.callers.items():
        answers = [house.send(who, sent.method, sent.path, sent.body) for sent in (foreign, absent)]
        status, error = answers[0].status, without_ids(house, answers[0].error)
        assert (status, error) == (answers[1].status, without_ids(house, answers[1].error)), name
        if who.refused is None and not (
            status == 403 and is_refused_in_the_organization(who, route, example)
        ):
            assert status == 404, (name, error)
        assert not house.changed()


def is_refused_in_the_organization(who: Who, route: Route, example: Example) -> bool:
    """Whether all there are of this kind are closed to somebody, so that it need not be looked for."""
    at = example.at or noun_of(route, example)
    above = dict.fromkeys((at, *(where for _, where in example.also)), (OWN,))
    return at in (ANYWHERE, "member", "role", "price") and bool(lacking(who, route, example, above))


def without_ids(house: House, error: Any) -> str:
    text = str(error)
    for where in ("foreign", "absent"):
        for id in house.places[where].ids.values():
            text = text.replace(f"'{id}'", "'ID'")
    return text


BOTH = [
    (route, example)
    for route, example in CASES
    if "id}" in route.path and ("{" in example.query or "'{" in str(example.body))
]


@pytest.mark.parametrize(("route", "example"), BOTH, ids=[name_of(route) for route, _ in BOTH])
def test_nothing_of_ones_own_is_joined_to_anothers(house: House, route: Route, example: Example) -> None:
    admin = house.callers["admin of the organization"]
    own, foreign = house.places["own"], house.places["foreign"]
    for place, body_from in ((own, foreign), (foreign, own)):
        sent = made(route, example, place, body_from)
        assert house.send(admin, sent.method, sent.path, sent.body).status == 404
        assert not house.changed()
