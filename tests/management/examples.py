"""An example of every operation: what the generated tests send.

A route that is new needs a line here, or they fail. `{team}` and the like stand for ids of a `Place` (house.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from quotaware.management.routes import Route
from quotaware.management.table import ROUTES
from tests.management.house import OWN, Place

ANYWHERE = "anywhere"


@dataclass(frozen=True)
class Example:
    """One good request to a route.

    id      what the `{id}` of the path names; as a rule the noun that the path begins with
    at      what it names where the caller needs the permission: the node of the one in the path, unless said otherwise
    takes   the permission that this one takes, if not the route's
    also    what else it takes, and where
    """

    body: Any = None
    query: str = ""
    id: str | None = None
    at: str | None = None
    takes: str | None = None
    also: tuple[tuple[str, str], ...] = ()


_NOUNS = {
    "organizations": "organization",
    "teams": "team",
    "projects": "project",
    "api-keys": "key",
    "members": "member",
    "groups": "group",
    "roles": "role",
    "quota-requests": "request",
    "prices": "price",
    "alert-channels": "channel",
}
_LIST = Example(at=ANYWHERE)
_SHAPE = "cost/month"
_KEY = (("chat:create", "key"),)
"""The key of the house may make calls, and so must whoever makes it otherwise."""
_ABOVE = {"organizations": "organization", "teams": "organization", "projects": "team", "api-keys": "project"}
"""From where a node is given what it has: a wider limit than before is not its own to take."""
_LESS = {"organizations": 900, "teams": 150, "projects": 40, "api-keys": 8}
_CALL = {"model": "gpt-4.1", "input": 10, "max_output": 10}
_OWN = "analytics:own"
_RAISED = {"limit": "cost/month", "amount_usd": 60}


_FILE = {"organization": {"name": OWN}}
_NARROWER = {"organization": {"name": OWN, "allowed_models": ["gpt-*"]}}


def _shares(node: str, target: str) -> dict[str, Any]:
    """Ten dollars a month of a node for one below it."""
    share = {"target": target, "type": "monthly_budget", "amount_usd": 10}
    return {"team_id": node, "allocations": [share]}


EXAMPLES: dict[str, tuple[Example, ...]] = {
    "GET /me": (_LIST,),
    # organizations
    "GET /organizations": (_LIST,),
    "GET /organizations/{id}": (Example(),),
    "PATCH /organizations/{id}": (
        Example({"name": "renamed"}),
        Example({"monthly_budget_usd": 2000}, takes="quota:manage"),
        Example({}, takes="quota:manage"),
    ),
    "POST /organizations/{id}/enable": (Example(),),
    "POST /organizations/{id}/disable": (Example(),),
    "POST /organizations/{id}/plan": (
        Example({"file": _FILE}),
        Example({"file": {**_FILE, "prices": []}}, takes="org:manage"),
    ),
    "POST /organizations/{id}/apply": (
        Example({"file": _FILE}),
        Example({"file": _NARROWER}, also=(("quota:manage", "organization"),)),
        Example({"file": {**_FILE, "prices": []}}, takes="org:manage"),
    ),
    "GET /organizations/{id}/export": (Example(),),
    # teams
    "GET /teams": (_LIST,),
    "POST /organizations/{organization_id}/teams": (Example({"name": "fresh"}, at="organization"),),
    "GET /teams/{id}": (Example(),),
    "PATCH /teams/{id}": (
        Example({"name": "renamed"}),
        Example({}),
    ),
    "DELETE /teams/{id}": (Example(id="other_team", at="organization"),),
    "POST /teams/{id}/enable": (Example(),),
    "POST /teams/{id}/disable": (Example(),),
    # projects
    "GET /projects": (_LIST, Example(query="team_id={team}", at=ANYWHERE)),
    "POST /teams/{team_id}/projects": (Example({"name": "fresh", "monthly_budget_usd": 1}, at="team"),),
    "POST /organizations/{organization_id}/projects": (Example({"name": "fresh"}, at="organization"),),
    "GET /projects/{id}": (Example(),),
    "PATCH /projects/{id}": (
        Example({"name": "renamed"}),
        Example({}),
    ),
    "DELETE /projects/{id}": (Example(id="bare", at="team"),),
    "POST /projects/{id}/enable": (Example(),),
    "POST /projects/{id}/disable": (Example(),),
    "POST /projects/{id}/move": (
        Example(
            {"team_id": "{other_team}"}, at="other_team", takes="quota:manage", also=(("org:manage", "team"),)
        ),
    ),
    # keys
    "GET /api-keys": (_LIST, Example(query="project_id={project}", at=ANYWHERE)),
    "POST /api-keys/service": (
        Example(
            {"name": "fresh", "project_id": "{project}", "permissions": ["chat:create"]},
            at="project",
            also=(("chat:create", "project"),),
        ),
        Example(  # the limited right is one in projects
            {"name": "fresh", "team_id": "{team}", "permissions": ["chat:create"]},
            at="team",
            takes="api_key:create",
            also=(("chat:create", "team"),),
        ),
    ),
    "GET /api-keys/{id}": (Example(),),
    "PUT /api-keys/{id}": (
        Example({"name": "renamed"}, also=_KEY),
        Example({}, also=_KEY),
    ),
    "PATCH /api-keys/{id}": (
        Example({"name": "renamed"}, also=_KEY),
        Example({}, also=_KEY),
    ),
    "DELETE /api-keys/{id}": (Example(),),
    "POST /api-keys/{id}/enable": (Example(also=_KEY),),
    "POST /api-keys/{id}/disable": (Example(also=_KEY),),
    "POST /api-keys/{id}/rotate": (Example({"grace_seconds": 60}, also=_KEY),),
    "GET /api-keys/{id}/usage": (Example(takes="analytics:full"),),  # somebody else's key
    # limits, overrides, analytics, shares of nodes
    **{
        f"{method} /{noun}/{{id}}/limits{one}": (Example(body, at=at, also=also),)
        for noun, hands_on in {"organizations": (), "teams": (), "projects": (), "api-keys": _KEY}.items()
        for method, one, body, at, also in (
            ("GET", "", None, None, ()),
            ("POST", "", {"limit": "9 requests/day"}, None, hands_on),
            ("PATCH", "/{shape}", {"amount_usd": _LESS[noun]}, None, hands_on),
            ("DELETE", "/{shape}", None, _ABOVE[noun], hands_on),
        )
    },
    **{
        f"{method} /{noun}/{{id}}/overrides": (Example(body, query, at=at),)
        for noun, above in _ABOVE.items()
        for method, body, query, at in (
            ("GET", None, "", None),
            ("POST", {"limit": "cost/month", "amount_usd": 9}, "", above),
            ("DELETE", None, "limit=cost/month", above),
        )
    },
    **{f"GET /{noun}/{{id}}/analytics": (Example(),) for noun in ("organizations", "teams", "projects")},
    **{
        f"GET /{noun}/{{id}}/usage{what}": examples
        for noun in ("organizations", "teams", "projects")
        for what, examples in {
            "": (Example(), Example(query="by=model&bucket=day&end_user=ann", takes=_OWN)),
            "/denied": (Example(),),
            "/records": (Example(),),
            "/export": (Example(takes=_OWN), Example(query="format=jsonl&of=totals&by=project")),
            "/forecast": (Example(query="by=model"),),
        }.items()
    },
    **{
        f"POST /{noun}/{{id}}/simulate": (Example({"plan": {"{" + node + "}": {"limits": ["$1/day"]}}}),)
        for noun, node in (("organizations", "organization"), ("teams", "team"), ("projects", "project"))
    },
    **{f"GET /{noun}/{{id}}/allocations": (Example(),) for noun in ("organizations", "teams")},
    "POST /organizations/quota/allocate": (
        Example(_shares("{team}", "{bare}"), at="team"),
        Example(  # a target that is made
            _shares("{organization}", "fresh"), at="organization", also=(("team:create", "organization"),)
        ),
    ),
    # alerts
    **{
        f"{method} /{noun}/{{id}}/{what}": (Example(body, takes=takes),)
        for noun in ("organizations", "teams", "projects")
        for method, what, body, takes in (
            ("GET", "alert-channels", None, None),
            ("POST", "alert-channels", {"type": "email", "email": "ops@example.com"}, None),
            ("POST", "alerts/test", None, None),
            ("GET", "alerts/deliveries", None, "quota:read"),
        )
    },
    "GET /alert-channels/{id}": (Example(),),
    "PATCH /alert-channels/{id}": (Example({"email": "more@example.com"}),),
    "DELETE /alert-channels/{id}": (Example(),),
    # requests for more
    "GET /quota-requests": (_LIST,),
    "POST /quota-requests": (Example({"project_id": "{project}", **_RAISED}, at="project"),),
    "GET /quota-requests/{id}": (Example(),),
    "POST /quota-requests/{id}/approve": (Example({"note": "go on"}, at="team"),),
    "POST /quota-requests/{id}/reject": (Example({"note": "no"}, at="team"),),
    # prices
    "GET /prices": (Example(at="organization"), Example(query="model=gpt-4.1", at="organization")),
    "POST /prices": (Example({"model": "gpt-4.1", "input": 1, "output": 2}, at="organization"),),
    "GET /prices/{id}": (Example(),),
    "DELETE /prices/{id}": (Example(),),
    # what was done, what would be
    "GET /audit-log": (Example(at="organization"),),
    "POST /explain": (
        Example({**_CALL, "project": "{project}"}, at="project", takes="quota:read"),
        Example({**_CALL, "key": "{key}"}, at="key", takes="api_key:read"),
    ),
    "POST /projects/{id}/explain": (Example(_CALL),),
    # people
    "GET /members": (_LIST,),
    "POST /members": (
        Example({"name": "fresh"}, at="organization"),
        Example({"name": "fresh", "roles": [{"role": "viewer", "node": "{project}"}]}, at="project"),
    ),
    "GET /members/{id}": (_LIST,),
    "PATCH /members/{id}": (
        Example({"name": "renamed"}),
        Example({}),
    ),
    "DELETE /members/{id}": (Example(),),
    "POST /members/{id}/enable": (Example(),),
    "POST /members/{id}/disable": (Example(),),
    "POST /members/{id}/roles": (Example({"role": "viewer", "node": "{project}"}, at="project"),),
    "DELETE /members/{id}/roles/{role}": (Example(query="node={project}", at="project"),),
    "GET /groups": (_LIST,),
    "POST /groups": (Example({"name": "fresh", "node": "{team}"}, at="team"),),
    "GET /groups/{id}": (Example(),),
    "PATCH /groups/{id}": (
        Example({"name": "renamed"}),
        Example({}),
    ),
    "DELETE /groups/{id}": (Example(),),
    "GET /roles": (_LIST,),
    "POST /roles": (Example({"name": "fresh", "permissions": ["models:list"]}, at="organization"),),
    "GET /roles/{id}": (_LIST,),
    "PATCH /roles/{id}": (
        Example({"description": "changed"}),
        Example({}),
    ),
    "DELETE /roles/{id}": (Example(),),
}


@dataclass(frozen=True)
class Sent:
    """A request made of an example."""

    method: str
    path: str
    body: Any


def name_of(route: Route) -> str:
    """How the table calls a route."""
    return f"{route.method} {route.path}"


def examples_of(route: Route) -> tuple[Example, ...]:
    """The examples of a route; none is an error that says what to do."""
    found = EXAMPLES.get(name_of(route))
    assert found, f"{name_of(route)} has no example: add one to EXAMPLES in tests/management/examples.py"
    return found


def noun_of(route: Route, example: Example) -> str:
    """What the `{id}` of its path names."""
    return example.id or _NOUNS.get(route.path.split("/")[1], "")


def made(route: Route, example: Example, place: Place, body_from: Place | None = None) -> Sent:
    """The request of an example at a place; `body_from`: what the body and the query name is of another."""
    ids = {
        **place.ids,
        "id": place.ids.get(noun_of(route, example), ""),
        "shape": _SHAPE,
        "role": "developer",
    }
    ids |= {f"{noun}_id": id for noun, id in place.ids.items()}
    others = (body_from or place).ids
    query = f"?{example.query.format_map(others)}" if example.query else ""
    return Sent(route.method, route.path.format_map(ids) + query, _filled(example.body, others))


def _filled(value: Any, ids: Any) -> Any:
    if isinstance(value, str):
        return value.format_map(ids)
    if isinstance(value, dict):
        return {name.format_map(ids): _filled(each, ids) for name, each in value.items()}
    return [_filled(each, ids) for each in value] if isinstance(value, list) else value


CASES = [(route, example) for route in ROUTES for example in EXAMPLES.get(name_of(route), ())]
CASE_IDS = [
    f"{name_of(route)}{'' if example is EXAMPLES[name_of(route)][0] else ' (another)'}"
    for route, example in CASES
]
