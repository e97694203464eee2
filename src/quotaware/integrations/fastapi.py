"""FastAPI: who calls as a dependency, and permissions that a route takes.

`QuotaMiddleware` finds out who calls; these hand it on. What they raise is answered in the shape of every other error,
and the key's header shows in the app's OpenAPI.
"""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Security
from fastapi.openapi.models import APIKey, APIKeyIn, HTTPBearer
from fastapi.openapi.models import SecurityBase as Model
from fastapi.security.base import SecurityBase

from ..core.permissions import parse
from ..inbound import callers
from ..inbound.callers import Caller

__all__ = ["Caller", "CurrentCaller", "current_caller", "require"]


class _Scheme(SecurityBase):
    """Only tells of a header; it is the middleware that reads it."""

    def __init__(self, name: str, model: Model) -> None:
        self.scheme_name = name
        self.model = model

    async def __call__(self) -> None:
        return None


_SAID = "A quotaware key, such as qw_live_…"
_BEARER = _Scheme("QuotawareBearer", HTTPBearer(description=_SAID))
_HEADER = _Scheme(
    "QuotawareHeader",
    APIKey.model_validate({"in": APIKeyIn.header, "name": "X-API-Key", "description": _SAID}),
)


async def current_caller(
    bearer: Annotated[None, Security(_BEARER)], header: Annotated[None, Security(_HEADER)]
) -> Caller:
    """Who makes this request. Raises `ApiError` where nobody does: the answer is 401 then."""
    return await callers.current_caller()


CurrentCaller = Annotated[Caller, Depends(current_caller)]
"""`async def ask(caller: CurrentCaller)`: who makes this request; without anybody the answer is 401."""


def require(*permissions: str) -> Any:
    """Lets only those pass who have all these permissions where they stand; the rest are answered 403.

    `@app.post("/…", dependencies=[require("quota:manage")])`, or
    `caller: Annotated[Caller, require("quota:manage")]`. Raises `ConfigurationError` for what is no permission.
    """
    wanted = tuple(map(parse, permissions))

    async def permitted(
        bearer: Annotated[None, Security(_BEARER)], header: Annotated[None, Security(_HEADER)]
    ) -> Caller:
        return await callers.permitted(*wanted)

    return Depends(permitted)
