"""Whatever a client sends, within the OpenAPI document or beside it: every answer is one that the document tells of,
and none is a fault of ours.

Whether one tenant sees another is asked in `test_matrix.py`, which knows who may what.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup

from quotaware.errors import RateLimitExceeded
from quotaware.management.app import Management
from quotaware.management.openapi import document
from quotaware.management.parts import Parts
from quotaware.management.routes import Ask, Route
from quotaware.management.table import ROUTES
from tests.management.conftest import Api
from tests.management.test_app import Made

load_all_checks()
JUDGED = [
    CHECKS.get_one(name)
    for name in (
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
        "negative_data_rejection",
        "positive_data_acceptance",
        "missing_required_header",
        "unsupported_method",
        "allow_header_conformance",
        "ignored_auth",
    )
]
# A body may be of its schema and yet ask for what cannot be (422): a time zone that there is not, a sum over a budget.
CONFIG = """
[phases.coverage]
enabled = false
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "401", "403", "404", "409", "412", "422"]
[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "412", "413", "422"]
"""
_IN_PATH = re.compile(r"/([a-z-]+)/\{(\w+)\}")


def furnished(api: Api) -> Any:
    """The document of an API with one thing of each kind, which stand in its paths."""
    tenancy, org = api.tenancy, api.org
    team = tenancy.create_team(org, "engineering", limits=["$300/month"])
    project = tenancy.create_project(team.id, "backend", limits=["$100/month"])
    key = tenancy.create_key(project.id, name="ci").node
    role = tenancy.create_role(org, "auditor", ["analytics:full"])
    group = tenancy.create_group(org, team.id, "leads", roles=["developer"])
    member = tenancy.create_member(org, "ada", roles=[("developer", team.id)])
    there = {
        "organizations": [org],
        "teams": [team.id, team.name],
        "projects": [project.id, project.name],
        "api-keys": [key.id, key.name],
        "roles": [role.id, role.name],
        "groups": [group.id, group.name],
        "members": [member.id, member.name],
    }
    found = json.loads(json.dumps(document(ROUTES)))
    for path, item in found["paths"].items():
        known = {name: there.get(kind) for kind, name in _IN_PATH.findall(path)}
        for operation in item.values():
            for parameter in operation["parameters"]:
                if parameter.get("in") == "path" and known.get(parameter["name"]):
                    parameter["schema"] = {"anyOf": [{"enum": known[parameter["name"]]}, parameter["schema"]]}
    return found


def schema(app: Any, document: Any, key: str) -> Any:
    """The document, with this app behind it and this key before it."""
    found = schemathesis.openapi.from_dict(document, config=SchemathesisConfig.from_str(CONFIG))
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
        case.call_and_validate(checks=JUDGED)

    judged()


@pytest.mark.parametrize("examples", [25, pytest.param(200, marks=pytest.mark.slow)])
@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_every_answer_is_one_that_the_document_tells_of(api: Api, route: Route, examples: int) -> None:
    described = schema(api.quota.management(), furnished(api), api.admin)
    judge(described[route.path][route.method], examples)


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
    parts = Parts(quota.blocking.tenancy, quota.blocking.usage, quota.engine, quota.store)
    routes = (Route("GET", "/thing", run, "", "t", answer=Made),)
    described = schema(Management(parts, quota.edge, routes), document(routes), api.admin)
    with pytest.raises(FailureGroup) as found:
        judge(described["/thing"]["GET"], 5)
    assert failure in str(found.value.exceptions)
