"""Every error of quotaware, once, with its HTTP status and its shape on the wire.

    QuotawareError
    ├── ConfigurationError(ValueError)   wrong at set-up: names the field and the way out
    │   ├── LimitSyntaxError             a limit text that cannot be read
    │   └── FileError                    a file that cannot be used as it is: names all that is wrong
    ├── StoreError                       the store did not answer, or answered nonsense
    │   └── Lost                         it was emptied or put back to an older state
    ├── Conflict                         another writer changed the tree first
    └── ApiError                         what a caller is told; has status, type, code, fields
        ├── InvalidKeyFormat 401 · AmbiguousCredentials 400 · AuthenticationError 401
        ├── PermissionDenied 403
        ├── QuotaExceeded 429 · RateLimitExceeded 429
        ├── MalformedRequest 400 · NotFound 404 · MethodNotAllowed 405 · AlreadyExists 409
        ├── PreconditionFailed 412 · BodyTooLarge 413 · InvalidRequest 422
        └── InternalError 500 · StoreUnavailable 503

An `ApiError` is a value as much as an exception: a denied HTTP call is answered with it and raises
nothing; `quota.call(...)` and the Python face raise it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar, NamedTuple

_SECRET = re.compile(r"(qw_[a-z]+_)[0-9A-Za-z]{20,}")


class QuotawareError(Exception):
    """Base of everything that quotaware raises on purpose."""


class ConfigurationError(QuotawareError, ValueError):
    """Something given at set-up cannot be used.

    `field` names what was wrong (an argument, a part of a limit text, a setting).
    """

    def __init__(self, field: str, message: str) -> None:
        super().__init__(without_keys(f"{field}: {message}"))
        self.field = without_keys(field)


class LimitSyntaxError(ConfigurationError):
    """A limit text that `Limit.parse` cannot read; `text` is the whole of it, `word` the part in question."""

    def __init__(self, text: str, word: str, message: str) -> None:
        super().__init__("limit", f"{message} (in {text!r})")
        self.text = text
        self.word = word


class Problem(NamedTuple):
    """What is wrong with a file: where (`teams.engineering.budget_usd`, "" for the whole), what, and in which line."""

    field: str
    message: str
    line: int | None = None


class FileError(ConfigurationError):
    """A file that cannot be used as it is; `problems`: all that is wrong with it, `name`: of the file."""

    def __init__(self, name: str, problems: Iterable[Problem]) -> None:
        self.name = name
        self.problems = tuple(
            sorted(problems, key=lambda each: (each.line is None, each.line or 0, each.field))
        )
        told = [
            f"{name}{'' if line is None else f':{line}'}: {field + ': ' if field else ''}{message}"
            for field, message, line in self.problems
        ]
        QuotawareError.__init__(self, without_keys("\n".join(told)))
        self.field = self.problems[0].field if self.problems else ""


class StoreError(QuotawareError):
    """The store did not answer within its deadline, or its answer cannot be used."""


class StoreFull(StoreError):
    """The store answers, and has no room for this now; what frees room is still taken."""


class Lost(StoreError):
    """The store lacks what this process has seen in it: it was emptied, or put back to an older state."""


class Conflict(QuotawareError):
    """The tree was changed by another writer since it was read; read it again and repeat."""


class ApiError(QuotawareError):
    """What a caller is told, in the one shape of the management contract.

    status       HTTP status
    type         the class of error, one of the contract's (`quota_exceeded`, `permission_denied`, …)
    code         the exact reason, from a closed list
    message      for a person
    fields       what else stands in the body (`limit_usd`, `reset_date`, `limits`, …), JSON values only
    retry_after  whole seconds until a repeat can succeed, or None where waiting does not help
    until        ms from which on a repeat can succeed, other traffic aside; None where that is not known, or never
    """

    status: ClassVar[int] = 500
    type: ClassVar[str] = "internal_error"
    default_code: ClassVar[str] = "internal_error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        fields: Mapping[str, Any] | None = None,
        retry_after: int | None = None,
        until: int | None = None,
    ) -> None:
        self.message = without_keys(message)
        super().__init__(self.message)
        self.code = code or self.default_code
        self.fields: dict[str, Any] = dict(fields or {})
        self.retry_after = retry_after
        self.until = until

    def body(self, request_id: str | None = None) -> dict[str, Any]:
        """The JSON body: `{"error": {"type", "message", "code", …fields, "request_id"}}`."""
        error: dict[str, Any] = {"type": self.type, "message": self.message, "code": self.code, **self.fields}
        if request_id is not None:
            error["request_id"] = request_id
        return {"error": without_keys(error)}

    def headers(self) -> dict[str, str]:
        """Response headers that belong to the error: `Retry-After` where waiting helps, `WWW-Authenticate` with a 401
        (RFC 9110, 11.6.1).
        """
        found = {} if self.retry_after is None else {"retry-after": str(self.retry_after)}
        return found | {"www-authenticate": "Bearer"} if self.status == 401 else found


class InvalidKeyFormat(ApiError):
    """401: the key is not even well formed, or missing (`missing_api_key`); answered without touching the store."""

    status = 401
    type = "invalid_request"
    default_code = "invalid_key_format"

    def __init__(self, message: str = "Invalid API key format", **more: Any) -> None:
        super().__init__(message, **more)


class AmbiguousCredentials(ApiError):
    """400: two different credentials, or the same header twice."""

    status = 400
    type = "invalid_request"
    default_code = "ambiguous_credentials"

    def __init__(self, message: str = "Ambiguous credentials", **more: Any) -> None:
        super().__init__(message, **more)


class AuthenticationError(ApiError):
    """401: unknown, expired or revoked key; one message for all three."""

    status = 401
    type = "authentication_error"
    default_code = "invalid_api_key"

    def __init__(self, message: str = "Invalid API key", **more: Any) -> None:
        super().__init__(message, **more)


class PermissionDenied(ApiError):
    """403. Codes: `missing_permission`, `model_not_allowed`, `model_ambiguous`, `address_not_allowed`,
    `endpoint_not_allowed`, `disabled`, `unattributed`, `price_unknown`, `input_unbounded`, `project_required`,
    `no_admin_key`, `cross_site`.
    """

    status = 403
    type = "permission_denied"
    default_code = "missing_permission"


class QuotaExceeded(ApiError):
    """429: a cost limit, or a project stopped by a threshold. Fields: `current_usage_usd`, `limit_usd`,
    `reset_date`, `limits`.
    """

    status = 429
    type = "quota_exceeded"
    default_code = "budget_exceeded"


class RateLimitExceeded(ApiError):
    """429: a limit on requests, tokens or concurrency. Fields: `retry_after_seconds`, `limits`."""

    status = 429
    type = "rate_limit_exceeded"
    default_code = "rate_limit_exceeded"


class MalformedRequest(ApiError):
    """400: not even JSON, or a header that cannot be read. Codes: `not_json`, `no_body`, `bad_idempotency_key`."""

    status = 400
    type = "invalid_request"
    default_code = "malformed_request"


class NotFound(ApiError):
    """404: no such thing below the caller's organization."""

    status = 404
    type = "not_found"
    default_code = "not_found"


