"""Litestar: who calls, handed to a handler; permissions that a route takes; the management API at a path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from litestar import Controller, Litestar, Request, Response, get, post, websocket_listener
from litestar.exceptions import NotAuthorizedException
from litestar.middleware.authentication import AbstractAuthenticationMiddleware, AuthenticationResult

from quotaware import ApiError, ConfigurationError, Identity, NotFound, QuotawareError
from quotaware.integrations.litestar import Caller, QuotaPlugin, require
from tests.apps.asgi import Answer, bearer, request, websocket
from tests.inbound.house import House

pytestmark = pytest.mark.anyio


@get("/who")
async def who(quota_caller: Caller) -> dict[str, Any]:
    return {"key": quota_caller.key, "project": quota_caller.project, "end_user": quota_caller.end_user}


@get("/who-sync", sync_to_thread=True)
def who_sync(quota_caller: Caller) -> dict[str, Any]:
    return {"key": quota_caller.key, "project": quota_caller.project, "end_user": quota_caller.end_user}


@get("/manage", guards=[require("quota:manage")])
async def manage() -> str:
    return "managed"


class Both(Controller):
    path = "/both"
    guards = (require("quota:manage", "analytics:read"),)

    @post("/")
    async def both(self, quota_caller: Caller) -> str:
        return str(quota_caller.key)


@get("/open")
async def open_(caller: str = "of the host") -> str:
    return caller


@websocket_listener("/ws", guards=[require("quota:manage")])
async def socket(data: str) -> str:
    return data


def build(house: House, *more: Any, **options: Any) -> Any:
    options.setdefault("plugins", [QuotaPlugin(house.quota)])
    handlers = [who, who_sync, manage, Both, open_, socket, *more]
    return Litestar(handlers, openapi_config=None, logging_config=None, **options)


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
async def test_the_caller_is_handed_to_who_takes_it(house: House, path: str) -> None:
    key = house.key()
    answer = await request(
        build(house), path, headers=[bearer(key.secret)], identity=Identity(end_user="u42")
    )
    assert answer.json() == {"key": key.node.id, "project": house.project, "end_user": "u42"}
    answer = await request(build(house), path, identity=Identity(house.project, "u1"))
    assert answer.json() == {"key": None, "project": house.project, "end_user": "u1"}


async def test_without_anybody_it_is_401(house: House) -> None:
    error = error_of(await request(build(house), "/who"), 401)
    assert (error["type"], error["code"]) == ("invalid_request", "missing_api_key")


async def test_the_hosts_own_names_stand(house: House) -> None:
    """A parameter `caller` of a handler, and a dependency that the host calls as ours."""
    assert (await request(build(house), "/open", query="caller=me")).body == b"me"

    async def mine() -> Caller:
        return Caller("org_of_the_host", end_user="mine")

    app = build(house, dependencies={"quota_caller": mine})
    assert (await request(app, "/who")).json()["end_user"] == "mine"


# What a route takes


async def test_a_permission_lets_in_and_its_lack_is_named(house: House) -> None:
    app = build(house)
    may, may_not = house.key(permissions=["quota:manage"]).secret, house.key().secret
    assert (await request(app, "/manage", headers=[bearer(may)])).body == b"managed"
    error = error_of(await request(app, "/manage", headers=[bearer(may_not)]), 403)
    assert (error["type"], error["code"]) == ("permission_denied", "missing_permission")
    assert error["message"] == "API key does not have 'quota:manage' permission"
    assert error_of(await request(app, "/manage"), 401)["code"] == "missing_api_key"


async def test_a_controllers_guard_wants_all_that_are_named(house: House) -> None:
    app = build(house)
    half, whole = house.key(permissions=["quota:manage"]), house.key(permissions=["org:manage"])
    error = error_of(await request(app, "/both", method="POST", headers=[bearer(half.secret)]), 403)
    assert error["permission"] == "analytics:read"
    answer = await request(app, "/both", method="POST", headers=[bearer(whole.secret)])
    assert answer.body == whole.node.id.encode()


def own(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    return Response({"own": type(error).__name__}, status_code=418)


@pytest.mark.parametrize("kind", [Exception, 500, QuotawareError])
async def test_a_handler_for_more_does_not_make_it_another_error(house: House, kind: Any) -> None:
    app = build(house, exception_handlers={kind: own})
    assert error_of(await request(app, "/manage"), 401)["code"] == "missing_api_key"


async def test_a_handler_for_our_errors_stands(house: House) -> None:
    answer = await request(build(house, exception_handlers={ApiError: own}), "/manage")
    assert (answer.status, answer.json()) == (418, {"own": "InvalidKeyFormat"})


@pytest.mark.parametrize("kind", [Exception, 500, QuotawareError, None])
async def test_what_the_host_raises_of_ours_goes_to_its_handlers(house: House, kind: Any) -> None:
    @get("/raises")
    async def raises() -> None:
        raise NotFound("of a call of the host's")

    app = build(house, raises, exception_handlers={kind: own} if kind else {})
    answer = await request(app, "/raises")
    assert answer.status == (418 if kind else 404)


async def test_a_websockets_guard_closes_it(house: House) -> None:
    app = build(house)
    sent = await websocket(app, "/ws", "hello", headers=[bearer(house.key().secret)])
    assert [message["type"] for message in sent] == ["websocket.close"]
    sent = await websocket(app, "/ws", "hello", headers=[bearer(house.key(permissions=["*"]).secret)])
    assert [message["type"] for message in sent][:2] == ["websocket.accept", "websocket.send"]


def test_what_is_no_permission_is_named_where_the_route_is_made() -> None:
    with pytest.raises(ConfigurationError, match="permission"):
        require("Quota Manage")


# The management API


@get("/v1/of-the-host")
async def plain() -> str:
    return "the host's"


@get("/v10/{number:int}")
async def alike(number: int) -> str:
    return f"the host's {number}"


@pytest.mark.parametrize("at", ["/v1", "/v1/", "/deep/er/v1"])
@pytest.mark.parametrize("root", ["", "/proxied"])
async def test_it_is_mounted_where_the_plugin_says(house: House, at: str, root: str) -> None:
    admin = house.tenancy.create_key(house.org, permissions=["org:manage"])
    app = build(house, plain, alike, plugins=[QuotaPlugin(house.quota, management=at)])
    base = root + at.rstrip("/")
    headers = [bearer(admin.secret), (b"content-type", b"application/json")]
    me = await request(app, f"{base}/me", headers=headers, root_path=root)
    assert me.status == 200, me.body
    assert me.json()["key"]["id"] == admin.node.id
    nowhere = await request(app, f"{base}/nowhere/at/all", headers=headers, root_path=root)
    assert error_of(nowhere, 404)["type"] == "not_found"
    top = await request(app, base, headers=headers, root_path=root)
    assert top.header("x-request-id") is not None
    nobody = await request(app, f"{base}/me", root_path=root)
    assert error_of(nobody, 401)["message"] == "Invalid API key format"
    host = await request(app, f"{root}/v1/of-the-host", root_path=root)
    assert host.body == b"the host's"
    assert (await request(app, f"{root}/v10/7", root_path=root)).body == b"the host's 7"


async def test_every_method_and_body_reaches_it(house: House) -> None:
    admin = house.tenancy.create_key(house.org, permissions=["org:manage"])
    app = build(house, plugins=[QuotaPlugin(house.quota, management="/v1")])
    headers = [bearer(admin.secret), (b"content-type", b"application/json")]
    refused = await request(app, "/v1/me", method="POST", body=b"{}", headers=headers)
    assert error_of(refused, 405)["code"] == "method_not_allowed"
    schema = await request(app, "/v1/openapi.json")
    assert schema.status == 200
    assert schema.json()["servers"][0]["url"] == "/v1"


async def test_what_the_host_does_around_its_requests_is_for_its_own(house: House) -> None:
    """Hooks, and a login of the host's that keeps away who has no session."""
    heard: list[str] = []

    async def before(request: Any) -> None:
        heard.append("before")

    async def after(response: Response[Any]) -> Response[Any]:
        heard.append("after")
        return response

    @get("/own")
    async def one_of_its_own() -> str:
        return "own"

    admin = house.tenancy.create_key(house.org, permissions=["org:manage"])
    app = build(
        house,
        one_of_its_own,
        plugins=[QuotaPlugin(house.quota, management="/v1")],
        before_request=before,
        after_request=after,
        middleware=[Login],
    )
    assert (await request(app, "/v1/me", headers=[bearer(admin.secret)])).status == 200
    assert heard == []
    assert (await request(app, "/own")).status == 401
    assert (await request(app, "/own", headers=[(b"x-session", b"ann")])).status == 200
    assert heard == ["before", "after"]


class Login(AbstractAuthenticationMiddleware):
    """A host's own: a session in a header."""

    async def authenticate_request(self, connection: Any) -> AuthenticationResult:
        if "x-session" not in connection.headers:
            raise NotAuthorizedException
        return AuthenticationResult(connection.headers["x-session"], None)


async def test_without_it_nothing_is_mounted(house: House) -> None:
    assert (await request(build(house), "/v1/me")).status == 404


@pytest.mark.parametrize("wrong", ["v1", "", 5, ["/v1"]])
def test_what_is_no_path_is_named(house: House, wrong: Any) -> None:
    with pytest.raises(ConfigurationError, match="management"):
        QuotaPlugin(house.quota, management=wrong)
