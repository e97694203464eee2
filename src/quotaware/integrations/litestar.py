"""Litestar: the middleware and an exception handler in one plugin.

Litestar answers an exception before any middleware sees it, so the answer to a denial that the host lets escape is
made by an exception handler. Who calls, and what a call costs, is the middleware's as everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Protocol
from urllib.parse import unquote

from litestar import MediaType, Request, Response, route
from litestar.config.app import AppConfig
from litestar.connection import ASGIConnection
from litestar.di import Provide
from litestar.enums import HttpMethod
from litestar.exceptions import HTTPException
from litestar.exceptions.responses import create_debug_response, create_exception_response
from litestar.handlers import BaseRouteHandler, HTTPRouteHandler
from litestar.middleware import DefineMiddleware
from litestar.plugins import InitPlugin
from litestar.types import ASGIApp, ExceptionHandlersMap, Guard, Receive, Send
from litestar.types import Scope as LitestarScope
from litestar.utils import normalize_path

from ..core.permissions import parse
from ..errors import ApiError
from ..inbound.callers import Caller, current_caller, permitted
from ..inbound.denials import body_of, denial_of, is_final
from ..inbound.edge import HasEdge
from ..inbound.identify import Identify
from ..inbound.middleware import App, QuotaMiddleware, Scope, prefixes

__all__ = ["Caller", "QuotaPlugin", "require"]


class HasManagement(HasEdge, Protocol):
    """What the plugin needs of a Quota."""

    def management(self) -> App: ...


class QuotaPlugin(InitPlugin):
    """`Litestar(plugins=[QuotaPlugin(quota, management="/v1")])`; other arguments as for `QuotaMiddleware`.

    management  path at which the management API is mounted; without it, it is not

    A denial that escapes is answered with its own status, body and headers, unless the app, router, controller or
    route has a handler for the exception, for Exception or for 500. Any other exception is answered as without it.
    A handler that takes `quota_caller: Caller` is given who makes the request.
    """

    def __init__(
        self,
        quota: HasManagement,
        *,
        management: str | None = None,
        identify: Identify | None = None,
        instrument: bool = True,
        only: Iterable[str] = (),
        skip: Iterable[str] = (),
    ) -> None:
        self._middleware = DefineMiddleware(
            _Middleware,
            quota=quota,
            identify=identify,
            instrument=instrument,
            only=prefixes("only", only),
            skip=prefixes("skip", skip),
        )
        self._mount = None if management is None else _mount(quota, *prefixes("management", [management]))

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Adds all: the middleware outermost, handlers and the caller below all of the host's."""
        app_config.middleware = [self._middleware, *app_config.middleware]
        app_config.exception_handlers = {
            Exception: _answer,
            ApiError: _refusal,
            **app_config.exception_handlers,
        }
        app_config.dependencies = {"quota_caller": Provide(current_caller), **app_config.dependencies}
        if self._mount is not None:
            app_config.route_handlers = [*app_config.route_handlers, self._mount]
        return app_config


def require(*permissions: str) -> Guard:
    """A guard: lets only those pass who have all these permissions where they stand; the rest are answered 403.

    `@post("/…", guards=[require("quota:manage")])`. Raises `ConfigurationError` for what is no permission.
    """
    wanted = tuple(map(parse, permissions))

    async def guard(connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        await permitted(*wanted)

    return guard


def _mount(quota: HasManagement, path: str) -> HTTPRouteHandler:
    """The management API at this path and below: a route that answers with an ASGI app. Litestar's own mounts take in
    every path that begins so, at `/v1` also `/v10/{id}`. What the host does before and after a request is for its own.
    """
    below = path.rstrip("/")
    app = quota.management()

    async def mounted(scope: LitestarScope, receive: Receive, send: Send) -> None:
        root = scope.get("root_path", "").rstrip("/")
        await app({**scope, "path": root + scope["path"], "root_path": root + below}, receive, send)

    @route(
        [path, f"{below}/{{below:path}}"],
        http_method=list(HttpMethod),
        include_in_schema=False,
        before_request=_nothing,
        after_request=_as_it_is,
        opt={"exclude_from_auth": True},
    )
    async def management() -> ASGIApp:
        return mounted

    return management


async def _nothing(request: Request[Any, Any, Any]) -> None:
    return None


async def _as_it_is(response: Any) -> Any:
    return response


class _Middleware(QuotaMiddleware):
    """Knows how Litestar rewrites the path, and that its handlers have spoken before an exception comes here."""

    def path(self, scope: Scope) -> str:
        path: str = scope["path"]
        if not getattr(scope.get("route_handler"), "is_mount", False):
            return path  # already below the root path, and normalized
        whole = unquote(scope["raw_path"].decode("latin-1")) if scope.get("raw_path") else path
        return super().path({"path": normalize_path(whole), "root_path": scope.get("root_path", "")})

    def handles(self, app: Any) -> bool:
        return False


def _answer(request: Request[Any, Any, Any], error: Exception) -> Response[Any]:
    """Stands in for having no handler for Exception at all, save for denials."""
    if not isinstance(error, HTTPException):
        if (handler := _handlers(request).get(500)) is not None:
            return handler(request, error)
        if (denial := denial_of(error)) is not None:
            return _denied(denial)
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 500 and request.app.debug:
        return create_debug_response(request, error)
    return create_exception_response(request, error)


def _refusal(request: Request[Any, Any, Any], error: ApiError) -> Response[Any]:
    """What a guard of ours raises is the answer; for what came of a call, the host's handlers go before."""
    if is_final(error):
        return _denied(error)
    handlers = _handlers(request)
    handler = next(handlers[kind] for kind in ApiError.__mro__[1:] if kind in handlers)
    return handler(request, error)


def _denied(denial: ApiError) -> Response[Any]:
    body = json.dumps(body_of(denial)).encode()  # also with half a surrogate in it, which is no UTF-8
    return Response(body, status_code=denial.status, headers=denial.headers(), media_type=MediaType.JSON)


def _handlers(request: Request[Any, Any, Any]) -> ExceptionHandlersMap:
    route = request.scope.get("route_handler")
    return request.app.exception_handlers if route is None else route.resolve_exception_handlers()
