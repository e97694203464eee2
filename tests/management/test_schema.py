"""Whatever a client sends, within the OpenAPI document or beside it: every answer is one that the document tells of,
and none is a fault of ours.

Whether one tenant sees another is asked in `test_matrix.py`, which knows who may what.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.python import asgi

from quotaware.errors import RateLimitExceeded
from quotaware.management.app import Management
from quotaware.management.examples import EXAMPLES
from quotaware.management.openapi import document
from quotaware.management.parts import Parts
from quotaware.management.routes import Ask, Route
from quotaware.management.table import ROUTES
from tests.management.conftest import Api
from tests.management.examples import CASE_IDS, CASES, Example, made, noun_of
from tests.management.house import OWN, House
from tests.management.test_app import Made

load_all_checks()
TOLD = [
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    )
]
"""Of any answer."""
JUDGED = [
    *TOLD,
    *map(
        CHECKS.get_one,
        (
            "negative_data_rejection",
            "positive_data_acceptance",
            "missing_required_header",
            "unsupported_method",
            "allow_header_conformance",
            "ignored_auth",
        ),
    ),
]
"""Of an answer to what was made of the document."""
# A body may be of its schema and yet ask for what cannot be (422): a time zone that there is not, a sum over a budget.
CONFIG = """
[phases.coverage]
{bounds}
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "412", "422"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "412", "413", "422"]
"""


def _noun(route: Route) -> str:
    """The list that what a route makes stands in."""
    last = route.path.rpartition("/")[2]
    return "/api-keys" if last == "service" else f"/{last}"


def _below(route: Route) -> set[str]:
    """What one entry of this list takes."""
    return {each.method for each in ROUTES if each.path == f"{_noun(route)}/{{id}}"}


class Described:
    """The document of a house, in whose paths what it has stands too, with the house behind it."""

    def __init__(self, house: House, bounds: str = "enabled = false") -> None:
        self.house = house
        ids = house.places["own"].ids
        found = json.loads(json.dumps(document(ROUTES, EXAMPLES)))
        for route in ROUTES:
            there = {
                **{f"{noun}_id": id for noun, id in ids.items()},
                "id": ids.get(noun_of(route, Example())),
                "role": "developer",
                "shape": "cost/month",
            }
            for parameter in found["paths"][route.path][route.method.lower()]["parameters"]:
                if parameter.get("in") == "path" and (id := there[parameter["name"]]):
                    parameter["schema"] = {"anyOf": [{"enum": [id]}, parameter["schema"]]}
        self.schema = schema(house.app, found, str(house.admins[OWN].secret), bounds)

    def __getitem__(self, route: Route) -> Any:
        return self.schema[route.path][route.method]


@pytest.fixture(scope="module")
def of_a_house() -> Iterator[Described]:
    house = House()
    yield Described(house)
    house.close()


@pytest.fixture
def described(of_a_house: Described) -> Iterator[Described]:
    yield of_a_house
    of_a_house.house.undo()


def schema(app: Any, document: Any, key: str, bounds: str = "enabled = false") -> Any:
    """The document, with this app behind it and this key before it."""
    config = SchemathesisConfig.from_str(CONFIG.format(bounds=bounds))
    found = schemathesis.openapi.from_dict(document, config=config)
    found.app = app

    @found.auth()
    class Bearer:
        def get(self, case: Any, context: Any) -> str:
            return key

        def set(self, case: Any, data: str, context: Any) -> None:
            others = {name: value for name, value in case.headers.items() if name.lower() != "x-api-key"}
            case.headers = {**others, "Authorization": f"Bearer {data}"}

    return found


def judge(operation: Any, examples: int) -> None:
    """Sends so many requests, good ones and bad ones; raises where an answer is not as it is told."""
    good, bad = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)

    @given(case=good | bad)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def judged(case: Any) -> None:
        if "?" not in case.formatted_path:  # in what is no text it stands as it is, and there the path ends
            case.call_and_validate(session=client, checks=JUDGED)

    with asgi.get_client(operation.app) as client:  # one for all: each has a loop of its own
        judged()


def test_the_document_is_openapi() -> None:
    told = json.loads(json.dumps(document(ROUTES, EXAMPLES)))
    schemathesis.openapi.from_dict(told).validate()
    told["paths"]["/me"]["get"]["parameters"] = [{"name": "x", "in": "nowhere"}]
    with pytest.raises(Exception, match="parameters"):
        schemathesis.openapi.from_dict(told).validate()


@pytest.mark.parametrize(
    "examples",
    [
        5,
        pytest.param(8, marks=pytest.mark.slow, id="bounded-8"),
        pytest.param(25, marks=pytest.mark.slow),
        pytest.param(200, marks=pytest.mark.slow),
    ],
)
@pytest.mark.parametrize(
    "route",
    [
        pytest.param(route, id=route.name, marks=() if number % 4 == 0 else pytest.mark.slow)
        for number, route in enumerate(ROUTES)
    ],
)
def test_every_answer_is_one_that_the_document_tells_of(
    described: Described, route: Route, examples: int
) -> None:
    judge(described[route], examples)


@pytest.mark.slow
def test_every_bound_is_one_from_both_sides() -> None:
    alone = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider", "--tb=short"]
    done = subprocess.run(
        [*alone, "tests/management/boundaries.py"],
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stdout[-10_000:] + done.stderr[-2000:]
    assert f"{len(ROUTES)} passed" in done.stdout


@pytest.mark.parametrize(("route", "example"), CASES, ids=CASE_IDS)
def test_a_good_request_is_answered_as_told(described: Described, route: Route, example: Example) -> None:
    sent = made(route, example, described.house.places["own"])
    path, _, query = sent.path.partition("?")
    names = re.findall(r"{(\w+)}", route.path)
    values = re.fullmatch(re.sub(r"{\w+}", "(.+)", route.path), path)
    assert values
    case = described[route].Case(
        path_parameters=dict(zip(names, values.groups(), strict=True)),
        query=dict(parse_qsl(query)),
        **({} if sent.body is None else {"body": sent.body, "media_type": "application/json"}),
    )
    response = case.call(headers={"Authorization": f"Bearer {described.house.admins[OWN].secret}"})
    assert response.status_code in {route.status, 200}
    case.validate_response(response, checks=TOLD)


@pytest.mark.parametrize(
    ("route", "example"),
    [
        case
        for case in CASES
        if case[0].method == "POST" and case[0].status == 201 and "DELETE" in _below(case[0])
    ],
    ids=lambda part: part.name if isinstance(part, Route) else "",
)
def test_what_was_made_is_there_until_it_is_taken_away(
    described: Described, route: Route, example: Example
) -> None:
    house = described.house
    admin = house.admins[OWN]
    sent = made(route, example, house.places["own"])
    done = house.send(admin, sent.method, sent.path, sent.body)
    assert done.status == 201
    there = f"{_noun(route)}/{done.json['id']}"
    found = house.send(admin, "GET", there)
    assert found.status == 200
    assert found.json.items() <= {**done.json, "last_used_at": None}.items()
    assert house.send(admin, "DELETE", there).status == 204
    gone = house.send(admin, "GET", there)
    if _noun(route) == "/api-keys":  # it is never used again, and stays to be looked at
        assert gone.json["revoked"] is True
    else:
        assert (gone.status, gone.error["type"]) == (404, "not_found")
        assert house.send(admin, "DELETE", there).status == 404


def lies(ask: Ask) -> Made:
    return Made.model_construct(
        revision=1,
        name=5,
        cost_usd=0,
        at=None,
        secret=None,
        number=1,  # type: ignore[arg-type]
    )


def breaks(ask: Ask) -> Made:
    raise RuntimeError


def refuses(ask: Ask) -> Made:
    raise RateLimitExceeded("not told of")


@pytest.mark.parametrize(
    ("run", "failure"),
    [(lies, "schema"), (breaks, "Server error"), (refuses, "Undocumented status code")],
)
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
def test_what_is_not_as_it_is_told_is_found(api: Api, run: Any, failure: str) -> None:
    quota = api.quota
    blocking = quota.blocking
    parts = Parts(
        blocking.tenancy,
        blocking.usage,
        blocking.alerts,
        quota.engine,
        quota.store,
        blocking.simulate,
        blocking.organization,
        lambda: quota.health,
    )
    routes = (Route("GET", "/thing", run, "", "t", answer=Made),)
    told = schema(Management(parts, quota.edge, routes), document(routes), api.admin)
    with pytest.raises(FailureGroup) as found:
        judge(told["/thing"]["GET"], 5)
    assert failure in str(found.value.exceptions)
