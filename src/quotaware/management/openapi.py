"""The OpenAPI 3.1 document (https://spec.openapis.org/oas/v3.1.1) of the API, made of the routes and models that serve
the requests: what it says is what is done.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from ..errors import ApiError
from ..version import __version__
from ..words.wire import Body
from .refusals import EXAMPLES, Error, refusals
from .repeats import LONGEST
from .routes import Route

Json = dict[str, Any]
Mode = Literal["validation", "serialization"]

ABOUT = """\
Teams, keys, limits and what was used. Money is US dollars as JSON numbers, times are RFC 3339 in UTC.

- **Who asks**: a quotaware key, as `Authorization: Bearer qw_…` or `X-API-Key`. Nothing outside of its organization is
  there: it answers 404 as what does not exist. Paths take an id, or a name where it is unique in the organization.
- **Lists** are pages: `{"data": […], "next_cursor": …}`; give the cursor back as `cursor` to go on.
- **Changes** take `If-Match` with the ETag that was answered, and answer 412 where somebody else was faster. What is
  sent replaces, what is absent stays.
- **Repeats**: a POST with `Idempotency-Key` is done once, however often it arrives.
"""
REQUEST_ID = "req_6f1e0c4b5a7d4f0e9c3b2a1908f7e6d5"

_IN_PATH = re.compile(r"\{(\w+)\}")
_REF = "#/components/{}/{}"


def document(routes: Iterable[Route], examples: Mapping[type[Body], Mapping[str, Any]] | None = None) -> Json:
    """All operations, with the schemas, headers and errors that they share; `examples` of bodies, by their models."""
    routes = tuple(routes)
    schemas = _Schemas(routes, examples or {})
    paths: dict[str, Json] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route, schemas)
    return {
        "openapi": "3.1.1",
        "info": {"title": "quotaware", "version": __version__, "description": ABOUT},
        "security": [{name: []} for name in _SECURITY],
        "tags": [{"name": tag} for tag in dict.fromkeys(route.tag for route in routes)],
        "paths": paths,
        "components": {
            "securitySchemes": _SECURITY,
            "headers": _HEADERS,
            "parameters": _PARAMETERS,
            "responses": _refused(),
            "schemas": schemas.shared,
        },
    }


class _Untitled(GenerateJsonSchema):
    """Fields have names; a title made of the name says nothing more."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class _Schemas:
    """The JSON schemas of all models. `shared`: by name, all but the queries, which are parameters."""

    def __init__(self, routes: Sequence[Route], examples: Mapping[type[Body], Mapping[str, Any]]) -> None:
        wanted: dict[tuple[type[BaseModel], Mode], None] = {(Error, "serialization"): None}
        for route in routes:
            for model, mode in _models(route):
                wanted[model, mode] = None
        self._refs, found = models_json_schema(
            list(wanted), ref_template=_REF.format("schemas", "{model}"), schema_generator=_Untitled
        )
        self.shared: dict[str, Json] = dict(sorted(found["$defs"].items()))
        for body, example in examples.items():
            if (body, "validation") in self._refs:
                self.shared[self._name(body, "validation")]["examples"] = [example]
        queries = {route.query for route in routes if route.query is not None}
        self._queries: dict[type[BaseModel], Json] = {
            query: self.shared.pop(self._name(query, "validation")) for query in queries
        }

    def _name(self, model: type[BaseModel], mode: Mode) -> str:
        return str(self._refs[model, mode]["$ref"]).rpartition("/")[2]

    def of(self, model: type[BaseModel], mode: Mode) -> Json:
        """A reference to a model's schema."""
        return dict(self._refs[model, mode])

    def query(self, model: type[BaseModel]) -> list[Json]:
        """The parameters that a query has."""
        schema = self._queries[model]
        required = schema.get("required", ())
        return [
            _parameter(name, "query", field, required=name in required)
            for name, field in schema["properties"].items()
        ]


def _models(route: Route) -> Iterable[tuple[type[BaseModel], Mode]]:
    if route.answer is not None:
        yield route.answer, "serialization"
    for model in (route.body, route.query):
        if model is not None:
            yield model, "validation"


def _operation(route: Route, schemas: _Schemas) -> Json:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": _SHAPE if name == "shape" else _ID}
        for name in _IN_PATH.findall(route.path)
    ]
    if route.query is not None:
        parameters += schemas.query(route.query)
    if route.method == "POST":
        parameters.append({"$ref": _REF.format("parameters", "IdempotencyKey")})
    if route.guarded:
        parameters.append({"$ref": _REF.format("parameters", "IfMatch")})
    told: Json = {
        "operationId": route.name,
        "tags": [route.tag],
        "summary": route.summary,
        "description": _description(route),
        "x-permission": route.takes,
        "parameters": parameters,
        "responses": {
            **{str(status): _answered(route, status, schemas) for status in _good(route)},
            **{
                str(status): {"$ref": _REF.format("responses", _response_name(status))}
                for status in sorted({error.status for error in refusals(route)})
            },
        },
    }
    if route.body is not None:
        told["requestBody"] = {
            "required": any(field.is_required() for field in route.body.model_fields.values()),
            "content": {"application/json": {"schema": schemas.of(route.body, "validation")}},
        }
    return told


