"""The OpenAPI document says what the table of routes serves, no more and no less; the page that shows it needs nothing
from elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

from quotaware import Quota, errors
from quotaware.errors import ApiError
from quotaware.management import bodies
from quotaware.management.examples import EXAMPLES as BODIES
from quotaware.management.openapi import document
from quotaware.management.refusals import EXAMPLES
from quotaware.management.routes import Route
from quotaware.management.table import ROUTES
from tests.management import test_app
from tests.management.conftest import Api

DOCUMENT = document(ROUTES, BODIES)
SMALL = document(test_app.ROUTES)


def operations(of: Any) -> dict[tuple[str, str], Any]:
    return {
        (method.upper(), path): each for path, item in of["paths"].items() for method, each in item.items()
    }


def inside(value: Any) -> Iterator[Any]:
    """All objects in it."""
    if isinstance(value, dict):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from inside(each)


def at(of: Any, ref: str) -> Any:
    for part in ref.removeprefix("#/").split("/"):
        of = of[part]
    return of


def test_every_operation_is_in_it_and_nothing_else() -> None:
    assert {(route.method, route.path) for route in ROUTES} == operations(DOCUMENT).keys()
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_operations_are_told_apart() -> None:
    ids = [each["operationId"] for each in operations(DOCUMENT).values()]
    assert len(ids) == len(set(ids))
    tags = [tag["name"] for tag in DOCUMENT["tags"]]
    assert {tag for each in operations(DOCUMENT).values() for tag in each["tags"]} == set(tags)
    assert len(tags) == len(set(tags))


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_an_operation_says_what_it_takes_and_answers(route: Route) -> None:
    told = operations(DOCUMENT)[route.method, route.path]
    assert told["operationId"] == route.name
    assert told["summary"]
    assert told["x-permission"] == route.takes
    assert route.takes in told["description"]
    parameters = [at(DOCUMENT, each["$ref"]) if "$ref" in each else each for each in told["parameters"]]
    named = {(each["in"], each["name"]) for each in parameters}
    assert len(named) == len(parameters)
    assert {name for where, name in named if where == "path"} == set(re.findall(r"\{(\w+)\}", route.path))
    fields = route.query.model_fields if route.query else {}
    assert {name for where, name in named if where == "query"} == {
        field.alias or name for name, field in fields.items()
    }
    assert (("header", "Idempotency-Key") in named) == (route.method == "POST")
    assert (("header", "If-Match") in named) == route.guarded
    assert ("requestBody" in told) == (route.body is not None)
    good = {status for status in told["responses"] if status < "400"}
    assert good == {str(route.status), *(["200"] if route.again else [])}
    assert ("content" in told["responses"][str(route.status)]) == (route.status != 204)
    assert {"400", "401", "403", "404", "413", "422", "500", "503"} <= told["responses"].keys()
    assert {str(error.status) for error in route.errors} <= told["responses"].keys()


def test_every_reference_leads_somewhere_and_everything_shared_is_used() -> None:
    refs = {each["$ref"] for each in inside(DOCUMENT) if isinstance(each.get("$ref"), str)}
    for ref in refs:
        assert at(DOCUMENT, ref), ref
    schemas = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert schemas <= refs


def leaves(of: type[ApiError]) -> set[type[ApiError]]:
    return {leaf for each in of.__subclasses__() for leaf in leaves(each)} or {of}


def test_every_error_is_told_in_one_shape_with_an_example() -> None:
    assert {type(error) for error in EXAMPLES} == {
        each for each in leaves(ApiError) if each.__module__ == errors.__name__
    }
    for name, response in DOCUMENT["components"]["responses"].items():
        content = response["content"]["application/json"]
        assert content["schema"] == {"$ref": "#/components/schemas/Error"}
        examples = content["examples"].values()
        assert examples
        assert {f"Error{error.status}" for error in EXAMPLES if error.body(...) in _bodies(examples)} == {
            name
        }
        assert "x-request-id" in response["headers"]
    assert "Retry-After" in DOCUMENT["components"]["responses"]["Error429"]["headers"]
    assert "Retry-After" in DOCUMENT["components"]["responses"]["Error503"]["headers"]
    assert "WWW-Authenticate" in DOCUMENT["components"]["responses"]["Error401"]["headers"]
    types = DOCUMENT["components"]["schemas"]["Refusal"]["properties"]["type"]["enum"]
    assert set(types) == {each.type for each in leaves(ApiError)}


def _bodies(examples: Any) -> list[Any]:
    return [{"error": {**each["value"]["error"], "request_id": ...}} for each in examples]


def test_a_query_becomes_parameters_a_body_and_an_answer_schemas() -> None:
    told = operations(SMALL)
    listed = {each["name"]: each for each in told["GET", "/things"]["parameters"]}
    assert listed["limit"] == {
        "name": "limit",
        "in": "query",
        "required": False,
        "description": "the most that a page holds",
        "schema": {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100},
    }
    assert listed["cursor"]["schema"] == {"type": "string", "minLength": 1, "maxLength": 100}
    assert listed["tag"]["schema"] == {"type": "array", "items": {"type": "string"}}
    posted = told["POST", "/things"]
    assert posted["requestBody"] == {
        "required": True,
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}},
    }
    thing, made = (SMALL["components"]["schemas"][name] for name in ("Thing", "Made"))
    assert thing["required"] == ["name"]
    assert thing["additionalProperties"] is False
    assert made["properties"]["cost_usd"] == {"type": "number", "description": "US dollars"}
    assert made["properties"]["at"]["anyOf"][0] == {"type": "string", "format": "date-time"}
    assert "ETag" in posted["responses"]["201"]["headers"]
    assert told["PATCH", "/things/{thing}"]["responses"]["412"] == {"$ref": "#/components/responses/Error412"}
    assert posted["responses"]["409"] == {"$ref": "#/components/responses/Error409"}


def test_every_body_that_has_to_say_something_has_an_example_that_is_one() -> None:
    for route in ROUTES:
        if route.body is not None and any(field.is_required() for field in route.body.model_fields.values()):
            assert route.body in BODIES, f"{route.name}: give an example in management/examples.py"
    for model, example in BODIES.items():
        assert bodies.validated(model, example, "body")
        schema = DOCUMENT["components"]["schemas"][model.__name__]
        assert schema["examples"] == [example]
        assert example.keys() <= schema["properties"].keys()


# the pages


def test_the_document_is_served_to_everybody_and_names_its_mount(quota: Quota) -> None:
    deep = Starlette()
    deep.mount("/tenants/{tenant}/v1", quota.management())
    app = Starlette()
    app.mount("/api", deep)
    response = TestClient(app).get("/api/tenants/a/v1/openapi.json")
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    served = response.json()
    assert served.pop("servers") == [{"url": "/api/tenants/a/v1"}]
    assert served == json.loads(json.dumps(DOCUMENT))
    alone = TestClient(quota.management()).get("/openapi.json").json()
    assert alone["servers"] == [{"url": "/"}]


class Loaded(HTMLParser):
    """What a page loads, and whether any of it stands in the page itself."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.inline: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        given = dict(attrs)
        self.urls += [given[name] for name in ("src", "href") if name in given]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)
        self.inline += [name for name in given if name.startswith("on") or name == "style"]


@pytest.mark.parametrize("mount", ["/v1", "/a/b/c"])
def test_the_page_brings_all_that_it_loads(quota: Quota, mount: str) -> None:
    app = Starlette()
    app.mount(mount, quota.management())
    client = TestClient(app)
    page = client.get(f"{mount}/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    loaded = Loaded(page.text)
    assert loaded.inline == []
    assert sorted(loaded.urls) == ["docs/docs.css", "docs/docs.js", "openapi.json", "openapi.json"]
    for response in (page, *(client.get(f"{mount}/{url}") for url in loaded.urls)):
        assert response.status_code == 200
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
    script = client.get(f"{mount}/docs/docs.js").text
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|https?://", script)
    assert client.head(f"{mount}/docs").content == b""


def test_only_these_pages_are_open(api: Api) -> None:
    for path in ("/docs/", "/docs/index.html", "/docs/../me", "/me"):
        assert api.client.get(f"/v1{path}").status_code in {401, 404}
    assert api.client.post("/v1/openapi.json").status_code == 401
