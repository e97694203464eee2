"""What a request may be refused with, as the OpenAPI document tells it: the one shape of every error, and an example of
each.
"""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from ..errors import (
    AlreadyExists,
    AmbiguousCredentials,
    ApiError,
    AuthenticationError,
    BodyTooLarge,
    InternalError,
    InvalidKeyFormat,
    InvalidRequest,
    MalformedRequest,
    MethodNotAllowed,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    QuotaExceeded,
    RateLimitExceeded,
    StoreUnavailable,
)
from ..words.wire import Answer
from .routes import Route

EXAMPLES: tuple[ApiError, ...] = (
    MalformedRequest("The body is no JSON: Expecting value: line 1 column 1 (char 0)", code="not_json"),
    AmbiguousCredentials(),
    InvalidKeyFormat(),
    AuthenticationError(),
    PermissionDenied(
        "API key does not have 'quota:manage' permission", fields={"permission": "quota:manage"}
    ),
    NotFound("There is no project 'proj_production' in this organization"),
    MethodNotAllowed("This path takes GET, HEAD", fields={"allowed": ["GET", "HEAD"]}),
    AlreadyExists("There is a team 'engineering' already", fields={"field": "name"}),
    PreconditionFailed("It was changed meanwhile; read it again", fields={"revision": 12}),
    BodyTooLarge("The body is over 1048576 bytes", fields={"limit_bytes": 1048576}),
    InvalidRequest(
        "monthly_budget_usd: is a number of US dollars",
        fields={"errors": [{"field": "monthly_budget_usd", "message": "is a number of US dollars"}]},
    ),
    QuotaExceeded(
        "Monthly budget of $500 exceeded for project 'ml-pipeline'",
        fields={"current_usage_usd": 499.98, "limit_usd": 500.0, "reset_date": "2026-12-01T00:00:00Z"},
        retry_after=3600,
    ),
    RateLimitExceeded(
        "Rate limit of 60 req/min exceeded", fields={"retry_after_seconds": 12}, retry_after=12
    ),
    InternalError("Something went wrong here; the log has it under this request id"),
    StoreUnavailable("The quota store did not answer; try again", retry_after=1),
)
"""One of each class."""

_EVERY: tuple[type[ApiError], ...] = (
    MalformedRequest,
    AmbiguousCredentials,
    InvalidKeyFormat,
    AuthenticationError,
    PermissionDenied,
    NotFound,
    BodyTooLarge,
    InvalidRequest,
    InternalError,
    StoreUnavailable,
)


class BadField(Answer):
    """A field of a body or query that cannot be as it is."""

    field: str
    message: str


class Refusal(Answer):
    """Why a request was refused. More fields stand beside these where they help."""

    model_config = ConfigDict(frozen=True, extra="allow")

    type: str = Field(json_schema_extra={"enum": [*dict.fromkeys(error.type for error in EXAMPLES)]})
    code: str = Field(description="the exact reason, from a closed list")
    message: str = Field(description="for a person")
    request_id: str = Field(description="the same as in the header x-request-id")
    errors: list[BadField] = Field([], description="each bad field, with 422")
    permission: str = Field("", description="the one that is missing, with 403")
    current_usage_usd: float = Field(0.0, description="with quota_exceeded")
    limit_usd: float = Field(0.0, description="with quota_exceeded")
    reset_date: str | None = Field(
        None,
        description="with quota_exceeded: when calls go again",
        json_schema_extra={"format": "date-time"},
    )
    retry_after_seconds: int | None = Field(None, description="with rate_limit_exceeded")
    limits: list[dict[str, Any]] = Field([], description="every limit in the way, with its figures")


class Error(Answer):
    """Every error, with whatever status."""

    error: Refusal


def refusals(route: Route) -> set[type[ApiError]]:
    """All that a route may be refused with."""
    found = {*_EVERY, *route.errors}
    if route.method == "POST":
        found.add(AlreadyExists)
    if route.guarded:
        found.add(PreconditionFailed)
    return found