def _description(route: Route) -> str:
    told = inspect.getdoc(route.run) or ""
    return told if not route.takes or route.takes in told else f"{told}\n\nTakes `{route.takes}`.".strip()


def _good(route: Route) -> tuple[int, ...]:
    return (200, route.status) if route.again else (route.status,)


def _answered(route: Route, status: int, schemas: _Schemas) -> Json:
    headers = ["x-request-id"]
    told: Json = {"description": _GOOD[status]}
    if route.answer is not None:
        told["content"] = {"application/json": {"schema": schemas.of(route.answer, "serialization")}}
        if "revision" in route.answer.model_fields:
            headers.append("ETag")
    if route.media:
        told["content"] = {media: {"schema": {"type": "string"}} for media in route.media}
        headers.append("Content-Disposition")
    if route.method == "POST":
        headers.append("Idempotent-Replayed")
    return told | {"headers": _headers(headers)}


def _refused() -> Mapping[str, Json]:
    """The responses with an error, by status."""
    found: dict[str, Json] = {}
    for error in EXAMPLES:
        types = dict.fromkeys(each.type for each in EXAMPLES if each.status == error.status)
        told = found.setdefault(
            _response_name(error.status),
            {
                "description": " or ".join(types),
                "headers": _headers(["x-request-id", *_error_headers(error)]),
                "content": {
                    "application/json": {
                        "schema": {"$ref": _REF.format("schemas", Error.__name__)},
                        "examples": {},
                    }
                },
            },
        )
        examples = told["content"]["application/json"]["examples"]
        examples[error.code] = {"summary": _first_sentence(error), "value": error.body(REQUEST_ID)}
    return found


def _response_name(status: int) -> str:
    return f"Error{status}"


def _first_sentence(error: ApiError) -> str:
    return (inspect.getdoc(type(error)) or "").partition("\n")[0]


def _error_headers(error: ApiError) -> Iterable[str]:
    return (name for name in _HEADERS if name.lower() in error.headers())


def _headers(names: Iterable[str]) -> Json:
    return {name: {"$ref": _REF.format("headers", name)} for name in names}


def _parameter(name: str, where: str, field: Mapping[str, Any], *, required: bool) -> Json:
    """A field of a query as a parameter: what is not sent is not there, so it is never null."""
    schema = {key: value for key, value in field.items() if key != "description"}
    options = schema.get("anyOf", ())
    if {"type": "null"} in options:
        rest = [each for each in options if each != {"type": "null"}]
        schema.pop("anyOf")
        schema |= rest[0] if len(rest) == 1 else {"anyOf": rest}
    if schema.get("default", ...) is None:
        del schema["default"]
    told: Json = {"name": name, "in": where, "required": required, "schema": schema}
    if "description" in field:
        told["description"] = field["description"]
    return told


_GOOD = {200: "OK", 201: "Created", 204: "Done"}
_ID = {"type": "string", "minLength": 1, "maxLength": 200, "pattern": "^[^/]+$"}
_SHAPE = {"type": "string", "minLength": 1, "maxLength": 512, "examples": ["cost/month"]}
_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "a quotaware key, `qw_…`"},
    "api_key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "the same"},
}
_PARAMETERS = {
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The request is done once, and a repeat within 24 hours answered as the first time (secrets are "
        "null then). The same key with another request is 422, one that is still under way 409.",
        "schema": {"type": "string", "minLength": 1, "maxLength": LONGEST, "pattern": "^[ -~]+$"},
    },
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "description": "The ETag that the change was made from. 412 where it changed meanwhile.",
        "schema": {"type": "string", "pattern": r'^(\*|"[0-9]{1,19}")$', "example": '"12"'},
    },
}
_HEADERS = {
    "x-request-id": {
        "description": "names the request in logs and errors",
        "required": True,
        "schema": {"type": "string"},
    },
    "ETag": {
        "description": "the revision, in quotes, for `If-Match`",
        "required": True,
        "schema": {"type": "string", "pattern": '^"[0-9]+"$'},
    },
    "Content-Disposition": {
        "description": "`attachment`, with the name of the file",
        "required": True,
        "schema": {"type": "string"},
    },
    "Idempotent-Replayed": {
        "description": "`true` where a repeat is answered as the first time",
        "schema": {"type": "string", "enum": ["true"]},
    },
    "Retry-After": {
        "description": "seconds until a repeat can succeed, where waiting helps",
        "schema": {"type": "integer", "minimum": 1},
    },
    "WWW-Authenticate": {"description": "always `Bearer`", "required": True, "schema": {"type": "string"}},
    "Allow": {
        "description": "the methods that the path takes",
        "required": True,
        "schema": {"type": "string"},
    },
}