class MethodNotAllowed(ApiError):
    """405: the path is there, and takes the methods in `fields["allowed"]`."""

    status = 405
    type = "invalid_request"
    default_code = "method_not_allowed"

    def headers(self) -> dict[str, str]:
        """With `Allow` (RFC 9110, 10.2.1)."""
        return super().headers() | {"allow": ", ".join(self.fields["allowed"])}


class AlreadyExists(ApiError):
    """409: the name or id is taken. Codes: `already_exists`, `ambiguous_name`, `has_children`, `in_use`, `last_admin`,
    `decided`, `revoked`, `changed_meanwhile`, `under_way`, `predefined`,
    `too_many_pending`, `would_destroy`, `changed_since`.
    """

    status = 409
    type = "conflict"
    default_code = "already_exists"


class PreconditionFailed(ApiError):
    """412: it was changed since the ETag of `If-Match` was answered; `fields["revision"]` is the one now."""

    status = 412
    type = "conflict"
    default_code = "changed_meanwhile"


class BodyTooLarge(ApiError):
    """413: the body is over the bound."""

    status = 413
    type = "invalid_request"
    default_code = "body_too_large"


class InvalidRequest(ApiError):
    """422: `fields["errors"]` names each bad field. Codes: `invalid_request`, `over_allocated`, `no_such_limit`,
    `idempotency_key_reused`.
    """

    status = 422
    type = "invalid_request"
    default_code = "invalid_request"


class InternalError(ApiError):
    """500: a fault of quotaware's own, which the log tells of."""

    status = 500
    default_code = "internal_error"


class StoreUnavailable(ApiError):
    """503: cannot tell, which is not the same as over the limit."""

    status = 503
    type = "store_unavailable"
    default_code = "store_unavailable"


def without_keys(value: Any) -> Any:
    """A JSON value in which keys of quotaware show their kind only: one that was put where a name belongs is echoed
    to nobody, and logged by nobody.
    """
    if isinstance(value, str):
        return _SECRET.sub(r"\1…", value) if "qw_" in value else value
    if isinstance(value, Mapping):
        return {without_keys(name): without_keys(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [without_keys(each) for each in value]
    return value
