"""What goes wrong, as a person is told it, and the exit code that scripts see.

0    done, and nothing to object to
1    a check or a plan found something: each command says what
2    wrong usage, or a value that is refused
3    refused: credentials or a permission are missing
4    not there, or in conflict with what is
5    the app or the store did not answer
70   a fault of quotaware's own
130  ctrl-c, or not agreed to
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from ..errors import ApiError, ConfigurationError, FileError, StoreError, without_keys

FOUND, USAGE, REFUSED, CONFLICT, AWAY, FAULT, STOPPED = 1, 2, 3, 4, 5, 70, 130
_BY_STATUS = {400: USAGE, 413: USAGE, 422: USAGE, 401: REFUSED, 403: REFUSED, 404: CONFLICT}
_BY_STATUS |= {405: USAGE, 409: CONFLICT, 412: CONFLICT, 429: REFUSED, 500: FAULT}


class Failure(Exception):
    """Ends a command: what a person is told, the exit code, and for `--json` the API's own error where there is one."""

    def __init__(self, message: str, code: int, error: Mapping[str, Any] | None = None) -> None:
        super().__init__(without_keys(message))
        self.code = code
        self.error = dict(error) if error is not None else {"type": "cli_error", "message": str(self)}


def refused(status: int, body: Any) -> Failure:
    """The failure that an answer of the API is."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if not isinstance(error, Mapping) or not isinstance(error.get("message"), str):
        return Failure(f"It answered {status}, and not as quotaware's API does: is that its URL?", AWAY)
    details = error.get("errors")
    found = [each for each in details if isinstance(each, Mapping)] if isinstance(details, list) else []
    told = [f"{each.get('field', '?')}: {each.get('message', '')}" for each in found]
    lines = [f"  {each}" for each in told if each != error["message"]]
    return Failure("\n".join((error["message"], *lines)), _BY_STATUS.get(status, AWAY), error)


def as_failure(error: Exception) -> Failure | None:
    """What of ours or of the network was raised, as a failure; None for what is a fault of the program."""
    match error:
        case Failure():
            return error
        case ApiError():
            return refused(error.status, error.body())
        case FileError():
            told = [problem._asdict() for problem in error.problems]
            wrong = {"type": "invalid_request", "message": str(error), "errors": told}
            return Failure(str(error), USAGE, wrong)
        case ConfigurationError():
            return Failure(str(error), USAGE)
        case StoreError():
            return Failure(f"The store: {error}", AWAY)
        case httpx.TimeoutException():
            return Failure("It did not answer in time; see --timeout", AWAY)
        case httpx.InvalidURL() | httpx.UnsupportedProtocol():
            return Failure(f"That is no URL of an API: {error}", USAGE)
        case httpx.HTTPError():
            return Failure(f"It cannot be reached: {error}", AWAY)
        case OSError():
            where = f"{error.filename}: " if error.filename else ""
            return Failure(f"{where}{error.strerror or error}", USAGE)
    return None
