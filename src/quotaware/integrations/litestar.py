"""Litestar: the middleware and an exception handler in one plugin.

Litestar answers an exception before any middleware sees it, so the answer to a denial that the host lets escape is
made by an exception handler. Who calls, and what a call costs, is the middleware's as everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote

from litestar import MediaType, Request, Response
from litestar.config.app import AppConfig
from litestar.exceptions import HTTPException
from litestar.exceptions.responses import create_debug_response, create_exception_response
from litestar.middleware import DefineMiddleware
from litestar.plugins import InitPlugin
from litestar.types import ExceptionHandlersMap
from litestar.utils import normalize_path

from ..errors import ApiError
from ..inbound.denials import body_of, denial_of
from ..inbound.edge import HasEdge
from ..inbound.identify import Identify
from ..inbound.middleware import QuotaMiddleware, Scope, prefixes


class QuotaPlugin(InitPlugin):
    """`Litestar(plugins=[QuotaPlugin(quota)])`; arguments as for `QuotaMiddleware`.

    A denial that escapes is answered with its own status, body and headers, unless the app, router, controller or
    route has a handler for the exception, for Exception or for 500. Any other exception is answered as without it.
    """

    def __init__(
        self,
        quota: HasEdge,
        *,
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

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Adds both: the middleware outermost, the handler below all of the host's."""
        app_config.middleware = [self._middleware, *app_config.middleware]
        app_config.exception_handlers = {Exception: _answer, **app_config.exception_handlers}
        return app_config


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


def _denied(denial: ApiError) -> Response[Any]:
    return Response(
        body_of(denial), status_code=denial.status, headers=denial.headers(), media_type=MediaType.JSON
    )


def _handlers(request: Request[Any, Any, Any]) -> ExceptionHandlersMap:
    route = request.scope.get("route_handler")
    return request.app.exception_handlers if route is None else route.resolve_exception_handlers()
