"""FastAPI's dependencies: who calls, what a route takes, and what the docs of the host show of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Annotated, Any

import pytest
from fastapi import APIRouter, FastAPI, Request, WebSocket
from fastapi.responses import JSONResponse
from starlette.applications import Starlette
from starlette.routing import Mount

from quotaware import ApiError, ConfigurationError, Identity, NotFound, Quota, QuotaMiddleware
from quotaware.integrations.fastapi import Caller, CurrentCaller, require
from quotaware.tenancy import keys
from tests.apps.asgi import Answer, bearer, request, websocket
from tests.inbound.house import House

pytestmark = pytest.mark.anyio

MANAGER = Annotated[Caller, require("quota:manage")]


def told(caller: Caller) -> dict[str, Any]:
    names = ("organization", "team", "project", "key", "member", "end_user")
    return {name: getattr(caller, name) for name in names} | {
        "permissions": list(caller.permissions),
        "tags": dict(caller.tags),
    }


def routes() -> APIRouter:
    router = APIRouter()

    @router.get("/who")
    async def who(caller: CurrentCaller) -> Any:
        return told(caller)

    @router.get("/who-sync")
    def who_sync(caller: CurrentCaller) -> Any:
        return told(caller)

    @router.get("/manage")
    async def manage(caller: MANAGER) -> Any:
        return told(caller)

    @router.post("/manage", dependencies=[require("quota:manage", "analytics:read")])
    async def manage_more() -> str:
        return "done"

    @router.get("/open")
    async def open_() -> str:
        return "open"

    @router.websocket("/ws")
    async def socket(ws: WebSocket, caller: MANAGER) -> None:
        await ws.accept()
        await ws.send_text(str(caller.key))
        await ws.close()

    return router


def build(quota: Quota, **options: Any) -> FastAPI:
    app = FastAPI(**options)
    app.add_middleware(QuotaMiddleware, quota=quota)
    app.include_router(routes())
    return app


@pytest.fixture
def house() -> Iterator[House]:
    house = House(identify=lambda scope: scope.get("identity"))
    yield house
    house.quota.close()


def error_of(answer: Answer, status: int) -> dict[str, Any]:
    assert answer.error is None
    assert answer.status == status
    assert answer.header("content-type") == "application/json"
    error: dict[str, Any] = answer.json()["error"]
    assert error.pop("request_id").startswith("req_")
    return error


# Who calls


@pytest.mark.parametrize("path", ["/who", "/who-sync"])
async def test_a_key_says_where_it_stands(house: House, path: str) -> None:
    team = house.tenancy.create_team(house.org, "t").id
    project = house.tenancy.create_project(team, "of the team").id
    key = house.tenancy.create_key(project, permissions=["chat:create"])
    on_team = house.tenancy.create_key(team, permissions=["quota:manage"])
    app = build(house.quota)
    expected = {
        "organization": house.org,
        "team": team,
        "project": project,
        "key": key.node.id,
        "member": None,
        "end_user": None,
        "permissions": ["chat:create"],
        "tags": {},
    }
    assert (await request(app, path, headers=[bearer(key.secret)])).json() == expected
    identity = Identity("proj_other", "u42", {"plan": "pro"})
    answer = await request(app, path, headers=[bearer(key.secret)], identity=identity)
    assert answer.json() == {**expected, "end_user": "u42", "tags": {"plan": "pro"}}
    answer = await request(app, path, headers=[bearer(on_team.secret)])
    assert (answer.json()["team"], answer.json()["project"]) == (team, None)


async def test_the_hosts_word_says_it_too(house: House) -> None:
    app = build(house.quota)
    house.tenancy.create_member(house.org, "ann", roles=[("viewer", house.org)])
    by_project = (await request(app, "/who", identity=Identity(house.project, "u42"))).json()
    assert (by_project["project"], by_project["end_user"], by_project["permissions"]) == (
        house.project,
        "u42",
        [],
    )
    for identity in ({"member": "ann"}, Identity(house.project, member="ann")):
        by_member = (await request(app, "/who", identity=identity)).json()
        assert (by_member["member"], by_member["organization"], by_member["key"]) == ("ann", house.org, None)
        assert "quota:read:summary" in by_member["permissions"]


async def test_a_thousand_at_once_are_each_their_own(house: House) -> None:
    """Of a hundred tenants, in async handlers and in threads, as dependencies and as what a guard hands on (S19)."""
    tenants = []
    for number in range(100):
        project = house.tenancy.create_project(house.org, f"p{number}").id
        tenants.append((project, house.tenancy.create_key(project, permissions=["quota:manage"])))
    app = build(house.quota)
    paths = ("/who", "/who-sync", "/manage")

    async def one(number: int) -> bool:
        project, key = tenants[number % 100]
        answer = await request(
            app, paths[number % 3], headers=[bearer(key.secret)], identity=Identity(end_user=f"u{number}")
        )
        told = answer.json()
        return (told["project"], told["key"], told["end_user"]) == (project, key.node.id, f"u{number}")

    assert all(await asyncio.gather(*map(one, range(1000))))


async def test_with_limits_only_all_are_the_one_projects() -> None:
    quota = Quota("memory://", limits=["$1/day"], identify=lambda scope: "u42")
    answer = (await request(build(quota), "/who")).json()
    assert (answer["organization"], answer["project"], answer["end_user"]) == ("org_app", "proj_app", "u42")
    quota.close()


async def test_without_anybody_it_is_401(house: House) -> None:
    """Nobody, a token of the host that nobody knows, and whom `unattributed` lets through."""
    app = build(house.quota)
    jwt = (b"authorization", b"Bearer eyJ.x.y")
    for headers, identity in (([], None), ([jwt], None), ([], "u42")):
        answer = await request(app, "/who", headers=headers, identity=identity)
        error = error_of(answer, 401)
        assert (error["type"], error["message"]) == ("invalid_request", "Invalid API key format")
        assert answer.header("www-authenticate") == "Bearer"
        assert (await request(app, "/open", headers=headers, identity=identity)).status == 200
    allowing = Quota("memory://", unattributed="allow")
    assert error_of(await request(build(allowing), "/who"), 401)["code"] == "missing_api_key"
    allowing.close()


async def test_who_is_not_there_is_named(house: House) -> None:
    app = build(house.quota)
    for identity in (Identity("proj_nowhere"), {"member": "bob"}, Identity(house.project, member="bob")):
        error = error_of(await request(app, "/who", identity=identity), 403)
        assert error["code"] == "unattributed"
        assert "proj_nowhere" in error["message"] or "bob" in error["message"]
    house.tenancy.create_organization("Other")
    assert (
        "Which organization"
        in error_of(await request(app, "/who", identity={"member": "bob"}), 403)["message"]
    )


async def test_a_store_that_is_away_is_503(house: House) -> None:
    app = build(house.quota)
    house.store.away = True
    answer = await request(app, "/who", identity=Identity(house.project))
    assert error_of(answer, 503)["code"] == "store_unavailable"
    assert answer.header("retry-after") == "1"


async def test_a_known_key_costs_no_trip(house: House) -> None:
    key = house.key(permissions=["quota:manage"])
    app = build(house.quota)
    await request(app, "/manage", headers=[bearer(key.secret)])
    trips = house.store.trips
    assert (await request(app, "/manage", headers=[bearer(key.secret)])).status == 200
    assert house.store.trips == trips


async def test_without_the_middleware_it_says_so(house: House) -> None:
    app = FastAPI()
    app.include_router(routes())
    answer = await request(app, "/who")
    assert isinstance(answer.error, RuntimeError)
    assert "QuotaMiddleware is missing" in str(answer.error)


async def test_in_another_callers_block_it_is_that_one(house: House) -> None:
    app = build(house.quota)
    key = house.key()

    @app.get("/as")
    async def as_another() -> Any:
        from quotaware.inbound.callers import current_caller

        with house.quota.acting_as(key=key.secret, end_user="u1"):
            return told(await current_caller())

    answer = (await request(app, "/as")).json()
    assert (answer["key"], answer["end_user"]) == (key.node.id, "u1")


# What a route takes


async def test_a_permission_lets_in_and_its_lack_is_named(house: House) -> None:
    app = build(house.quota)
    for permissions, status in (
        (["quota:manage"], 200),
        (["org:manage"], 200),
        (["quota:*"], 200),
        (["quota:read"], 403),
        (["chat:create"], 403),
    ):
        key = house.key(permissions=permissions).secret
        answer = await request(app, "/manage", headers=[bearer(key)])
        assert answer.status == status
        if status == 403:
            error = error_of(answer, 403)
            assert (error["type"], error["code"]) == ("permission_denied", "missing_permission")
            assert error["message"] == "API key does not have 'quota:manage' permission"
            assert error["permission"] == "quota:manage"


async def test_all_that_are_named_are_needed(house: House) -> None:
    app = build(house.quota)
    half, whole = (
        house.key(permissions=["quota:manage"]),
        house.key(permissions=["quota:manage", "analytics:full"]),
    )
    answer = await request(app, "/manage", method="POST", headers=[bearer(half.secret)])
    assert error_of(answer, 403)["message"] == "API key does not have 'analytics:read' permission"
    assert (await request(app, "/manage", method="POST", headers=[bearer(whole.secret)])).json() == "done"


async def test_a_member_has_what_its_roles_give_there(house: House) -> None:
    app = build(house.quota)
    house.tenancy.create_member(house.org, "ann", roles=[("admin", house.project)])
    assert (await request(app, "/manage", identity=Identity(house.project, member="ann"))).status == 200
    error = error_of(await request(app, "/manage", identity={"member": "ann"}), 403)
    assert error["message"] == "Member 'ann' does not have 'quota:manage' permission"
    error = error_of(await request(app, "/manage", identity=Identity(house.project)), 403)
    assert error["message"].startswith(f"Project '{house.project}', without a key or a member,")


async def test_what_is_disabled_may_do_nothing(house: House) -> None:
    app = build(house.quota)
    key = house.key(permissions=["quota:manage"]).secret
    house.tenancy.disable(house.org, house.project)
    assert error_of(await request(app, "/manage", headers=[bearer(key)]), 403)["code"] == "disabled"
    assert (await request(app, "/who", headers=[bearer(key)])).status == 200


async def test_nobody_is_401_here_too_also_in_shadow_mode(house: House) -> None:
    shadow = House(shadow=True)
    for quota in (house.quota, shadow.quota):
        assert error_of(await request(build(quota), "/manage"), 401)["code"] == "missing_api_key"
        answer = await request(build(quota), "/manage", headers=[bearer(keys.make("live"))])
        assert error_of(answer, 401)["type"] == "authentication_error"
    key = shadow.key(permissions=["quota:read"]).secret
    assert (await request(build(shadow.quota), "/manage", headers=[bearer(key)])).status == 403
    shadow.quota.close()


@pytest.mark.parametrize("wrong", ["", "Quota:Manage", "quota manage", "*:x", 5])
def test_what_is_no_permission_is_named_where_the_route_is_made(wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="permission"):
        require(wrong)


# In our shape, whatever the host does with errors


async def own(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"own": type(error).__name__}, 418)


@pytest.mark.parametrize("registered", [Exception, 500])
async def test_a_handler_for_everything_does_not_make_it_another_error(house: House, registered: Any) -> None:
    app = build(house.quota, exception_handlers={registered: own})
    error = error_of(await request(app, "/manage", headers=[bearer(house.key().secret)]), 403)
    assert error["message"] == "API key does not have 'quota:manage' permission"


async def test_a_handler_for_our_errors_stands(house: House) -> None:
    app = build(house.quota, exception_handlers={ApiError: own})
    answer = await request(app, "/manage")
    assert (answer.status, answer.json()) == (418, {"own": "InvalidKeyFormat"})


def mounted(quota: Quota, inner: FastAPI) -> Any:
    outer = Starlette(routes=[Mount("/inner", inner)])
    outer.add_middleware(QuotaMiddleware, quota=quota)
    return outer


def wrapped(quota: Quota, inner: FastAPI) -> Any:
    return QuotaMiddleware(Starlette(routes=[Mount("/inner", inner)]), quota)


@pytest.mark.parametrize("around", [mounted, wrapped])
@pytest.mark.parametrize("debug", [False, True])
async def test_an_app_inside_answers_with_it(around: Callable[..., Any], debug: bool, house: House) -> None:
    """Which has answered 500 before the error goes on."""
    inner = FastAPI(debug=debug)
    inner.include_router(routes())
    app = around(house.quota, inner)
    assert error_of(await request(app, "/inner/manage"), 401)["code"] == "missing_api_key"
    assert (await request(app, "/inner/open")).status == 200


async def test_a_websocket_is_closed_with_the_reason(house: House) -> None:
    app = build(house.quota)
    (closed,) = await websocket(app, "/ws", headers=[bearer(house.key().secret)])
    reason = "API key does not have 'quota:manage' permission"
    assert closed == {"type": "websocket.close", "code": 1008, "reason": reason}
    key = house.key(permissions=["quota:manage"])
    sent = await websocket(app, "/ws", headers=[bearer(key.secret)])
    assert sent[1]["text"] == key.node.id


async def test_what_else_a_websocket_raises_is_the_hosts(house: House) -> None:
    app = build(house.quota)

    @app.websocket("/failing")
    async def failing(ws: WebSocket) -> None:
        raise NotFound("of the host's own call")

    with pytest.raises(NotFound):
        await websocket(app, "/failing")


# The host's docs


async def test_the_key_shows_in_the_hosts_openapi(house: House) -> None:
    schema = build(house.quota).openapi()
    schemes = schema["components"]["securitySchemes"]
    assert schemes["QuotawareBearer"]["type"] == "http"
    assert schemes["QuotawareBearer"]["scheme"] == "bearer"
    assert schemes["QuotawareHeader"]["in"] == "header"
    assert schemes["QuotawareHeader"]["name"] == "X-API-Key"
    for path in ("/who", "/manage"):
        operation = schema["paths"][path]["get"]
        assert operation["security"] == [{"QuotawareBearer": []}, {"QuotawareHeader": []}]
        assert "parameters" not in operation
    assert "security" not in schema["paths"]["/open"]["get"]
